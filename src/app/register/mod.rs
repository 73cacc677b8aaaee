//! The register's process: fetches what waits in its mailboxes, lays it on the desk, posts what the desk has written.
//!
//! To the post office it is a client like any other: XTA 2 over mutual TLS, with its own certificate. A message is
//! confirmed only when its effect and its answer are durable; what is posted has an id that was written down before, so
//! that a repetition after a crash is the same message. Where the configuration has a page, it is served by this process.
//! With SIGHUP it reads certificates, keys and revocation lists anew.
//!
//! `mailboxes` fetches, `outbox` posts, `cashier` collects what a page's questions cost, `housework` and `night`
//! do what nobody waits for, `office` says whom it talks to and believes, `operator` how it stands. What it decides is `crate::register`'s.

pub mod cashier;
mod error;
mod housework;
mod mailboxes;
mod night;
mod office;
mod operator;
mod outbox;
mod page;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use self::cashier::Cashier;
pub use self::error::RegisterError;
use self::error::unusable;
use self::mailboxes::Away;
use self::night::NightWatch;
use self::office::{Credentials, InForce, identifier};
pub use self::page::RegisterPage;
use crate::clock::{Clock, SystemClock};
use crate::config::register::RegisterConfig;
use crate::domain::party::PartyIdentifier;
use crate::net::TlsSource;
use crate::pki::key::{self, Readers};
use crate::register::copies::{Copies, LogKey, Settings as CopySettings, is_a_registers};
use crate::register::desk::Desk;
use crate::register::person::Ags;
use crate::xta::client::Client;

const LOG_KEY_FILE: &str = "log.key";
const INBOX_FOLDER: &str = "inbox";
/// How long what has failed waits for the next try.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The same where everybody's turn is missed, and it may soon be over.
const TRY_SOON: Duration = Duration::from_secs(5);

/// Opens the copies of a folder. The log's key is made with the folder and never again: without it neither log nor
/// answers can be read. None where there is no register and none may be made.
pub fn open_copies(settings: CopySettings, may_create: bool) -> Result<Option<Copies>, RegisterError> {
    let path = settings.folder.join(LOG_KEY_FILE);
    if !path.exists() {
        // Another key would seal a second log behind the first, and open nothing of what there is.
        if is_a_registers(&settings.folder) {
            let lacks = "the file is missing, and a register lies beside it; bring it back from where the folder's backup is";
            return Err(unusable(path.display().to_string(), lacks));
        }
        if !may_create {
            return Ok(None);
        }
        let made = |error: std::io::Error| unusable(settings.folder.display().to_string(), error);
        std::fs::create_dir_all(&settings.folder).map_err(made)?;
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| unusable("random numbers", "the machine has none"))?;
        key::write_new(&path, &secret, Readers::Owner).map_err(|error| unusable("the log's key", error))?;
    }
    let key = log_key(&settings.folder)?;
    Ok(Some(Copies::open(settings, key)?))
}

/// The key of the log in this folder.
pub fn log_key(folder: &Path) -> Result<LogKey, RegisterError> {
    let path = folder.join(LOG_KEY_FILE);
    let secret = key::read_bounded(&path).map_err(|error| unusable("the log's key", error))?;
    let secret: [u8; 32] =
        secret.try_into().map_err(|_| unusable(path.display().to_string(), "is no key of 32 bytes"))?;
    Ok(LogKey::new(&secret))
}

/// A register at work.
pub struct RegisterService {
    desk: Arc<Desk>,
    cashier: Arc<Cashier>,
    night: Arc<NightWatch>,
    client: InForce<Client>,
    /// The mailbox for locks, and how it is looked into.
    urgent: Option<(PartyIdentifier, InForce<Client>)>,
    page_tls: Option<TlsSource>,
    /// Whether the mailboxes could be looked into when that was last tried.
    reached: AtomicBool,
    /// The same of the mailbox for locks; true where there is none.
    locks_reached: AtomicBool,
    config: RegisterConfig,
    inbox: PathBuf,
    own: PartyIdentifier,
    poll: Duration,
    give_up: Duration,
    clock: Arc<dyn Clock>,
    /// Something was written beside the rounds that may be due.
    written: Notify,
    /// The database; nothing is fetched meanwhile, for it could not be taken.
    away: Away,
    /// Messages that could not be taken, and when they are tried again.
    left: Mutex<HashMap<String, Timestamp>>,
    /// Messages in the mailbox for locks that do not belong there: their turn comes with the others.
    misplaced: Mutex<HashSet<String>>,
    /// Municipalities whose copies are known to be too old.
    stale: Mutex<HashSet<Ags>>,
}

impl RegisterService {
    pub fn open(config: &RegisterConfig) -> Result<Self, RegisterError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let copies = open_copies(config.copies()?, true)?
            .ok_or_else(|| unusable(config.register.folder.display().to_string(), "there is no register"))?;
        copies.doubt_journal();
        let read = Credentials::read(config, &clock)?;
        let desk = Desk::new(copies, config.desk()?, clock.clone()).with_signers(read.signers);
        let own = identifier(&desk.own().party.kennung)?;
        let inbox = config.register.folder.join(INBOX_FOLDER);
        // What a crash left behind is fetched again.
        let _ = std::fs::remove_dir_all(&inbox);
        std::fs::create_dir_all(&inbox).map_err(|error| unusable(inbox.display().to_string(), error))?;
        let desk = Arc::new(desk);
        let urgent = config.register.urgent_identifier.as_ref().map(|one| identifier(one)).transpose()?;
        let rules = config.payment.as_ref().map(|one| one.rules()).unwrap_or_default();
        let within = Duration::from_secs(u64::from(config.nightly.reconcile_within_hours) * 3600);
        Ok(Self {
            cashier: Arc::new(Cashier::new(desk.clone(), read.payment, rules, clock.clone())),
            night: Arc::new(NightWatch::new(desk.clone(), config.nightly.hour, within, clock.clone())),
            desk,
            client: InForce::new(read.client),
            urgent: urgent.zip(read.urgent.map(InForce::new)),
            page_tls: read.page.map(TlsSource::new),
            reached: AtomicBool::new(false),
            locks_reached: AtomicBool::new(false),
            config: config.clone(),
            inbox,
            own,
            poll: Duration::from_millis(u64::from(config.office.poll_milliseconds)),
            give_up: Duration::from_secs(u64::from(config.office.give_up_hours) * 3600),
            clock,
            written: Notify::new(),
            away: Away::default(),
            left: Mutex::default(),
            misplaced: Mutex::default(),
            stale: Mutex::default(),
        })
    }

    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    fn reaches_locks(&self) -> bool {
        self.locks_reached.load(Ordering::Relaxed)
    }

    fn page_tls(&self) -> Option<TlsSource> {
        self.page_tls.clone()
    }

    /// Reads the files again that `register.toml` names for certificates, keys, authorities, revocation lists and tokens,
    /// all of them before the first is in force. If any cannot be used, all is left as it was.
    pub fn reload(&self) -> Result<(), RegisterError> {
        let read = Credentials::read(&self.config, &self.clock)?;
        self.client.replace(read.client);
        if let (Some((_, urgent)), Some(next)) = (&self.urgent, read.urgent) {
            urgent.replace(next);
        }
        self.desk.renew_signers(read.signers);
        if let Some(next) = read.payment {
            self.cashier.renew_service(next);
        }
        if let (Some(page), Some(next)) = (&self.page_tls, read.page) {
            page.replace(next);
        }
        Ok(())
    }

    fn reload_and_say(&self) {
        match self.reload() {
            Ok(()) => tracing::info!("certificates, keys and revocation lists were read anew"),
            Err(error) => tracing::error!(
                code = "reload-failed",
                %error,
                next_step = "put the file right, then send SIGHUP again",
                "nothing was reloaded; the register goes on as before"
            ),
        }
    }

    /// Takes orders of pages, and payments for them.
    pub fn cashier(&self) -> Arc<Cashier> {
        self.cashier.clone()
    }

    /// Works until it is told to stop, and then finishes what it has begun.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let service = self;
        let mut load: Option<tokio::task::JoinHandle<()>> = None;
        // A payment service that hangs holds up no message.
        let cashing = tokio::spawn(service.cashier.clone().run(stop.clone()));
        let night = tokio::spawn(service.night.clone().run(stop.clone()));
        let locks = tokio::spawn(service.clone().take_locks(stop.clone()));
        let feed = tokio::spawn(service.clone().take_feed(stop.clone()));
        let sweeping = tokio::spawn(service.clone().sweeps(stop.clone()));
        let mut reachable = true;
        while !*stop.borrow() {
            let busy = load.as_ref().is_some_and(|task| !task.is_finished());
            let looked = service.round(busy, &stop).await;
            service.reached.store(looked.is_ok(), Ordering::Relaxed);
            match looked {
                Ok(round) => {
                    if !reachable {
                        tracing::info!("the post office is reached again");
                    }
                    reachable = true;
                    if let (false, Some(shown)) = (busy, round.load) {
                        let service = service.clone();
                        load = Some(tokio::spawn(async move { service.take(&shown).await }));
                    }
                    if round.more {
                        continue;
                    }
                }
                Err(error) if reachable => {
                    tracing::error!(
                        code = "register-office-unreachable",
                        %error,
                        next_step = "check office.url, certificate, whether office.crls have run out, and whether the post office runs; it is tried again, with other files after SIGHUP",
                        "the mailboxes cannot be looked into"
                    );
                    reachable = false;
                }
                Err(_) => {}
            }
            let due = service.copies(|copies| copies.next_due()).await.ok().flatten();
            // What is due already was tried in this round.
            let until_due = due.map(|at| at.duration_since(service.clock.now()));
            let wait = until_due
                .and_then(|wait| Duration::try_from(wait).ok())
                .filter(|wait| !wait.is_zero())
                .map_or(service.poll, |wait| wait.clamp(Duration::from_millis(10), service.poll));
            tokio::select! {
                _ = stop.changed() => {}
                () = service.written.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Some(load) = load {
            let _ = load.await;
        }
        let _ = locks.await;
        let _ = feed.await;
        let _ = sweeping.await;
        let _ = cashing.await;
        let _ = night.await;
        // The last entries, too.
        service.note_head().await;
    }
}

/// From here on SIGHUP ends the process no more; what comes before [`until_stopped`] reloads there. SIGTERM and SIGINT
/// still end it at once while it starts. Wants to be called within the runtime.
pub fn hang_up() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Works until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn until_stopped(
    service: RegisterService,
    page: Option<RegisterPage>,
    mut hang_up: Signal,
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let service = Arc::new(service);
    let (stop, stopped) = watch::channel(false);
    let serving = match page {
        Some(page) => Some(page.serve().await?),
        None => None,
    };
    let watched = match service.config.register.operator_address {
        Some(address) => Some(operator::serve(address, service.clone(), stopped.clone()).await?),
        None => None,
    };
    let working = tokio::spawn(service.clone().run(stopped));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                // Files are read on a thread that may wait.
                let service = service.clone();
                let _ = tokio::task::spawn_blocking(move || service.reload_and_say()).await;
            }
        }
    }
    let _ = stop.send(true);
    if let Some(serving) = serving {
        serving.drain().await;
    }
    let worked = working.await.map_err(std::io::Error::other);
    if let Some(watched) = watched {
        watched.drain().await;
    }
    worked
}
