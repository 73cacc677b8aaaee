//! Placeholders `?` and `*` (BMeldDAV section 7(7), annex number 7); free search alone.
//!
//! They are applied to the normalised datum, and where names are separated, to each part. `?` is exactly one letter
//! of the normal form, `*` any number. Not alone and not first (7 c); first means: in the normal form, since what
//! normalisation drops was never there.

use thiserror::Error;

use super::latin;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("a search term must not consist of placeholders alone")]
    Alone,
    #[error("a placeholder must not stand first in a search term")]
    First,
}

/// Capital letters, `?` and `*`; begins with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn has_placeholder(text: &str) -> bool {
        text.contains(['?', '*'])
    }

    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::of_normalised(latin::search_form_with_placeholders(text))
    }

    pub(super) fn of_normalised(form: String) -> Result<Self, PatternError> {
        if form.bytes().all(|byte| matches!(byte, b'?' | b'*')) {
            return Err(PatternError::Alone);
        }
        if form.starts_with(['?', '*']) {
            return Err(PatternError::First);
        }
        Ok(Self(form))
    }

    /// The letters before the first placeholder; at least one.
    pub fn prefix(&self) -> &str {
        self.0.split(['?', '*']).next().unwrap_or_default()
    }

    /// Linear in the text for each `*`, without recursion: a stranger chooses the pattern.
    pub fn fits(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut place) = (0, 0);
        let mut star = None;
        while place < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, place));
                    at += 1;
                }
                Some(&wanted) if wanted == b'?' || wanted == text[place] => {
                    at += 1;
                    place += 1;
                }
                _ => match &mut star {
                    Some((after, taken)) => {
                        *taken += 1;
                        (at, place) = (*after, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn placeholders_alone_or_first_are_refused() {
        for (text, expected) in [
            ("*", PatternError::Alone),
            ("?*?", PatternError::Alone),
            ("12*", PatternError::Alone),
            ("*burg", PatternError::First),
            ("?urg", PatternError::First),
            ("- *burg", PatternError::First),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{text}");
        }
        assert_eq!(Pattern::parse("Öl*b?rg").expect("a pattern").prefix(), "OEL");
    }

    /// The definition, word for word.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => slow(&pattern[1..], text) || (!text.is_empty() && slow(pattern, &text[1..])),
            (Some(wanted), Some(letter)) if *wanted == b'?' || wanted == letter => {
                slow(&pattern[1..], &text[1..])
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_fit_as_defined(pattern in "A[AB?*]{0,8}", text in "A[AB]{0,10}") {
            let parsed = Pattern::parse(&pattern).expect("begins with a letter");
            prop_assert_eq!(parsed.fits(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
