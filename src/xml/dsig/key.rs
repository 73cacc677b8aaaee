//! Signature values against public keys. The key is a SubjectPublicKeyInfo from a certificate the caller trusts for
//! this signer; that its kind fits the method is checked where all signatures are ([`crate::pki::signature`]).

use super::{Error, SignatureMethod};
use crate::pki::signature::{self, Algorithm, EcdsaForm, Hash};

fn algorithm(method: SignatureMethod) -> Algorithm {
    use SignatureMethod as M;
    match method {
        M::RsaSha256 => Algorithm::RsaPkcs1(Hash::Sha256),
        M::RsaSha384 => Algorithm::RsaPkcs1(Hash::Sha384),
        M::RsaSha512 => Algorithm::RsaPkcs1(Hash::Sha512),
        M::RsaPssSha256 => Algorithm::RsaPss(Hash::Sha256),
        M::RsaPssSha384 => Algorithm::RsaPss(Hash::Sha384),
        M::RsaPssSha512 => Algorithm::RsaPss(Hash::Sha512),
        M::RsaPssSha3_256 => Algorithm::RsaPss(Hash::Sha3_256),
        M::RsaPssSha3_384 => Algorithm::RsaPss(Hash::Sha3_384),
        M::RsaPssSha3_512 => Algorithm::RsaPss(Hash::Sha3_512),
        // XML Signature allows any hash with any curve.
        M::EcdsaSha256 => Algorithm::Ecdsa(Hash::Sha256, EcdsaForm::Plain),
        M::EcdsaSha384 => Algorithm::Ecdsa(Hash::Sha384, EcdsaForm::Plain),
        M::EcdsaSha512 => Algorithm::Ecdsa(Hash::Sha512, EcdsaForm::Plain),
    }
}

pub(super) fn verify(
    method: SignatureMethod,
    spki_der: &[u8],
    message: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    signature::verify(spki_der, algorithm(method), message, value).map_err(|error| match error {
        signature::Error::Key => Error::Key,
        signature::Error::Invalid => Error::SignatureInvalid,
    })
}
