//! Certificates in force: the server's own, and whom it believes. Replaced as a whole by a reload.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::clock::Clock;
use crate::config::Config;
use crate::net::{Handler, TlsSource};
use crate::osci::server::{CipherIdentity, InForce, SignatureIdentity};
use crate::pki::certificate::Certificate;
use crate::pki::jose::jws;
use crate::pki::key::PrivateKey;
use crate::pki::key::{self, Identity};
use crate::pki::revocation::answers::Answers;
use crate::pki::revocation::fetch::{Client, Rest};
use crate::pki::tls::{ClientCertificate, client_config, server_config};
use crate::pki::trust::TrustAnchors;
use crate::relay::Relay;
use crate::xml::dsig::sign::SigningKey;
use crate::xml::enc::RecipientKey;
use crate::{osci, portal, xta};

use super::callbacks::{self, Receivers};
use super::metadata::XtaMetadata;
use super::time_stamp;

#[derive(Clone)]
pub(super) struct Trust {
    listener: TlsSource,
    current: Arc<RwLock<Arc<Current>>>,
    /// Held from reading to replacing, so that what was read first never replaces what was read after it.
    replacing: Arc<Mutex<()>>,
    /// Held by a whole reload.
    reloading: Arc<tokio::sync::Mutex<()>>,
    /// Outlives reloads.
    answers: Arc<Answers>,
    clock: Arc<dyn Clock>,
}

/// What was read and can be put in force without anything that could fail.
pub(super) struct Prepared<'a> {
    trust: &'a Trust,
    tls: Arc<rustls::ServerConfig>,
    current: Arc<Current>,
    _alone: MutexGuard<'a, ()>,
}

impl Prepared<'_> {
    pub(super) fn put_in_force(self) {
        *self.trust.current.write().unwrap_or_else(PoisonError::into_inner) = self.current;
        self.trust.listener.replace(self.tls);
    }
}

struct Current {
    own: Vec<Certificate>,
    anchors: Arc<TrustAnchors>,
    /// Absent where there is no OSCI.
    osci: Option<Arc<InForce>>,
    stamp_anchors: Arc<[Certificate]>,
    /// Absent where callbacks believe nobody.
    receivers: Option<Receivers>,
}

impl Trust {
    pub(super) fn load(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let answers = Arc::new(Answers::default());
        if config.revocation.ocsp {
            Client::new(config.fetch_settings()).read_kept_answers(&answers, clock.now(), Rest::Remove);
        }
        let (tls, current) = read(config, &clock, &answers)?;
        let current = Arc::new(RwLock::new(Arc::new(current)));
        let (replacing, reloading) = (Arc::default(), Arc::default());
        Ok(Self { listener: TlsSource::new(tls), current, replacing, reloading, answers, clock })
    }

    /// One reload after the other.
    pub(super) async fn reloading(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    /// Reads everything and replaces nothing yet. Whoever holds this holds up every other replacement.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared<'_>, String> {
        let alone = self.alone();
        let (tls, current) = read(config, &self.clock, &self.answers)?;
        Ok(Prepared { trust: self, tls, current: Arc::new(current), _alone: alone })
    }

    /// Anchors and lists alone, after a newer list came in.
    pub(super) fn renew_anchors(&self, config: &Config) -> Result<(), String> {
        let _alone = self.alone();
        let anchors = read_anchors(config, &self.answers)?;
        let before = self.now();
        let own = before.own.clone();
        let recipients = recipients_tls(config, &anchors, &self.clock)?;
        let receivers = callbacks::receivers(config, &self.clock, &self.answers)?;
        let osci = before.osci.as_deref().cloned();
        let osci = osci.map(|osci| Arc::new(InForce { anchors: anchors.clone(), recipients, ..osci }));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Current { own, anchors, osci, stamp_anchors: before.stamp_anchors.clone(), receivers });
        Ok(())
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(super) fn listener(&self) -> TlsSource {
        self.listener.clone()
    }

    pub(super) fn anchors(&self) -> Arc<TrustAnchors> {
        self.now().anchors.clone()
    }

    /// How callbacks judge their receivers.
    pub(super) fn receivers(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.now().receivers.as_ref().map(|receivers| receivers.tls.clone())
    }

    /// Whom anybody here believes, for whatever purpose.
    pub(super) fn authorities(&self) -> Vec<Certificate> {
        let current = self.now();
        let receivers = current.receivers.iter().flat_map(|receivers| receivers.anchors.authorities());
        let all = current.anchors.authorities().chain(receivers);
        all.map(|(_, certificate)| certificate.clone()).collect()
    }

    /// The server's chain, its own certificate first.
    pub(super) fn own(&self) -> Vec<Certificate> {
        self.now().own.clone()
    }

    /// Our own certificates for OSCI: those to encrypt for, and the one that we sign with.
    pub(super) fn own_osci(&self) -> (Vec<Certificate>, Vec<Certificate>) {
        let current = self.now();
        let cipher = current.osci.iter().flat_map(|osci| osci.cipher.iter());
        let signature = current.osci.iter().map(|osci| osci.signature.certificate.clone());
        (cipher.map(|own| own.certificate.clone()).collect(), signature.collect())
    }

    /// Whose time stamps are believed.
    pub(super) fn stamp_anchors(&self) -> Arc<[Certificate]> {
        self.now().stamp_anchors.clone()
    }

    /// The door, where the configuration has one.
    pub(super) fn osci_door(&self, relay: Arc<Relay>, config: &Config) -> Option<Arc<osci::server::Door>> {
        // A reload never takes it away: the listener is configuration.
        let first = self.now().osci.clone()?;
        let trust = self.clone();
        let in_force = Arc::new(move || trust.now().osci.clone().unwrap_or_else(|| first.clone()));
        let door = osci::server::Door::new(relay, in_force, Arc::new(XtaMetadata), config.osci_settings());
        Some(Arc::new(door))
    }

    pub(super) fn xta_door(&self, relay: Arc<Relay>, config: &Config) -> Arc<dyn Handler> {
        let trust = self.clone();
        Arc::new(xta::server::Door::new(relay, Arc::new(move || trust.anchors()), config.xta_settings()))
    }

    pub(super) fn portal_door(
        &self,
        relay: Arc<Relay>,
        (key, others): (jws::SigningKey, portal::server::OtherKeys),
        config: &Config,
        callbacks: Arc<portal::callback::Callbacks>,
    ) -> Arc<portal::server::Door> {
        let trust = self.clone();
        let anchors = Arc::new(move || trust.anchors());
        let door = portal::server::Door::new(relay, anchors, key, config.portal_settings());
        Arc::new(door.with_other_keys(others).with_callbacks(callbacks))
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read_anchors(config: &Config, answers: &Arc<Answers>) -> Result<Arc<TrustAnchors>, String> {
    let anchors = TrustAnchors::load(&config.trust_settings()).map_err(|error| error.to_string())?;
    // Without permission to ask, what lies in the folder from earlier days does not count either.
    Ok(Arc::new(if config.revocation.ocsp { anchors.with_answers(answers.clone()) } else { anchors }))
}

fn read(
    config: &Config,
    clock: &Arc<dyn Clock>,
    answers: &Arc<Answers>,
) -> Result<(Arc<rustls::ServerConfig>, Current), String> {
    let tls = &config.tls;
    if let Ok(Some(exposed)) = key::exposure(&tls.key) {
        tracing::warn!(code = "key-exposed", "{exposed}");
    }
    let identity = load_identity(&tls.certificate, &tls.key)?;
    let anchors = read_anchors(config, answers)?;
    // Without a certificate the door refuses in the protocol's terms, which helps more than a broken handshake.
    let listener = server_config(&identity, ClientCertificate::Optional, clock.clone())
        .map_err(|error| error.to_string())?;
    let osci = read_osci(config, anchors.clone(), clock)?;
    let stamps = time_stamp::anchors(&config.evidence).map_err(|error| error.to_string())?;
    let stamp_anchors = stamps.certificates().into();
    let receivers = callbacks::receivers(config, clock, answers)?;
    let current = Current { own: identity.chain().to_vec(), anchors, osci, stamp_anchors, receivers };
    Ok((Arc::new(listener), current))
}

/// What the OSCI door needs, where the configuration has one.
fn read_osci(
    config: &Config,
    anchors: Arc<TrustAnchors>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<InForce>>, String> {
    let osci = &config.osci;
    if osci.address.is_none() {
        return Ok(None);
    }
    let mut cipher = Vec::new();
    for (certificate, key) in osci.cipher_certificates.iter().zip(&osci.cipher_keys) {
        let (certificate, pkcs8) = read_identity(certificate, key)?;
        let key = RecipientKey::from_pkcs8(&pkcs8)
            .ok_or_else(|| format!("{}: OSCI encryption needs an RSA key", key.display()))?;
        cipher.push(CipherIdentity { certificate, key });
    }
    let (certificate, pkcs8) = read_identity(&osci.signature_certificate, &osci.signature_key)?;
    let key = SigningKey::from_pkcs8(&pkcs8)
        .map_err(|error| format!("{}: {error}", osci.signature_key.display()))?;
    Ok(Some(Arc::new(InForce {
        recipients: recipients_tls(config, &anchors, clock)?,
        anchors,
        cipher: cipher.into(),
        signature: Arc::new(SignatureIdentity { certificate, key }),
    })))
}

/// Errors that name no file by themselves get both names.
fn load_identity(certificate: &std::path::Path, key: &std::path::Path) -> Result<Identity, String> {
    Identity::load(certificate, key).map_err(|error| match error {
        error @ (key::Error::Read { .. } | key::Error::TooLarge { .. }) => error.to_string(),
        error => format!("{} with {}: {error}", certificate.display(), key.display()),
    })
}

/// How passive recipients' servers are judged, where the configuration names their authorities.
fn recipients_tls(
    config: &Config,
    anchors: &Arc<TrustAnchors>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
    if config.osci.receiver_anchors.is_empty() {
        return Ok(None);
    }
    let tls = client_config(anchors.clone(), None, clock.clone()).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(tls)))
}

/// A certificate and the key that is proven to belong to it.
pub(crate) fn read_identity(
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<(Certificate, Vec<u8>), String> {
    if let Ok(Some(exposed)) = key::exposure(key) {
        tracing::warn!(code = "key-exposed", "{exposed}");
    }
    let identity = load_identity(certificate, key)?;
    let own = identity.chain().first().cloned().ok_or("no certificate")?;
    let bytes = key::read_bounded(key).map_err(|error| error.to_string())?;
    let private = PrivateKey::from_pem(&bytes).map_err(|error| error.to_string())?;
    let pkcs8 = private.pkcs8_der().ok_or_else(|| {
        format!("{}: PKCS #8 is needed; convert it: openssl pkcs8 -topk8 -nocrypt", key.display())
    })?;
    Ok((own, pkcs8.to_vec()))
}
