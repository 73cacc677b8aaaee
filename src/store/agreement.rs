//! What a message's row, its papers and the evidence log must say alike: derived again from the card, whatever the engine.

use super::row::{Row, Shelf, int, micros};
use super::rules::author_digest;
use crate::domain::card::ProcessCard;
use crate::domain::content::Digest;
use crate::evidence::record::Record;

/// The papers of a message, as stored.
pub struct Papers {
    pub envelope: Vec<u8>,
    pub manifest: Vec<u8>,
    pub author_digest: Vec<u8>,
    pub card: Vec<u8>,
}

/// What does not agree, a few words each. `last` is the last record of the message in each log that has any: the card is
/// that of one of them.
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
