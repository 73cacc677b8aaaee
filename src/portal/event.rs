//! Events of a submission as Security Event Tokens (RFC 8417, in the shape of FIT-Connect): which there are, what they
//! claim, and whether one that came in may be believed.
//!
//! The event log is a projection of the process card. What the post office itself has to say (created, submitted,
//! notified, rejected for want of a reader, deleted) is signed by it; what a subscriber said is handed on as it came.
//! A token's `iss` names its author: the post office's URL, or a destination.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::content::Digest;
use crate::domain::destination::DestinationId;
use crate::pki::jose;
use crate::pki::jose::jwk::PublicKey;
use crate::pki::jose::jws::Unverified;

pub const TYPE: &str = "secevent+jwt";
pub const SCHEMA: &str = "https://schema.fitko.de/fit-connect/events/";
/// Types of problems in a rejection.
pub const PROBLEMS: &str = "https://schema.fitko.de/fit-connect/events/problems/";
/// A token may come from a clock that runs ahead by so much.
const SKEW_SECONDS: i64 = 300;
const PROBLEMS_MAX: usize = 64;
const PROBLEM_TEXT_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Create,
    Submit,
    Notify,
    Forward,
    Accept,
    Reject,
    Delete,
}

impl Event {
    pub const ALL: [Self; 7] =
        [Self::Create, Self::Submit, Self::Notify, Self::Forward, Self::Accept, Self::Reject, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create-submission",
            Self::Submit => "submit-submission",
            Self::Notify => "notify-submission",
            Self::Forward => "forward-submission",
            Self::Accept => "accept-submission",
            Self::Reject => "reject-submission",
            Self::Delete => "delete-submission",
        }
    }

    pub fn uri(self) -> String {
        format!("{SCHEMA}{}", self.as_str())
    }
}

/// The last part of each encrypted message: what was submitted, so that it can be said what was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthenticationTags {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub attachments: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_tags: Option<AuthenticationTags>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Reason>,
}

/// Why a submission is rejected (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub detail: String,
    pub instance: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub jti: String,
    pub iss: String,
    pub iat: i64,
    pub sub: String,
    pub txn: String,
    pub events: serde_json::Map<String, serde_json::Value>,
}

/// A token of our own about a submission. Its id follows from what it says, so that a log that is read twice names each
/// event once.
pub fn own(
    event: Event,
    at: Timestamp,
    issuer: &str,
    submission: &str,
    case: &str,
    details: &Details,
) -> Claims {
    let named = format!("{submission} {} {}", event.as_str(), at.as_microsecond());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(Digest::of(named.as_bytes()).0).for_each(|(to, from)| *to = from);
    let jti = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let details = serde_json::to_value(details).unwrap_or_default();
    Claims {
        jti: jti.to_string(),
        iss: issuer.to_owned(),
        iat: at.as_second(),
        sub: format!("submission:{submission}"),
        txn: format!("case:{case}"),
        events: [(event.uri(), details)].into_iter().collect(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    #[error("the token: {0}")]
    Token(#[from] jose::Error),
    #[error("the token's claims cannot be read: {0}")]
    Claims(String),
    #[error("the claim {claim} is not {expected}")]
    Claim { claim: &'static str, expected: String },
    #[error("a token tells exactly one event; this one tells {0}")]
    NotOne(usize),
    #[error("{0:?} is no event that a subscriber tells")]
    Unknown(String),
    #[error("the authentication tags are not those of the submission: {0}")]
    Tags(String),
    #[error("a rejection names its problems, each with type, title, detail and instance: {0}")]
    Problems(&'static str),
}

/// What a subscriber said and proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub event: Event,
    pub jti: String,
}

/// What a token must be about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub destination: &'a DestinationId,
    pub submission: &'a str,
    pub case: &'a str,
    pub tags: &'a AuthenticationTags,
    pub now: Timestamp,
}

pub fn check(token: &str, keys: &[PublicKey], about: About<'_>) -> Result<Said, EventError> {
    let unverified = Unverified::parse(token, TYPE)?;
    let key = keys.iter().find(|key| key.kid() == unverified.kid).ok_or(jose::Error::KeyUnknown)?;
    let claims: Claims = serde_json::from_slice(unverified.verify(key)?)
        .map_err(|error| EventError::Claims(error.to_string()))?;
    let must = |claim: &'static str, seen: &str, expected: String| match seen == expected {
        true => Ok(()),
        false => Err(EventError::Claim { claim, expected }),
    };
    must("iss", &claims.iss, about.destination.to_string())?;
    must("sub", &claims.sub, format!("submission:{}", about.submission))?;
    must("txn", &claims.txn, format!("case:{}", about.case))?;
    if uuid::Uuid::try_parse(&claims.jti).is_err() {
        return Err(EventError::Claim { claim: "jti", expected: "a UUID".to_owned() });
    }
    if claims.iat > about.now.as_second().saturating_add(SKEW_SECONDS) || claims.iat < 0 {
        return Err(EventError::Claim { claim: "iat", expected: "an instant that has come".to_owned() });
    }
    let mut events = claims.events.iter();
    let (Some((uri, details)), None) = (events.next(), events.next()) else {
        return Err(EventError::NotOne(claims.events.len()));
    };
    let event = [Event::Forward, Event::Accept, Event::Reject]
        .into_iter()
        .find(|event| event.uri() == *uri)
        .ok_or_else(|| EventError::Unknown(uri.chars().filter(|c| !c.is_control()).take(120).collect()))?;
    match event {
        Event::Accept => accepted(details, about.tags)?,
        Event::Reject => rejected(details)?,
        _ => {}
    }
    Ok(Said { event, jti: claims.jti })
}

fn accepted(details: &serde_json::Value, tags: &AuthenticationTags) -> Result<(), EventError> {
    let said: Details =
        serde_json::from_value(details.clone()).map_err(|error| EventError::Claims(error.to_string()))?;
    let said = said.authentication_tags.unwrap_or_default();
    let wrong = |what: &str| Err(EventError::Tags(what.to_owned()));
    if said.metadata != tags.metadata {
        return wrong("metadata");
    }
    if said.data != tags.data {
        return wrong("data");
    }
    if said.attachments != tags.attachments {
        return wrong("attachments");
    }
    Ok(())
}

fn rejected(details: &serde_json::Value) -> Result<(), EventError> {
    let said: Details =
        serde_json::from_value(details.clone()).map_err(|_| EventError::Problems("a field is missing"))?;
    if said.problems.is_empty() || said.problems.len() > PROBLEMS_MAX {
        return Err(EventError::Problems("1 to 64 are taken"));
    }
    for problem in &said.problems {
        let texts = [&problem.kind, &problem.title, &problem.detail, &problem.instance];
        if texts.into_iter().any(|text| text.is_empty() || text.len() > PROBLEM_TEXT_MAX) {
            return Err(EventError::Problems("a field is empty or too long"));
        }
    }
    Ok(())
}

/// The case that belongs to a submission, or the submission of a case: each submission has a case of its own, and the
/// ids can be worked out from each other, so that neither needs to be kept.
pub fn counterpart(id: uuid::Uuid) -> uuid::Uuid {
    const MASK: [u8; 6] = *b"vorgan";
    let mut bytes = id.into_bytes();
    bytes.iter_mut().skip(10).zip(MASK).for_each(|(byte, mask)| *byte ^= mask);
    uuid::Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::jose::jws::SigningKey;
    use crate::pki::jose::tests::{SIGNATURE_JWK, signing_key};

    const SUBMISSION: &str = "11111111-1111-4111-8111-111111111111";
    const CASE: &str = "22222222-2222-4222-8222-222222222222";

    /// The key under the service's own kid, as a destination's.
    fn key_of(signer: &SigningKey) -> PublicKey {
        let jwk = serde_json::to_string(signer.jwk()).expect("JSON");
        PublicKey::parse(&jwk).expect("a key")
    }

    fn tags() -> AuthenticationTags {
        AuthenticationTags {
            metadata: Some("m".to_owned()),
            data: Some("d".to_owned()),
            attachments: [("a".to_owned(), "t".to_owned())].into(),
        }
    }

    fn claims() -> serde_json::Value {
        serde_json::json!({
            "jti": "33333333-3333-4333-8333-333333333333",
            "iss": "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01",
            "iat": 1_800_000_000,
            "sub": format!("submission:{SUBMISSION}"),
            "txn": format!("case:{CASE}"),
            "events": { format!("{SCHEMA}accept-submission"): {
                "authenticationTags": { "metadata": "m", "data": "d", "attachments": { "a": "t" } }
            } },
        })
    }

    fn checked(typ: &str, claims: &serde_json::Value) -> Result<Said, EventError> {
        let signer = signing_key();
        let token = signer.sign(typ, claims).expect("signed");
        let destination = DestinationId::parse("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01").expect("a UUID");
        let now = Timestamp::from_second(1_800_000_000).expect("an instant");
        let about =
            About { destination: &destination, submission: SUBMISSION, case: CASE, tags: &tags(), now };
        check(&token, &[PublicKey::parse(SIGNATURE_JWK).expect("a key"), key_of(&signer)], about)
    }

    #[test]
    fn what_a_subscriber_says_is_compared_word_by_word() {
        assert_eq!(checked(TYPE, &claims()).expect("good").event, Event::Accept);
        assert!(matches!(checked("JWT", &claims()), Err(EventError::Token(_))));
        type Twist = fn(&mut serde_json::Value);
        let twists: [(Twist, &str); 14] = [
            (|c| c["iss"] = "https://post.example".into(), "iss"),
            (|c| c["sub"] = "submission:other".into(), "sub"),
            (|c| c["txn"] = "case:other".into(), "txn"),
            (|c| c["jti"] = "../1".into(), "jti"),
            (|c| c["iat"] = 1_800_000_301_i64.into(), "iat"),
            (|c| c["iat"] = (-1).into(), "iat"),
            (|c| c["iat"] = "soon".into(), "claims"),
            (|c| c["events"] = serde_json::json!({}), "exactly one"),
            (|c| c["events"][format!("{SCHEMA}reject-submission")] = serde_json::json!({}), "exactly one"),
            (|c| c["events"] = serde_json::json!({ format!("{SCHEMA}delete-submission"): {} }), "no event"),
            (
                |c| {
                    c["events"][format!("{SCHEMA}accept-submission")]["authenticationTags"]["data"] =
                        "x".into()
                },
                "tags",
            ),
            (|c| c["events"][format!("{SCHEMA}accept-submission")] = serde_json::json!({}), "tags"),
            (|c| c["events"] = serde_json::json!({ format!("{SCHEMA}reject-submission"): {} }), "problems"),
            (
                |c| {
                    c["events"] = serde_json::json!({
                        format!("{SCHEMA}reject-submission"): { "problems": [{ "type": "x" }] }
                    });
                },
                "problems",
            ),
        ];
        for (twist, words) in twists {
            let mut twisted = claims();
            twist(&mut twisted);
            let error = checked(TYPE, &twisted).expect_err(words).to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn cases_and_submissions_know_each_other() {
        let id = uuid::Uuid::new_v4();
        let case = counterpart(id);
        assert_ne!(case, id);
        assert_eq!(counterpart(case), id);
        assert_eq!(case.get_version_num(), 4);
    }

    #[test]
    fn an_event_of_our_own_has_one_id() {
        let at = Timestamp::from_second(1_800_000_000).expect("an instant");
        let details = Details { authentication_tags: None, problems: Vec::new() };
        let made = |event| own(event, at, "https://post.example", SUBMISSION, CASE, &details).jti;
        assert_eq!(made(Event::Submit), made(Event::Submit));
        assert_ne!(made(Event::Submit), made(Event::Notify));
    }
}
