//! What recurs beside the work: looking at promises and clocks, letting go of payloads that nobody names.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::payload::{DISCARD, LET_GO, ORPHANS};
use super::pools::Pools;
use super::{Fault, lag, promises};
use crate::store::StoreError;

const PERIOD: Duration = Duration::from_secs(5);
/// Orphans are looked for in every so many periods.
const ORPHAN_PERIODS: u64 = 12;

/// Runs until the store is closed. `incarnation` is the first of this process: what earlier ones staged is over.
pub async fn run(pools: Arc<Pools>, incarnation: i64, mut discarded: UnboundedReceiver<String>) {
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut period = 0;
    loop {
        tokio::select! {
            name = discarded.recv() => match name {
                Some(name) => discard(&pools, &name).await,
                None => return,
            },
            _ = clock.tick() => {
                if let Err(fault) = look(&pools).await {
                    tracing::debug!(%fault, "the database's promises cannot be looked at");
                }
                if period % ORPHAN_PERIODS == 0 {
                    sweep(&pools, incarnation).await;
                }
                period += 1;
            }
        }
    }
}

async fn look(pools: &Pools) -> Result<(), Fault> {
    let client = pools.client().await?;
    pools.measure_skew(&client).await?;
    promises::look(&client, pools).await?;
    lag::gauge(&client).await
}

async fn discard(pools: &Pools, name: &str) {
    if let Err(error) = let_go(pools, name).await {
        tracing::debug!(%error, name, "a payload that nobody names is left for the sweep");
    }
}

/// Its objects first and its row last, so that whatever is interrupted is found again.
async fn let_go(pools: &Pools, name: &str) -> Result<(), StoreError> {
    let found = pools.run(LET_GO, &[&name]).await?;
    let Some(row) = found.first() else { return Ok(()) };
    if row.get(0) {
        let Some(objects) = pools.objects() else { return Ok(()) };
        objects.delete(pools.store_id(), name).await?;
    }
    pools.run(DISCARD, &[&name]).await.map(drop)
}

async fn sweep(pools: &Pools, incarnation: i64) {
    let node = pools.node();
    match pools.run(ORPHANS, &[&node, &incarnation, &pools.objects().is_some()]).await {
        Ok(orphans) => {
            for orphan in orphans {
                discard(pools, orphan.get(0)).await;
            }
        }
        Err(error) => tracing::debug!(%error, "orphaned payloads cannot be looked for"),
    }
}
