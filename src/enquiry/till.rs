//! What the page needs of a cashier: orders, their payments, and the answers to what was paid. The register's process
//! plugs one in.

use async_trait::async_trait;
use thiserror::Error;

use crate::register::copies::{CopyError, Held, Order};
use crate::register::payment::Payment;

#[derive(Debug, Error)]
pub enum TillError {
    #[error("{0}")]
    Copies(#[from] CopyError),
    #[error("{0}")]
    Other(String),
}

#[async_trait]
pub trait Till: Send + Sync {
    /// Writes an order down and asks for its payment; the same order again is the same payment.
    async fn order(&self, order: Order) -> Result<Payment, TillError>;

    async fn payment(&self, case: &str) -> Result<Option<Payment>, TillError>;

    /// The browser is back, which proves nothing: whoever is paid is asked.
    async fn returned(&self, case: &str) -> Result<Option<Payment>, TillError>;

    /// The answer to one question of an order, for the account that it belongs to.
    async fn answer(&self, account: &str, case: &str, number: u32) -> Result<Held, TillError>;
}
