//! One connection from its first byte to its last: HTTP/1.1 within bounds, finished in peace when the server drains.

use std::convert::Infallible;
use std::future::Future;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::pace::{LastPhase, PacedStream, Phase, SharedPhase, paced};
use super::{Body, Bounds};

/// Serves requests until the peer goes, a bound is crossed, or `stop` says to finish what has begun.
///
/// The only errors are the peer's: a header that is too large or malformed, a silence, a broken connection.
pub(super) async fn serve<S, F, R>(
    stream: S,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
    answer: F,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>) -> R + Send,
    R: Future<Output = Response<Body>> + Send,
{
    let phase = SharedPhase::new();
    let stream = PacedStream::new(stream, phase.clone(), &bounds);
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        phase.set(Phase::Busy);
        let answering = answer(request.map(|body| paced(body, &bounds)));
        let phase = phase.clone();
        async move {
            let mut response = answering.await;
            let written = response.extensions_mut().remove();
            Ok::<_, Infallible>(response.map(|body| LastPhase::wrap(body, phase, written)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The stream keeps time: hyper's own timer cannot tell a slow header from a quiet connection.
        .header_read_timeout(None)
        .max_header_size(bounds.header_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
