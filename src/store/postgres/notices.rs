//! What nodes tell each other through the database, so that they look before their next poll.
//!
//! One connection of each node listens and tells (`LISTEN`, `NOTIFY`). A notice saves time and nothing hangs on it: it is
//! sent after the change that it speaks of is durable, gathered for a moment with others, dropped where it would have to
//! wait. A connection that was lost is made again; what was told meanwhile is not known, which is a notice of its own
//! ([`Notice::Missed`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::connect::Session;
use super::pools::Pools;
use crate::store::Notice;

const CHANNEL: &str = "amtsbote";
/// Notices that may wait to be told, or to be heeded.
const WAITING_MAX: usize = 1024;
/// So long notices are gathered before they are told together.
const GATHER: Duration = Duration::from_millis(5);
/// The database takes 8,000 bytes at most.
const BYTES_MAX: usize = 7_000;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A connection from which nothing comes is asked whether it still is one.
const LOOK: Duration = Duration::from_secs(5);

/// A notice on its way, with the process that tells it.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    by: String,
    notice: Notice,
}

/// The engine's hold on the task that listens and tells.
pub struct Notices {
    tell: Mutex<Option<mpsc::Sender<Notice>>>,
    heard: broadcast::Sender<Notice>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Notices {
    pub fn start(pools: Arc<Pools>) -> Self {
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let heard = broadcast::Sender::new(WAITING_MAX);
        let task = tokio::spawn(run(pools, told, heard.clone()));
        Self { tell: Mutex::new(Some(tell)), heard, task: Mutex::new(Some(task)) }
    }

    pub fn tell(&self, notice: Notice) {
        if let Some(tell) = &*self.tell.lock().unwrap_or_else(PoisonError::into_inner) {
            // Where too many wait, the others' polls find what this one would have spoken of.
            let _ = tell.try_send(notice);
        }
    }

    pub fn hear(&self) -> broadcast::Receiver<Notice> {
        self.heard.subscribe()
    }

    pub fn stop(&self) {
        self.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(pools: Arc<Pools>, mut told: mpsc::Receiver<Notice>, heard: broadcast::Sender<Notice>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let reason = match listen(&pools, &heard).await {
            Ok(session) => {
                pause = PAUSE_FIRST;
                let _ = heard.send(Notice::Missed);
                match pass_on(&pools, session, &mut told).await {
                    Some(reason) => reason,
                    None => return,
                }
            }
            Err(reason) => reason,
        };
        tracing::debug!(reason, "no notices of other nodes; their work is found by looking");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        // Nobody was told; whoever waits looks by himself.
        while told.try_recv().is_ok() {}
    }
}

/// A session that hears what others tell.
async fn listen(pools: &Pools, heard: &broadcast::Sender<Notice>) -> Result<Session, String> {
    let (heard, own) = (heard.clone(), pools.token().to_owned());
    let hear = move |text: &str| match serde_json::from_str::<Told>(text) {
        // Nobody listening is no fault.
        Ok(told) if told.by != own => _ = heard.send(told.notice),
        Ok(_) => {}
        // A newer version's, perhaps.
        Err(_) => _ = heard.send(Notice::Missed),
    };
    let opened = async {
        let session = Session::listening(pools.writing_config(), pools.connector().clone(), hear).await?;
        pools.recognize(&session.client).await?;
        // A notice is worth no wait for a disk or a standby.
        let begin = format!("SET synchronous_commit = off; LISTEN {CHANNEL}");
        session.client.batch_execute(&begin).await?;
        Ok::<_, super::OpenError>(session)
    };
    match timeout(pools.settings().patience, opened).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer in time".to_owned()),
    }
}

/// Tells what is to be told until the session is lost, for the reason returned, or the store is closed.
async fn pass_on(pools: &Pools, mut session: Session, told: &mut mpsc::Receiver<Notice>) -> Option<String> {
    let patience = pools.settings().patience;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut texts = BTreeSet::new();
        tokio::select! {
            () = session.ended() => return Some("the connection was lost".to_owned()),
            first = told.recv() => {
                texts.extend(text_of(pools, first?));
                sleep(GATHER).await;
                while let Ok(next) = told.try_recv() {
                    texts.extend(text_of(pools, next));
                }
            }
            _ = look.tick() => {}
        }
        let texts: Vec<String> = texts.into_iter().collect();
        let notify = "SELECT pg_notify($1, text) FROM unnest($2::text[]) text";
        let asked = match texts.is_empty() {
            true => timeout(patience, session.client.batch_execute("")).await,
            false => {
                let asked = timeout(patience, session.client.execute(notify, &[&CHANNEL, &texts])).await;
                asked.map(|told| told.map(drop))
            }
        };
        match asked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(super::connect::sentence(&error)),
            Err(_) => return Some("the database does not answer".to_owned()),
        }
    }
}

/// `None`: too long to be told.
fn text_of(pools: &Pools, notice: Notice) -> Option<String> {
    let told = Told { by: pools.token().to_owned(), notice };
    serde_json::to_string(&told).ok().filter(|text| text.len() <= BYTES_MAX)
}
