//! The published exchange form: what we write is what `schemas/register` says, judged by a foreign validator.

use std::process::Command;

use amtsbote::register::answer::Answer;
use amtsbote::register::copies::{Asked, Requester};
use amtsbote::register::message::head::{Own, Party, PostalAddress, begin};
use amtsbote::register::message::rejection::Event;
use amtsbote::register::message::{Number, RELEASES, answer, feed, passing, person, question};
use amtsbote::register::person::{Ags, Person};
use amtsbote::register::question::{Profile, Selection};
use amtsbote::register::reconcile;
use amtsbote::register::rights::{Asker, Purpose};
use amtsbote::register::synth;
use amtsbote::xml::write::Writer;

use crate::tools;

#[test]
fn what_is_written_is_valid_by_its_schema() {
    if !tools::is_here("xmllint", &["--version"], "messages are not validated by their schema") {
        return;
    }
    let home = Ags::parse("10041100").expect("a key");
    let persons: Vec<Person> = (0..500).map(|number| synth::person(9, home, number)).collect();
    let party = |kennung: &str| Party { kennung: kennung.to_owned(), name: "Amt".to_owned() };
    let address = PostalAddress {
        number: "1".to_owned(),
        postcode: "00001".to_owned(),
        street: "Krumme Straße".to_owned(),
        place: "Ort".to_owned(),
    };
    let own = Own { party: party("ags:10041100"), address, reachable_at: "post@amt.invalid".to_owned() };
    let at = "2026-11-22T09:00:00.123Z".parse().expect("an instant");
    let uuid = "11111111-2222-4333-8444-555555555555";
    let folder = tempfile::tempdir().expect("a folder");
    let judge = |version: &str, text: String| {
        let file = folder.path().join("message.xml");
        std::fs::write(&file, text).expect("writes");
        let schema = format!("schemas/register/{}/register.xsd", version.replace('.', ""));
        let judged = Command::new("xmllint")
            .args(["--noout", "--schema", &schema])
            .arg(&file)
            .output()
            .expect("xmllint runs");
        let words = String::from_utf8_lossy(&judged.stderr);
        assert!(judged.status.success(), "{version}: {words:.2000}");
    };
    for release in &RELEASES {
        let mut out = begin(release, Number::Load, &own, &party("zmb:10"), uuid, at, false);
        feed::Stand { ags: home, generation: 1, sequence: 0, at, announced: Some(500) }.write(&mut out);
        persons.iter().for_each(|one| person::write(&mut out, one));
        judge(release.version, out.finish());
    }
    // Hashes of the original, and what came of them.
    let newest = &RELEASES[1];
    let entries: std::collections::BTreeMap<_, _> =
        persons.iter().map(|one| (one.mark.clone(), reconcile::hash(&one.to_bytes()))).collect();
    let buckets = reconcile::buckets(&entries);
    let mut out = begin(newest, Number::Standing, &own, &party("zmb:10"), uuid, at, false);
    feed::Stand { ags: home, generation: 1, sequence: 0, at, announced: None }.write(&mut out);
    feed::Hashes { buckets, entries: entries.clone() }.write(&mut out);
    judge(newest.version, out.finish());
    let mut out = begin(newest, Number::Receipt, &own, &party("zmb:10"), uuid, at, false);
    let difference = reconcile::Difference::between(&entries, &Default::default());
    let compared = Some(((0..=255).collect(), difference));
    feed::write_receipt(&mut out, uuid, &feed::Receipt { compared, ..feed::Receipt::default() });
    judge(newest.version, out.finish());
    // What offices say about messages, forms, and many enquiries at once.
    let written = |number: Number, content: &dyn Fn(&mut Writer)| {
        let mut out = begin(newest, number, &own, &party("zmb:10"), uuid, at, false);
        content(&mut out);
        judge(newest.version, out.finish());
    };
    written(Number::Reminder, &|out| passing::write_reminder(out, uuid));
    written(Number::NotCompetent, &|out| passing::write_not_competent(out, uuid, "not here"));
    for number in [Number::Forward, Number::HandOver] {
        written(number, &|out| passing::write(out, number, b"<original/>"));
    }
    let asked = |profile| Asked {
        requester: Requester {
            asker: Asker::RegistrationOffice,
            purpose: Purpose::Private,
            body: "Amt".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Zuzug".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: true,
            declares_no_trade: true,
        },
        profile,
        selection: Selection {
            municipalities: vec![home],
            family_name: Some("Adler".to_owned()),
            given_names: Some("Willi".to_owned()),
            birth_date: Some("00031998".to_owned()),
            ..Selection::default()
        },
        reader: None,
        test: false,
    };
    written(Number::FormAsked, &|out| question::write(out, &asked(Profile::PrefilledForm)));
    written(Number::FormAnswered, &|out| answer::write(out, uuid, None, &Answer::Neutral));
    let event = |sign: &str| Event { at: "2026-11-23T08:00:00.000Z".to_owned(), sign: sign.to_owned() };
    let cases: Vec<(Event, Asked)> =
        ["E-1", "E-2"].map(|sign| (event(sign), asked(Profile::PrivateEnquiry))).into();
    written(Number::EnquiriesAsked, &|out| question::write_enquiries(out, &cases));
    let one = event("E-1");
    written(Number::EnquiryAnswered, &|out| answer::write(out, uuid, Some(&one), &Answer::Neutral));
}
