//! `amtsbote register`: the shadow copy of the population registers, worked on in its own folder.
//!
//! `serve` is the register's process, a client of the post office with a configuration of its own. The other verbs act
//! on the folder directly: records and questions are JSON, one record a line. Data of persons go to stdout and nowhere
//! else.

mod accounts;
mod cases;
mod eyes;
mod filling;
mod keeping;
mod log;
mod moving;
mod payments;
mod process;
mod questions;
mod synth;

use std::path::{Path, PathBuf};

use super::Reading;
use super::copy::Side;
use super::exit::{Exit, Stop};
use super::screen;
use crate::app::register::{RegisterError, open_copies};
use crate::config::register::RegisterConfig;
use crate::register::copies::{Copies, CopyError, Month, Settings};
use crate::register::person::Ags;
use crate::register::question::Reason;

/// Where the register's configuration is looked for, and its folder without one.
const SETTINGS_FILE: &str = "register.toml";
const FOLDER: &str = "register";

/// Where the copies are, and by which settings they are worked on.
#[derive(Debug, Clone, clap::Args)]
pub struct Folder {
    /// The register's own folder: database and the log's key [default: as the settings say, else register]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The register's configuration: time zone, prices, periods [default: register.toml, where it is about that folder]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write an example configuration of the register's process
    Init {
        #[arg(default_value = "register.toml")]
        file: PathBuf,
    },
    /// Run the register: fetch feed and questions from its mailboxes, post receipts and answers
    ///
    /// SIGHUP makes it read certificates, keys, authorities and revocation lists anew, but for the files of [store], which
    /// are read at the start. With register.operator_address it
    /// answers /livez, /readyz and /metrics; operation/amtsbote-register.service runs it under systemd.
    Serve {
        /// The register's own configuration
        #[arg(long, value_name = "FILE", default_value = "register.toml")]
        settings: PathBuf,
    },
    /// Write a user's password as the configuration of the page wants it; it is read from the standard input
    Password,
    /// Make invented persons in their households, one JSON record a line; with --into also a stream of changes full of
    /// faults, and what must come of it
    Synth {
        /// The municipality's key (AGS), eight digits
        #[arg(long, value_parser = ags, default_value = "10041100")]
        ags: Ags,
        #[arg(long, value_name = "COUNT")]
        persons: u64,
        /// The same seed makes the same persons, changes and faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write records.jsonl, stream.jsonl, expected.jsonl and outcome.json into this folder
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// Changes of the stream
        #[arg(long, value_name = "COUNT", default_value_t = 200, requires = "into")]
        changes: u64,
    },
    /// Load a municipality into a new generation, and switch to it when all of it has come
    Load {
        /// Records as JSON, one a line
        file: PathBuf,
        /// The municipality's key (AGS), eight digits
        #[arg(long, value_parser = ags)]
        ags: Ags,
        /// Above that of the living copy
        #[arg(long)]
        generation: u64,
        /// Number of the last change that the records contain
        #[arg(long, default_value_t = 0)]
        sequence: u64,
        /// How many records the municipality announced [default: as many as the file has]
        #[arg(long, value_name = "COUNT")]
        announced: Option<u64>,
        /// Take it also where it leaves less than half of the persons that the copy has
        #[arg(long)]
        shrink: bool,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Take changes of the stream; says what is missing (exit code 4 if something is)
    Feed {
        /// Changes as JSON, one a line
        file: PathBuf,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// The copies: how far each has come, whether it is stale or lacks changes, or a lock or a change that could not be read (exit code 4 if so), when it was compared, whether its yearly report is due; the last night's work
    Status {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Put one question; the answer is JSON, and the look is logged
    Search {
        /// The question as JSON: requester, profile, selection
        file: PathBuf,
        #[command(flatten)]
        folder: Folder,
    },
    /// Compare a copy with the original's records (exit code 4 if they differ, or one of these cannot be read)
    Reconcile {
        /// The original's records as JSON, one a line
        file: PathBuf,
        /// The municipality's key (AGS), eight digits
        #[arg(long, value_parser = ags)]
        ags: Ags,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Who may ask what, and why; without names, the whole table
    Explain {
        /// Kind of asker, such as public-body, police, citizen
        asker: Option<String>,
        /// person-search, free-search or private-enquiry
        #[arg(requires = "asker")]
        profile: Option<String>,
        /// task, private, commercial, advertising or address-trade
        #[arg(long, default_value = "task")]
        purpose: String,
        /// municipality or state
        #[arg(long, default_value = "municipality")]
        area: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Report to a person (Article 15 GDPR): their record, and who got their data. Two operators read together, which is
    /// logged: one asks, another one releases
    Report {
        /// The person's identity was checked before
        #[arg(long, required = true)]
        identity_checked: bool,
        /// The municipality's key (AGS), eight digits
        #[arg(value_parser = ags)]
        ags: Ags,
        /// The person's order mark in that municipality
        mark: String,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// What is owed because of questions (hand-overs, notices), and move notices that wait for their answer
    Cases {
        /// Move notices that were answered, too
        #[arg(long)]
        all: bool,
        /// This one is done
        #[arg(long, value_name = "NUMBER", requires = "reason")]
        done: Option<u64>,
        /// What was done about it, for the log
        #[arg(long, value_name = "TEXT", requires = "done")]
        reason: Option<String>,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// One case: open it, answer it
    #[command(subcommand)]
    Case(cases::Case),
    /// Let another operator read what takes two: without a number, what waits for it
    Release {
        number: Option<u64>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Shrink and delete records whose periods are over (sections 13, 14 BMG)
    Retire {
        /// The municipality's key (AGS), eight digits
        #[arg(value_parser = ags)]
        ags: Ags,
        /// As of this day [default: today]
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<jiff::civil::Date>,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// The yearly report: records that cannot be right (exit code 4 if there are any)
    Plausibility {
        /// The municipality's key (AGS), eight digits
        #[arg(value_parser = ags)]
        ags: Ags,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Questions of a month by municipality, profile and kind of asker
    Statistics {
        /// The calendar month, in the register's time zone
        #[arg(value_name = "YYYY-MM", value_parser = month)]
        month: Month,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// What a month's private enquiries cost, and whose it is
    Fees {
        /// The calendar month, in the register's time zone
        #[arg(value_name = "YYYY-MM", value_parser = month)]
        month: Month,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Payments of what was asked at a page: those under way, and those that need a person (exit code 4 if one does)
    Payments {
        /// Those that have ended, too
        #[arg(long, conflicts_with = "settled")]
        all: bool,
        /// This late or disputed payment was seen to
        #[arg(long, value_name = "CASE", requires = "reason")]
        settled: Option<String>,
        /// What was done about it, and by whom
        #[arg(long, value_name = "TEXT", requires = "settled")]
        reason: Option<String>,
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        reading: Reading,
    },
    /// Erase what the log may no longer keep, and features that ran out
    Sweep {
        /// Write the database's file anew, so that it gives free room back from then on; stop `register serve` before, and leave as much room as the file has
        #[arg(long)]
        compact: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// Copy a register from its file into a PostgreSQL database, while nobody works on either; what was interrupted goes on,
    /// and the file stays as it is
    Copy {
        /// The register to be copied: sqlite:FOLDER
        #[arg(long, value_name = "SIDE")]
        from: Side,
        /// Where to: postgres:CONFIGURATION, whose [store] names an empty database
        #[arg(long, value_name = "SIDE")]
        to: Side,
        #[command(flatten)]
        reading: Reading,
    },
    /// Walk the log of looks, against its heads (exit code 4 if it was changed, cut, or emptied before its time); or hold what
    /// it has of pre-filled forms, for an audit
    Log {
        /// Heads that were kept elsewhere, too
        #[arg(long, value_name = "FILE")]
        heads: Vec<PathBuf>,
        /// Print the log's present head, to be kept elsewhere
        #[arg(long, conflicts_with = "heads")]
        head: bool,
        /// Delete no entry of pre-filled forms until this is lifted: they are audited; why, for the log
        #[arg(long, value_name = "REASON", conflicts_with_all = ["heads", "head", "lift"])]
        hold: Option<String>,
        /// The audit is over: delete what is older than twelve months; takes two operators
        #[arg(long, value_name = "REASON", conflicts_with_all = ["heads", "head"])]
        lift: Option<String>,
        #[command(flatten)]
        folder: Folder,
    },
}

fn ags(text: &str) -> Result<Ags, String> {
    Ags::parse(text).map_err(|error| error.to_string())
}

fn month(text: &str) -> Result<Month, String> {
    Month::parse(text).ok_or_else(|| "a month is written YYYY-MM".to_owned())
}

impl Command {
    pub fn run(&self) -> Result<Exit, Stop> {
        match self {
            Self::Init { file } => process::write_example(file),
            Self::Serve { settings } => process::serve(settings),
            Self::Password => process::password(),
            Self::Synth { ags, persons, seed, into: None, .. } => synth::records(*ags, *persons, *seed),
            Self::Synth { ags, persons, seed, into: Some(folder), changes } => {
                synth::plan(folder, *ags, *persons, *seed, *changes)
            }
            Self::Load { file, ags, generation, sequence, announced, shrink, folder, reading } => {
                let stand = (*ags, *generation, *sequence);
                filling::load(&folder.open(true)?, file, stand, *announced, *shrink, *reading)
            }
            Self::Status { folder, reading } => filling::status(&folder.open(false)?, *reading),
            Self::Search { file, folder } => questions::search(&folder.open(false)?, file),
            Self::Reconcile { file, ags, folder, reading } => {
                filling::reconcile(&folder.open(false)?, file, *ags, *reading)
            }
            Self::Explain { asker, profile, purpose, area, reading } => {
                questions::explained(asker.as_deref(), profile.as_deref(), purpose, area, *reading)
            }
            Self::Report { identity_checked: _, ags, mark, folder, reading } => {
                log::report(&folder.open(false)?, &folder.path()?, *ags, mark, *reading)
            }
            Self::Feed { file, folder, reading } => filling::feed(&folder.open(false)?, file, *reading),
            Self::Cases { all, done, reason, folder, reading } => {
                let copies = folder.open(false)?;
                match (done, reason) {
                    (Some(number), Some(reason)) => cases::close(&copies, *number, reason),
                    _ => cases::list(&copies, *all, *reading),
                }
            }
            Self::Case(case) => case.run(),
            Self::Release { number, folder } => eyes::release(&folder.path()?, *number),
            Self::Retire { ags, day, yes, folder, reading } => {
                keeping::retire(&folder.open(false)?, *ags, *day, *yes, *reading)
            }
            Self::Plausibility { ags, folder, reading } => {
                keeping::plausibility(&folder.open(false)?, *ags, *reading)
            }
            Self::Statistics { month, folder, reading } => {
                accounts::statistics(&folder.open(false)?, *month, *reading)
            }
            Self::Fees { month, folder, reading } => accounts::fees(&folder.open(false)?, *month, *reading),
            Self::Payments { all, settled, reason, folder, reading } => {
                let copies = folder.open(false)?;
                match (settled, reason) {
                    (Some(case), Some(reason)) => payments::settle(&copies, case, reason),
                    _ => payments::list(&copies, *all, *reading),
                }
            }
            Self::Sweep { compact, folder } => keeping::sweep(&folder.open(false)?, *compact),
            Self::Copy { from, to, reading } => moving::copy(from, to, *reading),
            Self::Log { heads, head, hold, lift, folder } => {
                let copies = folder.open(false)?;
                match (hold, lift) {
                    (Some(reason), _) => log::hold(&copies, reason),
                    (_, Some(reason)) => log::lift(&copies, &folder.path()?, reason),
                    _ if *head => log::print_head(&copies),
                    _ => log::verify(&copies, heads),
                }
            }
        }
    }
}

impl Folder {
    /// The configuration, where one is named, or lies here and is about this folder.
    fn config(&self) -> Result<Option<RegisterConfig>, Stop> {
        let here = Path::new(SETTINGS_FILE);
        let Some(path) = self.settings.as_deref().or(Some(here).filter(|here| here.exists())) else {
            return Ok(None);
        };
        let config = RegisterConfig::load(path).map_err(|error| Stop::usage(error.to_string()))?;
        let about = self.folder.as_ref().is_none_or(|own| is_same(own, &config.register.folder));
        Ok(Some(config).filter(|_| about || self.settings.is_some()))
    }

    fn path(&self) -> Result<PathBuf, Stop> {
        if let Some(own) = &self.folder {
            return Ok(own.clone());
        }
        Ok(self.config()?.map_or_else(|| PathBuf::from(FOLDER), |config| config.register.folder))
    }

    fn open(&self, may_create: bool) -> Result<Copies, Stop> {
        let folder = self.path()?;
        let settings = match self.config()? {
            Some(config) => {
                let settings = config.copies().map_err(|error| Stop::usage(error.to_string()))?;
                Settings { folder: folder.clone(), ..settings }
            }
            None => Settings::new(&folder),
        };
        match open_copies(settings, may_create) {
            Ok(Some(copies)) => Ok(copies),
            Ok(None) => Err(Stop::usage(format!("there is no register in {}", folder.display()))
                .then("`amtsbote register load` makes one; --folder names another")),
            Err(RegisterError::Copies(error)) => Err(stop(error)),
            Err(error) => Err(Stop::usage(error.to_string())),
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Data in the folder need no words.
fn say_where(copies: &Copies) {
    if let Some(database) = copies.database() {
        screen::sentence(&format!("Its data lie in the PostgreSQL database {database}."));
    }
}

fn stop(error: CopyError) -> Stop {
    match error {
        CopyError::Question(reason) => refused(reason),
        CopyError::Newer { .. } | CopyError::Foreign | CopyError::Settings(_) => {
            Stop::usage(error.to_string())
        }
        CopyError::Differs(_) => Stop::new(Exit::Problems, error.to_string()),
        other => Stop::failed(other.to_string()),
    }
}

fn refused(reason: Reason) -> Stop {
    let number = reason.number().map(|number| format!(", reason {number}")).unwrap_or_default();
    Stop::failed(format!("the question is refused: {reason} ({}{number})", reason.word()))
}

/// What was done stands; what could not be noted behind it is said.
fn after(copies: &Copies) {
    if let Err(error) = copies.after_work() {
        screen::sentence(&format!(
            "It is done, but the log's head could not be noted: {error}. `amtsbote register log` looks at the log."
        ));
    }
}
