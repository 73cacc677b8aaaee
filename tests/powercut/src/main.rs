//! Cuts the power under the store: a file system whose disk forgets what was not flushed, a writer that says what it
//! was promised, and a checker that compares.
//!
//! `disk` and `fuse` are the disk, `machine` puts loop device and ext4 on it, `writer` and `check` (and `lines`, for
//! the rig's own test) run as processes of their own, `round` and `full` are the experiments. What it proves and what
//! it needs stands in the README beside it.

mod check;
mod child;
mod disk;
mod disorder;
mod failure;
mod full;
mod fuse;
mod ledger;
mod lines;
mod machine;
mod message;
mod random;
mod round;
mod sabotage;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::disk::Survival;
use crate::failure::Failure;
use crate::round::{Bench, Plan, Victim};

#[derive(Parser)]
#[command(about = "Cuts the power under the store of amtsbote, and looks at what is left")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Power cuts under the store; nothing acknowledged may be lost.
    Run(Options),
    /// The same with a store that does not sync; it must lose something.
    Control(Options),
    /// A disk that fills up under the store.
    Full(Options),
    /// The rig itself: a syncing writer loses nothing, another loses something, and the checker is not blind.
    SelfTest(Options),
    /// Everything, one after the other.
    All(Options),
    #[command(hide = true)]
    Writer {
        folder: PathBuf,
        #[command(flatten)]
        order: writer::Order,
    },
    #[command(hide = true)]
    Check { folder: PathBuf },
    #[command(hide = true)]
    Lines {
        folder: PathBuf,
        #[arg(long)]
        synced: bool,
    },
    #[command(hide = true)]
    Guard,
    #[command(hide = true)]
    Disorder {
        folder: PathBuf,
        #[arg(long)]
        seed: u64,
    },
    #[command(hide = true)]
    LinesCheck { folder: PathBuf },
}

#[derive(clap::Args, Clone)]
struct Options {
    /// Rounds with power cuts.
    #[arg(long, default_value_t = 8)]
    rounds: u64,
    /// Repeats the rounds of a run that printed this seed [default: from the clock].
    #[arg(long)]
    seed: Option<u64>,
    /// Only the round of this number.
    #[arg(long)]
    only: Option<u64>,
    /// Rounds that the negative control may take until it has lost something.
    #[arg(long, default_value_t = 12)]
    control_rounds: u64,
    /// Tasks that use the store at once.
    #[arg(long, default_value_t = 6)]
    tasks: u64,
    #[arg(long, default_value_t = 384)]
    disk_mebibytes: u64,
    /// Keeps disk image and ledger of rounds with findings in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Writer { folder, order } => return exit(writer::run(&folder, &order)),
        Command::Check { folder } => return exit(check::run(&folder)),
        Command::Lines { folder, synced } => return exit(lines::write(&folder, synced)),
        Command::Guard => return exit(child::stand_guard()),
        Command::Disorder { folder, seed } => return exit(disorder::run(&folder, seed)),
        Command::LinesCheck { folder } => return exit(lines::check(&folder)),
        Command::Run(options) => with_bench(&options, run),
        Command::Control(options) => with_bench(&options, control),
        Command::Full(options) => with_bench(&options, full),
        Command::SelfTest(options) => with_bench(&options, self_test),
        Command::All(options) => with_bench(&options, |options, bench, seed| {
            self_test(options, bench, seed)?;
            control(options, bench, seed)?;
            run(options, bench, seed)?;
            full(options, bench, seed)
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("powercut: {failure}");
            failure.exit_code()
        }
    }
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn with_bench(
    options: &Options,
    experiment: impl FnOnce(&Options, &Bench, u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    machine::prepare()?;
    let _guard = child::Guard::start()?;
    failure::watch_signals()?;
    let scratch = tempfile::Builder::new()
        .prefix("powercut-")
        .tempdir()
        .map_err(Failure::io("making a scratch folder"))?;
    if let Some(keep) = &options.keep {
        std::fs::create_dir_all(keep).map_err(Failure::io("making the folder to keep images in"))?;
    }
    let bench = Bench {
        image: machine::format(scratch.path(), options.disk_mebibytes)?,
        scratch: scratch.path().to_owned(),
        keep: options.keep.clone(),
    };
    let seed = options.seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    println!("seed {seed}");
    experiment(options, &bench, seed)
}

/// Plays one round, and prints a line about it and one for each finding.
fn play(bench: &Bench, plan: &Plan) -> Result<round::Outcome, Failure> {
    let outcome = round::play(bench, plan)?;
    let mut how = plan.survival.to_string();
    if plan.twice {
        how.push_str(", cut twice");
    }
    if plan.breaks_down {
        how.push_str(", disk breaks");
    }
    println!(
        "round {:>3} [{how}] {} acknowledged, {} lost, {} defects; checked {}; disk: {}",
        plan.number,
        outcome.acknowledged,
        outcome.lost.len(),
        outcome.defects.len(),
        outcome.checked,
        outcome.disk
    );
    Ok(outcome)
}

fn print_findings(outcome: &round::Outcome) {
    const FINDINGS_MAX: usize = 12;
    let lost = outcome.lost.iter().map(|what| ("lost", what));
    let findings: Vec<_> = lost.chain(outcome.defects.iter().map(|what| ("defect", what))).collect();
    for (kind, what) in findings.iter().take(FINDINGS_MAX) {
        println!("  {kind}: {what}");
    }
    if findings.len() > FINDINGS_MAX {
        println!("  and {} more", findings.len() - FINDINGS_MAX);
    }
}

fn run(options: &Options, bench: &Bench, seed: u64) -> Result<(), Failure> {
    let victim = Victim::Store { synchronous_normal: false, tasks: options.tasks };
    let numbers = options.only.map_or(0..options.rounds, |only| only..only + 1);
    let (mut rounds, mut acknowledged, mut bad) = (0, 0, Vec::new());
    for number in numbers {
        let plan = Plan::new(seed, number, victim);
        let outcome = play(bench, &plan)?;
        print_findings(&outcome);
        rounds += 1;
        acknowledged += outcome.acknowledged;
        if !outcome.is_clean() {
            bad.push(number);
        }
    }
    println!(
        "power cuts: {rounds} rounds, {acknowledged} acknowledgements, {} rounds with findings",
        bad.len()
    );
    if bad.is_empty() {
        return Ok(());
    }
    let repeat = bad.iter().map(|number| format!("run --seed {seed} --only {number}")).collect::<Vec<_>>();
    Err(Failure::Defects(format!("the store failed; to try again: {}", repeat.join(", "))))
}

/// A store that does not sync its commits must be caught.
fn control(options: &Options, bench: &Bench, seed: u64) -> Result<(), Failure> {
    let victim = Victim::Store { synchronous_normal: true, tasks: options.tasks };
    for number in 0..options.control_rounds {
        let outcome = play(bench, &Plan::new(seed, number, victim))?;
        if !outcome.lost.is_empty() {
            println!("negative control: a loss in round {number}, as there must be");
            return Ok(());
        }
        print_findings(&outcome);
    }
    Err(Failure::ProvesNothing(format!(
        "{} rounds with synchronous=NORMAL lost nothing",
        options.control_rounds
    )))
}

fn full(_: &Options, bench: &Bench, seed: u64) -> Result<(), Failure> {
    let small = Bench {
        image: machine::format(&bench.scratch, full::DISK_MEBIBYTES)?,
        scratch: bench.scratch.clone(),
        keep: bench.keep.clone(),
    };
    let mut clean = true;
    for (how, reserve_bytes) in [("with a reserve", writer::DISK_RESERVE_BYTES), ("without a reserve", 0)] {
        let outcome = full::play(&small, seed, reserve_bytes)?;
        println!(
            "full disk {how}: {} acknowledged, {} lost, {} defects; checked {}",
            outcome.acknowledged,
            outcome.lost.len(),
            outcome.defects.len(),
            outcome.checked
        );
        print_findings(&outcome);
        clean &= outcome.is_clean();
    }
    if clean { Ok(()) } else { Err(Failure::Defects("the store failed on a full disk".to_owned())) }
}

fn self_test(_: &Options, bench: &Bench, seed: u64) -> Result<(), Failure> {
    let rounds = Survival::ALL.len() as u64;
    let mut lost_unsynced = 0;
    for number in 0..rounds {
        let synced = play(bench, &Plan::new(seed, number, Victim::Lines { synced: true }))?;
        if !synced.is_clean() || synced.acknowledged == 0 {
            print_findings(&synced);
            return Err(Failure::ProvesNothing("the disk lost lines that were synced".to_owned()));
        }
        lost_unsynced += play(bench, &Plan::new(seed, number, Victim::Lines { synced: false }))?.lost.len();
    }
    if lost_unsynced == 0 {
        return Err(Failure::ProvesNothing("the disk kept all lines that were not synced".to_owned()));
    }
    println!("self-test: synced lines survive, {lost_unsynced} unsynced lines were lost, as there must be");
    sabotage::play(bench, seed)
}
