//! Who asks: from the certificate on the connection to an account (XTA 2 WS 2.1.1, transport layer; errors 9010-9014).
//!
//! TLS has proven possession of the key and nothing else; here the certificate is judged and its key looked up.
//!
//! The log names a certificate that is not taken by its key's fingerprint, never by its subject or the address it came
//! from, which may be a person's; and once in an hour, for a stranger can knock without end.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::account::Account;
use crate::domain::card::CertificateFinding;
use crate::domain::party::PartyIdentifier;
use crate::net::{Peer, Seldom};
use crate::pki::certificate::CertificateFingerprint;
use crate::pki::inspection::{Inspection, Purpose, Reason};
use crate::pki::tls;
use crate::relay::Relay;
use crate::report::Loudness;
use crate::xta::fault::{ErrorNumber, Fault};
use crate::xta::message;
use crate::xta::message::element::Element;
use crate::xta::message::metadata;
use crate::xta::message::names::OSCIMETA;

use super::TrustSource;

/// An account whose certificate has been judged.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub account: Account,
    pub finding: CertificateFinding,
}

impl Caller {
    /// The identifier in an Author header: none where it is missing, empty or the wildcard's equal.
    pub fn claimed(&self, author: Option<&Element>) -> Result<Option<PartyIdentifier>, Fault> {
        let Some(author) = author else { return Ok(None) };
        let empty = author
            .optional(OSCIMETA, "Identifier")
            .map_err(Fault::from)?
            .is_none_or(|identifier| identifier.trimmed().is_empty());
        if empty {
            return Ok(None);
        }
        let claimed = metadata::party(author).map_err(|error: message::Error| Fault::from(error))?.identifier;
        if !claimed.is_wildcard() && !self.account.speaks_for(&claimed) {
            return Err(Fault::of_client(
                ErrorNumber::NotYourIdentifier,
                "not-your-identifier",
                format!("the identifier {claimed} does not belong to the account of this certificate"),
            )
            .with_operator(
                Loudness::Warn,
                format!("account {}", self.account.name),
                "if the identifier is the account's, give it to it: amtsbote participant",
            ));
        }
        Ok(Some(claimed))
    }
}

/// Between two lines about one certificate.
const BETWEEN_LINES: Duration = Duration::from_secs(3600);
/// Certificates that are told apart for that; further ones share one line.
const TOLD_APART_MAX: usize = 64;

/// Lines about certificates that were not taken.
pub(super) struct Lines(Seldom<(&'static str, String)>);

impl Default for Lines {
    fn default() -> Self {
        Self(Seldom::new(BETWEEN_LINES, TOLD_APART_MAX))
    }
}

impl Lines {
    /// The operator's face of a refusal, as loud as it is due.
    fn tell(&self, fault: Fault, named: &str, why: &str, next_step: &str) -> Fault {
        let code = fault.failure.code;
        metrics::counter!("amtsbote_certificates_refused_total", "code" => code).increment(1);
        match self.0.due((code, named.to_owned()), Instant::now()) {
            None => fault.with_operator(Loudness::Debug, format!("{named}: {why}"), next_step),
            Some(unsaid) => {
                let detail =
                    format!("{named}: {why}; {unsaid} like this since the last line, the next in an hour");
                fault.with_operator(Loudness::Warn, detail, next_step)
            }
        }
    }
}

pub(super) fn inspect(
    relay: &Relay,
    trust: &TrustSource,
    lines: &Lines,
    peer: &Peer,
) -> Result<Caller, Fault> {
    let unknown = |named: &str, why: &str| {
        let fault = Fault::of_client(
            ErrorNumber::AccountUnknown,
            "account-unknown",
            "no account is known for the certificate of this connection",
        );
        let next_step = "if it is a participant's (`amtsbote cert show FILE` says the fingerprint of the key in its \
                         certificate), add the certificate to its account: amtsbote cert import participant";
        lines.tell(fault, named, why, next_step)
    };
    // Read once for all requests of a connection, judged anew for each.
    let shown = peer.remember(|ders| tls::presented(Some(ders)));
    let chain = shown.as_ref().as_ref().map_err(|_| {
        let first = peer.certificates.first().map(|der| CertificateFingerprint::of(der));
        let named = first.map_or_else(|| "no certificate".to_owned(), |first| format!("certificate {first}"));
        unknown(&named, "it or its chain cannot be read")
    })?;
    let now: Timestamp = relay.now();
    let Some(inspection) = trust().inspect_chain(Purpose::ParticipantTls, chain, now) else {
        return Err(unknown("no certificate", "the connection showed none"));
    };
    let named = format!("key {}", inspection.key);
    let directory = relay.directory();
    let account = directory.account_by_key(&inspection.key);
    if let Some(reason) = inspection.refusal() {
        return Err(match (reason, account) {
            (Reason::Expired, _) => expired(&inspection, &named, lines),
            // The client hears what a stranger hears; the operator must not be told to add a key that is there.
            (reason, Some(account)) => refused(reason, account, &named, lines),
            (reason, None) => unknown(&named, &format!("{}, and no account has it", reason.name())),
        });
    }
    match account {
        None => Err(unknown(&named, "no account has it")),
        Some(account) if account.blocked => {
            Err(Fault::of_client(ErrorNumber::AccountBlocked, "account-blocked", "this account is blocked")
                .with_operator(
                    Loudness::Info,
                    format!("account {}", account.name),
                    "unblock it: amtsbote participant",
                ))
        }
        Some(account) => Ok(Caller { account: account.clone(), finding: inspection.finding("author-tls") }),
    }
}

fn expired(inspection: &Inspection, named: &str, lines: &Lines) -> Fault {
    let fault = Fault::of_client(
        ErrorNumber::CertificateExpired,
        "certificate-expired",
        format!("the certificate of this connection expired at {}", inspection.not_after),
    );
    let next_step =
        "the participant needs a new certificate; add it to its account: amtsbote participant apply";
    lines.tell(fault, named, &format!("expired at {}", inspection.not_after), next_step)
}

fn refused(reason: Reason, account: &Account, named: &str, lines: &Lines) -> Fault {
    let next_step = match reason {
        Reason::Revoked => {
            "the key may be in a stranger's hands: retire it (amtsbote cert roll-over participant) and ask for a new \
             certificate"
        }
        Reason::RevocationUnknown => "see why revocation cannot be told: amtsbote check",
        _ => "see what is wrong with it (amtsbote cert check) and ask the participant for a new certificate",
    };
    let fault = Fault::of_client(
        ErrorNumber::AccountUnknown,
        "certificate-refused",
        "no account is known for the certificate of this connection",
    );
    let why = format!("{}, account {}", reason.name(), account.name);
    lines.tell(fault, named, &why, next_step)
}
