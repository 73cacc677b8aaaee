//! Relays over one database wake each other: pushes, timers, authors who wait, changed participants. Their polls are set
//! to an hour, so that only a notice can have brought what comes; and where no notice comes, the poll finds it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock, SystemClock};
use amtsbote::domain::account::{Account, AccountName, Directory, Rights};
use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::envelope::{Envelope, Instant};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::{MailboxName, PartyIdentifier};
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::relay::{Outlet, PushVerdict, Relay, Settings, Submission};
use amtsbote::store::postgres::{PostgresStore, Settings as StoreSettings};
use amtsbote::store::{Accepted, AdminAct, Entry, Notice, PayloadReader, Store};
use async_trait::async_trait;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::postgres_cluster::{Cluster, programs};
use crate::xta_office::{AUTHOR, READER, envelope, party};

const HOUR: Duration = Duration::from_secs(3600);
/// After this, what a notice should have brought is said not to come.
const LONG: Duration = Duration::from_secs(20);
const PUSHED: &str = "ags:9";

async fn open(connection: &str, node: &str) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(StoreSettings::new(connection, node)).await.expect("a store"))
}

async fn next(notices: &mut Receiver<Notice>) -> Notice {
    timeout(LONG, notices.recv()).await.expect("a notice comes").expect("the store is open")
}

/// Tells until it is heard: nobody promises that a single notice arrives.
async fn tell_until_heard(from: &PostgresStore, notice: &Notice, notices: &mut Receiver<Notice>) {
    let heard = async { while next(notices).await != *notice {} };
    let told = async {
        loop {
            from.tell(notice.clone());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = heard => {}
        () = told => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_heard_by_the_others_and_again_after_a_lost_connection() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("notices");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    let (mut at_one, mut at_two) = (one.notices().expect("nodes"), two.notices().expect("nodes"));
    let id = |text: &str| MessageId::parse(text).expect("an id");
    let waiting = Notice::Waiting(MailboxName::parse("ags:1").expect("a name"));
    let answered = Notice::Answered(id("urn:de:xta:messageid:t:1"));
    for notice in [waiting, answered, Notice::Deadline, Notice::Directory] {
        tell_until_heard(&two, &notice, &mut at_one).await;
    }
    // Who tells does not hear himself.
    let own =
        std::iter::from_fn(|| at_two.try_recv().ok()).filter(|notice| *notice != Notice::Missed).count();
    assert_eq!(own, 0);

    for _ in 0..3 {
        let lose = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'amtsbote'";
        cluster.sql("postgres", lose);
        while next(&mut at_one).await != Notice::Missed {}
        tell_until_heard(&two, &Notice::Deadline, &mut at_one).await;
    }
    for store in [one, two] {
        store.close().await.expect("closed");
    }
}

fn account(name: &str, identifier: &str) -> Account {
    Account {
        name: AccountName::parse(name).expect("a name"),
        title: String::new(),
        blocked: false,
        keys: Vec::new(),
        identifiers: vec![PartyIdentifier::new(identifier).expect("an identifier")],
        accepts: None,
        rights: Rights { foreign_message_ids: true, ..Rights::default() },
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    }
}

/// A relay at work; polls are an hour apart.
struct Node {
    clock: HandClock,
    store: Arc<PostgresStore>,
    relay: Arc<Relay>,
    stop: tokio::sync::watch::Sender<bool>,
    work: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn open(connection: &str, name: &str) -> Self {
        let (store, clock) = (open(connection, name).await, HandClock::at(SystemClock.now()));
        let mut settings = Settings::new("test", "https://post.example");
        (settings.answer_poll_interval, settings.push_poll_interval) = (HOUR, HOUR);
        settings.directory_poll_interval = HOUR;
        settings.profile_default = ServiceProfile {
            synchronous: true,
            synchronous_wait_seconds: 3600,
            ..ServiceProfile::standard()
        };
        let relay = Relay::new(store.clone(), Arc::new(clock.clone()), settings);
        relay.reload_directory().await.expect("a directory");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let work = tokio::spawn(relay.clone().run(stopped));
        Self { clock, store, relay, stop, work }
    }

    fn who(&self, name: &str) -> Account {
        let name = AccountName::parse(name).expect("a name");
        self.relay.directory().account(&name).cloned().expect("an account")
    }

    async fn submission(&self, id: &str, adjust: impl FnOnce(&mut Envelope)) -> Submission {
        let mut envelope = envelope(MessageId::parse(id).expect("an id"), READER);
        adjust(&mut envelope);
        let mut writer = self.relay.payload_writer().await.expect("a writer");
        writer.write(id.as_bytes()).await.expect("written");
        let part = Part {
            role: PartRole::Message,
            offset: 0,
            length: id.len() as u64,
            digest: Digest::of(id.as_bytes()),
            content_type: "text/plain".to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        };
        Submission {
            envelope,
            manifest: Manifest { parts: vec![part] },
            payload: writer.seal().await.expect("sealed"),
            request_digest: Digest::of(id.as_bytes()),
            door: "test",
            certificates: Vec::new(),
        }
    }

    async fn send(&self, id: &str, adjust: impl FnOnce(&mut Envelope)) {
        let submission = self.submission(id, adjust).await;
        let accepted = self.relay.accept(&self.who("author"), submission).await;
        assert_eq!(accepted, Ok(Accepted::New));
    }

    async fn close(self) {
        self.stop.send_replace(true);
        self.work.await.expect("no panic");
        self.store.close().await.expect("closed");
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

#[async_trait]
impl Outlet for Recorder {
    async fn push(&self, entry: &Entry, _: Box<dyn PayloadReader>) -> PushVerdict {
        self.0.lock().expect("no panic").push(entry.envelope.id.to_string());
        PushVerdict::Received
    }

    fn destination(&self) -> &str {
        "recorder"
    }
}

async fn soon(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what} does not come"));
}

async fn beginning(connection: &str) -> [Node; 2] {
    let store = open(connection, "beginning").await;
    let act = AdminAct {
        at: SystemClock.now(),
        by: "test".to_owned(),
        act: "participant apply".to_owned(),
        object: "all".to_owned(),
        reason: "beginning".to_owned(),
    };
    let accounts = vec![account("author", AUTHOR), account("reader", READER), account("pushed", PUSHED)];
    store.apply_directory(0, accounts, Vec::new(), act).await.expect("applied");
    store.close().await.expect("closed");
    let nodes = [Node::open(connection, "one").await, Node::open(connection, "two").await];
    // Both listen from here on.
    for (from, to) in [(0, 1), (1, 0)] {
        let mut notices = nodes[to].store.notices().expect("nodes");
        tell_until_heard(
            &nodes[from].store,
            &Notice::Answered(MessageId::parse("urn:none").expect("an id")),
            &mut notices,
        )
        .await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_does_wakes_the_other() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let nodes = beginning(&cluster.database("waking")).await;
    let [one, two] = &nodes;

    // Pushed by the node that has the outlet, accepted by the other.
    let outlet = Arc::new(Recorder::default());
    let pushed = |id: &str| outlet.0.lock().expect("no panic").iter().any(|seen| seen == id);
    let mailbox = MailboxName::parse(PUSHED).expect("a name");
    two.relay.add_outlet(vec![mailbox], outlet.clone());
    for id in ["urn:p:1", "urn:p:2"] {
        one.send(id, |envelope| envelope.reader = party(PUSHED)).await;
        soon("the push", || pushed(id)).await;
    }

    // Released by the other's timers, which slept for longer: the deadline is nearer than they believed. Its own sleep of
    // half a minute is all that would wake it otherwise.
    let due = one.clock.now() + Duration::from_millis(1500);
    one.send("urn:t:1", |envelope| {
        envelope.reader = party(PUSHED);
        envelope.not_before = Some(Instant { at: due, text: due.to_string() });
    })
    .await;
    assert!(!pushed("urn:t:1"));
    two.clock.advance(Duration::from_secs(2));
    let begun = std::time::Instant::now();
    soon("the release", || pushed("urn:t:1")).await;
    println!("released and pushed after {} ms", begun.elapsed().as_millis());

    // Who waits at one node is woken by the answer at the other.
    let question = one
        .submission("urn:q:1", |envelope| (envelope.author, envelope.reader) = (party(READER), party(AUTHOR)))
        .await;
    let (relay, who) = (one.relay.clone(), one.who("reader"));
    let waits = tokio::spawn(async move { relay.accept_and_wait(&who, question).await });
    let asked = MessageId::parse("urn:q:1").expect("an id");
    while two.store.find(&asked).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    two.send("urn:a:1", |envelope| envelope.in_reply_to = vec![asked]).await;
    let answer = timeout(LONG, waits).await.expect("the answer comes").expect("no panic");
    assert_eq!(answer.expect("an answer").entry.envelope.id.as_str(), "urn:a:1");

    // Participants that are changed at one node are known to the other.
    let directory: Arc<Directory> = one.relay.directory();
    let accounts = directory.accounts().cloned().chain([account("third", "ags:3")]).collect();
    let act = AdminAct {
        at: SystemClock.now(),
        by: "test".to_owned(),
        act: "participant apply".to_owned(),
        object: "third".to_owned(),
        reason: "test".to_owned(),
    };
    one.store.apply_directory(directory.revision(), accounts, Vec::new(), act).await.expect("applied");
    one.relay.reload_changed_directory().await.expect("read");
    let third = AccountName::parse("third").expect("a name");
    soon("the participant", || two.relay.directory().account(&third).is_some()).await;

    for node in nodes {
        node.close().await;
    }
}
