//! The other side of OSCI-Transport 1.2: what a client sends, expects and refuses.
//!
//! [`dialog`] is the client's half of a dialog without hands, [`address`] says who may be dialled, [`transport`]
//! carries one request and one answer.

pub mod address;
pub mod dialog;
pub mod transport;
