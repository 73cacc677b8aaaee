//! Connections to PostgreSQL servers: how they are secured, what their failures mean, what the servers promise.
//!
//! Shared by whoever keeps something there, each in a database of its own; no table is known here. TLS is rustls with the
//! anchors of the configuration; the host's name must be the certificate's. The database's answer is believed only where
//! its server certificate is, so there is no mode that encrypts without asking who is there.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Row, Transaction};

/// What is asked of a synchronous standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standby {
    /// Nothing: the loss of the primary may lose messages.
    #[default]
    Unasked,
    /// Its absence is a warning.
    Wanted,
    /// Nothing is accepted without it.
    Required,
}

/// Asked when it is looked whether the promises hold; where a standby is required, in every transaction as well.
pub const STANDING: &str = "SELECT current_setting('fsync') = 'on', current_setting('synchronous_standby_names'), \
    (SELECT count(*) FROM pg_stat_replication), \
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')), \
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL), \
    (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint";

/// Asked after a commit by the session that sent it. As long as a standby is named, the server answers a commit only when
/// the standby has it; when the names are taken away, it lets go of whatever waits. It tells its sessions of that before
/// it lets go, so that the session of a commit that was let go knows it when it is asked next. Names that were put back since
/// then are no longer missed; but the session has read its settings anew, which [`loaded`] tells.
pub const HAS_WAITED: &str = "SELECT current_setting('synchronous_standby_names') <> '' \
    AND current_setting('synchronous_commit') IN ('on', 'remote_apply'), \
    (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint";
pub const HAS_NOT_WAITED: &str = "synchronous_standby_names was taken away while the commit waited for the standby: the loss of \
    the primary could lose it; name the standby there again";

/// When the session read the server's settings last, as the answer to [`STANDING`] or [`HAS_WAITED`] tells: where both
/// tell the same, no names came and went between them.
pub fn loaded(row: &Row) -> Result<i64, tokio_postgres::Error> {
    row.try_get(row.len() - 1)
}

/// The promises that do not hold, each with what to do: the disk's, the standby's.
pub fn broken(row: &Row) -> Result<(Option<String>, Option<String>), tokio_postgres::Error> {
    let (fsync, names): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    let (all, synchronous, hidden): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let disk = (!fsync).then(|| {
        "fsync is off in the database: what is accepted may be lost; set fsync = on in postgresql.conf and reload"
            .to_owned()
    });
    let standby = if names.trim().is_empty() {
        Some(
            "synchronous_standby_names is empty: the loss of the primary would lose messages; name the standby there",
        )
    } else if synchronous == 0 && hidden > 0 {
        Some("the standby's state cannot be seen; GRANT pg_read_all_stats to the store's user")
    } else if synchronous == 0 && all > 0 {
        Some("a standby is connected, but none that synchronous_standby_names names; correct the names")
    } else if synchronous == 0 {
        Some("no synchronous standby is connected; start it, or see its log for why it cannot follow")
    } else {
        None
    };
    Ok((disk, standby.map(str::to_owned)))
}

/// Whether the words of a connection are understood and safe; the answer never repeats a password.
pub fn check(connection: &str, is_secured: bool) -> Result<(), String> {
    let config: Config = connection.parse().map_err(|error| format!("cannot be read: {}", chain(&error)))?;
    if config.get_password().is_some() {
        return Err("holds a password, which belongs into password_file".to_owned());
    }
    if config.get_hosts().is_empty() {
        return Err("names no host".to_owned());
    }
    let is_near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    let far = config.get_hostaddrs().iter().find(|address| !is_secured && !address.is_loopback());
    if let Some(far) = far {
        return Err(format!(
            "leads to {far} across a network; name its certificate's authorities in tls_anchors"
        ));
    }
    match config.get_hosts().iter().find(|host| !is_secured && !is_near(host)) {
        Some(Host::Tcp(name)) => Err(format!(
            "leads to {name} across a network; name the authorities of its certificate in tls_anchors"
        )),
        _ => Ok(()),
    }
}

/// Carries a connection until it ends; `hear` is handed what the server says aside, in order with its answers.
pub async fn listen<S, T>(mut connection: Connection<S, T>, hear: impl Fn(&AsyncMessage) + Send)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        hear(&message);
        if let AsyncMessage::Notice(notice) = message {
            tracing::debug!(code = notice.code().code(), notice = notice.message(), "the database says");
        }
    }
}

/// "canceling wait for synchronous replication": the commit is there, the standby may lack it.
pub fn is_doubtful(message: &AsyncMessage) -> bool {
    let AsyncMessage::Notice(notice) = message else { return false };
    matches!(*notice.code(), SqlState::WARNING | SqlState::ADMIN_SHUTDOWN)
}

/// Ends a transaction, unless a statement of it has failed: the server would answer COMMIT with a rollback then, which
/// looks like success. Anything else it refuses, and with it what stands behind it.
pub const COMMIT: &str = "SELECT 1; COMMIT";

/// The same for a transaction that knows how to commit.
pub async fn commit(work: Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    work.batch_execute("SELECT 1").await?;
    work.commit().await
}

/// What a look at a server has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Its version, in its own words.
    pub server: String,
    /// The promises that do not hold: the disk's, the standby's.
    pub disk: Option<String>,
    pub standby: Option<String>,
    /// Whether there is a schema of that name.
    pub has_schema: bool,
}

/// Connects to a primary, looks and changes nothing; the sentence says what fails.
pub async fn examine(
    connection: &str,
    password: Option<&str>,
    tls: Option<Arc<rustls::ClientConfig>>,
    schema: &str,
    patience: Duration,
) -> Result<Examined, String> {
    let wrong = |what| format!("[store] connection {what}");
    check(connection, tls.is_some()).map_err(wrong)?;
    let mut config: Config = connection.parse().map_err(|_| wrong("cannot be read".to_owned()))?;
    if let Some(password) = password {
        config.password(password);
    }
    config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(patience.min(Duration::from_secs(3)));
    let looked = async {
        let session = Session::open(&config, Connector(tls)).await?;
        let question = "SELECT current_setting('server_version'), \
                        EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)";
        let row = session.client.query_one(question, &[&schema]).await?;
        let (disk, standby) = broken(&session.client.query_one(STANDING, &[]).await?)?;
        Ok(Examined { server: row.try_get(0)?, has_schema: row.try_get(1)?, disk, standby })
    };
    match tokio::time::timeout(patience, looked).await {
        Ok(looked) => looked.map_err(|error: tokio_postgres::Error| sentence(&error)),
        Err(_) => Err("the database does not answer in time".to_owned()),
    }
}

/// A session of its own, apart from the pool, with what the server says aside.
pub struct Session {
    pub client: Client,
    /// The server said that a commit may not have reached the standby.
    unsure: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
    pub async fn open(config: &Config, tls: Connector) -> Result<Self, tokio_postgres::Error> {
        Self::listening(config, tls, |_| {}).await
    }

    /// The same; `hear` is handed what other sessions tell (`NOTIFY`), once this one listens.
    pub async fn listening(
        config: &Config,
        tls: Connector,
        hear: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = config.connect(tls).await?;
        let unsure = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&unsure);
        let heard = listen(connection, move |message| {
            if let AsyncMessage::Notification(told) = message {
                hear(told.payload());
            }
            if is_doubtful(message) {
                told.store(true, Ordering::SeqCst);
            }
        });
        Ok(Self { client, unsure, task: tokio::spawn(heard) })
    }

    /// Forgets what was said so far; asked after a commit, [`Session::is_unsure`] tells of that one only.
    pub fn listen_anew(&self) {
        self.unsure.store(false, Ordering::SeqCst);
    }

    /// Resolves when the connection is no more.
    pub async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }

    pub fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::SeqCst)
    }

    /// The same for whoever cannot hold the session while its transaction is at work.
    pub fn unsure(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unsure)
    }
}

impl Drop for Session {
    /// Cuts the connection at once, so that the server gives up what it still does for it.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an error of the database means for what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Another node was in the way; the same again may succeed.
    Again,
    /// There is no connection any more.
    Lost,
    /// No room on the database's disk.
    Full,
    /// The data or the statement is at fault.
    Wrong,
}

pub fn meaning(error: &tokio_postgres::Error) -> Meaning {
    let Some(code) = error.code() else {
        return if error.is_closed() || is_io(error) { Meaning::Lost } else { Meaning::Wrong };
    };
    match *code {
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE => Meaning::Again,
        SqlState::DISK_FULL => Meaning::Full,
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::CANNOT_CONNECT_NOW
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        | SqlState::READ_ONLY_SQL_TRANSACTION
        | SqlState::TOO_MANY_CONNECTIONS => Meaning::Lost,
        _ if code.code().starts_with("08") => Meaning::Lost,
        _ => Meaning::Wrong,
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The error with everything that is behind it; the crate's own text leaves the database's words out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        // Without its DETAIL, which repeats what stands in rows: ids and names of people do not belong into a log.
        let next = match inner.downcast_ref::<DbError>() {
            Some(error) => format!("{}: {} ({})", error.severity(), error.message(), error.code().code()),
            None => inner.to_string(),
        };
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = inner.source();
    }
    text
}

pub const LACKS_RIGHTS: &str =
    "this user lacks rights; make it the owner of the database (`ALTER DATABASE … OWNER TO …`)";

/// What went wrong and what to do next, for the operator.
pub fn sentence(error: &tokio_postgres::Error) -> String {
    let text = chain(error);
    let advice = match error.code() {
        Some(code) => match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "the database refuses this user or password; see [store] user, password_file, and the server's pg_hba.conf"
            }
            SqlState::INVALID_CATALOG_NAME => {
                "there is no database of that name; create it (`createdb`) or correct dbname in [store] connection"
            }
            SqlState::INSUFFICIENT_PRIVILEGE => LACKS_RIGHTS,
            SqlState::TOO_MANY_CONNECTIONS => {
                "the server has no connection left; raise its max_connections or lower [store] connections_max"
            }
            SqlState::QUERY_CANCELED => {
                "the database took longer than [store] question_seconds; look for locks in pg_stat_activity"
            }
            SqlState::LOCK_NOT_AVAILABLE => {
                "something in the database holds a table or a row that is needed; look for it in pg_locks and pg_stat_activity"
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "the database is a standby; wait for its promotion, or name the primary"
            }
            SqlState::CANNOT_CONNECT_NOW => "the database is starting or recovering; wait",
            SqlState::DISK_FULL => "the database's disk is full; make room there",
            _ => return text,
        },
        None if text.contains("password missing") => {
            "the database demands a password; name the file that holds it in [store] password_file"
        }
        None if text.contains("certificate") || text.contains("TLS") || text.contains("tls") => {
            "TLS with the database failed; see [store] tls_anchors, the name of the host in its certificate, and ssl in postgresql.conf"
        }
        None if text.contains("does not allow writes") => {
            "none of the hosts is a primary; promote a standby, or name the primary in [store] connection"
        }
        None if meaning(error) == Meaning::Lost || text.contains("connect") || text.contains("timed out") => {
            "the database cannot be reached; is it running, and are host and port in [store] connection right?"
        }
        None => return text,
    };
    format!("{advice} ({text})")
}

/// Makes TLS connections with the anchors it was given, or none.
#[derive(Clone)]
pub struct Connector(pub Option<Arc<rustls::ClientConfig>>);

pub struct Handshake {
    config: Option<Arc<rustls::ClientConfig>>,
    host: String,
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, io::Error> {
        Ok(Handshake { config: self.0.clone(), host: host.to_owned() })
    }
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("TLS is not configured"))?;
            let name = match self.host.parse::<IpAddr>() {
                Ok(address) => ServerName::IpAddress(address.into()),
                Err(_) => ServerName::try_from(self.host).map_err(io::Error::other)?,
            };
            Ok(Secured(tokio_rustls::TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}

/// A stream under TLS.
pub struct Secured<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Secured<S> {
    /// None: the certificate is checked against anchors and name, which binds the channel already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
