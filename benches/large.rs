//! One message of 1 GiB in and out: what it costs in memory, and how fast it is beside copying the file.
//!
//! The limit is raised by configuration. Server and client are processes of their own; resident memory is read from
//! `/proc` twenty times a second while the message passes. `AMTSBOTE_BENCH_MIB=64 cargo bench --bench large` makes it
//! short. How to read the table stands in README.md beside this file.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

#[path = "../tests/it/cli_fixture.rs"]
#[allow(dead_code)]
mod cli_fixture;
#[allow(dead_code)]
mod ground;
#[path = "../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;

use ground::{AUTHOR, READER, timed, watched};

const MIB: u64 = 1024 * 1024;

fn main() {
    let mib = ground::setting("AMTSBOTE_BENCH_MIB", 1024);
    let office = cli_fixture::Office::open_with_changes(|text| {
        // The sections are there already, so the value is changed where it stands.
        let line = text.lines().find(|line| line.starts_with("content_bytes_max")).expect("the limit");
        text.replacen(line, &format!("content_bytes_max = {}", (mib + 1) * MIB), 1)
    });
    let folder = office.folder.path().to_owned();
    let file = folder.join("large.bin");
    write_noise(&file, mib);
    // Once through with a small message, so that what any work needs is part of being idle.
    let small = office.post("<small/>");
    fetch(&office, &small, &folder.join("small"));
    let idle = ground::resident(office.pid());
    println!("one message of {mib} MiB; the server idle has {:.1} MiB", idle as f64 / MIB as f64);
    println!("way       MiB/s  copy MiB/s  ratio  MiB above idle  server CPU s");

    let copied = timed(|| copy(&file, &folder.join("copy.bin")));
    let mut id = String::new();
    let (taken, peak, cpu) = watched(office.pid(), || id = send(&office));
    tell("in", mib, taken, copied, peak.saturating_sub(idle), cpu);
    let into = folder.join("fetched");
    let (taken, peak, cpu) = watched(office.pid(), || fetch(&office, &id, &into));
    tell("out", mib, taken, copied, peak.saturating_sub(idle), cpu);
    assert!(holds_the_same(&into, &file), "what came out is not what went in");
}

fn tell(way: &str, mib: u64, taken: Duration, copied: Duration, above: u64, cpu: Duration) {
    let rate = |time: Duration| mib as f64 / time.as_secs_f64();
    let (own, floor) = (rate(taken), rate(copied));
    let above = above as f64 / MIB as f64;
    println!(
        "{way:8}  {own:5.0}  {floor:10.0}  {:5.2}  {above:14.1}  {:12.2}",
        own / floor,
        cpu.as_secs_f64()
    );
}

fn send(office: &cli_fixture::Office) -> String {
    let arguments = ["send", "large.bin", "--from", AUTHOR.1, "--to", READER.1];
    office.run_as(AUTHOR.0, &arguments).ends(0).stdout.trim().to_owned()
}

fn fetch(office: &cli_fixture::Office, id: &str, into: &Path) {
    let into = into.display().to_string();
    office.run_as(READER.0, &["fetch", id, "--into", &into]).ends(0);
}

/// The floor: the bytes read and written once, and synced.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copied");
    std::fs::File::open(to).expect("the copy").sync_all().expect("synced");
    std::fs::remove_file(to).expect("removed");
}

fn write_noise(path: &Path, mib: u64) {
    let mut file = std::fs::File::create(path).expect("a file");
    for n in 0..mib {
        file.write_all(&store_fixture::content(n, MIB as usize)).expect("written");
    }
    file.sync_all().expect("synced");
}

fn holds_the_same(folder: &Path, file: &Path) -> bool {
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).expect("a folder").flatten().map(|entry| entry.path()));
        } else if path.metadata().expect("a file").len() == file.metadata().expect("a file").len() {
            return same(&path, file);
        }
    }
    false
}

fn same(one: &Path, other: &Path) -> bool {
    use std::io::Read;
    let open =
        |path: &Path| std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path).expect("a file"));
    let (mut one, mut other) = (open(one), open(other));
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut here).expect("read");
        if read == 0 {
            return other.read(&mut there).expect("read") == 0;
        }
        other.read_exact(&mut there[..read]).expect("read");
        if here[..read] != there[..read] {
            return false;
        }
    }
}
