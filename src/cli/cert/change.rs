//! What import and roll-over share: judging what is to come, putting it in the place of what was, keeping that,
//! writing down who did it and why, and having the running server take it over.
//!
//! Written down before the first file changes. If the server cannot use the files, the former ones come back.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::participant_anchors;
use crate::admin::protocol::{Answer, CertificateAct, DirectoryView, Verb};
use crate::admin::server::operator;
use crate::app::evidence_key;
use crate::cli::exit::{Exit, Stop};
use crate::cli::link::{Link, unexpected};
use crate::cli::participant::directory;
use crate::cli::{Changing, Place, runtime, screen};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::account::{Account, AccountKey};
use crate::pki::certificate::Certificate;
use crate::pki::inspection::{CheckKind, Inspection, Outcome, Purpose};
use crate::pki::key::{self, Identity, Readers};
use crate::pki::trust::TrustAnchors;
use crate::store::embedded::EmbeddedStore;
use crate::store::{AdminAct, Store};

/// One change by one operator.
pub(super) struct Act<'a> {
    pub place: &'a Place,
    pub link: &'a Link,
    pub config: &'a Config,
    pub act: CertificateAct,
    pub object: String,
    pub changing: &'a Changing,
}

/// Whether a server will have to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Running,
    Stopped,
}

impl Act<'_> {
    /// Before anything is changed. Without a server the store is opened, so that the act is on record all the same.
    pub(super) fn write_down(&self) -> Result<Server, Stop> {
        self.record(self.act, &self.changing.reason)
    }

    fn record(&self, act: CertificateAct, reason: &str) -> Result<Server, Stop> {
        if reason.trim().is_empty() {
            return Err(Stop::failed("every change is recorded with a reason").then("give --reason"));
        }
        let (object, reason) = (self.object.clone(), reason.trim().to_owned());
        let verb = Verb::CertificateAct { act, object: object.clone(), reason: reason.clone() };
        match self.link.ask(self.place, verb) {
            Ok(Answer::Done) => return Ok(Server::Running),
            Ok(_) => return Err(unexpected()),
            Err(stop) if stop.exit == Exit::NotRunning => {}
            Err(stop) => return Err(stop),
        }
        let by = operator(rustix::process::geteuid().as_raw());
        let written = AdminAct { at: SystemClock.now(), by, act: act.as_str().to_owned(), object, reason };
        let store = EmbeddedStore::open(self.config.store_settings())
            .map_err(|error| Stop::failed(format!("the act cannot be written down: {error}")))?;
        let recorded = runtime()?.block_on(async {
            store.record_act(written).await?;
            store.close().await
        });
        recorded.map_err(|error| Stop::failed(format!("the act cannot be written down: {error}")))?;
        Ok(Server::Stopped)
    }

    /// The whole of it: ask, write down, replace, reload; or as it was before.
    pub(super) fn put_in_place(&self, files: &[NewFile]) -> Result<Placed, Stop> {
        let server = self.write_down()?;
        let mut placed = Vec::new();
        let outcome = files.iter().try_for_each(|file| file.put(&mut placed)).and_then(|()| match server {
            Server::Running => self.link.ask(self.place, Verb::Reload).map(drop),
            Server::Stopped => Ok(()),
        });
        let Err(stop) = outcome else {
            return Ok(Placed { kept: placed.into_iter().filter_map(|one| one.kept).collect(), server });
        };
        let undone = placed.iter().rev().try_for_each(Undo::undo);
        let why = stop.sentence.trim_end_matches('.');
        let sentence = match undone {
            Ok(()) => format!("nothing was changed: {why}"),
            Err(error) => format!("{why}; and the former files could not be put back: {error}"),
        };
        self.record(self.act.failed(), &sentence)?;
        Err(Stop::failed(sentence).then(stop.next_step))
    }
}

#[derive(Debug)]
pub(super) struct Placed {
    /// Where the former files are.
    pub kept: Vec<PathBuf>,
    pub server: Server,
}

impl Placed {
    pub(super) fn say(&self, what: &str) {
        let force = match self.server {
            Server::Running => "and the running server uses it",
            Server::Stopped => "and the next start of the server uses it",
        };
        screen::sentence(&format!("{what} is in place, {force}."));
        self.say_kept();
    }

    pub(super) fn say_kept(&self) {
        for kept in &self.kept {
            screen::sentence(&format!("The former file is kept as {}.", kept.display()));
        }
    }
}

/// A file to be written at a place where another may be.
pub(super) struct NewFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub readers: Readers,
}

struct Undo {
    path: PathBuf,
    kept: Option<PathBuf>,
}

impl NewFile {
    /// Nothing has to be taken over; where the former file is.
    pub(super) fn put_alone(&self) -> Result<Option<PathBuf>, Stop> {
        let mut placed = Vec::new();
        self.put(&mut placed)?;
        Ok(placed.pop().and_then(|one| one.kept))
    }

    fn put(&self, placed: &mut Vec<Undo>) -> Result<(), Stop> {
        let failed = |error: key::Error| Stop::failed(error.to_string());
        if self.path.symlink_metadata().is_err() {
            key::write_new(&self.path, &self.bytes, self.readers).map_err(failed)?;
            placed.push(Undo { path: self.path.clone(), kept: None });
            return Ok(());
        }
        let kept = kept_path(&self.path, SystemClock.now());
        key::replace(&self.path, &self.bytes, self.readers, &kept).map_err(failed)?;
        placed.push(Undo { path: self.path.clone(), kept: Some(kept) });
        Ok(())
    }
}

impl Undo {
    fn undo(&self) -> Result<(), String> {
        match &self.kept {
            Some(kept) => key::restore(&self.path, kept).map_err(|error| error.to_string()),
            None => std::fs::remove_file(&self.path).map_err(|error| error.to_string()),
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn kept_path(path: &Path, now: Timestamp) -> PathBuf {
    beside(path, &now.strftime(".until-%Y%m%dT%H%M%S.%3fZ").to_string())
}

/// Where what comes next waits for its time.
pub(super) fn next_path(path: &Path) -> PathBuf {
    beside(path, ".next")
}

/// What speaks against something, and what should be known before it is used.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Judged {
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl Judged {
    /// Warnings are said; a problem ends it.
    pub(super) fn say(&self, what: &str) -> Result<(), Stop> {
        self.warnings.iter().for_each(|warning| screen::sentence(&format!("Note: {warning}.")));
        match self.problems.as_slice() {
            [] => Ok(()),
            problems => Err(Stop::new(
                Exit::Problems,
                format!("{what} cannot be used: {}", screen::plain(&problems.join("; "))),
            )),
        }
    }

    fn of(inspection: &Inspection, is_problem: fn(CheckKind) -> bool) -> Self {
        let mut judged = Self { problems: vec![], warnings: inspection.warnings.clone() };
        for check in &inspection.checks {
            let words = |why: &str| format!("{}: {why}", check.kind.name());
            match &check.outcome {
                Outcome::Bad(why) if is_problem(check.kind) => judged.problems.push(words(why)),
                Outcome::Bad(why) => judged.warnings.push(words(why)),
                _ => {}
            }
        }
        judged
    }
}

/// A chain and its key, which fit each other.
pub(super) struct Pair {
    pub chain: Vec<Certificate>,
    key: Vec<u8>,
}

impl Pair {
    pub(super) fn read(chain: &Path, key: &Path) -> Result<Self, Stop> {
        let usage = |error: key::Error| Stop::usage(format!("{}: {error}", chain.display()));
        let key = key::read_bounded(key).map_err(|error| Stop::usage(error.to_string()))?;
        let text = key::read_bounded(chain).map_err(|error| Stop::usage(error.to_string()))?;
        let chain = Identity::from_pem(&text, &key).map_err(usage)?.chain().to_vec();
        Ok(Self { chain, key })
    }

    pub(super) fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The key first: should the machine stop in between, both former files are still there.
    pub(super) fn files(&self, certificate: &Path, key: &Path) -> Vec<NewFile> {
        let text: String = self.chain.iter().map(Certificate::pem).collect();
        let new = |path: &Path, bytes: Vec<u8>, readers| NewFile { path: path.to_owned(), bytes, readers };
        if certificate == key {
            return vec![new(key, [&self.key, text.as_bytes()].concat(), Readers::Owner)];
        }
        let unchanged = key::read_bounded(key).is_ok_and(|present| present == self.key);
        let key = (!unchanged).then(|| new(key, self.key.clone(), Readers::Owner));
        key.into_iter().chain([new(certificate, text.into_bytes(), Readers::Everybody)]).collect()
    }
}

/// Judges a certificate for the listener at `at`, beside the one that is there.
pub(super) fn judge_server(
    config: &Config,
    chain: &[Certificate],
    active: Option<&Certificate>,
    at: Timestamp,
) -> Result<Judged, Stop> {
    let settings = config.trust_settings().into_values().map(|one| (Purpose::ServerTls, one)).collect();
    let anchors = TrustAnchors::load(&settings).map_err(|error| Stop::usage(error.to_string()))?;
    let inspection = anchors
        .inspect_chain(Purpose::ServerTls, chain, at)
        .ok_or_else(|| Stop::usage("there is no certificate"))?;
    // Whom the participants believe is not ours to say.
    let mut judged = Judged::of(&inspection, |kind| kind != CheckKind::Path);
    let leaf = &chain[0];
    if leaf.alternative_names().is_empty() {
        judged.problems.push("it bears no host name or address".to_owned());
    }
    if let Some(active) = active {
        let lost = |name: &&String| !leaf.alternative_names().contains(name);
        for name in active.alternative_names().iter().filter(lost) {
            judged.warnings.push(format!("it lacks the name {name}, which the present one bears"));
        }
        if leaf.not_after() < active.not_after() {
            judged.warnings.push("it ends before the present one does".to_owned());
        }
    }
    Ok(judged)
}

/// Judges a participant's certificate as the door will, at `at`.
pub(super) fn judge_participant(
    config: &Config,
    chain: &[Certificate],
    at: Timestamp,
) -> Result<Judged, Stop> {
    let inspection = participant_anchors(config, now())?
        .inspect_chain(Purpose::ParticipantTls, chain, at)
        .ok_or_else(|| Stop::usage("there is no certificate"))?;
    let mut judged = Judged::of(&inspection, |_| true);
    if !inspection.is_acceptable() && judged.problems.is_empty() {
        judged.problems = inspection.sentences;
    }
    Ok(judged)
}

pub(super) fn account(link: &Link, place: &Place, name: &str) -> Result<(DirectoryView, Account), Stop> {
    let view = directory(link, place)?;
    let account = view.accounts.iter().find(|one| one.name.as_str() == name).cloned().ok_or_else(|| {
        Stop::new(Exit::Unknown, format!("there is no participant {name}"))
            .then("`amtsbote participant list` names them")
    })?;
    Ok((view, account))
}

/// Registers a certificate beside those that the account has.
pub(super) fn add_key(
    act: &Act<'_>,
    based_on: u64,
    mut account: Account,
    new: &Certificate,
) -> Result<(), Stop> {
    let key = new.key_fingerprint();
    let entry = AccountKey { key, certificate: Some(new.pem()), remark: None };
    match account.keys.iter_mut().find(|one| one.key == key) {
        Some(same) => same.certificate = entry.certificate,
        None => account.keys.push(entry),
    }
    replace_account(act, based_on, account)
}

pub(super) fn replace_account(act: &Act<'_>, based_on: u64, account: Account) -> Result<(), Stop> {
    let verb = Verb::AccountCertificate {
        based_on,
        account: Box::new(account),
        act: act.act,
        object: act.object.clone(),
        reason: act.changing.reason.clone(),
    };
    match act.link.ask(act.place, verb)? {
        Answer::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

/// Why the evidence log's key may not be changed yet, and what makes it possible.
pub(super) fn evidence_obstacle(config: &Config) -> Result<Option<String>, Stop> {
    let evidence = &config.evidence;
    if !evidence.key.exists() {
        return Ok(None);
    }
    let active = evidence_key::read(&evidence.key, &evidence.origin)
        .map_err(|error| Stop::usage(format!("{}: {error}", evidence.key.display())))?;
    let known = evidence.former_keys.iter().any(|one| one.to_string() == active.verifier().to_string());
    Ok((!known).then(|| {
        format!(
            "add \"{}\" to evidence.former_keys in {}: without it nothing would be signed after the change",
            active.verifier(),
            config.file.display()
        )
    }))
}

/// The checkpoint key changes with the next start; the one at work signs once more as it stops.
pub(super) fn change_evidence_key(act: &Act<'_>, bytes: Vec<u8>) -> Result<Placed, Stop> {
    act.put_in_place(&[NewFile { path: act.config.evidence.key.clone(), bytes, readers: Readers::Owner }])
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}
