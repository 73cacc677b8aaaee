//! `amtsbote register log`, `report`: the log of looks, walked through, and told to the person concerned.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::Reading;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::{after, eyes, stop};
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Copies, CopyError, LogChecked, LogHold, OwnRecord, Subject, reason_of};
use crate::register::person::Ags;
use crate::register::question::Profile;

#[derive(Serialize)]
struct Report {
    /// None where no record is kept any more; the log outlives it.
    record: Option<OwnRecord>,
    looks: Vec<ReportLine>,
}

#[derive(Serialize)]
struct ReportLine {
    at: String,
    body: String,
    occasion: String,
    profile: &'static str,
    /// Groups of data; none in entries of an earlier version.
    data: Vec<String>,
}

pub fn report(copies: &Copies, folder: &Path, ags: Ags, mark: &str, reading: Reading) -> Result<Exit, Stop> {
    let readers = eyes::two(copies, folder, &Subject::Report { ags, mark })?;
    let entries = copies.looks_at(ags, mark, readers, SystemClock.now()).map_err(stop)?;
    after(copies);
    let record = copies.own_record(ags, mark).map_err(stop)?;
    let unreadable = record.as_ref().is_some_and(|record| record.data.is_null());
    if unreadable {
        screen::sentence(
            "The record that is kept of this person cannot be read: check the disk, load the municipality again, and report anew. Who got data of it stands here all the same.",
        );
    }
    let looks: Vec<ReportLine> = entries
        .into_iter()
        .map(|entry| ReportLine {
            at: screen::instant(entry.at),
            body: entry.look.body,
            occasion: entry.look.occasion,
            profile: entry.look.profile.map_or("", Profile::as_str),
            data: entry.look.data,
        })
        .collect();
    if reading.json {
        screen::json(&Report { record, looks })?;
    } else {
        match &record {
            Some(record) => screen::json(record)?,
            None => screen::sentence("No record of this person is kept here."),
        }
        let mut table = Table::new(&[
            ("AT", Align::Left),
            ("BODY", Align::Left),
            ("PROFILE", Align::Left),
            ("OCCASION", Align::Left),
            ("DATA", Align::Left),
        ]);
        looks.into_iter().for_each(|line| {
            table.row([line.at, line.body, line.profile.to_owned(), line.occasion, line.data.join(", ")]);
        });
        screen::data(&table.render())?;
    }
    Ok(if unreadable { Exit::Problems } else { Exit::Done })
}

pub fn print_head(copies: &Copies) -> Result<Exit, Stop> {
    let head = copies.log_head().map_err(stop)?;
    let head = head.ok_or_else(|| Stop::new(Exit::Unknown, "the log has no entry yet"))?;
    screen::data(&format!("{head}\n"))?;
    Ok(Exit::Done)
}

pub fn hold(copies: &Copies, reason: &str) -> Result<Exit, Stop> {
    copies.hold_log(eyes::operator(), reason, SystemClock.now()).map_err(stop)?;
    after(copies);
    say_held(copies.log_hold().map_err(stop)?.as_ref());
    Ok(Exit::Done)
}

pub fn lift(copies: &Copies, folder: &Path, reason: &str) -> Result<Exit, Stop> {
    // A release is for one attempt: none is spent on what would be refused.
    let reason = reason_of(reason).map_err(stop)?;
    let hold = copies.log_hold().map_err(stop)?;
    let LogHold { since, .. } =
        hold.ok_or_else(|| Stop::new(Exit::Unknown, "nothing holds the log of pre-filled forms"))?;
    let readers = eyes::two(copies, folder, &Subject::LiftLogHold { since })?;
    copies.lift_log_hold(readers, reason, SystemClock.now()).map_err(stop)?;
    let erased = copies.erase_expired(SystemClock.now()).map_err(stop)?;
    after(copies);
    screen::sentence(&format!(
        "Nothing is held any more; {erased} entries were over their time and are erased."
    ));
    Ok(Exit::Done)
}

pub fn say_held(hold: Option<&LogHold>) {
    if let Some(LogHold { since, by, reason }) = hold {
        screen::sentence(&format!(
            "The log of pre-filled forms is held for an audit since {}, by {by}: {}. `amtsbote register log --lift` ends it.",
            screen::instant(*since),
            screen::plain(reason)
        ));
    }
}

pub fn verify(copies: &Copies, elsewhere: &[PathBuf]) -> Result<Exit, Stop> {
    let own = copies.heads_file();
    let checked = std::iter::once(&own).chain(elsewhere).try_fold(Vec::new(), |mut heads, path| {
        heads.extend(copies.read_heads(path)?);
        Ok::<_, CopyError>(heads)
    });
    match checked.and_then(|heads| copies.verify_log(&heads, SystemClock.now())) {
        Ok(LogChecked { entries, heads: 0 }) if entries > 0 => {
            let what = format!(
                "{entries} entries, whole as far as the database itself tells: there is no head of them"
            );
            return Err(Stop::new(Exit::Problems, what).then(format!(
                "Find out who removed {}; where the register was upgraded just now, `register serve` writes it within a minute",
                own.display()
            )));
        }
        Ok(LogChecked { entries, heads }) => {
            screen::data(&format!("{entries} entries, whole, {heads} heads\n"))?;
            say_held(copies.log_hold().map_err(stop)?.as_ref());
        }
        Err(
            error @ (CopyError::Log(_)
            | CopyError::LogCut { .. }
            | CopyError::LogEmptied(_)
            | CopyError::Head(_)),
        ) => {
            return Err(Stop::new(Exit::Problems, error.to_string()).then(
                "Find out who changed it; if the register was restored from a backup, keep the file of heads aside",
            ));
        }
        Err(error) => return Err(stop(error)),
    }
    Ok(Exit::Done)
}
