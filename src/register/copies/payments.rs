//! Payments, durable: each step of [`crate::register::payment`] is one transaction, and a question that was paid for is
//! put, charged and answered in the transaction that forgets it.
//!
//! Until then it lies sealed; it is destroyed at once where it will not be put any more. The row of the payment itself
//! has nothing about anybody but the asker's account.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::base::{Work, params};
use super::post::{Arrived, Known, Reply};
use super::search::{FromPage, Taking, admit};
use super::{Asked, Copies, CopyError, copy_of, micros, schema, uint};
use crate::register::answer::{Answer, leaves_at};
use crate::register::fees::Channel;
use crate::register::payment::{Errand, Event, Item, Payment, QUESTIONS_MAX, Rules};
use crate::register::person::Ags;
use crate::register::question::{Area, Reason};
use crate::register::reconcile;

/// Orders of one account that wait for their payment, and orders of one account within 24 hours: each keeps questions
/// on our disk.
pub const ORDERS_OPEN_MAX: u64 = 20;
pub const ORDERS_DAY_MAX: u64 = 500;
/// Payments of one look for what is due.
const DUE_MAX: u32 = 100;

/// What is ordered at a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Order {
    /// A UUID of the page's making; the same again is the same order.
    pub case: String,
    /// Whoever is logged in there; only to them the answers are shown.
    pub account: String,
    pub questions: Vec<Asked>,
    /// An https URL where the payment service sends the asker's browser.
    pub return_url: String,
}

/// One question of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderLine {
    pub number: u32,
    pub ags: Ags,
    pub cents: u32,
    /// It was put; its answer is kept under [`Copies::line_uuid`].
    pub put: bool,
    /// Why it was not put, after all.
    pub refused: Option<String>,
}

impl Copies {
    /// Under which a line's answer is kept for its account ([`Copies::held_answer`]).
    pub fn line_uuid(case: &str, number: u32) -> String {
        // No UUID of a message has a dot.
        format!("{case}.{number}")
    }

    /// Checks every question as far as that says nothing about anybody, prices it and writes the order down. The same
    /// order again changes nothing.
    pub fn order(&self, order: &Order, rules: &Rules, now: Timestamp) -> Result<Payment, CopyError> {
        if order.questions.len() > QUESTIONS_MAX {
            return Err(CopyError::Refused("an order has 10000 questions at most"));
        }
        let priced = self.priced(order, now)?;
        let mut items: BTreeMap<(Ags, u32), u32> = BTreeMap::new();
        for (ags, cents, _) in &priced {
            *items.entry((*ags, *cents)).or_default() += 1;
        }
        let items = items
            .into_iter()
            .map(|((ags, cents_each), quantity)| Item { ags, quantity, cents_each })
            .collect();
        let payment = Payment::new(&order.case, &order.account, items, &order.return_url, rules, now)
            .map_err(CopyError::Refused)?;
        let mut session = self.writer();
        let work = session.begin()?;
        if let Some(known) = payment_of(&work, &order.case)? {
            let digests: Vec<Vec<u8>> = work.all(
                "SELECT digest FROM payment_question WHERE payment = ?1 ORDER BY number",
                params![order.case],
                |row| row.get(0),
            )?;
            let ours = priced.iter().map(|(_, _, bytes)| reconcile::hash(bytes).to_vec());
            if known.account != order.account || !ours.eq(digests) {
                return Err(CopyError::CaseTaken);
            }
            return Ok(known);
        }
        room_for(&work, &order.account, now)?;
        write(&work, &payment)?;
        for (number, (ags, cents, bytes)) in (1_u32..).zip(priced) {
            let digest = reconcile::hash(&bytes);
            let (secret, sealed) = self.sealed(bytes, &order.account)?;
            work.run(
                "INSERT INTO payment_question (payment, number, ags, cents, digest, secret, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![order.case, number, ags.to_string(), cents, digest, secret, sealed],
            )?;
        }
        work.commit()?;
        Ok(payment)
    }

    /// What an order comes to, in cents, without taking it.
    pub fn price_of(&self, order: &Order, now: Timestamp) -> Result<u64, CopyError> {
        Ok(self.priced(order, now)?.iter().map(|(_, cents, _)| u64::from(*cents)).sum())
    }

    /// Municipality, price and bytes of each question.
    fn priced(&self, order: &Order, now: Timestamp) -> Result<Vec<(Ags, u32, Vec<u8>)>, CopyError> {
        self.read(|work| {
            let price = |asked: &Asked| {
                let (question, _) = admit(asked)?;
                let Area::Municipality(ags) = question.area else {
                    return Err(Reason::MunicipalityCount.into());
                };
                if copy_of(work, ags, schema::LIVE)?.is_none() {
                    return Err(Reason::MunicipalityUnknown.into());
                }
                let bytes = serde_json::to_vec(asked);
                let bytes = bytes.map_err(|error| CopyError::Corrupt(error.to_string()))?;
                Ok((ags, self.price(&question, Channel::Page, now), bytes))
            };
            order.questions.iter().map(price).collect()
        })
    }

    pub fn payment(&self, case: &str) -> Result<Option<Payment>, CopyError> {
        self.read(|work| payment_of(work, case))
    }

    /// The questions of a payment, as far as they may be shown to whoever put them.
    pub fn order_lines(&self, case: &str) -> Result<Vec<OrderLine>, CopyError> {
        self.read(|work| {
            work.all(
                "SELECT number, ags, cents, look IS NOT NULL, refused FROM payment_question
                 WHERE payment = ?1 ORDER BY number",
                params![case],
                |row| {
                    let ags: String = row.get(1)?;
                    Ok(OrderLine {
                        number: row.get(0)?,
                        ags: Ags::parse(&ags).map_err(|error| CopyError::Corrupt(error.to_string()))?,
                        cents: row.get(2)?,
                        put: row.get(3)?,
                        refused: row.get(4)?,
                    })
                },
            )
        })
    }

    /// One step, on the payment as it stands at this instant. None where there is no such case.
    pub fn on_payment(
        &self,
        case: &str,
        event: &Event,
        now: Timestamp,
    ) -> Result<Option<Payment>, CopyError> {
        let mut session = self.writer();
        let work = session.begin()?;
        let Some(before) = payment_of(&work, case)? else { return Ok(None) };
        let payment = before.clone().after(event, now);
        if payment == before {
            return Ok(Some(payment));
        }
        write(&work, &payment)?;
        let mut forgotten = 0;
        if payment.state.is_without_answer() {
            forgotten = work.run(
                "UPDATE payment_question SET secret = NULL, sealed = NULL
                     WHERE payment = ?1 AND sealed IS NOT NULL",
                params![case],
            )?;
        }
        work.commit()?;
        if forgotten > 0 {
            self.destroyed();
        }
        Ok(Some(payment))
    }

    /// Cases with something to do, the longest due first.
    pub fn payments_due(&self, now: Timestamp) -> Result<Vec<String>, CopyError> {
        self.read(|work| {
            work.all(
                "SELECT uuid FROM payment WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2",
                params![micros(now), DUE_MAX],
                |row| row.get(0),
            )
        })
    }

    /// Payments for the operator, the newest first: those that need a person, those under way, or all.
    pub fn payments(&self, only: Which, limit: u32) -> Result<Vec<Payment>, CopyError> {
        let condition = match only {
            Which::All => "1 = 1",
            Which::Unsettled => "attention = 1 OR next_at IS NOT NULL",
            Which::NeedingAPerson => "attention = 1",
        };
        self.read(|work| {
            let sql = format!(
                "SELECT content FROM payment WHERE {condition} ORDER BY attention DESC, created_at DESC LIMIT ?1"
            );
            work.all(&sql, params![limit], |row| read(row.get(0)?))
        })
    }

    /// Puts the questions of a paid payment that were not put yet, each in a transaction of its own, and says that all
    /// were put, or that one could not be. Answers are kept up to `expires_at`, in the bytes that `write` makes of them,
    /// and shown from the end of their bucket on.
    pub fn execute_payment(
        &self,
        case: &str,
        expires_at: Timestamp,
        bucket: Duration,
        clock: &dyn Fn() -> Timestamp,
        write: &dyn Fn(&Answer) -> Vec<u8>,
    ) -> Result<Option<Payment>, CopyError> {
        let Some(payment) = self.payment(case)?.filter(|one| one.errand() == Some(Errand::Execute)) else {
            return self.payment(case);
        };
        let mut failed = Ok(());
        for line in self.order_lines(case)?.into_iter().filter(|line| !line.put && line.refused.is_none()) {
            // One that fails keeps no other one from being put.
            failed = failed.and(self.put(&payment, &line, expires_at, bucket, clock, write));
        }
        self.destroyed();
        if failed.is_err() {
            // Not at once again, as where the payment service is silent.
            self.on_payment(case, &Event::Failed, clock())?;
            failed?;
        }
        // What a page keeps of a list is needed for as long as the answers.
        self.write(|work| {
            work.run(
                "UPDATE outgoing SET expires_at = ?3
                 WHERE author = ?1 AND uuid = ?2 AND sealed IS NOT NULL AND expires_at < ?3",
                params![payment.account, case, micros(expires_at)],
            )
        })?;
        let lines = self.order_lines(case)?;
        let event = match lines.into_iter().find_map(|line| line.refused) {
            Some(word) if payment.cents > 0 => {
                Event::QuestionRefused(format!("paid, and the question was refused: {word}"))
            }
            _ => Event::Executed,
        };
        self.on_payment(case, &event, clock())
    }

    fn put(
        &self,
        payment: &Payment,
        line: &OrderLine,
        expires_at: Timestamp,
        bucket: Duration,
        clock: &dyn Fn() -> Timestamp,
        write: &dyn Fn(&Answer) -> Vec<u8>,
    ) -> Result<(), CopyError> {
        let (case, number) = (&payment.case, line.number);
        let Some((secret, sealed)) = self.read(|work| sealed_question(work, case, number))? else {
            return Ok(());
        };
        let bytes = self.unsealed(&secret, &sealed, &payment.account)?;
        let asked: Asked =
            serde_json::from_slice(&bytes).map_err(|error| CopyError::Corrupt(error.to_string()))?;
        let (uuid, at) = (Self::line_uuid(case, number), clock());
        let arrived = Arrived {
            author: &payment.account,
            name: "",
            uuid: &uuid,
            number: "page",
            digest: reconcile::hash(&bytes),
            transport_id: &uuid,
            at,
            expires_at,
            original: None,
            event: None,
        };
        if self.known(&arrived)? != Known::New {
            return Ok(());
        }
        let replies = |answer: &Answer| {
            vec![Reply {
                number: "page",
                reader: payment.account.clone(),
                namespace: String::new(),
                bytes: write(answer),
                leaves_at: leaves_at(at, clock(), bucket),
            }]
        };
        let also = |work: &Work<'_>, look: i64| {
            work.run(
                "UPDATE payment_question SET look = ?3, secret = NULL, sealed = NULL
                 WHERE payment = ?1 AND number = ?2",
                params![case, number, look],
            )?;
            Ok(())
        };
        let page = FromPage { cents: line.cents, also: &also };
        let taking = Taking { arrived: &arrived, write: &replies, page: Some(page) };
        match self.ask_with(&asked, at, Some(taking)) {
            Ok(_) => Ok(()),
            Err(CopyError::Question(reason)) => self.write(|work| {
                work.run(
                    "UPDATE payment_question SET refused = ?3, secret = NULL, sealed = NULL
                         WHERE payment = ?1 AND number = ?2",
                    params![case, number, reason.word()],
                )?;
                Ok(())
            }),
            Err(error) => Err(error),
        }
    }
}

/// Which payments an operator looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    Unsettled,
    NeedingAPerson,
}

type Sealed = (Vec<u8>, Vec<u8>);

fn sealed_question(work: &Work<'_>, case: &str, number: u32) -> Result<Option<Sealed>, CopyError> {
    work.one(
 "SELECT secret, sealed FROM payment_question WHERE payment = ?1 AND number = ?2 AND sealed IS NOT NULL", params![case, number], |row| Ok((row.get(0)?, row.get(1)?)), )
}

/// One more order of this account may be taken.
fn room_for(work: &Work<'_>, account: &str, now: Timestamp) -> Result<(), CopyError> {
    let count = |sql: &str, since: Timestamp| -> Result<u64, CopyError> {
        let count = work.only(sql, params![account, micros(since)], |row| row.get(0))?;
        Ok(uint(count))
    };
    let day = now.checked_sub(24.hours()).unwrap_or(Timestamp::MIN);
    let orders = count("SELECT count(*) FROM payment WHERE account = ?1 AND created_at > ?2", day)?;
    if orders >= ORDERS_DAY_MAX {
        return Err(CopyError::OrdersToday { orders });
    }
    let state = work.json_text("content", "state");
    let waiting = format!(
        "SELECT count(*) FROM payment WHERE account = ?1 AND created_at > ?2 AND next_at IS NOT NULL
           AND {state} IN ('created', 'unclear', 'open', 'paid')"
    );
    let open = count(&waiting, Timestamp::MIN)?;
    if open >= ORDERS_OPEN_MAX { Err(CopyError::OrdersOpen { open }) } else { Ok(()) }
}

fn payment_of(work: &Work<'_>, case: &str) -> Result<Option<Payment>, CopyError> {
    let row: Option<Vec<u8>> =
        work.one("SELECT content FROM payment WHERE uuid = ?1", params![case], |row| row.get(0))?;
    row.map(|bytes| read(&bytes)).transpose()
}

fn read(bytes: &[u8]) -> Result<Payment, CopyError> {
    serde_json::from_slice(bytes).map_err(|error| CopyError::Corrupt(error.to_string()))
}

fn write(work: &Work<'_>, payment: &Payment) -> Result<(), CopyError> {
    let content = serde_json::to_vec(payment).map_err(|error| CopyError::Corrupt(error.to_string()))?;
    work.run(
        "INSERT INTO payment (uuid, content, created_at, next_at, attention, account)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (uuid) DO UPDATE SET content = excluded.content, next_at = excluded.next_at,
           attention = excluded.attention",
        params![
            payment.case,
            content,
            micros(payment.created_at),
            payment.next_at.map(micros),
            payment.state.needs_a_person(),
            payment.account
        ],
    )?;
    Ok(())
}
