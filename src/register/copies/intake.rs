//! How copies are filled: the full load into a new generation, and the stream of changes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::base::{Value, Work, params};
use super::terms::terms;
use super::{
    Arrived, Copies, CopyError, CopyRow, Reply, copies_where, copy_of, int, micros, person_row, schema, uint,
};
use crate::register::person::{Ags, Person, RecordError};
use crate::register::reconcile::{self, Hash};
use crate::register::stream::{Change, Position, Verdict, judge};

/// Persons, or rows of another kind, of retired copies that one step removes: what is urgent waits for one of these.
const RETIRED_PERSONS_MAX: i64 = 500;
const RETIRED_ROWS_MAX: i64 = 5000;
/// Refused records that a receipt names one by one.
const REFUSED_NAMED_MAX: usize = 1000;
/// Digests of applied changes that are kept to tell a repetition from a contradiction.
const APPLIED_KEPT: u64 = 100_000;

/// What a full load came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LoadReceipt {
    pub stored: u64,
    /// The same order mark again, or a record that cannot be taken: number in the load and why.
    pub refused: u64,
    pub refused_records: Vec<(u64, String)>,
    /// Keys that copies do not keep, and how often they came.
    pub left_out: BTreeMap<String, u64>,
}

impl LoadReceipt {
    /// The next record is refused; the first ones are named.
    pub fn refuse(&mut self, why: String) {
        self.refused += 1;
        if self.refused_records.len() < REFUSED_NAMED_MAX {
            self.refused_records.push((self.stored + self.refused, why));
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Applied, with as many held ones after it as had waited for it.
    Applied {
        after_it: u64,
    },
    Repeated,
    /// Held; these are asked for again. A lock in it is effective already.
    Held {
        first: u64,
        last: u64,
    },
}

#[derive(Debug, Clone, Serialize)]
pub struct CopyState {
    pub ags: Ags,
    pub state: &'static str,
    pub generation: u64,
    pub sequence: u64,
    pub as_of: Timestamp,
    pub stale: bool,
    pub persons: u64,
    pub held: u64,
}

impl Copies {
    /// Begins a full load; an unfinished one of the same municipality is thrown away. `sequence` is the change that
    /// the load is up to date with.
    pub fn begin_load(
        &self,
        ags: Ags,
        generation: u64,
        sequence: u64,
        as_of: Timestamp,
    ) -> Result<(), CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        if let Some(live) = copy_of(&work, ags, schema::LIVE)?
            && live.generation >= generation
        {
            return Err(CopyError::Refused("a load needs a generation above that of the living copy"));
        }
        let retire = "UPDATE copy SET state = ?2, generation = -id WHERE ags = ?1 AND state = ?3";
        work.run(retire, params![ags.to_string(), schema::RETIRED, schema::LOADING])?;
        work.run(
            "INSERT INTO copy (ags, generation, state, sequence, as_of) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![ags.to_string(), int(generation), schema::LOADING, int(sequence), micros(as_of)],
        )?;
        work.commit()
    }

    /// Takes a chunk of records, each JSON, in one transaction, or in several where somebody waits who comes first. Bad
    /// ones are named in the receipt, the good ones stay.
    pub fn load<'a>(
        &self,
        ags: Ags,
        records: impl IntoIterator<Item = &'a [u8]>,
        receipt: &mut LoadReceipt,
    ) -> Result<(), CopyError> {
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            self.load_some(ags, &mut records, receipt)?;
        }
        Ok(())
    }

    fn load_some(
        &self,
        ags: Ags,
        records: &mut dyn Iterator<Item = &[u8]>,
        receipt: &mut LoadReceipt,
    ) -> Result<(), CopyError> {
        let mut turn = self.writer();
        let awaited = turn.awaited();
        let work = turn.begin()?;
        let copy = copy_of(&work, ags, schema::LOADING)?.ok_or(CopyError::Refused("no load has begun"))?;
        for bytes in records {
            let taken = Person::read(bytes).map_err(CopyError::from).and_then(|(person, left_out)| {
                if store(&work, &copy, &person)? {
                    Ok(left_out)
                } else {
                    Err(CopyError::Refused("the order mark came before"))
                }
            });
            match taken {
                Ok(left_out) => {
                    receipt.stored += 1;
                    left_out.into_iter().for_each(|key| *receipt.left_out.entry(key).or_default() += 1);
                }
                Err(error @ (CopyError::Record(_) | CopyError::Refused(_))) => {
                    receipt.refuse(error.to_string())
                }
                Err(error) => return Err(error),
            }
            if awaited() {
                break;
            }
        }
        work.commit()
    }

    /// Ends the load: `announced` records must have come. The switch is one transaction; until it, the former copy
    /// answers. Locks that came and are younger than the load's picture stay effective in the new one, whenever they
    /// came and for whichever generation.
    pub fn finish_load(&self, ags: Ags, announced: u64, receipt: &LoadReceipt) -> Result<(), CopyError> {
        self.finish_load_taking(ags, announced, receipt, None)
    }

    /// The same, with the message that brought the load and its receipts in one transaction.
    pub fn finish_load_taking(
        &self,
        ags: Ags,
        announced: u64,
        receipt: &LoadReceipt,
        arrived: Option<(&Arrived<'_>, &[Reply])>,
    ) -> Result<(), CopyError> {
        let came = receipt.stored + receipt.refused;
        if came != announced {
            return Err(CopyError::Incomplete { announced, came });
        }
        let mut session = self.writer();
        let work = session.begin()?;
        let copy = copy_of(&work, ags, schema::LOADING)?.ok_or(CopyError::Refused("no load has begun"))?;
        let stored: i64 =
            work.only("SELECT count(*) FROM person WHERE copy = ?1", params![copy.id], |row| row.get(0))?;
        if uint(stored) != receipt.stored {
            return Err(CopyError::Incomplete { announced: receipt.stored, came: uint(stored) });
        }
        keep_younger_locks(&work, &copy)?;
        let set = "UPDATE copy SET state = ?2 WHERE ags = ?1 AND state = ?3";
        work.run(set, params![ags.to_string(), schema::RETIRED, schema::LIVE])?;
        work.run(set, params![ags.to_string(), schema::LIVE, schema::LOADING])?;
        if let Some((arrived, replies)) = arrived {
            self.take_within(&work, arrived, replies)?;
        }
        work.commit()
    }

    /// Removes a bounded part of what was replaced; says whether there is more.
    pub fn clear_retired(&self) -> Result<bool, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let Some(copy) = copies_where(&work, "state = ?1", params![schema::RETIRED])?.pop() else {
            return Ok(false);
        };
        let doomed = "SELECT id FROM person WHERE copy = ?1 ORDER BY mark LIMIT ?2";
        let ids: Vec<i64> = work.all(doomed, params![copy.id, RETIRED_PERSONS_MAX], |row| row.get(0))?;
        if ids.is_empty() {
            let mut room = RETIRED_ROWS_MAX;
            // Terms are gone with their persons; where a version before left some behind, they go here.
            for (table, columns) in [
                ("term", "copy, kind, form, person"),
                ("early_lock", "copy, mark, code, sequence"),
                ("held", "copy, sequence"),
                ("applied", "copy, sequence"),
            ] {
                let sql = format!(
                    "DELETE FROM {table} WHERE ({columns}) IN (SELECT {columns} FROM {table} WHERE copy = ?1 LIMIT ?2)"
                );
                room -= int(work.run(&sql, params![copy.id, room])?);
            }
            if room > 0 {
                work.run("DELETE FROM copy WHERE id = ?1", params![copy.id])?;
            }
        }
        for id in ids {
            let record: Vec<u8> =
                work.only("SELECT record FROM person WHERE id = ?1", params![id], |row| row.get(0))?;
            remove(&work, &copy, id, &record)?;
        }
        work.commit()?;
        Ok(true)
    }

    /// Takes one change of the stream, whatever time it is.
    pub fn change(&self, change: &Change) -> Result<Taken, CopyError> {
        self.change_at(change, Timestamp::MAX)
    }

    /// Takes one change of the stream. A time beyond `now` makes no copy fresher than it is.
    pub fn change_at(&self, change: &Change, now: Timestamp) -> Result<Taken, CopyError> {
        let record = change.record.as_ref();
        if record.is_some_and(|record| record.mark != change.mark)
            || (record.is_none() && change.is_about_locks())
        {
            return Err(CopyError::Refused("the change and its record speak of different persons"));
        }
        if let Some(record) = record {
            // Through the same door as a load: bounded, and without what is not kept.
            Person::read(&record.to_bytes())?;
        }
        let mut session = if change.is_urgent() { self.urgent_writer() } else { self.writer() };
        let work = session.begin()?;
        remember_lock(&work, change)?;
        // A running load may hold an older picture of this person.
        if let Some(loading) = copy_of(&work, change.ags, schema::LOADING)? {
            lock_early(&work, &loading, change, -1)?;
        }
        let live = copy_of(&work, change.ags, schema::LIVE)?;
        let refused = |why| {
            // Locks win: the message is rejected, and what hides a person is effective all the same.
            if let Some(copy) = &live {
                lock_early(&work, copy, change, -1)?;
            }
            Ok::<_, CopyError>(CopyError::Refused(why))
        };
        let Some(copy) = &live else {
            work.commit()?;
            return Err(CopyError::Refused("there is no copy yet: load one"));
        };
        let bytes = serde_json::to_vec(change).map_err(|error| CopyError::Corrupt(error.to_string()))?;
        let digest = reconcile::hash(&bytes);
        let known = known_digest(&work, copy.id, change.sequence)?;
        let at = Position { generation: copy.generation, sequence: copy.sequence };
        let taken = match judge(at, change.generation, change.sequence, known.as_deref(), &digest) {
            Verdict::Apply => {
                apply(&work, copy, change, &digest, now)?;
                Ok(Taken::Applied { after_it: catch_up(&work, change.ags, now)? })
            }
            Verdict::Repeat => Ok(Taken::Repeated),
            Verdict::Contradiction => Err(refused("this number came before with another content (S999)")?),
            Verdict::Hold { first, last } => {
                work.run(
                    "INSERT INTO held (copy, sequence, digest, bytes) VALUES (?1, ?2, ?3, ?4)",
                    params![copy.id, int(change.sequence), digest, bytes],
                )?;
                lock_early(&work, copy, change, int(change.sequence))?;
                let first_held: i64 =
                    work.only("SELECT min(sequence) FROM held WHERE copy = ?1", params![copy.id], |row| {
                        row.get(0)
                    })?;
                Ok(Taken::Held { first, last: last.min(uint(first_held) - 1) })
            }
            Verdict::Older => Err(refused("the change is of a generation that was replaced")?),
            Verdict::NotLoaded => Err(refused("the change is of a generation that was not loaded")?),
            Verdict::TooFarAhead => {
                Err(refused("too many changes are missing: load the municipality again")?)
            }
        };
        work.commit()?;
        taken
    }

    /// "Nothing happened up to `at`": keeps a copy fresh, unless changes are missing.
    pub fn still_current(
        &self,
        ags: Ags,
        generation: u64,
        sequence: u64,
        at: Timestamp,
    ) -> Result<bool, CopyError> {
        self.write(|work| {
 let fresh = work.run("UPDATE copy SET as_of = CASE WHEN as_of < ?4 THEN ?4 ELSE as_of END WHERE ags = ?1 AND state = 1 AND generation = ?2 AND sequence = ?3", params![ags.to_string(), int(generation), int(sequence), micros(at)])?;
        Ok(fresh == 1) })
    }

    /// Numbers that are missing before the first held change: to be asked for again.
    pub fn gap(&self, ags: Ags) -> Result<Option<(u64, u64)>, CopyError> {
        self.read(|work| {
            let Some(copy) = copy_of(work, ags, schema::LIVE)? else { return Ok(None) };
            let first_held: Option<i64> =
                work.only("SELECT min(sequence) FROM held WHERE copy = ?1", params![copy.id], |row| {
                    row.get(0)
                })?;
            Ok(first_held.map(|held| (copy.sequence + 1, uint(held) - 1)))
        })
    }

    /// Numbers that are missing before a feed that says it has come to `sequence`.
    pub fn missing_before(
        &self,
        ags: Ags,
        generation: u64,
        sequence: u64,
    ) -> Result<Option<(u64, u64)>, CopyError> {
        if let Some(gap) = self.gap(ags)? {
            return Ok(Some(gap));
        }
        self.read(|work| {
            let copy = copy_of(work, ags, schema::LIVE)?;
            let behind = copy.filter(|copy| copy.generation == generation && copy.sequence < sequence);
            Ok(behind.map(|copy| (copy.sequence + 1, sequence)))
        })
    }

    /// Marks and digests of the living copy, for the comparison with the original.
    pub fn entries(&self, ags: Ags) -> Result<BTreeMap<String, Hash>, CopyError> {
        self.read(|work| {
            let copy = copy_of(work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
            let mut out = BTreeMap::new();
            work.each("SELECT mark, digest FROM person WHERE copy = ?1", params![copy.id], |row| {
                out.insert(row.get(0)?, row.get(1)?);
                Ok(true)
            })?;
            Ok(out)
        })
    }

    pub fn states(&self, now: Timestamp) -> Result<Vec<CopyState>, CopyError> {
        self.read(|work| {
            let mut out = Vec::new();
            for (state, word) in [(schema::LIVE, "living"), (schema::LOADING, "loading")] {
                for copy in copies_where(work, "state = ?1", params![state])? {
                    let count = |table: &str| -> Result<u64, CopyError> {
                        let sql = format!("SELECT count(*) FROM {table} WHERE copy = ?1");
                        Ok(uint(work.only(&sql, params![copy.id], |row| row.get(0))?))
                    };
                    out.push(CopyState {
                        ags: copy.ags,
                        state: word,
                        generation: copy.generation,
                        sequence: copy.sequence,
                        as_of: copy.as_of,
                        stale: copy.is_stale(now, self.settings.stale_after),
                        persons: count("person")?,
                        held: count("held")?,
                    });
                }
            }
            Ok(out)
        })
    }
}

fn known_digest(work: &Work<'_>, copy: i64, sequence: u64) -> Result<Option<Vec<u8>>, CopyError> {
    work.one(
        "SELECT digest FROM applied WHERE copy = ?1 AND sequence = ?2
         UNION ALL SELECT digest FROM held WHERE copy = ?1 AND sequence = ?2 LIMIT 1",
        params![copy, int(sequence)],
        |row| row.get(0),
    )
}

/// In its turn.
fn apply(
    work: &Work<'_>,
    copy: &CopyRow,
    change: &Change,
    digest: &Hash,
    now: Timestamp,
) -> Result<(), CopyError> {
    if let Some((id, record)) = person_row(work, copy.id, &change.mark)? {
        remove(work, copy, id, &record)?;
    }
    if let Some(person) = &change.record {
        store(work, copy, person)?;
    }
    // The record speaks for itself from here on; a lock that was taken over stays until a record knows of it.
    work.run(
        "DELETE FROM early_lock WHERE copy = ?1 AND mark = ?2 AND sequence BETWEEN 0 AND ?3",
        params![copy.id, change.mark, int(change.sequence)],
    )?;
    if change.is_about_locks() || change.record.is_none() {
        work.run(
            "DELETE FROM lock_set WHERE ags = ?1 AND mark = ?2 AND at <= ?3",
            params![change.ags.to_string(), change.mark, micros(change.at)],
        )?;
        remember_lock(work, change)?;
    }
    let codes: Vec<u8> =
        change.record.iter().flat_map(|record| &record.locks).map(|lock| lock.code()).collect();
    if change.is_about_locks() || change.record.is_none() {
        work.run(
            "DELETE FROM early_lock WHERE copy = ?1 AND mark = ?2 AND sequence = -1",
            params![copy.id, change.mark],
        )?;
    }
    for code in codes {
        work.run(
            "DELETE FROM early_lock WHERE copy = ?1 AND mark = ?2 AND code = ?3 AND sequence = -1",
            params![copy.id, change.mark, code],
        )?;
    }
    work.run(
        "INSERT INTO applied (copy, sequence, digest) VALUES (?1, ?2, ?3)",
        params![copy.id, int(change.sequence), digest],
    )?;
    work.run(
        "DELETE FROM applied WHERE copy = ?1 AND sequence <= ?2",
        params![copy.id, int(change.sequence.saturating_sub(APPLIED_KEPT))],
    )?;
    work.run(
        "UPDATE copy SET sequence = ?2, as_of = CASE WHEN as_of < ?3 THEN ?3 ELSE as_of END WHERE id = ?1",
        params![copy.id, int(change.sequence), micros(change.at.min(now))],
    )?;
    Ok(())
}

/// Applies held changes as far as they follow one another.
fn catch_up(work: &Work<'_>, ags: Ags, now: Timestamp) -> Result<u64, CopyError> {
    let mut count = 0;
    loop {
        let copy = copy_of(work, ags, schema::LIVE)?.ok_or(CopyError::Refused("there is no copy"))?;
        let next: Option<(Vec<u8>, Hash)> = work.one(
            "SELECT bytes, digest FROM held WHERE copy = ?1 AND sequence = ?2",
            params![copy.id, int(copy.sequence + 1)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((bytes, digest)) = next else { return Ok(count) };
        let change: Change =
            serde_json::from_slice(&bytes).map_err(|error| CopyError::Corrupt(error.to_string()))?;
        work.run(
            "DELETE FROM held WHERE copy = ?1 AND sequence = ?2",
            params![copy.id, int(change.sequence)],
        )?;
        apply(work, &copy, &change, &digest, now)?;
        count += 1;
    }
}

/// Locks win: what hides a person is effective at once.
fn lock_early(work: &Work<'_>, copy: &CopyRow, change: &Change, sequence: i64) -> Result<(), CopyError> {
    if !change.is_urgent() {
        return Ok(());
    }
    for lock in change.record.iter().flat_map(|record| &record.locks) {
        work.run(
            "INSERT INTO early_lock (copy, mark, code, sequence) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![copy.id, change.mark, lock.code(), sequence],
        )?;
    }
    Ok(())
}

/// False where the copy has somebody under that order mark.
fn store(work: &Work<'_>, copy: &CopyRow, person: &Person) -> Result<bool, CopyError> {
    let bytes = person.to_bytes();
    let id: Option<i64> = work.one(
        "INSERT INTO person (copy, mark, record, digest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (copy, mark) DO NOTHING RETURNING id",
        params![copy.id, person.mark, bytes, reconcile::hash(&bytes)],
        |row| row.get(0),
    )?;
    let Some(id) = id else { return Ok(false) };
    let insert = "INSERT INTO term (copy, kind, form, person) VALUES (?1, ?2, ?3, ?4)";
    each_term(work, insert, copy, id, person)?;
    Ok(true)
}

fn each_term(work: &Work<'_>, sql: &str, copy: &CopyRow, id: i64, person: &Person) -> Result<(), CopyError> {
    let terms = terms(person, copy.ags);
    let each = terms.iter().map(|(kind, form)| {
        [Value::Int(copy.id), Value::Int(*kind as i64), Value::Text(form), Value::Int(id)]
    });
    work.run_each(sql, each)
}

pub(super) fn remove(work: &Work<'_>, copy: &CopyRow, id: i64, record: &[u8]) -> Result<(), CopyError> {
    unindex(work, copy, id, &read_stored(record)?)?;
    work.run("DELETE FROM person WHERE id = ?1", params![id])?;
    Ok(())
}

/// No search finds the person any more.
pub(super) fn unindex(work: &Work<'_>, copy: &CopyRow, id: i64, person: &Person) -> Result<(), CopyError> {
    let delete = "DELETE FROM term WHERE copy = ?1 AND kind = ?2 AND form = ?3 AND person = ?4";
    each_term(work, delete, copy, id, person)
}

pub(super) fn read_stored(record: &[u8]) -> Result<Person, CopyError> {
    serde_json::from_slice(record).map_err(|_| {
        let error = RecordError::Malformed { line: 0, column: 0 };
        CopyError::Corrupt(format!("a stored record: {error}"))
    })
}

/// With the time of its event, until a younger event or a younger picture speaks of it.
fn remember_lock(work: &Work<'_>, change: &Change) -> Result<(), CopyError> {
    if !change.is_urgent() {
        return Ok(());
    }
    for lock in change.record.iter().flat_map(|record| &record.locks) {
        work.run(
            "INSERT INTO lock_set (ags, mark, code, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (ags, mark, code) DO UPDATE SET at = excluded.at WHERE lock_set.at < excluded.at",
            params![change.ags.to_string(), change.mark, lock.code(), micros(change.at)],
        )?;
    }
    Ok(())
}

/// Before a load goes live: its picture may be older than a lock, or the lock may have been for the former generation.
fn keep_younger_locks(work: &Work<'_>, copy: &CopyRow) -> Result<(), CopyError> {
    let (ags, stand) = (copy.ags.to_string(), micros(copy.as_of));
    work.run(
        "INSERT INTO early_lock (copy, mark, code, sequence)
         SELECT CAST(?1 AS BIGINT), mark, code, -1 FROM lock_set WHERE ags = ?2 AND at >= ?3 ON CONFLICT DO NOTHING",
        params![copy.id, ags, stand],
    )?;
    work.run("DELETE FROM lock_set WHERE ags = ?1 AND at < ?2", params![ags, stand])?;
    Ok(())
}
