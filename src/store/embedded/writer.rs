//! The one thread that writes.
//!
//! It takes whatever commands are waiting (no timer; at most [`COMMANDS_MAX`] or [`BYTES_MAX`]), runs each under a
//! savepoint of one transaction, so that a refused command does not undo its neighbours, and answers all of them after
//! the commit. Every transaction carries a number. A commit that returns an error has an unknown outcome: the database
//! is opened again, and the number found there says for every waiting command alike whether it was stored.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::Fault;
use super::message::Writing;
use super::payload::PayloadFolder;
use super::schema::{self, Synchronous};
use super::{OpenError, evidence};
use crate::evidence::tree::Frontier;
use crate::store::StoreError;

pub const COMMANDS_MAX: usize = 256;
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Commands that may wait; beyond, their senders wait.
const QUEUE_MAX: usize = 1024;
const REOPEN_ATTEMPTS: u32 = 20;
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// What became of the transaction that a command was part of.
#[derive(Debug, Clone)]
enum Verdict {
    Stored,
    NotStored(String),
    /// The database could not even be asked.
    Unknown(String),
}

type Answer = Box<dyn FnOnce(&Verdict) + Send>;

type Run = Box<dyn FnOnce(Option<&mut Writing<'_>>) -> (Result<(), Option<ErrorCode>>, Answer) + Send>;

/// A command with the way to its asker.
struct Job {
    bytes: usize,
    /// Runs the command (`None`: there is nothing to run it on any more). Returns whether to keep what was done, and
    /// how to answer.
    run: Run,
}

/// The rest of the engine's hold on the writer.
pub struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// How a transaction is committed; tests put a failing disk in its place.
pub type Commit = fn(&Connection) -> rusqlite::Result<()>;

pub fn commit(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("COMMIT")
}

impl Writer {
    pub fn start(
        folder: PathBuf,
        payloads: PayloadFolder,
        synchronous: Synchronous,
        commit: Commit,
        written: blocking::SyncSender<()>,
    ) -> Result<Self, OpenError> {
        let trouble = Arc::new(Mutex::new(None));
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let mut thread = Thread {
            folder,
            payloads,
            synchronous,
            commit,
            written,
            trouble: Arc::clone(&trouble),
            open: None,
        };
        thread.open = Some(thread.open()?);
        let thread = std::thread::Builder::new()
            .name("amtsbote-store".to_owned())
            .spawn(move || thread.run(commands))
            .map_err(OpenError::Folder)?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), trouble })
    }

    /// Runs `command` in the next transaction and returns after that is durable. `settle` sees the result once it is
    /// known to be stored, and only then.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        command: impl FnOnce(&mut Writing<'_>) -> Result<T, Fault> + Send + 'static,
        settle: impl FnOnce(&T) + Send + 'static,
        unknown: impl FnOnce() + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let run = Box::new(move |work: Option<&mut Writing<'_>>| {
            let result = match work {
                Some(work) => command(work),
                None => Err(Fault::Refusal(StoreError::Unavailable("the command was not run".to_owned()))),
            };
            let kept = result.as_ref().map(|_| ()).map_err(Fault::code);
            let answer: Answer = Box::new(move |verdict| {
                let answer = match (verdict, result) {
                    (Verdict::Stored, Ok(value)) => {
                        settle(&value);
                        Ok(value)
                    }
                    (Verdict::Stored, Err(fault)) => Err(fault.into_store_error()),
                    (Verdict::NotStored(reason), _) => Err(StoreError::Unavailable(reason.clone())),
                    (Verdict::Unknown(reason), _) => {
                        unknown();
                        Err(StoreError::Unavailable(reason.clone()))
                    }
                };
                // An asker that went away learns the outcome when it asks again.
                let _ = tell.send(answer);
            });
            (kept, answer)
        });
        let stopped = || StoreError::Unavailable("the store is closed".to_owned());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queue.ok_or_else(stopped)?.send(Job { bytes, run }).await.map_err(|_| stopped())?;
        told.await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the command failed; see the log".to_owned())))
    }

    /// Why nothing is written, where that is so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes no more commands. The thread finishes those that wait; join it where waiting blocks nobody.
    pub fn stop(&self) -> Option<std::thread::JoinHandle<()>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An open database and what the thread knows about it.
struct Open {
    connection: Connection,
    frontier: Frontier,
    batch: i64,
}

struct Thread {
    folder: PathBuf,
    payloads: PayloadFolder,
    synchronous: Synchronous,
    commit: Commit,
    written: blocking::SyncSender<()>,
    trouble: Arc<Mutex<Option<String>>>,
    open: Option<Open>,
}

impl Thread {
    fn run(mut self, mut commands: mpsc::Receiver<Job>) {
        while let Some(first) = commands.blocking_recv() {
            let mut bytes = first.bytes;
            let mut jobs = vec![first];
            while jobs.len() < COMMANDS_MAX
                && bytes < BYTES_MAX
                && let Ok(next) = commands.try_recv()
            {
                bytes += next.bytes;
                jobs.push(next);
            }
            self.batch(jobs);
        }
    }

    fn open(&self) -> Result<Open, OpenError> {
        let connection = schema::open_writer(&self.folder, self.synchronous)?;
        let batch = connection.query_row("SELECT number FROM batch", [], |row| row.get(0))?;
        let frontier = evidence::frontier(&connection).map_err(OpenError::from)?;
        Ok(Open { connection, frontier, batch })
    }

    fn set_trouble(&self, reason: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// One transaction.
    fn batch(&mut self, jobs: Vec<Job>) {
        let mut answers = Vec::with_capacity(jobs.len());
        let mut removed = Vec::new();
        let verdict = match self.ready() {
            Ok(()) => self.attempt(jobs, &mut answers, &mut removed),
            Err(reason) => return refuse(jobs, &reason),
        };
        if matches!(verdict, Verdict::Stored) {
            removed.iter().for_each(|name| self.payloads.remove(name));
        }
        answers.into_iter().for_each(|answer: Answer| answer(&verdict));
        // Full: the checkpointer has been told already.
        let _ = self.written.try_send(());
    }

    fn ready(&mut self) -> Result<(), String> {
        if self.open.is_none() {
            // An outcome that could not be found out may lie in the log and not on the disk; a retry that meets it would
            // be told "accepted before".
            let open =
                self.open().and_then(|open| bury(&open.connection).map(|()| open).map_err(OpenError::from));
            let open = open.map_err(|error| error.to_string());
            self.set_trouble(open.as_ref().err().cloned());
            self.open = Some(open?);
        }
        Ok(())
    }

    fn attempt(&mut self, jobs: Vec<Job>, answers: &mut Vec<Answer>, removed: &mut Vec<String>) -> Verdict {
        let Some(open) = &mut self.open else { return Verdict::NotStored("the store is closed".to_owned()) };
        let number = open.batch + 1;
        let before = open.frontier.clone();
        let ran = run_jobs(open, number, jobs, answers, removed);
        let reason = match ran {
            Ok(()) => match (self.commit)(&open.connection) {
                Ok(()) => {
                    open.batch = number;
                    metrics::counter!("amtsbote_store_commits_total").increment(1);
                    return Verdict::Stored;
                }
                Err(error) => format!("the commit failed: {error}"),
            },
            Err(error) => {
                open.frontier = before;
                let undone =
                    open.connection.is_autocommit() || open.connection.execute_batch("ROLLBACK").is_ok();
                if undone {
                    tracing::error!(%error, "a transaction was given up; nothing of it was stored");
                    return Verdict::NotStored(format!("the transaction was given up: {error}"));
                }
                error.to_string()
            }
        };
        tracing::error!(
            reason,
            "the outcome of a transaction is unknown; the database is opened again to see"
        );
        self.decide(number, reason)
    }

    /// Finds out whether transaction `number` is stored.
    fn decide(&mut self, number: i64, reason: String) -> Verdict {
        self.open = None;
        self.set_trouble(Some(reason.clone()));
        for _ in 0..REOPEN_ATTEMPTS {
            match self.open() {
                Ok(open) => {
                    let stored = open.batch >= number;
                    if let Err(error) = bury(&open.connection) {
                        tracing::error!(%error, "what was found cannot be made durable yet");
                        std::thread::sleep(REOPEN_PAUSE);
                        continue;
                    }
                    tracing::warn!(stored, "the database is open again");
                    self.open = Some(open);
                    self.set_trouble(None);
                    return if stored { Verdict::Stored } else { Verdict::NotStored(reason) };
                }
                Err(error) => tracing::error!(%error, "the database cannot be opened again yet"),
            }
            std::thread::sleep(REOPEN_PAUSE);
        }
        Verdict::Unknown(format!(
            "{reason}; whether the message was stored is not known, ask again with the same id"
        ))
    }
}

/// Makes what a connection sees after a failed commit the only thing that can be seen, also after a power cut.
///
/// Frames of a transaction that failed may lie complete behind the log's end, where recovery would take them for
/// committed: a message that was refused, and whose payload is gone, would rise again. A write of no consequence goes
/// over them; then all is made durable.
fn bury(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("UPDATE batch SET number = number")?;
    make_durable(connection)
}

/// Moves the whole log into the database and syncs that.
///
/// After a failed fsync the kernel may call pages clean that never reached the disk, so that reading them back proves
/// nothing, nor does a second fsync of the same file. Copied to another file they are dirty again, and its fsync tells
/// the truth.
fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    let (busy, log, moved): (i64, i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if busy == 0 && log == moved {
        return Ok(());
    }
    let busy = rusqlite::ffi::Error { code: ErrorCode::DatabaseBusy, extended_code: 0 };
    Err(rusqlite::Error::SqliteFailure(busy, Some(format!("{moved} of {log} pages were moved"))))
}

/// Answers commands that cannot be run.
fn refuse(jobs: Vec<Job>, reason: &str) {
    tracing::error!(reason, "the store cannot be opened again; nothing is accepted until it can");
    for job in jobs {
        let (_, answer) = (job.run)(None);
        answer(&Verdict::NotStored(reason.to_owned()));
    }
}

/// Runs every job in one open transaction. An error means that the transaction as a whole must go.
fn run_jobs(
    open: &mut Open,
    number: i64,
    jobs: Vec<Job>,
    answers: &mut Vec<Answer>,
    removed: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let connection = &open.connection;
    let begun = connection
        .prepare_cached("BEGIN IMMEDIATE")
        .and_then(|mut begin| begin.execute([]))
        .and_then(|_| connection.prepare_cached("UPDATE batch SET number = ?1")?.execute([number]));
    let mut failed = begun.err();
    for job in jobs {
        if failed.is_none() {
            failed =
                connection.prepare_cached("SAVEPOINT command").and_then(|mut open| open.execute([])).err();
        }
        let edge = open.frontier.clone();
        let files = removed.len();
        let mut work = Writing { connection, frontier: &mut open.frontier, removed };
        let work = failed.is_none().then_some(&mut work);
        let ran = catch_unwind(AssertUnwindSafe(|| (job.run)(work)));
        let kept = match ran {
            Ok((kept, answer)) => {
                answers.push(answer);
                kept
            }
            // The panic's message is in the log; the asker learns that its command failed.
            Err(_) => Err(None),
        };
        if kept.is_err() {
            open.frontier = edge;
            removed.truncate(files);
        }
        if failed.is_none() {
            failed = close_savepoint(connection, kept).err();
        }
    }
    failed.map_or(Ok(()), Err)
}

fn close_savepoint(connection: &Connection, kept: Result<(), Option<ErrorCode>>) -> rusqlite::Result<()> {
    let code = match kept {
        Ok(()) => None,
        Err(code) => {
            let grave = matches!(
                code,
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::DatabaseBusy
                )
            );
            if grave || connection.is_autocommit() {
                let code = code.unwrap_or(ErrorCode::InternalMalfunction);
                let plain = rusqlite::ffi::Error { code, extended_code: 0 };
                return Err(rusqlite::Error::SqliteFailure(plain, Some(format!("{code:?}"))));
            }
            connection.prepare_cached("ROLLBACK TO command")?.execute([])?;
            code
        }
    };
    if let Some(code) = code {
        tracing::error!(?code, "a command failed in the database and was undone");
    }
    connection.prepare_cached("RELEASE command")?.execute([]).map(|_| ())
}
