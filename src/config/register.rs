//! The register's own configuration file (TOML), apart from the post office's: other keys, another database, another
//! process. Unknown keys are errors that name the key and the line; relative paths start at the file's folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;

use super::register_store::RegisterStore;
use super::{ConfigError, Log};
use crate::enquiry::users::{NAME_BYTES_MAX, Secret, User};
use crate::register::copies::{self, Deadlines};
use crate::register::desk;
use crate::register::fees::{Rate, Tariff};
use crate::register::message::head::{Own, Party, PostalAddress};
use crate::register::message::question::Entitled;
use crate::register::payment::Rules;
use crate::register::payment::wire::is_url;
use crate::register::refetch;
use crate::register::rights::Asker;
use crate::register::workdays::{Calendar, SAARLAND};

/// What `amtsbote register init` writes.
pub const EXAMPLE: &str = include_str!("register_example.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterConfig {
    pub register: Register,
    #[serde(default)]
    pub store: RegisterStore,
    pub office: Office,
    #[serde(default)]
    pub answers: Answers,
    #[serde(default)]
    pub moves: Moves,
    #[serde(default)]
    pub nightly: Nightly,
    #[serde(default)]
    pub asker: Vec<AskingBody>,
    /// Who must sign what it sends.
    #[serde(default)]
    pub signer: Vec<Signer>,
    /// How signers' certificates are judged.
    #[serde(default)]
    pub signatures: Signatures,
    /// What private enquiries cost.
    #[serde(default)]
    pub rate: Vec<Rate>,
    /// The page for private enquiries; absent, there is none.
    pub page: Option<Page>,
    /// Where what is asked at a page is paid.
    pub payment: Option<Payment>,
    #[serde(default)]
    pub log: Log,
    /// Where it was read from.
    #[serde(skip)]
    pub file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub folder: PathBuf,
    pub identifiers: Vec<String>,
    /// The mailbox for locks.
    pub urgent_identifier: Option<String>,
    pub name: String,
    pub reachable_at: String,
    pub address: Address,
    #[serde(default = "stale_after_hours")]
    pub stale_after_hours: u32,
    /// Absent: `log.heads` in the folder.
    pub log_heads: Option<PathBuf>,
    /// Absent: nobody is told how the process stands.
    pub operator_address: Option<SocketAddr>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub street: String,
    #[serde(default)]
    pub number: String,
    pub postcode: String,
    pub place: String,
}

/// The post office, of which the register is a client like any other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Office {
    pub url: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub anchors: Vec<PathBuf>,
    #[serde(default)]
    pub crls: Vec<PathBuf>,
    #[serde(default = "poll_milliseconds")]
    pub poll_milliseconds: u32,
    #[serde(default = "give_up_hours")]
    pub give_up_hours: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    pub bucket_milliseconds: u32,
    pub fetch_again_days: u16,
    pub time_zone: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moves {
    pub warn_days: u16,
    pub due_days: u16,
    pub saturday_counts: bool,
    pub saturday_end_moves: bool,
    /// Absent: the Saarland's.
    pub holidays: Option<PathBuf>,
}

/// What is done each night without anybody's asking.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nightly {
    pub hour: u8,
    pub reconcile_within_hours: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskingBody {
    pub identifier: String,
    pub kind: Asker,
    #[serde(default)]
    pub empowered: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub address: SocketAddr,
    pub url: String,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    #[serde(default = "list_lines_max")]
    pub list_lines_max: usize,
    #[serde(default)]
    pub user: Vec<PageUser>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageUser {
    pub name: String,
    pub kind: Asker,
    pub password: String,
}

fn list_lines_max() -> usize {
    500
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    pub identifier: String,
    pub certificates: Vec<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signatures {
    pub anchors: Vec<PathBuf>,
    pub crls: Vec<PathBuf>,
}

/// A payment service with the interface XBezahldienste.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    pub url: String,
    pub originator: String,
    pub endpoint: String,
    pub anchors: Vec<PathBuf>,
    #[serde(default)]
    pub crls: Vec<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    #[serde(default = "pay_within_seconds")]
    pub pay_within_seconds: u32,
    #[serde(default = "watch_hours")]
    pub watch_hours: u32,
    #[serde(default = "answer_seconds")]
    pub answer_seconds: u32,
}

impl Payment {
    pub fn rules(&self) -> Rules {
        Rules {
            pay_within: Duration::from_secs(u64::from(self.pay_within_seconds)),
            watch: Duration::from_secs(u64::from(self.watch_hours) * 3600),
        }
    }
}

fn pay_within_seconds() -> u32 {
    1800
}

fn watch_hours() -> u32 {
    7 * 24
}

fn answer_seconds() -> u32 {
    20
}

fn stale_after_hours() -> u32 {
    24
}

fn poll_milliseconds() -> u32 {
    1000
}

fn give_up_hours() -> u32 {
    24
}

impl Default for Answers {
    fn default() -> Self {
        Self { bucket_milliseconds: 2000, fetch_again_days: 8, time_zone: "Europe/Berlin".to_owned() }
    }
}

impl Default for Moves {
    fn default() -> Self {
        Self { warn_days: 2, due_days: 3, saturday_counts: true, saturday_end_moves: true, holidays: None }
    }
}

impl Default for Nightly {
    fn default() -> Self {
        Self { hour: 3, reconcile_within_hours: 48 }
    }
}

impl RegisterConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&super::read(path)?, path)
    }

    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| super::malformed(text, path, &error))?;
        config.file = path.to_owned();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let Self { register, store, office, moves, page, payment, signer, signatures, .. } = &mut config;
        let mut paths = vec![&mut register.folder, &mut office.certificate, &mut office.key];
        paths.extend(&mut register.log_heads);
        paths.extend(store.paths());
        paths.extend(office.anchors.iter_mut().chain(&mut office.crls).chain(&mut moves.holidays));
        if let Some(Page { certificate, key, .. }) = page {
            paths.extend(certificate.iter_mut().chain(key));
        }
        if let Some(Payment { anchors, crls, certificate, key, token_file, .. }) = payment {
            paths.extend(anchors.iter_mut().chain(crls).chain(certificate).chain(key).chain(token_file));
        }
        paths.extend(signer.iter_mut().flat_map(|one| &mut one.certificates));
        paths.extend(signatures.anchors.iter_mut().chain(&mut signatures.crls));
        for one in paths {
            *one = folder.join(&*one);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, what: &str| Err(self.wrong(key, what));
        if let Err((key, what)) = self.store.check() {
            return wrong(key, &what);
        }
        if self.register.identifiers.is_empty() {
            return wrong("register.identifiers", "names no mailbox");
        }
        let named = self.register.identifiers.iter().chain(&self.register.urgent_identifier);
        let named = named.chain(self.asker.iter().map(|one| &one.identifier));
        let named = named.chain(self.signer.iter().map(|one| &one.identifier));
        for identifier in named {
            if !identifier.split_once(':').is_some_and(|(prefix, key)| !prefix.is_empty() && !key.is_empty())
            {
                return wrong("identifier", "is not of the form prefix:key");
            }
        }
        if !self.signer.is_empty() && self.signatures.anchors.is_empty() {
            return wrong("signatures.anchors", "must name the authorities of the signers' certificates");
        }
        if self.signer.iter().any(|one| one.certificates.is_empty()) {
            return wrong("signer.certificates", "names no certificate");
        }
        let mut seen = std::collections::BTreeSet::new();
        if !self.asker.iter().all(|one| seen.insert(&one.identifier)) {
            return wrong("asker.identifier", "names one body twice");
        }
        if self.register.urgent_identifier.as_ref().is_some_and(|one| self.register.identifiers.contains(one))
        {
            return wrong("register.urgent_identifier", "is a mailbox of its own, and no other of ours");
        }
        if !(50..=600_000).contains(&self.office.poll_milliseconds) {
            return wrong("office.poll_milliseconds", "lies between 50 and 600000");
        }
        if !(1..=60_000).contains(&self.answers.bucket_milliseconds) {
            return wrong("answers.bucket_milliseconds", "lies between 1 and 60000");
        }
        if let Some(page) = &self.page {
            if page.certificate.is_some() != page.key.is_some() {
                return wrong("page.certificate", "and page.key go together");
            }
            if page.certificate.is_none() && !page.address.ip().is_loopback() {
                return wrong("page.certificate", "is needed where page.address is not a loopback address");
            }
            // Browsers come back to it, and cookies go to it alone.
            let host = page.url.strip_prefix("https://").unwrap_or_default();
            if !is_url(&page.url) || host.contains(['/', '?', '#']) {
                return wrong("page.url", "is not of the form https://host[:port]");
            }
            if self.payment.is_none() && self.rate.iter().any(|rate| rate.cents > 0) {
                return wrong("payment", "is needed: [page] is there, and a [[rate]] costs money");
            }
            if !(1..=10_000).contains(&page.list_lines_max) {
                return wrong("page.list_lines_max", "lies between 1 and 10000");
            }
            let mut names = std::collections::BTreeSet::new();
            for user in &page.user {
                let fits = !user.name.is_empty()
                    && user.name.len() <= NAME_BYTES_MAX
                    && user.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
                if !fits {
                    return wrong("page.user.name", "has 1 to 60 letters, digits or - _ . @");
                }
                if !names.insert(&user.name) {
                    return wrong("page.user.name", "names one user twice");
                }
                if !matches!(user.kind, Asker::Citizen | Asker::Firm) {
                    return wrong("page.user.kind", "is citizen or firm; authorities ask by message");
                }
                if let Err(what) = Secret::parse(&user.password) {
                    return wrong("page.user.password", what);
                }
            }
        }
        if let Some(payment) = &self.payment {
            if payment.certificate.is_some() != payment.key.is_some() {
                return wrong("payment.certificate", "needs payment.key, and that needs it");
            }
            if !(1..=86_400).contains(&payment.pay_within_seconds) {
                return wrong("payment.pay_within_seconds", "lies between 1 and 86400");
            }
            if !(1..=8784).contains(&payment.watch_hours) {
                return wrong("payment.watch_hours", "lies between 1 and 8784");
            }
            if !(1..=120).contains(&payment.answer_seconds) {
                return wrong("payment.answer_seconds", "lies between 1 and 120");
            }
        }
        if self.nightly.hour > 23 {
            return wrong("nightly.hour", "lies between 0 and 23");
        }
        if self.moves.warn_days > self.moves.due_days {
            return wrong("moves.warn_days", "comes after moves.due_days");
        }
        Ok(())
    }

    fn wrong(&self, key: &'static str, what: &str) -> ConfigError {
        ConfigError::Value { path: self.file.clone(), key, what: what.to_owned() }
    }

    fn mailboxes(&self) -> impl Iterator<Item = &String> {
        self.register.identifiers.iter().chain(&self.register.urgent_identifier)
    }

    pub fn zone(&self) -> Result<TimeZone, ConfigError> {
        TimeZone::get(&self.answers.time_zone).map_err(|_| {
            self.wrong("answers.time_zone", "is no zone of the IANA database, such as Europe/Berlin")
        })
    }

    pub fn copies(&self) -> Result<copies::Settings, ConfigError> {
        let mut settings = copies::Settings::new(&self.register.folder);
        settings.stale_after = Duration::from_secs(u64::from(self.register.stale_after_hours) * 3600);
        settings.tariff = Tariff(self.rate.clone());
        settings.zone = self.zone()?;
        settings.heads.clone_from(&self.register.log_heads);
        settings.engine = self.store.engine().map_err(|what| self.wrong("[store]", &what))?;
        Ok(settings)
    }

    /// Who may sign in to the page.
    pub fn page_users(&self) -> Result<Vec<User>, ConfigError> {
        let users = self.page.iter().flat_map(|page| &page.user);
        users
            .map(|user| {
                let secret = Secret::parse(&user.password);
                let secret = secret.map_err(|what| self.wrong("page.user.password", what))?;
                Ok(User { name: user.name.clone(), kind: user.kind, secret })
            })
            .collect()
    }

    pub fn desk(&self) -> Result<desk::Settings, ConfigError> {
        let zone = self.zone()?;
        let text = match &self.moves.holidays {
            None => SAARLAND.to_owned(),
            Some(path) => super::read(path)?,
        };
        let mut calendar =
            Calendar::parse(&text).map_err(|error| self.wrong("moves.holidays", &error.to_string()))?;
        calendar.saturday_counts = self.moves.saturday_counts;
        calendar.saturday_end_moves = self.moves.saturday_end_moves;
        let first = self.register.identifiers.first().cloned().unwrap_or_default();
        let address = &self.register.address;
        let askers: BTreeMap<String, Entitled> = self
            .asker
            .iter()
            .map(|one| (one.identifier.clone(), Entitled { asker: one.kind, empowered: one.empowered }))
            .collect();
        Ok(desk::Settings {
            own: Own {
                party: Party { kennung: first, name: self.register.name.clone() },
                address: PostalAddress {
                    number: address.number.clone(),
                    postcode: address.postcode.clone(),
                    street: address.street.clone(),
                    place: address.place.clone(),
                },
                reachable_at: self.register.reachable_at.clone(),
            },
            identifiers: self.mailboxes().cloned().collect(),
            askers,
            bucket: Duration::from_millis(u64::from(self.answers.bucket_milliseconds)),
            refetch: refetch::Rule { days: self.answers.fetch_again_days, zone: zone.clone() },
            deadlines: Deadlines {
                calendar,
                zone,
                warn_days: self.moves.warn_days,
                due_days: self.moves.due_days,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_bad_ones_are_refused() {
        let path = Path::new("register.toml");
        let config = RegisterConfig::parse(EXAMPLE, path).expect("the example");
        let desk = config.desk().expect("settings");
        assert_eq!((desk.refetch.days, desk.identifiers.len(), desk.askers.len()), (8, 1, 3));
        for (from, to, expected) in [
            ("folder =", "folders =", "unknown field `folders`"),
            ("[\"zmb:100000000000\"]", "[]", "register.identifiers names no mailbox"),
            ("kind = \"police\"", "kind = \"wizard\"", "unknown variant"),
            ("pdl:100000000000", "dbs:100010010000", "one body twice"),
            ("# poll_milliseconds = 1000", "poll_milliseconds = 1", "office.poll_milliseconds"),
            ("# hour = 3", "hour = 24", "nightly.hour"),
            (
                "# urgent_identifier = \"zmb:100000000001\"",
                "urgent_identifier = \"zmb:100000000000\"",
                "register.urgent_identifier",
            ),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = RegisterConfig::parse(&EXAMPLE.replacen(from, to, 1), path).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let secret = Secret::of("a long password").expect("written");
        let page = format!(
            "[page]\naddress = \"127.0.0.1:0\"\nurl = \"https://a:1\"\n[[page.user]]\nname = \"a\"\nkind = \"firm\"\npassword = \"{secret}\"\n"
        );
        let with = |page: &str| RegisterConfig::parse(&format!("{EXAMPLE}\n{page}"), path);
        assert_eq!(with(&page).expect("a page").page_users().expect("users").len(), 1);
        for (from, to, expected) in [
            ("127.0.0.1:0", "0.0.0.0:1", "page.certificate is needed"),
            ("[page]", "[page]\nkey = \"k\"", "page.certificate and page.key go together"),
            ("[page]", "[page]\nlist_lines_max = 0", "page.list_lines_max"),
            ("https://a:1", "http://a:1", "page.url is not of the form"),
            ("https://a:1", "https://a:1/", "page.url is not of the form"),
            ("[page]", "[[rate]]\nfrom = \"2026-01-01\"\ncents = 1\n[page]", "payment is needed"),
            ("\"a\"", "\"a b\"", "page.user.name has 1 to 60"),
            ("\"firm\"", "\"police\"", "page.user.kind is citizen or firm"),
            ("pbkdf2-sha256", "plain", "page.user.password is not what"),
        ] {
            let error = with(&page.replacen(from, to, 1)).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        // What stands commented out in the example is a configuration, too.
        let (before, section) = EXAMPLE.split_once("# [signatures]\n").expect("the section");
        let (section, after) = section.split_once("\n\n").expect("its end");
        let signed = format!("{before}[signatures]\n{}\n\n{after}", section.replace("# ", ""));
        let config = RegisterConfig::parse(&signed, path).expect("signers");
        assert_eq!((config.signer.len(), config.signatures.crls.len()), (1, 1));
        let error = RegisterConfig::parse(&signed.replace("anchors = [\"tls/signers.crt\"]\n", ""), path);
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("signatures.anchors"), "{error}");
        let (before, section) = EXAMPLE.split_once("# [store]\n").expect("the section");
        let (section, after) = section.split_once("\n\n").expect("its end");
        let stored = format!("{before}[store]\n{}\n\n{after}", section.replace("# ", ""));
        let config = RegisterConfig::parse(&stored, path).expect("a store");
        assert_eq!(config.store.password_file.as_deref(), Some(Path::new("store.password")));
        let (before, section) = EXAMPLE.split_once("# [payment]\n").expect("the section");
        let section = section.split_once("\n\n").expect("its end").0.replace("# ", "");
        let paid = format!("{before}\n[payment]\n{section}\n");
        let config = RegisterConfig::parse(&paid, path).expect("payments");
        assert_eq!(config.payment.expect("payments").rules(), Rules::default());
        for (from, to, expected) in [
            ("key = \"tls/register.key\"\ntoken", "token", "payment.certificate needs payment.key"),
            ("pay_within_seconds = 1800", "pay_within_seconds = 0", "payment.pay_within_seconds"),
            ("watch_hours = 168", "watch_hours = 0", "payment.watch_hours"),
            ("answer_seconds = 20", "answer_seconds = 200", "payment.answer_seconds"),
        ] {
            assert!(paid.contains(from), "{from}");
            let error = RegisterConfig::parse(&paid.replace(from, to), path).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let zone = EXAMPLE.replacen("# time_zone = \"Europe/Berlin\"", "time_zone = \"Berlin\"", 1);
        let error = RegisterConfig::parse(&zone, path).expect("well-formed").desk().expect_err("refused");
        assert!(error.to_string().contains("answers.time_zone"), "{error}");
    }
}
