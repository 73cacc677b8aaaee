//! Cases that a clerk answers: the answer leaves as a message of the number and release that the question wants, or is
//! shown at the page where it was asked, and can be had again as every answer can.

use jiff::Timestamp;

use super::{Desk, DeskError};
use crate::register::answer::Answer;
use crate::register::copies::{ByHand, Origin, Readers, Reply, message_uuid};
use crate::register::message::head::{self, Party};
use crate::register::message::{Number, RELEASES, Release, answer};

impl Desk {
    /// Answers a case with data of these persons, or, with none, for good with none.
    pub fn answer_case(
        &self,
        number: u64,
        marks: &[String],
        reason: &str,
        readers: &Readers,
    ) -> Result<Answer, DeskError> {
        let now = self.clock.now();
        let expires_at = self.settings.refetch.expiry(now);
        let by_hand = ByHand { number, marks, reason, readers, now, expires_at };
        let write = |origin: &Origin, found: &Answer| self.late_answer(origin, found, now);
        Ok(self.copies.answer_duty(&by_hand, &write)?)
    }

    fn late_answer(&self, origin: &Origin, found: &Answer, now: Timestamp) -> Option<Reply> {
        let reader = origin.reader.clone();
        if origin.page {
            let bytes = serde_json::to_vec(found).ok()?;
            return Some(Reply { number: "page", reader, namespace: String::new(), bytes, leaves_at: now });
        }
        let number = Number::parse(&origin.answer)?;
        // A release that has ended meanwhile: the newest one says the same.
        let release = RELEASES.iter().find(|one| one.namespace == origin.namespace);
        let release = release.unwrap_or_else(|| Release::newest());
        let party = Party { kennung: reader.clone(), name: reader.clone() };
        let uuid = uuid::Uuid::new_v4().to_string();
        let mut out = head::begin(release, number, &self.settings.own, &party, &uuid, now, false);
        answer::write(&mut out, message_uuid(&origin.uuid), origin.event.as_ref(), found);
        let bytes = out.finish().into_bytes();
        let namespace = release.namespace.to_owned();
        Some(Reply { number: number.code(), reader, namespace, bytes, leaves_at: now })
    }
}
