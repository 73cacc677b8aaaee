//! Whose turn it is to write: the database takes one writer, and who waits for it is not all alike.
//!
//! What hides a person passes everybody. Whoever has asked passes feed and housework, and these get their turn between
//! questions, so that a flood of questions lets no copy grow stale. Within a lane it is first come, first served: the
//! turn is handed over, and a feed that comes back at once stands behind whoever waits.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

/// Questions that pass somebody of the last lane, one after the other.
const QUESTIONS_IN_A_ROW_MAX: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// What hides a person.
    Urgent,
    /// Somebody waits for the answer.
    Question,
    /// Feed, post, housework.
    Rest,
}

const LANES: usize = 3;

/// One thing that is written to by turns.
pub struct Turns<T> {
    line: Mutex<Line>,
    /// Locked by whoever has the turn, and nobody else.
    thing: Mutex<T>,
}

#[derive(Default)]
struct Line {
    taken: bool,
    waiting: [VecDeque<(u64, Thread)>; LANES],
    tickets: u64,
    /// Whom the turn was handed to, and who has not seen it yet.
    called: Option<u64>,
    questions_in_a_row: u32,
}

impl Line {
    fn next_lane(&self) -> Option<usize> {
        let first = self.waiting.iter().position(|lane| !lane.is_empty())?;
        let (question, rest) = (Lane::Question as usize, Lane::Rest as usize);
        let passed_often = self.questions_in_a_row >= QUESTIONS_IN_A_ROW_MAX;
        if first == question && passed_often && !self.waiting[rest].is_empty() {
            return Some(rest);
        }
        Some(first)
    }

    fn hand_on(&mut self) {
        let next = self.next_lane().and_then(|lane| Some((lane, self.waiting[lane].pop_front()?)));
        let Some((lane, (ticket, thread))) = next else {
            self.taken = false;
            return;
        };
        self.note_turn(lane);
        self.called = Some(ticket);
        thread.unpark();
    }

    fn note_turn(&mut self, lane: usize) {
        if lane == Lane::Rest as usize || self.waiting[Lane::Rest as usize].is_empty() {
            self.questions_in_a_row = 0;
        } else if lane == Lane::Question as usize {
            self.questions_in_a_row += 1;
        }
    }
}

impl<T> Turns<T> {
    pub fn new(thing: T) -> Self {
        Self { line: Mutex::default(), thing: Mutex::new(thing) }
    }

    /// Waits for a turn. Whoever has one and asks for another waits forever.
    pub fn take(&self, lane: Lane) -> Turn<'_, T> {
        let mut line = self.line();
        if line.taken {
            line.tickets += 1;
            let ticket = line.tickets;
            line.waiting[lane as usize].push_back((ticket, thread::current()));
            while line.called != Some(ticket) {
                drop(line);
                thread::park();
                line = self.line();
            }
            line.called = None;
        }
        line.taken = true;
        drop(line);
        let thing = self.thing.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { turns: self, lane, thing: Some(thing) }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.line().waiting.iter().map(VecDeque::len).sum()
    }
}

/// The turn; handed on when it is dropped.
pub struct Turn<'a, T> {
    turns: &'a Turns<T>,
    lane: Lane,
    /// Given back before the turn is.
    thing: Option<MutexGuard<'a, T>>,
}

impl<'a, T> Turn<'a, T> {
    /// Says whether somebody waits who would have come first: then long work is broken off at a good place, and a new
    /// turn taken.
    pub fn awaited(&self) -> impl Fn() -> bool + use<'a, T> {
        let (turns, lane) = (self.turns, self.lane as usize);
        move || turns.line().waiting[..lane].iter().any(|lane| !lane.is_empty())
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_deref().expect("held until the turn is dropped")
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_deref_mut().expect("held until the turn is dropped")
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.thing = None;
        self.turns.line().hand_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who comes while another has the turn, and in which order they get it.
    fn order(comes: &[Lane]) -> Vec<usize> {
        let turns = Turns::new(Vec::new());
        thread::scope(|scope| {
            let first = turns.take(Lane::Rest);
            for (place, lane) in comes.iter().enumerate() {
                let turns = &turns;
                scope.spawn(move || turns.take(*lane).push(place));
                while turns.waiting() <= place {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        turns.thing.into_inner().expect("whole")
    }

    #[test]
    fn locks_pass_questions_and_these_the_rest() {
        use Lane::{Question, Rest, Urgent};
        assert_eq!(order(&[Rest, Question, Rest, Urgent, Question, Urgent]), [3, 5, 1, 4, 0, 2]);
    }

    #[test]
    fn no_flood_of_questions_stops_the_feed() {
        let mut comes = vec![Lane::Rest, Lane::Rest];
        comes.extend([Lane::Question; 20]);
        let turns = order(&comes);
        let row = QUESTIONS_IN_A_ROW_MAX as usize;
        assert_eq!((turns[row], turns[2 * row + 1]), (0, 1), "{turns:?}");
    }

    #[test]
    fn long_work_hears_of_whom_it_keeps_waiting() {
        let turns = Turns::new(());
        thread::scope(|scope| {
            let work = turns.take(Lane::Rest);
            let awaited = work.awaited();
            assert!(!awaited());
            for (waiting, lane, heard) in [(1, Lane::Rest, false), (2, Lane::Question, true)] {
                let turns = &turns;
                scope.spawn(move || drop(turns.take(lane)));
                while turns.waiting() < waiting {
                    thread::yield_now();
                }
                assert_eq!(awaited(), heard);
            }
        });
    }

    /// The turn is not lost with a thread that ends in the middle of its work.
    #[test]
    fn a_turn_that_ends_badly_is_handed_on() {
        let turns = Turns::new(0);
        thread::scope(|scope| {
            let bad = scope.spawn(|| {
                let mut turn = turns.take(Lane::Rest);
                *turn += 1;
                panic!("for the test");
            });
            assert!(bad.join().is_err());
            *turns.take(Lane::Question) += 1;
        });
        assert_eq!(*turns.take(Lane::Rest), 2);
    }

    #[test]
    fn nobody_writes_beside_another() {
        let turns = Turns::new(0_u64);
        thread::scope(|scope| {
            for lane in [Lane::Urgent, Lane::Question, Lane::Rest, Lane::Rest] {
                let turns = &turns;
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let mut turn = turns.take(lane);
                        let before = *turn;
                        thread::yield_now();
                        *turn = before + 1;
                    }
                });
            }
        });
        assert_eq!(*turns.take(Lane::Rest), 8000);
    }
}
