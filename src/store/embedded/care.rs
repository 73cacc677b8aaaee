//! What runs beside the traffic: checkpoints of the write-ahead log, the sweep of orphans, the online backup.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::payload::PayloadFolder;
use super::schema::{self, DATABASE_FILE};
use super::{OpenError, Readers};

/// At most one checkpoint in this time.
const PAUSE: Duration = Duration::from_millis(200);
/// Pages (of 4 KiB) in the log from which on a checkpoint is worth its syncs. Each makes a few commits wait for the disk;
/// with fewer pages to each, one message in a hundred would, and a page written often would be moved as often.
const PAGES_MIN: i64 = 4096;
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
    metrics::counter!("amtsbote_store_checkpoints_total").increment(1);
    if pages >= PAGES_MAX {
        // What came since the passive one is little, so the writer waits for little.
        run(connection, "TRUNCATE")?;
        metrics::counter!("amtsbote_store_checkpoints_total").increment(1);
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

/// How payload files come into a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Payload files are never written again, so a second name is a second holder.
    LinkOrCopy,
    /// Blocks of their own.
    Copy,
}

/// Copies the database as of one moment, and the payload files that it names then, into an empty or new folder.
pub fn copy(store: &Path, payloads: &PayloadFolder, into: &Path, files: Files) -> Result<(), OpenError> {
    std::fs::create_dir_all(into)?;
    if std::fs::read_dir(into)?.next().is_some() {
        return Err(OpenError::NotEmpty(into.to_owned()));
    }
    // Nothing that the copied rows name may vanish before it is copied.
    let _held = payloads.hold_removals();
    let copies = PayloadFolder::open(into)?;
    let database = into.join(DATABASE_FILE);
    let source = schema::open_reader(store)?;
    source.execute_batch("PRAGMA query_only = OFF")?;
    source.execute("VACUUM INTO ?1", params![database.to_string_lossy()])?;
    copy_payloads(&database, payloads, &copies, files)?;
    File::open(&database)?.sync_all()?;
    File::open(into)?.sync_all()?;
    Ok(())
}

fn copy_payloads(
    database: &Path,
    from: &PayloadFolder,
    to: &PayloadFolder,
    files: Files,
) -> Result<(), OpenError> {
    let connection = Connection::open(database)?;
    let mut names = connection.prepare("SELECT name FROM payload_file ORDER BY name")?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        let (source, target) = (from.path(&name), to.path(&name));
        if files == Files::Copy || std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    for shelf in std::fs::read_dir(to.root())? {
        File::open(shelf?.path())?.sync_all()?;
    }
    Ok(())
}
