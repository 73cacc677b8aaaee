//! DER as time stamps need it: [`der`](crate::pki::der) with the structure's name in every error, and integers and
//! booleans with their rules.

use super::Error;
use crate::pki::der;
pub(super) use crate::pki::der::{
    BIT_STRING, BOOLEAN, Element, GENERALIZED_TIME, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE, SET,
    UTF8_STRING, constructed, primitive, write_all,
};

/// Values one after the other; `what` names the structure in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: der::Reader<'a>,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: der::Reader(bytes), what }
    }

    fn wrong(&self) -> Error {
        Error::Malformed(self.what)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn value(&mut self) -> Result<Element<'a>, Error> {
        self.rest.next().ok_or_else(|| self.wrong())
    }

    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Error> {
        self.rest.expect(tag).ok_or_else(|| self.wrong())
    }

    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Error> {
        self.rest.optional(tag).ok_or_else(|| self.wrong())
    }

    /// Opens the next value, which is constructed.
    pub(super) fn enter(&mut self, tag: u8, what: &'static str) -> Result<Reader<'a>, Error> {
        Ok(Self::new(self.expect(tag)?.content, what))
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        if self.is_empty() { Ok(()) } else { Err(self.wrong()) }
    }
}

/// An integer's content in its shortest form.
pub(super) fn integer<'a>(value: Element<'a>, what: &'static str) -> Result<&'a [u8], Error> {
    der::integer(value.content).ok_or(Error::Malformed(what))
}

/// An integer that is not negative and not large.
pub(super) fn small(value: Element<'_>, what: &'static str) -> Result<u32, Error> {
    match der::magnitude(value.content) {
        Some(bytes) if bytes.len() <= 4 => {
            Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        _ => Err(Error::Malformed(what)),
    }
}

pub(super) fn boolean(value: Element<'_>, what: &'static str) -> Result<bool, Error> {
    match value.content {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Error::Malformed(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_integers_have_one_spelling() {
        let read = |content: &[u8]| small(Element { tag: INTEGER, content, whole: content }, "it").ok();
        assert_eq!(read(&[5]), Some(5));
        assert_eq!(read(&[0, 0x80]), Some(0x80));
        for content in [&[][..], &[0, 5], &[0xff, 0x80], &[0x80], &[1, 2, 3, 4, 5]] {
            assert_eq!(read(content), None, "{content:x?}");
        }
    }

    #[test]
    fn errors_name_what_was_read() {
        let mut reader = Reader::new(&[4, 2, 7], "it");
        assert!(matches!(reader.value(), Err(Error::Malformed("it"))));
        assert!(matches!(Reader::new(&[5, 0], "it").expect(SEQUENCE), Err(Error::Malformed("it"))));
        assert!(matches!(Reader::new(&[5, 0], "it").finish(), Err(Error::Malformed("it"))));
    }
}
