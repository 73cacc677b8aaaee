//! A throw-away PKI for `amtsbote init`, the demo and tests: authorities, leaves for each role, revocation lists.
//!
//! Validity is handed in and names follow from the arguments; keys are random. Nothing here is fit for production:
//! the root's key lies beside its certificate, and nobody checked who asks for a certificate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    RsaKeySize, SanType, SerialNumber,
};

use super::certificate::{self, Certificate};
use super::key::{self, Identity, Readers};

/// Stands in every subject, so that nobody mistakes one for a real certificate.
pub const ORGANIZATION: &str = "Amtsbote development, do not trust";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error(
        "{0:?} cannot be a file name: letters, digits, `-`, `_` and `.` can, and it starts with a letter or digit"
    )]
    Name(String),
    #[error("two certificates would be named {0:?}")]
    Twice(String),
    #[error("{path} exists already; choose another directory or remove it first", path = .0.display())]
    Exists(PathBuf),
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyChoice {
    #[default]
    P256,
    P384,
    Ed25519,
    /// What OSCI's encryption needs, and what old TLS clients bring.
    Rsa3072,
    /// Accepted with a warning.
    Rsa2048,
}

impl KeyChoice {
    pub(super) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            Self::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
    }
}

/// What a leaf is for; decides its key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Participant,
    Signature,
    Encryption,
}

/// What to issue.
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    pub common_name: &'a str,
    pub role: Role,
    pub key: KeyChoice,
    pub validity: Validity,
    /// DNS names or addresses; servers need them.
    pub names: &'a [&'a str],
}

/// A certificate with its key and the intermediates to present with it.
pub struct Issued {
    certificate: Certificate,
    intermediates: Vec<Certificate>,
    key_pem: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Issued {
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Leaf first, without the root.
    pub fn chain(&self) -> Vec<Certificate> {
        std::iter::once(&self.certificate).chain(&self.intermediates).cloned().collect()
    }

    pub fn chain_pem(&self) -> String {
        self.chain().iter().map(Certificate::pem).collect()
    }

    /// PKCS#8, not encrypted.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    pub fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::from_pem(self.chain_pem().as_bytes(), self.key_pem.as_bytes())?)
    }
}

/// A CA with its key.
pub struct Authority {
    certificate: Certificate,
    /// From this one up to, but without, the root.
    presented: Vec<Certificate>,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    pub fn root(common_name: &str, key: KeyChoice, validity: Validity) -> Result<Self, Error> {
        Self::root_from(
            authority_params(common_name, validity, BasicConstraints::Constrained(2)),
            key.generate()?,
        )
    }

    pub(super) fn root_from(params: CertificateParams, key: KeyPair) -> Result<Self, Error> {
        let certificate = Certificate::from_der(params.self_signed(&key)?.der())?;
        Ok(Self { certificate, presented: vec![], issuer: Issuer::new(params, key) })
    }

    /// An issuing CA below this one.
    pub fn subordinate(&self, common_name: &str, key: KeyChoice, validity: Validity) -> Result<Self, Error> {
        let params = authority_params(common_name, validity, BasicConstraints::Constrained(0));
        self.subordinate_from(params, key.generate()?)
    }

    pub(super) fn subordinate_from(&self, params: CertificateParams, key: KeyPair) -> Result<Self, Error> {
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer)?.der())?;
        let presented = std::iter::once(&certificate).chain(&self.presented).cloned().collect();
        Ok(Self { certificate, presented, issuer: Issuer::new(params, key) })
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Result<Issued, Error> {
        self.issue_from(leaf_params(leaf)?, leaf.key.generate()?)
    }

    pub(super) fn issue_from(&self, params: CertificateParams, key: KeyPair) -> Result<Issued, Error> {
        let certificate = Certificate::from_der(params.signed_by(&key, &self.issuer)?.der())?;
        Ok(Issued { certificate, intermediates: self.presented.clone(), key_pem: key.serialize_pem() })
    }

    /// A full list (PEM) that names these certificates.
    pub fn revocation_list(
        &self,
        number: u64,
        validity: Validity,
        revoked: &[&Certificate],
    ) -> Result<String, Error> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let named = |certificate: &&Certificate| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial_bytes(certificate)),
            revocation_time: epoch + since_epoch(validity.from),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: epoch + since_epoch(validity.from),
            next_update: epoch + since_epoch(validity.until),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(named).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

fn serial_bytes(certificate: &Certificate) -> Vec<u8> {
    let digits: Vec<u8> =
        certificate.serial().chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |value, digit| value << 4 | digit)).collect()
}

pub(super) fn authority_params(
    common_name: &str,
    validity: Validity,
    constraint: BasicConstraints,
) -> CertificateParams {
    let mut params = params(common_name, validity);
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

pub(super) fn leaf_params(leaf: &Leaf<'_>) -> Result<CertificateParams, Error> {
    let mut params = params(leaf.common_name, leaf.validity);
    params.is_ca = IsCa::ExplicitNoCa;
    (params.key_usages, params.extended_key_usages) = match leaf.role {
        Role::Server => (vec![KeyUsagePurpose::DigitalSignature], vec![ExtendedKeyUsagePurpose::ServerAuth]),
        Role::Participant => {
            (vec![KeyUsagePurpose::DigitalSignature], vec![ExtendedKeyUsagePurpose::ClientAuth])
        }
        Role::Signature => {
            (vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment], vec![])
        }
        Role::Encryption => (vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyAgreement], vec![]),
    };
    params.subject_alt_names = alternative_names(leaf.names)?;
    Ok(params)
}

pub(super) fn alternative_names(names: &[&str]) -> Result<Vec<SanType>, rcgen::Error> {
    let read = |name: &&str| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => (*name).try_into().map(SanType::DnsName),
    };
    names.iter().map(read).collect()
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "DE");
    name.push(DnType::OrganizationName, ORGANIZATION);
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    set_validity(&mut params, validity);
    params.use_authority_key_identifier_extension = true;
    params
}

/// rcgen speaks the `time` crate's type, which arithmetic on one of its own dates yields without naming it.
pub(super) fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) =
        (epoch + since_epoch(validity.from), epoch + since_epoch(validity.until));
}

/// Before 1970 there are no certificates.
fn since_epoch(instant: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(instant.as_second()).unwrap_or(0))
}

/// The set that `amtsbote init` writes.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    pub validity: Validity,
    /// Names and addresses besides `localhost`, `127.0.0.1` and `::1`.
    pub server_names: &'a [&'a str],
    /// Also the stems of their files.
    pub participants: &'a [&'a str],
}

/// A root, a server, participants and a revocation list that is current and names nobody.
#[derive(Debug)]
pub struct DevelopmentPki {
    pub authority: Authority,
    pub server: Issued,
    pub participants: BTreeMap<String, Issued>,
    pub revocation_list_pem: String,
}

pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl DevelopmentPki {
    pub fn make(plan: &Plan<'_>) -> Result<Self, Error> {
        let validity = plan.validity;
        let authority = Authority::root("Development CA", KeyChoice::P256, validity)?;
        let mut names = LOCAL_NAMES.to_vec();
        names.extend(plan.server_names.iter().filter(|name| !LOCAL_NAMES.contains(name)));
        let server = authority.issue(&Leaf {
            common_name: "localhost",
            role: Role::Server,
            key: KeyChoice::P256,
            validity,
            names: &names,
        })?;
        let mut participants = BTreeMap::new();
        for name in plan.participants {
            check_stem(name)?;
            let issued = authority.issue(&Leaf {
                common_name: name,
                role: Role::Participant,
                key: KeyChoice::P256,
                validity,
                names: &[],
            })?;
            if ["ca", "server"].contains(name) || participants.insert((*name).to_owned(), issued).is_some() {
                return Err(Error::Twice((*name).to_owned()));
            }
        }
        let revocation_list_pem = authority.revocation_list(1, validity, &[])?;
        Ok(Self { authority, server, participants, revocation_list_pem })
    }

    /// Writes `ca.crt`, `ca.key`, `ca.crl`, `server.*` and a pair per participant. Keys are for their owner only.
    /// Nothing is written if any of the files exists. Returns what was written.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let open = |name: &str, text: String| (directory.join(name), text, Readers::Everybody);
        let secret = |name: &str, text: &str| (directory.join(name), text.to_owned(), Readers::Owner);
        let mut files = vec![
            open("ca.crt", self.authority.certificate().pem()),
            secret("ca.key", &self.authority.key_pem()),
            open("ca.crl", self.revocation_list_pem.clone()),
            open("server.crt", self.server.chain_pem()),
            secret("server.key", self.server.key_pem()),
        ];
        for (name, issued) in &self.participants {
            files.push(open(&format!("{name}.crt"), issued.chain_pem()));
            files.push(secret(&format!("{name}.key"), issued.key_pem()));
        }
        if let Some((path, _, _)) = files.iter().find(|(path, _, _)| path.symlink_metadata().is_ok()) {
            return Err(Error::Exists(path.clone()));
        }
        for (path, text, readers) in &files {
            key::write_new(path, text.as_bytes(), *readers)?;
        }
        Ok(files.into_iter().map(|(path, _, _)| path).collect())
    }
}

fn check_stem(name: &str) -> Result<(), Error> {
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fits { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::pki::inspection::{Purpose, UnknownRevocation};
    use crate::pki::trust::{PurposeSettings, TrustAnchors};

    fn plan<'a>(participants: &'a [&'a str]) -> Plan<'a> {
        let at = |text: &str| text.parse().expect("an instant");
        let validity = Validity { from: at("2026-01-01T00:00:00Z"), until: at("2028-01-01T00:00:00Z") };
        Plan { validity, server_names: &["post.example", "localhost"], participants }
    }

    #[test]
    fn what_is_written_works_together() {
        let directory = tempfile::tempdir().expect("a directory");
        let pki = DevelopmentPki::make(&plan(&["author", "reader"])).expect("made");
        let written = pki.write(directory.path()).expect("written");
        assert_eq!(written.len(), 9);
        for path in &written {
            let is_key = path.extension().is_some_and(|extension| extension == "key");
            let mode = std::fs::metadata(path).expect("there").mode() & 0o077;
            assert!(!is_key || mode == 0, "{} has mode {mode:o}", path.display());
        }
        let at = |name: &str| directory.path().join(name);
        let settings = PurposeSettings {
            anchors: vec![at("ca.crt")],
            intermediates: vec![],
            revocation_lists: vec![at("ca.crl")],
            fetched_lists: vec![],
            unknown_revocation: UnknownRevocation::Refuse,
        };
        let purposes = [Purpose::ParticipantTls, Purpose::ServerTls];
        let trust = TrustAnchors::load(&purposes.map(|one| (one, settings.clone())).into()).expect("loaded");
        for (stem, purpose) in [
            ("author", Purpose::ParticipantTls),
            ("reader", Purpose::ParticipantTls),
            ("server", Purpose::ServerTls),
        ] {
            let crt = at(&format!("{stem}.crt"));
            let identity = Identity::load(&crt, &at(&format!("{stem}.key"))).expect("an identity");
            let now = "2027-01-01T00:00:00Z".parse().expect("an instant");
            let inspection = trust.inspect_chain(purpose, identity.chain(), now).expect("a chain");
            assert_eq!(inspection.reasons, [], "{stem}: {:?}", inspection.sentences);
        }
        let names = pki.server.certificate().alternative_names();
        assert_eq!(names, ["localhost", "127.0.0.1", "::1", "post.example"]);
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let taken = directory.path().join("author.key");
        std::fs::write(&taken, "precious").expect("written");
        let pki = DevelopmentPki::make(&plan(&["author"])).expect("made");
        let error = pki.write(directory.path()).expect_err("refused");
        assert!(matches!(&error, Error::Exists(path) if *path == taken), "{error}");
        assert_eq!(std::fs::read_to_string(&taken).expect("there"), "precious");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("readable").count(),
            1,
            "nothing else was written"
        );
    }

    #[test]
    fn names_stay_inside_the_directory() {
        for name in ["", "../ca", "a/b", ".hidden", "a\0b", "ä", "-rf"] {
            let made = DevelopmentPki::make(&plan(&[name]));
            assert!(matches!(made, Err(Error::Name(_))), "{name:?}: {made:?}");
        }
        for names in [&["author", "author"][..], &["server"], &["ca"]] {
            assert!(matches!(DevelopmentPki::make(&plan(names)), Err(Error::Twice(_))), "{names:?}");
        }
    }

    #[test]
    fn an_issuing_authority_presents_itself() {
        let validity = plan(&[]).validity;
        let root = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
        let issuing = root.subordinate("Issuing", KeyChoice::P256, validity).expect("a CA");
        let leaf =
            Leaf { common_name: "a", role: Role::Participant, key: KeyChoice::P256, validity, names: &[] };
        let issued = issuing.issue(&leaf).expect("a leaf");
        assert_eq!(issued.chain(), [issued.certificate().clone(), issuing.certificate().clone()]);
        assert!(issued.certificate().subject().contains("do not trust"), "{:?}", issued.certificate());
        assert!(!format!("{issued:?}{issuing:?}").contains("PRIVATE"), "keys stay out of sight");
    }
}
