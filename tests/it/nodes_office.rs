//! Several relays over one database: real processes, each with a folder and a name of its own, the same keys for all.
//!
//! What must agree on all nodes is what clients see: the system's name, certificates and keys of the doors, limits and
//! profiles. Each has its own folder, evidence key and origin.

use std::collections::BTreeMap;
use std::path::Path;

use amtsbote::domain::content::Digest;
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::evidence::anchor::Line;
use amtsbote::evidence::record::RecordEvent;
use amtsbote::store::postgres::{PostgresStore, Settings};
use amtsbote::store::{MessageQuery, Store};
use rustix::process::Signal;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::cli_fixture::Office;

/// `connection` as the store's, `name` as the node's.
pub fn in_database(config: &str, connection: &str, name: &str) -> String {
    let text = config
        .replace(
            "engine = \"embedded\"",
            &format!("engine = \"postgres\"\nconnection = {connection:?}\nnode = {name:?}"),
        )
        .replace("\nsynchronous = false\n", "\nsynchronous = true\n")
        .replace("origin = \"amtsbote/evidence\"", &format!("origin = \"amtsbote/evidence/{name}\""));
    assert!(text.contains("engine = \"postgres\"") && text.contains("\nsynchronous = true\n"), "{text}");
    assert!(text.contains(&format!("evidence/{name}")), "{text}");
    text
}

/// Starts so many nodes, `relay-1` and so on. Senders may use message ids of their own.
pub fn open(connection: &str, count: usize) -> Vec<Office> {
    open_with(connection, count, |_, text| text.to_owned())
}

/// The same; `change` makes another configuration of each node's.
pub fn open_with(connection: &str, count: usize, change: impl Fn(usize, &str) -> String) -> Vec<Office> {
    open_furnished(connection, count, |_| {}, change)
}

/// The same; `furnish` sees the first node's folder before, and what it changes there all nodes have.
pub fn open_furnished(
    connection: &str,
    count: usize,
    furnish: impl FnOnce(&Path),
    change: impl Fn(usize, &str) -> String,
) -> Vec<Office> {
    let mut original = String::new();
    let first = Office::open_in(tempfile::tempdir().expect("a folder"), |folder| {
        furnish(folder);
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("a file");
        let write = |file: &str, text: String| std::fs::write(folder.join(file), text).expect("written");
        original = read("amtsbote.toml");
        write("amtsbote.toml", change(0, &in_database(&original, connection, "relay-1")));
        let participants = read("participants.toml");
        write(
            "participants.toml",
            participants.replace("foreign_message_ids = false", "foreign_message_ids = true"),
        );
    });
    let mut nodes = vec![first];
    for node in 1..count {
        let config = change(node, &in_database(&original, connection, &format!("relay-{}", node + 1)));
        let added = nodes[0].beside(|_| config);
        nodes.push(added);
    }
    nodes
}

/// Hands every connection to the next of these ports, in turn: a load balancer without memory. Where it listens.
pub async fn in_turn(ports: Vec<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut client, _)) = listener.accept().await else { return };
            let port = ports[turn % ports.len()];
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    port
}

pub fn port(url: &str) -> u16 {
    let port = url.trim_end_matches('/').rsplit(':').next().expect("a port");
    port.parse().unwrap_or_else(|_| panic!("no port in {url}"))
}

/// What the whole store holds once all nodes have stopped: every message's state by its id, after cards and the logs of
/// all nodes were held against each other.
///
/// Each message is accepted by one record of one log and never again; the digest of its card is that of the record in
/// which it was last changed; each log is a whole tree.
pub async fn at_rest(connection: &str, count: usize) -> BTreeMap<String, DeliveryState> {
    let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
    let mut received: BTreeMap<String, u32> = BTreeMap::new();
    let mut cards: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    let mut entries = Vec::new();
    for node in 1..=count {
        let settings = Settings::new(connection, format!("relay-{node}"));
        let store = PostgresStore::open(settings).await.expect("the store");
        let size = store.evidence_size().await.expect("a size");
        let records = store.evidence_records(0, u32::MAX).await.expect("records");
        assert_eq!(records.len() as u64, size, "node {node}");
        store.tree_root(size).await.expect("a whole tree");
        for (index, logged) in records.iter().enumerate() {
            assert_eq!(logged.index, index as u64, "node {node}");
            let Line::Record(record) = Line::from_bytes(&logged.bytes).expect("a line") else { continue };
            let id = record.message_id.as_str().to_owned();
            match record.event {
                RecordEvent::Delivery(Event::Accepted) => *accepted.entry(id.clone()).or_default() += 1,
                RecordEvent::Delivery(Event::Received) => *received.entry(id.clone()).or_default() += 1,
                _ => {}
            }
            cards.entry(id).or_default().push(record.card_digest);
        }
        if node == 1 {
            let query = MessageQuery { limit: u32::MAX, ..MessageQuery::default() };
            entries = store.messages(&query).await.expect("messages");
        }
        store.close().await.expect("closed");
    }
    let mut states = BTreeMap::new();
    for entry in &entries {
        let id = entry.card.id.as_str().to_owned();
        assert_eq!(accepted.remove(&id), Some(1), "{id} is accepted once");
        let times = received.remove(&id).unwrap_or_default();
        assert_eq!(times, u32::from(entry.card.state == DeliveryState::Received), "{id} is received once");
        let digest = Digest::of(&entry.card.to_bytes());
        assert!(cards[&id].contains(&digest), "no log has the card of {id} as it is");
        assert!(states.insert(id.clone(), entry.card.state).is_none(), "{id} is doubled");
    }
    assert!(accepted.is_empty(), "logged and not there: {accepted:?}");
    states
}

/// Every log of the store, by the command line: its tree, its checkpoints, what the logs hold of each other.
pub fn logs_are_sound(nodes: &[Office]) {
    let keys: Vec<String> =
        nodes.iter().map(|node| node.run(&["evidence", "key"]).ends(0).stdout.trim().to_owned()).collect();
    let mut arguments = vec!["evidence", "verify", "--database"];
    keys.iter().for_each(|key| arguments.extend(["--key", key]));
    let ran = nodes[0].run(&arguments).ends(0);
    assert!(ran.stderr.contains("All logs are sound"), "{ran:#?}");
}

/// Ends all nodes in peace.
pub fn stop(nodes: &mut [Office]) {
    nodes.iter().for_each(|node| node.signal(Signal::TERM));
    for node in nodes {
        assert_eq!(node.ended(), 0);
    }
}

/// Words that no node may have logged.
pub fn no_errors(nodes: &[Office]) {
    for node in nodes {
        let log = std::fs::read_to_string(node.path("server.log")).expect("a log");
        assert!(!log.contains(" ERROR "), "{log}");
    }
}
