//! What clients took of something bounded, as the nodes of a store tell each other. Nothing is lost with it.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::StoreError;
use crate::domain::content::Digest;

/// What one client took at one node in one window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Of what.
    pub kind: &'static str,
    /// SHA-256 of the client's name or address, which need not be known elsewhere.
    pub client: Digest,
    /// When the window began, in seconds since 1970 on the store's clock.
    pub begins: i64,
    /// How long it lasts.
    pub seconds: i64,
    /// Since it began.
    pub count: u64,
}

#[async_trait]
pub trait Rates: Send + Sync {
    /// By how much the store's clock, which all nodes share, is ahead of this node's.
    fn ahead(&self) -> SignedDuration;

    /// Replaces what this process has told of the same clients and windows; returns what all others took of it, one number for
    /// each. Each client stands once for each kind and window. The same again changes nothing.
    async fn exchange(&self, taken: &[Taken]) -> Result<Vec<u64>, StoreError>;
}
