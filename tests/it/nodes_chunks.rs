//! Large OSCI messages in chunks over several relays: whichever node a chunk comes to, and whichever node falls meanwhile,
//! the upload and the fetch go on, and the message inside is accepted once.

use std::collections::BTreeSet;
use std::sync::Arc;

use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::client::content::{self, Content as Piece};
use amtsbote::osci::client::request::Addressed;
use amtsbote::osci::client::session::{Client, Content, Error, Session, Upload};
use amtsbote::osci::envelope::scope::Scope;
use amtsbote::osci::message::message_id::MessageId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::cli_fixture::Office;
use crate::nodes_load::OsciPerson;
use crate::nodes_office::{at_rest, logs_are_sound, no_errors, open, port, stop};
use crate::postgres_cluster::{Cluster, programs};

const NODES: usize = 3;
const AUTHOR: &str = "meldebehoerde";
const READER: &str = "standesamt";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn client(office: &Office, who: &str, url: &str) -> Client {
    Client::new(OsciPerson { folder: office.path("tls") }.settings(who, url))
}

fn large(seed: usize) -> Vec<u8> {
    (0..300_000).map(|at| ((at * 7 + seed) % 251) as u8).collect()
}

fn parcel(seed: usize) -> Content {
    let package = content::compose(&[Piece::Inline(large(seed))], None).expect("a package");
    Content { package: Arc::new(package.into_bytes()), attachments: Vec::new() }
}

fn addressed(office: &Office, id: &MessageId) -> Addressed {
    let reader = OsciPerson { folder: office.path("tls") }.certificate(&format!("{READER}-cipher.crt"));
    Addressed::to(reader.der(), id.clone())
}

/// Leads every connection to the next node that answers, in turn; before the connection of that number, a process is
/// killed. The nodes that connections were led to, in order.
async fn balancer(ports: Vec<u16>, kill: Option<(usize, u32)>) -> (String, Arc<std::sync::Mutex<Vec<u16>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().expect("an address").port());
    let led: Arc<std::sync::Mutex<Vec<u16>>> = Arc::default();
    let to = led.clone();
    tokio::spawn(async move {
        let mut turn = 0;
        for number in 0.. {
            let Ok((mut client, _)) = listener.accept().await else { return };
            if let Some((_, pid)) = kill.filter(|(at, _)| *at == number) {
                let pid = Pid::from_raw(pid as i32).expect("a process");
                kill_process(pid, Signal::KILL).expect("killed");
            }
            for _ in 0..ports.len() {
                turn += 1;
                let port = ports[turn % ports.len()];
                if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                    to.lock().expect("a list").push(port);
                    tokio::spawn(async move {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                    break;
                }
            }
        }
    });
    (url, led)
}

fn ports(nodes: &[Office]) -> Vec<u16> {
    nodes.iter().map(|node| port(&node.osci)).collect()
}

async fn begun(office: &Office, who: &str, url: &str) -> Session {
    client(office, who, url).begin().await.expect("a dialog")
}

#[test]
fn every_chunk_may_come_to_another_node() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("chunks");
    let mut nodes = open(&connection, NODES);
    let office = &nodes[0];
    let ids = runtime().block_on(async {
        let (url, led) = balancer(ports(&nodes), None).await;
        let mut ids = Vec::new();
        // Chunks that lie in their rows, and chunks that lie apart.
        for (seed, kilobytes) in [(0, 16), (1, 128)] {
            let mut author = begun(office, AUTHOR, &url).await;
            let id = author.message_id().await.expect("an id");
            let stored = author.store_in_chunks(addressed(office, &id), parcel(seed), kilobytes).await;
            assert_eq!(stored.expect("stored").card.expect("a card").message_id, id);
            let again = author.uploaded(addressed(office, &id)).await.expect("asked");
            assert!(matches!(again, Upload::Stored(_)), "{again:?}");
            author.exit().await.expect("ended");
            let mut reader = begun(office, READER, &url).await;
            let fetched = reader.fetch_in_chunks(None, kilobytes).await.expect("fetched").expect("one waits");
            let contents = tokio::task::block_in_place(|| fetched.contents()).expect("contents");
            assert!(contents == [large(seed)], "{kilobytes}");
            reader.exit().await.expect("ended");
            ids.push(id.as_str().to_owned());
        }
        let led = led.lock().expect("a list").clone();
        assert!(led.len() > 40, "{} requests", led.len());
        assert!(led.windows(2).all(|two| two[0] != two[1]), "never twice to the same node: {led:?}");
        ids
    });
    stop(&mut nodes);
    no_errors(&nodes);
    logs_are_sound(&nodes);
    let states = runtime().block_on(at_rest(&connection, NODES));
    assert_eq!(states.len(), ids.len());
    assert!(ids.iter().all(|id| states[id] == DeliveryState::Received), "{states:?}");
}

/// Sends these chunks only.
async fn some(
    session: &mut Session,
    office: &Office,
    id: &MessageId,
    whole: &amtsbote::osci::client::scratch::Slice,
    chunks: std::ops::RangeInclusive<u64>,
) {
    let others: BTreeSet<u64> = (1..=1000).filter(|number| !chunks.contains(number)).collect();
    let sent = session.upload(addressed(office, id), whole, 64, &others).await;
    assert!(matches!(sent, Err(Error::Lacking("InsideFeedback"))), "{:?}", sent.err());
}

#[test]
fn a_node_that_falls_takes_no_chunk_with_it() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("fallen");
    let mut nodes = open(&connection, NODES);
    let runtime = runtime();
    let id = runtime.block_on(async {
        let mut author = begun(&nodes[0], AUTHOR, &nodes[0].osci).await;
        let id = author.message_id().await.expect("an id");
        let sender = client(&nodes[0], AUTHOR, &nodes[0].osci);
        let whole = sender.inside_chunks(&addressed(&nodes[0], &id), parcel(0), Scope::standard()).await;
        let whole = whole.expect("written");
        let total = whole.length().div_ceil(64 * 1024);
        assert!(total >= 6, "{total} chunks");
        some(&mut author, &nodes[0], &id, &whole, 1..=3).await;
        // The node with all chunks so far is gone for good, with its disk.
        nodes[0].signal(Signal::KILL);
        nodes[0].ended();
        let mut author = begun(&nodes[1], AUTHOR, &nodes[1].osci).await;
        let standing = author.uploaded(addressed(&nodes[1], &id)).await.expect("asked");
        assert_eq!(standing, Upload::Open { received: [1, 2, 3].into(), total: Some(total) });
        some(&mut author, &nodes[1], &id, &whole, 4..=4).await;
        let mut author = begun(&nodes[2], AUTHOR, &nodes[2].osci).await;
        let stored = author.upload(addressed(&nodes[2], &id), &whole, 64, &[1, 2, 3, 4].into()).await;
        assert_eq!(stored.expect("stored").card.expect("a card").message_id, id);
        // Whoever did not hear that hears it at the other node.
        let mut author = begun(&nodes[1], AUTHOR, &nodes[1].osci).await;
        let again = author.uploaded(addressed(&nodes[1], &id)).await.expect("asked");
        assert!(matches!(again, Upload::Stored(_)), "{again:?}");
        id
    });
    nodes[0].start_again();
    runtime.block_on(async {
        // The second node falls in the middle of the fetch; its answer is sliced by the others.
        let (url, led) = balancer(ports(&nodes), Some((4, nodes[1].pid()))).await;
        let mut reader = begun(&nodes[0], READER, &url).await;
        let fetched = reader.fetch_in_chunks(None, 64).await.expect("fetched").expect("one waits");
        let contents = tokio::task::block_in_place(|| fetched.contents()).expect("contents");
        assert!(contents == [large(0)]);
        reader.exit().await.expect("ended");
        let led = led.lock().expect("a list").clone();
        let at = port(&nodes[1].osci);
        assert!(led.iter().take(4).any(|port| *port == at), "it had a hand in it: {led:?}");
        assert!(!led.iter().skip(4).any(|port| *port == at) && led.len() > 7, "{led:?}");
    });
    nodes[1].start_again();
    stop(&mut nodes);
    no_errors(&nodes);
    let states = runtime.block_on(at_rest(&connection, NODES));
    assert_eq!(states.into_iter().collect::<Vec<_>>(), [(id.as_str().to_owned(), DeliveryState::Received)]);
}
