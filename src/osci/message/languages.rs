//! DesiredLanguages: in which languages the client reads feedback (OSCI12, section 4.1).

use super::Error;
use super::markup;
use crate::xml::tree::Element;

const LIST_BYTES_MAX: usize = 256;

/// Language codes, the most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredLanguages(Vec<String>);

impl DesiredLanguages {
    pub fn new<S: Into<String>>(codes: impl IntoIterator<Item = S>) -> Self {
        Self(codes.into_iter().map(Into::into).collect())
    }

    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn read(element: &Element) -> Result<Self, Error> {
        markup::empty(element)?;
        let list = markup::attribute(element, "LanguagesList")?.to_owned();
        let list = markup::bounded("LanguagesList", LIST_BYTES_MAX, list)?;
        Ok(Self::new(list.split_ascii_whitespace()))
    }

    /// The value of the attribute.
    pub fn list(&self) -> String {
        self.0.join(" ")
    }
}
