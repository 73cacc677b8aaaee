//! Dialogs inside the writer's transaction and a reader's: open, move on exactly once, hand out, sweep.
//!
//! A step compares where the dialog stands with where the request believes it to stand, so that of two equal requests
//! one finds nothing. What the step confirms becomes received in the same transaction.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use super::message::{Writing, change as change_message};
use crate::domain::account::AccountName;
use crate::domain::card::ProcessCard;
use crate::domain::dialog::{ConversationId, Dialog, DialogStep, Originator};
use crate::domain::message_id::MessageId;
use crate::domain::state::Event;
use crate::store::row::{instant, int, micros, uint};
use crate::store::rules::own;
use crate::store::{Change, Stepped, StoreError};

pub fn open(work: &Writing<'_>, dialog: &Dialog) -> Result<(), Fault> {
    let new = work
        .connection
        .prepare_cached(
            "INSERT OR IGNORE INTO dialog (id, account, cipher, signature, encrypted, challenge, sequence, \
             opened_at, used_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            dialog.id.as_str(),
            dialog.account.as_str(),
            dialog.originator.cipher,
            dialog.originator.signature,
            dialog.encrypted,
            dialog.challenge,
            int(dialog.sequence),
            micros(dialog.opened_at),
            micros(dialog.used_at),
            micros(dialog.expires_at),
        ])?;
    if new == 1 { Ok(()) } else { Err(StoreError::IdUsed.into()) }
}

const COLUMNS: &str =
    "id, account, cipher, signature, encrypted, challenge, sequence, opened_at, used_at, expires_at";

type Columns = (String, String, Vec<u8>, Option<Vec<u8>>, bool, String, [i64; 4]);

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    let numbers = [row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?];
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, numbers))
}

fn complete(connection: &Connection, columns: Columns) -> Result<Dialog, Fault> {
    let (id, account, cipher, signature, encrypted, challenge, numbers) = columns;
    let [sequence, opened_at, used_at, expires_at] = numbers;
    let handed_out = handed_out(connection, &id)?;
    let damaged = |error: &dyn std::fmt::Display| Fault::corrupt(format!("a dialog: {error}"));
    Ok(Dialog {
        id: ConversationId::parse(&id).map_err(|error| damaged(&error))?,
        account: AccountName::parse(&account).map_err(|error| damaged(&error))?,
        originator: Originator { cipher, signature },
        encrypted,
        challenge,
        sequence: uint(sequence),
        handed_out,
        opened_at: instant(opened_at),
        used_at: instant(used_at),
        expires_at: instant(expires_at),
    })
}

fn handed_out(connection: &Connection, dialog: &str) -> Result<Vec<MessageId>, Fault> {
    let mut rows = connection
        .prepare_cached("SELECT message FROM dialog_delivery WHERE dialog = ?1 ORDER BY message")?;
    let rows = rows.query_map(params![dialog], |row| row.get::<_, String>(0))?;
    rows.map(|id| MessageId::parse(&id?).map_err(|error| Fault::corrupt(format!("a dialog: {error}"))))
        .collect()
}

pub fn find(connection: &Connection, id: &ConversationId, now: Timestamp) -> Result<Option<Dialog>, Fault> {
    let found = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM dialog WHERE id = ?1 AND expires_at > ?2"))?
        .query_row(params![id.as_str(), micros(now)], columns)
        .optional()?;
    found.map(|found| complete(connection, found)).transpose()
}

pub fn list(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Dialog>, Fault> {
    let mut rows = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM dialog WHERE expires_at > ?1 ORDER BY used_at DESC, id LIMIT ?2"
    ))?;
    let rows = rows.query_map(params![micros(now), limit], columns)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|found| complete(connection, found)).collect()
}

pub fn step(work: &mut Writing<'_>, step: &DialogStep) -> Result<Vec<ProcessCard>, Fault> {
    let id = step.id.as_str();
    let standing = params![id, step.challenge, int(step.sequence), micros(step.at)];
    const STANDING: &str = "WHERE id = ?1 AND challenge = ?2 AND sequence = ?3 AND expires_at > ?4";
    let account: Option<String> = work
        .connection
        .prepare_cached(&format!("SELECT account FROM dialog {STANDING}"))?
        .query_row(standing, |row| row.get(0))
        .optional()?;
    let Some(account) = account else { return Err(StoreError::Unknown.into()) };
    let mut received = Vec::new();
    if step.confirms {
        for message in handed_out(work.connection, id)? {
            received.extend(confirm(work, &message, &account, step.at)?);
        }
        forget_deliveries(work.connection, id)?;
    }
    match &step.challenge_next {
        Some(challenge) => work
            .connection
            .prepare_cached(
                "UPDATE dialog SET challenge = ?2, sequence = sequence + 1, encrypted = ?3, \
                 signature = coalesce(signature, ?4), used_at = ?5, expires_at = ?6 WHERE id = ?1",
            )?
            .execute(params![
                id,
                challenge,
                step.encrypted,
                step.signature,
                micros(step.at),
                micros(step.expires_at)
            ])?,
        None => {
            forget_deliveries(work.connection, id)?;
            work.connection.prepare_cached("DELETE FROM dialog WHERE id = ?1")?.execute(params![id])?
        }
    };
    Ok(received)
}

/// A step with something behind it, which may be refused by itself; what the database is to blame for undoes both.
pub fn step_and<T>(
    work: &mut Writing<'_>,
    step: &DialogStep,
    then: impl FnOnce(&mut Writing<'_>) -> Result<T, Fault>,
) -> Result<Stepped<T>, Fault> {
    let received = self::step(work, step)?;
    match work.apart(then) {
        Ok(done) => Ok(Stepped { received, then: Ok(done) }),
        Err(Fault::Refusal(refusal)) => Ok(Stepped { received, then: Err(refusal) }),
        Err(fault) => Err(fault),
    }
}

fn forget_deliveries(connection: &Connection, dialog: &str) -> Result<(), Fault> {
    connection.prepare_cached("DELETE FROM dialog_delivery WHERE dialog = ?1")?.execute(params![dialog])?;
    Ok(())
}

/// The card, if the confirmation changed it. What an operator or a deadline took away meanwhile stays away.
fn confirm(
    work: &mut Writing<'_>,
    message: &MessageId,
    account: &str,
    at: Timestamp,
) -> Result<Option<ProcessCard>, Fault> {
    let change = Change { by: Some(account.to_owned()), ..own(message, Event::Received, at, None) };
    match change_message(work, &change) {
        Ok(card) => Ok((card.received_at == Some(at)).then_some(card)),
        Err(Fault::Refusal(StoreError::Denied(_) | StoreError::Unknown)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

pub fn hand_out(
    work: &mut Writing<'_>,
    id: &ConversationId,
    sequence: u64,
    change: &Change,
) -> Result<ProcessCard, Fault> {
    let stands = work
        .connection
        .prepare_cached("SELECT 1 FROM dialog WHERE id = ?1 AND sequence = ?2 AND expires_at > ?3")?
        .exists(params![id.as_str(), int(sequence), micros(change.at)])?;
    if !stands {
        return Err(StoreError::Unknown.into());
    }
    let card = change_message(work, change)?;
    work.connection
        .prepare_cached("INSERT OR IGNORE INTO dialog_delivery (dialog, message) VALUES (?1, ?2)")?
        .execute(params![id.as_str(), card.id.as_str()])?;
    Ok(card)
}

/// Forgets what is over; what was handed out in it stays unconfirmed.
pub fn sweep(work: &Writing<'_>, now: Timestamp) -> Result<u64, Fault> {
    work.connection
        .prepare_cached(
            "DELETE FROM dialog_delivery WHERE dialog IN (SELECT id FROM dialog WHERE expires_at <= ?1)",
        )?
        .execute(params![micros(now)])?;
    let swept = work
        .connection
        .prepare_cached("DELETE FROM dialog WHERE expires_at <= ?1")?
        .execute(params![micros(now)])?;
    Ok(swept as u64)
}
