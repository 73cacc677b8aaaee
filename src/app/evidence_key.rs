//! The key that signs the evidence log's checkpoints: read, or made at the first start.

use std::path::Path;

use super::StartError;
use crate::config::Evidence;
use crate::evidence::checkpoint::SigningKey;
use crate::pki::key::{self, Readers};

const LABEL_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const LABEL_END: &str = "-----END PRIVATE KEY-----";

pub(super) fn load_or_make(settings: &Evidence) -> Result<SigningKey, StartError> {
    let path = &settings.key;
    let wrong = |what: String| StartError::EvidenceKey { path: path.clone(), what };
    if path.try_exists().map_err(|error| wrong(error.to_string()))? {
        return read(path, &settings.origin).map_err(wrong);
    }
    let made = make(path, &settings.origin).map_err(wrong)?;
    tracing::info!(path = %path.display(), verifier = %made.verifier(), "a key for the evidence log was made");
    Ok(made)
}

/// A new key, which signs in the name of `origin`, in a file that must not exist yet.
pub fn make(path: &Path, origin: &str) -> Result<SigningKey, String> {
    let made = SigningKey::generate(origin).map_err(|error| error.to_string())?;
    let der = made.to_pkcs8().map_err(|error| error.to_string())?;
    key::write_new(path, to_pem(&der).as_bytes(), Readers::Owner).map_err(|error| error.to_string())?;
    Ok(made)
}

/// The key in `path`, which signs in the name of `origin`.
pub fn read(path: &Path, origin: &str) -> Result<SigningKey, String> {
    SigningKey::from_pkcs8(origin, &pkcs8(path)?).map_err(|error| error.to_string())
}

/// The key in `path` as it lies there, in PKCS #8.
pub(super) fn pkcs8(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = key::read_bounded(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "not a PEM file".to_owned())?;
    let body = text
        .split_once(LABEL_BEGIN)
        .and_then(|(_, rest)| rest.split_once(LABEL_END))
        .map(|(body, _)| body.split_whitespace().collect::<String>())
        .ok_or("no unencrypted private key (PKCS #8) in it")?;
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body)
        .map_err(|error| error.to_string())
}

pub(super) fn to_pem(der: &[u8]) -> String {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let mut out = format!("{LABEL_BEGIN}\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(LABEL_END);
    out.push('\n');
    out
}
