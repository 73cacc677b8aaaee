//! A portal door on a real socket beside the XTA door, and both ends of it, for the tests of the door.

use std::sync::Arc;

use amtsbote::domain::account::Account;
use amtsbote::domain::content::Digest;
use amtsbote::domain::destination::{
    Destination, DestinationId, DestinationKey, PortalClient, PortalParticipant, Region, Serves, ServiceKey,
};
use amtsbote::domain::limits::Limits;
use amtsbote::domain::profile::{ProfileName, ServiceProfile};
use amtsbote::net::{Bounds, Listener, Permits, Serving};
use amtsbote::pki::jose::jwe::{self, OpeningKey, Zip};
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::jose::jws::SigningKey;
use amtsbote::pki::key::PrivateKey;
use amtsbote::portal::callback::Callbacks;
use amtsbote::portal::problems;
use amtsbote::portal::server::{Door, OtherKeys, Settings};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::xta_office;

pub const BASE: &str = "https://portal.example";
pub const DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
/// Of the portal's own account.
pub const OTHER_DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a02";
pub const SERVICE: &str = "99050012104000";
pub const ATTACHMENT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
pub const OTHER_ATTACHMENT: &str = "aaaaaaaa-0000-4000-8000-000000000002";
pub const SECRET: &str = "a secret of the portal's";

pub struct Office {
    pub xta: xta_office::Office,
    door: Option<(Serving, Arc<Door>)>,
    port: u16,
    settings: Settings,
    other_keys: OtherKeys,
    callbacks: Option<Arc<Callbacks>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A refusal of this type, which is documented.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) {
        assert!(problems::ALL.iter().any(|one| one.code == code), "{code} is not explained");
        let answer = self.is(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        let kind = problem["type"].as_str().expect("a type");
        assert!(kind.ends_with(&format!("/problems/{code}")), "{kind}, not {code}: {problem}");
        assert_eq!(problem["status"], status);
    }
}

/// A door on a socket of its own; it closes when dropped.
pub struct SecureDoor {
    port: u16,
    _serving: Serving,
}

impl SecureDoor {
    /// A request on a connection that shows the certificate of one of the cast, or none.
    pub async fn ask(&self, office: &Office, who: Option<&str>, request: Request<Full<Bytes>>) -> Answer {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        let name = amtsbote::pki::tls::server_name("localhost").expect("a name");
        let tls = tokio_rustls::TlsConnector::from(office.xta.tls(who));
        asked(tls.connect(name, stream).await.expect("TLS"), request).await
    }
}

pub async fn asked(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Answer {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

fn pkcs8(pem: &str) -> Vec<u8> {
    PrivateKey::from_pem(pem.as_bytes()).expect("a key").pkcs8_der().expect("PKCS #8").to_vec()
}

pub fn service_key() -> SigningKey {
    SigningKey::from_pkcs8(&pkcs8(include_str!("../data/portal/service.key"))).expect("a key")
}

pub fn authority_key() -> SigningKey {
    let key = SigningKey::from_pkcs8(&pkcs8(include_str!("../data/portal/signature.key"))).expect("a key");
    key.named("authority-signature-2026")
}

/// Signed well, whatever the header says: nothing but a rule about headers refuses it.
pub fn signed_under(pem: &str, head: &str, claims: &Value) -> String {
    use amtsbote::pki::jose::encode;
    let key = aws_lc_rs::rsa::KeyPair::from_pkcs8(&pkcs8(pem)).expect("a key");
    let signed = format!("{}.{}", encode(head), encode(claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    let how = &aws_lc_rs::signature::RSA_PSS_SHA512;
    key.sign(how, &random, signed.as_bytes(), &mut signature).expect("signed");
    format!("{signed}.{}", encode(signature))
}

pub const SERVICE_PEM: &str = include_str!("../data/portal/service.key");
pub const AUTHORITY_PEM: &str = include_str!("../data/portal/signature.key");

pub fn open(message: &str) -> Vec<u8> {
    let der = pkcs8(include_str!("../data/portal/encryption.key"));
    let key = OpeningKey::from_pkcs8("authority-encryption-2026", &der).expect("a key");
    jwe::open(message, &key, 1 << 20).expect("opens")
}

/// Encrypted for the destination.
pub fn seal(content: &[u8]) -> String {
    let key = PublicKey::parse(include_str!("../data/portal/encryption.jwk")).expect("a key");
    jwe::seal(&key, "application/octet-stream", content).expect("sealed")
}

pub fn tag(message: &str) -> &str {
    message.rsplit('.').next().expect("parts")
}

pub fn destination(id: &str) -> Destination {
    let key = |jwk: &str| DestinationKey { jwk: jwk.trim_end().to_owned(), remark: None, former: false };
    Destination {
        id: DestinationId::parse(id).expect("a UUID"),
        name: "Meldewesen <b>Saarbrücken</b>".to_owned(),
        status: Default::default(),
        identifier: None,
        profile: None,
        schemas: vec!["urn:example:schema".to_owned()],
        metadata_versions: vec!["1.0.0".to_owned()],
        encryption_kid: "authority-encryption-2026".to_owned(),
        keys: vec![
            key(include_str!("../data/portal/signature.jwk")),
            key(include_str!("../data/portal/encryption.jwk")),
        ],
        contact: Default::default(),
        callback: None,
        serves: vec![Serves {
            services: vec![ServiceKey::parse(SERVICE).expect("a key")],
            regions: vec![Region::parse("10041").expect("a region")],
            valid_from: None,
            valid_until: None,
        }],
    }
}

fn client(id: &str, sends: bool, subscribes: bool) -> PortalClient {
    let secret_sha256 = Some(Digest::of(SECRET.as_bytes()));
    PortalClient { id: id.to_owned(), secret_sha256, sends, subscribes }
}

/// Deadlines of submissions whose destination names no profile.
pub fn profile() -> ServiceProfile {
    ServiceProfile {
        name: ProfileName::parse("urn:amtsbote:profile:portal").expect("a name"),
        expiry_days: 14,
        reminder_days: 3,
        retain_payload_days: 7,
        retain_card_days: 730,
        ..ServiceProfile::standard()
    }
}

/// `author` sends, `reader` has the destination; `author` has one as well, and may fetch there.
fn admit(account: &mut Account) {
    let (clients, destinations) = match account.name.as_str() {
        "author" => {
            (vec![client("portal", true, false), client("both", true, true)], vec![OTHER_DESTINATION])
        }
        _ => (vec![client("town", false, true)], vec![DESTINATION]),
    };
    account.rights.services = None;
    let own = account.identifiers.first().map(|own| own.value().to_owned());
    let destinations = destinations
        .into_iter()
        .map(|id| Destination { identifier: own.clone(), ..destination(id) })
        .collect();
    account.portal = PortalParticipant { clients, destinations };
}

impl Office {
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub async fn open_with(change: impl FnOnce(&mut Settings)) -> Self {
        let limits =
            Limits { content_bytes_max: 4 * 1024 * 1024, disk_reserve_bytes: 0, ..Limits::default() };
        let xta = xta_office::Office::open_with(limits).await;
        for name in ["author", "reader"] {
            xta.change_account(name, admit).await;
        }
        let mut settings = Settings {
            base: BASE.to_owned(),
            folder: xta.folder().join("portal"),
            limits,
            submission_bytes_max: 1024 * 1024,
            token_seconds: 300,
            requests_per_minute_max: 10_000,
            announced_hours: 24,
            uploads_bytes_max: 64 * 1024 * 1024,
            profile: profile(),
            zip: Zip::Refused,
        };
        change(&mut settings);
        let mut office =
            Self { xta, door: None, port: 0, settings, other_keys: OtherKeys::default(), callbacks: None };
        office.start().await;
        office
    }

    async fn start(&mut self) {
        let (_, anchors) = self.xta.door_tls();
        let trust = Arc::new(move || anchors.clone());
        let mut door = Door::new(self.xta.relay.clone(), trust, service_key(), self.settings.clone())
            .with_other_keys(self.other_keys.clone());
        if let Some(callbacks) = &self.callbacks {
            door = door.with_callbacks(callbacks.clone());
        }
        let door = Arc::new(door);
        let address = ([127, 0, 0, 1], 0).into();
        let listener =
            Listener::plain(address, Bounds::default(), Permits::new(64)).await.expect("a listener");
        self.port = listener.address().expect("an address").port();
        self.door = Some((listener.serve(door.clone()), door));
    }

    /// From here on each submission is told to these.
    pub async fn call_with(&mut self, callbacks: Arc<Callbacks>) {
        self.callbacks = Some(callbacks);
        self.restart_door().await;
    }

    /// The door alone, as after a restart: nothing of it is kept but what lies on disk and in the store.
    pub async fn restart_door(&mut self) {
        let (serving, _) = self.door.take().expect("a door");
        serving.drain().await;
        self.start().await;
    }

    /// The door as after a restart with another configuration.
    pub async fn restart_door_with(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.restart_door().await;
    }

    /// The door as after a restart with these keys beside its own.
    pub async fn restart_door_beside(&mut self, keys: OtherKeys) {
        self.other_keys = keys;
        self.restart_door().await;
    }

    /// Door, relay and store, as after a restart of the whole process.
    pub async fn restart(&mut self) {
        let (serving, _) = self.door.take().expect("a door");
        serving.drain().await;
        self.xta.restart().await;
        self.start().await;
    }

    pub async fn sweep(&self) -> u64 {
        self.door.as_ref().expect("a door").1.sweep().await.expect("swept")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same door as it stands in the field: behind TLS, which asks for a certificate and insists on none.
    pub async fn behind_tls(&self) -> SecureDoor {
        let (source, _) = self.xta.door_tls();
        let address = ([127, 0, 0, 1], 0).into();
        let bounds = Bounds { drain: std::time::Duration::from_secs(1), ..Bounds::default() };
        let listener = Listener::tls(address, source, bounds, Permits::new(64)).await.expect("a listener");
        let port = listener.address().expect("an address").port();
        let door = self.door.as_ref().expect("a door").1.clone();
        SecureDoor { port, _serving: listener.serve(door) }
    }

    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        asked(stream, request).await
    }

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "portal.example");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        self.ask(request.body(Full::new(body.into())).expect("a request")).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, "", "").await
    }

    pub async fn token_answer(&self, form: &str) -> Answer {
        self.call("POST", "/token", "", "application/x-www-form-urlencoded", form.to_owned()).await
    }

    pub async fn token(&self, client: &str) -> String {
        let secret = SECRET.replace(' ', "+").replace('\'', "%27");
        let form = format!("grant_type=client_credentials&client_id={client}&client_secret={secret}");
        let answer = self.token_answer(&form).await.is(200).json();
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Announces a submission with these attachments.
    pub async fn announce(&self, token: &str, attachments: &[&str]) -> (String, String) {
        self.announce_to(DESTINATION, token, attachments).await
    }

    pub async fn announce_to(
        &self,
        destination: &str,
        token: &str,
        attachments: &[&str],
    ) -> (String, String) {
        let ids = self.announce_in(destination, token, attachments, None).await.is(201).json();
        let text = |name: &str| ids[name].as_str().expect("an id").to_owned();
        (text("submissionId"), text("caseId"))
    }

    /// In a case that has begun, or in one of its own.
    pub async fn announce_in(
        &self,
        destination: &str,
        token: &str,
        attachments: &[&str],
        case: Option<&str>,
    ) -> Answer {
        let mut body = json!({
            "destinationId": destination,
            "announcedAttachments": attachments,
            "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}"), "name": "Anmeldung" },
        });
        if let Some(case) = case {
            body["caseId"] = case.into();
        }
        self.call("POST", "/v2/submissions", token, "application/json", body.to_string()).await
    }

    pub async fn upload(&self, token: &str, submission: &str, attachment: &str, sealed: &str) -> Answer {
        let path = format!("/v2/submissions/{submission}/attachments/{attachment}");
        self.call("PUT", &path, token, "application/jose", sealed.to_owned()).await
    }

    pub async fn submit(&self, token: &str, submission: &str, metadata: &str, data: &str) -> Answer {
        let body = json!({ "encryptedMetadata": metadata, "encryptedData": data }).to_string();
        self.call("PUT", &format!("/v2/submissions/{submission}"), token, "application/json", body).await
    }

    /// A whole submission with one attachment; its ids, and what was sent.
    pub async fn submitted(&self, token: &str) -> Sent {
        let ids = self.announce(token, &[ATTACHMENT]).await;
        self.submitted_as(token, ids).await
    }

    /// The same as it was announced.
    pub async fn submitted_as(&self, token: &str, (submission, case): (String, String)) -> Sent {
        let sent = Sent {
            metadata: seal(b"{}"),
            data: seal("{\"name\":\"Müller\"}".as_bytes()),
            attachment: seal(&[7; 300_000]),
            submission,
            case,
        };
        self.upload(token, &sent.submission, ATTACHMENT, &sent.attachment).await.is(204);
        self.submit(token, &sent.submission, &sent.metadata, &sent.data).await.is(200);
        sent
    }

    pub async fn log(&self, path: &str, token: &str) -> Vec<Value> {
        let answer = self.get(path, token).await.is(200).json();
        verified(&answer["eventLog"])
    }

    pub async fn event_names(&self, path: &str, token: &str) -> Vec<String> {
        let log = self.log(path, token).await;
        log.iter()
            .map(|claims| {
                let events = claims["events"].as_object().expect("events");
                assert_eq!(events.len(), 1);
                events.keys().next().and_then(|uri| uri.rsplit('/').next()).expect("a name").to_owned()
            })
            .collect()
    }

    pub async fn say(&self, token: &str, sent: &Sent, said: &str) -> Answer {
        let path = format!("/v2/submissions/{}/events", sent.submission);
        self.call("POST", &path, token, "application/jose", said.to_owned()).await
    }
}

/// The claims of an event log, each signature verified.
pub fn verified(log: &Value) -> Vec<Value> {
    let service =
        PublicKey::parse(&serde_json::to_string(service_key().jwk()).expect("JSON")).expect("a key");
    let authority = PublicKey::parse(include_str!("../data/portal/signature.jwk")).expect("a key");
    let log = log.as_array().expect("a log");
    log.iter()
        .map(|token| {
            let token = token.as_str().expect("a token");
            let read = parsed(token);
            let claims: Value = serde_json::from_slice(read.claimed()).expect("claims");
            let key = if claims["iss"] == BASE { &service } else { &authority };
            read.verify(key).expect("verifies");
            claims
        })
        .collect()
}

fn parsed(token: &str) -> amtsbote::pki::jose::jws::Unverified<'_> {
    amtsbote::pki::jose::jws::Unverified::parse(token, "secevent+jwt").expect("a token")
}

pub struct Sent {
    pub submission: String,
    pub case: String,
    pub metadata: String,
    pub data: String,
    pub attachment: String,
}

impl Sent {
    pub fn events(&self) -> String {
        format!("/v2/submissions/{}/events", self.submission)
    }

    pub fn claims(&self, event: &str, details: Value) -> Value {
        json!({
            "jti": uuid::Uuid::new_v4().to_string(),
            "iss": DESTINATION,
            "iat": xta_office::start().as_second(),
            "sub": format!("submission:{}", self.submission),
            "txn": format!("case:{}", self.case),
            "events": { format!("https://schema.fitko.de/fit-connect/events/{event}"): details },
        })
    }

    pub fn accept(&self) -> Value {
        self.claims(
            "accept-submission",
            json!({ "authenticationTags": {
                "metadata": tag(&self.metadata),
                "data": tag(&self.data),
                "attachments": { ATTACHMENT: tag(&self.attachment) },
            } }),
        )
    }

    pub fn reject(&self) -> Value {
        self.claims(
            "reject-submission",
            json!({ "problems": [{
                "type": "https://schema.fitko.de/fit-connect/events/problems/incorrect-attachment",
                "title": "t", "detail": "d", "instance": format!("attachment:{ATTACHMENT}"),
            }] }),
        )
    }
}

pub fn signed(claims: &Value) -> String {
    authority_key().sign("secevent+jwt", claims).expect("signed")
}
