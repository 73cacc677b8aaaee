//! What a person can be found by. The index narrows; [`Criteria::fit`](crate::register::criteria::Criteria::fit)
//! decides. So a term may promise too much (a former name stands among the family names), never too little.

use std::collections::BTreeSet;

use crate::register::criteria::{Birth, Criteria, NameSet};
use crate::register::matching::date::PartialDate;
use crate::register::matching::name::Token;
use crate::register::matching::phonetic::PhoneticCode;
use crate::register::matching::placeholder::Pattern;
use crate::register::matching::street::street_form;
use crate::register::person::{Ags, Person};

/// Numbers as stored; never changed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i64)]
pub enum Kind {
    Whole = 1,
    Part = 2,
    Given = 3,
    WholeSound = 4,
    PartSound = 5,
    GivenSound = 6,
    /// `YYYYMMDD` of the first day that the date may mean, so that periods are ranges.
    Born = 7,
    Street = 8,
}

pub type Term = (Kind, String);

pub fn terms(person: &Person, ags: Ags) -> BTreeSet<Term> {
    let mut out = BTreeSet::new();
    for (set, letters, sound) in [
        (NameSet::FamilyWhole, Kind::Whole, Kind::WholeSound),
        (NameSet::FamilyPart, Kind::Part, Kind::PartSound),
        (NameSet::GivenPart, Kind::Given, Kind::GivenSound),
    ] {
        for form in set.forms(person) {
            out.insert((sound, PhoneticCode::of(&form).as_str().to_owned()));
            out.insert((letters, form.as_str().to_owned()));
        }
    }
    out.extend(person.birth_dates.iter().filter_map(|date| born(*date)).map(|form| (Kind::Born, form)));
    let here = person.addresses.iter().filter(|address| address.ags.is_none_or(|one| one == ags));
    out.extend(
        here.filter_map(|one| street_form(&one.street)).map(|form| (Kind::Street, form.as_str().to_owned())),
    );
    out
}

fn born(date: PartialDate) -> Option<String> {
    date.first_day().map(|day| day.strftime("%Y%m%d").to_string())
}

/// One way to the persons who may meet the criteria: a term, or the terms from `first` to before `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    Term(Term),
    Range { kind: Kind, first: String, end: String, pattern: Option<Pattern> },
}

/// Persons who meet the criteria have every one of these.
pub fn probes(criteria: &Criteria) -> Vec<Probe> {
    let mut out = Vec::new();
    for (set, tokens) in &criteria.names {
        let (letters, sound) = match set {
            NameSet::FamilyWhole | NameSet::FormerWhole | NameSet::ArtistWhole | NameSet::CivilWhole => {
                (Kind::Whole, Kind::WholeSound)
            }
            NameSet::FamilyPart | NameSet::FormerPart | NameSet::ArtistPart => (Kind::Part, Kind::PartSound),
            NameSet::GivenPart => (Kind::Given, Kind::GivenSound),
        };
        out.extend(tokens.iter().map(|token| of_token(token, letters, sound)));
    }
    match &criteria.birth {
        Some(Birth::On(date)) => out.extend(born(*date).map(|form| Probe::Term((Kind::Born, form)))),
        Some(Birth::Between(first, last)) => out.push(Probe::Range {
            kind: Kind::Born,
            first: first.strftime("%Y%m%d").to_string(),
            // `~` sorts behind every digit.
            end: format!("{}~", last.strftime("%Y%m%d")),
            pattern: None,
        }),
        None => {}
    }
    out.extend(criteria.residence.street.iter().map(|token| of_token(token, Kind::Street, Kind::Street)));
    out
}

fn of_token(token: &Token, letters: Kind, sound: Kind) -> Probe {
    match token {
        Token::Exact(form) => Probe::Term((letters, form.as_str().to_owned())),
        Token::Sounding(code) => Probe::Term((sound, code.as_str().to_owned())),
        Token::Pattern(pattern) => {
            let first = pattern.prefix().to_owned();
            // `[` sorts right behind `Z`, and forms are letters alone.
            let end = format!("{first}[");
            Probe::Range { kind: letters, first, end, pattern: Some(pattern.clone()) }
        }
    }
}
