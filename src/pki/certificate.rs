//! X.509 certificates (RFC 5280), read once at the edge: DER or PEM in, facts out.
//!
//! A [`Certificate`] says what its bytes say and nothing about whether to believe them; that is `trust`. Names are
//! rendered so that nobody can smuggle a line break or a terminal command into a log through a subject.
//! Left out: certificate policies, subject information access, X.509 versions before 3 in any role but refusal.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::{Any, BmpString, FromDer, Tag};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name, X509Version};

use super::directory_names;
use super::recent::Recent;
use super::signature::Brainpool;
use crate::domain::account::KeyFingerprint;
use crate::domain::hex;

/// A certificate larger than this is refused unread. Real ones are below 4 kB.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Certificates in one PEM file or one presented chain or bag; leaf included.
pub const CERTIFICATES_MAX: usize = 32;
/// Authorities in one file of the operator's.
pub const BUNDLE_CERTIFICATES_MAX: usize = 1024;
/// All bytes of one PEM file; a bundle of every public CA stays below it.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a rendered name; the rest is cut and shown as an ellipsis.
const NAME_CHARS_MAX: usize = 512;
/// Alternative names that are kept for display.
const ALTERNATIVE_NAMES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a certificate of {seen} bytes exceeds the limit of {max}")]
    TooLarge { seen: usize, max: usize },
    #[error("more than {max} certificates")]
    TooMany { max: usize },
    #[error("not a certificate: {0}")]
    Malformed(String),
    #[error("X.509 version {0} is not accepted; version 3 is")]
    Version(u32),
    #[error("the text holds no certificate (expected `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    #[error("PEM text is damaged: {0}")]
    Pem(String),
}

/// SHA-256 over the whole DER; what `openssl x509 -fingerprint -sha256` shows, in lower case and without colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateFingerprint(pub [u8; 32]);

impl CertificateFingerprint {
    /// Of bytes that need not be readable as a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

impl fmt::Display for CertificateFingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::lower(&self.0))
    }
}

impl fmt::Debug for CertificateFingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for CertificateFingerprint {
    type Error = crate::domain::account::AccountError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        KeyFingerprint::try_from(text).map(|digest| Self(digest.0))
    }
}

impl From<CertificateFingerprint> for String {
    fn from(fingerprint: CertificateFingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// What kind of key a certificate holds, as far as strength is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Rsa {
        bits: usize,
    },
    /// An rsaEncryption key restricted to RSA-PSS by its identifier.
    RsaPss {
        bits: usize,
    },
    P256,
    P384,
    P521,
    BrainpoolP256r1,
    BrainpoolP384r1,
    BrainpoolP512r1,
    Ed25519,
    /// Anything else, by its object identifier (and that of the curve, if it is one).
    Other(String),
}

impl fmt::Display for KeyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(out, "RSA {bits} bit"),
            Self::RsaPss { bits } => write!(out, "RSA-PSS {bits} bit"),
            Self::P256 => out.write_str("ECDSA P-256"),
            Self::P384 => out.write_str("ECDSA P-384"),
            Self::P521 => out.write_str("ECDSA P-521"),
            Self::BrainpoolP256r1 => out.write_str("ECDSA brainpoolP256r1"),
            Self::BrainpoolP384r1 => out.write_str("ECDSA brainpoolP384r1"),
            Self::BrainpoolP512r1 => out.write_str("ECDSA brainpoolP512r1"),
            Self::Ed25519 => out.write_str("Ed25519"),
            Self::Other(oid) => write!(out, "unknown kind {oid}"),
        }
    }
}

/// One bit of the key usage extension (RFC 5280, 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum KeyUsage {
    DigitalSignature = 1,
    NonRepudiation = 1 << 1,
    KeyEncipherment = 1 << 2,
    DataEncipherment = 1 << 3,
    KeyAgreement = 1 << 4,
    KeyCertSign = 1 << 5,
    CrlSign = 1 << 6,
}

impl KeyUsage {
    pub const ALL: [Self; 7] = [
        Self::DigitalSignature,
        Self::NonRepudiation,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::KeyCertSign,
        Self::CrlSign,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DigitalSignature => "digitalSignature",
            Self::NonRepudiation => "nonRepudiation",
            Self::KeyEncipherment => "keyEncipherment",
            Self::DataEncipherment => "dataEncipherment",
            Self::KeyAgreement => "keyAgreement",
            Self::KeyCertSign => "keyCertSign",
            Self::CrlSign => "cRLSign",
        }
    }
}

/// The bits that a certificate sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyUsages(u16);

impl KeyUsages {
    pub fn has(self, usage: KeyUsage) -> bool {
        self.0 & usage as u16 != 0
    }

    pub fn names(self) -> Vec<&'static str> {
        KeyUsage::ALL.into_iter().filter(|usage| self.has(*usage)).map(KeyUsage::name).collect()
    }
}

/// A purpose of the extended key usage extension (RFC 5280, 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExtendedKeyUsage {
    Any,
    ServerAuth,
    ClientAuth,
    CodeSigning,
    EmailProtection,
    TimeStamping,
    OcspSigning,
    Other(String),
}

impl fmt::Display for ExtendedKeyUsage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Any => "anyExtendedKeyUsage",
            Self::ServerAuth => "serverAuth",
            Self::ClientAuth => "clientAuth",
            Self::CodeSigning => "codeSigning",
            Self::EmailProtection => "emailProtection",
            Self::TimeStamping => "timeStamping",
            Self::OcspSigning => "OCSPSigning",
            Self::Other(oid) => oid,
        })
    }
}

/// A certificate as its bytes have it. Cloning is cheap.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: CertificateDer<'static>,
    signed_part: Range<usize>,
    signature: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature_algorithm_oid: String,
    subject: String,
    issuer: String,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    common_name: Option<String>,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    key_usages: Option<KeyUsages>,
    extended_key_usages: Option<Vec<ExtendedKeyUsage>>,
    is_ca: bool,
    path_len_max: Option<u32>,
    alternative_names: Vec<String>,
    alternative_directory_names: Vec<Vec<u8>>,
    directory_constraints: Option<directory_names::Constraints>,
    is_qualified: bool,
    ocsp_urls: Vec<String>,
    list_urls: Vec<String>,
    has_ocsp_nocheck: bool,
    key_bits: Vec<u8>,
    serial_der: Vec<u8>,
    spki: Vec<u8>,
    key_kind: KeyKind,
    key_fingerprint: KeyFingerprint,
    fingerprint: CertificateFingerprint,
}

impl Certificate {
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        static RECENT: LazyLock<Recent> = LazyLock::new(Recent::default);
        if let Some(known) = RECENT.get(der) {
            return Ok(known);
        }
        let certificate = Self::read(der)?;
        RECENT.keep(&certificate);
        Ok(certificate)
    }

    /// As [`Certificate::from_der`], in any case anew.
    pub(super) fn read(der: &[u8]) -> Result<Self, Error> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(Error::TooLarge { seen: der.len(), max: CERTIFICATE_BYTES_MAX });
        }
        let malformed = |detail: String| Error::Malformed(detail);
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| malformed(one_line(&error.to_string())))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes follow the certificate", rest.len())));
        }
        if parsed.version() != X509Version::V3 {
            return Err(Error::Version(parsed.version().0.saturating_add(1)));
        }
        Facts::read(der, &parsed).map(|facts| Self(Arc::new(facts))).map_err(malformed)
    }

    /// The first certificate of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Self::chain_from_pem(pem)?.into_iter().next().ok_or(Error::NoCertificate)
    }

    /// Every certificate of a PEM text, in order; other sections are skipped. Never empty.
    pub fn chain_from_pem(pem: &[u8]) -> Result<Vec<Self>, Error> {
        Self::many_from_pem(pem, CERTIFICATES_MAX)
    }

    /// As [`Certificate::chain_from_pem`], for a file of the operator's that lists many authorities.
    pub fn bundle_from_pem(pem: &[u8]) -> Result<Vec<Self>, Error> {
        Self::many_from_pem(pem, BUNDLE_CERTIFICATES_MAX)
    }

    fn many_from_pem(pem: &[u8], max: usize) -> Result<Vec<Self>, Error> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(Error::TooLarge { seen: pem.len(), max: PEM_BYTES_MAX });
        }
        let mut chain = Vec::new();
        for der in CertificateDer::pem_slice_iter(pem) {
            let der = der.map_err(|error| Error::Pem(one_line(&error.to_string())))?;
            if chain.len() == max {
                return Err(Error::TooMany { max });
            }
            chain.push(Self::from_der(&der)?);
        }
        if chain.is_empty() { Err(Error::NoCertificate) } else { Ok(chain) }
    }

    /// Every certificate of a chain that a peer presented. Counts before it parses.
    pub fn chain_from_der<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Self>, Error> {
        let mut chain = Vec::new();
        for der in ders {
            if chain.len() == CERTIFICATES_MAX {
                return Err(Error::TooMany { max: CERTIFICATES_MAX });
            }
            chain.push(Self::from_der(der)?);
        }
        Ok(chain)
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    pub fn pem(&self) -> String {
        super::key::pem_text("CERTIFICATE", &self.0.der)
    }

    /// In the order of RFC 4514 (most specific first), control characters escaped.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// For people; never for identity.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }

    /// Hexadecimal, lower case, as many bytes as the certificate has.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second in which the certificate is valid.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// `None`: the extension is absent, which permits every use.
    pub fn key_usages(&self) -> Option<KeyUsages> {
        self.0.key_usages
    }

    /// `None`: the extension is absent, which permits every use.
    pub fn extended_key_usages(&self) -> Option<&[ExtendedKeyUsage]> {
        self.0.extended_key_usages.as_deref()
    }

    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }

    pub fn path_len_max(&self) -> Option<u32> {
        self.0.path_len_max
    }

    /// DNS names and addresses, for display; the check of a server's name is webpki's.
    pub fn alternative_names(&self) -> &[String] {
        &self.0.alternative_names
    }

    /// The subject and the alternative names that are directory names, DER.
    pub(super) fn directory_names(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.0.alternative_directory_names.iter().map(Vec::as_slice);
        std::iter::once(self.0.subject_der.as_slice()).chain(others)
    }

    /// Which directory names may stand below it, if it says anything about that which is understood.
    pub(super) fn directory_constraints(&self) -> Option<&directory_names::Constraints> {
        self.0.directory_constraints.as_ref()
    }

    /// It states of itself that it is a qualified one (ETSI EN 319 412-5, QcCompliance). Only as true as its issuer.
    pub fn is_qualified(&self) -> bool {
        self.0.is_qualified
    }

    /// Where its issuer says that a responder answers. Nobody is asked unless the operator allows the host.
    pub fn ocsp_urls(&self) -> &[String] {
        &self.0.ocsp_urls
    }

    /// URLs of distribution points where its issuer's list for all reasons lies (RFC 5280, 4.2.1.13).
    pub fn list_urls(&self) -> &[String] {
        &self.0.list_urls
    }

    /// A responder's own revocation needs no answer while it lives (RFC 6960, 4.2.2.2.1).
    pub fn has_ocsp_nocheck(&self) -> bool {
        self.0.has_ocsp_nocheck
    }

    /// Content of the subjectPublicKey bit string, which OCSP takes the digest of.
    pub fn key_bits(&self) -> &[u8] {
        &self.0.key_bits
    }

    /// The serial number's bytes as they stand in the certificate.
    pub fn serial_der(&self) -> &[u8] {
        &self.0.serial_der
    }

    /// The complete SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    pub fn key_kind(&self) -> &KeyKind {
        &self.0.key_kind
    }

    /// What names an account.
    pub fn key_fingerprint(&self) -> KeyFingerprint {
        self.0.key_fingerprint
    }

    pub fn fingerprint(&self) -> CertificateFingerprint {
        self.0.fingerprint
    }

    pub fn is_self_issued(&self) -> bool {
        self.0.subject_der == self.0.issuer_der
    }

    /// Names compared as bytes, as webpki does.
    pub(super) fn names_as_issuer(&self, other: &Self) -> bool {
        self.0.issuer_der == other.0.subject_der
    }

    pub(super) fn subject_der(&self) -> &[u8] {
        &self.0.subject_der
    }

    pub(super) fn signed_part(&self) -> &[u8] {
        self.0.der.get(self.0.signed_part.clone()).unwrap_or_default()
    }

    /// Where it stands in the whole.
    pub(super) fn signed_range(&self) -> Range<usize> {
        self.0.signed_part.clone()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.0.signature
    }

    /// The AlgorithmIdentifier's content, without its outer tag, as webpki wants it.
    pub(super) fn signature_algorithm(&self) -> &[u8] {
        &self.0.signature_algorithm
    }

    pub fn signature_algorithm_oid(&self) -> &str {
        &self.0.signature_algorithm_oid
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Certificate({:?} {})", self.0.subject, self.0.fingerprint)
    }
}

impl Facts {
    fn read(der: &[u8], parsed: &X509Certificate<'_>) -> Result<Self, String> {
        let text = |error: x509_parser::error::X509Error| one_line(&error.to_string());
        // A second extension of the same kind is how two readers come to see two different certificates.
        parsed.extensions_map().map_err(text)?;
        let basic = parsed.basic_constraints().map_err(text)?;
        let key_usages = parsed.key_usage().map_err(text)?.map(|usage| KeyUsages(usage.value.flags & 0x7f));
        let extended = parsed.extended_key_usage().map_err(text)?.map(|usage| extended_usages(usage.value));
        let names = parsed.subject_alternative_name().map_err(text)?;
        let general_names =
            names.as_ref().map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let tbs = parsed.tbs_certificate.as_ref();
        let start = (tbs.as_ptr() as usize).checked_sub(der.as_ptr() as usize).ok_or("no signed part")?;
        let spki = parsed.public_key();
        let algorithm = outer_signature_algorithm(der, start + tbs.len())?;
        Ok(Self {
            signed_part: start..start + tbs.len(),
            signature: parsed.signature_value.data.to_vec(),
            signature_algorithm: algorithm,
            signature_algorithm_oid: parsed.signature_algorithm.algorithm.to_id_string(),
            subject: render_name(parsed.subject()),
            issuer: render_name(parsed.issuer()),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            common_name: parsed
                .subject()
                .iter_common_name()
                .next()
                .map(|name| escape(&value_text(name.attr_value()))),
            serial: hex::lower(parsed.raw_serial()),
            not_before: instant(&parsed.validity().not_before)?,
            not_after: instant(&parsed.validity().not_after)?,
            key_usages,
            extended_key_usages: extended,
            is_ca: basic.as_ref().is_some_and(|basic| basic.value.ca),
            path_len_max: basic.and_then(|basic| basic.value.path_len_constraint),
            alternative_names: general_names
                .iter()
                .filter_map(alternative_name)
                .take(ALTERNATIVE_NAMES_MAX)
                .collect(),
            // All of them: one that was left out would be one that no constraint meets.
            alternative_directory_names: general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DirectoryName(name) => Some(name.as_raw().to_vec()),
                    // One that cannot be read, which no permitted subtree holds.
                    GeneralName::Invalid(tag, data) if tag.0 == DIRECTORY_NAME => Some(data.to_vec()),
                    _ => None,
                })
                .collect(),
            directory_constraints: directory_constraints(der, parsed),
            is_qualified: claims_qualification(parsed),
            ocsp_urls: ocsp_urls(parsed),
            list_urls: list_urls(parsed),
            has_ocsp_nocheck: extension(parsed, OCSP_NOCHECK).is_some(),
            key_bits: spki.subject_public_key.data.to_vec(),
            serial_der: parsed.raw_serial().to_vec(),
            key_kind: key_kind(spki),
            key_fingerprint: KeyFingerprint(sha256(spki.raw)),
            fingerprint: CertificateFingerprint(sha256(der)),
            spki: spki.raw.to_vec(),
            der: CertificateDer::from(der.to_vec()),
        })
    }
}

const QC_STATEMENTS: &str = "1.3.6.1.5.5.7.1.3";
const QC_COMPLIANCE: &str = "0.4.0.1862.1.1";
const NAME_CONSTRAINTS: &str = "2.5.29.30";
const OCSP_NOCHECK: &str = "1.3.6.1.5.5.7.48.1.5";
/// The choice in GeneralName (RFC 5280, 4.2.1.6).
const DIRECTORY_NAME: u32 = 4;
const OCSP_ACCESS: &str = "1.3.6.1.5.5.7.48.1";
const OCSP_URLS_MAX: usize = 4;
/// URLs of distribution points that are looked at.
const LIST_URLS_MAX: usize = 16;
const OCSP_URL_BYTES_MAX: usize = 1024;

fn extension<'a>(parsed: &'a X509Certificate<'_>, oid: &str) -> Option<&'a [u8]> {
    parsed.extensions().iter().find(|one| one.oid.to_id_string() == oid).map(|one| one.value)
}

fn directory_constraints(der: &[u8], parsed: &X509Certificate<'_>) -> Option<directory_names::Constraints> {
    let value = extension(parsed, NAME_CONSTRAINTS)?;
    let start = (value.as_ptr() as usize).checked_sub(der.as_ptr() as usize)?;
    directory_names::Constraints::of_extension(der, start..start + value.len())
}

fn claims_qualification(parsed: &X509Certificate<'_>) -> bool {
    let Some(value) = extension(parsed, QC_STATEMENTS) else { return false };
    let Ok((_, statements)) = Any::from_der(value) else { return false };
    let mut rest = statements.data;
    while let Ok((after, statement)) = Any::from_der(rest) {
        rest = after;
        let oid = Any::from_der(statement.data).ok().and_then(|(_, any)| any.oid().ok());
        if oid.is_some_and(|oid| oid.to_id_string() == QC_COMPLIANCE) {
            return true;
        }
    }
    false
}

fn list_urls(parsed: &X509Certificate<'_>) -> Vec<String> {
    let points = parsed.extensions().iter().find_map(|one| match one.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(points),
        _ => None,
    });
    let Some(points) = points else { return Vec::new() };
    let whole = points.points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
    whole
        .filter_map(|point| point.distribution_point.as_ref())
        .flat_map(urls_of_point)
        .take(LIST_URLS_MAX)
        .collect()
}

/// The URLs by which a list and a certificate name the same distribution point.
pub(super) fn urls_of_point(name: &DistributionPointName<'_>) -> Vec<String> {
    let DistributionPointName::FullName(names) = name else { return Vec::new() };
    let url = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.iter().filter_map(url).take(LIST_URLS_MAX).collect()
}

fn ocsp_urls(parsed: &X509Certificate<'_>) -> Vec<String> {
    let access = parsed.extensions().iter().find_map(|one| match one.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    let Some(access) = access else { return Vec::new() };
    let responders = access.accessdescs.iter().filter(|one| one.access_method.to_id_string() == OCSP_ACCESS);
    responders
        .filter_map(|one| match &one.access_location {
            GeneralName::URI(uri) if uri.len() <= OCSP_URL_BYTES_MAX => Some((*uri).to_owned()),
            _ => None,
        })
        .take(OCSP_URLS_MAX)
        .collect()
}

/// The AlgorithmIdentifier that follows the signed part, stripped of its SEQUENCE header.
fn outer_signature_algorithm(der: &[u8], at: usize) -> Result<Vec<u8>, String> {
    let rest = der.get(at..).ok_or("no signature algorithm")?;
    let (_, any) = Any::from_der(rest).map_err(|error| one_line(&error.to_string()))?;
    if any.tag() != Tag::Sequence {
        return Err("no signature algorithm".into());
    }
    Ok(any.data.to_vec())
}

fn instant(time: &ASN1Time) -> Result<Timestamp, String> {
    Timestamp::from_second(time.timestamp())
        .map_err(|_| "an instant outside the years that we can express".into())
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let oid = spki.algorithm.algorithm.to_id_string();
    let bits = || match spki.parsed() {
        Ok(PublicKey::RSA(key)) => rsa_bits(key.modulus),
        _ => rsa_bits_of_der(&spki.subject_public_key.data),
    };
    match oid.as_str() {
        "1.2.840.113549.1.1.1" => KeyKind::Rsa { bits: bits() },
        "1.2.840.113549.1.1.10" => KeyKind::RsaPss { bits: bits() },
        "1.3.101.112" => KeyKind::Ed25519,
        "1.2.840.10045.2.1" => {
            let curve = spki
                .algorithm
                .parameters
                .as_ref()
                .and_then(|any| any.as_oid().ok())
                .map(|oid| oid.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => KeyKind::P256,
                Some("1.3.132.0.34") => KeyKind::P384,
                Some("1.3.132.0.35") => KeyKind::P521,
                other => match other.and_then(Brainpool::from_oid) {
                    Some(Brainpool::P256r1) => KeyKind::BrainpoolP256r1,
                    Some(Brainpool::P384r1) => KeyKind::BrainpoolP384r1,
                    Some(Brainpool::P512r1) => KeyKind::BrainpoolP512r1,
                    None => KeyKind::Other(format!("{oid} {}", other.unwrap_or("(no named curve)"))),
                },
            }
        }
        _ => KeyKind::Other(oid),
    }
}

/// Bits without the leading zeroes, so that a padded 1024-bit modulus does not pass for a longer one.
fn rsa_bits(modulus: &[u8]) -> usize {
    let mut significant = modulus.iter().skip_while(|byte| **byte == 0);
    match significant.next() {
        Some(first) => significant.count() * 8 + (8 - first.leading_zeros() as usize),
        None => 0,
    }
}

/// x509-parser reads RSA keys only under rsaEncryption; the structure under id-RSASSA-PSS is the same.
fn rsa_bits_of_der(key: &[u8]) -> usize {
    let modulus = Any::from_der(key)
        .ok()
        .and_then(|(_, sequence)| Any::from_der(sequence.data).ok())
        .filter(|(_, modulus)| modulus.tag() == Tag::Integer);
    modulus.map_or(0, |(_, modulus)| rsa_bits(modulus.data))
}

fn extended_usages(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Vec<ExtendedKeyUsage> {
    let flags = [
        (usage.any, ExtendedKeyUsage::Any),
        (usage.server_auth, ExtendedKeyUsage::ServerAuth),
        (usage.client_auth, ExtendedKeyUsage::ClientAuth),
        (usage.code_signing, ExtendedKeyUsage::CodeSigning),
        (usage.email_protection, ExtendedKeyUsage::EmailProtection),
        (usage.time_stamping, ExtendedKeyUsage::TimeStamping),
        (usage.ocsp_signing, ExtendedKeyUsage::OcspSigning),
    ];
    let named = flags.into_iter().filter_map(|(set, usage)| set.then_some(usage));
    named.chain(usage.other.iter().map(|oid| ExtendedKeyUsage::Other(oid.to_id_string()))).collect()
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(escape(name)),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(std::net::IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// RFC 4514: most specific first, attributes of one RDN joined by `+`.
pub(super) fn render_name(name: &X509Name<'_>) -> String {
    let mut rdns: Vec<String> = name
        .iter_rdn()
        .take(ALTERNATIVE_NAMES_MAX)
        .map(|rdn| {
            let parts: Vec<String> = rdn
                .iter()
                .take(8)
                .map(|part| {
                    let oid = part.attr_type().to_id_string();
                    let key = short_attribute(&oid).unwrap_or(&oid);
                    format!("{key}={}", escape(&value_text(part.attr_value())))
                })
                .collect();
            parts.join("+")
        })
        .collect();
    rdns.reverse();
    shorten(&rdns.join(","))
}

fn short_attribute(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.17" => "postalCode",
        "2.5.4.42" => "GN",
        "2.5.4.97" => "organizationIdentifier",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

fn value_text(value: &Any<'_>) -> String {
    match value.tag() {
        Tag::BmpString => BmpString::try_from(value.clone()).map(|text| text.string()).unwrap_or_default(),
        // T.61 in practice means Latin-1.
        Tag::T61String => value.data.iter().map(|byte| char::from(*byte)).collect(),
        _ => String::from_utf8_lossy(value.data).into_owned(),
    }
}

/// Escapes what would let one value look like several, or like something that is not text.
fn escape(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars().take(NAME_CHARS_MAX + 1) {
        match c {
            ',' | '+' | '=' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            c if c.is_control() || is_invisible(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Characters that change how others are shown: direction marks, separators, byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(NAME_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair};

    use super::*;

    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params =
            CertificateParams::new(vec!["office.example".into(), "192.0.2.1".into(), "::1".into()])
                .expect("parameters");
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().to_vec()
    }

    /// What `openssl x509` says of the committed certificate (`-subject -nameopt RFC2253`, `-fingerprint -sha256`,
    /// and `-pubkey | openssl pkey -pubin -outform DER | sha256sum`).
    #[test]
    fn facts_agree_with_another_reader() {
        let pem = include_bytes!("../../tests/data/pki/pss-chain.pem");
        let chain = Certificate::chain_from_pem(pem).expect("a chain");
        let leaf = chain.first().expect("two");
        assert_eq!(chain.len(), 2);
        assert_eq!(leaf.subject(), "CN=PSS leaf,C=DE");
        assert_eq!(leaf.issuer(), "CN=PSS root,C=DE");
        assert_eq!(leaf.common_name(), Some("PSS leaf"));
        assert_eq!(leaf.serial(), "7057b6bf028987d1a10f50f9960fec18ee43524d");
        assert_eq!(
            leaf.fingerprint().to_string(),
            "0615dc0f760c26f72ae70d1ec7c4e56f2a67490d5e3aede34bbc790467b1ea6e"
        );
        assert_eq!(
            leaf.key_fingerprint().to_string(),
            "00a2ba65e7244b6ebfd7b6b96af51bea40410eec46e89fb12c6a05dc1b3a2fb9"
        );
        assert_eq!(leaf.key_kind(), &KeyKind::Rsa { bits: 3072 });
        assert_eq!(leaf.not_before().to_string(), "2026-11-23T11:43:06Z");
        assert_eq!(leaf.not_after().to_string(), "2119-12-26T11:43:06Z");
        assert_eq!(leaf.key_usages().map(KeyUsages::names), Some(vec!["digitalSignature"]));
        assert_eq!(leaf.extended_key_usages(), Some(&[ExtendedKeyUsage::ClientAuth][..]));
        assert!(!leaf.is_ca());
        let back = Certificate::from_pem(leaf.pem().as_bytes()).expect("what we write we read");
        assert_eq!(&back, leaf);
    }

    #[test]
    fn names_cannot_forge_a_line() {
        for (value, shown) in [
            ("Amt", "CN=Amt"),
            ("a\nlevel=error", "CN=a\\u{a}level\\=error"),
            ("a\u{1b}[2J", "CN=a\\u{1b}[2J"),
            ("a,O=Root", "CN=a\\,O\\=Root"),
            ("a\u{202e}b", "CN=a\\u{202e}b"),
            ("Stra\u{df}e", "CN=Stra\u{df}e"),
        ] {
            let der = self_signed(|params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, value);
            });
            assert_eq!(Certificate::from_der(&der).expect("readable").subject(), shown);
        }
        let der = self_signed(|params| params.distinguished_name.push(DnType::CommonName, "x".repeat(5000)));
        assert_eq!(
            Certificate::from_der(&der).expect("readable").subject().chars().count(),
            NAME_CHARS_MAX + 1
        );
    }

    #[test]
    fn alternative_names_are_shown() {
        let certificate = Certificate::from_der(&self_signed(|_| {})).expect("readable");
        assert_eq!(certificate.alternative_names(), ["office.example", "192.0.2.1", "::1"]);
    }

    #[test]
    fn what_is_not_one_certificate_is_refused() {
        let good = self_signed(|_| {});
        let longer = [good.as_slice(), b"\0"].concat();
        let twice = self_signed(|params| {
            // A second key usage, after the first.
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            let usage = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 1, 6]);
            params.custom_extensions = vec![usage];
        });
        let unknown_twice = self_signed(|params| {
            let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            params.custom_extensions = vec![unknown.clone(), unknown];
        });
        for (what, der) in [
            ("nothing", &[][..]),
            ("a null", &[5, 0]),
            ("cut", good.get(..good.len() - 1).expect("long")),
            ("followed by something", &longer),
            ("an extension twice", &twice),
            ("an unknown extension twice", &unknown_twice),
        ] {
            let read = Certificate::from_der(der);
            assert!(matches!(read, Err(Error::Malformed(_))), "{what}: {read:?}");
        }
        let large = vec![0x30; CERTIFICATE_BYTES_MAX + 1];
        let expected = Error::TooLarge { seen: CERTIFICATE_BYTES_MAX + 1, max: CERTIFICATE_BYTES_MAX };
        assert_eq!(Certificate::from_der(&large).err(), Some(expected));
    }

    #[test]
    fn pem_is_bounded_and_other_sections_are_skipped() {
        let one = Certificate::from_der(&self_signed(|_| {})).expect("readable");
        let with_key =
            format!("# note\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n{}", one.pem());
        assert_eq!(Certificate::from_pem(with_key.as_bytes()).as_ref(), Ok(&one));
        assert_eq!(Certificate::from_pem(b"no certificate").err(), Some(Error::NoCertificate));
        let many = one.pem().repeat(CERTIFICATES_MAX + 1);
        assert_eq!(
            Certificate::chain_from_pem(many.as_bytes()).err(),
            Some(Error::TooMany { max: CERTIFICATES_MAX })
        );
        assert_eq!(
            Certificate::bundle_from_pem(many.as_bytes()).map(|all| all.len()),
            Ok(CERTIFICATES_MAX + 1)
        );
        let vast = vec![b'\n'; PEM_BYTES_MAX + 1];
        assert!(matches!(Certificate::from_pem(&vast), Err(Error::TooLarge { .. })));
        let cut = one.pem().replace("-----END CERTIFICATE-----", "");
        assert!(matches!(Certificate::from_pem(cut.as_bytes()), Err(Error::Pem(_))));
    }

    #[test]
    fn a_padded_modulus_is_no_longer_key() {
        for (modulus, bits) in
            [(&[][..], 0), (&[0, 0], 0), (&[0, 0x80], 8), (&[0, 0, 0, 1, 0], 9), (&[0xff, 0], 16)]
        {
            assert_eq!(rsa_bits(modulus), bits, "{modulus:?}");
        }
    }

    proptest! {
        /// Nothing that a stranger sends makes the reader panic, nor the search that follows.
        #[test]
        fn damage_does_not_panic(at in 0usize..2000, to: u8, cut in 0usize..2000) {
            let pem = include_bytes!("../../tests/data/pki/pss-chain.pem");
            let chain = Certificate::chain_from_pem(pem).expect("a chain");
            let mut der = chain.first().expect("two").der().to_vec();
            let at = at % der.len();
            der[at] = to;
            der.truncate(der.len() - cut % 8);
            if let Ok(changed) = Certificate::from_der(&der) {
                let trust = super::super::trust::TrustAnchors::builder().build();
                let purpose = super::super::inspection::Purpose::ParticipantTls;
                let inspection = trust.inspect(purpose, &changed, &chain, jiff::Timestamp::UNIX_EPOCH);
                prop_assert!(!inspection.is_acceptable());
            }
        }

        #[test]
        fn noise_does_not_panic(noise: Vec<u8>) {
            let _ = Certificate::from_der(&noise);
            let _ = Certificate::chain_from_pem(&noise);
        }
    }
}
