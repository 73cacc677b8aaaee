//! The PostgreSQL engine: one database, shared by the register's process and its command line.
//!
//! Whoever writes holds one lock of the database from the first statement to the commit, as in the embedded engine, so
//! what was read within a transaction is still so when it writes. Readers see one state. The connection is spoken to by a
//! small runtime of its own, and whoever calls waits without one: from a thread of blocking work or any other.
//!
//! A connection that is lost before its commit has changed nothing. One that is lost within it is asked about: the next
//! session waits for the same lock and then looks for what that transaction would have left ([`fate`]). Only where no
//! server answers in time nobody can say, and the error says that.

mod copying;
mod fate;
mod schema;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, IsolationLevel, Row, Statement, Transaction};

use self::fate::Commit;
use self::schema::{SCHEMA, Unfit};
use super::Value;
use crate::net;
use crate::net::postgres::{
    Connector, HAS_NOT_WAITED, HAS_WAITED, Meaning, STANDING, Session, Standby, broken, check, loaded,
    meaning, sentence,
};
use crate::register::copies::CopyError;
use crate::register::copies::looks::LogKey;

/// [`net::postgres::COMMIT`] of a session that goes on in a transaction.
const COMMIT_AND_CHAIN: &str = "SELECT 1; COMMIT AND CHAIN";
/// Held by whoever writes ("Melt").
const LOCK: i64 = 0x4d65_6c74;
/// The oldest server that this was tried with, as servers count.
const VERSION_MIN: i32 = 150_000;
/// Another process may write for so long before we give up, as in the embedded engine.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);
/// A session that was idle for longer is asked whether it is there before it is used.
const IDLE_TRUSTED: Duration = Duration::from_millis(500);
/// Rows that a long answer brings at once.
const PAGE_ROWS: i32 = 1000;
/// Statements that are on their way at once.
const TOGETHER_MAX: usize = 256;
/// Statements that a session remembers.
const STATEMENTS_MAX: usize = 256;
/// How long vacuuming waits for a table that somebody holds.
const VACUUM_LOCK_WAIT_MAX: Duration = Duration::from_millis(500);
/// Whether another session of this database reads a state before the present one. What other users' sessions are is hidden
/// from most roles.
const OLD_READERS: &str = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
    AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend' AND age(backend_xmin) > 0)";
/// Making tables, and writing all of them anew.
const WORKS_MAX: Duration = Duration::from_secs(6 * 3600);

#[derive(Clone)]
pub struct Settings {
    /// Hosts, port, user and database, as `key=value` pairs or as a URL (libpq's words).
    pub connection: String,
    pub password: Option<String>,
    /// With it, TLS is demanded, and the server's certificate must lead to its anchors and name the host.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Questions at once; one more connection writes.
    pub connections_max: usize,
    /// How long a database that does not answer is waited for.
    pub patience: Duration,
    /// How long one statement may take.
    pub question_time_max: Duration,
    pub standby: Standby,
}

impl Settings {
    pub fn new(connection: impl Into<String>) -> Self {
        Self {
            connection: connection.into(),
            password: None,
            tls: None,
            connections_max: 16,
            patience: Duration::from_secs(10),
            question_time_max: Duration::from_secs(30),
            standby: Standby::Unasked,
        }
    }

    /// Its name and where it is.
    pub fn database(&self) -> String {
        let Ok(config) = self.connection.parse::<Config>() else { return String::new() };
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<String> = hosts.collect();
        format!("{} at {}", config.get_dbname().unwrap_or("of the user's name"), hosts.join(", "))
    }

    fn config(&self) -> Result<Config, CopyError> {
        let wrong = |what| CopyError::Settings(format!("[store] connection {what}"));
        check(&self.connection, self.tls.is_some()).map_err(wrong)?;
        let mut config: Config = self.connection.parse().map_err(|_| wrong("cannot be read".to_owned()))?;
        if let Some(password) = &self.password {
            config.password(password);
        }
        config.ssl_mode(if self.tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(self.patience.min(Duration::from_secs(3)));
        config.tcp_user_timeout(self.patience);
        config.keepalives_idle(Duration::from_secs(5));
        config.application_name("amtsbote register");
        // A process that stands still in the middle of writing must not hold the others up for ever; a server that waits
        // for a lock notices that nobody waits for it. No time limit cuts a commit's wait for its standby.
        let (lock, idle) = (LOCK_WAIT_MAX.as_millis(), self.patience.as_millis());
        config.options(format!(
            "-c search_path={SCHEMA} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={idle} \
             -c statement_timeout=0 -c synchronous_commit=on -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off \
             -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 \
             -c tcp_user_timeout={idle} -c client_connection_check_interval=2s -c client_encoding=UTF8"
        ));
        Ok(config)
    }
}

/// What the sessions of one database share.
struct Shared {
    /// None once it is shut down.
    runtime: Option<Runtime>,
    config: Config,
    settings: Settings,
    /// Who reads at this moment.
    readers: Mutex<usize>,
    reader_done: Condvar,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed within another runtime.
            runtime.shutdown_background();
        }
    }
}

/// Why a statement came to nothing.
enum Trouble {
    Postgres(tokio_postgres::Error),
    Late,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Trouble {
    /// The connection is of no use any more.
    fn is_lost(&self) -> bool {
        match self {
            Self::Postgres(error) => meaning(error) == Meaning::Lost,
            Self::Late => true,
        }
    }

    fn error(&self) -> CopyError {
        CopyError::Server(match self {
            Self::Postgres(error) => sentence(error),
            Self::Late => {
                "the database does not answer in time; is it there, and its synchronous standby?".to_owned()
            }
        })
    }

    /// Found when it was opened: trouble that does not pass by itself is one of the settings.
    fn error_at_start(&self) -> CopyError {
        match (self, self.error()) {
            (Self::Postgres(error), CopyError::Server(text)) if meaning(error) == Meaning::Wrong => {
                CopyError::Settings(text)
            }
            (_, error) => error,
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, in whatever runtime it may be: the work is done by the session's own.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}

impl Shared {
    fn wait<T, E: Into<Trouble>>(
        &self,
        limit: Duration,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Trouble> {
        let runtime = self.runtime.as_ref().ok_or(Trouble::Late)?;
        let _context = runtime.enter();
        let limited = tokio::time::timeout(limit, future);
        match wait(tokio::task::unconstrained(limited)) {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(Trouble::Late),
        }
    }

    fn connect(&self) -> Result<Live, Trouble> {
        let connector = Connector(self.settings.tls.clone());
        let session = self.wait(self.settings.patience, Session::open(&self.config, connector))?;
        let unsure = session.unsure();
        Ok(Live {
            session,
            unsure,
            used_at: Instant::now(),
            is_lost: Cell::new(false),
            statements: RefCell::default(),
        })
    }
}

/// A session as long as its connection lives.
struct Live {
    session: Session,
    /// The server said that a commit may not have reached the standby.
    unsure: Arc<AtomicBool>,
    used_at: Instant,
    is_lost: Cell<bool>,
    statements: RefCell<HashMap<String, Statement>>,
}

pub struct Base {
    shared: Arc<Shared>,
}

impl Base {
    pub fn open(settings: &Settings, key: &LogKey) -> Result<(Self, Link), CopyError> {
        let mut link = Self::link(settings)?;
        link.prepare(key, None)?;
        Ok((Self { shared: Arc::clone(&link.shared) }, link))
    }

    fn link(settings: &Settings) -> Result<Link, CopyError> {
        let config = settings.config()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("register-database")
            .enable_all()
            .build()
            .map_err(|error| CopyError::Server(format!("the database cannot be spoken to: {error}")))?;
        let shared = Arc::new(Shared {
            runtime: Some(runtime),
            config,
            settings: settings.clone(),
            readers: Mutex::new(0),
            reader_done: Condvar::new(),
        });
        Ok(Link { shared, live: None })
    }

    pub fn reader(&self) -> Link {
        Link { shared: Arc::clone(&self.shared), live: None }
    }

    /// So many read at once and no more.
    pub fn turn(&self) -> Result<Turn, CopyError> {
        let until = Instant::now() + self.shared.settings.patience;
        let mut readers = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        while *readers >= self.shared.settings.connections_max {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CopyError::Server(
                    "too many questions wait for the database; raise [store] connections_max".to_owned(),
                ));
            }
            let waited = self.shared.reader_done.wait_timeout(readers, left);
            readers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *readers += 1;
        Ok(Turn { shared: Arc::clone(&self.shared) })
    }

    /// Rows that were deleted or replaced leave tables and indexes. False, and to be tried again, where a session may still
    /// read what was there before, or holds a table.
    pub fn vacuum(&self) -> Result<bool, CopyError> {
        let mut link = self.reader();
        let client = &link.ready()?.session.client;
        let looked = self.shared.wait(self.shared.settings.patience, client.query_one(OLD_READERS, &[]));
        if looked.map_err(|trouble| trouble.error())?.get(0) {
            return Ok(false);
        }
        // One by one: VACUUM refuses to run in a transaction, as statements that are sent together do.
        let limit = format!("SET lock_timeout = {}", VACUUM_LOCK_WAIT_MAX.as_millis());
        let work = format!("VACUUM (INDEX_CLEANUP ON) {}", schema::FORGETTING);
        let done = self.shared.wait(WORKS_MAX, async {
            client.batch_execute(&limit).await?;
            client.batch_execute(&work).await
        });
        match done {
            Ok(()) => Ok(true),
            Err(Trouble::Postgres(error)) if meaning(&error) == Meaning::Again => Ok(false),
            Err(trouble) => Err(trouble.error()),
        }
    }
}

/// The right to read, until it is dropped.
pub struct Turn {
    shared: Arc<Shared>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.shared.reader_done.notify_one();
    }
}

/// A session that connects when it is needed, and again when it was lost.
pub struct Link {
    shared: Arc<Shared>,
    live: Option<Live>,
}

impl Link {
    fn ready(&mut self) -> Result<&mut Live, CopyError> {
        if self.live.as_ref().is_some_and(|live| !self.is_there(live)) {
            self.live = None;
        }
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.shared.connect().map_err(|trouble| trouble.error())?,
        };
        live.used_at = Instant::now();
        Ok(self.live.insert(live))
    }

    fn is_there(&self, live: &Live) -> bool {
        let client = &live.session.client;
        if live.is_lost.get() || client.is_closed() {
            return false;
        }
        live.used_at.elapsed() < IDLE_TRUSTED
            || self.shared.wait(self.shared.settings.patience, client.simple_query("")).is_ok()
    }

    /// The first session: looks at server and database, and makes what is missing; with `copy`, for a copy of that state
    /// (and why no new one may begin). Says whether that was begun before.
    fn prepare(&mut self, key: &LogKey, copy: Option<(&str, Option<CopyError>)>) -> Result<bool, CopyError> {
        let shared = Arc::clone(&self.shared);
        let mut live = shared.connect().map_err(|trouble| trouble.error_at_start())?;
        let (client, patience) = (&mut live.session.client, shared.settings.patience);
        let server = "SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, \
                      current_setting('server_version')";
        let row = shared.wait(patience, client.query_one(server, &[]));
        let row = row.map_err(|trouble| trouble.error_at_start())?;
        let (encoding, number, version): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
        if number < VERSION_MIN {
            return Err(CopyError::Settings(format!(
                "the server is PostgreSQL {version}; 15 is the oldest that fits"
            )));
        }
        if encoding != "UTF8" {
            return Err(CopyError::Settings(format!(
                "the database is encoded in {encoding}; create it with encoding UTF8"
            )));
        }
        let row = shared.wait(patience, client.query_one(STANDING, &[]));
        let row = row.map_err(|trouble| trouble.error_at_start())?;
        let lacking = |error: tokio_postgres::Error| CopyError::Server(sentence(&error));
        let (disk, standby) = broken(&row).map_err(lacking)?;
        if let Some(disk) = disk {
            return Err(CopyError::Settings(disk));
        }
        match (shared.settings.standby, standby) {
            (Standby::Required, Some(standby)) => return Err(CopyError::Settings(standby)),
            (Standby::Wanted, Some(next_step)) => tracing::warn!(
                code = "register-standby",
                next_step,
                "the loss of the primary would lose what the register has taken"
            ),
            _ => {}
        }
        let made = async {
            let work = writing(client).await?;
            work.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
            let resumed = match copy {
                None => schema::prepare(&work, key).await.map(|()| false)?,
                Some((state, barred)) => schema::begin_copy(&work, state, barred).await?,
            };
            work.commit().await?;
            Ok::<bool, Unfit>(resumed)
        };
        let made = shared.wait(WORKS_MAX, async { Ok::<_, tokio_postgres::Error>(made.await) });
        let resumed = match made.map_err(|trouble| trouble.error_at_start())? {
            Ok(resumed) => resumed,
            Err(Unfit::Refused(error)) => return Err(error),
            Err(Unfit::Postgres(error)) => return Err(Trouble::Postgres(error).error_at_start()),
        };
        self.live = Some(live);
        Ok(resumed)
    }

    pub fn begin(&mut self) -> Result<Work<'_>, CopyError> {
        let shared = Arc::clone(&self.shared);
        let live = self.ready()?;
        let Live { session, unsure, is_lost, statements, .. } = live;
        let failed = |trouble: Trouble| {
            is_lost.set(true);
            trouble.error()
        };
        let mut commit = Commit::new(Arc::clone(unsure))?;
        let transaction = shared.wait(shared.settings.patience, writing(&mut session.client));
        let transaction = transaction.map_err(failed)?;
        let turn = commit.take_turn(&transaction, statements);
        shared.wait(LOCK_WAIT_MAX + shared.settings.patience, turn).map_err(failed)?;
        if shared.settings.standby == Standby::Required {
            let standing = shared.wait(shared.settings.patience, async {
                let statement = prepared(&transaction, statements, STANDING).await?;
                let row = transaction.query_one(&statement, &[]).await?;
                Ok::<_, tokio_postgres::Error>((broken(&row)?, loaded(&row)?))
            });
            let ((disk, standby), loaded) = standing.map_err(failed)?;
            commit.loaded = Some(loaded);
            if let Some(lacking) = disk.or(standby) {
                return Err(CopyError::Server(lacking));
            }
        }
        unsure.store(false, Ordering::SeqCst);
        Ok(Work { shared, transaction, statements, is_lost, commit: Some(commit) })
    }

    pub fn look(&mut self) -> Result<Work<'_>, CopyError> {
        let shared = Arc::clone(&self.shared);
        let Live { session, is_lost, statements, .. } = self.ready()?;
        let snapshot = session.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let begun = shared.wait(shared.settings.patience, snapshot.read_only(true).start());
        let transaction = begun.map_err(|trouble| {
            is_lost.set(true);
            trouble.error()
        })?;
        Ok(Work { shared, transaction, statements, is_lost, commit: None })
    }

    pub fn compact(&mut self) -> Result<(), CopyError> {
        let shared = Arc::clone(&self.shared);
        let live = self.ready()?;
        let done = shared.wait(WORKS_MAX, live.session.client.batch_execute("VACUUM (FULL, ANALYZE)"));
        done.map_err(|trouble| trouble.error())
    }
}

pub struct Work<'a> {
    shared: Arc<Shared>,
    transaction: Transaction<'a>,
    statements: &'a RefCell<HashMap<String, Statement>>,
    is_lost: &'a Cell<bool>,
    /// Absent where nothing is written.
    commit: Option<Commit>,
}

/// Whatever the server's defaults are: what is read behind the lock is read when it is held.
async fn writing(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(false).start().await
}

/// `?1` is `$1` to this engine.
fn translated(sql: &str) -> String {
    sql.replace('?', "$")
}

async fn prepared(
    transaction: &Transaction<'_>,
    known: &RefCell<HashMap<String, Statement>>,
    sql: &str,
) -> Result<Statement, tokio_postgres::Error> {
    if let Some(statement) = known.borrow().get(sql) {
        return Ok(statement.clone());
    }
    let statement = transaction.prepare(&translated(sql)).await?;
    let mut known = known.borrow_mut();
    if known.len() >= STATEMENTS_MAX {
        known.clear();
    }
    known.insert(sql.to_owned(), statement.clone());
    Ok(statement)
}

impl Work<'_> {
    fn wait<T>(
        &self,
        future: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, CopyError> {
        self.shared.wait(self.shared.settings.question_time_max, future).map_err(|trouble| {
            if trouble.is_lost() {
                self.is_lost.set(true);
            }
            trouble.error()
        })
    }

    pub fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, CopyError> {
        self.wait(async {
            let statement = prepared(&self.transaction, self.statements, sql).await?;
            self.transaction.execute(&statement, &given(values)).await
        })
    }

    /// All of them are on their way at once, in their order.
    pub fn run_each<'v, V: AsRef<[Value<'v>]>>(
        &self,
        sql: &str,
        each: impl IntoIterator<Item = V>,
    ) -> Result<(), CopyError> {
        let each: Vec<V> = each.into_iter().collect();
        for some in each.chunks(TOGETHER_MAX) {
            self.wait(async {
                let statement = &prepared(&self.transaction, self.statements, sql).await?;
                let given: Vec<_> = some.iter().map(|values| given(values.as_ref())).collect();
                let running = given.iter().map(|values| self.transaction.execute(statement, values));
                together(running).await
            })?;
        }
        Ok(())
    }

    pub fn rows(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, CopyError> {
        self.wait(async {
            let statement = prepared(&self.transaction, self.statements, sql).await?;
            self.transaction.query(&statement, &given(values)).await
        })
    }

    /// In pages, so that `take` may ask questions of its own between two of them.
    pub fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        take: &mut dyn FnMut(&Row) -> Result<bool, CopyError>,
    ) -> Result<(), CopyError> {
        let portal = self.wait(async {
            let statement = prepared(&self.transaction, self.statements, sql).await?;
            self.transaction.bind(&statement, &given(values)).await
        })?;
        loop {
            let page = self.wait(self.transaction.query_portal(&portal, PAGE_ROWS))?;
            for row in &page {
                if !take(row)? {
                    return Ok(());
                }
            }
            if page.len() < PAGE_ROWS as usize {
                return Ok(());
            }
        }
    }

    pub fn commit(self) -> Result<(), CopyError> {
        let Self { shared, transaction, is_lost, commit, .. } = self;
        let Some(commit) = commit else { return Ok(()) };
        let patience = shared.settings.patience;
        let waited = match shared.settings.standby {
            Standby::Required => {
                // The next transaction begins with it and ends with the question, on the same session.
                let committed = shared.wait(patience, transaction.batch_execute(COMMIT_AND_CHAIN));
                committed.and_then(|()| {
                    let row = shared.wait(patience, transaction.query_one(HAS_WAITED, &[]));
                    // It is committed: what became of it is to be asked, however this failed.
                    let row = row.inspect_err(|_| is_lost.set(true)).map_err(|_| Trouble::Late)?;
                    match row.get::<_, bool>(0) && !commit.unsure.load(Ordering::SeqCst) {
                        // Names may have come and gone: the next session's commit waits for this one, too.
                        true if Some(loaded(&row)?) != commit.loaded => Err(Trouble::Late),
                        has_waited => Ok(has_waited),
                    }
                })
            }
            Standby::Unasked | Standby::Wanted => {
                shared.wait(patience, net::postgres::commit(transaction)).map(|()| true)
            }
        };
        match waited {
            Ok(true) => Ok(()),
            Ok(false) => Err(CopyError::Unsure(HAS_NOT_WAITED)),
            Err(trouble) if trouble.is_lost() => {
                is_lost.set(true);
                commit.became(&shared, &trouble)
            }
            Err(trouble) => Err(trouble.error()),
        }
    }
}

/// Polls all of them, the first ones first, until all are done or one has failed.
async fn together<F: Future<Output = Result<u64, tokio_postgres::Error>>>(
    futures: impl Iterator<Item = F>,
) -> Result<(), tokio_postgres::Error> {
    let mut running: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    poll_fn(|context| {
        let mut failed = None;
        running.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(Ok(_)) => false,
            Poll::Ready(Err(error)) => {
                failed.get_or_insert(error);
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if running.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

fn given<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, kind) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(number), &Type::INT8) => number.to_sql(kind, out),
            (Self::Int(number), &Type::BOOL) => (*number != 0).to_sql(kind, out),
            (Self::Int(number), &Type::INT4) => i32::try_from(*number)?.to_sql(kind, out),
            (Self::Text(text), &Type::TEXT) => text.to_sql(kind, out),
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(kind, out),
            (Self::Ints(numbers), &Type::INT8_ARRAY) => numbers.to_sql(kind, out),
            (_, kind) => Err(format!("a value is no {kind}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

pub fn value(row: &Row, place: usize) -> Result<Value<'_>, CopyError> {
    let wrong = |error: tokio_postgres::Error| CopyError::Corrupt(error.to_string());
    let kind = row.columns().get(place).map(|column| column.type_().clone());
    let int = |number: Option<i64>| number.map_or(Value::Null, Value::Int);
    Ok(match kind {
        Some(Type::INT8) => int(row.try_get(place).map_err(wrong)?),
        Some(Type::INT4) => int(row.try_get::<_, Option<i32>>(place).map_err(wrong)?.map(i64::from)),
        Some(Type::BOOL) => int(row.try_get::<_, Option<bool>>(place).map_err(wrong)?.map(i64::from)),
        Some(Type::TEXT) => {
            row.try_get::<_, Option<&str>>(place).map_err(wrong)?.map_or(Value::Null, Value::Text)
        }
        Some(Type::BYTEA) => {
            row.try_get::<_, Option<&[u8]>>(place).map_err(wrong)?.map_or(Value::Null, Value::Bytes)
        }
        other => return Err(CopyError::Corrupt(format!("column {place} of a row is of the kind {other:?}"))),
    })
}
