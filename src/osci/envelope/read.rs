//! Reading a message from its bytes, cut anywhere: MIME, envelope, attachments, signature (OSCI12, sections 1, 2, 6).
//!
//! What is not a message is an [`Error`]; a message whose signature does not hold is read and says so. Positions are
//! bytes of the stream, so that whoever spooled it finds content and attachments again.

use std::io::Read;
use std::ops::Range;

use super::attachment::{self, Attachment, AttachmentReader};
use super::authors::Authors;
use super::content::Package;
use super::header::Block;
use super::scope::Scope;
use super::signature::{self, Refused, TransportSignature};
use super::soap_part::{Contents, MessageParts, SoapReader};
use super::{Error, Limits};
use crate::mime::content_id;
use crate::mime::read::{Event, Headers, MultipartReader};
use crate::mime::transfer::TransferEncoding;
use crate::osci::message::Message;
use crate::osci::message::kind::Place;
use crate::xml::dsig::DigestMethod;
use crate::xml::tree::Element;

/// What is read of a source at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What came.
#[derive(Debug)]
pub enum Incoming {
    Message(Box<Received>),
    /// An encrypted message: the element that tells how, and where the ciphertext lies.
    Encrypted(Sealed),
    /// An envelope without a schema: a fault.
    Fault(Element),
}

/// The outer envelope of an encrypted message.
#[derive(Debug)]
pub struct Sealed {
    pub data: Element,
    pub ciphertext: Ciphertext,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphertext {
    pub content_id: content_id::ContentId,
    pub span: Range<u64>,
    pub encoding: TransferEncoding,
}

/// A message in the clear.
#[derive(Debug)]
pub struct Received {
    pub message: Message,
    /// None if it is not signed.
    pub signature: Result<Option<TransportSignature>, Refused>,
    pub scope: Scope,
    /// The SOAP part in the stream; spans of blocks and of [`Package`] count from its start.
    pub soap_span: Range<u64>,
    /// Header blocks (without the signature's) and the body.
    pub blocks: Vec<Block>,
    pub package: Option<Package>,
    pub attachments: Vec<Attachment>,
}

impl Received {
    /// Where the bytes of the content package lie in the stream.
    pub fn package_span(&self) -> Option<Range<u64>> {
        let span = &self.package.as_ref()?.span;
        Some(self.soap_span.start + span.start..self.soap_span.start + span.end)
    }

    /// True if binary parts came: an answer may have them, too.
    pub fn has_base64(&self) -> bool {
        self.attachments.iter().any(|attachment| attachment.encoding == TransferEncoding::Base64)
    }

    /// The verification of the authors' signatures; none if there is none in the clear.
    pub fn authors(&self, limits: &Limits) -> Option<Authors> {
        let package = self.package.as_ref().filter(|package| package.signatures() > 0)?;
        Some(Authors::new(package, self.message.certificates.as_ref(), &self.attachments, limits))
    }
}

enum Open {
    Nothing,
    Soap(Box<SoapReader>),
    Attachment(Box<AttachmentReader>),
}

/// Reads one message.
pub struct Reader {
    limits: Limits,
    mime: MultipartReader,
    position: u64,
    open: Open,
    soap_span: Range<u64>,
    contents: Option<Contents>,
    methods: Vec<DigestMethod>,
    attachments: Vec<Attachment>,
    /// From the start of the second part of an encrypted message on.
    sealed: Option<Sealed>,
}

impl Reader {
    pub fn new(limits: Limits) -> Self {
        Self {
            mime: MultipartReader::with_entity_headers(limits.mime.clone()),
            limits,
            position: 0,
            open: Open::Nothing,
            soap_span: 0..0,
            contents: None,
            methods: Vec::new(),
            attachments: Vec::new(),
            sealed: None,
        }
    }

    /// True once the envelope has said that the message is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.contents, Some(Contents::Encrypted(_)))
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.push_past(bytes, &mut |_, _| {})
    }

    /// The same; the ciphertext of an encrypted message passes `ciphertext`, as transmitted. Whether it is followed by what
    /// must not be there shows at the end only.
    pub fn push_past(
        &mut self,
        bytes: &[u8],
        ciphertext: &mut dyn FnMut(&Sealed, &[u8]),
    ) -> Result<(), Error> {
        let mut input = bytes;
        loop {
            let before = input.len();
            let event = self.mime.next_event(&mut input)?;
            self.position += (before - input.len()) as u64;
            match event {
                None => return Ok(()),
                Some(Event::EntityHeaders(headers)) => check_entity(&headers)?,
                Some(Event::PartStart(headers)) => {
                    self.open = match &self.contents {
                        None => {
                            check_soap_headers(&headers)?;
                            self.soap_span = self.position..self.position;
                            Open::Soap(Box::new(SoapReader::new(&self.limits)))
                        }
                        Some(contents) => {
                            check_attachment(contents)?;
                            let (at, methods) = (self.position, &self.methods);
                            let attachment = AttachmentReader::new(&headers, at, methods)?;
                            if let (Contents::Encrypted(data), true) = (contents, self.attachments.is_empty())
                            {
                                self.sealed =
                                    Some(Sealed { data: data.clone(), ciphertext: attachment.ciphertext() });
                            }
                            Open::Attachment(Box::new(attachment))
                        }
                    };
                }
                Some(Event::Data(data)) => match &mut self.open {
                    Open::Soap(soap) => {
                        self.soap_span.end += data.len() as u64;
                        soap.push(data)?;
                    }
                    Open::Attachment(attachment) => match &self.sealed {
                        Some(sealed) if self.attachments.is_empty() => {
                            attachment.push(data)?;
                            ciphertext(sealed, data);
                        }
                        _ => attachment.push(data)?,
                    },
                    Open::Nothing => {}
                },
                Some(Event::PartEnd) => match std::mem::replace(&mut self.open, Open::Nothing) {
                    Open::Soap(soap) => {
                        let contents = soap.finish()?;
                        self.methods = methods(&contents);
                        self.contents = Some(contents);
                    }
                    Open::Attachment(attachment) => self.attachments.push(attachment.finish()?),
                    Open::Nothing => {}
                },
                Some(Event::End) => {}
            }
        }
    }

    /// To be called when all has been taken.
    pub fn finish(self) -> Result<Incoming, Error> {
        self.mime.finish()?;
        match self.contents {
            Some(Contents::Message(parts)) => {
                Ok(Incoming::Message(Box::new(received(*parts, self.soap_span, self.attachments))))
            }
            Some(Contents::Encrypted(data)) => {
                let [ciphertext] = self.attachments.as_slice() else {
                    return Err(Error::invalid("encrypted message", "it has not exactly two parts"));
                };
                let ciphertext = Ciphertext {
                    content_id: ciphertext.content_id.clone(),
                    span: ciphertext.span.clone(),
                    encoding: ciphertext.encoding,
                };
                Ok(Incoming::Encrypted(Sealed { data, ciphertext }))
            }
            Some(Contents::Fault(fault)) => Ok(Incoming::Fault(fault)),
            None => Err(crate::mime::Error::NoPart.into()),
        }
    }
}

/// Reads a message from a source that holds nothing else.
pub fn read(source: &mut dyn Read, limits: &Limits) -> Result<Incoming, Error> {
    let mut reader = Reader::new(limits.clone());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return reader.finish(),
            Ok(read) => reader.push(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Input(error.kind())),
        }
    }
}

/// What has no content has no attachments: nobody would read them, and they may be large.
fn check_attachment(contents: &Contents) -> Result<(), Error> {
    let has_content = match contents {
        Contents::Message(parts) => !matches!(parts.payload.kind().place(), Place::Body | Place::Header),
        Contents::Encrypted(_) => true,
        Contents::Fault(_) => false,
    };
    if has_content { Ok(()) } else { Err(Error::invalid("message without content", "it has attachments")) }
}

fn check_entity(headers: &Headers) -> Result<(), Error> {
    let kind = headers.media_type()?.ok_or(crate::mime::Error::BoundaryMissing)?;
    if kind.is("multipart/related") {
        return Ok(());
    }
    Err(crate::mime::Error::NotMultipart(kind.essence().to_owned()).into())
}

fn check_soap_headers(headers: &Headers) -> Result<(), Error> {
    if let Some(kind) = headers.media_type()? {
        let utf8 = kind.parameter("charset").is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"));
        if !kind.is("text/xml") || !utf8 {
            return Err(Error::invalid("SOAP part", "its Content-Type is not text/xml in UTF-8"));
        }
    }
    match attachment::encoding(headers)? {
        TransferEncoding::Identity => Ok(()),
        TransferEncoding::Base64 => Err(Error::invalid("SOAP part", "it is base64")),
    }
}

/// SHA-256, by which deliveries are told apart, and whatever a signature in the envelope names for an attachment.
fn methods(contents: &Contents) -> Vec<DigestMethod> {
    let Contents::Message(parts) = contents else { return Vec::new() };
    let mut methods = vec![DigestMethod::Sha256];
    let transport = parts.signature.iter().flatten().map(|pending| &pending.signature);
    let authors = parts.package.iter().flat_map(|package| &package.signatures);
    let authors = authors.filter_map(|candidate| candidate.signature.as_ref().ok());
    for (_, method) in transport.chain(authors).flat_map(|signature| signature.attachments()) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

fn received(parts: MessageParts, soap_span: Range<u64>, attachments: Vec<Attachment>) -> Received {
    let message = parts.header.into_message(parts.payload);
    let signature = match parts.signature {
        None => Ok(None),
        Some(Err(refused)) => Err(refused),
        Some(Ok(pending)) => {
            signature::finish(&pending.signature, pending.verification, &message, &parts.blocks, &attachments)
                .map(Some)
        }
    };
    Received {
        message,
        signature,
        scope: parts.scope,
        soap_span,
        blocks: parts.blocks,
        package: parts.package,
        attachments,
    }
}
