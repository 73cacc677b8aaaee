//! The words of the trade, parsed once at the edge: message ids, parties, mailboxes, envelopes, process cards.
//!
//! Pure data and pure rules. Nothing here knows a protocol, a database, a socket or the time of day. What has passed
//! a constructor of this room needs no second look further inside.

pub mod account;
pub mod algorithm;
pub mod card;
pub mod content;
pub mod date_time;
pub mod destination;
pub mod dialog;
pub mod envelope;
pub mod hex;
pub mod limits;
pub mod message_id;
pub mod party;
pub mod profile;
pub mod state;
