//! Whom callbacks believe: the authorities of their receivers, read at the start; a change takes a restart.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::pki::certificate::Certificate;
use crate::pki::key;
use crate::pki::tls::anchored_client_config;

/// Nothing where no authority is named.
pub fn receivers_tls(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Arc<ClientConfig>>, String> {
    let mut anchors = Vec::new();
    for path in &config.portal.callback_anchors {
        let pem = key::read_bounded(path).map_err(|error| error.to_string())?;
        let read = Certificate::bundle_from_pem(&pem);
        anchors.extend(read.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    if anchors.is_empty() {
        return Ok(None);
    }
    let mut tls = anchored_client_config(&anchors, clock.clone()).map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(tls)))
}
