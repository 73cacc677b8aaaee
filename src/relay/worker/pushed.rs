//! What becomes of messages that a door pushes itself while their author waits (OSCI-Transport 1.2: forwardDelivery,
//! mediateDelivery); how they are pushed is the door's. (Pushes of what waits in mailboxes are in `push`.)
//!
//! Such a message is held from its acceptance until the outcome of its push is known. The recipient's yes is one change
//! of the store ([`crate::store::Store::finish_push`]), so that reception is never written without it and a process that
//! ends in between leaves no half of it. A no cancels the message. Where nobody can say whether the recipient took it,
//! or the process ended before it could be said, the message stays held and an operator decides: release puts it into
//! the recipient's mailbox, cancel ends it.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::account::Account;
use crate::domain::card::{Finding, ProcessCard, Severity};
use crate::domain::message_id::MessageId;
use crate::domain::state::Event;
use crate::relay::accept::{self, Content, Manner, Situation};
use crate::relay::{Refusal, Relay, Submission};
use crate::store::{Acceptance, Accepted, Change, FinishedPush};

use super::counted;

impl Relay {
    /// Accepts a message that is to be pushed at once, which takes `time_max` at most.
    pub async fn accept_to_push(
        &self,
        who: &Account,
        submission: Submission,
        time_max: Duration,
    ) -> Result<(Accepted, ProcessCard), Refusal> {
        let manner = Manner::Pushed { time_max };
        self.accept_in(who, submission, manner).await.map(|(accepted, card, _)| (accepted, card))
    }

    /// The recipient took the message, and perhaps replied. The reply is his account's message to the author; if it
    /// cannot be accepted nothing is written, and the caller may finish without it. A message that was over meanwhile
    /// (cancelled by an operator) stays so, with a finding; the reply is accepted all the same.
    pub async fn finish_push(
        &self,
        id: &MessageId,
        forwarded_at: Timestamp,
        recipient: &Account,
        reply: Option<Submission>,
    ) -> Result<ProcessCard, Refusal> {
        let reply = reply.map(|reply| self.reply(recipient, reply)).transpose()?;
        let answers = reply.as_ref().map(|reply| (reply.card.clone(), reply.envelope.in_reply_to.clone()));
        let by = recipient.name.clone();
        let push = FinishedPush { id: id.clone(), forwarded_at, received_at: self.now(), by, reply };
        let card = self.store.finish_push(push).await.map_err(|error| counted("push", error.into()))?;
        if card.received_at.is_some() {
            metrics::counter!("amtsbote_received_total", "by" => "push").increment(1);
            tracing::info!(message_id = %id, account = %recipient.name, "received by a push");
        } else {
            tracing::warn!(message_id = %id, account = %recipient.name, state = %card.state, "taken by a push, and over here before that was known");
        }
        if let Some((reply, questions)) = answers {
            metrics::counter!("amtsbote_accepted_total", "door" => reply.door.clone(), "again" => "false")
                .increment(1);
            tracing::info!(message_id = %reply.id, account = %recipient.name, bytes = reply.payload_bytes, "accepted as the reply to a push");
            self.tell_answered(&questions);
            self.wake_destination(&reply.mailbox);
        }
        Ok(card)
    }

    fn reply(&self, who: &Account, submission: Submission) -> Result<Acceptance, Refusal> {
        let directory = self.directory();
        let Submission { envelope, manifest, payload, request_digest, door, certificates } = submission;
        let content = Content { manifest: &manifest, length: payload.length, digest: payload.digest };
        let situation = Situation {
            directory: &directory,
            profile_default: &self.settings.profile_default,
            limits: &self.settings.limits,
            now: self.now(),
            door,
            manner: Manner::Answer,
        };
        let decision = accept::decide(who, &envelope, content, certificates, situation)
            .map_err(|refusal| counted("accept", refusal))?;
        Ok(Acceptance {
            envelope,
            manifest,
            payload,
            request_digest,
            // Its id was issued for it here.
            announced_only: true,
            card: decision.card,
            deadlines: decision.deadlines,
        })
    }

    /// The recipient did not take the message, or certainly never saw it: it is over, unless an operator has let it go
    /// into the mailbox meanwhile. Then its card says so and it stays there.
    pub async fn decline_push(&self, id: &MessageId, reason: &str) -> Result<ProcessCard, Refusal> {
        let words = format!("its recipient did not take it: {reason}");
        let finding = self.finding(Severity::Error, "push-declined", reason);
        match self.end_push(id, Event::Declined, words, finding.clone()).await {
            Err(Refusal::StateForbids { .. }) => {
                let words = format!("pushed in vain, and left where an operator put it: {reason}");
                self.end_push(id, Event::PushFailed, words, finding).await
            }
            ended => ended,
        }
    }

    /// Nobody can say whether the recipient took the message: it stays held, and its card says why.
    pub async fn leave_push_open(&self, id: &MessageId, reason: &str) -> Result<ProcessCard, Refusal> {
        let finding = self.finding(Severity::Warning, "push-open", reason);
        self.end_push(id, Event::PushFailed, reason.to_owned(), finding).await
    }

    fn finding(&self, severity: Severity, code: &str, reason: &str) -> Finding {
        Finding { at: self.now(), severity, code: code.to_owned(), reason: reason.to_owned() }
    }

    async fn end_push(
        &self,
        id: &MessageId,
        event: Event,
        reason: String,
        finding: Finding,
    ) -> Result<ProcessCard, Refusal> {
        let code = finding.code.clone();
        let change = Change {
            id: id.clone(),
            event,
            at: finding.at,
            by: None,
            reason: Some(reason),
            finding: Some(finding),
            only_in: None,
            only_posted_by: None,
            only_if_due: None,
            deadlines: None,
        };
        let card = self.store.change(change).await.map_err(|error| counted("push", error.into()))?;
        tracing::info!(message_id = %id, state = %card.state, code, "a push ended without a yes");
        Ok(card)
    }
}
