//! How much each client has taken, in the window of time under way, of what only so much may be taken of.
//!
//! Decided in memory: no request waits for a store. Where several nodes share one, they tell each other now and then what
//! was taken (`worker/rates.rs`), and what others have told counts as if it had been taken here. Rates save the machine
//! and nothing that was accepted depends on them, so they may be forgotten with the process, and counts of the last second
//! may be missing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::content::Digest;
use crate::store::rates::Taken;

/// Clients that one rate knows at a time.
pub const CLIENTS_MAX: usize = 10_000;
/// Clients of one rate whose counts are told at once; those who took the most since go first, the others wait.
const TOLD_MAX: usize = 1_000;

/// Nothing is left until the window ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// Seconds; at least 1.
    pub resets_in: u64,
}

/// Counts by client. Windows follow each other without a gap and begin at multiples of their length since 1970. Where clients
/// get too many, the half that took least gives way: whoever is new has a count of his own whatever a crowd does, and
/// whoever has used up his stays known as long as the crowd has not done the same.
#[derive(Debug)]
pub struct Rate {
    kind: &'static str,
    seconds: i64,
    /// By so many seconds the clock that all nodes share is ahead of this node's.
    ahead: Arc<AtomicI64>,
    counts: Mutex<HashMap<String, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    window: i64,
    own: u64,
    /// Of `own`, what the others know.
    told: u64,
    others: u64,
}

impl Count {
    fn new(window: i64) -> Self {
        Self { window, own: 0, told: 0, others: 0 }
    }

    fn all(&self) -> u64 {
        self.own.saturating_add(self.others)
    }
}

/// What is to be told of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    client: String,
    pub taken: Taken,
}

impl Rate {
    /// One that nobody else counts in. `window` counts in whole seconds, at least one.
    pub fn alone(kind: &'static str, window: Duration) -> Self {
        Self::on_clock(kind, window, Arc::default())
    }

    pub(super) fn on_clock(kind: &'static str, window: Duration, ahead: Arc<AtomicI64>) -> Self {
        let seconds = i64::try_from(window.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { kind, seconds, ahead, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The window under way, and when it ends.
    fn window(&self, now: Timestamp) -> (i64, UsedUp) {
        let now = now.as_second().saturating_add(self.ahead.load(Ordering::Relaxed));
        let left = self.seconds - now.rem_euclid(self.seconds);
        (now.div_euclid(self.seconds), UsedUp { resets_in: u64::try_from(left).unwrap_or(1) })
    }

    /// Counts one more, unless there are `max` already.
    pub fn take(&self, client: &str, max: u64, now: Timestamp) -> Result<(), UsedUp> {
        let (window, used_up) = self.window(now);
        let mut counts = self.counts();
        if !counts.contains_key(client) {
            if counts.len() >= CLIENTS_MAX {
                make_room(&mut counts, window);
            }
            counts.insert(client.to_owned(), Count::new(window));
        }
        let Some(count) = counts.get_mut(client) else { return Ok(()) };
        if count.window != window {
            *count = Count::new(window);
        }
        if count.all() >= max {
            return Err(used_up);
        }
        count.own += 1;
        Ok(())
    }

    /// Looks without counting.
    pub fn look(&self, client: &str, max: u64, now: Timestamp) -> Result<(), UsedUp> {
        let (window, used_up) = self.window(now);
        let counts = self.counts();
        let is_full = counts.get(client).is_some_and(|count| count.window == window && count.all() >= max);
        if is_full { Err(used_up) } else { Ok(()) }
    }

    /// What the others do not know of this window yet.
    pub fn news(&self, now: Timestamp) -> Vec<News> {
        let (window, _) = self.window(now);
        let counts = self.counts();
        let mut untold: Vec<(&String, &Count)> =
            counts.iter().filter(|(_, count)| count.window == window && count.own > count.told).collect();
        if untold.len() > TOLD_MAX {
            untold
                .select_nth_unstable_by_key(TOLD_MAX, |(_, count)| std::cmp::Reverse(count.own - count.told));
            untold.truncate(TOLD_MAX);
        }
        let news = untold.into_iter().map(|(client, count)| News {
            client: client.clone(),
            taken: Taken {
                kind: self.kind,
                client: Digest::of(client.as_bytes()),
                begins: window.saturating_mul(self.seconds),
                seconds: self.seconds,
                count: count.own,
            },
        });
        news.collect()
    }

    /// The others know `news`, and have themselves taken `others` of the same.
    pub fn learn(&self, news: &News, others: u64) {
        let mut counts = self.counts();
        let Some(count) = counts.get_mut(&news.client) else { return };
        if count.window.saturating_mul(self.seconds) == news.taken.begins {
            count.told = count.told.max(news.taken.count);
            count.others = others;
        }
    }
}

/// At least half of them go, so that looking for them costs each newcomer little.
fn make_room(counts: &mut HashMap<String, Count>, window: i64) {
    counts.retain(|_, count| count.window == window);
    if counts.len() <= CLIENTS_MAX / 2 {
        return;
    }
    let mut all: Vec<u64> = counts.values().map(Count::all).collect();
    let at = all.len() / 2;
    let (_, median, _) = all.select_nth_unstable(at);
    let median = *median;
    counts.retain(|_, count| count.all() > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    fn minutes() -> Rate {
        Rate::alone("test", MINUTE)
    }

    #[test]
    fn counts_begin_anew_with_the_next_window() {
        let rate = minutes();
        for _ in 0..3 {
            rate.take("a", 3, at(60)).expect("room");
        }
        assert_eq!(rate.take("a", 3, at(100)), Err(UsedUp { resets_in: 20 }));
        rate.take("b", 3, at(100)).expect("another's");
        rate.take("a", 3, at(120)).expect("room again");
        // On a clock that is ahead, the window has begun already.
        let ahead = Rate::on_clock("test", MINUTE, Arc::new(AtomicI64::new(30)));
        assert_eq!(ahead.take("a", 0, at(100)), Err(UsedUp { resets_in: 50 }));
    }

    #[test]
    fn to_look_at_a_count_makes_none() {
        let rate = minutes();
        rate.look("a", 3, at(60)).expect("room");
        assert!(rate.counts().is_empty());
        for _ in 0..3 {
            rate.take("a", 3, at(60)).expect("room");
        }
        assert_eq!(rate.look("a", 3, at(119)), Err(UsedUp { resets_in: 1 }));
        rate.look("a", 3, at(120)).expect("of the minute before");
    }

    #[test]
    fn a_crowd_takes_nothing_from_others() {
        let rate = minutes();
        for _ in 0..3 {
            rate.take("early", 3, at(60)).expect("room");
        }
        for number in 0..5 * CLIENTS_MAX {
            rate.take(&number.to_string(), 3, at(60)).expect("a count of its own");
        }
        for _ in 0..3 {
            rate.take("late", 3, at(60)).expect("its own");
        }
        rate.take("late", 3, at(60)).expect_err("used up");
        rate.take("early", 3, at(60)).expect_err("the crowd has not emptied it");
        assert!(rate.counts().len() <= CLIENTS_MAX);
    }

    #[test]
    fn a_crowd_that_uses_up_all_it_may_keeps_nobody_out() {
        let rate = minutes();
        for number in 0..3 * CLIENTS_MAX {
            for _ in 0..3 {
                rate.take(&number.to_string(), 3, at(60)).expect("a count of its own");
            }
        }
        rate.take("late", 3, at(60)).expect("its own");
        assert!(rate.counts().len() <= CLIENTS_MAX);
    }

    #[test]
    fn what_others_took_counts_here_until_the_window_ends() {
        let rate = minutes();
        assert_eq!(rate.news(at(60)), []);
        rate.take("a", 5, at(60)).expect("room");
        let news = rate.news(at(61)).remove(0);
        assert_eq!((news.taken.begins, news.taken.seconds, news.taken.count), (60, 60, 1));
        // Meanwhile one more; it is told next time.
        rate.take("a", 5, at(61)).expect("room");
        rate.learn(&news, 2);
        assert_eq!(rate.news(at(62)).remove(0).taken.count, 2);
        rate.take("a", 5, at(62)).expect("the fifth");
        rate.take("a", 5, at(62)).expect_err("three here, two there");
        assert_eq!(rate.news(at(62)).remove(0).taken.count, 3, "a refusal takes nothing");
        // An answer that comes too late is of no window any more.
        let late = rate.news(at(62)).remove(0);
        assert_eq!(rate.news(at(120)), []);
        rate.take("a", 5, at(120)).expect("room again");
        rate.learn(&late, 9);
        rate.take("a", 5, at(120)).expect("nothing of before counts");
    }

    #[test]
    fn who_took_the_most_is_told_of_first() {
        let rate = minutes();
        for number in 0..TOLD_MAX + 50 {
            rate.take(&number.to_string(), 9, at(60)).expect("room");
        }
        for _ in 0..5 {
            rate.take("7", 9, at(60)).expect("room");
        }
        let first = rate.news(at(60));
        assert_eq!(first.len(), TOLD_MAX);
        assert!(first.iter().any(|news| news.client == "7" && news.taken.count == 6));
        first.iter().for_each(|news| rate.learn(news, 0));
        assert_eq!(rate.news(at(60)).len(), 50, "the others come next");
    }
}
