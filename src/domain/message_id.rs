//! Message ids of every protocol behind one type.
//!
//! XTA 2 ids are URNs `urn:de:xta:messageid:<system>:<UUID>` of at most 100 characters that compare without regard to
//! case (XTA 2 WS 2.1.1, message identification). OSCI-Transport 1.2 ids are opaque and compare as they stand. Both
//! keep the spelling their author gave them; only the key under which they are looked up is normalised.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::content::Digest;

/// Longest id that is accepted, in bytes. XTA allows 100 characters; OSCI names no bound.
pub const MESSAGE_ID_BYTES_MAX: usize = 256;
/// Longest XTA message id, in characters.
pub const XTA_MESSAGE_ID_CHARS_MAX: usize = 100;
/// Longest system name inside an XTA id, in characters, so that a UUID always fits behind it.
pub const XTA_SYSTEM_CHARS_MAX: usize = 41;

const XTA_PREFIX: &str = "urn:de:xta:messageid:";
/// Stands in the ids of a gateway's messages where a post office has its own name.
const GATEWAY_SYSTEM: &str = "amtsbote-gateway";

/// An id as its author spelt it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(String);

/// What two ids are compared by: lower case for URNs, the id itself otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageIdError {
    #[error("a message id must not be empty")]
    Empty,
    #[error("a message id has at most {max} {unit}, this one has {seen}")]
    TooLong { max: usize, seen: usize, unit: &'static str },
    #[error("a message id consists of printable ASCII without spaces; byte {at} is not")]
    Character { at: usize },
    #[error(
        "a system name in an XTA message id has 1 to {XTA_SYSTEM_CHARS_MAX} letters, digits, '-', '_' or '.'"
    )]
    System,
}

impl MessageId {
    /// Takes an id from the wire. Surrounding white space is XML's, not the id's.
    pub fn parse(text: &str) -> Result<Self, MessageIdError> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Err(MessageIdError::Empty);
        }
        if let Some(at) = text.bytes().position(|byte| !(0x21..=0x7e).contains(&byte)) {
            return Err(MessageIdError::Character { at });
        }
        let (max, unit) = if is_xta(text) {
            (XTA_MESSAGE_ID_CHARS_MAX, "characters")
        } else {
            (MESSAGE_ID_BYTES_MAX, "bytes")
        };
        if text.len() > max {
            return Err(MessageIdError::TooLong { max, seen: text.len(), unit });
        }
        Ok(Self(text.to_owned()))
    }

    /// A new XTA id in the name of `system`, from 128 random bits.
    pub fn xta(system: &str, random: u128) -> Result<Self, MessageIdError> {
        let fits = (1..=XTA_SYSTEM_CHARS_MAX).contains(&system.len())
            && system.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !fits {
            return Err(MessageIdError::System);
        }
        let uuid = uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid();
        Ok(Self(format!("{XTA_PREFIX}{system}:{uuid}")))
    }

    /// The one id under which a gateway delivers the content of a portal's submission in the clear.
    pub fn opened(submission: uuid::Uuid) -> Result<Self, MessageIdError> {
        Self::xta(GATEWAY_SYSTEM, submission.as_u128())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_xta(&self) -> bool {
        is_xta(&self.0)
    }

    pub fn key(&self) -> MessageKey {
        let urn = self.0.as_bytes().get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"urn:"));
        MessageKey(if urn { self.0.to_ascii_lowercase() } else { self.0.clone() })
    }
}

impl MessageKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_xta(text: &str) -> bool {
    text.as_bytes()
        .get(..XTA_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(XTA_PREFIX.as_bytes()))
}

/// To whom an id was issued, where the protocol knows parties by certificates and not only by accounts
/// (OSCI-Transport 1.2, section 10 of our notes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bond {
    /// SHA-256 of the certificate that named the party.
    pub party: Digest,
    /// Nobody but the certificate's holder could read the id when it was issued.
    pub sealed: bool,
}

impl fmt::Display for MessageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for MessageId {
    type Error = MessageIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, MessageIdError>) {
        let key = MessageId::parse(text).map(|id| id.key().as_str().to_owned());
        assert_eq!(key.as_deref().map_err(Clone::clone), expected);
    }

    #[test]
    fn ids_from_the_wire() {
        check("urn:de:xta:messageid:amt:1A", Ok("urn:de:xta:messageid:amt:1a"));
        check(" \n URN:DE:XTA:messageid:Amt:1a\t", Ok("urn:de:xta:messageid:amt:1a"));
        check("MTIzQWJj==", Ok("MTIzQWJj=="));
        check(" ", Err(MessageIdError::Empty));
        check("a b", Err(MessageIdError::Character { at: 1 }));
        check("a\u{0}", Err(MessageIdError::Character { at: 1 }));
        check("ä", Err(MessageIdError::Character { at: 0 }));
        let long = format!("{XTA_PREFIX}{}", "x".repeat(80));
        check(&long, Err(MessageIdError::TooLong { max: 100, seen: 101, unit: "characters" }));
        let long = "x".repeat(257);
        check(&long, Err(MessageIdError::TooLong { max: 256, seen: 257, unit: "bytes" }));
    }

    #[test]
    fn issued_ids_fit_the_bound() {
        let id = MessageId::xta(&"s".repeat(41), u128::MAX).expect("41 characters are allowed");
        assert!(id.as_str().len() <= XTA_MESSAGE_ID_CHARS_MAX, "{id}");
        assert_eq!(MessageId::parse(id.as_str()).as_ref(), Ok(&id));
        assert_eq!(MessageId::xta("a b", 1), Err(MessageIdError::System));
        assert_eq!(MessageId::xta("", 1), Err(MessageIdError::System));
    }
}
