//! The gateway's own configuration file (TOML), apart from the post office's: it holds participants' keys, and the post
//! office must not. Unknown keys are errors that name the key and the line; relative paths start at the file's folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, Log};
use crate::domain::destination::DestinationId;
use crate::domain::envelope::Code;
use crate::domain::party::PartyIdentifier;
use crate::gateway::delivery::Address;
use crate::gateway::metadata::VERSION;

/// What `amtsbote gateway init` writes.
pub const EXAMPLE: &str = include_str!("gateway_example.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    pub office: Office,
    #[serde(default)]
    pub destination: Vec<Destination>,
    #[serde(default)]
    pub log: Log,
    /// Where it was read from.
    #[serde(skip)]
    pub file: PathBuf,
}

/// The post office, of which the gateway is a client like any other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Office {
    pub url: String,
    pub portal: String,
    pub author: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub anchors: Vec<PathBuf>,
    #[serde(default)]
    pub crls: Vec<PathBuf>,
    #[serde(default = "poll_milliseconds")]
    pub poll_milliseconds: u32,
    #[serde(default = "report_seconds")]
    pub report_seconds: u32,
    #[serde(default = "submission_bytes_max")]
    pub submission_bytes_max: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub id: DestinationId,
    pub client: String,
    pub secret_file: PathBuf,
    pub decryption: Vec<NamedKey>,
    pub signature: NamedKey,
    pub reader: String,
    pub service: Option<String>,
    pub message_type: Option<String>,
    pub message_type_list: Option<String>,
    #[serde(default)]
    pub schemas: Vec<String>,
    #[serde(default = "metadata_versions")]
    pub metadata_versions: Vec<String>,
    #[serde(default = "obsolete_days")]
    pub obsolete_days: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    pub kid: String,
    pub file: PathBuf,
}

fn poll_milliseconds() -> u32 {
    5000
}

fn report_seconds() -> u32 {
    15
}

fn submission_bytes_max() -> u64 {
    128 * 1024 * 1024
}

fn metadata_versions() -> Vec<String> {
    vec![VERSION.to_owned()]
}

fn obsolete_days() -> u16 {
    12
}

impl GatewayConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&super::read(path)?, path)
    }

    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| super::malformed(text, path, &error))?;
        config.file = path.to_owned();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let Self { office, destination, .. } = &mut config;
        let own = [&mut office.certificate, &mut office.key];
        for one in own.into_iter().chain(&mut office.anchors).chain(&mut office.crls) {
            *one = folder.join(&*one);
        }
        for destination in destination {
            let keys = destination.decryption.iter_mut().map(|key| &mut key.file);
            let files = [&mut destination.secret_file, &mut destination.signature.file];
            for one in files.into_iter().chain(keys) {
                *one = folder.join(&*one);
            }
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, what: &str| Err(self.wrong(key, what));
        let office = &self.office;
        if !office.url.starts_with("https://") || !office.portal.starts_with("https://") {
            return wrong("office.url and office.portal", "begin with https://");
        }
        if !(100..=600_000).contains(&office.poll_milliseconds) {
            return wrong("office.poll_milliseconds", "lies between 100 and 600000");
        }
        if !(1..=3600).contains(&office.report_seconds) {
            return wrong("office.report_seconds", "lies between 1 and 3600");
        }
        if office.submission_bytes_max == 0 {
            return wrong("office.submission_bytes_max", "is at least 1");
        }
        if self.destination.is_empty() {
            return wrong("destination", "names none: nothing would be fetched");
        }
        let mut seen = BTreeSet::new();
        if !self.destination.iter().all(|one| seen.insert(one.id.as_str())) {
            return wrong("destination.id", "names one destination twice");
        }
        for destination in &self.destination {
            if destination.decryption.is_empty() {
                return wrong("destination.decryption", "names no key");
            }
            if destination.metadata_versions.is_empty() {
                return wrong("destination.metadata_versions", "names no version");
            }
            if !(1..=365).contains(&destination.obsolete_days) {
                return wrong("destination.obsolete_days", "lies between 1 and 365");
            }
            if destination.message_type.is_none() && destination.message_type_list.is_some() {
                return wrong("destination.message_type_list", "stands without destination.message_type");
            }
            self.address(destination)?;
        }
        Ok(())
    }

    fn wrong(&self, key: &'static str, what: &str) -> ConfigError {
        ConfigError::Value { path: self.file.clone(), key, what: what.to_owned() }
    }

    fn identifier(&self, key: &'static str, value: &str) -> Result<PartyIdentifier, ConfigError> {
        if !value.split_once(':').is_some_and(|(prefix, rest)| !prefix.is_empty() && !rest.is_empty()) {
            return Err(self.wrong(key, "is not of the form prefix:key"));
        }
        PartyIdentifier::with_labels(value, Some("xoev"), None, None)
            .map_err(|error| self.wrong(key, &error.to_string()))
    }

    pub fn address(&self, destination: &Destination) -> Result<Address, ConfigError> {
        Ok(Address {
            author: self.identifier("office.author", &self.office.author)?,
            reader: self.identifier("destination.reader", &destination.reader)?,
            service: destination.service.clone(),
            message_type: destination.message_type.clone().map(|code| Code {
                code,
                list_uri: destination.message_type_list.clone(),
                ..Code::default()
            }),
            obsolete_days: destination.obsolete_days,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_bad_ones_are_refused() {
        let path = Path::new("etc/gateway.toml");
        let config = GatewayConfig::parse(EXAMPLE, path).expect("the example");
        let destination = &config.destination[0];
        assert_eq!(destination.decryption[0].file, Path::new("etc/keys/enc-2026.key"));
        assert_eq!((config.office.report_seconds, destination.obsolete_days), (15, 12));
        // Every default in the example is the one that holds.
        let is_key = |rest: &&str| {
            let name = rest.split_once(" = ").map_or("", |(name, _)| name);
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let uncommented = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if is_key(&rest) || rest == "[log]" => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        let bare: String = EXAMPLE.lines().map(uncommented).collect();
        let all = GatewayConfig::parse(&bare, path);
        let all = all.unwrap_or_else(|error| panic!("{error}: {bare}"));
        assert_eq!(all.office.submission_bytes_max, config.office.submission_bytes_max);
        assert_eq!(all.office.poll_milliseconds, config.office.poll_milliseconds);
        assert_eq!(all.destination[0].metadata_versions, destination.metadata_versions);
        for (from, to, expected) in [
            ("reader =", "readers =", "unknown field `readers`"),
            ("\"ags:10041100\"", "\"Saarbrücken\"", "destination.reader"),
            ("\"gw:100000000000\"", "\"gw\"", "office.author"),
            ("# poll_milliseconds = 5000", "poll_milliseconds = 1", "office.poll_milliseconds"),
            ("# report_seconds = 15", "report_seconds = 0", "office.report_seconds"),
            ("# obsolete_days = 12", "obsolete_days = 0", "destination.obsolete_days"),
            ("[{ kid = \"enc-2026\", file = \"keys/enc-2026.key\" }]", "[]", "destination.decryption"),
            ("https://localhost:8445", "http://localhost:8445", "office.portal"),
            ("5b0f6d0e-", "x", "a UUID"),
        ] {
            assert!(EXAMPLE.contains(from), "{from}");
            let error = GatewayConfig::parse(&EXAMPLE.replacen(from, to, 1), path).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let none = EXAMPLE.split("[[destination]]").next().expect("a part");
        assert!(GatewayConfig::parse(none, path).is_err());
    }
}
