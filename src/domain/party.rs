//! Parties and their identifiers, and the mailboxes named after them.
//!
//! A party identifier is `prefix:key` with a type and a category (XTA 2 WS 2.1.1, PartyIdentifierType). Mailboxes are
//! matched by value, and by type only where both sides state one; name and category are labels for people.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest identifier value, in bytes.
pub const IDENTIFIER_BYTES_MAX: usize = 512;
/// Longest type, name or category, in bytes.
pub const LABEL_BYTES_MAX: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartyError {
    #[error("a party identifier must not be empty")]
    Empty,
    #[error("a party's {what} has at most {max} bytes, this one has {seen}")]
    TooLong { what: &'static str, max: usize, seen: usize },
    #[error("a party's {what} contains a control character")]
    Control { what: &'static str },
}

/// `ags:10041100` of type `xoev`, say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartyIdentifier {
    value: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category: Option<String>,
}

impl PartyIdentifier {
    pub fn new(value: &str) -> Result<Self, PartyError> {
        Self::with_labels(value, None, None, None)
    }

    pub fn with_labels(
        value: &str,
        kind: Option<&str>,
        name: Option<&str>,
        category: Option<&str>,
    ) -> Result<Self, PartyError> {
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        if value.is_empty() {
            return Err(PartyError::Empty);
        }
        bounded("identifier", value, IDENTIFIER_BYTES_MAX)?;
        let label = |what, text: Option<&str>| -> Result<Option<String>, PartyError> {
            match text.map(str::trim).filter(|text| !text.is_empty()) {
                None => Ok(None),
                Some(text) => bounded(what, text, LABEL_BYTES_MAX).map(|()| Some(text.to_owned())),
            }
        };
        Ok(Self {
            value: value.to_owned(),
            kind: label("identifier type", kind)?,
            name: label("name", name)?,
            category: label("category", category)?,
        })
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn category(&self) -> Option<&str> {
        self.category.as_deref()
    }

    /// `*`: all identifiers of the certificate that asks.
    pub fn is_wildcard(&self) -> bool {
        self.value == "*"
    }

    /// Same value, and same type where both state one.
    pub fn matches(&self, other: &Self) -> bool {
        self.value == other.value
            && match (&self.kind, &other.kind) {
                (Some(own), Some(theirs)) => own == theirs,
                _ => true,
            }
    }
}

impl fmt::Display for PartyIdentifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.value)
    }
}

/// The name of a mailbox: lower-case letters, digits and `.:_@-` (the identifier that owns it, by default).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

impl MailboxName {
    pub fn parse(text: &str) -> Result<Self, PartyError> {
        if text.trim().is_empty() {
            return Err(PartyError::Empty);
        }
        bounded("mailbox name", text, IDENTIFIER_BYTES_MAX)?;
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for MailboxName {
    type Error = PartyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> Self {
        name.0
    }
}

fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), PartyError> {
    if text.len() > max {
        return Err(PartyError::TooLong { what, max, seen: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(PartyError::Control { what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_match_by_value_and_by_type_where_both_state_one() {
        let of = |value, kind| PartyIdentifier::with_labels(value, kind, None, None).expect("well-formed");
        for (own, theirs, expected) in [
            (of("ags:1", Some("xoev")), of("ags:1", Some("xoev")), true),
            (of("ags:1", None), of("ags:1", Some("xoev")), true),
            (of("ags:1", Some("XTA_ID")), of("ags:1", Some("xoev")), false),
            (of("ags:1", None), of("ags:2", None), false),
            (of(" ags:1\n", Some("")), of("ags:1", Some("xoev")), true),
        ] {
            assert_eq!(own.matches(&theirs), expected, "{own:?} {theirs:?}");
        }
    }

    #[test]
    fn control_characters_and_length_are_refused() {
        assert_eq!(PartyIdentifier::new("a\u{1b}[2J"), Err(PartyError::Control { what: "identifier" }));
        let long = "x".repeat(IDENTIFIER_BYTES_MAX + 1);
        assert!(matches!(PartyIdentifier::new(&long), Err(PartyError::TooLong { seen: 513, .. })));
        assert_eq!(MailboxName::parse(" "), Err(PartyError::Empty));
    }
}
