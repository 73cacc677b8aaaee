//! `amtsbote cert roll-over`: the change to the next certificate or key with overlap, one step at a time.
//!
//! Without a step it reads: what is active, what is next and from when, what is to be done now. The next pair of the
//! listener, of OSCI signatures, of OSCI encryption, of process cards and the next key of the evidence log wait beside the
//! files that are in use, with `.next` at their names' end. What clients have encrypted for the former certificate is
//! read as long as it has a place in `osci.cipher_certificates`. A participant's overlap is two registered certificates.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::change::{
    self, Act, Pair, Spot, add_key, add_osci, change_evidence_key, next_path, replace_account,
};
use super::import::ParticipantRole;
use super::{Exit, Stop, chain};
use crate::admin::protocol::{Answer, CertificateAct, Verb};
use crate::app::evidence_key;
use crate::cli::link::Link;
use crate::cli::{Changing, Place, screen};
use crate::config::Config;
use crate::domain::account::{Account, KeyFingerprint};
use crate::pki::certificate::Certificate;
use crate::pki::expiry::Role;
use crate::pki::key;

/// How long before its end a certificate's successor should be asked for.
const AHEAD: SignedDuration = SignedDuration::from_hours(60 * 24);
/// No certificate lasts longer.
const DAYS_MAX: u32 = 100 * 366;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The listener's certificate: lay the next one beside it, switch when its time has come
    Server(Turn),
    /// The certificate of our OSCI signatures: lay the next one beside it, switch when its time has come
    OsciSignature(Turn),
    /// The certificate that OSCI clients encrypt for: lay the next one beside it, switch when its time has come; the
    /// former one moves to the next place of osci.cipher_certificates and still decrypts
    OsciEncryption(Turn),
    /// The certificate that signs process cards: lay the next one beside it, switch when its time has come
    ProcessCards(Turn),
    /// The evidence log's key: make the next one, publish it, switch
    Evidence {
        /// Make the next key; prints the public one
        #[arg(long, requires = "reason")]
        new: bool,
        /// Put the next key in place of the active one, which is kept (exit code 4 if the configuration is not ready)
        #[arg(long, conflicts_with = "new", requires = "reason")]
        switch: bool,
        #[command(flatten)]
        step: Step,
    },
    /// A participant's certificates: register the next one beside the active one, retire what is no longer used
    Participant {
        /// The account's name
        account: String,
        /// Register this certificate (PEM) as a further one
        #[arg(long, value_name = "FILE", requires = "reason")]
        next: Option<PathBuf>,
        /// What the participant shows it for
        #[arg(long, value_enum, default_value = "tls", requires = "next")]
        role: ParticipantRole,
        /// The identifier whose mailbox a certificate for OSCI encryption names; by default that of the former one
        #[arg(long, value_name = "IDENTIFIER", requires = "next")]
        identifier: Option<String>,
        /// Take away the key of this fingerprint (exit code 4 if no other one of its role would be good now)
        #[arg(long, value_name = "KEY", conflicts_with = "next", requires = "reason")]
        retire: Option<String>,
        #[command(flatten)]
        step: Step,
    },
}

#[derive(Debug, clap::Args)]
pub struct Turn {
    /// Lay this chain (PEM, our own certificate first) ready as the next one
    #[arg(long, value_name = "FILE", requires = "reason")]
    next: Option<PathBuf>,
    /// Its private key; if absent, the key that is in use
    #[arg(long, value_name = "FILE", requires = "next")]
    next_key: Option<PathBuf>,
    /// Put the next one in place of the active one, which is kept (exit code 4 before its time)
    #[arg(long, conflicts_with = "next", requires = "reason")]
    switch: bool,
    #[command(flatten)]
    step: Step,
}

impl Turn {
    fn run(&self, place: &Place, config: &Config, spot: Spot) -> Result<Exit, Stop> {
        let own = Own { place, config, step: &self.step, spot };
        match &self.next {
            Some(next) => own.lay_ready(next, self.next_key.as_deref()),
            None if self.switch => own.switch(),
            None => show(&own.view()?, self.step.json),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Step {
    /// Why; kept in the record of acts
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: Link,
}

impl Step {
    fn changing(&self) -> Changing {
        Changing { reason: self.reason.clone().unwrap_or_default(), yes: self.yes }
    }
}

/// A certificate or key with its place in the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Stage {
    state: State,
    what: String,
    key: String,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Active,
    Next,
    Ended,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Ended => "ended",
        }
    }
}

#[derive(Debug, Serialize)]
struct View {
    role: String,
    stages: Vec<Stage>,
    /// Whether what is active on disk is what the running server uses; nothing without a server.
    in_force: Option<bool>,
    do_now: Vec<String>,
}

impl Command {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let config = Config::load(&place.path())?;
        change::recover(&config)?;
        match self {
            Self::Server(turn) => turn.run(place, &config, Spot::server(&config)),
            Self::OsciSignature(turn) => turn.run(place, &config, Spot::osci_signature(&config)),
            Self::OsciEncryption(turn) => turn.run(place, &config, Spot::osci_encryption(&config)?),
            Self::ProcessCards(turn) => turn.run(place, &config, Spot::process_cards(&config)),
            Self::Evidence { new, switch, step } => {
                let evidence = Evidence { place, config: &config, step };
                match (new, switch) {
                    (true, _) => evidence.make(),
                    (_, true) => evidence.switch(),
                    _ => show(&evidence.view()?, step.json),
                }
            }
            Self::Participant { account, next, role, identifier, retire, step } => {
                let participant = Participant { place, config: &config, name: account, step };
                match (next, retire) {
                    (Some(next), _) => participant.register(next, *role, identifier.clone()),
                    (_, Some(key)) => participant.retire(key),
                    _ => show(&participant.view()?, step.json),
                }
            }
        }
    }
}

fn show(view: &View, json: bool) -> Result<Exit, Stop> {
    if json {
        screen::json(view)?;
        return Ok(Exit::Done);
    }
    let heads = ["STATE", "FROM", "UNTIL", "KEY", "WHAT"].map(|head| (head, screen::Align::Left));
    let mut table = screen::Table::new(&heads);
    for stage in &view.stages {
        let instant = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), screen::instant);
        let state = stage.state.name().to_owned();
        table.row([state, instant(stage.from), instant(stage.until), stage.key.clone(), stage.what.clone()]);
    }
    screen::data(&table.render())?;
    view.do_now.iter().for_each(|line| screen::sentence(line));
    Ok(Exit::Done)
}

fn stage(state: State, certificate: &Certificate) -> Stage {
    Stage {
        state,
        what: certificate.subject().to_owned(),
        key: certificate.key_fingerprint().to_string(),
        from: Some(certificate.not_before()),
        until: Some(certificate.not_after()),
    }
}

/// A certificate of our own on its way to the next one.
struct Own<'a> {
    place: &'a Place,
    config: &'a Config,
    step: &'a Step,
    spot: Spot,
}

impl Own<'_> {
    fn leaf(path: &Path) -> Result<Option<Certificate>, Stop> {
        match path.exists() {
            true => Ok(chain(path)?.into_iter().next()),
            false => Ok(None),
        }
    }

    fn next_paths(&self) -> (PathBuf, PathBuf) {
        (next_path(&self.spot.certificate), next_path(&self.spot.key))
    }

    fn view(&self) -> Result<View, Stop> {
        let now = change::now();
        let active = Self::leaf(&self.spot.certificate)?;
        let next = Self::leaf(&self.next_paths().0)?;
        let in_force = match &active {
            Some(active) => self.shows(active.key_fingerprint())?,
            None => None,
        };
        let ended = |certificate: &Certificate| certificate.not_after() < now;
        let state = |certificate: &Certificate| if ended(certificate) { State::Ended } else { State::Active };
        let stages = active.iter().map(|one| stage(state(one), one));
        let stages = stages.chain(next.iter().map(|one| stage(State::Next, one))).collect();
        let span = |one: &Certificate| (one.not_before(), one.not_after());
        let mut do_now = advise(active.as_ref().map(span), next.as_ref().map(span), now);
        if next.is_some()
            && let Some(obstacle) = self.obstacle()?
        {
            do_now.insert(0, format!("Before --switch: {obstacle}."));
        }
        if in_force == Some(false) {
            do_now.insert(
                0,
                "The running server shows another key than the file holds: send it SIGHUP.".into(),
            );
        }
        Ok(View { role: self.spot.name.to_owned(), stages, in_force, do_now })
    }

    /// What stands in the way of changing it.
    fn obstacle(&self) -> Result<Option<String>, Stop> {
        match self.spot.role {
            Role::OsciEncryption => change::encryption_obstacle(self.config),
            _ => Ok(None),
        }
    }

    /// Whether the running server shows this key; nothing if none runs.
    fn shows(&self, key: KeyFingerprint) -> Result<Option<bool>, Stop> {
        match self.step.link.ask(self.place, Verb::CertificatesExpiring { days: DAYS_MAX }) {
            Ok(Answer::Certificates { certificates }) => Ok(Some(
                certificates
                    .iter()
                    .any(|end| end.owner == "server" && end.role == self.spot.role && end.key == key),
            )),
            Ok(_) => Err(crate::cli::link::unexpected()),
            Err(stop) if stop.exit == Exit::NotRunning => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    fn lay_ready(&self, next: &Path, next_key: Option<&Path>) -> Result<Exit, Stop> {
        let pair = Pair::read(next, next_key.unwrap_or(&self.spot.key))?;
        let leaf = pair.leaf();
        let active = Self::leaf(&self.spot.certificate)?;
        let at = change::now().max(leaf.not_before());
        self.spot.judge(self.config, &pair, active.as_ref(), at)?.say("it")?;
        let (certificate, key) = self.next_paths();
        let question = match certificate.exists() {
            true => "Lay it ready in place of the next one that is there?",
            false => "Lay it ready as the next one?",
        };
        screen::confirm(question, self.step.yes)?;
        let changing = self.step.changing();
        let object = format!("{}, next key {}", self.spot.name, leaf.key_fingerprint());
        let act = self.act(object, &changing);
        act.write_down()?;
        for kept in change::put_alone(&pair.files(&certificate, &key))? {
            screen::sentence(&format!("The former next file is kept as {}.", kept.display()));
        }
        screen::sentence(&format!("The next certificate lies ready as {}.", certificate.display()));
        show(&self.view()?, self.step.json)
    }

    fn act<'a>(&'a self, object: String, changing: &'a Changing) -> Act<'a> {
        let (link, act) = (&self.step.link, CertificateAct::RollOver);
        Act { place: self.place, link, config: self.config, act, object, changing }
    }

    fn switch(&self) -> Result<Exit, Stop> {
        let (certificate, key) = self.next_paths();
        if !certificate.exists() {
            return Err(Stop::new(Exit::Problems, "no next certificate lies ready").then(format!(
                "Give it with --next, or put one in place at once with `amtsbote cert import {}`",
                self.spot.name
            )));
        }
        let pair = Pair::read(&certificate, &key)?;
        let (leaf, now) = (pair.leaf(), change::now());
        if now < leaf.not_before() {
            return Err(Stop::new(
                Exit::Problems,
                format!("its time has not come: it is valid from {}", screen::instant(leaf.not_before())),
            ));
        }
        let active = Self::leaf(&self.spot.certificate)?;
        self.spot.judge(self.config, &pair, active.as_ref(), now)?.say("it")?;
        if active.is_some()
            && let Some(obstacle) = self.obstacle()?
        {
            return Err(Stop::new(Exit::Problems, "the certificate cannot be changed yet").then(obstacle));
        }
        screen::confirm("Put the next certificate in place of the active one?", self.step.yes)?;
        let changing = self.step.changing();
        let act = self.act(format!("{}, key {}", self.spot.name, leaf.key_fingerprint()), &changing);
        let files = match self.spot.role {
            Role::OsciEncryption if active.is_some() => change::shifted(self.config, &pair)?,
            _ => pair.files(&self.spot.certificate, &self.spot.key),
        };
        act.put_in_place(&files)?.say("The certificate");
        clear_away([&certificate, &key]);
        show(&self.view()?, self.step.json)
    }
}

/// What lay ready is in place; a remainder would only look like a further change.
fn clear_away<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) {
    for path in paths {
        if let Err(error) = std::fs::remove_file(path) {
            screen::sentence(&format!("Remove {} by hand: {error}.", path.display()));
        }
    }
}

/// What to do, from the instants between which the active and the next certificate are valid.
fn advise(
    active: Option<(Timestamp, Timestamp)>,
    next: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Vec<String> {
    let instant = screen::instant;
    let mut lines = Vec::new();
    match (active, next) {
        (None, None) => lines.push("No certificate is in place: amtsbote cert import server.".to_owned()),
        (Some((_, until)), None) => {
            let ask = until.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
            lines.push(match ask <= now {
                true => format!(
                    "Ask for the next one now (amtsbote cert request --role server), then lay it ready with --next; \
                     the active one ends at {}.",
                    instant(until)
                ),
                false => format!("Nothing to do until {}; then ask for the next one.", instant(ask)),
            });
        }
        (active, Some((from, until))) => {
            if until < now {
                lines.push("The next one has ended already: lay another one ready with --next.".to_owned());
                return lines;
            }
            if let Some((_, ends)) = active.filter(|(_, ends)| *ends < from) {
                lines.push(format!(
                    "There is no overlap: from {} to {} no certificate is valid. Ask for one that begins earlier.",
                    instant(ends),
                    instant(from)
                ));
            }
            lines.push(match from <= now {
                true => {
                    "Tell participants who keep our certificate the next key, then use --switch.".to_owned()
                }
                false => format!(
                    "Tell participants who keep our certificate the next key; use --switch from {} on.",
                    instant(from)
                ),
            });
        }
    }
    lines
}

struct Evidence<'a> {
    place: &'a Place,
    config: &'a Config,
    step: &'a Step,
}

impl Evidence<'_> {
    fn key(&self, path: &Path) -> Result<Option<String>, Stop> {
        if !path.exists() {
            return Ok(None);
        }
        let key = evidence_key::read(path, &self.config.evidence.origin)
            .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
        Ok(Some(key.verifier().to_string()))
    }

    fn next_path(&self) -> PathBuf {
        next_path(&self.config.evidence.key)
    }

    fn view(&self) -> Result<View, Stop> {
        let (active, next) = (self.key(&self.config.evidence.key)?, self.key(&self.next_path())?);
        let stage = |state, key: &String| Stage {
            state,
            what: "signs the evidence log".to_owned(),
            key: key.clone(),
            from: None,
            until: None,
        };
        let stages = active.iter().map(|key| stage(State::Active, key));
        let stages = stages.chain(next.iter().map(|key| stage(State::Next, key))).collect();
        let mut do_now = Vec::new();
        if next.is_none() {
            do_now.push("To change the key, make the next one with --new.".to_owned());
        } else {
            do_now.push("Publish the next public key to everybody who verifies proofs.".to_owned());
            match change::evidence_obstacle(self.config)? {
                Some(obstacle) => do_now.push(format!("Then {obstacle}.")),
                None => do_now.push("Then use --switch, and restart the server.".to_owned()),
            }
        }
        Ok(View { role: "evidence".to_owned(), stages, in_force: None, do_now })
    }

    fn act<'a>(&'a self, object: String, changing: &'a Changing) -> Act<'a> {
        let (link, act) = (&self.step.link, CertificateAct::RollOver);
        Act { place: self.place, link, config: self.config, act, object, changing }
    }

    fn make(&self) -> Result<Exit, Stop> {
        let path = self.next_path();
        if let Some(key) = self.key(&path)? {
            return Err(Stop::failed(format!("the next key lies ready already: {key}")));
        }
        screen::confirm("Make the evidence log's next key?", self.step.yes)?;
        let changing = self.step.changing();
        self.act(format!("evidence, next key in {}", path.display()), &changing).write_down()?;
        evidence_key::make(&path, &self.config.evidence.origin)
            .map_err(|error| Stop::failed(format!("{}: {error}", path.display())))?;
        show(&self.view()?, self.step.json)
    }

    fn switch(&self) -> Result<Exit, Stop> {
        let path = self.next_path();
        let Some(next) = self.key(&path)? else {
            return Err(Stop::new(Exit::Problems, "no next key lies ready").then("Make one with --new"));
        };
        if let Some(obstacle) = change::evidence_obstacle(self.config)? {
            return Err(Stop::new(Exit::Problems, "the key cannot be changed yet").then(obstacle));
        }
        screen::confirm("Put the next key in place of the active one?", self.step.yes)?;
        let bytes = key::read_bounded(&path).map_err(|error| Stop::usage(error.to_string()))?;
        let changing = self.step.changing();
        change_evidence_key(&self.act(format!("evidence, key {next}"), &changing), bytes)?.say_kept();
        clear_away([&path]);
        screen::sentence("The key is in place. Restart the server; until then it signs with the former key.");
        show(&self.view()?, self.step.json)
    }
}

struct Participant<'a> {
    place: &'a Place,
    config: &'a Config,
    name: &'a str,
    step: &'a Step,
}

impl Participant<'_> {
    /// Every certificate of the account with the role that it is shown for.
    fn stages(account: &Account, now: Timestamp) -> Vec<(ParticipantRole, Stage)> {
        let stage = |role: ParticipantRole, key: String, pem: Option<&str>| {
            let state = |one: &Certificate| match () {
                () if one.not_after() < now => State::Ended,
                () if one.not_before() > now => State::Next,
                () => State::Active,
            };
            let mut found = match pem.and_then(|pem| Certificate::from_pem(pem.as_bytes()).ok()) {
                Some(one) => stage(state(&one), &one),
                None => Stage {
                    state: State::Active,
                    what: "its certificate is not on file".to_owned(),
                    key: String::new(),
                    from: None,
                    until: None,
                },
            };
            // Accounts know a key for TLS by its own digest, one for OSCI by that of its certificate.
            found.key = key;
            if let Some(name) = role_name(role) {
                found.what = format!("{name}: {}", found.what);
            }
            (role, found)
        };
        let tls =
            account.keys.iter().map(|one| (ParticipantRole::Tls, one.key.to_string(), &one.certificate));
        let cipher = account.osci.cipher.iter();
        let cipher = cipher
            .map(|one| (ParticipantRole::OsciEncryption, one.fingerprint.to_string(), &one.certificate));
        let signature = account.osci.signature.iter();
        let signature = signature
            .map(|one| (ParticipantRole::OsciSignature, one.fingerprint.to_string(), &one.certificate));
        tls.chain(cipher).chain(signature).map(|(role, key, pem)| stage(role, key, pem.as_deref())).collect()
    }

    fn view(&self) -> Result<View, Stop> {
        let (_, account) = change::account(&self.step.link, self.place, self.name)?;
        let now = change::now();
        let stages = Self::stages(&account, now);
        let mut do_now = Vec::new();
        for role in ParticipantRole::ALL {
            let of_role: Vec<Stage> =
                stages.iter().filter(|(of, _)| *of == role).map(|(_, stage)| stage.clone()).collect();
            match role_name(role) {
                None if of_role.is_empty() && stages.iter().any(|(of, _)| *of != role) => {}
                None => do_now.extend(advise_participant(&of_role, now)),
                Some(_) if of_role.is_empty() => {}
                Some(name) => {
                    do_now.extend(
                        advise_participant(&of_role, now).iter().map(|line| format!("{name}: {line}")),
                    );
                }
            }
        }
        Ok(View {
            role: format!("participant {}", self.name),
            do_now,
            stages: stages.into_iter().map(|(_, stage)| stage).collect(),
            in_force: Some(true),
        })
    }

    fn act<'a>(&'a self, object: String, changing: &'a Changing) -> Act<'a> {
        let (link, act) = (&self.step.link, CertificateAct::RollOver);
        Act { place: self.place, link, config: self.config, act, object, changing }
    }

    fn register(&self, file: &Path, role: ParticipantRole, identifier: Option<String>) -> Result<Exit, Stop> {
        let chain = chain(file)?;
        let leaf = &chain[0];
        let at = change::now().max(leaf.not_before());
        change::judge_participant(self.config, role.purpose(), &chain, at)?.say("it")?;
        let (view, account) = change::account(&self.step.link, self.place, self.name)?;
        screen::confirm(&format!("Let {} act for {} as well?", leaf.subject(), self.name), self.step.yes)?;
        let changing = self.step.changing();
        let object = format!("{}, next key {}", self.name, leaf.key_fingerprint());
        let act = self.act(object, &changing);
        match role {
            ParticipantRole::Tls => add_key(&act, view.revision, account, leaf)?,
            _ => {
                let identifier = match identifier {
                    None if role == ParticipantRole::OsciEncryption => former_identifier(&account)?,
                    given => given,
                };
                add_osci(&act, view.revision, account, role.purpose(), identifier, leaf)?;
            }
        }
        show(&self.view()?, self.step.json)
    }

    fn retire(&self, fingerprint: &str) -> Result<Exit, Stop> {
        let key = KeyFingerprint::try_from(fingerprint.to_owned())
            .map_err(|error| Stop::usage(error.to_string()))?;
        let (view, mut account) = change::account(&self.step.link, self.place, self.name)?;
        let text = key.to_string();
        let stages = Self::stages(&account, change::now());
        let Some(role) = stages.iter().find(|(_, stage)| stage.key == text).map(|(role, _)| *role) else {
            return Err(Stop::new(Exit::Unknown, format!("{} has no key {key}", self.name)));
        };
        let (keys, osci) = (&mut account.keys, &mut account.osci);
        match role {
            ParticipantRole::Tls => keys.retain(|one| one.key != key),
            ParticipantRole::OsciEncryption => osci.cipher.retain(|one| one.fingerprint.to_string() != text),
            ParticipantRole::OsciSignature => {
                osci.signature.retain(|one| one.fingerprint.to_string() != text)
            }
        }
        let left = Self::stages(&account, change::now());
        if !left.iter().any(|(of, stage)| *of == role && stage.state == State::Active) {
            return Err(Stop::new(
                Exit::Problems,
                format!("{} would have no key that is good now", self.name),
            )
            .then("Register the next one first, or block the participant"));
        }
        screen::confirm(&format!("Take the key {key} away from {}?", self.name), self.step.yes)?;
        let changing = self.step.changing();
        let act = self.act(format!("{}, retired key {key}", self.name), &changing);
        replace_account(&act, view.revision, account)?;
        show(&self.view()?, self.step.json)
    }
}

/// In the words of `--role`; what the account shows at the XTA door needs none.
fn role_name(role: ParticipantRole) -> Option<&'static str> {
    match role {
        ParticipantRole::Tls => None,
        ParticipantRole::OsciEncryption => Some("osci-encryption"),
        ParticipantRole::OsciSignature => Some("osci-signature"),
    }
}

/// Whose mailbox the certificates so far name, if it is one.
fn former_identifier(account: &Account) -> Result<Option<String>, Stop> {
    let mut named: Vec<&String> =
        account.osci.cipher.iter().filter_map(|one| one.identifier.as_ref()).collect();
    named.sort();
    named.dedup();
    match named.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).clone())),
        several => Err(Stop::usage(format!(
            "its certificates so far name several mailboxes ({}): say whose it is with --identifier",
            several.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn advise_participant(stages: &[Stage], now: Timestamp) -> Vec<String> {
    let of = |state| stages.iter().filter(move |stage| stage.state == state);
    let mut lines: Vec<String> = of(State::Ended)
        .map(|stage| format!("{} has ended: retire it with --retire {}.", stage.what, stage.key))
        .collect();
    let active: Vec<&Stage> = of(State::Active).collect();
    let is_late = |stage: &&Stage| {
        stage.until.is_some_and(|until| until.checked_sub(AHEAD).unwrap_or(Timestamp::MIN) <= now)
    };
    match (active.len(), of(State::Next).next()) {
        (0, None) => lines.push("No certificate is good now: register one with --next.".to_owned()),
        (_, Some(next)) => lines.push(format!(
            "The participant changes over from {} on; retire the former key when it is no longer seen.",
            next.from.map(screen::instant).unwrap_or_default()
        )),
        (1, None) if active.iter().all(is_late) => {
            lines
                .push("Ask the participant for the next certificate and register it with --next.".to_owned());
        }
        (1, None) => lines.push("Nothing to do.".to_owned()),
        _ => {
            lines.push("Several keys are good: retire the former one when it is no longer used.".to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_instant() {
        let at = |text: &str| format!("{text}T00:00:00Z").parse::<Timestamp>().expect("an instant");
        let span = |from: &str, until: &str| Some((at(from), at(until)));
        let active = span("2026-01-01", "2027-01-01");
        for (active, next, now, expected) in [
            (None, None, "2026-06-01", &["No certificate is in place"][..]),
            (active, None, "2026-06-01", &["Nothing to do until 2026-11-02"]),
            (active, None, "2026-11-02", &["Ask for the next one now"]),
            (active, None, "2027-02-01", &["Ask for the next one now"]),
            (active, span("2026-12-01", "2028-01-01"), "2026-11-15", &["use --switch from 2026-12-01"]),
            (active, span("2026-12-01", "2028-01-01"), "2026-12-01", &["then use --switch."]),
            (
                active,
                span("2027-02-01", "2028-01-01"),
                "2026-12-01",
                &["no overlap: from 2027-01-01 00:00:00Z to 2027-02-01", "use --switch from 2027-02-01"],
            ),
            (active, span("2025-01-01", "2026-01-02"), "2026-12-01", &["has ended already"]),
        ] {
            let lines = advise(active, next, at(now));
            assert_eq!(lines.len(), expected.len(), "{now}: {lines:?}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(line.contains(expected), "{now}: {line}");
            }
        }
    }
}
