//! A small tree for documents and parts of documents that are known to be small: SOAP headers, metadata, settings.
//! It is bounded by [`Limits`] and built from reader events, so that a large document can be streamed with only its
//! small parts as trees. Comments and processing instructions are dropped; the text around them is joined.
//! For bytes that are signed use [`Element::span`] into the document: a tree is never a source for those.

use std::ops::Range;
use std::sync::Arc;

use super::read::{Event, Name, SliceReader, StartElement};
use super::write::Writer;
use super::{Error, NS_XML, check_limit};

/// Bounds on one builder, all trees it builds taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Elements and pieces of text.
    pub nodes_max: usize,
    /// Bytes of text, attribute values, names and declarations.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes_max: 20_000, bytes_max: 1 << 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub ns: String,
    pub local: String,
    pub prefix: String,
    pub value: String,
}

impl From<super::read::Attribute<'_>> for Attribute {
    fn from(attribute: super::read::Attribute<'_>) -> Self {
        let Name { ns, local, prefix } = attribute.name;
        let (ns, local, prefix) = (ns.to_owned(), local.to_owned(), prefix.to_owned());
        Self { ns, local, prefix, value: attribute.value.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    Text(String),
}

/// The declarations of an element and, through its parent, all that are in scope.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    parent: Option<Arc<Scope>>,
    declarations: Vec<(String, String)>,
}

impl Scope {
    fn resolve(&self, prefix: &str) -> Option<&str> {
        let here = self.declarations.iter().find(|(known, _)| known == prefix);
        match here {
            Some((_, uri)) => Some(uri),
            None => self.parent.as_ref()?.resolve(prefix),
        }
    }

    /// Every prefix in scope with its namespace, innermost first.
    fn all<'a>(&'a self, out: &mut Vec<(&'a str, &'a str)>) {
        for (prefix, uri) in &self.declarations {
            if !out.iter().any(|(known, _)| known == prefix) {
                out.push((prefix, uri));
            }
        }
        if let Some(parent) = &self.parent {
            parent.all(out);
        }
    }
}

/// An element with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    ns: String,
    local: String,
    prefix: String,
    attributes: Vec<Attribute>,
    children: Vec<Node>,
    scope: Arc<Scope>,
    span: Range<u64>,
}

impl Element {
    /// Reads a whole document.
    pub fn parse(document: &[u8], reading: &super::Limits, limits: &Limits) -> Result<Self, Error> {
        let mut reader = SliceReader::new(document, reading.clone());
        let mut builder = Builder::new(limits.clone());
        let mut root = None;
        while let Some(event) = reader.next_event()? {
            root = builder.push(&event)?.or(root);
        }
        // A complete document has a root, and the builder hands it out with its end tag.
        root.ok_or_else(|| super::ErrorKind::Truncated("there is no root element").at(document.len() as u64))
    }

    /// The namespace; empty for none.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    pub fn local(&self) -> &str {
        &self.local
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn is(&self, ns: &str, local: &str) -> bool {
        self.local == local && self.ns == ns
    }

    /// The bytes of the document from the start tag's `<` to the end tag's `>`.
    pub fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The value of an attribute; the namespace is empty for an attribute without prefix.
    pub fn attribute(&self, ns: &str, local: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| attribute.local == local && attribute.ns == ns);
        found.map(|attribute| attribute.value.as_str())
    }

    pub fn nodes(&self) -> &[Node] {
        &self.children
    }

    /// The child elements in their order.
    pub fn children(&self) -> impl Iterator<Item = &Element> + Clone {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child with this name.
    pub fn child(&self, ns: &str, local: &str) -> Option<&Element> {
        self.children().find(|child| child.is(ns, local))
    }

    /// All children with this name.
    pub fn children_named<'a>(
        &'a self,
        ns: &'a str,
        local: &'a str,
    ) -> impl Iterator<Item = &'a Element> + Clone {
        self.children().filter(move |child| child.is(ns, local))
    }

    /// The first element down a path of names, each in the namespace given with it.
    pub fn descend(&self, path: &[(&str, &str)]) -> Option<&Element> {
        path.iter().try_fold(self, |element, (ns, local)| element.child(ns, local))
    }

    /// The element's own text, that of its children left out, pieces joined.
    pub fn text(&self) -> String {
        let own = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        own.collect()
    }

    /// The own text without white space around it.
    pub fn text_trimmed(&self) -> String {
        self.text().trim_matches([' ', '\t', '\r', '\n']).to_owned()
    }

    /// The namespace of a prefix used in a value, such as that of `xsi:type`.
    pub fn resolve_prefix(&self, prefix: &str) -> Option<&str> {
        if prefix == "xml" {
            return Some(NS_XML);
        }
        self.scope.resolve(prefix).or(prefix.is_empty().then_some(""))
    }

    /// Writes the element so that it means the same wherever it is spliced in: every namespace in scope is declared
    /// on it, for a prefix may be used in a value (`xsi:type`) without being seen in a name, and a default namespace
    /// of the new place is undone if the element had none.
    pub fn serialise_standalone(&self) -> String {
        let mut scope = Vec::new();
        self.scope.all(&mut scope);
        if !scope.iter().any(|(prefix, _)| prefix.is_empty()) && self.has_name_without_namespace() {
            scope.push(("", ""));
        }
        scope.sort_unstable();
        let mut writer = Writer::new();
        self.write(&mut writer, &scope);
        writer.finish()
    }

    fn has_name_without_namespace(&self) -> bool {
        self.ns.is_empty() || self.children().any(Self::has_name_without_namespace)
    }

    fn write(&self, writer: &mut Writer, declarations: &[(&str, &str)]) {
        writer.start(&qualified(&self.prefix, &self.local));
        for (prefix, uri) in declarations {
            writer.namespace(prefix, uri);
        }
        for attribute in &self.attributes {
            writer.attribute(&qualified(&attribute.prefix, &attribute.local), &attribute.value);
        }
        for node in &self.children {
            match node {
                Node::Text(text) => {
                    writer.text(text);
                }
                // Children share the scope of their parent unless they declare something themselves.
                Node::Element(child) if Arc::ptr_eq(&child.scope, &self.scope) => child.write(writer, &[]),
                Node::Element(child) => {
                    let own = child.scope.declarations.iter().map(|(p, u)| (p.as_str(), u.as_str()));
                    child.write(writer, &own.collect::<Vec<_>>());
                }
            }
        }
        writer.end();
    }
}

fn qualified(prefix: &str, local: &str) -> String {
    if prefix.is_empty() { local.to_owned() } else { format!("{prefix}:{local}") }
}

/// Builds trees from events: the first start tag opens one, and its end tag hands it out.
#[derive(Debug)]
pub struct Builder {
    limits: Limits,
    open: Vec<Element>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Vec::new(), nodes: 0, bytes: 0 }
    }

    /// True while an element is incomplete.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes the next event; the element when it is complete. Text outside an element is ignored.
    pub fn push(&mut self, event: &Event<'_>) -> Result<Option<Element>, Error> {
        match event {
            Event::Start(start) => {
                let element = self.element(start)?;
                self.open.push(element);
            }
            Event::Text(piece) if !self.open.is_empty() => self.text(piece)?,
            Event::End(end) => {
                let Some(mut element) = self.open.pop() else { return Ok(None) };
                element.span.end = end.span().end;
                match self.open.last_mut() {
                    Some(parent) => parent.children.push(Node::Element(element)),
                    None => return Ok(Some(element)),
                }
            }
            Event::Text(_) | Event::Comment(_) | Event::ProcessingInstruction { .. } => {}
        }
        Ok(None)
    }

    fn element(&mut self, start: &StartElement<'_>) -> Result<Element, Error> {
        let Name { ns, local, prefix } = start.name();
        let attributes: Vec<Attribute> = start.attributes().map(Attribute::from).collect();
        let scope = match self.open.last() {
            Some(parent) if start.declarations().next().is_none() => parent.scope.clone(),
            Some(parent) => Arc::new(Scope {
                parent: Some(parent.scope.clone()),
                declarations: start.declarations().map(|d| (d.prefix.to_owned(), d.uri.to_owned())).collect(),
            }),
            None => Arc::new(Scope {
                parent: None,
                declarations: start
                    .context()
                    .in_scope()
                    .filter(|d| d.prefix != "xml")
                    .map(|d| (d.prefix.to_owned(), d.uri.to_owned()))
                    .collect(),
            }),
        };
        let bytes = [ns, local, prefix].iter().map(|part| part.len()).sum::<usize>()
            + attributes
                .iter()
                .map(|a| a.ns.len() + a.local.len() + a.prefix.len() + a.value.len())
                .sum::<usize>()
            + start.declarations().map(|d| d.prefix.len() + d.uri.len()).sum::<usize>();
        self.count(1 + attributes.len(), bytes).map_err(|kind| kind.at(start.span().start))?;
        let (ns, local, prefix) = (ns.to_owned(), local.to_owned(), prefix.to_owned());
        Ok(Element { ns, local, prefix, attributes, children: Vec::new(), scope, span: start.span() })
    }

    fn text(&mut self, piece: &str) -> Result<(), Error> {
        let joins =
            self.open.last().is_some_and(|element| matches!(element.children.last(), Some(Node::Text(_))));
        let at = self.open.last().map_or(0, |element| element.span.start);
        self.count(usize::from(!joins), piece.len()).map_err(|kind| kind.at(at))?;
        if let Some(element) = self.open.last_mut() {
            match element.children.last_mut() {
                Some(Node::Text(text)) => text.push_str(piece),
                _ => element.children.push(Node::Text(piece.to_owned())),
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize) -> Result<(), super::ErrorKind> {
        self.nodes += nodes;
        self.bytes += bytes;
        check_limit("nodes of a tree", self.limits.nodes_max, self.nodes)?;
        check_limit("bytes of a tree", self.limits.bytes_max, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::ErrorKind;

    fn parse(document: &str) -> Element {
        Element::parse(document.as_bytes(), &Default::default(), &Default::default()).unwrap()
    }

    #[test]
    fn accessors() {
        let document = " <r xmlns='u' xmlns:p='v' p:k='1' k='2'>a<!--x-->b<![CDATA[c]]><p:c>1</p:c><c> 2\n</c><p:c/>&amp;</r>";
        let root = parse(document);
        assert!(root.is("u", "r"));
        assert_eq!(
            (root.attribute("v", "k"), root.attribute("", "k"), root.attribute("u", "k")),
            (Some("1"), Some("2"), None)
        );
        assert_eq!(root.text(), "abc&");
        assert_eq!(root.child("u", "c").unwrap().text_trimmed(), "2");
        assert_eq!(root.children_named("v", "c").count(), 2);
        assert_eq!(root.children().count(), 3);
        assert_eq!(root.descend(&[("v", "c")]).unwrap().text(), "1");
        assert!(root.descend(&[("v", "c"), ("v", "c")]).is_none());
        let span = root.child("u", "c").unwrap().span();
        assert_eq!(&document[span.start as usize..span.end as usize], "<c> 2\n</c>");
        assert_eq!(root.resolve_prefix("p"), Some("v"));
        assert_eq!(root.resolve_prefix("q"), None);
    }

    #[test]
    fn standalone_means_the_same_elsewhere() {
        for (document, path, expected) in [
            (
                "<p:r xmlns:p='u' xmlns:x='t'><p:m x:type='x:T'>&lt;</p:m></p:r>",
                &[("u", "m")][..],
                r#"<p:m xmlns:p="u" xmlns:x="t" x:type="x:T">&lt;</p:m>"#,
            ),
            ("<p:r xmlns:p='u'><m><n/></m></p:r>", &[("", "m")], r#"<m xmlns="" xmlns:p="u"><n></n></m>"#),
            (
                "<r xmlns='u'><m><n xmlns=''/><o xmlns='v' xml:lang='de'/></m></r>",
                &[("u", "m")],
                r#"<m xmlns="u"><n xmlns=""></n><o xmlns="v" xml:lang="de"></o></m>"#,
            ),
            (
                "<r xmlns='u' xmlns:p='1'><m xmlns:p='2'><p:n/></m></r>",
                &[("u", "m")],
                r#"<m xmlns="u" xmlns:p="2"><p:n></p:n></m>"#,
            ),
        ] {
            let root = parse(document);
            let standalone = root.descend(path).unwrap().serialise_standalone();
            assert_eq!(standalone, expected);
            // The same names come back inside a place with declarations of its own.
            let spliced = parse(&format!("<e xmlns='other' xmlns:p='other'>{standalone}</e>"));
            fn names(element: &Element, out: &mut Vec<(String, String)>) {
                out.push((element.ns.clone(), element.local.clone()));
                element.children().for_each(|child| names(child, out));
            }
            let (mut before, mut after) = (Vec::new(), Vec::new());
            names(root.descend(path).unwrap(), &mut before);
            names(spliced.children().next().unwrap(), &mut after);
            assert_eq!(after, before, "{document}");
        }
    }

    #[test]
    fn trees_are_bounded() {
        let limits = Limits { nodes_max: 4, bytes_max: 10 };
        for (document, named) in [
            ("<a><b/><c/><d/></a>", None),
            ("<a><b/><c/><d/><e/></a>", Some("nodes of a tree")),
            ("<a b='' c='' d=''>x</a>", Some("nodes of a tree")),
            ("<a>123456789</a>", None),
            ("<a>12345<!-- -->67890</a>", Some("bytes of a tree")),
            ("<a b='123456789'/>", Some("bytes of a tree")),
            ("<a xmlns:p='123456789'/>", Some("bytes of a tree")),
        ] {
            let outcome = Element::parse(document.as_bytes(), &Default::default(), &limits);
            let found = match outcome.map_err(|error| error.kind) {
                Err(ErrorKind::LimitExceeded { limit, .. }) => Some(limit),
                Ok(_) => None,
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, named, "{document}");
        }
    }
}
