//! Questions to a responder and the judgement of its answers (RFC 6960, RFC 8954), without IO.
//!
//! An answer counts if it is about the very certificate that was asked for, signed by the certificate's issuer or by
//! a responder that this issuer appointed (id-kp-OCSPSigning, issued by it directly, in force, exempt from the
//! question by id-pkix-ocsp-nocheck), fresh, and, if it bears a nonce, bears ours. It is read by hand on the
//! received bytes: a structure that is decoded and encoded again is not what was signed.
//!
//! Left out, and refused: responders configured by name or authorised by another CA, responders that would
//! themselves have to be asked about, signed requests, several certificates in one question.

use aws_lc_rs::{digest, rand};
use jiff::{SignedDuration, Timestamp};

use crate::pki::certificate::{Certificate, ExtendedKeyUsage, KeyUsage};
use crate::pki::der::{
    self, BIT_STRING, BOOLEAN, ENUMERATED, Element, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, Reader,
    SEQUENCE, constructed,
};
use crate::pki::path;

/// An answer with its responder's certificate is below 5 kB.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Certificates and single answers that are looked at.
const CERTIFICATES_MAX: usize = 8;
const ANSWERS_MAX: usize = 32;
/// How far the responder's clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// An answer that names no end is good for this long, and one that does for no longer than [`AGE_MAX`].
const AGE_WITHOUT_END: SignedDuration = SignedDuration::from_hours(1);
const AGE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
const BASIC_RESPONSE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the answer has {seen} bytes; {max} is the most")]
    TooLarge { seen: usize, max: usize },
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the responder did not answer: {0}")]
    NotSuccessful(&'static str),
    #[error("the answer is about another certificate")]
    OtherCertificate,
    #[error("the answer was signed by nobody whom the certificate's issuer appointed: {0}")]
    Responder(String),
    #[error("the signature on the answer is wrong")]
    Signature,
    #[error("the answer repeats another question's nonce")]
    NonceDiffers,
    #[error("the answer bears no nonce, and the configuration demands one")]
    NonceMissing,
    #[error("the answer is of {0}, which has not come yet")]
    Future(Timestamp),
    #[error("the answer was good until {0}")]
    Stale(Timestamp),
    #[error("the answer has a critical extension that is not known here")]
    CriticalExtension,
    #[error("no random numbers for a nonce")]
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked {
        at: Timestamp,
    },
    /// The responder does not know the certificate. That is no permission: it counts as "cannot tell".
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    pub this_update: Timestamp,
    /// The last instant at which the answer counts.
    pub until: Timestamp,
}

/// A question, DER, and the nonce that the answer should repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub der: Vec<u8>,
    pub nonce: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonce<'a> {
    /// Must be there and be this one.
    Required(&'a [u8]),
    /// If there is one, it must be this one. Responders that sign in advance send none.
    Optional(&'a [u8]),
    /// The answer was judged before, and is read again from our own disk.
    Ignored,
}

impl Request {
    /// Names the certificate by SHA-1, as every responder understands it; nothing rests on that digest's strength.
    pub fn about(certificate: &Certificate, issuer: &Certificate) -> Result<Self, Error> {
        let mut nonce = vec![0; 32];
        rand::fill(&mut nonce).map_err(|_| Error::Random)?;
        let algorithm = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        let hash = |bytes: &[u8]| der::write(OCTET_STRING, digest::digest(algorithm, bytes).as_ref());
        let sequence = |parts: &[&[u8]]| der::write(SEQUENCE, &parts.concat());
        let id = sequence(&[
            &sequence(&[&der::write(OID, SHA1), &[5, 0]]),
            &hash(issuer.subject_der()),
            &hash(issuer.key_bits()),
            &der::write(INTEGER, certificate.serial_der()),
        ]);
        let wrapped = der::write(OCTET_STRING, &der::write(OCTET_STRING, &nonce));
        let extensions = sequence(&[&sequence(&[&der::write(OID, NONCE), &wrapped])]);
        let questions = sequence(&[&sequence(&[&id])]);
        let der = sequence(&[&sequence(&[&questions, &der::write(constructed(2), &extensions)])]);
        Ok(Self { der, nonce })
    }
}

/// Judges what a responder sent about `certificate`, which `issuer` issued.
pub fn judge(
    response: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    nonce: Nonce<'_>,
    now: Timestamp,
) -> Result<Answer, Error> {
    if response.len() > RESPONSE_BYTES_MAX {
        return Err(Error::TooLarge { seen: response.len(), max: RESPONSE_BYTES_MAX });
    }
    let basic = Basic::read(successful(response)?).ok_or(Error::Malformed("its structure"))?;
    basic.signed_by_responder_of(issuer, now)?;
    let data = Data::read(basic.data.content).ok_or(Error::Malformed("its signed part"))?;
    compare_nonce(data.extensions, nonce)?;
    if data.produced_at > later(now, SKEW) {
        return Err(Error::Future(data.produced_at));
    }
    let mut answers = Reader(data.answers);
    for _ in 0..ANSWERS_MAX {
        if answers.is_empty() {
            break;
        }
        let single = answers.expect(SEQUENCE).and_then(|single| Single::read(single.content));
        let single = single.ok_or(Error::Malformed("one of its answers"))?;
        if is_about(single.id, certificate, issuer).ok_or(Error::Malformed("a certificate's id"))? {
            return single.judge(now);
        }
    }
    Err(Error::OtherCertificate)
}

fn later(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The BasicOCSPResponse within.
fn successful(response: &[u8]) -> Result<&[u8], Error> {
    let malformed = Error::Malformed("its outer structure");
    let outer = Reader::only(response, SEQUENCE).ok_or(malformed.clone())?;
    let mut outer = Reader(outer.content);
    let status = outer.expect(ENUMERATED).ok_or(malformed.clone())?;
    match status.content {
        [0] => {}
        [1] => return Err(Error::NotSuccessful("it calls the question malformed")),
        [2] => return Err(Error::NotSuccessful("it has an internal error")),
        [3] => return Err(Error::NotSuccessful("it asks to try later")),
        [5] => return Err(Error::NotSuccessful("it demands signed questions")),
        [6] => return Err(Error::NotSuccessful("it is not authorised to answer for this issuer")),
        _ => return Err(malformed),
    }
    let read = || {
        let bytes = outer.clone_expect(constructed(0))?;
        let bytes = Reader::only(bytes.content, SEQUENCE)?;
        let mut bytes = Reader(bytes.content);
        let kind = bytes.expect(OID)?;
        let content = bytes.expect(OCTET_STRING)?;
        (kind.content == BASIC_RESPONSE && bytes.is_empty()).then_some(content.content)
    };
    read().ok_or(malformed)
}

impl<'a> Reader<'a> {
    /// The last element of a sequence.
    fn clone_expect(self, tag: u8) -> Option<Element<'a>> {
        Reader::only(self.0, tag)
    }
}

struct Basic<'a> {
    data: Element<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: &'a [u8],
}

impl<'a> Basic<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut basic = Reader(Reader::only(bytes, SEQUENCE)?.content);
        let data = basic.expect(SEQUENCE)?;
        let algorithm = basic.expect(SEQUENCE)?.content;
        let (&0, signature) = basic.expect(BIT_STRING)?.content.split_first()? else { return None };
        let certificates = match basic.optional(constructed(0))? {
            Some(tagged) => Reader::only(tagged.content, SEQUENCE)?.content,
            None => &[],
        };
        basic.is_empty().then_some(Self { data, algorithm, signature, certificates })
    }

    fn signed_by_responder_of(&self, issuer: &Certificate, now: Timestamp) -> Result<(), Error> {
        let id = Data::read(self.data.content).ok_or(Error::Malformed("its signed part"))?.responder;
        if names(id, issuer) {
            return self.verified_by(issuer);
        }
        let mut why = "its responder's certificate did not come with it".to_owned();
        let mut certificates = Reader(self.certificates);
        for _ in 0..CERTIFICATES_MAX {
            let Some(element) = certificates.expect(SEQUENCE) else { break };
            let Ok(responder) = Certificate::from_der(element.whole) else { continue };
            if !names(id, &responder) {
                continue;
            }
            match unfit(&responder, issuer, now) {
                None => return self.verified_by(&responder),
                Some(reason) => why = reason,
            }
        }
        Err(Error::Responder(why))
    }

    fn verified_by(&self, signer: &Certificate) -> Result<(), Error> {
        if path::made_by(signer, self.algorithm, self.data.whole, self.signature) {
            Ok(())
        } else {
            Err(Error::Signature)
        }
    }
}

/// ResponderID: by name, or by the SHA-1 of the key.
fn names(id: Element<'_>, certificate: &Certificate) -> bool {
    if id.tag == constructed(1) {
        return id.content == certificate.subject_der();
    }
    let Some(hash) = Reader::only(id.content, OCTET_STRING) else { return false };
    let own = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.key_bits());
    hash.content == own.as_ref()
}

/// Why the certificate is no delegated responder of the issuer (RFC 6960, 4.2.2.2), in words.
fn unfit(responder: &Certificate, issuer: &Certificate, now: Timestamp) -> Option<String> {
    let appointed =
        responder.extended_key_usages().is_some_and(|usages| usages.contains(&ExtendedKeyUsage::OcspSigning));
    let may_sign = responder
        .key_usages()
        .is_none_or(|usages| usages.has(KeyUsage::DigitalSignature) || usages.has(KeyUsage::NonRepudiation));
    let name = responder.subject();
    if !appointed || !may_sign {
        Some(format!("{name} may not sign answers"))
    } else if !responder.names_as_issuer(issuer) || !path::signed_by(responder, issuer) {
        Some(format!("{name} was not issued by {}", issuer.subject()))
    } else if now < responder.not_before() || now > responder.not_after() {
        Some(format!("{name} is not valid at this instant"))
    } else if let Err(why) = path::strength(responder) {
        Some(format!("{name}: {why}"))
    } else if !responder.has_ocsp_nocheck() {
        Some(format!("{name} lacks ocsp-nocheck, and its own revocation cannot be known"))
    } else {
        None
    }
}

struct Data<'a> {
    responder: Element<'a>,
    produced_at: Timestamp,
    answers: &'a [u8],
    extensions: Option<Element<'a>>,
}

impl<'a> Data<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let mut data = Reader(content);
        // An explicit version can only be another than the one that is known.
        let responder = data.next().filter(|id| id.tag == constructed(1) || id.tag == constructed(2))?;
        let produced_at = der::time(data.expect(GENERALIZED_TIME)?.content)?;
        let answers = data.expect(SEQUENCE)?.content;
        let extensions = data.optional(constructed(1))?;
        data.is_empty().then_some(Self { responder, produced_at, answers, extensions })
    }
}

fn compare_nonce(extensions: Option<Element<'_>>, nonce: Nonce<'_>) -> Result<(), Error> {
    let seen = match extensions {
        Some(tagged) => known_extensions(tagged)?,
        None => None,
    };
    match (nonce, seen) {
        (Nonce::Ignored, _) | (Nonce::Optional(_), None) => Ok(()),
        (Nonce::Required(_), None) => Err(Error::NonceMissing),
        (Nonce::Required(ours) | Nonce::Optional(ours), Some(theirs)) if ours == theirs => Ok(()),
        _ => Err(Error::NonceDiffers),
    }
}

/// The nonce, if there is one. A critical extension other than it is refused.
fn known_extensions<'a>(tagged: Element<'a>) -> Result<Option<&'a [u8]>, Error> {
    let malformed = Error::Malformed("its extensions");
    let list = Reader::only(tagged.content, SEQUENCE).ok_or(malformed.clone())?;
    let (mut list, mut nonce) = (Reader(list.content), None);
    while !list.is_empty() {
        let read = |list: &mut Reader<'a>| {
            let mut one = Reader(list.expect(SEQUENCE)?.content);
            let oid = one.expect(OID)?;
            let critical = one.optional(BOOLEAN)?;
            let value = one.expect(OCTET_STRING)?;
            one.is_empty().then_some((
                oid.content,
                critical.is_some_and(|flag| flag.content != [0]),
                value.content,
            ))
        };
        let (oid, critical, value) = read(&mut list).ok_or(malformed.clone())?;
        if oid == NONCE {
            // RFC 6960 wraps the nonce once more; some responders do not.
            let inner = Reader::only(value, OCTET_STRING).map_or(value, |inner| inner.content);
            if nonce.replace(inner).is_some() {
                return Err(malformed);
            }
        } else if critical {
            return Err(Error::CriticalExtension);
        }
    }
    Ok(nonce)
}

struct Single<'a> {
    id: &'a [u8],
    status: Element<'a>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    extensions: Option<Element<'a>>,
}

impl<'a> Single<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let mut single = Reader(content);
        let id = single.expect(SEQUENCE)?.content;
        let status = single.next()?;
        let this_update = der::time(single.expect(GENERALIZED_TIME)?.content)?;
        let next_update = match single.optional(constructed(0))? {
            Some(tagged) => Some(der::time(Reader::only(tagged.content, GENERALIZED_TIME)?.content)?),
            None => None,
        };
        let extensions = single.optional(constructed(1))?;
        single.is_empty().then_some(Self { id, status, this_update, next_update, extensions })
    }

    fn judge(&self, now: Timestamp) -> Result<Answer, Error> {
        if let Some(extensions) = self.extensions {
            known_extensions(extensions)?;
        }
        if self.this_update > later(now, SKEW) {
            return Err(Error::Future(self.this_update));
        }
        let longest = later(self.this_update, AGE_MAX);
        let until =
            self.next_update.map_or(later(self.this_update, AGE_WITHOUT_END), |next| next.min(longest));
        let status = match (self.status.tag, self.status.content) {
            (0x80, []) => Status::Good,
            (0x82, []) => Status::Unknown,
            (0xa1, content) => {
                let at = Reader(content).expect(GENERALIZED_TIME).and_then(|at| der::time(at.content));
                Status::Revoked { at: at.ok_or(Error::Malformed("the instant of a revocation"))? }
            }
            _ => return Err(Error::Malformed("a status")),
        };
        // A revocation does not grow old.
        if until < now && !matches!(status, Status::Revoked { .. }) {
            return Err(Error::Stale(until));
        }
        Ok(Answer { status, this_update: self.this_update, until })
    }
}

/// Whether a CertID names the certificate. `None` if it is malformed.
fn is_about(id: &[u8], certificate: &Certificate, issuer: &Certificate) -> Option<bool> {
    let mut id = Reader(id);
    let mut algorithm = Reader(id.expect(SEQUENCE)?.content);
    let hash = match algorithm.expect(OID)?.content {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        _ => return Some(false),
    };
    let name = id.expect(OCTET_STRING)?.content;
    let key = id.expect(OCTET_STRING)?.content;
    let serial = id.expect(INTEGER)?.content;
    let own = |bytes: &[u8]| digest::digest(hash, bytes);
    Some(
        id.is_empty()
            && name == own(issuer.subject_der()).as_ref()
            && key == own(issuer.key_bits()).as_ref()
            && serial == certificate.serial_der(),
    )
}

#[cfg(test)]
pub(in crate::pki) mod tests;
