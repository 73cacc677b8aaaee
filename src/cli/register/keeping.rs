//! `amtsbote register retire`, `plausibility`, `sweep`: what is kept, for how long, and whether it can be right.

use super::super::Reading;
use super::super::exit::{Exit, Stop};
use super::super::screen::{self, Align, Table};
use super::stop;
use crate::clock::{Clock, SystemClock};
use crate::register::copies::Copies;
use crate::register::person::Ags;

pub fn retire(
    copies: &Copies,
    ags: Ags,
    day: Option<jiff::civil::Date>,
    yes: bool,
    reading: Reading,
) -> Result<Exit, Stop> {
    let day = day.unwrap_or_else(|| copies.day_of(SystemClock.now()));
    screen::confirm(&format!("Shrink and delete records of {ags} whose periods are over on {day}?"), yes)?;
    let retired = copies.retire(ags, day).map_err(stop)?;
    if reading.json {
        screen::json(&retired)?;
    } else {
        screen::data(&screen::fields(&[
            ("restricted", retired.restricted.to_string()),
            ("deleted", retired.deleted.to_string()),
            ("unreadable", retired.unreadable.to_string()),
        ]))?;
    }
    Ok(Exit::Done)
}

pub fn plausibility(copies: &Copies, ags: Ags, reading: Reading) -> Result<Exit, Stop> {
    let report = copies.plausibility(ags, SystemClock.now()).map_err(stop)?;
    let clean = report.findings.is_empty() && report.unreadable == 0;
    if reading.json {
        screen::json(&report)?;
    } else {
        let mut table =
            Table::new(&[("FINDING", Align::Left), ("RECORDS", Align::Right), ("FIRST", Align::Left)]);
        for (finding, found) in &report.findings {
            let word = serde_json::to_value(finding).ok().and_then(|one| one.as_str().map(str::to_owned));
            let first = found.marks.first().cloned().unwrap_or_default();
            table.row([word.unwrap_or_default(), found.count.to_string(), screen::plain(&first)]);
        }
        screen::data(&table.render())?;
        screen::sentence(&format!(
            "{} of {} records have no finding.",
            report.without_findings, report.persons
        ));
        if report.unreadable > 0 {
            screen::sentence(&format!(
                "{} records cannot be read: check the disk, then load the municipality again.",
                report.unreadable
            ));
        }
    }
    Ok(if clean { Exit::Done } else { Exit::Problems })
}

pub fn sweep(copies: &Copies, compact: bool) -> Result<Exit, Stop> {
    let erased = copies.erase_expired(SystemClock.now()).map_err(stop)?;
    let deleted = copies.delete_old_rows(SystemClock.now(), &|| true).map_err(stop)?;
    if compact {
        copies.compact().map_err(stop)?;
    }
    copies.after_work().map_err(stop)?;
    screen::sentence(&format!("{deleted} rows whose time is over were deleted."));
    screen::sentence(&format!("{erased} entries of the log were erased."));
    Ok(Exit::Done)
}
