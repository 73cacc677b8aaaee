//! The embedded engine: SQLite in one folder, for one node.
//!
//! One thread writes and answers after the commit (`writer`); readers have connections of their own; checkpoints of
//! the write-ahead log run from a third thread, so that they never stall an accept. Large payloads are files beside
//! the database (`payload`). A lock file keeps a second process out. Encryption at rest is the file system's.

mod care;
mod dialog;
mod directory;
mod evidence;
mod fault;
mod message;
mod opening;
mod payload;
mod read;
mod readers;
mod schema;
mod source;
mod statement;
mod time_stamp;
mod verify;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use self::care::Checkpointer;
use self::fault::Fault;
use self::message::{Papers, Writing};
use self::opening::Lock;
pub use self::opening::{OpenError, Settings, mark_moved, refuse_moved};
use self::payload::{Intake, PayloadFolder};
use self::readers::Readers;
pub use self::schema::Synchronous;
pub(super) use self::source::{Large, Source};
pub use self::verify::{Report, restore, upgrade, verify, verify_signed};
use self::writer::Writer;
use super::row::micros;
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
        let lock = opening::lock(&folder)?;
        opening::refuse_moved(&folder)?;
        schema::prepare(&mut schema::open_writer(&folder, settings.synchronous)?)?;
        let payloads = PayloadFolder::open(&folder)?;
        // Names of the files made above are durable from here on.
        File::open(&folder)?.sync_all()?;
        let (checkpointer, written) = Checkpointer::start(&folder)?;
        let writer = Writer::start(folder.clone(), payloads.clone(), settings.synchronous, commit, written)?;
        let readers = Arc::new(Readers::new(folder));
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
        posted_by: Option<&AccountName>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let (id, posted_by) = (id.clone(), posted_by.cloned());
        self.read(move |connection| read::related(connection, &id, posted_by.as_ref(), limit)).await
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
        let next = directory::Next::new(based_on, accounts, profiles)?;
        self.write(move |work| directory::replace(work, next, &act)).await
    }

    async fn record_act(&self, act: AdminAct) -> Result<(), StoreError> {
        self.write(move |work| directory::record_act(work, &act)).await
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
            warning: String::new(),
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
            care::copy(readers.folder(), &payloads, &into, care::Files::LinkOrCopy)
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
            readers.close();
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

#[cfg(test)]
mod tests;
