//! The register's night: once a day, from the hour that the configuration names, records whose periods are over shrink
//! or go, and copies that were not compared with their originals, or differ from them, are told to the operator, as are
//! changes that do not come and reports that are due.
//!
//! A night that was broken off is begun again at the next look; one that was ended is done for its day.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::register::copies::{CopyError, Night};
use crate::register::desk::Desk;

/// Between two looks whether the hour has come.
const ROUND: Duration = Duration::from_secs(60);

/// A case that is open for longer is told of each night.
const CASE_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3600);

pub(super) struct NightWatch {
    desk: Arc<Desk>,
    hour: u8,
    /// Zero: nobody is told.
    reconcile_within: Duration,
    clock: Arc<dyn Clock>,
}

impl NightWatch {
    pub(super) fn new(desk: Arc<Desk>, hour: u8, reconcile_within: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { desk, hour, reconcile_within, clock }
    }

    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let (watch, stopped) = (self.clone(), stop.clone());
            // All copies are walked: nothing for the threads that serve.
            let done = tokio::task::spawn_blocking(move || watch.look(&|| !*stopped.borrow())).await;
            let failure = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = failure {
                tracing::error!(
                    code = "register-night",
                    error,
                    next_step = "look at disk and database of the register; it is tried again",
                    "the night's work cannot be done"
                );
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    fn look(&self, go_on: &dyn Fn() -> bool) -> Result<(), CopyError> {
        let Some(day) = self.desk.copies.night_due(self.hour, self.clock.now())? else { return Ok(()) };
        let night = self.desk.copies.work_at_night(day, || self.clock.now(), go_on)?;
        let Night { ended_at: Some(at), restricted, deleted, unreadable, .. } = night else { return Ok(()) };
        tracing::info!(restricted, deleted, "records whose periods are over were shrunk and deleted");
        if unreadable > 0 {
            tracing::error!(
                code = "register-unreadable",
                unreadable,
                next_step = "find out whether the database is damaged; a new load of the municipality replaces its records",
                "records cannot be read, and were left as they are"
            );
        }
        if let Some(oldest) = self.desk.copies.open_duties(0, 1)?.first()
            && oldest.since.checked_add(CASE_AGE_MAX).is_ok_and(|until| until < at)
        {
            tracing::warn!(
                code = "register-cases-open",
                case = oldest.number,
                kind = oldest.kind,
                municipality = oldest.ags.to_string(),
                next_step = "amtsbote register cases lists them; register case show opens one",
                "a case waits for somebody"
            );
        }
        self.remind(at)?;
        self.compared(at)
    }

    /// Of what somebody was asked for, or has to do, and has not.
    fn remind(&self, now: Timestamp) -> Result<(), CopyError> {
        for ags in self.desk.copies.living()? {
            if let Some((first, last)) = self.desk.copies.gap(ags)? {
                tracing::warn!(
                    code = "register-changes-missing",
                    municipality = ags.to_string(),
                    first,
                    last,
                    next_step =
                        "the receipts have asked for them; call the municipality, or ask it for a full load",
                    "changes are missing, and those behind them wait"
                );
            }
        }
        let due: Vec<String> =
            self.desk.copies.plausibility_due(now)?.into_iter().map(|ags| ags.to_string()).collect();
        if !due.is_empty() {
            tracing::warn!(
                code = "register-plausibility-due",
                municipalities = due.join(" "),
                next_step = "amtsbote register plausibility AGS makes it; send it to the municipality",
                "the yearly report on records that cannot be right is due"
            );
        }
        Ok(())
    }

    /// The comparison is the municipality's to begin; here it is only missed.
    fn compared(&self, now: Timestamp) -> Result<(), CopyError> {
        if self.reconcile_within.is_zero() {
            return Ok(());
        }
        let known = self.desk.copies.reconciled()?;
        for ags in self.desk.copies.living()? {
            let municipality = ags.to_string();
            match known.get(&ags) {
                Some(one) if !one.is_equal() => tracing::warn!(
                    code = "register-copy-differs",
                    municipality,
                    buckets = one.buckets_differing,
                    next_step =
                        "the municipality sends what differs again, or loads anew: amtsbote register status",
                    "a copy differs from its original"
                ),
                Some(one) if one.at.checked_add(self.reconcile_within).is_ok_and(|until| until >= now) => {}
                _ => tracing::warn!(
                    code = "register-not-compared",
                    municipality,
                    next_step = "ask the municipality why its hashes (1104 with abgleich) do not come",
                    "a copy was not compared with its original in time"
                ),
            }
        }
        Ok(())
    }
}
