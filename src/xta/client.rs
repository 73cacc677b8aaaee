//! The other side: a client of XTA 2 WS 2.1.1 over mutual TLS, for `amtsbote send`, `fetch` and `card`, and for tests.
//!
//! Content is streamed from files and to files. One connection is kept and used again. Left out: several connections,
//! proxies, retries; who sends again decides that himself, with the same message id.

mod answer;
pub mod content;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::domain::content::Part;
use crate::domain::envelope::{Envelope as MessageEnvelope, Party};
use crate::domain::message_id::MessageId;
use crate::domain::party::PartyIdentifier;
use crate::mime;
use crate::mime::write::{Boundary, Framing, HeaderLines, content_type};
use crate::net::{self, Body};
use crate::pki::tls;
use crate::xta::action::Operation;
use crate::xta::message;
use crate::xta::message::container::{self, Piece};
use crate::xta::message::envelope::{Envelope, EnvelopeError};
use crate::xta::message::lookup::Availability;
use crate::xta::message::markup::{Markup, escape_text};
use crate::xta::message::metadata::{self, Shown};
use crate::xta::message::msg_box::{self, MsgBoxResponse, MsgSelector};
use crate::xta::message::names::{NONE, OSCI, OSCIMETA, PREFIXES, WSA, XTA};
use crate::xta::message::transport_report::{self, Report};

use answer::AnswerLimits;
use content::{ContentSink, Outgoing, Segment};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a URL of the form https://host:port/path")]
    Url(String),
    #[error("{address} cannot be reached: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {0:?}")]
    Time(Duration),
    /// The server said no.
    #[error("{code}: {name} ({exception})")]
    Fault { exception: String, code: String, name: String },
    #[error("the server answered HTTP {0} without a SOAP fault that can be read")]
    Status(StatusCode),
    #[error("the answer is not one of XTA: {0}")]
    Answer(String),
    #[error("{0}")]
    File(#[from] std::io::Error),
}

impl From<message::Error> for Error {
    fn from(error: message::Error) -> Self {
        Self::Answer(error.to_string())
    }
}

impl From<EnvelopeError> for Error {
    fn from(error: EnvelopeError) -> Self {
        Self::Answer(error.to_string())
    }
}

impl From<mime::Error> for Error {
    fn from(error: mime::Error) -> Self {
        Self::Answer(error.to_string())
    }
}

#[derive(Clone)]
pub struct Settings {
    /// `https://host:port/path`; one for all three ports.
    pub url: String,
    /// Shows our certificate and judges the server's: [`crate::pki::tls::client_config`].
    pub tls: Arc<ClientConfig>,
    /// Who we are on calls that name it: an identifier, `*`, or nothing.
    pub identifier: Option<PartyIdentifier>,
    pub connect_time_max: Duration,
    /// From the last byte of the request to the header of its answer.
    pub answer_time_max: Duration,
}

impl Settings {
    pub fn new(url: &str, tls: Arc<ClientConfig>) -> Self {
        Self {
            url: url.to_owned(),
            tls,
            identifier: None,
            connect_time_max: Duration::from_secs(15),
            answer_time_max: Duration::from_secs(300),
        }
    }
}

/// A page of a status list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub messages: Vec<Shown>,
    /// Matches that are not in this page.
    pub pending: u64,
    /// Continues the list.
    pub request_id: String,
}

/// A message whose content has gone into a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub message: Shown,
    /// Its parts; offsets mean nothing here.
    pub parts: Vec<Part>,
    pub request_id: Option<String>,
    pub pending: u64,
}

pub struct Client {
    settings: Settings,
    host: String,
    port: u16,
    path: String,
    connection: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let wrong = || Error::Url(settings.url.clone());
        let uri: Uri = settings.url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        let (port, path) = (uri.port_u16().unwrap_or(443), uri.path().to_owned());
        Ok(Self { settings, host, port, path, connection: Mutex::new(None) })
    }

    pub async fn check_account_active(&self) -> Result<(), Error> {
        self.ask(Operation::CheckAccountActive, self.author(), Markup::new()).await.map(drop)
    }

    pub async fn create_message_id(&self) -> Result<MessageId, Error> {
        let answer = self.ask(Operation::CreateMessageId, self.author(), Markup::new()).await?;
        let body = answer.body.as_ref().filter(|body| body.is(WSA, "MessageID"));
        Ok(metadata::message_id(body.ok_or_else(|| message::Error::missing("Body", "wsa:MessageID"))?)?)
    }

    pub async fn look_up(&self, reader: &PartyIdentifier, service: &str) -> Result<Availability, Error> {
        let party = Party { identifier: reader.clone(), security_tokens: Vec::new() };
        let mut body = Markup::new();
        body.element("xta:LookupServiceRequest", |out| {
            out.element("xta:LookupServiceRequestList", |out| {
                out.element("xta:LookupService", |out| {
                    metadata::write_party(out, "oscimeta:Reader", &party);
                    out.leaf("xta:ServiceType", service);
                });
            });
        });
        let answer = self.ask(Operation::LookupService, self.author(), body).await?;
        let response = answer.body.ok_or_else(|| message::Error::missing("Body", "LookupServiceResponse"))?;
        let value = response
            .required(XTA, "LookupServiceResultList")?
            .required(XTA, "LookupServiceResult")?
            .required(XTA, "IsServiceAvailableValue")?;
        Ok(match value.optional(XTA, "ServiceIsAvailable")? {
            None => Availability::Unknown,
            Some(found) if metadata::boolean("ServiceIsAvailable", &found.text())? => Availability::Offered,
            Some(_) => Availability::NotOffered,
        })
    }

    /// Sends a message; when this returns, the post office has it.
    pub async fn send(&self, envelope: &MessageEnvelope, content: &[Outgoing]) -> Result<(), Error> {
        let response = self.post_content(Operation::SendMessage, envelope, content).await?;
        answer::read(response, &AnswerLimits::default(), None).await.map(drop)
    }

    /// Sends a message and waits for its reader's answer, whose content goes into `sink`.
    pub async fn send_sync(
        &self,
        envelope: &MessageEnvelope,
        content: &[Outgoing],
        sink: &mut dyn ContentSink,
    ) -> Result<Fetched, Error> {
        let response = self.post_content(Operation::SendMessageSync, envelope, content).await?;
        let (answer, parts) = answer::read(response, &AnswerLimits::default(), Some(sink)).await?;
        fetched(&answer, parts)?.ok_or_else(|| Error::Answer("it has no message".to_owned()))
    }

    pub async fn list(&self, selector: &MsgSelector, items_max: Option<u32>) -> Result<Page, Error> {
        let mut body = Markup::new();
        let items_max = items_max.map(|count| count.to_string());
        let attributes = [("maxListItems", items_max.as_deref()), ("ListForm", Some("MessageMetaData"))];
        body.element_with("osci:MsgBoxStatusListRequest", &attributes, |out| {
            msg_box::write_selector(out, selector)
        });
        page(&self.ask(Operation::GetStatusList, self.author(), body).await?)
    }

    pub async fn next_list(&self, request_id: &str) -> Result<Page, Error> {
        let body = continuation("osci:MsgBoxGetNextRequest", request_id, &[]);
        page(&self.ask(Operation::GetNextStatusList, self.author(), body).await?)
    }

    /// Fetches one message into `sink`. It is offered again until it is closed.
    pub async fn fetch(&self, id: &MessageId, sink: &mut dyn ContentSink) -> Result<Fetched, Error> {
        let selector = MsgSelector { ids: vec![id.clone()], ..MsgSelector::default() };
        self.fetch_first(&selector, sink).await?.ok_or_else(|| Error::Answer("it has no message".to_owned()))
    }

    /// Fetches the first message that the selector means, if there is one.
    pub async fn fetch_first(
        &self,
        selector: &MsgSelector,
        sink: &mut dyn ContentSink,
    ) -> Result<Option<Fetched>, Error> {
        let mut body = Markup::new();
        body.element("osci:MsgBoxFetchRequest", |out| msg_box::write_selector(out, selector));
        self.fetch_with(Operation::GetMessage, body, sink).await
    }

    /// Fetches the next message of the selection that `request_id` continues; `received` is confirmed on the way.
    pub async fn fetch_next(
        &self,
        request_id: &str,
        received: &[MessageId],
        sink: &mut dyn ContentSink,
    ) -> Result<Option<Fetched>, Error> {
        let body = continuation("osci:MsgBoxGetNextRequest", request_id, received);
        self.fetch_with(Operation::GetNextMessage, body, sink).await
    }

    /// Confirms messages: they are received, and not offered again.
    pub async fn close(&self, request_id: &str, received: &[MessageId]) -> Result<(), Error> {
        let body = continuation("osci:MsgBoxCloseRequest", request_id, received);
        self.ask(Operation::Close, self.author(), body).await.map(drop)
    }

    pub async fn transport_report(&self, id: &MessageId) -> Result<Report, Error> {
        let mut body = Markup::new();
        body.leaf("wsa:MessageID", id.as_str());
        let answer = self.ask(Operation::GetTransportReport, self.author(), body).await?;
        let report = answer.body.ok_or_else(|| message::Error::missing("Body", "TransportReport"))?;
        Ok(transport_report::parse(&report)?)
    }

    pub async fn cancel(&self, id: &MessageId) -> Result<(), Error> {
        let mut body = Markup::new();
        body.leaf("wsa:MessageID", id.as_str());
        self.ask(Operation::CancelMessage, self.author(), body).await.map(drop)
    }

    fn author(&self) -> Markup {
        let mut header = Markup::new();
        if let Some(identifier) = &self.settings.identifier {
            let party = Party { identifier: identifier.clone(), security_tokens: Vec::new() };
            metadata::write_party(&mut header, "oscimeta:Author", &party);
        }
        header
    }

    async fn fetch_with(
        &self,
        operation: Operation,
        body: Markup,
        sink: &mut dyn ContentSink,
    ) -> Result<Option<Fetched>, Error> {
        let response = self.post_plain(operation, self.author(), body).await?;
        let (answer, parts) = answer::read(response, &AnswerLimits::default(), Some(sink)).await?;
        fetched(&answer, parts)
    }

    async fn ask(&self, operation: Operation, headers: Markup, body: Markup) -> Result<Envelope, Error> {
        let response = self.post_plain(operation, headers, body).await?;
        answer::read(response, &AnswerLimits::default(), None).await.map(|(envelope, _)| envelope)
    }

    async fn post_plain(
        &self,
        operation: Operation,
        headers: Markup,
        body: Markup,
    ) -> Result<Response<hyper::body::Incoming>, Error> {
        let (open, close) = self.frame(operation, &headers.finish());
        let envelope = Bytes::from(format!("{open}{}{close}", body.finish()));
        let kind = format!("application/soap+xml; charset=utf-8; action=\"{}\"", operation.action());
        let length = envelope.len() as u64;
        self.post(&kind, length, net::full(envelope)).await
    }

    async fn post_content(
        &self,
        operation: Operation,
        envelope: &MessageEnvelope,
        content: &[Outgoing],
    ) -> Result<Response<hyper::body::Incoming>, Error> {
        let mut headers = Markup::new();
        metadata::write(&mut headers, envelope, None);
        if let Some(tokens) = &envelope.token_container {
            headers.fragment(tokens);
        }
        let parts: Vec<Part> = content.iter().map(|outgoing| outgoing.part.clone()).collect();
        let cids: Vec<String> = parts.iter().map(|_| format!("{}@amtsbote", uuid::Uuid::new_v4())).collect();
        let (open, close) = self.frame(operation, &headers.finish());
        let mut root = vec![Segment::Bytes(Bytes::from(open))];
        for piece in container::write_container(&parts, &cids) {
            match (piece, content) {
                (Piece::Text(text), _) => root.push(Segment::Bytes(Bytes::from(text))),
                (Piece::Verbatim(at), content) => root.extend(content.get(at).map(Outgoing::segment)),
            }
        }
        root.push(Segment::Bytes(Bytes::from_static(close.as_bytes())));

        let start_info = format!("application/soap+xml; action=\"{}\"", operation.action());
        let root_kind = content_type("application/xop+xml", &[("charset", "UTF-8"), ("type", &start_info)]);
        let root_id = "envelope@amtsbote";
        let boundary = Boundary::from_text(&format!("MIME_boundary_{}", uuid::Uuid::new_v4().simple()))?;
        let kind = content_type(
            "multipart/related",
            &[
                ("type", "application/xop+xml"),
                ("boundary", boundary.as_str()),
                ("start", &format!("<{root_id}>")),
                ("start-info", &start_info),
            ],
        );
        let mut framing = Framing::new(boundary);
        framing.part(&part_headers(&root_kind, root_id)?, root.iter().map(Segment::length).sum());
        let attached: Vec<(&Outgoing, &String)> =
            content.iter().zip(&cids).filter(|(outgoing, _)| !outgoing.is_encrypted()).collect();
        for (outgoing, cid) in &attached {
            framing.part(&part_headers("application/octet-stream", cid)?, outgoing.part.length);
        }
        let head = |at| Segment::Bytes(Bytes::copy_from_slice(framing.head(at).unwrap_or_default()));
        let mut segments = vec![head(0)];
        segments.extend(root);
        for (at, (outgoing, _)) in attached.iter().enumerate() {
            segments.push(head(at + 1));
            segments.push(outgoing.segment());
        }
        segments.push(Segment::Bytes(Bytes::from(framing.close())));
        self.post(&kind, framing.len(), content::streamed(segments)).await
    }

    /// What stands before and behind the body's content.
    fn frame(&self, operation: Operation, headers: &str) -> (String, &'static str) {
        let mut open = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope".to_owned();
        for (prefix, uri) in PREFIXES {
            open.push_str(&format!(" xmlns:{prefix}=\"{uri}\""));
        }
        open.push_str(&format!(
            "><soap:Header><wsa:Action>{}</wsa:Action><wsa:MessageID>urn:uuid:{}</wsa:MessageID><wsa:To>{}</wsa:To>\
             <wsa:ReplyTo><wsa:Address>http://www.w3.org/2005/08/addressing/anonymous</wsa:Address></wsa:ReplyTo>\
             {headers}</soap:Header><soap:Body>",
            operation.action(),
            uuid::Uuid::new_v4(),
            escape_text(&self.settings.url),
        ));
        (open, "</soap:Body></soap:Envelope>")
    }

    async fn post(
        &self,
        kind: &str,
        length: u64,
        body: Body,
    ) -> Result<Response<hyper::body::Incoming>, Error> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) if connection.is_ready() => connection,
            _ => self.connect().await?,
        };
        let request = Request::post(&self.path)
            .header(HOST, self.authority())
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_LENGTH, length)
            .header(hyper::header::ACCEPT, "application/soap+xml, multipart/related")
            .body(body)
            .map_err(|error| Error::Answer(error.to_string()))?;
        let answer_time_max = self.settings.answer_time_max;
        let answered = tokio::time::timeout(answer_time_max, connection.send_request(request)).await;
        let response = answered.map_err(|_| Error::Time(answer_time_max))??;
        *held = Some(connection);
        Ok(response)
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Error> {
        let failed = |source| Error::Connect { address: self.authority(), source };
        let name = tls::server_name(&self.host).map_err(|error| failed(std::io::Error::other(error)))?;
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let connected = async {
            let stream = TcpStream::connect((bare, self.port)).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(self.settings.tls.clone()).connect(name, stream).await
        };
        let stream = tokio::time::timeout(self.settings.connect_time_max, connected)
            .await
            .map_err(|_| Error::Time(self.settings.connect_time_max))?
            .map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender or with the server; either is told by the next call.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

fn part_headers(kind: &str, id: &str) -> Result<HeaderLines, mime::Error> {
    HeaderLines::new()
        .with("Content-Type", kind)?
        .with("Content-Transfer-Encoding", "binary")?
        .with("Content-ID", &format!("<{id}>"))
}

fn continuation(name: &str, request_id: &str, received: &[MessageId]) -> Markup {
    let mut body = Markup::new();
    body.element_with(name, &[("MsgBoxRequestID", Some(request_id))], |out| {
        for id in received {
            out.leaf("osci:LastMsgReceived", id.as_str());
        }
    });
    body
}

fn page(answer: &Envelope) -> Result<Page, Error> {
    let header = answer.header(OSCI, "MsgBoxResponse")?;
    let response =
        MsgBoxResponse::parse(header.ok_or_else(|| message::Error::missing("Header", "MsgBoxResponse"))?)?;
    let messages = answer.body.as_ref().map(msg_box::parse_status_list).transpose()?.unwrap_or_default();
    match response.state {
        Err(msg_box::Reason::NoMatch) | Ok(_) => {
            Ok(Page { messages, pending: response.state.unwrap_or(0), request_id: response.request_id })
        }
        Err(reason) => Err(Error::Answer(format!("the message box says {}", reason.uri()))),
    }
}

/// Nothing where the message box says that it has none.
fn fetched(answer: &Envelope, parts: Vec<Part>) -> Result<Option<Fetched>, Error> {
    let response = answer.header(OSCI, "MsgBoxResponse")?.map(MsgBoxResponse::parse).transpose()?;
    match &response {
        Some(MsgBoxResponse { state: Err(msg_box::Reason::NoMatch), .. }) => return Ok(None),
        Some(MsgBoxResponse { state: Err(reason), .. }) => {
            return Err(Error::Answer(format!("the message box says {}", reason.uri())));
        }
        _ => {}
    }
    let header = answer.header(OSCIMETA, "MessageMetaData")?;
    let message =
        metadata::parse_shown(header.ok_or_else(|| message::Error::missing("Header", "MessageMetaData"))?)?;
    let pending = response.as_ref().and_then(|response| response.state.ok()).unwrap_or(0);
    Ok(Some(Fetched { message, parts, request_id: response.map(|response| response.request_id), pending }))
}

/// The fault in an answer, as an error.
fn fault_of(answer: &Envelope) -> Option<Error> {
    let body = answer.body.as_ref()?;
    if !body.is(message::names::SOAP, "Fault") {
        return None;
    }
    let detail = body.optional(message::names::SOAP, "Detail").ok().flatten();
    let exception = detail.and_then(|detail| detail.children().next());
    let number = exception.and_then(|exception| exception.optional(XTA, "errorCode").ok().flatten());
    let text = |local| {
        let found = number.and_then(|number| number.optional(NONE, local).ok().flatten());
        found.map(message::element::Element::trimmed).unwrap_or_default()
    };
    Some(Error::Fault {
        exception: exception.map(|exception| exception.local.clone()).unwrap_or_default(),
        code: text("code"),
        name: text("name"),
    })
}

/// The next data of a body, whatever its kind.
async fn next_data(body: &mut hyper::body::Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
