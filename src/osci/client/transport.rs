//! One request, one answer, over HTTP (section 1 of the transport binding).
//!
//! The HTTP header means nothing to OSCI and is neither asked nor believed, its status apart. Redirects are not
//! followed: whoever answers must be whom we dialled. Each exchange has a connection of its own, so that a request is
//! never sent into one that is being closed, and is never repeated: OSCI knows no repetition. Answers are bounded in
//! bytes and time. Left out: connections used again, proxies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Address;
use crate::net::Body;
use crate::pki::tls;

/// Why an exchange failed. Whether the request may have been taken all the same is [`Error::reached`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{address} cannot be reached: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{0} is an https address, and no authority for its certificate is configured")]
    NoAnchors(String),
    #[error("no connection to {address} within {limit:?}")]
    ConnectTime { address: String, limit: Duration },
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("no complete answer within {0:?}")]
    AnswerTime(Duration),
    #[error("the peer answered HTTP {0}")]
    Status(StatusCode),
    #[error("the answer has more than {0} bytes")]
    AnswerBytes(u64),
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Error {
    /// False only where the peer certainly saw nothing of the request.
    pub fn reached(&self) -> bool {
        !matches!(
            self,
            Self::Connect { .. } | Self::NoAnchors(_) | Self::ConnectTime { .. } | Self::Request(_)
        )
    }
}

#[derive(Clone)]
pub struct Settings {
    /// Judges the certificate of an https peer; without it only http is spoken.
    pub tls: Option<Arc<ClientConfig>>,
    pub connect_time_max: Duration,
    /// A host name must not lead to this machine or its link, where services listen that take any neighbour for a
    /// friend. For URLs that others bring up; whoever means such a place lists its address.
    pub names_stay_outside: bool,
    /// From the first byte of the request to the last of the answer.
    pub exchange_time_max: Duration,
    pub answer_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            connect_time_max: Duration::from_secs(15),
            names_stay_outside: false,
            exchange_time_max: Duration::from_secs(600),
            answer_bytes_max: 2 << 30,
        }
    }
}

/// An answer that arrives.
pub struct Answer {
    body: Incoming,
    seen: u64,
    bytes_max: u64,
    until: Instant,
    limit: Duration,
}

impl Answer {
    /// The next piece, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = timeout_at(self.until, self.body.frame()).await;
            match frame.map_err(|_| Error::AnswerTime(self.limit))? {
                None => return Ok(None),
                Some(frame) => {
                    let Ok(data) = frame?.into_data() else { continue };
                    self.seen = self.seen.saturating_add(data.len() as u64);
                    if self.seen > self.bytes_max {
                        return Err(Error::AnswerBytes(self.bytes_max));
                    }
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Sends one request of `length` bytes and waits for its answer to begin.
pub async fn post(settings: &Settings, to: &Address, request: Body, length: u64) -> Result<Answer, Error> {
    let mut connection = connect(settings, to).await?;
    let request = Request::post(to.path())
        .header(HOST, to.authority())
        .header(CONTENT_TYPE, "text/xml; charset=utf-8")
        .header(CONTENT_LENGTH, length)
        .header(CONNECTION, "close")
        .body(request)?;
    let limit = settings.exchange_time_max;
    let until = Instant::now() + limit;
    let answered = timeout_at(until, connection.send_request(request)).await;
    let response = answered.map_err(|_| Error::AnswerTime(limit))??;
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status()));
    }
    let bytes_max = settings.answer_bytes_max;
    Ok(Answer { body: response.into_body(), seen: 0, bytes_max, until, limit })
}

async fn connect(settings: &Settings, to: &Address) -> Result<SendRequest<Body>, Error> {
    let address = to.authority();
    let failed = |source| Error::Connect { address: to.authority(), source };
    let tls = match (to.secure, &settings.tls) {
        (false, _) => None,
        (true, None) => return Err(Error::NoAnchors(address)),
        (true, Some(tls)) => {
            let name = tls::server_name(to.host()).map_err(|error| failed(io::Error::other(error)))?;
            Some((TlsConnector::from(tls.clone()), name))
        }
    };
    let limit = settings.connect_time_max;
    let dialled = async {
        let found = places(settings, to).await?;
        let stream = TcpStream::connect(found.as_slice()).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => Ok(spawn(http1::handshake(TokioIo::new(stream)).await)),
            Some((connector, name)) => {
                let stream = connector.connect(name, stream).await?;
                Ok(spawn(http1::handshake(TokioIo::new(stream)).await))
            }
        }
    };
    let sender = tokio::time::timeout(limit, dialled)
        .await
        .map_err(|_| Error::ConnectTime { address, limit })?
        .map_err(failed)?;
    Ok(sender?)
}

/// Where a host is found. Resolved once, so that what is judged is what is dialled.
async fn places(settings: &Settings, to: &Address) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = tokio::net::lookup_host((to.host_bare(), to.port)).await?.collect();
    let is_name = to.host_bare().parse::<IpAddr>().is_err();
    if let Some(inside) = found.iter().find(|place| is_inside(place.ip()))
        && settings.names_stay_outside
        && is_name
    {
        return Err(io::Error::other(format!("the name leads to {}, and must not lead there", inside.ip())));
    }
    Ok(found)
}

/// This machine, its link (where clouds keep their credentials), everybody or nobody.
fn is_inside(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
        }
    }
}

/// Lets the connection work beside the exchange; it ends with the sender or with the peer.
fn spawn<T>(
    shaken: Result<(SendRequest<Body>, http1::Connection<T, Body>), hyper::Error>,
) -> Result<SendRequest<Body>, hyper::Error>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = shaken?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::net;

    /// A peer that takes one request and says these bytes, or falls silent.
    async fn peer(says: Option<&'static str>) -> (Address, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut seen = vec![0; 4096];
            let length = stream.read(&mut seen).await.expect("a request");
            match says {
                Some(says) => stream.write_all(says.as_bytes()).await.expect("written"),
                None => tokio::time::sleep(Duration::from_secs(5)).await,
            }
            String::from_utf8_lossy(&seen[..length]).into_owned()
        });
        (Address::parse(&format!("http://127.0.0.1:{port}/osci")).expect("a URL"), task)
    }

    async fn exchange(to: &Address) -> Result<Vec<u8>, Error> {
        let settings = Settings {
            exchange_time_max: Duration::from_millis(300),
            answer_bytes_max: 8,
            ..Settings::default()
        };
        let mut answer = post(&settings, to, net::full("question"), 8).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn an_answer_is_bounded_and_a_redirect_is_none() {
        let check = async |says: Option<&'static str>, expected: &str| {
            let (to, task) = peer(says).await;
            let outcome = match exchange(&to).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => {
                    assert!(error.reached(), "{error}");
                    error.to_string()
                }
            };
            assert!(outcome.starts_with(expected), "{says:?}: {outcome}");
            task.abort();
        };
        check(Some("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678"), "12345678").await;
        check(Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789"), "the answer has more").await;
        check(
            Some("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
            "the peer answered HTTP 302",
        )
        .await;
        check(Some("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n1234"), "the connection broke").await;
        check(None, "no complete answer within").await;
    }

    #[tokio::test]
    async fn who_is_not_there_was_not_reached() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let error =
            exchange(&format!("http://{address}/").parse().expect("a URL")).await.expect_err("nobody");
        assert!(matches!(error, Error::Connect { .. }) && !error.reached(), "{error}");
        let error =
            exchange(&format!("https://{address}/").parse().expect("a URL")).await.expect_err("no TLS");
        assert!(matches!(error, Error::NoAnchors(_)) && !error.reached(), "{error}");
    }

    #[test]
    fn this_machine_and_its_link_are_inside() {
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::1", true),
            ("::", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_inside(ip.parse().expect("an address")), expected, "{ip}");
        }
    }

    #[tokio::test]
    async fn a_request_is_what_field_clients_send() {
        let (to, task) = peer(Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(exchange(&to).await.expect("answered"), b"");
        let seen = task.await.expect("seen");
        for expected in ["POST /osci HTTP/1.1\r\n", "content-length: 8\r\n", "content-type: text/xml"] {
            assert!(seen.contains(expected), "{seen}");
        }
    }
}
