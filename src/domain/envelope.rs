//! The envelope: what the post office may read of every message, whichever door it came through.
//!
//! Modelled on MessageMetaData of XTA 2 WS 2.1.1 (OSCI_MessageMetaData 2.02), which OSCI 1.2 carries as a custom
//! header as well. What the author wrote goes back unchanged; the post office only adds its own instants.
//! Opaque fragments (security tokens, endpoint references) are kept as self-contained XML text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::message_id::MessageId;
use super::party::PartyIdentifier;

/// A code with its list: `<code>`, optional `<name>`, `@listURI`, `@listVersionID`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Code {
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    pub identifier: PartyIdentifier,
    /// Each a `SecurityToken` element as self-contained XML.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_tokens: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusinessScenario {
    Defined(Code),
    Undefined(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Qualifier {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// URI of the service; empty where the author named none.
    pub service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_scenario: Option<BusinessScenario>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_type: Option<Code>,
    /// `MessageType/@payloadSchema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_schema: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRef {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<ProcessName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responder: Option<ProcessName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    pub key: Code,
    pub value: String,
}

/// An instant, in the author's own spelling beside the moment it means, so that it goes back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    pub at: Timestamp,
    pub text: String,
}

/// The envelope as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub id: MessageId,
    /// Marked as a test (`@TestMsg`).
    #[serde(default)]
    pub test: bool,
    pub author: Party,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Party>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Party>,
    pub reader: Party,
    /// Informational: nobody is sent a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_readers: Vec<PartyIdentifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc_readers: Vec<PartyIdentifier>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_reply_to: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_ref: Option<ProcessRef>,
    #[serde(default)]
    pub qualifier: Qualifier,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Instant>,
    /// The last day (in the author's spelling) and the instant at which it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obsolete_after: Option<Instant>,
    /// The service profile's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_quality: Option<String>,
    /// `ReceiptRequests` as self-contained XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_requests: Option<String>,
    /// `X509TokenContainer` as self-contained XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_container: Option<String>,
    /// The size that the author stated, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_size: Option<u64>,
}
