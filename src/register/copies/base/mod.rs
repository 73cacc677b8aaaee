//! The register's database, whichever engine keeps it: sessions, transactions, statements and rows.
//!
//! Statements are written once, in the words that SQLite and PostgreSQL share: `?1` is the first value, `ON CONFLICT`,
//! `RETURNING` and `LIMIT` mean the same to both. Where the two differ, a method here says what is wanted. Blocking, as
//! all of the copies.

mod embedded;
mod journal;
mod value;

use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
pub use embedded::DATABASE_FILE;
pub use journal::Keeper;
pub(in crate::register::copies) use value::params;
pub use value::{FromValue, ToValue, Value};

use super::CopyError;
use super::looks::LogKey;
use super::turns::Turns;

/// Opens sessions.
pub enum Base {
    Embedded(embedded::Base),
}

/// One connection. It works for one at a time.
pub enum Session {
    Embedded(rusqlite::Connection),
}

/// One transaction; what is not committed is undone.
pub enum Work<'a> {
    Embedded(rusqlite::Transaction<'a>),
}

/// One row of an answer.
pub enum Row<'a> {
    Embedded(&'a rusqlite::Row<'a>),
}

impl Base {
    /// Opens the database, makes its tables or brings them up to date. The first session writes.
    pub fn open(folder: &Path, key: &LogKey) -> Result<(Self, Session), CopyError> {
        let (base, writer) = embedded::Base::open(folder, key)?;
        Ok((Self::Embedded(base), Session::Embedded(writer)))
    }

    /// One more session that reads.
    pub fn reader(&self) -> Result<Session, CopyError> {
        match self {
            Self::Embedded(base) => Ok(Session::Embedded(base.reader()?)),
        }
    }

    /// Keeps the writer's journal short beside its work, until the keeper is dropped.
    pub fn keep_journal(&self, writer: &Arc<Turns<Session>>) -> Result<Keeper, CopyError> {
        match self {
            Self::Embedded(base) => Keeper::start(base.folder().to_owned(), writer),
        }
    }

    /// Empties what keeps former contents beside the tables, without waiting for anybody: false where somebody is in the
    /// way, and it is to be tried again.
    pub fn forget(&self) -> Result<bool, CopyError> {
        match self {
            Self::Embedded(base) => base.empty_journal(),
        }
    }
}

impl Session {
    /// Begins to write. Nobody else writes until the end, in this process or another.
    pub fn begin(&mut self) -> Result<Work<'_>, CopyError> {
        match self {
            Self::Embedded(connection) => {
                let exclusive = rusqlite::TransactionBehavior::Immediate;
                Ok(Work::Embedded(connection.transaction_with_behavior(exclusive)?))
            }
        }
    }

    /// Begins to read one state of the database, whoever writes meanwhile.
    pub fn look(&mut self) -> Result<Work<'_>, CopyError> {
        match self {
            Self::Embedded(connection) => Ok(Work::Embedded(connection.transaction()?)),
        }
    }

    /// Gives a bounded part of unused room back to the disk; says whether there is more.
    pub fn shrink_step(&mut self) -> Result<bool, CopyError> {
        match self {
            Self::Embedded(connection) => embedded::shrink_step(connection),
        }
    }

    /// Writes everything anew, without unused room. Nobody else works meanwhile.
    pub fn compact(&mut self) -> Result<(), CopyError> {
        match self {
            Self::Embedded(connection) => embedded::compact(connection),
        }
    }
}

impl Work<'_> {
    /// Runs a statement that answers nothing; says how many rows it touched.
    pub fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, CopyError> {
        match self {
            Self::Embedded(work) => {
                let rows = work.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
                Ok(rows as u64)
            }
        }
    }

    /// Runs the same statement with each of these values, in their order.
    pub fn run_each<'v, V: AsRef<[Value<'v>]>>(
        &self,
        sql: &str,
        each: impl IntoIterator<Item = V>,
    ) -> Result<(), CopyError> {
        match self {
            Self::Embedded(work) => {
                let mut statement = work.prepare_cached(sql)?;
                for values in each {
                    statement.execute(rusqlite::params_from_iter(values.as_ref()))?;
                }
                Ok(())
            }
        }
    }

    /// The first row of the answer, if there is one.
    pub fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, CopyError>,
    ) -> Result<Option<T>, CopyError> {
        match self {
            Self::Embedded(work) => {
                let mut statement = work.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                rows.next()?.map(|row| read(&Row::Embedded(row))).transpose()
            }
        }
    }

    /// The row of an answer that always has one.
    pub fn only<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, CopyError>,
    ) -> Result<T, CopyError> {
        let row = self.one(sql, values, read)?;
        row.ok_or_else(|| CopyError::Corrupt("a row that was there is gone".to_owned()))
    }

    /// All rows of the answer at once: for few.
    pub fn all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, CopyError>,
    ) -> Result<Vec<T>, CopyError> {
        let mut out = Vec::new();
        self.each(sql, values, |row| {
            out.push(read(row)?);
            Ok(true)
        })?;
        Ok(out)
    }

    /// Hands over row after row until `take` wants no more: for many. `take` may ask further questions meanwhile.
    pub fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut take: impl FnMut(&Row<'_>) -> Result<bool, CopyError>,
    ) -> Result<(), CopyError> {
        match self {
            Self::Embedded(work) => {
                let mut statement = work.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    if !take(&Row::Embedded(row))? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// An expression for the text of one field of a column that holds JSON in bytes.
    pub fn json_text(&self, column: &str, field: &str) -> String {
        match self {
            Self::Embedded(_) => {
                format!("CAST(json_extract(CAST({column} AS TEXT), '$.{field}') AS TEXT)")
            }
        }
    }

    pub fn commit(self) -> Result<(), CopyError> {
        match self {
            Self::Embedded(work) => Ok(work.commit()?),
        }
    }
}

impl Row<'_> {
    pub fn get<'a, T: FromValue<'a>>(&'a self, place: usize) -> Result<T, CopyError> {
        let value = match self {
            Self::Embedded(row) => embedded::value(row, place)?,
        };
        let kind = || CopyError::Corrupt(format!("column {place} of a row is of another kind"));
        T::from_value(value).ok_or_else(kind)
    }
}
