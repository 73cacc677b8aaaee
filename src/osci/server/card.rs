//! A process card as OSCI shows it: the projection of the one card type to ProcessCardBundle (section 5.1 of our notes).
//!
//! Creation is the acceptance, Forwarding the first hand-out, Reception the confirmation. An inspection repeats what was
//! found about a certificate when the message came in. Cryptographic time stamps are left out; the evidence log proves
//! more.

use jiff::Timestamp;

use crate::domain::card::{self as found, CertificateFinding, ProcessCard};
use crate::domain::envelope::{Envelope, Instant};
use crate::osci::message::Error;
use crate::osci::message::message_id::MessageId;
use crate::osci::message::process_card::{
    self, CertificateType, Inspection, MathResult, OfflineResult, OnlineResult, ProcessCardBundle,
};

/// The role under which a card keeps what was found about an author's signature over content. It is no certificate's
/// inspection, and OSCI has no place for it.
pub const CONTENT_SIGNATURE: &str = "author-content-signature";

pub fn bundle(card: &ProcessCard, envelope: &Envelope) -> Result<ProcessCardBundle, Error> {
    Ok(ProcessCardBundle {
        message_id: MessageId::new(card.id.as_str())?,
        recent_modification: instant(card.modified_at()),
        creation: stamp(card.accepted_at),
        forwarding: card.first_handed_out_at.map(stamp),
        reception: card.received_at.map(stamp),
        subject: envelope.qualifier.subject.clone(),
        inspections: card
            .certificates
            .iter()
            .filter(|finding| finding.role != CONTENT_SIGNATURE)
            .map(inspection)
            .collect(),
    })
}

/// In the spelling of `xs:dateTime`.
pub fn instant(at: Timestamp) -> Instant {
    Instant { at, text: at.to_string() }
}

fn stamp(at: Timestamp) -> process_card::Timestamp {
    process_card::Timestamp::Plain(instant(at))
}

fn inspection(finding: &CertificateFinding) -> Inspection {
    let results = finding.results();
    Inspection {
        at: stamp(finding.at),
        subject_name: finding.subject.clone(),
        issuer_name: finding.issuer.clone(),
        serial_number: decimal(&finding.serial),
        certificate_type: match results.kind {
            found::CertificateKind::Advanced => CertificateType::Advanced,
            found::CertificateKind::Qualified => CertificateType::Qualified,
            found::CertificateKind::Unknown => CertificateType::Unknown,
        },
        math: match results.math {
            found::MathResult::Ok => MathResult::Ok,
            found::MathResult::Corrupted => MathResult::Corrupted,
            found::MathResult::Indeterminate => MathResult::Indeterminate,
        },
        offline: match results.offline {
            found::OfflineResult::Valid => OfflineResult::Valid,
            found::OfflineResult::Invalid => OfflineResult::Invalid,
            found::OfflineResult::Indeterminate => OfflineResult::Indeterminate,
        },
        online: results.online.map(|online| match online {
            found::OnlineResult::Ok => OnlineResult::Ok,
            found::OnlineResult::Revoked => OnlineResult::Revoked,
        }),
    }
}

/// A serial number from hexadecimal digits to decimal ones; it may be longer than any integer type.
fn decimal(hexadecimal: &str) -> String {
    let mut digits = vec![0_u8];
    for value in hexadecimal.chars().filter_map(|c| c.to_digit(16)) {
        let mut carry = value;
        for digit in &mut digits {
            let next = u32::from(*digit) * 16 + carry;
            (*digit, carry) = ((next % 10) as u8, next / 10);
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_decimal() {
        for (hexadecimal, expected) in [
            ("0", "0"),
            ("ff", "255"),
            ("01:00", "256"),
            ("0123456789abcdef", "81985529216486895"),
            ("ffffffffffffffffffffffffffffffffffffffff", "1461501637330902918203684832716283019655932542975"),
        ] {
            assert_eq!(decimal(hexadecimal), expected);
        }
    }

    #[test]
    fn checks_become_results() {
        use MathResult as M;
        use OfflineResult as F;
        let of = |checks: &[&str]| {
            let finding = CertificateFinding {
                role: "reader-cipher".to_owned(),
                subject: "CN=a".to_owned(),
                issuer: "CN=b".to_owned(),
                serial: "10".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                verdict: "valid".to_owned(),
                checks: checks.iter().map(|line| (*line).to_owned()).collect(),
                results: None,
            };
            let found = inspection(&finding);
            (found.math, found.offline, found.online)
        };
        let good = ["form: good", "validity: good", "path: good", "revocation: good"];
        assert_eq!(of(&good), (M::Ok, F::Valid, Some(OnlineResult::Ok)));
        assert_eq!(
            of(&["form: good", "validity: bad, over", "path: good", "revocation: not checked, no list"]),
            (M::Ok, F::Invalid, None)
        );
        assert_eq!(
            of(&["validity: good", "path: bad, no anchor", "revocation: bad, revoked"]),
            (M::Corrupted, F::Valid, Some(OnlineResult::Revoked))
        );
        assert_eq!(of(&["form: bad, no"]), (M::Corrupted, F::Indeterminate, None));
        assert_eq!(of(&[]), (M::Indeterminate, F::Indeterminate, None));
    }
}
