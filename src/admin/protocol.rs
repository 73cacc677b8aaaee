//! Questions and answers of the local socket.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::account::{Account, AccountName, KeyFingerprint};
use crate::domain::card::ProcessCard;
use crate::domain::dialog::{ConversationId, Dialog};
use crate::domain::message_id::MessageId;
use crate::domain::party::MailboxName;
use crate::domain::profile::ServiceProfile;
use crate::pki::expiry::Role;
use crate::store::{AdminAct, Entry, LoggedRecord, MailboxSummary, MessageQuery, OtherLog, StoreHealth};

/// Raised whenever a question or an answer changes its meaning.
pub const VERSION: u32 = 1;
/// The one path that is served.
pub const PATH: &str = "/admin";
/// A directory of some thousand participants with their certificates fits well.
pub const QUESTION_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    pub version: u32,
    #[serde(flatten)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Accounts and service profiles with their revision.
    Directory,
    /// Replaces the directory if its revision is still `based_on`.
    DirectoryApply {
        based_on: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
        reason: String,
    },
    Mailboxes,
    /// What one mailbox holds.
    Mailbox {
        name: MailboxName,
    },
    Messages {
        query: MessageQuery,
    },
    Message {
        id: MessageId,
    },
    /// Dialogs of OSCI that are open, the one used last first.
    Dialogs {
        limit: u32,
    },
    /// A message with its evidence records.
    Trace {
        id: MessageId,
    },
    MessageAct {
        id: MessageId,
        act: MessageAct,
        reason: String,
    },
    /// The proof file of one message.
    EvidenceExport {
        id: MessageId,
    },
    Health,
    /// A consistent copy into `folder` (absolute, on the server's machine).
    Backup {
        folder: PathBuf,
        reason: String,
    },
    /// Certificates that end within `days`, and those that have ended.
    CertificatesExpiring {
        days: u32,
    },
    /// Writes down what is about to be done to certificates and keys on disk.
    CertificateAct {
        act: CertificateAct,
        object: String,
        reason: String,
    },
    /// Replaces one account for a certificate's sake, if the directory's revision is still `based_on`.
    AccountCertificate {
        based_on: u64,
        account: Box<Account>,
        act: CertificateAct,
        object: String,
        reason: String,
    },
    /// Reads certificates, keys, anchors and participants again: all of it, or nothing changes.
    Reload,
    Acts {
        limit: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateAct {
    Import,
    ImportFailed,
    RollOver,
    RollOverFailed,
}

impl CertificateAct {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "cert import",
            Self::ImportFailed => "cert import failed",
            Self::RollOver => "cert roll-over",
            Self::RollOverFailed => "cert roll-over failed",
        }
    }

    /// What is written down if it came to nothing.
    pub fn failed(self) -> Self {
        match self {
            Self::Import | Self::ImportFailed => Self::ImportFailed,
            Self::RollOver | Self::RollOverFailed => Self::RollOverFailed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageAct {
    Hold,
    Release,
    Cancel,
    Requeue,
}

impl MessageAct {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Cancel => "cancel",
            Self::Requeue => "requeue",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Directory(DirectoryView),
    Mailboxes { mailboxes: Vec<MailboxSummary> },
    Mailbox(MailboxView),
    Messages { entries: Vec<Entry> },
    Message { entry: Box<Entry> },
    Dialogs { dialogs: Vec<DialogView> },
    Trace(Box<TraceView>),
    Card { card: Box<ProcessCard> },
    Evidence { file: Vec<u8> },
    Health(HealthView),
    Done,
    Certificates { certificates: Vec<CertificateEnd> },
    Acts { acts: Vec<AdminAct> },
    Refused(Refused),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// A stable word.
    pub code: String,
    pub sentence: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next_step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryView {
    pub revision: u64,
    pub accounts: Vec<Account>,
    pub profiles: Vec<ServiceProfile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    pub summary: MailboxSummary,
    /// The account that reads it; absent where no identifier leads to it any more.
    pub account: Option<AccountName>,
    /// The oldest entries that are not final.
    pub entries: Vec<Entry>,
}

/// An open dialog, without its challenge: whoever knows that one can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogView {
    pub id: ConversationId,
    pub account: AccountName,
    /// Whether our last answer was encrypted.
    pub encrypted: bool,
    /// Requests since it was opened.
    pub requests: u64,
    /// Handed out in it and not confirmed.
    pub handed_out: Vec<MessageId>,
    pub opened_at: Timestamp,
    pub used_at: Timestamp,
    pub expires_at: Timestamp,
}

impl From<Dialog> for DialogView {
    fn from(dialog: Dialog) -> Self {
        let Dialog { id, account, encrypted, sequence, handed_out, opened_at, used_at, expires_at, .. } =
            dialog;
        Self { id, account, encrypted, requests: sequence, handed_out, opened_at, used_at, expires_at }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    pub entry: Entry,
    /// Of the asked node's log.
    pub records: Vec<LoggedRecord>,
    /// What the logs of other nodes say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<OtherLog>,
    /// Records in the whole log.
    pub log_size: u64,
    /// Records that the latest signed checkpoint covers.
    pub checkpoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    pub server_version: String,
    pub started_at: Timestamp,
    /// Its name among the nodes of a database; absent from a server of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub store: StoreHealth,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEnd {
    /// `server`, the account, or the authority's common name.
    pub owner: String,
    pub role: Role,
    pub subject: String,
    pub key: KeyFingerprint,
    pub not_after: Timestamp,
    /// Whether a certificate that lasts longer stands in for it.
    pub replaced: bool,
}
