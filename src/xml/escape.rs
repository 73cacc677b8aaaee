//! Escaping of text and attribute values in the form Canonical XML prescribes (section 2.3), used by the writer as
//! well, so that what we write is already canonical in this respect.

/// Hands out `text` with `&`, `<`, `>` and CR escaped.
pub fn text(text: &str, sink: &mut impl FnMut(&str)) {
    escaped(text, sink, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

/// Hands out an attribute value, to stand between double quotes, with `&`, `<`, `"`, TAB, LF and CR escaped.
pub fn attribute(value: &str, sink: &mut impl FnMut(&str)) {
    escaped(value, sink, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#x9;"),
        b'\n' => Some("&#xA;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

fn escaped(text: &str, sink: &mut impl FnMut(&str), escape: impl Fn(u8) -> Option<&'static str>) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| escape(byte).is_some()) {
        // What is escaped is ASCII, so both cuts are at character boundaries.
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
        if !plain.is_empty() {
            sink(plain);
        }
        if let Some(escape) = special.bytes().next().and_then(&escape) {
            sink(escape);
        }
        rest = special.get(1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        sink(rest);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_forms() {
        for (raw, as_text, as_attribute) in [
            ("", "", ""),
            ("a<b>&\"'", "a&lt;b&gt;&amp;\"'", "a&lt;b>&amp;&quot;'"),
            ("\t\n\rä", "\t\n&#xD;ä", "&#x9;&#xA;&#xD;ä"),
        ] {
            let mut out = String::new();
            super::text(raw, &mut |piece| out.push_str(piece));
            assert_eq!(out, as_text);
            out.clear();
            super::attribute(raw, &mut |piece| out.push_str(piece));
            assert_eq!(out, as_attribute);
        }
    }
}
