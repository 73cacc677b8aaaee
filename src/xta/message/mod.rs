//! The messages of XTA 2 web service 2.1.1, one file per kind: pure parsing and writing, no sockets, files or clock.
//!
//! Parsing is tolerant where clients in the field deviate from the schema (missing `@type`, no BusinessScenario,
//! `xsi:nil`, an empty service) and strict where two readers could disagree (an element given twice). Writing follows
//! the schema's order exactly. Left out: schema validation, and the content itself, which [`super::server`] streams.

pub mod container;
pub mod element;
pub mod envelope;
pub mod instant;
pub mod lookup;
pub mod markup;
pub mod metadata;
pub mod msg_box;
pub mod names;
pub mod transport_report;

use thiserror::Error;

/// Why a well-formed document is not the message that it should be. The sentence is meant for the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{element} is missing in {parent}")]
    Missing { parent: String, element: String },
    #[error("{element} occurs more than once in {parent}")]
    Twice { parent: String, element: String },
    #[error("{what} is not valid: {why}")]
    Invalid { what: String, why: String },
    #[error("{what} is not a valid URI: {why}")]
    NotAUri { what: String, why: &'static str },
    #[error("{element} has no place in {parent}")]
    Unexpected { parent: String, element: String },
}

impl Error {
    pub(crate) fn missing(parent: &str, element: &str) -> Self {
        Self::Missing { parent: parent.to_owned(), element: element.to_owned() }
    }

    pub(crate) fn invalid(what: &str, why: impl std::fmt::Display) -> Self {
        Self::Invalid { what: what.to_owned(), why: why.to_string() }
    }
}
