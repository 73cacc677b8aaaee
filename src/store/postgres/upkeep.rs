//! What recurs beside the work, each at its own pace: looking at promises and clocks, letting go of payloads that nobody
//! names.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connect::Session;
use super::payload::{CHUNKED, DISCARD, LET_GO, ORPHANS, STRAY};
use super::pools::Pools;
use super::{OpenError, claim, lag, promises, rates, staging, strays};
use crate::store::StoreError;

/// Between two looks at the promises and the clock.
const LOOK: Duration = Duration::from_secs(5);
/// The same while a promise does not hold.
const LOOK_TROUBLED: Duration = Duration::from_millis(500);
/// Names of chunked payloads that one search looks at; the next goes on behind them.
const CHUNKED_MAX: i64 = 1_000;
/// Between two searches for orphans.
const ORPHANS_EVERY: Duration = Duration::from_secs(60);
/// Orphans that one statement looks for, and how often one search asks for more.
const ORPHANS_MAX: i64 = 100;
const SWEEPS_MAX: usize = 1_000;

/// Looks at promises and clocks until the store is closed, on a connection of its own: neither readers that use up the pool
/// nor an object store that does not answer keep it waiting.
pub async fn watch(pools: Arc<Pools>) {
    let mut session = None;
    loop {
        let looked = timeout(pools.settings().patience, look(&pools, &mut session)).await;
        if let Ok(Err(error)) = &looked {
            tracing::debug!(%error, "the database's promises cannot be looked at");
        }
        if !matches!(looked, Ok(Ok(()))) {
            session = None;
        }
        let pause = if pools.promise_trouble().is_some() { LOOK_TROUBLED } else { LOOK };
        let _or_sooner = timeout(pause, pools.given_up()).await;
    }
}

async fn look(pools: &Pools, session: &mut Option<Session>) -> Result<(), OpenError> {
    let session = match session {
        Some(session) => session,
        None => {
            let opened = pools.session().await?;
            pools.recognize(&opened.client).await?;
            session.insert(opened)
        }
    };
    pools.measure_skew(&session.client).await?;
    promises::look(&session.client, pools).await?;
    // A commit that waits for the standby may hold the row, and this look would fail after each second's wait for it.
    if pools.hung().is_none() {
        pools.share_guard(&session.client).await?;
    }
    Ok(lag::gauge(&session.client).await?)
}

/// Lets go of payloads until the store is closed. `incarnation` is the first of this process: what earlier ones staged is
/// over.
pub async fn run(pools: Arc<Pools>, incarnation: i64, mut discarded: UnboundedReceiver<String>) {
    let mut clock = interval(ORPHANS_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked_up_to = String::new();
    let mut is_ours = pools.objects().is_none();
    let mut round = strays::Round::default();
    loop {
        tokio::select! {
            name = discarded.recv() => match name {
                Some(name) => {
                    is_ours = is_ours || are_objects_ours(&pools).await;
                    if is_ours {
                        let _is_gone = discard(&pools, &name).await;
                    }
                }
                None => return,
            },
            _ = clock.tick() => {
                // Each commit would wait for the standby, and keep a session of the server.
                if pools.promise_trouble().is_some() {
                    continue;
                }
                // Of objects only their rows are let go of here.
                if let Err(error) = staging::sweep(&pools).await {
                    tracing::warn!(
                        code = "store-staging-sweep",
                        %error,
                        next_step = "it is tried each minute; if this stays, look into the database's log",
                        "what is over of uploads in chunks cannot be let go of"
                    );
                }
                if let Err(error) = rates::sweep(&pools).await {
                    tracing::debug!(%error, "what clients took before cannot be let go of");
                }
                let claim = objects_claim(&pools).await;
                is_ours = claim.is_some();
                let Some(claim) = claim else { continue };
                sweep_objects(&pools, &mut round, claim).await;
                sweep(&pools, incarnation).await;
                match sweep_strays(&pools, &looked_up_to).await {
                    Ok(next) => looked_up_to = next,
                    Err(error) => tracing::debug!(%error, "stray chunks cannot be looked for"),
                }
            }
        }
    }
}

/// Whether payloads may be let go of: where they are objects, no other copy of the database may have a claim to them.
async fn are_objects_ours(pools: &Pools) -> bool {
    objects_claim(pools).await.is_some()
}

/// The same with the number that the database has reached.
async fn objects_claim(pools: &Pools) -> Option<i64> {
    match claim::count_on(pools).await {
        Ok(Ok(claim)) => Some(claim),
        Ok(Err(foreign)) => {
            tracing::error!(
                code = "store-objects-foreign",
                next_step = "run one copy of the database at a time with these objects",
                "{foreign}"
            );
            None
        }
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(
                code = "store-objects-claim",
                next_step =
                    "see who writes there; with no other copy of the database at work, delete that object",
                "whose the objects are is not known, and nothing is deleted: {error}"
            );
            None
        }
        Err(error) => {
            tracing::debug!(%error, "whose the objects are cannot be asked");
            None
        }
    }
}

/// False where it is left.
async fn discard(pools: &Pools, name: &str) -> bool {
    let gone = let_go(pools, name).await;
    if let Err(error) = &gone {
        tracing::debug!(%error, name, "a payload that nobody names is left for the sweep");
    }
    gone.is_ok()
}

/// Its objects first and its row last, so that whatever is interrupted is found again.
async fn let_go(pools: &Pools, name: &str) -> Result<(), StoreError> {
    let found = pools.tidy(LET_GO, &[&name]).await?;
    let Some(row) = found.first() else { return Ok(()) };
    if row.get(0) {
        let Some(objects) = pools.objects() else { return Ok(()) };
        objects.delete(pools.store_id(), name).await?;
    }
    pools.tidy(DISCARD, &[&name]).await.map(drop)
}

/// As long as there are more: a message in chunks leaves hundreds behind.
async fn sweep(pools: &Pools, incarnation: i64) {
    let node = pools.node();
    for _ in 0..SWEEPS_MAX {
        let found =
            pools.run(ORPHANS, &[&node, &incarnation, &pools.objects().is_some(), &ORPHANS_MAX]).await;
        let orphans = match found {
            Ok(orphans) => orphans,
            Err(error) => {
                tracing::debug!(%error, "orphaned payloads cannot be looked for");
                return;
            }
        };
        let mut all_gone = true;
        for orphan in &orphans {
            all_gone &= discard(pools, orphan.get(0)).await;
        }
        if !all_gone || (orphans.len() as i64) < ORPHANS_MAX || !are_objects_ours(pools).await {
            return;
        }
    }
}

/// Deletes objects that no row knows, among the next ones of the bucket.
async fn sweep_objects(pools: &Pools, round: &mut strays::Round, claim: i64) {
    match round.step(pools, claim).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "objects that belong to no payload were deleted"),
        Err(error) => tracing::debug!(%error, "objects that belong to no payload cannot be looked for"),
    }
}

/// Deletes chunks whose payload is not known, among the next names after `after`; the last name that was looked at, none
/// at the end.
async fn sweep_strays(pools: &Pools, after: &str) -> Result<String, StoreError> {
    let found = pools.run(CHUNKED, &[&after, &CHUNKED_MAX]).await?;
    let strays: Vec<&str> = found.iter().filter(|row| !row.get::<_, bool>(1)).map(|row| row.get(0)).collect();
    if !strays.is_empty() {
        pools.tidy(STRAY, &[&strays]).await?;
        tracing::info!(count = strays.len(), "chunks without a payload were deleted");
    }
    let last = found.last().filter(|_| found.len() as i64 == CHUNKED_MAX);
    Ok(last.map(|row| row.get(0)).unwrap_or_default())
}
