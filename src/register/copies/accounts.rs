//! What was asked and what it cost, by month and municipality: read from the log of looks, and from the meter that is
//! written with each look.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::base::{Work, params};
use super::looks::Look;
use super::{Copies, CopyError, micros, uint};
use crate::register::fees::{Channel, split};
use crate::register::person::Ags;
use crate::register::question::{Area, Question};

/// A calendar month, in the register's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    first: Date,
}

impl Month {
    /// `YYYY-MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) =
            text.split_once('-').filter(|(year, month)| (year.len(), month.len()) == (4, 2))?;
        Some(Self { first: Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()? })
    }

    fn bounds(self, zone: &TimeZone) -> (Timestamp, Timestamp) {
        let start = |day: Date| day.to_zoned(zone.clone()).map_or(Timestamp::MAX, |day| day.timestamp());
        (start(self.first), self.first.checked_add(1.month()).map_or(Timestamp::MAX, start))
    }
}

/// One line of the monthly statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// A municipality's key, or `state`.
    pub area: String,
    pub profile: &'static str,
    pub asker: String,
    pub questions: u64,
    pub with_hits: u64,
    pub hits: u64,
}

/// One line of the month's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    pub ags: Ags,
    pub channel: String,
    pub questions: u64,
    pub cents: u64,
    pub municipality_cents: u64,
    pub operator_cents: u64,
}

impl Copies {
    /// Questions of a month. Entries that the law had erased are not counted.
    pub fn statistics(&self, month: Month) -> Result<Vec<Asked>, CopyError> {
        let (from, until) = month.bounds(&self.settings.zone);
        self.read(|work| {
            let mut lines: BTreeMap<(String, &'static str, String), Asked> = BTreeMap::new();
            let looks = "SELECT number, at, content FROM look
 WHERE at >= ?1 AND at < ?2 AND content IS NOT NULL ORDER BY number";
            work.each(looks, params![micros(from), micros(until)], |row| {
                let sealed: Vec<u8> = row.get(2)?;
                let content = self.key.open(row.get(0)?, row.get(1)?, &sealed)?;
                let look: Look = serde_json::from_slice(&content)
                    .map_err(|error| CopyError::Corrupt(error.to_string()))?;
                // Answers by hand are no questions.
                let Some(profile) = look.profile.filter(|_| look.by_hand.is_none()) else { return Ok(true) };
                let key = (look.area.clone(), profile.as_str(), look.asker.clone());
                let line = lines.entry(key).or_insert_with(|| Asked {
                    area: look.area.clone(),
                    profile: profile.as_str(),
                    asker: look.asker.clone(),
                    questions: 0,
                    with_hits: 0,
                    hits: 0,
                });
                line.questions += 1;
                line.with_hits += u64::from(look.hits > 0);
                line.hits += look.hits;
                Ok(true)
            })?;
            Ok(lines.into_values().collect())
        })
    }

    /// What a month's private enquiries came to, each split on its own: the sums are sums of what was charged.
    pub fn accounts(&self, month: Month) -> Result<Vec<Account>, CopyError> {
        let (from, until) = month.bounds(&self.settings.zone);
        self.read(|work| {
            work.all(
"SELECT ags, channel, count(*), CAST(sum(cents) AS BIGINT), CAST(sum(municipality_cents) AS BIGINT),
                        CAST(sum(operator_cents) AS BIGINT)
                 FROM meter WHERE at >= ?1 AND at < ?2 GROUP BY ags, channel ORDER BY ags, channel", params![micros(from), micros(until)], |row| {
                let ags: String = row.get(0)?;
                Ok(Account {
                    ags: Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?,
                    channel: row.get(1)?,
                    questions: uint(row.get(2)?),
                    cents: uint(row.get(3)?),
                    municipality_cents: uint(row.get(4)?),
                    operator_cents: uint(row.get(5)?), }) }, )
 })
    }

    /// What a question costs at this instant.
    pub(super) fn price(&self, question: &Question, channel: Channel, now: Timestamp) -> u32 {
        let Area::Municipality(ags) = question.area else { return 0 };
        let day = now.to_zoned(self.settings.zone.clone()).date();
        self.settings.tariff.cents(ags, question.profile, channel, day)
    }

    /// Within the look's transaction, whatever was found. `agreed` is what was paid before.
    pub(super) fn meter(
        &self,
        work: &Work<'_>,
        look: i64,
        question: &Question,
        channel: Channel,
        agreed: Option<u32>,
        now: Timestamp,
    ) -> Result<(), CopyError> {
        let Area::Municipality(ags) = question.area else { return Ok(()) };
        let cents = agreed.unwrap_or_else(|| self.price(question, channel, now));
        if cents == 0 {
            return Ok(());
        }
        let share = split(cents);
        work.run(
            "INSERT INTO meter (look, at, ags, channel, cents, municipality_cents, operator_cents)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                look,
                micros(now),
                ags.to_string(),
                channel.as_str(),
                cents,
                share.municipality,
                share.operator
            ],
        )?;
        Ok(())
    }
}
