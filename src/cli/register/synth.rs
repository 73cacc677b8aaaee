//! `amtsbote register synth`: invented persons, and what happens to them, for tests and trials.

use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use super::super::exit::{Exit, Stop};
use super::super::screen;
use crate::register::person::{Ags, Person};
use crate::register::synth::plan::{Fault, GENERATION, Plan, Sent, Step};
use crate::register::synth::town;

/// Records to the standard output.
pub fn records(ags: Ags, persons: u64, seed: u64) -> Result<Exit, Stop> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for one in town::persons(seed, ags, persons) {
        match line(&mut out, &one.to_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
            Err(error) => return Err(Stop::failed(format!("the output cannot be written: {error}"))),
            Ok(()) => {}
        }
    }
    out.flush().map_err(|error| Stop::failed(format!("the output cannot be written: {error}")))?;
    Ok(Exit::Done)
}

/// What `outcome.json` says.
#[derive(Serialize)]
struct Outcome<'a> {
    ags: Ags,
    generation: u64,
    /// Number of the last change.
    sequence: u64,
    persons: usize,
    messages: usize,
    restarts: usize,
    faults: BTreeMap<Fault, usize>,
    /// Messages that are rejected, as a whole or in part.
    rejected: Vec<&'a Sent>,
}

/// Records, stream and expected outcome into the files of a folder.
pub fn plan(folder: &Path, ags: Ags, persons: u64, seed: u64, changes: u64) -> Result<Exit, Stop> {
    let plan = Plan::new(seed, ags, persons, changes);
    let mut faults: BTreeMap<Fault, usize> = BTreeMap::new();
    plan.messages().for_each(|sent| *faults.entry(sent.fault).or_default() += 1);
    let is_rejected = |sent: &&Sent| sent.expected.rejected.is_some() || !sent.expected.cases.is_empty();
    let messages = plan.messages().count();
    let outcome = Outcome {
        ags,
        generation: GENERATION,
        sequence: plan.sequence,
        persons: plan.expected.len(),
        messages,
        restarts: plan.steps.len() - messages,
        faults,
        rejected: plan.messages().filter(is_rejected).collect(),
    };
    let steps = plan.steps.iter().map(json::<Step>).collect::<Result<Vec<_>, Stop>>()?;
    let files = [
        ("records.jsonl", plan.records.iter().map(Person::to_bytes).collect()),
        ("stream.jsonl", steps),
        ("expected.jsonl", plan.expected.values().map(Person::to_bytes).collect()),
        ("outcome.json", vec![json(&outcome)?]),
    ];
    let failed =
        |error: std::io::Error| Stop::failed(format!("{} cannot be written: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, lines) in files {
        let path = folder.join(name);
        let mut out = BufWriter::new(std::fs::File::create_new(&path).map_err(failed)?);
        lines.iter().try_for_each(|one| line(&mut out, one)).and_then(|()| out.flush()).map_err(failed)?;
        screen::data(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Done)
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Stop> {
    serde_json::to_vec(value).map_err(|error| Stop::failed(error.to_string()))
}

fn line(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(b"\n")
}
