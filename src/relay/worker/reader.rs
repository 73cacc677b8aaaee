//! What readers ask for: what lies in the mailbox, a message, its parts; and their confirmation.

use crate::domain::account::Account;
use crate::domain::card::{Finding, ProcessCard};
use crate::domain::content::Part;
use crate::domain::destination::DestinationId;
use crate::domain::message_id::MessageId;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::Event;
use crate::relay::{Refusal, Relay, deliver, route};
use crate::store::{
    Change, Entry, Iterator, Listing, PayloadReader, Selection, Statement, StoreError, SubmissionQuery,
    Submissions,
};

use super::counted;

impl Relay {
    /// What is offered in the asker's mailboxes, oldest entry first. `selection.mailboxes` is filled here.
    pub async fn list(
        &self,
        who: &Account,
        as_reader: Option<&PartyIdentifier>,
        mut selection: Selection,
        after: u64,
        limit: u32,
    ) -> Result<Listing, Refusal> {
        selection.mailboxes = route::mailboxes(who, as_reader).map_err(|refusal| counted("list", refusal))?;
        // No mailbox is not "any mailbox": the question must not reach the store.
        if selection.mailboxes.is_empty() {
            return Ok(Listing { entries: Vec::new(), pending: 0 });
        }
        let limit = limit.min(self.settings.limits.list_items_max);
        self.store.list(&selection, after, limit).await.map_err(|error| counted("list", error.into()))
    }

    /// What is offered at the asker's destinations, or at this one of them, oldest entry first. `query.at` is filled here.
    pub async fn submissions(
        &self,
        who: &Account,
        wanted: Option<&DestinationId>,
        mut query: SubmissionQuery,
    ) -> Result<Submissions, Refusal> {
        let own = who.portal.destinations.iter().filter(|one| wanted.is_none_or(|wanted| one.id == *wanted));
        query.at = own
            .filter_map(|one| {
                let mailbox = MailboxName::parse(who.mailbox_of(one)?.value()).ok()?;
                Some((one.id.clone(), mailbox))
            })
            .collect();
        if query.at.is_empty() {
            return Ok(Submissions { entries: Vec::new(), total: 0 });
        }
        self.store.submissions(&query).await.map_err(|error| counted("list", error.into()))
    }

    /// Hands a message out. Repeatable until the reader confirms; then it is closed for him.
    pub async fn hand_out(
        &self,
        who: &Account,
        as_reader: Option<&PartyIdentifier>,
        id: &MessageId,
    ) -> Result<Entry, Refusal> {
        self.hand_out_if(who, as_reader, id, |_| Ok(())).await
    }

    /// The same, where the door can carry the message: what it refuses was not handed out.
    pub async fn hand_out_if(
        &self,
        who: &Account,
        as_reader: Option<&PartyIdentifier>,
        id: &MessageId,
        can_carry: impl FnOnce(&Entry) -> Result<(), Refusal> + Send,
    ) -> Result<Entry, Refusal> {
        let handed_out = async {
            let mailboxes = route::mailboxes(who, as_reader)?;
            let mut entry = self.store.find(id).await?;
            deliver::may_hand_out(&mailboxes, &entry.card)?;
            can_carry(&entry)?;
            entry.card = self.by_reader(who, mailboxes, id, Event::HandedOut).await?;
            Ok(entry)
        };
        let entry = handed_out.await.map_err(|refusal| counted("hand-out", refusal))?;
        metrics::counter!("amtsbote_handed_out_total").increment(1);
        tracing::info!(message_id = %id, account = %who.name, "handed out");
        Ok(entry)
    }

    /// The bytes of one part, exactly as they came.
    pub async fn open_part(&self, entry: &Entry, part: &Part) -> Result<Box<dyn PayloadReader>, Refusal> {
        let opened = self.store.open_payload(&entry.envelope.id, part.offset, part.length).await;
        opened.map_err(|error| counted("open-part", error.into()))
    }

    /// The reader's confirmation. Saying it twice is harmless.
    pub async fn receive(
        &self,
        who: &Account,
        as_reader: Option<&PartyIdentifier>,
        id: &MessageId,
    ) -> Result<ProcessCard, Refusal> {
        let received = async {
            let mailboxes = route::mailboxes(who, as_reader)?;
            let before = self.store.find(id).await?.card;
            if !deliver::reader_sees(&mailboxes, &before) {
                return Err(Refusal::UnknownMessage);
            }
            let card = self.by_reader(who, mailboxes, id, Event::Received).await?;
            Ok((card, before.received_at.is_some()))
        };
        let (card, again) = received.await.map_err(|refusal| counted("receive", refusal))?;
        if !again {
            metrics::counter!("amtsbote_received_total", "by" => "reader").increment(1);
            tracing::info!(message_id = %id, account = %who.name, "received");
            self.wake_destination(&card.mailbox);
        }
        Ok(card)
    }

    pub(super) async fn by_reader(
        &self,
        who: &Account,
        mailboxes: Vec<MailboxName>,
        id: &MessageId,
        event: Event,
    ) -> Result<ProcessCard, Refusal> {
        let change = Change {
            id: id.clone(),
            event,
            at: self.now(),
            by: Some(who.name.to_string()),
            reason: None,
            finding: None,
            only_in: Some(mailboxes),
            only_posted_by: None,
            only_if_due: None,
            deadlines: None,
        };
        match self.store.change(change).await {
            Ok(card) => Ok(card),
            // Expired, cancelled, dead or held: for the reader it is no longer there.
            Err(StoreError::Denied(_)) => Err(Refusal::UnknownMessage),
            Err(error) => Err(error.into()),
        }
    }

    /// What a reader says about a message, kept word for word with the change that it makes: [`Event::Received`] decides,
    /// [`Event::HandedOut`] leaves it open. Saying the same again is harmless.
    pub async fn declare(
        &self,
        who: &Account,
        owner: &PartyIdentifier,
        id: &MessageId,
        event: Event,
        finding: Finding,
        statement: Statement,
    ) -> Result<ProcessCard, Refusal> {
        let declared = async {
            let code = finding.code.clone();
            let change = Change {
                id: id.clone(),
                event,
                at: finding.at,
                by: Some(who.name.to_string()),
                reason: Some(code),
                finding: Some(finding),
                only_in: Some(route::mailboxes(who, Some(owner))?),
                only_posted_by: None,
                only_if_due: None,
                deadlines: None,
            };
            Ok(self.store.declare(change, statement).await?)
        };
        let card: ProcessCard = declared.await.map_err(|refusal: Refusal| counted("declare", refusal))?;
        if event == Event::Received {
            metrics::counter!("amtsbote_received_total", "by" => "statement").increment(1);
            self.wake_destination(&card.mailbox);
        }
        tracing::info!(message_id = %id, account = %who.name, state = %card.state, "its reader declared");
        Ok(card)
    }

    /// Notes on the card that its reader was called about a message, or is no longer called; for whom `by` stands. Nothing
    /// else changes. False where the message is offered no more.
    pub async fn note_call(
        &self,
        id: &MessageId,
        by: &str,
        reason: &str,
        finding: Option<Finding>,
    ) -> Result<bool, Refusal> {
        let change = Change {
            id: id.clone(),
            event: Event::Reminded,
            at: self.now(),
            by: Some(by.to_owned()),
            reason: Some(reason.to_owned()),
            finding,
            only_in: None,
            only_posted_by: None,
            only_if_due: None,
            deadlines: None,
        };
        match self.store.change(change).await {
            Ok(_) => Ok(true),
            Err(StoreError::Denied(_) | StoreError::Unknown) => Ok(false),
            Err(error) => Err(counted("note-call", error.into())),
        }
    }

    /// What was said about a message. Whether the asker may read it is the door's judgement.
    pub async fn statements(&self, id: &MessageId) -> Result<Vec<Statement>, Refusal> {
        self.store.statements(id).await.map_err(|error| counted("statements", error.into()))
    }

    /// False where there is no room for it: what was asked is answered, and cannot be continued.
    pub async fn save_iterator(&self, iterator: &Iterator) -> Result<bool, Refusal> {
        match self.store.save_iterator(iterator).await {
            Ok(()) => Ok(true),
            Err(StoreError::Full { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn load_iterator(&self, who: &Account, id: &str) -> Result<Option<Iterator>, Refusal> {
        Ok(self.store.load_iterator(id, &who.name, self.now()).await?)
    }

    pub async fn drop_iterator(&self, who: &Account, id: &str) -> Result<(), Refusal> {
        Ok(self.store.drop_iterator(id, &who.name).await?)
    }
}
