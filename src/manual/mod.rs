//! The manual, as documentation that is compiled: its links break when the code moves away from under them.

pub mod decisions;
pub mod proofs;
pub mod pushes;
pub mod revocation;
