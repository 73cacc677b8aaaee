//! Pushes of what waits in mailboxes, through outlets: one task per destination, so that a slow or dead one never delays
//! another. (What a door pushes while its author waits is in `pushed`.)
//!
//! A destination leases one message at a time from the store, tries once, and records the outcome under that lease; a
//! crash in between lets the lease end by itself. Failures in a row open the destination's circuit: nothing is leased
//! while it is open, so a server that is down for a day uses up no message's attempts.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::domain::message_id::MessageId;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::DeliveryState;
use crate::relay::retry::{Breaker, Permission, pause_after};
use crate::relay::{Outlet, PushVerdict, Refusal, Relay, accept};
use crate::store::{Notice, PushLease, PushOutcome};

use super::{stopped, supervise};

/// How much longer than the push itself its lease lasts, so that the outcome can be recorded under it.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How long an attempt under way may go on after the post office was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);
const ERROR_PAUSE_FIRST: Duration = Duration::from_secs(1);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Mailboxes that are emptied by pushing, and how.
pub(super) struct Destination {
    mailboxes: Vec<MailboxName>,
    outlet: Arc<dyn Outlet>,
    breaker: Mutex<Breaker>,
    wake: Notify,
}

/// What one look at a destination brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// One message was tried; there may be more.
    One,
    /// Nothing is due.
    Nothing,
    /// The circuit is open for this long.
    CircuitOpen(Duration),
}

impl Relay {
    /// From here on these mailboxes are emptied through `outlet`.
    pub fn add_outlet(&self, mailboxes: Vec<MailboxName>, outlet: Arc<dyn Outlet>) {
        let breaker = Mutex::new(Breaker::new(self.settings.breaker));
        self.destinations().push(Arc::new(Destination { mailboxes, outlet, breaker, wake: Notify::new() }));
        self.destination_added.notify_one();
    }

    /// Something in this mailbox may be ready, here and at the other nodes.
    pub(super) fn wake_destination(&self, mailbox: &MailboxName) {
        self.wake_destination_here(mailbox);
        self.store.tell(Notice::Waiting(mailbox.clone()));
    }

    pub(super) fn wake_destination_here(&self, mailbox: &MailboxName) {
        let destinations = self.destinations();
        destinations
            .iter()
            .filter(|destination| destination.mailboxes.contains(mailbox))
            .for_each(|destination| destination.wake.notify_one());
    }

    pub(super) fn wake_all_destinations_here(&self) {
        self.destinations().iter().for_each(|destination| destination.wake.notify_one());
    }

    /// Tries everything that is due for every destination, one after the other. [`Relay::run`] does the same with a
    /// task per destination; this is for tools and simulations that own the time.
    pub async fn push_once(&self) -> Result<u32, Refusal> {
        let destinations = self.destinations().clone();
        let mut tried = 0;
        for destination in destinations {
            while self.push_one(&destination).await? == Pushed::One {
                tried += 1;
            }
        }
        Ok(tried)
    }

    /// What an outlet has noted about a message that it pushes; see [`Relay::note_push`].
    pub async fn push_note(&self, id: &MessageId) -> Result<Option<String>, Refusal> {
        Ok(self.store.push_note(id).await?)
    }

    /// Notes, durably before this returns, what the outlet must know if it comes to this message again: after a crash,
    /// a cut-off attempt, a time among the dead.
    pub async fn note_push(&self, id: &MessageId, note: Option<&str>) -> Result<(), Refusal> {
        Ok(self.store.note_push(id, note).await?)
    }

    async fn push_one(&self, destination: &Destination) -> Result<Pushed, Refusal> {
        let now = self.now();
        if let Permission::NotBefore(until) = destination.breaker().permission(now) {
            let pause = Duration::try_from(until.duration_since(now)).unwrap_or(ERROR_PAUSE_FIRST);
            return Ok(Pushed::CircuitOpen(pause));
        }
        // Which message it will be is not known yet, so the lease is long enough for any.
        let limits = &self.settings.limits;
        let until =
            now.checked_add(limits.outlet_time(limits.content_bytes_max) + LEASE_MARGIN).unwrap_or(now);
        let (ordered, free): (Vec<_>, Vec<_>) =
            destination.mailboxes.iter().cloned().partition(|mailbox| self.is_ordered(mailbox));
        let mut leased = None;
        for (mailboxes, in_order) in [(ordered, true), (free, false)] {
            if leased.is_none() && !mailboxes.is_empty() {
                leased = self.store.lease_push(&mailboxes, in_order, now, until, 1).await?.into_iter().next();
            }
        }
        let Some(lease) = leased else {
            return Ok(Pushed::Nothing);
        };
        let verdict = self.attempt(destination, &lease).await;
        self.record(destination, lease, verdict).await?;
        Ok(Pushed::One)
    }

    /// Whether this mailbox's owner wants the order of entry kept.
    fn is_ordered(&self, mailbox: &MailboxName) -> bool {
        let directory = self.directory();
        PartyIdentifier::new(mailbox.as_str())
            .ok()
            .and_then(|identifier| directory.account_by_identifier(&identifier))
            .is_some_and(|owner| {
                accept::default_profile(owner, &directory, &self.settings.profile_default).ordered
            })
    }

    async fn attempt(&self, destination: &Destination, lease: &PushLease) -> PushVerdict {
        let entry = &lease.entry;
        let payload = match self.store.open_payload(&entry.envelope.id, 0, entry.manifest.length()).await {
            Ok(payload) => payload,
            Err(error) => return PushVerdict::TryLater { reason: format!("payload: {error}") },
        };
        let limit = self.settings.limits.outlet_time(entry.manifest.length());
        match tokio::time::timeout(limit, destination.outlet.push(entry, payload)).await {
            Ok(verdict) => verdict,
            Err(_) => PushVerdict::TryLater { reason: format!("no answer within {} s", limit.as_secs()) },
        }
    }

    async fn record(
        &self,
        destination: &Destination,
        lease: PushLease,
        verdict: PushVerdict,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let id = lease.entry.envelope.id.clone();
        let name = destination.outlet.destination();
        let (outcome, word) = match verdict {
            PushVerdict::Received => {
                destination.breaker().succeeded();
                (PushOutcome::Received, "received")
            }
            PushVerdict::Taken { remark } => {
                destination.breaker().succeeded();
                (PushOutcome::Taken { remark }, "received")
            }
            PushVerdict::Refused { reason } => {
                // It is alive: it looked at the message and said no.
                destination.breaker().succeeded();
                (PushOutcome::Dead { reason }, "dead")
            }
            PushVerdict::TryLater { reason } => {
                if let Some(until) = destination.breaker().failed(now, random()) {
                    tracing::warn!(destination = name, %until, "destination left alone after failures in a row");
                }
                let profile = self.profile_of(&lease.entry.card.door, &lease.entry.envelope);
                match pause_after(lease.attempt, &profile, random()) {
                    Some(pause) => {
                        let next_at = now.checked_add(pause).unwrap_or(now);
                        (PushOutcome::Failed { reason, next_at }, "failed")
                    }
                    None => {
                        let reason = format!("given up after {} attempts: {reason}", lease.attempt);
                        (PushOutcome::Dead { reason }, "dead")
                    }
                }
            }
        };
        let reason = match &outcome {
            PushOutcome::Received => "",
            PushOutcome::Taken { remark } => remark.as_str(),
            PushOutcome::Failed { reason, .. } | PushOutcome::Dead { reason } => reason.as_str(),
        }
        .to_owned();
        let is_yes = matches!(outcome, PushOutcome::Received | PushOutcome::Taken { .. });
        let card = self.store.record_attempt(&lease, outcome, now).await?;
        let is_late = is_yes && card.state != DeliveryState::Received;
        let word = if is_late { "late" } else { word };
        metrics::counter!("amtsbote_pushes_total", "outcome" => word).increment(1);
        match card.state {
            state if is_late => {
                tracing::warn!(
                    message_id = %id,
                    destination = name,
                    %state,
                    remark = reason,
                    "it was taken there when it was no longer to be handed over; its card says so. If it should count \
                     as received, release or requeue it: the next attempt asks there first. If its reader should not \
                     act on it, tell him"
                );
            }
            DeliveryState::Dead => {
                metrics::counter!("amtsbote_dead_total").increment(1);
                tracing::warn!(message_id = %id, destination = name, attempt = lease.attempt, reason, "undeliverable: waits for an operator");
            }
            DeliveryState::Received => {
                metrics::counter!("amtsbote_received_total", "by" => "push").increment(1);
                tracing::info!(message_id = %id, destination = name, attempt = lease.attempt, remark = reason, "pushed and received");
            }
            _ => {
                tracing::info!(message_id = %id, destination = name, attempt = lease.attempt, reason, "push failed");
            }
        }
        Ok(())
    }
}

impl Destination {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Starts a task for each destination, also for those that come later.
pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut started = 0;
    loop {
        let fresh: Vec<_> = relay.destinations().iter().skip(started).cloned().collect();
        started += fresh.len();
        for destination in fresh {
            let (relay, seen) = (relay.clone(), stop.clone());
            let work = move || serve(relay.clone(), destination.clone(), seen.clone());
            tasks.spawn(supervise("pushes to one destination", stop.clone(), work));
        }
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = relay.destination_added.notified() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve(relay: Arc<Relay>, destination: Arc<Destination>, mut stop: watch::Receiver<bool>) {
    let mut error_pause = ERROR_PAUSE_FIRST;
    while !*stop.borrow() {
        // An attempt under way may finish; one that hangs is dropped, and its message comes again when the lease ends.
        let mut seen = stop.clone();
        let cut_off = async {
            stopped(&mut seen).await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let pushed = tokio::select! {
            pushed = relay.push_one(&destination) => pushed,
            () = cut_off => return,
        };
        let pause = match pushed {
            Ok(Pushed::One) => {
                error_pause = ERROR_PAUSE_FIRST;
                continue;
            }
            Ok(Pushed::Nothing) => {
                error_pause = ERROR_PAUSE_FIRST;
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    () = destination.wake.notified() => {}
                    () = tokio::time::sleep(relay.settings.push_poll_interval) => {}
                }
                continue;
            }
            Ok(Pushed::CircuitOpen(pause)) => {
                pause.min(relay.settings.push_poll_interval.max(ERROR_PAUSE_FIRST))
            }
            Err(refusal) => {
                if error_pause == ERROR_PAUSE_FIRST {
                    let failure = crate::report::Failure::from(refusal);
                    failure.log(crate::report::CorrelationId::random());
                }
                let pause = error_pause;
                error_pause = (error_pause * 2).min(ERROR_PAUSE_MAX);
                pause
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A random number for jitter; nothing secret depends on it.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
