//! The common case, found in one look at each byte: tags and text that are written the way Canonical XML writes
//! them, with names of ASCII and nothing to resolve or normalise. What is not plainly so is left to the reader's full
//! rules; nothing is refused here. That both ways agree is tested by reading every sample whole, where this room is
//! used, and in pieces, where it is not.
//!
//! A *run* goes further: text and whole elements, one after the other, that are their own canonical form and hold
//! nothing that anybody waits for, taken as bytes in one step ([`run`]).

use std::ops::Range;

use super::Limits;
use super::chars::check_chars;

const NAME_START: u8 = 1;
const NAME: u8 = 2;
/// May stand in a double-quoted value and mean itself.
const VALUE: u8 = 4;
/// May stand in text, means itself and is not escaped in canonical form.
const TEXT: u8 = 8;
/// Part of a character beyond ASCII.
const WIDE: u8 = 16;
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
        if b >= 0x80 {
            class |= WIDE;
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

/// What [`run`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Bytes of the run.
    pub taken: usize,
    /// Bytes that were looked at: another look before their end finds no more.
    pub seen: usize,
}

/// What a run must keep to, and memory that is used again.
pub(super) struct Runner<'a> {
    pub limits: &'a Limits,
    /// Elements that are open where the run begins, and bytes kept for them.
    pub depth: usize,
    pub kept: usize,
    pub attributes: &'a mut Vec<PlainAttribute>,
    pub open: &'a mut Vec<Range<usize>>,
}

/// The longest run that `input`, inside an element and between its markup, begins with: text and elements whose start
/// and end both lie in it, canonical as they stand (Canonical XML 1.0, section 2.3), without declarations, attributes
/// with a prefix and ID attributes. `permit` is asked about the prefixes of elements, the empty one included.
pub(super) fn run(input: &[u8], runner: Runner<'_>, mut permit: impl FnMut(&str) -> bool) -> Run {
    let Runner { limits, depth, mut kept, attributes, open } = runner;
    open.clear();
    let (mut at, mut taken, mut ascii) = (0, 0, true);
    let mut permitted: Option<&[u8]> = None;
    loop {
        let text = at;
        while is(input.get(at), TEXT | WIDE) {
            at += 1;
        }
        ascii = ascii && input.get(text..at).unwrap_or_default().is_ascii();
        if open.is_empty() {
            taken = at;
        }
        let rest = input.get(at..).unwrap_or_default();
        if let [b'<', b'/', closing @ ..] = rest {
            let Some(name) = open.last().and_then(|name| input.get(name.clone())) else { break };
            if !closing.starts_with(name) || closing.get(name.len()) != Some(&b'>') {
                break;
            }
            at += name.len() + 3;
            kept -= name.len();
            open.pop();
            if open.is_empty() {
                taken = at;
            }
        } else if let [b'<', ..] = rest {
            let Some(tag) = start_tag(rest, limits, attributes).filter(|tag| !tag.empty) else { break };
            let prefix = rest.get(1..1 + tag.prefix).unwrap_or_default();
            kept += tag.name;
            let fits = depth + open.len() < limits.depth_max && kept <= limits.context_bytes_max;
            if !fits || !are_plain_and_in_order(rest, attributes) {
                break;
            }
            if permitted != Some(prefix) {
                if !std::str::from_utf8(prefix).is_ok_and(&mut permit) {
                    break;
                }
                permitted = Some(prefix);
            }
            ascii &= tag.ascii;
            open.push(at + 1..at + 1 + tag.name);
            at += tag.end;
        } else if let Some(reference) =
            ["&amp;", "&lt;", "&gt;"].iter().find(|r| rest.starts_with(r.as_bytes()))
        {
            at += reference.len();
        } else {
            break;
        }
    }
    if !ascii {
        taken = whole_characters(input.get(..taken).unwrap_or_default());
    }
    Run { taken, seen: at }
}

/// Without prefix and declarations, no ID, and by name as canonical form wants them.
fn are_plain_and_in_order(tag: &[u8], attributes: &[PlainAttribute]) -> bool {
    let name = |attribute: &PlainAttribute| tag.get(attribute.name.clone()).unwrap_or_default();
    let plain = attributes.iter().all(|attribute| {
        let name = name(attribute);
        attribute.prefix == 0 && name != b"xmlns" && !name.eq_ignore_ascii_case(b"id")
    });
    plain && attributes.windows(2).all(|pair| matches!(pair, [before, after] if name(before) < name(after)))
}

/// Bytes of a run with characters beyond ASCII; a character that is cut by the end waits for its rest, and where there
/// is one that may not be, there is no run.
fn whole_characters(run: &[u8]) -> usize {
    let text = match std::str::from_utf8(run) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            run.get(..error.valid_up_to()).and_then(|run| std::str::from_utf8(run).ok()).unwrap_or_default()
        }
        Err(_) => return 0,
    };
    if check_chars(text).is_ok() { text.len() } else { 0 }
}
