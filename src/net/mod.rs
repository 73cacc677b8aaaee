//! Listeners: TLS with client certificates, plain HTTP for the operator, a Unix socket for administration.
//!
//! What a stranger may do to us before a door has looked at him is bounded here: connections, time for the handshake,
//! the header and a silent or dripping body, bytes of the header (DESIGN, section 9). Possession of a client
//! certificate's key is proven here; who its holder is and whether anybody trusts him is the door's judgement.
//! No protocol above HTTP/1.1 is known in this room. Connections that we make to databases are secured here as well.

mod connection;
mod listener;
mod pace;
mod permits;
pub mod postgres;
mod seldom;
#[cfg(test)]
mod tests;
mod tls;
mod unix;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use rustls_pki_types::CertificateDer;

pub use listener::{Listener, Serving};
pub use permits::{Permits, Shares};
pub use seldom::Seldom;
pub use tls::TlsSource;
pub use unix::{LocalHandler, LocalListener, LocalPeer};

/// The body of a request or an answer; it may stream.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The client's chain as it was sent, its own certificate first; empty where it showed none.
    pub certificates: Arc<[CertificateDer<'static>]>,
    remembered: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Peer {
    pub fn new(address: SocketAddr, certificates: Arc<[CertificateDer<'static>]>) -> Self {
        Self { address, certificates, remembered: OnceLock::new() }
    }

    /// What `read` makes of the certificates, worked out once in the life of the connection. Only for what lies in
    /// their bytes: whether they are trusted can change between two requests. A connection belongs to one door, so
    /// one place is enough; another door's kind of reading is done anew each time.
    pub fn remember<T: Send + Sync + 'static>(
        &self,
        read: impl Fn(&[CertificateDer<'static>]) -> T,
    ) -> Arc<T> {
        let kept = self.remembered.get_or_init(|| Arc::new(read(&self.certificates)));
        Arc::clone(kept).downcast().unwrap_or_else(|_| Arc::new(read(&self.certificates)))
    }
}

/// A door: takes each request of a connection, in order.
///
/// The request's body is bounded in time by the listener, not in size: how much a message may hold is the door's rule.
/// A body that is too slow or falls silent ends with an error of its stream.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    async fn handle(&self, request: hyper::Request<Body>, peer: &Peer) -> hyper::Response<Body>;
}

/// An extension of an answer: told once, when the answer's last byte has left this process and the system has taken
/// it. Not told where the connection or the body broke before. It needs the body's exact size, or its end.
#[derive(Clone)]
pub struct WhenWritten(Arc<Mutex<Option<Then>>>);

type Then = Box<dyn FnOnce() + Send>;

impl WhenWritten {
    pub fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(then)))))
    }

    fn tell(&self) {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then();
        }
    }
}

impl std::fmt::Debug for WhenWritten {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("WhenWritten")
    }
}

/// A body that is at hand as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// What a stranger may take up, in time and bytes. Each value is configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time for a complete header, from its first byte (on a new connection: from the handshake on).
    pub header: Duration,
    /// Time without a byte while a body is read or an answer is written.
    pub idle: Duration,
    /// Time between a finished answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// Slowest pace of a body or an answer, averaged over the time spent waiting for the peer.
    pub bytes_per_second_min: u64,
    /// Waiting time after which the pace is judged at all.
    pub pace_grace: Duration,
    pub header_bytes_max: usize,
    /// Time for a drain before the remaining connections are cut.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            bytes_per_second_min: 512,
            pace_grace: Duration::from_secs(30),
            header_bytes_max: 32 * 1024,
            drain: Duration::from_secs(30),
        }
    }
}
