//! What clients took at each process, as rows that no log of transactions holds and no standby has: lost with the primary,
//! after which everybody has told anew within a second.
//!
//! A row is its process's own, so that nobody waits for another's, and holds a count from the beginning of its window, so
//! that telling it twice is telling it once. A process that comes back finds what it took before as another's.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::pools::Pools;
use super::read::column;
use super::{Fault, PostgresStore};
use crate::store::StoreError;
use crate::store::rates::{Rates, Taken};
use crate::store::row::{int, uint};

/// What one statement deletes, and how many of them follow each other.
const SWEPT_AT_ONCE: i64 = 10_000;
const SWEEPS_MAX: usize = 100;

const EXCHANGE: &str = "WITH told AS ( \
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[]) WITH ORDINALITY \
    AS told (kind, client, begins, seconds, taken, number)), \
    kept AS (INSERT INTO rate (kind, client, begins, process, taken, until) \
    SELECT kind, client, begins, $6, taken, clock_timestamp() + seconds * interval '1 second' FROM told, \
    set_config('synchronous_commit', 'off', true) \
    ON CONFLICT (kind, client, begins, process) DO UPDATE SET taken = greatest(rate.taken, excluded.taken)) \
    SELECT coalesce((SELECT sum(r.taken) FROM rate r WHERE r.kind = told.kind AND r.client = told.client \
    AND r.begins = told.begins AND r.process <> $6), 0)::bigint FROM told ORDER BY number";
const OVER: &str = "WITH few AS (SELECT kind, client, begins, process FROM rate WHERE until < clock_timestamp() \
    ORDER BY until LIMIT $1), \
    gone AS (DELETE FROM rate r USING few WHERE r.kind = few.kind AND r.client = few.client \
    AND r.begins = few.begins AND r.process = few.process RETURNING 1) SELECT count(*) FROM gone";

/// Deletes windows that are over.
pub async fn sweep(pools: &Pools) -> Result<(), StoreError> {
    for _ in 0..SWEEPS_MAX {
        let gone = pools.run(OVER, &[&SWEPT_AT_ONCE]).await?;
        if gone.first().map_or(0, |row| row.get::<_, i64>(0)) < SWEPT_AT_ONCE {
            break;
        }
    }
    Ok(())
}

#[async_trait]
impl Rates for PostgresStore {
    fn ahead(&self) -> SignedDuration {
        SignedDuration::from_micros(self.skew().0)
    }

    async fn exchange(&self, taken: &[Taken]) -> Result<Vec<u64>, StoreError> {
        let kinds: Vec<&str> = taken.iter().map(|one| one.kind).collect();
        let clients: Vec<&[u8]> = taken.iter().map(|one| one.client.0.as_slice()).collect();
        let begins: Vec<i64> = taken.iter().map(|one| one.begins).collect();
        let seconds: Vec<i64> = taken.iter().map(|one| one.seconds).collect();
        let counts: Vec<i64> = taken.iter().map(|one| int(one.count)).collect();
        let process = self.pools.token();
        let rows =
            self.pools.run(EXCHANGE, &[&kinds, &clients, &begins, &seconds, &counts, &process]).await?;
        let read = || rows.iter().map(|row| column::<i64>(row, 0).map(uint)).collect::<Result<Vec<_>, _>>();
        read().map_err(Fault::into_store_error)
    }
}
