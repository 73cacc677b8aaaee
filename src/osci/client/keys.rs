//! Who we are towards OSCI peers: a cipher certificate, which names our mailbox, and a signature certificate, each with
//! its key (OSCI12, sections 3.1 and 4.3).

use std::path::Path;

use crate::osci::message::certificates as wire;
use crate::pki::certificate::Certificate;
use crate::pki::key::{self, PrivateKey};
use crate::xml::dsig::SignatureMethod;
use crate::xml::dsig::sign::SigningKey;
use crate::xml::enc::RecipientKey;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error(
        "the key for {0} is not one in PKCS#8 that it can be used with; convert it: openssl pkcs8 -topk8 -nocrypt"
    )]
    Unusable(&'static str),
    #[error("the {0} holds no certificate")]
    Empty(&'static str),
}

/// A certificate and the key to sign with.
pub struct Signature {
    pub certificate: Certificate,
    pub key: SigningKey,
}

impl Signature {
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let certificate = own(certificate, "signature certificate")?;
        let key = PrivateKey::from_pem(key)?;
        let key = key.pkcs8_der().and_then(|der| SigningKey::from_pkcs8(der).ok());
        Ok(Self { certificate, key: key.ok_or(Error::Unusable("signatures"))? })
    }

    /// The method that fits the kind of key, with SHA-256 or the hash of the curve.
    pub fn method(&self) -> SignatureMethod {
        use crate::xml::dsig::sign::Signer as _;
        let tried =
            [SignatureMethod::EcdsaSha256, SignatureMethod::EcdsaSha384, SignatureMethod::EcdsaSha512];
        let fits = |method: &SignatureMethod| self.key.sign(*method, b"").is_some();
        tried.into_iter().find(fits).unwrap_or(SignatureMethod::RsaSha256)
    }
}

pub struct Keys {
    pub cipher: Certificate,
    pub cipher_key: RecipientKey,
    pub signature: Option<Signature>,
}

impl Keys {
    pub fn from_pem(cipher: &[u8], cipher_key: &[u8], signature: Option<Signature>) -> Result<Self, Error> {
        let cipher = own(cipher, "cipher certificate")?;
        let key = PrivateKey::from_pem(cipher_key)?;
        let key = key.pkcs8_der().and_then(RecipientKey::from_pkcs8);
        Ok(Self { cipher, cipher_key: key.ok_or(Error::Unusable("decryption"))?, signature })
    }

    pub fn load(cipher: (&Path, &Path), signature: Option<(&Path, &Path)>) -> Result<Self, Error> {
        let signature = signature
            .map(|(certificate, key)| {
                Signature::from_pem(&key::read_bounded(certificate)?, &key::read_bounded(key)?)
            })
            .transpose()?;
        Self::from_pem(&key::read_bounded(cipher.0)?, &key::read_bounded(cipher.1)?, signature)
    }

    /// Our certificates as a request names them.
    pub(super) fn originator(&self, with_cipher: bool, with_signature: bool) -> Vec<wire::Certificate> {
        let cipher = with_cipher
            .then(|| wire::Certificate::new(wire::Role::CipherOriginator, self.cipher.der().to_vec()));
        let signature = self.signature.as_ref().filter(|_| with_signature);
        let signature = signature.map(|signature| {
            wire::Certificate::new(wire::Role::SignatureOriginator, signature.certificate.der().to_vec())
        });
        cipher.into_iter().chain(signature).collect()
    }
}

fn own(pem: &[u8], what: &'static str) -> Result<Certificate, Error> {
    let chain = Certificate::chain_from_pem(pem).map_err(key::Error::from)?;
    chain.into_iter().next().ok_or(Error::Empty(what))
}
