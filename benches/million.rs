//! A mailbox with a million waiting messages beside an empty one, and a start over a million stored messages.
//!
//! The store is filled directly, many messages to a transaction and without waiting for the disk; then the real server
//! is started on it and asked over keep-alive mutual TLS. `AMTSBOTE_BENCH_MESSAGES=10000 cargo bench --bench million`
//! makes it short. How to read the table stands in README.md beside this file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amtsbote::store::Store;
use amtsbote::store::embedded::{EmbeddedStore, Settings, Synchronous};
use jiff::Timestamp;

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;

use ground::{AUTHOR, Door, READER, Times, Wire};
use store_fixture::{Draft, content, draft};

const MESSAGES: u64 = 1_000_000;
/// Rounds of each office, the two taking turns, so that a busy minute strikes both.
const ROUNDS: usize = 400;
const FILLERS: u64 = 512;

fn main() {
    let messages = ground::setting("AMTSBOTE_BENCH_MESSAGES", MESSAGES);
    let mut office = cli_fixture::Office::open_with("");
    ground::allow_own_ids(&office);
    let empty = office.restart_after(|_| ());
    let mut filling = Duration::ZERO;
    let full = office.restart_after(|folder| filling = fill(&folder.join("store"), messages));
    println!(
        "{messages} messages of 300 bytes in one mailbox, filled in {:.0} s ({:.0} a second)",
        filling.as_secs_f64(),
        messages as f64 / filling.as_secs_f64()
    );
    println!("start to first answer: {:.2} s (empty: {:.2} s)", full.as_secs_f64(), empty.as_secs_f64());
    println!("operation  empty p50 ms  full p50 ms  ratio  empty p99  full p99");
    let folder = office.folder.path();
    let (author, reader) = (Door::of(folder, &office.xta, AUTHOR.0), Door::of(folder, &office.xta, READER.0));
    let [empty, full] = ground::runtime().block_on(measure(&author, &reader));
    for (at, name) in ["accept", "list", "fetch", "close"].into_iter().enumerate() {
        let (empty, full) = (&empty[at], &full[at]);
        let ratio = full.at(0.5) / empty.at(0.5);
        let (half, half_full, late, late_full) = (empty.at(0.5), full.at(0.5), empty.at(0.99), full.at(0.99));
        println!("{name:9}  {half:12.2}  {half_full:11.2}  {ratio:5.2}  {late:9.2}  {late_full:8.2}");
    }
}

/// Waiting messages for the reader, as the relay would have stored them.
fn fill(folder: &Path, messages: u64) -> Duration {
    let began = Instant::now();
    ground::runtime().block_on(async {
        let settings =
            Settings { disk_reserve_bytes: 0, synchronous: Synchronous::Normal, ..Settings::new(folder) };
        let store = Arc::new(EmbeddedStore::open(settings).expect("the server's store"));
        let next = Arc::new(AtomicU64::new(0));
        let fillers = (0..FILLERS).map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= messages {
                        return;
                    }
                    let now = Timestamp::now();
                    let message = Draft {
                        mailbox: store_fixture::mailbox(READER.1),
                        posted_by: store_fixture::account(AUTHOR.0),
                        content: content(n, 300),
                        accepted_at: now,
                        expire_at: now + Duration::from_secs(30 * 86_400),
                        ..draft(&format!("fill-{n}"))
                    };
                    message.send(&*store).await.expect("accepted");
                }
            })
        });
        for filler in fillers.collect::<Vec<_>>() {
            filler.await.expect("nobody panicked");
        }
        store.close().await.expect("closed");
    });
    began.elapsed()
}

/// The same round in turn: for the author's own mailbox, which is empty, and for the reader's.
async fn measure(author: &Door, reader: &Door) -> [[Times; 4]; 2] {
    let mut post = author.connect().await;
    let mut boxes = [(AUTHOR.1, author.connect().await), (READER.1, reader.connect().await)];
    let mut times: [[Vec<Duration>; 4]; 2] = Default::default();
    for round in 0..ROUNDS {
        for (place, (identifier, wire)) in boxes.iter_mut().enumerate() {
            let id = format!("urn:de:xta:messageid:bench:{}-{place}-{round}", std::process::id());
            let send = ground::send_request(&id, identifier, round as u64);
            let taken = &mut times[place];
            taken[0].push(timed(&mut post, &send).await);
            taken[1].push(timed(wire, &ground::list_request(1)).await);
            taken[2].push(timed(wire, &ground::fetch_request(&id)).await);
            taken[3].push(timed(wire, &ground::close_request(&id)).await);
        }
    }
    times.map(|of_box| of_box.map(Times::of))
}

async fn timed(wire: &mut Wire, request: &[u8]) -> Duration {
    let began = Instant::now();
    wire.ask(request).await;
    began.elapsed()
}
