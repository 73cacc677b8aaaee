//! How much anybody may have written in another's name without a proof (section 3.1 of our notes).
//!
//! A cipher certificate is public, and so anybody can encrypt a getMessageId or an initDialog in its owner's name. He
//! cannot read the answer, but what it answers for is in the store: an id for 30 days, a dialog until it falls silent.
//! What is written so is counted per account and bounded; requests that are signed, or stand in a dialog whose challenge
//! left encrypted, are neither counted nor refused, so that nobody can be locked out by others. The nodes of a store count
//! together.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::account::AccountName;
use crate::relay::Relay;
use crate::relay::rate::Rate;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Id,
    Dialog,
}

/// Bounds per account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ids within a day; who needs more can sign, or begin a dialog.
    pub ids_per_day: u32,
    /// Dialogs that begin unsigned, within the time after which a silent one is over.
    pub dialogs_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ids_per_day: 20_000, dialogs_max: 2_000 }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub struct Unproven {
    limits: Limits,
    dialog_idle: Duration,
    ids: Arc<Rate>,
    dialogs: Arc<Rate>,
}

impl Unproven {
    /// `dialog_idle`: after so long a silent dialog is over.
    pub fn new(relay: &Relay, limits: Limits, dialog_idle: Duration) -> Self {
        let ids = relay.rate("osci unproven id", DAY);
        let dialogs = relay.rate("osci unproven dialog", dialog_idle);
        Self { limits, dialog_idle, ids, dialogs }
    }

    /// Counts one more, unless there are so many already: how many, and within what time.
    pub fn admit(&self, account: &AccountName, what: Written, relay: &Relay) -> Result<(), (u32, Duration)> {
        let (rate, max, window) = match what {
            Written::Id => (&self.ids, self.limits.ids_per_day, DAY),
            Written::Dialog => (&self.dialogs, self.limits.dialogs_max, self.dialog_idle),
        };
        rate.take(account.as_str(), max.into(), relay.now()).map_err(|_| (max, window))
    }
}
