//! One transaction of many commands: load what they name, decide in memory, write the difference, commit.
//!
//! The rows that commands name are locked and read in one exchange; then every command is decided in turn on what the
//! ones before it left ([`Work`]); then what differs from the database is written with one statement for each table. A
//! refused command leaves no trace, since its changes live in a draft that is dropped with it. However many commands
//! there are, the exchanges with the server stay four or five.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Skew;
use crate::domain::card::ProcessCard;
use crate::domain::content::{Digest, Manifest};
use crate::domain::envelope::Envelope;
use crate::domain::message_id::MessageId;
use crate::domain::party::MailboxName;
use crate::evidence::anchor::Anchor;
use crate::evidence::record::{Record, RecordEvent};
use crate::store::row::Row;
use crate::store::rules::Used;
use crate::store::{Statement, StoreError};

/// What a command wants to find in [`Work`].
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Ids that it uses up or answers about.
    pub used: Vec<String>,
    /// Messages that it changes, by key.
    pub messages: Vec<String>,
    /// Dialogs that it moves on; with `true`, the messages handed out in it are wanted, too.
    pub dialogs: Vec<(String, bool)>,
    /// Large payloads that it names.
    pub payloads: Vec<String>,
    pub lease: Option<LeaseWanted>,
    /// Whether a new message may come of it, which takes the next number of the whole store.
    pub numbers: bool,
    /// Whether what was said about the messages is wanted, too.
    pub statements: bool,
}

/// Messages that may be leased, as the database finds them.
#[derive(Debug, Clone)]
pub struct LeaseWanted {
    pub mailboxes: Vec<MailboxName>,
    pub ordered: bool,
    /// On this node's clock: what it is on the database's is decided within the transaction.
    pub now: Timestamp,
    pub limit: u32,
}

/// Where a dialog stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub account: String,
    pub challenge: String,
    pub sequence: i64,
    pub encrypted: bool,
    pub signature: Option<Vec<u8>>,
    pub used_at: i64,
    pub expires_at: i64,
    /// Messages handed out in it.
    pub handed_out: BTreeSet<String>,
}

/// What a message of this batch brings with it.
#[derive(Debug)]
pub struct Fresh {
    pub envelope: Vec<u8>,
    pub manifest: Vec<u8>,
    pub payload: Bytes,
    pub related: BTreeSet<String>,
}

/// Where a new message's bytes are.
#[derive(Debug)]
pub enum Bytes {
    Inline(bytes::Bytes),
    Large(String),
}

/// A message in hand.
#[derive(Debug, Clone)]
pub struct Held {
    /// As the database has it; `None` for a message of this batch.
    pub before: Option<std::sync::Arc<Row>>,
    /// As it will be; `None` once its card is purged.
    pub row: Option<Row>,
    pub card: Result<ProcessCard, String>,
    pub rewritten: bool,
    pub fresh: Option<std::sync::Arc<Fresh>>,
    pub note: Option<Option<String>>,
    /// Of messages that may be leased.
    pub paper: Option<std::sync::Arc<(Envelope, Manifest)>>,
}

/// What changes while commands are decided.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pub messages: BTreeMap<String, Held>,
    pub used: BTreeMap<String, (Used, Bond)>,
    /// `None`: over.
    pub dialogs: BTreeMap<String, Option<Standing>>,
    /// What was said about messages, as far as somebody wanted to know.
    pub statements: BTreeMap<String, Vec<Statement>>,
    /// Each with the key of its message.
    pub records: Vec<(String, Record)>,
    /// Checkpoints of other nodes' logs, for this one.
    pub anchors: Vec<Anchor>,
}

/// To whom an id was issued.
pub type Bond = Option<([u8; 32], bool)>;

/// What commands are decided on.
#[derive(Debug, Default)]
pub struct Work {
    /// What the commands before this one left.
    pub kept: Pieces,
    /// What this command has changed.
    pub draft: Pieces,
    /// Dialogs as the database has them.
    pub dialogs_before: BTreeMap<String, Standing>,
    /// How many statements the database has of a message.
    pub statements_before: BTreeMap<String, usize>,
    /// Ids that the database knows.
    pub known: BTreeSet<String>,
    /// Large payloads that are sealed and belong to nobody.
    pub sealed: BTreeSet<String>,
    /// The last number that was given to a message, where it is held.
    pub last: Option<i64>,
    /// Keys of messages that this command may lease.
    pub candidates: Vec<String>,
    pub skew: Skew,
}

impl Work {
    /// Decides one command: what it changed stays, or nothing of it.
    pub fn decide<T>(
        &mut self,
        candidates: Vec<String>,
        command: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.draft = Pieces::default();
        self.candidates = candidates;
        let decided = command(self);
        let draft = std::mem::take(&mut self.draft);
        if decided.is_ok() {
            self.kept.messages.extend(draft.messages);
            self.kept.used.extend(draft.used);
            self.kept.dialogs.extend(draft.dialogs);
            self.kept.statements.extend(draft.statements);
            self.kept.records.extend(draft.records);
            self.kept.anchors.extend(draft.anchors);
        }
        decided
    }

    /// Does something that may be refused without undoing what its command has done before.
    pub fn apart<T>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let before = self.draft.clone();
        let done = part(self);
        if done.is_err() {
            self.draft = before;
        }
        done
    }

    pub fn statements(&self, key: &str) -> Vec<Statement> {
        let said = self.draft.statements.get(key).or_else(|| self.kept.statements.get(key));
        said.cloned().unwrap_or_default()
    }

    pub fn used(&self, key: &str) -> Option<&Used> {
        self.draft.used.get(key).or_else(|| self.kept.used.get(key)).map(|(used, _)| used)
    }

    pub fn dialog(&self, id: &str) -> Option<&Standing> {
        self.draft.dialogs.get(id).or_else(|| self.kept.dialogs.get(id))?.as_ref()
    }

    /// The message with its row and card, to be changed and put back.
    pub fn take(&self, id: &MessageId) -> Result<(Held, Row, ProcessCard), StoreError> {
        self.take_key(id.key().as_str())
    }

    pub fn take_key(&self, key: &str) -> Result<(Held, Row, ProcessCard), StoreError> {
        let held = self.draft.messages.get(key).or_else(|| self.kept.messages.get(key));
        let held = held.ok_or(StoreError::Unknown)?;
        let row = held.row.clone().ok_or(StoreError::Unknown)?;
        let card = held.card.clone().map_err(StoreError::Corrupt)?;
        Ok((held.clone(), row, card))
    }

    /// Puts a message back without a word in the evidence log: what is not on its card.
    pub fn put(&mut self, mut held: Held, row: Row) {
        let key = key_of(&row);
        held.row = Some(row);
        self.draft.messages.insert(key, held);
    }

    /// Writes a changed message down: row, card, evidence.
    pub fn rewrite(
        &mut self,
        mut held: Held,
        row: Row,
        card: &ProcessCard,
        event: RecordEvent,
        at: Timestamp,
    ) {
        self.log(&row, card, event, at);
        held.card = Ok(card.clone());
        held.rewritten = true;
        self.put(held, row);
    }

    pub fn log(&mut self, row: &Row, card: &ProcessCard, event: RecordEvent, at: Timestamp) {
        let record = Record {
            time: at,
            event,
            message_id: card.id.clone(),
            payload_digest: row.payload_digest,
            card_digest: Digest::of(&card.to_bytes()),
        };
        self.draft.records.push((card.id.key().as_str().to_owned(), record));
    }
}

/// The key under which a row's message is found.
pub fn key_of(row: &Row) -> String {
    MessageId::parse(&row.id).map_or_else(|_| row.id.clone(), |id| id.key().as_str().to_owned())
}
