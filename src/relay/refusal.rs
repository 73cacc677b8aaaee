//! Why the relay says no, in its own words. Doors turn a refusal into their protocol's code (XTA 2 fault table,
//! section 6; OSCI feedback) and into a [`Failure`] for the log. Codes of protocols are not known here.

use thiserror::Error;

use crate::domain::message_id::MessageId;
use crate::domain::state::DeliveryState;
use crate::report::{Failure, Loudness};
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("no mailbox here takes messages for the reader {reader}")]
    ReaderUnknown { reader: String },
    #[error("the identifier {claimed} does not belong to the account that asks")]
    NotYourIdentifier { claimed: String },
    #[error("the service {service:?} is not booked")]
    ServiceNotBooked { service: String },
    #[error("this account may not write to the reader {reader}")]
    ReaderNotAllowed { reader: String },
    #[error("the message id has been used for another message")]
    IdUsed,
    #[error("the message id was not issued to this account")]
    IdNotIssued,
    #[error("the content has {seen} bytes, at most {max} are allowed")]
    TooLarge { max: u64, seen: u64 },
    /// No such message, or none that the asker may know of: both look alike from outside.
    #[error("no such message is known for this account")]
    UnknownMessage,
    #[error("NotBefore has been reached, the message can no longer be cancelled")]
    NotBeforePassed,
    #[error("the message has no NotBefore and cannot be cancelled")]
    NotBeforeNotSet,
    #[error("the service takes only asynchronous messages")]
    AsynchronousOnly,
    #[error("the service takes only synchronous messages")]
    SynchronousOnly,
    #[error("the service profile {name:?} is not known")]
    ProfileUnknown { name: String },
    #[error("the message violates its service profile: {what}")]
    ProfileViolated { what: String },
    /// The message was accepted and stays in the reader's mailbox; only its answer is missing.
    #[error("the message was accepted, but the reader did not answer in time")]
    NoAnswerInTime { id: MessageId, seconds: u32 },
    #[error("invalid parameter: {what}")]
    ParameterInvalid { what: String },
    /// An operator asked for something that does not apply to a message in this state.
    #[error("a message that is {state} cannot be {what}")]
    StateForbids { state: DeliveryState, what: &'static str },
    #[error("the post office is full and accepts nothing for the time being")]
    StoreFull { free: u64, reserve: u64 },
    #[error("the post office cannot work for the time being")]
    Unavailable { detail: String },
    #[error("internal error")]
    Internal { detail: String },
}

impl Refusal {
    /// A stable word for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ReaderUnknown { .. } => "reader-unknown",
            Self::NotYourIdentifier { .. } => "not-your-identifier",
            Self::ServiceNotBooked { .. } => "service-not-booked",
            Self::ReaderNotAllowed { .. } => "reader-not-allowed",
            Self::IdUsed => "id-used",
            Self::IdNotIssued => "id-not-issued",
            Self::TooLarge { .. } => "too-large",
            Self::UnknownMessage => "unknown-message",
            Self::NotBeforePassed => "not-before-passed",
            Self::NotBeforeNotSet => "not-before-not-set",
            Self::AsynchronousOnly => "asynchronous-only",
            Self::SynchronousOnly => "synchronous-only",
            Self::ProfileUnknown { .. } => "profile-unknown",
            Self::ProfileViolated { .. } => "profile-violated",
            Self::NoAnswerInTime { .. } => "no-answer-in-time",
            Self::ParameterInvalid { .. } => "parameter-invalid",
            Self::StateForbids { .. } => "state-forbids",
            Self::StoreFull { .. } => "store-full",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether the fault lies with the post office, so that the same request may succeed later.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::StoreFull { .. } | Self::Unavailable { .. } | Self::Internal { .. })
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::ReaderUnknown { .. } => {
                "If the reader is a participant, give the identifier to its account: amtsbote participant"
            }
            Self::ServiceNotBooked { .. } | Self::ReaderNotAllowed { .. } => {
                "If this is wanted, extend the account's rights or the reader's services: amtsbote participant"
            }
            Self::IdNotIssued => {
                "If this account brings ids of its own, set foreign_message_ids in its rights"
            }
            Self::ProfileUnknown { .. } => "Ask the author, or configure a service profile of that name",
            Self::StoreFull { .. } => "Free space on the store's disk; accepting goes on by itself",
            Self::Unavailable { .. } => "See `amtsbote check` and the store's disk",
            Self::Internal { .. } => "Please report this with the correlation id",
            _ => "",
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown => Self::UnknownMessage,
            StoreError::Denied(denied) => {
                Self::StateForbids { state: denied.state, what: super::deliver::participle(denied.event) }
            }
            StoreError::IdUsed => Self::IdUsed,
            StoreError::NotAnnounced => Self::IdNotIssued,
            StoreError::Full { free, reserve } => Self::StoreFull { free, reserve },
            StoreError::Unavailable(detail) => Self::Unavailable { detail },
            StoreError::Payload(error) => Self::Unavailable { detail: format!("payload: {error}") },
            error @ (StoreError::Corrupt(_) | StoreError::Outdated { .. }) => {
                Self::Internal { detail: error.to_string() }
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let detail = match &refusal {
            Refusal::Unavailable { detail } | Refusal::Internal { detail } => detail.clone(),
            Refusal::StoreFull { free, reserve } => {
                format!("{free} bytes are free, {reserve} are kept in reserve")
            }
            Refusal::NoAnswerInTime { id, seconds } => format!("{id} waited {seconds} s"),
            _ => String::new(),
        };
        let loudness = match &refusal {
            refusal if refusal.is_ours() => Loudness::Error,
            Refusal::NoAnswerInTime { .. } => Loudness::Warn,
            _ => Loudness::Info,
        };
        Self {
            code: refusal.code(),
            sentence: refusal.to_string(),
            detail,
            next_step: refusal.next_step().to_owned(),
            loudness,
        }
    }
}
