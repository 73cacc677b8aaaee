//! Deliveries that wait and cannot be written as a message of OSCI, as far as this process has met them: taken by an older
//! version that knew no better, or damaged. A fetch that names none passes them over, so that one message never blocks a
//! mailbox. Forgotten with the process: the next version may be able to write them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::message_id::MessageId;

/// Ids that are remembered; whoever has more has them met again.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Unwritable(Mutex<BTreeSet<String>>);

impl Unwritable {
    pub fn has(&self, id: &MessageId) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !met.is_empty() && met.contains(id.key().as_str())
    }

    pub fn note(&self, id: &MessageId, why: &dyn Display) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !met.insert(id.key().as_str().to_owned()) {
            return;
        }
        if met.len() > REMEMBERED_MAX {
            met.pop_first();
        }
        tracing::error!(
            message_id = %id,
            %why,
            "a waiting delivery cannot be written as a message of OSCI; fetches pass it over until the next start. Look at \
             it with `amtsbote message show`, have its reader fetch it by XTA, or take it out of the mailbox with \
             `amtsbote message hold`"
        );
    }
}

/// The delivery that an answer carries.
#[derive(Debug, Clone)]
pub struct Carried {
    pub id: MessageId,
    pub unwritable: Arc<Unwritable>,
}
