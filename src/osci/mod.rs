//! OSCI-Transport 1.2: the intermediary that specialist procedures and state systems speak to, for both sides of a
//! dialog, because an intermediary answers clients and itself calls recipients:
//! the messages as types ([`message`]), the envelopes around them ([`envelope`]), every fault and feedback code with its
//! words ([`code`]), the rules of dialogs as a state machine ([`dialog`]), and those of large messages in chunks
//! ([`chunk`]); [`server`] is the door that clients knock at; [`client`] is a client's side, for our own requests to
//! others and for tests; [`outlet`] hands deliveries on to another intermediary.

pub mod chunk;
pub mod client;
pub mod code;
pub mod dialog;
pub mod envelope;
pub mod message;
pub mod outlet;
pub mod server;
