//! What other nodes on the same store tell: whoever waits here for what they did looks at once.
//!
//! Only a matter of time. Every wait has its own interval at which it looks, and no notice is believed: it says where to
//! look, and the store says what is so.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::relay::Relay;
use crate::report::{CorrelationId, Failure};
use crate::store::Notice;

use super::stopped;

pub(super) async fn run(relay: Arc<Relay>, mut stop: watch::Receiver<bool>) {
    let Some(mut notices) = relay.store.notices() else { return };
    let mut look = interval(relay.settings.directory_poll_interval);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let notice = tokio::select! {
            () = stopped(&mut stop) => return,
            notice = notices.recv() => notice,
            _ = look.tick() => {
                relay.look_at_directory().await;
                continue;
            }
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

    /// The net under the notices: reads the directory where it is another one than here.
    async fn look_at_directory(&self) {
        match self.store.directory_revision().await {
            Ok(revision) if revision == self.directory().revision() => {}
            Ok(_) => self.read_directory_of_others().await,
            Err(error) => tracing::debug!(%error, "whether participants have changed cannot be looked at"),
        }
    }

    async fn read_directory_of_others(&self) {
        if let Err(refusal) = self.reload_directory().await {
            // The next look reads it again.
            Failure::from(refusal).log(CorrelationId::random());
        }
    }
}
