//! `amtsbote store lag`: what the loss of the database's primary would cost, for people and for monitoring.

use std::sync::Arc;

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::screen::{self, Align, Table};
use super::{Place, Reading, runtime};
use crate::clock::SystemClock;
use crate::config::{Config, Engine};
use crate::store::postgres::{self, Loss, Replication, Standby};

#[derive(Debug, clap::Args)]
pub struct Lag {
    /// Problem (exit code 4) where any standby is behind by more bytes than this
    #[arg(long, value_name = "BYTES")]
    bytes_max: Option<u64>,
    /// Problem (exit code 4) where any standby is, or may be, behind by more seconds than this
    #[arg(long, value_name = "SECONDS")]
    seconds_max: Option<u64>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Told<'a> {
    /// What the loss of the primary would lose: nothing, up-to, since-backup.
    loss: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_seconds: Option<f64>,
    problems: &'a [String],
    #[serde(flatten)]
    replication: &'a Replication,
}

impl Lag {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let store = Config::load(&place.path())?.store;
        if store.engine == Engine::Embedded {
            return Err(Stop::usage(format!(
                "the store is embedded in {}, which no standby follows: the loss of its disk loses everything since the \
                 last `amtsbote store backup`",
                store.folder.display()
            )));
        }
        let asked = store.standby;
        let settings = store.database_settings(Arc::new(SystemClock)).map_err(Stop::usage)?;
        let replication = runtime()?.block_on(postgres::replication(settings));
        let replication = replication.map_err(|error| Stop::failed(error.to_string()))?;
        let problems = self.problems(&replication, asked);
        self.tell(&replication, &problems)?;
        Ok(if problems.is_empty() { Exit::Done } else { Exit::Problems })
    }

    fn problems(&self, replication: &Replication, asked: Standby) -> Vec<String> {
        let mut problems = Vec::new();
        if replication.hidden {
            problems.push(
                "The standbys' state cannot be seen; GRANT pg_read_all_stats to the store's user.".to_owned(),
            );
        }
        if asked != Standby::Unasked && replication.loss() != Loss::Nothing {
            problems.push(
                "No synchronous standby is connected, as [store] standby demands: start it, or see \
                 synchronous_standby_names."
                    .to_owned(),
            );
        }
        if self.bytes_max.is_none() && self.seconds_max.is_none() {
            return problems;
        }
        if replication.standbys.is_empty() {
            problems.push("There is no standby.".to_owned());
        }
        for standby in &replication.standbys {
            let name = &standby.name;
            if !standby.connected {
                problems.push(format!("Standby {name} is not connected."));
            }
            if let Some(max) = self.bytes_max
                && standby.bytes_behind.is_none_or(|bytes| bytes > max)
            {
                problems.push(format!("Standby {name} is behind by {}.", bytes(standby.bytes_behind)));
            }
            if let Some(max) = self.seconds_max
                && standby.connected
                && standby.seconds_behind.is_none_or(|seconds| seconds > max as f64)
            {
                problems.push(format!("Standby {name} is behind by {}.", seconds(standby.seconds_behind)));
            }
        }
        problems
    }

    fn tell(&self, replication: &Replication, problems: &[String]) -> Result<(), Stop> {
        let loss = replication.loss();
        if self.reading.json {
            let (word, loss_bytes, loss_seconds) = match loss {
                Loss::Nothing => ("nothing", Some(0), Some(0.0)),
                Loss::UpTo { bytes, seconds } => ("up-to", Some(bytes), seconds),
                Loss::SinceBackup => ("since-backup", None, None),
            };
            screen::json(&Told { loss: word, loss_bytes, loss_seconds, problems, replication })?;
        } else {
            let mut table = Table::new(&[
                ("standby", Align::Left),
                ("state", Align::Left),
                ("waited for", Align::Left),
                ("bytes behind", Align::Right),
                ("time behind", Align::Right),
            ]);
            for standby in &replication.standbys {
                table.row([
                    standby.name.clone(),
                    standby.state.clone(),
                    if standby.synchronous { "yes" } else { "no" }.to_owned(),
                    bytes(standby.bytes_behind),
                    seconds(standby.seconds_behind),
                ]);
            }
            screen::data(&table.render())?;
            screen::sentence(&match loss {
                Loss::Nothing => "The loss of the primary would lose nothing that was acknowledged.".to_owned(),
                Loss::UpTo { bytes: lacking, seconds: late } => format!(
                    "The loss of the primary would lose what the best standby lacks: {}, of {}.",
                    bytes(Some(lacking)),
                    seconds(late)
                ),
                Loss::SinceBackup => {
                    "The loss of the primary would lose everything since the last backup: no standby is connected."
                        .to_owned()
                }
            });
        }
        problems.iter().for_each(|problem| screen::sentence(problem));
        Ok(())
    }
}

fn bytes(count: Option<u64>) -> String {
    count.map_or_else(|| "an unknown amount".to_owned(), screen::bytes)
}

fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "an unknown time".to_owned(),
        Some(0.0) => "0 s".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("at most {seconds:.1} s"),
        Some(seconds) => format!("at most {}", screen::span(seconds.ceil() as u64)),
    }
}
