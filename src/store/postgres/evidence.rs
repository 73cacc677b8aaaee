//! A node's evidence log in the PostgreSQL engine: one row per record, and the hashes of complete subtrees from level 8 on.
//!
//! A proof reads the stored hashes and at most 255 leaves beside each, whatever the size of the log. Records never
//! change, so that a proof needs no snapshot: what it names is there or was never there.

use std::collections::HashMap;

use super::read::{column, digest};
use super::{Fault, Reading};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::evidence::checkpoint::VerifierKey;
use crate::evidence::tree::{self, Hash, MissingSubtree, Subtrees};
use crate::store::row::{int, uint};
use crate::store::{LoggedRecord, OtherLog, StoreError};

/// Subtrees of fewer leaves than 2^8 are hashed again when needed.
pub const STORED_LEVEL_MIN: u8 = 8;

/// Subtrees that were read so far.
#[derive(Default)]
pub struct Known(HashMap<(u8, u64), Hash>);

impl Subtrees for Known {
    type Error = MissingSubtree;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, MissingSubtree> {
        self.0.get(&(level, index)).copied().ok_or(MissingSubtree { level, index })
    }
}

/// Computes on the tree of this node's log, bringing each subtree that is asked for.
pub async fn on_tree<T>(
    reading: &Reading<'_>,
    node: &str,
    compute: impl Fn(&Known) -> Result<T, MissingSubtree>,
) -> Result<T, Fault> {
    let mut known = Known::default();
    loop {
        match compute(&known) {
            Ok(answer) => return Ok(answer),
            Err(MissingSubtree { level, index }) => {
                let hash = subtree(reading, node, level, index).await?;
                known.0.insert((level, index), hash);
            }
        }
    }
}

async fn subtree(reading: &Reading<'_>, node: &str, level: u8, index: u64) -> Result<Hash, Fault> {
    if level >= STORED_LEVEL_MIN {
        let question = "SELECT hash FROM evidence_node WHERE node = $1 AND level = $2 AND idx = $3";
        let rows = reading.ask(question, &[&node, &i64::from(level), &int(index)]).await?;
        let hash = rows.first().map(|row| digest(row, 0)).transpose()?.flatten();
        return hash
            .ok_or_else(|| Fault::corrupt(format!("evidence node {index} of level {level} is missing")));
    }
    let start = index << level;
    let question = "SELECT leaf FROM evidence WHERE node = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
    let rows = reading.ask(question, &[&node, &int(start), &int(start + (1 << level))]).await?;
    let leaves: Vec<Hash> =
        rows.iter().filter_map(|row| digest(row, 0).transpose()).collect::<Result<_, _>>()?;
    let complete = (leaves.len() == 1 << level).then(|| tree::perfect(&leaves)).flatten();
    complete.ok_or_else(|| Fault::corrupt(format!("evidence records from {start} on are missing")))
}

pub async fn size(reading: &Reading<'_>, node: &str) -> Result<u64, Fault> {
    let rows = reading.ask("SELECT size FROM node WHERE name = $1", &[&node]).await?;
    rows.first().map_or(Ok(0), |row| Ok(uint(column(row, 0)?)))
}

/// Refuses sizes that the log does not have.
pub async fn within(reading: &Reading<'_>, node: &str, size: u64) -> Result<(), Fault> {
    if self::size(reading, node).await? < size { Err(StoreError::Unknown.into()) } else { Ok(()) }
}

fn logged(row: &tokio_postgres::Row) -> Result<LoggedRecord, Fault> {
    Ok(LoggedRecord { index: uint(column(row, 0)?), bytes: column(row, 1)? })
}

pub async fn records(
    reading: &Reading<'_>,
    node: &str,
    from: u64,
    limit: u32,
) -> Result<Vec<LoggedRecord>, Fault> {
    let question = "SELECT idx, bytes FROM evidence WHERE node = $1 AND idx >= $2 ORDER BY idx LIMIT $3";
    let rows = reading.ask(question, &[&node, &int(from), &i64::from(limit)]).await?;
    rows.iter().map(logged).collect()
}

pub async fn records_of(
    reading: &Reading<'_>,
    node: &str,
    id: &MessageId,
) -> Result<Vec<LoggedRecord>, Fault> {
    let question = "SELECT e.idx, e.bytes FROM used u JOIN evidence e ON e.message = u.sequence AND e.node = $2 \
                    WHERE u.key = $1 ORDER BY e.idx";
    let rows = reading.ask(question, &[&id.key().as_str(), &node]).await?;
    rows.iter().map(logged).collect()
}

/// What the logs of other nodes than this one say about a message.
pub async fn elsewhere(reading: &Reading<'_>, node: &str, id: &MessageId) -> Result<Vec<OtherLog>, Fault> {
    let question = "SELECT e.idx, e.bytes, e.node FROM used u JOIN evidence e ON e.message = u.sequence \
                    WHERE u.key = $1 AND e.node <> $2 ORDER BY e.node, e.idx";
    let mut logs: Vec<OtherLog> = Vec::new();
    for row in reading.ask(question, &[&id.key().as_str(), &node]).await? {
        let (record, node) = (logged(&row)?, column::<String>(&row, 2)?);
        match logs.last_mut().filter(|log| log.node == node) {
            Some(log) => log.records.push(record),
            None => logs.push(OtherLog { node, records: vec![record] }),
        }
    }
    Ok(logs)
}

/// Makes these keys known as this node's.
pub async fn publish_keys(reading: &Reading<'_>, node: &str, keys: &[VerifierKey]) -> Result<(), Fault> {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let publish =
        "INSERT INTO evidence_key (node, verifier) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING";
    reading.ask(publish, &[&node, &keys]).await.map(drop)
}

pub async fn published_keys(reading: &Reading<'_>, node: &str) -> Result<Vec<VerifierKey>, Fault> {
    let rows = reading.ask("SELECT verifier FROM evidence_key WHERE node = $1 ORDER BY 1", &[&node]).await?;
    let unread = |error| Fault::corrupt(format!("a key of node {node}'s log: {error}"));
    rows.iter().map(|row| VerifierKey::parse(column(row, 0)?).map_err(unread)).collect()
}

pub async fn save_checkpoint(reading: &Reading<'_>, node: &str, size: u64, note: &str) -> Result<(), Fault> {
    let stamps = "SELECT count(*) FROM time_stamp s JOIN checkpoint c USING (node, size) \
                  WHERE s.node = $1 AND s.size = $2 AND c.note <> $3";
    let rows = reading.ask(stamps, &[&node, &int(size), &note]).await?;
    let stamps: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
    if stamps > 0 {
        return Err(StoreError::Outdated { found: uint(stamps) }.into());
    }
    reading
        .ask(
            "INSERT INTO checkpoint (node, size, note, digest) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (node, size) DO UPDATE SET note = excluded.note, digest = excluded.digest",
            &[&node, &int(size), &note, &Digest::of(note.as_bytes()).0.as_slice()],
        )
        .await?;
    Ok(())
}

pub async fn checkpoint(
    reading: &Reading<'_>,
    node: &str,
    size: Option<u64>,
) -> Result<Option<String>, Fault> {
    let rows = match size {
        Some(size) => {
            let question = "SELECT note FROM checkpoint WHERE node = $1 AND size >= $2 ORDER BY size LIMIT 1";
            reading.ask(question, &[&node, &int(size)]).await?
        }
        None => {
            let question = "SELECT note FROM checkpoint WHERE node = $1 ORDER BY size DESC LIMIT 1";
            reading.ask(question, &[&node]).await?
        }
    };
    rows.first().map(|row| column(row, 0)).transpose()
}
