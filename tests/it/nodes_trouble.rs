//! What befalls nodes short of death: one that stands still and is woken, a network between node and database that
//! drops, delays or half closes, a database without room. Clients are refused clearly or served elsewhere, nobody waits
//! for ever, and the final check is that of `nodes_load.rs`.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::cli_fixture::Office;
use crate::nodes_load::{Load, Told};
use crate::nodes_office::{open, open_with};
use crate::postgres_cluster::{Cluster, OWNER, programs};
use crate::store_full::SmallDisk;

/// Longer than any answer may take, with the patience that these nodes are given.
const NEVER: Duration = Duration::from_secs(40);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A database that does not answer is waited for 3 seconds, a question 5.
fn hasty(text: &str) -> String {
    let text = text.replace("\npatience_seconds = 10\n", "\npatience_seconds = 3\n");
    let text = text.replace("\nquestion_seconds = 30\n", "\nquestion_seconds = 5\n");
    assert!(text.contains("patience_seconds = 3") && text.contains("question_seconds = 5"), "{text}");
    text
}

/// Waits until the node itself says that it accepts.
fn wait_until_well(node: &Office) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let health = node.run(&["store", "health"]);
        if health.code == 0 {
            return;
        }
        assert!(Instant::now() < end, "{health:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn tell(what: &str, told: &Told) {
    println!(
        "{what}: {} acknowledgements, none lost or doubled; {} refused for a while, {} given up by the client",
        told.acknowledged, told.refusals, told.given_up
    );
}

/// Wherever it stood, the others go on: what it held is let go of before their patience ends.
#[test]
fn a_node_that_stands_still_stops_nobody_and_goes_on_when_it_is_woken() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("still");
    let mut nodes = open(&connection, 3);
    let runtime = runtime();
    // The others are merely slower; who waits for the one that stands still goes to them.
    let load = Load::start(&runtime, &nodes, Duration::from_secs(8));
    load.wait_for(6);
    for (place, still) in [(0, 5), (1, 5), (2, 12)] {
        load.excuse(place, true);
        nodes[place].signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(still) / 2);
        load.wait_for(6);
        std::thread::sleep(Duration::from_secs(still) / 2);
        nodes[place].signal(Signal::CONT);
        wait_until_well(&nodes[place]);
        load.wait_for(20);
        load.excuse(place, false);
    }
    load.wait_for(6);
    tell("stood still", &load.settle(&runtime, &mut nodes, &connection));
}

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Every piece is 100 ms late.
    Slow,
    /// Nothing arrives, in neither direction, and no connection ends; new ones are made and say nothing.
    Dropped,
    /// The node's half of every connection is closed, and nothing of the database's arrives.
    HalfClosed,
    /// Every connection is cut, new ones too.
    Cut,
}

/// Stands between one node and the database.
struct Network {
    port: u16,
    weather: watch::Sender<Weather>,
}

impl Network {
    async fn to(database: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (weather, seen) = watch::channel(Weather::Fair);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", database)).await else { continue };
                let ((from_node, to_node), (from_database, to_database)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_node, to_database, seen.clone(), true));
                tokio::spawn(carry(from_database, to_node, seen.clone(), false));
            }
        });
        Self { port, weather }
    }
}

/// Carries one direction. What was dropped once stays dropped: TCP would not go on behind a gap.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    from_node: bool,
) {
    let mut bytes = vec![0; 65_536];
    let mut deaf = false;
    loop {
        let present = *weather.borrow_and_update();
        match present {
            Weather::Cut => return,
            Weather::Dropped => deaf = true,
            Weather::HalfClosed if from_node => {
                let _ = to.shutdown().await;
                deaf = true;
            }
            Weather::HalfClosed => deaf = true,
            Weather::Fair | Weather::Slow => {}
        }
        tokio::select! {
            changed = weather.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut bytes) => {
                let Ok(length @ 1..) = read else { break };
                if *weather.borrow() == Weather::Slow {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                if !deaf && to.write_all(&bytes[..length]).await.is_err() {
                    break;
                }
            }
        }
    }
    // A side that is deaf does not hear that the other has gone.
    if deaf {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

#[test]
fn a_network_in_trouble_refuses_clearly_and_loses_nothing() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("network");
    let runtime = runtime();
    let network = runtime.block_on(Network::to(cluster.port));
    let through = format!("host=127.0.0.1 port={} user={OWNER} dbname=network", network.port);
    let mut nodes = open_with(&connection, 2, |node, text| match node {
        0 => hasty(&text.replace(&format!("{connection:?}"), &format!("{through:?}"))),
        _ => hasty(text),
    });
    let load = Load::start(&runtime, &nodes, NEVER);
    load.excuse(0, true);
    load.wait_for(4);
    for weather in
        [Weather::Slow, Weather::Dropped, Weather::Cut, Weather::HalfClosed, Weather::Dropped, Weather::Cut]
    {
        network.weather.send_replace(weather);
        std::thread::sleep(Duration::from_secs(5));
        // The other node is not in the same weather.
        load.wait_for(2);
        network.weather.send_replace(Weather::Fair);
        wait_until_well(&nodes[0]);
        load.wait_for(4);
    }
    let told = load.settle(&runtime, &mut nodes, &connection);
    tell("the network", &told);
    assert!(told.refusals > 0, "nobody was told");
    assert_eq!(told.given_up, 0, "nobody waits in vain");
}

/// A table space of its own, on a disk of 64 MB, filled to the brim and relieved.
#[test]
fn a_database_without_room_refuses_and_goes_on_when_there_is_some() {
    let Some(programs) = programs() else { return };
    let Some(disk) = SmallDisk::mount(64) else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database_on("small", disk.path());
    let mut nodes = open_with(&connection, 2, |_, text| hasty(text));
    let runtime = runtime();
    let load = Load::start(&runtime, &nodes, NEVER);
    (0..nodes.len()).for_each(|place| load.excuse(place, true));
    load.wait_for(4);
    let ballast = disk.path().join("ballast");
    for _ in 0..2 {
        fill(&ballast);
        let before = load.refusals();
        let end = Instant::now() + Duration::from_secs(60);
        while load.refusals() < before + 4 {
            assert!(Instant::now() < end, "the disk is full, and nobody is refused");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::remove_file(&ballast).expect("removed");
        nodes.iter().for_each(wait_until_well);
        load.wait_for(4);
    }
    let told = load.settle(&runtime, &mut nodes, &connection);
    tell("the full disk", &told);
    assert_eq!(told.given_up, 0, "nobody waits in vain");
    let logs: Vec<String> =
        nodes.iter().map(|node| std::fs::read_to_string(node.path("server.log")).expect("a log")).collect();
    assert!(logs.iter().any(|log| log.contains("full")), "the operator is told: {logs:?}");
}

/// Writes until nothing more fits.
fn fill(file: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(file).expect("a file");
    let block = vec![0_u8; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}
