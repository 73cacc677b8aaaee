//! Writing answers: elements in the order in which they are called for, text escaped, names fixed by us.
//!
//! Names are `prefix:local` with a prefix of [`super::names::PREFIXES`], or bare for the children of code types, for
//! which no default namespace is ever declared.

/// XML being written.
#[derive(Debug, Default, Clone)]
pub struct Markup {
    out: String,
}

impl Markup {
    pub fn new() -> Self {
        Self::default()
    }

    /// An element with what `inside` writes.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.element_with(name, &[], inside)
    }

    /// The same with attributes; those without a value are left out.
    pub fn element_with(
        &mut self,
        name: &str,
        attributes: &[(&str, Option<&str>)],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            if let Some(value) = value {
                self.out.push_str(&format!(" {attribute}=\"{}\"", escape_attribute(value)));
            }
        }
        self.out.push('>');
        let start = self.out.len();
        inside(self);
        if self.out.len() == start {
            self.out.insert(start - 1, '/');
        } else {
            self.out.push_str(&format!("</{name}>"));
        }
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.out.push_str(&escape_text(text));
        self
    }

    /// An element that holds only text.
    pub fn leaf(&mut self, name: &str, text: &str) -> &mut Self {
        self.element(name, |inside| {
            inside.text(text);
        })
    }

    pub fn leaf_if(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.leaf(name, text);
        }
        self
    }

    /// XML that stands alone already.
    pub fn fragment(&mut self, standalone: &str) -> &mut Self {
        self.out.push_str(standalone);
        self
    }

    pub fn finish(self) -> String {
        self.out
    }
}

/// Text of an element. A carriage return is written as a reference, because parsers turn a bare one into a line feed.
pub fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            c if is_xml(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

/// The value of an attribute in double quotes.
pub fn escape_attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if is_xml(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

/// The characters of XML 1.0. Others cannot be written at all, not even as references.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_elements_and_escapes() {
        let mut out = Markup::new();
        out.element_with("a", &[("b", Some("\"<\n")), ("c", None)], |inside| {
            inside.element("d", |_| {}).leaf("e", "1 < 2 & ]]>\r").leaf("f", "\u{1}");
        });
        assert_eq!(
            out.finish(),
            "<a b=\"&quot;&lt;&#10;\"><d/><e>1 &lt; 2 &amp; ]]&gt;&#13;</e><f>\u{fffd}</f></a>"
        );
    }
}
