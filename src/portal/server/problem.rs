//! Refusals in the door's own terms: problem details (RFC 9457), each with a type, and the operator's line beside it.
//!
//! Types that FIT-Connect documents bear its names; others are this post office's own and are explained at their URL.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::net::{self, Body};
use crate::portal::problems;
use crate::relay::Refusal;
use crate::report::{CorrelationId, Failure, Loudness};

const DOCUMENTED: &str = "https://schema.fitko.de/fit-connect/submission-api/problems/";
/// Those of them that FIT-Connect has published.
const DOCUMENTED_CODES: [&str; 3] =
    ["destination-not-found", "destination-state-invalid", "submission-not-found"];

#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub failure: Box<Failure>,
    /// RateLimit-Limit, -Remaining, -Reset (seconds), where that is what it is about.
    pub rate: Option<(u64, u64, u64)>,
    /// What the path serves, where the method is not served.
    pub allow: Option<&'static str>,
    /// In the terms of OAuth (RFC 6749, 5.2), where the token endpoint speaks.
    pub oauth: Option<&'static str>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        let failure = Failure {
            code,
            sentence: sentence.into(),
            detail: String::new(),
            next_step: String::new(),
            loudness: Loudness::Info,
        };
        Self { status, failure: Box::new(failure), rate: None, allow: None, oauth: None }
    }

    pub fn with_operator(mut self, loudness: Loudness, detail: impl Into<String>, next_step: &str) -> Self {
        self.failure.loudness = loudness;
        self.failure.detail = detail.into();
        self.failure.next_step = next_step.to_owned();
        self
    }

    pub fn bad_request(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, sentence)
    }

    pub fn unprocessable(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, sentence)
    }

    pub fn conflict(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, sentence)
    }

    /// Also where it exists and is somebody else's: ids cannot be probed.
    pub fn no_submission() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "submission-not-found",
            "there is no such submission for this client",
        )
    }

    /// Also where it exists and is somebody else's, or another destination's.
    pub fn no_case() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "case-not-found",
            "there is no such case between this client and the destination",
        )
    }

    pub fn no_destination() -> Self {
        Self::new(StatusCode::NOT_FOUND, "destination-not-found", "there is no such destination")
    }

    pub fn disk(error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "store-full",
            _ => "unavailable",
        };
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "the post office cannot keep this for the time being",
        )
        .with_operator(
            Loudness::Error,
            format!("portal uploads: {error}"),
            "see the disk of portal.folder",
        )
    }

    pub fn into_response(self, base: &str, correlation: CorrelationId) -> Response<Body> {
        #[derive(Serialize)]
        struct Details<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: String,
        }
        #[derive(Serialize)]
        struct OAuth<'a> {
            error: &'a str,
            error_description: &'a str,
        }
        self.failure.log(correlation);
        let code = self.failure.code;
        let place = match DOCUMENTED_CODES.contains(&code) {
            true => DOCUMENTED.to_owned(),
            false => format!("{base}/problems/"),
        };
        let (kind, media_type) = match self.oauth {
            Some(error) => {
                let body = OAuth { error, error_description: &self.failure.sentence };
                (serde_json::to_vec(&body), "application/json")
            }
            None => {
                let body = Details {
                    kind: format!("{place}{code}"),
                    title: title(code),
                    status: self.status.as_u16(),
                    detail: &self.failure.sentence,
                    instance: format!("urn:amtsbote:correlation:{correlation}"),
                };
                (serde_json::to_vec(&body), "application/problem+json")
            }
        };
        let mut response = Response::new(net::full(kind.unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(allowed) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((limit, remaining, reset)) = self.rate {
            for (name, value) in
                [("ratelimit-limit", limit), ("ratelimit-remaining", remaining), ("ratelimit-reset", reset)]
            {
                headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
            }
            headers.insert(RETRY_AFTER, HeaderValue::from(reset));
        } else if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(60_u64));
        }
        response
    }
}

/// The title of a type: what it means, without the full stop.
fn title(code: &str) -> &'static str {
    problems::find(code).map_or("Refused", |one| one.english.trim_end_matches('.'))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::UnknownMessage | Refusal::IdNotIssued => return Self::no_submission(),
            Refusal::ServiceNotBooked { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "service-not-offered"),
            Refusal::ReaderUnknown { .. } => return Self::no_destination(),
            Refusal::ReaderNotAllowed { .. } | Refusal::NotYourIdentifier { .. } => {
                (StatusCode::FORBIDDEN, "not-allowed")
            }
            Refusal::IdUsed => (StatusCode::CONFLICT, "submission-exists"),
            Refusal::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            Refusal::StateForbids { .. } => (StatusCode::CONFLICT, "event-out-of-order"),
            Refusal::StoreFull { .. } => (StatusCode::SERVICE_UNAVAILABLE, "store-full"),
            Refusal::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Refusal::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "body-invalid"),
        };
        let relayed = Failure::from(refusal);
        Self { status, failure: Box::new(Failure { code, ..relayed }), rate: None, allow: None, oauth: None }
    }
}
