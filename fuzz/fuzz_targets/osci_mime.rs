//! The multipart reader on OSCI's form of it, whose MIME headers stand in the body, on arbitrary bytes cut anywhere.
//!
//! It must not panic, and must say the same however the bytes are cut. Input: one byte for the size of the pieces, the
//! message.
#![no_main]

use amtsbote::mime::read::{Event, MultipartReader};
use amtsbote::mime::{Error, Limits};
use libfuzzer_sys::fuzz_target;

type Parts = Vec<(Vec<(String, String)>, Vec<u8>)>;

fn read(message: &[u8], piece: usize) -> (Parts, Result<(), Error>) {
    let (mut parts, mut entities) = (Parts::new(), 0);
    let mut reader = MultipartReader::with_entity_headers(Limits {
        preamble_bytes_max: 128,
        epilogue_bytes_max: 128,
        ..Limits::default()
    });
    for mut input in message.chunks(piece) {
        loop {
            match reader.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::EntityHeaders(_))) => entities += 1,
                Ok(Some(Event::PartStart(headers))) => parts.push((headers.fields().to_vec(), Vec::new())),
                Ok(Some(Event::Data(data))) => {
                    parts.last_mut().expect("data belongs to a part").1.extend_from_slice(data);
                }
                Ok(Some(Event::PartEnd | Event::End)) => {}
                Err(error) => return (parts, Err(error)),
            }
        }
    }
    assert!(entities <= 1, "two entities");
    (parts, reader.finish())
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, message)) = input.split_first() else { return };
    let whole = read(message, message.len().max(1));
    for piece in [1, usize::from(size).max(2)] {
        let cut = read(message, piece);
        // Where a refusal is noticed, and which of several faults comes first, depends on the pieces.
        assert_eq!(whole.1.is_ok(), cut.1.is_ok(), "outcome in pieces of {piece}");
        if whole.1.is_ok() {
            assert_eq!(whole.0, cut.0, "parts in pieces of {piece}");
        }
    }
});
