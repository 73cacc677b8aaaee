//! From a leaf to an anchor: which of the certificates at hand may be issuers, and what webpki says of the path.
//!
//! Ours: bounds on bag and work, issuers' key usage and key strength, the anchors' own validity (RFC 5280, 6.1 leaves
//! it to the user), `anyExtendedKeyUsage`, constraints on directory names. webpki's: signatures, validity, basic
//! constraints, path length, constraints on other names (those on URIs fail closed), extended key usage along the path,
//! revocation lists.
//!
//! webpki searches depth first and verifies signatures only once an anchor's name is reached, so a bag of issuers that
//! all bear the same name costs it a search without an end. Hence [`issuers`]: it follows signatures upward from the
//! leaf, at a bounded number of verifications, and only what it reached is shown to webpki.
//!
//! webpki refuses every path below a constraint on directory names, because it cannot compare them. So it is shown such
//! certificates with these names set aside ([`Shown`]), and what they say is judged here ([`directory_names`]).

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime,
};
use webpki::aws_lc_rs as algorithms;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::certificate::{Certificate, ExtendedKeyUsage, KeyKind, KeyUsage};
use super::directory_names;
use super::signature::certificates;

/// RSA keys below this are never accepted.
pub(super) const RSA_BITS_MIN: usize = 2048;
/// RSA keys below this are accepted with a warning.
pub(super) const RSA_BITS_GOOD: usize = 3072;
/// RSA keys above this cost more than they give.
pub(super) const RSA_BITS_MAX: usize = 8192;
/// Signatures verified while looking for issuers of one leaf. A real path needs one to three.
const SIGNATURES_MAX: usize = 32;
/// Certificates of one CA key that are followed, as cross-signing makes them. webpki tries every combination.
const CROSS_SIGNS_MAX: usize = 3;

/// Signatures on certificates and lists: no SHA-1, no MD5, no RSA below 2048 bits.
pub(super) static SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    certificates::FURTHER[0],
    certificates::FURTHER[1],
    certificates::FURTHER[2],
    certificates::FURTHER[3],
    certificates::FURTHER[4],
    certificates::FURTHER[5],
    certificates::FURTHER[6],
    certificates::FURTHER[7],
    certificates::FURTHER[8],
    certificates::FURTHER[9],
    certificates::FURTHER[10],
    certificates::FURTHER[11],
    certificates::FURTHER[12],
    certificates::FURTHER[13],
    certificates::FURTHER[14],
];

/// `Err` says in words why a key is too weak or unknown.
pub(super) fn strength(certificate: &Certificate) -> Result<(), String> {
    match certificate.key_kind() {
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } if *bits < RSA_BITS_MIN => {
            Err(format!("the RSA key has {bits} bits; {RSA_BITS_MIN} is the least"))
        }
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } if *bits > RSA_BITS_MAX => {
            Err(format!("the RSA key has {bits} bits; {RSA_BITS_MAX} is the most"))
        }
        KeyKind::Other(oid) => Err(format!("a key of kind {oid} is not accepted")),
        _ => Ok(()),
    }
}

/// Why a certificate cannot be an issuer, in words.
pub(super) fn unfit_as_issuer(certificate: &Certificate) -> Option<Unfit> {
    if !certificate.is_ca() {
        return Some(Unfit::Right(format!("{} is not a CA", certificate.subject())));
    }
    if certificate.key_usages().is_some_and(|usages| !usages.has(KeyUsage::KeyCertSign)) {
        return Some(Unfit::Right(format!("{} may not sign certificates", certificate.subject())));
    }
    strength(certificate).err().map(|why| Unfit::Weak(format!("{}: {why}", certificate.subject())))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    Right(String),
    Weak(String),
}

/// The result of following signatures upward.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    pub reached: Vec<Certificate>,
    /// Somebody bears the issuer's name, but did not make the signature.
    pub signature_failed: bool,
    /// Somebody bears the issuer's name, but has not the right or the strength.
    pub unfit: Option<Unfit>,
    /// The bound on verifications was met; what was reached so far is all there is.
    pub exhausted: bool,
}

/// Issuers among `known` that signed the leaf or one that did, and so on. `anchors` end a path and are not followed.
pub(super) fn issuers(leaf: &Certificate, known: &[&Certificate], anchors: &[Certificate]) -> Issuers {
    let mut found = Issuers::default();
    let mut next = 0;
    let mut child = leaf.clone();
    let mut signatures_left = SIGNATURES_MAX;
    loop {
        for issuer in known.iter().filter(|issuer| child.names_as_issuer(issuer)) {
            let same_key = |other: &&Certificate| {
                other.spki() == issuer.spki() && other.subject_der() == issuer.subject_der()
            };
            let is_anchor = anchors.iter().any(|anchor| same_key(&anchor));
            let cross_signs = found.reached.iter().filter(same_key).count();
            if is_anchor
                || same_key(&leaf)
                || cross_signs == CROSS_SIGNS_MAX
                || found.reached.contains(issuer)
            {
                continue;
            }
            if let Some(unfit) = unfit_as_issuer(issuer) {
                found.unfit.get_or_insert(unfit);
                continue;
            }
            let Some(left) = signatures_left.checked_sub(1) else {
                found.exhausted = true;
                return found;
            };
            signatures_left = left;
            if signed_by(&child, issuer) {
                found.reached.push((*issuer).clone());
            } else {
                found.signature_failed = true;
            }
        }
        match found.reached.get(next) {
            Some(reached) => child = reached.clone(),
            None => return found,
        }
        next += 1;
    }
}

/// Whether the issuer's key made the signature on the child. Says nothing about rights or validity.
pub(super) fn signed_by(child: &Certificate, issuer: &Certificate) -> bool {
    made_by(issuer, child.signature_algorithm(), child.signed_part(), child.signature())
}

/// Whether the certificate's key made the signature. `algorithm` is an AlgorithmIdentifier without its outer tag.
pub(super) fn made_by(signer: &Certificate, algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(signer) = EndEntityCert::try_from(signer.der()) else { return false };
    SIGNATURE_ALGORITHMS
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == algorithm)
        .any(|known| signer.verify_signature(*known, message, signature).is_ok())
}

pub(super) fn is_accepted_signature(certificate: &Certificate) -> bool {
    SIGNATURE_ALGORITHMS
        .iter()
        .any(|algorithm| algorithm.signature_alg_id().as_ref() == certificate.signature_algorithm())
}

/// Which extended purposes a path must permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequiredUsage {
    ClientAuth,
    ServerAuth,
    /// The purpose knows no extended usage, or the leaf has been refused for its own already.
    None,
}

const ANY_USAGE: &[usize] = &[2, 5, 29, 37, 0];

impl RequiredUsage {
    fn oid(self) -> Option<&'static [usize]> {
        match self {
            Self::ClientAuth => Some(webpki::KeyUsage::CLIENT_AUTH_REPR),
            Self::ServerAuth => Some(webpki::KeyUsage::SERVER_AUTH_REPR),
            Self::None => None,
        }
    }

    /// The leaf's own extension; an absent one permits everything.
    pub(super) fn permitted_by(self, leaf: &Certificate) -> bool {
        let wanted = match self {
            Self::ClientAuth => ExtendedKeyUsage::ClientAuth,
            Self::ServerAuth => ExtendedKeyUsage::ServerAuth,
            Self::None => return true,
        };
        leaf.extended_key_usages()
            .is_none_or(|usages| usages.contains(&wanted) || usages.contains(&ExtendedKeyUsage::Any))
    }
}

impl ExtendedKeyUsageValidator for RequiredUsage {
    fn validate(&self, present: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let Some(wanted) = self.oid() else { return Ok(()) };
        let mut seen = Vec::new();
        for id in present {
            let oid = id?.to_decoded_oid();
            if oid == wanted || oid == ANY_USAGE {
                return Ok(());
            }
            seen.push(oid);
        }
        if seen.is_empty() {
            return Ok(());
        }
        let required = match self {
            Self::ServerAuth => webpki::KeyUsage::server_auth(),
            _ => webpki::KeyUsage::client_auth(),
        };
        let context = webpki::RequiredEkuNotFoundContext { required, present: seen };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// How revocation takes part in a search for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revocation {
    /// Every certificate of the path must be on a current list's clear side.
    Proven,
    /// Any list that names a certificate of the path counts, however old; silence is no obstacle.
    NotNamed,
}

pub(super) struct Search<'a> {
    pub leaf: &'a Certificate,
    /// As [`issuers`] reached them.
    pub issuers: &'a [Certificate],
    /// Same order as `anchor_certificates`.
    pub anchors: &'a [TrustAnchor<'static>],
    pub anchor_certificates: &'a [Certificate],
    pub instant: Timestamp,
    pub usage: RequiredUsage,
}

/// A path that was found: subjects and keys from the leaf's issuer up to the anchor.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub issuers: Vec<Certificate>,
}

impl Search<'_> {
    /// Without revocation if `lists` is empty.
    pub(super) fn run(
        &self,
        lists: &[&CertRevocationList<'_>],
        revocation: Revocation,
    ) -> Result<Path, webpki::Error> {
        let leaf = EndEntityCert::try_from(self.leaf.der())?;
        let at = unix_time(self.instant);
        let shown = Shown::new(self);
        let found = RefCell::new(None);
        let judge_path = |path: &VerifiedPath<'_>| {
            let index = shown.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
            let anchor = index.and_then(|index| self.anchor_certificates.get(index));
            let Some(anchor) = anchor else { return Err(webpki::Error::UnknownIssuer) };
            if at > unix_time(anchor.not_after()) {
                let not_after = unix_time(anchor.not_after());
                return Err(webpki::Error::CertExpired { time: at, not_after });
            }
            if at < unix_time(anchor.not_before()) {
                let not_before = unix_time(anchor.not_before());
                return Err(webpki::Error::CertNotValidYet { time: at, not_before });
            }
            let mut issuers = Vec::new();
            for intermediate in path.intermediate_certificates() {
                let der = intermediate.der();
                let original = shown.issuers.iter().position(|shown| *shown == der);
                let original = original.and_then(|index| self.issuers.get(index));
                issuers.push(original.ok_or(webpki::Error::UnknownIssuer)?);
            }
            issuers.push(anchor);
            let whole: Vec<&Certificate> =
                std::iter::once(self.leaf).chain(issuers.iter().copied()).collect();
            if directory_names::breach(&whole).is_some() {
                return Err(webpki::Error::NameConstraintViolation);
            }
            found.replace(Some(issuers.into_iter().cloned().collect()));
            Ok(())
        };
        leaf.verify_for_usage(
            &shown.algorithms(),
            &shown.anchors,
            &shown.issuers,
            at,
            self.usage,
            revocation_options(lists, revocation),
            Some(&judge_path),
        )?;
        // webpki ends with the first path that is found good here.
        let issuers = found.into_inner().ok_or(webpki::Error::UnknownIssuer)?;
        Ok(Path { issuers })
    }
}

/// What webpki sees of issuers and anchors. Signatures are over the original bytes.
struct Shown<'a> {
    issuers: Vec<CertificateDer<'a>>,
    anchors: Cow<'a, [TrustAnchor<'static>]>,
    /// Signed parts as they are shown, and as they were signed.
    originals: Arc<Vec<(Vec<u8>, Vec<u8>)>>,
    restoring: Vec<Restoring>,
}

impl<'a> Shown<'a> {
    fn new(search: &Search<'a>) -> Self {
        let mut originals = Vec::new();
        let issuers = search.issuers.iter().map(|issuer| {
            let Some(constraints) = issuer.directory_constraints() else { return issuer.der().clone() };
            let der = constraints.set_aside(issuer.der());
            let signed = issuer.signed_range();
            originals.push((der.get(signed).unwrap_or_default().to_vec(), issuer.signed_part().to_vec()));
            CertificateDer::from(der)
        });
        let issuers = issuers.collect();
        let mut anchors = Cow::Borrowed(search.anchors);
        for (at, anchor) in search.anchor_certificates.iter().enumerate() {
            if anchor.directory_constraints().is_some()
                && let Some(anchor) = anchors.to_mut().get_mut(at)
                && let Some(content) = &anchor.name_constraints
                && let Some(content) = directory_names::set_aside_in(content)
            {
                anchor.name_constraints = Some(content.into());
            }
        }
        let originals = Arc::new(originals);
        let restoring = match originals.is_empty() {
            true => Vec::new(),
            false => {
                let wrap = |inner: &&'static dyn SignatureVerificationAlgorithm| Restoring {
                    inner: *inner,
                    originals: originals.clone(),
                };
                SIGNATURE_ALGORITHMS.iter().map(wrap).collect()
            }
        };
        Self { issuers, anchors, originals, restoring }
    }

    fn algorithms(&self) -> Vec<&dyn SignatureVerificationAlgorithm> {
        if self.originals.is_empty() {
            return SIGNATURE_ALGORITHMS.iter().map(|algorithm| *algorithm as _).collect();
        }
        self.restoring.iter().map(|algorithm| algorithm as _).collect()
    }
}

/// Verifies over the bytes that were signed where those shown are others.
#[derive(Debug)]
struct Restoring {
    inner: &'static dyn SignatureVerificationAlgorithm,
    originals: Arc<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl SignatureVerificationAlgorithm for Restoring {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let original = self.originals.iter().find(|(shown, _)| shown == message);
        let message = original.map_or(message, |(_, original)| original);
        self.inner.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

fn revocation_options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    revocation: Revocation,
) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?.with_depth(RevocationCheckDepth::Chain);
    let builder = match revocation {
        Revocation::Proven => builder
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce),
        Revocation::NotNamed => builder
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Ignore),
    };
    Some(builder.build())
}

/// Whole seconds, as certificates count them; before 1970 there is nothing to judge.
pub(super) fn unix_time(instant: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(instant.as_second()).unwrap_or(0)))
}
