//! Canonical XML 1.0 (inclusive) and Exclusive XML Canonicalization 1.0, with and without comments, of a whole
//! document or of the subtree below one element, streamed over reader events into a sink such as a digest.
//!
//! The reader's events carry the context of the subtree (declarations and `xml:` attributes of its ancestors), so
//! nothing but the namespaces already written is held. Left out: other node sets than whole subtrees (no XPath),
//! Canonical XML 1.1. A caller that leaves out an element (enveloped signature) does not push its events.

use super::escape;
use super::namespaces::same;
use super::read::{Attribute, EndElement, Event, Name, Permit, StartElement};

/// The algorithms by their identifiers in signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Inclusive,
    InclusiveWithComments,
    Exclusive,
    ExclusiveWithComments,
}

impl Algorithm {
    const ALL: [Self; 4] =
        [Self::Inclusive, Self::InclusiveWithComments, Self::Exclusive, Self::ExclusiveWithComments];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Inclusive => "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
            Self::InclusiveWithComments => "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments",
            Self::Exclusive => "http://www.w3.org/2001/10/xml-exc-c14n#",
            Self::ExclusiveWithComments => "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.uri() == uri)
    }

    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive | Self::ExclusiveWithComments)
    }

    pub fn keeps_comments(self) -> bool {
        matches!(self, Self::InclusiveWithComments | Self::ExclusiveWithComments)
    }

    /// The same without comments: a same-document reference never sees them (XML Signature, section 4.4.3.3).
    pub fn without_comments(self) -> Self {
        if self.is_exclusive() { Self::Exclusive } else { Self::Inclusive }
    }
}

/// Canonicalises the events pushed into it, from the apex' start tag (or, for a document, the first event) on.
#[derive(Debug)]
pub struct Canonicalizer {
    algorithm: Algorithm,
    /// Prefixes that exclusive canonicalization treats inclusively, sorted; empty for the default namespace.
    inclusive_prefixes: Vec<String>,
    /// Namespaces written on the open elements: bytes of prefix and of prefix with URI in `rendered_text`.
    rendered: Vec<(usize, usize, usize)>,
    rendered_text: String,
    /// For each open element, how many of them its ancestors wrote.
    marks: Vec<usize>,
    root_ended: bool,
}

impl Canonicalizer {
    /// `prefix_list` is the value of InclusiveNamespaces/@PrefixList, and is ignored by the inclusive algorithms.
    pub fn new(algorithm: Algorithm, prefix_list: &str) -> Self {
        let prefixes = prefix_list.split_ascii_whitespace();
        let mut inclusive_prefixes: Vec<String> =
            prefixes.map(|p| if p == "#default" { "" } else { p }.to_owned()).collect();
        inclusive_prefixes.sort_unstable();
        Self {
            algorithm,
            inclusive_prefixes,
            rendered: Vec::new(),
            rendered_text: String::new(),
            marks: Vec::new(),
            root_ended: false,
        }
    }

    /// Takes the next event and hands the canonical form to `sink`; true once the apex has ended.
    pub fn push(&mut self, event: &Event<'_>, sink: &mut impl FnMut(&[u8])) -> bool {
        match event {
            Event::Start(start) => {
                self.start(start, sink);
                return false;
            }
            Event::End(end) => {
                self.end(end, sink);
                return self.root_ended;
            }
            _ => {}
        }
        let mut out = |text: &str| sink(text.as_bytes());
        match event {
            Event::Start(_) | Event::End(_) => {}
            Event::Text(piece) if !self.marks.is_empty() => escape::text(piece, &mut out),
            Event::Text(_) => {}
            Event::Comment(text) if self.algorithm.keeps_comments() => {
                self.outside_element(&mut out, |out| {
                    out("<!--");
                    out(text);
                    out("-->");
                });
            }
            Event::Comment(_) => {}
            Event::ProcessingInstruction { target, data } => {
                self.outside_element(&mut out, |out| {
                    out("<?");
                    out(target);
                    if !data.is_empty() {
                        out(" ");
                        out(data);
                    }
                    out("?>");
                });
            }
        }
        self.root_ended
    }

    /// What becomes of elements of this prefix in a run ([`super::read::StreamReader::plain_run`]): below the apex it
    /// stands in canonical form as it is, but for the declaration of a prefix that no ancestor has written.
    pub fn permit(&self, prefix: &str, uri: &str) -> Permit {
        if self.marks.is_empty() {
            Permit::Refused
        } else if !self.algorithm.is_exclusive() || prefix == "xml" || self.rendered_uri(prefix) == uri {
            Permit::AsItStands
        } else {
            Permit::Declared
        }
    }

    /// Beside the root, nodes are parted from it by a line feed.
    fn outside_element<O: FnMut(&str)>(&self, out: &mut O, write: impl FnOnce(&mut O)) {
        let outside = self.marks.is_empty();
        if outside && self.root_ended {
            out("\n");
        }
        write(out);
        if outside && !self.root_ended {
            out("\n");
        }
    }

    fn start(&mut self, start: &StartElement<'_>, sink: &mut impl FnMut(&[u8])) {
        let is_apex = self.marks.is_empty();
        self.marks.push(self.rendered.len());
        let mut namespaces = if self.algorithm.is_exclusive() {
            self.exclusive_namespaces(start, is_apex)
        } else {
            Self::inclusive_namespaces(start, is_apex)
        };
        // What an output ancestor has written as well is not written again.
        namespaces.retain(|(prefix, uri)| self.rendered_uri(prefix) != *uri);
        // What is written canonically, declares nothing and is to declare nothing is taken as it stands.
        let inherits = is_apex && !self.algorithm.is_exclusive();
        if namespaces.is_empty()
            && !start.plain().is_empty()
            && !inherits
            && start.declarations().next().is_none()
            && are_in_order(start)
        {
            return sink(start.plain());
        }
        namespaces.sort_unstable();
        namespaces.dedup();

        let out = &mut |text: &str| sink(text.as_bytes());
        out("<");
        out(start.written_name());
        for (prefix, uri) in namespaces {
            out(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            out(prefix);
            write_value(uri, out);
            self.keep(prefix, uri);
        }
        if !inherits && start.attributes().nth(1).is_none() {
            start.attributes().for_each(|only| write_attribute(&only, out));
        } else {
            let mut attributes: Vec<Attribute<'_>> = start.attributes().collect();
            if inherits {
                inherit_xml_attributes(start, &mut attributes);
            }
            attributes.sort_by(|a, b| (a.name.ns, a.name.local).cmp(&(b.name.ns, b.name.local)));
            attributes.iter().for_each(|attribute| write_attribute(attribute, out));
        }
        out(">");
    }

    fn end(&mut self, end: &EndElement<'_>, sink: &mut impl FnMut(&[u8])) {
        let Some(mark) = self.marks.pop() else { return };
        if let Some((start, ..)) = self.rendered.get(mark) {
            self.rendered_text.truncate(*start);
            self.rendered.truncate(mark);
        }
        self.root_ended = self.marks.is_empty();
        if !end.plain().is_empty() {
            return sink(end.plain());
        }
        for piece in ["</", end.written_name(), ">"] {
            sink(piece.as_bytes());
        }
    }

    fn keep(&mut self, prefix: &str, uri: &str) {
        let start = self.rendered_text.len();
        self.rendered_text.push_str(prefix);
        let middle = self.rendered_text.len();
        self.rendered_text.push_str(uri);
        self.rendered.push((start, middle, self.rendered_text.len()));
    }

    /// What an output ancestor has written for a prefix; nothing written is the same as "no namespace".
    fn rendered_uri(&self, prefix: &str) -> &str {
        let text = |from: usize, to: usize| self.rendered_text.get(from..to).unwrap_or_default();
        let known = self.rendered.iter().rev().find(|(start, middle, _)| same(text(*start, *middle), prefix));
        known.map_or("", |(_, middle, end)| text(*middle, *end))
    }

    /// Canonical XML 1.0, section 2.3: on the apex all in scope, below it what changes.
    fn inclusive_namespaces<'a>(start: &StartElement<'a>, is_apex: bool) -> Vec<(&'a str, &'a str)> {
        let pair = |declaration: super::namespaces::Declaration<'a>| (declaration.prefix, declaration.uri);
        let mut namespaces: Vec<_> = if is_apex {
            start.context().in_scope().map(pair).collect()
        } else {
            start.declarations().map(pair).collect()
        };
        namespaces.retain(|(prefix, _)| *prefix != "xml");
        namespaces
    }

    /// Exclusive XML Canonicalization, section 3: what the element visibly uses, and the listed prefixes.
    fn exclusive_namespaces<'a>(&self, start: &StartElement<'a>, is_apex: bool) -> Vec<(&'a str, &'a str)> {
        let mut namespaces = Vec::new();
        if !self.inclusive_prefixes.is_empty() {
            namespaces = Self::inclusive_namespaces(start, is_apex);
            namespaces.retain(|(prefix, _)| {
                self.inclusive_prefixes.binary_search_by(|listed| listed.as_str().cmp(prefix)).is_ok()
            });
        }
        // Most elements use what is written already: nothing is gathered for them.
        let mut gather = |name: Name<'a>| {
            if name.prefix != "xml" && self.rendered_uri(name.prefix) != name.ns {
                namespaces.push((name.prefix, name.ns));
            }
        };
        gather(start.name());
        start
            .attributes()
            .map(|found| found.name)
            .filter(|name| !name.prefix.is_empty())
            .for_each(&mut gather);
        namespaces
    }
}

fn are_in_order(start: &StartElement<'_>) -> bool {
    let names = || start.attributes().map(|attribute| (attribute.name.ns, attribute.name.local));
    names().zip(names().skip(1)).all(|(before, after)| before < after)
}

/// Canonical XML 1.0, section 2.4: the apex takes `xml:` attributes of its ancestors, the nearest ones, unless it has
/// them itself.
fn inherit_xml_attributes<'a>(start: &StartElement<'a>, attributes: &mut Vec<Attribute<'a>>) {
    for (local, value) in start.context().inherited_xml_attributes() {
        let name = Name { ns: super::NS_XML, local, prefix: "xml" };
        if !attributes.iter().any(|known| known.name.is(name.ns, local)) {
            attributes.push(Attribute { name, value });
        }
    }
}

fn write_attribute(attribute: &Attribute<'_>, out: &mut impl FnMut(&str)) {
    out(" ");
    write_name(&attribute.name, out);
    write_value(attribute.value, out);
}

fn write_name(name: &Name<'_>, out: &mut impl FnMut(&str)) {
    if !name.prefix.is_empty() {
        out(name.prefix);
        out(":");
    }
    out(name.local);
}

fn write_value(value: &str, out: &mut impl FnMut(&str)) {
    out("=\"");
    escape::attribute(value, out);
    out("\"");
}

#[cfg(test)]
#[path = "c14n_tests.rs"]
mod tests;
