//! The portal's side of the submission API: who is competent, announce, hand over, follow.
//!
//! One attempt of one form is one submission, however often it is sent: what was announced and encrypted for it is kept
//! until it was taken, so that a second click, or a try after a broken line, hands over the same bytes under the same id.
//! Once an attempt was handed over, other entries in the same form make no second submission: the reader is told that the
//! first was sent, and a form that is loaded anew is another attempt.
//!
//! Kept, in this process alone: of an attempt its ids for as long as its form can be sent; its content until the post
//! office has taken it, within a bound for all. An attachment goes as soon as it was uploaded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::domain::destination::{DestinationId, Region, ServiceKey};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::jose::jwe::{self, Zip};
use amtsbote::pki::jose::jwk::{Jwk, PublicKey};
use amtsbote::pki::tls::anchored_client_config;
use amtsbote::portal::client::{Client, Error, Settings};
use amtsbote::portal::event::{Claims, Event};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::{SESSION_SECONDS, Service};

/// Attempts that are remembered. Of those that nothing was handed over for the oldest gives way.
const ATTEMPTS_MAX: usize = 10_000;
/// Content of all attempts that is not known to have arrived, in KiB.
const KEPT_KIB_MAX: u32 = 128 * 1024;
/// Metadata and data of one application, encrypted.
const TEXT_BYTES_MAX: usize = 256 * 1024;
const JSON: &str = "application/json";

/// What the reader may know of what went wrong.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody takes this service in this place.
    NoRoute,
    /// Not ours, or not there.
    Unknown,
    /// An attempt that was not prepared here, or is over.
    Attempt,
    /// The attempt was sent before, with other entries.
    Sent(DestinationId, Uuid),
    Other(String),
}

impl Trouble {
    /// For whoever runs the portal; ids and codes, nothing about anybody.
    pub fn log(&self) {
        match self {
            Self::Other(reason) => tracing::warn!(
                reason,
                next_step = "check --office, --anchor, --client and whether the post office runs",
                "the post office did not do what was asked"
            ),
            other => tracing::info!(?other, "refused"),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match &error {
            Error::Problem { code, .. } if code == "no-destination" || code == "ambiguous-route" => {
                Self::NoRoute
            }
            Error::Problem { status, .. } if *status == StatusCode::NOT_FOUND => Self::Unknown,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// An application before it is encrypted.
pub struct Clear {
    pub metadata: String,
    pub data: String,
    /// Media type and content.
    pub attachment: Option<(&'static str, Bytes)>,
}

/// The same, encrypted.
pub struct Content {
    pub metadata: String,
    pub data: String,
    pub attachment: Option<String>,
}

/// On its way, with the room that it takes.
struct Kept {
    /// What the post office is told at last.
    body: Bytes,
    _room: OwnedSemaphorePermit,
    /// Gone once it was uploaded.
    attachment: Option<(Bytes, OwnedSemaphorePermit)>,
    /// The last request was made, and its answer is not known.
    submits: bool,
}

/// Session and number of a form.
pub type Key = (String, Uuid);

struct Attempt {
    destination: DestinationId,
    submission: Uuid,
    attachment: Option<Uuid>,
    key: Jwk,
    /// Of what was entered.
    entered: Vec<u8>,
    /// Kept while it is not known to have arrived.
    content: Option<Kept>,
    done: bool,
}

impl Attempt {
    /// Whether a submission may have come of it.
    fn is_sent(&self) -> bool {
        self.done || self.content.as_ref().is_some_and(|content| content.submits)
    }
}

type Shared = Arc<Mutex<Option<Attempt>>>;

#[derive(Default)]
struct Attempts {
    by_key: HashMap<Key, (Timestamp, Shared)>,
}

impl Attempts {
    /// The attempt of a form, begun where there is none; nothing if too many are under way.
    fn of(&mut self, key: &Key, now: Timestamp) -> Option<Shared> {
        if let Some((_, found)) = self.by_key.get(key) {
            return Some(found.clone());
        }
        if self.by_key.len() >= ATTEMPTS_MAX {
            // Its form cannot be sent any more.
            let is_over = |at: &Timestamp| now.as_second() - at.as_second() > SESSION_SECONDS;
            self.by_key.retain(|_, (at, _)| !is_over(at));
        }
        if self.by_key.len() >= ATTEMPTS_MAX {
            let is_idle = |one: &Shared| match one.try_lock() {
                Ok(attempt) => attempt.as_ref().is_none_or(|attempt| !attempt.is_sent()),
                Err(_) => false,
            };
            let mut idle: Vec<(Timestamp, Key)> = self
                .by_key
                .iter()
                .filter(|(_, (_, one))| is_idle(one))
                .map(|(key, (at, _))| (*at, key.clone()))
                .collect();
            idle.sort();
            for (_, key) in idle.into_iter().take(ATTEMPTS_MAX / 16) {
                self.by_key.remove(&key);
            }
        }
        if self.by_key.len() >= ATTEMPTS_MAX {
            return None;
        }
        let (_, begun) = self.by_key.entry(key.clone()).or_insert((now, Shared::default()));
        Some(begun.clone())
    }
}

pub struct Office {
    settings: Settings,
    client: String,
    secret: String,
    places: OnceCell<Vec<(String, String)>>,
    attempts: std::sync::Mutex<Attempts>,
    room: Arc<Semaphore>,
}

impl Office {
    pub fn new(
        url: &str,
        anchors: &[PathBuf],
        client: &str,
        secret: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut known = Vec::new();
        for path in anchors {
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            known.extend(Certificate::bundle_from_pem(&pem)?);
        }
        let tls = anchored_client_config(&known, Arc::new(SystemClock))?;
        let settings = Settings::new(url, Arc::new(tls));
        Client::new(settings.clone())?;
        Ok(Self {
            settings,
            client: client.to_owned(),
            secret: secret.to_owned(),
            places: OnceCell::new(),
            attempts: std::sync::Mutex::default(),
            room: Arc::new(Semaphore::new(KEPT_KIB_MAX as usize)),
        })
    }

    async fn client(&self) -> Result<Client, Error> {
        let mut client = Client::new(self.settings.clone())?;
        client.log_in(&self.client, &self.secret).await?;
        Ok(client)
    }

    /// Regional keys and names, as the post office knows them.
    pub async fn places(&self) -> Result<&[(String, String)], Trouble> {
        let ask = || async {
            let areas = Client::new(self.settings.clone())?.areas("*").await?;
            let mut places: Vec<(String, String)> =
                areas.into_iter().map(|(region, name)| (region.ars(), name)).collect();
            places.sort_by(|one, other| one.1.cmp(&other.1));
            Ok::<_, Error>(places)
        };
        Ok(self.places.get_or_try_init(ask).await?)
    }

    fn attempt(&self, key: &Key) -> Result<Shared, Trouble> {
        let mut attempts = self.attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = attempts.of(key, SystemClock.now());
        found.ok_or_else(|| Trouble::Other(format!("{ATTEMPTS_MAX} applications are under way")))
    }

    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Trouble> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(KEPT_KIB_MAX);
        let room = self.room.clone().try_acquire_many_owned(kib);
        room.map_err(|_| Trouble::Other(format!("applications of {KEPT_KIB_MAX} KiB are on their way")))
    }

    fn kept(&self, content: Content) -> Result<Kept, Trouble> {
        let Content { metadata, data, attachment } = content;
        if metadata.len() + data.len() > TEXT_BYTES_MAX {
            return Err(Trouble::Attempt);
        }
        let body = json!({ "encryptedMetadata": metadata, "encryptedData": data }).to_string();
        let room = self.room(body.len())?;
        let attachment = match attachment {
            Some(sealed) => {
                let room = self.room(sealed.len())?;
                Some((Bytes::from(sealed), room))
            }
            None => None,
        };
        Ok(Kept { body: body.into(), _room: room, attachment, submits: false })
    }

    /// Sends what the form holds, encrypted here; `clear` makes the application once the attachment has its id.
    pub async fn apply(
        &self,
        key: &Key,
        place: &str,
        service: &Service,
        clear: impl Fn(Uuid) -> Clear,
    ) -> Result<(DestinationId, Uuid), Trouble> {
        let shared = self.attempt(key)?;
        let mut attempt = shared.lock().await;
        let sample = clear(Uuid::nil());
        let file = sample.attachment.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let named = service.key.to_string();
        let parts = [place.as_bytes(), named.as_bytes(), sample.data.as_bytes(), file];
        let entered = digest(&SHA256, &parts.join(&b'\n')).as_ref().to_vec();
        let client = self.client().await?;
        settle(&client, &mut attempt, &entered).await?;
        if attempt.as_ref().is_none_or(|one| !one.is_sent()) {
            let begun = begin(&client, place, service, sample.attachment.is_some(), entered).await?;
            let public =
                serde_json::to_string(&begun.key).map_err(|error| Error::Answer(error.to_string()))?;
            let public = PublicKey::parse(&public).map_err(Error::from)?;
            let clear = clear(begun.attachment.unwrap_or_default());
            let sealed = |kind: &str, bytes: &[u8]| jwe::seal(&public, kind, bytes).map_err(Error::from);
            let content = Content {
                metadata: sealed(JSON, clear.metadata.as_bytes())?,
                data: sealed(JSON, clear.data.as_bytes())?,
                attachment: clear.attachment.map(|(kind, bytes)| sealed(kind, &bytes)).transpose()?,
            };
            *attempt = Some(Attempt { content: Some(self.kept(content)?), ..begun });
        }
        hand_over(&client, &mut attempt).await
    }

    /// Announces, and tells what a browser needs to encrypt. `entered` stands for what was entered and tells us nothing of it.
    pub async fn prepare(
        &self,
        key: &Key,
        place: &str,
        service: &Service,
        attached: bool,
        entered: &str,
    ) -> Result<Value, Trouble> {
        let shared = self.attempt(key)?;
        let mut attempt = shared.lock().await;
        let entered = digest(&SHA256, entered.as_bytes()).as_ref().to_vec();
        let client = self.client().await?;
        settle(&client, &mut attempt, &entered).await?;
        // The same entries go where they were to go, under the same ids.
        let begun = match attempt.take() {
            Some(begun) if begun.entered == entered => begun,
            _ => begin(&client, place, service, attached, entered).await?,
        };
        let told = json!({ "attachment": begun.attachment, "key": begun.key, "service": {
            "name": service.names[0], "identifier": service.key.urn() } });
        *attempt = Some(begun);
        Ok(told)
    }

    /// Hands over what a browser encrypted.
    pub async fn send(&self, key: &Key, content: Content) -> Result<(DestinationId, Uuid), Trouble> {
        let shared = self.attempt(key)?;
        let mut attempt = shared.lock().await;
        let begun = attempt.as_mut().ok_or(Trouble::Attempt)?;
        let sealed = [Some(&content.metadata), Some(&content.data), content.attachment.as_ref()];
        for one in sealed.into_iter().flatten() {
            let facts = jwe::inspect(one, Zip::Refused).map_err(Error::from)?;
            if facts.kid != begun.key.kid {
                return Err(Trouble::Attempt);
            }
        }
        if begun.attachment.is_some() != content.attachment.is_some() {
            return Err(Trouble::Attempt);
        }
        let client = self.client().await?;
        if !begun.is_sent() {
            begun.content = Some(self.kept(content)?);
        }
        hand_over(&client, &mut attempt).await
    }

    /// What happened, the oldest first; each token verified.
    pub async fn events(
        &self,
        destination: &DestinationId,
        submission: Uuid,
    ) -> Result<Vec<(Event, Claims)>, Trouble> {
        let client = self.client().await?;
        let keys = client.service_keys().await?;
        Ok(client.events(submission, destination, &keys).await?)
    }
}

/// What may have been sent with other entries is sent to its end, so that there are no two of it, and the reader told.
async fn settle(client: &Client, attempt: &mut Option<Attempt>, entered: &[u8]) -> Result<(), Trouble> {
    let is_other = attempt.as_ref().is_some_and(|one| one.is_sent() && one.entered != entered);
    if !is_other {
        return Ok(());
    }
    match hand_over(client, attempt).await {
        Ok((destination, submission)) => Err(Trouble::Sent(destination, submission)),
        // Refused for good: nothing came of it.
        Err(_) if attempt.is_none() => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

async fn begin(
    client: &Client,
    place: &str,
    service: &Service,
    attached: bool,
    entered: Vec<u8>,
) -> Result<Attempt, Trouble> {
    let region = Region::parse(place).map_err(|error| Trouble::Other(error.to_string()))?;
    let keys = client.service_keys().await?;
    let destination = client.route(&region, &service.key, &keys).await?;
    let key = client.encryption_key(&destination).await?;
    let attachment = attached.then(Uuid::new_v4);
    let submission = announce(client, &destination, &service.key, &service.names[0], attachment).await?;
    Ok(Attempt { destination, submission, attachment, key: key.jwk, entered, content: None, done: false })
}

async fn announce(
    client: &Client,
    destination: &DestinationId,
    service: &ServiceKey,
    name: &str,
    attachment: Option<Uuid>,
) -> Result<Uuid, Error> {
    let announcement = json!({
        "destinationId": destination,
        "announcedAttachments": attachment.into_iter().collect::<Vec<_>>(),
        "publicService": { "identifier": service.urn(), "name": name },
    });
    let told = client.call(Method::POST, "/v2/submissions", JSON, announcement.to_string()).await?;
    let told: Value = serde_json::from_slice(&told).map_err(|error| Error::Answer(error.to_string()))?;
    let id = told["submissionId"].as_str().and_then(|text| Uuid::try_parse(text).ok());
    id.ok_or_else(|| Error::Answer("submissionId is missing".to_owned()))
}

/// Every request of it may be repeated: the post office knows ids and bytes again. What is refused for good, and an
/// attachment that did not arrive, leaves no attempt behind: nothing was submitted, and the next try begins anew.
async fn hand_over(client: &Client, attempt: &mut Option<Attempt>) -> Result<(DestinationId, Uuid), Trouble> {
    let begun = attempt.as_mut().ok_or(Trouble::Attempt)?;
    let ids = (begun.destination.clone(), begun.submission);
    if begun.done {
        return Ok(ids);
    }
    let content = begun.content.as_mut().ok_or(Trouble::Attempt)?;
    let path = format!("/v2/submissions/{}", begun.submission);
    if let (Some(id), Some((sealed, _))) = (begun.attachment, &content.attachment) {
        let place = format!("{path}/attachments/{id}");
        let uploaded = client.call(Method::PUT, &place, "application/jose", sealed.clone()).await;
        if let Err(error) = uploaded {
            *attempt = None;
            return Err(error.into());
        }
    }
    content.attachment = None;
    content.submits = true;
    if let Err(error) = client.call(Method::PUT, &path, JSON, content.body.clone()).await {
        if is_final(&error) {
            *attempt = None;
        }
        return Err(error.into());
    }
    (begun.content, begun.done) = (None, true);
    Ok(ids)
}

/// Whether a refusal says that nothing was submitted, and would say so again.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Problem { status, .. } => {
            status.is_client_error()
                && ![StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS]
                    .contains(status)
        }
        _ => false,
    }
}
