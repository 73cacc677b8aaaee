//! The portal's side of the submission API: who is competent, announce, hand over, follow.
//!
//! One attempt of one form is one submission, however often it is sent: what was announced and encrypted for it is kept
//! until it was taken, so that a second click, or a try after a broken line, hands over the same bytes under the same id.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use amtsbote::clock::SystemClock;
use amtsbote::domain::destination::{DestinationId, Region, ServiceKey};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::jose::jwe::{self, Zip};
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::tls::anchored_client_config;
use amtsbote::portal::client::{Client, Error, Settings};
use amtsbote::portal::event::{Claims, Event};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::Service;

/// Attempts that are remembered; the oldest goes first.
const ATTEMPTS_MAX: usize = 500;
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
#[derive(Clone)]
pub struct Content {
    pub metadata: String,
    pub data: String,
    pub attachment: Option<String>,
}

/// Session and number of a form.
pub type Key = (String, Uuid);

struct Attempt {
    destination: DestinationId,
    submission: Uuid,
    attachment: Option<Uuid>,
    kid: String,
    /// Of what was entered: another entry is another submission.
    entered: Vec<u8>,
    /// Kept while it is not known to have arrived.
    content: Option<Content>,
    done: bool,
}

type Shared = Arc<Mutex<Option<Attempt>>>;

#[derive(Default)]
struct Attempts {
    by_key: HashMap<Key, (u64, Shared)>,
    count: u64,
}

pub struct Office {
    settings: Settings,
    client: String,
    secret: String,
    places: OnceCell<Vec<(String, String)>>,
    attempts: std::sync::Mutex<Attempts>,
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

    fn attempt(&self, key: &Key) -> Shared {
        let mut attempts = self.attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        attempts.count += 1;
        let count = attempts.count;
        let (_, found) = attempts.by_key.entry(key.clone()).or_insert_with(|| (count, Shared::default()));
        let found = found.clone();
        if attempts.by_key.len() > ATTEMPTS_MAX {
            let oldest =
                attempts.by_key.iter().min_by_key(|(_, (count, _))| *count).map(|(key, _)| key.clone());
            oldest.map(|key| attempts.by_key.remove(&key));
        }
        found
    }

    /// Sends what the form holds, encrypted here; `clear` makes the application once the attachment has its id.
    pub async fn apply(
        &self,
        key: &Key,
        place: &str,
        service: &Service,
        clear: impl Fn(Uuid) -> Clear,
    ) -> Result<(DestinationId, Uuid), Trouble> {
        let shared = self.attempt(key);
        let mut attempt = shared.lock().await;
        let sample = clear(Uuid::nil());
        let file = sample.attachment.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let entered = [place.as_bytes(), b"\n", sample.data.as_bytes(), b"\n", file].concat();
        let entered = digest(&SHA256, &entered).as_ref().to_vec();
        let client = self.client().await?;
        if attempt.as_ref().is_none_or(|one| one.entered != entered) {
            let (begun, key) = begin(&client, place, service, sample.attachment.is_some(), entered).await?;
            let clear = clear(begun.attachment.unwrap_or_default());
            let sealed = |kind: &str, bytes: &[u8]| jwe::seal(&key, kind, bytes).map_err(Error::from);
            let content = Content {
                metadata: sealed(JSON, clear.metadata.as_bytes())?,
                data: sealed(JSON, clear.data.as_bytes())?,
                attachment: clear.attachment.map(|(kind, bytes)| sealed(kind, &bytes)).transpose()?,
            };
            *attempt = Some(Attempt { content: Some(content), ..begun });
        }
        hand_over(&client, attempt.as_mut().ok_or(Trouble::Attempt)?).await
    }

    /// Announces, and tells what a browser needs to encrypt.
    pub async fn prepare(
        &self,
        key: &Key,
        place: &str,
        service: &Service,
        attached: bool,
    ) -> Result<Value, Trouble> {
        let shared = self.attempt(key);
        let mut attempt = shared.lock().await;
        let client = self.client().await?;
        let (begun, public) = begin(&client, place, service, attached, Vec::new()).await?;
        let told = json!({ "attachment": begun.attachment, "key": public.jwk, "service": {
            "name": service.names[0], "identifier": service.key.urn() } });
        // What arrived is not begun anew: sending tells where it is.
        if attempt.as_ref().is_none_or(|one| !one.done) {
            *attempt = Some(begun);
        }
        Ok(told)
    }

    /// Hands over what a browser encrypted.
    pub async fn send(&self, key: &Key, content: Content) -> Result<(DestinationId, Uuid), Trouble> {
        let shared = self.attempt(key);
        let mut attempt = shared.lock().await;
        let attempt = attempt.as_mut().ok_or(Trouble::Attempt)?;
        let sealed = [Some(&content.metadata), Some(&content.data), content.attachment.as_ref()];
        for one in sealed.into_iter().flatten() {
            let facts = jwe::inspect(one, Zip::Refused).map_err(Error::from)?;
            if facts.kid != attempt.kid {
                return Err(Trouble::Attempt);
            }
        }
        if attempt.attachment.is_some() != content.attachment.is_some() {
            return Err(Trouble::Attempt);
        }
        attempt.content.get_or_insert(content);
        hand_over(&self.client().await?, attempt).await
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

async fn begin(
    client: &Client,
    place: &str,
    service: &Service,
    attached: bool,
    entered: Vec<u8>,
) -> Result<(Attempt, PublicKey), Trouble> {
    let region = Region::parse(place).map_err(|error| Trouble::Other(error.to_string()))?;
    let keys = client.service_keys().await?;
    let destination = client.route(&region, &service.key, &keys).await?;
    let key = client.encryption_key(&destination).await?;
    let attachment = attached.then(Uuid::new_v4);
    let submission = announce(client, &destination, &service.key, &service.names[0], attachment).await?;
    let kid = key.kid().to_owned();
    Ok((Attempt { destination, submission, attachment, kid, entered, content: None, done: false }, key))
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

/// Every request of it may be repeated: the post office knows ids and bytes again.
async fn hand_over(client: &Client, attempt: &mut Attempt) -> Result<(DestinationId, Uuid), Trouble> {
    let ids = (attempt.destination.clone(), attempt.submission);
    if attempt.done {
        return Ok(ids);
    }
    let content = attempt.content.clone().ok_or(Trouble::Attempt)?;
    let path = format!("/v2/submissions/{}", attempt.submission);
    if let (Some(id), Some(sealed)) = (attempt.attachment, content.attachment) {
        client.call(Method::PUT, &format!("{path}/attachments/{id}"), "application/jose", sealed).await?;
    }
    let body = json!({ "encryptedMetadata": content.metadata, "encryptedData": content.data });
    client.call(Method::PUT, &path, JSON, body.to_string()).await?;
    attempt.content = None;
    attempt.done = true;
    Ok(ids)
}
