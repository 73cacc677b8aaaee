//! Ports for servers that are told where to listen, and for those that come back to where they were.
//!
//! A port that the system gave away and took back is the next one for somebody's outgoing connection, and the tests
//! beside make thousands of those. So these lie below the range it gives (32768 on Linux), each is a test's own until
//! the process ends, and further processes of tests see that it is taken.

use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

const PORTS: Range<u16> = 12_000..32_000;

/// What marks the ports that this process took: TCP's is free for the server, its twin of UDP is held.
static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 where nobody listens, and that nobody else is given.
pub fn own_port() -> u16 {
    let mut taken = TAKEN.lock().expect("a lock");
    // Processes begin at different places, so that they seldom ask for the same one.
    let first = std::process::id().wrapping_mul(97) + taken.len() as u32;
    let count = u32::from(PORTS.end - PORTS.start);
    for turn in 0..count {
        let port = PORTS.start + ((first + turn) % count) as u16;
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.push(mark);
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
