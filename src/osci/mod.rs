//! OSCI-Transport 1.2: the intermediary that specialist procedures and state systems speak to, for both sides of a
//! dialog, because an intermediary answers clients and itself calls recipients.
//!
//! [`code`] holds every fault and feedback code with its words, [`message`] the messages as types; [`client`] is a
//! client's side, for our own requests to others and for tests.

pub mod client;
pub mod code;
pub mod message;
