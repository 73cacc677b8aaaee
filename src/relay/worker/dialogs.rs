//! What a door with dialogs asks for (OSCI-Transport 1.2): a dialog that is opened and moves on, the next delivery of a
//! mailbox, its hand-out inside the dialog, and the cards of a party.
//!
//! Confirmation is the dialog's: what was handed out becomes received with the dialog's next step, in the store's
//! transaction ([`crate::store::Store::step_dialog`]).

use jiff::Timestamp;

use crate::domain::account::Account;
use crate::domain::card::ProcessCard;
use crate::domain::dialog::{ConversationId, Dialog, DialogStep};
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::{DeliveryState, Event};
use crate::relay::{Refusal, Relay, deliver, route};
use crate::store::{CardQuery, Change, Entry, Listing, Selection, StoreError};

use super::counted;

impl Relay {
    pub async fn open_dialog(&self, dialog: &Dialog) -> Result<(), Refusal> {
        self.store.open_dialog(dialog).await.map_err(|error| counted("dialog", error.into()))?;
        metrics::counter!("amtsbote_dialogs_total", "event" => "opened").increment(1);
        Ok(())
    }

    /// The dialog, if it is not over.
    pub async fn dialog(&self, id: &ConversationId) -> Result<Option<Dialog>, Refusal> {
        self.store.dialog(id, self.now()).await.map_err(|error| counted("dialog", error.into()))
    }

    /// The same with what [`Self::bond`] says of an id that is shown in it.
    pub async fn dialog_and_bond(
        &self,
        id: &ConversationId,
        message: &MessageId,
    ) -> Result<(Option<Dialog>, Option<Bond>), Refusal> {
        let found = self.store.dialog_and_bond(id, message, self.now()).await;
        found.map_err(|error| counted("dialog", error.into()))
    }

    /// Moves a dialog on. [`Refusal::UnknownMessage`] where it stands elsewhere: another request was faster, or this is
    /// a replay.
    pub async fn step_dialog(&self, step: &DialogStep) -> Result<(), Refusal> {
        let received = self.store.step_dialog(step).await.map_err(|error| counted("dialog", error.into()))?;
        self.stepped(step, &received);
        Ok(())
    }

    /// What follows from a step that the store has made.
    pub(super) fn stepped(&self, step: &DialogStep, received: &[ProcessCard]) {
        for card in received {
            metrics::counter!("amtsbote_received_total", "by" => "dialog").increment(1);
            tracing::info!(message_id = %card.id, "received");
            self.wake_destination(&card.mailbox);
        }
        if step.challenge_next.is_none() {
            metrics::counter!("amtsbote_dialogs_total", "event" => "closed").increment(1);
        }
    }

    /// What is offered in one mailbox of the asker's behind a place in it, oldest entry first.
    pub async fn list_mailbox(
        &self,
        who: &Account,
        owner: &PartyIdentifier,
        selection: Selection,
        after: u64,
        limit: u32,
    ) -> Result<Listing, Refusal> {
        self.list(who, Some(owner), selection, after, limit).await
    }

    /// A message that was received before and is still kept; its reader may look at it again.
    pub async fn received_before(
        &self,
        who: &Account,
        owner: &PartyIdentifier,
        id: &MessageId,
    ) -> Result<Option<Entry>, Refusal> {
        let mailboxes = route::mailboxes(who, Some(owner))?;
        match self.store.find(id).await {
            Ok(entry)
                if entry.card.state == DeliveryState::Received
                    && entry.has_payload
                    && deliver::reader_sees(&mailboxes, &entry.card) =>
            {
                Ok(Some(entry))
            }
            Ok(_) | Err(StoreError::Unknown) => Ok(None),
            Err(error) => Err(counted("fetch", error.into())),
        }
    }

    /// Hands a message out in a dialog; the dialog's next step confirms it.
    pub async fn hand_out_in_dialog(
        &self,
        who: &Account,
        owner: &PartyIdentifier,
        dialog: (&ConversationId, u64),
        id: &MessageId,
    ) -> Result<ProcessCard, Refusal> {
        let change = Change {
            id: id.clone(),
            event: Event::HandedOut,
            at: self.now(),
            by: Some(who.name.to_string()),
            reason: None,
            finding: None,
            only_in: Some(route::mailboxes(who, Some(owner))?),
            only_posted_by: None,
            only_if_due: None,
            deadlines: None,
        };
        let (conversation, sequence) = dialog;
        let card = match self.store.hand_out_in_dialog(conversation, sequence, change).await {
            Ok(card) => card,
            Err(StoreError::Denied(_)) => return Err(counted("hand-out", Refusal::UnknownMessage)),
            Err(error) => return Err(counted("hand-out", error.into())),
        };
        metrics::counter!("amtsbote_handed_out_total").increment(1);
        tracing::info!(message_id = %id, account = %who.name, "handed out");
        Ok(card)
    }

    /// Cards of messages that `party` wrote or reads, the newest first.
    pub async fn cards(
        &self,
        who: &Account,
        party: &PartyIdentifier,
        mut query: CardQuery,
    ) -> Result<(Vec<Entry>, bool), Refusal> {
        route::own(who, party).map_err(|refusal| counted("cards", refusal))?;
        query.account = who.name.clone();
        query.author = party.value().to_owned();
        query.mailbox = MailboxName::parse(party.value())
            .map_err(|_| Refusal::NotYourIdentifier { claimed: party.value().to_owned() })?;
        query.limit = query.limit.min(self.settings.limits.list_items_max);
        self.store.cards(&query).await.map_err(|error| counted("cards", error.into()))
    }

    /// Dialogs that are open, for the operator.
    pub async fn dialogs(&self, limit: u32) -> Result<Vec<Dialog>, Refusal> {
        let now: Timestamp = self.now();
        Ok(self.store.dialogs(now, limit).await?)
    }
}
