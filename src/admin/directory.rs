//! The participants' file: accounts and service profiles as TOML, and the difference between two directories.
//!
//! The same format is applied and exported. A participants' file is the whole directory: what it does not name is
//! removed, and the difference says so before anything happens.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::protocol::DirectoryView;
use crate::domain::account::{Account, AccountError, Directory};
use crate::domain::content::Digest;
use crate::domain::profile::ServiceProfile;
use crate::pki::certificate::Certificate;
use crate::pki::jose::jwk::{PublicKey, Purpose};

#[derive(Debug, Error)]
pub enum DirectoryError {
    #[error("line {line}, column {column}: {what}")]
    Malformed { line: usize, column: usize, what: String },
    #[error(transparent)]
    Inconsistent(#[from] AccountError),
    #[error("{what} {name} stands twice in the file")]
    Twice { what: &'static str, name: String },
    #[error("account {account}: {what}")]
    Certificate { account: String, what: String },
    #[error("account {account}, destination {destination}: {what}")]
    Destination { account: String, destination: String, what: String },
}

/// `[[account]]` and `[[profile]]` tables.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(rename = "profile", skip_serializing_if = "Vec::is_empty")]
    profiles: Vec<ServiceProfile>,
    #[serde(rename = "account", skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<Account>,
}

/// Reads a participants' file and checks it as the store will.
pub fn parse(text: &str) -> Result<(Vec<Account>, Vec<ServiceProfile>), DirectoryError> {
    let mut file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        DirectoryError::Malformed {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            what: error.message().to_owned(),
        }
    })?;
    unique("the account", file.accounts.iter().map(|account| account.name.to_string()))?;
    unique("the profile", file.profiles.iter().map(|profile| profile.name.to_string()))?;
    for account in &mut file.accounts {
        check_certificates(account)?;
        check_destinations(account)?;
    }
    file.accounts.sort_by(|one, other| one.name.cmp(&other.name));
    file.profiles.sort_by(|one, other| one.name.cmp(&other.name));
    Directory::new(0, file.accounts.clone(), file.profiles.clone())?;
    Ok((file.accounts, file.profiles))
}

/// The file that [`parse`] reads back.
pub fn export(view: &DirectoryView) -> Result<String, toml::ser::Error> {
    let file = File { profiles: view.profiles.clone(), accounts: view.accounts.clone() };
    let body = toml::to_string_pretty(&file)?;
    Ok(format!(
        "# Participants of revision {}. Apply with `amtsbote participant apply FILE`.\n\n{body}",
        view.revision
    ))
}

fn unique(what: &'static str, names: impl Iterator<Item = String>) -> Result<(), DirectoryError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(DirectoryError::Twice { what, name });
        }
    }
    Ok(())
}

/// A certificate that stands in the file must be the one that is named beside it: a mix-up would let a stranger in.
fn check_certificates(account: &Account) -> Result<(), DirectoryError> {
    let wrong = |what: String| DirectoryError::Certificate { account: account.name.to_string(), what };
    let read = |pem: &str| Certificate::from_pem(pem.as_bytes()).map_err(|error| wrong(error.to_string()));
    for key in &account.keys {
        let Some(pem) = &key.certificate else { continue };
        let found = read(pem)?.key_fingerprint();
        if found != key.key {
            return Err(wrong(format!("the certificate's key is {found}, the file says {}", key.key)));
        }
    }
    let cipher = account.osci.cipher.iter().map(|cipher| (&cipher.certificate, cipher.fingerprint));
    let signature = account.osci.signature.iter().map(|one| (&one.certificate, one.fingerprint));
    for (pem, named) in cipher.chain(signature) {
        let Some(pem) = pem else { continue };
        let found = Digest(read(pem)?.fingerprint().0);
        if found != named {
            return Err(wrong(format!("the certificate's fingerprint is {found}, the file says {named}")));
        }
    }
    Ok(())
}

/// Destinations' keys beside which another key's certificate is stored: older programs took them.
pub fn foreign_certificates<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Vec<String> {
    let mut found = Vec::new();
    for account in accounts {
        for destination in &account.portal.destinations {
            let keys = destination.keys.iter().filter_map(|key| PublicKey::parse(&key.jwk).ok());
            found.extend(keys.filter_map(|key| {
                let error = key.certificate().err()?;
                Some(format!(
                    "account {}, destination {}: the key {}: {error}",
                    account.name,
                    destination.id,
                    key.kid()
                ))
            }));
        }
    }
    found
}

/// What to do about them.
pub const FOREIGN_CERTIFICATE_NEXT_STEP: &str = "no change of any destination is taken as long as it is there: ask the \
    participant for the key with its own certificate or with none, put that into the file that `amtsbote participant export` \
    writes, and apply it";

/// A destination that nobody could encrypt for, or whose callback would go to nobody, must not look like a good one.
fn check_destinations(account: &Account) -> Result<(), DirectoryError> {
    for destination in &account.portal.destinations {
        let wrong = |what: String| DirectoryError::Destination {
            account: account.name.to_string(),
            destination: destination.id.to_string(),
            what,
        };
        let mut keys: Vec<PublicKey> = Vec::new();
        for one in &destination.keys {
            let key = PublicKey::parse(&one.jwk).map_err(|error| wrong(error.to_string()))?;
            if keys.iter().any(|other| other.kid() == key.kid()) {
                return Err(wrong(format!("the kid {} stands twice", key.kid())));
            }
            key.certificate().map_err(|error| wrong(format!("the key {}: {error}", key.kid())))?;
            if one.former && key.purpose == Purpose::Encryption {
                return Err(wrong(format!(
                    "the key {} is for encryption; former is said of keys for signatures only",
                    key.kid()
                )));
            }
            keys.push(key);
        }
        let is_there = keys
            .iter()
            .any(|key| key.kid() == destination.encryption_kid && key.purpose == Purpose::Encryption);
        if !is_there {
            return Err(wrong("encryption_kid must name one of its keys for encryption".to_owned()));
        }
        if destination.callback.as_ref().is_some_and(|callback| !callback.url.starts_with("https://")) {
            return Err(wrong("its callback is not an https URL".to_owned()));
        }
        let user = |url: &str| url.split('/').nth(2).is_some_and(|authority| authority.contains('@'));
        if destination.callback.as_ref().is_some_and(|callback| user(&callback.url)) {
            return Err(wrong("its callback's URL names a user; the HMAC proves who calls".to_owned()));
        }
        if destination.callback.as_ref().is_some_and(|callback| callback.secret.len() < 32) {
            return Err(wrong("its callback's secret has less than 32 characters".to_owned()));
        }
    }
    Ok(())
}

/// What applying would do, in the order of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    Added { what: &'static str, name: String },
    Removed { what: &'static str, name: String },
    Changed { what: &'static str, name: String, lines: Vec<LineChange> },
}

/// A setting that goes or comes; `key: value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineChange {
    pub added: bool,
    pub text: String,
}

impl Difference {
    pub fn between(old: &DirectoryView, accounts: &[Account], profiles: &[ServiceProfile]) -> Self {
        let mut changes = Vec::new();
        let by_profile = |list: &[ServiceProfile]| -> BTreeMap<String, serde_json::Value> {
            list.iter().map(|one| (one.name.to_string(), as_value(one))).collect()
        };
        let by_account = |list: &[Account]| -> BTreeMap<String, serde_json::Value> {
            list.iter().map(|one| (one.name.to_string(), as_value(one))).collect()
        };
        compare("profile", &by_profile(&old.profiles), &by_profile(profiles), &mut changes);
        compare("account", &by_account(&old.accounts), &by_account(accounts), &mut changes);
        Self { changes }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

fn as_value(record: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(record).unwrap_or(serde_json::Value::Null)
}

fn compare(
    what: &'static str,
    old: &BTreeMap<String, serde_json::Value>,
    new: &BTreeMap<String, serde_json::Value>,
    changes: &mut Vec<Change>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => changes.push(Change::Added { what, name: name.clone() }),
            Some(before) if before != value => {
                let (before, after) = (lines(before), lines(value));
                let gone = before.iter().filter(|line| !after.contains(line));
                let come = after.iter().filter(|line| !before.contains(line));
                let lines = gone
                    .map(|text| LineChange { added: false, text: text.clone() })
                    .chain(come.map(|text| LineChange { added: true, text: text.clone() }))
                    .collect();
                changes.push(Change::Changed { what, name: name.clone(), lines });
            }
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(Change::Removed { what, name: name.clone() });
    }
}

/// A record as lines that can be compared one by one: entries of lists apart, so that one more key is one more line.
fn lines(value: &serde_json::Value) -> Vec<String> {
    let mut out = Vec::new();
    flatten("", value, &mut out);
    out
}

fn flatten(path: &str, value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) if ["", "rights", "osci", "portal"].contains(&path) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        serde_json::Value::Array(entries) => {
            out.extend(entries.iter().map(|entry| format!("{path}: {}", one_line(entry))));
            if entries.is_empty() {
                out.push(format!("{path}: none"));
            }
        }
        other => out.push(format!("{path}: {}", one_line(other))),
    }
}

fn one_line(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("certificate", _) => "with its certificate".to_owned(),
                ("callback", value) => format!("callback {}", value["url"].as_str().unwrap_or_default()),
                ("jwk", value) => format!("key {}", kid_in(value)),
                (_, value) => format!("{key} {}", one_line(value)),
            })
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// A key's name alone; the rest says nothing to people.
fn kid_in(jwk: &serde_json::Value) -> String {
    let parsed = jwk.as_str().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    parsed.and_then(|jwk| jwk["kid"].as_str().map(str::to_owned)).unwrap_or_default()
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            match change {
                Change::Added { what, name } => writeln!(out, "+ {what} {name}")?,
                Change::Removed { what, name } => writeln!(out, "- {what} {name}")?,
                Change::Changed { what, name, lines } => {
                    writeln!(out, "~ {what} {name}")?;
                    for line in lines {
                        writeln!(out, "    {} {}", if line.added { '+' } else { '-' }, line.text)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const OTHER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn view(text: &str) -> DirectoryView {
        let (accounts, profiles) = parse(text).expect("well-formed");
        DirectoryView { revision: 7, accounts, profiles }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let answer = parse(text).map(|_| "taken".to_owned()).unwrap_or_else(|error| error.to_string());
        assert_eq!(answer, expected);
    }

    #[test]
    fn mistakes_in_a_file_are_named() {
        check("", "taken");
        check(
            "[[account]]\nname = \"Amt\"\n",
            "line 2, column 8: an account name has 1 to 64 characters of a-z, 0-9, '-', '_' and '.', not \"Amt\"",
        );
        check(
            "[[account]]\nname = \"a\"\n[[account]]\nname = \"a\"\n",
            "the account a stands twice in the file",
        );
        check(
            "[[account]]\nname = \"a\"\nprofile = \"fast\"\n",
            "account a names the service profile fast, which does not exist",
        );
        check(
            &format!(
                "[[account]]\nname = \"a\"\nkeys = [{{ key = \"{KEY}\" }}]\n[[account]]\nname = \"b\"\nkeys = [{{ key = \"{KEY}\" }}]\n"
            ),
            &format!("the key {KEY} is claimed by both a and b; a key names exactly one account"),
        );
    }

    #[test]
    fn demands_are_checked_shown_and_exported() {
        let of = |demands: &str| {
            format!(
                "[[account]]\nname = \"a\"\nidentifiers = [{{ value = \"ags:1\" }}]\n[account.osci]\n{demands}"
            )
        };
        check(
            &of("digest_methods = []\n"),
            "account a: osci.digest_methods is empty, so that nothing would be taken; leave it out to take what the \
             post office takes",
        );
        check(
            &of("rsa_bits_min = 30720\n"),
            "account a: osci.rsa_bits_min is 30720; no key here has more than 8192 bits",
        );
        let misspelt =
            parse(&of("signature_methods = [\"rsa-sha1\"]\n")).expect_err("not a method").to_string();
        assert!(misspelt.starts_with("line 5, column ") && misspelt.contains("rsa-pss-sha256"), "{misspelt}");

        let old = view(&of("signature_required = true\n"));
        let new = view(&of("signature_required = true\nencryption_required = true\nec_bits_min = 384\n\
             signature_methods = [\"rsa-pss-sha256\", \"ecdsa-sha384\"]\ndigest_methods = [\"sha3-512\"]\n\
             content_methods = [\"aes256-gcm\"]\nkey_transports = [\"rsa-oaep-sha256\"]\n"));
        let difference = Difference::between(&old, &new.accounts, &new.profiles).to_string();
        for line in [
            "+ osci.signature_methods: rsa-pss-sha256\n",
            "+ osci.signature_methods: ecdsa-sha384\n",
            "+ osci.digest_methods: sha3-512\n",
            "+ osci.content_methods: aes256-gcm\n",
            "+ osci.key_transports: rsa-oaep-sha256\n",
            "+ osci.ec_bits_min: 384\n",
        ] {
            assert!(difference.contains(line), "{line}{difference}");
        }
        assert_eq!(view(&export(&new).expect("exports")), new);
    }

    #[test]
    fn destinations_are_checked_shown_and_exported() {
        let encryption = include_str!("../../tests/data/portal/encryption.jwk").trim_end();
        let signature = include_str!("../../tests/data/portal/signature.jwk").trim_end();
        let id = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
        let of = |more: &str, keys: &[&str]| {
            let keys: String = keys.iter().map(|key| format!("{{ jwk = '{key}' }},")).collect();
            format!(
                "[[account]]\nname = \"a\"\nidentifiers = [{{ value = \"ags:1\" }}]\n\
                 [[account.portal.client]]\nid = \"a-1\"\nsubscribes = true\n\
                 [[account.portal.destination]]\nid = \"{id}\"\nkeys = [{keys}]\n\
                 encryption_kid = \"authority-encryption-2026\"\n{more}"
            )
        };
        let good = of("", &[encryption, signature]);
        check(&good, "taken");
        let said = |what: &str| format!("account a, destination {id}: {what}");
        check(&of("", &[signature]), &said("encryption_kid must name one of its keys for encryption"));
        check(&of("", &[encryption, encryption]), &said("the kid authority-encryption-2026 stands twice"));
        check(
            &good.replacen(
                &format!("{{ jwk = '{encryption}' }}"),
                &format!("{{ jwk = '{encryption}', former = true }}"),
                1,
            ),
            &said(
                "the key authority-encryption-2026 is for encryption; former is said of keys for signatures only",
            ),
        );
        check(
            &of("callback = { url = \"http://a.example/\", secret = \"x\" }\n", &[encryption]),
            &said("its callback is not an https URL"),
        );
        check(
            &of("callback = { url = \"https://a:b@c.example/\", secret = \"x\" }\n", &[encryption]),
            &said("its callback's URL names a user; the HMAC proves who calls"),
        );
        check(
            &of("callback = { url = \"https://a.example/\", secret = \"x\" }\n", &[encryption]),
            &said("its callback's secret has less than 32 characters"),
        );
        check(
            &of("identifier = \"ags:2\"\n", &[encryption]),
            &format!("account a, destination {id}: it must name one of the account's identifiers"),
        );
        check(
            &format!("{good}{}", good.replace("name = \"a\"", "name = \"b\"").replace("ags:1", "ags:2")),
            &format!("account b, destination {id}: its id is claimed by a as well"),
        );
        let callback = "callback = { url = \"https://a.example/\", secret = \"0123456789abcdef0123456789abcdef\" }\n\
             serves = [{ services = [\"99050012104000\"], regions = [\"10041\"], valid_from = \"2026-01-01\" }]\n";
        let (old, new) = (view(&good), view(&of(callback, &[encryption, signature])));
        assert_eq!(view(&export(&new).expect("exports")), new);
        let difference = Difference::between(&old, &new.accounts, &new.profiles).to_string();
        assert!(difference.contains("callback https://a.example/"), "{difference}");
        assert!(!difference.contains("0123456789abcdef"), "a secret is not shown: {difference}");
    }

    #[test]
    fn an_export_reads_back() {
        let text = format!(
            "[[profile]]\nname = \"fast\"\nexpiry_days = 2\n[[account]]\nname = \"a\"\ntitle = \"Amt \\\"A\\\"\"\nprofile = \"fast\"\n\
             keys = [{{ key = \"{KEY}\", remark = \"new\" }}]\nidentifiers = [{{ value = \"ags:1\", type = \"xoev\" }}]\n"
        );
        let before = view(&text);
        let exported = export(&before).expect("exports");
        assert_eq!(view(&exported), before, "{exported}");
    }

    #[test]
    fn a_difference_shows_osci_certificates_one_by_one() {
        let of = |cipher: &str| {
            view(&format!(
                "[[account]]\nname = \"a\"\nidentifiers = [{{ value = \"ags:1\" }}]\n[account.osci]\nsignature_required = true\n{cipher}"
            ))
        };
        let one = format!("[[account.osci.cipher]]\nfingerprint = \"{KEY}\"\n");
        let two =
            format!("{one}[[account.osci.cipher]]\nfingerprint = \"{OTHER}\"\nidentifier = \"ags:1\"\n");
        let new = of(&two);
        let difference = Difference::between(&of(&one), &new.accounts, &new.profiles);
        let expected = format!("~ account a\n    + osci.cipher: fingerprint {OTHER}, identifier ags:1\n");
        assert_eq!(difference.to_string(), expected);
        assert_eq!(view(&export(&new).expect("exports")).accounts, new.accounts);
    }

    #[test]
    fn a_difference_names_each_change() {
        let old = view(&format!(
            "[[account]]\nname = \"a\"\nkeys = [{{ key = \"{KEY}\" }}]\n[[account]]\nname = \"b\"\n"
        ));
        let new = view(&format!(
            "[[account]]\nname = \"a\"\nblocked = true\nkeys = [{{ key = \"{KEY}\" }}, {{ key = \"{OTHER}\" }}]\n[[account]]\nname = \"c\"\n"
        ));
        let difference = Difference::between(&old, &new.accounts, &new.profiles);
        assert_eq!(
            difference.to_string(),
            format!(
                "~ account a\n    - blocked: false\n    + blocked: true\n    + keys: key {OTHER}\n+ account c\n- account b\n"
            )
        );
        assert!(Difference::between(&old, &old.accounts, &old.profiles).is_empty());
    }
}
