//! What it means that something is due: deadlines become events, and only here.
//!
//! The store says *that* an instant has come; this room says what follows: release from NotBefore, expiry after
//! ObsoleteAfter or the profile's days, a reminder that nobody fetched, and the two purges of retention.

use jiff::Timestamp;

use crate::domain::card::{Finding, Severity};
use crate::domain::state::Event;
use crate::store::{Due, DueKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Change { event: Event, reason: &'static str, finding: Option<Finding> },
    PurgePayload,
    PurgeCard,
}

pub fn effect(due: &Due, now: Timestamp) -> Effect {
    let finding = |severity, code: &str, reason: String| {
        Some(Finding { at: now, severity, code: code.to_owned(), reason })
    };
    match due.kind {
        DueKind::Release => {
            Effect::Change { event: Event::Released, reason: "NotBefore was reached", finding: None }
        }
        DueKind::Expire => Effect::Change {
            event: Event::Expired,
            reason: "nobody fetched it in time",
            finding: finding(
                Severity::Error,
                "expired",
                format!("the reader did not confirm it before {}", due.at),
            ),
        },
        DueKind::Remind => Effect::Change {
            event: Event::Reminded,
            reason: "nobody has fetched it yet",
            finding: finding(
                Severity::Warning,
                "not-fetched",
                format!("the reader had not confirmed it by {}", due.at),
            ),
        },
        DueKind::PurgePayload => Effect::PurgePayload,
        DueKind::PurgeCard => Effect::PurgeCard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message_id::MessageId;
    use crate::relay::fixture::at;

    #[test]
    fn each_deadline_has_one_meaning() {
        for (kind, event, severity) in [
            (DueKind::Release, Some(Event::Released), None),
            (DueKind::Expire, Some(Event::Expired), Some(Severity::Error)),
            (DueKind::Remind, Some(Event::Reminded), Some(Severity::Warning)),
            (DueKind::PurgePayload, None, None),
            (DueKind::PurgeCard, None, None),
        ] {
            let due = Due { id: MessageId::parse("m").expect("a well-formed id"), kind, at: at(5) };
            match effect(&due, at(7)) {
                Effect::Change { event: seen, finding, .. } => {
                    assert_eq!(Some(seen), event, "{kind:?}");
                    assert_eq!(finding.as_ref().map(|finding| finding.severity), severity, "{kind:?}");
                    assert!(
                        finding.is_none_or(|finding| finding.at == at(7)),
                        "a finding is dated when made"
                    );
                }
                Effect::PurgePayload => assert_eq!(kind, DueKind::PurgePayload),
                Effect::PurgeCard => assert_eq!(kind, DueKind::PurgeCard),
            }
        }
    }
}
