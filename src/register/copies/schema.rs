//! What both engines' tables share: the states of a copy. Instants are microseconds since 1970.

pub const LOADING: i64 = 0;
pub const LIVE: i64 = 1;
pub const RETIRED: i64 = 2;
