//! Payment of enquiries before they are put: a case from the order to the answer, on the interface XBezahldienste 1.0.
//! Pure but for [`client`].
//!
//! ```text
//! created -> open (INITIAL) -> paid (PAYED) -> executed -> delivered
//!    |         |-> failed (FAILED), cancelled (CANCELED)
//!    |         '-> expired -> late (PAYED after all) -> settled by the operator
//!    '-> refused: the service does not take the request
//! disputed: what the service says does not fit, or a paid question could not be put; the operator settles it
//! ```
//!
//! That the asker's browser comes back proves nothing: it is a reason to ask the service ([`Event::Returned`]), and the
//! service's own answer to our question alone makes a payment paid (XBezahldienste, description of `redirectUrl`). One
//! payment has one `requestId`, so that a repeated request is none; where the answer to the first was lost, the service
//! is asked for what it has under it. Time limits are ours: the service knows none (XBezahldienste, Statusmodell), so an
//! expired payment is watched on, and money that comes late is the operator's to give back, never lost from sight.

pub mod client;
pub mod wire;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::person::Ags;
use wire::{Decline, Status, Transaction};

/// Most that one request may come to, in cents (XBezahldienste: grosAmount up to 999999).
pub const CENTS_MAX: u32 = 99_999_900;
/// Questions of one payment: lines of a mass query.
pub const QUESTIONS_MAX: usize = 10_000;
/// Positions of one request (XBezahldienste: items, 1 to 99).
pub const ITEMS_MAX: usize = 99;
pub const URL_BYTES_MAX: usize = 2082;
/// Requests of one payment, where the service has one that nobody can pay.
const ATTEMPTS_MAX: u32 = 9;
/// Shortest and longest time between two questions about an open payment.
const ASK_SECONDS_MIN: i64 = 3;
const ASK_SECONDS_MAX: i64 = 60;
/// The same about an expired one.
const WATCH_SECONDS: i64 = 3600;
/// How long the service may be silent beyond the time to pay before the payment is given up unasked.
const SILENCE_SECONDS: i64 = 3600;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum State {
            $($(#[$doc])* $variant,)*
        }

        impl State {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

states! {
    /// Written down; the service has not said yes to it.
    Created = "created",
    /// The service has a request of ours whose answer was lost.
    Unclear = "unclear",
    /// The asker can pay.
    Open = "open",
    Paid = "paid",
    /// The questions were put.
    Executed = "executed",
    /// The asker has had the answers.
    Delivered = "delivered",
    Failed = "failed",
    Cancelled = "cancelled",
    /// Nobody paid in time. The service is still asked now and then.
    Expired = "expired",
    /// The service does not take the request: a matter of its configuration or ours.
    Refused = "refused",
    /// Paid when it was too late: to be given back.
    Late = "late",
    /// What the service says does not fit, or what was paid for cannot be done.
    Disputed = "disputed",
    /// Late or disputed, and the operator has seen to it.
    Settled = "settled",
}

impl State {
    /// The operator has something to do.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::Late | Self::Disputed)
    }

    /// The questions will not be put any more.
    pub fn is_without_answer(self) -> bool {
        matches!(
            self,
            Self::Failed
                | Self::Cancelled
                | Self::Expired
                | Self::Refused
                | Self::Late
                | Self::Disputed
                | Self::Settled
        )
    }

    fn can_be_paid(self) -> bool {
        matches!(self, Self::Created | Self::Unclear | Self::Open | Self::Expired)
    }
}

/// Enquiries about one municipality at one price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub ags: Ags,
    pub quantity: u32,
    pub cents_each: u32,
}

/// One bill, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// A UUID; the asker comes back with it.
    pub case: String,
    /// Whose it is: account at the portal.
    pub account: String,
    pub items: Vec<Item>,
    pub cents: u32,
    /// Where the service sends the asker's browser afterwards.
    pub return_url: String,
    pub state: State,
    /// Number of the request, and of those before it that nobody could pay.
    pub attempt: u32,
    /// The service's id of the transaction.
    pub transaction: Option<String>,
    /// Where the asker pays, as long as that is possible.
    pub page_url: Option<String>,
    /// The service's mark for the books (Kassenzeichen).
    pub reference: Option<String>,
    /// Why it is where it is, for the operator.
    pub reason: String,
    pub created_at: Timestamp,
    pub pay_until: Timestamp,
    pub watched_until: Timestamp,
    /// When the service first said that it is paid.
    pub paid_at: Option<Timestamp>,
    pub asked_at: Option<Timestamp>,
    /// When its [`Errand`] is due. None: nothing is to be done.
    pub next_at: Option<Timestamp>,
    /// Times in a row that the service gave no answer.
    pub silent: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Time from the order to the payment.
    pub pay_within: Duration,
    /// How long an expired payment is watched.
    pub watch: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { pay_within: Duration::from_secs(30 * 60), watch: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// What happens to a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The service's answer, to a request or to a question.
    Answered(Transaction),
    Declined(Decline),
    /// No answer, or none that can be read.
    Silent(String),
    /// The asker's browser is back.
    Returned,
    /// All questions were put.
    Executed,
    /// A question that was paid for could not be put this time.
    Failed,
    /// A question that was paid for was refused.
    QuestionRefused(String),
    Delivered,
    /// The operator has seen to it.
    Settled(String),
}

/// What is to be done about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    Request,
    LookUp { transaction: String },
    Execute,
}

impl Payment {
    pub fn new(
        case: &str,
        account: &str,
        items: Vec<Item>,
        return_url: &str,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let sum: u64 = items.iter().map(|item| u64::from(item.quantity) * u64::from(item.cents_each)).sum();
        let cents = u32::try_from(sum).ok().filter(|cents| *cents <= CENTS_MAX);
        let cents = cents.ok_or("the questions cost more than one payment may come to")?;
        if items.is_empty() || items.len() > ITEMS_MAX {
            return Err("a payment has 1 to 99 items");
        }
        if uuid::Uuid::try_parse(case).is_err() {
            return Err("a case is a UUID");
        }
        if !wire::is_url(return_url) {
            return Err("the asker cannot be sent back to that URL");
        }
        let later = |after: Duration, from: Timestamp| from.checked_add(after).unwrap_or(Timestamp::MAX);
        let pay_until = later(rules.pay_within, now);
        Ok(Self {
            case: case.to_owned(),
            account: account.to_owned(),
            items,
            cents,
            return_url: return_url.to_owned(),
            // What costs nothing is paid.
            state: if cents == 0 { State::Paid } else { State::Created },
            attempt: 1,
            transaction: None,
            page_url: None,
            reference: None,
            reason: String::new(),
            created_at: now,
            pay_until,
            watched_until: later(rules.watch, pay_until),
            paid_at: None,
            asked_at: None,
            next_at: Some(now),
            silent: 0,
        })
    }

    /// Ours, for the service: 34 characters of the 36 that it takes.
    pub fn request_id(&self) -> String {
        let case = uuid::Uuid::try_parse(&self.case).unwrap_or_default();
        format!("{}-{}", case.simple(), self.attempt)
    }

    pub fn errand(&self) -> Option<Errand> {
        self.next_at?;
        match (self.state, &self.transaction) {
            (State::Created, _) => Some(Errand::Request),
            // A service without ids of its own uses ours.
            (State::Unclear, _) => Some(Errand::LookUp { transaction: self.request_id() }),
            (State::Open | State::Expired, Some(id)) => Some(Errand::LookUp { transaction: id.clone() }),
            (State::Paid, _) => Some(Errand::Execute),
            _ => None,
        }
    }

    /// What becomes of it. An event that does not belong to its state changes nothing.
    #[must_use]
    pub fn after(mut self, event: &Event, now: Timestamp) -> Self {
        match event {
            Event::Answered(transaction) if self.state.can_be_paid() => {
                self.asked_at = Some(now);
                self.silent = 0;
                self.answered(transaction, now)
            }
            Event::Declined(decline) if self.state.can_be_paid() => {
                self.asked_at = Some(now);
                self.declined(decline, now)
            }
            Event::Silent(why) if self.state.can_be_paid() => {
                self.asked_at = Some(now);
                self.silence(why, now)
            }
            // An expired payment that the service never had has nothing to be asked about.
            Event::Returned
                if self.state.can_be_paid()
                    && (self.state != State::Expired || self.transaction.is_some()) =>
            {
                // Whoever reloads the page all the time does not make us ask all the time.
                let soonest = self.asked_at.map_or(now, |asked| after(asked, ASK_SECONDS_MIN).max(now));
                self.next_at = self.next_at.map(|at| at.min(soonest)).or(Some(soonest));
                self
            }
            Event::Executed if self.state == State::Paid => self.rests_in(State::Executed, ""),
            Event::Failed if self.state == State::Paid => {
                self.silence("a question could not be put; see register-payment in the log", now)
            }
            Event::QuestionRefused(why) if self.state == State::Paid => self.rests_in(State::Disputed, why),
            Event::Delivered if self.state == State::Executed => self.rests_in(State::Delivered, ""),
            Event::Settled(why) if self.state.needs_a_person() => self.rests_in(State::Settled, why),
            _ => self,
        }
    }

    fn answered(mut self, said: &Transaction, now: Timestamp) -> Self {
        if let Err(why) = self.fits(said) {
            // Nobody is sent to a page that asks for something else.
            return self.rests_in(State::Disputed, why);
        }
        self.transaction = Some(said.id.clone());
        self.reference = said.reference.clone().or(self.reference);
        match said.status {
            Status::Payed => {
                self.paid_at = Some(now);
                self.page_url = None;
                match self.state {
                    State::Expired => self.rests_in(State::Late, "paid after its time was over"),
                    _ => Self { state: State::Paid, reason: String::new(), next_at: Some(now), ..self },
                }
            }
            Status::Failed => self.rests_in(State::Failed, "the payment service ended it"),
            Status::Canceled => self.rests_in(State::Cancelled, "the asker broke it off"),
            Status::Initial if self.state == State::Expired => self.watched(now),
            Status::Initial if now >= self.pay_until => {
                self.state = State::Expired;
                "nobody paid in time".clone_into(&mut self.reason);
                self.page_url = None;
                self.watched(now)
            }
            Status::Initial => {
                if said.page_url.is_some() {
                    self.page_url.clone_from(&said.page_url);
                }
                if self.page_url.is_none() {
                    return self.silence("the payment service named no page to pay on", now);
                }
                self.state = State::Open;
                self.reason.clear();
                let age = now.duration_since(self.created_at).as_secs();
                let wait = (age / 10).clamp(ASK_SECONDS_MIN, ASK_SECONDS_MAX);
                self.next_at = Some(after(now, wait).min(self.pay_until.max(after(now, ASK_SECONDS_MIN))));
                self
            }
        }
    }

    fn fits(&self, said: &Transaction) -> Result<(), &'static str> {
        if self.transaction.as_ref().is_some_and(|own| *own != said.id) {
            return Err("the payment service answered with another transaction");
        }
        if said.request_id.as_ref().is_some_and(|id| *id != self.request_id()) {
            return Err("the payment service answered with another request");
        }
        if said.cents.is_some_and(|cents| cents != self.cents) {
            return Err("the payment service answered with another amount");
        }
        // That something was paid is not yet that all of it was.
        if said.status == Status::Payed && said.cents.is_none() {
            return Err("the payment service says that it is paid, and not how much");
        }
        if said.currency.as_ref().is_some_and(|currency| currency != wire::CURRENCY) {
            return Err("the payment service answered with another currency");
        }
        Ok(())
    }

    fn declined(mut self, decline: &Decline, now: Timestamp) -> Self {
        match (self.state, decline) {
            (State::Created, Decline::Exists) => {
                self.state = State::Unclear;
                "the answer to the request was lost".clone_into(&mut self.reason);
                self.next_at = Some(now);
                self
            }
            // What the service has cannot be had, and its page was shown to nobody.
            (State::Unclear, decline) if !decline.is_forbidden() && self.attempt < ATTEMPTS_MAX => {
                self.state = State::Created;
                self.attempt += 1;
                self.next_at = Some(now);
                self
            }
            (State::Created | State::Unclear, decline) => {
                let why = format!("the payment service refused it: {decline}");
                self.rests_in(State::Refused, &why)
            }
            (_, decline) => self.silence(&format!("the payment service answered {decline}"), now),
        }
    }

    fn silence(mut self, why: &str, now: Timestamp) -> Self {
        self.silent = self.silent.saturating_add(1);
        why.clone_into(&mut self.reason);
        // Without a page nobody can have paid; with one, only the service knows.
        let given_up = match self.state {
            State::Created | State::Unclear => now >= self.pay_until,
            State::Open => now >= after(self.pay_until, SILENCE_SECONDS),
            _ => false,
        };
        if given_up {
            self.state = State::Expired;
            self.page_url = None;
        }
        if self.state == State::Expired {
            return self.watched(now);
        }
        let wait = 1_i64 << self.silent.min(6);
        self.next_at = Some(after(now, wait.min(ASK_SECONDS_MAX)));
        self
    }

    fn watched(mut self, now: Timestamp) -> Self {
        let watched = self.transaction.is_some() && now < self.watched_until;
        self.next_at = watched.then(|| after(now, WATCH_SECONDS).min(self.watched_until));
        self
    }

    fn rests_in(self, state: State, reason: &str) -> Self {
        Self { state, reason: reason.to_owned(), page_url: None, next_at: None, ..self }
    }
}

fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
