//! What other nodes on the same store tell: whoever waits here for what they did looks at once.
//!
//! Only a matter of time. Every wait has its own interval at which it looks, and no notice is believed: it says where to
//! look, and the store says what is so.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::relay::Relay;
use crate::report::{CorrelationId, Failure};
use crate::store::Notice;

use super::stopped;

pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let Some(mut notices) = relay.store.notices() else { return };
    loop {
        let notice = tokio::select! {
            () = stopped(&mut stop) => return,
            notice = notices.recv() => notice,
        };
        match notice {
            Ok(notice) => relay.heed(notice).await,
            Err(RecvError::Lagged(_)) => relay.heed(Notice::Missed).await,
            Err(RecvError::Closed) => return,
        }
    }
}

impl Relay {
    async fn heed(&self, notice: Notice) {
        match notice {
            Notice::Waiting(mailbox) => self.wake_destination_here(&mailbox),
            Notice::Answered(id) => self.waiting.answered(std::slice::from_ref(&id)),
            Notice::Deadline => self.deadline_added.notify_one(),
            Notice::Directory => self.read_directory_of_others().await,
            Notice::Sign => self.signature_wanted.notify_one(),
            Notice::Missed => {
                self.wake_all_destinations_here();
                self.waiting.all();
                self.deadline_added.notify_one();
                self.read_directory_of_others().await;
            }
        }
    }

    async fn read_directory_of_others(&self) {
        if let Err(refusal) = self.reload_directory().await {
            // Housekeeping reads it again.
            Failure::from(refusal).log(CorrelationId::random());
        }
    }
}
