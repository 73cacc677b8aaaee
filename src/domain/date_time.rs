//! `xs:dateTime` of XML Schema, and the pieces it is made of: what a moment's spelling means.
//!
//! A moment without an offset is German time. The German rule is written down here, because pure parts read no time
//! zone files. Left out: leap seconds, years of more than four digits, the hour 24.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Time of Germany since 1996.
const GERMAN_RULE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
/// Digits of a second's fraction that a moment can hold.
const FRACTION_DIGITS_MAX: usize = 9;

/// The moment that an `xs:dateTime` names; white space around it must be gone.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (civil, offset) = split_offset(text)?;
    let (whole, fraction) = civil.split_once('.').unwrap_or((civil, ""));
    if whole.len() != 19 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) || !shape(whole) {
        return None;
    }
    let fraction = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(fraction);
    let exact = if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") };
    moment(exact.parse().ok()?, offset)
}

/// A local time with its offset, or German time.
pub fn moment(civil: DateTime, offset: Option<Offset>) -> Option<Timestamp> {
    match offset {
        Some(offset) => offset.to_timestamp(civil).ok(),
        None => {
            let german = TimeZone::posix(GERMAN_RULE).ok()?;
            german.to_ambiguous_timestamp(civil).compatible().ok()
        }
    }
}

/// The day that it is in Germany.
pub fn german_day(at: Timestamp) -> jiff::civil::Date {
    let german = TimeZone::posix(GERMAN_RULE).unwrap_or(TimeZone::UTC);
    german.to_datetime(at).date()
}

/// The local part and the offset behind it, if one is there.
pub fn split_offset(text: &str) -> Option<(&str, Option<Offset>)> {
    let time = text.find('T')?;
    let tail = text.get(time..)?;
    match tail.find(['Z', '+', '-']) {
        None => Some((text, None)),
        Some(at) => {
            let (civil, offset) = text.split_at_checked(time + at)?;
            Some((civil, Some(zone(offset)?)))
        }
    }
}

/// `Z`, `+hh:mm` or `-hh:mm`.
pub fn zone(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str| -> Option<i32> {
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// `yyyy-mm-ddThh:mm:ss`.
fn shape(whole: &str) -> bool {
    whole.bytes().zip(b"0000-00-00T00:00:00").all(|(byte, model)| match model {
        b'0' => byte.is_ascii_digit(),
        model => byte == *model,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn spellings() {
        for (text, expected) in [
            ("2026-11-22T04:46:17.314Z", Some("2026-11-22T04:46:17.314Z")),
            ("2026-11-22T04:46:17", Some("2026-11-22T03:46:17Z")),
            ("2026-07-22T04:46:17.1234567891234-02:30", Some("2026-07-22T07:16:17.123456789Z")),
            (" 2026-11-22T04:46:17Z", None),
            ("2026-11-22T24:00:00Z", None),
            ("2026-11-22T04:46:17+15:00", None),
            ("2026-11-22T04:46Z", None),
            ("T", None),
        ] {
            assert_eq!(super::parse(text).map(|at| at.to_string()).as_deref(), expected, "{text}");
        }
    }
}
