//! The spool directory: an outlet for procedures that read files and speak no protocol.
//!
//! Each message becomes one folder below `new/`, which appears whole and durable or not at all: it is written below
//! `tmp/`, synced, and renamed. Inside lie `message.json` (envelope and manifest) and the parts, byte for byte, as
//! `part-1`, `part-2`, …. Folder names begin with the order of entry, so that sorting by name keeps it. No name that
//! an author chose ever becomes a path. The procedure removes a folder when it has taken it over; a message may come
//! a second time after a crash of ours, and is told by its id. Left out: reading a spool for sending.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncWriteExt;

use crate::domain::content::{Digest, Part};
use crate::domain::envelope::Envelope;
use crate::relay::{Outlet, PushVerdict};
use crate::store::{Entry, PayloadReader, StoreError};

#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("the spool folder {folder}: {error}")]
    Folder { folder: PathBuf, error: io::Error },
    #[error("the spool cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("the payload cannot be read: {0}")]
    Payload(#[from] StoreError),
    #[error("part {number} of the payload is not what was accepted")]
    Damaged { number: usize },
    #[error("message.json: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes messages below one folder.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    name: String,
}

/// `message.json`.
#[derive(Serialize)]
struct Description<'a> {
    version: u16,
    envelope: &'a Envelope,
    parts: Vec<SpooledPart<'a>>,
}

#[derive(Serialize)]
struct SpooledPart<'a> {
    file: String,
    #[serde(flatten)]
    part: &'a Part,
}

impl Spool {
    /// Creates `new/` and `tmp/` where they are missing, and removes what an earlier run left unfinished.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let prepare = || {
            let unfinished = folder.join("tmp");
            if unfinished.exists() {
                std::fs::remove_dir_all(&unfinished)?;
            }
            std::fs::create_dir_all(&unfinished)?;
            std::fs::create_dir_all(folder.join("new"))?;
            sync_folder_now(folder)
        };
        prepare().map_err(|error| SpoolError::Folder { folder: folder.to_owned(), error })?;
        Ok(Self { folder: folder.to_owned(), name: folder.display().to_string() })
    }

    async fn write(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> Result<(), SpoolError> {
        let name = folder_name(entry);
        let (unfinished, finished) =
            (self.folder.join("tmp").join(&name), self.folder.join("new").join(&name));
        if fs::try_exists(&finished).await? {
            // Taken over before a crash or a cut-off attempt, and not yet fetched by the procedure. The rename may
            // not be on the disk yet, and "received" must wait for that.
            sync_folder(&self.folder.join("new")).await?;
            return Ok(());
        }
        if fs::try_exists(&unfinished).await? {
            fs::remove_dir_all(&unfinished).await?;
        }
        fs::create_dir(&unfinished).await?;
        let mut source = Source { payload, rest: bytes::Bytes::new(), position: 0 };
        let mut parts = Vec::with_capacity(entry.manifest.parts.len());
        // One behind the other in the payload, in whatever order the manifest names them.
        let mut in_payload: Vec<(usize, &Part)> = entry.manifest.parts.iter().enumerate().collect();
        in_payload.sort_by_key(|(_, part)| (part.offset, part.length));
        for (index, part) in in_payload {
            source.write_part(part, index + 1, &unfinished.join(file_name(index))).await?;
        }
        for (index, part) in entry.manifest.parts.iter().enumerate() {
            parts.push(SpooledPart { file: file_name(index), part });
        }
        let description = Description { version: 1, envelope: &entry.envelope, parts };
        let mut file = fs::File::create_new(unfinished.join("message.json")).await?;
        file.write_all(&serde_json::to_vec_pretty(&description)?).await?;
        file.sync_all().await?;
        sync_folder(&unfinished).await?;
        fs::rename(&unfinished, &finished).await?;
        sync_folder(&self.folder.join("new")).await?;
        Ok(())
    }
}

/// The payload's bytes in order, handed out part by part.
struct Source {
    payload: Box<dyn PayloadReader>,
    rest: bytes::Bytes,
    position: u64,
}

impl Source {
    async fn write_part(&mut self, part: &Part, number: usize, path: &Path) -> Result<(), SpoolError> {
        let damaged = || SpoolError::Damaged { number };
        if part.offset != self.position {
            return Err(damaged());
        }
        let mut file = fs::File::create_new(path).await?;
        let mut context = Context::new(&SHA256);
        let mut missing = part.length;
        while missing > 0 {
            if self.rest.is_empty() {
                self.rest = self.payload.next().await?.ok_or_else(damaged)?;
            }
            let take = usize::try_from(missing).unwrap_or(usize::MAX).min(self.rest.len());
            let piece = self.rest.split_to(take);
            context.update(&piece);
            file.write_all(&piece).await?;
            missing -= take as u64;
            self.position += take as u64;
        }
        file.sync_all().await?;
        if context.finish().as_ref() == part.digest.0 { Ok(()) } else { Err(damaged()) }
    }
}

fn file_name(index: usize) -> String {
    format!("part-{}", index + 1)
}

/// Order of entry, then a word that belongs to this id alone.
fn folder_name(entry: &Entry) -> String {
    let id = Digest::of(entry.envelope.id.key().as_str().as_bytes()).to_string();
    format!("{:020}-{}", entry.sequence, id.get(..16).unwrap_or(&id))
}

async fn sync_folder(folder: &Path) -> Result<(), io::Error> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || sync_folder_now(&folder)).await.map_err(io::Error::other)?
}

/// A new name is durable only when its folder is.
fn sync_folder_now(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[async_trait]
impl Outlet for Spool {
    async fn push(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> PushVerdict {
        match self.write(entry, payload).await {
            Ok(()) => PushVerdict::Received,
            // A full disk or damaged bytes are the operator's to mend; the message waits and is tried again.
            Err(error) => PushVerdict::TryLater { reason: error.to_string() },
        }
    }

    fn destination(&self) -> &str {
        &self.name
    }
}
