//! What may happen to a message, decided without a database: every engine asks here and writes down the answer.
//!
//! Nothing here reads or writes; each function refuses, or says how row and card look afterwards.

use jiff::Timestamp;

use super::row::{Place, Row, micros};
use super::{
    Acceptance, Accepted, Change, DueKind, FinishedPush, PushOutcome, STATEMENTS_MAX, Statement, StoreError,
};
use crate::domain::card::{Finding, ProcessCard, Severity, Step};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::domain::state::{DeliveryState, Event, TransitionDenied, transition};

/// The finding on the card of a message that was taken when it was no longer to be handed over.
const TAKEN_LATE: &str = "taken-late";
/// The same of a push that its sender waited for.
const PUSH_TAKEN_LATE: &str = "push-taken-late";

/// What is known of an id: announced only, or of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    pub is_accepted: bool,
    pub request_digest: Option<[u8; 32]>,
    pub account: Option<String>,
    pub expires_at: Option<i64>,
}

/// SHA-256 over what the author wrote, as stored, so that damage to it is found.
pub fn author_digest(envelope: &[u8], manifest: &[u8]) -> Digest {
    Digest::of(&[envelope, manifest].concat())
}

/// Whether the id may be used by this acceptance; `Some` answers without storing anything.
pub fn admit(used: Option<&Used>, acceptance: &Acceptance, now: i64) -> Result<Option<Accepted>, StoreError> {
    let card = &acceptance.card;
    let is_own = |used: &Used| used.account.as_deref() == Some(card.posted_by.as_str());
    match used {
        Some(used @ Used { is_accepted: true, request_digest: Some(digest), .. }) => {
            match (*digest == acceptance.request_digest.0, is_own(used)) {
                (true, true) => Ok(Some(Accepted::Before)),
                // Who may only use ids that were issued to him does not learn which others exist.
                (_, false) if acceptance.announced_only => Err(StoreError::NotAnnounced),
                _ => Err(StoreError::IdUsed),
            }
        }
        Some(Used { is_accepted: true, request_digest: None, .. }) => Err(StoreError::IdUsed),
        Some(used) if used.expires_at.is_some_and(|at| at > now) => match is_own(used) {
            true => Ok(None),
            false => Err(StoreError::NotAnnounced),
        },
        _ if acceptance.announced_only => Err(StoreError::NotAnnounced),
        _ => Ok(None),
    }
}

pub fn refuse_contradictions(acceptance: &Acceptance) -> Result<(), StoreError> {
    let Acceptance { envelope, manifest, payload, card, .. } = acceptance;
    let contradiction = if envelope.id != card.id {
        "envelope and card name different ids"
    } else if payload.digest != card.payload_digest || payload.length != card.payload_bytes {
        "payload and card differ in digest or length"
    } else if manifest.length() != payload.length {
        "manifest and payload differ in length"
    } else if !matches!(card.state, DeliveryState::Held | DeliveryState::Waiting) {
        "the first state is neither held nor waiting"
    } else {
        return Ok(());
    };
    Err(StoreError::Unavailable(format!("message {} was not stored: {contradiction}", card.id)))
}

/// A change by the post office itself.
pub fn own(id: &MessageId, event: Event, at: Timestamp, reason: Option<String>) -> Change {
    Change {
        id: id.clone(),
        event,
        at,
        by: None,
        reason,
        finding: None,
        only_in: None,
        only_posted_by: None,
        only_if_due: None,
        deadlines: None,
    }
}

/// Whether the message is the asker's.
pub fn in_view(row: &Row, change: &Change) -> Result<(), StoreError> {
    let in_mailbox = change
        .only_in
        .as_ref()
        .is_none_or(|mailboxes| mailboxes.iter().any(|mailbox| mailbox.as_str() == row.mailbox));
    let by_author = change.only_posted_by.as_ref().is_none_or(|account| account.as_str() == row.posted_by);
    if in_mailbox && by_author { Ok(()) } else { Err(StoreError::Unknown) }
}

/// Whether the change is due at `now`, and the message as the asker believes it to be.
pub fn in_time(row: &Row, change: &Change, now: i64) -> Result<(), StoreError> {
    let is_due = |kind: DueKind| row.timers().iter().any(|(timer, at)| *timer == kind && *at <= now);
    if !change.only_if_due.is_none_or(is_due) {
        return Err(TransitionDenied { state: row.state, event: change.event }.into());
    }
    Ok(())
}

/// Whether a party's statement is new beside what was said before; one that is not must be the same, word for word.
pub fn is_new_statement(
    row: &Row,
    change: &Change,
    before: &[Statement],
    statement: &Statement,
) -> Result<bool, StoreError> {
    if let Some(said) = before.iter().find(|said| said.id == statement.id) {
        return if said.text == statement.text { Ok(false) } else { Err(StoreError::IdUsed) };
    }
    let is_over = change.event == Event::Received && row.state == DeliveryState::Received;
    if is_over || before.len() >= STATEMENTS_MAX {
        return Err(TransitionDenied { state: row.state, event: change.event }.into());
    }
    Ok(true)
}

/// The row after the change, with the card brought up to it; `None`, with the card as it was, where it had happened
/// already. With `Event::PayloadPurged` the caller lets go of the bytes.
pub fn apply(before: &Row, card: &mut ProcessCard, change: &Change) -> Result<Option<Row>, StoreError> {
    let event = change.event;
    let state = transition(before.state, event)?;
    let already = match event {
        Event::Received => before.state == DeliveryState::Received,
        Event::PayloadPurged => before.place == Place::Purged,
        Event::HandedOut => card.has_enough_hand_outs(),
        _ => false,
    };
    if already {
        return Ok(None);
    }
    if event == Event::Requeued && (before.place == Place::Purged || card.is_told_rejected()) {
        return Err(TransitionDenied { state: before.state, event }.into());
    }
    card.record(Step { at: change.at, event, state, by: change.by.clone(), reason: change.reason.clone() });
    if event == Event::Requeued && card.delivered_at.is_none() {
        card.delivered_at = Some(change.at);
    }
    card.findings.extend(change.finding.clone());
    let mut after = before.clone();
    after.follow(card);
    match event {
        Event::Released => after.release_at = None,
        // By the clock. Who reminds the reader otherwise takes nothing from the deadline.
        Event::Reminded if change.by.is_none() => after.remind_at = None,
        Event::Requeued => (after.push_at, after.push_attempt, after.push_leased) = (0, 0, false),
        Event::PayloadPurged => after.place = Place::Purged,
        _ => {}
    }
    if let Some(deadlines) = &change.deadlines {
        after.set_deadlines(deadlines);
        card.expires_at = deadlines.expire_at;
    }
    after.final_at = match (after.state.is_final(), before.state.is_final()) {
        (true, false) => Some(micros(change.at)),
        (true, true) => before.final_at,
        (false, _) => None,
    };
    Ok(Some(after))
}

/// Whether a reply that had been accepted before may come with this push: only if it was told before.
pub fn reply_fits(state: DeliveryState, reply: Accepted) -> Result<(), StoreError> {
    let is_open = matches!(state, DeliveryState::Held | DeliveryState::Waiting | DeliveryState::HandedOut);
    if reply != Accepted::New && is_open { Err(StoreError::IdUsed) } else { Ok(()) }
}

/// Whether a message ended otherwise than by being received.
pub fn has_ended_otherwise(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Cancelled | DeliveryState::Expired | DeliveryState::Dead)
}

/// The changes that a recipient's yes to a held message consists of, one after the other. The card keeps which reply came
/// with it: its author may hear nothing else of both.
pub fn steps_of(push: &FinishedPush) -> [Change; 4] {
    let replied = push.reply.as_ref().map(|reply| format!("replied with {}", reply.card.id));
    [
        (Event::Released, push.forwarded_at),
        (Event::HandedOut, push.forwarded_at),
        (Event::Received, push.received_at),
        (Event::PayloadPurged, push.received_at),
    ]
    .map(|(event, at)| Change {
        by: (event == Event::Received).then(|| push.by.to_string()),
        ..own(&push.id, event, at, replied.clone().filter(|_| event == Event::Received))
    })
}

/// Whether the message is beyond that step already.
pub fn has_passed(state: DeliveryState, event: Event) -> bool {
    match event {
        Event::Released => state != DeliveryState::Held,
        Event::HandedOut => state == DeliveryState::Received,
        _ => false,
    }
}

/// Notes the recipient's yes to a held message that has ended meanwhile; false where the card says so already.
pub fn note_late_push(card: &mut ProcessCard, state: DeliveryState, push: &FinishedPush) -> bool {
    if card.findings.iter().any(|finding| finding.code == PUSH_TAKEN_LATE) {
        return false;
    }
    card.findings.push(Finding {
        at: push.received_at,
        severity: Severity::Warning,
        code: PUSH_TAKEN_LATE.to_owned(),
        reason: format!("{} had taken it by a push, and the message was {state} meanwhile", push.by),
    });
    true
}

/// Notes a yes to a message that has expired, was cancelled or held meanwhile; false where there is nothing to note.
pub fn note_late_yes(
    card: &mut ProcessCard,
    state: DeliveryState,
    outcome: &PushOutcome,
    now: Timestamp,
) -> bool {
    let remark = match outcome {
        PushOutcome::Taken { remark } => remark.as_str(),
        PushOutcome::Received => "its recipient took it",
        PushOutcome::Failed { .. } | PushOutcome::Dead { .. } => return false,
    };
    // The same yes, told again.
    let known = card.findings.iter().any(|finding| finding.code == TAKEN_LATE && finding.reason == remark);
    if known || state == DeliveryState::Received {
        return false;
    }
    let (severity, code) = (Severity::Warning, TAKEN_LATE.to_owned());
    card.findings.push(Finding { at: now, severity, code, reason: remark.to_owned() });
    true
}

/// Whether what is told under this lease counts: a recipient's yes however late, a no only while it is the current one.
pub fn counts(row: &Row, token: u64, outcome: &PushOutcome) -> bool {
    let current = row.push_leased && u64::try_from(row.push_token).ok() == Some(token);
    let is_yes = matches!(outcome, PushOutcome::Received | PushOutcome::Taken { .. });
    (current || is_yes) && row.state.is_offered()
}

/// What the attempt means for the message: an event, and why.
pub fn verdict_of(outcome: &PushOutcome) -> (Event, Option<String>) {
    match outcome {
        PushOutcome::Received => (Event::Received, None),
        PushOutcome::Taken { remark } => (Event::Received, Some(remark.clone())),
        PushOutcome::Failed { reason, .. } => (Event::PushFailed, Some(reason.clone())),
        PushOutcome::Dead { reason } => (Event::Undeliverable, Some(reason.clone())),
    }
}

/// Takes the lease of a push out on the row.
pub fn lease(row: &mut Row, until: i64) {
    row.push_at = until;
    row.push_attempt = row.push_attempt.saturating_add(1);
    row.push_token += 1;
    row.push_leased = true;
}
