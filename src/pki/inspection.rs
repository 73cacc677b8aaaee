//! What was found about one certificate at one instant, fit to be kept: the record behind a process card's
//! inspection (OSCI-Transport 1.2, `InspectionReport`) and behind the answer that a door gives.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::certificate::CertificateFingerprint;
use crate::domain::account::KeyFingerprint;
use crate::domain::card::{
    CertificateFinding, CertificateKind, CertificateResults, MathResult, OfflineResult, OnlineResult,
};

/// What a certificate is shown for. Anchors are configured for each purpose apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A client of a door, on the TLS layer.
    ParticipantTls,
    /// A server that an outlet connects to.
    ServerTls,
    /// A signature of author, originator or supplier.
    OsciSignature,
    /// A reader's or addressee's key that content is encrypted for.
    OsciEncryption,
    /// Another intermediary.
    Intermediary,
    /// A time stamp authority.
    TimeStamps,
}

impl Purpose {
    pub const ALL: [Self; 6] = [
        Self::ParticipantTls,
        Self::ServerTls,
        Self::OsciSignature,
        Self::OsciEncryption,
        Self::Intermediary,
        Self::TimeStamps,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::ParticipantTls => "participant-tls",
            Self::ServerTls => "server-tls",
            Self::OsciSignature => "osci-signature",
            Self::OsciEncryption => "osci-encryption",
            Self::Intermediary => "intermediary",
            Self::TimeStamps => "time-stamps",
        }
    }
}

/// Why a certificate is not simply valid. Ordered: the first one of several decides what a peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The chain or bag breaks a bound; nothing was verified.
    TooManyCertificates,
    /// The bytes say different things to different readers, or use what is not supported.
    Malformed,
    BadSignature,
    UnknownIssuer,
    Revoked,
    /// Key usage, extended key usage, or a CA shown as a leaf.
    WrongPurpose,
    /// An issuer does not have the right: not a CA, path length, name constraints.
    PathConstraint,
    WeakKey,
    WeakAlgorithm,
    /// An issuer on the path is not valid at the instant.
    IssuerOutOfDate,
    NotYetValid,
    Expired,
    /// Nothing bad is known, but whether it is revoked is not known either.
    RevocationUnknown,
}

impl Reason {
    /// As in JSON, and fit for a log: it names nobody.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyCertificates => "too-many-certificates",
            Self::Malformed => "malformed",
            Self::BadSignature => "bad-signature",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Revoked => "revoked",
            Self::WrongPurpose => "wrong-purpose",
            Self::PathConstraint => "path-constraint",
            Self::WeakKey => "weak-key",
            Self::WeakAlgorithm => "weak-algorithm",
            Self::IssuerOutOfDate => "issuer-out-of-date",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::RevocationUnknown => "revocation-unknown",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    Form,
    Validity,
    KeyStrength,
    KeyUsage,
    ExtendedKeyUsage,
    BasicConstraints,
    /// Signatures up to an anchor, issuers' rights and validity.
    Path,
    Revocation,
}

impl CheckKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Validity => "validity",
            Self::KeyStrength => "key strength",
            Self::KeyUsage => "key usage",
            Self::ExtendedKeyUsage => "extended key usage",
            Self::BasicConstraints => "basic constraints",
            Self::Path => "path",
            Self::Revocation => "revocation",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "why")]
pub enum Outcome {
    Good,
    Bad(String),
    NotChecked(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub kind: CheckKind,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Valid,
    Invalid,
    Indeterminate,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// What to do with a certificate of which nothing bad is known except that its revocation could not be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownRevocation {
    /// Go on, and let the record say `indeterminate`.
    #[default]
    Warn,
    Refuse,
}

/// The record of one inspection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    pub purpose: Purpose,
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub fingerprint: CertificateFingerprint,
    pub key: KeyFingerprint,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// When it was inspected; up to a minute before the message it is noted for.
    pub instant: Timestamp,
    pub checks: Vec<Check>,
    pub verdict: Verdict,
    /// Gravest first; empty if and only if the verdict is valid.
    pub reasons: Vec<Reason>,
    /// The reasons in words, each a sentence.
    pub sentences: Vec<String>,
    /// What is accepted and should change, such as an RSA key below 3072 bits.
    pub warnings: Vec<String>,
    /// It states of itself that it is a qualified one.
    #[serde(default)]
    pub claims_qualification: bool,
    /// The policy in force when it was inspected.
    pub unknown_revocation: UnknownRevocation,
}

impl Inspection {
    /// The gravest reason, or nothing if the certificate may be used.
    pub fn refusal(&self) -> Option<Reason> {
        match (self.verdict, self.unknown_revocation) {
            (Verdict::Valid, _) | (Verdict::Indeterminate, UnknownRevocation::Warn) => None,
            _ => Some(self.reasons.first().copied().unwrap_or(Reason::Malformed)),
        }
    }

    pub fn is_acceptable(&self) -> bool {
        self.refusal().is_none()
    }

    pub fn outcome(&self, kind: CheckKind) -> Option<&Outcome> {
        self.checks.iter().find(|check| check.kind == kind).map(|check| &check.outcome)
    }

    /// As a process card keeps it. `role` says whose certificate it is, such as `author-tls`.
    pub fn finding(&self, role: &str) -> CertificateFinding {
        let words = |check: &Check| match &check.outcome {
            Outcome::Good => format!("{}: good", check.kind.name()),
            Outcome::Bad(why) => format!("{}: bad, {why}", check.kind.name()),
            Outcome::NotChecked(why) => format!("{}: not checked, {why}", check.kind.name()),
        };
        CertificateFinding {
            role: role.to_owned(),
            subject: self.subject.clone(),
            issuer: self.issuer.clone(),
            serial: self.serial.clone(),
            at: self.instant,
            verdict: self.verdict.name().to_owned(),
            checks: self.checks.iter().map(words).collect(),
            results: Some(self.results()),
        }
    }

    /// What OSCI's `Inspection` says (OSCI-Transport 1.2, part B, process card).
    pub fn results(&self) -> CertificateResults {
        let has = |reason: Reason| self.reasons.contains(&reason);
        let path_good = self.outcome(CheckKind::Path) == Some(&Outcome::Good);
        let is_undecided = |reason: &Reason| {
            matches!(reason, Reason::UnknownIssuer | Reason::TooManyCertificates | Reason::BadSignature)
        };
        let is_offline = |reason: &Reason| !matches!(reason, Reason::Revoked | Reason::RevocationUnknown);
        CertificateResults {
            kind: match (path_good, self.claims_qualification) {
                (true, true) => CertificateKind::Qualified,
                (true, false) => CertificateKind::Advanced,
                (false, _) => CertificateKind::Unknown,
            },
            math: match path_good {
                true => MathResult::Ok,
                false if has(Reason::BadSignature) => MathResult::Corrupted,
                false => MathResult::Indeterminate,
            },
            offline: match self
                .reasons
                .iter()
                .filter(|reason| is_offline(reason))
                .collect::<Vec<_>>()
                .as_slice()
            {
                [] => OfflineResult::Valid,
                all if all.iter().all(|reason| is_undecided(reason)) => OfflineResult::Indeterminate,
                _ => OfflineResult::Invalid,
            },
            online: match self.outcome(CheckKind::Revocation) {
                Some(Outcome::Good) => Some(OnlineResult::Ok),
                Some(Outcome::Bad(_)) => Some(OnlineResult::Revoked),
                _ => None,
            },
        }
    }
}
