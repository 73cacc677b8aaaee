//! The stream of changes: faults, gaps, locks.

use super::*;

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
fn a_lock_of_the_future_ends_with_the_next_picture() {
    let rig = rig();
    let (open, shut) = (named("1", "Adler", "Willi"), locked(named("1", "Adler", "Willi"), 3));
    rig.load(home(), 1, std::slice::from_ref(&open));
    let lock = Change { at: at(100_000), ..change(1, Occasion::LockSet, shut) };
    rig.copies.change_at(&lock, at(2)).expect("applied");
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let load = |generation, stand| {
        rig.copies.begin_load(home(), generation, 0, at(stand)).expect("begun");
        let mut receipt = LoadReceipt::default();
        rig.copies.load(home(), [&open.to_bytes()[..]], &mut receipt).expect("loaded");
        rig.copies.finish_load(home(), 1, &receipt).expect("finished");
        rig.copies.ask(&question, at(stand)).expect("answered").answer == Answer::Neutral
    };
    assert!(load(2, 1), "an older picture does not lift it");
    assert!(!load(3, 3), "a younger one does");
}

#[test]
fn tomorrows_date_keeps_no_copy_fresh() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let stale = |hours| rig.copies.states(at(hours)).expect("states")[0].stale;
    let far = Change { at: at(10_000), ..change(1, Occasion::Address, named("1", "Adler", "Willi")) };
    rig.copies.change_at(&far, at(2)).expect("applied");
    assert_eq!((stale(25), stale(27)), (false, true), "fresh since it came, and no longer");
    rig.copies
        .change_at(&Change { at: at(2), ..change(3, Occasion::Address, named("1", "Adler", "Willi")) }, at(2))
        .expect("held");
    assert_eq!(rig.copies.stale(at(25)).expect("a look"), []);
    assert_eq!(
        rig.copies.stale(at(27)).expect("a look"),
        [Stale { ags: home(), as_of: at(2), missing: Some((2, 2)) }]
    );
    // As an earlier version let it stand.
    rig.set("UPDATE copy SET as_of = ?1", params![micros(at(10_000))]);
    assert_eq!((stale(27), stale(10_001)), (true, false));
}

/// A change writes what differs; what is found then is what is found in a copy that was loaded so.
#[test]
fn whoever_was_changed_is_found_like_whoever_was_loaded() {
    let found = |rig: &Rig| -> Vec<(String, i64, String)> {
        let sql = "SELECT mark, kind, form FROM term JOIN person ON person.id = term.person
             WHERE term.copy = (SELECT id FROM copy WHERE state = 1) ORDER BY mark, kind, form";
        let terms =
            |work: &Work<'_>| work.all(sql, params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rig.copies.read(terms).expect("terms")
    };
    let (rig, dice) = (rig(), &mut Dice::new(11));
    rig.load(home(), 1, &[]);
    // A night has shrunk somebody, who comes back.
    let left = Person {
        status: crate::register::person::Status::Dead,
        death_date: Some("01012010".parse().expect("a date")),
        ..named("gone", "Habicht", "Willi")
    };
    let back = Person { death_date: None, status: Default::default(), ..left.clone() };
    rig.copies.change(&change(1, Occasion::MoveIn, left)).expect("applied");
    assert!(!found(&rig).is_empty());
    rig.copies.retire(home(), "2026-03-03".parse().expect("a day")).expect("retired");
    assert!(found(&rig).is_empty());
    let mut now: BTreeMap<String, Person> = BTreeMap::new();
    let mut stream = vec![change(2, Occasion::Other, back)];
    for sequence in 3..100 {
        let mark = dice.below(20).to_string();
        let other = person(SEED + sequence, home(), dice.below(30));
        let mut one = now.get(&mark).cloned().unwrap_or_else(|| other.clone());
        match dice.below(4) {
            0 => one.addresses.clone_from(&other.addresses),
            1 => one.family_names.clone_from(&other.family_names),
            2 => one.given_names.clone_from(&other.given_names),
            _ => one = other,
        }
        one.mark.clone_from(&mark);
        now.insert(mark, one.clone());
        stream.push(change(sequence, Occasion::Other, one));
    }
    now.extend(stream[0].record.clone().map(|record| (record.mark.clone(), record)));
    let taken = rig.copies.changes_at(home(), &stream, Timestamp::MAX).expect("taken");
    assert!(taken.iter().all(|one| matches!(one, Ok(Taken::Applied { after_it: 0 }))), "{taken:?}");
    let changed = found(&rig);
    rig.load(home(), 2, &now.into_values().collect::<Vec<_>>());
    assert_eq!(changed, found(&rig));
}

/// Messages become durable together, and one that cannot be written down keeps no other from it.
#[test]
fn a_group_that_fails_is_taken_apart() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of = |sequence, family: &str| [change(sequence, Occasion::Name, named("1", family, "Willi"))];
    let changes = [of(1, "Bussard"), of(2, "Condor"), of(3, "Dohle"), of(4, "Eule")];
    // The third has the second one's row.
    let finishes = ["a", "b", "b", "c"].map(|uuid| {
        move |taken: &[Result<Taken, CopyError>], missing: Option<(u64, u64)>| {
            let applied = matches!(taken, [Ok(Taken::Applied { .. })]) && missing.is_none();
            assert!(applied || uuid == "c", "{uuid}: {taken:?}");
            Ok((arrived(uuid), Vec::new()))
        }
    });
    let messages: Vec<Feeding<'_>> = changes
        .iter()
        .zip(&finishes)
        .map(|(changes, finish)| Feeding { ags: home(), changes, catches_up: true, finish: Some(finish) })
        .collect();
    let fed = rig.copies.feed(&messages, at(2));
    let good: Vec<bool> = fed.iter().map(Result::is_ok).collect();
    // A server is asked what became of the rest before anything else is tried on it.
    let on_file = rig.copies.database().is_none();
    let expected: &[bool] = if on_file { &[true, true, false, true] } else { &[true, true, false] };
    assert_eq!(good, expected, "{fed:?}");
    assert_eq!(rig.count("SELECT count(*) FROM message"), if on_file { 3 } else { 2 });
    let state = &rig.copies.states(at(2)).expect("states")[0];
    // Where a transaction's time was over between the third's change and its row, the change is there, and nothing waits.
    let waits = on_file && state.sequence == 2;
    assert_eq!(state.held, u64::from(waits), "without the third the fourth waits: {state:?}");
}

/// Whoever asks waits for the group that is under way, and for nothing behind it.
#[test]
fn a_question_breaks_the_feed_off() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of = |sequence: u64| [change(sequence, Occasion::Name, named("1", "Bussard", "Willi"))];
    let changes = [of(1), of(2)];
    let copies = &rig.copies;
    std::thread::scope(|scope| {
        let seen = std::cell::Cell::new(None);
        let first = |_: &[Result<Taken, CopyError>], _: Option<(u64, u64)>| {
            if seen.take().is_none() {
                // Somebody comes while the transaction is under way.
                let asking = scope.spawn(move || {
                    let mut session = copies.answering();
                    let work = session.begin().expect("begun");
                    work.only("SELECT count(*) FROM message", params![], |row| row.get::<i64>(0))
                        .expect("rows")
                });
                seen.set(Some(asking));
                while copies.writer.waiting() == 0 {
                    std::thread::yield_now();
                }
            }
            Ok((arrived("a"), Vec::new()))
        };
        let second = |_: &[Result<Taken, CopyError>], _: Option<(u64, u64)>| Ok((arrived("b"), Vec::new()));
        let messages = [
            Feeding { ags: home(), changes: &changes[0], catches_up: true, finish: Some(&first) },
            Feeding { ags: home(), changes: &changes[1], catches_up: true, finish: Some(&second) },
        ];
        assert!(copies.feed(&messages, at(2)).iter().all(Result::is_ok));
        let seen = seen.take().expect("asked").join().expect("answered");
        assert_eq!(seen, 1, "the first message, and not the second");
    });
}

/// What was held follows in groups, too: thousands of changes behind a gap stop nobody.
#[test]
fn what_was_held_is_caught_up_with_in_groups() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of =
        |sequence: u64| change(sequence, Occasion::Name, named("1", &format!("Adler{sequence}"), "Willi"));
    let later: Vec<Change> = (2..102).map(of).collect();
    let taken = rig.copies.changes_at(home(), &later, at(2)).expect("taken");
    assert!(taken.iter().all(|one| matches!(one, Ok(Taken::Held { first: 1, .. }))), "{taken:?}");
    let groups = rig.copies.groups();
    assert_eq!(rig.copies.change(&of(1)).expect("taken"), Taken::Applied { after_it: 100 });
    assert!(rig.copies.groups() - groups > 5, "not in one");
    assert_eq!(rig.copies.gap(home()).expect("a look"), None);
    // Broken off there, it goes on with whatever comes next.
    let more: Vec<Change> = (103..133).map(of).collect();
    rig.copies.changes_at(home(), &more, at(2)).expect("held");
    rig.set("UPDATE copy SET sequence = 102", params![]);
    assert_eq!(rig.copies.gap(home()).expect("a look"), None, "nothing is missing");
    assert_eq!(rig.copies.change(&of(133)).expect("taken"), Taken::Applied { after_it: 0 });
    let state = &rig.copies.states(at(2)).expect("states")[0];
    assert_eq!((state.sequence, state.held), (133, 0));
}

/// A lock that closes a gap is through with its own message: what waited behind the gap follows beside it.
#[test]
fn a_lock_lets_go_on_what_others_catch_up_with() {
    use crate::register::stream::HELD_MAX;
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of = |sequence| change(sequence, Occasion::Name, named("1", "Bussard", "Willi"));
    let later: Vec<Change> = (2..102).chain([105]).map(of).collect();
    rig.copies.changes_at(home(), &later, at(2)).expect("held");
    let [lock, far] = [1, HELD_MAX + 2]
        .map(|sequence| [change(sequence, Occasion::LockSet, locked(named("1", "Adler", "Willi"), 3))]);
    let urgent =
        |message: Feeding<'_>| rig.copies.feed(&[message], at(2)).pop().expect("an answer").expect("taken");
    let missing_then = std::cell::Cell::new(None);
    let finish = |_: &[Result<Taken, CopyError>], missing: Option<(u64, u64)>| {
        missing_then.set(missing);
        Ok((arrived("a"), Vec::new()))
    };
    let groups = rig.copies.groups();
    let taken = urgent(Feeding { ags: home(), changes: &lock, catches_up: false, finish: Some(&finish) });
    assert!(matches!(taken[..], [Ok(Taken::Applied { after_it: 0 })]), "{taken:?}");
    assert_eq!(rig.copies.groups() - groups, 2, "the lock, and its message");
    assert_eq!(missing_then.get(), Some((102, 104)), "behind what only waits to be caught up with");
    let state = || {
        let state = &rig.copies.states(at(2)).expect("states")[0];
        (state.sequence, state.held)
    };
    assert_eq!(state(), (1, 101));
    let far = urgent(Feeding { ags: home(), changes: &far, catches_up: false, finish: None });
    assert!(matches!(far[..], [Ok(Taken::Held { .. })]), "nearer than it seems: {far:?}");
    let mut steps = 0;
    while rig.copies.tidy_step(at(3)).expect("a step") {
        steps += 1;
    }
    assert!(steps > 5, "in small ones: {steps}");
    assert_eq!(state(), (101, 2));
}

/// Behind others that only wait to be caught up with, a lock is held for a moment, and receipted as applied.
#[test]
fn a_lock_whose_turn_comes_within_its_message_is_applied() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let of = |sequence| change(sequence, Occasion::Name, named("1", "Bussard", "Willi"));
    rig.copies.changes_at(home(), &(3..60).map(of).collect::<Vec<_>>(), at(2)).expect("held");
    rig.set("UPDATE copy SET sequence = 2", params![]);
    let lock = change(60, Occasion::LockSet, locked(named("1", "Adler", "Willi"), 3));
    assert_eq!(rig.copies.change(&lock).expect("taken"), Taken::Applied { after_it: 0 });
    let state = &rig.copies.states(at(2)).expect("states")[0];
    assert_eq!((state.sequence, state.held), (60, 0));
}

/// No index takes such a mark, and nobody has it.
#[test]
fn a_mark_that_is_too_long_is_refused_before_all_else() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let mark: String =
        (0..100_u32).map(|number| crate::domain::hex::lower(&hash(&number.to_be_bytes()))).collect();
    let lock = change(1, Occasion::LockSet, locked(named(&mark, "Bussard", "Willi"), 3));
    let refused = rig.copies.change(&lock);
    assert!(matches!(refused, Err(CopyError::Record(_))), "{refused:?}");
    for table in ["lock_set", "early_lock", "held", "applied"] {
        assert_eq!(rig.count(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

/// The change is rejected for its record, and what hides a person is effective all the same.
#[test]
fn a_lock_whose_record_cannot_be_taken_hides() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let long = Person { family_names: vec!["A".repeat(1000)], ..locked(named("1", "Adler", "Willi"), 3) };
    let refused = rig.copies.change(&change(1, Occasion::LockSet, long));
    assert!(matches!(refused, Err(CopyError::Record(_))), "{refused:?}");
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    assert_eq!(rig.copies.ask(&question, at(2)).expect("answered").answer, Answer::Neutral);
}

/// Its number is still to come: what ends a lock before it does not end this one.
#[test]
fn no_earlier_change_lifts_a_lock_that_was_refused() {
    let rig = rig();
    let (open, shut) = (named("1", "Adler", "Willi"), locked(named("1", "Adler", "Willi"), 3));
    rig.load(home(), 1, std::slice::from_ref(&shut));
    let question = asked(Asker::PublicBody, Profile::PersonSearch, "Adler");
    let hidden = || rig.copies.ask(&question, at(4)).expect("answered").answer == Answer::Neutral;
    let long = Person { family_names: vec!["A".repeat(1000)], ..shut.clone() };
    assert!(rig.copies.change(&change(2, Occasion::LockSet, long)).is_err());
    rig.copies.change(&change(1, Occasion::LockEnded, open.clone())).expect("applied");
    assert!(hidden(), "number 1 knows nothing of number 2");
    // Nor does a picture that is older than both.
    rig.load(home(), 2, std::slice::from_ref(&open));
    assert!(hidden());
    let ended = |sequence| Change { generation: 2, ..change(sequence, Occasion::LockEnded, open.clone()) };
    rig.copies.change(&ended(1)).expect("applied");
    assert!(!hidden(), "and nothing of it is left behind");
    // Of another generation: times alone say what came before.
    let lock = Change { generation: 9, at: at(3), ..change(1, Occasion::LockSet, shut) };
    assert!(rig.copies.change(&lock).is_err());
    let known = Change { occasion: Occasion::Name, ..Change { record: lock.record.clone(), ..ended(2) } };
    rig.copies.change(&known).expect("applied");
    rig.copies.change(&ended(3)).expect("applied");
    assert!(hidden(), "they are older");
    rig.copies.change(&Change { at: at(3), ..ended(4) }).expect("applied");
    assert!(!hidden());
}

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        a_stream_with_faults_ends_where_a_good_one_ends,
        gaps_are_named_and_contradictions_refused,
        a_lock_hides_at_once_and_ends_in_its_turn,
        no_load_and_no_rejection_lets_a_lock_be_forgotten,
        a_lock_of_the_future_ends_with_the_next_picture,
        tomorrows_date_keeps_no_copy_fresh,
        whoever_was_changed_is_found_like_whoever_was_loaded,
        a_group_that_fails_is_taken_apart,
        a_question_breaks_the_feed_off,
        what_was_held_is_caught_up_with_in_groups,
        a_lock_lets_go_on_what_others_catch_up_with,
        a_lock_whose_turn_comes_within_its_message_is_applied,
        a_mark_that_is_too_long_is_refused_before_all_else,
        a_lock_whose_record_cannot_be_taken_hides,
        no_earlier_change_lifts_a_lock_that_was_refused,
    ]);
}
