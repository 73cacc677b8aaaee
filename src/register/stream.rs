//! The feed of one municipality: changes in order, what to do with each, and which are urgent. Pure.
//!
//! A change carries `(municipality, generation, sequence)` and the record *after* it. The next number is applied, a
//! known one is not applied twice, a later one is held and the missing ones are asked for again. A lock does not wait
//! for its turn: it hides the person at once, whatever is missing before it; only its end waits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::person::{Ags, Person};

/// Changes that are held for a gap. Beyond it a full load is the shorter way.
pub const HELD_MAX: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    Birth,
    MoveIn,
    MoveOut,
    Name,
    Address,
    MaritalStatus,
    LockSet,
    LockEnded,
    Death,
    Deleted,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub ags: Ags,
    pub generation: u64,
    pub sequence: u64,
    pub at: Timestamp,
    pub occasion: Occasion,
    pub mark: String,
    /// The record after the change; none where it is deleted.
    pub record: Option<Person>,
}

impl Change {
    /// Goes into the priority lane, and is effective before its turn.
    pub fn is_urgent(&self) -> bool {
        self.occasion == Occasion::LockSet
    }

    /// What is held of it, and what its digest is made of.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and lists can be written as JSON")
    }

    pub fn is_about_locks(&self) -> bool {
        matches!(self.occasion, Occasion::LockSet | Occasion::LockEnded)
    }
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub generation: u64,
    pub sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Apply,
    /// Known with the same content: no second effect (rejection code S100).
    Repeat,
    /// Known with another content (S999): a correction needs a number of its own.
    Contradiction,
    /// Held; `first..=last` is missing before it.
    Hold {
        first: u64,
        last: u64,
    },
    /// Of a generation that was replaced.
    Older,
    /// Of a generation that was never loaded.
    NotLoaded,
    /// Too many changes are missing: a full load is needed.
    TooFarAhead,
}

/// `known` is the digest kept for this number, applied or held, where there is one.
pub fn judge(at: Position, generation: u64, sequence: u64, known: Option<&[u8]>, digest: &[u8]) -> Verdict {
    if generation < at.generation {
        return Verdict::Older;
    }
    if generation > at.generation {
        return Verdict::NotLoaded;
    }
    match known {
        Some(known) if known != digest => return Verdict::Contradiction,
        Some(_) => return Verdict::Repeat,
        None if sequence <= at.sequence => return Verdict::Repeat,
        None => {}
    }
    match sequence - at.sequence {
        1 => Verdict::Apply,
        ahead if ahead > HELD_MAX => Verdict::TooFarAhead,
        _ => Verdict::Hold { first: at.sequence + 1, last: sequence - 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_applied_once_and_in_order() {
        let at = Position { generation: 2, sequence: 10 };
        for (generation, sequence, known, expected) in [
            (2, 11, None, Verdict::Apply),
            (2, 10, Some("a"), Verdict::Repeat),
            (2, 10, Some("b"), Verdict::Contradiction),
            (2, 3, None, Verdict::Repeat),
            (2, 13, None, Verdict::Hold { first: 11, last: 12 }),
            (2, 13, Some("a"), Verdict::Repeat),
            (2, 13, Some("b"), Verdict::Contradiction),
            (1, 11, None, Verdict::Older),
            (3, 1, None, Verdict::NotLoaded),
            (2, 10 + HELD_MAX, None, Verdict::Hold { first: 11, last: 9 + HELD_MAX }),
            (2, 11 + HELD_MAX, None, Verdict::TooFarAhead),
            (2, u64::MAX, None, Verdict::TooFarAhead),
        ] {
            let found = judge(at, generation, sequence, known.map(str::as_bytes), b"a");
            assert_eq!(found, expected, "generation {generation}, sequence {sequence}, {known:?}");
        }
    }
}
