//! The citizens' portal door: a submission API in the shape of FIT-Connect, and who is competent where.
//!
//! [`routing`] says which destination takes a service in a place, [`rules`] brings the table in and out, [`places`] knows
//! municipalities by name.

pub mod csv;
pub mod places;
pub mod routing;
pub mod rules;
