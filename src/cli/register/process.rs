//! `amtsbote register init`, `serve`, `password`: the register's process and what it needs.

use std::io::{BufRead, Read as _, Write};
use std::path::Path;

use super::super::exit::{Exit, Stop};
use super::super::runtime_for_server;
use super::super::screen;
use crate::app::register::{self as process, RegisterError, RegisterPage, RegisterService};
use crate::config::ConfigError;
use crate::config::register::{EXAMPLE, RegisterConfig};
use crate::enquiry::users::Secret;

pub fn write_example(file: &Path) -> Result<Exit, Stop> {
    let failed =
        |error: std::io::Error| Stop::failed(format!("{} cannot be written: {error}", file.display()));
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    made.write_all(EXAMPLE.as_bytes()).map_err(failed)?;
    screen::sentence("Every key is explained in it. Next: amtsbote register serve --settings FILE.");
    screen::data(&format!("{}\n", file.display()))?;
    Ok(Exit::Done)
}

/// Why there is no configuration to go by, and how one is begun.
pub(super) fn unloaded(error: ConfigError, otherwise: &str) -> Stop {
    match error {
        ConfigError::Absent { path } => {
            Stop::usage(format!("there is no configuration of the register at {}", path.display()))
                .then(format!("`amtsbote register init` writes one; {otherwise}"))
        }
        error => Stop::usage(error.to_string()),
    }
}

pub fn serve(settings: &Path) -> Result<Exit, Stop> {
    let config =
        RegisterConfig::load(settings).map_err(|error| unloaded(error, "--settings names another"))?;
    let runtime = runtime_for_server()?;
    let failed = |error: std::io::Error| Stop::failed(format!("signals, or the page's address: {error}"));
    // A database that is slow to answer is no reason to end by a reload that comes meanwhile.
    let hang_up = {
        let _within = runtime.enter();
        process::hang_up().map_err(failed)?
    };
    crate::app::log::start(&config.log).map_err(Stop::usage)?;
    let service = RegisterService::open(&config).map_err(|error| match error {
        RegisterError::Copies(error) => super::stop(error),
        error => Stop::usage(error.to_string()),
    })?;
    let page = RegisterPage::open(&config, &service).map_err(|error| Stop::usage(error.to_string()))?;
    if let Some(page) = &config.page {
        screen::sentence(&format!("The page for private enquiries is at {}/.", page.url));
    }
    screen::sentence(&format!(
        "The register {} is at work for {}, a client of {}.",
        config.register.folder.display(),
        config.register.identifiers.join(", "),
        config.office.url
    ));
    super::say_where(&service.desk().copies);
    runtime.block_on(process::until_stopped(service, page, hang_up)).map_err(failed)?;
    Ok(Exit::Done)
}

pub fn password() -> Result<Exit, Stop> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(4096).read_line(&mut line);
    read.map_err(|error| Stop::usage(format!("the standard input cannot be read: {error}")))?;
    let secret = Secret::of(line.trim_end_matches(['\r', '\n']));
    let secret = secret.map_err(|what| Stop::usage(format!("the password {what}")))?;
    screen::data(&format!("password = \"{secret}\"\n"))?;
    Ok(Exit::Done)
}
