//! Loads, and what goes when its time is over: copies, rows, the room that they leave.

use super::*;

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

/// A mistake of the municipality's, or of whoever wrote the file, empties no copy.
#[test]
fn a_load_that_would_leave_nobody_is_none() {
    let rig = rig();
    let load = |ags, generation, records: &[&[u8]]| {
        rig.copies.begin_load(ags, generation, 0, at(1)).expect("begun");
        let mut receipt = LoadReceipt::default();
        rig.copies.load(ags, records.iter().copied(), &mut receipt).expect("loaded");
        rig.copies.finish_load(ags, records.len() as u64, &receipt)
    };
    let nothing_taken = |done| matches!(done, Err(CopyError::NothingTaken { refused: 2, .. }));
    assert!(nothing_taken(load(home(), 1, &[b"{", b"{"])), "nor does it make one");
    assert!(rig.copies.living().expect("copies").is_empty());
    let empty = ags("10041511");
    load(empty, 1, &[]).expect("nobody lives there");
    load(empty, 2, &[]).expect("nor later");
    load(home(), 2, &[&named("1", "Adler", "Willi").to_bytes()]).expect("loaded");
    assert!(nothing_taken(load(home(), 3, &[b"{", b"{"])));
    assert!(matches!(load(home(), 4, &[]), Err(CopyError::NothingCame { kept: 1 })));
    let states = || -> Vec<(&'static str, u64, u64)> {
        let states = rig.copies.states(at(1)).expect("states").into_iter();
        states.filter(|one| one.ags == home()).map(|one| (one.state, one.generation, one.persons)).collect()
    };
    assert_eq!(states(), [("living", 2, 1), ("loading", 4, 0)]);
    // Another load that was begun meanwhile is not given up with it.
    rig.copies.abandon_load(home(), 3).expect("none");
    assert_eq!(states().len(), 2);
    rig.copies.abandon_load(home(), 4).expect("given up");
    while rig.copies.clear_retired().expect("cleared") {}
    assert_eq!((states(), rig.count("SELECT count(*) FROM copy")), (vec![("living", 2, 1)], 2));
}

/// Nor does one of a few good records replace a copy of many, unless the operator says so.
#[test]
fn a_load_that_would_leave_less_than_half_is_none() {
    let rig = rig();
    let persons: Vec<Person> = (0..5).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 1, &persons);
    let begin = |generation, good: usize| {
        rig.copies.begin_load(home(), generation, 0, at(1)).expect("begun");
        let mut records: Vec<Vec<u8>> = persons[..good].iter().map(Person::to_bytes).collect();
        records.resize(5, b"{".to_vec());
        let mut receipt = LoadReceipt::default();
        rig.copies.load(home(), records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
        receipt
    };
    let kept = || rig.copies.entries(home()).expect("entries").len();
    let few = begin(2, 2);
    assert!(matches!(
        rig.copies.finish_load(home(), 5, &few),
        Err(CopyError::Shrinks { stored: 2, kept: 5 })
    ));
    assert_eq!(kept(), 5);
    rig.copies.finish_load(home(), 5, &begin(2, 3)).expect("more than half");
    assert_eq!(kept(), 3);
    let few = begin(3, 1);
    assert!(rig.copies.finish_load(home(), 5, &few).is_err());
    rig.copies.finish_load_shrinking(home(), 5, &few).expect("the operator's word");
    assert_eq!(kept(), 1);
}

#[test]
fn a_retired_copy_goes_in_small_steps() {
    let rig = rig();
    let persons: Vec<Person> = (0..1100).map(|number| person(SEED, home(), number)).collect();
    rig.load(home(), 1, &persons);
    rig.load(home(), 2, &persons[..1]);
    let left = || rig.count("SELECT count(*) FROM person");
    let mut steps = Vec::new();
    while rig.copies.tidy_step(at(3)).expect("a step") {
        steps.push(left());
    }
    assert_eq!(steps, [601, 101, 1, 1]);
}

/// One of a copy that was replaced goes with it; one of the living copy goes, or is mended, by its own change.
#[test]
fn a_record_that_cannot_be_read_stays_in_nobodys_way() {
    let rig = rig();
    let persons = ["Adler", "Bussard", "Condor"].map(|family| named(&family[..1], family, "Willi"));
    let damage = || rig.set("UPDATE person SET record = ?1 WHERE mark <> 'A'", params![[0_u8; 1]]);
    rig.load(home(), 1, &persons);
    damage();
    let mended = change(1, Occasion::Name, named("B", "Buchfink", "Willi"));
    assert_eq!(rig.copies.change(&mended).expect("taken"), Taken::Applied { after_it: 0 });
    let gone =
        Change { mark: "C".to_owned(), record: None, ..change(2, Occasion::Deleted, named("C", "C", "C")) };
    assert_eq!(rig.copies.change(&gone).expect("taken"), Taken::Applied { after_it: 0 });
    let found = |family: &str| {
        let question = asked(Asker::PublicBody, Profile::PersonSearch, family);
        rig.copies.ask(&question, at(1)).expect("answered").answer != Answer::Neutral
    };
    assert_eq!(["Adler", "Bussard", "Buchfink", "Condor"].map(found), [true, false, true, false]);
    let stray = "SELECT count(*) FROM term WHERE person NOT IN (SELECT id FROM person)";
    assert_eq!(rig.count(stray), 0);
    damage();
    rig.load(home(), 2, &persons);
    while rig.copies.clear_retired().expect("cleared") {}
    let rows = ["copy", "person"].map(|table| rig.count(&format!("SELECT count(*) FROM {table}")));
    assert_eq!((rows, rig.count(stray)), ([1, 3], 0));
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
    while rig.copies.tidy_step(at(3)).expect("a step") {}
    assert!(number("freelist_count") <= 512 && number("page_count") < full, "{full}");
    // A file of an earlier version does once it was compacted.
    rig.raw().execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").expect("as before");
    assert_eq!(number("auto_vacuum"), 0);
    assert!(!rig.copies.tidy_step(at(3)).expect("a step"));
    rig.copies.compact().expect("compacted");
    assert_eq!(number("auto_vacuum"), 2);
    assert_eq!(rig.copies.entries(home()).expect("entries").len(), 1);
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

#[test]
fn the_same_on_postgresql() {
    testing::on_postgres(testing::scenarios![
        a_load_is_switched_to_as_a_whole_and_names_what_it_refused,
        a_load_that_would_leave_nobody_is_none,
        a_load_that_would_leave_less_than_half_is_none,
        a_retired_copy_goes_in_small_steps,
        a_record_that_cannot_be_read_stays_in_nobodys_way,
        whoever_left_long_ago_shrinks_and_goes,
        rows_go_when_their_time_is_over,
        two_who_write_do_so_one_after_the_other,
    ]);
}
