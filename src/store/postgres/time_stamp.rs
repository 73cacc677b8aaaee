//! Time stamps of a node's checkpoints in the PostgreSQL engine. A stamp is only kept if it is over what it stands
//! behind; whose it is, is for the relay to judge, who knows the anchors.

use jiff::Timestamp;

use super::read::column;
use super::{Fault, Reading};
use crate::domain::content::Digest;
use crate::pki::timestamp::Token;
use crate::store::row::{instant, int, micros, uint};
use crate::store::{StoreError, TimeStamp};

pub async fn save(
    reading: &Reading<'_>,
    node: &str,
    size: u64,
    number: u32,
    stamp: &TimeStamp,
) -> Result<(), Fault> {
    // The checkpoint's row is locked: of two stamps for one place, the second sees the first.
    let question = "SELECT note FROM checkpoint WHERE node = $1 AND size = $2 FOR UPDATE";
    let rows = reading.ask(question, &[&node, &int(size)]).await?;
    let note: &str = column(rows.first().ok_or(StoreError::Unknown)?, 0)?;
    let before = of(reading, node, size).await?;
    if before.len() as u64 != u64::from(number) {
        return Err(StoreError::Outdated { found: before.len() as u64 }.into());
    }
    let covered = before.last().map_or(note.as_bytes(), |last| &last.token);
    let token = Token::read(&stamp.token).and_then(|token| token.covers(covered).map(|()| token));
    match token {
        Ok(token) if token.time() == stamp.time => {}
        Ok(_) => return Err(corrupt(size, number, "it is of another time than it is kept with")),
        Err(error) => return Err(corrupt(size, number, &error.to_string())),
    }
    reading
        .ask(
            "INSERT INTO time_stamp (node, size, number, token, digest, time, good_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &node,
                &int(size),
                &i64::from(number),
                &stamp.token,
                &Digest::of(&stamp.token).0.as_slice(),
                &micros(stamp.time),
                &micros(stamp.good_until),
            ],
        )
        .await?;
    Ok(())
}

fn corrupt(size: u64, number: u32, why: &str) -> Fault {
    StoreError::Corrupt(format!("time stamp {number} of the checkpoint of size {size}: {why}")).into()
}

pub async fn of(reading: &Reading<'_>, node: &str, size: u64) -> Result<Vec<TimeStamp>, Fault> {
    let question =
        "SELECT token, time, good_until FROM time_stamp WHERE node = $1 AND size = $2 ORDER BY number";
    let rows = reading.ask(question, &[&node, &int(size)]).await?;
    rows.iter()
        .map(|row| {
            let (time, good_until) = (instant(column(row, 1)?), instant(column(row, 2)?));
            Ok(TimeStamp { token: column(row, 0)?, time, good_until })
        })
        .collect()
}

pub async fn stamped(reading: &Reading<'_>, node: &str, size: Option<u64>) -> Result<Option<u64>, Fault> {
    let rows = match size {
        Some(size) => {
            let question = "SELECT min(size) FROM time_stamp WHERE node = $1 AND size >= $2";
            reading.ask(question, &[&node, &int(size)]).await?
        }
        None => reading.ask("SELECT max(size) FROM time_stamp WHERE node = $1", &[&node]).await?,
    };
    let found: Option<i64> = rows.first().map_or(Ok(None), |row| column(row, 0))?;
    Ok(found.map(uint))
}

pub async fn ending(reading: &Reading<'_>, node: &str, before: Timestamp) -> Result<Option<u64>, Fault> {
    let rows = reading
        .ask(
            "SELECT size FROM time_stamp s WHERE node = $1 AND good_until < $2 AND NOT EXISTS \
             (SELECT 1 FROM time_stamp n WHERE n.node = s.node AND n.size = s.size AND n.number > s.number) \
             ORDER BY good_until, size LIMIT 1",
            &[&node, &micros(before)],
        )
        .await?;
    rows.first().map(|row| Ok(uint(column(row, 0)?))).transpose()
}
