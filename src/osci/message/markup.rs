//! Strict reading of small elements: every child is asked for, and what nobody asked for is refused.

use super::Error;
use crate::xml::tree::{Element, Node};

/// The children of an element, taken one by one, in any order.
pub struct Fields<'a> {
    parent: &'a Element,
    rest: Vec<&'a Element>,
}

impl<'a> Fields<'a> {
    pub fn of(parent: &'a Element) -> Result<Self, Error> {
        let white = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        if parent.nodes().iter().any(|node| matches!(node, Node::Text(text) if !white(text))) {
            return Err(Error::Text { parent: named(parent) });
        }
        Ok(Self { parent, rest: parent.children().collect() })
    }

    pub fn optional(&mut self, ns: &str, local: &str) -> Result<Option<&'a Element>, Error> {
        let mut found = self.all(ns, local).into_iter();
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Error::Twice { parent: named(self.parent), element: local.to_owned() }),
        }
    }

    pub fn required(&mut self, ns: &str, local: &str) -> Result<&'a Element, Error> {
        self.optional(ns, local)?.ok_or_else(|| self.missing(local))
    }

    /// All children of one name, in their order.
    pub fn all(&mut self, ns: &str, local: &str) -> Vec<&'a Element> {
        self.rest.extract_if(.., |child| child.is(ns, local)).collect()
    }

    /// Refuses what was not taken.
    pub fn finish(self) -> Result<(), Error> {
        match self.rest.first() {
            None => Ok(()),
            Some(child) => Err(Error::Unexpected { parent: named(self.parent), element: named(child) }),
        }
    }

    fn missing(&self, local: &str) -> Error {
        Error::Missing { parent: named(self.parent), element: local.to_owned() }
    }
}

/// The text of an element that has no child elements, as it stands.
pub fn text(element: &Element) -> Result<String, Error> {
    match element.children().next() {
        None => Ok(element.text()),
        Some(child) => Err(Error::Unexpected { parent: named(element), element: named(child) }),
    }
}

/// The same without white space around it.
pub fn token(element: &Element) -> Result<String, Error> {
    Ok(text(element)?.trim_matches([' ', '\t', '\r', '\n']).to_owned())
}

/// An element that must be empty.
pub fn empty(element: &Element) -> Result<(), Error> {
    Fields::of(element)?.finish()
}

pub fn attribute<'a>(element: &'a Element, local: &str) -> Result<&'a str, Error> {
    element
        .attribute("", local)
        .ok_or_else(|| Error::Missing { parent: named(element), element: local.to_owned() })
}

/// Refuses texts beyond a bound.
pub fn bounded(what: &'static str, max: usize, text: String) -> Result<String, Error> {
    if text.len() > max {
        return Err(Error::TooLong { what, max, seen: text.len() });
    }
    Ok(text)
}

/// Names come from the wire and end in sentences.
fn named(element: &Element) -> String {
    element.local().chars().take(80).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::names::{NS_OSCI2017, STANDARD};
    use crate::xml::tree::Element;

    /// A fragment in the standard namespaces.
    pub fn element(xml: &str) -> Element {
        let declarations: String =
            STANDARD.iter().map(|(prefix, uri)| format!(" xmlns:{prefix}=\"{uri}\"")).collect();
        let document = format!("<e{declarations} xmlns:osci2017=\"{NS_OSCI2017}\">{xml}</e>");
        let root = Element::parse(document.as_bytes(), &Default::default(), &Default::default());
        root.expect("well-formed").children().next().expect("an element").clone()
    }
}
