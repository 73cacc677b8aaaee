//! What the relay needs from above to push: one destination's way of handing a message over.
//!
//! The doors' rooms implement it (OSCI storeDelivery at a foreign intermediary, spool directory) and the
//! composition root plugs it in. Retry, order, circuit breaker and dead letters are the relay's; an outlet tries once.

use async_trait::async_trait;

use crate::store::{Entry, PayloadReader};

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushVerdict {
    /// The recipient confirmed durably: the message is received.
    Received,
    /// Another post office confirmed durably and hands it on; with what it said, for the card.
    Taken { remark: String },
    /// It did not work out and may work out later (no connection, time-out, busy).
    TryLater { reason: String },
    /// It will never work out (the recipient refused it for good): dead letter.
    Refused { reason: String },
}

#[async_trait]
pub trait Outlet: Send + Sync + 'static {
    /// One attempt. The relay cuts it off after its time is over, so dropping the future must leave nothing broken.
    /// A message may come again although it was taken, when our side crashed in between: recipients tell by its id.
    async fn push(&self, entry: &Entry, payload: Box<dyn PayloadReader>) -> PushVerdict;

    /// For logs and metrics: a host name or a folder, without secrets.
    fn destination(&self) -> &str;
}
