//! Messages of changes (1101): one alone, or those that wait together, whose changes and receipts become durable in common
//! transactions ([`crate::register::copies`] says how many).

use std::io::BufRead;

use super::locks::Locks;
use super::{Admitted, Case, Content, Delivery, Desk, DeskError, Done, Handled, Stop, handled};
use crate::register::copies::{CopyError, Fed, Feeding, Finished, Taken};
use crate::register::message::feed::{self, Receipt, Stand};
use crate::register::message::head::Head;
use crate::register::message::refused_locks::{self, RefusedLock};
use crate::register::message::rejection::{self, Event};
use crate::register::message::{Code, Fault, Message, Number};
use crate::register::stream::Change;

/// Cases that are kept in memory until they are applied.
const CASES_MAX: usize = 2000;

/// A message of changes, read and not yet applied.
struct Waiting<'a> {
    case: Case<'a>,
    head: Head,
    stand: Stand,
    /// Those that can be read, in their order.
    changes: Vec<Change>,
    cases: Vec<Read>,
    /// Locks of those that cannot.
    refused: Vec<RefusedLock>,
    locks: Locks,
}

/// One case of a message, without its change.
struct Read {
    event: Event,
    /// None: its change is the next one of those that can be read.
    fault: Option<Fault>,
    left_out: Vec<String>,
}

impl Desk {
    /// Handles messages that wait together, in their order: changes in common transactions, whatever else is among them by
    /// itself. None of those that were not tried, because the database was away when their turn came.
    pub fn handle_together(
        &self,
        deliveries: &[(Delivery<'_>, Content<'_>)],
    ) -> Vec<Option<Result<Handled, DeskError>>> {
        let mut done: Vec<Option<Result<Handled, DeskError>>> = deliveries.iter().map(|_| None).collect();
        let (mut waiting, mut places) = (Vec::new(), Vec::new());
        for (place, (delivery, content)) in deliveries.iter().enumerate() {
            let cases: usize = waiting.iter().map(|one: &Waiting<'_>| one.cases.len()).sum();
            let case = self.case(delivery, *content);
            let admitted = case.and_then(|case| Ok((case, self.admit(&case, None)?)));
            let handled = match admitted {
                Err(error) => Err(error),
                Ok((_, Admitted::Done(handled))) => Ok(handled),
                Ok((case, Admitted::Message(head, mut message))) => {
                    let comes_twice = waiting.iter().any(|one: &Waiting<'_>| {
                        one.head.uuid == head.uuid && one.case.delivery.from == delivery.from
                    });
                    if head.number == Number::Changes && !comes_twice && cases < CASES_MAX {
                        match self.read(case, &head, &mut message) {
                            Ok(one) => {
                                waiting.push(one);
                                places.push(place);
                                continue;
                            }
                            Err(stop) => self.or_reject(&case, &head, Err(stop)),
                        }
                    } else {
                        // Its turn comes when theirs is over.
                        if !self.apply(&mut waiting, &mut places, &mut done) {
                            return done;
                        }
                        if comes_twice {
                            self.handle(delivery, *content)
                        } else {
                            self.act_on(&case, &head, message)
                        }
                    }
                }
            };
            let away = handled.as_ref().is_err_and(DeskError::is_everybodys);
            done[place] = Some(handled);
            if away {
                return done;
            }
        }
        self.apply(&mut waiting, &mut places, &mut done);
        done
    }

    /// One message of changes.
    pub(super) fn changes(
        &self,
        case: &Case<'_>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
    ) -> Done {
        let one = self.read(*case, head, message)?;
        let fed = self.feed(std::slice::from_ref(&one)).pop().unwrap_or_else(|| Ok(Vec::new()));
        Ok(one.handled(&fed.map_err(DeskError::from)?))
    }

    /// Locks of cases that are refused are effective when it returns.
    fn read<'c>(
        &self,
        case: Case<'c>,
        head: &Head,
        message: &mut Message<Box<dyn BufRead>>,
    ) -> Result<Waiting<'c>, Stop> {
        let mut one = read(case, head, message)?;
        one.locks = self.hide(one.stand.ags, &one.refused, &case)?;
        Ok(one)
    }

    /// False where the database is away.
    fn apply(
        &self,
        waiting: &mut Vec<Waiting<'_>>,
        places: &mut Vec<usize>,
        done: &mut [Option<Result<Handled, DeskError>>],
    ) -> bool {
        let fed = self.feed(waiting);
        let all = fed.len() == waiting.len();
        let mut here = true;
        for ((one, place), fed) in waiting.drain(..).zip(places.drain(..)).zip(fed) {
            let handled = fed.map(|taken| one.handled(&taken)).map_err(DeskError::from);
            here = !handled.as_ref().is_err_and(DeskError::is_everybodys);
            done[place] = Some(handled);
        }
        all && here
    }

    fn feed(&self, waiting: &[Waiting<'_>]) -> Vec<Fed> {
        let Some(now) = waiting.iter().map(|one| one.case.at).max() else { return Vec::new() };
        let finishes: Vec<_> = waiting
            .iter()
            .map(|one| {
                move |taken: &[Result<Taken, CopyError>], missing: Option<(u64, u64)>| {
                    self.finished(one, taken, missing)
                }
            })
            .collect();
        let messages: Vec<Feeding<'_>> = waiting
            .iter()
            .zip(&finishes)
            .map(|(one, finish)| Feeding {
                ags: one.stand.ags,
                changes: &one.changes,
                // The next lock does not wait for what this one has let go on.
                catches_up: !one.case.urgent,
                finish: Some(finish),
            })
            .collect();
        self.copies.feed(&messages, now)
    }

    /// The message's row and what is answered to it.
    fn finished<'w>(
        &self,
        one: &'w Waiting<'_>,
        taken: &[Result<Taken, CopyError>],
        missing: Option<(u64, u64)>,
    ) -> Result<Finished<'w>, CopyError> {
        let Waiting { case, head, .. } = one;
        let (receipt, rejected) = one.became(taken);
        let mut replies = Vec::new();
        if receipt.applied + receipt.repeated + receipt.held > 0 {
            let receipt = Receipt { missing, ..receipt };
            replies.push(self.reply(head, Number::Receipt, case.at, |out| {
                feed::write_receipt(out, &head.uuid, &receipt);
            }));
        }
        if !rejected.is_empty() {
            let faults = [Fault::new(Code::S020, Code::S020.words())];
            let rejection = self.rejection(case, Some(head), &faults, &rejected);
            replies.push(rejection.map_err(|error| match error {
                DeskError::Copies(error) => error,
                DeskError::Content(error) => CopyError::Folder(error),
                DeskError::NotUrgent => CopyError::Refused("the message has no rejection"),
            })?);
        }
        Ok((case.arrived(&head.uuid, head.number.code()), replies))
    }
}

fn read<'c>(
    case: Case<'c>,
    head: &Head,
    message: &mut Message<Box<dyn BufRead>>,
) -> Result<Waiting<'c>, Stop> {
    let stand = Stand::read(message.next_child()?.as_ref())?;
    stand.belongs_to(head)?;
    // Whole before any of it has an effect.
    let children = message.rest_of_many()?;
    let (mut changes, mut cases, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for child in &children {
        let feed::Case { event, change, left_out } = feed::case(child, &stand)?;
        // Also of a case that has its form, and sets a lock without a record that would say which.
        if change.as_ref().map_or(true, refused_locks::is_uncertain) {
            refused.extend(refused_locks::of_case(child, Some(stand.generation)));
        }
        let fault = change.map(|change| changes.push(change)).err();
        cases.push(Read { event, fault, left_out });
    }
    if cases.is_empty() {
        return Err(Fault::new(Code::X001, "there is no vorgang in the message").into());
    }
    Ok(Waiting { case, head: head.clone(), stand, changes, cases, refused, locks: Locks::default() })
}

impl Waiting<'_> {
    /// What is receipted, and what is rejected.
    fn became(&self, taken: &[Result<Taken, CopyError>]) -> (Receipt, Vec<rejection::Case>) {
        let mut receipt = Receipt::default();
        let mut rejected = Vec::new();
        let mut taken = taken.iter();
        for Read { event, fault, left_out } in &self.cases {
            let became = match fault {
                Some(fault) => Err(fault.clone()),
                None => match taken.next() {
                    Some(Ok(taken)) => Ok(taken),
                    Some(Err(error)) => Err(Fault::new(Code::S999, error.to_string())),
                    None => continue,
                },
            };
            match became {
                Ok(Taken::Applied { after_it }) => receipt.applied += 1 + after_it,
                Ok(Taken::Repeated) => receipt.repeated += 1,
                Ok(Taken::Held { .. }) => receipt.held += 1,
                Err(fault) => rejected.push(rejection::Case { event: event.clone(), fault }),
            }
            left_out.iter().for_each(|name| *receipt.left_out.entry(name.clone()).or_default() += 1);
        }
        receipt.rejected = rejected.len() as u64;
        (receipt, rejected)
    }

    fn handled(&self, taken: &[Result<Taken, CopyError>]) -> Handled {
        let (receipt, rejected) = self.became(taken);
        let Receipt { applied, repeated, held, .. } = receipt;
        let detail =
            format!("{applied} applied, {repeated} known, {held} held, {} rejected", receipt.rejected);
        let codes = rejected.iter().map(|one| one.fault.code.as_str()).collect();
        let (locks_kept, locks_unread) = (self.locks.kept, self.locks.unread);
        Handled { codes, detail, locks_kept, locks_unread, ..handled(&self.head, "changes taken") }
    }
}
