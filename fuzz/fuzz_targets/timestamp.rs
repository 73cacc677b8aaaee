//! Answers of a time stamp authority, and the tokens in them, from arbitrary bytes.
//!
//! Reading must not panic and keeps within its bounds; what is read comes back from its own bytes as the same token.
//! Whatever the bytes, an answer to a question of ours is only accepted with our nonce over our bytes.
#![no_main]

use amtsbote::pki::timestamp::{Authorities, Request, Token, Tolerance, accept, token_of};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let request = Request::new(b"bytes", [7; 16], None);
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    let accepted = accept(input, &request, &Authorities::default(), &Tolerance::default(), now);
    assert!(accepted.is_err(), "nobody is believed");
    let token = token_of(input).unwrap_or(input);
    if let Ok(read) = Token::read(token) {
        assert_eq!(Token::read(read.der()).as_ref(), Ok(&read));
        assert!(read.certificates().contains(read.signer()));
        let _ = read.covers(b"bytes");
    }
});
