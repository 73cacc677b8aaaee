//! OSCI-Transport 1.2: the intermediary that specialist procedures and state systems speak to.
//!
//! [`code`] holds every fault and feedback code with its words.

pub mod code;
