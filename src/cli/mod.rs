//! The command line: how an administrator lives. A file per subcommand.
//!
//! Data goes to stdout, sentences to stderr; every verb that reads has `--json`; the exit codes stand in [`exit`].
//! Verbs that change something ask, or take `--yes`, and record who and why.

mod acts;
mod card;
mod cert;
mod check;
mod completions;
mod copy;
mod demo;
mod demo_portal;
mod demo_register;
mod destination;
mod dialog;
mod evidence;
pub mod exit;
mod explain;
mod fetch;
mod gateway;
mod init;
mod lag;
mod link;
mod logs;
mod mailbox;
mod man;
mod message;
mod office;
mod osci;
mod participant;
mod register;
mod route;
mod screen;
mod send;
mod serve;
mod service;
mod store;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{PATH_DEFAULT, PATH_VARIABLE};
use exit::{Exit, Stop};

/// A virtual post office for public authorities: an intermediary for XTA 2 and OSCI-Transport 1.2.
#[derive(Debug, Parser)]
#[command(name = "amtsbote", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done; everything is as it should be
  1  refused or failed
  2  arguments, configuration or a file cannot be used
  3  no server is running
  4  a check found problems
  5  not confirmed
  6  no such message, mailbox, participant or code

Data goes to stdout, sentences to stderr. Start with: amtsbote demo";

/// Which configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Configuration file [default: amtsbote.toml]
    #[arg(long, global = true, value_name = "FILE", env = PATH_VARIABLE, hide_env = true)]
    pub config: Option<PathBuf>,
}

impl Place {
    pub fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PATH_DEFAULT.into())
    }
}

/// For verbs that read.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Reading {
    /// One JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

/// For verbs that change.
#[derive(Debug, Clone, clap::Args)]
pub struct Changing {
    /// Why; kept in the record of acts
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the post office
    Serve(serve::Args),
    /// See the post office at work: two offices, their messages, one proof, the population register
    Demo(demo::Args),
    /// Write a configuration and development certificates into a folder
    Init(init::Args),
    /// Look at configuration, certificates and store; change nothing
    Check(check::Args),
    /// Who takes part: accounts, keys, identifiers, rights
    #[command(subcommand)]
    Participant(participant::Command),
    /// Service profiles: every deadline of delivery
    #[command(subcommand)]
    Service(service::Command),
    /// Where a portal's applications go: destinations with keys, services and regions
    #[command(subcommand)]
    Destination(destination::Command),
    /// Which destination is competent where: explain, check, import, export
    #[command(subcommand)]
    Route(route::Command),
    /// Mailboxes and what waits in them
    #[command(subcommand)]
    Mailbox(mailbox::Command),
    /// Single messages: see, trace, hold, release, cancel, requeue
    #[command(subcommand)]
    Message(message::Command),
    /// Dialogs of OSCI that are open
    #[command(subcommand)]
    Dialog(dialog::Command),
    /// Process cards (Laufzettel)
    #[command(subcommand)]
    Card(card::Command),
    /// The log that proves what happened
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Certificates: show, check, expiring, request, import, roll over
    #[command(subcommand)]
    Cert(cert::Command),
    /// The store: health, lag, backup, verify, restore, copy, upgrade
    #[command(subcommand)]
    Store(store::Command),
    /// The population register's shadow copy: load, search by law, compare, report
    #[command(subcommand)]
    Register(register::Command),
    /// Open portals' submissions for participants that delegate their key: a process of its own
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Post a message as a participant would (XTA 2 with mutual TLS, or OSCI 1.2)
    Send(Box<send::Args>),
    /// Fetch what waits as a participant would (XTA 2 with mutual TLS, or OSCI 1.2)
    Fetch(fetch::Args),
    /// What operators have changed: who, when, why
    Acts(acts::Args),
    /// What a code of XTA 2 or OSCI means, and what to do
    Explain(explain::Args),
    /// Completions for a shell
    Completions(completions::Args),
    /// Manual pages
    Man(man::Args),
}

/// Runs one command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; clap knows which stream each belongs to.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    match perform(&cli) {
        Ok(exit) => exit.into(),
        Err(stop) => {
            screen::stop(&stop);
            stop.exit.into()
        }
    }
}

fn perform(cli: &Cli) -> Result<Exit, Stop> {
    let place = &cli.place;
    match &cli.command {
        Command::Serve(args) => args.run(place),
        Command::Demo(args) => args.run(),
        Command::Init(args) => args.run(),
        Command::Check(args) => args.run(place),
        Command::Participant(command) => command.run(place),
        Command::Service(command) => command.run(place),
        Command::Destination(command) => command.run(place),
        Command::Route(command) => command.run(place),
        Command::Mailbox(command) => command.run(place),
        Command::Message(command) => command.run(place),
        Command::Dialog(command) => command.run(place),
        Command::Card(command) => command.run(place),
        Command::Evidence(command) => command.run(place),
        Command::Cert(command) => command.run(place),
        Command::Store(command) => command.run(place),
        Command::Register(command) => command.run(),
        Command::Gateway(command) => command.run(),
        Command::Send(args) => args.run(),
        Command::Fetch(args) => args.run(),
        Command::Acts(args) => args.run(place),
        Command::Explain(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// The definition that help, completions and manual pages come from.
fn definition() -> clap::Command {
    Cli::command()
}

/// A small runtime for one conversation.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("no runtime: {error}")))
}

/// The runtime of a server: a thread for each processor.
fn runtime_for_server() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("no runtime: {error}")))
}

/// The file's text, or why it cannot be used.
fn read_text(path: &std::path::Path) -> Result<String, Stop> {
    std::fs::read_to_string(path)
        .map_err(|error| Stop::usage(format!("{} cannot be read: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn help_names_every_exit_code() {
        for exit in Exit::ALL {
            let line = format!("  {}  {}\n", exit as u8, exit.meaning());
            assert!(AFTER_HELP.contains(&line), "{line}");
        }
    }
}
