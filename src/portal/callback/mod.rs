//! Callbacks: a destination's own program is told that submissions wait for it (FIT-Connect: `new-submissions`).
//!
//! A notice only: ids, no content. What is to be told is not kept anywhere but follows from the store: a submission that
//! waits, was never fetched, and on whose card stands no call. Each call that was answered, and each that was given up, is
//! a step of the card. So a crash loses none, and may tell one twice. A receiver that does not answer is called again after
//! growing pauses, and given up with a finding when the submission is too old; whoever polls misses nothing. [`network`]
//! says which addresses may be dialled, [`mod@call`] makes one call. Of servers that share a store one at a time looks at a
//! destination and calls it; the others leave it, and go on where that one fell or failed a few times in a row.
//!
//! Left out: callbacks to senders, proxies, redirects, HTTP/2.

pub mod call;
pub mod network;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::server::{case_of, submission_of};
use crate::domain::account::Account;
use crate::domain::card::{Finding, ProcessCard, Severity};
use crate::domain::destination::{Callback, Destination, DestinationId};
use crate::domain::message_id::MessageId;
use crate::domain::state::Event;
use crate::relay::{Refusal, Relay};
use crate::store::staging::{Held, PlaceName};
use crate::store::{Entry, SubmissionQuery};

/// Who stands behind the step on the card.
const BY: &str = "callback";
/// Submissions in one call.
const PER_CALL_MAX: usize = 100;
/// Unfetched submissions that are looked at for one destination at a time, unless settings say otherwise.
pub const LOOKED_AT_MAX: u64 = 20_000;
/// Nodes that share a store commit side by side: what has a lower sequence by no more than this may be seen later.
const SEEN_LATE: u64 = 500;
/// Destinations that are called at one time.
const CALLS_MAX: usize = 256;
/// What is held of a destination among servers that share a store.
const HELD: &str = "portal-callbacks";
/// A destination that another server holds is looked at after so long, and after twice as long each time it still does.
const ELSEWHERE_FIRST: Duration = Duration::from_secs(1);
const ELSEWHERE_MAX: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// A receiver that does not answer is kept from other servers for shorter pauses than this. It may be this server's own way
/// there that is shut, so another one has its turn then.
const HELD_PAUSE_MAX: Duration = Duration::from_secs(120);
/// Everything is looked through so often, whoever was woken for what.
const SWEEP: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_secs(1);

/// Judges receivers by what is in force at the time of a call. Without one nobody is called.
pub type Receivers = Arc<dyn Fn() -> Option<Arc<rustls::ClientConfig>> + Send + Sync>;

#[derive(Clone)]
pub struct Settings {
    pub tls: Receivers,
    /// Networks that may be dialled though they are not public.
    pub networks: Vec<network::Network>,
    /// From looking up the name to the head of the answer.
    pub time_max: Duration,
    /// A submission that could not be told after this time is given up.
    pub give_up_after: Duration,
    /// Unfetched submissions that are looked at for one destination at a time; the next look goes on behind them.
    pub looked_at_max: u64,
}

/// How far one destination's unfetched submissions were looked through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Looked {
    /// Up to this sequence nothing was left to tell.
    to: u64,
    /// Behind what the pass through all of that has come, which finds what was put back since; absent where none is on
    /// its way.
    pass: Option<u64>,
}

/// How it stands with one destination's receiver. Forgotten with the process: then it is called at once.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    failures: u32,
    /// So often in a row another server was at it.
    elsewhere: u32,
    not_before: Option<Timestamp>,
    is_busy: bool,
    /// Something may wait.
    is_due: bool,
    looked: Looked,
}

/// What one look at a destination brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    pub submissions: usize,
    pub given_up: usize,
    pub failed: bool,
}

pub struct Callbacks {
    relay: Arc<Relay>,
    settings: Settings,
    standing: Mutex<BTreeMap<DestinationId, Standing>>,
    /// Of receivers that did not answer, where servers share a store: short pauses between calls are those of all servers.
    held: Mutex<BTreeMap<DestinationId, Held>>,
    wake: Notify,
}

/// Who may look at a destination.
enum Turn {
    /// This server; what it holds, where the store is shared.
    Own(Option<Held>),
    Others,
}

impl Callbacks {
    pub fn new(relay: Arc<Relay>, settings: Settings) -> Self {
        let (standing, held) = (Mutex::default(), Mutex::default());
        Self { relay, settings, standing, held, wake: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<DestinationId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self, id: &DestinationId) -> Result<Turn, Refusal> {
        let Some(staging) = self.relay.staging() else { return Ok(Turn::Own(None)) };
        let kept = self.held().remove(id);
        let directory = self.relay.directory();
        let is_called = directory
            .destination(id)
            .is_some_and(|(account, destination)| !account.blocked && destination.callback.is_some());
        if kept.is_some() || !is_called {
            return Ok(Turn::Own(kept));
        }
        let place = PlaceName { kind: HELD.to_owned(), owner: String::new(), name: id.to_string() };
        let held = staging.hold(&place, Some(Duration::ZERO)).await?;
        Ok(held.map_or(Turn::Others, |held| Turn::Own(Some(held))))
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<DestinationId, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was submitted to this destination.
    pub fn wake(&self, destination: &DestinationId) {
        self.standing().entry(destination.clone()).or_default().is_due = true;
        self.wake.notify_one();
    }

    /// Calls until it is told to stop. Every destination has a task of its own while it is called.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut calls = JoinSet::new();
        let mut swept: Option<tokio::time::Instant> = None;
        loop {
            let sweeps = swept.is_none_or(|at| at.elapsed() >= SWEEP);
            if sweeps {
                swept = Some(tokio::time::Instant::now());
            }
            for id in self.due(sweeps, CALLS_MAX.saturating_sub(calls.len())) {
                let own = self.clone();
                calls.spawn(async move { own.tell(&id).await });
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                Some(_) = calls.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Tells everything that is due, one destination after the other. [`Callbacks::run`] does the same with a task for
    /// each; this is for tests that own the time.
    pub async fn round(&self) -> Told {
        let mut all = Told::default();
        for id in self.due(true, usize::MAX) {
            let told = self.tell(&id).await;
            all.submissions += told.submissions;
            all.given_up += told.given_up;
            all.failed |= told.failed;
        }
        all
    }

    /// Who is to be looked at; each is busy from here on.
    fn due(&self, all: bool, max: usize) -> Vec<DestinationId> {
        let (directory, now) = (self.relay.directory(), self.relay.now());
        let mut standing = self.standing();
        if all {
            let has = |account: &Account, one: &Destination| one.callback.is_some() && !account.blocked;
            let wanted: std::collections::BTreeSet<_> = directory
                .destinations()
                .filter(|(account, one)| has(account, one))
                .map(|(_, one)| one.id.clone())
                .collect();
            let known = standing.len();
            standing.retain(|id, one| one.is_busy || wanted.contains(id));
            self.held().retain(|id, _| wanted.contains(id));
            if standing.len() < known {
                gauge(&standing);
            }
            for id in wanted {
                let one = standing.entry(id).or_default();
                one.is_due = true;
                one.looked.pass = one.looked.pass.or(Some(0));
            }
        }
        let ready = standing.iter_mut().filter(|(_, one)| {
            one.is_due && !one.is_busy && one.not_before.is_none_or(|instant| instant <= now)
        });
        ready
            .take(max)
            .map(|(id, one)| {
                (one.is_busy, one.is_due) = (true, false);
                id.clone()
            })
            .collect()
    }

    /// Destinations whose receiver did not answer when it was called last.
    pub fn failing(&self) -> usize {
        failing(&self.standing())
    }

    async fn tell(&self, id: &DestinationId) -> Told {
        let told = self.tell_one(id).await;
        gauge(&self.standing());
        told
    }

    async fn tell_one(&self, id: &DestinationId) -> Told {
        let looked = self.standing().get(id).map_or_else(Looked::default, |one| one.looked);
        let (told, held) = match self.turn(id).await {
            Ok(Turn::Own(held)) => (self.tell_all(id, looked).await, held),
            Ok(Turn::Others) => {
                let mut standing = self.standing();
                let one = standing.entry(id.clone()).or_default();
                let pause = ELSEWHERE_FIRST.saturating_mul(1 << one.elsewhere.min(16)).min(ELSEWHERE_MAX);
                one.elsewhere = one.elsewhere.saturating_add(1);
                // That server may have looked before what is due here was there.
                (one.is_busy, one.is_due) = (false, true);
                one.not_before = self.relay.now().checked_add(pause).ok();
                return Told::default();
            }
            Err(refusal) => (Err(refusal), None),
        };
        let mut standing = self.standing();
        let one = standing.entry(id.clone()).or_default();
        if let (Ok((Told { failed: true, .. }, _)), Some(held)) = (&told, held)
            && pause_after(one.failures) < HELD_PAUSE_MAX
        {
            self.held().insert(id.clone(), held);
        }
        (one.is_busy, one.elsewhere) = (false, 0);
        match told {
            Ok((told, next)) if !told.failed => {
                // The rest is looked at in the next turn.
                one.is_due |= next.is_some_and(|(_, is_all)| !is_all);
                one.looked = next.map_or(one.looked, |(looked, _)| looked);
                if one.failures > 0 {
                    tracing::info!(destination = %id, "its callback answers again");
                }
                (one.failures, one.not_before) = (0, None);
                told
            }
            outcome => {
                let told = outcome.map(|(told, _)| told).unwrap_or_else(|refusal| {
                    tracing::warn!(destination = %id, code = refusal.code(), next_step = "see the store's own lines", "what its callback is to be told cannot be read");
                    Told { failed: true, ..Told::default() }
                });
                let pause = pause_after(one.failures);
                one.failures = one.failures.saturating_add(1);
                one.not_before = self.relay.now().checked_add(pause).ok();
                one.is_due = true;
                told
            }
        }
    }

    /// What was told, and, where anybody is to be told, how far all was looked through and whether that was the end.
    async fn tell_all(
        &self,
        id: &DestinationId,
        looked: Looked,
    ) -> Result<(Told, Option<(Looked, bool)>), Refusal> {
        let directory = self.relay.directory();
        let found = directory.destination(id).filter(|(account, _)| !account.blocked);
        let Some((account, destination)) = found else { return Ok(Default::default()) };
        let Some(callback) = &destination.callback else { return Ok(Default::default()) };
        let mut told = Told::default();
        let late = SEEN_LATE.min(self.settings.looked_at_max / 4);
        let fresh = looked.to.saturating_sub(late)..u64::MAX;
        let (mut waiting, to, mut is_all) = self.waiting(account, id, fresh.clone()).await?;
        let mut next = Looked { to: looked.to.max(to), pass: None };
        if let Some(at) = looked.pass.filter(|at| *at < fresh.start) {
            let (mut again, at, is_over) = self.waiting(account, id, at..fresh.start).await?;
            again.append(&mut waiting);
            waiting = again;
            next.pass = (!is_over).then_some(at);
            is_all &= is_over;
        }
        let now = self.relay.now();
        let is_old = |entry: &Entry| -> bool {
            let age = Duration::try_from(now.duration_since(entry.card.accepted_at)).unwrap_or_default();
            age > self.settings.give_up_after
        };
        let mut called = 0;
        for some in waiting.chunks(PER_CALL_MAX) {
            let ids: Vec<_> =
                some.iter().filter_map(|entry| submission_of(entry).zip(case_of(entry))).collect();
            if let Err(error) = call(&self.settings, callback, id, &ids, now).await {
                self.complain(id, &error);
                told.failed = true;
                break;
            }
            for entry in some {
                let noted =
                    self.relay.note_call(&entry.envelope.id, BY, "its receiver was told", None).await?;
                told.submissions += usize::from(noted);
            }
            called += some.len();
        }
        // However old: nothing is given up before its receiver has failed once more.
        for entry in waiting.iter().skip(called).filter(|entry| is_old(entry)) {
            told.given_up += usize::from(self.give_up(id, &entry.envelope.id).await?);
        }
        Ok((told, Some((next, is_all))))
    }

    /// Submissions behind the first of these sequences and up to the last that were never fetched and that nobody was told
    /// of; how far it was looked, and whether that is all of them.
    async fn waiting(
        &self,
        account: &Account,
        id: &DestinationId,
        sequences: Range<u64>,
    ) -> Result<(Vec<Entry>, u64, bool), Refusal> {
        let (mut found, mut after, mut left) =
            (Vec::new(), sequences.start, self.settings.looked_at_max.max(1));
        while left > 0 {
            let limit = u32::try_from(left.min(500)).unwrap_or(500);
            let unfetched = SubmissionQuery { new_only: true, after, limit, ..SubmissionQuery::default() };
            let page = self.relay.submissions(account, Some(id), unfetched).await?;
            let Some(last) = page.entries.last() else { return Ok((found, after, true)) };
            (after, left) = (last.sequence, left.saturating_sub(page.entries.len() as u64));
            let is_meant = |entry: &Entry| entry.sequence <= sequences.end && !was_called(&entry.card);
            found.extend(page.entries.into_iter().filter(is_meant));
            if after >= sequences.end {
                return Ok((found, after, true));
            }
        }
        Ok((found, after, false))
    }

    /// The first failure in a row is the operator's; further ones are for whoever looks closer.
    fn complain(&self, id: &DestinationId, error: &call::Error) {
        let failures = self.standing().get(id).map_or(0, |one| one.failures);
        metrics::counter!("amtsbote_callbacks_failed_total").increment(1);
        let next_step = error.next_step();
        if failures == 0 {
            tracing::warn!(destination = %id, code = "callback-failed", next_step, "its callback was not answered, and is tried again: {error}");
        } else {
            tracing::debug!(destination = %id, code = "callback-failed", failures, "again: {error}");
        }
    }

    async fn give_up(&self, id: &DestinationId, message: &MessageId) -> Result<bool, Refusal> {
        let hours = self.settings.give_up_after.as_secs() / 3600;
        let finding = Finding {
            at: self.relay.now(),
            severity: Severity::Warning,
            code: "callback-dead".to_owned(),
            reason: format!("the receiver of destination {id} did not answer for {hours} hours"),
        };
        let noted = self.relay.note_call(message, BY, "given up", Some(finding)).await?;
        if noted {
            metrics::counter!("amtsbote_callbacks_given_up_total").increment(1);
            tracing::warn!(
                destination = %id,
                message_id = %message,
                code = "callback-dead",
                next_step = "tell whoever keeps the destination; the submission waits and can be fetched",
                "its receiver could not be told of a submission for {hours} hours; it is not called for this one any more"
            );
        }
        Ok(noted)
    }
}

fn failing(standing: &BTreeMap<DestinationId, Standing>) -> usize {
    standing.values().filter(|one| one.failures > 0).count()
}

fn gauge(standing: &BTreeMap<DestinationId, Standing>) {
    metrics::gauge!("amtsbote_callbacks_failing").set(failing(standing) as f64);
}

/// One call that tells of these submissions, each with its case; of none as a test.
pub async fn call(
    settings: &Settings,
    callback: &Callback,
    destination: &DestinationId,
    submissions: &[(Uuid, Uuid)],
    now: Timestamp,
) -> Result<StatusCode, call::Error> {
    let notice = call::notice(destination, submissions.iter().copied(), &callback.secret, now);
    let tls = (settings.tls)().ok_or(call::Error::NoAnchors)?;
    call::post(&callback.url, &notice, tls, &settings.networks, settings.time_max).await
}

/// Whether somebody was called, or given up, since the message was last put into its mailbox.
fn was_called(card: &ProcessCard) -> bool {
    let since = card.steps.iter().rev().take_while(|step| step.event != Event::Requeued);
    since.into_iter().any(|step| step.event == Event::Reminded && step.by.as_deref() == Some(BY))
}

fn pause_after(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<u64> = (0..12).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(pauses[..5], [10, 20, 40, 80, 160]);
        assert_eq!(pauses[9..], [3600, 3600, 3600]);
        assert_eq!(pause_after(u32::MAX), PAUSE_MAX);
    }
}
