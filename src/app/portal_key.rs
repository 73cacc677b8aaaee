//! The key that signs what the portal door says: access tokens, events, routing answers. Read, or made at the first
//! start. Servers that share a store must have the same one, or believe each other's while it is changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};

use super::{StartError, evidence_key};
use crate::config::Portal;
use crate::pki::jose::jwk::{Jwk, PublicKey, Purpose};
use crate::pki::jose::jws::SigningKey;
use crate::pki::key::{Readers, write_new};
use crate::portal::server::OtherKeys;

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
