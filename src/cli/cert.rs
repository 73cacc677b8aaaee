//! `amtsbote cert`: certificates looked at, judged, watched, asked for, put in place and rolled over.

mod change;
mod import;
mod roll_over;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::link::{Link, unexpected};
use super::screen::{self, Align, Table};
use super::{Place, Reading};
use crate::admin::protocol::{Answer, Verb};
use crate::app::portal_key;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::pki::certificate::Certificate;
use crate::pki::development::{KeyChoice, Role};
use crate::pki::inspection::{Inspection, Purpose};
use crate::pki::jose::jwk::JwkSet;
use crate::pki::key::{self, Readers};
use crate::pki::request::{Request, RequestKey, Subject};
use crate::pki::revocation::answers::Answers;
use crate::pki::revocation::fetch::{Client, Rest};
use crate::pki::summary::Summary;
use crate::pki::trust::TrustAnchors;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What stands in a certificate, its key's fingerprint included
    Show {
        /// PEM file
        file: PathBuf,
        #[command(flatten)]
        reading: Reading,
    },
    /// Judge a participant's certificate as the server would (exit code 4 if it would be refused)
    Check {
        /// PEM file, the participant's own certificate first
        file: PathBuf,
        #[command(flatten)]
        reading: Reading,
    },
    /// Certificates that end soon: the server's for every role, authorities' and participants' (exit code 4 if there are
    /// any)
    Expiring {
        /// Within how many days
        #[arg(long, default_value_t = 60, value_name = "DAYS")]
        days: u32,
        #[command(flatten)]
        link: Link,
        #[command(flatten)]
        reading: Reading,
    },
    /// Make a key and a request (PKCS #10) to send to an authority
    Request(Ask),
    /// The public part of the key that signs as a portal, as portal.further_keys and portal.former_keys take it (JWK
    /// Set, RFC 7517)
    PortalKey {
        /// File of the private key [default: portal.key of the configuration]
        file: Option<PathBuf>,
        /// Make it (RSA, 4096 bits); the file must not exist
        #[arg(long, requires = "file")]
        make: bool,
    },
    /// Check a certificate or key and put it where the configuration says; the former one is kept
    #[command(subcommand)]
    Import(import::Command),
    /// Change to the next certificate or key with overlap: what is active, what is next, what to do now
    #[command(subcommand)]
    RollOver(roll_over::Command),
}

#[derive(Debug, clap::Args)]
pub struct Ask {
    /// Where the new key goes; the file must not exist. The request goes to stdout
    #[arg(long, value_name = "FILE")]
    key_out: PathBuf,
    /// What the certificate is for
    #[arg(long, value_enum, default_value = "participant")]
    role: RoleArg,
    #[arg(long, value_enum, default_value = "p256")]
    key: KeyArg,
    /// Common name
    #[arg(long, value_name = "TEXT")]
    common_name: String,
    #[arg(long, default_value = "", value_name = "TEXT")]
    organization: String,
    #[arg(long, default_value = "", value_name = "TEXT")]
    organizational_unit: String,
    #[arg(long, default_value = "", value_name = "TEXT")]
    locality: String,
    #[arg(long, default_value = "", value_name = "TEXT")]
    state: String,
    #[arg(long, default_value = "DE", value_name = "CODE")]
    country: String,
    /// Host name or address; a server's certificate needs at least one
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleArg {
    Server,
    Participant,
    Signature,
    Encryption,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyArg {
    P256,
    P384,
    Ed25519,
    Rsa3072,
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        match self {
            Self::Show { file, reading } => {
                let chain = chain(file)?;
                let summaries: Vec<Summary> = chain.iter().map(Summary::from).collect();
                if reading.json {
                    screen::json(&summaries)?;
                } else {
                    let texts: Vec<String> = summaries.iter().map(show).collect();
                    screen::data(&texts.join("\n"))?;
                }
                Ok(Exit::Done)
            }
            Self::Check { file, reading } => check(place, file, *reading),
            Self::Expiring { days, link, reading } => expiring(place, link, *days, *reading),
            Self::Request(ask) => ask.run(),
            Self::PortalKey { file, make } => {
                let file = file
                    .clone()
                    .map_or_else(|| Ok(Config::load(&place.path())?.portal.key), Ok::<_, Stop>)?;
                let wrong = |what: String| Stop::usage(format!("{}: {what}", file.display()));
                if *make {
                    portal_key::make(&file).map_err(wrong)?;
                }
                let missing = "the server makes its own at its first start; --make makes another one";
                let key = portal_key::read(&file).map_err(|what| wrong(what).then(missing))?;
                screen::json(&JwkSet { keys: vec![portal_key::published(&key).map_err(wrong)?] })?;
                Ok(Exit::Done)
            }
            Self::Import(command) => command.run(place),
            Self::RollOver(command) => command.run(place),
        }
    }
}

fn chain(file: &Path) -> Result<Vec<Certificate>, Stop> {
    let wrong = |error: String| Stop::usage(format!("{}: {error}", file.display()));
    let bytes = key::read_bounded(file).map_err(|error| Stop::usage(error.to_string()))?;
    Certificate::chain_from_pem(&bytes).map_err(|error| wrong(error.to_string()))
}

fn show(summary: &Summary) -> String {
    let none = || "none".to_owned();
    let mut pairs = vec![
        ("subject", summary.subject.clone()),
        ("issuer", summary.issuer.clone()),
        ("serial", summary.serial.clone()),
        ("valid from", screen::instant(summary.not_before)),
        ("valid until", screen::instant(summary.not_after)),
        ("key", summary.key_kind.clone()),
        ("key fingerprint", summary.key_fingerprint.to_string()),
        ("signed with", summary.signature_algorithm.clone()),
        ("key usage", summary.key_usages.as_ref().map_or_else(none, |usages| usages.join(", "))),
        (
            "extended usage",
            summary.extended_key_usages.as_ref().map_or_else(none, |usages| usages.join(", ")),
        ),
    ];
    if !summary.alternative_names.is_empty() {
        pairs.push(("names", summary.alternative_names.join(", ")));
    }
    if summary.is_ca {
        pairs.push(("authority", "yes".to_owned()));
    }
    screen::fields(&pairs)
}

/// Whom the door believes, with what the server has learnt from responders; nobody is asked here.
fn participant_anchors(config: &Config, now: Timestamp) -> Result<TrustAnchors, Stop> {
    let anchors =
        TrustAnchors::load(&config.trust_settings()).map_err(|error| Stop::usage(error.to_string()))?;
    Ok(match config.revocation.ocsp {
        true => {
            let answers = Arc::new(Answers::default());
            Client::new(config.fetch_settings()).read_kept_answers(&answers, now, Rest::Leave);
            anchors.with_answers(answers)
        }
        false => anchors,
    })
}

#[derive(Serialize)]
struct Judged {
    acceptable: bool,
    inspection: Inspection,
}

fn check(place: &Place, file: &Path, reading: Reading) -> Result<Exit, Stop> {
    let chain = chain(file)?;
    let config = Config::load(&place.path())?;
    let now = SystemClock.now();
    let anchors = participant_anchors(&config, now)?;
    let inspection = anchors
        .inspect_chain(Purpose::ParticipantTls, &chain, now)
        .ok_or_else(|| Stop::usage(format!("{} holds no certificate", file.display())))?;
    let acceptable = inspection.is_acceptable();
    let sentences: Vec<String> =
        inspection.sentences.iter().chain(&inspection.warnings).map(|text| screen::plain(text)).collect();
    if reading.json {
        screen::json(&Judged { acceptable, inspection })?;
    } else {
        let finding = inspection.finding("participant");
        let mut out = screen::fields(&[
            ("subject", finding.subject),
            ("verdict", finding.verdict),
            ("accepted", if acceptable { "yes" } else { "no" }.to_owned()),
        ]);
        out.extend(finding.checks.iter().map(|line| format!("  {}\n", screen::plain(line))));
        screen::data(&out)?;
        sentences.iter().for_each(|text| screen::sentence(text));
    }
    Ok(if acceptable { Exit::Done } else { Exit::Problems })
}

fn expiring(place: &Place, link: &Link, days: u32, reading: Reading) -> Result<Exit, Stop> {
    let Answer::Certificates { certificates } = link.ask(place, Verb::CertificatesExpiring { days })? else {
        return Err(unexpected());
    };
    let urgent = certificates.iter().any(|end| !end.replaced);
    if reading.json {
        screen::json(&certificates)?;
    } else {
        let now = SystemClock.now();
        let heads = ["ENDS", "AT", "OWNER", "ROLE", "SUBJECT", "REMARK"].map(|head| (head, Align::Left));
        let mut table = Table::new(&heads);
        for end in &certificates {
            let ends = match end.not_after < now {
                true => format!("{} ago", screen::age(end.not_after, now)),
                false => screen::age(end.not_after, now),
            };
            let remark = if end.replaced { "a later one is there" } else { "" };
            let at = screen::instant(end.not_after);
            let role = end.role.name().to_owned();
            table.row([ends, at, end.owner.clone(), role, end.subject.clone(), remark.to_owned()]);
        }
        if certificates.is_empty() {
            screen::sentence(&format!("No certificate that is known here ends within {days} days."));
        } else {
            screen::data(&table.render())?;
        }
    }
    Ok(if urgent { Exit::Problems } else { Exit::Done })
}

impl Ask {
    fn run(&self) -> Result<Exit, Stop> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let request = Request {
            subject: Subject {
                common_name: &self.common_name,
                organization: &self.organization,
                organizational_unit: &self.organizational_unit,
                locality: &self.locality,
                state: &self.state,
                country: &self.country,
            },
            role: match self.role {
                RoleArg::Server => Role::Server,
                RoleArg::Participant => Role::Participant,
                RoleArg::Signature => Role::Signature,
                RoleArg::Encryption => Role::Encryption,
            },
            names: &names,
        };
        let choice = match self.key {
            KeyArg::P256 => KeyChoice::P256,
            KeyArg::P384 => KeyChoice::P384,
            KeyArg::Ed25519 => KeyChoice::Ed25519,
            KeyArg::Rsa3072 => KeyChoice::Rsa3072,
        };
        let made = request.make(RequestKey::New(choice)).map_err(|error| Stop::usage(error.to_string()))?;
        let pem = made.new_key_pem().unwrap_or_default();
        key::write_new(&self.key_out, pem.as_bytes(), Readers::Owner)
            .map_err(|error| Stop::failed(error.to_string()))?;
        screen::sentence(&format!(
            "The key is in {}; keep it. Send the request to your authority.",
            self.key_out.display()
        ));
        screen::data(&made.request_pem)?;
        Ok(Exit::Done)
    }
}
