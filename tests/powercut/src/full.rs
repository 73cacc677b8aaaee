//! The disk fills up: a clear refusal, nothing acknowledged lost, and work goes on in the same process when there is
//! room again.
//!
//! First slowly, then suddenly, because somebody else takes the last byte while messages are under way. Played once
//! with the store's reserve, which must speak in time, and once without, so that payload files, the write-ahead log
//! and commits themselves meet the full disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::child::Child;
use crate::disk::Survival;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::random::Random;
use crate::round::{self, Bench, Outcome, Victim};
use crate::writer::Order;

pub const DISK_MEBIBYTES: u64 = 64;
const BALLAST_BYTES: u64 = 16 << 20;
const BALLAST: &str = "ballast";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it is left full.
const FULL_FOR: Duration = Duration::from_millis(1500);
const TASKS: u64 = 4;

pub fn play(bench: &Bench, seed: u64, reserve_bytes: u64) -> Result<Outcome, Failure> {
    let victim = Victim::Store { synchronous_normal: false, tasks: TASKS };
    let mut outcome = Outcome::default();
    let mut ledger = Ledger::default();
    let machine = Machine::boot(&bench.scratch, bench.image.clone())?;
    let ballast = machine.folder.join(BALLAST);
    take_space(&ballast, BALLAST_BYTES)?;
    let order = Order { seed, life: 0, tasks: TASKS, synchronous_normal: false, fill: true, reserve_bytes };
    let mut writer = Child::start("writer", &machine.folder.join("store"), &order.to_arguments())?;

    let mut stage = |name: &str, from: usize, said: &str, outcome: &mut Outcome| -> Result<usize, Failure> {
        let reached =
            writer.wait_until(PATIENCE, |writer| writer.has_said(from, |line| line.starts_with(said)))?;
        if !reached {
            outcome.defects.push(format!("{name}: the writer never said {said:?}"));
        }
        Ok(writer.lines_so_far())
    };
    let at = stage("filling", 0, "refused ", &mut outcome)?;
    std::thread::sleep(FULL_FOR);
    free_space(&machine, &ballast)?;
    let at = stage("room again", at, "did accept", &mut outcome)?;
    // Now somebody else is faster than the reserve.
    take_space(&ballast, u64::MAX)?;
    let at = stage("suddenly full", at, "refused ", &mut outcome)?;
    std::thread::sleep(FULL_FOR);
    free_space(&machine, &ballast)?;
    let at = stage("room once more", at, "did accept", &mut outcome)?;
    stage("working on", at, "did accept", &mut outcome)?;

    let ended_early = writer.has_ended()?;
    let mut random = Random::seeded(seed);
    let (heard, remains) = round::pull_the_plug(&machine, &mut writer, Survival::Nothing, 3, &mut random)?;
    let (status, lines, complaints) = writer.end()?;
    for (place, line) in lines.iter().enumerate() {
        ledger.hear(line, place < heard);
    }
    if ended_early {
        outcome.defects.push(format!("the writer ended by itself ({status}): {}", complaints.join(" / ")));
    }
    let kinds = ["full", "unavailable", "payload", "for-good"].map(|kind| {
        let refusals = ledger.refusals.iter().filter(|line| line.split(' ').nth(1) == Some(kind));
        (kind, refusals.clone().count(), refusals.take(1).cloned().collect::<String>())
    });
    for (kind, times, example) in &kinds {
        if *times > 0 {
            println!("  refused as {kind}: {times} times, such as: {example}");
        }
        if *times > 0 && !["full", "unavailable"].contains(kind) {
            outcome.defects.push(format!("{times} refusals are not clear ({kind}), such as: {example}"));
        }
    }
    outcome.acknowledged = ledger.acknowledged;
    drop(machine);
    let machine = Machine::boot(&bench.scratch, remains.image)?;
    // Freed space need not have outlived the cut, and the checker sends some messages again.
    free_space(&machine, &machine.folder.join(BALLAST))?;
    round::examine(&machine, victim, &ledger, &mut outcome)?;
    Ok(outcome)
}

/// Writes up to `bytes` of ballast; a full disk ends it early and is what was wanted.
fn take_space(ballast: &Path, bytes: u64) -> Result<(), Failure> {
    let mut file = File::create(ballast).map_err(Failure::io("making the ballast"))?;
    let piece = [0x5a; 64 << 10];
    let mut written = 0;
    while written < bytes {
        match file.write(&piece) {
            Ok(length) => written += length as u64,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            Err(error) => return Err(Failure::io("writing the ballast")(error)),
        }
    }
    Ok(())
}

fn free_space(machine: &Machine, ballast: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(ballast) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::io("removing the ballast")(error)),
    }
    let folder = File::open(&machine.folder).map_err(Failure::io("opening the mounted folder"))?;
    folder.sync_all().map_err(Failure::io("syncing the mounted folder"))
}
