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

/// Forgets dialogs, iterators and announced ids that are over at `now`; returns how many. What was handed out in a dialog
/// stays unconfirmed.
pub async fn sweep(reading: &Reading<'_>, now: i64) -> Result<u64, Fault> {
    let deliveries =
        "DELETE FROM dialog_delivery WHERE dialog IN (SELECT id FROM dialog WHERE expires_at <= $1)";
    reading.ask(deliveries, &[&now]).await?;
    let mut swept = 0;
    for delete in [
        "DELETE FROM dialog WHERE expires_at <= $1 RETURNING 1",
        "DELETE FROM used WHERE sequence IS NULL AND expires_at <= $1 RETURNING 1",
        "DELETE FROM iterator WHERE expires_at <= $1 RETURNING 1",
    ] {
        swept += reading.ask(delete, &[&now]).await?.len() as u64;
    }
    Ok(swept)
}
