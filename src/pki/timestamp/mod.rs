//! Time stamps of a time stamp authority (TSA): RFC 3161 with RFC 5816, over CMS (RFC 5652).
//!
//! [`Request`] asks, [`accept`] judges the answer to it, [`Token`] is a stamp as it is kept: [`Token::read`] proves it
//! whole by itself (signature, signed attributes, certificate's purpose), [`Token::covers`] ties it to bytes, and
//! [`Authorities::trust`] finds the path to a configured anchor at the stamp's own time. Pure: bytes and instants in,
//! judgement out; [`client`] alone acts.
//!
//! A stamp is renewed by a stamp over its own bytes, from a TSA whose certificate lasts longer, before
//! [`Trusted::good_until`].
//!
//! Whether the TSA's certificate was revoked is asked where a stamp is taken ([`super::trust`], purpose `time-stamps`),
//! as of that moment; a stamp that is kept says nothing of it.
//!
//! Left out: SHA-1 in any place (also the old `signing-certificate` attribute, which knows nothing else), BER, evidence
//! records (RFC 4998).

pub mod client;
mod der;
mod oid;
mod token;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::TrustAnchor;

use super::certificate::{self, Certificate, ExtendedKeyUsage, KeyKind};
use super::path::{self, RequiredUsage, Revocation, Search, Unfit};
use der::Reader;
pub use oid::Oid;
pub use token::{Accuracy, Token};

/// Longest answer that is looked at. A real one, with its certificates, has 2 to 8 kB.
pub const RESPONSE_BYTES_MAX: usize = 128 * 1024;
/// Characters of the TSA's own words that are shown.
const WORDS_MAX: usize = 200;
/// RSA below 3000 bits is not relied on after this instant (2029-01-01), whatever the certificate says.
const SHORT_RSA_UNTIL: i64 = 1_861_920_000;
const SHORT_RSA_BITS: usize = 3000;

/// Why an answer or a stamp is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{seen} bytes are more than a time stamp has; {max} are read")]
    TooLarge { seen: usize, max: usize },
    #[error("the time stamp is malformed: {0}")]
    Malformed(&'static str),
    #[error("the authority refused: status {status}{words}")]
    Status { status: u32, words: String },
    #[error("{0} is not an object identifier")]
    Oid(String),
    #[error("hash algorithm {0} is not accepted; SHA-256, SHA-384 and SHA-512 are")]
    Hash(String),
    #[error("the time stamp is over other bytes")]
    Imprint,
    #[error("the time stamp does not repeat the nonce of the request")]
    Nonce,
    #[error("the time stamp was made under policy {found}, asked for was {wanted}")]
    Policy { found: String, wanted: String },
    #[error("extension {0} of the time stamp is critical and unknown")]
    Extension(String),
    #[error("the signed attribute {0} is missing or occurs twice")]
    Attribute(&'static str),
    #[error("the signed attribute content-type does not name a time stamp")]
    ContentType,
    #[error("the signed attribute message-digest is not the digest of the content")]
    MessageDigest,
    #[error("the signed attribute signing-certificate-v2 names another certificate than the signer's")]
    SigningCertificate,
    #[error("the certificate that made the time stamp is not in it")]
    CertificateMissing,
    #[error("a certificate of the time stamp: {0}")]
    Certificate(#[from] certificate::Error),
    #[error("signature algorithm {0} is not accepted")]
    SignatureAlgorithm(String),
    #[error("the signature of the time stamp does not verify")]
    Signature,
    #[error("{subject} is no time stamp certificate: {why}")]
    Purpose { subject: String, why: &'static str },
    #[error("{subject} is not trusted: {why}")]
    Untrusted { subject: String, why: String },
    #[error("the time stamp says {time}, the clock here {now}")]
    Clock { time: Timestamp, now: Timestamp },
    #[error("the time stamp is exact to {seen:#}; {max:#} is the most that is accepted")]
    Accuracy { seen: SignedDuration, max: SignedDuration },
    #[error("{subject} cannot be an anchor for time stamps: {why}")]
    Anchor { subject: String, why: String },
}

/// A hash function that may stand in a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of_algorithm(mut algorithm: Reader<'_>) -> Result<Self, Error> {
        let id = Oid::read(algorithm.expect(der::OID)?)?;
        if algorithm.optional(der::NULL)?.is_some_and(|null| !null.content.is_empty()) {
            return Err(Error::Malformed("parameters of a hash algorithm"));
        }
        algorithm.finish()?;
        let known = [(oid::SHA256, Self::Sha256), (oid::SHA384, Self::Sha384), (oid::SHA512, Self::Sha512)];
        let found = known.into_iter().find(|(bytes, _)| *bytes == id.bytes());
        found.map(|(_, hash)| hash).ok_or_else(|| Error::Hash(id.to_string()))
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
        }
    }

    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// What is asked of a TSA: a stamp over SHA-512 of these bytes, its certificate included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    imprint: Vec<u8>,
    /// An integer's content.
    nonce: Vec<u8>,
    policy: Option<Oid>,
    der: Vec<u8>,
}

impl Request {
    /// `nonce` must be random. Without a policy the TSA takes its own.
    pub fn new(bytes: &[u8], nonce: [u8; 16], policy: Option<Oid>) -> Self {
        let imprint = Hash::Sha512.digest(bytes);
        // Positive, and in its shortest form whatever the bytes are.
        let nonce = [&[0x40 | (nonce[0] & 0x3f)], &nonce[1..]].concat();
        let algorithm = der::write_all(
            der::SEQUENCE,
            &[&der::write_all(der::OID, &[Hash::Sha512.oid()]), &[der::NULL, 0]],
        );
        let message_imprint =
            der::write_all(der::SEQUENCE, &[&algorithm, &der::write_all(der::OCTET_STRING, &[&imprint])]);
        let policy_id = policy.as_ref().map(|policy| der::write_all(der::OID, &[policy.bytes()]));
        let der = der::write_all(
            der::SEQUENCE,
            &[
                &[der::INTEGER, 1, 1],
                &message_imprint,
                &policy_id.unwrap_or_default(),
                &der::write_all(der::INTEGER, &[&nonce]),
                &[der::BOOLEAN, 1, 0xff],
            ],
        );
        Self { imprint, nonce, policy, der }
    }

    /// The body of an `application/timestamp-query`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// How far a TSA is believed about time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tolerance {
    /// Between its clock and ours, besides the accuracy that it states.
    pub clock: SignedDuration,
    pub accuracy_max: SignedDuration,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { clock: SignedDuration::from_mins(5), accuracy_max: SignedDuration::from_mins(1) }
    }
}

/// Judges an answer (`application/timestamp-reply`) that came at `now`: everything that RFC 3161, section 2.4.2 asks
/// of a requester, and the path to an anchor.
pub fn accept(
    response: &[u8],
    request: &Request,
    authorities: &Authorities,
    tolerance: &Tolerance,
    now: Timestamp,
) -> Result<(Token, Trusted), Error> {
    let token = Token::read(token_of(response)?)?;
    if token.hash() != Hash::Sha512 || token.imprint() != request.imprint {
        return Err(Error::Imprint);
    }
    if token.nonce() != Some(request.nonce.as_slice()) {
        return Err(Error::Nonce);
    }
    if let Some(wanted) = &request.policy
        && wanted != token.policy()
    {
        return Err(Error::Policy { found: token.policy().to_string(), wanted: wanted.to_string() });
    }
    let exact = token.accuracy().map_or(SignedDuration::ZERO, Accuracy::duration);
    if exact > tolerance.accuracy_max {
        return Err(Error::Accuracy { seen: exact, max: tolerance.accuracy_max });
    }
    let apart = now.duration_since(token.time()).abs();
    if apart > tolerance.clock.checked_add(exact).unwrap_or(SignedDuration::MAX) {
        return Err(Error::Clock { time: token.time(), now });
    }
    let trusted = authorities.trust(&token)?;
    Ok((token, trusted))
}

/// The token inside an answer that grants one (TimeStampResp).
pub fn token_of(response: &[u8]) -> Result<&[u8], Error> {
    if response.len() > RESPONSE_BYTES_MAX {
        return Err(Error::TooLarge { seen: response.len(), max: RESPONSE_BYTES_MAX });
    }
    const WHAT: &str = "TimeStampResp";
    let mut outer = Reader::new(response, WHAT);
    let mut answer = outer.enter(der::SEQUENCE, WHAT)?;
    outer.finish()?;
    let mut info = answer.enter(der::SEQUENCE, "PKIStatusInfo")?;
    let status = der::small(info.expect(der::INTEGER)?, "PKIStatus")?;
    let mut words = String::new();
    if let Some(texts) = info.optional(der::SEQUENCE)? {
        let mut texts = Reader::new(texts.content, "PKIFreeText");
        while !texts.is_empty() {
            let text = String::from_utf8_lossy(texts.expect(der::UTF8_STRING)?.content);
            words.push_str(&format!(", \"{}\"", text.escape_debug()));
        }
    }
    if let Some(bits) = info.optional(der::BIT_STRING)? {
        words.push_str(&failures(bits.content)?);
    }
    info.finish()?;
    // granted, and granted with modifications: what was modified shows in the token.
    if status > 1 {
        return Err(Error::Status { status, words: words.chars().take(WORDS_MAX).collect() });
    }
    let token = answer.value()?;
    answer.finish()?;
    Ok(token.whole)
}

/// Names of the bits of PKIFailureInfo (RFC 3161, section 2.4.2).
fn failures(bits: &[u8]) -> Result<String, Error> {
    const NAMES: [(usize, &str); 8] = [
        (0, "badAlg"),
        (2, "badRequest"),
        (5, "badDataFormat"),
        (14, "timeNotAvailable"),
        (15, "unacceptedPolicy"),
        (16, "unacceptedExtension"),
        (17, "addInfoNotAvailable"),
        (25, "systemFailure"),
    ];
    let (unused, bytes) = bits.split_first().ok_or(Error::Malformed("PKIFailureInfo"))?;
    if *unused > 7 || bytes.len() > 4 {
        return Err(Error::Malformed("PKIFailureInfo"));
    }
    let is_set = |bit: usize| bytes.get(bit / 8).is_some_and(|byte| byte & (0x80_u8 >> (bit % 8)) != 0);
    Ok(NAMES.iter().filter(|(bit, _)| is_set(*bit)).map(|(_, name)| format!(", {name}")).collect())
}

/// Whose certificates make a TSA believed.
#[derive(Debug, Default)]
pub struct Authorities {
    certificates: Vec<Certificate>,
    /// Same order as `certificates`.
    anchors: Vec<TrustAnchor<'static>>,
}

/// What a stamp's path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// The end of the first certificate on the path, or of its algorithm: a renewal must be made before.
    pub good_until: Timestamp,
    /// Issuers up to the anchor.
    pub path: Vec<Certificate>,
}

impl Authorities {
    /// CA certificates to believe; each file's text may hold several.
    pub fn new(certificates: impl IntoIterator<Item = Certificate>) -> Result<Self, Error> {
        let mut authorities = Self::default();
        for certificate in certificates {
            let refuse = |why| Error::Anchor { subject: certificate.subject().to_owned(), why };
            if let Some(Unfit::Right(why) | Unfit::Weak(why)) = path::unfit_as_issuer(&certificate) {
                return Err(refuse(why));
            }
            let anchor = webpki::anchor_from_trusted_cert(certificate.der())
                .map_err(|error| refuse(error.to_string()))?
                .to_owned();
            authorities.anchors.push(anchor);
            authorities.certificates.push(certificate);
        }
        Ok(authorities)
    }

    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The path from the stamp's certificate to an anchor, at the stamp's time.
    pub fn trust(&self, token: &Token) -> Result<Trusted, Error> {
        let leaf = token.signer();
        let refuse = |why: String| Error::Untrusted { subject: leaf.subject().to_owned(), why };
        let others: Vec<&Certificate> = token.certificates().iter().collect();
        let issuers = path::issuers(leaf, &others, &self.certificates);
        let search = Search {
            leaf,
            issuers: &issuers.reached,
            anchors: &self.anchors,
            anchor_certificates: &self.certificates,
            instant: Timestamp::from_second(token.time().as_second()).unwrap_or(token.time()),
            usage: RequiredUsage::None,
        };
        let found = search.run(&[], Revocation::NotNamed).map_err(|error| refuse(error.to_string()))?;
        for issuer in &found.issuers {
            let permits = |usages: &[ExtendedKeyUsage]| {
                usages.contains(&ExtendedKeyUsage::TimeStamping) || usages.contains(&ExtendedKeyUsage::Any)
            };
            if issuer.extended_key_usages().is_some_and(|usages| !permits(usages)) {
                return Err(refuse(format!("{} may not issue time stamp certificates", issuer.subject())));
            }
        }
        let good_until = std::iter::once(leaf).chain(&found.issuers).map(end_of).min();
        Ok(Trusted { good_until: good_until.unwrap_or(leaf.not_after()), path: found.issuers })
    }
}

/// When a certificate, or the algorithm of its key, is no longer relied on.
fn end_of(certificate: &Certificate) -> Timestamp {
    let algorithm = match certificate.key_kind() {
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } if *bits < SHORT_RSA_BITS => {
            Timestamp::from_second(SHORT_RSA_UNTIL).unwrap_or(Timestamp::MAX)
        }
        _ => Timestamp::MAX,
    };
    certificate.not_after().min(algorithm)
}
