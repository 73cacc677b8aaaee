//! An audit pauses the deletion of what the log has of pre-filled forms.
//!
//! Their entries are deleted after twelve months like all others, unless somebody audits them: then an operator holds them
//! until the audit is over. Everything else in the log has a latest day, and no audit keeps it longer. Holding loses
//! nothing, and one operator does it; lifting destroys what was audited, and takes two. Both are entries of the log; that of
//! the end says which hold it was, because the hold's own may be erased by then. An entry that cannot be opened cannot be
//! audited, and is not held.

use jiff::Timestamp;
use serde::Serialize;

use super::base::{Work, params};
use super::duties::reason_of;
use super::eyes::{Operator, Readers, Subject, TwoReaders};
use super::looks::{self, Look};
use super::{Copies, CopyError, instant, micros};
use crate::register::question::Profile;

/// Stands in place of the instant at which an entry's time is over.
pub(super) const HELD: i64 = i64::MAX;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogHold {
    pub since: Timestamp,
    /// The operator who holds them, as the operating system calls them.
    pub by: String,
    pub reason: String,
}

impl Copies {
    pub fn log_hold(&self) -> Result<Option<LogHold>, CopyError> {
        self.read(hold)
    }

    /// From here on entries of pre-filled forms stay, however old they become.
    pub fn hold_log(&self, by: Operator, reason: &str, now: Timestamp) -> Result<(), CopyError> {
        let reason = reason_of(reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        if hold(&work)?.is_some() {
            return Err(CopyError::Refused(
                "it is held already: amtsbote register status says by whom and why",
            ));
        }
        work.run(
            "INSERT INTO log_hold (one, at, operator, reason) VALUES (1, ?1, ?2, ?3)",
            params![micros(now), by.to_string(), reason],
        )?;
        looks::append(
            &work,
            &self.key,
            &Look::of_operators("log-held", reason, &Readers::One(by)),
            &[],
            now,
        )?;
        work.commit()
    }

    /// The audit is over: the next sweep deletes what was held beyond its time.
    pub fn lift_log_hold(&self, readers: TwoReaders, reason: &str, now: Timestamp) -> Result<(), CopyError> {
        let reason = reason_of(reason)?;
        let mut session = self.writer();
        let work = session.begin()?;
        let LogHold { since, by, reason: held_for } =
            hold(&work)?.ok_or(CopyError::Refused("nothing holds it"))?;
        self.spend(&work, &readers, &Subject::LiftLogHold { since }, now)?;
        work.run("DELETE FROM log_hold", params![])?;
        work.run(
            "UPDATE look SET expires_at = ?1 WHERE content IS NOT NULL AND expires_at = ?2",
            params![micros(now), HELD],
        )?;
        let occasion = format!("{reason} (held since {since} by {by}: {held_for})");
        let look = Look::of_operators("log-hold-lifted", &occasion, &Readers::Two(readers));
        looks::append(&work, &self.key, &look, &[], now)?;
        work.commit()
    }

    /// Before old entries are erased: those that are held are taken out from among them, once each.
    pub(super) fn keep_held(&self, work: &Work<'_>, now: Timestamp) -> Result<(), CopyError> {
        if hold(work)?.is_none() {
            return Ok(());
        }
        let due: Vec<(i64, bool)> = work.all(
            "SELECT number, at, content FROM look WHERE content IS NOT NULL AND expires_at <= ?1",
            params![micros(now)],
            |row| {
                let (number, sealed): (i64, Vec<u8>) = (row.get(0)?, row.get(2)?);
                let opened = self.key.open(number, row.get(1)?, &sealed).ok();
                let look = opened.and_then(|content| serde_json::from_slice::<Look>(&content).ok());
                Ok((number, look.is_some_and(|look| look.profile == Some(Profile::PrefilledForm))))
            },
        )?;
        for (number, _) in due.into_iter().filter(|(_, is_held)| *is_held) {
            work.run("UPDATE look SET expires_at = ?2 WHERE number = ?1", params![number, HELD])?;
        }
        Ok(())
    }
}

pub(super) fn hold(work: &Work<'_>) -> Result<Option<LogHold>, CopyError> {
    work.one("SELECT at, operator, reason FROM log_hold", params![], |row| {
        Ok(LogHold { since: instant(row.get(0)?), by: row.get(1)?, reason: row.get(2)? })
    })
}
