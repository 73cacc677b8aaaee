//! Answers on their way out: signed, encrypted where the request was, with an exact length, streamed (sections 1, 6, 7).

use std::io::{self, Write};
use std::sync::Arc;

use aws_lc_rs::rand;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::fetch::Content;
use super::incoming::Seal;
use super::{InForce, Refused, SignatureIdentity};
use crate::mime::write::Boundary;
use crate::net::{self, Body};
use crate::osci::code::{Code, Kind, Language};
use crate::osci::dialog::AnswerControl;
use crate::osci::envelope::encrypted::{self, PreparedSealed};
use crate::osci::envelope::fault::{Fault, Side};
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::{self, Outgoing, OutgoingAttachment, Prepared, Signing};
use crate::osci::message::certificates::{IntermediaryCertificates, NonIntermediaryCertificates};
use crate::osci::message::control_block::{Challenge, ControlBlock, ConversationId};
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::feature_description::FeatureDescription;
use crate::osci::message::feedback::{CodeNumber, Entry, Feedback};
use crate::osci::message::payload::Payload;
use crate::osci::message::{self, Message};
use crate::pki::certificate::{Certificate, KeyKind};
use crate::report::CorrelationId;
use crate::xml::dsig::{DigestMethod, SignatureMethod};

/// Answers up to this size are made in one piece.
const WHOLE_BYTES_MAX: u64 = 64 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for the client.
const PIECES_MAX: usize = 4;

/// An answer to a request, before it is signed and encrypted.
pub(super) struct Answer {
    pub control: AnswerControl,
    pub payload: Payload,
    /// Those of a delivery's sender.
    pub certificates: Option<NonIntermediaryCertificates>,
    pub custom: Vec<CustomHeader>,
    pub scope: Scope,
    pub content: Option<Shared>,
    pub attachments: Vec<OutgoingAttachment>,
    /// What the client understands, as it said.
    pub features: Option<FeatureDescription>,
    /// The cipher certificate (DER) of the client.
    pub recipient: Vec<u8>,
}

impl Answer {
    /// An answer that carries no delivery.
    pub fn plain(
        control: AnswerControl,
        payload: Payload,
        features: Option<FeatureDescription>,
        recipient: Vec<u8>,
    ) -> Self {
        Self {
            control,
            payload,
            certificates: None,
            custom: Vec::new(),
            scope: Scope::standard(),
            content: None,
            attachments: Vec::new(),
            features,
            recipient,
        }
    }

    pub async fn into_response(
        self,
        in_force: Arc<InForce>,
        offered: FeatureDescription,
        seal: Option<Seal>,
    ) -> Result<Response<Body>, Refused> {
        let made = tokio::task::spawn_blocking(move || self.prepare(&in_force, offered, seal)).await;
        let stopping = |_| Refused::new(Code::Internal, "the answer could not be made");
        let ready = made.map_err(stopping)??;
        ready.into_response().map_err(|error| Refused::new(Code::Internal, error.to_string()))
    }

    /// What a delivery brings along.
    pub fn carry(&mut self, content: Content) {
        self.certificates = content.certificates;
        self.custom = content.custom;
        self.scope = content.scope;
        self.content = Some(content.package);
        self.attachments = content.attachments;
    }

    /// Signed, in the clear; `offered` is what we understand.
    pub fn sign(self, in_force: &InForce, offered: FeatureDescription) -> Result<Prepared, Refused> {
        let internal = |error: write::Error| Refused::new(Code::Internal, format!("the answer: {error}"));
        let signature = &in_force.signature;
        let certificate = signature.certificate.der().as_ref();
        let intermediary = IntermediaryCertificates::new(None, Some(certificate));
        let control =
            control_block(self.control).map_err(|error| Refused::new(Code::Internal, error.to_string()))?;
        let certificate_id = intermediary.signature.as_ref().map(|own| own.id.clone()).unwrap_or_default();
        let message = Message {
            intermediary: Some(intermediary),
            certificates: self.certificates,
            features: self.features.map(|_| offered),
            custom: self.custom,
            ..Message::new(control, self.payload)
        };
        let outgoing = Outgoing {
            message: &message,
            scope: &self.scope,
            content: self.content,
            attachments: self.attachments,
            boundary: boundary(),
            signing: Some(Signing {
                signer: &signature.key,
                certificate_id: &certificate_id,
                method: method(signature),
                digest: DigestMethod::Sha256,
            }),
        };
        outgoing.prepare().map_err(internal)
    }

    fn prepare(
        self,
        in_force: &InForce,
        offered: FeatureDescription,
        seal: Option<Seal>,
    ) -> Result<Ready, Refused> {
        let (features, recipient) = (self.features.clone(), self.recipient.clone());
        let prepared = self.sign(in_force, offered)?;
        let Some(seal) = seal else { return Ok(Ready::Plain(prepared)) };
        let unreadable = |why: &dyn std::fmt::Display| {
            Refused::new(Code::Undecipherable, format!("the answer cannot be encrypted: {why}"))
        };
        let algorithms = encrypted::answer_algorithms(&seal.algorithms, features.as_ref());
        let certificate = Certificate::from_der(&recipient).map_err(|error| unreadable(&error))?;
        PreparedSealed::new(prepared, algorithms, &recipient, certificate.spki(), boundary())
            .map(Ready::Sealed)
            .map_err(|error| unreadable(&error))
    }
}

fn control_block(control: AnswerControl) -> Result<ControlBlock, message::Error> {
    Ok(ControlBlock {
        conversation_id: Some(ConversationId::new(control.conversation.as_str())?),
        sequence_number: control.sequence,
        response: Some(Challenge::new(control.response)?),
        challenge: control.challenge.map(Challenge::new).transpose()?,
    })
}

fn method(signature: &SignatureIdentity) -> SignatureMethod {
    match signature.certificate.key_kind() {
        KeyKind::P256 => SignatureMethod::EcdsaSha256,
        KeyKind::P384 => SignatureMethod::EcdsaSha384,
        KeyKind::P521 => SignatureMethod::EcdsaSha512,
        _ => SignatureMethod::RsaSha256,
    }
}

fn boundary() -> Boundary {
    let mut random = [0; 24];
    // Without random numbers nothing else would have worked before.
    let _ = rand::fill(&mut random);
    Boundary::from_random(random)
}

/// A message that is only to be poured out.
enum Ready {
    Plain(Prepared),
    Sealed(PreparedSealed),
}

impl Ready {
    fn size(&self) -> u64 {
        match self {
            Self::Plain(prepared) => prepared.size(),
            Self::Sealed(prepared) => prepared.size(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> Result<(), write::Error> {
        match self {
            Self::Plain(prepared) => prepared.write(out),
            Self::Sealed(prepared) => prepared.write(out),
        }
    }

    fn into_response(self) -> Result<Response<Body>, write::Error> {
        let size = self.size();
        if size <= WHOLE_BYTES_MAX {
            let mut bytes = Vec::with_capacity(size as usize);
            self.write(&mut bytes)?;
            return Ok(response(size, net::full(bytes)));
        }
        let (send, receive) = tokio::sync::mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces { send, piece: Vec::with_capacity(PIECE_BYTES) };
            let written = self.write(&mut out).and_then(|()| Ok(out.flush()?));
            if let Err(error) = written {
                // The client went away, or what is stored cannot be read; it notices by the length.
                tracing::warn!(%error, "an answer was not written to its end");
                let _ = out.send.blocking_send(Err(io::Error::other("the answer broke off")));
            }
        });
        let pieces = stream::unfold(receive, |mut receive| async move {
            receive.recv().await.map(|piece| (piece.map(Frame::data), receive))
        });
        Ok(response(size, StreamBody::new(pieces).boxed_unsync()))
    }
}

fn response(size: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    response
}

/// Hands on what is written in pieces, and waits while too many are on their way.
struct Pieces {
    send: tokio::sync::mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.send.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A fault, in German and English, because nothing is known of the client's languages.
pub(super) fn fault(refused: &Refused, correlation: CorrelationId) -> Result<Response<Body>, write::Error> {
    let code = if refused.code.kind().is_fault() { refused.code } else { Code::Internal };
    let fault = Fault {
        side: if code.kind() == Kind::FaultServer { Side::Server } else { Side::Client },
        code: CodeNumber::parse(code.as_str()),
        text: format!("{} / {} ({correlation})", code.text(Language::German), code.text(Language::English)),
    };
    Ready::Plain(fault.prepare(&boundary())?).into_response()
}

/// Feedback from codes, each with what is added to its words.
pub(super) fn feedback(language: Language, findings: &[(Code, Option<String>)]) -> Feedback {
    let entry = |(code, sentence): &(Code, Option<String>)| Entry {
        language: Some(language.tag().to_owned()),
        code: CodeNumber::parse(code.as_str()).expect("codes have four digits"),
        text: match sentence {
            Some(sentence) => format!("{} ({sentence})", code.text(language)),
            None => code.text(language).to_owned(),
        },
    };
    let mut entries = findings.iter().map(entry);
    let first = entries.next().unwrap_or_else(|| entry(&(Code::Failed, None)));
    let mut feedback = Feedback::new(first);
    entries.for_each(|entry| feedback.push(entry));
    feedback
}
