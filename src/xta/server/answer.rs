//! Answers: the SOAP envelope with its addressing headers, alone or as the root of an MTOM multipart.
//!
//! Content is streamed from the store between pieces that are at hand, and its length is known before the first byte
//! goes out. The envelope comes first, `start` names it, and content ids need no escaping, as clients in the field
//! need it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::domain::content::Part;
use crate::mime;
use crate::mime::write::{Boundary, Framing, HeaderLines, content_type};
use crate::net::{self, Body, WhenWritten};
use crate::relay::{Refusal, Relay};
use crate::report::CorrelationId;
use crate::store::{Entry, PayloadReader};
use crate::xta::action::Operation;
use crate::xta::fault::Fault;
use crate::xta::message::container::{self, Piece};
use crate::xta::message::envelope::EnvelopeReader;
use crate::xta::message::markup::{Markup, escape_text};
use crate::xta::message::names::PREFIXES;

const SOAP_TYPE: &str = "application/soap+xml; charset=utf-8";
const ROOT_ID: &str = "envelope@amtsbote";
/// A request's message id longer than this is not repeated.
const RELATES_TO_BYTES_MAX: usize = 2048;
const FAULT_ACTION: &str = "http://www.w3.org/2005/08/addressing/soap/fault";

/// What an answer repeats of its request.
#[derive(Debug, Clone, Default)]
pub(super) struct Heading {
    pub action: Option<String>,
    pub message_id: Option<String>,
}

impl Heading {
    /// Takes what the envelope says, as far as it was read; its action goes before HTTP's.
    pub fn take(&mut self, envelope: &EnvelopeReader) {
        if let Some(action) = envelope.addressing("Action") {
            self.action = Some(action);
        }
        self.message_id = envelope.addressing("MessageID").or(self.message_id.take());
    }

    fn write(&self, out: &mut String) {
        let action = self.action.as_deref().unwrap_or(FAULT_ACTION);
        out.push_str(&format!("<wsa:Action>{}</wsa:Action>", escape_text(action)));
        out.push_str(&format!("<wsa:MessageID>urn:uuid:{}</wsa:MessageID>", uuid::Uuid::new_v4()));
        if let Some(id) = self.message_id.as_deref().filter(|id| id.len() <= RELATES_TO_BYTES_MAX) {
            out.push_str(&format!("<wsa:RelatesTo>{}</wsa:RelatesTo>", escape_text(id)));
        }
    }
}

/// What an operation answers.
pub(super) enum Answer {
    Plain { headers: Markup, body: Markup },
    Content { headers: Markup, content: Box<Content>, written: Option<WhenWritten> },
}

/// A message's content on its way out.
pub(super) struct Content {
    relay: Arc<Relay>,
    entry: Entry,
    /// The first part, opened before anything is promised.
    first: Option<Box<dyn PayloadReader>>,
}

/// Whether XTA has a form for some content of the message.
pub(super) fn can_carry(entry: &Entry) -> Result<(), Refusal> {
    let parts = &entry.manifest.parts;
    if parts.is_empty() || parts.iter().any(|part| part.role.is_content()) {
        return Ok(());
    }
    let what = "its content is encrypted in the form of OSCI-Transport and can be fetched by OSCI only";
    Err(Refusal::ParameterInvalid { what: what.to_owned() })
}

impl Content {
    pub async fn open(relay: &Arc<Relay>, mut entry: Entry) -> Result<Self, Refusal> {
        can_carry(&entry)?;
        // Of a message that came by OSCI, the form of the whole is for readers who fetch by OSCI.
        entry.manifest.parts.retain(|part| part.role.is_content());
        let first = match entry.manifest.parts.first() {
            Some(part) => Some(relay.open_part(&entry, part).await?),
            None => None,
        };
        Ok(Self { relay: relay.clone(), entry, first })
    }
}

impl Answer {
    pub fn empty() -> Self {
        Self::Plain { headers: Markup::new(), body: Markup::new() }
    }

    pub fn body(body: Markup) -> Self {
        Self::Plain { headers: Markup::new(), body }
    }

    pub fn into_response(self, heading: &Heading) -> Response<Body> {
        match self {
            Self::Plain { headers, body } => {
                let (open, close) = frame(heading, &headers.finish());
                soap(StatusCode::OK, format!("{open}{}{close}", body.finish()))
            }
            Self::Content { headers, content, written } => {
                match multipart(heading, &headers.finish(), *content) {
                    Ok(mut response) => {
                        if let Some(written) = written {
                            response.extensions_mut().insert(written);
                        }
                        response
                    }
                    Err(error) => {
                        // Only our own header lines go in; if they cannot be written, the answer must not look like
                        // one.
                        tracing::error!(%error, "an MTOM answer could not be framed");
                        let mut response = Response::new(net::empty());
                        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                        response
                    }
                }
            }
        }
    }
}

pub(super) fn fault(
    fault: &Fault,
    operation: Option<Operation>,
    correlation: CorrelationId,
    heading: &Heading,
) -> Response<Body> {
    let mut body = Markup::new();
    fault.write(&mut body, operation, correlation);
    let (open, close) = frame(heading, "");
    soap(StatusCode::INTERNAL_SERVER_ERROR, format!("{open}{}{close}", body.finish()))
}

/// What stands before and behind the body's content.
fn frame(heading: &Heading, headers: &str) -> (String, &'static str) {
    let mut open = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope".to_owned();
    for (prefix, uri) in PREFIXES {
        open.push_str(&format!(" xmlns:{prefix}=\"{uri}\""));
    }
    open.push_str("><soap:Header>");
    heading.write(&mut open);
    open.push_str(headers);
    open.push_str("</soap:Header><soap:Body>");
    (open, "</soap:Body></soap:Envelope>")
}

fn soap(status: StatusCode, envelope: String) -> Response<Body> {
    let mut response = Response::new(net::full(envelope));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SOAP_TYPE));
    response
}

/// One piece of a multipart answer.
enum Segment {
    Bytes(Bytes),
    Part(Part),
}

fn multipart(heading: &Heading, headers: &str, content: Content) -> Result<Response<Body>, mime::Error> {
    let parts = &content.entry.manifest.parts;
    let cids: Vec<String> = (1..=parts.len()).map(|number| format!("part{number}@amtsbote")).collect();
    let (open, close) = frame(heading, headers);
    let mut root = vec![Segment::Bytes(Bytes::from(open))];
    let mut attached = vec![true; parts.len()];
    for piece in container::write_container(parts, &cids) {
        match piece {
            Piece::Text(text) => root.push(Segment::Bytes(Bytes::from(text))),
            Piece::Verbatim(index) => {
                if let (Some(part), Some(attached)) = (parts.get(index), attached.get_mut(index)) {
                    *attached = false;
                    root.push(Segment::Part(part.clone()));
                }
            }
        }
    }
    root.push(Segment::Bytes(Bytes::from_static(close.as_bytes())));
    let root_bytes = root
        .iter()
        .map(|segment| match segment {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Part(part) => part.length,
        })
        .sum();

    let mut random = [0; 24];
    random.copy_from_slice(
        &[uuid::Uuid::new_v4().as_bytes().as_slice(), &uuid::Uuid::new_v4().as_bytes()[..8]].concat(),
    );
    let boundary = Boundary::from_random(random);
    let action = heading.action.as_deref().unwrap_or_default();
    let start_info = format!("application/soap+xml; action=\"{action}\"");
    let kind = content_type(
        "multipart/related",
        &[
            ("type", "application/xop+xml"),
            ("boundary", boundary.as_str()),
            ("start", &format!("<{ROOT_ID}>")),
            ("start-info", &start_info),
        ],
    );
    let root_kind = content_type("application/xop+xml", &[("charset", "UTF-8"), ("type", &start_info)]);
    let mut framing = Framing::new(boundary);
    framing.part(&part_headers(&root_kind, ROOT_ID)?, root_bytes);
    let sent = parts.iter().zip(&cids).zip(&attached).filter(|(_, attached)| **attached);
    let sent: Vec<(&Part, &String)> = sent.map(|(pair, _)| pair).collect();
    for (part, cid) in &sent {
        framing.part(&part_headers("application/octet-stream", cid)?, part.length);
    }
    let mut segments = VecDeque::new();
    let head = |index| Segment::Bytes(Bytes::copy_from_slice(framing.head(index).unwrap_or_default()));
    segments.push_back(head(0));
    segments.extend(root);
    for (index, (part, _)) in sent.iter().enumerate() {
        segments.push_back(head(index + 1));
        segments.push_back(Segment::Part((*part).clone()));
    }
    segments.push_back(Segment::Bytes(Bytes::from(framing.close())));

    let length = framing.len();
    let mut response = Response::new(streamed(content, segments, length));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_str(&kind).map_err(|_| mime::Error::Unwritable("Content-Type".to_owned()))?,
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

fn part_headers(kind: &str, id: &str) -> Result<HeaderLines, mime::Error> {
    HeaderLines::new()
        .with("Content-Type", kind)?
        .with("Content-Transfer-Encoding", "binary")?
        .with("Content-ID", &format!("<{id}>"))
}

/// Frames of a known total length.
struct Sized<S> {
    frames: StreamBody<S>,
    left: u64,
}

impl<S> HttpBody for Sized<S>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Unpin,
{
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let polled = Pin::new(&mut self.frames).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = self.left.saturating_sub(bytes);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

struct Outflow {
    content: Content,
    segments: VecDeque<Segment>,
    reading: Option<Reading>,
}

/// A part on its way out. Its last piece is held back until the digest over all of them is known to be right.
struct Reading {
    reader: Box<dyn PayloadReader>,
    part: Part,
    digest: Hasher,
    held: Option<Bytes>,
}

fn streamed(content: Content, segments: VecDeque<Segment>, length: u64) -> Body {
    let outflow = Outflow { content, segments, reading: None };
    let frames = stream::try_unfold(outflow, |mut outflow| async move {
        Ok(outflow.next().await?.map(|bytes| (Frame::data(bytes), outflow)))
    });
    Sized { frames: StreamBody::new(Box::pin(frames)), left: length }.boxed_unsync()
}

impl Outflow {
    /// An error here cuts the connection: the length has been promised, and a short answer must not look whole.
    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        loop {
            if let Some(mut reading) = self.reading.take() {
                match reading.reader.next().await.map_err(std::io::Error::other)? {
                    Some(bytes) => {
                        reading.digest.update(&bytes);
                        let ready = reading.held.replace(bytes);
                        self.reading = Some(reading);
                        if ready.is_some() {
                            return Ok(ready);
                        }
                        continue;
                    }
                    None => {
                        self.check(&reading)?;
                        if reading.held.is_some() {
                            return Ok(reading.held);
                        }
                    }
                }
            }
            match self.segments.pop_front() {
                None => return Ok(None),
                Some(Segment::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Segment::Part(part)) => {
                    let reader = match self.content.first.take() {
                        Some(first) => first,
                        None => {
                            let opened = self.content.relay.open_part(&self.content.entry, &part).await;
                            opened.map_err(|refusal| std::io::Error::other(refusal.to_string()))?
                        }
                    };
                    self.reading = Some(Reading { reader, part, digest: Hasher::new(&SHA256), held: None });
                }
            }
        }
    }

    /// What was stored must be what goes out; a flipped bit on the disk is found before the reader can close.
    fn check(&self, reading: &Reading) -> Result<(), std::io::Error> {
        if reading.digest.clone().finish().as_ref() == reading.part.digest.0 {
            return Ok(());
        }
        let message = &self.content.entry.envelope.id;
        tracing::error!(
            message_id = %message,
            offset = reading.part.offset,
            next_step = "look into disk and database (embedded store: `amtsbote store verify`), and restore from a backup",
            "a stored part is not what was accepted; it was not handed out"
        );
        Err(std::io::Error::other("a stored part is damaged"))
    }
}
