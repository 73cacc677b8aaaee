//! Reminders, messages that are passed on, forms, and many enquiries in one message.

use super::*;
use crate::register::copies::{Arrived, Operator, Readers, case_key};
use crate::register::message::passing;

const OFFICE: &str = "ags:10041511";

fn reminder(number: u64, author: &str, about: u64) -> String {
    message(Number::Reminder, author, number, |out| passing::write_reminder(out, &uuid_of(about)))
}

fn passed(kind: Number, number: u64, author: &str, original: &str) -> String {
    message(kind, author, number, |out| passing::write(out, kind, original.as_bytes()))
}

#[test]
fn a_receipt_that_did_not_come_is_sent_again() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(TOWN, &changes(2, &[change(1, named("1", "Bussard"))]));
    let receipt = rig.one();
    assert_eq!(rig.deliver(TOWN, &reminder(3, TOWN, 2)).outcome, "receipted as before");
    assert_eq!(rig.one(), receipt, "the same bytes");
    // A rejection is a receipt, too.
    rig.deliver(TOWN, &changes(4, &[change(1, named("1", "Condor"))]));
    let rejection = rig.one();
    rig.deliver(TOWN, &reminder(5, TOWN, 4));
    assert_eq!(rig.one(), rejection);
    // What had nothing to say, and what can no longer be said, came all the same.
    let event = rejection::Event { at: "2026-11-23T08:00:00.000Z".to_owned(), sign: "Z-1".to_owned() };
    let notice = to(OFFICE, Number::MoveNotice, TOWN, 6, |out| {
        moves::write(out, None, &event, "2026-11-23".parse().ok(), None);
    });
    assert_eq!(rig.deliver(TOWN, &notice).outcome, "move noted");
    assert_eq!(rig.deliver(TOWN, &reminder(7, TOWN, 6)).outcome, "receipted");
    let said = rig.one();
    assert!(said.contains("quittung.0020") && said.contains("<bereitsBekannt>1<"), "{said}");
    rig.clock.advance(Duration::from_secs(10 * 86_400));
    assert_eq!(rig.deliver(TOWN, &reminder(8, TOWN, 2)).outcome, "receipted");
    assert!(rig.one().contains("<bereitsBekannt>1<"));
    // Nobody hears of another's messages.
    assert_eq!(rig.deliver(OFFICE, &reminder(9, OFFICE, 2)).codes, ["S999"]);
    assert_eq!(rig.deliver(TOWN, &reminder(10, TOWN, 99)).codes, ["S999"]);
    let empty = message(Number::Reminder, TOWN, 11, |_| {});
    assert_eq!(rig.deliver(TOWN, &empty).codes, ["X001"]);
    let old = reminder(12, TOWN, 2).replace(":2611", ":2605").replace("26.11", "26.05");
    assert_eq!(rig.deliver(TOWN, &old).codes, ["X001"], "not in that release");
}

#[test]
fn what_is_passed_on_is_believed_by_its_authors_signature_alone() {
    let mut rig = Rig::filled(&[named("1", "Adler")]);
    rig.desk = open(rig.folder.path(), &rig.clock).with_signers(signing::the_town_signs());
    // It came to the wrong office, as the reader in it says, which the signature covers.
    let original = to(OFFICE, Number::Changes, TOWN, 2, |out| {
        stand(1, 1, None).write(out);
        feed::write_case(out, &change(1, named("1", "Bussard")), "V-1");
    });
    let signed = signing::signed_by_the_town(&original);
    for (number, kind) in [(3, Number::Forward), (4, Number::HandOver)] {
        let done = rig.deliver(OFFICE, &passed(kind, number, OFFICE, &original));
        assert_eq!(done.codes, ["T010"], "{done:?}");
        assert_eq!(rig.sent()[0].reader, OFFICE);
        let forged = passed(kind, number + 10, OFFICE, &signed.replace("Bussard", "Bussarp"));
        assert_eq!(rig.deliver(OFFICE, &forged).codes, ["T011"]);
        let sent = rig.sent();
        assert_eq!((sent.len(), sent[0].reader.as_str()), (1, OFFICE), "the author hears nothing of it");
    }
    let done = rig.deliver(OFFICE, &passed(Number::Forward, 5, OFFICE, &signed));
    assert_eq!((done.outcome, done.codes.len()), ("passed on to us", 0), "{done:?}");
    let readers = |sent: &[Outgoing]| -> Vec<(String, bool)> {
        sent.iter()
            .map(|one| (one.reader.clone(), String::from_utf8_lossy(&one.bytes).contains("<uebernommen>1<")))
            .collect()
    };
    assert_eq!(readers(&rig.sent()), [(TOWN.to_owned(), true), (OFFICE.to_owned(), true)]);
    assert_eq!(rig.desk.copies.states(rig.clock.now()).expect("states")[0].sequence, 1);
    // Once more, by another message: answered as before, without another effect.
    let done = rig.deliver(OFFICE, &passed(Number::HandOver, 6, OFFICE, &signed));
    assert!(done.detail.contains("answered as before"), "{done:?}");
    assert!(rig.texts().iter().any(|text| text.contains("<bereitsBekannt>1<")));
    // Who is entered as no signer cannot be passed on; who passes on what is its own vouches for it.
    let question = search(7, "Bussard");
    assert_eq!(rig.deliver(OFFICE, &passed(Number::Forward, 20, OFFICE, &question)).codes, ["T010"]);
    rig.texts();
    rig.deliver(BODY, &passed(Number::Forward, 21, BODY, &question));
    assert!(rig.texts().iter().any(|text| text.contains("Krumme Straße")));
    assert_eq!(rig.looks(), 1);
}

#[test]
fn what_cannot_be_passed_on_is_rejected_and_what_is_anothers_given_back() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let question = search(7, "Adler");
    let nested = passed(Number::Forward, 9, BODY, &question);
    let test = search(8, "Adler").replace(" produkt=", " test=\"ja\" produkt=");
    for (number, case, text, expected) in [
        (30, "nested", passed(Number::HandOver, 30, BODY, &nested), "X001"),
        (
            31,
            "a receipt",
            passed(Number::Forward, 31, BODY, &message(Number::Receipt, BODY, 8, |_| {})),
            "X001",
        ),
        (32, "no XML", passed(Number::Forward, 32, BODY, "what?"), "X000"),
        (33, "not Base64", nested.replace("<nachricht>", "<nachricht>*").replace("0009<", "0033<"), "X001"),
        (34, "nothing", message(Number::Forward, BODY, 34, |_| {}), "X001"),
        (35, "a test within", passed(Number::Forward, 35, BODY, &test), "S999"),
    ] {
        let done = rig.deliver(BODY, &text);
        assert_eq!(done.codes, [expected], "{case} ({number}): {done:?}");
        assert!(rig.texts().iter().any(|sent| sent.contains(expected)), "{case}");
    }
    // Another standard's, and a number that the register does not take.
    let foreign = question.replace("urn:de:amtsbote:register:2611", "http://xpsw.domap.de/xpsw2611");
    let answered = message(Number::FormAnswered, BODY, 10, |_| {});
    for (number, original) in [(36, foreign), (37, answered)] {
        let done = rig.deliver(BODY, &passed(Number::HandOver, number, BODY, &original));
        assert_eq!(done.outcome, "not competent");
        let sent = rig.one();
        assert!(sent.contains("nichtzustaendigkeit.0032") && sent.contains("<grund>"), "{sent}");
        // Which is never answered, whoever sends it.
        let back = sent.replace(STORE, "zmb:99").replace(BODY, STORE).replace("zmb:99", BODY);
        let done = rig.deliver(BODY, &back);
        assert_eq!(done.outcome, "the reader is not competent for our message");
        assert!(rig.sent().is_empty());
    }
    assert_eq!(rig.looks(), 0);
}

fn form(number: u64, reader: &str, family: &str, alter: impl Fn(&mut Selection)) -> String {
    let mut one = asked(Profile::PrefilledForm, family);
    one.selection.sex = None;
    alter(&mut one.selection);
    to(reader, Number::FormAsked, OFFICE, number, |out| question::write(out, &one))
}

#[test]
fn the_new_office_gets_the_data_of_whoever_moves_in() {
    let child = Person { representatives: vec!["Storch".to_owned()], ..named("3", "Condor") };
    let rig = Rig::filled(&[named("1", "Adler"), locked(named("2", "Sperre"), 3), child]);
    assert_eq!(rig.deliver(OFFICE, &form(10, TOWN, "Adler", |_| {})).outcome, "answered");
    let answer = rig.one();
    assert!(answer.contains("meldeschein.daten.0301") && answer.contains("Krumme Straße"), "{answer}");
    assert!(!answer.contains("ordnungsmerkmal"), "{answer}");
    rig.deliver(OFFICE, &form(11, STORE, "Condor", |_| {}));
    let answer = rig.one();
    assert!(answer.contains(">Condor<") && !answer.contains("Storch"), "relatives are left out: {answer}");
    // Locked, and not there: the same but for ids.
    let neutral: Vec<String> = [(12, "Sperre"), (13, "Niemand")]
        .into_iter()
        .map(|(number, family)| {
            rig.deliver(OFFICE, &form(number, TOWN, family, |_| {}));
            rig.one()
        })
        .collect();
    assert!(neutral[0].contains("<keineAuskunft></keineAuskunft>"));
    assert_eq!(neutral[0].len(), neutral[1].len());
    let duties = rig.desk.copies.open_duties(0, 100).expect("duties");
    let kinds: Vec<&str> = duties.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "notice-to-person").count(), 1, "{kinds:?}");
    assert_eq!(rig.looks(), 4, "each is a look");
    for (number, case, text, expected) in [
        (
            20,
            "no date of birth",
            form(20, TOWN, "Adler", |one| one.birth_date = None),
            "further-datum-missing",
        ),
        (
            21,
            "a foreign datum",
            form(21, TOWN, "Adler", |one| one.partner_name = Some("A".to_owned())),
            "datum-forbidden",
        ),
        (22, "another reader", form(22, "ags:10042113", "Adler", |_| {}), "<grund>14</grund>"),
    ] {
        assert_eq!(rig.deliver(OFFICE, &text).outcome, "question refused", "{case} ({number})");
        assert!(rig.one().contains(expected), "{case}");
    }
    let elsewhere = |one: &mut Selection| one.municipalities = vec![Ags::parse("10042113").expect("a key")];
    assert_eq!(rig.deliver(OFFICE, &form(23, STORE, "Adler", elsewhere)).outcome, "not competent");
    assert!(rig.one().contains("nichtzustaendigkeit.0032"));
    let own = |one: &mut Selection| one.municipalities = vec![Ags::parse("10041511").expect("a key")];
    assert_eq!(rig.deliver(OFFICE, &form(24, STORE, "Adler", own)).codes, ["T080"]);
    let authority = form(25, TOWN, "Adler", |_| {}).replace(OFFICE, "pdl:1");
    assert_eq!(rig.deliver("pdl:1", &authority).codes, ["T070"], "for registration offices alone");
    let feature = form(26, TOWN, "Adler", |_| {});
    let (start, end) = (feature.find("<auswahldaten>"), feature.find("</auswahldaten>"));
    let mut feature = feature.clone();
    feature.replace_range(
        start.expect("there")..end.expect("there") + "</auswahldaten>".len(),
        "<identifikationsmerkmal>ab</identifikationsmerkmal>",
    );
    assert_eq!(rig.deliver(OFFICE, &feature).codes, ["X001"]);
    assert_eq!(rig.looks(), 4);
    // By hand, it is about one person, too.
    rig.texts();
    let by_hand = duties.iter().rev().find(|one| one.kind == "by-hand").expect("a case").number;
    let answer = |marks: &[&str]| {
        let marks: Vec<String> = marks.iter().map(|one| (*one).to_owned()).collect();
        rig.desk.answer_case(by_hand, &marks, "looked up", &Readers::One(Operator(7)))
    };
    assert!(answer(&["1", "3"]).is_err());
    answer(&["1"]).expect("answered");
    let late = rig.one();
    assert!(late.contains("meldeschein.daten.0301") && late.contains(">Adler<"), "{late}");
}

fn enquiries(number: u64, families: &[&str]) -> String {
    let cases: Vec<_> = families
        .iter()
        .enumerate()
        .map(|(place, family)| {
            let sign = format!("E-{place}");
            let event = rejection::Event { at: "2026-11-23T08:00:00.000Z".to_owned(), sign };
            (event, asked(Profile::PrivateEnquiry, family))
        })
        .collect();
    message(Number::EnquiriesAsked, PORTAL, number, |out| question::write_enquiries(out, &cases))
}

#[test]
fn each_of_many_enquiries_is_a_case_of_its_own() {
    let rig = Rig::filled(&[named("1", "Adler"), locked(named("2", "Sperre"), 3)]);
    let text =
        enquiries(40, &["Adler", "Sperre", "4711", "Leer"]).replace("<name>Leer</name>", "<name></name>");
    let done = rig.deliver(PORTAL, &text);
    assert_eq!((done.outcome, &done.codes[..]), ("answered", &["S030"][..]));
    assert_eq!(done.detail, "2 answered, 1 refused, 1 rejected");
    let first = rig.texts();
    let one = |holds: &str| -> &String {
        let mut found = first.iter().filter(|text| text.contains(holds));
        let one = found.next().expect(holds);
        assert!(found.next().is_none(), "one answer each: {holds}");
        one
    };
    assert_eq!(first.len(), 4);
    assert!(one("<ereignis.zeichen>E-0<").contains("Krumme Straße"));
    assert!(one("<ereignis.zeichen>E-1<").contains("<keineAuskunft>"));
    assert!(one("<ereignis.zeichen>E-2<").contains("name-missing"));
    let rejection = one("<ereignis.zeichen>E-3<");
    assert!(rejection.contains("S020") && rejection.contains("S030"), "{rejection}");
    // Sent again, and fetched again: the same bytes, and nobody pays or is told twice.
    let sorted = |mut texts: Vec<String>| {
        texts.sort_unstable();
        texts
    };
    let all = sorted(first.clone());
    assert_eq!(rig.deliver(PORTAL, &text).outcome, "answered as before");
    assert_eq!(sorted(rig.texts()), all);
    let wanted = message(Number::AnswerWanted, PORTAL, 41, |out| {
        question::write_wanted_answer(out, &uuid_of(40));
    });
    assert_eq!(rig.deliver(PORTAL, &wanted).outcome, "answered as before");
    assert_eq!(sorted(rig.texts()), all);
    assert_eq!(rig.looks(), 2);
    let accounts = rig.desk.copies.accounts(Month::parse("2026-11").expect("a month")).expect("accounts");
    assert_eq!((accounts[0].questions, accounts[0].cents), (2, 2002), "a fee each");
    let duties = rig.desk.copies.open_duties(0, 100).expect("duties");
    assert_eq!(duties.iter().filter(|one| one.kind == "notice-to-person").count(), 1);
    // What a clerk answers later names the message and its case.
    let by_hand = duties.iter().find(|one| one.kind == "by-hand").expect("a case").number;
    let clerk = Readers::One(Operator(1));
    rig.desk.answer_case(by_hand, &["1".to_owned()], "found in the original", &clerk).expect("answered");
    let late = rig.one();
    for expected in [&uuid_of(40)[..], "<ereignis.zeichen>E-1<", "<familienname>Adler<"] {
        assert!(late.contains(expected), "{expected}: {late}");
    }
    assert!(!late.contains('#'), "{late}");
    // Broken off behind its first case: that one is not put again.
    let text = enquiries(42, &["Adler", "Sperre"]);
    let digest = digest_of(Box::new(std::io::Cursor::new(text.clone().into_bytes()))).expect("reads");
    let (uuid, at) = (case_key(&uuid_of(42), 1), rig.clock.now());
    let number = Number::EnquiriesAsked.code();
    let before = Arrived {
        author: PORTAL,
        name: "",
        uuid: &uuid,
        number,
        digest,
        transport_id: "urn:x",
        at,
        expires_at: at,
        original: None,
        event: None,
    };
    rig.desk.copies.take(&before, &[]).expect("taken");
    assert_eq!(rig.deliver(PORTAL, &text).outcome, "answered");
    assert_eq!((rig.texts().len(), rig.looks()), (1, 4));
}

#[test]
fn many_enquiries_stay_within_their_bounds() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let good = enquiries(50, &["Adler", "Bussard"]);
    let place = good.rfind("<code>10041100</code>").expect("there");
    let mut two = good.clone();
    two.replace_range(place.."<code>10041100</code>".len() + place, "<code>10041511</code>");
    let many: Vec<String> = (0..=question::ENQUIRIES_MAX).map(|one| format!("N{one}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (case, from, text, expected) in [
        ("two municipalities", PORTAL, two, "S999"),
        ("one sign twice", PORTAL, good.replace("E-1", "E-0"), "X001"),
        ("none", PORTAL, enquiries(51, &[]), "X001"),
        ("too many", PORTAL, enquiries(52, &many), "X001"),
        ("nobody that is entered", "lap:9", good.replace(PORTAL, "lap:9"), "T070"),
    ] {
        // A message that is refused as a whole has used its UUID.
        let uuid = uuid::Uuid::new_v4().to_string();
        let text = (50..53).fold(text, |text, number| text.replace(&uuid_of(number), &uuid));
        let done = rig.deliver(from, &text);
        assert_eq!(done.codes, [expected], "{case}: {done:?}");
        rig.one();
    }
    assert_eq!(rig.looks(), 0);
}
