//! Kill -9 of one relay after the other under load, three of them over one database: clients go on at another node, and
//! what any node has acknowledged is there once, byte for byte, in cards and logs alike.
//!
//! `AMTSBOTE_KILL_ROUNDS` sets the number of rounds; a node falls every second and is started again at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::nodes_load::Load;
use crate::nodes_office::{no_errors, open};
use crate::postgres_cluster::{Cluster, programs};

const NODES: usize = 3;
const BEAT: Duration = Duration::from_secs(1);

fn rounds() -> usize {
    match std::env::var("AMTSBOTE_KILL_ROUNDS") {
        Err(_) => 3,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("AMTSBOTE_KILL_ROUNDS is not {text:?}")),
    }
}

#[test]
fn relays_that_fall_one_after_the_other_lose_nothing() {
    let Some(programs) = programs() else { return };
    let rounds = rounds();
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("falling");
    let mut nodes = open(&connection, NODES);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
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
    let mut recoveries = told.recoveries;
    recoveries.sort();
    let median = recoveries.get(recoveries.len() / 2).copied().unwrap_or_default();
    let longest = recoveries.last().copied().unwrap_or_default();
    println!(
        "{rounds} rounds in {seconds} s: {} acknowledgements, none lost or doubled; a killed node's clients were \
         served again after {} ms, at most {} ms ({} times)",
        told.acknowledged,
        median.as_millis(),
        longest.as_millis(),
        recoveries.len()
    );
    assert!(told.acknowledged >= rounds);
    assert_eq!((told.given_up, told.refusals), (0, 0), "nobody waits in vain");
}
