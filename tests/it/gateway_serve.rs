//! The gateway's process at a real post office: portals submit, the gateway opens and posts, a reader closes; what does not
//! verify is rejected.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::clock::SystemClock;
use amtsbote::domain::destination::DestinationId;
use amtsbote::domain::hex;
use amtsbote::domain::message_id::MessageId;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::jose::jwe;
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::client_config;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::portal::client::Client;
use amtsbote::portal::event::Event;
use amtsbote::xta::client::content::MemorySink;
use amtsbote::xta::client::{Client as Xta, Fetched, Settings};
use amtsbote::xta::message::msg_box::MsgSelector;
use aws_lc_rs::digest::{SHA512, digest};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cli_fixture::{BINARY, Office, amtsbote};
use crate::portal_folder::{self, PORTAL, TOWN, announce, submit, upload};
use crate::portal_office::{DESTINATION, SECRET, SERVICE, seal, tag};
use crate::store_fixture::content;

const READER: &str = "ags:10041100";
/// Of the destination: submissions lie here encrypted.
const SEALED: &str = "fit:10041100";
const SCHEMA: &str = "urn:example:schema";
const TIME_MAX: Duration = Duration::from_secs(60);

/// The process, in a folder of its own within the office's.
pub struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    fn start(office: &Office) -> Self {
        Self::start_at(office, &office.xta, &office.portal)
    }

    /// Reaches the post office's doors at these addresses.
    pub fn start_at(office: &Office, xta: &str, portal: &str) -> Self {
        Self::start_with(office, xta, portal, &[])
    }

    fn start_with(office: &Office, xta: &str, portal: &str, more: &[(&str, &str)]) -> Self {
        let folder = office.path("gateway");
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writes");
        write("enc.key", include_str!("../data/portal/encryption.key"));
        write("sig.key", include_str!("../data/portal/signature.key"));
        write("secret", &format!("{SECRET}\n"));
        let changes = [
            ("https://localhost:8443/", xta),
            ("https://localhost:8445", portal),
            ("gw:100000000000", "psw:100411000000"),
            ("tls/gateway.", "../tls/standesamt."),
            ("tls/ca.", "../tls/ca."),
            ("saarbruecken-gateway", TOWN),
            ("secrets/saarbruecken", "secret"),
            ("\"enc-2026\"", "\"authority-encryption-2026\""),
            ("\"sig-2026\"", "\"authority-signature-2026\""),
            ("keys/enc-2026.key", "enc.key"),
            ("keys/sig-2026.key", "sig.key"),
            ("# schemas = [\"urn:de:example:antrag:1.0\"]", "schemas = [\"urn:example:schema\"]"),
            ("# message_type = ", "message_type = "),
            ("# poll_milliseconds = 5000", "poll_milliseconds = 100"),
            ("# report_seconds = 15", "report_seconds = 1"),
        ];
        let settings = changes.iter().chain(more).fold(
            include_str!("../../src/config/gateway_example.toml").to_owned(),
            |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            },
        );
        write("gateway.toml", &settings);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(office.path("gateway.log"));
        let child = Command::new(BINARY)
            .args(["gateway", "serve"])
            .current_dir(&folder)
            .env_remove("AMTSBOTE_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn();
        Self(child.expect("the binary runs"))
    }

    pub fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

/// Everybody at the office but the gateway.
pub struct World {
    pub office: Office,
    pub runtime: Runtime,
    tls: Arc<ClientConfig>,
}

impl World {
    pub fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let office = Office::open_in(folder, |folder| portal_folder::furnish(folder, Some(SEALED)));
        let tls = portal_folder::tls(office.folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self { office, runtime, tls }
    }

    pub fn portal(&self) -> Client {
        self.runtime.block_on(portal_folder::client(&self.office, &self.tls, PORTAL))
    }

    pub fn reader(&self) -> Xta {
        let file = |name: &str| self.office.path("tls").join(name);
        let pem = std::fs::read(file("ca.crt")).expect("an authority");
        let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &pem).expect("an anchor").build();
        let identity = Identity::load(&file("meldebehoerde.crt"), &file("meldebehoerde.key"));
        let identity = identity.expect("an identity");
        let config = client_config(Arc::new(anchors), Some(&identity), Arc::new(SystemClock));
        let mut settings = Settings::new(&self.office.xta, Arc::new(config.expect("TLS")));
        settings.identifier = Some(crate::xta_office::identifier(READER));
        Xta::new(settings).expect("a client")
    }

    pub fn send(&self, portal: &Client, draft: &Draft) -> Uuid {
        self.runtime.block_on(async {
            let id = announce(portal, &[draft.attachment]).await.expect("announced");
            upload(portal, id, draft.attachment, &draft.sealed_attachment).await.expect("uploaded");
            submit(portal, id, &draft.sealed_metadata, &draft.sealed_data).await.expect("submitted");
            id
        })
    }

    /// The last event of a submission and what it says, once there is a verdict.
    fn verdict(&self, portal: &Client, id: Uuid) -> (Event, Value) {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.log(portal, id).pop()
                && matches!(found.0, Event::Accept | Event::Reject)
            {
                return found;
            }
            assert!(begun.elapsed() < TIME_MAX, "no verdict on {id}: {}", self.told());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self, portal: &Client, id: Uuid) -> Vec<(Event, Value)> {
        let destination = DestinationId::parse(DESTINATION).expect("a UUID");
        let log = self.runtime.block_on(async {
            let keys = portal.service_keys().await.expect("keys");
            portal.events(id, &destination, &keys).await.expect("a log that verifies")
        });
        log.into_iter().map(|(event, claims)| (event, claims.events[&event.uri()].clone())).collect()
    }

    pub fn events(&self, portal: &Client, id: Uuid) -> Vec<Event> {
        self.log(portal, id).into_iter().map(|(event, _)| event).collect()
    }

    pub fn told(&self) -> String {
        std::fs::read_to_string(self.office.path("gateway.log")).unwrap_or_default()
    }

    /// What waits in the clear.
    pub fn waiting(&self, reader: &Xta) -> Vec<MessageId> {
        let page = self.runtime.block_on(reader.list(&MsgSelector::default(), Some(100)));
        page.expect("a list").messages.into_iter().map(|shown| shown.envelope.id).collect()
    }

    pub fn wait_for(&self, reader: &Xta, id: Uuid) -> MessageId {
        let begun = Instant::now();
        loop {
            let there = self.waiting(reader).into_iter().find(|one| one.as_str().ends_with(&id.to_string()));
            if let Some(there) = there {
                return there;
            }
            assert!(begun.elapsed() < TIME_MAX, "{id} does not come: {}", self.told());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn fetch(&self, reader: &Xta, id: &MessageId) -> (Fetched, Vec<Vec<u8>>) {
        let mut sink = MemorySink::default();
        let fetched = self.runtime.block_on(reader.fetch(id, &mut sink)).expect("fetched");
        (fetched, sink.parts.into_values().collect())
    }

    pub fn close(&self, reader: &Xta, id: &MessageId) {
        let (fetched, _) = self.fetch(reader, id);
        let request = fetched.request_id.unwrap_or_default();
        self.runtime.block_on(reader.close(&request, std::slice::from_ref(id))).expect("closed");
    }
}

fn hash(bytes: &[u8]) -> Value {
    json!({ "type": "sha512", "content": hex::lower(digest(&SHA512, bytes).as_ref()) })
}

/// A submission before it goes.
pub struct Draft {
    attachment: Uuid,
    metadata: Value,
    pub data: Vec<u8>,
    pub content: Vec<u8>,
    sealed_metadata: String,
    sealed_data: String,
    pub sealed_attachment: String,
}

impl Draft {
    pub fn new(number: u64) -> Self {
        Self::with(number, |_| {})
    }

    /// `change` may spoil the metadata before they are encrypted.
    fn with(number: u64, change: impl FnOnce(&mut Value)) -> Self {
        let attachment = Uuid::new_v4();
        let data = json!({ "name": "Mümmelmann", "number": number }).to_string().into_bytes();
        let content = content(number, 100_000);
        let mut metadata = json!({
            "$schema": "https://schema.fitko.de/fit-connect/metadata/1.0.0/metadata.schema.json",
            "publicServiceType": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
            "contentStructure": {
                "data": {
                    "hash": hash(&data),
                    "submissionSchema": { "schemaUri": SCHEMA, "mimeType": "application/json" },
                },
                "attachments": [{
                    "attachmentId": attachment, "hash": hash(&content), "purpose": "attachment",
                    "mimeType": "application/pdf", "filename": "../Nachweis.pdf", "description": "Geheimnis",
                }],
            },
        });
        change(&mut metadata);
        Self {
            attachment,
            sealed_metadata: seal(metadata.to_string().as_bytes()),
            sealed_data: seal(&data),
            sealed_attachment: seal(&content),
            metadata,
            data,
            content,
        }
    }
}

#[test]
fn what_a_portal_submits_reaches_its_reader_in_the_clear() {
    let world = World::open();
    let gateway = Gateway::start(&world.office);
    let check = amtsbote(&world.office.path("gateway"), &["gateway", "check", "--json"]);
    // Keys that everybody may read are a problem, and no other is found.
    assert!(check.code == 4 && check.stdout.contains("1 destinations, keys and certificate"), "{check:?}");
    // One that would leave clear content to its reader after the post office has rejected it does not start.
    let settings = std::fs::read_to_string(world.office.path("gateway/gateway.toml")).expect("settings");
    let late = settings.replace("# obsolete_days = 12", "obsolete_days = 13");
    std::fs::write(world.office.path("gateway/late.toml"), late).expect("writes");
    let refused =
        amtsbote(&world.office.path("gateway"), &["gateway", "serve", "--settings", "late.toml"]).ends(2);
    assert!(
        refused.stderr.contains("destination.obsolete_days: 13 days leave no whole day before the 14"),
        "{}",
        refused.stderr
    );
    std::fs::remove_file(world.office.path("gateway/late.toml")).expect("removed");
    let (portal, reader) = (world.portal(), world.reader());
    let draft = Draft::new(1);
    let id = world.send(&portal, &draft);
    let message = world.wait_for(&reader, id);
    assert_eq!(message.as_str(), format!("urn:de:xta:messageid:amtsbote-gateway:{id}"));
    let (fetched, bodies) = world.fetch(&reader, &message);
    let metadata = draft.metadata.to_string().into_bytes();
    assert!(bodies == [draft.data.clone(), metadata, draft.content.clone()], "in the clear, byte for byte");
    let names: Vec<&str> = fetched.parts.iter().filter_map(|part| part.filename.as_deref()).collect();
    assert_eq!(names, ["data.json", "metadata.json", "Nachweis.pdf"]);
    let envelope = &fetched.message.envelope;
    assert_eq!(envelope.author.identifier.value(), "psw:100411000000");
    assert_eq!(envelope.qualifier.message_type.as_ref().map(|kind| kind.code.as_str()), Some("antrag.0100"));
    assert!(envelope.obsolete_after.is_some());

    // Fetched is not accepted; closed is.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.log(&portal, id).len(), 3);
    world.close(&reader, &message);
    let (event, details) = world.verdict(&portal, id);
    assert_eq!(event, Event::Accept);
    let tags = json!({
        "metadata": tag(&draft.sealed_metadata), "data": tag(&draft.sealed_data),
        "attachments": { draft.attachment.to_string(): tag(&draft.sealed_attachment) },
    });
    assert_eq!(details["authenticationTags"], tags);

    // Nothing of it lies where the gateway works, or in its log.
    gateway.kill();
    let names: BTreeSet<String> = std::fs::read_dir(world.office.path("gateway"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    assert_eq!(names, ["enc.key", "gateway.toml", "secret", "sig.key"].map(str::to_owned).into());
    let told = world.told();
    assert!(told.contains("posted to its reader") && told.contains("and accepted"), "{told}");
    for word in ["Mümmelmann", "Geheimnis", "Nachweis", SECRET] {
        assert!(!told.contains(word), "{word}: {told}");
    }
    assert!(!told.contains(" ERROR "), "{told}");
}

/// Changed where it hurts and not where it would be seen at the door.
pub fn tampered(message: &str) -> String {
    let mut parts: Vec<String> = message.split('.').map(str::to_owned).collect();
    let first = if parts[3].starts_with('A') { "B" } else { "A" };
    parts[3].replace_range(0..1, first);
    parts.join(".")
}

/// Under the destination's kid, for somebody else's key.
fn sealed_for_another(content: &[u8]) -> String {
    let mut jwk: Value = serde_json::from_str(include_str!("../data/portal/encryption.jwk")).expect("JSON");
    let other: Value = serde_json::from_str(include_str!("../data/portal/signature.jwk")).expect("JSON");
    jwk["n"] = other["n"].clone();
    let key = PublicKey::parse(&jwk.to_string()).expect("a key");
    jwe::seal(&key, "application/json", content).expect("sealed")
}

#[test]
fn what_does_not_verify_is_rejected_by_its_problem() {
    let world = World::open();
    let portal = world.portal();
    let item = "/contentStructure/attachments/0";
    let spoilt = |pointer: &'static str, value: Value| {
        Draft::with(7, move |metadata| *metadata.pointer_mut(pointer).expect("there") = value)
    };
    let mut damaged = Draft::new(1);
    damaged.sealed_attachment = tampered(&damaged.sealed_attachment);
    let mut foreign = Draft::new(2);
    foreign.sealed_metadata = sealed_for_another(foreign.metadata.to_string().as_bytes());
    let mut no_json = Draft::with(3, |metadata| metadata["contentStructure"]["data"]["hash"] = hash(b"{"));
    no_json.sealed_data = seal(b"{");
    let of = |draft: &Draft| format!("attachment:{}", draft.attachment);
    let bad_hash = spoilt("/contentStructure/attachments/0/hash", hash(b"other"));
    let cases = [
        ("encryption-issue", of(&damaged), damaged),
        ("encryption-issue", "metadata".to_owned(), foreign),
        ("hash-mismatch", "data".to_owned(), spoilt("/contentStructure/data/hash", hash(b"other"))),
        ("hash-mismatch", of(&bad_hash), bad_hash),
        ("syntax-violation", "data".to_owned(), no_json),
        ("schema-violation", "metadata".to_owned(), spoilt("/contentStructure", json!({}))),
        (
            "schema-violation",
            "metadata".to_owned(),
            spoilt("/contentStructure/data/hash", json!({ "type": "md5" })),
        ),
        (
            "unsupported-data-schema",
            "metadata".to_owned(),
            spoilt("/contentStructure/data/submissionSchema/schemaUri", "urn:other".into()),
        ),
        (
            "attachments-mismatch",
            "metadata".to_owned(),
            Draft::with(8, |metadata| {
                metadata.pointer_mut(item).expect("there")["attachmentId"] = json!(Uuid::new_v4());
            }),
        ),
        (
            "service-mismatch",
            "metadata".to_owned(),
            spoilt("/publicServiceType/identifier", "urn:de:fim:leika:leistung:99107023017000".into()),
        ),
    ];
    let sent: Vec<(Uuid, &str, String)> = cases
        .iter()
        .map(|(code, instance, draft)| (world.send(&portal, draft), *code, instance.clone()))
        .collect();
    let good = world.send(&portal, &Draft::new(9));
    let gateway = Gateway::start(&world.office);
    for (id, code, instance) in &sent {
        let (event, details) = world.verdict(&portal, *id);
        assert_eq!(event, Event::Reject, "{code}");
        let problem = &details["problems"][0];
        let expected = format!("https://schema.fitko.de/fit-connect/events/problems/{code}");
        assert_eq!(
            (problem["type"].as_str(), problem["instance"].as_str()),
            (Some(expected.as_str()), Some(instance.as_str())),
            "{problem}"
        );
    }
    let reader = world.reader();
    world.wait_for(&reader, good);
    assert_eq!(world.waiting(&reader).len(), 1, "nothing else came through");
    gateway.kill();
    // Started again, it says nothing a second time.
    let before = sent.iter().map(|(id, ..)| world.log(&portal, *id).len()).sum::<usize>();
    let gateway = Gateway::start(&world.office);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(sent.iter().map(|(id, ..)| world.log(&portal, *id).len()).sum::<usize>(), before);
    gateway.kill();
    assert!(!world.told().contains(" ERROR "), "{}", world.told());
}

/// The door does not look into it; whoever opens it inflates it no further than its bound, and goes on with the next.
#[test]
fn what_inflates_beyond_its_bound_reaches_nobody() {
    let world = World::open();
    let (portal, reader) = (world.portal(), world.reader());
    let seed = include_bytes!("../../fuzz/seeds/jose_header/zip-bomb");
    let bomb = std::str::from_utf8(&seed[1..]).expect("text").to_owned();
    assert!(bomb.len() < 4 * 1024, "it has a mebibyte in the clear");
    let (mut metadata, mut attachment) = (Draft::new(1), Draft::new(2));
    metadata.sealed_metadata = bomb.clone();
    attachment.sealed_attachment = bomb;
    let bombs = [&metadata, &attachment].map(|draft| world.send(&portal, draft));
    let good = world.send(&portal, &Draft::new(3));
    let bound = [("# submission_bytes_max = 134217728", "submission_bytes_max = 500000")];
    let gateway = Gateway::start_with(&world.office, &world.office.xta, &world.office.portal, &bound);
    world.wait_for(&reader, good);
    let begun = Instant::now();
    while bombs.iter().any(|id| !world.told().contains(&id.to_string())) {
        assert!(begun.elapsed() < TIME_MAX, "{}", world.told());
        std::thread::sleep(Duration::from_millis(100));
    }
    gateway.kill();
    assert_eq!(world.waiting(&reader).len(), 1, "nothing else came through");
    let told = world.told();
    for id in bombs {
        let line = told.lines().find(|line| line.contains(&id.to_string())).expect("a line");
        assert!(line.contains("gateway-too-large"), "{line}");
        assert_eq!(world.log(&portal, id).len(), 3, "whether it is too large is for its owner to say");
    }
}

#[test]
fn a_gateway_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| amtsbote(folder.path(), arguments);
    let absent = run(&["gateway", "serve"]).ends(2);
    assert!(absent.stderr.contains("amtsbote gateway init"), "{}", absent.stderr);
    run(&["gateway", "init"]).ends(0);
    run(&["gateway", "init"]).ends(1);
    let check = run(&["gateway", "check"]).ends(4);
    assert!(check.stdout.contains("office.certificate"), "{}", check.stdout);
    let serve = run(&["gateway", "serve"]).ends(2);
    assert!(
        serve.stderr.contains("office.certificate") && serve.stderr.contains("gateway check"),
        "{}",
        serve.stderr
    );
}
