//! Content-ID headers and `cid:` URIs (RFC 2392), compared the way clients need it: the raw form first, then
//! percent-decoded. Angle brackets belong to the header's notation and not to the id.

use super::Error;

/// The id of a part, without angle brackets and surrounding blanks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(String);

impl ContentId {
    /// Reads the value of a Content-ID header or of a `start` parameter; brackets may be missing.
    pub fn from_header(value: &str) -> Result<Self, Error> {
        let value = value.trim();
        let inner = match (value.strip_prefix('<'), value.ends_with('>')) {
            (Some(inner), true) => inner.strip_suffix('>').unwrap_or(inner),
            (None, false) => value,
            _ => return Err(Error::ContentIdInvalid),
        };
        if inner.is_empty() || inner.chars().any(|c| c.is_control() || c.is_whitespace() || "<>".contains(c))
        {
            return Err(Error::ContentIdInvalid);
        }
        Ok(Self(inner.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id with percent escapes resolved, as the second form to compare.
    pub fn decoded(&self) -> String {
        percent_decoded(&self.0)
    }

    /// True if a `cid:` URI or its bare id part names this part, raw or percent-decoded.
    pub fn is_named_by(&self, uri: &str) -> bool {
        let id = strip_cid(uri);
        self.0 == id || self.0 == percent_decoded(id)
    }
}

/// Finds the part a `cid:` URI names: an exact match wins over a percent-decoded one.
pub fn resolve<'a>(ids: impl Iterator<Item = &'a ContentId> + Clone, uri: &str) -> Option<usize> {
    let id = strip_cid(uri);
    let decoded = percent_decoded(id);
    ids.clone().position(|known| known.0 == id).or_else(|| ids.clone().position(|known| known.0 == decoded))
}

fn strip_cid(uri: &str) -> &str {
    match uri.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("cid:") => uri.get(4..).unwrap_or(""),
        _ => uri,
    }
}

/// Resolves `%XX`; a malformed escape or a result that is not UTF-8 leaves the text as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or(&[]);
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_forms() {
        for (value, expected) in [
            ("<osci@message>", Some("osci@message")),
            (" osci@message ", Some("osci@message")),
            ("<rootpart*u-1@example.jaxws.sun.com>", Some("rootpart*u-1@example.jaxws.sun.com")),
            ("<SOAP-ENV:Envelope>", Some("SOAP-ENV:Envelope")),
            ("<open", None),
            ("close>", None),
            ("<>", None),
            ("", None),
            ("<a b>", None),
            ("<a<b>", None),
        ] {
            assert_eq!(
                ContentId::from_header(value).ok().as_ref().map(ContentId::as_str),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn raw_match_wins_over_decoded() {
        let ids: Vec<_> =
            ["a+b", "a%2Bb", "x@y"].iter().map(|id| ContentId::from_header(id).unwrap()).collect();
        for (uri, at) in [
            ("cid:a%2Bb", Some(1)),
            ("cid:a+b", Some(0)),
            ("CID:x%40y", Some(2)),
            ("x@y", Some(2)),
            ("cid:x%4", None),
            ("cid:%ff", None),
            ("ü", None),
        ] {
            assert_eq!(resolve(ids.iter(), uri), at, "{uri}");
        }
        assert!(ids[2].is_named_by("cid:x%40y"));
        assert!(!ids[1].is_named_by("cid:a+b"));
    }
}
