//! OSCI-Transport 1.2: the intermediary that specialist procedures and state systems speak to.
//!
//! [`code`] holds every fault and feedback code with its words, [`dialog`] the rules of dialogs as a state machine.

pub mod code;
pub mod dialog;
