//! Dates and instants of XML Schema (`xs:dateTime`, `xs:date`), in the author's own spelling beside what they mean.
//!
//! An instant without an offset is German time; ObsoleteAfter is a day, and the message is obsolete when that day is
//! over.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use super::Error;
use crate::domain::date_time::{self, moment, split_offset, zone};
use crate::domain::envelope::Instant;

/// An `xs:dateTime`.
pub fn date_time(what: &str, text: &str) -> Result<Instant, Error> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let refuse = || Error::invalid(what, format!("{:?} is not a date with time", shortened(text)));
    let at = date_time::parse(text).ok_or_else(refuse)?;
    Ok(Instant { at, text: text.to_owned() })
}

/// An `xs:date`: the day in the author's spelling, the moment at which it is over.
pub fn last_day(what: &str, text: &str) -> Result<Instant, Error> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let refuse = || Error::invalid(what, format!("{:?} is not a date", shortened(text)));
    let (day, offset) = match text.char_indices().nth(10) {
        None => (text, None),
        Some((at, _)) => {
            let (day, rest) = text.split_at_checked(at).ok_or_else(refuse)?;
            // A date with time is what some clients write here; its day counts.
            let zone =
                if rest.starts_with('T') { split_offset(text).ok_or_else(refuse)?.1 } else { zone(rest) };
            if zone.is_none() && !rest.starts_with('T') {
                return Err(refuse());
            }
            (day, zone)
        }
    };
    if day.len() != 10 || !day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(refuse());
    }
    let day: Date = day.parse().map_err(|_| refuse())?;
    let next = day.checked_add(1.day()).map_err(|_| refuse())?;
    let at = moment(next.at(0, 0, 0, 0), offset).ok_or_else(refuse)?;
    Ok(Instant { at, text: text.to_owned() })
}

/// How answers spell a moment.
pub fn spell(at: Timestamp) -> String {
    at.to_string()
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Result<Instant, Error>, expected: Option<&str>) {
        assert_eq!(found.ok().map(|instant| instant.at.to_string()).as_deref(), expected);
    }

    #[test]
    fn instants() {
        for (text, expected) in [
            ("2026-11-22T04:46:17.314Z", Some("2026-11-22T04:46:17.314Z")),
            (" 2026-11-22T04:46:17+01:00 ", Some("2026-11-22T03:46:17Z")),
            ("2026-11-22T04:46:17", Some("2026-11-22T03:46:17Z")),
            ("2026-07-22T04:46:17", Some("2026-07-22T02:46:17Z")),
            ("2026-07-22T04:46:17.1234567891234-02:30", Some("2026-07-22T07:16:17.123456789Z")),
            ("2026-07-22 04:46:17Z", None),
            ("2026-07-22T04:46:17Z[Europe/Berlin]", None),
            ("2026-13-22T04:46:17Z", None),
            ("2026-07-22", None),
            ("2026-07-22T04:46:17+1", None),
            ("", None),
            ("ä026-07-22T04:46:17Z", None),
        ] {
            check(date_time("Origin", text), expected);
        }
    }

    #[test]
    fn a_day_ends_at_german_midnight() {
        for (text, expected) in [
            ("2026-11-22", Some("2026-11-22T23:00:00Z")),
            ("2026-07-22", Some("2026-07-22T22:00:00Z")),
            ("2026-10-24", Some("2026-10-24T22:00:00Z")),
            ("2026-10-25", Some("2026-10-25T23:00:00Z")),
            ("2026-07-22Z", Some("2026-07-23T00:00:00Z")),
            ("2026-07-22+02:00", Some("2026-07-22T22:00:00Z")),
            ("2026-07-22T10:00:00+02:00", Some("2026-07-22T22:00:00Z")),
            ("2026-02-30", None),
            ("tomorrow", None),
            ("2026-07-22x", None),
            ("9999-12-31", None),
        ] {
            check(last_day("ObsoleteAfter", text), expected);
        }
    }
}
