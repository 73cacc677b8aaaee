//! What import and roll-over share: judging what is to come, putting it in the place of what was, keeping that,
//! writing down who did it and why, and having the running server take it over.
//!
//! Written down before the first file changes. Files that belong together change together ([`key::switch`]). If the
//! server cannot use them, the former ones come back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::participant_anchors;
use crate::admin::protocol::{Answer, CertificateAct, DirectoryView, Verb};
use crate::admin::server::operator;
use crate::app::{evidence_key, open_store};
use crate::cli::exit::{Exit, Stop};
use crate::cli::link::{Link, unexpected};
use crate::cli::participant::directory;
use crate::cli::{Changing, Place, runtime, screen};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::account::{Account, AccountKey, CipherCertificate, SignatureCertificate};
use crate::domain::content::Digest;
use crate::evidence::signed_card::CardSigner;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::Role;
use crate::pki::inspection::{CheckKind, Inspection, Outcome, Purpose};
use crate::pki::key::switch::{NewFile, beside, switch};
use crate::pki::key::{self, Identity, Readers};
use crate::pki::trust::TrustAnchors;
use crate::store::AdminAct;
use crate::xml::dsig::sign::SigningKey;
use crate::xml::enc::RecipientKey;

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
        let refused = |error: String| Stop::failed(format!("the act cannot be written down: {error}"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        runtime()?.block_on(async {
            let store = open_store(self.config, &clock).await.map_err(|error| refused(error.to_string()))?;
            store.record_act(written).await.map_err(|error| refused(error.to_string()))?;
            store.close().await.map_err(|error| refused(error.to_string()))
        })?;
        Ok(Server::Stopped)
    }

    /// The whole of it: ask, write down, replace, reload; or as it was before.
    pub(super) fn put_in_place(&self, files: &[NewFile]) -> Result<Placed, Stop> {
        let server = self.write_down()?;
        let placed = match switch(files) {
            Ok(placed) => placed,
            Err(error) => {
                let paths = self.config.key_files();
                let is_begun = !key::switch::interrupted(paths.iter().map(PathBuf::as_path)).is_empty();
                let sentence = match is_begun {
                    true => {
                        format!("the change is begun and not complete; the next start completes it: {error}")
                    }
                    false => format!("nothing was changed: {error}"),
                };
                self.record(self.act.failed(), &sentence)?;
                return Err(Stop::failed(sentence));
            }
        };
        let taken_over = match server {
            Server::Running => self.link.ask(self.place, Verb::Reload).map(drop),
            Server::Stopped => Ok(()),
        };
        let Err(stop) = taken_over else { return Ok(Placed { kept: placed.kept(), server }) };
        let why = stop.sentence.trim_end_matches('.');
        let sentence = match placed.undo() {
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

/// The file for a place, where what was there goes on under a name that says until when it was in use.
pub(super) fn new_file(path: &Path, bytes: Vec<u8>, readers: Readers) -> NewFile {
    let ending = SystemClock.now().strftime(".until-%Y%m%dT%H%M%S.%3fZ").to_string();
    NewFile { path: path.to_owned(), bytes, readers, kept: beside(path, &ending) }
}

/// Nothing has to be taken over; where the former files are.
pub(super) fn put_alone(files: &[NewFile]) -> Result<Vec<PathBuf>, Stop> {
    Ok(switch(files).map_err(|error| Stop::failed(error.to_string()))?.kept())
}

/// Takes what is left of a change that was interrupted, before anything is read.
pub(super) fn recover(config: &Config) -> Result<(), Stop> {
    let paths = config.key_files();
    let recovered = key::switch::recover(paths.iter().map(PathBuf::as_path)).map_err(|error| {
        Stop::failed(format!("a change that was interrupted cannot be completed: {error}"))
    })?;
    for journal in recovered {
        screen::sentence(&format!("A change that was interrupted is complete ({}).", journal.display()));
    }
    Ok(())
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

    /// For places that change together.
    pub(super) fn files(&self, certificate: &Path, key: &Path) -> Vec<NewFile> {
        let text: String = self.chain.iter().map(Certificate::pem).collect();
        if certificate == key {
            return vec![new_file(key, [&self.key, text.as_bytes()].concat(), Readers::Owner)];
        }
        let unchanged = key::read_bounded(key).is_ok_and(|present| present == self.key);
        let key = (!unchanged).then(|| new_file(key, self.key.clone(), Readers::Owner));
        key.into_iter().chain([new_file(certificate, text.into_bytes(), Readers::Everybody)]).collect()
    }
}

/// A place for a certificate of our own and its key.
pub(super) struct Spot {
    pub name: &'static str,
    pub role: Role,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Spot {
    pub(super) fn server(config: &Config) -> Self {
        let (certificate, key) = (config.tls.certificate.clone(), config.tls.key.clone());
        Self { name: "server", role: Role::Tls, certificate, key }
    }

    pub(super) fn osci_signature(config: &Config) -> Self {
        let (certificate, key) =
            (config.osci.signature_certificate.clone(), config.osci.signature_key.clone());
        Self { name: "osci-signature", role: Role::OsciSignature, certificate, key }
    }

    pub(super) fn process_cards(config: &Config) -> Self {
        let (certificate, key) = (config.evidence.card_certificate.clone(), config.evidence.card_key.clone());
        Self { name: "process-cards", role: Role::ProcessCards, certificate, key }
    }

    /// The first of them, which clients encrypt for.
    pub(super) fn osci_encryption(config: &Config) -> Result<Self, Stop> {
        let pair = config.osci.cipher_certificates.first().zip(config.osci.cipher_keys.first());
        let (certificate, key) = pair.ok_or_else(|| Stop::usage("osci.cipher_certificates names no file"))?;
        let (certificate, key) = (certificate.clone(), key.clone());
        Ok(Self { name: "osci-encryption", role: Role::OsciEncryption, certificate, key })
    }

    /// Judges a pair for this place at `at`, beside the one that is there.
    pub(super) fn judge(
        &self,
        config: &Config,
        pair: &Pair,
        active: Option<&Certificate>,
        at: Timestamp,
    ) -> Result<Judged, Stop> {
        let purpose = match self.role {
            Role::OsciEncryption => Purpose::OsciEncryption,
            Role::OsciSignature | Role::ProcessCards => Purpose::OsciSignature,
            _ => return judge_server(config, &pair.chain, active, at),
        };
        let mut judged = judge_own(config, purpose, &pair.chain, at)?;
        let pkcs8 =
            key::PrivateKey::from_pem(&pair.key).ok().and_then(|key| key.pkcs8_der().map(<[u8]>::to_vec));
        match pkcs8 {
            None => judged
                .problems
                .push("the key is not in PKCS #8; convert it: openssl pkcs8 -topk8 -nocrypt".to_owned()),
            Some(der) => {
                let usable = match self.role {
                    Role::OsciEncryption => RecipientKey::from_pkcs8(&der)
                        .map(drop)
                        .ok_or("OSCI encryption needs an RSA key".to_owned()),
                    Role::ProcessCards => {
                        CardSigner::new(&der, pair.chain.clone()).map(drop).map_err(|error| error.to_string())
                    }
                    _ => SigningKey::from_pkcs8(&der).map(drop).map_err(|error| error.to_string()),
                };
                judged.problems.extend(usable.err());
            }
        }
        if active.is_some_and(|active| pair.leaf().not_after() < active.not_after()) {
            judged.warnings.push("it ends before the present one does".to_owned());
        }
        Ok(judged)
    }
}

/// Why the pair that OSCI clients encrypt for may not be changed yet, and what makes it possible.
pub(super) fn encryption_obstacle(config: &Config) -> Result<Option<String>, Stop> {
    let spot = Spot::osci_encryption(config)?;
    Ok((config.osci.cipher_certificates.len() < 2).then(|| {
        format!(
            "there is no place for the former one, for which clients still encrypt: copy {} and {}, name the copies as \
             second entries of osci.cipher_certificates and osci.cipher_keys, restart the server, and try again",
            spot.certificate.display(),
            spot.key.display()
        )
    }))
}

/// For the OSCI pairs that clients may still encrypt for: each moves one place on, the new one comes first.
pub(super) fn shifted(config: &Config, pair: &Pair) -> Result<Vec<NewFile>, Stop> {
    let (certificates, keys) = (&config.osci.cipher_certificates, &config.osci.cipher_keys);
    let read = |path: &PathBuf| key::read_bounded(path).map_err(|error| Stop::usage(error.to_string()));
    let spot = Spot::osci_encryption(config)?;
    let mut files = pair.files(&spot.certificate, &spot.key);
    for (from, to) in (0..).zip(1..certificates.len()) {
        files.push(new_file(&certificates[to], read(&certificates[from])?, Readers::Everybody));
        files.push(new_file(&keys[to], read(&keys[from])?, Readers::Owner));
    }
    Ok(files)
}

/// Judges a certificate of ours. Whom others believe is not ours to say.
fn judge_own(
    config: &Config,
    purpose: Purpose,
    chain: &[Certificate],
    at: Timestamp,
) -> Result<Judged, Stop> {
    let settings = config.trust_settings().into_values().map(|one| (purpose, one)).collect();
    let anchors = TrustAnchors::load(&settings).map_err(|error| Stop::usage(error.to_string()))?;
    let inspection =
        anchors.inspect_chain(purpose, chain, at).ok_or_else(|| Stop::usage("there is no certificate"))?;
    Ok(Judged::of(&inspection, |kind| kind != CheckKind::Path))
}

/// Judges a certificate for the listener at `at`, beside the one that is there.
pub(super) fn judge_server(
    config: &Config,
    chain: &[Certificate],
    active: Option<&Certificate>,
    at: Timestamp,
) -> Result<Judged, Stop> {
    let mut judged = judge_own(config, Purpose::ServerTls, chain, at)?;
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
    purpose: Purpose,
    chain: &[Certificate],
    at: Timestamp,
) -> Result<Judged, Stop> {
    let inspection = participant_anchors(config, now())?
        .inspect_chain(purpose, chain, at)
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

/// Registers an OSCI certificate beside those that the account has; `identifier` says whose mailbox one to encrypt for
/// names, where the account has several.
pub(super) fn add_osci(
    act: &Act<'_>,
    based_on: u64,
    mut account: Account,
    purpose: Purpose,
    identifier: Option<String>,
    new: &Certificate,
) -> Result<(), Stop> {
    let (fingerprint, certificate) = (Digest::of(new.der()), Some(new.pem()));
    match purpose {
        Purpose::OsciEncryption => {
            account.osci.cipher.retain(|one| one.fingerprint != fingerprint);
            account.osci.cipher.push(CipherCertificate {
                fingerprint,
                identifier,
                certificate,
                remark: None,
            });
        }
        _ => {
            account.osci.signature.retain(|one| one.fingerprint != fingerprint);
            account.osci.signature.push(SignatureCertificate { fingerprint, certificate, remark: None });
        }
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
    act.put_in_place(&[new_file(&act.config.evidence.key, bytes, Readers::Owner)])
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}
