//! What happens to messages and dialogs, decided on what a batch has in hand: accept, change, inspect, purge, push, step.
//!
//! The rules themselves are every engine's ([`crate::store::rules`]); here is only where their answers go.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::batch::{Bytes, Fresh, Held, LeaseWanted, Needs, Standing, Work};
use crate::domain::account::AccountName;
use crate::domain::card::{CertificateFinding, ProcessCard};
use crate::domain::dialog::{ConversationId, DialogStep};
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::state::{Event, transition};
use crate::evidence::record::RecordEvent;
use crate::store::row::{Place, Row, int, uint};
use crate::store::rules::{self, Used};
use crate::store::{
    Acceptance, Accepted, Change, Entry, FinishedPush, PushLease, PushOutcome, StagedPlace, Statement,
    Stepped, StoreError,
};

fn key(id: &MessageId) -> String {
    id.key().as_str().to_owned()
}

/// The needs of a command that changes one message.
pub fn of_message(id: &MessageId) -> Needs {
    Needs { messages: vec![key(id)], ..Needs::default() }
}

pub fn of_acceptance(acceptance: &Acceptance) -> Needs {
    let payloads = match &acceptance.payload.place {
        StagedPlace::Inline(_) => Vec::new(),
        StagedPlace::Staged(token) => vec![token.name().to_owned()],
    };
    Needs { used: vec![key(&acceptance.card.id)], payloads, numbers: true, ..Needs::default() }
}

pub fn announce(
    work: &mut Work,
    id: &MessageId,
    account: &AccountName,
    bond: Option<&Bond>,
    now: i64,
    expires_at: i64,
) -> Result<(), StoreError> {
    let key = key(id);
    let free = match work.used(&key) {
        None => true,
        Some(used) => !used.is_accepted && used.expires_at.is_some_and(|at| at <= now),
    };
    if !free {
        return Err(StoreError::IdUsed);
    }
    let used = Used {
        is_accepted: false,
        request_digest: None,
        account: Some(account.as_str().to_owned()),
        expires_at: Some(expires_at),
    };
    work.draft.used.insert(key, (used, bond.map(|bond| (bond.party.0, bond.sealed))));
    Ok(())
}

pub fn accept(work: &mut Work, acceptance: &Acceptance) -> Result<Accepted, StoreError> {
    rules::refuse_contradictions(acceptance)?;
    let Acceptance { envelope, manifest, payload, card, deadlines, .. } = acceptance;
    let key = key(&card.id);
    let now = work.skew.on_database(card.accepted_at);
    if let Some(answer) = rules::admit(work.used(&key), acceptance, now)? {
        return Ok(answer);
    }
    let (place, payload) = match &payload.place {
        StagedPlace::Inline(bytes) => (Place::Inline, Bytes::Inline(bytes.clone())),
        StagedPlace::Staged(token) => {
            // A primary that was lost may have taken the last chunks with it.
            if !work.sealed.remove(token.name()) {
                let what = "its payload has not survived in the database; send it again";
                return Err(StoreError::Unavailable(format!("message {} was not stored: {what}", card.id)));
            }
            (Place::Apart, Bytes::Large(token.name().to_owned()))
        }
    };
    let json = |bytes: serde_json::Result<Vec<u8>>| {
        bytes.map_err(|error| StoreError::Unavailable(error.to_string()))
    };
    let fresh = Fresh {
        envelope: json(serde_json::to_vec(envelope))?,
        manifest: json(serde_json::to_vec(manifest))?,
        payload,
        related: envelope.in_reply_to.iter().map(self::key).collect(),
    };
    let row = Row::new(0, card, place, deadlines);
    let used = Used {
        is_accepted: true,
        request_digest: Some(acceptance.request_digest.0),
        account: Some(card.posted_by.as_str().to_owned()),
        expires_at: None,
    };
    let bond = work.draft.used.get(&key).or_else(|| work.kept.used.get(&key)).and_then(|(_, bond)| *bond);
    work.draft.used.insert(key, (used, bond));
    let held = Held {
        before: None,
        row: None,
        card: Ok(card.clone()),
        rewritten: true,
        fresh: Some(Arc::new(fresh)),
        note: None,
        paper: None,
    };
    work.rewrite(held, row, card, Event::Accepted.into(), card.accepted_at);
    Ok(Accepted::New)
}

pub fn change(work: &mut Work, change: &Change) -> Result<ProcessCard, StoreError> {
    let (_, row, _) = work.take(&change.id)?;
    rules::in_view(&row, change)?;
    rules::in_time(&row, change, work.skew.on_database(change.at))?;
    apply(work, change, |_| {})
}

/// Applies the change to the message as it is in hand, after `prepare` has had its row.
fn apply(
    work: &mut Work,
    change: &Change,
    prepare: impl FnOnce(&mut Row),
) -> Result<ProcessCard, StoreError> {
    let (held, mut row, mut card) = work.take(&change.id)?;
    prepare(&mut row);
    if let Some(after) = rules::apply(&row, &mut card, change)? {
        work.rewrite(held, after, &card, change.event.into(), change.at);
    }
    Ok(card)
}

pub fn declare(work: &mut Work, asked: &Change, statement: &Statement) -> Result<ProcessCard, StoreError> {
    let (_, row, card) = work.take(&asked.id)?;
    rules::in_view(&row, asked)?;
    let key = key(&asked.id);
    let mut said = work.statements(&key);
    if !rules::is_new_statement(&row, asked, &said, statement)? {
        return Ok(card);
    }
    let card = change(work, asked)?;
    said.push(statement.clone());
    work.draft.statements.insert(key, said);
    Ok(card)
}

pub fn inspect(
    work: &mut Work,
    id: &MessageId,
    findings: &[CertificateFinding],
) -> Result<ProcessCard, StoreError> {
    let (held, row, mut card) = work.take(id)?;
    let Some(at) = findings.iter().map(|finding| finding.at).max() else { return Ok(card) };
    card.certificates.extend_from_slice(findings);
    work.rewrite(held, row, &card, RecordEvent::Inspected, at);
    Ok(card)
}

pub fn purge_payload(work: &mut Work, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
    apply(work, &rules::own(id, Event::PayloadPurged, now, None), |_| {}).map(|_| ())
}

pub fn purge_card(work: &mut Work, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
    let (mut held, row, card) = work.take(id)?;
    transition(row.state, Event::PayloadPurged)?;
    work.log(&row, &card, RecordEvent::CardPurged, now);
    held.row = None;
    work.draft.messages.insert(key(id), held);
    Ok(())
}

pub fn note_push(work: &mut Work, id: &MessageId, note: Option<&str>) -> Result<(), StoreError> {
    let (mut held, row, _) = work.take(id)?;
    held.note = Some(note.map(str::to_owned));
    work.put(held, row);
    Ok(())
}

pub fn finish_push(work: &mut Work, push: &FinishedPush) -> Result<ProcessCard, StoreError> {
    let (held, row, mut card) = work.take(&push.id)?;
    if let Some(reply) = &push.reply {
        let accepted = accept(work, reply)?;
        rules::reply_fits(row.state, accepted)?;
    }
    if rules::has_ended_otherwise(row.state) {
        if rules::note_late_push(&mut card, row.state, push) {
            work.rewrite(held, row, &card, RecordEvent::Inspected, push.received_at);
        }
        return Ok(card);
    }
    for change in rules::steps_of(push) {
        let (_, row, _) = work.take(&push.id)?;
        if !rules::has_passed(row.state, change.event) {
            card = apply(work, &change, |_| {})?;
        }
    }
    Ok(card)
}

/// Leases what the database found, as far as the commands before have left it to be leased.
pub fn lease_push(
    work: &mut Work,
    wanted: &LeaseWanted,
    until: Timestamp,
) -> Result<Vec<PushLease>, StoreError> {
    let (now_there, until_there) = (work.skew.on_database(wanted.now), work.skew.on_database(until));
    let mut found = Vec::new();
    for key in work.candidates.clone() {
        let Ok((held, row, card)) = work.take_key(&key) else { continue };
        if row.state.is_offered() && row.push_at <= now_there {
            found.push((held, row, card));
        }
    }
    found.sort_by_key(|(_, row, _)| row.sequence);
    found.truncate(wanted.limit as usize);
    let mut leases = Vec::with_capacity(found.len());
    for (held, mut row, card) in found {
        let Some(paper) = held.paper.clone() else { continue };
        rules::lease(&mut row, until_there);
        leases.push(PushLease {
            entry: Entry {
                sequence: row.sequence,
                envelope: paper.0.clone(),
                manifest: paper.1.clone(),
                card,
                has_payload: row.place != Place::Purged,
            },
            attempt: row.push_attempt,
            until,
            token: uint(row.push_token),
        });
        work.put(held, row);
    }
    Ok(leases)
}

pub fn record_attempt(
    work: &mut Work,
    lease: &PushLease,
    outcome: &PushOutcome,
    now: Timestamp,
) -> Result<ProcessCard, StoreError> {
    let id = &lease.entry.card.id;
    let (held, row, mut card) = work.take(id)?;
    if !rules::counts(&row, lease.token, outcome) {
        if rules::note_late_yes(&mut card, row.state, outcome, now) {
            work.rewrite(held, row, &card, RecordEvent::Inspected, now);
        }
        return Ok(card);
    }
    if matches!(outcome, PushOutcome::Taken { .. }) {
        apply(work, &rules::own(id, Event::HandedOut, now, None), |row| row.push_leased = false)?;
    }
    let next_there = match outcome {
        PushOutcome::Failed { next_at, .. } => Some(work.skew.on_database(*next_at)),
        _ => None,
    };
    let (event, reason) = rules::verdict_of(outcome);
    apply(work, &rules::own(id, event, now, reason), |row| {
        row.push_leased = false;
        row.push_at = next_there.unwrap_or(row.push_at);
    })
}

pub fn of_step(step: &DialogStep) -> Needs {
    Needs { dialogs: vec![(step.id.as_str().to_owned(), step.confirms)], ..Needs::default() }
}

pub fn step_dialog(work: &mut Work, step: &DialogStep) -> Result<Vec<ProcessCard>, StoreError> {
    let (id, now) = (step.id.as_str(), work.skew.on_database(step.at));
    let standing = work.dialog(id).filter(|dialog| {
        dialog.challenge == step.challenge && dialog.sequence == int(step.sequence) && dialog.expires_at > now
    });
    let Some(mut dialog) = standing.cloned() else { return Err(StoreError::Unknown) };
    let mut received = Vec::new();
    if step.confirms {
        for message in std::mem::take(&mut dialog.handed_out) {
            let message = MessageId::parse(&message)
                .map_err(|error| StoreError::Corrupt(format!("a dialog: {error}")))?;
            let by = Some(dialog.account.clone());
            let confirmed = Change { by, ..rules::own(&message, Event::Received, step.at, None) };
            // What an operator or a deadline took away meanwhile stays away.
            match change(work, &confirmed) {
                Ok(card) => received.extend((card.received_at == Some(step.at)).then_some(card)),
                Err(StoreError::Denied(_) | StoreError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let after = step.challenge_next.as_ref().map(|challenge| Standing {
        challenge: challenge.clone(),
        sequence: dialog.sequence + 1,
        encrypted: step.encrypted,
        signature: dialog.signature.clone().or_else(|| step.signature.clone()),
        used_at: now,
        expires_at: work.skew.on_database(step.expires_at),
        ..dialog
    });
    work.draft.dialogs.insert(id.to_owned(), after);
    Ok(received)
}

/// A step with something behind it, which may be refused by itself.
pub fn step_and<T>(
    work: &mut Work,
    step: &DialogStep,
    then: impl FnOnce(&mut Work) -> Result<T, StoreError>,
) -> Result<Stepped<T>, StoreError> {
    let received = step_dialog(work, step)?;
    Ok(Stepped { received, then: work.apart(then) })
}

pub fn of_hand_out(id: &ConversationId, change: &Change) -> Needs {
    Needs { dialogs: vec![(id.as_str().to_owned(), false)], ..of_message(&change.id) }
}

pub fn hand_out_in_dialog(
    work: &mut Work,
    id: &ConversationId,
    sequence: u64,
    handing_out: &Change,
) -> Result<ProcessCard, StoreError> {
    let now = work.skew.on_database(handing_out.at);
    let standing =
        work.dialog(id.as_str()).filter(|dialog| dialog.sequence == int(sequence) && dialog.expires_at > now);
    let Some(mut dialog) = standing.cloned() else { return Err(StoreError::Unknown) };
    let card = change(work, handing_out)?;
    dialog.handed_out.insert(card.id.as_str().to_owned());
    work.draft.dialogs.insert(id.as_str().to_owned(), Some(dialog));
    Ok(card)
}

/// Keys of the messages that were handed out in these dialogs.
pub fn keys_of(handed_out: &BTreeSet<String>) -> Vec<String> {
    handed_out.iter().filter_map(|id| MessageId::parse(id).ok()).map(|id| key(&id)).collect()
}
