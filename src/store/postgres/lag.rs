//! How far the database's standbys are behind: what the loss of the primary would cost.
//!
//! The primary is asked; it knows what each standby has flushed, and which one is to have all that is acknowledged. A
//! standby that is away is known only where it has a replication slot. Time behind is an upper bound: the delay that the
//! primary measured at the standby's last answer, and the age of that answer; a standby that has everything is behind by
//! none, however long ago it said so. One that has not answered yet is behind by nobody knows how much.

use serde::Serialize;
use tokio_postgres::Client;

use super::Fault;
use super::read::column;
use crate::store::row::uint;

/// One standby as the primary sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Follower {
    /// Its `application_name`, or its slot's name while it is away.
    pub name: String,
    pub connected: bool,
    /// Whether "accepted" waits for it.
    pub synchronous: bool,
    /// In PostgreSQL's words: `streaming`, `catchup`, …; `absent` while it is away.
    pub state: String,
    /// Bytes of the primary's log that it has not flushed. `None`: the primary does not tell.
    pub bytes_behind: Option<u64>,
    /// At most so many seconds of work. `None`: not known.
    pub seconds_behind: Option<f64>,
}

/// What the primary knows of its standbys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replication {
    pub standbys: Vec<Follower>,
    /// `synchronous_standby_names`; empty: nobody is waited for.
    pub synchronous_standby_names: String,
    /// The user may not see the standbys' state.
    pub hidden: bool,
}

/// What would be lost with the primary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// A synchronous standby has all that was acknowledged.
    Nothing,
    /// What the connected standby that is least behind lacks.
    UpTo { bytes: u64, seconds: Option<f64> },
    /// No standby is there that would be known to have anything.
    SinceBackup,
}

impl Replication {
    pub fn loss(&self) -> Loss {
        let connected = || self.standbys.iter().filter(|standby| standby.connected);
        if connected().any(|standby| standby.synchronous) {
            return Loss::Nothing;
        }
        let known = connected().filter_map(|standby| Some((standby.bytes_behind?, standby.seconds_behind)));
        match known.min_by_key(|(bytes, _)| *bytes) {
            Some((bytes, seconds)) => Loss::UpTo { bytes, seconds },
            None => Loss::SinceBackup,
        }
    }
}

/// What a standby has flushed may be ahead of what the primary had written when it looked. SQL's `greatest` would take
/// what is not known for 0 as well.
fn not_negative(bytes: i64) -> u64 {
    uint(bytes.max(0))
}

/// Asks the primary.
pub async fn replication(client: &Client) -> Result<Replication, Fault> {
    let followers = client
        .query(
            "SELECT application_name, state, sync_state IN ('sync', 'quorum'), \
             pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)::bigint, \
             extract(epoch FROM coalesce(flush_lag, '0'))::float8, \
             extract(epoch FROM clock_timestamp() - reply_time)::float8 \
             FROM pg_stat_replication WHERE application_name <> 'pg_basebackup' \
             ORDER BY sync_priority = 0, sync_priority, application_name",
            &[],
        )
        .await?;
    let mut standbys = Vec::with_capacity(followers.len());
    let mut hidden = false;
    for row in &followers {
        let bytes_behind = column::<Option<i64>>(row, 3)?.map(not_negative);
        let state: Option<String> = column(row, 1)?;
        hidden |= state.is_none();
        let (delay, age): (Option<f64>, Option<f64>) = (column(row, 4)?, column(row, 5)?);
        let seconds = delay.zip(age).map(|(delay, age)| delay + age.max(0.0));
        standbys.push(Follower {
            name: column(row, 0)?,
            connected: true,
            synchronous: column::<Option<bool>>(row, 2)?.unwrap_or_default(),
            state: state.unwrap_or_else(|| "not told".to_owned()),
            bytes_behind,
            seconds_behind: if bytes_behind == Some(0) { Some(0.0) } else { seconds },
        });
    }
    let absent = client
        .query(
            "SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint \
             FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active ORDER BY slot_name",
            &[],
        )
        .await?;
    for row in &absent {
        standbys.push(Follower {
            name: column(row, 0)?,
            connected: false,
            synchronous: false,
            state: "absent".to_owned(),
            bytes_behind: column::<Option<i64>>(row, 1)?.map(not_negative),
            seconds_behind: None,
        });
    }
    let names = client.query_one("SELECT current_setting('synchronous_standby_names')", &[]).await?;
    Ok(Replication { standbys, synchronous_standby_names: column(&names, 0)?, hidden })
}

/// Tells the metrics what the loss of the primary would cost.
pub async fn gauge(client: &Client) -> Result<(), Fault> {
    let (bytes, seconds) = match replication(client).await?.loss() {
        Loss::Nothing => (0.0, 0.0),
        Loss::UpTo { bytes, seconds } => (bytes as f64, seconds.unwrap_or(f64::INFINITY)),
        Loss::SinceBackup => (f64::INFINITY, f64::INFINITY),
    };
    metrics::gauge!("amtsbote_store_lag_bytes").set(bytes);
    metrics::gauge!("amtsbote_store_lag_seconds").set(seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(connected: bool, synchronous: bool, bytes: Option<u64>) -> Follower {
        Follower {
            name: "second".to_owned(),
            connected,
            synchronous,
            state: "streaming".to_owned(),
            bytes_behind: bytes,
            seconds_behind: bytes.map(|bytes| bytes as f64 / 1000.0),
        }
    }

    #[test]
    fn the_best_standby_that_is_there_tells_the_loss() {
        let table: [(&[Follower], Loss); 6] = [
            (&[], Loss::SinceBackup),
            (&[standby(false, false, Some(7))], Loss::SinceBackup),
            (&[standby(true, false, None)], Loss::SinceBackup),
            (&[standby(true, true, Some(7)), standby(true, false, Some(0))], Loss::Nothing),
            (&[standby(false, true, Some(0)), standby(true, false, Some(3000))], {
                Loss::UpTo { bytes: 3000, seconds: Some(3.0) }
            }),
            (&[standby(true, false, Some(9000)), standby(true, false, Some(1000))], {
                Loss::UpTo { bytes: 1000, seconds: Some(1.0) }
            }),
        ];
        for (standbys, loss) in table {
            let replication = Replication {
                standbys: standbys.to_vec(),
                synchronous_standby_names: String::new(),
                hidden: false,
            };
            assert_eq!(replication.loss(), loss, "{standbys:?}");
        }
    }
}
