//! Amtsbote: a virtual post office for public authorities.
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod evidence;
pub mod manual;
pub mod mime;
pub mod net;
pub mod pki;
pub mod relay;
pub mod report;
pub mod spool;
pub mod store;
pub mod xml;
pub mod xta;
