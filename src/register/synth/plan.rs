//! What happens to a town's persons, told badly: the stream of changes as messages, with faults in it, and what must come
//! of each message and of all of them together. Pure.
//!
//! The oracle knows the law of the stream and nothing of the copies: a number counts once, in its turn; what is refused
//! has no effect. A lock takes effect before its turn, so nothing that must be refused sets one here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Dice, address, date, family_name, person, town};
use crate::register::message::Code;
use crate::register::person::{Ags, Lock, MaritalStatus, Person, Status};
use crate::register::stream::{Change, Occasion};

/// The generation that the records are loaded into.
pub const GENERATION: u64 = 1;
/// Changes of one message.
const CASES_MAX: u64 = 6;
/// Messages that pass before a missing one comes.
const GAP: usize = 3;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    None,
    /// It comes after those behind it, when it was missed.
    Late,
    /// It changed places with the next.
    Reordered,
    /// The same message once more.
    Repeated,
    /// The same changes in another message.
    Duplicate,
    /// One record in it cannot be taken.
    InvalidRecord,
    /// Another municipality's key.
    WrongAgs,
    OldGeneration,
    /// A number that is known, with another record.
    Contradiction,
    TestMark,
}

/// What must come of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Expected {
    /// Rejected as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<&'static str>,
    /// Cases that are rejected alone: number in the stream, and code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<(u64, &'static str)>,
    /// First and last number that the receipt asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The same number is the same message, byte for byte.
    pub message: u32,
    pub fault: Fault,
    pub ags: Ags,
    pub generation: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    pub changes: Vec<Change>,
    pub expected: Expected,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    Send(Sent),
    /// The register is killed and started again.
    Restart,
}

/// A town, what is sent about it, and what is true in the end.
#[derive(Debug, Clone)]
pub struct Plan {
    pub ags: Ags,
    /// When the records were true.
    pub at: Timestamp,
    pub records: Vec<Person>,
    pub steps: Vec<Step>,
    /// Number of the last change.
    pub sequence: u64,
    /// The records in the end, by order mark.
    pub expected: BTreeMap<String, Person>,
}

impl Plan {
    pub fn new(seed: u64, ags: Ags, persons: u64, changes: u64) -> Self {
        let at = Timestamp::constant(1_767_225_600, 0);
        let records: Vec<Person> = town::persons(seed, ags, persons).collect();
        let mut events = Events::new(seed, ags, at, &records);
        let stream: Vec<Change> = (1..=changes).map(|sequence| events.next(sequence)).collect();
        let mut teller = Teller::new(seed, ags);
        teller.tell(&stream);
        let steps = teller.steps;
        Self { ags, at, records, steps, sequence: changes, expected: events.state }
    }

    pub fn messages(&self) -> impl Iterator<Item = &Sent> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send(sent) => Some(sent),
            Step::Restart => None,
        })
    }
}

/// What happens, one change after the other.
struct Events {
    dice: Dice,
    seed: u64,
    ags: Ags,
    at: Timestamp,
    state: BTreeMap<String, Person>,
    /// Those whom something can happen to.
    marks: Vec<String>,
    next_number: u64,
}

impl Events {
    fn new(seed: u64, ags: Ags, at: Timestamp, records: &[Person]) -> Self {
        let state = records.iter().map(|one| (one.mark.clone(), one.clone())).collect();
        let marks = records.iter().map(|one| one.mark.clone()).collect();
        let dice = Dice::new(seed ^ 0x5eed_0f5e_ed0f_5eed);
        Self { dice, seed, ags, at, state, marks, next_number: records.len() as u64 }
    }

    fn next(&mut self, sequence: u64) -> Change {
        self.at = self.at.checked_add(SignedDuration::from_secs(60)).unwrap_or(self.at);
        let (occasion, mark, record) = self.event();
        match &record {
            Some(record) => self.state.insert(mark.clone(), record.clone()),
            None => self.state.remove(&mark),
        };
        let (ags, at) = (self.ags, self.at);
        Change { ags, generation: GENERATION, sequence, at, occasion, mark, record }
    }

    fn event(&mut self) -> (Occasion, String, Option<Person>) {
        let dice = &mut self.dice;
        if self.marks.is_empty() || dice.one_in(6) {
            let mut one = person(self.seed, self.ags, self.next_number);
            self.next_number += 1;
            let birth = dice.one_in(2);
            if birth {
                one = Person { birth_dates: vec![date(dice, 2026, 1)], status: Status::Resident, ..one };
                (one.death_date, one.death_place) = (None, None);
            }
            self.marks.push(one.mark.clone());
            let occasion = if birth { Occasion::Birth } else { Occasion::MoveIn };
            return (occasion, one.mark.clone(), Some(one));
        }
        let place = dice.below(self.marks.len() as u64) as usize;
        let mark = self.marks[place].clone();
        // A mark is listed while its record is there.
        let mut one = self.state.get(&mark).cloned().unwrap_or_default();
        let occasion = match dice.below(10) {
            0 => {
                let former = std::mem::replace(&mut one.family_names, vec![family_name(dice)]);
                one.former_family_names = former.into_iter().take(1).collect();
                Occasion::Name
            }
            1 | 2 => {
                let (home, on) = (address(dice, self.ags), date(dice, 2026, 1));
                for old in one.addresses.iter_mut().filter(|old| old.is_present()) {
                    old.moved_out = Some(on);
                }
                one.addresses.insert(0, home);
                one.addresses.truncate(4);
                Occasion::Address
            }
            3 => {
                one.marital_status = Some(MaritalStatus::Vh);
                one.partner_name = Some(family_name(dice));
                one.marriage_date = Some(date(dice, 2026, 1));
                Occasion::MaritalStatus
            }
            4 | 5 => {
                one.locks = Lock::try_from([3, 3, 11, 1][dice.below(4) as usize]).into_iter().collect();
                Occasion::LockSet
            }
            6 => {
                one.locks.clear();
                Occasion::LockEnded
            }
            7 => {
                one.status = Status::Dead;
                one.death_date = Some(date(dice, 2026, 1));
                Occasion::Death
            }
            8 => {
                one.status = Status::MovedAbroad;
                Occasion::MoveOut
            }
            _ => {
                self.marks.swap_remove(place);
                return (Occasion::Deleted, mark, None);
            }
        };
        (occasion, mark, Some(one))
    }
}

/// Puts changes into messages, and makes mistakes.
struct Teller {
    dice: Dice,
    ags: Ags,
    steps: Vec<Step>,
    messages: u32,
    /// Sent when so many messages have passed.
    late: Option<(usize, Vec<Change>)>,
    known: BTreeSet<u64>,
    applied: u64,
}

impl Teller {
    fn new(seed: u64, ags: Ags) -> Self {
        Self {
            dice: Dice::new(seed ^ 0x7e11_e27e_11e2_7e11),
            ags,
            steps: Vec::new(),
            messages: 0,
            late: None,
            known: BTreeSet::new(),
            applied: 0,
        }
    }

    fn tell(&mut self, stream: &[Change]) {
        let mut parts: Vec<Vec<Change>> = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let (part, left) = rest.split_at((1 + self.dice.below(CASES_MAX) as usize).min(rest.len()));
            parts.push(part.to_vec());
            rest = left;
        }
        let kinds = 12;
        let mut kind = self.dice.below(kinds);
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            match kind {
                1 if self.late.is_none() => self.late = Some((GAP, part)),
                2 => {
                    if let Some(next) = parts.next() {
                        self.send(Fault::Reordered, next);
                    }
                    self.send(Fault::Reordered, part);
                }
                3 => {
                    let message = self.send(Fault::None, part.clone());
                    self.send_as(message, Fault::Repeated, part);
                }
                4 => {
                    self.send(Fault::None, part.clone());
                    self.send(Fault::Duplicate, part);
                }
                5 => self.with_an_invalid_record(part),
                6 => {
                    self.refused(Fault::WrongAgs, part.clone());
                    self.send(Fault::None, part);
                }
                7 if harmless(&part) => {
                    self.refused(Fault::OldGeneration, part.clone());
                    self.send(Fault::None, part);
                }
                8 if harmless(&part) => {
                    self.send(Fault::None, part.clone());
                    self.contradict(part);
                }
                9 => {
                    self.refused(Fault::TestMark, part.clone());
                    self.send(Fault::None, part);
                }
                10 => {
                    self.send(Fault::None, part);
                    self.steps.push(Step::Restart);
                }
                _ => {
                    self.send(Fault::None, part);
                }
            }
            kind = (kind + 1) % kinds;
            self.pass(parts.peek().is_none());
        }
        self.pass(true);
    }

    /// One message more has passed.
    fn pass(&mut self, last: bool) {
        let Some((left, part)) = self.late.take() else { return };
        if left == 0 || last {
            self.send(Fault::Late, part);
        } else {
            self.late = Some((left - 1, part));
        }
    }

    fn new_message(&mut self) -> u32 {
        self.messages += 1;
        self.messages
    }

    fn send(&mut self, fault: Fault, changes: Vec<Change>) -> u32 {
        let message = self.new_message();
        self.send_as(message, fault, changes);
        message
    }

    fn send_as(&mut self, message: u32, fault: Fault, changes: Vec<Change>) {
        if fault != Fault::Repeated {
            self.known.extend(changes.iter().map(|one| one.sequence));
            while self.known.contains(&(self.applied + 1)) {
                self.applied += 1;
            }
        }
        let expected = Expected { missing: self.missing(), ..Expected::default() };
        self.push(message, fault, changes, expected);
    }

    fn push(&mut self, message: u32, fault: Fault, changes: Vec<Change>, expected: Expected) {
        let generation = changes.first().map_or(GENERATION, |one| one.generation);
        let ags = changes.first().map_or(self.ags, |one| one.ags);
        let test = fault == Fault::TestMark;
        self.steps.push(Step::Send(Sent { message, fault, ags, generation, test, changes, expected }));
    }

    fn missing(&self) -> Option<(u64, u64)> {
        let held = self.known.range(self.applied + 1..).next()?;
        Some((self.applied + 1, held - 1))
    }

    /// Nothing of it may have an effect.
    fn refused(&mut self, fault: Fault, mut changes: Vec<Change>) {
        let mut expected = Expected::default();
        match fault {
            Fault::WrongAgs => {
                let other = if self.ags.to_string() == "10041511" { "10041512" } else { "10041511" };
                let other = Ags::parse(other).unwrap_or(self.ags);
                changes.iter_mut().for_each(|one| one.ags = other);
                expected.rejected = Some(Code::T070.as_str());
            }
            Fault::OldGeneration => {
                changes.iter_mut().for_each(|one| one.generation = GENERATION - 1);
                expected.cases = changes.iter().map(|one| (one.sequence, Code::S999.as_str())).collect();
            }
            _ => expected.rejected = Some(Code::S999.as_str()),
        }
        let message = self.new_message();
        self.push(message, fault, changes, expected);
    }

    /// The number of a change that is known, with another record.
    fn contradict(&mut self, mut changes: Vec<Change>) {
        changes.truncate(1);
        for one in &mut changes {
            let wrong = Person { doctorate: Some("Dr. falsch".to_owned()), ..person(0, self.ags, 0) };
            one.mark.clone_from(&wrong.mark);
            one.record = Some(wrong);
            one.occasion = Occasion::Other;
        }
        let cases = changes.iter().map(|one| (one.sequence, Code::S999.as_str())).collect();
        let message = self.new_message();
        self.push(message, Fault::Contradiction, changes, Expected { cases, ..Expected::default() });
    }

    /// One of the records has no name; it comes right in a message of its own.
    fn with_an_invalid_record(&mut self, part: Vec<Change>) {
        let bad = part.iter().position(|one| one.record.is_some());
        let Some(bad) = bad else {
            self.send(Fault::None, part);
            return;
        };
        let right = part[bad].clone();
        let mut told = part;
        if let Some(record) = &mut told[bad].record {
            record.family_names.clear();
        }
        let good = told.iter().enumerate().filter(|(place, _)| *place != bad);
        self.known.extend(good.map(|(_, one)| one.sequence));
        while self.known.contains(&(self.applied + 1)) {
            self.applied += 1;
        }
        let cases = vec![(right.sequence, Code::X001.as_str())];
        let expected = Expected { cases, missing: self.missing(), ..Expected::default() };
        let message = self.new_message();
        self.push(message, Fault::InvalidRecord, told, expected);
        self.send(Fault::None, vec![right]);
    }
}

/// Sets no lock: that has an effect even where it is refused.
fn harmless(changes: &[Change]) -> bool {
    changes.iter().all(|one| one.occasion != Occasion::LockSet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_fault_and_tells_every_change_once_rightly() {
        let ags = Ags::parse("10041100").expect("a key");
        let plan = Plan::new(3, ags, 100, 300);
        assert_eq!(plan.steps, Plan::new(3, ags, 100, 300).steps);
        let mut faults: Vec<Fault> = plan.messages().map(|sent| sent.fault).collect();
        faults.sort_unstable();
        faults.dedup();
        assert_eq!(faults.len(), 10, "{faults:?}");
        assert!(plan.steps.contains(&Step::Restart));
        assert!(plan.messages().any(|sent| sent.expected.missing.is_some()));
        // Applied in order, what is told rightly makes what is expected.
        let mut right: BTreeMap<u64, &Change> = BTreeMap::new();
        for sent in plan.messages().filter(|sent| sent.expected.rejected.is_none()) {
            for one in &sent.changes {
                if !sent.expected.cases.iter().any(|(sequence, _)| *sequence == one.sequence) {
                    let before = right.insert(one.sequence, one);
                    assert!(before.is_none_or(|before| before == one), "{}", one.sequence);
                }
            }
        }
        assert!(right.keys().copied().eq(1..=plan.sequence));
        let mut state: BTreeMap<String, Person> =
            plan.records.iter().map(|one| (one.mark.clone(), one.clone())).collect();
        for one in right.into_values() {
            match &one.record {
                Some(record) => state.insert(one.mark.clone(), record.clone()),
                None => state.remove(&one.mark),
            };
        }
        assert_eq!(state, plan.expected);
        // What follows the last message lacks nothing.
        assert_eq!(plan.messages().last().and_then(|sent| sent.expected.missing), None);
    }
}
