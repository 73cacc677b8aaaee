//! What operators do to single messages. Each act is recorded with who and why, and stands on the process card.

use crate::domain::card::ProcessCard;
use crate::domain::message_id::MessageId;
use crate::domain::state::Event;
use crate::relay::{Refusal, Relay, accept};
use crate::store::{AdminAct, Change, Deadlines};

use super::counted;

impl Relay {
    /// Takes a message out of its mailbox for the time being.
    pub async fn hold(&self, id: &MessageId, by: &str, reason: &str) -> Result<ProcessCard, Refusal> {
        self.operate(id, Event::HeldByOperator, "message hold", by, reason, None).await
    }

    /// Lets a held message go, also one that waits for its NotBefore.
    pub async fn release(&self, id: &MessageId, by: &str, reason: &str) -> Result<ProcessCard, Refusal> {
        self.operate(id, Event::Released, "message release", by, reason, None).await
    }

    pub async fn cancel_as_operator(
        &self,
        id: &MessageId,
        by: &str,
        reason: &str,
    ) -> Result<ProcessCard, Refusal> {
        self.operate(id, Event::CancelledByOperator, "message cancel", by, reason, None).await
    }

    /// Puts a dead, expired or cancelled message back into its mailbox, with all its time anew; but not a portal's
    /// submission that was rejected by its end.
    pub async fn requeue(&self, id: &MessageId, by: &str, reason: &str) -> Result<ProcessCard, Refusal> {
        let entry = self.store.find(id).await?;
        if !entry.has_payload {
            let what = "its payload has been deleted, there is nothing left to deliver".to_owned();
            return Err(Refusal::ParameterInvalid { what });
        }
        if entry.card.is_told_rejected() {
            let what =
                "its portal was told that it is rejected; ask the sender to submit it again".to_owned();
            return Err(Refusal::ParameterInvalid { what });
        }
        let profile = self.profile_of(&entry.card.door, &entry.envelope);
        let deadlines = accept::deadlines_again(&entry.envelope, &profile, self.now());
        self.operate(id, Event::Requeued, "message requeue", by, reason, Some(deadlines)).await
    }

    async fn operate(
        &self,
        id: &MessageId,
        event: Event,
        act: &'static str,
        by: &str,
        reason: &str,
        deadlines: Option<Deadlines>,
    ) -> Result<ProcessCard, Refusal> {
        let at = self.now();
        let change = Change {
            id: id.clone(),
            event,
            at,
            by: Some(by.to_owned()),
            reason: Some(reason.to_owned()),
            finding: None,
            only_in: None,
            only_posted_by: None,
            only_if_due: None,
            deadlines,
        };
        let card =
            self.store.change(change).await.map_err(|error| counted("operator", Refusal::from(error)))?;
        // The card names who and why in the same transaction; the list of acts repeats it for the overview. A crash
        // between the two leaves the card as the record.
        let record = AdminAct {
            at,
            by: by.to_owned(),
            act: act.to_owned(),
            object: id.to_string(),
            reason: reason.to_owned(),
        };
        // Before the list, which may fail: the message is changed, and neither it nor its log line waits for more.
        self.add_deadline();
        self.wake_destination(&card.mailbox);
        metrics::counter!("amtsbote_operator_acts_total", "act" => act).increment(1);
        tracing::info!(message_id = %id, act, state = %card.state, "changed by an operator");
        self.store.record_act(record).await?;
        Ok(card)
    }
}
