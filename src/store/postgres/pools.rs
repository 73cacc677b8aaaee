//! The connections of one node, and what all of its parts know: settings, name, clock, and what is wrong.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    TimeoutType, Transaction,
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, IsolationLevel, Row as Found};

use super::connect::{self, Connector, Meaning, Purpose, Session};
use super::objects::Objects;
use super::read::column;
use super::{Examined, Fault, OpenError, Replication, Settings, claim, lag, promises, schema};
use crate::net::postgres::{is_doubtful, listen};
use crate::store::StoreError;
use crate::store::row::{instant, micros, uint};

/// The oldest server that everything here was tried with, as the server counts.
const VERSION_MIN: i32 = 150_000;

/// The database's clock, in microseconds.
pub const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// An answer that took longer does not say what the clock is.
const CLOCK_ANSWER_MAX: Duration = Duration::from_millis(500);
/// So long a jump of the clock matters at least, or as long as the longest lease.
const GUARD_MIN: Duration = Duration::from_secs(3600);
/// Waits for no standby, and not long for another node: it is told again.
const SHARE_GUARD: &str = "UPDATE store SET clock_jumped = $1, \
    clock_guard_until = clock_timestamp() + $2 * interval '1 second' \
    FROM set_config('synchronous_commit', 'off', true) AS soon, set_config('lock_timeout', '1s', true) AS brief \
    WHERE clock_jumped < $1 OR clock_guard_until IS NULL OR clock_guard_until <= clock_timestamp()";
const SHARED_GUARD: &str = "SELECT clock_jumped, extract(epoch FROM clock_guard_until - clock_timestamp())::float8 \
    FROM store WHERE clock_guard_until > clock_timestamp()";
/// Whether a session holds the lock that is this node's name: seen, and not tried, which could be in a start's way.
const HELD: &str = "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.datname = current_database() \
    AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('amtsbote node ' || $1, 0))";
/// Differences of clocks below this are left alone, so that instants do not tremble.
const SKEW_STEP: i64 = 500_000;

/// How far the database's clock is ahead of this node's, in microseconds.
///
/// What several nodes compare (leases, timers, ends of dialogs) lies in the database on its clock; each node's instants
/// are moved there and back, so that nodes whose clocks differ agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skew(pub i64);

impl Skew {
    pub fn on_database(self, at: Timestamp) -> i64 {
        micros(at).saturating_add(self.0)
    }

    pub fn here(self, at: i64) -> Timestamp {
        instant(at.saturating_sub(self.0))
    }

    /// The new difference, where it has changed by more than measuring it does.
    pub fn moved(self, measured: i64) -> Self {
        if measured.abs_diff(self.0) > SKEW_STEP.unsigned_abs() { Self(measured) } else { self }
    }
}

/// Where a question is asked: by itself, or within a transaction.
pub enum Reading<'a> {
    One(&'a Object),
    Within(&'a Transaction<'a>),
    Session(&'a Client),
    /// Within a transaction of a session that prepares nothing ahead.
    Bare(&'a tokio_postgres::Transaction<'a>),
}

impl Reading<'_> {
    /// Asks with a statement that is prepared once for each connection.
    pub async fn ask(&self, question: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Found>, Fault> {
        Ok(match self {
            Self::One(client) => client.query(&client.prepare_cached(question).await?, values).await?,
            Self::Within(work) => work.query(&work.prepare_cached(question).await?, values).await?,
            Self::Session(client) => client.query(question, values).await?,
            Self::Bare(work) => work.query(question, values).await?,
        })
    }
}

/// What is wrong, and what was warned of.
#[derive(Default)]
struct Troubles {
    writer: Option<String>,
    promise: Option<String>,
    hung: Option<String>,
    warned: Option<String>,
}

pub struct Pools {
    settings: Settings,
    /// Names this process among others of the same node name.
    token: String,
    writing: Config,
    connector: Connector,
    pool: Pool,
    store_id: Arc<OnceLock<String>>,
    objects: Option<Objects>,
    incarnation: AtomicI64,
    skew: AtomicI64,
    /// The database's clock as it was last read, and when, by a clock that nobody sets.
    clock: Mutex<Option<(Instant, i64)>>,
    /// The database's clock has jumped by so much; until when that matters.
    guard: Mutex<Option<(Instant, i64)>>,
    /// Seconds of the longest lease that was asked for.
    lease_longest: AtomicI64,
    troubles: Mutex<Troubles>,
    asked: AtomicUsize,
    doubts: Arc<AtomicU64>,
    given_up: Notify,
}

/// When the database was asked for its clock, by this node's clock and by one that nobody sets.
pub struct Asked {
    at: Timestamp,
    by: Instant,
}

impl Asked {
    pub fn now() -> Self {
        Self { at: Timestamp::now(), by: Instant::now() }
    }
}

impl Pools {
    pub fn new(settings: Settings) -> Result<Self, OpenError> {
        let token = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect::<String>();
        let writing = connect::config_of(&settings, &token, Purpose::Writing)?;
        let reading = connect::config_of(&settings, &token, Purpose::Asking)?;
        let connector = Connector(settings.tls.clone());
        let objects = settings.objects.as_ref().map(|objects| Objects::new(objects, settings.patience));
        let objects = objects.transpose().map_err(|what| OpenError::Settings(format!("[objects] {what}")))?;
        let store_id = Arc::new(OnceLock::new());
        let known = Arc::clone(&store_id);
        let doubts = Arc::new(AtomicU64::new(0));
        let manager = Manager::from_connect(
            reading,
            Listening { tls: connector.clone(), doubts: Arc::clone(&doubts) },
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(settings.connections_max.max(2))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.patience))
            .create_timeout(Some(settings.patience))
            .recycle_timeout(Some(settings.patience))
            .post_create(Hook::async_fn(move |client, _| {
                let known = Arc::clone(&known);
                Box::pin(async move {
                    same_store(client, &known).await.map_err(|error| HookError::message(error.to_string()))
                })
            }))
            .build()
            .map_err(|error| OpenError::Settings(error.to_string()))?;
        Ok(Self {
            settings,
            token,
            writing,
            connector,
            pool,
            store_id,
            objects,
            incarnation: AtomicI64::new(0),
            skew: AtomicI64::new(0),
            clock: Mutex::default(),
            guard: Mutex::default(),
            lease_longest: AtomicI64::new(0),
            troubles: Mutex::default(),
            asked: AtomicUsize::new(0),
            doubts,
            given_up: Notify::new(),
        })
    }

    /// Makes the tables where there are none, and remembers whose they are.
    pub async fn prepare(&self) -> Result<(), OpenError> {
        let mut session = self.session().await?;
        self.check_server(&session.client).await?;
        let id = schema::prepare(&mut session.client).await?;
        self.set_store_id(id);
        Ok(())
    }

    /// Refuses a server that is too old, and a database of another encoding. Its version, in its words.
    pub async fn check_server(&self, client: &Client) -> Result<String, OpenError> {
        let question = "SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, \
                        current_setting('server_version')";
        let row = client.query_one(question, &[]).await?;
        let (encoding, number, version): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
        if number < VERSION_MIN {
            return Err(OpenError::Settings(format!(
                "the server is PostgreSQL {version}; 15 is the oldest that fits"
            )));
        }
        if encoding != "UTF8" {
            return Err(OpenError::Encoding(encoding));
        }
        Ok(version)
    }

    pub async fn upgrade(&self) -> Result<(u32, u32), OpenError> {
        schema::migrate(&mut self.session().await?.client).await
    }

    /// Looks at everything that a start would look at, and changes nothing.
    pub async fn examine(&self) -> Result<Examined, OpenError> {
        let client = &self.session().await?.client;
        let server = self.check_server(client).await?;
        schema::refuse_register(client).await?;
        let found = schema::identity(client).await?;
        let version = found.as_ref().map(|(_, version)| *version);
        match found {
            None => schema::check_rights(client).await?,
            Some((id, version)) => {
                schema::check_version(version)?;
                self.set_store_id(id);
            }
        }
        let is_store = version.is_some();
        let name_taken = match is_store {
            true => self.look_at_name(client).await?,
            false => None,
        };
        let (broken, warning) = promises::verdict(client, self.settings.standby).await?;
        let objects = match &self.objects {
            None => None,
            Some(objects) => Some(match objects.look().await {
                // What cannot be asked keeps no start from going on.
                Ok(()) if is_store => claim::look(self).await.unwrap_or(Ok(0)).map(drop),
                looked => looked,
            }),
        };
        Ok(Examined { server, version, broken, warning, objects, name_taken })
    }

    /// That a process works as this node at the moment. Refuses a node whose log is closed.
    async fn look_at_name(&self, client: &Client) -> Result<Option<String>, OpenError> {
        let closed = "SELECT 1 FROM node WHERE name = $1 AND closed";
        if client.query_opt(closed, &[&self.node()]).await?.is_some() {
            return Err(OpenError::Retired(self.node().to_owned()));
        }
        let is_taken: bool = client.query_one(HELD, &[&self.node()]).await?.get(0);
        Ok(is_taken.then(|| OpenError::NameTaken(self.node().to_owned()).to_string()))
    }

    pub async fn replication(&self) -> Result<Replication, OpenError> {
        Ok(lag::replication(&self.session().await?.client).await?)
    }

    pub async fn session(&self) -> Result<Session, OpenError> {
        let opening = Session::open(&self.writing, self.connector.clone());
        match tokio::time::timeout(self.settings.patience, opening).await {
            Ok(session) => Ok(session?),
            Err(_) => Err(OpenError::Settings("the database does not answer in time".to_owned())),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn node(&self) -> &str {
        &self.settings.node
    }

    pub fn inline_bytes_max(&self) -> usize {
        self.settings.inline_bytes_max
    }

    /// Where large payloads go instead of into rows.
    pub fn objects(&self) -> Option<&Objects> {
        self.objects.as_ref()
    }

    /// How often the server has said on any connection of the pool that a commit may not have reached the standby.
    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// Known once the store is open.
    pub fn store_id(&self) -> &str {
        self.store_id.get().map_or("", String::as_str)
    }

    /// Whose data this is, as it was just read.
    pub fn set_store_id(&self, id: String) {
        let _ = self.store_id.set(id);
    }

    pub fn writing_config(&self) -> &Config {
        &self.writing
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    pub fn incarnation(&self) -> i64 {
        self.incarnation.load(Ordering::SeqCst)
    }

    pub fn set_incarnation(&self, incarnation: i64) {
        self.incarnation.store(incarnation, Ordering::SeqCst);
    }

    pub fn skew(&self) -> Skew {
        Skew(self.skew.load(Ordering::SeqCst))
    }

    /// Compares the database's clock with this node's.
    pub async fn measure_skew(&self, client: &Client) -> Result<(), Fault> {
        let asked = Asked::now();
        let there: i64 = column(&client.query_one(CLOCK, &[]).await?, 0)?;
        self.note_clock(&asked, there);
        Ok(())
    }

    /// The answer to [`CLOCK`], which was asked `asked`, has just come. One that took long says too little, but more than
    /// nothing.
    pub fn note_clock(&self, asked: &Asked, there: i64) {
        let took = asked.by.elapsed();
        if took > CLOCK_ANSWER_MAX && self.clock().is_some() {
            return;
        }
        let skew = self.skew();
        let half = i64::try_from(took.as_micros() / 2).unwrap_or_default();
        let moved = skew.moved(there - micros(asked.at) - half);
        // Also where this node's clock has jumped with it.
        self.guard_leases(&asked.by, there);
        if moved != skew {
            tracing::warn!(
                code = "store-clock",
                seconds = moved.0 / 1_000_000,
                next_step = "let both hosts follow a time server",
                "the database's clock differs from this node's; leases and deadlines follow the database's"
            );
            self.skew.store(moved.0, Ordering::SeqCst);
        }
        *self.clock() = Some((asked.by, there));
    }

    /// Where the database's clock has jumped ahead, by more than has passed since it was last read, what was leased
    /// before is not over for having been jumped over: it lasts so much longer, until no such lease can be left.
    fn guard_leases(&self, asked: &Instant, there: i64) {
        let Some((before, was)) = *self.clock() else { return };
        let passed = i64::try_from(asked.duration_since(before).as_micros()).unwrap_or(i64::MAX);
        let jumped = (there - was).saturating_sub(passed);
        if jumped > SKEW_STEP {
            let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
            let still = guard.filter(|(end, _)| *end > Instant::now()).map_or(0, |(_, jumped)| jumped);
            *guard = Some((Instant::now() + self.guard_time(), still.saturating_add(jumped)));
        }
    }

    /// A lease of that length may be under way from here on.
    pub fn note_lease(&self, lasts: Duration) {
        let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        self.lease_longest.fetch_max(seconds, Ordering::Relaxed);
    }

    fn guard_time(&self) -> Duration {
        Duration::from_secs(uint(self.lease_longest.load(Ordering::Relaxed))).max(GUARD_MIN)
    }

    /// Tells nodes that start later of a jump that they did not see.
    pub async fn share_guard(&self, client: &Client) -> Result<(), Fault> {
        let guard = *self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((end, jumped)) = guard.filter(|(end, _)| *end > Instant::now()) {
            let left = end.saturating_duration_since(Instant::now()).as_secs_f64();
            client.execute(SHARE_GUARD, &[&jumped, &left]).await?;
        }
        Ok(())
    }

    /// Learns of a jump that others saw.
    pub async fn learn_guard(&self, client: &Client) -> Result<(), Fault> {
        if let Some(row) = client.query_opt(SHARED_GUARD, &[]).await? {
            let (jumped, left): (i64, f64) = (column(&row, 0)?, column(&row, 1)?);
            let end = Instant::now() + Duration::try_from_secs_f64(left).unwrap_or_default();
            let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
            if guard.is_none_or(|(own, known)| own <= Instant::now() || known < jumped) {
                *guard = Some((end, jumped));
            }
        }
        Ok(())
    }

    /// By how much the database's clock is ahead of what leases that are still under way were counted by.
    pub fn jumped(&self) -> i64 {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.filter(|(end, _)| *end > Instant::now()).map_or(0, |(_, jumped)| jumped)
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, i64)>> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a database that is not the one that was opened, or has left this program too far behind.
    pub async fn recognize(&self, client: &Client) -> Result<(), OpenError> {
        same_store(client, &self.store_id).await
    }

    pub async fn client(&self) -> Result<Object, Fault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Unavailable(format!(
                "all {} connections to the database are in use; raise [store] connections_max",
                self.settings.connections_max
            ))
            .into(),
            PoolError::Timeout(_) => Fault::Late("no connection was made"),
            PoolError::Backend(error) => Fault::Postgres(error),
            PoolError::Closed => StoreError::Unavailable("the store is closed".to_owned()).into(),
            other => StoreError::Unavailable(other.to_string()).into(),
        })
    }

    /// Runs one statement that is its own transaction.
    pub async fn run(
        &self,
        question: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Found>, StoreError> {
        let client = self.client().await.map_err(Fault::into_store_error)?;
        let answer =
            in_time(&self.settings, async { Reading::One(&client).ask(question, values).await }).await;
        answer.map_err(|fault| {
            forget_if_lost(client, &fault);
            fault.into_store_error()
        })
    }

    /// The same for what can wait: not begun where its commit would wait for a standby, and keep a session of the server.
    pub async fn tidy(
        &self,
        question: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Found>, StoreError> {
        match self.promise_trouble() {
            Some(trouble) => Err(StoreError::Unavailable(trouble)),
            None => self.run(question, values).await,
        }
    }

    pub fn close(&self) {
        self.pool.close();
    }

    fn troubles(&self) -> std::sync::MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is accepted, where that is so.
    pub fn trouble(&self) -> Option<String> {
        let troubles = self.troubles();
        troubles.promise.as_ref().or(troubles.hung.as_ref()).or(troubles.writer.as_ref()).cloned()
    }

    pub fn writer_trouble(&self) -> Option<String> {
        self.troubles().writer.clone()
    }

    pub fn set_writer_trouble(&self, reason: Option<String>) {
        self.troubles().writer = reason;
    }

    pub fn promise_trouble(&self) -> Option<String> {
        let troubles = self.troubles();
        troubles.promise.as_ref().or(troubles.hung.as_ref()).cloned()
    }

    /// That commits wait for a standby which does not answer.
    pub fn hung(&self) -> Option<String> {
        self.troubles().hung.clone()
    }

    /// A commit was not answered in time; whether it hangs is looked at before many others begin to wait.
    pub fn give_up(&self) {
        self.given_up.notify_one();
    }

    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// Gives back what was so before.
    pub fn set_hung(&self, reason: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.troubles().hung, reason)
    }

    pub fn set_promise_trouble(&self, reason: Option<String>) {
        self.troubles().promise = reason;
    }

    pub fn warned(&self) -> Option<String> {
        self.troubles().warned.clone()
    }

    pub fn set_warned(&self, warned: Option<String>) {
        self.troubles().warned = warned;
    }
}

/// Makes the pool's connections, and hears what the server says aside on them.
struct Listening {
    tls: Connector,
    doubts: Arc<AtomicU64>,
}

impl Connect for Listening {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let doubts = Arc::clone(&self.doubts);
            let heard = listen(connection, move |message| {
                if is_doubtful(message) {
                    doubts.fetch_add(1, Ordering::SeqCst);
                }
            });
            Ok((client, tokio::spawn(heard)))
        })
    }
}

async fn same_store(client: &Client, known: &OnceLock<String>) -> Result<(), OpenError> {
    let Some(known) = known.get() else { return Ok(()) };
    match schema::identity(client).await? {
        Some((found, version)) if found == *known => schema::check_version(version),
        found => Err(OpenError::Foreign {
            found: found.map_or_else(|| "none".to_owned(), |(found, _)| found),
            known: known.clone(),
        }),
    }
}

/// Bounds what the database may take, a little beyond its own bound, which gives the better reason.
pub async fn in_time<T>(
    settings: &Settings,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let bound = settings.question_time_max + Duration::from_secs(1);
    tokio::time::timeout(bound, work).await.unwrap_or(Err(Fault::Late("a question was not answered")))
}

/// Takes a connection that may be at fault out of the pool; true where it was lost.
pub fn forget_if_lost(client: Object, fault: &Fault) -> bool {
    let lost = match fault {
        Fault::Postgres(error) => connect::meaning(error) == Meaning::Lost,
        Fault::Late(_) => true,
        Fault::Refusal(_) | Fault::Faster | Fault::Overtaken | Fault::Promise(_) => false,
    };
    if lost {
        drop(Object::take(client));
    }
    lost && !matches!(fault, Fault::Late(_))
}

/// A snapshot to read from.
pub async fn snapshot(client: &mut Object) -> Result<Transaction<'_>, Fault> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    Ok(snapshot.start().await?)
}

pub async fn transaction(client: &mut Object) -> Result<Transaction<'_>, Fault> {
    Ok(client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_whose_clocks_differ_agree_on_the_databases() {
        let at = |seconds| Timestamp::from_second(seconds).expect("an instant");
        // One node's clock is right, the other's is an hour behind; both speak of the same instant.
        let (right, behind) = (Skew::default(), Skew(3_600_000_000));
        assert_eq!(right.on_database(at(7200)), behind.on_database(at(3600)));
        assert_eq!(behind.here(right.on_database(at(7200))), at(3600));
        assert_eq!(right.on_database(Timestamp::MAX), micros(Timestamp::MAX));
        assert_eq!(behind.here(behind.on_database(Timestamp::MAX)), Timestamp::MAX);
    }

    #[test]
    fn a_databases_clock_that_jumps_ends_no_lease() {
        let pools =
            Pools::new(Settings::new("host=127.0.0.1 user=nobody", "one")).expect("nothing is connected");
        let read = |ahead: i64| {
            let asked = Asked::now();
            let there = micros(asked.at) + ahead;
            pools.note_clock(&asked, there);
        };
        read(0);
        assert_eq!((pools.skew(), pools.jumped()), (Skew::default(), 0));
        // Ahead by an hour: leases of before last an hour longer, on the clock that has jumped.
        read(HOUR);
        let near =
            |found: i64, expected: i64| assert!(found.abs_diff(expected) < 400_000, "{found} {expected}");
        near(pools.skew().0, HOUR);
        near(pools.jumped(), HOUR);
        // Once more: both count. Back again is no jump ahead.
        read(2 * HOUR);
        near(pools.jumped(), 2 * HOUR);
        read(0);
        near(pools.skew().0, 0);
        near(pools.jumped(), 2 * HOUR);
        // Both clocks together, as on one machine: nothing is to be reckoned anew, and leases are ended no sooner.
        let asked = Asked { at: Timestamp::now() + Duration::from_secs(3600), by: Instant::now() };
        let there = micros(asked.at);
        pools.note_clock(&asked, there);
        near(pools.skew().0, 0);
        near(pools.jumped(), 3 * HOUR);
        // An answer that took long says nothing.
        let slow = || Asked { by: Instant::now() - Duration::from_secs(1), ..Asked::now() };
        let asked = slow();
        let there = micros(asked.at) + HOUR;
        pools.note_clock(&asked, there);
        near(pools.skew().0, 0);
        // Unless it is all that is known.
        let pools = Pools::new(Settings::new("host=127.0.0.1 user=nobody", "one")).expect("a setting");
        let asked = slow();
        let there = micros(asked.at) + HOUR;
        pools.note_clock(&asked, there);
        assert!(pools.skew().0.abs_diff(HOUR) < 1_000_000, "{:?}", pools.skew());
        assert_eq!(pools.jumped(), 0);
    }

    #[test]
    fn a_jump_matters_as_long_as_the_longest_lease() {
        let pools = Pools::new(Settings::new("host=127.0.0.1 user=nobody", "one")).expect("a setting");
        assert_eq!(pools.guard_time(), GUARD_MIN);
        pools.note_lease(Duration::from_secs(60));
        assert_eq!(pools.guard_time(), GUARD_MIN);
        pools.note_lease(GUARD_MIN * 3);
        pools.note_lease(GUARD_MIN * 2);
        assert!(pools.guard_time() >= GUARD_MIN * 3);
    }

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_clock_that_trembles_is_left_alone() {
        let skew = Skew::default();
        assert_eq!(skew.moved(499_999), skew);
        assert_eq!(skew.moved(-499_999), skew);
        let moved = skew.moved(3_600_000_000);
        assert_eq!(moved, Skew(3_600_000_000));
        assert_eq!(moved.moved(3_600_400_000), moved);
    }
}
