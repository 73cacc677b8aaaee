//! A store that is copied away: locked against servers, verified, and read table by table in the order of keys.

use std::fs::File;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql, params};

use super::payload::PayloadFolder;
use super::{Lock, OpenError, Report, evidence, schema, verify_signed};
use crate::domain::content::Digest;
use crate::evidence::checkpoint::VerifierKey;
use crate::pki::timestamp::Authorities;
use crate::store::copy::{Kind, Row, Table, Value};
use crate::store::row::{int, uint};

/// A large payload of a message.
pub struct Large {
    pub name: String,
    pub sequence: i64,
    pub length: u64,
    pub digest: Digest,
}

pub struct Source {
    connection: Connection,
    payloads: PayloadFolder,
    _lock: Lock,
    pub report: Report,
    /// Number of the last transaction.
    pub batch: i64,
    pub evidence_size: u64,
}

impl Source {
    /// Takes the store out of every server's reach and verifies it from first to last byte.
    pub fn open(folder: &Path, keys: &[VerifierKey]) -> Result<Self, OpenError> {
        if !folder.join(schema::DATABASE_FILE).is_file() {
            return Err(OpenError::Absent(folder.to_owned()));
        }
        let lock = super::opening::lock(folder)?;
        let report = verify_signed(folder, keys, &Authorities::default())?;
        if let Some(problem) = report.problems.first() {
            return Err(OpenError::Unverified(problem.clone()));
        }
        let connection = schema::open_reader(folder)?;
        let batch = connection.query_row("SELECT number FROM batch", [], |row| row.get(0))?;
        let evidence_size = evidence::size(&connection)?;
        Ok(Self {
            connection,
            payloads: PayloadFolder::at(folder),
            _lock: lock,
            report,
            batch,
            evidence_size,
        })
    }

    /// The next rows behind `after`, or behind the first `skip`.
    pub fn page(
        &self,
        table: &Table,
        after: Option<&[Value]>,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<Row>, OpenError> {
        let (name, columns, key) = (table.name, table.names(), table.key_names());
        let behind = match after {
            Some(_) => format!("WHERE ({key}) > ({})", vec!["?"; table.key].join(", ")),
            None => String::new(),
        };
        let question =
            format!("SELECT {columns} FROM {name} {behind} ORDER BY {key} LIMIT {limit} OFFSET {skip}");
        let mut question = self.connection.prepare_cached(&question)?;
        let after: Vec<Bound<'_>> = after.unwrap_or_default().iter().take(table.key).map(Bound).collect();
        let mut rows = question.query(rusqlite::params_from_iter(after))?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            let columns = table.columns.iter().enumerate();
            let values = columns.map(|(at, (_, kind))| value(row.get_ref(at)?, *kind, table.name));
            page.push(values.collect::<Result<Row, OpenError>>()?);
        }
        Ok(page)
    }

    /// The next large payloads behind the one of that name.
    pub fn large(&self, after: &str, limit: u32) -> Result<Vec<Large>, OpenError> {
        let mut question = self.connection.prepare_cached(
            "SELECT f.name, f.sequence, m.payload_bytes, m.payload_digest FROM payload_file f \
             JOIN message m ON m.sequence = f.sequence WHERE f.name > ?1 ORDER BY f.name LIMIT ?2",
        )?;
        let rows = question.query_map(params![after, limit], |row| {
            Ok(Large {
                name: row.get(0)?,
                sequence: row.get(1)?,
                length: uint(row.get(2)?),
                digest: Digest(row.get(3)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub fn open_large(&self, large: &Large) -> Result<File, OpenError> {
        Ok(File::open(self.payloads.path(&large.name))?)
    }

    /// Revision, accounts, profiles.
    pub fn directory(&self) -> Result<(i64, Vec<u8>, Vec<u8>), OpenError> {
        let mut question =
            self.connection.prepare_cached("SELECT revision, accounts, profiles FROM directory")?;
        let row = question.query_row([], |row| {
            let bytes = |at: usize| -> rusqlite::Result<Vec<u8>> {
                Ok(row.get_ref(at)?.as_bytes_or_null()?.unwrap_or_default().to_vec())
            };
            Ok((row.get(0)?, bytes(1)?, bytes(2)?))
        });
        Ok(row?)
    }

    /// Tells this state of this store from every other: what was copied from it may only be gone on with from it.
    pub fn state(&self) -> String {
        let root = crate::domain::hex::lower(&self.report.root);
        format!("{} {} {root}", self.batch, int(self.evidence_size))
    }
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self.0 {
            Value::Null => Ok(rusqlite::types::Null.into()),
            Value::Int(number) => Ok((*number).into()),
            Value::Bool(is) => Ok(i64::from(*is).into()),
            Value::Text(text) => text.to_sql(),
            Value::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

fn value(found: ValueRef<'_>, kind: Kind, table: &str) -> Result<Value, OpenError> {
    let wrong = || OpenError::Corrupt(format!("a column of {table} is of another kind"));
    Ok(match (found, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), Kind::Int) => Value::Int(number),
        (ValueRef::Integer(number), Kind::Bool) => Value::Bool(number != 0),
        (ValueRef::Text(bytes), Kind::Text) => {
            Value::Text(String::from_utf8(bytes.to_vec()).map_err(|_| wrong())?)
        }
        (ValueRef::Text(bytes) | ValueRef::Blob(bytes), Kind::Bytes) => Value::Bytes(bytes.to_vec()),
        _ => return Err(wrong()),
    })
}
