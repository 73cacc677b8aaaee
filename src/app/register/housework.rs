//! What is done beside everything else, in steps: where the log stands is noted, what has run out removed, move notices
//! that are late told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::RegisterService;

/// Between two sweeps of what has run out.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two steps of work that nobody waits for: others get at the database meanwhile.
const STEP_PAUSE: Duration = Duration::from_millis(50);

impl RegisterService {
    pub(super) async fn note_head(&self) {
        let desk = self.desk.clone();
        let noted = tokio::task::spawn_blocking(move || desk.copies.note_head()).await;
        let failure = match noted {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            code = "register-log-head",
            error = failure,
            next_step = "find out whether the log was changed (amtsbote register log); if the register was restored from a backup, keep the file of heads aside",
            "where the log stands cannot be written down"
        );
    }

    /// Beside everything else, in steps: no message waits for more than one of them.
    pub(super) async fn sweeps(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut swept: Option<tokio::time::Instant> = None;
        while !*stop.borrow() {
            if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
                self.note_head().await;
                self.sweep(self.clock.now()).await;
                self.tell_of_stale(self.clock.now()).await;
                swept = Some(tokio::time::Instant::now());
            }
            let (desk, now) = (self.desk.clone(), self.clock.now());
            let more = match tokio::task::spawn_blocking(move || desk.copies.tidy_step(now)).await {
                Ok(Ok(more)) => more,
                Ok(Err(error)) => {
                    unswept(&error);
                    false
                }
                Err(error) => {
                    unswept(&error);
                    false
                }
            };
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(if more { STEP_PAUSE } else { SWEEP }) => {}
            }
        }
    }

    /// A copy that gives no data is told of once, and once more when it does again. A database that is away is told of
    /// elsewhere.
    async fn tell_of_stale(&self, now: Timestamp) {
        let Ok(stale) = self.copies(move |copies| copies.stale(now)).await else { return };
        let mut known = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &stale {
            if known.insert(one.ags) {
                let missing =
                    one.missing.map_or("none".to_owned(), |(first, last)| format!("{first} to {last}"));
                tracing::error!(
                    code = "register-copy-stale",
                    municipality = one.ags.to_string(),
                    as_of = %one.as_of,
                    missing,
                    next_step = "ask the municipality for the changes that are missing, or why nothing comes, not even that nothing happened (1104); amtsbote register status",
                    "a copy is too old and gives no data"
                );
            }
        }
        known.retain(|ags| {
            let still = stale.iter().any(|one| one.ags == *ags);
            if !still {
                tracing::info!(municipality = ags.to_string(), "a copy gives data again");
            }
            still
        });
    }

    async fn sweep(&self, now: Timestamp) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
        let desk = self.desk.clone();
        let swept = tokio::task::spawn_blocking(move || {
            desk.copies.expire_answers(now)?;
            desk.copies.erase_expired(now)?;
            desk.copies.forget_in_journal()?;
            desk.copies.overdue_moves(now)
        });
        match swept.await {
            Ok(Ok(overdue)) => {
                for one in overdue {
                    let (case, old, new) = (one.case, one.old_office.to_string(), one.new_office.to_string());
                    if one.escalated {
                        tracing::error!(
                            code = "register-move-late",
                            case,
                            old_office = old,
                            new_office = new,
                            next_step = "call the old office: its answer (0203) is over its time",
                            "a move notice was not answered"
                        );
                    } else {
                        tracing::warn!(
                            code = "register-move-due",
                            case,
                            old_office = old,
                            new_office = new,
                            "the answer to a move notice is due soon"
                        );
                    }
                }
            }
            Ok(Err(error)) => unswept(&error),
            Err(error) => unswept(&error),
        }
    }
}

fn unswept(error: &dyn std::fmt::Display) {
    tracing::error!(
        code = "register-sweep",
        %error,
        next_step = "look at disk and database of the register",
        "what has run out cannot be removed"
    );
}
