//! Signature values against public keys. The key is a SubjectPublicKeyInfo from a certificate the caller trusts for
//! this signer; its kind must fit the method, so an RSA signature is never tried against an EC key or the reverse.

use aws_lc_rs::signature::{self as lc, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Error, SignatureMethod};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
}

impl Kind {
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match spki.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Some(Self::Rsa),
            "1.2.840.10045.2.1" => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
                match curve.as_str() {
                    "1.2.840.10045.3.1.7" => Some(Self::P256),
                    "1.3.132.0.34" => Some(Self::P384),
                    "1.3.132.0.35" => Some(Self::P521),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Bytes of r and of s.
    fn field_bytes(self) -> usize {
        match self {
            Self::Rsa => 0,
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

fn verifier(method: SignatureMethod, kind: Kind) -> Option<&'static dyn VerificationAlgorithm> {
    use SignatureMethod as M;
    Some(match (method, kind) {
        (M::RsaSha256, Kind::Rsa) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (M::RsaSha384, Kind::Rsa) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (M::RsaSha512, Kind::Rsa) => &lc::RSA_PKCS1_2048_8192_SHA512,
        (M::RsaPssSha256, Kind::Rsa) => &lc::RSA_PSS_2048_8192_SHA256,
        (M::RsaPssSha384, Kind::Rsa) => &lc::RSA_PSS_2048_8192_SHA384,
        (M::RsaPssSha512, Kind::Rsa) => &lc::RSA_PSS_2048_8192_SHA512,
        // XML Signature allows any hash with any curve; the provider has all pairs only in their DER form.
        (M::EcdsaSha256, Kind::P256) => &lc::ECDSA_P256_SHA256_ASN1,
        (M::EcdsaSha384, Kind::P256) => &lc::ECDSA_P256_SHA384_ASN1,
        (M::EcdsaSha512, Kind::P256) => &lc::ECDSA_P256_SHA512_ASN1,
        (M::EcdsaSha256, Kind::P384) => &lc::ECDSA_P384_SHA256_ASN1,
        (M::EcdsaSha384, Kind::P384) => &lc::ECDSA_P384_SHA384_ASN1,
        (M::EcdsaSha512, Kind::P384) => &lc::ECDSA_P384_SHA512_ASN1,
        (M::EcdsaSha256, Kind::P521) => &lc::ECDSA_P521_SHA256_ASN1,
        (M::EcdsaSha384, Kind::P521) => &lc::ECDSA_P521_SHA384_ASN1,
        (M::EcdsaSha512, Kind::P521) => &lc::ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}

pub(super) fn verify(
    method: SignatureMethod,
    spki_der: &[u8],
    message: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| Error::Key)?;
    let kind = Kind::of(&spki).ok_or(Error::Key)?;
    let verifier = verifier(method, kind).ok_or(Error::Key)?;
    let key = UnparsedPublicKey::new(verifier, spki.subject_public_key.data.as_ref());
    let outcome = match kind {
        Kind::Rsa => key.verify(message, value),
        Kind::P256 | Kind::P384 | Kind::P521 => {
            let der = ecdsa_der(value, kind.field_bytes()).ok_or(Error::SignatureInvalid)?;
            key.verify(message, &der)
        }
    };
    outcome.map_err(|_| Error::SignatureInvalid)
}

/// SEQUENCE { INTEGER r, INTEGER s } of r and s of fixed length side by side.
fn ecdsa_der(value: &[u8], field_bytes: usize) -> Option<Vec<u8>> {
    if value.len() != 2 * field_bytes {
        return None;
    }
    let (r, s) = value.split_at_checked(field_bytes)?;
    let body = [der_integer(r)?, der_integer(s)?].concat();
    let mut der = vec![0x30];
    // 2 * (66 + 3) bytes at most: one length byte, or two with the long form's mark.
    if body.len() > 127 {
        der.push(0x81);
    }
    der.push(u8::try_from(body.len()).ok()?);
    der.extend(body);
    Some(der)
}

fn der_integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let significant = bytes.iter().position(|&b| b != 0).and_then(|at| bytes.get(at..)).unwrap_or(&[0]);
    let sign = significant.first().is_some_and(|&b| b & 0x80 != 0);
    let mut der = vec![2, u8::try_from(significant.len() + usize::from(sign)).ok()?];
    der.extend(sign.then_some(0));
    der.extend_from_slice(significant);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_positive() {
        for (bytes, der) in [
            ([0u8, 0, 1].as_slice(), [2u8, 1, 1].as_slice()),
            (&[0, 0x80], &[2, 2, 0, 0x80]),
            (&[0x7f, 0], &[2, 2, 0x7f, 0]),
            (&[0, 0], &[2, 1, 0]),
        ] {
            assert_eq!(der_integer(bytes).as_deref(), Some(der));
        }
        assert_eq!(ecdsa_der(&[1; 63], 32), None);
        assert_eq!(ecdsa_der(&[1; 132], 66).map(|der| (der.len(), der[1])), Some((139, 0x81)));
    }
}
