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
        "clients  msg/s  same/s  ratio  least/s  ratio  fsync/msg  CPU us/msg  of client  of same   p50 ms   p99 ms  \
         fdatasync p50  p99  p99 ratio"
    );
    let runtime = ground::runtime();
    let repetitions = ground::setting("AMTSBOTE_BENCH_REPETITIONS", 3).max(1);
    for clients in [1, 64] {
        let runs =
            (0..repetitions).map(|run| measure(&runtime, &office, (clients, run), span)).collect::<Vec<_>>();
        print(&clients.to_string(), &median(&runs));
    }
    println!("Each line holds the medians of {repetitions} repetitions, column by column.");
}

/// One repetition: the columns of the table in their order.
type Figures = [f64; 14];

fn print(clients: &str, figures: &Figures) {
    let [rate, same, ratio, least, of_least, syncs, cpu, rest @ ..] = figures;
    let [of_client, of_same, p50, p99, disk_p50, disk_p99, p99_ratio] = rest;
    println!(
        "{clients:>7}  {rate:5.0}  {same:6.0}  {ratio:5.2}  {least:7.0}  {of_least:5.2}  {syncs:9.3}  {cpu:10.0}  \
         {of_client:9.0}  {of_same:7.0}  {p50:7.2}  {p99:7.2}  {disk_p50:13.2}  {disk_p99:.2}  {p99_ratio:9.2}"
    );
}

fn median(runs: &[Figures]) -> Figures {
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[column]).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    office: &cli_fixture::Office,
    (clients, run): (u64, u64),
    span: Duration,
) -> Figures {
    let folder = office.folder.path();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let own = std::process::id();
    let disk = ground::fdatasync_times(folder, span / 4);
    let least = ground::bare_rate(clients, span / 2);
    let door = Door::of(folder, &office.xta, AUTHOR.0);
    let syncs = || {
        let of = |name| ground::counter(&office.operator, name);
        // Each commit syncs the log once. A checkpoint syncs log and database; the log begun anew behind it costs
        // one more for its header.
        of("amtsbote_store_commits_total") + 3.0 * of("amtsbote_store_checkpoints_total")
    };
    let (syncs_before, began) = (syncs(), Instant::now());
    let (cpu_before, own_before) = (ground::cpu_time(office.pid()), ground::cpu_time(own));
    let times = Times::of(runtime.block_on(load(&door, (clients, run), span)));
    let elapsed = began.elapsed().as_secs_f64();
    let cpu = micros(ground::cpu_time(office.pid()) - cpu_before);
    let of_client = micros(ground::cpu_time(own) - own_before);
    let syncs = syncs() - syncs_before;
    let same_before = ground::cpu_time(own);
    let same = ground::replay_rate(&folder.join("store"), clients, span / 2);
    let of_same = micros(ground::cpu_time(own) - same_before) / (same * (span / 2).as_secs_f64());
    let messages = times.len() as f64;
    let rate = messages / elapsed;
    [
        rate,
        same,
        rate / same,
        least,
        rate / least,
        syncs / messages,
        cpu / messages,
        of_client / messages,
        of_same,
        times.at(0.5),
        times.at(0.99),
        disk.at(0.5),
        disk.at(0.99),
        times.at(0.99) / disk.at(0.99),
    ]
}

/// Every client posts as fast as it is answered.
async fn load(door: &Door, (clients, run): (u64, u64), span: Duration) -> Vec<Duration> {
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
