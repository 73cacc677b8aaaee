//! The register's process: fetches what waits in its mailboxes, lays it on the desk, posts what the desk has written.
//!
//! To the post office it is a client like any other: XTA 2 over mutual TLS, with its own certificate. A message is
//! confirmed only when its effect and its answer are durable; what is posted has an id that was written down before, so
//! that a repetition after a crash is the same message. Full loads run beside the rest: a lock that arrives meanwhile
//! passes them; a mailbox for locks is looked into by a task of its own, so that a lock waits for no other message. Where
//! the configuration has a page, it is served by this process, on a listener of its own.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::watch;

use super::nightly::NightWatch;
use super::payment::{self, Cashier};
use crate::clock::{Clock, SystemClock};
use crate::config::register::RegisterConfig;
use crate::domain::content::PartRole;
use crate::domain::envelope::{BusinessScenario, Code, Envelope, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::enquiry::{self, Door};
use crate::net::{Bounds, Listener, Permits, Serving, TlsSource};
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::key::{self, Identity, Readers};
use crate::pki::tls::{ClientCertificate, client_config, server_config};
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::portal::places::Places;
use crate::register::copies::{Copies, CopyError, LogKey, Outgoing, Settings as CopySettings};
use crate::register::desk::{Delivery, Desk, DeskError, Handled};
use crate::register::message::Number;
use crate::register::message::head::Sender;
use crate::register::person::Ags;
use crate::register::signers::Signers;
use crate::xta::client::content::{FolderSink, Outgoing as OutgoingPart};
use crate::xta::client::{Client, Error as ClientError, Settings as ClientSettings};
use crate::xta::message::metadata::Shown;
use crate::xta::message::msg_box::MsgSelector;

const LOG_KEY_FILE: &str = "log.key";
const INBOX_FOLDER: &str = "inbox";
/// Messages of one page of a mailbox's list.
const PAGE: u32 = 100;
/// Pages of one look into the mailboxes: so far one author's flood hides nobody else's messages.
const PAGES_MAX: usize = 20;
/// Messages that are taken before the next look.
const TAKEN_MAX: usize = 100;
/// Between two sweeps of what has run out.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two steps of work that nobody waits for: others get at the database meanwhile.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// How long what has failed waits for the next try.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The same where the post office is away.
const TRY_SOON: Duration = Duration::from_secs(5);
const PAGE_CONNECTIONS_MAX: usize = 256;
const SERVICE: &str = "urn:de:amtsbote:register";

#[derive(Debug, Error)]
pub enum RegisterError {
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    #[error("{what}: {reason}")]
    Unusable { what: String, reason: String },
    #[error("{0}")]
    Copies(#[from] CopyError),
}

pub(super) fn unusable(what: impl Into<String>, reason: impl ToString) -> RegisterError {
    RegisterError::Unusable { what: what.into(), reason: reason.to_string() }
}

/// Opens the copies of a folder. The log's key is made with the folder and never again: without it neither log nor
/// answers can be read. None where there is no register and none may be made.
pub fn open_copies(settings: CopySettings, may_create: bool) -> Result<Option<Copies>, RegisterError> {
    let path = settings.folder.join(LOG_KEY_FILE);
    if !path.exists() {
        if !may_create {
            return Ok(None);
        }
        let made = |error: std::io::Error| unusable(settings.folder.display().to_string(), error);
        std::fs::create_dir_all(&settings.folder).map_err(made)?;
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| unusable("random numbers", "the machine has none"))?;
        key::write_new(&path, &secret, Readers::Owner).map_err(|error| unusable("the log's key", error))?;
    }
    let secret = key::read_bounded(&path).map_err(|error| unusable("the log's key", error))?;
    let secret: [u8; 32] =
        secret.try_into().map_err(|_| unusable(path.display().to_string(), "is no key of 32 bytes"))?;
    Ok(Some(Copies::open(settings, LogKey::new(&secret))?))
}

/// Why an answer was not posted.
struct Trouble {
    reason: String,
    of_this_message: bool,
}

/// Why a message was not taken, and how long it rests.
struct Left {
    reason: String,
    pause: Duration,
}

impl From<String> for Left {
    fn from(reason: String) -> Self {
        Self { reason, pause: TRY_AGAIN }
    }
}

impl Left {
    /// A database that is away is everybody's trouble, and may be back soon.
    fn because(error: &DeskError) -> Self {
        let away = matches!(error, DeskError::Copies(CopyError::Server(_) | CopyError::Unsure(_)));
        Self { reason: error.to_string(), pause: if away { TRY_SOON } else { TRY_AGAIN } }
    }
}

/// A register at work.
pub struct RegisterService {
    desk: Arc<Desk>,
    cashier: Arc<Cashier>,
    night: Arc<NightWatch>,
    client: Arc<Client>,
    /// The mailbox for locks, and how it is looked into.
    urgent: Option<(PartyIdentifier, Client)>,
    inbox: PathBuf,
    own: PartyIdentifier,
    poll: Duration,
    give_up: Duration,
    clock: Arc<dyn Clock>,
    /// Messages that could not be taken, and when they are tried again.
    left: Mutex<HashMap<String, Timestamp>>,
    /// Messages in the mailbox for locks that do not belong there: their turn comes with the others.
    misplaced: Mutex<HashSet<String>>,
}

impl RegisterService {
    pub fn open(config: &RegisterConfig) -> Result<Self, RegisterError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let copies = open_copies(config.copies()?, true)?
            .ok_or_else(|| unusable(config.register.folder.display().to_string(), "there is no register"))?;
        let desk = Desk::new(copies, config.desk()?, clock.clone()).with_signers(signers(config)?);
        let own = identifier(&desk.own().party.kennung)?;
        let inbox = config.register.folder.join(INBOX_FOLDER);
        // What a crash left behind is fetched again.
        let _ = std::fs::remove_dir_all(&inbox);
        std::fs::create_dir_all(&inbox).map_err(|error| unusable(inbox.display().to_string(), error))?;
        let desk = Arc::new(desk);
        let service = config.payment.as_ref().map(|one| payment::client(one, clock.clone())).transpose()?;
        let rules = config.payment.as_ref().map(|one| one.rules()).unwrap_or_default();
        let within = Duration::from_secs(u64::from(config.nightly.reconcile_within_hours) * 3600);
        Ok(Self {
            cashier: Arc::new(Cashier::new(desk.clone(), service, rules, clock.clone())),
            night: Arc::new(NightWatch::new(desk.clone(), config.nightly.hour, within, clock.clone())),
            desk,
            client: Arc::new(client(config, "*", clock.clone())?),
            urgent: config
                .register
                .urgent_identifier
                .as_ref()
                .map(|one| urgent(config, one, clock.clone()))
                .transpose()?,
            inbox,
            own,
            poll: Duration::from_millis(u64::from(config.office.poll_milliseconds)),
            give_up: Duration::from_secs(u64::from(config.office.give_up_hours) * 3600),
            clock,
            left: Mutex::default(),
            misplaced: Mutex::default(),
        })
    }

    pub fn desk(&self) -> Arc<Desk> {
        self.desk.clone()
    }

    /// Takes orders of pages, and payments for them.
    pub fn cashier(&self) -> Arc<Cashier> {
        self.cashier.clone()
    }

    /// Works until it is told to stop, and then finishes what it has begun.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let service = Arc::new(self);
        let mut load: Option<tokio::task::JoinHandle<()>> = None;
        // A payment service that hangs holds up no message.
        let cashing = tokio::spawn(service.cashier.clone().run(stop.clone()));
        let night = tokio::spawn(service.night.clone().run(stop.clone()));
        let locks = tokio::spawn(service.clone().take_locks(stop.clone()));
        let sweeping = tokio::spawn(service.clone().sweeps(stop.clone()));
        let mut reachable = true;
        while !*stop.borrow() {
            let busy = load.as_ref().is_some_and(|task| !task.is_finished());
            match service.round(busy, &stop).await {
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
                        next_step = "check office.url, certificate and whether the post office runs; it is tried again",
                        "the mailboxes cannot be looked into"
                    );
                    reachable = false;
                }
                Err(_) => {}
            }
            let due = service.desk.copies.next_due().ok().flatten();
            // What is due already was tried in this round.
            let until_due = due.map(|at| at.duration_since(service.clock.now()));
            let wait = until_due
                .and_then(|wait| Duration::try_from(wait).ok())
                .filter(|wait| !wait.is_zero())
                .map_or(service.poll, |wait| wait.clamp(Duration::from_millis(10), service.poll));
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Some(load) = load {
            let _ = load.await;
        }
        let _ = locks.await;
        let _ = sweeping.await;
        let _ = cashing.await;
        let _ = night.await;
        // The last entries, too.
        service.note_head().await;
    }

    /// The mailbox for locks, beside everything else. What is answered leaves with the rest.
    async fn take_locks(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some((mailbox, client)) = &self.urgent else { return };
        let mut reachable = true;
        while !*stop.borrow() {
            let more = match self.waiting(client, |shown| !self.is_misplaced(shown) && !is_load(shown)).await
            {
                Ok(waiting) => {
                    if !reachable {
                        tracing::info!("the mailbox for locks is reached again");
                    }
                    reachable = true;
                    for shown in waiting.messages {
                        if *stop.borrow() {
                            break;
                        }
                        self.take_as(&shown, true).await;
                    }
                    waiting.more
                }
                Err(error) => {
                    if reachable {
                        tracing::error!(
                            code = "register-locks-unreachable",
                            mailbox = mailbox.value(),
                            %error,
                            next_step = "check office.url, register.urgent_identifier and whether the register's account owns it; it is tried again",
                            "the mailbox for locks cannot be looked into: locks wait"
                        );
                    }
                    reachable = false;
                    false
                }
            };
            if more {
                continue;
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// What waits and may be taken, each author in turn.
    async fn waiting(
        &self,
        client: &Client,
        wanted: impl Fn(&Shown) -> bool,
    ) -> Result<Waiting, ClientError> {
        let mut page = client.list(&MsgSelector::default(), Some(PAGE)).await?;
        let mut messages = Vec::new();
        for _ in 0..PAGES_MAX {
            let now = self.clock.now();
            messages
                .extend(page.messages.into_iter().filter(|shown| wanted(shown) && !self.waits(shown, now)));
            if page.pending == 0 {
                break;
            }
            page = match client.next_list(&page.request_id).await {
                Ok(page) => page,
                // The list was forgotten meanwhile: the next look begins anew.
                Err(ClientError::Fault { .. }) => break,
                Err(error) => return Err(error),
            };
        }
        let beyond = page.pending > 0 && !messages.is_empty();
        let mut messages = by_turns(messages, |shown| shown.envelope.author.identifier.value().to_owned());
        let more = messages.len() > TAKEN_MAX || beyond;
        messages.truncate(TAKEN_MAX);
        Ok(Waiting { messages, more })
    }

    /// Could not be taken, and it is not time to try again.
    fn waits(&self, shown: &Shown, now: Timestamp) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(shown.envelope.id.as_str()).is_some_and(|until| *until > now)
    }

    /// In the mailbox for locks, and at its place there.
    fn is_urgent(&self, shown: &Shown) -> bool {
        let reader = shown.envelope.reader.identifier.value();
        let there = self.urgent.as_ref().is_some_and(|(mailbox, _)| mailbox.value() == reader);
        there && !is_load(shown) && !self.is_misplaced(shown)
    }

    fn is_misplaced(&self, shown: &Shown) -> bool {
        let misplaced = self.misplaced.lock().unwrap_or_else(PoisonError::into_inner);
        misplaced.contains(shown.envelope.id.as_str())
    }

    /// One look into the mailboxes: what is small is taken; the first full load is handed back.
    async fn round(&self, busy: bool, stop: &watch::Receiver<bool>) -> Result<Round, ClientError> {
        self.post_due().await;
        let mut load = None;
        // A load that waits for another one takes nobody's turn.
        let ours = |shown: &Shown| !(self.is_urgent(shown) || busy && self.is_heavy(shown));
        let waiting = self.waiting(&self.client, ours).await?;
        for shown in waiting.messages {
            if *stop.borrow() {
                break;
            }
            if self.is_heavy(&shown) {
                load = load.or(Some(shown));
                continue;
            }
            self.take(&shown).await;
            self.post_due().await;
        }
        Ok(Round { load, more: waiting.more })
    }

    /// Takes long: a load, many questions in one message, or what came where it should not.
    fn is_heavy(&self, shown: &Shown) -> bool {
        is_load(shown) || is_collective(shown) || self.is_misplaced(shown)
    }

    /// Fetches one message, lays it on the desk, and confirms it once it is durable.
    async fn take(&self, shown: &Shown) {
        self.take_as(shown, false).await;
    }

    async fn take_as(&self, shown: &Shown, urgent: bool) {
        let id = &shown.envelope.id;
        let folder = self.inbox.join(uuid::Uuid::new_v4().to_string());
        let taken = self.fetch_and_handle(shown, &folder, urgent).await;
        let _ = tokio::fs::remove_dir_all(&folder).await;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut misplaced = self.misplaced.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(Some(handled)) => {
                left.remove(id.as_str());
                misplaced.remove(id.as_str());
                say(id, &handled);
            }
            Ok(None) => {
                misplaced.insert(id.to_string());
                tracing::warn!(
                    code = "register-not-urgent",
                    message_id = %id,
                    author = shown.envelope.author.identifier.value(),
                    "a message in the mailbox for locks is no message of changes; it waits for its turn"
                );
            }
            Err(Left { reason, pause }) => {
                let until = self.clock.now().checked_add(pause).unwrap_or(Timestamp::MAX);
                left.insert(id.to_string(), until);
                tracing::error!(
                    code = "register-message-left",
                    message_id = %id,
                    reason,
                    next_step = "it is offered again; if it comes back, look at disk and database",
                    "a message was not taken"
                );
            }
        }
    }

    /// None: it does not belong into the mailbox for locks, and nothing was done.
    async fn fetch_and_handle(
        &self,
        shown: &Shown,
        folder: &Path,
        urgent: bool,
    ) -> Result<Option<Handled>, Left> {
        tokio::fs::create_dir_all(folder).await.map_err(|error| error.to_string())?;
        let id = &shown.envelope.id;
        let mut sink = FolderSink::new(folder);
        let fetched = self.client.fetch(id, &mut sink).await.map_err(|error| error.to_string())?;
        let part = fetched.parts.iter().position(|part| part.role == PartRole::Message);
        let file = part.and_then(|index| sink.files.get(&index)).cloned();
        let from = shown.envelope.author.identifier.value().to_owned();
        // Nothing but encrypted parts, and the register has no key for them.
        let sender = if file.is_some() { Sender::Vouched(from.clone()) } else { Sender::Undecipherable };
        let test = shown.envelope.test;
        let (desk, transport_id) = (self.desk.clone(), id.to_string());
        let handled = tokio::task::spawn_blocking(move || {
            let open = || -> std::io::Result<Box<dyn std::io::BufRead>> {
                match &file {
                    Some(file) => Ok(Box::new(BufReader::new(std::fs::File::open(file)?))),
                    None => Ok(Box::new(std::io::empty())),
                }
            };
            let delivery = Delivery { transport_id: &transport_id, sender: &sender, from: &from, test };
            if urgent { desk.handle_urgent(&delivery, &open) } else { desk.handle(&delivery, &open) }
        });
        let handled = match handled.await.map_err(|error| error.to_string())? {
            Err(DeskError::NotUrgent) => return Ok(None),
            handled => handled.map_err(|error| Left::because(&error))?,
        };
        let request = fetched.request_id.as_deref().unwrap_or("1");
        self.client.close(request, std::slice::from_ref(id)).await.map_err(|error| error.to_string())?;
        Ok(Some(handled))
    }

    async fn post_due(&self) {
        let due = match self.desk.copies.due(self.clock.now()) {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(
                    code = "register-outbox",
                    %error,
                    next_step = "look at disk and database of the register",
                    "what is due cannot be read"
                );
                return;
            }
        };
        for one in due {
            let Err(trouble) = self.post(&one).await else { continue };
            let (now, Trouble { reason, of_this_message }) = (self.clock.now(), trouble);
            let over = one.since.checked_add(self.give_up).is_ok_and(|until| until <= now);
            if over && self.desk.copies.note_given_up(one.id, now).is_ok() {
                tracing::error!(
                    code = "register-answer-given-up",
                    number = one.number,
                    reader = one.reader,
                    reason,
                    next_step = if one.number == Number::HandOver.code() {
                        "let the municipality into the post office; the case is still open (amtsbote register cases)"
                    } else {
                        "let the reader into the post office; it can ask for the answer again"
                    },
                    "an answer could not be posted"
                );
                continue;
            }
            tracing::warn!(
                code = "register-answer-waits",
                number = one.number,
                reader = one.reader,
                reason,
                "an answer is tried again"
            );
            // One reader's trouble is nobody else's; an office that is away is everybody's, and for a short time.
            let pause = if of_this_message { TRY_AGAIN } else { TRY_SOON };
            let later = now.checked_add(pause).unwrap_or(Timestamp::MAX);
            if self.desk.copies.note_refused(one.id, later).is_err() || !of_this_message {
                return;
            }
        }
    }

    async fn post(&self, one: &Outgoing) -> Result<(), Trouble> {
        let ours =
            |error: &dyn std::fmt::Display| Trouble { reason: error.to_string(), of_this_message: false };
        let id = match &one.transport_id {
            Some(id) => MessageId::parse(id).map_err(|error| ours(&error))?,
            None => {
                let id = self.client.create_message_id().await.map_err(|error| ours(&error))?;
                self.desk.copies.note_transport_id(one.id, id.as_str()).map_err(|error| ours(&error))?;
                id
            }
        };
        let reader = identifier(&one.reader)
            .map_err(|error| Trouble { reason: error.to_string(), of_this_message: true })?;
        let envelope = self.envelope(id, &reader, one);
        let mut part = OutgoingPart::from_bytes(PartRole::Message, "application/xml", one.bytes.clone());
        part.part.filename = Some(format!("{}.xml", one.number));
        part.part.encoding = Some("UTF-8".to_owned());
        self.client.send(&envelope, &[part]).await.map_err(|error| Trouble {
            of_this_message: matches!(error, ClientError::Fault { .. }),
            reason: error.to_string(),
        })?;
        self.desk.copies.note_sent(one.id, self.clock.now()).map_err(|error| ours(&error))
    }

    fn envelope(&self, id: MessageId, reader: &PartyIdentifier, one: &Outgoing) -> Envelope {
        let party = |identifier: &PartyIdentifier| Party {
            identifier: identifier.clone(),
            security_tokens: Vec::new(),
        };
        let code = |code: &str, list: &str, version: &str| Code {
            code: code.to_owned(),
            name: None,
            list_uri: Some(list.to_owned()),
            list_version: Some(version.to_owned()),
        };
        Envelope {
            id,
            test: false,
            author: party(&self.own),
            sender: None,
            reply_to: None,
            reader: party(reader),
            other_readers: Vec::new(),
            cc_readers: Vec::new(),
            in_reply_to: MessageId::parse(&one.in_reply_to).into_iter().collect(),
            process_ref: None,
            qualifier: Qualifier {
                subject: None,
                service: SERVICE.to_owned(),
                business_scenario: Some(BusinessScenario::Defined(code(
                    "XMELD_DATA",
                    "urn:de:xta:codeliste:business.scenario",
                    "3.6",
                ))),
                message_type: Some(code(&one.number, "urn:de:payloadSchema:elementName", "1.0")),
                payload_schema: Some(one.namespace.clone()),
            },
            properties: Vec::new(),
            origin: None,
            not_before: None,
            obsolete_after: None,
            service_quality: None,
            receipt_requests: None,
            token_container: None,
            stated_size: None,
        }
    }

    async fn note_head(&self) {
        let desk = self.desk.clone();
        let noted = tokio::task::spawn_blocking(move || desk.copies.note_head()).await;
        let failure = match noted {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            code = "register-log-head",
            error = failure,
            next_step = "find out whether the log was changed (amtsbote register log); if the register was restored from a backup, keep the file of heads aside",
            "where the log stands cannot be written down"
        );
    }

    /// Beside everything else, in steps: no message waits for more than one of them.
    async fn sweeps(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut swept: Option<tokio::time::Instant> = None;
        while !*stop.borrow() {
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                self.note_head().await;
                self.sweep(self.clock.now()).await;
                swept = Some(tokio::time::Instant::now());
            }
            let desk = self.desk.clone();
            let more = match tokio::task::spawn_blocking(move || desk.copies.tidy_step()).await {
                Ok(Ok(more)) => more,
                Ok(Err(error)) => {
                    unswept(&error);
                    false
                }
                Err(error) => {
                    unswept(&error);
                    false
                }
            };
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(if more { STEP_PAUSE } else { SWEEP }) => {}
            }
        }
    }

    async fn sweep(&self, now: Timestamp) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
        let desk = self.desk.clone();
        let swept = tokio::task::spawn_blocking(move || {
            desk.copies.expire_answers(now)?;
            desk.copies.erase_expired(now)?;
            desk.copies.forget_in_journal()?;
            desk.copies.overdue_moves(now)
        });
        match swept.await {
            Ok(Ok(overdue)) => {
                for one in overdue {
                    let (case, old, new) = (one.case, one.old_office.to_string(), one.new_office.to_string());
                    if one.escalated {
                        tracing::error!(
                            code = "register-move-late",
                            case,
                            old_office = old,
                            new_office = new,
                            next_step = "call the old office: its answer (0203) is over its time",
                            "a move notice was not answered"
                        );
                    } else {
                        tracing::warn!(
                            code = "register-move-due",
                            case,
                            old_office = old,
                            new_office = new,
                            "the answer to a move notice is due soon"
                        );
                    }
                }
            }
            Ok(Err(error)) => unswept(&error),
            Err(error) => unswept(&error),
        }
    }
}

fn unswept(error: &dyn std::fmt::Display) {
    tracing::error!(
        code = "register-sweep",
        %error,
        next_step = "look at disk and database of the register",
        "what has run out cannot be removed"
    );
}

/// Messages of one look that are to be taken, and whether there are more.
struct Waiting {
    messages: Vec<Shown>,
    more: bool,
}

struct Round {
    load: Option<Shown>,
    more: bool,
}

/// One of each author, then the next of each: whoever sends much waits for himself. Each author's stay in order.
fn by_turns<T>(all: Vec<T>, author: impl Fn(&T) -> String) -> Vec<T> {
    let mut queues: Vec<VecDeque<T>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for one in all {
        let place = *places.entry(author(&one)).or_insert(queues.len());
        if place == queues.len() {
            queues.push(VecDeque::new());
        }
        queues[place].push_back(one);
    }
    let mut out = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|queue| {
            out.extend(queue.pop_front());
            !queue.is_empty()
        });
    }
    out
}

/// The page for private enquiries, not yet at work.
pub struct RegisterPage {
    address: SocketAddr,
    identity: Option<Identity>,
    door: Arc<Door>,
}

impl RegisterPage {
    /// None where the configuration has none.
    pub fn open(config: &RegisterConfig, service: &RegisterService) -> Result<Option<Self>, RegisterError> {
        let Some(page) = &config.page else { return Ok(None) };
        let identity = match (&page.certificate, &page.key) {
            (Some(certificate), Some(key)) => {
                let loaded = Identity::load(certificate, key);
                Some(loaded.map_err(|error| unusable("page.certificate and page.key", error))?)
            }
            _ => None,
        };
        let mut places: Vec<(Ags, String)> = Places::known()
            .iter()
            .filter_map(|place| {
                let key = crate::domain::destination::Ags::of(&place.region)?;
                Some((Ags::parse(key.as_str()).ok()?, place.name.clone()))
            })
            .collect();
        places.sort_by(|one, other| one.1.cmp(&other.1));
        let settings = enquiry::Settings {
            users: config.page_users()?,
            places,
            list_lines_max: page.list_lines_max,
            url: page.url.clone(),
            zone: config.zone()?,
        };
        let door = Door::new(service.desk(), service.cashier(), Arc::new(SystemClock), settings);
        let door = Arc::new(door.map_err(|error| unusable("the page", error))?);
        Ok(Some(Self { address: page.address, identity, door }))
    }

    async fn serve(self) -> std::io::Result<Serving> {
        let permits = Permits::new(PAGE_CONNECTIONS_MAX);
        let listener = match &self.identity {
            Some(identity) => {
                let tls = server_config(identity, ClientCertificate::None, Arc::new(SystemClock));
                let source = TlsSource::new(Arc::new(tls.map_err(std::io::Error::other)?));
                Listener::tls(self.address, source, Bounds::default(), permits).await?
            }
            None => Listener::plain(self.address, Bounds::default(), permits).await?,
        };
        tracing::info!(address = %listener.address()?, tls = self.identity.is_some(), "the page is served");
        Ok(listener.serve(self.door))
    }
}

/// Works until SIGTERM or SIGINT.
pub async fn until_stopped(service: RegisterService, page: Option<RegisterPage>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    let serving = match page {
        Some(page) => Some(page.serve().await?),
        None => None,
    };
    let working = tokio::spawn(service.run(stopped));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = stop.send(true);
    if let Some(serving) = serving {
        serving.drain().await;
    }
    working.await.map_err(std::io::Error::other)
}

/// Full loads run beside the rest; the envelope tells them, and a wrong word there costs nothing but time.
fn is_load(shown: &Shown) -> bool {
    is_number(shown, Number::Load)
}

fn is_collective(shown: &Shown) -> bool {
    is_number(shown, Number::EnquiriesAsked)
}

fn is_number(shown: &Shown, number: Number) -> bool {
    let kind = shown.envelope.qualifier.message_type.as_ref();
    kind.is_some_and(|kind| kind.code == number.code() || kind.code == number.element())
}

fn say(id: &MessageId, handled: &Handled) {
    tracing::info!(
        message_id = %id,
        number = handled.number,
        uuid = handled.uuid,
        codes = handled.codes.join(" "),
        detail = handled.detail,
        "{}",
        handled.outcome
    );
}

fn identifier(value: &str) -> Result<PartyIdentifier, RegisterError> {
    PartyIdentifier::with_labels(value, Some("xoev"), None, None)
        .map_err(|error| unusable(format!("the identifier {value}"), error))
}

/// How a server is judged: by its authorities, and by their revocation lists where there are any.
pub(super) fn server_tls(
    anchors: &[PathBuf],
    crls: &[PathBuf],
    identity: Option<&Identity>,
    clock: Arc<dyn Clock>,
) -> Result<rustls::ClientConfig, String> {
    let unknown = if crls.is_empty() { UnknownRevocation::Warn } else { UnknownRevocation::Refuse };
    let believed = PurposeSettings {
        anchors: anchors.to_vec(),
        revocation_lists: crls.to_vec(),
        unknown_revocation: unknown,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into());
    let anchors = anchors.map_err(|error| error.to_string())?;
    client_config(Arc::new(anchors), identity, clock).map_err(|error| error.to_string())
}

/// Who must sign, with their certificates read.
fn signers(config: &RegisterConfig) -> Result<Signers, RegisterError> {
    let mut known: BTreeMap<String, Vec<Certificate>> = BTreeMap::new();
    for signer in &config.signer {
        for path in &signer.certificates {
            let wrong = |error: &dyn std::fmt::Display| unusable(path.display().to_string(), error);
            let pem = key::read_bounded(path).map_err(|error| wrong(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(&error))?;
            known.entry(signer.identifier.clone()).or_default().push(certificate);
        }
    }
    let settings = &config.signatures;
    let unknown = if settings.crls.is_empty() { UnknownRevocation::Warn } else { UnknownRevocation::Refuse };
    let believed = PurposeSettings {
        anchors: settings.anchors.clone(),
        revocation_lists: settings.crls.clone(),
        unknown_revocation: unknown,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::OsciSignature, believed)].into());
    let anchors = anchors.map_err(|error| unusable("signatures.anchors", error))?;
    Ok(Signers::new(known, Arc::new(anchors)))
}

fn urgent(
    config: &RegisterConfig,
    mailbox: &str,
    clock: Arc<dyn Clock>,
) -> Result<(PartyIdentifier, Client), RegisterError> {
    Ok((identifier(mailbox)?, client(config, mailbox, clock)?))
}

/// Looks into one mailbox, or with `*` into all of ours.
fn client(config: &RegisterConfig, mailbox: &str, clock: Arc<dyn Clock>) -> Result<Client, RegisterError> {
    let office = &config.office;
    let identity = Identity::load(&office.certificate, &office.key)
        .map_err(|error| unusable("office.certificate and office.key", error))?;
    let tls = server_tls(&office.anchors, &office.crls, Some(&identity), clock)
        .map_err(|error| unusable("office.anchors", error))?;
    let mut settings = ClientSettings::new(&office.url, Arc::new(tls));
    settings.identifier = Some(match mailbox {
        "*" => PartyIdentifier::new("*").map_err(|error| unusable("*", error))?,
        mailbox => identifier(mailbox)?,
    });
    Client::new(settings).map_err(|error| unusable("office.url", error))
}

#[cfg(test)]
mod tests {
    use super::by_turns;

    #[test]
    fn authors_take_turns() {
        let all = "A1 A2 A3 A4 B1 C1 B2";
        let turns = by_turns(all.split(' ').collect(), |one| one[..1].to_owned());
        assert_eq!(turns.join(" "), "A1 B1 C1 A2 B2 A3 A4");
        assert!(by_turns(Vec::<&str>::new(), |one| (*one).to_owned()).is_empty());
    }
}
