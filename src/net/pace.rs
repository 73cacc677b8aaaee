//! Time on the wire: a stream that notices a peer who falls silent or drips, and a body that does.
//!
//! Only time spent waiting for the peer counts. A handler that thinks for a minute is not the peer's fault.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Body, Bounds, WhenWritten};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The first byte of the next request.
    ExpectRequest = 0,
    /// The rest of a header, the first one of a connection included.
    ExpectHeader = 1,
    /// A handler has the request; its body keeps time by itself.
    Busy = 2,
}

/// The phase of one connection, shared by its stream and its service.
#[derive(Debug, Clone)]
pub(super) struct SharedPhase(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    /// Of answers whose bodies are through and whose bytes are not yet all out: several where requests are pipelined.
    going_out: Mutex<Vec<WhenWritten>>,
}

impl SharedPhase {
    pub(super) fn new() -> Self {
        let phase = AtomicU8::new(Phase::ExpectHeader as u8);
        Self(Arc::new(Shared { phase, going_out: Mutex::default() }))
    }

    pub(super) fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn current(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            0 => Phase::ExpectRequest,
            1 => Phase::ExpectHeader,
            _ => Phase::Busy,
        }
    }

    fn body_is_through(&self, then: WhenWritten) {
        self.0.going_out.lock().unwrap_or_else(PoisonError::into_inner).push(then);
    }

    fn everything_is_out(&self) {
        let written = std::mem::take(&mut *self.0.going_out.lock().unwrap_or_else(PoisonError::into_inner));
        written.iter().for_each(WhenWritten::tell);
    }
}

/// Measures the peer's pace in one direction.
#[derive(Debug)]
struct Pace {
    idle: Duration,
    grace: Duration,
    bytes_per_second_min: u64,
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(bounds: &Bounds) -> Self {
        Self {
            idle: bounds.idle,
            grace: bounds.pace_grace,
            bytes_per_second_min: bounds.bytes_per_second_min,
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            alarm: Box::pin(sleep_until(Instant::now() + bounds.idle)),
        }
    }

    fn restart(&mut self) {
        (self.bytes, self.waited, self.waiting_since) = (0, Duration::ZERO, None);
    }

    /// The peer gave or took `count` bytes.
    fn moved(&mut self, count: usize) -> io::Result<()> {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(count as u64);
        let due = self.waited.as_secs_f64() * self.bytes_per_second_min as f64;
        if self.waited > self.grace && (self.bytes as f64) < due {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "slower than {} bytes per second: {} bytes in {} s",
                    self.bytes_per_second_min,
                    self.bytes,
                    self.waited.as_secs()
                ),
            ));
        }
        Ok(())
    }

    /// The peer gives or takes nothing at this moment.
    fn stalled(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.waiting_since.is_none() {
            let since = Instant::now();
            self.waiting_since = Some(since);
            self.alarm.as_mut().reset(since + self.idle);
        }
        match self.alarm.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no byte for {} s", self.idle.as_secs_f64()),
            )),
        }
    }
}

/// A stream that ends with `TimedOut` when the peer takes too long for a header, the next request or an answer.
pub(super) struct PacedStream<S> {
    inner: S,
    phase: SharedPhase,
    header: Duration,
    keep_alive: Duration,
    /// The phase that `read_alarm` is set for.
    armed: Option<Phase>,
    read_alarm: Pin<Box<Sleep>>,
    write: Pace,
}

impl<S> PacedStream<S> {
    pub(super) fn new(inner: S, phase: SharedPhase, bounds: &Bounds) -> Self {
        Self {
            inner,
            phase,
            header: bounds.header,
            keep_alive: bounds.keep_alive,
            armed: None,
            read_alarm: Box::pin(sleep_until(Instant::now() + bounds.header)),
            write: Pace::new(bounds),
        }
    }

    fn read_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let phase = self.phase.current();
        // An answer's body may be through while its bytes are not: until then the write's own pace decides.
        if phase == Phase::ExpectRequest && self.write.waiting_since.is_some() {
            self.armed = None;
            return false;
        }
        let allowed = match phase {
            Phase::Busy => {
                self.armed = None;
                return false;
            }
            Phase::ExpectHeader => self.header,
            Phase::ExpectRequest => self.keep_alive,
        };
        if self.armed != Some(phase) {
            self.armed = Some(phase);
            self.read_alarm.as_mut().reset(Instant::now() + allowed);
        }
        self.read_alarm.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // Checked before reading as well: a peer that always has one more byte must not outrun the alarm.
        if self.phase.current() == Phase::ExpectHeader && self.read_overdue(context) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "header not complete in time")));
        }
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before && self.phase.current() == Phase::ExpectRequest {
                    self.phase.set(Phase::ExpectHeader);
                }
                Poll::Ready(result)
            }
            Poll::Pending if self.read_overdue(context) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request in time")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> PacedStream<S> {
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        moved: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Ok(value)) => {
                if self.phase.current() == Phase::ExpectRequest {
                    // The pause between requests begins behind the last byte of the answer.
                    self.armed = None;
                }
                Poll::Ready(self.write.moved(moved(&value)).map(|()| value))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.write.stalled(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, outcome, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.judge(context, outcome, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        let flushed = outcome.is_ready();
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.phase.everything_is_out();
        }
        let outcome = self.judge(context, outcome, |()| 0);
        if flushed {
            self.write.restart();
            // Armed here, for nobody may ask to read again before the peer moves.
            let _ = self.read_overdue(context);
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(context, outcome, |()| 0)
    }
}

/// A request's body that ends with `TimedOut` when its peer falls silent or drips.
struct PacedBody {
    inner: Incoming,
    pace: Pace,
}

pub(super) fn paced(inner: Incoming, bounds: &Bounds) -> Body {
    Body::new(PacedBody { inner, pace: Pace::new(bounds) })
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let pace = &mut this.pace;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let moved = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(pace.moved(moved).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match pace.stalled(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body that tells the connection when it is through.
pub(super) struct LastPhase {
    inner: Body,
    phase: SharedPhase,
    /// To be told when the last byte is out; `None` where nobody asked, or the body broke off.
    written: Option<WhenWritten>,
    /// Bytes that are still to come, where the body has said how many.
    left: Option<u64>,
    ended: bool,
}

impl LastPhase {
    pub(super) fn wrap(inner: Body, phase: SharedPhase, written: Option<WhenWritten>) -> Self {
        let left = inner.size_hint().exact();
        Self { inner, phase, written, left, ended: false }
    }
}

impl Drop for LastPhase {
    fn drop(&mut self) {
        self.phase.set(Phase::ExpectRequest);
        if (self.ended || self.left == Some(0))
            && let Some(written) = self.written.take()
        {
            self.phase.body_is_through(written);
        }
    }
}

impl HttpBody for LastPhase {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(bytes));
            }
            Poll::Ready(Some(Err(_))) => self.written = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn answers_that_go_out_together_are_all_told() {
        let (phase, told) = (SharedPhase::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..3 {
            let told = told.clone();
            let written = WhenWritten::new(move || {
                told.fetch_add(1, Ordering::SeqCst);
            });
            phase.body_is_through(written);
        }
        assert_eq!(told.load(Ordering::SeqCst), 0, "nothing is out yet");
        phase.everything_is_out();
        phase.everything_is_out();
        assert_eq!(told.load(Ordering::SeqCst), 3, "each once");
    }
}
