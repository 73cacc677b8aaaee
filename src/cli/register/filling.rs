//! `amtsbote register load`, `feed`, `reconcile`, `status`: what comes into the copies, and how they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Serialize;

use super::super::Reading;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::stop;
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Copies, CopyState, LoadReceipt, LogHold, Night, Reconciled, Taken};
use crate::register::person::{Ags, Person, RECORD_BYTES_MAX};
use crate::register::reconcile::{Difference, buckets, differing, hash};
use crate::register::stream::Change;

/// Records of one transaction of a load, and changes that are handed over together.
const CHUNK: usize = 500;

/// Lines of the file, each cut behind the longest record that could be taken.
fn records(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>, Stop>>, Stop> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Stop::usage(format!("{} cannot be read: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, error))?;
    let (mut reader, path) = (BufReader::new(file), path.to_owned());
    Ok(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match read_line(&mut reader, &mut line) {
                Err(error) => return Some(Err(unreadable(&path, error))),
                Ok(false) => return None,
                Ok(true) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => return Some(Ok(line)),
            }
        }
    }))
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let found = reader.fill_buf()?;
        if found.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = found.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(found.len());
        let room = (RECORD_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&found[..taken.min(room)]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

pub fn load(
    copies: &Copies,
    file: &Path,
    (ags, generation, sequence): (Ags, u64, u64),
    announced: Option<u64>,
    shrink: bool,
    reading: Reading,
) -> Result<Exit, Stop> {
    copies.begin_load(ags, generation, sequence, SystemClock.now()).map_err(stop)?;
    let receipt = match take_load(copies, file, ags, announced, shrink) {
        Ok(receipt) => receipt,
        Err(error) => {
            // Why it failed is to be told, whatever else fails because of it; what stays goes with the next load.
            let _ = copies.abandon_load(ags, generation);
            while matches!(copies.clear_retired(), Ok(true)) {}
            return Err(error);
        }
    };
    while copies.clear_retired().map_err(stop)? {}
    if reading.json {
        screen::json(&receipt)?;
    } else {
        let left_out: Vec<String> =
            receipt.left_out.iter().map(|(key, count)| format!("{key} ({count})")).collect();
        screen::data(&screen::fields(&[
            ("municipality", ags.to_string()),
            ("generation", generation.to_string()),
            ("stored", receipt.stored.to_string()),
            ("refused", receipt.refused.to_string()),
            ("not kept", left_out.join(", ")),
        ]))?;
        for (number, why) in &receipt.refused_records {
            screen::sentence(&format!("Record {number} was refused: {why}."));
        }
    }
    Ok(if receipt.refused > 0 { Exit::Problems } else { Exit::Done })
}

fn take_load(
    copies: &Copies,
    file: &Path,
    ags: Ags,
    announced: Option<u64>,
    shrink: bool,
) -> Result<LoadReceipt, Stop> {
    let mut receipt = LoadReceipt::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut take = |chunk: &mut Vec<Vec<u8>>| {
        copies.load(ags, chunk.iter().map(Vec::as_slice), &mut receipt).map_err(stop)?;
        chunk.clear();
        Ok::<_, Stop>(())
    };
    for record in records(file)? {
        chunk.push(record?);
        if chunk.len() == CHUNK {
            take(&mut chunk)?;
        }
    }
    take(&mut chunk)?;
    let announced = announced.unwrap_or(receipt.stored + receipt.refused);
    let finished = if shrink {
        copies.finish_load_shrinking(ags, announced, &receipt)
    } else {
        copies.finish_load(ags, announced, &receipt)
    };
    finished.map_err(stop)?;
    Ok(receipt)
}

/// What became of the changes of one file.
#[derive(Default, Serialize)]
struct FeedReceipt {
    applied: u64,
    repeated: u64,
    held: u64,
    refused: Vec<(u64, String)>,
    /// Municipality, first and last number that is missing.
    missing: Vec<(Ags, u64, u64)>,
}

fn take_together(
    copies: &Copies,
    receipt: &mut FeedReceipt,
    lines: &mut Vec<u64>,
    changes: &mut Vec<Change>,
) -> Result<(), Stop> {
    let Some(ags) = changes.first().map(|one| one.ags) else { return Ok(()) };
    let taken = copies.changes_at(ags, changes, SystemClock.now()).map_err(stop)?;
    for (number, taken) in lines.drain(..).zip(taken) {
        match taken {
            Ok(Taken::Applied { after_it }) => {
                receipt.applied += 1 + after_it;
                receipt.held = receipt.held.saturating_sub(after_it);
            }
            Ok(Taken::Repeated) => receipt.repeated += 1,
            Ok(Taken::Held { .. }) => receipt.held += 1,
            Err(error) => receipt.refused.push((number, error.to_string())),
        }
    }
    changes.clear();
    Ok(())
}

pub fn feed(copies: &Copies, file: &Path, reading: Reading) -> Result<Exit, Stop> {
    let mut receipt = FeedReceipt::default();
    let mut fed = BTreeSet::new();
    // Changes of one municipality that follow each other, with their lines.
    let mut together: (Vec<u64>, Vec<Change>) = Default::default();
    for (number, record) in (1..).zip(records(file)?) {
        // The parser's own words might repeat what stands in the line.
        let change: Change = match serde_json::from_slice(&record?) {
            Ok(change) => change,
            Err(error) => {
                receipt.refused.push((number, format!("no change, at column {}", error.column())));
                continue;
            }
        };
        fed.insert(change.ags);
        let (lines, changes) = &mut together;
        if changes.len() == CHUNK || changes.last().is_some_and(|last| last.ags != change.ags) {
            take_together(copies, &mut receipt, lines, changes)?;
        }
        lines.push(number);
        changes.push(change);
    }
    take_together(copies, &mut receipt, &mut together.0, &mut together.1)?;
    receipt.refused.sort_unstable_by_key(|(number, _)| *number);
    for ags in fed {
        receipt.missing.extend(copies.gap(ags).map_err(stop)?.map(|(first, last)| (ags, first, last)));
    }
    if reading.json {
        screen::json(&receipt)?;
    } else {
        let missing: Vec<String> =
            receipt.missing.iter().map(|(ags, first, last)| format!("{ags}: {first} to {last}")).collect();
        screen::data(&screen::fields(&[
            ("applied", receipt.applied.to_string()),
            ("repeated", receipt.repeated.to_string()),
            ("held", receipt.held.to_string()),
            ("refused", receipt.refused.len().to_string()),
            ("missing", missing.join(", ")),
        ]))?;
        for (number, why) in &receipt.refused {
            screen::sentence(&format!("Change {number} was refused: {why}."));
        }
    }
    let whole = receipt.refused.is_empty() && receipt.missing.is_empty();
    Ok(if whole { Exit::Done } else { Exit::Problems })
}

/// What a comparison at the command line came to.
#[derive(Serialize)]
struct Compared {
    missing: Vec<String>,
    /// Absent while a record of the original is unread: it may be theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    surplus: Option<Vec<String>>,
    changed: Vec<String>,
    /// Numbers of the original's records that cannot be read, empty lines not counted.
    unread: Vec<u64>,
}

pub fn reconcile(copies: &Copies, file: &Path, ags: Ags, reading: Reading) -> Result<Exit, Stop> {
    let ours = copies.entries(ags).map_err(stop)?;
    let (mut theirs, mut unread) = (BTreeMap::new(), Vec::new());
    for (number, record) in (1_u64..).zip(records(file)?) {
        match Person::read(&record?) {
            Ok((person, _)) => drop(theirs.insert(person.mark.clone(), hash(&person.to_bytes()))),
            Err(error) => {
                unread.push(number);
                screen::sentence(&format!(
                    "Record {number} of {} was left out of the comparison: {error}.",
                    file.display()
                ));
            }
        }
    }
    let buckets_differing = differing(&buckets(&ours), &buckets(&theirs));
    let difference = Difference::between(&ours, &theirs);
    let is_equal = difference.is_empty() && unread.is_empty();
    let surplus = unread.is_empty().then_some(difference.surplus);
    if surplus.is_none() {
        screen::sentence(
            "Whom the copy has too many is not told: a record that cannot be read may be theirs. Mend the file, and compare again.",
        );
    }
    if reading.json {
        screen::json(&Compared {
            missing: difference.missing,
            surplus,
            changed: difference.changed,
            unread,
        })?;
    } else {
        let unread: Vec<String> = unread.iter().map(u64::to_string).collect();
        screen::data(&screen::fields(&[
            ("records here", ours.len().to_string()),
            ("records of the original", theirs.len().to_string()),
            ("buckets that differ", buckets_differing.len().to_string()),
            ("missing", difference.missing.join(" ")),
            ("surplus", surplus.map_or_else(|| "not known".to_owned(), |marks| marks.join(" "))),
            ("changed", difference.changed.join(" ")),
            ("unread", unread.join(" ")),
        ]))?;
    }
    Ok(if is_equal { Exit::Done } else { Exit::Problems })
}

/// The copies as they stand, and the last night's work on them.
#[derive(Serialize)]
struct Status {
    copies: Vec<StandOfCopy>,
    night: Option<Night>,
    /// Nothing of pre-filled forms is deleted from the log meanwhile.
    log_hold: Option<LogHold>,
}

#[derive(Serialize)]
struct StandOfCopy {
    #[serde(flatten)]
    state: CopyState,
    /// The last comparison with the original.
    reconciled: Option<Reconciled>,
    /// The yearly report was not made for more than a year.
    plausibility_due: bool,
}

pub fn status(copies: &Copies, reading: Reading) -> Result<Exit, Stop> {
    let now = SystemClock.now();
    let reconciled = copies.reconciled().map_err(stop)?;
    let due = copies.plausibility_due(now).map_err(stop)?;
    let states = copies.states(now).map_err(stop)?.into_iter();
    let states = states.map(|state| StandOfCopy {
        reconciled: reconciled.get(&state.ags).copied(),
        plausibility_due: due.contains(&state.ags),
        state,
    });
    let states = states.collect();
    let status = Status {
        copies: states,
        night: copies.last_night().map_err(stop)?,
        log_hold: copies.log_hold().map_err(stop)?,
    };
    let problems = status.copies.iter().any(|StandOfCopy { state, .. }| {
        let lacks = state.missing.is_some() || state.unreadable_change.is_some();
        state.stale || state.lock_unread_at.is_some() || lacks
    });
    if reading.json {
        screen::json(&status)?;
        return Ok(if problems { Exit::Problems } else { Exit::Done });
    }
    let mut table = Table::new(&[
        ("MUNICIPALITY", Align::Left),
        ("STATE", Align::Left),
        ("GENERATION", Align::Right),
        ("CHANGE", Align::Right),
        ("PERSONS", Align::Right),
        ("HELD", Align::Right),
        ("AS OF", Align::Right),
        ("COMPARED", Align::Right),
        ("", Align::Left),
    ]);
    for StandOfCopy { state, reconciled, plausibility_due } in &status.copies {
        let differs = reconciled.as_ref().is_some_and(|one| !one.is_equal());
        let unread = state.lock_unread_at.is_some();
        let stuck =
            state.unreadable_change.map(|number| format!("change {number} cannot be read: load it again"));
        let missing = state.missing.map(|(first, last)| format!("changes {first} to {last} are missing"));
        let remarks = [
            (state.stale, "stale"),
            (missing.is_some(), missing.as_deref().unwrap_or_default()),
            (differs, "differs from its original"),
            (unread, "a lock could not be read"),
            (stuck.is_some(), stuck.as_deref().unwrap_or_default()),
            (*plausibility_due, "the yearly report is due"),
        ];
        let remarks: Vec<&str> = remarks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        table.row([
            state.ags.to_string(),
            state.state.to_owned(),
            state.generation.to_string(),
            state.sequence.to_string(),
            state.persons.to_string(),
            state.held.to_string(),
            screen::age(state.as_of, now),
            reconciled.map_or_else(|| "never".to_owned(), |one| screen::age(one.at, now)),
            remarks.join(", "),
        ]);
    }
    screen::data(&table.render())?;
    super::say_where(copies);
    super::log::say_held(status.log_hold.as_ref());
    screen::sentence(&match &status.night {
        None => "No night's work was done yet (register serve does it).".to_owned(),
        Some(Night { day, ended_at: None, .. }) => format!("The night's work of {day} was not ended."),
        Some(Night { day, restricted, deleted, .. }) => {
            format!("The night's work of {day} is done: {restricted} records shrunk, {deleted} deleted.")
        }
    });
    Ok(if problems { Exit::Problems } else { Exit::Done })
}
