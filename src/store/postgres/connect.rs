//! Connections to PostgreSQL: how they are made and secured, and what their failures mean.
//!
//! Every session finds the primary among the hosts named, has its time limits set by the server's side too, works in our
//! schema, and walks indexes however little the server knows of our tables yet. What is common to every database is
//! [`crate::net::postgres`]'s.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::{OpenError, Settings};
pub use crate::net::postgres::{Connector, Meaning, Session, check, meaning, sentence};
use crate::store::StoreError;

/// A node whose host has gone must not keep its locks for longer than this.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The writer's, who bounds its waiting itself: a limit of the server would cut the wait for a standby short.
    Writing,
    Asking,
}

/// How to reach the database, for a session of this node.
pub fn config_of(settings: &Settings, token: &str, purpose: Purpose) -> Result<Config, OpenError> {
    check(&settings.connection, settings.tls.is_some()).map_err(OpenError::Settings)?;
    let mut config: Config = settings.connection.parse()?;
    if let Some(password) = &settings.password {
        config.password(password);
    }
    config.ssl_mode(if settings.tls.is_some() { SslMode::Require } else { SslMode::Disable });
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(settings.patience.min(Duration::from_secs(3)));
    config.tcp_user_timeout(settings.patience);
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.application_name(application_name(settings, token));
    let question = match purpose {
        Purpose::Writing => 0,
        Purpose::Asking => settings.question_time_max.as_millis(),
    };
    let idle = idle_time_max(settings, purpose).as_millis();
    // The server, too, gives up a node that acknowledges nothing, and what it holds with it.
    let unheard = settings.patience.as_millis();
    config.options(format!(
        "-c search_path={} -c statement_timeout={question} -c idle_in_transaction_session_timeout={idle} \
         -c synchronous_commit=on -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 \
         -c tcp_keepalives_count=3 -c tcp_user_timeout={unheard} -c client_encoding=UTF8",
        super::schema::SCHEMA
    ));
    Ok(config)
}

/// How long a session may hold its transaction open and say nothing. A node that stands still in the middle of writing holds
/// what the others wait for, so its transaction is over well before their patience is; a node that was merely slow does
/// it again.
fn idle_time_max(settings: &Settings, purpose: Purpose) -> Duration {
    match purpose {
        Purpose::Writing => (settings.patience / 4).clamp(Duration::from_millis(500), Duration::from_secs(3)),
        Purpose::Asking => settings.patience,
    }
}

/// At most 63 bytes, as the server keeps them: the process's token comes first.
pub fn application_name(settings: &Settings, token: &str) -> String {
    format!("amtsbote {token} {}", settings.node).chars().take(63).collect()
}

pub fn into_store_error(error: &tokio_postgres::Error) -> StoreError {
    match meaning(error) {
        Meaning::Full => StoreError::Full { free: 0, reserve: 0 },
        Meaning::Again | Meaning::Lost | Meaning::Wrong => StoreError::Unavailable(sentence(error)),
    }
}
