//! `amtsbote route`: which destination is competent where, why, and the table as a file.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::participant::{directory, put};
use super::screen;
use super::{Changing, Place, Reading, read_text};
use crate::admin::directory::Difference;
use crate::admin::protocol::DirectoryView;
use crate::domain::account::Directory;
use crate::domain::date_time;
use crate::domain::destination::{Ags, DestinationId, Region, ServiceKey};
use crate::portal::places::Places;
use crate::portal::routing::{self, Explanation, Finding, Outcome, Routing, Rule};
use crate::portal::rules;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Which destination a service in a place leads to, which rule won and what else was considered
    Explain {
        #[command(flatten)]
        area: Area,
        /// The service: a LeiKa key of 14 digits, or its URN
        #[arg(long, value_name = "KEY")]
        leika: String,
        /// The day that is asked about [default: today, in German time]
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<Date>,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Gaps, overlaps and rules that lead nowhere; exit code 4 where applications would go astray
    Check {
        /// The day whose gaps are shown; overlaps are of all days [default: today, in German time]
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<Date>,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make the routing table what FILE says: show the difference, ask, apply
    ///
    /// The file is the whole table; its destinations must exist. Everything else about them stays.
    Import {
        /// CSV with the heading ars,leika,destination,valid_from,valid_until, or TOML with [[rule]] tables (*.toml)
        file: PathBuf,
        /// Show the difference and stop: exit code 0 without one, 4 with one
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        changing: Changing,
        #[command(flatten)]
        link: Link,
    },
    /// The routing table on stdout, as `import` reads it
    Export {
        /// TOML instead of CSV
        #[arg(long)]
        toml: bool,
        #[command(flatten)]
        link: Link,
    },
}

/// One of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Area {
    /// Regional key (ARS): 12 digits, or the first 2, 3, 5 or 9
    #[arg(long, value_name = "KEY")]
    ars: Option<String>,
    /// Municipality key (AGS): 8 digits
    #[arg(long, value_name = "KEY")]
    ags: Option<String>,
    /// Name of a municipality that is known here
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Area {
    fn place(&self) -> Result<routing::Place, Stop> {
        let wrong = |error: crate::domain::destination::DestinationError| Stop::usage(error.to_string());
        match (&self.ars, &self.ags, &self.name) {
            (Some(ars), _, _) => Region::parse(ars).map(routing::Place::Region).map_err(wrong),
            (_, Some(ags), _) => Ags::parse(ags).map(routing::Place::Ags).map_err(wrong),
            (_, _, name) => {
                let name = name.clone().unwrap_or_default();
                match Places::known().search(&name).as_slice() {
                    [one] => Ok(routing::Place::Region(one.region.clone())),
                    [] => {
                        Err(Stop::new(Exit::Unknown, format!("no municipality known here is called {name}"))
                            .then("Give its key: --ars or --ags"))
                    }
                    several => {
                        let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
                        Err(Stop::usage(format!("several are called like that: {}", names.join(", "))))
                    }
                }
            }
        }
    }
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::Explain { area, leika, day, link, reading } => {
                let service = ServiceKey::from_urn(leika).map_err(|error| Stop::usage(error.to_string()))?;
                let asked = area.place()?;
                let view = directory(link, place)?;
                let day = day.unwrap_or_else(today);
                let told = table(&view)?.explain(&asked, &service, day, Places::known());
                if reading.json {
                    screen::json(&told)?;
                } else {
                    screen::data(&explained(&told, &view))?;
                }
                Ok(match told.outcome {
                    Outcome::Found { .. } => Exit::Done,
                    Outcome::NoDestination => Exit::Unknown,
                    Outcome::Ambiguous { .. } => Exit::Problems,
                })
            }
            Self::Check { day, link, reading } => {
                let routing = table(&directory(link, place)?)?;
                let findings = routing::check(&routing, day.unwrap_or_else(today), Places::known());
                if reading.json {
                    screen::json(&findings)?;
                } else {
                    let lines: Vec<String> = findings.iter().map(words).collect();
                    screen::data(&lines.concat())?;
                }
                let (rules, count) = (routing.rules().len(), findings.len());
                screen::sentence(&format!("{rules} rules, {count} findings."));
                let bad = findings.iter().any(Finding::is_error);
                Ok(if bad { Exit::Problems } else { Exit::Done })
            }
            Self::Import { file, dry_run, changing, link } => import(place, link, file, *dry_run, changing),
            Self::Export { toml, link } => {
                let routing = table(&directory(link, place)?)?;
                let text = match toml {
                    true => rules::to_toml(&routing).map_err(|error| Stop::failed(error.to_string()))?,
                    false => rules::to_csv(&routing),
                };
                screen::data(&text)?;
                Ok(Exit::Done)
            }
        }
    }
}

fn today() -> Date {
    date_time::german_day(Timestamp::now())
}

fn table(view: &DirectoryView) -> Result<Routing, Stop> {
    let directory = Directory::new(view.revision, view.accounts.clone(), view.profiles.clone());
    Ok(Routing::of(&directory.map_err(|_| unexpected())?))
}

fn import(place: &Place, link: &Link, file: &Path, dry_run: bool, changing: &Changing) -> Result<Exit, Stop> {
    let text = read_text(file)?;
    let is_toml = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let read = if is_toml { rules::from_toml(&text) } else { rules::from_csv(&text) };
    let wrong = |error: rules::RulesError| Stop::usage(format!("{}: {error}", file.display()));
    let read = read.map_err(wrong)?;
    let old = directory(link, place)?;
    let (mut accounts, profiles) = (old.accounts.clone(), old.profiles.clone());
    rules::put_into(&mut accounts, read).map_err(wrong)?;
    // The same table may lie in the directory in another order.
    let new =
        DirectoryView { revision: old.revision, accounts: accounts.clone(), profiles: profiles.clone() };
    if rules::to_csv(&table(&old)?) == rules::to_csv(&table(&new)?) {
        screen::sentence("The routing table is as the file says; nothing to do.");
        return Ok(Exit::Done);
    }
    let difference = Difference::between(&old, &accounts, &profiles);
    screen::sentences(&difference.to_string());
    for finding in routing::check(&table(&new)?, today(), Places::known()) {
        screen::sentences(&format!("note: {}", words(&finding)));
    }
    if dry_run {
        return Ok(Exit::Problems);
    }
    put(place, link, DirectoryView { accounts, profiles, ..old }, &difference, changing)
}

/// A region's key, with its name where it is known.
fn region(region: &Region) -> String {
    match Places::known().name(region) {
        Some(name) => format!("{} {name}", region.ars()),
        None => format!("{} ({})", region.ars(), region.level()),
    }
}

fn rule(rule: &Rule) -> String {
    let day = |word: &str, day: Option<Date>| day.map(|day| format!(" {word} {day}")).unwrap_or_default();
    format!(
        "{} {} -> {}{}{}",
        region(&rule.region),
        rule.service,
        rule.destination,
        day("from", rule.valid_from),
        day("until", rule.valid_until)
    )
}

fn explained(told: &Explanation, view: &DirectoryView) -> String {
    let owner = |id: &DestinationId| {
        let mut all = view.accounts.iter().flat_map(|account| {
            account.portal.destinations.iter().map(move |destination| (account, destination))
        });
        all.find(|(_, one)| one.id == *id)
            .map(|(account, one)| format!("{} of {}", one.name, account.name))
            .unwrap_or_default()
    };
    let mut out = match &told.outcome {
        Outcome::Found { rule } => format!("{}: {}\n", rule.destination, owner(&rule.destination)),
        Outcome::NoDestination => "no destination: no rule holds for this place or any above it\n".to_owned(),
        Outcome::Ambiguous { .. } => "ambiguous: rules of one rank name several destinations\n".to_owned(),
    };
    for one in &told.considered {
        out.push_str(&format!("  {}: {}\n", rule(&one.rule), one.verdict.words()));
    }
    let looked: Vec<String> = told.regions.iter().map(region).collect();
    out.push_str(&format!("looked at, the smallest first: {}\n", looked.join("; ")));
    out
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Overlap { one, other } => {
            format!("overlap: {}\n     and {}\n", rule(one), rule(other))
        }
        Finding::Repeated { rule: twice } => format!("twice: {}\n", rule(twice)),
        Finding::Gap { service, places } => {
            let shown: Vec<String> = places.iter().take(5).map(region).collect();
            let more = places.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("gap: {service} has no destination in {}{more}\n", shown.join("; "))
        }
        Finding::Over { rule: over } => format!("over: {}\n", rule(over)),
        Finding::Never { rule: never } => format!("ends before it begins: {}\n", rule(never)),
        Finding::Inactive { rule: dead } => format!("inactive destination: {}\n", rule(dead)),
    }
}
