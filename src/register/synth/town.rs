//! A municipality's persons in households: couples with their wedding, children with their parents, dwellings that they
//! have lived in one after the other, in step with what became of each.

use super::{Dice, address, date, person, word};
use crate::register::matching::date::PartialDate;
use crate::register::person::{Address, Ags, Dwelling, MaritalStatus, Person, Status};

/// Persons of a household.
const MEMBERS_MAX: u64 = 6;

/// All persons of a municipality, household by household; the same seed makes the same ones.
pub fn persons(seed: u64, ags: Ags, count: u64) -> impl Iterator<Item = Person> {
    let mut next = 0;
    let mut waiting = Vec::new().into_iter();
    std::iter::from_fn(move || {
        loop {
            if let Some(one) = waiting.next() {
                return Some(one);
            }
            if next >= count {
                return None;
            }
            let members = household(seed, ags, next, count - next);
            next += members.len() as u64;
            waiting = members.into_iter();
        }
    })
}

/// The household whose first member has this number.
fn household(seed: u64, ags: Ags, first: u64, left: u64) -> Vec<Person> {
    let mut dice = Dice::new(Dice::new(seed ^ first.wrapping_mul(0xd6e8_feb8_6659_fd93)).roll());
    let dice = &mut dice;
    let size = (1 + dice.below(MEMBERS_MAX).min(dice.below(MEMBERS_MAX))).min(left);
    let mut members: Vec<Person> = (first..first + size).map(|number| person(seed, ags, number)).collect();
    let home = address(dice, ags);
    let couple = size >= 2 && !dice.one_in(4);
    let parents = 1 + usize::from(couple);
    if couple {
        marry(dice, &mut members);
    }
    let family = members[0].family_names.clone();
    let parents_names: Vec<String> =
        members[..parents].iter().filter_map(|one| one.family_names.first().cloned()).collect();
    for (place, one) in members.iter_mut().enumerate() {
        one.addresses = dwellings(dice, ags, &home, if place < parents { 3 } else { 1 });
        if place >= parents {
            be_a_child(dice, one, &family, &parents_names);
        }
        leave(one);
    }
    members
}

/// The second takes the first's name, two times out of three.
fn marry(dice: &mut Dice, members: &mut [Person]) {
    let [one, other, ..] = members else { return };
    let (on, at) = (date(dice, 1975, 50), format!("{}stadt", word(dice.below(400) + 2_000_000, true)));
    if !dice.one_in(3) {
        other.birth_names = std::mem::replace(&mut other.family_names, one.family_names.clone());
    }
    let names = [&*one, &*other].map(|person| person.family_names.first().cloned());
    for (person, partner) in [one, other].into_iter().zip(names.into_iter().rev()) {
        person.marital_status = Some(MaritalStatus::Vh);
        person.marriage_date = Some(on);
        person.marriage_place = Some(at.clone());
        person.partner_name = partner;
    }
}

/// Where they live, and up to `former` dwellings before it, the one left on the day that the next was moved into.
fn dwellings(dice: &mut Dice, ags: Ags, home: &Address, former: u64) -> Vec<Address> {
    let mut out = vec![home.clone()];
    let mut year = out[0].moved_in.and_then(PartialDate::first_day).map_or(2000, |day| day.year());
    for _ in 0..dice.below(former + 1) {
        let left = out.last().and_then(|next| next.moved_in);
        year -= 1 + dice.below(9) as i16;
        out.push(Address { moved_out: left, moved_in: Some(date(dice, year, 1)), ..address(dice, ags) });
    }
    if dice.one_in(25) {
        out[0].dwelling = Dwelling::Main;
        out.push(Address { dwelling: Dwelling::Secondary, ..address(dice, ags) });
    }
    out
}

fn be_a_child(dice: &mut Dice, one: &mut Person, family: &[String], parents: &[String]) {
    one.family_names = family.to_vec();
    one.birth_names.clear();
    one.former_family_names.clear();
    one.stage_names.clear();
    one.birth_dates = vec![date(dice, 2009, 17)];
    one.marital_status = Some(MaritalStatus::Ld);
    one.representatives = parents.to_vec();
}

/// Who is dead or moved lives nowhere here any more.
fn leave(one: &mut Person) {
    if one.status == Status::Resident {
        return;
    }
    let left = one.death_date.or_else(|| PartialDate::new(2025, 6, 30).ok());
    for address in one.addresses.iter_mut().filter(|address| address.is_present()) {
        address.moved_out = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_town_has_households_with_histories_and_each_person_can_be_read() {
        let ags = Ags::parse("10041100").expect("a key");
        let town: Vec<Person> = persons(7, ags, 1000).collect();
        assert_eq!(town, persons(7, ags, 1000).collect::<Vec<_>>());
        assert_eq!(town.len(), 1000);
        let mut marks: Vec<&str> = town.iter().map(|one| one.mark.as_str()).collect();
        marks.dedup();
        assert_eq!(marks.len(), 1000);
        for one in &town {
            let (read, left_out) = Person::read(&one.to_bytes()).expect("within the bounds");
            assert_eq!((&read, left_out.len()), (one, 0));
            assert!(one.status == Status::Resident || one.addresses.iter().all(|home| !home.is_present()));
        }
        let partners = town.windows(2).filter(|two| {
            two[0].partner_name.is_some()
                && two[0].partner_name.as_ref() == two[1].family_names.first()
                && two[0].marriage_date == two[1].marriage_date
                && two[0].addresses[0].street == two[1].addresses[0].street
        });
        assert!(partners.count() > 50, "couples live together");
        let children: Vec<&Person> = town.iter().filter(|one| !one.representatives.is_empty()).collect();
        assert!(children.len() > 50 && children.iter().all(|one| one.partner_name.is_none()));
        assert!(town.iter().filter(|one| one.addresses.len() > 2).count() > 50, "histories");
        let unknown = |one: &&Person| one.birth_dates[0].to_string().starts_with("00");
        assert!(town.iter().filter(unknown).count() > 10, "partial dates");
        assert!(town.iter().filter(|one| one.is_hidden()).count() > 0, "locks");
    }
}
