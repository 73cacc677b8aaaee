//! Asks a time stamp authority over HTTP (RFC 3161, section 3.4), bounded in time and size.
//!
//! One connection for each question, to the configured URL and nowhere else: redirects are refused. Plain HTTP on
//! purpose: the stamp's signature and nonce protect it, and what goes out is a digest. Left out: HTTPS, proxies,
//! authentication.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::RESPONSE_BYTES_MAX;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no URL of a time stamp authority: http://host[:port]/path")]
    Url(String),
    #[error("no answer within {} seconds", .0.as_secs())]
    Slow(Duration),
    #[error("cannot be reached: {0}")]
    Connection(String),
    #[error("HTTP status {0}, where 200 was expected")]
    Status(u16),
    #[error("the answer is {0:?}, not application/timestamp-reply")]
    ContentType(String),
    #[error("the answer is cut or has more than {RESPONSE_BYTES_MAX} bytes: {0}")]
    Body(String),
}

/// Where a TSA listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    host: String,
    port: u16,
    authority: String,
    path: String,
    time_max: Duration,
}

impl Client {
    /// `time_max` covers the whole exchange, name resolution included.
    pub fn new(url: &str, time_max: Duration) -> Result<Self, Error> {
        let wrong = || Error::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { host, port, authority: authority.to_string(), path, time_max })
    }

    /// Sends a query and hands back whatever answered it; nothing is believed yet.
    pub async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Error> {
        let exchange = tokio::time::timeout(self.time_max, self.exchange(query)).await;
        exchange.map_err(|_| Error::Slow(self.time_max))?
    }

    async fn exchange(&self, query: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(RESPONSE_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/timestamp-query")
            .body(Full::new(Bytes::copy_from_slice(query)))
            .map_err(|e| failed(&e))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            if response.status() != StatusCode::OK {
                return Err(Error::Status(response.status().as_u16()));
            }
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !kind.eq_ignore_ascii_case("application/timestamp-reply") {
                return Err(Error::ContentType(kind.chars().take(80).collect()));
            }
            let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
            Ok(body.map_err(|error| Error::Body(error.to_string()))?.to_bytes().to_vec())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http() {
        let client = Client::new("http://[::1]:3161/tsa?x=1", Duration::from_secs(1)).expect("a URL");
        assert_eq!((client.host.as_str(), client.port, client.path.as_str()), ("::1", 3161, "/tsa?x=1"));
        let client = Client::new("http://tsa.example.org", Duration::from_secs(1)).expect("a URL");
        assert_eq!((client.port, client.path.as_str()), (80, "/"));
        for url in ["", "tsa.example.org", "https://tsa.example.org/", "http://a@b/", "ftp://a/"] {
            assert_eq!(Client::new(url, Duration::from_secs(1)), Err(Error::Url(url.to_owned())));
        }
    }
}
