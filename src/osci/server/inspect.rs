//! What was found about a request's certificates, as findings for the card and codes for the client (section 9.2 of our
//! notes): outside validity is a warning, a broken path or a revocation an error, except for authors' signatures, which
//! are theirs to answer for.

use jiff::Timestamp;

use crate::domain::card::CertificateFinding;
use crate::osci::code::Code;
use crate::osci::message::certificates::{Certificate as Shown, Role};
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Inspection, Purpose, Reason, Verdict};
use crate::pki::trust::TrustAnchors;

/// The outcome for all certificates of a request.
#[derive(Debug, Default)]
pub struct Inspected {
    pub findings: Vec<CertificateFinding>,
    /// Each once; an error among them stops the request.
    pub codes: Vec<Code>,
}

impl Inspected {
    pub fn add_code(&mut self, code: Code) {
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }

    pub fn first_error(&self) -> Option<Code> {
        self.codes.iter().copied().find(|code| !code.is_done())
    }
}

pub fn purpose(role: Role) -> Purpose {
    if role.is_signature() { Purpose::OsciSignature } else { Purpose::OsciEncryption }
}

/// The word for the card.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::CipherOriginator => "author-encryption",
        Role::CipherOtherAuthor => "other-author-encryption",
        Role::CipherAddressee => "reader-encryption",
        Role::CipherOtherReader => "other-reader-encryption",
        Role::SignatureOriginator => "author-signature",
        Role::SignatureOtherAuthor => "other-author-signature",
        Role::SignatureAddressee => "reader-signature",
        Role::CipherIntermediary => "intermediary-encryption",
        Role::SignatureIntermediary => "intermediary-signature",
    }
}

/// Outside validity, not trusted, revoked: the three codes of a role.
fn codes(role: Role) -> Option<[Code; 3]> {
    use Code as C;
    match role {
        Role::CipherOriginator => {
            Some([C::ClientCipherOutdated, C::OriginatorUntrusted, C::OriginatorRevoked])
        }
        Role::SignatureOriginator => {
            Some([C::ClientSignatureOutdated, C::ClientSignatureUntrusted, C::ClientSignatureRevoked])
        }
        Role::SignatureOtherAuthor => {
            Some([C::AuthorSignatureOutdated, C::AuthorSignatureUntrusted, C::AuthorSignatureRevoked])
        }
        Role::CipherOtherAuthor => {
            Some([C::AuthorCipherOutdated, C::AuthorCipherUntrusted, C::AuthorCipherRevoked])
        }
        Role::CipherAddressee => {
            Some([C::AddresseeCipherOutdated, C::AddresseeCipherUntrusted, C::AddresseeCipherRevoked])
        }
        Role::CipherOtherReader => {
            Some([C::ReaderCipherOutdated, C::ReaderCipherUntrusted, C::ReaderCipherRevoked])
        }
        Role::SignatureAddressee => Some([
            C::AddresseeSignatureOutdated,
            C::AddresseeSignatureUntrusted,
            C::AddresseeSignatureRevoked,
        ]),
        Role::CipherIntermediary | Role::SignatureIntermediary => None,
    }
}

/// The code that a finding deserves; none for a certificate that is simply good.
pub fn code(role: Role, inspection: &Inspection) -> Option<Code> {
    let [outdated, untrusted, revoked] = codes(role)?;
    match (inspection.verdict, inspection.reasons.first()) {
        (Verdict::Valid, _) => None,
        (_, Some(Reason::Revoked)) => Some(revoked),
        (_, Some(Reason::Expired | Reason::NotYetValid | Reason::IssuerOutOfDate)) => Some(outdated),
        (_, Some(Reason::RevocationUnknown)) if inspection.is_acceptable() => Some(match role {
            Role::CipherOriginator => Code::ClientCipherUnchecked,
            _ => Code::CertificatesUnchecked,
        }),
        (_, Some(Reason::RevocationUnknown)) => Some(match role {
            Role::CipherOriginator => Code::OriginatorUnchecked,
            _ => Code::CheckFailed,
        }),
        _ => Some(untrusted),
    }
}

/// Inspects one certificate.
pub fn one(anchors: &TrustAnchors, shown: &Shown, now: Timestamp, inspected: &mut Inspected) {
    let Some([_, untrusted, _]) = codes(shown.role) else { return };
    match Certificate::from_der(&shown.der) {
        Ok(certificate) => {
            let inspection = anchors.inspect(purpose(shown.role), &certificate, &[], now);
            if let Some(code) = code(shown.role, &inspection) {
                inspected.add_code(code);
            }
            inspected.findings.push(inspection.finding(role_name(shown.role)));
        }
        Err(error) => {
            inspected.add_code(untrusted);
            inspected.findings.push(CertificateFinding {
                role: role_name(shown.role).to_owned(),
                subject: String::new(),
                issuer: String::new(),
                serial: String::new(),
                at: now,
                verdict: Verdict::Invalid.name().to_owned(),
                checks: vec![format!("form: bad, {error}")],
                results: None,
            });
        }
    }
}
