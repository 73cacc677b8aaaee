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
    /// Absent on cards from before it was recorded; see [`CertificateFinding::results`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<CertificateResults>,
}

/// The three answers and the type that OSCI's `Inspection` has for each certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateResults {
    pub kind: CertificateKind,
    /// `MathResult`: whether the signatures on it and above it are mathematically right.
    pub math: MathResult,
    /// `OfflineResult`: whether it is good as far as can be said without asking for revocation.
    pub offline: OfflineResult,
    /// `OnlineResult`: what was learnt about revocation; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<OnlineResult>,
}

/// `CertType`. `accredited` belongs to a law that is no longer in force; nothing here says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// Its path is good.
    Advanced,
    /// Its path is good, and it states so of itself.
    Qualified,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MathResult {
    Ok,
    Corrupted,
    Indeterminate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfflineResult {
    Valid,
    Invalid,
    Indeterminate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnlineResult {
    Ok,
    Revoked,
}

impl CertificateFinding {
    /// As recorded; of an old card, as far as its verdict and the words of its checks allow.
    pub fn results(&self) -> CertificateResults {
        self.results.unwrap_or_else(|| {
            let said = |check: &str, outcome: &str| {
                let start = format!("{check}: {outcome}");
                self.checks.iter().any(|words| words.starts_with(&start))
            };
            let path_good = said("path", "good");
            CertificateResults {
                kind: if path_good { CertificateKind::Advanced } else { CertificateKind::Unknown },
                math: if path_good { MathResult::Ok } else { MathResult::Indeterminate },
                offline: match self.verdict.as_str() {
                    "valid" => OfflineResult::Valid,
                    "indeterminate" if path_good => OfflineResult::Valid,
                    "invalid" if !said("revocation", "bad") => OfflineResult::Invalid,
                    _ => OfflineResult::Indeterminate,
                },
                online: if said("revocation", "good") {
                    Some(OnlineResult::Ok)
                } else if said("revocation", "bad") {
                    Some(OnlineResult::Revoked)
                } else {
                    None
                },
            }
        })
    }

    /// The serial number as `X509SerialNumber` has it; nothing if the record holds no number.
    pub fn serial_decimal(&self) -> Option<String> {
        decimal(&self.serial)
    }
}

/// Two's complement in hexadecimal to decimal. RFC 5280 bounds a serial number to 20 bytes; others are bounded here.
fn decimal(hexadecimal: &str) -> Option<String> {
    let digits: Vec<u8> = hexadecimal
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > 256 {
        return None;
    }
    let negative = digits.len().is_multiple_of(2) && digits.first().is_some_and(|first| *first >= 8);
    // Least significant decimal digit first.
    let mut out: Vec<u8> = vec![0];
    let push = |out: &mut Vec<u8>, digit: u8| {
        let mut carry = u16::from(digit);
        for place in out.iter_mut() {
            let value = u16::from(*place) * 16 + carry;
            *place = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            out.push((carry % 10) as u8);
            carry /= 10;
        }
    };
    if negative {
        // -x = ~x + 1; the one is added in decimal.
        digits.iter().for_each(|digit| push(&mut out, 15 - digit));
        let mut at = 0;
        loop {
            match out.get_mut(at) {
                Some(9) => out[at] = 0,
                Some(place) => {
                    *place += 1;
                    break;
                }
                None => {
                    out.push(1);
                    break;
                }
            }
            at += 1;
        }
    } else {
        digits.iter().for_each(|digit| push(&mut out, *digit));
    }
    let text: String = out.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    Some(if negative { format!("-{text}") } else { text })
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

/// The door of citizens' portals ([`ProcessCard::door`]).
pub const DOOR_OF_PORTALS: &str = "portal";

/// Steps kept on a card. Beyond it, repeated hand-outs and failed pushes replace the last step of their kind.
pub const STEPS_MAX: usize = 256;

/// Hand-outs that are written down one by one. A reader may fetch a message again until he confirms it; further
/// fetches in a row change nothing that anybody could ask about, and must not let card and evidence grow for ever.
pub const HAND_OUTS_MAX: usize = 16;

impl ProcessCard {
    /// Whether its sender has heard that it came to nothing: a portal reads an expired or cancelled submission as
    /// rejected. What was rejected cannot be accepted any more.
    pub fn is_told_rejected(&self) -> bool {
        self.door == DOOR_OF_PORTALS
            && matches!(self.state, DeliveryState::Expired | DeliveryState::Cancelled)
    }

    /// Whether one more hand-out of a message that is handed out already need not be written down.
    pub fn has_enough_hand_outs(&self) -> bool {
        let handed_out = self.steps.iter().filter(|step| step.event == Event::HandedOut).count();
        self.state == DeliveryState::HandedOut && handed_out >= HAND_OUTS_MAX
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_in_decimal() {
        for (hexadecimal, expected) in [
            ("00", Some("0")),
            ("0a", Some("10")),
            ("00ff", Some("255")),
            ("ff", Some("-1")),
            ("80", Some("-128")),
            (
                "7fffffffffffffffffffffffffffffffffffffff",
                Some("730750818665451459101842416358141509827966271487"),
            ),
            ("", None),
            ("xy", None),
        ] {
            assert_eq!(decimal(hexadecimal).as_deref(), expected, "{hexadecimal}");
        }
    }

    /// A finding as cards of before held it, byte for byte.
    #[test]
    fn yesterdays_findings_are_read() {
        let old = |verdict: &str, path: &str, revocation: &str| {
            let text = format!(
                r#"{{"role":"author-tls","subject":"CN=a","issuer":"CN=b","serial":"0a","at":"2026-11-01T00:00:00Z","verdict":"{verdict}","checks":["form: good","path: {path}","revocation: {revocation}"]}}"#
            );
            let finding: CertificateFinding = serde_json::from_str(&text).expect("read");
            assert_eq!(serde_json::to_string(&finding).expect("written"), text, "its bytes stay as they are");
            let results = finding.results();
            (results.math, results.offline, results.online)
        };
        use {MathResult as M, OfflineResult as F, OnlineResult as N};
        assert_eq!(old("valid", "good", "good"), (M::Ok, F::Valid, Some(N::Ok)));
        assert_eq!(old("indeterminate", "good", "not checked, no list"), (M::Ok, F::Valid, None));
        assert_eq!(old("invalid", "good", "bad, named"), (M::Ok, F::Indeterminate, Some(N::Revoked)));
        assert_eq!(old("invalid", "bad, unknown", "not checked, x"), (M::Indeterminate, F::Invalid, None));
    }
}
