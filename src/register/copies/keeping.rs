//! Records whose time is over, and the yearly look at all of them.
//!
//! A record that shrinks keeps the digest of the whole one, so that the comparison with the original stays quiet until
//! the municipality's own change comes; it loses its terms, so that no search finds it.

use jiff::civil::Date;
use serde::Serialize;

use super::base::params;
use super::intake::{read_stored, remove, unindex};
use super::terms::terms;
use super::{Copies, CopyError, copy_of, schema};
use crate::register::person::Ags;
use crate::register::plausibility::Report;
use crate::register::retention::{Keep, keep, restricted};

/// Records that one step looks at.
const STEP: usize = 2000;

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

    /// The yearly report on one copy.
    pub fn plausibility(&self, ags: Ags) -> Result<Report, CopyError> {
        self.read(|work| {
            let copy = copy_of(work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
            let mut report = Report::default();
            work.each("SELECT record FROM person WHERE copy = ?1 ORDER BY mark", params![copy.id], |row| {
                report.add(&read_stored(row.get(0)?)?);
                Ok(true)
            })?;
            Ok(report)
        })
    }
}
