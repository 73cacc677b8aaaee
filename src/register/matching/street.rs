//! Streets and house numbers (annex of the BMeldDAV, numbers 4 e) to g) and 6 h) to j)).

use super::latin;
use super::name::{Form, Token};
use super::placeholder::{Pattern, PatternError};

/// Endings that mean the same (annex 4 e) aa)): at the end of the normal form alone.
const ENDINGS: [(&str, &str); 4] =
    [("STR", "STRASSE"), ("PL", "PLATZ"), ("WEGLE", "WEG"), ("GAESSLE", "GASSE")];

/// A street's name in search form; `None` where nothing is left of it.
pub fn street_form(text: &str) -> Option<Form> {
    Form::of_normalised(with_ending(latin::search_form(text)))
}

/// What is asked of a street; placeholders are for the free search.
pub fn street_token(text: &str, placeholders: bool) -> Result<Option<Token>, PatternError> {
    if placeholders && Pattern::has_placeholder(text) {
        let form = with_ending(latin::search_form_with_placeholders(text));
        return Pattern::of_normalised(form).map(|pattern| Some(Token::Pattern(pattern)));
    }
    Ok(street_form(text).map(Token::Exact))
}

fn with_ending(mut form: String) -> String {
    if let Some((short, long)) = ENDINGS.into_iter().find(|(short, _)| form.ends_with(short)) {
        form.truncate(form.len() - short.len());
        form.push_str(long);
    }
    form
}

/// DSMeld 1206, 1208, 1209, each empty where there is none: stored, and asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HouseNumber {
    number: String,
    letter: String,
    part: String,
}

impl HouseNumber {
    /// Leading zeros and the letters' case say nothing: `0017 A` is `17 a` (annex 4 g) bb)).
    pub fn new(number: &str, letter: &str, part: &str) -> Self {
        let number = number.trim();
        let short = number.trim_start_matches('0');
        Self {
            number: if short.is_empty() && !number.is_empty() { "0" } else { short }.to_owned(),
            letter: letter.trim().to_uppercase(),
            part: part.trim().to_uppercase(),
        }
    }

    pub fn has_number(&self) -> bool {
        !self.number.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.number.is_empty() && self.letter.is_empty() && self.part.is_empty()
    }

    /// Each part that is asked for must be equal; the others may be anything (annex 4 g) aa)).
    pub fn admits(&self, stored: &Self) -> bool {
        let equal = |asked: &str, stored: &str| asked.is_empty() || asked == stored;
        equal(&self.number, &stored.number)
            && equal(&self.letter, &stored.letter)
            && equal(&self.part, &stored.part)
    }

    /// 1206 lies in the range, both ends included; 1208 and 1209 may be anything (annex 6 j)).
    pub fn lies_in(&self, first: u32, last: u32) -> bool {
        self.number.parse::<u32>().is_ok_and(|number| (first..=last).contains(&number))
    }
}
