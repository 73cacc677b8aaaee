//! Dates as DSMeld writes them: `DDMMYYYY`, where day, or day and month, or all may be zero (annex of the BMeldDAV,
//! numbers 4 h) and 6 e) to g)).

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a date is written DDMMYYYY, with zeros for what is not known, or YYYY-MM-DD, YYYY-MM, YYYY")]
pub struct DateError;

/// Orders by year, month, day; what is not known comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartialDate {
    year: i16,
    month: i8,
    day: i8,
}

impl PartialDate {
    pub const UNKNOWN: Self = Self { year: 0, month: 0, day: 0 };

    pub fn new(year: i16, month: i8, day: i8) -> Result<Self, DateError> {
        let date = Self { year, month, day };
        let good = match (year, month, day) {
            (0, 0, 0) => true,
            (1..=9999, 0, 0) => true,
            (1..=9999, 1..=12, 0) => true,
            (1..=9999, _, _) => civil::Date::new(year, month, day).is_ok(),
            _ => false,
        };
        good.then_some(date).ok_or(DateError)
    }

    /// The first day that the date may mean; `None` for one that is wholly unknown (annex 6 g) aa) ddd), eee), bb)).
    pub fn first_day(self) -> Option<civil::Date> {
        if self.year == 0 {
            return None;
        }
        civil::Date::new(self.year, self.month.max(1), self.day.max(1)).ok()
    }

    /// A period of birth admits a date whose first day lies in it, both ends included.
    pub fn lies_in(self, first: civil::Date, last: civil::Date) -> bool {
        self.first_day().is_some_and(|day| first <= day && day <= last)
    }
}

impl FromStr for PartialDate {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let digits = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i16>().ok()).flatten()
        };
        let small = |text: &str| digits(text).and_then(|number| i8::try_from(number).ok());
        let parts: Vec<&str> = text.split('-').collect();
        let parsed = match parts[..] {
            [plain] if plain.len() == 8 && plain.is_ascii() => {
                (digits(&plain[4..]), small(&plain[2..4]), small(&plain[..2]))
            }
            [year] if year.len() == 4 => (digits(year), Some(0), Some(0)),
            [year, month] if year.len() == 4 && month.len() == 2 => (digits(year), small(month), Some(0)),
            [year, month, day] if year.len() == 4 && month.len() == 2 && day.len() == 2 => {
                (digits(year), small(month), small(day))
            }
            _ => return Err(DateError),
        };
        match parsed {
            (Some(year), Some(month), Some(day)) => Self::new(year, month, day),
            _ => Err(DateError),
        }
    }
}

impl fmt::Display for PartialDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:02}{:02}{:04}", self.day, self.month, self.year)
    }
}

impl TryFrom<String> for PartialDate {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<PartialDate> for String {
    fn from(date: PartialDate) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_come_back() {
        for (text, expected) in [
            ("17031998", Some("17031998")),
            ("00031998", Some("00031998")),
            ("00001998", Some("00001998")),
            ("00000000", Some("00000000")),
            ("1998-03-17", Some("17031998")),
            ("1998-03", Some("00031998")),
            ("1998", Some("00001998")),
            ("29022024", Some("29022024")),
            ("29022023", None),
            ("17001998", None),
            ("17030000", None),
            ("00131998", None),
            ("1998-3-17", None),
            ("+1031998", None),
            ("17.03.98", None),
            ("ä7031998", None),
            ("ääää", None),
            ("", None),
        ] {
            let read = text.parse::<PartialDate>().ok().map(|date| date.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
