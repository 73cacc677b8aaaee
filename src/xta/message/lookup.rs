//! lookupService: whether a reader takes a service (LookupServiceRequest, LookupServiceResponse).
//!
//! Each question is quoted in its answer. Left out: ServiceParameter, because the directory holds no certificates of
//! readers for encryption.

use super::Error;
use super::element::Element;
use super::markup::Markup;
use super::metadata::{party, write_party};
use super::names::{OSCIMETA, XTA};
use crate::domain::envelope::Party;

/// Questions in one request.
pub const QUESTIONS_MAX: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub reader: Party,
    /// URI of the service as it was written.
    pub service: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Offered,
    NotOffered,
    Unknown,
}

/// Reads LookupServiceRequest.
pub fn parse(body: &Element) -> Result<Vec<Question>, Error> {
    if !body.is(XTA, "LookupServiceRequest") {
        return Err(Error::missing("Body", "LookupServiceRequest"));
    }
    let mut questions = Vec::new();
    for list in body.all(XTA, "LookupServiceRequestList") {
        for lookup in list.all(XTA, "LookupService") {
            let service = lookup.required(XTA, "ServiceType")?.trimmed();
            check_uri("ServiceType", &service)?;
            questions.push(Question { reader: party(lookup.required(OSCIMETA, "Reader")?)?, service });
            if questions.len() > QUESTIONS_MAX {
                return Err(Error::invalid(
                    "LookupServiceRequest",
                    format!("it has more than {QUESTIONS_MAX} questions"),
                ));
            }
        }
    }
    if questions.is_empty() {
        return Err(Error::missing("LookupServiceRequest", "LookupService"));
    }
    Ok(questions)
}

/// An absolute URI: a scheme and something behind it, no spaces, no control characters.
pub fn check_uri(what: &str, text: &str) -> Result<(), Error> {
    let refuse = |why| Err(Error::NotAUri { what: what.to_owned(), why });
    let Some((scheme, rest)) = text.split_once(':') else { return refuse("it has no scheme") };
    let fits = scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !fits {
        return refuse("its scheme is malformed");
    }
    if rest.is_empty() {
        return refuse("it ends after its scheme");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"{}|\\^`".contains(c)) {
        return refuse("it has a character that must be escaped");
    }
    Ok(())
}

/// Writes LookupServiceResponse.
pub fn write(out: &mut Markup, answers: &[(Question, Availability)]) {
    out.element("xta:LookupServiceResponse", |out| {
        out.element("xta:LookupServiceResultList", |out| {
            for (question, availability) in answers {
                out.element("xta:LookupServiceResult", |out| {
                    write_party(out, "oscimeta:Reader", &question.reader);
                    out.leaf("xta:ServiceType", &question.service);
                    out.element("xta:IsServiceAvailableValue", |out| {
                        match availability {
                            Availability::Offered => out.leaf("xta:ServiceIsAvailable", "true"),
                            Availability::NotOffered => out.leaf("xta:ServiceIsAvailable", "false"),
                            Availability::Unknown => out.leaf("xta:ServiceIsAvailableUnknown", "true"),
                        };
                    });
                });
            }
        });
    });
}
