//! The register's own page (Meldeportal): private enquiries by registered users (sections 44, 49 BMG), one at a time or
//! as a list, their payment, and fetching an answer again within its days.
//!
//! It stands in the register's process. An enquiry is an order at the [`Till`]: rights, price, the neutral answer, its
//! instant, log and notices are decided by the register and nowhere else, and it is put once the payment service itself
//! says that it is paid. That a browser comes back from there proves nothing. The page keeps nothing: an answer lies sealed
//! in the register until its time is over and is shown to the user who asked, by its number. Plain HTML without script,
//! German and English, WCAG 2.2 AA. Left out: registering users, searches of authorities (they ask by message), extended
//! and group enquiries (sections 45, 46 BMG, by hand).

mod list;
mod question;
mod till;
pub mod users;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{CONTENT_DISPOSITION, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::clock::Clock;
use crate::net::{Body, Handler, Peer};
use crate::page::fields::{Mistake, mistakes};
use crate::page::form::{self, Form, FormError};
use crate::page::guard::{self, Guard, Session};
use crate::page::{self, Language, html, see_other};
use crate::register::answer::leaves_at;
use crate::register::copies::{CopyError, Held, Order, OrderLine};
use crate::register::desk::{Desk, DeskError};
use crate::register::payment::{Payment, State};
use crate::register::person::Ags;
pub use till::{Till, TillError};
use users::{User, Users};

const FORM_BYTES_MAX: usize = 64 * 1024;
/// A list of enquiries with its form.
const LIST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// From twenty hours on nobody has to be warned of a session's end (WCAG 2.2.1).
const SESSION_SECONDS: i64 = 20 * 3600;
/// Longest wait for an answer's instant, which lies in a bucket of one minute at most.
const WAIT_MAX: Duration = Duration::from_secs(130);
/// Longest wait for the payment service's word when a browser is back.
const RETURN_WAIT_MAX: Duration = Duration::from_secs(6);

pub struct Settings {
    pub users: Vec<User>,
    /// Municipalities by name.
    pub places: Vec<(Ags, String)>,
    /// Enquiries of one list.
    pub list_lines_max: usize,
    /// Where browsers reach the page: `https://host[:port]`.
    pub url: String,
    pub zone: TimeZone,
}

pub struct Door {
    desk: Arc<Desk>,
    till: Arc<dyn Till>,
    clock: Arc<dyn Clock>,
    users: Users,
    places: Vec<(Ags, String)>,
    list_lines_max: usize,
    url: String,
    zone: TimeZone,
    guard: Guard,
}

/// What a request brings along.
struct Asked {
    language: Language,
    session: Option<Session>,
    /// Where somebody who has to sign in goes then.
    next: String,
}

impl Asked {
    /// Who signed in.
    fn user(&self) -> Option<(&Session, &str)> {
        self.session.as_ref().filter(|session| !session.user.is_empty()).map(|one| (one, one.user.as_str()))
    }
}

/// An enquiry's number: that of its order, and its place where that is a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    case: String,
    line: Option<u32>,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (case, line) = match text.split_once('.') {
            None => (text, None),
            Some((case, line)) => (case, Some(line.parse().ok().filter(|line| *line > 0)?)),
        };
        Some(Self { case: Uuid::try_parse(case).ok()?.to_string(), line })
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            None => out.write_str(&self.case),
            Some(line) => write!(out, "{}.{line}", self.case),
        }
    }
}

/// Why there is no answer to show.
enum Without {
    Unknown,
    Expired,
    /// The page of this case's payment says why.
    Unpaid(String),
    Trouble(TillError),
}

impl From<TillError> for Without {
    fn from(error: TillError) -> Self {
        Self::Trouble(error)
    }
}

impl Door {
    pub fn new(
        desk: Arc<Desk>,
        till: Arc<dyn Till>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        Ok(Self {
            desk,
            till,
            users: Users::new(settings.users),
            places: settings.places,
            list_lines_max: settings.list_lines_max,
            url: settings.url,
            zone: settings.zone,
            guard: Guard::new(true)?,
            clock,
        })
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &Form,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Response<Body> {
        let lang = Some(query.text("lang")).filter(|lang| !lang.is_empty());
        let language = Language::pick(lang, headers);
        let session = self.guard.session(headers, self.clock.now());
        // Whoever is no longer in the configuration is signed out.
        let session = session.filter(|one| one.user.is_empty() || self.users.find(&one.user).is_some());
        let asked = Asked { language, session, next: coming_back(path).unwrap_or_default() };
        let reads = *method == Method::GET || *method == Method::HEAD;
        let posts = *method == Method::POST;
        if !reads && guard::is_from_elsewhere(headers) {
            // Without a cookie, so that no other site signs anybody out.
            return page::answer(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", "sent by another site");
        }
        let segments: Vec<&str> = path.split('/').filter(|one| !one.is_empty()).collect();
        match segments.as_slice() {
            ["style.css"] if reads => return page::style(),
            ["favicon.ico"] if reads => return page::answer(StatusCode::NO_CONTENT, "image/x-icon", ""),
            ["sign-in"] if posts => return self.sign_in(&asked, headers, body).await,
            _ => {}
        }
        let Some((session, user)) = asked.user() else {
            // Nothing tells a stranger what there is.
            return self.signing_in(&asked, StatusCode::OK, &Form::default(), &[]);
        };
        let token = self.guard.token(session);
        let view = view::View { language, token: &token, places: &self.places, zone: &self.zone };
        match segments.as_slice() {
            [] if reads => html(StatusCode::OK, view.menu(user)),
            ["sign-out"] if posts => match self.read(&view, session, headers, body, FORM_BYTES_MAX).await {
                Ok(_) => self.signed_out(session, language),
                Err(refused) => refused,
            },
            ["enquiry"] if reads => {
                html(StatusCode::OK, view.question(&Form::default(), &[], &Uuid::new_v4().to_string()))
            }
            ["enquiry"] if posts => match self.read(&view, session, headers, body, FORM_BYTES_MAX).await {
                Ok(form) => self.enquire(&view, user, &form).await,
                Err(refused) => refused,
            },
            ["list"] if reads => {
                let fresh = Uuid::new_v4().to_string();
                html(StatusCode::OK, view.list(&Form::default(), &[], &fresh, self.list_lines_max))
            }
            ["list"] if posts => match form::read(headers, body, LIST_BYTES_MAX).await {
                Ok(form) if self.guard.admits(session, form.text("token")) => {
                    self.enquire_list(&view, user, &form).await
                }
                Ok(form) => self.list_again(&view, &form, StatusCode::FORBIDDEN, &[view.stale()]),
                Err(error) => {
                    let wrong = [view.unreadable(&error)];
                    self.list_again(&view, &Form::default(), StatusCode::BAD_REQUEST, &wrong)
                }
            },
            ["list", "template.csv"] if reads => csv("template.csv", list::template()),
            ["list", number, "result.csv"] if reads => self.result(&view, user, number).await,
            ["payment", case] if reads => self.payment(&view, user, case).await,
            ["payment", case, "back"] if reads => self.back(&view, user, case).await,
            ["answer"] if reads => match query.text("number") {
                "" => html(StatusCode::OK, view.again("", &[])),
                number => self.fetch_again(&view, user, number).await,
            },
            ["answer", number] if reads => self.shown(&view, user, number).await,
            _ => html(StatusCode::NOT_FOUND, view.not_found()),
        }
    }

    fn signing_in(
        &self,
        asked: &Asked,
        status: StatusCode,
        form: &Form,
        wrong: &[Mistake],
    ) -> Response<Body> {
        let session = match &asked.session {
            Some(session) => Ok(session.clone()),
            None => self.guard.begin("", self.session_end()),
        };
        let Ok(session) = session else { return html(StatusCode::SERVICE_UNAVAILABLE, String::new()) };
        let token = self.guard.token(&session);
        let view = view::View { language: asked.language, token: &token, places: &[], zone: &self.zone };
        let next = coming_back(form.text("next")).unwrap_or_else(|| asked.next.clone());
        let mut response = html(status, view.sign_in(form, &next, wrong));
        self.give(&mut response, &session);
        response
    }

    fn session_end(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_second(now.as_second().saturating_add(SESSION_SECONDS)).unwrap_or(now)
    }

    fn give(&self, response: &mut Response<Body>, session: &Session) {
        if let Some(cookie) = self.guard.cookie(session) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
    }

    fn signed_out(&self, session: &Session, language: Language) -> Response<Body> {
        self.guard.end(session, self.clock.now());
        let mut response = see_other(&format!("/?lang={}", language.code()));
        if let Some(cookie) = self.guard.no_cookie() {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    async fn sign_in(&self, asked: &Asked, headers: &HeaderMap, body: &mut Body) -> Response<Body> {
        let language = asked.language;
        let again = |status, form: &Form, words| {
            self.signing_in(asked, status, form, &[Mistake::new("user", language.of(words))])
        };
        let form = match form::read(headers, body, FORM_BYTES_MAX).await {
            Ok(form) => form,
            Err(_) => return again(StatusCode::BAD_REQUEST, &Form::default(), view::STALE),
        };
        let admitted = asked.session.as_ref().is_some_and(|one| self.guard.admits(one, form.text("token")));
        if !admitted {
            return again(StatusCode::FORBIDDEN, &form, view::STALE);
        }
        match self.users.prove(form.text("user"), form.text("password"), self.clock.now()).await {
            Ok(user) => match self.guard.begin(&user, self.session_end()) {
                Ok(session) => {
                    let next = coming_back(form.text("next")).unwrap_or_else(|| "/".to_owned());
                    let mut response = see_other(&format!("{next}?lang={}", language.code()));
                    self.give(&mut response, &session);
                    response
                }
                Err(_) => again(StatusCode::SERVICE_UNAVAILABLE, &form, view::STALE),
            },
            Err(users::Refused::Wrong) => again(StatusCode::FORBIDDEN, &form, view::WRONG_PASSWORD),
            Err(users::Refused::TooOften) => {
                tracing::warn!(
                    code = "page-sign-in-blocked",
                    next_step = "if it is not the user, somebody guesses: look at who connects",
                    "too many wrong passwords for one user"
                );
                again(StatusCode::TOO_MANY_REQUESTS, &form, view::TOO_OFTEN)
            }
        }
    }

    /// A form of this session; else the page that says why not.
    async fn read(
        &self,
        view: &view::View<'_>,
        session: &Session,
        headers: &HeaderMap,
        body: &mut Body,
        bytes_max: usize,
    ) -> Result<Form, Response<Body>> {
        let again = |status, form: &Form, mistake: Mistake| {
            html(status, view.question(form, &[mistake], &Uuid::new_v4().to_string()))
        };
        match form::read(headers, body, bytes_max).await {
            Ok(form) if self.guard.admits(session, form.text("token")) => Ok(form),
            Ok(form) => Err(again(StatusCode::FORBIDDEN, &form, view.stale())),
            Err(error) => Err(again(StatusCode::BAD_REQUEST, &Form::default(), view.unreadable(&error))),
        }
    }

    fn order(&self, user: &str, case: Uuid, questions: Vec<crate::register::copies::Asked>) -> Order {
        let case = case.to_string();
        let return_url = format!("{}/payment/{case}/back", self.url);
        Order { case, account: users::asker(user), questions, return_url }
    }

    async fn enquire(&self, view: &view::View<'_>, user: &str, form: &Form) -> Response<Body> {
        let again =
            |status, wrong: &[Mistake], attempt: &str| html(status, view.question(form, wrong, attempt));
        let fresh = || Uuid::new_v4().to_string();
        let Ok(case) = Uuid::try_parse(form.text("attempt")) else {
            return again(StatusCode::FORBIDDEN, &[view.stale()], &fresh());
        };
        let attempt = case.to_string();
        let mut wrong = mistakes(question::FIELDS, form, view.language);
        wrong.extend(question::choice_mistake(form, view.language));
        wrong.extend(question::purpose_mistake(form, view.language));
        let ags = self.place(form.text("municipality"));
        let (true, Some(ags), Some(known)) = (wrong.is_empty(), ags, self.users.find(user)) else {
            if wrong.is_empty() {
                wrong.push(Mistake::new("municipality", view.language.of(question::PLACE_MISSING)));
            }
            return again(StatusCode::UNPROCESSABLE_ENTITY, &wrong, &attempt);
        };
        match self.till.order(self.order(user, case, vec![question::asked(form, ags, known)])).await {
            Ok(payment) => self.gone_on(view, user, &payment).await,
            Err(TillError::Copies(CopyError::Question(reason))) => {
                let wrong = [question::refusal(reason, view.language)];
                again(StatusCode::UNPROCESSABLE_ENTITY, &wrong, &attempt)
            }
            Err(TillError::Copies(CopyError::CaseTaken)) => {
                again(StatusCode::CONFLICT, &[view.taken()], &fresh())
            }
            Err(TillError::Copies(CopyError::OrdersOpen { .. } | CopyError::OrdersToday { .. })) => {
                again(StatusCode::TOO_MANY_REQUESTS, &[view.too_many_orders()], &attempt)
            }
            Err(error) => {
                failed(&error);
                again(StatusCode::SERVICE_UNAVAILABLE, &[view.unavailable()], &attempt)
            }
        }
    }

    fn place(&self, words: &str) -> Option<Ags> {
        let by_key = |ags: &Ags| self.places.iter().any(|(known, _)| known == ags);
        Ags::parse(words).ok().filter(by_key).or_else(|| {
            let found = self.places.iter().find(|(_, name)| name.eq_ignore_ascii_case(words));
            found.map(|(ags, _)| *ags)
        })
    }

    fn list_again(
        &self,
        view: &view::View<'_>,
        form: &Form,
        status: StatusCode,
        wrong: &[Mistake],
    ) -> Response<Body> {
        let fresh = Uuid::new_v4().to_string();
        html(status, view.list(form, wrong, &fresh, self.list_lines_max))
    }

    /// Each line is a case of its own; one that cannot be asked is refused before anything is paid, and holds up no other.
    async fn enquire_list(&self, view: &view::View<'_>, user: &str, form: &Form) -> Response<Body> {
        let language = view.language;
        let Ok(case) = Uuid::try_parse(form.text("attempt")) else {
            return self.list_again(view, form, StatusCode::FORBIDDEN, &[view.stale()]);
        };
        let mut wrong = mistakes(question::LIST_FIELDS, form, language);
        wrong.extend(question::purpose_mistake(form, language));
        let read = match form.file("file") {
            None => Err(language.of(list::FILE_MISSING).to_owned()),
            Some(file) => list::read(&file.bytes, self.list_lines_max, language),
        };
        let (true, Ok(lines), Some(known)) = (wrong.is_empty(), read.as_ref(), self.users.find(user)) else {
            wrong.extend(read.err().map(|sentence| Mistake::new("file", sentence)));
            return self.list_again(view, form, StatusCode::UNPROCESSABLE_ENTITY, &wrong);
        };
        let lines = lines
            .iter()
            .map(|line| match (list::mistake(line, language), self.place(line.text("municipality"))) {
                (Some(sentence), _) => Err(sentence),
                (None, None) => Err(language.of(question::PLACE_MISSING).to_owned()),
                (None, Some(ags)) => Ok(question::asked(&form.with(line), ags, known)),
            })
            .collect();
        let (desk, now) = (self.desk.clone(), self.clock.now());
        let judged = tokio::task::spawn_blocking(move || list::judged(&desk.copies, lines, language, now));
        let (kept, questions) = match judged.await.map_err(|error| TillError::Other(error.to_string())) {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => return self.list_failed(view, form, &error.into()),
            Err(error) => return self.list_failed(view, form, &error),
        };
        if questions.is_empty() {
            let wrong = [Mistake::new("file", list::none_left(&kept, language))];
            return self.list_again(view, form, StatusCode::UNPROCESSABLE_ENTITY, &wrong);
        }
        let payment = match self.till.order(self.order(user, case, questions)).await {
            Ok(payment) => payment,
            Err(TillError::Copies(CopyError::CaseTaken)) => {
                return self.list_again(view, form, StatusCode::CONFLICT, &[view.taken()]);
            }
            Err(TillError::Copies(CopyError::OrdersOpen { .. } | CopyError::OrdersToday { .. })) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                return self.list_again(view, form, status, &[view.too_many_orders()]);
            }
            Err(TillError::Copies(CopyError::Refused(why))) => {
                tracing::info!(why, "a list of the page was refused");
                let wrong = [Mistake::new("file", language.of(list::TOO_MUCH))];
                return self.list_again(view, form, StatusCode::UNPROCESSABLE_ENTITY, &wrong);
            }
            Err(error) => return self.list_failed(view, form, &error),
        };
        let (desk, asker, case) = (self.desk.clone(), users::asker(user), payment.case.clone());
        let bytes = serde_json::to_vec(&kept).unwrap_or_default();
        let kept = tokio::task::spawn_blocking(move || desk.keep_on_page(&asker, &case, bytes)).await;
        match kept {
            Ok(Ok(true)) => self.gone_on(view, user, &payment).await,
            Ok(Ok(false)) => self.list_again(view, form, StatusCode::CONFLICT, &[view.taken()]),
            Ok(Err(error)) => self.list_failed(view, form, &error.into()),
            Err(error) => self.list_failed(view, form, &TillError::Other(error.to_string())),
        }
    }

    fn list_failed(&self, view: &view::View<'_>, form: &Form, error: &TillError) -> Response<Body> {
        failed(error);
        self.list_again(view, form, StatusCode::SERVICE_UNAVAILABLE, &[view.unavailable()])
    }

    /// A payment of this user's, and of nobody else.
    async fn own_payment(&self, user: &str, case: &str) -> Result<Option<Payment>, TillError> {
        let payment = self.till.payment(case).await?;
        Ok(payment.filter(|one| one.account == users::asker(user)))
    }

    async fn payment(&self, view: &view::View<'_>, user: &str, case: &str) -> Response<Body> {
        let found = self.own_payment(user, case).await;
        self.payment_page(view, user, found).await
    }

    /// Back from the payment service: it is asked, and its word is waited for, for a short time.
    async fn back(&self, view: &view::View<'_>, user: &str, case: &str) -> Response<Body> {
        let (began, waiting) = (self.clock.now(), tokio::time::Instant::now());
        let found = loop {
            let found = match self.own_payment(user, case).await {
                Ok(Some(_)) => self.till.returned(case).await,
                other => break other,
            };
            let asked = match &found {
                Ok(Some(one)) => !view::is_under_way(one.state) || one.asked_at.is_some_and(|at| at >= began),
                _ => true,
            };
            if asked || waiting.elapsed() > RETURN_WAIT_MAX {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        match found {
            Ok(Some(payment)) => self.gone_on(view, user, &payment).await,
            other => self.payment_page(view, user, other).await,
        }
    }

    async fn payment_page(
        &self,
        view: &view::View<'_>,
        user: &str,
        found: Result<Option<Payment>, TillError>,
    ) -> Response<Body> {
        match found {
            Ok(Some(payment)) if is_answered(payment.state) => self.gone_on(view, user, &payment).await,
            Ok(Some(payment)) => match self.kept(user, &payment.case).await {
                Ok(kept) => {
                    let kept = kept.map(|(kept, _)| kept).unwrap_or_default();
                    html(StatusCode::OK, view.payment(&payment, &kept))
                }
                Err(error) => self.without_answer(view, "", Without::Trouble(error)),
            },
            Ok(None) => html(StatusCode::NOT_FOUND, view.not_found()),
            Err(error) => self.without_answer(view, "", Without::Trouble(error)),
        }
    }

    /// To the bill, or to the answers once their instant has come: when the questions were worked on must not be seen.
    async fn gone_on(&self, view: &view::View<'_>, user: &str, payment: &Payment) -> Response<Body> {
        if is_answered(payment.state)
            && let Err(Without::Trouble(error)) = self.all_left(user, &payment.case).await
        {
            return self.without_answer(view, &payment.case, Without::Trouble(error));
        }
        let place = if is_answered(payment.state) { "answer" } else { "payment" };
        see_other(&format!("/{place}/{}?lang={}", payment.case, view.language.code()))
    }

    /// Waits until the last answer of an order may be seen.
    async fn all_left(&self, user: &str, case: &str) -> Result<Vec<OrderLine>, Without> {
        let lines = self.lines(case).await?;
        if let Some(last) = lines.iter().rfind(|line| line.put) {
            self.collect(user, case, last.number).await?;
        }
        Ok(lines)
    }

    /// What was kept of a list, and until when.
    async fn kept(&self, user: &str, case: &str) -> Result<Option<(Vec<list::Kept>, Timestamp)>, TillError> {
        let (desk, asker, case, now) =
            (self.desk.clone(), users::asker(user), case.to_owned(), self.clock.now());
        let held = tokio::task::spawn_blocking(move || desk.copies.held_answer(&asker, &case, now)).await;
        match held.map_err(|error| TillError::Other(error.to_string()))?? {
            Held::Ready { bytes, expires_at, .. } => Ok(Some((list::kept(&bytes), expires_at))),
            _ => Ok(None),
        }
    }

    async fn lines(&self, case: &str) -> Result<Vec<OrderLine>, TillError> {
        let (desk, case) = (self.desk.clone(), case.to_owned());
        let lines = tokio::task::spawn_blocking(move || desk.copies.order_lines(&case)).await;
        Ok(lines.map_err(|error| TillError::Other(error.to_string()))??)
    }

    /// The answer once its instant has come.
    async fn collect(&self, user: &str, case: &str, line: u32) -> Result<(Vec<u8>, Timestamp), Without> {
        let (began, asker) = (tokio::time::Instant::now(), users::asker(user));
        loop {
            let at = match self.till.answer(&asker, case, line).await? {
                Held::Ready { bytes, left_at, expires_at } => {
                    let payment = self.own_payment(user, case).await?.ok_or(Without::Unknown)?;
                    let at = shown_from(&payment, left_at, self.desk.bucket());
                    if at <= self.clock.now() {
                        return Ok((bytes, expires_at));
                    }
                    at
                }
                Held::Later(at) => at,
                Held::Expired => return Err(Without::Expired),
                Held::Unknown => {
                    let own = self.own_payment(user, case).await?;
                    let known =
                        own.filter(|one| view::is_under_way(one.state) || one.state.is_without_answer());
                    return Err(known.map_or(Without::Unknown, |one| Without::Unpaid(one.case)));
                }
            };
            if began.elapsed() > WAIT_MAX {
                return Err(Without::Trouble(TillError::Other(format!("an answer leaves at {at}"))));
            }
            let wait = Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default();
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), WAIT_MAX)).await;
        }
    }

    async fn fetch_again(&self, view: &view::View<'_>, user: &str, text: &str) -> Response<Body> {
        let known = match Number::parse(text) {
            None => Ok(None),
            Some(number) => self.own_payment(user, &number.case).await.map(|own| own.map(|_| number)),
        };
        match known {
            Ok(Some(number)) => see_other(&format!("/answer/{number}?lang={}", view.language.code())),
            Ok(None) => self.without_answer(view, text, Without::Unknown),
            Err(error) => self.without_answer(view, text, Without::Trouble(error)),
        }
    }

    fn without_answer(&self, view: &view::View<'_>, number: &str, why: Without) -> Response<Body> {
        let (status, words) = match why {
            Without::Expired => (StatusCode::GONE, view::EXPIRED),
            Without::Unknown => (StatusCode::NOT_FOUND, view::NO_SUCH_ANSWER),
            Without::Unpaid(case) => {
                return see_other(&format!("/payment/{case}?lang={}", view.language.code()));
            }
            Without::Trouble(error) => {
                failed(&error);
                (StatusCode::SERVICE_UNAVAILABLE, view::UNAVAILABLE)
            }
        };
        html(status, view.again(number, &[Mistake::new("number", view.language.of(words))]))
    }

    async fn shown(&self, view: &view::View<'_>, user: &str, text: &str) -> Response<Body> {
        let Some(number) = Number::parse(text) else {
            return self.without_answer(view, text, Without::Unknown);
        };
        match self.page_of(view, user, &number).await {
            Ok(page) => html(StatusCode::OK, page),
            Err(why) => self.without_answer(view, text, why),
        }
    }

    /// A list once it is paid and all its answers may be seen. None where the case is no list.
    async fn answered_list(
        &self,
        view: &view::View<'_>,
        user: &str,
        case: &str,
    ) -> Result<Option<(Vec<list::Kept>, Timestamp)>, Without> {
        let Some((kept, expires_at)) = self.kept(user, case).await? else { return Ok(None) };
        let own = self.own_payment(user, case).await?.ok_or(Without::Unknown)?;
        if view::is_under_way(own.state) {
            return Err(Without::Unpaid(own.case));
        }
        let lines = self.all_left(user, case).await?;
        if !lines.iter().any(|line| line.put || line.refused.is_some()) {
            return Err(Without::Unpaid(own.case));
        }
        Ok(Some((list::with_refusals(kept, &lines, view.language), expires_at)))
    }

    async fn page_of(&self, view: &view::View<'_>, user: &str, number: &Number) -> Result<String, Without> {
        if number.line.is_none()
            && let Some((kept, expires_at)) = self.answered_list(view, user, &number.case).await?
        {
            return Ok(view.result(&number.case, &kept, expires_at));
        }
        let (bytes, expires_at) = self.collect(user, &number.case, number.line.unwrap_or(1)).await?;
        let answer = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(view.answer(&number.to_string(), &answer, expires_at))
    }

    /// The list's answers as CSV, the same each time.
    async fn result(&self, view: &view::View<'_>, user: &str, text: &str) -> Response<Body> {
        let written = match Number::parse(text).filter(|number| number.line.is_none()) {
            Some(number) => self.table(view, user, &number.case).await,
            None => Err(Without::Unknown),
        };
        match written {
            Ok(out) => csv("result.csv", out),
            Err(why) => self.without_answer(view, text, why),
        }
    }

    async fn table(&self, view: &view::View<'_>, user: &str, case: &str) -> Result<String, Without> {
        let (kept, _) = self.answered_list(view, user, case).await?.ok_or(Without::Unknown)?;
        let mut out = list::head();
        for (at, line) in kept.iter().enumerate() {
            let answer = match line.number {
                None => None,
                Some(number) => {
                    let (bytes, _) = self.collect(user, case, number).await?;
                    serde_json::from_slice(&bytes).ok()
                }
            };
            list::row(&mut out, at, case, line, answer.as_ref());
        }
        Ok(out)
    }
}

/// Its answers can be fetched.
fn is_answered(state: State) -> bool {
    matches!(state, State::Executed | State::Delivered)
}

/// Each answer leaves at the end of a bucket that began with its question; but when the question was put, and how long
/// those before it took, would show in that. So what is paid together is shown at the end of a bucket that began with the
/// payment.
fn shown_from(payment: &Payment, left_at: Timestamp, bucket: Duration) -> Timestamp {
    leaves_at(payment.paid_at.unwrap_or(payment.created_at), left_at, bucket)
}

/// A page that somebody may want who has to sign in first: back from the payment service, or with an answer's address.
fn coming_back(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').collect();
    let number = |text: &str| Number::parse(text);
    match segments.as_slice() {
        ["", "payment", case] => Some(format!("/payment/{}", number(case)?)),
        ["", "payment", case, "back"] => Some(format!("/payment/{}/back", number(case)?)),
        ["", "answer", text] => Some(format!("/answer/{}", number(text)?)),
        _ => None,
    }
}

fn csv(name: &str, text: String) -> Response<Body> {
    // The mark tells spreadsheets that it is UTF-8.
    let mut response = page::answer(StatusCode::OK, "text/csv; charset=utf-8", format!("\u{feff}{text}"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response
}

fn failed(error: &TillError) {
    tracing::error!(
        code = "register-page",
        %error,
        next_step = "look at disk and database of the register, and at [payment] in its configuration",
        "a question of the page could not be worked on"
    );
}

impl From<DeskError> for TillError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Copies(error) => Self::Copies(error),
            other => Self::Other(other.to_string()),
        }
    }
}

#[async_trait]
impl Handler for Door {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let query = Form::decoded(head.uri.query().unwrap_or_default()).unwrap_or_default();
        self.answer(&head.method, head.uri.path(), &query, &head.headers, &mut body).await
    }
}

/// The sentence about a form that could not be read.
fn unreadable(error: &FormError, language: Language) -> String {
    match error {
        FormError::TooLarge { max } => match language {
            Language::German => format!("Das Formular ist größer als {max} Byte."),
            Language::English => format!("The form is larger than {max} bytes."),
        },
        _ => language
            .of([
                "Das Formular kam nicht vollständig oder nicht lesbar an. Bitte senden Sie es noch einmal ab.",
                "The form did not arrive whole or could not be read. Please send it once more.",
            ])
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_question_took_cannot_be_seen() {
        let at = |millis: i64| Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("an instant");
        let item = crate::register::payment::Item {
            ags: Ags::parse("10041100").expect("a key"),
            quantity: 1,
            cents_each: 0,
        };
        let case = Uuid::nil().to_string();
        let payment = Payment::new(&case, "a", vec![item], "https://a/", &Default::default(), at(0))
            .expect("a payment");
        let paid = Payment { paid_at: Some(at(70)), ..payment.clone() };
        let bucket = Duration::from_millis(200);
        for (payment, left, expected) in [
            (&payment, 201, 400),
            (&payment, 399, 400),
            (&paid, 271, 470),
            (&paid, 469, 470),
            (&paid, 470, 670),
        ] {
            assert_eq!(shown_from(payment, at(left), bucket), at(expected), "{left}");
        }
    }

    #[test]
    fn signing_in_leads_to_pages_of_our_own_alone() {
        let case = "6f0d3c1e-2b74-4c7e-9d55-0f3a8f6f2a10";
        for (path, expected) in [
            (format!("/payment/{case}"), Some(format!("/payment/{case}"))),
            (format!("/payment/{case}/back"), Some(format!("/payment/{case}/back"))),
            (format!("/answer/{case}.12"), Some(format!("/answer/{case}.12"))),
            (format!("/answer/{}", case.to_uppercase()), Some(format!("/answer/{case}"))),
            (format!("/answer/{case}.0"), None),
            (format!("//elsewhere.invalid/answer/{case}"), None),
            (format!("https://elsewhere.invalid/answer/{case}"), None),
            (format!("/payment/{case}/back\r\nSet-Cookie: a=b"), None),
            ("/answer/../x".to_owned(), None),
            ("/".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(coming_back(&path), expected, "{path}");
        }
    }
}
