//! A dialog of OSCI-Transport 1.2 as it is kept: what the client must say next, who he has proven to be, and what he
//! was handed without having confirmed it (sections 3 and 10 of our notes).
//!
//! The rules by which a dialog goes on are [`crate::osci::dialog`]'s; here is the record that outlives a process.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::account::AccountName;
use super::message_id::MessageId;

/// Digits of an id that is issued here.
const ISSUED_DIGITS: usize = 36;
/// Longest id that is looked up.
const DIGITS_MAX: usize = 64;

/// Names a dialog: decimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConversationId(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a ConversationId has 1 to {DIGITS_MAX} decimal digits")]
pub struct ConversationIdError;

impl ConversationId {
    pub fn parse(text: &str) -> Result<Self, ConversationIdError> {
        let fits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(ConversationIdError) }
    }

    /// A new one from 119 random bits, all of the same length.
    pub fn from_random(random: u128) -> Self {
        let bound = 10_u128.pow(ISSUED_DIGITS as u32);
        Self(format!("{:0width$}", random % bound, width = ISSUED_DIGITS))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ConversationId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for ConversationId {
    type Error = ConversationIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ConversationId> for String {
    fn from(id: ConversationId) -> Self {
        id.0
    }
}

/// The certificates (DER) that the client began the dialog with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originator {
    /// Names the mailbox; answers are encrypted for it.
    pub cipher: Vec<u8>,
    /// Of the first signed request, where there was one.
    pub signature: Option<Vec<u8>>,
}

/// A dialog that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    pub id: ConversationId,
    pub account: AccountName,
    pub originator: Originator,
    /// Whether our last answer was encrypted, so that returning its challenge proves possession of the cipher key.
    pub encrypted: bool,
    /// What we sent last and the next request must return.
    pub challenge: String,
    /// What the next request must bear.
    pub sequence: u64,
    /// Handed out and not confirmed.
    pub handed_out: Vec<MessageId>,
    pub opened_at: Timestamp,
    /// The last request.
    pub used_at: Timestamp,
    /// Over from here on, without a word of confirmation.
    pub expires_at: Timestamp,
}

/// A request of a dialog was understood: the dialog moves on, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogStep {
    pub id: ConversationId,
    /// Where the dialog must stand; another step may have been faster, or this is a replay.
    pub challenge: String,
    pub sequence: u64,
    /// What the answer will carry; nothing for the answer that ends the dialog.
    pub challenge_next: Option<String>,
    /// Whether the answer will be encrypted.
    pub encrypted: bool,
    /// The request proves receipt of what was handed out before.
    pub confirms: bool,
    /// A signature certificate that is seen for the first time in this dialog.
    pub signature: Option<Vec<u8>>,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits() {
        for (text, fits) in [("0", true), ("", false), ("12a", false), (" 1", false), ("-1", false)] {
            assert_eq!(ConversationId::parse(text).is_ok(), fits, "{text:?}");
        }
        assert!(ConversationId::parse(&"1".repeat(DIGITS_MAX + 1)).is_err());
        for random in [0, 1, u128::MAX] {
            let id = ConversationId::from_random(random);
            assert_eq!(id.as_str().len(), ISSUED_DIGITS);
            assert_eq!(ConversationId::parse(id.as_str()), Ok(id));
        }
    }
}
