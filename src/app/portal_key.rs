//! The key that signs what the portal door says: access tokens, events, routing answers. Read, or made at the first
//! start. Servers that share a store must have the same one, or believe each other's while it is changed: each tells the
//! others which it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use tokio::sync::watch;

use super::{StartError, evidence_key};
use crate::config::Portal;
use crate::pki::jose::jwk::{Jwk, PublicKey, Purpose};
use crate::pki::jose::jws::SigningKey;
use crate::pki::key::{Readers, write_new};
use crate::portal::server::OtherKeys;
use crate::relay::Relay;
use crate::store::StoreError;
use crate::store::staging::{Beginning, PlaceName, Staging};

/// Each server keeps a place by its name, whose words are the id of its key.
pub const KIND: &str = "server-keys";
pub const OWNER: &str = "portal";
const TOLD_EVERY: Duration = Duration::from_secs(600);
/// A server that says nothing for so long is none.
const LASTS: Duration = Duration::from_secs(3600);

pub(super) fn load_or_make(path: &Path) -> Result<SigningKey, StartError> {
    let wrong = |what: String| StartError::PortalKey { path: path.to_owned(), what };
    if !path.try_exists().map_err(|error| wrong(error.to_string()))? {
        make(path).map_err(wrong)?;
        tracing::info!(path = %path.display(), "a key for the portal was made");
    }
    read(path).map_err(wrong)
}

pub fn read(path: &Path) -> Result<SigningKey, String> {
    SigningKey::from_pkcs8(&evidence_key::pkcs8(path)?).map_err(|error| error.to_string())
}

/// What is published beside `own`, and which of it is believed. A key that stands in both lists is a former one.
pub fn others(portal: &Portal, own: &str) -> Result<OtherKeys, (PathBuf, String)> {
    let mut known = BTreeSet::from([own.to_owned()]);
    let former = listed(&portal.former_keys, &mut known)?;
    let believed = listed(&portal.further_keys, &mut known)?;
    Ok(OtherKeys { believed, former })
}

/// What these files hold, a public key each or a set of them (RFC 7517, section 5), and was not known.
fn listed(files: &[PathBuf], known: &mut BTreeSet<String>) -> Result<Vec<PublicKey>, (PathBuf, String)> {
    let mut keys = Vec::new();
    for file in files {
        let wrong = |what: String| (file.clone(), what);
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let read = PublicKey::parse_all(&text).map_err(|error| wrong(error.to_string()))?;
        if read.iter().any(|key| key.purpose != Purpose::Signature) {
            return Err(wrong("it holds a key for encryption; the post office's own keys sign".to_owned()));
        }
        keys.extend(read.into_iter().filter(|key| known.insert(key.kid().to_owned())));
    }
    Ok(keys)
}

/// What others verify with. Refuses a key that no other server could name beside its own.
pub fn published(key: &SigningKey) -> Result<Jwk, String> {
    let jwk = key.jwk().clone();
    let text = serde_json::to_string(&jwk).map_err(|error| error.to_string())?;
    PublicKey::parse(&text).map_err(|error| error.to_string())?;
    Ok(jwk)
}

/// 4096 bits, as FIT-Connect demands of keys.
pub fn make(path: &Path) -> Result<(), String> {
    let failed = |_| "no RSA key could be made".to_owned();
    let key = KeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    write_new(path, evidence_key::to_pem(der.as_ref()).as_bytes(), Readers::Owner)
        .map_err(|error| error.to_string())
}

/// By what a server signs as a portal, and whom it believes besides.
#[derive(Debug, Clone)]
pub(super) struct Kids {
    pub own: String,
    pub further: Vec<String>,
}

/// Tells the other servers which key this one has, and the log where another one has one that is not believed here.
pub(super) async fn compare(
    relay: Arc<Relay>,
    node: Option<String>,
    kids: Option<Kids>,
    mut stop: watch::Receiver<bool>,
) {
    let (Some(staging), Some(node), Some(Kids { own: kid, further })) = (relay.staging(), node, kids) else {
        return;
    };
    let mut tick = tokio::time::interval(TOLD_EVERY);
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let others = match tell(staging, &node, &kid).await {
            Ok(others) => others,
            Err(error) => {
                tracing::debug!(%error, "the other servers' portal keys are not known");
                continue;
            }
        };
        let is_news = |(other, its): &(&String, &String)| known.get(*other) != Some(*its);
        for (other, its) in others.iter().filter(|(_, its)| !further.contains(its)).filter(is_news) {
            tracing::error!(
                code = "portal-key-differs",
                node = %other,
                its = %its,
                own = %kid,
                next_step = "copy portal.key of one server to all others, or name the public part of its key under \
                             portal.further_keys here, and restart",
                "another server of this store signs with another portal.key: a token of one is none at the other"
            );
        }
        known = others;
    }
}

/// Says it anew, and returns the others whose key is another.
async fn tell(staging: &dyn Staging, node: &str, kid: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let place = PlaceName { kind: KIND.to_owned(), owner: OWNER.to_owned(), name: node.to_owned() };
    staging.forget_place(&place).await?;
    let (count_max, bytes_max) = (u64::MAX, u64::MAX);
    let beginning = Beginning { note: kid.as_bytes(), bytes: 0, lasts: LASTS, count_max, bytes_max };
    staging.begin_place(&place, beginning).await?;
    let told = staging.places(KIND, OWNER, "").await?.into_iter();
    let told = told.map(|place| (place.name, String::from_utf8_lossy(&place.note).into_owned()));
    Ok(told.filter(|(name, its)| name != node && its != kid).collect())
}
