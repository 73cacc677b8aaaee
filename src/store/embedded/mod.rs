//! The embedded engine: SQLite in one folder, for one node.
//!
//! One thread writes and answers after the commit (`writer`); readers have connections of their own; checkpoints of
//! the write-ahead log run from a third thread, so that they never stall an accept. Large payloads are files beside
//! the database (`payload`). A lock file keeps a second process out. Encryption at rest is the file system's.

mod care;
mod dialog;
mod evidence;
mod message;
mod payload;
mod read;
mod schema;
mod source;
mod statement;
mod time_stamp;
mod verify;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, params};
use thiserror::Error;

use self::care::Checkpointer;
use self::message::{Papers, Writing};
use self::payload::{Intake, PayloadFolder};
pub use self::schema::Synchronous;
pub(super) use self::source::{Large, Source};
pub use self::verify::{Report, restore, upgrade, verify, verify_signed};
use self::writer::Writer;
use super::row::{int, micros, uint};
use super::{
    Acceptance, Accepted, AdminAct, CardQuery, Change, Due, Entry, FinishedPush, Iterator, Listing,
    LoggedRecord, MailboxSummary, MessageQuery, PayloadReader, PayloadWriter, PushLease, PushOutcome,
    Selection, StagedPlace, Statement, Stepped, Store, StoreError, StoreHealth, SubmissionQuery, Submissions,
    TimeStamp,
};
use crate::domain::account::{Account, AccountName, Directory};
use crate::domain::card::{CertificateFinding, ProcessCard};
use crate::domain::dialog::{ConversationId, Dialog, DialogStep};
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::evidence::checkpoint::statement;
use crate::evidence::tree;

/// Readers' connections that are kept open.
const READERS_MAX: usize = 8;
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

fn refuse_moved(folder: &Path) -> Result<(), OpenError> {
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

/// Why a command or a question came to nothing.
#[derive(Debug, Error)]
enum Fault {
    #[error(transparent)]
    Refusal(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Fault {
    fn corrupt(what: String) -> Self {
        Self::Refusal(StoreError::Corrupt(what))
    }

    /// The database's own code, where it is to blame.
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refusal(_) => None,
            Self::Sqlite(error) => Some(error.sqlite_error_code().unwrap_or(ErrorCode::Unknown)),
        }
    }

    fn into_store_error(self) -> StoreError {
        match self {
            Self::Refusal(error) => error,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Corrupt(error.to_string())
                }
                _ => StoreError::Unavailable(error.to_string()),
            },
        }
    }
}

/// Held while the store is open, so that no second process opens it.
///
/// Dropping it unlocks expressly: a process started meanwhile inherits the open file until it executes its program, and
/// closing our descriptor alone would leave the lock with it for that long (flock(2)).
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails the lock goes with the last descriptor.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

fn lock(folder: &Path) -> Result<Lock, OpenError> {
    let file = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(folder.to_owned())),
        Err(error) => Err(OpenError::Folder(error.into())),
    }
}

/// Connections of readers, opened as needed.
struct Readers {
    folder: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn read<T>(&self, question: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.folder)
                .map_err(|error| StoreError::Unavailable(error.to_string()))?,
        };
        let answer = (|| {
            let transaction = connection.unchecked_transaction()?;
            let answer = question(&transaction);
            transaction.finish()?;
            answer
        })();
        // A connection that met an error may be at fault; the next reader opens another.
        if !matches!(answer, Err(Fault::Sqlite(_))) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READERS_MAX {
                idle.push(connection);
            }
        }
        answer.map_err(Fault::into_store_error)
    }
}

pub struct EmbeddedStore {
    settings: Settings,
    payloads: PayloadFolder,
    readers: Arc<Readers>,
    writer: Writer,
    checkpointer: Mutex<Option<Checkpointer>>,
    lock: Mutex<Option<Lock>>,
}

impl EmbeddedStore {
    /// Opens the store in `settings.folder`, creating folder and store where there is none.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::open_with(settings, writer::commit)
    }

    fn open_with(settings: Settings, commit: writer::Commit) -> Result<Self, OpenError> {
        let folder = settings.folder.clone();
        std::fs::create_dir_all(&folder)?;
        let lock = lock(&folder)?;
        refuse_moved(&folder)?;
        schema::prepare(&mut schema::open_writer(&folder, settings.synchronous)?)?;
        let payloads = PayloadFolder::open(&folder)?;
        // Names of the files made above are durable from here on.
        File::open(&folder)?.sync_all()?;
        let (checkpointer, written) = Checkpointer::start(&folder)?;
        let writer = Writer::start(folder.clone(), payloads.clone(), settings.synchronous, commit, written)?;
        let readers = Arc::new(Readers { folder, idle: Mutex::default() });
        care::sweep_orphans(Arc::clone(&readers), payloads.clone())?;
        Ok(Self {
            settings,
            payloads,
            readers,
            writer,
            checkpointer: Mutex::new(Some(checkpointer)),
            lock: Mutex::new(Some(lock)),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        blocking(move || readers.read(question)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Writing<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(1024, command, |_| {}, || {}).await
    }

    /// What an acceptance needs before its turn: room, and its papers.
    fn provide(&self, acceptance: &Acceptance) -> Result<Papers, StoreError> {
        self.refuse_when_full(inline_bytes(acceptance) as u64)?;
        Papers::of(acceptance)
    }

    /// Runs a command that accepts; `is_new` says by its answer whether a row names the payload since.
    async fn accept_by<T: Send + 'static>(
        &self,
        acceptance: Acceptance,
        papers: Papers,
        is_new: fn(&T) -> bool,
        accept: impl FnOnce(&mut Writing<'_>, &Acceptance, &Papers) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let bytes = inline_bytes(&acceptance) + papers.length();
        // The staged file's fate hangs on the outcome, so its token waits outside the command for it.
        let acceptance = Arc::new(Mutex::new(acceptance));
        let (stored, unknown) = (Arc::clone(&acceptance), Arc::clone(&acceptance));
        let command = move |work: &mut Writing<'_>| {
            let acceptance = acceptance.lock().unwrap_or_else(PoisonError::into_inner);
            accept(work, &acceptance, &papers)
        };
        let keep = |acceptance: &Mutex<Acceptance>| {
            keep_payload(&mut acceptance.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let settle = move |answer: &T| {
            if is_new(answer) {
                keep(&stored);
            }
        };
        // Whether a row names the file is not known; the next start's sweep finds out.
        let unknown = move || keep(&unknown);
        self.writer.run(bytes, command, settle, unknown).await
    }

    fn refuse_when_full(&self, bytes: u64) -> Result<(), StoreError> {
        self.refuse_below(self.settings.disk_reserve_bytes, bytes)
    }

    /// What a recipient has been asked for may use half of the reserve; the rest is for what frees room.
    fn refuse_reply_when_full(&self, bytes: u64) -> Result<(), StoreError> {
        self.refuse_below(self.settings.disk_reserve_bytes / 2, bytes)
    }

    fn refuse_below(&self, reserve: u64, bytes: u64) -> Result<(), StoreError> {
        let free = payload::free_bytes(&self.settings.folder)?;
        if free.saturating_sub(bytes) < reserve { Err(StoreError::Full { free, reserve }) } else { Ok(()) }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the question failed: {error}"))))
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn announce_bound(
        &self,
        id: &MessageId,
        account: &AccountName,
        bond: Option<&Bond>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.refuse_when_full(0)?;
        let (id, account, bond) = (id.clone(), account.clone(), bond.copied());
        self.write(move |work| message::announce(work, &id, &account, bond.as_ref(), now, expires_at)).await
    }

    async fn bond(&self, id: &MessageId) -> Result<Option<Bond>, StoreError> {
        let id = id.clone();
        self.read(move |connection| message::bond(connection, &id)).await
    }

    async fn payload_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        self.refuse_when_full(0)?;
        Ok(Box::new(Intake::new(self.payloads.clone(), self.settings.inline_bytes_max)))
    }

    async fn reply_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        self.refuse_reply_when_full(0)?;
        Ok(Box::new(Intake::new(self.payloads.clone(), self.settings.inline_bytes_max)))
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let is_new = |accepted: &Accepted| *accepted == Accepted::New;
        let papers = self.provide(&acceptance)?;
        self.accept_by(acceptance, papers, is_new, message::accept).await
    }

    async fn list(&self, selection: &Selection, after: u64, limit: u32) -> Result<Listing, StoreError> {
        let selection = selection.clone();
        self.read(move |connection| read::list(connection, &selection, after, limit)).await
    }

    async fn submissions(&self, query: &SubmissionQuery) -> Result<Submissions, StoreError> {
        let query = query.clone();
        self.read(move |connection| read::submissions(connection, &query)).await
    }

    async fn find(&self, id: &MessageId) -> Result<Entry, StoreError> {
        let id = id.clone();
        self.read(move |connection| read::find(connection, &id)).await
    }

    async fn open_payload(
        &self,
        id: &MessageId,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn PayloadReader>, StoreError> {
        let (id, payloads) = (id.clone(), self.payloads.clone());
        let outgoing = self
            .read(move |connection| read::open_payload(connection, &payloads, &id, offset, length))
            .await?;
        Ok(Box::new(outgoing))
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Vec<Entry>, StoreError> {
        let query = query.clone();
        self.read(move |connection| read::messages(connection, &query)).await
    }

    async fn related(
        &self,
        id: &MessageId,
        posted_by: &AccountName,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let (id, posted_by) = (id.clone(), posted_by.clone());
        self.read(move |connection| read::related(connection, &id, &posted_by, limit)).await
    }

    async fn mailboxes(&self) -> Result<Vec<MailboxSummary>, StoreError> {
        self.read(read::mailboxes).await
    }

    async fn cards(&self, query: &CardQuery) -> Result<(Vec<Entry>, bool), StoreError> {
        let query = query.clone();
        self.read(move |connection| read::cards(connection, &query)).await
    }

    async fn change(&self, change: Change) -> Result<ProcessCard, StoreError> {
        self.write(move |work| message::change(work, &change)).await
    }

    async fn declare(&self, change: Change, statement: Statement) -> Result<ProcessCard, StoreError> {
        self.write(move |work| statement::declare(work, &change, &statement)).await
    }

    async fn statements(&self, id: &MessageId) -> Result<Vec<Statement>, StoreError> {
        let id = id.clone();
        self.read(move |connection| statement::of_message(connection, &id)).await
    }

    async fn inspect(
        &self,
        id: &MessageId,
        findings: Vec<CertificateFinding>,
    ) -> Result<ProcessCard, StoreError> {
        let id = id.clone();
        self.write(move |work| message::inspect(work, &id, &findings)).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError> {
        self.read(move |connection| read::due(connection, now, limit)).await
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(read::next_due_at).await
    }

    async fn purge_payload(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |work| message::purge_payload(work, &id, now)).await
    }

    async fn purge_card(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |work| message::purge_card(work, &id, now)).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |work| {
            let mut swept = dialog::sweep(work, now)?;
            for delete in [
                "DELETE FROM used WHERE sequence IS NULL AND expires_at <= ?1",
                "DELETE FROM iterator WHERE expires_at <= ?1",
            ] {
                swept += work.connection.prepare_cached(delete)?.execute(params![micros(now)])? as u64;
            }
            Ok(swept)
        })
        .await
    }

    async fn save_iterator(&self, iterator: &Iterator) -> Result<(), StoreError> {
        self.refuse_when_full(0)?;
        let content = serde_json::to_vec(iterator).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let iterator = iterator.clone();
        self.write(move |work| {
            let mut save = work.connection.prepare_cached(
                "INSERT OR REPLACE INTO iterator (id, account, expires_at, content) VALUES (?1, ?2, ?3, ?4)",
            )?;
            save.execute(params![
                iterator.id,
                iterator.account.as_str(),
                micros(iterator.expires_at),
                content
            ])?;
            Ok(())
        })
        .await
    }

    async fn load_iterator(
        &self,
        id: &str,
        account: &AccountName,
        now: Timestamp,
    ) -> Result<Option<Iterator>, StoreError> {
        let (id, account) = (id.to_owned(), account.clone());
        self.read(move |connection| read::load_iterator(connection, &id, &account, now)).await
    }

    async fn drop_iterator(&self, id: &str, account: &AccountName) -> Result<(), StoreError> {
        let (id, account) = (id.to_owned(), account.clone());
        self.write(move |work| {
            work.connection
                .prepare_cached("DELETE FROM iterator WHERE id = ?1 AND account = ?2")?
                .execute(params![id, account.as_str()])?;
            Ok(())
        })
        .await
    }

    async fn open_dialog(&self, dialog: &Dialog) -> Result<(), StoreError> {
        self.refuse_when_full(0)?;
        let dialog = dialog.clone();
        self.write(move |work| dialog::open(work, &dialog)).await
    }

    async fn dialog(&self, id: &ConversationId, now: Timestamp) -> Result<Option<Dialog>, StoreError> {
        let id = id.clone();
        self.read(move |connection| dialog::find(connection, &id, now)).await
    }

    async fn dialog_and_bond(
        &self,
        id: &ConversationId,
        message: &MessageId,
        now: Timestamp,
    ) -> Result<(Option<Dialog>, Option<Bond>), StoreError> {
        let (id, message) = (id.clone(), message.clone());
        self.read(move |connection| {
            Ok((dialog::find(connection, &id, now)?, message::bond(connection, &message)?))
        })
        .await
    }

    async fn step_dialog(&self, step: &DialogStep) -> Result<Vec<ProcessCard>, StoreError> {
        let step = step.clone();
        self.write(move |work| dialog::step(work, &step)).await
    }

    async fn step_and_accept(
        &self,
        step: &DialogStep,
        acceptance: Acceptance,
    ) -> Result<Stepped<Accepted>, StoreError> {
        let papers = match self.provide(&acceptance) {
            Ok(papers) => papers,
            Err(refusal) => {
                return Ok(Stepped { received: self.step_dialog(step).await?, then: Err(refusal) });
            }
        };
        let step = step.clone();
        let is_new = |stepped: &Stepped<Accepted>| matches!(stepped.then, Ok(Accepted::New));
        self.accept_by(acceptance, papers, is_new, move |work, acceptance, papers| {
            dialog::step_and(work, &step, |work| message::accept(work, acceptance, papers))
        })
        .await
    }

    async fn step_and_announce(
        &self,
        step: &DialogStep,
        id: &MessageId,
        account: &AccountName,
        bond: Option<&Bond>,
        expires_at: Timestamp,
    ) -> Result<Stepped<()>, StoreError> {
        if let Err(full) = self.refuse_when_full(0) {
            return Ok(Stepped { received: self.step_dialog(step).await?, then: Err(full) });
        }
        let (step, id, account, bond) = (step.clone(), id.clone(), account.clone(), bond.copied());
        self.write(move |work| {
            dialog::step_and(work, &step, |work| {
                message::announce(work, &id, &account, bond.as_ref(), step.at, expires_at)
            })
        })
        .await
    }

    async fn hand_out_in_dialog(
        &self,
        id: &ConversationId,
        sequence: u64,
        change: Change,
    ) -> Result<ProcessCard, StoreError> {
        let id = id.clone();
        self.write(move |work| dialog::hand_out(work, &id, sequence, &change)).await
    }

    async fn dialogs(&self, now: Timestamp, limit: u32) -> Result<Vec<Dialog>, StoreError> {
        self.read(move |connection| dialog::list(connection, now, limit)).await
    }

    async fn lease_push(
        &self,
        mailboxes: &[MailboxName],
        ordered: bool,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PushLease>, StoreError> {
        let mailboxes = mailboxes.to_vec();
        self.write(move |work| message::lease_push(work, &mailboxes, ordered, now, until, limit)).await
    }

    async fn record_attempt(
        &self,
        lease: &PushLease,
        outcome: PushOutcome,
        now: Timestamp,
    ) -> Result<ProcessCard, StoreError> {
        let lease = lease.clone();
        self.write(move |work| message::record_attempt(work, &lease, &outcome, now)).await
    }

    async fn note_push(&self, id: &MessageId, note: Option<&str>) -> Result<(), StoreError> {
        let (id, note) = (id.clone(), note.map(str::to_owned));
        self.write(move |work| message::note_push(work, &id, note.as_deref())).await
    }

    async fn push_note(&self, id: &MessageId) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.read(move |connection| message::push_note(connection, &id)).await
    }

    async fn finish_push(&self, push: FinishedPush) -> Result<ProcessCard, StoreError> {
        let inline = push.reply.as_ref().map_or(0, inline_bytes);
        if push.reply.is_some() {
            self.refuse_reply_when_full(inline as u64)?;
        }
        let push = Arc::new(Mutex::new(push));
        let (stored, unknown) = (Arc::clone(&push), Arc::clone(&push));
        let command = move |work: &mut Writing<'_>| {
            let push = push.lock().unwrap_or_else(PoisonError::into_inner);
            message::finish_push(work, &push)
        };
        let keep = |push: &Mutex<FinishedPush>| {
            let mut push = push.lock().unwrap_or_else(PoisonError::into_inner);
            push.reply.iter_mut().for_each(keep_payload);
        };
        self.writer.run(inline + 4096, command, move |_| keep(&stored), move || keep(&unknown)).await
    }

    async fn directory(&self) -> Result<Directory, StoreError> {
        self.read(read::directory).await
    }

    async fn apply_directory(
        &self,
        based_on: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
        act: AdminAct,
    ) -> Result<Directory, StoreError> {
        let refuse =
            |error: String| StoreError::Unavailable(format!("the directory was not stored: {error}"));
        let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| refuse(error.to_string()));
        let content = [json(serde_json::to_vec(&accounts))?, json(serde_json::to_vec(&profiles))?];
        let directory =
            Directory::new(based_on + 1, accounts, profiles).map_err(|error| refuse(error.to_string()))?;
        self.write(move |work| {
            let found: i64 =
                work.connection.query_row("SELECT revision FROM directory", [], |row| row.get(0))?;
            if uint(found) != based_on {
                return Err(StoreError::Outdated { found: uint(found) }.into());
            }
            let [accounts, profiles] = &content;
            work.connection
                .prepare_cached("UPDATE directory SET revision = ?1, accounts = ?2, profiles = ?3")?
                .execute(params![int(based_on + 1), accounts, profiles])?;
            insert_act(work, &act)?;
            Ok(directory)
        })
        .await
    }

    async fn record_act(&self, act: AdminAct) -> Result<(), StoreError> {
        self.write(move |work| insert_act(work, &act)).await
    }

    async fn acts(&self, limit: u32) -> Result<Vec<AdminAct>, StoreError> {
        self.read(move |connection| read::acts(connection, limit)).await
    }

    async fn evidence_size(&self) -> Result<u64, StoreError> {
        self.read(evidence::size).await
    }

    async fn evidence_records(&self, from: u64, limit: u32) -> Result<Vec<LoggedRecord>, StoreError> {
        self.read(move |connection| evidence::records(connection, from, limit)).await
    }

    async fn evidence_of(&self, id: &MessageId) -> Result<Vec<LoggedRecord>, StoreError> {
        let id = id.clone();
        self.read(move |connection| match message::sequence_by_id(connection, &id)? {
            Some(sequence) => evidence::records_of(connection, sequence),
            None => Ok(Vec::new()),
        })
        .await
    }

    async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        self.read(move |connection| {
            let tree = evidence::within(connection, size)?;
            if index >= size {
                return Err(StoreError::Unknown.into());
            }
            tree::inclusion_proof(&tree, index, size)
        })
        .await
    }

    async fn consistency_proof(&self, old_size: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        self.read(move |connection| {
            let tree = evidence::within(connection, size)?;
            if old_size > size {
                return Err(StoreError::Unknown.into());
            }
            tree::consistency_proof(&tree, old_size, size)
        })
        .await
    }

    async fn tree_root(&self, size: u64) -> Result<[u8; 32], StoreError> {
        self.read(move |connection| tree::root(&evidence::within(connection, size)?, size)).await
    }

    async fn save_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError> {
        let note = note.to_owned();
        self.write(move |work| {
            let root = tree::root(&evidence::within(work.connection, size)?, size)?;
            if statement(&note) != Some((size, root)) {
                let what = format!("the checkpoint does not state size {size} and the root of the log");
                return Err(StoreError::Corrupt(what).into());
            }
            evidence::save_checkpoint(work.connection, size, &note)
        })
        .await
    }

    async fn checkpoint(&self, size: Option<u64>) -> Result<Option<String>, StoreError> {
        self.read(move |connection| evidence::checkpoint(connection, size)).await
    }

    async fn save_time_stamp(&self, size: u64, number: u32, stamp: &TimeStamp) -> Result<(), StoreError> {
        let stamp = stamp.clone();
        self.write(move |work| time_stamp::save(work.connection, size, number, &stamp)).await
    }

    async fn time_stamps(&self, size: u64) -> Result<Vec<TimeStamp>, StoreError> {
        self.read(move |connection| time_stamp::of(connection, size)).await
    }

    async fn time_stamped(&self, size: Option<u64>) -> Result<Option<u64>, StoreError> {
        self.read(move |connection| time_stamp::stamped(connection, size)).await
    }

    async fn time_stamp_ending(&self, before: Timestamp) -> Result<Option<u64>, StoreError> {
        self.read(move |connection| time_stamp::ending(connection, before)).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let free_bytes = payload::free_bytes(&self.settings.folder)?;
        let reserve = self.settings.disk_reserve_bytes;
        let reason = self.writer.trouble().or_else(|| {
            (free_bytes < reserve).then(|| StoreError::Full { free: free_bytes, reserve }.to_string())
        });
        let (messages, evidence_records) = self
            .read(|connection| Ok((read::message_count(connection)?, evidence::size(connection)?)))
            .await?;
        Ok(StoreHealth {
            accepting: reason.is_none(),
            reason: reason.unwrap_or_default(),
            free_bytes,
            messages,
            evidence_records,
            schema_version: schema::current_version(),
            engine: "embedded".to_owned(),
        })
    }

    async fn backup(&self, into: &Path) -> Result<(), StoreError> {
        let (readers, payloads, into) = (Arc::clone(&self.readers), self.payloads.clone(), into.to_owned());
        blocking(move || {
            care::copy(&readers.folder, &payloads, &into, care::Files::LinkOrCopy)
                .map_err(|error| Fault::from(error).into_store_error())
        })
        .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let thread = self.writer.stop();
        let checkpointer = self.checkpointer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let readers = Arc::clone(&self.readers);
        blocking(move || {
            if let Some(thread) = thread {
                let _ = thread.join();
            }
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            // The last connection to close moves the write-ahead log into the database.
            drop(checkpointer);
            drop(lock);
            Ok(())
        })
        .await
    }
}

/// A store dropped without `close` still finishes what was begun before it lets go of the lock.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Some(thread) = self.writer.stop() {
            let _ = thread.join();
        }
    }
}

/// Bytes of payload that travel in the transaction.
fn inline_bytes(acceptance: &Acceptance) -> usize {
    match &acceptance.payload.place {
        StagedPlace::Inline(bytes) => bytes.len(),
        StagedPlace::Staged(_) => 0,
    }
}

fn keep_payload(acceptance: &mut Acceptance) {
    if let StagedPlace::Staged(token) = &mut acceptance.payload.place {
        token.keep();
    }
}

fn insert_act(work: &mut Writing<'_>, act: &AdminAct) -> Result<(), Fault> {
    let content = serde_json::to_vec(act).map_err(|error| {
        Fault::Refusal(StoreError::Unavailable(format!("the act was not stored: {error}")))
    })?;
    work.connection.prepare_cached("INSERT INTO act (content) VALUES (?1)")?.execute(params![content])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::domain::state::DeliveryState;

    fn settings(folder: &Path) -> Settings {
        Settings { disk_reserve_bytes: 0, synchronous: Synchronous::Normal, ..Settings::new(folder) }
    }

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("a message id")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("an instant")
    }

    async fn announce(store: &EmbeddedStore, text: &str) -> Result<(), StoreError> {
        let account = AccountName::parse("amt").expect("an account name");
        store.announce(&id(text), &account, at(0), at(100)).await
    }

    fn failure() -> rusqlite::Error {
        let code = rusqlite::ffi::Error { code: ErrorCode::SystemIoFailure, extended_code: 0 };
        rusqlite::Error::SqliteFailure(code, Some("the disk said no".to_owned()))
    }

    /// Says that it failed, the first time, although it committed.
    fn commits_and_fails(connection: &Connection) -> rusqlite::Result<()> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        writer::commit(connection)?;
        if CALLS.fetch_add(1, Ordering::SeqCst) == 0 { Err(failure()) } else { Ok(()) }
    }

    /// Fails, the first time, and has not committed.
    fn only_fails(connection: &Connection) -> rusqlite::Result<()> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        if CALLS.fetch_add(1, Ordering::SeqCst) == 0 { Err(failure()) } else { writer::commit(connection) }
    }

    #[tokio::test]
    async fn a_commit_that_fails_is_answered_with_what_the_database_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open_with(settings(folder.path()), commits_and_fails).expect("a store");
        announce(&store, "stored").await.expect("it was stored, whatever the commit said");
        assert!(matches!(announce(&store, "stored").await, Err(StoreError::IdUsed)));
        announce(&store, "next").await.expect("the store goes on");
        assert!(store.health().await.expect("health").accepting);
        store.close().await.expect("closed");

        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open_with(settings(folder.path()), only_fails).expect("a store");
        let answer = announce(&store, "lost").await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        announce(&store, "lost").await.expect("it was not stored, so it is new");
        store.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_refused_or_failing_command_does_not_undo_its_neighbours() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        let names: Vec<String> = (0..60).map(|n| format!("id{}", n % 40)).collect();
        let announced = futures_util::future::join_all(names.iter().map(|name| announce(&store, name)));
        let panics = futures_util::future::join_all((0..5).map(|_| {
            store.write(|work| -> Result<(), Fault> {
                work.connection.execute("DELETE FROM used", [])?;
                panic!("on purpose")
            })
        }));
        let wrong = futures_util::future::join_all((0..5).map(|_| {
            store.write(|work| {
                work.connection.execute("DELETE FROM used", [])?;
                work.connection.execute("INSERT INTO directory VALUES (1, 0, '', '')", [])?;
                Ok(())
            })
        }));
        let (announced, panics, wrong) = tokio::join!(announced, panics, wrong);
        assert_eq!(announced.iter().filter(|answer| answer.is_ok()).count(), 40);
        assert!(panics.iter().chain(&wrong).all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
        let used = store.read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM used", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(used.await.expect("a count"), 40);
        store.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_payload_that_nobody_names_vanishes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stray = |folder: &Path| {
            let shelves = std::fs::read_dir(folder.join("payloads")).expect("shelves").flatten();
            shelves.map(|shelf| std::fs::read_dir(shelf.path()).expect("a shelf").count()).sum::<usize>()
        };
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        for seal in [false, true] {
            let mut writer = store.payload_writer().await.expect("a writer");
            writer.write(&[7; 100_000]).await.expect("written");
            assert_eq!(stray(folder.path()), 1);
            if seal {
                drop(writer.seal().await.expect("sealed"));
            } else {
                drop(writer);
            }
            assert_eq!(stray(folder.path()), 0, "sealed: {seal}");
        }
        store.close().await.expect("closed");
        // What a process that died has left is swept soon after the next start.
        let orphan = folder.path().join("payloads/ab/ab00000000000000000000000000000");
        std::fs::write(&orphan, b"orphan").expect("written");
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        for _ in 0..500 {
            if !orphan.exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(!orphan.exists());
        store.close().await.expect("closed");
    }

    #[tokio::test]
    async fn a_payload_from_a_file_is_digested_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
        let path = folder.path().join("arrived");
        std::fs::write(&path, &bytes).expect("written");
        let file = Arc::new(std::fs::File::open(&path).expect("there"));
        let context = |bytes: &[u8]| {
            let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
            context.update(bytes);
            context
        };
        for (before, span, seen) in [
            ("", 5..700_000, true),
            ("", 5..700_000, false),
            // What others digested begins this payload no more.
            ("before", 5..700_000, true),
            ("before", 5..700_000, false),
            ("", 600..600, true),
            ("before", 600..900, true),
        ] {
            let stretch = &bytes[span.start..span.end];
            let mut writer = store.payload_writer().await.expect("a writer");
            writer.write(before.as_bytes()).await.expect("written");
            let seen = seen.then(|| context(stretch));
            let span = span.start as u64..span.end as u64;
            writer.write_file(file.clone(), span.clone(), seen).await.expect("written");
            writer.write(b"behind").await.expect("written");
            let whole = [before.as_bytes(), stretch, b"behind"].concat();
            let sealed = writer.seal().await.expect("sealed");
            assert_eq!(sealed.length, whole.len() as u64, "{before} {span:?}");
            assert_eq!(sealed.digest, crate::domain::content::Digest::of(&whole), "{before} {span:?}");
            match &sealed.place {
                StagedPlace::Inline(kept) => {
                    assert_eq!((kept.as_ref(), whole.len() < 65_536), (&whole[..], true))
                }
                StagedPlace::Staged(token) => {
                    let kept = std::fs::read(store.payloads.path(token.name())).expect("a file");
                    assert!(kept == whole, "{before} {span:?}");
                }
            }
        }
        let end = std::fs::metadata(&path).expect("there").len();
        let mut writer = store.payload_writer().await.expect("a writer");
        assert!(writer.write_file(file, end - 100_000..end + 1, None).await.is_err(), "cut short");
        drop(writer);
        store.close().await.expect("closed");
    }

    #[test]
    fn one_store_is_open_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        let second = EmbeddedStore::open(settings(folder.path())).err();
        assert!(matches!(second, Some(OpenError::Locked(_))), "{second:?}");
        assert!(matches!(upgrade(folder.path()), Err(OpenError::Locked(_))));
        drop(store);
        EmbeddedStore::open(settings(folder.path())).expect("free again");
    }

    #[test]
    fn a_descriptor_inherited_by_another_process_does_not_keep_the_store_locked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = lock(folder.path()).expect("locked");
        let inherited = held.0.try_clone().expect("a second descriptor of the same open file");
        drop(held);
        lock(folder.path()).expect("free although a descriptor is still open");
        drop(inherited);
    }

    #[test]
    fn listings_and_timers_read_indexes_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut connection = schema::open_writer(folder.path(), Synchronous::Normal).expect("a database");
        schema::prepare(&mut connection).expect("an empty database");
        for question in [
            "SELECT sequence FROM message INDEXED BY message_mailbox WHERE mailbox = ?1 AND offered = 1 \
             AND sequence > ?2 AND delivered_at >= ?3 ORDER BY sequence LIMIT 5",
            "SELECT sequence FROM message INDEXED BY message_new WHERE mailbox = ?1 AND shelf = 1 \
             AND sequence > ?2 AND delivered_at >= ?3 ORDER BY sequence LIMIT 5",
            "SELECT sequence FROM message INDEXED BY message_push WHERE mailbox = ?1 AND shelf > 0 \
             AND push_at <= ?2 ORDER BY push_at, sequence LIMIT 5",
            "SELECT * FROM timer WHERE at <= ?1 ORDER BY at, sequence, kind LIMIT ?2",
            "SELECT max(idx) FROM evidence",
        ] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {question}")).expect("a plan");
            let count = plan.parameter_count();
            let lines: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(std::iter::repeat_n(1, count)), |row| row.get(3))
                .expect("lines")
                .collect::<Result<_, _>>()
                .expect("text");
            let cheap = lines.iter().all(|line| line.starts_with("SEARCH") && !line.contains("TEMP B-TREE"));
            assert!(cheap, "{question}: {lines:?}");
        }
        assert!(DeliveryState::ALL.iter().all(|state| crate::store::row::state_number(*state) < 7));
    }
}
