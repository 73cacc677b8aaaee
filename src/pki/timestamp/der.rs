//! DER (X.690) as time stamps need it: values one after the other out of a slice, and values put together.
//!
//! Only DER is read: definite lengths in their shortest form, tags of one byte. What a verifier reads otherwise than a
//! signer wrote it is how two readers come to see two different stamps. Left out: every type with rules of its own
//! beyond those of [`integer`] and [`boolean`].

use super::Error;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[n]`, constructed.
pub(super) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}
/// `[n]`, primitive.
pub(super) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// Tag and length included.
    pub whole: &'a [u8],
}

impl<'a> Value<'a> {
    pub(super) fn reader(self, what: &'static str) -> Reader<'a> {
        Reader { rest: self.content, what }
    }
}

/// Values one after the other; `what` names the structure in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    fn wrong(&self) -> Error {
        Error::Malformed(self.what)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn value(&mut self) -> Result<Value<'a>, Error> {
        let wrong = self.wrong();
        let [tag, first, after @ ..] = self.rest else { return Err(wrong) };
        if tag & 0x1f == 0x1f {
            return Err(wrong);
        }
        let (length, body) = match *first {
            short if short < 0x80 => (usize::from(short), after),
            long => {
                let count = usize::from(long & 0x7f);
                if !(1..=4).contains(&count) {
                    return Err(wrong);
                }
                let (digits, body) = after.split_at_checked(count).ok_or(wrong.clone())?;
                let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
                if digits.first() == Some(&0) || length < 0x80 {
                    return Err(wrong);
                }
                (length, body)
            }
        };
        let (content, rest) = body.split_at_checked(length).ok_or(wrong.clone())?;
        let whole = self.rest.get(..self.rest.len() - rest.len()).ok_or(wrong)?;
        self.rest = rest;
        Ok(Value { tag: *tag, content, whole })
    }

    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Error> {
        let value = self.value()?;
        if value.tag == tag { Ok(value) } else { Err(self.wrong()) }
    }

    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Error> {
        if self.rest.first() == Some(&tag) { self.value().map(Some) } else { Ok(None) }
    }

    /// Opens the next value, which is constructed.
    pub(super) fn enter(&mut self, tag: u8, what: &'static str) -> Result<Reader<'a>, Error> {
        Ok(self.expect(tag)?.reader(what))
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong()) }
    }
}

/// An integer's content in its shortest form.
pub(super) fn integer<'a>(value: Value<'a>, what: &'static str) -> Result<&'a [u8], Error> {
    match value.content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Error::Malformed(what)),
        content => Ok(content),
    }
}

/// An integer that is not negative and not large.
pub(super) fn small(value: Value<'_>, what: &'static str) -> Result<u32, Error> {
    match integer(value, what)? {
        content if content.len() <= 4 && content.first().is_some_and(|first| *first < 0x80) => {
            Ok(content.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        _ => Err(Error::Malformed(what)),
    }
}

pub(super) fn boolean(value: Value<'_>, what: &'static str) -> Result<bool, Error> {
    match value.content {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Error::Malformed(what)),
    }
}

/// One value around these contents.
pub(super) fn wrap(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let skip = digits.iter().take_while(|digit| **digit == 0).count();
        out.push(0x80 | (digits.len() - skip) as u8);
        out.extend(digits.iter().skip(skip));
    }
    contents.iter().for_each(|content| out.extend_from_slice(content));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(u8, usize)>) {
        let read = Reader::new(bytes, "it").value().ok();
        assert_eq!(read.map(|value| (value.tag, value.content.len())), expected, "{bytes:x?}");
    }

    #[test]
    fn only_the_shortest_definite_form_is_read() {
        check(&[0x30, 0], Some((0x30, 0)));
        check(&[0x04, 1, 7, 9], Some((0x04, 1)));
        check(&[0x04, 2, 7], None);
        check(&[0x30, 0x80, 0, 0], None);
        check(&[0x04, 0x81, 1, 7], None);
        check(&[0x04, 0x82, 0, 0x80], None);
        check(&[0x04, 0x85, 0, 0, 0, 0, 0], None);
        check(&[0x1f, 0x20, 0], None);
        check(&[0x04, 0xff], None);
        check(&[], None);
        for length in [0, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let written = wrap(OCTET_STRING, &[&vec![1; length]]);
            check(&written, Some((OCTET_STRING, length)));
        }
    }

    #[test]
    fn integers_have_one_spelling() {
        let read = |content: &[u8]| small(Value { tag: INTEGER, content, whole: content }, "it").ok();
        assert_eq!(read(&[5]), Some(5));
        assert_eq!(read(&[0, 0x80]), Some(0x80));
        for content in [&[][..], &[0, 5], &[0xff, 0x80], &[0x80], &[1, 2, 3, 4, 5]] {
            assert_eq!(read(content), None, "{content:x?}");
        }
    }
}
