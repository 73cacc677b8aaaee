//! The messages of OSCI-Transport 1.2 as types, one file per kind: pure reading and writing, no sockets, files or clock.
//!
//! Reading takes the children of an element in any order, each at most as often as the schema says, and refuses what
//! the schema does not know, because a part that only one of two readers understands is a part that can be forged.
//! Writing keeps the schema's order and the spelling of the clients in the field, byte for byte. Texts are in the
//! form the peer wrote them. Left out: schema validation (the published schemas are not valid themselves), the texts
//! of feedback codes, content, which passes by as bytes, and everything about envelopes.

pub mod accept_delivery;
pub mod certificates;
pub mod chunk_information;
pub mod control_block;
pub mod custom_header;
pub mod exit_dialog;
pub mod feature_description;
pub mod feedback;
pub mod fetch_delivery;
pub mod fetch_process_card;
pub mod forward_delivery;
pub mod init_dialog;
pub mod kind;
pub mod languages;
pub mod markup;
pub mod mediate_delivery;
pub mod message_id;
pub mod names;
pub mod partial_fetch_delivery;
pub mod partial_store_delivery;
pub mod payload;
pub mod process_card;
pub mod process_delivery;
pub mod selection;
pub mod store_delivery;
pub mod timestamp_quality;

use certificates::{IntermediaryCertificates, NonIntermediaryCertificates};
use control_block::ControlBlock;
use custom_header::CustomHeader;
use feature_description::FeatureDescription;
use kind::Kind;
use languages::DesiredLanguages;
use payload::Payload;
use timestamp_quality::TimestampQualities;

/// Why a well-formed document is not the message that it should be: fault 9100 (9300 where it came encrypted).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{element} is missing in {parent}")]
    Missing { parent: String, element: String },
    #[error("{element} occurs more than once in {parent}")]
    Twice { parent: String, element: String },
    #[error("{element} has no place in {parent}")]
    Unexpected { parent: String, element: String },
    #[error("text where only elements may stand, in {parent}")]
    Text { parent: String },
    #[error("{what} is not valid: {why}")]
    Invalid { what: &'static str, why: &'static str },
    #[error("{what} is {max} at most, seen {seen}")]
    TooLong { what: &'static str, max: usize, seen: usize },
}

/// A whole message without its content: every header block, and the body where that is not a content package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub control: ControlBlock,
    pub languages: Option<DesiredLanguages>,
    pub timestamp_qualities: TimestampQualities,
    pub payload: Payload,
    pub intermediary: Option<IntermediaryCertificates>,
    pub certificates: Option<NonIntermediaryCertificates>,
    pub features: Option<FeatureDescription>,
    pub custom: Vec<CustomHeader>,
}

impl Message {
    /// A message of nothing but control block and payload, to be filled.
    pub fn new(control: ControlBlock, payload: Payload) -> Self {
        Self {
            control,
            languages: None,
            timestamp_qualities: TimestampQualities::default(),
            payload,
            intermediary: None,
            certificates: None,
            features: None,
            custom: Vec::new(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.payload.kind()
    }
}
