//! How long a copy keeps whom who is no longer a resident (sections 13, 14 BMG). Pure.
//!
//! Five years after the end of the year of the move or death the record shrinks to what section 13(2) BMG lets be kept,
//! for fifty years more, and nobody finds it by a search; then it goes. Tax number and religion, which go earlier, are
//! never in a copy. Without a date nothing can be said, and the municipality's own deletion is waited for.

use jiff::civil::Date;

use super::person::{Address, Person, Status};

pub const FULL_YEARS: i16 = 5;
pub const RESTRICTED_YEARS: i16 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    Whole,
    Restricted,
    No,
}

pub fn keep(person: &Person, today: Date) -> Keep {
    let Some(year) = left_in(person) else { return Keep::Whole };
    // The periods run from the end of that year.
    match i32::from(today.year()) - i32::from(year) {
        past if past > i32::from(FULL_YEARS + RESTRICTED_YEARS) => Keep::No,
        past if past > i32::from(FULL_YEARS) => Keep::Restricted,
        _ => Keep::Whole,
    }
}

/// The year of the move or death, of one who is no longer a resident.
fn left_in(person: &Person) -> Option<i16> {
    let dates = match person.status {
        Status::Resident => return None,
        Status::Dead => vec![person.death_date],
        Status::MovedWithinGermany | Status::MovedAbroad | Status::MovedUnknown => {
            if person.addresses.iter().any(Address::is_present) {
                return None;
            }
            person.addresses.iter().map(|address| address.moved_out).collect()
        }
    };
    dates.into_iter().flatten().filter_map(|date| date.first_day()).map(Date::year).max()
}

/// Names, birth, nationality, the last addresses, death: section 13(2) BMG. Locks stay.
pub fn restricted(person: &Person) -> Person {
    Person {
        mark: person.mark.clone(),
        family_names: person.family_names.clone(),
        birth_names: person.birth_names.clone(),
        former_family_names: person.former_family_names.clone(),
        given_names: person.given_names.clone(),
        doctorate: person.doctorate.clone(),
        birth_dates: person.birth_dates.clone(),
        birth_place: person.birth_place.clone(),
        birth_state: person.birth_state.clone(),
        sex: person.sex,
        nationalities: person.nationalities.clone(),
        addresses: person.addresses.clone(),
        death_date: person.death_date,
        death_place: person.death_place.clone(),
        locks: person.locks.clone(),
        status: person.status,
        ..Person::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_shrink_and_go_when_their_years_are_over() {
        let out =
            |date: &str| Address { moved_out: Some(date.parse().expect("a date")), ..Address::default() };
        let moved = |date: &str| Person {
            status: Status::MovedAbroad,
            addresses: vec![out("01011990"), out(date)],
            partner_name: Some("Adler".to_owned()),
            ..Person::default()
        };
        let dead = |date: &str| Person {
            status: Status::Dead,
            death_date: Some(date.parse().expect("a date")),
            ..Person::default()
        };
        for (person, today, expected) in [
            (moved("01012020"), "2025-12-31", Keep::Whole),
            (moved("01012020"), "2026-01-01", Keep::Restricted),
            (moved("31122020"), "2026-01-01", Keep::Restricted),
            (moved("31122020"), "2075-12-31", Keep::Restricted),
            (moved("31122020"), "2076-01-01", Keep::No),
            (dead("00002020"), "2026-01-01", Keep::Restricted),
            (dead("00000000"), "2099-01-01", Keep::Whole),
            (Person { status: Status::Resident, ..moved("01012000") }, "2099-01-01", Keep::Whole),
            (
                Person { addresses: vec![out("01012000"), Address::default()], ..moved("01012000") },
                "2099-01-01",
                Keep::Whole,
            ),
        ] {
            assert_eq!(keep(&person, today.parse().expect("a day")), expected, "{today}: {person:?}");
        }
        assert_eq!(restricted(&moved("01012020")).partner_name, None);
    }
}
