//! The victim: a process that uses the embedded store from several tasks and says what it was answered.
//!
//! `will ACT ID` is said before the store is asked, `did ACT ID` after it has answered, `refused KIND ACT ID WHY` when
//! it would not. Full and unavailable are asked again until they pass, as a client of the post office does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::embedded::{EmbeddedStore, Settings, Synchronous};
use amtsbote::store::{Change, MessageQuery, Store, StoreError};

use crate::child::{die_with_parent, say};
use crate::ledger::Act;
use crate::message;
use crate::random::Random;

/// The machine's disk is small; a reserve of this size leaves room to work and is still a reserve.
pub const DISK_RESERVE_BYTES: u64 = 8 << 20;
const RETRY_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, clap::Args)]
pub struct Order {
    #[arg(long)]
    pub seed: u64,
    #[arg(long)]
    pub life: u64,
    #[arg(long)]
    pub tasks: u64,
    /// The store's test-only setting that is not durable.
    #[arg(long)]
    pub synchronous_normal: bool,
    /// Accept only, nothing is received or purged.
    #[arg(long)]
    pub fill: bool,
    #[arg(long, default_value_t = DISK_RESERVE_BYTES)]
    pub reserve_bytes: u64,
}

impl Order {
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--seed={}", self.seed),
            format!("--life={}", self.life),
            format!("--tasks={}", self.tasks),
        ];
        arguments.push(format!("--reserve-bytes={}", self.reserve_bytes));
        arguments.extend(self.synchronous_normal.then(|| "--synchronous-normal".to_owned()));
        arguments.extend(self.fill.then(|| "--fill".to_owned()));
        arguments
    }
}

pub fn settings(folder: &Path) -> Settings {
    let mut settings = Settings::new(folder);
    settings.disk_reserve_bytes = DISK_RESERVE_BYTES;
    settings
}

/// Works until it is killed; returns only if it cannot.
pub fn run(folder: &Path, order: &Order) -> Result<(), String> {
    die_with_parent();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut settings = settings(folder);
        settings.disk_reserve_bytes = order.reserve_bytes;
        if order.synchronous_normal {
            settings.synchronous = Synchronous::Normal;
        }
        let store = EmbeddedStore::open(settings).map_err(|error| format!("open: {error}"))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let found = store
            .messages(&MessageQuery { limit: 100_000, ..MessageQuery::default() })
            .await
            .map_err(|error| format!("messages: {error}"))?;
        say("ready");
        let mut clerks = Vec::new();
        for task in 0..order.tasks {
            let mut clerk = Clerk {
                store: store.clone(),
                order: order.clone(),
                task,
                random: Random::seeded(order.seed ^ (order.life << 32) ^ (task << 48)),
                number: 0,
                desk: Vec::new(),
            };
            // What the life before left is divided among the tasks.
            clerk.desk.extend(
                found
                    .iter()
                    .filter(|entry| entry.sequence % order.tasks == task)
                    .map(|entry| (entry.envelope.id.clone(), Stage::of(entry.card.state, entry.has_payload))),
            );
            clerks.push(tokio::spawn(async move { clerk.work().await }));
        }
        for clerk in clerks {
            clerk.await.map_err(|error| format!("a task: {error}"))?;
        }
        Err("the tasks have ended".to_owned())
    })
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    HandedOut,
    Received,
    Purged,
}

impl Stage {
    fn of(state: DeliveryState, has_payload: bool) -> Self {
        match (state, has_payload) {
            (DeliveryState::Waiting, _) => Self::Waiting,
            (DeliveryState::HandedOut, _) => Self::HandedOut,
            (_, true) => Self::Received,
            (_, false) => Self::Purged,
        }
    }
}

struct Clerk {
    store: Arc<dyn Store>,
    order: Order,
    task: u64,
    random: Random,
    number: u64,
    desk: Vec<(MessageId, Stage)>,
}

impl Clerk {
    async fn work(&mut self) {
        loop {
            if self.desk.is_empty() || self.order.fill || self.random.between(0, 10) < 5 {
                self.accept_one().await;
            } else {
                self.advance_one().await;
            }
        }
    }

    /// Most are small, some lie above the 64 KiB from which on payloads are files, a few well above.
    fn payload_bytes(&mut self) -> u64 {
        match self.random.between(0, 20) {
            0..=13 => self.random.between(0, 10_000),
            14..=15 => self.random.between(60_000, 70_000),
            16..=18 => self.random.between(70_000, 200_000),
            _ => self.random.between(200_000, 1_500_000),
        }
    }

    async fn accept_one(&mut self) {
        let bytes = self.payload_bytes();
        let id = message::id(self.order.seed, self.order.life, self.task, self.number, bytes);
        self.number += 1;
        let Ok(id) = MessageId::parse(&id) else { return };
        if ask(self.store.as_ref(), Act::Accept, &id).await {
            self.desk.push((id, Stage::Waiting));
        }
    }

    async fn advance_one(&mut self) {
        let at = usize::try_from(self.random.between(0, self.desk.len() as u64)).unwrap_or(0);
        let (id, stage) = self.desk.swap_remove(at);
        let (act, next) = match stage {
            Stage::Waiting if self.random.once_in(2) => (Act::HandOut, Some(Stage::HandedOut)),
            Stage::Waiting | Stage::HandedOut => (Act::Receive, Some(Stage::Received)),
            Stage::Received => (Act::PurgePayload, Some(Stage::Purged)),
            Stage::Purged => (Act::PurgeCard, None),
        };
        let done = ask(self.store.as_ref(), act, &id).await;
        if let (true, Some(next)) = (done, next) {
            self.desk.push((id, next));
        }
    }
}

async fn perform(store: &dyn Store, act: Act, id: &MessageId) -> Result<(), StoreError> {
    let at = SystemClock.now();
    let change = |event| Change {
        id: id.clone(),
        event,
        at,
        by: Some("registration-office".to_owned()),
        reason: None,
        finding: None,
        only_in: None,
        only_posted_by: None,
        only_if_due: None,
        deadlines: None,
    };
    match act {
        Act::Accept => {
            let message = message::of_id(id.as_str()).ok_or(StoreError::Unknown)?;
            message.accept(store, at).await.map(|_| ())
        }
        Act::HandOut => store.change(change(Event::HandedOut)).await.map(|_| ()),
        Act::Receive => store.change(change(Event::Received)).await.map(|_| ()),
        Act::PurgePayload => store.purge_payload(id, at).await,
        Act::PurgeCard => store.purge_card(id, at).await,
    }
}

/// Asks until the store answers, and says so. False where it refuses for good.
async fn ask(store: &dyn Store, act: Act, id: &MessageId) -> bool {
    say(&format!("will {} {id}", act.as_str()));
    loop {
        let (kind, error) = match perform(store, act, id).await {
            Ok(()) => {
                say(&format!("did {} {id}", act.as_str()));
                return true;
            }
            Err(error @ StoreError::Full { .. }) => ("full", error),
            Err(error @ StoreError::Unavailable(_)) => ("unavailable", error),
            // Writing the payload met the disk itself.
            Err(error @ StoreError::Payload(_)) => ("payload", error),
            Err(error) => {
                say(&format!("refused for-good {} {id} {error}", act.as_str()));
                return false;
            }
        };
        say(&format!("refused {kind} {} {id} {error}", act.as_str()));
        tokio::time::sleep(RETRY_AFTER).await;
    }
}
