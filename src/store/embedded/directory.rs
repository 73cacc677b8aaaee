//! Who takes part, and what administrators did to it.

use rusqlite::params;

use super::message::Writing;
use super::{Fault, StoreError};
use crate::domain::account::{Account, Directory};
use crate::domain::profile::ServiceProfile;
use crate::store::AdminAct;
use crate::store::row::{int, uint};

/// The next directory, and the columns that hold it.
pub struct Next {
    directory: Directory,
    accounts: Vec<u8>,
    profiles: Vec<u8>,
}

impl Next {
    pub fn new(
        based_on: u64,
        accounts: Vec<Account>,
        profiles: Vec<ServiceProfile>,
    ) -> Result<Self, StoreError> {
        let refuse =
            |error: String| StoreError::Unavailable(format!("the directory was not stored: {error}"));
        let json = |value: serde_json::Result<Vec<u8>>| value.map_err(|error| refuse(error.to_string()));
        Ok(Self {
            accounts: json(serde_json::to_vec(&accounts))?,
            profiles: json(serde_json::to_vec(&profiles))?,
            directory: Directory::new(based_on + 1, accounts, profiles)
                .map_err(|error| refuse(error.to_string()))?,
        })
    }
}

/// Puts `next` in the place of the directory that it is based on, and the act beside it.
pub fn replace(work: &mut Writing<'_>, next: Next, act: &AdminAct) -> Result<Directory, Fault> {
    let found: i64 = work.connection.query_row("SELECT revision FROM directory", [], |row| row.get(0))?;
    if uint(found) + 1 != next.directory.revision() {
        return Err(StoreError::Outdated { found: uint(found) }.into());
    }
    work.connection
        .prepare_cached("UPDATE directory SET revision = ?1, accounts = ?2, profiles = ?3")?
        .execute(params![int(next.directory.revision()), next.accounts, next.profiles])?;
    record_act(work, act)?;
    Ok(next.directory)
}

pub fn record_act(work: &mut Writing<'_>, act: &AdminAct) -> Result<(), Fault> {
    let content = serde_json::to_vec(act).map_err(|error| {
        Fault::Refusal(StoreError::Unavailable(format!("the act was not stored: {error}")))
    })?;
    work.connection.prepare_cached("INSERT INTO act (content) VALUES (?1)")?.execute(params![content])?;
    Ok(())
}
