//! The composition root: only here does everything meet. Used by `serve`, the demo and tests alike.
//!
//! Starts store, relay, doors and listeners from one configuration, keeps time for what recurs, reloads what may change
//! under way, and stops in an order that loses nothing: first nobody new comes in, then what has begun is finished,
//! then the evidence is signed, then the store closes.

pub mod callbacks;
pub mod card_key;
pub mod evidence_head;
pub mod evidence_key;
pub mod foreign;
pub mod gateway;
pub mod log;
pub mod metadata;
mod metrics_text;
mod open_files;
mod operator;
pub mod portal_key;
pub mod register;
mod revocation;
pub mod server_keys;
mod signals;
pub mod time_stamp;
mod trust;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch::{Sender, channel};
use tokio::task::JoinHandle;

use crate::admin;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Engine};
use crate::evidence::checkpoint::VerifierKey;
use crate::net::{Listener, LocalListener, Permits, Serving, Shares};
use crate::osci::server::Door as OsciDoor;
use crate::pki::expiry::Dependence;
use crate::pki::key;
use crate::portal::callback::Callbacks;
use crate::portal::server::Door as PortalDoor;
use crate::relay::{Refusal, Relay};
use crate::report::Failure;
use crate::spool::Spool;
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, OpenError};
use crate::store::postgres::{self, PostgresStore};
use trust::Trust;

/// The operator's own connections, apart from participants' and from the administration's, so that nobody can keep
/// him out.
const OPERATOR_CONNECTIONS_MAX: usize = 64;
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Owner only; whom else the administration admits is decided by user id, so the socket is open to all of them.
const SOCKET_MODE_OWNER: u32 = 0o600;
const SOCKET_MODE_ALL: u32 = 0o666;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{what} {address}: {source}")]
    Listen { what: &'static str, address: String, source: std::io::Error },
    #[error("certificates: {0}")]
    Trust(String),
    #[error("the evidence log's key {}: {what}", path.display())]
    EvidenceKey { path: PathBuf, what: String },
    #[error("the evidence log: {0}")]
    EvidenceHead(String),
    #[error("the process cards' key {}: {what}", path.display())]
    CardKey { path: PathBuf, what: String },
    #[error("the portal's key {}: {what}", path.display())]
    PortalKey { path: PathBuf, what: String },
    #[error("time stamps: {0}")]
    TimeStamps(String),
    #[error("store {}: {source}", folder.display())]
    Store { folder: PathBuf, source: OpenError },
    #[error("store in PostgreSQL: {0}")]
    Database(postgres::OpenError),
    #[error("the participants cannot be read: {0}")]
    Directory(Refusal),
    #[error("{0}")]
    Spool(String),
    #[error("intermediary {url}: {what}")]
    Intermediary { url: String, what: String },
    #[error("metrics: {0}")]
    Metrics(String),
}

/// What a reload brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    pub directory_revision: u64,
}

pub struct App;

/// A server at work.
pub struct Running {
    pub xta_address: SocketAddr,
    /// Absent where there is no OSCI.
    pub osci_address: Option<SocketAddr>,
    /// Absent where there is no portal door.
    pub portal_address: Option<SocketAddr>,
    pub operator_address: SocketAddr,
    pub admin_socket: PathBuf,
    relay: Arc<Relay>,
    store: Arc<dyn Store>,
    trust: Trust,
    config: Config,
    clock: Arc<dyn Clock>,
    xta: Serving,
    osci: Option<Serving>,
    osci_door: Option<Arc<OsciDoor>>,
    portal: Option<Serving>,
    admin: Serving,
    operator: Serving,
    state: operator::State,
    stop: Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts everything; whatever cannot start stops the start, with a sentence.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        Self::start_at(config, Arc::new(SystemClock)).await
    }

    pub async fn start_at(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
        let metrics = metrics_text::recorder().map_err(StartError::Metrics)?;
        open_files::provide(&config);
        recover(&config).map_err(StartError::Trust)?;
        let trust = Trust::load(&config, clock.clone()).map_err(StartError::Trust)?;
        let key = evidence_key::load_or_make(&config.evidence)?;
        let card_signer = Arc::new(card_key::load_or_make(&config.evidence, clock.now())?);
        let stamper = time_stamp::load(&config.evidence, clock.clone(), &trust)?;
        let store = open_store(&config, &clock).await?;
        let relay = Relay::new(store.clone(), clock.clone(), config.relay_settings());
        relay.sign_checkpoints_with(Arc::new(key));
        keep_heads(&relay, &config).await?;
        relay.sign_cards_with(card_signer);
        if let Some(stamper) = stamper {
            relay.stamp_checkpoints_with(Arc::new(stamper));
        }
        relay.reload_directory().await.map_err(StartError::Directory)?;
        for spool in &config.spool {
            let outlet = Spool::open(&spool.folder).map_err(|error| StartError::Spool(error.to_string()))?;
            relay.add_outlet(spool.mailboxes.clone(), Arc::new(outlet));
        }
        let mut abroad = Vec::new();
        for intermediary in &config.intermediary {
            let dependences = foreign::add(intermediary, &relay, &config, &clock)
                .map_err(|what| StartError::Intermediary { url: intermediary.url.clone(), what })?;
            abroad.extend(dependences);
        }
        let depended_on = depended_on(&trust, &relay, abroad);

        let bounds = config.bounds();
        let shares = Shares {
            connections_max: config.limits.connections_max,
            per_peer_max: config.limits.connections_per_peer_max,
            newcomers_max: config.limits.newcomers_max,
        };
        // Each door its own, so that whoever fills one keeps nobody out of the other.
        let (xta_permits, osci_permits) = (Permits::of_door("xta", shares), Permits::of_door("osci", shares));
        let xta = Listener::tls(config.xta.address, trust.listener(), bounds, xta_permits.clone())
            .await
            .map_err(|source| listen("XTA listener", config.xta.address, source))?;
        let osci = match config.osci.address {
            None => None,
            Some(address) => {
                let bound = match config.osci.tls {
                    true => Listener::tls(address, trust.listener(), bounds, osci_permits.clone()).await,
                    false => Listener::plain(address, bounds, osci_permits.clone()).await,
                };
                Some(bound.map_err(|source| listen("OSCI listener", address, source))?)
            }
        };
        let osci_address = osci
            .as_ref()
            .map(Listener::address)
            .transpose()
            .map_err(|source| listen("OSCI listener", "", source))?;
        let portal_permits = Permits::of_door("portal", shares);
        let portal = match config.portal.address {
            None => None,
            Some(address) => {
                let permits = portal_permits.clone();
                Some(PortalStart::bind(address, &trust, &relay, &config, permits).await?)
            }
        };
        let portal_address = portal.as_ref().map(|portal| portal.address);
        let operator_permits = Permits::new(OPERATOR_CONNECTIONS_MAX);
        let operator = Listener::plain(config.server.operator_address, bounds, operator_permits)
            .await
            .map_err(|source| listen("operator's listener", config.server.operator_address, source))?;
        let socket = &config.server.admin_socket;
        let mode = if config.server.admin_uids.is_empty() { SOCKET_MODE_OWNER } else { SOCKET_MODE_ALL };
        let admin = LocalListener::bind(socket, mode, bounds, Permits::new(ADMIN_CONNECTIONS_MAX))
            .await
            .map_err(|source| listen("administration's socket", socket.display(), source))?;
        let (xta_address, operator_address) = match (xta.address(), operator.address()) {
            (Ok(xta), Ok(operator)) => (xta, operator),
            (Err(source), _) | (_, Err(source)) => return Err(listen("listener", "", source)),
        };

        let (stop, stopping) = channel(false);
        let state = operator::State::new(
            store.clone(),
            relay.clone(),
            metrics,
            vec![xta_permits, osci_permits, portal_permits],
        );
        let door = trust.xta_door(relay.clone(), &config);
        let osci_door = trust.osci_door(relay.clone(), &config);
        let osci = osci.zip(osci_door.clone()).map(|(osci, door)| osci.serve(door));
        let office = admin::server::Server::new(
            store.clone(),
            relay.clone(),
            clock.clone(),
            depended_on.clone(),
            admin::server::Settings {
                own_uid: rustix::process::geteuid().as_raw(),
                uids: config.server.admin_uids.clone(),
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                node: config.store.node.clone(),
            },
        )
        .with_reload(reload_for_the_office(&trust, &relay, &config, &clock));
        let tasks = vec![
            tokio::spawn(relay.clone().run(stopping.clone())),
            tokio::spawn(watch::certificates(depended_on, relay.clone(), clock.clone(), stopping.clone())),
            tokio::spawn(revocation::keep_current(
                trust.clone(),
                config.clone(),
                clock.clone(),
                stopping.clone(),
            )),
            tokio::spawn(watch::chunks(osci_door.clone(), stopping.clone())),
            tokio::spawn(watch::drafts(portal.as_ref().map(|portal| portal.door.clone()), stopping.clone())),
            tokio::spawn(watch::callbacks(
                portal.as_ref().map(|portal| portal.callbacks.clone()),
                stopping.clone(),
            )),
            tokio::spawn(server_keys::compare(
                relay.clone(),
                config.store.node.clone(),
                portal_held(portal.as_ref()),
                stopping.clone(),
            )),
            tokio::spawn(server_keys::compare(
                relay.clone(),
                config.store.node.clone(),
                osci_held(&trust),
                stopping.clone(),
            )),
            tokio::spawn(metrics_text::upkeep(state.metrics(), stopping)),
        ];
        tracing::info!(xta = %xta_address, osci = ?osci_address, portal = ?portal_address, operator = %operator_address, version = env!("CARGO_PKG_VERSION"), "started");
        Ok(Running {
            xta_address,
            osci_address,
            portal_address,
            operator_address,
            admin_socket: socket.clone(),
            xta: xta.serve(door),
            osci,
            osci_door,
            portal: portal.map(|portal| portal.listener.serve(portal.door)),
            admin: admin.serve(Arc::new(office)),
            operator: operator.serve(Arc::new(operator::Door::new(state.clone()))),
            relay,
            store,
            trust,
            config,
            clock,
            state,
            stop,
            tasks,
        })
    }
}

/// The portal's door with its socket, not serving yet.
struct PortalStart {
    listener: Listener,
    address: SocketAddr,
    door: Arc<PortalDoor>,
    callbacks: Arc<Callbacks>,
    held: server_keys::Held,
}

impl PortalStart {
    async fn bind(
        address: SocketAddr,
        trust: &Trust,
        relay: &Arc<Relay>,
        config: &Config,
        permits: Permits,
    ) -> Result<Self, StartError> {
        let key = portal_key::load_or_make(&config.portal.key)?;
        let others = portal_key::others(&config.portal, key.kid())
            .map_err(|(path, what)| StartError::PortalKey { path, what })?;
        let in_force = trust.clone();
        let settings = config.callback_settings(Arc::new(move || in_force.receivers()));
        let callbacks = Arc::new(Callbacks::new(relay.clone(), settings));
        let listener = Listener::tls(address, trust.listener(), config.bounds(), permits)
            .await
            .map_err(|source| listen("portal listener", address, source))?;
        let address = listener.address().map_err(|source| listen("portal listener", address, source))?;
        let mut config = config.clone();
        if let Some(base) = config.portal.url.trim_end_matches('/').strip_suffix(":0") {
            config.portal.url = format!("{base}:{}", address.port());
        }
        let held = server_keys::Held {
            door: server_keys::Door::Portal,
            own: key.kid().to_owned(),
            further: others.believed.iter().map(|key| key.kid().to_owned()).collect(),
        };
        let door = trust.portal_door(relay.clone(), (key, others), &config, callbacks.clone());
        Ok(Self { listener, address, door, callbacks, held })
    }
}

fn listen(what: &'static str, address: impl ToString, source: std::io::Error) -> StartError {
    StartError::Listen { what, address: address.to_string(), source }
}

/// The store that is configured, opened as the server opens it.
pub async fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StartError> {
    match config.store.engine {
        Engine::Embedded => open_embedded(config).await,
        Engine::Postgres => open_postgres(config, clock).await,
    }
}

async fn open_postgres(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StartError> {
    let folder = config.store.folder.clone();
    std::fs::create_dir_all(&folder)
        .map_err(|error| StartError::Store { folder, source: OpenError::Folder(error) })?;
    let settings = config.postgres_settings(clock.clone());
    let settings = settings.map_err(|what| StartError::Database(postgres::OpenError::Settings(what)))?;
    let store = PostgresStore::open(settings).await.map_err(StartError::Database)?;
    Ok(Arc::new(store))
}

/// What this node signs of a log in a database that others can change is kept here as well, and the log must continue it.
async fn keep_heads(relay: &Relay, config: &Config) -> Result<(), StartError> {
    let (Engine::Postgres, Some(node)) = (config.store.engine, &config.store.node) else { return Ok(()) };
    let path = evidence_head::path(&config.store.folder, node);
    let last = evidence_head::read(&path)
        .map_err(|what| StartError::EvidenceHead(format!("{} cannot be read: {what}", path.display())))?;
    let keeper = Arc::new(evidence_head::HeadFile(path));
    relay.keep_heads_with(keeper, last.as_deref()).map_err(StartError::EvidenceHead)?;
    relay.check_head().await.map_err(|refusal| StartError::EvidenceHead(Failure::from(refusal).detail))
}

/// Opening reads and may repair: off the threads that serve.
async fn open_embedded(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let folder = config.store.folder.clone();
    let settings = config.store_settings();
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(settings)).await;
    let broken = |error: tokio::task::JoinError| OpenError::Corrupt(error.to_string());
    match opened.map_err(broken).and_then(|opened| opened) {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(StartError::Store { folder, source }),
    }
}

/// A change of keys and certificates that a crash interrupted is completed before any of them is read.
fn recover(config: &Config) -> Result<(), String> {
    let paths = config.key_files();
    let recovered = key::switch::recover(paths.iter().map(PathBuf::as_path)).map_err(|error| {
        format!("a change of certificates was interrupted and cannot be completed: {error}")
    })?;
    for journal in recovered {
        tracing::warn!(code = "change-completed", journal = %journal.display(), "a change of certificates was interrupted; it is complete");
    }
    Ok(())
}

/// Everything is read before anything is replaced, and what replaces cannot fail: the old state or the new one, never
/// some of both.
async fn reload(
    trust: &Trust,
    relay: &Relay,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Reloaded, String> {
    let _alone = trust.reloading().await;
    recover(config)?;
    let directory = relay.read_directory().await.map_err(|refusal| format!("participants: {refusal}"))?;
    let cards = card_key::read(&config.evidence)?;
    let stamper =
        time_stamp::load(&config.evidence, clock.clone(), trust).map_err(|error| error.to_string())?;
    trust.prepare(config)?.put_in_force();
    relay.use_directory(directory);
    relay.sign_cards_with(Arc::new(cards));
    if let Some(stamper) = stamper {
        relay.stamp_checkpoints_with(Arc::new(stamper));
    }
    Ok(Reloaded { directory_revision: relay.directory().revision() })
}

/// No reload changes it.
fn portal_held(portal: Option<&PortalStart>) -> impl Fn() -> Option<server_keys::Held> + use<> {
    let held = portal.map(|portal| portal.held.clone());
    move || held.clone()
}

/// What a reload has last put in force.
fn osci_held(trust: &Trust) -> impl Fn() -> Option<server_keys::Held> + use<> {
    let trust = trust.clone();
    move || server_keys::Held::osci(&trust.own_osci().0)
}

/// `abroad` was read at the start, as what it is needed for.
fn depended_on(trust: &Trust, relay: &Arc<Relay>, abroad: Vec<Dependence>) -> admin::server::DependedOn {
    let (trust, relay) = (trust.clone(), relay.clone());
    Arc::new(move || {
        let mut all = watch::dependences(&trust, &relay);
        all.extend(abroad.iter().cloned());
        all
    })
}

fn reload_for_the_office(
    trust: &Trust,
    relay: &Arc<Relay>,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> admin::server::Reload {
    let (trust, relay, config, clock) = (trust.clone(), relay.clone(), config.clone(), clock.clone());
    Arc::new(move || {
        let (trust, relay, config, clock) = (trust.clone(), relay.clone(), config.clone(), clock.clone());
        Box::pin(async move {
            let reloaded = reload(&trust, &relay, &config, &clock).await?;
            tracing::info!(directory_revision = reloaded.directory_revision, "reloaded");
            Ok(())
        })
    })
}

impl Running {
    pub fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The public key that the evidence log's checkpoints are signed with.
    pub fn evidence_key(&self) -> Option<&VerifierKey> {
        self.relay.evidence_key()
    }

    pub fn config_file(&self) -> &Path {
        &self.config.file
    }

    /// Reads participants, the server's certificates (those for OSCI and of process cards included), anchors, also those
    /// for time stamps, and revocation lists again. If any of it cannot be used, all of it is left as it was, and the
    /// error names the file; no connection is cut.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        reload(&self.trust, &self.relay, &self.config, &self.clock).await
    }

    /// Stops in order. What was accepted is safe without this; it saves clients a broken connection.
    pub async fn stop(self) {
        tracing::info!("draining");
        self.state.drain();
        let end = tokio::time::Instant::now() + Duration::from_secs(self.config.limits.drain_seconds);
        let others = [self.osci, self.portal].into_iter().flatten().map(Serving::drain);
        tokio::join!(self.xta.drain(), futures_util::future::join_all(others));
        // A push goes on when its sender has hung up.
        if let Some(door) = self.osci_door
            && tokio::time::timeout_at(end, door.pushes_ended()).await.is_err()
        {
            tracing::warn!(
                code = "drain-deadline",
                next_step = "see `amtsbote message list --state held` after the next start",
                "pushes were cut at the end of the drain; their messages stay held"
            );
        }
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if let Err(refusal) = self.relay.sign_checkpoint().await {
            tracing::error!(code = refusal.code(), "the last checkpoint was not signed");
        }
        self.admin.drain().await;
        self.operator.drain().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store did not close in peace; it recovers at the next start");
        }
        tracing::info!("stopped");
    }
}
