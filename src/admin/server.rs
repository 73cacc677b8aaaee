//! The server's side of the local socket: who asks, may he, do it, write down who and why.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;

use super::protocol::{
    Answer, CertificateAct, CertificateEnd, DialogView, DirectoryView, HealthView, MailboxView, MessageAct,
    PATH, QUESTION_BYTES_MAX, Question, Refused, TraceView, VERSION, Verb,
};
use crate::clock::Clock;
use crate::domain::account::Account;
use crate::domain::message_id::MessageId;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::profile::ServiceProfile;
use crate::domain::state::DeliveryState;
use crate::net::{Body, LocalHandler, LocalPeer, full};
use crate::pki::expiry::{self, Dependence};
use crate::relay::{Refusal, Relay};
use crate::report::{CorrelationId, Failure};
use crate::store::{AdminAct, MailboxSummary, MessageQuery, Store, StoreError};

/// Entries that one listing shows at most.
const ENTRIES_MAX: u32 = 10_000;
/// Oldest entries shown with a mailbox.
const MAILBOX_ENTRIES: u32 = 100;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's own user.
    pub own_uid: u32,
    /// Further users that may administrate; root may always.
    pub uids: Vec<u32>,
    pub server_version: String,
    /// Its name among the nodes of a database.
    pub node: Option<String>,
}

/// The certificates that the post office depends on, asked anew each time because a reload replaces them.
pub type DependedOn = Arc<dyn Fn() -> Vec<Dependence> + Send + Sync>;

/// Takes over what was changed on disk, and changes nothing if any of it cannot be used.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

pub struct Server {
    store: Arc<dyn Store>,
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    depended_on: DependedOn,
    settings: Settings,
    started_at: Timestamp,
    reload: Option<Reload>,
}

impl Server {
    pub fn new(
        store: Arc<dyn Store>,
        relay: Arc<Relay>,
        clock: Arc<dyn Clock>,
        depended_on: DependedOn,
        settings: Settings,
    ) -> Self {
        let started_at = clock.now();
        Self { store, relay, clock, depended_on, settings, started_at, reload: None }
    }

    pub fn with_reload(self, reload: Reload) -> Self {
        Self { reload: Some(reload), ..self }
    }

    fn may_administrate(&self, uid: u32) -> bool {
        uid == 0 || uid == self.settings.own_uid || self.settings.uids.contains(&uid)
    }

    async fn answer(&self, verb: Verb, by: &str) -> Result<Answer, Refused> {
        match verb {
            Verb::Directory => self.directory().await,
            Verb::DirectoryApply { based_on, accounts, profiles, reason } => {
                self.apply(based_on, accounts, profiles, by, reason).await
            }
            Verb::Mailboxes => {
                let mailboxes = self.store.mailboxes().await.map_err(refused_by_store)?;
                Ok(Answer::Mailboxes { mailboxes: self.with_empty_ones(mailboxes) })
            }
            Verb::Mailbox { name } => self.mailbox(name).await,
            Verb::Messages { mut query } => {
                query.limit = query.limit.clamp(1, ENTRIES_MAX);
                let entries = self.store.messages(&query).await.map_err(refused_by_store)?;
                Ok(Answer::Messages { entries })
            }
            Verb::Message { id } => {
                let entry = self.store.find(&id).await.map_err(|error| missing(error, &id))?;
                Ok(Answer::Message { entry: Box::new(entry) })
            }
            Verb::Dialogs { limit } => {
                let dialogs =
                    self.relay.dialogs(limit.clamp(1, ENTRIES_MAX)).await.map_err(refused_by_relay)?;
                Ok(Answer::Dialogs { dialogs: dialogs.into_iter().map(DialogView::from).collect() })
            }
            Verb::Trace { id } => self.trace(&id).await,
            Verb::MessageAct { id, act, reason } => self.act(&id, act, by, reason).await,
            Verb::EvidenceExport { id } => self.evidence(&id).await,
            Verb::Health => {
                let store = self.store.health().await.map_err(refused_by_store)?;
                let server_version = self.settings.server_version.clone();
                let node = self.settings.node.clone();
                Ok(Answer::Health(HealthView { server_version, started_at: self.started_at, node, store }))
            }
            Verb::Backup { folder, reason } => self.backup(&folder, by, reason).await,
            Verb::CertificatesExpiring { days } => {
                let before = ServiceProfile::after_days(self.clock.now(), days);
                let mut certificates = self.certificate_ends();
                certificates.retain(|end| end.not_after <= before);
                Ok(Answer::Certificates { certificates })
            }
            Verb::CertificateAct { act, object, reason } => {
                let act = self.write_down(act.as_str(), object, by, reason)?;
                self.store.record_act(act).await.map_err(refused_by_store)?;
                Ok(Answer::Done)
            }
            Verb::AccountCertificate { based_on, account, act, object, reason } => {
                self.replace_account(based_on, *account, act, object, by, reason).await
            }
            Verb::Reload => self.reload().await,
            Verb::Acts { limit } => {
                let acts = self.store.acts(limit.clamp(1, ENTRIES_MAX)).await.map_err(refused_by_store)?;
                Ok(Answer::Acts { acts })
            }
        }
    }

    async fn directory(&self) -> Result<Answer, Refused> {
        let directory = self.store.directory().await.map_err(refused_by_store)?;
        Ok(Answer::Directory(DirectoryView {
            revision: directory.revision(),
            accounts: directory.accounts().cloned().collect(),
            profiles: directory.profiles().cloned().collect(),
        }))
    }

    async fn apply(
        &self,
        based_on: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
        by: &str,
        reason: String,
    ) -> Result<Answer, Refused> {
        let object = format!("{} accounts, {} profiles", accounts.len(), profiles.len());
        let act = self.write_down("participant apply", object, by, reason)?;
        let directory =
            self.store.apply_directory(based_on, accounts, profiles, act).await.map_err(refused_by_store)?;
        self.relay.reload_changed_directory().await.map_err(refused_by_relay)?;
        Ok(Answer::Directory(DirectoryView {
            revision: directory.revision(),
            accounts: directory.accounts().cloned().collect(),
            profiles: directory.profiles().cloned().collect(),
        }))
    }

    async fn replace_account(
        &self,
        based_on: u64,
        account: Account,
        act: CertificateAct,
        object: String,
        by: &str,
        reason: String,
    ) -> Result<Answer, Refused> {
        let act = self.write_down(act.as_str(), object, by, reason)?;
        let directory = self.store.directory().await.map_err(refused_by_store)?;
        let mut accounts: Vec<Account> = directory.accounts().cloned().collect();
        let Some(place) = accounts.iter_mut().find(|one| one.name == account.name) else {
            let sentence = format!("there is no participant {}", account.name);
            return Err(refused("unknown-participant", sentence, "`amtsbote participant list` names them"));
        };
        *place = account;
        let profiles = directory.profiles().cloned().collect();
        self.store.apply_directory(based_on, accounts, profiles, act).await.map_err(refused_by_store)?;
        self.relay.reload_changed_directory().await.map_err(refused_by_relay)?;
        Ok(Answer::Done)
    }

    async fn reload(&self) -> Result<Answer, Refused> {
        let next = "run `amtsbote check`";
        let Some(reload) = &self.reload else {
            return Err(refused("no-reload", "this server cannot reload".to_owned(), "restart it"));
        };
        match reload().await {
            Ok(()) => Ok(Answer::Done),
            Err(why) => {
                let sentence = format!("nothing was reloaded; the server goes on as before: {why}");
                Err(refused("reload-failed", sentence, next))
            }
        }
    }

    /// A participant's mailbox exists before its first message.
    fn with_empty_ones(&self, found: Vec<MailboxSummary>) -> Vec<MailboxSummary> {
        let mut all: BTreeMap<MailboxName, MailboxSummary> =
            found.into_iter().map(|summary| (summary.name.clone(), summary)).collect();
        for name in self.relay.directory().accounts().flat_map(Account::mailboxes) {
            all.entry(name.clone()).or_insert_with(|| empty(name));
        }
        all.into_values().collect()
    }

    async fn mailbox(&self, name: MailboxName) -> Result<Answer, Refused> {
        let all = self.with_empty_ones(self.store.mailboxes().await.map_err(refused_by_store)?);
        let summary = all.into_iter().find(|summary| summary.name == name).ok_or_else(|| {
            refused(
                "unknown-mailbox",
                format!("there is no mailbox {name}"),
                "`amtsbote mailbox list` names them",
            )
        })?;
        let account = PartyIdentifier::new(name.as_str()).ok().and_then(|identifier| {
            self.relay.directory().account_by_identifier(&identifier).map(|account| account.name.clone())
        });
        let query = MessageQuery {
            states: vec![
                DeliveryState::Held,
                DeliveryState::Waiting,
                DeliveryState::HandedOut,
                DeliveryState::Dead,
            ],
            mailbox: Some(name),
            limit: MAILBOX_ENTRIES,
            ..MessageQuery::default()
        };
        let entries = self.store.messages(&query).await.map_err(refused_by_store)?;
        Ok(Answer::Mailbox(MailboxView { summary, account, entries }))
    }

    async fn trace(&self, id: &MessageId) -> Result<Answer, Refused> {
        let entry = self.store.find(id).await.map_err(|error| missing(error, id))?;
        let records = self.store.evidence_of(id).await.map_err(refused_by_store)?;
        let elsewhere = self.store.evidence_elsewhere(id).await.map_err(refused_by_store)?;
        let log_size = self.store.evidence_size().await.map_err(refused_by_store)?;
        let checkpoint = self.store.checkpoint(None).await.map_err(refused_by_store)?;
        Ok(Answer::Trace(Box::new(TraceView { entry, records, elsewhere, log_size, checkpoint })))
    }

    async fn act(
        &self,
        id: &MessageId,
        act: MessageAct,
        by: &str,
        reason: String,
    ) -> Result<Answer, Refused> {
        // The relay records the act; here only a missing reason is caught.
        let AdminAct { reason, .. } = self.write_down(act.as_str(), id.to_string(), by, reason)?;
        let card = match act {
            MessageAct::Hold => self.relay.hold(id, by, &reason).await,
            MessageAct::Release => self.relay.release(id, by, &reason).await,
            MessageAct::Cancel => self.relay.cancel_as_operator(id, by, &reason).await,
            MessageAct::Requeue => self.relay.requeue(id, by, &reason).await,
        };
        let card = card.map_err(|refusal| match refusal {
            Refusal::UnknownMessage => missing(StoreError::Unknown, id),
            other => refused_by_relay(other),
        })?;
        Ok(Answer::Card { card: Box::new(card) })
    }

    async fn evidence(&self, id: &MessageId) -> Result<Answer, Refused> {
        let file = self.relay.export_evidence(id).await.map_err(|refusal| match refusal {
            Refusal::UnknownMessage => missing(StoreError::Unknown, id),
            other => refused_by_relay(other),
        })?;
        Ok(Answer::Evidence { file })
    }

    /// Copies hold every message, so that making one is written down as well.
    async fn backup(&self, folder: &Path, by: &str, reason: String) -> Result<Answer, Refused> {
        let next = "name an absolute path of a folder that is empty or does not exist";
        if !folder.is_absolute() {
            return Err(refused("relative-folder", "the folder's path is not absolute".to_owned(), next));
        }
        let begun = self.write_down("store backup", folder.display().to_string(), by, reason)?;
        let (object, by) = (begun.object.clone(), begun.by.clone());
        // Before the first byte is copied: one that breaks off, or dies with the server, has left messages as well.
        self.store.record_act(begun).await.map_err(refused_by_store)?;
        let Err(error) = self.store.backup(folder).await else { return Ok(Answer::Done) };
        let act = "store backup failed".to_owned();
        let failed = AdminAct { at: self.clock.now(), by, act, object, reason: error.to_string() };
        if let Err(error) = self.store.record_act(failed).await {
            tracing::error!(%error, "that a copy failed could not be written down");
        }
        Err(refused_by_store(error))
    }

    fn certificate_ends(&self) -> Vec<CertificateEnd> {
        let all = (self.depended_on)();
        let last = expiry::place_ends(&all);
        let mut ends: Vec<CertificateEnd> = all
            .into_iter()
            .zip(last)
            .map(|(one, last)| CertificateEnd {
                owner: one.owner,
                role: one.role,
                subject: one.certificate.subject().to_owned(),
                key: one.certificate.key_fingerprint(),
                not_after: one.certificate.not_after(),
                replaced: last > one.certificate.not_after(),
            })
            .collect();
        ends.sort_by_key(|end| end.not_after);
        ends
    }

    fn write_down(&self, act: &str, object: String, by: &str, reason: String) -> Result<AdminAct, Refused> {
        let reason = reason.trim().to_owned();
        if reason.is_empty() {
            return Err(refused(
                "no-reason",
                "every change is recorded with a reason".to_owned(),
                "give --reason",
            ));
        }
        Ok(AdminAct { at: self.clock.now(), by: by.to_owned(), act: act.to_owned(), object, reason })
    }

    async fn converse(&self, request: Request<Body>, peer: LocalPeer) -> (StatusCode, Answer) {
        let bad = |status, code, sentence: String| (status, Answer::Refused(refused(code, sentence, "")));
        if !self.may_administrate(peer.uid) {
            tracing::warn!(
                code = "admin-forbidden",
                uid = peer.uid,
                next_step = "add the uid to server.admin_uids if it should be allowed",
                "a user without the right tried to administrate"
            );
            let sentence = format!("user id {} may not administrate this server", peer.uid);
            return bad(StatusCode::FORBIDDEN, "forbidden", sentence);
        }
        if request.method() != Method::POST || request.uri().path() != PATH {
            return bad(StatusCode::NOT_FOUND, "unknown-path", "only questions are answered here".to_owned());
        }
        let body = match Limited::new(request.into_body(), QUESTION_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return bad(StatusCode::BAD_REQUEST, "unreadable", error.to_string()),
        };
        let question: Question = match serde_json::from_slice(&body) {
            Ok(question) => question,
            Err(error) => return bad(StatusCode::BAD_REQUEST, "unreadable", error.to_string()),
        };
        if question.version != VERSION {
            let sentence = format!(
                "the command line speaks version {} of this conversation, the server version {VERSION}",
                question.version
            );
            return bad(StatusCode::BAD_REQUEST, "other-version", sentence);
        }
        match self.answer(question.verb, &operator(peer.uid)).await {
            Ok(answer) => (StatusCode::OK, answer),
            Err(refused) => (StatusCode::CONFLICT, Answer::Refused(refused)),
        }
    }
}

#[async_trait]
impl LocalHandler for Server {
    fn admits(&self, peer: LocalPeer) -> bool {
        self.may_administrate(peer.uid)
    }

    async fn handle(&self, request: Request<Body>, peer: LocalPeer) -> Response<Body> {
        let (status, answer) = self.converse(request, peer).await;
        let body = serde_json::to_vec(&answer).unwrap_or_default();
        let mut response = Response::new(full(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }
}

fn empty(name: MailboxName) -> MailboxSummary {
    MailboxSummary {
        name,
        held: 0,
        waiting: 0,
        handed_out: 0,
        dead: 0,
        bytes_waiting: 0,
        oldest_waiting_at: None,
    }
}

fn refused(code: &str, sentence: String, next_step: &str) -> Refused {
    Refused { code: code.to_owned(), sentence, next_step: next_step.to_owned() }
}

fn missing(error: StoreError, id: &MessageId) -> Refused {
    match error {
        StoreError::Unknown => refused(
            "unknown-message",
            format!("there is no message {id}"),
            "`amtsbote message list` names them",
        ),
        other => refused_by_store(other),
    }
}

fn refused_by_store(error: StoreError) -> Refused {
    match error {
        StoreError::Outdated { .. } => {
            refused("outdated", error.to_string(), "look at the difference again and apply once more")
        }
        // An operator is told what a peer is not.
        StoreError::Unavailable(_) | StoreError::Corrupt(_) | StoreError::Payload(_) => {
            refused("store", error.to_string(), "see the server's log")
        }
        other => refused_by_relay(Refusal::from(other)),
    }
}

fn refused_by_relay(refusal: Refusal) -> Refused {
    let failure = Failure::from(refusal);
    if failure.loudness == crate::report::Loudness::Error {
        failure.log(CorrelationId::random());
    }
    let sentence = match failure.detail.as_str() {
        "" => failure.sentence,
        detail => format!("{}: {detail}", failure.sentence),
    };
    refused(failure.code, sentence, &failure.next_step)
}

/// The user's name as the machine knows it. Names from a network directory show as numbers.
pub fn operator(uid: u32) -> String {
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|table| name_in(&table, uid));
    named.unwrap_or_else(|| format!("uid {uid}"))
}

fn name_in(table: &str, uid: u32) -> Option<String> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_where_the_machine_names_them() {
        let table = "root:x:0:0:root:/root:/bin/sh\nbroken\npost:x:1000:1000::/home/post:/bin/sh\n";
        for (uid, expected) in [(0, Some("root")), (1000, Some("post")), (7, None)] {
            assert_eq!(name_in(table, uid).as_deref(), expected);
        }
    }
}
