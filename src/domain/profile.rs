//! Service profiles: every deadline and duty of delivery as data.
//!
//! A message names its profile by URI (XTA: DeliveryAttributes/ServiceQuality, "Serviceprofil"); where it names none,
//! the reader's default holds, and where there is none, [`ServiceProfile::standard`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A profile's URI or URN, or a short local name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a service profile's name has 1 to 256 printable characters without spaces")]
pub struct ProfileNameError;

impl ProfileName {
    pub fn parse(text: &str) -> Result<Self, ProfileNameError> {
        let fits =
            (1..=256).contains(&text.len()) && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        if fits { Ok(Self(text.to_owned())) } else { Err(ProfileNameError) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ProfileName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for ProfileName {
    type Error = ProfileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

const fn days(count: u32) -> u32 {
    count
}

/// Deadlines in days or seconds, as an administrator writes them down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceProfile {
    pub name: ProfileName,
    /// Days after which a message that nobody fetched expires, unless ObsoleteAfter is earlier.
    pub expiry_days: u32,
    /// Days after which an unfetched message is reported to the operator.
    pub reminder_days: u32,
    /// Days that the payload is kept after reception (or after any other final state).
    pub retain_payload_days: u32,
    /// Days that the process card is kept after the final state.
    pub retain_card_days: u32,
    /// Whether messages of a mailbox are handed out strictly in order of entry.
    pub ordered: bool,
    /// Whether sendMessage / sendMessageSync are allowed.
    pub asynchronous: bool,
    pub synchronous: bool,
    /// Seconds that sendMessageSync waits for the reader's answer.
    pub synchronous_wait_seconds: u32,
    /// Largest content in bytes, below the post office's own limit; absent: the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_bytes_max: Option<u64>,
    /// Pushes: attempts before a message is dead, first and longest pause between them.
    pub push_attempts_max: u32,
    pub push_backoff_first_seconds: u32,
    pub push_backoff_max_seconds: u32,
}

impl Default for ServiceProfile {
    fn default() -> Self {
        Self::standard()
    }
}

impl ServiceProfile {
    /// What holds where nothing else is configured.
    pub fn standard() -> Self {
        Self {
            name: ProfileName("standard".to_owned()),
            expiry_days: days(90),
            reminder_days: days(3),
            retain_payload_days: days(30),
            retain_card_days: days(1095),
            ordered: false,
            asynchronous: true,
            synchronous: false,
            synchronous_wait_seconds: 30,
            content_bytes_max: None,
            push_attempts_max: 12,
            push_backoff_first_seconds: 10,
            push_backoff_max_seconds: 6 * 3600,
        }
    }

    /// `start` plus a number of this profile's days (of 24 hours each).
    pub fn after_days(start: Timestamp, days: u32) -> Timestamp {
        start.checked_add(Duration::from_secs(u64::from(days) * 86_400)).unwrap_or(Timestamp::MAX)
    }
}
