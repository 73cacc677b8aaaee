//! AES-GCM as a stream (NIST SP 800-38D): content of any size passes in pieces of any size. The provider's safe
//! interface takes a message whole and knows only the 12-byte initialisation vector; its streams are AES-CBC, -CFB and -CTR
//! without GHASH. OSCI also has a vector of 16 bytes. Without additional data, as XML Encryption has it (section 5.2.4).
//!
//! With `unsafe`, beside `rsa.rs` alone. What holds of every call: the provider's context is never null, has one owner and
//! is freed once; pointers come from slices and arrays that live through the call, which keeps none of them; where input
//! and output are the same bytes, both pointers are one and the same; what the provider says it did is believed only
//! where it says success. After a failure the provider refuses the context, and the caller drops it.

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use aws_lc_sys as lc;

pub(super) const BLOCK: usize = 16;
pub(super) const TAG: usize = 16;
/// What one call of the provider takes, whose lengths are signed; whole blocks.
const CALL_BYTES_MAX: usize = 1 << 30;

/// A content on its way through.
struct Context(*mut lc::EVP_CIPHER_CTX);

// SAFETY: the context is owned, and nothing in it belongs to a thread.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `EVP_CIPHER_CTX_new`, owned here, freed once; null is allowed.
        unsafe { lc::EVP_CIPHER_CTX_free(self.0) }
    }
}

impl Context {
    /// `key` has 16, 24 or 32 bytes; `encrypts` is 1 or 0.
    fn new(key: &[u8], iv: &[u8], encrypts: c_int) -> Option<Self> {
        let iv_bytes = c_int::try_from(iv.len()).ok().filter(|bytes| *bytes > 0)?;
        // SAFETY: these take nothing and hand out static tables.
        let cipher = unsafe {
            match key.len() {
                16 => lc::EVP_aes_128_gcm(),
                24 => lc::EVP_aes_192_gcm(),
                32 => lc::EVP_aes_256_gcm(),
                _ => return None,
            }
        };
        // SAFETY: takes nothing.
        let context = Self(unsafe { lc::EVP_CIPHER_CTX_new() });
        if context.0.is_null() {
            return None;
        }
        // SAFETY: the context is not null; the length of the vector is told before its bytes are read, and the key has as
        // many bytes as the cipher reads.
        let ready = unsafe {
            lc::EVP_CipherInit_ex(context.0, cipher, null_mut(), null(), null(), encrypts) == 1
                && lc::EVP_CIPHER_CTX_ctrl(context.0, lc::EVP_CTRL_AEAD_SET_IVLEN, iv_bytes, null_mut()) == 1
                && lc::EVP_CipherInit_ex(context.0, null(), null_mut(), key.as_ptr(), iv.as_ptr(), encrypts)
                    == 1
        };
        ready.then_some(context)
    }

    /// In place. Fails where the counter would begin anew, after 64 GiB.
    fn apply(&mut self, bytes: &mut [u8]) -> Option<()> {
        for piece in bytes.chunks_mut(CALL_BYTES_MAX) {
            let length = c_int::try_from(piece.len()).ok()?;
            let (mut made, at) = (0, piece.as_mut_ptr());
            // SAFETY: the context is not null; input and output are the same `length` bytes by the same pointer, which the
            // provider allows, and nothing else refers to them. A stream cipher writes as many bytes as it reads.
            let done = unsafe { lc::EVP_CipherUpdate(self.0, at, &raw mut made, at.cast_const(), length) };
            if done != 1 || made != length {
                return None;
            }
        }
        Some(())
    }

    /// Ends the content; of a decryption whether the tag was right.
    fn end(&mut self) -> bool {
        let (mut nothing, mut made) = ([0; BLOCK], 0);
        // SAFETY: the context is not null; a stream cipher has nothing to add at its end, and a block would fit.
        unsafe { lc::EVP_CipherFinal_ex(self.0, nothing.as_mut_ptr(), &raw mut made) == 1 }
    }

    fn tag(&mut self, command: c_int, tag: &mut [u8; TAG]) -> Option<()> {
        // SAFETY: the context is not null; both commands take a buffer of as many bytes as they are told.
        let done =
            unsafe { lc::EVP_CIPHER_CTX_ctrl(self.0, command, TAG as c_int, tag.as_mut_ptr().cast()) == 1 };
        done.then_some(())
    }
}

pub(super) struct Encryption(Context);

impl Encryption {
    /// `key` has 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8], iv: &[u8]) -> Option<Self> {
        Context::new(key, iv, 1).map(Self)
    }

    /// In place.
    pub(super) fn apply(&mut self, content: &mut [u8]) -> Option<()> {
        self.0.apply(content)
    }

    pub(super) fn tag(mut self) -> Option<[u8; TAG]> {
        // The provider has the tag only once the content is at its end.
        let mut tag = [0; TAG];
        if !self.0.end() {
            return None;
        }
        self.0.tag(lc::EVP_CTRL_AEAD_GET_TAG, &mut tag)?;
        Some(tag)
    }
}

pub(super) struct Decryption(Context);

impl Decryption {
    /// `key` has 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8], iv: &[u8]) -> Option<Self> {
        Context::new(key, iv, 0).map(Self)
    }

    /// In place. What comes out proves nothing before [`Self::verify`] has said so.
    pub(super) fn apply(&mut self, ciphertext: &mut [u8]) -> Option<()> {
        self.0.apply(ciphertext)
    }

    /// Whether this is the tag of all that passed, compared in constant time.
    pub(super) fn verify(mut self, tag: &[u8]) -> bool {
        let Ok(mut tag) = <[u8; TAG]>::try_from(tag) else { return false };
        self.0.tag(lc::EVP_CTRL_AEAD_SET_TAG, &mut tag).is_some() && self.0.end()
    }
}
