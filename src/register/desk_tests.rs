//! The desk on a real database: what each message does, what is answered, and that nothing happens twice.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::clock::HandClock;
use crate::register::copies::{
    Deadlines, Held, LogKey, Month, Outgoing, Requester, Settings as CopySettings,
};
use crate::register::fees::{Rate, Tariff};
use crate::register::message::head::{PostalAddress, begin};
use crate::register::message::{RELEASES, feed, question};
use crate::register::person::{Address, Lock, Person, Sex};
use crate::register::question::{Profile, Selection};
use crate::register::reconcile::{buckets, hash};
use crate::register::rights::{Asker, Purpose};
use crate::register::signers::tests as signing;
use crate::register::stream::{Change, Occasion};
use crate::register::workdays::{Calendar, SAARLAND};
use crate::xml::write::Writer;

#[path = "desk/clerk_tests.rs"]
mod clerk;
#[path = "desk/passing_tests.rs"]
mod passing;
#[path = "desk/locks_tests.rs"]
mod refused_locks;
#[path = "desk/stream_tests.rs"]
mod streams;

const TOWN: &str = "ags:10041100";
const STORE: &str = "zmb:10";
const BODY: &str = "dbs:1";
const PORTAL: &str = "lap:1";

fn home() -> Ags {
    Ags::parse("10041100").expect("a key")
}

struct Rig {
    desk: Desk,
    clock: HandClock,
    folder: tempfile::TempDir,
    deliveries: std::cell::Cell<u64>,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = HandClock::at("2026-11-23T09:00:00Z".parse().expect("an instant"));
    let desk = open(folder.path(), &clock);
    Rig { desk, clock, folder, deliveries: std::cell::Cell::new(0) }
}

fn open(folder: &std::path::Path, clock: &HandClock) -> Desk {
    open_with(CopySettings::new(folder), clock)
}

fn open_with(mut kept: CopySettings, clock: &HandClock) -> Desk {
    let from = "2026-01-01".parse().expect("a day");
    kept.tariff = Tariff(vec![Rate { ags: None, channel: None, from, cents: 1001 }]);
    let copies = Copies::open(kept, LogKey::new(&[7; 32])).expect("copies");
    let zone = TimeZone::get("Europe/Berlin").expect("the zone");
    let askers =
        [(BODY, Asker::PublicBody, false), ("pdl:1", Asker::Police, true), (PORTAL, Asker::Citizen, false)];
    let settings = Settings {
        own: own(STORE),
        identifiers: vec![STORE.to_owned()],
        askers: askers
            .into_iter()
            .map(|(name, asker, empowered)| (name.to_owned(), Entitled { asker, empowered }))
            .collect(),
        bucket: Duration::from_secs(2),
        refetch: refetch::Rule { days: 8, zone: zone.clone() },
        deadlines: Deadlines {
            calendar: Calendar::parse(SAARLAND).expect("the calendar"),
            zone,
            warn_days: 2,
            due_days: 3,
        },
    };
    Desk::new(copies, settings, Arc::new(clock.clone()))
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

fn party(kennung: &str) -> Party {
    Party { kennung: kennung.to_owned(), name: "Amt".to_owned() }
}

/// A message of the newest release, with a UUID made of `number`.
fn message(kind: Number, author: &str, number: u64, content: impl FnOnce(&mut Writer)) -> String {
    to(STORE, kind, author, number, content)
}

fn to(reader: &str, kind: Number, author: &str, number: u64, content: impl FnOnce(&mut Writer)) -> String {
    let at = "2026-11-23T08:59:00.000Z".parse().expect("an instant");
    let mut out = begin(&RELEASES[1], kind, &own(author), &party(reader), &uuid_of(number), at, false);
    content(&mut out);
    out.finish()
}

fn uuid_of(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn named(mark: &str, family: &str) -> Person {
    Person {
        mark: mark.to_owned(),
        family_names: vec![family.to_owned()],
        given_names: vec!["Willi".to_owned()],
        birth_dates: vec!["17031998".parse().expect("a date")],
        sex: Some(Sex::M),
        addresses: vec![Address {
            street: "Krumme Straße".to_owned(),
            number: "1".to_owned(),
            postcode: "00001".to_owned(),
            place: "Ort".to_owned(),
            ..Address::default()
        }],
        ..Person::default()
    }
}

fn locked(person: Person, code: u8) -> Person {
    Person { locks: vec![Lock::try_from(code).expect("a lock")], ..person }
}

fn stand(generation: u64, sequence: u64, announced: Option<u64>) -> Stand {
    let at = "2026-11-23T08:58:00.000Z".parse().expect("an instant");
    Stand { ags: home(), generation, sequence, at, announced }
}

fn load(number: u64, generation: u64, persons: &[Person]) -> String {
    message(Number::Load, TOWN, number, |out| {
        stand(generation, 0, Some(persons.len() as u64)).write(out);
        persons.iter().for_each(|one| person::write(out, one));
    })
}

fn change(sequence: u64, record: Person) -> Change {
    let occasion = if record.locks.is_empty() { Occasion::Name } else { Occasion::LockSet };
    let mark = record.mark.clone();
    Change {
        ags: home(),
        generation: 1,
        sequence,
        at: stand(1, 0, None).at,
        occasion,
        mark,
        record: Some(record),
    }
}

fn changes(number: u64, changes: &[Change]) -> String {
    message(Number::Changes, TOWN, number, |out| {
        stand(changes[0].generation, changes[0].sequence, None).write(out);
        changes.iter().for_each(|one| feed::write_case(out, one, &format!("V-{}", one.sequence)));
    })
}

fn asked(profile: Profile, family: &str) -> super::super::copies::Asked {
    let private = profile == Profile::PrivateEnquiry;
    super::super::copies::Asked {
        requester: Requester {
            asker: if private { Asker::Citizen } else { Asker::PublicBody },
            purpose: if private { Purpose::Private } else { Purpose::Task },
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
            sex: Some(Sex::M),
            ..Selection::default()
        },
        reader: None,
        test: false,
    }
}

fn search(number: u64, family: &str) -> String {
    message(Number::PersonSearchAsked, BODY, number, |out| {
        question::write(out, &asked(Profile::PersonSearch, family));
    })
}

fn enquiry(number: u64, family: &str) -> String {
    message(Number::EnquiryAsked, PORTAL, number, |out| {
        question::write(out, &asked(Profile::PrivateEnquiry, family));
    })
}

impl Rig {
    /// A delivery of its own.
    fn deliver(&self, from: &str, text: &str) -> Handled {
        self.deliveries.set(self.deliveries.get() + 1);
        self.deliver_as(
            &format!("urn:{}", self.deliveries.get()),
            &Sender::Vouched(from.to_owned()),
            from,
            text,
        )
    }

    fn deliver_as(&self, id: &str, sender: &Sender, from: &str, text: &str) -> Handled {
        let bytes = text.as_bytes().to_vec();
        let content = move || -> std::io::Result<Box<dyn BufRead>> {
            Ok(Box::new(std::io::Cursor::new(bytes.clone())))
        };
        let delivery = Delivery { transport_id: id, sender, from, test: false };
        self.desk.handle(&delivery, &content).expect("written down")
    }

    /// Several at once, each with its sender.
    fn deliver_together(&self, messages: &[(&str, String)]) -> Vec<Handled> {
        let messages: Vec<_> = messages
            .iter()
            .map(|(from, text)| {
                self.deliveries.set(self.deliveries.get() + 1);
                (format!("urn:{}", self.deliveries.get()), Sender::Vouched((*from).to_owned()), *from, text)
            })
            .collect();
        let contents: Vec<_> = messages
            .iter()
            .map(|(_, _, _, text)| {
                let bytes = text.as_bytes().to_vec();
                move || -> std::io::Result<Box<dyn BufRead>> {
                    Ok(Box::new(std::io::Cursor::new(bytes.clone())))
                }
            })
            .collect();
        let deliveries: Vec<(Delivery<'_>, Content<'_>)> = messages
            .iter()
            .zip(&contents)
            .map(|((id, sender, from, _), content)| {
                (Delivery { transport_id: id, sender, from, test: false }, content as Content<'_>)
            })
            .collect();
        let done = self.desk.handle_together(&deliveries);
        done.into_iter().map(|one| one.expect("tried").expect("written down")).collect()
    }

    /// What is due, as if it were sent now.
    fn sent(&self) -> Vec<Outgoing> {
        self.clock.advance(Duration::from_secs(3));
        let due = self.desk.copies.due(self.clock.now()).expect("a look");
        for one in &due {
            self.desk.copies.note_sent(one.id, self.clock.now()).expect("noted");
        }
        due
    }

    fn texts(&self) -> Vec<String> {
        self.sent().into_iter().map(|one| String::from_utf8(one.bytes).expect("text")).collect()
    }

    fn one(&self) -> String {
        let mut sent = self.texts();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    fn filled(persons: &[Person]) -> Self {
        let rig = rig();
        assert_eq!(rig.deliver(TOWN, &load(1, 1, persons)).outcome, "loaded");
        assert!(rig.one().contains("<uebernommen>"));
        rig
    }

    fn looks(&self) -> u64 {
        self.desk.copies.verify_looks().expect("whole")
    }
}

#[test]
fn a_feed_fills_a_copy_and_is_receipted() {
    let rig = rig();
    let bad = load(1, 1, &[named("1", "Adler"), named("2", "Bussard"), named("1", "Condor")])
        .replacen(
            "<geschlecht><code>m</code>",
            "<kennwortAusweis>geheim</kennwortAusweis><geschlecht><code>m</code>",
            1,
        )
        .replace("<name>Bussard</name>", "<name></name>");
    let done = rig.deliver(TOWN, &bad);
    assert_eq!((done.outcome, done.detail.as_str()), ("loaded", "1 stored, 2 refused"));
    let receipt = rig.one();
    for expected in [
        "quittung.bestandsdatenlieferung.0928",
        "<uebernommen>1</uebernommen><zurueckgewiesen>2</zurueckgewiesen>",
        "<stelle>2</stelle><grund>S030",
        "<stelle>3</stelle><grund>the order mark came before</grund>",
        "<element>kennwortAusweis</element><anzahl>1</anzahl>",
    ] {
        assert!(receipt.contains(expected), "{expected}: {receipt}");
    }
    // A gap is held and asked for; a lock in it is effective; a contradiction is rejected alone.
    let first = change(1, named("1", "Buchfink"));
    let third = change(3, locked(named("1", "Buchfink"), 3));
    assert_eq!(rig.deliver(TOWN, &changes(2, &[first.clone(), third.clone()])).outcome, "changes taken");
    assert!(rig.one().contains("<nachforderung><von>2</von><bis>2</bis></nachforderung>"));
    rig.deliver(BODY, &search(3, "Buchfink"));
    assert!(rig.one().contains("<keineAuskunft>"));
    let other = change(1, named("1", "Dohle"));
    let done = rig.deliver(TOWN, &changes(4, &[other, change(2, named("1", "Buchfink"))]));
    assert_eq!(done.codes, ["S999"]);
    let sent = rig.texts();
    assert_eq!(sent.len(), 2);
    assert!(
        sent[0].contains("<uebernommen>2</uebernommen>") && !sent[0].contains("nachforderung"),
        "{}",
        sent[0]
    );
    assert!(sent[1].contains("S020") && sent[1].contains("<ereignis.zeichen>V-1<"), "{}", sent[1]);
    // "Nothing happened", and a feed that is further than the copy.
    let standing =
        |number, sequence| message(Number::Standing, TOWN, number, |out| stand(1, sequence, None).write(out));
    assert_eq!(rig.deliver(TOWN, &standing(5, 3)).outcome, "copy is current");
    assert_eq!(rig.deliver(TOWN, &standing(6, 5)).outcome, "changes are missing");
    assert!(rig.texts()[1].contains("<von>4</von><bis>5</bis>"));
}

/// The bad-input list: each with the code that the standard gives it.
#[test]
fn bad_feeds_are_rejected_with_their_codes() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let good = changes(10, &[change(1, named("1", "Bussard"))]);
    let older = Change { generation: 0, ..change(1, named("1", "Bussard")) };
    let unloaded = Change { generation: 7, ..change(1, named("1", "Bussard")) };
    let far = change(20_000, named("1", "Bussard"));
    let foreign = good
        .replace("<code>10041100</code>", "<code>10041511</code>")
        .replace("000000000010", "000000000009");
    let long = change(1, named("1", &"x".repeat(400)));
    let broken = good.replacen(
        "<laufendeNummer>1</laufendeNummer><anlass>",
        "<laufendeNummer>x</laufendeNummer><anlass>",
        1,
    );
    for (case, text, code) in [
        ("another municipality's copy", foreign, "T070"),
        ("an older generation", changes(11, &[older]), "S999"),
        ("a generation that was not loaded", changes(12, &[unloaded]), "S999"),
        ("too far ahead", changes(13, &[far]), "S999"),
        (
            "a test",
            good.replace(" produkt=", " test=\"ja\" produkt=").replace("000000000010", "000000000014"),
            "S999",
        ),
        ("a record beyond its bounds", changes(15, &[long]), "S999"),
        ("a sequence that is none", broken.replace("000000000010", "000000000016"), "X001"),
        ("no case at all", message(Number::Changes, TOWN, 17, |out| stand(1, 0, None).write(out)), "X001"),
        ("an older load", load(18, 1, &[named("1", "Adler")]), "S999"),
        (
            "fewer records than announced",
            load(19, 2, &[named("1", "Adler")]).replace("<anzahl>1<", "<anzahl>2<"),
            "S999",
        ),
        (
            "a municipality as reader",
            good.replacen(STORE, "ags:10041511", 1).replace("000000000010", "000000000020"),
            "T080",
        ),
        ("an answer of ours", message(Number::EnquiryAnswered, TOWN, 21, |_| {}), "T070"),
        ("no message", "what?".to_owned(), "X000"),
    ] {
        let done = rig.deliver(TOWN, &text);
        assert_eq!(done.codes, [code], "{case}: {done:?}");
        let sent = rig.one();
        assert!(sent.contains("rueckweisung.asynchron.0010") && sent.contains(code), "{case}: {sent}");
        assert!(code != "S999" || sent.contains("<fehlerbeschreibung>"), "{case}: S999 says why");
    }
    // Whoever is not believed is not read.
    for (sender, code) in [(Sender::CertificateRevoked, "T001"), (Sender::Undecipherable, "T020")] {
        let done = rig.deliver_as(code, &sender, TOWN, &good);
        assert_eq!(done.codes, [code]);
        rig.one();
    }
    let impostor = rig.deliver("ags:10041511", &good);
    assert_eq!(impostor.codes, ["T070"]);
    assert_eq!(rig.sent()[0].reader, "ags:10041511", "answered to who sent it");
    // Nothing of all that left a trace, and the UUID is still its owner's.
    assert_eq!(rig.desk.copies.states(rig.clock.now()).expect("states")[0].sequence, 0);
    assert_eq!(rig.deliver(TOWN, &good).outcome, "changes taken");
    rig.one();
    // Rejections and receipts are never answered, however bad.
    let rejection = message(Number::Receipt, TOWN, 30, |_| {});
    assert_eq!(rig.deliver(TOWN, &rejection).outcome, "noted");
    rig.deliver("ags:10041511", &rejection);
    assert!(rig.sent().is_empty());
}

#[test]
fn bad_questions_are_refused_by_reason_and_put_to_no_copy() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let with = |number, profile, alter: &dyn Fn(&mut Selection)| {
        let mut one = asked(profile, "Adler");
        alter(&mut one.selection);
        let kind = match profile {
            Profile::PersonSearch => Number::PersonSearchAsked,
            Profile::FreeSearch => Number::FreeSearchAsked,
            Profile::PrivateEnquiry => Number::EnquiryAsked,
            Profile::PrefilledForm => Number::FormAsked,
        };
        let author = if profile == Profile::PrivateEnquiry { PORTAL } else { BODY };
        message(kind, author, number, |out| question::write(out, &one))
    };
    use Profile::{FreeSearch, PersonSearch, PrivateEnquiry};
    let two = |one: &mut Selection| one.municipalities.push(Ags::parse("10041511").expect("a key"));
    let family = |text: &'static str| move |one: &mut Selection| one.family_name = Some(text.to_owned());
    let sound = |one: &mut Selection| {
        one.family_name = Some("Adl*".to_owned());
        one.by_sound = true;
    };
    let long = |one: &mut Selection| one.family_name = Some("x".repeat(5000));
    let street = |one: &mut Selection| one.street = Some("Nirgendweg".to_owned());
    for (case, author, text, expected) in [
        ("two municipalities", BODY, with(40, PersonSearch, &two), "municipality-count"),
        ("placeholder first", BODY, with(41, FreeSearch, &family("*dler")), "<grund>15</grund>"),
        ("placeholder and sound", BODY, with(42, FreeSearch, &sound), "<grund>15</grund>"),
        ("unknown street", BODY, with(43, PersonSearch, &street), "<grund>02</grund>"),
        ("digits for a name", BODY, with(44, PersonSearch, &family("4711")), "name-missing"),
        ("5,000 characters", BODY, with(45, PersonSearch, &long), "datum-too-long"),
        (
            "no declaration",
            PORTAL,
            with(46, PrivateEnquiry, &|_| {}).replace(
                "<zumZweckDerWerbungOderAdresshandel>false</zumZweckDerWerbungOderAdresshandel>",
                "",
            ),
            "declaration-missing",
        ),
        (
            "for advertising",
            PORTAL,
            with(47, PrivateEnquiry, &|_| {}).replace("Adresshandel>false", "Adresshandel>true"),
            "declaration-missing",
        ),
        (
            "another reader",
            BODY,
            search(48, "Adler").replacen(&format!("<kennung>{STORE}"), "<kennung>ags:10041511", 1),
            "<grund>14</grund>",
        ),
        ("a citizen's search", PORTAL, search(49, "Adler").replace(BODY, PORTAL), "not-entitled"),
    ] {
        let done = rig.deliver(author, &text);
        assert_eq!(done.outcome, "question refused", "{case}: {done:?}");
        assert!(rig.one().contains(expected), "{case}");
    }
    let unassigned = search(50, "Adler").replace("<name>Adler<", "<name>Ad\u{378}ler<");
    assert_eq!(rig.deliver(BODY, &unassigned).codes, ["X001"]);
    assert_eq!(rig.deliver("dbs:9", &search(51, "Adler").replace(BODY, "dbs:9")).codes, ["T070"]);
    let test = search(52, "Adler").replace(" produkt=", " test=\"ja\" produkt=");
    assert_eq!(rig.deliver(BODY, &test).codes, ["S999"]);
    rig.texts();
    assert_eq!(rig.looks(), 0, "refusals are no looks");
    // Another normal form is the same name.
    let rig = Rig::filled(&[named("1", "Bärlauch")]);
    rig.deliver(BODY, &search(53, "Ba\u{308}rlauch"));
    assert!(rig.one().contains("Krumme Straße"));
}

#[test]
fn a_question_that_comes_again_is_answered_as_before() {
    let rig = Rig::filled(&[named("1", "Adler"), locked(named("2", "Sperre"), 3)]);
    for (number, text, from) in [(60, search(60, "Adler"), BODY), (61, enquiry(61, "Sperre"), PORTAL)] {
        let looks = rig.looks();
        let id = format!("urn:first:{number}");
        let vouched = Sender::Vouched(from.to_owned());
        assert_eq!(rig.deliver_as(&id, &vouched, from, &text).outcome, "answered");
        // The same delivery once more, because its confirmation was lost: nothing is sent twice.
        assert_eq!(rig.deliver_as(&id, &vouched, from, &text).outcome, "taken before");
        let first = rig.one();
        assert_eq!(rig.deliver_as(&id, &vouched, from, &text).outcome, "taken before");
        assert!(rig.sent().is_empty());
        // Sent again, also after a restart: the same bytes.
        let again = format!("urn:again:{number}");
        assert_eq!(rig.deliver_as(&again, &vouched, from, &text).outcome, "answered as before");
        assert_eq!(rig.one(), first);
        let restarted = Rig {
            desk: open(rig.folder.path(), &rig.clock),
            clock: rig.clock.clone(),
            folder: tempfile::tempdir().expect("a folder"),
            deliveries: 100.into(),
        };
        assert_eq!(restarted.deliver(from, &text).outcome, "answered as before");
        assert_eq!(restarted.one(), first);
        // The offered repetition of a repetition.
        assert_eq!(rig.deliver_as(&again, &vouched, from, &text).outcome, "taken before");
        assert!(rig.sent().is_empty());
        assert_eq!(rig.looks(), looks + 1, "one line in the log");
        let altered = text.replace("1998-03-17", "1998-03-18");
        let done = rig.deliver(from, &altered);
        assert_eq!(done.codes, ["S999"], "other bytes under the same UUID");
        assert!(rig.one().contains("UUID"));
    }
    let notices = rig.desk.copies.open_duties(0, 100).expect("duties");
    assert_eq!(notices.iter().filter(|one| one.kind == "notice-to-person").count(), 1, "one notice");
    // One fee, split to the cent; between authorities there is none.
    let accounts = rig.desk.copies.accounts(Month::parse("2026-11").expect("a month")).expect("accounts");
    let sums: Vec<_> = accounts
        .iter()
        .map(|one| (one.questions, one.cents, one.municipality_cents, one.operator_cents))
        .collect();
    assert_eq!(sums, [(1, 1001, 801, 200)], "one fee");
}

/// Of a collective message, good records are taken and bad ones named, each with its own code.
#[test]
fn a_bad_record_among_good_ones_is_rejected_alone() {
    let rig = Rig::filled(&[named("1", "Adler"), named("2", "Bussard")]);
    let all = [
        change(1, named("1", "Buchfink")),
        change(2, named("2", "Condor")),
        change(3, named("1", "Dohle")),
        change(4, named("1", "Elster")),
    ];
    let text = changes(2, &all).replace("<name>Condor</name>", "<name></name>");
    let done = rig.deliver(TOWN, &text);
    assert_eq!((done.outcome, &done.codes[..]), ("changes taken", &["S030"][..]));
    let sent = rig.texts();
    assert_eq!(sent.len(), 2, "a receipt and a rejection");
    for expected in [
        "<uebernommen>1</uebernommen>",
        "<zurueckgestellt>2</zurueckgestellt>",
        "<zurueckgewiesen>1</zurueckgewiesen>",
        "<nachforderung><von>2</von><bis>2</bis></nachforderung>",
    ] {
        assert!(sent[0].contains(expected), "{expected}: {}", sent[0]);
    }
    assert!(
        sent[1].contains("S020")
            && sent[1].contains("S030")
            && sent[1].contains("<ereignis.zeichen>V-2<")
            && !sent[1].contains("V-1<"),
        "{}",
        sent[1]
    );
    // Corrected under a UUID of its own, it and what waited for it are applied.
    rig.deliver(TOWN, &changes(3, &all[1..2]));
    assert!(rig.one().contains("<uebernommen>3</uebernommen>"));
}

#[test]
fn a_feed_that_must_be_signed_is_taken_signed_alone() {
    let rig = rig();
    // While it works, as a reload does.
    rig.desk.renew_signers(signing::the_town_signs());
    let plain = load(1, 1, &[named("1", "Adler")]);
    assert_eq!(rig.deliver(TOWN, &plain).codes, ["T010"]);
    assert!(rig.one().contains("T010"));
    let signed = signing::signed_by_the_town(&plain);
    assert_eq!(rig.deliver(TOWN, &signed.replace("Adler", "Adlar")).codes, ["T011"]);
    rig.one();
    assert_eq!(rig.deliver(TOWN, &signed).outcome, "loaded", "refusals left no trace");
    rig.one();
    for text in [changes(2, &[change(1, named("1", "Bussard"))]), message(Number::Receipt, TOWN, 3, |_| {})] {
        assert_eq!(rig.deliver(TOWN, &text).codes, ["T010"]);
    }
    assert_eq!(rig.texts().len(), 1, "a receipt is not answered, signed or not");
    let signed = signing::signed_by_the_town(&changes(4, &[change(1, named("1", "Bussard"))]));
    assert_eq!(rig.deliver(TOWN, &signed).outcome, "changes taken");
    // Who is not entered need not.
    assert_eq!(rig.deliver(BODY, &search(5, "Bussard")).outcome, "answered");
}

#[test]
fn a_copy_is_compared_with_its_original_by_hashes() {
    let rig = Rig::filled(&[named("1", "Adler"), named("2", "Bussard"), named("3", "Condor")]);
    let original = |persons: &[Person]| -> BTreeMap<String, Hash> {
        persons.iter().map(|one| (one.mark.clone(), hash(&one.to_bytes()))).collect()
    };
    let compare = |number: u64, hashes: &Hashes| {
        let text = message(Number::Standing, TOWN, number, |out| {
            stand(1, 0, None).write(out);
            hashes.write(out);
        });
        (rig.deliver(TOWN, &text).outcome, rig.one())
    };
    let equal = original(&[named("1", "Adler"), named("2", "Bussard"), named("3", "Condor")]);
    let told = Hashes { buckets: buckets(&equal), ..Hashes::default() };
    let (outcome, receipt) = compare(10, &told);
    assert!(outcome == "copy is current" && receipt.contains("<abgleich></abgleich>"), "{receipt}");
    assert!(rig.desk.copies.reconciled().expect("a look")[&home()].is_equal());
    // First the buckets, then the entries of those that differ.
    let other = original(&[named("1", "Adler"), named("2", "Buchfink"), named("4", "Dohle")]);
    let mut told = Hashes { buckets: buckets(&other), ..Hashes::default() };
    let (outcome, receipt) = compare(11, &told);
    assert_eq!(outcome, "copy differs from its original");
    assert_eq!(receipt.matches("<eimer>").count(), 3, "{receipt}");
    let found = rig.desk.copies.reconciled().expect("a look")[&home()];
    assert_eq!((found.buckets_differing, found.missing), (3, None), "entries are still to come");
    told.entries = other;
    told.entries.remove("1");
    let (_, receipt) = compare(12, &told);
    for expected in ["<fehlt>4</fehlt>", "<ueberzaehlig>3</ueberzaehlig>", "<abweichend>2</abweichend>"] {
        assert!(receipt.contains(expected), "{expected}: {receipt}");
    }
    let found = rig.desk.copies.reconciled().expect("a look")[&home()];
    assert_eq!((found.missing, found.surplus, found.changed), (Some(1), Some(1), Some(1)));
    // Hashes of another stand are compared with nothing.
    let text = message(Number::Standing, TOWN, 13, |out| {
        stand(1, 5, None).write(out);
        told.write(out);
    });
    assert_eq!(rig.deliver(TOWN, &text).outcome, "changes are missing");
    assert!(!rig.one().contains("abgleich"));
    let twice = message(Number::Standing, TOWN, 14, |out| {
        stand(1, 0, None).write(out);
        told.write(out);
    });
    let bucket = twice.find("<eimer>").expect("a bucket");
    let end = twice.find("</eimer>").expect("its end") + "</eimer>".len();
    let twice = format!("{}{}", &twice[..end], &twice[bucket..]);
    assert_eq!(rig.deliver(TOWN, &twice).codes, ["X001"]);
}

#[test]
fn an_answer_can_be_had_again_for_eight_days_and_is_gone_then() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let wanted = |number, author, question| {
        message(Number::AnswerWanted, author, number, |out| {
            question::write_wanted_answer(out, &uuid_of(question))
        })
    };
    rig.deliver(BODY, &search(70, "Adler"));
    let first = rig.one();
    assert!(first.contains("Krumme Straße"));
    // The evening of the eighth day.
    rig.clock.advance(Duration::from_secs(8 * 86_400 + 13 * 3600));
    assert_eq!(rig.deliver(BODY, &wanted(71, BODY, 70)).outcome, "answered as before");
    assert_eq!(rig.one(), first);
    assert_eq!(rig.deliver("pdl:1", &wanted(72, "pdl:1", 70)).codes, ["S999"], "only for who asked");
    assert_eq!(rig.deliver(BODY, &wanted(73, BODY, 99)).codes, ["S999"]);
    rig.texts();
    // The end of the day, not yet swept.
    rig.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(rig.deliver(BODY, &wanted(74, BODY, 70)).outcome, "answer has expired");
    assert!(rig.one().contains("<abgelaufen>"));
    let state = rig.desk.copies.post_state().expect("a state");
    assert!(rig.desk.copies.expire_answers(rig.clock.now()).expect("swept") > 0);
    assert!(rig.desk.copies.post_state().expect("a state").expired > state.expired);
    assert_eq!(rig.deliver(BODY, &search(70, "Adler")).outcome, "answer has expired", "no second search");
    assert_eq!(rig.looks(), 1);
    rig.texts();
    // In the release before, a rejection says so.
    let old = begin(
        &RELEASES[0],
        Number::PersonSearchAsked,
        &own(BODY),
        &party(STORE),
        &uuid_of(75),
        rig.clock.now(),
        false,
    );
    let mut old = old;
    question::write(&mut old, &asked(Profile::PersonSearch, "Niemand"));
    let old = old.finish();
    rig.deliver(BODY, &old);
    assert!(rig.one().contains("urn:de:amtsbote:register:2605"), "answered in its own release");
    rig.clock.advance(Duration::from_secs(10 * 86_400));
    rig.deliver(BODY, &old);
    assert!(rig.one().contains("S100"));
}

#[test]
fn what_is_sealed_is_not_in_the_file_and_destroyed_at_its_end() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(BODY, &search(80, "Adler"));
    let id = rig.sent()[0].id;
    let raw = rusqlite::Connection::open(rig.folder.path().join("register.sqlite")).expect("the database");
    let row = |sql: &str| -> Option<Vec<u8>> {
        raw.query_row(sql, [i64::try_from(id).expect("small")], |row| row.get(0)).expect("a row")
    };
    let sealed = row("SELECT sealed FROM outgoing WHERE id = ?1").expect("sealed");
    let secret = row("SELECT secret FROM outgoing WHERE id = ?1").expect("a key");
    assert!(!sealed.windows(6).any(|window| window == b"Krumme"), "sealed");
    rig.clock.advance(Duration::from_secs(10 * 86_400));
    rig.desk.copies.expire_answers(rig.clock.now()).expect("swept");
    assert!(rig.desk.copies.forget_in_journal().expect("emptied"));
    assert_eq!(
        (row("SELECT sealed FROM outgoing WHERE id = ?1"), row("SELECT secret FROM outgoing WHERE id = ?1")),
        (None, None)
    );
    for file in std::fs::read_dir(rig.folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("reads");
        for gone in [&sealed[..32], &secret[..]] {
            assert!(
                !bytes.windows(gone.len()).any(|window| window == gone),
                "overwritten, not only unlinked"
            );
        }
    }
}

#[test]
fn the_mailbox_for_locks_takes_changes_alone() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let urgent = |text: &str| {
        let bytes = text.as_bytes().to_vec();
        let content = move || -> std::io::Result<Box<dyn BufRead>> {
            Ok(Box::new(std::io::Cursor::new(bytes.clone())))
        };
        let sender = Sender::Vouched(TOWN.to_owned());
        let delivery = Delivery { transport_id: "urn:u", sender: &sender, from: TOWN, test: false };
        rig.desk.handle_urgent(&delivery, &content)
    };
    assert!(matches!(urgent(&load(2, 2, &[named("1", "Adler")])), Err(DeskError::NotUrgent)));
    rig.deliver(TOWN, &changes(4, &[change(2, named("1", "Bussard"))]));
    let lock = change(1, locked(named("1", "Adler"), 3));
    assert_eq!(urgent(&changes(3, &[lock])).expect("written down").outcome, "changes taken");
    // What it has let go on holds up no other lock; whoever asks how far the copy is finds it there.
    let state = &rig.desk.copies.states(rig.clock.now()).expect("states")[0];
    assert_eq!((state.sequence, state.held), (1, 1));
    let standing = message(Number::Standing, TOWN, 5, |out| stand(1, 2, None).write(out));
    assert_eq!(rig.deliver(TOWN, &standing).outcome, "copy is current");
    assert_eq!(urgent("no XML").expect("written down").codes, ["X000"]);
}

/// What is there to be read may be on the primary alone: it is not confirmed before the standby has it.
#[test]
fn a_redelivery_is_confirmed_behind_the_standby_that_is_required() {
    use crate::net::postgres::Standby;
    use crate::register::copies::testing::postgres_cluster::{Cluster, programs};
    use crate::register::copies::{Engine, PostgresSettings};
    let Some(programs) = programs() else { return };
    let primary = Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5"]);
    let connection = primary.database("register");
    let _standby = primary.standby("second");
    let name = |name: &str| {
        primary.reconfigure(&[&format!("synchronous_standby_names = '{name}'")]);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while primary.sql("postgres", "SHOW synchronous_standby_names") != name {
            assert!(std::time::Instant::now() < end, "it is read");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    name("second");
    primary.wait_for_standby();
    let folder = tempfile::tempdir().expect("a folder");
    let clock = HandClock::at("2026-11-23T09:00:00Z".parse().expect("an instant"));
    let mut kept = CopySettings::new(folder.path());
    let settings = PostgresSettings { standby: Standby::Required, ..PostgresSettings::new(connection) };
    kept.engine = Engine::Postgres(settings);
    let desk = open_with(kept, &clock);
    let deliver = |id: &str, text: &str| {
        let content =
            || -> std::io::Result<Box<dyn BufRead>> { Ok(Box::new(std::io::Cursor::new(text.to_owned()))) };
        let sender = Sender::Vouched(TOWN.to_owned());
        let delivery = Delivery { transport_id: id, sender: &sender, from: TOWN, test: false };
        desk.handle(&delivery, &content).map(|handled| handled.outcome)
    };
    let good = load(1, 1, &[named("1", "Adler")]);
    let each =
        [("urn:1", &good[..], "loaded", "taken before"), ("urn:2", "no XML", "rejected", "rejected before")];
    let keep = || desk.keep_on_page("a", "u", b"a list".to_vec());
    for (id, text, first, again) in each {
        assert_eq!(deliver(id, text).expect("taken"), first);
        assert_eq!(deliver(id, text).expect("known"), again);
    }
    assert!(keep().expect("kept") && keep().expect("known"));
    name("");
    let waits = |error: &DeskError| error.is_everybodys();
    let mut unsettled: Vec<(&str, bool)> = each
        .iter()
        .map(|(id, text, ..)| (*id, deliver(id, text).is_err_and(|error| waits(&error))))
        .collect();
    unsettled.push(("the page's", keep().is_err_and(|error| waits(&error))));
    assert_eq!(unsettled, [("urn:1", true), ("urn:2", true), ("the page's", true)]);
    name("second");
    primary.wait_for_standby();
    for (id, text, _, again) in each {
        assert_eq!(deliver(id, text).expect("known"), again);
    }
    assert!(keep().expect("known"));
}

#[test]
fn a_load_of_tomorrow_is_rejected() {
    let rig = rig();
    let load_of = |number, at: &str| {
        let at = at.parse().expect("an instant");
        message(Number::Load, TOWN, number, |out| {
            Stand { at, ..stand(1, 0, Some(1)) }.write(out);
            person::write(out, &named("1", "Adler"));
        })
    };
    let handled = rig.deliver(TOWN, &load_of(1, "2026-11-24T09:00:00Z"));
    assert_eq!((handled.outcome, &handled.codes[..]), ("rejected", &["S999"][..]));
    // A clock that is a little ahead.
    assert_eq!(rig.deliver(TOWN, &load_of(2, "2026-11-23T09:01:00Z")).outcome, "loaded");
    assert!(rig.desk.copies.states(rig.clock.now()).expect("states")[0].as_of <= rig.clock.now());
}

/// The municipality hears why, and nothing of the load is left.
#[test]
fn a_load_that_is_rejected_leaves_the_copy_as_it_was() {
    let rig = Rig::filled(&["1", "4", "5"].map(|mark| named(mark, "Adler")));
    let persons = |number| load(number, 2, &[named("2", "Bussard"), named("3", "Condor")]);
    for (text, code, why) in [
        (load(10, 2, &[]), "S999", "the load has no record"),
        (load(14, 2, &[named("2", "Bussard")]), "S999", "the load leaves 1 of the copy"),
        (
            persons(11)
                .replace("<name>Bussard</name>", "<name></name>")
                .replace("<name>Condor</name>", "<name></name>"),
            "S999",
            "none of the load",
        ),
        (persons(12).replace("<anzahl>2<", "<anzahl>3<"), "S999", "3 records were announced"),
        (persons(13).replace("<name>Condor</name>", "<name>Condor</nam>"), "X000", ""),
    ] {
        let done = rig.deliver(TOWN, &text);
        assert_eq!((done.outcome, &done.codes[..]), ("rejected", &[code][..]), "{done:?}");
        let told = rig.one();
        assert!(told.contains(code) && told.contains(why), "{told}");
        let states = rig.desk.copies.states(rig.clock.now()).expect("states");
        let states: Vec<_> = states.iter().map(|one| (one.state, one.generation, one.persons)).collect();
        assert_eq!(states, [("living", 1, 3)], "{why}");
    }
}

#[test]
fn moves_are_watched_to_their_end() {
    let rig = rig();
    let event =
        |sign: &str| rejection::Event { at: "2026-11-23T08:00:00.000Z".to_owned(), sign: sign.to_owned() };
    let notice = |number, sign: &str, registered: &str| {
        to("ags:10041511", Number::MoveNotice, TOWN, number, |out| {
            let day = registered.parse().expect("a day");
            moves::write(out, None, &event(sign), Some(day), Some(&named("1", "Adler")));
        })
    };
    let answer = |number, case: u64, from: &str, reader: &str| {
        to(reader, Number::MoveAnswer, from, number, |out| {
            moves::write(out, Some(&uuid_of(case)), &event("Z"), None, None);
        })
    };
    assert_eq!(rig.deliver(TOWN, &notice(1, "Z-1", "2026-11-23")).outcome, "move noted");
    assert_eq!(rig.deliver(TOWN, &notice(2, "Z-2", "2026-11-10")).outcome, "move noted");
    let states = || -> Vec<(String, &'static str, bool)> {
        let cases = rig.desk.copies.move_cases(true, 10).expect("cases");
        cases.into_iter().map(|one| (one.sign, one.state, one.notice_late)).collect()
    };
    let row = |sign: &str, state, late| (sign.to_owned(), state, late);
    assert_eq!(states(), [row("Z-1", "waiting", false), row("Z-2", "waiting", true)]);
    assert!(rig.desk.copies.overdue_moves(rig.clock.now()).expect("a look").is_empty());
    // Monday; two working days are over at the end of Wednesday.
    rig.clock.advance(Duration::from_secs(3 * 86_400));
    let told = rig.desk.copies.overdue_moves(rig.clock.now()).expect("a look");
    assert_eq!(told.iter().map(|one| one.escalated).collect::<Vec<_>>(), [false, false]);
    assert!(rig.desk.copies.overdue_moves(rig.clock.now()).expect("a look").is_empty(), "told once");
    let other = rig.deliver("ags:10041512", &answer(3, 1, "ags:10041512", TOWN));
    assert_eq!(other.codes, ["S999"], "an office that is none of the case");
    assert_eq!(rig.deliver("ags:10041511", &answer(4, 1, "ags:10041511", TOWN)).outcome, "move noted");
    rig.clock.advance(Duration::from_secs(86_400));
    let told = rig.desk.copies.overdue_moves(rig.clock.now()).expect("a look");
    assert_eq!(
        told.iter().map(|one| (one.case.as_str(), one.escalated)).collect::<Vec<_>>(),
        [(uuid_of(2).as_str(), true)]
    );
    assert_eq!(states(), [row("Z-1", "answered", false), row("Z-2", "escalated", true)]);
    assert_eq!(rig.deliver("ags:10041511", &answer(5, 2, "ags:10041511", TOWN)).outcome, "move noted");
    assert_eq!(states()[1], row("Z-2", "answered-late", true));
    // The embedded engine's file can be looked through.
    if rig.desk.copies.database().is_some() {
        return;
    }
    let kept = std::fs::read(rig.folder.path().join("register.sqlite")).expect("the database");
    let log = std::fs::read(rig.folder.path().join("register.sqlite-wal")).expect("its journal");
    assert!(![kept, log].concat().windows(5).any(|window| window == b"Adler"), "nothing about whoever moves");
}

#[test]
fn one_readers_trouble_is_nobody_elses() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(BODY, &search(90, "Adler"));
    rig.deliver(PORTAL, &enquiry(91, "Adler"));
    rig.clock.advance(Duration::from_secs(3));
    let readers = || -> Vec<String> {
        let due = rig.desk.copies.due(rig.clock.now()).expect("a look");
        due.into_iter().map(|one| one.reader).collect()
    };
    assert_eq!(readers(), [BODY, PORTAL]);
    let first = rig.desk.copies.due(rig.clock.now()).expect("a look").remove(0);
    let later = rig.clock.now().checked_add(Duration::from_secs(60)).expect("in range");
    rig.desk.copies.note_refused(first.id, later).expect("noted");
    assert_eq!(readers(), [PORTAL]);
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(readers(), [BODY, PORTAL]);
    assert!(rig.desk.copies.next_due().expect("a look").is_some_and(|at| at <= rig.clock.now()));
}

#[test]
fn what_its_key_does_not_open_keeps_nothing_waiting() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    rig.deliver(BODY, &search(90, "Adler"));
    rig.deliver(PORTAL, &enquiry(91, "Adler"));
    rig.clock.advance(Duration::from_secs(3));
    let raw = rusqlite::Connection::open(rig.folder.path().join("register.sqlite")).expect("the database");
    let damaged = "UPDATE outgoing SET sealed = zeroblob(40) WHERE reader = ?1";
    assert_eq!(raw.execute(damaged, [BODY]).expect("damaged"), 1);
    let due = rig.desk.copies.due(rig.clock.now()).expect("a look");
    assert_eq!(due.iter().map(|one| one.reader.as_str()).collect::<Vec<_>>(), [PORTAL]);
    // It does not come again at once either.
    let waits = "SELECT next_at FROM outgoing WHERE reader = ?1";
    let next: i64 = raw.query_row(waits, [BODY], |row| row.get(0)).expect("a row");
    assert!(next > rig.clock.now().as_microsecond());
}

/// The register's own page: kept once under a number, for its asker, in its time, and never sent.
#[test]
fn what_a_page_keeps_is_its_askers_and_is_never_sent() {
    let rig = Rig::filled(&[named("1", "Adler")]);
    let keep =
        |bytes: &[u8]| rig.desk.keep_on_page("page user a", &uuid_of(5), bytes.to_vec()).expect("judged");
    let held = |user: &str| rig.desk.copies.held_answer(user, &uuid_of(5), rig.clock.now()).expect("a look");
    assert_eq!((keep(b"[]"), keep(b"[]"), keep(b"[1]")), (true, true, false));
    assert!(rig.sent().is_empty(), "nothing of the page is sent");
    assert_eq!(rig.desk.copies.next_due().expect("a look"), None);
    assert!(matches!(held("page user a"), Held::Ready { bytes, .. } if bytes == b"[]"));
    assert_eq!(held("page user b"), Held::Unknown);
    // To the end of the eighth day in Berlin, by the clock and by the sweep.
    rig.clock.advance(Duration::from_secs(8 * 86_400));
    assert!(matches!(held("page user a"), Held::Ready { .. }));
    rig.clock.advance(Duration::from_secs(86_400));
    assert_eq!(held("page user a"), Held::Expired);
    rig.desk.copies.expire_answers(rig.clock.now()).expect("swept");
    assert_eq!((held("page user a"), keep(b"[]")), (Held::Expired, true), "the number stays used");
}

#[test]
fn the_same_on_postgresql() {
    use crate::register::copies::testing;
    testing::on_postgres(testing::scenarios![
        a_feed_fills_a_copy_and_is_receipted,
        bad_feeds_are_rejected_with_their_codes,
        bad_questions_are_refused_by_reason_and_put_to_no_copy,
        a_question_that_comes_again_is_answered_as_before,
        a_bad_record_among_good_ones_is_rejected_alone,
        a_copy_is_compared_with_its_original_by_hashes,
        an_answer_can_be_had_again_for_eight_days_and_is_gone_then,
        the_mailbox_for_locks_takes_changes_alone,
        a_load_of_tomorrow_is_rejected,
        a_load_that_is_rejected_leaves_the_copy_as_it_was,
        moves_are_watched_to_their_end,
        one_readers_trouble_is_nobody_elses,
        what_a_page_keeps_is_its_askers_and_is_never_sent,
    ]);
}
