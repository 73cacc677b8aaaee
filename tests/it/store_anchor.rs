//! The nodes' evidence logs hold each other: what was anchored, what is found when one of them is changed on purpose, and
//! how a log ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::clock::SystemClock;
use amtsbote::domain::state::Event;
use amtsbote::evidence::anchor::Line;
use amtsbote::evidence::checkpoint::SigningKey;
use amtsbote::evidence::tree::leaf_hash;
use amtsbote::relay::{self, Relay};
use amtsbote::store::postgres::{
    Claim, LogsReport, OpenError, PostgresStore, RetireError, Settings, retire, verify_logs,
};
use amtsbote::store::{AdminAct, Store, StoreError};

use crate::cli_fixture::amtsbote;
use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::{Draft, at, change, content, draft};

const NODES: [&str; 3] = ["one", "two", "three"];

fn key(node: usize) -> SigningKey {
    SigningKey::from_seed(&format!("post.example.org/{node}"), &[node as u8 + 1; 32]).expect("a key")
}

async fn open(connection: &str, node: &str) -> PostgresStore {
    PostgresStore::open(Settings::new(connection, node)).await.expect("a store")
}

async fn sign(store: &dyn Store, node: usize) -> u64 {
    let size = store.evidence_size().await.expect("a size");
    let root = store.tree_root(size).await.expect("a root");
    store.save_checkpoint(size, &key(node).sign(size, &root)).await.expect("a checkpoint");
    size
}

async fn look(connection: &str) -> LogsReport {
    let keys: Vec<_> = (0..3).map(|node| key(node).verifier().clone()).collect();
    verify_logs(Settings::new(connection, "looking"), &keys, &[]).await.expect("logs")
}

#[track_caller]
fn assert_sound(report: &LogsReport) {
    assert!(report.is_sound(), "{:#?}", report.problems);
}

/// Three nodes with messages, whose logs hold each other's first checkpoints and are signed over that.
async fn three(connection: &str) -> Vec<PostgresStore> {
    let mut stores = Vec::new();
    for node in NODES {
        stores.push(open(connection, node).await);
    }
    for (node, store) in stores.iter().enumerate() {
        // The second log is long enough to have stored nodes of its tree.
        let messages = if node == 1 { 300 } else { 5 };
        let sent = (0..messages).map(|n| {
            let draft = draft(&format!("{node}-{n}"));
            async move { draft.send(store).await }
        });
        assert!(futures_util::future::join_all(sent).await.iter().all(Result::is_ok));
        sign(store, node).await;
    }
    for store in &stores {
        assert_eq!(store.anchor_others(at(60)).await.expect("anchored"), 2);
    }
    for (node, store) in stores.iter().enumerate() {
        sign(store, node).await;
    }
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_hold_each_other_and_come_to_rest() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let stores = three(&connection).await;
    // Anchors alone are not anchored again.
    for store in &stores {
        assert_eq!(store.anchor_others(at(120)).await.expect("nothing"), 0);
    }
    let report = look(&connection).await;
    assert_sound(&report);
    let seen: Vec<_> = report
        .nodes
        .iter()
        .map(|log| (log.node.as_str(), log.records, log.checkpoints, log.held_by_others))
        .collect();
    assert_eq!(seen, [("one", 7, 2, 5), ("three", 7, 2, 5), ("two", 302, 2, 300)]);
    let lines = stores[0].evidence_records(5, 2).await.expect("records");
    for line in lines {
        assert!(matches!(Line::from_bytes(&line.bytes), Ok(Line::Anchor(_))), "{line:?}");
    }

    // A node that comes back goes on with its log.
    stores[1].close().await.expect("closed");
    let two = open(&connection, "two").await;
    assert_eq!(two.evidence_size().await.expect("a size"), 302);
    draft("back").send(&two).await.expect("accepted");
    assert_eq!(sign(&two, 1).await, 303);
    assert_eq!(stores[0].anchor_others(at(180)).await.expect("anchored"), 1);
    let report = look(&connection).await;
    assert_sound(&report);
    assert_eq!(report.nodes[2].held_by_others, 303);

    // What left the house is compared with the logs.
    let good = Claim { place: "good.txt".into(), size: 303, root: two.tree_root(303).await.expect("a root") };
    let other = Claim { place: "other.txt".into(), size: 303, root: [7; 32] };
    let report = verify_logs(Settings::new(&connection, "x"), &[], &[good, other]).await.expect("logs");
    let found: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(found, ["other.txt: no log of this store agrees with its checkpoint of 303 records"]);
    // Somebody else's signature is none.
    let wrong = [key(7).verifier().clone()];
    let report = verify_logs(Settings::new(&connection, "x"), &wrong, &[]).await.expect("logs");
    assert_eq!(report.problem_count, 7);
    for store in stores.iter().chain([&two]) {
        store.close().await.expect("closed");
    }
}

/// SQL that changes something, and what must be said of it.
struct Break {
    name: &'static str,
    sql: &'static str,
    said: &'static str,
}

const BREAKS: [Break; 11] = [
    Break {
        name: "a byte of a record",
        sql: "UPDATE evidence SET bytes = set_byte(bytes, 70, get_byte(bytes, 70) # 1) WHERE node = 'two' AND idx = 17",
        said: "node two, record 17: its bytes or its hash was changed",
    },
    Break {
        name: "a record is gone",
        sql: "DELETE FROM evidence WHERE node = 'two' AND idx = 17",
        said: "node two, record 17: it is missing",
    },
    Break {
        name: "a stored node of the tree",
        sql: "UPDATE evidence_node SET hash = sha256('x') WHERE node = 'two' AND level = 8",
        said: "node two, record 0: the tree's node over 256 records from here on differs",
    },
    Break {
        name: "a record is given to another message",
        sql: "UPDATE evidence SET message = message + 1 WHERE node = 'two' AND idx = 3",
        said: "node two, record 3: it stands with another message than it names",
    },
    Break {
        name: "the end is cut off, and nothing of its own tells",
        sql: "DELETE FROM evidence WHERE node = 'two' AND idx >= 290; \
              DELETE FROM checkpoint WHERE node = 'two'; DELETE FROM anchor WHERE node = 'two'; \
              UPDATE node SET size = 290 WHERE name = 'two'",
        said: "node two, checkpoint of 300 records: the log has only 290 records, and record 6 of node one states it",
    },
    Break {
        name: "a checkpoint is gone",
        sql: "DELETE FROM checkpoint WHERE node = 'two' AND size = 300",
        said: "node two, checkpoint of 300 records: it is missing, and record 6 of node one states it",
    },
    Break {
        name: "a checkpoint's text",
        sql: "UPDATE checkpoint SET note = replace(note, '300', '299') WHERE node = 'two' AND size = 300",
        said: "node two, checkpoint of 300 records: its text was changed",
    },
    Break {
        name: "a whole log is gone",
        sql: "DELETE FROM evidence WHERE node = 'two'; DELETE FROM evidence_node WHERE node = 'two'; \
              DELETE FROM checkpoint WHERE node = 'two'; DELETE FROM anchor WHERE node = 'two'; \
              DELETE FROM node WHERE name = 'two'",
        said: "node two: its log is gone, and record 6 of node one states its checkpoint of 300 records",
    },
    Break {
        name: "what was written down of another is gone, and the log ends before it",
        sql: "DELETE FROM evidence WHERE node = 'one' AND idx >= 5; \
              DELETE FROM checkpoint WHERE node = 'one' AND size > 5; UPDATE node SET size = 5 WHERE name = 'one'",
        said: "node one, record 6: the checkpoint of 300 records of node two is missing here, where it was written down",
    },
    Break {
        name: "the list of what was written down",
        sql: "DELETE FROM anchor WHERE node = 'one' AND of_node = 'two'",
        said: "node one, record 6: the list of what was written down lacks the checkpoint of 300 records of node two",
    },
    Break {
        name: "the end that the node's row states",
        sql: "UPDATE node SET size = size - 1 WHERE name = 'three'",
        said: "node three: its log has 7 records where 6 belong",
    },
];

/// What became of a message at one node is in that node's log, and its card is in the database for all.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_held_against_the_logs_of_all_nodes() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let (one, two) = (open(&connection, "one").await, open(&connection, "two").await);
    for (name, length) in [("a", 100), ("b", 300_000), ("c", 100), ("d", 100), ("e", 100)] {
        let draft = Draft { content: content(7, length), ..draft(name) };
        draft.send(&one).await.expect("accepted");
    }
    let was = "CREATE TABLE SCHEMA.paper AS TABLE paper; CREATE TABLE SCHEMA.message AS TABLE message;";
    let early =
        format!("SET search_path = amtsbote; CREATE SCHEMA early; {}", was.replace("SCHEMA", "early"));
    cluster.sql("office", &early);
    two.change(change("a", Event::HandedOut, 70)).await.expect("handed out");
    two.change(change("c", Event::CancelledByOperator, 70)).await.expect("cancelled");
    one.purge_payload(&draft("c").id, at(80)).await.expect("purged");
    one.change(change("d", Event::CancelledByOperator, 70)).await.expect("cancelled");
    two.purge_card(&draft("d").id, at(80)).await.expect("purged");
    let report = look(&connection).await;
    assert_sound(&report);
    assert_eq!(report.messages, Some(4));

    let flip = |column: &str| format!("SET {column} = set_byte({column}, 9, get_byte({column}, 9) # 1)");
    let of =
        |name: &str| format!("sequence = (SELECT sequence FROM message WHERE id = '{}')", draft(name).id);
    let used =
        format!("sequence = (SELECT sequence FROM used WHERE key = '{}')", draft("e").id.key().as_str());
    for (sql, name, said) in [
        (
            format!("UPDATE paper {} WHERE {}", flip("card"), of("a")),
            "a",
            "the card is not the one in the evidence log",
        ),
        (format!("UPDATE paper {} WHERE {}", flip("envelope"), of("a")), "a", "the envelope was changed"),
        (format!("DELETE FROM paper WHERE {}", of("c")), "c", "envelope and card are missing"),
        (
            format!("UPDATE message SET mailbox = 'ags:9' WHERE {}", of("c")),
            "c",
            "the index of messages says other than the card",
        ),
        (
            format!("UPDATE message SET offered = NOT offered WHERE {}", of("e")),
            "e",
            "the mailbox says other than the card",
        ),
        (
            format!("UPDATE message {} WHERE {}", flip("payload_digest"), of("c")),
            "c",
            "the payload's digest is not the one in the evidence log",
        ),
        (format!("UPDATE payload {} WHERE {}", flip("bytes"), of("a")), "a", "the payload was changed"),
        (format!("UPDATE payload_chunk {} WHERE number = 1", flip("bytes")), "b", "the payload was changed"),
        (format!("DELETE FROM payload WHERE {}", of("a")), "a", "is too short"),
        ("DELETE FROM payload_chunk WHERE number = 1".to_owned(), "b", "chunk 1 of payload"),
        (format!("DELETE FROM message WHERE {used}"), "e", "it is missing"),
        (
            format!(
                "DELETE FROM payload WHERE {of_a}; UPDATE message SET payload_place = 0 WHERE {of_a}",
                of_a = of("a")
            ),
            "a",
            "whether the payload was purged is not what the card says",
        ),
        (format!("DELETE FROM timer WHERE {}", of("e")), "e", "a timer is missing"),
        // Back to what the first node has logged last: whoever took it at the second one might take it again.
        (
            format!(
                "UPDATE paper SET card = (SELECT card FROM early.paper e WHERE e.sequence = paper.sequence) WHERE {of_a}; \
                 CREATE TEMP TABLE back AS SELECT * FROM early.message WHERE id = '{}'; DELETE FROM message WHERE {of_a}; \
                 INSERT INTO message TABLE back",
                draft("a").id,
                of_a = of("a")
            ),
            "a",
            "the card does not say what the evidence log says of it",
        ),
    ] {
        cluster.sql(
            "office",
            &format!(
                "CREATE SCHEMA was; SET search_path = amtsbote; {} CREATE TABLE was.payload AS TABLE payload; \
                 CREATE TABLE was.timer AS TABLE timer; \
                 CREATE TABLE was.payload_chunk AS TABLE payload_chunk; {sql}",
                was.replace("SCHEMA", "was")
            ),
        );
        let report = look(&connection).await;
        let found: Vec<_> = report
            .problems
            .iter()
            .map(|problem| (problem.message.as_deref(), problem.what.as_str()))
            .collect();
        let id = draft(name).id;
        let is_named =
            |(whose, what): &(Option<&str>, &str)| *whose == Some(id.as_str()) && what.contains(said);
        assert!(found.iter().any(is_named), "{sql}: {found:#?}");
        cluster.sql(
            "office",
            "SET search_path = amtsbote; TRUNCATE paper, message, payload, payload_chunk, timer; \
             INSERT INTO timer TABLE was.timer; \
             INSERT INTO paper TABLE was.paper; INSERT INTO message TABLE was.message; \
             INSERT INTO payload TABLE was.payload; INSERT INTO payload_chunk TABLE was.payload_chunk; DROP SCHEMA was CASCADE",
        );
    }
    assert_sound(&look(&connection).await);

    for (sql, back, said) in [
        (
            "INSERT INTO timer VALUES (1, 999, 1)",
            "DELETE FROM timer WHERE sequence = 999",
            "there are 5 timers where 4 belong",
        ),
        (
            "INSERT INTO timer SELECT 1, sequence, 1 FROM message WHERE state = 1",
            "DELETE FROM timer WHERE at = 1",
            "there are 6 timers where 4 belong",
        ),
        (
            "UPDATE mailbox SET waiting = waiting + 1",
            "UPDATE mailbox SET waiting = waiting - 1",
            "the counters of mailbox ags:1 are wrong",
        ),
        (
            "INSERT INTO mailbox (name, bytes_waiting) VALUES ('ags:9', 5)",
            "UPDATE mailbox SET bytes_waiting = 0 WHERE name = 'ags:9'",
            "the counters of mailbox ags:9 are wrong",
        ),
    ] {
        cluster.sql("office", &format!("SET search_path = amtsbote; {sql}"));
        let report = look(&connection).await;
        let found: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(found, [said]);
        cluster.sql("office", &format!("SET search_path = amtsbote; {back}"));
    }
    assert_sound(&look(&connection).await);
    for store in [one, two] {
        store.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_is_named() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    for store in three(&connection).await {
        store.close().await.expect("closed");
    }
    assert_sound(&look(&connection).await);
    let copy = |name: &str| {
        let copied = format!("CREATE DATABASE {name} TEMPLATE office OWNER amtsbote");
        let end = Instant::now() + Duration::from_secs(30);
        // The sessions of before have to be gone.
        while cluster.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'office'") != "0"
        {
            assert!(Instant::now() < end, "somebody stays connected");
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster.sql("postgres", &copied);
        cluster.connection(name)
    };
    for (number, Break { name, sql, said }) in BREAKS.iter().enumerate() {
        let database = format!("broken_{number}");
        let broken = copy(&database);
        cluster.sql(&database, &format!("SET search_path = amtsbote; {sql}"));
        let report = look(&broken).await;
        let found: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
        assert!(found.contains(said), "{name}: {found:#?}");
    }

    // A log that was rewritten with all that belongs to it, and signed anew with its own key.
    let broken = copy("rewritten");
    let two = open(&broken, "two").await;
    let record = two.evidence_records(40, 1).await.expect("records").remove(0);
    let text = String::from_utf8(record.bytes).expect("text").replace("accepted", "received");
    two.close().await.expect("closed");
    let hex = |bytes: &[u8]| amtsbote::domain::hex::lower(bytes);
    let (bytes, leaf) = (hex(text.as_bytes()), hex(&leaf_hash(text.as_bytes())));
    cluster.sql(
        "rewritten",
        &format!(
            "UPDATE amtsbote.evidence SET bytes = '\\x{bytes}', leaf = '\\x{leaf}' WHERE node = 'two' AND idx = 40"
        ),
    );
    let report = look(&broken).await;
    let found: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    let own = "node two, checkpoint of 300 records: its root is not that of the log; what was changed lies in records 0 to 299";
    assert!(found.contains(&own), "{found:#?}");
    let computed = report.nodes[2].root;
    mend_tree(&cluster, "rewritten");
    let two = open(&broken, "two").await;
    assert_eq!(two.tree_root(302).await.expect("a root"), computed.0);
    for size in [300, 302] {
        let root = two.tree_root(size).await.expect("a root");
        let note = key(1).sign(size, &root);
        let kept = two.save_checkpoint(size, &note).await;
        // The store itself keeps none beside what others have written down.
        let refused = matches!(kept, Err(StoreError::Outdated { found: 2 }));
        assert!(if size == 300 { refused } else { kept.is_ok() }, "{size}: {kept:?}");
        put_checkpoint(&cluster, "rewritten", size, &note);
    }
    let report = look(&broken).await;
    let found: Vec<&str> = report.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(
        found,
        [
            "node two, checkpoint of 300 records: the log contradicts it as record 6 of node one states it",
            "node two, checkpoint of 300 records: it is another than record 6 of node one states",
            "node two, checkpoint of 300 records: the log contradicts it as record 6 of node three states it",
            "node two, checkpoint of 300 records: it is another than record 6 of node three states",
        ]
    );
    // The others notice at the next checkpoint, and do not cover it.
    draft("more").send(&two).await.expect("accepted");
    sign(&two, 1).await;
    let one = open(&broken, "one").await;
    let refused = one.anchor_others(at(300)).await;
    assert!(
        matches!(&refused, Err(StoreError::Corrupt(what)) if what.contains("node two contradicts the checkpoint of 300")),
        "{refused:?}"
    );
    one.close().await.expect("closed");
    two.close().await.expect("closed");

    // A checkpoint that its own log contradicts is not written down either.
    let broken = copy("contradicted");
    let (one, two) = (open(&broken, "one").await, open(&broken, "two").await);
    draft("more").send(&two).await.expect("accepted");
    let size = two.evidence_size().await.expect("a size");
    // The store itself keeps none like it.
    put_checkpoint(&cluster, "contradicted", size, &key(1).sign(size, &[9; 32]));
    let refused = one.anchor_others(at(300)).await;
    let said = format!("node two contradicts the checkpoint of {size} records of its own");
    assert!(matches!(&refused, Err(StoreError::Corrupt(what)) if what.contains(&said)), "{refused:?}");
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// As whoever can write to the database does it.
fn put_checkpoint(cluster: &Cluster, database: &str, size: u64, note: &str) {
    let note = amtsbote::domain::hex::lower(note.as_bytes());
    let put = format!(
        "INSERT INTO amtsbote.checkpoint SELECT 'two', {size}, convert_from(note, 'UTF8'), sha256(note) \
         FROM (SELECT '\\x{note}'::bytea AS note) given \
         ON CONFLICT (node, size) DO UPDATE SET note = excluded.note, digest = excluded.digest"
    );
    cluster.sql(database, &put);
}

/// Stores the one node that the tree of the second log has, anew.
fn mend_tree(cluster: &Cluster, database: &str) {
    let leaves = cluster.sql(
        database,
        "SELECT string_agg(encode(leaf, 'hex'), '' ORDER BY idx) FROM amtsbote.evidence WHERE node = 'two' AND idx < 256",
    );
    let bytes: Vec<u8> = (0..leaves.len() / 2)
        .map(|at| u8::from_str_radix(&leaves[at * 2..at * 2 + 2], 16).expect("hex"))
        .collect();
    let leaves: Vec<[u8; 32]> = bytes.chunks(32).map(|leaf| leaf.try_into().expect("32 bytes")).collect();
    let root = amtsbote::evidence::tree::perfect(&leaves).expect("256 leaves");
    let root = amtsbote::domain::hex::lower(&root);
    cluster.sql(
        database,
        &format!("UPDATE amtsbote.evidence_node SET hash = '\\x{root}' WHERE node = 'two' AND level = 8"),
    );
}

fn act() -> AdminAct {
    AdminAct {
        at: at(500),
        by: "root".to_owned(),
        act: "evidence close".to_owned(),
        object: "two".to_owned(),
        reason: "the machine is gone".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_nodes_log_is_closed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let stores = three(&connection).await;
    let settings = || Settings { patience: Duration::from_secs(2), ..Settings::new(&connection, "one") };
    let end = |node: &'static str| async move { retire(settings(), node, &key(0), act()).await };

    let refused = end("two").await.expect_err("it is at work").to_string();
    assert!(refused.contains("another process works as node two"), "{refused}");
    assert!(matches!(end("nobody").await, Err(RetireError::Unknown(_))));
    stores[1].close().await.expect("closed");
    // The last session of whoever worked as it may take a moment to end.
    let patience = Instant::now() + Duration::from_secs(30);
    let ended = || async {
        loop {
            match end("two").await {
                Err(RetireError::Store(OpenError::NameTaken(_))) if Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                how => break how,
            }
        }
    };
    let last = ended().await.expect("closed");
    assert_eq!((last.size, last.origin.as_str()), (303, "post.example.org/0"));
    let again = ended().await;
    assert!(matches!(again, Err(RetireError::Closed(_))), "{again:?}");
    let refused = loop {
        match PostgresStore::open(settings_of(&connection, "two")).await.err().expect("closed") {
            OpenError::NameTaken(_) if Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            refused => break refused.to_string(),
        }
    };
    assert!(refused.contains("the log of node two is closed"), "{refused}");

    // The others write down how it ended.
    assert_eq!(stores[0].anchor_others(at(600)).await.expect("anchored"), 1);
    sign(&stores[0], 0).await;
    let report = look(&connection).await;
    assert_sound(&report);
    let two = &report.nodes[2];
    assert_eq!((two.closed, two.records, two.checkpoints, two.held_by_others), (true, 303, 3, 303));
    assert_eq!(stores[0].acts(1).await.expect("acts")[0], act());

    // What is written behind the end is named; an end that is gone as well.
    let bytes = "convert_to('x', 'UTF8')";
    let leaf = "sha256('\\x0078')";
    cluster.sql("office", &format!("INSERT INTO amtsbote.evidence VALUES ('two', 303, 1, {leaf}, {bytes})"));
    let report = look(&connection).await;
    let behind = "node two, record 303: it stands behind the end of the log";
    assert!(report.problems.iter().any(|problem| problem.what == behind), "{:#?}", report.problems);
    cluster.sql("office", "DELETE FROM amtsbote.evidence WHERE node = 'two' AND idx > 301");
    let report = look(&connection).await;
    let gone = "node two: its log was closed, and its last line is missing";
    assert!(report.problems.iter().any(|problem| problem.what == gone), "{:#?}", report.problems);
    // What is not sound is not signed.
    cluster
        .sql("office", "UPDATE amtsbote.evidence SET bytes = bytes || 'x' WHERE node = 'three' AND idx = 2");
    stores[2].close().await.expect("closed");
    let refused = end("three").await.expect_err("it was changed");
    assert!(matches!(&refused, RetireError::Unsound(node, _) if node == "three"), "{refused}");
    stores[0].close().await.expect("closed");
}

fn settings_of(connection: &str, node: &str) -> Settings {
    Settings { patience: Duration::from_secs(2), ..Settings::new(connection, node) }
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_anchor_each_other_by_themselves() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let mut works = Vec::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut stores = Vec::new();
    for (number, node) in NODES.iter().take(2).enumerate() {
        let store = Arc::new(open(&connection, node).await);
        let settings = relay::Settings {
            checkpoint_interval: Duration::from_millis(100),
            ..relay::Settings::new("amt", "https://post.example.org")
        };
        let relay = Relay::new(store.clone(), Arc::new(SystemClock), settings);
        relay.sign_checkpoints_with(Arc::new(key(number)));
        works.push(tokio::spawn(relay.run(stopped.clone())));
        stores.push(store);
    }
    for (number, store) in stores.iter().enumerate() {
        // These relays know what day it is.
        let draft = Draft { expire_at: at(400 * 86_400), ..draft(&format!("m{number}")) };
        draft.send(&**store).await.expect("accepted");
    }
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let report = look(&connection).await;
        assert_sound(&report);
        if report.nodes.iter().all(|log| log.held_by_others > 0) {
            break;
        }
        assert!(Instant::now() < end, "{report:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Then they are at rest.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sizes = (stores[0].evidence_size().await.expect("it"), stores[1].evidence_size().await.expect("it"));
    assert!(sizes.0 <= 3 && sizes.1 <= 3, "{sizes:?}");
    stop.send(true).expect("they listen");
    for work in works {
        work.await.expect("nobody panicked");
    }
    assert_sound(&look(&connection).await);
    for store in stores {
        store.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_verifies_and_closes() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    for store in three(&connection).await {
        store.close().await.expect("closed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let config = format!(
        "[store]\nengine = \"postgres\"\nconnection = \"{connection}\"\nnode = \"one\"\n\
         [evidence]\norigin = \"post.example.org/evidence\"\nkey = \"evidence.key\"\n"
    );
    std::fs::write(folder.join("amtsbote.toml"), config).expect("written");
    amtsbote::app::evidence_key::make(&folder.join("evidence.key"), "post.example.org/evidence")
        .expect("a key");
    let verify = ["evidence", "verify", "--database"];
    let ran = amtsbote(folder, &verify).ends(0);
    assert!(ran.stdout.contains("held by others") && ran.stderr.contains("All logs are sound"), "{ran:#?}");

    let close = ["evidence", "close", "two", "--reason", "sold", "--yes"];
    assert!(amtsbote(folder, &close).ends(0).stderr.contains("closed with 303 records"));
    amtsbote(folder, &close).ends(1);
    amtsbote(folder, &["evidence", "close", "nobody", "--reason", "sold", "--yes"]).ends(6);

    cluster.sql(
        "office",
        "UPDATE amtsbote.evidence SET bytes = set_byte(bytes, 70, get_byte(bytes, 70) # 1) \
         WHERE node = 'three' AND idx = 1",
    );
    let ran = amtsbote(folder, &verify).ends(4);
    assert!(ran.stderr.contains("node three, record 1: its bytes or its hash was changed."), "{ran:#?}");
    let told = amtsbote(folder, &[&verify[..], &["--json"]].concat()).ends(4).json();
    let first = &told["problems"][0];
    assert_eq!((&first["node"], &first["record"]), (&"three".into(), &1.into()), "{told}");
    cluster.sql(
        "office",
        "UPDATE amtsbote.evidence SET bytes = set_byte(bytes, 70, get_byte(bytes, 70) # 1) \
         WHERE node = 'three' AND idx = 1; DELETE FROM amtsbote.paper WHERE sequence = 3",
    );
    let ran = amtsbote(folder, &verify).ends(4);
    assert!(ran.stderr.contains("(sequence 3): envelope and card are missing."), "{ran:#?}");
    assert!(ran.stderr.contains("The logs are sound, and messages are not what they say."), "{ran:#?}");
    let told = amtsbote(folder, &[&verify[..], &["--json"]].concat()).ends(4).json();
    assert!(told["messages"].as_u64() > Some(0), "{told}");
    assert!(told["problems"][0]["message"].as_str().is_some_and(|id| id.starts_with("urn:")), "{told}");
    std::fs::write(folder.join("amtsbote.toml"), "[store]\nfolder = \"s\"\n").expect("written");
    assert!(amtsbote(folder, &verify).ends(2).stderr.contains("verify --store"));
}

/// A node at work, with these keys of before.
fn relay_of(store: &Arc<PostgresStore>, signing: usize, former: &[usize]) -> Arc<Relay> {
    let settings = relay::Settings {
        former_evidence_keys: former.iter().map(|node| key(*node).verifier().clone()).collect(),
        directory_poll_interval: Duration::from_millis(200),
        ..relay::Settings::new("amt", "https://post.example.org")
    };
    let relay = Relay::new(store.clone(), Arc::new(SystemClock), settings);
    relay.sign_checkpoints_with(Arc::new(key(signing)));
    relay
}

/// The checkpoint that others have written down stays as it is until the log grows.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_node_changes_its_key_and_nobody_is_alarmed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let (one, two) = (Arc::new(open(&connection, "one").await), Arc::new(open(&connection, "two").await));
    draft("m").send(&*two).await.expect("accepted");
    assert_eq!(sign(&*two, 1).await, 1);
    assert_eq!(one.anchor_others(at(60)).await.expect("anchored"), 1);
    sign(&*one, 0).await;
    let relay = relay_of(&two, 2, &[1]);
    assert_eq!(relay.sign_checkpoint().await.expect("nothing to sign"), None);
    let changed = key(2).sign(1, &two.tree_root(1).await.expect("a root"));
    let refused = two.save_checkpoint(1, &changed).await;
    assert!(matches!(refused, Err(StoreError::Outdated { .. })), "{refused:?}");
    assert_sound(&look(&connection).await);
    draft("n").send(&*two).await.expect("accepted");
    let signed = relay.sign_checkpoint().await.expect("signed").expect("it has grown");
    assert_eq!((signed.size, signed.origin.as_str()), (2, "post.example.org/2"));
    assert_sound(&look(&connection).await);
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}

/// Nothing in the database tells of it: no other node had written down so much, and the messages are gone as well.
const CUT: &str = "SET search_path = amtsbote; DELETE FROM evidence WHERE idx >= 1; \
    DELETE FROM checkpoint; UPDATE node SET size = 1; UPDATE counter SET last = 1; \
    DELETE FROM message WHERE sequence > 1; DELETE FROM paper WHERE sequence > 1; DELETE FROM payload WHERE sequence > 1; \
    DELETE FROM timer WHERE sequence > 1; DELETE FROM used WHERE sequence > 1; DELETE FROM mailbox; \
    INSERT INTO mailbox SELECT mailbox, count(*), 0, count(*), 0, 0, sum(payload_bytes) FROM message GROUP BY mailbox";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_work_notices_that_its_log_was_cut() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let store = Arc::new(open(&connection, "one").await);
    let relay = relay_of(&store, 0, &[]);
    for name in ["a", "b", "c"] {
        draft(name).send(&*store).await.expect("accepted");
    }
    assert_eq!(relay.sign_checkpoint().await.expect("signed").map(|signed| signed.size), Some(3));
    assert_eq!(relay.sign_checkpoint().await.expect("quiet"), None);
    cluster.sql("office", CUT);
    assert_sound(&look(&connection).await);
    let refused = relay.sign_checkpoint().await.expect_err("it has signed more");
    let said = amtsbote::report::Failure::from(refused).detail;
    assert!(said.contains("does not continue the 3 records that this node has signed"), "{said}");
    store.close().await.expect("closed");
}

#[test]
fn a_log_that_was_cut_is_noticed_at_the_start_and_by_verification() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let mut nodes = crate::nodes_office::open(&connection, 1);
    for text in ["one", "two"] {
        nodes[0].post(text);
    }
    crate::nodes_office::stop(&mut nodes);
    let verify = ["evidence", "verify", "--database"];
    nodes[0].run(&verify).ends(0);
    let head = nodes[0].path("store").join("evidence-head-relay-1");
    assert!(head.exists(), "{}", head.display());
    cluster.sql("office", CUT);
    let ran = nodes[0].run(&verify).ends(4);
    assert!(ran.stderr.contains("evidence-head-relay-1: no log of this store agrees"), "{ran:#?}");
    let ran = nodes[0].run(&["serve"]).ends(1);
    assert!(ran.stderr.contains("does not continue the 2 records that this node has signed"), "{ran:#?}");
    assert!(ran.stderr.contains("evidence-head-relay-1 aside"), "{ran:#?}");
    // The store was put back on purpose.
    std::fs::rename(&head, nodes[0].path("head-of-before")).expect("moved");
    nodes[0].start_again();
    crate::nodes_office::stop(&mut nodes);
    nodes[0].run(&verify).ends(0);
}

/// The net under the notices: nobody tells, and it is read all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_changed_elsewhere_is_read_without_a_notice() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let (one, two) = (Arc::new(open(&connection, "one").await), open(&connection, "two").await);
    let relay = relay_of(&one, 0, &[]);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let work = tokio::spawn(relay.clone().run(stopped));
    // After the start has read it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let changed = two.apply_directory(0, Vec::new(), Vec::new(), act()).await.expect("applied");
    let end = Instant::now() + Duration::from_secs(20);
    while relay.directory().revision() != changed.revision() {
        assert!(Instant::now() < end, "nobody reads it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send(true).expect("it listens");
    work.await.expect("nobody panicked");
    one.close().await.expect("closed");
    two.close().await.expect("closed");
}
