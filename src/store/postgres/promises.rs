//! What "accepted" promises rests on the server's settings: looked at on every new session of the writer, and again while
//! running.
//!
//! Without `fsync` nothing is promised, and nothing is accepted. Whether the loss of the primary is survived depends on a
//! synchronous standby; the configuration says whether to ask for one, to warn, or to refuse without.

use tokio_postgres::Client;

use super::read::column;
use super::{Fault, OpenError, Pools};

/// What is asked of a synchronous standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standby {
    /// Nothing: the loss of the primary may lose messages.
    #[default]
    Unasked,
    /// Its absence is a warning.
    Wanted,
    /// Nothing is accepted without it.
    Required,
}

/// The promise that does not hold, if any, with what to do.
async fn broken(client: &Client) -> Result<(Option<String>, Option<String>), Fault> {
    let question = "SELECT current_setting('fsync') = 'on', current_setting('synchronous_standby_names'), \
        (SELECT count(*) FROM pg_stat_replication), \
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')), \
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL)";
    let row = client.query_one(question, &[]).await?;
    let (fsync, names): (bool, String) = (column(&row, 0)?, column(&row, 1)?);
    let (all, synchronous, hidden): (i64, i64, i64) = (column(&row, 2)?, column(&row, 3)?, column(&row, 4)?);
    let disk = (!fsync).then(|| {
        "fsync is off in the database: what is accepted may be lost; set fsync = on in postgresql.conf and reload"
            .to_owned()
    });
    let standby = if names.trim().is_empty() {
        Some(
            "synchronous_standby_names is empty: the loss of the primary would lose messages; name the standby there",
        )
    } else if synchronous == 0 && hidden > 0 {
        Some("the standby's state cannot be seen; GRANT pg_read_all_stats to the store's user")
    } else if synchronous == 0 && all > 0 {
        Some("a standby is connected, but none that synchronous_standby_names names; correct the names")
    } else if synchronous == 0 {
        Some("no synchronous standby is connected; start it, or see its log for why it cannot follow")
    } else {
        None
    };
    Ok((disk, standby.map(str::to_owned)))
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
    let (disk, standby) = broken(client).await?;
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
