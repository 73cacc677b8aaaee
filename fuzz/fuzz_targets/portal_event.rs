//! [`portal_event::look`] on whatever comes.
#![no_main]

#[path = "../entries/portal_event.rs"]
mod portal_event;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    portal_event::look(input);
});
