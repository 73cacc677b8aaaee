//! The door: HTTP in, the relay's few commands, OSCI out (sections 1, 9 and 10 of our notes).
//!
//! Every request is opened while it arrives if it is encrypted, spooled, judged in a fixed order and answered with HTTP 200: by a fault
//! where it cannot be answered as a request, otherwise by an answer with feedback, signed, and encrypted if the request
//! was. Nothing is stored unless the feedback says so. Who speaks is told by the cipher certificate of the originator,
//! which names a mailbox of an account; mailboxes are open only to who has proven to hold its key (by a challenge that
//! left encrypted) or has signed. Left out: cryptographic time stamps.

mod answer;
pub mod card;
pub(in crate::osci) mod fetch;
mod frame;
mod incoming;
pub mod inspect;
mod outbox;
mod partial_fetch;
mod partial_store;
mod parts;
mod policy;
pub mod push;
mod request;
pub(in crate::osci) mod spool;
mod store;
mod unfinished;
pub mod unproven;
mod unwritable;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::domain::card::ProcessCard;
use crate::domain::envelope::Envelope;
use crate::domain::limits::Limits;
use crate::net::{self, Body, Handler, Peer};
use crate::osci::chunk;
use crate::osci::code::{Code, Kind};
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::pki::certificate::Certificate;
use crate::pki::trust::TrustAnchors;
use crate::relay::Relay;
use crate::report::{CorrelationId, Failure, Loudness};
use crate::xml::dsig::sign::SigningKey;
use crate::xml::enc::{Policy, RecipientKey};

/// Which door a message came through, as its card says.
pub const DOOR: &str = "osci-1.2";

/// The custom header by which XTA's message metadata travel.
const METADATA: &str = "MessageMetaData";
const NS_METADATA: &str = "http://www.osci.eu/ws/2014/10/transport";

/// What is in force; a reload replaces it.
#[derive(Clone)]
pub struct InForce {
    pub anchors: Arc<TrustAnchors>,
    /// The first is the one that clients should use; further ones are still accepted.
    pub cipher: Arc<[CipherIdentity]>,
    pub signature: Arc<SignatureIdentity>,
    /// Judges the servers of passive recipients; without it only `http` is dialled.
    pub recipients: Option<Arc<rustls::ClientConfig>>,
}

pub struct CipherIdentity {
    pub certificate: Certificate,
    pub key: RecipientKey,
}

pub struct SignatureIdentity {
    pub certificate: Certificate,
    pub key: SigningKey,
}

pub type InForceSource = Arc<dyn Fn() -> Arc<InForce> + Send + Sync>;

/// Message metadata of XTA, which OSCI carries as a custom header; the composition root knows who reads them.
pub trait Metadata: Send + Sync {
    /// The envelope that a `MessageMetaData` element says, from the element with all its declarations.
    fn read(&self, element: &str) -> Result<Envelope, String>;
    /// The element, with all its declarations and this Id.
    fn write(&self, envelope: &Envelope, card: &ProcessCard, id: &str) -> String;
}

/// Participants whose fetches in chunks may keep as much of the disk as one may; of more, the oldest give way.
const ACCOUNTS_KEPT: u64 = 8;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests at this path and below it are taken; `/` takes every path.
    pub path: String,
    /// Where messages wait that are too large for memory.
    pub spool_folder: PathBuf,
    /// Where messages that come or go in chunks are kept; it outlives the process.
    pub chunk_folder: PathBuf,
    pub limits: Limits,
    /// How long a request waits for another one at work on the same large message, before it is told to ask again
    /// (3952); well below the time that clients wait for an answer.
    pub inside_wait: Duration,
    /// A dialog that is silent for so long is over.
    pub dialog_idle: Duration,
    /// Whether messages are taken of clients that neither sign nor encrypt, so that nothing proves who they are.
    pub unproven_senders: bool,
    /// What may be written for clients that have not proven who they are yet.
    pub unproven: unproven::Limits,
    /// What is accepted of old clients.
    pub policy: Policy,
    pub push: push::Settings,
}

impl Settings {
    /// Bytes of one request, base64 and envelope included.
    fn request_bytes_max(&self) -> u64 {
        let content = self.limits.content_bytes_max;
        (content / 2).saturating_add(content).saturating_add(16 * 1024 * 1024)
    }

    /// Bytes of the disk that one participant's large messages may keep while they come in chunks, and as many while
    /// they go. What was given up stays for days, and must not keep the next one out, however large that may be.
    fn account_bytes_max(&self) -> u64 {
        self.limits.upload_bytes_max.max(self.limits.content_bytes_max.saturating_mul(4))
    }

    fn answers_max(&self) -> parts::AnswersMax {
        let account = self.account_bytes_max();
        parts::AnswersMax { account, all: account.saturating_mul(ACCOUNTS_KEPT) }
    }
}

#[derive(Clone)]
pub struct Door {
    relay: Arc<Relay>,
    in_force: InForceSource,
    metadata: Arc<dyn Metadata>,
    settings: Settings,
    parts: Arc<parts::Parts>,
    outbox: Arc<outbox::Outbox>,
    unwritable: Arc<unwritable::Unwritable>,
    recipients: Arc<push::Recipients>,
    unproven: Arc<unproven::Unproven>,
    /// Shared by pushes that have begun.
    under_way: Arc<tokio::sync::RwLock<()>>,
}

/// Why a request is not executed: the client hears the code and the sentence, the operator the rest.
#[derive(Debug)]
pub(crate) struct Refused {
    pub code: Code,
    /// Added to the code's own words; nothing that the client should not learn.
    pub sentence: Option<String>,
    pub detail: String,
    pub loudness: Loudness,
}

impl Refused {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        let loudness = match code.kind() {
            Kind::FaultServer => Loudness::Error,
            _ => Loudness::Info,
        };
        Self { code, sentence: None, detail: detail.into(), loudness }
    }

    /// With words for the client, too.
    fn told(code: Code, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { sentence: Some(sentence.clone()), ..Self::new(code, sentence) }
    }

    fn log(&self, correlation: CorrelationId) {
        metrics::counter!("amtsbote_osci_refused_total", "code" => self.code.as_str()).increment(1);
        Failure {
            code: self.code.as_str(),
            sentence: self.code.text(crate::osci::code::Language::English).to_owned(),
            detail: self.detail.clone(),
            next_step: self.code.operator_advice().to_owned(),
            loudness: self.loudness,
        }
        .log(correlation);
    }
}

impl Door {
    pub fn new(
        relay: Arc<Relay>,
        in_force: InForceSource,
        metadata: Arc<dyn Metadata>,
        settings: Settings,
    ) -> Self {
        let parts = Arc::new(parts::Parts::new(&settings.chunk_folder, settings.limits.disk_reserve_bytes));
        let outbox =
            Arc::new(outbox::Outbox::new(&settings.spool_folder, settings.limits.disk_reserve_bytes));
        let recipients = Arc::new(push::Recipients::new(settings.push.per_recipient_max));
        let unproven = unproven::Unproven::new(&relay, settings.unproven, settings.dialog_idle);
        let (unwritable, under_way) = Default::default();
        Self {
            relay,
            in_force,
            metadata,
            settings,
            parts,
            outbox,
            unwritable,
            recipients,
            unproven: Arc::new(unproven),
            under_way,
        }
    }

    /// Forgets uploads and fetches in chunks that were abandoned; says how many. To be called now and then.
    pub async fn sweep(&self) -> std::io::Result<u64> {
        self.parts.sweep(self.relay.now()).await
    }

    /// What we understand, and our limits.
    fn offered(&self) -> FeatureDescription {
        let milliseconds = u64::try_from(parts::AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        FeatureDescription {
            chunk_kilobytes_min: Some(chunk::KILOBYTES_MIN),
            chunk_kilobytes_max: Some(chunk::KILOBYTES_MAX),
            message_kilobytes_max: Some(self.settings.limits.content_bytes_max / chunk::KILOBYTE),
            chunk_timeout: Some(milliseconds),
            ..FeatureDescription::of(Feature::ALL)
        }
    }

    fn takes(&self, path: &str) -> bool {
        let base = self.settings.path.trim_end_matches('/');
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    async fn post(&self, body: Body) -> Response<Body> {
        let correlation = CorrelationId::random();
        let in_force = (self.in_force)();
        let request = match incoming::take(body, in_force.clone(), &self.settings).await {
            Ok(request) => request,
            Err(refused) => return self.fault(&refused, correlation).await,
        };
        let seal = request.seal.clone();
        let answered = match self.perform(request, &in_force, correlation).await {
            Ok(answer) => answer.into_response(in_force, self.offered(), seal, &self.outbox).await,
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(response) => response,
            Err(refused) => self.fault(&refused, correlation).await,
        }
    }

    async fn fault(&self, refused: &Refused, correlation: CorrelationId) -> Response<Body> {
        refused.log(correlation);
        answer::fault(refused, correlation).unwrap_or_else(|error| {
            tracing::error!(%correlation, %error, "a fault could not be written");
            Response::new(net::empty())
        })
    }
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        if !self.takes(request.uri().path()) {
            return plain(StatusCode::NOT_FOUND, "There is no OSCI intermediary at this path.\n");
        }
        if request.method() == Method::POST {
            return self.post(request.into_body()).await;
        }
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only POST is served here.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        response
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(net::full(sentence));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
