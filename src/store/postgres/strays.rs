//! Objects that no row knows: left behind where a primary was lost with the rows, or where an object came after its payload
//! had been let go of.
//!
//! The bucket is looked through in the order of names, a page each minute and all of it now and then. An object's row is
//! durable before it, so what has none will never get one; that it must be old besides is for those who bring another
//! state of the database back. For the same reason nothing is deleted for a while after `adopt-objects`.

use std::time::Duration;

use object_store::path::Path;
use tokio::time::Instant;

use super::objects::Listed;
use super::pools::Pools;
use crate::store::StoreError;

/// Younger objects are left alone, by the object store's clock.
const AGE_MIN_SECONDS: i64 = 7 * 86_400;
/// Objects that are looked at, and deleted, in one step.
const LISTED_MAX: usize = 1_000;
const DELETED_MAX: usize = 200;
/// Objects of one step that may stay though they are to go, before it is given up.
const FAILED_MAX: usize = 3;
/// Between the end of one round through the bucket and the next.
const PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// Of these names those that no payload has; none in a database that was put in another's place lately, or that is an older
/// state of the one that has just counted on.
const UNKNOWN: &str = "SELECT name FROM unnest($1::text[]) AS listed (name) \
    WHERE NOT EXISTS (SELECT 1 FROM payload_large WHERE payload_large.name = listed.name) \
    AND EXISTS (SELECT 1 FROM store WHERE objects_claim >= $2 AND (objects_adopted_at IS NULL \
    OR objects_adopted_at < clock_timestamp() - interval '30 days'))";

/// Where a round through the bucket stands.
#[derive(Default)]
pub struct Round {
    after: Option<Path>,
    rests_until: Option<Instant>,
}

impl Round {
    /// One step; how many objects were deleted. The objects are this database's since it has counted on to `claim`. What
    /// cannot be deleted is gone on behind, and comes again with the next round.
    pub async fn step(&mut self, pools: &Pools, claim: i64) -> Result<usize, StoreError> {
        let Some(objects) = pools.objects() else { return Ok(0) };
        if self.rests_until.is_some_and(|end| Instant::now() < end) {
            return Ok(0);
        }
        let store = pools.store_id();
        let Some(now) = objects.claimed_at(store).await? else { return Ok(0) };
        let listed = objects.list(store, self.after.as_ref(), LISTED_MAX).await?;
        let is_last = listed.len() < LISTED_MAX;
        let old = |one: &&Listed| one.written_at <= now - AGE_MIN_SECONDS;
        let mut names: Vec<&str> =
            listed.iter().filter(old).filter_map(|one| one.payload.as_deref()).collect();
        names.dedup();
        let unknown =
            if names.is_empty() { Vec::new() } else { pools.run(UNKNOWN, &[&names, &claim]).await? };
        let unknown: Vec<&str> = unknown.iter().map(|row| row.get(0)).collect();
        let is_stray =
            |one: &&Listed| old(one) && one.payload.as_deref().is_some_and(|name| unknown.contains(&name));
        let strays: Vec<&Listed> = listed.iter().filter(is_stray).collect();
        let (mut deleted, mut failed) = (0, 0);
        for stray in strays.iter().take(DELETED_MAX) {
            match objects.delete_listed(stray).await {
                Ok(()) => {
                    deleted += 1;
                    metrics::counter!("amtsbote_store_objects_swept_total").increment(1);
                }
                Err(error) if failed < FAILED_MAX => {
                    failed += 1;
                    tracing::debug!(%error, object = %stray.location, "a stray object is left for the next round");
                }
                Err(error) => {
                    self.after = Some(stray.location.clone());
                    return Err(error);
                }
            }
        }
        if strays.len() > DELETED_MAX {
            self.after = strays.get(DELETED_MAX - 1).map(|last| last.location.clone());
        } else if is_last {
            *self = Self { after: None, rests_until: Some(Instant::now() + PAUSE) };
        } else {
            self.after = listed.last().map(|last| last.location.clone());
        }
        Ok(deleted)
    }
}
