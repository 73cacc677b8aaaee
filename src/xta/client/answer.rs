//! Reading an answer: SOAP alone or as the root of an MTOM multipart, content streamed into a sink.
//!
//! The root must be the first part, as every XTA server sends it; a part is known when it comes.

use aws_lc_rs::digest::{Context, SHA256};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;

use crate::domain::content::{Digest, Part};
use crate::mime::content_id::ContentId;
use crate::mime::media_type::MediaType;
use crate::mime::read::{Event, MultipartReader};
use crate::mime::transfer::{Base64Decoder, TransferEncoding};
use crate::xml;
use crate::xta::message::container::{Item, ItemSource};
use crate::xta::message::envelope::{Envelope, EnvelopeLimits, EnvelopeReader, Piece};

use super::content::ContentSink;
use super::{Error, fault_of, next_data};

/// What an answer may make us hold.
pub(super) struct AnswerLimits(EnvelopeLimits);

impl Default for AnswerLimits {
    fn default() -> Self {
        Self(EnvelopeLimits {
            xml: xml::Limits { document_bytes_max: u64::MAX, ..xml::Limits::default() },
            // A status list of a thousand messages is an envelope, too.
            envelope_bytes_max: 64 * 1024 * 1024,
            content_text_bytes_max: u64::MAX,
            items_max: 1024,
            fragments_max: 16 * 1024,
            elements_max: 1_000_000,
        })
    }
}

/// Reads an answer to its end. Content is refused where no sink takes it.
pub(super) async fn read(
    response: Response<Incoming>,
    limits: &AnswerLimits,
    sink: Option<&mut dyn ContentSink>,
) -> Result<(Envelope, Vec<Part>), Error> {
    let (head, mut body) = response.into_parts();
    let unreadable = || Error::Status(head.status);
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or_else(unreadable)?;
    let kind = MediaType::parse(kind).map_err(|_| unreadable())?;
    let mut inflow = Inflow {
        envelope: Some(EnvelopeReader::new(limits.0.clone())),
        finished: None,
        sink,
        parts: Vec::new(),
        open: None,
    };
    let success = head.status.is_success();
    if kind.is_multipart() {
        inflow.read_multipart(&mut body, &kind).await?;
    } else if kind.is("application/soap+xml") || kind.is("text/xml") {
        while let Some(data) = next_data(&mut body).await? {
            inflow.feed_envelope(&data).await.map_err(|error| if success { error } else { unreadable() })?;
        }
        inflow.finish_envelope()?;
    } else {
        return Err(unreadable());
    }
    let envelope = inflow.finished.ok_or_else(unreadable)?;
    if let Some(fault) = fault_of(&envelope) {
        return Err(fault);
    }
    if !success {
        return Err(unreadable());
    }
    let mut parts = inflow.parts;
    parts.sort_by_key(|(index, _)| *index);
    if parts.len() != envelope.items.len() {
        return Err(Error::Answer("a part that the envelope names is missing".to_owned()));
    }
    Ok((envelope, parts.into_iter().map(|(_, part)| part).collect()))
}

struct OpenPart {
    index: usize,
    item: Item,
    digest: Context,
    length: u64,
}

struct Inflow<'s> {
    envelope: Option<EnvelopeReader>,
    finished: Option<Envelope>,
    sink: Option<&'s mut dyn ContentSink>,
    parts: Vec<(usize, Part)>,
    open: Option<OpenPart>,
}

impl Inflow<'_> {
    async fn read_multipart(&mut self, body: &mut Incoming, kind: &MediaType) -> Result<(), Error> {
        let limits = crate::mime::Limits::default();
        let mut reader = MultipartReader::new(kind, limits)?;
        let mut decoder: Option<Base64Decoder> = None;
        while let Some(data) = next_data(body).await? {
            let mut input: &[u8] = &data;
            while let Some(event) = reader.next_event(&mut input)? {
                match event {
                    Event::EntityHeaders(_) | Event::End => {}
                    Event::PartStart(headers) => {
                        decoder = match headers.transfer_encoding()? {
                            TransferEncoding::Identity => None,
                            TransferEncoding::Base64 => Some(Base64Decoder::new()),
                        };
                        if self.finished.is_some() {
                            self.begin_part(headers.content_id()).await?;
                        }
                    }
                    Event::Data(bytes) => match &mut decoder {
                        None => self.feed(bytes).await?,
                        Some(decoder) => {
                            let mut octets = Vec::new();
                            decoder.decode(bytes, &mut octets)?;
                            self.feed(&octets).await?;
                        }
                    },
                    Event::PartEnd => {
                        if let Some(decoder) = decoder.take() {
                            decoder.finish()?;
                        }
                        self.end_part().await?;
                    }
                }
            }
        }
        Ok(reader.finish()?)
    }

    async fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.finished.is_some() { self.write(bytes).await } else { self.feed_envelope(bytes).await }
    }

    async fn feed_envelope(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut input = bytes;
        loop {
            let Some(envelope) = &mut self.envelope else { return Ok(()) };
            match envelope.next(&mut input)? {
                None => return Ok(()),
                Some(Piece::Begin(index)) => {
                    let item = envelope.item(index).cloned();
                    if let Some(item) = item {
                        self.begin(index, item).await?;
                    }
                }
                Some(Piece::Octets(octets)) => self.write(&octets).await?,
                Some(Piece::End(_)) => self.end().await?,
            }
        }
    }

    fn finish_envelope(&mut self) -> Result<(), Error> {
        if let Some(envelope) = self.envelope.take() {
            self.finished = Some(envelope.finish()?);
        }
        Ok(())
    }

    async fn begin_part(&mut self, id: Option<&ContentId>) -> Result<(), Error> {
        let items = self.finished.as_ref().map(|envelope| envelope.items.as_slice()).unwrap_or_default();
        let found = items.iter().enumerate().find(|(_, item)| match (&item.source, id) {
            (ItemSource::Part(uri), Some(id)) => id.is_named_by(uri),
            _ => false,
        });
        match found.map(|(index, item)| (index, item.clone())) {
            Some((index, item)) => self.begin(index, item).await,
            None => Err(Error::Answer("nothing refers to one of its parts".to_owned())),
        }
    }

    async fn end_part(&mut self) -> Result<(), Error> {
        if self.finished.is_some() { self.end().await } else { self.finish_envelope() }
    }

    async fn begin(&mut self, index: usize, item: Item) -> Result<(), Error> {
        match &mut self.sink {
            Some(sink) => sink.begin(index, &item).await?,
            None => return Err(Error::Answer("it has content where none was asked for".to_owned())),
        }
        self.open = Some(OpenPart { index, item, digest: Context::new(&SHA256), length: 0 });
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (Some(open), Some(sink)) = (&mut self.open, &mut self.sink) else { return Ok(()) };
        open.digest.update(bytes);
        open.length += bytes.len() as u64;
        Ok(sink.write(bytes).await?)
    }

    async fn end(&mut self) -> Result<(), Error> {
        let (Some(open), Some(sink)) = (self.open.take(), &mut self.sink) else { return Ok(()) };
        sink.end().await?;
        let mut digest = [0; 32];
        digest.copy_from_slice(open.digest.finish().as_ref());
        let item = open.item;
        self.parts.push((
            open.index,
            Part {
                role: item.role,
                offset: 0,
                length: open.length,
                digest: Digest(digest),
                content_type: item.content_type,
                description: item.description,
                encoding: item.encoding,
                filename: item.filename,
                id: item.id,
                lang: item.lang,
                size: item.size,
            },
        ));
        Ok(())
    }
}
