//! Whom an entry of the log is about, held together with the entry.
//!
//! A tag is a row beside the entry, because it is searched for. Its hash, with those of all others of the entry, is part of
//! what is sealed and chained. Entries of a register before version 10 do not have it there; theirs was sealed with the
//! register's key when the database was brought to that version.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::Deserialize;

use super::CopyError;
use super::base::{Work, params};
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

fn of_entry(work: &Work<'_>, number: i64) -> Result<Hash, CopyError> {
    let sql = "SELECT tag FROM look_person WHERE number = ?1";
    let tags: Vec<Vec<u8>> = work.all(sql, params![number], |row| row.get(0))?;
    Ok(hash(&tags.into_iter().collect()))
}

/// Whether an entry has the tags that were written with it; `opened` is what was sealed of it.
pub fn fit(work: &Work<'_>, key: &LogKey, number: i64, opened: &[u8]) -> Result<bool, CopyError> {
    let Ok(content) = serde_json::from_slice::<Content>(opened) else { return Ok(false) };
    let tags = of_entry(work, number)?;
    Ok(match content.tags {
        Some(known) => known == hex::lower(&tags),
        None => kept(work, number)?.is_some_and(|seal| is_ours(key, number, &tags, &seal)),
    })
}

fn is_ours(key: &LogKey, number: i64, tags: &Hash, seal: &[u8]) -> bool {
    verify_slices_are_equal(key.tags(number, tags).as_ref(), seal).is_ok()
}

fn kept(work: &Work<'_>, number: i64) -> Result<Option<Vec<u8>>, CopyError> {
    work.one("SELECT seal FROM look_tags WHERE number = ?1", params![number], |row| row.get(0))
}

/// For entries that do not have their tags' hash themselves.
pub fn seal_old(work: &Work<'_>, key: &LogKey) -> Result<(), CopyError> {
    work.each("SELECT number FROM look WHERE content IS NOT NULL", params![], |row| {
        let number: i64 = row.get(0)?;
        let seal = key.tags(number, &of_entry(work, number)?);
        let sql = "INSERT INTO look_tags (number, seal) VALUES (?1, ?2)";
        work.run(sql, params![number, seal.as_ref()])?;
        Ok(true)
    })
}
