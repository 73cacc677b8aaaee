//! Writer of XML that we make ourselves. Names and prefixes are given as written (`xta:Message`) and come from our
//! code; values may come from anywhere and are escaped, and characters that XML cannot carry become U+FFFD.
//! Elements are closed by their own end tag even if empty, as Canonical XML has it.
//! Left out: pretty printing, and a check that prefixes are declared (what is written may be spliced).

use super::chars::is_char;
use super::escape;

/// Writes elements one after the other.
///
/// ```ignore
/// let mut writer = Writer::new();
/// writer.start("p:a").namespace("p", "urn:x").attribute("n", "1 < 2");
/// writer.element("p:b", "text").end();
/// assert_eq!(writer.finish(), r#"<p:a xmlns:p="urn:x" n="1 &lt; 2"><p:b>text</p:b></p:a>"#);
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
    open: Vec<String>,
    tag_open: bool,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// The XML declaration; to be called first.
    pub fn declaration(&mut self) -> &mut Self {
        self.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        self
    }

    pub fn start(&mut self, name: &str) -> &mut Self {
        debug_assert!(super::chars::split_qname(name).is_ok(), "{name} is not a name");
        self.close_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name.to_owned());
        self.tag_open = true;
        self
    }

    /// An attribute of the element that was started last and has no content yet.
    pub fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.tag_open, "attribute {name} after content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        let out = &mut self.out;
        escape::attribute(&writable(value), &mut |piece| out.push_str(piece));
        self.out.push('"');
        self
    }

    /// An attribute that may be absent.
    pub fn attribute_if(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Declares a prefix, or the default namespace with an empty one.
    pub fn namespace(&mut self, prefix: &str, uri: &str) -> &mut Self {
        if prefix.is_empty() {
            self.attribute("xmlns", uri)
        } else {
            self.attribute(&format!("xmlns:{prefix}"), uri)
        }
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.close_tag();
        let out = &mut self.out;
        escape::text(&writable(text), &mut |piece| out.push_str(piece));
        self
    }

    /// Splices well-formed XML that was written before; its prefixes must be declared here or in itself.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        self.close_tag();
        self.out.push_str(xml);
        self
    }

    pub fn end(&mut self) -> &mut Self {
        self.close_tag();
        debug_assert!(!self.open.is_empty(), "no element is open");
        if let Some(name) = self.open.pop() {
            self.out.push_str("</");
            self.out.push_str(&name);
            self.out.push('>');
        }
        self
    }

    /// An element with nothing but text.
    pub fn element(&mut self, name: &str, text: &str) -> &mut Self {
        self.start(name).text(text).end()
    }

    /// Such an element, if there is a text.
    pub fn element_if(&mut self, name: &str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.element(name, text),
            None => self,
        }
    }

    /// Takes what was written so far, so that a large document can be sent in pieces.
    pub fn drain(&mut self) -> String {
        self.close_tag();
        std::mem::take(&mut self.out)
    }

    /// Closes whatever is open and hands out the rest.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }

    fn close_tag(&mut self) {
        if std::mem::take(&mut self.tag_open) {
            self.out.push('>');
        }
    }
}

fn writable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().all(is_char) {
        return text.into();
    }
    text.chars().map(|c| if is_char(c) { c } else { '\u{FFFD}' }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Limits;
    use crate::xml::tree::Element;

    #[test]
    fn writes_what_reads_back() {
        let mut writer = Writer::new();
        writer.declaration().start("p:a").namespace("p", "urn:x").attribute("n", "1 <\t\"&\r\n\0");
        writer.element("p:b", "x<&>]]>\r\n\u{1}").element_if("c", None).element_if("c", Some(""));
        assert!(
            writer.drain().starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><p:a xmlns:p=\"urn:x\"")
        );
        writer.raw("<d/>");
        assert_eq!(writer.finish(), "<d/></p:a>");

        let mut writer = Writer::new();
        writer.start("p:a").namespace("p", "urn:x").namespace("", "d").attribute("n", "1 <\t\"&\r\n\0");
        writer.element("b", "x<&>]]>\r\n\u{1}").attribute_if_none();
        let written = writer.finish();
        let read = Element::parse(written.as_bytes(), &Limits::default(), &Default::default()).unwrap();
        assert!(read.is("urn:x", "a"));
        assert_eq!(read.attribute("", "n"), Some("1 <\t\"&\r\n\u{FFFD}"));
        assert_eq!(read.child("d", "b").unwrap().text(), "x<&>]]>\r\n\u{FFFD}");
    }

    impl Writer {
        fn attribute_if_none(&mut self) {
            let before = self.out.clone();
            self.attribute_if("x", None);
            assert_eq!(self.out, before);
        }
    }
}
