//! The one configuration file (TOML): every room's settings, with defaults, checked before anything starts.
//!
//! Unknown keys are errors that name the key and the line. Paths are relative to the file's folder. Rooms never read
//! this one; each is handed its own settings. Participants are not configuration: they live in the store and change
//! while the server runs (`amtsbote participant apply`).

mod example;
pub mod gateway;
pub mod register;
mod register_store;
mod rooms;
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::store::{Engine, Objects, Store};

use crate::domain::limits::Limits;
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::evidence::checkpoint::VerifierKey;
use crate::osci::chunk;
use crate::osci::client::address::Address;
use crate::pki::inspection::UnknownRevocation;
use crate::pki::revocation::fetch;
use crate::pki::timestamp;
use crate::portal::callback::network::Network;

/// The environment variable that names the file where the command line does not.
pub const PATH_VARIABLE: &str = "AMTSBOTE_CONFIG";
/// The file that is tried where neither names one.
pub const PATH_DEFAULT: &str = "amtsbote.toml";
/// A larger file is no configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error(
        "there is no configuration at {}; `amtsbote init FOLDER` writes one, --config or {PATH_VARIABLE} names another",
        path.display()
    )]
    Absent { path: PathBuf },
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// Line and column count from one.
    #[error("{}, line {line}, column {column}: {what}", path.display())]
    Malformed { path: PathBuf, line: usize, column: usize, what: String },
    #[error("{}: {key} {what}", path.display())]
    Value { path: PathBuf, key: &'static str, what: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub tls: Tls,
    pub revocation: Revocation,
    pub store: Store,
    pub objects: Objects,
    pub xta: Xta,
    pub osci: Osci,
    pub portal: Portal,
    pub evidence: Evidence,
    pub log: Log,
    pub limits: Limits,
    pub profile: ServiceProfile,
    /// Mailboxes that are pushed into folders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spool: Vec<Spool>,
    /// Mailboxes that are pushed to other OSCI intermediaries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intermediary: Vec<Intermediary>,
    /// Where it was read from; paths are relative to this file's folder.
    #[serde(skip)]
    pub file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub system: String,
    pub identity: String,
    pub operator_address: SocketAddr,
    pub admin_socket: PathBuf,
    pub admin_uids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub anchors: Vec<PathBuf>,
    pub intermediates: Vec<PathBuf>,
    pub crls: Vec<PathBuf>,
    pub unknown_revocation: UnknownRevocation,
}

/// How news of revocation come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    pub hosts: Vec<String>,
    pub lists: Vec<String>,
    pub ocsp: bool,
    pub ocsp_nonce_required: bool,
    pub folder: PathBuf,
    pub refresh_minutes: u32,
    pub fetch_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Xta {
    pub address: SocketAddr,
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Osci {
    /// Absent: no OSCI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    pub path: String,
    pub tls: bool,
    pub cipher_certificates: Vec<PathBuf>,
    pub cipher_keys: Vec<PathBuf>,
    pub signature_certificate: PathBuf,
    pub signature_key: PathBuf,
    pub signature_anchors: Vec<PathBuf>,
    pub cipher_anchors: Vec<PathBuf>,
    pub intermediates: Vec<PathBuf>,
    pub crls: Vec<PathBuf>,
    pub unknown_revocation: UnknownRevocation,
    pub dialog_idle_seconds: u64,
    pub unproven_senders: bool,
    pub aes_cbc: bool,
    pub rsa_1_5: bool,
    pub receiver_anchors: Vec<PathBuf>,
    pub push_seconds: u64,
    pub pushes_per_recipient_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Portal {
    /// Absent: no portal door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    pub url: String,
    pub key: PathBuf,
    pub further_keys: Vec<PathBuf>,
    pub former_keys: Vec<PathBuf>,
    pub folder: PathBuf,
    pub submission_bytes_max: u64,
    pub token_seconds: u64,
    pub requests_per_minute_max: u64,
    pub announced_hours: u32,
    pub uploads_bytes_max: u64,
    pub remind_days: u32,
    pub reject_days: u32,
    pub retain_payload_days: u32,
    pub retain_card_days: u32,
    pub zip: bool,
    /// Authorities of receivers of callbacks.
    pub callback_anchors: Vec<PathBuf>,
    pub callback_crls: Vec<PathBuf>,
    pub callback_unknown_revocation: UnknownRevocation,
    pub callback_networks: Vec<Network>,
    pub callback_seconds: u64,
    pub callback_hours: u32,
}

/// A folder for a procedure that reads files and speaks no protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    pub mailboxes: Vec<MailboxName>,
    pub folder: PathBuf,
}

/// Another OSCI intermediary, through which readers are reached whose mailboxes here are emptied to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intermediary {
    pub url: String,
    pub cipher_certificate: PathBuf,
    /// Absent: its answers are believed because they return what only it could decrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_certificate: Option<PathBuf>,
    /// For an https URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_anchors: Vec<PathBuf>,
    /// Who we are there.
    pub own_cipher_certificate: PathBuf,
    pub own_cipher_key: PathBuf,
    pub own_signature_certificate: PathBuf,
    pub own_signature_key: PathBuf,
    /// Larger messages go in chunks of so many KB; absent: of as many as the other one takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_kilobytes: Option<u64>,
    pub readers: Vec<ForeignReader>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignReader {
    pub mailbox: MailboxName,
    /// His cipher certificate, which names his mailbox there.
    pub certificate: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    pub origin: String,
    pub key: PathBuf,
    pub former_keys: Vec<VerifierKey>,
    pub card_key: PathBuf,
    pub card_certificate: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_stamp_url: Option<String>,
    pub time_stamp_anchors: Vec<PathBuf>,
    pub time_stamp_crls: Vec<PathBuf>,
    pub time_stamp_unknown_revocation: UnknownRevocation,
    pub time_stamp_server_anchors: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_stamp_policy: Option<String>,
    pub time_stamp_interval_seconds: u64,
    pub time_stamp_renew_days: u32,
    pub time_stamp_wait_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            system: "amtsbote".to_owned(),
            identity: "https://localhost:8443/".to_owned(),
            operator_address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            admin_socket: "admin.sock".into(),
            admin_uids: Vec::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: "tls/server.crt".into(),
            key: "tls/server.key".into(),
            anchors: vec!["tls/ca.crt".into()],
            intermediates: Vec::new(),
            crls: Vec::new(),
            unknown_revocation: UnknownRevocation::Warn,
        }
    }
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            lists: Vec::new(),
            ocsp: false,
            ocsp_nonce_required: false,
            folder: "revocation".into(),
            refresh_minutes: 60,
            fetch_seconds: 20,
        }
    }
}

impl Default for Xta {
    fn default() -> Self {
        Self { address: SocketAddr::from(([0, 0, 0, 0], 8443)), path: "/".to_owned() }
    }
}

impl Default for Osci {
    fn default() -> Self {
        Self {
            address: None,
            path: "/".to_owned(),
            tls: false,
            cipher_certificates: vec!["tls/osci-cipher.crt".into()],
            cipher_keys: vec!["tls/osci-cipher.key".into()],
            signature_certificate: "tls/osci-signature.crt".into(),
            signature_key: "tls/osci-signature.key".into(),
            signature_anchors: vec!["tls/ca.crt".into()],
            cipher_anchors: vec!["tls/ca.crt".into()],
            intermediates: Vec::new(),
            crls: Vec::new(),
            unknown_revocation: UnknownRevocation::Warn,
            dialog_idle_seconds: 900,
            unproven_senders: false,
            aes_cbc: false,
            rsa_1_5: false,
            receiver_anchors: Vec::new(),
            push_seconds: 120,
            pushes_per_recipient_max: 8,
        }
    }
}

impl Default for Portal {
    fn default() -> Self {
        Self {
            address: None,
            url: "https://localhost:8445".to_owned(),
            key: "portal.key".into(),
            further_keys: Vec::new(),
            former_keys: Vec::new(),
            folder: "portal".into(),
            submission_bytes_max: 8 * 1024 * 1024,
            token_seconds: 300,
            requests_per_minute_max: 1200,
            announced_hours: 24,
            // A hundred of the largest submissions: two of each municipality of a small land.
            uploads_bytes_max: 4 * 1024 * 1024 * 1024,
            remind_days: 3,
            reject_days: 14,
            retain_payload_days: 7,
            retain_card_days: 730,
            zip: true,
            callback_anchors: Vec::new(),
            callback_crls: Vec::new(),
            callback_unknown_revocation: UnknownRevocation::Warn,
            callback_networks: Vec::new(),
            callback_seconds: 10,
            callback_hours: 72,
        }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            origin: "amtsbote/evidence".to_owned(),
            key: "evidence.key".into(),
            former_keys: Vec::new(),
            card_key: "evidence-card.key".into(),
            card_certificate: "evidence-card.crt".into(),
            time_stamp_url: None,
            time_stamp_anchors: Vec::new(),
            time_stamp_crls: Vec::new(),
            time_stamp_unknown_revocation: UnknownRevocation::Warn,
            time_stamp_server_anchors: Vec::new(),
            time_stamp_policy: None,
            time_stamp_interval_seconds: 3600,
            time_stamp_renew_days: 90,
            time_stamp_wait_seconds: 30,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Evidence {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(url) = &self.time_stamp_url {
            let wait = Duration::from_secs(self.time_stamp_wait_seconds);
            match timestamp::client::Client::new(url, wait) {
                Err(error) => return Err(("evidence.time_stamp_url", format!("cannot be asked: {error}"))),
                Ok(client) if client.is_tls() && self.time_stamp_server_anchors.is_empty() => {
                    let what = "names no file, so that the server of an https URL could not be believed";
                    return Err(("evidence.time_stamp_server_anchors", what.to_owned()));
                }
                Ok(_) => {}
            }
            if self.time_stamp_anchors.is_empty() {
                let what = "names no file, so that no time stamp could be trusted".to_owned();
                return Err(("evidence.time_stamp_anchors", what));
            }
        }
        match self.time_stamp_policy.as_ref().map(|policy| policy.parse::<timestamp::Oid>()) {
            Some(Err(error)) => Err(("evidence.time_stamp_policy", format!("cannot be asked for: {error}"))),
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => ConfigError::Absent { path: path.to_owned() },
        _ => ConfigError::Unreadable { path: path.to_owned(), reason: error.to_string() },
    };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if found.len() > FILE_BYTES_MAX {
        let reason = format!("it has {} bytes, {FILE_BYTES_MAX} are allowed", found.len());
        return Err(ConfigError::Unreadable { path: path.to_owned(), reason });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn malformed(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    ConfigError::Malformed {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
        what: error.message().to_owned(),
    }
}

impl Config {
    /// Reads the file, resolves its paths, checks what no single key can say.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path)
    }

    /// `path` gives relative paths their folder and errors their place.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| malformed(text, path, &error))?;
        config.file = path.to_owned();
        config.resolve_paths();
        config.check()?;
        Ok(config)
    }

    /// The file with every key and what it means; `parse` gives `self` back (paths apart).
    pub fn to_documented_toml(&self) -> String {
        example::render(self)
    }

    /// Every file of a private key or of one of our own certificates.
    pub fn key_files(&self) -> Vec<PathBuf> {
        let Self { tls, osci, portal, evidence, .. } = self;
        let single = [
            &tls.certificate,
            &tls.key,
            &evidence.key,
            &evidence.card_key,
            &evidence.card_certificate,
            &osci.signature_certificate,
            &osci.signature_key,
            &portal.key,
        ];
        let lists = osci.cipher_certificates.iter().chain(&osci.cipher_keys);
        single.into_iter().chain(lists).cloned().collect()
    }

    fn resolve_paths(&mut self) {
        let folder = self.file.parent().map(Path::to_owned).unwrap_or_default();
        let Self {
            server, tls, revocation, store, objects, osci, portal, evidence, spool, intermediary, ..
        } = self;
        for spool in spool {
            spool.folder = folder.join(&spool.folder);
        }
        for foreign in intermediary {
            let own = [
                &mut foreign.cipher_certificate,
                &mut foreign.own_cipher_certificate,
                &mut foreign.own_cipher_key,
                &mut foreign.own_signature_certificate,
                &mut foreign.own_signature_key,
            ];
            let readers = foreign.readers.iter_mut().map(|reader| &mut reader.certificate);
            for path in own
                .into_iter()
                .chain(&mut foreign.signature_certificate)
                .chain(&mut foreign.tls_anchors)
                .chain(readers)
            {
                *path = folder.join(&*path);
            }
        }
        let single = [
            &mut server.admin_socket,
            &mut tls.certificate,
            &mut tls.key,
            &mut revocation.folder,
            &mut store.folder,
            &mut portal.key,
            &mut portal.folder,
            &mut evidence.key,
            &mut osci.signature_certificate,
            &mut osci.signature_key,
            &mut evidence.card_key,
            &mut evidence.card_certificate,
        ];
        let lists = [
            &mut tls.anchors,
            &mut tls.intermediates,
            &mut tls.crls,
            &mut osci.cipher_certificates,
            &mut osci.cipher_keys,
            &mut osci.signature_anchors,
            &mut osci.cipher_anchors,
            &mut osci.intermediates,
            &mut osci.crls,
            &mut osci.receiver_anchors,
            &mut portal.further_keys,
            &mut portal.former_keys,
            &mut portal.callback_anchors,
            &mut portal.callback_crls,
            &mut evidence.time_stamp_anchors,
            &mut evidence.time_stamp_crls,
            &mut evidence.time_stamp_server_anchors,
        ];
        let single = single.into_iter().chain(&mut store.password_file).chain(&mut objects.secret_key_file);
        let anchors = store.tls_anchors.iter_mut().chain(&mut objects.tls_anchors);
        for path in single.chain(lists.into_iter().flatten()).chain(anchors) {
            *path = folder.join(&*path);
        }
    }

    /// Where mailboxes are pushed to: each to one place, and only to such as can be dialled.
    fn check_pushes(&self) -> Result<(), (&'static str, String)> {
        let mut pushed: Vec<&MailboxName> = self.spool.iter().flat_map(|spool| &spool.mailboxes).collect();
        for foreign in &self.intermediary {
            let address: Address = foreign
                .url
                .parse()
                .map_err(|error| ("intermediary.url", format!("cannot be dialled: {error}")))?;
            if address.secure && foreign.tls_anchors.is_empty() {
                let what = format!("names no file, so that {address} could not be trusted");
                return Err(("intermediary.tls_anchors", what));
            }
            let (min, max) = (chunk::KILOBYTES_MIN, chunk::KILOBYTES_MAX);
            if foreign.chunk_kilobytes.is_some_and(|size| !(min..=max).contains(&size)) {
                return Err(("intermediary.chunk_kilobytes", format!("is from {min} to {max}")));
            }
            if foreign.readers.is_empty() {
                return Err((
                    "intermediary.readers",
                    format!("names nobody who is reached through {address}"),
                ));
            }
            for reader in &foreign.readers {
                if pushed.contains(&&reader.mailbox) {
                    let what =
                        format!("names {} again, which is pushed to another place", reader.mailbox.as_str());
                    return Err(("intermediary.readers", what));
                }
                pushed.push(&reader.mailbox);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, what: String| Err(ConfigError::Value { path: self.file.clone(), key, what });
        if let Err(error) = crate::domain::message_id::MessageId::xta(&self.server.system, 0) {
            return wrong("server.system", format!("does not fit into message ids: {error}"));
        }
        if let Err((key, what)) = self.store.check().and_then(|()| self.objects.check(&self.store)) {
            return wrong(key, what);
        }
        if !self.xta.path.starts_with('/') {
            return wrong("xta.path", format!("starts with '/', not as in {:?}", self.xta.path));
        }
        if self.server.operator_address == self.xta.address && self.xta.address.port() != 0 {
            return wrong("server.operator_address", "is the address of the XTA listener as well".to_owned());
        }
        if self.tls.anchors.is_empty() {
            return wrong("tls.anchors", "names no file, so that no participant could be trusted".to_owned());
        }
        if let Some(address) = self.portal.address {
            let taken = [Some(self.xta.address), Some(self.server.operator_address), self.osci.address];
            if address.port() != 0 && taken.contains(&Some(address)) {
                return wrong("portal.address", "is the address of another listener as well".to_owned());
            }
            if !self.portal.url.starts_with("https://") {
                return wrong("portal.url", format!("begins with https://, not as in {:?}", self.portal.url));
            }
            if self.portal.token_seconds == 0 || self.portal.token_seconds > 86_400 {
                return wrong("portal.token_seconds", "is 1 to 86400".to_owned());
            }
            if self.portal.requests_per_minute_max == 0 {
                return wrong("portal.requests_per_minute_max", "is at least 1".to_owned());
            }
            // Nothing could be announced that lives to be submitted, or nothing would ever be forgotten.
            if self.portal.announced_hours == 0 || self.portal.announced_hours > 24 * 366 {
                return wrong("portal.announced_hours", "is 1 to 8784, which is a year".to_owned());
            }
            if u64::from(self.portal.announced_hours) > u64::from(self.limits.announced_days) * 24 {
                let what =
                    "is at most limits.announced_days: what was uploaded could not be submitted behind that";
                return wrong("portal.announced_hours", what.to_owned());
            }
            if self.portal.callback_seconds == 0 || self.portal.callback_seconds > 60 {
                return wrong("portal.callback_seconds", "is 1 to 60".to_owned());
            }
            if self.portal.reject_days == 0 {
                return wrong("portal.reject_days", "is at least 1".to_owned());
            }
            if self.portal.retain_card_days < self.portal.retain_payload_days {
                let what = "is at least portal.retain_payload_days: the event log says what the content was";
                return wrong("portal.retain_card_days", what.to_owned());
            }
        }
        if let Some(address) = self.osci.address {
            let taken = [self.xta.address, self.server.operator_address];
            if address.port() != 0 && taken.contains(&address) {
                return wrong("osci.address", "is the address of another listener as well".to_owned());
            }
            if !self.osci.path.starts_with('/') {
                return wrong("osci.path", format!("starts with '/', not as in {:?}", self.osci.path));
            }
            let (certificates, keys) = (self.osci.cipher_certificates.len(), self.osci.cipher_keys.len());
            if certificates == 0 || certificates != keys {
                let what = format!("names {certificates} files, osci.cipher_keys {keys}; each needs its key");
                return wrong("osci.cipher_certificates", what);
            }
            for (key, anchors) in [
                ("osci.signature_anchors", &self.osci.signature_anchors),
                ("osci.cipher_anchors", &self.osci.cipher_anchors),
            ] {
                if anchors.is_empty() {
                    return wrong(key, "names no file, so that no participant could be trusted".to_owned());
                }
            }
        }
        if let Err((key, what)) = self.check_pushes() {
            return wrong(key, what);
        }
        if let Err((key, what)) = self.evidence.check() {
            return wrong(key, what);
        }
        for url in &self.revocation.lists {
            match fetch::host_of(url) {
                Err(error) => {
                    return wrong("revocation.lists", format!("holds what cannot be fetched: {error}"));
                }
                Ok(host) if !self.revocation.hosts.contains(&host) => {
                    return wrong("revocation.hosts", format!("does not name {host}, where a list lies"));
                }
                Ok(_) => {}
            }
        }
        if let Some(host) = self.revocation.hosts.iter().find(|host| **host != host.to_ascii_lowercase()) {
            return wrong("revocation.hosts", format!("holds {host}; hosts are written in lower case"));
        }
        let limits = &self.limits;
        let positive: [(&'static str, u64); 22] = [
            ("revocation.refresh_minutes", u64::from(self.revocation.refresh_minutes)),
            ("revocation.fetch_seconds", u64::from(self.revocation.fetch_seconds)),
            ("evidence.time_stamp_interval_seconds", self.evidence.time_stamp_interval_seconds),
            ("evidence.time_stamp_wait_seconds", self.evidence.time_stamp_wait_seconds),
            ("limits.content_bytes_max", limits.content_bytes_max),
            ("limits.envelope_bytes_max", limits.envelope_bytes_max),
            ("limits.parts_max", limits.parts_max as u64),
            ("limits.http_header_bytes_max", limits.http_header_bytes_max as u64),
            ("limits.xml_depth_max", limits.xml_depth_max as u64),
            ("limits.connections_max", limits.connections_max as u64),
            ("limits.connections_per_peer_max", limits.connections_per_peer_max as u64),
            ("limits.newcomers_max", limits.newcomers_max as u64),
            ("limits.handshake_seconds", limits.handshake_seconds),
            ("limits.header_seconds", limits.header_seconds),
            ("limits.idle_seconds", limits.idle_seconds),
            ("limits.keep_alive_seconds", limits.keep_alive_seconds),
            ("limits.list_items_max", u64::from(limits.list_items_max)),
            ("limits.outlet_seconds", limits.outlet_seconds),
            ("limits.outlet_bytes_per_second_min", limits.outlet_bytes_per_second_min),
            ("osci.dialog_idle_seconds", self.osci.dialog_idle_seconds),
            ("osci.push_seconds", self.osci.push_seconds),
            ("osci.pushes_per_recipient_max", self.osci.pushes_per_recipient_max as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => wrong(key, "must not be 0".to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let answer = match Config::parse(text, Path::new("/etc/amtsbote.toml")) {
            Ok(_) => "taken".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        check("", "taken");
        check("[store]\nfolder = \"/data\"\n", "taken");
        check(
            "[store]\n\nfoldre = \"/data\"\n",
            "/etc/amtsbote.toml, line 3, column 1: unknown field `foldre`, expected one of `folder`, `engine`, \
             `connection`, `password_file`, `tls_anchors`, `node`, `standby`, `connections_max`, `patience_seconds`, \
             `question_seconds`",
        );
        check(
            "[stor]\n",
            "/etc/amtsbote.toml, line 1, column 2: unknown field `stor`, expected one of `server`, `tls`, \
             `revocation`, `store`, `objects`, `xta`, `osci`, `portal`, `evidence`, `log`, `limits`, `profile`, `spool`, `intermediary`",
        );
        check(
            "[limits]\n  idle_seconds = \"soon\"\n",
            "/etc/amtsbote.toml, line 2, column 18: invalid type: string \"soon\", expected u64",
        );
        for (line, words) in [
            ("announced_hours = 0", "announced_hours is 1 to 8784, which is a year"),
            ("announced_hours = 8785", "announced_hours is 1 to 8784, which is a year"),
            (
                "announced_hours = 721",
                "announced_hours is at most limits.announced_days: what was uploaded could not be submitted behind that",
            ),
            ("requests_per_minute_max = 0", "requests_per_minute_max is at least 1"),
            ("token_seconds = 0", "token_seconds is 1 to 86400"),
            ("token_seconds = 86401", "token_seconds is 1 to 86400"),
        ] {
            let text = format!("[portal]\naddress = \"0.0.0.0:8445\"\n{line}\n");
            check(&text, &format!("/etc/amtsbote.toml: portal.{words}"));
        }
        check("[limits]\nidle_seconds = 0\n", "/etc/amtsbote.toml: limits.idle_seconds must not be 0");
        check("[xta]\npath = \"xta\"\n", "/etc/amtsbote.toml: xta.path starts with '/', not as in \"xta\"");
        check(
            "[server]\nsystem = \"a b\"\n",
            "/etc/amtsbote.toml: server.system does not fit into message ids: a system name in an XTA message id has \
             1 to 41 letters, digits, '-', '_' or '.'",
        );
        check(
            "[server]\noperator_address = \"0.0.0.0:8443\"\n",
            "/etc/amtsbote.toml: server.operator_address is the address of the XTA listener as well",
        );
        check(
            "[evidence]\ntime_stamp_url = \"ftp://tsa.example.org\"\n",
            "/etc/amtsbote.toml: evidence.time_stamp_url cannot be asked: \"ftp://tsa.example.org\" is no URL of a time \
             stamp authority: http://host[:port]/path, or https",
        );
        check(
            "[evidence]\ntime_stamp_url = \"https://tsa.example.org\"\ntime_stamp_anchors = [\"a.crt\"]\n",
            "/etc/amtsbote.toml: evidence.time_stamp_server_anchors names no file, so that the server of an https URL could \
             not be believed",
        );
        check(
            "[evidence]\ntime_stamp_url = \"http://tsa.example.org\"\n",
            "/etc/amtsbote.toml: evidence.time_stamp_anchors names no file, so that no time stamp could be trusted",
        );
        check(
            "[evidence]\ntime_stamp_policy = \"mine\"\n",
            "/etc/amtsbote.toml: evidence.time_stamp_policy cannot be asked for: mine is not an object identifier",
        );
        check(
            "[revocation]\nlists = [\"http://ca.example/a.crl\"]\n",
            "/etc/amtsbote.toml: revocation.hosts does not name ca.example, where a list lies",
        );
        check("[revocation]\nhosts = [\"ca.example\"]\nlists = [\"http://ca.example/a.crl\"]\n", "taken");
        check(
            "[revocation]\nlists = [\"ldap://ca.example/a\"]\n",
            "/etc/amtsbote.toml: revocation.lists holds what cannot be fetched: \"ldap://ca.example/a\" is not a URL of \
             the form http://host/path",
        );
        check(
            "[osci]\naddress = \"0.0.0.0:8443\"\n",
            "/etc/amtsbote.toml: osci.address is the address of another listener as well",
        );
        check(
            "[osci]\naddress = \"0.0.0.0:8444\"\ncipher_keys = []\n",
            "/etc/amtsbote.toml: osci.cipher_certificates names 1 files, osci.cipher_keys 0; each needs its key",
        );
        check(
            "[osci]\naddress = \"0.0.0.0:8444\"\ncipher_anchors = []\n",
            "/etc/amtsbote.toml: osci.cipher_anchors names no file, so that no participant could be trusted",
        );
        check(
            "[tls]\nanchors = []\n",
            "/etc/amtsbote.toml: tls.anchors names no file, so that no participant could be trusted",
        );
    }

    #[test]
    fn a_mailbox_is_pushed_to_one_declared_place() {
        let of = |url: &str, more: &str| {
            format!(
                "{more}[[intermediary]]\nurl = \"{url}\"\ncipher_certificate = \"b.crt\"\nown_cipher_certificate = \"a.crt\"\n\
                 own_cipher_key = \"a.key\"\nown_signature_certificate = \"s.crt\"\nown_signature_key = \"s.key\"\n\
                 readers = [{{ mailbox = \"ags:1\", certificate = \"r.crt\" }}]\n"
            )
        };
        check(&of("http://b.example/osci", ""), "taken");
        check(
            &of("ftp://b.example/", ""),
            "/etc/amtsbote.toml: intermediary.url cannot be dialled: \"ftp://b.example/\" is not a URL of the form \
             http://host:port/path or https://host:port/path",
        );
        check(
            &of("https://b.example/", ""),
            "/etc/amtsbote.toml: intermediary.tls_anchors names no file, so that https://b.example:443/ could not be \
             trusted",
        );
        check(
            &of("http://b.example/", "[[spool]]\nmailboxes = [\"ags:1\"]\nfolder = \"out\"\n"),
            "/etc/amtsbote.toml: intermediary.readers names ags:1 again, which is pushed to another place",
        );
        let text = of("http://b.example/", "");
        let config = Config::parse(&text, Path::new("/etc/amtsbote/x.toml")).expect("well-formed");
        let foreign = &config.intermediary[0];
        assert_eq!(foreign.own_cipher_key, Path::new("/etc/amtsbote/a.key"));
        assert_eq!(foreign.readers[0].certificate, Path::new("/etc/amtsbote/r.crt"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "[[spool]]\nmailboxes = [\"ags:1\"]\nfolder = \"out\"\n[store]\nfolder = \"data\"\n[tls]\nkey = \"/secret/key\"\ncrls = [\"a.crl\"]\n";
        let config = Config::parse(text, Path::new("/etc/amtsbote/x.toml")).expect("well-formed");
        assert_eq!(config.store.folder, Path::new("/etc/amtsbote/data"));
        assert_eq!(config.spool[0].folder, Path::new("/etc/amtsbote/out"));
        assert_eq!(config.tls.key, Path::new("/secret/key"));
        assert_eq!(config.tls.crls, [PathBuf::from("/etc/amtsbote/a.crl")]);
        assert_eq!(config.server.admin_socket, Path::new("/etc/amtsbote/admin.sock"));
    }

    #[test]
    fn the_documented_example_means_the_defaults() {
        let text = Config::default().to_documented_toml();
        let parsed: Config = toml::from_str(&text).expect("the example parses");
        assert_eq!(parsed, Config::default());
    }

    #[test]
    fn an_absent_file_says_what_to_do() {
        let error = Config::load(Path::new("/nonexistent/amtsbote.toml")).expect_err("absent");
        assert!(error.to_string().contains("amtsbote init"), "{error}");
    }
}
