//! A person as a copy keeps them: named after DSMeld, sheet numbers beside each field, as far as the law lets a shadow
//! copy have it.
//!
//! What is not named here is never stored, because there is no place for it: the identity card's lock word and sum
//! (sheets 1710, 1711, 1718, 1719), pictures, whatever else a feed brings. [`Person::read`] says what it left out.
//! Restoring the original is not this copy's business; corrections go to the municipality.

use std::collections::HashMap;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::matching::date::PartialDate;

/// Largest record that is read, in bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
const ENTRIES_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 300;
const MARK_CHARS_MAX: usize = 60;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("the record has {seen} bytes, {RECORD_BYTES_MAX} are allowed")]
    TooLong { seen: usize },
    /// Says where, never what stands there.
    #[error("the record cannot be read at line {line}, column {column}")]
    Malformed { line: usize, column: usize },
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} has {seen} characters or entries, {max} are allowed")]
    Bound { field: &'static str, max: usize, seen: usize },
}

/// The official key of a municipality (amtlicher Gemeindeschlüssel): eight digits. One copy each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ags(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a municipality's key (AGS) has eight digits")]
pub struct AgsError;

impl Ags {
    pub fn parse(text: &str) -> Result<Self, AgsError> {
        let good = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| text.parse().ok()).flatten().map(Self).ok_or(AgsError)
    }

    /// The state's two digits.
    pub fn state(self) -> u32 {
        self.0 / 1_000_000
    }
}

impl fmt::Display for Ags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08}", self.0)
    }
}

impl TryFrom<String> for Ags {
    type Error = AgsError;

    fn try_from(text: String) -> Result<Self, AgsError> {
        Self::parse(&text)
    }
}

impl From<Ags> for String {
    fn from(ags: Ags) -> Self {
        ags.to_string()
    }
}

/// DSMeld 1801: locks on information and on transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Lock(u8);

impl Lock {
    const KNOWN: [u8; 10] = [1, 2, 3, 5, 6, 7, 10, 11, 12, 13];

    /// One that was set, and nobody could read which: it hides from everybody, as an authority's does (section 34a(6) BMG),
    /// and owes every notice.
    pub fn unknown() -> Self {
        Self(11)
    }

    pub fn code(self) -> u8 {
        self.0
    }

    /// Section 51(1) and (5) BMG: nobody may learn that the person is here. The others stop one recipient only.
    pub fn hides(self) -> bool {
        matches!(self.0, 1 | 3 | 6 | 11 | 12)
    }

    /// Section 51(3) BMG: a security authority had it entered; it is told of every question.
    pub fn by_authority(self) -> bool {
        self.0 == 11
    }

    /// Section 51(1) BMG: the person is to be heard, and told of every question.
    pub fn owes_notice(self) -> bool {
        matches!(self.0, 3 | 11)
    }
}

impl TryFrom<u8> for Lock {
    type Error = &'static str;

    fn try_from(code: u8) -> Result<Self, &'static str> {
        if Self::KNOWN.contains(&code) { Ok(Self(code)) } else { Err("DSMeld sheet 1801 has no such lock") }
    }
}

impl From<Lock> for u8 {
    fn from(lock: Lock) -> Self {
        lock.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    M,
    W,
    X,
    D,
}

/// DSMeld 1401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MaritalStatus {
    Ld,
    Vh,
    Vw,
    Gs,
    Ea,
    Lp,
    Lv,
    La,
    Le,
    Nb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    #[default]
    Resident,
    MovedWithinGermany,
    MovedAbroad,
    MovedUnknown,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dwelling {
    #[default]
    Sole,
    Main,
    Secondary,
}

/// DSMeld 1201 to 1213, 1301, 1306.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// 1201.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ags: Option<Ags>,
    /// 1202.
    pub postcode: String,
    /// 1203.
    pub place: String,
    /// 1205.
    pub street: String,
    /// 1206.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub number: String,
    /// 1208.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub letter: String,
    /// 1209.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// 1210.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub flat: String,
    /// 1213.
    pub dwelling: Dwelling,
    /// 1301.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_in: Option<PartialDate>,
    /// 1306; without one the dwelling is a present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_out: Option<PartialDate>,
}

impl Address {
    pub fn is_present(&self) -> bool {
        self.moved_out.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// The municipality's order mark (Ordnungsmerkmal): goes back to that municipality and to nobody else.
    pub mark: String,
    /// 0101a, up to two periods, the present one first.
    pub family_names: Vec<String>,
    /// 0201a.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub birth_names: Vec<String>,
    /// 0203a.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub former_family_names: Vec<String>,
    /// 0301, up to two periods, the present one first; `+` where there is rightly none.
    pub given_names: Vec<String>,
    /// 0302.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_given_name: Option<String>,
    /// 0303.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub former_given_names: Vec<String>,
    /// 0401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doctorate: Option<String>,
    /// 0501.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order_names: Vec<String>,
    /// 0502.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stage_names: Vec<String>,
    /// 0601 with its periods, the present one first.
    pub birth_dates: Vec<PartialDate>,
    /// 0602.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birth_place: Option<String>,
    /// 0603.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birth_state: Option<String>,
    /// 0701.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sex: Option<Sex>,
    /// 1001.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nationalities: Vec<String>,
    pub addresses: Vec<Address>,
    /// 1401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marital_status: Option<MaritalStatus>,
    /// 1402.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marriage_date: Option<PartialDate>,
    /// 1408.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marriage_place: Option<String>,
    /// The husband's, wife's or partner's family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner_name: Option<String>,
    /// Family names of legal representatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub representatives: Vec<String>,
    /// The same of representatives who are locked themselves: no answer has them, and nobody is found by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locked_representatives: Vec<String>,
    /// 1901.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub death_date: Option<PartialDate>,
    /// 1904.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub death_place: Option<String>,
    /// 1801.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Lock>,
    /// Section 52 BMG: lives in an institution; information only where no interest of theirs stands against it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub conditional_note: bool,
    pub status: Status,
}

/// The top-level keys of a stored record; a test holds them against [`Person`].
const KEYS: &[&str] = &[
    "mark",
    "family_names",
    "birth_names",
    "former_family_names",
    "given_names",
    "used_given_name",
    "former_given_names",
    "doctorate",
    "order_names",
    "stage_names",
    "birth_dates",
    "birth_place",
    "birth_state",
    "sex",
    "nationalities",
    "addresses",
    "marital_status",
    "marriage_date",
    "marriage_place",
    "partner_name",
    "representatives",
    "locked_representatives",
    "death_date",
    "death_place",
    "locks",
    "conditional_note",
    "status",
];

fn bound(field: &'static str, seen: usize, max: usize) -> Result<(), RecordError> {
    if seen > max { Err(RecordError::Bound { field, max, seen }) } else { Ok(()) }
}

/// That a mark (Ordnungsmerkmal) is no longer than one may be: it is a key of several indexes.
pub fn mark_fits(mark: &str) -> Result<(), RecordError> {
    bound("mark", mark.chars().count(), MARK_CHARS_MAX)
}

impl Person {
    /// Reads one record as JSON. Also says which keys it brought that a copy does not keep.
    pub fn read(bytes: &[u8]) -> Result<(Self, Vec<String>), RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { seen: bytes.len() });
        }
        let malformed =
            |error: serde_json::Error| RecordError::Malformed { line: error.line(), column: error.column() };
        let person: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        person.bounded()?;
        let brought: HashMap<String, IgnoredAny> = serde_json::from_slice(bytes).map_err(malformed)?;
        let mut left_out: Vec<String> =
            brought.into_keys().filter(|key| !KEYS.contains(&key.as_str())).collect();
        left_out.sort_unstable();
        Ok((person, left_out))
    }

    /// The stored bytes; equal persons have equal bytes, so that digests can be compared. Municipalities compute them, too,
    /// by `schemas/register/2611/abgleich.md`.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists can be written as JSON")
    }

    pub fn is_hidden(&self) -> bool {
        self.locks.iter().any(|lock| lock.hides())
    }

    fn bounded(&self) -> Result<(), RecordError> {
        if self.mark.trim().is_empty() {
            return Err(RecordError::Missing { field: "mark" });
        }
        if self.family_names.is_empty() {
            return Err(RecordError::Missing { field: "family_names" });
        }
        mark_fits(&self.mark)?;
        let lists: [(&'static str, &[String]); 9] = [
            ("family_names", &self.family_names),
            ("birth_names", &self.birth_names),
            ("former_family_names", &self.former_family_names),
            ("given_names", &self.given_names),
            ("former_given_names", &self.former_given_names),
            ("order_names", &self.order_names),
            ("stage_names", &self.stage_names),
            ("representatives", &self.representatives),
            ("locked_representatives", &self.locked_representatives),
        ];
        for (field, list) in lists {
            bound(field, list.len(), ENTRIES_MAX)?;
            list.iter().try_for_each(|name| bound(field, name.chars().count(), NAME_CHARS_MAX))?;
        }
        bound("birth_dates", self.birth_dates.len(), ENTRIES_MAX)?;
        bound("addresses", self.addresses.len(), ENTRIES_MAX)?;
        for address in &self.addresses {
            for (field, text, max) in [
                ("postcode", &address.postcode, 10),
                ("place", &address.place, 40),
                ("street", &address.street, 55),
                ("number", &address.number, 4),
                ("letter", &address.letter, 4),
                ("part", &address.part, 4),
                ("flat", &address.flat, 4),
            ] {
                bound(field, text.chars().count(), max)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Person {
        let name = || vec!["Adler".to_owned()];
        let date: PartialDate = "17031998".parse().expect("a date");
        Person {
            mark: "M1".to_owned(),
            family_names: name(),
            birth_names: name(),
            former_family_names: name(),
            given_names: name(),
            used_given_name: Some("A".to_owned()),
            former_given_names: name(),
            doctorate: Some("Dr.".to_owned()),
            order_names: name(),
            stage_names: name(),
            birth_dates: vec![date],
            birth_place: Some("A".to_owned()),
            birth_state: Some("000".to_owned()),
            sex: Some(Sex::D),
            nationalities: name(),
            addresses: vec![Address::default()],
            marital_status: Some(MaritalStatus::Vh),
            marriage_date: Some(date),
            marriage_place: Some("A".to_owned()),
            partner_name: Some("A".to_owned()),
            representatives: name(),
            locked_representatives: name(),
            death_date: Some(date),
            death_place: Some("A".to_owned()),
            locks: vec![Lock(3)],
            conditional_note: true,
            status: Status::Dead,
        }
    }

    #[test]
    fn records_come_back_and_every_key_is_known() {
        let person = full();
        let (read, left_out) = Person::read(&person.to_bytes()).expect("well-formed");
        assert_eq!((read, left_out), (person.clone(), Vec::new()));
        let written: HashMap<String, IgnoredAny> =
            serde_json::from_slice(&person.to_bytes()).expect("an object");
        assert_eq!(written.len(), KEYS.len(), "KEYS names what a full record has");
    }

    #[test]
    fn what_must_not_be_kept_is_left_out_and_named() {
        let text =
            r#"{"mark":"1","family_names":["Adler"],"card_lock_word":"geheim","1719":"x","picture":"iVBO"}"#;
        let (person, left_out) = Person::read(text.as_bytes()).expect("well-formed");
        assert_eq!(left_out, ["1719", "card_lock_word", "picture"]);
        let kept = String::from_utf8(person.to_bytes()).expect("text");
        assert!(!kept.contains("geheim") && !kept.contains("iVBO"), "{kept}");
    }

    #[test]
    fn bad_records_are_refused_without_repeating_them() {
        let long = "x".repeat(400);
        for (text, expected) in [
            (r#"{"family_names":["A"]}"#.to_owned(), "mark is missing"),
            (r#"{"mark":"1"}"#.to_owned(), "family_names is missing"),
            (
                r#"{"mark":"1","family_names":["A"],"birth_dates":["31021990"]}"#.to_owned(),
                "line 1, column 59",
            ),
            (r#"{"mark":"1","family_names":["A"],"locks":[4]}"#.to_owned(), "line 1, column 4"),
            (format!(r#"{{"mark":"1","family_names":["{long}"]}}"#), "has 400 characters or entries, 300"),
            (
                r#"{"mark":"1","family_names":["A"],"addresses":[{"number":"12345"}]}"#.to_owned(),
                "number has 5 characters or entries, 4",
            ),
            ("[".repeat(RECORD_BYTES_MAX + 1), "65536 are allowed"),
            ("[".repeat(RECORD_BYTES_MAX), "cannot be read"),
        ] {
            let error = Person::read(text.as_bytes()).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (text, good) in
            [("10041100", true), ("1004110", false), ("+0041100", false), ("100411000", false)]
        {
            assert_eq!(Ags::parse(text).is_ok(), good, "{text}");
        }
        assert_eq!(Ags::parse("01001000").expect("eight digits").to_string(), "01001000");
    }
}
