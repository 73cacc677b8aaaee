//! What a message's row, its papers and the evidence log must say alike: derived again from the card, whatever the engine.

use super::row::{Place, Row, Shelf, int, micros};
use super::rules::author_digest;
use crate::domain::card::{ProcessCard, STEPS_MAX};
use crate::domain::content::Digest;
use crate::domain::state::Event;
use crate::evidence::record::{Record, RecordEvent};

/// The papers of a message, as stored.
pub struct Papers {
    pub envelope: Vec<u8>,
    pub manifest: Vec<u8>,
    pub author_digest: Vec<u8>,
    pub card: Vec<u8>,
}

/// What does not agree, a few words each. `last` is the last record of the message in each log that has any: the card is
/// that of one of them, and knows what the others tell. Clocks of nodes differ, so that their instants say no order.
pub fn contradictions(
    row: &Row,
    offered: bool,
    papers: Option<&Papers>,
    last: &[Record],
) -> Vec<&'static str> {
    let Some(papers) = papers else { return vec!["envelope and card are missing"] };
    let mut found = Vec::new();
    if papers.author_digest != author_digest(&papers.envelope, &papers.manifest).0 {
        found.push("the envelope was changed");
    }
    let digest = Digest::of(&papers.card);
    if !last.iter().any(|record| record.card_digest == digest) {
        found.push("the card is not the one in the evidence log");
    }
    if last.is_empty() || last.iter().any(|record| record.payload_digest != row.payload_digest) {
        found.push("the payload's digest is not the one in the evidence log");
    }
    let Ok(card) = ProcessCard::from_bytes(&papers.card) else {
        found.push("the card cannot be read");
        return found;
    };
    let knows = |record: &Record| match record.event {
        RecordEvent::Delivery(event) => {
            // Behind so many steps one replaces the last of its kind.
            card.steps.len() >= STEPS_MAX
                || card.steps.iter().any(|step| step.event == event && micros(step.at) == micros(record.time))
        }
        RecordEvent::Inspected => true,
        RecordEvent::CardPurged => false,
    };
    if !last.iter().all(knows) {
        found.push("the card does not say what the evidence log says of it");
    }
    let is_purged = card.steps.iter().any(|step| step.event == Event::PayloadPurged);
    if is_purged != (row.place == Place::Purged) {
        found.push("whether the payload was purged is not what the card says");
    }
    let follows = card.id.as_str() == row.id
        && card.mailbox.as_str() == row.mailbox
        && card.posted_by.as_str() == row.posted_by
        && card.state == row.state
        && Shelf::of(&card) as i64 == row.shelf
        && card.delivered_at.map(micros) == row.delivered_at
        && int(card.payload_bytes) == row.payload_bytes
        && card.payload_digest == row.payload_digest;
    if !follows {
        found.push("the index of messages says other than the card");
    }
    if offered != row.state.is_offered() {
        found.push("the mailbox says other than the card");
    }
    found
}
