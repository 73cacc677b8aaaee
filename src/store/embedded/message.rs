//! What happens to messages inside the writer's transaction: accept, change, inspect, purge, push.
//!
//! Every function here writes the card, the mailbox's indexes and counters, the timers and the evidence record
//! together, or refuses before it has written anything that matters: the caller rolls a refused command back.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{self, Shelf, int, micros, state_number, state_of, uint};
use super::{Fault, evidence};
use crate::domain::account::AccountName;
use crate::domain::card::{CertificateFinding, Finding, ProcessCard, Severity, Step};
use crate::domain::content::Digest;
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::domain::state::{DeliveryState, Event, TransitionDenied, transition};
use crate::evidence::record::{Record, RecordEvent};
use crate::evidence::tree::Frontier;
use crate::store::{
    Acceptance, Accepted, Change, Deadlines, DueKind, Entry, FinishedPush, PushLease, PushOutcome,
    StagedPlace, StoreError,
};

/// The finding on the card of a message that was taken when it was no longer to be handed over.
const TAKEN_LATE: &str = "taken-late";

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

/// Where the bytes of a payload are; numbers as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Purged = 0,
    Inline = 1,
    File = 2,
}

/// The row of a message.
#[derive(Debug, Clone)]
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

pub const ROW: &str = "sequence, id, mailbox, state, shelf, posted_by, delivered_at, payload_bytes, \
    payload_digest, payload_place, release_at, expire_at, remind_at, retain_payload_days, retain_card_days, \
    final_at, push_at, push_attempt, push_token, push_leased";

impl Row {
    pub fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let state: i64 = row.get(3)?;
        let place: i64 = row.get(9)?;
        Ok(Self {
            sequence: uint(row.get(0)?),
            id: row.get(1)?,
            mailbox: row.get(2)?,
            state: state_of(state).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, state))?,
            shelf: row.get(4)?,
            posted_by: row.get(5)?,
            delivered_at: row.get(6)?,
            payload_bytes: row.get(7)?,
            payload_digest: Digest(row.get(8)?),
            place: match place {
                0 => Place::Purged,
                1 => Place::Inline,
                2 => Place::File,
                other => return Err(rusqlite::Error::IntegralValueOutOfRange(9, other)),
            },
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

    /// A message that was just accepted.
    fn new(sequence: u64, card: &ProcessCard, place: Place, deadlines: &Deadlines) -> Self {
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
    fn follow(&mut self, card: &ProcessCard) {
        self.state = card.state;
        self.shelf = Shelf::of(card) as i64;
        self.delivered_at = card.delivered_at.map(micros);
    }

    fn set_deadlines(&mut self, deadlines: &Deadlines) {
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
            let after = |days| micros(ServiceProfile::after_days(schema::instant(at), days));
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
    Ok(rows.query_row(params![int(sequence)], Row::of).optional()?)
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

/// SHA-256 over what the author wrote, as stored, so that damage to it is found.
pub fn author_digest(envelope: &[u8], manifest: &[u8]) -> Digest {
    Digest::of(&[envelope, manifest].concat())
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

/// Whether the id may be used by this acceptance; `Some` answers without storing anything.
fn admit(connection: &Connection, acceptance: &Acceptance) -> Result<Option<Accepted>, Fault> {
    let card = &acceptance.card;
    type Used = (Option<i64>, Option<[u8; 32]>, Option<String>, Option<i64>);
    let used: Option<Used> = connection
        .prepare_cached("SELECT sequence, request_digest, account, expires_at FROM used WHERE key = ?1")?
        .query_row(params![card.id.key().as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    match used {
        Some((Some(_), Some(digest), account, _)) => {
            let same =
                digest == acceptance.request_digest.0 && account.as_deref() == Some(card.posted_by.as_str());
            match (same, account.as_deref() == Some(card.posted_by.as_str())) {
                (true, _) => Ok(Some(Accepted::Before)),
                // Who may only use ids that were issued to him does not learn which others exist.
                (false, false) if acceptance.announced_only => Err(StoreError::NotAnnounced.into()),
                (false, _) => Err(StoreError::IdUsed.into()),
            }
        }
        Some((Some(_), None, ..)) => Err(StoreError::IdUsed.into()),
        Some((None, _, account, expires_at))
            if expires_at.is_some_and(|at| at > micros(card.accepted_at)) =>
        {
            if account.as_deref() == Some(card.posted_by.as_str()) {
                Ok(None)
            } else {
                Err(StoreError::NotAnnounced.into())
            }
        }
        _ if acceptance.announced_only => Err(StoreError::NotAnnounced.into()),
        _ => Ok(None),
    }
}

fn refuse_contradictions(acceptance: &Acceptance) -> Result<(), Fault> {
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
    Err(StoreError::Unavailable(format!("message {} was not stored: {contradiction}", card.id)).into())
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
            author_digest: author_digest(&envelope, &manifest),
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
    refuse_contradictions(acceptance)?;
    if let Some(answer) = admit(work.connection, acceptance)? {
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
            Place::File
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
    insert_row(work.connection, &row)?;
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

fn insert_row(connection: &Connection, row: &Row) -> Result<(), Fault> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO message ({ROW}, offered) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
             ?13, ?14, ?15, ?16, 0, 0, 0, 0, ?17)"
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
    let in_view = change
        .only_in
        .as_ref()
        .is_none_or(|mailboxes| mailboxes.iter().any(|mailbox| mailbox.as_str() == row.mailbox));
    let by_author = change.only_posted_by.as_ref().is_none_or(|account| account.as_str() == row.posted_by);
    if in_view && by_author { Ok(row) } else { Err(StoreError::Unknown.into()) }
}

pub fn change(work: &mut Writing<'_>, change: &Change) -> Result<ProcessCard, Fault> {
    let row = row_in_view(work.connection, change)?;
    let due = |kind| row.timers().iter().any(|(timer, at)| *timer == kind && *at <= micros(change.at));
    if !change.only_if_due.is_none_or(due) {
        return Err(StoreError::from(TransitionDenied { state: row.state, event: change.event }).into());
    }
    apply(work, row, change)
}

fn apply(work: &mut Writing<'_>, before: Row, change: &Change) -> Result<ProcessCard, Fault> {
    let event = change.event;
    let state = transition(before.state, event).map_err(StoreError::from)?;
    let mut card = card(work.connection, before.sequence)?;
    let already = match event {
        Event::Received => before.state == DeliveryState::Received,
        Event::PayloadPurged => before.place == Place::Purged,
        Event::HandedOut => card.has_enough_hand_outs(),
        _ => false,
    };
    if already {
        return Ok(card);
    }
    if event == Event::Requeued && before.place == Place::Purged {
        return Err(StoreError::from(TransitionDenied { state: before.state, event }).into());
    }
    card.record(Step { at: change.at, event, state, by: change.by.clone(), reason: change.reason.clone() });
    if event == Event::Requeued && card.delivered_at.is_none() {
        card.delivered_at = Some(change.at);
    }
    card.findings.extend(change.finding.clone());
    let mut after = before.clone();
    after.follow(&card);
    match event {
        Event::Released => after.release_at = None,
        Event::Reminded => after.remind_at = None,
        Event::Requeued => {
            (after.push_at, after.push_attempt, after.push_leased) = (0, 0, false);
        }
        Event::PayloadPurged => {
            drop_payload(work, &before)?;
            after.place = Place::Purged;
        }
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
    rewrite(work, &before, &after, &card, event.into(), change.at)?;
    Ok(card)
}

/// Everything that a recipient's yes to a held message means. A message that has ended meanwhile stays as it is; its
/// card says that the recipient had taken it, and the reply is kept all the same.
pub fn finish_push(work: &mut Writing<'_>, push: &FinishedPush) -> Result<ProcessCard, Fault> {
    let row = row_by_id(work.connection, &push.id)?;
    if let Some(reply) = &push.reply
        && accept(work, reply, &Papers::of(reply)?)? != Accepted::New
        // Told again, because the first answer did not arrive.
        && matches!(row.state, DeliveryState::Held | DeliveryState::Waiting | DeliveryState::HandedOut)
    {
        return Err(StoreError::IdUsed.into());
    }
    if matches!(row.state, DeliveryState::Cancelled | DeliveryState::Expired | DeliveryState::Dead) {
        return note_late_yes(work, &row, push);
    }
    let by = Some(push.by.to_string());
    let mut card = None;
    for (event, at) in [
        (Event::Released, push.forwarded_at),
        (Event::HandedOut, push.forwarded_at),
        (Event::Received, push.received_at),
        (Event::PayloadPurged, push.received_at),
    ] {
        let row = row_by_id(work.connection, &push.id)?;
        let passed = match event {
            Event::Released => row.state != DeliveryState::Held,
            Event::HandedOut => row.state == DeliveryState::Received,
            _ => false,
        };
        if !passed {
            let by = if event == Event::Received { by.clone() } else { None };
            card = Some(apply(work, row, &Change { by, ..own(&push.id, event, at, None) })?);
        }
    }
    card.ok_or(Fault::Refusal(StoreError::Unknown))
}

fn note_late_yes(work: &mut Writing<'_>, row: &Row, push: &FinishedPush) -> Result<ProcessCard, Fault> {
    const CODE: &str = "push-taken-late";
    let mut card = card(work.connection, row.sequence)?;
    if !card.findings.iter().any(|finding| finding.code == CODE) {
        card.findings.push(Finding {
            at: push.received_at,
            severity: Severity::Warning,
            code: CODE.to_owned(),
            reason: format!(
                "{} had taken it by a push, and the message was {} meanwhile",
                push.by, row.state
            ),
        });
        rewrite(work, row, row, &card, RecordEvent::Inspected, push.received_at)?;
    }
    Ok(card)
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
    apply(work, row, &own(id, Event::PayloadPurged, now, None)).map(|_| ())
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
        for row in rows.query_map(params![mailbox.as_str(), micros(now), limit], Row::of)? {
            due.push(row?);
        }
    }
    due.sort_by_key(|row| row.sequence);
    due.dedup_by_key(|row| row.sequence);
    due.truncate(limit as usize);
    let mut leases = Vec::with_capacity(due.len());
    for mut row in due {
        row.push_at = micros(until);
        row.push_attempt = row.push_attempt.saturating_add(1);
        row.push_token += 1;
        row.push_leased = true;
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
    Ok(rows.query_row(params![mailbox.as_str()], Row::of).optional()?)
}

/// A yes to a message that has expired, was cancelled or held meanwhile: it changes nothing but what its card says.
fn taken_late(
    work: &mut Writing<'_>,
    row: &Row,
    outcome: &PushOutcome,
    now: Timestamp,
) -> Result<ProcessCard, Fault> {
    let mut card = card(work.connection, row.sequence)?;
    let remark = match outcome {
        PushOutcome::Taken { remark } => remark.as_str(),
        PushOutcome::Received => "its recipient took it",
        PushOutcome::Failed { .. } | PushOutcome::Dead { .. } => return Ok(card),
    };
    // The same yes, told again.
    let known = card.findings.iter().any(|finding| finding.code == TAKEN_LATE && finding.reason == remark);
    if known || row.state == DeliveryState::Received {
        return Ok(card);
    }
    let (severity, code) = (Severity::Warning, TAKEN_LATE.to_owned());
    card.findings.push(Finding { at: now, severity, code, reason: remark.to_owned() });
    rewrite(work, row, row, &card, RecordEvent::Inspected, now)?;
    Ok(card)
}

pub fn record_attempt(
    work: &mut Writing<'_>,
    lease: &PushLease,
    outcome: &PushOutcome,
    now: Timestamp,
) -> Result<ProcessCard, Fault> {
    let mut row = row_by_id(work.connection, &lease.entry.card.id)?;
    let current = row.push_leased && uint(row.push_token) == lease.token;
    // A recipient's yes counts however late it is told; a late no has been overtaken by another attempt.
    let counts = current || matches!(outcome, PushOutcome::Received | PushOutcome::Taken { .. });
    if !counts || !row.state.is_offered() {
        return taken_late(work, &row, outcome, now);
    }
    row.push_leased = false;
    let id = &lease.entry.card.id;
    let (event, reason) = match outcome {
        PushOutcome::Received => (Event::Received, None),
        PushOutcome::Taken { remark } => {
            apply(work, row, &own(id, Event::HandedOut, now, None))?;
            row = row_by_id(work.connection, id)?;
            (Event::Received, Some(remark.clone()))
        }
        PushOutcome::Failed { reason, next_at } => {
            row.push_at = micros(*next_at);
            (Event::PushFailed, Some(reason.clone()))
        }
        PushOutcome::Dead { reason } => (Event::Undeliverable, Some(reason.clone())),
    };
    apply(work, row, &own(id, event, now, reason))
}
