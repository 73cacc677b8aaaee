//! ECDSA on the brainpool curves P256r1, P384r1 and P512r1 (RFC 5639, BSI TR-03111), verification only.
//!
//! Points and numbers that are out of range, at infinity or off the curve are refused by the curve crates' readers.
//! Left out: signing, key agreement, the twisted forms, compressed points.

use bp256::BrainpoolP256r1;
use bp384::BrainpoolP384r1;
use ecdsa::elliptic_curve::point::AffinePoint;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, Sec1Point};
use ecdsa::elliptic_curve::{CurveArithmetic, FieldBytesSize, ProjectivePoint};
use ecdsa::{EcdsaCurve, Signature, SignatureSize, hazmat};

use super::brainpool512::BrainpoolP512r1;
use super::{EcdsaForm, Error};
use crate::pki::der::{INTEGER, Reader, SEQUENCE, magnitude};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::pki) enum Brainpool {
    P256r1,
    P384r1,
    P512r1,
}

impl Brainpool {
    pub(in crate::pki) fn from_oid(oid: &str) -> Option<Self> {
        match oid {
            "1.3.36.3.3.2.8.1.1.7" => Some(Self::P256r1),
            "1.3.36.3.3.2.8.1.1.11" => Some(Self::P384r1),
            "1.3.36.3.3.2.8.1.1.13" => Some(Self::P512r1),
            _ => None,
        }
    }

    pub(super) fn field_bytes(self) -> usize {
        match self {
            Self::P256r1 => 32,
            Self::P384r1 => 48,
            Self::P512r1 => 64,
        }
    }
}

/// `point` is the uncompressed point of the SubjectPublicKeyInfo's bit string.
pub(super) fn verify(
    curve: Brainpool,
    point: &[u8],
    digest: &[u8],
    signature: &[u8],
    form: EcdsaForm,
) -> Result<(), Error> {
    // The readers know a compressed form and the point at infinity, too.
    if point.first() != Some(&4) || point.len() != 1 + 2 * curve.field_bytes() {
        return Err(Error::Key);
    }
    let plain = match form {
        EcdsaForm::Plain => signature.to_vec(),
        EcdsaForm::Der => plain_of_der(signature, curve.field_bytes()).ok_or(Error::Invalid)?,
    };
    match curve {
        Brainpool::P256r1 => verify_on::<BrainpoolP256r1>(point, digest, &plain),
        Brainpool::P384r1 => verify_on::<BrainpoolP384r1>(point, digest, &plain),
        Brainpool::P512r1 => verify_on::<BrainpoolP512r1>(point, digest, &plain),
    }
}

fn verify_on<C>(point: &[u8], digest: &[u8], plain: &[u8]) -> Result<(), Error>
where
    C: EcdsaCurve + CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ecdsa::elliptic_curve::array::ArraySize,
    AffinePoint<C>: FromSec1Point<C>,
{
    let encoded = Sec1Point::<C>::from_bytes(point).map_err(|_| Error::Key)?;
    let affine = Option::<AffinePoint<C>>::from(AffinePoint::<C>::from_sec1_point(&encoded));
    let key = ProjectivePoint::<C>::from(affine.ok_or(Error::Key)?);
    let signature = Signature::<C>::from_slice(plain).map_err(|_| Error::Invalid)?;
    hazmat::verify_prehashed(&key, digest, &signature).map_err(|_| Error::Invalid)
}

/// r and s side by side from strict DER: minimal lengths, minimal positive integers, nothing behind.
fn plain_of_der(der: &[u8], field_bytes: usize) -> Option<Vec<u8>> {
    let mut numbers = Reader(Reader::only(der, SEQUENCE)?.content);
    let mut plain = Vec::with_capacity(2 * field_bytes);
    for _ in 0..2 {
        let number = magnitude(numbers.expect(INTEGER)?.content)?;
        plain.resize(plain.len() + field_bytes.checked_sub(number.len())?, 0);
        plain.extend_from_slice(number);
    }
    numbers.is_empty().then_some(plain)
}
