//! Whom the register talks to, and whom it believes: the post office, its own mailboxes, those who must sign.
//! All of it is read from files, and may be read anew while the process works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::cashier;
use super::error::{RegisterError, unusable};
use crate::clock::Clock;
use crate::config::register::RegisterConfig;
use crate::domain::party::PartyIdentifier;
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::key::{self, Identity};
use crate::pki::tls::{ClientCertificate, client_config, server_config};
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::register::payment;
use crate::register::signers::Signers;
use crate::xta::client::{Client, Settings as ClientSettings};

/// One that a reload may replace as a whole; whoever works with the one before finishes with it.
pub struct InForce<T>(RwLock<Arc<T>>);

impl<T> InForce<T> {
    pub fn new(first: T) -> Self {
        Self(RwLock::new(Arc::new(first)))
    }

    pub fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn replace(&self, next: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

/// All that comes of files with certificates, keys, authorities, revocation lists and tokens.
pub struct Credentials {
    pub client: Client,
    /// Looks into the mailbox for locks.
    pub urgent: Option<Client>,
    pub signers: Signers,
    pub payment: Option<payment::client::Client>,
    /// Absent where the page speaks plain HTTP, or there is none.
    pub page: Option<Arc<rustls::ServerConfig>>,
}

impl Credentials {
    pub fn read(config: &RegisterConfig, clock: &Arc<dyn Clock>) -> Result<Self, RegisterError> {
        let urgent = config.register.urgent_identifier.as_ref();
        let payment = config.payment.as_ref();
        Ok(Self {
            client: client(config, "*", clock.clone())?,
            urgent: urgent.map(|one| client(config, one, clock.clone())).transpose()?,
            signers: signers(config)?,
            payment: payment.map(|one| cashier::client(one, clock.clone())).transpose()?,
            page: page(config, clock.clone())?,
        })
    }
}

pub fn identifier(value: &str) -> Result<PartyIdentifier, RegisterError> {
    PartyIdentifier::with_labels(value, Some("xoev"), None, None)
        .map_err(|error| unusable(format!("the identifier {value}"), error))
}

/// How a server is judged: by its authorities, and by their revocation lists where there are any.
pub fn server_tls(
    anchors: &[PathBuf],
    crls: &[PathBuf],
    identity: Option<&Identity>,
    clock: Arc<dyn Clock>,
) -> Result<rustls::ClientConfig, String> {
    let unknown = if crls.is_empty() { UnknownRevocation::Warn } else { UnknownRevocation::Refuse };
    let believed = PurposeSettings {
        anchors: anchors.to_vec(),
        revocation_lists: crls.to_vec(),
        unknown_revocation: unknown,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into());
    let anchors = anchors.map_err(|error| error.to_string())?;
    client_config(Arc::new(anchors), identity, clock).map_err(|error| error.to_string())
}

/// Who must sign, with their certificates read.
fn signers(config: &RegisterConfig) -> Result<Signers, RegisterError> {
    let mut known: BTreeMap<String, Vec<Certificate>> = BTreeMap::new();
    for signer in &config.signer {
        for path in &signer.certificates {
            let wrong = |error: &dyn std::fmt::Display| unusable(path.display().to_string(), error);
            let pem = key::read_bounded(path).map_err(|error| wrong(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| wrong(&error))?;
            known.entry(signer.identifier.clone()).or_default().push(certificate);
        }
    }
    let settings = &config.signatures;
    let unknown = if settings.crls.is_empty() { UnknownRevocation::Warn } else { UnknownRevocation::Refuse };
    let believed = PurposeSettings {
        anchors: settings.anchors.clone(),
        revocation_lists: settings.crls.clone(),
        unknown_revocation: unknown,
        ..PurposeSettings::default()
    };
    let anchors = TrustAnchors::load(&[(Purpose::OsciSignature, believed)].into());
    let anchors = anchors.map_err(|error| unusable("signatures.anchors", error))?;
    Ok(Signers::new(known, Arc::new(anchors)))
}

/// How the page shows that it is the register's.
fn page(
    config: &RegisterConfig,
    clock: Arc<dyn Clock>,
) -> Result<Option<Arc<rustls::ServerConfig>>, RegisterError> {
    let files = config.page.as_ref().and_then(|page| page.certificate.as_ref().zip(page.key.as_ref()));
    let Some((certificate, key)) = files else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| unusable("page.certificate and page.key", error);
    let identity = Identity::load(certificate, key).map_err(|error| wrong(&error))?;
    let tls = server_config(&identity, ClientCertificate::None, clock).map_err(|error| wrong(&error))?;
    Ok(Some(Arc::new(tls)))
}

/// Looks into one mailbox, or with `*` into all of ours.
fn client(config: &RegisterConfig, mailbox: &str, clock: Arc<dyn Clock>) -> Result<Client, RegisterError> {
    let office = &config.office;
    let identity = Identity::load(&office.certificate, &office.key)
        .map_err(|error| unusable("office.certificate and office.key", error))?;
    let tls = server_tls(&office.anchors, &office.crls, Some(&identity), clock)
        .map_err(|error| unusable("office.anchors", error))?;
    let mut settings = ClientSettings::new(&office.url, Arc::new(tls));
    settings.identifier = Some(match mailbox {
        "*" => PartyIdentifier::new("*").map_err(|error| unusable("*", error))?,
        mailbox => identifier(mailbox)?,
    });
    Client::new(settings).map_err(|error| unusable("office.url", error))
}
