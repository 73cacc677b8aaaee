//! The SOAP part as it passes: the header is held, because digests of its blocks need the algorithms that a signature
//! among them names; the body is not.

use std::collections::HashSet;

use super::content::{Package, PackageReader};
use super::header::{Block, Header};
use super::scope::Scope;
use super::signature::{self, Refused};
use super::{Error, Limits};
use crate::osci::message;
use crate::osci::message::kind::{Kind, Place, Schema};
use crate::osci::message::names::{NS_OSCI, NS_SOAP, NS_XENC, NS_XSI};
use crate::osci::message::payload::Payload;
use crate::xml::dsig;
use crate::xml::dsig::signature::{Collector, Signature};
use crate::xml::dsig::verify::Verification;
use crate::xml::read::{Event, Reader as XmlReader, StartElement};
use crate::xml::soap::{self, EnvelopeReader, Step, Version};
use crate::xml::tree::{self, Builder, Element};

/// Bytes that are parsed at once, so that the bound on the header is kept.
const PIECE: usize = 64 * 1024;

/// A signature over the message that was found and is not judged yet, because attachments may follow.
pub(super) struct Pending {
    pub(super) signature: Signature,
    pub(super) verification: Verification,
}

/// What an envelope holds.
pub(super) enum Contents {
    Message(Box<MessageParts>),
    Encrypted(Element),
    Fault(Element),
}

pub(super) struct MessageParts {
    pub(super) header: Header,
    pub(super) payload: Payload,
    pub(super) package: Option<Package>,
    pub(super) blocks: Vec<Block>,
    pub(super) signature: Option<Result<Pending, Refused>>,
    pub(super) scope: Scope,
}

pub(super) struct SoapReader {
    xml: XmlReader,
    state: State,
}

struct State {
    limits: Limits,
    envelope: EnvelopeReader,
    /// The document up to the body's start tag.
    held: Vec<u8>,
    /// Every Id of the document: two of one value would be two targets of one reference.
    ids: HashSet<String>,
    header_seen: bool,
    in_body: bool,
    scope: Scope,
    schema: Option<Schema>,
    collector: Option<Collector>,
    header: Option<Header>,
    signature: Option<Result<Pending, Refused>>,
    body_id: Option<String>,
    body: Body,
}

enum Body {
    Empty,
    Tree(Builder),
    Read(Box<Element>),
    Package(Box<PackageReader>),
}

impl SoapReader {
    pub(super) fn new(limits: &Limits) -> Self {
        let tree = tree::Limits { bytes_max: limits.header_bytes_max, ..tree::Limits::default() };
        let envelope = soap::Limits { tree: tree.clone(), ..soap::Limits::default() };
        Self {
            xml: XmlReader::new(limits.xml.clone()),
            state: State {
                limits: limits.clone(),
                envelope: EnvelopeReader::new(envelope),
                held: Vec::new(),
                ids: HashSet::new(),
                header_seen: false,
                in_body: false,
                scope: Scope::empty(),
                schema: None,
                collector: Some(Collector::new(limits.signature.clone(), tree)),
                header: None,
                signature: None,
                body_id: None,
                body: Body::Empty,
            },
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for mut piece in bytes.chunks(PIECE) {
            self.state.hold(piece)?;
            while let Some(event) = self.xml.next_event(&mut piece)? {
                self.state.event(&event)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Contents, Error> {
        self.xml.finish()?;
        self.state.finish()
    }
}

impl State {
    fn hold(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.in_body {
            return Ok(());
        }
        if self.held.len() > self.limits.header_bytes_max {
            let value = self.limits.header_bytes_max;
            return Err(Error::LimitExceeded { limit: "bytes of the header", value });
        }
        self.held.extend_from_slice(piece);
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        let step = self.envelope.push(event)?;
        if let Event::Start(start) = event {
            self.note_ids(start)?;
            match start.context().depth() {
                1 => self.root(start)?,
                2 if start.is(NS_SOAP, "Header") => {
                    self.header_seen = true;
                    self.scope.header = Scope::declared(start);
                }
                2 if start.is(NS_SOAP, "Body") => return self.begin_body(start),
                _ => {}
            }
        }
        if let Some(Ok(pending)) = &mut self.signature {
            let pushed = pending.verification.push(event);
            if let Err(error) = pushed {
                self.signature = Some(Err(Refused::Invalid(error)));
            }
        }
        if let Some(collector) = &mut self.collector {
            collector.push(event)?;
        }
        if step == Step::BodyContent {
            self.body_event(event)?;
        }
        Ok(())
    }

    fn note_ids(&mut self, start: &StartElement<'_>) -> Result<(), Error> {
        for attribute in start.attributes() {
            // The same as count when the message is signed on its way out, or it would be taken and never handed out.
            if !dsig::is_id(&attribute.name) {
                continue;
            }
            if !self.ids.insert(attribute.value.to_owned()) {
                return Err(Error::IdTwice(attribute.value.chars().take(80).collect()));
            }
            let value = self.limits.signature.ids_max;
            if self.ids.len() > value {
                return Err(Error::LimitExceeded { limit: "Id attributes", value });
            }
        }
        Ok(())
    }

    fn root(&mut self, start: &StartElement<'_>) -> Result<(), Error> {
        if self.envelope.frame().version != Version::Soap11 {
            return Err(soap::Error::VersionMismatch("SOAP 1.2".to_owned()).into());
        }
        self.scope.envelope = Scope::declared(start);
        let location = start.attributes().find(|attribute| attribute.name.is(NS_XSI, "schemaLocation"));
        self.schema = match location {
            None => None,
            // Clients look for the attribute by its name, and we hand envelopes on with their sender's prefixes.
            Some(location) if location.name.prefix != "xsi" => return Err(Error::SchemaUnknown),
            Some(location) => Some(Schema::from_location(location.value).ok_or(Error::SchemaUnknown)?),
        };
        Ok(())
    }

    fn begin_body(&mut self, start: &StartElement<'_>) -> Result<(), Error> {
        self.in_body = true;
        self.scope.body = Scope::declared(start);
        let mut held = std::mem::take(&mut self.held);
        held.truncate(usize::try_from(start.span().end).unwrap_or(usize::MAX));
        let collector = self.collector.take();
        match self.schema {
            Some(Schema::Message(kind)) => {
                let header = Header::read(kind, &self.envelope.frame().header_blocks, &held)?;
                let id = start.attribute("", "Id").filter(|id| !id.is_empty());
                let id = id.ok_or(Error::invalid("header block or Body", "it has no Id"))?;
                self.body_id = Some(id.to_owned());
                if let (Some(block), Some(collector)) = (&header.signature, collector) {
                    self.signature = Some(pending(block, collector, &held, &self.limits)?);
                }
                self.header = Some(header);
            }
            Some(Schema::Encrypted) if self.header_seen => {
                return Err(Error::invalid("encrypted envelope", "it has a Header"));
            }
            _ => {}
        }
        Ok(())
    }

    fn body_event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if let (Event::Start(start), Body::Empty) = (event, &self.body) {
            self.body = self.begin_content(start)?;
        }
        match &mut self.body {
            Body::Tree(builder) => {
                if let Some(element) = builder.push(event)? {
                    self.body = Body::Read(Box::new(element));
                }
            }
            Body::Package(package) => package.push(event)?,
            Body::Empty | Body::Read(_) => {}
        }
        Ok(())
    }

    fn begin_content(&self, start: &StartElement<'_>) -> Result<Body, Error> {
        let tree = || Body::Tree(Builder::new(self.limits.body_tree.clone()));
        let name = start.name();
        let unexpected = || message::Error::Unexpected {
            parent: "Body".to_owned(),
            element: name.local.chars().take(80).collect(),
        };
        match self.schema {
            Some(Schema::Message(kind)) => match kind.place() {
                Place::Body if start.is(kind.namespace(), &kind.element()) => Ok(tree()),
                Place::HeaderWithContent | Place::HeaderWithOptionalContent
                    if start.is(NS_OSCI, "ContentPackage") =>
                {
                    let (depth, at) = (start.context().depth(), start.span().start);
                    Ok(Body::Package(Box::new(PackageReader::new(depth, at, &self.limits))))
                }
                _ => Err(unexpected().into()),
            },
            Some(Schema::Encrypted) if start.is(NS_XENC, "EncryptedData") => Ok(tree()),
            None if start.is(NS_SOAP, "Fault") => Ok(tree()),
            None => Err(Error::SchemaUnknown),
            Some(Schema::Encrypted) => Err(unexpected().into()),
        }
    }

    fn finish(self) -> Result<Contents, Error> {
        let frame = self.envelope.finish()?;
        let missing = |element: &str| message::Error::Missing {
            parent: "Body".to_owned(),
            element: element.to_owned(),
        };
        let kind = match (self.schema, self.body) {
            (Some(Schema::Encrypted), Body::Read(data)) => return Ok(Contents::Encrypted(*data)),
            (None, Body::Read(fault)) => return Ok(Contents::Fault(*fault)),
            (Some(Schema::Encrypted), _) => return Err(missing("EncryptedData").into()),
            (None, _) => return Err(Error::SchemaUnknown),
            (Some(Schema::Message(kind)), body) => (kind, body),
        };
        let (kind, body): (Kind, Body) = kind;
        // Both were set when the body began, and a frame is complete only with a body.
        let (Some(mut header), Some(id)) = (self.header, self.body_id) else {
            return Err(soap::Error::BodyMissing.into());
        };
        let (mut payload, mut package) = (header.payload.take(), None);
        match body {
            Body::Read(element) => payload = Some(Payload::read(kind, &element)?),
            Body::Package(read) => package = Some(read.finish()),
            Body::Empty | Body::Tree(_) => {}
        }
        let payload = payload.ok_or_else(|| missing(&kind.element()))?;
        if kind.place() == Place::HeaderWithContent && package.is_none() {
            return Err(missing("ContentPackage").into());
        }
        let mut blocks = header.blocks.clone();
        blocks.push(Block { id, span: frame.body_span });
        Ok(Contents::Message(Box::new(MessageParts {
            header,
            payload,
            package,
            blocks,
            signature: self.signature,
            scope: self.scope,
        })))
    }
}

/// Picks the one signature of the signature block, and brings its verification up to the body's start tag.
fn pending(
    block: &Element,
    collector: Collector,
    held: &[u8],
    limits: &Limits,
) -> Result<Result<Pending, Refused>, Error> {
    let shape = |why| Error::invalid("signature block", why);
    let mut children = block.children();
    let element = children.next().ok_or(shape("it is empty"))?;
    if children.next().is_some() {
        return Err(shape("it has more than one child"));
    }
    let span = element.span();
    let candidate = collector.finish().into_iter().find(|candidate| candidate.span() == span);
    let signature = match candidate.ok_or(shape("it holds no Signature"))?.signature {
        Ok(signature) => signature,
        Err(error) => return Ok(Err(Refused::Invalid(error))),
    };
    signature::signer_id(&signature)?;
    let mut verification = Verification::new(signature.clone());
    let mut reader = XmlReader::new(limits.xml.clone());
    let mut input = held;
    while let Some(event) = reader.next_event(&mut input)? {
        if let Err(error) = verification.push(&event) {
            return Ok(Err(Refused::Invalid(error)));
        }
    }
    Ok(Ok(Pending { signature, verification }))
}
