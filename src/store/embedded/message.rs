//! What happens to messages inside the writer's transaction: accept, change, inspect, purge, push.
//!
//! Every function here writes the card, the mailbox's indexes and counters, the timers and the evidence record
//! together, or refuses before it has written anything that matters: the caller rolls a refused command back.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, evidence};
use crate::domain::account::AccountName;
use crate::domain::card::{CertificateFinding, ProcessCard};
use crate::domain::content::Digest;
use crate::domain::destination::{DestinationId, destination_of};
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::state::{Event, transition};
use crate::evidence::record::{Record, RecordEvent};
use crate::evidence::tree::Frontier;
use crate::store::row::{Place, Row, due_number, int, micros, place_of, state_number, state_of, uint};
use crate::store::rules::{self, Used};
use crate::store::{
    Acceptance, Accepted, Change, Entry, FinishedPush, PushLease, PushOutcome, StagedPlace, StoreError,
};

/// The writer's hands inside one command of one transaction.
pub struct Writing<'a> {
    pub connection: &'a Connection,
    pub frontier: &'a mut Frontier,
    /// Payload files that no row names any more once the transaction is durable.
    pub removed: &'a mut Vec<String>,
}

impl Writing<'_> {
    /// Does something that may be refused without undoing what was done before it.
    pub fn apart<T>(&mut self, part: impl FnOnce(&mut Writing<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (edge, files) = (self.frontier.clone(), self.removed.len());
        self.connection.prepare_cached("SAVEPOINT part")?.execute([])?;
        let done = part(self);
        match &done {
            // The whole command is undone.
            Err(Fault::Sqlite(_)) => return done,
            Err(Fault::Refusal(_)) => {
                *self.frontier = edge;
                self.removed.truncate(files);
                self.connection.prepare_cached("ROLLBACK TO part")?.execute([])?;
            }
            Ok(_) => {}
        }
        self.connection.prepare_cached("RELEASE part")?.execute([])?;
        done
    }
}

pub const ROW: &str = "sequence, id, mailbox, state, shelf, posted_by, delivered_at, payload_bytes, \
    payload_digest, payload_place, release_at, expire_at, remind_at, retain_payload_days, retain_card_days, \
    final_at, push_at, push_attempt, push_token, push_leased";

pub fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let state: i64 = row.get(3)?;
    let place: i64 = row.get(9)?;
    Ok(Row {
        sequence: uint(row.get(0)?),
        id: row.get(1)?,
        mailbox: row.get(2)?,
        state: state_of(state).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, state))?,
        shelf: row.get(4)?,
        posted_by: row.get(5)?,
        delivered_at: row.get(6)?,
        payload_bytes: row.get(7)?,
        payload_digest: Digest(row.get(8)?),
        place: place_of(place).ok_or(rusqlite::Error::IntegralValueOutOfRange(9, place))?,
        release_at: row.get(10)?,
        expire_at: row.get(11)?,
        remind_at: row.get(12)?,
        retain_payload_days: row.get(13)?,
        retain_card_days: row.get(14)?,
        final_at: row.get(15)?,
        push_at: row.get(16)?,
        push_attempt: row.get(17)?,
        push_token: row.get(18)?,
        push_leased: row.get(19)?,
    })
}

/// The sequence of an accepted message, purged ones included.
pub fn sequence_by_id(connection: &Connection, id: &MessageId) -> Result<Option<u64>, Fault> {
    let sequence: Option<Option<i64>> = connection
        .prepare_cached("SELECT sequence FROM used WHERE key = ?1")?
        .query_row(params![id.key().as_str()], |row| row.get(0))
        .optional()?;
    Ok(sequence.flatten().map(uint))
}

pub fn row_by_sequence(connection: &Connection, sequence: u64) -> Result<Option<Row>, Fault> {
    let mut rows = connection.prepare_cached(&format!("SELECT {ROW} FROM message WHERE sequence = ?1"))?;
    Ok(rows.query_row(params![int(sequence)], read_row).optional()?)
}

pub fn row_by_id(connection: &Connection, id: &MessageId) -> Result<Row, Fault> {
    let row = match sequence_by_id(connection, id)? {
        Some(sequence) => row_by_sequence(connection, sequence)?,
        None => None,
    };
    row.ok_or(Fault::Refusal(StoreError::Unknown))
}

pub fn card(connection: &Connection, sequence: u64) -> Result<ProcessCard, Fault> {
    let bytes: Vec<u8> = connection
        .prepare_cached("SELECT card FROM paper WHERE sequence = ?1")?
        .query_row(params![int(sequence)], |row| row.get(0))?;
    ProcessCard::from_bytes(&bytes)
        .map_err(|error| Fault::corrupt(format!("card of message {sequence}: {error}")))
}

pub fn entry(connection: &Connection, sequence: u64) -> Result<Entry, Fault> {
    let mut rows = connection.prepare_cached(
        "SELECT envelope, manifest, card, payload_place FROM paper JOIN message USING (sequence) \
         WHERE sequence = ?1",
    )?;
    let (envelope, manifest, card, place): (Vec<u8>, Vec<u8>, Vec<u8>, i64) = rows
        .query_row(params![int(sequence)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let damaged = |what: &str, error: serde_json::Error| {
        Fault::corrupt(format!("{what} of message {sequence}: {error}"))
    };
    Ok(Entry {
        sequence,
        envelope: serde_json::from_slice(&envelope).map_err(|error| damaged("envelope", error))?,
        manifest: serde_json::from_slice(&manifest).map_err(|error| damaged("manifest", error))?,
        card: ProcessCard::from_bytes(&card).map_err(|error| damaged("card", error))?,
        has_payload: place != Place::Purged as i64,
    })
}

pub fn announce(
    work: &Writing<'_>,
    id: &MessageId,
    account: &AccountName,
    bond: Option<&Bond>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), Fault> {
    work.connection
        .prepare_cached("DELETE FROM used WHERE key = ?1 AND sequence IS NULL AND expires_at <= ?2")?
        .execute(params![id.key().as_str(), micros(now)])?;
    let new = work
        .connection
        .prepare_cached(
            "INSERT OR IGNORE INTO used (key, account, expires_at, issued_to, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id.key().as_str(),
            account.as_str(),
            micros(expires_at),
            bond.map(|bond| bond.party.0),
            bond.map(|bond| bond.sealed),
        ])?;
    if new == 1 { Ok(()) } else { Err(StoreError::IdUsed.into()) }
}

pub fn bond(connection: &Connection, id: &MessageId) -> Result<Option<Bond>, Fault> {
    type Columns = (Option<[u8; 32]>, Option<bool>);
    let found: Option<Columns> = connection
        .prepare_cached("SELECT issued_to, sealed FROM used WHERE key = ?1")?
        .query_row(params![id.key().as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((Some(party), Some(sealed))) => Some(Bond { party: Digest(party), sealed }),
        _ => None,
    })
}

pub fn note_push(work: &Writing<'_>, id: &MessageId, note: Option<&str>) -> Result<(), Fault> {
    let row = row_by_id(work.connection, id)?;
    work.connection
        .prepare_cached("UPDATE message SET push_note = ?2 WHERE sequence = ?1")?
        .execute(params![int(row.sequence), note])?;
    Ok(())
}

pub fn push_note(connection: &Connection, id: &MessageId) -> Result<Option<String>, Fault> {
    let row = row_by_id(connection, id)?;
    let note = connection
        .prepare_cached("SELECT push_note FROM message WHERE sequence = ?1")?
        .query_row(params![int(row.sequence)], |row| row.get(0))?;
    Ok(note)
}

/// What the id was used for so far.
fn used(connection: &Connection, id: &MessageId) -> Result<Option<Used>, Fault> {
    let used = connection
        .prepare_cached("SELECT sequence, request_digest, account, expires_at FROM used WHERE key = ?1")?
        .query_row(params![id.key().as_str()], |row| {
            let sequence: Option<i64> = row.get(0)?;
            Ok(Used {
                is_accepted: sequence.is_some(),
                request_digest: row.get(1)?,
                account: row.get(2)?,
                expires_at: row.get(3)?,
            })
        })
        .optional()?;
    Ok(used)
}

/// The documents of a message as they are stored, written down before the writer's turn: it serves everybody.
pub struct Papers {
    envelope: Vec<u8>,
    manifest: Vec<u8>,
    author_digest: Digest,
    card: Vec<u8>,
    card_digest: Digest,
}

impl Papers {
    pub fn of(acceptance: &Acceptance) -> Result<Self, StoreError> {
        let json = |bytes: serde_json::Result<Vec<u8>>| {
            bytes.map_err(|error| StoreError::Unavailable(error.to_string()))
        };
        let envelope = json(serde_json::to_vec(&acceptance.envelope))?;
        let manifest = json(serde_json::to_vec(&acceptance.manifest))?;
        let card = acceptance.card.to_bytes();
        Ok(Self {
            author_digest: rules::author_digest(&envelope, &manifest),
            card_digest: Digest::of(&card),
            envelope,
            manifest,
            card,
        })
    }

    pub fn length(&self) -> usize {
        self.envelope.len() + self.manifest.len() + self.card.len()
    }
}

pub fn accept(work: &mut Writing<'_>, acceptance: &Acceptance, papers: &Papers) -> Result<Accepted, Fault> {
    rules::refuse_contradictions(acceptance)?;
    let used = used(work.connection, &acceptance.card.id)?;
    if let Some(answer) = rules::admit(used.as_ref(), acceptance, micros(acceptance.card.accepted_at))? {
        return Ok(answer);
    }
    let Acceptance { envelope, payload, card, deadlines, .. } = acceptance;
    let sequence = evidence::sequence_of(work.frontier.size());
    let place = match &payload.place {
        StagedPlace::Inline(bytes) => {
            work.connection
                .prepare_cached("INSERT INTO payload (sequence, bytes) VALUES (?1, ?2)")?
                .execute(params![int(sequence), bytes.as_ref()])?;
            Place::Inline
        }
        StagedPlace::Staged(token) => {
            work.connection
                .prepare_cached("INSERT INTO payload_file (name, sequence) VALUES (?1, ?2)")?
                .execute(params![token.name(), int(sequence)])?;
            Place::Apart
        }
    };
    work.connection
        .prepare_cached(
            "INSERT INTO used (key, account, sequence, request_digest) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (key) DO UPDATE SET account = excluded.account, sequence = excluded.sequence, \
             request_digest = excluded.request_digest, expires_at = NULL",
        )?
        .execute(params![
            card.id.key().as_str(),
            card.posted_by.as_str(),
            int(sequence),
            acceptance.request_digest.0
        ])?;
    let row = Row::new(sequence, card, place, deadlines);
    insert_row(work.connection, &row, destination_of(envelope, card).as_ref())?;
    work.connection
        .prepare_cached(
            "INSERT INTO paper (sequence, envelope, manifest, author_digest, card) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            int(sequence),
            papers.envelope,
            papers.manifest,
            papers.author_digest.0,
            papers.card
        ])?;
    for related in &envelope.in_reply_to {
        work.connection
            .prepare_cached("INSERT OR IGNORE INTO relation (related, sequence) VALUES (?1, ?2)")?
            .execute(params![related.key().as_str(), int(sequence)])?;
    }
    insert_timers(work.connection, &row)?;
    count(work.connection, &row.mailbox, 1, row.counts())?;
    log(work, &row, Event::Accepted.into(), card.accepted_at, papers.card_digest)?;
    Ok(Accepted::New)
}

fn insert_row(connection: &Connection, row: &Row, destination: Option<&DestinationId>) -> Result<(), Fault> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO message ({ROW}, offered, destination) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
             ?11, ?12, ?13, ?14, ?15, ?16, 0, 0, 0, 0, ?17, ?18)"
        ))?
        .execute(params![
            int(row.sequence),
            row.id,
            row.mailbox,
            state_number(row.state),
            row.shelf,
            row.posted_by,
            row.delivered_at,
            row.payload_bytes,
            row.payload_digest.0,
            row.place as i64,
            row.release_at,
            row.expire_at,
            row.remind_at,
            row.retain_payload_days,
            row.retain_card_days,
            row.final_at,
            row.state.is_offered(),
            destination.map(DestinationId::as_str),
        ])?;
    Ok(())
}

fn insert_timers(connection: &Connection, row: &Row) -> Result<(), Fault> {
    for (kind, at) in row.timers() {
        connection
            .prepare_cached("INSERT OR IGNORE INTO timer (at, sequence, kind) VALUES (?1, ?2, ?3)")?
            .execute(params![at, int(row.sequence), due_number(kind)])?;
    }
    Ok(())
}

fn delete_timers(connection: &Connection, row: &Row) -> Result<(), Fault> {
    for (kind, at) in row.timers() {
        connection
            .prepare_cached("DELETE FROM timer WHERE at = ?1 AND sequence = ?2 AND kind = ?3")?
            .execute(params![at, int(row.sequence), due_number(kind)])?;
    }
    Ok(())
}

fn count(connection: &Connection, mailbox: &str, total: i64, by: [i64; 5]) -> Result<(), Fault> {
    if total == 0 && by == [0; 5] {
        return Ok(());
    }
    let [held, waiting, handed_out, dead, bytes] = by;
    connection
        .prepare_cached(
            "INSERT INTO mailbox (name, total, held, waiting, handed_out, dead, bytes_waiting) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET total = total + ?2, \
             held = held + ?3, waiting = waiting + ?4, handed_out = handed_out + ?5, dead = dead + ?6, \
             bytes_waiting = bytes_waiting + ?7",
        )?
        .execute(params![mailbox, total, held, waiting, handed_out, dead, bytes])?;
    if total < 0 {
        connection
            .prepare_cached("DELETE FROM mailbox WHERE name = ?1 AND total <= 0")?
            .execute(params![mailbox])?;
    }
    Ok(())
}

fn log(
    work: &mut Writing<'_>,
    row: &Row,
    event: RecordEvent,
    at: Timestamp,
    card_digest: Digest,
) -> Result<(), Fault> {
    let record = Record {
        time: at,
        event,
        message_id: MessageId::parse(&row.id).map_err(|error| Fault::corrupt(error.to_string()))?,
        payload_digest: row.payload_digest,
        card_digest,
    };
    evidence::append(work.connection, work.frontier, Some(row.sequence), &record)
}

/// Writes a changed message down: row, card, timers, counters, evidence.
fn rewrite(
    work: &mut Writing<'_>,
    before: &Row,
    after: &Row,
    card: &ProcessCard,
    event: RecordEvent,
    at: Timestamp,
) -> Result<(), Fault> {
    let card_bytes = card.to_bytes();
    work.connection
        .prepare_cached("UPDATE paper SET card = ?2 WHERE sequence = ?1")?
        .execute(params![int(after.sequence), card_bytes])?;
    if before.timers() != after.timers() {
        delete_timers(work.connection, before)?;
        insert_timers(work.connection, after)?;
    }
    let mut counts = after.counts();
    counts.iter_mut().zip(before.counts()).for_each(|(after, before)| *after -= before);
    count(work.connection, &after.mailbox, 0, counts)?;
    update_row(work.connection, after)?;
    log(work, after, event, at, Digest::of(&card_bytes))
}

fn update_row(connection: &Connection, row: &Row) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE message SET state = ?2, offered = ?3, shelf = ?4, delivered_at = ?5, payload_place = ?6, \
             release_at = ?7, expire_at = ?8, remind_at = ?9, retain_payload_days = ?10, \
             retain_card_days = ?11, final_at = ?12, push_at = ?13, push_attempt = ?14, push_token = ?15, \
             push_leased = ?16 WHERE sequence = ?1",
        )?
        .execute(params![
            int(row.sequence),
            state_number(row.state),
            row.state.is_offered(),
            row.shelf,
            row.delivered_at,
            row.place as i64,
            row.release_at,
            row.expire_at,
            row.remind_at,
            row.retain_payload_days,
            row.retain_card_days,
            row.final_at,
            row.push_at,
            row.push_attempt,
            row.push_token,
            row.push_leased,
        ])?;
    Ok(())
}

/// The message, if it is the asker's.
pub fn row_in_view(connection: &Connection, change: &Change) -> Result<Row, Fault> {
    let row = row_by_id(connection, &change.id)?;
    rules::in_view(&row, change)?;
    Ok(row)
}

pub fn change(work: &mut Writing<'_>, change: &Change) -> Result<ProcessCard, Fault> {
    let row = row_in_view(work.connection, change)?;
    rules::in_time(&row, change, micros(change.at))?;
    apply(work, row, change)
}

fn apply(work: &mut Writing<'_>, before: Row, change: &Change) -> Result<ProcessCard, Fault> {
    let mut card = card(work.connection, before.sequence)?;
    if let Some(after) = rules::apply(&before, &mut card, change)? {
        if change.event == Event::PayloadPurged {
            drop_payload(work, &before)?;
        }
        rewrite(work, &before, &after, &card, change.event.into(), change.at)?;
    }
    Ok(card)
}

/// Everything that a recipient's yes to a held message means. A message that has ended meanwhile stays as it is; its
/// card says that the recipient had taken it, and the reply is kept all the same.
pub fn finish_push(work: &mut Writing<'_>, push: &FinishedPush) -> Result<ProcessCard, Fault> {
    let row = row_by_id(work.connection, &push.id)?;
    if let Some(reply) = &push.reply {
        let accepted = accept(work, reply, &Papers::of(reply)?)?;
        rules::reply_fits(row.state, accepted)?;
    }
    if rules::has_ended_otherwise(row.state) {
        let mut card = card(work.connection, row.sequence)?;
        if rules::note_late_push(&mut card, row.state, push) {
            rewrite(work, &row, &row, &card, RecordEvent::Inspected, push.received_at)?;
        }
        return Ok(card);
    }
    let mut card = None;
    for change in rules::steps_of(push) {
        let row = row_by_id(work.connection, &push.id)?;
        if !rules::has_passed(row.state, change.event) {
            card = Some(apply(work, row, &change)?);
        }
    }
    card.ok_or(Fault::Refusal(StoreError::Unknown))
}

pub fn inspect(
    work: &mut Writing<'_>,
    id: &MessageId,
    findings: &[CertificateFinding],
) -> Result<ProcessCard, Fault> {
    let row = row_by_id(work.connection, id)?;
    let mut card = card(work.connection, row.sequence)?;
    let Some(at) = findings.iter().map(|finding| finding.at).max() else { return Ok(card) };
    card.certificates.extend_from_slice(findings);
    rewrite(work, &row, &row, &card, RecordEvent::Inspected, at)?;
    Ok(card)
}

fn drop_payload(work: &mut Writing<'_>, row: &Row) -> Result<(), Fault> {
    let sequence = int(row.sequence);
    work.connection.prepare_cached("DELETE FROM payload WHERE sequence = ?1")?.execute(params![sequence])?;
    let mut names =
        work.connection.prepare_cached("DELETE FROM payload_file WHERE sequence = ?1 RETURNING name")?;
    let names = names.query_map(params![sequence], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    work.removed.extend(names);
    Ok(())
}

pub fn purge_payload(work: &mut Writing<'_>, id: &MessageId, now: Timestamp) -> Result<(), Fault> {
    let row = row_by_id(work.connection, id)?;
    apply(work, row, &rules::own(id, Event::PayloadPurged, now, None)).map(|_| ())
}

pub fn purge_card(work: &mut Writing<'_>, id: &MessageId, now: Timestamp) -> Result<(), Fault> {
    let row = row_by_id(work.connection, id)?;
    transition(row.state, Event::PayloadPurged).map_err(StoreError::from)?;
    let card = card(work.connection, row.sequence)?.to_bytes();
    drop_payload(work, &row)?;
    delete_timers(work.connection, &row)?;
    count(work.connection, &row.mailbox, -1, row.counts().map(|count| -count))?;
    for delete in [
        "DELETE FROM message WHERE sequence = ?1",
        "DELETE FROM paper WHERE sequence = ?1",
        "DELETE FROM relation WHERE sequence = ?1",
        "DELETE FROM statement WHERE sequence = ?1",
    ] {
        work.connection.prepare_cached(delete)?.execute(params![int(row.sequence)])?;
    }
    log(work, &row, RecordEvent::CardPurged, now, Digest::of(&card))
}

pub fn lease_push(
    work: &mut Writing<'_>,
    mailboxes: &[MailboxName],
    ordered: bool,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<PushLease>, Fault> {
    let mut due = Vec::new();
    for mailbox in mailboxes {
        if ordered {
            due.extend(first_undelivered(work.connection, mailbox)?.filter(|row| row.push_at <= micros(now)));
            continue;
        }
        let mut rows = work.connection.prepare_cached(&format!(
            "SELECT {ROW} FROM message INDEXED BY message_push WHERE mailbox = ?1 AND shelf > 0 \
             AND push_at <= ?2 ORDER BY push_at, sequence LIMIT ?3"
        ))?;
        for row in rows.query_map(params![mailbox.as_str(), micros(now), limit], read_row)? {
            due.push(row?);
        }
    }
    due.sort_by_key(|row| row.sequence);
    due.dedup_by_key(|row| row.sequence);
    due.truncate(limit as usize);
    let mut leases = Vec::with_capacity(due.len());
    for mut row in due {
        rules::lease(&mut row, micros(until));
        update_row(work.connection, &row)?;
        leases.push(PushLease {
            entry: entry(work.connection, row.sequence)?,
            attempt: row.push_attempt,
            until,
            token: uint(row.push_token),
        });
    }
    Ok(leases)
}

fn first_undelivered(connection: &Connection, mailbox: &MailboxName) -> Result<Option<Row>, Fault> {
    let mut rows = connection.prepare_cached(&format!(
        "SELECT {ROW} FROM message INDEXED BY message_mailbox WHERE mailbox = ?1 AND offered = 1 \
         ORDER BY sequence LIMIT 1"
    ))?;
    Ok(rows.query_row(params![mailbox.as_str()], read_row).optional()?)
}

pub fn record_attempt(
    work: &mut Writing<'_>,
    lease: &PushLease,
    outcome: &PushOutcome,
    now: Timestamp,
) -> Result<ProcessCard, Fault> {
    let mut row = row_by_id(work.connection, &lease.entry.card.id)?;
    let id = &lease.entry.card.id;
    if !rules::counts(&row, lease.token, outcome) {
        let mut card = card(work.connection, row.sequence)?;
        if rules::note_late_yes(&mut card, row.state, outcome, now) {
            rewrite(work, &row, &row, &card, RecordEvent::Inspected, now)?;
        }
        return Ok(card);
    }
    row.push_leased = false;
    match outcome {
        PushOutcome::Taken { .. } => {
            apply(work, row, &rules::own(id, Event::HandedOut, now, None))?;
            row = row_by_id(work.connection, id)?;
        }
        PushOutcome::Failed { next_at, .. } => row.push_at = micros(*next_at),
        PushOutcome::Received | PushOutcome::Dead { .. } => {}
    }
    let (event, reason) = rules::verdict_of(outcome);
    apply(work, row, &rules::own(id, event, now, reason))
}
