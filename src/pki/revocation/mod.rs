//! What is known about revocation beside full lists on disk: answers of responders, and delta lists.
//!
//! [`ocsp`] asks and judges without IO; [`answers`] keeps what was judged and remembers what should be asked, so that
//! no client ever waits for a responder. [`list`] reads full and delta lists,
//! [`fetch`] brings both and keeps them on disk.

pub mod answers;
pub mod fetch;
pub mod list;
pub mod ocsp;
