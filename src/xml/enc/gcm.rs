//! AES-GCM as a stream (NIST SP 800-38D): content of any size passes in pieces of any size. The main provider takes
//! a message whole and knows only the 12-byte initialisation vector; OSCI also has one of 16 bytes. Without
//! additional data, as XML Encryption has it (section 5.2.4).

use aes::{Aes128, Aes192, Aes256};
use ctr::Ctr32BE;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

pub(super) const BLOCK: usize = 16;
pub(super) const TAG: usize = 16;

enum Counter {
    Aes128(Ctr32BE<Aes128>),
    Aes192(Ctr32BE<Aes192>),
    Aes256(Ctr32BE<Aes256>),
}

impl Counter {
    /// Fails where the counter would begin anew, after 64 GiB.
    fn apply(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128(counter) => counter.try_apply_keystream(bytes).ok(),
            Self::Aes192(counter) => counter.try_apply_keystream(bytes).ok(),
            Self::Aes256(counter) => counter.try_apply_keystream(bytes).ok(),
        }
    }
}

pub(super) struct Gcm {
    counter: Counter,
    hash: GHash,
    /// The first block of the key stream, which hides the tag.
    mask: [u8; BLOCK],
    /// Ciphertext that does not fill a block yet.
    pending: Vec<u8>,
    bytes: u64,
}

impl Gcm {
    /// `key` has 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8], iv: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Self::with(Aes128::new_from_slice(key).ok()?, iv, Counter::Aes128),
            24 => Self::with(Aes192::new_from_slice(key).ok()?, iv, Counter::Aes192),
            32 => Self::with(Aes256::new_from_slice(key).ok()?, iv, Counter::Aes256),
            _ => None,
        }
    }

    fn with<C>(cipher: C, iv: &[u8], wrap: impl FnOnce(Ctr32BE<C>) -> Counter) -> Option<Self>
    where
        C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
    {
        let mut hash_key = aes::Block::default();
        cipher.encrypt_block(&mut hash_key);
        let hash = GHash::new(&hash_key);
        let first = first_counter_block(&hash, iv);
        let core = ctr::CtrCore::inner_iv_init(cipher, &first.into());
        let mut counter = wrap(StreamCipherCoreWrapper::from_core(core));
        let mut mask = [0; BLOCK];
        counter.apply(&mut mask)?;
        Some(Self { counter, hash, mask, pending: Vec::with_capacity(BLOCK), bytes: 0 })
    }

    pub(super) fn encrypt(&mut self, bytes: &mut [u8]) -> Option<()> {
        self.counter.apply(bytes)?;
        self.absorb(bytes);
        Some(())
    }

    pub(super) fn decrypt(&mut self, bytes: &mut [u8]) -> Option<()> {
        self.absorb(bytes);
        self.counter.apply(bytes)
    }

    fn absorb(&mut self, mut ciphertext: &[u8]) {
        self.bytes += ciphertext.len() as u64;
        if !self.pending.is_empty() {
            let (head, rest) =
                ciphertext.split_at_checked(BLOCK - self.pending.len()).unwrap_or((ciphertext, &[]));
            self.pending.extend_from_slice(head);
            ciphertext = rest;
            if self.pending.len() < BLOCK {
                return;
            }
            self.hash.update_padded(&self.pending);
            self.pending.clear();
        }
        let (whole, rest) = ciphertext.split_at(ciphertext.len() - ciphertext.len() % BLOCK);
        self.hash.update_padded(whole);
        self.pending.extend_from_slice(rest);
    }

    pub(super) fn tag(mut self) -> [u8; TAG] {
        self.hash.update_padded(&self.pending);
        let hashed = with_lengths(self.hash, self.bytes);
        std::array::from_fn(|at| hashed.get(at).unwrap_or(&0) ^ self.mask.get(at).unwrap_or(&0))
    }
}

/// SP 800-38D, section 7.1, step 2.
fn first_counter_block(hash: &GHash, iv: &[u8]) -> [u8; BLOCK] {
    if iv.len() == 12 {
        let mut block = [0; BLOCK];
        for (to, from) in block.iter_mut().zip(iv.iter().chain(&[0, 0, 0, 1])) {
            *to = *from;
        }
        return block;
    }
    let mut hash = hash.clone();
    hash.update_padded(iv);
    with_lengths(hash, iv.len() as u64)
}

/// Ends a hash with the lengths in bits: no additional data, then `bytes`.
fn with_lengths(mut hash: GHash, bytes: u64) -> [u8; BLOCK] {
    hash.update(&[(u128::from(bytes) * 8).to_be_bytes().into()]);
    hash.finalize().into()
}
