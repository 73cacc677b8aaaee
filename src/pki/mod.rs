//! Keys, certificates, trust and revocation (RFC 5280, RFC 8446).
//!
//! Identity here is a key: an account is known by the digest of its SubjectPublicKeyInfo. [`certificate`] reads
//! certificates, [`key`] private keys, [`trust`] judges a certificate at an instant and leaves an [`inspection`],
//! [`tls`] proves possession of a key and leaves the judgement to the doors, [`expiry`] warns ahead of time,
//! [`development`] makes a throw-away PKI and [`request`] a request for a real certificate. [`signature`] is the one
//! place where a signature value meets a public key. [`revocation`] learns from lists and responders what was revoked,
//! without making a client wait.
//!
//! Time stamps have a room of their own ([`timestamp`]). What is read or written as DER beside whole certificates goes through
//! `der`.
//!
//! Left out: certificate policies, keys in hardware, fetching issuers' certificates by the addresses that certificates
//! name.

pub mod certificate;
mod der;
pub mod development;
mod directory_names;
pub mod expiry;
pub mod inspection;
pub mod jose;
pub mod key;
mod path;
mod recent;
pub mod request;
pub mod revocation;
pub mod signature;
pub mod summary;
pub mod timestamp;
pub mod tls;
pub mod trust;
