//! Who may hold how many connections of one door, so that no stranger takes them all.
//!
//! The door as a whole makes further ones wait; one peer's share and the share of newcomers, who have not yet sent a
//! complete request, are refused at once: whoever is over his share must not keep others waiting. Addresses are
//! counted only while a connection lives and are never logged (DESIGN, section 10: no personal data in the log).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Seldom;

/// Between two lines about refused connections.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// The parts of one door's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// All together; further ones wait in the system's queue.
    pub connections_max: usize,
    /// From one IPv4 address, or one IPv6 network of 64 bits, which is what one customer is handed at least.
    pub per_peer_max: usize,
    /// Without a complete request yet, from everybody. One peer has the same part of these as of all connections.
    pub newcomers_max: usize,
}

impl Shares {
    /// Nobody is held to less than the whole.
    fn whole(connections_max: usize) -> Self {
        Self { connections_max, per_peer_max: connections_max, newcomers_max: connections_max }
    }

    fn newcomers_per_peer_max(&self) -> usize {
        let part = self.newcomers_max as u128 * self.per_peer_max as u128 / self.connections_max as u128;
        usize::try_from(part).unwrap_or(usize::MAX).max(1)
    }
}

/// Connections that may live at a time at one door.
#[derive(Clone)]
pub struct Permits(Arc<Inner>);

struct Inner {
    door: &'static str,
    shares: Shares,
    places: Arc<Semaphore>,
    held: Mutex<Held>,
    lines: Seldom<()>,
}

#[derive(Default)]
struct Held {
    newcomers: usize,
    by_origin: HashMap<Origin, Count>,
}

#[derive(Default, Clone, Copy)]
struct Count {
    all: usize,
    newcomers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    Address(IpAddr),
    Network([u8; 8]),
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        // A socket for both families shows IPv4 peers inside one network of IPv6.
        match address.to_canonical() {
            IpAddr::V6(address) => Self::Network(network(address)),
            address @ IpAddr::V4(_) => Self::Address(address),
        }
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    [a, b, c, d, e, f, g, h]
}

/// Whose share is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Peer,
    PeerNewcomers,
    Newcomers,
}

impl Refused {
    fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::PeerNewcomers => "peer-newcomers",
            Self::Newcomers => "newcomers",
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Peer | Self::PeerNewcomers => {
                "ss -tn shows who it is; if many participants share that address (NAT, proxy), raise \
                 limits.connections_per_peer_max, otherwise let the firewall stop it"
            }
            Self::Newcomers => {
                "ss -tn shows who they are: connections that send no request; raise limits.newcomers_max if they are \
                 participants, otherwise let the firewall stop them"
            }
        }
    }
}

impl Permits {
    /// Without shares: for listeners that strangers do not reach.
    pub fn new(connections_max: usize) -> Self {
        Self::of_door("inner", Shares::whole(connections_max))
    }

    /// For a door that strangers reach; `door` is its name in metrics and log. Each bound is at least one.
    pub fn of_door(door: &'static str, shares: Shares) -> Self {
        let connections_max = shares.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let shares = Shares {
            connections_max,
            per_peer_max: shares.per_peer_max.clamp(1, connections_max),
            newcomers_max: shares.newcomers_max.clamp(1, connections_max),
        };
        Self(Arc::new(Inner {
            door,
            shares,
            places: Arc::new(Semaphore::new(connections_max)),
            held: Mutex::default(),
            lines: Seldom::new(BETWEEN_LINES, 1),
        }))
    }

    /// Connections that could still be opened.
    pub fn free(&self) -> usize {
        self.0.places.available_permits()
    }

    pub fn door(&self) -> &'static str {
        self.0.door
    }

    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0.places).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A place for a connection from `address`, as a newcomer, or whose share is used up.
    pub(super) fn admit(&self, place: OwnedSemaphorePermit, address: IpAddr) -> Result<Admitted, Refused> {
        let origin = Origin::of(address);
        let shares = &self.0.shares;
        let mut held = self.held();
        let count = held.by_origin.get(&origin).copied().unwrap_or_default();
        if count.all >= shares.per_peer_max {
            return Err(Refused::Peer);
        }
        if count.newcomers >= shares.newcomers_per_peer_max() {
            return Err(Refused::PeerNewcomers);
        }
        if held.newcomers >= shares.newcomers_max {
            return Err(Refused::Newcomers);
        }
        held.newcomers += 1;
        let (all, newcomers) = (count.all + 1, count.newcomers + 1);
        held.by_origin.insert(origin, Count { all, newcomers });
        drop(held);
        Ok(Admitted { permits: self.clone(), origin, is_newcomer: AtomicBool::new(true), _place: place })
    }

    /// Counts a refusal, and says so now and then.
    pub(super) fn report(&self, refused: Refused) {
        let (door, share) = (self.0.door, refused.name());
        metrics::counter!("amtsbote_connections_refused_total", "door" => door, "share" => share)
            .increment(1);
        if let Some(unsaid) = self.0.lines.due((), Instant::now()) {
            let next_step = refused.next_step();
            tracing::warn!(
                code = "connections-refused",
                door,
                share,
                unsaid,
                next_step,
                "a connection was refused, for its share is used up; not said again for a minute"
            );
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; dropping it gives the place back.
pub(super) struct Admitted {
    permits: Permits,
    origin: Origin,
    is_newcomer: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Admitted {
    /// A complete request has come: no newcomer from here on.
    pub(super) fn has_asked(&self) {
        if self.is_newcomer.swap(false, Ordering::Relaxed) {
            let mut held = self.permits.held();
            held.newcomers = held.newcomers.saturating_sub(1);
            if let Some(count) = held.by_origin.get_mut(&self.origin) {
                count.newcomers = count.newcomers.saturating_sub(1);
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.has_asked();
        let mut held = self.permits.held();
        if let Some(count) = held.by_origin.get_mut(&self.origin) {
            count.all = count.all.saturating_sub(1);
            if count.all == 0 {
                held.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for a place from each address in turn, holding what was given.
    fn check(shares: Shares, asks: &[(&str, Result<(), Refused>)]) -> (Permits, Vec<Admitted>) {
        let permits = Permits::of_door("test", shares);
        let mut held = Vec::new();
        for (number, (address, expected)) in asks.iter().enumerate() {
            let place = permits.try_take().expect("a place");
            let admitted = permits.admit(place, address.parse().expect("an address"));
            let seen = admitted.map(|admitted| held.push(admitted));
            assert_eq!(seen, *expected, "{number}: {address}");
        }
        (permits, held)
    }

    #[test]
    fn one_peer_has_its_share_and_no_more() {
        let shares = Shares { connections_max: 16, per_peer_max: 2, newcomers_max: 16 };
        let (permits, mut held) = check(
            shares,
            &[
                ("192.0.2.1", Ok(())),
                ("192.0.2.1", Ok(())),
                ("192.0.2.1", Err(Refused::Peer)),
                // The same peer at a socket for both families; his neighbour is another.
                ("::ffff:192.0.2.1", Err(Refused::Peer)),
                ("::ffff:192.0.2.2", Ok(())),
                ("2001:db8:0:1::1", Ok(())),
                ("2001:db8:0:1:ffff::2", Ok(())),
                ("2001:db8:0:1:1::3", Err(Refused::Peer)),
                ("2001:db8:0:2::1", Ok(())),
            ],
        );
        assert_eq!(permits.free(), 10, "what was refused holds no place");
        held.remove(0);
        let place = permits.try_take().expect("a place");
        assert!(permits.admit(place, "192.0.2.1".parse().expect("an address")).is_ok(), "given back");
        held.clear();
        assert!(permits.held().by_origin.is_empty(), "nobody is remembered");
        assert_eq!((permits.free(), permits.held().newcomers), (16, 0));
    }

    #[test]
    fn newcomers_leave_room_for_those_who_have_asked() {
        let shares = Shares { connections_max: 16, per_peer_max: 8, newcomers_max: 4 };
        let (permits, held) = check(
            shares,
            &[
                ("192.0.2.1", Ok(())),
                ("192.0.2.1", Ok(())),
                ("192.0.2.1", Err(Refused::PeerNewcomers)),
                ("192.0.2.2", Ok(())),
                ("192.0.2.3", Ok(())),
                ("192.0.2.4", Err(Refused::Newcomers)),
            ],
        );
        held[0].has_asked();
        held[0].has_asked();
        let place = permits.try_take().expect("a place");
        assert!(permits.admit(place, "192.0.2.4".parse().expect("an address")).is_ok());
        assert_eq!(permits.held().newcomers, 3, "counted once, given back with the connection");
    }
}
