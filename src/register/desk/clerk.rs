//! Cases that a clerk answers: the answer leaves as a message of the number and release that the question wants, or is
//! shown at the page where it was asked, and can be had again as every answer can. Or cases that are the municipality's:
//! it gets the question as it came (0031).

use jiff::Timestamp;

use super::{Desk, DeskError};
use crate::register::answer::Answer;
use crate::register::copies::{ByHand, Origin, Readers, Reply, message_uuid};
use crate::register::message::head::{self, Party};
use crate::register::message::{Number, RELEASES, Release, answer, passing};
use crate::register::person::Ags;

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

    /// Hands a question over to its municipality, as it came: the case goes with it (XInneres 0031).
    pub fn hand_over_case(&self, number: u64, reason: &str, readers: &Readers) -> Result<Ags, DeskError> {
        let now = self.clock.now();
        let expires_at = self.settings.refetch.expiry(now);
        let by_hand = ByHand { number, marks: &[], reason, readers, now, expires_at };
        let write = |ags: Ags, original: &[u8]| {
            let reader = format!("ags:{ags}");
            let party = Party { kennung: reader.clone(), name: reader.clone() };
            let (release, uuid) = (Release::newest(), uuid::Uuid::new_v4().to_string());
            let own = &self.settings.own;
            let mut out = head::begin(release, Number::HandOver, own, &party, &uuid, now, false);
            passing::write(&mut out, Number::HandOver, original);
            Reply {
                number: Number::HandOver.code(),
                reader,
                namespace: release.namespace.to_owned(),
                bytes: out.finish().into_bytes(),
                leaves_at: now,
            }
        };
        Ok(self.copies.hand_over_duty(&by_hand, &write)?)
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
        let name = if origin.name.is_empty() { &reader } else { &origin.name };
        let party = Party { kennung: reader.clone(), name: name.clone() };
        let uuid = uuid::Uuid::new_v4().to_string();
        let mut out = head::begin(release, number, &self.settings.own, &party, &uuid, now, false);
        answer::write(&mut out, message_uuid(&origin.uuid), origin.event.as_ref(), found);
        let bytes = out.finish().into_bytes();
        let namespace = release.namespace.to_owned();
        Some(Reply { number: number.code(), reader, namespace, bytes, leaves_at: now })
    }
}
