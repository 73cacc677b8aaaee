//! The process card (Laufzettel): what happened to one message, when, and who was found to be who.
//!
//! One card type for every protocol: OSCI's ProcessCardBundle, XTA's TransportReport and the portal's event log are
//! projections of it. It holds ids, instants, codes and certificate findings, never content.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::account::AccountName;
use super::content::Digest;
use super::message_id::MessageId;
use super::party::{MailboxName, PartyIdentifier};
use super::state::{DeliveryState, Event};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// A remark on the card: a stable code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub at: Timestamp,
    pub severity: Severity,
    /// Our own stable word, such as `expired` or `push-failed`.
    pub code: String,
    pub reason: String,
}

/// A step in the life of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub at: Timestamp,
    pub event: Event,
    pub state: DeliveryState,
    /// The account or operator that caused it; absent for the post office itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was found about a certificate. Subject and issuer are those of authorities' keys, not of persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFinding {
    /// Whose certificate: `author-tls`, `author-signature`, `reader-encryption`, ….
    pub role: String,
    pub subject: String,
    pub issuer: String,
    /// Hexadecimal.
    pub serial: String,
    pub at: Timestamp,
    /// `valid`, `invalid` or `indeterminate`.
    pub verdict: String,
    /// Each check in words, such as `path: good` or `revocation: not checked, no list configured`.
    pub checks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCard {
    /// Version of this structure as stored.
    pub version: u16,
    pub id: MessageId,
    pub state: DeliveryState,
    pub mailbox: MailboxName,
    pub author: PartyIdentifier,
    pub reader: PartyIdentifier,
    /// The account whose certificate posted it.
    pub posted_by: AccountName,
    /// Which door it came through: `xta-2.1.1`, `osci-1.2`, ….
    pub door: String,
    pub service: String,
    pub test: bool,
    pub payload_digest: Digest,
    /// Bytes of all parts.
    pub payload_bytes: u64,
    pub accepted_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Entry in the mailbox (XTA: Delivery).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_handed_out_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFinding>,
}

/// Steps kept on a card. Beyond it, repeated hand-outs and failed pushes replace the last step of their kind.
pub const STEPS_MAX: usize = 256;

impl ProcessCard {
    /// Writes a step down and moves the instants that depend on it. The state machine has allowed it before.
    pub fn record(&mut self, step: Step) {
        self.state = step.state;
        match step.event {
            Event::Accepted if step.state == DeliveryState::Waiting => self.delivered_at = Some(step.at),
            Event::Released if self.delivered_at.is_none() => self.delivered_at = Some(step.at),
            Event::HandedOut if self.first_handed_out_at.is_none() => {
                self.first_handed_out_at = Some(step.at)
            }
            Event::Received if self.received_at.is_none() => self.received_at = Some(step.at),
            _ => {}
        }
        if self.steps.len() >= STEPS_MAX
            && let Some(last) = self.steps.iter_mut().rev().find(|earlier| earlier.event == step.event)
        {
            *last = step;
            return;
        }
        self.steps.push(step);
    }

    /// The last change that the card records.
    pub fn modified_at(&self) -> Timestamp {
        let steps = self.steps.iter().map(|step| step.at);
        let findings = self.findings.iter().map(|finding| finding.at);
        steps.chain(findings).max().unwrap_or(self.accepted_at)
    }

    /// The worst that was found, if anything was.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// The bytes that are stored, digested and exported. Field order is fixed by this type.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a card holds only strings, numbers and lists")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
