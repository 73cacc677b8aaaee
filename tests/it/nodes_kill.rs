//! Kill -9 under load, three relays over one database. Of one relay after the other: clients go on at another node. Of the
//! database's primary, whose standby is promoted: clients go on when it is. What any node has acknowledged is there once,
//! byte for byte, in cards and logs alike.
//!
//! `AMTSBOTE_KILL_ROUNDS` sets the number of rounds; a node falls every second and is started again at once.
//! `AMTSBOTE_NODES_FAILOVER_ROUNDS` sets how often the primary falls.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::nodes_load::Load;
use crate::nodes_office::{no_errors, open, open_with};
use crate::postgres_cluster::{Cluster, programs};

const NODES: usize = 3;
const BEAT: Duration = Duration::from_secs(1);

const KILLS: &str = "AMTSBOTE_KILL_ROUNDS";
const FALLS: &str = "AMTSBOTE_NODES_FAILOVER_ROUNDS";

fn rounds(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Err(_) => otherwise,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not {text:?}")),
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn served_again(mut after: Vec<Duration>) -> String {
    after.sort();
    let median = after.get(after.len() / 2).copied().unwrap_or_default();
    let longest = after.last().copied().unwrap_or_default();
    let (median, longest) = (median.as_millis(), longest.as_millis());
    format!("were served again after {median} ms, at most {longest} ms ({} times)", after.len())
}

#[test]
fn relays_that_fall_one_after_the_other_lose_nothing() {
    let Some(programs) = programs() else { return };
    let rounds = rounds(KILLS, 3);
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("falling");
    let mut nodes = open(&connection, NODES);
    let runtime = runtime();
    let load = Load::start(&runtime, &nodes, Duration::from_secs(30));
    load.wait_for(2 * NODES);
    let begun = Instant::now();
    // Each node's starts take what they take; the others' falls do not wait for them.
    std::thread::scope(|scope| {
        for (place, node) in nodes.iter_mut().enumerate() {
            let load = &load;
            scope.spawn(move || {
                for round in (place..rounds).step_by(NODES) {
                    std::thread::sleep((BEAT * round as u32).saturating_sub(begun.elapsed()));
                    load.fell(place);
                    node.signal(Signal::KILL);
                    node.start_again();
                    load.is_back(place, node);
                }
            });
        }
    });
    load.wait_for(2 * NODES);
    let seconds = begun.elapsed().as_secs();
    let told = load.settle(&runtime, &mut nodes, &connection);
    no_errors(&nodes);
    println!(
        "{rounds} rounds in {seconds} s: {} acknowledgements, none lost or doubled; a killed node's clients {}",
        told.acknowledged,
        served_again(told.recoveries)
    );
    assert!(told.acknowledged >= rounds);
    assert_eq!((told.given_up, told.refusals), (0, 0), "nobody waits in vain");
}

/// What the configuration says of the standby.
fn with_standby(text: &str, wish: &str) -> String {
    let wished = text.replace("\nstandby = \"unasked\"\n", &format!("\nstandby = \"{wish}\"\n"));
    assert_ne!(wished, text);
    wished
}

/// Under load; `fall` is the fall, and what an operator does about it.
fn lose_the_primary(wish: &str, round: usize, connection: &str, fall: impl FnOnce()) {
    let mut nodes = open_with(connection, NODES, |_, text| with_standby(text, wish));
    let runtime = runtime();
    let load = Load::start(&runtime, &nodes, Duration::from_secs(40));
    (0..NODES).for_each(|place| load.excuse(place, true));
    load.wait_for(4 * NODES);
    (0..NODES).for_each(|place| load.fell(place));
    fall();
    load.wait_for(4 * NODES);
    let told = load.settle(&runtime, &mut nodes, connection);
    println!(
        "round {round}, a standby is {wish}: the primary fell: {} acknowledgements, none lost or doubled; {} refused for a \
         while; clients {}",
        told.acknowledged,
        told.refusals,
        served_again(told.recoveries)
    );
    assert_eq!(told.given_up, 0, "nobody waits in vain");
}

#[test]
fn relays_whose_primary_falls_go_on_at_its_standby() {
    let Some(programs) = programs() else { return };
    for round in 0..rounds(FALLS, 1) {
        let (primary, standby) = Cluster::pair(&programs);
        primary.database("fallen");
        let connection = primary.connection_with(&[&standby], "fallen");
        lose_the_primary("wanted", round, &connection, || {
            primary.kill();
            standby.promote();
        });
    }
}

/// One of two standbys has what was acknowledged: the one that has more is promoted, and the other one follows it. Until it
/// does, nothing is accepted.
#[test]
fn relays_whose_primary_falls_wait_for_another_standby_where_one_is_required() {
    let Some(programs) = programs() else { return };
    for round in 0..rounds(FALLS, 1) {
        let primary = Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5"]);
        let standbys = ["second", "third"].map(|name| (name, primary.standby(name)));
        primary.reconfigure(&["synchronous_standby_names = 'ANY 1 (second, third)'"]);
        primary.wait_for_standbys(2);
        primary.database("fallen");
        let connection = primary.connection_with(&[&standbys[0].1, &standbys[1].1], "fallen");
        lose_the_primary("required", round, &connection, || {
            primary.kill();
            let [one, other] = &standbys;
            for (_, standby) in &standbys {
                standby.wait_until_alone();
            }
            let has = |standby: &Cluster| standby.sql("postgres", "SELECT pg_last_wal_receive_lsn() - '0/0'");
            let bytes = |standby| has(standby).parse::<u64>().expect("a number");
            let (next, rest) = if bytes(&one.1) >= bytes(&other.1) { (one, other) } else { (other, one) };
            next.1.promote();
            next.1.reconfigure(&[&format!("synchronous_standby_names = '{}'", rest.0)]);
            rest.1.follow(&next.1, rest.0);
            next.1.wait_for_standby();
        });
    }
}
