//! What "accepted" promises rests on the server's settings: looked at on every new session of the writer, and again while
//! running, apart from everything else, so that nothing delays it.
//!
//! Without `fsync` nothing is promised, and nothing is accepted. Whether the loss of the primary is survived depends on a
//! synchronous standby; the configuration says whether to ask for one, to warn, or to refuse without. Where it is required,
//! each transaction asks twice: before its commit whether there is one, and after it whether the commit has waited for it
//! ([`HAS_WAITED`]); nothing is acknowledged in between two looks that the promise does not cover.

use tokio_postgres::{Client, Row};

use super::{Fault, OpenError, Pools};
use crate::net::postgres::broken;
pub use crate::net::postgres::{HAS_NOT_WAITED, HAS_WAITED, STANDING, Standby};

/// What a required standby's absence means for a transaction that has not been committed; the answer to [`STANDING`].
pub fn lacking(row: &Row) -> Result<Option<String>, Fault> {
    let (disk, standby) = broken(row)?;
    Ok(disk.or(standby))
}

/// Refuses to work on a server that breaks a promise that was asked for.
pub async fn check_start(client: &Client, pools: &Pools) -> Result<(), OpenError> {
    match look(client, pools).await? {
        Some(broken) => Err(OpenError::Promise(broken)),
        None => Ok(()),
    }
}

/// What breaks the promises that are asked for, and what is merely to be warned of.
pub async fn verdict(client: &Client, asked: Standby) -> Result<(Option<String>, Option<String>), Fault> {
    let (disk, standby) = broken(&client.query_one(STANDING, &[]).await?)?;
    metrics::gauge!("amtsbote_store_standby").set(if standby.is_none() { 1.0 } else { 0.0 });
    Ok(match asked {
        Standby::Unasked => (disk, None),
        Standby::Wanted => (disk, standby),
        Standby::Required => (disk.or(standby), None),
    })
}

/// Looks again; what is broken stops accepting until it holds, or is a warning, as configured.
pub async fn look(client: &Client, pools: &Pools) -> Result<Option<String>, Fault> {
    let (grave, warning) = verdict(client, pools.settings().standby).await?;
    pools.set_promise_trouble(grave.clone());
    if let Some(what) = warning.as_ref().filter(|what| pools.warned().as_ref() != Some(*what)) {
        tracing::warn!(
            code = "store-standby",
            next_step = what,
            "the loss of the primary would lose messages"
        );
    }
    pools.set_warned(warning);
    Ok(grave)
}
