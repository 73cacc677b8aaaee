//! [`portal_door::look`] on whatever comes.
#![no_main]

#[path = "../entries/portal_door.rs"]
mod portal_door;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    portal_door::look(input);
});
