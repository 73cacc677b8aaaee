//! The yearly look at a copy's records: what cannot be right, for the municipality to look into. Pure.
//!
//! The copy corrects nothing; the original is the municipality's.

use std::collections::BTreeMap;

use serde::Serialize;

use super::matching::date::PartialDate;
use super::person::{Address, Dwelling, Person, Status};

/// Records that a report names for one finding.
const MARKS_MAX: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    GivenNameMissing,
    BirthDateMissing,
    BirthPlaceMissing,
    SexMissing,
    NationalityMissing,
    /// A resident without a present dwelling.
    DwellingMissing,
    /// Street or place is not filled in.
    AddressIncomplete,
    SeveralMainDwellings,
    OnlySecondaryDwellings,
    /// A sole dwelling beside others, or a main dwelling alone.
    DwellingsMismatch,
    /// Dead without a date of death, or the other way round.
    DeathMismatch,
    /// Moved or dead, and still with a present dwelling.
    LeftWithDwelling,
}

pub fn findings(person: &Person) -> Vec<Finding> {
    let present: Vec<&Address> = person.addresses.iter().filter(|address| address.is_present()).collect();
    let count = |dwelling| present.iter().filter(|address| address.dwelling == dwelling).count();
    let (sole, main, secondary) = (count(Dwelling::Sole), count(Dwelling::Main), count(Dwelling::Secondary));
    let resident = person.status == Status::Resident;
    let dead = person.status == Status::Dead;
    let incomplete = |address: &&Address| address.street.trim().is_empty() || address.place.trim().is_empty();
    let rules = [
        (Finding::GivenNameMissing, person.given_names.is_empty()),
        (
            Finding::BirthDateMissing,
            person.birth_dates.first().is_none_or(|date| *date == PartialDate::UNKNOWN),
        ),
        (Finding::BirthPlaceMissing, person.birth_place.is_none()),
        (Finding::SexMissing, person.sex.is_none()),
        (Finding::NationalityMissing, person.nationalities.is_empty()),
        (Finding::DwellingMissing, resident && present.is_empty()),
        (Finding::AddressIncomplete, present.iter().any(incomplete)),
        (Finding::SeveralMainDwellings, main + sole > 1),
        (Finding::OnlySecondaryDwellings, secondary > 0 && main + sole == 0),
        (Finding::DwellingsMismatch, (sole > 0 && main + secondary > 0) || (main > 0 && secondary == 0)),
        (Finding::DeathMismatch, dead != person.death_date.is_some()),
        (Finding::LeftWithDwelling, !resident && !present.is_empty()),
    ];
    rules.into_iter().filter(|(_, found)| *found).map(|(finding, _)| finding).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    pub persons: u64,
    pub without_findings: u64,
    /// Records that cannot be read, and were not looked at.
    pub unreadable: u64,
    pub findings: BTreeMap<Finding, Found>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Found {
    pub count: u64,
    /// Order marks, for that municipality alone; the first ones.
    pub marks: Vec<String>,
}

impl Report {
    pub fn add(&mut self, person: &Person) {
        let findings = findings(person);
        self.persons += 1;
        self.without_findings += u64::from(findings.is_empty());
        for finding in findings {
            let found = self.findings.entry(finding).or_default();
            found.count += 1;
            if found.marks.len() < MARKS_MAX {
                found.marks.push(person.mark.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::person::{Ags, Sex};

    #[test]
    fn each_rule_finds_its_case_and_no_other() {
        let home = Ags::parse("10041100").expect("a key");
        let at = |dwelling| Address {
            ags: Some(home),
            street: "Krumme Straße".to_owned(),
            place: "Ort".to_owned(),
            dwelling,
            ..Address::default()
        };
        let good = Person {
            mark: "1".to_owned(),
            family_names: vec!["Adler".to_owned()],
            given_names: vec!["Willi".to_owned()],
            birth_dates: vec!["17031998".parse().expect("a date")],
            birth_place: Some("Ort".to_owned()),
            sex: Some(Sex::M),
            nationalities: vec!["000".to_owned()],
            addresses: vec![at(Dwelling::Sole)],
            ..Person::default()
        };
        assert_eq!(findings(&good), []);
        let with = |addresses| Person { addresses, ..good.clone() };
        use Dwelling::{Main, Secondary, Sole};
        use Finding::*;
        for (person, expected) in [
            (Person { given_names: Vec::new(), ..good.clone() }, vec![GivenNameMissing]),
            (Person { birth_dates: vec![PartialDate::UNKNOWN], ..good.clone() }, vec![BirthDateMissing]),
            (Person { birth_place: None, ..good.clone() }, vec![BirthPlaceMissing]),
            (Person { sex: None, ..good.clone() }, vec![SexMissing]),
            (Person { nationalities: Vec::new(), ..good.clone() }, vec![NationalityMissing]),
            (with(Vec::new()), vec![DwellingMissing]),
            (with(vec![Address { street: " ".to_owned(), ..at(Sole) }]), vec![AddressIncomplete]),
            (with(vec![at(Main), at(Secondary)]), vec![]),
            (with(vec![at(Main), at(Main), at(Secondary)]), vec![SeveralMainDwellings]),
            (with(vec![at(Secondary)]), vec![OnlySecondaryDwellings]),
            (with(vec![at(Sole), at(Secondary)]), vec![DwellingsMismatch]),
            (with(vec![at(Main)]), vec![DwellingsMismatch]),
            (Person { status: Status::Dead, addresses: Vec::new(), ..good.clone() }, vec![DeathMismatch]),
            (Person { status: Status::MovedAbroad, ..good.clone() }, vec![LeftWithDwelling]),
        ] {
            assert_eq!(findings(&person), expected, "{person:?}");
        }
        let mut report = Report::default();
        report.add(&good);
        report.add(&with(Vec::new()));
        assert_eq!((report.persons, report.without_findings), (2, 1));
        assert_eq!(report.findings[&DwellingMissing], Found { count: 1, marks: vec!["1".to_owned()] });
    }
}
