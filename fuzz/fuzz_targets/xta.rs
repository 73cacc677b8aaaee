//! The XTA door on arbitrary requests: from the body of a POST to its answer, over a real relay and store.
//!
//! It must not panic, must answer each request with 200 or with a fault of the profile, and must come to the same
//! verdict however the body is cut on the way. What it accepts it must hand out byte for byte: the door checks each
//! part's digest itself, so that reading the answer to its end is the test.
//! Input: one byte for the size of the pieces, one line with the Content-Type, the body.
#![no_main]

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use amtsbote::clock::HandClock;
use amtsbote::domain::account::{Account, AccountKey, AccountName, Rights};
use amtsbote::domain::limits::Limits;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::net::{Body, Handler, Peer};
use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::relay::{Relay, Settings};
use amtsbote::store::embedded::{EmbeddedStore, Settings as StoreSettings, Synchronous};
use amtsbote::store::{AdminAct, Store};
use amtsbote::xta::server::{Door, Settings as DoorSettings};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use libfuzzer_sys::fuzz_target;

/// Requests after which the store is made anew, so that it stays small.
const REQUESTS_MAX: u32 = 20_000;

struct Office {
    runtime: tokio::runtime::Runtime,
    door: Door,
    store: Arc<EmbeddedStore>,
    peer: Peer,
    requests: u32,
    _folder: tempfile::TempDir,
}

thread_local! {
    /// Never dropped by the thread's end, when a runtime can no longer be shut down in peace.
    static OFFICE: RefCell<Option<ManuallyDrop<Office>>> = const { RefCell::new(None) };
}

fn limits() -> Limits {
    Limits { content_bytes_max: 64 * 1024, envelope_bytes_max: 32 * 1024, ..Limits::default() }
}

impl Office {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let memory = std::path::Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder");
        let settings = StoreSettings {
            disk_reserve_bytes: 0,
            synchronous: Synchronous::Normal,
            ..StoreSettings::new(folder.path())
        };
        let store = Arc::new(EmbeddedStore::open(settings).expect("a store"));
        let now: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().expect("an instant");
        let validity = Validity {
            from: "2026-01-01T00:00:00Z".parse().expect("an instant"),
            until: "2030-01-01T00:00:00Z".parse().expect("an instant"),
        };
        let authority = Authority::root("root", KeyChoice::P256, validity).expect("an authority");
        let leaf = Leaf {
            common_name: "office",
            role: Role::Participant,
            key: KeyChoice::P256,
            validity,
            names: &[],
        };
        let issued = authority.issue(&leaf).expect("a certificate");
        let account = Account {
            name: AccountName::parse("office").expect("a name"),
            title: String::new(),
            blocked: false,
            keys: vec![AccountKey {
                key: issued.certificate().key_fingerprint(),
                certificate: None,
                remark: None,
            }],
            identifiers: ["ags:1", "ags:2"]
                .map(|value| PartyIdentifier::new(value).expect("an identifier"))
                .into(),
            accepts: None,
            rights: Rights::default(),
            profile: None,
            osci: Default::default(),
            portal: Default::default(),
        };
        let word = || "fuzz".to_owned();
        let act = AdminAct { at: now, by: word(), act: word(), object: word(), reason: word() };
        let clock = Arc::new(HandClock::at(now));
        let mut settings = Settings::new("fuzz", "https://post.example/xta");
        settings.limits = limits();
        let relay = Relay::new(store.clone(), clock, settings);
        runtime.block_on(async {
            store.apply_directory(0, vec![account], Vec::new(), act).await.expect("applied");
            relay.reload_directory().await.expect("read");
        });
        let pem = authority.certificate().pem();
        let anchors =
            TrustAnchors::builder().anchors(Purpose::ParticipantTls, pem.as_bytes()).expect("an anchor");
        let anchors = Arc::new(anchors.build());
        let settings = DoorSettings { path: "/".to_owned(), limits: limits() };
        let door = Door::new(relay, Arc::new(move || anchors.clone()), settings);
        let chain = issued.identity().expect("an identity");
        let certificates = chain.chain().iter().map(|one| one.der().to_vec().into()).collect();
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), certificates);
        Self { runtime, door, store, peer, requests: 0, _folder: folder }
    }

    /// Status and code of the answer to one request, its body read to the end.
    fn ask(&mut self, content_type: &str, body: &[u8], piece: usize) -> Option<(u16, String)> {
        self.requests += 1;
        let pieces: Vec<_> =
            body.chunks(piece).map(|bytes| Ok(Frame::data(Bytes::copy_from_slice(bytes)))).collect();
        let body: Body = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
        let request = Request::post("/").header("content-type", content_type).body(body).ok()?;
        self.runtime.block_on(async {
            let answer = self.door.handle(request, &self.peer).await;
            let status = answer.status().as_u16();
            let bytes =
                answer.into_body().collect().await.expect("what was stored comes out whole").to_bytes();
            let text = String::from_utf8_lossy(&bytes);
            let code = text.split_once("<code>").and_then(|(_, rest)| rest.split_once("</code>"));
            let code = code.map_or(String::new(), |(code, _)| code.to_owned());
            match status {
                200 => {}
                500 => assert!(code.len() == 4 && code.starts_with('9'), "a fault without a code: {text}"),
                other => panic!("status {other}: {text}"),
            }
            // Nothing that a client sends is the post office's own fault.
            assert!(!(status == 500 && code == "9030"), "an internal error: {text}");
            let code = if status == 500 { code } else { String::new() };
            Some((status, code))
        })
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, rest)) = input.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (line, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let Ok(content_type) = std::str::from_utf8(line) else { return };
    OFFICE.with_borrow_mut(|office| {
        if let Some(full) = office.take_if(|office| office.requests > REQUESTS_MAX) {
            let full = ManuallyDrop::into_inner(full);
            let _ = full.runtime.block_on(full.store.close());
        }
        let office = office.get_or_insert_with(|| ManuallyDrop::new(Office::open()));
        let Some(whole) = office.ask(content_type, body, body.len().max(1)) else { return };
        // What the first one changed (a message taken, confirmed, withdrawn) is answered alike the second time.
        let cut = office.ask(content_type, body, usize::from(size).max(1)).expect("taken before");
        assert_eq!(whole, cut, "in pieces of {}", usize::from(size).max(1));
    });
});
