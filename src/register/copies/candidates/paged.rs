//! The same way where every statement is a journey: a few statements for a question, however many persons it may mean.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{ESTIMATE_MAX, Rest, Take, Unread, read_or_hidden};
use crate::register::copies::base::{Value, Work};
use crate::register::copies::terms::Probe;
use crate::register::copies::{CopyError, CopyRow};
use crate::register::question::Reason;

/// Candidates of one statement; the first is asked for few, because most questions are about few.
const PAGE_FIRST: usize = 64;
const PAGE_MAX: usize = 1024;

/// How many persons each probe leads to, as far as it matters.
pub fn estimates(work: &Work<'_>, copy: &CopyRow, probes: &[Probe]) -> Result<Vec<i64>, CopyError> {
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = vec![Value::Int(copy.id), Value::Int(ESTIMATE_MAX)];
    let counts: Vec<String> = probes
        .iter()
        .map(|probe| {
            let condition = condition(probe, "term", &mut values);
            format!("(SELECT count(*) FROM (SELECT 1 FROM term WHERE {condition} LIMIT ?2) AS found)")
        })
        .collect();
    let all = |row: &crate::register::copies::base::Row<'_>| {
        (0..probes.len()).map(|place| row.get(place)).collect::<Result<Vec<i64>, CopyError>>()
    };
    work.only(&format!("SELECT {}", counts.join(", ")), &values, all)
}

/// On the copy `?1`.
fn condition<'v>(probe: &'v Probe, table: &str, values: &mut Vec<Value<'v>>) -> String {
    let mut next = |value| {
        values.push(value);
        values.len()
    };
    match probe {
        Probe::Term((kind, form)) => {
            let (kind, form) = (next(Value::Int(*kind as i64)), next(Value::Text(form)));
            format!("{table}.copy = ?1 AND {table}.kind = ?{kind} AND {table}.form = ?{form}")
        }
        Probe::Range { kind, first, end, .. } => {
            let kind = next(Value::Int(*kind as i64));
            let (first, end) = (next(Value::Text(first)), next(Value::Text(end)));
            format!(
                "{table}.copy = ?1 AND {table}.kind = ?{kind} AND {table}.form >= ?{first} AND {table}.form < ?{end}"
            )
        }
    }
}

pub fn persons(
    work: &Work<'_>,
    copy: &CopyRow,
    rest: &Rest<'_>,
    candidates: BTreeSet<i64>,
    unread: &mut Unread,
    take: &mut Take<'_>,
) -> Result<(), CopyError> {
    let mut values = vec![Value::Int(copy.id), Value::Null];
    let mut sql = "SELECT record, (SELECT string_agg(CAST(code AS text), ',') FROM early_lock
             WHERE early_lock.copy = ?1 AND early_lock.mark = person.mark), id, mark
         FROM person WHERE id = ANY (?2) AND copy = ?1"
        .to_owned();
    for probe in rest.probes.iter().filter(|probe| matches!(probe, Probe::Term(_))) {
        let condition = condition(probe, "term", &mut values);
        let _ = write!(sql, " AND EXISTS (SELECT 1 FROM term WHERE {condition} AND term.person = person.id)");
    }
    sql.push_str(" ORDER BY id");
    let candidates: Vec<i64> = candidates.into_iter().collect();
    let (mut read, mut from, mut size) = (0, 0, PAGE_FIRST);
    while from < candidates.len() {
        let page = &candidates[from..candidates.len().min(from + size)];
        (from, size) = (from + page.len(), PAGE_MAX);
        values[1] = Value::Ints(page);
        let mut more = true;
        let rows = work.all(&sql, &values, |row| {
            let (record, early): (Vec<u8>, Option<String>) = (row.get(0)?, row.get(1)?);
            Ok((record, early, row.get::<i64>(2)?, row.get::<String>(3)?))
        })?;
        for (record, early, id, mark) in rows {
            read += 1;
            if read > rest.records_max {
                return Err(Reason::TooBroad.into());
            }
            let (person, is_read) = read_or_hidden(&record, (id, &mark), unread);
            if !is_read || rest.criteria.fit(&person) {
                let early = early.unwrap_or_default();
                let early: Vec<u8> = early.split(',').filter_map(|code| code.parse().ok()).collect();
                more = take(person, &early)?;
            }
            if !more {
                return Ok(());
            }
        }
    }
    Ok(())
}
