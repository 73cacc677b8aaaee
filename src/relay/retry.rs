//! When a push is tried again, and when a destination is left alone for a while.
//!
//! Pauses grow exponentially; the upper half of each is jitter, from a random number handed in, so that a thousand
//! messages do not come back in the same second. The circuit breaker belongs to one destination and counts failures
//! in a row: while it is open nothing is leased for that destination, so a dead server uses up no message's attempts.
//! Both are data in, data out: no clock, no random source.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::profile::ServiceProfile;

/// Which pause follows attempt number `attempt` (counted from 1), or `None` where it was the last one.
pub fn pause_after(attempt: u32, profile: &ServiceProfile, random: u64) -> Option<Duration> {
    if attempt >= profile.push_attempts_max {
        return None;
    }
    let first = Duration::from_secs(u64::from(profile.push_backoff_first_seconds));
    let longest = Duration::from_secs(u64::from(profile.push_backoff_max_seconds));
    Some(backoff(attempt, first, longest, random))
}

/// `first` doubled for each attempt after the first one, at most `longest`; the upper half is jitter.
pub fn backoff(attempt: u32, first: Duration, longest: Duration, random: u64) -> Duration {
    let doubled = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = first.saturating_mul(doubled).min(longest);
    let half = whole / 2;
    let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
    half + Duration::from_nanos(if span == 0 { 0 } else { random % (span + 1) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Failures in a row that open the circuit.
    pub failures_max: u32,
    /// First and longest time that it stays open, in seconds; doubled each time the trial push fails.
    pub open_first_seconds: u32,
    pub open_max_seconds: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures_max: 5, open_first_seconds: 30, open_max_seconds: 900 }
    }
}

/// The circuit breaker of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BreakerState {
    /// Failures in a row so far.
    Closed { failures: u32 },
    /// Nothing is tried before `until`; `times` counts openings in a row.
    Open { until: Timestamp, times: u32 },
    /// One trial push decides.
    Trial { times: u32 },
}

/// What a destination may be sent at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Push,
    NotBefore(Timestamp),
}

impl Breaker {
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: BreakerState::Closed { failures: 0 } }
    }

    /// Asked before each lease. An open circuit whose time is over lets one trial pass.
    pub fn permission(&mut self, now: Timestamp) -> Permission {
        match self.state {
            BreakerState::Open { until, .. } if now < until => Permission::NotBefore(until),
            BreakerState::Open { times, .. } => {
                self.state = BreakerState::Trial { times };
                Permission::Push
            }
            BreakerState::Closed { .. } | BreakerState::Trial { .. } => Permission::Push,
        }
    }

    pub fn succeeded(&mut self) {
        self.state = BreakerState::Closed { failures: 0 };
    }

    /// Returns the instant until which the circuit is open, where this failure opened it.
    pub fn failed(&mut self, now: Timestamp, random: u64) -> Option<Timestamp> {
        let times = match self.state {
            BreakerState::Closed { failures } if failures.saturating_add(1) < self.settings.failures_max => {
                self.state = BreakerState::Closed { failures: failures.saturating_add(1) };
                return None;
            }
            BreakerState::Closed { .. } => 1,
            BreakerState::Open { times, .. } | BreakerState::Trial { times } => times.saturating_add(1),
        };
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        let pause = backoff(
            times,
            seconds(self.settings.open_first_seconds),
            seconds(self.settings.open_max_seconds),
            random,
        );
        let until = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        self.state = BreakerState::Open { until, times };
        Some(until)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, BreakerState::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_keeps_the_lower_half() {
        let profile = ServiceProfile {
            push_attempts_max: 40,
            push_backoff_first_seconds: 10,
            push_backoff_max_seconds: 3600,
            ..ServiceProfile::standard()
        };
        for (attempt, low, high) in [(1, 5, 10), (2, 10, 20), (3, 20, 40), (9, 1280, 2560), (10, 1800, 3600)]
        {
            let least = pause_after(attempt, &profile, 0);
            assert_eq!(least, Some(Duration::from_secs(low)), "attempt {attempt}");
            for random in [1, 77, 1 << 40, u64::MAX] {
                let pause = pause_after(attempt, &profile, random).expect("not the last attempt");
                assert!(pause >= Duration::from_secs(low) && pause <= Duration::from_secs(high), "{pause:?}");
            }
        }
        assert_eq!(pause_after(39, &profile, 0), Some(Duration::from_secs(1800)), "no overflow");
        assert_eq!(pause_after(40, &profile, 0), None, "the last attempt has no pause behind it");
        let spread: std::collections::BTreeSet<_> = (0..50u64)
            .map(|n| backoff(1, Duration::from_secs(10), Duration::from_secs(60), n * 99_999_937))
            .collect();
        assert!(spread.len() > 40, "jitter spreads: {}", spread.len());
    }

    #[test]
    fn a_zero_pause_stays_zero() {
        assert_eq!(backoff(7, Duration::ZERO, Duration::from_secs(9), u64::MAX), Duration::ZERO);
    }

    #[test]
    fn the_circuit_opens_after_failures_in_a_row_and_one_trial_decides() {
        let settings = BreakerSettings { failures_max: 3, open_first_seconds: 40, open_max_seconds: 100 };
        let mut breaker = Breaker::new(settings);
        assert_eq!(breaker.failed(at(1), 0), None);
        assert_eq!(breaker.failed(at(2), 0), None);
        breaker.succeeded();
        assert_eq!(breaker.failed(at(3), 0), None, "a success forgets earlier failures");
        assert_eq!(breaker.failed(at(4), 0), None);
        assert_eq!(breaker.failed(at(5), 0), Some(at(25)));
        assert_eq!(breaker.permission(at(24)), Permission::NotBefore(at(25)));
        assert!(breaker.is_open());
        assert_eq!(breaker.permission(at(25)), Permission::Push);
        assert_eq!(breaker.failed(at(26), 0), Some(at(66)), "a failed trial opens it for twice as long");
        assert_eq!(breaker.permission(at(66)), Permission::Push);
        assert_eq!(breaker.failed(at(67), 0), Some(at(117)), "never longer than the longest");
        assert_eq!(breaker.permission(at(200)), Permission::Push);
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!(breaker.failed(at(201), 0), None);
    }
}
