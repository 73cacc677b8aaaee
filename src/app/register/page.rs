//! The page for private enquiries, on a listener of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use super::RegisterService;
use super::error::{RegisterError, unusable};
use crate::clock::SystemClock;
use crate::config::register::RegisterConfig;
use crate::enquiry::{self, Door};
use crate::net::{Bounds, Listener, Permits, Serving, TlsSource};
use crate::portal::places::Places;
use crate::register::person::Ags;

const PAGE_CONNECTIONS_MAX: usize = 256;

/// The page for private enquiries, not yet at work.
pub struct RegisterPage {
    address: SocketAddr,
    tls: Option<TlsSource>,
    door: Arc<Door>,
}

impl RegisterPage {
    /// None where the configuration has none.
    pub fn open(config: &RegisterConfig, service: &RegisterService) -> Result<Option<Self>, RegisterError> {
        let Some(page) = &config.page else { return Ok(None) };
        let mut places: Vec<(Ags, String)> = Places::known()
            .iter()
            .filter_map(|place| {
                let key = crate::domain::destination::Ags::of(&place.region)?;
                Some((Ags::parse(key.as_str()).ok()?, place.name.clone()))
            })
            .collect();
        places.sort_by(|one, other| one.1.cmp(&other.1));
        let settings = enquiry::Settings {
            users: config.page_users()?,
            places,
            list_lines_max: page.list_lines_max,
            url: page.url.clone(),
            zone: config.zone()?,
        };
        let door = Door::new(service.desk(), service.cashier(), Arc::new(SystemClock), settings);
        let door = Arc::new(door.map_err(|error| unusable("the page", error))?);
        Ok(Some(Self { address: page.address, tls: service.page_tls(), door }))
    }

    pub(super) async fn serve(self) -> std::io::Result<Serving> {
        let permits = Permits::new(PAGE_CONNECTIONS_MAX);
        let is_tls = self.tls.is_some();
        let listener = match self.tls {
            Some(source) => Listener::tls(self.address, source, Bounds::default(), permits).await?,
            None => Listener::plain(self.address, Bounds::default(), permits).await?,
        };
        tracing::info!(address = %listener.address()?, tls = is_tls, "the page is served");
        Ok(listener.serve(self.door))
    }
}
