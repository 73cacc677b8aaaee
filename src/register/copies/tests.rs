//! Copies on a real database: loads, streams with faults, locks, searches against a brute force, the neutral answer,
//! the log.

use std::collections::BTreeMap;

use jiff::ToSpan;

use super::*;
use crate::register::answer::{Answer, Duty, leaves_at};
use crate::register::person::{Lock, Person};
use crate::register::question::{Profile, Question, Selection};
use crate::register::reconcile::{Hash, hash};
use crate::register::rights::{Asker, Purpose};
use crate::register::stream::{Change, Occasion};
use crate::register::synth::{Dice, person};

const SEED: u64 = 0x5eed;

fn ags(text: &str) -> Ags {
    Ags::parse(text).expect("eight digits")
}

fn home() -> Ags {
    ags("10041100")
}

fn at(hours: i64) -> Timestamp {
    let start: Timestamp = "2026-03-02T08:00:00Z".parse().expect("an instant");
    start.checked_add(hours.hours()).expect("in range")
}

struct Rig {
    copies: Copies,
    folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[7; 32])).expect("copies");
    Rig { copies, folder }
}

impl Rig {
    fn load(&self, ags: Ags, generation: u64, persons: &[Person]) -> LoadReceipt {
        self.copies.begin_load(ags, generation, 0, at(0)).expect("begun");
        let records: Vec<Vec<u8>> = persons.iter().map(Person::to_bytes).collect();
        let mut receipt = LoadReceipt::default();
        self.copies.load(ags, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
        self.copies.finish_load(ags, persons.len() as u64, &receipt).expect("finished");
        receipt
    }

    fn count(&self, sql: &str) -> i64 {
        self.copies.read(|work| work.only(sql, params![], |row| row.get(0))).expect("a count")
    }

    /// Somebody with the database, past everything that the copies do.
    fn set(&self, sql: &str, values: &[Value<'_>]) {
        self.copies.write(|work| work.run(sql, values)).expect("set");
    }

    /// Of the embedded engine.
    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join(base::DATABASE_FILE)).expect("the database")
    }
}

/// Two operators, one of whom releases what the other one reads.
fn two(rig: &Rig, mark: &str, now: Timestamp) -> TwoReaders {
    let wish = rig.copies.wish(&Subject::Report { ags: home(), mark }, Operator(1), now).expect("a wish");
    rig.copies.released(wish, Operator(2), now).expect("released")
}

fn named(mark: &str, family: &str, given: &str) -> Person {
    Person {
        mark: mark.to_owned(),
        family_names: vec![family.to_owned()],
        given_names: vec![given.to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        sex: Some(crate::register::person::Sex::M),
        addresses: vec![crate::register::person::Address {
            street: "Krumme Straße".to_owned(),
            number: "1".to_owned(),
            ..Default::default()
        }],
        ..Person::default()
    }
}

fn locked(person: Person, code: u8) -> Person {
    Person { locks: vec![Lock::try_from(code).expect("a lock")], ..person }
}

fn asked(asker: Asker, profile: Profile, family: &str) -> Asked {
    let citizen = matches!(asker, Asker::Citizen | Asker::Firm);
    Asked {
        requester: Requester {
            asker,
            purpose: if citizen { Purpose::Private } else { Purpose::Task },
            body: "Amt A".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Anhörung".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: false,
            declares_no_trade: true,
        },
        profile,
        selection: Selection {
            municipalities: vec![home()],
            family_name: Some(family.to_owned()),
            given_names: Some("Willi".to_owned()),
            birth_date: Some("17031998".to_owned()),
            sex: Some(crate::register::person::Sex::M),
            ..Selection::default()
        },
        reader: None,
        test: false,
    }
}

fn change(sequence: u64, occasion: Occasion, record: Person) -> Change {
    let mark = record.mark.clone();
    Change { ags: home(), generation: 1, sequence, at: at(1), occasion, mark, record: Some(record) }
}

#[test]
fn a_load_is_switched_to_as_a_whole_and_names_what_it_refused() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    rig.copies.begin_load(home(), 2, 40, at(1)).expect("begun");
    let good = named("2", "Bussard", "Willi").to_bytes();
    let records: [&[u8]; 4] =
        [&good, b"{", &good, br#"{"mark":"3","family_names":["Condor"],"picture":"x"}"#];
    let mut receipt = LoadReceipt::default();
    rig.copies.load(home(), records, &mut receipt).expect("loaded");
    assert_eq!((receipt.stored, receipt.refused), (2, 2));
    assert_eq!(receipt.refused_records.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(receipt.left_out, BTreeMap::from([("picture".to_owned(), 1)]));
    // Until the end the former copy answers.
    assert_eq!(rig.copies.entries(home()).expect("entries").into_keys().collect::<Vec<_>>(), ["1"]);
    assert!(matches!(
        rig.copies.finish_load(home(), 5, &receipt),
        Err(CopyError::Incomplete { announced: 5, came: 4 })
    ));
    rig.copies.finish_load(home(), 4, &receipt).expect("finished");
    assert_eq!(rig.copies.entries(home()).expect("entries").into_keys().collect::<Vec<_>>(), ["2", "3"]);
    assert!(
        matches!(rig.copies.begin_load(home(), 2, 0, at(2)), Err(CopyError::Refused(_))),
        "an old generation"
    );
    while rig.copies.clear_retired().expect("cleared") {}
    let count = |sql: &str| rig.count(sql);
    assert_eq!(count("SELECT count(*) FROM person"), 2);
    assert_eq!(count("SELECT count(*) FROM term WHERE person NOT IN (SELECT id FROM person)"), 0);
    let states = rig.copies.states(at(2)).expect("states");
    assert_eq!((states[0].generation, states[0].sequence, states[0].persons), (2, 40, 2));
    assert!(!states[0].stale && rig.copies.states(at(26)).expect("states")[0].stale);
}

#[test]
fn indexed_searches_find_whom_a_brute_force_finds() {
    let rig = rig();
    let persons: Vec<Person> = (0..600).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 1, &persons);
    let dice = &mut Dice::new(SEED);
    let (mut found, mut taken) = (0, 0);
    for round in 0..600 {
        let profile = Profile::ALL[round % 3];
        let about = &persons[dice.below(600) as usize];
        let selection = random_selection(dice, profile, about);
        let Ok(question) = Question::new(profile, &selection) else { continue };
        taken += 1;
        let expected: Vec<&str> =
            persons.iter().filter(|one| question.criteria.fit(one)).map(|one| one.mark.as_str()).collect();
        let hits = rig.copies.read(|work| {
            let copy = copy_of(work, home(), schema::LIVE)?.expect("a living copy");
            let mut hits = Vec::new();
            let criteria = question.criteria.within(home());
            candidates::persons(work, &copy, &criteria, 20_000, &mut |person, _| {
                hits.push(person);
                Ok(true)
            })?;
            Ok(hits)
        });
        let mut hits: Vec<String> = match hits {
            Ok(hits) => hits.into_iter().map(|one| one.mark).collect(),
            Err(CopyError::Question(Reason::TooBroad)) => continue,
            Err(error) => panic!("round {round}: {error}"),
        };
        hits.sort_unstable();
        assert_eq!(hits, expected, "round {round}: {selection:?}");
        found += hits.len();
    }
    assert!(
        taken > 400 && found > 400,
        "{taken} questions found {found} persons: the questions are too weak"
    );
}

/// A question about somebody who is there, or almost.
fn random_selection(dice: &mut Dice, profile: Profile, about: &Person) -> Selection {
    let free = profile == Profile::FreeSearch;
    let mut family =
        about.birth_names.first().filter(|_| dice.one_in(3)).unwrap_or(&about.family_names[0]).clone();
    let mut given = about.given_names[0].clone();
    if dice.one_in(2) {
        given = given.split(' ').next_back().unwrap_or_default().to_owned();
    }
    let by_sound = profile != Profile::PrivateEnquiry && dice.one_in(4);
    if free && !by_sound && dice.one_in(3) {
        let kept = 1 + dice.below(3) as usize;
        family = family.chars().take(kept).chain("*".chars()).collect();
    } else if dice.one_in(4) {
        family = family.to_uppercase().replace('Ä', "AE");
    }
    let mut selection = Selection {
        municipalities: vec![home()],
        family_name: Some(family).filter(|_| !free || !dice.one_in(3)),
        given_names: Some(given).filter(|_| !free || dice.one_in(2)),
        by_sound,
        ..Selection::default()
    };
    let address = &about.addresses[dice.below(about.addresses.len() as u64) as usize];
    if dice.one_in(2) {
        selection.street = Some(address.street.clone());
        selection.number = Some(address.number.clone()).filter(|_| dice.one_in(2));
    }
    let born = about.birth_dates[0];
    match (dice.below(3), born.first_day()) {
        (0, Some(day)) if free => {
            selection.born_from = day.checked_sub(200.days()).ok();
            selection.born_until = day.checked_add(dice.below(400) as i64 * 1.days()).ok();
        }
        (0 | 1, _) => selection.birth_date = Some(born.to_string()),
        _ => {}
    }
    if !free || dice.one_in(3) {
        selection.sex = about.sex;
    }
    selection
}

#[test]
fn a_stream_with_faults_ends_where_a_good_one_ends() {
    for seed in 0..4 {
        let rig = rig();
        let dice = &mut Dice::new(seed);
        let persons: Vec<Person> = (0..30).map(|number| person(SEED, home(), number)).collect();
        rig.load(home(), 1, &persons);
        let mut oracle: BTreeMap<String, Person> =
            persons.iter().map(|one| (one.mark.clone(), one.clone())).collect();
        let mut stream = Vec::new();
        for sequence in 1..=120 {
            let number = dice.below(40);
            let mut record = person(SEED + sequence, home(), number);
            let occasion = match dice.below(6) {
                0 => Occasion::LockSet,
                1 => Occasion::LockEnded,
                _ => Occasion::Address,
            };
            if occasion == Occasion::LockSet {
                record = locked(record, 3);
            }
            let mut one = change(sequence, occasion, record.clone());
            if occasion == Occasion::Address && dice.one_in(5) {
                one = Change { occasion: Occasion::Deleted, record: None, ..one };
                oracle.remove(&one.mark);
            } else {
                oracle.insert(one.mark.clone(), record);
            }
            stream.push(one);
        }
        // Swaps, losses that are delivered later, and repetitions.
        let mut order: Vec<usize> = (0..stream.len()).collect();
        for _ in 0..60 {
            let place = dice.below(order.len() as u64 - 8) as usize;
            order.swap(place, place + 1 + dice.below(7) as usize);
        }
        for _ in 0..30 {
            let place = dice.below(order.len() as u64) as usize;
            order.insert(place, order[dice.below(order.len() as u64) as usize]);
        }
        let mut held = 0;
        for place in order {
            held += u64::from(matches!(rig.copies.change(&stream[place]), Ok(Taken::Held { .. })));
        }
        assert!(held > 10, "seed {seed}: the plan has no gaps");
        assert_eq!(rig.copies.gap(home()).expect("a question"), None, "seed {seed}");
        let expected: BTreeMap<String, Hash> =
            oracle.iter().map(|(mark, one)| (mark.clone(), hash(&one.to_bytes()))).collect();
        assert_eq!(rig.copies.entries(home()).expect("entries"), expected, "seed {seed}");
        assert_eq!(rig.count("SELECT count(*) FROM early_lock"), 0, "seed {seed}: every lock had its turn");
    }
}

#[test]
fn gaps_are_named_and_contradictions_refused() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of = |sequence, family: &str| change(sequence, Occasion::Name, named("1", family, "Willi"));
    assert_eq!(rig.copies.change(&of(1, "Bussard")).expect("taken"), Taken::Applied { after_it: 0 });
    assert_eq!(rig.copies.change(&of(1, "Bussard")).expect("taken"), Taken::Repeated);
    assert!(
        matches!(rig.copies.change(&of(1, "Condor")), Err(CopyError::Refused(why)) if why.contains("S999"))
    );
    assert_eq!(rig.copies.change(&of(5, "Eule")).expect("taken"), Taken::Held { first: 2, last: 4 });
    assert_eq!(rig.copies.change(&of(4, "Dohle")).expect("taken"), Taken::Held { first: 2, last: 3 });
    assert_eq!(rig.copies.gap(home()).expect("a question"), Some((2, 3)));
    assert!(!rig.copies.still_current(home(), 1, 5, at(9)).expect("a question"), "changes are missing");
    assert_eq!(rig.copies.change(&of(3, "Condor")).expect("taken"), Taken::Held { first: 2, last: 2 });
    assert_eq!(rig.copies.change(&of(2, "Buchfink")).expect("taken"), Taken::Applied { after_it: 3 });
    assert!(rig.copies.still_current(home(), 1, 5, at(9)).expect("a question"));
    let older = Change { generation: 0, ..of(6, "Fink") };
    assert!(matches!(rig.copies.change(&older), Err(CopyError::Refused(why)) if why.contains("replaced")));
    let foreign = Change { mark: "2".to_owned(), ..of(6, "Fink") };
    assert!(matches!(rig.copies.change(&foreign), Err(CopyError::Refused(why)) if why.contains("different")));
    let elsewhere = Change { ags: ags("10041511"), ..of(6, "Fink") };
    assert!(
        matches!(rig.copies.change(&elsewhere), Err(CopyError::Refused(why)) if why.contains("no copy yet"))
    );
}

#[test]
fn a_lock_hides_at_once_and_ends_in_its_turn() {
    let rig = rig();
    let (open, shut) = (named("1", "Adler", "Willi"), locked(named("1", "Adler", "Willi"), 3));
    rig.load(home(), 1, std::slice::from_ref(&open));
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let hidden = || rig.copies.ask(&question, at(2)).expect("answered").answer == Answer::Neutral;
    assert!(!hidden());
    // Number 4 comes first; an older picture without the lock must not undo it.
    rig.copies.change(&change(4, Occasion::LockSet, shut.clone())).expect("held");
    assert!(hidden(), "effective before its turn");
    rig.copies.change(&change(1, Occasion::Address, open.clone())).expect("applied");
    rig.copies.change(&change(2, Occasion::Address, open.clone())).expect("applied");
    assert!(hidden(), "an older record does not lift it");
    rig.copies.change(&change(5, Occasion::LockEnded, open.clone())).expect("held");
    assert!(hidden(), "its end waits");
    rig.copies.change(&change(3, Occasion::Address, open.clone())).expect("applied, with 4 and 5");
    assert!(!hidden(), "ended in its turn");
    // During a load: the new generation's picture is older than the lock.
    rig.copies.begin_load(home(), 2, 0, at(2)).expect("begun");
    let mut receipt = LoadReceipt::default();
    rig.copies.load(home(), [&open.to_bytes()[..]], &mut receipt).expect("loaded");
    rig.copies.change(&change(6, Occasion::LockSet, shut)).expect("applied");
    rig.copies.finish_load(home(), 1, &receipt).expect("finished");
    assert!(hidden(), "taken over into the new generation");
    let later = |sequence, occasion| Change { generation: 2, ..change(sequence, occasion, open.clone()) };
    rig.copies.change(&later(1, Occasion::Address)).expect("applied");
    assert!(hidden(), "a record that knows nothing of it does not lift it");
    rig.copies.change(&later(2, Occasion::LockEnded)).expect("applied");
    assert!(!hidden());
}

#[test]
fn the_end_of_a_list_tells_of_nobody_who_is_hidden() {
    let list = |persons: &[Person]| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = Settings { list_max: 3, ..Settings::new(folder.path()) };
        let copies = Copies::open(settings, LogKey::new(&[7; 32])).expect("copies");
        let rig = Rig { copies, folder };
        rig.load(home(), 1, persons);
        match rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(2)) {
            Ok(Outcome { answer: Answer::List { hits, more, .. }, .. }) => {
                (hits.into_iter().map(|hit| hit.data).collect::<Vec<_>>(), more)
            }
            other => panic!("{other:?}"),
        }
    };
    let open: Vec<Person> = (2..=6).map(|n| named(&n.to_string(), "Adler", "Willi")).collect();
    let shut = [locked(named("1", "Adler", "Willi"), 3)];
    for many in [3, 4, 5] {
        let without = list(&open[..many]);
        assert_eq!((without.0.len(), without.1), (3, many > 3));
        assert_eq!(list(&[&shut, &open[..many]].concat()), without, "{many}");
    }
}

#[test]
fn no_load_and_no_rejection_lets_a_lock_be_forgotten() {
    let rig = rig();
    let (open, shut) = (named("1", "Adler", "Willi"), locked(named("1", "Adler", "Willi"), 3));
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    // At the time of the copy's own picture.
    let hidden = || {
        let now = rig.copies.states(at(0)).expect("states")[0].as_of;
        rig.copies.ask(&question, now).expect("answered").answer == Answer::Neutral
    };
    let lock = |generation, sequence, seconds| Change {
        generation,
        at: at(seconds),
        ..change(sequence, Occasion::LockSet, shut.clone())
    };
    let load = |generation, stand| {
        rig.copies.begin_load(home(), generation, 0, at(stand)).expect("begun");
        let mut receipt = LoadReceipt::default();
        rig.copies.load(home(), [&open.to_bytes()[..]], &mut receipt).expect("loaded");
        receipt
    };
    let refused = |lock: &Change| rig.copies.change(lock).expect_err("refused").to_string();
    // There is no copy yet; the first load's picture is older.
    assert!(refused(&lock(1, 1, 20)).contains("no copy yet"));
    rig.copies.finish_load(home(), 1, &load(1, 10)).expect("finished");
    assert!(hidden(), "it came before the first load");
    // A younger picture without it: it is over.
    rig.copies.finish_load(home(), 1, &load(2, 30)).expect("finished");
    assert!(!hidden(), "the municipality no longer has it");
    // Before the load began, while its message waited; and the load begins a second time.
    rig.copies.change(&lock(2, 1, 50)).expect("applied");
    load(3, 40);
    rig.copies.finish_load(home(), 1, &load(3, 40)).expect("finished");
    assert!(hidden(), "older pictures do not lift it");
    let ended = Change { generation: 3, at: at(60), ..change(1, Occasion::LockEnded, open.clone()) };
    rig.copies.change(&ended).expect("applied");
    assert!(!hidden());
    rig.copies.finish_load(home(), 1, &load(4, 55)).expect("finished");
    assert!(!hidden(), "what was ended does not come back");
    // Stamped with a generation that is not there, or out of all order: rejected, and effective.
    for (off, sequence, why) in [(-1, 1, "replaced"), (5, 1, "not loaded"), (0, 20_000, "missing")] {
        assert!(!hidden());
        let generation = rig.copies.states(at(70)).expect("states")[0].generation;
        let wrong = lock(generation.saturating_add_signed(off), sequence, 70);
        assert!(refused(&wrong).contains(why));
        assert!(hidden(), "{why}");
        rig.copies.finish_load(home(), 1, &load(generation + 1, 65)).expect("finished");
        assert!(hidden(), "{why}, after an older load");
        rig.copies.finish_load(home(), 1, &load(generation + 2, 80)).expect("finished");
    }
}

#[test]
fn unknown_ambiguous_locked_and_stale_cannot_be_told_apart() {
    let rig = rig();
    rig.load(
        home(),
        1,
        &[
            named("1", "Doppel", "Willi"),
            named("2", "Doppel", "Willi"),
            locked(named("3", "Sperre", "Willi"), 3),
            locked(named("4", "Amt", "Willi"), 11),
            named("5", "Einzig", "Willi"),
            locked(named("6", "Halb", "Willi"), 1),
            named("7", "Halb", "Willi"),
            Person { conditional_note: true, ..named("8", "Heim", "Willi") },
            locked(named("9", "Kirche", "Willi"), 2),
        ],
    );
    let ask = |family: &str, hours| {
        rig.copies.ask(&asked(Asker::Citizen, Profile::PrivateEnquiry, family), at(hours)).expect("answered")
    };
    assert!(matches!(ask("Einzig", 1).answer, Answer::Person { .. }));
    assert!(matches!(ask("Kirche", 1).answer, Answer::Person { .. }), "that lock stops one recipient only");
    let notice = |mark: &str| Duty::NoticeToPerson { ags: home(), mark: mark.to_owned() };
    let authority = |mark: &str| Duty::NoticeToAuthority { ags: home(), mark: mark.to_owned() };
    let by_hand = Duty::ByHand { ags: home() };
    let bucket = std::time::Duration::from_secs(2);
    for (case, family, hours, duties) in [
        ("unknown", "Niemand", 1, vec![by_hand.clone()]),
        ("ambiguous", "Doppel", 1, vec![by_hand.clone()]),
        ("locked", "Sperre", 1, vec![by_hand.clone(), notice("3")]),
        ("locked by an authority", "Amt", 1, vec![by_hand.clone(), notice("4"), authority("4")]),
        ("one of two locked", "Halb", 1, vec![by_hand.clone()]),
        ("conditional note", "Heim", 1, vec![by_hand.clone()]),
        ("stale", "Einzig", 30, vec![by_hand.clone()]),
        ("stale and locked", "Sperre", 30, vec![by_hand.clone(), notice("3")]),
    ] {
        let began = Timestamp::now();
        let outcome = ask(family, hours);
        let leaves = leaves_at(began, Timestamp::now(), bucket);
        assert_eq!(
            serde_json::to_string(&outcome.answer).expect("JSON"),
            r#"{"answer":"neutral"}"#,
            "{case}"
        );
        assert_eq!(outcome.duties, duties, "{case}");
        assert_eq!(leaves.duration_since(began).as_secs(), 2, "{case}");
    }
    let waived = asked(Asker::Citizen, Profile::PrivateEnquiry, "Sperre");
    let waived = Asked { requester: Requester { waives_hand_over: true, ..waived.requester }, ..waived };
    assert_eq!(
        rig.copies.ask(&waived, at(1)).expect("answered").duties,
        [notice("3")],
        "the notice is still due"
    );
    assert_eq!(rig.count("SELECT count(*) FROM duty"), 13);
}

#[test]
fn lists_leave_locked_persons_out_and_features_lead_on_for_their_asker() {
    let rig = rig();
    let third = locked(named("3", "Adler", "Willi"), 3);
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Adler", "Willi"), third]);
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let outcome = rig.copies.ask(&question, at(1)).expect("answered");
    let Answer::List { hits, more, .. } = &outcome.answer else { panic!("{outcome:?}") };
    assert_eq!((hits.len(), *more), (2, false));
    assert_eq!(outcome.duties, [Duty::NoticeToPerson { ags: home(), mark: "3".to_owned() }]);
    let feature = &hits[0].feature;
    assert!(
        feature.len() <= 500 && !serde_json::to_string(&hits[0].data).expect("JSON").contains("\"mark\"")
    );
    let follow = |requester: &Requester, hours| {
        rig.copies.ask_feature(requester, Profile::PersonSearch, feature, at(hours)).expect("answered").answer
    };
    rig.copies.still_current(home(), 1, 0, at(48)).expect("fresh");
    assert!(
        matches!(follow(&question.requester, 48), Answer::Person { .. }),
        "48 hours from the first hour on"
    );
    assert_eq!(follow(&question.requester, 49), Answer::Neutral, "ran out");
    let other = Requester { body: "Amt B".to_owned(), ..question.requester.clone() };
    assert_eq!(follow(&other, 2), Answer::Neutral, "another body");
    // Police with empowered staff see what no authority had locked.
    let police = asked(Asker::Police, Profile::PersonSearch, "Adler");
    let count = |empowered, asked: &Asked| {
        let requester = Requester { empowered, ..asked.requester.clone() };
        match rig.copies.ask(&Asked { requester, ..asked.clone() }, at(48)).expect("answered").answer {
            Answer::List { hits, .. } => hits.len(),
            _ => 0,
        }
    };
    assert_eq!((count(false, &police), count(true, &police), count(true, &question)), (2, 3, 2));
}

#[test]
fn questions_the_law_does_not_allow_reach_no_copy() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let good = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let private = asked(Asker::Citizen, Profile::PrivateEnquiry, "Adler");
    let with = |asked: &Asked, alter: &dyn Fn(&mut Asked)| {
        let mut altered = asked.clone();
        alter(&mut altered);
        altered
    };
    for (asked, expected) in [
        (with(&good, &|one| one.test = true), Reason::TestMessage),
        (with(&good, &|one| one.reader = Some(ags("10041511"))), Reason::ReaderDiffers),
        (with(&good, &|one| one.requester.asker = Asker::Firm), Reason::NotEntitled),
        (with(&good, &|one| one.requester.file_number.clear()), Reason::RequesterIncomplete),
        (with(&good, &|one| one.requester.occasion = "x".repeat(121)), Reason::DatumTooLong),
        (with(&good, &|one| one.selection.street = Some("Nirgendweg".to_owned())), Reason::StreetUnknown),
        (
            with(&good, &|one| one.selection.municipalities = vec![ags("10041511")]),
            Reason::MunicipalityUnknown,
        ),
        (with(&private, &|one| one.requester.declares_no_trade = false), Reason::DeclarationMissing),
        (with(&private, &|one| one.requester.purpose = Purpose::Advertising), Reason::NotEntitled),
    ] {
        match rig.copies.ask(&asked, at(1)) {
            Err(CopyError::Question(reason)) => assert_eq!(reason, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    // A private asker does not even learn that a street is unknown.
    let street = with(&private, &|one| one.selection.street = Some("Nirgendweg".to_owned()));
    assert_eq!(rig.copies.ask(&street, at(1)).expect("answered").answer, Answer::Neutral);
    assert_eq!(rig.copies.verify_looks().expect("a log"), 1, "refusals are no looks");
}

#[test]
fn every_look_is_kept_sealed_chained_and_shown_to_whom_it_concerns() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Bussard", "Willi")]);
    for (asker, profile, family) in [
        (Asker::PublicBody, Profile::PersonSearch, "Adler"),
        (Asker::Citizen, Profile::PrivateEnquiry, "Adler"),
        (Asker::Police, Profile::PersonSearch, "Adler"),
        (Asker::PublicBody, Profile::PersonSearch, "Niemand"),
        (Asker::PublicBody, Profile::FreeSearch, "Adl*"),
    ] {
        rig.copies.ask(&asked(asker, profile, family), at(1)).expect("answered");
    }
    let looks = rig.copies.looks_at(home(), "1", two(&rig, "1", at(2)), at(2)).expect("read");
    let seen: Vec<_> = looks.iter().map(|one| (one.number, one.look.asker.as_str())).collect();
    assert_eq!(
        seen,
        [(1, "public-body"), (2, "citizen"), (5, "public-body")],
        "not the police, not the miss"
    );
    assert_eq!((looks[0].look.file_number.as_str(), looks[0].look.selection.is_none()), ("1/26", true));
    assert!(looks[2].look.selection.is_some(), "a free search's selection is kept");
    assert!(rig.copies.looks_at(home(), "2", two(&rig, "2", at(2)), at(2)).expect("read").is_empty());
    // Nobody releases to themselves, or too late; a release is for one person's report, and for one reading.
    let wish = |now| rig.copies.wish(&Subject::Report { ags: home(), mark: "1" }, Operator(1), now);
    let wished = wish(at(2)).expect("a wish");
    assert_eq!(wish(at(2)).expect("a wish"), wished, "asking again changes nothing");
    for (by, now) in [(Operator(1), at(2)), (Operator(2), at(3))] {
        assert!(matches!(rig.copies.released(wished.clone(), by, now), Err(CopyError::Refused(_))));
    }
    let once = rig.copies.released(wished, Operator(2), at(2)).expect("released");
    let other = rig.copies.looks_at(home(), "2", once.clone(), at(2));
    assert!(matches!(other, Err(CopyError::Refused(_))), "of somebody else");
    let spent = two(&rig, "1", at(2));
    rig.copies.looks_at(home(), "1", once, at(2)).expect("read");
    assert!(matches!(rig.copies.looks_at(home(), "1", spent, at(2)), Err(CopyError::Refused(_))), "twice");
    assert_eq!(rig.copies.verify_looks().expect("whole"), 8, "readings are entries");
    let contents = "SELECT content FROM look";
    let contents = rig.copies.read(|work| work.all(contents, params![], |row| row.get::<Vec<u8>>(0)));
    let clear = |content: &Vec<u8>| content.windows(5).any(|window| window == b"Amt A");
    assert!(!contents.expect("contents").iter().any(clear), "sealed");
    // Somebody with the file, without the key.
    for tamper in [
        "UPDATE look SET content = content_hash WHERE number = 3",
        "UPDATE look SET at = at + 1 WHERE number = 3",
        "DELETE FROM look WHERE number = 3",
    ] {
        rig.set(tamper, params![]);
        match rig.copies.verify_looks() {
            Err(CopyError::Log(at)) => assert!((3..=4).contains(&at), "{tamper}: {at}"),
            other => panic!("{tamper}: {other:?}"),
        }
        if tamper.contains("at + 1") {
            rig.set("UPDATE look SET at = at - 1 WHERE number = 3", params![]);
        }
    }
}

/// Somebody with the database, and without the key: everything is computed anew as far as that is possible.
#[test]
fn a_head_that_was_not_written_to_its_end_hides_no_cut() {
    use std::io::Write;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let ask = |hours| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
        rig.copies.ask(&question, at(hours)).expect("answered");
    };
    rig.copies.note_head().expect("that there is nothing");
    (1..=3).for_each(ask);
    rig.copies.note_head().expect("noted");
    let file = rig.copies.heads_file();
    let append = |bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().append(true).open(&file);
        file.expect("there").write_all(bytes).expect("written");
    };
    let numbers = || {
        let heads = rig.copies.read_heads(&file).expect("heads");
        heads.iter().map(|head| head.number).collect::<Vec<_>>()
    };
    append(b"amtsbote-register-log 4 0000\0\0\0");
    assert_eq!(numbers(), [0, 3]);
    rig.raw()
        .execute_batch(
            "CREATE TABLE kept AS SELECT * FROM look; DELETE FROM look WHERE number > 2; \
        CREATE TABLE head AS SELECT * FROM look_head; DELETE FROM look_head",
        )
        .expect("cut");
    assert!(matches!(rig.copies.note_head(), Err(CopyError::LogCut { ends: 0, known: 3 })));
    rig.raw()
        .execute_batch(
            "INSERT INTO look SELECT * FROM kept WHERE number > 2; \
        INSERT INTO look_head SELECT * FROM head",
        )
        .expect("put back");
    ask(4);
    rig.copies.note_head().expect("noted");
    assert_eq!(numbers(), [0, 3, 4]);
    // What nobody has sealed says nothing about where the log ends.
    let line = std::fs::read_to_string(&file).expect("text").lines().last().expect("a line").to_owned();
    append(line.replacen(" 4 ", " 9 ", 1).as_bytes());
    append(b"\n");
    rig.copies.note_head().expect("nothing new");
    assert!(matches!(rig.copies.read_heads(&file), Err(CopyError::Head(4))));
}

#[test]
fn a_log_that_was_cut_rewritten_or_emptied_is_told() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    assert_eq!(rig.copies.log_head().expect("a look"), None);
    let ask = |hours| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
        rig.copies.ask(&question, at(hours)).expect("answered");
    };
    (1..=3).for_each(ask);
    rig.copies.note_head().expect("noted");
    let file = rig.copies.heads_file();
    let old_head: (i64, Vec<u8>, Vec<u8>) = rig
        .raw()
        .query_row("SELECT number, chain, seal FROM look_head", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("a head");
    (4..=5).for_each(ask);
    rig.copies.note_head().expect("noted");
    rig.copies.note_head().expect("nothing new");
    let heads = rig.copies.read_heads(&file).expect("heads");
    assert_eq!(heads.iter().map(|head| head.number).collect::<Vec<_>>(), [3, 5]);
    let verify = |heads: &[LogHead], hours| rig.copies.verify_log(heads, at(hours));
    assert_eq!(verify(&heads, 6).expect("whole"), LogChecked { entries: 5, heads: 2 });

    let raw = rig.raw();
    let with = |what: &str, check: &dyn Fn()| {
        raw.execute_batch("BEGIN; CREATE TEMP TABLE kept AS SELECT * FROM look; CREATE TEMP TABLE head AS SELECT * FROM look_head; COMMIT").expect("kept");
        raw.execute_batch(&format!("BEGIN; {what}; COMMIT")).expect("changed");
        check();
        raw.execute_batch(
            "BEGIN; DELETE FROM look; INSERT INTO look SELECT * FROM kept; DELETE FROM look_head;
             INSERT INTO look_head SELECT * FROM head; DROP TABLE kept; DROP TABLE head; COMMIT",
        )
        .expect("put back");
    };
    // The end is cut.
    with("DELETE FROM look WHERE number > 3", &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::LogCut { ends: 3, known: 5 })));
    });
    // The same with its seal of that time, or with none: only what was kept elsewhere tells.
    let (_, chain, seal) = &old_head;
    let hex = crate::domain::hex::lower;
    let put_back = format!(
        "DELETE FROM look WHERE number > 3; UPDATE look_head SET number = 3, chain = x'{}', seal = x'{}'",
        hex(chain),
        hex(seal)
    );
    with(&put_back, &|| {
        assert_eq!(verify(&[], 6).expect("as it was").entries, 3);
        assert!(matches!(verify(&heads, 6), Err(CopyError::LogCut { ends: 3, known: 5 })));
        assert!(matches!(rig.copies.note_head(), Err(CopyError::LogCut { ends: 3, known: 5 })));
    });
    with("DELETE FROM look WHERE number > 3; DELETE FROM look_head", &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(3))));
    });
    // A seal that is made up.
    with("DELETE FROM look WHERE number > 4; UPDATE look_head SET number = 4", &|| {
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(4))));
    });
    // Content that is emptied too early; when its time is over, it may.
    with("UPDATE look SET content = NULL, expires_at = 0 WHERE number = 2", &|| {
        assert!(matches!(verify(&heads, 6), Err(CopyError::LogEmptied(2))));
        assert!(verify(&heads, 366 * 24).is_ok());
    });
    // An entry that is written anew, with all that follows it: the chain fits, and neither seal nor content do.
    let rewrite = || {
        let rows: Vec<(i64, i64, Vec<u8>)> = raw
            .prepare("SELECT number, at, content_hash FROM look ORDER BY number")
            .and_then(|mut all| {
                all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
            })
            .expect("rows");
        let mut chain = [0; 32];
        for (number, at, content_hash) in rows {
            chain = looks::link(&chain, number, at, &content_hash);
            raw.execute("UPDATE look SET chain = ?2 WHERE number = ?1", rusqlite::params![number, chain])
                .expect("set");
        }
    };
    let forged = "UPDATE look SET content = NULL, at = at - 31622400000000, content_hash = zeroblob(32) WHERE number = 2";
    with(forged, &|| {
        rewrite();
        assert!(matches!(verify(&[], 6), Err(CopyError::Log(5))), "the seal at the end");
        assert!(matches!(verify(&heads, 6), Err(CopyError::Log(3))), "the first head behind it");
    });
    assert!(verify(&heads, 6).is_ok());
    // A file of heads that somebody else has written into.
    let mut text = std::fs::read_to_string(&file).expect("the file");
    text.push_str(&format!("amtsbote-register-log 9 {0} {0}\n", "0".repeat(64)));
    std::fs::write(&file, text).expect("written");
    assert!(matches!(rig.copies.read_heads(&file), Err(CopyError::Head(3))));
}

#[test]
fn a_retired_copy_goes_in_small_steps() {
    let rig = rig();
    let persons: Vec<Person> = (0..1100).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 1, &persons);
    rig.load(home(), 2, &persons[..1]);
    let left = || rig.count("SELECT count(*) FROM person");
    let mut steps = Vec::new();
    while rig.copies.tidy_step().expect("a step") {
        steps.push(left());
    }
    assert_eq!(steps, [601, 101, 1, 1]);
}

/// What is destroyed leaves the journal, too, and the writer waits for nobody because of it.
#[test]
fn the_journal_is_emptied_beside_the_writer() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    assert!(rig.copies.forget_in_journal().expect("emptied"));
    rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(1)).expect("answered");
    let reader = rig.raw();
    reader.execute_batch("BEGIN; SELECT count(*) FROM look").expect("reading");
    assert_eq!(rig.copies.erase_expired(at(366 * 24)).expect("erased"), 1);
    assert!(!rig.copies.forget_in_journal().expect("tried"), "somebody still reads what was there");
    rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(2)).expect("answered");
    reader.execute_batch("COMMIT").expect("read");
    assert!(rig.copies.forget_in_journal().expect("emptied"));
    let journal = rig.folder.path().join(format!("{}-wal", base::DATABASE_FILE));
    assert_eq!(std::fs::metadata(journal).expect("a journal").len(), 0);
}

#[test]
fn tomorrows_date_keeps_no_copy_fresh() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let stale = |hours| rig.copies.states(at(hours)).expect("states")[0].stale;
    let far = Change { at: at(10_000), ..change(1, Occasion::Address, named("1", "Adler", "Willi")) };
    rig.copies.change_at(&far, at(2)).expect("applied");
    assert_eq!((stale(25), stale(27)), (false, true), "fresh since it came, and no longer");
    // As an earlier version let it stand.
    rig.set("UPDATE copy SET as_of = ?1", params![micros(at(10_000))]);
    assert_eq!((stale(27), stale(10_001)), (true, false));
}

#[test]
fn the_log_forgets_in_time_and_still_proves_the_rest() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    rig.copies.ask(&question, at(1)).expect("answered");
    assert_eq!(rig.copies.erase_expired(at(364 * 24)).expect("erased"), 0, "twelve months at least");
    assert_eq!(rig.copies.erase_expired(at(366 * 24)).expect("erased"), 1);
    assert!(
        rig.copies
            .looks_at(home(), "1", two(&rig, "1", at(366 * 24)), at(366 * 24))
            .expect("read")
            .is_empty()
    );
    assert_eq!(rig.copies.verify_looks().expect("whole"), 2);
}

#[test]
fn whoever_left_long_ago_shrinks_and_goes() {
    use crate::register::person::{Address, Status};
    let rig = rig();
    let left = |mark: &str, family: &str, date: &str| Person {
        status: Status::MovedAbroad,
        marital_status: Some(crate::register::person::MaritalStatus::Vh),
        addresses: vec![Address {
            street: "Krumme Straße".to_owned(),
            moved_out: date.parse().ok(),
            ..Address::default()
        }],
        ..named(mark, family, "Willi")
    };
    let persons = [
        named("1", "Adler", "Willi"),
        left("2", "Bussard", "01032024"),
        left("3", "Condor", "01032015"),
        left("4", "Dohle", "01031965"),
    ];
    rig.load(home(), 1, &persons);
    // Nobody waits for the night: whose time is over is found by no search before it, either.
    let before_night = |family: &str| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, family);
        rig.copies.ask(&question, at(1)).expect("answered").answer != Answer::Neutral
    };
    assert_eq!(["Adler", "Bussard", "Condor", "Dohle"].map(before_night), [true, true, false, false]);
    let before = rig.copies.entries(home()).expect("entries");
    let today = "2026-11-23".parse().expect("a day");
    assert_eq!(
        rig.copies.retire(home(), today).expect("retired"),
        Retired { restricted: 1, deleted: 1, unreadable: 0 }
    );
    assert_eq!(rig.copies.retire(home(), today).expect("retired"), Retired::default(), "once");
    let found = |family: &str| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, family);
        rig.copies.ask(&question, at(1)).expect("answered").answer != Answer::Neutral
    };
    assert_eq!(["Adler", "Bussard", "Condor", "Dohle"].map(found), [true, true, false, false]);
    let mut expected = before.clone();
    expected.remove("4");
    assert_eq!(rig.copies.entries(home()).expect("entries"), expected, "the comparison stays quiet");
    let record = "SELECT record FROM person WHERE mark = '3'";
    let kept: Vec<u8> =
        rig.copies.read(|work| work.only(record, params![], |row| row.get(0))).expect("a record");
    assert!(!String::from_utf8(kept).expect("text").contains("VH"));
    // The municipality's own change still finds its record.
    rig.copies.change(&change(1, Occasion::Name, named("3", "Eule", "Willi"))).expect("applied");
    assert!(found("Eule") && !found("Condor"));
}

/// Section 34(4) BMG: also where a clerk works on it.
#[test]
fn what_security_bodies_ask_is_in_nobodys_report() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let marks = ["1".to_owned()];
    for (number, asker, told) in [(1, Asker::Police, 0), (2, Asker::PublicBody, 1)] {
        rig.copies.ask(&asked(asker, Profile::PersonSearch, "Niemand"), at(1)).expect("answered");
        let takes_two = rig.copies.answer_takes_two(number, &marks, Operator(1), "looked for", at(1));
        assert!(!takes_two.expect("a case"));
        let looks = rig.copies.looks_at(home(), "1", two(&rig, "1", at(2)), at(2)).expect("read");
        assert_eq!(looks.len(), told, "{looks:?}");
    }
    assert_eq!(rig.copies.verify_looks().expect("whole"), 6);
}

#[test]
fn a_question_that_was_too_broad_is_a_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { records_max: 1, ..Settings::new(folder.path()) };
    let rig = Rig { copies: Copies::open(settings, LogKey::new(&[7; 32])).expect("copies"), folder };
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Adler", "Willi")]);
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    for _ in 0..2 {
        assert!(matches!(rig.copies.ask(&question, at(1)), Err(CopyError::Question(Reason::TooBroad))));
    }
    assert_eq!(rig.copies.verify_looks().expect("whole"), 2);
    let look = "SELECT number, at, content FROM look WHERE number = 2";
    let look = rig.copies.read(|work| {
        work.only(look, params![], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<Vec<u8>>(2)?)))
    });
    let look = look.expect("a look");
    let content = rig.copies.key.open(look.0, look.1, &look.2).expect("ours");
    let look: Look = serde_json::from_slice(&content).expect("a look");
    assert_eq!((look.kind.as_str(), look.hits), ("question-too-broad", 0));
    assert!(look.selection.is_some_and(|selection| selection.to_string().contains("Adler")));
}

/// Section 51 BMG holds for whoever stands beside the person, too.
#[test]
fn locked_representatives_are_told_to_nobody_and_find_nobody() {
    let rig = rig();
    let child = Person {
        representatives: vec!["Falke".to_owned()],
        locked_representatives: vec!["Geier".to_owned()],
        ..named("1", "Adler", "Willi")
    };
    rig.load(home(), 1, std::slice::from_ref(&child));
    let by = |name: &str| {
        let mut question = asked(Asker::Citizen, Profile::PrivateEnquiry, "Adler");
        question.selection.representative = Some(name.to_owned());
        rig.copies.ask(&question, at(1)).expect("answered").answer
    };
    assert!(matches!(by("Falke"), Answer::Person { .. }));
    assert_eq!(by("Geier"), Answer::Neutral);
    let all = crate::register::rights::disclose(&child, crate::register::rights::DataGroup::ALL);
    let all = serde_json::to_string(&all).expect("JSON");
    assert!(all.contains("Falke") && !all.contains("Geier"), "{all}");
}

fn order(account: &str, number: u32) -> Order {
    Order {
        case: format!("00000000-0000-4000-8000-{number:012}"),
        account: account.to_owned(),
        questions: vec![asked(Asker::Citizen, Profile::PrivateEnquiry, "Adler")],
        return_url: "https://page.invalid/".to_owned(),
    }
}

fn priced() -> Rig {
    use crate::register::fees::{Rate, Tariff};
    let folder = tempfile::tempdir().expect("a folder");
    let from = "2026-01-01".parse().expect("a day");
    let tariff = Tariff(vec![Rate { ags: None, channel: None, from, cents: 1000 }]);
    let settings = Settings { tariff, ..Settings::new(folder.path()) };
    let rig = Rig { copies: Copies::open(settings, LogKey::new(&[7; 32])).expect("copies"), folder };
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    rig
}

#[test]
fn an_account_has_so_many_orders_and_no_more() {
    use crate::register::payment::{Event, Rules};
    let rig = priced();
    let put = |account: &str, number, hours| {
        rig.copies.order(&order(account, number), &Rules::default(), at(hours)).map(drop)
    };
    (1..=20).for_each(|number| put("a", number, 1).expect("taken"));
    assert!(matches!(put("a", 21, 1), Err(CopyError::OrdersOpen { open: 20 })));
    put("a", 20, 1).expect("the same again is no other");
    put("b", 22, 1).expect("another account");
    // One ran out: there is room for one.
    let event = Event::Silent("nobody there".to_owned());
    rig.copies.on_payment(&order("a", 1).case, &event, at(3)).expect("ended").expect("a payment");
    put("a", 21, 3).expect("taken");
    assert!(matches!(put("a", 23, 3), Err(CopyError::OrdersOpen { open: 20 })));
    rig.set("UPDATE payment SET next_at = NULL", params![]);
    for number in 100..579 {
        put("a", number, 4).expect("taken");
        rig.set("UPDATE payment SET next_at = NULL WHERE next_at IS NOT NULL", params![]);
    }
    assert!(matches!(put("a", 600, 4), Err(CopyError::OrdersToday { orders: 500 })));
    put("a", 600, 29).expect("a day later");
}

#[test]
fn rows_go_when_their_time_is_over() {
    use crate::register::payment::{Event, Rules};
    let rig = priced();
    let day = |days: i64| at(24 * days);
    let cases = [1, 2].map(|number| order("a", number).case);
    for number in [1, 2] {
        rig.copies.order(&order("a", number), &Rules::default(), at(1)).expect("taken");
    }
    rig.copies.on_payment(&cases[0], &Event::Silent(String::new()), day(1)).expect("ended");
    // Needs a person.
    rig.set("UPDATE payment SET attention = 1, next_at = NULL WHERE uuid = ?1", params![cases[1]]);
    let arrived = |at| Arrived {
        author: "dbs:1",
        name: "",
        uuid: "u-1",
        number: "1330",
        digest: [1; 32],
        transport_id: "urn:1",
        at,
        expires_at: day(8),
        original: None,
        event: None,
    };
    let reply = Reply {
        number: "1331",
        reader: "dbs:1".to_owned(),
        namespace: String::new(),
        bytes: b"answer".to_vec(),
        leaves_at: at(1),
    };
    rig.copies.take(&arrived(at(1)), &[reply]).expect("taken");
    rig.copies.expire_answers(day(9)).expect("expired");
    let asked = asked(Asker::Citizen, Profile::PrivateEnquiry, "Niemand");
    rig.copies.ask(&asked, at(1)).expect("answered");
    rig.copies.settle_duty(1, "done", &Readers::One(Operator(1)), day(1)).expect("closed");
    let rows = |now| {
        rig.copies.delete_old_rows(now, &|| true).expect("deleted");
        ["payment", "payment_question", "outgoing", "message", "duty", "meter"]
            .map(|table| rig.count(&format!("SELECT count(*) FROM {table}")))
    };
    assert_eq!(rows(day(80)), [2, 2, 1, 1, 1, 1]);
    assert_eq!(rows(day(92)), [1, 1, 1, 1, 1, 1], "an order that came to nothing");
    assert_eq!(rig.copies.known(&arrived(day(92))).expect("a look"), Known::SameDelivery);
    assert_eq!(rows(day(380)), [1, 1, 0, 0, 0, 1], "marks of a year ago");
    assert_eq!(rows(day(12 * 366)), [1, 1, 0, 0, 0, 0], "the books, and never what needs a person");
}

#[test]
fn the_file_gives_its_room_back() {
    let rig = rig();
    let persons: Vec<Person> = (0..2500).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 1, &persons);
    let number = |what: &str| -> i64 {
        rig.raw().query_row(&format!("PRAGMA {what}"), [], |row| row.get(0)).expect("a number")
    };
    let full = number("page_count");
    rig.load(home(), 2, &persons[..1]);
    while rig.copies.tidy_step().expect("a step") {}
    assert!(number("freelist_count") <= 512 && number("page_count") < full, "{full}");
    // A file of an earlier version does once it was compacted.
    rig.raw().execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").expect("as before");
    assert_eq!(number("auto_vacuum"), 0);
    assert!(!rig.copies.tidy_step().expect("a step"));
    rig.copies.compact().expect("compacted");
    assert_eq!(number("auto_vacuum"), 2);
    assert_eq!(rig.copies.entries(home()).expect("entries").len(), 1);
}

#[test]
fn what_a_page_keeps_of_a_list_lasts_as_long_as_its_answers() {
    use crate::register::payment::Rules;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let one = order("a", 1);
    rig.copies.order(&one, &Rules::default(), at(1)).expect("taken");
    let arrived = Arrived {
        author: "a",
        name: "",
        uuid: &one.case,
        number: "page-list",
        digest: [1; 32],
        transport_id: &one.case,
        at: at(1),
        expires_at: at(10),
        original: None,
        event: None,
    };
    let reply = Reply {
        number: "page-list",
        reader: "a".to_owned(),
        namespace: String::new(),
        bytes: b"lines".to_vec(),
        leaves_at: at(1),
    };
    rig.copies.keep(&arrived, &[reply]).expect("kept");
    let write = |_: &Answer| b"answer".to_vec();
    rig.copies
        .execute_payment(&one.case, at(20), std::time::Duration::from_secs(1), &|| at(2), &write)
        .expect("executed");
    let held = |uuid: &str| rig.copies.held_answer("a", uuid, at(15)).expect("a look");
    assert!(matches!(held(&Copies::line_uuid(&one.case, 1)), Held::Ready { .. }));
    assert!(matches!(held(&one.case), Held::Ready { .. }), "the list itself");
}

#[test]
fn months_are_counted_and_charged_to_the_cent() {
    use crate::register::fees::{Channel, Rate, Tariff};
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::new(folder.path());
    let day = |text: &str| text.parse().expect("a day");
    settings.tariff = Tariff(vec![
        Rate { ags: None, channel: None, from: day("2026-01-01"), cents: 1003 },
        Rate { ags: Some(home()), channel: Some(Channel::Message), from: day("2026-01-01"), cents: 1 },
    ]);
    let copies = Copies::open(settings, LogKey::new(&[7; 32])).expect("copies");
    let rig = Rig { copies, folder };
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), locked(named("2", "Sperre", "Willi"), 3)]);
    for family in ["Adler", "Sperre", "Niemand"] {
        rig.copies.ask(&asked(Asker::Citizen, Profile::PrivateEnquiry, family), at(1)).expect("answered");
    }
    rig.copies.ask(&asked(Asker::PublicBody, Profile::PersonSearch, "Adler"), at(1)).expect("answered");
    let refused = asked(Asker::Firm, Profile::FreeSearch, "Adler");
    assert!(rig.copies.ask(&refused, at(1)).is_err());
    let march = Month::parse("2026-03").expect("a month");
    let accounts = rig.copies.accounts(march).expect("accounts");
    let sums: Vec<_> = accounts
        .iter()
        .map(|one| (one.questions, one.cents, one.municipality_cents, one.operator_cents))
        .collect();
    assert_eq!(sums, [(3, 3009, 2409, 600)], "a neutral answer costs as much as a hit");
    let lines = rig.copies.statistics(march).expect("statistics");
    let counts: Vec<_> =
        lines.iter().map(|one| (one.profile, one.asker.as_str(), one.questions, one.with_hits)).collect();
    assert_eq!(counts, [("person-search", "public-body", 1, 1), ("private-enquiry", "citizen", 3, 1)]);
    let april = Month::parse("2026-04").expect("a month");
    assert!(rig.copies.statistics(april).expect("statistics").is_empty());
    assert!(rig.copies.accounts(april).expect("accounts").is_empty());
    for bad in ["2026-13", "2026", "26-03", "2026-3"] {
        assert_eq!(Month::parse(bad), None, "{bad}");
    }
}

/// Command line and process on one database: neither waits in vain, and the log is one chain.
#[test]
fn two_who_write_do_so_one_after_the_other() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let other = Copies::open(Settings::new(rig.folder.path()), LogKey::new(&[7; 32])).expect("the same");
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let ask = |copies: &Copies| (0..40).for_each(|_| drop(copies.ask(&question, at(1)).expect("answered")));
    std::thread::scope(|scope| {
        scope.spawn(|| ask(&rig.copies));
        scope.spawn(|| ask(&other));
    });
    assert_eq!(other.verify_looks().expect("whole"), 80);
}

/// What both engines do alike; the embedded one's journal, file and versions are its own.
#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        a_load_is_switched_to_as_a_whole_and_names_what_it_refused,
        indexed_searches_find_whom_a_brute_force_finds,
        a_stream_with_faults_ends_where_a_good_one_ends,
        gaps_are_named_and_contradictions_refused,
        a_lock_hides_at_once_and_ends_in_its_turn,
        the_end_of_a_list_tells_of_nobody_who_is_hidden,
        no_load_and_no_rejection_lets_a_lock_be_forgotten,
        unknown_ambiguous_locked_and_stale_cannot_be_told_apart,
        lists_leave_locked_persons_out_and_features_lead_on_for_their_asker,
        questions_the_law_does_not_allow_reach_no_copy,
        every_look_is_kept_sealed_chained_and_shown_to_whom_it_concerns,
        a_retired_copy_goes_in_small_steps,
        tomorrows_date_keeps_no_copy_fresh,
        the_log_forgets_in_time_and_still_proves_the_rest,
        whoever_left_long_ago_shrinks_and_goes,
        a_question_that_was_too_broad_is_a_look,
        locked_representatives_are_told_to_nobody_and_find_nobody,
        an_account_has_so_many_orders_and_no_more,
        rows_go_when_their_time_is_over,
        what_a_page_keeps_of_a_list_lasts_as_long_as_its_answers,
        months_are_counted_and_charged_to_the_cent,
        two_who_write_do_so_one_after_the_other,
    ]);
}
