//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446) with mutual authentication (XTA 2, web service: transport layer).
//!
//! A listener's handshake proves that the client holds the key of the certificate it shows, and nothing else. Whether
//! the certificate is expired, unknown or of the wrong authority is the door's judgement, because a client must hear
//! that as an XTA fault (9010, 9011, 9012) and not as a connection that breaks for reasons it cannot see. No door may
//! take a certificate from a connection for anything before `trust` has judged it.
//!
//! Left out: session tickets across nodes, early data, stapled OCSP.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use webpki::EndEntityCert;

use super::certificate::{self, Certificate};
use super::inspection::{Purpose, Reason};
use super::key::Identity;
use super::trust::TrustAnchors;
use crate::clock::Clock;

/// Certificates in a handshake, leaf included.
pub const HANDSHAKE_CERTIFICATES_MAX: usize = 10;
/// Bytes of all certificates in a handshake. rustls itself stops at 64 kB.
pub const HANDSHAKE_CERTIFICATE_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("{0:?} is neither a host name nor an address")]
    ServerName(String),
}

/// Whether a listener insists on a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without one the handshake fails. XTA's own rule.
    Required,
    /// Without one the door decides; a portal or a health probe may have none.
    Optional,
    /// Not asked for.
    None,
}

/// A listener's side.
pub fn server_config(
    identity: &Identity,
    client: ClientCertificate,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(HandedTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match client {
        ClientCertificate::None => builder.with_no_client_auth(),
        asked => builder.with_client_cert_verifier(Arc::new(Possession {
            mandatory: asked == ClientCertificate::Required,
            provider,
        })),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// An outlet's side: the server's certificate is judged for [`Purpose::ServerTls`] and must bear the name that was
/// dialled; `identity` is shown if the server asks.
pub fn client_config(
    anchors: Arc<TrustAnchors>,
    identity: Option<&Identity>,
    clock: Arc<dyn Clock>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(HandedTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NamedServer { anchors, provider }));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The side of a client that knows its server's authorities and nothing else: no policy, no revocation, no own identity.
pub fn anchored_client_config(anchors: &[Certificate], clock: Arc<dyn Clock>) -> Result<ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.der().clone())?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(HandedTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The name to check a server's certificate against.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| Error::ServerName(host.chars().take(253).collect()))
}

/// What a peer showed, leaf first; empty if it showed nothing. The handshake has bounded it. Companions of the leaf
/// that cannot be read (a root of X.509 version 1, for one) are left aside, as they can vouch for nobody.
pub fn presented(ders: Option<&[CertificateDer<'_>]>) -> Result<Vec<Certificate>, certificate::Error> {
    let Some((leaf, others)) = ders.unwrap_or_default().split_first() else { return Ok(Vec::new()) };
    let others = others.iter().take(HANDSHAKE_CERTIFICATES_MAX);
    let mut chain = vec![Certificate::from_der(leaf)?];
    chain.extend(others.filter_map(|der| Certificate::from_der(der).ok()));
    Ok(chain)
}

/// A listener's configuration that a reload replaces under way: connections that stand keep theirs, new ones get the
/// new one. Clones share it.
#[derive(Clone)]
pub struct ReloadableTls(Arc<RwLock<Arc<ServerConfig>>>);

impl fmt::Debug for ReloadableTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ReloadableTls(..)")
    }
}

impl ReloadableTls {
    pub fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// For the next handshake; hold it no longer than that.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub fn replace(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(config);
    }

    /// For a listener that must not know this room.
    pub fn source(&self) -> impl Fn() -> Arc<ServerConfig> + Clone + Send + Sync + 'static {
        let shared = self.clone();
        move || shared.current()
    }
}

/// rustls asks for the time where certificates and sessions need it.
struct HandedTime(Arc<dyn Clock>);

impl fmt::Debug for HandedTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HandedTime")
    }
}

impl TimeProvider for HandedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn check_size(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    let bytes = others.iter().fold(leaf.len(), |sum, der| sum.saturating_add(der.len()));
    if others.len() >= HANDSHAKE_CERTIFICATES_MAX || bytes > HANDSHAKE_CERTIFICATE_BYTES_MAX {
        return Err(rustls::Error::General(format!(
            "{} certificates of {bytes} bytes presented; {HANDSHAKE_CERTIFICATES_MAX} of \
             {HANDSHAKE_CERTIFICATE_BYTES_MAX} bytes are the most",
            others.len().saturating_add(1)
        )));
    }
    Ok(())
}

fn parse(der: &[u8]) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding.into())
}

/// Demands a certificate that can be read and a signature by its key.
#[derive(Debug)]
struct Possession {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// Empty, because clients take a list of authorities as a reason to show nothing, and then nobody can tell
    /// them what is wrong with what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_size(end_entity, intermediates)?;
        parse(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Demands a server that is judged valid and bears its name.
#[derive(Debug)]
struct NamedServer {
    anchors: Arc<TrustAnchors>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        check_size(end_entity, intermediates)?;
        let leaf = parse(end_entity)?;
        let bag: Vec<Certificate> =
            intermediates.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now = jiff::Timestamp::from_second(seconds).map_err(|_| rustls::Error::FailedToGetCurrentTime)?;
        let inspection = self.anchors.inspect(Purpose::ServerTls, &leaf, &bag, now);
        if let Some(reason) = inspection.refusal() {
            tracing::debug!(subject = leaf.subject(), reasons = ?inspection.sentences, "server certificate refused");
            return Err(certificate_error(reason).into());
        }
        EndEntityCert::try_from(end_entity)
            .and_then(|certificate| certificate.verify_is_valid_for_subject_name(server_name))
            .map_err(|_| CertificateError::NotValidForName)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn certificate_error(reason: Reason) -> CertificateError {
    match reason {
        Reason::TooManyCertificates | Reason::Malformed => CertificateError::BadEncoding,
        Reason::BadSignature => CertificateError::BadSignature,
        Reason::UnknownIssuer => CertificateError::UnknownIssuer,
        Reason::Revoked => CertificateError::Revoked,
        Reason::WrongPurpose | Reason::PathConstraint => CertificateError::InvalidPurpose,
        Reason::WeakKey | Reason::WeakAlgorithm => CertificateError::ApplicationVerificationFailure,
        Reason::IssuerOutOfDate | Reason::Expired => CertificateError::Expired,
        Reason::NotYetValid => CertificateError::NotValidYet,
        Reason::RevocationUnknown => CertificateError::UnknownRevocationStatus,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::clock::HandClock;
    use crate::pki::development::{Authority, Issued, KeyChoice, Leaf, Role, Validity};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn years(from: &str, until: &str) -> Validity {
        Validity {
            from: at(&format!("{from}-01-01T00:00:00Z")),
            until: at(&format!("{until}-01-01T00:00:00Z")),
        }
    }

    fn issue(authority: &Authority, name: &str, role: Role, validity: Validity, names: &[&str]) -> Issued {
        let leaf = Leaf { common_name: name, role, key: KeyChoice::P256, validity, names };
        authority.issue(&leaf).expect("a certificate")
    }

    struct Office {
        clock: Arc<dyn Clock>,
        ours: Authority,
        server: Identity,
        anchors: Arc<TrustAnchors>,
    }

    fn office() -> Office {
        let good = years("2020", "2120");
        let ours = Authority::root("Ours", KeyChoice::P256, good).expect("a root");
        let server = issue(&ours, "localhost", Role::Server, good, &["localhost", "127.0.0.1"]);
        let anchors = TrustAnchors::builder()
            .anchors(Purpose::ServerTls, ours.certificate().pem().as_bytes())
            .expect("an anchor")
            .build();
        Office {
            clock: Arc::new(HandClock::at(at("2026-11-23T12:00:00Z"))),
            server: server.identity().expect("an identity"),
            ours,
            anchors: Arc::new(anchors),
        }
    }

    /// Passes bytes both ways until both are done or one refuses.
    fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
        for _ in 0..20 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory takes all");
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("memory gives all");
                server.process_new_packets()?;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory takes all");
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory gives all");
                client.process_new_packets()?;
            }
            if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
                return Ok(());
            }
        }
        panic!("the handshake goes in circles");
    }

    fn connect(
        office: &Office,
        asked: ClientCertificate,
        host: &str,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<ServerConnection, rustls::Error> {
        let mut config =
            client_config(office.anchors.clone(), identity, office.clock.clone()).expect("a client");
        if versions.len() == 1 {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(versions)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(NamedServer {
                    anchors: office.anchors.clone(),
                    provider,
                }));
            config = match identity {
                Some(identity) => {
                    builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
                }
                None => builder.with_no_client_auth(),
            };
        }
        let tls = ReloadableTls::new(
            server_config(&office.server, asked, office.clock.clone()).expect("a server configuration"),
        );
        let name = server_name(host).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        let mut server = ServerConnection::new(tls.source()())?;
        shake(&mut client, &mut server).map(|()| server)
    }

    #[test]
    fn a_handshake_proves_possession_and_leaves_judgement_to_the_door() {
        let office = office();
        let foreign = Authority::root("Foreign", KeyChoice::P256, years("2020", "2120")).expect("a root");
        let shown = [
            ("good", issue(&office.ours, "good", Role::Participant, years("2020", "2120"), &[])),
            ("expired", issue(&office.ours, "expired", Role::Participant, years("2020", "2021"), &[])),
            ("of tomorrow", issue(&office.ours, "tomorrow", Role::Participant, years("2030", "2031"), &[])),
            (
                "of a foreign authority",
                issue(&foreign, "stranger", Role::Participant, years("2020", "2120"), &[]),
            ),
            (
                "a server's",
                issue(&office.ours, "server", Role::Server, years("2020", "2120"), &["a.example"]),
            ),
        ];
        for (what, issued) in shown {
            let identity = issued.identity().expect("an identity");
            for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]] {
                let required = ClientCertificate::Required;
                let server = connect(&office, required, "localhost", Some(&identity), versions)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let chain = presented(server.peer_certificates()).expect("readable");
                assert_eq!(chain.first(), Some(issued.certificate()), "{what}");
                assert_eq!(server.protocol_version(), versions.first().map(|version| version.version));
            }
        }
    }

    #[test]
    fn a_stolen_certificate_without_its_key_is_refused() {
        let office = office();
        let good = years("2020", "2120");
        let victim = issue(&office.ours, "victim", Role::Participant, good, &[]);
        let thief =
            issue(&office.ours, "thief", Role::Participant, good, &[]).identity().expect("an identity");
        // rustls would not let a careful client do this, so the pair is put together by hand.
        let pair = rustls::sign::CertifiedKey::new(
            vec![victim.certificate().der().clone()],
            thief.certified().key.clone(),
        );
        let forged = thief.with_certified(Arc::new(pair));
        for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]] {
            let refused = connect(&office, ClientCertificate::Optional, "localhost", Some(&forged), versions)
                .expect_err("the key does not fit");
            assert_eq!(refused, rustls::Error::InvalidCertificate(CertificateError::BadSignature));
        }
    }

    #[test]
    fn a_client_without_certificate_is_refused_only_where_one_is_required() {
        let office = office();
        for (asked, fits) in [
            (ClientCertificate::Required, false),
            (ClientCertificate::Optional, true),
            (ClientCertificate::None, true),
        ] {
            let outcome = connect(&office, asked, "localhost", None, &[]);
            assert_eq!(outcome.is_ok(), fits, "{asked:?}");
            if let Ok(server) = outcome {
                assert_eq!(presented(server.peer_certificates()).expect("nothing to read"), vec![]);
            }
        }
    }

    #[test]
    fn a_server_must_be_ours_and_bear_the_name() {
        let office = office();
        let good = years("2020", "2120");
        let foreign = Authority::root("Ours", KeyChoice::P256, good).expect("a root of the same name");
        let other = |issued: Issued| Office {
            clock: office.clock.clone(),
            ours: Authority::root("Ours", KeyChoice::P256, good).expect("a root"),
            server: issued.identity().expect("an identity"),
            anchors: office.anchors.clone(),
        };
        let check = |office: &Office, host: &str, expected: Option<CertificateError>| {
            let seen = connect(office, ClientCertificate::None, host, None, &[]).err();
            assert_eq!(seen, expected.map(rustls::Error::InvalidCertificate), "{host}");
        };
        check(&office, "localhost", None);
        check(&office, "127.0.0.1", None);
        check(&office, "elsewhere.example", Some(CertificateError::NotValidForName));
        check(&office, "127.0.0.2", Some(CertificateError::NotValidForName));
        let names = ["localhost"];
        let impostor = other(issue(&foreign, "localhost", Role::Server, good, &names));
        check(&impostor, "localhost", Some(CertificateError::BadSignature));
        let old = other(issue(&office.ours, "localhost", Role::Server, years("2020", "2021"), &names));
        check(&old, "localhost", Some(CertificateError::Expired));
        let client = other(issue(&office.ours, "localhost", Role::Participant, good, &names));
        check(&client, "localhost", Some(CertificateError::InvalidPurpose));
    }

    #[test]
    fn a_presented_chain_is_bounded() {
        let office = office();
        let good = years("2020", "2120");
        let issued = issue(&office.ours, "good", Role::Participant, good, &[]);
        for (count, fits) in
            [(1, true), (HANDSHAKE_CERTIFICATES_MAX, true), (HANDSHAKE_CERTIFICATES_MAX + 1, false)]
        {
            let chain = vec![issued.certificate().clone(); count];
            let key = crate::pki::key::PrivateKey::from_pem(issued.key_pem().as_bytes()).expect("a key");
            let identity = Identity::new(chain, &key).expect("an identity");
            let outcome = connect(&office, ClientCertificate::Required, "localhost", Some(&identity), &[]);
            assert_eq!(outcome.is_ok(), fits, "{count} certificates");
        }
    }

    #[test]
    fn a_reload_shows_the_new_certificate_to_the_next_handshake() {
        let office = office();
        let old = server_config(&office.server, ClientCertificate::None, office.clock.clone())
            .expect("a configuration");
        let tls = ReloadableTls::new(old);
        let (before, source) = (tls.current(), tls.source());
        tls.replace(
            server_config(&office.server, ClientCertificate::None, office.clock.clone())
                .expect("a configuration"),
        );
        assert!(!Arc::ptr_eq(&before, &source()));
        assert!(Arc::ptr_eq(&tls.current(), &source()));
    }
}
