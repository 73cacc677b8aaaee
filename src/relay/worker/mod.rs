//! The relay with hands: what doors, the command line and the composition root call.
//!
//! Each call takes one decision of the pure half and has the store make it durable before it returns `Ok`. Nothing
//! that correctness needs lives in this process: notices between tasks only save time, polling is the net under them.

pub(super) mod answers;
mod author;
mod checkpoints;
mod dialogs;
mod notices;
mod operator;
pub mod outlet;
mod push;
mod pushed;
mod rates;
mod reader;
pub mod time_stamps;
mod timers;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::domain::account::Directory;
use crate::evidence::checkpoint::SigningKey;
use crate::evidence::signed_card::CardSigner;
use crate::evidence::tree::Hash;
use crate::store::{Notice, PayloadWriter, Staging, Store};

use super::{Refusal, Settings};

/// Keeps the last checkpoint that this node has signed, where the store's owner does not come.
pub trait HeadKeeper: Send + Sync {
    /// Replaces what was kept before. It may wait for a disk; only one is at it at a time.
    fn keep(&self, note: &str) -> Result<(), String>;
    /// Where it is kept, for the operator.
    fn place(&self) -> String;
}

/// Size and root of a log that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    size: u64,
    root: Hash,
}

/// Between the breakdown of a task and its new beginning.
const BREAKDOWN_PAUSE: Duration = Duration::from_secs(5);

pub struct Relay {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    directory: RwLock<Arc<Directory>>,
    /// Authors who wait for an answer, by the key of their message.
    waiting: answers::Waiting,
    /// Something may be due earlier than the timers believe.
    deadline_added: Notify,
    destinations: Mutex<Vec<Arc<push::Destination>>>,
    destination_added: Notify,
    signer: OnceLock<Arc<SigningKey>>,
    /// What this node has signed last, and where that is kept apart from the store.
    head: Mutex<Option<Head>>,
    head_keeper: OnceLock<Arc<dyn HeadKeeper>>,
    /// Whoever signs the log: one after the other, or an older head would take the place of a newer.
    signing: Arc<tokio::sync::Mutex<()>>,
    card_signer: RwLock<Option<Arc<CardSigner>>>,
    stamper: RwLock<Option<Arc<dyn time_stamps::TimeStamper>>>,
    stamping: Mutex<time_stamps::Stamping>,
    /// There may be something to stamp earlier than the next poll.
    checkpoint_added: Notify,
    /// Another node waits for this log to be signed.
    signature_wanted: Notify,
    /// Whether other nodes can learn by which keys this log is checked.
    keys_published: AtomicBool,
    rates: rates::Rates,
}

impl Relay {
    /// The directory is empty until [`Relay::reload_directory`] has read it.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            settings,
            directory: RwLock::default(),
            waiting: answers::Waiting::default(),
            deadline_added: Notify::new(),
            destinations: Mutex::default(),
            destination_added: Notify::new(),
            signer: OnceLock::new(),
            head: Mutex::default(),
            head_keeper: OnceLock::new(),
            signing: Arc::default(),
            card_signer: RwLock::default(),
            stamper: RwLock::default(),
            stamping: Mutex::default(),
            checkpoint_added: Notify::new(),
            signature_wanted: Notify::new(),
            keys_published: AtomicBool::new(false),
            rates: rates::Rates::default(),
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Accounts and profiles as last read: one consistent picture for the whole of a request.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub async fn reload_directory(&self) -> Result<(), Refusal> {
        let read = self.read_directory().await?;
        self.use_directory(read);
        Ok(())
    }

    /// The same, after it was changed here; other nodes are told to read it, too.
    pub async fn reload_changed_directory(&self) -> Result<(), Refusal> {
        self.store.tell(Notice::Directory);
        self.reload_directory().await
    }

    /// Accounts and profiles as they stand in the store; not in force until [`Relay::use_directory`] takes them.
    pub async fn read_directory(&self) -> Result<Arc<Directory>, Refusal> {
        Ok(Arc::new(self.store.directory().await?))
    }

    /// Puts in force what was read, unless something later is.
    pub fn use_directory(&self, read: Arc<Directory>) {
        let revision = read.revision();
        let mut held = self.directory.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Two reloads may finish in the other order than they began.
        if revision >= held.revision() {
            let changed = revision != held.revision();
            *held = read;
            drop(held);
            if changed {
                tracing::info!(revision, "directory read");
            }
        }
    }

    /// Something may be due sooner than the timers believe, here and at the other nodes.
    fn add_deadline(&self) {
        self.deadline_added.notify_one();
        self.store.tell(Notice::Deadline);
    }

    /// Whether a message that is in order would be taken at this moment.
    pub async fn is_accepting(&self) -> bool {
        self.store.health().await.is_ok_and(|health| health.accepting)
    }

    pub async fn payload_writer(&self) -> Result<Box<dyn PayloadWriter>, Refusal> {
        self.store.payload_writer().await.map_err(|error| counted("payload", error.into()))
    }

    /// For the reply to a push, while accepting may have stopped for want of room.
    pub async fn reply_writer(&self) -> Result<Box<dyn PayloadWriter>, Refusal> {
        self.store.reply_writer().await.map_err(|error| counted("payload", error.into()))
    }

    /// Where doors keep what goes over several requests, if several nodes answer them.
    pub fn staging(&self) -> Option<&dyn Staging> {
        self.store.staging()
    }

    /// When this returns, what was read of the store before is promised as a message is. A card may be seen whose author was
    /// told that the outcome is not known; whoever is told of it as of something done must not lose it with the primary.
    pub async fn confirm(&self) -> Result<(), Refusal> {
        match self.staging() {
            Some(staging) => Ok(staging.confirm().await?),
            None => Ok(()),
        }
    }

    /// Works until `stop` says true: timers, pushes to every destination, checkpoints, housekeeping. The last
    /// checkpoint is signed when timers and pushes have ended.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let (last, last_seen) = watch::channel(false);
        let relay = self.clone();
        let checkpoints = tokio::spawn(supervise("checkpoints", last_seen.clone(), move || {
            checkpoints::run(relay.clone(), last_seen.clone())
        }));
        let (relay, seen) = (self.clone(), stop.clone());
        let stamps = tokio::spawn(supervise("time stamps", stop.clone(), move || {
            time_stamps::run(relay.clone(), seen.clone())
        }));
        let (relay, seen) = (self.clone(), stop.clone());
        let notices = tokio::spawn(supervise("notices of other nodes", stop.clone(), move || {
            notices::run(relay.clone(), seen.clone())
        }));
        let (relay, seen) = (self.clone(), stop.clone());
        let rates =
            tokio::spawn(supervise("rates", stop.clone(), move || rates::run(relay.clone(), seen.clone())));
        let (relay, seen) = (self.clone(), stop.clone());
        let timers = supervise("timers", stop.clone(), move || timers::run(relay.clone(), seen.clone()));
        let (relay, seen) = (self.clone(), stop.clone());
        let pushes = supervise("pushes", stop, move || push::run(relay.clone(), seen.clone()));
        tokio::join!(timers, pushes);
        let _ = last.send(true);
        let _ = checkpoints.await;
        let _ = stamps.await;
        let _ = notices.await;
        let _ = rates.await;
    }

    fn destinations(&self) -> MutexGuard<'_, Vec<Arc<push::Destination>>> {
        self.destinations.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Keeps a task alive: one that broke down is reported at once and begun anew after a pause, for a post office whose
/// timers stand still looks healthy and is not.
async fn supervise<Work, Ended>(what: &'static str, mut stop: watch::Receiver<bool>, work: Work)
where
    Work: Fn() -> Ended,
    Ended: Future<Output = ()> + Send + 'static,
{
    loop {
        match tokio::spawn(work()).await {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, what, "a task of the relay broke down and is begun anew"),
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(BREAKDOWN_PAUSE) => {}
        }
    }
}

/// Counts a refusal on its way out.
fn counted(operation: &'static str, refusal: Refusal) -> Refusal {
    metrics::counter!("amtsbote_refused_total", "operation" => operation, "code" => refusal.code())
        .increment(1);
    refusal
}

/// Resolves when `stop` says true, or when nobody can say so any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
