//! What runs beside the traffic: checkpoints of the write-ahead log, the sweep of orphans, the online backup.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::payload::PayloadFolder;
use super::schema::{self, DATABASE_FILE};
use super::{Fault, OpenError, Readers};
use crate::store::StoreError;

/// At most one checkpoint in this time.
const PAUSE: Duration = Duration::from_millis(200);
/// Pages in the log from which on a checkpoint is worth its syncs.
const PAGES_MIN: i64 = 1000;
/// Pages (of 4 KiB) in the log from which on it is cut back to nothing, which makes the writer wait for a moment.
const PAGES_MAX: i64 = 32 * 1024;

/// The thread that moves the write-ahead log into the database.
pub struct Checkpointer {
    stop: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Checkpointer {
    /// Also returns where the writer says that it has written.
    pub fn start(folder: &Path) -> Result<(Self, SyncSender<()>), OpenError> {
        let connection = schema::open_writer(folder, schema::Synchronous::Full)?;
        let (written, on_written) = sync_channel(1);
        let (stop, on_stop) = sync_channel::<()>(0);
        let thread = std::thread::Builder::new()
            .name("amtsbote-checkpoint".to_owned())
            .spawn(move || checkpoints(&connection, &on_written, &on_stop))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, written))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn checkpoints(connection: &Connection, written: &Receiver<()>, stop: &Receiver<()>) {
    loop {
        match stop.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        if written.try_recv().is_ok()
            && let Err(error) = checkpoint(connection)
        {
            tracing::warn!(%error, "the write-ahead log could not be moved into the database; trying again");
        }
    }
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let pages = log_pages(connection)?;
    if pages < PAGES_MIN {
        return Ok(());
    }
    run(connection, "PASSIVE")?;
    if pages >= PAGES_MAX {
        // What came since the passive one is little, so the writer waits for little.
        run(connection, "TRUNCATE")?;
    }
    Ok(())
}

/// Pages in the log that are not yet in the database.
fn log_pages(connection: &Connection) -> rusqlite::Result<i64> {
    run(connection, "NOOP").map(|(log, done)| log - done)
}

fn run(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    let mut checkpoint = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    checkpoint.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
}

/// Removes payload files that no row names, in the background: each file is one look into an index.
pub fn sweep_orphans(readers: Arc<Readers>, payloads: PayloadFolder) -> Result<(), OpenError> {
    let sweep = move || {
        let swept = payloads.sweep(|name| {
            readers.read(|connection| {
                let mut named = connection.prepare_cached("SELECT 1 FROM payload_file WHERE name = ?1")?;
                Ok(named.exists(params![name])?)
            })
        });
        match swept {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "payload files of unfinished messages were removed"),
            Err(error) => tracing::warn!(%error, "the sweep of payload files was broken off"),
        }
    };
    std::thread::Builder::new().name("amtsbote-sweep".to_owned()).spawn(sweep)?;
    Ok(())
}

/// Copies the database as of one moment, and the payload files that it names then.
pub fn backup(readers: &Readers, payloads: &PayloadFolder, into: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(into)?;
    if std::fs::read_dir(into)?.next().is_some() {
        return Err(StoreError::Unavailable(format!("the backup's folder {} is not empty", into.display())));
    }
    let copies = PayloadFolder::open(into)?;
    let copy = into.join(DATABASE_FILE);
    // VACUUM is no question, so it has a connection of its own outside the readers' transactions.
    let source =
        schema::open_reader(&readers.folder).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let vacuum = || -> Result<(), Fault> {
        source.execute_batch("PRAGMA query_only = OFF")?;
        source.execute("VACUUM INTO ?1", params![copy.to_string_lossy()])?;
        Ok(())
    };
    vacuum().map_err(Fault::into_store_error)?;
    copy_payloads(&copy, payloads, &copies)?;
    File::open(&copy)?.sync_all()?;
    File::open(into)?.sync_all()?;
    Ok(())
}

/// Links or copies every file that the copied database names. One that was purged meanwhile is missing from the
/// copy's rows as well: its message is marked as purged there by the next purge, and verification names it.
fn copy_payloads(copy: &Path, from: &PayloadFolder, to: &PayloadFolder) -> Result<(), StoreError> {
    let names = || -> Result<Vec<String>, Fault> {
        let connection = Connection::open(copy)?;
        let mut names = connection.prepare("SELECT name FROM payload_file ORDER BY name")?;
        let names = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(names)
    };
    for name in names().map_err(Fault::into_store_error)? {
        let (source, target) = (from.path(&name), to.path(&name));
        if std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    for shelf in std::fs::read_dir(to.root())? {
        File::open(shelf?.path())?.sync_all()?;
    }
    Ok(())
}
