//! Which destination is competent for a service in a place: the routing table and its look-up, pure.
//!
//! The table is drawn up from the destinations of the directory ([`crate::domain::destination::Serves`]); it is nobody
//! else's data. The rule with the most digits of the region wins (a municipality before its district before its land),
//! among those that are valid on the day. Two destinations under one winning region are a mistake of whoever keeps the
//! table, and are said to be so: nothing is sent on a guess. [`Explanation`] says what else was considered, [`check`]
//! finds gaps and overlaps.
//!
//! An AGS lacks the four digits of the association. It is completed from the places known here; for others rules of
//! municipalities are compared without these digits, and rules of associations cannot apply.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::civil::Date;
use serde::Serialize;

use super::places::Places;
use crate::domain::account::Directory;
use crate::domain::destination::{Ags, DestinationId, DestinationStatus, REGION_DIGITS, Region, ServiceKey};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    pub region: Region,
    pub service: ServiceKey,
    pub destination: DestinationId,
    /// First and last day; absent: without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Date>,
}

impl Rule {
    pub fn holds(&self, day: Date) -> bool {
        self.valid_from.is_none_or(|from| from <= day) && self.valid_until.is_none_or(|until| day <= until)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before = |end: Option<Date>, start: Option<Date>| match (end, start) {
            (Some(end), Some(start)) => end < start,
            _ => false,
        };
        !before(self.valid_until, other.valid_from) && !before(other.valid_until, self.valid_from)
    }
}

/// Where somebody lives, as he or his portal says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Region(Region),
    Ags(Ags),
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Found {
        rule: Rule,
    },
    /// No rule holds for the place or anything above it.
    NoDestination,
    /// Rules of one rank name several destinations.
    Ambiguous {
        rules: Vec<Rule>,
    },
}

/// A rule that was looked at, and why it did or did not win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    pub rule: Rule,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Wins,
    /// It holds, and another one holds for a smaller region.
    LessSpecific,
    NotYet,
    NoLonger,
    /// Another rule of the same rank names another destination.
    Contradicted,
    /// The destination takes nothing at present.
    Inactive,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::Wins => "wins",
            Self::LessSpecific => "a rule for a smaller region wins",
            Self::NotYet => "not valid yet",
            Self::NoLonger => "no longer valid",
            Self::Contradicted => "contradicted by another rule for the same region",
            Self::Inactive => "the destination is inactive",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The regions that were looked at, the smallest first.
    pub regions: Vec<Region>,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub considered: Vec<Considered>,
}

/// The table, indexed.
#[derive(Debug, Default)]
pub struct Routing {
    rules: Vec<Rule>,
    by_region: HashMap<(ServiceKey, Region), Vec<usize>>,
    /// Rules of municipalities by AGS.
    by_ags: HashMap<(ServiceKey, Ags), Vec<usize>>,
    inactive: BTreeSet<DestinationId>,
}

impl Routing {
    /// As the directory's destinations say.
    pub fn of(directory: &Directory) -> Self {
        let mut routing = Self::default();
        for (account, destination) in directory.destinations() {
            if account.blocked || destination.status == DestinationStatus::Inactive {
                routing.inactive.insert(destination.id.clone());
            }
            for serves in &destination.serves {
                for region in &serves.regions {
                    for service in &serves.services {
                        routing.add(Rule {
                            region: region.clone(),
                            service: service.clone(),
                            destination: destination.id.clone(),
                            valid_from: serves.valid_from,
                            valid_until: serves.valid_until,
                        });
                    }
                }
            }
        }
        routing
    }

    pub fn from_rules(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut routing = Self::default();
        rules.into_iter().for_each(|rule| routing.add(rule));
        routing
    }

    fn add(&mut self, rule: Rule) {
        let at = self.rules.len();
        if let Some(ags) = Ags::of(&rule.region) {
            self.by_ags.entry((rule.service.clone(), ags)).or_default().push(at);
        }
        self.by_region.entry((rule.service.clone(), rule.region.clone())).or_default().push(at);
        self.rules.push(rule);
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every service that some rule is about.
    pub fn services(&self) -> BTreeSet<&ServiceKey> {
        self.rules.iter().map(|rule| &rule.service).collect()
    }

    /// The rules of each rank, the smallest region first.
    fn ranks(&self, place: &Place, service: &ServiceKey, places: &Places) -> Vec<(Region, &[usize])> {
        let (digits, ags) = match place {
            Place::Region(region) => (region.as_str().to_owned(), None),
            Place::Ags(ags) => match places.by_ags(ags) {
                Some(known) => (known.as_str().to_owned(), None),
                None => (ags.district().to_owned(), Some(ags)),
            },
        };
        let mut ranks = Vec::new();
        if let Some(ags) = ags
            && let Some(rules) = self.by_ags.get(&(service.clone(), ags.clone()))
            && let Some(first) = rules.first().and_then(|at| self.rules.get(*at))
        {
            ranks.push((first.region.clone(), rules.as_slice()));
        }
        for level in REGION_DIGITS.into_iter().rev() {
            let Some(prefix) = digits.get(..level) else { continue };
            let Ok(region) = Region::parse(&format!("{prefix:0<12}")) else { continue };
            // Zeros at the end of a prefix stand for the level above, which comes by itself.
            if region.as_str().len() != level {
                continue;
            }
            let rules = self.by_region.get(&(service.clone(), region.clone()));
            ranks.push((region, rules.map_or(&[][..], Vec::as_slice)));
        }
        ranks
    }

    fn holds(&self, rule: &Rule, day: Date) -> bool {
        rule.holds(day) && !self.inactive.contains(&rule.destination)
    }

    pub fn find(&self, place: &Place, service: &ServiceKey, day: Date, places: &Places) -> Outcome {
        for (_, rank) in self.ranks(place, service, places) {
            let rules = rank.iter().filter_map(|at| self.rules.get(*at));
            let mut holding = rules.filter(|rule| self.holds(rule, day));
            let Some(first) = holding.next() else { continue };
            let others: Vec<Rule> =
                holding.filter(|rule| rule.destination != first.destination).cloned().collect();
            return if others.is_empty() {
                Outcome::Found { rule: first.clone() }
            } else {
                Outcome::Ambiguous { rules: [vec![first.clone()], others].concat() }
            };
        }
        Outcome::NoDestination
    }

    pub fn explain(&self, place: &Place, service: &ServiceKey, day: Date, places: &Places) -> Explanation {
        let outcome = self.find(place, service, day, places);
        let ranks = self.ranks(place, service, places);
        let mut decided = false;
        let mut considered = Vec::new();
        for (_, rank) in &ranks {
            let rules: Vec<&Rule> = rank.iter().filter_map(|at| self.rules.get(*at)).collect();
            let holds = rules.iter().any(|rule| self.holds(rule, day));
            for rule in rules {
                let verdict = if rule.valid_from.is_some_and(|from| day < from) {
                    Verdict::NotYet
                } else if !rule.holds(day) {
                    Verdict::NoLonger
                } else if self.inactive.contains(&rule.destination) {
                    Verdict::Inactive
                } else if decided {
                    Verdict::LessSpecific
                } else if matches!(outcome, Outcome::Ambiguous { .. }) {
                    Verdict::Contradicted
                } else {
                    Verdict::Wins
                };
                considered.push(Considered { rule: rule.clone(), verdict });
            }
            decided |= holds;
        }
        Explanation { regions: ranks.into_iter().map(|(region, _)| region).collect(), outcome, considered }
    }
}

/// What is wrong, or may be, with the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// Two destinations for one region and service on the same days.
    Overlap { one: Rule, other: Rule },
    /// The same destination twice.
    Repeated { rule: Rule },
    /// Municipalities without a destination for a service that others have.
    Gap { service: ServiceKey, places: Vec<Region> },
    /// It will never hold again.
    Over { rule: Rule },
    /// It begins after it ends.
    Never { rule: Rule },
    /// It leads to a destination that takes nothing.
    Inactive { rule: Rule },
}

impl Finding {
    /// Whether applications go astray by it, rather than only nowhere.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Overlap { .. } | Self::Never { .. })
    }
}

/// Everything that is to be said of the table on this day.
pub fn check(routing: &Routing, day: Date, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_region: BTreeMap<(&ServiceKey, &Region), Vec<&Rule>> = BTreeMap::new();
    for rule in routing.rules() {
        by_region.entry((&rule.service, &rule.region)).or_default().push(rule);
        if rule.valid_from.zip(rule.valid_until).is_some_and(|(from, until)| until < from) {
            findings.push(Finding::Never { rule: rule.clone() });
        } else if rule.valid_until.is_some_and(|until| until < day) {
            findings.push(Finding::Over { rule: rule.clone() });
        } else if routing.inactive.contains(&rule.destination) {
            findings.push(Finding::Inactive { rule: rule.clone() });
        }
    }
    for rules in by_region.values() {
        for (at, one) in rules.iter().enumerate() {
            for other in rules.iter().skip(at + 1).filter(|other| one.overlaps(other)) {
                findings.push(match one.destination == other.destination {
                    true => Finding::Repeated { rule: (*other).clone() },
                    false => Finding::Overlap { one: (*one).clone(), other: (*other).clone() },
                });
            }
        }
    }
    for service in routing.services() {
        let without: Vec<Region> = places
            .iter()
            .map(|place| &place.region)
            .filter(|region| {
                let place = Place::Region((*region).clone());
                routing.find(&place, service, day, places) == Outcome::NoDestination
            })
            .cloned()
            .collect();
        if !without.is_empty() {
            findings.push(Finding::Gap { service: service.clone(), places: without });
        }
    }
    findings
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
