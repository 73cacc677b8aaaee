//! The namespace declarations around a content package (OSCI12, section 8.3).
//!
//! An author's signature is inclusive canonical XML inside the sender's envelope: it verifies in ours only if the
//! same prefixes are declared around the content, none more and none less. So they are kept with the delivery, place
//! by place, and written again.

use crate::osci::message::names::{NS_SOAP, STANDARD};
use crate::xml::read::StartElement;

/// Declarations as they stand on the three elements of SOAP, each as prefix and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub envelope: Vec<(String, String)>,
    pub header: Vec<(String, String)>,
    pub body: Vec<(String, String)>,
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Envelope,
    Header,
    Body,
}

impl Scope {
    /// What every known client declares; the body repeats it.
    pub fn standard() -> Self {
        let all = || STANDARD.iter().map(|(prefix, uri)| ((*prefix).to_owned(), (*uri).to_owned())).collect();
        Self { envelope: all(), header: Vec::new(), body: all() }
    }

    pub fn empty() -> Self {
        Self { envelope: Vec::new(), header: Vec::new(), body: Vec::new() }
    }

    pub(super) fn declared(start: &StartElement<'_>) -> Vec<(String, String)> {
        start.declarations().map(|d| (d.prefix.to_owned(), d.uri.to_owned())).collect()
    }

    pub fn at(&self, place: Place) -> &[(String, String)] {
        match place {
            Place::Envelope => &self.envelope,
            Place::Header => &self.header,
            Place::Body => &self.body,
        }
    }

    /// The namespace of a prefix at a place, declarations of the envelope included.
    pub fn resolve(&self, place: Place, prefix: &str) -> Option<&str> {
        let here = self.at(place).iter().chain(&self.envelope);
        here.into_iter().find(|(known, _)| known == prefix).map(|(_, uri)| uri.as_str())
    }

    /// The name of a SOAP element at its place; none if no prefix is bound to SOAP there.
    pub fn soap_name(&self, place: Place, local: &str) -> Option<String> {
        let declared = self.at(place).iter().chain(&self.envelope);
        let mut bound = declared
            .map(|(prefix, _)| prefix.as_str())
            .filter(|prefix| self.resolve(place, prefix) == Some(NS_SOAP));
        bound.next().map(|prefix| match prefix {
            "" => local.to_owned(),
            prefix => format!("{prefix}:{local}"),
        })
    }

    /// True if the five usual prefixes mean on the envelope what they mean everywhere.
    pub fn has_standard_prefixes(&self) -> bool {
        STANDARD.iter().all(|(prefix, uri)| self.resolve(Place::Envelope, prefix) == Some(uri))
            && self.header.iter().all(|(prefix, _)| STANDARD.iter().all(|(known, _)| known != prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soap_is_named_as_it_is_bound() {
        let pair = |prefix: &str, uri: &str| (prefix.to_owned(), uri.to_owned());
        let odd = Scope {
            envelope: vec![pair("a", NS_SOAP), pair("x", "urn:x")],
            header: vec![pair("a", "urn:other"), pair("", NS_SOAP)],
            body: vec![pair("b", NS_SOAP)],
        };
        for (scope, place, expected) in [
            (&Scope::standard(), Place::Envelope, Some("soap:E")),
            (&odd, Place::Envelope, Some("a:E")),
            (&odd, Place::Header, Some("E")),
            (&odd, Place::Body, Some("b:E")),
            (&Scope::empty(), Place::Body, None),
        ] {
            assert_eq!(scope.soap_name(place, "E").as_deref(), expected);
        }
        assert!(Scope::standard().has_standard_prefixes());
        assert!(!odd.has_standard_prefixes());
    }
}
