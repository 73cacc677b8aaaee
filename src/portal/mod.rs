//! The citizens' portal door: a submission API in the shape of FIT-Connect, and who is competent where.
//!
//! [`server`] is the door, [`client`] a portal's side of it, [`subscriber`] an authority's, [`callback`] tells destinations' programs that something waits,
//! [`event`] what is said about a submission and by whom; [`routing`] says which destination takes a service in a place, [`rules`] brings the table in and out, [`places`] knows
//! municipalities by name, [`problems`] what its refusals mean.

pub mod callback;
pub mod client;
pub mod csv;
pub mod event;
pub mod places;
pub mod problems;
pub mod routing;
pub mod rules;
pub mod server;
pub mod subscriber;
