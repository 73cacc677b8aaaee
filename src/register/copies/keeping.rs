//! Records whose time is over, and the yearly look at all of them.
//!
//! A record that shrinks keeps the digest of the whole one, so that the comparison with the original stays quiet until
//! the municipality's own change comes; it loses its terms, so that no search finds it.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::base::params;
use super::intake::{read_stored, remove, unindex};
use super::terms::terms;
use super::{Copies, CopyError, copies_where, copy_of, micros, schema};
use crate::register::person::Ags;
use crate::register::plausibility::Report;
use crate::register::retention::{Keep, keep, restricted};

/// Records that one step looks at.
const STEP: usize = 2000;
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Retired {
    pub restricted: u64,
    pub deleted: u64,
    /// Cannot be read, and left as they are.
    pub unreadable: u64,
}

impl Copies {
    /// Applies the periods of sections 13 and 14 BMG to one copy.
    pub fn retire(&self, ags: Ags, today: Date) -> Result<Retired, CopyError> {
        let mut retired = Retired::default();
        let mut after = 0;
        loop {
            let mut session = self.writer();
            let awaited = session.awaited();
            let work = session.begin()?;
            let copy = copy_of(&work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
            let rows: Vec<(i64, Vec<u8>)> = work.all(
                "SELECT id, record FROM person WHERE copy = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                params![copy.id, after, STEP as i64],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let (begun, mut done) = (after, rows.len() < STEP);
            for (id, record) in rows {
                if after > begun && awaited() {
                    done = false;
                    break;
                }
                after = id;
                let Ok(person) = read_stored(&record) else {
                    retired.unreadable += 1;
                    continue;
                };
                match keep(&person, today) {
                    Keep::Whole => {}
                    Keep::No => {
                        remove(&work, &copy, id, &record)?;
                        retired.deleted += 1;
                    }
                    Keep::Restricted => {
                        unindex(&work, &copy, id, &terms(&person, copy.ags))?;
                        let rest = restricted(&person).to_bytes();
                        if rest != record {
                            retired.restricted += 1;
                            work.run("UPDATE person SET record = ?2 WHERE id = ?1", params![id, rest])?;
                        }
                    }
                }
            }
            work.commit()?;
            if done {
                return Ok(retired);
            }
        }
    }

    /// The yearly report on one copy; that it was made is noted.
    pub fn plausibility(&self, ags: Ags, now: Timestamp) -> Result<Report, CopyError> {
        let report = self.read(|work| {
            let copy = copy_of(work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
            let mut report = Report::default();
            work.each("SELECT record FROM person WHERE copy = ?1 ORDER BY mark", params![copy.id], |row| {
                match read_stored(row.get(0)?) {
                    Ok(person) => report.add(&person),
                    Err(_) => report.unreadable += 1,
                }
                Ok(true)
            })?;
            Ok(report)
        })?;
        let note = "INSERT INTO plausibility (ags, at) VALUES (?1, ?2)
             ON CONFLICT (ags) DO UPDATE SET at = excluded.at";
        self.write(|work| work.run(note, params![ags.to_string(), micros(now)]))?;
        Ok(report)
    }

    /// Municipalities with a copy whose yearly report was never made, or more than a year ago.
    pub fn plausibility_due(&self, now: Timestamp) -> Result<Vec<Ags>, CopyError> {
        let since = now.checked_sub(YEAR).unwrap_or(Timestamp::MIN);
        self.read(|work| {
            let made = "SELECT EXISTS (SELECT 1 FROM plausibility WHERE ags = ?1 AND at >= ?2)";
            let mut due = Vec::new();
            for copy in copies_where(work, "state = ?1", params![schema::LIVE])? {
                if !work.only(made, params![copy.ags.to_string(), micros(since)], |row| row.get(0))? {
                    due.push(copy.ags);
                }
            }
            Ok(due)
        })
    }
}
