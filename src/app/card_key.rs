//! The key and certificate that sign process cards in exported proofs: read, or made at the first start.
//!
//! What is made is self-signed, so that proofs are signed from the first day; a reader must be handed its certificate. A
//! certificate of a CA takes its place in the same two files.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose};

use super::{StartError, evidence_key};
use crate::config::Evidence;
use crate::evidence::signed_card::CardSigner;
use crate::pki::certificate::Certificate;
use crate::pki::key::switch::{NewFile, switch};
use crate::pki::key::{self, Readers};

/// How long a certificate that is made here lasts; its end is announced like that of any other.
const VALID_DAYS: u64 = 3 * 365;

pub(super) fn load_or_make(settings: &Evidence, now: Timestamp) -> Result<CardSigner, StartError> {
    let (key_path, certificate_path) = (&settings.card_key, &settings.card_certificate);
    let wrong = |what: String| StartError::CardKey { path: key_path.clone(), what };
    let there = |path: &std::path::Path| path.try_exists().map_err(|error| wrong(error.to_string()));
    if !there(key_path)? && !there(certificate_path)? {
        make(settings, now).map_err(wrong)?;
        tracing::info!(path = %certificate_path.display(), "a key and a certificate for process cards were made");
    }
    read(settings).map_err(wrong)
}

/// Key and certificate as configured; they must belong together.
pub fn read(settings: &Evidence) -> Result<CardSigner, String> {
    let chain = certificates(settings)?;
    let path = &settings.card_key;
    let wrong = |error: key::Error| format!("{}: {error}", path.display());
    let pem = key::read_bounded(path).map_err(|error| error.to_string())?;
    let private = key::PrivateKey::from_pem(&pem).map_err(wrong)?;
    key::Identity::new(chain.clone(), &private).map_err(wrong)?;
    let der = evidence_key::pkcs8(&settings.card_key)?;
    CardSigner::new(&der, chain).map_err(|error| error.to_string())
}

/// The chain alone, for whoever only watches or shows it.
pub fn certificates(settings: &Evidence) -> Result<Vec<Certificate>, String> {
    let path = &settings.card_certificate;
    let pem = key::read_bounded(path).map_err(|error| error.to_string())?;
    Certificate::chain_from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))
}

fn make(settings: &Evidence, now: Timestamp) -> Result<(), String> {
    let text = |error: rcgen::Error| error.to_string();
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(text)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{} process cards", settings.origin));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // An hour before now, for the clocks of machines beside this one.
    params.not_before = epoch + Duration::from_secs(seconds.saturating_sub(3600));
    params.not_after = epoch + Duration::from_secs(seconds.saturating_add(VALID_DAYS * 86_400));
    let certificate = params.self_signed(&pair).map_err(text)?;
    let file = |path: &std::path::Path, pem: String, readers| NewFile {
        path: path.to_owned(),
        bytes: pem.into_bytes(),
        readers,
        kept: path.to_owned(),
    };
    // Together: a certificate without its key, or a key without its certificate, would stop every later start.
    switch(&[
        file(&settings.card_key, pair.serialize_pem(), Readers::Owner),
        file(&settings.card_certificate, certificate.pem(), Readers::Everybody),
    ])
    .map(drop)
    .map_err(|error| error.to_string())
}
