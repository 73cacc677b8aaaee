//! The register's cashier: carries out what [`crate::register::payment`] decides, between the copies' database and the
//! payment service.
//!
//! A page orders with [`Cashier::order`], sends the asker to `page_url`, says [`Cashier::returned`] when the browser is
//! back, and shows the answers with [`Cashier::answer`] once the payment is executed. What nobody comes back for is
//! found out by [`Cashier::round`] all the same. Every step is durable before the next, so that a crash in between
//! repeats a request under its id, or a question about a transaction, and nothing else.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::error::{RegisterError, unusable};
use super::office::{InForce, server_tls};
use crate::clock::Clock;
use crate::enquiry::{Till, TillError};
use crate::pki::key::Identity;
use crate::register::copies::{Copies, CopyError, Held, Order};
use crate::register::desk::Desk;
use crate::register::payment::client::{Client, Settings};
use crate::register::payment::{Errand, Event, Payment, Rules, State};

/// Steps of one payment in a row: request, question, execution, and one to spare.
const STEPS_MAX: usize = 4;
/// Between two looks for what is due.
const ROUND: Duration = Duration::from_secs(1);
/// Payments that are asked about at the same time.
const AT_ONCE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum CashierError {
    #[error("{0}")]
    Copies(#[from] CopyError),
    #[error("the questions cost money, and no payment service is configured ([payment])")]
    NoService,
    #[error("the work was broken off: {0}")]
    Broken(String),
}

pub struct Cashier {
    desk: Arc<Desk>,
    service: Option<InForce<Client>>,
    rules: Rules,
    clock: Arc<dyn Clock>,
    /// Cases in somebody's hands.
    under_way: Mutex<HashSet<String>>,
    reached: AtomicBool,
}

impl Cashier {
    pub fn new(desk: Arc<Desk>, service: Option<Client>, rules: Rules, clock: Arc<dyn Clock>) -> Self {
        let (service, under_way) = (service.map(InForce::new), Mutex::default());
        Self { desk, service, rules, clock, under_way, reached: AtomicBool::new(true) }
    }

    /// From the next request on.
    pub(super) fn renew_service(&self, next: Client) {
        if let Some(service) = &self.service {
            service.replace(next);
        }
    }

    /// Writes an order down and asks the service for its payment; what costs nothing is put at once. The same order
    /// again is the same payment. Where the service is silent the payment stays `created` and is tried again.
    pub async fn order(&self, order: Order) -> Result<Payment, CashierError> {
        let (case, rules) = (order.case.clone(), self.rules.clone());
        // Nobody is to be told twice, and the bill is known only when it is written: so it is looked at first.
        let has_service = self.service.is_some();
        let payment = self
            .blocking(move |copies, now| {
                if !has_service && copies.price_of(&order, now)? > 0 {
                    return Ok(None);
                }
                copies.order(&order, &rules, now).map(Some)
            })
            .await?
            .ok_or(CashierError::NoService)?;
        Ok(self.advance(&case).await?.unwrap_or(payment))
    }

    pub async fn payment(&self, case: &str) -> Result<Option<Payment>, CashierError> {
        let case = case.to_owned();
        self.blocking(move |copies, _| copies.payment(&case)).await
    }

    /// The asker's browser is back, which proves nothing: the service is asked.
    pub async fn returned(&self, case: &str) -> Result<Option<Payment>, CashierError> {
        self.on(case, Event::Returned).await?;
        self.advance(case).await
    }

    /// The answer to one question of an executed order, for the account that it belongs to; the same bytes each time.
    pub async fn answer(&self, account: &str, case: &str, number: u32) -> Result<Held, CashierError> {
        let (account, uuid) = (account.to_owned(), Copies::line_uuid(case, number));
        let held = self.blocking(move |copies, now| copies.held_answer(&account, &uuid, now)).await?;
        if matches!(held, Held::Ready { .. }) {
            self.on(case, Event::Delivered).await?;
        }
        Ok(held)
    }

    /// Works off what is due, until it is told to stop.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.clone().round().await;
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Everything that is due at this instant, a few at a time.
    pub async fn round(self: Arc<Self>) {
        let due = match self.blocking(Copies::payments_due).await {
            Ok(due) => due,
            Err(error) => return trouble(&error),
        };
        let mut working = tokio::task::JoinSet::new();
        for case in due {
            if working.len() >= AT_ONCE {
                let _ = working.join_next().await;
            }
            let cashier = self.clone();
            working.spawn(async move {
                if let Err(error) = cashier.advance(&case).await {
                    trouble(&error);
                }
            });
        }
        while working.join_next().await.is_some() {}
    }

    /// Does what is due for one payment; how it stands then.
    async fn advance(&self, case: &str) -> Result<Option<Payment>, CashierError> {
        let Some(_mine) = InHand::take(&self.under_way, case) else { return self.payment(case).await };
        for _ in 0..STEPS_MAX {
            let Some(payment) = self.payment(case).await? else { return Ok(None) };
            let due = payment.next_at.is_some_and(|at| at <= self.clock.now());
            let Some(errand) = payment.errand().filter(|_| due) else { return Ok(Some(payment)) };
            match (errand, self.service.as_ref().map(InForce::now)) {
                (Errand::Execute, _) => self.execute(case).await?,
                (Errand::Request, Some(service)) => {
                    let event = service.request(&payment, self.clock.now()).await;
                    self.told(&payment, event).await?;
                }
                (Errand::LookUp { transaction }, Some(service)) => {
                    let event = service.look_up(&transaction).await;
                    self.told(&payment, event).await?;
                }
                (_, None) => {
                    let event = Event::Silent("no payment service is configured".to_owned());
                    self.told(&payment, event).await?;
                }
            }
        }
        self.payment(case).await
    }

    async fn execute(&self, case: &str) -> Result<(), CashierError> {
        let (desk, clock, own_case) = (self.desk.clone(), self.clock.clone(), case.to_owned());
        let done = tokio::task::spawn_blocking(move || {
            let expires_at = desk.answers_expire(clock.now());
            let write =
                |answer: &crate::register::answer::Answer| serde_json::to_vec(answer).unwrap_or_default();
            desk.copies.execute_payment(&own_case, expires_at, desk.bucket(), &|| clock.now(), &write)
        });
        let payment = done.await.map_err(|error| CashierError::Broken(error.to_string()))??;
        if let Some(payment) = payment {
            say(&payment);
        }
        Ok(())
    }

    async fn told(&self, before: &Payment, event: Event) -> Result<(), CashierError> {
        match &event {
            Event::Silent(why) if self.reached.swap(false, Ordering::Relaxed) => tracing::error!(
                code = "register-payment-silent",
                why,
                next_step = "check payment.url, its certificate and token, and whether the service runs; it is tried again",
                "the payment service gives no answer"
            ),
            Event::Silent(_) => {}
            _ if !self.reached.swap(true, Ordering::Relaxed) => {
                tracing::info!("the payment service answers again");
            }
            _ => {}
        }
        if let Some(after) = self.on(&before.case, event).await?
            && after.state != before.state
        {
            say(&after);
        }
        Ok(())
    }

    async fn on(&self, case: &str, event: Event) -> Result<Option<Payment>, CashierError> {
        let case = case.to_owned();
        self.blocking(move |copies, now| copies.on_payment(&case, &event, now)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Copies, jiff::Timestamp) -> Result<T, CopyError> + Send + 'static,
    ) -> Result<T, CashierError> {
        let (desk, now) = (self.desk.clone(), self.clock.now());
        let done = tokio::task::spawn_blocking(move || work(&desk.copies, now));
        Ok(done.await.map_err(|error| CashierError::Broken(error.to_string()))??)
    }
}

impl From<CashierError> for TillError {
    fn from(error: CashierError) -> Self {
        match error {
            CashierError::Copies(error) => Self::Copies(error),
            other => Self::Other(other.to_string()),
        }
    }
}

#[async_trait]
impl Till for Cashier {
    async fn order(&self, order: Order) -> Result<Payment, TillError> {
        Ok(Self::order(self, order).await?)
    }

    async fn payment(&self, case: &str) -> Result<Option<Payment>, TillError> {
        Ok(Self::payment(self, case).await?)
    }

    async fn returned(&self, case: &str) -> Result<Option<Payment>, TillError> {
        Ok(Self::returned(self, case).await?)
    }

    async fn answer(&self, account: &str, case: &str, number: u32) -> Result<Held, TillError> {
        Ok(Self::answer(self, account, case, number).await?)
    }
}

/// A case in hand, and laid down when this is dropped.
struct InHand<'a> {
    cases: &'a Mutex<HashSet<String>>,
    case: String,
}

impl<'a> InHand<'a> {
    fn take(cases: &'a Mutex<HashSet<String>>, case: &str) -> Option<Self> {
        let free = cases.lock().unwrap_or_else(PoisonError::into_inner).insert(case.to_owned());
        free.then(|| Self { cases, case: case.to_owned() })
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.case);
    }
}

/// Ids, states and reasons: nothing about whoever asks.
fn say(payment: &Payment) {
    let (case, state, reason) = (payment.case.as_str(), payment.state.as_str(), payment.reason.as_str());
    match payment.state {
        State::Late => tracing::error!(
            code = "register-payment-late",
            case,
            next_step = "give the money back, then: amtsbote register payments --settled CASE --reason …",
            "a payment came when its time was over"
        ),
        State::Disputed => tracing::error!(
            code = "register-payment-disputed",
            case,
            reason,
            next_step = "clear it up with the payment service, then: amtsbote register payments --settled CASE --reason …",
            "a payment does not fit"
        ),
        State::Refused => tracing::error!(
            code = "register-payment-refused",
            case,
            reason,
            next_step = "check payment.originator, payment.endpoint and what the service knows of them",
            "the payment service takes no request"
        ),
        _ => tracing::info!(case, state, reason, "payment"),
    }
}

fn trouble(error: &CashierError) {
    tracing::error!(
        code = "register-payment",
        %error,
        next_step = "look at disk and database of the register",
        "a payment cannot be worked on"
    );
}

/// As the configuration has it.
pub fn client(
    payment: &crate::config::register::Payment,
    clock: Arc<dyn Clock>,
) -> Result<Client, RegisterError> {
    let identity = match (&payment.certificate, &payment.key) {
        (Some(certificate), Some(key)) => Some(
            Identity::load(certificate, key)
                .map_err(|error| unusable("payment.certificate and payment.key", error))?,
        ),
        _ => None,
    };
    let token = payment.token_file.as_ref().map(std::fs::read_to_string).transpose();
    let token = token.map_err(|error| unusable("payment.token_file", error))?;
    let tls = server_tls(&payment.anchors, &payment.crls, identity.as_ref(), clock)
        .map_err(|error| unusable("payment.anchors", error))?;
    Client::new(Settings {
        url: payment.url.clone(),
        originator: payment.originator.clone(),
        endpoint: payment.endpoint.clone(),
        token,
        time_max: Duration::from_secs(u64::from(payment.answer_seconds)),
        tls: Arc::new(tls),
    })
    .map_err(|error| unusable("payment", error))
}
