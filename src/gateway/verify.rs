//! What a subscriber checks before it accepts (FIT-Connect, mandatory checks): event log and its signatures,
//! authentication tags, decryption, metadata, hashes, the data's declared form.
//!
//! Each check has its problem type and the part that it is about, as the profile names them; whoever sent the submission
//! reads them in its rejection. What is not the sender's fault is no rejection: a key that the gateway was not given
//! ([`Trouble::KeyMissing`]), or that is published no more ([`Trouble::SignerGone`]), is the operator's business.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA512, digest};
use uuid::Uuid;

use super::metadata::{Attachment, Fault, Form, Metadata};
use crate::domain::hex;
use crate::pki::jose::Error;
use crate::pki::jose::jwe::{self, OpeningKey, Zip};
use crate::pki::jose::jwk::PublicKey;
use crate::pki::jose::jws::Unverified;
use crate::portal::event::{self, AuthenticationTags, Claims, Details, Event, PROBLEMS, Reason};
use crate::xml::Limits;
use crate::xml::read::SliceReader;

/// Why a submission does not go on to its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The sender's fault, and what he is told.
    Rejected(Reason),
    /// It is encrypted for a key that the gateway does not have.
    KeyMissing { kid: String, instance: String },
    /// An event in its log, which the post office has judged, is signed with a key that nobody publishes any more.
    SignerGone { kid: String },
    /// It is compressed, and would be larger than what the gateway takes.
    TooLarge,
}

fn rejected(kind: &str, title: &str, detail: impl Into<String>, instance: &str) -> Trouble {
    Trouble::Rejected(Reason {
        kind: format!("{PROBLEMS}{kind}"),
        title: title.to_owned(),
        detail: detail.into(),
        instance: instance.to_owned(),
    })
}

/// The last part of a problem's type.
pub fn code(reason: &Reason) -> &str {
    reason.kind.strip_prefix(PROBLEMS).unwrap_or(&reason.kind)
}

pub const METADATA: &str = "metadata";
pub const DATA: &str = "data";
const SUBMISSION: &str = "submission";

pub fn instance_of(attachment: Uuid) -> String {
    format!("attachment:{attachment}")
}

/// What is known of a submission before it is opened.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub submission: Uuid,
    pub case: Uuid,
    pub destination: &'a str,
    /// Of the post office.
    pub service_keys: &'a [PublicKey],
    pub destination_keys: &'a [PublicKey],
}

/// What the event log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Submitted, with these tags, and nobody has decided.
    Open(AuthenticationTags),
    Decided,
}

/// Reads the event log; every token must be signed by who it says it is from, and be about this submission.
pub fn standing(log: &[String], known: Known<'_>) -> Result<Standing, Trouble> {
    let wrong =
        |detail: &str| rejected("invalid-event-log", "The event log is inconsistent", detail, SUBMISSION);
    let mut tags = None;
    let mut decided = false;
    for token in log {
        let read = Unverified::parse(token, event::TYPE).map_err(|error| wrong(&error.to_string()))?;
        let claimed: Claims =
            serde_json::from_slice(read.claimed()).map_err(|_| wrong("claims cannot be read"))?;
        let keys = if claimed.iss == known.destination { known.destination_keys } else { known.service_keys };
        let key = keys.iter().find(|key| key.kid() == read.kid);
        let key = key.ok_or_else(|| Trouble::SignerGone { kid: read.kid.to_owned() })?;
        read.verify(key).map_err(|error| wrong(&error.to_string()))?;
        if claimed.sub != format!("submission:{}", known.submission)
            || claimed.txn != format!("case:{}", known.case)
        {
            return Err(wrong("an event is about another submission"));
        }
        let mut events = claimed.events.iter();
        let (Some((uri, details)), None) = (events.next(), events.next()) else {
            return Err(wrong("a token does not tell exactly one event"));
        };
        match Event::ALL.into_iter().find(|event| event.uri() == *uri) {
            Some(Event::Submit) if tags.is_some() => return Err(wrong("it was submitted twice")),
            Some(Event::Submit) => {
                let details: Details =
                    serde_json::from_value(details.clone()).map_err(|_| wrong("an event cannot be read"))?;
                let own = details.authentication_tags.ok_or_else(|| {
                    rejected(
                        "missing-authentication-tags",
                        "Authentication tags are missing",
                        "submit-submission",
                        SUBMISSION,
                    )
                })?;
                tags = Some(own);
            }
            Some(Event::Accept | Event::Reject | Event::Delete) => decided = true,
            _ => {}
        }
    }
    match tags {
        _ if decided => Ok(Standing::Decided),
        Some(tags) => Ok(Standing::Open(tags)),
        None => Err(wrong("it was not submitted")),
    }
}

/// Metadata, data and the attachments that were submitted: the tags name all of them.
pub fn parts(tags: &AuthenticationTags, has_data: bool, attachments: &[Uuid]) -> Result<(), Trouble> {
    let missing = |instance: &str| {
        rejected(
            "missing-authentication-tags",
            "Authentication tags are missing",
            instance.to_owned(),
            SUBMISSION,
        )
    };
    if tags.metadata.is_none() {
        return Err(missing(METADATA));
    }
    if tags.data.is_some() != has_data {
        return Err(missing(DATA));
    }
    let told: BTreeSet<String> = tags.attachments.keys().cloned().collect();
    let there: BTreeSet<String> = attachments.iter().map(Uuid::to_string).collect();
    match told == there {
        true => Ok(()),
        false => Err(missing("attachments")),
    }
}

/// Compares the tag with what was submitted, and decrypts; what was compressed is inflated to at most `bytes_max`.
pub fn open(
    message: &str,
    tag: Option<&str>,
    keys: &[OpeningKey],
    bytes_max: usize,
    instance: &str,
) -> Result<Vec<u8>, Trouble> {
    let unreadable =
        |detail: String| rejected("encryption-issue", "It cannot be decrypted", detail, instance);
    let facts = jwe::inspect(message, Zip::Passes).map_err(|error| unreadable(error.to_string()))?;
    if tag != Some(facts.tag.as_str()) {
        let title = "The authentication tag is not the one that was submitted";
        return Err(rejected("incorrect-authentication-tag", title, "it was changed on its way", instance));
    }
    let key = keys.iter().find(|key| key.is_called(&facts.kid));
    let key =
        key.ok_or_else(|| Trouble::KeyMissing { kid: facts.kid.clone(), instance: instance.to_owned() })?;
    jwe::open(message, key, bytes_max).map_err(|error| match error {
        Error::TooLarge(_) => Trouble::TooLarge,
        error => unreadable(error.to_string()),
    })
}

/// What a destination takes.
#[derive(Debug, Clone, Copy)]
pub struct Takes<'a> {
    /// Schemas of data; empty: any.
    pub schemas: &'a [String],
    pub metadata_versions: &'a [String],
    /// URN of the service that it was announced for.
    pub service: &'a str,
}

/// Reads the metadata and compares them with what was submitted.
pub fn metadata(
    bytes: &[u8],
    takes: Takes<'_>,
    has_data: bool,
    attachments: &[Uuid],
) -> Result<Metadata, Trouble> {
    let read = Metadata::read(bytes, takes.metadata_versions).map_err(|fault| match fault {
        Fault::Syntax => {
            rejected("syntax-violation", "The syntax is wrong", "it is no JSON object", METADATA)
        }
        Fault::Version(seen) => rejected(
            "unsupported-metadata-schema",
            "This metadata schema is not taken",
            format!("{seen}; {} are taken", takes.metadata_versions.join(", ")),
            METADATA,
        ),
        Fault::Schema { place, rule } => {
            rejected("schema-violation", "The schema is violated", format!("{place}: {rule}"), METADATA)
        }
    })?;
    if read.service.as_deref().is_some_and(|named| named != takes.service) {
        let title = "The metadata name another service than the announcement";
        return Err(rejected("service-mismatch", title, takes.service, METADATA));
    }
    match &read.data {
        Some(_) if !has_data => {
            return Err(rejected("missing-data", "The data are missing", "the metadata describe some", DATA));
        }
        None if has_data => {
            let title = "The schema of the data is not named";
            return Err(rejected("missing-schema", title, "contentStructure.data is missing", METADATA));
        }
        Some(data) if !takes.schemas.is_empty() && !takes.schemas.contains(&data.schema) => {
            let title = "This schema of data is not taken";
            return Err(rejected("unsupported-data-schema", title, takes.schemas.join(", "), METADATA));
        }
        _ => {}
    }
    let described: Vec<Uuid> = read.attachments.iter().map(|one| one.id).collect();
    let unique: BTreeSet<&Uuid> = described.iter().collect();
    let there: BTreeSet<&Uuid> = attachments.iter().collect();
    if unique.len() != described.len() || unique != there {
        let title = "The metadata describe other attachments than were submitted";
        let detail = format!("{} described, {} submitted", described.len(), attachments.len());
        return Err(rejected("attachments-mismatch", title, detail, METADATA));
    }
    Ok(read)
}

fn is_hash(bytes: &[u8], hash: &str) -> bool {
    hex::lower(digest(&SHA512, bytes).as_ref()) == hash
}

fn hash_mismatch(instance: &str) -> Trouble {
    let title = "The hash is not that of the content";
    rejected("hash-mismatch", title, "SHA-512 differs from the metadata", instance)
}

/// The data's hash and declared form; their schema's rules are the specialist procedure's.
pub fn data(bytes: &[u8], metadata: &Metadata) -> Result<(), Trouble> {
    let Some(declared) = &metadata.data else { return Ok(()) };
    if !is_hash(bytes, &declared.hash) {
        return Err(hash_mismatch(DATA));
    }
    let is_well_formed = match declared.form {
        Form::Json => serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok(),
        Form::Xml => is_xml(bytes),
    };
    match is_well_formed {
        true => Ok(()),
        false => {
            let detail = format!("it is not well-formed {}", declared.form.media_type());
            Err(rejected("syntax-violation", "The syntax is wrong", detail, DATA))
        }
    }
}

fn is_xml(bytes: &[u8]) -> bool {
    let limits = Limits { document_bytes_max: bytes.len() as u64, ..Limits::default() };
    let mut reader = SliceReader::new(bytes, limits);
    loop {
        match reader.next_event() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

pub fn attachment(bytes: &[u8], described: &Attachment) -> Result<(), Trouble> {
    match is_hash(bytes, &described.hash) {
        true => Ok(()),
        false => Err(hash_mismatch(&instance_of(described.id))),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
