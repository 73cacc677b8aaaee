//! Writing a message: the layout that clients in the field write and read (OSCI12, sections 1.1, 2 and 2.1), signed if
//! wanted, with its exact length known before the first byte.
//!
//! Content and attachments are sent from where they lie, never parsed and written again. Around content that is handed
//! on the sender's declarations stand as they stood (section 8.3); our own blocks declare what they use themselves.

use std::io::{self, Write};

use super::attachment::{self, Attachment};
use super::scope::{Place as ScopePlace, Scope};
use super::source::{Shared, Source, pour};
use crate::mime::content_id::ContentId;
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::mime::write::{Boundary, Framing, HeaderLines};
use crate::osci::message::Message;
use crate::osci::message::certificates::LINE_CHARS;
use crate::osci::message::kind::{Place, Schema};
use crate::osci::message::names::{NS_OSCI2017, STANDARD};
use crate::xml::dsig::sign::{Plan, Planned, Signer};
use crate::xml::dsig::signature::Canonicalization;
use crate::xml::dsig::{self, DigestMethod, SignatureMethod, Target};
use crate::xml::read::Reader as XmlReader;
use crate::xml::write::Writer;
use crate::{mime, xml};

const ACTOR_NEXT: &str = "http://schemas.xmlsoap.org/soap/actor/next";
/// Sic.
const ACTOR_NONE: &str = "http://www.w3.org/2001/12/soap-envelope/actor/none";
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\r\n";
pub(super) const SOAP_CONTENT_ID: &str = "<osci@message>";
/// Octets that make one line of base64.
const LINE_OCTETS: usize = LINE_CHARS / 4 * 3;
/// Header fields of a part that are made here and not repeated.
const OWN_FIELDS: [&str; 4] = ["content-type", "content-transfer-encoding", "content-id", "content-length"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MIME: {0}")]
    Mime(#[from] mime::Error),
    #[error("XML: {0}")]
    Xml(#[from] xml::Error),
    #[error("signing: {0}")]
    Signing(#[from] dsig::Error),
    #[error("a content names an attachment that the message does not have")]
    AttachmentMissing,
    #[error("message cannot be encrypted for the recipient's key")]
    Encrypting,
    #[error("content could not be read or sent: {0}")]
    Io(#[from] io::Error),
    #[error("the declarations around the content bind no prefix to SOAP or none to the schema instance")]
    Scope,
    #[error("a {0} has no content package")]
    ContentUnexpected(String),
    #[error("a {0} has a content package")]
    ContentMissing(String),
}

impl Error {
    /// Whether it lies in what the message holds, so that it will never be written; otherwise in the disk, or in whom it
    /// is for.
    pub fn is_of_the_message(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Encrypting)
    }
}

/// Who signs a message, and how. The certificate must stand in the message, under this id.
pub struct Signing<'a> {
    pub signer: &'a dyn Signer,
    pub certificate_id: &'a str,
    pub method: SignatureMethod,
    pub digest: DigestMethod,
}

/// How an attachment's source becomes the bytes of its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Binary,
    /// As base64, made here.
    Base64,
    /// They are base64 already, as their sender wrote it.
    Base64Already,
}

/// An attachment to be sent.
#[derive(Clone)]
pub struct OutgoingAttachment {
    pub content_id: ContentId,
    pub content_type: String,
    /// Further header fields, as their sender wrote them.
    pub extra: Vec<(String, String)>,
    pub source: Shared,
    pub coding: Coding,
    /// Digests that are known already, of the octets.
    pub digests: Vec<(DigestMethod, Vec<u8>)>,
}

impl OutgoingAttachment {
    pub fn new(content_id: ContentId, content_type: &str, source: Shared) -> Self {
        Self {
            content_id,
            content_type: content_type.to_owned(),
            extra: Vec::new(),
            source,
            coding: Coding::Binary,
            digests: Vec::new(),
        }
    }

    /// Hands on an attachment that was received; `source` holds its bytes as transmitted.
    pub fn relayed(attachment: &Attachment, source: Shared) -> Self {
        let own = |name: &str| OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str());
        let extra = attachment.headers.iter().filter(|(name, _)| !own(name));
        Self {
            content_id: attachment.content_id.clone(),
            content_type: attachment.content_type().to_owned(),
            extra: extra.cloned().collect(),
            source,
            coding: match attachment.encoding {
                TransferEncoding::Identity => Coding::Binary,
                TransferEncoding::Base64 => Coding::Base64Already,
            },
            digests: attachment.digests.clone(),
        }
    }

    /// What came in may say what must not go out: a tab or, out of other protocols, any control character in a header
    /// field, and the type text/base64, which says of octets that they are base64.
    fn make_writable(&mut self) {
        let values = self.extra.iter_mut().map(|(_, value)| value);
        for value in values.chain([&mut self.content_type]) {
            if value.chars().any(char::is_control) {
                *value = value.replace(char::is_control, " ").trim().to_owned();
            }
        }
        if self.coding == Coding::Binary && attachment::is_base64_type(&self.content_type) {
            self.coding = Coding::Base64;
        }
    }

    pub fn bytes(&self) -> u64 {
        let octets = self.source.bytes();
        match self.coding {
            Coding::Binary | Coding::Base64Already => octets,
            Coding::Base64 => base64_bytes(octets),
        }
    }

    fn headers(&self) -> Result<HeaderLines, mime::Error> {
        let encoding = match self.coding {
            // Sic: clients write the hyphen here and only here.
            Coding::Binary => "8-bit",
            Coding::Base64 | Coding::Base64Already => "base64",
        };
        let mut lines = HeaderLines::new()
            .with("Content-Type", &self.content_type)?
            .with("Content-Transfer-Encoding", encoding)?
            .with("Content-ID", &format!("<{}>", self.content_id.as_str()))?
            .with("Content-Length", &self.bytes().to_string())?;
        for (name, value) in &self.extra {
            lines = lines.with(name, value)?;
        }
        Ok(lines)
    }

    pub(super) fn digest(&self, method: DigestMethod) -> Result<Vec<u8>, Error> {
        if let Some((_, known)) = self.digests.iter().find(|(known, _)| *known == method) {
            return Ok(known.clone());
        }
        let mut digest = method.begin();
        let mut decoder = (self.coding == Coding::Base64Already).then(Base64Decoder::new);
        pour::<Error>(self.source.as_ref(), &mut |bytes| {
            match &mut decoder {
                None => digest.update(bytes),
                Some(decoder) => {
                    let mut octets = Vec::new();
                    decoder.decode(bytes, &mut octets)?;
                    digest.update(&octets);
                }
            }
            Ok(())
        })?;
        decoder.map(Base64Decoder::finish).transpose()?;
        Ok(digest.finish().as_ref().to_vec())
    }
}

/// A message to be sent.
pub struct Outgoing<'a> {
    pub message: &'a Message,
    /// The sender's, if content or custom headers are handed on.
    pub scope: &'a Scope,
    /// The ContentPackage element, from its start tag to its end tag.
    pub content: Option<Shared>,
    pub attachments: Vec<OutgoingAttachment>,
    pub boundary: Boundary,
    pub signing: Option<Signing<'a>>,
}

impl<'a> Outgoing<'a> {
    /// A message in the usual prefixes, without content, unsigned.
    pub fn new(message: &'a Message, scope: &'a Scope, boundary: Boundary) -> Self {
        Self { message, scope, content: None, attachments: Vec::new(), boundary, signing: None }
    }

    /// Digests, signs and measures; afterwards the message is only poured out.
    pub fn prepare(mut self) -> Result<Prepared, Error> {
        self.attachments.iter_mut().for_each(OutgoingAttachment::make_writable);
        let kind = self.message.kind();
        match (kind.place(), &self.content) {
            (Place::HeaderWithContent, None) => return Err(Error::ContentMissing(kind.to_string())),
            (Place::Body | Place::Header, Some(_)) => return Err(Error::ContentUnexpected(kind.to_string())),
            _ => {}
        }
        let (head, tail) = match self.signed("") {
            // Content that is handed on may hold an Id that is one of ours. Nobody can foresee the boundary.
            Err(Error::Signing(dsig::Error::IdTwice(_))) => {
                let letters = self.boundary.as_str().chars().filter(char::is_ascii_alphanumeric);
                self.signed(&format!("-{}", letters.collect::<String>()))?
            }
            outcome => outcome?,
        };
        let content = self.content.as_ref().map_or(0, |content| content.bytes());
        let mut framing = Framing::new(self.boundary.clone());
        let soap_headers = HeaderLines::new()
            .with("Content-Type", "text/xml; charset=UTF-8")?
            .with("Content-Transfer-Encoding", "8bit")?
            .with("Content-ID", SOAP_CONTENT_ID)?;
        framing.part(&soap_headers, head.len() as u64 + content + tail.len() as u64);
        let mut prepared = Prepared::new(&self.boundary)?;
        for attachment in &self.attachments {
            framing.part(&attachment.headers()?, attachment.bytes());
        }
        prepared.bytes(framing.head(0).unwrap_or_default().to_vec());
        prepared.bytes(head.into_bytes());
        if let Some(content) = self.content {
            prepared.source(content);
        }
        prepared.bytes(tail.into_bytes());
        for (at, attachment) in self.attachments.into_iter().enumerate() {
            prepared.bytes(framing.head(at + 1).unwrap_or_default().to_vec());
            match attachment.coding {
                Coding::Binary | Coding::Base64Already => prepared.source(attachment.source),
                Coding::Base64 => prepared.base64(attachment.source),
            }
        }
        prepared.bytes(framing.close());
        Ok(prepared)
    }

    /// The envelope before and behind the content, with the signature in it.
    fn signed(&self, suffix: &str) -> Result<(String, String), Error> {
        let envelope = self.envelope(suffix)?;
        let Envelope { before, after, body, tail, ids } = envelope;
        let (before, after) = match &self.signing {
            None => (before, after),
            Some(_) => {
                let (open, close) = self.signature_block(suffix);
                (format!("{before}{open}"), format!("{close}{after}"))
            }
        };
        let plan = self.plan(ids, suffix)?;
        let mut digesting = plan.digesting();
        let mut reader = XmlReader::new(xml::Limits::of_our_own());
        let mut push = |mut bytes: &[u8]| -> Result<(), Error> {
            while let Some(event) = reader.next_event(&mut bytes)? {
                digesting.push(&event)?;
            }
            Ok(())
        };
        push(before.as_bytes())?;
        push(after.as_bytes())?;
        push(body.as_bytes())?;
        if let Some(content) = &self.content {
            pour(content.as_ref(), &mut push)?;
        }
        push(tail.as_bytes())?;
        reader.finish()?;
        let references = digesting.finish()?;
        let Some(signing) = &self.signing else {
            return Ok((format!("{before}{after}{body}"), tail));
        };
        // The content is left out: SignedInfo depends on what is around it and not on what follows.
        let skeleton = format!("{before}{after}{body}{tail}");
        let whole = plan.sign_digested(&references, &skeleton, before.len(), signing.signer)?;
        let cut = whole.len() - tail.len();
        let (head, tail) = whole.split_at_checked(cut).unwrap_or((&whole, ""));
        Ok((head.to_owned(), tail.to_owned()))
    }

    /// What is to be digested; of a message that is not signed nothing, but its Ids are compared all the same.
    fn plan(&self, ids: Vec<String>, suffix: &str) -> Result<Plan, Error> {
        let mut plan = Plan {
            method: SignatureMethod::RsaSha256,
            canonicalization: Canonicalization::default(),
            covered: Vec::new(),
            key_info: String::new(),
        };
        let Some(signing) = &self.signing else { return Ok(plan) };
        let element =
            |id: String| Planned::canonical(Target::Element(id), Canonicalization::default(), signing.digest);
        plan.covered = ids.into_iter().map(element).collect();
        for attachment in &self.attachments {
            let digest = attachment.digest(signing.digest)?;
            plan.covered.push(Planned::attachment(attachment.content_id.as_str(), signing.digest, digest));
        }
        let mut uri = format!("#{}", signing.certificate_id);
        let mut own = self.message.intermediary.iter().flat_map(|certificates| certificates.all());
        if own.any(|certificate| certificate.id == signing.certificate_id) {
            uri.push_str(suffix);
        }
        let mut key_info = Writer::new();
        key_info.start("ds:RetrievalMethod").attribute("URI", &uri).end();
        plan.method = signing.method;
        plan.key_info = key_info.finish();
        Ok(plan)
    }

    fn signature_block(&self, suffix: &str) -> (String, String) {
        let name = if self.message.kind().is_request() { "ClientSignature" } else { "SupplierSignature" };
        let mut writer = Writer::new();
        writer.start(&format!("osci:{name}"));
        // Clients repeat the declarations on every block but this one.
        if !self.scope.has_standard_prefixes() {
            declare(&mut writer, false);
        }
        writer.attribute("Id", &format!("{}{suffix}", name.to_ascii_lowercase()));
        address(&mut writer, ACTOR_NEXT);
        (writer.drain(), format!("</osci:{name}>"))
    }

    fn envelope(&self, suffix: &str) -> Result<Envelope, Error> {
        let Message { control, languages, timestamp_qualities, payload, intermediary, certificates, .. } =
            self.message;
        let kind = payload.kind();
        let soap = |place, local: &str| self.scope.soap_name(place, local).ok_or(Error::Scope);
        let (envelope, header, body) = (
            soap(ScopePlace::Envelope, "Envelope")?,
            soap(ScopePlace::Header, "Header")?,
            soap(ScopePlace::Body, "Body")?,
        );
        if !self.scope.envelope.iter().any(|(prefix, _)| prefix == "xsi") {
            return Err(Error::Scope);
        }
        let mut blocks = Blocks { writer: Writer::new(), ids: Vec::new(), suffix };
        let mut writer = Writer::new();
        writer.start(&envelope);
        scope_declarations(&mut writer, &self.scope.envelope);
        writer.attribute("xsi:schemaLocation", &Schema::Message(kind).location());
        writer.start(&header);
        scope_declarations(&mut writer, &self.scope.header);
        let mut before = format!("{DECLARATION}{}", writer.drain());
        blocks.control(control);
        before.push_str(&blocks.writer.drain());
        if let Some(languages) = languages {
            let id = blocks.start("osci:DesiredLanguages", "desiredlanguages");
            blocks.writer.attribute("Id", &id).attribute("LanguagesList", &languages.list());
            blocks.end(ACTOR_NEXT);
        }
        for (service, quality) in timestamp_qualities.iter() {
            let id =
                blocks.start("osci:QualityOfTimestamp", &format!("qualityoftimestamp_{}", service.name()));
            blocks.writer.attribute("Id", &id);
            blocks.writer.attribute("Quality", quality.name()).attribute("Service", service.name());
            blocks.end(ACTOR_NEXT);
        }
        if kind.place() != Place::Body {
            let name = format!("{}:{}", kind.prefix(), kind.element());
            let id = blocks.start(&name, &kind.element().to_ascii_lowercase());
            blocks.writer.attribute("Id", &id);
            address(&mut blocks.writer, ACTOR_NEXT);
            payload.write(&mut blocks.writer);
            blocks.writer.end();
        }
        if let Some(mut intermediary) = intermediary.clone() {
            for certificate in intermediary.cipher.iter_mut().chain(&mut intermediary.signature) {
                certificate.id.push_str(suffix);
            }
            let id = blocks.start("osci:IntermediaryCertificates", "intermediarycertificates");
            blocks.writer.attribute("Id", &id);
            address(&mut blocks.writer, ACTOR_NONE);
            intermediary.write(&mut blocks.writer);
            blocks.writer.end();
        }
        if let Some(certificates) = certificates.as_ref().filter(|certificates| !certificates.is_empty()) {
            let id = blocks.start("osci:NonIntermediaryCertificates", "nonintermediarycertificates");
            blocks.writer.attribute("Id", &id);
            address(&mut blocks.writer, ACTOR_NONE);
            certificates.write(&mut blocks.writer);
            blocks.writer.end();
        }
        if let Some(features) = &self.message.features {
            let id = blocks.start("osci2017:FeatureDescription", "featuredescription");
            features.write_attributes(&mut blocks.writer, &id);
            features.write(&mut blocks.writer);
            blocks.writer.end();
        }
        let mut after = blocks.writer.drain();
        for custom in &self.message.custom {
            after.push_str(&custom.xml);
            blocks.ids.push(custom.id.clone());
        }
        after.push_str(&format!("</{header}>"));
        let id = format!("body{suffix}");
        let mut writer = Writer::new();
        writer.start(&body);
        scope_declarations(&mut writer, &self.scope.body);
        writer.attribute("Id", &id);
        let mut start = writer.drain();
        blocks.ids.push(id);
        if kind.place() == Place::Body {
            let mut writer = Writer::new();
            writer.start(&format!("{}:{}", kind.prefix(), kind.element()));
            if !self.scope.has_standard_prefixes() {
                declare(&mut writer, false);
            }
            payload.write(&mut writer);
            start.push_str(&writer.finish());
        }
        let tail = format!("</{body}></{envelope}>");
        Ok(Envelope { before, after, body: start, tail, ids: blocks.ids })
    }
}

/// An envelope, cut where the signature and where the content goes.
struct Envelope {
    before: String,
    after: String,
    body: String,
    tail: String,
    ids: Vec<String>,
}

struct Blocks<'s> {
    writer: Writer,
    ids: Vec<String>,
    suffix: &'s str,
}

impl Blocks<'_> {
    /// Starts a block with its declarations; the Id it gets is to be written among the attributes.
    fn start(&mut self, name: &str, id: &str) -> String {
        self.writer.start(name);
        declare(&mut self.writer, name.starts_with("osci2017:"));
        let id = format!("{id}{}", self.suffix);
        self.ids.push(id.clone());
        id
    }

    /// Ends a block that has nothing inside.
    fn end(&mut self, actor: &str) {
        address(&mut self.writer, actor);
        self.writer.end();
    }

    fn control(&mut self, control: &crate::osci::message::control_block::ControlBlock) {
        let id = self.start("osci:ControlBlock", "controlblock");
        control.write_attributes(&mut self.writer, &id);
        address(&mut self.writer, ACTOR_NEXT);
        control.write(&mut self.writer);
        self.writer.end();
    }
}

/// The usual prefixes, in alphabetical order.
fn declare(writer: &mut Writer, with_2017: bool) {
    for (prefix, uri) in STANDARD {
        writer.namespace(prefix, uri);
        if with_2017 && prefix == "osci" {
            writer.namespace("osci2017", NS_OSCI2017);
        }
    }
}

fn scope_declarations(writer: &mut Writer, declarations: &[(String, String)]) {
    for (prefix, uri) in declarations {
        writer.namespace(prefix, uri);
    }
}

fn address(writer: &mut Writer, actor: &str) {
    writer.attribute("soap:actor", actor).attribute("soap:mustUnderstand", "1");
}

/// Bytes of base64 in lines of 76 characters with LF between them.
pub(super) fn base64_bytes(octets: u64) -> u64 {
    let characters = octets.div_ceil(3) * 4;
    characters + characters.saturating_sub(1) / LINE_CHARS as u64
}

/// The lines before the parts of a message.
pub(super) fn entity_head(boundary: &Boundary) -> Result<Vec<u8>, mime::Error> {
    // Written by hand: the boundary is unquoted even where the grammar wants quotes.
    let kind = format!("Multipart/Related; boundary={}; type=text/xml", boundary.as_str());
    Ok(HeaderLines::new().with("MIME-Version", "1.0")?.with("Content-Type", &kind)?.to_bytes())
}

enum Piece {
    Bytes(Vec<u8>),
    Source(Shared),
    Base64(Shared),
}

/// A message ready to be sent: its length is final, and so is every byte.
pub struct Prepared {
    pieces: Vec<Piece>,
    bytes: u64,
}

impl Prepared {
    pub(super) fn new(boundary: &Boundary) -> Result<Self, mime::Error> {
        let mut prepared = Self { pieces: Vec::new(), bytes: 0 };
        prepared.bytes(entity_head(boundary)?);
        Ok(prepared)
    }

    pub(super) fn bytes(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.len() as u64;
        self.pieces.push(Piece::Bytes(bytes));
    }

    pub(super) fn source(&mut self, source: Shared) {
        self.bytes += source.bytes();
        self.pieces.push(Piece::Source(source));
    }

    fn base64(&mut self, source: Shared) {
        self.bytes += base64_bytes(source.bytes());
        self.pieces.push(Piece::Base64(source));
    }

    /// The exact Content-Length.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// Pours the message out; may be called again.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.write_all(bytes)?,
                Piece::Source(source) => {
                    pour::<Error>(source.as_ref(), &mut |bytes| Ok(out.write_all(bytes)?))?;
                }
                Piece::Base64(source) => write_base64(source.as_ref(), out)?,
            }
        }
        Ok(())
    }

    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }
}

fn write_base64(source: &dyn Source, out: &mut dyn Write) -> Result<(), Error> {
    let mut lines = Base64Lines::new(out);
    pour::<Error>(source, &mut |bytes| Ok(lines.write_all(bytes)?))?;
    Ok(lines.finish()?)
}

/// Writes what it is given as base64, in lines of 76 characters with LF between them.
pub(super) struct Base64Lines<W> {
    out: W,
    /// Octets of a line that is not full.
    held: Vec<u8>,
    is_first: bool,
    encoded: String,
}

impl<W: Write> Base64Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, held: Vec::new(), is_first: true, encoded: String::new() }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.held);
        self.lines(&rest)
    }

    /// Octets of whole lines, or of the last one.
    fn lines(&mut self, octets: &[u8]) -> io::Result<()> {
        use base64::Engine as _;
        self.encoded.clear();
        for line in octets.chunks(LINE_OCTETS) {
            if !std::mem::take(&mut self.is_first) {
                self.encoded.push('\n');
            }
            base64::engine::general_purpose::STANDARD.encode_string(line, &mut self.encoded);
        }
        self.out.write_all(self.encoded.as_bytes())
    }
}

impl<W: Write> Write for Base64Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let rest = self.held.split_off(self.held.len() - self.held.len() % LINE_OCTETS);
        let whole = std::mem::replace(&mut self.held, rest);
        self.lines(&whole)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
