//! The wire of a push, without a message's life ([`crate::osci::server::push`] has that). An intermediary that pushes: acceptDelivery and processDelivery to a passive recipient, and what his answer means
//! for whoever asked for the push (OSCI12, sections 9.2, 10.1 and 10.2).
//!
//! Content, attachments and custom headers go out in their sender's scope, byte for byte. Only a positive answer that
//! returns our challenge counts; everything else becomes one code, chosen so that "did not reach the recipient" is said
//! only where he certainly saw nothing. Which recipients may be dialled is [`super::address::Receivers`]' to say. Left
//! out: cards, and whether the recipient's signature certificate is trusted.

use std::sync::Arc;

use super::dialog::{self, ExpectReply};
use super::exchange::{self, Error as ExchangeError, Opened, Parcel, Settings, blocking, challenge};
use super::judge::{self, Asked, Distrust};
use crate::osci::code::Code;
use crate::osci::envelope::fault::Side;
use crate::osci::envelope::scope::Scope;
use crate::osci::envelope::source::Shared;
use crate::osci::envelope::write::OutgoingAttachment;
use crate::osci::message::Message;
use crate::osci::message::accept_delivery::AcceptDelivery;
use crate::osci::message::certificates::{IntermediaryCertificates, NonIntermediaryCertificates, Role};
use crate::osci::message::control_block::ControlBlock;
use crate::osci::message::custom_header::CustomHeader;
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::osci::message::feedback::Feedback;
use crate::osci::message::kind::Operation;
use crate::osci::message::languages::DesiredLanguages;
use crate::osci::message::payload::Payload;
use crate::osci::message::process_delivery::ProcessDelivery;

/// Errors of a recipient that speak of himself and not of the delivery.
const RECIPIENT_FAILED: [u16; 5] = [9000, 9603, 9710, 9808, 9811];

/// What is asked of the recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To take the delivery.
    Accept(AcceptDelivery),
    /// To take it and to reply at once.
    Process(ProcessDelivery),
}

/// A delivery on its way to a passive recipient.
pub struct Delivery {
    pub purpose: Purpose,
    /// As its sender wished.
    pub languages: Option<DesiredLanguages>,
    /// Its sender's, with their ids.
    pub certificates: Option<NonIntermediaryCertificates>,
    pub custom: Vec<CustomHeader>,
    /// The declarations around its sender's content.
    pub scope: Scope,
    pub content: Shared,
    pub attachments: Vec<OutgoingAttachment>,
}

/// The recipient said yes.
pub struct Answered {
    pub opened: Opened,
    /// 3802, 3803.
    pub warnings: Vec<Code>,
    /// The certificate (DER) that he signed with; nobody has judged it yet.
    pub signer: Option<Vec<u8>>,
    /// He took the question and replied nothing (9806).
    pub lacks_content: bool,
}

/// Why the push did not bring a yes, in the terms of whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    pub code: Code,
    /// For the operator.
    pub detail: String,
}

impl Failure {
    fn new(code: Code, detail: impl ToString) -> Self {
        Self { code, detail: detail.to_string() }
    }
}

/// Pushes once: nothing is repeated, because OSCI knows no repetition.
pub async fn push(settings: &Arc<Settings>, delivery: Delivery) -> Result<Answered, Failure> {
    let not_sent = |error: ExchangeError| Failure::new(Code::NotReached, error);
    let (control, expect) = dialog::push(challenge().map_err(not_sent)?);
    let parcel = parcel(settings, delivery, control);
    let operation = parcel.message.kind().operation();
    let own = settings.clone();
    let request = blocking(move || exchange::pack(&own, &parcel)).await.map_err(not_sent)?;
    let opened = exchange::carry(settings, request).await;
    answered(settings, operation, expect, opened.map_err(|error| Failure::new(code(&error), detail(&error)))?)
}

fn parcel(settings: &Settings, delivery: Delivery, control: ControlBlock) -> Parcel {
    let Delivery { purpose, languages, certificates, custom, scope, content, attachments } = delivery;
    let payload = match purpose {
        Purpose::Accept(accept) => Payload::AcceptDelivery(Box::new(accept)),
        Purpose::Process(process) => Payload::ProcessDelivery(Box::new(process)),
    };
    let keys = &settings.keys;
    let signature = keys.signature.as_ref().filter(|_| settings.sign);
    let signature = signature.map(|own| own.certificate.der().as_ref());
    let message = Message {
        languages,
        // The recipient encrypts his answer for our cipher certificate.
        intermediary: Some(IntermediaryCertificates::new(Some(keys.cipher.der().as_ref()), signature)),
        certificates: certificates.map(|block| block.without(Role::SignatureAddressee)),
        features: Some(FeatureDescription::of(
            Feature::ALL.into_iter().filter(|feature| *feature != Feature::PartialMessageTransmission),
        )),
        custom,
        ..Message::new(control, payload)
    };
    Parcel { message, scope, content: Some(content), attachments }
}

/// The recipient's words may name persons; his codes do not.
fn detail(error: &ExchangeError) -> String {
    match error {
        ExchangeError::Fault(fault) => {
            let code = fault.code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
            format!("the recipient answered with a fault {code}")
        }
        error => error.to_string(),
    }
}

/// What it means for the sender that there was no answer, or none that could be read.
fn code(error: &ExchangeError) -> Code {
    match error {
        ExchangeError::Transport(error) if !error.reached() => Code::NotReached,
        ExchangeError::Fault(fault) if fault.side == Side::Server => Code::RecipientFailed,
        ExchangeError::Fault(_) => Code::NotAccepted,
        _ => Code::Reached,
    }
}

fn answered(
    settings: &Settings,
    operation: Operation,
    expect: ExpectReply,
    opened: Opened,
) -> Result<Answered, Failure> {
    let received = &opened.received;
    let supplier = settings.peer_signature.as_ref().map(|certificate| certificate.der().as_ref());
    // What lacks encryption or signature is a warning here and no reason to disbelieve.
    let asked = Asked { operation, encrypted: false, signed: false, supplier };
    let signer = judge::answer(asked, received, opened.encrypted).map_err(|distrust| {
        let code = match distrust {
            Distrust::Signature(_) | Distrust::Signer => Code::AnswerSignatureInvalid,
            _ => Code::Reached,
        };
        Failure::new(code, distrust)
    })?;
    expect.answered(&received.message.control).map_err(|mismatch| Failure::new(Code::Reached, mismatch))?;
    let feedback = received.message.payload.feedback();
    said_yes(feedback.ok_or_else(|| Failure::new(Code::Reached, "the answer has no Feedback"))?)?;
    let is_empty = received.package.as_ref().is_none_or(|package| package.is_empty());
    let lacks_content = operation == Operation::ProcessDelivery && is_empty;
    let unsigned = signer.is_none().then_some(Code::AnswerUnsigned);
    // Whoever was spoken to in the clear answers so.
    let unencrypted = (settings.encrypt && !opened.encrypted).then_some(Code::AnswerUnencrypted);
    let warnings = unsigned.into_iter().chain(unencrypted).collect();
    let signer = signer.map(<[u8]>::to_vec);
    Ok(Answered { opened, warnings, signer, lacks_content })
}

fn said_yes(feedback: &Feedback) -> Result<(), Failure> {
    if feedback.is_positive() {
        return Ok(());
    }
    let failed = feedback.codes().any(|code| RECIPIENT_FAILED.contains(&code.number()));
    let code = if failed { Code::RecipientFailed } else { Code::NotAccepted };
    // His words may name persons; his codes do not.
    let codes: Vec<_> = feedback.codes().map(|code| code.to_string()).collect();
    Err(Failure::new(code, format!("the recipient answered {}", codes.join(", "))))
}
