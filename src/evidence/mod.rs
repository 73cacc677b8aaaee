//! Evidence: what the post office can prove afterwards, as pure computation.
//!
//! An append-only log of [`record::Record`]s is the leaves of a Merkle tree ([`tree`], RFC 6962 hashing). Nothing here
//! touches files, sockets, clocks or keys at rest; the store keeps the bytes, the relay signs. [`export`] puts a proof into
//! one file: card ([`signed_card`]), records, [`checkpoint`], time stamps. Where several nodes work on one store, their logs
//! hold each other's checkpoints ([`anchor`]).

pub mod anchor;
pub mod checkpoint;
pub mod export;
pub mod record;
pub mod signed_card;
pub mod tree;
