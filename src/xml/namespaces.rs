//! The open elements with the namespace declarations and `xml:` attributes they bring (Namespaces in XML 1.0).
//! Everything lies in one text that shrinks again when an element closes, so an element costs no allocation.

use std::collections::HashSet;
use std::ops::Range;

use super::read::Name;
use super::{ErrorKind, Limits, NS_XML, NS_XMLNS, check_limit};

/// One namespace declaration; the prefix is empty for the default namespace, the URI for its undeclaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration<'a> {
    pub prefix: &'a str,
    pub uri: &'a str,
}

#[derive(Debug)]
struct Pair {
    key: Range<usize>,
    value: Range<usize>,
}

/// A namespace that a name was found to be in.
#[derive(Debug, Clone, Default)]
pub(super) enum Namespace {
    #[default]
    None,
    Xml,
    Kept(Range<usize>),
}

#[derive(Debug)]
struct OpenElement {
    name: Range<usize>,
    /// Bytes of the prefix.
    prefix: usize,
    namespace: Namespace,
    declarations_before: usize,
    xml_attributes_before: usize,
}

/// The context of the current place in a document.
#[derive(Debug, Default)]
pub struct Context {
    text: String,
    elements: Vec<OpenElement>,
    declarations: Vec<Pair>,
    xml_attributes: Vec<Pair>,
}

impl Context {
    pub fn depth(&self) -> usize {
        self.elements.len()
    }

    /// Bytes that count towards [`Limits::context_bytes_max`].
    pub(super) fn kept_bytes(&self) -> usize {
        self.text.len()
    }

    /// Opens an element; its declarations follow by [`Self::declare`].
    pub(super) fn open(&mut self, name: &str, prefix: &str, limits: &Limits) -> Result<(), ErrorKind> {
        check_limit("depth of elements", limits.depth_max, self.elements.len() + 1)?;
        let (declarations_before, xml_attributes_before) =
            (self.declarations.len(), self.xml_attributes.len());
        let name = self.keep(name, limits)?;
        self.elements.push(OpenElement {
            name,
            prefix: prefix.len(),
            namespace: Namespace::None,
            declarations_before,
            xml_attributes_before,
        });
        Ok(())
    }

    /// Finds the namespace of the innermost element once its declarations are known.
    pub(super) fn settle(&mut self) -> Result<(), ErrorKind> {
        let (element, parent) = match self.elements.as_slice() {
            [] => return Ok(()),
            [element] => (element, None),
            [.., parent, element] => (element, Some(parent)),
        };
        let prefix = self.prefix(element);
        // Where nothing is declared, a prefix means what it means to the parent.
        let inherited = parent.filter(|parent| {
            element.declarations_before == self.declarations.len() && same(self.prefix(parent), prefix)
        });
        let namespace = match inherited {
            Some(parent) => parent.namespace.clone(),
            None => self.lookup(prefix).ok_or_else(|| ErrorKind::PrefixUnbound(prefix.to_owned()))?,
        };
        if let Some(element) = self.elements.last_mut() {
            element.namespace = namespace;
        }
        Ok(())
    }

    /// The expanded names of the open elements, the root first.
    pub fn path(&self) -> Vec<(String, String)> {
        let names = self.elements.iter().map(|element| self.name_of(element));
        names.map(|name| (name.ns.to_owned(), name.local.to_owned())).collect()
    }

    /// The innermost open element.
    pub(super) fn name_here(&self) -> Option<Name<'_>> {
        self.elements.last().map(|element| self.name_of(element))
    }

    fn prefix(&self, element: &OpenElement) -> &str {
        let start = element.name.start;
        self.text.get(start..start + element.prefix).unwrap_or_default()
    }

    fn name_of(&self, element: &OpenElement) -> Name<'_> {
        let (name, prefix) = (self.slice(&element.name), self.prefix(element));
        let local = if prefix.is_empty() { name } else { name.get(prefix.len() + 1..).unwrap_or_default() };
        Name { ns: self.uri(&element.namespace), local, prefix }
    }

    pub(super) fn close(&mut self) {
        if let Some(element) = self.elements.pop() {
            self.declarations.truncate(element.declarations_before);
            self.xml_attributes.truncate(element.xml_attributes_before);
            self.text.truncate(element.name.start);
        }
    }

    /// The name of the innermost open element as written.
    pub fn open_name(&self) -> Option<&str> {
        self.elements.last().map(|element| self.slice(&element.name))
    }

    pub(super) fn declare(&mut self, prefix: &str, uri: &str, limits: &Limits) -> Result<(), ErrorKind> {
        let reserved = match prefix {
            "xml" => uri != NS_XML,
            "xmlns" => true,
            _ => uri == NS_XML || uri == NS_XMLNS,
        };
        if reserved {
            return Err(ErrorKind::NotWellFormed("declaration of a reserved prefix or namespace"));
        }
        if uri.is_empty() && !prefix.is_empty() {
            return Err(ErrorKind::NotWellFormed("prefix declared with an empty namespace"));
        }
        if self.declared_here().any(|known| known.prefix == prefix) {
            let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
            return Err(ErrorKind::AttributeTwice(name));
        }
        check_limit("namespace declarations in scope", limits.namespaces_max, self.declarations.len() + 1)?;
        let key = self.keep(prefix, limits)?;
        let value = self.keep(uri, limits)?;
        self.declarations.push(Pair { key, value });
        Ok(())
    }

    pub(super) fn keep_xml_attribute(
        &mut self,
        local: &str,
        value: &str,
        limits: &Limits,
    ) -> Result<(), ErrorKind> {
        let key = self.keep(local, limits)?;
        let value = self.keep(value, limits)?;
        self.xml_attributes.push(Pair { key, value });
        Ok(())
    }

    /// The namespace a prefix is bound to; the empty prefix asks for the default namespace.
    pub fn resolve(&self, prefix: &str) -> Option<&str> {
        self.lookup(prefix).map(|namespace| match namespace {
            Namespace::None => "",
            Namespace::Xml => NS_XML,
            Namespace::Kept(range) => self.slice(&range),
        })
    }

    pub(super) fn lookup(&self, prefix: &str) -> Option<Namespace> {
        if prefix == "xml" {
            return Some(Namespace::Xml);
        }
        match self.declarations.iter().rev().find(|pair| same(self.slice(&pair.key), prefix)) {
            Some(pair) => Some(Namespace::Kept(pair.value.clone())),
            None if prefix.is_empty() => Some(Namespace::None),
            None => None,
        }
    }

    pub(super) fn uri(&self, namespace: &Namespace) -> &str {
        match namespace {
            Namespace::None => "",
            Namespace::Xml => NS_XML,
            Namespace::Kept(range) => self.slice(range),
        }
    }

    /// The declarations that stand on the innermost element, in their order.
    pub fn declared_here(&self) -> impl Iterator<Item = Declaration<'_>> + Clone {
        let from = self.elements.last().map_or(0, |element| element.declarations_before);
        self.declarations.get(from..).unwrap_or_default().iter().map(|pair| self.declaration(pair))
    }

    /// The declarations in force, one for each prefix, innermost first. An undeclared default namespace is left out.
    pub fn in_scope(&self) -> impl Iterator<Item = Declaration<'_>> {
        let mut seen = HashSet::new();
        self.declarations
            .iter()
            .rev()
            .map(|pair| self.declaration(pair))
            .filter(move |declaration| seen.insert(declaration.prefix))
            .filter(|declaration| !(declaration.prefix.is_empty() && declaration.uri.is_empty()))
    }

    /// The `xml:` attributes of the ancestors as (local name, value), the nearest first; not those of the innermost
    /// element. A name may come more than once.
    pub fn inherited_xml_attributes(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let until = self.elements.last().map_or(0, |element| element.xml_attributes_before);
        let outer = self.xml_attributes.get(..until).unwrap_or_default();
        outer.iter().rev().map(|pair| (self.slice(&pair.key), self.slice(&pair.value)))
    }

    fn declaration(&self, pair: &Pair) -> Declaration<'_> {
        Declaration { prefix: self.slice(&pair.key), uri: self.slice(&pair.value) }
    }

    fn keep(&mut self, text: &str, limits: &Limits) -> Result<Range<usize>, ErrorKind> {
        let start = self.text.len();
        check_limit("bytes kept for open elements", limits.context_bytes_max, start + text.len())?;
        self.text.push_str(text);
        Ok(start..self.text.len())
    }

    fn slice(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

/// Equality of short texts, without a call for each.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| a == b)
}
