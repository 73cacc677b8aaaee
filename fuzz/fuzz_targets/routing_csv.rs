//! [`routing_csv::look`] on whatever comes.
#![no_main]

#[path = "../entries/routing_csv.rs"]
mod routing_csv;

libfuzzer_sys::fuzz_target!(|text: &str| {
    routing_csv::look(text);
});
