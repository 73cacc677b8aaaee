//! Messages, mailboxes and clocks for the store's tests.

use std::time::Duration;

use amtsbote::domain::account::AccountName;
use amtsbote::domain::card::{ProcessCard, Step};
use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::envelope::{Envelope, Party, Qualifier};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::{MailboxName, PartyIdentifier};
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::{Acceptance, Accepted, Change, Deadlines, Selection, StagedPayload, Store, StoreError};
use jiff::Timestamp;

/// Seconds after the beginning of the tests' time.
pub fn at(seconds: u64) -> Timestamp {
    let start: Timestamp = "2026-11-23T10:00:00Z".parse().expect("an instant");
    start + Duration::from_secs(seconds)
}

pub fn id(text: &str) -> MessageId {
    MessageId::parse(&format!("urn:de:xta:messageid:amt:{text}")).expect("a message id")
}

pub fn mailbox(text: &str) -> MailboxName {
    MailboxName::parse(text).expect("a mailbox name")
}

pub fn account(text: &str) -> AccountName {
    AccountName::parse(text).expect("an account name")
}

/// Bytes that differ from message to message and do not repeat.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A message that a test sends; fields are what tests vary.
#[derive(Debug, Clone)]
pub struct Draft {
    pub id: MessageId,
    pub mailbox: MailboxName,
    pub posted_by: AccountName,
    pub content: Vec<u8>,
    pub relates_to: Vec<MessageId>,
    pub accepted_at: Timestamp,
    /// `Some`: held until then.
    pub not_before: Option<Timestamp>,
    pub expire_at: Timestamp,
    pub remind_at: Option<Timestamp>,
    pub announced_only: bool,
}

pub fn draft(id_text: &str) -> Draft {
    Draft {
        id: id(id_text),
        mailbox: mailbox("ags:1"),
        posted_by: account("author"),
        content: content(id_text.bytes().map(u64::from).sum(), 300),
        relates_to: Vec::new(),
        accepted_at: at(0),
        not_before: None,
        expire_at: at(86_400),
        remind_at: None,
        announced_only: false,
    }
}

impl Draft {
    pub fn request_digest(&self) -> Digest {
        Digest::of(&[self.mailbox.as_str().as_bytes(), &self.content].concat())
    }

    pub fn deadlines(&self) -> Deadlines {
        Deadlines {
            release_at: self.not_before,
            expire_at: self.expire_at,
            remind_at: self.remind_at,
            retain_payload_days: 1,
            retain_card_days: 2,
        }
    }

    pub fn envelope(&self) -> Envelope {
        let party = |value: &str| Party {
            identifier: PartyIdentifier::new(value).expect("an identifier"),
            security_tokens: Vec::new(),
        };
        Envelope {
            id: self.id.clone(),
            test: false,
            author: party("ags:author"),
            sender: None,
            reply_to: None,
            reader: party(self.mailbox.as_str()),
            other_readers: Vec::new(),
            cc_readers: Vec::new(),
            in_reply_to: self.relates_to.clone(),
            process_ref: None,
            qualifier: Qualifier { service: "urn:service".to_owned(), ..Qualifier::default() },
            properties: Vec::new(),
            origin: None,
            not_before: None,
            obsolete_after: None,
            service_quality: None,
            receipt_requests: None,
            token_container: None,
            stated_size: None,
        }
    }

    pub fn manifest(&self) -> Manifest {
        Manifest {
            parts: vec![Part {
                role: PartRole::Message,
                offset: 0,
                length: self.content.len() as u64,
                digest: Digest::of(&self.content),
                content_type: "application/xml".to_owned(),
                description: None,
                encoding: None,
                filename: None,
                id: None,
                lang: None,
                size: None,
            }],
        }
    }

    pub fn card(&self) -> ProcessCard {
        let state = if self.not_before.is_some() { DeliveryState::Held } else { DeliveryState::Waiting };
        let mut card = ProcessCard {
            version: 1,
            id: self.id.clone(),
            state,
            mailbox: self.mailbox.clone(),
            author: self.envelope().author.identifier,
            reader: self.envelope().reader.identifier,
            posted_by: self.posted_by.clone(),
            door: "xta-2.1.1".to_owned(),
            service: "urn:service".to_owned(),
            test: false,
            payload_digest: Digest::of(&self.content),
            payload_bytes: self.content.len() as u64,
            accepted_at: self.accepted_at,
            not_before: self.not_before,
            delivered_at: None,
            first_handed_out_at: None,
            received_at: None,
            expires_at: self.expire_at,
            steps: Vec::new(),
            findings: Vec::new(),
            certificates: Vec::new(),
        };
        card.record(Step { at: self.accepted_at, event: Event::Accepted, state, by: None, reason: None });
        card
    }

    pub async fn stage(&self, store: &dyn Store) -> Result<StagedPayload, StoreError> {
        let mut writer = store.payload_writer().await?;
        for piece in self.content.chunks(10_007) {
            writer.write(piece).await?;
        }
        assert_eq!(writer.length(), self.content.len() as u64);
        writer.seal().await
    }

    pub fn acceptance(&self, payload: StagedPayload) -> Acceptance {
        Acceptance {
            envelope: self.envelope(),
            manifest: self.manifest(),
            payload,
            request_digest: self.request_digest(),
            announced_only: self.announced_only,
            card: self.card(),
            deadlines: self.deadlines(),
        }
    }

    pub async fn send(&self, store: &dyn Store) -> Result<Accepted, StoreError> {
        let payload = self.stage(store).await?;
        assert_eq!(payload.digest, Digest::of(&self.content));
        store.accept(self.acceptance(payload)).await
    }
}

/// An event at an instant, by nobody in particular.
pub fn change(id_text: &str, event: Event, seconds: u64) -> Change {
    Change {
        id: id(id_text),
        event,
        at: at(seconds),
        by: None,
        reason: None,
        finding: None,
        only_in: None,
        only_posted_by: None,
        only_if_due: None,
        deadlines: None,
    }
}

pub fn of_mailbox(name: &str) -> Selection {
    Selection { mailboxes: vec![mailbox(name)], ..Selection::default() }
}

pub async fn payload_of(
    store: &dyn Store,
    id: &MessageId,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.open_payload(id, offset, length).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(piece.len() <= 256 * 1024, "a piece of {} bytes", piece.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
