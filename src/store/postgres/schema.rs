//! The PostgreSQL engine's tables, their versions, and whose database it is.
//!
//! Every version is a step of SQL that is never edited after its release; the missing ones are run in one transaction
//! under a lock, so that nodes that start at once wait for each other. A step only adds: tables, indexes, columns that
//! may be left out. So a program works on tables one version newer than its own, and the nodes of a store are replaced one
//! after the other once its tables are of the new version. Tables lie in a schema of their own. Columns are
//! those of the embedded engine; what differs: ids sort by byte, large payloads are rows of chunks or lie in an object store, and every node has an
//! evidence log of its own.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use super::OpenError;
use crate::net::postgres::{LACKS_RIGHTS, commit};

/// Where the tables lie; a session finds them by its search path.
pub const SCHEMA: &str = "amtsbote";
/// Held while a store is copied into the database.
pub const COPY_LOCK: i64 = LOCK + 1;
/// The version that says so.
const COPYING: i32 = -1;
/// How many versions newer than the program's own the tables may be.
const AHEAD_MAX: u32 = 1;
/// Held while tables are made or changed ("Amts").
const LOCK: i64 = 0x416d_7473;

const VERSION_1: &str = r#"
CREATE TABLE store (
  single boolean PRIMARY KEY CHECK (single), id uuid NOT NULL DEFAULT gen_random_uuid(), version int NOT NULL
);
INSERT INTO store (single, version) VALUES (true, 0);

-- A relay that works on this store, and how far its evidence log has come.
CREATE TABLE node (
  name text COLLATE "C" PRIMARY KEY, incarnation bigint NOT NULL DEFAULT 0, batch bigint NOT NULL DEFAULT 0,
  size bigint NOT NULL DEFAULT 0
);
-- One row: whoever accepts holds it until his commit, so that messages become visible in the order of their numbers.
CREATE TABLE counter (single boolean PRIMARY KEY CHECK (single), last bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO counter VALUES (true, 0);

-- Every id that was ever announced or accepted, for ever. Without a sequence: announced only.
CREATE TABLE used (
  key text COLLATE "C" PRIMARY KEY, account text COLLATE "C", expires_at bigint, sequence bigint,
  request_digest bytea, issued_to bytea, sealed boolean
);
CREATE INDEX used_announced ON used (expires_at) WHERE sequence IS NULL;
CREATE INDEX used_sequence ON used (sequence) WHERE sequence IS NOT NULL;

CREATE TABLE message (
  sequence bigint PRIMARY KEY,
  id text COLLATE "C" NOT NULL,
  mailbox text COLLATE "C" NOT NULL,
  state bigint NOT NULL,
  offered boolean NOT NULL,
  shelf bigint NOT NULL,
  posted_by text COLLATE "C" NOT NULL,
  delivered_at bigint,
  payload_bytes bigint NOT NULL,
  payload_digest bytea NOT NULL,
  payload_place bigint NOT NULL,
  release_at bigint, expire_at bigint NOT NULL, remind_at bigint,
  retain_payload_days bigint NOT NULL, retain_card_days bigint NOT NULL,
  final_at bigint,
  push_at bigint NOT NULL DEFAULT 0, push_attempt bigint NOT NULL DEFAULT 0,
  push_token bigint NOT NULL DEFAULT 0, push_leased boolean NOT NULL DEFAULT false,
  push_note text
);
CREATE INDEX message_offered ON message (mailbox, offered, sequence);
CREATE INDEX message_new ON message (mailbox, sequence) WHERE shelf = 1;
CREATE INDEX message_shelf ON message (mailbox, delivered_at) WHERE shelf IN (1, 2);
CREATE INDEX message_push ON message (mailbox, push_at, sequence) WHERE shelf > 0;
CREATE INDEX message_aside ON message (state, sequence) WHERE state IN (0, 4, 5, 6);
CREATE INDEX message_posted ON message (posted_by, sequence);

CREATE TABLE paper (
  sequence bigint PRIMARY KEY, envelope bytea NOT NULL, manifest bytea NOT NULL, author_digest bytea NOT NULL,
  card bytea NOT NULL
);
-- What parties said about a message, kept as long as its card.
CREATE TABLE statement (
  sequence bigint NOT NULL, number bigint NOT NULL, id text COLLATE "C" NOT NULL, account text COLLATE "C" NOT NULL,
  at bigint NOT NULL, text text NOT NULL, PRIMARY KEY (sequence, number), UNIQUE (sequence, id)
);
CREATE TABLE payload (sequence bigint PRIMARY KEY, bytes bytea NOT NULL);
-- Encrypted or packed as a rule: not worth another attempt at packing it.
ALTER TABLE payload ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- A large payload. Sealed, every chunk lies before it in the log of transactions; named, it belongs to a message.
CREATE TABLE payload_large (
  name text COLLATE "C" PRIMARY KEY, sequence bigint UNIQUE, node text COLLATE "C" NOT NULL,
  incarnation bigint NOT NULL, sealed boolean NOT NULL DEFAULT false,
  touched_at timestamptz NOT NULL DEFAULT clock_timestamp(), dropped_at timestamptz
);
CREATE INDEX payload_large_unnamed ON payload_large (touched_at) WHERE sequence IS NULL;
CREATE TABLE payload_chunk (
  name text COLLATE "C" NOT NULL, number bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (name, number)
);
ALTER TABLE payload_chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE relation (
  related text COLLATE "C" NOT NULL, sequence bigint NOT NULL, PRIMARY KEY (related, sequence)
);
CREATE INDEX relation_sequence ON relation (sequence);
CREATE TABLE timer (
  at bigint NOT NULL, sequence bigint NOT NULL, kind bigint NOT NULL, PRIMARY KEY (at, sequence, kind)
);
CREATE TABLE mailbox (
  name text COLLATE "C" PRIMARY KEY, total bigint NOT NULL DEFAULT 0, held bigint NOT NULL DEFAULT 0,
  waiting bigint NOT NULL DEFAULT 0, handed_out bigint NOT NULL DEFAULT 0, dead bigint NOT NULL DEFAULT 0,
  bytes_waiting bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE iterator (
  id text COLLATE "C" PRIMARY KEY, account text COLLATE "C" NOT NULL, expires_at bigint NOT NULL,
  content bytea NOT NULL
);
CREATE INDEX iterator_expires ON iterator (expires_at);
CREATE TABLE dialog (
  id text COLLATE "C" PRIMARY KEY, account text COLLATE "C" NOT NULL, cipher bytea NOT NULL, signature bytea,
  encrypted boolean NOT NULL, challenge text COLLATE "C" NOT NULL, sequence bigint NOT NULL,
  opened_at bigint NOT NULL, used_at bigint NOT NULL, expires_at bigint NOT NULL
);
CREATE INDEX dialog_expires ON dialog (expires_at);
CREATE TABLE dialog_delivery (
  dialog text COLLATE "C" NOT NULL, message text COLLATE "C" NOT NULL, PRIMARY KEY (dialog, message)
);
CREATE TABLE directory (
  single boolean PRIMARY KEY CHECK (single), revision bigint NOT NULL, accounts bytea NOT NULL, profiles bytea NOT NULL
);
INSERT INTO directory VALUES (true, 0, '[]', '[]');
CREATE TABLE act (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, content bytea NOT NULL);

CREATE TABLE evidence (
  node text COLLATE "C" NOT NULL, idx bigint NOT NULL, message bigint NOT NULL, leaf bytea NOT NULL,
  bytes bytea NOT NULL, PRIMARY KEY (node, idx)
);
CREATE INDEX evidence_message ON evidence (message, node, idx);
CREATE TABLE evidence_node (
  node text COLLATE "C" NOT NULL, level bigint NOT NULL, idx bigint NOT NULL, hash bytea NOT NULL,
  PRIMARY KEY (node, level, idx)
);
CREATE TABLE checkpoint (
  node text COLLATE "C" NOT NULL, size bigint NOT NULL, note text NOT NULL, digest bytea NOT NULL,
  PRIMARY KEY (node, size)
);
CREATE TABLE time_stamp (
  node text COLLATE "C" NOT NULL, size bigint NOT NULL, number bigint NOT NULL, token bytea NOT NULL,
  digest bytea NOT NULL, time bigint NOT NULL, good_until bigint NOT NULL, PRIMARY KEY (node, size, number)
);
CREATE INDEX time_stamp_ending ON time_stamp (node, good_until);
"#;

/// The nodes' logs hold each other's checkpoints (`idx`: where in the holder's log), and end.
const VERSION_2: &str = r#"
ALTER TABLE node ADD COLUMN closed boolean NOT NULL DEFAULT false;
CREATE TABLE anchor (
  node text COLLATE "C" NOT NULL, of_node text COLLATE "C" NOT NULL, size bigint NOT NULL, idx bigint NOT NULL,
  root bytea NOT NULL, PRIMARY KEY (node, of_node, size)
);
"#;

/// A large payload in an object store: bytes of each of its objects. Without: rows of chunks.
const VERSION_3: &str = "
ALTER TABLE payload_large ADD COLUMN object_bytes bigint;
";

/// By which keys each node's log is checked, so that any node can prove what all of them have logged.
const VERSION_4: &str = r#"
CREATE TABLE evidence_key (
  node text COLLATE "C" NOT NULL, verifier text COLLATE "C" NOT NULL, PRIMARY KEY (node, verifier)
);
-- Counts up while the store is at work, together with a number in its object store.
ALTER TABLE store ADD COLUMN objects_claim bigint NOT NULL DEFAULT 0;
"#;

/// What clients send or fetch in several requests, wherever the next of them is answered; and the destination of what came by
/// the door of portals. A trigger files that, so that what nodes of the version before accept is filed as well; what lies there
/// is filed here, in the same transaction. It is found by the bytes that
/// [`crate::domain::destination::DESTINATION_PROPERTY`] leaves in an envelope; within a string its quotes would be escaped.
const VERSION_5: &str = r#"
CREATE TABLE staged (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text COLLATE "C" NOT NULL, owner text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL, note bytea NOT NULL, bytes bigint NOT NULL, ends_at timestamptz NOT NULL,
  open boolean NOT NULL DEFAULT true, swept boolean NOT NULL DEFAULT false, UNIQUE (kind, owner, name)
);
CREATE INDEX staged_ends ON staged (ends_at);
CREATE INDEX staged_settled ON staged (id) WHERE NOT open AND NOT swept;
-- A large piece is a large payload whose sequence is the negative of the piece's id.
CREATE TABLE staged_piece (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, place bigint NOT NULL REFERENCES staged (id),
  number bigint NOT NULL, length bigint NOT NULL, bytes bytea, UNIQUE (place, number)
);
ALTER TABLE staged_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- Which process has the node's name, as of which incarnation, and since which one without another in between.
ALTER TABLE node ADD COLUMN token text COLLATE "C", ADD COLUMN token_at bigint, ADD COLUMN held_since bigint;
-- By how much this database's clock has jumped ahead (microseconds), and until when that matters.
ALTER TABLE store ADD COLUMN clock_jumped bigint NOT NULL DEFAULT 0, ADD COLUMN clock_guard_until timestamptz;
-- Who is at work at a place. Nothing is lost with it.
CREATE UNLOGGED TABLE staged_hold (
  name text COLLATE "C" PRIMARY KEY, holder text COLLATE "C" NOT NULL, until timestamptz NOT NULL
);
ALTER TABLE message ADD COLUMN destination text COLLATE "C";
CREATE FUNCTION amtsbote.named_destination(envelope bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT encode(substring(envelope FROM position(w.words IN envelope) + length(w.words) FOR 36), 'escape')
  FROM (SELECT convert_to('"code":"fit-connect:destinationId"},"value":"', 'UTF8') AS words) w
  WHERE position(w.words IN envelope) > 0
$$;
CREATE FUNCTION amtsbote.file_submission() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE amtsbote.message m SET destination = amtsbote.named_destination(NEW.envelope)
  WHERE m.sequence = NEW.sequence AND m.destination IS NULL;
  RETURN NULL;
END
$$;
CREATE TRIGGER paper_filed AFTER INSERT ON paper FOR EACH ROW
  WHEN (position(convert_to('"door":"portal"', 'UTF8') IN NEW.card) > 0) EXECUTE FUNCTION amtsbote.file_submission();
UPDATE message m SET destination = amtsbote.named_destination(p.envelope) FROM paper p
  WHERE p.sequence = m.sequence AND position(convert_to('"door":"portal"', 'UTF8') IN p.card) > 0;
CREATE INDEX message_destination ON message (destination, mailbox, sequence, shelf) WHERE destination IS NOT NULL AND offered;
"#;

/// What clients took at each process (`rates`): nothing is lost with it. And when this database took the place of another that
/// had the same objects.
const VERSION_6: &str = r#"
CREATE UNLOGGED TABLE rate (
  kind text COLLATE "C" NOT NULL, client bytea NOT NULL, begins bigint NOT NULL, process text COLLATE "C" NOT NULL,
  taken bigint NOT NULL, until timestamptz NOT NULL, PRIMARY KEY (kind, client, begins, process)
) WITH (fillfactor = 70);
CREATE INDEX rate_until ON rate (until);
ALTER TABLE store ADD COLUMN objects_adopted_at timestamptz;
"#;

/// Step `n` leads from version `n` to `n + 1`.
const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6];

pub fn current_version() -> u32 {
    STEPS.len() as u32
}

/// The store's own id and version, or `None` in a database without our tables.
pub async fn identity(client: &impl GenericClient) -> Result<Option<(String, u32)>, OpenError> {
    // By reading the catalogue: to_regclass may answer from a cache of before the lock that was just waited for.
    let there = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'amtsbote' AND tablename = 'store')";
    let there = client.query_one(there, &[]).await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT id::text, version FROM amtsbote.store", &[]).await?;
    let row = row.ok_or_else(|| OpenError::Corrupt("the table amtsbote.store is empty".to_owned()))?;
    let version: i32 = row.get(1);
    if version == COPYING {
        return Err(OpenError::Unfinished);
    }
    Ok(Some((row.get(0), u32::try_from(version).unwrap_or(0))))
}

/// Whether this program can work on tables of that version.
pub fn check_version(found: u32) -> Result<(), OpenError> {
    let known = current_version();
    match found {
        _ if found < known => Err(OpenError::Older { found, known }),
        _ if found > known + AHEAD_MAX => Err(OpenError::Newer { found, known }),
        _ => Ok(()),
    }
}

const OF_A_REGISTER: &str = "in this database a register keeps its copies; give the relay a database and a role of its own, \
    and name them in [store] connection";

pub async fn refuse_register(client: &Client) -> Result<(), OpenError> {
    let register =
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = 'amtsbote_register')";
    match client.query_one(register, &[]).await?.get(0) {
        true => Err(OpenError::Settings(OF_A_REGISTER.to_owned())),
        false => Ok(()),
    }
}

/// Whether tables can be made in a database without them.
pub async fn check_rights(client: &Client) -> Result<(), OpenError> {
    let rights = "SELECT CASE WHEN to_regnamespace('amtsbote') IS NULL \
        THEN has_database_privilege(current_database(), 'CREATE') \
        ELSE has_schema_privilege('amtsbote', 'CREATE') END";
    match client.query_one(rights, &[]).await?.get(0) {
        true => Ok(()),
        false => Err(OpenError::Settings(LACKS_RIGHTS.to_owned())),
    }
}

/// Creates the tables in a database without them; refuses versions that are not known well enough. Returns the store's
/// id.
pub async fn prepare(client: &mut Client) -> Result<String, OpenError> {
    refuse_register(client).await?;
    match identity(client).await? {
        None => {
            migrate(client).await?;
            let made = identity(client).await?;
            made.map(|(id, _)| id).ok_or_else(|| OpenError::Corrupt("no tables were made".to_owned()))
        }
        Some((id, found)) => {
            check_version(found)?;
            if found > current_version() {
                tracing::info!(
                    found,
                    known = current_version(),
                    "the store is one version newer than this program, which knows how to work on it; replace it soon"
                );
            }
            Ok(id)
        }
    }
}

/// Runs the missing steps in one transaction; returns the versions before and after.
pub async fn migrate(client: &mut Client) -> Result<(u32, u32), OpenError> {
    let work = client.transaction().await?;
    work.batch_execute("SET LOCAL lock_timeout = '30s'").await?;
    busy(work.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await, "another upgrade takes its time")?;
    // What waits for a table makes everybody wait who comes after: better to let go soon.
    work.batch_execute("SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '15min'").await?;
    let found = identity(&work).await.map_err(|error| match error {
        OpenError::Database(error) if is_busy(&error) => OpenError::Busy(HELD.to_owned()),
        other => other,
    })?;
    let known = current_version();
    let before = found.as_ref().map_or(0, |(_, version)| *version);
    if before > known {
        return Err(OpenError::Newer { found: before, known });
    }
    if found.is_none() {
        work.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")).await?;
    }
    for step in STEPS.iter().skip(before as usize) {
        busy(work.batch_execute(step).await, HELD)?;
    }
    busy(work.execute("UPDATE store SET version = $1", &[&(known as i32)]).await, HELD)?;
    commit(work).await?;
    Ok((before, known))
}

const HELD: &str = "the upgrade waited five seconds for something that others hold in the database, or a step of it took longer than 15 minutes";

fn is_busy(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(*code, SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED))
}

/// Says what it was that took too long.
fn busy<T>(answer: Result<T, tokio_postgres::Error>, what: &str) -> Result<T, OpenError> {
    answer.map_err(|error| if is_busy(&error) { OpenError::Busy(what.to_owned()) } else { error.into() })
}

/// What a copy finds in a database.
pub enum Copying {
    Nothing,
    Store {
        id: String,
        messages: i64,
    },
    /// A copy that was begun, and of what.
    Of(String),
}

pub async fn copying(client: &Client) -> Result<Copying, OpenError> {
    match identity(client).await {
        Ok(None) => Ok(Copying::Nothing),
        Ok(Some((id, _))) => {
            let row = client.query_one("SELECT count(*) FROM amtsbote.message", &[]).await?;
            Ok(Copying::Store { id, messages: row.get(0) })
        }
        Err(OpenError::Unfinished) => {
            let row = client.query_one("SELECT source FROM amtsbote.copying", &[]).await?;
            Ok(Copying::Of(row.get(0)))
        }
        Err(error) => Err(error),
    }
}

/// Makes the tables, for nobody but the copy.
pub async fn begin_copy(client: &mut Client, source: &str) -> Result<(), OpenError> {
    let work = client.transaction().await?;
    work.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    work.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}")).await?;
    for step in STEPS {
        work.batch_execute(step).await?;
    }
    work.batch_execute("CREATE TABLE copying (source text NOT NULL)").await?;
    work.execute("INSERT INTO copying VALUES ($1)", &[&source]).await?;
    work.execute("UPDATE store SET version = $1", &[&COPYING]).await?;
    Ok(commit(work).await?)
}

pub async fn finish_copy(work: &impl GenericClient) -> Result<(), OpenError> {
    work.batch_execute("DROP TABLE copying").await?;
    work.execute("UPDATE store SET version = $1", &[&(current_version() as i32)]).await?;
    Ok(())
}
