//! Timers: performs what is due, and sleeps until the next instant or a notice.
//!
//! Errors of the store are logged once per series and answered with growing pauses. A due entry that cannot be
//! performed never keeps the loop busy: a round without progress counts as an error. A damaged message is told of once and
//! looked at again every few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::message_id::MessageId;
use crate::domain::state::Event;
use crate::relay::expire::{self, Effect};
use crate::relay::{Refusal, Relay};
use crate::report::{CorrelationId, Failure};
use crate::store::{Change, Due, DueKind, StoreError};

use super::stopped;

const BATCH: u32 = 256;
/// Longest sleep, so that a machine whose clock was set forward does not oversleep.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Shortest sleep, for an instant that came between two questions.
const SLEEP_MIN: Duration = Duration::from_millis(20);
/// Between two rounds, as long as something due cannot be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
const ERROR_PAUSE_FIRST: Duration = Duration::from_secs(1);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(60);
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(600);

impl Relay {
    /// Performs everything that is due at this moment; returns how much that was.
    pub async fn tick(&self) -> Result<u32, Refusal> {
        let mut unreadable = BTreeMap::new();
        let done = self.perform_due(&mut unreadable).await?;
        match unreadable.into_iter().next() {
            Some((id, detail)) => Err(Refusal::Internal { detail: format!("{id}: {detail}") }),
            None => Ok(done),
        }
    }

    /// The same. What is wrong with one message holds up nothing that is due of others: it is put into `unreadable`.
    async fn perform_due(&self, unreadable: &mut BTreeMap<String, String>) -> Result<u32, Refusal> {
        let mut done = 0;
        let mut stuck = Vec::new();
        loop {
            let now = self.now();
            let batch = self.store.due(now, BATCH).await?;
            if batch.is_empty() {
                return Ok(done);
            }
            let (mut progress, mut readable) = (0, None);
            for due in &batch {
                match self.perform(due).await {
                    Err(Refusal::Internal { detail }) => {
                        unreadable.insert(due.id.to_string(), detail);
                    }
                    performed => {
                        progress += u32::from(performed?);
                        readable.get_or_insert(&due.id);
                    }
                }
            }
            // Once is a race with a reader or an operator; twice the same is a store that contradicts itself.
            if progress == 0 && batch == stuck {
                let Some(first) = readable else { return Ok(done) };
                let detail =
                    format!("{} due entries cannot be performed, the first for {first}", batch.len());
                return Err(Refusal::Internal { detail });
            }
            done += progress;
            stuck = batch;
        }
    }

    /// False where the message had changed meanwhile, so that the deadline no longer applies.
    async fn perform(&self, due: &Due) -> Result<bool, Refusal> {
        let now = self.now();
        let effect = match self.closed_in_time(due, now).await? {
            Some(effect) => effect,
            None => expire::effect(due, now),
        };
        let is_received = matches!(effect, Effect::Change { event: Event::Received, .. });
        let performed = match effect {
            Effect::PurgePayload => self.store.purge_payload(&due.id, now).await,
            Effect::PurgeCard => self.store.purge_card(&due.id, now).await,
            Effect::Change { event, reason, finding } => {
                let change = Change {
                    id: due.id.clone(),
                    event,
                    at: now,
                    by: None,
                    reason: Some(reason.to_owned()),
                    finding,
                    only_in: None,
                    only_posted_by: None,
                    only_if_due: Some(due.kind),
                    deadlines: None,
                };
                self.store.change(change).await.map(|card| {
                    if event == Event::Released {
                        self.wake_destination(&card.mailbox);
                    }
                })
            }
        };
        match performed {
            Ok(()) if is_received => {
                tracing::warn!(
                    code = "closed-in-the-clear",
                    message_id = %due.id,
                    next_step = "start the gateway of its destination again",
                    "its time is over; its reader had closed what a gateway had opened, so it counts as accepted"
                );
                Ok(true)
            }
            Ok(()) => {
                report(due);
                Ok(true)
            }
            Err(StoreError::Denied(_) | StoreError::Unknown) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Relay {
    async fn closed_in_time(&self, due: &Due, now: Timestamp) -> Result<Option<Effect>, Refusal> {
        if due.kind != DueKind::Expire {
            return Ok(None);
        }
        let find = async |id: &MessageId| match self.store.find(id).await {
            Ok(entry) => Ok(Some(entry.card)),
            Err(StoreError::Unknown) => Ok(None),
            Err(error) => Err(Refusal::from(error)),
        };
        let Some(submission) = find(&due.id).await? else { return Ok(None) };
        let Some(id) = expire::opened_as(&submission) else { return Ok(None) };
        let Some(clear) = find(&id).await? else { return Ok(None) };
        Ok(expire::closed_in_time(&submission, &clear, &self.directory(), due, now))
    }
}

fn report(due: &Due) {
    let id = &due.id;
    match due.kind {
        DueKind::Release => tracing::info!(message_id = %id, "released: NotBefore was reached"),
        DueKind::Expire => {
            metrics::counter!("amtsbote_expired_total").increment(1);
            tracing::warn!(message_id = %id, "expired: nobody fetched it in time");
        }
        DueKind::Remind => {
            metrics::counter!("amtsbote_reminded_total").increment(1);
            tracing::warn!(message_id = %id, "nobody has fetched it yet");
        }
        DueKind::PurgePayload => tracing::debug!(message_id = %id, "payload deleted"),
        DueKind::PurgeCard => tracing::debug!(message_id = %id, "process card deleted"),
    }
}

pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let mut error_pause = ERROR_PAUSE_FIRST;
    let mut told = BTreeSet::new();
    let mut housekeeping = Housekeeping { next_at: Instant::now(), error_pause: ERROR_PAUSE_FIRST };
    while !*stop.borrow() {
        // A long round may be left at any point: each thing that is due is a transaction of its own.
        let round = tokio::select! {
            round = round(&relay, &mut housekeeping, &mut told) => round,
            () = stopped(&mut stop) => return,
        };
        let (pause, woken_by_notice) = match round {
            Ok(pause) => {
                error_pause = ERROR_PAUSE_FIRST;
                (pause, true)
            }
            Err(refusal) => {
                if error_pause == ERROR_PAUSE_FIRST {
                    Failure::from(refusal).log(CorrelationId::random());
                }
                let pause = error_pause;
                error_pause = (error_pause * 2).min(ERROR_PAUSE_MAX);
                // Traffic must not turn a store in trouble into a busy loop.
                (pause, false)
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = relay.deadline_added.notified(), if woken_by_notice => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What recurs beside the timers. None of it stops another part, nor what is due; what fails is tried again with growing
/// pauses of its own.
struct Housekeeping {
    next_at: Instant,
    error_pause: Duration,
}

impl Housekeeping {
    async fn keep(&mut self, relay: &Relay) {
        if Instant::now() < self.next_at {
            return;
        }
        let read = relay.reload_directory().await;
        let swept = relay.store.sweep(relay.now()).await.map_err(Refusal::from);
        let Err(refusal) = read.and(swept) else {
            self.next_at = Instant::now() + HOUSEKEEPING_INTERVAL;
            self.error_pause = ERROR_PAUSE_FIRST;
            return;
        };
        if self.error_pause == ERROR_PAUSE_FIRST {
            Failure::from(refusal).log(CorrelationId::random());
        }
        self.next_at = Instant::now() + self.error_pause;
        self.error_pause = (self.error_pause * 2).min(ERROR_PAUSE_MAX);
    }
}

/// One round of due work; returns how long to sleep. `told`: the damaged messages that the log knows of.
async fn round(
    relay: &Relay,
    housekeeping: &mut Housekeeping,
    told: &mut BTreeSet<String>,
) -> Result<Duration, Refusal> {
    let mut unreadable = BTreeMap::new();
    let performed = relay.perform_due(&mut unreadable).await;
    housekeeping.keep(relay).await;
    for (id, detail) in &unreadable {
        if told.insert(id.clone()) {
            tracing::error!(
                code = "due-unreadable",
                message_id = %id,
                detail,
                next_step = "verify the store (amtsbote evidence verify); what is due of this message waits",
                "a message in the store is damaged, and its deadline is not kept"
            );
        }
    }
    told.retain(|id| unreadable.contains_key(id));
    performed?;
    if !unreadable.is_empty() {
        return Ok(UNREADABLE_PAUSE);
    }
    let now = relay.now();
    let next = relay.store.next_due_at().await?;
    let pause = next.map_or(SLEEP_MAX, |next| {
        Duration::try_from(next.duration_since(now)).unwrap_or(SLEEP_MIN).clamp(SLEEP_MIN, SLEEP_MAX)
    });
    Ok(pause.min(housekeeping.next_at.saturating_duration_since(Instant::now())))
}
