//! Tokens and encrypted messages of strangers: whatever the bytes, reading must not panic, and a message in pieces is judged
//! as it is in one. No token verifies that its key did not sign, and nothing inflates beyond its bound.
//! Input: one byte for where it is cut, then the token or message.

use std::sync::LazyLock;

use amtsbote::pki::jose::jwe::{OpeningKey, Scanner, Zip, inspect, open};
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::jose::jws::Unverified;
use amtsbote::pki::key::PrivateKey;

const CLEAR_BYTES_MAX: usize = 64 * 1024;

static KEY: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::parse(include_str!("../../tests/data/portal/signature.jwk")).expect("a key"));
static OPENS: LazyLock<OpeningKey> = LazyLock::new(|| {
    let pem = PrivateKey::from_pem(include_bytes!("../../tests/data/portal/encryption.key")).expect("a key");
    OpeningKey::from_pkcs8("authority-encryption-2026", pem.pkcs8_der().expect("PKCS #8"))
        .expect("an RSA key")
});

/// Whether it is an encrypted message.
pub fn look(input: &[u8]) -> bool {
    let Some((&cut, bytes)) = input.split_first() else { return false };
    let mut scanner = Scanner::new(Zip::Passes);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let pieces = scanner.feed(first).and_then(|()| scanner.feed(second)).and_then(|()| scanner.finish());
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let is_taken = pieces.is_ok();
    assert_eq!(is_taken, inspect(text, Zip::Passes).is_ok());
    if let Ok(facts) = pieces {
        assert!(text.ends_with(&facts.tag));
    }
    if let Ok(clear) = open(text, &OPENS, CLEAR_BYTES_MAX) {
        assert!(clear.len() <= CLEAR_BYTES_MAX.max(text.len()));
    }
    for typ in ["at+jwt", "secevent+jwt"] {
        if let Ok(read) = Unverified::parse(text, typ) {
            assert!(read.verify(&KEY).is_err());
        }
    }
    let _ = PublicKey::parse(text);
    is_taken
}
