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
        let family = asked.family_name.as_ref().map_or_else(Vec::new, |name| match free {
            true => split(name),
            false => Token::of(name, asked.by_sound).into_iter().collect(),
        });
        let period = asked.born_from.zip(asked.born_until);
        Self {
            asked,
            profile,
            family,
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
    given: Vec<(String, String)>,
    streets: Vec<(String, String)>,
    birth: Vec<(String, String)>,
    key: Key,
}

type Key = (String, String, String);

fn known(person: Person) -> Known {
    let plus =
        |names: &Vec<String>| -> Vec<String> { names.iter().filter(|name| *name != "+").cloned().collect() };
    let civil: Vec<String> =
        [plus(&person.family_names), plus(&person.birth_names), plus(&person.former_family_names)].concat();
    let artist = [plus(&person.order_names), plus(&person.stage_names)].concat();
    let family = [civil.clone(), artist.clone()].concat();
    let used: Vec<String> = person.used_given_name.iter().cloned().collect();
    let given = [plus(&person.given_names), used, plus(&person.former_given_names), artist].concat();
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
        // Who is asked for as having rightly none is meant by nothing else.
        let given = match wanted.asked.given_names.as_deref() {
            Some("+") => self.person.given_names == ["+"],
            _ => wanted.given.iter().all(|token| token.is_among(&self.given)),
        };
        wanted.family.iter().all(|token| token.is_among(family))
            && given
            && self.birth_fits(wanted)
            && wanted.asked.sex.is_none_or(|sex| self.person.sex == Some(sex))
            && self.address_fits(wanted)
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
        let Some(token) = &wanted.street else { return true };
        self.person.addresses.iter().zip(&self.streets).any(|(address, form)| {
            let number = &wanted.asked.number;
            token.is_among(std::slice::from_ref(form))
                && number.as_ref().is_none_or(|number| *number == address.number)
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

fn random_question(dice: &mut Dice, profile: Profile, persons: &[Known]) -> Selection {
    let about = &persons[dice.below(persons.len() as u64) as usize].person;
    let free = profile == Profile::FreeSearch;
    let former = about.birth_names.first().filter(|_| dice.one_in(3));
    let mut family = former.unwrap_or(&about.family_names[0]).clone();
    let mut given = about.given_names[0].clone();
    if given == "+" || dice.one_in(2) {
        given = given.split(' ').next_back().unwrap_or_default().to_owned();
    }
    let by_sound = profile != Profile::PrivateEnquiry && dice.one_in(4);
    if free && !by_sound && dice.one_in(3) {
        let kept = 1 + dice.below(4) as usize;
        let tail = if dice.one_in(2) { "*" } else { "?*" };
        family = family.chars().take(kept).collect::<String>() + tail;
    } else if dice.one_in(4) {
        family = family.to_uppercase().replace('Ä', "AE").replace("SS", "ß");
    }
    let mut asked = Selection {
        municipalities: vec![home()],
        family_name: Some(family).filter(|_| !free || !dice.one_in(3)),
        given_names: Some(given).filter(|_| !free || dice.one_in(2)),
        by_sound,
        ..Selection::default()
    };
    let address = &about.addresses[dice.below(about.addresses.len() as u64) as usize];
    if dice.one_in(2) {
        asked.street = Some(address.street.clone());
        if free && !by_sound && dice.one_in(4) {
            asked.street = Some(address.street.chars().take(4).collect::<String>() + "*");
        }
        asked.number = Some(address.number.clone()).filter(|_| dice.one_in(2));
    }
    let born = about.birth_dates[dice.below(about.birth_dates.len() as u64) as usize];
    match (dice.below(3), born.first_day()) {
        (0, Some(day)) if free => {
            asked.born_from = day.checked_sub(20.days()).ok();
            asked.born_until = day.checked_add((dice.below(60) as i64).days()).ok();
        }
        (0 | 1, _) => asked.birth_date = Some(born.to_string()),
        _ => {}
    }
    if !free || dice.one_in(3) {
        asked.sex = about.sex;
    }
    asked
}

fn asked(profile: Profile, selection: Selection) -> Asked {
    let private = profile == Profile::PrivateEnquiry;
    Asked {
        requester: Requester {
            asker: if private { Asker::Citizen } else { Asker::PublicBody },
            purpose: if private { Purpose::Private } else { Purpose::Task },
            body: "Amt A".to_owned(),
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
    let copies = Copies::open(settings, LogKey::new(&[1; 32])).expect("copies");
    let persons: Vec<Person> = (0..PERSONS).map(|number| synth::person(SEED, home(), number)).collect();
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
    let Asking { answered, hits, neutral, refused, searching, looking } = all;
    println!("{:.0} s of searching, {:.0} s of looking", searching.as_secs_f64(), looking.as_secs_f64());
    println!("{answered} of {questions} answered, {hits} hits, {neutral} neutral; refused: {refused:?}");
    assert!(answered * 10 > questions * 7 && hits > answered / 2, "the questions are too weak");
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
}

impl Asking {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.hits += other.hits;
        self.neutral += other.neutral;
        self.searching += other.searching;
        self.looking += other.looking;
        other.refused.into_iter().for_each(|(word, count)| *self.refused.entry(word).or_insert(0) += count);
    }
}

fn ask(copies: &Copies, town: &Town, seed: u64, questions: u64, now: Timestamp) -> Asking {
    let dice = &mut Dice::new(seed);
    let mut asking = Asking::default();
    for round in 0..questions {
        let profile = Profile::ALL[(round % 3) as usize];
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
    let mut buckets: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
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
            let (began, begun) = (clock.now(), Instant::now());
            let handled = desk.handle(&delivery, &content).expect("handled");
            let (ended, work) = (clock.now(), begun.elapsed());
            assert_eq!(handled.outcome, "answered", "{case}: {handled:?}");
            let due = desk.copies.due(ended.checked_add(1.hour()).expect("in range")).expect("a look");
            let [reply] = &due[..] else { panic!("one reply: {due:?}") };
            desk.copies.note_sent(reply.id, ended).expect("noted");
            let text = String::from_utf8(reply.bytes.clone()).expect("text");
            assert!(text.contains("keineAuskunft"), "{case}");
            sizes.entry(case).or_default().insert(text.len());
            shapes.insert(blanked(&text));
            taken.entry(case).or_default().push(work.as_micros());
            // Counted from the instant at which the desk took it, which lies between the two.
            let after = reply.since.as_microsecond() - began.as_microsecond();
            let width = i64::try_from(bucket.as_micros()).expect("small");
            buckets.entry(case).or_default().insert(after / width);
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
    assert!(buckets.values().all(|one| *one == BTreeSet::from([1])), "at the end of the first: {buckets:?}");
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
