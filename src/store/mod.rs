//! Where messages are kept: a trait in domain words, every call one atomic durable transaction.
//!
//! When a changing call returns `Ok`, what it says is on stable storage: message, mailbox entry, process card and
//! evidence record together, or nothing. State changes apply [`crate::domain::state::transition`] inside the
//! transaction. The trait knows nothing of SQL, protocols or policy: deadlines and rights come in as data.

mod agreement;
mod cards;
mod copy;
pub mod embedded;
pub mod postgres;
pub mod rates;
mod row;
mod rules;
pub mod staging;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::broadcast;

pub use cards::CardBounds;
pub use rates::Rates;
pub use staging::Staging;

use crate::domain::account::{Account, AccountName, Directory};
use crate::domain::card::{CertificateFinding, Finding, ProcessCard};
use crate::domain::content::{Digest, Manifest};
use crate::domain::destination::DestinationId;
use crate::domain::dialog::{ConversationId, Dialog, DialogStep};
use crate::domain::envelope::Envelope;
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::domain::state::{DeliveryState, Event, TransitionDenied};
use crate::evidence::checkpoint::VerifierKey;

#[derive(Debug, Error)]
pub enum StoreError {
    /// No message of that id, or none that the asker may see.
    #[error("no such message")]
    Unknown,
    #[error(transparent)]
    Denied(#[from] TransitionDenied),
    /// The same id with other bytes.
    #[error("the message id has been used for another message")]
    IdUsed,
    /// An id that was not announced to this account, where that is demanded.
    #[error("the message id was not issued to this account")]
    NotAnnounced,
    /// No room; nothing was stored. Accepting goes on by itself when there is room.
    #[error("the store is full: {free} bytes are free, {reserve} are kept in reserve")]
    Full { free: u64, reserve: u64 },
    /// The operator must look. Nothing was stored as far as is known; an answer that was lost may have been a yes.
    #[error("the store cannot be written: {0}")]
    Unavailable(String),
    #[error("the store holds something that it cannot read: {0}")]
    Corrupt(String),
    /// Another revision of the directory was applied in between.
    #[error("the directory was changed in between (revision {found})")]
    Outdated { found: u64 },
    #[error("payload: {0}")]
    Payload(std::io::Error),
}

impl From<std::io::Error> for StoreError {
    /// A full disk is the operator's to mend and passes by itself; it must not look like a broken file.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full { free: 0, reserve: 0 }
            }
            _ => Self::Payload(error),
        }
    }
}

/// What is read at a time of a file that becomes part of a payload.
const FILE_PIECE_BYTES: u64 = 256 * 1024;

/// Receives the bytes of one message's parts, one behind the other, without holding them.
#[async_trait]
pub trait PayloadWriter: Send {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// The same for a stretch of a file that nobody changes. `seen` is SHA-256 that has taken just these bytes, where somebody
    /// has digested them: a payload that begins with them need not do it again.
    async fn write_file(
        &mut self,
        file: Arc<File>,
        span: Range<u64>,
        _seen: Option<digest::Context>,
    ) -> Result<(), StoreError> {
        let mut at = span.start;
        while at < span.end {
            let (from, length) = (file.clone(), (span.end - at).min(FILE_PIECE_BYTES) as usize);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                from.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let stopping = |_| StoreError::Unavailable("the process is stopping".to_owned());
            let piece = read.await.map_err(stopping)??;
            self.write(&piece).await?;
            at += length as u64;
        }
        Ok(())
    }

    /// Takes over the first `length` bytes of a file as the beginning of the payload, without copying them. Nobody else may
    /// change the file from here on; its name stays its owner's to remove, and bytes may be found behind `length` if nothing
    /// comes of the payload. `seen` is SHA-256 that has taken just these bytes. False, and nothing happened, where the engine
    /// must copy.
    async fn take_file(
        &mut self,
        _path: &Path,
        _length: u64,
        _seen: digest::Context,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Bytes so far.
    fn length(&self) -> u64;
    /// Seals the payload: flushed where it lies, ready to be named by a transaction. Dropped unnamed, it vanishes.
    async fn seal(self: Box<Self>) -> Result<StagedPayload, StoreError>;
}

/// A sealed payload that no message names yet.
#[derive(Debug)]
pub struct StagedPayload {
    pub length: u64,
    /// SHA-256 over all bytes in order.
    pub digest: Digest,
    pub place: StagedPlace,
}

#[derive(Debug)]
pub enum StagedPlace {
    /// Small: travels in the transaction.
    Inline(Bytes),
    /// Large: a synced file (or an engine's own token); removed on drop unless a message names it.
    Staged(Box<dyn StagedToken>),
}

/// An engine's handle on a staged payload; dropping it without `name()` having been kept discards the bytes.
pub trait StagedToken: std::fmt::Debug + Send + Sync {
    /// The name that the transaction records.
    fn name(&self) -> &str;
    /// The transaction is durable: the bytes belong to a message.
    fn keep(&mut self);
}

/// A payload being read, from any offset on.
#[async_trait]
pub trait PayloadReader: Send {
    /// The next piece (at most 256 KiB), or `None` at the end of the range asked for.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError>;

    /// Where all that is still to come lies in a file as it is: that file, which nobody changes and which stays readable
    /// while it is open, and where in it.
    fn file(&self) -> Option<(Arc<File>, Range<u64>)> {
        None
    }
}

/// The promise to be made durable: everything that "accepted" says.
#[derive(Debug)]
pub struct Acceptance {
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub payload: StagedPayload,
    /// SHA-256 over what the author sent (envelope and payload), to tell a retry from a reuse.
    pub request_digest: Digest,
    /// Refuse an id that was not announced to `card.posted_by`.
    pub announced_only: bool,
    /// The first state: held or waiting. The engine adds the `Accepted` step's evidence.
    pub card: ProcessCard,
    pub deadlines: Deadlines,
}

/// Instants at which something is due, all of them data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    pub release_at: Option<Timestamp>,
    pub expire_at: Timestamp,
    pub remind_at: Option<Timestamp>,
    /// Days after the final state.
    pub retain_payload_days: u32,
    pub retain_card_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Stored by this call.
    New,
    /// The same bytes under the same id had been accepted before; answer as then.
    Before,
}

/// One message as listings show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Order of entry in the store; grows, has gaps.
    pub sequence: u64,
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub card: ProcessCard,
    /// False once the payload was purged.
    pub has_payload: bool,
}

/// Which entries of mailboxes are wanted; oldest entry first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub mailboxes: Vec<MailboxName>,
    /// Empty: all. Compared by key.
    pub ids: Vec<MessageId>,
    /// In-Reply-To one of these.
    pub relates_to: Vec<MessageId>,
    pub delivered_from: Option<Timestamp>,
    pub delivered_to: Option<Timestamp>,
    /// Only what was never handed out.
    pub new_only: bool,
    /// Only what this account posted. Cheap beside `ids` or `relates_to`; alone it walks through the mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted_by: Option<AccountName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// Matches beyond `entries`. Exact for the first page of everything and up to 10,000; else a lower bound.
    pub pending: u64,
}

/// Which submissions are wanted; oldest entry first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmissionQuery {
    /// Destinations, each with the mailbox that it stands for. Of none, nothing.
    pub at: Vec<(DestinationId, MailboxName)>,
    /// Only what was never handed out.
    pub new_only: bool,
    /// Only sequences above this.
    pub after: u64,
    /// Of those, so many are passed over.
    pub skip: u64,
    pub limit: u32,
}

/// A part of the submissions that a query wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submissions {
    pub entries: Vec<Entry>,
    /// All of them, those passed over among them. Exact up to 10,000 beyond `entries`; else a lower bound.
    pub total: u64,
}

/// A listing that is continued: the protocol's iterator, kept by the store so that a restart loses none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iterator {
    /// Random, unguessable.
    pub id: String,
    pub account: AccountName,
    pub selection: Selection,
    /// Entries up to this sequence were shown.
    pub position: u64,
    /// Ids handed out by the last answer, for a close that names none.
    pub handed_out: Vec<MessageId>,
    pub page_size: u32,
    pub expires_at: Timestamp,
}

/// Which process cards of one party are wanted; the newest message first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardQuery {
    /// Cards of messages that this account posted in the name of `author` …
    pub account: AccountName,
    pub author: String,
    /// … and of messages that entered this mailbox.
    pub mailbox: MailboxName,
    pub as_author: bool,
    pub as_reader: bool,
    /// Empty: all. Compared by key.
    pub ids: Vec<MessageId>,
    pub accepted_from: Option<Timestamp>,
    /// Last change of the card.
    pub modified_from: Option<Timestamp>,
    /// Only what was not received.
    pub unreceived_only: bool,
    pub limit: u32,
    pub bounds: CardBounds,
}

impl CardQuery {
    /// Whether the query wants this card.
    pub fn wants(&self, card: &ProcessCard) -> bool {
        let as_author =
            self.as_author && card.posted_by == self.account && card.author.value() == self.author;
        let as_reader = self.as_reader && card.mailbox == self.mailbox && card.delivered_at.is_some();
        (as_author || as_reader)
            && self.accepted_from.is_none_or(|from| card.accepted_at >= from)
            && self.modified_from.is_none_or(|from| card.modified_at() >= from)
            && !(self.unreceived_only && card.received_at.is_some())
    }
}

/// For the administrator: messages in any state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageQuery {
    pub states: Vec<DeliveryState>,
    pub mailbox: Option<MailboxName>,
    pub posted_by: Option<AccountName>,
    /// Only sequences above this (paging).
    pub after: u64,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxSummary {
    pub name: MailboxName,
    pub held: u64,
    pub waiting: u64,
    pub handed_out: u64,
    pub dead: u64,
    pub bytes_waiting: u64,
    pub oldest_waiting_at: Option<Timestamp>,
}

/// A change of one message's state, as relay decided it.
#[derive(Debug, Clone)]
pub struct Change {
    pub id: MessageId,
    pub event: Event,
    pub at: Timestamp,
    pub by: Option<String>,
    pub reason: Option<String>,
    pub finding: Option<Finding>,
    /// Only if the message lies in one of these mailboxes (a reader's view); otherwise `Unknown`.
    pub only_in: Option<Vec<MailboxName>>,
    /// Only if this account posted it (an author's view); otherwise `Unknown`.
    pub only_posted_by: Option<AccountName>,
    /// Only if this is still due at `at` (a timer's view): an operator may have moved the deadline meanwhile.
    pub only_if_due: Option<DueKind>,
    /// New deadlines, where the event sets some (requeue).
    pub deadlines: Option<Deadlines>,
}

/// What a party to a message said about it and signed (the portal's Security Event Tokens), kept word for word beside
/// its card and as long as that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Unique beside one message, in its author's own words (`jti`).
    pub id: String,
    pub at: Timestamp,
    pub by: AccountName,
    /// As it came.
    pub text: String,
}

/// Statements that one message may have; a further one is denied.
pub const STATEMENTS_MAX: usize = 64;

/// Something whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DueKind {
    Release,
    Expire,
    Remind,
    PurgePayload,
    PurgeCard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub id: MessageId,
    pub kind: DueKind,
    pub at: Timestamp,
}

/// A message leased for a push. The lease ends by itself at `until`.
#[derive(Debug, Clone)]
pub struct PushLease {
    pub entry: Entry,
    pub attempt: u32,
    pub until: Timestamp,
    /// Names this lease. Under an older one, only a recipient's yes counts; a no has been overtaken.
    pub token: u64,
}

#[derive(Debug, Clone)]
pub enum PushOutcome {
    /// The recipient confirmed: the message is received.
    Received,
    /// The same by another post office, which hands it on: handed out and received, with what it said, for the card.
    Taken { remark: String },
    /// Try again at `next_at`.
    Failed { reason: String, next_at: Timestamp },
    /// Given up: dead letter.
    Dead { reason: String },
}

/// A recipient took what was pushed to it while it was held.
#[derive(Debug)]
pub struct FinishedPush {
    pub id: MessageId,
    /// When the message to the recipient was complete.
    pub forwarded_at: Timestamp,
    /// When its yes was read.
    pub received_at: Timestamp,
    /// The recipient.
    pub by: AccountName,
    /// What it replied, for the author's mailbox.
    pub reply: Option<Acceptance>,
}

/// A dialog that moved on, and what was done behind that in the same transaction.
#[derive(Debug)]
pub struct Stepped<T> {
    /// Cards that the step confirmed.
    pub received: Vec<ProcessCard>,
    pub then: Result<T, StoreError>,
}

/// Who changed the directory, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminAct {
    pub at: Timestamp,
    /// The operator (local user name or certificate subject).
    pub by: String,
    /// What was done, e.g. `participant apply`, `message cancel`.
    pub act: String,
    /// What it was done to.
    pub object: String,
    pub reason: String,
}

/// A leaf of the evidence log with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedRecord {
    pub index: u64,
    /// The exact bytes whose RFC 6962 leaf hash is in the tree (see `crate::evidence`).
    pub bytes: Vec<u8>,
}

/// What another node's log says about a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherLog {
    pub node: String,
    /// In order; at least one.
    pub records: Vec<LoggedRecord>,
}

/// How records of another node's log are proven by one of its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProof {
    /// An audit path for each record that was asked for.
    pub paths: Vec<Vec<[u8; 32]>>,
    /// Of that checkpoint, oldest first.
    pub time_stamps: Vec<TimeStamp>,
}

/// A time stamp (RFC 3161) of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeStamp {
    /// The token, DER.
    pub token: Vec<u8>,
    pub time: Timestamp,
    /// When its certificates or algorithms end: it must be renewed before.
    pub good_until: Timestamp,
}

/// What one node of a store tells the others, so that they look before their next poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Something in this mailbox may be ready to be pushed.
    Waiting(MailboxName),
    /// A message came in that answers this one.
    Answered(MessageId),
    /// Something may be due sooner than the timers believe.
    Deadline,
    /// Participants or profiles have changed.
    Directory,
    /// Somebody waits for the logs to be signed.
    Sign,
    /// Notices may have been lost: whoever waits for any looks.
    Missed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHealth {
    pub accepting: bool,
    /// Why not, in a sentence; empty while it does.
    pub reason: String,
    /// What is amiss and keeps nothing out; empty from a server of an earlier version.
    #[serde(default)]
    pub warning: String,
    /// `u64::MAX`: the engine cannot tell.
    pub free_bytes: u64,
    pub messages: u64,
    pub evidence_records: u64,
    pub schema_version: u32,
    /// As `[store] engine` says it; empty from a server of an earlier version.
    #[serde(default)]
    pub engine: String,
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Messages in.
    /// Remembers an issued id for `account`; `IdUsed` if it was ever seen.
    async fn announce(
        &self,
        id: &MessageId,
        account: &AccountName,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.announce_bound(id, account, None, now, expires_at).await
    }
    /// The same, and remembers to whom it was issued beyond the account.
    async fn announce_bound(
        &self,
        id: &MessageId,
        account: &AccountName,
        bond: Option<&Bond>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError>;
    /// What was remembered with an announced id, used or not.
    async fn bond(&self, id: &MessageId) -> Result<Option<Bond>, StoreError>;
    async fn payload_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError>;
    /// The same for the reply to a push, which may use half of the disk's reserve: its sender has been answered for.
    async fn reply_writer(&self) -> Result<Box<dyn PayloadWriter>, StoreError>;
    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError>;

    // Reading.
    async fn list(&self, selection: &Selection, after: u64, limit: u32) -> Result<Listing, StoreError>;
    /// What is offered at destinations of portals. The cost does not depend on what else lies in their mailboxes.
    async fn submissions(&self, query: &SubmissionQuery) -> Result<Submissions, StoreError>;
    async fn find(&self, id: &MessageId) -> Result<Entry, StoreError>;
    /// Bytes `offset..offset+length` of the payload; `Unknown` once purged.
    async fn open_payload(
        &self,
        id: &MessageId,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn PayloadReader>, StoreError>;
    async fn messages(&self, query: &MessageQuery) -> Result<Vec<Entry>, StoreError>;
    /// What this account, or any, posted with In-Reply-To `id`, whatever its state, in order of entry; at most `limit`.
    async fn related(
        &self,
        id: &MessageId,
        posted_by: Option<&AccountName>,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError>;
    async fn mailboxes(&self) -> Result<Vec<MailboxSummary>, StoreError>;
    /// Messages whose cards the query wants, the newest first, and whether there are more, or may be: a question that says
    /// since when is answered in full as long as either the party's newer messages or what happened since then in the whole
    /// store stay within [`CardBounds`].
    async fn cards(&self, query: &CardQuery) -> Result<(Vec<Entry>, bool), StoreError>;

    // Changes. The card after the change is returned.
    /// Applies one change. An event that leaves the state as it is because it already happened (`Received` on a
    /// received message, `HandedOut` for the seventeenth time) succeeds and records nothing.
    async fn change(&self, change: Change) -> Result<ProcessCard, StoreError>;
    /// Applies a change and keeps what was said with it, or nothing of both. The same statement said again changes
    /// nothing; another text under its id is `IdUsed`. Beside a new statement the change must be one: `Received` on what
    /// is received is denied.
    async fn declare(&self, change: Change, statement: Statement) -> Result<ProcessCard, StoreError>;
    /// What was said about a message, in order; nothing once its card was purged.
    async fn statements(&self, id: &MessageId) -> Result<Vec<Statement>, StoreError>;
    /// Adds certificate findings to a card.
    async fn inspect(
        &self,
        id: &MessageId,
        findings: Vec<CertificateFinding>,
    ) -> Result<ProcessCard, StoreError>;

    // Time.
    /// What is due at `now`, earliest first.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Due>, StoreError>;
    /// The next instant at which something will be due.
    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Deletes the payload (file included) of a message in a final state; the card stays.
    async fn purge_payload(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError>;
    /// Deletes card and envelope; the id stays used, the evidence stays whole.
    async fn purge_card(&self, id: &MessageId, now: Timestamp) -> Result<(), StoreError>;
    /// Forgets announced ids, iterators and dialogs that are over; returns how many.
    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError>;

    // Iterators.
    /// `Full` below the reserve: reading must not use up what is kept for finishing.
    async fn save_iterator(&self, iterator: &Iterator) -> Result<(), StoreError>;
    async fn load_iterator(
        &self,
        id: &str,
        account: &AccountName,
        now: Timestamp,
    ) -> Result<Option<Iterator>, StoreError>;
    async fn drop_iterator(&self, id: &str, account: &AccountName) -> Result<(), StoreError>;

    // Dialogs.
    /// Remembers a new dialog; `IdUsed` if there is one of that id.
    async fn open_dialog(&self, dialog: &Dialog) -> Result<(), StoreError>;
    /// The dialog, if it is not over at `now`.
    async fn dialog(&self, id: &ConversationId, now: Timestamp) -> Result<Option<Dialog>, StoreError>;
    /// The same with what [`Store::bond`] says of an id: one question where an engine can ask both at once.
    async fn dialog_and_bond(
        &self,
        id: &ConversationId,
        message: &MessageId,
        now: Timestamp,
    ) -> Result<(Option<Dialog>, Option<Bond>), StoreError> {
        Ok((self.dialog(id, now).await?, self.bond(message).await?))
    }
    /// Moves a dialog on, or ends it, exactly once: `Unknown` where it is over or stands elsewhere. With
    /// `step.confirms`, everything that was handed out in it and is still offered becomes received in the same
    /// transaction; those cards are returned.
    async fn step_dialog(&self, step: &DialogStep) -> Result<Vec<ProcessCard>, StoreError>;
    /// The same, and accepts in the same transaction: one wait for the disk. Where the dialog does not move on nothing
    /// is accepted; where the message is refused the dialog has moved on all the same.
    async fn step_and_accept(
        &self,
        step: &DialogStep,
        acceptance: Acceptance,
    ) -> Result<Stepped<Accepted>, StoreError>;
    /// The same with an id that is announced.
    async fn step_and_announce(
        &self,
        step: &DialogStep,
        id: &MessageId,
        account: &AccountName,
        bond: Option<&Bond>,
        expires_at: Timestamp,
    ) -> Result<Stepped<()>, StoreError>;
    /// Hands a message out in a dialog that stands at `sequence`, and remembers it there for the next step.
    async fn hand_out_in_dialog(
        &self,
        id: &ConversationId,
        sequence: u64,
        change: Change,
    ) -> Result<ProcessCard, StoreError>;
    /// Dialogs that are open at `now`, the one used last first.
    async fn dialogs(&self, now: Timestamp, limit: u32) -> Result<Vec<Dialog>, StoreError>;

    // Pushes.
    /// Leases waiting messages of these mailboxes whose next attempt is due, in order of entry; with `ordered`, only
    /// the first undelivered one of each mailbox.
    async fn lease_push(
        &self,
        mailboxes: &[MailboxName],
        ordered: bool,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<PushLease>, StoreError>;
    /// A yes counts however late it is told; to a message that is no longer offered it becomes the finding `taken-late`.
    /// A late no changes nothing.
    async fn record_attempt(
        &self,
        lease: &PushLease,
        outcome: PushOutcome,
        now: Timestamp,
    ) -> Result<ProcessCard, StoreError>;
    /// Durably remembers what an outlet must know at its next attempt at this message; nothing forgets it again.
    async fn note_push(&self, id: &MessageId, note: Option<&str>) -> Result<(), StoreError>;
    async fn push_note(&self, id: &MessageId) -> Result<Option<String>, StoreError>;
    /// The recipient's yes to a held message, as one change: it is released, handed out, received and relieved of its
    /// payload, and the reply is accepted with it; or nothing of all that. What was released meanwhile goes on from
    /// there, what was received stays so. What is over otherwise stays so, too, with the recipient's yes as a finding on
    /// its card; the reply is accepted all the same.
    async fn finish_push(&self, push: FinishedPush) -> Result<ProcessCard, StoreError>;

    // Directory and acts.
    async fn directory(&self) -> Result<Directory, StoreError>;
    /// Which state of the directory it is, without reading it.
    async fn directory_revision(&self) -> Result<u64, StoreError> {
        Ok(self.directory().await?.revision())
    }
    /// Replaces the directory if its revision is still `based_on`; the act is recorded with it.
    async fn apply_directory(
        &self,
        based_on: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
        act: AdminAct,
    ) -> Result<Directory, StoreError>;
    async fn record_act(&self, act: AdminAct) -> Result<(), StoreError>;
    async fn acts(&self, limit: u32) -> Result<Vec<AdminAct>, StoreError>;

    // Evidence.
    async fn evidence_size(&self) -> Result<u64, StoreError>;
    /// Records `from..from+limit`, in order.
    async fn evidence_records(&self, from: u64, limit: u32) -> Result<Vec<LoggedRecord>, StoreError>;
    /// Every record about this message, in order.
    async fn evidence_of(&self, id: &MessageId) -> Result<Vec<LoggedRecord>, StoreError>;
    /// RFC 6962 audit path of leaf `index` in the tree of the first `size` leaves.
    async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError>;
    async fn consistency_proof(&self, old_size: u64, size: u64) -> Result<Vec<[u8; 32]>, StoreError>;
    /// Root of the first `size` leaves.
    async fn tree_root(&self, size: u64) -> Result<[u8; 32], StoreError>;
    /// Keeps a checkpoint, in place of another one of the same size. `Outdated` if that one is another note and has time
    /// stamps, or if another node has written it down: they would stand over nothing.
    async fn save_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError>;
    /// Writes the newest checkpoints of the other logs of this store into this one, where they are not there yet; returns
    /// how many. `Corrupt` where another log contradicts what was written down. An engine with one log has nothing to do.
    async fn anchor_others(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
    /// Keys by which this node's log is checked, for the other nodes: the present one and those before it.
    async fn publish_evidence_keys(&self, _keys: &[VerifierKey]) -> Result<(), StoreError> {
        Ok(())
    }
    /// What the logs of other nodes say about this message. An engine with one log knows no others.
    async fn evidence_elsewhere(&self, _id: &MessageId) -> Result<Vec<OtherLog>, StoreError> {
        Ok(Vec::new())
    }
    /// Checkpoints of another node's log over at least `size` records (the smallest with a time stamp, the smallest, the
    /// latest, each if it is there), and the keys that this node has published.
    async fn checkpoints_elsewhere(
        &self,
        _node: &str,
        _size: u64,
    ) -> Result<(Vec<String>, Vec<VerifierKey>), StoreError> {
        Ok((Vec::new(), Vec::new()))
    }
    /// Proves these records of another node's log by its checkpoint of `size` records.
    async fn proof_elsewhere(
        &self,
        _node: &str,
        _indexes: &[u64],
        _size: u64,
    ) -> Result<OtherProof, StoreError> {
        Err(StoreError::Unknown)
    }
    /// The smallest checkpoint that covers at least `size` leaves, or the latest for `None`.
    async fn checkpoint(&self, size: Option<u64>) -> Result<Option<String>, StoreError>;
    /// Adds a stamp to the checkpoint of exactly `size` leaves, which has `number` stamps so far: over its note for the
    /// first, over the token before for each further one. `Corrupt` if it is over anything else, `Unknown` if the
    /// checkpoint is not there, `Outdated` if it has another number of stamps.
    async fn save_time_stamp(&self, size: u64, number: u32, stamp: &TimeStamp) -> Result<(), StoreError>;
    /// The stamps of that checkpoint, oldest first.
    async fn time_stamps(&self, size: u64) -> Result<Vec<TimeStamp>, StoreError>;
    /// The size of the smallest stamped checkpoint that covers at least `size` leaves, or of the latest for `None`.
    async fn time_stamped(&self, size: Option<u64>) -> Result<Option<u64>, StoreError>;
    /// The checkpoint whose newest stamp is the first to end, if that is before `before`.
    async fn time_stamp_ending(&self, before: Timestamp) -> Result<Option<u64>, StoreError>;

    // Other nodes on the same store.
    /// Tells them, after what the notice speaks of is durable. At once, without waiting, and without a promise that it
    /// arrives: nothing that correctness needs may hang on it.
    fn tell(&self, _notice: Notice) {}
    /// What they tell from here on; `None` where a store has one node.
    fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        None
    }

    /// Where nodes keep what goes over several requests; `None` where a store has one node, which has a disk for that.
    fn staging(&self) -> Option<&dyn Staging> {
        None
    }

    /// Where nodes tell each other what clients took; `None` where a store has one node, which counts by itself.
    fn rates(&self) -> Option<&dyn Rates> {
        None
    }

    // Operation.
    async fn health(&self) -> Result<StoreHealth, StoreError>;
    /// A consistent copy into an empty or new folder, while everything goes on.
    async fn backup(&self, into: &Path) -> Result<(), StoreError>;
    /// Finishes what was begun, makes it durable and stops.
    async fn close(&self) -> Result<(), StoreError>;
}
