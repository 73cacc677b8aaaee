//! `amtsbote check`: looks at everything that a start would need, and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::screen::{self, Align, Table};
use super::{Place, Reading, runtime};
use crate::admin::client::{self, ClientError};
use crate::admin::directory;
use crate::admin::protocol::{Answer, Verb};
use crate::app::server_keys::{self, Held};
use crate::app::{callbacks, card_key, evidence_key, foreign, portal_key, time_stamp};
use crate::clock::{Clock, SystemClock};
use crate::config::register::RegisterConfig;
use crate::config::{Config, Engine};
use crate::net;
use crate::net::postgres::Standby;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::{self, Holder, Role, Watched};
use crate::pki::inspection::Purpose;
use crate::pki::jose::jws::SigningKey;
use crate::pki::key::{self, Identity};
use crate::pki::revocation::fetch;
use crate::pki::trust::TrustAnchors;
use crate::register::copies;
use crate::store::postgres;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A register's own configuration, to be looked at as well [default: register.toml beside the server's, if it is there]
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    words: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, verdict: Verdict, words: impl Into<String>) {
        self.0.push(Finding { what, verdict, words: words.into() });
    }

    fn good(&mut self, what: &'static str, words: impl Into<String>) {
        self.add(what, Verdict::Good, words);
    }

    fn problem(&mut self, what: &'static str, words: impl Into<String>) {
        self.add(what, Verdict::Problem, words);
    }
}

impl Args {
    pub fn run(&self, place: &Place) -> Result<Exit, Stop> {
        let now = SystemClock.now();
        let mut findings = Findings::default();
        match Config::load(&place.path()) {
            Err(error) => findings.problem("configuration", error.to_string()),
            Ok(config) => {
                findings.good("configuration", format!("{} is well-formed", config.file.display()));
                look_at_own_certificate(&config, now, &mut findings);
                look_at_osci_certificates(&config, now, &mut findings);
                look_at_intermediaries(&config, now, &mut findings);
                look_at_anchors(&config, now, &mut findings);
                look_at_evidence_key(&config, &mut findings);
                look_at_card_key(&config, now, &mut findings);
                look_at_time_stamps(&config, now, &mut findings);
                look_at_portal(&config, &mut findings);
                match config.store.engine {
                    Engine::Embedded => {
                        look_at_store(&config, &mut findings);
                        look_at_server(&config, &mut findings)?;
                    }
                    Engine::Postgres => {
                        let name_taken = look_at_database(&config, &mut findings)?;
                        look_at_server_keys(&config, &mut findings)?;
                        let running = look_at_server(&config, &mut findings)?;
                        let is_own = running.is_some() && running == config.store.node;
                        if let Some(taken) = name_taken.filter(|_| !is_own) {
                            findings.problem("node", taken);
                        }
                    }
                }
            }
        }
        let beside = place.path().with_file_name("register.toml");
        if let Some(file) = self.register.clone().or_else(|| beside.exists().then_some(beside)) {
            look_at_register(&file, &mut findings)?;
        }
        let findings = findings.0;
        if self.reading.json {
            screen::json(&findings)?;
        } else {
            let mut table =
                Table::new(&[("WHAT", Align::Left), ("VERDICT", Align::Left), ("WORDS", Align::Left)]);
            for finding in &findings {
                let verdict = match finding.verdict {
                    Verdict::Good => "good",
                    Verdict::Warning => "warning",
                    Verdict::Problem => "PROBLEM",
                };
                table.row([finding.what.to_owned(), verdict.to_owned(), finding.words.clone()]);
            }
            screen::data(&table.render())?;
        }
        let sound = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
        Ok(if sound { Exit::Done } else { Exit::Problems })
    }
}

fn look_at_own_certificate(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "server certificate";
    match key::exposure(&config.tls.key) {
        Ok(Some(sentence)) => findings.problem("server key", sentence),
        Ok(None) => findings.good("server key", "only its owner can read it"),
        Err(error) => findings.problem("server key", error.to_string()),
    }
    let identity = match Identity::load(&config.tls.certificate, &config.tls.key) {
        Ok(identity) => identity,
        Err(error) => return findings.problem(WHAT, error.to_string()),
    };
    let Some(own) = identity.chain().first() else { return };
    if own.not_before() > now {
        findings.problem(WHAT, format!("not valid before {}", screen::instant(own.not_before())));
    }
    warn_of_ends([(Holder::Own, Role::Tls, "", own)], WHAT, now, findings);
    if own.not_before() <= now && now <= own.not_after() {
        findings.good(WHAT, format!("fits its key, valid until {}", screen::instant(own.not_after())));
    }
}

fn look_at_osci_certificates(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "OSCI certificates";
    let osci = &config.osci;
    if osci.address.is_none() {
        return;
    }
    let cipher = osci.cipher_certificates.iter().zip(&osci.cipher_keys);
    let cipher = cipher.map(|(certificate, key)| (Role::OsciEncryption, certificate, key));
    let signature = (Role::OsciSignature, &osci.signature_certificate, &osci.signature_key);
    for (role, certificate, key) in cipher.chain([signature]) {
        if let Ok(Some(sentence)) = key::exposure(key) {
            findings.problem("OSCI key", sentence);
        }
        match Identity::load(certificate, key) {
            Err(error) => findings.problem(WHAT, error.to_string()),
            Ok(identity) => {
                let Some(own) = identity.chain().first() else { continue };
                warn_of_ends([(Holder::Own, role, "", own)], WHAT, now, findings);
                if own.not_before() <= now && now <= own.not_after() {
                    let until = screen::instant(own.not_after());
                    findings
                        .good(WHAT, format!("{} fits its key, valid until {until}", certificate.display()));
                }
            }
        }
    }
}

fn look_at_intermediaries(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "other intermediaries";
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    for foreign in &config.intermediary {
        match foreign::settings(foreign, &clock) {
            Err(error) => findings.problem(WHAT, format!("{}: {error}", foreign.url)),
            Ok(settings) => {
                match foreign::dependences(foreign, &settings) {
                    Err(error) => findings.problem(WHAT, format!("{}: {error}", foreign.url)),
                    Ok(all) => {
                        let watched = all
                            .iter()
                            .map(|one| (one.holder, one.role, one.owner.as_str(), &one.certificate));
                        warn_of_ends(watched, WHAT, now, findings);
                    }
                }
                findings.good(WHAT, format!("{}: certificates and keys can be used", foreign.url));
            }
        }
    }
}

fn warn_of_ends<'a>(
    certificates: impl IntoIterator<Item = (Holder, Role, &'a str, &'a Certificate)>,
    what: &'static str,
    now: Timestamp,
    findings: &mut Findings,
) {
    let watched = certificates.into_iter().map(|(holder, role, owner, certificate)| Watched {
        holder,
        role,
        owner,
        certificate,
    });
    for warning in expiry::warnings(watched, now) {
        let verdict = match warning.stage {
            expiry::Stage::Expired => Verdict::Problem,
            _ => Verdict::Warning,
        };
        findings.add(what, verdict, format!("{}; {}", warning.sentence, warning.next_step));
    }
}

fn look_at_anchors(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "trust anchors";
    let anchors = match TrustAnchors::load(&config.trust_settings()) {
        Ok(anchors) => anchors,
        Err(error) => return findings.problem(WHAT, error.to_string()),
    };
    let count = anchors.anchors(Purpose::ParticipantTls).len();
    findings.good(WHAT, format!("{count} for participants' certificates"));
    let authorities = anchors.authorities().map(|(_, certificate)| {
        (Holder::Authority, Role::Anchor, certificate.common_name().unwrap_or("authority"), certificate)
    });
    warn_of_ends(authorities, WHAT, now, findings);
    look_at_revocation(config, &anchors, now, findings);
}

fn look_at_revocation(config: &Config, anchors: &TrustAnchors, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "revocation";
    let asks = config.revocation.ocsp && !config.revocation.hosts.is_empty();
    match anchors.revocation_lists().count() {
        0 if !asks => findings.add(
            WHAT,
            Verdict::Warning,
            "no list is at hand and nobody is asked; certificates are never known to be revoked",
        ),
        count => {
            let asking = if asks { "responders are asked" } else { "responders are not asked" };
            findings.good(WHAT, format!("lists in force: {count}; {asking}"));
        }
    }
    if config.revocation.ocsp && config.revocation.hosts.is_empty() {
        let words = "revocation.ocsp is on, but revocation.hosts names no responder's host";
        findings.add(WHAT, Verdict::Warning, words);
    }
    for url in &config.revocation.lists {
        if !fetch::list_path(&config.revocation.folder, url).exists() {
            findings.add(WHAT, Verdict::Warning, format!("{url} has not been fetched yet; the server does"));
        }
    }
    for sentence in expiry::list_warnings(anchors.revocation_lists(), now) {
        findings.add(WHAT, Verdict::Warning, sentence);
    }
}

fn look_at_evidence_key(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "evidence key";
    let path = &config.evidence.key;
    if !path.exists() {
        return findings.good(WHAT, format!("{} will be made at the first start", path.display()));
    }
    if let Ok(Some(sentence)) = key::exposure(path) {
        findings.problem(WHAT, sentence);
    }
    match evidence_key::read(path, &config.evidence.origin) {
        Ok(key) => findings.good(WHAT, format!("public key {}", key.verifier())),
        Err(error) => findings.problem(WHAT, format!("{}: {error}", path.display())),
    }
}

fn look_at_portal(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "portal";
    let portal = &config.portal;
    if portal.address.is_none() {
        return;
    }
    let mut own = None;
    if !portal.key.exists() {
        findings.good(WHAT, format!("{} will be made at the first start", portal.key.display()));
    } else {
        if let Ok(Some(sentence)) = key::exposure(&portal.key) {
            findings.problem(WHAT, sentence);
        }
        match portal_key::read(&portal.key) {
            Ok(key) => {
                findings.good(WHAT, format!("signs as {}, for {}", key.kid(), portal.url));
                if let Err(what) = portal_key::published(&key) {
                    let what = format!(
                        "{}: {what}; another key cannot take its place without a gap",
                        portal.key.display()
                    );
                    findings.add(WHAT, Verdict::Warning, what);
                }
                own = Some(key);
            }
            Err(error) => findings.problem(WHAT, format!("{}: {error}", portal.key.display())),
        }
    }
    match portal_key::others(portal, own.as_ref().map_or("", SigningKey::kid)) {
        Ok(others) => {
            for key in &others.believed {
                findings.good(WHAT, format!("believes {} as well", key.kid()));
            }
            for key in &others.former {
                findings.good(WHAT, format!("publishes the former {}", key.kid()));
            }
        }
        Err((file, what)) => findings.problem(WHAT, format!("{}: {what}", file.display())),
    }
    if portal.folder.exists() && !portal.folder.is_dir() {
        findings.problem(WHAT, format!("{} is no folder", portal.folder.display()));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match callbacks::receivers(config, &clock, &Arc::default()) {
        Err(error) => findings.problem("callbacks", error),
        Ok(None) => findings.good("callbacks", "nobody is called: portal.callback_anchors is empty"),
        Ok(Some(_)) => findings.good("callbacks", "the authorities of receivers can be read"),
    }
    for network in &portal.callback_networks {
        if network.is_everything() {
            let words = format!("portal.callback_networks opens every address ({network})");
            findings.add("callbacks", Verdict::Warning, words);
        }
    }
}

fn look_at_card_key(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "process cards' key";
    let (key, certificate) = (&config.evidence.card_key, &config.evidence.card_certificate);
    if !key.exists() && !certificate.exists() {
        return findings.good(WHAT, format!("{} will be made at the first start", certificate.display()));
    }
    if let Ok(Some(sentence)) = key::exposure(key) {
        findings.problem(WHAT, sentence);
    }
    match card_key::read(&config.evidence) {
        Err(error) => findings.problem(WHAT, error),
        Ok(signer) => {
            let own = signer.chain().iter().take(1).map(|own| (Holder::Own, Role::ProcessCards, "", own));
            warn_of_ends(own, WHAT, now, findings);
            let subject = signer.chain().first().map_or("", |own| own.subject());
            findings.good(WHAT, format!("fits the certificate of {subject}"));
        }
    }
}

fn look_at_time_stamps(config: &Config, now: Timestamp, findings: &mut Findings) {
    const WHAT: &str = "time stamps";
    let Some(url) = &config.evidence.time_stamp_url else {
        return findings.good(WHAT, "no authority is configured; checkpoints get none");
    };
    match time_stamp::anchors(&config.evidence) {
        Err(error) => findings.problem(WHAT, error.to_string()),
        Ok(authorities) => {
            let anchors = authorities.certificates().iter();
            let anchors = anchors.map(|one| {
                (Holder::Authority, Role::TimeStamps, one.common_name().unwrap_or("authority"), one)
            });
            warn_of_ends(anchors, WHAT, now, findings);
            findings.good(
                WHAT,
                format!("asked of {url}, {} authorities believed", authorities.certificates().len()),
            );
        }
    }
}

/// Whether the database is there, ours, and keeps what is asked of it; nothing is written. That a process works as this
/// node, where one does.
fn look_at_database(config: &Config, findings: &mut Findings) -> Result<Option<String>, Stop> {
    const WHAT: &str = "store";
    let settings = match config.postgres_settings(Arc::new(SystemClock)) {
        Ok(settings) => settings,
        Err(what) => {
            findings.problem(WHAT, what);
            return Ok(None);
        }
    };
    match runtime()?.block_on(postgres::examine(settings.clone())) {
        Err(error) => {
            findings.problem(WHAT, error.to_string());
            // Where the database only follows, the bucket is looked at all the same.
            look_at_objects(runtime()?.block_on(postgres::examine_objects(settings)), findings);
            Ok(None)
        }
        Ok(examined) => {
            let words = match examined.version {
                Some(version) => format!("in PostgreSQL {}, version {version}", examined.server),
                None => format!("in PostgreSQL {}, will be made at the first start", examined.server),
            };
            findings.good(WHAT, words);
            match (examined.broken, examined.warning) {
                (Some(broken), _) => findings.problem("standby", broken),
                (None, Some(warning)) => findings.add("standby", Verdict::Warning, warning),
                (None, None) => {}
            }
            look_at_objects(examined.objects, findings);
            Ok(examined.name_taken)
        }
    }
}

fn look_at_objects(look: Option<Result<(), String>>, findings: &mut Findings) {
    match look {
        None => {}
        Some(Ok(())) => findings.good("objects", "the object store shows its bucket".to_owned()),
        Some(Err(what)) => findings.problem("objects", what),
    }
}

/// The keys that clients of every server of this database are to use: of the portals' door, and of OSCI's.
fn look_at_server_keys(config: &Config, findings: &mut Findings) -> Result<(), Stop> {
    // What is wrong with one of the files was said before.
    if config.portal.address.is_some()
        && let Ok(own) = portal_key::read(&config.portal.key)
    {
        let beside = portal_key::others(&config.portal, own.kid()).unwrap_or_default();
        let further = beside.believed.iter().map(|key| key.kid().to_owned()).collect();
        let held = Held { door: server_keys::Door::Portal, own: own.kid().to_owned(), further };
        compare_server_keys(config, &held, findings)?;
    }
    let osci = &config.osci;
    let files = osci.cipher_certificates.iter().zip(&osci.cipher_keys).filter(|_| osci.address.is_some());
    let own = files.map_while(|(file, key)| Identity::load(file, key).ok()?.chain().first().cloned());
    if let Some(held) = Held::osci(&own.collect::<Vec<_>>()) {
        compare_server_keys(config, &held, findings)?;
    }
    Ok(())
}

/// Whether servers that share the database can stand in for each other.
fn compare_server_keys(config: &Config, held: &Held, findings: &mut Findings) -> Result<(), Stop> {
    let Ok(settings) = config.postgres_settings(Arc::new(SystemClock)) else { return Ok(()) };
    let (node, door) = (settings.node.clone(), held.door);
    let what = door.keys();
    let notes = postgres::notes(settings, server_keys::KIND, door.owner());
    let Ok(notes) = runtime()?.block_on(notes) else { return Ok(()) };
    let mut others = 0;
    for (name, note) in notes {
        let its = String::from_utf8_lossy(&note).into_owned();
        let (does, differs) = (door.does(), its != held.own);
        match (name == node, differs) {
            (true, false) => {}
            (true, true) => findings.problem(
                what,
                format!(
                    "the running server {does} {its}, and another key lies here: {}",
                    door.takes_effect()
                ),
            ),
            (false, false) => others += 1,
            (false, true) if held.further.contains(&its) => {
                findings.good(what, format!("the server {name} {does} {its}, which is taken here as well"));
            }
            (false, true) => findings.problem(
                what,
                format!(
                    "the server {name} {does} {its}, this one {does} {}: {}; {}",
                    held.own,
                    door.harm(),
                    door.next_step()
                ),
            ),
        }
    }
    if others > 0 {
        findings.good(what, format!("other servers with the same {what}: {others}"));
    }
    Ok(())
}

fn look_at_store(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "store";
    let folder = &config.store.folder;
    // The nearest folder that exists tells the disk on which the store will lie.
    let here =
        |path: &'_ Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let Some(existing) = folder.ancestors().map(here).find(|path| path.is_dir()) else {
        return findings.problem(WHAT, format!("{} has no folder above it", folder.display()));
    };
    let words = match existing == *folder {
        true => format!("in {}; `amtsbote store verify` checks every byte", folder.display()),
        false => format!("{} will be made at the first start", folder.display()),
    };
    findings.good(WHAT, words);
    match rustix::fs::statvfs(&existing) {
        Err(error) => findings.problem("disk", error.to_string()),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let reserve = config.limits.disk_reserve_bytes;
            let words = format!("{} free, {} kept in reserve", screen::bytes(free), screen::bytes(reserve));
            let verdict = if free > reserve { Verdict::Good } else { Verdict::Problem };
            findings.add("disk", verdict, words);
        }
    }
}

/// The name of the one that is running, among the nodes of a database.
fn look_at_server(config: &Config, findings: &mut Findings) -> Result<Option<String>, Stop> {
    const WHAT: &str = "server";
    let socket = &config.server.admin_socket;
    match runtime()?.block_on(client::ask(socket, Verb::Health)) {
        Ok(Answer::Health(health)) => {
            match health.store.accepting {
                true => {
                    findings.good(WHAT, format!("running, accepting, {} messages", health.store.messages));
                }
                false => findings.problem(WHAT, format!("not accepting: {}", health.store.reason)),
            }
            look_at_destinations(socket, findings)?;
            return Ok(health.node);
        }
        Ok(_) => findings.problem(WHAT, "answers in another version's words"),
        Err(error @ ClientError::NotRunning { .. }) => findings.good(WHAT, error.to_string()),
        Err(error) => findings.problem(WHAT, error.to_string()),
    }
    Ok(None)
}

/// Of what the running server has taken; no start is refused for it.
fn look_at_destinations(socket: &Path, findings: &mut Findings) -> Result<(), Stop> {
    if let Ok(Answer::Directory(stored)) = runtime()?.block_on(client::ask(socket, Verb::Directory)) {
        for sentence in directory::foreign_certificates(&stored.accounts) {
            let words = format!("{sentence}; {}", directory::FOREIGN_CERTIFICATE_NEXT_STEP);
            findings.add("destinations", Verdict::Warning, words);
        }
    }
    Ok(())
}

/// The schema that a register's database has.
const SCHEMA_OF_REGISTERS: &str = "amtsbote_register";

/// Whether the register's process would find its configuration in order, and its store.
fn look_at_register(file: &Path, findings: &mut Findings) -> Result<(), Stop> {
    const WHAT: &str = "register's store";
    let read = RegisterConfig::load(file).and_then(|config| {
        // Each reads files of its own.
        config.desk()?;
        config.page_users()?;
        config.copies()
    });
    let settings = match read {
        Ok(settings) => settings,
        Err(error) => {
            findings.problem("register", error.to_string());
            return Ok(());
        }
    };
    findings.good("register", format!("{} is well-formed", file.display()));
    let copies::Engine::Postgres(asked) = settings.engine else {
        look_at_registers_folder(&settings.folder, findings);
        return Ok(());
    };
    let (password, tls) = (asked.password.as_deref(), asked.tls.clone());
    let looking =
        net::postgres::examine(&asked.connection, password, tls, SCHEMA_OF_REGISTERS, asked.patience);
    let examined = match runtime()?.block_on(looking) {
        Ok(examined) => examined,
        Err(what) => {
            findings.problem(WHAT, what);
            return Ok(());
        }
    };
    let words = match examined.has_schema {
        true => format!("in PostgreSQL {}", examined.server),
        false => format!("in PostgreSQL {}, will be made at the first start", examined.server),
    };
    findings.good(WHAT, words);
    if let Some(what) = examined.disk {
        findings.problem(WHAT, what);
    }
    match (asked.standby, examined.standby) {
        (Standby::Unasked, _) | (_, None) => {}
        (Standby::Wanted, Some(what)) => findings.add("register's standby", Verdict::Warning, what),
        (Standby::Required, Some(what)) => findings.problem("register's standby", what),
    }
    Ok(())
}

fn look_at_registers_folder(folder: &Path, findings: &mut Findings) {
    const WHAT: &str = "register's store";
    match folder {
        folder if folder.is_dir() => findings.good(WHAT, format!("in {}", folder.display())),
        folder if folder.exists() => findings.problem(WHAT, format!("{} is no folder", folder.display())),
        folder => findings.good(WHAT, format!("{} will be made at the first load", folder.display())),
    }
}
