//! Asks a payment service over HTTPS (XBezahldienste 1.0), bounded in time and size.
//!
//! One connection for each question, to the configured URL and nowhere else: redirects are refused, and no URL of an
//! answer is ever followed. We show a client certificate, or a bearer token, or both, as the service wants it. Left out:
//! proxies, tokens by OAuth.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire::{self, Transaction};
use super::{Event, Payment};
use crate::pki::tls::server_name;

/// Bytes of one answer; a transaction has a few thousand.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no URL of a payment service: https://host[:port]/path")]
    Url(String),
    #[error("{0:?} is no originator or endpoint: 1 to 36 letters, digits, hyphens and underscores")]
    Id(String),
    #[error("the token has characters that a header cannot have")]
    Token,
    #[error("no answer within {} seconds", .0.as_secs())]
    Slow(Duration),
    #[error("cannot be reached: {0}")]
    Connection(String),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the answer is {0:?}, not application/json")]
    ContentType(String),
    #[error("the answer is cut or has more than {ANSWER_BYTES_MAX} bytes: {0}")]
    Body(String),
    #[error("{0}")]
    Malformed(#[from] wire::Malformed),
}

#[derive(Clone)]
pub struct Settings {
    /// Below it lies `paymenttransaction`.
    pub url: String,
    pub originator: String,
    pub endpoint: String,
    pub token: Option<String>,
    /// For the whole exchange, name resolution included.
    pub time_max: Duration,
    pub tls: Arc<ClientConfig>,
}

pub struct Client {
    tls: Arc<ClientConfig>,
    host: String,
    port: u16,
    authority: String,
    path: String,
    token: Option<HeaderValue>,
    time_max: Duration,
}

struct Exchange {
    status: StatusCode,
    kind: String,
    body: Vec<u8>,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let wrong = || Error::Url(settings.url.clone());
        let uri: Uri = settings.url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("https") || uri.query().is_some() {
            return Err(wrong());
        }
        for id in [&settings.originator, &settings.endpoint] {
            if !wire::is_path_id(id) {
                return Err(Error::Id(id.chars().take(60).collect()));
            }
        }
        let token = settings.token.as_ref().map(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let base = uri.path().trim_end_matches('/');
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(443),
            authority: authority.to_string(),
            path: format!("{base}/paymenttransaction/{}/{}", settings.originator, settings.endpoint),
            token: token.transpose()?,
            time_max: settings.time_max,
            tls: settings.tls,
        })
    }

    /// Asks the service for a payment.
    pub async fn request(&self, payment: &Payment, now: Timestamp) -> Event {
        self.event(Method::POST, &self.path, wire::request(payment, now)).await
    }

    /// Asks the service how a transaction stands.
    pub async fn look_up(&self, transaction: &str) -> Event {
        if !wire::is_transaction_id(transaction) {
            return Event::Silent("the transaction's id is none".to_owned());
        }
        self.event(Method::GET, &format!("{}/{transaction}", self.path), Vec::new()).await
    }

    async fn event(&self, method: Method, path: &str, body: Vec<u8>) -> Event {
        let asked = tokio::time::timeout(self.time_max, self.exchange(method, path, body)).await;
        let exchange = asked.map_err(|_| Error::Slow(self.time_max)).flatten();
        match exchange.and_then(understood) {
            Ok(event) => event,
            Err(error) => Event::Silent(error.to_string()),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Exchange, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
        let name = server_name(&self.host).map_err(|error| failed(&error))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| failed(&e))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(ANSWER_BYTES_MAX)
            .handshake(TokioIo::new(stream.map_err(|e| failed(&e))?))
            .await
            .map_err(|e| failed(&e))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json, application/problem+json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| failed(&e))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            let status = response.status();
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
            let kind = kind.chars().take(80).collect::<String>().to_ascii_lowercase();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Error::Body(error.to_string()))?.to_bytes().to_vec();
            Ok(Exchange { status, kind, body })
        };
        // The connection is driven here and ends with this question; no task outlives it.
        tokio::pin!(connection);
        tokio::pin!(answer);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }
}

/// 408, 429 and 5xx pass by; every other no is the service's last word.
fn understood(Exchange { status, kind, body }: Exchange) -> Result<Event, Error> {
    let code = status.as_u16();
    match code {
        200 | 201 if kind == "application/json" => {
            let transaction: Transaction = wire::transaction(&body)?;
            Ok(Event::Answered(transaction))
        }
        200 | 201 => Err(Error::ContentType(kind)),
        408 | 429 => Err(Error::Status(code)),
        400..=499 => Ok(Event::Declined(wire::decline(code, &body))),
        _ => Err(Error::Status(code)),
    }
}
