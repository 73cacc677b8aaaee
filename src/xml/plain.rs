//! The common case, found in one look at each byte: tags and text that are written the way Canonical XML writes
//! them, with names of ASCII and nothing to resolve or normalise. What is not plainly so is left to the reader's full
//! rules; nothing is refused here. That both ways agree is tested by reading every sample whole, where this room is
//! used, and in pieces, where it is not.

use std::ops::Range;

use super::Limits;

const NAME_START: u8 = 1;
const NAME: u8 = 2;
/// May stand in a double-quoted value and mean itself.
const VALUE: u8 = 4;
/// May stand in text, means itself and is not escaped in canonical form.
const TEXT: u8 = 8;
/// Beyond it, a look at each byte costs more than the searches that look at many.
const TEXT_BYTES_MAX: usize = 96;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphabetic() || b == b'_' {
            class |= NAME_START;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') {
            class |= NAME;
        }
        if b >= b' ' && !matches!(b, b'<' | b'&' | b'"') {
            class |= VALUE;
        }
        if b < 0x80 && (b >= b' ' || matches!(b, b'\t' | b'\n')) && !matches!(b, b'<' | b'&' | b'>' | b']') {
            class |= TEXT;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
}

fn is(byte: Option<&u8>, class: u8) -> bool {
    byte.is_some_and(|&byte| CLASSES.get(usize::from(byte)).is_some_and(|found| found & class != 0))
}

#[derive(Debug, Clone)]
pub(super) struct PlainAttribute {
    pub name: Range<usize>,
    pub prefix: usize,
    pub value: Range<usize>,
}

#[derive(Debug)]
pub(super) struct PlainTag {
    /// Bytes of the name, which begins behind the `<`.
    pub name: usize,
    pub prefix: usize,
    /// Bytes of the whole tag.
    pub end: usize,
    pub empty: bool,
    /// All bytes are ASCII.
    pub ascii: bool,
}

/// A name from `at` on: its end, and the bytes of its prefix.
fn name(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut end, mut prefix) = (at, 0);
    if !is(input.get(end), NAME_START) {
        return None;
    }
    loop {
        end += 1;
        if is(input.get(end), NAME) {
            continue;
        }
        if input.get(end) != Some(&b':') {
            return Some((end, prefix));
        }
        if prefix != 0 || !is(input.get(end + 1), NAME_START) {
            return None;
        }
        prefix = end - at;
        end += 1;
    }
}

/// The start tag that `input` begins with. `attributes` is filled with what it has, declarations included.
pub(super) fn start_tag(
    input: &[u8],
    limits: &Limits,
    attributes: &mut Vec<PlainAttribute>,
) -> Option<PlainTag> {
    attributes.clear();
    let (mut at, prefix) = name(input, 1)?;
    let name_bytes = at - 1;
    let mut ascii = true;
    let empty = loop {
        match input.get(at)? {
            b'>' => break false,
            b'/' if input.get(at + 1) == Some(&b'>') => break true,
            b' ' => {}
            _ => return None,
        }
        let start = at + 1;
        let (end, prefix) = name(input, start)?;
        if input.get(end) != Some(&b'=') || input.get(end + 1) != Some(&b'"') {
            return None;
        }
        let value = end + 2;
        at = value;
        while is(input.get(at), VALUE) {
            ascii &= input.get(at).is_some_and(u8::is_ascii);
            at += 1;
        }
        if input.get(at) != Some(&b'"')
            || end - start > limits.name_bytes_max
            || at - value > limits.attribute_value_bytes_max
            || attributes.len() == limits.attributes_max
        {
            return None;
        }
        attributes.push(PlainAttribute { name: start..end, prefix, value: value..at });
        at += 1;
    };
    let end = at + if empty { 2 } else { 1 };
    let fits = name_bytes <= limits.name_bytes_max && end <= limits.markup_bytes_max;
    fits.then_some(PlainTag { name: name_bytes, prefix, end, empty, ascii })
}

/// Bytes of text up to a `<`, if all of it is plain and short.
pub(super) fn text(input: &[u8]) -> Option<usize> {
    let end = input.iter().take(TEXT_BYTES_MAX).position(|byte| !is(Some(byte), TEXT))?;
    (end > 0 && input.get(end) == Some(&b'<')).then_some(end)
}
