//! Submissions of a destination, however deep its mailbox is: in every engine, and after an upgrade.

use amtsbote::domain::destination::{DESTINATION_PROPERTY, DestinationId};
use amtsbote::domain::envelope::{Code, Property};
use amtsbote::domain::state::Event;
use amtsbote::store::embedded::{self, EmbeddedStore, Settings};
use amtsbote::store::postgres::{PostgresStore, Settings as ClusterSettings, upgrade};
use amtsbote::store::{Accepted, Store, SubmissionQuery};

use crate::postgres_cluster::{Cluster, programs};
use crate::store_conformance::Bench;
use crate::store_fixture::*;

const TOWN: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
const VILLAGE: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a02";

fn destination(text: &str) -> DestinationId {
    DestinationId::parse(text).expect("a UUID")
}

fn property(key: &str, value: &str) -> Property {
    Property { key: Code { code: key.to_owned(), ..Code::default() }, value: value.to_owned() }
}

/// A message that came by a door and says of itself where it belongs.
async fn send(store: &dyn Store, draft: &Draft, door: &str, properties: Vec<Property>) {
    let payload = draft.stage(store).await.expect("staged");
    let mut acceptance = draft.acceptance(payload);
    acceptance.card.door = door.to_owned();
    acceptance.envelope.properties = properties;
    assert_eq!(store.accept(acceptance).await.expect("accepted"), Accepted::New);
}

async fn submit(store: &dyn Store, name: &str, to: &str) {
    send(store, &draft(name), "portal", vec![property(DESTINATION_PROPERTY, to)]).await;
}

fn query(at: &[(&str, &str)]) -> SubmissionQuery {
    let at = at.iter().map(|(id, name)| (destination(id), mailbox(name))).collect();
    SubmissionQuery { at, limit: 100, ..SubmissionQuery::default() }
}

#[track_caller]
fn named(found: &amtsbote::store::Submissions) -> Vec<&str> {
    let ids = found.entries.iter().map(|entry| entry.card.id.as_str());
    ids.map(|id| id.rsplit(':').next().unwrap_or_default()).collect()
}

async fn check(store: &dyn Store, query: SubmissionQuery, expected: &[&str], total: u64) {
    let found = store.submissions(&query).await.expect("submissions");
    assert_eq!((named(&found).as_slice(), found.total), (expected, total), "{query:?}");
}

pub async fn submissions_are_listed_by_destination(bench: &dyn Bench) {
    let store = bench.open();
    let store = &*store;
    // What says so and came by another door, what only mentions it, what is for another mailbox.
    send(store, &draft("forged"), "xta-2.1.1", vec![property(DESTINATION_PROPERTY, TOWN)]).await;
    let mentioned = format!(r#""code":"fit-connect:destinationId"}},"value":"{TOWN}"#);
    let quoting =
        vec![property("fit-connect:serviceName", &mentioned), property(DESTINATION_PROPERTY, VILLAGE)];
    send(store, &draft("quoting"), "portal", quoting).await;
    let elsewhere = Draft { mailbox: mailbox("ags:2"), ..draft("elsewhere") };
    send(store, &elsewhere, "portal", vec![property(DESTINATION_PROPERTY, TOWN)]).await;
    send(store, &draft("nowhere"), "portal", Vec::new()).await;
    for n in 0..5 {
        send_plain(store, &format!("between{n}")).await;
        submit(store, &format!("s{n}"), TOWN).await;
    }
    let town = query(&[(TOWN, "ags:1")]);
    check(store, town.clone(), &["s0", "s1", "s2", "s3", "s4"], 5).await;
    check(store, SubmissionQuery { limit: 2, ..town.clone() }, &["s0", "s1"], 5).await;
    check(store, SubmissionQuery { skip: 3, limit: 1, ..town.clone() }, &["s3"], 5).await;
    check(store, SubmissionQuery { skip: 9, ..town.clone() }, &[], 5).await;
    check(store, SubmissionQuery { limit: 0, ..town.clone() }, &[], 5).await;
    check(store, query(&[(VILLAGE, "ags:1")]), &["quoting"], 1).await;
    check(store, query(&[(VILLAGE, "ags:2")]), &[], 0).await;
    check(store, query(&[(TOWN, "ags:2")]), &["elsewhere"], 1).await;
    check(store, query(&[]), &[], 0).await;
    let both = query(&[(TOWN, "ags:1"), (VILLAGE, "ags:1"), (TOWN, "ags:1")]);
    check(store, both, &["quoting", "s0", "s1", "s2", "s3", "s4"], 6).await;
    let second = store.submissions(&town).await.expect("submissions").entries[1].sequence;
    check(store, SubmissionQuery { after: second, skip: 1, ..town.clone() }, &["s3", "s4"], 3).await;

    store.change(change("s0", Event::HandedOut, 100)).await.expect("handed out");
    store.change(change("s1", Event::Received, 100)).await.expect("received");
    store.change(change("s2", Event::Undeliverable, 100)).await.expect("dead");
    check(store, town.clone(), &["s0", "s3", "s4"], 3).await;
    check(store, SubmissionQuery { new_only: true, ..town.clone() }, &["s3", "s4"], 2).await;
    store.change(change("s2", Event::Requeued, 101)).await.expect("requeued");
    check(store, town.clone(), &["s0", "s2", "s3", "s4"], 4).await;
    store.close().await.expect("closed");
    let store = bench.open();
    check(&*store, town, &["s0", "s2", "s3", "s4"], 4).await;
    store.close().await.expect("closed");
}

async fn send_plain(store: &dyn Store, name: &str) {
    assert_eq!(draft(name).send(store).await.expect("accepted"), Accepted::New);
}

#[tokio::test]
async fn what_lay_in_a_store_of_version_6_is_found_by_destination() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = || Settings { disk_reserve_bytes: 0, ..Settings::new(folder.path()) };
    let store = EmbeddedStore::open(settings()).expect("a store");
    submit(&store, "before", TOWN).await;
    send(&store, &draft("forged"), "xta-2.1.1", vec![property(DESTINATION_PROPERTY, TOWN)]).await;
    store.close().await.expect("closed");
    drop(store);
    let database = rusqlite::Connection::open(folder.path().join("amtsbote.sqlite")).expect("a database");
    let back = "DROP INDEX message_destination; ALTER TABLE message DROP COLUMN destination; PRAGMA user_version = 6";
    database.execute_batch(back).expect("version 6");
    drop(database);
    assert_eq!(embedded::upgrade(folder.path()).expect("upgraded"), (6, 7));
    let store = EmbeddedStore::open(settings()).expect("a store");
    submit(&store, "behind", TOWN).await;
    check(&store, query(&[(TOWN, "ags:1")]), &["before", "behind"], 2).await;
    store.close().await.expect("closed");
}

/// The statement that keeps a new message names no destination: it is that of the version before.
#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_of_the_version_before_accept_is_filed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("filed");
    let settings = |node: &str| ClusterSettings::new(&connection, node);
    let store = PostgresStore::open(settings("one")).await.expect("a store");
    submit(&store, "before", TOWN).await;
    send(&store, &draft("forged"), "xta-2.1.1", vec![property(DESTINATION_PROPERTY, TOWN)]).await;
    cluster.sql("filed", crate::store_rolling::BACK_TO_VERSION_4);
    // A node at work on the tables as they were, and as they become under it.
    submit(&store, "between", TOWN).await;
    assert_eq!(upgrade(settings("one")).await.expect("upgraded"), (4, 6));
    submit(&store, "behind", TOWN).await;
    check(&store, query(&[(TOWN, "ags:1")]), &["before", "between", "behind"], 3).await;
    store.close().await.expect("closed");
}
