//! A process card as OSCI shows it: the projection of the one card type to ProcessCardBundle (section 5.1 of our notes).
//!
//! Creation is the acceptance, Forwarding the first hand-out (or the push whose end is not known), Reception the
//! confirmation. An inspection repeats what was
//! found about a certificate when the message came in. Cryptographic time stamps are left out; the evidence log proves
//! more.

use jiff::Timestamp;

use crate::domain::card::{self as found, CertificateFinding, ProcessCard};
use crate::domain::envelope::{Envelope, Instant};
use crate::domain::state::{DeliveryState, Event};
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
        forwarding: card.first_handed_out_at.or_else(|| pushed_at(card)).map(stamp),
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

/// When the message left for its recipient, where it is not known whether he took it.
fn pushed_at(card: &ProcessCard) -> Option<Timestamp> {
    let mut steps = card.steps.iter();
    let open = steps.find(|step| step.event == Event::PushFailed && step.state == DeliveryState::Held);
    open.map(|step| step.at)
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
        serial_number: finding.serial_decimal().unwrap_or_else(|| "0".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::card::CertificateResults;

    #[track_caller]
    fn check(results: CertificateResults, expected: (MathResult, OfflineResult, Option<OnlineResult>)) {
        let finding = CertificateFinding {
            role: "reader-cipher".to_owned(),
            subject: "CN=a".to_owned(),
            issuer: "CN=b".to_owned(),
            serial: "0100".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            verdict: "valid".to_owned(),
            checks: Vec::new(),
            results: Some(results),
        };
        let found = inspection(&finding);
        assert_eq!((found.math, found.offline, found.online), expected);
        assert_eq!(found.serial_number, "256");
    }

    #[test]
    fn results_are_the_findings_own() {
        use found::{MathResult as M, OfflineResult as F, OnlineResult as N};
        let of = |math, offline, online| CertificateResults {
            kind: found::CertificateKind::Advanced,
            math,
            offline,
            online,
        };
        check(
            of(M::Ok, F::Valid, Some(N::Ok)),
            (MathResult::Ok, OfflineResult::Valid, Some(OnlineResult::Ok)),
        );
        check(
            of(M::Corrupted, F::Invalid, Some(N::Revoked)),
            (MathResult::Corrupted, OfflineResult::Invalid, Some(OnlineResult::Revoked)),
        );
        check(
            of(M::Indeterminate, F::Indeterminate, None),
            (MathResult::Indeterminate, OfflineResult::Indeterminate, None),
        );
    }
}
