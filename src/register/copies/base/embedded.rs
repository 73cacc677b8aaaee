//! The embedded engine: a file of the register's own (SQLite), its tables, versions and connections.
//!
//! Searches go through one inverted index, `term`: what is asked for most exactly narrows first. A copy's rows lie
//! together, so that one municipality's search touches one municipality's pages. Instants are microseconds since 1970.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Value, Work};
use crate::register::copies::looks::LogKey;
use crate::register::copies::{CopyError, heads};

/// "Melt" in the file's header.
const APPLICATION_ID: i32 = 0x4d65_6c74;
pub const DATABASE_FILE: &str = "register.sqlite";

/// Free pages that stay in the file, for what comes next; and those that one step gives back. 4 KiB each.
const FREE_PAGES_KEPT: i64 = 512;
const FREE_PAGES_STEP: i64 = 256;

const VERSION_1: &str = "
CREATE TABLE copy (
  id INTEGER PRIMARY KEY, ags TEXT NOT NULL, generation INTEGER NOT NULL, state INTEGER NOT NULL,
  sequence INTEGER NOT NULL, as_of INTEGER NOT NULL, UNIQUE (ags, generation)
);
CREATE UNIQUE INDEX copy_live ON copy (ags) WHERE state = 1;
CREATE UNIQUE INDEX copy_loading ON copy (ags) WHERE state = 0;

CREATE TABLE person (
  id INTEGER PRIMARY KEY, copy INTEGER NOT NULL, mark TEXT NOT NULL, record BLOB NOT NULL, digest BLOB NOT NULL
);
CREATE UNIQUE INDEX person_mark ON person (copy, mark);
CREATE TABLE term (
  copy INTEGER NOT NULL, kind INTEGER NOT NULL, form TEXT NOT NULL, person INTEGER NOT NULL,
  PRIMARY KEY (copy, kind, form, person)
) WITHOUT ROWID;

-- Locks that are effective before their turn. Sequence -1: taken over into a new generation.
CREATE TABLE early_lock (
  copy INTEGER NOT NULL, mark TEXT NOT NULL, code INTEGER NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY (copy, mark, code, sequence)
) WITHOUT ROWID;
CREATE TABLE held (
  copy INTEGER NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (copy, sequence)
) WITHOUT ROWID;
CREATE TABLE applied (
  copy INTEGER NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (copy, sequence)
) WITHOUT ROWID;

CREATE TABLE feature (
  feature TEXT PRIMARY KEY, ags TEXT NOT NULL, requester TEXT NOT NULL, mark TEXT NOT NULL,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX feature_expires ON feature (expires_at);
CREATE TABLE duty (
  number INTEGER PRIMARY KEY, look INTEGER NOT NULL, kind TEXT NOT NULL, ags TEXT NOT NULL, mark TEXT,
  done_at INTEGER
);
CREATE INDEX duty_open ON duty (number) WHERE done_at IS NULL;
CREATE TABLE look (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, expires_at INTEGER NOT NULL, content BLOB,
  content_hash BLOB NOT NULL, chain BLOB NOT NULL
);
CREATE INDEX look_expires ON look (expires_at) WHERE content IS NOT NULL;
CREATE TABLE look_person (
  tag BLOB NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (tag, number)
) WITHOUT ROWID;
CREATE INDEX look_person_number ON look_person (number);
";

/// Messages, what is sent because of them, and cases of moves.
const VERSION_2: &str = "
CREATE TABLE message (
  author TEXT NOT NULL, uuid TEXT NOT NULL, number TEXT NOT NULL, digest BLOB NOT NULL, transport_id TEXT NOT NULL,
  taken_at INTEGER NOT NULL, PRIMARY KEY (author, uuid)
) WITHOUT ROWID;
CREATE TABLE outgoing (
  id INTEGER PRIMARY KEY, author TEXT NOT NULL, uuid TEXT NOT NULL, number TEXT NOT NULL, reader TEXT NOT NULL,
  namespace TEXT NOT NULL, in_reply_to TEXT NOT NULL, secret BLOB, sealed BLOB, transport_id TEXT,
  leaves_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, sent_at INTEGER, given_up_at INTEGER
);
CREATE INDEX outgoing_due ON outgoing (leaves_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX outgoing_message ON outgoing (author, uuid);
CREATE INDEX outgoing_expires ON outgoing (expires_at) WHERE sealed IS NOT NULL;
CREATE TABLE move_case (
  uuid TEXT PRIMARY KEY, sign TEXT NOT NULL, new_office TEXT NOT NULL, old_office TEXT NOT NULL,
  noticed_at INTEGER, notice_late INTEGER NOT NULL DEFAULT 0, warn_at INTEGER, due_at INTEGER, answered_at INTEGER,
  updates INTEGER NOT NULL DEFAULT 0, warned_at INTEGER, escalated_at INTEGER
) WITHOUT ROWID;
";

/// What private enquiries cost, one row a look that is charged; and when an answer is tried again.
const VERSION_3: &str = "
CREATE TABLE meter (
  look INTEGER PRIMARY KEY, at INTEGER NOT NULL, ags TEXT NOT NULL, channel TEXT NOT NULL, cents INTEGER NOT NULL,
  municipality_cents INTEGER NOT NULL, operator_cents INTEGER NOT NULL
);
CREATE INDEX meter_at ON meter (at);
-- Not tried again before this instant.
ALTER TABLE outgoing ADD COLUMN next_at INTEGER NOT NULL DEFAULT 0;
";

/// Payments, and the questions that wait for them, each sealed under a key that lies beside it and dies with it.
const VERSION_4: &str = "
CREATE TABLE payment (
  uuid TEXT PRIMARY KEY, content BLOB NOT NULL, created_at INTEGER NOT NULL, next_at INTEGER,
  attention INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX payment_due ON payment (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX payment_created ON payment (created_at);
CREATE INDEX payment_attention ON payment (created_at) WHERE attention = 1;
CREATE TABLE payment_question (
  payment TEXT NOT NULL, number INTEGER NOT NULL, ags TEXT NOT NULL, cents INTEGER NOT NULL, digest BLOB NOT NULL,
  secret BLOB, sealed BLOB, look INTEGER, refused TEXT, PRIMARY KEY (payment, number)
) WITHOUT ROWID;
";

/// Work that is done each night, and the last comparison of each copy with its original.
const VERSION_5: &str = "
CREATE TABLE night (
  day TEXT PRIMARY KEY, began_at INTEGER NOT NULL, ended_at INTEGER, restricted INTEGER NOT NULL,
  deleted INTEGER NOT NULL
) WITHOUT ROWID;
-- Counts are NULL until the entries of the buckets that differ have come.
CREATE TABLE reconciliation (
  ags TEXT PRIMARY KEY, at INTEGER NOT NULL, buckets INTEGER NOT NULL, missing INTEGER, surplus INTEGER,
  changed INTEGER
) WITHOUT ROWID;
";

/// Locks as they came, with the time of their event, of whatever generation: what a load's picture is held against.
const VERSION_6: &str = "
CREATE TABLE lock_set (
  ags TEXT NOT NULL, mark TEXT NOT NULL, code INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (ags, mark, code)
) WITHOUT ROWID;
";

/// What a clerk needs to do what is owed, sealed; and what one operator wants to read until another has released it.
const VERSION_7: &str = "
ALTER TABLE duty ADD COLUMN secret BLOB;
ALTER TABLE duty ADD COLUMN sealed BLOB;
ALTER TABLE duty ADD COLUMN expires_at INTEGER;
CREATE INDEX duty_expires ON duty (expires_at) WHERE sealed IS NOT NULL;
CREATE TABLE wish (
  number INTEGER PRIMARY KEY, subject BLOB NOT NULL, reader INTEGER NOT NULL, asked_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, used_at INTEGER
);
";

/// The log's last entry, sealed with the register's key.
const VERSION_8: &str = "
CREATE TABLE look_head (
  one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, chain BLOB NOT NULL, seal BLOB NOT NULL
);
";

/// Whose a payment is; what is deleted by age; records that a night could not read.
const VERSION_9: &str = "
ALTER TABLE payment ADD COLUMN account TEXT NOT NULL DEFAULT '';
UPDATE payment SET account = coalesce(json_extract(CAST(content AS TEXT), '$.account'), '');
CREATE INDEX payment_account ON payment (account, created_at);
CREATE INDEX message_taken ON message (taken_at);
CREATE INDEX outgoing_mark ON outgoing (expires_at) WHERE sealed IS NULL;
CREATE INDEX duty_done ON duty (done_at) WHERE done_at IS NOT NULL;
ALTER TABLE night ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0;
";

const STEPS: &[&str] =
    &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9];
/// The first version whose log has a head.
const WITH_HEAD: usize = 8;

pub struct Base {
    folder: PathBuf,
}

impl Base {
    pub fn open(folder: &Path, key: &LogKey) -> Result<(Self, Connection), CopyError> {
        let writer = open_writer(folder, key)?;
        Ok((Self { folder: folder.to_owned() }, writer))
    }

    pub fn reader(&self) -> Result<Connection, CopyError> {
        let connection = another(&self.folder, Duration::from_secs(60))?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(connection)
    }

    /// Empties the journal, on a connection of its own that waits for nobody.
    pub fn empty_journal(&self) -> Result<bool, CopyError> {
        let connection = open_impatient(&self.folder)?;
        // The first copies what there is beside readers and the writer, so that the second is short.
        for mode in ["PASSIVE", "TRUNCATE"] {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            let busy: bool = connection.query_row(&sql, [], |row| row.get(0))?;
            if busy {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn another(folder: &Path, patience: Duration) -> Result<Connection, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(DATABASE_FILE), flags)?;
    connection.busy_timeout(patience)?;
    Ok(connection)
}

/// For the journal: waits for nobody.
pub fn open_impatient(folder: &Path) -> Result<Connection, CopyError> {
    let connection = another(folder, Duration::ZERO)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

fn open_writer(folder: &Path, key: &LogKey) -> Result<Connection, CopyError> {
    let mut connection = Connection::open(folder.join(DATABASE_FILE))?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.execute_batch(
        // Holds for a database that is made now; another one is brought to it by `Copies::compact`.
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;
         PRAGMA secure_delete = ON;
         PRAGMA cache_size = -131072; PRAGMA temp_store = MEMORY;",
    )?;
    prepare(&mut connection, key)?;
    Ok(connection)
}

/// Gives a bounded part of the file's free pages back; says whether there is more.
pub fn shrink_step(connection: &Connection) -> Result<bool, CopyError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    const INCREMENTAL: i64 = 2;
    // Reads the file, so that the next word is about the file as it is.
    let spare = number("PRAGMA freelist_count")? - FREE_PAGES_KEPT;
    if spare <= 0 || number("PRAGMA auto_vacuum")? != INCREMENTAL {
        return Ok(false);
    }
    let mut step =
        connection.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(FREE_PAGES_STEP)))?;
    let mut pages = step.query([])?;
    while pages.next()?.is_some() {}
    Ok(spare > FREE_PAGES_STEP)
}

pub fn compact(connection: &Connection) -> Result<(), CopyError> {
    Ok(connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")?)
}

pub fn value<'a>(row: &'a rusqlite::Row<'_>, place: usize) -> Result<Value<'a>, CopyError> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(place)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        text @ ValueRef::Text(_) => {
            Value::Text(text.as_str().map_err(|error| CopyError::Corrupt(error.to_string()))?)
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes),
        ValueRef::Real(_) => {
            return Err(CopyError::Corrupt(format!("column {place} of a row is a fraction")));
        }
    })
}

fn prepare(connection: &mut Connection, key: &LogKey) -> Result<(), CopyError> {
    let work = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 = work.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: usize = work.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    let tables: i64 = work.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application, tables) != (0, 0) {
        return Err(CopyError::Foreign);
    }
    if found > STEPS.len() {
        return Err(CopyError::Newer { found, known: STEPS.len() });
    }
    for step in &STEPS[found..] {
        work.execute_batch(step)?;
    }
    work.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
        STEPS.len()
    ))?;
    let work = Work::Embedded(work);
    if found < WITH_HEAD {
        heads::seal_first(&work, key)?;
    }
    work.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_every_version_are_opened_and_newer_ones_refused() {
        for version in 0..=STEPS.len() {
            let folder = tempfile::tempdir().expect("a folder");
            let old = Connection::open(folder.path().join(DATABASE_FILE)).expect("a database");
            for step in &STEPS[..version] {
                old.execute_batch(step).expect("a step");
            }
            if version > 0 {
                let mark =
                    format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
                old.execute_batch(&mark).expect("marked");
                old.execute_batch("INSERT INTO copy VALUES (1, '10041100', 1, 1, 0, 0)").expect("a copy");
            }
            drop(old);
            let opened = open_writer(folder.path(), &LogKey::new(&[1; 32])).expect("upgraded");
            let count = |table: &str| -> i64 {
                let sql = format!("SELECT count(*) FROM {table}");
                opened.query_row(&sql, [], |row| row.get(0)).expect("a count")
            };
            assert_eq!(count("copy"), i64::from(version > 0), "version {version}");
            let newer = [
                "outgoing",
                "move_case",
                "meter",
                "payment",
                "payment_question",
                "night",
                "reconciliation",
                "wish",
                "look_head",
            ];
            assert_eq!(newer.into_iter().map(count).sum::<i64>(), 0, "version {version}");
            opened.execute_batch("PRAGMA user_version = 1000").expect("marked");
            drop(opened);
            let newer = open_writer(folder.path(), &LogKey::new(&[1; 32]));
            assert!(matches!(newer, Err(CopyError::Newer { found: 1000, .. })));
        }
    }
}
