//! The gateway: acts for participants that delegate their decryption key, and opens portals' submissions for them.
//!
//! It is a process of its own, never part of the relay, to which it is a portal's subscriber on one side and an XTA client
//! on the other. Here is what it decides, without sockets, files and clock: [`verify`] says what a submission must be like
//! before anything of it is believed (FIT-Connect, duties of a subscriber before it accepts), [`metadata`] reads the metadata
//! document, [`delivery`] makes a message in the clear of it. Left out: signatures inside the content (AdES), which go to the reader as they came;
//! schemas of data, which are the specialist procedure's; compressed content.

pub mod delivery;
pub mod metadata;
pub mod verify;
