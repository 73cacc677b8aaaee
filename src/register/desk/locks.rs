//! Locks of what is refused ([`crate::register::message::refused_locks`]): effective all the same where it is certain who
//! sends them and whom they hide, and called out where it is not.

use super::{Case, Desk, DeskError};
use crate::register::message::Number;
use crate::register::message::head::{Head, Sender};
use crate::register::message::refused_locks::{self, RefusedLock};
use crate::register::person::Ags;

/// What became of the locks of a message, or of some of its cases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Locks {
    pub kept: usize,
    pub unread: usize,
}

impl Desk {
    /// Of a message that is refused as a whole. Whoever is no municipality sets no lock, and a test hides nobody.
    pub(super) fn locks_of_refused(&self, case: &Case<'_>, head: Option<&Head>) -> Result<Locks, DeskError> {
        let delivery = case.delivery;
        let ags = delivery.from.strip_prefix("ags:").and_then(|key| Ags::parse(key).ok());
        let may_hold = head.is_none_or(|head| head.number == Number::Changes);
        let is_test = delivery.test || head.is_some_and(|head| head.test);
        let Some(ags) = ags.filter(|_| may_hold && !is_test) else { return Ok(Locks::default()) };
        let is_vouched = *delivery.sender == Sender::Vouched(delivery.from.to_owned());
        let signed = is_vouched && self.signers().check(delivery.from, case.content, case.at).is_ok();
        let found = match signed {
            true => refused_locks::of_message((case.content)()?, ags).ok(),
            false => None,
        };
        let found = found.unwrap_or_else(|| vec![RefusedLock::unreadable()]);
        self.hide(ags, &found, case)
    }

    /// Durable when it returns.
    pub(super) fn hide(&self, ags: Ags, found: &[RefusedLock], case: &Case<'_>) -> Result<Locks, DeskError> {
        let kept = if found.is_empty() { 0 } else { self.copies.hide(ags, found, case.at)? };
        Ok(Locks { kept, unread: found.iter().filter(|one| one.unread).count() })
    }
}
