//! Whom an entry of the log is about, held together with the entry.
//!
//! A tag is a row beside the entry, because it is searched for. Its hash, with those of all others of the entry, is part of
//! what is sealed and chained. Entries of a register before version 10 do not have it there; theirs was sealed with the
//! register's key when the database was brought to that version.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Deserialize;

use super::CopyError;
use super::looks::LogKey;
use crate::domain::hex;
use crate::register::reconcile::{self, Hash};

/// What is sealed of an entry, as far as it is about tags.
#[derive(Deserialize)]
struct Content {
    tags: Option<String>,
}

/// Tags have one length.
pub fn hash(tags: &BTreeSet<Vec<u8>>) -> Hash {
    reconcile::hash(&tags.iter().flatten().copied().collect::<Vec<u8>>())
}

fn of_entry(connection: &Connection, number: i64) -> Result<Hash, CopyError> {
    let mut select = connection.prepare_cached("SELECT tag FROM look_person WHERE number = ?1")?;
    let tags = select.query_map(params![number], |row| row.get(0))?;
    Ok(hash(&tags.collect::<Result<_, _>>()?))
}

/// Whether an entry has the tags that were written with it; `opened` is what was sealed of it.
pub fn fit(connection: &Connection, key: &LogKey, number: i64, opened: &[u8]) -> bool {
    let (Ok(content), Ok(tags)) = (serde_json::from_slice::<Content>(opened), of_entry(connection, number))
    else {
        return false;
    };
    match content.tags {
        Some(known) => known == hex::lower(&tags),
        None => kept(connection, number)
            .is_ok_and(|seal| seal.is_some_and(|seal| is_ours(key, number, &tags, &seal))),
    }
}

fn is_ours(key: &LogKey, number: i64, tags: &Hash, seal: &[u8]) -> bool {
    verify_slices_are_equal(key.tags(number, tags).as_ref(), seal).is_ok()
}

fn kept(connection: &Connection, number: i64) -> Result<Option<Vec<u8>>, CopyError> {
    let mut select = connection.prepare_cached("SELECT seal FROM look_tags WHERE number = ?1")?;
    Ok(select.query_row(params![number], |row| row.get(0)).optional()?)
}

/// For entries that do not have their tags' hash themselves.
pub fn seal_old(work: &Transaction<'_>, key: &LogKey) -> Result<(), CopyError> {
    let mut select = work.prepare("SELECT number FROM look WHERE content IS NOT NULL")?;
    let mut numbers = select.query([])?;
    while let Some(row) = numbers.next()? {
        let number: i64 = row.get(0)?;
        let seal = key.tags(number, &of_entry(work, number)?);
        work.prepare_cached("INSERT INTO look_tags (number, seal) VALUES (?1, ?2)")?
            .execute(params![number, seal.as_ref()])?;
    }
    Ok(())
}
