//! Connections to PostgreSQL: how they are made and secured, and what their failures mean.
//!
//! Every session finds the primary among the hosts named, has its time limits set by the server's side too, works in our
//! schema, and walks indexes however little the server knows of our tables yet. TLS is rustls with the anchors of the configuration; the host's name must be the certificate's. The
//! database's answer is believed only where its server certificate is, so there is no mode that encrypts without asking
//! who is there.

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
use tokio_postgres::{AsyncMessage, Client, Config};

use super::{OpenError, Settings};
use crate::store::StoreError;

/// A node whose host has gone must not keep its locks for longer than this.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The writer's, who bounds its waiting itself: a limit of the server would cut the wait for a standby short.
    Writing,
    Asking,
}

/// How to reach the database, for a session of this node.
pub fn config_of(settings: &Settings, token: &str, purpose: Purpose) -> Result<Config, OpenError> {
    check(&settings.connection, settings.tls.is_some()).map_err(OpenError::Settings)?;
    let mut config: Config = settings.connection.parse()?;
    if let Some(password) = &settings.password {
        config.password(password);
    }
    config.ssl_mode(if settings.tls.is_some() { SslMode::Require } else { SslMode::Disable });
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(settings.patience.min(Duration::from_secs(3)));
    config.tcp_user_timeout(settings.patience);
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.application_name(application_name(settings, token));
    let question = match purpose {
        Purpose::Writing => 0,
        Purpose::Asking => settings.question_time_max.as_millis(),
    };
    let idle = idle_time_max(settings, purpose).as_millis();
    // The server, too, gives up a node that acknowledges nothing, and what it holds with it.
    let unheard = settings.patience.as_millis();
    config.options(format!(
        "-c search_path={} -c statement_timeout={question} -c idle_in_transaction_session_timeout={idle} \
         -c synchronous_commit=on -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 \
         -c tcp_keepalives_count=3 -c tcp_user_timeout={unheard} -c client_encoding=UTF8",
        super::schema::SCHEMA
    ));
    Ok(config)
}

/// How long a session may hold its transaction open and say nothing. A node that stands still in the middle of writing holds
/// what the others wait for, so its transaction is over well before their patience is; a node that was merely slow does
/// it again.
fn idle_time_max(settings: &Settings, purpose: Purpose) -> Duration {
    match purpose {
        Purpose::Writing => (settings.patience / 4).clamp(Duration::from_millis(500), Duration::from_secs(3)),
        Purpose::Asking => settings.patience,
    }
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

/// At most 63 bytes, as the server keeps them: the process's token comes first.
pub fn application_name(settings: &Settings, token: &str) -> String {
    format!("amtsbote {token} {}", settings.node).chars().take(63).collect()
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
        let (client, mut connection) = config.connect(tls).await?;
        let unsure = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&unsure);
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(told) = &message {
                    hear(told.payload());
                }
                if let AsyncMessage::Notice(notice) = message {
                    // "canceling wait for synchronous replication": the commit is there, the standby may lack it.
                    if matches!(*notice.code(), SqlState::WARNING | SqlState::ADMIN_SHUTDOWN) {
                        told.store(true, Ordering::SeqCst);
                    }
                    tracing::debug!(
                        code = notice.code().code(),
                        notice = notice.message(),
                        "the database says"
                    );
                }
            }
        });
        Ok(Self { client, unsure, task })
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

pub fn into_store_error(error: &tokio_postgres::Error) -> StoreError {
    match meaning(error) {
        Meaning::Full => StoreError::Full { free: 0, reserve: 0 },
        Meaning::Again | Meaning::Lost | Meaning::Wrong => StoreError::Unavailable(sentence(error)),
    }
}

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
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "this user lacks rights; make it the owner of the database (`ALTER DATABASE … OWNER TO …`)"
            }
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
        None if text.contains("certificate") || text.contains("TLS") || text.contains("tls") => {
            "TLS with the database failed; see [store] tls_anchors, the name of the host in its certificate, and ssl in postgresql.conf"
        }
        None if text.contains("session is not read-write") || text.contains("read-write") => {
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
