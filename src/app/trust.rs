//! Certificates in force: the server's own, and whom it believes. Replaced as a whole by a reload.

use std::sync::{Arc, PoisonError, RwLock};

use crate::clock::Clock;
use crate::config::Config;
use crate::net::{Handler, TlsSource};
use crate::pki::certificate::Certificate;
use crate::pki::key::{self, Identity};
use crate::pki::revocation::answers::Answers;
use crate::pki::revocation::fetch::{Client, Rest};
use crate::pki::tls::{ClientCertificate, server_config};
use crate::pki::trust::TrustAnchors;
use crate::relay::Relay;
use crate::xta;

#[derive(Clone)]
pub(super) struct Trust {
    listener: TlsSource,
    current: Arc<RwLock<Arc<Current>>>,
    /// Outlives reloads.
    answers: Arc<Answers>,
    clock: Arc<dyn Clock>,
}

struct Current {
    own: Vec<Certificate>,
    anchors: Arc<TrustAnchors>,
}

impl Trust {
    pub(super) fn load(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let answers = Arc::new(Answers::default());
        if config.revocation.ocsp {
            Client::new(config.fetch_settings()).read_kept_answers(&answers, clock.now(), Rest::Remove);
        }
        let (tls, current) = read(config, &clock, &answers)?;
        let current = Arc::new(RwLock::new(Arc::new(current)));
        Ok(Self { listener: TlsSource::new(tls), current, answers, clock })
    }

    /// Everything is read before anything is replaced.
    pub(super) fn reload(&self, config: &Config) -> Result<(), String> {
        let (tls, current) = read(config, &self.clock, &self.answers)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
        self.listener.replace(tls);
        Ok(())
    }

    /// Anchors and lists alone, after a newer list came in.
    pub(super) fn renew_anchors(&self, config: &Config) -> Result<(), String> {
        let anchors = read_anchors(config, &self.answers)?;
        let own = self.now().own.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Current { own, anchors });
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

    /// The server's chain, its own certificate first.
    pub(super) fn own(&self) -> Vec<Certificate> {
        self.now().own.clone()
    }

    pub(super) fn own_certificates(&self) -> crate::admin::server::OwnCertificates {
        let trust = self.clone();
        Arc::new(move || trust.own().into_iter().take(1).collect())
    }

    pub(super) fn xta_door(&self, relay: Arc<Relay>, config: &Config) -> Arc<dyn Handler> {
        let trust = self.clone();
        Arc::new(xta::server::Door::new(relay, Arc::new(move || trust.anchors()), config.xta_settings()))
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
    let identity = Identity::load(&tls.certificate, &tls.key).map_err(|error| error.to_string())?;
    let anchors = read_anchors(config, answers)?;
    // Without a certificate the door refuses in the protocol's terms, which helps more than a broken handshake.
    let listener = server_config(&identity, ClientCertificate::Optional, clock.clone())
        .map_err(|error| error.to_string())?;
    let current = Current { own: identity.chain().to_vec(), anchors };
    Ok((Arc::new(listener), current))
}
