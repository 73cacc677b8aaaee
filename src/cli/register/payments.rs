//! `amtsbote register payments`: bills of what was asked at a page, those first that need a person.

use crate::cli::Reading;
use crate::cli::exit::{Exit, Stop};
use crate::cli::screen::{self, Align, Table};
use crate::clock::{Clock, SystemClock};
use crate::register::copies::{Copies, Which};
use crate::register::payment::{Event, State};

/// Payments of one list.
const PAYMENTS_MAX: u32 = 1000;
const REASON_CHARS_MAX: usize = 500;

pub fn list(copies: &Copies, all: bool, reading: Reading) -> Result<Exit, Stop> {
    let which = if all { Which::All } else { Which::Unsettled };
    let payments = copies.payments(which, PAYMENTS_MAX).map_err(super::stop)?;
    let needs_a_person = payments.iter().any(|one| one.state.needs_a_person());
    if reading.json {
        screen::json(&payments)?;
    } else {
        let now = SystemClock.now();
        let mut table = Table::new(&[
            ("CASE", Align::Left),
            ("STATE", Align::Left),
            ("AGE", Align::Right),
            ("EURO", Align::Right),
            ("REQUEST", Align::Left),
            ("TRANSACTION", Align::Left),
            ("REFERENCE", Align::Left),
            ("REASON", Align::Left),
        ]);
        for one in &payments {
            table.row([
                one.case.clone(),
                one.state.as_str().to_owned(),
                screen::age(one.created_at, now),
                format!("{}.{:02}", one.cents / 100, one.cents % 100),
                one.request_id(),
                one.transaction.clone().unwrap_or_default(),
                one.reference.clone().unwrap_or_default(),
                screen::plain(&one.reason),
            ]);
        }
        screen::data(&table.render())?;
        if needs_a_person {
            screen::sentence(
                "Late is what was paid when its time was over: give it back. Disputed: ask the payment service. \
                 Then --settled CASE --reason TEXT.",
            );
        }
    }
    Ok(if needs_a_person { Exit::Problems } else { Exit::Done })
}

pub fn settle(copies: &Copies, case: &str, reason: &str) -> Result<Exit, Stop> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(Stop::usage(format!("a reason has 1 to {REASON_CHARS_MAX} characters")));
    }
    let Some(before) = copies.payment(case).map_err(super::stop)? else {
        return Err(Stop::new(Exit::Unknown, format!("no payment has the case {case}")));
    };
    if !before.state.needs_a_person() {
        let state = before.state.as_str();
        return Err(Stop::failed(format!("{case} is {state}; late and disputed payments are settled")));
    }
    let reason = format!("{}; {}", before.reason, reason.trim());
    let after = copies.on_payment(case, &Event::Settled(reason), SystemClock.now()).map_err(super::stop)?;
    copies.after_work().map_err(super::stop)?;
    match after {
        Some(one) if one.state == State::Settled => Ok(Exit::Done),
        _ => Err(Stop::failed(format!("{case} changed meanwhile; look again"))),
    }
}
