//! Searches by law over a million invented persons, beside PostgreSQL with the same persons and the same questions, and
//! beside a bare indexed SQLite lookup, all in the same run.
//!
//! The bare side does what a machine must: find one row by an index on (family name, birth date), read its record, and
//! write one line durably. PostgreSQL (`twin`) has indexes for all of it, and writes its line. The register finds by the
//! annex's rules, judges locks and rights, seals and chains the log's entry. `cargo bench --bench register`; README.md
//! beside this folder says how to read the tables and what makes it shorter.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amtsbote::register::answer::Answer;
use amtsbote::register::copies::{Asked, Copies, CopyError, LoadReceipt, LogKey, Requester, Settings, Taken};
use amtsbote::register::person::{Ags, Person};
use amtsbote::register::question::{Profile, Selection};
use amtsbote::register::rights::{Asker, Purpose};
use amtsbote::register::stream::{Change, Occasion};
use amtsbote::register::synth::{Dice, person};
use jiff::Timestamp;
use rusqlite::{Connection, params};

mod both_engines;
#[path = "../../tests/it/ports.rs"]
mod ports;
#[path = "../../tests/it/postgres_cluster.rs"]
#[allow(dead_code)]
mod postgres_cluster;
mod twin;

use postgres_cluster::Cluster;
use twin::Twin;

const SEED: u64 = 1;
const CHUNK: u64 = 2000;
/// One large municipality with a fifth of all persons, and forty of equal size.
const MUNICIPALITIES: u64 = 41;
/// Questions a second beside the feed, and sessions that put them.
const RATE: u64 = 100;
const ASKERS: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Person,
    Sound,
    Private,
    Placeholder,
    State,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Person, Self::Sound, Self::Private, Self::Placeholder, Self::State];

    fn name(self) -> &'static str {
        match self {
            Self::Person => "person search",
            Self::Sound => "person search by sound",
            Self::Private => "private enquiry",
            Self::Placeholder => "free search, placeholder",
            Self::State => "free search, whole state",
        }
    }

    fn profile(self) -> Profile {
        match self {
            Self::Person | Self::Sound => Profile::PersonSearch,
            Self::Private => Profile::PrivateEnquiry,
            Self::Placeholder | Self::State => Profile::FreeSearch,
        }
    }
}

/// What goes on while questions are asked: changes of one message, none where there is no feed.
const BESIDE: &[(&str, u64)] =
    &[("nothing", 0), ("a feed, 1 change a message", 1), ("a feed, 50 changes a message", 50)];

/// One question, as both sides are asked it.
#[derive(Debug, Clone)]
struct Question {
    kind: Kind,
    ags: Ags,
    /// With a placeholder, the letters before it.
    family: String,
    given: String,
    born: String,
    sex: Option<String>,
    about: Person,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let cluster = postgres_cluster::programs().map(|programs| {
        Cluster::start(&programs, &["shared_buffers = 512MB", "max_wal_size = 4GB", "jit = off"])
    });
    both_engines::compare(cluster.as_ref());
    let persons = setting("AMTSBOTE_REGISTER_PERSONS", 1_000_000);
    if persons > 0 {
        search_beside_others(cluster.as_ref(), persons);
    }
}

fn search_beside_others(cluster: Option<&Cluster>, persons: u64) {
    let count = setting("AMTSBOTE_REGISTER_QUESTIONS", 2000);
    let span = setting("AMTSBOTE_BENCH_SECONDS", 30);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copies = Copies::open(Settings::new(folder.path()), LogKey::new(&[1; 32])).expect("copies");
    let towns: Vec<(Ags, u64)> = (0..MUNICIPALITIES).map(|place| town(place, persons)).collect();
    // What both engines' comparison has left.
    let before = resident_mb();
    let began = Instant::now();
    for (ags, count) in &towns {
        load(&copies, *ags, *count);
    }
    let loading = began.elapsed().as_secs_f64();
    println!("{persons} persons loaded in {loading:.0} s, {:.0} a second", persons as f64 / loading);
    let memory = resident_mb();
    println!("memory of the process: {memory} MB, {before} MB of them before the load");
    let twin = cluster.map(|cluster| {
        let twin = Twin::new(cluster);
        let took = twin.load(&towns).as_secs_f64();
        println!("PostgreSQL loaded them in {took:.0} s; ratio {:.2}", loading / took);
        twin
    });
    let bare = bare(folder.path(), &towns, count);
    println!("bare lookup and line: p50 {bare:.2} ms");
    println!(
        "search                      p50 ms   p99 ms   max ms   hits  to bare |  PostgreSQL  p99 ms   hits |   p50   p99"
    );
    for kind in Kind::ALL {
        let questions = questions(kind, &towns, count);
        let (ours, hits) = ask_all(&copies, &questions);
        let ours = Times::of(ours);
        let to_bare = ours.at(0.5) / bare;
        print!(
            "{:26}  {:7.2}  {:7.2}  {:7.2}  {hits:5}  {to_bare:7.2}",
            kind.name(),
            ours.at(0.5),
            ours.at(0.99),
            ours.at(1.0)
        );
        compared(&ours, twin.as_ref().map(|twin| twin.ask_all(&questions)).map(|(t, h)| (Times::of(t), h)));
    }
    let (flush, slow) = flush(folder.path());
    println!("a flush of 8 KiB to this disk, nothing beside it: p50 {flush:.2} ms, p99 {slow:.2} ms");
    println!("person search, {RATE} questions a second for {span} s, from the instant each was due:");
    println!(
        "beside                          p50 ms   p90 ms   p99 ms   max ms  changes/s  group |  PostgreSQL  p99 ms   hits |   p50   p99"
    );
    let questions = questions(Kind::Person, &towns, RATE * span);
    let mut sequence = 0;
    for (words, each) in BESIDE {
        let groups = copies.groups();
        let (ours, changes) = beside_feed(&copies, &questions, towns[1], *each, &mut sequence);
        let together = changes * span as f64 / (copies.groups() - groups).max(1) as f64;
        let ours = Times::of(ours);
        let at = |share| ours.at(share);
        print!(
            "{words:28}  {:8.2} {:8.2} {:8.2} {:8.2}  {changes:9.0} {together:6.1}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
        if *each != 1 {
            println!(" |");
            continue;
        }
        // The second town's ids follow the first one's.
        let first_id = towns[0].1 as i64;
        let theirs = twin.as_ref().map(|twin| twin.beside_feed(&questions, towns[1], ASKERS, RATE, first_id));
        let changes = theirs.as_ref().map(|(_, changes)| *changes);
        compared(&ours, theirs.map(|(times, _)| (Times::of(times), 0)));
        if let Some(changes) = changes {
            println!("PostgreSQL's feed made {changes:.0} changes/s");
        }
    }
    println!("memory of the process: {} MB", resident_mb());
}

fn compared(ours: &Times, theirs: Option<(Times, usize)>) {
    let Some((theirs, hits)) = theirs else {
        println!(" |");
        return;
    };
    println!(
        " |  {:10.2}  {:6.2}  {hits:5} |  {:4.2}  {:4.2}",
        theirs.at(0.5),
        theirs.at(0.99),
        ours.at(0.5) / theirs.at(0.5),
        ours.at(0.99) / theirs.at(0.99)
    );
}

/// Sorted; milliseconds at a share.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0
    }
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

/// As many questions about a town as it has persons.
fn questions(kind: Kind, towns: &[(Ags, u64)], count: u64) -> Vec<Question> {
    let mut dice = Dice::new(SEED);
    (0..count)
        .map(|_| {
            let (ags, persons) =
                if dice.one_in(5) { towns[0] } else { towns[1 + dice.below(MUNICIPALITIES - 1) as usize] };
            let about = person(SEED, ags, dice.below(persons));
            let family = &about.family_names[0];
            Question {
                kind,
                ags,
                family: match kind {
                    Kind::Placeholder => family.chars().take(3).collect(),
                    _ => family.clone(),
                },
                given: about.given_names[0].split(' ').next().unwrap_or_default().to_owned(),
                born: about.birth_dates[0].to_string(),
                sex: twin::sex_of(&about),
                about,
            }
        })
        .collect()
}

fn asked(question: &Question) -> Asked {
    let (kind, profile) = (question.kind, question.kind.profile());
    let placeholder = kind == Kind::Placeholder;
    let family = if placeholder { format!("{}*", question.family) } else { question.family.clone() };
    let state = kind == Kind::State;
    let selection = Selection {
        municipalities: if state { Vec::new() } else { vec![question.ags] },
        whole_state: state,
        family_name: Some(family),
        given_names: Some(question.given.clone()),
        birth_date: (!placeholder).then(|| question.born.clone()),
        sex: question.about.sex,
        by_sound: kind == Kind::Sound,
        ..Selection::default()
    };
    Asked { requester: requester(profile), profile, selection, reader: None, test: false }
}

fn ask_all(copies: &Copies, questions: &[Question]) -> (Vec<Duration>, usize) {
    let (mut times, mut hits) = (Vec::new(), 0);
    for question in questions {
        let asked = asked(question);
        let began = Instant::now();
        hits += ask(copies, &asked);
        times.push(began.elapsed());
    }
    (times, hits)
}

fn ask(copies: &Copies, asked: &Asked) -> usize {
    match copies.ask(asked, Timestamp::now()) {
        Ok(outcome) => match outcome.answer {
            Answer::Neutral => 0,
            Answer::Person { .. } => 1,
            Answer::List { hits, .. } => hits.len(),
        },
        Err(CopyError::Question(_)) => 0,
        Err(error) => panic!("{error}"),
    }
}

/// The person under that number, moved for the `change`th time.
fn moved(ags: Ags, number: u64, change: u64) -> Person {
    let mut one = person(SEED, ags, number);
    let there = person(SEED + 1, ags, change).addresses.into_iter().next();
    if let (Some(address), Some(there)) = (one.addresses.first_mut(), there) {
        (address.street, address.number) = (there.street, (1 + change % 90).to_string());
    }
    one
}

/// Milliseconds of a durable write that does nothing else: the median, and one in a hundred.
fn flush(folder: &std::path::Path) -> (f64, f64) {
    let mut file = std::fs::File::create(folder.join("flush")).expect("a file");
    let times = (0..500).map(|_| {
        let begun = Instant::now();
        file.write_all(&[1; 8192]).expect("written");
        file.sync_data().expect("flushed");
        begun.elapsed()
    });
    let times = Times::of(times.collect());
    (times.at(0.5), times.at(0.99))
}

/// Questions at a fixed rate while one feed goes as fast as it can, with so many changes a message (none: no feed): how
/// long each question took from the instant it was due, and changes a second.
fn beside_feed(
    copies: &Copies,
    questions: &[Question],
    (ags, count): (Ags, u64),
    each: u64,
    sequence: &mut u64,
) -> (Vec<Duration>, f64) {
    let (done, next, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        let feed = scope.spawn(|| {
            let first = *sequence;
            while each > 0 && !done.load(Ordering::Relaxed) {
                let changes: Vec<Change> = (*sequence..*sequence + each)
                    .map(|change| {
                        let record = moved(ags, change % count, change);
                        Change {
                            ags,
                            generation: 1,
                            sequence: change + 1,
                            at: Timestamp::now(),
                            occasion: Occasion::Address,
                            mark: record.mark.clone(),
                            record: Some(record),
                        }
                    })
                    .collect();
                let taken = copies.changes_at(ags, &changes, Timestamp::MAX).expect("taken");
                assert!(taken.iter().all(|one| matches!(one, Ok(Taken::Applied { .. }))), "{taken:?}");
                *sequence += each;
            }
            *sequence - first
        });
        let asking: Vec<_> = (0..ASKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    loop {
                        let ticket = next.fetch_add(1, Ordering::Relaxed);
                        let Some(question) = questions.get(ticket as usize) else { return times };
                        let asked = asked(question);
                        let due = begun + Duration::from_secs(ticket) / RATE as u32;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        ask(copies, &asked);
                        times.push(due.elapsed());
                    }
                })
            })
            .collect();
        let times = asking.into_iter().flat_map(|one| one.join().expect("asked")).collect();
        let span = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        (times, feed.join().expect("fed") as f64 / span.as_secs_f64())
    })
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
fn bare(folder: &std::path::Path, towns: &[(Ags, u64)], questions: u64) -> f64 {
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
    for _ in 0..questions {
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
