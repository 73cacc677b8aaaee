//! Reading a request: SOAP alone or as the root of a multipart, content streamed into a payload as it arrives.
//!
//! Memory is bounded whatever the size and the order: the envelope is parsed while it comes in, inline base64 is
//! decoded on the way, parts go to the payload in their order of arrival, even before the root part has said what
//! they are. The content limit is watched byte by byte. The manifest is drawn up at the end; a part that nothing
//! names, or a name without its part, refuses the message, and the staged bytes vanish with their writer.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;

use crate::domain::content::{Digest, Manifest, Part, PartRole};
use crate::domain::limits::Limits;
use crate::mime;
use crate::mime::content_id::{self, ContentId};
use crate::mime::media_type::MediaType;
use crate::mime::read::{Event, Headers, MultipartReader};
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::net::Body;
use crate::relay::{Refusal, Relay};
use crate::store::PayloadWriter;
use crate::xml;
use crate::xta::fault::{ErrorNumber, Fault};
use crate::xta::message::container::{self, Item, ItemSource};
use crate::xta::message::envelope::{Envelope, EnvelopeLimits, EnvelopeReader, Piece};

use super::answer::Heading;

/// Bytes that are read of a request whose sender is refused, in search of what its answer relates to.
const HEADING_BYTES_MAX: usize = 256 * 1024;
/// Security tokens and the like in one envelope.
const FRAGMENTS_MAX: usize = 64;
/// Elements of one envelope that are held; each costs far more memory than its few bytes on the wire.
const ELEMENTS_MAX: usize = 20_000;
/// Namespace declarations in scope at one place.
const NAMESPACES_MAX: usize = 128;

/// A request, read to its end.
pub(super) struct Read {
    pub envelope: Envelope,
    /// The parts in the order of the container, and the writer that holds their bytes.
    pub content: Option<Content>,
}

pub(super) struct Content {
    pub manifest: Manifest,
    pub writer: Box<dyn PayloadWriter>,
}

fn envelope_limits(limits: &Limits) -> EnvelopeLimits {
    EnvelopeLimits {
        xml: xml::Limits {
            depth_max: limits.xml_depth_max,
            attributes_max: limits.xml_attributes_max,
            name_bytes_max: limits.xml_name_bytes_max,
            attribute_value_bytes_max: limits.xml_attribute_bytes_max,
            markup_bytes_max: limits.xml_attribute_bytes_max.saturating_mul(2),
            namespaces_max: NAMESPACES_MAX,
            // Envelope and content are counted apart.
            document_bytes_max: u64::MAX,
            ..xml::Limits::default()
        },
        envelope_bytes_max: limits.envelope_bytes_max,
        // Base64 takes four thirds of its octets and some line breaks; more white space than that is a flood.
        content_text_bytes_max: limits.content_bytes_max.saturating_mul(2),
        items_max: limits.parts_max,
        fragments_max: FRAGMENTS_MAX,
        elements_max: ELEMENTS_MAX,
    }
}

fn mime_limits(limits: &Limits) -> mime::Limits {
    mime::Limits {
        header_block_bytes_max: limits.part_header_bytes_max,
        parts_max: limits.parts_max,
        ..mime::Limits::default()
    }
}

/// Reads as much as answers need of a request that is refused anyway.
pub(super) async fn read_heading(
    body: &mut Body,
    content_type: &MediaType,
    limits: &Limits,
    heading: &mut Heading,
) {
    let mut envelope = EnvelopeReader::new(envelope_limits(limits));
    let mut parts = match content_type.is_multipart() {
        true => MultipartReader::new(content_type, mime_limits(limits)).ok(),
        false => None,
    };
    let mut seen = 0;
    while seen < HEADING_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        let mut input: &[u8] = data;
        let more = match &mut parts {
            None => skim(&mut envelope, input),
            Some(parts) => loop {
                match parts.next_event(&mut input) {
                    Ok(Some(Event::Data(bytes))) if !skim(&mut envelope, bytes) => break false,
                    Ok(Some(Event::PartEnd | Event::End)) | Err(_) => break false,
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                }
            },
        };
        if !more {
            break;
        }
    }
    heading.take(&envelope);
}

/// True while there is more to learn from the envelope.
fn skim(envelope: &mut EnvelopeReader, mut bytes: &[u8]) -> bool {
    loop {
        match envelope.next(&mut bytes) {
            Ok(Some(_)) => {}
            Ok(None) => return !envelope.header_is_over(),
            Err(_) => return false,
        }
    }
}

pub(super) async fn read(
    relay: &Relay,
    body: &mut Body,
    content_type: &MediaType,
    limits: &Limits,
    heading: &mut Heading,
) -> Result<Read, Fault> {
    let mut intake = Intake::new(relay, limits);
    let done = if content_type.is_multipart() {
        intake.read_multipart(body, content_type, heading).await
    } else if ["application/soap+xml", "text/xml", "application/xml", "application/xop+xml"]
        .iter()
        .any(|known| content_type.is(known))
    {
        intake.read_plain(body, heading).await
    } else {
        Err(Fault::of_client(
            ErrorNumber::ParametersInvalid,
            "content-type",
            format!("Content-Type {} is neither SOAP 1.2 nor multipart/related", content_type.essence()),
        ))
    };
    if let Some(envelope) = &intake.envelope {
        heading.take(envelope);
    }
    done?;
    intake.finish()
}

/// Bytes that lie in the payload already.
struct Staged {
    offset: u64,
    digest: Context,
    length: u64,
}

struct StagedPart {
    id: ContentId,
    staged: Staged,
    used: bool,
}

/// What the open MIME part is.
enum Open {
    Nothing,
    Root {
        decoder: Option<Base64Decoder>,
    },
    Content {
        decoder: Option<Base64Decoder>,
    },
    /// A part of EncryptedData, which becomes base64 inside the element again.
    Encrypted {
        decoder: Option<Base64Decoder>,
        carry: Vec<u8>,
        behind: Vec<u8>,
    },
}

struct Intake<'a> {
    relay: &'a Relay,
    limits: &'a Limits,
    writer: Option<Box<dyn PayloadWriter>>,
    /// Taken when the root is over.
    envelope: Option<EnvelopeReader>,
    finished: Option<Envelope>,
    /// Inline content by the index of its item.
    inline: Vec<(usize, Staged)>,
    parts: Vec<StagedPart>,
    /// References of EncryptedData that are still to come, in their order.
    awaited: std::collections::VecDeque<(String, Vec<u8>)>,
}

impl<'a> Intake<'a> {
    fn new(relay: &'a Relay, limits: &'a Limits) -> Self {
        Self {
            relay,
            limits,
            writer: None,
            envelope: Some(EnvelopeReader::new(envelope_limits(limits))),
            finished: None,
            inline: Vec::new(),
            parts: Vec::new(),
            awaited: std::collections::VecDeque::new(),
        }
    }

    async fn read_plain(&mut self, body: &mut Body, heading: &mut Heading) -> Result<(), Fault> {
        while let Some(data) = next_data(body).await? {
            self.feed_envelope(&data).await?;
        }
        self.finish_envelope(heading)
    }

    async fn read_multipart(
        &mut self,
        body: &mut Body,
        content_type: &MediaType,
        heading: &mut Heading,
    ) -> Result<(), Fault> {
        let start =
            content_type.parameter("start").map(ContentId::from_header).transpose().map_err(refused)?;
        let mut reader = MultipartReader::new(content_type, mime_limits(self.limits)).map_err(refused)?;
        let mut open = Open::Nothing;
        while let Some(data) = next_data(body).await? {
            let mut input: &[u8] = &data;
            while let Some(event) = reader.next_event(&mut input).map_err(refused)? {
                match event {
                    Event::EntityHeaders(_) | Event::End => {}
                    Event::PartStart(headers) => open = self.begin_part(&headers, start.as_ref()).await?,
                    Event::Data(bytes) => self.feed_part(&mut open, bytes).await?,
                    Event::PartEnd => {
                        let ended = std::mem::replace(&mut open, Open::Nothing);
                        self.end_part(ended, heading).await?;
                    }
                }
            }
        }
        reader.finish().map_err(refused)?;
        if self.finished.is_none() {
            return Err(invalid("root-part-missing", "no part is the root that `start` names"));
        }
        Ok(())
    }

    async fn begin_part(&mut self, headers: &Headers, start: Option<&ContentId>) -> Result<Open, Fault> {
        let decoder = match headers.transfer_encoding().map_err(refused)? {
            TransferEncoding::Identity => None,
            TransferEncoding::Base64 => Some(Base64Decoder::new()),
        };
        let is_root = self.envelope.is_some()
            && match start {
                Some(start) => headers.content_id() == Some(start),
                // Without `start`, the root is the first part (RFC 2387).
                None => true,
            };
        if is_root {
            return Ok(Open::Root { decoder });
        }
        let Some(id) = headers.content_id() else {
            return Err(invalid("part-unnamed", "a part that is not the root has no Content-ID"));
        };
        if let Some((wanted, _)) = self.awaited.front() {
            if !id.is_named_by(wanted) {
                return Err(invalid(
                    "part-order",
                    "parts of EncryptedData must come in the order of their references",
                ));
            }
            let (_, behind) = self.awaited.pop_front().unwrap_or_default();
            return Ok(Open::Encrypted { decoder, carry: Vec::new(), behind });
        }
        if let Some(envelope) = &self.finished
            && !envelope.items.iter().any(|item| match &item.source {
                ItemSource::Part(uri) => id.is_named_by(uri),
                _ => false,
            })
        {
            return Err(invalid(
                "part-unreferenced",
                format!("nothing refers to the part {}", shown(id.as_str())),
            ));
        }
        let staged = self.stage().await?;
        self.parts.push(StagedPart { id: id.clone(), staged, used: false });
        Ok(Open::Content { decoder })
    }

    async fn feed_part(&mut self, open: &mut Open, bytes: &[u8]) -> Result<(), Fault> {
        match open {
            Open::Nothing => Ok(()),
            Open::Root { decoder } => {
                let decoded = decode(decoder, bytes)?;
                self.feed_envelope(&decoded).await
            }
            Open::Content { decoder } => {
                let decoded = decode(decoder, bytes)?;
                self.write(&decoded).await?;
                if let Some(part) = self.parts.last_mut() {
                    part.staged.add(&decoded);
                }
                Ok(())
            }
            Open::Encrypted { decoder, carry, .. } => {
                carry.extend_from_slice(&decode(decoder, bytes)?);
                let rest = carry.split_off(carry.len() - carry.len() % 3);
                let encoded = STANDARD.encode(std::mem::replace(carry, rest));
                self.write_inline(encoded.as_bytes()).await
            }
        }
    }

    async fn end_part(&mut self, open: Open, heading: &mut Heading) -> Result<(), Fault> {
        let finish = |decoder: Option<Base64Decoder>| {
            decoder.map_or(Ok(()), |decoder| decoder.finish()).map_err(refused)
        };
        match open {
            Open::Nothing => Ok(()),
            Open::Content { decoder } => finish(decoder),
            Open::Root { decoder } => {
                finish(decoder)?;
                self.finish_envelope(heading)
            }
            Open::Encrypted { decoder, carry, behind } => {
                finish(decoder)?;
                self.write_inline(STANDARD.encode(carry).as_bytes()).await?;
                self.write_inline(&behind).await
            }
        }
    }

    async fn feed_envelope(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut input = bytes;
        loop {
            let Some(envelope) = &mut self.envelope else { return Ok(()) };
            match envelope.next(&mut input)? {
                None => return Ok(()),
                Some(Piece::Begin(index)) => {
                    let staged = self.stage().await?;
                    self.inline.push((index, staged));
                }
                Some(Piece::Octets(octets)) => self.write_inline(&octets).await?,
                Some(Piece::End(_)) => {}
            }
        }
    }

    fn finish_envelope(&mut self, heading: &mut Heading) -> Result<(), Fault> {
        let Some(envelope) = self.envelope.take() else { return Ok(()) };
        heading.take(&envelope);
        let mut envelope = envelope.finish()?;
        for item in &mut envelope.items {
            if let ItemSource::Encrypted { rest } = &mut item.source {
                self.awaited = std::mem::take(rest).into();
            }
        }
        self.finished = Some(envelope);
        Ok(())
    }

    /// The place where the next bytes will lie.
    async fn stage(&mut self) -> Result<Staged, Fault> {
        let offset = match &self.writer {
            Some(writer) => writer.length(),
            None => {
                let writer = self.relay.payload_writer().await?;
                self.writer.insert(writer).length()
            }
        };
        Ok(Staged { offset, digest: Context::new(&SHA256), length: 0 })
    }

    /// Writes on, as part of the inline content begun last.
    async fn write_inline(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.write(bytes).await?;
        if let Some((_, staged)) = self.inline.last_mut() {
            staged.add(bytes);
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let (max, seen) = (self.limits.content_bytes_max, writer.length().saturating_add(bytes.len() as u64));
        if seen > max {
            return Err(Refusal::TooLarge { max, seen }.into());
        }
        writer.write(bytes).await.map_err(|error| Fault::from(Refusal::from(error)))
    }

    fn finish(mut self) -> Result<Read, Fault> {
        let Some(envelope) = self.finished.take() else {
            return Err(invalid("root-part-missing", "the request has no SOAP envelope"));
        };
        if let Some((missing, _)) = self.awaited.front() {
            return Err(missing_part(missing));
        }
        let mut parts = Vec::with_capacity(envelope.items.len());
        for (index, item) in envelope.items.iter().enumerate() {
            let staged = match &item.source {
                ItemSource::Part(uri) => self.referenced(uri)?,
                ItemSource::Inline | ItemSource::Encrypted { .. } => self.inlined(index)?,
            };
            parts.push(part_of(item, staged));
        }
        if let Some(stray) = self.parts.iter().find(|part| !part.used) {
            return Err(invalid(
                "part-unreferenced",
                format!("nothing refers to the part {}", shown(stray.id.as_str())),
            ));
        }
        let content = match self.writer {
            Some(writer) if !parts.is_empty() => {
                let roles: Vec<PartRole> = parts.iter().map(|part| part.role).collect();
                container::check_items(&roles)?;
                Some(Content { manifest: Manifest { parts }, writer })
            }
            _ => None,
        };
        Ok(Read { envelope, content })
    }

    fn referenced(&mut self, uri: &str) -> Result<&Staged, Fault> {
        let found = content_id::resolve(self.parts.iter().map(|part| &part.id), uri);
        match found.and_then(|at| self.parts.get_mut(at)) {
            None => Err(missing_part(uri)),
            Some(part) if part.used => {
                Err(invalid("part-referenced-twice", format!("two references name {}", shown(uri))))
            }
            Some(part) => {
                part.used = true;
                Ok(&part.staged)
            }
        }
    }

    fn inlined(&self, index: usize) -> Result<&Staged, Fault> {
        let found = self.inline.iter().find(|(at, _)| *at == index);
        found.map(|(_, staged)| staged).ok_or_else(|| invalid("content-missing", "an item has no content"))
    }
}

impl Staged {
    fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
    }
}

fn part_of(item: &Item, staged: &Staged) -> Part {
    let mut digest = [0; 32];
    digest.copy_from_slice(staged.digest.clone().finish().as_ref());
    Part {
        role: item.role,
        offset: staged.offset,
        length: staged.length,
        digest: Digest(digest),
        content_type: item.content_type.clone(),
        description: item.description.clone(),
        encoding: item.encoding.clone(),
        filename: item.filename.clone(),
        id: item.id.clone(),
        lang: item.lang.clone(),
        size: item.size.clone(),
    }
}

async fn next_data(body: &mut Body) -> Result<Option<bytes::Bytes>, Fault> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(invalid("request-broken", format!("the request ended too early: {error}")));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn decode<'b>(
    decoder: &mut Option<Base64Decoder>,
    bytes: &'b [u8],
) -> Result<std::borrow::Cow<'b, [u8]>, Fault> {
    match decoder {
        None => Ok(bytes.into()),
        Some(decoder) => {
            let mut octets = Vec::new();
            decoder.decode(bytes, &mut octets).map_err(refused)?;
            Ok(octets.into())
        }
    }
}

fn refused(error: mime::Error) -> Fault {
    let number = match &error {
        mime::Error::LimitExceeded { .. } => ErrorNumber::TooLarge,
        _ => ErrorNumber::ParametersInvalid,
    };
    Fault::of_client(number, "multipart-invalid", format!("the multipart request is refused: {error}"))
}

fn invalid(code: &'static str, sentence: impl Into<String>) -> Fault {
    Fault::of_client(ErrorNumber::ParametersInvalid, code, sentence)
}

fn missing_part(uri: &str) -> Fault {
    invalid("part-missing", format!("the part that {} names is missing", shown(uri)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
