//! The indexed search against a matcher of its own kind: written from the annex of the BMeldDAV alone, without a line of
//! the register's. For one question in fifty it looks at every person; for the others at all who bear the first name asked
//! for, by plain lists of its own, which the former keep honest.
//!
//! `AMTSBOTE_ORACLE_QUESTIONS` says how many questions; `.ci/run` asks 100,000.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amtsbote::clock::{Clock, HandClock};
use amtsbote::register::answer::Answer;
use amtsbote::register::copies::{
    Asked, Copies, CopyError, Deadlines, LoadReceipt, LogKey, Requester, Settings,
};
use amtsbote::register::desk::{self, Delivery, Desk};
use amtsbote::register::matching::date::PartialDate;
use amtsbote::register::message::head::{Own, Party, PostalAddress, Sender, begin};
use amtsbote::register::message::question::{self, Entitled};
use amtsbote::register::message::{Number, RELEASES};
use amtsbote::register::person::{Ags, Lock, Person, Status};
use amtsbote::register::question::{Profile, Reason, Selection};
use amtsbote::register::refetch;
use amtsbote::register::rights::{Asker, Disclosure, Purpose};
use amtsbote::register::synth::{self, Dice};
use amtsbote::register::workdays::{Calendar, SAARLAND};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const SEED: u64 = 0x0ac1e;
const PERSONS: u64 = 10_000;

fn home() -> Ags {
    Ags::parse("10041100").expect("a key")
}

/// Letters alone, in their basic form (annex 1); the invented names have no others than these.
fn letters(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' => out.push(c.to_ascii_uppercase()),
            'ä' | 'Ä' | 'æ' => out.push_str("AE"),
            'ö' | 'Ö' | 'œ' | 'Œ' => out.push_str("OE"),
            'ü' | 'Ü' => out.push_str("UE"),
            'ß' => out.push_str("SS"),
            _ => {}
        }
    }
    out
}

fn parts(text: &str) -> Vec<String> {
    text.split(' ').map(letters).filter(|part| !part.is_empty()).collect()
}

/// Kölner Phonetik, as Postel gives it: a code for each letter by its neighbours, runs once, no 0 but the first.
fn sound(form: &str) -> String {
    let all: Vec<char> = form.chars().collect();
    let mut codes = String::new();
    for (at, &c) in all.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| all[at]);
        let next = all.get(at + 1).copied();
        let next_is = |set: &str| next.is_some_and(|next| set.contains(next));
        let before_is = |set: &str| before.is_some_and(|before| set.contains(before));
        codes.push_str(match c {
            'A' | 'E' | 'I' | 'J' | 'O' | 'U' | 'Y' => "0",
            'H' => "",
            'B' => "1",
            'P' if next_is("H") => "3",
            'P' => "1",
            'D' | 'T' if next_is("CSZ") => "8",
            'D' | 'T' => "2",
            'F' | 'V' | 'W' => "3",
            'G' | 'K' | 'Q' => "4",
            'C' if before.is_none() && next_is("AHKLOQRUX") => "4",
            'C' if before.is_none() || before_is("SZ") => "8",
            'C' if next_is("AHKOQUX") => "4",
            'C' => "8",
            'X' if before_is("CKQ") => "8",
            'X' => "48",
            'L' => "5",
            'M' | 'N' => "6",
            'R' => "7",
            'S' | 'Z' => "8",
            other => panic!("no letter: {other}"),
        });
    }
    let mut once = String::new();
    for code in codes.chars() {
        if !once.ends_with(code) {
            once.push(code);
        }
    }
    once.char_indices().filter(|(at, code)| *at == 0 || *code != '0').map(|(_, code)| code).collect()
}

fn street(text: &str) -> String {
    let form = letters(text);
    for (short, long) in [("STR", "STRASSE"), ("PL", "PLATZ"), ("WEGLE", "WEG"), ("GAESSLE", "GASSE")] {
        if let Some(stem) = form.strip_suffix(short) {
            return format!("{stem}{long}");
        }
    }
    form
}

/// `*` is any letters, `?` is one; forms are ASCII.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| wild(rest, &text[at..])),
        Some((b'?', rest)) => text.split_first().is_some_and(|(_, text)| wild(rest, text)),
        Some((c, rest)) => text.split_first().is_some_and(|(first, text)| first == c && wild(rest, text)),
    }
}

fn pattern(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for c in text.chars() {
        match c {
            '*' | '?' => out.push(c as u8),
            c => out.extend(letters(&c.to_string()).bytes()),
        }
    }
    out
}

/// One name, or part of one, as it is asked for.
enum Token {
    Exact(String),
    Wild(Vec<u8>),
    Sound(String),
}

impl Token {
    /// None without letters: such a datum is absent, and asks for nothing.
    fn of(text: &str, by_sound: bool) -> Option<Self> {
        if text.contains(['*', '?']) {
            return Some(Self::Wild(pattern(text)));
        }
        let form = letters(text);
        match (form.is_empty(), by_sound) {
            (true, _) => None,
            (false, true) => Some(Self::Sound(sound(&form))),
            (false, false) => Some(Self::Exact(form)),
        }
    }

    fn is_among(&self, stored: &[(String, String)]) -> bool {
        stored.iter().any(|(form, code)| match self {
            Self::Exact(asked) => asked == form,
            Self::Wild(asked) => wild(asked, form.as_bytes()),
            Self::Sound(asked) => asked == code,
        })
    }
}

/// A question with all forms made once.
struct Wanted<'a> {
    asked: &'a Selection,
    profile: Profile,
    family: Vec<Token>,
    former: Vec<Token>,
    artist: Vec<Token>,
    given: Vec<Token>,
    street: Option<Token>,
    born: Option<(String, String)>,
}

impl<'a> Wanted<'a> {
    fn new(profile: Profile, asked: &'a Selection) -> Self {
        let split = |text: &str| -> Vec<Token> {
            text.split(' ').filter_map(|part| Token::of(part, asked.by_sound)).collect()
        };
        let free = profile == Profile::FreeSearch;
        let whole = |name: &Option<String>| match (name, free) {
            (None, _) => Vec::new(),
            (Some(name), true) => split(name),
            (Some(name), false) => Token::of(name, asked.by_sound).into_iter().collect(),
        };
        let period = asked.born_from.zip(asked.born_until);
        Self {
            asked,
            profile,
            family: whole(&asked.family_name),
            former: whole(&asked.former_name),
            artist: whole(&asked.artist_name),
            given: asked.given_names.as_deref().map_or_else(Vec::new, split),
            street: asked.street.as_ref().map(|text| match text.contains(['*', '?']) {
                true => Token::Wild(pattern(text)),
                false => Token::Exact(street(text)),
            }),
            born: period.map(|(from, until)| (from.to_string(), until.to_string())),
        }
    }
}

/// A person with all forms made once.
struct Known {
    person: Person,
    /// Each form with its sound.
    family: Vec<(String, String)>,
    family_civil: Vec<(String, String)>,
    family_parts: Vec<(String, String)>,
    /// As a whole, and in parts.
    former: [Vec<(String, String)>; 2],
    artist: [Vec<(String, String)>; 2],
    given: Vec<(String, String)>,
    streets: Vec<(String, String)>,
    birth: Vec<(String, String)>,
    key: Key,
}

type Key = (String, String, String);

fn known(person: Person) -> Known {
    let plus =
        |names: &Vec<String>| -> Vec<String> { names.iter().filter(|name| *name != "+").cloned().collect() };
    let former: Vec<String> = [plus(&person.birth_names), plus(&person.former_family_names)].concat();
    let civil: Vec<String> = [plus(&person.family_names), former.clone()].concat();
    let artist = [plus(&person.order_names), plus(&person.stage_names)].concat();
    let family = [civil.clone(), artist.clone()].concat();
    let used: Vec<String> = person.used_given_name.iter().cloned().collect();
    let given = [plus(&person.given_names), used, plus(&person.former_given_names), artist.clone()].concat();
    let with_sound = |form: String| {
        let code = sound(&form);
        (form, code)
    };
    let split = |names: &[String]| -> Vec<(String, String)> {
        names.iter().flat_map(|name| parts(name)).map(with_sound).collect()
    };
    let whole = |names: &[String]| -> Vec<(String, String)> {
        names.iter().map(|name| with_sound(letters(name))).collect()
    };
    let birth = person
        .birth_dates
        .iter()
        .map(|date| {
            let written = date.to_string();
            let least = |part: &str| if part == "00" { "01".to_owned() } else { part.to_owned() };
            let first = format!("{}-{}-{}", &written[4..], least(&written[2..4]), least(&written[..2]));
            (written, first)
        })
        .collect();
    let key = (
        person.family_names[0].clone(),
        person.given_names.first().cloned().unwrap_or_default(),
        person.birth_dates[0].to_string(),
    );
    Known {
        family: whole(&family),
        family_civil: whole(&civil),
        family_parts: split(&family),
        former: [whole(&former), split(&former)],
        artist: [whole(&artist), split(&artist)],
        given: split(&given),
        streets: person.addresses.iter().map(|one| (street(&one.street), String::new())).collect(),
        birth,
        key,
        person,
    }
}

/// Years after which whoever left or died is found by nobody, counted from the end of that year (section 13(2) BMG).
const GONE_YEARS: i32 = 5;

/// The year in which this person left or died, if that is so.
fn gone_in(person: &Person) -> Option<i32> {
    let year = |date: &PartialDate| date.to_string()[4..].parse::<i32>().ok().filter(|year| *year > 0);
    let dates: Vec<PartialDate> = match person.status {
        Status::Resident => return None,
        Status::Dead => person.death_date.into_iter().collect(),
        _ if person.addresses.iter().any(|one| one.moved_out.is_none()) => return None,
        _ => person.addresses.iter().filter_map(|one| one.moved_out).collect(),
    };
    dates.iter().filter_map(year).max()
}

impl Known {
    fn is_hidden(&self) -> bool {
        self.person.locks.iter().any(|lock| [1, 3, 6, 11, 12].contains(&lock.code()))
    }

    fn is_meant(&self, wanted: &Wanted<'_>) -> bool {
        let family = match wanted.profile {
            Profile::FreeSearch => &self.family_parts,
            Profile::PrivateEnquiry | Profile::PrefilledForm => &self.family_civil,
            Profile::PersonSearch => &self.family,
        };
        let in_parts = usize::from(wanted.profile == Profile::FreeSearch);
        let all_among =
            |tokens: &[Token], stored: &[(String, String)]| tokens.iter().all(|token| token.is_among(stored));
        // Who is asked for as having rightly none is meant by nothing else.
        let given = match wanted.asked.given_names.as_deref() {
            Some("+") => self.person.given_names == ["+"],
            _ => wanted.given.iter().all(|token| token.is_among(&self.given)),
        };
        all_among(&wanted.family, family)
            && all_among(&wanted.former, &self.former[in_parts])
            && all_among(&wanted.artist, &self.artist[in_parts])
            && given
            && self.birth_fits(wanted)
            && wanted.asked.sex.is_none_or(|sex| self.person.sex == Some(sex))
            && self.further_fit(wanted.asked)
            && self.address_fits(wanted)
    }

    fn further_fit(&self, asked: &Selection) -> bool {
        let one = &self.person;
        let same = |asked: &Option<String>, stored: &Option<String>| {
            asked.as_ref().is_none_or(|asked| stored.as_ref() == Some(asked))
        };
        // Places, and names of others, are compared whole and by their letters.
        let spelt = |asked: &Option<String>, stored: &[String]| {
            asked.as_ref().is_none_or(|asked| stored.iter().any(|stored| letters(stored) == letters(asked)))
        };
        let on = |asked: &Option<String>, stored: Option<PartialDate>| {
            asked.as_ref().is_none_or(|asked| stored.is_some_and(|stored| stored.to_string() == *asked))
        };
        spelt(&asked.birth_place, one.birth_place.as_slice())
            && same(&asked.birth_state, &one.birth_state)
            && asked.nationality.as_ref().is_none_or(|asked| one.nationalities.contains(asked))
            && asked.marital_status.is_none_or(|asked| one.marital_status == Some(asked))
            && on(&asked.marriage_date, one.marriage_date)
            && spelt(&asked.marriage_place, one.marriage_place.as_slice())
            && spelt(&asked.partner_name, one.partner_name.as_slice())
            && spelt(&asked.representative, &one.representatives)
            && on(&asked.death_date, one.death_date)
            && spelt(&asked.death_place, one.death_place.as_slice())
    }

    fn birth_fits(&self, wanted: &Wanted<'_>) -> bool {
        let on = |date: &String| self.birth.iter().any(|(written, _)| written == date);
        let within = |(from, until): &(String, String)| {
            self.birth.iter().any(|(written, first)| written != "00000000" && from <= first && first <= until)
        };
        wanted.asked.birth_date.as_ref().is_none_or(on) && wanted.born.as_ref().is_none_or(within)
    }

    /// One and the same address fits all that is asked of an address.
    fn address_fits(&self, wanted: &Wanted<'_>) -> bool {
        let asked = wanted.asked;
        let texts = [&asked.postcode, &asked.place, &asked.number, &asked.letter, &asked.part];
        let nothing = texts.iter().all(|text| text.is_none()) && asked.number_from.is_none();
        if nothing && wanted.street.is_none() && asked.moved_in.is_none() && asked.moved_out.is_none() {
            return true;
        }
        // Neither leading zeros nor the case of a letter say anything.
        let plain = |text: &str| text.trim_start_matches('0').to_uppercase();
        let same = |asked: &Option<String>, stored: &str| {
            asked.as_ref().is_none_or(|asked| plain(asked) == plain(stored))
        };
        let on = |asked: &Option<String>, stored: Option<PartialDate>| {
            asked.as_ref().is_none_or(|asked| stored.is_some_and(|stored| stored.to_string() == *asked))
        };
        let range = asked.number_from.zip(asked.number_until);
        self.person.addresses.iter().zip(&self.streets).any(|(address, form)| {
            address.ags == Some(home())
                && wanted.street.as_ref().is_none_or(|token| token.is_among(std::slice::from_ref(form)))
                && asked.postcode.as_ref().is_none_or(|asked| *asked == address.postcode)
                && asked.place.as_ref().is_none_or(|asked| letters(asked) == letters(&address.place))
                && same(&asked.number, &address.number)
                && same(&asked.letter, &address.letter)
                && same(&asked.part, &address.part)
                && range.is_none_or(|(from, until)| {
                    address.number.parse().is_ok_and(|number: u32| from <= number && number <= until)
                })
                && on(&asked.moved_in, address.moved_in)
                && on(&asked.moved_out, address.moved_out)
        })
    }
}

/// Who bears a form, and who one of its sound, by places in [`Town::persons`].
#[derive(Default)]
struct Bearers {
    forms: HashMap<String, Vec<u32>>,
    sounds: HashMap<String, Vec<u32>>,
}

impl Bearers {
    fn enter(&mut self, names: &[(String, String)], place: u32) {
        for (form, code) in names {
            self.forms.entry(form.clone()).or_default().push(place);
            self.sounds.entry(code.clone()).or_default().push(place);
        }
    }

    fn of(&self, token: &Token) -> BTreeSet<u32> {
        let places = match token {
            Token::Exact(form) => self.forms.get(form).cloned(),
            Token::Sound(code) => self.sounds.get(code).cloned(),
            Token::Wild(pattern) => {
                let meant = self.forms.iter().filter(|(form, _)| wild(pattern, form.as_bytes()));
                Some(meant.flat_map(|(_, places)| places).copied().collect())
            }
        };
        places.unwrap_or_default().into_iter().collect()
    }
}

/// Everybody, and who bears which name.
struct Town {
    persons: Vec<Known>,
    family: Bearers,
    family_parts: Bearers,
    given: Bearers,
    streets: Bearers,
}

impl Town {
    fn new(persons: Vec<Known>) -> Self {
        let [mut family, mut family_parts, mut given, mut streets] = <[Bearers; 4]>::default();
        for (place, one) in (0..).zip(&persons) {
            family.enter(&one.family, place);
            family_parts.enter(&one.family_parts, place);
            given.enter(&one.given, place);
            streets.enter(&one.streets, place);
        }
        Self { persons, family, family_parts, given, streets }
    }

    fn everybody_meant(&self, wanted: &Wanted<'_>) -> Vec<&Known> {
        self.persons.iter().filter(|one| one.is_meant(wanted)).collect()
    }

    fn meant(&self, wanted: &Wanted<'_>) -> Vec<&Known> {
        let family = if wanted.profile == Profile::FreeSearch { &self.family_parts } else { &self.family };
        let name = wanted.family.first().map(|token| (family, token));
        let name = name.or_else(|| wanted.given.first().map(|token| (&self.given, token)));
        let Some((bearers, token)) = name.or_else(|| Some((&self.streets, wanted.street.as_ref()?))) else {
            return self.everybody_meant(wanted);
        };
        let bearers = bearers.of(token).into_iter().map(|place| &self.persons[place as usize]);
        bearers.filter(|one| one.is_meant(wanted)).collect()
    }
}

/// What invented persons lack: order names, weddings, representatives, parts of numbers, dwellings elsewhere.
fn enriched(dice: &mut Dice, mut person: Person) -> Person {
    let name = |dice: &mut Dice| synth::person(SEED, home(), dice.below(400)).family_names.remove(0);
    if dice.one_in(40) {
        person.order_names.push(format!("Pater {}", name(dice)));
    }
    if dice.one_in(10) {
        person.doctorate = Some("Dr.".to_owned());
    }
    if dice.one_in(3) {
        person.marriage_date = person.birth_dates.last().copied();
        person.marriage_place = person.birth_place.clone();
        person.partner_name = Some(name(dice));
    }
    if dice.one_in(8) {
        person.representatives.push(name(dice));
        person.locked_representatives.push(name(dice));
    }
    if dice.one_in(10) {
        person.nationalities.push("121".to_owned());
    }
    for address in &mut person.addresses {
        if dice.one_in(10) {
            address.part = "2b".to_owned();
        }
    }
    if let [_, former, ..] = &mut person.addresses[..]
        && dice.one_in(6)
    {
        former.ags = Ags::parse("10041511").ok();
    }
    person
}

/// One who bears such a name is asked for it; in the free search sometimes by its beginning.
fn random_name(dice: &mut Dice, name: &str, placeholders: bool) -> String {
    if placeholders && dice.one_in(3) {
        let kept = 1 + dice.below(4) as usize;
        let tail = if dice.one_in(2) { "*" } else { "?*" };
        return name.chars().take(kept).collect::<String>() + tail;
    }
    if dice.one_in(4) {
        return name.to_uppercase().replace('Ä', "AE").replace("SS", "ß");
    }
    name.to_owned()
}

/// All data that the profile knows, each now and then: of one person, and seldom one datum of another.
fn random_question(dice: &mut Dice, profile: Profile, persons: &[Known]) -> Selection {
    let somebody = |dice: &mut Dice| &persons[dice.below(persons.len() as u64) as usize].person;
    let about = somebody(dice);
    let (free, private) = (profile == Profile::FreeSearch, profile == Profile::PrivateEnquiry);
    let by_sound = !private && dice.one_in(4);
    let placeholders = free && !by_sound;
    let formers: Vec<&String> = about.birth_names.iter().chain(&about.former_family_names).collect();
    let artists: Vec<&String> = about.order_names.iter().chain(&about.stage_names).collect();
    let one_of = |dice: &mut Dice, names: &[&String]| -> Option<String> {
        let place = dice.below(names.len().max(1) as u64) as usize;
        names.get(place).map(|name| (*name).clone())
    };
    let own = if dice.one_in(3) { one_of(dice, &formers) } else { None };
    let family = own.unwrap_or_else(|| about.family_names[0].clone());
    let former = one_of(dice, &formers).filter(|_| dice.one_in(2));
    let artist = one_of(dice, &artists).filter(|_| dice.one_in(2));
    let mut given = about.given_names[0].clone();
    if given == "+" || dice.one_in(2) {
        given = given.split(' ').next_back().unwrap_or_default().to_owned();
    }
    let alone = former.is_some() && dice.one_in(2) || artist.is_some() && profile == Profile::PersonSearch;
    let mut asked = Selection {
        municipalities: vec![home()],
        family_name: Some(random_name(dice, &family, placeholders))
            .filter(|_| !alone && (!free || !dice.one_in(3))),
        former_name: former.map(|name| random_name(dice, &name, placeholders)),
        artist_name: artist.map(|name| random_name(dice, &name, placeholders)),
        given_names: Some(given).filter(|_| !free || dice.one_in(2)),
        by_sound,
        ..Selection::default()
    };
    random_residence(dice, profile, about, &mut asked);
    let born = about.birth_dates[dice.below(about.birth_dates.len() as u64) as usize];
    match (dice.below(3), born.first_day()) {
        (0, Some(day)) if free => {
            asked.born_from = day.checked_sub(20.days()).ok();
            asked.born_until = day.checked_add((dice.below(60) as i64).days()).ok();
        }
        // As it is written, or of its day nothing is known to whoever asks.
        (0 | 1, _) if dice.one_in(10) => asked.birth_date = Some(format!("00{}", &born.to_string()[2..])),
        (0 | 1, _) => asked.birth_date = Some(born.to_string()),
        _ => {}
    }
    if !free || dice.one_in(3) {
        asked.sex = about.sex;
    }
    let other = if dice.one_in(12) { somebody(dice) } else { about };
    let date = |date: Option<PartialDate>| date.map(|date| date.to_string());
    if dice.one_in(5) {
        asked.birth_place = other.birth_place.as_ref().map(|place| place.to_uppercase());
        asked.birth_state = other.birth_state.clone().filter(|_| dice.one_in(2));
    }
    if about.death_date.is_some() && dice.one_in(2) {
        asked.death_date = date(other.death_date);
        asked.death_place = other.death_place.clone().filter(|_| dice.one_in(2));
    }
    if free && dice.one_in(5) {
        asked.nationality = one_of(dice, &other.nationalities.iter().collect::<Vec<_>>());
    }
    if (free || private) && dice.one_in(5) {
        asked.marital_status = other.marital_status;
        asked.marriage_date = date(other.marriage_date).filter(|_| dice.one_in(2));
        asked.marriage_place = other.marriage_place.clone().filter(|_| dice.one_in(2));
    }
    if private && dice.one_in(5) {
        asked.partner_name = other.partner_name.clone();
        let hidden = dice.one_in(4);
        let names = if hidden { &other.locked_representatives } else { &other.representatives };
        asked.representative = one_of(dice, &names.iter().collect::<Vec<_>>());
    }
    asked
}

/// Of one address; seldom of two, which nobody has as one.
fn random_residence(dice: &mut Dice, profile: Profile, about: &Person, asked: &mut Selection) {
    let any = |dice: &mut Dice| &about.addresses[dice.below(about.addresses.len() as u64) as usize];
    let address = any(dice);
    let (free, private) = (profile == Profile::FreeSearch, profile == Profile::PrivateEnquiry);
    let part = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    if dice.one_in(2) {
        asked.street = Some(address.street.clone());
        if free && !asked.by_sound && dice.one_in(4) {
            asked.street = Some(address.street.chars().take(4).collect::<String>() + "*");
        }
        let address = if dice.one_in(8) { any(dice) } else { address };
        match dice.below(4) {
            0 => {}
            1 if free => {
                let number: u32 = address.number.parse().expect("a number");
                asked.number_from = Some(number.saturating_sub(dice.below(9) as u32));
                asked.number_until = Some(number + dice.below(9) as u32);
            }
            1 => asked.number = Some(format!("0{}", address.number)),
            _ => asked.number = Some(address.number.clone()),
        }
        if asked.number.is_some() && dice.one_in(2) {
            asked.letter = part(&address.letter.to_uppercase());
            asked.part = part(&address.part).filter(|_| dice.one_in(2));
        }
    }
    if dice.one_in(6) {
        asked.postcode = part(&address.postcode);
        asked.place = part(&address.place).filter(|_| dice.one_in(2));
    }
    if (free || private) && dice.one_in(6) {
        asked.moved_in = address.moved_in.map(|date| date.to_string());
        asked.moved_out = address.moved_out.map(|date| date.to_string());
    }
}

/// Whose the lists are.
const BODY: &str = "Amt A";
/// How long the features of a list are good (section 39(2) BMG; annex number 5).
const FEATURE_HOURS: u64 = 48;

/// One hit of a list: whom its feature stands for, as the list has told of them.
struct Told {
    feature: String,
    key: Key,
}

/// A question by a feature: seldom by one that no list has, for a body that has not got the list, when it is over.
struct ByFeature<'a> {
    told: &'a Told,
    feature: String,
    body: &'static str,
    minutes_after: u64,
}

impl<'a> ByFeature<'a> {
    fn random(dice: &mut Dice, told: &'a [Told]) -> Self {
        let told = &told[dice.below(told.len() as u64) as usize];
        let feature = match dice.below(12) {
            0 => told.feature.chars().rev().collect(),
            1 => told.feature[1..].to_owned(),
            2 => told.key.0.clone(),
            _ => told.feature.clone(),
        };
        let over = if dice.one_in(4) { dice.below(30) } else { 0 };
        let minutes_after = match over {
            0 => dice.below(60 * FEATURE_HOURS),
            1..10 => 60 * FEATURE_HOURS,
            hours => 60 * (FEATURE_HOURS + hours),
        };
        Self { told, feature, body: if dice.one_in(5) { "Amt B" } else { BODY }, minutes_after }
    }

    fn meant(&self) -> Option<&'a Key> {
        let good = self.body == BODY && self.minutes_after < 60 * FEATURE_HOURS;
        (good && self.feature == self.told.feature).then_some(&self.told.key)
    }

    fn ask(&self, copies: &Copies, profile: Profile, told_at: Timestamp) -> Option<Key> {
        let requester =
            Requester { body: self.body.to_owned(), ..asked(profile, Selection::default()).requester };
        let at = told_at.checked_add((self.minutes_after as i64).minutes()).expect("in range");
        match copies.ask_feature(&requester, profile, &self.feature, at).expect("answered").answer {
            Answer::Neutral => None,
            Answer::Person { data } => Some(key_of(&data)),
            Answer::List { .. } => panic!("a list behind one feature"),
        }
    }
}

fn asked(profile: Profile, selection: Selection) -> Asked {
    let private = profile == Profile::PrivateEnquiry;
    Asked {
        requester: Requester {
            asker: if private { Asker::Citizen } else { Asker::PublicBody },
            purpose: if private { Purpose::Private } else { Purpose::Task },
            body: BODY.to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Anhörung".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: true,
            declares_no_trade: true,
        },
        profile,
        selection,
        reader: None,
        test: false,
    }
}

fn key_of(data: &Disclosure) -> Key {
    let text = |value: Option<&serde_json::Value>| {
        value.and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    (
        text(data.get("family-name")),
        text(data.get("given-names").and_then(|one| one.get("names"))),
        text(data.get("birth").and_then(|one| one.get("date"))),
    )
}

fn load(copies: &Copies, ags: Ags, as_of: Timestamp, persons: &[Person]) {
    copies.begin_load(ags, 1, 0, as_of).expect("begun");
    let records: Vec<Vec<u8>> = persons.iter().map(Person::to_bytes).collect();
    let mut receipt = LoadReceipt::default();
    copies.load(ags, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
    copies.finish_load(ags, persons.len() as u64, &receipt).expect("finished");
}

#[test]
fn indexed_searches_answer_what_looking_at_everybody_answers() {
    let questions = std::env::var("AMTSBOTE_ORACLE_QUESTIONS").ok().and_then(|text| text.parse().ok());
    let questions: u64 = questions.unwrap_or(600);
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(folder.path());
    settings.list_max = PERSONS as usize;
    // Features run out before the copy does.
    settings.stale_after = Duration::from_secs(100 * 3600);
    let copies = Copies::open(settings, LogKey::new(&[1; 32])).expect("copies");
    let more = &mut Dice::new(SEED);
    let persons = (0..PERSONS).map(|number| enriched(more, synth::person(SEED, home(), number)));
    let persons: Vec<Person> = persons.collect();
    let now: Timestamp = "2026-11-23T09:00:00Z".parse().expect("an instant");
    load(&copies, home(), now, &persons);
    let still = |person: &Person| gone_in(person).is_none_or(|year| 2026 - year <= GONE_YEARS);
    let town = Town::new(persons.into_iter().filter(still).map(known).collect());
    assert!(town.persons.len() < PERSONS as usize, "somebody left long ago");
    let mut all = Asking::default();
    std::thread::scope(|scope| {
        let askers = (0..ASKERS).map(|asker| {
            let (copies, town) = (&copies, &town);
            scope.spawn(move || ask(copies, town, SEED + asker, questions / ASKERS, now))
        });
        for asker in askers.collect::<Vec<_>>() {
            all.add(asker.join().expect("all agree"));
        }
    });
    let Asking { answered, hits, neutral, refused, searching, looking, by_feature } = all;
    println!("{:.0} s of searching, {:.0} s of looking", searching.as_secs_f64(), looking.as_secs_f64());
    println!("{answered} of {questions} answered, {hits} hits, {neutral} neutral; refused: {refused:?}");
    println!("by feature, of each profile: {by_feature:?} told of somebody, and of nobody");
    assert!(answered * 10 > questions * 7 && hits > answered / 2, "the questions are too weak");
    assert!(by_feature.len() == 2 && by_feature.values().all(|(told, none)| *told > 0 && *none > 0));
}

/// Questions are asked from several threads: while one waits for the disk, the others look at people.
const ASKERS: u64 = 4;
/// Of so many questions, one is put to everybody.
const EVERYBODY: u64 = 50;

#[derive(Default)]
struct Asking {
    answered: u64,
    hits: u64,
    neutral: u64,
    refused: BTreeMap<&'static str, u64>,
    searching: Duration,
    looking: Duration,
    /// Answers about somebody, and about nobody.
    by_feature: BTreeMap<&'static str, (u64, u64)>,
}

impl Asking {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.hits += other.hits;
        self.neutral += other.neutral;
        self.searching += other.searching;
        self.looking += other.looking;
        for (profile, (told, none)) in other.by_feature {
            let own = self.by_feature.entry(profile).or_default();
            *own = (own.0 + told, own.1 + none);
        }
        other.refused.into_iter().for_each(|(word, count)| *self.refused.entry(word).or_insert(0) += count);
    }
}

fn ask(copies: &Copies, town: &Town, seed: u64, questions: u64, now: Timestamp) -> Asking {
    let dice = &mut Dice::new(seed);
    let mut asking = Asking::default();
    let mut told: Vec<Told> = Vec::new();
    for round in 0..questions {
        let profile = Profile::ALL[(round % 3) as usize];
        if profile != Profile::PrivateEnquiry && !told.is_empty() && dice.one_in(5) {
            let question = ByFeature::random(dice, &told);
            let found = question.ask(copies, profile, now);
            let ByFeature { feature, body, minutes_after, .. } = &question;
            let words = format!("question {round}: {feature}, {body}, after {minutes_after} min");
            assert_eq!(found.as_ref(), question.meant(), "{words}");
            let count = asking.by_feature.entry(profile.as_str()).or_default();
            *count = (count.0 + u64::from(found.is_some()), count.1 + u64::from(found.is_none()));
            asking.answered += 1;
            asking.hits += u64::from(found.is_some());
            asking.neutral += u64::from(found.is_none());
            continue;
        }
        let selection = random_question(dice, profile, &town.persons);
        let began = Instant::now();
        let answer = copies.ask(&asked(profile, selection.clone()), now);
        asking.searching += began.elapsed();
        let answer = match answer {
            Ok(outcome) => outcome.answer,
            Err(CopyError::Question(reason)) => {
                *asking.refused.entry(reason.word()).or_insert(0) += 1;
                assert_ne!(reason, Reason::StreetUnknown, "{selection:?}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        asking.answered += 1;
        let wanted = Wanted::new(profile, &selection);
        let began = Instant::now();
        let meant = town.meant(&wanted);
        if round % EVERYBODY == 0 {
            let marks = |persons: &[&Known]| -> Vec<String> {
                persons.iter().map(|one| one.person.mark.clone()).collect()
            };
            assert_eq!(marks(&meant), marks(&town.everybody_meant(&wanted)), "the lists: {selection:?}");
        }
        asking.looking += began.elapsed();
        let visible: Vec<&&Known> = meant.iter().filter(|one| !one.is_hidden()).collect();
        let private = profile == Profile::PrivateEnquiry;
        let short = |key: &Key| match private {
            true => (key.0.clone(), key.1.clone(), String::new()),
            false => key.clone(),
        };
        let mut expected: Vec<Key> = visible.iter().map(|one| short(&one.key)).collect();
        if private && (meant.len() != 1 || visible.len() != 1) {
            expected.clear();
        }
        let mut found: Vec<Key> = match &answer {
            Answer::Neutral => Vec::new(),
            Answer::Person { data } => vec![key_of(data)],
            Answer::List { hits, more, .. } => {
                assert!(!more);
                // A few of each list, so that those of the last lists are among them.
                told.truncate(200);
                let some = hits.iter().rev().take(3);
                told.splice(
                    0..0,
                    some.map(|hit| Told { feature: hit.feature.clone(), key: key_of(&hit.data) }),
                );
                hits.iter().map(|hit| key_of(&hit.data)).collect()
            }
        };
        // A name that is rightly absent is told as such or not at all.
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "question {round}, {}: {selection:?}", profile.as_str());
        asking.hits += found.len() as u64;
        asking.neutral += u64::from(found.is_empty());
    }
    asking
}

/// Each look at it is work that takes time, another one for each kind of answer; no machine is too busy for it.
struct Working(HandClock);

impl Clock for Working {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_millis(1));
        self.0.now()
    }
}

/// Unknown, ambiguous, locked and stale: told apart by nothing that leaves the house.
#[test]
fn neutral_answers_are_told_apart_by_neither_content_nor_size_nor_time() {
    const ROUNDS: u64 = 25;
    let bucket = Duration::from_secs(1);
    let folder = tempfile::tempdir().expect("a folder");
    let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
    let clock: Arc<dyn Clock> =
        Arc::new(Working(HandClock::at("2026-11-23T09:00:00Z".parse().expect("an instant"))));
    let old = Ags::parse("10041511").expect("a key");
    let named = |mark: &str, family: &str, lock: Option<u8>| Person {
        mark: mark.to_owned(),
        family_names: vec![family.to_owned()],
        given_names: vec!["Willi".to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        locks: lock.and_then(|code| Lock::try_from(code).ok()).into_iter().collect(),
        ..synth::person(SEED, home(), 1)
    };
    let mut persons: Vec<Person> = (10..2000).map(|number| synth::person(SEED, home(), number)).collect();
    persons.extend([named("a", "Doppel", None), named("b", "Doppel", None), named("c", "Sperre", Some(3))]);
    load(&copies, home(), clock.now(), &persons);
    let long_ago = clock.now().checked_sub(72.hours()).expect("in range");
    load(&copies, old, long_ago, &[named("d", "Einzig", None)]);
    let party = |kennung: &str| Party { kennung: kennung.to_owned(), name: "Amt".to_owned() };
    let own = |kennung: &str| Own {
        party: party(kennung),
        address: PostalAddress {
            postcode: "00001".to_owned(),
            street: "Weg".to_owned(),
            place: "Ort".to_owned(),
            ..PostalAddress::default()
        },
        reachable_at: "post@amt.invalid".to_owned(),
    };
    let settings = desk::Settings {
        own: own("zmb:10"),
        identifiers: vec!["zmb:10".to_owned()],
        askers: [("lap:1".to_owned(), Entitled { asker: Asker::Citizen, empowered: false })].into(),
        bucket,
        refetch: refetch::Rule { days: 8, zone: TimeZone::UTC },
        deadlines: Deadlines {
            calendar: Calendar::parse(SAARLAND).expect("the calendar"),
            zone: TimeZone::UTC,
            warn_days: 2,
            due_days: 3,
        },
    };
    let desk = Desk::new(copies, settings, clock.clone());
    let cases = [
        ("unknown", home(), "Niemand"),
        ("ambiguous", home(), "Doppel"),
        ("locked", home(), "Sperre"),
        ("stale", old, "Einzig"),
    ];
    let mut shapes: BTreeSet<String> = BTreeSet::new();
    let mut sizes: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut taken: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
    let mut leave_after: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let mut moved: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let watched_at = clock.now();
    let figures = |desk: &Desk| desk.copies.figures(watched_at).expect("figures");
    for _ in 0..ROUNDS {
        for (case, ags, family) in cases {
            let selection = Selection {
                municipalities: vec![ags],
                family_name: Some(family.to_owned()),
                given_names: Some("Willi".to_owned()),
                birth_date: Some("17031998".to_owned()),
                sex: named("x", "x", None).sex,
                ..Selection::default()
            };
            let uuid = uuid::Uuid::new_v4().to_string();
            let mut out = begin(
                &RELEASES[1],
                Number::EnquiryAsked,
                &own("lap:1"),
                &party("zmb:10"),
                &uuid,
                clock.now(),
                false,
            );
            question::write(&mut out, &asked(Profile::PrivateEnquiry, selection));
            let bytes = out.finish().into_bytes();
            let content = move || -> std::io::Result<Box<dyn BufRead>> {
                Ok(Box::new(std::io::Cursor::new(bytes.clone())))
            };
            let sender = Sender::Vouched("lap:1".to_owned());
            let delivery = Delivery { transport_id: &uuid, sender: &sender, from: "lap:1", test: false };
            let before = figures(&desk);
            let (began, begun) = (clock.now(), Instant::now());
            let handled = desk.handle(&delivery, &content).expect("handled");
            let (ended, work) = (clock.now(), begun.elapsed());
            moved.entry(case).or_default().insert(format!("from {before:?} to {:?}", figures(&desk)));
            assert_eq!(handled.outcome, "answered", "{case}: {handled:?}");
            let due = desk.copies.due(ended.checked_add(1.hour()).expect("in range")).expect("a look");
            let [reply] = &due[..] else { panic!("one reply: {due:?}") };
            desk.copies.note_sent(reply.id, ended).expect("noted");
            let text = String::from_utf8(reply.bytes.clone()).expect("text");
            assert!(text.contains("keineAuskunft"), "{case}");
            sizes.entry(case).or_default().insert(text.len());
            shapes.insert(blanked(&text));
            taken.entry(case).or_default().push(work.as_micros());
            let after = reply.since.as_microsecond() - began.as_microsecond();
            leave_after.entry(case).or_default().insert(after);
        }
    }
    assert_eq!(shapes.len(), 1, "one content: {shapes:#?}");
    let all: BTreeSet<usize> = sizes.values().flatten().copied().collect();
    assert_eq!(all.len(), 1, "one size: {sizes:?}");
    for (case, mut times) in taken {
        times.sort_unstable();
        println!(
            "{case}: {ROUNDS} answers, {} bytes each, work p50 {} µs, max {} µs",
            all.first().expect("one"),
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    // Counted from the desk's first look at the clock, whatever work comes after it.
    let since_first = bucket + Duration::from_millis(1);
    let expected = BTreeSet::from([i64::try_from(since_first.as_micros()).expect("small")]);
    assert!(leave_after.values().all(|one| *one == expected), "at the end of the first: {leave_after:?}");
    // Nor do the figures that are watched tell them apart.
    let all: BTreeSet<&String> = moved.values().flatten().collect();
    assert_eq!(all.len(), 1, "{moved:#?}");
}

/// Ids and instants are of fixed length and say nothing; all else must be equal.
fn blanked(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive('>') {
        let value = piece.split('<').next().unwrap_or_default();
        let is_id = value.len() == 36 && value.matches('-').count() == 4;
        let is_instant = value.len() == 29 && value.contains('T') && value.ends_with("+00:00");
        out.push_str(&if is_id || is_instant { piece.replacen(value, "_", 1) } else { piece.to_owned() });
    }
    out
}
