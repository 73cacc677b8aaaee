//! What authors ask for: ids, acceptance, cancellation, the card, whether a reader can be reached.

use crate::domain::account::{Account, AccountName};
use crate::domain::card::{DOOR_OF_PORTALS, ProcessCard};
use crate::domain::dialog::DialogStep;
use crate::domain::envelope::Envelope;
use crate::domain::message_id::{Bond, MessageId};
use crate::domain::party::PartyIdentifier;
use crate::domain::profile::ServiceProfile;
use crate::domain::state::Event;
use crate::relay::accept::{self, Content, Manner, Situation};
use crate::relay::cancel::{self, Cancellation};
use crate::relay::{Refusal, Relay, Service, Submission, deliver, route};
use crate::store::{Acceptance, Accepted, Change, Entry, StoreError};

use super::{counted, timers};

/// Random ids collide never in practice; a store that says otherwise three times is broken.
const ANNOUNCE_TRIES: u32 = 3;

/// What happens in the transaction before a message is accepted.
enum Foregoing<'a> {
    Nothing,
    Step(&'a DialogStep),
    /// The dialog did not move on, so nothing was accepted; the refusal is the dialog's.
    Refused,
}

fn ids_used() -> Refusal {
    Refusal::Internal { detail: format!("{ANNOUNCE_TRIES} random ids in a row were already used") }
}

impl Relay {
    /// Issues a message id that only `who` may use, once.
    pub async fn announce(&self, who: &Account) -> Result<MessageId, Refusal> {
        self.announce_bound(who, None).await
    }

    /// The same, and remembers to which of the account's parties; the door that asks for it judges its use.
    pub async fn announce_bound(&self, who: &Account, bond: Option<&Bond>) -> Result<MessageId, Refusal> {
        let now = self.now();
        let expires_at = self.announced_until(now);
        for _ in 0..ANNOUNCE_TRIES {
            let id = self.random_id()?;
            match self.store.announce_bound(&id, &who.name, bond, now, expires_at).await {
                Ok(()) => return Ok(id),
                Err(StoreError::IdUsed) => {}
                Err(error) => return Err(counted("announce", error.into())),
            }
        }
        Err(counted("announce", ids_used()))
    }

    /// The same, and begins something of its own with it meanwhile, which `undo` takes back where the id is not issued. Where
    /// this is given up half-way it may be there without the id.
    pub async fn announce_while<T, F: Future<Output = T>, U: Future<Output = ()>>(
        &self,
        who: &Account,
        begin: impl Fn(MessageId) -> F,
        undo: impl Fn(T) -> U,
    ) -> Result<(MessageId, T), Refusal> {
        let now = self.now();
        let expires_at = self.announced_until(now);
        for _ in 0..ANNOUNCE_TRIES {
            let id = self.random_id()?;
            let announced = self.store.announce_bound(&id, &who.name, None, now, expires_at);
            let (announced, begun) = futures_util::join!(announced, begin(id.clone()));
            let Err(error) = announced else { return Ok((id, begun)) };
            undo(begun).await;
            if !matches!(error, StoreError::IdUsed) {
                return Err(counted("announce", error.into()));
            }
        }
        Err(counted("announce", ids_used()))
    }

    /// The same in the transaction in which a dialog moves on, which it has done unless the outer answer is an error.
    pub async fn announce_in_dialog(
        &self,
        who: &Account,
        bond: Option<&Bond>,
        step: &DialogStep,
    ) -> Result<Result<MessageId, Refusal>, Refusal> {
        let id = match self.random_id() {
            Ok(id) => id,
            Err(refusal) => return self.step_dialog(step).await.map(|()| Err(refusal)),
        };
        let expires_at = self.announced_until(step.at);
        let stepped = self.store.step_and_announce(step, &id, &who.name, bond, expires_at).await;
        let stepped = stepped.map_err(|error| counted("dialog", error.into()))?;
        self.stepped(step, &stepped.received);
        Ok(match stepped.then {
            Ok(()) => Ok(id),
            Err(StoreError::IdUsed) => self.announce_bound(who, bond).await,
            Err(error) => Err(counted("announce", error.into())),
        })
    }

    fn announced_until(&self, now: jiff::Timestamp) -> jiff::Timestamp {
        ServiceProfile::after_days(now, self.settings.limits.announced_days)
    }

    fn random_id(&self) -> Result<MessageId, Refusal> {
        MessageId::xta(&self.settings.system, uuid::Uuid::new_v4().as_u128())
            .map_err(|error| Refusal::Internal { detail: format!("the configured system name: {error}") })
    }

    /// To whom of an account's parties an id was issued, where its door said so.
    pub async fn bond(&self, id: &MessageId) -> Result<Option<Bond>, Refusal> {
        self.store.bond(id).await.map_err(|error| counted("accept", error.into()))
    }

    /// "Accepted" is a promise: when this returns `Ok`, the message is on stable storage with everything it needs.
    pub async fn accept(&self, who: &Account, submission: Submission) -> Result<Accepted, Refusal> {
        self.accept_in(who, submission, Manner::Asynchronous).await.map(|(accepted, ..)| accepted)
    }

    /// The same under a door's own deadlines, where neither the message nor its reader names others.
    pub async fn accept_under(
        &self,
        who: &Account,
        submission: Submission,
        profile_default: &ServiceProfile,
    ) -> Result<Accepted, Refusal> {
        let mut before = Foregoing::Nothing;
        let accepted =
            self.accept_behind(&mut before, who, submission, Manner::Asynchronous, profile_default).await?;
        Ok(accepted.0)
    }

    /// The same, with the card as it was accepted.
    pub async fn accept_with_card(
        &self,
        who: &Account,
        submission: Submission,
    ) -> Result<(Accepted, ProcessCard), Refusal> {
        self.accept_in(who, submission, Manner::Asynchronous)
            .await
            .map(|(accepted, card, _)| (accepted, card))
    }

    /// The same in the transaction in which a dialog moves on, which it has done unless the outer answer is an error;
    /// with the card as it was accepted.
    pub async fn accept_in_dialog(
        &self,
        who: &Account,
        submission: Submission,
        step: &DialogStep,
    ) -> Result<Result<(Accepted, ProcessCard), Refusal>, Refusal> {
        let mut before = Foregoing::Step(step);
        let accepted = self
            .accept_behind(&mut before, who, submission, Manner::Asynchronous, &self.settings.profile_default)
            .await;
        let accepted = accepted.map(|(accepted, card, _)| (accepted, card));
        match before {
            Foregoing::Refused => accepted.map(Ok),
            Foregoing::Step(step) => {
                self.step_dialog(step).await?;
                Ok(accepted)
            }
            Foregoing::Nothing => Ok(accepted),
        }
    }

    /// Accepts, and says with the card how long the profile lets an author wait for the answer.
    pub(super) async fn accept_in(
        &self,
        who: &Account,
        submission: Submission,
        manner: Manner,
    ) -> Result<(Accepted, ProcessCard, ServiceProfile), Refusal> {
        let profile_default = &self.settings.profile_default;
        self.accept_behind(&mut Foregoing::Nothing, who, submission, manner, profile_default).await
    }

    async fn accept_behind(
        &self,
        before: &mut Foregoing<'_>,
        who: &Account,
        submission: Submission,
        manner: Manner,
        profile_default: &ServiceProfile,
    ) -> Result<(Accepted, ProcessCard, ServiceProfile), Refusal> {
        let id = submission.envelope.id.clone();
        match self.accept_uncounted(before, who, submission, manner, profile_default).await {
            Ok((accepted, card, profile)) => {
                let again = accepted == Accepted::Before;
                metrics::counter!("amtsbote_accepted_total", "door" => card.door.clone(), "again" => again.to_string())
                    .increment(1);
                tracing::info!(message_id = %id, account = %who.name, state = %card.state, bytes = card.payload_bytes, again, "accepted");
                Ok((accepted, card, profile))
            }
            Err(refusal) if matches!(before, Foregoing::Refused) => Err(counted("dialog", refusal)),
            Err(refusal) => {
                tracing::info!(message_id = %id, account = %who.name, code = refusal.code(), "not accepted");
                Err(counted("accept", refusal))
            }
        }
    }

    async fn accept_uncounted(
        &self,
        before: &mut Foregoing<'_>,
        who: &Account,
        submission: Submission,
        manner: Manner,
        profile_default: &ServiceProfile,
    ) -> Result<(Accepted, ProcessCard, ServiceProfile), Refusal> {
        let directory = self.directory();
        let Submission { envelope, manifest, payload, request_digest, door, certificates } = submission;
        let content = Content { manifest: &manifest, length: payload.length, digest: payload.digest };
        let mut situation = Situation {
            directory: &directory,
            profile_default,
            limits: &self.settings.limits,
            now: self.now(),
            door,
            manner,
        };
        let mut decision = accept::decide(who, &envelope, content, certificates.clone(), situation);
        if decision == Err(Refusal::SynchronousOnly) && self.answers_somebody(who, &envelope).await? {
            situation.manner = Manner::Answer;
            decision = accept::decide(who, &envelope, content, certificates, situation);
        }
        let decision = match decision {
            Ok(decision) => decision,
            Err(refusal) => {
                let card = self.accepted_before(who, &envelope, content).await.ok_or(refusal)?;
                // It can be read before the standby has it.
                self.confirm().await?;
                return Ok((Accepted::Before, card, self.profile_of(door, &envelope)));
            }
        };
        let (card, profile, deadlines) = (decision.card, decision.profile, decision.deadlines);
        let soonest = deadlines.release_at.map_or(deadlines.expire_at, |at| at.min(deadlines.expire_at));
        let (mailbox, answered) = (card.mailbox.clone(), envelope.in_reply_to.clone());
        let acceptance = Acceptance {
            envelope,
            manifest,
            payload,
            request_digest,
            announced_only: decision.announced_only,
            card: card.clone(),
            deadlines,
        };
        let accepted = match *before {
            Foregoing::Step(step) => {
                let stepped = self.store.step_and_accept(step, acceptance).await.map_err(|error| {
                    *before = Foregoing::Refused;
                    Refusal::from(error)
                })?;
                *before = Foregoing::Nothing;
                self.stepped(step, &stepped.received);
                stepped.then?
            }
            _ => self.store.accept(acceptance).await?,
        };
        // The timers look by themselves that often; only an earlier deadline is worth waking them.
        if soonest < situation.now.checked_add(timers::SLEEP_MAX).unwrap_or(soonest) {
            self.add_deadline();
        }
        self.tell_answered(&answered);
        self.wake_destination(&mailbox);
        Ok((accepted, card, profile))
    }

    /// A retry must be answered as before even where the rules have changed meanwhile (its ObsoleteAfter is over, its
    /// reader has left). Only a message that is the same in every respect counts.
    async fn accepted_before(
        &self,
        who: &Account,
        envelope: &Envelope,
        content: Content<'_>,
    ) -> Option<ProcessCard> {
        let entry = self.store.find(&envelope.id).await.ok()?;
        let same = entry.card.posted_by == who.name
            && entry.envelope == *envelope
            && entry.manifest == *content.manifest
            && entry.card.payload_digest == content.digest;
        same.then_some(entry.card)
    }

    /// Whether this message answers one that was addressed to its author by its reader.
    async fn answers_somebody(&self, who: &Account, envelope: &Envelope) -> Result<bool, Refusal> {
        for id in envelope.in_reply_to.iter().take(8) {
            match self.store.find(id).await {
                Ok(entry)
                    if who.speaks_for(&entry.envelope.reader.identifier)
                        && entry.envelope.author.identifier.matches(&envelope.reader.identifier) =>
                {
                    return Ok(true);
                }
                Ok(_) | Err(StoreError::Unknown) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// The profile under which a stored message lives.
    pub(super) fn profile_of(&self, door: &str, envelope: &Envelope) -> ServiceProfile {
        let directory = self.directory();
        // Theirs is no profile of the participants', and never their reader's: its portal knows these deadlines.
        if let Some(portals) = self.settings.profile_portals.as_ref().filter(|_| door == DOOR_OF_PORTALS) {
            let named = envelope.service_quality.as_deref().and_then(|name| directory.profile(name));
            return named.unwrap_or(portals).clone();
        }
        let situation = Situation {
            directory: &directory,
            profile_default: &self.settings.profile_default,
            limits: &self.settings.limits,
            now: self.now(),
            door: "",
            manner: Manner::Asynchronous,
        };
        route::destination(&directory, &envelope.reader.identifier)
            .and_then(|(addressee, _)| accept::profile(envelope, addressee, situation))
            .map_or_else(|_| self.settings.profile_default.clone(), |(profile, _)| profile.clone())
    }

    /// Withdraws a message of one's own before its NotBefore.
    pub async fn cancel(&self, who: &Account, id: &MessageId) -> Result<(), Refusal> {
        self.cancel_uncounted(who, id).await.map_err(|refusal| counted("cancel", refusal))
    }

    async fn cancel_uncounted(&self, who: &Account, id: &MessageId) -> Result<(), Refusal> {
        let card = self.store.find(id).await?.card;
        let now = self.now();
        if cancel::decide(&who.name, &card, now)? == Cancellation::Already {
            // It can be read before the standby has it.
            self.confirm().await?;
            return Ok(());
        }
        let change = Change {
            id: id.clone(),
            event: Event::CancelledByAuthor,
            at: now,
            by: Some(who.name.to_string()),
            reason: None,
            finding: None,
            only_in: None,
            only_posted_by: Some(who.name.clone()),
            only_if_due: None,
            deadlines: None,
        };
        match self.store.change(change).await {
            Ok(_) => {
                metrics::counter!("amtsbote_cancelled_total", "by" => "author").increment(1);
                tracing::info!(message_id = %id, account = %who.name, "cancelled by its author");
                Ok(())
            }
            // Its release overtook us between the question and the change.
            Err(StoreError::Denied(_)) => Err(Refusal::NotBeforePassed),
            Err(error) => Err(error.into()),
        }
    }

    /// The process card, for the author of a message and for its reader.
    pub async fn card(
        &self,
        who: &Account,
        as_party: Option<&PartyIdentifier>,
        id: &MessageId,
    ) -> Result<Entry, Refusal> {
        // The identifier is judged first, so that the answer to a foreign one does not depend on the message.
        route::mailboxes(who, as_party).map_err(|refusal| counted("card", refusal))?;
        let entry = self.store.find(id).await.map_err(|error| counted("card", error.into()))?;
        deliver::may_see_card(who, as_party, &entry.card).map_err(|refusal| counted("card", refusal))?;
        Ok(entry)
    }

    /// What `author`, or anybody, posted with In-Reply-To `id`, whatever became of it, in order. Who may read it is the
    /// door's judgement.
    pub async fn continued(
        &self,
        author: Option<&AccountName>,
        id: &MessageId,
        limit: u32,
    ) -> Result<Vec<Entry>, Refusal> {
        self.store.related(id, author, limit).await.map_err(|error| counted("card", error.into()))
    }

    /// Whether `who` could send to `reader` with this service.
    pub async fn look_up(
        &self,
        who: &Account,
        reader: &PartyIdentifier,
        service: &str,
    ) -> Result<Service, Refusal> {
        let directory = self.directory();
        let open = route::destination(&directory, reader).is_ok_and(|(addressee, _)| {
            addressee.takes(service) && who.may_use(service) && who.may_write_to(reader)
        });
        Ok(if open { Service::Offered } else { Service::NotOffered })
    }
}
