//! Synthetic messages that can be made again from their ids alone, so that the checker knows every byte without
//! having been told.

use amtsbote::domain::account::AccountName;
use amtsbote::domain::card::{ProcessCard, Step};
use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::envelope::{Envelope, Party, Qualifier};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::party::{MailboxName, PartyIdentifier};
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::store::{Acceptance, Accepted, Deadlines, Store, StoreError};
use jiff::{SignedDuration, Timestamp};

use crate::random::Random;

const PREFIX: &str = "urn:de:xta:messageid:powercut:";
pub const MAILBOXES: u64 = 3;
const ACCOUNT: &str = "registry-office";

pub struct Message {
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub payload: Vec<u8>,
    pub mailbox: MailboxName,
}

/// An id that carries its message: who wrote it, which one it is, and how long the payload is.
pub fn id(seed: u64, life: u64, task: u64, number: u64, payload_bytes: u64) -> String {
    format!("{PREFIX}{seed:x}-{life}-{task}-{number}-{payload_bytes}")
}

pub fn mailbox(number: u64) -> MailboxName {
    MailboxName::parse(&format!("ags:0100{number}")).expect("digits are allowed in a mailbox name")
}

fn party(value: &str) -> Party {
    let identifier = PartyIdentifier::new(value).expect("a plain identifier");
    Party { identifier, security_tokens: Vec::new() }
}

/// `None` for an id that the rig has not made.
pub fn of_id(id: &str) -> Option<Message> {
    let payload_bytes: usize = id.strip_prefix(PREFIX)?.rsplit('-').next()?.parse().ok()?;
    let seed = u64::from_le_bytes(Digest::of(id.as_bytes()).0[..8].try_into().ok()?);
    let mut random = Random::seeded(seed);
    let mailbox = mailbox(random.between(0, MAILBOXES));
    let payload = random.bytes(payload_bytes);
    let first_bytes = usize::try_from(random.between(0, payload_bytes as u64 + 1)).ok()?;
    let part = |role, from: usize, to: usize| Part {
        role,
        offset: from as u64,
        length: (to - from) as u64,
        digest: Digest::of(&payload[from..to]),
        content_type: "application/xml".to_owned(),
        description: None,
        encoding: None,
        filename: Some(format!("{from}.xml")),
        id: None,
        lang: None,
        size: None,
    };
    let parts =
        vec![part(PartRole::Message, 0, first_bytes), part(PartRole::Attachment, first_bytes, payload_bytes)];
    let envelope = Envelope {
        id: MessageId::parse(id).ok()?,
        test: true,
        author: party("psw:01003110"),
        sender: None,
        reply_to: None,
        reader: party(mailbox.as_str()),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier { service: "urn:powercut:service".to_owned(), ..Qualifier::default() },
        properties: Vec::new(),
        origin: None,
        not_before: None,
        obsolete_after: None,
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: Some(payload_bytes as u64),
    };
    Some(Message { envelope, manifest: Manifest { parts }, payload, mailbox })
}

impl Message {
    /// The digest that tells a retry from another message under the same id.
    fn request_digest(&self) -> Digest {
        Digest::of(&[self.envelope.id.as_str().as_bytes(), &self.payload].concat())
    }

    fn card(&self, now: Timestamp, expires_at: Timestamp) -> ProcessCard {
        let mut card = ProcessCard {
            version: 1,
            id: self.envelope.id.clone(),
            state: DeliveryState::Waiting,
            mailbox: self.mailbox.clone(),
            author: self.envelope.author.identifier.clone(),
            reader: self.envelope.reader.identifier.clone(),
            posted_by: AccountName::parse(ACCOUNT).expect("letters and a dash"),
            door: "powercut".to_owned(),
            service: self.envelope.qualifier.service.clone(),
            test: true,
            payload_digest: Digest::of(&self.payload),
            payload_bytes: self.payload.len() as u64,
            accepted_at: now,
            not_before: None,
            delivered_at: None,
            first_handed_out_at: None,
            received_at: None,
            expires_at,
            steps: Vec::new(),
            findings: Vec::new(),
            certificates: Vec::new(),
        };
        let state = DeliveryState::Waiting;
        card.record(Step {
            at: now,
            event: Event::Accepted,
            state,
            by: Some(ACCOUNT.to_owned()),
            reason: None,
        });
        card
    }

    /// Hands the message to the store as a door does: payload first, in pieces, then the promise.
    pub async fn accept(&self, store: &dyn Store, now: Timestamp) -> Result<Accepted, StoreError> {
        let mut writer = store.payload_writer().await?;
        for piece in self.payload.chunks(50_000) {
            writer.write(piece).await?;
        }
        let payload = writer.seal().await?;
        let expire_at = now.checked_add(SignedDuration::from_hours(24 * 30)).unwrap_or(Timestamp::MAX);
        let deadlines = Deadlines {
            release_at: None,
            expire_at,
            remind_at: None,
            retain_payload_days: 30,
            retain_card_days: 90,
        };
        let acceptance = Acceptance {
            envelope: self.envelope.clone(),
            manifest: self.manifest.clone(),
            payload,
            request_digest: self.request_digest(),
            announced_only: false,
            card: self.card(now, expire_at),
            deadlines,
        };
        store.accept(acceptance).await
    }
}

/// Everything that lies in the payload of `id`.
pub async fn read_payload(store: &dyn Store, id: &MessageId, length: u64) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.open_payload(id, 0, length).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
