//! A certificate in plain values, for `cert show` and for whatever lists certificates. Rendering is the caller's.

use jiff::Timestamp;
use serde::Serialize;

use super::certificate::{Certificate, CertificateFingerprint};
use crate::domain::account::KeyFingerprint;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub key_kind: String,
    /// What `participant add` wants.
    pub key_fingerprint: KeyFingerprint,
    pub fingerprint: CertificateFingerprint,
    pub signature_algorithm: String,
    /// Nothing: the extension is absent, every use is permitted.
    pub key_usages: Option<Vec<&'static str>>,
    pub extended_key_usages: Option<Vec<String>>,
    pub alternative_names: Vec<String>,
    pub is_ca: bool,
    pub path_len_max: Option<u32>,
}

impl From<&Certificate> for Summary {
    fn from(certificate: &Certificate) -> Self {
        let extended = certificate.extended_key_usages();
        Self {
            subject: certificate.subject().to_owned(),
            issuer: certificate.issuer().to_owned(),
            serial: certificate.serial().to_owned(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            key_kind: certificate.key_kind().to_string(),
            key_fingerprint: certificate.key_fingerprint(),
            fingerprint: certificate.fingerprint(),
            signature_algorithm: signature_name(certificate.signature_algorithm_oid()).to_owned(),
            key_usages: certificate.key_usages().map(|usages| usages.names()),
            extended_key_usages: extended.map(|usages| usages.iter().map(ToString::to_string).collect()),
            alternative_names: certificate.alternative_names().to_vec(),
            is_ca: certificate.is_ca(),
            path_len_max: certificate.path_len_max(),
        }
    }
}

/// The names that RFC 4055, RFC 5758 and RFC 8410 give; an unknown identifier stands for itself.
fn signature_name(oid: &str) -> &str {
    match oid {
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "Ed25519",
        other => other,
    }
}
