//! The life of messages through the relay over the embedded store, on a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock};
use amtsbote::domain::account::{Account, AccountName, Rights};
use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::envelope::{Envelope, Instant, Party, Qualifier};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::{MailboxName, PartyIdentifier};
use amtsbote::domain::profile::{ProfileName, ServiceProfile};
use amtsbote::domain::state::{DeliveryState as S, Event};
use amtsbote::evidence::checkpoint::{Checkpoint, SigningKey};
use amtsbote::evidence::export::{self, Trust};
use amtsbote::evidence::record::RecordEvent;
use amtsbote::relay::{HeadKeeper, Outlet, PushVerdict, Refusal, Relay, Service, Settings, Submission};
use amtsbote::store::embedded::{self, EmbeddedStore};
use amtsbote::store::{Accepted, AdminAct, Entry, PayloadReader, Selection, Store, StoreError};
use async_trait::async_trait;
use jiff::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

fn id(text: &str) -> MessageId {
    MessageId::parse(text).expect("a well-formed id")
}

fn party(text: &str) -> PartyIdentifier {
    PartyIdentifier::new(text).expect("a well-formed identifier")
}

fn mailbox(text: &str) -> MailboxName {
    MailboxName::parse(text).expect("a well-formed name")
}

fn account(name: &str, identifiers: &[&str]) -> Account {
    Account {
        name: AccountName::parse(name).expect("a well-formed name"),
        title: String::new(),
        blocked: false,
        keys: Vec::new(),
        identifiers: identifiers.iter().map(|text| party(text)).collect(),
        accepts: None,
        rights: Rights { foreign_message_ids: true, ..Rights::default() },
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    }
}

fn profile(name: &str, adjust: impl FnOnce(&mut ServiceProfile)) -> ServiceProfile {
    let mut profile = ServiceProfile::standard();
    profile.name = ProfileName::parse(name).expect("a well-formed name");
    adjust(&mut profile);
    profile
}

/// A post office with an author (ags:1), a reader (ags:2, ags:22), a stranger (ags:3) and an orderly reader (ags:4).
struct World {
    clock: HandClock,
    store: Arc<EmbeddedStore>,
    relay: Arc<Relay>,
    folder: tempfile::TempDir,
}

fn open(folder: &std::path::Path) -> Arc<EmbeddedStore> {
    let mut settings = embedded::Settings::new(folder);
    settings.disk_reserve_bytes = 0;
    settings.inline_bytes_max = 1024;
    settings.synchronous = embedded::Synchronous::Normal;
    Arc::new(EmbeddedStore::open(settings).expect("the folder is ours"))
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed("post.example.org/evidence", &[5; 32]).expect("any 32 bytes are a seed"))
}

impl World {
    async fn new() -> Self {
        // In memory where there is such a place: what a power cut leaves behind is the engine's own test.
        let memory = std::path::Path::new("/dev/shm");
        let folder =
            tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder for the store");
        let clock = HandClock::at("2026-11-23T08:00:00Z".parse().expect("an instant"));
        let store = open(folder.path());
        let mut orderly = account("orderly", &["ags:4"]);
        orderly.profile = Some(ProfileName::parse("ordered").expect("a well-formed name"));
        let mut announcer = account("announcer", &["ags:5"]);
        announcer.rights.foreign_message_ids = false;
        let accounts = vec![
            account("author", &["ags:1"]),
            account("reader", &["ags:2", "ags:22"]),
            account("stranger", &["ags:3"]),
            orderly,
            announcer,
        ];
        let push = |profile: &mut ServiceProfile| {
            profile.push_attempts_max = 3;
            profile.push_backoff_first_seconds = 100;
            profile.push_backoff_max_seconds = 1000;
        };
        let profiles = vec![
            profile("ordered", |profile| {
                profile.ordered = true;
                push(profile);
            }),
            profile("pushed", push),
            profile("urn:sync", |profile| {
                (profile.synchronous, profile.asynchronous) = (true, false);
                profile.synchronous_wait_seconds = 1;
            }),
        ];
        let act = AdminAct {
            at: clock.now(),
            by: "test".to_owned(),
            act: "participant apply".to_owned(),
            object: "all".to_owned(),
            reason: "beginning".to_owned(),
        };
        store.apply_directory(0, accounts, profiles, act).await.expect("the directory is consistent");
        let relay = Self::relay(&store, &clock).await;
        Self { clock, store, relay, folder }
    }

    async fn relay(store: &Arc<EmbeddedStore>, clock: &HandClock) -> Arc<Relay> {
        let mut settings = Settings::new("amt", "https://post.example.org");
        settings.answer_poll_interval = Duration::from_millis(50);
        settings.checkpoint_interval = Duration::from_millis(50);
        let relay = Relay::new(store.clone(), Arc::new(clock.clone()), settings);
        relay.sign_checkpoints_with(key());
        relay.reload_directory().await.expect("the store answers");
        relay
    }

    /// Stops everything and begins anew from what is on the disk.
    async fn restart(self) -> Self {
        let Self { clock, store, relay, folder } = self;
        store.close().await.expect("the store closes");
        // The old engine must let go of its lock before the next one takes it.
        drop((relay, store));
        let store = open(folder.path());
        let relay = Self::relay(&store, &clock).await;
        Self { clock, store, relay, folder }
    }

    fn who(&self, name: &str) -> Account {
        let name = AccountName::parse(name).expect("a well-formed name");
        self.relay.directory().account(&name).cloned().expect("a known account")
    }

    async fn submission(
        &self,
        from: &str,
        to: &str,
        name: &str,
        body: &[u8],
        adjust: impl FnOnce(&mut Envelope),
    ) -> Submission {
        let of = |text| Party { identifier: party(text), security_tokens: Vec::new() };
        let mut envelope = Envelope {
            id: id(name),
            test: false,
            author: of(from),
            sender: None,
            reply_to: None,
            reader: of(to),
            other_readers: Vec::new(),
            cc_readers: Vec::new(),
            in_reply_to: Vec::new(),
            process_ref: None,
            qualifier: Qualifier::default(),
            properties: Vec::new(),
            origin: None,
            not_before: None,
            obsolete_after: None,
            service_quality: None,
            receipt_requests: None,
            token_container: None,
            stated_size: None,
        };
        adjust(&mut envelope);
        let mut writer = self.relay.payload_writer().await.expect("there is room");
        for piece in body.chunks(700) {
            writer.write(piece).await.expect("there is room");
        }
        let payload = writer.seal().await.expect("there is room");
        let part = Part {
            role: PartRole::Message,
            offset: 0,
            length: body.len() as u64,
            digest: Digest::of(body),
            content_type: "application/xml".to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        };
        let wire = [serde_json::to_vec(&envelope).expect("plain data"), body.to_vec()].concat();
        Submission {
            envelope,
            manifest: Manifest { parts: vec![part] },
            payload,
            request_digest: Digest::of(&wire),
            door: "test",
            certificates: Vec::new(),
        }
    }

    async fn send_with(
        &self,
        to: &str,
        name: &str,
        adjust: impl FnOnce(&mut Envelope),
    ) -> Result<Accepted, Refusal> {
        let submission = self.submission("ags:1", to, name, name.as_bytes(), adjust).await;
        self.relay.accept(&self.who("author"), submission).await
    }

    async fn send(&self, to: &str, name: &str) -> Result<Accepted, Refusal> {
        self.send_with(to, name, |_| {}).await
    }

    async fn listed(&self, name: &str) -> Vec<String> {
        let listing = self.relay.list(&self.who(name), None, Selection::default(), 0, 1000).await;
        let entries = listing.expect("the store answers").entries;
        entries.iter().map(|entry| entry.envelope.id.to_string()).collect()
    }

    async fn state(&self, name: &str) -> S {
        self.store.find(&id(name)).await.expect("the message is there").card.state
    }

    async fn pass(&self, time: Duration) -> u32 {
        self.clock.advance(time);
        self.relay.tick().await.expect("the store answers")
    }

    fn after(&self, time: Duration) -> Option<Instant> {
        Some(Instant { at: self.clock.now().checked_add(time).expect("not far away"), text: String::new() })
    }

    async fn body(&self, entry: &Entry) -> Vec<u8> {
        let part = &entry.manifest.parts[0];
        drain(self.relay.open_part(entry, part).await.expect("the payload is there")).await
    }
}

async fn drain(mut reader: Box<dyn PayloadReader>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = reader.next().await.expect("the payload is readable") {
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn exactly_once_by_id() {
    let mut world = World::new().await;
    assert_eq!(world.send("ags:2", "m-1").await, Ok(Accepted::New));
    assert_eq!(world.send("ags:2", "m-1").await, Ok(Accepted::Before));
    world = world.restart().await;
    assert_eq!(world.send("ags:2", "m-1").await, Ok(Accepted::Before));
    let other = world.submission("ags:1", "ags:2", "m-1", b"other bytes", |_| {}).await;
    assert_eq!(world.relay.accept(&world.who("author"), other).await, Err(Refusal::IdUsed));
    let theirs = world.submission("ags:3", "ags:2", "m-1", b"m-1", |_| {}).await;
    assert_eq!(world.relay.accept(&world.who("stranger"), theirs).await, Err(Refusal::IdUsed));
    assert_eq!(world.listed("reader").await, ["m-1"]);

    let announcer = world.who("announcer");
    let foreign = world.submission("ags:5", "ags:2", "m-2", b"x", |_| {}).await;
    assert_eq!(world.relay.accept(&announcer, foreign).await, Err(Refusal::IdNotIssued));
    let issued = world.relay.announce(&announcer).await.expect("ids are free");
    assert!(issued.as_str().starts_with("urn:de:xta:messageid:amt:"), "{issued}");
    let stolen = world.submission("ags:1", "ags:2", issued.as_str(), b"x", |_| {}).await;
    assert_eq!(world.relay.accept(&world.who("author"), stolen).await, Err(Refusal::IdNotIssued));
    let good = world.submission("ags:5", "ags:2", issued.as_str(), b"x", |_| {}).await;
    assert_eq!(world.relay.accept(&announcer, good).await, Ok(Accepted::New));
}

#[tokio::test]
async fn a_retry_after_the_rules_changed_is_answered_as_before() {
    let world = World::new().await;
    let over = world.after(HOUR);
    let send = async |name: &str| {
        world.send_with("ags:2", name, |envelope| envelope.obsolete_after = over.clone()).await
    };
    assert_eq!(send("m-1").await, Ok(Accepted::New));
    world.pass(HOUR * 2).await;
    assert_eq!(world.state("m-1").await, S::Expired);
    assert_eq!(send("m-1").await, Ok(Accepted::Before));
    let refused = Refusal::ParameterInvalid { what: "ObsoleteAfter is over".to_owned() };
    assert_eq!(send("m-2").await, Err(refused.clone()));
    let other = world.submission("ags:1", "ags:2", "m-1", b"other bytes", |envelope| {
        envelope.obsolete_after = over.clone()
    });
    assert_eq!(world.relay.accept(&world.who("author"), other.await).await, Err(refused));
}

#[tokio::test]
async fn held_until_not_before_and_cancelled_only_until_then() {
    let mut world = World::new().await;
    let (author, reader) = (world.who("author"), world.who("reader"));
    let later = world.after(HOUR);
    for name in ["m-1", "m-2"] {
        assert_eq!(world.send_with("ags:2", name, |e| e.not_before = later.clone()).await, Ok(Accepted::New));
    }
    world.send("ags:2", "m-3").await.expect("an ordinary message");
    assert_eq!(world.listed("reader").await, ["m-3"]);
    for refused in [
        world.relay.hand_out(&reader, None, &id("m-1")).await.err(),
        world.relay.receive(&reader, None, &id("m-1")).await.err(),
        world.relay.card(&reader, None, &id("m-1")).await.err(),
        world.relay.cancel(&world.who("stranger"), &id("m-1")).await.err(),
        world.relay.cancel(&author, &id("m-unknown")).await.err(),
    ] {
        assert_eq!(refused, Some(Refusal::UnknownMessage));
    }
    assert_eq!(world.relay.cancel(&author, &id("m-3")).await, Err(Refusal::NotBeforeNotSet));
    assert_eq!(world.relay.cancel(&author, &id("m-1")).await, Ok(()));
    assert_eq!(world.relay.cancel(&author, &id("m-1")).await, Ok(()), "a repeated request is harmless");
    world = world.restart().await;
    assert_eq!(world.pass(HOUR - Duration::from_secs(1)).await, 0);
    assert_eq!(world.listed("reader").await, ["m-3"]);
    assert_eq!(world.pass(Duration::from_secs(1)).await, 1);
    assert_eq!(world.relay.cancel(&author, &id("m-2")).await, Err(Refusal::NotBeforePassed));
    assert_eq!(world.listed("reader").await.len(), 2);
    assert_eq!(world.state("m-1").await, S::Cancelled);
    let card = world.store.find(&id("m-2")).await.expect("it is there").card;
    assert_eq!(card.delivered_at, Some(world.clock.now()), "it entered the mailbox when it was released");
}

#[tokio::test]
async fn handed_out_is_not_received() {
    let mut world = World::new().await;
    let reader = world.who("reader");
    let body: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
    let long = world.submission("ags:1", "ags:22", "m-1", &body, |_| {}).await;
    world.relay.accept(&world.who("author"), long).await.expect("an ordinary message");
    let first = world.relay.hand_out(&reader, None, &id("m-1")).await.expect("it waits");
    assert_eq!(world.body(&first).await, body);
    world = world.restart().await;
    assert_eq!(world.listed("reader").await, ["m-1"], "not confirmed, so it is offered again");
    world.clock.advance(HOUR);
    let again = world.relay.hand_out(&reader, Some(&party("ags:22")), &id("M-1")).await;
    assert_eq!(again.err(), Some(Refusal::UnknownMessage), "ids that are no URNs compare exactly");
    let again =
        world.relay.hand_out(&reader, Some(&party("ags:22")), &id("m-1")).await.expect("it is still there");
    assert_eq!(again.card.first_handed_out_at, first.card.first_handed_out_at);
    assert_eq!(world.body(&again).await, body);
    let received = world.relay.receive(&reader, None, &id("m-1")).await.expect("it is his");
    world.clock.advance(HOUR);
    let twice = world.relay.receive(&reader, None, &id("m-1")).await.expect("saying it twice is harmless");
    assert_eq!(received, twice);
    assert!(world.listed("reader").await.is_empty());
    assert_eq!(world.relay.hand_out(&reader, None, &id("m-1")).await.err(), Some(Refusal::UnknownMessage));
    let logged = world.store.evidence_of(&id("m-1")).await.expect("the log answers").len();
    assert_eq!(logged, 4, "accepted, handed out twice, received once");
}

#[tokio::test]
async fn fetching_again_and_again_fills_neither_card_nor_log() {
    let world = World::new().await;
    let reader = world.who("reader");
    world.send("ags:2", "m-1").await.expect("an ordinary message");
    for _ in 0..200 {
        let entry = world.relay.hand_out(&reader, None, &id("m-1")).await.expect("it is still there");
        assert_eq!(entry.card.state, S::HandedOut);
    }
    let logged = world.store.evidence_of(&id("m-1")).await.expect("the log answers").len();
    assert_eq!(logged, 1 + 16, "accepted, and handed out until nothing new is said by it");
    let received = world.relay.receive(&reader, None, &id("m-1")).await.expect("it is his");
    assert_eq!(received.steps.len(), 1 + 16 + 1);
    world.relay.sign_checkpoint().await.expect("the log is whole");
    let proof = world.relay.export_evidence(&id("m-1")).await.expect("it is logged");
    export::verify(&proof, &Trust::keys([key().verifier().clone()])).expect("card and log agree");
}

#[tokio::test]
async fn a_stranger_sees_nothing() {
    let world = World::new().await;
    world.send("ags:2", "m-1").await.expect("an ordinary message");
    let stranger = world.who("stranger");
    let foreign = || Some(Refusal::NotYourIdentifier { claimed: "ags:2".to_owned() });
    let all = party("*");
    for as_reader in [None, Some(&all)] {
        let listing =
            world.relay.list(&stranger, as_reader, Selection::default(), 0, 10).await.expect("his own list");
        assert!(listing.entries.is_empty() && listing.pending == 0);
        for refused in [
            world.relay.hand_out(&stranger, as_reader, &id("m-1")).await.err(),
            world.relay.receive(&stranger, as_reader, &id("m-1")).await.err(),
            world.relay.card(&stranger, as_reader, &id("m-1")).await.err(),
        ] {
            assert_eq!(refused, Some(Refusal::UnknownMessage));
        }
    }
    let theirs = party("ags:2");
    let smuggled = Selection { mailboxes: vec![mailbox("ags:2")], ..Selection::default() };
    let listing = world.relay.list(&stranger, None, smuggled.clone(), 0, 10).await.expect("his own list");
    assert!(listing.entries.is_empty(), "mailboxes in a selection are the relay's to fill");
    let nobody = account("nobody", &[]);
    let listing = world.relay.list(&nobody, None, smuggled, 0, 10).await.expect("no list at all");
    assert!(listing.entries.is_empty(), "no mailbox is not every mailbox");
    for refused in [
        world.relay.list(&stranger, Some(&theirs), Selection::default(), 0, 10).await.err(),
        world.relay.hand_out(&stranger, Some(&theirs), &id("m-1")).await.err(),
        world.relay.receive(&stranger, Some(&theirs), &id("m-1")).await.err(),
        world.relay.card(&stranger, Some(&theirs), &id("m-1")).await.err(),
        world.relay.card(&stranger, Some(&theirs), &id("m-unknown")).await.err(),
    ] {
        assert_eq!(refused, foreign());
    }
    assert_eq!(world.state("m-1").await, S::Waiting);
    assert!(world.relay.card(&world.who("author"), None, &id("m-1")).await.is_ok());
}

#[tokio::test]
async fn a_reader_can_be_looked_up() {
    let world = World::new().await;
    let mut author = world.who("author");
    author.rights.services = Some(vec!["urn:a".to_owned()]);
    for (reader, service, expected) in [
        ("ags:2", "urn:a", Service::Offered),
        ("ags:2", "urn:b", Service::NotOffered),
        ("ags:99", "urn:a", Service::NotOffered),
        ("*", "urn:a", Service::NotOffered),
    ] {
        assert_eq!(
            world.relay.look_up(&author, &party(reader), service).await,
            Ok(expected),
            "{reader} {service}"
        );
    }
}

#[tokio::test]
async fn reminded_expired_and_forgotten_in_time() {
    let mut world = World::new().await;
    let reader = world.who("reader");
    world.send("ags:2", "m-read").await.expect("an ordinary message");
    world.send("ags:2", "m-left").await.expect("an ordinary message");
    world.relay.receive(&reader, None, &id("m-read")).await.expect("it is his");
    assert_eq!(world.pass(DAY * 3).await, 1, "a reminder for the one that was left");
    assert_eq!(world.relay.tick().await, Ok(0), "and only one");
    let card = world.store.find(&id("m-left")).await.expect("it is there").card;
    assert_eq!(card.findings.last().map(|finding| finding.code.as_str()), Some("not-fetched"));

    assert_eq!(world.pass(DAY * 27).await, 1, "the payload of the one that was read");
    assert!(!world.store.find(&id("m-read")).await.expect("its card stays").has_payload);
    assert!(world.store.find(&id("m-left")).await.expect("it waits").has_payload);
    assert_eq!(world.pass(DAY * 60).await, 1);
    assert_eq!(world.state("m-left").await, S::Expired);
    assert!(world.listed("reader").await.is_empty());
    assert_eq!(world.relay.receive(&reader, None, &id("m-left")).await.err(), Some(Refusal::UnknownMessage));

    world = world.restart().await;
    assert_eq!(
        world.pass(DAY * 1005).await,
        2,
        "the payload of the one that was left, the card of the other"
    );
    assert_eq!(
        world.relay.card(&world.who("author"), None, &id("m-read")).await.err(),
        Some(Refusal::UnknownMessage)
    );
    assert_eq!(
        world.send("ags:2", "m-read").await,
        Ok(Accepted::Before),
        "its id stays used, and by these bytes"
    );
    let other = world.submission("ags:1", "ags:2", "m-read", b"other bytes", |_| {}).await;
    assert_eq!(world.relay.accept(&world.who("author"), other).await, Err(Refusal::IdUsed));
    let proof = world.relay.export_evidence(&id("m-read")).await.expect("the evidence stays");
    let proof = export::verify(&proof, &Trust::keys([key().verifier().clone()])).expect("it is whole");
    let events: Vec<_> = proof.records().map(|(_, record)| record.event).collect();
    let expected = [
        Event::Accepted.into(),
        Event::Received.into(),
        Event::PayloadPurged.into(),
        RecordEvent::CardPurged,
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn operators_hold_release_cancel_and_put_back() {
    let world = World::new().await;
    world.send("ags:2", "m-1").await.expect("an ordinary message");
    let relay = &world.relay;
    let card = relay.hold(&id("m-1"), "root", "looks odd").await.expect("it waits");
    assert_eq!(
        card.steps.last().map(|step| (step.by.as_deref(), step.reason.as_deref())),
        Some((Some("root"), Some("looks odd")))
    );
    assert!(world.listed("reader").await.is_empty());
    let twice = relay.hold(&id("m-1"), "root", "again").await;
    assert_eq!(twice, Err(Refusal::StateForbids { state: S::Held, what: "held" }));
    world.pass(DAY).await;
    assert_eq!(world.state("m-1").await, S::Held, "no timer releases what an operator holds");
    relay.release(&id("m-1"), "root", "fine").await.expect("it is held");
    assert_eq!(world.listed("reader").await, ["m-1"]);
    relay.cancel_as_operator(&id("m-1"), "root", "author called").await.expect("it waits");
    assert!(world.listed("reader").await.is_empty());
    world.clock.advance(DAY);
    let card = relay.requeue(&id("m-1"), "root", "author called again").await.expect("it is cancelled");
    assert_eq!(card.expires_at, ServiceProfile::after_days(world.clock.now(), 90), "with all its time anew");
    assert_eq!(world.listed("reader").await, ["m-1"]);
    let acts = world.store.acts(10).await.expect("the store answers");
    let named: Vec<_> = acts.iter().filter(|act| act.object == "m-1").map(|act| act.act.as_str()).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    relay.cancel_as_operator(&id("m-1"), "root", "for good").await.expect("it waits");
    world.pass(DAY * 31).await;
    let late = relay.requeue(&id("m-1"), "root", "too late").await;
    assert!(matches!(late, Err(Refusal::ParameterInvalid { .. })), "{late:?}");
}

/// A destination that says what the test wants and remembers what it was given.
struct Recorder {
    name: &'static str,
    verdicts: Mutex<Vec<PushVerdict>>,
    seen: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Recorder {
    /// Answers with these, last one first, and then confirms everything.
    fn new(name: &'static str, verdicts: Vec<PushVerdict>) -> Arc<Self> {
        Arc::new(Self { name, verdicts: Mutex::new(verdicts), seen: Mutex::default() })
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panicked").iter().map(|(id, _)| id.clone()).collect()
    }
}

fn busy() -> PushVerdict {
    PushVerdict::TryLater { reason: "busy".to_owned() }
}

#[async_trait]
impl Outlet for Recorder {
    async fn push(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> PushVerdict {
        let body = drain(payload).await;
        self.seen.lock().expect("nobody panicked").push((entry.envelope.id.to_string(), body));
        self.verdicts.lock().expect("nobody panicked").pop().unwrap_or(PushVerdict::Received)
    }

    fn destination(&self) -> &str {
        self.name
    }
}

#[tokio::test]
async fn pushed_again_until_dead_and_put_back_by_an_operator() {
    let mut world = World::new().await;
    let outlet = Recorder::new("tired", vec![busy(), busy(), busy()]);
    world.relay.add_outlet(vec![mailbox("ags:2")], outlet.clone());
    world
        .send_with("ags:2", "m-1", |e| e.service_quality = Some("pushed".to_owned()))
        .await
        .expect("accepted");
    assert_eq!(world.relay.push_once().await, Ok(1));
    assert_eq!(world.relay.push_once().await, Ok(0), "it waits for its pause");
    assert_eq!(world.state("m-1").await, S::Waiting);
    world.clock.advance(Duration::from_secs(49));
    assert_eq!(world.relay.push_once().await, Ok(0), "half of the pause is certain");
    world.clock.advance(Duration::from_secs(51));
    assert_eq!(world.relay.push_once().await, Ok(1));
    world = world.restart().await;
    world.relay.add_outlet(vec![mailbox("ags:2")], outlet.clone());
    world.clock.advance(Duration::from_secs(200));
    assert_eq!(world.relay.push_once().await, Ok(1), "attempts are counted across restarts");
    assert_eq!(world.state("m-1").await, S::Dead);
    let card = world.store.find(&id("m-1")).await.expect("it is there").card;
    let reason = card.steps.last().and_then(|step| step.reason.clone()).unwrap_or_default();
    assert_eq!(reason, "given up after 3 attempts: busy");
    world.clock.advance(DAY);
    assert_eq!(world.relay.push_once().await, Ok(0));
    world.relay.requeue(&id("m-1"), "root", "the destination is repaired").await.expect("it is dead");
    assert_eq!(world.relay.push_once().await, Ok(1));
    assert_eq!(world.state("m-1").await, S::Received);
    let bodies: Vec<_> = outlet.seen.lock().expect("nobody panicked").clone();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|(_, body)| body == b"m-1"), "byte for byte each time");
}

#[tokio::test]
async fn order_is_kept_where_the_profile_says_so_and_refused_means_dead() {
    let world = World::new().await;
    for name in ["m-1", "m-2", "m-3"] {
        world.send("ags:4", name).await.expect("an ordinary message");
        world.send("ags:2", &format!("free-{name}")).await.expect("an ordinary message");
    }
    let orderly =
        Recorder::new("orderly", vec![PushVerdict::Refused { reason: "damaged".to_owned() }, busy()]);
    let free = Recorder::new("free", vec![busy()]);
    world.relay.add_outlet(vec![mailbox("ags:4")], orderly.clone());
    world.relay.add_outlet(vec![mailbox("ags:2")], free.clone());
    assert_eq!(world.relay.push_once().await, Ok(4));
    assert_eq!(orderly.seen(), ["m-1"], "nothing passes the first one");
    assert_eq!(free.seen(), ["free-m-1", "free-m-2", "free-m-3"]);
    world.clock.advance(Duration::from_secs(100));
    world.relay.push_once().await.expect("the store answers");
    assert_eq!(orderly.seen(), ["m-1", "m-1", "m-2", "m-3"]);
    assert_eq!(world.state("m-1").await, S::Dead, "refused for good");
    assert_eq!(world.state("m-3").await, S::Received);
}

#[tokio::test]
async fn a_dead_destination_uses_up_no_attempts_and_delays_nobody() {
    let world = World::new().await;
    for n in 0..8 {
        world.send("ags:2", &format!("m-{n}")).await.expect("an ordinary message");
    }
    world.send("ags:3", "other").await.expect("an ordinary message");
    let (down, up) = (Recorder::new("down", vec![busy(); 8]), Recorder::new("up", Vec::new()));
    world.relay.add_outlet(vec![mailbox("ags:2")], down.clone());
    world.relay.add_outlet(vec![mailbox("ags:3")], up.clone());
    assert_eq!(world.relay.push_once().await, Ok(6), "five in a row open the circuit");
    assert_eq!(up.seen(), ["other"]);
    assert_eq!(down.seen().len(), 5);
    assert_eq!(world.relay.push_once().await, Ok(0));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.relay.push_once().await, Ok(1), "one trial");
    assert_eq!(down.seen().len(), 6);
    for _ in 0..20 {
        world.clock.advance(HOUR);
        world.relay.push_once().await.expect("the store answers");
    }
    assert!((0..8).all(|n| down.seen().contains(&format!("m-{n}"))));
    assert!(world.listed("reader").await.is_empty(), "everything was delivered in the end");
}

/// Never answers.
struct Hanging(AtomicBool);

#[async_trait]
impl Outlet for Hanging {
    async fn push(&self, _: &Entry, _: Box<dyn PayloadReader>) -> PushVerdict {
        self.0.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    fn destination(&self) -> &str {
        "hanging"
    }
}

#[tokio::test]
async fn at_work_a_hanging_destination_delays_nobody_and_the_log_is_signed() {
    let world = World::new().await;
    let hanging = Arc::new(Hanging(AtomicBool::new(false)));
    let (fine, late) = (Recorder::new("fine", Vec::new()), Recorder::new("late", Vec::new()));
    world.relay.add_outlet(vec![mailbox("ags:2")], hanging.clone());
    world.relay.add_outlet(vec![mailbox("ags:3")], fine.clone());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let work = tokio::spawn(world.relay.clone().run(stopped));
    world.send("ags:2", "m-stuck").await.expect("an ordinary message");
    let soon = async |what: &str, done: &dyn Fn() -> bool| {
        let wait = async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{what}");
    };
    soon("the hanging destination was tried", &|| hanging.0.load(Ordering::SeqCst)).await;
    world.send("ags:3", "m-fine").await.expect("an ordinary message");
    soon("the other one was served", &|| fine.seen() == ["m-fine"]).await;
    world.relay.add_outlet(vec![mailbox("ags:4")], late.clone());
    world.send("ags:4", "m-late").await.expect("an ordinary message");
    soon("one that came later was served", &|| late.seen() == ["m-late"]).await;
    let held = world.after(Duration::from_secs(1));
    world.send_with("ags:3", "m-held", |e| e.not_before = held).await.expect("an ordinary message");
    world.clock.advance(Duration::from_secs(1));
    soon("the timer released it and it was pushed", &|| fine.seen().len() == 2).await;
    let signed = async {
        loop {
            let note = world.store.checkpoint(None).await.expect("the store answers");
            let size = world.store.evidence_size().await.expect("the store answers");
            if note
                .is_some_and(|note| Checkpoint::open(&note, key().verifier()).is_ok_and(|it| it.size == size))
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), signed).await.is_ok(),
        "the log is signed while it grows"
    );
    stop.send(true).expect("it listens");
    let ended = tokio::time::timeout(Duration::from_secs(20), work).await;
    assert!(
        ended.is_ok_and(|ended| ended.is_ok()),
        "a hanging push does not keep the post office from stopping"
    );
}

impl World {
    /// The author's question under a profile that lets him wait, and the reader's answer to it.
    async fn question(&self, name: &str) -> Submission {
        let asked = |envelope: &mut Envelope| envelope.service_quality = Some("urn:sync".to_owned());
        self.submission("ags:1", "ags:2", name, name.as_bytes(), asked).await
    }

    async fn answer(&self, from: &str, name: &str, to: &str) -> Result<Accepted, Refusal> {
        let replied = |envelope: &mut Envelope| {
            envelope.service_quality = Some("urn:sync".to_owned());
            envelope.in_reply_to = vec![id(to)];
        };
        let who = if from == "ags:3" { "stranger" } else { "reader" };
        let answer = self.submission(from, "ags:1", name, name.as_bytes(), replied).await;
        self.relay.accept(&self.who(who), answer).await
    }
}

#[tokio::test]
async fn the_author_waits_for_the_readers_answer() {
    let mut world = World::new().await;
    let plain = world.question("q-1").await;
    assert_eq!(world.relay.accept(&world.who("author"), plain).await, Err(Refusal::SynchronousOnly));
    let waiting = world.submission("ags:1", "ags:2", "q-2", b"q", |_| {}).await;
    let refused = world.relay.accept_and_wait(&world.who("author"), waiting).await;
    assert_eq!(refused.err(), Some(Refusal::AsynchronousOnly));

    let (question, author) = (world.question("q-1").await, world.who("author"));
    let relay = world.relay.clone();
    let waits = tokio::spawn(async move { relay.accept_and_wait(&author, question).await });
    while world.listed("reader").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.answer("ags:3", "a-0", "q-1").await, Err(Refusal::SynchronousOnly), "it was not asked");
    let relates = |envelope: &mut Envelope| envelope.in_reply_to = vec![id("q-1")];
    let forged = world.submission("ags:3", "ags:1", "f-1", b"f", relates).await;
    assert_eq!(
        world.relay.accept(&world.who("stranger"), forged).await,
        Ok(Accepted::New),
        "an ordinary message"
    );
    assert_eq!(world.answer("ags:2", "a-1", "q-1").await, Ok(Accepted::New));
    let answer = waits.await.expect("nobody panicked").expect("the answer came");
    assert_eq!(answer.entry.envelope.id, id("a-1"));
    assert_eq!(answer.entry.card.state, S::HandedOut, "its bytes are not with the author yet");
    assert_eq!(world.body(&answer.entry).await, b"a-1");
    assert_eq!(world.listed("author").await, ["f-1", "a-1"], "until then it is offered like any other");
    let received =
        world.relay.receive_answer(&world.who("author"), &answer).await.expect("all of it went out");
    assert_eq!(received.state, S::Received);
    let twice = world.relay.receive_answer(&world.who("author"), &answer).await;
    assert_eq!(twice, Ok(received), "saying it twice is harmless");
    assert_eq!(world.listed("author").await, ["f-1"], "what a stranger says is no answer");

    world = world.restart().await;
    let again = world.question("q-1").await;
    let again = world.relay.accept_and_wait(&world.who("author"), again).await.expect("the same answer");
    assert_eq!(again.entry.envelope.id, id("a-1"), "an author whose connection broke gets it again");
    let events = world.store.evidence_of(&id("a-1")).await.expect("the log answers").len();
    assert_eq!(events, 3, "accepted, handed out, received: once each");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_waits_in_the_mailbox() {
    let world = World::new().await;
    let question = world.question("q-1").await;
    let late = world.relay.accept_and_wait(&world.who("author"), question).await;
    assert_eq!(late.err(), Some(Refusal::NoAnswerInTime { id: id("q-1"), seconds: 1 }));
    assert_eq!(world.state("q-1").await, S::Waiting, "the question stays accepted");
    assert_eq!(world.answer("ags:2", "a-1", "q-1").await, Ok(Accepted::New));
    assert_eq!(world.listed("author").await, ["a-1"]);
    let again = world.question("q-1").await;
    let answer = world.relay.accept_and_wait(&world.who("author"), again).await.expect("it is there by now");
    assert_eq!(answer.entry.envelope.id, id("a-1"));
}

#[tokio::test]
async fn strangers_cannot_hide_an_answer_behind_theirs() {
    let world = World::new().await;
    let question = world.question("q-1").await;
    let waited = world.relay.accept_and_wait(&world.who("author"), question).await;
    assert_eq!(waited.err(), Some(Refusal::NoAnswerInTime { id: id("q-1"), seconds: 1 }));
    let relates = |envelope: &mut Envelope| envelope.in_reply_to = vec![id("q-1")];
    for n in 0..150 {
        // The reader's own account writes in another name as well.
        let (who, from) = if n % 2 == 0 { ("stranger", "ags:3") } else { ("reader", "ags:22") };
        let message = world.submission(from, "ags:1", &format!("f-{n}"), b"f", relates).await;
        world.relay.accept(&world.who(who), message).await.expect("an ordinary message");
    }
    assert_eq!(world.answer("ags:2", "a-1", "q-1").await, Ok(Accepted::New));
    let again = world.question("q-1").await;
    let answer = world.relay.accept_and_wait(&world.who("author"), again).await.expect("it is there");
    assert_eq!(answer.entry.envelope.id, id("a-1"));
}

#[tokio::test]
async fn an_exchange_ends_where_the_identifier_has_gone() {
    let world = World::new().await;
    let question = world.question("q-1").await;
    let waited = world.relay.accept_and_wait(&world.who("author"), question).await;
    assert_eq!(waited.err(), Some(Refusal::NoAnswerInTime { id: id("q-1"), seconds: 1 }));
    assert_eq!(world.answer("ags:2", "a-1", "q-1").await, Ok(Accepted::New));

    // The identifier and its mailbox move to another account; the former owner repeats his question.
    let directory = world.store.directory().await.expect("the store answers");
    let mut accounts: Vec<Account> = directory.accounts().cloned().collect();
    for account in &mut accounts {
        match account.name.as_str() {
            "author" => account.identifiers.clear(),
            "stranger" => account.identifiers.push(party("ags:1")),
            _ => {}
        }
    }
    let profiles = directory.profiles().cloned().collect();
    let act = AdminAct {
        at: world.clock.now(),
        by: "test".to_owned(),
        act: "participant apply".to_owned(),
        object: "ags:1".to_owned(),
        reason: "it moves".to_owned(),
    };
    world.store.apply_directory(directory.revision(), accounts, profiles, act).await.expect("consistent");
    world.relay.reload_directory().await.expect("the store answers");
    let again = world.question("q-1").await;
    let refused = world.relay.accept_and_wait(&world.who("author"), again).await;
    assert_eq!(refused.err(), Some(Refusal::NotYourIdentifier { claimed: "ags:1".to_owned() }));
    assert_eq!(world.state("a-1").await, S::Waiting, "the answer is the new owner's");
}

#[tokio::test]
async fn proofs_are_whole_and_a_rewritten_log_is_refused() {
    let world = World::new().await;
    assert_eq!(world.relay.sign_checkpoint().await, Ok(None), "there is nothing to sign");
    for n in 0..20 {
        world.send("ags:2", &format!("m-{n}")).await.expect("an ordinary message");
        if n % 3 == 0 {
            world.relay.sign_checkpoint().await.expect("the log is whole");
        }
    }
    world.relay.receive(&world.who("reader"), None, &id("m-4")).await.expect("it is his");
    for n in 0..20 {
        let name = format!("m-{n}");
        let bytes = world.relay.export_evidence(&id(&name)).await.expect("it is logged");
        let proof = export::verify(&bytes, &Trust::keys([key().verifier().clone()])).expect("it is whole");
        assert_eq!(proof.card.map(|card| card.state), Some(world.state(&name).await));
    }
    assert_eq!(world.relay.export_evidence(&id("m-unknown")).await.err(), Some(Refusal::UnknownMessage));
    assert_eq!(world.relay.sign_checkpoint().await, Ok(None), "nothing was added");
    let size = world.store.evidence_size().await.expect("the store answers");
    for (claimed, root) in [(size, [1; 32]), (size + 5, [1; 32])] {
        let refused = world.store.save_checkpoint(claimed, &key().sign(claimed, &root)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt(_) | StoreError::Unknown)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_are_still_one() {
    let world = Arc::new(World::new().await);
    let at_once = async |work: &dyn Fn(Arc<World>) -> tokio::task::JoinHandle<bool>| {
        let all: Vec<_> = (0..16).map(|_| work(world.clone())).collect();
        let mut good = 0;
        for one in all {
            good += usize::from(one.await.expect("nobody panicked"));
        }
        good
    };
    let new = at_once(&|world| {
        tokio::spawn(
            async move { world.send("ags:2", "m-1").await.expect("the same bytes") == Accepted::New },
        )
    });
    assert_eq!(new.await, 1, "one is new, the others are told that it was there before");
    let received = at_once(&|world| {
        tokio::spawn(async move { world.relay.receive(&world.who("reader"), None, &id("m-1")).await.is_ok() })
    });
    assert_eq!(received.await, 16);
    assert_eq!(world.store.evidence_of(&id("m-1")).await.expect("the log answers").len(), 2);

    let waiting = world.clone();
    let answering = tokio::spawn(async move {
        while waiting.store.find(&id("q-1")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        waiting.answer("ags:2", "a-1", "q-1").await
    });
    let answered = at_once(&|world| {
        tokio::spawn(async move {
            let question = world.question("q-1").await;
            let author = world.who("author");
            let answer = world.relay.accept_and_wait(&author, question).await.expect("everyone gets it");
            world.relay.receive_answer(&author, &answer).await.expect("it went out");
            answer.entry.envelope.id == id("a-1")
        })
    });
    assert_eq!(answered.await, 16, "an author on many connections gets the same answer on each");
    assert_eq!(answering.await.expect("nobody panicked"), Ok(Accepted::New));
    let logged = world.store.evidence_of(&id("a-1")).await.expect("the log answers");
    let received =
        logged.iter().filter(|record| String::from_utf8_lossy(&record.bytes).contains(" received "));
    assert_eq!(received.count(), 1);
}

/// What the model believes about a message.
#[derive(Debug, Clone)]
struct Believed {
    from: &'static str,
    to: &'static str,
    body: Vec<u8>,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
    state: S,
    /// Kept back for its NotBefore, and not by an operator.
    timed: bool,
    receptions: usize,
}

/// Small, seeded, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

const PARTIES: [(&str, &str); 3] = [("author", "ags:1"), ("reader", "ags:2"), ("stranger", "ags:3")];

struct Simulation {
    world: World,
    dice: Dice,
    model: BTreeMap<String, Believed>,
    seed: u64,
    step: u32,
}

impl Simulation {
    fn any_message(&mut self) -> Option<(String, Believed)> {
        let nth = self.dice.roll(self.model.len().max(1) as u64) as usize;
        self.model.iter().nth(nth).map(|(name, believed)| (name.clone(), believed.clone()))
    }

    fn any_party(&mut self) -> (&'static str, &'static str) {
        PARTIES[self.dice.roll(3) as usize]
    }

    fn context(&self) -> String {
        format!("seed {} step {}", self.seed, self.step)
    }

    async fn accept(&mut self) {
        let (who, from) = self.any_party();
        let (_, to) = self.any_party();
        let name = format!("m-{}", self.model.len());
        let body = vec![self.step as u8; self.dice.roll(3000) as usize];
        let now = self.world.clock.now();
        let hours = |hours: u64| now.checked_add(HOUR * hours as u32).expect("not far away");
        let not_before = (self.dice.roll(3) == 0).then(|| hours(self.dice.roll(30)));
        let obsolete = (self.dice.roll(4) == 0).then(|| hours(31 + self.dice.roll(100)));
        let adjust = |envelope: &mut Envelope| {
            envelope.not_before = not_before.map(|at| Instant { at, text: String::new() });
            envelope.obsolete_after = obsolete.map(|at| Instant { at, text: String::new() });
        };
        let submission = self.world.submission(from, to, &name, &body, adjust).await;
        let accepted = self.world.relay.accept(&self.world.who(who), submission).await;
        assert_eq!(accepted, Ok(Accepted::New), "{}", self.context());
        if self.dice.roll(4) == 0 {
            let again = self.world.submission(from, to, &name, &body, adjust).await;
            let again = self.world.relay.accept(&self.world.who(who), again).await;
            assert_eq!(again, Ok(Accepted::Before), "{}", self.context());
        }
        let held = not_before.is_some_and(|at| at > now);
        let offered_at = not_before.filter(|at| *at > now).unwrap_or(now);
        let expires_at = ServiceProfile::after_days(offered_at, 90);
        let expires_at = obsolete.map_or(expires_at, |at| at.min(expires_at));
        let state = if held { S::Held } else { S::Waiting };
        self.model.insert(
            name,
            Believed { from, to, body, not_before, expires_at, state, timed: held, receptions: 0 },
        );
    }

    async fn read(&mut self) {
        let Some((name, believed)) = self.any_message() else { return };
        let (who, own) = self.any_party();
        let who = self.world.who(who);
        let offered = believed.to == own && believed.state.is_offered();
        let entry = self.world.relay.hand_out(&who, None, &id(&name)).await;
        assert_eq!(entry.is_ok(), offered, "{}: {name} {believed:?} {}", self.context(), who.name);
        if let Ok(entry) = entry {
            assert_eq!(self.world.body(&entry).await, believed.body, "{}: {name}", self.context());
            self.model.get_mut(&name).expect("it was drawn from here").state = S::HandedOut;
        }
    }

    async fn receive(&mut self) {
        let Some((name, believed)) = self.any_message() else { return };
        let (who, own) = self.any_party();
        let who = self.world.who(who);
        let received = self.world.relay.receive(&who, None, &id(&name)).await;
        let offered = believed.to == own && believed.state.is_offered();
        let again = believed.to == own && believed.state == S::Received;
        assert_eq!(
            received.is_ok(),
            offered || again,
            "{}: {name} {believed:?} {}",
            self.context(),
            who.name
        );
        if offered {
            let believed = self.model.get_mut(&name).expect("it was drawn from here");
            (believed.state, believed.receptions) = (S::Received, 1);
        }
    }

    async fn cancel(&mut self) {
        let Some((name, believed)) = self.any_message() else { return };
        let (who, own) = self.any_party();
        let who = self.world.who(who);
        let now = self.world.clock.now();
        let cancelled = self.world.relay.cancel(&who, &id(&name)).await;
        let expected = match (believed.from == own, believed.not_before, believed.state) {
            (false, ..) => Err(Refusal::UnknownMessage),
            (true, None, _) => Err(Refusal::NotBeforeNotSet),
            (true, Some(_), S::Cancelled) => Ok(()),
            (true, Some(at), S::Held) if now < at => Ok(()),
            _ => Err(Refusal::NotBeforePassed),
        };
        assert_eq!(cancelled, expected, "{}: {name} {believed:?} {}", self.context(), who.name);
        if cancelled.is_ok() {
            self.model.get_mut(&name).expect("it was drawn from here").state = S::Cancelled;
        }
    }

    async fn operate(&mut self) {
        let Some((name, believed)) = self.any_message() else { return };
        let (relay, name_id) = (self.world.relay.clone(), id(&name));
        let after = match self.dice.roll(4) {
            0 => (relay.hold(&name_id, "root", "r").await, believed.state.is_offered(), S::Held),
            1 => (relay.release(&name_id, "root", "r").await, believed.state == S::Held, S::Waiting),
            2 => {
                let alive = believed.state == S::Held || believed.state.is_offered();
                (relay.cancel_as_operator(&name_id, "root", "r").await, alive, S::Cancelled)
            }
            _ => {
                let gone = matches!(believed.state, S::Cancelled | S::Expired);
                (relay.requeue(&name_id, "root", "r").await, gone, S::Waiting)
            }
        };
        let (done, allowed, state) = after;
        assert_eq!(done.is_ok(), allowed, "{}: {name} {believed:?} {done:?}", self.context());
        if let Ok(card) = done {
            let believed = self.model.get_mut(&name).expect("it was drawn from here");
            (believed.state, believed.expires_at) = (state, card.expires_at);
            // Once in the mailbox, no timer puts it there again.
            believed.timed &= state == S::Cancelled;
        }
    }

    /// Up to a day passes, less than any retention.
    async fn pass(&mut self) {
        let time = Duration::from_secs(self.dice.roll(3600 * 8));
        self.world.pass(time).await;
        let now = self.world.clock.now();
        for believed in self.model.values_mut() {
            if believed.state == S::Held && believed.timed && believed.not_before.is_some_and(|at| at <= now)
            {
                (believed.state, believed.timed) = (S::Waiting, false);
            }
            if !believed.state.is_final() && believed.expires_at <= now {
                believed.state = S::Expired;
            }
        }
    }

    /// Everything that was ever accepted is where the model says, and readers see exactly their own.
    async fn look(&mut self) {
        for (who, own) in PARTIES {
            let listed = self.world.listed(who).await;
            let expected = self.model.iter().filter(|(_, it)| it.to == own && it.state.is_offered());
            let mut expected: Vec<_> = expected.map(|(name, _)| name.clone()).collect();
            let mut sorted = listed;
            sorted.sort();
            expected.sort();
            assert_eq!(sorted, expected, "{}: {who}'s mailbox", self.context());
        }
        for (name, believed) in &self.model {
            let entry = self.world.store.find(&id(name)).await.expect("nothing accepted is ever lost");
            assert_eq!(entry.card.state, believed.state, "{}: {name} {believed:?}", self.context());
            let steps = entry.card.steps.iter().filter(|step| step.event == Event::Received).count();
            assert_eq!(steps, believed.receptions, "{}: {name}", self.context());
        }
    }
}

async fn simulate(seed: u64, steps: u32) {
    let world = World::new().await;
    let mut simulation = Simulation { world, dice: Dice(seed), model: BTreeMap::new(), seed, step: 0 };
    for step in 0..steps {
        simulation.step = step;
        match simulation.dice.roll(20) {
            0..=5 => simulation.accept().await,
            6..=9 => simulation.read().await,
            10..=11 => simulation.receive().await,
            12..=13 => simulation.cancel().await,
            14..=15 => simulation.operate().await,
            16..=17 => simulation.pass().await,
            18 => simulation.look().await,
            _ => simulation.world = simulation.world.restart().await,
        }
    }
    simulation.look().await;
    for name in simulation.model.keys() {
        let proof = simulation.world.relay.export_evidence(&id(name)).await.expect("it is logged");
        export::verify(&proof, &Trust::keys([key().verifier().clone()])).expect("it is whole");
    }
}

#[tokio::test]
async fn a_seeded_simulation_agrees_with_its_model() {
    let seeds = match std::env::var("AMTSBOTE_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => seed..seed + 1,
        _ => 1..6,
    };
    for seed in seeds {
        println!("AMTSBOTE_SEED={seed}");
        simulate(seed, 250).await;
    }
}

/// Keeps heads slowly, and notices when two are at it.
#[derive(Default)]
struct Keeper {
    busy: AtomicBool,
    crowded: AtomicBool,
    sizes: Mutex<Vec<u64>>,
}

impl HeadKeeper for Keeper {
    fn keep(&self, note: &str) -> Result<(), String> {
        if self.busy.swap(true, Ordering::SeqCst) {
            self.crowded.store(true, Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(20));
        let size = Checkpoint::stated(note).expect("a checkpoint").size;
        self.sizes.lock().expect("sizes").push(size);
        self.busy.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn place(&self) -> String {
        "a keeper".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_kept_one_after_the_other() {
    let world = World::new().await;
    let keeper = Arc::new(Keeper::default());
    world.relay.keep_heads_with(keeper.clone(), None).expect("the first keeper");
    for round in 0..10 {
        let name = format!("m-{round}");
        world.send("ags:2", &name).await.expect("an ordinary message");
        // At its interval, and for whoever wants a proof.
        let (signs, proves) = (world.relay.clone(), world.relay.clone());
        let signs = tokio::spawn(async move { signs.sign_checkpoint().await.map(drop) });
        let proves = tokio::spawn(async move { proves.export_evidence(&id(&name)).await.map(drop) });
        signs.await.expect("no panic").expect("signed");
        proves.await.expect("no panic").expect("proven");
    }
    assert!(!keeper.crowded.load(Ordering::SeqCst), "two at once");
    let sizes = keeper.sizes.lock().expect("sizes").clone();
    assert!(sizes.is_sorted() && sizes.len() >= 10, "{sizes:?}");
}
