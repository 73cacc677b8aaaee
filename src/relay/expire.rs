//! What it means that something is due: deadlines become events, and only here.
//!
//! The store says *that* an instant has come; this room says what follows: release from NotBefore, expiry after
//! ObsoleteAfter or the profile's days, a reminder that nobody fetched, and the two purges of retention. A portal's
//! submission whose content its reader has closed in time does not expire, it is received.

use jiff::Timestamp;

use crate::domain::account::Directory;
use crate::domain::card::{DOOR_OF_PORTALS, Finding, ProcessCard, Severity};
use crate::domain::message_id::MessageId;
use crate::domain::state::{DeliveryState, Event};
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

/// The id of the message that a gateway made of a portal's submission, if it has opened this one.
pub fn opened_as(card: &ProcessCard) -> Option<MessageId> {
    let is_open = card.door == DOOR_OF_PORTALS
        && matches!(card.state, DeliveryState::Waiting | DeliveryState::HandedOut)
        && card.first_handed_out_at.is_some();
    let text = card.id.as_str().rsplit(':').next().filter(|_| is_open)?;
    MessageId::opened(uuid::Uuid::try_parse(text).ok()?).ok()
}

/// What follows where the gateway did not come to tell that the reader had closed what it had opened for him: the
/// submission is received all the same. Only whoever may decide about the submission decides by closing: both lie with
/// one account, and it is not the sender who had put the other there.
pub fn closed_in_time(
    submission: &ProcessCard,
    clear: &ProcessCard,
    directory: &Directory,
    due: &Due,
    now: Timestamp,
) -> Option<Effect> {
    let closed_at = clear.received_at.filter(|at| *at < due.at)?;
    let holder = |card: &ProcessCard| directory.account_by_identifier(&card.reader).map(|one| &one.name);
    let is_his = holder(submission).is_some() && holder(submission) == holder(clear);
    if clear.door == DOOR_OF_PORTALS || clear.posted_by == submission.posted_by || !is_his {
        return None;
    }
    Some(Effect::Change {
        event: Event::Received,
        reason: "its reader has closed it in the clear",
        finding: Some(Finding {
            at: now,
            severity: Severity::Warning,
            code: "closed-in-the-clear".to_owned(),
            reason: format!("closed on {closed_at} as {}, and the gateway did not tell it", clear.id),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::fixture::{account, at, card, identifier};

    #[test]
    fn who_closed_the_content_in_time_has_accepted_the_submission() {
        const UUID: &str = "11111111-1111-4111-8111-111111111111";
        let accounts = ["portal", "gateway", "town", "other"];
        let accounts =
            accounts.iter().map(|name| account(name, &[&format!("{name}:1"), &format!("{name}:2")]));
        let directory = Directory::new(1, accounts.collect(), Vec::new()).expect("a directory");
        let mut sealed = card("portal", DeliveryState::HandedOut);
        sealed.id = MessageId::parse(&format!("urn:de:xta:messageid:post:{UUID}")).expect("an id");
        sealed.door = DOOR_OF_PORTALS.to_owned();
        sealed.reader = identifier("town:1");
        sealed.first_handed_out_at = Some(at(5));
        let mut clear = card("gateway", DeliveryState::Received);
        clear.id = opened_as(&sealed).expect("opened");
        assert_eq!(clear.id.as_str(), format!("urn:de:xta:messageid:amtsbote-gateway:{UUID}"));
        clear.reader = identifier("town:2");
        clear.received_at = Some(at(9));
        let due = Due { id: sealed.id.clone(), kind: DueKind::Expire, at: at(10) };
        let is_received = |sealed: &ProcessCard, clear: &ProcessCard| {
            let effect = closed_in_time(sealed, clear, &directory, &due, at(20));
            matches!(effect, Some(Effect::Change { event: Event::Received, .. }))
        };
        assert!(is_received(&sealed, &clear));
        type Twist = fn(&mut ProcessCard);
        let twists: [Twist; 5] = [
            |clear| clear.received_at = Some(at(10)),
            |clear| clear.received_at = None,
            |clear| clear.reader = identifier("other:1"),
            |clear| clear.posted_by = crate::domain::account::AccountName::parse("portal").expect("a name"),
            |clear| clear.door = DOOR_OF_PORTALS.to_owned(),
        ];
        for (number, twist) in twists.into_iter().enumerate() {
            let mut twisted = clear.clone();
            twist(&mut twisted);
            assert!(!is_received(&sealed, &twisted), "{number}");
        }
        let twists: [Twist; 4] = [
            |sealed| sealed.door = "xta".to_owned(),
            |sealed| sealed.first_handed_out_at = None,
            |sealed| sealed.state = DeliveryState::Held,
            |sealed| sealed.id = MessageId::parse("m-1").expect("an id"),
        ];
        for (number, twist) in twists.into_iter().enumerate() {
            let mut twisted = sealed.clone();
            twist(&mut twisted);
            assert_eq!(opened_as(&twisted), None, "{number}");
        }
    }

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
