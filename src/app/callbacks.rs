//! Whom callbacks believe: the authorities of their receivers, with what is known of revocation.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::pki::revocation::answers::Answers;
use crate::pki::revocation::fetch::{Client, Rest};
use crate::pki::tls::client_config;
use crate::pki::trust::TrustAnchors;
use crate::portal::callback::Settings;

/// How receivers are judged, as read from the configuration's files.
#[derive(Clone)]
pub struct Receivers {
    pub anchors: Arc<TrustAnchors>,
    pub tls: Arc<ClientConfig>,
}

/// Nothing where no authority is named.
pub fn receivers(
    config: &Config,
    clock: &Arc<dyn Clock>,
    answers: &Arc<Answers>,
) -> Result<Option<Receivers>, String> {
    let Some(settings) = config.receiver_trust() else { return Ok(None) };
    let anchors = TrustAnchors::load(&settings).map_err(|error| error.to_string())?;
    let anchors =
        Arc::new(if config.revocation.ocsp { anchors.with_answers(answers.clone()) } else { anchors });
    let tls = client_config(anchors.clone(), None, clock.clone()).map_err(|error| error.to_string())?;
    Ok(Some(Receivers { anchors, tls: Arc::new(tls) }))
}

/// For one call from a process of its own; answers about revocation that a server keeps on disk count.
pub fn settings(config: &Config, clock: &Arc<dyn Clock>) -> Result<Settings, String> {
    let answers = Arc::new(Answers::default());
    if config.revocation.ocsp {
        Client::new(config.fetch_settings()).read_kept_answers(&answers, clock.now(), Rest::Leave);
    }
    let tls = receivers(config, clock, &answers)?.map(|receivers| receivers.tls);
    Ok(config.callback_settings(Arc::new(move || tls.clone())))
}
