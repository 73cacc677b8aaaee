//! Envelopes of OSCI-Transport 1.2: from bytes to a message and back (OSCI12, sections 1, 2, 6 and 8).
//!
//! A message may be larger than memory. Reading ([`read`]) takes chunks cut anywhere, holds the header and whatever
//! is not content, and remembers where content and attachments lie in the stream; writing ([`mod@write`]) says the exact
//! length beforehand and sends content from where it lies. No sockets, files or clock.

pub mod attachment;
pub mod authors;
pub mod compose;
pub mod content;
pub mod encrypted;
pub mod fault;
pub mod header;
pub mod read;
pub mod scope;
pub mod signature;
mod soap_part;
pub mod source;
pub mod write;

use super::message;
use crate::{mime, xml};

/// Bounds on one message; attachments and content are counted by whoever spools them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The envelope up to its body.
    pub header_bytes_max: usize,
    /// The body where it is no content package, as a tree.
    pub body_tree: xml::tree::Limits,
    /// Content containers, and contents in them, of one message.
    pub contents_max: usize,
    pub mime: mime::Limits,
    pub xml: xml::Limits,
    pub signature: xml::dsig::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 4 << 20,
            body_tree: xml::tree::Limits { nodes_max: 500_000, bytes_max: 16 << 20 },
            contents_max: 10_000,
            mime: mime::Limits::default(),
            xml: xml::Limits {
                // ReceivedChunks may name 10,000 numbers, which takes 48,893 bytes.
                attribute_value_bytes_max: 64 << 10,
                markup_bytes_max: 128 << 10,
                document_bytes_max: 4 << 30,
                ..xml::Limits::default()
            },
            signature: xml::dsig::Limits::default(),
        }
    }
}

/// Why bytes are no message: fault 9100, or 9300 if they came out of an encrypted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("MIME: {0}")]
    Mime(#[from] mime::Error),
    #[error("SOAP: {0}")]
    Soap(#[from] xml::soap::Error),
    #[error("XML: {0}")]
    Xml(#[from] xml::Error),
    #[error(transparent)]
    Message(#[from] message::Error),
    #[error("signature element: {0}")]
    Signature(#[from] xml::dsig::Error),
    #[error("{what}: {why}")]
    Invalid { what: &'static str, why: &'static str },
    #[error("two elements have the Id {0}")]
    IdTwice(String),
    #[error("xsi:schemaLocation names no message of OSCI 1.2")]
    SchemaUnknown,
    #[error("{limit} is {value}")]
    LimitExceeded { limit: &'static str, value: usize },
    #[error("input could not be read: {0}")]
    Input(std::io::ErrorKind),
}

impl Error {
    /// The code of the fault it is answered with; what came out of an encrypted message has one of its own.
    pub fn fault(&self, was_encrypted: bool) -> u16 {
        match self {
            Self::Input(_) => 9000,
            _ if was_encrypted => 9300,
            _ => 9100,
        }
    }

    fn invalid(what: &'static str, why: &'static str) -> Self {
        Self::Invalid { what, why }
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod samples_tests;
#[cfg(test)]
mod tests;
