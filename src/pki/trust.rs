//! Trust anchors per purpose, and the judgement of a certificate at an instant.
//!
//! `TrustAnchors` is built once from files and never changes; a reload builds another one. An [`Inspection`] always
//! comes back, never an error: what is wrong with a certificate is the result. Revocation is checked by full and delta
//! lists (CRL) that lie on disk and by responders' answers that are at hand; nobody is asked meanwhile. A revoked
//! certificate is refused whatever the age of what names it; without a current list or answer for every certificate of
//! the path the verdict is `indeterminate`, and `unknown_revocation` says what that means. A responder that does not
//! know a certificate makes it `indeterminate` even if a list is clear: the list cannot name what was never issued.
//!
//! Left out: indirect lists (refused), certificate policies.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, TrustAnchor};
use serde::{Deserialize, Serialize};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::certificate::{self, CERTIFICATES_MAX, Certificate, ExtendedKeyUsage, KeyKind, KeyUsage};
use super::inspection::{Check, CheckKind, Inspection, Outcome, Purpose, Reason, UnknownRevocation, Verdict};
use super::key;
use super::path::{self, Issuers, Path, RequiredUsage, Revocation, Search, Unfit};
use super::revocation::answers::Answers;
use super::revocation::list::{self, List, Said, Sealed, SignatureVerified};
use super::revocation::ocsp::Status;

/// Intermediate certificates that the operator may configure for one purpose.
const INTERMEDIATES_MAX: usize = 256;
/// How long a judgement may be repeated without verifying again.
const CACHE_AGE_MAX: SignedDuration = SignedDuration::from_secs(60);
const CACHE_ENTRIES_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: Box<Error> },
    #[error(transparent)]
    Read(#[from] key::Error),
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    #[error("{subject} cannot be a trust anchor: {why}")]
    Anchor { subject: String, why: String },
    #[error("{subject} cannot be an intermediate CA: {why}")]
    Intermediate { subject: String, why: String },
    #[error("more than {max} intermediate certificates for one purpose")]
    TooManyIntermediates { max: usize },
    #[error("not a revocation list that can be used: {0}")]
    RevocationList(String),
}

/// Where anchors, helpful intermediates and revocation lists lie, and what silence about revocation means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PurposeSettings {
    /// PEM or DER files of CA certificates to believe.
    pub anchors: Vec<PathBuf>,
    /// PEM or DER files of CA certificates that peers forget to send. They are not believed by themselves.
    pub intermediates: Vec<PathBuf>,
    /// PEM or DER files of full and delta revocation lists.
    pub revocation_lists: Vec<PathBuf>,
    /// The same, fetched in the background: one that is absent or damaged is done without, and fetched again.
    pub fetched_lists: Vec<PathBuf>,
    pub unknown_revocation: UnknownRevocation,
}

/// By purpose; a purpose that is not named believes nobody.
pub type Settings = BTreeMap<Purpose, PurposeSettings>;

#[derive(Debug, Default)]
struct Anchors {
    certificates: Vec<Certificate>,
    /// Same order as `certificates`.
    trust: Vec<TrustAnchor<'static>>,
    intermediates: Vec<Certificate>,
    lists: Vec<RevocationList>,
    unknown_revocation: UnknownRevocation,
}

/// A list that judgements can use.
#[derive(Debug)]
pub(super) struct RevocationList {
    own: List,
    /// A full list as webpki has it, which knows no delta lists.
    full: Option<CertRevocationList<'static>>,
}

/// A revocation list as it shows in `cert check`, so that a stale one is seen before it hurts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListState {
    pub purpose: Purpose,
    pub issuer: String,
    pub delta: bool,
    pub this_update: Timestamp,
    pub next_update: Option<Timestamp>,
}

/// Whom we believe, for what.
#[derive(Debug, Default)]
pub struct TrustAnchors {
    purposes: BTreeMap<Purpose, Anchors>,
    answers: Option<Arc<Answers>>,
    cache: Cache,
}

/// Collects what [`TrustAnchors`] are made of.
#[derive(Debug, Default)]
pub struct Builder(BTreeMap<Purpose, Anchors>);

impl Builder {
    /// CA certificates (PEM or DER) to believe for the purpose.
    pub fn anchors(mut self, purpose: Purpose, bytes: &[u8]) -> Result<Self, Error> {
        let anchors = self.0.entry(purpose).or_default();
        for certificate in read_certificates(bytes)? {
            let refuse = |why| Error::Anchor { subject: certificate.subject().to_owned(), why };
            if let Some(Unfit::Right(why) | Unfit::Weak(why)) = path::unfit_as_issuer(&certificate) {
                return Err(refuse(why));
            }
            let trust = webpki::anchor_from_trusted_cert(certificate.der())
                .map_err(|error| refuse(error.to_string()))?
                .to_owned();
            if !anchors.certificates.contains(&certificate) {
                anchors.trust.push(trust);
                anchors.certificates.push(certificate);
            }
        }
        Ok(self)
    }

    /// CA certificates (PEM or DER) that complete paths and are not believed by themselves.
    pub fn intermediates(mut self, purpose: Purpose, bytes: &[u8]) -> Result<Self, Error> {
        let anchors = self.0.entry(purpose).or_default();
        for certificate in read_certificates(bytes)? {
            if let Some(Unfit::Right(why) | Unfit::Weak(why)) = path::unfit_as_issuer(&certificate) {
                return Err(Error::Intermediate { subject: certificate.subject().to_owned(), why });
            }
            if !anchors.intermediates.contains(&certificate) {
                anchors.intermediates.push(certificate);
            }
        }
        if anchors.intermediates.len() > INTERMEDIATES_MAX {
            return Err(Error::TooManyIntermediates { max: INTERMEDIATES_MAX });
        }
        Ok(self)
    }

    /// Full and delta revocation lists (PEM or DER). Their signatures are verified here where the authority is known
    /// already, otherwise when its certificate shows up.
    pub fn revocation_lists(mut self, purpose: Purpose, bytes: &[u8]) -> Result<Self, Error> {
        let authorities = self.authorities();
        let anchors = self.0.entry(purpose).or_default();
        let unusable = |why: &dyn std::fmt::Display| Error::RevocationList(why.to_string());
        let read = |der: &[u8]| {
            let sealed = Sealed::read(der).map_err(|error| unusable(&error))?;
            let proof = authorities.iter().find_map(|authority| sealed.verify(authority));
            RevocationList::open(&sealed, proof)
        };
        if bytes.first() == Some(&0x30) {
            anchors.add_list(read(bytes)?);
        } else {
            let before = anchors.lists.len();
            for der in CertificateRevocationListDer::pem_slice_iter(bytes) {
                anchors.add_list(read(&der.map_err(|error| unusable(&error))?)?);
            }
            if anchors.lists.len() == before {
                return Err(unusable(&"the text holds no `X509 CRL`"));
            }
        }
        Ok(self)
    }

    /// One that was fetched: nothing where no authority of any purpose signed it, and then it is not unpacked.
    fn fetched_list(&mut self, purpose: Purpose, der: &[u8]) -> Result<Option<()>, Error> {
        let authorities = self.authorities();
        let sealed = Sealed::read(der).map_err(|error| Error::RevocationList(error.to_string()))?;
        let Some(proof) = authorities.iter().find_map(|authority| sealed.verify(authority)) else {
            return Ok(None);
        };
        let list = RevocationList::open(&sealed, Some(proof))?;
        self.0.entry(purpose).or_default().add_list(list);
        Ok(Some(()))
    }

    fn authorities(&self) -> Vec<Certificate> {
        let all = self.0.values();
        all.flat_map(|anchors| anchors.certificates.iter().chain(&anchors.intermediates)).cloned().collect()
    }

    pub fn unknown_revocation(mut self, purpose: Purpose, policy: UnknownRevocation) -> Self {
        self.0.entry(purpose).or_default().unknown_revocation = policy;
        self
    }

    pub fn build(self) -> TrustAnchors {
        TrustAnchors { purposes: self.0, ..TrustAnchors::default() }
    }
}

impl RevocationList {
    fn open(sealed: &Sealed<'_>, proof: Option<SignatureVerified>) -> Result<Self, Error> {
        Self::of(List::open(sealed, proof).map_err(|error| Error::RevocationList(error.to_string()))?)
    }

    /// If webpki can read it as well.
    pub(super) fn of(own: List) -> Result<Self, Error> {
        let unusable = |error: webpki::Error| Error::RevocationList(error.to_string());
        let full = match own.is_delta() {
            true => None,
            false => Some(OwnedCertRevocationList::from_der(own.der()).map_err(unusable)?.into()),
        };
        Ok(Self { own, full })
    }

    pub(super) fn own(&self) -> &List {
        &self.own
    }
}

fn read_certificates(bytes: &[u8]) -> Result<Vec<Certificate>, certificate::Error> {
    match bytes.first() {
        Some(0x30) => Ok(vec![Certificate::from_der(bytes)?]),
        _ => Certificate::bundle_from_pem(bytes),
    }
}

impl TrustAnchors {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads every file the settings name; an error says which file.
    pub fn load(settings: &Settings) -> Result<Self, Error> {
        type Add = fn(Builder, Purpose, &[u8]) -> Result<Builder, Error>;
        let mut builder = Self::builder();
        let add_files = |mut builder: Builder, purpose, paths: &[PathBuf], add: Add, bytes_max| {
            for path in paths {
                let bytes = key::read_at_most(path, bytes_max)?;
                builder = add(builder, purpose, &bytes)
                    .map_err(|source| Error::File { path: path.clone(), source: Box::new(source) })?;
            }
            Ok::<_, Error>(builder)
        };
        for (purpose, files) in settings {
            let bytes_max = certificate::PEM_BYTES_MAX;
            builder = add_files(builder, *purpose, &files.anchors, Builder::anchors, bytes_max)?;
            builder = add_files(builder, *purpose, &files.intermediates, Builder::intermediates, bytes_max)?;
        }
        // Every authority is known before the first list is looked at.
        for (purpose, files) in settings {
            let (lists, bytes_max) = (&files.revocation_lists, list::LIST_BYTES_MAX * 2);
            builder = add_files(builder, *purpose, lists, Builder::revocation_lists, bytes_max)?;
            for path in &files.fetched_lists {
                let Ok(bytes) = key::read_at_most(path, list::LIST_BYTES_MAX) else { continue };
                match builder.fetched_list(*purpose, &bytes) {
                    Ok(Some(())) => {}
                    Ok(None) => tracing::warn!(
                        code = "revocation-list-foreign",
                        path = %path.display(),
                        next_step = "see whether revocation.lists names the right URL; the file is fetched anew",
                        "a fetched revocation list is signed by no authority that is trusted here; it is not used"
                    ),
                    Err(error) => {
                        tracing::warn!(code = "revocation-list-damaged", path = %path.display(), %error);
                    }
                }
            }
            builder = builder.unknown_revocation(*purpose, files.unknown_revocation);
        }
        Ok(builder.build())
    }

    /// Takes responders' answers into account, and notes there which should be asked for.
    pub fn with_answers(self, answers: Arc<Answers>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    pub fn anchors(&self, purpose: Purpose) -> &[Certificate] {
        self.purposes.get(&purpose).map_or(&[], |anchors| &anchors.certificates)
    }

    /// Anchors and intermediates of every purpose, for the warnings ahead of expiry.
    pub fn authorities(&self) -> impl Iterator<Item = (Purpose, &Certificate)> {
        self.purposes.iter().flat_map(|(purpose, anchors)| {
            anchors.certificates.iter().chain(&anchors.intermediates).map(|one| (*purpose, one))
        })
    }

    pub fn revocation_lists(&self) -> impl Iterator<Item = ListState> {
        self.purposes.iter().flat_map(|(purpose, anchors)| {
            anchors.lists.iter().map(|list| ListState {
                purpose: *purpose,
                issuer: list.own.issuer().to_owned(),
                delta: list.own.is_delta(),
                this_update: list.own.this_update(),
                next_update: list.own.next_update(),
            })
        })
    }

    /// As [`TrustAnchors::inspect`], for a chain as it was presented, leaf first; nothing for an empty one.
    pub fn inspect_chain(
        &self,
        purpose: Purpose,
        chain: &[Certificate],
        now: Timestamp,
    ) -> Option<Inspection> {
        chain.split_first().map(|(leaf, bag)| self.inspect(purpose, leaf, bag, now))
    }

    /// Judges `leaf` for `purpose` at `now`. `bag` is whatever else came with it, in any order.
    pub fn inspect(
        &self,
        purpose: Purpose,
        leaf: &Certificate,
        bag: &[Certificate],
        now: Timestamp,
    ) -> Inspection {
        let generation = self.answers.as_ref().map_or(0, |answers| answers.generation());
        let key = Cache::key(purpose, leaf, bag, generation);
        if let Some(known) = self.cache.find(&key, now) {
            return known;
        }
        let nobody = Anchors::default();
        let anchors = self.purposes.get(&purpose).unwrap_or(&nobody);
        let answers = self.answers.as_deref();
        let inspection = Judgement::new(anchors, answers, purpose, leaf, bag, now).finish();
        let answers_end = answers.and_then(|answers| answers.state(now).1).map_or(Timestamp::MAX, after);
        self.cache.keep(key, &inspection, anchors.next_change(leaf, bag, now).min(answers_end));
        inspection
    }
}

impl Anchors {
    fn add_list(&mut self, list: RevocationList) {
        self.lists.push(list);
        // webpki consults the first list that fits, so the newest of one issuer must come first.
        self.lists.sort_by_key(|list| std::cmp::Reverse(list.own.this_update()));
    }

    /// The next instant at which the same question may have another answer.
    fn next_change(&self, leaf: &Certificate, bag: &[Certificate], now: Timestamp) -> Timestamp {
        let latest = now.checked_add(CACHE_AGE_MAX).unwrap_or(Timestamp::MAX);
        let certificates =
            std::iter::once(leaf).chain(bag).chain(&self.certificates).chain(&self.intermediates);
        let ends = certificates.flat_map(|one| [one.not_before(), after(one.not_after())]);
        let lists = self.lists.iter().filter_map(|list| list.own.next_update());
        ends.chain(lists).filter(|change| *change > now).min().map_or(latest, |change| change.min(latest))
    }
}

/// A certificate is valid throughout the second it names last.
fn after(not_after: Timestamp) -> Timestamp {
    not_after.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
}

/// One inspection under way.
struct Judgement<'a> {
    anchors: &'a Anchors,
    answers: Option<&'a Answers>,
    purpose: Purpose,
    leaf: &'a Certificate,
    bag: &'a [Certificate],
    now: Timestamp,
    checks: Vec<Check>,
    bad: Vec<(Reason, String)>,
    warnings: Vec<String>,
}

impl<'a> Judgement<'a> {
    fn new(
        anchors: &'a Anchors,
        answers: Option<&'a Answers>,
        purpose: Purpose,
        leaf: &'a Certificate,
        bag: &'a [Certificate],
        now: Timestamp,
    ) -> Self {
        // Half a second past the last second is still in it.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { anchors, answers, purpose, leaf, bag, now, checks: vec![], bad: vec![], warnings: vec![] }
    }

    fn good(&mut self, kind: CheckKind) {
        self.checks.push(Check { kind, outcome: Outcome::Good });
    }

    fn bad(&mut self, kind: CheckKind, reason: Reason, why: impl Into<String>) {
        let why = why.into();
        self.checks.push(Check { kind, outcome: Outcome::Bad(why.clone()) });
        self.bad.push((reason, why));
    }

    fn not_checked(&mut self, kind: CheckKind, why: impl Into<String>) {
        self.checks.push(Check { kind, outcome: Outcome::NotChecked(why.into()) });
    }

    fn finish(mut self) -> Inspection {
        if self.form() {
            self.validity();
            self.key_strength();
            self.key_usage();
            self.extended_key_usage();
            self.basic_constraints();
            self.path_and_revocation();
        }
        self.bad.sort_by_key(|(reason, _)| *reason);
        let verdict = match self.bad.first() {
            None => Verdict::Valid,
            Some((Reason::RevocationUnknown, _)) => Verdict::Indeterminate,
            Some(_) => Verdict::Invalid,
        };
        let (mut reasons, sentences): (Vec<_>, Vec<_>) = self.bad.into_iter().unzip();
        reasons.dedup();
        Inspection {
            purpose: self.purpose,
            subject: self.leaf.subject().to_owned(),
            issuer: self.leaf.issuer().to_owned(),
            serial: self.leaf.serial().to_owned(),
            fingerprint: self.leaf.fingerprint(),
            key: self.leaf.key_fingerprint(),
            not_before: self.leaf.not_before(),
            not_after: self.leaf.not_after(),
            instant: self.now,
            checks: self.checks,
            verdict,
            reasons,
            sentences,
            warnings: self.warnings,
            claims_qualification: self.leaf.is_qualified(),
            unknown_revocation: self.anchors.unknown_revocation,
        }
    }

    /// Bounds, and the agreement of the two readers that take part in a judgement.
    fn form(&mut self) -> bool {
        if self.bag.len() > CERTIFICATES_MAX {
            let why = format!("{} certificates came with it; {CERTIFICATES_MAX} is the most", self.bag.len());
            self.bad(CheckKind::Form, Reason::TooManyCertificates, why);
            return false;
        }
        match EndEntityCert::try_from(self.leaf.der()) {
            Ok(other) if other.subject_public_key_info().as_ref() == self.leaf.spki() => {
                self.good(CheckKind::Form);
                true
            }
            Ok(_) => {
                self.bad(CheckKind::Form, Reason::Malformed, "its public key can be read in two ways");
                false
            }
            Err(webpki::Error::UnsupportedCriticalExtension) => {
                let why = "it has a critical extension that is not known here";
                self.bad(CheckKind::Form, Reason::Malformed, why);
                false
            }
            Err(error) => {
                self.bad(CheckKind::Form, Reason::Malformed, format!("it is not well formed ({error})"));
                false
            }
        }
    }

    fn validity(&mut self) {
        let (from, until) = (self.leaf.not_before(), self.leaf.not_after());
        if from > until {
            self.bad(CheckKind::Validity, Reason::Malformed, "its validity ends before it begins");
        } else if self.now < from {
            self.bad(CheckKind::Validity, Reason::NotYetValid, format!("it is valid only from {from}"));
        } else if self.now > until {
            self.bad(CheckKind::Validity, Reason::Expired, format!("it expired at {until}"));
        } else {
            self.good(CheckKind::Validity);
        }
    }

    fn key_strength(&mut self) {
        if let Err(why) = path::strength(self.leaf) {
            return self.bad(CheckKind::KeyStrength, Reason::WeakKey, why);
        }
        self.good(CheckKind::KeyStrength);
        let leaf = self.leaf;
        self.warn_if_short("the certificate", leaf);
    }

    fn warn_if_short(&mut self, whose: &str, certificate: &Certificate) {
        if let KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } = certificate.key_kind()
            && *bits < path::RSA_BITS_GOOD
        {
            self.warnings.push(format!(
                "the RSA key of {whose} has {bits} bits; {} should be the least",
                path::RSA_BITS_GOOD
            ));
        }
    }

    /// One of these bits must be set, if the extension is there.
    fn key_usage(&mut self) {
        let wanted: &[KeyUsage] = match self.purpose {
            Purpose::ParticipantTls | Purpose::ServerTls => &[KeyUsage::DigitalSignature],
            Purpose::OsciSignature | Purpose::TimeStamps => {
                &[KeyUsage::DigitalSignature, KeyUsage::NonRepudiation]
            }
            Purpose::OsciEncryption => {
                &[KeyUsage::KeyEncipherment, KeyUsage::KeyAgreement, KeyUsage::DataEncipherment]
            }
            Purpose::Intermediary => &[
                KeyUsage::DigitalSignature,
                KeyUsage::NonRepudiation,
                KeyUsage::KeyEncipherment,
                KeyUsage::KeyAgreement,
            ],
        };
        match self.leaf.key_usages() {
            Some(present) if !wanted.iter().any(|usage| present.has(*usage)) => {
                let names: Vec<&str> = wanted.iter().map(|usage| usage.name()).collect();
                let why = format!(
                    "its key usage is [{}]; {} needs one of [{}]",
                    present.names().join(", "),
                    self.purpose.name(),
                    names.join(", ")
                );
                self.bad(CheckKind::KeyUsage, Reason::WrongPurpose, why);
            }
            _ => self.good(CheckKind::KeyUsage),
        }
    }

    fn required_usage(&self) -> RequiredUsage {
        match self.purpose {
            Purpose::ParticipantTls => RequiredUsage::ClientAuth,
            Purpose::ServerTls => RequiredUsage::ServerAuth,
            _ => RequiredUsage::None,
        }
    }

    fn extended_key_usage(&mut self) {
        let Some(present) = self.leaf.extended_key_usages() else {
            if self.purpose == Purpose::TimeStamps {
                let why = "it has no extended key usage, and a time stamp authority needs timeStamping";
                return self.bad(CheckKind::ExtendedKeyUsage, Reason::WrongPurpose, why);
            }
            return self.good(CheckKind::ExtendedKeyUsage);
        };
        // OSCI names no extended usage of its own; a key made for these alone signs other things than messages.
        let elsewhere =
            [ExtendedKeyUsage::CodeSigning, ExtendedKeyUsage::TimeStamping, ExtendedKeyUsage::OcspSigning];
        let fits = match self.required_usage() {
            // RFC 3161, section 2.3: this one and no other.
            _ if self.purpose == Purpose::TimeStamps => present == [ExtendedKeyUsage::TimeStamping],
            RequiredUsage::None => present.iter().any(|usage| !elsewhere.contains(usage)),
            required => required.permitted_by(self.leaf),
        };
        if fits {
            return self.good(CheckKind::ExtendedKeyUsage);
        }
        let names: Vec<String> = present.iter().map(ToString::to_string).collect();
        let why = format!(
            "its extended key usage is [{}], which does not permit {}",
            names.join(", "),
            self.purpose.name()
        );
        self.bad(CheckKind::ExtendedKeyUsage, Reason::WrongPurpose, why);
    }

    fn basic_constraints(&mut self) {
        if self.leaf.is_ca() {
            let why = "it is a CA's certificate, shown as a participant's";
            self.bad(CheckKind::BasicConstraints, Reason::WrongPurpose, why);
        } else {
            self.good(CheckKind::BasicConstraints);
        }
    }

    /// The instant of the path: now, or the nearest second in which the leaf itself was valid. So an expired
    /// certificate of ours is told from an expired one that never was.
    fn path_instant(&self) -> Timestamp {
        if self.now > self.leaf.not_after() {
            self.leaf.not_after()
        } else {
            self.now.max(self.leaf.not_before())
        }
    }

    fn path_and_revocation(&mut self) {
        if self.leaf.is_ca() || self.leaf.not_before() > self.leaf.not_after() {
            self.not_checked(CheckKind::Path, "it is refused already");
            return self.not_checked(CheckKind::Revocation, "it is refused already");
        }
        if !path::is_accepted_signature(self.leaf) {
            let oid = self.leaf.signature_algorithm_oid();
            let why = format!("its signature algorithm {oid} is not accepted");
            self.bad(CheckKind::Path, Reason::WeakAlgorithm, why);
            return self.not_checked(CheckKind::Revocation, "its path is not good");
        }
        let anchors = self.anchors;
        // What we were given by our operator comes before what a stranger may stuff the bag with.
        let known: Vec<&Certificate> = anchors.intermediates.iter().chain(self.bag).collect();
        let issuers = path::issuers(self.leaf, &known, &anchors.certificates);
        let required = self.required_usage();
        let search = Search {
            leaf: self.leaf,
            issuers: &issuers.reached,
            anchors: &anchors.trust,
            anchor_certificates: &anchors.certificates,
            instant: self.path_instant(),
            usage: if required.permitted_by(self.leaf) { required } else { RequiredUsage::None },
        };
        let lists: Vec<&CertRevocationList<'_>> =
            anchors.lists.iter().filter_map(|list| list.full.as_ref()).collect();
        self.search(&search, &lists, &issuers);
    }

    fn search(&mut self, search: &Search<'_>, lists: &[&CertRevocationList<'_>], issuers: &Issuers) {
        let missing = "no current revocation list covers it and all its issuers";
        let stopped = match search.run(lists, Revocation::Proven) {
            Ok(path) if lists.is_empty() => {
                return self.settle(&path, "no revocation list and no responder's answer is at hand");
            }
            Ok(path) => return self.settle(&path, missing),
            // The list was signed by the key that signed the certificate which it names.
            Err(error) if lists.is_empty() || error == webpki::Error::CertRevoked => {
                return self.path_bad(&error, issuers);
            }
            Err(error) => error,
        };
        // webpki takes the first list that bears the issuer's name, whatever its key, and of all paths it tells one
        // failure: only without lists does it speak of the path alone.
        let bare = match search.run(&[], Revocation::NotNamed) {
            Ok(path) => path,
            Err(error) => return self.path_bad(&error, issuers),
        };
        let otherwise = unknown_revocation(&stopped).unwrap_or_else(|| missing.into());
        // Another path may do without an issuer that is named. Where lists hide each other, `settle` asks each.
        match search.run(lists, Revocation::NotNamed) {
            Ok(path) => self.settle(&path, &otherwise),
            Err(error @ webpki::Error::CertRevoked) => self.path_bad(&error, issuers),
            Err(_) => self.settle(&bare, &otherwise),
        }
    }

    /// The path is good. webpki asks the first list that it takes for authoritative, even one for a part to which the
    /// certificate does not say that it belongs: so each list is asked here. `otherwise` says what they do not cover.
    fn settle(&mut self, path: &Path, otherwise: &str) {
        self.path_good(path);
        let mut children = std::iter::once(self.leaf).chain(&path.issuers);
        let pairs: Vec<_> =
            path.issuers.iter().filter_map(|issuer| Some((children.next()?, issuer))).collect();
        let mut all_known = true;
        let mut disowned = None;
        for (certificate, issuer) in pairs {
            let answer = self.answers.and_then(|answers| answers.find(certificate, issuer, self.now));
            let subject = certificate.subject();
            let status = answer.map(|answer| answer.status);
            match status {
                Some(Status::Revoked { at }) => {
                    let why = format!("a responder says that {subject} was revoked at {at}");
                    return self.bad(CheckKind::Revocation, Reason::Revoked, why);
                }
                Some(Status::Unknown) => disowned = Some(format!("a responder does not know {subject}")),
                Some(Status::Good) | None => {}
            }
            let said = self.said_by_lists(certificate, issuer);
            if said == Some(Said::Revoked) {
                let why = format!("a revocation list names {subject}");
                return self.bad(CheckKind::Revocation, Reason::Revoked, why);
            }
            all_known &= status == Some(Status::Good) || said == Some(Said::Clear);
        }
        if let Some(why) = disowned {
            self.revocation_unknown(&why);
        } else if !all_known {
            self.revocation_unknown(otherwise);
        } else if self.path_instant() == self.now {
            self.good(CheckKind::Revocation);
        } else {
            self.revocation_unknown("lists say nothing of the time when it was valid");
        }
    }

    /// One list that names the certificate outweighs all that do not, unless a later one has taken its place.
    fn said_by_lists(&self, certificate: &Certificate, issuer: &Certificate) -> Option<Said> {
        let lists = || self.anchors.lists.iter().map(|list| &list.own);
        let is_overtaken =
            |list: &List| lists().any(|other| other.overtakes(list) && other.is_signed_by(issuer));
        let mut clear = None;
        for list in lists().filter(|list| !is_overtaken(list)) {
            match list.says(certificate, issuer, self.now) {
                Some(Said::Revoked) => return Some(Said::Revoked),
                Some(Said::Clear) => clear = Some(Said::Clear),
                None => {}
            }
        }
        clear
    }

    fn path_good(&mut self, path: &Path) {
        self.good(CheckKind::Path);
        for issuer in &path.issuers {
            self.warn_if_short(issuer.subject(), issuer);
        }
    }

    fn revocation_unknown(&mut self, why: &str) {
        self.not_checked(CheckKind::Revocation, why);
        // Of a certificate that is not valid at this instant it does not matter.
        if self.path_instant() == self.now {
            let why = format!("its revocation could not be checked: {why}");
            self.bad.push((Reason::RevocationUnknown, why));
        }
    }

    fn path_bad(&mut self, error: &webpki::Error, issuers: &Issuers) {
        if *error == webpki::Error::CertRevoked {
            self.good(CheckKind::Path);
            let why = "a revocation list names it or an issuer of it";
            return self.bad(CheckKind::Revocation, Reason::Revoked, why);
        }
        let (reason, why) = self.path_reason(error, issuers);
        self.bad(CheckKind::Path, reason, why);
        self.not_checked(CheckKind::Revocation, "its path is not good");
    }

    fn path_reason(&self, error: &webpki::Error, issuers: &Issuers) -> (Reason, String) {
        use webpki::Error as Bad;
        let issuer = self.leaf.issuer();
        match error {
            Bad::UnknownIssuer => match &issuers.unfit {
                _ if issuers.exhausted => (
                    Reason::TooManyCertificates,
                    "too many certificates bear the names of its issuers".into(),
                ),
                Some(Unfit::Right(why)) => (Reason::PathConstraint, why.clone()),
                Some(Unfit::Weak(why)) => (Reason::WeakKey, why.clone()),
                None if issuers.signature_failed => {
                    (Reason::BadSignature, format!("{issuer} did not make the signature on it"))
                }
                None if self.leaf.is_self_issued() => {
                    (Reason::UnknownIssuer, "it is self-signed, and self-signed ones are not trusted".into())
                }
                None => (
                    Reason::UnknownIssuer,
                    format!("its issuer {issuer} leads to no authority trusted for {}", self.purpose.name()),
                ),
            },
            Bad::InvalidSignatureForPublicKey | Bad::SignatureAlgorithmMismatch => {
                (Reason::BadSignature, format!("a signature on the path above it is wrong (issuer {issuer})"))
            }
            Bad::CertExpired { .. } | Bad::CertNotValidYet { .. } => {
                (Reason::IssuerOutOfDate, "an issuer on its path is not valid at this instant".into())
            }
            Bad::RequiredEkuNotFoundContext(_) | Bad::EmptyEkuExtension => {
                (Reason::PathConstraint, "an issuer on its path may not issue for this purpose".into())
            }
            Bad::PathLenConstraintViolated | Bad::MaximumPathDepthExceeded => {
                (Reason::PathConstraint, "its path is longer than an issuer permits".into())
            }
            Bad::NameConstraintViolation => {
                (Reason::PathConstraint, "an issuer on its path may not issue for this name".into())
            }
            Bad::EndEntityUsedAsCa | Bad::CaUsedAsEndEntity => {
                (Reason::PathConstraint, "an issuer on its path is not a CA".into())
            }
            Bad::MaximumPathBuildCallsExceeded
            | Bad::MaximumSignatureChecksExceeded
            | Bad::MaximumNameConstraintComparisonsExceeded => {
                (Reason::TooManyCertificates, "the search for its path was given up".into())
            }
            Bad::UnsupportedSignatureAlgorithmContext(_)
            | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => (
                Reason::WeakAlgorithm,
                "a signature on its path uses an algorithm that is not accepted".into(),
            ),
            other => (Reason::Malformed, format!("its path cannot be read ({other})")),
        }
    }
}

/// Errors that say that a path is good as far as it was seen, but revocation is not known.
fn unknown_revocation(error: &webpki::Error) -> Option<String> {
    use webpki::Error as Bad;
    Some(match error {
        Bad::UnknownRevocationStatus => "no revocation list covers it and all its issuers".into(),
        Bad::CrlExpired { next_update, .. } => {
            let due =
                i64::try_from(next_update.as_secs()).ok().and_then(|at| Timestamp::from_second(at).ok());
            format!("the revocation list was due for renewal at {}", due.unwrap_or(Timestamp::MAX))
        }
        Bad::InvalidCrlSignatureForPublicKey | Bad::IssuerNotCrlSigner => {
            "the revocation list was not signed by the issuer".into()
        }
        Bad::UnsupportedCrlSignatureAlgorithmContext(_)
        | Bad::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            "the revocation list is signed with an algorithm that is not accepted".into()
        }
        _ => return None,
    })
}

/// Judgements of the last minute. Bounded; it lives and dies with its anchors, so a reload starts with an empty one.
#[derive(Debug, Default)]
struct Cache(Mutex<HashMap<[u8; 32], Kept>>);

#[derive(Debug)]
struct Kept {
    inspection: Inspection,
    until: Timestamp,
}

impl Cache {
    fn key(purpose: Purpose, leaf: &Certificate, bag: &[Certificate], generation: u64) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&generation.to_be_bytes());
        context.update(purpose.name().as_bytes());
        for certificate in std::iter::once(leaf).chain(bag) {
            context.update(&certificate.fingerprint().0);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        key
    }

    fn find(&self, key: &[u8; 32], now: Timestamp) -> Option<Inspection> {
        let kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = kept.get(key)?;
        (found.inspection.instant <= now && now < found.until).then(|| found.inspection.clone())
    }

    fn keep(&self, key: [u8; 32], inspection: &Inspection, until: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.len() >= CACHE_ENTRIES_MAX {
            kept.retain(|_, old| old.until > inspection.instant);
            if kept.len() >= CACHE_ENTRIES_MAX {
                // A flood of strangers costs the regulars one more verification each, and no memory.
                kept.clear();
            }
        }
        kept.insert(key, Kept { inspection: inspection.clone(), until });
    }
}

#[cfg(test)]
mod tests;
