//! The PostgreSQL engine passes the conformance suite, unchanged; several nodes share one store; what is set up wrongly
//! is named.
//!
//! Every test starts a cluster of its own (`postgres_cluster.rs`). What happens when the database goes away in the
//! middle: `store_postgres_failover.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use amtsbote::clock::SystemClock;
use amtsbote::domain::state::DeliveryState;
use amtsbote::pki::tls::anchored_client_config;
use amtsbote::store::postgres::{OpenError, PostgresStore, Settings, Standby, examine};
use amtsbote::store::{Accepted, PushOutcome, Store, StoreError};
use futures_util::future::join_all;

use crate::ports::own_port;
use crate::postgres_cluster::{Cluster, programs};
use crate::store_conformance::{self, Bench};
use crate::store_fixture::{Draft, at, content, draft, mailbox, of_mailbox};

/// A database of its own in a cluster that all checks share; opening again finds what was closed.
struct Database {
    connection: String,
}

impl Bench for Database {
    fn open(&self) -> Arc<dyn Store> {
        let opening = PostgresStore::open(Settings::new(&self.connection, "node"));
        let runtime = tokio::runtime::Handle::current();
        Arc::new(tokio::task::block_in_place(|| runtime.block_on(opening)).expect("a store"))
    }
}

#[test]
fn conforms() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let number = AtomicU32::new(0);
    store_conformance::run_all(|| {
        let name = format!("check_{}", number.fetch_add(1, Ordering::Relaxed));
        Box::new(Database { connection: cluster.database(&name) })
    });
}

fn settings(connection: &str, node: &str) -> Settings {
    Settings { patience: Duration::from_secs(5), ..Settings::new(connection, node) }
}

async fn open(connection: &str, node: &str) -> PostgresStore {
    PostgresStore::open(settings(connection, node)).await.expect("a store")
}

/// Leases until nothing is left; the ids.
async fn lease_all(store: &PostgresStore) -> Vec<String> {
    let mut leased = Vec::new();
    loop {
        let leases = store.lease_push(&[mailbox("ags:1")], false, at(0), at(600), 3).await.expect("leases");
        if leases.is_empty() {
            return leased;
        }
        leased.extend(leases.into_iter().map(|lease| lease.entry.card.id.as_str().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_one_store() {
    const ROUNDS: usize = 20;
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("nodes");
    // Three that start on an empty database at once; one of them makes the tables.
    let (one, two, three) =
        tokio::join!(open(&connection, "one"), open(&connection, "two"), open(&connection, "three"));
    let nodes = [one, two, three];
    for round in 0..ROUNDS {
        // Each node is sent the id four times, with two kinds of bytes.
        let sent = (0..12).map(|n| {
            let draft = Draft { content: content(n as u64 % 2, 2_000), ..draft(&format!("m{round}")) };
            let store = &nodes[n % 3];
            async move { (n % 2, draft.send(store).await) }
        });
        let answers = join_all(sent).await;
        let news: Vec<_> = answers.iter().filter(|(_, answer)| matches!(answer, Ok(Accepted::New))).collect();
        assert_eq!(news.len(), 1, "{answers:?}");
        for (kind, answer) in &answers {
            match answer {
                Ok(_) => assert_eq!(*kind, news[0].0),
                Err(StoreError::IdUsed) => assert_ne!(*kind, news[0].0),
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Each node sees each message once; each acceptance is in the log of one.
    let mut records = 0;
    for node in &nodes {
        let listing = node.list(&of_mailbox("ags:1"), 0, 100).await.expect("a listing");
        assert_eq!(listing.entries.len(), ROUNDS);
        assert!(listing.entries.is_sorted_by_key(|entry| entry.sequence));
        records += node.evidence_size().await.expect("a size");
        let size = node.evidence_size().await.expect("a size");
        node.tree_root(size).await.expect("a whole tree");
    }
    assert_eq!(records, ROUNDS as u64);
    // What one has leased, no other leases.
    let leases = join_all(nodes.iter().map(lease_all)).await;
    let mut leased: Vec<String> = leases.into_iter().flatten().collect();
    leased.sort();
    assert_eq!(leased.len(), ROUNDS);
    leased.dedup();
    assert_eq!(leased.len(), ROUNDS, "leased twice");
    for node in &nodes {
        node.close().await.expect("closed");
    }
}

/// A node sleeps past the end of its lease: the message is the other's, and what the first says afterwards is told apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_slept_through_is_the_others() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("slept");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    draft("a").send(&one).await.expect("accepted");
    let boxes = [mailbox("ags:1")];
    let lease = async |store: &PostgresStore, now: u64| {
        store.lease_push(&boxes, false, at(now), at(now + 10), 1).await.expect("leases").pop()
    };
    let slept = lease(&one, 0).await.expect("a lease");
    assert!(lease(&two, 9).await.is_none(), "it is the first one's");
    let current = lease(&two, 11).await.expect("it is over");
    assert_eq!(current.attempt, 2);
    let failed = |next: u64| PushOutcome::Failed { reason: "no".to_owned(), next_at: at(next) };
    one.record_attempt(&slept, failed(12), at(12)).await.expect("heard");
    assert!(lease(&one, 13).await.is_none(), "an overtaken no opened the other's lease");
    two.record_attempt(&current, failed(30), at(14)).await.expect("recorded");
    assert!(lease(&one, 29).await.is_none());
    let last = lease(&one, 30).await.expect("again");
    // A yes counts whenever it comes, and once.
    let card = two.record_attempt(&current, PushOutcome::Received, at(31)).await.expect("recorded");
    assert_eq!(card.state, DeliveryState::Received);
    one.record_attempt(&last, PushOutcome::Received, at(32)).await.expect("heard");
    assert!(lease(&two, 1000).await.is_none());
    let sizes = [one.evidence_size().await.expect("a size"), two.evidence_size().await.expect("a size")];
    assert_eq!(sizes, [1, 2], "accepted there; failed and received here");
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_has_a_nodes_name() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("names");
    let store = open(&connection, "relay-1").await;
    let hasty = Settings { patience: Duration::from_secs(1), ..settings(&connection, "relay-1") };
    let second = PostgresStore::open(hasty.clone()).await.err();
    assert!(matches!(&second, Some(OpenError::NameTaken(name)) if name == "relay-1"), "{second:?}");
    draft("a").send(&store).await.expect("the first goes on");
    store.close().await.expect("closed");
    let again = PostgresStore::open(hasty).await.expect("free again");
    assert_eq!(draft("a").send(&again).await.expect("a retry"), Accepted::Before);
    again.close().await.expect("closed");
}

/// A start refuses, and a look at the same says the same.
async fn assert_refused(settings: Settings, words: &[&str]) -> String {
    let looked = match examine(settings.clone()).await {
        Ok(examined) => examined.broken.or(examined.name_taken).expect("a problem is seen"),
        Err(error) => error.to_string(),
    };
    let said = PostgresStore::open(settings).await.err().expect("refused").to_string();
    for said in [&said, &looked] {
        assert_says(said, words);
    }
    said
}

#[track_caller]
fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{word:?} is not in {sentence:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_wrongly_is_named_at_the_start() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let good = cluster.database("good");
    open(&good, "one").await.close().await.expect("closed");
    let hasty =
        |connection: &str| Settings { patience: Duration::from_secs(2), ..settings(connection, "one") };

    cluster.sql("postgres", "ALTER ROLE amtsbote PASSWORD 'richtig'");
    cluster.demand_passwords_for("good");
    for (password, words) in [(Some("falsch"), "password_file"), (None, "password_file")] {
        let settings = Settings { password: password.map(str::to_owned), ..hasty(&good) };
        let said = assert_refused(settings, &[words]).await;
        assert!(!said.contains("falsch") && !said.contains("richtig"), "{said}");
    }
    let right = Settings { password: Some("richtig".to_owned()), ..hasty(&good) };
    PostgresStore::open(right.clone()).await.expect("opens").close().await.expect("closed");

    let absent = hasty(&cluster.connection("absent"));
    assert_refused(absent, &["no database of that name", "createdb", "absent"]).await;

    cluster.sql("postgres", "CREATE DATABASE theirs OWNER postgres");
    assert_refused(hasty(&cluster.connection("theirs")), &["lacks rights", "OWNER"]).await;

    cluster.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' OWNER amtsbote");
    assert_refused(hasty(&cluster.connection("latin")), &["LATIN1", "UTF8"]).await;

    cluster.sql("postgres", "ALTER ROLE amtsbote CONNECTION LIMIT 0");
    let words = ["the server has no connection left", "max_connections", "connections_max", "53300"];
    assert_refused(right.clone(), &words).await;
    cluster.sql("postgres", "ALTER ROLE amtsbote CONNECTION LIMIT -1");

    let tls = anchored_client_config(&[], Arc::new(SystemClock)).expect("TLS");
    let secured = Settings { tls: Some(Arc::new(tls)), ..right.clone() };
    assert_refused(secured, &["TLS", "tls_anchors"]).await;

    cluster.sql("good", "CREATE SCHEMA amtsbote_register; CREATE TABLE amtsbote_register.copies ()");
    assert_refused(right.clone(), &["a register keeps its copies", "[store] connection"]).await;
    cluster.sql("good", "DROP SCHEMA amtsbote_register CASCADE");

    cluster.sql("good", "UPDATE amtsbote.node SET closed = true");
    assert_refused(right.clone(), &["the log of node one is closed", "a [store] node of its own"]).await;
    cluster.sql("good", "UPDATE amtsbote.node SET closed = false");

    let working = PostgresStore::open(right.clone()).await.expect("opens");
    assert_refused(right.clone(), &["another process works as node one", "stop it"]).await;
    working.close().await.expect("closed");
    assert_eq!(examine(right.clone()).await.expect("looked at").name_taken, None);

    let required = Settings { standby: Standby::Required, ..right.clone() };
    assert_refused(required, &["synchronous_standby_names"]).await;
    // Asked for and absent, it is a warning.
    let wanted = Settings { standby: Standby::Wanted, ..right.clone() };
    let looked = examine(wanted.clone()).await.expect("looked at").warning.expect("a warning");
    let store = PostgresStore::open(wanted).await.expect("opens");
    let health = store.health().await.expect("health");
    assert_eq!((health.accepting, &health.warning), (true, &looked));
    assert_says(&looked, &["synchronous_standby_names is empty"]);
    store.close().await.expect("closed");

    let version = cluster.sql("good", "SELECT version FROM amtsbote.store");
    cluster.sql("good", "UPDATE amtsbote.store SET version = 99");
    assert_refused(right.clone(), &["version 99", "newer amtsbote"]).await;
    cluster.sql("good", "UPDATE amtsbote.store SET version = 0");
    assert_refused(right.clone(), &["version 0", "store upgrade"]).await;
    cluster.sql("good", &format!("UPDATE amtsbote.store SET version = {version}"));

    cluster.reconfigure(&["fsync = off"]);
    assert_refused(right, &["fsync", "postgresql.conf"]).await;

    let port = own_port();
    let nobody = hasty(&format!("host=127.0.0.1 port={port} user=amtsbote dbname=good"));
    assert_refused(nobody, &["cannot be reached", "running"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_while_running_is_named() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("running");
    let settings = Settings {
        connections_max: 2,
        patience: Duration::from_secs(3),
        question_time_max: Duration::from_secs(1),
        ..settings(&connection, "one")
    };
    let store = PostgresStore::open(settings).await.expect("a store");
    draft("a").send(&store).await.expect("accepted");

    // A question that waits for a lock ends at its bound; more questions than connections end at patience.
    let lock = "BEGIN; LOCK TABLE amtsbote.paper IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8); COMMIT";
    let id = draft("a").id;
    let found = with_lock(&cluster, lock, async || join_all((0..12).map(|_| store.find(&id))).await).await;
    let said: Vec<String> = found.into_iter().map(|answer| answer.expect_err("locked").to_string()).collect();
    assert!(said.iter().any(|said| said.contains("question_seconds")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("connections_max")), "{said:?}");
    store.find(&draft("a").id).await.expect("found again");

    // So does a command that is written, and the operator learns what it waited for; it is not stored behind his back.
    let lock = "BEGIN; LOCK TABLE amtsbote.message IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(7); COMMIT";
    let refused = with_lock(&cluster, lock, async || draft("locked").send(&store).await).await;
    assert_says(&refused.expect_err("refused").to_string(), &["holds a table or a row", "pg_locks"]);
    wait_for(&store, true).await;
    assert_eq!(draft("locked").send(&store).await.expect("accepted"), Accepted::New);

    // A right that is taken away is asked for again, and what needs others goes on.
    cluster.sql("running", "REVOKE INSERT ON amtsbote.payload FROM amtsbote");
    let refused = draft("rights").send(&store).await.expect_err("refused");
    assert_says(&refused.to_string(), &["lacks rights", "OWNER"]);
    cluster.sql("running", "GRANT INSERT ON amtsbote.payload TO amtsbote");
    assert_eq!(draft("rights").send(&store).await.expect("accepted"), Accepted::New);

    // A promise that is broken under way stops accepting, and the reason is there to be read.
    cluster.reconfigure(&["fsync = off"]);
    let health = wait_for(&store, false).await;
    assert_says(&health, &["fsync"]);
    let refused = draft("b").send(&store).await.expect_err("refused");
    assert_says(&refused.to_string(), &["fsync"]);
    cluster.reconfigure(&["fsync = on"]);
    wait_for(&store, true).await;
    draft("b").send(&store).await.expect("accepted");

    // The hosts lead to the data of another cluster.
    cluster.sql("running", "UPDATE amtsbote.store SET id = gen_random_uuid()");
    cluster
        .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'amtsbote'");
    let refused = draft("c").send(&store).await.expect_err("another store");
    assert_says(&refused.to_string(), &["another one than before", "connection"]);
    store.close().await.expect("closed");
}

/// Does something while this SQL holds its lock in the database `running`.
async fn with_lock<T>(cluster: &Cluster, lock: &str, work: impl AsyncFnOnce() -> T) -> T {
    let held = "SELECT count(*) FROM pg_locks WHERE granted AND mode IN ('AccessExclusiveLock', 'RowShareLock') \
                AND pid IN (SELECT pid FROM pg_stat_activity WHERE usename = 'postgres' AND wait_event = 'PgSleep')";
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let locking = scope.spawn(|| cluster.sql("running", lock));
            let end = Instant::now() + Duration::from_secs(5);
            while cluster.sql("running", held) == "0" {
                assert!(Instant::now() < end, "the lock is not taken");
            }
            let done = runtime.block_on(work());
            locking.join().expect("unlocked");
            done
        })
    })
}

/// Many that are over: no statement forgets more than a thousand, and none waits for what somebody is at work with.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_in_small_steps() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("running");
    let store = open(&connection, "one").await;
    cluster.sql(
        "running",
        "CREATE TABLE public.swept (many bigint); GRANT INSERT ON public.swept TO amtsbote; \
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           INSERT INTO public.swept SELECT count(*) FROM gone; RETURN NULL; END $$; \
         CREATE TRIGGER note AFTER DELETE ON amtsbote.dialog REFERENCING OLD TABLE AS gone \
           FOR EACH STATEMENT EXECUTE FUNCTION public.note(); \
         CREATE TRIGGER note AFTER DELETE ON amtsbote.used REFERENCING OLD TABLE AS gone \
           FOR EACH STATEMENT EXECUTE FUNCTION public.note(); \
         CREATE TRIGGER note AFTER DELETE ON amtsbote.iterator REFERENCING OLD TABLE AS gone \
           FOR EACH STATEMENT EXECUTE FUNCTION public.note(); \
         SET search_path = amtsbote; \
         INSERT INTO used (key, account, expires_at) SELECT 'a' || n, 'author', n FROM generate_series(1, 2500) n; \
         INSERT INTO iterator SELECT 'i' || n, 'author', n, '' FROM generate_series(1, 1200) n; \
         INSERT INTO dialog SELECT 'd' || n, 'author', '', NULL, false, 'c', 0, 0, 0, n FROM generate_series(1, 1100) n; \
         INSERT INTO dialog_delivery SELECT 'd' || n, 'm' FROM generate_series(1, 1100) n; \
         INSERT INTO used (key, account, expires_at) VALUES ('kept', 'author', 9223372036854775807)",
    );
    let lock =
        "BEGIN; SELECT id FROM amtsbote.dialog WHERE id = 'd7' FOR UPDATE; SELECT pg_sleep(2.5); COMMIT";
    let swept = with_lock(&cluster, lock, async || store.sweep(at(1)).await).await.expect("swept");
    assert_eq!(swept, 2500 + 1200 + 1100 - 1);
    assert_eq!(cluster.sql("running", "SELECT max(many) || ' ' || sum(many) FROM public.swept"), "1000 4799");
    let left = "SELECT (SELECT string_agg(id, ' ') FROM amtsbote.dialog), \
                (SELECT string_agg(dialog, ' ') FROM amtsbote.dialog_delivery), \
                (SELECT string_agg(key, ' ') FROM amtsbote.used), (SELECT count(*) FROM amtsbote.iterator)";
    assert_eq!(cluster.sql("running", left), "d7|d7|kept|0");
    assert_eq!(store.sweep(at(1)).await.expect("swept"), 1);
    store.close().await.expect("closed");
}

/// Another node has the turn; what comes meanwhile does not wait for a second one.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_node_waits_for_its_turn_goes_with_it() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("running");
    let store = Arc::new(open(&connection, "one").await);
    draft("first").send(&*store).await.expect("accepted");
    let transactions = || cluster.sql("running", "SELECT batch FROM amtsbote.node");
    let before: u32 = transactions().parse().expect("a number");
    let lock = "BEGIN; SELECT last FROM amtsbote.counter FOR UPDATE; SELECT pg_sleep(2.5); COMMIT";
    let sent = with_lock(&cluster, lock, async || {
        let send = |name: String| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { draft(&name).send(&*store).await })
        };
        let mut sent = vec![send("a-0".to_owned())];
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'amtsbote' AND wait_event_type = 'Lock'";
        let end = Instant::now() + Duration::from_secs(5);
        while cluster.sql("running", waiting) == "0" {
            assert!(Instant::now() < end, "it does not wait");
        }
        sent.extend((1..10).map(|n| send(format!("a-{n}"))));
        join_all(sent).await
    })
    .await;
    for sent in sent {
        assert_eq!(sent.expect("no panic").expect("accepted"), Accepted::New);
    }
    assert_eq!(transactions().parse(), Ok(before + 1));
    let listing = store.list(&of_mailbox("ags:1"), 0, 100).await.expect("a listing");
    assert_eq!(listing.entries.len(), 11);
    store.close().await.expect("closed");
}

/// Two hosts are named, and the second is no standby of the first but another cluster with a store of its own.
#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_store_is_not_written_to() {
    let Some(programs) = programs() else { return };
    let (ours, theirs) = (Cluster::start(&programs, &[]), Cluster::start(&programs, &[]));
    ours.database("office");
    let other = open(&theirs.database("office"), "one").await;
    draft("theirs").send(&other).await.expect("accepted");
    other.close().await.expect("closed");
    let both =
        format!("host=127.0.0.1,127.0.0.1 port={},{} user=amtsbote dbname=office", ours.port, theirs.port);
    let hasty = Settings { patience: Duration::from_secs(2), ..settings(&both, "one") };
    let store = PostgresStore::open(hasty).await.expect("a store");
    draft("ours").send(&store).await.expect("accepted");
    let rows = "SELECT (SELECT incarnation || ' ' || batch FROM amtsbote.node), (SELECT count(*) FROM amtsbote.message)";
    let before = theirs.sql("office", rows);
    ours.kill();
    let refused = draft("stray").send(&store).await.expect_err("another store");
    assert_says(&refused.to_string(), &["another one than before", "hosts in [store] connection"]);
    let listed = store.list(&of_mailbox("ags:1"), 0, 100).await.map(|listing| listing.entries.len());
    assert!(listed.is_err(), "another's mailbox is shown: {listed:?}");
    assert_says(&store.health().await.expect("health").reason, &["another one than before"]);
    assert_eq!(theirs.sql("office", rows), before, "it was written to");
    store.close().await.expect("closed");
}

/// What stands in rows is repeated in the DETAIL of an error, and nobody reads it in a log.
#[tokio::test(flavor = "multi_thread")]
async fn details_of_the_databases_errors_are_not_told() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("details");
    let store = open(&connection, "one").await;
    cluster.sql(
        "details",
        "CREATE FUNCTION amtsbote.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN          RAISE EXCEPTION 'not this one' USING DETAIL = 'Erika Mustermann', HINT = 'Heidestrasse'; END $$;          CREATE TRIGGER refuse BEFORE INSERT ON amtsbote.message FOR EACH ROW EXECUTE FUNCTION amtsbote.refuse()",
    );
    let said = draft("a").send(&store).await.expect_err("refused").to_string();
    assert!(said.contains("not this one") && said.contains("P0001"), "{said}");
    assert!(!said.contains("Mustermann") && !said.contains("Heidestrasse"), "{said}");
    store.close().await.expect("closed");
}

/// A chunk may be on its way when its payload is let go of.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_without_a_payload_are_swept() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("strays");
    let store = open(&connection, "one").await;
    let kept = Draft { content: content(7, 600_000), ..draft("kept") };
    kept.send(&store).await.expect("accepted");
    let mut staged = store.payload_writer().await.expect("a writer");
    staged.write(&content(1, 600_000)).await.expect("taken");
    store.close().await.expect("closed");
    let names =
        "SELECT string_agg(DISTINCT left(name, 5), ' ') FROM amtsbote.payload_chunk WHERE name LIKE 'stray%'";
    cluster.sql(
        "strays",
        "INSERT INTO amtsbote.payload_chunk SELECT 'stray' || n, 0, 'x' FROM generate_series(1, 1500) n",
    );
    assert_eq!(cluster.sql("strays", names), "stray");
    let store = open(&connection, "two").await;
    let end = Instant::now() + Duration::from_secs(20);
    let left = "SELECT count(*) < 600 FROM amtsbote.payload_chunk WHERE name LIKE 'stray%'";
    while cluster.sql("strays", left) != "t" {
        assert!(Instant::now() < end, "nobody sweeps");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A look goes as far as a thousand names; the next one, by whichever node, further.
    let bytes = crate::store_fixture::payload_of(&store, &kept.id, 0, u64::MAX).await.expect("bytes");
    assert!(bytes == kept.content);
    let whole = "SELECT count(*) FROM amtsbote.payload_chunk WHERE name NOT LIKE 'stray%'";
    assert_eq!(cluster.sql("strays", whole), "5", "three of the message, two of what is being staged");
    drop(staged);
    store.close().await.expect("closed");
}

/// Waits until the store accepts, or does not; the reason.
async fn wait_for(store: &PostgresStore, accepting: bool) -> String {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let health = store.health().await.expect("health");
        if health.accepting == accepting {
            return health.reason;
        }
        assert!(Instant::now() < end, "{health:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
