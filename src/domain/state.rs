//! The life of a message as a state machine without hands.
//!
//! ```text
//! accepted -> [held] -> waiting -> handed-out -> received
//!              |           |           |
//!              +-- cancelled / expired / dead --> (requeue) waiting
//! ```
//! Handed out is not received: until the reader confirms, a message is offered again. Both engines of the store apply
//! [`transition`] inside their transaction, so that no two of them can disagree about what may follow what.

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Kept back until NotBefore, by an operator, or while a door pushes it and until it knows the recipient's answer.
    Held,
    /// In the mailbox, offered to its reader.
    Waiting,
    /// Given to the reader, who has not confirmed.
    HandedOut,
    /// Confirmed by the reader.
    Received,
    /// Withdrawn by the author before NotBefore, by an operator, or because the recipient of a push did not take it.
    Cancelled,
    /// Nobody fetched it in time.
    Expired,
    /// Undeliverable: waits for an operator (dead letter).
    Dead,
}

impl DeliveryState {
    pub const ALL: [Self; 7] = [
        Self::Held,
        Self::Waiting,
        Self::HandedOut,
        Self::Received,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
    ];

    /// Whether the reader can see it in his mailbox.
    pub fn is_offered(self) -> bool {
        matches!(self, Self::Waiting | Self::HandedOut)
    }

    /// Whether nothing but retention (or an operator) changes it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Received | Self::Cancelled | Self::Expired)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::HandedOut => "handed-out",
            Self::Received => "received",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Dead => "dead",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl std::fmt::Display for DeliveryState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(self.as_str())
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    Accepted,
    /// NotBefore came, or an operator let it go.
    Released,
    HandedOut,
    Received,
    CancelledByAuthor,
    CancelledByOperator,
    /// The recipient of a push did not take it. Of a held message only: an operator may have let it go meanwhile.
    Declined,
    HeldByOperator,
    Expired,
    Reminded,
    /// A push failed and will be tried again; of a held message, a push whose end is not known.
    PushFailed,
    Undeliverable,
    Requeued,
    PayloadPurged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{event:?} does not apply to a message that is {state}")]
pub struct TransitionDenied {
    pub state: DeliveryState,
    pub event: Event,
}

/// The state after `event`, or why it does not apply. An event that changes nothing returns the same state.
pub fn transition(state: DeliveryState, event: Event) -> Result<DeliveryState, TransitionDenied> {
    use DeliveryState as S;
    use Event as E;
    match (state, event) {
        (S::Held, E::Released) => Ok(S::Waiting),
        (S::Waiting | S::HandedOut, E::HandedOut) => Ok(S::HandedOut),
        (S::Waiting | S::HandedOut, E::Received) => Ok(S::Received),
        (S::Received, E::Received) => Ok(S::Received),
        (S::Held, E::CancelledByAuthor | E::Declined) => Ok(S::Cancelled),
        (S::Held | S::Waiting | S::HandedOut | S::Dead, E::CancelledByOperator) => Ok(S::Cancelled),
        (S::Waiting | S::HandedOut, E::HeldByOperator) => Ok(S::Held),
        (S::Held | S::Waiting | S::HandedOut | S::Dead, E::Expired) => Ok(S::Expired),
        (S::Waiting | S::HandedOut, E::Reminded) => Ok(state),
        (S::Held | S::Waiting | S::HandedOut, E::PushFailed) => Ok(state),
        (S::Waiting | S::HandedOut, E::Undeliverable) => Ok(S::Dead),
        (S::Dead | S::Expired | S::Cancelled, E::Requeued) => Ok(S::Waiting),
        (S::Received | S::Cancelled | S::Expired, E::PayloadPurged) => Ok(state),
        (state, event) => Err(TransitionDenied { state, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_message_stays_received() {
        use Event as E;
        for event in [
            E::Released,
            E::HandedOut,
            E::CancelledByAuthor,
            E::CancelledByOperator,
            E::Declined,
            E::HeldByOperator,
            E::Expired,
            E::Reminded,
            E::PushFailed,
            E::Undeliverable,
            E::Requeued,
            E::Accepted,
        ] {
            assert!(transition(DeliveryState::Received, event).is_err(), "{event:?}");
        }
        assert_eq!(transition(DeliveryState::Received, E::Received), Ok(DeliveryState::Received));
    }

    #[test]
    fn an_author_cancels_only_what_is_held() {
        for state in DeliveryState::ALL {
            let allowed = transition(state, Event::CancelledByAuthor).is_ok();
            assert_eq!(allowed, state == DeliveryState::Held, "{state}");
        }
    }

    #[test]
    fn only_offered_messages_are_handed_out_or_received() {
        for state in DeliveryState::ALL {
            assert_eq!(transition(state, Event::HandedOut).is_ok(), state.is_offered(), "{state}");
            let received = transition(state, Event::Received).is_ok();
            assert_eq!(received, state.is_offered() || state == DeliveryState::Received, "{state}");
        }
    }

    #[test]
    fn spellings_come_back() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::parse("Held"), None);
    }
}
