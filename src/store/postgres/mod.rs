//! The PostgreSQL engine: one database, any number of nodes.
//!
//! Each node has one writer that gathers commands into transactions (`writer`, `batch`, `exchange`) and a pool of
//! connections for everything else (`pools`). What correctness needs lies in the database: ids are unique there,
//! messages are leased there on its clock, dialogs and iterators are there for whichever node is asked next, and so are
//! unfinished uploads (`staging`) and what clients took of what is bounded (`rates`). Every node has a name, which one process holds at a time, and an evidence log of its
//! own. What the database itself promises is looked at (`promises`). What one node does wakes the others (`notices`).
//! Backup and restore are PostgreSQL's own.

mod anchor;
mod batch;
mod claim;
mod command;
mod connect;
mod copy;
mod dialog;
mod evidence;
mod exchange;
mod holdings;
mod lag;
mod notes;
mod notices;
mod objects;
mod payload;
mod pools;
mod promises;
mod rates;
mod read;
mod retire;
mod schema;
#[cfg(test)]
mod simulation;
mod staging;
mod strays;
mod time_stamp;
mod upkeep;
mod verify;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use self::batch::{LeaseWanted, Needs};
pub use self::claim::adopt as adopt_objects;
pub use self::copy::{Copied, CopiedTable, CopyError, copy_from};
pub use self::lag::{Follower, Loss, Replication};
pub use self::notes::notes;
use self::notices::Notices;
pub use self::objects::ObjectSettings;
use self::payload::Intake;
use self::pools::{Pools, Reading, Skew};
pub use self::promises::Standby;
pub use self::retire::{RetireError, retire};
pub use self::verify::{Claim, LogProblem, LogsReport, NodeLog, verify_logs};
use self::writer::Writer;
use super::row::{int, uint};
use super::{
    Acceptance, Accepted, AdminAct, CardQuery, Change, Due, Entry, FinishedPush, Iterator, Listing,
    LoggedRecord, MailboxSummary, MessageQuery, Notice, OtherLog, OtherProof, PayloadReader, PayloadWriter,
    PushLease, PushOutcome, Rates, Selection, StagedPlace, Staging, Statement, Stepped, Store, StoreError,
    StoreHealth, SubmissionQuery, Submissions, TimeStamp,
};
use crate::domain::account::{Account, AccountName, Directory};
use crate::domain::card::{CertificateFinding, ProcessCard};
use crate::domain::dialog::{ConversationId, Dialog, DialogStep};
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::evidence::checkpoint::{VerifierKey, statement};
use crate::evidence::tree;

/// For making the tables, beyond the settings' patience.
const PREPARING: Duration = Duration::from_secs(20);
/// Transactions of one sweep; the timers wait for it.
const SWEEPS_MAX: usize = 100;

#[derive(Clone)]
pub struct Settings {
    /// Hosts, port, user and database, as `key=value` pairs or as a URL (libpq's words).
    pub connection: String,
    pub password: Option<String>,
    /// With it, TLS is demanded, and the server's certificate must lead to its anchors and name the host.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Names this relay among those that work on the store; one process at a time.
    pub node: String,
    pub connections_max: usize,
    /// Payloads up to this size travel in the transaction.
    pub inline_bytes_max: usize,
    /// How long a command waits for a database that does not answer before it is refused.
    pub patience: Duration,
    /// How long the database may take over one question.
    pub question_time_max: Duration,
    pub standby: Standby,
    /// Takes large payloads instead of the database.
    pub objects: Option<ObjectSettings>,
}

impl Settings {
    pub fn new(connection: impl Into<String>, node: impl Into<String>) -> Self {
        Self {
            connection: connection.into(),
            password: None,
            tls: None,
            node: node.into(),
            connections_max: 16,
            inline_bytes_max: 64 * 1024,
            patience: Duration::from_secs(10),
            question_time_max: Duration::from_secs(30),
            standby: Standby::Unasked,
            objects: None,
        }
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{0}")]
    Settings(String),
    #[error("{}", connect::sentence(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("this store has version {found}, this program knows version {known}; use a newer amtsbote")]
    Newer { found: u32, known: u32 },
    #[error(
        "this store has version {found}, this program needs version {known}; run `amtsbote store upgrade`"
    )]
    Older { found: u32, known: u32 },
    #[error("the log of node {0} is closed; give this relay a [store] node of its own")]
    Retired(String),
    #[error("another process works as node {0}; stop it, or give each relay a [store] node of its own")]
    NameTaken(String),
    #[error("{0}")]
    Promise(String),
    #[error(
        "the database is another one than before (store {found}, until now {known}); \
         correct the hosts in [store] connection"
    )]
    Foreign { found: String, known: String },
    #[error(
        "the database lacks {lacking} transactions that this node has answered for: it is an older copy; \
         bring the newer one back, or restart the relay under a new [store] node once the loss is written down"
    )]
    Forgetful { lacking: i64 },
    #[error(
        "{0}, and nothing was changed; look for what holds the tables in pg_locks and pg_stat_activity, end it, \
         and run `amtsbote store upgrade` again"
    )]
    Busy(String),
    #[error("the database is encoded in {0}; create it with encoding UTF8")]
    Encoding(String),
    #[error(
        "a copy into this store was begun and not finished; go on with `amtsbote store copy`, or drop the schema amtsbote"
    )]
    Unfinished,
    #[error("the store holds something that it cannot read: {0}")]
    Corrupt(String),
}

impl OpenError {
    fn late() -> Self {
        let what = "the database does not answer in time; is it there, and its synchronous standby?";
        Self::Settings(what.to_owned())
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Postgres(error) => Self::Database(error),
            Fault::Refusal(StoreError::Corrupt(what)) => Self::Corrupt(what),
            other => Self::Settings(other.to_string()),
        }
    }
}

/// Why a command or a question came to nothing.
#[derive(Debug, Error)]
enum Fault {
    #[error(transparent)]
    Refusal(#[from] StoreError),
    #[error("{}", connect::sentence(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database took too long: {0}")]
    Late(&'static str),
    /// Another node has used an id, or taken a payload, since it was looked at.
    #[error("another node was faster")]
    Faster,
    /// A later session works in this node's name.
    #[error("another session has taken over as this node")]
    Overtaken,
    /// What the configuration demands of the database does not hold.
    #[error("{0}")]
    Promise(String),
}

impl Fault {
    fn corrupt(what: String) -> Self {
        Self::Refusal(StoreError::Corrupt(what))
    }

    fn into_store_error(self) -> StoreError {
        match self {
            Self::Refusal(error) => error,
            Self::Postgres(error) => connect::into_store_error(&error),
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

pub struct PostgresStore {
    pools: Arc<Pools>,
    writer: Writer,
    discard: Mutex<Option<mpsc::UnboundedSender<String>>>,
    notices: Notices,
    upkeep: Mutex<Vec<JoinHandle<()>>>,
}

/// Asks a question that is one statement, once more where the connection was lost meanwhile.
macro_rules! ask {
    ($self:ident, $reading:ident, $answer:expr) => {{
        let mut again = true;
        loop {
            let client = $self.pools.client().await.map_err(Fault::into_store_error)?;
            let answer = {
                let $reading = &Reading::One(&client);
                pools::in_time($self.pools.settings(), $answer).await
            };
            match answer {
                Ok(answer) => break Ok(answer),
                Err(fault) => {
                    let lost = pools::forget_if_lost(client, &fault);
                    if !(lost && std::mem::take(&mut again)) {
                        break Err(fault.into_store_error());
                    }
                }
            }
        }
    }};
}
use ask;

/// Asks several questions in one snapshot.
macro_rules! look {
    ($self:ident, $reading:ident, $answer:expr) => {{
        let mut again = true;
        loop {
            let mut client = $self.pools.client().await.map_err(Fault::into_store_error)?;
            let answer = pools::in_time($self.pools.settings(), async {
                let snapshot = pools::snapshot(&mut client).await?;
                let answer = {
                    let $reading = &Reading::Within(&snapshot);
                    $answer.await?
                };
                snapshot.commit().await?;
                Ok(answer)
            })
            .await;
            match answer {
                Ok(answer) => break Ok(answer),
                Err(fault) => {
                    let lost = pools::forget_if_lost(client, &fault);
                    if !(lost && std::mem::take(&mut again)) {
                        break Err(fault.into_store_error());
                    }
                }
            }
        }
    }};
}

/// Writes something of small consequence in a transaction of its own, apart from the writer's.
macro_rules! write {
    ($self:ident, $reading:ident, $answer:expr) => {
        write!($self, $reading, $answer, false)
    };
    ($self:ident, $reading:ident, $answer:expr, $is_promise:expr) => {{
        if let Some(hung) = $self.pools.hung() {
            return Err(StoreError::Unavailable(hung));
        }
        let mut client = $self.pools.client().await.map_err(Fault::into_store_error)?;
        // Known since this waited for a connection.
        if let Some(hung) = $self.pools.hung() {
            return Err(StoreError::Unavailable(hung));
        }
        let answer = pools::in_time($self.pools.settings(), async {
            let work = pools::transaction(&mut client).await?;
            let (found, answer) = {
                let $reading = &Reading::Within(&work);
                let found = if $is_promise { Some(promises::find($reading, &$self.pools).await?) } else { None };
                (found, $answer.await?)
            };
            // Cutting the wait for the standby short would pass for success. It also fails where a statement before has.
            work.batch_execute("SET LOCAL statement_timeout = 0").await?;
            let committed = tokio::time::timeout($self.pools.settings().patience, work.commit()).await;
            committed.map_err(|_| {
                $self.pools.give_up();
                Fault::Late("the commit was not answered in time")
            })??;
            if let Some(found) = found {
                promises::confirm(&Reading::One(&client), &$self.pools, found).await?;
            }
            Ok(answer)
        })
        .await;
        answer.map_err(|fault: Fault| {
            pools::forget_if_lost(client, &fault);
            fault.into_store_error()
        })
    }};
}
use write;

/// The same for what a client is told to be kept: where a standby is required, not before that has it.
macro_rules! promise {
    ($self:ident, $reading:ident, $answer:expr) => {
        write!($self, $reading, $answer, true)
    };
}
use promise;

impl PostgresStore {
    /// Opens the store, creating its tables in a database without them.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        if settings.node.is_empty() {
            return Err(OpenError::Settings("[store] node is empty; give this relay a name".to_owned()));
        }
        let pools = Arc::new(Pools::new(settings)?);
        // Making the tables may take its time; waiting for a standby that is away must end.
        let time_max = pools.settings().patience + PREPARING;
        tokio::time::timeout(time_max, pools.prepare()).await.map_err(|_| OpenError::late())??;
        if let Some(objects) = pools.objects() {
            // Said in the log; small messages need no object store.
            let _ = objects.probe(pools.store_id()).await;
            // Where it does not answer, the sweep asks again before it deletes anything.
            if let Ok(Err(foreign)) = claim::count_on(&pools).await {
                return Err(OpenError::Promise(foreign));
            }
        }
        let writer = Writer::start(Arc::clone(&pools)).await?;
        let (discard, discarded) = mpsc::unbounded_channel();
        let upkeep = vec![
            tokio::spawn(upkeep::run(Arc::clone(&pools), pools.incarnation(), discarded)),
            tokio::spawn(upkeep::watch(Arc::clone(&pools))),
        ];
        let notices = Notices::start(Arc::clone(&pools));
        let (discard, upkeep) = (Mutex::new(Some(discard)), Mutex::new(upkeep));
        Ok(Self { pools, writer, discard, notices, upkeep })
    }

    async fn change_message<T: Send + 'static>(
        &self,
        needs: Needs,
        command: impl FnMut(&mut batch::Work) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(1024, needs, command, |_| {}, || {}).await
    }

    /// Accepts in the way of `accept`; `is_new` tells from its answer whether the message was stored by it.
    async fn accept_by<T: Send + 'static>(
        &self,
        acceptance: Acceptance,
        needs: Needs,
        is_new: impl FnOnce(&T) -> bool + Send + 'static,
        mut accept: impl FnMut(&mut batch::Work, &Acceptance) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let bytes = inline_bytes(&acceptance);
        // The staged payload's fate hangs on the outcome, so its token waits outside the command for it.
        let acceptance = Arc::new(Mutex::new(acceptance));
        let (stored, unknown) = (Arc::clone(&acceptance), Arc::clone(&acceptance));
        let command = move |work: &mut batch::Work| {
            let acceptance = acceptance.lock().unwrap_or_else(PoisonError::into_inner);
            accept(work, &acceptance)
        };
        let keep = |acceptance: &Mutex<Acceptance>| {
            keep_payload(&mut acceptance.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let settle = move |answer: &T| {
            if is_new(answer) {
                keep(&stored);
            }
        };
        // Whether a message names it is not known; the sweep finds out.
        let unknown = move || keep(&unknown);
        self.writer.run(bytes + 4096, needs, command, settle, unknown).await
    }

    fn intake(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        if let Some(reason) = self.pools.trouble() {
            return Err(StoreError::Unavailable(reason));
        }
        let discard = self.discard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let discard = discard.ok_or_else(|| StoreError::Unavailable("the store is closed".to_owned()))?;
        Ok(Box::new(Intake::new(Arc::clone(&self.pools), discard)))
    }

    fn end_upkeep(&self) {
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.drain(..).for_each(|task| task.abort());
    }

    fn skew(&self) -> Skew {
        self.pools.skew()
    }
}

/// What a look at the database, without a change to it, has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The server's own version, in its words.
    pub server: String,
    /// The store's version; `None` in a database without our tables.
    pub version: Option<u32>,
    /// Why nothing would be accepted.
    pub broken: Option<String>,
    pub warning: Option<String>,
    /// Whether the object store shows its bucket, where one is configured.
    pub objects: Option<Result<(), String>>,
    /// A process works as this node: the server itself, or another, and then no start.
    pub name_taken: Option<String>,
}

/// Connects and looks, for `amtsbote check`.
pub async fn examine(settings: Settings) -> Result<Examined, OpenError> {
    Pools::new(settings)?.examine().await
}

/// Whether the object store shows its bucket, where one is configured; the database is not asked.
pub async fn examine_objects(settings: Settings) -> Option<Result<(), String>> {
    let pools = Pools::new(settings).ok()?;
    match pools.objects() {
        Some(objects) => Some(objects.look().await),
        None => None,
    }
}

/// Connects to the primary and asks how far its standbys are behind.
pub async fn replication(settings: Settings) -> Result<Replication, OpenError> {
    Pools::new(settings)?.replication().await
}

/// Whether a connection can be used at all: what it says is understood, and nothing crosses a network in the clear.
pub fn check_connection(connection: &str, is_secured: bool) -> Result<(), String> {
    connect::check(connection, is_secured)
}

/// Whether an endpoint can be an object store at all.
pub fn check_endpoint(endpoint: &str, is_secured: bool) -> Result<(), String> {
    objects::check_endpoint(endpoint, is_secured)
}

/// Brings a store of an earlier version to the current one; returns both versions.
pub async fn upgrade(settings: Settings) -> Result<(u32, u32), OpenError> {
    Pools::new(settings)?.upgrade().await
}

#[async_trait]
impl Store for PostgresStore {
    async fn announce_bound(
        &self,
        id: &MessageId,
        account: &AccountName,
        bond: Option<&Bond>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, account, bond) = (id.clone(), account.clone(), bond.copied());
        let needs = Needs { used: vec![id.key().as_str().to_owned()], ..Needs::default() };
        self.change_message(needs, move |work| {
            let (now, end) = (work.skew.on_database(now), work.skew.on_database(expires_at));
            command::announce(work, &id, &account, bond.as_ref(), now, end)
        })
        .await
    }

    async fn bond(&self, id: &MessageId) -> Result<Option<Bond>, StoreError> {
        ask!(self, reading, read::bond(reading, id))
    }

    async fn payload_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        self.intake()
    }

    /// The database's disk is not ours to divide: what room there is, replies share.
    async fn reply_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        self.intake()
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        let needs = command::of_acceptance(&acceptance);
        self.accept_by(acceptance, needs, |answer| *answer == Accepted::New, command::accept).await
    }

    async fn list(&self, selection: &Selection, after: u64, limit: u32) -> Result<Listing, StoreError> {
        look!(self, reading, read::list(reading, selection, after, limit))
    }

    async fn submissions(&self, query: &SubmissionQuery) -> Result<Submissions, StoreError> {
        look!(self, reading, read::submissions(reading, query))
    }

    async fn find(&self, id: &MessageId) -> Result<Entry, StoreError> {
        ask!(self, reading, read::find(reading, id))
    }

    async fn open_payload(
        &self,
        id: &MessageId,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn PayloadReader>, StoreError> {
        let outgoing = ask!(self, reading, payload::open(reading, &self.pools, id, offset, length))?;
        Ok(Box::new(outgoing))
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Vec<Entry>, StoreError> {
        look!(self, reading, read::messages(reading, query))
    }

    async fn related(
        &self,
        id: &MessageId,
        posted_by: Option<&AccountName>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        ask!(self, reading, read::related(reading, id, posted_by, limit))
    }

    async fn mailboxes(&self) -> Result<Vec<MailboxSummary>, StoreError> {
        ask!(self, reading, read::mailboxes(reading))
    }

    async fn cards(&self, query: &CardQuery) -> Result<(Vec<Entry>, bool), StoreError> {
        look!(self, reading, read::cards(reading, query))
    }

    async fn change(&self, change: Change) -> Result<ProcessCard, StoreError> {
        let needs = command::of_message(&change.id);
        self.change_message(needs, move |work| command::change(work, &change)).await
    }

    async fn declare(&self, change: Change, statement: Statement) -> Result<ProcessCard, StoreError> {
        let needs = Needs { statements: true, ..command::of_message(&change.id) };
        self.change_message(needs, move |work| command::declare(work, &change, &statement)).await
    }

    async fn statements(&self, id: &MessageId) -> Result<Vec<Statement>, StoreError> {
        ask!(self, reading, read::statements(reading, id))
    }

    async fn inspect(
        &self,
        id: &MessageId,
        findings: Vec<CertificateFinding>,
    ) -> Result<ProcessCard, StoreError> {
        let id = id.clone();
        self.change_message(command::of_message(&id), move |work| command::inspect(work, &id, &findings))
            .await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError> {
        let now = self.skew().on_database(now);
        ask!(self, reading, read::due(reading, now, limit))
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let skew = self.skew();
        ask!(self, reading, read::next_due_at(reading, skew))
    }

    async fn purge_payload(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.change_message(command::of_message(&id), move |work| command::purge_payload(work, &id, now))
            .await
    }

    async fn purge_card(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.change_message(command::of_message(&id), move |work| command::purge_card(work, &id, now)).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let now = self.skew().on_database(now);
        let mut swept = 0;
        for _ in 0..SWEEPS_MAX {
            let (gone, more) = write!(self, reading, dialog::sweep(reading, now))?;
            swept += gone;
            if !more {
                break;
            }
        }
        Ok(swept)
    }

    async fn save_iterator(&self, iterator: &Iterator) -> Result<(), StoreError> {
        let content = serde_json::to_vec(iterator).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let end = self.skew().on_database(iterator.expires_at);
        let save = "INSERT INTO iterator (id, account, expires_at, content) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (id) DO UPDATE SET account = excluded.account, expires_at = excluded.expires_at, \
                    content = excluded.content";
        write!(self, reading, async {
            reading.ask(save, &[&iterator.id, &iterator.account.as_str(), &end, &content]).await.map(drop)
        })
    }

    async fn load_iterator(
        &self,
        id: &str,
        account: &AccountName,
        now: Timestamp,
    ) -> Result<Option<Iterator>, StoreError> {
        let now = self.skew().on_database(now);
        ask!(self, reading, read::load_iterator(reading, id, account, now))
    }

    async fn drop_iterator(&self, id: &str, account: &AccountName) -> Result<(), StoreError> {
        let drop_it = "DELETE FROM iterator WHERE id = $1 AND account = $2";
        write!(self, reading, async { reading.ask(drop_it, &[&id, &account.as_str()]).await.map(drop) })
    }

    async fn open_dialog(&self, dialog: &Dialog) -> Result<(), StoreError> {
        let skew = self.skew();
        write!(self, reading, dialog::open(reading, dialog, skew))
    }

    async fn dialog(&self, id: &ConversationId, now: Timestamp) -> Result<Option<Dialog>, StoreError> {
        let skew = self.skew();
        ask!(self, reading, dialog::find(reading, id, skew.on_database(now), skew))
    }

    async fn step_dialog(&self, step: &DialogStep) -> Result<Vec<ProcessCard>, StoreError> {
        let step = step.clone();
        self.change_message(command::of_step(&step), move |work| command::step_dialog(work, &step)).await
    }

    async fn step_and_accept(
        &self,
        step: &DialogStep,
        acceptance: Acceptance,
    ) -> Result<Stepped<Accepted>, StoreError> {
        let needs = Needs { dialogs: command::of_step(step).dialogs, ..command::of_acceptance(&acceptance) };
        let step = step.clone();
        let is_new = |stepped: &Stepped<Accepted>| matches!(stepped.then, Ok(Accepted::New));
        self.accept_by(acceptance, needs, is_new, move |work, acceptance| {
            command::step_and(work, &step, |work| command::accept(work, acceptance))
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
        let used = vec![id.key().as_str().to_owned()];
        let needs = Needs { used, ..command::of_step(step) };
        let (step, id, account, bond) = (step.clone(), id.clone(), account.clone(), bond.copied());
        self.change_message(needs, move |work| {
            let (now, end) = (work.skew.on_database(step.at), work.skew.on_database(expires_at));
            command::step_and(work, &step, |work| {
                command::announce(work, &id, &account, bond.as_ref(), now, end)
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
        let needs = command::of_hand_out(&id, &change);
        self.change_message(needs, move |work| command::hand_out_in_dialog(work, &id, sequence, &change))
            .await
    }

    async fn dialogs(&self, now: Timestamp, limit: u32) -> Result<Vec<Dialog>, StoreError> {
        let skew = self.skew();
        ask!(self, reading, dialog::list(reading, skew.on_database(now), limit, skew))
    }

    async fn lease_push(
        &self,
        mailboxes: &[MailboxName],
        ordered: bool,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PushLease>, StoreError> {
        self.pools.note_lease(Duration::try_from(until.duration_since(now)).unwrap_or_default());
        let wanted = LeaseWanted { mailboxes: mailboxes.to_vec(), ordered, now, limit };
        let needs = Needs { lease: Some(wanted.clone()), ..Needs::default() };
        self.change_message(needs, move |work| command::lease_push(work, &wanted, until)).await
    }

    async fn record_attempt(
        &self,
        lease: &PushLease,
        outcome: PushOutcome,
        now: Timestamp,
    ) -> Result<ProcessCard, StoreError> {
        let lease = lease.clone();
        let needs = command::of_message(&lease.entry.card.id);
        self.change_message(needs, move |work| command::record_attempt(work, &lease, &outcome, now)).await
    }

    async fn note_push(&self, id: &MessageId, note: Option<&str>) -> Result<(), StoreError> {
        let (id, note) = (id.clone(), note.map(str::to_owned));
        let needs = command::of_message(&id);
        self.change_message(needs, move |work| command::note_push(work, &id, note.as_deref())).await
    }

    async fn push_note(&self, id: &MessageId) -> Result<Option<String>, StoreError> {
        ask!(self, reading, read::push_note(reading, id))
    }

    async fn finish_push(&self, push: FinishedPush) -> Result<ProcessCard, StoreError> {
        let bytes = push.reply.as_ref().map_or(0, inline_bytes);
        let mut needs = push.reply.as_ref().map(command::of_acceptance).unwrap_or_default();
        needs.messages.push(push.id.key().as_str().to_owned());
        let push = Arc::new(Mutex::new(push));
        let (stored, unknown) = (Arc::clone(&push), Arc::clone(&push));
        let command = move |work: &mut batch::Work| {
            let push = push.lock().unwrap_or_else(PoisonError::into_inner);
            command::finish_push(work, &push)
        };
        let keep = |push: &Mutex<FinishedPush>| {
            let mut push = push.lock().unwrap_or_else(PoisonError::into_inner);
            push.reply.iter_mut().for_each(keep_payload);
        };
        self.writer.run(bytes + 4096, needs, command, move |_| keep(&stored), move || keep(&unknown)).await
    }

    async fn directory(&self) -> Result<Directory, StoreError> {
        ask!(self, reading, read::directory(reading))
    }

    async fn directory_revision(&self) -> Result<u64, StoreError> {
        ask!(self, reading, read::directory_revision(reading))
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
        let act = act_bytes(&act)?;
        let [accounts, profiles] = &content;
        promise!(self, reading, async {
            let rows = reading.ask("SELECT revision FROM directory FOR UPDATE", &[]).await?;
            let found = rows.first().map_or(Ok(0), |row| read::column::<i64>(row, 0))?;
            if uint(found) != based_on {
                return Err(Fault::Refusal(StoreError::Outdated { found: uint(found) }));
            }
            let apply = "UPDATE directory SET revision = $1, accounts = $2, profiles = $3";
            reading.ask(apply, &[&int(based_on + 1), accounts, profiles]).await?;
            reading.ask(ACT, &[&act]).await.map(drop)
        })?;
        Ok(directory)
    }

    async fn record_act(&self, act: AdminAct) -> Result<(), StoreError> {
        let act = act_bytes(&act)?;
        promise!(self, reading, async { reading.ask(ACT, &[&act]).await.map(drop) })
    }

    async fn acts(&self, limit: u32) -> Result<Vec<AdminAct>, StoreError> {
        ask!(self, reading, read::acts(reading, limit))
    }

    async fn evidence_size(&self) -> Result<u64, StoreError> {
        ask!(self, reading, evidence::size(reading, self.pools.node()))
    }

    async fn evidence_records(&self, from: u64, limit: u32) -> Result<Vec<LoggedRecord>, StoreError> {
        ask!(self, reading, evidence::records(reading, self.pools.node(), from, limit))
    }

    async fn evidence_of(&self, id: &MessageId) -> Result<Vec<LoggedRecord>, StoreError> {
        ask!(self, reading, evidence::records_of(reading, self.pools.node(), id))
    }

    async fn publish_evidence_keys(&self, keys: &[VerifierKey]) -> Result<(), StoreError> {
        write!(self, reading, evidence::publish_keys(reading, self.pools.node(), keys))
    }

    async fn evidence_elsewhere(&self, id: &MessageId) -> Result<Vec<OtherLog>, StoreError> {
        ask!(self, reading, evidence::elsewhere(reading, self.pools.node(), id))
    }

    async fn checkpoints_elsewhere(
        &self,
        node: &str,
        size: u64,
    ) -> Result<(Vec<String>, Vec<VerifierKey>), StoreError> {
        look!(self, reading, async {
            let mut notes = Vec::new();
            let stamped = time_stamp::stamped(reading, node, Some(size)).await?;
            for wanted in stamped.into_iter().map(Some).chain([Some(size), None]) {
                notes.extend(evidence::checkpoint(reading, node, wanted).await?);
            }
            Ok::<_, Fault>((notes, evidence::published_keys(reading, node).await?))
        })
    }

    async fn proof_elsewhere(
        &self,
        node: &str,
        indexes: &[u64],
        size: u64,
    ) -> Result<OtherProof, StoreError> {
        look!(self, reading, async {
            evidence::within(reading, node, size).await?;
            let mut paths = Vec::with_capacity(indexes.len());
            for index in indexes.iter().copied() {
                if index >= size {
                    return Err(StoreError::Unknown.into());
                }
                paths.push(
                    evidence::on_tree(reading, node, |tree| tree::inclusion_proof(tree, index, size)).await?,
                );
            }
            Ok::<_, Fault>(OtherProof { paths, time_stamps: time_stamp::of(reading, node, size).await? })
        })
    }

    async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        ask!(self, reading, async {
            evidence::within(reading, self.pools.node(), size).await?;
            if index >= size {
                return Err(StoreError::Unknown.into());
            }
            evidence::on_tree(reading, self.pools.node(), |tree| tree::inclusion_proof(tree, index, size))
                .await
        })
    }

    async fn consistency_proof(&self, old_size: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError> {
        ask!(self, reading, async {
            evidence::within(reading, self.pools.node(), size).await?;
            if old_size > size {
                return Err(StoreError::Unknown.into());
            }
            let node = self.pools.node();
            evidence::on_tree(reading, node, |tree| tree::consistency_proof(tree, old_size, size)).await
        })
    }

    async fn tree_root(&self, size: u64) -> Result<[u8; 32], StoreError> {
        ask!(self, reading, async {
            evidence::within(reading, self.pools.node(), size).await?;
            evidence::on_tree(reading, self.pools.node(), |tree| tree::root(tree, size)).await
        })
    }

    async fn save_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError> {
        let root = self.tree_root(size).await?;
        if statement(note) != Some((size, root)) {
            let what = format!("the checkpoint does not state size {size} and the root of the log");
            return Err(StoreError::Corrupt(what));
        }
        write!(self, reading, evidence::save_checkpoint(reading, self.pools.node(), size, note))
    }

    async fn checkpoint(&self, size: Option<u64>) -> Result<Option<String>, StoreError> {
        ask!(self, reading, evidence::checkpoint(reading, self.pools.node(), size))
    }

    async fn anchor_others(&self, now: Timestamp) -> Result<u64, StoreError> {
        let anchors = ask!(self, reading, anchor::due(reading, self.pools.node(), now))?;
        if anchors.is_empty() {
            return Ok(0);
        }
        self.change_message(Needs::default(), move |work| {
            work.draft.anchors.extend(anchors.iter().cloned());
            Ok(anchors.len() as u64)
        })
        .await
    }

    async fn save_time_stamp(&self, size: u64, number: u32, stamp: &TimeStamp) -> Result<(), StoreError> {
        write!(self, reading, time_stamp::save(reading, self.pools.node(), size, number, stamp))
    }

    async fn time_stamps(&self, size: u64) -> Result<Vec<TimeStamp>, StoreError> {
        ask!(self, reading, time_stamp::of(reading, self.pools.node(), size))
    }

    async fn time_stamped(&self, size: Option<u64>) -> Result<Option<u64>, StoreError> {
        ask!(self, reading, time_stamp::stamped(reading, self.pools.node(), size))
    }

    async fn time_stamp_ending(&self, before: Timestamp) -> Result<Option<u64>, StoreError> {
        ask!(self, reading, time_stamp::ending(reading, self.pools.node(), before))
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        let counted: Result<(u64, u64), StoreError> =
            async { ask!(self, reading, read::counts(reading, self.pools.node())) }.await;
        let unread = counted.as_ref().err().map(StoreError::to_string);
        let reason = self.pools.trouble().or(unread);
        let (messages, evidence_records) = counted.unwrap_or_default();
        Ok(StoreHealth {
            accepting: reason.is_none(),
            reason: reason.unwrap_or_default(),
            warning: self.pools.warned().unwrap_or_default(),
            // The database does not tell; it says so when it is full.
            free_bytes: u64::MAX,
            messages,
            evidence_records,
            schema_version: schema::current_version(),
            engine: "postgres".to_owned(),
        })
    }

    async fn backup(&self, _into: &Path) -> Result<(), StoreError> {
        Err(StoreError::Unavailable(
            "a store in PostgreSQL is copied by PostgreSQL: pg_basebackup, or the archive of its log"
                .to_owned(),
        ))
    }

    fn tell(&self, notice: Notice) {
        self.notices.tell(notice);
    }

    fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        Some(self.notices.hear())
    }

    fn staging(&self) -> Option<&dyn Staging> {
        Some(self)
    }

    fn rates(&self) -> Option<&dyn Rates> {
        Some(self)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.stop().await;
        self.notices.stop();
        self.discard.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.end_upkeep();
        self.pools.close();
        Ok(())
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.end_upkeep();
    }
}

const ACT: &str = "INSERT INTO act (content) VALUES ($1)";

fn act_bytes(act: &AdminAct) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(act)
        .map_err(|error| StoreError::Unavailable(format!("the act was not stored: {error}")))
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
