//! Escaping of text and attribute values in the form Canonical XML prescribes (section 2.3), used by the writer as
//! well, so that what we write is already canonical in this respect.

/// Hands out `text` with `&`, `<`, `>` and CR escaped.
pub fn text(text: &str, sink: &mut impl FnMut(&str)) {
    let special = |byte: u8| (byte == b'&') | (byte == b'<') | (byte == b'>') | (byte == b'\r');
    escaped(text, sink, special);
}

/// Hands out an attribute value, to stand between double quotes, with `&`, `<`, `"`, TAB, LF and CR escaped.
pub fn attribute(value: &str, sink: &mut impl FnMut(&str)) {
    let white = |byte: u8| (byte == b'\t') | (byte == b'\n') | (byte == b'\r');
    let special = |byte: u8| (byte == b'&') | (byte == b'<') | (byte == b'"') | white(byte);
    escaped(value, sink, special);
}

fn escape(byte: u8) -> &'static str {
    match byte {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'"' => "&quot;",
        b'\t' => "&#x9;",
        b'\n' => "&#xA;",
        _ => "&#xD;",
    }
}

fn escaped(text: &str, sink: &mut impl FnMut(&str), special: impl Fn(u8) -> bool) {
    // Nothing to escape is the common case, and many bytes at a time are asked without a branch.
    if !text.bytes().fold(false, |found, byte| found | special(byte)) {
        if !text.is_empty() {
            sink(text);
        }
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(&special) {
        // What is escaped is ASCII, so both cuts are at character boundaries.
        let (plain, marked) = rest.split_at_checked(at).unwrap_or((rest, ""));
        if !plain.is_empty() {
            sink(plain);
        }
        if let Some(byte) = marked.bytes().next() {
            sink(escape(byte));
        }
        rest = marked.get(1..).unwrap_or_default();
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
