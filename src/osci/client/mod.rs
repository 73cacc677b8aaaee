//! The other side of OSCI-Transport 1.2: what a client sends, expects and refuses.
//!
//! Without hands: [`dialog`], a client's half of a dialog; [`request`], what it says; [`judge`], which answers it
//! believes; [`content`], what an author puts together. With hands: [`address`] and [`transport`], [`exchange`] and
//! [`scratch`], and on top [`session`], by which the command line, the demo and tests speak, and [`push`], by which an
//! intermediary does. [`fetched`] is what they get.

pub mod address;
pub mod content;
pub mod dialog;
pub mod exchange;
pub mod fetched;
pub mod judge;
pub mod keys;
pub mod push;
pub mod request;
pub mod scratch;
pub mod session;
pub mod transport;
