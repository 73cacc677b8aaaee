//! A small client of the submission API, as a portal is one: finds who is competent, encrypts, submits, follows.
//!
//! For the demo and for measurements. It believes nothing that is not signed: routes and events are verified with the
//! post office's keys, events of an authority with those of its destination. The subscriber's side is
//! [`super::subscriber`]. Left out: going on with a broken upload.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::event::{self, Claims, Event};
use crate::domain::destination::{ARS_URN, DestinationId, Region, ServiceKey};
use crate::pki::jose;
use crate::pki::jose::jwe;
use crate::pki::jose::jwk::{JwkSet, PublicKey};
use crate::pki::jose::jws::Unverified;
use crate::pki::tls;

/// An answer, unless its caller expects more.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const JSON: &str = "application/json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a URL of the form https://host/path")]
    Url(String),
    #[error("{address} cannot be reached: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Time(Duration),
    /// A refusal by problem details (RFC 9457); `code` is the last part of its type.
    #[error("refused with {status}, {code}: {detail}")]
    Problem { status: StatusCode, code: String, detail: String },
    #[error("the answer is not what was asked for: {0}")]
    Answer(String),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Jose(#[from] jose::Error),
}

pub(super) fn answer(what: impl ToString) -> Error {
    Error::Answer(what.to_string())
}

#[derive(Clone)]
pub struct Settings {
    /// `https://host:port`, or with a path before the API's own.
    pub url: String,
    /// Judges the server: [`crate::pki::tls::client_config`].
    pub tls: Arc<ClientConfig>,
    pub connect_time_max: Duration,
    /// From the request to the end of its answer.
    pub answer_time_max: Duration,
}

impl Settings {
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Self {
        Self {
            url: url.to_owned(),
            tls,
            connect_time_max: Duration::from_secs(15),
            answer_time_max: Duration::from_secs(120),
        }
    }
}

/// Ids of what was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    pub submission: Uuid,
    pub case: Uuid,
}

/// What goes to an authority, in the clear; it is encrypted here.
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    /// JSON in the shape of FIT-Connect's metadata schema.
    pub metadata: &'a [u8],
    pub data: &'a [u8],
    /// Media type of `data`.
    pub data_type: &'a str,
    /// Id, media type, content.
    pub attachments: &'a [(Uuid, &'a str, &'a [u8])],
}

pub struct Client {
    settings: Settings,
    authority: String,
    host: String,
    port: u16,
    path: String,
    token: Option<String>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let wrong = || Error::Url(settings.url.clone());
        let uri: Uri = settings.url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let authority = uri.authority().ok_or_else(wrong)?.to_string();
        let (port, path) = (uri.port_u16().unwrap_or(443), uri.path().trim_end_matches('/').to_owned());
        Ok(Self { settings, authority, host, port, path, token: None, connection: Mutex::default() })
    }

    /// Gets an access token (RFC 6749, 4.4) for all further requests.
    pub async fn log_in(&mut self, client: &str, secret: &str) -> Result<(), Error> {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            escaped(client),
            escaped(secret)
        );
        let kind = "application/x-www-form-urlencoded";
        let told = self.json(Method::POST, "/token", kind, form.into_bytes()).await?;
        let token = told["access_token"].as_str().ok_or_else(|| answer("it has no access_token"))?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    /// Keys of the post office.
    pub async fn service_keys(&self) -> Result<Vec<PublicKey>, Error> {
        self.keys("/.well-known/jwks.json").await
    }

    pub(super) async fn keys(&self, path: &str) -> Result<Vec<PublicKey>, Error> {
        let set: JwkSet = serde_json::from_value(self.ask(path).await?).map_err(answer)?;
        let keys = set.keys.iter().map(|jwk| serde_json::to_string(jwk).map_err(answer));
        keys.map(|text| Ok(PublicKey::parse(&text?)?)).collect()
    }

    /// Places whose name has these words in it: their regions and names.
    pub async fn areas(&self, words: &str) -> Result<Vec<(Region, String)>, Error> {
        let told = self.ask(&format!("/v2/areas?areaSearchexpression={}", escaped(words))).await?;
        let areas = told["areas"].as_array().ok_or_else(|| answer("it has no areas"))?;
        areas
            .iter()
            .map(|area| {
                let id = area["id"].as_str().unwrap_or_default();
                let region = Region::parse(id).map_err(answer)?;
                Ok((region, area["name"].as_str().unwrap_or_default().to_owned()))
            })
            .collect()
    }

    /// Which destination is competent for the service in the region, as the post office signed it.
    pub async fn route(
        &self,
        region: &Region,
        service: &ServiceKey,
        service_keys: &[PublicKey],
    ) -> Result<DestinationId, Error> {
        let told = self.ask(&format!("/v2/routes?ars={}&leikaKey={service}", region.ars())).await?;
        let signature = told["routes"][0]["destinationSignature"].as_str();
        let signature = signature.ok_or_else(|| answer("the route is not signed"))?;
        let read = Unverified::parse(signature, "JWT")?;
        let key = service_keys.iter().find(|key| key.kid() == read.kid).ok_or(jose::Error::KeyUnknown)?;
        let claims: Value = serde_json::from_slice(read.verify(key)?).map_err(answer)?;
        let id = claims["destinationId"].as_str().filter(|_| covers(&claims, region, service));
        let id = id.ok_or_else(|| answer("the route is signed for something else"))?;
        DestinationId::parse(id).map_err(answer)
    }

    /// The key that applications are to be encrypted for.
    pub async fn encryption_key(&self, destination: &DestinationId) -> Result<PublicKey, Error> {
        let told = self.ask(&format!("/v2/destinations/{destination}")).await?;
        let kid = told["encryptionKid"].as_str().ok_or_else(|| answer("it has no encryptionKid"))?;
        let key = self.ask(&format!("/v2/destinations/{destination}/keys/{}", escaped(kid))).await?;
        Ok(PublicKey::parse(&key.to_string())?)
    }

    /// Encrypts, announces, uploads and submits.
    pub async fn submit(
        &self,
        destination: &DestinationId,
        service: &ServiceKey,
        application: Application<'_>,
    ) -> Result<Submitted, Error> {
        let key = self.encryption_key(destination).await?;
        let announced: Vec<Uuid> = application.attachments.iter().map(|(id, ..)| *id).collect();
        let announcement = json!({
            "destinationId": destination,
            "announcedAttachments": announced,
            "publicService": { "identifier": service.urn(), "name": service },
        });
        let told =
            self.json(Method::POST, "/v2/submissions", JSON, announcement.to_string().into_bytes()).await?;
        let id = |name: &str| {
            let text = told[name].as_str().unwrap_or_default();
            Uuid::try_parse(text).map_err(|_| Error::Answer(format!("{name} is missing")))
        };
        let ids = Submitted { submission: id("submissionId")?, case: id("caseId")? };
        let path = format!("/v2/submissions/{}", ids.submission);
        for (attachment, kind, content) in application.attachments {
            let sealed = jwe::seal(&key, kind, content)?;
            let place = format!("{path}/attachments/{attachment}");
            self.call(Method::PUT, &place, "application/jose", sealed.into_bytes()).await?;
        }
        let body = json!({
            "encryptedMetadata": jwe::seal(&key, JSON, application.metadata)?,
            "encryptedData": jwe::seal(&key, application.data_type, application.data)?,
        });
        self.call(Method::PUT, &path, JSON, body.to_string().into_bytes()).await?;
        Ok(ids)
    }

    /// What has happened to a submission, oldest first, each token verified.
    pub async fn events(
        &self,
        submission: Uuid,
        destination: &DestinationId,
        service_keys: &[PublicKey],
    ) -> Result<Vec<(Event, Claims)>, Error> {
        let told = self.ask(&format!("/v2/submissions/{submission}/events")).await?;
        let log = told["eventLog"].as_array().ok_or_else(|| answer("it has no eventLog"))?;
        let of_the_authority = self.keys(&format!("/v2/destinations/{destination}/keys")).await?;
        log.iter()
            .map(|token| {
                let read = Unverified::parse(token.as_str().unwrap_or_default(), event::TYPE)?;
                let claimed: Claims = serde_json::from_slice(read.claimed()).map_err(answer)?;
                let keys = match claimed.iss == destination.as_str() {
                    true => of_the_authority.as_slice(),
                    false => service_keys,
                };
                let key = keys.iter().find(|key| key.kid() == read.kid).ok_or(jose::Error::KeyUnknown)?;
                read.verify(key)?;
                if claimed.sub != format!("submission:{submission}") {
                    return Err(answer("an event is about another submission"));
                }
                let told = Event::ALL.into_iter().find(|one| claimed.events.contains_key(&one.uri()));
                Ok((told.ok_or_else(|| answer("an event of no known kind"))?, claimed))
            })
            .collect()
    }

    pub(super) async fn ask(&self, path: &str) -> Result<Value, Error> {
        self.json(Method::GET, path, "", Vec::new()).await
    }

    async fn json(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Value, Error> {
        let bytes = self.call(method, path, kind, body).await?;
        serde_json::from_slice(&bytes).map_err(answer)
    }

    /// One request of the API's own, as it stands; a refusal is an error.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, Error> {
        self.call_for(method, path, kind, body.into(), ANSWER_BYTES_MAX).await
    }

    /// The same where an answer of up to `bytes_max` is expected.
    pub(super) async fn call_for(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Bytes, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(HOST, &self.authority);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(answer)?;
        let time = self.settings.answer_time_max;
        tokio::time::timeout(time, self.exchange(request, bytes_max)).await.map_err(|_| Error::Time(time))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Bytes, Error> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) if connection.is_ready() => connection,
            _ => self.connect().await?,
        };
        let (head, body) = connection.send_request(request).await?.into_parts();
        let collected = Limited::new(body, bytes_max).collect().await;
        let body = collected.map_err(|error| match error.is::<LengthLimitError>() {
            true => Error::TooLarge(bytes_max),
            false => answer(error),
        });
        let body = body?.to_bytes();
        *held = Some(connection);
        if head.status.is_success() {
            return Ok(body);
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| told[name].as_str();
        let code = text("type").and_then(|kind| kind.rsplit('/').next()).or(text("error"));
        let detail = text("detail").or(text("error_description"));
        Err(Error::Problem {
            status: head.status,
            code: code.unwrap_or_default().to_owned(),
            detail: detail.unwrap_or_default().to_owned(),
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let failed = |source| Error::Connect { address: self.authority.clone(), source };
        let name = tls::server_name(&self.host).map_err(|error| failed(std::io::Error::other(error)))?;
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let connected = async {
            let stream = TcpStream::connect((bare, self.port)).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(self.settings.tls.clone()).connect(name, stream).await
        };
        let time = self.settings.connect_time_max;
        let connected = tokio::time::timeout(time, connected).await.map_err(|_| Error::Time(time))?;
        let (sender, connection) = http1::handshake(TokioIo::new(connected.map_err(failed)?)).await?;
        // It ends with the sender or with the server; either is told by the next call.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

/// Whether what is signed of a route is about this service, and a region that this one lies in.
fn covers(claims: &Value, region: &Region, service: &ServiceKey) -> bool {
    let of_service = &claims["services"][0];
    let area = of_service["gebietIDs"][0].as_str().and_then(|area| area.strip_prefix(ARS_URN));
    let area = area.and_then(|area| Region::parse(area).ok());
    of_service["leistungIDs"][0] == service.urn().as_str()
        && area.is_some_and(|area| region.as_str().starts_with(area.as_str()))
}

/// Percent-encoding of everything but letters and digits.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_for_the_place_and_service_that_were_asked_for() {
        let service = |key: &str| ServiceKey::parse(key).expect("a key");
        let asked = (Region::parse("100410100100").expect("a region"), service("99050012104000"));
        let signed = |area: &str, key: &str| {
            let services = json!([{ "gebietIDs": [area], "leistungIDs": [service(key).urn()] }]);
            covers(&json!({ "services": services }), &asked.0, &asked.1)
        };
        for (ars, good) in [
            ("100410100100", true),
            ("100410000000", true),
            ("100000000000", true),
            ("000000000000", true),
            ("100420000000", false),
            ("100410511511", false),
        ] {
            assert_eq!(signed(&format!("{ARS_URN}{ars}"), "99050012104000"), good, "{ars}");
            assert!(!signed(&format!("{ARS_URN}{ars}"), "99050012105000"), "another service");
            assert!(!signed(ars, "99050012104000"), "no URN");
        }
        assert!(!covers(&json!({}), &asked.0, &asked.1));
    }

    #[test]
    fn what_goes_into_a_query_cannot_leave_it() {
        assert_eq!(escaped("Völk&a=b c/"), "V%C3%B6lk%26a%3Db%20c%2F");
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let tls = Arc::new(tls);
        for wrong in ["http://localhost/", "localhost", ""] {
            assert!(Client::new(Settings::new(wrong, tls.clone())).is_err(), "{wrong}");
        }
        assert!(Client::new(Settings::new("https://localhost:1/submission-api", tls)).is_ok());
    }
}
