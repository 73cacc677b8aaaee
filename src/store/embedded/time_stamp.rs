//! Time stamps of checkpoints in the embedded engine. A stamp is only kept if it is over what it stands behind; whose
//! it is, is for the relay to judge, who knows the anchors.

use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use crate::domain::content::Digest;
use crate::pki::timestamp::{Authorities, Token};
use crate::store::row::{instant, int, micros, uint};
use crate::store::{StoreError, TimeStamp};
use jiff::Timestamp;

pub(super) fn save(connection: &Connection, size: u64, number: u32, stamp: &TimeStamp) -> Result<(), Fault> {
    let note: Option<String> = connection
        .prepare_cached("SELECT note FROM checkpoint WHERE size = ?1")?
        .query_row(params![int(size)], |row| row.get(0))
        .optional()?;
    let note = note.ok_or(StoreError::Unknown)?;
    let before = of(connection, size)?;
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
    connection
        .prepare_cached(
            "INSERT INTO time_stamp (size, number, token, digest, time, good_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            int(size),
            number,
            stamp.token,
            Digest::of(&stamp.token).0,
            micros(stamp.time),
            micros(stamp.good_until)
        ])?;
    Ok(())
}

fn corrupt(size: u64, number: u32, why: &str) -> Fault {
    StoreError::Corrupt(format!("time stamp {number} of the checkpoint of size {size}: {why}")).into()
}

pub(super) fn of(connection: &Connection, size: u64) -> Result<Vec<TimeStamp>, Fault> {
    let mut rows = connection
        .prepare_cached("SELECT token, time, good_until FROM time_stamp WHERE size = ?1 ORDER BY number")?;
    let stamps = rows.query_map(params![int(size)], |row| {
        Ok(TimeStamp { token: row.get(0)?, time: instant(row.get(1)?), good_until: instant(row.get(2)?) })
    })?;
    Ok(stamps.collect::<Result<_, _>>()?)
}

pub(super) fn stamped(connection: &Connection, size: Option<u64>) -> Result<Option<u64>, Fault> {
    let found: Option<i64> = match size {
        Some(size) => connection
            .prepare_cached("SELECT min(size) FROM time_stamp WHERE size >= ?1")?
            .query_row(params![int(size)], |row| row.get(0))?,
        None => {
            connection.prepare_cached("SELECT max(size) FROM time_stamp")?.query_row([], |row| row.get(0))?
        }
    };
    Ok(found.map(uint))
}

pub(super) fn ending(connection: &Connection, before: Timestamp) -> Result<Option<u64>, Fault> {
    let found: Option<i64> = connection
        .prepare_cached(
            "SELECT size FROM time_stamp s WHERE good_until < ?1 AND NOT EXISTS \
             (SELECT 1 FROM time_stamp n WHERE n.size = s.size AND n.number > s.number) \
             ORDER BY good_until, size LIMIT 1",
        )?
        .query_row(params![micros(before)], |row| row.get(0))
        .optional()?;
    Ok(found.map(uint))
}

pub(super) fn count(connection: &Connection) -> Result<u64, rusqlite::Error> {
    connection.query_row("SELECT count(*) FROM time_stamp", [], |row| row.get(0)).map(uint)
}

/// What is wrong with the stamps that are kept, a sentence each: numbers without gaps, bytes as they came, each over
/// what it stands behind, none without its checkpoint; and by an authority that is believed, where any is named.
pub(super) fn problems(
    connection: &Connection,
    believed: &Authorities,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut problems = Vec::new();
    let mut rows = connection.prepare(
        "SELECT s.size, s.number, s.token, s.digest, s.time, CAST(c.note AS BLOB) \
         FROM time_stamp s LEFT JOIN checkpoint c ON c.size = s.size ORDER BY s.size, s.number",
    )?;
    let mut rows = rows.query([])?;
    let mut before: Option<(i64, i64, Vec<u8>)> = None;
    while let Some(row) = rows.next()? {
        let (size, number): (i64, i64) = (row.get(0)?, row.get(1)?);
        let name = format!("time stamp {number} of the checkpoint of size {size}");
        let (token, digest, note) = (bytes(row, 2)?, bytes(row, 3)?, bytes(row, 5)?);
        if digest != Digest::of(&token).0 {
            problems.push(format!("{name}: its bytes were changed"));
        }
        let covered = match &before {
            Some((of, last, token)) if *of == size && *last + 1 == number => Some(token.clone()),
            _ if number == 0 => Some(note),
            _ => None,
        };
        match (covered, Token::read(&token)) {
            (None, _) => problems.push(format!("{name}: the one before it is missing")),
            (_, Err(error)) => problems.push(format!("{name}: {error}")),
            (Some(covered), Ok(read)) => {
                if let Err(error) = read.covers(&covered) {
                    problems.push(format!("{name}: {error}"));
                }
                if !believed.is_empty()
                    && let Err(error) = believed.trust(&read)
                {
                    problems.push(format!("{name}: {error}"));
                }
                if micros(read.time()) != row.get::<_, i64>(4)? {
                    problems.push(format!("{name}: it is kept with another time than it says"));
                }
            }
        }
        before = Some((size, number, token));
    }
    Ok(problems)
}

fn bytes(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(at)? {
        rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}
