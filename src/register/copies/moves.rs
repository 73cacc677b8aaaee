//! Cases of moves between registration offices: one each 0201, with the days by which its answer is due.
//!
//! Kept are the offices, their own sign of the case, ids and days: nothing about whoever moves. A 0203 that comes before
//! its 0201 opens the case, too.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::base::params;
use super::post::Arrived;
use super::{Copies, CopyError, instant, micros};
use crate::register::message::Number;
use crate::register::message::moves::Move;
use crate::register::person::Ags;
use crate::register::workdays::Calendar;

/// Working days by which an answer, and a notice, is due (section 33 BMG; sections 6, 8 of the first BMeldDÜV).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    pub calendar: Calendar,
    pub zone: TimeZone,
    pub warn_days: u16,
    pub due_days: u16,
}

impl Deadlines {
    fn day(&self, at: Timestamp) -> Date {
        at.to_zoned(self.zone.clone()).date()
    }

    /// When the last of so many working days is over.
    fn over(&self, day: Date, days: u16) -> Timestamp {
        let last = self.calendar.after(day, days);
        let next = last.tomorrow().unwrap_or(last);
        next.to_zoned(self.zone.clone()).map_or(Timestamp::MAX, |start| start.timestamp())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MoveCase {
    /// UUID of the 0201.
    pub case: String,
    pub sign: String,
    pub new_office: Ags,
    pub old_office: Ags,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noticed_at: Option<Timestamp>,
    /// The notice itself came after its time.
    pub notice_late: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    pub updates: u64,
    /// `waiting`, `warned`, `escalated`, `answered` or `answered-late`.
    pub state: &'static str,
}

/// A case whose time has become short, or is over, since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    pub case: String,
    pub new_office: Ags,
    pub old_office: Ags,
    pub escalated: bool,
}

impl Copies {
    /// Takes the copy of a move message. Who is not an office of its case is refused.
    pub fn take_move(
        &self,
        arrived: &Arrived<'_>,
        one: &Move,
        deadlines: &Deadlines,
    ) -> Result<(), CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        // A notice goes from the new office to the old one, an answer back; updates go either way.
        let known: Option<(String, String)> = work.one(
            "SELECT new_office, old_office FROM move_case WHERE uuid = ?1",
            params![one.case],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (from, to) = (one.from.to_string(), one.to.to_string());
        let fits = match (&known, one.number) {
            (None, Number::MoveNotice | Number::MoveAnswer) => true,
            (None, _) => false,
            (Some((new, old)), Number::MoveNotice) => (new, old) == (&from, &to),
            (Some((new, old)), Number::MoveAnswer) => (new, old) == (&to, &from),
            (Some((new, old)), _) => (new, old) == (&from, &to) || (new, old) == (&to, &from),
        };
        if !fits {
            return Err(CopyError::Refused("no case of these two offices is known under that 0201"));
        }
        if known.is_none() {
            let (new, old) = if one.number == Number::MoveNotice { (&from, &to) } else { (&to, &from) };
            work.run(
                "INSERT INTO move_case (uuid, sign, new_office, old_office) VALUES (?1, ?2, ?3, ?4)",
                params![one.case, one.sign, new, old],
            )?;
        }
        match one.number {
            Number::MoveNotice => {
                let day = deadlines.day(arrived.at);
                let notice_over = one.registered_on.map(|day| deadlines.over(day, deadlines.due_days));
                let late = notice_over.is_some_and(|over| over <= arrived.at);
                work.run("UPDATE move_case SET noticed_at = ?2, notice_late = ?3, warn_at = ?4, due_at = ?5 WHERE uuid = ?1", params![
                    one.case,
                    micros(arrived.at),
                    late,
                    micros(deadlines.over(day, deadlines.warn_days)),
                    micros(deadlines.over(day, deadlines.due_days))
                ])?;
            }
            Number::MoveAnswer => {
                work.run(
                    "UPDATE move_case SET answered_at = coalesce(answered_at, ?2) WHERE uuid = ?1",
                    params![one.case, micros(arrived.at)],
                )?;
            }
            _ => {
                work.run("UPDATE move_case SET updates = updates + 1 WHERE uuid = ?1", params![one.case])?;
            }
        }
        self.take_within(&work, arrived, &[])?;
        work.commit()
    }

    /// Cases that have run into their warning or over their end since the last look; each is told once.
    pub fn overdue_moves(&self, now: Timestamp) -> Result<Vec<Overdue>, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let mut out = Vec::new();
        for (due, told, escalated) in [("due_at", "escalated_at", true), ("warn_at", "warned_at", false)] {
            let condition = format!("{due} <= ?1 AND {told} IS NULL AND answered_at IS NULL");
            let overdue = format!(
                "SELECT uuid, new_office, old_office FROM move_case WHERE {condition} AND escalated_at IS NULL ORDER BY uuid"
            );
            out.extend(work.all(&overdue, params![micros(now)], |row| {
                Ok(Overdue {
                    case: row.get(0)?,
                    new_office: office(row.get(1)?)?,
                    old_office: office(row.get(2)?)?,
                    escalated,
                })
            })?);
            work.run(&format!("UPDATE move_case SET {told} = ?1 WHERE {condition}"), params![micros(now)])?;
        }
        work.commit()?;
        Ok(out)
    }

    /// All cases, or those without an answer; the one that is due first comes first.
    pub fn move_cases(&self, all: bool, limit: u32) -> Result<Vec<MoveCase>, CopyError> {
        self.read(|work| {
            work.all(
 "SELECT uuid, sign, new_office, old_office, noticed_at, notice_late, due_at, answered_at, updates,
                        warned_at IS NOT NULL, escalated_at IS NOT NULL
                 FROM move_case WHERE ?1 OR answered_at IS NULL ORDER BY due_at IS NULL, due_at, uuid LIMIT ?2", params![all, limit], |row| {
                let at = |index| -> Result<Option<Timestamp>, CopyError> {
                    Ok(row.get::<Option<i64>>(index)?.map(instant))
                };
                let (due_at, answered_at) = (at(6)?, at(7)?);
                let (warned, escalated): (bool, bool) = (row.get(9)?, row.get(10)?);
                Ok(MoveCase {
                    case: row.get(0)?,
                    sign: row.get(1)?,
                    new_office: office(row.get(2)?)?,
                    old_office: office(row.get(3)?)?,
                    noticed_at: at(4)?,
                    notice_late: row.get(5)?,
                    due_at,
                    answered_at,
                    updates: super::uint(row.get(8)?),
                    state: match (answered_at, due_at) {
                        (Some(answered), Some(due)) if answered >= due => "answered-late",
                        (Some(_), _) => "answered",
                        _ if escalated => "escalated",
                        _ if warned => "warned",
                        _ => "waiting", }, }) }, ) })
    }
}

fn office(text: String) -> Result<Ags, CopyError> {
    Ags::parse(&text).map_err(|error| CopyError::Corrupt(error.to_string()))
}
