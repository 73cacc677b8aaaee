//! Names: what is compared with what (annex of the BMeldDAV, numbers 4 b) to d) and 6 b) to d)).
//!
//! Names are separated on spaces alone, *before* they are normalised; a hyphen joins. `+` is DSMeld's sign for "rightly
//! without a name" and matches nothing but itself. A datum of which nothing is left counts as not given.

use std::fmt;

use super::latin;
use super::phonetic::PhoneticCode;
use super::placeholder::{Pattern, PatternError};

/// DSMeld: the person rightly has no such name.
pub const RIGHTLY_ABSENT: &str = "+";

/// A name, or a part of one, in search form; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form(String);

impl Form {
    /// The whole of a name, spaces and all, in the order in which it stands.
    pub fn of(text: &str) -> Option<Self> {
        if text.trim() == RIGHTLY_ABSENT {
            return Some(Self(RIGHTLY_ABSENT.to_owned()));
        }
        Some(latin::search_form(text)).filter(|form| !form.is_empty()).map(Self)
    }

    /// The parts of a name between its spaces.
    pub fn parts_of(text: &str) -> Vec<Self> {
        if text.trim() == RIGHTLY_ABSENT {
            return Self::of(text).into_iter().collect();
        }
        separated(text)
            .filter_map(|part| Some(latin::search_form(part)).filter(|form| !form.is_empty()).map(Self))
            .collect()
    }

    /// For forms that have more rules than table 9, such as street names.
    pub(super) fn of_normalised(text: String) -> Option<Self> {
        Some(text).filter(|form| !form.is_empty()).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_rightly_absent(&self) -> bool {
        self.0 == RIGHTLY_ABSENT
    }
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// On spaces alone: neither a tab nor a no-break space is a letter of any name.
fn separated(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|part| !part.is_empty())
}

/// How one asked name is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Letters,
    /// Exclusively by sound (BMeldDAV sections 4(2) and 7(3)).
    Sound,
    /// Letters with `?` and `*`; free search alone.
    Placeholders,
}

/// Something asked for: one stored form must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Exact(Form),
    Sounding(PhoneticCode),
    Pattern(Pattern),
}

impl Token {
    /// One token for the whole name. `None`: nothing is left of it, it counts as not given.
    pub fn whole(text: &str, manner: Manner) -> Result<Option<Self>, PatternError> {
        match manner {
            Manner::Placeholders if Pattern::has_placeholder(text) => {
                Pattern::parse(text).map(|one| Some(Self::Pattern(one)))
            }
            Manner::Letters | Manner::Placeholders => Ok(Form::of(text).map(Self::Exact)),
            Manner::Sound => Ok(Form::of(text).map(|form| Self::Sounding(PhoneticCode::of(&form)))),
        }
    }

    /// One token for each part of the name.
    pub fn parts(text: &str, manner: Manner) -> Result<Vec<Self>, PatternError> {
        if text.trim() == RIGHTLY_ABSENT {
            return Ok(Self::whole(text, Manner::Letters)?.into_iter().collect());
        }
        separated(text).filter_map(|part| Self::whole(part, manner).transpose()).collect()
    }

    pub fn fits(&self, stored: &Form) -> bool {
        match self {
            Self::Exact(form) => form == stored,
            Self::Sounding(code) => *code == PhoneticCode::of(stored),
            Self::Pattern(pattern) => pattern.fits(stored.as_str()),
        }
    }
}

/// Whether every token finds a stored form that fits it; order does not matter.
pub fn all_found(tokens: &[Token], stored: &[Form]) -> bool {
    tokens.iter().all(|token| stored.iter().any(|form| token.fits(form)))
}
