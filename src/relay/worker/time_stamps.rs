//! Time stamps of the evidence log's checkpoints: asked for beside everything else, never in a message's way.
//!
//! The newest checkpoint is stamped, at most once in an interval. It covers every record before it, so whatever an
//! authority missed while it was down is caught up by the next stamp. A stamp whose certificate or algorithm ends soon
//! is renewed by a stamp over itself. What is stamped is in the store, so a stop between a checkpoint and its stamp costs
//! nothing: the next start looks first. Who stamps and whom to believe is the [`TimeStamper`]'s, plugged in by the
//! composition root.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{Relay, stopped};
use crate::evidence::checkpoint::Checkpoint;
use crate::relay::Refusal;
use crate::store::TimeStamp;

/// After failures the pause grows up to this many polls.
const PAUSE_POLLS_MAX: u32 = 10;
/// After an authority gave a renewal that lasts no longer than what it renews.
const USELESS_RENEWAL_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// A time stamp authority, as the relay sees it.
#[async_trait]
pub trait TimeStamper: Send + Sync {
    /// A stamp over these bytes, verified up to an anchor; otherwise why there is none, for the operator.
    async fn stamp(&self, bytes: &[u8]) -> Result<TimeStamp, String>;
}

/// How stamping goes.
#[derive(Debug, Default)]
pub(super) struct Stamping {
    trouble: Option<(Timestamp, String)>,
    failures: u32,
    renewals_wait_until: Option<Timestamp>,
}

impl Relay {
    /// From here on checkpoints are stamped by this authority. Before the relay works at the latest, for the first one.
    pub fn stamp_checkpoints_with(&self, stamper: Arc<dyn TimeStamper>) {
        *self.stamper.write().unwrap_or_else(PoisonError::into_inner) = Some(stamper);
    }

    fn stamper(&self) -> Option<Arc<dyn TimeStamper>> {
        self.stamper.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since when no time stamp can be had, and why; nothing while all is well or none is wanted.
    pub fn time_stamp_trouble(&self) -> Option<String> {
        let stamping = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stamping.trouble.as_ref().map(|(since, why)| format!("no time stamp since {since}: {why}"))
    }

    /// Stamps the newest checkpoint if its time has come, and renews one stamp that ends soon. Returns how many stamps
    /// were added. What an authority refuses is noted, not returned: no caller could do anything about it.
    pub async fn stamp_what_is_due(&self) -> Result<usize, Refusal> {
        let Some(stamper) = self.stamper() else { return Ok(0) };
        let mut added = 0;
        for wanted in [self.unstamped().await?, self.ending().await?].into_iter().flatten() {
            match stamper.stamp(&wanted.bytes).await {
                // The checkpoint was signed anew by another key meanwhile: this stamp is over what is gone, and the next
                // look finds the checkpoint without one.
                Ok(_) if wanted.number == 0 && !self.is_still(&wanted).await? => {}
                Ok(stamp) if wanted.ends.is_none_or(|ends| stamp.good_until > ends) => {
                    self.store.save_time_stamp(wanted.size, wanted.number, &stamp).await?;
                    self.stamped(wanted.size, &stamp);
                    added += 1;
                }
                Ok(stamp) => {
                    self.renewals_wait();
                    let until = stamp.good_until;
                    self.not_stamped(format!(
                        "a renewal would last no longer than the stamp it renews ({until})"
                    ));
                }
                Err(why) => self.not_stamped(why),
            }
        }
        Ok(added)
    }

    /// The newest checkpoint, if it has no stamp and the interval since the last one is over.
    async fn unstamped(&self) -> Result<Option<Wanted>, Refusal> {
        let Some(note) = self.store.checkpoint(None).await? else { return Ok(None) };
        let stated = Checkpoint::stated(&note).map_err(|error| Refusal::Internal {
            detail: format!("the last checkpoint is damaged: {error}"),
        })?;
        if let Some(last) = self.store.time_stamped(None).await? {
            let first = self.store.time_stamps(last).await?.into_iter().next();
            let elapsed = |stamp: TimeStamp| self.now().duration_since(stamp.time);
            let interval = self.settings.time_stamp_interval;
            if last >= stated.size
                || first.map(elapsed).is_some_and(|elapsed| elapsed.unsigned_abs() < interval)
            {
                return Ok(None);
            }
        }
        Ok(Some(Wanted { size: stated.size, number: 0, bytes: note.into_bytes(), ends: None }))
    }

    async fn is_still(&self, wanted: &Wanted) -> Result<bool, Refusal> {
        let note = self.store.checkpoint(Some(wanted.size)).await?;
        Ok(note.is_some_and(|note| note.as_bytes() == wanted.bytes))
    }

    /// The stamp that is the first to end, if that is soon.
    async fn ending(&self) -> Result<Option<Wanted>, Refusal> {
        let now = self.now();
        let waits = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).renewals_wait_until;
        if waits.is_some_and(|until| now < until) {
            return Ok(None);
        }
        let soon = now.checked_add(self.settings.time_stamp_renew_ahead).unwrap_or(Timestamp::MAX);
        let Some(size) = self.store.time_stamp_ending(soon).await? else { return Ok(None) };
        let stamps = self.store.time_stamps(size).await?;
        let number = u32::try_from(stamps.len()).unwrap_or(u32::MAX);
        let last = stamps.into_iter().next_back();
        Ok(last.map(|last| Wanted { size, number, bytes: last.token, ends: Some(last.good_until) }))
    }

    fn stamped(&self, size: u64, stamp: &TimeStamp) {
        let mut stamping = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stamping.failures = 0;
        if stamping.trouble.take().is_some() {
            tracing::info!(size, "checkpoints are stamped again");
        }
        metrics::counter!("amtsbote_time_stamps_total").increment(1);
        metrics::gauge!("amtsbote_time_stamp_failing").set(0.0);
        metrics::gauge!("amtsbote_time_stamp_seconds").set(stamp.time.as_second() as f64);
    }

    fn not_stamped(&self, why: String) {
        let mut stamping = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stamping.failures = stamping.failures.saturating_add(1);
        metrics::counter!("amtsbote_time_stamp_failures_total").increment(1);
        metrics::gauge!("amtsbote_time_stamp_failing").set(1.0);
        match &mut stamping.trouble {
            Some((_, known)) => *known = why,
            None => {
                tracing::warn!(
                    code = "time-stamp-missing",
                    next_step = "see that the authority of evidence.time_stamp_url answers; messages are not affected, and \
                                 what is missed is caught up",
                    "a checkpoint could not be stamped: {why}"
                );
                stamping.trouble = Some((self.now(), why));
            }
        }
    }

    fn renewals_wait(&self) {
        let mut stamping = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stamping.renewals_wait_until = self.now().checked_add(USELESS_RENEWAL_PAUSE).ok();
    }

    fn stamping_pause(&self) -> Duration {
        let failures = self.stamping.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).failures;
        let polls = 1_u32.checked_shl(failures).unwrap_or(PAUSE_POLLS_MAX).clamp(1, PAUSE_POLLS_MAX);
        self.settings.time_stamp_poll_interval.saturating_mul(polls)
    }
}

/// Bytes that want a stamp, and where it goes.
struct Wanted {
    size: u64,
    number: u32,
    bytes: Vec<u8>,
    /// When the stamp that is renewed ends.
    ends: Option<Timestamp>,
}

/// Stamps as long as the relay works. A stop does not wait for an authority.
pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    if relay.stamper().is_none() {
        return;
    }
    let mut in_trouble = false;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            outcome = relay.stamp_what_is_due() => match outcome {
                Ok(_) => in_trouble = false,
                Err(refusal) if !in_trouble => {
                    in_trouble = true;
                    crate::report::Failure::from(refusal).log(crate::report::CorrelationId::random());
                }
                Err(_) => {}
            },
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(relay.stamping_pause()) => {}
            // Not while an authority fails: every new checkpoint would ask it again.
            () = relay.checkpoint_added.notified(), if relay.time_stamp_trouble().is_none() => {}
        }
    }
}
