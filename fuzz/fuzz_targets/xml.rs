//! The XML reader on arbitrary documents, cut anywhere.
//!
//! It must not panic, keep within its limits, and see the same document however it is cut. What it accepts it must
//! also be able to write and read back: a tree that changes on the way would change what a signature covers.
//! Input: one byte for the size of the pieces, the document.
#![no_main]

use amtsbote::xml::read::{Event, Reader};
use amtsbote::xml::{Error, Limits, tree};
use libfuzzer_sys::fuzz_target;

fn limits() -> Limits {
    Limits {
        depth_max: 16,
        attributes_max: 8,
        name_bytes_max: 32,
        attribute_value_bytes_max: 128,
        markup_bytes_max: 512,
        namespaces_max: 16,
        context_bytes_max: 1024,
        document_bytes_max: 1 << 20,
    }
}

/// One line per event; pieces of text are joined, because they may be cut anywhere.
fn read(document: &[u8], piece: usize) -> (Vec<String>, Result<(), Error>) {
    let mut seen: Vec<String> = Vec::new();
    let mut reader = Reader::new(limits());
    for mut input in document.chunks(piece) {
        loop {
            match reader.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => note(&mut seen, &event),
                Err(error) => {
                    assert_eq!(reader.next_event(&mut input).expect_err("an error stays"), error);
                    return (seen, Err(error));
                }
            }
        }
        assert!(input.is_empty(), "input was left over without an event");
    }
    (seen, reader.finish())
}

fn note(seen: &mut Vec<String>, event: &Event<'_>) {
    match event {
        Event::Start(tag) => {
            let name = tag.name();
            let mut line = format!("<{{{}}}{}", name.ns, name.local);
            for attribute in tag.attributes() {
                line.push_str(&format!(
                    " {{{}}}{}={:?}",
                    attribute.name.ns, attribute.name.local, attribute.value
                ));
            }
            seen.push(line);
        }
        Event::End(_) => seen.push(">".to_owned()),
        Event::Text(text) => match seen.last_mut() {
            Some(last) if last.starts_with('"') => last.push_str(text),
            _ => seen.push(format!("\"{text}")),
        },
        Event::Comment(text) => seen.push(format!("!{text}")),
        Event::ProcessingInstruction { target, data } => seen.push(format!("?{target} {data}")),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, document)) = input.split_first() else { return };
    let whole = read(document, document.len().max(1));
    for piece in [1, 2, usize::from(size).max(3)] {
        let cut = read(document, piece);
        // Where a refusal is noticed, and which of several faults comes first, depends on the pieces.
        assert_eq!(whole.1.is_ok(), cut.1.is_ok(), "outcome in pieces of {piece}");
        if whole.1.is_ok() {
            assert_eq!(whole.0, cut.0, "document in pieces of {piece}");
        }
    }
    let Ok(root) = tree::Element::parse(document, &limits(), &tree::Limits::default()) else { return };
    assert!(whole.1.is_ok(), "the tree took what the reader refused");
    let written = root.serialise_standalone();
    // Written anew it may be longer, by escapes and by declarations that its ancestors made.
    let again = tree::Element::parse(written.as_bytes(), &Limits::default(), &tree::Limits::default())
        .unwrap_or_else(|error| panic!("what was written is refused: {error}: {written}"));
    assert_eq!(written, again.serialise_standalone(), "not stable");
});
