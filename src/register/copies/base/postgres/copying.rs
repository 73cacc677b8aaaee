//! A database into which a register is copied: made, filled in bulk, and turned into a register by one transaction.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::{Base, Link, Settings, Work, given, schema};
use crate::register::copies::CopyError;
use crate::register::copies::base::{Kind, Owned, Value};
use crate::register::copies::looks::LogKey;

impl Base {
    /// True where the copy of this state was begun before.
    pub fn open_copy(
        settings: &Settings,
        key: &LogKey,
        state: &str,
        barred: Option<CopyError>,
    ) -> Result<(Link, bool), CopyError> {
        let mut link = Self::link(settings)?;
        let resumed = link.prepare(key, Some((state, barred)))?;
        Ok((link, resumed))
    }
}

impl Link {
    /// Numbers go on behind those that came, and the database says whose register it is.
    pub fn finish_copy(&mut self, key: &LogKey) -> Result<(), CopyError> {
        let work = self.begin()?;
        for (table, column) in schema::NUMBERED {
            let go_on = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), greatest(max({column}), 1), \
                 max({column}) IS NOT NULL) FROM {table}"
            );
            work.rows(&go_on, &[])?;
        }
        let version = i64::try_from(schema::VERSION).unwrap_or(i64::MAX);
        let mark = schema::key_mark(key);
        work.run(schema::FIRST_ROW, &[Value::Int(version), Value::Bytes(&mark)])?;
        work.run("DROP TABLE copying", &[])?;
        work.commit()
    }
}

impl Work<'_> {
    pub fn bring(&self, table: &str, columns: &[(&str, Kind)], rows: &[Vec<Owned>]) -> Result<(), CopyError> {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let kinds: Vec<Type> = columns
            .iter()
            .map(|(_, kind)| match kind {
                Kind::Int => Type::INT8,
                Kind::Text => Type::TEXT,
                Kind::Bytes => Type::BYTEA,
            })
            .collect();
        let sql = format!("COPY {table} ({}) FROM STDIN BINARY", names.join(", "));
        self.wait(async {
            let sink = self.transaction.copy_in(&sql).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &kinds));
            for row in rows {
                let values: Vec<Value<'_>> = row.iter().map(Owned::as_value).collect();
                writer.as_mut().write(&given(&values)).await?;
            }
            writer.finish().await
        })?;
        Ok(())
    }
}
