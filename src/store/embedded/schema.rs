//! The embedded engine's tables, their versions, and how a connection is opened.
//!
//! Every version is a step of SQL that is never edited after its release; `amtsbote store upgrade` runs the missing
//! ones. Instants are microseconds since 1970, states the numbers of [`crate::store::row::state_number`], `shelf` says how a message
//! stands in its mailbox (see [`crate::store::row::Shelf`]). Rows of `message` are small, so that an administrator's scan reads little;
//! the documents lie beside it in `paper`.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// "Amts" in the file's header (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x416d_7473;
pub const DATABASE_FILE: &str = "amtsbote.sqlite";

const VERSION_1: &str = "
CREATE TABLE batch (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL);
INSERT INTO batch VALUES (1, 0);

-- Every id that was ever announced or accepted, for ever. Without a sequence: announced only.
CREATE TABLE used (
  key TEXT PRIMARY KEY, account TEXT, expires_at INTEGER, sequence INTEGER, request_digest BLOB
) WITHOUT ROWID;
CREATE INDEX used_announced ON used (expires_at) WHERE sequence IS NULL;

CREATE TABLE message (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  mailbox TEXT NOT NULL,
  state INTEGER NOT NULL,
  offered INTEGER NOT NULL,
  shelf INTEGER NOT NULL,
  posted_by TEXT NOT NULL,
  delivered_at INTEGER,
  payload_bytes INTEGER NOT NULL,
  payload_digest BLOB NOT NULL,
  payload_place INTEGER NOT NULL,
  release_at INTEGER, expire_at INTEGER NOT NULL, remind_at INTEGER,
  retain_payload_days INTEGER NOT NULL, retain_card_days INTEGER NOT NULL,
  final_at INTEGER,
  push_at INTEGER NOT NULL DEFAULT 0, push_attempt INTEGER NOT NULL DEFAULT 0,
  push_token INTEGER NOT NULL DEFAULT 0, push_leased INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX message_mailbox ON message (mailbox, offered, sequence, shelf, delivered_at);
CREATE INDEX message_new ON message (mailbox, sequence, delivered_at) WHERE shelf = 1;
CREATE INDEX message_shelf ON message (mailbox, shelf, delivered_at, sequence) WHERE shelf > 0;
CREATE INDEX message_push ON message (mailbox, push_at, sequence) WHERE shelf > 0;
CREATE INDEX message_aside ON message (state, sequence) WHERE state IN (0, 4, 5, 6);

CREATE TABLE paper (
  sequence INTEGER PRIMARY KEY,
  envelope BLOB NOT NULL, manifest BLOB NOT NULL, author_digest BLOB NOT NULL,
  card BLOB NOT NULL
);
CREATE TABLE payload (sequence INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE payload_file (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX payload_file_sequence ON payload_file (sequence);
CREATE TABLE relation (
  related TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (related, sequence)
) WITHOUT ROWID;
CREATE INDEX relation_sequence ON relation (sequence);
CREATE TABLE timer (
  at INTEGER NOT NULL, sequence INTEGER NOT NULL, kind INTEGER NOT NULL, PRIMARY KEY (at, sequence, kind)
) WITHOUT ROWID;
CREATE TABLE mailbox (
  name TEXT PRIMARY KEY, total INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0, handed_out INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
  bytes_waiting INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE iterator (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, expires_at INTEGER NOT NULL, content BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX iterator_expires ON iterator (expires_at);
CREATE TABLE directory (
  only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL,
  accounts BLOB NOT NULL, profiles BLOB NOT NULL
);
INSERT INTO directory VALUES (1, 0, '[]', '[]');
CREATE TABLE act (number INTEGER PRIMARY KEY, content BLOB NOT NULL);

CREATE TABLE evidence (
  idx INTEGER PRIMARY KEY, message INTEGER NOT NULL, leaf BLOB NOT NULL, bytes BLOB NOT NULL
);
CREATE INDEX evidence_message ON evidence (message, idx);
CREATE TABLE evidence_node (
  level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, idx)
) WITHOUT ROWID;
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL, digest BLOB NOT NULL);
";

/// Dialogs, and what was handed out in them without having been confirmed.
const VERSION_2: &str = "
CREATE TABLE dialog (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, cipher BLOB NOT NULL, signature BLOB, encrypted INTEGER NOT NULL,
  challenge TEXT NOT NULL, sequence INTEGER NOT NULL,
  opened_at INTEGER NOT NULL, used_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX dialog_expires ON dialog (expires_at);
CREATE TABLE dialog_delivery (
  dialog TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (dialog, message)
) WITHOUT ROWID;
";

/// Cards of what an account posted.
const VERSION_3: &str = "
CREATE INDEX message_posted ON message (posted_by, sequence);
";

/// Stamps (RFC 3161) of checkpoints: number 0 is over the note, each further one over the stamp before it.
const VERSION_4: &str = "
CREATE TABLE time_stamp (
  size INTEGER NOT NULL, number INTEGER NOT NULL, token BLOB NOT NULL, digest BLOB NOT NULL,
  time INTEGER NOT NULL, good_until INTEGER NOT NULL, PRIMARY KEY (size, number)
) WITHOUT ROWID;
CREATE INDEX time_stamp_ending ON time_stamp (good_until);
";

/// To whom an id was issued, and what an outlet notes between its attempts.
const VERSION_5: &str = "
ALTER TABLE used ADD COLUMN issued_to BLOB;
ALTER TABLE used ADD COLUMN sealed INTEGER;
ALTER TABLE message ADD COLUMN push_note TEXT;
";

/// What parties said about a message.
const VERSION_6: &str = "
CREATE TABLE statement (
  sequence INTEGER NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, at INTEGER NOT NULL,
  text TEXT NOT NULL, PRIMARY KEY (sequence, number)
) WITHOUT ROWID;
";

/// The destination of what came by the door of portals. What lies there is found by the bytes that
/// [`crate::domain::destination::DESTINATION_PROPERTY`] leaves in an envelope; within a string its quotes would be escaped.
const VERSION_7: &str = r#"
ALTER TABLE message ADD COLUMN destination TEXT;
UPDATE message SET destination = (
  SELECT CAST(substr(p.envelope, instr(p.envelope, w.words) + length(w.words), 36) AS TEXT)
  FROM paper p, (SELECT CAST('"code":"fit-connect:destinationId"},"value":"' AS BLOB) AS words) w
  WHERE p.sequence = message.sequence
) WHERE sequence IN (
  SELECT sequence FROM paper WHERE instr(card, CAST('"door":"portal"' AS BLOB)) > 0
  AND instr(envelope, CAST('"code":"fit-connect:destinationId"},"value":"' AS BLOB)) > 0
);
CREATE INDEX message_destination ON message (destination, mailbox, sequence, shelf)
  WHERE destination IS NOT NULL AND offered = 1;
"#;

/// Step `n` leads from version `n` to `n + 1`.
const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7];

pub fn current_version() -> u32 {
    STEPS.len() as u32
}

/// How much a commit waits for. Anything but `Full` may lose acknowledged messages at a power cut and is for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    #[default]
    Full,
    Normal,
}

/// A connection that writes; the database is created where there is none.
pub fn open_writer(folder: &Path, synchronous: Synchronous) -> Result<Connection, OpenError> {
    let connection = Connection::open(folder.join(DATABASE_FILE))?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.set_prepared_statement_cache_capacity(256);
    keep_plans(&connection)?;
    let synchronous = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = OFF;
         PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(connection)
}

/// A connection that only reads.
pub fn open_reader(folder: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(DATABASE_FILE), flags)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.set_prepared_statement_cache_capacity(64);
    keep_plans(&connection)?;
    connection.execute_batch(
        "PRAGMA query_only = ON; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// Plans do not depend on the values that are bound. Otherwise a statement over a table with partial indexes is prepared
/// anew for each value, because another value might let it use one of them; ours name theirs by literals.
fn keep_plans(connection: &Connection) -> Result<(), OpenError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

pub fn version_of(connection: &Connection) -> Result<u32, OpenError> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, tables) {
        (APPLICATION_ID, _) | (0, 0) => Ok(version),
        _ => Err(OpenError::Foreign),
    }
}

/// Creates the tables in an empty database; refuses any version but the current one.
pub fn prepare(connection: &mut Connection) -> Result<(), OpenError> {
    let (found, known) = (version_of(connection)?, current_version());
    match found {
        0 => migrate(connection, STEPS).map(|_| ()),
        _ if found == known => Ok(()),
        _ if found > known => Err(OpenError::Newer { found, known }),
        _ => Err(OpenError::Older { found, known }),
    }
}

/// Runs the missing steps in one transaction; returns the versions before and after.
pub fn upgrade(connection: &mut Connection) -> Result<(u32, u32), OpenError> {
    let (found, known) = (version_of(connection)?, current_version());
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    migrate(connection, STEPS)
}

fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(u32, u32), OpenError> {
    let before = version_of(connection)?;
    let work = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in steps.iter().skip(before as usize) {
        work.execute_batch(step)?;
    }
    let after = before.max(steps.len() as u32);
    work.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {after};"))?;
    work.commit()?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let connection = open_writer(folder.path(), Synchronous::Normal).expect("a new database");
        (folder, connection)
    }

    #[test]
    fn versions_that_are_not_ours_are_refused_with_both_numbers() {
        let (_folder, mut connection) = fresh();
        prepare(&mut connection).expect("an empty database");
        prepare(&mut connection).expect("the current version");
        connection.execute_batch("PRAGMA user_version = 99").expect("a pragma");
        let refusal = prepare(&mut connection).expect_err("version 99").to_string();
        assert!(refusal.contains("99") && refusal.contains(&current_version().to_string()), "{refusal}");
        assert!(matches!(upgrade(&mut connection), Err(OpenError::Newer { found: 99, .. })));
    }

    #[test]
    fn a_database_of_somebody_else_is_left_alone() {
        let (_folder, mut connection) = fresh();
        connection.execute_batch("CREATE TABLE theirs (x)").expect("a table");
        assert!(matches!(prepare(&mut connection), Err(OpenError::Foreign)));
    }

    #[test]
    fn missing_steps_run_once_and_in_order() {
        let (_folder, mut connection) = fresh();
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y", "INSERT INTO a VALUES (1, 2)"];
        assert_eq!(migrate(&mut connection, &steps[..1]).expect("step 1"), (0, 1));
        assert_eq!(migrate(&mut connection, &steps).expect("steps 2 and 3"), (1, 3));
        assert_eq!(migrate(&mut connection, &steps).expect("nothing"), (3, 3));
        let rows: i64 = connection.query_row("SELECT sum(y) FROM a", [], |row| row.get(0)).expect("a row");
        assert_eq!(rows, 2);
        let failing = [steps[0], steps[1], steps[2], "CREATE TABLE b (x)", "nonsense"];
        migrate(&mut connection, &failing).expect_err("the last step fails");
        assert_eq!(version_of(&connection).expect("a version"), 3);
        connection.query_row("SELECT 1 FROM b", [], |_| Ok(())).expect_err("rolled back with it");
    }
}
