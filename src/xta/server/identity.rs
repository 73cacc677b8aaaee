//! Who asks: from the certificate on the connection to an account (XTA 2 WS 2.1.1, transport layer; errors 9010-9014).
//!
//! TLS has proven possession of the key and nothing else; here the certificate is judged and its key looked up.

use jiff::Timestamp;

use crate::domain::account::Account;
use crate::domain::card::CertificateFinding;
use crate::domain::party::PartyIdentifier;
use crate::net::Peer;
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

pub(super) fn inspect(relay: &Relay, trust: &TrustSource, peer: &Peer) -> Result<Caller, Fault> {
    let unknown = |detail: String| {
        Fault::of_client(
            ErrorNumber::AccountUnknown,
            "account-unknown",
            "no account is known for the certificate of this connection",
        )
        .with_operator(
            Loudness::Warn,
            format!("{detail}; from {}", peer.address),
            "if this is a participant, add the key to its account: amtsbote participant",
        )
    };
    // Read once for all requests of a connection, judged anew for each.
    let shown = peer.remember(|ders| tls::presented(Some(ders)));
    let chain = shown.as_ref().as_ref().map_err(|error| unknown(error.to_string()))?;
    let now: Timestamp = relay.now();
    let Some(inspection) = trust().inspect_chain(Purpose::ParticipantTls, chain, now) else {
        return Err(unknown("the connection showed no certificate".to_owned()));
    };
    let directory = relay.directory();
    let account = directory.account_by_key(&inspection.key);
    if let Some(reason) = inspection.refusal() {
        return Err(match (reason, account) {
            (Reason::Expired, _) => expired(&inspection),
            // The client hears what a stranger hears; the operator must not be told to add a key that is there.
            (reason, Some(account)) => refused(&inspection, reason, account, peer),
            (_, None) => unknown(described(&inspection)),
        });
    }
    match account {
        None => Err(unknown(format!("key {} of {}", inspection.key, inspection.subject))),
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

fn expired(inspection: &Inspection) -> Fault {
    Fault::of_client(
        ErrorNumber::CertificateExpired,
        "certificate-expired",
        format!("the certificate of this connection expired at {}", inspection.not_after),
    )
    .with_operator(
        Loudness::Warn,
        described(inspection),
        "the participant needs a new certificate; add its key to the account: amtsbote participant",
    )
}

fn refused(inspection: &Inspection, reason: Reason, account: &Account, peer: &Peer) -> Fault {
    let next_step = match reason {
        Reason::Revoked => {
            "the key may be in a stranger's hands: retire it (amtsbote cert roll-over participant) and ask for a new \
             certificate"
        }
        Reason::RevocationUnknown => "see why revocation cannot be told: amtsbote check",
        _ => "see what is wrong with it (amtsbote cert check) and ask the participant for a new certificate",
    };
    let detail = format!("account {}, {}; from {}", account.name, described(inspection), peer.address);
    Fault::of_client(
        ErrorNumber::AccountUnknown,
        "certificate-refused",
        "no account is known for the certificate of this connection",
    )
    .with_operator(Loudness::Warn, detail, next_step)
}

fn described(inspection: &Inspection) -> String {
    format!("{}, serial {}: {}", inspection.subject, inspection.serial, inspection.sentences.join(" "))
}
