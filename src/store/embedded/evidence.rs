//! The evidence log in the embedded engine: one row per record, and the hashes of complete subtrees from level 8 on.
//!
//! A proof reads the stored hashes and at most 255 leaves beside each, whatever the size of the log.

use rusqlite::{Connection, OptionalExtension, params};

use super::Fault;
use crate::domain::content::Digest;
use crate::evidence::record::Record;
use crate::evidence::tree::{self, Frontier, Hash, Subtrees};
use crate::store::row::{int, uint};
use crate::store::{LoggedRecord, StoreError};

/// Subtrees of fewer leaves than 2^8 are hashed again when needed.
pub const STORED_LEVEL_MIN: u8 = 8;

/// The tree as stored.
pub(super) struct Stored<'a>(pub &'a Connection);

impl Subtrees for Stored<'_> {
    type Error = Fault;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Fault> {
        if level >= STORED_LEVEL_MIN {
            let mut node =
                self.0.prepare_cached("SELECT hash FROM evidence_node WHERE level = ?1 AND idx = ?2")?;
            let hash: Option<Hash> =
                node.query_row(params![level, int(index)], |row| row.get(0)).optional()?;
            return hash
                .ok_or_else(|| Fault::corrupt(format!("evidence node {index} of level {level} is missing")));
        }
        let start = index << level;
        let mut leaves =
            self.0.prepare_cached("SELECT leaf FROM evidence WHERE idx >= ?1 AND idx < ?2 ORDER BY idx")?;
        let leaves = leaves
            .query_map(params![int(start), int(start + (1 << level))], |row| row.get(0))?
            .collect::<Result<Vec<Hash>, _>>()?;
        let complete = (leaves.len() == 1 << level).then(|| tree::perfect(&leaves)).flatten();
        complete.ok_or_else(|| Fault::corrupt(format!("evidence records from {start} on are missing")))
    }
}

pub fn size(connection: &Connection) -> Result<u64, Fault> {
    let mut last = connection.prepare_cached("SELECT max(idx) FROM evidence")?;
    let last: Option<i64> = last.query_row([], |row| row.get(0))?;
    Ok(last.map_or(0, |last| uint(last) + 1))
}

pub fn frontier(connection: &Connection) -> Result<Frontier, Fault> {
    Frontier::of(&Stored(connection), size(connection)?)
}

/// Appends a record about the message of this sequence (`None`: the message that this record creates).
pub fn append(
    connection: &Connection,
    frontier: &mut Frontier,
    message: Option<u64>,
    record: &Record,
) -> Result<(), Fault> {
    let index = frontier.size();
    let bytes = record.to_bytes();
    let leaf = tree::leaf_hash(&bytes);
    let message = message.unwrap_or_else(|| sequence_of(index));
    connection
        .prepare_cached("INSERT INTO evidence (idx, message, leaf, bytes) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![int(index), int(message), leaf, bytes])?;
    for (level, node, hash) in frontier.append(leaf) {
        if level >= STORED_LEVEL_MIN {
            connection
                .prepare_cached("INSERT INTO evidence_node (level, idx, hash) VALUES (?1, ?2, ?3)")?
                .execute(params![level, int(node), hash])?;
        }
    }
    Ok(())
}

/// A message's sequence is the place of its first record, counted from 1: unique and growing for ever, since the log
/// never shrinks.
pub fn sequence_of(index: u64) -> u64 {
    index + 1
}

pub fn records(connection: &Connection, from: u64, limit: u32) -> Result<Vec<LoggedRecord>, Fault> {
    let mut rows =
        connection.prepare_cached("SELECT idx, bytes FROM evidence WHERE idx >= ?1 ORDER BY idx LIMIT ?2")?;
    let rows = rows.query_map(params![int(from), limit], logged)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

pub fn records_of(connection: &Connection, sequence: u64) -> Result<Vec<LoggedRecord>, Fault> {
    let mut rows =
        connection.prepare_cached("SELECT idx, bytes FROM evidence WHERE message = ?1 ORDER BY idx")?;
    let rows = rows.query_map(params![int(sequence)], logged)?.collect::<Result<_, _>>()?;
    Ok(rows)
}

fn logged(row: &rusqlite::Row<'_>) -> rusqlite::Result<LoggedRecord> {
    Ok(LoggedRecord { index: uint(row.get(0)?), bytes: row.get(1)? })
}

pub fn save_checkpoint(connection: &Connection, size: u64, note: &str) -> Result<(), Fault> {
    let stamps: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM time_stamp s JOIN checkpoint c ON c.size = s.size WHERE s.size = ?1 AND c.note <> ?2",
        )?
        .query_row(params![int(size), note], |row| row.get(0))?;
    if stamps > 0 {
        return Err(StoreError::Outdated { found: uint(stamps) }.into());
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO checkpoint (size, note, digest) VALUES (?1, ?2, ?3)")?
        .execute(params![int(size), note, Digest::of(note.as_bytes()).0])?;
    Ok(())
}

pub fn checkpoint(connection: &Connection, size: Option<u64>) -> Result<Option<String>, Fault> {
    let text = match size {
        Some(size) => connection
            .prepare_cached("SELECT note FROM checkpoint WHERE size >= ?1 ORDER BY size LIMIT 1")?
            .query_row(params![int(size)], |row| row.get(0))
            .optional()?,
        None => connection
            .prepare_cached("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?,
    };
    Ok(text)
}

/// The tree, if it has at least `size` leaves.
pub(super) fn within(connection: &Connection, size: u64) -> Result<Stored<'_>, Fault> {
    if self::size(connection)? < size { Err(StoreError::Unknown.into()) } else { Ok(Stored(connection)) }
}
