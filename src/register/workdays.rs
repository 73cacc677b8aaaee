//! Working days (Werktage): Saturdays count, Sundays and public holidays do not. Pure.
//!
//! Whether Saturdays count, and whether a period that ends on one ends on the next working day instead (section 193 BGB,
//! section 31(3) VwVfG), is configuration. Holidays are data, one a line; the Saarland's are shipped.

use jiff::civil::{Date, Weekday};
use jiff::{ToSpan, civil};
use thiserror::Error;

pub const SAARLAND: &str = include_str!("saarland.holidays");

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "line {line} is no holiday: MM-DD or days from Easter Sunday such as +39, then a name; # begins a remark"
)]
pub struct CalendarError {
    pub line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holiday {
    Fixed { month: i8, day: i8 },
    FromEaster(i16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    holidays: Vec<Holiday>,
    pub saturday_counts: bool,
    pub saturday_end_moves: bool,
}

impl Calendar {
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let mut holidays = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (when, name) = line.split_once(' ').ok_or(CalendarError { line: at + 1 })?;
            let holiday = holiday(when).filter(|_| !name.trim().is_empty());
            holidays.push(holiday.ok_or(CalendarError { line: at + 1 })?);
        }
        Ok(Self { holidays, saturday_counts: true, saturday_end_moves: true })
    }

    pub fn is_working_day(&self, day: Date) -> bool {
        let weekday = day.weekday();
        weekday != Weekday::Sunday
            && (self.saturday_counts || weekday != Weekday::Saturday)
            && !self.is_holiday(day)
    }

    fn is_holiday(&self, day: Date) -> bool {
        self.holidays.iter().any(|holiday| match holiday {
            Holiday::Fixed { month, day: date } => (day.month(), day.day()) == (*month, *date),
            Holiday::FromEaster(days) => {
                easter(day.year()).and_then(|sunday| sunday.checked_add(i32::from(*days).days()).ok())
                    == Some(day)
            }
        })
    }

    /// The last day of a period of so many working days after `day`, which itself does not count.
    pub fn after(&self, day: Date, working_days: u16) -> Date {
        let mut end = day;
        for _ in 0..working_days {
            end = self.next(end);
        }
        while self.saturday_end_moves && working_days > 0 && end.weekday() == Weekday::Saturday {
            end = self.next(end);
        }
        end
    }

    fn next(&self, day: Date) -> Date {
        let mut next = day;
        // No run of holidays is as long as a month.
        for _ in 0..31 {
            next = next.tomorrow().unwrap_or(next);
            if self.is_working_day(next) {
                break;
            }
        }
        next
    }
}

fn holiday(when: &str) -> Option<Holiday> {
    if when.starts_with(['+', '-']) {
        return when.parse().ok().filter(|days: &i16| days.abs() <= 200).map(Holiday::FromEaster);
    }
    let (month, day) = when.split_once('-')?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    // 2024 has every day that a year can have.
    civil::Date::new(2024, month, day).ok().map(|_| Holiday::Fixed { month, day })
}

/// Easter Sunday of the Gregorian calendar (Meeus, Jones, Butcher).
fn easter(year: i16) -> Option<Date> {
    let year = i32::from(year);
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (b - (b + 8) / 25 + 1) / 3;
    let h = (19 * a + b - d - g + 15) % 30;
    let l = (32 + 2 * e + 2 * (c / 4) - h - c % 4) % 7;
    let m = (a + 11 * h + 22 * l) / 451;
    let day = h + l - 7 * m + 114;
    Date::new(i16::try_from(year).ok()?, i8::try_from(day / 31).ok()?, i8::try_from(day % 31 + 1).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().expect("a day")
    }

    #[test]
    fn easter_is_where_the_church_has_it() {
        for (year, expected) in [
            (2000, "2000-04-23"),
            (2008, "2008-03-23"),
            (2019, "2019-04-21"),
            (2024, "2024-03-31"),
            (2025, "2025-04-20"),
            (2026, "2026-04-05"),
            (2027, "2027-03-28"),
            (2038, "2038-04-25"),
        ] {
            assert_eq!(easter(year), Some(day(expected)));
        }
    }

    #[test]
    fn periods_pass_over_sundays_and_the_saarlands_holidays() {
        let calendar = Calendar::parse(SAARLAND).expect("the shipped calendar");
        for (from, days, expected, why) in [
            ("2026-11-23", 3, "2026-11-26", "a week without holidays"),
            ("2026-11-20", 3, "2026-11-24", "over a Sunday"),
            ("2026-11-25", 3, "2026-11-30", "the end on a Saturday moves"),
            ("2026-11-27", 1, "2026-11-30", "one day, to a Saturday, moves"),
            ("2026-04-01", 3, "2026-04-07", "Easter: Friday and Monday are none"),
            ("2026-12-23", 3, "2026-12-29", "Christmas on Friday and Saturday"),
            ("2026-08-13", 3, "2026-08-18", "Mariä Himmelfahrt on a Saturday, Sunday"),
            ("2026-06-03", 1, "2026-06-05", "Fronleichnam"),
            ("2026-11-22", 0, "2026-11-22", "no days"),
        ] {
            assert_eq!(calendar.after(day(from), days), day(expected), "{why}");
        }
        let counts_all = Calendar { saturday_end_moves: false, ..calendar.clone() };
        assert_eq!(counts_all.after(day("2026-11-25"), 3), day("2026-11-28"));
        let five = Calendar { saturday_counts: false, ..calendar };
        assert_eq!(five.after(day("2026-11-20"), 3), day("2026-11-25"));
    }

    #[test]
    fn a_bad_calendar_is_refused_with_its_line() {
        for text in ["13-01 X", "02-30 X", "01-01", "Easter X", "+999 X", "01-01 "] {
            assert_eq!(
                Calendar::parse(&format!("# remark\n\n{text}")),
                Err(CalendarError { line: 3 }),
                "{text}"
            );
        }
        assert!(Calendar::parse("02-29 Schalttag").expect("a calendar").is_holiday(day("2028-02-29")));
    }
}
