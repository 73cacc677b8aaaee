//! Who may use the post office: participants with their certificates, identifiers, mailboxes and rights.
//!
//! A participant is an account. Its identity is a key: the SHA-256 of a certificate's SubjectPublicKeyInfo names
//! exactly one account. This room holds the records and the questions asked of them; applying and storing the
//! directory is the store's and the relay's work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::algorithm::{ContentMethod, DigestMethod, KeyTransport, SignatureMethod};
use super::content::Digest;
use super::destination::{Destination, DestinationId, PortalClient, PortalParticipant};
use super::hex;
use super::party::{MailboxName, PartyIdentifier};
use super::profile::{ProfileName, ServiceProfile};

/// Largest keys that can be demanded, in bits: more is not taken of anybody.
const RSA_BITS_MIN_MAX: u32 = 8192;
const EC_BITS_MIN_MAX: u32 = 521;

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
    #[error(
        "the certificate {certificate} is claimed by both {one} and {other}; it names exactly one account"
    )]
    SharedCertificate { certificate: Digest, one: AccountName, other: AccountName },
    #[error("account {account} lists the certificate {certificate} twice in one list")]
    RepeatedCertificate { account: AccountName, certificate: Digest },
    #[error(
        "account {account}: the cipher certificate {certificate} must name one of the account's identifiers"
    )]
    CipherIdentifier { account: AccountName, certificate: Digest },
    #[error("account {account}: osci.{key} {what}")]
    OsciDemand { account: AccountName, key: &'static str, what: String },
    #[error("account {account}, {what}")]
    Portal { account: AccountName, what: String },
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
        out.write_str(&hex::lower(&self.0))
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

/// What an account shows in OSCI-Transport 1.2, and what is demanded of it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OsciParticipant {
    /// Requests must be signed (9600).
    pub signature_required: bool,
    /// Requests must be encrypted, the first of a dialog too.
    pub encryption_required: bool,
    /// Smallest RSA key of its certificates, in bits, where more is wanted than the post office demands of everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsa_bits_min: Option<u32>,
    /// The same for keys on elliptic curves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ec_bits_min: Option<u32>,
    /// What its requests may be signed by, where they are signed (9601). An absent list takes what the post office takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_methods: Option<Vec<SignatureMethod>>,
    /// What is signed may be digested by these (9601).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_methods: Option<Vec<DigestMethod>>,
    /// What its requests may be encrypted by, where they are encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_methods: Option<Vec<ContentMethod>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_transports: Option<Vec<KeyTransport>>,
    /// Where its passive recipients listen: URLs that forwardDelivery and mediateDelivery to this account may name, each
    /// with everything below its path. Others are not dialled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<String>,
    /// Each names one mailbox of the account; after a renewal two may name the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher: Vec<CipherCertificate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signature: Vec<SignatureCertificate>,
}

/// A certificate whose holder owns a mailbox and answers are encrypted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CipherCertificate {
    /// SHA-256 of the whole certificate (DER), as `amtsbote cert show` prints it.
    pub fingerprint: Digest,
    /// The identifier whose mailbox it names; may be absent where the account has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// The certificate itself (PEM), so that its expiry can be announced and pushes can be encrypted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// A certificate that the account's requests may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureCertificate {
    /// SHA-256 of the whole certificate (DER), as `amtsbote cert show` prints it.
    pub fingerprint: Digest,
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
    #[serde(default, skip_serializing_if = "OsciParticipant::is_absent")]
    pub osci: OsciParticipant,
    /// Destinations for a portal's applications, and programs that send or fetch there.
    #[serde(default, skip_serializing_if = "PortalParticipant::is_absent")]
    pub portal: PortalParticipant,
}

impl OsciParticipant {
    /// Nothing is said about OSCI.
    fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// Demands that nobody could meet, or that say nothing.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let lists = [
            ("signature_methods", self.signature_methods.as_ref().map(Vec::len)),
            ("digest_methods", self.digest_methods.as_ref().map(Vec::len)),
            ("content_methods", self.content_methods.as_ref().map(Vec::len)),
            ("key_transports", self.key_transports.as_ref().map(Vec::len)),
        ];
        if let Some((key, _)) = lists.into_iter().find(|(_, length)| *length == Some(0)) {
            return Err((
                key,
                "is empty, so that nothing would be taken; leave it out to take what the post office takes"
                    .to_owned(),
            ));
        }
        for (key, bits, most) in [
            ("rsa_bits_min", self.rsa_bits_min, RSA_BITS_MIN_MAX),
            ("ec_bits_min", self.ec_bits_min, EC_BITS_MIN_MAX),
        ] {
            if let Some(bits) = bits.filter(|bits| *bits > most) {
                return Err((key, format!("is {bits}; no key here has more than {most} bits")));
            }
        }
        Ok(())
    }
}

impl Account {
    /// Whether `claimed` is one of this account's identifiers (`*` is not one).
    pub fn speaks_for(&self, claimed: &PartyIdentifier) -> bool {
        self.identifiers.iter().any(|own| own.matches(claimed))
    }

    pub fn mailboxes(&self) -> Vec<MailboxName> {
        self.identifiers.iter().filter_map(|own| MailboxName::parse(own.value()).ok()).collect()
    }

    /// Every certificate (PEM) that the administrator gave.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.iter().map(|key| &key.certificate);
        let cipher = self.osci.cipher.iter().map(|cipher| &cipher.certificate);
        let signature = self.osci.signature.iter().map(|signature| &signature.certificate);
        keys.chain(cipher).chain(signature).filter_map(Option::as_deref)
    }

    /// The identifier whose mailbox this cipher certificate names.
    fn identifier_of(&self, cipher: &CipherCertificate) -> Option<&PartyIdentifier> {
        match (&cipher.identifier, self.identifiers.as_slice()) {
            (Some(value), own) => own.iter().find(|own| own.value() == value && !own.is_wildcard()),
            (None, [only]) if !only.is_wildcard() => Some(only),
            (None, _) => None,
        }
    }

    /// The identifier whose mailbox takes a destination's applications.
    pub fn mailbox_of(&self, destination: &Destination) -> Option<&PartyIdentifier> {
        match (&destination.identifier, self.identifiers.as_slice()) {
            (Some(value), own) => own.iter().find(|own| own.value() == value && !own.is_wildcard()),
            (None, [only]) if !only.is_wildcard() => Some(only),
            (None, _) => None,
        }
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
    by_cipher: BTreeMap<[u8; 32], (AccountName, PartyIdentifier)>,
    by_signature: BTreeMap<[u8; 32], AccountName>,
    by_destination: BTreeMap<DestinationId, (AccountName, usize)>,
    by_client: BTreeMap<String, (AccountName, usize)>,
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
        self.add_osci(&account)?;
        self.add_portal(&account)?;
        self.accounts.insert(account.name.clone(), account);
        Ok(())
    }

    fn add_osci(&mut self, account: &Account) -> Result<(), AccountError> {
        account.osci.check().map_err(|(key, what)| AccountError::OsciDemand {
            account: account.name.clone(),
            key,
            what,
        })?;
        let claimed = |certificate: Digest, one: &AccountName| {
            if *one == account.name {
                AccountError::RepeatedCertificate { account: one.clone(), certificate }
            } else {
                AccountError::SharedCertificate { certificate, one: one.clone(), other: account.name.clone() }
            }
        };
        for cipher in &account.osci.cipher {
            let certificate = cipher.fingerprint;
            let own = account.identifier_of(cipher).ok_or_else(|| AccountError::CipherIdentifier {
                account: account.name.clone(),
                certificate,
            })?;
            let value = (account.name.clone(), own.clone());
            if let Some((one, _)) = self.by_cipher.insert(certificate.0, value) {
                return Err(claimed(certificate, &one));
            }
        }
        for signature in &account.osci.signature {
            if let Some(one) = self.by_signature.insert(signature.fingerprint.0, account.name.clone()) {
                return Err(claimed(signature.fingerprint, &one));
            }
        }
        Ok(())
    }

    fn add_portal(&mut self, account: &Account) -> Result<(), AccountError> {
        let wrong = |what: String| AccountError::Portal { account: account.name.clone(), what };
        for (at, destination) in account.portal.destinations.iter().enumerate() {
            let id = &destination.id;
            if account.mailbox_of(destination).is_none() {
                return Err(wrong(format!(
                    "destination {id}: it must name one of the account's identifiers"
                )));
            }
            if let Some(profile) = &destination.profile
                && self.profile(profile).is_none()
            {
                return Err(wrong(format!("destination {id}: the service profile {profile} does not exist")));
            }
            if let Some((one, _)) = self.by_destination.insert(id.clone(), (account.name.clone(), at)) {
                return Err(wrong(format!("destination {id}: its id is claimed by {one} as well")));
            }
        }
        for (at, client) in account.portal.clients.iter().enumerate() {
            let id = &client.id;
            let fits = (1..=128).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            if !fits {
                let shown: String = id.chars().take(80).collect();
                return Err(wrong(format!(
                    "client {shown:?}: an id has 1 to 128 letters, digits, '-', '.', '_' and '~'"
                )));
            }
            if client.sends && !account.identifiers.iter().any(|own| !own.is_wildcard()) {
                return Err(wrong(format!("client {id}: whoever sends needs an identifier of the account")));
            }
            if let Some((one, _)) = self.by_client.insert(id.clone(), (account.name.clone(), at)) {
                return Err(wrong(format!("client {id}: its id is claimed by {one} as well")));
            }
        }
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

    /// Whose cipher certificate this is, and which mailbox it names.
    pub fn account_by_cipher(&self, certificate: &Digest) -> Option<(&Account, &PartyIdentifier)> {
        let (name, identifier) = self.by_cipher.get(&certificate.0)?;
        self.accounts.get(name).map(|account| (account, identifier))
    }

    pub fn account_by_signature(&self, certificate: &Digest) -> Option<&Account> {
        self.by_signature.get(&certificate.0).and_then(|name| self.accounts.get(name))
    }

    pub fn destination(&self, id: &DestinationId) -> Option<(&Account, &Destination)> {
        let (name, at) = self.by_destination.get(id)?;
        let account = self.accounts.get(name)?;
        account.portal.destinations.get(*at).map(|destination| (account, destination))
    }

    pub fn destinations(&self) -> impl Iterator<Item = (&Account, &Destination)> {
        self.by_destination.keys().filter_map(|id| self.destination(id))
    }

    pub fn portal_client(&self, id: &str) -> Option<(&Account, &PortalClient)> {
        let (name, at) = self.by_client.get(id)?;
        let account = self.accounts.get(name)?;
        account.portal.clients.get(*at).map(|client| (account, client))
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
            osci: OsciParticipant::default(),
            portal: Default::default(),
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
            osci: OsciParticipant::default(),
            portal: Default::default(),
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

    fn with_osci(
        name: &str,
        identifiers: &[&str],
        cipher: &[(u8, Option<&str>)],
        signature: &[u8],
    ) -> Account {
        Account {
            name: AccountName::parse(name).expect("a well-formed name"),
            title: String::new(),
            blocked: false,
            keys: Vec::new(),
            identifiers: identifiers
                .iter()
                .map(|value| PartyIdentifier::new(value).expect("a well-formed identifier"))
                .collect(),
            accepts: None,
            rights: Rights::default(),
            profile: None,
            portal: Default::default(),
            osci: OsciParticipant {
                cipher: cipher
                    .iter()
                    .map(|(byte, identifier)| CipherCertificate {
                        fingerprint: Digest([*byte; 32]),
                        identifier: identifier.map(str::to_owned),
                        certificate: None,
                        remark: None,
                    })
                    .collect(),
                signature: signature
                    .iter()
                    .map(|byte| SignatureCertificate {
                        fingerprint: Digest([*byte; 32]),
                        certificate: None,
                        remark: None,
                    })
                    .collect(),
                ..OsciParticipant::default()
            },
        }
    }

    #[test]
    fn a_cipher_certificate_names_one_mailbox() {
        let two = with_osci("two", &["ags:1", "ags:2"], &[(1, Some("ags:1")), (2, Some("ags:2"))], &[9]);
        let one = with_osci("one", &["ags:3"], &[(3, None), (4, None)], &[]);
        let directory = Directory::new(1, vec![two, one], Vec::new()).expect("consistent");
        let named = |byte| {
            directory
                .account_by_cipher(&Digest([byte; 32]))
                .map(|(account, identifier)| (account.name.as_str(), identifier.value()))
        };
        assert_eq!(named(1), Some(("two", "ags:1")));
        assert_eq!(named(2), Some(("two", "ags:2")));
        assert_eq!((named(3), named(4)), (Some(("one", "ags:3")), Some(("one", "ags:3"))));
        assert_eq!(named(9), None, "a signature certificate names no mailbox");
        let signer = directory.account_by_signature(&Digest([9; 32])).map(|account| account.name.as_str());
        assert_eq!(signer, Some("two"));
    }

    #[test]
    fn certificates_that_name_nobody_or_two_are_refused() {
        type Made = fn() -> Vec<Account>;
        let refused: [(Made, &str); 6] = [
            (|| vec![with_osci("a", &["x", "y"], &[(1, None)], &[])], "must name one"),
            (|| vec![with_osci("a", &["x"], &[(1, Some("y"))], &[])], "must name one"),
            (|| vec![with_osci("a", &[], &[(1, None)], &[])], "must name one"),
            (|| vec![with_osci("a", &["*"], &[(1, Some("*"))], &[])], "must name one"),
            (
                || vec![with_osci("a", &["x"], &[(1, None)], &[]), with_osci("b", &["y"], &[(1, None)], &[])],
                "both a and b",
            ),
            (|| vec![with_osci("a", &["x"], &[], &[1]), with_osci("b", &["y"], &[], &[1])], "both a and b"),
        ];
        for (accounts, words) in refused {
            let error = Directory::new(1, accounts(), Vec::new()).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
        let twice = with_osci("a", &["x"], &[(1, None), (1, None)], &[]);
        let error = Directory::new(1, vec![twice], Vec::new()).expect_err("refused").to_string();
        assert!(error.contains("twice"), "{error}");
    }
}
