//! `amtsbote store copy`: from the embedded store into a database, while no server works on either.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::screen::{self, Align, Table};
use super::{Reading, runtime};
use crate::clock::SystemClock;
use crate::config::{Config, Engine};
use crate::domain::hex;
use crate::store::embedded;
use crate::store::postgres::{self, Copied, CopiedTable, CopyError, OpenError};

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    Sqlite(PathBuf),
    Postgres(PathBuf),
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres", path)) if !path.is_empty() => Ok(Self::Postgres(path.into())),
            _ => Err("write sqlite:FOLDER or postgres:CONFIGURATION".to_owned()),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Copy {
    /// The store to be copied: sqlite:FOLDER. No server may have it open
    #[arg(long, value_name = "SIDE")]
    from: Side,
    /// Where to: postgres:CONFIGURATION, whose [store] names an empty database and the node that goes on with the log
    #[arg(long, value_name = "SIDE")]
    to: Side,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Told<'a> {
    resumed: bool,
    messages: u64,
    payload_bytes: u64,
    large_payloads: u64,
    evidence_records: u64,
    evidence_root: String,
    tables: &'a [CopiedTable],
}

impl Copy {
    pub fn run(&self) -> Result<Exit, Stop> {
        let (Side::Sqlite(folder), Side::Postgres(configuration)) = (&self.from, &self.to) else {
            return Err(Stop::usage("a store is copied from sqlite:FOLDER to postgres:CONFIGURATION only"));
        };
        let config = Config::load(configuration)?;
        if config.store.engine != Engine::Postgres {
            return Err(Stop::usage(format!(
                "{}: [store] engine is not \"postgres\"; write a configuration of the server as it will be",
                configuration.display()
            )));
        }
        let settings = config.store.database_settings(Arc::new(SystemClock)).map_err(Stop::usage)?;
        let keys = super::store::log_keys(&config)?;
        let told = |what: &str| {
            if stderr().is_terminal() {
                screen::sentence(&format!("{what} …"));
            }
        };
        let to = std::path::absolute(configuration).unwrap_or_else(|_| configuration.clone());
        let to = to.display().to_string();
        let copied = postgres::copy_from(folder, settings, &keys, &to, told);
        let copied = runtime()?.block_on(copied).map_err(stop)?;
        self.tell(&copied)?;
        screen::sentence(&format!(
            "The store is copied, and both sides are alike. Start the server with {}; keep {} as it is: no server starts on \
             it any more.",
            configuration.display(),
            folder.display()
        ));
        Ok(Exit::Done)
    }

    fn tell(&self, copied: &Copied) -> Result<(), Stop> {
        if self.reading.json {
            return screen::json(&Told {
                resumed: copied.resumed,
                messages: copied.messages,
                payload_bytes: copied.payload_bytes,
                large_payloads: copied.large_payloads,
                evidence_records: copied.evidence_records,
                evidence_root: hex::lower(&copied.root),
                tables: &copied.tables,
            });
        }
        let mut table =
            Table::new(&[("table", Align::Left), ("rows", Align::Right), ("SHA-256 of both", Align::Left)]);
        for one in &copied.tables {
            table.row([one.name.to_owned(), one.rows.to_string(), one.digest.to_string()]);
        }
        screen::data(&table.render())?;
        screen::data(&screen::fields(&[
            ("messages", copied.messages.to_string()),
            ("payloads", screen::bytes(copied.payload_bytes)),
            ("large payloads", copied.large_payloads.to_string()),
            ("evidence records", copied.evidence_records.to_string()),
            ("root of the log", hex::lower(&copied.root)),
        ]))
    }
}

fn stop(error: CopyError) -> Stop {
    let sentence = error.to_string();
    match error {
        CopyError::Source(embedded::OpenError::Corrupt(_) | embedded::OpenError::Unverified(_))
        | CopyError::Differs(_) => Stop::new(Exit::Problems, sentence),
        CopyError::Source(embedded::OpenError::Absent(_) | embedded::OpenError::Foreign)
        | CopyError::Refused(_)
        | CopyError::Target(OpenError::Settings(_)) => Stop::usage(sentence),
        _ => Stop::failed(sentence),
    }
}
