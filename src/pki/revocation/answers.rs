//! Judged answers of responders, and the questions that wait for a responder.
//!
//! An inspection never waits: it takes what is known, and notes what is not. Whoever has time and the operator's
//! permission asks, and hands in the answer. A later answer is never replaced by an earlier one, so that a replayed
//! "good" does not undo a revocation. Bounded in both directions; what is forgotten is asked again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::ocsp::{Answer, Status};
use crate::pki::certificate::Certificate;

const KNOWN_MAX: usize = 4096;
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
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Key, Known>,
    wanted: HashMap<Key, Question>,
    generation: u64,
}

/// Shared by all anchors of a process, across reloads.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Inner>);

impl Answers {
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
        make_room(&mut inner.known, now);
        // Half of what is left, so that two attempts fit in before it ends.
        let left = answer.until.duration_since(now).max(SignedDuration::ZERO);
        let next = later(now, (left / 2).max(PAUSE_AFTER_FAILURE));
        inner.known.insert(key, Known { question, answer: Some(answer), next });
        inner.generation += 1;
        true
    }

    /// Nothing was learnt; what was known stays.
    pub fn failed(&self, question: Question, now: Timestamp) {
        let key = question.key();
        let mut inner = self.inner();
        let next = later(now, PAUSE_AFTER_FAILURE);
        make_room(&mut inner.known, now);
        inner.known.entry(key).or_insert(Known { question, answer: None, next }).next = next;
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

/// Revocations are the last to be forgotten.
fn make_room(known: &mut HashMap<Key, Known>, now: Timestamp) {
    if known.len() < KNOWN_MAX {
        return;
    }
    known.retain(|_, known| known.answer.as_ref().is_some_and(|answer| counts(answer, now)));
    if known.len() >= KNOWN_MAX {
        let is_revocation = |known: &Known| {
            known.answer.as_ref().is_some_and(|answer| matches!(answer.status, Status::Revoked { .. }))
        };
        known.retain(|_, known| is_revocation(known));
    }
    if known.len() >= KNOWN_MAX {
        known.clear();
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
}
