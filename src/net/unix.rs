//! A Unix socket for the administrator: who connects is known from the kernel, not from a password.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listener::{finish, pause_after, reap};
use super::{Body, Bounds, Permits, Serving, connection};

/// The process at the other end, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPeer {
    pub uid: u32,
    pub gid: u32,
    pub pid: Option<i32>,
}

/// Connections of peers who are not admitted: enough to tell them so, too few to be in anybody's way.
const STRANGERS_MAX: usize = 4;

#[async_trait]
pub trait LocalHandler: Send + Sync + 'static {
    /// Whether this peer's connection counts among the administration's. One who is not admitted is still answered,
    /// while he and his like hold no more than a few connections.
    fn admits(&self, peer: LocalPeer) -> bool;

    async fn handle(&self, request: hyper::Request<Body>, peer: LocalPeer) -> hyper::Response<Body>;
}

/// A bound Unix socket; its file goes when the listener has drained.
pub struct LocalListener {
    socket: UnixListener,
    path: PathBuf,
    bounds: Bounds,
    permits: Permits,
}

impl LocalListener {
    /// Binds with `mode` (such as `0o600`). A socket file that nobody listens on any more is replaced; a file that is
    /// no socket, or a socket in use, is left alone.
    pub async fn bind(path: &Path, mode: u32, bounds: Bounds, permits: Permits) -> io::Result<Self> {
        clear_stale(path).await?;
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(Self { socket, path: path.to_owned(), bounds, permits })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn serve(self, handler: Arc<dyn LocalHandler>) -> Serving {
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(self.run(handler, stopping));
        Serving { stop, task }
    }

    async fn run(self, handler: Arc<dyn LocalHandler>, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let waiting = stop.clone();
        let strangers = Permits::new(STRANGERS_MAX);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            reap(&mut connections);
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            let Ok(credentials) = stream.peer_cred() else {
                tracing::warn!(
                    code = "no-peer-credentials",
                    "a local connection without credentials was cut"
                );
                continue;
            };
            let peer = LocalPeer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
            // A stranger never waits for a place, and nobody waits behind him.
            let permit = if !handler.admits(peer) {
                let Some(permit) = strangers.try_take() else { continue };
                permit
            } else {
                tokio::select! {
                    permit = self.permits.take() => permit,
                    _ = stop.wait_for(|stop| *stop) => break,
                }
            };
            let (handler, stop, bounds) = (Arc::clone(&handler), waiting.clone(), self.bounds);
            connections.spawn(async move {
                attend(stream, peer, bounds, handler, stop).await;
                drop(permit);
            });
        }
        drop(self.socket);
        finish(connections, self.bounds.drain).await;
        let _ = fs::remove_file(&self.path);
    }
}

async fn clear_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens at this path")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

async fn attend(
    stream: UnixStream,
    peer: LocalPeer,
    bounds: Bounds,
    handler: Arc<dyn LocalHandler>,
    stop: watch::Receiver<bool>,
) {
    let served = connection::serve(stream, bounds, stop, |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(request, peer).await }
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(code = "connection-cut", %error, "a local connection was cut");
    }
}
