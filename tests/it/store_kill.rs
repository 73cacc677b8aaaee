//! Kill -9 at any moment: what was acknowledged is there, once and byte for byte, and the evidence agrees.
//!
//! The parent starts this test binary again as a process that accepts, hands out and receives under load and prints
//! each acknowledgement, kills it at a random moment, opens the store and compares. `AMTSBOTE_KILL_ROUNDS` sets the
//! number of rounds. A store lives through a series of rounds, then the next series begins with a new one: each round
//! compares everything that is there, so that one store for all rounds would take time by their square.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::embedded::{self, EmbeddedStore, Settings};
use amtsbote::store::{Accepted, MessageQuery, Store};

use crate::store_fixture::*;

const FOLDER: &str = "AMTSBOTE_KILL_FOLDER";
const ROUND: &str = "AMTSBOTE_KILL_ROUND";
const ROUNDS: &str = "AMTSBOTE_KILL_ROUNDS";
const TASKS: u64 = 8;
/// Rounds that one store lives through.
const SERIES: u64 = 10;

fn settings(folder: &Path) -> Settings {
    Settings { disk_reserve_bytes: 0, ..Settings::new(folder) }
}

/// Message `n` of a task in a round; every tenth is large enough to be a file.
fn message(round: u64, task: u64, n: u64) -> Draft {
    let length = if n % 10 == 9 { 100_000 } else { 2_000 };
    let seed = round << 32 | task << 24 | n;
    Draft { content: content(seed, length), ..draft(&format!("{round}-{task}-{n}")) }
}

fn message_of(name: &str) -> Draft {
    let mut numbers = name.split('-').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    message(next(), next(), next())
}

/// The process that is killed. Runs only where the parent has named a folder.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let round: u64 = std::env::var(ROUND).ok().and_then(|round| round.parse().ok()).expect("a round");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store: Arc<EmbeddedStore> = Arc::new(EmbeddedStore::open(settings(&folder)).expect("a store"));
        let tasks: Vec<_> =
            (0..TASKS).map(|task| tokio::spawn(load(Arc::clone(&store), round, task))).collect();
        for task in tasks {
            task.await.expect("the load runs until it is killed");
        }
    });
}

async fn load(store: Arc<EmbeddedStore>, round: u64, task: u64) {
    for n in 0.. {
        let draft = message(round, task, n);
        assert_eq!(draft.send(&*store).await.expect("accepted"), Accepted::New);
        acknowledge("accepted", round, task, n);
        if n % 3 == 0 {
            let name = format!("{round}-{task}-{n}");
            store.change(change(&name, Event::HandedOut, 1)).await.expect("handed out");
            store.change(change(&name, Event::Received, 2)).await.expect("received");
            acknowledge("received", round, task, n);
        }
        if n % 12 == 9 {
            let name = format!("{round}-{task}-{n}");
            store.purge_payload(&id(&name), at(3)).await.expect("purged");
            acknowledge("purged", round, task, n);
        }
    }
}

fn acknowledge(what: &str, round: u64, task: u64, n: u64) {
    let line = format!("\n{what} {round}-{task}-{n}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
}

/// Starts a victim, kills it `after` its first acknowledgement (or its start), and returns what it acknowledged.
fn kill_one(folder: &Path, round: u64, after: Duration, in_opening: bool) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "store_kill::victim", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let parse = |line: String| {
        let (what, name) = line.split_once(' ')?;
        ["accepted", "received", "purged"].contains(&what).then(|| (what.to_owned(), name.to_owned()))
    };
    let mut acknowledged = Vec::new();
    if !in_opening {
        acknowledged.extend(lines.by_ref().find_map(parse));
        assert!(!acknowledged.is_empty(), "the victim died before its first acknowledgement");
    }
    let reader = std::thread::spawn(move || lines.filter_map(parse).collect::<Vec<_>>());
    std::thread::sleep(after);
    assert_eq!(child.try_wait().expect("a child"), None, "the victim ended by itself");
    child.kill().expect("killed");
    child.wait().expect("dead");
    acknowledged.extend(reader.join().expect("read to the end"));
    // A line that the kill cut off acknowledges nothing.
    acknowledged.retain(|(_, name)| name.split('-').count() == 3);
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let rounds: u64 = std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let seed = u64::from(std::process::id()) ^ Instant::now().elapsed().subsec_nanos() as u64;
    println!("seed {seed}");
    let mut random = content(seed, rounds as usize * 2).into_iter();
    let mut random = move || u64::from(random.next().unwrap_or(7));
    let mut counted = 0;
    for first in (0..rounds).step_by(SERIES as usize) {
        counted += one_series(first..rounds.min(first + SERIES), &mut random);
    }
    println!("{counted} acknowledgements in {rounds} rounds, none lost");
    assert!(counted >= rounds);
}

/// Kills one store's process in each of the rounds; returns how many acknowledgements were compared.
fn one_series(rounds: std::ops::Range<u64>, random: &mut impl FnMut() -> u64) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut acknowledged = Vec::new();
    for round in rounds {
        if round % 4 == 3 {
            kill_one(folder.path(), round << 8, Duration::from_millis(random() % 40), true);
        }
        let mut new = kill_one(folder.path(), round, Duration::from_millis(random() * 2), false);
        println!("round {round}: {} acknowledgements", new.len());
        runtime.block_on(compare(folder.path(), &new));
        acknowledged.append(&mut new);
    }
    // What earlier rounds acknowledged is still there at the end.
    runtime.block_on(compare(folder.path(), &acknowledged));
    acknowledged.len() as u64
}

async fn compare(folder: &Path, acknowledged: &[(String, String)]) {
    let store = EmbeddedStore::open(settings(folder)).expect("the store opens after a kill");
    for (what, name) in acknowledged {
        let draft = message_of(name);
        let entry = store.find(&draft.id).await.unwrap_or_else(|error| panic!("{what} {name}: {error}"));
        assert_eq!(entry.envelope, draft.envelope());
        match what.as_str() {
            "received" => assert_eq!(entry.card.state, DeliveryState::Received, "{name}"),
            "purged" => assert!(!entry.has_payload, "{name}"),
            _ => {}
        }
    }
    // Everything that is there, acknowledged or not, is there once and whole.
    let query = MessageQuery { limit: u32::MAX, ..MessageQuery::default() };
    let entries = store.messages(&query).await.expect("messages");
    let mut ids: Vec<&str> = entries.iter().map(|entry| entry.card.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), entries.len(), "a message is there twice");
    for entry in entries.iter().filter(|entry| entry.has_payload) {
        let draft = message_of(entry.card.id.as_str().rsplit(':').next().expect("a name"));
        let bytes = payload_of(&store, &draft.id, 0, u64::MAX).await.expect("bytes");
        assert_eq!(bytes, draft.content, "{}", draft.id);
    }
    if let Some((_, name)) = acknowledged.last() {
        let again = message_of(name).send(&store).await.expect("a retry");
        assert_eq!(again, Accepted::Before);
    }
    store.close().await.expect("closed");
    let report = embedded::verify(folder).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.messages, entries.len() as u64);
}
