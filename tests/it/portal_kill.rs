//! Kill -9 of `amtsbote serve` while portals submit: what they and the authority were told holds when the server is back.
//!
//! Per round several portal clients announce, upload attachments and submit, a town's program fetches and accepts, and the
//! process is killed at a random moment. The next server must know every announced id, have every acknowledged attachment
//! without a second upload, every acknowledged submission once and byte for byte, and every acceptance word for word; and
//! what was not answered may be said again. `AMTSBOTE_PORTAL_KILL_ROUNDS` sets the number of rounds,
//! `AMTSBOTE_KILL_SEED` the contents and the moments. The same for XTA: `serve_kill.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use amtsbote::domain::destination::DestinationId;
use amtsbote::portal::client::{Client, Error};
use amtsbote::portal::event::counterpart;
use hyper::Method;
use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli_fixture::Office;
use crate::portal_folder::{self, PORTAL, TOWN, announce, submit, upload};
use crate::portal_office::{DESTINATION, seal, signed, tag};
use crate::store_fixture::content;

const ROUNDS: &str = "AMTSBOTE_PORTAL_KILL_ROUNDS";
const SEED: &str = "AMTSBOTE_KILL_SEED";
const CLIENTS: u64 = 4;
const JOSE: &str = "application/jose";

/// What one client sends, and how far it knows that it came.
#[derive(Clone)]
struct Letter {
    round: u64,
    metadata: Arc<String>,
    data: Arc<String>,
    attachments: Vec<(Uuid, Arc<String>)>,
    uploaded: BTreeSet<Uuid>,
    submitted: bool,
    /// The acceptance that was sent, and whether it was answered.
    accepted: Option<(String, bool)>,
}

impl Letter {
    fn draw(seed: u64, round: u64, client: u64, n: u64) -> Self {
        let own = seed.rotate_left(48) ^ (round << 40 | client << 32 | n);
        let drawn = number(own);
        // One is small enough for memory, one is a file of its own in the store.
        let lengths = [1 + drawn % 4_000, 65_537 + drawn % 60_000];
        let attachments = lengths
            .iter()
            .take(1 + (drawn % 2) as usize)
            .map(|length| (Uuid::new_v4(), Arc::new(seal(&content(own ^ length, *length as usize)))));
        Self {
            round,
            metadata: Arc::new(seal(b"{}")),
            data: Arc::new(seal(&content(own, 2_000))),
            attachments: attachments.collect(),
            uploaded: BTreeSet::new(),
            submitted: false,
            accepted: None,
        }
    }

    fn acceptance(&self, id: Uuid) -> String {
        let tags: BTreeMap<String, &str> =
            self.attachments.iter().map(|(id, text)| (id.to_string(), tag(text))).collect();
        signed(&json!({
            "jti": Uuid::new_v4(),
            "iss": DESTINATION,
            "iat": jiff::Timestamp::now().as_second(),
            "sub": format!("submission:{id}"),
            "txn": format!("case:{}", counterpart(id)),
            "events": { "https://schema.fitko.de/fit-connect/events/accept-submission": {
                "authenticationTags": {
                    "metadata": tag(&self.metadata), "data": tag(&self.data), "attachments": tags,
                },
            } },
        }))
    }
}

fn number(seed: u64) -> u64 {
    content(seed, 8).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

type Ledger = Arc<Mutex<BTreeMap<Uuid, Letter>>>;

async fn say(client: &Client, id: Uuid, token: &str) -> Result<(), Error> {
    let path = format!("/v2/submissions/{id}/events");
    client.call(Method::POST, &path, JOSE, token.to_owned()).await.map(drop)
}

async fn ask(client: &Client, path: &str) -> Result<Value, Error> {
    let told = client.call(Method::GET, path, "", "").await?;
    Ok(serde_json::from_slice(&told).expect("JSON"))
}

/// Fetches a submission and holds it against what was sent.
async fn fetch(client: &Client, id: Uuid, letter: &Letter) -> Result<(), Error> {
    let path = format!("/v2/submissions/{id}");
    let told = ask(client, &path).await?;
    assert_eq!(told["encryptedMetadata"], letter.metadata.as_str());
    assert_eq!(told["encryptedData"], letter.data.as_str());
    let ids: Vec<String> = letter.attachments.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(told["attachments"], json!(ids));
    for (attachment, text) in &letter.attachments {
        let place = format!("{path}/attachments/{attachment}");
        let bytes = client.call(Method::GET, &place, "", "").await?;
        assert!(bytes == text.as_bytes(), "{attachment} of {id} is not what was sent");
    }
    Ok(())
}

/// The load of one round: it goes on until the server is gone.
#[derive(Clone)]
struct Load {
    ledger: Ledger,
    /// Before this, every request is owed a good answer.
    killed: Arc<AtomicBool>,
}

impl Load {
    fn ledger(&self) -> MutexGuard<'_, BTreeMap<Uuid, Letter>> {
        self.ledger.lock().expect("no panic while it was held")
    }

    #[track_caller]
    fn over(&self, error: &Error) {
        assert!(self.killed.load(Ordering::SeqCst), "the living server failed: {error}");
        assert!(!matches!(error, Error::Problem { .. }), "the dying server refused: {error}");
    }

    async fn post(self, client: Client, seed: u64, round: u64, number: u64) {
        for n in 0.. {
            let letter = Letter::draw(seed, round, number, n);
            if let Err(error) = self.post_one(&client, letter).await {
                return self.over(&error);
            }
        }
    }

    async fn post_one(&self, client: &Client, letter: Letter) -> Result<(), Error> {
        let ids: Vec<Uuid> = letter.attachments.iter().map(|(id, _)| *id).collect();
        let id = announce(client, &ids).await?;
        assert!(self.ledger().insert(id, letter.clone()).is_none(), "{id} was issued twice");
        let change = |change: &dyn Fn(&mut Letter)| {
            change(self.ledger().get_mut(&id).expect("known"));
        };
        for (attachment, sealed) in &letter.attachments {
            upload(client, id, *attachment, sealed).await?;
            change(&|letter| _ = letter.uploaded.insert(*attachment));
        }
        submit(client, id, &letter.metadata, &letter.data).await?;
        change(&|letter| letter.submitted = true);
        Ok(())
    }

    async fn read(self, client: Client) {
        for turn in 0.. {
            if let Err(error) = self.read_one(&client, turn).await {
                return self.over(&error);
            }
        }
    }

    /// Fetches one of the oldest submissions; two of three are accepted.
    async fn read_one(&self, client: &Client, turn: usize) -> Result<(), Error> {
        let page = ask(client, "/v2/submissions?limit=5").await?;
        let waiting = page["submissions"].as_array().expect("a list");
        let Some(shown) = waiting.get(turn % waiting.len().max(1)) else { return Ok(()) };
        let id = Uuid::try_parse(shown["submissionId"].as_str().expect("an id")).expect("a UUID");
        let letter = self.ledger().get(&id).expect("announced").clone();
        fetch(client, id, &letter).await?;
        if turn % 3 == 2 {
            return Ok(());
        }
        let token = letter.acceptance(id);
        self.ledger().get_mut(&id).expect("known").accepted = Some((token.clone(), false));
        say(client, id, &token).await?;
        self.ledger().get_mut(&id).expect("known").accepted = Some((token, true));
        Ok(())
    }
}

#[test]
fn what_portals_were_told_survives_kill_9_of_the_server() {
    let number = |name, default| match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    };
    let (rounds, seed): (u64, u64) = (number(ROUNDS, 2), number(SEED, 1));
    println!("{SEED}={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let mut office = Office::open_in(folder, |folder| portal_folder::furnish(folder, None));
    let tls = portal_folder::tls(office.folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let ledger = Ledger::default();
    for round in 0..rounds {
        let load = Load { ledger: ledger.clone(), killed: Arc::new(AtomicBool::new(false)) };
        let client = |id| runtime.block_on(portal_folder::client(&office, &tls, id));
        let portals: Vec<Client> = (0..CLIENTS).map(|_| client(PORTAL)).collect();
        let town = client(TOWN);
        let posting = portals
            .into_iter()
            .zip(0..)
            .map(|(client, number)| runtime.spawn(load.clone().post(client, seed, round, number)));
        let tasks: Vec<_> = posting.chain([runtime.spawn(load.clone().read(town))]).collect();
        let pause = 50 + self::number(seed ^ round << 8) % 700;
        std::thread::sleep(Duration::from_millis(pause));
        // A round in which nothing came through proves nothing; on a slow machine it lasts longer.
        let begun = std::time::Instant::now();
        let came = || load.ledger().values().any(|letter| letter.round == round && letter.submitted);
        while !came() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        load.killed.store(true, Ordering::SeqCst);
        office.kill_and_restart();
        for task in tasks {
            runtime.block_on(async {
                let ended = tokio::time::timeout(Duration::from_secs(30), task).await;
                ended.expect("the load ends with its server").expect("the load found nothing wrong");
            });
        }
        let mut ledger = ledger.lock().expect("no panic while it was held");
        println!("round {round}: killed after {pause} ms, {}", told(&ledger, round));
        runtime.block_on(compare(&office, &tls, &mut ledger, round));
    }
    let ledger = ledger.lock().expect("no panic while it was held");
    let submitted = ledger.values().filter(|letter| letter.submitted).count();
    assert!(submitted as u64 >= rounds, "{submitted} submissions in {rounds} rounds prove nothing");
    runtime.block_on(look(&office, &tls, ledger.iter(), &ledger));
    all_is_well(&mut office, submitted as u64);
    println!("{submitted} submissions in {rounds} rounds, none lost");
}

fn told(ledger: &BTreeMap<Uuid, Letter>, round: u64) -> String {
    let of = |is: &dyn Fn(&Letter) -> bool| {
        ledger.values().filter(|letter| letter.round == round && is(letter)).count()
    };
    format!(
        "{} announced, {} attachments, {} submitted, {} accepted",
        of(&|_| true),
        ledger
            .values()
            .filter(|letter| letter.round == round)
            .map(|letter| letter.uploaded.len())
            .sum::<usize>(),
        of(&|letter| letter.submitted),
        of(&|letter| letter.accepted.as_ref().is_some_and(|(_, answered)| *answered)),
    )
}

/// Says again what was not answered, then looks at everything of the round.
async fn compare(office: &Office, tls: &Arc<ClientConfig>, ledger: &mut BTreeMap<Uuid, Letter>, round: u64) {
    let portal = portal_folder::client(office, tls, PORTAL).await;
    let town = portal_folder::client(office, tls, TOWN).await;
    for (id, letter) in ledger.iter_mut() {
        if !letter.submitted {
            for (attachment, sealed) in
                letter.attachments.iter().filter(|(own, _)| !letter.uploaded.contains(own))
            {
                match upload(&portal, *id, *attachment, sealed).await {
                    // Submitted before it was killed, and the draft with its attachments is gone.
                    Err(Error::Problem { code, .. }) if code == "submission-not-found" => {}
                    other => other.unwrap_or_else(|error| panic!("{id}, uploaded again: {error}")),
                }
            }
            // Attachments that were acknowledged are there without another word.
            let again = submit(&portal, *id, &letter.metadata, &letter.data).await;
            again.unwrap_or_else(|error| panic!("{id} was submitted again: {error}"));
            letter.submitted = true;
        }
        if let Some((token, answered @ false)) = &mut letter.accepted {
            say(&town, *id, token).await.unwrap_or_else(|error| panic!("{id} was accepted again: {error}"));
            *answered = true;
        }
    }
    look(office, tls, ledger.iter().filter(|(_, letter)| letter.round == round), ledger).await;
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(!log.contains(" ERROR "), "{log}");
}

/// Holds the server against what is known of `some`, and counts all.
async fn look<'a>(
    office: &Office,
    tls: &Arc<ClientConfig>,
    some: impl Iterator<Item = (&'a Uuid, &'a Letter)>,
    all: &BTreeMap<Uuid, Letter>,
) {
    let portal = portal_folder::client(office, tls, PORTAL).await;
    let town = portal_folder::client(office, tls, TOWN).await;
    let destination = DestinationId::parse(DESTINATION).expect("a UUID");
    let keys = portal.service_keys().await.expect("keys");
    for (id, letter) in some {
        let log = portal.events(*id, &destination, &keys).await.expect("a log that verifies");
        let names: Vec<&str> = log.iter().map(|(event, _)| event.as_str()).collect();
        let mut expected = vec!["create-submission", "submit-submission", "notify-submission"];
        if let Some((token, _)) = &letter.accepted {
            expected.push("accept-submission");
            let told = ask(&portal, &format!("/v2/submissions/{id}/events")).await.expect("a log");
            assert_eq!(told["eventLog"][3], token.as_str(), "word for word");
        }
        assert_eq!(names, expected, "{id}");
        fetch(&town, *id, letter).await.unwrap_or_else(|error| panic!("{id} was accepted: {error}"));
    }
    let listed = office.run(&["message", "list", "--limit", "10000", "--json"]).ends(0).json();
    let mut there: Vec<Uuid> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["card"]["id"].as_str().and_then(|id| id.rsplit(':').next()).expect("an id"))
        .map(|id| Uuid::try_parse(id).expect("a UUID"))
        .collect();
    there.sort_unstable();
    assert_eq!(there, all.keys().copied().collect::<Vec<_>>(), "every submission is there once");
    let waiting = ask(&town, "/v2/submissions").await.expect("a list");
    let undecided = all.values().filter(|letter| letter.accepted.is_none()).count();
    assert_eq!(waiting["totalCount"], undecided);
}

/// Every byte of the store at rest.
fn all_is_well(office: &mut Office, messages: u64) {
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    office.signal(Signal::TERM);
    assert_eq!(office.ended(), 0);
    let verified = office.run(&["store", "verify", "--json"]).ends(0).json();
    assert_eq!(verified["messages"].as_u64(), Some(messages));
    office.run(&["evidence", "verify", "--store", "store", "--key", key.trim()]).ends(0);
    println!("store and evidence verified");
}
