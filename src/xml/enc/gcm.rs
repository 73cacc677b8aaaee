//! AES-GCM with the initialisation vector before and the tag behind the ciphertext (XML Encryption, section 5.2.4),
//! and with the 16-byte vector of OSCI, for which the main provider has no interface.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

pub(super) fn seal(key: &[u8], iv: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let sealed = if iv.len() == 16 {
        let nonce = iv.try_into().ok()?;
        match key.len() {
            16 => AesGcm::<Aes128, U16>::new_from_slice(key).ok()?.encrypt(nonce, plaintext).ok()?,
            24 => AesGcm::<Aes192, U16>::new_from_slice(key).ok()?.encrypt(nonce, plaintext).ok()?,
            _ => AesGcm::<Aes256, U16>::new_from_slice(key).ok()?.encrypt(nonce, plaintext).ok()?,
        }
    } else {
        let mut body = plaintext.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
        provider_key(key)?.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).ok()?;
        body
    };
    Some([iv, &sealed].concat())
}

/// The plaintext, if the tag is right.
pub(super) fn open(key: &[u8], iv_bytes: usize, content: &[u8]) -> Option<Vec<u8>> {
    let (iv, body) = content.split_at_checked(iv_bytes)?;
    if iv_bytes == 16 {
        let nonce = iv.try_into().ok()?;
        return match key.len() {
            16 => AesGcm::<Aes128, U16>::new_from_slice(key).ok()?.decrypt(nonce, body).ok(),
            24 => AesGcm::<Aes192, U16>::new_from_slice(key).ok()?.decrypt(nonce, body).ok(),
            _ => AesGcm::<Aes256, U16>::new_from_slice(key).ok()?.decrypt(nonce, body).ok(),
        };
    }
    let mut body = body.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
    let length = provider_key(key)?.open_in_place(nonce, Aad::empty(), &mut body).ok()?.len();
    body.truncate(length);
    Some(body)
}

fn provider_key(key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        _ => &AES_256_GCM,
    };
    Some(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?))
}
