//! What a store is opened with, who may open it, and why it cannot be opened.

use std::fs::File;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Fault;
use super::schema::Synchronous;

const LOCK_FILE: &str = "lock";

#[derive(Debug, Clone)]
pub struct Settings {
    pub folder: PathBuf,
    /// Free space of the disk, in bytes, below which nothing is accepted.
    pub disk_reserve_bytes: u64,
    /// Payloads up to this size lie in the database.
    pub inline_bytes_max: usize,
    /// Anything but `Full` is for tests.
    pub synchronous: Synchronous,
}

impl Settings {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            disk_reserve_bytes: 256 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
            synchronous: Synchronous::Full,
        }
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the store's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    #[error("another process has this store open ({0}); stop it first")]
    Locked(PathBuf),
    #[error("this store has version {found}, this program knows version {known}; use a newer amtsbote")]
    Newer { found: u32, known: u32 },
    #[error(
        "this store has version {found}, this program needs version {known}; run `amtsbote store upgrade`"
    )]
    Older { found: u32, known: u32 },
    #[error(
        "this store was copied into {to} and is no longer the one at work; start the server with that configuration, or, \
         if that copy was given up, delete {} first", file.display()
    )]
    Moved { to: String, file: PathBuf },
    #[error("the database in the store's folder belongs to another program")]
    Foreign,
    #[error("the database cannot be opened: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the store holds something that it cannot read: {0}")]
    Corrupt(String),
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    #[error("there is no store in {0}")]
    Absent(PathBuf),
    #[error("the store does not verify: {0}")]
    Unverified(String),
}

/// Says in a store's folder that the store was moved, and where to.
const MOVED: &str = "moved";

/// From here on no server starts on the store in this folder: it is at work elsewhere.
pub fn mark_moved(folder: &Path, to: &str) -> std::io::Result<()> {
    let mut file = File::create(folder.join(MOVED))?;
    std::io::Write::write_all(&mut file, format!("{to}\n").as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

pub fn refuse_moved(folder: &Path) -> Result<(), OpenError> {
    let file = folder.join(MOVED);
    match std::fs::read(&file) {
        Ok(to) => Err(OpenError::Moved { to: String::from_utf8_lossy(&to).trim().to_owned(), file }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => Self::Database(error),
            Fault::Refusal(error) => Self::Corrupt(error.to_string()),
        }
    }
}

/// Held while the store is open, so that no second process opens it.
///
/// Dropping it unlocks expressly: a process started meanwhile inherits the open file until it executes its program, and
/// closing our descriptor alone would leave the lock with it for that long (flock(2)).
pub struct Lock(pub File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails the lock goes with the last descriptor.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

pub fn lock(folder: &Path) -> Result<Lock, OpenError> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(folder.to_owned())),
        Err(error) => Err(OpenError::Folder(error.into())),
    }
}
