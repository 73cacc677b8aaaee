//! The register on its own engines: the same loads, questions and feed on the embedded one and on PostgreSQL, in the same
//! run. All of a question's work is in it on both sides: rights, locks, the sealed and chained entry of the log.

use std::time::Instant;

use amtsbote::register::copies::{Copies, Engine, LogKey, PostgresSettings, Settings};
use amtsbote::register::person::Ags;

use crate::postgres_cluster::Cluster;
use crate::{Kind, MUNICIPALITIES, RATE, Times, ask_all, beside_feed, load, questions, setting, town};

/// Changes of one message of the feed.
const EACH: [u64; 2] = [1, 50];

struct Side {
    copies: Copies,
    loading: f64,
    sequence: u64,
}

impl Side {
    fn new(settings: Settings, towns: &[(Ags, u64)]) -> Self {
        let copies = Copies::open(settings, LogKey::new(&[1; 32])).expect("copies");
        let began = Instant::now();
        for (ags, count) in towns {
            load(&copies, *ags, *count);
        }
        Self { copies, loading: began.elapsed().as_secs_f64(), sequence: 0 }
    }
}

/// Prints the tables; without a server it says so.
pub fn compare(cluster: Option<&Cluster>) {
    let Some(cluster) = cluster else {
        println!("the register on PostgreSQL: left out, for no PostgreSQL is installed here");
        return;
    };
    let persons = setting("AMTSBOTE_REGISTER_BOTH_PERSONS", 50_000);
    let count = setting("AMTSBOTE_REGISTER_QUESTIONS", 2000).min(500);
    let span = setting("AMTSBOTE_BENCH_SECONDS", 30).min(10);
    let towns: Vec<(Ags, u64)> = (0..MUNICIPALITIES).map(|place| town(place, persons)).collect();
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let mut embedded = Side::new(Settings::new(folders[0].path()), &towns);
    let engine = Engine::Postgres(PostgresSettings::new(cluster.database("register_own")));
    let mut server = Side::new(Settings { engine, ..Settings::new(folders[1].path()) }, &towns);
    println!("the register on both engines, {persons} persons:");
    println!("{:30}  embedded   PostgreSQL  ratio", "");
    let ratio = |one: f64, other: f64| other / one.max(f64::EPSILON);
    println!(
        "{:30}  {:8.1} s {:10.1} s {:6.2}",
        "load",
        embedded.loading,
        server.loading,
        ratio(embedded.loading, server.loading)
    );
    println!("{:30}  p50 ms  p99 ms | p50 ms  p99 ms | p50    p99", "");
    let line = |words: &str, one: &Times, other: &Times, more: &str| {
        println!(
            "{words:30} {:7.2} {:7.2} |{:7.2} {:7.2} | {:5.2}  {:5.2}{more}",
            one.at(0.5),
            one.at(0.99),
            other.at(0.5),
            other.at(0.99),
            ratio(one.at(0.5), other.at(0.5)),
            ratio(one.at(0.99), other.at(0.99))
        );
    };
    for kind in Kind::ALL {
        let asked = questions(kind, &towns, count);
        let [(one, hits), (other, same)] = [&embedded, &server].map(|side| ask_all(&side.copies, &asked));
        assert_eq!(hits, same, "{} finds the same persons on both", kind.name());
        line(kind.name(), &Times::of(one), &Times::of(other), "");
    }
    let asked = questions(Kind::Person, &towns, RATE * span);
    for each in EACH {
        let [(one, fed), (other, fed_there)] = [&mut embedded, &mut server].map(|side| {
            let (times, changes) = beside_feed(&side.copies, &asked, towns[1], each, &mut side.sequence);
            (Times::of(times), changes)
        });
        let more = format!(" | changes/s {fed:.0} and {fed_there:.0}, {:.2}", ratio(fed, fed_there));
        line(&format!("person search, feed of {each}"), &one, &other, &more);
    }
}
