//! The demo's register leg: three municipalities feed their copies, one person moves, an authority searches, a citizen
//! asks about somebody who is locked and learns nothing, and an answer is fetched again. All through the post office.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::demo::{expect, say};
use super::exit::Stop;
use super::init::{Prepared, REGISTRATION, REGISTRATION_IDENTIFIER};
use super::office::{self, Words, envelope};
use crate::app::Running;
use crate::app::register::RegisterService;
use crate::clock::{Clock, SystemClock};
use crate::config::register::{EXAMPLE, RegisterConfig};
use crate::domain::content::PartRole;
use crate::register::copies::{Asked, Requester};
use crate::register::message::head::{Own, Party, PostalAddress, begin};
use crate::register::message::rejection::Event;
use crate::register::message::{Number, Release, feed, moves, person, question};
use crate::register::person::{Ags, Lock, Person, Status};
use crate::register::question::{Profile, Selection};
use crate::register::rights::{Asker, Purpose};
use crate::register::stream::{Change, Occasion};
use crate::register::synth;
use crate::xml::write::Writer;
use crate::xta::client::Client;
use crate::xta::client::content::{MemorySink, Outgoing};
use crate::xta::message::msg_box::MsgSelector;

pub(super) const STORE: &str = "zmb:100000000000";
pub(super) const POLICE: &str = "pdl:100000000000";
pub(super) const PORTAL: &str = "lap:100000000000";
/// Name, identifier, title, category of those who take part in this leg alone.
pub(super) const OFFICES: [(&str, &str, &str, &str); 5] = [
    ("voelklingen", "ags:10041519", "Meldebehörde Völklingen (development)", "Meldebehörde"),
    ("merzig", "ags:10042113", "Meldebehörde Merzig (development)", "Meldebehörde"),
    ("register", STORE, "Zentraler Meldedatenbestand (development)", "Register"),
    ("polizei", POLICE, "Polizei (development)", "Polizei"),
    ("portal", PORTAL, "Meldeportal (development)", "Portal"),
];
/// What the register's own messages name as well.
const SERVICE: &str = "urn:de:amtsbote:register";
const SEED: u64 = 26;
const PERSONS: u64 = 50;
const WAIT: Duration = Duration::from_secs(60);

/// One who takes part, with a connection of their own.
struct Office {
    identifier: &'static str,
    client: Client,
}

impl Office {
    fn ags(&self) -> Result<Ags, Stop> {
        let key = self.identifier.strip_prefix("ags:").unwrap_or_default();
        Ags::parse(key).map_err(|error| Stop::failed(error.to_string()))
    }

    fn message(&self, reader: &str, number: Number, content: impl FnOnce(&mut Writer)) -> (String, String) {
        let party = |kennung: &str| Party { kennung: kennung.to_owned(), name: kennung.to_owned() };
        let address = PostalAddress {
            postcode: "00001".to_owned(),
            street: "Krumme Straße".to_owned(),
            number: "1".to_owned(),
            place: "Musterstadt".to_owned(),
        };
        let own = Own { party: party(self.identifier), address, reachable_at: "post@amt.invalid".to_owned() };
        let uuid = uuid::Uuid::new_v4().to_string();
        let release = Release::newest();
        let mut out = begin(release, number, &own, &party(reader), &uuid, SystemClock.now(), false);
        content(&mut out);
        (uuid, out.finish())
    }

    async fn post(&self, reader: &str, number: Number, text: &str) -> Result<(), Stop> {
        let party = |value: &str| office::identifier(value).map_err(Stop::failed);
        let id = self.client.create_message_id().await.map_err(office::stop)?;
        let words = Words {
            service: SERVICE.to_owned(),
            message_type: number.code().to_owned(),
            payload_schema: Release::newest().namespace.to_owned(),
            scenario: "XMELD_DATA".to_owned(),
            ..Words::default()
        };
        let mut part = Outgoing::from_bytes(PartRole::Message, "application/xml", text.to_owned());
        part.part.encoding = Some("UTF-8".to_owned());
        let envelope = envelope(id, &party(self.identifier)?, &party(reader)?, words);
        self.client.send(&envelope, &[part]).await.map_err(office::stop)
    }

    /// The next message of the register's service in the mailbox, confirmed.
    async fn receive(&self, holds: &str) -> Result<String, Stop> {
        let began = std::time::Instant::now();
        while began.elapsed() < WAIT {
            let page = self.client.list(&MsgSelector::default(), None).await.map_err(office::stop)?;
            let ours = page.messages.into_iter().map(|shown| shown.envelope);
            if let Some(waiting) = ours.into_iter().find(|one| one.qualifier.service == SERVICE) {
                let mut sink = MemorySink::default();
                let fetched = self.client.fetch(&waiting.id, &mut sink).await.map_err(office::stop)?;
                let request = fetched.request_id.as_deref().unwrap_or("1");
                self.client.close(request, &[waiting.id]).await.map_err(office::stop)?;
                let bytes = sink.parts.into_values().next().unwrap_or_default();
                let text = String::from_utf8(bytes).map_err(|error| Stop::failed(error.to_string()))?;
                expect(text.contains(holds), &format!("{} receives {holds}", self.identifier))?;
                return Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Stop::failed(format!("nothing came for {} within {WAIT:?}", self.identifier)))
    }
}

/// The register works in a task of its own; the leg is played beside it.
pub(super) async fn play(running: &Running, prepared: &Prepared) -> Result<(), Stop> {
    let url = format!("https://localhost:{}/", running.xta_address.port());
    let file = prepared.config.parent().unwrap_or(Path::new(".")).join("register.toml");
    let settings = EXAMPLE
        .replacen("https://localhost:8443/", &url, 1)
        .replacen("# poll_milliseconds = 1000", "poll_milliseconds = 100", 1)
        .replacen("# bucket_milliseconds = 2000", "bucket_milliseconds = 200", 1);
    std::fs::write(&file, &settings).map_err(|error| Stop::failed(format!("{}: {error}", file.display())))?;
    let config = RegisterConfig::parse(&settings, &file).map_err(|error| Stop::failed(error.to_string()))?;
    let service = RegisterService::open(&config).map_err(|error| Stop::failed(error.to_string()))?;
    let desk = service.desk();
    let (stop, stopped) = watch::channel(false);
    let working = tokio::spawn(Arc::new(service).run(stopped));
    let office = |name: &str, identifier: &'static str| -> Result<Office, Stop> {
        let file = |ending: &str| prepared.tls.join(format!("{name}.{ending}"));
        let own = office::identifier(identifier).map_err(Stop::failed)?;
        let authority = prepared.tls.join("ca.crt");
        let client = office::client(&url, &file("crt"), &file("key"), &authority, Some(own))?;
        Ok(Office { identifier, client })
    };
    let played = async {
        let towns = [
            office(REGISTRATION, REGISTRATION_IDENTIFIER)?,
            office("voelklingen", "ags:10041519")?,
            office("merzig", "ags:10042113")?,
        ];
        let (police, portal) = (office("polizei", POLICE)?, office("portal", PORTAL)?);
        feeds(&towns).await?;
        moves_house(&towns[0], &towns[1]).await?;
        let moves = desk.copies.move_cases(true, 10).map_err(|error| Stop::failed(error.to_string()))?;
        expect(moves.len() == 1 && moves[0].state == "answered", "the move's case is answered in time")?;
        asks(&police, &portal).await?;
        let entries = desk.copies.verify_looks().map_err(|error| Stop::failed(error.to_string()))?;
        expect(entries == 3, "the log of looks has one entry a question")?;
        let duties = desk.copies.open_duties(0, 10).map_err(|error| Stop::failed(error.to_string()))?;
        expect(duties.iter().any(|one| one.kind == "notice-to-person"), "the locked person is to be told")?;
        say(
            "The register's log has one sealed entry for each question; the locked person is owed a notice (amtsbote register cases).",
        )
    };
    let played = played.await;
    let _ = stop.send(true);
    let _ = working.await;
    played
}

fn mover(ags: Ags) -> Person {
    Person {
        mark: "W-1".to_owned(),
        family_names: vec!["Amsel".to_owned()],
        given_names: vec!["Wilma".to_owned()],
        used_given_name: None,
        birth_dates: "17031998".parse().into_iter().collect(),
        locks: Vec::new(),
        status: Status::Resident,
        ..synth::person(SEED, ags, 1)
    }
}

async fn feeds(towns: &[Office]) -> Result<(), Stop> {
    for (place, town) in towns.iter().enumerate() {
        let ags = town.ags()?;
        let mut persons: Vec<Person> = (10..10 + PERSONS).map(|one| synth::person(SEED, ags, one)).collect();
        if place == 0 {
            let locked = Person {
                mark: "S-1".to_owned(),
                family_names: vec!["Sperber".to_owned()],
                locks: Lock::try_from(3).into_iter().collect(),
                ..mover(ags)
            };
            persons.extend([mover(ags), locked]);
        }
        let (_, text) = town.message(STORE, Number::Load, |out| {
            let announced = Some(persons.len() as u64);
            feed::Stand { ags, generation: 1, sequence: 0, at: SystemClock.now(), announced }.write(out);
            persons.iter().for_each(|one| person::write(out, one));
        });
        town.post(STORE, Number::Load, &text).await?;
    }
    for town in towns {
        town.receive("quittung.bestandsdatenlieferung.0928").await?;
    }
    say(
        "Three municipalities (Saarbrücken, Völklingen, Merzig; their persons are invented) fed the register's shadow copies through the post office, and have their receipts.",
    )
}

/// Wilma Amsel moves from one town to the other: notice, answer, and both feeds.
async fn moves_house(old: &Office, new: &Office) -> Result<(), Stop> {
    let now = SystemClock.now();
    let event = Event { at: crate::register::message::head::instant(now), sign: "U-2026-1".to_owned() };
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut arrived = mover(new.ags()?);
    "01112026".parse().into_iter().for_each(|date| {
        arrived.addresses.iter_mut().for_each(|address| address.moved_in = Some(date));
    });
    let (notice, text) = new.message(old.identifier, Number::MoveNotice, |out| {
        moves::write(out, None, &event, Some(today), Some(&arrived));
    });
    new.post(old.identifier, Number::MoveNotice, &text).await?;
    // The same bytes to the register, which watches the deadline.
    new.post(STORE, Number::MoveNotice, &text).await?;
    expect(old.receive("rueckmeldung.0201").await? == text, "the notice arrives as it was posted")?;
    let (_, answer) = old.message(new.identifier, Number::MoveAnswer, |out| {
        moves::write(out, Some(&notice), &event, None, None);
    });
    old.post(new.identifier, Number::MoveAnswer, &answer).await?;
    old.post(STORE, Number::MoveAnswer, &answer).await?;
    new.receive("rueckmeldung.auswertung.0203").await?;

    let mut left = mover(old.ags()?);
    left.status = Status::MovedWithinGermany;
    left.addresses.iter_mut().for_each(|address| address.moved_out = "31102026".parse().ok());
    for (town, occasion, record) in [(old, Occasion::MoveOut, left), (new, Occasion::MoveIn, arrived)] {
        let change = Change {
            ags: town.ags()?,
            generation: 1,
            sequence: 1,
            at: now,
            occasion,
            mark: record.mark.clone(),
            record: Some(record),
        };
        let (_, text) = town.message(STORE, Number::Changes, |out| {
            let (ags, at) = (change.ags, change.at);
            feed::Stand { ags, generation: 1, sequence: 1, at, announced: None }.write(out);
            feed::write_case(out, &change, &event.sign);
        });
        town.post(STORE, Number::Changes, &text).await?;
        town.receive("<uebernommen>1</uebernommen>").await?;
    }
    say(
        "One person moved: Völklingen's notice (0201) reached Saarbrücken, whose answer (0203) came back; both fed the change, and the register watched the deadline.",
    )
}

fn asked(asker: Asker, profile: Profile, ags: Ags, family: &str) -> Asked {
    let private = profile == Profile::PrivateEnquiry;
    Asked {
        requester: Requester {
            asker,
            purpose: if private { Purpose::Private } else { Purpose::Task },
            body: "Dienststelle 1".to_owned(),
            file_number: "1/26".to_owned(),
            occasion: "Ermittlung".to_owned(),
            user: "u1".to_owned(),
            empowered: false,
            waives_hand_over: false,
            declares_no_trade: true,
        },
        profile,
        selection: Selection {
            municipalities: vec![ags],
            family_name: Some(family.to_owned()),
            given_names: Some("Wilma".to_owned()),
            birth_date: Some("17031998".to_owned()),
            birth_place: mover(ags).birth_place,
            ..Selection::default()
        },
        reader: None,
        test: false,
    }
}

async fn asks(police: &Office, portal: &Office) -> Result<(), Stop> {
    let key = |text: &str| Ags::parse(text).map_err(|error| Stop::failed(error.to_string()));
    let (old, new) = (key("10041100")?, key("10041519")?);
    let (uuid, text) = police.message(STORE, Number::PersonSearchAsked, |out| {
        question::write(out, &asked(Asker::Police, Profile::PersonSearch, new, "Amsel"));
    });
    police.post(STORE, Number::PersonSearchAsked, &text).await?;
    let answer = police.receive("<familienname>Amsel</familienname>").await?;
    say("The police searched for that person in Völklingen and got the new address.")?;

    let mut neutral = Vec::new();
    for family in ["Sperber", "Niemand"] {
        let (_, text) = portal.message(STORE, Number::EnquiryAsked, |out| {
            question::write(out, &asked(Asker::Citizen, Profile::PrivateEnquiry, old, family));
        });
        portal.post(STORE, Number::EnquiryAsked, &text).await?;
        neutral.push(portal.receive("<keineAuskunft>").await?);
    }
    let same_size = neutral.iter().all(|one| Some(one.len()) == neutral.first().map(String::len));
    expect(same_size, "nobody can tell a locked person from an unknown one")?;
    say(
        "A citizen asked about a locked person and about one who does not exist: the same answer, of the same size, that tells nothing.",
    )?;

    let (_, again) = police.message(STORE, Number::AnswerWanted, |out| {
        question::write_wanted_answer(out, &uuid);
    });
    police.post(STORE, Number::AnswerWanted, &again).await?;
    expect(police.receive("auskunft.1331").await? == answer, "the answer comes again byte for byte")?;
    say(
        "The police had its answer sent again: the same bytes, without a second search, fee or line in the log. It is destroyed when the eighth day is over.",
    )
}
