//! Searches against a brute force, the neutral answer, lists and their features.

use super::*;

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

/// A copy that is too old shows nobody to the whole state. Whoever is locked in it is told all the same, and a question to
/// which nobody else has an answer is its municipality's.
#[test]
fn a_copy_too_old_for_the_whole_state_owes_what_it_owes() {
    let rig = rig();
    let old = ags("10041511");
    rig.load(home(), 1, &[named("1", "Adler", "Willi")]);
    let there = [
        locked(named("8", "Adler", "Willi"), 3),
        locked(named("9", "Adler", "Willi"), 11),
        named("7", "Adler", "Willi"),
        named("5", "Bussard", "Willi"),
        named("6", "Bussard", "Willi"),
    ];
    rig.load(old, 1, &there);
    rig.copies.still_current(home(), 1, 0, at(72)).expect("current");
    let ask = |family: &str| {
        let mut question = asked(Asker::Police, Profile::FreeSearch, family);
        question.selection.municipalities.clear();
        question.selection.whole_state = true;
        rig.copies.ask(&question, at(72)).expect("answered")
    };
    let adler = ask("Adler");
    let Answer::List { hits, more: false, stale } = adler.answer else { panic!("{adler:?}") };
    assert_eq!((hits.len(), stale), (1, vec![old]));
    let told = |mark: &str| Duty::NoticeToPerson { ags: old, mark: mark.to_owned() };
    let authority = Duty::NoticeToAuthority { ags: old, mark: "9".to_owned() };
    assert_eq!(adler.duties, [told("8"), told("9"), authority]);
    let bussard = ask("Bussard");
    assert_eq!((bussard.answer, bussard.duties), (Answer::Neutral, vec![Duty::ByHand { ags: old }]));
}

/// Whoever it is about counts as found and hidden: the question is answered, and as one about somebody who is locked.
#[test]
fn a_record_that_nobody_can_read_hides_whom_it_is_about() {
    let rig = rig();
    rig.load(home(), 1, &[named("1", "Adler", "Willi"), named("2", "Adler", "Willi")]);
    let ask = |asker, profile| {
        let mut question = asked(asker, profile, "Adler");
        question.requester.empowered = asker == Asker::Police;
        rig.copies.ask(&question, at(1)).expect("answered")
    };
    let Answer::List { hits, .. } = ask(Asker::Police, Profile::FreeSearch).answer else { panic!("no list") };
    assert_eq!(hits.len(), 2);
    rig.set("UPDATE person SET record = ?1 WHERE mark = '2'", params![&b"{\"mark\":"[..]]);
    let told = Duty::NoticeToAuthority { ags: home(), mark: "2".to_owned() };
    let list = ask(Asker::Police, Profile::FreeSearch);
    let Answer::List { hits: left, .. } = list.answer else { panic!("no list") };
    assert_eq!(left.len(), 1);
    assert!(list.duties.contains(&told), "{:?}", list.duties);
    let alone = ask(Asker::Citizen, Profile::PrivateEnquiry);
    assert_eq!(alone.answer, Answer::Neutral);
    assert!(alone.duties.contains(&told) && alone.duties.contains(&Duty::ByHand { ags: home() }));
    let requester = asked(Asker::Police, Profile::FreeSearch, "Adler").requester;
    let answers: Vec<Answer> = hits
        .iter()
        .map(|hit| {
            let asked = rig.copies.ask_feature(&requester, Profile::PersonSearch, &hit.feature, at(1));
            asked.expect("answered").answer
        })
        .collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Answer::Neutral).count(), 1);

    // By hand there is no answer, whoever else is named: nobody is asked to release one, and the case stays open.
    let nobody = || {
        rig.copies.ask(&asked(Asker::PublicBody, Profile::FreeSearch, "Niemand"), at(1)).expect("answered");
        let open = rig.copies.open_duties(0, 100).expect("a list");
        open.last().expect("a case").number
    };
    let by_hand = |number, marks: &[String], readers: &Readers| {
        let answer = ByHand { number, marks, reason: "looked for", readers, now: at(1), expires_at: at(200) };
        rig.copies.answer_duty(&answer, &|_, _| None)
    };
    let [one, broken, both] = [&["1"][..], &["2"], &["1", "2"]]
        .map(|marks| marks.iter().map(|mark| (*mark).to_owned()).collect::<Vec<_>>());
    let number = nobody();
    let takes_two = |marks| rig.copies.answer_takes_two(number, marks, Operator(1), "looked for", at(1));
    assert!(!takes_two(&one).expect("a case"));
    let looks = || rig.count("SELECT count(*) FROM look");
    let clerk = Readers::One(Operator(1));
    let released = |subject: &Subject<'_>| {
        let wish = rig.copies.wish(subject, Operator(1), at(1)).expect("a wish");
        Readers::Two(rig.copies.released(wish, Operator(2), at(1)).expect("released"))
    };
    for marks in [&broken, &both] {
        let before = looks();
        let asked = takes_two(marks);
        assert!(matches!(&asked, Err(CopyError::RecordUnread(mark)) if mark == "2"), "{asked:?}");
        assert_eq!(looks(), before + 1, "whoever tries marks out is seen");
        for readers in [&clerk, &released(&Subject::Answer { number, marks })] {
            let answered = by_hand(number, marks, readers);
            assert!(matches!(&answered, Err(CopyError::RecordUnread(mark)) if mark == "2"), "{answered:?}");
        }
    }
    assert!(matches!(by_hand(number, &one, &clerk), Ok(Answer::List { hits, .. }) if hits.len() == 1));

    // The notice is due, and its case says why there is no address.
    let open = |notice: &OpenDuty| {
        let two = released(&Subject::Case { number: notice.number });
        let opened = rig.copies.open_duty(notice.number, &two, at(1)).expect("opened").expect("a case");
        (opened.addressee.is_some(), opened.unreadable)
    };
    let duties = rig.copies.open_duties(0, 100).expect("a list");
    let notice = duties.iter().find(|one| one.kind == "notice-to-authority").expect("a notice");
    assert_eq!(open(notice), (false, true));
    rig.set("DELETE FROM person WHERE mark = '2'", params![]);
    assert_eq!(open(notice), (false, false), "has left");
}

/// However many others a private enquiry fits, whoever is locked among them is told.
#[test]
fn a_private_enquiry_owes_a_notice_behind_any_number_of_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { list_max: 3, ..Settings::new(folder.path()) };
    let copies = Copies::open(settings, LogKey::new(&[7; 32])).expect("copies");
    let rig = Rig { copies, folder };
    let mut persons: Vec<Person> = (1..=6).map(|n| named(&n.to_string(), "Adler", "Willi")).collect();
    persons.push(locked(named("7", "Adler", "Willi"), 3));
    rig.load(home(), 1, &persons);
    let question = asked(Asker::Citizen, Profile::PrivateEnquiry, "Adler");
    let told = Duty::NoticeToPerson { ags: home(), mark: "7".to_owned() };
    let outcome = rig.copies.ask(&question, at(2)).expect("answered");
    assert_eq!((outcome.answer, outcome.duties.contains(&told)), (Answer::Neutral, true));
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
    let of = |reader, uuid| {
        let (requester, reader) = (&question.requester, Some(reader));
        let asked = ByFeature { requester, profile: Profile::PersonSearch, feature, reader };
        let outcome = rig.copies.ask_feature_taking(&asked, at(48), &arrived(uuid), &|_| Vec::new());
        outcome.map(|outcome| outcome.answer)
    };
    let elsewhere = of(ags("10041511"), "a");
    assert!(matches!(elsewhere, Err(CopyError::Question(Reason::ReaderDiffers))), "{elsewhere:?}");
    assert!(matches!(of(home(), "b"), Ok(Answer::Person { .. })));
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

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        indexed_searches_find_whom_a_brute_force_finds,
        a_copy_too_old_for_the_whole_state_owes_what_it_owes,
        a_record_that_nobody_can_read_hides_whom_it_is_about,
        a_private_enquiry_owes_a_notice_behind_any_number_of_others,
        the_end_of_a_list_tells_of_nobody_who_is_hidden,
        unknown_ambiguous_locked_and_stale_cannot_be_told_apart,
        lists_leave_locked_persons_out_and_features_lead_on_for_their_asker,
        questions_the_law_does_not_allow_reach_no_copy,
        locked_representatives_are_told_to_nobody_and_find_nobody,
    ]);
}
