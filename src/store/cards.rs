//! How both engines look for process cards: which row, card and record decides, and when it is enough.
//!
//! The way leads back from the party's newest message. What changed since an instant may lie anywhere on it, so where the
//! way gets too long the evidence log is read back to that instant: every change of a card stands there, under the time that
//! the card bears as well. Memory and work of one question are bounded by [`CardBounds`], however many cards there are.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{CardQuery, Entry};
use crate::domain::card::ProcessCard;
use crate::domain::state::DeliveryState;
use crate::evidence::record;

/// Rows of an index that are read at a time.
pub const ROWS_PAGE: usize = 256;
/// Records of the log that are read at a time.
pub const RECORDS_PAGE: usize = 1000;
/// The beginning of a record, in which its time stands.
pub const RECORD_HEAD_BYTES: usize = 64;
/// How much earlier an instant may be written down behind a later one: requests overtake each other, and clocks are set
/// right.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// How much of the store one question for cards looks at; beyond, the asker narrows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardBounds {
    /// Rows of messages on the way back from the newest.
    pub rows: usize,
    /// Cards that are read on that way. What a row tells is told without its card.
    pub cards: usize,
    /// Records of the evidence log, where the question is since when.
    pub records: usize,
}

impl Default for CardBounds {
    fn default() -> Self {
        Self { rows: 200_000, cards: 20_000, records: 100_000 }
    }
}

/// Why the way ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing that follows is wanted.
    NoMore,
    /// There is one more than was asked for.
    Enough,
    /// The bounds are reached.
    TooFar,
}

/// Where the way back through the messages of one party stands.
pub struct Walk<'q> {
    query: &'q CardQuery,
    rows: usize,
    cards: usize,
    found: Vec<Entry>,
    /// Cards in a row whose messages were accepted too early.
    early: usize,
}

impl<'q> Walk<'q> {
    pub fn new(query: &'q CardQuery) -> Self {
        Self { query, rows: 0, cards: 0, found: Vec::new(), early: 0 }
    }

    /// So many more rows are read.
    pub fn looks_at(&mut self, rows: usize) -> Result<(), End> {
        if self.rows >= self.query.bounds.rows {
            return Err(End::TooFar);
        }
        self.rows = self.rows.saturating_add(rows);
        Ok(())
    }

    /// Whether the card must be read of a message that this account posted to this mailbox, in this state.
    pub fn passes(&mut self, posted_by: &str, mailbox: &str, state: DeliveryState) -> Result<bool, End> {
        let query = self.query;
        let as_author = query.as_author && posted_by == query.account.as_str();
        let as_reader = query.as_reader && mailbox == query.mailbox.as_str();
        if !(as_author || as_reader) || query.unreceived_only && state == DeliveryState::Received {
            return Ok(false);
        }
        if self.cards >= query.bounds.cards {
            return Err(End::TooFar);
        }
        self.cards += 1;
        Ok(true)
    }

    /// Whether this card is wanted, and the whole entry with it.
    pub fn wants(&mut self, card: &ProcessCard) -> Result<bool, End> {
        let is_early = self.query.accepted_from.is_some_and(|from| card.accepted_at < slack_before(from));
        self.early = if is_early { self.early + 1 } else { 0 };
        if self.early > ROWS_PAGE {
            return Err(End::NoMore);
        }
        let wanted = self.query.wants(card);
        if wanted && self.found.len() >= self.query.limit as usize {
            return Err(End::Enough);
        }
        Ok(wanted)
    }

    pub fn take(&mut self, entry: Entry) {
        self.found.push(entry);
    }

    /// What was found, and whether there is more, or may be.
    pub fn answer(self, end: End) -> (Vec<Entry>, bool) {
        (self.found, end != End::NoMore)
    }
}

/// Whoever reads a log back to the instant from which on cards are wanted. Acceptance is a change, too.
pub struct Log {
    since: Timestamp,
    records: usize,
}

impl Log {
    /// Nothing where the question is for all times.
    pub fn of(query: &CardQuery) -> Option<Self> {
        let since = query.accepted_from.max(query.modified_from)?;
        Some(Self { since: slack_before(since), records: query.bounds.records })
    }

    /// How many records may be read next; none when the bound is reached.
    pub fn page(&self) -> Option<usize> {
        Some(self.records.min(RECORDS_PAGE)).filter(|page| *page > 0)
    }

    /// Notes the messages of a page of records that are not too early.
    pub fn read<'b, M: Ord>(
        &mut self,
        page: impl Iterator<Item = (M, &'b [u8])>,
        changed: &mut BTreeSet<M>,
    ) -> Page {
        let (mut read, mut is_early) = (0, true);
        let full = self.page().unwrap_or_default();
        for (message, head) in page {
            read += 1;
            // Whatever cannot be told counts.
            if record::time_of(head).is_none_or(|time| time >= self.since) {
                is_early = false;
                changed.insert(message);
            }
        }
        self.records = self.records.saturating_sub(read);
        if read < full || is_early { Page::Last } else { Page::NotLast }
    }
}

/// Whether the log has more that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    NotLast,
    Last,
}

fn slack_before(at: Timestamp) -> Timestamp {
    at.saturating_sub(CLOCK_SLACK).unwrap_or(at)
}
