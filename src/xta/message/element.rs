//! The part of a document that is small enough to be held: elements with resolved names, and text.
//!
//! Declarations are kept beside the names, so that a fragment which means nothing to us (a security token, a receipt
//! request) can be cut out as XML that stands alone. Comments and processing instructions are dropped; nothing of XTA
//! gives them a meaning.

use super::Error;
use super::markup::{escape_attribute, escape_text};
use super::names::{OSCI, OSCIMETA, XSI};
use crate::xml::read::{Event, SliceReader, StartElement};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub prefix: String,
    pub namespace: String,
    pub local: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    Text(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub prefix: String,
    pub namespace: String,
    pub local: String,
    pub attributes: Vec<Attribute>,
    /// What stands on the element itself, prefix and URI.
    pub declarations: Vec<(String, String)>,
    /// All that is in scope; only on the top of a fragment that is passed on as it is.
    pub scope: Option<Vec<(String, String)>>,
    pub nodes: Vec<Node>,
}

/// Elements that are passed on as they are.
const FRAGMENTS: [(&str, &str); 3] =
    [(OSCIMETA, "SecurityToken"), (OSCIMETA, "ReceiptRequests"), (OSCI, "X509TokenContainer")];

impl Element {
    /// Reads a fragment that stands alone, such as message metadata that came by another protocol.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let mut reader = SliceReader::new(document, crate::xml::Limits::default());
        let (mut open, mut root) = (Vec::<Self>::new(), None);
        while let Some(event) = reader.next_event().map_err(|error| error.to_string())? {
            match event {
                Event::Start(tag) => open.push(Self::start(&tag)),
                Event::Text(piece) => {
                    if let Some(element) = open.last_mut() {
                        element.push_text(piece);
                    }
                }
                Event::End(_) => {
                    let Some(element) = open.pop() else { continue };
                    match open.last_mut() {
                        Some(parent) => parent.nodes.push(Node::Element(element)),
                        None => root = Some(element),
                    }
                }
                Event::Comment(_) | Event::ProcessingInstruction { .. } => {}
            }
        }
        root.ok_or_else(|| "there is no element".to_owned())
    }

    pub fn start(tag: &StartElement<'_>) -> Self {
        let name = tag.name();
        let owned = |(prefix, uri): (&str, &str)| (prefix.to_owned(), uri.to_owned());
        let pairs = |declaration: crate::xml::namespaces::Declaration<'_>| {
            owned((declaration.prefix, declaration.uri))
        };
        Self {
            prefix: name.prefix.to_owned(),
            namespace: name.ns.to_owned(),
            local: name.local.to_owned(),
            attributes: tag
                .attributes()
                .map(|attribute| Attribute {
                    prefix: attribute.name.prefix.to_owned(),
                    namespace: attribute.name.ns.to_owned(),
                    local: attribute.name.local.to_owned(),
                    value: attribute.value.to_owned(),
                })
                .collect(),
            declarations: tag.declarations().map(pairs).collect(),
            scope: FRAGMENTS
                .contains(&(name.ns, name.local))
                .then(|| tag.context().in_scope().map(pairs).collect()),
            nodes: Vec::new(),
        }
    }

    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.local == local && self.namespace == namespace
    }

    /// An attribute without a namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.namespace.is_empty() && attribute.local == local)
            .map(|attribute| attribute.value.as_str())
    }

    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Children of one name that are not `xsi:nil`.
    pub fn all<'e, 'n>(
        &'e self,
        namespace: &'n str,
        local: &'n str,
    ) -> impl Iterator<Item = &'e Self> + use<'e, 'n> {
        self.children().filter(move |child| child.is(namespace, local) && !child.is_nil())
    }

    /// The child of that name; none if it is absent or nil, an error if there are two.
    pub fn optional(&self, namespace: &str, local: &str) -> Result<Option<&Self>, Error> {
        let mut found = self.all(namespace, local);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Error::Twice { parent: self.local.clone(), element: local.to_owned() }),
        }
    }

    pub fn required(&self, namespace: &str, local: &str) -> Result<&Self, Error> {
        self.optional(namespace, local)?.ok_or_else(|| Error::missing(&self.local, local))
    }

    /// The element's own text, entities resolved, child elements left out.
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// The text without the white space around it.
    pub fn trimmed(&self) -> String {
        self.text().trim_matches([' ', '\t', '\r', '\n']).to_owned()
    }

    /// `xsi:nil="true"`: JAX-WS RI writes it for a parameter that is null.
    pub fn is_nil(&self) -> bool {
        self.attributes.iter().any(|attribute| {
            attribute.namespace == XSI
                && attribute.local == "nil"
                && matches!(attribute.value.trim(), "true" | "1")
        })
    }

    /// Adds a piece of text; the reader cuts text anywhere.
    pub fn push_text(&mut self, piece: &str) {
        match self.nodes.last_mut() {
            Some(Node::Text(text)) => text.push_str(piece),
            _ => self.nodes.push(Node::Text(piece.to_owned())),
        }
    }

    /// The fragment as XML that means the same anywhere.
    pub fn to_standalone(&self) -> String {
        let mut out = String::new();
        let inherited = self.scope.as_ref().unwrap_or(&self.declarations);
        let needed: Vec<_> = inherited.iter().filter(|(prefix, _)| self.mentions(prefix)).collect();
        self.write(&mut out, needed.into_iter());
        out
    }

    fn write<'a>(&self, out: &mut String, declarations: impl Iterator<Item = &'a (String, String)>) {
        let name = qualified(&self.prefix, &self.local);
        out.push('<');
        out.push_str(&name);
        for (prefix, uri) in declarations {
            let attribute = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
            out.push_str(&format!(" {attribute}=\"{}\"", escape_attribute(uri)));
        }
        for attribute in &self.attributes {
            let name = qualified(&attribute.prefix, &attribute.local);
            out.push_str(&format!(" {name}=\"{}\"", escape_attribute(&attribute.value)));
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.nodes {
            match node {
                Node::Element(child) => child.write(out, child.declarations.iter()),
                Node::Text(text) => out.push_str(&escape_text(text)),
            }
        }
        out.push_str(&format!("</{name}>"));
    }

    /// Whether a name in the fragment uses the prefix, or a value in it may (a QName).
    fn mentions(&self, prefix: &str) -> bool {
        let marked = format!("{prefix}:");
        let in_value = |value: &str| !prefix.is_empty() && value.contains(&marked);
        self.prefix == prefix
            || self.attributes.iter().any(|attribute| {
                (!prefix.is_empty() && attribute.prefix == prefix) || in_value(&attribute.value)
            })
            || self.nodes.iter().any(|node| match node {
                Node::Element(child) => child.mentions(prefix),
                Node::Text(text) => in_value(text),
            })
    }
}

pub(super) fn qualified(prefix: &str, local: &str) -> String {
    if prefix.is_empty() { local.to_owned() } else { format!("{prefix}:{local}") }
}
