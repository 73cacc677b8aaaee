//! Whom a question may mean: the way from its criteria through the index to records.
//!
//! The rarest term leads; whoever lacks one of the others is passed by without being read.

mod paged;

use std::collections::BTreeSet;

use super::base::{Work, params};
use super::intake::read_stored;
use super::terms::{Probe, probes};
use super::{CopyError, CopyRow};
use crate::register::criteria::Criteria;
use crate::register::person::{Ags, Lock, Person};
use crate::register::question::Reason;

/// Index rows that one question may make us read in one copy. Beyond it the question is too broad.
const ROWS_MAX: usize = 500_000;
/// Beyond it one term is as bad as another.
const ESTIMATE_MAX: i64 = 4096;

/// Is handed a person and the codes of their early locks; says whether it wants more.
pub(super) type Take<'a> = dyn FnMut(Person, &[u8]) -> Result<bool, CopyError> + 'a;

/// Hands every person of one copy who meets the criteria to `take`, until it wants no more. Whoever cannot be read and is
/// found by the index counts as one of them ([`read_or_hidden`]).
pub(super) fn persons(
    work: &Work<'_>,
    copy: &CopyRow,
    criteria: &Criteria,
    records_max: usize,
    take: &mut Take<'_>,
) -> Result<(), CopyError> {
    let mut unread = Unread { ags: copy.ags, first: None, count: 0 };
    search(work, copy, &Asking { criteria, records_max }, &mut unread, take)
}

struct Asking<'a> {
    criteria: &'a Criteria,
    records_max: usize,
}

/// Records of one copy that a question met and nobody can read: one line for all of them, however the search ends.
pub(super) struct Unread {
    ags: Ags,
    first: Option<i64>,
    count: u64,
}

impl Unread {
    fn met(&mut self, row: i64) {
        self.first.get_or_insert(row);
        self.count += 1;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(row) = self.first else { return };
        tracing::error!(
            code = "register-record-unreadable",
            ags = %self.ags,
            row,
            records = self.count,
            next_step = "check the disk, then load the municipality again (amtsbote register load); until then whoever it is about counts as locked",
            "a stored record cannot be read, and whoever it is about was taken for somebody hidden"
        );
    }
}

/// A stored record; or in its place somebody who is hidden from everybody, as by a lock that cannot be read: who it is
/// about, and whether they are locked, is not known, and no answer may tell of it (section 51 BMG).
fn read_or_hidden(record: &[u8], (row, mark): (i64, &str), unread: &mut Unread) -> (Person, bool) {
    match read_stored(record) {
        Ok(person) => (person, true),
        Err(_) => {
            unread.met(row);
            let locks = vec![Lock::unknown()];
            (Person { mark: mark.to_owned(), locks, ..Person::default() }, false)
        }
    }
}

/// The same of one row that was found otherwise; also says whether the record could be read.
pub(super) fn one_or_hidden(ags: Ags, record: &[u8], row: i64, mark: &str) -> (Person, bool) {
    let mut unread = Unread { ags, first: None, count: 0 };
    read_or_hidden(record, (row, mark), &mut unread)
}

fn search(
    work: &Work<'_>,
    copy: &CopyRow,
    Asking { criteria, records_max }: &Asking<'_>,
    unread: &mut Unread,
    take: &mut Take<'_>,
) -> Result<(), CopyError> {
    let records_max = *records_max;
    let mut probes = probes(criteria);
    let counts: Vec<i64> = match work.is_far() {
        false => probes.iter().map(|probe| estimate(work, copy, probe)).collect::<Result<_, _>>()?,
        true => paged::estimates(work, copy, &probes)?,
    };
    let Some((place, _)) = counts.into_iter().enumerate().min_by_key(|(_, count)| *count) else {
        return Err(Reason::TooBroad.into());
    };
    let driver = probes.swap_remove(place);
    let candidates = candidates(work, copy, &driver)?;
    if work.is_far() {
        return paged::persons(
            work,
            copy,
            &Rest { criteria, probes: &probes, records_max },
            candidates,
            unread,
            take,
        );
    }
    let has = "SELECT 1 FROM term WHERE copy = ?1 AND kind = ?2 AND form = ?3 AND person = ?4";
    let mut read = 0;
    'candidates: for id in candidates {
        for probe in &probes {
            if let Probe::Term((kind, form)) = probe
                && work.one(has, params![copy.id, *kind as i64, form, id], |_| Ok(()))?.is_none()
            {
                continue 'candidates;
            }
        }
        read += 1;
        if read > records_max {
            return Err(Reason::TooBroad.into());
        }
        let record = "SELECT record, mark FROM person WHERE id = ?1";
        let (person, is_read) =
            work.only(record, params![id], |row| Ok(read_or_hidden(row.get(0)?, (id, row.get(1)?), unread)))?;
        if !is_read || criteria.fit(&person) {
            let early = early_locks(work, copy, &person.mark)?;
            if !take(person, &early)? {
                break;
            }
        }
    }
    Ok(())
}

/// What is still asked of those whom the driver leads to.
pub(super) struct Rest<'a> {
    criteria: &'a Criteria,
    probes: &'a [Probe],
    records_max: usize,
}

/// Codes of the locks of one person that took effect before their turn.
pub(super) fn early_locks(work: &Work<'_>, copy: &CopyRow, mark: &str) -> Result<Vec<u8>, CopyError> {
    let select = "SELECT code FROM early_lock WHERE copy = ?1 AND mark = ?2";
    work.all(select, params![copy.id, mark], |row| row.get(0))
}

/// How many persons a probe leads to, as far as it matters.
fn estimate(work: &Work<'_>, copy: &CopyRow, probe: &Probe) -> Result<i64, CopyError> {
    match probe {
        Probe::Term((kind, form)) => work.only(
            "SELECT count(*) FROM
               (SELECT 1 FROM term WHERE copy = ?1 AND kind = ?2 AND form = ?3 LIMIT ?4) AS found",
            params![copy.id, *kind as i64, form, ESTIMATE_MAX],
            |row| row.get(0),
        ),
        Probe::Range { kind, first, end, .. } => work.only(
            "SELECT count(*) FROM
               (SELECT 1 FROM term WHERE copy = ?1 AND kind = ?2 AND form >= ?3 AND form < ?4 LIMIT ?5) AS found",
            params![copy.id, *kind as i64, first, end, ESTIMATE_MAX],
            |row| row.get(0),
        ),
    }
}

fn candidates(work: &Work<'_>, copy: &CopyRow, driver: &Probe) -> Result<BTreeSet<i64>, CopyError> {
    let mut out = BTreeSet::new();
    let mut rows_read = 0;
    let mut take = |id: i64| {
        rows_read += 1;
        out.insert(id);
        if rows_read > ROWS_MAX { Err(CopyError::from(Reason::TooBroad)) } else { Ok(true) }
    };
    match driver {
        Probe::Term((kind, form)) => {
            let select = "SELECT person FROM term WHERE copy = ?1 AND kind = ?2 AND form = ?3";
            work.each(select, params![copy.id, *kind as i64, form], |row| take(row.get(0)?))?;
        }
        Probe::Range { kind, first, end, pattern } => {
            let select =
                "SELECT person, form FROM term WHERE copy = ?1 AND kind = ?2 AND form >= ?3 AND form < ?4";
            work.each(select, params![copy.id, *kind as i64, first, end], |row| {
                let fits = match pattern {
                    None => true,
                    Some(pattern) => pattern.fits(row.get(1)?),
                };
                if fits { take(row.get(0)?) } else { Ok(true) }
            })?;
        }
    }
    Ok(out)
}
