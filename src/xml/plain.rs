//! The common case, found in one look at each byte: tags and text that are written the way Canonical XML writes
//! them, with names of ASCII and nothing to resolve or normalise. What is not plainly so is left to the reader's full
//! rules; nothing is refused here. That both ways agree is tested by reading every sample whole, where this room is
//! used, and in pieces, where it is not.
//!
//! A *run* goes further: text and whole elements, one after the other, whose canonical form is made of their own bytes
//! and of declarations of their prefixes, and that hold nothing anybody waits for, taken in one step ([`run`]).

use std::ops::Range;

use super::chars::check_chars;
use super::read::Permit;
use super::{Limits, escape};

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

#[inline(always)]
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
#[inline]
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
        let mut bits = 0;
        while let Some(&byte) = input.get(at).filter(|&byte| is(Some(byte), VALUE)) {
            bits |= byte;
            at += 1;
        }
        ascii &= bits.is_ascii();
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

/// Memory of [`run`] that is used again.
#[derive(Debug, Default)]
pub(super) struct Runner {
    /// The canonical form of the run.
    pub pieces: Vec<Piece>,
    attributes: Vec<PlainAttribute>,
    /// Names of the run's elements that are open.
    open: Vec<Range<usize>>,
    /// The prefixes that were asked about.
    known: Vec<Known>,
    /// How many elements were open where a prefix was declared, and which of those known it is.
    declared: Vec<(usize, usize)>,
}

impl Runner {
    /// A piece's bytes, given the input in which the run was found.
    pub fn octets<'a>(&'a self, piece: &Piece, input: &'a [u8]) -> &'a [u8] {
        match piece {
            Piece::Input(range) => input.get(range.clone()).unwrap_or_default(),
            Piece::Declaration(known) => {
                self.known.get(*known).map_or(&[], |known| known.declaration.as_bytes())
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Piece {
    Input(Range<usize>),
    /// The declaration of a known prefix.
    Declaration(usize),
}

#[derive(Debug)]
struct Known {
    prefix: Range<usize>,
    permit: Permit,
    /// As canonical form writes it, with the space before it.
    declaration: String,
}

/// Bytes of the input that one run looks at, so that what is kept of it is bounded too.
const RUN_BYTES_MAX: usize = 64 * 1024;
/// More prefixes than this end a run.
const KNOWN_MAX: usize = 8;

/// What surrounds a run.
pub(super) struct Around<'a> {
    pub limits: &'a Limits,
    /// Elements that are open where the run begins, and bytes kept for them.
    pub depth: usize,
    pub kept: usize,
}

/// A place where a run may end.
#[derive(Clone, Copy, Default)]
struct Safe {
    at: usize,
    /// Pieces that are complete there, and where the one that is not begins.
    pieces: usize,
    from: usize,
}

/// The longest run that `input`, inside an element and between its markup, begins with: text and elements whose start
/// and end both lie in it, canonical as they stand but for the order of attributes (Canonical XML 1.0, sections 2.2
/// and 2.3) and declarations that it adds, without declarations, attributes with a prefix and ID attributes. `permit` is
/// asked about the prefixes of elements, the empty one included; with [`Permit::Declared`] comes the namespace.
pub(super) fn run<'u>(
    input: &[u8],
    around: Around<'_>,
    runner: &mut Runner,
    mut permit: impl FnMut(&str) -> (Permit, &'u str),
) -> Run {
    let input = input.get(..RUN_BYTES_MAX).unwrap_or(input);
    let Around { limits, depth, mut kept } = around;
    let Runner { pieces, attributes, open, known, declared } = runner;
    open.clear();
    pieces.clear();
    known.clear();
    declared.clear();
    let (mut at, mut from, mut safe, mut ascii) = (0, 0, Safe::default(), true);
    loop {
        let text = at;
        while is(input.get(at), TEXT | WIDE) {
            at += 1;
        }
        ascii = ascii && input.get(text..at).unwrap_or_default().is_ascii();
        if open.is_empty() {
            safe = Safe { at, pieces: pieces.len(), from };
        }
        let rest = input.get(at..).unwrap_or_default();
        if let [b'<', b'/', closing @ ..] = rest {
            let Some(name) = open.last().and_then(|name| input.get(name.clone())) else { break };
            let closes = closing.get(..name.len()).is_some_and(|found| same(found, name));
            if !closes || closing.get(name.len()) != Some(&b'>') {
                break;
            }
            at += name.len() + 3;
            kept -= name.len();
            declared.pop_if(|(depth, _)| *depth == open.len());
            open.pop();
        } else if let [b'<', ..] = rest {
            let Some(tag) = start_tag(rest, limits, attributes).filter(|tag| !tag.empty) else { break };
            let prefix = rest.get(1..1 + tag.prefix).unwrap_or_default();
            kept += tag.name;
            let fits = depth + open.len() < limits.depth_max && kept <= limits.context_bytes_max;
            if !fits || !are_plain(rest, attributes) {
                break;
            }
            let is_it = |one: &Known| same(input.get(one.prefix.clone()).unwrap_or_default(), prefix);
            let number = match known.iter().position(is_it) {
                Some(number) => number,
                None if known.len() == KNOWN_MAX => break,
                None => {
                    let (permit, uri) =
                        std::str::from_utf8(prefix).map_or((Permit::Refused, ""), &mut permit);
                    let declaration =
                        if permit == Permit::Declared { declaration(prefix, uri) } else { String::new() };
                    known.push(Known { prefix: at + 1..at + 1 + tag.prefix, permit, declaration });
                    known.len() - 1
                }
            };
            let declares = match known.get(number).map_or(Permit::Refused, |known| known.permit) {
                Permit::Refused => break,
                Permit::Unread | Permit::AsItStands => false,
                Permit::Declared => declared.iter().all(|(_, known)| *known != number),
            };
            let in_order = are_in_order(rest, attributes);
            if !in_order {
                let name = |attribute: &PlainAttribute| rest.get(attribute.name.clone()).unwrap_or_default();
                attributes.sort_unstable_by(|one, other| name(one).cmp(name(other)));
                // Two of the same name are for the full rules to refuse.
                if !are_in_order(rest, attributes) {
                    break;
                }
            }
            if declares || !in_order {
                pieces.push(Piece::Input(from..at + 1 + tag.name));
                from = at + 1 + tag.name;
            }
            if declares {
                pieces.push(Piece::Declaration(number));
                declared.push((open.len() + 1, number));
            }
            if !in_order {
                // Each with the space before it and its quotes.
                let ranges = attributes.iter().map(|a| at + a.name.start - 1..at + a.value.end + 1);
                pieces.extend(ranges.map(Piece::Input));
                from = at + tag.end - 1;
            }
            ascii &= tag.ascii;
            open.push(at + 1..at + 1 + tag.name);
            at += tag.end;
        } else if let Some(reference) =
            ["&amp;", "&lt;", "&gt;"].iter().find(|reference| rest.starts_with(reference.as_bytes()))
        {
            at += reference.len();
        } else {
            break;
        }
    }
    let run = input.get(..safe.at).unwrap_or_default();
    let taken = if ascii { safe.at } else { whole_characters(run) };
    pieces.truncate(if taken == 0 { 0 } else { safe.pieces });
    if taken > safe.from {
        pieces.push(Piece::Input(safe.from..taken));
    }
    Run { taken, seen: at }
}

/// As Canonical XML writes it (section 2.3).
fn declaration(prefix: &[u8], uri: &str) -> String {
    let mut text = String::from(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
    text.push_str(std::str::from_utf8(prefix).unwrap_or_default());
    text.push_str("=\"");
    escape::attribute(uri, &mut |piece| text.push_str(piece));
    text.push('"');
    text
}

/// Equality of short names, without a call for each.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// Without prefix and declarations, and no ID.
fn are_plain(tag: &[u8], attributes: &[PlainAttribute]) -> bool {
    attributes.iter().all(|attribute| {
        let name = tag.get(attribute.name.clone()).unwrap_or_default();
        attribute.prefix == 0 && name != b"xmlns" && !name.eq_ignore_ascii_case(b"id")
    })
}

/// By name, each once, as canonical form wants them.
fn are_in_order(tag: &[u8], attributes: &[PlainAttribute]) -> bool {
    let name = |attribute: &PlainAttribute| tag.get(attribute.name.clone()).unwrap_or_default();
    // The first bytes nearly always tell, and need no call.
    let less = |before: &[u8], after: &[u8]| match (before.first(), after.first()) {
        (Some(one), Some(other)) if one != other => one < other,
        _ => before < after,
    };
    attributes.windows(2).all(|pair| matches!(pair, [before, after] if less(name(before), name(after))))
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
