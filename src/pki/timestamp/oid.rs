//! Object identifiers that time stamps name, as content bytes of their DER form.

use std::fmt;
use std::str::FromStr;

use super::Error;
use super::der::Element;

pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
pub(super) const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
pub(super) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
pub(super) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.7.2
pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.16.1.4, id-ct-TSTInfo
pub(super) const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// 1.2.840.113549.1.9.3
pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 1.2.840.113549.1.9.4
pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 1.2.840.113549.1.9.16.2.47
pub(super) const SIGNING_CERTIFICATE_V2: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];

/// Bytes of one identifier; real ones have about ten.
const BYTES_MAX: usize = 64;

/// An object identifier, written `1.2.3`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Oid(Vec<u8>);

impl Oid {
    pub(super) fn read(value: Element<'_>) -> Result<Self, Error> {
        let oid = Self(value.content.to_vec());
        // The shortest form of every number, the last one complete, none beyond 64 bits.
        match oid.to_string().parse::<Self>() {
            Ok(again) if again == oid => Ok(oid),
            _ => Err(Error::Malformed("an object identifier")),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut first) = (0_u64, true);
        for byte in &self.0 {
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 != 0 {
                continue;
            }
            if first {
                let root = (number / 40).min(2);
                write!(out, "{root}.{}", number - 40 * root)?;
                first = false;
            } else {
                write!(out, ".{number}")?;
            }
            number = 0;
        }
        Ok(())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Oid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Oid(text.chars().take(80).collect());
        let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
        let numbers = numbers.ok_or_else(wrong)?;
        let [root @ 0..=2, second, rest @ ..] = numbers.as_slice() else { return Err(wrong()) };
        if *root < 2 && *second >= 40 {
            return Err(wrong());
        }
        let first = second.checked_add(40 * root).ok_or_else(wrong)?;
        let mut bytes = Vec::new();
        for number in std::iter::once(first).chain(rest.iter().copied()) {
            let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
            for group in (0..groups).rev() {
                let more = if group > 0 { 0x80 } else { 0 };
                bytes.push((number >> (7 * group) & 0x7f) as u8 | more);
            }
        }
        if bytes.len() > BYTES_MAX { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::der::{self, Element};
    use super::*;

    #[test]
    fn identifiers_come_back() {
        for (text, bytes) in [("1.2.840.113549.1.9.4", MESSAGE_DIGEST), ("2.16.840.1.101.3.4.2.1", SHA256)] {
            assert_eq!(text.parse::<Oid>().expect("well-formed").bytes(), bytes);
            let value = Element { tag: der::OID, content: bytes, whole: bytes };
            assert_eq!(Oid::read(value).expect("DER").to_string(), text);
        }
        for text in ["", "1", "1.40", "3.1", "1.2.", "1.-2", "1.2.99999999999999999999999", "a.b"] {
            assert!(text.parse::<Oid>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_shortest_form_is_read() {
        for content in [&[][..], &[0x80, 0x01], &[0x2a, 0x80], &[0x2a, 0x80, 0x01], &[0xff; 12]] {
            assert!(Oid::read(Element { tag: der::OID, content, whole: content }).is_err(), "{content:x?}");
        }
    }
}
