//! Answers, and the one that must not tell anything: the neutral answer (section 34a(5) BMG).
//!
//! Unknown, ambiguous, locked and stale have the same answer: the same value without any content of its own, hence the
//! same bytes, and it leaves at the end of a bucket of time that began with the question, whatever was found in it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::person::Ags;
use super::rights::Disclosure;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    Person {
        data: Disclosure,
    },
    List {
        hits: Vec<Hit>,
        /// There were more than may be listed.
        more: bool,
        /// Municipalities whose copies are too old to be asked; says nothing about any person.
        stale: Vec<Ags>,
    },
    /// No data can be given from this copy; the municipality looks into it, unless that was waived.
    Neutral,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Identification feature (section 39(2) BMG): random, for this asker, for 48 hours.
    pub feature: String,
    pub data: Disclosure,
}

/// What a question makes the register do besides answering. Never part of the answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// The municipality handles the question by hand (section 34a(5) sentence 2 BMG).
    ByHand { ags: Ags },
    /// The person is told (section 51(1) lock): for each question.
    NoticeToPerson { ags: Ags, mark: String },
    /// The authority behind lock 11 is told.
    NoticeToAuthority { ags: Ags, mark: String },
}

/// When a neutral answer leaves: at the end of the bucket, counted from the question, in which it became ready.
pub fn leaves_at(asked_at: Timestamp, ready_at: Timestamp, bucket: Duration) -> Timestamp {
    let taken = ready_at.as_nanosecond().saturating_sub(asked_at.as_nanosecond()).max(0) as u128;
    let bucket = bucket.as_nanos().max(1);
    let wait = (taken / bucket + 1).saturating_mul(bucket);
    let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
    asked_at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_at_the_same_instant_whatever_took_time_in_it() {
        let asked: Timestamp = "2026-01-02T10:00:00.123456Z".parse().expect("an instant");
        for (taken_micros, expected_millis) in
            [(-5, 200), (0, 200), (1, 200), (199_999, 200), (200_000, 400), (399_999, 400)]
        {
            let ready =
                Timestamp::from_microsecond(asked.as_microsecond() + taken_micros).expect("an instant");
            let leaves = leaves_at(asked, ready, Duration::from_millis(200));
            assert_eq!(leaves.as_millisecond() - asked.as_millisecond(), expected_millis, "{taken_micros}");
        }
    }

    #[test]
    fn the_neutral_answer_has_no_content() {
        assert_eq!(serde_json::to_string(&Answer::Neutral).expect("JSON"), r#"{"answer":"neutral"}"#);
    }
}
