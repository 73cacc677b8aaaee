//! The TLS configuration in force: connections take it when they begin, so a reload cuts none.

use std::sync::{Arc, RwLock};

use rustls::ServerConfig;

/// A configuration that can be replaced while connections live on under the old one.
#[derive(Clone)]
pub struct TlsSource(Arc<RwLock<Arc<ServerConfig>>>);

impl TlsSource {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// Connections from here on use `config`.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = config;
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
