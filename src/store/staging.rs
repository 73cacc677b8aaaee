//! What clients send or fetch in several requests, between two of them, where every node of a store finds it.
//!
//! A place has a name, words of its keeper's, and numbered pieces of any size. Its time is over on the store's clock, and
//! what is over is deleted in bounded steps by whichever node comes to it. Holding a place is a courtesy between nodes that
//! saves them doing the same twice: it ends by itself, so nothing may be wrong where two do.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;

use super::{PayloadReader, StagedPayload, StoreError};

/// Names a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceName {
    pub kind: String,
    /// Places are counted for each.
    pub owner: String,
    pub name: String,
}

/// A place that begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// Its keeper's own words.
    pub note: &'a [u8],
    /// Bytes that it is counted with.
    pub bytes: u64,
    /// It is over so long from now.
    pub lasts: Duration,
    /// Open places of its owner and kind, with this one.
    pub count_max: u64,
    /// Bytes of them together, with this one. One alone may have more.
    pub bytes_max: u64,
}

/// Places of one owner and kind that are counted for themselves besides.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'a> {
    /// What stands somewhere in the words of each.
    pub words: &'a [u8],
    /// Open ones of them, with this one.
    pub count_max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Or it was there already, and stays as it was.
    Yes,
    TooMany,
    /// With it they would have so many bytes.
    TooMuch {
        bytes: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    pub note: Vec<u8>,
    /// Until it is settled.
    pub is_open: bool,
    /// Numbers of its pieces; of one that is settled nobody knows.
    pub pieces: Vec<u64>,
    /// It is over so long from now.
    pub left: Duration,
}

/// What a place is counted with from now on.
#[derive(Debug, Clone, Copy)]
pub struct Count<'a> {
    pub bytes: u64,
    /// Bytes that it is counted with besides, as far as they fit as well.
    pub ahead: u64,
    /// Of all open places of its owner and kind, with this one.
    pub bytes_max: u64,
    /// Of those of them whose name begins so, as its own does.
    pub among: &'a str,
    pub among_bytes_max: u64,
}

/// Where it is too much the place is counted as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// With so many bytes.
    Yes(u64),
    /// The others of its owner have so many bytes.
    TooMuch { others: u64 },
    /// Those among which it is would have more than they may.
    TooMuchAmong,
}

/// Somebody is at work at a place, until this is dropped.
#[derive(Debug)]
pub struct Held {
    _work: tokio::sync::oneshot::Sender<()>,
}

impl Held {
    /// `work` is told when the hold is over.
    pub fn new(work: tokio::sync::oneshot::Sender<()>) -> Self {
        Self { _work: work }
    }
}

#[async_trait]
pub trait Staging: Send + Sync {
    /// Waits until nobody else of any node holds this; nothing where that takes longer than `limit`.
    async fn hold(&self, place: &PlaceName, limit: Option<Duration>) -> Result<Option<Held>, StoreError>;

    /// When this returns, all that could be seen before is promised as a message is; where a standby is waited for, that
    /// has it. Whoever reads sooner than that may read what is lost with the primary.
    async fn confirm(&self) -> Result<(), StoreError>;

    async fn begin_place(&self, place: &PlaceName, beginning: Beginning<'_>) -> Result<Begun, StoreError>;
    /// The same where it is one of these, too.
    async fn begin_place_among(
        &self,
        place: &PlaceName,
        beginning: Beginning<'_>,
        alike: Alike<'_>,
    ) -> Result<Begun, StoreError>;
    /// Counts an open place anew; the places of one owner and kind one after the other. `Unknown` where it is over.
    async fn count_place(&self, place: &PlaceName, count: Count<'_>) -> Result<Counted, StoreError>;
    /// Counts an open place with the bytes of the pieces that are there, whoever has kept them, and whatever the bounds.
    async fn count_pieces(&self, place: &PlaceName) -> Result<(), StoreError>;
    async fn place(&self, place: &PlaceName) -> Result<Option<Place>, StoreError>;
    /// The same where a client is told of it: all of it is durable when this returns, on a required standby as well.
    async fn promised_place(&self, place: &PlaceName) -> Result<Option<Place>, StoreError>;
    /// All of one kind and owner whose name begins so.
    async fn places(&self, kind: &str, owner: &str, name: &str) -> Result<Vec<Place>, StoreError>;
    /// Replaces its keeper's words. `Unknown` where the place is over.
    async fn note_place(&self, place: &PlaceName, note: &[u8]) -> Result<(), StoreError>;
    /// The same where the place is open and its words are still `before`; false where they are not.
    async fn exchange_note(&self, place: &PlaceName, before: &[u8], note: &[u8]) -> Result<bool, StoreError>;
    /// Only its name and note stay, until it is over; it counts no longer.
    async fn settle_place(&self, place: &PlaceName, note: &[u8]) -> Result<(), StoreError>;
    async fn forget_place(&self, place: &PlaceName) -> Result<(), StoreError>;

    /// Keeps a piece: durable when this returns. False where that number is there already, and stays as it was; `Unknown`
    /// where the place is over or settled.
    async fn keep_piece(
        &self,
        place: &PlaceName,
        number: u64,
        piece: StagedPayload,
    ) -> Result<bool, StoreError>;
    /// The same where its keeper's words are still these; false where they are not.
    async fn keep_piece_of(
        &self,
        place: &PlaceName,
        note: &[u8],
        number: u64,
        piece: StagedPayload,
    ) -> Result<bool, StoreError>;
    /// Of the pieces with these numbers that are there, each number and how many bytes it has, in order.
    async fn lengths(
        &self,
        place: &PlaceName,
        numbers: RangeInclusive<u64>,
    ) -> Result<Vec<(u64, u64)>, StoreError>;
    /// Lets go of the pieces with smaller numbers than this.
    async fn drop_pieces(&self, place: &PlaceName, below: u64) -> Result<(), StoreError>;
    /// Bytes `offset..offset+length` of a piece, as far as there are so many; `Unknown` where it is not there.
    async fn open_piece(
        &self,
        place: &PlaceName,
        number: u64,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn PayloadReader>, StoreError>;
}
