//! One line of the evidence log: which event happened to which message when, and what its payload and card were.
//!
//! The canonical bytes are one line of ASCII text, versioned by its first word, and they are what the Merkle tree
//! hashes:
//!
//! ```text
//! amtsbote-evidence/1 2026-11-23T10:00:00.25Z accepted <payload SHA-256> <card SHA-256> <message id>\n
//! ```
//! Digests and ids only: no personal data enters the log, so erasing a payload leaves the proof intact. The place in
//! the log is the leaf's index and is not repeated in the line.

use jiff::Timestamp;
use thiserror::Error;

use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::domain::state::Event;

const VERSION: &str = "amtsbote-evidence/1";

/// What a record is about: a step of the message's life, or a change of its card alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordEvent {
    Delivery(Event),
    /// Findings were added to the card without a step.
    Inspected,
    /// Card and envelope were deleted at the end of their retention. The digest is that of the last card.
    CardPurged,
}

/// Every event with the word that stands for it in the log. Words are never changed or reused.
const WORDS: [(RecordEvent, &str); 16] = [
    (RecordEvent::Delivery(Event::Accepted), "accepted"),
    (RecordEvent::Delivery(Event::Released), "released"),
    (RecordEvent::Delivery(Event::HandedOut), "handed-out"),
    (RecordEvent::Delivery(Event::Received), "received"),
    (RecordEvent::Delivery(Event::CancelledByAuthor), "cancelled-by-author"),
    (RecordEvent::Delivery(Event::CancelledByOperator), "cancelled-by-operator"),
    (RecordEvent::Delivery(Event::Declined), "declined"),
    (RecordEvent::Delivery(Event::HeldByOperator), "held-by-operator"),
    (RecordEvent::Delivery(Event::Expired), "expired"),
    (RecordEvent::Delivery(Event::Reminded), "reminded"),
    (RecordEvent::Delivery(Event::PushFailed), "push-failed"),
    (RecordEvent::Delivery(Event::Undeliverable), "undeliverable"),
    (RecordEvent::Delivery(Event::Requeued), "requeued"),
    (RecordEvent::Delivery(Event::PayloadPurged), "payload-purged"),
    (RecordEvent::Inspected, "inspected"),
    (RecordEvent::CardPurged, "card-purged"),
];

impl RecordEvent {
    pub fn as_str(self) -> &'static str {
        WORDS.iter().find(|(event, _)| *event == self).map_or("unknown", |(_, word)| word)
    }

    pub fn parse(word: &str) -> Option<Self> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(event, _)| *event)
    }
}

impl From<Event> for RecordEvent {
    fn from(event: Event) -> Self {
        Self::Delivery(event)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub time: Timestamp,
    pub event: RecordEvent,
    pub message_id: MessageId,
    /// SHA-256 over the payload's bytes.
    pub payload_digest: Digest,
    /// SHA-256 over the card's stored bytes after the event.
    pub card_digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("an evidence record is one line of ASCII that ends with a line feed")]
    NotOneLine,
    #[error("an evidence record of this version starts with {VERSION:?}")]
    Version,
    #[error("an evidence record has six words; {what} is missing or wrong")]
    Field { what: &'static str },
    #[error("an evidence record is written in exactly one way, and this is another")]
    NotCanonical,
}

/// What stands between the spaces of a line of the log.
pub(super) fn words(bytes: &[u8]) -> Result<std::str::Split<'_, char>, RecordError> {
    let text = std::str::from_utf8(bytes).map_err(|_| RecordError::NotOneLine)?;
    let line = text.strip_suffix('\n').ok_or(RecordError::NotOneLine)?;
    if !line.is_ascii() || line.contains(|c: char| c.is_control()) {
        return Err(RecordError::NotOneLine);
    }
    Ok(line.split(' '))
}

/// When a line of a log was written, by its own words; also of the beginning of a line.
pub fn time_of(line: &[u8]) -> Option<Timestamp> {
    let word = line.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

impl Record {
    /// The exact bytes that are stored, hashed and exported.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { time, event, message_id, payload_digest, card_digest } = self;
        let event = event.as_str();
        format!("{VERSION} {time} {event} {payload_digest} {card_digest} {message_id}\n").into_bytes()
    }

    /// Reads a record back. Only the spelling that [`Record::to_bytes`] writes is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut words = words(bytes)?;
        if words.next() != Some(VERSION) {
            return Err(RecordError::Version);
        }
        let mut word = |what| words.next().ok_or(RecordError::Field { what });
        let time = word("the time")?.parse().map_err(|_| RecordError::Field { what: "the time" })?;
        let event = RecordEvent::parse(word("the event")?).ok_or(RecordError::Field { what: "the event" })?;
        let payload_digest = digest(word("the payload's digest")?, "the payload's digest")?;
        let card_digest = digest(word("the card's digest")?, "the card's digest")?;
        let id = word("the message id")?;
        let message_id = MessageId::parse(id).map_err(|_| RecordError::Field { what: "the message id" })?;
        let record = Self { time, event, message_id, payload_digest, card_digest };
        if record.to_bytes() == bytes { Ok(record) } else { Err(RecordError::NotCanonical) }
    }
}

fn digest(word: &str, what: &'static str) -> Result<Digest, RecordError> {
    Digest::try_from(word.to_owned()).map_err(|_| RecordError::Field { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "amtsbote-evidence/1 2026-11-23T10:00:00.25Z accepted \
        1111111111111111111111111111111111111111111111111111111111111111 \
        2222222222222222222222222222222222222222222222222222222222222222 \
        urn:de:xta:messageid:amt:1A\n";

    #[track_caller]
    fn check(text: &str, expected: Result<RecordEvent, RecordError>) {
        assert_eq!(Record::from_bytes(text.as_bytes()).map(|record| record.event), expected);
    }

    #[test]
    fn only_the_canonical_line_is_read() {
        check(ONE, Ok(Event::Accepted.into()));
        check(&ONE.replace("accepted", "card-purged"), Ok(RecordEvent::CardPurged));
        check(ONE.trim_end(), Err(RecordError::NotOneLine));
        check(&ONE.replace('\n', "\n\n"), Err(RecordError::NotOneLine));
        check(&ONE.replace("1A", "ä"), Err(RecordError::NotOneLine));
        check(&ONE.replace("/1 ", "/2 "), Err(RecordError::Version));
        check("", Err(RecordError::NotOneLine));
        check("amtsbote-evidence/1\n", Err(RecordError::Field { what: "the time" }));
        check(&ONE.replace("accepted", "Accepted"), Err(RecordError::Field { what: "the event" }));
        check(&ONE.replace("1111 ", "111 "), Err(RecordError::Field { what: "the payload's digest" }));
        check(&ONE.replace(".25Z", ".250Z"), Err(RecordError::NotCanonical));
        check(&ONE.replace("10:00:00.25Z", "11:00:00.25+01:00"), Err(RecordError::NotCanonical));
        check(&ONE.replace("1A\n", "1A more\n"), Err(RecordError::NotCanonical));
        check(&ONE.replace(" urn", "  urn"), Err(RecordError::Field { what: "the message id" }));
    }

    #[test]
    fn every_word_comes_back_and_equals_the_cards_word() {
        for (event, word) in WORDS {
            assert_eq!(event.as_str(), word);
            assert_eq!(RecordEvent::parse(word), Some(event));
            if let RecordEvent::Delivery(event) = event {
                let on_card = serde_json::to_string(&event).expect("a unit variant");
                assert_eq!(on_card, format!("\"{word}\""));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_changed_byte_is_another_record(at in 0..ONE.len(), byte: u8) {
            let mut bytes = ONE.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(record) = Record::from_bytes(&bytes) {
                assert_eq!(record.to_bytes(), bytes);
            }
        }
    }
}
