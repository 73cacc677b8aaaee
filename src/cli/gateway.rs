//! `amtsbote gateway`: the process that opens portals' submissions for participants that delegate their key.
//!
//! It has a configuration of its own and is a client of the post office; the keys that it holds are not the post office's.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Exit, Stop};
use super::{Reading, runtime_for_server, screen};
use crate::app::gateway::{self as process, GatewayService};
use crate::config::ConfigError;
use crate::config::gateway::{EXAMPLE, GatewayConfig};
use crate::pki::key;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write an example configuration of the gateway's process
    Init {
        #[arg(default_value = "gateway.toml")]
        file: PathBuf,
    },
    /// Look at the gateway's configuration, keys and certificate; ask nobody, change nothing
    Check {
        #[command(flatten)]
        settings: SettingsFile,
        #[command(flatten)]
        reading: Reading,
    },
    /// Run the gateway: fetch submissions, open and verify them, post them to their readers, accept or reject
    Serve {
        #[command(flatten)]
        settings: SettingsFile,
    },
}

#[derive(Debug, clap::Args)]
pub struct SettingsFile {
    /// The gateway's own configuration
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    settings: PathBuf,
}

impl Command {
    pub fn run(&self) -> Result<Exit, Stop> {
        match self {
            Self::Init { file } => write_example(file),
            Self::Check { settings, reading } => check(&settings.settings, *reading),
            Self::Serve { settings } => serve(&settings.settings),
        }
    }
}

fn write_example(file: &Path) -> Result<Exit, Stop> {
    let failed =
        |error: std::io::Error| Stop::failed(format!("{} cannot be written: {error}", file.display()));
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    made.write_all(EXAMPLE.as_bytes()).map_err(failed)?;
    screen::sentence("Every key is explained in it. Next: amtsbote gateway check --settings FILE.");
    screen::data(&format!("{}\n", file.display()))?;
    Ok(Exit::Done)
}

fn load(settings: &Path) -> Result<GatewayConfig, Stop> {
    GatewayConfig::load(settings).map_err(|error| match error {
        ConfigError::Absent { path } => {
            Stop::usage(format!("there is no configuration of the gateway at {}", path.display()))
                .then("`amtsbote gateway init` writes one; --settings names another")
        }
        error => Stop::usage(error.to_string()),
    })
}

#[derive(Serialize)]
struct Found {
    verdict: &'static str,
    words: String,
}

/// Everything that starting would read, and who else may read the secrets.
fn check(settings: &Path, reading: Reading) -> Result<Exit, Stop> {
    let config = load(settings)?;
    let mut found = Vec::new();
    let mut add = |verdict, words: String| found.push(Found { verdict, words });
    match GatewayService::open(&config) {
        Ok(_) => {
            let count = config.destination.len();
            add(
                "good",
                format!("{}: {count} destinations, keys and certificate can be used", settings.display()),
            );
        }
        Err(error) => add("problem", error.to_string()),
    }
    let secret = config.destination.iter().flat_map(|destination| {
        let keys = destination.decryption.iter().map(|key| &key.file);
        keys.chain([&destination.signature.file, &destination.secret_file])
    });
    for path in secret.chain([&config.office.key]) {
        // That a file is missing was said.
        if let Ok(Some(sentence)) = key::exposure(path) {
            add("problem", sentence);
        }
    }
    let is_good = found.iter().all(|one| one.verdict == "good");
    if reading.json {
        screen::json(&found)?;
    } else {
        for one in &found {
            screen::data(&format!("{:<8} {}\n", one.verdict, one.words))?;
        }
    }
    Ok(if is_good { Exit::Done } else { Exit::Problems })
}

fn serve(settings: &Path) -> Result<Exit, Stop> {
    let config = load(settings)?;
    crate::app::log::start(&config.log).map_err(Stop::usage)?;
    let service = GatewayService::open(&config).map_err(|error| {
        Stop::usage(error.to_string()).then("`amtsbote gateway check` looks at everything")
    })?;
    screen::sentence(&format!(
        "The gateway is at work for {} destinations, a client of {} and {}.",
        config.destination.len(),
        config.office.portal,
        config.office.url
    ));
    runtime_for_server()?
        .block_on(process::until_stopped(service))
        .map_err(|error| Stop::usage(error.to_string()))?;
    Ok(Exit::Done)
}
