//! The rules of matching that the annex of the BMeldDAV (Bundesmeldedatenabrufverordnung, of August 2026) binds every
//! register to: pure, without the copies they are applied to.
//!
//! | rule | annex, person search | annex, free search | here |
//! | --- | --- | --- | --- |
//! | sounds | 1 | 1 | [`phonetic`] |
//! | letters | 4 a) | 6 a) | [`latin`] |
//! | names | 4 b) to d) | 6 b) to d) | [`name`] |
//! | streets, house numbers | 4 e) to g) | 6 h) to j) | [`street`] |
//! | dates | 4 h) | 6 e) to g) | [`date`] |
//! | placeholders | none | 7 | [`placeholder`] |
//!
//! That every datum given is used (4 i), 6 k)) is [`super::criteria`]'s business.

pub mod date;
pub mod latin;
pub mod name;
pub mod phonetic;
pub mod placeholder;
pub mod street;

#[cfg(test)]
mod tests;
