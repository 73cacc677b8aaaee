//! `amtsbote store`: health and copies while the server runs; verify, restore and upgrade while it does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen;
use super::{Changing, Place, Reading, copy, lag, runtime};
use crate::admin::protocol::{Answer, HealthView, Verb};
use crate::app::evidence_key;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Engine};
use crate::domain::hex;
use crate::evidence::checkpoint::VerifierKey;
use crate::pki::timestamp::Authorities;
use crate::store::embedded::{self, OpenError, Report};
use crate::store::{AdminAct, postgres};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Whether the running server's store accepts, and how full it is (exit code 4 if it does not)
    Health {
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// A consistent copy into a new folder while the server works
    Backup {
        /// Folder that is empty or does not exist, on the server's machine
        folder: PathBuf,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// Check a store or a copy from first to last byte; no server may have it open (exit code 4 if it is damaged)
    Verify {
        /// The store's folder [default: the configuration's]
        folder: Option<PathBuf>,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make a store from a copy, after checking the copy
    Restore {
        /// The copy
        from: PathBuf,
        /// The new store's folder: empty or not there yet
        into: PathBuf,
        #[command(flatten)]
        reading: Reading,
    },
    /// Copy an embedded store into an empty PostgreSQL database, or go on with that; compares every row and payload
    Copy(copy::Copy),
    /// Say that the objects of the configured object store are this database's own, after it was put back from a backup:
    /// every other copy of it deletes none of them from here on
    AdoptObjects {
        #[command(flatten)]
        changing: Changing,
    },
    /// How far PostgreSQL's standbys are behind: what the loss of the primary would cost (exit code 4 where more than
    /// allowed)
    Lag(lag::Lag),
    /// Bring a store of an earlier version to this one; make a copy first
    Upgrade {
        /// The store's folder [default: the configuration's]
        folder: Option<PathBuf>,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::Health { link, reading } => match link.ask(place, Verb::Health)? {
                Answer::Health(health) => tell_health(&health, *reading),
                _ => Err(unexpected()),
            },
            Self::Backup { folder, changing, link } => backup(place, link, folder, changing),
            Self::Verify { folder, reading } => {
                // The configuration's own store is held against the configuration's own keys.
                let (folder, keys) = match folder {
                    Some(folder) => (folder.clone(), Vec::new()),
                    None => configured(place)?,
                };
                let checked =
                    embedded::verify_signed(&folder, &keys, &Authorities::default()).map_err(stop)?;
                report(&checked, *reading)
            }
            Self::Restore { from, into, reading } => {
                let checked = embedded::restore(from, into).map_err(stop)?;
                screen::sentence(&format!("The store is restored into {}.", into.display()));
                report(&checked, *reading)
            }
            Self::Copy(copy) => copy.run(),
            Self::AdoptObjects { changing } => adopt_objects(place, changing),
            Self::Lag(lag) => lag.run(place),
            Self::Upgrade { folder, yes } => {
                let (from, to) = upgrade(folder.as_deref(), place, *yes)?;
                screen::sentence(&match from == to {
                    true => format!("The store has version {to} already; nothing to do."),
                    false => format!("The store was of version {from} and is of version {to}."),
                });
                Ok(Exit::Done)
            }
        }
    }
}

/// The configured store and the keys that may have signed its evidence; none where there is no key yet.
fn configured(place: &Place) -> Result<(PathBuf, Vec<VerifierKey>), Stop> {
    let config = Config::load(&place.path())?;
    if config.store.engine == Engine::Postgres {
        return Err(Stop::usage(
            "the store is in PostgreSQL, whose pages `pg_amcheck` and `pg_checksums` check; name the folder of an embedded store",
        ));
    }
    let keys = log_keys(&config)?;
    Ok((config.store.folder, keys))
}

/// The public keys that may have signed the evidence of this configuration's server.
pub(super) fn log_keys(config: &Config) -> Result<Vec<VerifierKey>, Stop> {
    let own = match config.evidence.key.exists() {
        false => None,
        true => {
            let key = evidence_key::read(&config.evidence.key, &config.evidence.origin)
                .map_err(|error| Stop::usage(format!("{}: {error}", config.evidence.key.display())))?;
            Some(key.verifier().clone())
        }
    };
    Ok(own.into_iter().chain(config.evidence.former_keys.iter().cloned()).collect())
}

/// Returns the versions before and after.
fn upgrade(folder: Option<&Path>, place: &Place, yes: bool) -> Result<(u32, u32), Stop> {
    let ask = |what: &str| screen::confirm(&format!("Upgrade {what}? A copy of it exists?"), yes);
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => {
            let store = Config::load(&place.path())?.store;
            if store.engine == Engine::Postgres {
                ask("the store in PostgreSQL")?;
                let settings = store.database_settings(Arc::new(SystemClock)).map_err(Stop::usage)?;
                let upgraded = runtime()?.block_on(postgres::upgrade(settings));
                return upgraded.map_err(|error| Stop::failed(error.to_string()));
            }
            store.folder
        }
    };
    ask(&folder.display().to_string())?;
    embedded::upgrade(&folder).map_err(stop)
}

fn backup(place: &Place, link: &Link, folder: &Path, changing: &Changing) -> Result<Exit, Stop> {
    let absolute =
        std::path::absolute(folder).map_err(|error| Stop::usage(format!("{}: {error}", folder.display())))?;
    screen::confirm(
        &format!("Copy the store with every message into {}?", absolute.display()),
        changing.yes,
    )?;
    let verb = Verb::Backup { folder: absolute.clone(), reason: changing.reason.clone() };
    match link.ask(place, verb)? {
        Answer::Done => {
            screen::sentence(&format!(
                "The copy is in {}. Check it with: amtsbote store verify {}",
                absolute.display(),
                absolute.display()
            ));
            Ok(Exit::Done)
        }
        _ => Err(unexpected()),
    }
}

fn adopt_objects(place: &Place, changing: &Changing) -> Result<Exit, Stop> {
    let config = Config::load(&place.path())?;
    if config.store.engine == Engine::Embedded {
        return Err(Stop::usage("the store is embedded, and its payloads are files in its folder"));
    }
    let settings = config.postgres_settings(Arc::new(SystemClock)).map_err(Stop::usage)?;
    screen::confirm(
        "Adopt the objects? No other copy of this database may be the one that is at work.",
        changing.yes,
    )?;
    let act = AdminAct {
        at: SystemClock.now(),
        by: format!("uid {}", rustix::process::getuid().as_raw()),
        act: "store adopt-objects".to_owned(),
        object: config.objects.bucket.clone(),
        reason: changing.reason.clone(),
    };
    match runtime()?.block_on(postgres::adopt_objects(settings, act)) {
        Ok(number) => {
            screen::sentence(&format!("The objects are this database's own; it counts on from {number}."));
            Ok(Exit::Done)
        }
        Err(error) => Err(Stop::failed(error.to_string())),
    }
}

fn tell_health(health: &HealthView, reading: Reading) -> Result<Exit, Stop> {
    if reading.json {
        screen::json(health)?;
    } else {
        let store = &health.store;
        let accepting = match store.accepting {
            true => "yes".to_owned(),
            false => format!("no: {}", store.reason),
        };
        // A database on another host does not tell.
        let free = match store.free_bytes {
            u64::MAX => "not told".to_owned(),
            bytes => screen::bytes(bytes),
        };
        let warning = match store.warning.as_str() {
            "" => "none".to_owned(),
            warning => warning.to_owned(),
        };
        screen::data(&screen::fields(&[
            ("accepting", accepting),
            ("warning", warning),
            ("free", free),
            ("messages", store.messages.to_string()),
            ("evidence records", store.evidence_records.to_string()),
            ("store", store.engine.clone()),
            ("store version", store.schema_version.to_string()),
            ("server", health.server_version.clone()),
            ("running for", screen::age(health.started_at, SystemClock.now())),
        ]))?;
    }
    Ok(if health.store.accepting { Exit::Done } else { Exit::Problems })
}

pub(super) fn stop(error: OpenError) -> Stop {
    let sentence = error.to_string();
    match error {
        OpenError::Corrupt(_) | OpenError::Unverified(_) => Stop::new(Exit::Problems, sentence),
        OpenError::Absent(_) | OpenError::NotEmpty(_) | OpenError::Foreign => Stop::usage(sentence),
        _ => Stop::failed(sentence),
    }
}

#[derive(serde::Serialize)]
struct Checked<'a> {
    sound: bool,
    messages: u64,
    payload_bytes: u64,
    evidence_records: u64,
    checkpoints: u64,
    time_stamps: u64,
    evidence_root: String,
    first_wrong_record: Option<u64>,
    problem_count: u64,
    problems: &'a [String],
}

pub(super) fn report(report: &Report, reading: Reading) -> Result<Exit, Stop> {
    let checked = Checked {
        sound: report.is_sound(),
        messages: report.messages,
        payload_bytes: report.payload_bytes,
        evidence_records: report.evidence_records,
        checkpoints: report.checkpoints,
        time_stamps: report.time_stamps,
        evidence_root: hex::lower(&report.root),
        first_wrong_record: report.first_wrong_record,
        problem_count: report.problem_count,
        problems: &report.problems,
    };
    if reading.json {
        screen::json(&checked)?;
    } else {
        screen::data(&screen::fields(&[
            ("messages", checked.messages.to_string()),
            ("payloads", screen::bytes(checked.payload_bytes)),
            ("evidence records", checked.evidence_records.to_string()),
            ("checkpoints", checked.checkpoints.to_string()),
            ("time stamps", checked.time_stamps.to_string()),
            ("root of the log", checked.evidence_root.clone()),
            ("verdict", if checked.sound { "sound" } else { "damaged" }.to_owned()),
        ]))?;
        report.problems.iter().for_each(|problem| screen::sentence(problem));
        let unlisted = report.problem_count.saturating_sub(report.problems.len() as u64);
        if unlisted > 0 {
            screen::sentence(&format!("And {unlisted} more."));
        }
    }
    Ok(if checked.sound { Exit::Done } else { Exit::Problems })
}
