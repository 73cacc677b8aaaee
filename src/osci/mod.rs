//! OSCI-Transport 1.2, for both sides of a dialog, because an intermediary answers clients and itself calls recipients:
//! the messages as types ([`message`]), the envelopes around them ([`envelope`]), every fault and feedback code with its
//! words ([`code`]), the rules of dialogs as a state machine ([`dialog`]).

pub mod code;
pub mod dialog;
pub mod envelope;
pub mod message;
