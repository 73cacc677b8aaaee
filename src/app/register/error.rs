//! Why a register cannot begin, or not go on.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum RegisterError {
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    #[error("{what}: {reason}")]
    Unusable { what: String, reason: String },
    #[error("{0}")]
    Copies(#[from] crate::register::copies::CopyError),
}

pub fn unusable(what: impl Into<String>, reason: impl ToString) -> RegisterError {
    RegisterError::Unusable { what: what.into(), reason: reason.to_string() }
}
