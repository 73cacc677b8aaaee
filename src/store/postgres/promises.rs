//! What "accepted" promises rests on the server's settings: looked at on every new session of the writer, and again while
//! running, apart from everything else, so that nothing delays it.
//!
//! Without `fsync` nothing is promised, and nothing is accepted. Whether the loss of the primary is survived depends on a
//! synchronous standby; the configuration says whether to ask for one, to warn, or to refuse without. Where it is required,
//! each transaction asks twice: before its commit whether there is one, and after it whether the commit has waited for it
//! ([`HAS_WAITED`]), and whether the server's settings are still those of before; nothing is acknowledged in between two looks
//! that the promise does not cover.

use tokio_postgres::{Client, Row};

use super::connect::application_name;
use super::read::column;
use super::{Fault, OpenError, Pools, Reading};
pub use crate::net::postgres::{HAS_NOT_WAITED, HAS_WAITED, STANDING, Standby};
use crate::net::postgres::{broken, loaded};

/// What a required standby's absence means for a transaction that has not been committed; the answer to [`STANDING`].
pub fn lacking(row: &Row) -> Result<Option<String>, Fault> {
    let (disk, standby) = broken(row)?;
    Ok(disk.or(standby))
}

/// What is known of a commit once it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Yes,
    /// The names were taken away.
    No,
    /// The settings were read anew meanwhile: names may have come and gone.
    Unsure,
}

/// A required standby as a transaction found it. Nothing where none is asked for.
pub struct Found {
    loaded: Option<i64>,
    doubts: u64,
}

impl Found {
    /// `row` answers [`STANDING`], where that was asked. Refuses without a standby.
    pub fn of(row: Option<&Row>, doubts: u64) -> Result<Self, Fault> {
        let Some(row) = row else { return Ok(Self { loaded: None, doubts }) };
        match lacking(row)? {
            Some(broken) => Err(Fault::Promise(broken)),
            None => Ok(Self { loaded: Some(loaded(row)?), doubts }),
        }
    }

    /// `row` answers [`HAS_WAITED`], asked by the session of the commit.
    pub fn has_waited(&self, row: &Row) -> Result<Waited, Fault> {
        Ok(match (row.try_get(0)?, Some(loaded(row)?) == self.loaded) {
            (false, _) => Waited::No,
            (true, true) => Waited::Yes,
            (true, false) => Waited::Unsure,
        })
    }
}

/// Within a transaction of the pool: refuses without a standby that is required.
pub async fn find(reading: &Reading<'_>, pools: &Pools) -> Result<Found, Fault> {
    let doubts = pools.doubts();
    if pools.settings().standby != Standby::Required {
        return Found::of(None, doubts);
    }
    Found::of(reading.ask(STANDING, &[]).await?.first(), doubts)
}

/// Changes nothing, and its commit waits for the standby: locking a row is written to the server's log. What the session has
/// committed before, and what it saw of others' commits, is on the standby with it.
pub const BEHIND: &str = "SELECT 1 FROM store FOR KEY SHARE";
/// Such commits that one transaction is followed by.
const BEHIND_MAX: usize = 5;

/// After its commit, on the same connection: refuses to acknowledge what the standby may lack. Where that is not known,
/// another commit behind it tells.
pub async fn confirm(reading: &Reading<'_>, pools: &Pools, mut found: Found) -> Result<(), Fault> {
    if found.loaded.is_none() {
        return Ok(());
    }
    let unsure = || Fault::Promise(UNSURE.to_owned());
    for _ in 0..=BEHIND_MAX {
        let asked = reading.ask(HAS_WAITED, &[]).await?;
        match found.has_waited(asked.first().ok_or_else(unsure)?)? {
            Waited::Yes if pools.doubts() == found.doubts => return Ok(()),
            Waited::No => return Err(Fault::Promise(HAS_NOT_WAITED.to_owned())),
            Waited::Yes | Waited::Unsure => {}
        }
        // What was committed is committed, whatever is missing now.
        found = find(reading, pools).await.map_err(|fault| match fault {
            Fault::Promise(_) => unsure(),
            fault => fault,
        })?;
        reading.ask(BEHIND, &[]).await?;
    }
    Err(unsure())
}

/// Of a commit that stands on the primary and perhaps nowhere else.
pub const UNSURE: &str = "the server read its settings anew, or cut a wait short, during the commit: whether the standby has it is not known; \
    the same again finds it out";

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

/// Sessions of this process whose commit has waited for the standby for longer than `$2` seconds. Those that nobody waits for
/// any more are among them: the server ends them with the wait, and not before.
const HELD_UP: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'SyncRep' \
    AND state_change < clock_timestamp() - make_interval(secs => $2)";

/// A standby that is connected and takes nothing in is seen by those who wait for it. Nobody joins them: each would keep a
/// session of the server until it answers.
async fn look_for_hung(client: &Client, pools: &Pools) -> Result<(), Fault> {
    let settings = pools.settings();
    // The server has heard of a commit a little later than it was given up here.
    let (own, held_up) =
        (application_name(settings, pools.token()), settings.patience.mul_f64(0.9).as_secs_f64());
    let sessions: i64 = column(&client.query_one(HELD_UP, &[&own, &held_up]).await?, 0)?;
    let hung = (sessions > 0).then(|| HUNG.to_owned());
    match (pools.set_hung(hung.clone()), hung) {
        (None, Some(next_step)) => {
            tracing::error!(code = "store-standby-hung", sessions, next_step, "commits wait for the standby");
        }
        (Some(_), None) => tracing::info!("the standby answers again"),
        _ => {}
    }
    Ok(())
}

const HUNG: &str = "the synchronous standby is connected and does not answer; see its log and its disk, or let another stand in";

/// Looks again; what is broken stops accepting until it holds, or is a warning, as configured.
pub async fn look(client: &Client, pools: &Pools) -> Result<Option<String>, Fault> {
    look_for_hung(client, pools).await?;
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
