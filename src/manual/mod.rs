//! The manual, as documentation that is compiled: its links break when the code moves away from under them.
//!
//! - [`database`]: PostgreSQL as the store.
//! - [`decisions`]: why things are as they are, with figures.
//! - [`failover`]: Patroni, a load balancer, a second site: what to set up, and what to do when one is lost.
//! - [`gateway`]: opening portals' submissions for participants that delegate their key.
//! - [`intermediaries`]: readers at other post offices, to whom an outlet brings what waits for them.
//! - [`osci`]: a participant by OSCI-Transport, and large messages in chunks.
//! - [`portal`]: citizens' portals, destinations, routing, and the life of a submission.
//! - [`operation`]: setting up, watching, copying, bringing back.
//! - [`proofs`]: checking a proof with other people's tools.
//! - [`pushes`]: recipients that are pushed to while the sender waits.
//! - [`register`]: the population register's process, its messages, and what it keeps.
//! - [`revocation`]: how it is learnt that a certificate is revoked.

pub mod database;
pub mod decisions;
pub mod failover;
pub mod gateway;
pub mod intermediaries;
pub mod operation;
pub mod osci;
pub mod portal;
pub mod proofs;
pub mod pushes;
pub mod register;
pub mod revocation;
