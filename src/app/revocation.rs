//! Keeps news of revocation current: fetches lists before they run out, asks responders what inspections wanted to
//! know. A task of its own, so that no client waits for it; a slow host holds up no other host.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::trust::Trust;
use crate::clock::Clock;
use crate::config::Config;
use crate::pki::certificate::Certificate;
use crate::pki::expiry;
use crate::pki::revocation::answers::Question;
use crate::pki::revocation::fetch::{Client, Fetched};
use crate::pki::trust::ListState;

/// Between two looks at what is to do.
const PAUSE: Duration = Duration::from_secs(5);
/// Lists are fetched anew then, and no host is to be asked without end.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(60);
const AT_ONCE_MAX: usize = 8;
const BETWEEN_WARNINGS: SignedDuration = SignedDuration::from_hours(1);
/// After a failed fetch; the list at hand has a good part of its time left.
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn keep_current(
    trust: Trust,
    config: Config,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
) {
    let look_after = || look_until_stopped(trust.clone(), config.clone(), clock.clone(), stop.clone());
    again_after_panic(look_after, PAUSE_AFTER_PANIC, stop.clone()).await;
}

/// Without this task lists run out unnoticed, so it does not end before the process does.
async fn again_after_panic<F>(task: impl Fn() -> F, pause: Duration, mut stop: watch::Receiver<bool>)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(task()).await {
        let next_step = "report it with the lines before; it is started again";
        tracing::error!(code = "revocation-task-ended", next_step, "news of revocation: {error}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn look_until_stopped(
    trust: Trust,
    config: Config,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    let mut keeper = Keeper {
        client: Client::new(config.fetch_settings()),
        trust,
        config,
        clock,
        lists_due: HashMap::new(),
        renewal: Renewal::default(),
        warned: Timestamp::MIN,
    };
    let mut tick = tokio::time::interval(PAUSE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = keeper.look() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Whether lists lie on disk that are not in force yet.
#[derive(Debug, Default)]
struct Renewal {
    due: bool,
    warned: Option<Timestamp>,
}

impl Renewal {
    /// A failure is tried again at the next look, and reported now and then.
    fn attempt(&mut self, now: Timestamp, renew: impl FnOnce() -> Result<(), String>) {
        if !self.due {
            return;
        }
        match renew() {
            Ok(()) => *self = Self::default(),
            Err(error) => {
                if self.warned.is_none_or(|warned| now.duration_since(warned) >= PAUSE_AFTER_FAILURE) {
                    let next_step = "run `amtsbote check`";
                    tracing::error!(
                        code = "reload-failed",
                        next_step,
                        "the new revocation lists are not in force: {error}"
                    );
                    self.warned = Some(now);
                }
            }
        }
    }
}

struct Keeper {
    client: Client,
    trust: Trust,
    config: Config,
    clock: Arc<dyn Clock>,
    /// By URL.
    lists_due: HashMap<String, Timestamp>,
    renewal: Renewal,
    warned: Timestamp,
}

impl Keeper {
    async fn look(&mut self) {
        self.fetch_lists().await;
        self.renewal.attempt(self.clock.now(), || self.trust.renew_anchors(&self.config));
        if self.config.revocation.ocsp {
            self.ask().await;
        }
        self.report();
    }

    async fn fetch_lists(&mut self) {
        let now = self.clock.now();
        let due = |url: &&String| self.lists_due.get(*url).is_none_or(|due| *due <= now);
        let due: Vec<String> = self.config.revocation.lists.iter().filter(due).cloned().collect();
        if due.is_empty() {
            return;
        }
        let authorities: Vec<Certificate> = self.trust.authorities();
        let fetches = stream::iter(due).map(|url| {
            let (client, authorities) = (&self.client, &authorities);
            async move {
                let outcome = client.fetch_list(&url, authorities).await;
                (url, outcome)
            }
        });
        let outcomes: Vec<_> = fetches.buffer_unordered(AT_ONCE_MAX).collect().await;
        let longest = SignedDuration::from_mins(i64::from(self.config.revocation.refresh_minutes));
        for (url, outcome) in outcomes {
            let pause = match &outcome {
                Ok(fetched) => {
                    self.renewal.due |= *fetched == Fetched::Newer;
                    longest
                }
                Err(error) => {
                    let next_step = "see whether the URL and revocation.hosts are right and the host answers";
                    tracing::warn!(code = "revocation-list-not-fetched", url, next_step, "{error}");
                    longest.min(PAUSE_AFTER_FAILURE)
                }
            };
            count("list", outcome.is_ok());
            self.lists_due.insert(url, now.checked_add(pause).unwrap_or(Timestamp::MAX));
        }
    }

    async fn ask(&self) {
        let now = self.clock.now();
        let answers = self.trust.answers();
        let questions = stream::iter(answers.take_questions(now));
        let asked = questions.map(|question: Question| async move {
            let outcome = self.client.ask(answers, &question, now).await;
            count("ocsp", outcome.is_ok());
            if let Err(error) = outcome {
                let serial = question.certificate.serial().to_owned();
                let next_step = "see whether revocation.hosts names the responder and the host answers";
                tracing::warn!(code = "ocsp-no-answer", serial, next_step, "{error}");
                answers.failed(question, now);
            }
        });
        asked.buffer_unordered(AT_ONCE_MAX).collect::<()>().await;
    }

    fn report(&mut self) {
        let (now, anchors) = (self.clock.now(), self.trust.anchors());
        for (issuer, left) in seconds_left(anchors.revocation_lists(), now) {
            metrics::gauge!("amtsbote_revocation_list_seconds_left", "issuer" => issuer).set(left);
        }
        metrics::gauge!("amtsbote_ocsp_answers").set(self.trust.answers().state(now).0 as f64);
        if now.duration_since(self.warned) < BETWEEN_WARNINGS {
            return;
        }
        self.warned = now;
        for sentence in expiry::list_warnings(anchors.revocation_lists(), now) {
            tracing::warn!(code = "revocation-list-stale", "{sentence}");
        }
    }
}

/// By issuer's name, of the list that runs out first: several keys may bear it, each with full and delta lists.
fn seconds_left(lists: impl IntoIterator<Item = ListState>, now: Timestamp) -> BTreeMap<String, f64> {
    let mut least = BTreeMap::new();
    for list in lists {
        let Some(due) = list.next_update else { continue };
        let left = due.duration_since(now).as_secs_f64();
        least.entry(list.issuer).and_modify(|known: &mut f64| *known = known.min(left)).or_insert(left);
    }
    least
}

fn count(kind: &'static str, good: bool) {
    let outcome = if good { "good" } else { "failed" };
    metrics::counter!("amtsbote_revocation_fetches_total", "kind" => kind, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::pki::inspection::Purpose;

    #[test]
    fn the_list_that_runs_out_first_counts() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("an instant");
        let list = |issuer: &str, delta, left: Option<i64>| ListState {
            purpose: Purpose::ParticipantTls,
            issuer: issuer.to_owned(),
            delta,
            this_update: now,
            next_update: left.map(|left| now + SignedDuration::from_secs(left)),
        };
        let (ours, theirs) = ("CN=Ours", "CN=Theirs");
        let lists = [
            list(ours, false, Some(90)),
            list(ours, true, Some(-5)),
            list(ours, false, Some(3000)),
            list(ours, false, None),
            list(theirs, false, Some(7)),
        ];
        let expected = [(ours.to_owned(), -5.0), (theirs.to_owned(), 7.0)];
        assert_eq!(seconds_left(lists, now), BTreeMap::from(expected));
    }

    #[test]
    fn a_failed_renewal_is_tried_again() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("an instant");
        let mut renewal = Renewal::default();
        let attempt = |renewal: &mut Renewal, outcome: Result<(), String>| {
            let mut tried = false;
            renewal.attempt(now, || {
                tried = true;
                outcome
            });
            tried
        };
        assert!(!attempt(&mut renewal, Ok(())), "nothing new");
        renewal.due = true;
        assert!(attempt(&mut renewal, Err("the key is not there".into())));
        assert!(attempt(&mut renewal, Err("the key is not there".into())), "still due");
        assert!(attempt(&mut renewal, Ok(())));
        assert!(!attempt(&mut renewal, Ok(())), "in force");
    }

    #[tokio::test]
    async fn a_panic_does_not_end_it() {
        let starts = Arc::new(AtomicUsize::new(0));
        let (stop, stopping) = watch::channel(false);
        let task = || {
            let (starts, mut stopping) = (starts.clone(), stopping.clone());
            async move {
                assert_ne!(starts.fetch_add(1, Ordering::SeqCst), 0, "the first one panics");
                let _ = stopping.wait_for(|stop| *stop).await;
            }
        };
        let stopper = async {
            while starts.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.send_replace(true);
        };
        let both = async { tokio::join!(again_after_panic(task, Duration::ZERO, stopping.clone()), stopper) };
        tokio::time::timeout(Duration::from_secs(10), both).await.expect("started again, and stopped");
        assert_eq!(starts.load(Ordering::SeqCst), 2);
    }
}
