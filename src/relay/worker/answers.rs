//! The synchronous exchange (XTA: sendMessageSync): the author waits on his connection for the reader's answer.
//!
//! The answer is an ordinary message, In-Reply-To ours and addressed to our author. It is handed out as part of the
//! exchange, and received once its last byte has gone out to the author ([`Relay::receive_answer`]); until then it lies
//! in his mailbox like any other. Which one it was is remembered in the store for a day, so that an author whose
//! connection broke gets the same answer when he sends the same message again. Notices, inside this process and of other
//! nodes, are only the fast way; the store is asked at intervals too, for a notice may be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::account::Account;
use crate::domain::card::ProcessCard;
use crate::domain::message_id::{MessageId, MessageKey};
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::profile::ServiceProfile;
use crate::domain::state::{DeliveryState, Event};
use crate::relay::accept::Manner;
use crate::relay::{Refusal, Relay, Submission, route};
use crate::store::{Entry, Iterator, Notice, Selection};

use super::counted;

/// Messages of the reader that relate to one question and are looked at together.
const ANSWERS_PAGE: u32 = 64;

/// Authors who wait, by the key of the message that they sent.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<MessageKey, Arc<Notify>>>);

impl Waiting {
    fn held(&self) -> MutexGuard<'_, HashMap<MessageKey, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn enter(&self, id: &MessageId) -> Waiter<'_> {
        let notify = self.held().entry(id.key()).or_default().clone();
        Waiter { waiting: self, key: id.key(), notify }
    }

    /// A message came in that answers these.
    pub(super) fn answered(&self, ids: &[MessageId]) {
        if ids.is_empty() {
            return;
        }
        let held = self.held();
        ids.iter().filter_map(|id| held.get(&id.key())).for_each(|notify| notify.notify_waiters());
    }

    /// Whoever waits looks whether he has waited long enough.
    pub(super) fn all(&self) {
        self.held().values().for_each(|notify| notify.notify_waiters());
    }
}

/// Leaves the table when the author has gone, however he went.
struct Waiter<'a> {
    waiting: &'a Waiting,
    key: MessageKey,
    notify: Arc<Notify>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut held = self.waiting.held();
        // The table's own reference and ours: nobody else waits.
        if Arc::strong_count(&self.notify) <= 2 {
            held.remove(&self.key);
        }
    }
}

/// A reader's answer on its way to the author who waits for it.
#[derive(Debug, Clone)]
pub struct Reply {
    pub entry: Entry,
    question: MessageId,
    mailbox: MailboxName,
}

impl Relay {
    /// A message came in that answers these; their authors may wait here or at another node.
    pub(super) fn tell_answered(&self, ids: &[MessageId]) {
        self.waiting.answered(ids);
        ids.iter().for_each(|id| self.store.tell(Notice::Answered(id.clone())));
    }

    /// Accepts like [`Relay::accept`] and returns the reader's answer, handed out. On [`Refusal::NoAnswerInTime`] the
    /// message stays accepted, and a later answer waits in the author's mailbox.
    pub async fn accept_and_wait(&self, who: &Account, submission: Submission) -> Result<Reply, Refusal> {
        let id = submission.envelope.id.clone();
        let author = submission.envelope.author.identifier.clone();
        let reader = submission.envelope.reader.identifier.clone();
        let waiter = self.waiting.enter(&id);
        let (.., profile) = self.accept_in(who, submission, Manner::Synchronous).await?;
        // A repeated message is answered as before even where its author has since lost the identifier, and the
        // mailbox with it.
        route::own(who, &author).map_err(|refusal| counted("answer", refusal))?;
        let mailbox = MailboxName::parse(author.value())
            .map_err(|_| Refusal::NotYourIdentifier { claimed: author.value().to_owned() })?;
        let seconds = profile.synchronous_wait_seconds;
        let until = Instant::now() + Duration::from_secs(u64::from(seconds));
        loop {
            // Registered before the store is asked, so that no answer falls between the two.
            let notice = waiter.notify.notified();
            tokio::pin!(notice);
            notice.as_mut().enable();
            if let Some(entry) = self.take_answer(who, &id, &reader, &mailbox).await? {
                return Ok(Reply { entry, question: id, mailbox });
            }
            let now = Instant::now();
            if now >= until {
                return Err(counted("answer", Refusal::NoAnswerInTime { id, seconds }));
            }
            let poll = (now + self.settings.answer_poll_interval).min(until);
            let _ = tokio::time::timeout_at(poll, notice).await;
        }
    }

    async fn take_answer(
        &self,
        who: &Account,
        id: &MessageId,
        reader: &PartyIdentifier,
        mailbox: &MailboxName,
    ) -> Result<Option<Entry>, Refusal> {
        let memo = format!("answer-to:{}", id.key().as_str());
        if let Some(taken) = self.store.load_iterator(&memo, &who.name, self.now()).await?
            && let Some(answer) = taken.handed_out.first()
        {
            let answer = answer.clone();
            return self.hand_out_answer(who, mailbox, &answer).await.map(Some);
        }
        let Some((answer, selection)) = self.find_answer(id, reader, mailbox).await? else {
            return Ok(None);
        };
        // First the memory, then the change: a crash between the two repeats the hand-out, never loses the answer.
        let taken = Iterator {
            id: memo,
            account: who.name.clone(),
            selection,
            position: 0,
            handed_out: vec![answer.clone()],
            page_size: 0,
            expires_at: ServiceProfile::after_days(self.now(), 1),
        };
        self.store.save_iterator(&taken).await?;
        self.hand_out_answer(who, mailbox, &answer).await.map(Some)
    }

    /// Whoever learns the id may relate to it; only the reader that was asked can answer. However many messages of
    /// others relate to the question, they are neither read nor counted.
    async fn find_answer(
        &self,
        id: &MessageId,
        reader: &PartyIdentifier,
        mailbox: &MailboxName,
    ) -> Result<Option<(MessageId, Selection)>, Refusal> {
        let asked = self.directory().account_by_identifier(reader).map(|account| account.name.clone());
        let selection = Selection {
            mailboxes: vec![mailbox.clone()],
            relates_to: vec![id.clone()],
            posted_by: asked,
            ..Selection::default()
        };
        let mut after = 0;
        loop {
            let listing = self.store.list(&selection, after, ANSWERS_PAGE).await?;
            let Some(last) = listing.entries.last().map(|entry| entry.sequence) else { return Ok(None) };
            let mut answers = listing.entries.into_iter();
            if let Some(answer) = answers.find(|entry| entry.envelope.author.identifier.matches(reader)) {
                return Ok(Some((answer.envelope.id, selection)));
            }
            after = last;
        }
    }

    async fn hand_out_answer(
        &self,
        who: &Account,
        mailbox: &MailboxName,
        answer: &MessageId,
    ) -> Result<Entry, Refusal> {
        let mut entry = self.store.find(answer).await?;
        if entry.card.mailbox != *mailbox {
            return Err(Refusal::UnknownMessage);
        }
        if entry.card.state == DeliveryState::Received {
            return Ok(entry);
        }
        match self.by_reader(who, vec![mailbox.clone()], answer, Event::HandedOut).await {
            Ok(card) => entry.card = card,
            // The same author, waiting on a second connection, was faster; it is the same exchange.
            Err(Refusal::UnknownMessage) => {
                entry = self.store.find(answer).await?;
                if entry.card.state != DeliveryState::Received {
                    return Err(Refusal::UnknownMessage);
                }
            }
            Err(refusal) => return Err(refusal),
        }
        Ok(entry)
    }

    /// The answer's last byte has gone out: it is received. Saying it twice is harmless.
    pub async fn receive_answer(&self, who: &Account, reply: &Reply) -> Result<ProcessCard, Refusal> {
        let answer = &reply.entry.envelope.id;
        let before = self.store.find(answer).await?.card;
        let card = self.by_reader(who, vec![reply.mailbox.clone()], answer, Event::Received).await?;
        if before.received_at.is_none() {
            metrics::counter!("amtsbote_received_total", "by" => "exchange").increment(1);
            tracing::info!(message_id = %answer, answers = %reply.question, account = %who.name, "received as an answer");
            self.wake_destination(&card.mailbox);
        }
        Ok(card)
    }
}
