//! [`jose_header::look`] on whatever comes.
#![no_main]

#[path = "../entries/jose_header.rs"]
mod jose_header;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    jose_header::look(input);
});
