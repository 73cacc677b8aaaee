//! JOSE in the compact form, as far as portals need it: signatures by PS512 (RFC 7515, RFC 7518 3.5), encryption by
//! RSA-OAEP-256 with A256GCM (RFC 7516, RFC 7518 4.3 and 5.3), RSA keys (RFC 7517).
//!
//! One algorithm for each purpose, and the header is compared with it, never followed: there is nothing to confuse. A
//! `kid` is a name to look up and nothing else; keys and addresses of keys inside a header are refused. Left out: the
//! JSON forms, other algorithms, compression, detached payloads, nesting.

pub mod jwe;
pub mod jwk;
pub mod jws;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

/// A protected header, in characters of base64url.
pub const HEADER_CHARS_MAX: usize = 4096;
/// A key's name, in bytes.
pub const KID_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("{what} is {seen:?}; only {allowed} is taken")]
    Algorithm { what: &'static str, allowed: &'static str, seen: String },
    #[error("the header parameter {0:?} is not taken")]
    Parameter(&'static str),
    #[error("no key is known under this kid")]
    KeyUnknown,
    #[error("the key: {0}")]
    Key(String),
    #[error("the signature does not verify")]
    Signature,
    #[error("it cannot be decrypted")]
    Sealed,
    #[error("what was compressed in it has more than {0} bytes")]
    TooLarge(usize),
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Strict: no padding, no white space, no bits left over.
pub fn decode(text: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Malformed("a part is not base64url"))
}

/// What counts in a header. A parameter that stands twice is refused; unknown ones mean nothing to us and are ignored, as
/// RFC 7515 4 wants it, unless `crit` says that they must not be.
#[derive(Debug, Default, Deserialize)]
struct Header {
    alg: Option<String>,
    enc: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
    kid: Option<String>,
    zip: Option<String>,
    crit: Option<serde_json::Value>,
    b64: Option<serde_json::Value>,
    jwk: Option<serde_json::Value>,
    jku: Option<serde_json::Value>,
    x5u: Option<serde_json::Value>,
    x5c: Option<serde_json::Value>,
}

impl Header {
    fn read(encoded: &str) -> Result<Self, Error> {
        if encoded.len() > HEADER_CHARS_MAX {
            return Err(Error::Malformed("the header is too long"));
        }
        let bytes = decode(encoded)?;
        let header: Self =
            serde_json::from_slice(&bytes).map_err(|_| Error::Malformed("the header is no JSON object"))?;
        let foreign = [
            ("crit", &header.crit),
            ("b64", &header.b64),
            ("jwk", &header.jwk),
            ("jku", &header.jku),
            ("x5u", &header.x5u),
            ("x5c", &header.x5c),
        ];
        let found = foreign.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name);
        found.map_or(Ok(header), |name| Err(Error::Parameter(name)))
    }

    fn kid(&self) -> Result<&str, Error> {
        let kid = self.kid.as_deref().ok_or(Error::Malformed("the header names no key (kid)"))?;
        if is_kid(kid) { Ok(kid) } else { Err(Error::Malformed("the kid is not a key's name")) }
    }
}

/// Printable ASCII without spaces, quotes and backslashes.
pub fn is_kid(kid: &str) -> bool {
    (1..=KID_BYTES_MAX).contains(&kid.len())
        && kid.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\<>".contains(&byte))
}

fn must_be(what: &'static str, value: Option<&str>, allowed: &'static str) -> Result<(), Error> {
    match value {
        Some(value) if value == allowed => Ok(()),
        seen => Err(Error::Algorithm {
            what,
            allowed,
            seen: seen.unwrap_or("absent").chars().filter(|c| !c.is_control()).take(40).collect(),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::jwe::OpeningKey;
    use super::jws::SigningKey;
    use crate::pki::key::PrivateKey;

    pub const ENCRYPTION_JWK: &str = include_str!("../../../tests/data/portal/encryption.jwk");
    pub const SIGNATURE_JWK: &str = include_str!("../../../tests/data/portal/signature.jwk");

    fn pkcs8(pem: &str) -> Vec<u8> {
        let key = PrivateKey::from_pem(pem.as_bytes()).expect("a key");
        key.pkcs8_der().expect("PKCS #8").to_vec()
    }

    pub fn signing_key() -> SigningKey {
        let der = pkcs8(include_str!("../../../tests/data/portal/service.key"));
        SigningKey::from_pkcs8(&der).expect("an RSA key")
    }

    pub fn opening_key() -> OpeningKey {
        let der = pkcs8(include_str!("../../../tests/data/portal/encryption.key"));
        OpeningKey::from_pkcs8("authority-encryption-2026", &der).expect("an RSA key")
    }
}
