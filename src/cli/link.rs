//! The way to the running server: which socket, and what to say when nobody listens there.

use std::path::PathBuf;

use super::exit::{Exit, Stop};
use super::{Place, runtime};
use crate::admin::client::{self, ClientError};
use crate::admin::protocol::{Answer, Verb};
use crate::config::Config;

/// Arguments of every verb that talks to the running server.
#[derive(Debug, Clone, clap::Args)]
pub struct Link {
    /// Socket of the running server, if not the one in the configuration
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl Link {
    pub fn ask(&self, place: &Place, verb: Verb) -> Result<Answer, Stop> {
        let (socket, start) = match &self.socket {
            Some(socket) => (socket.clone(), "amtsbote serve".to_owned()),
            None => {
                let path = place.path();
                let config = Config::load(&path)?;
                (config.server.admin_socket, format!("amtsbote serve --config {}", path.display()))
            }
        };
        runtime()?.block_on(client::ask(&socket, verb)).map_err(|error| stop(error, &start))
    }
}

fn stop(error: ClientError, start: &str) -> Stop {
    let sentence = error.to_string();
    match error {
        ClientError::NotRunning { .. } => {
            Stop::new(Exit::NotRunning, sentence).then(format!("Start it with: {start}"))
        }
        ClientError::Forbidden { .. } => {
            Stop::failed(sentence).then("Use the server's user or root, or add your uid to server.admin_uids")
        }
        ClientError::Refused(refused) => {
            let exit = match refused.code.as_str() {
                "unknown-message" | "unknown-mailbox" | "unknown-participant" => Exit::Unknown,
                _ => Exit::Failed,
            };
            Stop::new(exit, sentence).then(refused.next_step)
        }
        ClientError::Broken(_) => Stop::failed(sentence).then("See the server's log"),
    }
}

/// An answer to another question: server and command line are of different builds.
pub fn unexpected() -> Stop {
    Stop::failed("the server answered another question than was asked")
        .then("Use the command line of the server's own version")
}
