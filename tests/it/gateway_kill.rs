//! Kill -9 of the gateway between any two of its steps: each submission ends once, its clear content is delivered once, and
//! acceptance is said when the reader has closed it and not before.
//!
//! A wire lies between gateway and post office. It lets so many pieces of answers pass and withholds the next one, which
//! the post office has given by then; there the gateway dies. Its next life may have one piece more. So every step is made
//! once without its answer being heard, and the state that it leaves is what a life begins with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use amtsbote::portal::event::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::gateway_serve::{Draft, Gateway, World, tampered};

/// A gateway that does nothing any more asks no further.
const PIECE_TIME_MAX: Duration = Duration::from_secs(60);
const LIVES_MAX: usize = 150;
/// Lives after everything is done: they must find that it is.
const LIVES_MORE: usize = 2;

/// Shared by all connections of one life.
struct Wire {
    left: AtomicUsize,
    struck: mpsc::Sender<()>,
}

impl Wire {
    /// Towards the gateway.
    async fn answers(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() {
                let _ = self.struck.send(());
                // The gateway is killed before this connection closes.
                return std::future::pending().await;
            }
            if to.write_all(&piece[..read]).await.is_err() {
                return;
            }
        }
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

fn port_of(url: &str) -> u16 {
    let rest = url.trim_end_matches('/').rsplit(':').next().expect("a port");
    rest.parse().expect("a port")
}

/// Listens in front of one of the post office's doors.
async fn front(wire: Arc<Wire>, door: u16) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let listening = tokio::spawn(async move {
        let mut lines = tokio::task::JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", door)).await.expect("the post office");
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            lines.spawn(wire.clone().answers(far_in, near_out));
            lines.spawn(requests(near_in, far_out));
        }
    });
    (port, listening)
}

/// One life of the gateway, which hears so many pieces.
fn life(world: &World, pieces: usize) {
    let (struck, strikes) = mpsc::channel();
    let wire = Arc::new(Wire { left: AtomicUsize::new(pieces), struck });
    let [(xta, xta_line), (portal, portal_line)] = [&world.office.xta, &world.office.portal]
        .map(|url| world.runtime.block_on(front(wire.clone(), port_of(url))));
    let gateway = Gateway::start_at(
        &world.office,
        &format!("https://localhost:{xta}/"),
        &format!("https://localhost:{portal}"),
    );
    let came = strikes.recv_timeout(PIECE_TIME_MAX);
    gateway.kill();
    [xta_line, portal_line].iter().for_each(JoinHandle::abort);
    came.unwrap_or_else(|_| panic!("it stopped asking after {pieces} pieces: {}", world.told()));
}

#[test]
fn killed_between_any_two_steps_the_gateway_does_each_once() {
    let mut world = World::open();
    let (mut portal, mut reader) = (world.portal(), world.reader());
    let good = Draft::new(1);
    let mut bad = Draft::new(2);
    bad.sealed_attachment = tampered(&bad.sealed_attachment);
    let (good_id, bad_id) = (world.send(&portal, &good), world.send(&portal, &bad));
    let opened = [Event::Create, Event::Submit, Event::Notify];
    let with = |verdict: Event| [&opened[..], &[verdict]].concat();

    // Until the one lies with its reader and the other is rejected.
    let (mut pieces, mut more) = (0, 0);
    while more <= LIVES_MORE {
        life(&world, pieces);
        if pieces % 20 == 13 {
            // The post office dies as well, with what it has answered.
            world.office.kill_and_restart();
            (portal, reader) = (world.portal(), world.reader());
        }
        pieces += 1;
        assert!(pieces < LIVES_MAX, "{}", world.told());
        assert_eq!(world.events(&portal, good_id), opened, "nobody has closed it");
        let rejected = world.events(&portal, bad_id);
        assert!(rejected == opened || rejected == with(Event::Reject), "{rejected:?}");
        let waiting = world.waiting(&reader);
        assert!(waiting.len() <= 1, "{waiting:?}");
        if waiting.len() == 1 && rejected.len() == 4 {
            more += 1;
        }
    }
    let lives = pieces;
    let message = world.wait_for(&reader, good_id);
    let (_, bodies) = world.fetch(&reader, &message);
    assert!(bodies[0] == good.data && bodies[2] == good.content, "not what was sent");
    life(&world, pieces);
    assert_eq!(world.events(&portal, good_id), opened, "fetched is not closed");
    world.close(&reader, &message);

    // Until that is told.
    (pieces, more) = (0, 0);
    while more <= LIVES_MORE {
        life(&world, pieces);
        pieces += 1;
        assert!(pieces < LIVES_MAX, "{}", world.told());
        let told = world.events(&portal, good_id);
        assert!(told == opened || told == with(Event::Accept), "{told:?}");
        assert_eq!(world.waiting(&reader), [], "it came again");
        more += usize::from(told.len() == 4);
    }
    assert_eq!(world.events(&portal, bad_id), with(Event::Reject));
    let listed = world.office.run(&["message", "list", "--limit", "1000", "--json"]).ends(0).json();
    let mut ids: Vec<Uuid> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["card"]["id"].as_str().and_then(|id| id.rsplit(':').next()).expect("an id"))
        .map(|id| Uuid::try_parse(id).expect("a UUID"))
        .collect();
    ids.sort_unstable();
    let mut expected = vec![good_id, good_id, bad_id];
    expected.sort_unstable();
    assert_eq!(ids, expected, "each sealed, and the good one in the clear, each once");
    println!("{lives} lives until both were dealt with, {pieces} until acceptance was told");
}
