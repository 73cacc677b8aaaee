//! RSA for key transport: OAEP with any pairing of digest and mask, which the provider's safe interface does not
//! offer, and PKCS#1 1.5 without telling whether the padding was right. The private operation, blinded and in
//! constant time, and the check of OAEP are the provider's.
//!
//! With `unsafe`, beside `gcm.rs` alone: each call hands the provider pointers that live through it.

use std::ptr::{null, null_mut};
use std::sync::Arc;

use aws_lc_sys as lc;

use super::OaepHash;

const BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// An RSA key of the provider; private or public, as it was read.
struct Key(*mut lc::EVP_PKEY);

// SAFETY: the provider counts references atomically and locks what it caches in a key; nothing here changes one.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: made by a parse function, owned here, freed once.
        unsafe { lc::EVP_PKEY_free(self.0) }
    }
}

impl Key {
    fn parse(der: &[u8], parse: unsafe extern "C" fn(*mut lc::CBS) -> *mut lc::EVP_PKEY) -> Option<Self> {
        // SAFETY: `cbs` is initialised over `der`, which outlives both calls; null is refused before use.
        let (key, rest) = unsafe {
            let mut cbs = lc::CBS { data: null(), len: 0 };
            lc::CBS_init(&raw mut cbs, der.as_ptr(), der.len());
            (parse(&raw mut cbs), cbs.len)
        };
        if key.is_null() {
            return None;
        }
        let key = Self(key);
        // SAFETY: the key is not null.
        let (kind, bits) = unsafe { (lc::EVP_PKEY_id(key.0), lc::EVP_PKEY_bits(key.0)) };
        let fits = kind == lc::EVP_PKEY_RSA && u32::try_from(bits).is_ok_and(|bits| BITS.contains(&bits));
        (fits && rest == 0).then_some(key)
    }

    fn bytes(&self) -> usize {
        // SAFETY: the key is not null.
        usize::try_from(unsafe { lc::EVP_PKEY_size(self.0) }).unwrap_or_default()
    }
}

struct Operation(*mut lc::EVP_PKEY_CTX);

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: made by `EVP_PKEY_CTX_new`, owned here, freed once; null is allowed.
        unsafe { lc::EVP_PKEY_CTX_free(self.0) }
    }
}

impl Operation {
    fn new(
        key: &Key,
        init: unsafe extern "C" fn(*mut lc::EVP_PKEY_CTX) -> std::ffi::c_int,
        padding: std::ffi::c_int,
    ) -> Option<Self> {
        // SAFETY: the key is not null and outlives the call; the context holds its own reference.
        let operation = Self(unsafe { lc::EVP_PKEY_CTX_new(key.0, null_mut()) });
        if operation.0.is_null() {
            return None;
        }
        // SAFETY: the context is not null.
        let ready =
            unsafe { init(operation.0) == 1 && lc::EVP_PKEY_CTX_set_rsa_padding(operation.0, padding) == 1 };
        ready.then_some(operation)
    }

    fn oaep(self, digest: OaepHash, mask: OaepHash) -> Option<Self> {
        // SAFETY: the context is not null; digests are static.
        let ready = unsafe {
            lc::EVP_PKEY_CTX_set_rsa_oaep_md(self.0, digest_of(digest)) == 1
                && lc::EVP_PKEY_CTX_set_rsa_mgf1_md(self.0, digest_of(mask)) == 1
        };
        ready.then_some(self)
    }

    fn run(&self, act: Act, input: &[u8], key: &Key) -> Option<Vec<u8>> {
        let mut out = vec![0; key.bytes()];
        let mut length = out.len();
        // SAFETY: `out` has `length` bytes, `input` its own; the provider writes `length` bytes at most.
        let done = unsafe { act(self.0, out.as_mut_ptr(), &raw mut length, input.as_ptr(), input.len()) };
        out.truncate(length);
        (done == 1).then_some(out)
    }
}

type Act =
    unsafe extern "C" fn(*mut lc::EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> std::ffi::c_int;

fn digest_of(hash: OaepHash) -> *const lc::EVP_MD {
    // SAFETY: these take nothing and hand out static tables.
    unsafe {
        match hash {
            OaepHash::Sha1 => lc::EVP_sha1(),
            OaepHash::Sha256 => lc::EVP_sha256(),
            OaepHash::Sha384 => lc::EVP_sha384(),
            OaepHash::Sha512 => lc::EVP_sha512(),
            OaepHash::Sha3_256 => lc::EVP_sha3_256(),
            OaepHash::Sha3_384 => lc::EVP_sha3_384(),
            OaepHash::Sha3_512 => lc::EVP_sha3_512(),
        }
    }
}

/// A recipient's private key, parsed once. Clones share it.
#[derive(Clone)]
pub struct RecipientKey(Arc<Key>);

impl std::fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecipientKey")
    }
}

impl RecipientKey {
    /// Reads an RSA key of 2048 to 8192 bits (PKCS#8, DER).
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Key::parse(der, lc::EVP_parse_private_key).map(|key| Self(Arc::new(key)))
    }

    pub(super) fn oaep(&self, digest: OaepHash, mask: OaepHash, wrapped: &[u8]) -> Option<Vec<u8>> {
        let operation = Operation::new(&self.0, lc::EVP_PKEY_decrypt_init, lc::RSA_PKCS1_OAEP_PADDING)?;
        operation.oaep(digest, mask)?.run(lc::EVP_PKEY_decrypt, wrapped, &self.0)
    }

    /// Puts the key that `wrapped` holds into `key`, which comes filled at random and stays as it is if padding or
    /// length is wrong; neither answer nor work nor the places touched tell which.
    pub(super) fn pkcs1(&self, wrapped: &[u8], key: &mut [u8]) -> Option<()> {
        let operation = Operation::new(&self.0, lc::EVP_PKEY_decrypt_init, lc::RSA_NO_PADDING)?;
        let block = operation.run(lc::EVP_PKEY_decrypt, wrapped, &self.0)?;
        take_pkcs1(&block, key)
    }
}

/// `00 02`, at least eight bytes that are not zero, `00`, the key: with the key's length known there is one place
/// for everything.
fn take_pkcs1(block: &[u8], key: &mut [u8]) -> Option<()> {
    let (head, content) = block.split_at_checked(block.len().checked_sub(key.len())?)?;
    let (&[first, second, ref filling @ .., end], true) = (head, head.len() >= 11) else { return None };
    let mut bad = first | (second ^ 2) | end;
    for &byte in filling {
        bad |= all_ones_if_zero(byte);
    }
    let keep = !all_ones_if_zero(bad);
    for (to, &from) in key.iter_mut().zip(content) {
        *to = std::hint::black_box((*to & keep) | (from & !keep));
    }
    Some(())
}

/// 0xff for 0, else 0, without a branch.
fn all_ones_if_zero(byte: u8) -> u8 {
    let wide = u32::from(std::hint::black_box(byte));
    (wide.wrapping_sub(1) >> 24) as u8
}

/// Wraps `key` by PKCS#1 1.5, for one who cannot OAEP.
pub(super) fn wrap_pkcs1(key: &[u8], spki_der: &[u8]) -> Option<Vec<u8>> {
    let public = Key::parse(spki_der, lc::EVP_parse_public_key)?;
    let operation = Operation::new(&public, lc::EVP_PKEY_encrypt_init, lc::RSA_PKCS1_PADDING)?;
    operation.run(lc::EVP_PKEY_encrypt, key, &public)
}

/// Wraps `key` for the holder of a certificate's key (SubjectPublicKeyInfo, DER).
pub(super) fn wrap(key: &[u8], digest: OaepHash, mask: OaepHash, spki_der: &[u8]) -> Option<Vec<u8>> {
    let public = Key::parse(spki_der, lc::EVP_parse_public_key)?;
    let operation = Operation::new(&public, lc::EVP_PKEY_encrypt_init, lc::RSA_PKCS1_OAEP_PADDING)?;
    operation.oaep(digest, mask)?.run(lc::EVP_PKEY_encrypt, key, &public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkcs1_blocks() {
        let good = [&[0, 2][..], &[7; 8], &[0], &[9; 16]].concat();
        let changed = |at: usize, byte| {
            let mut block = good.clone();
            block[at] = byte;
            block
        };
        let longer = [&[0, 2][..], &[7; 9], &[0], &[9; 15]].concat();
        let shorter = [&[0, 2][..], &[7; 7], &[0], &[9; 17]].concat();
        for (block, expected) in [
            (good.clone(), 9),
            (changed(0, 1), 5),
            (changed(1, 1), 5),
            (changed(2, 0), 5),
            (changed(9, 0), 5),
            (changed(10, 1), 5),
            (longer, 5),
            (shorter, 5),
        ] {
            let mut key = [5; 16];
            take_pkcs1(&block, &mut key).unwrap();
            assert_eq!(key, [expected; 16], "{block:?}");
        }
        assert!(take_pkcs1(&good[1..], &mut [5; 16]).is_none());
        for byte in 0..=255 {
            assert_eq!(all_ones_if_zero(byte), if byte == 0 { 0xff } else { 0 });
        }
    }
}
