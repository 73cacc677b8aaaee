//! Keys that servers of one store must share, for a client is answered by any of them. Each server tells the others which
//! it has, and its log where another one has a key that is of no use here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::pki::certificate::Certificate;
use crate::relay::Relay;
use crate::store::StoreError;
use crate::store::staging::{Beginning, PlaceName, Staging};

/// Each server keeps a place by its name, whose words are the id of its key.
pub const KIND: &str = "server-keys";
const TOLD_EVERY: Duration = Duration::from_secs(600);
/// How soon a reload is noticed.
const LOOKED_EVERY: Duration = Duration::from_secs(5);
/// A server that says nothing for so long is none.
const LASTS: Duration = Duration::from_secs(3600);

/// The door that the key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Portal,
    Osci,
}

impl Door {
    pub fn owner(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Osci => "osci",
        }
    }

    pub fn keys(self) -> &'static str {
        match self {
            Self::Portal => "portal keys",
            Self::Osci => "OSCI keys",
        }
    }

    /// What a server does with its key, before the key's id.
    pub fn does(self) -> &'static str {
        match self {
            Self::Portal => "signs as",
            Self::Osci => "lets clients encrypt for",
        }
    }

    pub fn harm(self) -> &'static str {
        match self {
            Self::Portal => "a token of one is none at the other",
            Self::Osci => "what is encrypted for one cannot be read by the other",
        }
    }

    pub fn next_step(self) -> &'static str {
        match self {
            Self::Portal => {
                "copy portal.key of one server to all others, or name its public key under portal.further_keys, and \
                 restart them"
            }
            Self::Osci => {
                "name the same files under osci.cipher_certificates and osci.cipher_keys of all servers, and reload them"
            }
        }
    }

    /// How a key that was put in its place is taken up.
    pub fn takes_effect(self) -> &'static str {
        match self {
            Self::Portal => "restart it",
            Self::Osci => "reload it (SIGHUP)",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Portal => "portal-key-differs",
            Self::Osci => "osci-cipher-differs",
        }
    }
}

/// The key that this server has clients use, and what it takes of clients that have used another server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub door: Door,
    pub own: String,
    pub further: Vec<String>,
}

impl Held {
    /// What clients are to encrypt for, first, and what is still read besides.
    pub fn osci(cipher: &[Certificate]) -> Option<Self> {
        let ids: Vec<_> = cipher.iter().map(|certificate| certificate.fingerprint().to_string()).collect();
        let (own, further) = ids.split_first()?;
        Some(Self { door: Door::Osci, own: own.clone(), further: further.to_vec() })
    }
}

/// Tells the other servers which key this one has, and the log where another one has one that is of no use here. A reload may
/// change what is held.
pub(super) async fn compare(
    relay: Arc<Relay>,
    node: Option<String>,
    held: impl Fn() -> Option<Held>,
    mut stop: watch::Receiver<bool>,
) {
    let (Some(staging), Some(node)) = (relay.staging(), node) else { return };
    let mut tick = tokio::time::interval(LOOKED_EVERY);
    let mut last: Option<(Held, Instant)> = None;
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let Some(held) = held() else { return };
        match &last {
            Some((before, at)) if *before == held && at.elapsed() < TOLD_EVERY => continue,
            Some((before, _)) if *before != held => known.clear(),
            _ => {}
        }
        let door = held.door;
        let others = match tell(staging, &node, &held).await {
            Ok(others) => others,
            Err(error) => {
                tracing::debug!(%error, door = door.owner(), "the other servers' keys are not known");
                continue;
            }
        };
        let is_news = |(other, its): &(&String, &String)| known.get(*other) != Some(*its);
        for (other, its) in others.iter().filter(|(_, its)| !held.further.contains(its)).filter(is_news) {
            tracing::error!(
                code = door.code(),
                node = %other,
                its = %its,
                own = %held.own,
                next_step = door.next_step(),
                "another server of this store {} another key: {}",
                door.does(),
                door.harm()
            );
        }
        (known, last) = (others, Some((held, Instant::now())));
    }
}

/// Says it anew, and returns the others whose key is another.
async fn tell(
    staging: &dyn Staging,
    node: &str,
    held: &Held,
) -> Result<BTreeMap<String, String>, StoreError> {
    let (owner, own) = (held.door.owner(), &held.own);
    let place = PlaceName { kind: KIND.to_owned(), owner: owner.to_owned(), name: node.to_owned() };
    staging.forget_place(&place).await?;
    let (count_max, bytes_max) = (u64::MAX, u64::MAX);
    let beginning = Beginning { note: own.as_bytes(), bytes: 0, lasts: LASTS, count_max, bytes_max };
    staging.begin_place(&place, beginning).await?;
    let told = staging.places(KIND, owner, "").await?.into_iter();
    let told = told.map(|place| (place.name, String::from_utf8_lossy(&place.note).into_owned()));
    Ok(told.filter(|(name, its)| name != node && its != own).collect())
}
