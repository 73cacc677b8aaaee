//! The portal door on arbitrary requests: forms, JSON bodies, encrypted messages, tokens, paths and queries, over a real relay
//! and store.
//!
//! It must not panic and must not fail by itself; each refusal is problem details (of the token endpoint: OAuth's), and only
//! a submission that is taken is stored.
//! Input: one byte for the request (and from 8 on, whether an upload ends with it), then its body, or its path and query.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::clock::HandClock;
use amtsbote::domain::account::{Account, AccountName, Rights};
use amtsbote::domain::content::Digest;
use amtsbote::domain::destination::{
    Destination, DestinationId, DestinationKey, PortalClient, PortalParticipant,
};
use amtsbote::domain::limits::Limits;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::net::{self, Handler, Peer};
use amtsbote::pki::jose::jwe::Zip;
use amtsbote::pki::jose::jws::SigningKey;
use amtsbote::pki::key::PrivateKey;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::portal::server::{Door, Settings as DoorSettings};
use amtsbote::relay::{Relay, Settings};
use amtsbote::store::embedded::{EmbeddedStore, Settings as StoreSettings, Synchronous};
use amtsbote::store::{AdminAct, MessageQuery, Store};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Request};
use serde_json::{Value, json};

/// Requests after which everything is made anew, so that it stays small.
const REQUESTS_MAX: u32 = 20_000;
const BASE: &str = "https://post.example";
const DESTINATION: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
const ATTACHMENT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const JSON: &str = "application/json";
/// After as many requests for a token a minute is over: fewer than an address may guess.
const TOKENS_A_MINUTE: u32 = 16;
const SEALED: &[u8] = include_bytes!("../seeds/portal_door/sealed");

struct Office {
    runtime: tokio::runtime::Runtime,
    door: Door,
    store: Arc<EmbeddedStore>,
    clock: Arc<HandClock>,
    peer: Peer,
    token: String,
    /// Announced with one attachment.
    submission: String,
    /// Made.
    submitted: String,
    requests: u32,
    tokens: u32,
    _folder: tempfile::TempDir,
}

thread_local! {
    /// Never dropped by the thread's end, when a runtime can no longer be shut down in peace.
    static OFFICE: RefCell<Option<ManuallyDrop<Office>>> = const { RefCell::new(None) };
}

fn account() -> Account {
    let jwk = |text: &str| DestinationKey { jwk: text.trim_end().to_owned(), remark: None, former: false };
    let client = PortalClient {
        id: "both".to_owned(),
        secret_sha256: Some(Digest::of(b"secret")),
        sends: true,
        subscribes: true,
    };
    let destination = Destination {
        id: DestinationId::parse(DESTINATION).expect("a UUID"),
        name: String::new(),
        status: Default::default(),
        identifier: None,
        profile: None,
        schemas: Vec::new(),
        metadata_versions: Vec::new(),
        encryption_kid: "authority-encryption-2026".to_owned(),
        keys: vec![
            jwk(include_str!("../../tests/data/portal/encryption.jwk")),
            jwk(include_str!("../../tests/data/portal/signature.jwk")),
        ],
        contact: Default::default(),
        callback: None,
        serves: Vec::new(),
    };
    Account {
        name: AccountName::parse("office").expect("a name"),
        title: String::new(),
        blocked: false,
        keys: Vec::new(),
        identifiers: vec![PartyIdentifier::new("ags:1").expect("an identifier")],
        accepts: None,
        rights: Rights::default(),
        profile: None,
        osci: Default::default(),
        portal: PortalParticipant { clients: vec![client], destinations: vec![destination] },
    }
}

impl Office {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let memory = std::path::Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder");
        let settings = StoreSettings {
            disk_reserve_bytes: 0,
            synchronous: Synchronous::Normal,
            ..StoreSettings::new(folder.path().join("store"))
        };
        let store = Arc::new(EmbeddedStore::open(settings).expect("a store"));
        let now: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().expect("an instant");
        let word = || "fuzz".to_owned();
        let act = AdminAct { at: now, by: word(), act: word(), object: word(), reason: word() };
        let limits = Limits { content_bytes_max: 64 * 1024, disk_reserve_bytes: 0, ..Limits::default() };
        let mut settings = Settings::new("fuzz", "https://post.example/xta");
        settings.limits = limits;
        let clock = Arc::new(HandClock::at(now));
        let relay = Relay::new(store.clone(), clock.clone(), settings);
        runtime.block_on(async {
            store.apply_directory(0, vec![account()], Vec::new(), act).await.expect("applied");
            relay.reload_directory().await.expect("read");
        });
        let pem = PrivateKey::from_pem(include_bytes!("../../tests/data/portal/service.key")).expect("a key");
        let key = SigningKey::from_pkcs8(pem.pkcs8_der().expect("PKCS #8")).expect("an RSA key");
        let claims = json!({
            "iss": BASE, "aud": BASE, "sub": "both", "scope": "send subscribe",
            "iat": now.as_second(), "exp": now.as_second() + 1_000_000, "jti": "x",
        });
        let token = key.sign("at+jwt", &claims).expect("signed");
        let settings = DoorSettings {
            base: BASE.to_owned(),
            folder: folder.path().join("portal"),
            limits,
            submission_bytes_max: 32 * 1024,
            token_seconds: 300,
            requests_per_minute_max: u64::MAX,
            announced_hours: 24,
            uploads_bytes_max: 1 << 20,
            profile: ServiceProfile::standard(),
            zip: Zip::Refused,
        };
        let anchors = Arc::new(TrustAnchors::builder().build());
        let door = Door::new(relay, Arc::new(move || anchors.clone()), key, settings);
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), Vec::new().into());
        let mut office = Self {
            runtime,
            door,
            store,
            clock,
            peer,
            token,
            submission: String::new(),
            submitted: String::new(),
            requests: 0,
            tokens: 0,
            _folder: folder,
        };
        office.announce(&[]);
        assert!(office.play(SEALED[0], &SEALED[1..]), "a submission is made");
        office
    }

    fn announce(&mut self, attachments: &[&str]) {
        let body = json!({
            "destinationId": DESTINATION, "announcedAttachments": attachments,
            "publicService": { "identifier": "99050012104000" },
        });
        let (status, answer) =
            self.ask("POST", "/v2/submissions", JSON, body.to_string().as_bytes()).expect("a request");
        assert_eq!(status, 201);
        self.submission = answer["submissionId"].as_str().expect("an id").to_owned();
    }

    fn stored(&self) -> usize {
        let query = MessageQuery { limit: 1000, ..MessageQuery::default() };
        self.runtime.block_on(self.store.messages(&query)).expect("messages").len()
    }

    /// Status and body of the answer; nothing if there is no such request.
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<(u16, Value)> {
        let (status, _, told) = self.ask_with(method, path, &[("content-type", kind)], body)?;
        Some((status, told))
    }

    fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<(u16, HeaderMap, Value)> {
        self.requests += 1;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(net::full(Bytes::copy_from_slice(body))).ok()?;
        self.runtime.block_on(async {
            let answer = self.door.handle(request, &self.peer).await;
            let status = answer.status().as_u16();
            let headers = answer.headers().clone();
            let bytes =
                answer.into_body().collect().await.expect("what was stored comes out whole").to_bytes();
            // Nothing that a client sends is the post office's own fault.
            assert!(status < 500, "{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
            let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if status >= 400 && method != "HEAD" {
                let kind = headers["content-type"].to_str().expect("text");
                let is_problem = kind == "application/problem+json" && told["type"].is_string();
                assert!(is_problem || told["error"].is_string(), "{method} {path}: {told}");
            }
            Some((status, headers, told))
        })
    }

    /// Whether it was taken.
    fn play(&mut self, which: u8, rest: &[u8]) -> bool {
        let submission = format!("/v2/submissions/{}", self.submission);
        let text = std::str::from_utf8(rest).unwrap_or_default();
        match which % 8 {
            0 => {
                self.tokens += 1;
                if self.tokens.is_multiple_of(TOKENS_A_MINUTE) {
                    self.clock.advance(Duration::from_secs(61));
                }
                let (status, _) =
                    self.ask("POST", "/token", "application/x-www-form-urlencoded", rest).expect("a request");
                assert!(matches!(status, 200 | 400 | 401));
                status == 200
            }
            1 => {
                let (status, told) = self.ask("POST", "/v2/submissions", JSON, rest).expect("a request");
                assert_eq!(status == 201, told["submissionId"].is_string());
                status == 201
            }
            2 => {
                let before = self.stored();
                let (status, _) = self.ask("PUT", &submission, JSON, rest).expect("a request");
                assert_eq!(self.stored(), before + usize::from(status == 200));
                if status == 200 {
                    self.submitted = std::mem::take(&mut self.submission);
                    self.announce(&[ATTACHMENT]);
                }
                status == 200
            }
            3 => {
                let path = format!("/v2/submissions/{}/events", self.submitted);
                let (status, _) = self.ask("POST", &path, "application/jose", rest).expect("a request");
                // It is there, and nobody can sign for the destination.
                assert!(status >= 400 && status != 404);
                false
            }
            4 => {
                let path = format!("{submission}/attachments/{ATTACHMENT}");
                let (status, _) = self.ask("PUT", &path, "application/jose", rest).expect("a request");
                assert!(status == 204 || status >= 400);
                status == 204
            }
            5 => {
                let path = format!("{submission}/attachments/{ATTACHMENT}");
                let (_, stands, _) = self.ask_with("HEAD", &path, &[], b"").expect("a request");
                let at = stands.get("upload-offset").and_then(|at| at.to_str().ok()).unwrap_or("0");
                let headers = [
                    ("content-type", "application/partial-upload"),
                    ("upload-offset", at),
                    ("upload-complete", if which < 8 { "?0" } else { "?1" }),
                ];
                let (status, ..) = self.ask_with("PATCH", &path, &headers, rest).expect("a request");
                let is_whole = stands.get("upload-complete").is_some_and(|value| value == "?1");
                assert_eq!(status == 409, is_whole, "{status}");
                status == 204
            }
            6 => self.ask("GET", &format!("/{text}"), "", b"").is_some_and(|(status, _)| status == 200),
            _ => {
                // A token of their own making.
                let own = std::mem::replace(&mut self.token, text.to_owned());
                let status = self.ask("GET", "/v2/submissions", "", b"").map(|(status, _)| status);
                let is_own = text.trim() == own;
                self.token = own;
                assert!(status.is_none_or(|status| (status == 200) == is_own));
                status == Some(200)
            }
        }
    }
}

/// Whether it was taken.
pub fn look(input: &[u8]) -> bool {
    let Some((&which, rest)) = input.split_first() else { return false };
    OFFICE.with_borrow_mut(|office| {
        if let Some(full) = office.take_if(|office| office.requests > REQUESTS_MAX) {
            let full = ManuallyDrop::into_inner(full);
            let _ = full.runtime.block_on(full.store.close());
        }
        office.get_or_insert_with(|| ManuallyDrop::new(Office::open())).play(which, rest)
    })
}
