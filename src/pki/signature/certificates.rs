//! What webpki does not know by itself: brainpool keys, and RSA keys that are restricted to RSASSA-PSS.
//!
//! The AlgorithmIdentifiers are compared as bytes, so a key's parameters must be those of the signature, or absent.

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use super::brainpool::{self, Brainpool};
use super::{EcdsaForm, Hash, lc};

const BRAINPOOL_P256R1: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x07",
);
const BRAINPOOL_P384R1: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0b",
);
const BRAINPOOL_P512R1: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0d",
);
const PSS_UNRESTRICTED: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a");

#[derive(Debug)]
struct OnBrainpool(Brainpool, Hash);

impl SignatureVerificationAlgorithm for OnBrainpool {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let digest = self.1.digest(message);
        brainpool::verify(self.0, key, digest.as_ref(), signature, EcdsaForm::Der)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Brainpool::P256r1 => BRAINPOOL_P256R1,
            Brainpool::P384r1 => BRAINPOOL_P384R1,
            Brainpool::P512r1 => BRAINPOOL_P512R1,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.1 {
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
            _ => alg_id::ECDSA_SHA256,
        }
    }
}

/// `restricted`: the key names the hash, too.
#[derive(Debug)]
struct PssKey {
    hash: Hash,
    restricted: bool,
}

impl SignatureVerificationAlgorithm for PssKey {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let verifier = match self.hash {
            Hash::Sha384 => &lc::RSA_PSS_2048_8192_SHA384,
            Hash::Sha512 => &lc::RSA_PSS_2048_8192_SHA512,
            _ => &lc::RSA_PSS_2048_8192_SHA256,
        };
        lc::UnparsedPublicKey::new(verifier, key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        if self.restricted { self.signature_alg_id() } else { PSS_UNRESTRICTED }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.hash {
            Hash::Sha384 => alg_id::RSA_PSS_SHA384,
            Hash::Sha512 => alg_id::RSA_PSS_SHA512,
            _ => alg_id::RSA_PSS_SHA256,
        }
    }
}

pub(in crate::pki) static FURTHER: [&dyn SignatureVerificationAlgorithm; 15] = [
    &OnBrainpool(Brainpool::P256r1, Hash::Sha256),
    &OnBrainpool(Brainpool::P256r1, Hash::Sha384),
    &OnBrainpool(Brainpool::P256r1, Hash::Sha512),
    &OnBrainpool(Brainpool::P384r1, Hash::Sha256),
    &OnBrainpool(Brainpool::P384r1, Hash::Sha384),
    &OnBrainpool(Brainpool::P384r1, Hash::Sha512),
    &OnBrainpool(Brainpool::P512r1, Hash::Sha256),
    &OnBrainpool(Brainpool::P512r1, Hash::Sha384),
    &OnBrainpool(Brainpool::P512r1, Hash::Sha512),
    &PssKey { hash: Hash::Sha256, restricted: false },
    &PssKey { hash: Hash::Sha384, restricted: false },
    &PssKey { hash: Hash::Sha512, restricted: false },
    &PssKey { hash: Hash::Sha256, restricted: true },
    &PssKey { hash: Hash::Sha384, restricted: true },
    &PssKey { hash: Hash::Sha512, restricted: true },
];
