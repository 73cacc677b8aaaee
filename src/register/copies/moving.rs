//! A register goes from its file into a PostgreSQL database, while nobody works on either.
//!
//! Rows arrive in transactions of a page each, in the order of their keys; until the last step the database says that a
//! copy is under way, and no register works on it. A copy that was interrupted goes on behind what has arrived. At the end
//! every row of both sides is compared, the log of looks is walked in both, and one transaction makes a register of it. The
//! file is not changed; that it was copied is said beside it, before anybody can work on the copy.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::Serialize;

use super::base::{
    Base, Kind, Owned, PostgresSettings, Session, Source, Value, Work, mark_moved, moved_to, params,
    was_moved,
};
use super::heads::LogHead;
use super::looks::{self, LogKey};
use super::{CopyError, LogChecked};
use crate::domain::hex;
use Kind::{Bytes, Int, Text};

/// Rows of one transaction, of tables whose rows are small, and of the others.
const PAGE_SMALL: usize = 8192;
const PAGE_LARGE: usize = 256;
/// A page ends behind the row that reaches so many bytes: a case to be handed over may have 8 MiB of its own, and a page is
/// written and read within the time of one question.
const PAGE_BYTES_MAX: usize = 8 << 20;

struct Table {
    name: &'static str,
    page: usize,
    /// So many of the first columns are the key.
    key: usize,
    columns: &'static [(&'static str, Kind)],
}

const fn small(name: &'static str, key: usize, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, page: PAGE_SMALL, key, columns }
}

const fn large(name: &'static str, key: usize, columns: &'static [(&'static str, Kind)]) -> Table {
    Table { name, page: PAGE_LARGE, key, columns }
}

/// All of them, with all their columns; a test holds both against the file's.
const TABLES: &[Table] = &[
    small(
        "copy",
        1,
        &[("id", Int), ("ags", Text), ("generation", Int), ("state", Int), ("sequence", Int), ("as_of", Int)],
    ),
    large("person", 1, &[("id", Int), ("copy", Int), ("mark", Text), ("record", Bytes), ("digest", Bytes)]),
    small("term", 4, &[("copy", Int), ("kind", Int), ("form", Text), ("person", Int)]),
    small("early_lock", 4, &[("copy", Int), ("mark", Text), ("code", Int), ("sequence", Int)]),
    large("held", 2, &[("copy", Int), ("sequence", Int), ("digest", Bytes), ("bytes", Bytes)]),
    small("applied", 2, &[("copy", Int), ("sequence", Int), ("digest", Bytes)]),
    small("lock_set", 3, &[("ags", Text), ("mark", Text), ("code", Int), ("at", Int)]),
    small(
        "feature",
        1,
        &[("feature", Text), ("ags", Text), ("requester", Text), ("mark", Text), ("expires_at", Int)],
    ),
    large(
        "duty",
        1,
        &[
            ("number", Int),
            ("look", Int),
            ("kind", Text),
            ("ags", Text),
            ("mark", Text),
            ("done_at", Int),
            ("secret", Bytes),
            ("sealed", Bytes),
            ("expires_at", Int),
        ],
    ),
    large(
        "look",
        1,
        &[
            ("number", Int),
            ("at", Int),
            ("expires_at", Int),
            ("content", Bytes),
            ("content_hash", Bytes),
            ("chain", Bytes),
        ],
    ),
    small("look_person", 2, &[("tag", Bytes), ("number", Int)]),
    small("look_tags", 1, &[("number", Int), ("seal", Bytes)]),
    small("look_head", 1, &[("one", Int), ("number", Int), ("chain", Bytes), ("seal", Bytes)]),
    small(
        "wish",
        1,
        &[
            ("number", Int),
            ("subject", Bytes),
            ("reader", Int),
            ("asked_at", Int),
            ("expires_at", Int),
            ("used_at", Int),
        ],
    ),
    small(
        "message",
        2,
        &[
            ("author", Text),
            ("uuid", Text),
            ("number", Text),
            ("digest", Bytes),
            ("transport_id", Text),
            ("taken_at", Int),
        ],
    ),
    large(
        "outgoing",
        1,
        &[
            ("id", Int),
            ("author", Text),
            ("uuid", Text),
            ("number", Text),
            ("reader", Text),
            ("namespace", Text),
            ("in_reply_to", Text),
            ("secret", Bytes),
            ("sealed", Bytes),
            ("transport_id", Text),
            ("leaves_at", Int),
            ("expires_at", Int),
            ("sent_at", Int),
            ("given_up_at", Int),
            ("next_at", Int),
        ],
    ),
    small(
        "move_case",
        1,
        &[
            ("uuid", Text),
            ("sign", Text),
            ("new_office", Text),
            ("old_office", Text),
            ("noticed_at", Int),
            ("notice_late", Int),
            ("warn_at", Int),
            ("due_at", Int),
            ("answered_at", Int),
            ("updates", Int),
            ("warned_at", Int),
            ("escalated_at", Int),
        ],
    ),
    small(
        "meter",
        1,
        &[
            ("look", Int),
            ("at", Int),
            ("ags", Text),
            ("channel", Text),
            ("cents", Int),
            ("municipality_cents", Int),
            ("operator_cents", Int),
        ],
    ),
    large(
        "payment",
        1,
        &[
            ("uuid", Text),
            ("content", Bytes),
            ("created_at", Int),
            ("next_at", Int),
            ("attention", Int),
            ("account", Text),
        ],
    ),
    large(
        "payment_question",
        2,
        &[
            ("payment", Text),
            ("number", Int),
            ("ags", Text),
            ("cents", Int),
            ("digest", Bytes),
            ("secret", Bytes),
            ("sealed", Bytes),
            ("look", Int),
            ("refused", Text),
        ],
    ),
    small(
        "night",
        1,
        &[
            ("day", Text),
            ("began_at", Int),
            ("ended_at", Int),
            ("restricted", Int),
            ("deleted", Int),
            ("unreadable", Int),
        ],
    ),
    small(
        "reconciliation",
        1,
        &[("ags", Text), ("at", Int), ("buckets", Int), ("missing", Int), ("surplus", Int), ("changed", Int)],
    ),
    small("plausibility", 1, &[("ags", Text), ("at", Int)]),
    small("log_hold", 1, &[("one", Int), ("at", Int), ("operator", Text), ("reason", Text)]),
];

#[cfg(test)]
pub(super) fn columns() -> Vec<(&'static str, Vec<&'static str>)> {
    TABLES.iter().map(|table| (table.name, table.columns.iter().map(|(name, _)| *name).collect())).collect()
}

/// The rows of each page of a table.
#[cfg(test)]
pub(super) fn pages(work: &Work<'_>, name: &str) -> Vec<usize> {
    let table = TABLES.iter().find(|table| table.name == name).expect("a table");
    let (mut pages, mut after) = (Vec::new(), None::<Vec<Owned>>);
    loop {
        let rows = table.page(work, after.as_deref(), table.page, PAGE_BYTES_MAX).expect("a page");
        let Some(last) = rows.last() else { return pages };
        after = Some(last.clone());
        pages.push(rows.len());
    }
}

/// One table, found equal on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedTable {
    pub name: &'static str,
    pub rows: u64,
    /// SHA-256 over the rows in the order of their keys, in hexadecimal digits.
    pub digest: String,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// It was begun by an earlier call.
    pub resumed: bool,
    pub tables: Vec<MovedTable>,
    /// The log of looks, walked in both.
    pub log: LogChecked,
}

/// Copies the register in `folder` into an empty database, or goes on with that. `heads`: of the log, as they were kept
/// elsewhere; `to`: where it is, for whoever looks into the folder later; `told` hears what is being done.
pub fn move_to_postgres(
    folder: &Path,
    settings: &PostgresSettings,
    key: &LogKey,
    heads: &[LogHead],
    to: &str,
    now: Timestamp,
    told: &dyn Fn(&str),
) -> Result<Moved, CopyError> {
    let mut source = Source::open(folder)?;
    let source = source.look()?;
    // What was copied goes into no second database, also where a copy to that was begun before; a copy that was broken off
    // behind the mark goes on.
    if moved_to(folder).is_some_and(|there| there != to) {
        return Err(was_moved(folder).unwrap_or(CopyError::Refused("the register was copied elsewhere")));
    }
    let open = || Base::open_copy(settings, key, &state(&source, key)?, was_moved(folder));
    // Once it was copied, the log goes on elsewhere, and its heads know more than the file.
    let known = if was_moved(folder).is_some() { Some(open()?) } else { None };
    told("walking the log");
    let log = looks::verified(&source, key, heads, now)?;
    let (mut target, resumed) = known.map_or_else(open, Ok)?;
    for table in TABLES {
        told(&format!("copying {}", table.name));
        table.fill(&source, &mut target)?;
    }
    let mut tables = Vec::new();
    for table in TABLES {
        told(&format!("comparing {}", table.name));
        tables.push(table.compare(&source, &mut target)?);
    }
    told("walking the copy of the log");
    let copied = looks::verified(&target.look()?, key, heads, now)?;
    if copied != log {
        return Err(CopyError::Differs("the log".to_owned()));
    }
    // Before anybody can work on the copy: there are never two that somebody works on.
    mark_moved(folder, to)?;
    target.finish_copy(key)?;
    Ok(Moved { resumed, tables, log })
}

/// By which an interrupted copy is known again. That both sides are alike is compared, and not believed.
fn state(source: &Work<'_>, key: &LogKey) -> Result<String, CopyError> {
    let sql = "SELECT (SELECT count(*) FROM look), (SELECT count(*) FROM message), (SELECT coalesce(max(id), 0) FROM outgoing),
        (SELECT coalesce(sum(sequence), 0) FROM copy), (SELECT coalesce(max(id), 0) FROM copy)";
    let counts =
        |row: &super::base::Row<'_>| (0..5).map(|place| row.get::<i64>(place)).collect::<Result<Vec<_>, _>>();
    let counts = source.only(sql, params![], counts)?;
    let whose = hex::lower(&key.subject("the register that is copied"));
    Ok(format!("{whose} {counts:?} version {}", TABLES.len()))
}

impl Table {
    fn names(&self, count: usize) -> String {
        let names: Vec<&str> = self.columns.iter().take(count).map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The rows behind one of them: so many, or fewer where they have many bytes.
    fn page(
        &self,
        work: &Work<'_>,
        after: Option<&[Owned]>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<Vec<Owned>>, CopyError> {
        let (name, key) = (self.name, self.names(self.key));
        let behind = after.map(|_| {
            let places: Vec<String> = (1..=self.key).map(|place| format!("?{place}")).collect();
            format!("WHERE ({key}) > ({})", places.join(", "))
        });
        let mut values: Vec<Value<'_>> =
            after.unwrap_or_default().iter().take(self.key).map(Owned::as_value).collect();
        let sql = format!(
            "SELECT {} FROM {name} {} ORDER BY {key} LIMIT ?{}",
            self.names(self.columns.len()),
            behind.unwrap_or_default(),
            values.len() + 1
        );
        values.push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        work.each(&sql, &values, |row| {
            let row = self.owned(row, self.columns.len())?;
            bytes += row.iter().map(size).sum::<usize>();
            rows.push(row);
            Ok(bytes < bytes_max)
        })?;
        Ok(rows)
    }

    fn owned(&self, row: &super::base::Row<'_>, count: usize) -> Result<Vec<Owned>, CopyError> {
        (0..count).map(|place| row.get(place)).collect()
    }

    /// Brings the rows behind those that are there.
    fn fill(&self, source: &Work<'_>, target: &mut Session) -> Result<(), CopyError> {
        let key = self.names(self.key);
        let downwards = key.replace(", ", " DESC, ");
        let last = format!("SELECT {key} FROM {} ORDER BY {downwards} DESC LIMIT 1", self.name);
        let mut after = target.look()?.one(&last, params![], |row| self.owned(row, self.key))?;
        loop {
            let rows = self.page(source, after.as_deref(), self.page, PAGE_BYTES_MAX)?;
            let Some(row) = rows.last() else { return Ok(()) };
            after = Some(row.clone());
            let work = target.begin()?;
            work.bring(self.name, self.columns, &rows)?;
            work.commit()?;
        }
    }

    /// Compares every row of both sides.
    fn compare(&self, source: &Work<'_>, target: &mut Session) -> Result<MovedTable, CopyError> {
        let (mut context, mut count, mut after) = (Context::new(&SHA256), 0, None::<Vec<Owned>>);
        loop {
            let ours = self.page(source, after.as_deref(), self.page, PAGE_BYTES_MAX)?;
            // As many of the other side; behind the last one there is none.
            let theirs = self.page(&target.look()?, after.as_deref(), ours.len().max(1), PAGE_BYTES_MAX)?;
            if ours != theirs {
                let from =
                    count + ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count() as u64;
                return Err(CopyError::Differs(format!(
                    "table {}, behind {from} rows that are equal",
                    self.name
                )));
            }
            theirs.iter().flatten().for_each(|value| digest(&mut context, value));
            count += theirs.len() as u64;
            let Some(last) = ours.last() else { break };
            after = Some(last.clone());
        }
        let digest = hex::lower(context.finish().as_ref());
        Ok(MovedTable { name: self.name, rows: count, digest })
    }
}

fn size(value: &Owned) -> usize {
    match value {
        Owned::Null => 0,
        Owned::Int(_) => size_of::<i64>(),
        Owned::Text(text) => text.len(),
        Owned::Bytes(bytes) => bytes.len(),
    }
}

/// No two values have the same bytes here.
fn digest(context: &mut Context, value: &Owned) {
    let (kind, bytes): (u8, &[u8]) = match value {
        Owned::Null => (0, &[]),
        Owned::Int(number) => {
            context.update(&[1]);
            return context.update(&number.to_be_bytes());
        }
        Owned::Text(text) => (2, text.as_bytes()),
        Owned::Bytes(bytes) => (3, bytes),
    };
    context.update(&[kind]);
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}
