//! Asks a running server over its local socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;

use super::protocol::{Answer, PATH, Question, Refused, VERSION, Verb};

/// Answers of a friend are bounded as well: a listing of 10,000 envelopes fits.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no server is running at {}", path.display())]
    NotRunning { path: PathBuf },
    #[error("the socket {} may not be opened by this user", path.display())]
    Forbidden { path: PathBuf },
    #[error("{}", .0.sentence)]
    Refused(Refused),
    #[error("the conversation with the server broke off: {0}")]
    Broken(String),
}

/// One question, one answer. What the server refuses is an error.
pub async fn ask(socket: &Path, verb: Verb) -> Result<Answer, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { path: socket.to_owned() }
        }
        ErrorKind::PermissionDenied => ClientError::Forbidden { path: socket.to_owned() },
        _ => ClientError::Broken(error.to_string()),
    })?;
    let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driving = tokio::spawn(connection);
    let question = serde_json::to_vec(&Question { version: VERSION, verb })
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    let request = Request::post(PATH)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(question)))
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    driving.abort();
    match serde_json::from_slice(&body.to_bytes()) {
        Ok(Answer::Refused(refused)) => Err(ClientError::Refused(refused)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(ClientError::Broken(format!("the answer is not one of this version: {error}"))),
    }
}
