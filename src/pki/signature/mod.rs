//! Signature values against public keys: on certificates, revocation lists, OCSP answers, time stamps and XML.
//!
//! One door for every algorithm that is accepted anywhere, so that the rule "the key's kind must fit the method" is
//! written once: an RSA signature is never tried against a curve's key, nor the reverse. aws-lc does the work where
//! it can. What it lacks works on public keys alone and has no secret whose timing could tell anything: brainpool
//! curves (`brainpool`) and RSASSA-PSS with SHA-3 (`pss`).
//!
//! Left out: SHA-1, MD5, RIPEMD-160, DSA, explicit curve parameters, compressed points, RSA outside 2048 to 8192 bit.
//! Whether a caller's own standard permits a pair of hash and key is the caller's to say.

mod brainpool;
mod brainpool512;
pub(super) mod certificates;
mod pss;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der;
pub(super) use brainpool::Brainpool;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the public key is malformed or of a kind that does not fit the signature algorithm")]
    Key,
    #[error("the signature value does not verify")]
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl Hash {
    pub fn digest(self, message: &[u8]) -> digest::Digest {
        digest::digest(self.algorithm(), message)
    }

    fn bytes(self) -> usize {
        self.algorithm().output_len()
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
            Self::Sha3_256 => &digest::SHA3_256,
            Self::Sha3_384 => &digest::SHA3_384,
            Self::Sha3_512 => &digest::SHA3_512,
        }
    }
}

/// How the two numbers of an ECDSA signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcdsaForm {
    /// `SEQUENCE { INTEGER r, INTEGER s }`, as X.509 and CMS have it.
    Der,
    /// r and s of the curve's length side by side, as XML Signature has it.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, 8.2); SHA-2 only.
    RsaPkcs1(Hash),
    /// RSASSA-PSS (RFC 8017, 8.1): MGF1 with the same hash, a salt as long as the hash, trailer 0xbc.
    RsaPss(Hash),
    /// SHA-2 only.
    Ecdsa(Hash, EcdsaForm),
    Ed25519,
}

/// A key's kind, as far as it decides who verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    /// Restricted to RSASSA-PSS by its identifier, and to one hash if it states parameters.
    RsaPss(Option<Hash>),
    P256,
    P384,
    P521,
    Brainpool(Brainpool),
    Ed25519,
}

impl Kind {
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match spki.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Some(Self::Rsa),
            "1.2.840.113549.1.1.10" => match &spki.algorithm.parameters {
                None => Some(Self::RsaPss(None)),
                Some(parameters) => pss::hash_of_parameters(parameters).map(|hash| Self::RsaPss(Some(hash))),
            },
            "1.3.101.112" => Some(Self::Ed25519),
            "1.2.840.10045.2.1" => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
                match curve.as_str() {
                    "1.2.840.10045.3.1.7" => Some(Self::P256),
                    "1.3.132.0.34" => Some(Self::P384),
                    "1.3.132.0.35" => Some(Self::P521),
                    other => Brainpool::from_oid(other).map(Self::Brainpool),
                }
            }
            _ => None,
        }
    }

    fn field_bytes(self) -> usize {
        match self {
            Self::Rsa | Self::RsaPss(_) | Self::Ed25519 => 0,
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
            Self::Brainpool(curve) => curve.field_bytes(),
        }
    }
}

/// Whether the key made the signature on the message. `spki_der` is a complete SubjectPublicKeyInfo.
pub fn verify(spki_der: &[u8], algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Error> {
    PublicKey::from_spki(spki_der)?.verify(algorithm, message, signature)
}

/// A public key that was read once, for whoever verifies many signatures with it.
pub struct PublicKey {
    kind: Kind,
    octets: Vec<u8>,
    /// As the provider prepared it, for each algorithm it was used with.
    prepared: Mutex<HashMap<Algorithm, Arc<ParsedPublicKey>>>,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?})", self.kind)
    }
}

impl PublicKey {
    /// Reads a complete SubjectPublicKeyInfo (DER).
    pub fn from_spki(spki_der: &[u8]) -> Result<Self, Error> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| Error::Key)?;
        if !rest.is_empty() || spki.subject_public_key.unused_bits != 0 {
            return Err(Error::Key);
        }
        let kind = Kind::of(&spki).ok_or(Error::Key)?;
        Ok(Self { kind, octets: spki.subject_public_key.data.to_vec(), prepared: Mutex::default() })
    }

    /// Whether the key made the signature on the message.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let (kind, key) = (self.kind, self.octets.as_slice());
        if let (Kind::RsaPss(Some(only)), Algorithm::RsaPss(hash)) = (kind, algorithm)
            && only != hash
        {
            return Err(Error::Key);
        }
        match (kind, algorithm) {
            (
                Kind::Rsa | Kind::RsaPss(_),
                Algorithm::RsaPss(hash @ (Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512)),
            ) => pss::verify(key, hash, message, signature),
            (
                Kind::Brainpool(curve),
                Algorithm::Ecdsa(hash @ (Hash::Sha256 | Hash::Sha384 | Hash::Sha512), form),
            ) => brainpool::verify(curve, key, hash.digest(message).as_ref(), signature, form),
            _ => {
                let key = self.prepared(algorithm)?;
                let outcome = match algorithm {
                    Algorithm::Ecdsa(_, EcdsaForm::Plain) => {
                        let der = ecdsa_der(signature, kind.field_bytes()).ok_or(Error::Invalid)?;
                        key.verify_sig(message, &der)
                    }
                    _ => key.verify_sig(message, signature),
                };
                outcome.map_err(|_| Error::Invalid)
            }
        }
    }

    fn prepared(&self, algorithm: Algorithm) -> Result<Arc<ParsedPublicKey>, Error> {
        let verifier = verifier(self.kind, algorithm).ok_or(Error::Key)?;
        // Nobody leaves the map half changed, so one who panicked left it good.
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = prepared.get(&algorithm) {
            return Ok(Arc::clone(key));
        }
        let key = ParsedPublicKey::new(verifier, &self.octets).map_err(|_| Error::Invalid)?;
        let key = Arc::new(key);
        prepared.insert(algorithm, Arc::clone(&key));
        Ok(key)
    }
}

/// Every pair of hash and curve in its DER form: the provider's fixed forms exist for three pairs only.
fn verifier(kind: Kind, algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use Algorithm::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
    use Hash::{Sha256, Sha384, Sha512};
    Some(match (kind, algorithm) {
        (Kind::Rsa, RsaPkcs1(Sha256)) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (Kind::Rsa, RsaPkcs1(Sha384)) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (Kind::Rsa, RsaPkcs1(Sha512)) => &lc::RSA_PKCS1_2048_8192_SHA512,
        (Kind::Rsa | Kind::RsaPss(_), RsaPss(Sha256)) => &lc::RSA_PSS_2048_8192_SHA256,
        (Kind::Rsa | Kind::RsaPss(_), RsaPss(Sha384)) => &lc::RSA_PSS_2048_8192_SHA384,
        (Kind::Rsa | Kind::RsaPss(_), RsaPss(Sha512)) => &lc::RSA_PSS_2048_8192_SHA512,
        (Kind::P256, Ecdsa(Sha256, _)) => &lc::ECDSA_P256_SHA256_ASN1,
        (Kind::P256, Ecdsa(Sha384, _)) => &lc::ECDSA_P256_SHA384_ASN1,
        (Kind::P256, Ecdsa(Sha512, _)) => &lc::ECDSA_P256_SHA512_ASN1,
        (Kind::P384, Ecdsa(Sha256, _)) => &lc::ECDSA_P384_SHA256_ASN1,
        (Kind::P384, Ecdsa(Sha384, _)) => &lc::ECDSA_P384_SHA384_ASN1,
        (Kind::P384, Ecdsa(Sha512, _)) => &lc::ECDSA_P384_SHA512_ASN1,
        (Kind::P521, Ecdsa(Sha256, _)) => &lc::ECDSA_P521_SHA256_ASN1,
        (Kind::P521, Ecdsa(Sha384, _)) => &lc::ECDSA_P521_SHA384_ASN1,
        (Kind::P521, Ecdsa(Sha512, _)) => &lc::ECDSA_P521_SHA512_ASN1,
        (Kind::Ed25519, Ed25519) => &lc::ED25519,
        _ => return None,
    })
}

/// SEQUENCE { INTEGER r, INTEGER s } of r and s of fixed length side by side.
fn ecdsa_der(value: &[u8], field_bytes: usize) -> Option<Vec<u8>> {
    if value.len() != 2 * field_bytes {
        return None;
    }
    let (r, s) = value.split_at_checked(field_bytes)?;
    Some(der::write_all(der::SEQUENCE, &[&der::write_magnitude(r), &der::write_magnitude(s)]))
}

#[cfg(test)]
mod tests;
