//! XTA 2 web service 2.1.1: the door for procedures that post and fetch over SOAP 1.2 with mutual TLS.
//!
//! [`message`] parses and writes; [`server`] is the door; [`client`] is the other side. Everything about delivery is
//! decided by the relay: this room translates. Left out: core 3.1.1, receipts and signatures of OSCI-Transport 2.

pub mod action;
pub mod client;
pub mod fault;
pub mod message;
pub mod server;
