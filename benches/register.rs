//! Searches by law over a million invented persons, beside a bare indexed SQLite lookup in the same run.
//!
//! The bare side does what a machine must: find one row by an index on (family name, birth date), read its record, and
//! write one line durably. The register finds by the annex's rules, judges locks and rights, seals and chains the
//! log's entry. `cargo bench --bench register`; `AMTSBOTE_REGISTER_PERSONS` sets the number of persons.

use std::time::{Duration, Instant};

use amtsbote::register::copies::{Asked, Copies, CopyError, LoadReceipt, LogKey, Requester, Settings};
use amtsbote::register::person::{Ags, Person};
use amtsbote::register::question::{Profile, Selection};
use amtsbote::register::rights::{Asker, Purpose};
use amtsbote::register::synth::{Dice, person};
use jiff::Timestamp;
use rusqlite::{Connection, params};

const SEED: u64 = 1;
const QUESTIONS: u64 = 2000;
const CHUNK: u64 = 2000;
/// One large municipality with a fifth of all persons, and forty of equal size.
const MUNICIPALITIES: u64 = 41;

fn main() {
    let persons = std::env::var("AMTSBOTE_REGISTER_PERSONS").ok().and_then(|text| text.parse().ok());
    let persons: u64 = persons.unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
    let began = Instant::now();
    let towns: Vec<(Ags, u64)> = (0..MUNICIPALITIES).map(|place| town(place, persons)).collect();
    for (ags, count) in &towns {
        load(&copies, *ags, *count);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{persons} persons loaded in {seconds:.0} s, {:.0} a second", persons as f64 / seconds);
    println!("memory of the process: {} MB", resident_mb());
    let bare = bare(folder.path(), &towns);
    println!("search                      p50 ms   p99 ms   max ms  hits  to bare p50");
    let line = |name: &str, (mut times, hits): (Vec<Duration>, usize)| {
        times.sort_unstable();
        let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        let ratio = of(0.5) / bare;
        println!("{name:26}  {:7.2}  {:7.2}  {:7.2}  {hits:4}  {ratio:11.2}", of(0.5), of(0.99), of(1.0));
    };
    println!("{:26}  {bare:7.2}", "bare lookup and line");
    line("person search", run(&copies, &towns, Profile::PersonSearch, &|_, _| {}));
    line(
        "person search by sound",
        run(&copies, &towns, Profile::PersonSearch, &|one, _| one.by_sound = true),
    );
    line("private enquiry", run(&copies, &towns, Profile::PrivateEnquiry, &|_, _| {}));
    line(
        "free search, placeholder",
        run(&copies, &towns, Profile::FreeSearch, &|one, about| {
            let start: String = about.family_names[0].chars().take(3).collect();
            one.family_name = Some(format!("{start}*"));
            one.birth_date = None;
        }),
    );
    line(
        "free search, whole state",
        run(&copies, &towns, Profile::FreeSearch, &|one, _| {
            one.municipalities.clear();
            one.whole_state = true;
        }),
    );
    println!("memory of the process: {} MB", resident_mb());
}

fn town(place: u64, persons: u64) -> (Ags, u64) {
    let large = persons / 5;
    let count = if place == 0 { large } else { (persons - large) / (MUNICIPALITIES - 1) };
    (Ags::parse(&format!("10{:06}", 41_100 + place)).expect("eight digits"), count)
}

fn load(copies: &Copies, ags: Ags, count: u64) {
    let now = Timestamp::now();
    copies.begin_load(ags, 1, 0, now).expect("begun");
    let mut receipt = LoadReceipt::default();
    let mut first = 0;
    while first < count {
        let last = (first + CHUNK).min(count);
        let records: Vec<Vec<u8>> =
            (first..last).map(|number| person(SEED, ags, number).to_bytes()).collect();
        copies.load(ags, records.iter().map(Vec::as_slice), &mut receipt).expect("loaded");
        first = last;
    }
    copies.finish_load(ags, count, &receipt).expect("finished");
}

fn run(
    copies: &Copies,
    towns: &[(Ags, u64)],
    profile: Profile,
    alter: &dyn Fn(&mut Selection, &Person),
) -> (Vec<Duration>, usize) {
    let mut dice = Dice::new(SEED);
    let (mut times, mut hits) = (Vec::new(), 0);
    for _ in 0..QUESTIONS {
        // As many questions about a town as it has persons.
        let (ags, count) =
            if dice.one_in(5) { towns[0] } else { towns[1 + dice.below(MUNICIPALITIES - 1) as usize] };
        let about = person(SEED, ags, dice.below(count));
        let mut selection = Selection {
            municipalities: vec![ags],
            family_name: Some(about.family_names[0].clone()),
            given_names: Some(about.given_names[0].clone()),
            birth_date: Some(about.birth_dates[0].to_string()),
            sex: about.sex,
            ..Selection::default()
        };
        alter(&mut selection, &about);
        let asked = Asked { requester: requester(profile), profile, selection, reader: None, test: false };
        let began = Instant::now();
        match copies.ask(&asked, Timestamp::now()) {
            Ok(_) => hits += 1,
            Err(CopyError::Question(_)) => {}
            Err(error) => panic!("{error}"),
        }
        times.push(began.elapsed());
    }
    (times, hits)
}

fn requester(profile: Profile) -> Requester {
    let private = profile == Profile::PrivateEnquiry;
    Requester {
        asker: if private { Asker::Citizen } else { Asker::Police },
        purpose: if private { Purpose::Private } else { Purpose::Task },
        body: "Amt A".to_owned(),
        file_number: "1/26".to_owned(),
        occasion: "bench".to_owned(),
        user: "u1".to_owned(),
        empowered: false,
        waives_hand_over: false,
        declares_no_trade: true,
    }
}

/// Milliseconds of the median bare lookup with one durable line.
fn bare(folder: &std::path::Path, towns: &[(Ags, u64)]) -> f64 {
    let database = Connection::open(folder.join("bare.sqlite")).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -131072;
             CREATE TABLE person (id INTEGER PRIMARY KEY, family TEXT, born TEXT, record BLOB);
             CREATE TABLE line (id INTEGER PRIMARY KEY, content BLOB); BEGIN",
        )
        .expect("tables");
    for (ags, count) in towns {
        for number in 0..*count {
            let one = person(SEED, *ags, number);
            let values = params![one.family_names[0], one.birth_dates[0].to_string(), one.to_bytes()];
            let sql = "INSERT INTO person (family, born, record) VALUES (?1, ?2, ?3)";
            database.prepare_cached(sql).expect("a statement").execute(values).expect("a row");
        }
    }
    database.execute_batch("COMMIT; CREATE INDEX person_name ON person (family, born)").expect("an index");
    let mut dice = Dice::new(SEED);
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let (ags, count) = towns[dice.below(MUNICIPALITIES) as usize];
        let about = person(SEED, ags, dice.below(count));
        let began = Instant::now();
        let sql = "SELECT record FROM person WHERE family = ?1 AND born = ?2";
        let found: Vec<u8> = database
            .prepare_cached(sql)
            .expect("a statement")
            .query_row(params![about.family_names[0], about.birth_dates[0].to_string()], |row| row.get(0))
            .expect("a row");
        let line = &found[..found.len().min(300)];
        database
            .prepare_cached("INSERT INTO line (content) VALUES (?1)")
            .expect("a statement")
            .execute(params![line])
            .expect("a line");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 1024
}
