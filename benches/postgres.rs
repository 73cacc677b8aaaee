//! The PostgreSQL engine beside the same transactions without it, three nodes beside one, a mailbox with a million
//! waiting messages beside an empty one; and how long clients wait when a relay or the primary falls.
//!
//! Everything runs on a cluster of the bench's own, made in a temporary folder as the tests make theirs; without
//! PostgreSQL it says so and ends. How to read the tables stands in README.md beside this file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::domain::state::Event;
use amtsbote::store::Store;
use amtsbote::store::postgres::{PostgresStore, Settings};
use futures_util::future::join_all;
use futures_util::try_join;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/nodes_load.rs"]
#[allow(dead_code)]
mod nodes_load;
#[path = "../tests/it/nodes_office.rs"]
#[allow(dead_code)]
mod nodes_office;
#[path = "../tests/it/portal_office.rs"]
#[allow(dead_code)]
mod portal_office;
#[path = "../tests/it/ports.rs"]
mod ports;
#[path = "../tests/it/postgres_cluster.rs"]
#[allow(dead_code)]
mod postgres_cluster;
#[path = "../tests/it/serve_kill.rs"]
#[allow(dead_code, unused_imports)]
mod serve_kill;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;
#[path = "../tests/it/xta_office.rs"]
#[allow(dead_code)]
mod xta_office;

use ground::{PAYLOAD_BYTES, Times, setting};
use nodes_load::Load;
use postgres_cluster::Cluster;
use rustix::process::Signal;
use store_fixture::{Draft, change, content, draft, mailbox, of_mailbox};

const MESSAGES: u64 = 1_000_000;
/// Mailboxes that the load is spread over.
const MAILBOXES: u64 = 50;
const ROUNDS: u64 = 300;
const FULL: &str = "ags:full";
const FEW: &str = "ags:few";
const RELAYS: usize = 3;
/// A client waits so long for one answer.
const PATIENCE: Duration = Duration::from_secs(40);

fn main() {
    let Some(programs) = postgres_cluster::programs() else { return };
    let lines = ["shared_buffers = 256MB", "max_wal_size = 4GB", "checkpoint_timeout = 30min"];
    let cluster = Cluster::start(&programs, &lines);
    speed(&cluster);
    depth(&cluster);
    drop(cluster);
    recovery(&programs);
}

fn speed(cluster: &Cluster) {
    let span = Duration::from_secs(setting("AMTSBOTE_BENCH_SECONDS", 5));
    let repetitions = setting("AMTSBOTE_BENCH_REPETITIONS", 3);
    println!("clients  bare/s  one/s  ratio  bare of three/s  three/s  ratio  to one  p50 ms  p99 ms");
    for clients in [1, 64] {
        let (mut bare, mut one, mut three, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bare_three = Vec::new();
        for repetition in 0..repetitions {
            let database = |kind: &str| cluster.database(&format!("{kind}_{clients}_{repetition}"));
            bare.push(bare_rate(&database("bare"), clients, 1, span));
            bare_three.push(bare_rate(&database("bare_three"), clients, 3, span));
            let (rate, taken) = engine_rate(&database("one"), clients, 1, span);
            one.push(rate);
            times.extend(taken);
            three.push(engine_rate(&database("three"), clients, 3, span).0);
        }
        let (bare, one, three, times) = (median(bare), median(one), median(three), Times::of(times));
        let bare_three = median(bare_three);
        let (to_bare, to_bare_three, to_one) = (one / bare, three / bare_three, three / one);
        let (half, late) = (times.at(0.5), times.at(0.99));
        println!(
            "{clients:7}  {bare:6.0}  {one:5.0}  {to_bare:5.2}  {bare_three:15.0}  {three:7.0}  {to_bare_three:5.2}  \
             {to_one:6.2}  {half:6.2}  {late:6.2}"
        );
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn open(connection: &str, node: &str) -> PostgresStore {
    PostgresStore::open(Settings::new(connection, node)).await.expect("a store")
}

fn numbered(task: u64, n: u64) -> Draft {
    Draft {
        mailbox: mailbox(&format!("ags:{}", n % MAILBOXES)),
        content: content(task << 32 | n, PAYLOAD_BYTES),
        ..draft(&format!("{task}-{n}"))
    }
}

/// Accepts per second through so many nodes, and how long each took.
fn engine_rate(connection: &str, clients: u64, nodes: u64, span: Duration) -> (f64, Vec<Duration>) {
    ground::runtime().block_on(async {
        let mut stores = Vec::new();
        for node in 0..nodes {
            stores.push(Arc::new(open(connection, &format!("node-{node}")).await));
        }
        let start = Instant::now();
        let running: Vec<_> = (0..clients)
            .map(|task| {
                let store = Arc::clone(&stores[(task % nodes) as usize]);
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for n in 0.. {
                        if start.elapsed() >= span {
                            break;
                        }
                        let draft = numbered(task, n);
                        let began = Instant::now();
                        draft.send(&*store).await.expect("accepted");
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        let times: Vec<Duration> =
            join_all(running).await.into_iter().flat_map(|times| times.expect("no panic")).collect();
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        for store in stores {
            store.close().await.expect("closed");
        }
        (rate, times)
    })
}

/// Messages per second of the same rows in the same tables with nothing between: no reading, no deciding. Each of so many
/// sessions, as long as there is a client for it, writes its share of them to a transaction.
fn bare_rate(connection: &str, clients: u64, sessions: u64, span: Duration) -> f64 {
    ground::runtime().block_on(async {
        let store = open(connection, "node").await;
        numbered(0, 0).send(&store).await.expect("a message to copy");
        store.close().await.expect("closed");
        let sessions = sessions.min(clients);
        let mut running = Vec::new();
        let start = Instant::now();
        for session in 0..sessions {
            let bare = Bare::open(connection).await;
            let batch = (clients / sessions + u64::from(session < clients % sessions)) as i64;
            running.push(tokio::spawn(async move {
                let first = (session as i64) << 40 | 1;
                let mut last = first;
                while start.elapsed() < span {
                    bare.write(last + 1..=last + batch).await.expect("written");
                    last += batch;
                }
                last - first
            }));
        }
        let written: i64 =
            join_all(running).await.into_iter().map(|written| written.expect("no panic")).sum();
        written as f64 / start.elapsed().as_secs_f64()
    })
}

const COUNTER: &str = "UPDATE counter SET last = last + $1";
const NODE: &str = "UPDATE node SET batch = batch + 1, size = size + $1";
const USED: &str = "INSERT INTO used SELECT n.key, u.account, u.expires_at, n.sequence, u.request_digest, u.issued_to, \
    u.sealed FROM unnest($1::bigint[], $2::text[]) AS n (sequence, key), used u WHERE u.sequence = 1";
const MESSAGE: &str = "INSERT INTO message SELECT n.sequence, n.id, n.mailbox, m.state, m.offered, m.shelf, m.posted_by, \
    m.delivered_at, m.payload_bytes, m.payload_digest, m.payload_place, m.release_at, m.expire_at, m.remind_at, \
    m.retain_payload_days, m.retain_card_days, m.final_at, m.push_at, m.push_attempt, m.push_token, m.push_leased, \
    m.push_note FROM unnest($1::bigint[], $2::text[], $3::text[]) AS n (sequence, id, mailbox), message m \
    WHERE m.sequence = 1";
const PAPER: &str = "INSERT INTO paper SELECT n.sequence, n.envelope, n.manifest, p.author_digest, n.card \
    FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[]) AS n (sequence, envelope, manifest, card), paper p \
    WHERE p.sequence = 1";
// Its own row and the log's first are found by the first column of their keys: by others a growing table would be read.
const TIMER: &str = "INSERT INTO timer SELECT t.at, n.sequence, t.kind FROM unnest($1::bigint[]) AS n (sequence), timer t \
    WHERE t.at = ANY ($2) AND t.sequence = 1";
const PAYLOAD: &str = "INSERT INTO payload SELECT * FROM unnest($1::bigint[], $2::bytea[])";
const EVIDENCE: &str = "INSERT INTO evidence SELECT e.node, n.sequence, n.sequence, e.leaf, e.bytes \
    FROM unnest($1::bigint[]) AS n (sequence), evidence e WHERE e.node = 'node' AND e.idx = 0";
const COUNTS: &str = "INSERT INTO mailbox (name, total, waiting, bytes_waiting) \
    SELECT * FROM unnest($1::text[], $2::bigint[], $2::bigint[], $2::bigint[]) \
    ON CONFLICT (name) DO UPDATE SET total = mailbox.total + excluded.total, \
    waiting = mailbox.waiting + excluded.waiting, bytes_waiting = mailbox.bytes_waiting + excluded.bytes_waiting";
const ALL: [&str; 9] = [COUNTER, NODE, USED, MESSAGE, PAPER, TIMER, PAYLOAD, EVIDENCE, COUNTS];

/// A session that writes copies of message 1.
struct Bare {
    client: Client,
    statements: Vec<Statement>,
    paper: [Vec<u8>; 3],
    timers: Vec<i64>,
}

impl Bare {
    async fn open(connection: &str) -> Self {
        let (client, task) = tokio_postgres::connect(connection, NoTls).await.expect("a session");
        tokio::spawn(task);
        // A scan that is forbidden and has to be done all the same is priced so that PostgreSQL would compile it each time.
        let settings = "SET search_path = amtsbote; SET enable_seqscan = off; SET jit = off";
        client.batch_execute(settings).await.expect("set");
        let mut statements = Vec::new();
        for sql in ALL {
            statements.push(client.prepare(sql).await.expect(sql));
        }
        let paper = "SELECT envelope, manifest, card FROM paper WHERE sequence = 1";
        let paper = client.query_one(paper, &[]).await.expect("message 1");
        let paper = [paper.get(0), paper.get(1), paper.get(2)];
        let timers = client.query("SELECT at FROM timer WHERE sequence = 1", &[]).await.expect("its timers");
        let timers = timers.iter().map(|row| row.get(0)).collect();
        Self { client, statements, paper, timers }
    }

    async fn write(&self, sequences: std::ops::RangeInclusive<i64>) -> Result<(), tokio_postgres::Error> {
        let [counter, node, used, message, paper, timer, payload, evidence, counts] = &self.statements[..]
        else {
            panic!("a statement for each of {}", ALL.len())
        };
        let sequences: Vec<i64> = sequences.collect();
        let count = sequences.len() as i64;
        let ids: Vec<String> =
            sequences.iter().map(|n| format!("urn:de:xta:messageid:amt:bare-{n}")).collect();
        let boxes: Vec<String> = sequences.iter().map(|n| format!("ags:{}", n % MAILBOXES as i64)).collect();
        let papers = |at: usize| vec![self.paper[at].as_slice(); sequences.len()];
        let (envelopes, manifests, cards) = (papers(0), papers(1), papers(2));
        let payloads: Vec<Vec<u8>> = sequences.iter().map(|n| content(*n as u64, PAYLOAD_BYTES)).collect();
        let mut touched = boxes.clone();
        touched.sort();
        touched.dedup();
        let sums: Vec<i64> = touched.iter().map(|_| 1).collect();
        let client = &self.client;
        // Sent one behind the other without waiting, in this order.
        try_join!(
            client.batch_execute("BEGIN"),
            async { client.execute(node, &[&count]).await },
            async { client.execute(counter, &[&count]).await },
            async { client.execute(used, &[&sequences, &ids]).await },
            async { client.execute(message, &[&sequences, &ids, &boxes]).await },
            async { client.execute(paper, &[&sequences, &envelopes, &manifests, &cards]).await },
            async { client.execute(timer, &[&sequences, &self.timers]).await },
            async { client.execute(payload, &[&sequences, &payloads]).await },
            async { client.execute(evidence, &[&sequences]).await },
            async { client.execute(counts, &[&touched, &sums]).await },
        )?;
        client.batch_execute("COMMIT").await
    }
}

fn depth(cluster: &Cluster) {
    let messages = setting("AMTSBOTE_BENCH_MESSAGES", MESSAGES);
    let connection = cluster.database("depth");
    let (times, filling) = ground::runtime().block_on(async {
        let store = open(&connection, "node").await;
        let first = Draft { mailbox: mailbox(FULL), ..draft("full-1") };
        first.send(&store).await.expect("a message to copy");
        let began = Instant::now();
        tokio::task::block_in_place(|| fill(cluster, messages));
        let filling = began.elapsed();
        let times = measure(&store).await;
        store.close().await.expect("closed");
        (times, filling)
    });
    println!("{messages} messages of 300 bytes in one mailbox, filled in {:.0} s", filling.as_secs_f64());
    println!("operation  few p50 ms  full p50 ms  ratio  few p99  full p99");
    let [few, full] = times;
    for (at, name) in ["accept", "list", "fetch", "close"].into_iter().enumerate() {
        let (few, full) = (&few[at], &full[at]);
        let ratio = full.at(0.5) / few.at(0.5);
        let (half, half_full, late, late_full) = (few.at(0.5), full.at(0.5), few.at(0.99), full.at(0.99));
        println!("{name:9}  {half:10.2}  {half_full:11.2}  {ratio:5.2}  {late:7.2}  {late_full:8.2}");
    }
}

/// Copies message 1 within the database, papers and evidence included.
fn fill(cluster: &Cluster, messages: u64) {
    let own = |column: &str| {
        format!("convert_to(replace(convert_from(p.{column}, 'UTF8'), 'full-1', 'full-' || n), 'UTF8')")
    };
    let (envelope, card) = (own("envelope"), own("card"));
    let from = format!("FROM generate_series(2, {messages}) n");
    let digest = "sha256(convert_to(n::text, 'UTF8'))";
    cluster.sql(
        "depth",
        &format!(
            "SET search_path = amtsbote;
            INSERT INTO used SELECT replace(u.key, split_part(u.key, ':', -1), '') || 'full-' || n, u.account,
                u.expires_at, n, {digest}, NULL, NULL {from}, used u WHERE u.sequence = 1;
            INSERT INTO message (sequence, id, mailbox, state, offered, shelf, posted_by, delivered_at, payload_bytes,
                payload_digest, payload_place, expire_at, retain_payload_days, retain_card_days)
                SELECT n, replace(m.id, 'full-1', 'full-' || n), m.mailbox, m.state, m.offered, m.shelf, m.posted_by,
                m.delivered_at, m.payload_bytes, m.payload_digest, m.payload_place, m.expire_at,
                m.retain_payload_days, m.retain_card_days {from}, message m WHERE m.sequence = 1;
            INSERT INTO paper SELECT n, {envelope}, p.manifest, p.author_digest, {card} {from}, paper p
                WHERE p.sequence = 1;
            INSERT INTO payload SELECT n, p.bytes {from}, payload p WHERE p.sequence = 1;
            INSERT INTO timer SELECT t.at, n, t.kind {from}, timer t WHERE t.sequence = 1;
            UPDATE mailbox SET total = {messages}, waiting = {messages}, bytes_waiting = 300 * {messages};
            UPDATE counter SET last = {messages};"
        ),
    );
    cluster.sql("depth", "CHECKPOINT");
}

/// The same round in turn for both mailboxes, so that a busy second strikes both.
async fn measure(store: &PostgresStore) -> [[Times; 4]; 2] {
    let mut times: [[Vec<Duration>; 4]; 2] = Default::default();
    for round in 0..ROUNDS {
        for (place, name) in [FEW, FULL].into_iter().enumerate() {
            let id = format!("round-{round}-{place}");
            let new = Draft { mailbox: mailbox(name), ..draft(&id) };
            let taken = &mut times[place];
            let began = Instant::now();
            new.send(store).await.expect("accepted");
            taken[0].push(began.elapsed());
            let began = Instant::now();
            let listing = store.list(&of_mailbox(name), 0, 2).await.expect("a listing");
            taken[1].push(began.elapsed());
            assert!(!listing.entries.is_empty());
            let began = Instant::now();
            let length = store.find(&new.id).await.expect("an entry").card.payload_bytes;
            let mut payload = store.open_payload(&new.id, 0, length).await.expect("a payload");
            while payload.next().await.expect("a piece").is_some() {}
            store.change(change(&id, Event::HandedOut, 1)).await.expect("handed out");
            taken[2].push(began.elapsed());
            let began = Instant::now();
            store.change(change(&id, Event::Received, 2)).await.expect("received");
            taken[3].push(began.elapsed());
        }
    }
    times.map(|of_box| of_box.map(Times::of))
}

/// From the fall of one of three relays, and of the primary, to the next message that is accepted from a client of a relay
/// that it struck. Relays are processes, clients speak XTA and OSCI; what they were told is held against the store behind it.
fn recovery(programs: &Path) {
    let (falls, losses) = (setting("AMTSBOTE_BENCH_FALLS", 9), setting("AMTSBOTE_BENCH_LOSSES", 3));
    println!("what falls  falls  clients struck  p50 ms  longest ms");
    let runtime = ground::runtime();
    if falls > 0 {
        tell("a relay", falls, relays_fall(programs, &runtime, falls));
    }
    let waited: Vec<Duration> = (0..losses).flat_map(|_| primary_falls(programs, &runtime)).collect();
    if losses > 0 {
        tell("the primary", losses, waited);
    }
}

fn tell(what: &str, falls: u64, waited: Vec<Duration>) {
    let (struck, waited) = (waited.len(), Times::of(waited));
    println!("{what:11}  {falls:4}  {struck:14}  {:6.0}  {:10.0}", waited.at(0.5), waited.at(1.0));
}

fn relays_fall(programs: &Path, runtime: &Runtime, falls: u64) -> Vec<Duration> {
    let cluster = Cluster::start(programs, &[]);
    let connection = cluster.database("falling");
    let mut relays = nodes_office::open(&connection, RELAYS);
    let load = Load::start(runtime, &relays, PATIENCE);
    load.wait_for(4 * RELAYS);
    for fall in 0..falls {
        let place = fall as usize % RELAYS;
        load.fell(place);
        relays[place].signal(Signal::KILL);
        relays[place].start_again();
        load.is_back(place, &relays[place]);
        load.wait_for(4 * RELAYS);
    }
    load.settle(runtime, &mut relays, &connection).recoveries
}

fn primary_falls(programs: &Path, runtime: &Runtime) -> Vec<Duration> {
    let (primary, standby) = Cluster::pair(programs);
    primary.database("fallen");
    let connection = primary.connection_with(&[&standby], "fallen");
    let mut relays = nodes_office::open_with(&connection, RELAYS, |_, text| {
        text.replace("\nstandby = \"unasked\"\n", "\nstandby = \"wanted\"\n")
    });
    let load = Load::start(runtime, &relays, PATIENCE);
    (0..RELAYS).for_each(|place| load.excuse(place, true));
    load.wait_for(4 * RELAYS);
    (0..RELAYS).for_each(|place| load.fell(place));
    primary.kill();
    standby.promote();
    load.wait_for(4 * RELAYS);
    load.settle(runtime, &mut relays, &connection).recoveries
}
