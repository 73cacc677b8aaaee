//! How the object store is reached: HTTP/1.1 to the one endpoint that is configured, over TLS but on this machine.
//!
//! Connections are kept for the next request. Nothing is followed elsewhere, and an answer is bounded in time and size.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use hyper::Uri;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes of one answer: a piece of a payload, or a list of names.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Connections that are kept without work.
const IDLE_MAX: usize = 32;

#[derive(Debug, Clone)]
pub struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsName, Arc<ClientConfig>)>,
    patience: Duration,
}

type TlsName = ServerName<'static>;

/// Host, port, and whether it is reached by TLS.
fn understood(endpoint: &str, is_secured: bool) -> Result<(String, u16, bool), String> {
    let wrong = || "is https://host[:port], or http://127.0.0.1:port on this machine".to_owned();
    let uri: Uri = endpoint.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.scheme().is_none() {
        return Err(wrong());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("has no path; bucket and prefix are keys of their own".to_owned());
    }
    let port = |usual| authority.port_u16().unwrap_or(usual);
    match uri.scheme_str() {
        Some("https") if is_secured => Ok((host, port(443), true)),
        Some("https") => Err("needs tls_anchors, the authorities of its certificate".to_owned()),
        Some("http") if is_secured => Err("has no use for tls_anchors without https".to_owned()),
        Some("http") if is_here => Ok((host, port(80), false)),
        _ => Err(wrong()),
    }
}

/// Whether it can be an object store at all.
pub fn check_endpoint(endpoint: &str, is_secured: bool) -> Result<(), String> {
    understood(endpoint, is_secured).map(drop)
}

impl Connector {
    pub fn new(endpoint: &str, tls: Option<Arc<ClientConfig>>, patience: Duration) -> Result<Self, String> {
        let (host, port, _) =
            understood(endpoint, tls.is_some()).map_err(|what| format!("endpoint {what}"))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("endpoint {host}: {error}"))?;
        Ok(Self { host, port, tls: tls.map(|config| (name, config)), patience })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Endpoint { to: self.clone(), idle: Mutex::default() }))
    }
}

#[derive(Debug)]
struct Endpoint {
    to: Connector,
    idle: Mutex<Vec<SendRequest<HttpRequestBody>>>,
}

impl Endpoint {
    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<HttpRequestBody>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was kept and is still open, or a new one.
    async fn connection(&self) -> Result<SendRequest<HttpRequestBody>, HttpError> {
        loop {
            let Some(kept) = self.kept().pop() else { break };
            if kept.is_ready() {
                return Ok(kept);
            }
        }
        let failed = |error: io::Error| HttpError::new(HttpErrorKind::Connect, error);
        let stream = TcpStream::connect((self.to.host.as_str(), self.to.port)).await.map_err(failed)?;
        let _ = stream.set_nodelay(true);
        match &self.to.tls {
            None => opened(stream).await,
            Some((name, config)) => {
                let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
                opened(stream.map_err(failed)?).await
            }
        }
    }

    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let unfit = || HttpError::new(HttpErrorKind::Unknown, io::Error::other("a request without a host"));
        let uri = request.uri();
        let host = uri.authority().ok_or_else(unfit)?.as_str();
        let host = HeaderValue::from_str(host).map_err(|_| unfit())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path: Uri = path.parse().map_err(|_| unfit())?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = path;
        let mut connection = self.connection().await?;
        let broken = |error: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, error);
        let (head, body) = connection.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, io::Error::other(error)))?;
        let mut kept = self.kept();
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
        Ok(HttpResponse::from_parts(head, body.to_bytes().into()))
    }
}

#[async_trait]
impl HttpService for Endpoint {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match tokio::time::timeout(self.to.patience, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                Err(HttpError::new(HttpErrorKind::Timeout, late))
            }
        }
    }
}

async fn opened<S>(stream: S) -> Result<SendRequest<HttpRequestBody>, HttpError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| HttpError::new(HttpErrorKind::Connect, error);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends when the sender is dropped, or the other side closes.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_but_on_this_machine() {
        for (endpoint, secured, words) in [
            ("http://127.0.0.1:9000", false, ""),
            ("http://[::1]:9000", false, ""),
            ("http://localhost:9000/", false, ""),
            ("https://s3.example.org", true, ""),
            ("https://s3.example.org", false, "needs tls_anchors"),
            ("http://localhost:9000", true, "without https"),
            ("http://s3.example.org", false, "is https"),
            ("ftp://127.0.0.1", false, "is https"),
            ("http://key:secret@127.0.0.1", false, "is https"),
            ("127.0.0.1", false, "is https"),
            ("http://127.0.0.1/bucket", false, "has no path"),
        ] {
            let said = check_endpoint(endpoint, secured);
            match words {
                "" => assert_eq!(said, Ok(()), "{endpoint}"),
                words => {
                    assert!(said.clone().is_err_and(|said| said.contains(words)), "{endpoint}: {said:?}")
                }
            }
        }
    }
}
