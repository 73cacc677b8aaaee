//! Kill -9 under load, three relays over one database. Of one relay after the other: clients go on at another node. Of the
//! database's primary, whose standby is promoted: clients go on when it is. What any node has acknowledged is there once,
//! byte for byte, in cards and logs alike.
//!
//! `AMTSBOTE_KILL_ROUNDS` sets the number of rounds; a node falls every second and is started again at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::nodes_load::Load;
use crate::nodes_office::{no_errors, open, open_with};
use crate::postgres_cluster::{Cluster, OWNER, programs};

const NODES: usize = 3;
const BEAT: Duration = Duration::from_secs(1);

fn rounds() -> usize {
    match std::env::var("AMTSBOTE_KILL_ROUNDS") {
        Err(_) => 3,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("AMTSBOTE_KILL_ROUNDS is not {text:?}")),
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
    let rounds = rounds();
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

#[test]
fn relays_whose_primary_falls_go_on_at_its_standby() {
    let Some(programs) = programs() else { return };
    let primary = Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5"]);
    let standby = primary.standby("second");
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    primary.database("fallen");
    let connection =
        format!("host=127.0.0.1,127.0.0.1 port={},{} user={OWNER} dbname=fallen", primary.port, standby.port);
    let mut nodes = open_with(&connection, NODES, |_, text| {
        let wanted = text.replace("\nstandby = \"unasked\"\n", "\nstandby = \"wanted\"\n");
        assert_ne!(wanted, text);
        wanted
    });
    let runtime = runtime();
    let load = Load::start(&runtime, &nodes, Duration::from_secs(40));
    (0..NODES).for_each(|place| load.excuse(place, true));
    load.wait_for(4 * NODES);
    (0..NODES).for_each(|place| load.fell(place));
    primary.kill();
    standby.promote();
    load.wait_for(4 * NODES);
    let told = load.settle(&runtime, &mut nodes, &connection);
    println!(
        "the primary fell: {} acknowledgements, none lost or doubled; {} refused for a while; clients {}",
        told.acknowledged,
        told.refusals,
        served_again(told.recoveries)
    );
    assert_eq!(told.given_up, 0, "nobody waits in vain");
}
