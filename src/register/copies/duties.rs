//! What questions made the register owe: hand-overs to municipalities, notices to locked persons and to authorities.
//!
//! Written with the look that caused them; open until somebody says that they are done.

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::{Copies, CopyError, instant, int, micros, uint};
use crate::register::person::Ags;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenDuty {
    pub number: u64,
    pub since: Timestamp,
    /// `by-hand`, `notice-to-person` or `notice-to-authority`.
    pub kind: String,
    pub ags: Ags,
    /// The person's order mark, for that municipality alone.
    pub mark: Option<String>,
    /// The look in the log that it came from.
    pub look: u64,
}

impl Copies {
    /// The oldest first, from `after` on.
    pub fn open_duties(&self, after: u64, limit: u32) -> Result<Vec<OpenDuty>, CopyError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT duty.number, look.at, duty.kind, duty.ags, duty.mark, duty.look
                 FROM duty JOIN look ON look.number = duty.look
                 WHERE done_at IS NULL AND duty.number > ?1 ORDER BY duty.number LIMIT ?2",
            )?;
            let mut rows = select.query(params![int(after), limit])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let ags: String = row.get(3)?;
                out.push(OpenDuty {
                    number: uint(row.get(0)?),
                    since: instant(row.get(1)?),
                    kind: row.get(2)?,
                    ags: Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?,
                    mark: row.get(4)?,
                    look: uint(row.get(5)?),
                });
            }
            Ok(out)
        })
    }

    /// Done, once; whom it was about is forgotten with it. False where there is no such open duty.
    pub fn settle_duty(&self, number: u64, now: Timestamp) -> Result<bool, CopyError> {
        let connection = self.writer();
        let settle = "UPDATE duty SET done_at = ?2, mark = NULL WHERE number = ?1 AND done_at IS NULL";
        Ok(connection.prepare_cached(settle)?.execute(params![int(number), micros(now)])? == 1)
    }
}
