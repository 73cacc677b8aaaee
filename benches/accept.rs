//! Accepting 10 kB MTOM messages over keep-alive mutual TLS: the real server, every acknowledgement durable, beside
//! the bare engine and the disk in the same run.
//!
//! `cargo bench --bench accept`. How to read the table stands in README.md beside this file.

use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;

use ground::{AUTHOR, Door, READER, Times};

fn main() {
    let span = Duration::from_secs(ground::setting("AMTSBOTE_BENCH_SECONDS", 10));
    let office = cli_fixture::Office::open_with("");
    ground::allow_own_ids(&office);
    let folder = office.folder.path();
    println!(
        "10 kB MTOM over keep-alive mutual TLS, {} s each, store in {}",
        span.as_secs(),
        disk_of(folder)
    );
    println!(
        "clients  msg/s  bare/s  ratio  fsync/msg  CPU us/msg   p50 ms   p99 ms  fdatasync p50  p99  p99 ratio"
    );
    let runtime = ground::runtime();
    for clients in [1, 64] {
        let disk = ground::fdatasync_times(folder, span / 4);
        let bare = ground::bare_rate(clients, span / 2);
        let door = Door::of(folder, &office.xta, AUTHOR.0);
        let syncs = || {
            let of = |name| ground::counter(&office.operator, name);
            // Each commit syncs the log once. A checkpoint syncs log and database; the log begun anew behind it costs
            // one more for its header.
            of("amtsbote_store_commits_total") + 3.0 * of("amtsbote_store_checkpoints_total")
        };
        let (syncs_before, cpu_before, began) = (syncs(), ground::cpu_time(office.pid()), Instant::now());
        let times = Times::of(runtime.block_on(load(&door, clients, span)));
        let elapsed = began.elapsed().as_secs_f64();
        let cpu = (ground::cpu_time(office.pid()) - cpu_before).as_secs_f64() * 1e6;
        let syncs = syncs() - syncs_before;
        let messages = times.len() as f64;
        let rate = messages / elapsed;
        println!(
            "{clients:7}  {rate:5.0}  {bare:6.0}  {:5.2}  {:9.3}  {:10.0}  {:7.2}  {:7.2}  {:13.2}  {:.2}  {:9.2}",
            rate / bare,
            syncs / messages,
            cpu / messages,
            times.at(0.5),
            times.at(0.99),
            disk.at(0.5),
            disk.at(0.99),
            times.at(0.99) / disk.at(0.99),
        );
    }
}

/// Every client posts as fast as it is answered.
async fn load(door: &Door, clients: u64, span: Duration) -> Vec<Duration> {
    let run = std::process::id();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let mut wire = door.connect().await;
        tasks.push(tokio::spawn(async move {
            let (start, mut times) = (Instant::now(), Vec::new());
            for n in 0_u64.. {
                if start.elapsed() >= span {
                    break;
                }
                let id = format!("urn:de:xta:messageid:bench:{run}-{clients}-{client}-{n}");
                let request = ground::send_request(&id, READER.1, client << 32 | n);
                let began = Instant::now();
                wire.ask(&request).await;
                times.push(began.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("nobody panicked"));
    }
    times
}

/// The file system under a folder, since a memory disk would make every figure worthless.
fn disk_of(folder: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields
        .filter(|mount| mount.len() > 2 && folder.starts_with(mount[1]))
        .max_by_key(|mount| mount[1].len());
    mount.map_or_else(|| "an unknown file system".to_owned(), |mount| format!("{} on {}", mount[2], mount[0]))
}
