//! One call: what is said, how it is proven, and a client that dials nobody it should not.
//!
//! POST of JSON; `callback-timestamp` holds Unix seconds, `callback-authentication` the HMAC-SHA-512 over
//! `<timestamp>.<body>` in lower-case hex. Any 2xx is an answer; its body is not read. Redirects are not followed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::network::{Network, may_dial};
use crate::domain::destination::DestinationId;
use crate::domain::hex;
use crate::pki::tls;

const KIND: &str = "https://schema.fitko.de/fit-connect/submission-api/callbacks/new-submissions";
/// Head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Addresses of a name that are tried one after the other.
const ADDRESSES_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("its URL is not of the form https://host/path")]
    Url,
    #[error("portal.callback_anchors names nobody whose certificates are believed")]
    NoAnchors,
    #[error("{host} cannot be found: {source}")]
    Name { host: String, source: std::io::Error },
    #[error("{host} leads to no address that may be dialled")]
    Address { host: String },
    #[error("{host} cannot be reached: {source}")]
    Connect { host: String, source: std::io::Error },
    #[error("the connection to {host} failed: {source}")]
    Http { host: String, source: hyper::Error },
    #[error("{host} answered HTTP {status}; redirects are not followed")]
    Status { host: String, status: StatusCode },
    #[error("{host} did not answer within {} ms", time.as_millis())]
    Time { host: String, time: Duration },
}

impl Error {
    /// What the operator does about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Url => "correct the destination's callback in the participants' file",
            Self::NoAnchors => "name the authorities of receivers in portal.callback_anchors",
            Self::Address { .. } => {
                "if the receiver is meant to be in an internal network, name that in portal.callback_networks"
            }
            Self::Name { .. } | Self::Connect { .. } => {
                "check the receiver's name and certificate, and the way there"
            }
            Self::Status { status, .. } => match status.as_u16() {
                401 | 403 => {
                    "compare the secret on both sides, and the receiver's clock: it refuses what is over five minutes old"
                }
                404 | 405 | 410 => "compare the callback's URL with the receiver's own",
                300..=399 => "enter the address that the receiver leads to; redirects are not followed",
                _ => "tell whoever keeps the destination; nothing is lost, it can be fetched",
            },
            Self::Http { .. } | Self::Time { .. } => {
                "tell whoever keeps the destination; nothing is lost, it can be fetched"
            }
        }
    }
}

/// A body and the headers that prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub body: Vec<u8>,
    pub timestamp: String,
    pub authentication: String,
}

/// Of submissions with their cases.
pub fn notice(
    destination: &DestinationId,
    submissions: impl Iterator<Item = (Uuid, Uuid)>,
    secret: &str,
    now: Timestamp,
) -> Notice {
    let (ids, items): (Vec<Uuid>, Vec<_>) = submissions
        .map(|(id, case)| (id, json!({ "destinationId": destination, "submissionId": id, "caseId": case })))
        .unzip();
    let body = json!({ "type": KIND, "submissions": items, "submissionIds": ids }).to_string().into_bytes();
    let timestamp = now.as_second().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA512, secret.as_bytes());
    let signed = [timestamp.as_bytes(), b".", &body].concat();
    let authentication = hex::lower(hmac::sign(&key, &signed).as_ref());
    Notice { body, timestamp, authentication }
}

/// Calls once; which yes was answered. Whatever goes wrong, it is over after `time_max`.
pub async fn post(
    url: &str,
    notice: &Notice,
    tls: Arc<ClientConfig>,
    networks: &[Network],
    time_max: Duration,
) -> Result<StatusCode, Error> {
    let uri: Uri = url.parse().map_err(|_| Error::Url)?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or(Error::Url)?;
    if authority.as_str().contains('@') {
        return Err(Error::Url);
    }
    let host = authority.host().to_owned();
    let timed = tokio::time::timeout(time_max, exchange(&uri, &host, notice, tls, networks)).await;
    timed.unwrap_or(Err(Error::Time { host, time: time_max }))
}

/// Addresses of the name that may be dialled.
async fn addresses(host: &str, port: u16, networks: &[Network]) -> Result<Vec<SocketAddr>, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let found = found.map_err(|source| Error::Name { host: host.to_owned(), source })?;
    let may: Vec<SocketAddr> =
        found.filter(|address| may_dial(address.ip(), networks)).take(ADDRESSES_MAX).collect();
    if may.is_empty() { Err(Error::Address { host: host.to_owned() }) } else { Ok(may) }
}

async fn exchange(
    uri: &Uri,
    host: &str,
    notice: &Notice,
    tls: Arc<ClientConfig>,
    networks: &[Network],
) -> Result<StatusCode, Error> {
    let unreachable = |source| Error::Connect { host: host.to_owned(), source };
    let name = tls::server_name(host).map_err(|_| Error::Url)?;
    // Those very addresses are dialled: the name is not looked up a second time.
    let addresses = addresses(host, uri.port_u16().unwrap_or(443), networks).await?;
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(unreachable)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(unreachable)?;
    let failed = |source| Error::Http { host: host.to_owned(), source };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let _connection = Aborted(tokio::spawn(async move { connection.await.ok() }));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, uri.authority().map(|authority| authority.as_str()).unwrap_or_default())
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("callback-timestamp", &notice.timestamp)
        .header("callback-authentication", &notice.authentication)
        .body(Full::new(Bytes::from(notice.body.clone())))
        .map_err(|_| Error::Url)?;
    let status = sender.send_request(request).await.map_err(failed)?.status();
    match status.is_success() {
        true => Ok(status),
        false => Err(Error::Status { host: host.to_owned(), status }),
    }
}

/// A connection that ends with its call, answered or not.
struct Aborted(tokio::task::JoinHandle<Option<()>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_proven_over_its_very_bytes() {
        let destination = DestinationId::parse("5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01").expect("a UUID");
        let now = Timestamp::from_second(1_800_000_000).expect("an instant");
        let (id, case) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let made = notice(&destination, [(id, case)].into_iter(), "secret", now);
        let body: serde_json::Value = serde_json::from_slice(&made.body).expect("JSON");
        assert_eq!(body["type"], KIND);
        assert_eq!(body["submissions"][0]["submissionId"], id.to_string());
        assert_eq!(body["submissions"][0]["caseId"], case.to_string());
        assert_eq!(body["submissionIds"], json!([id]));
        assert_eq!(made.timestamp, "1800000000");
        assert_eq!(made.authentication.len(), 128);
        let key = hmac::Key::new(hmac::HMAC_SHA512, b"secret");
        let signed = format!("1800000000.{}", String::from_utf8(made.body.clone()).expect("text"));
        let tag = hex::lower(hmac::sign(&key, signed.as_bytes()).as_ref());
        assert_eq!(made.authentication, tag);
        assert_ne!(notice(&destination, [(id, case)].into_iter(), "other", now).authentication, tag);
    }
}
