//! Administration over the local socket: what may be asked, who may ask, and that every change names who and why.
//!
//! The protocol is one JSON question and one JSON answer per HTTP/1.1 request. It is not an interface for other
//! software: server and command line come from the same build, and a difference is refused by version. Nothing here
//! shows content: an administrator sees envelopes, cards and states.

pub mod client;
pub mod directory;
pub mod protocol;
pub mod server;
