//! The key that signs what the portal door says: access tokens, events, routing answers. Read, or made at the first
//! start.

use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};

use super::{StartError, evidence_key};
use crate::pki::jose::jws::SigningKey;
use crate::pki::key::{Readers, write_new};

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

/// 4096 bits, as FIT-Connect demands of keys.
fn make(path: &Path) -> Result<(), String> {
    let failed = |_| "no RSA key could be made".to_owned();
    let key = KeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    write_new(path, evidence_key::to_pem(der.as_ref()).as_bytes(), Readers::Owner)
        .map_err(|error| error.to_string())
}
