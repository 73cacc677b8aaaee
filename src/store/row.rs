//! The row of a message, as every engine keeps it: what listings, timers and counters are derived from.
//!
//! Instants are microseconds since 1970, states and kinds are numbers that are never changed or reused. How a row is
//! written and read is each engine's own affair.

use jiff::Timestamp;

use super::{Deadlines, DueKind};
use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::domain::profile::ServiceProfile;
use crate::domain::state::DeliveryState;

/// Where the bytes of a payload are; numbers as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Purged = 0,
    /// In the database, beside the message.
    Inline = 1,
    /// Where the engine keeps large ones.
    Apart = 2,
}

pub fn place_of(number: i64) -> Option<Place> {
    [Place::Purged, Place::Inline, Place::Apart].into_iter().find(|place| *place as i64 == number)
}

/// The row of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub sequence: u64,
    pub id: String,
    pub mailbox: String,
    pub state: DeliveryState,
    pub shelf: i64,
    pub posted_by: String,
    pub delivered_at: Option<i64>,
    pub payload_bytes: i64,
    pub payload_digest: Digest,
    pub place: Place,
    pub release_at: Option<i64>,
    pub expire_at: i64,
    pub remind_at: Option<i64>,
    pub retain_payload_days: u32,
    pub retain_card_days: u32,
    pub final_at: Option<i64>,
    pub push_at: i64,
    pub push_attempt: u32,
    pub push_token: i64,
    pub push_leased: bool,
}

impl Row {
    /// A message that was just accepted.
    pub fn new(sequence: u64, card: &ProcessCard, place: Place, deadlines: &Deadlines) -> Self {
        let mut row = Self {
            sequence,
            id: card.id.as_str().to_owned(),
            mailbox: card.mailbox.as_str().to_owned(),
            state: card.state,
            shelf: 0,
            posted_by: card.posted_by.as_str().to_owned(),
            delivered_at: None,
            payload_bytes: int(card.payload_bytes),
            payload_digest: card.payload_digest,
            place,
            release_at: None,
            expire_at: 0,
            remind_at: None,
            retain_payload_days: 0,
            retain_card_days: 0,
            final_at: None,
            push_at: 0,
            push_attempt: 0,
            push_token: 0,
            push_leased: false,
        };
        row.follow(card);
        row.set_deadlines(deadlines);
        row
    }

    /// Takes over what the card says.
    pub fn follow(&mut self, card: &ProcessCard) {
        self.state = card.state;
        self.shelf = Shelf::of(card) as i64;
        self.delivered_at = card.delivered_at.map(micros);
    }

    pub fn set_deadlines(&mut self, deadlines: &Deadlines) {
        self.release_at = deadlines.release_at.map(micros);
        self.expire_at = micros(deadlines.expire_at);
        self.remind_at = deadlines.remind_at.map(micros);
        self.retain_payload_days = deadlines.retain_payload_days;
        self.retain_card_days = deadlines.retain_card_days;
    }

    /// What is to happen to the message by itself, and when.
    pub fn timers(&self) -> Vec<(DueKind, i64)> {
        let mut timers = Vec::new();
        if self.state == DeliveryState::Held {
            timers.extend(self.release_at.map(|at| (DueKind::Release, at)));
        }
        if !self.state.is_final() {
            timers.push((DueKind::Expire, self.expire_at));
        }
        if self.state.is_offered() {
            timers.extend(self.remind_at.map(|at| (DueKind::Remind, at)));
        }
        if let (true, Some(at)) = (self.state.is_final(), self.final_at) {
            let after = |days| micros(ServiceProfile::after_days(instant(at), days));
            if self.place != Place::Purged {
                timers.push((DueKind::PurgePayload, after(self.retain_payload_days)));
            }
            timers.push((DueKind::PurgeCard, after(self.retain_card_days)));
        }
        timers
    }

    /// What this message adds to its mailbox: held, waiting, handed out, dead, bytes waiting.
    pub fn counts(&self) -> [i64; 5] {
        let is = |state| i64::from(self.state == state);
        let waiting = is(DeliveryState::Waiting);
        let (held, handed_out) = (is(DeliveryState::Held), is(DeliveryState::HandedOut));
        [held, waiting, handed_out, is(DeliveryState::Dead), waiting * self.payload_bytes]
    }
}

/// Numbers as stored; never changed or reused.
pub const DUE_KINDS: [(DueKind, i64); 5] = [
    (DueKind::Release, 0),
    (DueKind::Expire, 1),
    (DueKind::Remind, 2),
    (DueKind::PurgePayload, 3),
    (DueKind::PurgeCard, 4),
];

pub fn due_number(kind: DueKind) -> i64 {
    DUE_KINDS.iter().find(|(known, _)| *known == kind).map_or(-1, |(_, number)| *number)
}

pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// Databases count in signed 64 bits; nothing of ours comes near the end.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Numbers as stored; never changed or reused.
pub fn state_number(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Held => 0,
        DeliveryState::Waiting => 1,
        DeliveryState::HandedOut => 2,
        DeliveryState::Received => 3,
        DeliveryState::Cancelled => 4,
        DeliveryState::Expired => 5,
        DeliveryState::Dead => 6,
    }
}

pub fn state_of(number: i64) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| state_number(*state) == number)
}

/// How a message stands in its mailbox, as one number that indexes are built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    Nowhere = 0,
    /// Waiting and never handed out.
    New = 1,
    /// Waiting again.
    Again = 2,
    HandedOut = 3,
}

impl Shelf {
    pub fn of(card: &ProcessCard) -> Self {
        match card.state {
            DeliveryState::Waiting if card.first_handed_out_at.is_none() => Self::New,
            DeliveryState::Waiting => Self::Again,
            DeliveryState::HandedOut => Self::HandedOut,
            _ => Self::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for state in DeliveryState::ALL {
            assert_eq!(state_of(state_number(state)), Some(state));
        }
        for place in [Place::Purged, Place::Inline, Place::Apart] {
            assert_eq!(place_of(place as i64), Some(place));
        }
        assert_eq!((state_of(7), place_of(3)), (None, None));
    }
}
