//! Judged answers of responders, and the questions that wait for a responder.
//!
//! An inspection never waits: it takes what is known, and notes what is not. Whoever has time and the operator's
//! permission asks, and hands in the answer. A later answer is never replaced by an earlier one, so that a replayed
//! "good" does not undo a revocation. Bounded in both directions; what is forgotten is asked again.
//!
//! With more certificates than the bound, one answer goes for each that comes: what no longer counts first, then the
//! one that was not wanted for longest, revocations last. Where all were wanted a moment ago, the newcomers share one
//! place: so those that are held stay, rather than each pushing out the next.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::ocsp::{Answer, Status};
use crate::pki::certificate::{Certificate, CertificateFingerprint};

/// About 4 kB each.
const KNOWN_MAX: usize = 8192;
/// Wanted within this time: not to make room for another.
const IN_USE: SignedDuration = SignedDuration::from_mins(10);
const WANTED_MAX: usize = 256;
/// After a failure, a responder is left alone about this certificate for so long.
const PAUSE_AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(5);

/// Certificate and issuer's key. The certificate's digest alone would do for good certificates only.
type Key = ([u8; 32], [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub certificate: Certificate,
    pub issuer: Certificate,
}

impl Question {
    fn key(&self) -> Key {
        key(&self.certificate, &self.issuer)
    }
}

fn key(certificate: &Certificate, issuer: &Certificate) -> Key {
    (certificate.fingerprint().0, issuer.key_fingerprint().0)
}

#[derive(Debug, Clone)]
struct Known {
    question: Question,
    answer: Option<Answer>,
    /// Not to be asked before.
    next: Timestamp,
    /// When an inspection last looked for it.
    wanted_at: Timestamp,
    /// Counts up with each that comes.
    number: u64,
}

impl Known {
    fn is_revocation(&self) -> bool {
        matches!(self.answer, Some(Answer { status: Status::Revoked { .. }, .. }))
    }

    fn counts(&self, now: Timestamp) -> bool {
        self.answer.as_ref().is_some_and(|answer| counts(answer, now))
    }
}

#[derive(Debug)]
struct Inner {
    known_max: usize,
    known: HashMap<Key, Known>,
    wanted: HashMap<Key, Question>,
    generation: u64,
    next_number: u64,
    /// Certificates whose answers were given up, until somebody takes them from the disk as well.
    forgotten: Vec<CertificateFingerprint>,
}

/// Shared by all anchors of a process, across reloads.
#[derive(Debug)]
pub struct Answers(Mutex<Inner>);

impl Default for Answers {
    fn default() -> Self {
        Self::of_at_most(KNOWN_MAX)
    }
}

impl Answers {
    /// For so many certificates, at least two.
    pub fn of_at_most(known_max: usize) -> Self {
        Self(Mutex::new(Inner {
            known_max: known_max.max(2),
            known: HashMap::new(),
            wanted: HashMap::new(),
            generation: 0,
            next_number: 0,
            forgotten: Vec::new(),
        }))
    }

    /// Whether another answer can be held and nothing need be given up.
    pub fn has_room(&self) -> bool {
        let inner = self.inner();
        inner.known.len() < inner.known_max
    }

    /// Whose answers were given up since this was last asked.
    pub fn take_forgotten(&self) -> Vec<CertificateFingerprint> {
        let mut inner = self.inner();
        let forgotten = std::mem::take(&mut inner.forgotten);
        // One that has come again since is not forgotten.
        let known: HashSet<[u8; 32]> = inner.known.keys().map(|(certificate, _)| *certificate).collect();
        forgotten.into_iter().filter(|certificate| !known.contains(&certificate.0)).collect()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with every answer, so that judgements that were kept are made again.
    pub fn generation(&self) -> u64 {
        self.inner().generation
    }

    /// What counts at this instant. A certificate without a responder's address is nobody's question.
    pub fn find(&self, certificate: &Certificate, issuer: &Certificate, now: Timestamp) -> Option<Answer> {
        let key = key(certificate, issuer);
        let mut inner = self.inner();
        if let Some(known) = inner.known.get_mut(&key) {
            known.wanted_at = known.wanted_at.max(now);
        }
        let known = inner.known.get(&key);
        let found = known.and_then(|known| known.answer.clone()).filter(|answer| counts(answer, now));
        let is_due = known.is_none_or(|known| known.next <= now);
        if is_due && !certificate.ocsp_urls().is_empty() && inner.wanted.len() < WANTED_MAX {
            let question = Question { certificate: certificate.clone(), issuer: issuer.clone() };
            inner.wanted.insert(key, question);
        }
        found
    }

    /// What should be asked: what inspections missed, and what they use and will soon be too old.
    pub fn take_questions(&self, now: Timestamp) -> Vec<Question> {
        let mut inner = self.inner();
        let mut questions = std::mem::take(&mut inner.wanted);
        let ends: Vec<Question> = inner
            .known
            .values()
            .filter(|known| known.answer.is_some() && known.next <= now)
            .map(|known| known.question.clone())
            .take(WANTED_MAX)
            .collect();
        questions.extend(ends.into_iter().map(|question| (question.key(), question)));
        questions.into_values().collect()
    }

    /// Whether the answer was taken: it does not undo what is known already. Only such a one may be written down.
    pub fn keep(&self, question: Question, answer: Answer, now: Timestamp) -> bool {
        let key = question.key();
        let mut inner = self.inner();
        if let Some(known) = inner.known.get_mut(&key)
            && known.answer.as_ref().is_some_and(|earlier| !takes_place(&answer, earlier))
        {
            known.next = known.next.max(later(now, PAUSE_AFTER_FAILURE));
            return false;
        }
        // Half of what is left, so that two attempts fit in before it ends.
        let left = answer.until.duration_since(now).max(SignedDuration::ZERO);
        let next = later(now, (left / 2).max(PAUSE_AFTER_FAILURE));
        inner.put(key, question, Some(answer), next, now);
        inner.generation += 1;
        true
    }

    /// Nothing was learnt; what was known stays.
    pub fn failed(&self, question: Question, now: Timestamp) {
        let key = question.key();
        let mut inner = self.inner();
        let next = later(now, PAUSE_AFTER_FAILURE);
        match inner.known.get_mut(&key) {
            Some(known) => known.next = next,
            None => inner.put(key, question, None, next, now),
        }
    }

    /// Answers that count and the first instant to come at which one of them ends. A revocation counts beyond its end.
    pub fn state(&self, now: Timestamp) -> (usize, Option<Timestamp>) {
        let inner = self.inner();
        let counting = inner.known.values().filter_map(|known| known.answer.as_ref());
        let counting = counting.filter(|answer| counts(answer, now));
        counting.fold((0, None), |(count, first): (usize, Option<Timestamp>), answer| {
            let end = Some(answer.until).filter(|until| *until >= now);
            (count + 1, first.into_iter().chain(end).min())
        })
    }
}

/// A revocation yields to another one, and to "good" of a later instant (the end of a hold): no responder that once
/// knew the certificate can cease to know it.
fn takes_place(answer: &Answer, earlier: &Answer) -> bool {
    match (earlier.status, answer.status) {
        (Status::Revoked { .. }, Status::Unknown) => false,
        (Status::Revoked { .. }, Status::Good) => answer.this_update > earlier.this_update,
        _ => answer.this_update >= earlier.this_update,
    }
}

pub(super) fn counts(answer: &Answer, now: Timestamp) -> bool {
    matches!(answer.status, Status::Revoked { .. }) || now <= answer.until
}

fn later(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl Inner {
    fn put(&mut self, key: Key, question: Question, answer: Option<Answer>, next: Timestamp, now: Timestamp) {
        if !self.known.contains_key(&key) && self.known.len() >= self.known_max {
            self.give_one_up(now);
        }
        let wanted_at = self.known.get(&key).map_or(now, |known| known.wanted_at);
        self.next_number += 1;
        let number = self.next_number;
        self.known.insert(key, Known { question, answer, next, wanted_at, number });
    }

    fn give_one_up(&mut self, now: Timestamp) {
        let least = |known: &Known| {
            let is_idle = now.duration_since(known.wanted_at) >= IN_USE;
            let order = match is_idle {
                true => (known.wanted_at, 0),
                // All are in use: the one that came last.
                false => (Timestamp::MAX, u64::MAX - known.number),
            };
            (known.counts(now), known.is_revocation(), order)
        };
        let first = self.known.iter().min_by_key(|(_, known)| least(known)).map(|(key, _)| *key);
        if let Some(key) = first
            && let Some(known) = self.known.remove(&key)
        {
            self.forgotten.push(known.question.certificate.fingerprint());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn question() -> Question {
        let validity = Validity { from: at("2020-01-01T00:00:00Z"), until: at("2120-01-01T00:00:00Z") };
        let root = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
        let leaf =
            Leaf { common_name: "leaf", role: Role::Participant, key: KeyChoice::P256, validity, names: &[] };
        let certificate = root.issue(&leaf).expect("a leaf").certificate().clone();
        Question { certificate, issuer: root.certificate().clone() }
    }

    fn answer(status: Status, this_update: &str, until: &str) -> Answer {
        Answer { status, this_update: at(this_update), until: at(until) }
    }

    #[test]
    fn an_earlier_answer_never_undoes_a_later_one() {
        let (answers, question) = (Answers::default(), question());
        let now = at("2026-01-02T00:00:00Z");
        let revoked = Status::Revoked { at: at("2026-01-01T00:00:00Z") };
        let find = |now| answers.find(&question.certificate, &question.issuer, now).map(|known| known.status);
        assert_eq!(find(now), None);
        answers.keep(
            question.clone(),
            answer(Status::Good, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"),
            now,
        );
        assert_eq!(find(now), Some(Status::Good));
        answers.keep(question.clone(), answer(revoked, "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"), now);
        answers.keep(
            question.clone(),
            answer(Status::Good, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"),
            now,
        );
        assert_eq!(find(now), Some(revoked), "replayed");
        assert_eq!(find(at("2030-01-01T00:00:00Z")), Some(revoked), "however old");
        assert_eq!(answers.generation(), 2);
        let end = "2026-01-03T00:00:00Z";
        for (what, status, this_update, taken) in [
            ("good of the same instant", Status::Good, "2026-01-02T00:00:00Z", false),
            ("unknown of the same instant", Status::Unknown, "2026-01-02T00:00:00Z", false),
            ("unknown of later", Status::Unknown, "2026-01-02T00:00:01Z", false),
            ("the same again", revoked, "2026-01-02T00:00:00Z", true),
        ] {
            assert_eq!(
                answers.keep(question.clone(), answer(status, this_update, end), now),
                taken,
                "{what}"
            );
            assert_eq!(find(now), Some(revoked), "{what}");
        }
        answers.failed(question.clone(), now);
        assert_eq!(find(now), Some(revoked), "a failure takes nothing away");
        let released = answer(Status::Good, "2026-01-02T00:00:01Z", end);
        assert!(answers.keep(question.clone(), released, now));
        assert_eq!(find(now), Some(Status::Good), "off hold");
    }

    #[test]
    fn an_answer_ends_and_is_asked_for_before_it_does() {
        let (answers, question) = (Answers::default(), question());
        let now = at("2026-01-02T00:00:00Z");
        let find = |now| answers.find(&question.certificate, &question.issuer, now);
        answers.keep(
            question.clone(),
            answer(Status::Good, "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z"),
            now,
        );
        assert_eq!(answers.state(now), (1, Some(at("2026-01-04T00:00:00Z"))));
        assert_eq!(answers.take_questions(at("2026-01-02T23:59:59Z")), []);
        assert_eq!(answers.take_questions(at("2026-01-03T00:00:00Z")), std::slice::from_ref(&question));
        answers.failed(question.clone(), at("2026-01-03T00:00:00Z"));
        assert_eq!(answers.take_questions(at("2026-01-03T00:04:59Z")), [], "left alone after a failure");
        assert_eq!(answers.take_questions(at("2026-01-03T00:05:00Z")).len(), 1);
        assert!(find(at("2026-01-04T00:00:00Z")).is_some());
        assert!(find(at("2026-01-04T00:00:01Z")).is_none());
        assert_eq!(answers.state(at("2026-01-04T00:00:01Z")), (0, None));
        let revoked = Status::Revoked { at: at("2026-01-01T00:00:00Z") };
        answers.keep(question, answer(revoked, "2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z"), now);
        assert_eq!(answers.state(at("2026-01-05T00:00:00Z")), (1, Some(at("2026-01-05T00:00:00Z"))));
        assert_eq!(answers.state(at("2026-01-06T00:00:00Z")), (1, None), "counts on, and ends no judgement");
    }

    /// Many certificates by one CA.
    fn questions(count: usize) -> Vec<Question> {
        let validity = Validity { from: at("2020-01-01T00:00:00Z"), until: at("2120-01-01T00:00:00Z") };
        let root = Authority::root("Root", KeyChoice::P256, validity).expect("a root");
        let leaf =
            Leaf { common_name: "leaf", role: Role::Participant, key: KeyChoice::P256, validity, names: &[] };
        let certificate = || root.issue(&leaf).expect("a leaf").certificate().clone();
        (0..count)
            .map(|_| Question { certificate: certificate(), issuer: root.certificate().clone() })
            .collect()
    }

    #[test]
    fn more_certificates_than_the_bound_push_out_few() {
        let answers = Answers::of_at_most(8);
        let all = questions(12);
        let start = at("2026-01-02T00:00:00Z");
        let good = || answer(Status::Good, "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z");
        // In turn, again and again: whoever is not held is asked for and comes.
        let (mut asked, mut second) = (0, 0);
        for _ in 0..20 {
            for one in &all {
                let now = later(start, SignedDuration::from_secs(second));
                second += 1;
                if answers.find(&one.certificate, &one.issuer, now).is_none() {
                    asked += 1;
                    answers.keep(one.clone(), good(), now);
                }
            }
        }
        assert_eq!(answers.state(start).0, 8, "bounded");
        // Seven stay; the other five share one place, each of the twenty times.
        assert_eq!(asked, 7 + 5 * 20, "of {} looks", 12 * 20);
        let forgotten = answers.take_forgotten();
        assert!(forgotten.len() <= 12 * 20 && !forgotten.is_empty());
        let held: Vec<_> = all.iter().map(|one| one.certificate.fingerprint()).collect();
        let given_up: Vec<_> = held.iter().filter(|one| forgotten.contains(one)).collect();
        assert_eq!(given_up.len(), 4, "what is held is not forgotten");
        assert!(answers.take_forgotten().is_empty());
    }

    #[test]
    fn the_ended_go_first_then_the_idle_and_revocations_last() {
        let answers = Answers::of_at_most(4);
        let all = questions(9);
        let start = at("2026-01-02T00:00:00Z");
        let revoked = Status::Revoked { at: at("2026-01-01T00:00:00Z") };
        let (soon, late) = ("2026-01-02T00:30:00Z", "2026-01-09T00:00:00Z");
        for (number, status, until) in
            [(0, revoked, soon), (1, Status::Good, soon), (2, Status::Good, late), (3, Status::Good, late)]
        {
            answers.keep(all[number].clone(), answer(status, "2026-01-02T00:00:00Z", until), start);
        }
        let has = |number: usize, now| {
            let one: &Question = &all[number];
            answers.find(&one.certificate, &one.issuer, now).is_some()
        };
        let an_hour = at("2026-01-02T01:00:00Z");
        assert!(has(3, an_hour), "in use");
        let good = || answer(Status::Good, "2026-01-02T01:00:00Z", late);
        for (new, gone) in [(4, 1), (5, 2), (6, 5), (7, 6)] {
            answers.keep(all[new].clone(), good(), an_hour);
            let forgotten = answers.take_forgotten();
            assert_eq!(forgotten, [all[gone].certificate.fingerprint()], "{new} comes");
        }
        assert!(has(0, an_hour) && has(3, an_hour));
    }
}
