//! The embedded engine: a file of the register's own (SQLite), its tables, versions and connections.
//!
//! Searches go through one inverted index, `term`: what is asked for most exactly narrows first. A copy's rows lie
//! together, so that one municipality's search touches one municipality's pages. Instants are microseconds since 1970.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Value, Work};
use crate::register::copies::looks::LogKey;
use crate::register::copies::{CopyError, heads, tags};

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

/// Which tags entries of the log have that do not say so themselves; questions that an order has left behind.
const VERSION_10: &str = "
CREATE TABLE look_tags (number INTEGER PRIMARY KEY, seal BLOB NOT NULL);
DELETE FROM payment_question WHERE payment NOT IN (SELECT uuid FROM payment);
";

/// When the yearly report on each municipality's records was made last.
const VERSION_11: &str = "
CREATE TABLE plausibility (ags TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
";

/// Who holds the log of pre-filled forms for an audit, and why.
const VERSION_12: &str = "
CREATE TABLE log_hold (
  one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL, operator TEXT NOT NULL, reason TEXT NOT NULL
);
";

const STEPS: &[&str] = &[
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9,
    VERSION_10, VERSION_11, VERSION_12,
];
/// The first version whose log has a head.
const WITH_HEAD: usize = 8;
/// The first version whose entries have their tags' hash.
const WITH_TAGS: usize = 10;

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

/// A register's file that is read from its beginning to its end, and not changed, while nobody else has it open.
pub struct Source(Connection);

impl Source {
    pub fn open(folder: &Path) -> Result<Self, CopyError> {
        let file = folder.join(DATABASE_FILE);
        if !file.exists() {
            return Err(CopyError::Settings(format!("there is no register in {}", folder.display())));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)?;
        // What lies in the journal stays there.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        // Every process that has the file open keeps a lock on it: with this one there is no other.
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let busy = |error| match error {
            rusqlite::Error::SqliteFailure(failure, _)
                if failure.code == rusqlite::ErrorCode::DatabaseBusy =>
            {
                CopyError::Settings(format!(
                    "somebody works on the register in {}; stop `amtsbote register serve` and every other command there",
                    folder.display()
                ))
            }
            other => other.into(),
        };
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA cache_size = -65536;",
            )
            .map_err(busy)?;
        let version = number("PRAGMA user_version").map_err(busy)?;
        if number("PRAGMA application_id")? != i64::from(APPLICATION_ID) {
            return Err(CopyError::Foreign);
        }
        let (found, known) = (usize::try_from(version).unwrap_or(0), STEPS.len());
        if found > known {
            return Err(CopyError::Newer { found, known });
        }
        if found < known {
            return Err(CopyError::Settings(format!(
                "the register in {} has version {found}, and version {known} is copied; `amtsbote register status` \
                 brings it there",
                folder.display()
            )));
        }
        Ok(Self(connection))
    }

    /// One state of it.
    pub fn look(&mut self) -> Result<Work<'_>, CopyError> {
        Ok(Work::Embedded(self.0.transaction()?))
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
    if found < WITH_TAGS {
        tags::seal_old(&work, key)?;
    }
    work.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    use jiff::Timestamp;
    use rusqlite::params;

    use crate::register::copies::looks::{self, Look};
    use crate::register::copies::{Copies, Settings, micros};
    use crate::register::person::Ags;
    use crate::register::reconcile::{self, Hash};

    const SECRET: [u8; 32] = [1; 32];

    fn look() -> Look {
        Look {
            kind: "question".to_owned(),
            profile: None,
            asker: "police".to_owned(),
            body: "Amt A".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "test".to_owned(),
            user: "u1".to_owned(),
            area: "10041100".to_owned(),
            hits: 2,
            data: Vec::new(),
            selection: None,
            by_hand: None,
        }
    }

    /// One entry about two persons, as a program of that version wrote it.
    fn write_entry(old: &mut Connection, key: &LogKey, version: usize) {
        let transaction = old.transaction().expect("begun");
        if version >= WITH_TAGS {
            let home = Ags::parse("10041100").expect("a key");
            let persons = ["a", "b"].map(|mark| (home, mark.to_owned()));
            let work = Work::Embedded(transaction);
            looks::append(&work, key, &look(), &persons, Timestamp::now()).expect("written");
            return work.commit().expect("durable");
        }
        let (number, at) = (1, micros(Timestamp::now()));
        let content = serde_json::to_vec(&look()).expect("JSON");
        let sealed = key.seal(number, at, content).expect("sealed");
        let content_hash = reconcile::hash(&sealed);
        let chain: Hash = looks::link(&[0; 32], number, at, &content_hash);
        transaction.execute(
            "INSERT INTO look (number, at, expires_at, content, content_hash, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![number, at, micros(looks::expiry(Timestamp::now())), sealed, content_hash, chain],
        )
        .expect("an entry");
        for tag in [[1_u8; 32], [2; 32]] {
            transaction
                .execute("INSERT INTO look_person VALUES (?1, ?2)", params![tag, number])
                .expect("a tag");
        }
        let work = Work::Embedded(transaction);
        if version >= WITH_HEAD {
            heads::seal(&work, key, number, &chain).expect("a head");
        }
        work.commit().expect("durable");
    }

    fn old_database(folder: &Path, key: &LogKey, version: usize) {
        let mut old = Connection::open(folder.join(DATABASE_FILE)).expect("a database");
        for step in &STEPS[..version] {
            old.execute_batch(step).expect("a step");
        }
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
        old.execute_batch(&mark).expect("marked");
        old.execute_batch("INSERT INTO copy VALUES (1, '10041100', 1, 1, 0, 0)").expect("a copy");
        write_entry(&mut old, key, version);
        if version >= 4 {
            let content = r#"{"case":"c","account":"A"}"#.as_bytes();
            let rows = "INSERT INTO payment (uuid, content, created_at, attention) VALUES ('c', ?1, 0, 0)";
            old.execute(rows, params![content]).expect("a payment");
            for case in ["c", "gone"] {
                let rows = "INSERT INTO payment_question (payment, number, ags, cents, digest, sealed)
                            VALUES (?1, 1, '10041100', 700, x'00', x'01')";
                old.execute(rows, params![case]).expect("a question");
            }
            if version >= 9 {
                old.execute_batch("UPDATE payment SET account = 'A'").expect("its account");
            }
        }
    }

    #[test]
    fn databases_of_every_version_are_opened_and_newer_ones_refused() {
        for version in 0..=STEPS.len() {
            let folder = tempfile::tempdir().expect("a folder");
            let key = LogKey::new(&SECRET);
            if version > 0 {
                old_database(folder.path(), &key, version);
            }
            let opened = open_writer(folder.path(), &key).expect("upgraded");
            let count = |condition: &str| -> i64 {
                let sql = format!("SELECT count(*) FROM {condition}");
                opened.query_row(&sql, [], |row| row.get(0)).expect("a count")
            };
            let (any, paying) = (i64::from(version > 0), i64::from(version >= 4));
            assert_eq!((count("copy"), count("look"), count("look_person")), (any, any, 2 * any));
            assert_eq!(count("payment WHERE account = 'A'"), paying, "version {version}");
            let questions = count("payment_question WHERE payment = 'c' AND sealed = x'01'");
            assert_eq!(questions, paying, "version {version}");
            // Nobody is left to whom it belongs; a database of a later version is not looked through again.
            let left = i64::from(version >= 10);
            assert_eq!(count("payment_question WHERE payment = 'gone'"), left, "version {version}");
            let newer = [
                "outgoing",
                "move_case",
                "meter",
                "night",
                "reconciliation",
                "wish",
                "lock_set",
                "plausibility",
                "log_hold",
            ];
            assert_eq!(newer.into_iter().map(count).sum::<i64>(), 0, "version {version}");
            drop(opened);
            let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&SECRET)).expect("copies");
            assert_eq!(copies.verify_looks().expect("whole"), any as u64, "version {version}");
            drop(copies);
            let raw = Connection::open(folder.path().join(DATABASE_FILE)).expect("a database");
            raw.execute_batch("PRAGMA user_version = 1000").expect("marked");
            let newer = open_writer(folder.path(), &key);
            assert!(matches!(newer, Err(CopyError::Newer { found: 1000, .. })));
        }
    }

    #[test]
    fn whom_an_entry_is_about_is_held_together_with_it() {
        for version in 1..=STEPS.len() {
            for (change, what) in [
                ("", ""),
                ("DELETE FROM look_person WHERE tag = (SELECT min(tag) FROM look_person)", "one tag is gone"),
                ("DELETE FROM look_person", "all are gone"),
                ("INSERT INTO look_person VALUES (x'00', 1)", "one more"),
                ("DELETE FROM look_tags", "what proves those of an old entry"),
                (
                    "DELETE FROM look_person; UPDATE look_tags SET seal = zeroblob(32)",
                    "a seal of somebody else",
                ),
            ] {
                let folder = tempfile::tempdir().expect("a folder");
                old_database(folder.path(), &LogKey::new(&SECRET), version);
                drop(open_writer(folder.path(), &LogKey::new(&SECRET)).expect("upgraded"));
                let raw = Connection::open(folder.path().join(DATABASE_FILE)).expect("a database");
                raw.execute_batch(change).expect("changed");
                let copies =
                    Copies::open(Settings::new(folder.path()), LogKey::new(&SECRET)).expect("copies");
                // An entry that says it itself needs no seal beside it.
                let harmless = change.is_empty() || change == "DELETE FROM look_tags" && version >= WITH_TAGS;
                let checked = copies.verify_looks();
                assert_eq!(checked.is_ok(), harmless, "version {version}, {what}: {checked:?}");
                assert!(matches!(checked, Ok(1) | Err(CopyError::Log(1))), "version {version}, {what}");
            }
        }
    }
}
