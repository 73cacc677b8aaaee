//! Invented persons: the same seed makes the same ones, everywhere.
//!
//! Names and streets are put together from syllables, so that nobody real is meant; postcodes begin with 00, which was
//! never given out. Names are as unevenly common as real ones, come in clusters of spellings, with umlauts and
//! particles; dates of birth are partly unknown; some persons are locked, moved or dead.
//!
//! [`person`] makes each on its own; [`town`] puts them into households, [`plan`] makes what happens to them, and how
//! badly it is told.

pub mod plan;
pub mod town;

use super::matching::date::PartialDate;
use super::person::{Address, Ags, Dwelling, Lock, MaritalStatus, Person, Sex, Status};

const ONSETS: [&str; 20] = [
    "b", "br", "d", "f", "g", "gr", "h", "k", "kl", "l", "m", "n", "p", "r", "s", "sch", "st", "t", "w", "z",
];
const NUCLEI: [&str; 12] = ["a", "e", "i", "o", "u", "ä", "ö", "ü", "ei", "au", "ie", "œ"];
const CODAS: [&str; 12] = ["", "l", "n", "r", "ß", "ck", "tz", "lm", "rt", "nd", "ff", "th"];
const TAILS: [&str; 8] = ["er", "mann", "el", "in", "ow", "sen", "", "ke"];
const STREET_TAILS: [&str; 6] = ["straße", "str.", "weg", " Platz", "gasse", " Gässle"];
const PARTICLES: [&str; 3] = ["von ", "Graf von ", "zu "];
const FAMILY_NAMES: u64 = 60_000;
const GIVEN_NAMES: u64 = 3_000;
const STREETS: u64 = 900;

/// SplitMix64: small, good enough, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 to before `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// One in `of`.
    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// Low ranks far more often than high ones.
    fn rank(&mut self, end: u64) -> u64 {
        let share = self.below(1 << 20) as f64 / (1_u64 << 20) as f64;
        ((end as f64).powf(share) - 1.0) as u64
    }

    pub fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

/// The name of a rank: always the same.
fn word(rank: u64, family: bool) -> String {
    let mut dice = Dice::new(rank.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(family));
    let mut out = String::new();
    for _ in 0..=dice.below(2) {
        out.push_str(dice.of(&ONSETS));
        out.push_str(dice.of(&NUCLEI));
        out.push_str(dice.of(&CODAS));
    }
    out.push_str(dice.of(&TAILS));
    let mut letters = out.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn family_name(dice: &mut Dice) -> String {
    let rank = dice.rank(FAMILY_NAMES);
    let name = word(rank, true);
    match dice.below(40) {
        0 => format!("{}{name}", dice.of(&PARTICLES)),
        1 => format!("{name}-{}", word(dice.rank(FAMILY_NAMES), true)),
        2 => format!("{name} {}", word(dice.rank(FAMILY_NAMES), true)),
        _ => name,
    }
}

fn given_names(dice: &mut Dice) -> String {
    let count = 1 + dice.below(3);
    let joint = if dice.one_in(20) { "-" } else { " " };
    (0..count).map(|_| word(dice.rank(GIVEN_NAMES), false)).collect::<Vec<_>>().join(joint)
}

fn date(dice: &mut Dice, from: i16, years: u64) -> PartialDate {
    let year = from + dice.below(years) as i16;
    let (month, day) = match dice.below(60) {
        0 => (0, 0),
        1 => (1 + dice.below(12) as i8, 0),
        _ => (1 + dice.below(12) as i8, 1 + dice.below(28) as i8),
    };
    PartialDate::new(year, month, day).unwrap_or(PartialDate::UNKNOWN)
}

fn address(dice: &mut Dice, ags: Ags) -> Address {
    let street = dice.below(STREETS);
    let tail = STREET_TAILS[(street % STREET_TAILS.len() as u64) as usize];
    let letter = if dice.one_in(6) { dice.of(&["a", "b", "c"]) } else { "" };
    Address {
        ags: Some(ags),
        postcode: format!("00{:03}", street % 20),
        place: format!("Ort {ags}"),
        street: format!("{}{tail}", word(street + 1_000_000, true)),
        number: (1 + dice.below(120)).to_string(),
        letter: letter.to_owned(),
        dwelling: Dwelling::Sole,
        moved_in: Some(date(dice, 1990, 30)),
        ..Address::default()
    }
}

/// Person number `number` of a municipality.
pub fn person(seed: u64, ags: Ags, number: u64) -> Person {
    let own = ags.to_string().parse::<u64>().unwrap_or(0);
    let mut start = Dice::new(seed ^ own.rotate_left(32) ^ number.wrapping_mul(0x9e37_79b9));
    let mut dice = Dice::new(start.roll());
    let dice = &mut dice;
    let given = given_names(dice);
    let mut person = Person {
        mark: format!("{ags}-{number:08}"),
        family_names: vec![family_name(dice)],
        used_given_name: given.split(' ').next().map(str::to_owned),
        given_names: vec![given],
        birth_dates: vec![if dice.one_in(500) { PartialDate::UNKNOWN } else { date(dice, 1930, 95) }],
        birth_place: Some(format!("{}stadt", word(dice.below(400) + 2_000_000, true))),
        birth_state: Some("000".to_owned()),
        sex: Some([Sex::M, Sex::W, Sex::M, Sex::W, Sex::D][dice.below(5) as usize]),
        nationalities: vec!["000".to_owned()],
        addresses: vec![address(dice, ags)],
        marital_status: Some([MaritalStatus::Ld, MaritalStatus::Vh][dice.below(2) as usize]),
        ..Person::default()
    };
    vary(dice, ags, &mut person);
    person
}

fn vary(dice: &mut Dice, ags: Ags, person: &mut Person) {
    if dice.one_in(4) {
        person.birth_names.push(family_name(dice));
    }
    if dice.one_in(50) {
        person.former_family_names.push(family_name(dice));
    }
    if dice.one_in(300) {
        person.stage_names.push(format!("{} {}", word(dice.below(500), false), word(dice.below(500), true)));
    }
    if dice.one_in(200) {
        person.given_names = vec!["+".to_owned()];
        person.used_given_name = None;
    }
    if dice.one_in(100) {
        person.birth_dates.push(date(dice, 1930, 95));
    }
    if dice.one_in(3) {
        let former = address(dice, ags);
        person.addresses.push(Address { moved_out: former.moved_in, ..former });
    }
    if dice.one_in(150) {
        let code = [3, 3, 3, 11, 1, 12][dice.below(6) as usize];
        person.locks.extend(Lock::try_from(code).ok());
    }
    if dice.one_in(30) {
        person.locks.extend(Lock::try_from([2, 5, 7, 10, 13][dice.below(5) as usize]).ok());
    }
    match dice.below(60) {
        0 => {
            person.status = Status::Dead;
            person.death_date = Some(date(dice, 2020, 6));
            person.death_place = person.birth_place.clone();
        }
        1 | 2 => person.status = Status::MovedWithinGermany,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_persons_and_each_can_be_read() {
        let ags = Ags::parse("10041100").expect("a key");
        let made: Vec<Person> = (0..2000).map(|number| person(7, ags, number)).collect();
        assert_eq!(made, (0..2000).map(|number| person(7, ags, number)).collect::<Vec<_>>());
        assert_ne!(made[0].family_names, person(8, ags, 0).family_names);
        for one in &made {
            let (read, left_out) = Person::read(&one.to_bytes()).expect("within the bounds");
            assert_eq!((&read, left_out.len()), (one, 0));
        }
        assert!(made.iter().any(Person::is_hidden) && made.iter().any(|one| !one.birth_names.is_empty()));
        assert!(made.iter().any(|one| one.given_names == ["+"]));
    }
}
