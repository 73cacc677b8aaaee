//! How the copies stand, in sums, for whoever watches the process: cheap enough to be asked every few seconds.
//!
//! Nothing about anybody: a sum that is looked at before and after a question tells what the question moved. So there are
//! none that a locked person moves otherwise than an unknown one, such as open cases or entries of the log.

use jiff::Timestamp;

use super::base::{Value, params};
use super::changes::{gap_within, locks_unread};
use super::{Copies, CopyError, copies_where, micros, schema, uint};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Copies that answer.
    pub living: u64,
    /// Of these, those that give no data because they are too old.
    pub stale: u64,
    pub loading: u64,
    /// Replaced, or given up, and not yet cleared away.
    pub retired: u64,
    /// How old the oldest living copy is.
    pub oldest_seconds: u64,
    /// Changes that wait for earlier ones.
    pub changes_held: u64,
    /// Municipalities of which changes are missing.
    pub gaps: u64,
    /// Municipalities of which a lock could not be read.
    pub locks_unread: u64,
    /// Written, and not posted yet. Each question brings one, whatever is found.
    pub answers_waiting: u64,
}

impl Copies {
    pub fn figures(&self, now: Timestamp) -> Result<Figures, CopyError> {
        self.read(|work| {
            let count = |sql: &str, values: &[Value<'_>]| -> Result<u64, CopyError> {
                work.only(sql, values, |row| row.get(0)).map(uint)
            };
            let in_state = |state| count("SELECT count(*) FROM copy WHERE state = ?1", params![state]);
            let living = copies_where(work, "state = ?1", params![schema::LIVE])?;
            let oldest = living.iter().map(|copy| copy.as_of).min();
            let age = oldest.map_or(0, |as_of| now.duration_since(as_of).as_secs());
            let mut figures = Figures {
                living: living.len() as u64,
                loading: in_state(schema::LOADING)?,
                retired: in_state(schema::RETIRED)?,
                oldest_seconds: uint(age),
                locks_unread: locks_unread(work)?.len() as u64,
                answers_waiting: count(
                    "SELECT count(*) FROM outgoing WHERE sent_at IS NULL AND given_up_at IS NULL
                     AND sealed IS NOT NULL AND expires_at > ?1",
                    params![micros(now)],
                )?,
                ..Figures::default()
            };
            for copy in living {
                figures.stale += u64::from(copy.is_stale(now, self.settings.stale_after));
                figures.gaps += u64::from(gap_within(work, copy.ags)?.is_some());
                let held = "SELECT count(*) FROM held WHERE copy = ?1 AND sequence > ?2";
                figures.changes_held += count(held, params![copy.id, super::int(copy.sequence)])?;
            }
            Ok(figures)
        })
    }
}
