//! Answers on their way out: signed, encrypted where the request was, with an exact length (sections 1, 6, 7). Small ones
//! are made in memory, large ones in the [`Outbox`].

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand;
use hyper::Response;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::fetch::Content;
use super::incoming::Seal;
use super::outbox::{self, Blocks, Outbox, Room, WHOLE_BYTES_MAX};
use super::unwritable::Carried;
use super::{InForce, Refused, SignatureIdentity};
use crate::mime::write::Boundary;
use crate::net::{self, Body};
use crate::osci::client::scratch::Slice;
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
    /// Which delivery that is.
    pub carried: Option<Carried>,
    /// Disk space that was kept for it.
    pub room: Option<Room>,
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
            carried: None,
            room: None,
            features,
            recipient,
        }
    }

    /// The whole answer, of which nothing went out. Whatever its client does later holds up nobody else.
    pub async fn into_response(
        mut self,
        in_force: Arc<InForce>,
        offered: FeatureDescription,
        seal: Option<Seal>,
        outbox: &Outbox,
    ) -> Result<Response<Body>, Refused> {
        let is_large = self.is_large();
        let turn = if is_large { outbox.turn().await } else { None };
        let folder = outbox.folder().to_owned();
        let make = move || {
            let _turn = turn;
            let room = self.room.take();
            let ready = self.prepare(&in_force, offered, seal)?;
            ready.make(room, &folder)
        };
        if !is_large {
            // It takes hardly longer than its one private-key operation; another thread would cost as much again.
            return Ok(make()?.into_response());
        }
        let stopping = |_| Refused::new(Code::Internal, "the answer could not be made");
        Ok(tokio::task::spawn_blocking(make).await.map_err(stopping)??.into_response())
    }

    fn is_large(&self) -> bool {
        let package = self.content.as_ref().map_or(0, |content| content.bytes());
        let attached = self.attachments.iter().map(OutgoingAttachment::bytes);
        outbox::is_large(attached.fold(package, u64::saturating_add))
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
        let carried = self.carried;
        let internal = |error: write::Error| {
            if let Some(carried) = carried.filter(|_| error.is_of_the_message()) {
                carried.unwritable.note(&carried.id, &error);
            }
            Refused::new(Code::Internal, format!("the answer: {error}"))
        };
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
        let in_base64 = encrypted::answers_in_base64(features.as_ref(), seal.in_base64);
        PreparedSealed::new(prepared, algorithms, &recipient, certificate.spki(), boundary(), in_base64)
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

    fn make(self, room: Option<Room>, folder: &Path) -> Result<Made, Refused> {
        let size = self.size();
        if size <= WHOLE_BYTES_MAX {
            return self.in_memory().map_err(|error| Refused::new(Code::Internal, error.to_string()));
        }
        let full = |error: String| {
            let detail =
                format!("an answer of {size} bytes cannot be written to {}: {error}", folder.display());
            Refused::new(Code::Internal, detail)
        };
        let file = match room {
            Some(room) => room.into_file(),
            None => outbox::nameless(folder).map_err(|error| full(error.to_string()))?,
        };
        self.write_to(&file, size).map_err(|error| full(error.to_string()))?;
        Ok(Made::File(Slice::new(Arc::new(file), 0..size)))
    }

    fn write_to(&self, file: &File, size: u64) -> Result<(), write::Error> {
        let mut out = Blocks::new(file);
        self.write(&mut out)?;
        out.flush()?;
        // More may have been kept than was needed; less than announced must not go out.
        if (&*file).stream_position()? != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(file.set_len(size)?)
    }

    fn in_memory(&self) -> Result<Made, write::Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size()).unwrap_or_default());
        self.write(&mut bytes)?;
        Ok(Made::Memory(bytes))
    }
}

/// A message that needs only to be read.
enum Made {
    Memory(Vec<u8>),
    File(Slice),
}

impl Made {
    fn into_response(self) -> Response<Body> {
        let (size, body) = match self {
            Self::Memory(bytes) => (bytes.len() as u64, net::full(bytes)),
            Self::File(slice) => (slice.length(), slice.body()),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        response
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
    // In memory, because it must be said on a full disk, too.
    Ok(Ready::Plain(fault.prepare(&boundary())?).in_memory()?.into_response())
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
