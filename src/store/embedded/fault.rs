//! What goes wrong inside the engine, and what its callers hear of it.

use rusqlite::ErrorCode;
use thiserror::Error;

use super::StoreError;

/// Why a command or a question came to nothing.
#[derive(Debug, Error)]
pub enum Fault {
    #[error(transparent)]
    Refusal(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Fault {
    pub fn corrupt(what: String) -> Self {
        Self::Refusal(StoreError::Corrupt(what))
    }

    /// The database's own code, where it is to blame.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refusal(_) => None,
            Self::Sqlite(error) => Some(error.sqlite_error_code().unwrap_or(ErrorCode::Unknown)),
        }
    }

    pub fn into_store_error(self) -> StoreError {
        match self {
            Self::Refusal(error) => error,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Corrupt(error.to_string())
                }
                _ => StoreError::Unavailable(error.to_string()),
            },
        }
    }
}
