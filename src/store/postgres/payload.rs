//! Payloads on their way in and out: small ones travel in the transaction, large ones are rows of chunks, or lie in an
//! object store where one is configured (`objects`).
//!
//! Chunks are committed one by one without waiting for the disk: in the database's log they lie before the seal, and the
//! seal before the transaction that names the payload, so that this transaction, once durable, has made them durable too.
//! A primary that was lost may have taken some with it; then the seal is missing, or counts too few, and nothing is
//! accepted. What nobody names is an orphan and is swept, by its own node at the next start or by any a day later.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::mpsc::UnboundedSender;

use super::objects::{OBJECT_BYTES, READ_BYTES};
use super::read::column;
use super::{Fault, Pools, Reading};
use crate::domain::content::Digest;
use crate::domain::message_id::MessageId;
use crate::store::row::{Place, int, place_of, uint};
use crate::store::{PayloadReader, PayloadWriter, StagedPayload, StagedPlace, StagedToken, StoreError};

/// Bytes of a chunk, and what is given out at once when read. Part of the stored format.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// What most payloads need, so that taking one in asks for memory once.
const INLINE_BYTES_USUAL: usize = 16 * 1024;

const BEGIN: &str = "INSERT INTO payload_large (name, node, incarnation) \
    SELECT $1, $2, $3 FROM set_config('synchronous_commit', 'off', true)";
/// Durable before the first object: no object without a row that the sweep finds.
const BEGIN_OBJECTS: &str =
    "INSERT INTO payload_large (name, node, incarnation, object_bytes) VALUES ($1, $2, $3, $4)";
const TOUCH: &str = "UPDATE payload_large SET touched_at = clock_timestamp() \
    FROM set_config('synchronous_commit', 'off', true) WHERE name = $1 AND dropped_at IS NULL RETURNING 1";
const SEAL_OBJECTS: &str = "UPDATE payload_large SET sealed = true FROM set_config('synchronous_commit', 'off', true) \
    WHERE name = $1 AND dropped_at IS NULL RETURNING 1";
const CHUNK: &str = "WITH chunk AS (INSERT INTO payload_chunk (name, number, bytes) \
    SELECT $1, $2, $3 FROM payload_large WHERE name = $1 AND dropped_at IS NULL) \
    UPDATE payload_large SET touched_at = clock_timestamp() FROM set_config('synchronous_commit', 'off', true) \
    WHERE name = $1 AND dropped_at IS NULL RETURNING 1";
const SEAL: &str = "UPDATE payload_large SET sealed = true FROM set_config('synchronous_commit', 'off', true) \
    WHERE name = $1 AND dropped_at IS NULL \
    AND (SELECT count(*) FROM payload_chunk WHERE payload_chunk.name = $1) = $2 RETURNING 1";
/// From here on no message can name the payload; how it is kept.
pub const LET_GO: &str = "UPDATE payload_large SET dropped_at = coalesce(dropped_at, clock_timestamp()) \
    WHERE name = $1 AND sequence IS NULL RETURNING object_bytes IS NOT NULL";
/// Lets go of a payload that no message names.
pub const DISCARD: &str = "WITH gone AS (DELETE FROM payload_large WHERE name = $1 AND sequence IS NULL RETURNING name) \
    DELETE FROM payload_chunk c USING gone WHERE c.name = gone.name";
/// Names of payloads to let go of: of this node's earlier lives, of nodes that are gone, and what was purged ten minutes
/// ago, so that a reader at work reads on. Without an object store ($3) what lies there is left to nodes that have it.
pub const ORPHANS: &str = "SELECT name FROM payload_large WHERE sequence IS NULL AND (object_bytes IS NULL OR $3) AND \
    ((node = $1 AND incarnation < $2 AND dropped_at IS NULL) OR dropped_at < clock_timestamp() - interval '10 minutes' \
     OR (dropped_at IS NULL AND touched_at < clock_timestamp() - interval '1 day')) LIMIT $4";

/// Of the next names of chunks after $1, at most $2: each with whether its payload is known. One name a step, however many
/// chunks it has.
pub const CHUNKED: &str = "WITH RECURSIVE found (name, step) AS ( \
    (SELECT name, 1::bigint FROM payload_chunk WHERE name > $1 ORDER BY name LIMIT 1) UNION ALL \
    SELECT (SELECT name FROM payload_chunk WHERE name > found.name ORDER BY name LIMIT 1), step + 1 FROM found \
    WHERE name IS NOT NULL AND step < $2) \
    SELECT name, EXISTS (SELECT 1 FROM payload_large WHERE payload_large.name = found.name) FROM found \
    WHERE name IS NOT NULL";
/// Chunks on their way when their payload was let go of. A payload is known before its first chunk and never comes back, so
/// that there is none to wait for.
pub const STRAY: &str = "DELETE FROM payload_chunk c WHERE name = ANY($1) \
    AND NOT EXISTS (SELECT 1 FROM payload_large l WHERE l.name = c.name)";

/// A large payload that no message names yet; dropped, it is let go of.
#[derive(Debug)]
struct ChunkToken {
    name: String,
    discard: UnboundedSender<String>,
    kept: bool,
}

impl StagedToken for ChunkToken {
    fn name(&self) -> &str {
        &self.name
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for ChunkToken {
    fn drop(&mut self) {
        if !self.kept {
            // Where nobody listens any more, the next start sweeps.
            let _ = self.discard.send(std::mem::take(&mut self.name));
        }
    }
}

/// Takes a payload in: in memory up to the threshold, in chunks or objects beyond it.
pub struct Intake {
    pools: Arc<Pools>,
    discard: UnboundedSender<String>,
    buffer: Vec<u8>,
    token: Option<ChunkToken>,
    chunks: i64,
    digest: Context,
    length: u64,
}

impl Intake {
    pub fn new(pools: Arc<Pools>, discard: UnboundedSender<String>) -> Self {
        let digest = Context::new(&SHA256);
        Self { pools, discard, buffer: Vec::new(), token: None, chunks: 0, digest, length: 0 }
    }

    /// What is gathered before it is handed on.
    fn piece_bytes_max(&self) -> usize {
        if self.pools.objects().is_some() { OBJECT_BYTES } else { CHUNK_BYTES }
    }

    /// Hands what was gathered to the database, or to the object store.
    async fn spill(&mut self) -> Result<(), StoreError> {
        let bytes = std::mem::take(&mut self.buffer);
        let name = match &self.token {
            Some(token) => token.name.clone(),
            None => self.begin().await?,
        };
        let kept = match self.pools.objects() {
            None => self.pools.run(CHUNK, &[&name, &self.chunks, &bytes]).await?,
            Some(objects) => {
                objects.put(self.pools.store_id(), &name, uint(self.chunks), bytes).await?;
                self.pools.run(TOUCH, &[&name]).await?
            }
        };
        self.chunks += 1;
        if kept.is_empty() { Err(vanished()) } else { Ok(()) }
    }

    async fn begin(&mut self) -> Result<String, StoreError> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (node, incarnation) = (self.pools.node(), self.pools.incarnation());
        match self.pools.objects() {
            None => self.pools.run(BEGIN, &[&name, &node, &incarnation]).await?,
            Some(_) => {
                self.pools
                    .run(BEGIN_OBJECTS, &[&name, &node, &incarnation, &int(OBJECT_BYTES as u64)])
                    .await?
            }
        };
        let discard = self.discard.clone();
        self.token = Some(ChunkToken { name: name.clone(), discard, kept: false });
        Ok(name)
    }
}

pub fn vanished() -> StoreError {
    StoreError::Unavailable("parts of the payload have vanished from the database; send it again".to_owned())
}

#[async_trait]
impl PayloadWriter for Intake {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        let mut rest = bytes;
        let piece_bytes_max = self.piece_bytes_max();
        while !rest.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(if self.token.is_some() {
                    piece_bytes_max
                } else {
                    INLINE_BYTES_USUAL
                });
            }
            let (piece, later) =
                rest.split_at(rest.len().min(piece_bytes_max.saturating_sub(self.buffer.len())));
            self.buffer.extend_from_slice(piece);
            rest = later;
            if !rest.is_empty() {
                self.spill().await?;
            }
        }
        Ok(())
    }

    fn length(&self) -> u64 {
        self.length
    }

    async fn seal(mut self: Box<Self>) -> Result<StagedPayload, StoreError> {
        let is_large = self.token.is_some() || self.buffer.len() > self.pools.inline_bytes_max();
        if is_large {
            self.spill().await?;
        }
        let mut digest = Digest([0; 32]);
        digest.0.copy_from_slice(self.digest.clone().finish().as_ref());
        let place = match self.token.take() {
            None => StagedPlace::Inline(bytes::Bytes::from(std::mem::take(&mut self.buffer))),
            Some(token) => {
                let sealed = match self.pools.objects() {
                    None => self.pools.run(SEAL, &[&token.name, &self.chunks]).await?,
                    Some(_) => self.pools.run(SEAL_OBJECTS, &[&token.name]).await?,
                };
                if sealed.is_empty() {
                    return Err(vanished());
                }
                StagedPlace::Staged(Box::new(token))
            }
        };
        Ok(StagedPayload { length: self.length, digest, place })
    }
}

/// Gives a stretch of a payload out.
pub enum Outgoing {
    Inline(bytes::Bytes),
    Chunks { pools: Arc<Pools>, name: String, at: u64, end: u64 },
    Objects { pools: Arc<Pools>, name: String, object_bytes: u64, at: u64, end: u64, piece: bytes::Bytes },
}

pub async fn open(
    reading: &Reading<'_>,
    pools: &Arc<Pools>,
    id: &MessageId,
    offset: u64,
    length: u64,
) -> Result<Outgoing, Fault> {
    // An inline payload is smaller than the number that `substring` counts with.
    let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX - 1);
    let rows = reading
        .ask(
            "SELECT m.payload_place, m.payload_bytes, l.name, substring(p.bytes from $2 + 1 for $3), \
             l.object_bytes \
             FROM used u JOIN message m ON m.sequence = u.sequence \
             LEFT JOIN payload p ON p.sequence = m.sequence LEFT JOIN payload_large l ON l.sequence = m.sequence \
             WHERE u.key = $1",
            &[&id.key().as_str(), &small(offset), &small(length)],
        )
        .await?;
    let row = rows.first().ok_or(StoreError::Unknown)?;
    let whole = uint(column(row, 1)?);
    let (at, end) = (offset.min(whole), offset.saturating_add(length).min(whole));
    match place_of(column(row, 0)?) {
        Some(Place::Inline) => {
            let bytes: Option<Vec<u8>> = column(row, 3)?;
            let bytes = bytes.unwrap_or_default();
            if bytes.len() as u64 != end - at {
                return Err(Fault::corrupt(format!("the payload of message {id} is too short")));
            }
            Ok(Outgoing::Inline(bytes.into()))
        }
        Some(Place::Apart) => {
            let name: Option<String> = column(row, 2)?;
            let name =
                name.ok_or_else(|| Fault::corrupt(format!("the payload of message {id} is missing")))?;
            Ok(Outgoing::apart(pools, name, column(row, 4)?, at..end))
        }
        Some(Place::Purged) | None => Err(StoreError::Unknown.into()),
    }
}

impl Outgoing {
    /// Of what lies in chunks, or in objects of so many bytes.
    pub fn apart(pools: &Arc<Pools>, name: String, object_bytes: Option<i64>, span: Range<u64>) -> Self {
        let (pools, Range { start: at, end }) = (Arc::clone(pools), span);
        match object_bytes.map(uint).filter(|bytes| *bytes > 0) {
            None => Self::Chunks { pools, name, at, end },
            Some(object_bytes) => {
                Self::Objects { pools, name, object_bytes, at, end, piece: bytes::Bytes::new() }
            }
        }
    }
}

#[async_trait]
impl PayloadReader for Outgoing {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, StoreError> {
        match self {
            Self::Inline(bytes) => {
                let piece = bytes.split_to(bytes.len().min(CHUNK_BYTES));
                Ok((!piece.is_empty()).then_some(piece))
            }
            Self::Chunks { pools, name, at, end } => {
                if at >= end {
                    return Ok(None);
                }
                let (number, skip) = (*at / CHUNK_BYTES as u64, *at % CHUNK_BYTES as u64);
                let rows = pools
                    .run(
                        "SELECT bytes FROM payload_chunk WHERE name = $1 AND number = $2",
                        &[name, &int(number)],
                    )
                    .await?;
                let chunk: Option<Vec<u8>> = rows.first().map(|row| row.get(0));
                let missing = || StoreError::Corrupt(format!("chunk {number} of payload {name} is missing"));
                let chunk = bytes::Bytes::from(chunk.ok_or_else(missing)?);
                let length = (*end - *at).min(CHUNK_BYTES as u64 - skip);
                if (chunk.len() as u64) < skip + length {
                    return Err(missing());
                }
                *at += length;
                Ok(Some(chunk.slice(skip as usize..(skip + length) as usize)))
            }
            Self::Objects { pools, name, object_bytes, at, end, piece } => {
                if piece.is_empty() && at < end {
                    let objects = pools.objects().ok_or_else(|| {
                        StoreError::Unavailable(
                            "the payload lies in an object store; configure [objects] here, too".to_owned(),
                        )
                    })?;
                    let (number, skip) = (*at / *object_bytes, *at % *object_bytes);
                    let length = (*end - *at).min(READ_BYTES).min(*object_bytes - skip);
                    *piece = objects.get(pools.store_id(), name, number, skip..skip + length).await?;
                    *at += length;
                }
                let out = piece.split_to(piece.len().min(CHUNK_BYTES));
                Ok((!out.is_empty()).then_some(out))
            }
        }
    }
}
