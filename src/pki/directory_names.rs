//! Constraints on directory names (RFC 5280, section 4.2.1.10), compared as section 7.1 wants it.
//!
//! A name lies in a subtree if it begins with the subtree's relative names. Two of those are equal if they hold the same
//! attributes in any order; text is equal after RFC 4518, whatever ASN.1 string it is written in: compatibility forms,
//! case, invisible characters and the number of spaces do not count. Values that are no text are compared as bytes.
//! What cannot be compared is judged against the certificate: it is in no permitted subtree and in every excluded one.
//!
//! Names come in and a sentence goes out; which certificates stand below which is the path's affair. Left out:
//! `minimum` and `maximum`, which the standard forbids, constraints on other kinds of names.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;

use super::certificate::Certificate;
use super::der::{OID, Reader, SEQUENCE, constructed};

const SET: u8 = 0x31;
const DIRECTORY_NAME: u8 = constructed(4);
/// Of a kind of name that nobody bears and webpki compares with nothing else.
const SET_ASIDE: u8 = constructed(3);

/// Attributes of a relative name, and relative names of a name, that are compared; more are refused.
const PARTS_MAX: usize = 64;
/// Subtrees of one certificate.
const SUBTREES_MAX: usize = 256;

/// An attribute's value as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Other(Vec<u8>),
}

/// Object identifier and value, as one set; sorted, for the order says nothing.
type RelativeName = Vec<(Vec<u8>, Value)>;

/// A directory name, the root's end first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<RelativeName>);

/// Subtrees of directory names in one certificate's name constraints.
#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    permitted: Vec<Name>,
    excluded: Vec<Name>,
    /// Where the tags of these names stand in the bytes that were read.
    tags: Vec<usize>,
}

impl Constraints {
    /// From the content of a NameConstraints sequence that stands at `at` in some other bytes. Nothing where it cannot
    /// be understood; then it is for others to refuse.
    fn read(content: &[u8], at: usize) -> Option<Self> {
        let mut constraints = Self::default();
        let mut lists = Reader(content);
        let offset = |rest: &[u8], end: usize| at + end - rest.len();
        for (tag, is_excluded) in [(constructed(0), false), (constructed(1), true)] {
            let Some(list) = lists.optional(tag)? else { continue };
            let list_end = content.len() - lists.0.len();
            let mut subtrees = Reader(list.content);
            while !subtrees.is_empty() {
                let before = subtrees.0.len();
                let subtree = subtrees.expect(SEQUENCE)?;
                let header = subtree.whole.len() - subtree.content.len();
                let mut parts = Reader(subtree.content);
                let base = parts.next()?;
                if base.tag != DIRECTORY_NAME {
                    continue;
                }
                // With a minimum or maximum, webpki refuses it.
                if !parts.is_empty() {
                    return None;
                }
                let name = Name::read(Reader::only(base.content, SEQUENCE)?.content)?;
                let names = if is_excluded { &mut constraints.excluded } else { &mut constraints.permitted };
                names.push(name);
                constraints.tags.push(offset(&[], list_end) - before + header);
                if constraints.tags.len() > SUBTREES_MAX {
                    return None;
                }
            }
        }
        lists.is_empty().then_some(constraints)
    }

    /// Of a certificate in which the extension's value stands at `value`; nothing where it has none for directory names.
    pub(super) fn of_extension(der: &[u8], value: Range<usize>) -> Option<Self> {
        let content = Reader::only(der.get(value.clone())?, SEQUENCE)?.content;
        Self::read(content, value.end - content.len()).filter(|found| !found.tags.is_empty())
    }

    /// `bytes` with these names marked as of another kind, so that webpki, which refuses every name they could be about,
    /// leaves them to us. Their length stays.
    pub(super) fn set_aside(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for tag in &self.tags {
            if let Some(byte) = bytes.get_mut(*tag).filter(|byte| **byte == DIRECTORY_NAME) {
                *byte = SET_ASIDE;
            }
        }
        bytes
    }

    /// Whether the name may stand below.
    fn permit(&self, name: &Name) -> bool {
        let permitted =
            self.permitted.is_empty() || self.permitted.iter().any(|tree| name.is_within(tree) == Some(true));
        permitted && self.excluded.iter().all(|tree| name.is_within(tree) == Some(false))
    }
}

/// The content of a trust anchor's NameConstraints without what is judged here.
pub(super) fn set_aside_in(content: &[u8]) -> Option<Vec<u8>> {
    Constraints::read(content, 0).map(|constraints| constraints.set_aside(content))
}

/// `path` leads from the leaf to the anchor. The certificate that breaks a constraint of one above it.
pub(super) fn breach<'a>(path: &[&'a Certificate]) -> Option<&'a Certificate> {
    path.iter().enumerate().find_map(|(height, issuer)| {
        let constraints = issuer.directory_constraints()?;
        let below = path.get(..height).unwrap_or_default().iter().enumerate();
        // A CA's certificate for itself is no new name; the last one of a path always counts.
        let mut counted = below.filter(|(at, one)| *at == 0 || !one.is_self_issued());
        counted.find(|(_, one)| !keeps(one, constraints)).map(|(_, one)| *one)
    })
}

fn keeps(certificate: &Certificate, constraints: &Constraints) -> bool {
    certificate.directory_names().all(|der| {
        let name = Reader::only(der, SEQUENCE).and_then(|name| Name::read(name.content));
        // An empty subject is none.
        name.is_some_and(|name| name.0.is_empty() || constraints.permit(&name))
    })
}

impl Name {
    fn read(content: &[u8]) -> Option<Self> {
        let mut names = Vec::new();
        let mut rest = Reader(content);
        while !rest.is_empty() {
            let mut attributes = Vec::new();
            let mut set = Reader(rest.expect(SET)?.content);
            while !set.is_empty() {
                let mut attribute = Reader(set.expect(SEQUENCE)?.content);
                let (kind, value) = (attribute.expect(OID)?.content.to_vec(), attribute.next()?);
                if !attribute.is_empty() || attributes.len() == PARTS_MAX {
                    return None;
                }
                attributes.push((kind, Value::read(value.tag, value.content, value.whole)));
            }
            attributes.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.bytes().cmp(b.bytes())));
            names.push(attributes);
            if names.len() > PARTS_MAX {
                return None;
            }
        }
        Some(Self(names))
    }

    /// Whether this name lies in the subtree; nothing where that cannot be said.
    fn is_within(&self, tree: &Self) -> Option<bool> {
        if self.0.len() < tree.0.len() {
            return Some(false);
        }
        let pairs = self.0.iter().zip(&tree.0).map(|(one, other)| are_equal(one, other));
        pairs.fold(Some(true), and)
    }
}

/// False outweighs what cannot be said.
fn and(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn are_equal(one: &RelativeName, other: &RelativeName) -> Option<bool> {
    if one.len() != other.len() || one.iter().zip(other).any(|((a, _), (b, _))| a != b) {
        return Some(false);
    }
    let is_text = |(_, value): &(Vec<u8>, Value)| matches!(value, Value::Text(_));
    if one.iter().chain(other).all(is_text) {
        return one.iter().zip(other).map(|((_, a), (_, b))| a.equals(b)).fold(Some(true), and);
    }
    // Which value stands for which cannot be said either, so that nothing but the very same bytes are the same.
    one.iter().zip(other).all(|((_, a), (_, b))| a.equals(b) == Some(true)).then_some(true)
}

impl Value {
    fn read(tag: u8, content: &[u8], whole: &[u8]) -> Self {
        let wide = |bytes: usize| {
            let units = content
                .chunks(bytes)
                .map(|unit| unit.iter().fold(0, |all, byte| (all << 8) | u32::from(*byte)));
            let characters = units.map(char::from_u32).collect::<Option<String>>();
            characters.filter(|_| content.len().is_multiple_of(bytes))
        };
        let text = match tag {
            // UTF8String, PrintableString, IA5String; NumericString and VisibleString are ASCII as well.
            0x0c | 0x12 | 0x13 | 0x16 | 0x1a => std::str::from_utf8(content).ok().map(str::to_owned),
            // TeletexString, which everybody writes in Latin-1.
            0x14 => Some(content.iter().map(|byte| char::from(*byte)).collect()),
            // UniversalString, BMPString.
            0x1c => wide(4),
            0x1e => wide(2),
            _ => None,
        };
        text.map_or_else(|| Self::Other(whole.to_vec()), |text| Self::Text(prepared(&text)))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Other(bytes) => bytes,
        }
    }

    fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Some(one == other),
            (Self::Other(one), Self::Other(other)) if one == other => Some(true),
            // The same thing can be written in ways that are not known here.
            _ => None,
        }
    }
}

/// Preparation of RFC 4518, section 2, for caseIgnoreMatch.
fn prepared(text: &str) -> String {
    let mapped =
        text.chars().filter(|one| !is_nothing(*one)).map(|one| if is_space(one) { ' ' } else { one });
    // Upper case first, so that `ß` and `SS` meet.
    let folded = mapped.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let text: String = folded.nfkc().collect();
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Section 2.2: mapped to nothing.
fn is_nothing(one: char) -> bool {
    let control = one.is_control() && !matches!(one, '\t'..='\r' | '\u{85}');
    control
        || matches!(one,
            '\u{ad}' | '\u{34f}' | '\u{6dd}' | '\u{70f}' | '\u{1806}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

fn is_space(one: char) -> bool {
    one.is_whitespace() || matches!(one, '\t'..='\r' | '\u{85}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compared_as_rfc_4518_says() {
        for (one, other, expected) in [
            ("Stadt Kiel", "  stadt \t KIEL ", true),
            ("Stra\u{df}e", "STRASSE", true),
            (
                "\u{3a3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c2}",
                "\u{3c3}\u{3af}\u{3c3}\u{3c5}\u{3c6}\u{3bf}\u{3c3}",
                true,
            ),
            ("a\u{ad}b\u{200b}c", "abc", true),
            ("\u{fb01}n", "fin", true),
            ("A\u{308}", "\u{e4}", true),
            ("a b", "ab", false),
            ("a", "\u{e4}", false),
            ("", " ", true),
        ] {
            assert_eq!(prepared(one) == prepared(other), expected, "{one:?} {other:?}");
        }
    }

    /// `2.5.4.10` with a value of this tag.
    fn named(tag: u8, content: &[u8]) -> Name {
        use crate::pki::der::write;
        let attribute = [write(OID, &[0x55, 4, 10]), write(tag, content)].concat();
        Name::read(&write(SET, &write(SEQUENCE, &attribute))).expect("a name")
    }

    #[test]
    fn what_cannot_be_compared_is_judged_against_the_certificate() {
        let text = named(0x0c, b"a");
        for (other, expected) in [
            (named(0x0c, b"A"), Some(true)),
            (named(0x13, b"a"), Some(true)),
            (named(0x14, b"a"), Some(true)),
            (named(0x1e, b"\0a"), Some(true)),
            (named(0x1c, b"\0\0\0a"), Some(true)),
            (named(0x0c, b"b"), Some(false)),
            (named(0x1e, b"\0a\0"), None),
            (named(0x0c, b"\xff"), None),
            (named(0x02, b"a"), None),
        ] {
            assert_eq!(other.is_within(&text), expected, "{other:?}");
            let permitted = Constraints { permitted: vec![text.clone()], ..Constraints::default() };
            assert_eq!(permitted.permit(&other), expected == Some(true), "{other:?}");
            let excluded = Constraints { excluded: vec![text.clone()], ..Constraints::default() };
            assert_eq!(excluded.permit(&other), expected == Some(false), "{other:?}");
        }
        assert_eq!(named(0x02, b"a").is_within(&named(0x02, b"a")), Some(true), "the same bytes");
        // Which of two values stands for which is not known where one cannot be read.
        let two = |one: (u8, &[u8]), other: (u8, &[u8])| {
            use crate::pki::der::write;
            let attribute = |(tag, content): (u8, &[u8])| {
                write(SEQUENCE, &[write(OID, &[0x55, 4, 10]), write(tag, content)].concat())
            };
            let set = write(SET, &[attribute(one), attribute(other)].concat());
            Name::read(&set).expect("a name")
        };
        let tree = two((0x0c, b"b"), (0x0c, b"z"));
        assert_eq!(two((0x1b, b"z"), (0x0c, b"b")).is_within(&tree), None);
        assert_eq!(two((0x0c, b"z"), (0x0c, b"B")).is_within(&tree), Some(true));
        assert_eq!(two((0x0c, b"z"), (0x0c, b"c")).is_within(&tree), Some(false));
    }
}
