//! SIGTERM and SIGINT drain, SIGHUP reloads.

use tokio::signal::unix::{SignalKind, signal};

use super::Running;

impl Running {
    /// Works until the process is told to stop, and stops in order.
    pub async fn until_stopped(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.reload_and_say().await,
            }
        }
        self.stop().await;
        Ok(())
    }

    async fn reload_and_say(&self) {
        match self.reload().await {
            Ok(reloaded) => tracing::info!(directory_revision = reloaded.directory_revision, "reloaded"),
            Err(error) => tracing::error!(
                code = "reload-failed",
                error,
                next_step = "run `amtsbote check`, then send SIGHUP again",
                "nothing was reloaded; the server goes on as before"
            ),
        }
    }
}
