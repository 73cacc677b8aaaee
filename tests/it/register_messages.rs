//! The published exchange form: what we write is what `schemas/register` says, judged by a foreign validator; and hashes of a
//! comparison are what the published rule makes.

use std::collections::BTreeMap;
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
use amtsbote::xml::tree::Element;
use amtsbote::xml::write::Writer;
use aws_lc_rs::digest::{SHA256, digest};

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
    let entries: BTreeMap<_, _> =
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
    // The published example.
    let text = published();
    for (number, block) in [(Number::Load, 0), (Number::Standing, 4)] {
        let mut out = begin(newest, number, &own, &party("zmb:10"), uuid, at, false);
        feed::Stand { ags: home, generation: 1, sequence: 0, at, announced: None }.write(&mut out);
        let message = out.finish().replace("</bestand>", &format!("</bestand>{}", blocks(&text)[block]));
        judge(newest.version, message);
    }
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

fn published() -> String {
    std::fs::read_to_string("schemas/register/2611/abgleich.md").expect("the published rule")
}

/// The text's examples, without their fences.
fn blocks(text: &str) -> Vec<&str> {
    let inside = text.split("```").skip(1).step_by(2);
    inside.map(|block| block.split_once('\n').expect("the block's kind").1).collect()
}

/// Rows of the table with this head.
fn rows<'t>(text: &'t str, head: &str) -> Vec<Vec<&'t str>> {
    let table = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let cells = |row: &'t str| row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`')).collect();
    rows.map(cells).collect()
}

fn parsed(text: &str) -> Element {
    Element::parse(text.as_bytes(), &Default::default(), &Default::default()).expect("well-formed")
}

/// The published rule with its tables as they stand, and none of the register's own code.
struct Rule<'t> {
    person: Vec<Vec<&'t str>>,
    address: Vec<Vec<&'t str>>,
    words: Vec<Vec<&'t str>>,
}

impl<'t> Rule<'t> {
    fn of(text: &'t str) -> Self {
        let [person, address, words] = [
            "| key | element of `person` |",
            "| key | element of `anschrift` |",
            "| element | code | string |",
        ]
        .map(|head| rows(text, head));
        assert_eq!((person.len(), address.len(), words.len()), (27, 11, 8), "the tables of {text}");
        Self { person, address, words }
    }

    fn bytes(&self, element: &Element, table: &[Vec<&str>]) -> String {
        let text = |one: &Element| one.text().trim_matches([' ', '\t', '\r', '\n']).to_owned();
        let string = |text: String| {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", escaped.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"))
        };
        let within = |one: &Element, name: &str| one.child("", name).map(text);
        let code = |one: &Element| within(one, "code").expect("a code");
        let name = |one: &Element| within(one, "name").unwrap_or_else(|| "+".to_owned());
        let date = |one: &Element| match one.child("", "teilbekanntesDatum") {
            None => "00000000".to_owned(),
            Some(known) => {
                let written = text(known.children().next().expect("a date"));
                let part = |place| written.split('-').nth(place).unwrap_or("00");
                format!("{}{}{}", part(2), part(1), part(0))
            }
        };
        let is_hidden = |one: &Element| {
            one.children_named("", "auskunftssperre")
                .any(|lock| ["1", "3", "6", "11", "12"].contains(&&*code(lock)))
        };
        let mut parts = Vec::new();
        for row in table {
            let [key, source, form, always, ..] = row[..] else { panic!("{row:?}") };
            let found: Vec<&Element> = element.children_named("", source).collect();
            let list = |items: Vec<String>| (!items.is_empty()).then(|| format!("[{}]", items.join(",")));
            let each =
                |one: &dyn Fn(&Element) -> String| list(found.iter().map(|e| string(one(e))).collect());
            let only = |hidden: bool| {
                let some = found.iter().filter(|one| is_hidden(one) == hidden);
                list(some.map(|one| string(name(one))).collect())
            };
            let first = found.first().copied();
            let value = match form {
                "text" => first.map(|one| string(text(one))),
                "name" => first.map(|one| string(name(one))),
                "code" => first.map(|one| string(code(one))),
                "date" => first.map(|one| string(date(one))),
                "names" => each(&name),
                "codes" => each(&code),
                "dates" => each(&date),
                "names, those that are not hidden" => only(false),
                "names, those that are hidden" => only(true),
                "numbers" => list(found.iter().map(|one| code(one)).collect()),
                "addresses" => list(found.iter().map(|one| self.bytes(one, &self.address)).collect()),
                "true" => first.map(text).filter(|said| said == "true"),
                word => {
                    let missing = || word.split('`').nth(1).expect("a word where it is missing").to_owned();
                    let code = first.map_or_else(missing, code);
                    let row = self.words.iter().find(|row| row[0] == source && row[1] == code);
                    Some(string(row.expect("a word").get(2).expect("a string").to_string()))
                }
            };
            let empty = if form == "text" { "\"\"" } else { "[]" };
            let value = value.or((always == "always").then(|| empty.to_owned()));
            parts.extend(value.map(|value| format!("\"{key}\":{value}")));
        }
        format!("{{{}}}", parts.join(","))
    }
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A municipality that has nothing but the published text computes what the register computes.
#[test]
fn the_published_rule_of_the_comparison_makes_the_registers_hashes() {
    let text = published();
    let rule = Rule::of(&text);
    let [persons, lines, digests, concatenated, sent] = blocks(&text)[..] else { panic!("five examples") };
    let (mut buckets, mut entries) = (BTreeMap::<u8, BTreeMap<Vec<u8>, [u8; 32]>>::new(), BTreeMap::new());
    let records = parsed(&format!("<all>{persons}</all>"));
    for ((record, line), figures) in records.children().zip(lines.lines()).zip(digests.lines()) {
        let bytes = rule.bytes(record, &rule.person);
        assert_eq!(bytes, line, "the published bytes");
        let (ours, _) = person::read(record).expect("a record");
        assert_eq!(String::from_utf8(ours.to_bytes()).expect("text"), bytes, "the register's bytes");
        let (of_mark, of_record) = (sha(ours.mark.as_bytes()), sha(bytes.as_bytes()));
        let told = format!("{} {} {} {}", ours.mark, hex(&of_mark), of_mark[0], hex(&of_record));
        assert_eq!(told, figures, "the published figures");
        buckets.entry(of_mark[0]).or_default().insert(ours.mark.clone().into_bytes(), of_record);
        entries.insert(ours.mark.clone(), reconcile::hash(&ours.to_bytes()));
    }
    assert_eq!(entries.len(), 3);
    let hashed = |number: u8| -> Vec<u8> {
        buckets[&number].iter().flat_map(|(mark, digest)| [&mark[..], &[0], digest].concat()).collect()
    };
    assert_eq!(hex(&hashed(223)), concatenated.trim(), "the published bytes of the bucket");
    let told = feed::Hashes::read(&parsed(sent)).expect("the published comparison");
    assert_eq!(told.buckets, reconcile::buckets(&entries), "the register's buckets");
    let own: Vec<_> = buckets.iter().map(|(&no, all)| (no, all.len() as u64, sha(&hashed(no)))).collect();
    assert_eq!(told.buckets.iter().map(|one| (one.number, one.count, one.hash)).collect::<Vec<_>>(), own);
    entries.retain(|mark, _| reconcile::bucket_of(mark) == 223);
    assert_eq!(told.entries, entries);
}
