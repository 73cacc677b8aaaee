//! DER (X.690, 10) as this room needs it beside certificates: tags of one byte, definite lengths in their shortest form,
//! nothing copied.
//!
//! What a verifier reads otherwise than a signer wrote it is how two readers come to see two different things, so every
//! other form is refused. A signature is over bytes: elements are handed out with the bytes they were read from.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub(in crate::pki) const BOOLEAN: u8 = 0x01;
pub(in crate::pki) const INTEGER: u8 = 0x02;
pub(in crate::pki) const BIT_STRING: u8 = 0x03;
pub(in crate::pki) const OCTET_STRING: u8 = 0x04;
pub(in crate::pki) const NULL: u8 = 0x05;
pub(in crate::pki) const OID: u8 = 0x06;
pub(in crate::pki) const ENUMERATED: u8 = 0x0a;
pub(in crate::pki) const UTF8_STRING: u8 = 0x0c;
pub(in crate::pki) const GENERALIZED_TIME: u8 = 0x18;
pub(in crate::pki) const SEQUENCE: u8 = 0x30;
pub(in crate::pki) const SET: u8 = 0x31;

/// `[number] EXPLICIT`, and `[number] IMPLICIT` of something constructed.
pub(in crate::pki) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// `[number] IMPLICIT` of something primitive.
pub(in crate::pki) const fn primitive(number: u8) -> u8 {
    0x80 | number
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pki) struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// Tag and length included.
    pub whole: &'a [u8],
}

/// What is left of a sequence's content.
#[derive(Debug, Clone, Copy)]
pub(in crate::pki) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
                if length < 0x80 || bytes.first() == Some(&0) {
                    return None;
                }
                (length, rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, content, whole })
    }

    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// Takes the element only if it bears the tag.
    pub fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Some(None) }
    }

    /// The one element in an explicit tag's content.
    pub fn only(content: &'a [u8], tag: u8) -> Option<Element<'a>> {
        let mut reader = Self(content);
        let element = reader.expect(tag)?;
        reader.is_empty().then_some(element)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An INTEGER's content, in its shortest form.
pub(in crate::pki) fn integer(content: &[u8]) -> Option<&[u8]> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => None,
        content => Some(content),
    }
}

/// The magnitude of an INTEGER that is not negative, without the byte that says so.
pub(in crate::pki) fn magnitude(content: &[u8]) -> Option<&[u8]> {
    match integer(content)? {
        [0, rest @ ..] if !rest.is_empty() => Some(rest),
        [first, ..] if first & 0x80 != 0 => None,
        content => Some(content),
    }
}

pub(in crate::pki) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    write_all(tag, &[content])
}

/// One element around these contents.
pub(in crate::pki) fn write_all(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut out = vec![tag];
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    contents.iter().for_each(|content| out.extend_from_slice(content));
    out
}

/// An INTEGER of a magnitude, whatever zeros stand before it.
pub(in crate::pki) fn write_magnitude(bytes: &[u8]) -> Vec<u8> {
    let significant = bytes.iter().position(|byte| *byte != 0).and_then(|at| bytes.get(at..)).unwrap_or(&[0]);
    let sign: &[u8] = if significant.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    write_all(INTEGER, &[sign, significant])
}

/// `YYYYMMDDHHMMSSZ`, the one form that RFC 5280 and RFC 6960 permit.
pub(in crate::pki) fn time(content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize, length: usize| text.get(at..at + length)?.parse::<i16>().ok();
    let small = |at: usize| number(at, 2).and_then(|value| i8::try_from(value).ok());
    let civil =
        DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, 0).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_and_within() {
        for (bytes, expected) in [
            (&[4, 1, 7][..], Some(&[7][..])),
            (&[4, 0x81, 1, 7], None),
            (&[4, 0x82, 0, 1, 7], None),
            (&[4, 0x80, 0, 0], None),
            (&[4, 0x85, 0, 0, 0, 0, 1, 7], None),
            (&[4, 2, 7], None),
            (&[0x1f, 1, 7], None),
            (&[4], None),
            (&[], None),
        ] {
            assert_eq!(Reader(bytes).next().map(|element| element.content), expected, "{bytes:?}");
        }
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![9; length];
            let whole = write(OCTET_STRING, &content);
            let element = Reader::only(&whole, OCTET_STRING).expect("read");
            assert_eq!((element.content, element.whole), (content.as_slice(), whole.as_slice()));
        }
    }

    #[test]
    fn integers_have_one_spelling() {
        for (content, whole, without_sign) in [
            (&[5][..], true, Some(&[5][..])),
            (&[0], true, Some(&[0])),
            (&[0, 0x80], true, Some(&[0x80])),
            (&[0x80], true, None),
            (&[0xff, 0x7f], true, None),
            (&[], false, None),
            (&[0, 5], false, None),
            (&[0xff, 0x80], false, None),
        ] {
            assert_eq!(integer(content).is_some(), whole, "{content:x?}");
            assert_eq!(magnitude(content), without_sign, "{content:x?}");
        }
        for (bytes, written) in [
            (&[0, 0, 5][..], &[2, 1, 5][..]),
            (&[0, 0x80], &[2, 2, 0, 0x80]),
            (&[0x7f, 0], &[2, 2, 0x7f, 0]),
            (&[0, 0], &[2, 1, 0]),
            (&[], &[2, 1, 0]),
        ] {
            assert_eq!(write_magnitude(bytes), written, "{bytes:x?}");
        }
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("20261123120000Z", Some("2026-11-23T12:00:00Z")),
            ("20261123120000", None),
            ("20261123120000.5Z", None),
            ("20261323120000Z", None),
            ("20260230120000Z", None),
            ("+0261123120000Z", None),
            ("202611231200Z", None),
        ] {
            assert_eq!(time(text.as_bytes()).map(|at| at.to_string()).as_deref(), expected, "{text}");
        }
    }
}
