//! Whose the objects are: of the one database that counts on together with them.

use super::read::column;
use super::{Fault, OpenError, Pools, Reading, Settings};
use crate::net::postgres::commit;
use crate::store::{AdminAct, StoreError};

/// The number that the database has reached. Denied by a sentence where the objects are another copy's of this database;
/// nothing is deleted then.
pub async fn look(pools: &Pools) -> Result<Result<i64, String>, StoreError> {
    let Some(objects) = pools.objects() else { return Ok(Ok(0)) };
    // In this order: other nodes count on as well, in the database first.
    let there = objects.claim(pools.store_id()).await?;
    let counted = pools.run("SELECT objects_claim FROM store", &[]).await?;
    let own: i64 = counted.first().map_or(0, |row| row.get(0));
    if there > own {
        return Ok(Err(format!(
            "the objects in {} belong to another copy of this database, which has counted to {there} there while this one \
             stands at {own}: nothing is deleted. Give a copy an [objects] prefix and objects of its own; if this is the \
             original, put back from a backup, run `amtsbote store adopt-objects`",
            objects.place_of(pools.store_id())
        )));
    }
    Ok(Ok(own))
}

/// The same, and counts on.
pub async fn count_on(pools: &Pools) -> Result<Result<i64, String>, StoreError> {
    let Some(objects) = pools.objects() else { return Ok(Ok(0)) };
    let own = match look(pools).await? {
        Ok(own) => own,
        foreign => return Ok(foreign),
    };
    let next = "UPDATE store SET objects_claim = objects_claim + 1 RETURNING objects_claim";
    let next = pools.tidy(next, &[]).await?;
    let next: i64 = next.first().map_or(own + 1, |row| row.get(0));
    objects.set_claim(pools.store_id(), next).await?;
    Ok(Ok(next))
}

/// Makes the objects this database's own: every other copy lags behind from here on. The number that it counts from.
pub async fn adopt(settings: Settings, act: AdminAct) -> Result<i64, OpenError> {
    let pools = Pools::new(settings)?;
    let Some(objects) = pools.objects() else {
        return Err(OpenError::Settings("[objects] is not configured; there is nothing to adopt".to_owned()));
    };
    let mut session = pools.session().await?;
    let (id, version) = super::schema::identity(&session.client)
        .await?
        .ok_or_else(|| OpenError::Settings("the database holds no store".to_owned()))?;
    super::schema::check_version(version)?;
    let failed = |error: StoreError| OpenError::Settings(error.to_string());
    let there = objects.claim(&id).await.map_err(failed)?;
    let adopt = "UPDATE store SET objects_claim = greatest(objects_claim, $1) + 1, \
                 objects_adopted_at = clock_timestamp() RETURNING objects_claim";
    let act = super::act_bytes(&act).map_err(failed)?;
    let work = session.client.transaction().await?;
    let rows = Reading::Bare(&work).ask(adopt, &[&there]).await?;
    let row = rows.first().ok_or_else(|| Fault::corrupt("the table amtsbote.store is empty".to_owned()))?;
    let next: i64 = column(row, 0)?;
    work.execute(super::ACT, &[&act]).await?;
    commit(work).await?;
    // Where this fails, the database is ahead of its objects and counts on from there.
    objects.set_claim(&id, next).await.map_err(failed)?;
    Ok(next)
}
