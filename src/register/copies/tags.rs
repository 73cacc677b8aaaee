//! Whom an entry of the log is about, held together with the entry.
//!
//! A tag is a row beside the entry, because it is searched for. Its hash, with those of all others of the entry, is part of
//! what is sealed and chained. Entries of a register before version 10 do not have it there; theirs was sealed with the
//! register's key when the database was brought to that version.

use std::collections::{BTreeMap, BTreeSet};

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

/// Tags of some entries that follow each other, and what was sealed of them apart from the entries: for a walk through the
/// log, one question for many of them.
pub struct Tags {
    of: BTreeMap<i64, BTreeSet<Vec<u8>>>,
    kept: BTreeMap<i64, Vec<u8>>,
}

impl Tags {
    /// Of all entries from `first` to `last`.
    pub fn read(work: &Work<'_>, first: i64, last: i64) -> Result<Self, CopyError> {
        let mut of: BTreeMap<i64, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let sql = "SELECT number, tag FROM look_person WHERE number >= ?1 AND number <= ?2";
        work.each(sql, params![first, last], |row| {
            of.entry(row.get(0)?).or_default().insert(row.get(1)?);
            Ok(true)
        })?;
        let sql = "SELECT number, seal FROM look_tags WHERE number >= ?1 AND number <= ?2";
        let kept = work.all(sql, params![first, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self { of, kept: kept.into_iter().collect() })
    }

    /// Whether an entry has the tags that were written with it; `opened` is what was sealed of it.
    pub fn fit(&self, key: &LogKey, number: i64, opened: &[u8]) -> bool {
        let Ok(content) = serde_json::from_slice::<Content>(opened) else { return false };
        let tags = self.of.get(&number).map_or_else(|| hash(&BTreeSet::new()), hash);
        match content.tags {
            Some(known) => known == hex::lower(&tags),
            None => self.kept.get(&number).is_some_and(|seal| is_ours(key, number, &tags, seal)),
        }
    }
}

fn is_ours(key: &LogKey, number: i64, tags: &Hash, seal: &[u8]) -> bool {
    verify_slices_are_equal(key.tags(number, tags).as_ref(), seal).is_ok()
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
