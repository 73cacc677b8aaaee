//! Accepts per second of the embedded store, beside a bare SQLite loop on the same disk in the same run.
//!
//! The bare loop writes the same bytes (payload, papers, index, evidence line) in one durable transaction per batch,
//! with no domain around them: what the machine gives. The ratio is what the domain costs. Payloads have 10 kB and do
//! not compress. `cargo bench --bench store`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::store::Store;
use amtsbote::store::embedded::{EmbeddedStore, Settings};

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;
use ground::PAYLOAD_BYTES;
use store_fixture::{Draft, content, draft};

const SPAN: Duration = Duration::from_secs(5);

fn main() {
    println!("tasks  store/s  bare/s  ratio   p50 ms   p99 ms   max ms");
    for tasks in [1, 64] {
        let (rate, mut times) = store_rate(tasks);
        let bare = ground::bare_rate(tasks, SPAN);
        times.sort_unstable();
        let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let ratio = rate / bare;
        let (half, late, last) = (of(0.5), of(0.99), of(1.0));
        println!("{tasks:5}  {rate:7.0}  {bare:6.0}  {ratio:5.2}  {half:7.2}  {late:7.2}  {last:7.2}");
    }
}

/// Accepts per second, and how long each took.
fn store_rate(tasks: u64) -> (f64, Vec<Duration>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { disk_reserve_bytes: 0, ..Settings::new(folder.path()) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(settings).expect("a store"));
        let start = Instant::now();
        let running: Vec<_> =
            (0..tasks).map(|task| tokio::spawn(load(Arc::clone(&store), task, start))).collect();
        let mut times = Vec::new();
        for task in running {
            times.extend(task.await.expect("no panic"));
        }
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        store.close().await.expect("closed");
        (rate, times)
    })
}

async fn load(store: Arc<EmbeddedStore>, task: u64, start: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0_u64.. {
        if start.elapsed() >= SPAN {
            break;
        }
        let mailbox = store_fixture::mailbox(&format!("ags:{}", n % 50));
        let draft = Draft {
            mailbox,
            content: content(task << 32 | n, PAYLOAD_BYTES),
            ..draft(&format!("{task}-{n}"))
        };
        let began = Instant::now();
        draft.send(&*store).await.expect("accepted");
        times.push(began.elapsed());
    }
    times
}
