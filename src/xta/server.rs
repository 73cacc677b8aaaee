//! The door: HTTP in, the relay's few commands, SOAP out (XTA 2 WS 2.1.1, ports Management, SendXta and MsgBox).
//!
//! Who asks is decided before a byte of content is taken; which operation, by its action and never by its path. What
//! cannot be done is answered as a SOAP 1.2 fault with HTTP 500, and logged once under the correlation id that the
//! fault carries. Left out: WS-Security (no client in the field sends it), asynchronous reply addresses, gzip.

mod answer;
mod description;
mod identity;
mod operation;
mod request;
mod request_id;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};

use crate::domain::limits::Limits;
use crate::mime::media_type::MediaType;
use crate::net::{self, Body, Handler, Peer};
use crate::pki::trust::TrustAnchors;
use crate::relay::Relay;
use crate::report::CorrelationId;
use crate::xta::action::{self, Operation};
use crate::xta::fault::{ErrorNumber, Fault};

use answer::{Answer, Heading};
use identity::Caller;

/// Which door a message came through, as its card says.
pub const DOOR: &str = "xta-2.1.1";

/// Time for reading what is left of a refused request.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// The anchors in force; a reload replaces them.
pub type TrustSource = Arc<dyn Fn() -> Arc<TrustAnchors> + Send + Sync>;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests at this path and below it are taken; `/` takes every path.
    pub path: String,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { path: "/".to_owned(), limits: Limits::default() }
    }
}

pub struct Door {
    relay: Arc<Relay>,
    trust: TrustSource,
    settings: Settings,
    refused: identity::Lines,
}

impl Door {
    pub fn new(relay: Arc<Relay>, trust: TrustSource, settings: Settings) -> Self {
        Self { relay, trust, settings, refused: identity::Lines::default() }
    }

    fn takes(&self, path: &str) -> bool {
        let base = self.settings.path.trim_end_matches('/');
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    async fn post(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        let correlation = CorrelationId::random();
        let (head, mut body) = request.into_parts();
        let caller = identity::inspect(&self.relay, &self.trust, &self.refused, peer);
        let content_type = content_type(&head.headers);
        let http_action = content_type
            .as_ref()
            .ok()
            .and_then(|kind| action::from_http(Some(kind), text(&head.headers, "soapaction")));
        let mut heading = Heading { action: http_action, message_id: None };

        let done = self.perform(caller, content_type, &head.headers, &mut body, &mut heading).await;
        let operation = heading.action.as_deref().and_then(Operation::from_action);
        let (mut response, clean) = match done {
            Ok(answer) => (answer.into_response(&heading), true),
            Err(fault) => {
                fault.failure.log(correlation);
                let waits = head.headers.contains_key(EXPECT);
                let clean = !waits && self.drain(&mut body).await;
                (answer::fault(&fault, operation, correlation, &heading), clean)
            }
        };
        if !clean {
            response.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        }
        response
    }

    /// From a request to its answer. `heading` is filled as far as it could be read.
    async fn perform(
        &self,
        caller: Result<Caller, Fault>,
        content_type: Result<MediaType, Fault>,
        headers: &HeaderMap,
        body: &mut Body,
        heading: &mut Heading,
    ) -> Result<Answer, Fault> {
        let content_type = content_type?;
        if let Some(encoding) = text(headers, CONTENT_ENCODING.as_str())
            && !encoding.trim().eq_ignore_ascii_case("identity")
        {
            return Err(Fault::of_client(
                ErrorNumber::ParametersInvalid,
                "content-encoding",
                "a request with a Content-Encoding is not taken",
            ));
        }
        let caller = match caller {
            Ok(caller) => caller,
            Err(fault) => {
                if !headers.contains_key(EXPECT) {
                    request::read_heading(body, &content_type, &self.settings.limits, heading).await;
                }
                return Err(fault);
            }
        };
        let read = request::read(&self.relay, body, &content_type, &self.settings.limits, heading).await?;
        let Some(named) = heading.action.clone() else {
            return Err(Fault::of_client(
                ErrorNumber::NoParameters,
                "action-missing",
                "the request names no action: not in wsa:Action, Content-Type, start-info or SOAPAction",
            ));
        };
        let Some(operation) = Operation::from_action(&named) else {
            let shown: String = named.chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(Fault::of_client(
                ErrorNumber::ParametersInvalid,
                "action-unknown",
                format!("the action {shown:?} is not one of XTA 2 web service 2.1.1"),
            ));
        };
        operation::perform(&self.relay, &caller, operation, read).await
    }

    /// Reads what is left of a refused request, so that its client gets round to reading the answer. Bounded by what
    /// it might have sent with leave, and in time; false if something was left.
    async fn drain(&self, body: &mut Body) -> bool {
        let limits = &self.settings.limits;
        let bytes_max = limits.content_bytes_max.saturating_add(limits.envelope_bytes_max);
        let all = async {
            let mut seen = 0u64;
            loop {
                match body.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
                }
                if seen > bytes_max {
                    return false;
                }
            }
        };
        tokio::time::timeout(DRAIN_TIME_MAX, all).await.unwrap_or(false)
    }
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        if !self.takes(request.uri().path()) {
            return plain(StatusCode::NOT_FOUND, "There is no XTA service at this path.\n");
        }
        if request.method() == Method::POST {
            return self.post(request, peer).await;
        }
        if request.method() == Method::GET {
            let host = text(request.headers(), HOST.as_str());
            let found = description::find(request.uri(), host);
            return found.map_or_else(
                || plain(StatusCode::NOT_FOUND, "Ask for ?wsdl, or send SOAP requests by POST.\n"),
                |document| {
                    let mut response = Response::new(net::full(document));
                    let kind = hyper::header::HeaderValue::from_static("text/xml; charset=utf-8");
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                    response
                },
            );
        }
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and POST are served here.\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, POST"));
        response
    }
}

fn content_type(headers: &HeaderMap) -> Result<MediaType, Fault> {
    let refuse = |why: String| Fault::of_client(ErrorNumber::ParametersInvalid, "content-type", why);
    let value = text(headers, CONTENT_TYPE.as_str())
        .ok_or_else(|| refuse("the request has no readable Content-Type".to_owned()))?;
    MediaType::parse(value).map_err(|error| refuse(error.to_string()))
}

/// A header's value where it is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(net::full(sentence));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
