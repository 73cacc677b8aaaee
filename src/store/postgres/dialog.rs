//! Dialogs as they are opened and read. How they move on is decided with the messages ([`super::command`]).
//!
//! Their instants lie in the database on the database's clock and are told on the node's.

use tokio_postgres::Row as Found;

use super::read::column;
use super::{Fault, Reading, Skew};
use crate::domain::account::AccountName;
use crate::domain::dialog::{ConversationId, Dialog, Originator};
use crate::domain::message_id::MessageId;
use crate::store::StoreError;
use crate::store::row::{int, uint};

pub async fn open(reading: &Reading<'_>, dialog: &Dialog, skew: Skew) -> Result<(), Fault> {
    let rows = reading
        .ask(
            "INSERT INTO dialog (id, account, cipher, signature, encrypted, challenge, sequence, opened_at, used_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING RETURNING 1",
            &[
                &dialog.id.as_str(),
                &dialog.account.as_str(),
                &dialog.originator.cipher,
                &dialog.originator.signature,
                &dialog.encrypted,
                &dialog.challenge,
                &int(dialog.sequence),
                &skew.on_database(dialog.opened_at),
                &skew.on_database(dialog.used_at),
                &skew.on_database(dialog.expires_at),
            ],
        )
        .await?;
    if rows.is_empty() { Err(StoreError::IdUsed.into()) } else { Ok(()) }
}

const COLUMNS: &str = "id, account, cipher, signature, encrypted, challenge, sequence, opened_at, used_at, expires_at, \
    ARRAY(SELECT message FROM dialog_delivery WHERE dialog = id ORDER BY message)";

fn complete(row: &Found, skew: Skew) -> Result<Dialog, Fault> {
    let damaged = |error: &dyn std::fmt::Display| Fault::corrupt(format!("a dialog: {error}"));
    let handed_out: Vec<String> = column(row, 10)?;
    let handed_out = handed_out.iter().map(|id| MessageId::parse(id)).collect::<Result<_, _>>();
    Ok(Dialog {
        id: ConversationId::parse(column(row, 0)?).map_err(|error| damaged(&error))?,
        account: AccountName::parse(column(row, 1)?).map_err(|error| damaged(&error))?,
        originator: Originator { cipher: column(row, 2)?, signature: column(row, 3)? },
        encrypted: column(row, 4)?,
        challenge: column(row, 5)?,
        sequence: uint(column(row, 6)?),
        handed_out: handed_out.map_err(|error| damaged(&error))?,
        opened_at: skew.here(column(row, 7)?),
        used_at: skew.here(column(row, 8)?),
        expires_at: skew.here(column(row, 9)?),
    })
}

pub async fn find(
    reading: &Reading<'_>,
    id: &ConversationId,
    now: i64,
    skew: Skew,
) -> Result<Option<Dialog>, Fault> {
    let question = format!("SELECT {COLUMNS} FROM dialog WHERE id = $1 AND expires_at > $2");
    let rows = reading.ask(&question, &[&id.as_str(), &now]).await?;
    rows.first().map(|row| complete(row, skew)).transpose()
}

pub async fn list(reading: &Reading<'_>, now: i64, limit: u32, skew: Skew) -> Result<Vec<Dialog>, Fault> {
    let question =
        format!("SELECT {COLUMNS} FROM dialog WHERE expires_at > $1 ORDER BY used_at DESC, id LIMIT $2");
    let rows = reading.ask(&question, &[&now, &i64::from(limit)]).await?;
    rows.iter().map(|row| complete(row, skew)).collect()
}

/// Of each kind, as many are forgotten in one transaction.
const SWEEP_MAX: i64 = 1_000;
/// What somebody is at work with is left to the next sweep.
const SWEEP: [&str; 3] = [
    "WITH over AS (SELECT id FROM dialog WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
     delivered AS (DELETE FROM dialog_delivery WHERE dialog IN (SELECT id FROM over)) \
     DELETE FROM dialog WHERE id IN (SELECT id FROM over) RETURNING 1",
    "WITH over AS (SELECT key FROM used WHERE sequence IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2 \
     FOR UPDATE SKIP LOCKED) DELETE FROM used WHERE key IN (SELECT key FROM over) RETURNING 1",
    "WITH over AS (SELECT id FROM iterator WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
     DELETE FROM iterator WHERE id IN (SELECT id FROM over) RETURNING 1",
];

/// Forgets dialogs, iterators and announced ids that are over at `now`; returns how many, and whether there may be more.
/// What was handed out in a dialog stays unconfirmed.
pub async fn sweep(reading: &Reading<'_>, now: i64) -> Result<(u64, bool), Fault> {
    let (mut swept, mut more) = (0, false);
    for delete in SWEEP {
        let gone = reading.ask(delete, &[&now, &SWEEP_MAX]).await?.len();
        swept += gone as u64;
        more |= gone as i64 == SWEEP_MAX;
    }
    Ok((swept, more))
}
