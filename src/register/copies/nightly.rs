//! What is done each night without anybody's asking, and how copies were last compared with their originals.
//!
//! A night is one row by its day: work that was begun and not ended is begun again, work that was ended is done once a
//! day, however often the process starts. The comparison itself is the municipality's to begin, because the original is
//! there: it sends its buckets' hashes with "nothing happened" (1104); here stands what came of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::base::params;
use super::changes::forget_unread;
use super::{Copies, CopyError, Retired, copies_where, instant, int, micros, schema, uint};
use crate::register::person::Ags;
use crate::register::reconcile::{Bucket, Difference, Hash, bucket_of, buckets, differing};

/// Nights that are remembered.
const NIGHTS_MAX: i64 = 400;

/// One night's work on all copies (sections 13, 14 BMG).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Night {
    pub day: Date,
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub restricted: u64,
    pub deleted: u64,
    /// Records that could not be read, and were left as they are.
    pub unreadable: u64,
}

/// What the last comparison with the original found. Counts of records are known once the entries of the buckets that
/// differ have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    pub at: Timestamp,
    pub buckets_differing: u64,
    pub missing: Option<u64>,
    pub surplus: Option<u64>,
    pub changed: Option<u64>,
}

impl Reconciled {
    pub fn is_equal(&self) -> bool {
        self.buckets_differing == 0
    }
}

impl Copies {
    /// The day whose work is due: today from `hour` on, in the register's time zone, unless it was done.
    pub fn night_due(&self, hour: u8, now: Timestamp) -> Result<Option<Date>, CopyError> {
        let local = now.to_zoned(self.settings.zone.clone());
        if local.hour() < hour as i8 {
            return Ok(None);
        }
        let done = self.last_night()?.is_some_and(|night| {
            // A clock that went back makes nobody's day twice.
            night.day > local.date() || night.day == local.date() && night.ended_at.is_some()
        });
        Ok((!done).then(|| local.date()))
    }

    /// Applies the deletion periods to every living copy, and to rows of all kinds. `go_on` is asked between two copies;
    /// where it says no, the night is not ended and comes again. What cannot be read stays, is counted, and keeps nobody
    /// from the rest.
    pub fn work_at_night(
        &self,
        day: Date,
        now: impl Fn() -> Timestamp,
        go_on: impl Fn() -> bool,
    ) -> Result<Night, CopyError> {
        let mut night =
            Night { day, began_at: now(), ended_at: None, restricted: 0, deleted: 0, unreadable: 0 };
        self.write_night(&night)?;
        for ags in self.living()? {
            if !go_on() {
                return Ok(night);
            }
            match self.retire(ags, day) {
                Ok(Retired { restricted, deleted, unreadable }) => {
                    night.restricted += restricted;
                    night.deleted += deleted;
                    night.unreadable += unreadable;
                }
                // Gone meanwhile.
                Err(CopyError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.delete_old_rows(night.began_at, &go_on)?;
        if !go_on() {
            return Ok(night);
        }
        night.ended_at = Some(now());
        self.write_night(&night)?;
        Ok(night)
    }

    fn write_night(&self, night: &Night) -> Result<(), CopyError> {
        self.write(|work| {
 work.run("INSERT INTO night (day, began_at, ended_at, restricted, deleted, unreadable) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (day) DO UPDATE SET began_at = excluded.began_at, ended_at = excluded.ended_at,
                 restricted = night.restricted + excluded.restricted, deleted = night.deleted + excluded.deleted,
                 unreadable = excluded.unreadable", params![
                night.day.to_string(),
                micros(night.began_at),
                night.ended_at.map(micros),
                int(night.restricted),
                int(night.deleted),
                int(night.unreadable)
            ])?;
        work.run(
            "DELETE FROM night WHERE day NOT IN (SELECT day FROM night ORDER BY day DESC LIMIT ?1)",
            params![NIGHTS_MAX], )?;
 Ok(()) })
    }

    pub fn last_night(&self) -> Result<Option<Night>, CopyError> {
        self.read(|work| {
            work.one(
 "SELECT day, began_at, ended_at, restricted, deleted, unreadable FROM night ORDER BY day DESC LIMIT 1", params![], |row| { let day: &str = row.get(0)?;
 let day = day.parse().map_err(|_| CopyError::Corrupt("the day of a night".to_owned()))?;
            Ok(Night { day, began_at: instant(row.get(1)?), ended_at: row.get::<Option<i64>>(2)?.map(instant), restricted: uint(row.get(3)?), deleted: uint(row.get(4)?), unreadable: uint(row.get(5)?), }) }, ) })
    }

    /// Compares a living copy with the buckets of its original; `entries` are the original's records, by mark, of the
    /// buckets that it knows to differ, all as they were at `as_of`. Says in which buckets the two differ, and how.
    pub fn reconcile(
        &self,
        ags: Ags,
        theirs: &[Bucket],
        entries: &BTreeMap<String, Hash>,
        as_of: Timestamp,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Difference), CopyError> {
        let ours = self.entries(ags)?;
        let found = differing(&buckets(&ours), theirs);
        let told: std::collections::BTreeSet<u8> = entries.keys().map(|mark| bucket_of(mark)).collect();
        // Of a bucket that the original does not have, all that is here is surplus.
        let gone = |number: &u8| !theirs.iter().any(|bucket| bucket.number == *number);
        let looked_at = |number: &u8| told.contains(number) || gone(number);
        let here = |mark: &str| {
            let number = bucket_of(mark);
            found.contains(&number) && looked_at(&number)
        };
        let ours: BTreeMap<String, Hash> = ours.into_iter().filter(|(mark, _)| here(mark)).collect();
        let theirs: BTreeMap<String, Hash> =
            entries.iter().filter(|(mark, _)| here(mark)).map(|(mark, hash)| (mark.clone(), *hash)).collect();
        let difference = Difference::between(&ours, &theirs);
        let whole = found.iter().all(looked_at);
        let count = |marks: &[String]| whole.then_some(marks.len() as i64);
        self.write(|work| {
            if found.is_empty() {
                forget_unread(work, ags, as_of)?;
            }
            work.run(
                "INSERT INTO reconciliation (ags, at, buckets, missing, surplus, changed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (ags) DO UPDATE SET at = excluded.at,
                 buckets = excluded.buckets, missing = excluded.missing, surplus = excluded.surplus,
                 changed = excluded.changed",
                params![
                    ags.to_string(),
                    micros(now),
                    found.len() as i64,
                    count(&difference.missing),
                    count(&difference.surplus),
                    count(&difference.changed)
                ],
            )
        })?;
        Ok((found, difference))
    }

    /// Municipalities whose copies answer.
    pub fn living(&self) -> Result<Vec<Ags>, CopyError> {
        let copies = self.read(|work| copies_where(work, "state = ?1", params![schema::LIVE]))?;
        Ok(copies.into_iter().map(|copy| copy.ags).collect())
    }

    /// The last comparison of each municipality that ever sent its hashes.
    pub fn reconciled(&self) -> Result<BTreeMap<Ags, Reconciled>, CopyError> {
        self.read(|work| {
            let select = "SELECT ags, at, buckets, missing, surplus, changed FROM reconciliation";
            let mut out = BTreeMap::new();
            work.each(select, params![], |row| {
                let ags: String = row.get(0)?;
                let count = |place: usize| -> Result<Option<u64>, CopyError> {
                    Ok(row.get::<Option<i64>>(place)?.map(uint))
                };
                let one = Reconciled {
                    at: instant(row.get(1)?),
                    buckets_differing: uint(row.get(2)?),
                    missing: count(3)?,
                    surplus: count(4)?,
                    changed: count(5)?,
                };
                out.insert(Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?, one);
                Ok(true)
            })?;
            Ok(out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::copies::{LoadReceipt, LogKey, Settings};
    use crate::register::person::{Person, Status};
    use crate::register::synth;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_record_that_cannot_be_read_keeps_nobody_from_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
        let towns = ["10041100", "10041511"].map(|key| Ags::parse(key).expect("a key"));
        for ags in towns {
            copies.begin_load(ags, 1, 0, at("2026-11-28T00:00:00Z")).expect("begun");
            let mut receipt = LoadReceipt::default();
            let dead = ["1", "2"].map(|mark| Person {
                mark: mark.to_owned(),
                status: Status::Dead,
                death_date: Some("01012010".parse().expect("a date")),
                ..synth::person(1, ags, 1)
            });
            let records = dead.map(|one| one.to_bytes());
            copies.load(ags, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
            copies.finish_load(ags, 2, &receipt).expect("finished");
        }
        let broken = "UPDATE person SET record = ?1 WHERE id = (SELECT min(id) FROM person)";
        copies.write(|work| work.run(broken, params![[0_u8; 1]])).expect("set");
        let due = at("2026-11-29T02:00:00Z");
        let day = copies.night_due(3, due).expect("a look").expect("due");
        let night = copies.work_at_night(day, || due, || true).expect("worked");
        assert_eq!((night.restricted, night.unreadable, night.ended_at), (3, 1, Some(due)));
        assert_eq!(copies.last_night().expect("a look"), Some(night));
        // The yearly report, too, is made of the others, and is due again after a year.
        let due_in = |text: &str| copies.plausibility_due(at(text)).expect("a look");
        assert_eq!(due_in("2026-11-29T02:00:00Z"), towns);
        let report = copies.plausibility(towns[0], due).expect("a report");
        assert_eq!((report.persons, report.unreadable), (1, 1));
        assert_eq!(due_in("2027-11-29T02:00:00Z"), towns[1..]);
        assert_eq!(due_in("2027-12-01T02:00:00Z"), towns);
    }

    #[test]
    fn a_night_is_worked_once_and_begun_again_where_it_was_broken_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
        let home = Ags::parse("10041100").expect("a key");
        let dead = Person {
            mark: "1".to_owned(),
            status: Status::Dead,
            death_date: Some("01012010".parse().expect("a date")),
            ..synth::person(1, home, 1)
        };
        copies.begin_load(home, 1, 0, at("2026-11-28T00:00:00Z")).expect("begun");
        let mut receipt = LoadReceipt::default();
        copies.load(home, [&dead.to_bytes()[..]], &mut receipt).expect("loaded");
        copies.finish_load(home, 1, &receipt).expect("finished");
        // Berlin is an hour ahead in winter.
        assert_eq!(copies.night_due(3, at("2026-11-29T01:59:59Z")).expect("a look"), None);
        let due = at("2026-11-29T02:00:00Z");
        let day = copies.night_due(3, due).expect("a look").expect("due");
        let broken = copies.work_at_night(day, || due, || false).expect("worked");
        assert_eq!((broken.ended_at, broken.restricted), (None, 0));
        assert_eq!(copies.night_due(3, due).expect("a look"), Some(day), "it comes again");
        assert_eq!(copies.work_at_night(day, || due, || true).expect("worked").restricted, 1);
        assert_eq!(copies.night_due(3, at("2026-11-29T22:59:59Z")).expect("a look"), None, "once a day");
        let night = copies.last_night().expect("a look").expect("a night");
        assert_eq!((night.day, night.restricted, night.deleted), (day, 1, 0));
        assert!(copies.night_due(3, at("2026-11-30T02:00:00Z")).expect("a look").is_some());
    }

    #[test]
    fn the_same_on_postgresql() {
        use crate::register::copies::testing;
        testing::on_postgres(testing::scenarios![
            a_record_that_cannot_be_read_keeps_nobody_from_the_rest,
            a_night_is_worked_once_and_begun_again_where_it_was_broken_off,
        ]);
    }
}
