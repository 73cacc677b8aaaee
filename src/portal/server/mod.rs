//! The door: HTTP in, the relay's few commands, JSON out, in the shape of FIT-Connect's submission, destination and
//! routing APIs, versions 1 and 2.
//!
//! Both versions are one: paths, media types and fields that differ between them are each served under both. Whose a
//! submission is decides what a client sees of it; what is not his does not exist. Nothing here opens content: an
//! application goes from portal to authority as ciphertext, and lies in the mailbox of the destination's participant,
//! who may as well fetch it by XTA or OSCI. Left out: replies from authority to portal, changing destinations through the
//! API, tokens that are bound to a certificate (RFC 8705, section 3).

mod attachments;
mod claim;
mod draft;
mod drafts;
mod problem;
mod public;
mod receive;
mod send;
mod shared;
mod shared_upload;
mod signed;
mod token;
mod upload;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::callback::Callbacks;
use super::routing::Routing;
use crate::domain::limits::Limits;
use crate::domain::profile::ServiceProfile;
use crate::net::{self, Body, Handler, Peer};
use crate::pki::jose::jwe::Zip;
use crate::pki::jose::jwk::PublicKey;
use crate::pki::jose::jws::SigningKey;
use crate::pki::trust::TrustAnchors;
use crate::relay::Relay;
use crate::report::CorrelationId;
use crate::store::Entry;

use drafts::Drafts;
use problem::Problem;
use receive::EventsOf;
use signed::Signed;

/// Which door a message came through, as its card says.
pub const DOOR: &str = crate::domain::card::DOOR_OF_PORTALS;

/// Time for reading what is left of a refused request.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);
/// A token request, an announcement or an event, in bytes.
const SMALL_BODY_BYTES_MAX: u64 = 256 * 1024;

/// The anchors in force; a reload replaces them.
pub type TrustSource = Arc<dyn Fn() -> Arc<TrustAnchors> + Send + Sync>;

#[derive(Debug, Clone)]
pub struct Settings {
    /// URL that clients know the door by, without a slash at the end: issuer and audience of tokens.
    pub base: String,
    /// Where uploads wait until they are submitted.
    pub folder: PathBuf,
    pub limits: Limits,
    /// Metadata and data of one submission together, in bytes as they are sent.
    pub submission_bytes_max: u64,
    pub token_seconds: u64,
    pub requests_per_minute_max: u64,
    /// What is announced and not submitted is forgotten after so many hours.
    pub announced_hours: u32,
    /// What one client may have uploaded and not submitted, in bytes.
    pub uploads_bytes_max: u64,
    /// Deadlines of submissions whose destination names no profile.
    pub profile: ServiceProfile,
    /// Whether content may have been compressed before it was encrypted.
    pub zip: Zip,
}

/// Public keys for signatures that are published beside the door's own.
#[derive(Debug, Clone, Default)]
pub struct OtherKeys {
    /// Their access tokens are taken: the next one, or the one before, while the key is changed.
    pub believed: Vec<PublicKey>,
    /// For whoever kept what they signed; nothing of theirs is taken.
    pub former: Vec<PublicKey>,
}

pub struct Door {
    relay: Arc<Relay>,
    trust: TrustSource,
    key: SigningKey,
    others: OtherKeys,
    settings: Settings,
    drafts: Arc<Drafts>,
    rates: token::Rates,
    signed: Signed,
    callbacks: Option<Arc<Callbacks>>,
    /// When it was asked whether submissions are taken, in seconds, and what came back.
    health: Mutex<Option<(i64, bool)>>,
    /// The routing table of a revision of the directory.
    routing: Mutex<Option<(u64, Arc<Routing>)>>,
}

impl Door {
    pub fn new(relay: Arc<Relay>, trust: TrustSource, key: SigningKey, settings: Settings) -> Self {
        let drafts = Arc::new(Drafts::new(&settings.folder, settings.limits.disk_reserve_bytes));
        let rates = token::Rates::of(&relay);
        Self {
            relay,
            trust,
            key,
            others: OtherKeys::default(),
            settings,
            drafts,
            rates,
            signed: Signed::default(),
            callbacks: None,
            health: Mutex::default(),
            routing: Mutex::default(),
        }
    }

    #[must_use]
    pub fn with_other_keys(mut self, others: OtherKeys) -> Self {
        self.others = others;
        self
    }

    /// Tells them of each submission.
    #[must_use]
    pub fn with_callbacks(mut self, callbacks: Arc<Callbacks>) -> Self {
        self.callbacks = Some(callbacks);
        self
    }

    /// Forgets announcements that are over, with what was uploaded for them.
    pub async fn sweep(&self) -> std::io::Result<u64> {
        self.drafts.sweep(self.relay.now()).await
    }

    /// Reads what is left of a refused body, so that its client gets round to reading the answer. Bounded by what it might
    /// have sent with leave, and in time; false if something was left.
    async fn drain(&self, body: &mut Body) -> bool {
        let all = async {
            let mut seen = 0u64;
            loop {
                match body.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
                }
                if seen > self.settings.limits.content_bytes_max.saturating_mul(2) {
                    return false;
                }
            }
        };
        tokio::time::timeout(DRAIN_TIME_MAX, all).await.unwrap_or(false)
    }

    fn routing(&self) -> Arc<Routing> {
        let directory = self.relay.directory();
        let mut held = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((revision, routing)) if *revision == directory.revision() => routing.clone(),
            _ => {
                let routing = Arc::new(Routing::of(&directory));
                *held = Some((directory.revision(), routing.clone()));
                routing
            }
        }
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: &mut Body,
        peer: &Peer,
    ) -> Result<Response<Body>, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        // Base URLs of clients: with or without the name of the API, with or without the version.
        let segments = match segments.as_slice() {
            ["submission-api" | "destination-api" | "routing-api", rest @ ..] => rest,
            all => all,
        };
        let segments = match segments {
            ["v1" | "v2", rest @ ..] => rest,
            all => all,
        };
        let Some(allowed) = methods(segments) else {
            return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "nothing is served at this path"));
        };
        if !allowed.split(", ").any(|one| one == method.as_str()) {
            return Err(not_served(allowed));
        }
        if segments.is_empty() {
            return self.page(peer).await;
        }
        if let Some(answered) = self.public(method, segments, query, peer).await? {
            return Ok(answered);
        }
        let is = |wanted: Method| *method == wanted;
        match segments {
            ["token"] if is(Method::POST) => {
                must_be(headers, &["application/x-www-form-urlencoded"])?;
                let form = read(body, SMALL_BODY_BYTES_MAX).await?;
                self.issue_token(headers, &form, peer).await
            }
            ["submissions"] if is(Method::POST) => {
                let caller = self.caller(headers, peer)?;
                caller.must_send()?;
                must_be(headers, JSON)?;
                self.announce(&caller, &read(body, SMALL_BODY_BYTES_MAX).await?).await
            }
            ["submissions"] if is(Method::GET) => {
                let caller = self.caller(headers, peer)?;
                self.list(&caller, query).await
            }
            ["submissions", id] if is(Method::PUT) => {
                let caller = self.caller(headers, peer)?;
                caller.must_send()?;
                must_be(headers, JSON)?;
                let id = submission_id(id)?;
                let submitted = read(body, self.settings.submission_bytes_max).await?;
                self.submit(&caller, id, &submitted).await
            }
            ["submissions", id] if is(Method::GET) => {
                let caller = self.caller(headers, peer)?;
                self.fetch(&caller, submission_id(id)?).await
            }
            ["submissions", id, "attachments", attachment] => {
                let caller = self.caller(headers, peer)?;
                let (id, attachment) = (submission_id(id)?, attachment_id(attachment)?);
                match *method {
                    Method::GET => self.fetch_attachment(&caller, id, attachment).await,
                    Method::HEAD => self.upload_state(&caller, id, attachment).await,
                    Method::PUT => self.upload(&caller, id, attachment, headers, body).await,
                    Method::PATCH => self.upload_more(&caller, id, attachment, headers, body).await,
                    _ => Err(not_served(allowed)),
                }
            }
            ["submissions", id, "events"] => {
                let caller = self.caller(headers, peer)?;
                let whose = EventsOf::Submission(submission_id(id)?);
                self.events(&caller, method, whose, query, headers, body).await
            }
            ["cases", id, "events"] => {
                let caller = self.caller(headers, peer)?;
                let whose = EventsOf::Case(submission_id(id)?);
                self.events(&caller, method, whose, query, headers, body).await
            }
            _ => Err(not_served(allowed)),
        }
    }
}

const JSON: &[&str] =
    &["application/json", "application/vnd.fitkonnekt.v1+json", "application/vnd.fitko.fit-connect.v2+json"];

/// What is served at a path, as `Allow` says it (RFC 9110, section 10.2.1); nothing for a path that there is not.
fn methods(segments: &[&str]) -> Option<&'static str> {
    Some(match segments {
        []
        | ["openapi.json" | "style.css" | "info" | "routes" | "areas" | "problems"]
        | [".well-known", "jwks.json"] => "GET, HEAD",
        ["problems" | "destinations", _] | ["destinations", _, "keys"] | ["destinations", _, "keys", _] => {
            "GET, HEAD"
        }
        ["token"] => "POST",
        ["submissions"] | ["submissions" | "cases", _, "events"] => "GET, POST",
        ["submissions", _] => "GET, PUT",
        ["submissions", _, "attachments", _] => "GET, HEAD, PATCH, PUT",
        _ => return None,
    })
}

fn not_served(allowed: &'static str) -> Problem {
    let mut problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("this method is not served at this path ({allowed})"),
    );
    problem.allow = Some(allowed);
    problem
}

/// The id of the submission that a message of this door is.
pub(super) fn submission_of(entry: &Entry) -> Option<uuid::Uuid> {
    send::uuid_of(&entry.envelope.id)
}

/// The case that a submission belongs to.
pub(super) fn case_of(entry: &Entry) -> Option<uuid::Uuid> {
    send::case_of(entry)
}

/// In whatever case it is spelt; what is no UUID is nobody's submission.
fn submission_id(text: &str) -> Result<uuid::Uuid, Problem> {
    hyphenated(text).ok_or_else(Problem::no_submission)
}

fn attachment_id(text: &str) -> Result<uuid::Uuid, Problem> {
    hyphenated(text)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "attachment-not-announced", "no such attachment"))
}

fn hyphenated(text: &str) -> Option<uuid::Uuid> {
    uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

fn must_be(headers: &HeaderMap, allowed: &[&'static str]) -> Result<(), Problem> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let encoded = headers.get(hyper::header::CONTENT_ENCODING).is_some_and(|value| value != "identity");
    if allowed.contains(&essence.as_str()) && !encoded {
        return Ok(());
    }
    let wanted = allowed.first().copied().unwrap_or_default();
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type",
        format!("this request takes {wanted} without a Content-Encoding"),
    ))
}

fn broken(error: &std::io::Error) -> Problem {
    Problem::bad_request("body-invalid", format!("the body ended too early: {error}"))
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A body that is held as a whole.
async fn read(body: &mut Body, max: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(data) = next(body).await? {
        let seen = bytes.len().saturating_add(data.len()) as u64;
        if seen > max {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("the body has more than {max} bytes"),
            ));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut response = Response::new(net::full(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(net::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A parameter of the query, decoded; the first one counts.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| token::percent(value))
}

/// `limit` and `offset`; the standard's bound is 500.
fn page(query: &str) -> Result<(usize, usize), Problem> {
    let number =
        |name: &str, default: usize, max: usize| match parameter(query, name) {
            None => Ok(default),
            Some(text) => text.parse::<usize>().ok().filter(|number| *number <= max).ok_or_else(|| {
                Problem::bad_request("body-invalid", format!("{name} is no number up to {max}"))
            }),
        };
    Ok((number("offset", 0, 100_000)?, number("limit", 100, 500)?))
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        let correlation = CorrelationId::random();
        let (head, mut body) = request.into_parts();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let mut response = match self.answer(&head.method, path, query, &head.headers, &mut body, peer).await
        {
            Ok(response) => response,
            Err(problem) => {
                let is_left = head.headers.contains_key(EXPECT) || !self.drain(&mut body).await;
                let mut response = problem.into_response(&self.settings.base, correlation);
                if is_left {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("strict-transport-security", HeaderValue::from_static("max-age=31536000"));
        response
    }
}
