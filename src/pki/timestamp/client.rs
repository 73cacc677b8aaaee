//! Asks a time stamp authority over HTTP or HTTPS (RFC 3161, section 3.4), bounded in time and size.
//!
//! One connection for each question, to the configured URL and nowhere else: redirects are refused. Plain HTTP will do:
//! the stamp's signature and nonce protect it, and what goes out is a digest. Some authorities answer by HTTPS only;
//! then the caller says whose server certificates are believed ([`Client::with_tls`]). Left out: proxies,
//! authentication.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::RESPONSE_BYTES_MAX;
use crate::pki::tls::server_name;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no URL of a time stamp authority: http://host[:port]/path, or https")]
    Url(String),
    #[error("nothing says whose certificates are believed for https")]
    NobodyBelieved,
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
#[derive(Debug, Clone)]
pub struct Client {
    is_tls: bool,
    tls: Option<Arc<ClientConfig>>,
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
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { is_tls, tls: None, host, port, authority: authority.to_string(), path, time_max })
    }

    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// How its server is judged; without this no https URL is asked.
    pub fn with_tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Sends a query and hands back whatever answered it; nothing is believed yet.
    pub async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Error> {
        let exchange = tokio::time::timeout(self.time_max, self.exchange(query)).await;
        exchange.map_err(|_| Error::Slow(self.time_max))?
    }

    async fn exchange(&self, query: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
        let connect =
            async || TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| failed(&e));
        if !self.is_tls {
            return self.talk(connect().await?, query).await;
        }
        let config = self.tls.clone().ok_or(Error::NobodyBelieved)?;
        let name = server_name(&self.host).map_err(|e| failed(&e))?;
        let stream = TlsConnector::from(config).connect(name, connect().await?).await;
        self.talk(stream.map_err(|e| failed(&e))?, query).await
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        query: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
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
    fn urls_are_http_or_https() {
        let client = Client::new("http://[::1]:3161/tsa?x=1", Duration::from_secs(1)).expect("a URL");
        assert_eq!((client.host.as_str(), client.port, client.path.as_str()), ("::1", 3161, "/tsa?x=1"));
        let client = Client::new("http://tsa.example.org", Duration::from_secs(1)).expect("a URL");
        assert_eq!((client.port, client.path.as_str(), client.is_tls), (80, "/", false));
        let client = Client::new("https://tsa.example.org/", Duration::from_secs(1)).expect("a URL");
        assert_eq!((client.port, client.is_tls), (443, true));
        for url in ["", "tsa.example.org", "https://a@b/", "http://a@b/", "ftp://a/"] {
            let refused = Client::new(url, Duration::from_secs(1)).map(|client| client.host);
            assert_eq!(refused, Err(Error::Url(url.to_owned())));
        }
    }
}
