//! `amtsbote cert import`: a certificate or key that came from an authority, checked and put in place at once.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::change::{self, Act, Judged, Pair, Spot, add_key, change_evidence_key};
use super::{Exit, Stop, chain};
use crate::admin::protocol::CertificateAct;
use crate::app::evidence_key;
use crate::cli::link::Link;
use crate::cli::{Changing, Place, screen};
use crate::config::Config;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::Role;
use crate::pki::inspection::Purpose;
use crate::pki::key;
use crate::pki::summary::Summary;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The listener's certificate and key (exit code 4 if they cannot be used)
    Server(New),
    /// The certificate and key that OSCI clients encrypt for; the former one moves to the next place of
    /// osci.cipher_certificates (exit code 4 if they cannot be used or there is no next place)
    OsciEncryption(New),
    /// The certificate and key of our OSCI signatures (exit code 4 if they cannot be used)
    OsciSignature(New),
    /// The certificate and key that sign process cards (exit code 4 if they cannot be used)
    ProcessCards(New),
    /// The key that signs the evidence log (Ed25519, PKCS #8); in force with the next start
    Evidence {
        /// PEM file
        key: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// A further certificate of a participant; those that are registered stay (exit code 4 if it would be refused)
    Participant {
        /// The account's name
        account: String,
        /// PEM file, the participant's own certificate first
        file: PathBuf,
        /// What it shows the certificate for
        #[arg(long, value_enum, default_value = "tls")]
        role: ParticipantRole,
        /// The identifier whose mailbox a certificate for OSCI encryption names; needed where the account has several
        #[arg(long, value_name = "IDENTIFIER")]
        identifier: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ParticipantRole {
    Tls,
    OsciEncryption,
    OsciSignature,
}

impl ParticipantRole {
    pub(super) const ALL: [Self; 3] = [Self::Tls, Self::OsciEncryption, Self::OsciSignature];

    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::Tls => Purpose::ParticipantTls,
            Self::OsciEncryption => Purpose::OsciEncryption,
            Self::OsciSignature => Purpose::OsciSignature,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct New {
    /// PEM file, our own certificate first, its intermediates after it
    file: PathBuf,
    /// Its private key; if absent, the key that is in place
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Args)]
pub struct Asking {
    /// Check and stop: exit code 0 if it can be used, 4 if not
    #[arg(long)]
    dry_run: bool,
    /// What was checked as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    changing: Changing,
    #[command(flatten)]
    link: Link,
}

#[derive(Serialize)]
struct Report<'a> {
    role: &'static str,
    certificate: Option<Summary>,
    acceptable: bool,
    #[serde(flatten)]
    judged: &'a Judged,
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let config = Config::load(&place.path())?;
        change::recover(&config)?;
        match self {
            Self::Server(new) => own(place, &config, &Spot::server(&config), new),
            Self::OsciEncryption(new) => own(place, &config, &Spot::osci_encryption(&config)?, new),
            Self::OsciSignature(new) => own(place, &config, &Spot::osci_signature(&config), new),
            Self::ProcessCards(new) => own(place, &config, &Spot::process_cards(&config), new),
            Self::Evidence { key, asking } => evidence(place, &config, key, asking),
            Self::Participant { account, file, role, identifier, asking } => {
                let shown = Shown { role: *role, identifier: identifier.clone() };
                participant(place, &config, account, file, shown, asking)
            }
        }
    }
}

impl Asking {
    fn act<'a>(&'a self, place: &'a Place, config: &'a Config, object: String) -> Act<'a> {
        let (link, changing) = (&self.link, &self.changing);
        Act { place, link, config, act: CertificateAct::Import, object, changing }
    }

    /// Shows what was found; whether to go on.
    fn show(
        &self,
        role: &'static str,
        certificate: Option<&Certificate>,
        judged: &Judged,
    ) -> Result<bool, Stop> {
        if self.json {
            let acceptable = judged.problems.is_empty();
            screen::json(&Report { role, certificate: certificate.map(Summary::from), acceptable, judged })?;
        }
        judged.say("it")?;
        Ok(!self.dry_run)
    }
}

fn own(place: &Place, config: &Config, spot: &Spot, new: &New) -> Result<Exit, Stop> {
    let New { file, key, asking } = new;
    let pair = Pair::read(file, key.as_ref().unwrap_or(&spot.key))?;
    let active = chain(&spot.certificate).ok().and_then(|chain| chain.into_iter().next());
    let is_there = active.as_ref() == Some(pair.leaf());
    let mut judged = spot.judge(config, &pair, active.as_ref(), change::now())?;
    if let Some(Ok(Some(exposed))) = key.as_ref().map(|key| key::exposure(key)) {
        judged.warnings.push(exposed);
    }
    let shifts = spot.role == Role::OsciEncryption;
    if shifts && active.is_some() && !is_there {
        judged.problems.extend(change::encryption_obstacle(config)?);
    }
    if !asking.show(spot.name, Some(pair.leaf()), &judged)? {
        return Ok(Exit::Done);
    }
    if is_there {
        screen::sentence("It is in place already; nothing to do.");
        return Ok(Exit::Done);
    }
    let leaf = pair.leaf();
    let question = format!(
        "Put {} (until {}) in place of the certificate for {}?",
        leaf.subject(),
        leaf.not_after(),
        spot.name
    );
    screen::confirm(&question, asking.changing.yes)?;
    let act = asking.act(place, config, format!("{}, key {}", spot.name, leaf.key_fingerprint()));
    let files = match shifts && active.is_some() {
        true => change::shifted(config, &pair)?,
        false => pair.files(&spot.certificate, &spot.key),
    };
    act.put_in_place(&files)?.say("The certificate");
    Ok(Exit::Done)
}

fn evidence(place: &Place, config: &Config, file: &Path, asking: &Asking) -> Result<Exit, Stop> {
    let origin = &config.evidence.origin;
    let new = evidence_key::read(file, origin)
        .map_err(|error| Stop::usage(format!("{}: {error}", file.display())))?;
    let mut judged = Judged::default();
    let active = evidence_key::read(&config.evidence.key, origin).ok();
    let same = active.is_some_and(|active| active.verifier().to_string() == new.verifier().to_string());
    if !same {
        judged.problems.extend(change::evidence_obstacle(config)?);
    }
    if let Ok(Some(exposed)) = key::exposure(file) {
        judged.warnings.push(exposed);
    }
    if !asking.show("evidence", None, &judged)? {
        return Ok(Exit::Done);
    }
    if same {
        screen::sentence("It is in place already; nothing to do.");
        return Ok(Exit::Done);
    }
    screen::confirm("Change the key that signs the evidence log?", asking.changing.yes)?;
    let bytes = key::read_bounded(file).map_err(|error| Stop::usage(error.to_string()))?;
    let act = asking.act(place, config, format!("evidence, key {}", new.verifier()));
    change_evidence_key(&act, bytes)?.say_kept();
    screen::sentence("The key is in place. Restart the server; until then it signs with the former key.");
    screen::data(&format!("{}\n", new.verifier()))?;
    Ok(Exit::Done)
}

/// How a participant shows a certificate.
struct Shown {
    role: ParticipantRole,
    identifier: Option<String>,
}

fn participant(
    place: &Place,
    config: &Config,
    name: &str,
    file: &Path,
    shown: Shown,
    asking: &Asking,
) -> Result<Exit, Stop> {
    let chain = chain(file)?;
    let leaf = &chain[0];
    let judged = change::judge_participant(config, shown.role.purpose(), &chain, change::now())?;
    if !asking.show("participant", Some(leaf), &judged)? {
        return Ok(Exit::Done);
    }
    let (view, account) = change::account(&asking.link, place, name)?;
    screen::confirm(&format!("Let {} act for {name}?", leaf.subject()), asking.changing.yes)?;
    let act = asking.act(place, config, format!("{name}, key {}", leaf.key_fingerprint()));
    match shown.role {
        ParticipantRole::Tls => add_key(&act, view.revision, account, leaf)?,
        _ => change::add_osci(&act, view.revision, account, shown.role.purpose(), shown.identifier, leaf)?,
    }
    screen::sentence(&format!("{} acts for {name} as well, until {}.", leaf.subject(), leaf.not_after()));
    Ok(Exit::Done)
}
