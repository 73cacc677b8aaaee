//! Is the checker blind? A sound store, and then one lie after the other that it must find.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::Child;
use crate::failure::Failure;
use crate::ledger::{Act, Claim, Ledger};
use crate::machine::Machine;
use crate::message;
use crate::round::{self, Bench, Outcome, Victim};
use crate::writer::{DISK_RESERVE_BYTES, Order};

const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGES_MIN: u64 = 60;
const VICTIM: Victim = Victim::Store { synchronous_normal: false, tasks: 4 };

pub fn play(bench: &Bench, seed: u64) -> Result<(), Failure> {
    let machine = Machine::boot(&bench.scratch, bench.image.clone())?;
    let ledger = work(&machine, seed)?;
    let truth = ledger.to_lines();
    let lines = |keep: &dyn Fn(&str) -> bool| -> String {
        truth.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
    };
    let accepted = |id: &&str| ledger.claim(id, Act::Accept) == Claim::Acknowledged;
    let there = |id: &&str| accepted(id) && ledger.claim(id, Act::PurgeCard) == Claim::Never;
    let (Some(unreceived), Some(there)) = (
        ledger.ids().find(|id| there(id) && ledger.claim(id, Act::Receive) == Claim::Never),
        ledger.ids().find(there),
    ) else {
        return Err(Failure::Rig("the writer left nothing to lie about".to_owned()));
    };
    // One byte long, so that the checker does not send it as a retry.
    let never_sent = message::id(seed, 9, 9, 9, 1);

    let expect = |lie: &str, lines: &str, found: &dyn Fn(&Outcome) -> bool| -> Result<(), Failure> {
        let mut told = Ledger::default();
        lines.lines().for_each(|line| told.hear(line, true));
        let mut outcome = Outcome::default();
        round::examine(&machine, VICTIM, &told, &mut outcome)?;
        if found(&outcome) {
            return Ok(());
        }
        let (lost, defects) = (outcome.lost.join(" / "), outcome.defects.join(" / "));
        Err(Failure::ProvesNothing(format!(
            "the checker misjudged {lie}: lost [{lost}], defects [{defects}]"
        )))
    };
    let names = |findings: &[String], word: &str| findings.iter().any(|finding| finding.contains(word));
    expect("a sound store", &truth, &Outcome::is_clean)?;
    expect("a message that vanished", &format!("{truth}did accept {never_sent}\n"), &|outcome| {
        outcome.lost.len() == 1 && names(&outcome.lost, &never_sent)
    })?;
    expect("a change that vanished", &format!("{truth}did receive {unreceived}\n"), &|outcome| {
        outcome.lost.len() == 1 && names(&outcome.lost, unreceived)
    })?;
    expect("a message that nobody sent", &lines(&|line| !line.ends_with(there)), &|outcome| {
        names(&outcome.defects, there)
    })?;
    flip_a_byte(&machine.folder.join("store").join("payloads"))?;
    expect("a payload with one wrong byte", &truth, &|outcome| !outcome.is_clean())?;
    println!("self-test: the checker finds what is missing, what is too much and what is damaged");
    Ok(())
}

/// Lets the writer fill the store a little, without any accident but its death.
fn work(machine: &Machine, seed: u64) -> Result<Ledger, Failure> {
    let order = Order {
        seed,
        life: 0,
        tasks: 4,
        synchronous_normal: false,
        fill: false,
        reserve_bytes: DISK_RESERVE_BYTES,
    };
    let mut writer = Child::start("writer", &machine.folder.join("store"), &order.to_arguments())?;
    let enough = usize::try_from(MESSAGES_MIN * 4).unwrap_or(usize::MAX);
    writer.wait_until(PATIENCE, |writer| writer.lines_so_far() > enough)?;
    writer.kill();
    let (_, lines, _) = writer.end()?;
    let mut ledger = Ledger::default();
    lines.iter().for_each(|line| ledger.hear(line, true));
    Ok(ledger)
}

/// In the first payload file there is.
fn flip_a_byte(payloads: &Path) -> Result<(), Failure> {
    let mut files = Vec::<PathBuf>::new();
    for shelf in std::fs::read_dir(payloads).map_err(Failure::io("listing the payloads"))?.flatten() {
        files.extend(std::fs::read_dir(shelf.path()).into_iter().flatten().flatten().map(|file| file.path()));
    }
    let path = files.first().ok_or_else(|| Failure::Rig("the writer left no payload file".to_owned()))?;
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.map_err(Failure::io("opening a payload file"))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000)
        .and_then(|()| file.write_all_at(&[byte[0] ^ 1], 1000))
        .map_err(Failure::io("changing a payload file"))
}
