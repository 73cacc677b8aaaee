//! Lines in the log that a stranger could repeat without end, and must not fill the disk with.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Holds back lines: of each kind the first one passes, then one in a pause.
/// Kinds beyond the bound share one place.
#[derive(Debug)]
pub struct Seldom<K> {
    pause: Duration,
    kinds_max: usize,
    said: Mutex<HashMap<Option<K>, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    unsaid: u64,
}

impl<K: Eq + Hash> Seldom<K> {
    pub fn new(pause: Duration, kinds_max: usize) -> Self {
        Self { pause, kinds_max, said: Mutex::default() }
    }

    /// Whether a line of this kind is due; how many of its kind were held back since the last one.
    pub fn due(&self, kind: K, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |said: &Said| now.duration_since(said.at) >= self.pause;
        let mut kind = Some(kind);
        if !said.contains_key(&kind) && said.len() >= self.kinds_max {
            said.retain(|kind, said| kind.is_none() || !is_over(said));
            if said.len() >= self.kinds_max {
                kind = None;
            }
        }
        match said.get_mut(&kind) {
            Some(said) if !is_over(said) => {
                said.unsaid += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.unsaid))
            }
            None => {
                said.insert(kind, Said { at: now, unsaid: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_pause_and_strangers_share_what_is_left() {
        let seldom = Seldom::new(Duration::from_secs(60), 2);
        let start = Instant::now();
        for (second, kind, expected) in [
            (0, "a", Some(0)),
            (1, "a", None),
            (2, "a", None),
            (3, "b", Some(0)),
            // Two kinds are known; the others share one place.
            (4, "c", Some(0)),
            (5, "d", None),
            (6, "b", None),
            (60, "a", Some(2)),
            (61, "a", None),
            (64, "d", Some(1)),
            (200, "e", Some(0)),
        ] {
            let seen = seldom.due(kind, start + Duration::from_secs(second));
            assert_eq!(seen, expected, "second {second}, {kind}");
        }
        assert!(seldom.said.lock().expect("whole").len() <= 3, "bounded");
    }
}
