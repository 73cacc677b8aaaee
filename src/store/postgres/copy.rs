//! A store is copied from the embedded engine into an empty database.
//!
//! Tables arrive in transactions of a page each, large payloads in one each; until the last step the database says that a
//! copy is under way, and no server works on it. A copy that was interrupted goes on behind what has arrived, from the same
//! store in the same state only. At the end every row of both sides is compared and every large payload digested; then one
//! transaction makes a store of it. The evidence log arrives as it is and becomes that of the configuration's node.

use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::payload::CHUNK_BYTES;
use super::pools::Pools;
use super::read::column;
use super::{Fault, OpenError, Settings, connect, promises, schema};
use crate::domain::content::Digest;
use crate::evidence::checkpoint::VerifierKey;
use crate::evidence::tree::Hash;
use crate::net::postgres::commit;
use crate::store::copy::{Kind, Row, Rows, TABLES, TIME_STAMPS, Table, Value};
use crate::store::embedded::{self, Large, Source};
use crate::store::row::int;

/// Rows that travel at once.
const PAGE: u32 = 256;
/// The same of rows that are small.
const PAGE_SMALL: u32 = 4096;
/// Clocks may differ by so much: deadlines are compared with the database's clock from here on.
const CLOCK_MICROSECONDS_MAX: u64 = 5_000_000;

#[derive(Debug, Error)]
pub enum CopyError {
    #[error("the store to be copied: {0}")]
    Source(#[from] embedded::OpenError),
    #[error(transparent)]
    Target(#[from] OpenError),
    #[error("{0}")]
    Refused(String),
    #[error("the copy differs from the store: {0}; drop the schema amtsbote there and begin anew")]
    Differs(String),
}

impl From<Fault> for CopyError {
    fn from(fault: Fault) -> Self {
        Self::Target(fault.into())
    }
}

impl From<tokio_postgres::Error> for CopyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Target(error.into())
    }
}

impl From<std::io::Error> for CopyError {
    fn from(error: std::io::Error) -> Self {
        Self::Source(error.into())
    }
}

/// One table of the copy, found equal on both sides.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CopiedTable {
    pub name: &'static str,
    pub rows: u64,
    /// SHA-256 over the rows in the order of their keys.
    pub digest: Digest,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub tables: Vec<CopiedTable>,
    pub large_payloads: u64,
    pub messages: u64,
    pub payload_bytes: u64,
    pub evidence_records: u64,
    pub root: Hash,
    /// It was begun by an earlier call.
    pub resumed: bool,
}

/// Copies the store in `folder` into an empty database, or goes on with that. `keys`: whoever may have signed the log;
/// `told` hears what is being done.
pub async fn copy_from(
    folder: &Path,
    settings: Settings,
    keys: &[VerifierKey],
    moved_to: &str,
    told: impl Fn(&str),
) -> Result<Copied, CopyError> {
    if settings.node.is_empty() {
        return Err(CopyError::Refused("[store] node is empty; give this relay a name".to_owned()));
    }
    told("verifying the store");
    let source = Source::open(folder, keys)?;
    let pools = Pools::new(settings)?;
    let mut session = pools.session().await?;
    pools.check_server(&session.client).await?;
    if let (Some(broken), _) = promises::verdict(&session.client, pools.settings().standby).await? {
        return Err(OpenError::Promise(broken).into());
    }
    pools.measure_skew(&session.client).await?;
    if pools.skew().0.unsigned_abs() > CLOCK_MICROSECONDS_MAX {
        return Err(CopyError::Refused(format!(
            "the database's clock differs from this host's by {} s, and deadlines would move with it; let both follow a \
             time server",
            pools.skew().0 / 1_000_000
        )));
    }
    let resumed = begin(&mut session.client, folder, &source, pools.node()).await?;
    let mut target = Target { client: &mut session.client, node: pools.node().to_owned() };
    for table in TABLES.iter().chain([&TIME_STAMPS]) {
        told(&format!("copying {}", table.name));
        target.fill(&source, table).await?;
    }
    told("copying large payloads");
    target.fill_large(&source).await?;
    let mut tables = Vec::new();
    for table in TABLES.iter().chain([&TIME_STAMPS]) {
        told(&format!("comparing {}", table.name));
        tables.push(target.compare(&source, table).await?);
    }
    told("digesting large payloads");
    let large_payloads = target.compare_large(&source).await?;
    // While its lock is held, and before the target may be at work: there are never two that could be.
    embedded::mark_moved(folder, moved_to).map_err(|error| {
        CopyError::Refused(format!(
            "that the store was moved cannot be written down in {}: {error}",
            folder.display()
        ))
    })?;
    target.finish(&source).await?;
    Ok(Copied {
        tables,
        large_payloads,
        messages: source.report.messages,
        payload_bytes: source.report.payload_bytes,
        evidence_records: source.evidence_size,
        root: source.report.root,
        resumed,
    })
}

/// Makes the tables and remembers whose copy it is; true where that was done before.
async fn begin(client: &mut Client, folder: &Path, source: &Source, node: &str) -> Result<bool, CopyError> {
    let state = format!("{node} {}", source.state());
    if !column::<bool>(&client.query_one("SELECT pg_try_advisory_lock($1)", &[&schema::COPY_LOCK]).await?, 0)?
    {
        return Err(CopyError::Refused(
            "another process is copying into this database; let it finish".to_owned(),
        ));
    }
    match schema::copying(client).await? {
        schema::Copying::Of(found) if found == state => Ok(true),
        schema::Copying::Of(_) => Err(CopyError::Refused(
            "the database holds an unfinished copy of another store, of this one in another state, or for another node; \
             drop the schema amtsbote there and begin anew"
                .to_owned(),
        )),
        schema::Copying::Store { id, messages } => Err(CopyError::Refused(format!(
            "the database holds a store already ({id}, {messages} messages); a copy goes into an empty database"
        ))),
        schema::Copying::Nothing => {
            // Another copy of it may be at work: two would both hand out what lies in them.
            embedded::refuse_moved(folder).map_err(|error| match error {
                embedded::OpenError::Moved { .. } => CopyError::Refused(error.to_string()),
                other => other.into(),
            })?;
            let others = "SELECT min(schemaname || '.' || tablename), count(*) FROM pg_catalog.pg_tables \
                          WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
            let row = client.query_one(others, &[]).await?;
            if let Some(other) = column::<Option<String>>(&row, 0)? {
                return Err(CopyError::Refused(format!(
                    "the database holds tables of somebody else ({other}); give the store a database of its own"
                )));
            }
            schema::begin_copy(client, &state).await?;
            Ok(false)
        }
    }
}

struct Target<'a> {
    client: &'a mut Client,
    node: String,
}

type Parameter = Box<dyn ToSql + Sync + Send>;

fn borrowed(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter.as_ref() as &(dyn ToSql + Sync)).collect()
}

fn parameter(value: &Value) -> Parameter {
    match value {
        Value::Null => Box::new(None::<i64>),
        Value::Int(number) => Box::new(*number),
        Value::Bool(is) => Box::new(*is),
        Value::Text(text) => Box::new(text.clone()),
        Value::Bytes(bytes) => Box::new(bytes.clone()),
    }
}

/// One column of many rows.
fn array(rows: &[Row], at: usize, kind: Kind) -> Result<Parameter, CopyError> {
    macro_rules! array {
        ($variant:ident) => {{
            let values = rows.iter().map(|row| match row.get(at) {
                Some(Value::$variant(value)) => Ok(Some(value.clone())),
                Some(Value::Null) => Ok(None),
                _ => Err(CopyError::Refused(format!("column {at} of a row is of another kind"))),
            });
            Box::new(values.collect::<Result<Vec<_>, _>>()?)
        }};
    }
    Ok(match kind {
        Kind::Int => array!(Int),
        Kind::Bool => array!(Bool),
        Kind::Text => array!(Text),
        Kind::Bytes => array!(Bytes),
    })
}

fn array_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "bigint[]",
        Kind::Bool => "boolean[]",
        Kind::Text => "text[]",
        Kind::Bytes => "bytea[]",
    }
}

fn page_size(table: &Table) -> u32 {
    let large = ["paper", "payload", "statement", "iterator", "dialog", "act", "checkpoint", "time_stamp"];
    if large.contains(&table.name) { PAGE } else { PAGE_SMALL }
}

impl Target<'_> {
    /// Brings the rows that are not there yet.
    async fn fill(&mut self, source: &Source, table: &Table) -> Result<(), CopyError> {
        let (name, limit) = (table.name, page_size(table));
        let there: i64 =
            column(&self.client.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await?, 0)?;
        let (mut skip, mut after) = (crate::store::row::uint(there), None::<Row>);
        let (node_column, node_value) = if table.of_node { ("node, ", "$1::text, ") } else { ("", "") };
        let first = if table.of_node { 2 } else { 1 };
        let arrays = table.columns.iter().zip(first..);
        let arrays = arrays.map(|((_, kind), at)| format!("${at}::{}", array_type(*kind)));
        // The number of an act is the database's to give, but for those that came with the copy.
        let overriding = if name == "act" { "OVERRIDING SYSTEM VALUE" } else { "" };
        let insert = format!(
            "INSERT INTO {name} ({node_column}{}) {overriding} SELECT {node_value}* FROM unnest({})",
            table.names(),
            arrays.collect::<Vec<_>>().join(", ")
        );
        let insert = self.client.prepare(&insert).await?;
        loop {
            let rows = source.page(table, after.as_deref(), skip, limit)?;
            let Some(last) = rows.last() else { return Ok(()) };
            let mut parameters: Vec<Parameter> = Vec::new();
            if table.of_node {
                parameters.push(Box::new(self.node.clone()));
            }
            for (at, (_, kind)) in table.columns.iter().enumerate() {
                parameters.push(array(&rows, at, *kind)?);
            }
            self.client.execute(&insert, &borrowed(&parameters)).await?;
            (after, skip) = (Some(last.clone()), 0);
        }
    }

    /// Reads the next rows on this side.
    async fn page(&self, table: &Table, after: Option<&[Value]>, limit: u32) -> Result<Vec<Row>, CopyError> {
        let (name, columns, key) = (table.name, table.names(), table.key_names());
        let mut conditions = Vec::new();
        let mut parameters: Vec<Parameter> = Vec::new();
        if table.of_node {
            conditions.push("node = $1".to_owned());
            parameters.push(Box::new(self.node.clone()));
        }
        if let Some(after) = after {
            let places = (parameters.len() + 1..).take(table.key).map(|at| format!("${at}"));
            conditions.push(format!("({key}) > ({})", places.collect::<Vec<_>>().join(", ")));
            parameters.extend(after.iter().take(table.key).map(parameter));
        }
        let behind = match conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", conditions.join(" AND ")),
        };
        let question = format!("SELECT {columns} FROM {name} {behind} ORDER BY {key} LIMIT {limit}");
        let rows = self.client.query(&question, &borrowed(&parameters)).await?;
        let rows = rows.iter().map(|row| {
            let values = table.columns.iter().enumerate().map(|(at, (_, kind))| {
                Ok(match kind {
                    Kind::Int => column::<Option<i64>>(row, at)?.map(Value::Int),
                    Kind::Bool => column::<Option<bool>>(row, at)?.map(Value::Bool),
                    Kind::Text => column::<Option<String>>(row, at)?.map(Value::Text),
                    Kind::Bytes => column::<Option<Vec<u8>>>(row, at)?.map(Value::Bytes),
                }
                .unwrap_or(Value::Null))
            });
            values.collect::<Result<Row, Fault>>()
        });
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Compares every row of both sides.
    async fn compare(&self, source: &Source, table: &Table) -> Result<CopiedTable, CopyError> {
        let limit = page_size(table);
        let (mut here, mut there, mut after) = (Rows::new(), Rows::new(), None::<Row>);
        loop {
            let ours = source.page(table, after.as_deref(), 0, limit)?;
            let theirs = self.page(table, after.as_deref(), limit).await?;
            let differing = ours.iter().zip(&theirs).find(|(one, other)| one != other);
            if let Some((row, _)) = differing {
                let key: Vec<String> = row.iter().take(table.key).map(Value::to_string).collect();
                return Err(CopyError::Differs(format!("table {}, row {}", table.name, key.join(", "))));
            }
            ours.iter().for_each(|row| here.add(row));
            theirs.iter().for_each(|row| there.add(row));
            if ours.len() != theirs.len() {
                return Err(CopyError::Differs(format!("table {} has another number of rows", table.name)));
            }
            let Some(last) = ours.last() else { break };
            after = Some(last.clone());
        }
        let rows = here.count;
        let (here, there) = (here.finish(), there.finish());
        if here != there {
            return Err(CopyError::Differs(format!("table {}: digests {here} and {there}", table.name)));
        }
        Ok(CopiedTable { name: table.name, rows, digest: there })
    }

    async fn fill_large(&mut self, source: &Source) -> Result<(), CopyError> {
        let mut after = String::new();
        loop {
            let page = source.large(&after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.name);
            for large in page {
                let known = "SELECT 1 FROM payload_large WHERE name = $1";
                if self.client.query_opt(known, &[&large.name]).await?.is_none() {
                    self.bring(source, &large).await?;
                }
            }
        }
    }

    async fn bring(&mut self, source: &Source, large: &Large) -> Result<(), CopyError> {
        let mut file = source.open_large(large)?;
        let work = self.client.transaction().await?;
        let name = "INSERT INTO payload_large (name, sequence, node, incarnation, sealed) VALUES ($1, $2, $3, 0, true)";
        work.execute(name, &[&large.name, &large.sequence, &self.node]).await?;
        let chunk =
            work.prepare("INSERT INTO payload_chunk (name, number, bytes) VALUES ($1, $2, $3)").await?;
        for number in 0_i64.. {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            work.execute(&chunk, &[&large.name, &number, &bytes]).await?;
        }
        Ok(commit(work).await?)
    }

    /// Digests every large payload on this side; returns how many there are.
    async fn compare_large(&self, source: &Source) -> Result<u64, CopyError> {
        let chunk = "SELECT bytes FROM payload_chunk WHERE name = $1 AND number = $2";
        let chunk = self.client.prepare(chunk).await?;
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = source.large(&after, PAGE)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.name);
            for large in page {
                count += 1;
                let (mut context, mut length) = (Context::new(&SHA256), 0);
                for number in 0_i64.. {
                    let Some(row) = self.client.query_opt(&chunk, &[&large.name, &number]).await? else {
                        break;
                    };
                    let bytes: &[u8] = column(&row, 0)?;
                    length += bytes.len() as u64;
                    context.update(bytes);
                }
                if length != large.length || context.finish().as_ref() != large.digest.0 {
                    return Err(CopyError::Differs(format!("the payload of message {}", large.sequence)));
                }
            }
        }
        let strays = "SELECT count(*) FROM payload_large WHERE sequence IS NOT NULL";
        let named: i64 = column(&self.client.query_one(strays, &[]).await?, 0)?;
        if named != int(count) {
            return Err(CopyError::Differs("another number of large payloads".to_owned()));
        }
        Ok(count)
    }

    /// One transaction makes a store of what was copied.
    async fn finish(&mut self, source: &Source) -> Result<(), CopyError> {
        let (revision, accounts, profiles) = source.directory()?;
        let size = int(source.evidence_size);
        let work = self.client.transaction().await?;
        let node = "INSERT INTO node (name, batch, size) VALUES ($1, 0, $2)";
        work.execute(node, &[&self.node, &size]).await?;
        // A message's sequence is not above the size of the log that it was numbered by.
        work.execute("UPDATE counter SET last = $1", &[&size]).await?;
        let directory = "UPDATE directory SET revision = $1, accounts = $2, profiles = $3";
        work.execute(directory, &[&revision, &accounts, &profiles]).await?;
        work.execute(
            "SELECT setval(pg_get_serial_sequence('act', 'number'), greatest(max(number), 1), max(number) IS NOT NULL) \
             FROM act",
            &[],
        )
        .await?;
        schema::finish_copy(&work).await?;
        commit(work).await.map_err(|error| {
            CopyError::Refused(format!(
                "the last step was not answered: {}; the same command again tells whether it was done",
                connect::sentence(&error)
            ))
        })
    }
}
