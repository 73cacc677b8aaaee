//! OSCI-Transport 1.2: the intermediary that specialist procedures and state systems speak to.
//!
//! [`code`] holds every fault and feedback code with its words; [`client`] is a client's side, for our own requests to
//! others and for tests.

pub mod client;
pub mod code;
