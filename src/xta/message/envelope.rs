//! The SOAP envelope of a request, read while it arrives (SOAP 1.2, WS-Addressing 1.0).
//!
//! Headers and body become a small tree; what lies in a content container does not: its octets come out as they are
//! decoded, so that 40 MB of inline base64 cost no more memory than a page. What is kept is bounded by
//! [`EnvelopeLimits`], and each refusal names the limit. Left out: SOAP 1.1, roles, relaying.

use std::collections::VecDeque;

use super::container::{Item, ItemSource};
use super::element::{Element, Node, qualified};
use super::markup::{escape_attribute, escape_text};
use super::names::{OSCI, OSCIMETA, SOAP, WSA, XENC, XOP, XTA};
use crate::domain::content::PartRole;
use crate::mime::transfer::Base64Decoder;
use crate::xml::read::{Event, Reader, StartElement};
use crate::{mime, xml};

#[derive(Debug, Clone)]
pub struct EnvelopeLimits {
    pub xml: xml::Limits,
    /// Bytes of the envelope without its content.
    pub envelope_bytes_max: u64,
    /// Characters of inline content, as written.
    pub content_text_bytes_max: u64,
    /// Items of content.
    pub items_max: usize,
    /// Fragments that are passed on as they are (security tokens).
    pub fragments_max: usize,
    /// Elements that are held.
    pub elements_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error(transparent)]
    Xml(#[from] xml::Error),
    #[error("the root element is not a SOAP 1.2 Envelope but {0}")]
    NotSoap(String),
    #[error("the envelope without its content has at most {max} bytes")]
    TooLarge { max: u64 },
    #[error("inline content has at most {max} bytes of text")]
    ContentTooLarge { max: u64 },
    #[error("{what}: at most {max} are allowed")]
    TooMany { what: &'static str, max: usize },
    #[error("header {0} must be understood, and is not")]
    NotUnderstood(String),
    #[error(transparent)]
    Message(#[from] super::Error),
    #[error("{element} is not base64: {source}")]
    Base64 { element: String, source: mime::Error },
}

/// What comes out while an envelope is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Content with this index begins; it is inline.
    Begin(usize),
    /// The next octets of the inline content.
    Octets(Vec<u8>),
    /// The inline content is over.
    End(usize),
}

/// A request's envelope.
#[derive(Debug)]
pub struct Envelope {
    pub headers: Vec<Element>,
    /// The first element of the body; clients put stray elements into empty bodies.
    pub body: Option<Element>,
    pub items: Vec<Item>,
}

impl Envelope {
    /// The header of that name; none if absent or nil, an error if there are two.
    pub fn header(&self, namespace: &str, local: &str) -> Result<Option<&Element>, super::Error> {
        let mut found = self.headers.iter().filter(|header| header.is(namespace, local) && !header.is_nil());
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(super::Error::Twice { parent: "Header".to_owned(), element: local.to_owned() }),
        }
    }
}

fn addressing(headers: &[Element], local: &str) -> Option<String> {
    let header = headers.iter().find(|header| header.is(WSA, local))?;
    Some(header.trimmed()).filter(|text| !text.is_empty())
}

#[derive(Debug)]
enum Mode {
    Tree,
    /// Inside Message or Attachment.
    Content {
        decoder: Base64Decoder,
        include: bool,
        begun: bool,
        depth: usize,
    },
    /// Inside EncryptedData, which is written down as it is read.
    Verbatim {
        depth: usize,
        include: bool,
    },
}

/// Reads an envelope from chunks cut anywhere.
#[derive(Debug)]
pub struct EnvelopeReader {
    reader: Reader,
    gathered: Gathered,
}

/// What the events of the document have built up so far.
#[derive(Debug)]
struct Gathered {
    limits: EnvelopeLimits,
    /// Open elements of the tree, the envelope first.
    open: Vec<Element>,
    mode: Mode,
    headers: Vec<Element>,
    body: Option<Element>,
    items: Vec<Item>,
    content_bytes: u64,
    fragments: usize,
    elements: usize,
    pending: VecDeque<Piece>,
    header_over: bool,
    done: bool,
}

impl EnvelopeReader {
    pub fn new(limits: EnvelopeLimits) -> Self {
        Self {
            reader: Reader::new(limits.xml.clone()),
            gathered: Gathered {
                limits,
                open: Vec::new(),
                mode: Mode::Tree,
                headers: Vec::new(),
                body: None,
                items: Vec::new(),
                content_bytes: 0,
                fragments: 0,
                elements: 0,
                pending: VecDeque::new(),
                header_over: false,
                done: false,
            },
        }
    }

    /// The next piece of content; `None` when `input` is used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Piece>, EnvelopeError> {
        loop {
            if let Some(piece) = self.gathered.pending.pop_front() {
                return Ok(Some(piece));
            }
            let more = match self.reader.next_event(input)? {
                None => false,
                Some(event) => self.gathered.take(event).map(|()| true)?,
            };
            self.gathered.check_size(self.reader.offset())?;
            if !more {
                return Ok(None);
            }
        }
    }

    /// A header of WS-Addressing, as soon as it was read.
    pub fn addressing(&self, local: &str) -> Option<String> {
        addressing(&self.gathered.headers, local)
    }

    /// Content that has begun, by its index.
    pub fn item(&self, index: usize) -> Option<&Item> {
        self.gathered.items.get(index)
    }

    /// True once the headers are complete (or will never come).
    pub fn header_is_over(&self) -> bool {
        self.gathered.header_over
    }

    /// To be called at the end of the document.
    pub fn finish(self) -> Result<Envelope, EnvelopeError> {
        self.reader.finish()?;
        let Gathered { headers, body, items, done, .. } = self.gathered;
        if !done {
            return Err(super::Error::missing("Envelope", "Body").into());
        }
        Ok(Envelope { headers, body, items })
    }
}

impl Gathered {
    fn check_size(&self, offset: u64) -> Result<(), EnvelopeError> {
        let max = self.limits.envelope_bytes_max;
        if offset.saturating_sub(self.content_bytes) > max {
            return Err(EnvelopeError::TooLarge { max });
        }
        let max = self.limits.content_text_bytes_max;
        if self.content_bytes > max {
            return Err(EnvelopeError::ContentTooLarge { max });
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), EnvelopeError> {
        match std::mem::replace(&mut self.mode, Mode::Tree) {
            Mode::Tree => self.take_tree(event),
            Mode::Content { decoder, include, begun, depth } => {
                self.take_content(event, decoder, include, begun, depth)
            }
            Mode::Verbatim { depth, include } => self.take_verbatim(event, depth, include),
        }
    }

    fn take_tree(&mut self, event: Event<'_>) -> Result<(), EnvelopeError> {
        match event {
            Event::Start(tag) => {
                if self.open.is_empty() && !tag.is(SOAP, "Envelope") {
                    return Err(EnvelopeError::NotSoap(format!("{{{}}}{}", tag.name().ns, tag.name().local)));
                }
                if let Some(role) = self.content_role(&tag) {
                    return self.begin_content(&tag, role);
                }
                if self.open.len() == 1 && tag.is(SOAP, "Body") {
                    self.header_over = true;
                }
                self.elements += 1;
                self.check_count("elements of the envelope", self.limits.elements_max, self.elements)?;
                let element = Element::start(&tag);
                if element.scope.is_some() {
                    self.fragments += 1;
                    self.check_count(
                        "security tokens and other fragments",
                        self.limits.fragments_max,
                        self.fragments,
                    )?;
                }
                self.open.push(element);
            }
            Event::Text(piece) => {
                // Text between headers and around the body means nothing.
                if self.open.len() > 2
                    && let Some(element) = self.open.last_mut()
                {
                    element.push_text(piece);
                }
            }
            Event::End(_) => self.close()?,
            Event::Comment(_) | Event::ProcessingInstruction { .. } => {}
        }
        Ok(())
    }

    /// Closes the innermost element and hangs it where it belongs.
    fn close(&mut self) -> Result<(), EnvelopeError> {
        let Some(element) = self.open.pop() else { return Ok(()) };
        match self.open.len() {
            0 => {}
            1 if element.is(SOAP, "Body") => {
                if self.done {
                    let (parent, element) = ("Envelope".to_owned(), "Body".to_owned());
                    return Err(super::Error::Twice { parent, element }.into());
                }
                self.done = true;
            }
            1 if element.is(SOAP, "Header") && !self.header_over => self.header_over = true,
            1 => {
                let parent = "Envelope".to_owned();
                return Err(super::Error::Unexpected { parent, element: element.local }.into());
            }
            2 if self.open.last().is_some_and(|parent| parent.is(SOAP, "Header")) => {
                if must_understand(&element) && !is_known_header(&element) {
                    return Err(EnvelopeError::NotUnderstood(element.local));
                }
                self.headers.push(element);
            }
            2 => {
                // Only the first element of a body is a message; one more would be a second one to somebody else.
                if self.body.is_some() {
                    let (parent, element) = ("Body".to_owned(), element.local);
                    return Err(super::Error::Unexpected { parent, element }.into());
                }
                self.body = Some(element);
            }
            _ => {
                if let Some(parent) = self.open.last_mut() {
                    parent.nodes.push(Node::Element(element));
                }
            }
        }
        Ok(())
    }

    /// The role of content that begins here, if the place is one of a content container.
    fn content_role(&self, tag: &StartElement<'_>) -> Option<PartRole> {
        let at = |index: usize, namespace, local| {
            self.open.get(index).is_some_and(|element| element.is(namespace, local))
        };
        if !(at(1, SOAP, "Body") && at(2, XTA, "GenericContentContainer")) {
            return None;
        }
        match self.open.len() {
            3 if tag.is(XENC, "EncryptedData") => Some(PartRole::EncryptedData),
            4 if at(3, XTA, "ContentContainer") && tag.is(XTA, "Message") => Some(PartRole::Message),
            4 if at(3, XTA, "ContentContainer") && tag.is(XTA, "Attachment") => Some(PartRole::Attachment),
            _ => None,
        }
    }

    fn begin_content(&mut self, tag: &StartElement<'_>, role: PartRole) -> Result<(), EnvelopeError> {
        let index = self.items.len();
        self.check_count("items of content", self.limits.items_max, index + 1)?;
        if role == PartRole::EncryptedData {
            self.items.push(Item::encrypted());
            self.pending.push_back(Piece::Begin(index));
            self.write_start(tag, true);
            self.mode = Mode::Verbatim { depth: 1, include: false };
            return Ok(());
        }
        self.items.push(Item::from_attributes(role, |name| tag.attribute("", name).map(str::to_owned))?);
        self.mode = Mode::Content { decoder: Base64Decoder::new(), include: false, begun: false, depth: 0 };
        Ok(())
    }

    fn take_content(
        &mut self,
        event: Event<'_>,
        mut decoder: Base64Decoder,
        mut include: bool,
        mut begun: bool,
        mut depth: usize,
    ) -> Result<(), EnvelopeError> {
        let index = self.items.len().saturating_sub(1);
        let element = self.items.last().map_or("Message", Item::element).to_owned();
        let two_sources = || super::Error::invalid(&element, "it has both an xop:Include and text, or two");
        match event {
            Event::Text(piece) => {
                if include || depth > 0 {
                    if piece.bytes().any(|byte| !byte.is_ascii_whitespace()) {
                        return Err(two_sources().into());
                    }
                } else {
                    self.content_bytes += piece.len() as u64;
                    let mut octets = Vec::new();
                    decoder
                        .decode(piece.as_bytes(), &mut octets)
                        .map_err(|source| EnvelopeError::Base64 { element: element.clone(), source })?;
                    if !octets.is_empty() {
                        if !begun {
                            self.pending.push_back(Piece::Begin(index));
                            begun = true;
                        }
                        self.pending.push_back(Piece::Octets(octets));
                    }
                }
            }
            Event::Start(tag) => {
                if !tag.is(XOP, "Include") || depth > 0 {
                    let unexpected = tag.name().local.to_owned();
                    return Err(super::Error::Unexpected { parent: element, element: unexpected }.into());
                }
                if include || begun {
                    return Err(two_sources().into());
                }
                let href = tag.attribute("", "href").unwrap_or_default();
                if let Some(item) = self.items.last_mut() {
                    item.source = ItemSource::Part(include_target(href)?);
                }
                include = true;
                depth += 1;
            }
            Event::End(_) if depth > 0 => depth -= 1,
            Event::End(_) => {
                decoder.finish().map_err(|source| EnvelopeError::Base64 { element, source })?;
                if !include {
                    if !begun {
                        self.pending.push_back(Piece::Begin(index));
                    }
                    self.pending.push_back(Piece::End(index));
                }
                return Ok(());
            }
            Event::Comment(_) | Event::ProcessingInstruction { .. } => {}
        }
        self.mode = Mode::Content { decoder, include, begun, depth };
        Ok(())
    }

    fn take_verbatim(
        &mut self,
        event: Event<'_>,
        mut depth: usize,
        mut include: bool,
    ) -> Result<(), EnvelopeError> {
        match event {
            Event::Start(tag) if tag.is(XOP, "Include") => {
                let target = include_target(tag.attribute("", "href").unwrap_or_default())?;
                if let Some(Item { source: ItemSource::Encrypted { rest }, .. }) = self.items.last_mut() {
                    rest.push((target, Vec::new()));
                }
                include = true;
            }
            Event::Start(tag) => {
                self.write_start(&tag, false);
                depth += 1;
            }
            Event::End(tag) if include && tag.is(XOP, "Include") => include = false,
            Event::End(tag) => {
                let name = tag.name();
                self.write_verbatim(format!("</{}>", qualified(name.prefix, name.local)), 0);
                depth -= 1;
                if depth == 0 {
                    self.pending.push_back(Piece::End(self.items.len().saturating_sub(1)));
                    return Ok(());
                }
            }
            Event::Text(piece) => self.write_verbatim(escape_text(piece), piece.len()),
            Event::Comment(comment) => self.write_verbatim(format!("<!--{comment}-->"), 0),
            Event::ProcessingInstruction { target, data } => {
                self.write_verbatim(format!("<?{target} {data}?>"), 0);
            }
        }
        self.mode = Mode::Verbatim { depth, include };
        Ok(())
    }

    fn write_start(&mut self, tag: &StartElement<'_>, apex: bool) {
        let mut out = format!("<{}", qualified(tag.name().prefix, tag.name().local));
        let mut declare = |prefix: &str, uri: &str| {
            let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
            out.push_str(&format!(" {name}=\"{}\"", escape_attribute(uri)));
        };
        if apex {
            tag.context().in_scope().for_each(|scope| declare(scope.prefix, scope.uri));
        } else {
            tag.declarations().for_each(|own| declare(own.prefix, own.uri));
        }
        for attribute in tag.attributes() {
            let name = qualified(attribute.name.prefix, attribute.name.local);
            out.push_str(&format!(" {name}=\"{}\"", escape_attribute(attribute.value)));
        }
        out.push('>');
        self.write_verbatim(out, 0);
    }

    /// Hands on bytes of EncryptedData, or keeps them where a part must come before them.
    fn write_verbatim(&mut self, text: String, content_bytes: usize) {
        if let Some(Item { source: ItemSource::Encrypted { rest }, .. }) = self.items.last_mut()
            && let Some((_, behind)) = rest.last_mut()
        {
            // Held in memory, and therefore counted as envelope.
            behind.extend_from_slice(text.as_bytes());
            return;
        }
        self.content_bytes += content_bytes as u64;
        self.pending.push_back(Piece::Octets(text.into_bytes()));
    }

    fn check_count(&self, what: &'static str, max: usize, seen: usize) -> Result<(), EnvelopeError> {
        if seen > max { Err(EnvelopeError::TooMany { what, max }) } else { Ok(()) }
    }
}

fn include_target(href: &str) -> Result<String, super::Error> {
    match href.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("cid:") && href.len() > 4 => Ok(href.to_owned()),
        _ => Err(super::Error::invalid("xop:Include/@href", "it is not a cid: URI")),
    }
}

fn must_understand(header: &Element) -> bool {
    header.attributes.iter().any(|attribute| {
        attribute.namespace == SOAP
            && attribute.local == "mustUnderstand"
            && matches!(attribute.value.trim(), "true" | "1")
    })
}

/// Headers of this profile are never refused, whether they are used or not.
fn is_known_header(header: &Element) -> bool {
    [WSA, OSCIMETA, OSCI, XTA].contains(&header.namespace.as_str())
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
