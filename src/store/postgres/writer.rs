//! The node's one writer: gathers every waiting command into one transaction, answers after the commit. What comes while
//! the transaction waits for its turn to number messages belongs to it, too: nodes that share the load would otherwise
//! come to their turn with the one message that came first, and the rest would wait for the next.
//!
//! A transaction that is known not to have been committed is tried again: another node was faster, the connection was
//! lost before the commit was sent, the primary is a standby now. What became of a commit whose answer did not arrive is
//! asked of the database, never assumed: the node's row carries the number of its last transaction, and the question
//! first takes the row away from whoever may still be working for us ([`Task::decide`]). A commit of which the server
//! says that the standby may lack it is asked about in the same way, and the answer is itself a commit that waits for the
//! standby.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::Row;

use super::batch::{Needs, Work};
use super::connect::{Meaning, Session, application_name};
use super::exchange::Desk;
use super::promises::{Standby, Waited};
use super::read::column;
use super::{Fault, OpenError, Pools, Reading, evidence, promises};
use crate::evidence::tree::Frontier;
use crate::net::postgres::{COMMIT, loaded};
use crate::store::StoreError;
use crate::store::row::uint;

pub const COMMANDS_MAX: usize = 256;
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Commands that may wait; beyond, their senders wait.
const QUEUE_MAX: usize = 1024;
/// Nobody's trouble, unless names came and went.
const RELOADED: &str = "the server read its settings anew during the commit";
/// Attempts at taking the node's row without that.
const TAKES_MAX: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What became of the transaction that a command was part of.
#[derive(Debug, Clone)]
enum Verdict {
    Stored,
    NotStored(String),
    Full,
    /// The database could not even be asked.
    Unknown(String),
}

/// Takes the node's row. An incarnation that another process took, or a program that knows no tokens, begins a new count.
const TAKE: &str = "UPDATE node SET incarnation = incarnation + 1, \
    held_since = CASE WHEN token = $2 AND token_at = incarnation THEN held_since ELSE incarnation + 1 END, \
    token = $2, token_at = incarnation + 1 WHERE name = $1 RETURNING incarnation, batch, size, closed, held_since";

type Command = Box<dyn FnMut(&mut Work) -> Result<(), StoreError> + Send>;
type Answer = Box<dyn FnOnce(&Verdict) + Send>;

/// A command with the way to its asker. It may be decided more than once; the last time counts.
struct Job {
    bytes: usize,
    needs: Needs,
    command: Command,
    answer: Answer,
}

/// The rest of the engine's hold on the writer.
pub struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Opens the node's session and starts to work. The incarnation is the first of this process.
    pub async fn start(pools: Arc<Pools>) -> Result<Self, OpenError> {
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let mut task = Task { pools, open: None, last_stored: None };
        let end = Instant::now() + task.pools.settings().patience;
        task.open = Some(task.open(end).await?);
        let task = tokio::spawn(task.run(commands));
        Ok(Self { queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)) })
    }

    /// Decides `command` in the next transaction and returns after that is durable. `settle` sees the result once it is
    /// known to be stored, and only then.
    pub async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        needs: Needs,
        mut command: impl FnMut(&mut Work) -> Result<T, StoreError> + Send + 'static,
        settle: impl FnOnce(&T) + Send + 'static,
        unknown: impl FnOnce() + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let decided = Arc::new(Mutex::new(None));
        let result = Arc::clone(&decided);
        let command: Command = Box::new(move |work| {
            let answer = command(work);
            let kept = match &answer {
                Ok(_) => Ok(()),
                Err(_) => Err(StoreError::Unknown),
            };
            *decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            kept
        });
        let answer: Answer = Box::new(move |verdict| {
            let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
            let answer = match (verdict, result) {
                (Verdict::Stored, Some(Ok(value))) => {
                    settle(&value);
                    Ok(value)
                }
                (Verdict::Stored, Some(Err(refusal))) => Err(refusal),
                (Verdict::Stored, None) => Err(StoreError::Unavailable("the command was not run".to_owned())),
                (Verdict::NotStored(reason), _) => Err(StoreError::Unavailable(reason.clone())),
                (Verdict::Full, _) => Err(StoreError::Full { free: 0, reserve: 0 }),
                (Verdict::Unknown(reason), _) => {
                    unknown();
                    Err(StoreError::Unavailable(reason.clone()))
                }
            };
            // An asker that went away learns the outcome when it asks again.
            let _ = tell.send(answer);
        });
        let stopped = || StoreError::Unavailable("the store is closed".to_owned());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let job = Job { bytes, needs, command, answer };
        queue.ok_or_else(stopped)?.send(job).await.map_err(|_| stopped())?;
        told.await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the command failed; see the log".to_owned())))
    }

    /// Takes no more commands and finishes those that wait.
    pub async fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

/// A session as this node, and what is known of the node in it.
struct Open {
    desk: Desk,
    incarnation: i64,
    /// From this incarnation on, no other process has worked as this node.
    held_since: i64,
    frontier: Frontier,
    batch: i64,
}

struct Task {
    pools: Arc<Pools>,
    open: Option<Open>,
    /// The last transaction that was answered for.
    last_stored: Option<i64>,
}

/// How a transaction failed.
enum Failure {
    /// Known not to be stored; the same again may succeed.
    Again(String),
    /// Known not to be stored, and one of the commands is to blame.
    Wrong(String),
    Full,
    /// The commit of this transaction was sent, its answer did not arrive.
    Unknown(i64, String),
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Job>) {
        loop {
            let first = match self.pools.writer_trouble() {
                None => commands.recv().await,
                // Whoever asks first is refused for the trouble; so it is looked at without being asked.
                Some(_) => match timeout(PAUSE_MAX, commands.recv()).await {
                    Ok(first) => first,
                    Err(_) => {
                        self.heal().await;
                        continue;
                    }
                },
            };
            let Some(first) = first else { return };
            let mut jobs = vec![first];
            gather(&mut jobs, &mut commands);
            self.batch(jobs, &mut commands).await;
        }
    }

    /// Finds out whether the trouble is over.
    async fn heal(&mut self) {
        if self.pools.promise_trouble().is_some() {
            return;
        }
        let patience = self.pools.settings().patience;
        if let Some(open) = &self.open {
            let answer = timeout(patience, open.desk.session.client.query_one("SELECT 1", &[])).await;
            if !matches!(answer, Ok(Ok(_))) {
                self.open = None;
            }
        }
        if self.open.is_none() {
            match self.open(Instant::now() + patience).await {
                Ok(open) => self.open = Some(open),
                Err(error) => return self.pools.set_writer_trouble(Some(error.to_string())),
            }
        }
        tracing::info!("the store can be written again");
        self.pools.set_writer_trouble(None);
    }

    async fn batch(&mut self, mut jobs: Vec<Job>, commands: &mut mpsc::Receiver<Job>) {
        let verdict = self.store(&mut jobs, Some(commands)).await;
        if let (Err(Failure::Wrong(reason)), true) = (&verdict, jobs.len() > 1) {
            tracing::warn!(reason, "a transaction was given up; its commands are tried one by one");
            for job in jobs {
                let mut alone = vec![job];
                let verdict = self.store(&mut alone, None).await;
                answer(alone, &verdict_of(verdict));
            }
            return;
        }
        answer(jobs, &verdict_of(verdict));
    }

    /// One transaction, tried until its outcome is known or patience ends. With `commands`, others may join it.
    async fn store(
        &mut self,
        jobs: &mut Vec<Job>,
        mut commands: Option<&mut mpsc::Receiver<Job>>,
    ) -> Result<(), Failure> {
        // Who comes when the trouble is known already does not wait for it to be found out again.
        let patience = self.pools.settings().patience;
        let end = Instant::now() + if self.pools.writer_trouble().is_some() { PAUSE } else { patience };
        let mut pause = PAUSE;
        loop {
            let failure = match self.attempt(jobs, commands.as_deref_mut(), end).await {
                Ok(()) => {
                    self.pools.set_writer_trouble(None);
                    return Ok(());
                }
                Err(Failure::Unknown(number, reason)) => {
                    if reason == RELOADED {
                        tracing::info!(
                            reason,
                            "the database is asked once more for the outcome of a transaction"
                        );
                    } else {
                        tracing::error!(
                            reason,
                            "the outcome of a transaction is unknown; the database is asked"
                        );
                    }
                    match self.decide(number, Instant::now() + patience).await {
                        Some(true) => return Ok(()),
                        Some(false) => Failure::Again(reason),
                        None => {
                            let what =
                                "whether the message was stored is not known, ask again with the same id";
                            self.pools.set_writer_trouble(Some(reason.clone()));
                            return Err(Failure::Unknown(number, format!("{reason}; {what}")));
                        }
                    }
                }
                Err(failure) => failure,
            };
            let Failure::Again(reason) = failure else { return Err(failure) };
            if Instant::now() + pause >= end {
                tracing::error!(reason, "the store cannot be written; commands are refused until it can");
                self.pools.set_writer_trouble(Some(reason.clone()));
                return Err(Failure::Again(reason));
            }
            tracing::debug!(reason, "a transaction is tried again");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(
        &mut self,
        jobs: &mut Vec<Job>,
        commands: Option<&mut mpsc::Receiver<Job>>,
        end: Instant,
    ) -> Result<(), Failure> {
        if let Some(broken) = self.pools.promise_trouble() {
            return Err(Failure::Again(broken));
        }
        if self.open.is_none() {
            let opened = self.open(end.max(Instant::now() + Duration::from_secs(2))).await;
            self.open = Some(opened.map_err(|error| Failure::Again(error.to_string()))?);
        }
        let patience = self.pools.settings().patience;
        let pools = Arc::clone(&self.pools);
        let Some(open) = &mut self.open else { return Err(Failure::Again("there is no session".to_owned())) };
        let number = open.batch + 1;
        let prepared = timeout(patience, prepare(open, &pools, jobs, commands, number)).await;
        let frontier = match prepared {
            Ok(Ok(frontier)) => frontier,
            Ok(Err(fault)) => return Err(self.given_up(fault).await),
            Err(_) => {
                self.open = None;
                return Err(Failure::Again("the database does not answer".to_owned()));
            }
        };
        open.desk.session.listen_anew();
        let committed = timeout(patience, open.desk.session.client.batch_execute(COMMIT)).await;
        let reason = match committed {
            Ok(Ok(())) if !open.desk.session.is_unsure() => {
                match timeout(patience, open.desk.has_waited(&pools)).await {
                    Ok(Ok(Waited::Yes)) => {
                        (open.batch, open.frontier) = (number, frontier);
                        self.last_stored = Some(number);
                        metrics::counter!("amtsbote_store_commits_total").increment(1);
                        return Ok(());
                    }
                    Ok(Ok(Waited::Unsure)) => RELOADED.to_owned(),
                    Ok(Ok(Waited::No)) => {
                        let broken = promises::HAS_NOT_WAITED.to_owned();
                        pools.set_promise_trouble(Some(broken.clone()));
                        broken
                    }
                    Ok(Err(fault)) => format!("whether the standby has it cannot be asked: {fault}"),
                    Err(_) => "whether the standby has it was not answered in time".to_owned(),
                }
            }
            Ok(Ok(())) => "the server has not waited for its standby".to_owned(),
            Ok(Err(error)) => format!("the commit failed: {}", super::connect::sentence(&error)),
            Err(_) => "the commit was not answered in time; is the synchronous standby there?".to_owned(),
        };
        Err(Failure::Unknown(number, reason))
    }

    /// Ends a transaction whose commit was never sent.
    async fn given_up(&mut self, fault: Fault) -> Failure {
        let undone = match &self.open {
            Some(open) => {
                timeout(Duration::from_secs(2), open.desk.session.client.batch_execute("ROLLBACK")).await
            }
            None => Ok(Ok(())),
        };
        if !matches!(undone, Ok(Ok(()))) {
            self.open = None;
        }
        match &fault {
            Fault::Faster => Failure::Again("another node was faster".to_owned()),
            Fault::Overtaken | Fault::Late(_) => {
                self.open = None;
                Failure::Again(fault.to_string())
            }
            Fault::Promise(broken) => {
                self.pools.set_promise_trouble(Some(broken.clone()));
                Failure::Again(broken.clone())
            }
            Fault::Refusal(error) => Failure::Wrong(error.to_string()),
            Fault::Postgres(error) => match super::connect::meaning(error) {
                Meaning::Again => Failure::Again(super::connect::sentence(error)),
                Meaning::Lost => {
                    self.open = None;
                    Failure::Again(super::connect::sentence(error))
                }
                Meaning::Full => Failure::Full,
                Meaning::Wrong => Failure::Wrong(super::connect::sentence(error)),
            },
        }
    }

    /// A new session as this node. Nobody else works in the node's name from here on. Over at `end`, also where the
    /// database waits for a standby that is away.
    async fn open(&self, end: Instant) -> Result<Open, OpenError> {
        // A name that is taken is said by then.
        timeout_at(end + Duration::from_secs(2), self.opened(end)).await.map_err(|_| OpenError::late())?
    }

    async fn opened(&self, end: Instant) -> Result<Open, OpenError> {
        let pools = &self.pools;
        let session = Session::open(pools.writing_config(), pools.connector().clone()).await?;
        pools.recognize(&session.client).await?;
        self.take_name(&session, end).await?;
        let node = pools.node();
        let row = self.take_row(&session).await?;
        if column::<bool>(&row, 3)? {
            return Err(OpenError::Retired(node.to_owned()));
        }
        let (incarnation, batch, size): (i64, i64, i64) =
            (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
        if let Some(last) = self.last_stored
            && batch < last
        {
            return Err(OpenError::Forgetful { lacking: last - batch });
        }
        let held_since = column(&row, 4)?;
        pools.set_incarnation(incarnation);
        pools.measure_skew(&session.client).await?;
        pools.learn_guard(&session.client).await?;
        promises::check_start(&session.client, pools).await?;
        // Before patience ends, so that it can be said what was waited for; what other nodes hold, they hold shorter.
        let lock = pools.settings().patience.as_millis() * 3 / 4;
        session.client.batch_execute(&format!("SET lock_timeout = {lock}")).await?;
        let reading = Reading::Session(&session.client);
        let frontier = evidence::on_tree(&reading, node, |tree| Frontier::of(tree, uint(size))).await?;
        Ok(Open { desk: Desk::new(session), incarnation, held_since, frontier, batch })
    }

    /// Takes the node's row by a commit that has waited for the standby, where one is required.
    async fn take_row(&self, session: &Session) -> Result<Row, OpenError> {
        let pools = &self.pools;
        let is_required = pools.settings().standby == Standby::Required;
        for _ in 0..TAKES_MAX {
            let before = match is_required {
                true => Some(loaded(&session.client.query_one(promises::HAS_WAITED, &[]).await?)?),
                false => None,
            };
            session.listen_anew();
            let row = session.client.query_one(TAKE, &[&pools.node(), &pools.token()]).await?;
            if session.is_unsure() {
                return Err(OpenError::Settings("the server does not wait for its standby".to_owned()));
            }
            let Some(before) = before else { return Ok(row) };
            let behind = session.client.query_one(promises::HAS_WAITED, &[]).await?;
            if !column::<bool>(&behind, 0)? {
                // Names that are back by then come too late for this commit.
                promises::check_start(&session.client, pools).await?;
                return Err(OpenError::Promise(promises::HAS_NOT_WAITED.to_owned()));
            }
            if loaded(&behind)? == before {
                return Ok(row);
            }
        }
        Err(OpenError::Settings("the server reads its settings anew again and again".to_owned()))
    }

    /// Holds the node's name for as long as the session lasts; ends earlier sessions of this very process.
    async fn take_name(&self, session: &Session, end: Instant) -> Result<(), OpenError> {
        let pools = &self.pools;
        let own = application_name(pools.settings(), pools.token());
        let node = pools.node();
        session
            .client
            .execute(
                "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid \
                 WHERE l.locktype = 'advisory' AND a.application_name = $1 AND a.pid <> pg_backend_pid()",
                &[&own],
            )
            .await?;
        loop {
            let take = "SELECT pg_try_advisory_lock(hashtextextended('amtsbote node ' || $1, 0))";
            let row = session.client.query_one(take, &[&node]).await?;
            if column(&row, 0)? {
                break;
            }
            if Instant::now() >= end {
                return Err(OpenError::NameTaken(node.to_owned()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        session
            .client
            .execute("INSERT INTO node (name) VALUES ($1) ON CONFLICT DO NOTHING", &[&node])
            .await?;
        Ok(())
    }

    /// Finds out whether transaction `number` is stored. Taking the node's row waits for whoever still has it, and shuts
    /// out whatever of ours is still under way; being a commit itself, it also waits for the standby. A number that
    /// another process may have used as this node, while this one stood still, proves nothing.
    async fn decide(&mut self, number: i64, end: Instant) -> Option<bool> {
        let before = self.open.take().map(|open| open.incarnation);
        loop {
            match self.open(end).await {
                Ok(open) => {
                    let stored = open.batch >= number;
                    let is_ours_alone = before.is_some_and(|before| open.held_since <= before);
                    if stored && !is_ours_alone {
                        tracing::error!(
                            code = "store-node-shared",
                            node = self.pools.node(),
                            next_step = "let one process at a time work under this [store] node",
                            "whether a transaction was stored is not known: others may have worked as this node meanwhile"
                        );
                        self.open = Some(open);
                        return None;
                    }
                    tracing::warn!(stored, "the database has told the outcome");
                    if stored {
                        self.last_stored = Some(open.batch);
                    }
                    self.open = Some(open);
                    return Some(stored);
                }
                Err(error) => tracing::error!(%error, "the database cannot tell the outcome yet"),
            }
            if Instant::now() + PAUSE_MAX >= end {
                return None;
            }
            sleep(PAUSE_MAX).await;
        }
    }
}

/// Takes every command that waits, as far as one transaction has room.
fn gather(jobs: &mut Vec<Job>, commands: &mut mpsc::Receiver<Job>) {
    let mut bytes: usize = jobs.iter().map(|job| job.bytes).sum();
    while jobs.len() < COMMANDS_MAX
        && bytes < BYTES_MAX
        && let Ok(next) = commands.try_recv()
    {
        bytes += next.bytes;
        jobs.push(next);
    }
}

/// Everything of a transaction but its commit.
async fn prepare(
    open: &mut Open,
    pools: &Pools,
    jobs: &mut Vec<Job>,
    commands: Option<&mut mpsc::Receiver<Job>>,
    number: i64,
) -> Result<Frontier, Fault> {
    let numbers = jobs.iter().any(|job| job.needs.numbers);
    let leases = jobs.iter().any(|job| job.needs.lease.is_some());
    let last = open.desk.begin(pools, open.incarnation, numbers, leases).await?;
    if let Some(commands) = commands.filter(|_| numbers) {
        gather(jobs, commands);
    }
    let needs: Vec<Needs> = jobs.iter().map(|job| job.needs.clone()).collect();
    let (mut work, candidates) = open.desk.load(&needs, pools.skew(), pools.jumped()).await?;
    work.last = last;
    for (job, candidates) in jobs.iter_mut().zip(candidates) {
        // A refusal is kept beside the command and told once the transaction is through.
        let _ = work.decide(candidates, |work| (job.command)(work));
    }
    open.desk.flush(work, open.frontier.clone(), pools.node(), number).await
}

fn verdict_of(outcome: Result<(), Failure>) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Stored,
        Err(Failure::Again(reason) | Failure::Wrong(reason)) => Verdict::NotStored(reason),
        Err(Failure::Full) => Verdict::Full,
        Err(Failure::Unknown(_, reason)) => Verdict::Unknown(reason),
    }
}

fn answer(jobs: impl IntoIterator<Item = Job>, verdict: &Verdict) {
    jobs.into_iter().for_each(|job| (job.answer)(verdict));
}
