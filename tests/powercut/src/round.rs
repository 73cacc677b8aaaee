//! One round: a machine works, loses its power once or twice, comes up again and is examined.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::Child;
use crate::disk::{Remains, Survival};
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::random::Random;
use crate::writer::{DISK_RESERVE_BYTES, Order};

const READY_PATIENCE: Duration = Duration::from_secs(60);
const CHECK_PATIENCE: Duration = Duration::from_secs(300);
/// How long the writer goes on with a disk that has broken down, so that it could be caught in a false promise.
const BROKEN_FOR: Duration = Duration::from_millis(400);

/// The cut waits so long for a moment with unflushed writes.
const STAND_STILL_PATIENCE: Duration = Duration::from_millis(200);
const UNFLUSHED_WRITES_MAX: u64 = 6;
/// Acknowledgements on their way when the disk stands still arrive within this time.
const LAST_WORDS: Duration = Duration::from_millis(10);

/// What is put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Store { synchronous_normal: bool, tasks: u64 },
    Lines { synced: bool },
}

pub struct Bench {
    /// Folder for images and mount points, removed at the end.
    pub scratch: PathBuf,
    /// A new, empty file system.
    pub image: Vec<u8>,
    /// Where the image of a round with findings is kept.
    pub keep: Option<PathBuf>,
}

/// How a round goes; all of it follows from the seed and the number, so that it can be repeated.
#[derive(Debug, Clone)]
pub struct Plan {
    pub number: u64,
    pub seed: u64,
    pub victim: Victim,
    pub survival: Survival,
    /// The power fails a second time, while or shortly after the store recovers from the first.
    pub twice: bool,
    /// The disk answers writes and flushes with errors for a while before the power fails.
    pub breaks_down: bool,
}

impl Plan {
    pub fn new(seed: u64, number: u64, victim: Victim) -> Self {
        let mut random = Random::seeded(seed ^ number.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let modes = Survival::ALL;
        let survival = modes[usize::try_from(number).unwrap_or(0) % modes.len()];
        let is_store = matches!(victim, Victim::Store { synchronous_normal: false, .. });
        Self {
            number,
            seed: random.draw(),
            victim,
            survival,
            twice: is_store && number % 3 == 2,
            breaks_down: is_store && number % 7 == 5,
        }
    }
}

#[derive(Default)]
pub struct Outcome {
    pub acknowledged: u64,
    pub lost: Vec<String>,
    pub defects: Vec<String>,
    /// What the checker had looked at.
    pub checked: String,
    pub disk: String,
}

impl Outcome {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.defects.is_empty()
    }
}

pub fn play(bench: &Bench, plan: &Plan) -> Result<Outcome, Failure> {
    let mut random = Random::seeded(plan.seed);
    let mut outcome = Outcome::default();
    let mut ledger = Ledger::default();
    let mut image = bench.image.clone();
    for life in 0..=u64::from(plan.twice) {
        let machine = Machine::boot(&bench.scratch, image)?;
        let remains = live(&machine, plan, life, &mut random, &mut ledger, &mut outcome)?;
        outcome.disk = format!(
            "{} writes, {} flushes, {} of {} unflushed KiB survive",
            remains.writes,
            remains.flushes,
            remains.surviving_bytes >> 10,
            remains.unflushed_bytes >> 10
        );
        image = remains.image;
    }
    outcome.acknowledged = ledger.acknowledged;
    let kept = bench.keep.as_ref().map(|folder| (folder, image.clone()));
    let machine = Machine::boot(&bench.scratch, image)?;
    examine(&machine, plan.victim, &ledger, &mut outcome)?;
    if let (Some((folder, image)), false) = (kept, outcome.is_clean()) {
        let file = folder.join(format!("round-{}.img", plan.number));
        std::fs::write(&file, image).map_err(Failure::io("keeping the image"))?;
        let file = folder.join(format!("round-{}.ledger", plan.number));
        std::fs::write(&file, ledger.to_lines()).map_err(Failure::io("keeping the ledger"))?;
    }
    Ok(outcome)
}

/// Lets the writer work on the machine, and pulls the plug.
fn live(
    machine: &Machine,
    plan: &Plan,
    life: u64,
    random: &mut Random,
    ledger: &mut Ledger,
    outcome: &mut Outcome,
) -> Result<Remains, Failure> {
    let folder = store_folder(machine);
    let mut writer = match plan.victim {
        Victim::Store { synchronous_normal, tasks } => {
            let order = Order {
                seed: plan.seed,
                life,
                tasks,
                synchronous_normal,
                fill: false,
                reserve_bytes: DISK_RESERVE_BYTES,
            };
            Child::start("writer", &folder, &order.to_arguments())?
        }
        Victim::Lines { synced } => {
            let synced = synced.then(|| "--synced".to_owned());
            Child::start("lines", &machine.folder, &synced.into_iter().collect::<Vec<_>>())?
        }
    };
    // The second cut is timed from the start, so that it often falls into the recovery.
    let lifetime = if life == 0 {
        if !writer.wait_until(READY_PATIENCE, |writer| writer.has_said(0, |line| line == "ready"))? {
            return finish_unready(writer);
        }
        Duration::from_millis(random.between(150, 1500))
    } else {
        Duration::from_millis(random.between(5, 500))
    };
    let seed = format!("--seed={}", random.draw());
    let mut disorder = Child::start("disorder", &machine.folder, &[seed])?;
    writer.wait_until(lifetime, |_| false)?;
    let broken = plan.breaks_down && life == 0;
    let ended_early = writer.has_ended()?;
    if broken {
        machine.disk.break_down();
        writer.wait_until(BROKEN_FOR, |_| false)?;
    }
    let unflushed_writes = random.between(1, UNFLUSHED_WRITES_MAX + 1);
    let (heard, remains) = pull_the_plug(machine, &mut writer, plan.survival, unflushed_writes, random)?;
    disorder.kill();
    disorder.end()?;
    let (status, lines, complaints) = writer.end()?;
    for (place, line) in lines.iter().enumerate() {
        ledger.hear(line, place < heard);
    }
    if ended_early {
        outcome.defects.push(format!("the writer ended by itself ({status}): {}", complaints.join(" / ")));
    }
    if !broken {
        // A healthy disk gives no reason to refuse anything, unless a quick machine has filled it; what becomes of a full
        // one has a run of its own.
        let refusals = ledger.refusals.drain(..).filter(|words| !words.starts_with("refused full "));
        outcome.defects.extend(refusals.take(3));
    } else {
        outcome.defects.extend(ledger.refusals.drain(..).filter(|line| line.contains("for-good")).take(3));
    }
    Ok(remains)
}

/// Stops the disk in the middle of its work, hears what has been acknowledged, and takes what a power cut would leave.
///
/// No flush ends while the disk stands still, so an acknowledgement heard then is a promise about what was durable
/// before; whoever gives it without a flush is caught.
pub fn pull_the_plug(
    machine: &Machine,
    writer: &mut Child,
    survival: Survival,
    unflushed_writes: u64,
    random: &mut Random,
) -> Result<(usize, Remains), Failure> {
    machine.disk.stand_still(usize::try_from(unflushed_writes).unwrap_or(1), STAND_STILL_PATIENCE);
    writer.wait_until(LAST_WORDS, |_| false)?;
    let heard = writer.lines_so_far();
    let remains = machine.disk.cut(survival, random);
    writer.kill();
    machine.disk.go_on();
    Ok((heard, remains))
}

fn finish_unready(writer: Child) -> Result<Remains, Failure> {
    let mut writer = writer;
    writer.kill();
    let (status, _, complaints) = writer.end()?;
    Err(Failure::Defects(format!("the writer could not begin ({status}): {}", complaints.join(" / "))))
}

fn store_folder(machine: &Machine) -> PathBuf {
    machine.folder.join("store")
}

/// Lets the checker look at what is on the machine's disk.
pub fn examine(
    machine: &Machine,
    victim: Victim,
    ledger: &Ledger,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let (mode, folder): (_, &Path) = match victim {
        Victim::Store { .. } => ("check", &store_folder(machine)),
        Victim::Lines { .. } => ("lines-check", &machine.folder),
    };
    let mut checker = Child::start(mode, folder, &[])?;
    checker.tell(&ledger.to_lines())?;
    let in_time = checker.wait_until(CHECK_PATIENCE, |_| false)? || checker.has_ended()?;
    checker.kill();
    let (status, lines, complaints) = checker.end()?;
    for line in lines {
        match line.split_once(' ') {
            Some(("lost", what)) => outcome.lost.push(what.to_owned()),
            Some(("defect", what)) => outcome.defects.push(what.to_owned()),
            Some(("checked", what)) => outcome.checked = what.to_owned(),
            _ => outcome.defects.push(format!("the checker said {line:?}")),
        }
    }
    if outcome.checked.is_empty() {
        let why = if in_time { complaints.join(" / ") } else { "it took too long".to_owned() };
        outcome.defects.push(format!("the check did not come to its end ({status}): {why}"));
    }
    Ok(())
}
