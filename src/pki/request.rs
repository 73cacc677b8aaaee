//! A request for a real certificate (PKCS#10, RFC 2986), for `amtsbote cert request`: a new key or one at hand.
//!
//! Left out: sending it anywhere. Administrations' CAs have their own desks for that.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use super::certificate::PEM_BYTES_MAX;
use super::development::{KeyChoice, Role, alternative_names};
use super::key::{self, PrivateKey};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the request: {0}")]
    Make(#[from] rcgen::Error),
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error("{field} is {seen} characters long; {min} to {max} are permitted")]
    Length { field: &'static str, seen: usize, min: usize, max: usize },
    #[error("{field} holds a control character")]
    Control { field: &'static str },
    #[error("a server's certificate needs at least one host name or address")]
    NoName,
}

/// Who asks. Empty parts are left out of the name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    pub common_name: &'a str,
    pub organization: &'a str,
    pub organizational_unit: &'a str,
    pub locality: &'a str,
    pub state: &'a str,
    /// Two letters.
    pub country: &'a str,
}

#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub subject: Subject<'a>,
    pub role: Role,
    /// DNS names or addresses.
    pub names: &'a [&'a str],
}

/// The key that the request is for.
#[derive(Clone, Copy)]
pub enum RequestKey<'a> {
    New(KeyChoice),
    /// PEM of a key at hand.
    Existing(&'a [u8]),
}

/// What to send, and, if it is new, the key to keep.
pub struct Requested {
    pub request_pem: String,
    new_key_pem: Option<String>,
}

impl Requested {
    /// PKCS#8, not encrypted; write it with [`key::write_new`] for its owner only.
    pub fn new_key_pem(&self) -> Option<&str> {
        self.new_key_pem.as_deref()
    }
}

impl fmt::Debug for Requested {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Requested").field("request_pem", &self.request_pem).finish_non_exhaustive()
    }
}

impl Request<'_> {
    pub fn make(&self, key: RequestKey<'_>) -> Result<Requested, Error> {
        let params = self.params()?;
        let (pair, is_new) = match key {
            RequestKey::New(choice) => (choice.generate()?, true),
            RequestKey::Existing(pem) => (existing(pem)?, false),
        };
        let request_pem = params.serialize_request(&pair)?.pem()?;
        Ok(Requested { request_pem, new_key_pem: is_new.then(|| pair.serialize_pem()) })
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        if self.role == Role::Server && self.names.is_empty() {
            return Err(Error::NoName);
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = self.subject.name()?;
        params.subject_alt_names = alternative_names(self.names)?;
        params.key_usages = match self.role {
            Role::Server | Role::Participant => vec![KeyUsagePurpose::DigitalSignature],
            Role::Signature => vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment],
            Role::Encryption => vec![KeyUsagePurpose::KeyEncipherment],
        };
        params.extended_key_usages = match self.role {
            Role::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Role::Participant => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Role::Signature | Role::Encryption => vec![],
        };
        Ok(params)
    }
}

fn existing(pem: &[u8]) -> Result<KeyPair, Error> {
    // Reads it once more with our own bounds and messages, which tell an encrypted key from a damaged one.
    PrivateKey::from_pem(pem)?;
    let text = pem.get(..pem.len().min(PEM_BYTES_MAX)).and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(KeyPair::from_pem(text.ok_or(key::Error::NoKey)?)?)
}

impl Subject<'_> {
    /// Bounds of RFC 5280, appendix A.
    fn name(&self) -> Result<DistinguishedName, Error> {
        let mut name = DistinguishedName::new();
        for (field, kind, value, min, max) in [
            ("country", DnType::CountryName, self.country, 2, 2),
            ("state", DnType::StateOrProvinceName, self.state, 1, 128),
            ("locality", DnType::LocalityName, self.locality, 1, 128),
            ("organization", DnType::OrganizationName, self.organization, 1, 64),
            ("organizational unit", DnType::OrganizationalUnitName, self.organizational_unit, 1, 64),
            ("common name", DnType::CommonName, self.common_name, 1, 64),
        ] {
            let seen = value.chars().count();
            if seen == 0 && kind != DnType::CommonName {
                continue;
            }
            if !(min..=max).contains(&seen) {
                return Err(Error::Length { field, seen, min, max });
            }
            if value.chars().any(char::is_control) {
                return Err(Error::Control { field });
            }
            name.push(kind, value);
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateSigningRequestDer;
    use rustls_pki_types::pem::PemObject;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    use super::*;

    const OFFICE: Subject<'static> = Subject {
        common_name: "Postfach Standesamt",
        organization: "Musterstadt",
        organizational_unit: "",
        locality: "Musterstadt",
        state: "",
        country: "DE",
    };

    fn spki(pem: &str) -> (String, Vec<u8>, Vec<String>) {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        let (_, request) = X509CertificationRequest::from_der(&der).expect("PKCS#10");
        let info = &request.certification_request_info;
        let extensions = request.requested_extensions().into_iter().flatten().map(|one| format!("{one:?}"));
        (info.subject.to_string(), info.subject_pki.raw.to_vec(), extensions.collect())
    }

    #[test]
    fn a_request_says_who_asks_and_for_what() {
        let request = Request { subject: OFFICE, role: Role::Server, names: &["post.example", "192.0.2.1"] };
        let made = request.make(RequestKey::New(KeyChoice::P256)).expect("made");
        let (subject, key, extensions) = spki(&made.request_pem);
        assert_eq!(subject, "C=DE, L=Musterstadt, O=Musterstadt, CN=Postfach Standesamt");
        let all = extensions.join(" ");
        assert!(all.contains("post.example") && all.contains("server_auth: true"), "{all}");
        let kept = made.new_key_pem().expect("a new key");
        assert!(!format!("{made:?}").contains("PRIVATE"), "the key stays out of sight");

        let again = request.make(RequestKey::Existing(kept.as_bytes())).expect("made");
        assert_eq!(spki(&again.request_pem).1, key, "the same key");
        assert_eq!(again.new_key_pem(), None);
    }

    #[test]
    fn what_no_authority_would_sign_is_refused() {
        let check = |subject: Subject<'_>, role: Role, names: &[&str], expected: &str| {
            let error =
                Request { subject, role, names }.make(RequestKey::New(KeyChoice::P256)).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        let long = "x".repeat(65);
        check(
            Subject { common_name: "", ..OFFICE },
            Role::Participant,
            &[],
            "common name is 0 characters long; 1 to 64 are permitted",
        );
        check(
            Subject { common_name: &long, ..OFFICE },
            Role::Participant,
            &[],
            "common name is 65 characters long; 1 to 64 are permitted",
        );
        check(
            Subject { country: "Germany", ..OFFICE },
            Role::Participant,
            &[],
            "country is 7 characters long; 2 to 2 are permitted",
        );
        check(
            Subject { locality: "a\nb", ..OFFICE },
            Role::Participant,
            &[],
            "locality holds a control character",
        );
        check(OFFICE, Role::Server, &[], "a server's certificate needs at least one host name or address");
    }
}
