//! Why the rig stops early, and the exit code that says so.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum Failure {
    /// The environment cannot do it; the caller decides whether that is a skip or a failure.
    #[error("the power-cut rig cannot run here: {0}")]
    Missing(String),
    #[error("{0}")]
    Defects(String),
    /// The negative control lost nothing: a green run would mean nothing.
    #[error("the rig proves nothing: {0}")]
    ProvesNothing(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Rig(String),
}

impl Failure {
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Documented in the README; 2 is a wrong command line.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Defects(_) => 1,
            Self::ProvesNothing(_) => 3,
            Self::Io { .. } | Self::Rig(_) => 4,
            Self::Missing(_) => 77,
            Self::Interrupted => 130,
        })
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Remembers SIGINT and SIGTERM, so that the rig ends by returning and every guard cleans up behind it.
pub fn watch_signals() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("starting the signal watch"))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
                INTERRUPTED.store(true, Ordering::SeqCst);
            }
        });
    });
    Ok(())
}

pub fn check_interrupted() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
}
