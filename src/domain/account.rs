//! Who may use the post office: participants with their certificates, identifiers, mailboxes and rights.
//!
//! A participant is an account. Its identity is a key: the SHA-256 of a certificate's SubjectPublicKeyInfo names
//! exactly one account. This room holds the records and the questions asked of them; applying and storing the
//! directory is the store's and the relay's work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::party::{MailboxName, PartyIdentifier};
use super::profile::{ProfileName, ServiceProfile};

/// An account's name: 1 to 64 characters of `a-z 0-9 - _ .`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccountError {
    #[error("an account name has 1 to 64 characters of a-z, 0-9, '-', '_' and '.', not {0:?}")]
    Name(String),
    #[error("a key fingerprint is 64 hexadecimal digits (SHA-256 of the public key info), not {0:?}")]
    Fingerprint(String),
    #[error("the key {key} is claimed by both {one} and {other}; a key names exactly one account")]
    SharedKey { key: KeyFingerprint, one: AccountName, other: AccountName },
    #[error("the identifier {identifier} is claimed by both {one} and {other}")]
    SharedIdentifier { identifier: String, one: AccountName, other: AccountName },
    #[error("two accounts bear the name {0}")]
    SharedName(AccountName),
    #[error("account {account} names the service profile {profile}, which does not exist")]
    UnknownProfile { account: AccountName, profile: ProfileName },
}

impl AccountName {
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(AccountError::Name(text.chars().take(80).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AccountName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for AccountName {
    type Error = AccountError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyFingerprint(pub [u8; 32]);

impl std::fmt::Display for KeyFingerprint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl std::fmt::Debug for KeyFingerprint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for KeyFingerprint {
    type Error = AccountError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let refuse = || AccountError::Fingerprint(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(refuse)?;
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(refuse());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
        }
        Ok(Self(bytes))
    }
}

impl From<KeyFingerprint> for String {
    fn from(key: KeyFingerprint) -> Self {
        key.to_string()
    }
}

/// A certificate that an account may show, with a remark for people ("valid until…", "new since the roll-over").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountKey {
    pub key: KeyFingerprint,
    /// The certificate itself (PEM), where the administrator gave it, so that its expiry can be announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// What an account may send, and to whom. An absent list allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rights {
    /// Services (URIs) it may use as an author; `*` at the end is a prefix match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Identifiers of readers it may write to; `*` at the end is a prefix match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<Vec<String>>,
    /// Whether ids that this post office did not issue are taken.
    pub foreign_message_ids: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub name: AccountName,
    /// The authority's name, for people.
    #[serde(default)]
    pub title: String,
    /// A blocked account is answered 9011 and keeps its mailboxes.
    #[serde(default)]
    pub blocked: bool,
    #[serde(default)]
    pub keys: Vec<AccountKey>,
    /// Identifiers it speaks for; each owns a mailbox of its value's name.
    #[serde(default)]
    pub identifiers: Vec<PartyIdentifier>,
    /// Services (URIs) that it takes as a reader; absent: every service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Vec<String>>,
    #[serde(default)]
    pub rights: Rights,
    /// The service profile of messages in its mailboxes where the message names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
}

impl Account {
    /// Whether `claimed` is one of this account's identifiers (`*` is not one).
    pub fn speaks_for(&self, claimed: &PartyIdentifier) -> bool {
        self.identifiers.iter().any(|own| own.matches(claimed))
    }

    pub fn mailboxes(&self) -> Vec<MailboxName> {
        self.identifiers.iter().filter_map(|own| MailboxName::parse(own.value()).ok()).collect()
    }

    pub fn may_use(&self, service: &str) -> bool {
        allowed(self.rights.services.as_deref(), service)
    }

    pub fn may_write_to(&self, reader: &PartyIdentifier) -> bool {
        allowed(self.rights.readers.as_deref(), reader.value())
    }

    pub fn takes(&self, service: &str) -> bool {
        allowed(self.accepts.as_deref(), service)
    }
}

fn allowed(list: Option<&[String]>, value: &str) -> bool {
    list.is_none_or(|list| {
        list.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => value.starts_with(prefix),
            None => entry == value,
        })
    })
}

/// Every account and service profile: one consistent picture, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    revision: u64,
    accounts: BTreeMap<AccountName, Account>,
    profiles: BTreeMap<ProfileName, ServiceProfile>,
    by_key: BTreeMap<KeyFingerprint, AccountName>,
    by_identifier: BTreeMap<String, Vec<AccountName>>,
}

impl Directory {
    /// `revision` counts the applied changes; every node that sees a higher one reads the directory again.
    pub fn new(
        revision: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
    ) -> Result<Self, AccountError> {
        let mut directory = Self { revision, ..Self::default() };
        directory.profiles = profiles.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        for account in accounts {
            directory.add(account)?;
        }
        Ok(directory)
    }

    fn add(&mut self, account: Account) -> Result<(), AccountError> {
        if self.accounts.contains_key(&account.name) {
            return Err(AccountError::SharedName(account.name));
        }
        if let Some(profile) = &account.profile
            && !self.profiles.contains_key(profile)
        {
            return Err(AccountError::UnknownProfile { account: account.name, profile: profile.clone() });
        }
        for key in &account.keys {
            if let Some(one) = self.by_key.insert(key.key, account.name.clone())
                && one != account.name
            {
                return Err(AccountError::SharedKey { key: key.key, one, other: account.name });
            }
        }
        for own in &account.identifiers {
            // Whatever the types say: the mailbox bears the value's name, so two owners would share one mailbox.
            let claimed = self.by_identifier.get(own.value()).into_iter().flatten();
            if let Some(one) = claimed.into_iter().find(|one| **one != account.name) {
                return Err(AccountError::SharedIdentifier {
                    identifier: own.value().to_owned(),
                    one: one.clone(),
                    other: account.name,
                });
            }
            self.by_identifier.entry(own.value().to_owned()).or_default().push(account.name.clone());
        }
        self.accounts.insert(account.name.clone(), account);
        Ok(())
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    pub fn profiles(&self) -> impl Iterator<Item = &ServiceProfile> {
        self.profiles.values()
    }

    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.accounts.get(name)
    }

    pub fn account_by_key(&self, key: &KeyFingerprint) -> Option<&Account> {
        self.by_key.get(key).and_then(|name| self.accounts.get(name))
    }

    /// The account whose mailbox takes messages for this identifier.
    pub fn account_by_identifier(&self, identifier: &PartyIdentifier) -> Option<&Account> {
        let names = self.by_identifier.get(identifier.value())?;
        names.iter().filter_map(|name| self.accounts.get(name)).find(|account| account.speaks_for(identifier))
    }

    pub fn profile(&self, name: &str) -> Option<&ServiceProfile> {
        ProfileName::parse(name).ok().and_then(|name| self.profiles.get(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: (&str, Option<&str>), other: (&str, Option<&str>), expected: bool) {
        let account = |name: &str, (value, kind): (&str, Option<&str>)| Account {
            name: AccountName::parse(name).expect("a well-formed name"),
            title: String::new(),
            blocked: false,
            keys: Vec::new(),
            identifiers: vec![
                PartyIdentifier::with_labels(value, kind, None, None).expect("a well-formed identifier"),
            ],
            accepts: None,
            rights: Rights::default(),
            profile: None,
        };
        let taken = Directory::new(1, vec![account("one", one), account("two", other)], Vec::new());
        assert_eq!(taken.is_ok(), expected, "{one:?} {other:?}: {taken:?}");
    }

    #[test]
    fn no_two_accounts_share_a_name() {
        let bare = |value: &str| Account {
            name: AccountName::parse("one").expect("a well-formed name"),
            title: String::new(),
            blocked: false,
            keys: Vec::new(),
            identifiers: vec![PartyIdentifier::new(value).expect("a well-formed identifier")],
            accepts: None,
            rights: Rights::default(),
            profile: None,
        };
        let taken = Directory::new(1, vec![bare("ags:1"), bare("ags:2")], Vec::new());
        assert_eq!(taken.err(), Some(AccountError::SharedName(bare("ags:1").name)));
    }

    #[test]
    fn no_two_accounts_share_a_mailbox() {
        check(("ags:1", None), ("ags:2", None), true);
        check(("ags:1", None), ("ags:1", None), false);
        check(("ags:1", Some("xoev")), ("ags:1", None), false);
        check(("ags:1", Some("xoev")), ("ags:1", Some("XTA_ID")), false);
    }
}
