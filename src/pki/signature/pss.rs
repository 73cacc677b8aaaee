//! RSASSA-PSS with SHA-3 and MGF1 over the same hash (RFC 8017, 8.1.2 and 9.1.2), verification only.
//!
//! No provider at hand has the pair, so the encoding is checked here; the one public-key operation, s^e mod n, is
//! the bignum library's. That is safe because nothing here is secret: key, message and signature are all known to
//! whoever sent them, so neither timing nor memory can tell anything. There is one strict reading: the salt is as
//! long as the hash, as the XML identifiers demand (RFC 9231, 2.3.10), and every bit of the encoding is compared.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Integer, Odd, Resize};
use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::signature_algorithm::RsaSsaPssParams;

use super::{Error, Hash};

const MODULUS_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;
/// As the provider bounds it; a longer exponent only costs time.
const EXPONENT_BITS_MAX: u32 = 33;

pub(super) fn verify(key: &[u8], hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let (modulus, exponent) = public_key(key)?;
    let encoded = public_operation(&modulus, &exponent, signature)?;
    // The encoded message is one bit shorter than the modulus, so a modulus of 8k+1 bits has a byte more.
    let bits = modulus.as_ref().bit_width() - 1;
    let length = bits.div_ceil(8) as usize;
    let (above, encoded) =
        encoded.split_at_checked(encoded.len().saturating_sub(length)).ok_or(Error::Invalid)?;
    if above.iter().any(|&byte| byte != 0) {
        return Err(Error::Invalid);
    }
    if is_encoding(encoded, bits, hash, message) { Ok(()) } else { Err(Error::Invalid) }
}

/// The hash to which a key's own parameters restrict it (RFC 4055, 3.1), if they are of the one form accepted here.
pub(super) fn hash_of_parameters(parameters: &Any<'_>) -> Option<Hash> {
    let parameters = RsaSsaPssParams::try_from(parameters).ok()?;
    let hash = hash_of_oid(&parameters.hash_algorithm_oid().to_id_string())?;
    let mask = parameters.mask_gen_algorithm().ok()?;
    let salt_bytes = usize::try_from(parameters.salt_length()).ok()?;
    let fits = mask.mgf.to_id_string() == "1.2.840.113549.1.1.8"
        && hash_of_oid(&mask.hash.to_id_string()) == Some(hash)
        && salt_bytes <= hash.bytes()
        && parameters.trailer_field() == 1;
    fits.then_some(hash)
}

fn hash_of_oid(oid: &str) -> Option<Hash> {
    Some(match oid {
        "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        "2.16.840.1.101.3.4.2.8" => Hash::Sha3_256,
        "2.16.840.1.101.3.4.2.9" => Hash::Sha3_384,
        "2.16.840.1.101.3.4.2.10" => Hash::Sha3_512,
        _ => return None,
    })
}

fn public_key(der: &[u8]) -> Result<(Odd<BoxedUint>, BoxedUint), Error> {
    let (rest, key) = RSAPublicKey::from_der(der).map_err(|_| Error::Key)?;
    let positive = |bytes: &[u8]| bytes.first().is_some_and(|first| first & 0x80 == 0);
    if !rest.is_empty() || !positive(key.modulus) || !positive(key.exponent) {
        return Err(Error::Key);
    }
    let number = |bytes: &[u8]| {
        let significant = bytes.iter().position(|&byte| byte != 0).and_then(|at| bytes.get(at..))?;
        let precision = u32::try_from(significant.len()).ok()?.checked_mul(8)?;
        // Beyond any bound, and so never allocated for.
        if precision > *MODULUS_BITS.end() {
            return None;
        }
        BoxedUint::from_be_slice(significant, precision).ok()
    };
    let modulus = number(key.modulus).ok_or(Error::Key)?;
    let exponent = number(key.exponent).ok_or(Error::Key)?;
    let odd_exponent = bool::from(exponent.is_odd()) && exponent.bit_width() > 1;
    if !MODULUS_BITS.contains(&modulus.bit_width())
        || !odd_exponent
        || exponent.bit_width() > EXPONENT_BITS_MAX
    {
        return Err(Error::Key);
    }
    let modulus = Option::<Odd<BoxedUint>>::from(Odd::new(modulus)).ok_or(Error::Key)?;
    Ok((modulus, exponent))
}

/// s^e mod n, as many bytes as n has. A signature of another length or not below n is none.
fn public_operation(
    modulus: &Odd<BoxedUint>,
    exponent: &BoxedUint,
    signature: &[u8],
) -> Result<Vec<u8>, Error> {
    let bytes = modulus.as_ref().bit_width().div_ceil(8) as usize;
    if signature.len() != bytes {
        return Err(Error::Invalid);
    }
    let precision = modulus.as_ref().bits_precision();
    let base = BoxedUint::from_be_slice(signature, precision).map_err(|_| Error::Invalid)?;
    if base >= *modulus.as_ref() {
        return Err(Error::Invalid);
    }
    let params = BoxedMontyParams::new_vartime(modulus.clone());
    let power = BoxedMontyForm::new(base, &params).pow_bounded_exp(exponent, exponent.bit_width()).retrieve();
    let all = power.resize(precision).to_be_bytes();
    all.get(all.len().saturating_sub(bytes)..).map(<[u8]>::to_vec).ok_or(Error::Invalid)
}

/// EMSA-PSS-VERIFY with a salt of the hash's length.
fn is_encoding(encoded: &[u8], bits: u32, hash: Hash, message: &[u8]) -> bool {
    let digest = hash.digest(message);
    let hash_bytes = digest.as_ref().len();
    let Some((&0xbc, body)) = encoded.split_last() else { return false };
    let Some(masked_bytes) = body.len().checked_sub(hash_bytes) else { return false };
    let Some((masked, seen)) = body.split_at_checked(masked_bytes) else { return false };
    // Bits of the first byte that lie above the encoding's length.
    let unused = encoded.len() * 8 - bits as usize;
    let low = 0xff_u8 >> unused;
    if masked.first().is_none_or(|first| first & !low != 0) {
        return false;
    }
    let mut block: Vec<u8> =
        masked.iter().zip(mask(hash, seen, masked_bytes)).map(|(byte, mask)| byte ^ mask).collect();
    if let Some(first) = block.first_mut() {
        *first &= low;
    }
    let Some(padding) = masked_bytes.checked_sub(hash_bytes) else { return false };
    let Some((padding, salt)) = block.split_at_checked(padding) else { return false };
    let Some((1, zeros)) = padding.split_last() else { return false };
    if zeros.iter().any(|&byte| byte != 0) {
        return false;
    }
    let expected = hash.digest(&[&[0; 8], digest.as_ref(), salt].concat());
    expected.as_ref() == seen
}

/// MGF1 (RFC 8017, B.2.1).
fn mask(hash: Hash, seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    let seed = seed.to_vec();
    (0_u32..)
        .flat_map(move |counter| {
            let block = hash.digest(&[seed.as_slice(), &counter.to_be_bytes()].concat());
            block.as_ref().to_vec()
        })
        .take(length)
}
