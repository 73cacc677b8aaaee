//! Connections that read, each question in a transaction of its own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::{Fault, StoreError, schema};

/// Connections that are kept open.
const READERS_MAX: usize = 8;

/// Opened as needed.
pub struct Readers {
    folder: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, idle: Mutex::default() }
    }

    pub fn read<T>(&self, question: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.folder)
                .map_err(|error| StoreError::Unavailable(error.to_string()))?,
        };
        let answer = (|| {
            let transaction = connection.unchecked_transaction()?;
            let answer = question(&transaction);
            transaction.finish()?;
            answer
        })();
        // A connection that met an error may be at fault; the next reader opens another.
        if !matches!(answer, Err(Fault::Sqlite(_))) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READERS_MAX {
                idle.push(connection);
            }
        }
        answer.map_err(Fault::into_store_error)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Closes those that nobody reads with.
    pub fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
