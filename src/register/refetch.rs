//! How long an answer can be fetched again: to the end of the eighth calendar day after the application, in the
//! register's time zone. Pure. Number of days and zone are configuration.
//!
//! Until then the asker gets the same bytes, without a search, a fee, a notice or a line in the log. After it, key and
//! bytes are gone, and a mark remains that there was an answer.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Calendar days after the day of the application.
    pub days: u16,
    pub zone: TimeZone,
}

impl Rule {
    /// The instant at which the last day is over.
    pub fn expiry(&self, applied_at: Timestamp) -> Timestamp {
        let day = applied_at.to_zoned(self.zone.clone()).date();
        let after = day.checked_add((i32::from(self.days) + 1).days());
        after.and_then(|day| day.to_zoned(self.zone.clone())).map_or(Timestamp::MAX, |day| day.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_ends_where_the_register_is() {
        let berlin = TimeZone::get("Europe/Berlin").expect("the zone");
        for (days, zone, applied, expected) in [
            (8, &berlin, "2026-11-22T09:00:00Z", "2026-11-30T23:00:00Z"),
            // Half past midnight there, the day before in UTC.
            (8, &berlin, "2026-11-21T23:30:00Z", "2026-11-30T23:00:00Z"),
            (8, &TimeZone::UTC, "2026-11-21T23:30:00Z", "2026-11-30T00:00:00Z"),
            // The clocks go forward, and back, in between.
            (8, &berlin, "2026-03-25T12:00:00Z", "2026-04-02T22:00:00Z"),
            (8, &berlin, "2026-10-20T12:00:00Z", "2026-10-28T23:00:00Z"),
            (0, &berlin, "2026-11-22T09:00:00Z", "2026-11-22T23:00:00Z"),
        ] {
            let rule = Rule { days, zone: zone.clone() };
            let expiry = rule.expiry(applied.parse().expect("an instant"));
            assert_eq!(expiry.to_string(), expected, "{days} days after {applied}");
        }
    }
}
