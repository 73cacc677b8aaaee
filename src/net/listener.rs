//! TCP listeners, with TLS or without: accept, bound, hand to the handler, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::permits::Admitted;
use super::{Bounds, Handler, Peer, Permits, TlsSource, connection};

/// A bound socket that does not serve yet.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsSource>,
    bounds: Bounds,
    permits: Permits,
}

/// A listener at work. Dropping it does not stop it; [`Serving::drain`] does.
pub struct Serving {
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

impl Serving {
    /// Takes no new connection, lets requests that have begun finish within the bound, then cuts the rest.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(code = "listener-panicked", "a listener ended by a panic; restart the server");
        }
    }
}

impl Listener {
    /// TLS with client certificates as `tls` demands them.
    pub async fn tls(
        address: SocketAddr,
        tls: TlsSource,
        bounds: Bounds,
        permits: Permits,
    ) -> std::io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: Some(tls), bounds, permits })
    }

    /// No TLS; for the operator, on a loopback address or a network of his own.
    pub async fn plain(address: SocketAddr, bounds: Bounds, permits: Permits) -> std::io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: None, bounds, permits })
    }

    /// The address in fact, where port 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn serve(self, handler: Arc<dyn Handler>) -> Serving {
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(self.run(handler, stopping));
        Serving { stop, task }
    }

    async fn run(self, handler: Arc<dyn Handler>, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let waiting = stop.clone();
        loop {
            let permit = tokio::select! {
                permit = self.permits.take() => permit,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            reap(&mut connections);
            match accepted {
                Ok((stream, address)) => {
                    let admitted = match self.permits.admit(permit, address.ip()) {
                        Ok(admitted) => admitted,
                        Err(refused) => {
                            self.permits.report(refused);
                            continue;
                        }
                    };
                    let (tls, bounds) = (self.tls.clone(), self.bounds);
                    let (handler, stop) = (Arc::clone(&handler), waiting.clone());
                    connections.spawn(async move {
                        attend(stream, address, tls, bounds, handler, &admitted, stop).await;
                    });
                }
                Err(error) => pause_after(&error).await,
            }
        }
        // The socket is closed before the drain, so that a balancer sends new connections elsewhere.
        drop(self.socket);
        finish(connections, self.bounds.drain).await;
    }
}

/// Running out of file descriptors repeats at once and would spin.
pub(super) async fn pause_after(error: &std::io::Error) {
    tracing::warn!(code = "accept-failed", %error, next_step = "raise the limit of open files", "no connection taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

pub(super) fn reap(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.try_join_next() {
        report_panic(ended);
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            code = "handler-panicked",
            next_step = "report this as a bug",
            "a request was cut by a panic"
        );
    }
}

pub(super) async fn finish(mut connections: JoinSet<()>, drain: Duration) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    };
    if tokio::time::timeout(drain, all).await.is_err() {
        let cut = connections.len();
        tracing::warn!(code = "drain-deadline", cut, "connections were cut at the end of the drain");
        connections.shutdown().await;
    }
}

/// A connection in the gauge, also when a panic ends it.
struct Counted;

impl Counted {
    fn begin() -> Self {
        metrics::gauge!("amtsbote_connections").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("amtsbote_connections").decrement(1.0);
    }
}

async fn attend(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsSource>,
    bounds: Bounds,
    handler: Arc<dyn Handler>,
    admitted: &Admitted,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are written as a whole; waiting for more bytes would only add delay.
    let _ = stream.set_nodelay(true);
    let _counted = Counted::begin();
    let result = match tls {
        None => exchange(stream, address, Arc::from([]), bounds, handler, admitted, stop).await,
        Some(source) => {
            let handshake = TlsAcceptor::from(source.current()).accept(stream);
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(bounds.handshake, handshake) => shaken,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    let sent = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let certificates = sent.iter().map(|one| one.clone().into_owned()).collect();
                    exchange(stream, address, certificates, bounds, handler, admitted, stop).await
                }
                Ok(Err(error)) => Err(format!("handshake: {error}")),
                Err(_) => Err(format!("handshake not complete after {} s", bounds.handshake.as_secs_f64())),
            }
        }
    };
    if let Err(reason) = result {
        metrics::counter!("amtsbote_connections_cut_total").increment(1);
        tracing::info!(code = "connection-cut", port = address.port(), reason, "a connection was cut");
    }
}

async fn exchange<S>(
    stream: S,
    address: SocketAddr,
    certificates: Arc<[rustls_pki_types::CertificateDer<'static>]>,
    bounds: Bounds,
    handler: Arc<dyn Handler>,
    admitted: &Admitted,
    stop: watch::Receiver<bool>,
) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(Peer::new(address, certificates));
    connection::serve(stream, bounds, stop, |request| {
        admitted.has_asked();
        let (handler, peer) = (Arc::clone(&handler), Arc::clone(&peer));
        async move { handler.handle(request, &peer).await }
    })
    .await
    .map_err(|error| full_reason(&error))
}

/// An error with its causes, for hyper hides the stream's own words.
fn full_reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
