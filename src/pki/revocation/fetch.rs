//! A bounded client for revocation lists and responders, and the folder where what it brought is kept.
//!
//! It speaks plain HTTP to hosts that the operator names, and to nobody else: addresses stand in certificates, and
//! certificates come from strangers. Redirects are not followed, answers are bounded in size and time. Lists and
//! answers are signed, so TLS would add nothing and could not be checked without itself (RFC 5280, section 8).
//!
//! What is on disk is not believed: lists are verified when they are read, answers are judged again when they are read. Left out: LDAP, HTTPS, proxies, caching headers.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::answers::{self, Answers, Question};
use super::list::{self, LIST_BYTES_MAX, List, Sealed};
use super::ocsp::{self, Answer, Nonce, RESPONSE_BYTES_MAX, Request as OcspRequest};
use crate::domain::hex;
use crate::pki::certificate::{Certificate, CertificateFingerprint, sha256};
use crate::pki::key;
use crate::pki::trust::{self, RevocationList};

/// Two certificates and an answer, in text.
const KEPT_BYTES_MAX: u64 = 512 * 1024;
const KEPT_EXTENSION: &str = "ocsp";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a URL of the form http://host/path")]
    Url(String),
    #[error("{0} is not among the hosts that may be asked (revocation.hosts)")]
    Host(String),
    #[error("{host} cannot be reached: {source}")]
    Connect { host: String, source: std::io::Error },
    #[error("the connection to {host} failed: {source}")]
    Http { host: String, source: hyper::Error },
    #[error("{host} answered HTTP {status}; redirects are not followed")]
    Status { host: String, status: StatusCode },
    #[error("{host} sent more than {max} bytes")]
    TooLarge { host: String, max: usize },
    #[error("{host} did not answer within {seconds} s")]
    Time { host: String, seconds: u64 },
    #[error("what {url} sent is no revocation list: {source}")]
    List { url: String, source: list::Error },
    #[error("the list at {url} cannot be used: {source}")]
    UnusableList { url: String, source: trust::Error },
    #[error("the list at {url} was signed by no authority that is trusted here")]
    ForeignList { url: String },
    #[error("the list at {url} is older than the one at hand")]
    EarlierList { url: String },
    #[error("the list at {url} is another issuer's or about other certificates than the one at hand; if that is meant, remove {}", path.display())]
    OtherList { url: String, path: PathBuf },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the certificate names no responder that may be asked")]
    NoResponder,
    #[error(transparent)]
    Answer(#[from] ocsp::Error),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `host` or `host:port`, in lower case.
    pub hosts: Vec<String>,
    pub folder: PathBuf,
    pub nonce_required: bool,
    pub time_max: Duration,
}

#[derive(Debug, Clone)]
pub struct Client {
    settings: Settings,
}

/// What came of a look for a newer list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    Newer,
    Same,
}

/// What becomes of kept answers that no longer count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Leave,
    Remove,
}

/// Where the list of a URL is kept.
pub fn list_path(folder: &Path, url: &str) -> PathBuf {
    let digest = hex::lower(sha256(url.as_bytes()).get(..16).unwrap_or_default());
    folder.join(format!("{digest}.crl"))
}

/// The host of a URL that this client could ask.
pub fn host_of(url: &str) -> Result<String, Error> {
    let wrong = || Error::Url(url.chars().take(200).collect());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(authority.as_str().to_ascii_lowercase())
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn allowed_host(&self, url: &str) -> Result<String, Error> {
        let host = host_of(url)?;
        let plain = host.strip_suffix(":80").unwrap_or(&host);
        if self.settings.hosts.iter().any(|allowed| allowed == plain || *allowed == host) {
            Ok(host)
        } else {
            Err(Error::Host(host))
        }
    }

    /// Fetches a list and puts it in the place of the one on disk, if it is by the same issuer and not older.
    pub async fn fetch_list(&self, url: &str, authorities: &[Certificate]) -> Result<Fetched, Error> {
        let bytes = self.exchange(url, None, LIST_BYTES_MAX).await?;
        let unusable = |source| Error::List { url: url.to_owned(), source };
        let der = match bytes.first() {
            Some(0x30) => bytes,
            _ => CertificateRevocationListDer::from_pem_slice(&bytes)
                .map_err(|error| unusable(list::Error::Malformed(error.to_string())))?
                .to_vec(),
        };
        let proof = |sealed: &Sealed<'_>| authorities.iter().find_map(|authority| sealed.verify(authority));
        // Nothing of a stranger's is unpacked, however large it is.
        let sealed = Sealed::read(&der).map_err(unusable)?;
        let Some(proven) = proof(&sealed) else {
            return Err(Error::ForeignList { url: url.to_owned() });
        };
        let list = List::open(&sealed, Some(proven)).map_err(unusable)?;
        // What a reload could not use must not take the place of what it can.
        let usable = RevocationList::of(list);
        let usable = usable.map_err(|source| Error::UnusableList { url: url.to_owned(), source })?;
        let list = usable.own();
        let path = list_path(&self.settings.folder, url);
        // What cannot be used, or is nobody's whom we believe, is as good as absent.
        let earlier = key::read_at_most(&path, LIST_BYTES_MAX).ok().and_then(|bytes| {
            let sealed = Sealed::read(&bytes).ok()?;
            let list = List::open(&sealed, Some(proof(&sealed)?)).ok()?;
            RevocationList::of(list).ok()
        });
        match earlier.as_ref().map(RevocationList::own) {
            Some(earlier) if earlier.der() == list.der() => return Ok(Fetched::Same),
            Some(earlier) if list.takes_over_from(earlier) => {}
            Some(earlier) if !list.is_of_series(earlier) => {
                return Err(Error::OtherList { url: url.to_owned(), path });
            }
            Some(earlier) if !list.follows(earlier) => {
                return Err(Error::EarlierList { url: url.to_owned() });
            }
            _ => {}
        }
        self.write(&path, list.der())?;
        Ok(Fetched::Newer)
    }

    /// Asks the responders that the certificate names, one after the other, until one gives an answer that counts, and
    /// hands it in. Only what was taken there is written, so that a replayed answer does not survive a restart; what
    /// cannot be written counts until then.
    pub async fn ask(&self, answers: &Answers, question: &Question, now: Timestamp) -> Result<Answer, Error> {
        let Question { certificate, issuer } = question;
        let mut last = Error::NoResponder;
        for url in certificate.ocsp_urls() {
            if let Err(error) = self.allowed_host(url) {
                last = error;
                continue;
            }
            let request = OcspRequest::about(certificate, issuer)?;
            let nonce = match self.settings.nonce_required {
                true => Nonce::Required(&request.nonce),
                false => Nonce::Optional(&request.nonce),
            };
            let body = Some(("application/ocsp-request", request.der.clone()));
            match self.exchange(url, body, RESPONSE_BYTES_MAX).await {
                Err(error) => last = error,
                Ok(response) => match ocsp::judge(&response, certificate, issuer, nonce, now) {
                    Err(error) => last = error.into(),
                    Ok(answer) => {
                        if answers.keep(question.clone(), answer.clone(), now)
                            && let Err(error) = self.write_answer(question, &response, now)
                        {
                            let next_step = "see whether the disk is full and the folder may be written";
                            tracing::error!(code = "ocsp-answer-not-kept", next_step, "{error}");
                        }
                        self.remove_forgotten(answers);
                        return Ok(answer);
                    }
                },
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        url: &str,
        body: Option<(&'static str, Vec<u8>)>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Error> {
        let host = self.allowed_host(url)?;
        let time = self.settings.time_max;
        match tokio::time::timeout(time, exchange(url, &host, body, bytes_max)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Time { host, seconds: time.as_secs() }),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        std::fs::create_dir_all(&self.settings.folder).map_err(failed)?;
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside).map_err(failed)?;
        std::io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    fn write_answer(&self, question: &Question, response: &[u8], now: Timestamp) -> Result<(), Error> {
        use base64::Engine as _;
        let kept = Kept {
            certificate: question.certificate.pem(),
            issuer: question.issuer.pem(),
            response: base64::engine::general_purpose::STANDARD.encode(response),
            received: Some(now),
        };
        let bytes = serde_json::to_vec(&kept).expect("four strings");
        self.write(&self.answer_path(question.certificate.fingerprint()), &bytes)
    }

    fn answer_path(&self, certificate: CertificateFingerprint) -> PathBuf {
        self.settings.folder.join(format!("{certificate}.{KEPT_EXTENSION}"))
    }

    /// The folder holds what memory holds, so that nothing is read again that was given up.
    fn remove_forgotten(&self, answers: &Answers) {
        for certificate in answers.take_forgotten() {
            let _ = std::fs::remove_file(self.answer_path(certificate));
        }
    }

    /// Answers of before, judged again: how many count. The last written come first, for there may be more than are
    /// held.
    pub fn read_kept_answers(&self, answers: &Answers, now: Timestamp, rest: Rest) -> usize {
        let Ok(folder) = std::fs::read_dir(&self.settings.folder) else { return 0 };
        let paths = folder.filter_map(Result::ok).map(|entry| entry.path());
        let kept = paths.filter(|path| path.extension().is_some_and(|extension| extension == KEPT_EXTENSION));
        let mut kept: Vec<(Option<SystemTime>, PathBuf)> = kept
            .map(|path| (std::fs::metadata(&path).and_then(|found| found.modified()).ok(), path))
            .collect();
        kept.sort_unstable_by(|one, other| other.cmp(one));
        let mut count = 0;
        for (_, path) in kept {
            let read = match answers.has_room() {
                true => Kept::read(&path, now),
                false => None,
            };
            match read {
                Some((question, answer)) => {
                    answers.keep(question, answer, now);
                    count += 1;
                }
                None if rest == Rest::Remove => drop(std::fs::remove_file(&path)),
                None => {}
            }
        }
        count
    }
}

/// An answer on disk with what is needed to judge it again.
#[derive(Serialize, Deserialize)]
struct Kept {
    certificate: String,
    issuer: String,
    response: String,
    /// When it was judged good. A responder's certificate that has ended since takes nothing from what it signed.
    #[serde(default)]
    received: Option<Timestamp>,
}

impl Kept {
    fn read(path: &Path, now: Timestamp) -> Option<(Question, Answer)> {
        use base64::Engine as _;
        if std::fs::metadata(path).ok()?.len() > KEPT_BYTES_MAX {
            return None;
        }
        let kept: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let certificate = Certificate::from_pem(kept.certificate.as_bytes()).ok()?;
        let issuer = Certificate::from_pem(kept.issuer.as_bytes()).ok()?;
        let response = base64::engine::general_purpose::STANDARD.decode(kept.response).ok()?;
        let instant = kept.received.map_or(now, |received| received.min(now));
        let answer = ocsp::judge(&response, &certificate, &issuer, Nonce::Ignored, instant).ok()?;
        if !answers::counts(&answer, now) {
            return None;
        }
        Some((Question { certificate, issuer }, answer))
    }
}

async fn exchange(
    url: &str,
    host: &str,
    body: Option<(&'static str, Vec<u8>)>,
    bytes_max: usize,
) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let port = authority.port_u16().unwrap_or(80);
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, port))
        .await
        .map_err(|source| Error::Connect { host: host.to_owned(), source })?;
    let failed = |source| Error::Http { host: host.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let _connection = Aborted(tokio::spawn(connection));
    let (method, kind, bytes) = match body {
        Some((kind, bytes)) => (Method::POST, Some(kind), bytes),
        None => (Method::GET, None, Vec::new()),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path).header(HOST, host);
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let request = request.body(Full::new(Bytes::from(bytes))).map_err(|_| wrong())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(Error::Status { host: host.to_owned(), status: response.status() });
    }
    let collected = Limited::new(response.into_body(), bytes_max).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(source) => Error::Http { host: host.to_owned(), source: *source },
        Err(other) => {
            debug_assert!(other.is::<LengthLimitError>(), "{other}");
            Error::TooLarge { host: host.to_owned(), max: bytes_max }
        }
    })?;
    Ok(collected.to_bytes().to_vec())
}

/// A connection ends with whoever uses it.
struct Aborted(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
