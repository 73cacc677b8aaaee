//! Lines of the evidence log that are about logs, not messages: the checkpoint of another node's log, and the end of this
//! one.
//!
//! ```text
//! amtsbote-anchor/1 2026-11-29T03:00:00Z <node> <size> <root> <SHA-256 of the note>\n
//! amtsbote-closing/1 2026-11-29T03:00:00Z <node>\n
//! ```
//! Nodes of one store write each other's signed checkpoints into their logs: whoever wants to rewrite one log unseen has to
//! rewrite the others as well, whose checkpoints are signed with other keys and may have left the house. After its closing
//! line a log has no other.

use jiff::Timestamp;

use super::checkpoint;
use super::record::{Record, RecordError, words};
use super::tree::Hash;
use crate::domain::content::Digest;

const ANCHOR: &str = "amtsbote-anchor/1";
const CLOSING: &str = "amtsbote-closing/1";

/// A checkpoint of another node's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub time: Timestamp,
    /// The node whose log it is.
    pub node: String,
    pub size: u64,
    pub root: Hash,
    /// SHA-256 of the whole signed note.
    pub note: Digest,
}

impl Anchor {
    /// `None` where the note states no checkpoint.
    pub fn of(node: &str, note: &str, time: Timestamp) -> Option<Self> {
        let (size, root) = checkpoint::statement(note)?;
        Some(Self { time, node: node.to_owned(), size, root, note: Digest::of(note.as_bytes()) })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { time, node, size, root, note } = self;
        format!("{ANCHOR} {time} {node} {size} {} {note}\n", Digest(*root)).into_bytes()
    }
}

/// The last line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    pub time: Timestamp,
    pub node: String,
}

impl Closing {
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{CLOSING} {} {}\n", self.time, self.node).into_bytes()
    }
}

/// Any line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Record(Record),
    Anchor(Anchor),
    Closing(Closing),
}

impl Line {
    /// Reads a line back. Only the spelling that was written is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut words = words(bytes)?;
        let version = words.next();
        if !matches!(version, Some(ANCHOR | CLOSING)) {
            return Record::from_bytes(bytes).map(Self::Record);
        }
        let mut word = |what| words.next().filter(|word| !word.is_empty()).ok_or(RecordError::Field { what });
        let time = word("the time")?.parse().map_err(|_| RecordError::Field { what: "the time" })?;
        let node = word("the node")?.to_owned();
        let (read, written) = if version == Some(CLOSING) {
            let closing = Closing { time, node };
            let bytes = closing.to_bytes();
            (Self::Closing(closing), bytes)
        } else {
            let size = word("the size")?.parse().map_err(|_| RecordError::Field { what: "the size" })?;
            let root = digest(word("the root")?, "the root")?.0;
            let note = digest(word("the note's digest")?, "the note's digest")?;
            let anchor = Anchor { time, node, size, root, note };
            let bytes = anchor.to_bytes();
            (Self::Anchor(anchor), bytes)
        };
        if written == bytes { Ok(read) } else { Err(RecordError::NotCanonical) }
    }
}

fn digest(word: &str, what: &'static str) -> Result<Digest, RecordError> {
    Digest::try_from(word.to_owned()).map_err(|_| RecordError::Field { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHORED: &str = "amtsbote-anchor/1 2026-11-29T03:00:00Z relay-2 42 \
        1111111111111111111111111111111111111111111111111111111111111111 \
        2222222222222222222222222222222222222222222222222222222222222222\n";
    const CLOSED: &str = "amtsbote-closing/1 2026-11-29T03:00:00Z relay-2\n";
    const RECORD: &str = "amtsbote-evidence/1 2026-11-23T10:00:00.25Z accepted \
        1111111111111111111111111111111111111111111111111111111111111111 \
        2222222222222222222222222222222222222222222222222222222222222222 \
        urn:de:xta:messageid:amt:1A\n";

    #[test]
    fn lines_come_back() {
        for (text, is_kind) in [
            (ANCHORED, (|line| matches!(line, Line::Anchor(_))) as fn(&Line) -> bool),
            (CLOSED, |line| matches!(line, Line::Closing(_))),
            (RECORD, |line| matches!(line, Line::Record(_))),
        ] {
            let line = Line::from_bytes(text.as_bytes()).expect("a line");
            assert!(is_kind(&line), "{line:?}");
            let bytes = match line {
                Line::Record(record) => record.to_bytes(),
                Line::Anchor(anchor) => anchor.to_bytes(),
                Line::Closing(closing) => closing.to_bytes(),
            };
            assert_eq!(bytes, text.as_bytes());
        }
    }

    #[test]
    fn only_the_written_spelling_is_read() {
        let field = |what| Err(RecordError::Field { what });
        for (text, expected) in [
            (ANCHORED.replace(" 42 ", " 042 "), Err(RecordError::NotCanonical)),
            (ANCHORED.replace(" 42 ", " x "), field("the size")),
            (ANCHORED.replace("relay-2 ", " "), field("the node")),
            (ANCHORED.replace("1111 ", "111 "), field("the root")),
            (ANCHORED.replace("2222\n", "222\n"), field("the note's digest")),
            (ANCHORED.replace("2222\n", "2222 more\n"), Err(RecordError::NotCanonical)),
            (ANCHORED.replace("03:00:00Z", "04:00:00+01:00"), Err(RecordError::NotCanonical)),
            (CLOSED.replace("relay-2", "relay-2 x"), Err(RecordError::NotCanonical)),
            (CLOSED.replace("/1", "/2"), Err(RecordError::Version)),
            (CLOSED.trim_end().to_owned(), Err(RecordError::NotOneLine)),
        ] {
            assert_eq!(Line::from_bytes(text.as_bytes()), expected, "{text}");
        }
    }
}
