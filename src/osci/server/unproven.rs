//! How much anybody may have written in another's name without a proof (section 3.1 of our notes).
//!
//! A cipher certificate is public, and so anybody can encrypt a getMessageId or an initDialog in its owner's name. He
//! cannot read the answer, but what it answers for is in the store: an id for 30 days, a dialog until it falls silent.
//! What is written so is counted per account and bounded; requests that are signed, or stand in a dialog whose challenge
//! left encrypted, are neither counted nor refused, so that nobody can be locked out by others. Counted in this process
//! alone: a restart begins anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::account::AccountName;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// When the count began, and how far it is.
type Count = (Timestamp, u32);

#[derive(Debug, Default)]
pub struct Unproven(Mutex<HashMap<(AccountName, Written), Count>>);

impl Unproven {
    /// Counts one more, unless there are `max` within `window` already.
    pub fn admit(
        &self,
        account: &AccountName,
        what: Written,
        max: u32,
        window: Duration,
        now: Timestamp,
    ) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counts.entry((account.clone(), what)).or_insert((now, 0));
        if since.checked_add(window).is_ok_and(|end| end <= now) {
            (*since, *count) = (now, 0);
        }
        if *count >= max {
            return false;
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_per_account_and_begin_anew() {
        let unproven = Unproven::default();
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("an instant");
        let minute = Duration::from_secs(60);
        let admit = |name: &str, what, after: u64| {
            let account = AccountName::parse(name).expect("a name");
            let at = now.checked_add(Duration::from_secs(after)).expect("later");
            unproven.admit(&account, what, 2, minute, at)
        };
        for (name, what, after, expected) in [
            ("one", Written::Id, 0, true),
            ("one", Written::Id, 30, true),
            ("one", Written::Id, 59, false),
            ("one", Written::Dialog, 59, true),
            ("two", Written::Id, 59, true),
            ("one", Written::Id, 60, true),
        ] {
            assert_eq!(admit(name, what, after), expected, "{name} {what:?} {after}");
        }
    }
}
