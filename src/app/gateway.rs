//! The gateway's process: fetches what portals submitted, opens and verifies it, posts it in the clear to its reader, and
//! says what became of it.
//!
//! To the post office it is a portal's subscriber (REST) and an XTA client, each over TLS. It keeps nothing: what it has done
//! is read from the post office at each step, so that it can be killed between any two. A submission's message has one id,
//! made of the submission's, and the same bytes each time; posted again it is the same message. Acceptance is said when the
//! transport report says that its reader has closed it. Content is held in memory until it is posted and is written nowhere;
//! the log names ids and codes. Destinations do not wait for each other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustls::ClientConfig;
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use super::evidence_key;
use crate::clock::{Clock, SystemClock};
use crate::config::gateway::{Destination, GatewayConfig, Office};
use crate::domain::destination::DestinationId;
use crate::domain::message_id::MessageId;
use crate::gateway::delivery::{self, Address, Verified};
use crate::gateway::verify::{self, DATA, Known, METADATA, Standing, Takes, Trouble};
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::jose::jwe::OpeningKey;
use crate::pki::jose::jwk::PublicKey;
use crate::pki::jose::jws::SigningKey;
use crate::pki::key::{self, Identity};
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::portal::client::{self as portal, Client as Portal};
use crate::portal::event::{self, AuthenticationTags, Claims, Details, Event, Reason};
use crate::portal::subscriber::Waiting;
use crate::xta::client::{Client as Xta, Error as XtaError, Settings as XtaSettings};
use crate::xta::message::transport_report::Status;

/// How long what has failed waits for the next try.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// An access token is fetched anew after so long; a post office may give it five minutes and less.
const LOG_IN_EVERY: Duration = Duration::from_secs(60);
const UNREACHABLE: &str = "gateway-office-unreachable";
const OBSOLETE_DAYS: &str = "gateway-obsolete-days";
const KEY_MISSING: &str = "gateway-key-missing";
const SIGNER_GONE: &str = "gateway-signer-gone";
const TOO_LARGE: &str = "gateway-too-large";
/// "Message id unknown" (XTA 2 WS 2.1.1, error numbers).
const UNKNOWN_ID: &str = "9070";
/// What base64url and the other parts of a JWE add to its content.
const JWE_BYTES_MORE: usize = 8192;

#[derive(Debug, Error)]
pub enum GatewayError {
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    #[error("{what}: {reason}")]
    Unusable { what: String, reason: String },
}

fn unusable(what: impl Into<String>, reason: impl ToString) -> GatewayError {
    GatewayError::Unusable { what: what.into(), reason: reason.to_string() }
}

/// Why a submission stays for now; the operator's business.
struct Stays {
    code: &'static str,
    reason: String,
    next_step: &'static str,
}

impl Stays {
    fn new(code: &'static str, reason: impl ToString, next_step: &'static str) -> Self {
        Self { code, reason: reason.to_string(), next_step }
    }
}

/// What ends a step before its end.
enum Halt {
    Trouble(Trouble),
    Stays(Stays),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Stays> for Halt {
    fn from(stays: Stays) -> Self {
        Self::Stays(stays)
    }
}

impl From<portal::Error> for Halt {
    fn from(error: portal::Error) -> Self {
        Self::Stays(error.into())
    }
}

fn unreachable(error: portal::Error) -> Stays {
    Stays::new(
        UNREACHABLE,
        error,
        "check office.portal, client, secret and whether the post office runs; it is tried again",
    )
}

impl From<portal::Error> for Stays {
    fn from(error: portal::Error) -> Self {
        Self::new(
            "gateway-portal",
            error,
            "it is tried again; see office.portal and whether the post office runs",
        )
    }
}

/// What became of a submission in one step.
enum Outcome {
    /// It lies with its reader.
    Waits,
    Posted,
    Accepted,
    Rejected(Reason),
    /// The post office has a verdict that is not ours.
    Decided,
    /// Its message will never be closed; the post office rejects the submission when its time is over.
    Dead,
}

/// A gateway for all destinations of its configuration.
pub struct GatewayService {
    desks: Vec<Desk>,
}

/// One destination's.
struct Desk {
    id: DestinationId,
    portal: Portal,
    client: String,
    secret: String,
    logged_in: Option<(Timestamp, Keys)>,
    xta: Xta,
    opening: Arc<Vec<OpeningKey>>,
    signing: SigningKey,
    address: Address,
    schemas: Vec<String>,
    metadata_versions: Vec<String>,
    bytes_max: usize,
    poll: Duration,
    report: Duration,
    clock: Arc<dyn Clock>,
    /// Whether the post office's days and our own are known to fit.
    agreed: bool,
    /// Submissions that are looked at again at this time.
    later: HashMap<Uuid, Timestamp>,
}

#[derive(Clone)]
struct Keys {
    service: Arc<Vec<PublicKey>>,
    destination: Arc<Vec<PublicKey>>,
}

impl GatewayService {
    /// Reads every file that the configuration names; nobody is asked anything yet.
    pub fn open(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let desks = config.destination.iter().map(|destination| Desk::open(config, destination, &clock));
        Ok(Self { desks: desks.collect::<Result<_, _>>()? })
    }

    /// Refuses what does not fit what the post office says; where it does not answer, each desk asks again when it does.
    pub async fn agree(&mut self) -> Result<(), GatewayError> {
        for desk in &mut self.desks {
            match desk.agree().await {
                Err(stays) if stays.code == OBSOLETE_DAYS => {
                    return Err(unusable("destination.obsolete_days", stays.reason));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Works until it is told to stop, and then finishes what it has begun.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let desks = self.desks.into_iter().map(|desk| tokio::spawn(desk.run(stop.clone())));
        futures_util::future::join_all(desks).await;
    }
}

/// Works until SIGTERM or SIGINT.
pub async fn until_stopped(mut service: GatewayService) -> Result<(), GatewayError> {
    use tokio::signal::unix::{SignalKind, signal};
    service.agree().await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| unusable("signals", error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| unusable("signals", error))?;
    let (stop, stopped) = watch::channel(false);
    let working = tokio::spawn(service.run(stopped));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = stop.send(true);
    working.await.map_err(|error| unusable("the gateway", error))
}

/// TLS towards both doors, with the gateway's certificate for the one that wants it.
fn tls(office: &Office, clock: &Arc<dyn Clock>) -> Result<Arc<ClientConfig>, GatewayError> {
    let identity = Identity::load(&office.certificate, &office.key)
        .map_err(|error| unusable("office.certificate and office.key", error))?;
    let unknown_revocation =
        if office.crls.is_empty() { UnknownRevocation::Warn } else { UnknownRevocation::Refuse };
    let believed = PurposeSettings {
        anchors: office.anchors.clone(),
        revocation_lists: office.crls.clone(),
        unknown_revocation,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into())
        .map_err(|error| unusable("office.anchors", error))?;
    let tls = client_config(Arc::new(anchors), Some(&identity), clock.clone())
        .map_err(|error| unusable("office.certificate", error))?;
    Ok(Arc::new(tls))
}

fn secret(path: &Path) -> Result<String, GatewayError> {
    let what = || format!("destination.secret_file {}", path.display());
    let bytes = key::read_bounded(path).map_err(|error| unusable(what(), error))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable(what(), "it is no text"))?;
    match text.trim() {
        "" => Err(unusable(what(), "it is empty")),
        text => Ok(text.to_owned()),
    }
}

impl Desk {
    fn open(
        config: &GatewayConfig,
        destination: &Destination,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, GatewayError> {
        let office = &config.office;
        let tls = tls(office, clock)?;
        let pkcs8 = |path: &Path| {
            evidence_key::pkcs8(path).map_err(|error| unusable(format!("the key {}", path.display()), error))
        };
        let mut opening = Vec::new();
        for named in &destination.decryption {
            let key = OpeningKey::from_pkcs8(&named.kid, &pkcs8(&named.file)?);
            opening.push(key.map_err(|error| unusable(named.file.display().to_string(), error))?);
        }
        let named = &destination.signature;
        let signing = SigningKey::from_pkcs8(&pkcs8(&named.file)?)
            .map_err(|error| unusable(named.file.display().to_string(), error))?
            .named(&named.kid);
        let address = config.address(destination)?;
        let mut settings = XtaSettings::new(&office.url, tls.clone());
        settings.identifier = Some(address.author.clone());
        Ok(Self {
            id: destination.id.clone(),
            portal: Portal::new(portal::Settings::new(&office.portal, tls))
                .map_err(|error| unusable("office.portal", error))?,
            client: destination.client.clone(),
            secret: secret(&destination.secret_file)?,
            logged_in: None,
            xta: Xta::new(settings).map_err(|error| unusable("office.url", error))?,
            opening: Arc::new(opening),
            signing,
            address,
            schemas: destination.schemas.clone(),
            metadata_versions: destination.metadata_versions.clone(),
            bytes_max: usize::try_from(office.submission_bytes_max).unwrap_or(usize::MAX / 4),
            poll: Duration::from_millis(u64::from(office.poll_milliseconds)),
            report: Duration::from_secs(u64::from(office.report_seconds)),
            clock: clock.clone(),
            agreed: false,
            later: HashMap::new(),
        })
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut reachable = true;
        while !*stop.borrow() {
            match self.round(&stop).await {
                Ok(()) => {
                    if !reachable {
                        tracing::info!(destination = %self.id, "the post office is reached again");
                    }
                    reachable = true;
                }
                Err(error) if reachable => {
                    let Stays { code, reason, next_step } = error;
                    tracing::error!(code, destination = %self.id, error = reason, next_step, "submissions cannot be listed");
                    reachable = false;
                    self.logged_in = None;
                }
                Err(_) => self.logged_in = None,
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// What nobody has closed must be obsolete before the post office rejects it in its own name. Otherwise its sender
    /// might read that it is rejected and its reader what it says.
    async fn agree(&mut self) -> Result<(), Stays> {
        if self.agreed {
            return Ok(());
        }
        let days = self.portal.rejected_after_days(&self.id).await.map_err(unreachable)?;
        let own = u32::from(self.address.obsolete_days);
        if let Some(days) = days.filter(|days| own.saturating_add(1) >= *days) {
            return Err(Stays::new(
                OBSOLETE_DAYS,
                format!(
                    "{own} days leave no whole day before the {days} after which the post office rejects what nobody decided at {}",
                    self.id
                ),
                "lower destination.obsolete_days, or raise portal.reject_days or expiry_days of the destination's profile",
            ));
        }
        self.agreed = true;
        Ok(())
    }

    async fn keys(&mut self) -> Result<Keys, portal::Error> {
        let now = self.clock.now();
        let is_fresh = |since: &Timestamp| {
            Duration::try_from(now.duration_since(*since)).is_ok_and(|age| age < LOG_IN_EVERY)
        };
        if let Some((since, keys)) = &self.logged_in
            && is_fresh(since)
        {
            return Ok(keys.clone());
        }
        self.portal.log_in(&self.client, &self.secret).await?;
        let keys = Keys {
            service: Arc::new(self.portal.service_keys().await?),
            destination: Arc::new(self.portal.destination_keys(&self.id).await?),
        };
        // Its days may have been changed since then.
        self.agreed = false;
        self.logged_in = Some((now, keys.clone()));
        Ok(keys)
    }

    /// One look at all that waits.
    async fn round(&mut self, stop: &watch::Receiver<bool>) -> Result<(), Stays> {
        self.agree().await?;
        self.keys().await.map_err(unreachable)?;
        let waiting = self.portal.waiting(&self.id).await.map_err(unreachable)?;
        let listed: std::collections::HashSet<Uuid> = waiting.iter().map(|one| one.submission_id).collect();
        self.later.retain(|id, _| listed.contains(id));
        for one in waiting {
            let now = self.clock.now();
            if self.later.get(&one.submission_id).is_some_and(|until| *until > now) {
                continue;
            }
            if *stop.borrow() {
                break;
            }
            let keys = self.keys().await.map_err(unreachable)?;
            let outcome = self.step(&one, &keys).await;
            let pause = self.tell(&one, outcome);
            let until = self.clock.now().checked_add(pause).unwrap_or(Timestamp::MAX);
            self.later.insert(one.submission_id, until);
        }
        Ok(())
    }

    /// One line of the log for what changed; how long to leave it alone.
    fn tell(&self, one: &Waiting, outcome: Result<Outcome, Stays>) -> Duration {
        let submission = one.submission_id;
        match outcome {
            Ok(Outcome::Waits) => {}
            Ok(Outcome::Posted) => tracing::info!(%submission, "posted to its reader"),
            Ok(Outcome::Accepted) => tracing::info!(%submission, "closed by its reader, and accepted"),
            Ok(Outcome::Rejected(reason)) => {
                let (problem, instance) = (verify::code(&reason), &reason.instance);
                tracing::warn!(code = "gateway-rejected", %submission, problem, instance, "rejected");
            }
            Ok(Outcome::Decided) => tracing::info!(%submission, "decided elsewhere"),
            Ok(Outcome::Dead) => {
                tracing::warn!(
                    code = "gateway-not-closed",
                    %submission,
                    next_step = "`amtsbote message show` says why; the post office rejects the submission when its time is over",
                    "its message was cancelled, expired or not deliverable"
                );
                return TRY_AGAIN * 60;
            }
            Err(Stays { code, reason, next_step }) => {
                tracing::error!(code, %submission, reason, next_step, "a submission stays as it is");
                // Until the gateway is started with other settings nothing about these changes.
                let until_started = code == TOO_LARGE || code == KEY_MISSING;
                return if until_started { TRY_AGAIN * 60 } else { TRY_AGAIN };
            }
        }
        self.report
    }

    async fn step(&self, one: &Waiting, keys: &Keys) -> Result<Outcome, Stays> {
        match self.next(one, keys).await {
            Ok(outcome) => Ok(outcome),
            Err(Halt::Trouble(trouble)) => self.refuse(one, trouble).await,
            Err(Halt::Stays(stays)) => Err(stays),
        }
    }

    /// Where the submission stands is read from the post office; then the next step is made.
    async fn next(&self, one: &Waiting, keys: &Keys) -> Result<Outcome, Halt> {
        let id = delivery::message_id(one.submission_id)
            .map_err(|error| Stays::new("gateway-id", error, "report this"))?;
        match self.xta.transport_report(&id).await {
            Ok(report) => match report.status {
                _ if report.records.iter().any(|record| record.code == "received") => {
                    self.accept(one, keys).await
                }
                Status::Open => Ok(Outcome::Waits),
                Status::Green | Status::Yellow | Status::Red => Ok(Outcome::Dead),
            },
            Err(XtaError::Fault { code, .. }) if code.contains(UNKNOWN_ID) => {
                self.deliver(one, keys, id).await
            }
            Err(error) => Err(xta(error).into()),
        }
    }

    async fn accept(&self, one: &Waiting, keys: &Keys) -> Result<Outcome, Halt> {
        let standing = self.standing(one, keys).await.map_err(|halt| match halt {
            // Its reader has it: that is no time for a rejection.
            Halt::Trouble(_) => Stays::new(
                "gateway-event-log",
                "the event log does not verify",
                "compare the destination's keys and the post office's with the log's signatures",
            ),
            Halt::Stays(stays) => stays,
        });
        match standing? {
            Standing::Decided => Ok(Outcome::Decided),
            Standing::Open(tags) => {
                let details = Details { authentication_tags: Some(tags), problems: Vec::new() };
                Ok(self.say(one, Event::Accept, &details, Outcome::Accepted).await?)
            }
        }
    }

    async fn standing(&self, one: &Waiting, keys: &Keys) -> Result<Standing, Halt> {
        let log = self.portal.event_log(one.submission_id).await?;
        let known = Known {
            submission: one.submission_id,
            case: one.case_id,
            destination: self.id.as_str(),
            service_keys: &keys.service,
            destination_keys: &keys.destination,
        };
        Ok(verify::standing(&log, known)?)
    }

    async fn refuse(&self, one: &Waiting, trouble: Trouble) -> Result<Outcome, Stays> {
        match trouble {
            Trouble::Rejected(reason) => {
                let details = Details { authentication_tags: None, problems: vec![reason.clone()] };
                self.say(one, Event::Reject, &details, Outcome::Rejected(reason)).await
            }
            Trouble::KeyMissing { kid, instance } => Err(Stays::new(
                KEY_MISSING,
                format!("{instance} is encrypted for the key {kid}"),
                "give the gateway this key under destination.decryption, and start it again",
            )),
            Trouble::SignerGone { kid } => Err(Stays::new(
                SIGNER_GONE,
                format!(
                    "an event in its log is signed with {kid}, which neither post office nor destination publish"
                ),
                "publish the destination's former signature key again (amtsbote destination key add), until this is decided",
            )),
            Trouble::TooLarge => Err(self.too_large()),
        }
    }

    async fn say(
        &self,
        one: &Waiting,
        event: Event,
        details: &Details,
        done: Outcome,
    ) -> Result<Outcome, Stays> {
        let claims = Claims {
            jti: Uuid::new_v4().to_string(),
            iss: self.id.to_string(),
            iat: self.clock.now().as_second(),
            sub: format!("submission:{}", one.submission_id),
            txn: format!("case:{}", one.case_id),
            events: [(event.uri(), json!(details))].into_iter().collect(),
        };
        let signing = self.signing.clone();
        let token = tokio::task::spawn_blocking(move || signing.sign(event::TYPE, &claims)).await;
        let token = token.map_err(|error| Stays::new("gateway-panic", error, "report this"))?;
        let token =
            token.map_err(|error| Stays::new("gateway-signature", error, "see destination.signature"))?;
        match self.portal.say(one.submission_id, token).await {
            Ok(()) => Ok(done),
            Err(portal::Error::Problem { code, .. }) if code == "event-out-of-order" => Ok(Outcome::Decided),
            Err(error @ portal::Error::Problem { .. }) => Err(Stays::new(
                "gateway-event-refused",
                error,
                "destination.signature must be a key that the destination publishes under this kid",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens and verifies everything, and posts it.
    async fn deliver(&self, one: &Waiting, keys: &Keys, id: MessageId) -> Result<Outcome, Halt> {
        let tags = match self.standing(one, keys).await? {
            Standing::Decided => return Ok(Outcome::Decided),
            Standing::Open(tags) => tags,
        };
        let verified = self.open_all(one, &tags).await?;
        let envelope = delivery::envelope(&verified, id, &self.address);
        let content = delivery::content(verified);
        self.xta.send(&envelope, &content).await.map_err(xta)?;
        Ok(Outcome::Posted)
    }

    async fn open_all(&self, one: &Waiting, tags: &AuthenticationTags) -> Result<Verified, Halt> {
        let mut left = self.bytes_max;
        let fetched = self.portal.fetch(one.submission_id, jwe_bytes(left)).await;
        let sealed = fetched.map_err(|error| self.large(error))?;
        let (ids, has_data) = (&sealed.attachments, sealed.encrypted_data.is_some());
        verify::parts(tags, has_data, ids)?;
        let metadata_bytes =
            self.opened(sealed.encrypted_metadata, tags.metadata.clone(), left, METADATA.to_owned()).await?;
        let takes = Takes {
            schemas: &self.schemas,
            metadata_versions: &self.metadata_versions,
            service: &sealed.public_service.identifier,
        };
        let metadata = verify::metadata(&metadata_bytes, takes, has_data, ids)?;
        left = self.less(left, metadata_bytes.len())?;
        let mut data = None;
        if let Some(message) = sealed.encrypted_data {
            let bytes = self.opened(message, tags.data.clone(), left, DATA.to_owned()).await?;
            left = self.less(left, bytes.len())?;
            verify::data(&bytes, &metadata)?;
            data = Some(Bytes::from(bytes));
        }
        let mut attachments = Vec::with_capacity(metadata.attachments.len());
        for described in &metadata.attachments {
            let fetched =
                self.portal.fetch_attachment(one.submission_id, described.id, jwe_bytes(left)).await;
            let message = fetched.map_err(|error| self.large(error))?;
            let tag = tags.attachments.get(&described.id.to_string()).cloned();
            let bytes = self.opened(message, tag, left, verify::instance_of(described.id)).await?;
            left = self.less(left, bytes.len())?;
            verify::attachment(&bytes, described)?;
            attachments.push((described.clone(), Bytes::from(bytes)));
        }
        Ok(Verified {
            submission: one.submission_id,
            case: one.case_id,
            destination: self.id.to_string(),
            service: sealed.public_service.identifier,
            submitted_at: one.submitted_at,
            metadata,
            metadata_bytes: metadata_bytes.into(),
            data,
            attachments,
        })
    }

    /// Decrypts off the threads that talk.
    async fn opened(
        &self,
        message: String,
        tag: Option<String>,
        bytes_max: usize,
        instance: String,
    ) -> Result<Vec<u8>, Halt> {
        let keys = self.opening.clone();
        let opened = tokio::task::spawn_blocking(move || {
            verify::open(&message, tag.as_deref(), &keys, bytes_max, &instance)
        });
        let opened = opened.await.map_err(|error| Stays::new("gateway-panic", error, "report this"))?;
        Ok(opened?)
    }

    fn less(&self, left: usize, used: usize) -> Result<usize, Stays> {
        left.checked_sub(used).ok_or_else(|| self.too_large())
    }

    fn large(&self, error: portal::Error) -> Stays {
        match error {
            portal::Error::TooLarge(_) => self.too_large(),
            error => error.into(),
        }
    }

    fn too_large(&self) -> Stays {
        let reason = format!("in the clear it has more than {} bytes", self.bytes_max);
        Stays::new(TOO_LARGE, reason, "raise office.submission_bytes_max, and start the gateway again")
    }
}

fn jwe_bytes(clear: usize) -> usize {
    (clear / 3).saturating_add(1).saturating_mul(4).saturating_add(JWE_BYTES_MORE)
}

fn xta(error: XtaError) -> Stays {
    let next_step = match &error {
        XtaError::Fault { .. } => {
            "see the post office's log: the gateway's account needs office.author, foreign_message_ids and leave to write to the reader"
        }
        _ => "it is tried again; see office.url and whether the post office runs",
    };
    Stays::new("gateway-post", error, next_step)
}
