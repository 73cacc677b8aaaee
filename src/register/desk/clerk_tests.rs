//! What a municipality's clerks do by hand: answers, reports, what is owed to the persons concerned.

use super::*;
use crate::register::copies::{Operator, Readers, Subject};

fn clerk() -> Readers {
    Readers::One(Operator(1))
}

fn clerks(rig: &Rig, subject: &Subject<'_>) -> Readers {
    let now = rig.clock.now();
    let wish = rig.desk.copies.wish(subject, Operator(1), now).expect("a wish");
    Readers::Two(rig.desk.copies.released(wish, Operator(2), now).expect("released"))
}

#[test]
fn a_clerk_opens_answers_and_closes_what_is_owed() {
    let rig = Rig::filled(&[named("1", "Adler"), locked(named("2", "Sperre"), 3)]);
    let copies = &rig.desk.copies;
    rig.deliver(BODY, &search(2, "Niemand"));
    rig.deliver(PORTAL, &enquiry(3, "Sperre"));
    assert_eq!(rig.texts().iter().filter(|text| text.contains("<keineAuskunft>")).count(), 2);
    let open = || {
        let duties = copies.open_duties(0, 10).expect("a list").into_iter();
        duties.map(|one| (one.number, one.kind)).collect::<Vec<_>>()
    };
    let expected = [(1, "by-hand"), (2, "by-hand"), (3, "notice-to-person")];
    assert_eq!(open(), expected.map(|(number, kind)| (number, kind.to_owned())));

    // The question is there with all that a clerk needs, and opening it is a look.
    let question = copies.open_duty(1, &clerk(), rig.clock.now()).expect("opened").expect("a case");
    let (asked, origin) = (question.question.expect("kept"), question.origin.expect("kept"));
    assert_eq!((asked.selection.family_name.as_deref(), question.mark), (Some("Niemand"), None));
    assert_eq!((&origin.author[..], &origin.uuid[..]), (BODY, &uuid_of(2)[..]));
    // One about a locked person takes two.
    let refused = copies.open_duty(3, &clerk(), rig.clock.now());
    assert!(matches!(refused, Err(CopyError::Refused(why)) if why.contains("two operators")));
    let two = clerks(&rig, &Subject::Case { number: 3 });
    let notice = copies.open_duty(3, &two, rig.clock.now()).expect("opened").expect("a case");
    assert_eq!(notice.mark.as_deref(), Some("2"));
    let letter = serde_json::to_string(&notice.addressee).expect("JSON");
    assert!(letter.contains("Sperre") && letter.contains("Krumme Straße"), "{letter}");

    // The answer leaves as what was asked for, and can be had again.
    let marks = |mark: &str| vec![mark.to_owned()];
    for (number, mark, reason) in
        [(1, "1", " "), (1, "9", "found"), (2, "2", "heard"), (3, "1", "no question")]
    {
        let refused = rig.desk.answer_case(number, &marks(mark), reason, &clerk());
        assert!(matches!(refused, Err(DeskError::Copies(CopyError::Refused(_)))), "{number} {mark}");
    }
    assert!(rig.texts().is_empty());
    rig.desk.answer_case(1, &marks("1"), "found in the original", &clerk()).expect("answered");
    let late = rig.one();
    for expected in ["auskunft.1331", &uuid_of(2), "<familienname>Adler<", "<kennung>dbs:1<"] {
        assert!(late.contains(expected), "{expected}: {late}");
    }
    assert!(!late.contains("<name>dbs:1<"), "the reader by the name that it gave itself: {late}");
    assert!(rig.desk.answer_case(1, &marks("1"), "again", &clerk()).is_err(), "closed with its answer");
    let person = marks("2");
    // Whoever tries marks out learns who is locked, and is seen.
    for (mark, reason) in [("1", " "), ("9", "tried"), ("1", "tried"), ("2", "tried")] {
        let told = copies.answer_takes_two(2, &marks(mark), Operator(1), reason, rig.clock.now());
        match (mark, reason) {
            (_, " ") | ("9", _) => assert!(matches!(told, Err(CopyError::Refused(_))), "{mark}: {told:?}"),
            _ => assert_eq!(told.expect("told"), mark == "2"),
        }
    }
    let two = clerks(&rig, &Subject::Answer { number: 2, marks: &person });
    rig.desk.answer_case(2, &person, "heard, and nothing against it", &two).expect("answered");
    let late = rig.one();
    assert!(late.contains("auskunft.0601") && late.contains("Sperre"), "{late}");
    rig.deliver(PORTAL, &enquiry(3, "Sperre"));
    assert!(rig.texts().contains(&late), "the late answer again");

    let settle = || copies.settle_duty(3, "letter sent", &clerk(), rig.clock.now()).expect("closed");
    assert_eq!((settle(), settle()), (true, false));
    assert!(open().is_empty());
    let raw = rusqlite::Connection::open(rig.folder.path().join("register.sqlite")).expect("the database");
    let kept = || -> i64 {
        let sql =
            "SELECT count(*) FROM duty WHERE sealed IS NOT NULL OR secret IS NOT NULL OR mark IS NOT NULL";
        raw.query_row(sql, [], |row| row.get(0)).expect("a count")
    };
    assert_eq!(kept(), 0, "what lay beside it is gone");
    assert_eq!(
        rig.looks(),
        10,
        "two questions, two cases opened, three marks tried, two answered, one closed"
    );
    let Readers::Two(two) = clerks(&rig, &Subject::Report { ags: home(), mark: "1" }) else { panic!() };
    let told = copies.looks_at(home(), "1", two, rig.clock.now()).expect("read");
    let kinds: Vec<&str> = told.iter().map(|one| one.look.kind.as_str()).collect();
    assert!(told[0].look.by_hand.as_ref().is_some_and(|by| by.contains("uid 1")), "{told:?}");
    assert_eq!((kinds.len(), kinds[1], &told[1].look.user[..]), (2, "case-persons", "uid 1"));

    // What is the municipality's goes there as it came, and is no case of ours any more.
    let original = search(5, "Nirgends");
    rig.deliver(BODY, &original);
    assert!(rig.one().contains("<keineAuskunft>"));
    let number = open()[0].0;
    let hand_over = || rig.desk.hand_over_case(number, "the original must be looked at", &clerk());
    hand_over().expect("handed over");
    let twice = hand_over();
    assert!(matches!(&twice, Err(DeskError::Copies(CopyError::Refused(why))) if why.contains("on its way")));
    // Given up, it is open still.
    let due = copies.due(rig.clock.now()).expect("a look");
    copies.note_given_up(due[0].id, rig.clock.now()).expect("noted");
    assert_eq!((due.len(), open().len()), (1, 1));
    hand_over().expect("handed over again");
    let sent = rig.sent();
    let [handed] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&handed.reader[..], &handed.number[..]), (TOWN, "0031"));
    let mut message = Message::open(&handed.bytes[..]).expect("a message of ours");
    let inner = crate::register::message::passing::read(Number::HandOver, &message.rest().expect("whole"));
    assert_eq!(inner.expect("a message in it"), original.as_bytes());
    assert!(open().is_empty() && rig.desk.hand_over_case(number, "again", &clerk()).is_err());

    // What nobody did is not kept for ever.
    rig.deliver(BODY, &search(4, "Keiner"));
    assert_eq!(kept(), 1);
    rig.clock.advance(Duration::from_secs(366 * 24 * 3600));
    copies.erase_expired(rig.clock.now()).expect("erased");
    assert_eq!((kept(), open().len()), (0, 1), "the case is still open");
}
