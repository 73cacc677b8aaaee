//! How copies are filled: the full load into a new generation. The stream of changes is next door ([`super::changes`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::base::{Value, Work, params};
use super::changes::{gap_within, is_stuck, locks_unread};
use super::terms::{Term, terms};
use super::{Arrived, Copies, CopyError, CopyRow, Reply, copies_where, copy_of, int, micros, schema, uint};
use crate::register::person::{Ags, Person, RecordError};
use crate::register::reconcile::{self, Hash};

/// Persons, or rows of another kind, of retired copies that one step removes: what is urgent waits for one of these.
const RETIRED_PERSONS_MAX: i64 = 500;
const RETIRED_ROWS_MAX: i64 = 5000;
/// Refused records that a receipt names one by one.
const REFUSED_NAMED_MAX: usize = 1000;

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
    /// The first changes that are missing, and were asked for in a receipt: first and last number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<(u64, u64)>,
    /// Since when a lock that the municipality sent is not effective, or hides for want of knowing which it is, because it
    /// could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_unread_at: Option<Timestamp>,
    /// A held change that cannot be read, and keeps all behind it from being applied: the copy is to be loaded again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable_change: Option<u64>,
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

    /// Gives a load up: what it brought is cleared like a copy that was replaced. The living copy answers as before.
    pub fn abandon_load(&self, ags: Ags, generation: u64) -> Result<(), CopyError> {
        let retire =
            "UPDATE copy SET state = ?3, generation = -id WHERE ags = ?1 AND generation = ?2 AND state = ?4";
        self.write(|work| {
            work.run(retire, params![ags.to_string(), int(generation), schema::RETIRED, schema::LOADING])
                .map(drop)
        })
    }

    /// Ends the load: `announced` records must have come, and one that leaves nobody in the copy is none where it was to
    /// bring somebody, or somebody is there; nor is one that leaves less than half of them. The switch is one transaction;
    /// until it, the former copy answers. Locks that came and are younger than the load's picture stay effective in the new
    /// one, whenever they came and for whichever generation.
    pub fn finish_load(&self, ags: Ags, announced: u64, receipt: &LoadReceipt) -> Result<(), CopyError> {
        self.finish(ags, announced, receipt, false, None)
    }

    /// The same where an operator has said that so few are right.
    pub fn finish_load_shrinking(
        &self,
        ags: Ags,
        announced: u64,
        receipt: &LoadReceipt,
    ) -> Result<(), CopyError> {
        self.finish(ags, announced, receipt, true, None)
    }

    /// The same, with the message that brought the load and its receipts in one transaction.
    pub fn finish_load_taking(
        &self,
        ags: Ags,
        announced: u64,
        receipt: &LoadReceipt,
        arrived: (&Arrived<'_>, &[Reply]),
    ) -> Result<(), CopyError> {
        self.finish(ags, announced, receipt, false, Some(arrived))
    }

    fn finish(
        &self,
        ags: Ags,
        announced: u64,
        receipt: &LoadReceipt,
        may_shrink: bool,
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
        is_plausible(&work, ags, receipt, may_shrink)?;
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
            // Terms are gone with their persons, but for those of records that cannot be read.
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
            // Of what cannot be read the terms go at the end, with all that are left.
            if let Ok(person) = read_stored(&record) {
                unindex(&work, &copy, id, &terms(&person, copy.ags))?;
            }
            work.run("DELETE FROM person WHERE id = ?1", params![id])?;
        }
        work.commit()?;
        Ok(true)
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
            let unread = locks_unread(work)?;
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
                        missing: (state == schema::LIVE)
                            .then(|| gap_within(work, copy.ags))
                            .transpose()?
                            .flatten(),
                        lock_unread_at: unread.get(&copy.ags.to_string()).copied(),
                        unreadable_change: is_stuck(work, &copy)?.then_some(copy.sequence + 1),
                    });
                }
            }
            Ok(out)
        })
    }
}

/// False where the copy has somebody under that order mark.
fn store(work: &Work<'_>, copy: &CopyRow, person: &Person) -> Result<bool, CopyError> {
    insert(work, copy, &person.mark, &person.to_bytes(), &terms(person, copy.ags))
}

/// The same of a record in its stored bytes, and what it is found by.
pub(super) fn insert<'t>(
    work: &Work<'_>,
    copy: &CopyRow,
    mark: &str,
    record: &[u8],
    terms: impl IntoIterator<Item = &'t Term>,
) -> Result<bool, CopyError> {
    let id: Option<i64> = work.one(
        "INSERT INTO person (copy, mark, record, digest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (copy, mark) DO NOTHING RETURNING id",
        params![copy.id, mark, record, reconcile::hash(record)],
        |row| row.get(0),
    )?;
    let Some(id) = id else { return Ok(false) };
    index(work, copy, id, terms)?;
    Ok(true)
}

pub(super) fn index<'t>(
    work: &Work<'_>,
    copy: &CopyRow,
    id: i64,
    terms: impl IntoIterator<Item = &'t Term>,
) -> Result<(), CopyError> {
    each_term(work, "INSERT INTO term (copy, kind, form, person) VALUES (?1, ?2, ?3, ?4)", copy, id, terms)
}

fn each_term<'t>(
    work: &Work<'_>,
    sql: &str,
    copy: &CopyRow,
    id: i64,
    terms: impl IntoIterator<Item = &'t Term>,
) -> Result<(), CopyError> {
    let each = terms.into_iter().map(|(kind, form)| {
        [Value::Int(copy.id), Value::Int(*kind as i64), Value::Text(form), Value::Int(id)]
    });
    work.run_each(sql, each)
}

pub(super) fn remove(work: &Work<'_>, copy: &CopyRow, id: i64, record: &[u8]) -> Result<(), CopyError> {
    match read_stored(record) {
        Ok(person) => unindex(work, copy, id, &terms(&person, copy.ags))?,
        Err(_) => unindex_unread(work, copy, id)?,
    }
    work.run("DELETE FROM person WHERE id = ?1", params![id])?;
    Ok(())
}

/// The same as [`unindex`] where nobody knows by which terms: all of the copy's are looked through.
pub(super) fn unindex_unread(work: &Work<'_>, copy: &CopyRow, id: i64) -> Result<(), CopyError> {
    work.run("DELETE FROM term WHERE copy = ?1 AND person = ?2", params![copy.id, id]).map(drop)
}

/// No search finds the person by these any more.
pub(super) fn unindex<'t>(
    work: &Work<'_>,
    copy: &CopyRow,
    id: i64,
    terms: impl IntoIterator<Item = &'t Term>,
) -> Result<(), CopyError> {
    let delete = "DELETE FROM term WHERE copy = ?1 AND kind = ?2 AND form = ?3 AND person = ?4";
    each_term(work, delete, copy, id, terms)
}

pub(super) fn read_stored(record: &[u8]) -> Result<Person, CopyError> {
    serde_json::from_slice(record).map_err(|_| {
        let error = RecordError::Malformed { line: 0, column: 0 };
        CopyError::Corrupt(format!("a stored record: {error}"))
    })
}

/// The first load of a municipality in which nobody lives is right; any other without a record is a mistake, and so,
/// unless the operator says otherwise, is one that leaves less than half of the persons.
fn is_plausible(work: &Work<'_>, ags: Ags, receipt: &LoadReceipt, may_shrink: bool) -> Result<(), CopyError> {
    let stored = receipt.stored;
    if let (0, Some((_, first))) = (stored, receipt.refused_records.first()) {
        return Err(CopyError::NothingTaken { refused: receipt.refused, first: first.clone() });
    }
    let kept: i64 = work.only(
        "SELECT count(*) FROM person JOIN copy ON copy.id = person.copy WHERE copy.ags = ?1 AND copy.state = ?2",
        params![ags.to_string(), schema::LIVE],
        |row| row.get(0),
    )?;
    match uint(kept) {
        kept if kept > 0 && stored == 0 => Err(CopyError::NothingCame { kept }),
        kept if stored < kept.div_ceil(2) && !may_shrink => Err(CopyError::Shrinks { stored, kept }),
        _ => Ok(()),
    }
}

/// Before a load goes live: its picture may be older than a lock, or the lock may have been for the former generation.
fn keep_younger_locks(work: &Work<'_>, copy: &CopyRow) -> Result<(), CopyError> {
    let (ags, stand) = (copy.ags.to_string(), micros(copy.as_of));
    work.run(
        "INSERT INTO early_lock (copy, mark, code, sequence)
         SELECT CAST(?1 AS BIGINT), mark, code, -1 FROM lock_set
         WHERE ags = ?2 AND at >= ?3 AND code > 0 ON CONFLICT DO NOTHING",
        params![copy.id, ags, stand],
    )?;
    work.run("DELETE FROM lock_set WHERE ags = ?1 AND at < ?2", params![ags, stand])?;
    Ok(())
}
