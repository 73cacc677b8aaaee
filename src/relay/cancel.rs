//! Whether an author may still withdraw a message (XTA 2 WS 2.1.1, cancelMessage).
//!
//! Only while the message has a NotBefore and that instant is not reached. The standard tells "was not set" (9101)
//! from "has passed" (9100); a message that somebody else posted is simply unknown. An operator's cancellation is
//! another event with other rules and is not decided here.

use jiff::Timestamp;

use crate::domain::account::AccountName;
use crate::domain::card::ProcessCard;
use crate::domain::state::DeliveryState;

use super::refusal::Refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    Cancel,
    /// It is cancelled already: a repeated request is answered as the first.
    Already,
}

pub fn decide(who: &AccountName, card: &ProcessCard, now: Timestamp) -> Result<Cancellation, Refusal> {
    if card.posted_by != *who {
        return Err(Refusal::UnknownMessage);
    }
    let Some(not_before) = card.not_before else {
        return Err(Refusal::NotBeforeNotSet);
    };
    match card.state {
        DeliveryState::Cancelled => Ok(Cancellation::Already),
        DeliveryState::Held if now < not_before => Ok(Cancellation::Cancel),
        _ => Err(Refusal::NotBeforePassed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::fixture::{at, card};

    #[test]
    fn only_before_not_before() {
        use DeliveryState as S;
        let passed = || Err(Refusal::NotBeforePassed);
        for (who, not_before, state, now, expected) in [
            ("author", Some(100), S::Held, 99, Ok(Cancellation::Cancel)),
            ("author", Some(100), S::Held, 100, passed()),
            ("author", Some(100), S::Waiting, 101, passed()),
            ("author", Some(100), S::HandedOut, 101, passed()),
            ("author", Some(100), S::Received, 101, passed()),
            ("author", Some(100), S::Expired, 101, passed()),
            ("author", Some(100), S::Dead, 101, passed()),
            ("author", Some(100), S::Cancelled, 50, Ok(Cancellation::Already)),
            ("author", Some(100), S::Cancelled, 500, Ok(Cancellation::Already)),
            ("author", None, S::Waiting, 1, Err(Refusal::NotBeforeNotSet)),
            ("author", None, S::Received, 1, Err(Refusal::NotBeforeNotSet)),
            ("stranger", Some(100), S::Held, 99, Err(Refusal::UnknownMessage)),
            ("stranger", None, S::Waiting, 99, Err(Refusal::UnknownMessage)),
        ] {
            let mut card = card("author", state);
            card.not_before = not_before.map(at);
            let who = AccountName::parse(who).expect("a well-formed name");
            assert_eq!(decide(&who, &card, at(now)), expected, "{who} {not_before:?} {state} at {now}");
        }
    }
}
