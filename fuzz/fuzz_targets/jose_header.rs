//! Tokens and encrypted messages of strangers: whatever the bytes, reading must not panic, and a message in pieces is judged
//! as it is in one. No token verifies that its key did not sign.
#![no_main]

use std::sync::LazyLock;

use amtsbote::pki::jose::jwe::{Scanner, Zip, inspect};
use amtsbote::pki::jose::jwk::PublicKey;
use amtsbote::pki::jose::jws::Unverified;
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<PublicKey> =
    LazyLock::new(|| PublicKey::parse(include_str!("../../tests/data/portal/signature.jwk")).expect("a key"));

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    let mut scanner = Scanner::new(Zip::Passes);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let pieces = scanner.feed(first).and_then(|()| scanner.feed(second)).and_then(|()| scanner.finish());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert_eq!(pieces.is_ok(), inspect(text, Zip::Passes).is_ok());
    if let Ok(facts) = pieces {
        assert!(text.ends_with(&facts.tag));
    }
    for typ in ["at+jwt", "secevent+jwt"] {
        if let Ok(read) = Unverified::parse(text, typ) {
            assert!(read.verify(&KEY).is_err());
        }
    }
    let _ = PublicKey::parse(text);
});
