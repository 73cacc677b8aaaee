//! Destinations (Zustellpunkte): where a portal's applications go, for which services and regions.
//!
//! A destination belongs to a participant and stands for one of his mailboxes. It has the public keys that applications
//! are encrypted for, and says which services it takes in which regions, and from when until when. Regions are official
//! keys (Amtlicher Regionalschlüssel, ARS: land 2 digits, region 1, district 2, association 4, municipality 3), services
//! are LeiKa keys (14 digits, 99 first). What a key's JSON says is judged by `pki::jose`, which rule wins by
//! `portal::routing`.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::card::{DOOR_OF_PORTALS, ProcessCard};
use super::content::Digest;
use super::envelope::Envelope;

/// Levels of the ARS: nothing (everywhere), land, region, district, association, municipality.
pub const REGION_DIGITS: [usize; 6] = [0, 2, 3, 5, 9, 12];
const ARS_DIGITS: usize = 12;
const AGS_DIGITS: usize = 8;
const LEIKA_DIGITS: usize = 14;
/// The URN that submissions name a service by.
pub const LEIKA_URN: &str = "urn:de:fim:leika:leistung:";
/// The URN of an ARS.
pub const ARS_URN: &str = "urn:de:bund:destatis:bevoelkerungsstatistik:schluessel:rs:";

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DestinationError {
    #[error("a destination's id is a UUID in lower case, not {0:?}")]
    Id(String),
    #[error("a region is an ARS of 12 digits, or its first 2, 3, 5 or 9, not {0:?}")]
    Region(String),
    #[error("an AGS has 8 digits, not {0:?}")]
    Ags(String),
    #[error("a service is a LeiKa key of 14 digits that begins with 99, not {0:?}")]
    Service(String),
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The property of an envelope that names a submission's destination.
pub const DESTINATION_PROPERTY: &str = "fit-connect:destinationId";

/// The destination whose submission a message is: what came by another door may say so, and is none.
pub fn destination_of(envelope: &Envelope, card: &ProcessCard) -> Option<DestinationId> {
    let named = envelope.properties.iter().find(|one| one.key.code == DESTINATION_PROPERTY)?;
    (card.door == DOOR_OF_PORTALS).then(|| DestinationId::parse(&named.value).ok()).flatten()
}

/// A UUID in lower case with hyphens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DestinationId(String);

impl DestinationId {
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| DestinationError::Id(shown(text)))?;
        if uuid.hyphenated().to_string() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(DestinationError::Id(shown(text)))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of an ARS that says something: a municipality, or all municipalities below a level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

impl Region {
    /// Twelve digits, or the first digits alone. Zeros at the end stand for a level above: `100000000000`, `10000` and
    /// `10` are the Saarland.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if !all_digits(text) || !REGION_DIGITS.contains(&text.len()) || text.is_empty() {
            return Err(DestinationError::Region(shown(text)));
        }
        let digits = text.trim_end_matches('0').len();
        let level = REGION_DIGITS.into_iter().find(|level| *level >= digits).unwrap_or(ARS_DIGITS);
        // A land's, district's or municipality's own number may end in zeros.
        Ok(Self(format!("{:0<level$}", text.get(..level.min(text.len())).unwrap_or(text))))
    }

    /// The digits that count: 0, 2, 3, 5, 9 or 12.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Twelve digits, filled with zeros.
    pub fn ars(&self) -> String {
        format!("{:0<ARS_DIGITS$}", self.0)
    }

    pub fn level(&self) -> &'static str {
        match self.0.len() {
            0 => "everywhere",
            2 => "land",
            3 => "region",
            5 => "district",
            9 => "association",
            _ => "municipality",
        }
    }
}

/// Amtlicher Gemeindeschlüssel: an ARS without the association's four digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ags(String);

impl Ags {
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if text.len() == AGS_DIGITS && all_digits(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DestinationError::Ags(shown(text)))
        }
    }

    /// Of a municipality's ARS.
    pub fn of(region: &Region) -> Option<Self> {
        let (district, municipality) = (region.as_str().get(..5)?, region.as_str().get(9..12)?);
        Some(Self(format!("{district}{municipality}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The district, or what of it is not zero.
    pub fn district(&self) -> &str {
        self.0.get(..5).unwrap_or_default()
    }
}

/// A LeiKa key (Leistungskatalog der öffentlichen Verwaltung).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceKey(String);

impl ServiceKey {
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        if text.len() == LEIKA_DIGITS && all_digits(text) && text.starts_with("99") {
            Ok(Self(text.to_owned()))
        } else {
            Err(DestinationError::Service(shown(text)))
        }
    }

    /// From a submission's URN, or the bare key.
    pub fn from_urn(text: &str) -> Result<Self, DestinationError> {
        Self::parse(text.strip_prefix(LEIKA_URN).unwrap_or(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn urn(&self) -> String {
        format!("{LEIKA_URN}{}", self.0)
    }
}

macro_rules! as_text {
    ($($kind:ident),*) => {$(
        impl std::fmt::Display for $kind {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.pad(&self.0)
            }
        }

        impl TryFrom<String> for $kind {
            type Error = DestinationError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

    )*};
}
as_text!(DestinationId, Region, ServiceKey);

impl From<DestinationId> for String {
    fn from(id: DestinationId) -> Self {
        id.0
    }
}

impl From<ServiceKey> for String {
    fn from(key: ServiceKey) -> Self {
        key.0
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        // Everywhere has no digits of its own.
        if region.0.is_empty() { region.ars() } else { region.0 }
    }
}

/// Whether a destination takes applications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DestinationStatus {
    /// Known, and not yet (or no longer) open; what lies there can still be fetched.
    Inactive,
    #[default]
    Active,
}

/// One public key of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationKey {
    /// A JSON Web Key (RFC 7517), as one line of JSON.
    pub jwk: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Of a key for signatures: nothing new is taken from it, and it stays published for what it signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub former: bool,
}

/// What a destination takes, where, and when. Every service in every region of the entry is one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serves {
    pub services: Vec<ServiceKey>,
    pub regions: Vec<Region>,
    /// First day, in German time; absent: always before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Date>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Date>,
}

/// Whom a portal's people may ask; public.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub legal_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phone: String,
}

impl Contact {
    fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

/// Who is told of news, and how that is proven.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// https only.
    pub url: String,
    /// Key of the HMAC; never shown.
    pub secret: String,
}

impl std::fmt::Debug for Callback {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Callback").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub id: DestinationId,
    /// For people.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub status: DestinationStatus,
    /// The account's identifier whose mailbox takes the applications; may be absent where it has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Service profile of its applications; absent: the portal's own deadlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// URIs of the data schemas that it takes; empty: not stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata_versions: Vec<String>,
    /// `kid` of the key that new applications are encrypted for.
    pub encryption_kid: String,
    /// Every key in use; after a roll-over the former one stays until what is encrypted for it has been fetched, or for as
    /// long as somebody may verify what it signed.
    pub keys: Vec<DestinationKey>,
    #[serde(default, skip_serializing_if = "Contact::is_absent")]
    pub contact: Contact,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<Serves>,
}

impl Destination {
    /// Whether it takes this service at all on the day, wherever. Without any entry it takes every service: its address
    /// is given to portals by other means than the routing table.
    pub fn takes(&self, service: &ServiceKey, day: Date) -> bool {
        self.serves.is_empty()
            || self.serves.iter().any(|serves| {
                serves.services.contains(service)
                    && serves.valid_from.is_none_or(|from| from <= day)
                    && serves.valid_until.is_none_or(|until| day <= until)
            })
    }
}

/// A program that acts for the account at the portal's door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortalClient {
    /// `client_id` (RFC 6749): 1 to 128 of `A-Z a-z 0-9 - . _ ~`.
    pub id: String,
    /// SHA-256 of its secret, as `amtsbote destination secret` prints it; absent: it shows a certificate of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sha256: Option<Digest>,
    /// Whether it may send applications.
    #[serde(default)]
    pub sends: bool,
    /// Whether it may fetch what lies at the account's destinations.
    #[serde(default)]
    pub subscribes: bool,
}

/// What an account has at the portal's door.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PortalParticipant {
    #[serde(rename = "client", skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<PortalClient>,
    #[serde(rename = "destination", skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<Destination>,
}

impl PortalParticipant {
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_known_by_their_digits() {
        for (text, expected) in [
            ("100410100100", Some(("100410100100", "municipality"))),
            ("100000000000", Some(("10", "land"))),
            ("110000000000", Some(("11", "land"))),
            ("100410000000", Some(("10041", "district"))),
            ("100420111000", Some(("100420111", "association"))),
            ("055150000000", Some(("05515", "district"))),
            ("053000000000", Some(("053", "region"))),
            ("000000000000", Some(("", "everywhere"))),
            ("10041", Some(("10041", "district"))),
            ("010", Some(("01", "land"))),
            ("10", Some(("10", "land"))),
            ("05110", Some(("05110", "district"))),
            ("1004", None),
            ("", None),
            ("10041010010x", None),
            ("1004101001000", None),
            ("１０", None),
        ] {
            let region = Region::parse(text).ok();
            assert_eq!(region.as_ref().map(|one| (one.as_str(), one.level())), expected, "{text}");
        }
        for text in ["000000000000", "10", "100410100100"] {
            let region = Region::parse(text).expect("a region");
            assert_eq!(Region::parse(&String::from(region.clone())), Ok(region));
        }
        let ars = Region::parse("10").expect("a land").ars();
        assert_eq!(ars, "100000000000");
        let municipality = Region::parse("100410511511").expect("a municipality");
        assert_eq!(Ags::of(&municipality).expect("an AGS").as_str(), "10041511");
        assert_eq!(Ags::of(&Region::parse("10041").expect("a district")), None);
    }

    #[test]
    fn services_and_ids_are_taken_in_one_spelling_only() {
        assert!(ServiceKey::parse("99050012104000").is_ok());
        assert!(ServiceKey::from_urn("urn:de:fim:leika:leistung:99050012104000").is_ok());
        for wrong in ["98050012104000", "9905001210400", "99050012104000 ", "99050012104OOO", ""] {
            assert!(ServiceKey::from_urn(wrong).is_err(), "{wrong}");
        }
        assert!(DestinationId::parse("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01").is_ok());
        for wrong in [
            "5B0F6D0E-4A3E-4F61-9A6E-0F3B9D9E8A01",
            "5b0f6d0e4a3e4f619a6e0f3b9d9e8a01",
            "../../etc/passwd",
            "",
        ] {
            assert!(DestinationId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
