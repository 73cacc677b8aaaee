//! Every message is read as it was written; what is wrong is refused with the code that XInneres has for it.

use jiff::Timestamp;

use super::head::{Head, HeadFault, Own, Party, PostalAddress, Sender, begin, check};
use super::question::{Entitled, Wanted};
use super::rejection::{Event, Rejected};
use super::*;
use crate::register::copies::{Asked, Requester};
use crate::register::person::{Ags, Person};
use crate::register::question::{Profile, Selection};
use crate::register::rights::{Asker, Purpose};
use crate::register::stream::{Change, Occasion};
use crate::register::synth;
use crate::xml::write::Writer;

const UUID: &str = "11111111-2222-4333-8444-555555555555";

fn at() -> Timestamp {
    "2026-11-22T09:00:00.123456Z".parse().expect("an instant")
}

fn party(kennung: &str) -> Party {
    Party { kennung: kennung.to_owned(), name: "Amt".to_owned() }
}

fn own(kennung: &str) -> Own {
    let address = PostalAddress {
        number: "1".to_owned(),
        postcode: "00001".to_owned(),
        street: "Krumme Straße".to_owned(),
        place: "Ort".to_owned(),
    };
    Own { party: party(kennung), address, reachable_at: "post@amt.invalid".to_owned() }
}

fn message(release: &Release, number: Number, author: &str, content: impl FnOnce(&mut Writer)) -> String {
    let mut out = begin(release, number, &own(author), &party("zmb:10"), UUID, at(), false);
    content(&mut out);
    out.finish()
}

fn open(text: &str) -> Result<Message<&[u8]>, HeadFault> {
    Message::open(text.as_bytes())
}

fn whole(text: &str) -> (Head, Vec<Element>) {
    let mut message = open(text).expect("a head");
    let children = message.rest().expect("well-formed");
    (message.head, children)
}

fn asked() -> Asked {
    Asked {
        requester: Requester {
            asker: Asker::PublicBody,
            purpose: Purpose::Task,
            body: "Amt A".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Anhörung".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: true,
            declares_no_trade: false,
        },
        profile: Profile::FreeSearch,
        selection: Selection {
            municipalities: vec![Ags::parse("10041100").expect("a key")],
            family_name: Some("Œrtel".to_owned()),
            given_names: Some("Willi Otto".to_owned()),
            birth_date: Some("00031998".to_owned()),
            street: Some("Krumme Str".to_owned()),
            number_from: Some(1),
            number_until: Some(9),
            death_date: Some("00000000".to_owned()),
            ..Selection::default()
        },
        reader: None,
        test: false,
    }
}

fn entitled() -> Entitled {
    Entitled { asker: Asker::PublicBody, empowered: false }
}

#[test]
fn changes_and_loads_are_read_as_they_were_written() {
    let home = Ags::parse("10041100").expect("a key");
    let stand = feed::Stand {
        ags: home,
        generation: 2,
        sequence: 7,
        at: "2026-11-22T09:00:00.123Z".parse().expect("an instant"),
        announced: Some(300),
    };
    let persons: Vec<Person> = (0..300).map(|number| synth::person(5, home, number)).collect();
    for release in &RELEASES {
        let text = message(release, Number::Load, "ags:10041100", |out| {
            stand.write(out);
            persons.iter().for_each(|one| person::write(out, one));
        });
        let (head, children) = whole(&text);
        assert_eq!((head.number, head.release, head.uuid.as_str()), (Number::Load, Some(release), UUID));
        assert_eq!(feed::Stand::read(children.first()).expect("a stand"), stand);
        stand.belongs_to(&head).expect("its own");
        for (element, expected) in children[1..].iter().zip(&persons) {
            assert_eq!(person::read(element).expect("a record"), (expected.clone(), Vec::new()));
        }
        assert_eq!(children.len(), 301);
    }
    let change = Change {
        ags: home,
        generation: 2,
        sequence: 8,
        at: stand.at,
        occasion: Occasion::LockSet,
        mark: persons[0].mark.clone(),
        record: Some(persons[0].clone()),
    };
    let text = message(Release::newest(), Number::Changes, "ags:10041100", |out| {
        stand.write(out);
        feed::write_case(out, &change, "V-1");
        feed::write_case(out, &Change { record: None, occasion: Occasion::Deleted, ..change.clone() }, "V-2");
    });
    let (_, children) = whole(&text);
    let cases: Vec<feed::Case> =
        children[1..].iter().map(|one| feed::case(one, &stand).expect("a case")).collect();
    assert_eq!(cases[0].change, Ok(change.clone()));
    assert_eq!(cases[1].event.sign, "V-2");
    assert!(cases[1].change.as_ref().is_ok_and(|one| one.record.is_none()));
    // What must never be stored is no field of ours; it is named, not refused.
    let brought = text.replacen("<status>", "<kennwortAusweis>geheim</kennwortAusweis><status>", 1);
    let (_, children) = whole(&brought);
    let case = feed::case(&children[1], &stand).expect("a case");
    assert_eq!((case.left_out, case.change), (vec!["kennwortAusweis".to_owned()], Ok(change)));
}

#[test]
fn questions_are_read_as_they_were_written() {
    for (profile, number) in [
        (Profile::FreeSearch, Number::FreeSearchAsked),
        (Profile::PersonSearch, Number::PersonSearchAsked),
        (Profile::PrivateEnquiry, Number::EnquiryAsked),
    ] {
        let mut asked = Asked { profile, ..asked() };
        if profile == Profile::PrivateEnquiry {
            asked.requester.declares_no_trade = true;
            asked.requester.purpose = Purpose::Commercial;
            asked.requester.file_number.clear();
        }
        let text = message(&RELEASES[0], number, "dbs:1", |out| question::write(out, &asked));
        let (head, children) = whole(&text);
        let Wanted::Search(read) = question::read(&head, &children, entitled()).expect("a question") else {
            panic!("a search");
        };
        assert_eq!(read.selection, asked.selection);
        assert_eq!(read.requester.purpose, asked.requester.purpose);
        assert!(read.requester.body.starts_with("dbs:1 ") && read.requester.waives_hand_over);
    }
    let by_feature = |release| {
        let text = message(release, Number::PersonSearchAsked, "dbs:1", |out| question::write(out, &asked()));
        let (start, rest) = text.split_once("<auswahldaten>").expect("there");
        let (_, end) = rest.split_once("</auswahldaten>").expect("there");
        let text = format!("{start}<identifikationsmerkmal>ab12</identifikationsmerkmal>{end}");
        let (head, children) = whole(&text);
        question::read(&head, &children, entitled())
    };
    assert!(matches!(by_feature(&RELEASES[1]), Ok(Wanted::Feature { feature, .. }) if feature == "ab12"));
    assert_eq!(by_feature(&RELEASES[0]).expect_err("not in this release").code, Code::X001);
}

/// Many small trees take as much memory as a large one.
#[test]
fn all_below_the_root_has_one_bound() {
    let filled = |children: usize| {
        let content = format!("<viel>{}</viel>", "<a/>".repeat(10_000)).repeat(children);
        let good = message(Release::newest(), Number::PersonSearchAsked, "dbs:1", |_| {});
        let end = good.rfind("</").expect("the root's end");
        [&good[..end], &content, &good[end..]].concat()
    };
    let fault = open(&filled(5)).expect("a head").rest().expect_err("too many");
    assert_eq!(fault.code, Code::X000);
    assert!(fault.to_string().contains("nodes of a tree"), "{fault}");
    assert_eq!(open(&filled(5)).expect("a head").rest_of_many().map(|all| all.len()), Ok(5));
    assert_eq!(open(&filled(4)).expect("a head").rest().map(|all| all.len()), Ok(4));
}

/// What is changed in a good question, and what comes of it: "read", or the code.
#[test]
fn bad_messages_are_refused_with_their_codes() {
    let good = message(Release::newest(), Number::PersonSearchAsked, "dbs:1", |out| {
        question::write(out, &asked());
    });
    let outcome = |text: &[u8]| -> String {
        let read = || -> Result<(), Fault> {
            let mut message = Message::open(text).map_err(|fault| fault.fault)?;
            let children = message.rest()?;
            question::read(&message.head, &children, entitled()).map(drop)
        };
        read().map_or_else(|fault| fault.code.to_string(), |()| "read".to_owned())
    };
    assert_eq!(outcome(good.as_bytes()), "read");
    let long = format!("<name>{}</name>", "x".repeat(2 << 20));
    for (from, to, expected) in [
        ("UTF-8", "ISO-8859-1", "S001"),
        ("<?xml", "<!DOCTYPE x><?xml", "X000"),
        ("</suchprofil>", "</suchprofil", "X000"),
        ("</suchprofil>", "", "X000"),
        ("register:2611", "register:2505", "V000"),
        ("register:2611", "register:2605", "V000"),
        ("version=\"26.11\"", "version=\"26.05\"", "V000"),
        ("urn:de:amtsbote:register:2611\" standard", "http://www.osci.de/xmeld2605\" standard", "V000"),
        ("1330 xmlns", "1399 xmlns", "X001"),
        (" produkt=\"Amtsbote\"", "", "X001"),
        ("standard=\"Amtsbote-Register\"", "standard=\"XMeld\"", "X001"),
        ("<code>1330</code>", "<code>1332</code>", "S011"),
        ("<code>DVDV</code>", "<code>ABC</code>", "S011"),
        (UUID, "11111111-2222-4333-8444-55555555555", "X001"),
        (":00.123+00:00", ":00+00:00", "S999"),
        (":00.123+00:00", ":00.123", "X001"),
        ("<name>Amt</name>", "<name> </name>", "S030"),
        ("<kennung>dbs:1</kennung>", "<kennung>dbs1</kennung>", "X001"),
        ("<anschrift.autor>", "<anschrift.niemand>", "X000"),
        ("<name>Œrtel</name>", "<name></name>", "S030"),
        ("<name>Œrtel</name>", "<name>Œ\u{378}rtel</name>", "X001"),
        ("<name>Œrtel</name>", "<name>O\u{308}rtel</name>", "read"),
        ("<name>Œrtel</name>", "<name>\u{0416}</name>", "X001"),
        ("<name>Œrtel</name>", "<name>Œrtel</name><name>A</name>", "X001"),
        ("<name>Œrtel</name>", &long, "X000"),
        ("<jahrMonat>1998-03</jahrMonat>", "<jahrMonat>1998-13</jahrMonat>", "X001"),
        ("<jahrMonat>1998-03</jahrMonat>", "<jahrMonatTag>1998-02-31</jahrMonatTag>", "X001"),
        ("<code>10041100</code>", "<code>1004110</code>", "S011"),
        ("<phonetik>false</phonetik>", "<phonetik>nein</phonetik>", "X001"),
        ("<familienname>", "<auskunftssperre><code>3</code></auskunftssperre><familienname>", "X001"),
        ("<datenAbrufendeStelle>", "x<datenAbrufendeStelle>", "X001"),
    ] {
        assert!(good.contains(from), "{from}");
        assert_eq!(outcome(good.replacen(from, to, 1).as_bytes()), expected, "{from} -> {:.60}", to);
    }
    assert_eq!(outcome(&good.as_bytes()[..good.len() - 20]), "X000");
    assert_eq!(outcome(&[good.as_bytes(), b"<more/>"].concat()), "X000");
    let latin: Vec<u8> = good.bytes().map(|byte| if byte == 0xc3 { 0xff } else { byte }).collect();
    assert_eq!(outcome(&latin), "S001");
    assert_eq!(outcome(b""), "X000");
    assert_eq!(outcome(b"text"), "X000");
}

#[test]
fn senders_and_readers_are_checked() {
    let text = message(Release::newest(), Number::PersonSearchAsked, "dbs:1", |out| {
        question::write(out, &asked());
    });
    let (head, _) = whole(&text);
    let code = |sender: Sender, ours: &str| {
        check(&head, &sender, |one| one == ours).map_or_else(|fault| fault.code.as_str(), |()| "good")
    };
    let vouched = |one: &str| Sender::Vouched(one.to_owned());
    assert_eq!(code(vouched("dbs:1"), "zmb:10"), "good");
    assert_eq!(code(vouched("dbs:2"), "zmb:10"), "T070");
    assert_eq!(code(vouched("dbs:1"), "zmb:11"), "T080");
    for (sender, expected) in [
        (Sender::CertificateExpired, "T000"),
        (Sender::CertificateRevoked, "T001"),
        (Sender::CertificateInvalid, "T002"),
        (Sender::CertificateMissing, "T003"),
        (Sender::SignatureMissing, "T010"),
        (Sender::SignatureBroken, "T011"),
        (Sender::Undecipherable, "T020"),
    ] {
        assert_eq!(code(sender, "zmb:10"), expected);
    }
}

#[test]
fn rejections_name_reasons_cases_and_the_original() {
    let text = message(Release::newest(), Number::Changes, "ags:10041100", |_| {});
    let (head, _) = whole(&text);
    let faults = [Fault::new(Code::S020, Code::S020.words()), Fault::new(Code::S999, "because")];
    let event = Event { at: "2026-11-22T09:00:00.000+00:00".to_owned(), sign: "V-1".to_owned() };
    let cases = [rejection::Case { event, fault: Fault::new(Code::S100, Code::S100.words()) }];
    let rejected = Rejected {
        faults: &faults,
        cases: &cases,
        head: Some(&head),
        transport_id: "urn:1",
        original: b"<x/>",
    };
    let written = rejection::write(&rejected, &own("zmb:10"), &head.autor, UUID, at());
    for expected in [
        "<code>S020</code></grund></rueckweisungsgrund>",
        "<code>S999</code></grund><grundSpezifisch><fehlerbeschreibung>because</fehlerbeschreibung>",
        "<nachrichtenId>urn:1</nachrichtenId>",
        "<ereignis.zeichen>V-1</ereignis.zeichen></identifikation.ereignis><grund><grund><code>S100</code>",
        "<nachricht>PHgvPg==</nachricht>",
        "<pruefinstanz>Amt</pruefinstanz>",
    ] {
        assert!(written.contains(expected), "{expected}: {written}");
    }
    let (head, children) = whole(&written);
    assert!(head.number.ends_a_conversation() && head.release.is_none());
    assert_eq!(rejection::codes(&children), ["S020", "S999"]);
}

#[test]
fn move_notices_tell_a_watcher_only_what_it_needs() {
    let event = Event { at: "2026-11-22T09:00:00.000+00:00".to_owned(), sign: "Z-7".to_owned() };
    let home = Ags::parse("10041100").expect("a key");
    let day = "2026-11-20".parse().expect("a day");
    let write = |number, case: Option<&str>, registered| {
        let mut out =
            begin(&RELEASES[0], number, &own("ags:10041100"), &party("ags:10041511"), UUID, at(), false);
        moves::write(&mut out, case, &event, registered, Some(&synth::person(1, home, 1)));
        out.finish()
    };
    let (head, children) = whole(&write(Number::MoveNotice, None, Some(day)));
    let notice = moves::read(&head, &children).expect("a notice");
    assert_eq!((notice.case.as_str(), notice.sign.as_str(), notice.registered_on), (UUID, "Z-7", Some(day)));
    let other = "99999999-2222-4333-8444-555555555555";
    let (head, children) = whole(&write(Number::MoveAnswer, Some(other), None));
    assert_eq!(moves::read(&head, &children).expect("an answer").case, other);
    let (head, children) = whole(&write(Number::MoveAnswer, None, None));
    assert_eq!(moves::read(&head, &children).expect_err("belongs nowhere").code, Code::X001);
    let (head, children) = whole(&write(Number::MoveNotice, None, None));
    assert_eq!(moves::read(&head, &children).expect_err("no day").code, Code::X001);
}

#[test]
fn numbers_and_codes_are_those_of_their_elements() {
    for number in Number::ALL {
        assert!(number.element().ends_with(number.code()), "{number:?}");
        assert_eq!(Number::parse(number.code()), Some(*number));
        assert_eq!(number.is_question(), number.answer().is_some());
    }
    assert!(Code::ALL.iter().all(|code| !code.words().is_empty()));
}
