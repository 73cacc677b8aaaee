//! The character classes of XML 1.0 (fifth edition, productions 2, 4 and 4a) and of Namespaces in XML 1.0.

use super::ErrorKind;

/// Production 2: what may stand in a document at all.
pub fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

pub fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Refuses text with a character outside production 2.
pub fn check_chars(text: &str) -> Result<(), ErrorKind> {
    let control = text.bytes().fold(false, |bad, b| bad | ((b < 0x20) & (b != 9) & (b != 10) & (b != 13)));
    // U+FFFE and U+FFFF are the only other ones that UTF-8 can express; both begin with 0xEF.
    if control || (memchr::memchr(0xEF, text.as_bytes()).is_some() && !text.chars().all(is_char)) {
        return Err(ErrorKind::NotWellFormed("character that XML does not allow"));
    }
    Ok(())
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z' | '_'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}'
        | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// A name without a colon, as namespaces demand it of every part of a name.
pub fn is_ncname(name: &str) -> bool {
    let plain = |&b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.as_bytes().iter().all(plain)
    {
        return true;
    }
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

/// Splits `prefix:local` and checks both; the prefix is empty if there is none.
pub fn split_qname(name: &str) -> Result<(&str, &str), ErrorKind> {
    let (prefix, local) = name.split_once(':').unwrap_or(("", name));
    let prefixed = name.len() != local.len();
    if !is_ncname(local) || (prefixed && !is_ncname(prefix)) {
        return Err(ErrorKind::Name(name.chars().take(80).collect()));
    }
    Ok((prefix, local))
}

/// Resolves what stands between `&` and `;`: one of the five entities or a character reference.
pub fn resolve_reference(reference: &str) -> Result<char, ErrorKind> {
    let Some(number) = reference.strip_prefix('#') else {
        return match reference {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            name if is_ncname(name) => Err(ErrorKind::Entity(name.chars().take(80).collect())),
            _ => Err(ErrorKind::NotWellFormed("`&` without a reference")),
        };
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    // `from_str_radix` alone would take a sign.
    let value = if digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        u32::from_str_radix(digits, radix).ok()
    } else {
        None
    };
    value
        .and_then(char::from_u32)
        .filter(|&c| is_char(c))
        .ok_or(ErrorKind::NotWellFormed("reference to a character that XML does not allow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("a", Some(("", "a"))),
            ("p:a", Some(("p", "a"))),
            ("Straße-1.x_", Some(("", "Straße-1.x_"))),
            ("1a", None),
            ("-a", None),
            ("p:", None),
            (":a", None),
            ("a:b:c", None),
            ("p:1", None),
            ("", None),
            ("a b", None),
            ("a\u{d7}", None),
        ] {
            assert_eq!(split_qname(name).ok(), expected, "{name}");
        }
    }

    #[test]
    fn references() {
        for (reference, expected) in [
            ("amp", Some('&')),
            ("#9", Some('\t')),
            ("#x1F600", Some('😀')),
            ("#xd", Some('\r')),
            ("#0", None),
            ("#x0", None),
            ("#8", None),
            ("#xD800", None),
            ("#xFFFE", None),
            ("#x110000", None),
            ("#+9", None),
            ("#x", None),
            ("#", None),
            ("#X41", None),
            ("#99999999999", None),
            ("nbsp", None),
            ("", None),
        ] {
            assert_eq!(resolve_reference(reference).ok(), expected, "{reference}");
        }
    }

    #[test]
    fn characters() {
        for (text, allowed) in [
            ("a\t\n\r\u{7f}\u{85}\u{FEFF}\u{FFFD}", true),
            ("\0", false),
            ("\u{1}", false),
            ("\u{b}", false),
            ("\u{FFFE}", false),
            ("\u{FFFF}", false),
        ] {
            assert_eq!(check_chars(text).is_ok(), allowed, "{text:?}");
        }
    }
}
