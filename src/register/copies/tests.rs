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

mod catching_up;
mod load;
mod log;
mod moving;
mod payments;
mod search;
mod stream;

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
        self.copies.finish_load_shrinking(ags, persons.len() as u64, &receipt).expect("finished");
        receipt
    }

    fn count(&self, sql: &str) -> i64 {
        self.copies.read(|work| work.only(sql, params![], |row| row.get(0))).expect("a count")
    }

    /// Somebody with the database, past everything that the copies do.
    fn set(&self, sql: &str, values: &[Value<'_>]) {
        self.copies.write(|work| work.run(sql, values)).expect("set");
    }

    /// The same, several statements at once.
    fn batch(&self, sql: &str) {
        let each =
            |work: &Work<'_>| sql.split(';').try_for_each(|one| work.run(one.trim(), params![]).map(drop));
        self.copies.write(each).expect("set");
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

fn arrived(uuid: &str) -> Arrived<'_> {
    Arrived {
        author: "ags:10041100",
        name: "",
        uuid,
        number: "1101",
        digest: [1; 32],
        transport_id: uuid,
        at: at(1),
        expires_at: at(100),
        original: None,
        event: None,
    }
}
