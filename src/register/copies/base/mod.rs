//! The register's database, whichever engine keeps it: sessions, transactions, statements and rows.
//!
//! Statements are written once, in the words that SQLite and PostgreSQL share: `?1` is the first value, `ON CONFLICT`,
//! `RETURNING` and `LIMIT` mean the same to both. Where the two differ, a method here says what is wanted. Blocking, as
//! all of the copies.

mod embedded;
mod journal;
mod postgres;
mod value;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
pub use embedded::DATABASE_FILE;
pub use embedded::Source;
pub use journal::Keeper;
pub use postgres::Settings as PostgresSettings;
pub(in crate::register::copies) use value::params;
pub use value::{FromValue, Owned, ToValue, Value};

use super::CopyError;
use super::looks::LogKey;
use super::turns::Turns;
use crate::net::postgres::Standby;

/// Which engine keeps the database.
#[derive(Clone, Default)]
pub enum Engine {
    /// A file in the register's folder.
    #[default]
    Embedded,
    /// A database of a PostgreSQL server.
    Postgres(PostgresSettings),
}

impl fmt::Debug for Engine {
    /// Without what opens the database.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Embedded => "Embedded",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// Says in a folder without a database file that the data are not lost but elsewhere.
const ELSEWHERE_FILE: &str = "database.postgres";
/// Says beside a database file that it was copied, and nobody works on it any more.
const MOVED_FILE: &str = "register.moved";

/// Whether the folder is a register's, whose data lie there or elsewhere.
pub fn is_a_registers(folder: &Path) -> bool {
    [embedded::DATABASE_FILE, ELSEWHERE_FILE, MOVED_FILE].iter().any(|file| folder.join(file).exists())
}

/// That what lies in this folder was copied, durable.
pub fn mark_moved(folder: &Path, to: &str) -> Result<(), CopyError> {
    let mut file = std::fs::File::create(folder.join(MOVED_FILE))?;
    std::io::Write::write_all(&mut file, format!("{to}\n").as_bytes())?;
    file.sync_all()?;
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

/// Where the data of this folder were copied to, as [`mark_moved`] was told.
pub fn moved_to(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(MOVED_FILE)).ok().map(|to| to.trim_end_matches('\n').to_owned())
}

/// Why nobody works on the file in a folder whose data were copied, and why they are copied to no other place.
pub fn was_moved(folder: &Path) -> Option<CopyError> {
    let moved = folder.join(MOVED_FILE);
    moved.exists().then(|| {
        CopyError::Settings(format!(
            "the data of the register {} were copied to {}; name that configuration with --settings ({} says so; take it \
             away where the copy was given up, and nothing has worked on it)",
            folder.display(),
            std::fs::read_to_string(&moved).unwrap_or_default().trim(),
            moved.display()
        ))
    })
}

impl Engine {
    /// Refuses to begin anew beside what another engine keeps.
    pub fn is_the_folders(&self, folder: &Path) -> Result<(), CopyError> {
        let (file, elsewhere) = (folder.join(embedded::DATABASE_FILE), folder.join(ELSEWHERE_FILE));
        let moved = was_moved(folder);
        match self {
            Self::Embedded if moved.is_some() => moved.map_or(Ok(()), Err),
            Self::Embedded if elsewhere.exists() => Err(CopyError::Settings(format!(
                "the data of the register {} lie in a PostgreSQL database; name its configuration with --settings, and \
                 say engine = \"postgres\" in its [store]",
                folder.display()
            ))),
            Self::Postgres(_) if file.exists() && moved.is_none() => Err(CopyError::Settings(format!(
                "the data of this register lie in {}; `amtsbote register copy` brings them into the database",
                file.display()
            ))),
            Self::Embedded | Self::Postgres(_) => Ok(()),
        }
    }

    /// Said in the folder once it is so.
    pub fn mark(&self, folder: &Path) -> Result<(), CopyError> {
        match self {
            Self::Embedded => Ok(()),
            Self::Postgres(_) => {
                let text = "The data lie where [store] connection says.\n";
                Ok(std::fs::write(folder.join(ELSEWHERE_FILE), text)?)
            }
        }
    }

    /// What was committed may be seen before the standby has it that must.
    pub fn waits_for_standby(&self) -> bool {
        matches!(self, Self::Postgres(settings) if settings.standby == Standby::Required)
    }

    pub fn database(&self) -> Option<String> {
        match self {
            Self::Embedded => None,
            Self::Postgres(settings) => Some(settings.database()),
        }
    }
}

/// What a column holds, where it holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Bytes,
}

/// Opens sessions.
pub enum Base {
    Embedded(embedded::Base),
    Postgres(postgres::Base),
}

/// One connection. It works for one at a time.
pub enum Session {
    Embedded(rusqlite::Connection),
    Postgres(postgres::Link),
}

/// One transaction; what is not committed is undone.
pub enum Work<'a> {
    Embedded(rusqlite::Transaction<'a>),
    Postgres(postgres::Work<'a>),
}

/// One row of an answer.
pub enum Row<'a> {
    Embedded(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Base {
    /// Opens the database, makes its tables or brings them up to date. The first session writes.
    pub fn open(engine: &Engine, folder: &Path, key: &LogKey) -> Result<(Self, Session), CopyError> {
        match engine {
            Engine::Embedded => {
                let (base, writer) = embedded::Base::open(folder, key)?;
                Ok((Self::Embedded(base), Session::Embedded(writer)))
            }
            Engine::Postgres(settings) => {
                let (base, writer) = postgres::Base::open(settings, key)?;
                Ok((Self::Postgres(base), Session::Postgres(writer)))
            }
        }
    }

    /// Opens a database into which a register is copied: empty, or with a part of this copy (then true). Nobody works on it
    /// until [`Session::finish_copy`]. `barred`: why none may begin, only one that was begun go on.
    pub fn open_copy(
        settings: &PostgresSettings,
        key: &LogKey,
        state: &str,
        barred: Option<CopyError>,
    ) -> Result<(Session, bool), CopyError> {
        let (link, resumed) = postgres::Base::open_copy(settings, key, state, barred)?;
        Ok((Session::Postgres(link), resumed))
    }

    /// The right to read, for as long as it is kept: a server has only so many connections.
    pub fn turn(&self) -> Result<Option<postgres::Turn>, CopyError> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Postgres(base) => base.turn().map(Some),
        }
    }

    /// One more session that reads.
    pub fn reader(&self) -> Result<Session, CopyError> {
        match self {
            Self::Embedded(base) => Ok(Session::Embedded(base.reader()?)),
            Self::Postgres(base) => Ok(Session::Postgres(base.reader())),
        }
    }

    /// Keeps the writer's journal short beside its work, until the keeper is dropped; a server does so by itself.
    pub fn keep_journal(&self, writer: &Arc<Turns<Session>>) -> Result<Option<Keeper>, CopyError> {
        match self {
            Self::Embedded(base) => Keeper::start(base.folder().to_owned(), writer),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Empties what keeps former contents beside the tables, without waiting for anybody: false where somebody is in the
    /// way, and it is to be tried again.
    pub fn forget(&self) -> Result<bool, CopyError> {
        match self {
            Self::Embedded(base) => base.empty_journal(),
            Self::Postgres(base) => base.vacuum(),
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
            Self::Postgres(link) => Ok(Work::Postgres(link.begin()?)),
        }
    }

    /// Begins to read one state of the database, whoever writes meanwhile.
    pub fn look(&mut self) -> Result<Work<'_>, CopyError> {
        match self {
            Self::Embedded(connection) => Ok(Work::Embedded(connection.transaction()?)),
            Self::Postgres(link) => Ok(Work::Postgres(link.look()?)),
        }
    }

    /// Gives a bounded part of unused room back to the disk, and deletes one of what only the engine knows; says whether
    /// there is more.
    pub fn shrink_step(&mut self) -> Result<bool, CopyError> {
        match self {
            Self::Embedded(connection) => embedded::shrink_step(connection),
            // The server's own autovacuum gives room back.
            Self::Postgres(link) => link.forget_tokens(),
        }
    }

    /// What was copied is a register from here on.
    pub fn finish_copy(&mut self, key: &LogKey) -> Result<(), CopyError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Postgres(link) => link.finish_copy(key),
        }
    }

    /// Writes everything anew, without unused room. Nobody else works meanwhile.
    pub fn compact(&mut self) -> Result<(), CopyError> {
        match self {
            Self::Embedded(connection) => embedded::compact(connection),
            Self::Postgres(link) => link.compact(),
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
            Self::Postgres(work) => work.run(sql, values),
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
            Self::Postgres(work) => work.run_each(sql, each),
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
            Self::Postgres(work) => {
                work.rows(sql, values)?.first().map(|row| read(&Row::Postgres(row))).transpose()
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
        if let Self::Postgres(work) = self {
            return work.rows(sql, values)?.iter().map(|row| read(&Row::Postgres(row))).collect();
        }
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
            Self::Postgres(work) => work.each(sql, values, &mut |row| take(&Row::Postgres(row))),
        }
    }

    /// Writes rows that are not there, all at once.
    pub fn bring(&self, table: &str, columns: &[(&str, Kind)], rows: &[Vec<Owned>]) -> Result<(), CopyError> {
        match self {
            Self::Embedded(_) => {
                let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
                let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
                let sql =
                    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
                let values = rows.iter().map(|row| row.iter().map(Owned::as_value).collect::<Vec<_>>());
                self.run_each(&sql, values)
            }
            Self::Postgres(work) => work.bring(table, columns, rows),
        }
    }

    /// An expression for the text of one field of a column that holds JSON in bytes.
    pub fn json_text(&self, column: &str, field: &str) -> String {
        match self {
            Self::Embedded(_) => {
                format!("CAST(json_extract(CAST({column} AS TEXT), '$.{field}') AS TEXT)")
            }
            Self::Postgres(_) => format!("(CAST(convert_from({column}, 'UTF8') AS json) ->> '{field}')"),
        }
    }

    /// Whether every statement is a journey, so that many are better put as one.
    pub fn is_far(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub fn commit(self) -> Result<(), CopyError> {
        match self {
            Self::Embedded(work) => Ok(work.commit()?),
            Self::Postgres(work) => work.commit(),
        }
    }
}

impl Row<'_> {
    pub fn get<'a, T: FromValue<'a>>(&'a self, place: usize) -> Result<T, CopyError> {
        let value = match self {
            Self::Embedded(row) => embedded::value(row, place)?,
            Self::Postgres(row) => postgres::value(row, place)?,
        };
        let kind = || CopyError::Corrupt(format!("column {place} of a row is of another kind"));
        T::from_value(value).ok_or_else(kind)
    }
}
