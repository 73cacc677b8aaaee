//! OSCI-Transport 1.2, for both sides of a dialog, because an intermediary answers clients and itself calls recipients:
//! the messages as types ([`message`]) and the envelopes around them ([`envelope`]).

pub mod envelope;
pub mod message;
