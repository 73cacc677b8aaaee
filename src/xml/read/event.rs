//! What the reader finds.

use std::ops::Range;

use super::Reader;
use crate::xml::namespaces::{Context, Declaration};

/// What the reader has found. Everything borrowed lives until the next call.
#[derive(Debug)]
pub enum Event<'a> {
    Start(StartElement<'a>),
    End(EndElement<'a>),
    /// A piece of character data, references resolved, line ends normalised. Pieces may be cut anywhere.
    Text(&'a str),
    Comment(&'a str),
    ProcessingInstruction {
        target: &'a str,
        data: &'a str,
    },
}

/// An expanded name with the prefix it was written with.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Empty for "no namespace".
    pub ns: &'a str,
    pub local: &'a str,
    pub prefix: &'a str,
}

impl Name<'_> {
    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.local == local && self.ns == ns
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    pub name: Name<'a>,
    pub value: &'a str,
}

/// A start tag or an empty-element tag; the latter is followed by an [`Event::End`] of its own.
#[derive(Debug)]
pub struct StartElement<'a> {
    pub(super) reader: &'a Reader,
    pub(super) plain: &'a [u8],
}

impl<'a> StartElement<'a> {
    pub fn name(&self) -> Name<'a> {
        self.reader.open_name()
    }

    /// True if the element has this expanded name.
    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.name().is(ns, local)
    }

    /// The name as written, with its prefix.
    pub fn written_name(&self) -> &'a str {
        self.reader.context.open_name().unwrap_or_default()
    }

    /// The tag's bytes, if they are written as Canonical XML would but for namespaces and the order of attributes;
    /// else nothing.
    pub(in crate::xml) fn plain(&self) -> &'a [u8] {
        self.plain
    }

    /// Attributes in document order, without namespace declarations.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + Clone + use<'a> {
        let reader = self.reader;
        reader.attributes.iter().map(move |attribute| reader.attribute(attribute))
    }

    /// The value of an attribute; the namespace is empty for an attribute without prefix.
    pub fn attribute(&self, ns: &str, local: &str) -> Option<&'a str> {
        self.attributes().find(|attribute| attribute.name.is(ns, local)).map(|attribute| attribute.value)
    }

    /// Declarations that stand on this element.
    pub fn declarations(&self) -> impl Iterator<Item = Declaration<'a>> + Clone + use<'a> {
        self.reader.context.declared_here()
    }

    /// The open elements down to this one: prefixes in scope, depth, inherited `xml:` attributes.
    pub fn context(&self) -> &'a Context {
        &self.reader.context
    }

    /// Where the tag stands in the document: the element begins at its start.
    pub fn span(&self) -> Range<u64> {
        self.reader.span.clone()
    }

    /// True if the tag was written as `<a/>`.
    pub fn is_empty_tag(&self) -> bool {
        self.reader.empty_tag
    }
}

#[derive(Debug)]
pub struct EndElement<'a> {
    pub(super) reader: &'a Reader,
    pub(super) plain: &'a [u8],
}

impl<'a> EndElement<'a> {
    pub fn name(&self) -> Name<'a> {
        self.reader.open_name()
    }

    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.name().is(ns, local)
    }

    /// The name as written, with its prefix.
    pub fn written_name(&self) -> &'a str {
        self.reader.context.open_name().unwrap_or_default()
    }

    /// The tag's bytes, if they are written as Canonical XML would; else nothing.
    pub(in crate::xml) fn plain(&self) -> &'a [u8] {
        self.plain
    }

    /// Where the tag stands in the document: the element ends at its end. Empty for an empty-element tag.
    pub fn span(&self) -> Range<u64> {
        self.reader.span.clone()
    }

    /// The depth of the element that ends; 1 is the root.
    pub fn depth(&self) -> usize {
        self.reader.context.depth()
    }
}
