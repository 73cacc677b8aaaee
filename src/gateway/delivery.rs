//! A verified submission as a message in the clear, in its reader's mailbox.
//!
//! Everything follows from the submission and the configuration: the same submission makes the same message under the
//! same id, so that the post office knows a repetition for what it is. It is obsolete before the post office rejects the
//! submission in its own name, so that nobody reads what its sender was told is rejected.

use bytes::Bytes;
use jiff::{Timestamp, ToSpan};
use uuid::Uuid;

use super::metadata::{Attachment, Metadata};
use crate::domain::content::PartRole;
use crate::domain::date_time::german_day;
use crate::domain::destination::DESTINATION_PROPERTY;
use crate::domain::envelope::{Code, Envelope, Instant, Party, Property, Qualifier};
use crate::domain::message_id::{MessageId, MessageIdError};
use crate::domain::party::PartyIdentifier;
use crate::xta::client::content::Outgoing;

const FILENAME_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 1000;

/// What an administrator decides about messages of one destination.
#[derive(Debug, Clone)]
pub struct Address {
    pub author: PartyIdentifier,
    pub reader: PartyIdentifier,
    /// Absent: the URN of the submission's own service.
    pub service: Option<String>,
    pub message_type: Option<Code>,
    /// Whole days after its submission, German time, at whose end the message is obsolete.
    pub obsolete_days: u16,
}

/// A submission that has passed all checks.
pub struct Verified {
    pub submission: Uuid,
    pub case: Uuid,
    pub destination: String,
    pub service: String,
    pub submitted_at: Timestamp,
    pub metadata: Metadata,
    /// The document itself.
    pub metadata_bytes: Bytes,
    pub data: Option<Bytes>,
    pub attachments: Vec<(Attachment, Bytes)>,
}

/// The one id of a submission's message.
pub fn message_id(submission: Uuid) -> Result<MessageId, MessageIdError> {
    MessageId::opened(submission)
}

pub fn envelope(verified: &Verified, id: MessageId, address: &Address) -> Envelope {
    let party =
        |identifier: &PartyIdentifier| Party { identifier: identifier.clone(), security_tokens: Vec::new() };
    let property =
        |key: &str, value: String| Property { key: Code { code: key.to_owned(), ..Code::default() }, value };
    let last_day = german_day(verified.submitted_at).saturating_add(i64::from(address.obsolete_days).days());
    Envelope {
        id,
        test: false,
        author: party(&address.author),
        sender: None,
        reply_to: None,
        reader: party(&address.reader),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier {
            service: address.service.clone().unwrap_or_else(|| verified.service.clone()),
            message_type: address.message_type.clone(),
            payload_schema: verified.metadata.data.as_ref().map(|data| data.schema.clone()),
            ..Qualifier::default()
        },
        properties: vec![
            property("fit-connect:submissionId", verified.submission.to_string()),
            property("fit-connect:caseId", verified.case.to_string()),
            property(DESTINATION_PROPERTY, verified.destination.clone()),
        ],
        origin: None,
        not_before: None,
        // Only the spelling is sent.
        obsolete_after: Some(Instant { at: Timestamp::MAX, text: last_day.to_string() }),
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    }
}

/// The data as the message, metadata and attachments beside it; the metadata as the message where there are no data.
pub fn content(verified: Verified) -> Vec<Outgoing> {
    let mut parts = Vec::with_capacity(verified.attachments.len() + 2);
    let mut metadata_role = PartRole::Message;
    if let (Some(bytes), Some(declared)) = (verified.data, &verified.metadata.data) {
        let form = declared.form.media_type();
        let mut data = Outgoing::from_bytes(PartRole::Message, form, bytes);
        data.part.filename = Some(format!("data.{}", form.rsplit('/').next().unwrap_or_default()));
        data.part.id = Some("data".to_owned());
        parts.push(data);
        metadata_role = PartRole::Attachment;
    }
    let mut metadata = Outgoing::from_bytes(metadata_role, "application/json", verified.metadata_bytes);
    metadata.part.filename = Some("metadata.json".to_owned());
    metadata.part.id = Some("metadata".to_owned());
    parts.push(metadata);
    for (described, bytes) in verified.attachments {
        let mut attachment = Outgoing::from_bytes(PartRole::Attachment, &described.media_type, bytes);
        attachment.part.filename = Some(filename(&described));
        attachment.part.id = Some(described.id.to_string());
        attachment.part.description = described.description.map(|text| plain(&text, DESCRIPTION_CHARS_MAX));
        parts.push(attachment);
    }
    parts
}

/// A stranger chose the name: only its last step counts, and only what can be shown.
fn filename(described: &Attachment) -> String {
    let named = described.filename.as_deref().unwrap_or_default();
    let last = named.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = plain(last, FILENAME_CHARS_MAX);
    match name.trim_matches('.').is_empty() {
        true => described.id.to_string(),
        false => name,
    }
}

fn plain(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::metadata::VERSION;
    use serde_json::json;

    fn attachment(filename: Option<&str>) -> Attachment {
        Attachment {
            id: Uuid::from_u128(5),
            hash: String::new(),
            media_type: "application/pdf".to_owned(),
            filename: filename.map(str::to_owned),
            description: Some("line\none".to_owned()),
            purpose: "attachment".to_owned(),
        }
    }

    fn verified(data: Option<&str>) -> Verified {
        let mut document = json!({ "contentStructure": { "attachments": [] } });
        if data.is_some() {
            document["contentStructure"]["data"] = json!({
                "hash": { "type": "sha512", "content": "0".repeat(128) },
                "submissionSchema": { "schemaUri": "urn:example:schema", "mimeType": "application/xml" },
            });
        }
        let metadata = Metadata::read(document.to_string().as_bytes(), &[VERSION.to_owned()]).expect("good");
        Verified {
            submission: Uuid::from_u128(0x1111_0000_0000_4000_8000_0000_0000_0001),
            case: Uuid::from_u128(2),
            destination: "d".to_owned(),
            service: "urn:a:b".to_owned(),
            submitted_at: "2026-11-29T23:30:00Z".parse().expect("an instant"),
            metadata,
            metadata_bytes: Bytes::from_static(b"{}"),
            data: data.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            attachments: vec![(attachment(Some("../../etc/pass\u{7}wd")), Bytes::from_static(b"a"))],
        }
    }

    #[test]
    fn one_submission_makes_one_message() {
        let address = Address {
            author: PartyIdentifier::new("gw:1").expect("an identifier"),
            reader: PartyIdentifier::new("ags:10041100").expect("an identifier"),
            service: None,
            message_type: None,
            obsolete_days: 12,
        };
        let one = verified(Some("<a/>"));
        let id = message_id(one.submission).expect("an id");
        assert_eq!(id.as_str(), format!("urn:de:xta:messageid:amtsbote-gateway:{}", one.submission));
        let made = envelope(&one, id.clone(), &address);
        assert_eq!(made, envelope(&verified(Some("<a/>")), id.clone(), &address));
        assert_eq!(made.qualifier.service, "urn:a:b");
        // In Germany it is the 30th already.
        assert_eq!(made.obsolete_after.map(|day| day.text).as_deref(), Some("2026-12-12"));
        let other = Address { service: Some("urn:own".to_owned()), ..address };
        assert_eq!(envelope(&one, id, &other).qualifier.service, "urn:own");
    }

    #[test]
    fn parts_have_roles_and_harmless_names() {
        let of = |data| {
            let parts = content(verified(data));
            parts
                .into_iter()
                .map(|one| (one.part.role, one.part.filename.unwrap_or_default(), one.part.content_type))
                .collect::<Vec<_>>()
        };
        let pdf = (PartRole::Attachment, "passwd".to_owned(), "application/pdf".to_owned());
        let metadata = |role| (role, "metadata.json".to_owned(), "application/json".to_owned());
        let data = (PartRole::Message, "data.xml".to_owned(), "application/xml".to_owned());
        assert_eq!(of(Some("<a/>")), [data, metadata(PartRole::Attachment), pdf.clone()]);
        assert_eq!(of(None), [metadata(PartRole::Message), pdf]);
        for (named, expected) in [
            (Some("C:\\tmp\\a b.pdf"), "a b.pdf"),
            (Some(".."), "00000000-0000-0000-0000-000000000005"),
            (Some("a/"), "00000000-0000-0000-0000-000000000005"),
            (None, "00000000-0000-0000-0000-000000000005"),
        ] {
            assert_eq!(filename(&attachment(named)), expected);
        }
    }
}
