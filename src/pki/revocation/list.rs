//! Revocation lists (RFC 5280, section 5): full ones and delta lists, read once.
//!
//! Bytes that came from elsewhere are a [`Sealed`] list first: only its frame is read, so that the signature can be
//! verified over the bytes before a list of megabytes is unpacked. That a key made a signature is remembered as a
//! [`SignatureVerified`] and not worked out again.
//!
//! A list is refused as a whole, with the reason, if it says something that is not understood here: an indirect list,
//! one for some reasons or for attribute certificates only, an unknown critical extension of the list or of an entry.
//! It is never read as if it had not said so.
//!
//! A delta list adds to what the full list of the same issuer says, and takes nothing away: a certificate that was on
//! hold counts as revoked until the next full list. It does not make an outdated full list current either.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::ReasonCode;

use crate::domain::account::KeyFingerprint;
use crate::pki::certificate::{self, Certificate, KeyUsage};
use crate::pki::der::{BIT_STRING, INTEGER, Reader, SEQUENCE};
use crate::pki::path;

/// One revocation list; a large CA's list is a few megabytes.
pub const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Keys whose say on a list's signature is remembered. A name has one or two in its life.
const SIGNERS_MAX: usize = 8;

const CRL_NUMBER: &str = "2.5.29.20";
const DELTA_INDICATOR: &str = "2.5.29.27";
const DISTRIBUTION_POINT: &str = "2.5.29.28";
const AUTHORITY_KEY: &str = "2.5.29.35";
const REASON: &str = "2.5.29.21";
const INVALIDITY: &str = "2.5.29.24";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{seen} bytes exceed {max}")]
    TooLarge { seen: usize, max: usize },
    #[error("malformed: {0}")]
    Malformed(String),
    #[error("an indirect list, which speaks for other issuers; use the issuer's own list")]
    Indirect,
    #[error("a list for some reasons or some kinds of certificates only ({0})")]
    Partial(&'static str),
    #[error("a critical extension that is not known here ({0})")]
    CriticalExtension(String),
}

/// Which certificates the list speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    kinds: Kinds,
    /// A part: the certificates that name one of these URLs. Silence about others proves nothing.
    part: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    All,
    Users,
    Authorities,
}

impl Scope {
    const WHOLE: Self = Self { kinds: Kinds::All, part: None };

    fn covers(&self, certificate: &Certificate) -> bool {
        let of_kind = match self.kinds {
            Kinds::All => true,
            Kinds::Users => !certificate.is_ca(),
            Kinds::Authorities => certificate.is_ca(),
        };
        let named = |urls: &Vec<String>| certificate.list_urls().iter().any(|url| urls.contains(url));
        of_kind && self.part.as_ref().is_none_or(named)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Revoked,
    /// Current, of the right scope, signed by the issuer, and the certificate is not on it.
    Clear,
}

#[derive(Debug)]
pub struct List {
    issuer: String,
    issuer_der: Vec<u8>,
    /// Big-endian without leading zeroes; comparable by length, then by bytes.
    number: Option<Number>,
    /// A delta list's base.
    base: Option<Number>,
    scope: Scope,
    /// The issuing distribution point as it stands there: numbers count within it (RFC 5280, 5.2.3).
    point: Option<Vec<u8>>,
    /// The authority key identifier as it stands there: a hint at the key, until the signature is verified.
    authority_key: Option<Vec<u8>>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    /// Serial numbers, and whether the entry takes a certificate off the list again.
    entries: HashMap<Box<[u8]>, bool>,
    der: Vec<u8>,
    signed: Range<usize>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// By key: the proof, or that there is none.
    signers: Mutex<Vec<(KeyFingerprint, Option<SignatureVerified>)>>,
}

/// That the key of an authority, which may sign lists, made the signature on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureVerified {
    key: KeyFingerprint,
}

impl SignatureVerified {
    fn verify(
        issuer: &Certificate,
        issuer_der: &[u8],
        algorithm: &[u8],
        signed: &[u8],
        signature: &[u8],
    ) -> Option<Self> {
        if !may_sign(issuer) || issuer_der != issuer.subject_der() {
            return None;
        }
        #[cfg(test)]
        tests::VERIFIED.with(|count| count.set(count.get() + 1));
        path::made_by(issuer, algorithm, signed, signature).then(|| Self { key: issuer.key_fingerprint() })
    }
}

fn may_sign(issuer: &Certificate) -> bool {
    issuer.key_usages().is_none_or(|usages| usages.has(KeyUsage::CrlSign))
}

/// A list of which only the frame was read: who is said to have signed what. Its content is neither unpacked nor
/// believed.
#[derive(Debug)]
pub struct Sealed<'a> {
    der: &'a [u8],
    signed: Range<usize>,
    issuer_der: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub fn read(der: &'a [u8]) -> Result<Self, Error> {
        if der.len() > LIST_BYTES_MAX {
            return Err(Error::TooLarge { seen: der.len(), max: LIST_BYTES_MAX });
        }
        Self::frame(der).ok_or_else(|| Error::Malformed("it is not a list and a signature".into()))
    }

    fn frame(der: &'a [u8]) -> Option<Self> {
        let outer = Reader::only(der, SEQUENCE)?;
        let start = der.len() - outer.content.len();
        let mut parts = Reader(outer.content);
        let signed = parts.expect(SEQUENCE)?;
        let algorithm = parts.expect(SEQUENCE)?.content;
        let (unused_bits, signature) = parts.expect(BIT_STRING)?.content.split_first()?;
        if *unused_bits != 0 || !parts.is_empty() {
            return None;
        }
        let mut fields = Reader(signed.content);
        fields.optional(INTEGER)?;
        fields.expect(SEQUENCE)?;
        let issuer_der = fields.expect(SEQUENCE)?.whole;
        Some(Self { der, signed: start..start + signed.whole.len(), issuer_der, algorithm, signature })
    }

    /// The proof, if the authority bears the issuer's name, may sign lists, and its key made the signature.
    pub fn verify(&self, issuer: &Certificate) -> Option<SignatureVerified> {
        let signed = self.der.get(self.signed.clone())?;
        SignatureVerified::verify(issuer, self.issuer_der, self.algorithm, signed, self.signature)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Number(usize, Vec<u8>);

impl Number {
    fn from_be(bytes: &[u8]) -> Self {
        let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        Self(significant.len(), significant)
    }
}

impl List {
    /// For lists of our own operator, whose signer may show up only with a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        Self::open(&Sealed::read(der)?, None)
    }

    /// Unpacks the list; `proof` is what is known of its signature.
    pub fn open(sealed: &Sealed<'_>, proof: Option<SignatureVerified>) -> Result<Self, Error> {
        let der = sealed.der;
        let malformed = |why: &dyn std::fmt::Display| Error::Malformed(why.to_string());
        let (rest, parsed) = CertificateRevocationList::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&format_args!("{} bytes follow it", rest.len())));
        }
        let tbs = &parsed.tbs_cert_list;
        tbs.extensions_map().map_err(|error| malformed(&error))?;
        if tbs.issuer.as_raw() != sealed.issuer_der {
            return Err(malformed(&"its issuer can be read in two ways"));
        }
        let instant = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| malformed(&error))
        };
        let said = Extensions::read(tbs.extensions())?;
        let mut entries = HashMap::with_capacity(tbs.revoked_certificates.len());
        for entry in parsed.iter_revoked_certificates() {
            known_entry(entry.extensions())?;
            let removed = entry.reason_code().is_some_and(|(_, reason)| reason == ReasonCode::RemoveFromCRL);
            entries.insert(entry.raw_serial().into(), removed);
        }
        Ok(Self {
            issuer: certificate::render_name(parsed.issuer()),
            issuer_der: sealed.issuer_der.to_vec(),
            number: said.number,
            base: said.base,
            scope: said.scope,
            point: said.point,
            authority_key: said.authority_key,
            this_update: instant(parsed.last_update())?,
            next_update: parsed.next_update().map(instant).transpose()?,
            entries,
            algorithm: sealed.algorithm.to_vec(),
            signature: sealed.signature.to_vec(),
            signed: sealed.signed.clone(),
            der: der.to_vec(),
            signers: Mutex::new(proof.map(|proof| (proof.key, Some(proof))).into_iter().collect()),
        })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn is_delta(&self) -> bool {
        self.base.is_some()
    }

    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    pub fn next_update(&self) -> Option<Timestamp> {
        self.next_update
    }

    /// By the same issuer about the same certificates: only such lists can be compared. Two authorities may bear one
    /// name; what tells them apart is the key, where it is known of both lists ([`Self::signer`]).
    fn has_scope_of(&self, other: &Self) -> bool {
        let may_be_of_one_key = match (self.signer(), other.signer()) {
            (Some(one), Some(other)) => one == other,
            _ => {
                self.authority_key.is_none()
                    || other.authority_key.is_none()
                    || self.authority_key == other.authority_key
            }
        };
        may_be_of_one_key && self.issuer_der == other.issuer_der && self.point == other.point
    }

    /// The key that was found to have made the signature.
    fn signer(&self) -> Option<KeyFingerprint> {
        let signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        signers.iter().find_map(|(key, proof)| proof.map(|_| *key))
    }

    /// The same scope, and both full or both delta lists. What a fetched list must be to take another's place.
    pub fn is_of_series(&self, other: &Self) -> bool {
        self.has_scope_of(other) && self.is_delta() == other.is_delta()
    }

    /// The same but for the key, and later: the issuer's list after its key was changed. Numbers are counted anew.
    pub fn takes_over_from(&self, earlier: &Self) -> bool {
        let of_another_key =
            matches!((self.signer(), earlier.signer()), (Some(one), Some(other)) if one != other);
        let of_one_name = self.issuer_der == earlier.issuer_der && self.point == earlier.point;
        of_another_key
            && of_one_name
            && self.is_delta() == earlier.is_delta()
            && self.this_update > earlier.this_update
    }

    /// The same series, and not older.
    pub fn follows(&self, earlier: &Self) -> bool {
        self.is_of_series(earlier) && self.this_update >= earlier.this_update && self.number >= earlier.number
    }

    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.proof_of(issuer).is_some()
    }

    /// Worked out at most once for a key.
    fn proof_of(&self, issuer: &Certificate) -> Option<SignatureVerified> {
        // Another certificate of the same key may lack the right or bear another name.
        if !may_sign(issuer) || self.issuer_der != issuer.subject_der() {
            return None;
        }
        let key = issuer.key_fingerprint();
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, proof)) = signers.iter().find(|(known, _)| *known == key) {
            return *proof;
        }
        let signed = self.der.get(self.signed.clone()).unwrap_or_default();
        let proof =
            SignatureVerified::verify(issuer, &self.issuer_der, &self.algorithm, signed, &self.signature);
        if signers.len() >= SIGNERS_MAX {
            signers.retain(|(_, proof)| proof.is_some());
        }
        signers.push((key, proof));
        proof
    }

    /// What this list, which `issuer` must have signed, says of a certificate of this issuer.
    pub fn says(&self, certificate: &Certificate, issuer: &Certificate, now: Timestamp) -> Option<Said> {
        let entry = self.entries.get(certificate.serial_der());
        let is_named = entry == Some(&false);
        let is_current = self.this_update <= now && self.next_update.is_some_and(|next| now < next);
        let is_clear = !self.is_delta() && self.scope.covers(certificate) && is_current && entry.is_none();
        if (is_named || is_clear) && certificate.names_as_issuer(issuer) && self.is_signed_by(issuer) {
            Some(if is_named { Said::Revoked } else { Said::Clear })
        } else {
            None
        }
    }

    /// Whether a delta list still adds to the full list: a full list of its number or later has it all.
    pub fn adds_to(&self, full: &Self) -> bool {
        self.is_delta() && self.has_scope_of(full) && self.number > full.number
    }

    /// Whether this full list has all of what the earlier one, full or delta, says. The signature is another question.
    pub fn overtakes(&self, earlier: &Self) -> bool {
        if self.is_delta() || !self.has_scope_of(earlier) {
            return false;
        }
        match earlier.is_delta() {
            true => !earlier.adds_to(self),
            false => self.follows(earlier) && !earlier.follows(self),
        }
    }
}

struct Extensions {
    number: Option<Number>,
    base: Option<Number>,
    scope: Scope,
    point: Option<Vec<u8>>,
    authority_key: Option<Vec<u8>>,
}

impl Extensions {
    fn read(extensions: &[X509Extension<'_>]) -> Result<Self, Error> {
        let mut said =
            Self { number: None, base: None, scope: Scope::WHOLE, point: None, authority_key: None };
        for extension in extensions {
            let oid = extension.oid.to_id_string();
            let integer = || {
                let element = Reader::only(extension.value, INTEGER);
                let content = element.map(|element| element.content);
                content
                    .filter(|bytes| bytes.len() <= 21 && bytes.first().is_some_and(|first| first & 0x80 == 0))
                    .map(Number::from_be)
                    .ok_or(Error::Malformed("its number".into()))
            };
            match oid.as_str() {
                CRL_NUMBER => said.number = Some(integer()?),
                DELTA_INDICATOR => said.base = Some(integer()?),
                DISTRIBUTION_POINT => {
                    said.scope = scope(extension)?;
                    said.point = Some(extension.value.to_vec());
                }
                AUTHORITY_KEY => said.authority_key = Some(extension.value.to_vec()),
                _ if extension.critical => return Err(Error::CriticalExtension(oid)),
                _ => {}
            }
        }
        if said.base.is_some() && said.number.is_none() {
            return Err(Error::Malformed("a delta list without a number".into()));
        }
        Ok(said)
    }
}

fn scope(extension: &X509Extension<'_>) -> Result<Scope, Error> {
    let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
        return Err(Error::Malformed("its issuing distribution point".into()));
    };
    if point.indirect_crl {
        return Err(Error::Indirect);
    }
    if point.only_some_reasons.is_some() {
        return Err(Error::Partial("some reasons"));
    }
    if point.only_contains_attribute_certs {
        return Err(Error::Partial("attribute certificates"));
    }
    let kinds = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
        (true, true) => return Err(Error::Partial("users only and authorities only")),
        (true, false) => Kinds::Users,
        (false, true) => Kinds::Authorities,
        (false, false) => Kinds::All,
    };
    Ok(Scope { kinds, part: point.distribution_point.as_ref().map(certificate::urls_of_point) })
}

/// A critical extension of an entry may say that the entry is another issuer's.
fn known_entry(extensions: &[X509Extension<'_>]) -> Result<(), Error> {
    for extension in extensions {
        let oid = extension.oid.to_id_string();
        if extension.critical && oid != REASON && oid != INVALIDITY {
            return Err(Error::CriticalExtension(oid));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::pki) mod tests;
