//! The multipart reader (RFC 2046) on arbitrary bodies, cut anywhere.
//!
//! It must not panic, must hold what its limits allow and no more, and must say the same however the body is cut:
//! a part that ends elsewhere for another cut would be a message that two readers see differently.
//! Input: one byte for the size of the pieces, one line with the Content-Type, the body.
#![no_main]

use amtsbote::mime::media_type::MediaType;
use amtsbote::mime::read::{Event, MultipartReader};
use amtsbote::mime::{Error, Limits};
use libfuzzer_sys::fuzz_target;

type Parts = Vec<(Vec<(String, String)>, Vec<u8>)>;

fn read(content_type: &MediaType, body: &[u8], piece: usize) -> (Parts, Result<(), Error>) {
    let mut parts = Parts::new();
    let mut reader = match MultipartReader::new(content_type, limits()) {
        Ok(reader) => reader,
        Err(error) => return (parts, Err(error)),
    };
    for mut input in body.chunks(piece) {
        loop {
            match reader.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::EntityHeaders(_))) => panic!("entity headers inside a body"),
                Ok(Some(Event::PartStart(headers))) => parts.push((headers.fields().to_vec(), Vec::new())),
                Ok(Some(Event::Data(data))) => {
                    assert!(!data.is_empty(), "an event without data");
                    parts.last_mut().expect("data belongs to a part").1.extend_from_slice(data);
                }
                Ok(Some(Event::PartEnd | Event::End)) => {}
                Err(error) => {
                    let again = reader.next_event(&mut input).expect_err("an error stays");
                    assert_eq!(again, error);
                    return (parts, Err(error));
                }
            }
        }
        assert!(input.is_empty(), "input was left over without an event");
    }
    (parts, reader.finish())
}

/// Small, so that the fuzzer reaches them.
fn limits() -> Limits {
    Limits {
        header_block_bytes_max: 256,
        header_fields_max: 6,
        parts_max: 5,
        boundary_chars_max: 70,
        preamble_bytes_max: 128,
        epilogue_bytes_max: 128,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, rest)) = input.split_first() else { return };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let (head, body) = (&rest[..end], &rest[end + 1..]);
    let Ok(head) = std::str::from_utf8(head) else { return };
    let Ok(content_type) = MediaType::parse(head) else { return };
    let whole = read(&content_type, body, body.len().max(1));
    assert!(whole.0.len() <= limits().parts_max);
    let bytes: usize = whole.0.iter().map(|(_, part)| part.len()).sum();
    assert!(bytes <= body.len(), "more came out than went in");
    for piece in [1, 2, usize::from(size).max(3)] {
        let cut = read(&content_type, body, piece);
        // Where a refusal is noticed, and which of several faults comes first, depends on the pieces.
        assert_eq!(whole.1.is_ok(), cut.1.is_ok(), "outcome in pieces of {piece}");
        if whole.1.is_ok() {
            assert_eq!(whole.0, cut.0, "parts in pieces of {piece}");
        }
    }
});
