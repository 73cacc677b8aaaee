//! `amtsbote serve`: the post office itself.

use super::exit::{Exit, Stop};
use super::{Place, runtime_for_server, screen};
use crate::app::{App, log};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let config = Config::load(&place.path())?;
        log::start(&config.log).map_err(Stop::usage)?;
        let path = config.xta.path.clone();
        let osci = (if config.osci.tls { "https" } else { "http" }, config.osci.path.clone());
        runtime_for_server()?.block_on(async {
            let running = App::start(config).await.map_err(|error| {
                Stop::failed(error.to_string()).then("`amtsbote check` looks at everything")
            })?;
            let osci = running.osci_address.map_or(String::new(), |address| {
                let (scheme, path) = &osci;
                format!(" OSCI-Transport 1.2 at {scheme}://{address}{path},")
            });
            let portal = running
                .portal_address
                .map_or(String::new(), |address| format!(" portals' submissions at https://{address},"));
            screen::sentence(&format!(
                "XTA 2 at https://{}{path},{osci} operator at http://{}/metrics,{portal} administration at {}.",
                running.xta_address,
                running.operator_address,
                running.admin_socket.display()
            ));
            running.until_stopped().await.map_err(|error| Stop::failed(format!("signals: {error}")))
        })?;
        Ok(Exit::Done)
    }
}
