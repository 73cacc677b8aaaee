//! Chunks without hands: what a client must say about them, and how a large message is cut (section 5.2 of our notes).
//!
//! Sizes that a client states are kilobytes of 1024 bytes and rounded as its application likes, so the whole is judged
//! with slack; what a chunk really holds is judged exactly. The first chunk that arrives says how the message is cut,
//! and every further one must say the same.

use serde::{Deserialize, Serialize};

use super::code::Code;
use super::message::chunk_information::ChunkInformation;

pub const KILOBYTE: u64 = 1024;
/// Chunks of one message, so that what is kept about them stays small.
pub const CHUNKS_MAX: u64 = 10_000;
/// Smallest chunk but the last; smaller ones would cost more than they carry.
pub const KILOBYTES_MIN: u64 = 8;
/// Largest chunk.
pub const KILOBYTES_MAX: u64 = 64 * 1024;

/// Why a chunk is not taken: the code, and what is added to its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub code: Code,
    pub why: String,
}

fn wrong<T>(code: Code, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { code, why: why.into() })
}

/// How a message is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    pub kilobytes: u64,
    pub total: u64,
    /// As it was stated, roughly true.
    pub message_kilobytes: Option<u64>,
}

impl Cut {
    /// What the client says of a chunk of its upload, with the chunk's number.
    pub fn stated(asked: &ChunkInformation, message_bytes_max: u64) -> Result<(Self, u64), Wrong> {
        let (Some(number), Some(kilobytes), Some(total)) = (asked.number, asked.kilobytes, asked.total)
        else {
            return wrong(
                Code::ChunkInconsistent,
                "ChunkNumber, ChunkSize and TotalChunkNumbers are needed with each chunk",
            );
        };
        if total == 0 || total > CHUNKS_MAX || number == 0 || number > total {
            return wrong(
                Code::ChunkNumber,
                format!("chunk {number} of {total}; there are at most {CHUNKS_MAX}"),
            );
        }
        size(kilobytes, total == 1)?;
        let cut = Self { kilobytes, total, message_kilobytes: asked.message_kilobytes };
        let kilobytes_max = message_bytes_max / KILOBYTE;
        let stated = asked.message_kilobytes.unwrap_or_default().max(cut.least_kilobytes());
        if stated > kilobytes_max {
            return wrong(Code::MessageTooBig, format!("{stated} KB, at most {kilobytes_max} KB are taken"));
        }
        match asked.message_kilobytes {
            Some(stated) if !cut.is_plausible(stated) => wrong(
                Code::ChunkInconsistent,
                format!("{total} chunks of {kilobytes} KB do not make a message of {stated} KB"),
            ),
            _ => Ok((cut, number)),
        }
    }

    /// All chunks but the last are full.
    fn least_kilobytes(&self) -> u64 {
        (self.total - 1).saturating_mul(self.kilobytes)
    }

    /// Whether a stated size can be meant honestly: some count 1000 bytes, some round up, some down.
    fn is_plausible(&self, stated: u64) -> bool {
        let most = self.total.saturating_mul(self.kilobytes);
        let with_slack = |kilobytes: u64| kilobytes.saturating_add(kilobytes / 10).saturating_add(1);
        with_slack(stated) >= self.least_kilobytes() && stated <= with_slack(most)
    }

    pub fn agrees(&self, further: &Self) -> Result<(), Wrong> {
        if self == further {
            return Ok(());
        }
        wrong(
            Code::ChunkInconsistent,
            "an earlier chunk of this message stated other sizes or another number",
        )
    }

    /// Judges what a chunk really holds.
    pub fn holds(&self, number: u64, bytes: u64) -> Result<(), Wrong> {
        let full = self.kilobytes.saturating_mul(KILOBYTE);
        if bytes > full {
            return wrong(Code::ChunkTooBig, format!("it holds {bytes} bytes, {full} were stated"));
        }
        if bytes == 0 || (number < self.total && bytes < full) {
            return wrong(Code::ChunkTooSmall, format!("it holds {bytes} bytes, {full} were stated"));
        }
        Ok(())
    }
}

/// Judges the size of chunks; a message of a single one may be small.
fn size(kilobytes: u64, alone: bool) -> Result<(), Wrong> {
    if kilobytes > KILOBYTES_MAX {
        return wrong(Code::ChunkTooBig, format!("{kilobytes} KB, at most {KILOBYTES_MAX} KB are taken"));
    }
    if kilobytes == 0 || (kilobytes < KILOBYTES_MIN && !alone) {
        return wrong(Code::ChunkTooSmall, format!("{kilobytes} KB, at least {KILOBYTES_MIN} KB are taken"));
    }
    Ok(())
}

/// A message that is fetched in slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slices {
    pub bytes: u64,
    pub kilobytes: u64,
}

impl Slices {
    /// The size that a client asks for.
    pub fn wanted(asked: &ChunkInformation) -> Result<u64, Wrong> {
        match asked.kilobytes {
            Some(kilobytes) => size(kilobytes, false).map(|()| kilobytes),
            None => wrong(Code::ChunkInconsistent, "ChunkSize is needed"),
        }
    }

    pub fn number(asked: &ChunkInformation) -> Result<u64, Wrong> {
        match asked.number {
            Some(0) => wrong(Code::ChunkNumber, "chunks are counted from 1"),
            Some(number) => Ok(number),
            None => wrong(Code::ChunkInconsistent, "ChunkNumber is needed"),
        }
    }

    pub fn total(&self) -> u64 {
        self.bytes.div_ceil(self.kilobytes.max(1).saturating_mul(KILOBYTE)).max(1)
    }

    pub fn message_kilobytes(&self) -> u64 {
        self.bytes.div_ceil(KILOBYTE)
    }

    /// Where the slice lies.
    pub fn span(&self, number: u64) -> Result<std::ops::Range<u64>, Wrong> {
        let total = self.total();
        if number == 0 || number > total {
            return wrong(Code::ChunkNumber, format!("chunk {number} of {total}"));
        }
        if total > CHUNKS_MAX {
            return wrong(
                Code::ChunkTooSmall,
                format!("it would take {total} chunks, more than {CHUNKS_MAX}"),
            );
        }
        let full = self.kilobytes.saturating_mul(KILOBYTE);
        let start = (number - 1).saturating_mul(full);
        Ok(start..start.saturating_add(full).min(self.bytes))
    }

    /// Whether a reader that holds these has the whole message.
    pub fn is_whole(&self, held: &std::collections::BTreeSet<u64>) -> bool {
        (1..=self.total()).all(|number| held.contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1000 * KILOBYTE;

    fn information(number: u64, kilobytes: u64, total: u64, message: Option<u64>) -> ChunkInformation {
        ChunkInformation {
            number: Some(number),
            kilobytes: Some(kilobytes),
            total: Some(total),
            message_kilobytes: message,
            ..ChunkInformation::default()
        }
    }

    #[test]
    fn what_a_client_states_is_judged() {
        for (asked, expected) in [
            (information(1, 64, 4, Some(200)), None),
            (information(4, 64, 4, None), None),
            (information(1, 1, 1, Some(1)), None),
            // Rounded down, rounded up, counted in thousands.
            (information(1, 64, 4, Some(192)), None),
            (information(1, 64, 4, Some(257)), None),
            (information(1, 64, 4, Some(262)), None),
            (information(5, 64, 4, None), Some(Code::ChunkNumber)),
            (information(0, 64, 4, None), Some(Code::ChunkNumber)),
            (information(1, 64, 0, None), Some(Code::ChunkNumber)),
            (information(1, 64, CHUNKS_MAX + 1, None), Some(Code::ChunkNumber)),
            (information(1, KILOBYTES_MAX + 1, 1, None), Some(Code::ChunkTooBig)),
            (information(1, KILOBYTES_MIN - 1, 2, None), Some(Code::ChunkTooSmall)),
            (information(1, 0, 1, None), Some(Code::ChunkTooSmall)),
            (information(1, 64, 4, Some(1001)), Some(Code::MessageTooBig)),
            (information(1, 64, 17, None), Some(Code::MessageTooBig)),
            (information(1, u64::MAX / 1024, 2, None), Some(Code::ChunkTooBig)),
            (information(1, 64, 4, Some(20)), Some(Code::ChunkInconsistent)),
            (information(1, 64, 4, Some(900)), Some(Code::ChunkInconsistent)),
            (ChunkInformation { number: Some(1), ..Default::default() }, Some(Code::ChunkInconsistent)),
        ] {
            let found = Cut::stated(&asked, MAX).err().map(|wrong| wrong.code);
            assert_eq!(found, expected, "{asked:?}");
        }
    }

    #[test]
    fn what_a_chunk_holds_is_judged_exactly() {
        let cut = Cut { kilobytes: 8, total: 3, message_kilobytes: None };
        let full = 8 * KILOBYTE;
        for (number, bytes, expected) in [
            (1, full, None),
            (3, full, None),
            (3, 1, None),
            (1, full - 1, Some(Code::ChunkTooSmall)),
            (3, 0, Some(Code::ChunkTooSmall)),
            (3, full + 1, Some(Code::ChunkTooBig)),
        ] {
            let found = cut.holds(number, bytes).err().map(|wrong| wrong.code);
            assert_eq!(found, expected, "{number} {bytes}");
        }
        assert!(cut.agrees(&Cut { message_kilobytes: Some(1), ..cut }).is_err());
    }

    #[test]
    fn slices_cover_the_message_and_nothing_else() {
        for (bytes, kilobytes, total) in [(0, 8, 1), (1, 8, 1), (8192, 8, 1), (8193, 8, 2), (100_000, 8, 13)]
        {
            let slices = Slices { bytes, kilobytes };
            assert_eq!(slices.total(), total);
            let mut at = 0;
            for number in 1..=total {
                let span = slices.span(number).expect("a slice");
                assert_eq!(span.start, at, "{bytes} {number}");
                at = span.end;
            }
            assert_eq!(at, bytes);
            assert!(slices.span(0).is_err() && slices.span(total + 1).is_err());
            let mut held: std::collections::BTreeSet<u64> = (1..=total).collect();
            assert!(slices.is_whole(&held));
            held.remove(&total);
            assert!(!slices.is_whole(&held));
        }
        assert!(Slices { bytes: u64::MAX, kilobytes: 8 }.span(1).is_err(), "too many");
    }
}
