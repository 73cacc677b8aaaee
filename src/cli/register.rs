//! `amtsbote register`: the shadow copy of the population registers, worked on in its own folder.
//!
//! `serve` is the register's process, a client of the post office with a configuration of its own. The other verbs act
//! on the folder directly: records and questions are JSON, one record a line. Data of persons go to stdout and nowhere
//! else.

mod cases;
mod eyes;
mod payments;
mod synth;

use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::screen::{self, Align, Table};
use super::{Reading, read_text, runtime_for_server};
use crate::app::register::{self as process, RegisterError, RegisterPage, RegisterService};
use crate::clock::{Clock, SystemClock};
use crate::config::register::{EXAMPLE, RegisterConfig};
use crate::enquiry::users::Secret;
use crate::register::copies::{
    Asked, Copies, CopyError, CopyState, LoadReceipt, LogChecked, Month, Night, OwnRecord, Reconciled,
    Settings, Subject, Taken,
};
use crate::register::person::{Ags, Person, RECORD_BYTES_MAX};
use crate::register::question::{Profile, Reason};
use crate::register::reconcile::{Difference, buckets, differing, hash};
use crate::register::rights::{Asker, Explanation, Purpose, Reach, explain};
use crate::register::stream::Change;

/// Records of one transaction of a load; a lock that arrives meanwhile waits for one of these.
const CHUNK: usize = 500;
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
    /// The copies: how far each has come, whether it is stale (exit code 4 if one is), when it was compared; the last night's work
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
    /// Compare a copy with the original's records (exit code 4 if they differ)
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
    /// Walk the log of looks, against its heads (exit code 4 if it was changed, cut, or emptied before its time)
    Log {
        /// Heads that were kept elsewhere, too
        #[arg(long, value_name = "FILE")]
        heads: Vec<PathBuf>,
        /// Print the log's present head, to be kept elsewhere
        #[arg(long, conflicts_with = "heads")]
        head: bool,
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
            Self::Init { file } => write_example(file),
            Self::Serve { settings } => serve(settings),
            Self::Password => password(),
            Self::Synth { ags, persons, seed, into: None, .. } => synth::records(*ags, *persons, *seed),
            Self::Synth { ags, persons, seed, into: Some(folder), changes } => {
                synth::plan(folder, *ags, *persons, *seed, *changes)
            }
            Self::Load { file, ags, generation, sequence, announced, folder, reading } => {
                load(&folder.open(true)?, file, (*ags, *generation, *sequence), *announced, *reading)
            }
            Self::Status { folder, reading } => status(&folder.open(false)?, *reading),
            Self::Search { file, folder } => search(&folder.open(false)?, file),
            Self::Reconcile { file, ags, folder, reading } => {
                reconcile(&folder.open(false)?, file, *ags, *reading)
            }
            Self::Explain { asker, profile, purpose, area, reading } => {
                explained(asker.as_deref(), profile.as_deref(), purpose, area, *reading)
            }
            Self::Report { identity_checked: _, ags, mark, folder, reading } => {
                report(&folder.open(false)?, &folder.path()?, *ags, mark, *reading)
            }
            Self::Feed { file, folder, reading } => feed(&folder.open(false)?, file, *reading),
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
                retire(&folder.open(false)?, *ags, *day, *yes, *reading)
            }
            Self::Plausibility { ags, folder, reading } => plausibility(&folder.open(false)?, *ags, *reading),
            Self::Statistics { month, folder, reading } => statistics(&folder.open(false)?, *month, *reading),
            Self::Fees { month, folder, reading } => fees(&folder.open(false)?, *month, *reading),
            Self::Payments { all, settled, reason, folder, reading } => {
                let copies = folder.open(false)?;
                match (settled, reason) {
                    (Some(case), Some(reason)) => payments::settle(&copies, case, reason),
                    _ => payments::list(&copies, *all, *reading),
                }
            }
            Self::Sweep { compact, folder } => sweep(&folder.open(false)?, *compact),
            Self::Log { heads, head, folder } => {
                let copies = folder.open(false)?;
                if *head { print_head(&copies) } else { verify(&copies, heads) }
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
        match process::open_copies(settings, may_create) {
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

fn write_example(file: &Path) -> Result<Exit, Stop> {
    let failed =
        |error: std::io::Error| Stop::failed(format!("{} cannot be written: {error}", file.display()));
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    made.write_all(EXAMPLE.as_bytes()).map_err(failed)?;
    screen::sentence("Every key is explained in it. Next: amtsbote register serve --settings FILE.");
    screen::data(&format!("{}\n", file.display()))?;
    Ok(Exit::Done)
}

fn serve(settings: &Path) -> Result<Exit, Stop> {
    let config = RegisterConfig::load(settings).map_err(|error| match error {
        crate::config::ConfigError::Absent { path } => {
            Stop::usage(format!("there is no configuration of the register at {}", path.display()))
                .then("`amtsbote register init` writes one; --settings names another")
        }
        error => Stop::usage(error.to_string()),
    })?;
    crate::app::log::start(&config.log).map_err(Stop::usage)?;
    let service = RegisterService::open(&config).map_err(|error| Stop::usage(error.to_string()))?;
    let page = RegisterPage::open(&config, &service).map_err(|error| Stop::usage(error.to_string()))?;
    if let Some(page) = &config.page {
        screen::sentence(&format!("The page for private enquiries is at {}/.", page.url));
    }
    screen::sentence(&format!(
        "The register {} is at work for {}, a client of {}.",
        config.register.folder.display(),
        config.register.identifiers.join(", "),
        config.office.url
    ));
    say_where(&service.desk().copies);
    runtime_for_server()?
        .block_on(process::until_stopped(service, page))
        .map_err(|error| Stop::failed(format!("signals, or the page's address: {error}")))?;
    Ok(Exit::Done)
}

fn password() -> Result<Exit, Stop> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(4096).read_line(&mut line);
    read.map_err(|error| Stop::usage(format!("the standard input cannot be read: {error}")))?;
    let secret = Secret::of(line.trim_end_matches(['\r', '\n']));
    let secret = secret.map_err(|what| Stop::usage(format!("the password {what}")))?;
    screen::data(&format!("password = \"{secret}\"\n"))?;
    Ok(Exit::Done)
}

fn stop(error: CopyError) -> Stop {
    match error {
        CopyError::Question(reason) => refused(reason),
        CopyError::Newer { .. } | CopyError::Foreign | CopyError::Settings(_) => {
            Stop::usage(error.to_string())
        }
        other => Stop::failed(other.to_string()),
    }
}

fn refused(reason: Reason) -> Stop {
    let number = reason.number().map(|number| format!(", reason {number}")).unwrap_or_default();
    Stop::failed(format!("the question is refused: {reason} ({}{number})", reason.word()))
}

/// Lines of the file, each cut behind the longest record that could be taken.
fn records(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>, Stop>>, Stop> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Stop::usage(format!("{} cannot be read: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, error))?;
    let (mut reader, path) = (BufReader::new(file), path.to_owned());
    Ok(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match read_line(&mut reader, &mut line) {
                Err(error) => return Some(Err(unreadable(&path, error))),
                Ok(false) => return None,
                Ok(true) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => return Some(Ok(line)),
            }
        }
    }))
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let found = reader.fill_buf()?;
        if found.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = found.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(found.len());
        let room = (RECORD_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&found[..taken.min(room)]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn load(
    copies: &Copies,
    file: &Path,
    (ags, generation, sequence): (Ags, u64, u64),
    announced: Option<u64>,
    reading: Reading,
) -> Result<Exit, Stop> {
    copies.begin_load(ags, generation, sequence, SystemClock.now()).map_err(stop)?;
    let mut receipt = LoadReceipt::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut take = |chunk: &mut Vec<Vec<u8>>| {
        copies.load(ags, chunk.iter().map(Vec::as_slice), &mut receipt).map_err(stop)?;
        chunk.clear();
        Ok::<_, Stop>(())
    };
    for record in records(file)? {
        chunk.push(record?);
        if chunk.len() == CHUNK {
            take(&mut chunk)?;
        }
    }
    take(&mut chunk)?;
    let announced = announced.unwrap_or(receipt.stored + receipt.refused);
    copies.finish_load(ags, announced, &receipt).map_err(stop)?;
    while copies.clear_retired().map_err(stop)? {}
    if reading.json {
        screen::json(&receipt)?;
    } else {
        let left_out: Vec<String> =
            receipt.left_out.iter().map(|(key, count)| format!("{key} ({count})")).collect();
        screen::data(&screen::fields(&[
            ("municipality", ags.to_string()),
            ("generation", generation.to_string()),
            ("stored", receipt.stored.to_string()),
            ("refused", receipt.refused.to_string()),
            ("not kept", left_out.join(", ")),
        ]))?;
        for (number, why) in &receipt.refused_records {
            screen::sentence(&format!("Record {number} was refused: {why}."));
        }
    }
    Ok(if receipt.refused > 0 { Exit::Problems } else { Exit::Done })
}

/// What became of the changes of one file.
#[derive(Default, Serialize)]
struct FeedReceipt {
    applied: u64,
    repeated: u64,
    held: u64,
    refused: Vec<(u64, String)>,
    /// Municipality, first and last number that is missing.
    missing: Vec<(Ags, u64, u64)>,
}

fn feed(copies: &Copies, file: &Path, reading: Reading) -> Result<Exit, Stop> {
    let mut receipt = FeedReceipt::default();
    let mut fed = std::collections::BTreeSet::new();
    for (number, record) in (1..).zip(records(file)?) {
        // The parser's own words might repeat what stands in the line.
        let change: Change = match serde_json::from_slice(&record?) {
            Ok(change) => change,
            Err(error) => {
                receipt.refused.push((number, format!("no change, at column {}", error.column())));
                continue;
            }
        };
        fed.insert(change.ags);
        match copies.change_at(&change, SystemClock.now()) {
            Ok(Taken::Applied { after_it }) => {
                receipt.applied += 1 + after_it;
                receipt.held = receipt.held.saturating_sub(after_it);
            }
            Ok(Taken::Repeated) => receipt.repeated += 1,
            Ok(Taken::Held { .. }) => receipt.held += 1,
            Err(error @ (CopyError::Refused(_) | CopyError::Record(_))) => {
                receipt.refused.push((number, error.to_string()));
            }
            Err(error) => return Err(stop(error)),
        }
    }
    for ags in fed {
        receipt.missing.extend(copies.gap(ags).map_err(stop)?.map(|(first, last)| (ags, first, last)));
    }
    if reading.json {
        screen::json(&receipt)?;
    } else {
        let missing: Vec<String> =
            receipt.missing.iter().map(|(ags, first, last)| format!("{ags}: {first} to {last}")).collect();
        screen::data(&screen::fields(&[
            ("applied", receipt.applied.to_string()),
            ("repeated", receipt.repeated.to_string()),
            ("held", receipt.held.to_string()),
            ("refused", receipt.refused.len().to_string()),
            ("missing", missing.join(", ")),
        ]))?;
        for (number, why) in &receipt.refused {
            screen::sentence(&format!("Change {number} was refused: {why}."));
        }
    }
    let whole = receipt.refused.is_empty() && receipt.missing.is_empty();
    Ok(if whole { Exit::Done } else { Exit::Problems })
}

fn retire(
    copies: &Copies,
    ags: Ags,
    day: Option<jiff::civil::Date>,
    yes: bool,
    reading: Reading,
) -> Result<Exit, Stop> {
    let day = day.unwrap_or_else(|| copies.day_of(SystemClock.now()));
    screen::confirm(&format!("Shrink and delete records of {ags} whose periods are over on {day}?"), yes)?;
    let retired = copies.retire(ags, day).map_err(stop)?;
    if reading.json {
        screen::json(&retired)?;
    } else {
        screen::data(&screen::fields(&[
            ("restricted", retired.restricted.to_string()),
            ("deleted", retired.deleted.to_string()),
            ("unreadable", retired.unreadable.to_string()),
        ]))?;
    }
    Ok(Exit::Done)
}

fn plausibility(copies: &Copies, ags: Ags, reading: Reading) -> Result<Exit, Stop> {
    let report = copies.plausibility(ags).map_err(stop)?;
    let clean = report.findings.is_empty();
    if reading.json {
        screen::json(&report)?;
    } else {
        let mut table =
            Table::new(&[("FINDING", Align::Left), ("RECORDS", Align::Right), ("FIRST", Align::Left)]);
        for (finding, found) in &report.findings {
            let word = serde_json::to_value(finding).ok().and_then(|one| one.as_str().map(str::to_owned));
            let first = found.marks.first().cloned().unwrap_or_default();
            table.row([word.unwrap_or_default(), found.count.to_string(), screen::plain(&first)]);
        }
        screen::data(&table.render())?;
        screen::sentence(&format!(
            "{} of {} records have no finding.",
            report.without_findings, report.persons
        ));
    }
    Ok(if clean { Exit::Done } else { Exit::Problems })
}

fn statistics(copies: &Copies, month: Month, reading: Reading) -> Result<Exit, Stop> {
    let lines = copies.statistics(month).map_err(stop)?;
    if reading.json {
        screen::json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("AREA", Align::Left),
        ("PROFILE", Align::Left),
        ("ASKER", Align::Left),
        ("QUESTIONS", Align::Right),
        ("WITH HITS", Align::Right),
        ("HITS", Align::Right),
    ]);
    for one in lines {
        let counts = [one.questions, one.with_hits, one.hits].map(|count| count.to_string());
        let [questions, with_hits, hits] = counts;
        table.row([one.area, one.profile.to_owned(), one.asker, questions, with_hits, hits]);
    }
    screen::data(&table.render())?;
    Ok(Exit::Done)
}

fn fees(copies: &Copies, month: Month, reading: Reading) -> Result<Exit, Stop> {
    let lines = copies.accounts(month).map_err(stop)?;
    if reading.json {
        screen::json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("MUNICIPALITY", Align::Left),
        ("CHANNEL", Align::Left),
        ("QUESTIONS", Align::Right),
        ("EURO", Align::Right),
        ("MUNICIPALITY'S", Align::Right),
        ("OPERATOR'S", Align::Right),
    ]);
    for one in lines {
        let euro = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
        table.row([
            one.ags.to_string(),
            one.channel.clone(),
            one.questions.to_string(),
            euro(one.cents),
            euro(one.municipality_cents),
            euro(one.operator_cents),
        ]);
    }
    screen::data(&table.render())?;
    Ok(Exit::Done)
}

fn sweep(copies: &Copies, compact: bool) -> Result<Exit, Stop> {
    let erased = copies.erase_expired(SystemClock.now()).map_err(stop)?;
    let deleted = copies.delete_old_rows(SystemClock.now(), &|| true).map_err(stop)?;
    if compact {
        copies.compact().map_err(stop)?;
    }
    copies.after_work().map_err(stop)?;
    screen::sentence(&format!("{deleted} rows whose time is over were deleted."));
    screen::sentence(&format!("{erased} entries of the log were erased."));
    Ok(Exit::Done)
}

/// The copies as they stand, and the last night's work on them.
#[derive(Serialize)]
struct Status {
    copies: Vec<StandOfCopy>,
    night: Option<Night>,
}

#[derive(Serialize)]
struct StandOfCopy {
    #[serde(flatten)]
    state: CopyState,
    /// The last comparison with the original.
    reconciled: Option<Reconciled>,
}

fn status(copies: &Copies, reading: Reading) -> Result<Exit, Stop> {
    let now = SystemClock.now();
    let reconciled = copies.reconciled().map_err(stop)?;
    let states = copies.states(now).map_err(stop)?.into_iter();
    let states =
        states.map(|state| StandOfCopy { reconciled: reconciled.get(&state.ags).copied(), state }).collect();
    let status = Status { copies: states, night: copies.last_night().map_err(stop)? };
    let stale = status.copies.iter().any(|one| one.state.stale);
    if reading.json {
        screen::json(&status)?;
        return Ok(if stale { Exit::Problems } else { Exit::Done });
    }
    let mut table = Table::new(&[
        ("MUNICIPALITY", Align::Left),
        ("STATE", Align::Left),
        ("GENERATION", Align::Right),
        ("CHANGE", Align::Right),
        ("PERSONS", Align::Right),
        ("HELD", Align::Right),
        ("AS OF", Align::Right),
        ("COMPARED", Align::Right),
        ("", Align::Left),
    ]);
    for StandOfCopy { state, reconciled } in &status.copies {
        let differs = reconciled.as_ref().is_some_and(|one| !one.is_equal());
        let remarks = [(state.stale, "stale"), (differs, "differs from its original")];
        let remarks: Vec<&str> = remarks.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        table.row([
            state.ags.to_string(),
            state.state.to_owned(),
            state.generation.to_string(),
            state.sequence.to_string(),
            state.persons.to_string(),
            state.held.to_string(),
            screen::age(state.as_of, now),
            reconciled.map_or_else(|| "never".to_owned(), |one| screen::age(one.at, now)),
            remarks.join(", "),
        ]);
    }
    screen::data(&table.render())?;
    say_where(copies);
    screen::sentence(&match &status.night {
        None => "No night's work was done yet (register serve does it).".to_owned(),
        Some(Night { day, ended_at: None, .. }) => format!("The night's work of {day} was not ended."),
        Some(Night { day, restricted, deleted, .. }) => {
            format!("The night's work of {day} is done: {restricted} records shrunk, {deleted} deleted.")
        }
    });
    Ok(if stale { Exit::Problems } else { Exit::Done })
}

/// Data in the folder need no words.
fn say_where(copies: &Copies) {
    if let Some(database) = copies.database() {
        screen::sentence(&format!("Its data lie in the PostgreSQL database {database}."));
    }
}

/// What was done stands; what could not be noted behind it is said.
fn after(copies: &Copies) {
    if let Err(error) = copies.after_work() {
        screen::sentence(&format!(
            "It is done, but the log's head could not be noted: {error}. `amtsbote register log` looks at the log."
        ));
    }
}

fn search(copies: &Copies, file: &Path) -> Result<Exit, Stop> {
    let asked: Asked = serde_json::from_str(&read_text(file)?)
        .map_err(|error| Stop::usage(format!("{} is no question: {error}", file.display())))?;
    let outcome = copies.ask(&asked, SystemClock.now()).map_err(stop)?;
    screen::json(&outcome.answer)?;
    after(copies);
    Ok(Exit::Done)
}

fn reconcile(copies: &Copies, file: &Path, ags: Ags, reading: Reading) -> Result<Exit, Stop> {
    let ours = copies.entries(ags).map_err(stop)?;
    let mut theirs = std::collections::BTreeMap::new();
    for (number, record) in records(file)?.enumerate() {
        let (person, _) = Person::read(&record?)
            .map_err(|error| Stop::usage(format!("record {} of {}: {error}", number + 1, file.display())))?;
        theirs.insert(person.mark.clone(), hash(&person.to_bytes()));
    }
    let buckets_differing = differing(&buckets(&ours), &buckets(&theirs));
    let difference = Difference::between(&ours, &theirs);
    if reading.json {
        screen::json(&difference)?;
    } else {
        screen::data(&screen::fields(&[
            ("records here", ours.len().to_string()),
            ("records of the original", theirs.len().to_string()),
            ("buckets that differ", buckets_differing.len().to_string()),
            ("missing", difference.missing.join(" ")),
            ("surplus", difference.surplus.join(" ")),
            ("changed", difference.changed.join(" ")),
        ]))?;
    }
    Ok(if difference.is_empty() { Exit::Done } else { Exit::Problems })
}

fn explained(
    asker: Option<&str>,
    profile: Option<&str>,
    purpose: &str,
    area: &str,
    reading: Reading,
) -> Result<Exit, Stop> {
    let unknown = |what: &str, word: &str, words: Vec<&str>| {
        Stop::new(Exit::Unknown, format!("there is no {what} {word}"))
            .then(format!("Known are {}", words.join(", ")))
    };
    let words = |all: &[Asker]| all.iter().map(|one| one.as_str()).collect();
    let one_asker = asker
        .map(|word| Asker::parse(word).ok_or_else(|| unknown("kind of asker", word, words(Asker::ALL))))
        .transpose()?;
    let one_profile = profile
        .map(|word| {
            let all = Profile::ALL;
            let names = || all.iter().map(|one| one.as_str()).collect();
            all.iter()
                .copied()
                .find(|one| one.as_str() == word)
                .ok_or_else(|| unknown("profile", word, names()))
        })
        .transpose()?;
    let purposes = || Purpose::ALL.iter().map(|one| one.as_str()).collect();
    let purpose = Purpose::parse(purpose).ok_or_else(|| unknown("purpose", purpose, purposes()))?;
    let areas = || Reach::ALL.iter().map(|one| one.as_str()).collect();
    let area = Reach::parse(area).ok_or_else(|| unknown("area", area, areas()))?;
    if let (Some(asker), Some(profile)) = (one_asker, one_profile) {
        let explanation = explain(asker, purpose, profile, area);
        let allowed = explanation.allowed;
        if reading.json {
            screen::json(&explanation)?;
        } else {
            screen::data(&screen::fields(&[
                ("allowed", if allowed { "yes" } else { "no" }.to_owned()),
                ("law", explanation.law.to_owned()),
                ("data", explanation.data.join(", ")),
                ("remark", explanation.words),
            ]))?;
        }
        return Ok(if allowed { Exit::Done } else { Exit::Problems });
    }
    let rows = table_rows(one_asker);
    if reading.json {
        screen::json(&rows)?;
    } else {
        let heads = [
            ("ASKER", Align::Left),
            ("PURPOSE", Align::Left),
            ("PROFILE", Align::Left),
            ("AREA", Align::Left),
            ("LAW", Align::Left),
        ];
        let mut table = Table::new(&heads);
        rows.iter().for_each(|row| {
            table.row([row.asker, row.purpose, row.profile, row.area, row.law].map(str::to_owned));
        });
        screen::data(&table.render())?;
    }
    Ok(Exit::Done)
}

/// Every combination that is allowed, each with its widest area.
fn table_rows(asker: Option<Asker>) -> Vec<Explanation> {
    let mut rows = Vec::new();
    for one in Asker::ALL.iter().copied().filter(|one| asker.is_none_or(|asker| asker == *one)) {
        for (purpose, profile) in
            Purpose::ALL.iter().flat_map(|purpose| Profile::ALL.map(|profile| (*purpose, profile)))
        {
            let widest = [Reach::State, Reach::Municipality].map(|area| explain(one, purpose, profile, area));
            rows.extend(widest.into_iter().find(|row| row.allowed));
        }
    }
    rows
}

#[derive(Serialize)]
struct Report {
    /// None where no record is kept any more; the log outlives it.
    record: Option<OwnRecord>,
    looks: Vec<ReportLine>,
}

#[derive(Serialize)]
struct ReportLine {
    at: String,
    body: String,
    occasion: String,
    profile: &'static str,
}

fn report(copies: &Copies, folder: &Path, ags: Ags, mark: &str, reading: Reading) -> Result<Exit, Stop> {
    let readers = eyes::two(copies, folder, &Subject::Report { ags, mark })?;
    let entries = copies.looks_at(ags, mark, readers, SystemClock.now()).map_err(stop)?;
    after(copies);
    let record = copies.own_record(ags, mark).map_err(stop)?;
    let looks: Vec<ReportLine> = entries
        .into_iter()
        .map(|entry| ReportLine {
            at: screen::instant(entry.at),
            body: entry.look.body,
            occasion: entry.look.occasion,
            profile: entry.look.profile.map_or("", Profile::as_str),
        })
        .collect();
    if reading.json {
        screen::json(&Report { record, looks })?;
    } else {
        match &record {
            Some(record) => screen::json(record)?,
            None => screen::sentence("No record of this person is kept here."),
        }
        let mut table = Table::new(&[
            ("AT", Align::Left),
            ("BODY", Align::Left),
            ("PROFILE", Align::Left),
            ("OCCASION", Align::Left),
        ]);
        looks
            .into_iter()
            .for_each(|line| table.row([line.at, line.body, line.profile.to_owned(), line.occasion]));
        screen::data(&table.render())?;
    }
    Ok(Exit::Done)
}

fn print_head(copies: &Copies) -> Result<Exit, Stop> {
    let head = copies.log_head().map_err(stop)?;
    let head = head.ok_or_else(|| Stop::new(Exit::Unknown, "the log has no entry yet"))?;
    screen::data(&format!("{head}\n"))?;
    Ok(Exit::Done)
}

fn verify(copies: &Copies, elsewhere: &[PathBuf]) -> Result<Exit, Stop> {
    let own = copies.heads_file();
    let checked = std::iter::once(&own).chain(elsewhere).try_fold(Vec::new(), |mut heads, path| {
        heads.extend(copies.read_heads(path)?);
        Ok::<_, CopyError>(heads)
    });
    match checked.and_then(|heads| copies.verify_log(&heads, SystemClock.now())) {
        Ok(LogChecked { entries, heads: 0 }) if entries > 0 => {
            let what = format!(
                "{entries} entries, whole as far as the database itself tells: there is no head of them"
            );
            return Err(Stop::new(Exit::Problems, what).then(format!(
                "Find out who removed {}; where the register was upgraded just now, `register serve` writes it within a minute",
                own.display()
            )));
        }
        Ok(LogChecked { entries, heads }) => {
            screen::data(&format!("{entries} entries, whole, {heads} heads\n"))?;
        }
        Err(
            error @ (CopyError::Log(_)
            | CopyError::LogCut { .. }
            | CopyError::LogEmptied(_)
            | CopyError::Head(_)),
        ) => {
            return Err(Stop::new(Exit::Problems, error.to_string()).then(
                "Find out who changed it; if the register was restored from a backup, keep the file of heads aside",
            ));
        }
        Err(error) => return Err(stop(error)),
    }
    Ok(Exit::Done)
}
