//! Kill -9 of `amtsbote serve` under load: what clients were told over mutual TLS holds when the server is back.
//!
//! Per round several XTA clients post under ids of their own, a reader fetches and closes, and the process is killed at
//! a random moment. The next server must have every acknowledged message once and byte for byte, every acknowledged
//! close, and take a message whose answer was lost as if it were sent for the first time. `AMTSBOTE_KILL_ROUNDS` sets
//! the number of rounds, `AMTSBOTE_KILL_SEED` the contents and the moments. A store lives through ten rounds, for
//! each round costs more the more it holds. The store alone, without doors and TLS: `store_kill.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use amtsbote::clock::SystemClock;
use amtsbote::domain::content::PartRole;
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::PartyIdentifier;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::client_config;
use amtsbote::pki::trust::TrustAnchors;
use amtsbote::xta::client::content::{MemorySink, Outgoing};
use amtsbote::xta::client::{Client, Error, Fetched, Settings};
use amtsbote::xta::message::msg_box::MsgSelector;
use rustix::process::Signal;
use rustls::ClientConfig;

use crate::cli_fixture::Office;
use crate::store_fixture::content;
use crate::xta_office::{envelope, party};

const ROUNDS: &str = "AMTSBOTE_KILL_ROUNDS";
const SEED: &str = "AMTSBOTE_KILL_SEED";
const SERIES: u64 = 10;
const CLIENTS: u64 = 4;
/// As `amtsbote init` sets them up: name of the certificate, identifier.
pub const AUTHOR: (&str, &str) = ("standesamt", "psw:100411000000");
pub const READER: (&str, &str) = ("meldebehoerde", "ags:10041100");
/// Most messages that a listing shows (`amtsbote message list`).
const LISTED_MAX: usize = 10_000;

/// What the clients of one series know; messages by (round, client, number).
#[derive(Default)]
struct Ledger {
    accepted: BTreeSet<Name>,
    /// Sent, and the answer never came.
    unanswered: BTreeSet<Name>,
    closed: BTreeSet<Name>,
    /// Closed, and the answer never came.
    maybe_closed: BTreeSet<Name>,
}

pub type Name = (u64, u64, u64);

pub fn id((round, client, n): Name) -> MessageId {
    MessageId::parse(&format!("urn:de:xta:messageid:kill:{round}-{client}-{n}")).expect("a message id")
}

pub fn name(id: &str) -> Name {
    let mut numbers = id.rsplit(':').next().expect("a name").split('-').map(|n| n.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    (next(), next(), next())
}

/// Mostly small enough for the database; every fourth or so is a file of its own.
fn bytes(seed: u64, (round, client, n): Name) -> Vec<u8> {
    let own = seed.rotate_left(48) ^ (round << 40 | client << 32 | n);
    let drawn = content(own, 8).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let length = if drawn % 4 == 0 { 65_537 + drawn % 60_000 } else { 1 + drawn % 4_000 };
    content(own, length as usize)
}

/// The office's offices: TLS for both, made once for all servers of a series.
#[derive(Clone)]
pub struct People {
    seed: u64,
    author: Arc<ClientConfig>,
    reader: Arc<ClientConfig>,
}

impl People {
    pub fn of(folder: &Path, seed: u64) -> Self {
        let file = |name: &str| folder.join("tls").join(name);
        let pem = std::fs::read(file("ca.crt")).expect("an authority");
        let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, &pem).expect("an anchor").build();
        let anchors = Arc::new(anchors);
        let tls = |who: &str| {
            let identity = Identity::load(&file(&format!("{who}.crt")), &file(&format!("{who}.key")));
            let identity = identity.expect("an identity");
            let config = client_config(anchors.clone(), Some(&identity), Arc::new(SystemClock));
            Arc::new(config.expect("TLS"))
        };
        Self { seed, author: tls(AUTHOR.0), reader: tls(READER.0) }
    }

    pub fn author(&self, url: &str) -> Client {
        Client::new(Settings::new(url, self.author.clone())).expect("a client")
    }

    pub fn reader(&self, url: &str) -> Client {
        let mut settings = Settings::new(url, self.reader.clone());
        settings.identifier = Some(PartyIdentifier::new(READER.1).expect("an identifier"));
        Client::new(settings).expect("a client")
    }

    pub async fn send(&self, client: &Client, name: Name) -> Result<(), Error> {
        let mut message = envelope(id(name), READER.1);
        message.author = party(AUTHOR.1);
        let part =
            Outgoing::from_bytes(PartRole::Message, "application/octet-stream", bytes(self.seed, name));
        client.send(&message, &[part]).await
    }

    /// Fetches a message and holds it against what was sent.
    pub async fn fetch(&self, client: &Client, name: Name) -> Result<Fetched, Error> {
        let mut sink = MemorySink::default();
        let fetched = client.fetch(&id(name), &mut sink).await?;
        assert_eq!(fetched.message.envelope.id, id(name));
        assert!(sink.parts == BTreeMap::from([(0, bytes(self.seed, name))]), "{name:?} is not what was sent");
        Ok(fetched)
    }
}

/// The load of one round: it goes on until the server is gone.
#[derive(Clone)]
struct Load {
    people: People,
    url: String,
    ledger: Arc<Mutex<Ledger>>,
    /// Before this, every request is owed a good answer.
    killed: Arc<AtomicBool>,
}

impl Load {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no panic while it was held")
    }

    #[track_caller]
    fn over(&self, error: &Error) {
        assert!(self.killed.load(Ordering::SeqCst), "the living server failed: {error}");
        assert!(!matches!(error, Error::Fault { .. }), "the dying server refused: {error}");
    }

    async fn post(self, round: u64, number: u64) {
        let client = self.people.author(&self.url);
        for n in 0.. {
            let name = (round, number, n);
            match self.people.send(&client, name).await {
                Ok(()) => _ = self.ledger().accepted.insert(name),
                Err(error) => {
                    self.over(&error);
                    self.ledger().unanswered.insert(name);
                    return;
                }
            }
        }
    }

    async fn read(self) {
        let client = self.people.reader(&self.url);
        for turn in 0.. {
            if let Err(error) = self.read_one(&client, turn).await {
                return self.over(&error);
            }
        }
    }

    /// Fetches one of the oldest messages; two of three are closed.
    async fn read_one(&self, client: &Client, turn: usize) -> Result<(), Error> {
        let page = client.list(&MsgSelector::default(), Some(5)).await?;
        let Some(shown) = page.messages.get(turn % page.messages.len().max(1)) else { return Ok(()) };
        let name = name(shown.envelope.id.as_str());
        let fetched = self.people.fetch(client, name).await?;
        if turn % 3 == 2 {
            return Ok(());
        }
        self.ledger().maybe_closed.insert(name);
        client.close(&fetched.request_id.unwrap_or_default(), &[id(name)]).await?;
        let mut ledger = self.ledger();
        ledger.maybe_closed.remove(&name);
        ledger.closed.insert(name);
        Ok(())
    }
}

#[test]
fn what_clients_were_told_survives_kill_9_of_the_server() {
    let number = |name, default| match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    };
    let (rounds, seed): (u64, u64) = (number(ROUNDS, 3), number(SEED, 1));
    println!("{SEED}={seed}");
    let mut office = Office::open_in(tempfile::tempdir().expect("a folder"), |folder| {
        let file = folder.join("participants.toml");
        let text = std::fs::read_to_string(&file).expect("the participants");
        let own = text.replace("foreign_message_ids = false", "foreign_message_ids = true");
        assert_ne!(own, text);
        std::fs::write(&file, own).expect("written");
    });
    let people = People::of(office.folder.path(), seed);
    let mut counted = 0;
    for first in (0..rounds).step_by(SERIES as usize) {
        if first > 0 {
            begin_anew(&mut office);
        }
        counted += one_series(&mut office, &people, first..rounds.min(first + SERIES));
    }
    println!("{counted} acknowledgements in {rounds} rounds, none lost");
    assert!(counted >= rounds);
}

/// An empty store for an office whose server has stopped.
fn begin_anew(office: &mut Office) {
    std::fs::remove_dir_all(office.path("store")).expect("removed");
    office.start_again();
    let apply = ["participant", "apply", "participants.toml", "--yes", "--reason", "a new store"];
    office.run(&apply).ends(0);
}

/// Kills the office's server in each of the rounds; how many acknowledgements were held against it.
fn one_series(office: &mut Office, people: &People, rounds: Range<u64>) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut seen = 0;
    for round in rounds {
        let load = Load {
            people: people.clone(),
            url: office.xta.clone(),
            ledger: ledger.clone(),
            killed: Arc::new(AtomicBool::new(false)),
        };
        let posting = (0..CLIENTS).map(|number| runtime.spawn(load.clone().post(round, number)));
        let tasks: Vec<_> = posting.chain([runtime.spawn(load.clone().read())]).collect();
        let drawn =
            content(people.seed ^ round << 8, 2).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        std::thread::sleep(Duration::from_millis(5 + drawn % 296));
        load.killed.store(true, Ordering::SeqCst);
        office.kill_and_restart();
        for task in tasks {
            runtime.block_on(async {
                let ended = tokio::time::timeout(Duration::from_secs(30), task).await;
                ended.expect("the load ends with its server").expect("the load found nothing wrong");
            });
        }
        let mut ledger = ledger.lock().expect("no panic while it was held");
        println!("round {round}: killed after {} ms, {}", 5 + drawn % 296, told(&ledger, round));
        seen = runtime.block_on(compare(office, people, &mut ledger, seen, round));
    }
    let mut ledger = ledger.lock().expect("no panic while it was held");
    runtime.block_on(compare(office, people, &mut ledger, 0, 0));
    println!("{} messages compared once more", ledger.accepted.len());
    all_is_well(office, &ledger);
    (ledger.accepted.len() + ledger.closed.len()) as u64
}

fn told(ledger: &Ledger, round: u64) -> String {
    let of = |names: &BTreeSet<Name>| names.range((round, 0, 0)..(round + 1, 0, 0)).count();
    let (accepted, unanswered) = (of(&ledger.accepted), of(&ledger.unanswered));
    format!("{accepted} accepted, {unanswered} unanswered, {} closed so far", ledger.closed.len())
}

/// Holds the server against what clients know of messages from round `first` on, which are those behind the sequence
/// number `seen`; the last sequence number.
async fn compare(office: &Office, people: &People, ledger: &mut Ledger, seen: u64, first: u64) -> u64 {
    let author = people.author(&office.xta);
    // Sent again, a message whose answer was lost is accepted, whether it was stored before or not.
    for name in std::mem::take(&mut ledger.unanswered) {
        let again = people.send(&author, name).await;
        again.unwrap_or_else(|error| panic!("{name:?} was sent again: {error}"));
        ledger.accepted.insert(name);
    }
    let after = seen.to_string();
    let arguments = ["message", "list", "--limit", "10000", "--after", &after, "--json"];
    let listed = office.run(&arguments).ends(0).json();
    let listed = listed.as_array().expect("a list");
    assert!(listed.len() < LISTED_MAX, "the listing is cut off");
    let mut there: Vec<Name> =
        listed.iter().map(|entry| name(entry["card"]["id"].as_str().expect("an id"))).collect();
    let mut waiting = Vec::new();
    for (entry, name) in listed.iter().zip(&there) {
        let received = entry["card"]["state"] == "received";
        if !ledger.maybe_closed.contains(name) {
            assert_eq!(received, ledger.closed.contains(name), "{name:?}: {}", entry["card"]);
        }
        if !received {
            waiting.push(*name);
        }
    }
    there.sort_unstable();
    let expected: Vec<Name> = ledger.accepted.range((first, 0, 0)..).copied().collect();
    assert_eq!(there, expected, "every message is there once");

    let half = waiting.len() / 2;
    let (one, other) = waiting.split_at(half);
    let read = |names: Vec<Name>| {
        let (people, url) = (people.clone(), office.xta.clone());
        tokio::spawn(async move {
            let reader = people.reader(&url);
            for name in names {
                let fetched = people.fetch(&reader, name).await;
                fetched.unwrap_or_else(|error| panic!("{name:?} was accepted: {error}"));
            }
        })
    };
    for task in [read(one.to_vec()), read(other.to_vec())] {
        task.await.expect("all is there");
    }
    if let Some(last) = expected.last() {
        // A second one would be behind what was listed, and found by the next listing.
        people.send(&author, *last).await.expect("accepted before");
    }
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(!log.contains(" ERROR "), "{log}");
    listed.last().map_or(seen, |entry| entry["sequence"].as_u64().expect("a number"))
}

/// A proof over the socket, then every byte of the store at rest.
fn all_is_well(office: &mut Office, ledger: &Ledger) {
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    if let Some(last) = ledger.accepted.last() {
        office.run(&["evidence", "export", id(*last).as_str(), "--output", "proof"]).ends(0);
        office.run(&["evidence", "verify", "proof", "--key", key.trim()]).ends(0);
    }
    office.signal(Signal::TERM);
    assert_eq!(office.ended(), 0);
    let verified = office.run(&["store", "verify", "--json"]).ends(0).json();
    assert_eq!(verified["messages"].as_u64(), Some(ledger.accepted.len() as u64));
    office.run(&["evidence", "verify", "--store", "store", "--key", key.trim()]).ends(0);
    println!("store and evidence verified");
}
