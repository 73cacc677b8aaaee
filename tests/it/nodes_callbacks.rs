//! Callbacks where several relays share a database: each is made by one of them, and a fallen one's go on at another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::clock::{Clock, HandClock};
use amtsbote::domain::account::{Account, AccountName, Rights};
use amtsbote::domain::destination::{Callback, DESTINATION_PROPERTY};
use amtsbote::domain::envelope::{Code, Property};
use amtsbote::pki::development::{Authority, KeyChoice};
use amtsbote::portal::callback::{Callbacks, Told};
use amtsbote::relay::{Relay, Settings as RelaySettings};
use amtsbote::store::postgres::{PostgresStore, Settings};
use amtsbote::store::{Accepted, AdminAct, Store};

use crate::portal_callback::{How, KEY, Receiver, believing, settings, validity};
use crate::portal_office::{DESTINATION, destination};
use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::{at, draft};
use crate::xta_office::identifier;

struct Node {
    store: Arc<PostgresStore>,
    callbacks: Callbacks,
}

impl Node {
    async fn open(connection: &str, name: &str, clock: &HandClock, authority: &Authority) -> Self {
        Self::open_among(connection, name, clock, authority, &["127.0.0.0/8", "::1"]).await
    }

    /// It may dial these networks.
    async fn open_among(
        connection: &str,
        name: &str,
        clock: &HandClock,
        authority: &Authority,
        networks: &[&str],
    ) -> Self {
        let store = PostgresStore::open(Settings::new(connection, name)).await.expect("a store");
        let store = Arc::new(store);
        let own = RelaySettings::new("amt", "https://post.example/");
        let relay = Relay::new(store.clone(), Arc::new(clock.clone()), own);
        relay.reload_directory().await.expect("a directory");
        let tls = believing(authority, Arc::new(clock.clone()));
        let callbacks = Callbacks::new(relay, settings(tls, networks));
        Self { store, callbacks }
    }

    async fn submit(&self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let draft = draft(&id);
        let mut acceptance = draft.acceptance(draft.stage(&*self.store).await.expect("staged"));
        acceptance.card.door = "portal".to_owned();
        let key = Code { code: DESTINATION_PROPERTY.to_owned(), ..Code::default() };
        acceptance.envelope.properties = vec![Property { key, value: DESTINATION.to_owned() }];
        assert_eq!(self.store.accept(acceptance).await.expect("accepted"), Accepted::New);
        id
    }
}

/// A town with a receiver.
async fn settle(connection: &str, url: String) {
    let store = PostgresStore::open(Settings::new(connection, "first")).await.expect("a store");
    let mut to = destination(DESTINATION);
    to.callback = Some(Callback { url, secret: KEY.to_owned() });
    let mut town = Account {
        name: AccountName::parse("town").expect("a name"),
        title: "town".to_owned(),
        blocked: false,
        keys: Vec::new(),
        identifiers: vec![identifier("ags:1")],
        accepts: None,
        rights: Rights::default(),
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    };
    town.portal.destinations = vec![to];
    let (by, act) = ("test".to_owned(), "participant apply".to_owned());
    let act = AdminAct { at: at(0), by, act, object: "town".to_owned(), reason: "test".to_owned() };
    store.apply_directory(0, vec![town], Vec::new(), act).await.expect("applied");
    store.close().await.expect("closed");
}

fn told(submissions: usize) -> Told {
    Told { submissions, ..Told::default() }
}

/// How often each submission was told of.
fn times(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for call in receiver.calls() {
        for one in call.proven()["submissionIds"].as_array().expect("ids") {
            *times.entry(one.as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn each_callback_is_made_by_one_server() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("callbacks");
    let authority = Authority::root("receivers", KeyChoice::P256, validity()).expect("an authority");
    let clock = HandClock::at(at(1));
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    // It takes its time, so that the others look before the call is noted.
    let receiver = Receiver::open(&authority, shared, How::Late(Duration::from_millis(300))).await;
    settle(&connection, receiver.url()).await;
    let open = |name: &'static str| Node::open(&connection, name, &clock, &authority);
    let nodes = [open("one").await, open("two").await, open("three").await];
    for round in 1..=3 {
        for node in &nodes {
            node.submit().await;
        }
        let rounds = nodes.iter().map(|node| node.callbacks.round());
        let all = futures_util::future::join_all(rounds).await;
        assert_eq!(all.iter().map(|told| told.submissions).sum::<usize>(), 3, "{all:?}");
        assert_eq!(receiver.calls().len(), round, "one call tells of all three");
        // The others come back to it, and find nothing left to tell.
        clock.advance(Duration::from_secs(61));
        for node in &nodes {
            assert_eq!(node.callbacks.round().await, told(0));
        }
    }
    assert_eq!(times(&receiver).into_values().collect::<Vec<_>>(), [1; 9]);
    for node in nodes {
        node.store.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_answer_is_called_by_one_server_until_that_falls() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("failing");
    let authority = Authority::root("receivers", KeyChoice::P256, validity()).expect("an authority");
    let clock = HandClock::at(at(1));
    let receiver = Receiver::open(&authority, Arc::new(clock.clone()), How::Answer(500)).await;
    settle(&connection, receiver.url()).await;
    let one = Node::open(&connection, "one", &clock, &authority).await;
    let two = Node::open(&connection, "two", &clock, &authority).await;
    let id = two.submit().await;
    assert!(one.callbacks.round().await.failed);
    for calls in 1..4 {
        assert_eq!(two.callbacks.round().await, told(0), "it is the other's");
        assert_eq!(receiver.calls().len(), calls);
        clock.advance(Duration::from_secs(10 << calls));
        assert!(one.callbacks.round().await.failed);
    }
    assert_eq!((one.callbacks.failing(), two.callbacks.failing()), (1, 0));
    // It falls, and lets go of nothing; what it held is over on the database's clock.
    one.store.close().await.expect("closed");
    cluster.sql("failing", "UPDATE amtsbote.staged_hold SET until = clock_timestamp() - interval '1 second'");
    receiver.will(How::Answer(200));
    clock.advance(Duration::from_secs(61));
    assert_eq!(two.callbacks.round().await, told(1));
    assert_eq!(times(&receiver)[&id], 5);
    two.store.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_one_server_cannot_reach_is_called_by_another() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("shut");
    let authority = Authority::root("receivers", KeyChoice::P256, validity()).expect("an authority");
    let clock = HandClock::at(at(1));
    let receiver = Receiver::open(&authority, Arc::new(clock.clone()), How::Answer(200)).await;
    settle(&connection, receiver.url()).await;
    let shut = Node::open_among(&connection, "one", &clock, &authority, &[]).await;
    let open = Node::open(&connection, "two", &clock, &authority).await;
    let id = shut.submit().await;
    for failures in 0..5 {
        assert!(shut.callbacks.round().await.failed);
        if failures < 4 {
            assert_eq!(open.callbacks.round().await, told(0), "it is the other's");
        }
        clock.advance(Duration::from_secs(61.max(10 << failures)));
    }
    // It lets go behind its answer, and looks again before it is called.
    let mut all = told(0);
    for _ in 0..100 {
        all = open.callbacks.round().await;
        if all != told(0) {
            break;
        }
        clock.advance(Duration::from_secs(61));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(all, told(1));
    assert_eq!(times(&receiver)[&id], 1);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(shut.callbacks.round().await, told(0), "nothing is left to tell");
    for node in [shut, open] {
        node.store.close().await.expect("closed");
    }
}
