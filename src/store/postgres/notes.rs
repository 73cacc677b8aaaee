//! What the servers of a store tell each other as words of places, read without opening it.

use super::pools::Pools;
use super::{OpenError, Settings, schema};

/// Tables have places since.
const VERSION_MIN: u32 = 5;
const NOTES: &str = "SELECT name, note FROM amtsbote.staged \
    WHERE kind = $1 AND owner = $2 AND open AND ends_at > clock_timestamp() ORDER BY name";

/// Names and words of the places of one kind and owner; nothing of a store that has none yet.
pub async fn notes(settings: Settings, kind: &str, owner: &str) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
    let pools = Pools::new(settings)?;
    let session = pools.session().await?;
    let version = schema::identity(&session.client).await?.map(|(_, version)| version);
    if version.is_none_or(|version| version < VERSION_MIN) {
        return Ok(Vec::new());
    }
    let rows = session.client.query(NOTES, &[&kind, &owner]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
