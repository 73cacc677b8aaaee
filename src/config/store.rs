//! Where messages are kept: in a folder of this server, or in a database that several share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

    /// What the engine is handed; reads the password and the anchors.
    pub fn postgres_settings(&self, clock: Arc<dyn Clock>) -> Result<postgres::Settings, String> {
        let password = self.password_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| format!("store.password_file {}: {error}", file.display()))?;
            match text.trim_end_matches(['\r', '\n']) {
                "" => Err(format!("store.password_file {} is empty", file.display())),
                password => Ok(password.to_owned()),
            }
        });
        let tls = match self.tls_anchors.is_empty() {
            true => None,
            false => Some(Arc::new(self.anchored(clock)?)),
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

    fn anchored(&self, clock: Arc<dyn Clock>) -> Result<rustls::ClientConfig, String> {
        let mut anchors = Vec::new();
        for file in &self.tls_anchors {
            let name = || format!("store.tls_anchors {}", file.display());
            let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", name()))?;
            let found = Certificate::bundle_from_pem(&pem).map_err(|error| format!("{}: {error}", name()))?;
            anchors.extend(found);
        }
        tls::anchored_client_config(&anchors, clock).map_err(|error| format!("store.tls_anchors: {error}"))
    }
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
}
