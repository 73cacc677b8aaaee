//! Where the register keeps what it has: in its folder, or in a PostgreSQL database of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::store::{Engine, anchored, secret};
use crate::clock::SystemClock;
use crate::net::postgres::{Standby, check};
use crate::register::copies::{self, PostgresSettings};

/// `[store]` of the register's configuration; the same keys as the relay's, for another database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterStore {
    pub engine: Engine,
    pub connection: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls_anchors: Vec<PathBuf>,
    pub standby: Standby,
    /// Questions at once; one more connection writes.
    pub connections_max: u32,
    pub patience_seconds: u64,
    pub question_seconds: u64,
}

impl Default for RegisterStore {
    fn default() -> Self {
        Self {
            engine: Engine::Embedded,
            connection: None,
            password_file: None,
            tls_anchors: Vec::new(),
            standby: Standby::Unasked,
            connections_max: 16,
            patience_seconds: 10,
            question_seconds: 30,
        }
    }
}

impl RegisterStore {
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.password_file.iter_mut().chain(&mut self.tls_anchors)
    }

    /// What belongs together, and lengths of times; nothing is connected.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, what: &str| Err((key, what.to_owned()));
        let Some(connection) = &self.connection else {
            return match self.engine {
                Engine::Embedded => Ok(()),
                Engine::Postgres => wrong("store.connection", "is missing; the engine \"postgres\" needs it"),
            };
        };
        if self.engine == Engine::Embedded {
            return wrong("store.engine", "is \"embedded\", which knows no connection");
        }
        if !(1..=1000).contains(&self.connections_max) {
            return wrong("store.connections_max", "is from 1 to 1000");
        }
        if !(1..=300).contains(&self.patience_seconds) {
            return wrong("store.patience_seconds", "is from 1 to 300");
        }
        if !(1..=3600).contains(&self.question_seconds) {
            return wrong("store.question_seconds", "is from 1 to 3600");
        }
        check(connection, !self.tls_anchors.is_empty()).map_err(|what| ("store.connection", what))
    }

    /// What the copies are handed; reads the password and the anchors.
    pub(super) fn engine(&self) -> Result<copies::Engine, String> {
        if self.engine == Engine::Embedded {
            return Ok(copies::Engine::Embedded);
        }
        let password = self.password_file.as_ref().map(|file| secret("password_file", file));
        let tls = match self.tls_anchors.is_empty() {
            true => None,
            false => Some(Arc::new(anchored("tls_anchors", &self.tls_anchors, Arc::new(SystemClock))?)),
        };
        Ok(copies::Engine::Postgres(PostgresSettings {
            password: password.transpose()?,
            tls,
            connections_max: self.connections_max as usize,
            patience: Duration::from_secs(self.patience_seconds),
            question_time_max: Duration::from_secs(self.question_seconds),
            standby: self.standby,
            ..PostgresSettings::new(self.connection.clone().unwrap_or_default())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_by_its_key() {
        let good = || RegisterStore {
            engine: Engine::Postgres,
            connection: Some("host=127.0.0.1 dbname=register user=register".to_owned()),
            ..RegisterStore::default()
        };
        assert_eq!(good().check(), Ok(()));
        assert_eq!(RegisterStore::default().check(), Ok(()));
        type Spoil = fn(&mut RegisterStore);
        let table: [(&str, Spoil, &str); 7] = [
            ("store.engine", |store| store.engine = Engine::Embedded, "knows no connection"),
            ("store.connection", |store| store.connection = None, "is missing"),
            ("store.connections_max", |store| store.connections_max = 0, "from 1"),
            ("store.patience_seconds", |store| store.patience_seconds = 0, "from 1"),
            ("store.question_seconds", |store| store.question_seconds = 9999, "from 1"),
            (
                "store.connection",
                |store| store.connection = Some("host=db.example.org".to_owned()),
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
    }
}
