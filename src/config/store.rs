//! Where messages are kept: in a folder of this server, or in a database that several share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use crate::clock::Clock;
use crate::pki::certificate::Certificate;
use crate::pki::tls;
use crate::store::postgres::{self, Standby};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// SQLite in `folder`, for one server.
    #[default]
    Embedded,
    /// A PostgreSQL database, for any number of servers.
    Postgres,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    pub folder: PathBuf,
    pub engine: Engine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    pub tls_anchors: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub standby: Standby,
    pub connections_max: u32,
    pub patience_seconds: u64,
    pub question_seconds: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            folder: "store".into(),
            engine: Engine::Embedded,
            connection: None,
            password_file: None,
            tls_anchors: Vec::new(),
            node: None,
            standby: Standby::Unasked,
            connections_max: 16,
            patience_seconds: 10,
            question_seconds: 30,
        }
    }
}

/// Where the database's large payloads lie instead of in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objects {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub bucket: String,
    pub prefix: String,
    pub region: String,
    pub access_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    pub tls_anchors: Vec<PathBuf>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            endpoint: None,
            bucket: String::new(),
            prefix: "amtsbote".to_owned(),
            region: "us-east-1".to_owned(),
            access_key: String::new(),
            secret_key_file: None,
            tls_anchors: Vec::new(),
        }
    }
}

impl Objects {
    /// Names, lengths and what belongs together; nothing is connected.
    pub(super) fn check(&self, store: &Store) -> Result<(), (&'static str, String)> {
        let wrong = |key, what: &str| Err((key, what.to_owned()));
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        if store.engine == Engine::Embedded {
            return wrong(
                "objects.endpoint",
                "goes with the engine \"postgres\"; the embedded store has files",
            );
        }
        postgres::check_endpoint(endpoint, !self.tls_anchors.is_empty())
            .map_err(|what| ("objects.endpoint", what))?;
        // S3, bucket naming rules.
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(known) {
            return wrong("objects.bucket", "is 3 to 63 of a-z, 0-9, \"-\" and \".\"");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        if self.prefix.len() > 200 || !self.prefix.bytes().all(plain) || self.prefix.contains("..") {
            return wrong("objects.prefix", "is up to 200 letters, digits, \"-\", \"_\", \".\" and \"/\"");
        }
        if self.access_key.is_empty() || self.secret_key_file.is_none() {
            return wrong(
                "objects.access_key",
                "and objects.secret_key_file are needed with objects.endpoint",
            );
        }
        Ok(())
    }

    /// What the engine is handed; reads the secret key and the anchors.
    fn settings(&self, clock: Arc<dyn Clock>) -> Result<Option<postgres::ObjectSettings>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let secret_key = self.secret_key_file.as_ref().map(|file| secret("objects.secret_key_file", file));
        let tls = match self.tls_anchors.is_empty() {
            true => None,
            false => Some(Arc::new(anchored("objects.tls_anchors", &self.tls_anchors, clock)?)),
        };
        Ok(Some(postgres::ObjectSettings {
            endpoint: endpoint.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            region: self.region.clone(),
            access_key: self.access_key.clone(),
            secret_key: secret_key.transpose()?.unwrap_or_default(),
            tls,
        }))
    }
}

impl Config {
    /// Everything that a server or a look at its store needs.
    pub fn postgres_settings(&self, clock: Arc<dyn Clock>) -> Result<postgres::Settings, String> {
        let objects = self.objects.settings(clock.clone())?;
        Ok(postgres::Settings { objects, ..self.store.database_settings(clock)? })
    }
}

impl Store {
    /// Names, lengths and places of its keys; nothing is connected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, what: &str| Err((key, what.to_owned()));
        if self.engine == Engine::Embedded {
            return match (&self.connection, &self.node) {
                (None, None) => Ok(()),
                _ => wrong("store.engine", "is \"embedded\", which knows no connection and no node"),
            };
        }
        let Some(connection) = &self.connection else {
            return wrong("store.connection", "is missing; the engine \"postgres\" needs it");
        };
        let fits = |node: &&String| {
            let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !node.is_empty() && node.len() <= 32 && node.bytes().all(known)
        };
        if self.node.as_ref().filter(fits).is_none() {
            return wrong("store.node", "names this relay among its fellows: 1 to 32 of a-z, 0-9 and \"-\"");
        }
        if !(2..=1000).contains(&self.connections_max) {
            return wrong("store.connections_max", "is from 2 to 1000");
        }
        if !(1..=300).contains(&self.patience_seconds) {
            return wrong("store.patience_seconds", "is from 1 to 300");
        }
        if !(1..=3600).contains(&self.question_seconds) {
            return wrong("store.question_seconds", "is from 1 to 3600");
        }
        postgres::check_connection(connection, !self.tls_anchors.is_empty())
            .map_err(|what| ("store.connection", what))
    }

    /// The same without the object store, for whoever reads no payload; reads the password and the anchors.
    pub fn database_settings(&self, clock: Arc<dyn Clock>) -> Result<postgres::Settings, String> {
        let password = self.password_file.as_ref().map(|file| secret("store.password_file", file));
        let tls = match self.tls_anchors.is_empty() {
            true => None,
            false => Some(Arc::new(anchored("store.tls_anchors", &self.tls_anchors, clock)?)),
        };
        Ok(postgres::Settings {
            password: password.transpose()?,
            tls,
            connections_max: self.connections_max as usize,
            patience: Duration::from_secs(self.patience_seconds),
            question_time_max: Duration::from_secs(self.question_seconds),
            standby: self.standby,
            ..postgres::Settings::new(
                self.connection.clone().unwrap_or_default(),
                self.node.clone().unwrap_or_default(),
            )
        })
    }
}

pub(super) fn secret(key: &str, file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{key} {}: {error}", file.display()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{key} {} is empty", file.display())),
        secret => Ok(secret.to_owned()),
    }
}

pub(super) fn anchored(
    key: &str,
    files: &[PathBuf],
    clock: Arc<dyn Clock>,
) -> Result<rustls::ClientConfig, String> {
    let mut anchors = Vec::new();
    for file in files {
        let name = || format!("{key} {}", file.display());
        let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", name()))?;
        let found = Certificate::bundle_from_pem(&pem).map_err(|error| format!("{}: {error}", name()))?;
        anchors.extend(found);
    }
    tls::anchored_client_config(&anchors, clock).map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_by_its_key() {
        let good = || Store {
            engine: Engine::Postgres,
            connection: Some("host=127.0.0.1 dbname=amtsbote user=amtsbote".to_owned()),
            node: Some("relay-1".to_owned()),
            ..Store::default()
        };
        assert_eq!(good().check(), Ok(()));
        assert_eq!(Store::default().check(), Ok(()));
        type Spoil = fn(&mut Store);
        let table: [(&str, Spoil, &str); 11] = [
            ("store.engine", |store| store.engine = Engine::Embedded, "knows no connection"),
            ("store.connection", |store| store.connection = None, "is missing"),
            ("store.node", |store| store.node = None, "names this relay"),
            ("store.node", |store| store.node = Some("Relay 1".to_owned()), "names this relay"),
            ("store.connections_max", |store| store.connections_max = 1, "from 2"),
            ("store.patience_seconds", |store| store.patience_seconds = 0, "from 1"),
            ("store.question_seconds", |store| store.question_seconds = 9999, "from 1"),
            ("store.connection", |store| store.connection = Some("dbname=x".to_owned()), "names no host"),
            ("store.connection", |store| store.connection = Some("hast=x".to_owned()), "cannot be read"),
            (
                "store.connection",
                |store| store.connection = Some("host=127.0.0.1,db.example.org".to_owned()),
                "tls_anchors",
            ),
            (
                "store.connection",
                |store| store.connection = Some("host=127.0.0.1 password=geheim".to_owned()),
                "password_file",
            ),
        ];
        for (key, spoil, words) in table {
            let mut store = good();
            spoil(&mut store);
            let refused = store.check().expect_err(key);
            assert!(refused.0 == key && refused.1.contains(words), "{refused:?}");
            assert!(!refused.1.contains("geheim"), "{refused:?}");
        }
        let far = Store { tls_anchors: vec!["ca.crt".into()], ..good() };
        assert_eq!(Store { connection: Some("host=db.example.org".to_owned()), ..far }.check(), Ok(()));
    }

    #[test]
    fn an_object_store_belongs_to_a_database() {
        let database = Store { engine: Engine::Postgres, ..Store::default() };
        let good = || Objects {
            endpoint: Some("https://s3.example.org".to_owned()),
            bucket: "amtsbote".to_owned(),
            access_key: "relay".to_owned(),
            secret_key_file: Some("objects.secret".into()),
            tls_anchors: vec!["ca.crt".into()],
            ..Objects::default()
        };
        assert_eq!(good().check(&database), Ok(()));
        assert_eq!(Objects::default().check(&Store::default()), Ok(()));
        assert_eq!(good().check(&Store::default()).map_err(|(key, _)| key), Err("objects.endpoint"));
        type Spoil = fn(&mut Objects);
        let table: [(&str, Spoil); 6] = [
            ("objects.endpoint", |objects| objects.tls_anchors.clear()),
            ("objects.endpoint", |objects| objects.endpoint = Some("http://s3.example.org".to_owned())),
            ("objects.bucket", |objects| objects.bucket = "Amts_Bote".to_owned()),
            ("objects.prefix", |objects| objects.prefix = "a/../b".to_owned()),
            ("objects.access_key", |objects| objects.access_key.clear()),
            ("objects.access_key", |objects| objects.secret_key_file = None),
        ];
        for (key, spoil) in table {
            let mut objects = good();
            spoil(&mut objects);
            assert_eq!(objects.check(&database).map_err(|(key, _)| key), Err(key));
        }
    }
}
