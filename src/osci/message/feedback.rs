//! Feedback: what became of a request, as codes with a text for people (OSCI12, section 4.5).
//!
//! Left out: which codes there are and what their texts say.

use super::Error;
use super::markup::{self, Fields};
use super::names::NS_OSCI;
use crate::xml::NS_XML;
use crate::xml::tree::Element;
use crate::xml::write::Writer;

const TEXT_BYTES_MAX: usize = 4096;

/// Four digits; the first one says success (0), warning (3) or error (9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeNumber(u16);

impl CodeNumber {
    /// None beyond four digits.
    pub const fn new(number: u16) -> Option<Self> {
        if number <= 9999 { Some(Self(number)) } else { None }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok().map(Self))?
    }

    pub fn number(self) -> u16 {
        self.0
    }

    pub fn is_success(self) -> bool {
        self.0 < 1000
    }

    pub fn is_warning(self) -> bool {
        (3000..4000).contains(&self.0)
    }

    /// The request was not executed.
    pub fn is_error(self) -> bool {
        self.0 >= 9000
    }
}

impl std::fmt::Display for CodeNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub language: Option<String>,
    pub code: CodeNumber,
    pub text: String,
}

/// All findings about one request; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback(Vec<Entry>);

impl Feedback {
    pub fn new(first: Entry) -> Self {
        Self(vec![first])
    }

    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub fn codes(&self) -> impl Iterator<Item = CodeNumber> {
        self.0.iter().map(|entry| entry.code)
    }

    /// True if the request was executed, with or without warnings.
    pub fn is_positive(&self) -> bool {
        !self.codes().any(CodeNumber::is_error)
    }

    pub fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let entries =
            fields.all(NS_OSCI, "Entry").into_iter().map(Entry::read).collect::<Result<Vec<_>, _>>()?;
        fields.finish()?;
        if entries.is_empty() {
            return Err(Error::Missing { parent: "Feedback".to_owned(), element: "Entry".to_owned() });
        }
        Ok(Self(entries))
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Error> {
        Self::read(fields.required(NS_OSCI, "Feedback")?)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        self.write_as("osci:Feedback", writer);
    }

    pub(super) fn write_as(&self, name: &str, writer: &mut Writer) {
        writer.start(name);
        for Entry { language, code, text } in &self.0 {
            writer.start("osci:Entry").attribute_if("xml:lang", language.as_deref());
            writer.element("osci:Code", &code.to_string()).element("osci:Text", text).end();
        }
        writer.end();
    }
}

impl Entry {
    fn read(element: &Element) -> Result<Self, Error> {
        let mut fields = Fields::of(element)?;
        let code = markup::token(fields.required(NS_OSCI, "Code")?)?;
        let text = markup::text(fields.required(NS_OSCI, "Text")?)?;
        fields.finish()?;
        let language = element.attribute(NS_XML, "lang").map(|language| language.chars().take(64).collect());
        let code =
            CodeNumber::parse(&code).ok_or(Error::Invalid { what: "Code", why: "it is not four digits" })?;
        Ok(Self { language, code, text: markup::bounded("Text", TEXT_BYTES_MAX, text)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_four_digits() {
        for (text, expected) in [
            ("0801", Some((true, false, false))),
            ("3707", Some((false, true, false))),
            ("9100", Some((false, false, true))),
            ("801", None),
            ("08O1", None),
            ("+801", None),
            ("08011", None),
            ("", None),
        ] {
            let found = CodeNumber::parse(text);
            assert_eq!(found.map(|code| (code.is_success(), code.is_warning(), code.is_error())), expected);
            assert_eq!(found.map(|code| code.to_string()).as_deref(), expected.map(|_| text));
        }
        assert_eq!(CodeNumber::new(10_000), None);
    }

    #[test]
    fn one_error_makes_it_negative() {
        let entry =
            |code| Entry { language: None, code: CodeNumber::new(code).expect("a code"), text: "".into() };
        let mut feedback = Feedback::new(entry(3707));
        feedback.push(entry(800));
        assert!(feedback.is_positive());
        feedback.push(entry(9803));
        assert!(!feedback.is_positive());
    }
}
