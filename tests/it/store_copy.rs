//! `amtsbote store copy`: a real embedded store into a real PostgreSQL, killed on the way and gone on with, held against the
//! source afterwards; what must not be copied, and where nothing may be copied to.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::evidence::checkpoint::SigningKey;
use amtsbote::store::embedded::{EmbeddedStore, Settings as EmbeddedSettings, Synchronous};
use amtsbote::store::postgres::{PostgresStore, Settings};
use amtsbote::store::{Accepted, AdminAct, Iterator, MessageQuery, Statement, Store, StoreError};
use futures_util::future::join_all;

use crate::cli_fixture::{BINARY, amtsbote};
use crate::postgres_cluster::{Cluster, programs};
use crate::store_fixture::*;
use crate::store_oracle::assert_evidence;

const MESSAGES: usize = 1200;

fn one(n: usize) -> Draft {
    let length = match n % 100 {
        0 => 300_000 + n,
        1 => 70_000,
        _ => 200 + n,
    };
    Draft {
        content: content(n as u64, length),
        mailbox: mailbox(&format!("ags:{}", n % 7)),
        not_before: (n % 11 == 3).then(|| at(5000)),
        relates_to: if n % 13 == 5 { vec![id(&format!("m{}", n - 1))] } else { Vec::new() },
        remind_at: (n % 5 == 2).then(|| at(700)),
        ..draft(&format!("m{n}"))
    }
}

fn open_source(folder: &Path) -> EmbeddedStore {
    let settings = EmbeddedSettings {
        disk_reserve_bytes: 0,
        synchronous: Synchronous::Normal,
        ..EmbeddedSettings::new(folder)
    };
    EmbeddedStore::open(settings).expect("a store")
}

/// A store with something in every table.
async fn fill(folder: &Path, messages: usize) {
    let store = open_source(folder);
    let sent = join_all((0..messages).map(|n| {
        let store = &store;
        async move { one(n).send(store).await }
    }));
    assert!(sent.await.into_iter().all(|answer| matches!(answer, Ok(Accepted::New))));
    for n in (0..messages).filter(|n| n % 11 != 3).step_by(4) {
        let name = format!("m{n}");
        store.change(change(&name, Event::HandedOut, 10)).await.expect("handed out");
        if n % 8 == 0 {
            store.change(change(&name, Event::Received, 20)).await.expect("received");
        }
        if n % 16 == 0 {
            store.purge_payload(&id(&name), at(90_000)).await.expect("purged");
        }
        if n % 64 == 0 {
            store.purge_card(&id(&name), at(200_000)).await.expect("purged");
        }
    }
    let said =
        Statement { id: "said-1".to_owned(), at: at(30), by: account("reader"), text: "ey…".to_owned() };
    store.declare(change("m5", Event::HandedOut, 30), said).await.expect("declared");
    store.announce(&id("announced"), &account("author"), at(0), at(86_400)).await.expect("announced");
    let iterator = Iterator {
        id: "walk".to_owned(),
        account: account("reader"),
        selection: of_mailbox("ags:1"),
        position: 3,
        handed_out: Vec::new(),
        page_size: 10,
        expires_at: at(86_400),
    };
    store.save_iterator(&iterator).await.expect("saved");
    let act = AdminAct {
        at: at(1),
        by: "root".to_owned(),
        act: "participant apply".to_owned(),
        object: "office".to_owned(),
        reason: "first".to_owned(),
    };
    store.apply_directory(0, Vec::new(), Vec::new(), act).await.expect("applied");
    let key = SigningKey::from_seed("post.example.org/evidence", &[7; 32]).expect("a key");
    let size = store.evidence_size().await.expect("a size");
    let root = store.tree_root(size).await.expect("a root");
    store.save_checkpoint(size, &key.sign(size, &root)).await.expect("a checkpoint");
    store.close().await.expect("closed");
}

fn configure(folder: &Path, connection: &str) {
    let config = format!("[store]\nengine = \"postgres\"\nconnection = \"{connection}\"\nnode = \"one\"\n");
    std::fs::write(folder.join("target.toml"), config).expect("written");
}

const COPY: [&str; 6] = ["store", "copy", "--from", "sqlite:source", "--to", "postgres:target.toml"];

fn start(folder: &Path) -> Child {
    let mut command = Command::new(BINARY);
    command.args(COPY).current_dir(folder).env_remove("AMTSBOTE_CONFIG");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
}

/// Kills a copy as soon as that table has rows; false where it was through before that.
fn kill_when(cluster: &Cluster, folder: &Path, table: &str) -> bool {
    let mut copying = start(folder);
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let begun =
            cluster.sql("office", "SELECT count(*) FROM pg_tables WHERE schemaname = 'amtsbote'") != "0";
        if begun && cluster.sql("office", &format!("SELECT count(*) FROM amtsbote.{table}")) != "0" {
            break;
        }
        if copying.try_wait().expect("its state").is_some() {
            break;
        }
        assert!(Instant::now() < end, "nothing arrives in {table}");
        std::thread::sleep(Duration::from_millis(3));
    }
    copying.kill().expect("killed");
    copying.wait().expect("ended");
    cluster.sql("office", "SELECT version FROM amtsbote.store") == "-1"
}

#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_with_everything_though_the_copy_is_killed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("office");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fill(&folder.join("source"), MESSAGES).await;
    fill(&folder.join("other"), 70).await;
    configure(folder, &connection);

    let killed = ["used", "paper", "payload", "evidence", "payload_large"]
        .map(|table| kill_when(&cluster, folder, table));
    println!("killed on the way: {killed:?}");
    assert!(killed.iter().filter(|killed| **killed).count() >= 2, "{killed:?}");

    // Half a copy is no store, and only its own source goes on with it.
    let refused = PostgresStore::open(Settings::new(&connection, "one")).await.err().expect("half a copy");
    assert_has(&refused.to_string(), &["not finished", "amtsbote store copy"]);
    let other = ["store", "copy", "--from", "sqlite:other", "--to", "postgres:target.toml"];
    assert_has(&amtsbote(folder, &other).ends(2).stderr, &["unfinished copy of another store"]);
    // What arrived and was changed since is found.
    cluster.sql("office", "UPDATE amtsbote.paper SET card = card || 'x' WHERE sequence = 2");
    assert_has(&amtsbote(folder, &COPY).ends(4).stderr, &["differs", "table paper", "row 2"]);
    let mend = "UPDATE amtsbote.paper SET card = substring(card FOR length(card) - 1) WHERE sequence = 2";
    cluster.sql("office", mend);
    let chunk = "UPDATE amtsbote.payload_chunk SET bytes = set_byte(bytes, 9, get_byte(bytes, 9) # 1) WHERE number = 0";
    cluster.sql("office", chunk);
    assert_has(&amtsbote(folder, &COPY).ends(4).stderr, &["differs", "the payload of message"]);
    cluster.sql("office", chunk);

    let told = amtsbote(folder, &[&COPY[..], &["--json"]].concat()).ends(0).json();
    assert_eq!(told["resumed"], true);
    assert!(told["large_payloads"].as_u64() > Some(10), "{told}");
    assert_has(&amtsbote(folder, &COPY).ends(2).stderr, &["holds a store already"]);

    let target = PostgresStore::open(Settings::new(&connection, "one")).await.expect("a store");
    // Nobody starts the source again by mistake.
    let refused = EmbeddedStore::open(EmbeddedSettings::new(folder.join("source"))).err().expect("moved");
    assert_has(&refused.to_string(), &["was copied into", "target.toml", "source/moved first"]);
    // Nor is it copied once more, to hand out again what that one has.
    let config = std::fs::read_to_string(folder.join("target.toml")).expect("the configuration");
    cluster.database("second");
    std::fs::write(folder.join("second.toml"), config.replace("dbname=office", "dbname=second"))
        .expect("written");
    let second = ["store", "copy", "--from", "sqlite:source", "--to", "postgres:second.toml"];
    let refused = amtsbote(folder, &second);
    assert_has(&refused.stderr, &["was copied into", "target.toml", "source/moved first"]);
    refused.ends(2);
    std::fs::remove_file(folder.join("source/moved")).expect("the mark");
    let source = open_source(&folder.join("source"));
    assert_alike(&source, &target).await;
    assert_evidence(&target).await;
    assert_eq!(
        Some(told["evidence_records"].clone()),
        serde_json::to_value(source.evidence_size().await.expect("a size")).ok()
    );

    // It goes on: the log is continued, ids stay used, what is over is purged.
    let size = target.evidence_size().await.expect("a size");
    assert_eq!(one(17).send(&target).await.expect("known"), Accepted::Before);
    assert_eq!(target.evidence_size().await.expect("a size"), size);
    assert_eq!(draft("new").send(&target).await.expect("accepted"), Accepted::New);
    let last =
        source.messages(&MessageQuery { limit: 10_000, ..MessageQuery::default() }).await.expect("all");
    let last = last.iter().map(|entry| entry.sequence).max().expect("messages");
    assert!(target.find(&id("new")).await.expect("found").sequence > last);
    target.change(change("m100", Event::HandedOut, 40)).await.expect("handed out");
    target.change(change("m100", Event::Received, 50)).await.expect("received");
    target.purge_payload(&id("m100"), at(90_000)).await.expect("purged");
    let act =
        AdminAct { at: at(2), by: "root".into(), act: "x".into(), object: "y".into(), reason: "z".into() };
    target.record_act(act).await.expect("recorded");
    assert_eq!(target.acts(10).await.expect("acts").len(), 2);
    let proof = target.consistency_proof(size, target.evidence_size().await.expect("a size")).await;
    assert!(!proof.expect("the log goes on").is_empty());
    assert_evidence(&target).await;
    target.close().await.expect("closed");
}

/// What is asked of both is answered alike.
async fn assert_alike(one: &dyn Store, other: &dyn Store) {
    let all = MessageQuery { limit: 10_000, ..MessageQuery::default() };
    let entries = one.messages(&all).await.expect("messages");
    assert_eq!(entries, other.messages(&all).await.expect("messages"));
    assert!(entries.len() > 1000);
    for entry in entries {
        let id = &entry.card.id;
        assert_eq!(one.statements(id).await.expect("said"), other.statements(id).await.expect("said"));
        assert_eq!(
            one.evidence_of(id).await.expect("records"),
            other.evidence_of(id).await.expect("records")
        );
        if entry.has_payload && (entry.card.payload_bytes > 60_000 || entry.sequence % 10 == 0) {
            let (length, id) = (entry.card.payload_bytes, &entry.card.id);
            let bytes = payload_of(one, id, 0, length).await.expect("a payload");
            assert_eq!(bytes, payload_of(other, id, 0, length).await.expect("a payload"));
        }
    }
    assert_eq!(one.mailboxes().await.expect("boxes"), other.mailboxes().await.expect("boxes"));
    let revision = one.directory().await.expect("it").revision();
    assert_eq!((revision, revision), (1, other.directory().await.expect("it").revision()));
    assert_eq!(one.acts(10).await.expect("acts"), other.acts(10).await.expect("acts"));
    assert_eq!(one.checkpoint(None).await.expect("it"), other.checkpoint(None).await.expect("it"));
    let size = one.evidence_size().await.expect("a size");
    assert_eq!(size, other.evidence_size().await.expect("a size"));
    assert_eq!(one.tree_root(size).await.expect("a root"), other.tree_root(size).await.expect("a root"));
    let now = at(1_000_000);
    let due = one.due(now, 10_000).await.expect("due").len();
    assert!(due > 1000 && due == other.due(now, 10_000).await.expect("due").len());
    let listed = one.list(&of_mailbox("ags:1"), 0, 500).await.expect("a listing");
    assert_eq!(listed, other.list(&of_mailbox("ags:1"), 0, 500).await.expect("a listing"));
    let reader = account("reader");
    let walk = one.load_iterator("walk", &reader, at(5)).await.expect("it");
    assert!(walk.is_some());
    assert_eq!(walk, other.load_iterator("walk", &reader, at(5)).await.expect("it"));
    let again = other.announce(&id("announced"), &account("author"), at(0), at(9)).await;
    assert!(matches!(again, Err(StoreError::IdUsed)), "{again:?}");
    let held = MessageQuery { states: vec![DeliveryState::Held], ..all };
    assert!(!other.messages(&held).await.expect("held").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_copied_is_named() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fill(&folder.join("source"), 70).await;
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let ran = amtsbote(folder, arguments).ends(code);
        assert_has(&ran.stderr, words);
    };

    // Where to.
    configure(folder, &cluster.connection("nowhere"));
    refused(&COPY, 1, &["no database of that name", "createdb"]);
    configure(folder, &cluster.database("theirs"));
    cluster.sql("theirs", "CREATE TABLE public.theirs (x int)");
    refused(&COPY, 2, &["tables of somebody else", "public.theirs", "a database of its own"]);
    let connection = cluster.database("used");
    let store = PostgresStore::open(Settings::new(&connection, "one")).await.expect("a store");
    draft("first").send(&store).await.expect("accepted");
    store.close().await.expect("closed");
    configure(folder, &connection);
    refused(&COPY, 2, &["holds a store already", "1 messages", "an empty database"]);
    std::fs::write(folder.join("target.toml"), "[store]\nfolder = \"s\"\n").expect("written");
    refused(&COPY, 2, &["not \"postgres\""]);
    refused(
        &["store", "copy", "--from", "postgres:target.toml", "--to", "sqlite:source"],
        2,
        &["from sqlite:FOLDER to postgres:CONFIGURATION only"],
    );
    refused(&["store", "copy", "--from", "source", "--to", "postgres:target.toml"], 2, &["sqlite:FOLDER"]);

    // Where from.
    configure(folder, &cluster.database("empty"));
    refused(
        &["store", "copy", "--from", "sqlite:absent", "--to", "postgres:target.toml"],
        2,
        &["there is no store in absent"],
    );
    let running = open_source(&folder.join("source"));
    refused(&COPY, 1, &["another process has this store open"]);
    running.close().await.expect("closed");
    drop(running);
    let database = rusqlite::Connection::open(folder.join("source/amtsbote.sqlite")).expect("it");
    database
        .execute("UPDATE payload SET bytes = zeroblob(length(bytes)) WHERE sequence = 3", [])
        .expect("changed");
    drop(database);
    refused(&COPY, 4, &["does not verify", "payload was changed"]);
    assert_eq!(cluster.sql("empty", "SELECT count(*) FROM pg_tables WHERE schemaname = 'amtsbote'"), "0");
}
