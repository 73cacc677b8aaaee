//! The routing table as a file: CSV or TOML out of the directory, and back into its destinations.
//!
//! ```text
//! ars,leika,destination,valid_from,valid_until
//! 100410100100,99050012104000,5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01,2026-01-01,
//! ```
//! A file is the whole table: what it does not name is removed. It names destinations that exist; everything else about
//! them stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::csv::{self, CsvError};
use super::routing::{Routing, Rule};
use crate::domain::account::Account;
use crate::domain::destination::{DestinationId, DestinationStatus, Region, Serves, ServiceKey};

const HEADING: [&str; 5] = ["ars", "leika", "destination", "valid_from", "valid_until"];
/// Rules of one file.
pub const RULES_MAX: usize = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RulesError {
    #[error(transparent)]
    Csv(#[from] CsvError),
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    #[error("the first line is not {}", HEADING.join(","))]
    Heading,
    #[error("{0}")]
    Toml(String),
    #[error("more than {RULES_MAX} rules")]
    TooMany,
    #[error("no participant has the destination {0}")]
    UnknownDestination(DestinationId),
    #[error(
        "the destination {0} has rules and would have none, and then it takes every service; deactivate it before, or leave \
         it a rule whose valid_until is over"
    )]
    LastRule(DestinationId),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "rule")]
    rules: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ars: Region,
    leika: ServiceKey,
    destination: DestinationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_from: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<Date>,
}

pub fn from_csv(text: &str) -> Result<Vec<Rule>, RulesError> {
    let rows = csv::read(text, HEADING.len())?;
    let mut rows = rows.iter();
    if rows.next().is_none_or(|first| first.fields != HEADING) {
        return Err(RulesError::Heading);
    }
    if rows.len() > RULES_MAX {
        return Err(RulesError::TooMany);
    }
    rows.map(|row| {
        let wrong = |what: String| RulesError::Line { line: row.line, what };
        let [ars, leika, destination, from, until] = row.fields.as_slice() else {
            return Err(wrong(format!("it has {} fields, {} are needed", row.fields.len(), HEADING.len())));
        };
        let day = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<Date>().map(Some).map_err(|_| {
                wrong(format!("{:?} is no day (YYYY-MM-DD)", text.chars().take(40).collect::<String>()))
            }),
        };
        Ok(Rule {
            region: Region::parse(ars).map_err(|error| wrong(error.to_string()))?,
            service: ServiceKey::from_urn(leika).map_err(|error| wrong(error.to_string()))?,
            destination: DestinationId::parse(destination).map_err(|error| wrong(error.to_string()))?,
            valid_from: day(from)?,
            valid_until: day(until)?,
        })
    })
    .collect()
}

pub fn from_toml(text: &str) -> Result<Vec<Rule>, RulesError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        RulesError::Toml(format!("line {line}: {}", error.message()))
    })?;
    if file.rules.len() > RULES_MAX {
        return Err(RulesError::TooMany);
    }
    let rule = |line: Line| Rule {
        region: line.ars,
        service: line.leika,
        destination: line.destination,
        valid_from: line.valid_from,
        valid_until: line.valid_until,
    };
    Ok(file.rules.into_iter().map(rule).collect())
}

fn sorted(routing: &Routing) -> BTreeSet<&Rule> {
    routing.rules().iter().collect()
}

pub fn to_csv(routing: &Routing) -> String {
    let day = |day: Option<Date>| day.map(|day| day.to_string()).unwrap_or_default();
    let mut out = format!("{}\n", HEADING.join(","));
    for rule in sorted(routing) {
        let (from, until) = (day(rule.valid_from), day(rule.valid_until));
        let line = [&rule.region.ars(), rule.service.as_str(), rule.destination.as_str(), &from, &until];
        out.push_str(&line.map(csv::field).join(","));
        out.push('\n');
    }
    out
}

pub fn to_toml(routing: &Routing) -> Result<String, RulesError> {
    let line = |rule: &Rule| Line {
        ars: rule.region.clone(),
        leika: rule.service.clone(),
        destination: rule.destination.clone(),
        valid_from: rule.valid_from,
        valid_until: rule.valid_until,
    };
    let file = File { rules: sorted(routing).into_iter().map(line).collect() };
    toml::to_string(&file).map_err(|error| RulesError::Toml(error.to_string()))
}

/// Puts the table into the destinations of these accounts. What takes single services does not come to take all of them by
/// being left out ([`Destination::takes`]).
///
/// [`Destination::takes`]: crate::domain::destination::Destination::takes
pub fn put_into(accounts: &mut [Account], rules: Vec<Rule>) -> Result<(), RulesError> {
    type Days = (Option<Date>, Option<Date>);
    let mut by_destination: BTreeMap<DestinationId, BTreeMap<Days, BTreeMap<Region, BTreeSet<ServiceKey>>>> =
        BTreeMap::new();
    for rule in rules {
        let days = by_destination.entry(rule.destination).or_default();
        let regions = days.entry((rule.valid_from, rule.valid_until)).or_default();
        regions.entry(rule.region).or_default().insert(rule.service);
    }
    let destinations = accounts.iter().flat_map(|account| &account.portal.destinations);
    let known: BTreeSet<&DestinationId> = destinations.map(|destination| &destination.id).collect();
    if let Some(unknown) = by_destination.keys().find(|id| !known.contains(id)) {
        return Err(RulesError::UnknownDestination(unknown.clone()));
    }
    for destination in accounts.iter_mut().flat_map(|account| &mut account.portal.destinations) {
        let days = by_destination.remove(&destination.id).unwrap_or_default();
        let is_closed = destination.status == DestinationStatus::Inactive;
        if days.is_empty() && !destination.serves.is_empty() && !is_closed {
            return Err(RulesError::LastRule(destination.id.clone()));
        }
        destination.serves = days
            .into_iter()
            .flat_map(|((valid_from, valid_until), regions)| {
                // Regions with the same services make one entry.
                let mut by_services: BTreeMap<BTreeSet<ServiceKey>, Vec<Region>> = BTreeMap::new();
                for (region, services) in regions {
                    by_services.entry(services).or_default().push(region);
                }
                by_services.into_iter().map(move |(services, regions)| Serves {
                    services: services.into_iter().collect(),
                    regions,
                    valid_from,
                    valid_until,
                })
            })
            .collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::{AccountName, Directory, Rights};
    use crate::domain::destination::{Destination, PortalParticipant};
    use crate::domain::party::PartyIdentifier;

    const A: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
    const B: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a02";

    fn accounts() -> Vec<Account> {
        let destination = |id: &str| Destination {
            id: DestinationId::parse(id).expect("a UUID"),
            name: String::new(),
            status: Default::default(),
            identifier: None,
            profile: None,
            schemas: Vec::new(),
            metadata_versions: Vec::new(),
            encryption_kid: "k".to_owned(),
            keys: Vec::new(),
            contact: Default::default(),
            callback: None,
            serves: Vec::new(),
        };
        vec![Account {
            name: AccountName::parse("town").expect("a name"),
            title: String::new(),
            blocked: false,
            keys: Vec::new(),
            identifiers: vec![PartyIdentifier::new("ags:1").expect("an identifier")],
            accepts: None,
            rights: Rights::default(),
            profile: None,
            osci: Default::default(),
            portal: PortalParticipant {
                clients: Vec::new(),
                destinations: vec![destination(A), destination(B)],
            },
        }]
    }

    #[test]
    fn a_table_goes_in_and_comes_out_again() {
        let text = format!(
            "ars,leika,destination,valid_from,valid_until\n\
             100000000000,99050012104000,{B},,\n\
             100410100100,99050012104000,{A},2026-01-01,2026-12-31\n\
             100410511511,99050012104000,{A},2026-01-01,2026-12-31\n\
             100410511511,99107023017000,{A},,\n"
        );
        let mut accounts = accounts();
        put_into(&mut accounts, from_csv(&text).expect("a table")).expect("known");
        assert_eq!(accounts[0].portal.destinations[0].serves.len(), 2, "one entry for both regions");
        let routing = Routing::of(&Directory::new(1, accounts.clone(), Vec::new()).expect("consistent"));
        assert_eq!(to_csv(&routing), text);
        let toml = to_toml(&routing).expect("written");
        let mut again = self::accounts();
        put_into(&mut again, from_toml(&toml).expect(&toml)).expect("known");
        assert_eq!(again, accounts);
        let b = DestinationId::parse(B).expect("a UUID");
        let only_a = || from_csv(&text).expect("a table").into_iter().filter(|rule| rule.destination != b);
        assert_eq!(put_into(&mut again.clone(), only_a().collect()), Err(RulesError::LastRule(b.clone())));
        for destination in &mut again[0].portal.destinations {
            destination.status = DestinationStatus::Inactive;
        }
        put_into(&mut again, Vec::new()).expect("nothing");
        assert!(again[0].portal.destinations.iter().all(|destination| destination.serves.is_empty()));
    }

    #[test]
    fn mistakes_name_their_line() {
        let of = |line: &str| {
            let text = format!("ars,leika,destination,valid_from,valid_until\n{line}\n");
            from_csv(&text).expect_err(line).to_string()
        };
        for (line, words) in [
            (format!("1004,99050012104000,{A},,"), "line 2: a region is an ARS"),
            (format!("10041,9905001210400,{A},,"), "line 2: a service is a LeiKa key"),
            ("10041,99050012104000,town,,".to_owned(), "line 2: a destination's id is a UUID"),
            (format!("10041,99050012104000,{A},1.1.2026,"), "line 2: \"1.1.2026\" is no day"),
            (format!("10041,99050012104000,{A},2026-02-30,"), "is no day"),
            (format!("10041,99050012104000,{A}"), "line 2: it has 3 fields"),
            (format!("10041,99050012104000,{A},,,"), "line 2: too many fields"),
            (format!("10041,\"99050012104000,{A},,"), "line 2: a quote is not closed"),
        ] {
            assert!(of(&line).contains(words), "{}", of(&line));
        }
        assert_eq!(from_csv("region;service\n"), Err(RulesError::Heading));
        assert_eq!(from_csv(""), Err(RulesError::Heading));
        let unknown = Rule {
            destination: DestinationId::parse("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8aff").expect("a UUID"),
            ..from_csv(&format!("{}\n10,99050012104000,{A},,", HEADING.join(","))).expect("one").remove(0)
        };
        assert!(matches!(put_into(&mut accounts(), vec![unknown]), Err(RulesError::UnknownDestination(_))));
        let error = from_toml("[[rule]]\nars = \"1\"\n").expect_err("a mistake").to_string();
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
