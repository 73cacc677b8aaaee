//! The SOAP envelope, versions 1.1 and 1.2, as both protocols use it: header blocks as trees, the single child of
//! Body either as a tree ([`Envelope::parse`]) or left to the caller as events ([`EnvelopeReader`]), for bodies with
//! content of any size. WS-Addressing 1.0 header values, and faults.
//!
//! Two Headers, two Bodies, anything after Body or beside Body's one child are refused: two readers that dispatch on
//! different ones are an attack that worked against others. Left out: mustUnderstand processing (the doors know
//! their headers), roles, encodingStyle.

use std::ops::Range;

use super::read::{Event, SliceReader, StartElement};
use super::tree::{Builder, Element};
use super::write::Writer;
use super::{Error as XmlError, tree};

/// WS-Addressing 1.0.
pub const NS_ADDRESSING: &str = "http://www.w3.org/2005/08/addressing";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Soap11,
    Soap12,
}

impl Version {
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Soap11 => "http://schemas.xmlsoap.org/soap/envelope/",
            Self::Soap12 => "http://www.w3.org/2003/05/soap-envelope",
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Soap11 => "text/xml",
            Self::Soap12 => "application/soap+xml",
        }
    }

    fn of(namespace: &str) -> Option<Self> {
        [Self::Soap11, Self::Soap12].into_iter().find(|version| version.namespace() == namespace)
    }
}

/// Bounds on an envelope, beside those on reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub header_blocks_max: usize,
    /// Of all header blocks together, and once more of the body's child where it is read as a tree.
    pub tree: tree::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_blocks_max: 64, tree: tree::Limits::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("root element is not a SOAP Envelope")]
    NotAnEnvelope,
    #[error("Envelope is of an unknown SOAP version: {0}")]
    VersionMismatch(String),
    #[error("Envelope has more than one {0}")]
    Twice(&'static str),
    #[error("Header stands after Body")]
    HeaderAfterBody,
    #[error("Envelope has no Body")]
    BodyMissing,
    #[error("Envelope has a child that is neither Header nor Body: {0}")]
    Unexpected(String),
    #[error("text where only elements may stand, in {0}")]
    Text(&'static str),
    #[error("header blocks are {max} at most")]
    HeaderBlocks { max: usize },
    #[error("WS-Addressing header {0} occurs twice")]
    AddressingTwice(&'static str),
}

/// What an event meant to the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belonged to the envelope itself.
    Envelope,
    /// It is part of Body's child, which the caller reads.
    BodyContent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectEnvelope,
    ExpectHeaderOrBody,
    InHeader,
    ExpectBody,
    ExpectBodyChild,
    InBodyChild { depth: usize },
    ExpectBodyEnd,
    ExpectEnvelopeEnd,
    Done,
}

/// What stands around Body's child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub version: Version,
    pub envelope_attributes: Vec<tree::Attribute>,
    pub envelope_span: Range<u64>,
    pub header_blocks: Vec<Element>,
    pub body_attributes: Vec<tree::Attribute>,
    pub body_span: Range<u64>,
    /// The bytes of Body's child; empty if there is none.
    pub body_child_span: Range<u64>,
}

impl Frame {
    /// The first header block with this name.
    pub fn header_block(&self, ns: &str, local: &str) -> Option<&Element> {
        self.header_blocks.iter().find(|block| block.is(ns, local))
    }
}

/// Sorts the events of an envelope: header blocks become trees, Body's child is left to the caller.
#[derive(Debug)]
pub struct EnvelopeReader {
    limits: Limits,
    state: State,
    builder: Builder,
    frame: Frame,
    header_seen: bool,
}

impl EnvelopeReader {
    pub fn new(limits: Limits) -> Self {
        Self {
            builder: Builder::new(limits.tree.clone()),
            limits,
            state: State::ExpectEnvelope,
            frame: Frame {
                version: Version::Soap12,
                envelope_attributes: Vec::new(),
                envelope_span: 0..0,
                header_blocks: Vec::new(),
                body_attributes: Vec::new(),
                body_span: 0..0,
                body_child_span: 0..0,
            },
            header_seen: false,
        }
    }

    /// Takes the next event of the document.
    pub fn push(&mut self, event: &Event<'_>) -> Result<Step, Error> {
        if let State::InBodyChild { depth } = self.state {
            return Ok(self.body_content(depth, event));
        }
        if self.state == State::InHeader {
            return self.header_content(event).map(|()| Step::Envelope);
        }
        match event {
            Event::Start(start) => return self.start(start),
            Event::End(end) => match self.state {
                State::ExpectBodyChild | State::ExpectBodyEnd => {
                    self.frame.body_span.end = end.span().end;
                    self.state = State::ExpectEnvelopeEnd;
                }
                State::ExpectEnvelopeEnd => {
                    self.frame.envelope_span.end = end.span().end;
                    self.state = State::Done;
                }
                _ => return Err(Error::BodyMissing),
            },
            Event::Text(piece) => {
                let place = match self.state {
                    State::ExpectBodyChild | State::ExpectBodyEnd => "Body",
                    _ => "Envelope",
                };
                refuse_text(piece, place)?;
            }
            Event::Comment(_) | Event::ProcessingInstruction { .. } => {}
        }
        Ok(Step::Envelope)
    }

    /// True from the moment on at which all header blocks are known.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::ExpectBodyChild | State::InBodyChild { .. } | State::ExpectBodyEnd)
            || matches!(self.state, State::ExpectEnvelopeEnd | State::Done)
    }

    /// What was read so far; complete once the document is.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The complete frame, to be asked for at the end of the document.
    pub fn finish(self) -> Result<Frame, Error> {
        if self.state == State::Done { Ok(self.frame) } else { Err(Error::BodyMissing) }
    }

    fn start(&mut self, start: &StartElement<'_>) -> Result<Step, Error> {
        let name = start.name();
        let soap = self.frame.version.namespace();
        let is_header = start.is(soap, "Header");
        let is_body = start.is(soap, "Body");
        match self.state {
            State::ExpectEnvelope => {
                if name.local != "Envelope" {
                    return Err(Error::NotAnEnvelope);
                }
                let unknown = || Error::VersionMismatch(name.ns.chars().take(200).collect());
                self.frame.version = Version::of(name.ns).ok_or_else(unknown)?;
                self.frame.envelope_attributes = attributes(start);
                self.frame.envelope_span = start.span();
                self.state = State::ExpectHeaderOrBody;
            }
            State::ExpectHeaderOrBody if is_header => {
                self.header_seen = true;
                self.state = State::InHeader;
            }
            State::ExpectHeaderOrBody | State::ExpectBody if is_body => {
                self.frame.body_attributes = attributes(start);
                self.frame.body_span = start.span();
                self.state = State::ExpectBodyChild;
            }
            State::ExpectBody if is_header => return Err(Error::Twice("Header")),
            State::ExpectBodyChild => {
                self.frame.body_child_span = start.span();
                self.state = State::InBodyChild { depth: start.context().depth() };
                return Ok(Step::BodyContent);
            }
            State::ExpectBodyEnd => return Err(Error::Twice("child of Body")),
            State::ExpectEnvelopeEnd if is_body => return Err(Error::Twice("Body")),
            State::ExpectEnvelopeEnd if is_header && self.header_seen => return Err(Error::Twice("Header")),
            State::ExpectEnvelopeEnd if is_header => return Err(Error::HeaderAfterBody),
            _ => return Err(Error::Unexpected(name.local.chars().take(80).collect())),
        }
        Ok(Step::Envelope)
    }

    fn header_content(&mut self, event: &Event<'_>) -> Result<(), Error> {
        // The envelope is 1 deep, the Header 2.
        match event {
            Event::End(end) if end.depth() == 2 => self.state = State::ExpectBody,
            Event::Text(piece) if !self.builder.is_open() => refuse_text(piece, "Header")?,
            _ => {
                if let Some(block) = self.builder.push(event)? {
                    self.frame.header_blocks.push(block);
                    let max = self.limits.header_blocks_max;
                    if self.frame.header_blocks.len() > max {
                        return Err(Error::HeaderBlocks { max });
                    }
                }
            }
        }
        Ok(())
    }

    fn body_content(&mut self, depth: usize, event: &Event<'_>) -> Step {
        if let Event::End(end) = event
            && end.depth() == depth
        {
            self.frame.body_child_span.end = end.span().end;
            self.state = State::ExpectBodyEnd;
        }
        Step::BodyContent
    }
}

fn refuse_text(piece: &str, place: &'static str) -> Result<(), Error> {
    if piece.bytes().all(super::chars::is_white) { Ok(()) } else { Err(Error::Text(place)) }
}

fn attributes(start: &StartElement<'_>) -> Vec<tree::Attribute> {
    start.attributes().map(tree::Attribute::from).collect()
}

/// A whole envelope that is known to be small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub frame: Frame,
    pub body_child: Option<Element>,
}

impl Envelope {
    pub fn parse(document: &[u8], reading: &super::Limits, limits: &Limits) -> Result<Self, Error> {
        let mut reader = SliceReader::new(document, reading.clone());
        let mut envelope = EnvelopeReader::new(limits.clone());
        let mut builder = Builder::new(limits.tree.clone());
        let mut body_child = None;
        while let Some(event) = reader.next_event()? {
            if envelope.push(&event)? == Step::BodyContent {
                body_child = builder.push(&event)?.or(body_child);
            }
        }
        Ok(Self { frame: envelope.finish()?, body_child })
    }
}

/// The WS-Addressing 1.0 values of a header. Absent ones are `None`: several clients send none at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressing {
    pub action: Option<String>,
    pub message_id: Option<String>,
    pub relates_to: Option<String>,
    pub to: Option<String>,
    /// The address inside ReplyTo.
    pub reply_to: Option<String>,
}

impl Addressing {
    pub fn from_frame(frame: &Frame) -> Result<Self, Error> {
        let value = |local: &'static str| -> Result<Option<&Element>, Error> {
            let mut found = frame.header_blocks.iter().filter(|block| block.is(NS_ADDRESSING, local));
            let first = found.next();
            if found.next().is_some() {
                return Err(Error::AddressingTwice(local));
            }
            Ok(first)
        };
        let text = |element: &Element| Some(element.text_trimmed()).filter(|text| !text.is_empty());
        let reply_to = value("ReplyTo")?.and_then(|reply_to| reply_to.child(NS_ADDRESSING, "Address"));
        Ok(Self {
            action: value("Action")?.and_then(text),
            message_id: value("MessageID")?.and_then(text),
            // RelatesTo may occur several times, one for each relationship; the first is the reply's.
            relates_to: frame.header_block(NS_ADDRESSING, "RelatesTo").and_then(text),
            to: value("To")?.and_then(text),
            reply_to: reply_to.and_then(text),
        })
    }

    /// The header blocks of these values, with their namespace declared on each.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new();
        for (name, value) in [
            ("wsa:Action", &self.action),
            ("wsa:MessageID", &self.message_id),
            ("wsa:RelatesTo", &self.relates_to),
            ("wsa:To", &self.to),
        ] {
            if let Some(value) = value {
                writer.start(name).namespace("wsa", NS_ADDRESSING).text(value).end();
            }
        }
        if let Some(address) = &self.reply_to {
            writer.start("wsa:ReplyTo").namespace("wsa", NS_ADDRESSING).element("wsa:Address", address).end();
        }
        writer.finish()
    }
}

/// Writes an envelope around header blocks and a body that are XML already, each declaring its own prefixes.
pub fn envelope(version: Version, header_blocks: &str, body: &str) -> String {
    let mut writer = Writer::new();
    writer.declaration().start("soap:Envelope").namespace("soap", version.namespace());
    if !header_blocks.is_empty() {
        writer.start("soap:Header").raw(header_blocks).end();
    }
    writer.start("soap:Body").raw(body).end();
    writer.finish()
}

/// Who is to blame, in the words of SOAP 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    Sender,
    Receiver,
    VersionMismatch,
    MustUnderstand,
}

/// A fault. The reason is read by people; programs read the detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    pub reason: String,
    /// Language of the reason, for example `de`.
    pub language: String,
    /// XML that declares its own prefixes; empty for none.
    pub detail: String,
}

impl Fault {
    /// The whole envelope of the fault.
    pub fn to_envelope(&self, version: Version, header_blocks: &str) -> String {
        envelope(version, header_blocks, &self.to_xml(version))
    }

    /// The Fault element, with the prefix `soap` that [`envelope`] declares.
    pub fn to_xml(&self, version: Version) -> String {
        let mut writer = Writer::new();
        writer.start("soap:Fault");
        match version {
            Version::Soap12 => {
                let code = match self.code {
                    FaultCode::Sender => "soap:Sender",
                    FaultCode::Receiver => "soap:Receiver",
                    FaultCode::VersionMismatch => "soap:VersionMismatch",
                    FaultCode::MustUnderstand => "soap:MustUnderstand",
                };
                writer.start("soap:Code").element("soap:Value", code).end();
                writer.start("soap:Reason").start("soap:Text").attribute("xml:lang", &self.language);
                writer.text(&self.reason).end().end();
                if !self.detail.is_empty() {
                    writer.start("soap:Detail").raw(&self.detail).end();
                }
            }
            Version::Soap11 => {
                let code = match self.code {
                    FaultCode::Sender => "soap:Client",
                    FaultCode::Receiver => "soap:Server",
                    FaultCode::VersionMismatch => "soap:VersionMismatch",
                    FaultCode::MustUnderstand => "soap:MustUnderstand",
                };
                writer.element("faultcode", code).element("faultstring", &self.reason);
                if !self.detail.is_empty() {
                    writer.start("detail").raw(&self.detail).end();
                }
            }
        }
        writer.finish()
    }
}

#[cfg(test)]
#[path = "soap_tests.rs"]
mod tests;
