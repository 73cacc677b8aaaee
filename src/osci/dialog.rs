//! Dialogs as a state machine without hands (OSCI-Transport 1.2, ControlBlock; sections 3 and 10 of our notes).
//!
//! ```text
//! initDialog -> ExpectAnswer -> ExpectRequest -(request)-> ExpectAnswer -> ... -(exitDialog)-> over
//! ```
//! A request of an explicit dialog must name it, return the challenge we sent last and bear the next sequence number.
//! Because that challenge is new in each answer and leaves with it, at most one request is in flight, and a repeated one
//! finds the dialog elsewhere. Handed out is not received: a further request of the same dialog confirms, exitDialog
//! included, and nothing else does; a dialog that falls silent confirms nothing. Two things the store must do in one
//! transaction are therefore one value, [`DialogStep`]. Random numbers and `now` are handed in.

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::domain::account::AccountName;
use crate::domain::dialog::{ConversationId, Dialog, DialogStep, Originator};

/// Longest challenge that is taken and repeated; clients in the field send 16 characters.
pub const CHALLENGE_BYTES_MAX: usize = 1024;

/// How long a dialog may go on, however busy it is. The standard names no bound; a day is more than the longest fetch in
/// chunks needs, and what was believed of a client when it began is believed no longer.
pub const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// `osci:ControlBlock` as it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Control<'a> {
    pub conversation: Option<&'a str>,
    pub sequence: Option<u64>,
    pub response: Option<&'a str>,
    pub challenge: Option<&'a str>,
}

/// `osci:ControlBlock` of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerControl {
    pub conversation: ConversationId,
    /// Absent in the answer to initDialog.
    pub sequence: Option<u64>,
    /// The request's challenge.
    pub response: String,
    /// Absent in the answer that ends a dialog.
    pub challenge: Option<String>,
}

/// What a request's type demands of its dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// initDialog.
    Begins,
    /// exitDialog.
    Ends,
    /// getMessageId, storeDelivery, forwardDelivery, partialStoreDelivery.
    Either,
    /// fetchDelivery, fetchProcessCard, mediateDelivery, partialFetchDelivery.
    Explicit,
}

/// Why the control block is wrong. The client hears 9400 or 9802 and no more; the sentence is the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the control block has no {0}")]
    Missing(&'static str),
    #[error("the control block of this request must not have a {0}")]
    Surplus(&'static str),
    #[error("the {0} is not well-formed")]
    Malformed(&'static str),
    #[error("no dialog of this ConversationId is open")]
    UnknownDialog,
    #[error("the Response is not the challenge that was sent last")]
    WrongResponse,
    #[error("the SequenceNumber is {found}, the dialog stands at {expected}")]
    WrongSequence { expected: u64, found: u64 },
    #[error("the {0} certificate is not the one that the dialog began with")]
    CertificateChanged(&'static str),
    #[error("the dialog is encrypted, this request is not")]
    EncryptionDropped,
}

/// A control block that fits its request's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Begins {
        challenge: String,
    },
    Continues(Continuation),
    /// One request, one answer.
    Implicit {
        challenge: String,
    },
    /// The type needs an explicit dialog and the request names none: 9802, in an answer that repeats these.
    NeedsDialog {
        challenge: String,
        sequence: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    pub conversation: ConversationId,
    pub sequence: u64,
    pub response: String,
    pub challenge: String,
    pub ends: bool,
}

/// Judges the control block's form. Whether its dialog is open is [`ExpectRequest::take`]'s judgement.
pub fn open(manner: Manner, control: Control<'_>) -> Result<Opening, Refusal> {
    let challenge = control.challenge.ok_or(Refusal::Missing("Challenge"))?;
    if challenge.is_empty() || challenge.len() > CHALLENGE_BYTES_MAX {
        return Err(Refusal::Malformed("Challenge"));
    }
    let challenge = challenge.to_owned();
    if manner == Manner::Begins {
        for (present, name) in [
            (control.conversation.is_some(), "ConversationId"),
            (control.sequence.is_some(), "SequenceNumber"),
            (control.response.is_some(), "Response"),
        ] {
            if present {
                return Err(Refusal::Surplus(name));
            }
        }
        return Ok(Opening::Begins { challenge });
    }
    let sequence = control.sequence.ok_or(Refusal::Missing("SequenceNumber"))?;
    let Some(conversation) = control.conversation else {
        return match (manner, sequence) {
            (Manner::Explicit, sequence) => Ok(Opening::NeedsDialog { challenge, sequence }),
            // A Response may be left over from an earlier dialog of the same client; it means nothing here.
            (Manner::Either, 0) => Ok(Opening::Implicit { challenge }),
            (Manner::Either, found) => Err(Refusal::WrongSequence { expected: 0, found }),
            _ => Err(Refusal::Missing("ConversationId")),
        };
    };
    let conversation =
        ConversationId::parse(conversation).map_err(|_| Refusal::Malformed("ConversationId"))?;
    let response = control.response.ok_or(Refusal::Missing("Response"))?.to_owned();
    let ends = manner == Manner::Ends;
    Ok(Opening::Continues(Continuation { conversation, sequence, response, challenge, ends }))
}

/// A dialog that waits for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectRequest(Dialog);

/// A dialog whose request is being worked on; only its answer leads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectAnswer {
    dialog: Dialog,
    response: String,
    /// Absent for initDialog.
    sequence: Option<u64>,
    ends: bool,
    proven: bool,
}

/// What the request showed of its sender besides the control block.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The cipher certificate (DER), where the request repeats it.
    pub cipher: Option<&'a [u8]>,
    /// The signature certificate (DER), where the request is signed.
    pub signature: Option<&'a [u8]>,
    pub encrypted: bool,
}

/// A client begins. The dialog exists once the store has it.
pub fn begin(
    challenge: String,
    account: AccountName,
    originator: Originator,
    encrypted: bool,
    fresh: Fresh,
    now: Timestamp,
    idle: Duration,
) -> ExpectAnswer {
    let dialog = Dialog {
        id: ConversationId::from_random(fresh.conversation),
        account,
        originator,
        encrypted,
        challenge: fresh.challenge,
        sequence: 0,
        handed_out: Vec::new(),
        opened_at: now,
        used_at: now,
        expires_at: end(now, now, idle),
    };
    ExpectAnswer { dialog, response: challenge, sequence: None, ends: false, proven: false }
}

/// Random numbers for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    pub conversation: u128,
    pub challenge: String,
}

/// The control block of an answer outside any dialog; its ConversationId names nothing.
pub fn answer_alone(challenge: String, sequence: u64, fresh: Fresh) -> AnswerControl {
    AnswerControl {
        conversation: ConversationId::from_random(fresh.conversation),
        sequence: Some(sequence),
        response: challenge,
        challenge: Some(fresh.challenge),
    }
}

impl ExpectRequest {
    /// The dialog as the store has it, if it is not over.
    pub fn resume(dialog: Option<Dialog>, now: Timestamp) -> Result<Self, Refusal> {
        dialog.filter(|dialog| dialog.expires_at > now).map(Self).ok_or(Refusal::UnknownDialog)
    }

    pub fn dialog(&self) -> &Dialog {
        &self.0
    }

    /// A request arrives. Where its sender has proven to be the dialog's client, what was handed out before is received.
    /// The step and the answer belong together: the step first, durably.
    pub fn take(
        self,
        request: Continuation,
        shown: Shown<'_>,
        challenge_next: String,
        now: Timestamp,
        idle: Duration,
    ) -> Result<(DialogStep, ExpectAnswer), Refusal> {
        let Self(mut dialog) = self;
        if dialog.id != request.conversation {
            return Err(Refusal::UnknownDialog);
        }
        if !same(&dialog.challenge, &request.response) {
            return Err(Refusal::WrongResponse);
        }
        if dialog.sequence != request.sequence {
            return Err(Refusal::WrongSequence { expected: dialog.sequence, found: request.sequence });
        }
        if dialog.encrypted && !shown.encrypted {
            return Err(Refusal::EncryptionDropped);
        }
        if shown.cipher.is_some_and(|cipher| cipher != dialog.originator.cipher) {
            return Err(Refusal::CertificateChanged("cipher"));
        }
        let signature_new = match (&dialog.originator.signature, shown.signature) {
            (Some(known), Some(shown)) if known != shown => {
                return Err(Refusal::CertificateChanged("signature"));
            }
            (None, Some(shown)) => Some(shown.to_vec()),
            _ => None,
        };
        // What was sent readably can be returned by anybody who listens, and anybody can encrypt for us: only a challenge
        // that left encrypted, or a verified signature, proves who speaks.
        let proven = dialog.encrypted || shown.signature.is_some();
        let step = DialogStep {
            id: dialog.id.clone(),
            challenge: std::mem::take(&mut dialog.challenge),
            sequence: dialog.sequence,
            challenge_next: (!request.ends).then(|| challenge_next.clone()),
            encrypted: shown.encrypted,
            confirms: proven,
            signature: signature_new.clone(),
            at: now,
            expires_at: end(dialog.opened_at, now, idle),
        };
        dialog.challenge = challenge_next;
        dialog.sequence = dialog.sequence.saturating_add(1);
        dialog.encrypted = shown.encrypted;
        dialog.originator.signature = dialog.originator.signature.or(signature_new);
        (dialog.used_at, dialog.expires_at) = (now, step.expires_at);
        if proven {
            dialog.handed_out.clear();
        }
        let answer = ExpectAnswer {
            dialog,
            response: request.challenge,
            sequence: Some(request.sequence),
            ends: request.ends,
            proven,
        };
        Ok((step, answer))
    }
}

impl ExpectAnswer {
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Whether the sender has proven to hold a key of the dialog's client. Mailboxes are open to nobody else.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// The answer's control block, and the dialog behind it unless it is over.
    pub fn answer(self) -> (AnswerControl, Option<ExpectRequest>) {
        let control = AnswerControl {
            conversation: self.dialog.id.clone(),
            sequence: self.sequence,
            response: self.response,
            challenge: (!self.ends).then(|| self.dialog.challenge.clone()),
        };
        (control, (!self.ends).then_some(ExpectRequest(self.dialog)))
    }
}

/// When a dialog is over that falls silent from here on.
fn end(opened_at: Timestamp, now: Timestamp, idle: Duration) -> Timestamp {
    later(now, idle).min(later(opened_at, AGE_MAX))
}

fn later(now: Timestamp, idle: Duration) -> Timestamp {
    now.checked_add(idle).unwrap_or(Timestamp::MAX)
}

/// Compares without telling by time how much is equal.
fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
#[path = "dialog_tests.rs"]
mod tests;
