//! What is held whole: attribute values, and the XML declaration.

use std::borrow::Cow;

use memchr::memchr;

use crate::xml::ErrorKind;
use crate::xml::chars::{check_chars, resolve_reference};
use crate::xml::plain::PlainTag;

/// The text of a plain tag; none if it must be judged by the full rules.
pub(super) fn plain_str<'i>(input: &'i [u8], tag: &PlainTag) -> Option<&'i str> {
    let text = std::str::from_utf8(input.get(..tag.end)?).ok()?;
    (tag.ascii || check_chars(text).is_ok()).then_some(text)
}

/// Section 2.11 for text that is held whole.
pub(super) fn with_line_feeds(text: &str) -> Cow<'_, str> {
    if memchr(b'\r', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Section 3.3.3 for attributes of type CDATA, the only type without a DTD.
pub(super) fn normalised_value(raw: &str) -> Result<Cow<'_, str>, ErrorKind> {
    if raw.contains('<') {
        return Err(ErrorKind::NotWellFormed("`<` in an attribute value"));
    }
    if !raw.contains(['&', '\t', '\r', '\n']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = String::with_capacity(raw.len());
    let raw = with_line_feeds(raw);
    let mut rest = raw.as_ref();
    while let Some(at) = rest.find(['&', '\t', '\n']) {
        let (plain, special) = rest.split_at(at);
        value.push_str(plain);
        if let Some(reference) = special.strip_prefix('&') {
            let (name, after) =
                reference.split_once(';').ok_or(ErrorKind::NotWellFormed("`&` without a reference"))?;
            value.push(resolve_reference(name)?);
            rest = after;
        } else {
            value.push(' ');
            rest = special.get(1..).unwrap_or_default();
        }
    }
    value.push_str(rest);
    Ok(Cow::Owned(value))
}

/// The pseudo-attributes of an XML declaration: version, encoding, standalone, in this order.
pub(super) fn check_declaration(data: &str) -> Result<(), ErrorKind> {
    const BAD: ErrorKind = ErrorKind::NotWellFormed("XML declaration");
    let mut expected = ["version", "encoding", "standalone"].as_slice();
    let mut rest = data;
    let mut version_seen = false;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if trimmed.is_empty() {
            return if version_seen { Ok(()) } else { Err(BAD) };
        }
        if trimmed.len() == rest.len() {
            return Err(BAD);
        }
        let (name, after) = trimmed.split_once('=').ok_or(BAD)?;
        let name = name.trim_end_matches([' ', '\t', '\r', '\n']);
        let after = after.trim_start_matches([' ', '\t', '\r', '\n']);
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(BAD)?;
        let (value, after) = after.get(1..).and_then(|after| after.split_once(quote)).ok_or(BAD)?;
        let at = expected.iter().position(|known| *known == name).ok_or(BAD)?;
        expected = expected.get(at + 1..).unwrap_or_default();
        match name {
            "version" if value == "1.0" => version_seen = true,
            "version" => return Err(ErrorKind::NotWellFormed("XML version other than 1.0")),
            "encoding" if value.eq_ignore_ascii_case("UTF-8") => {}
            "encoding" => return Err(ErrorKind::Encoding("the XML declaration names another one")),
            _ if matches!(value, "yes" | "no") => {}
            _ => return Err(BAD),
        }
        rest = after;
    }
}
