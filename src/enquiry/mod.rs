//! The register's own page (Meldeportal): private enquiries by registered users (sections 44, 49 BMG), one at a time or
//! as a list, and fetching an answer again within its days.
//!
//! It stands in the register's process and asks the desk as a message would: rights, the neutral answer, its instant,
//! fee, log and notices are decided there and nowhere else. The page keeps nothing: an answer lies sealed in the
//! register until its time is over and is shown to the user who asked, by its number. Plain HTML without script, German
//! and English, WCAG 2.2 AA. Left out: registering users, searches of authorities (they ask by message), extended and group
//! enquiries (sections 45, 46 BMG, by hand), payment at the page (fees are metered and billed by account).

mod list;
mod question;
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
use crate::page::guard::{Guard, Session};
use crate::page::{self, Language, html, see_other};
use crate::register::copies::Collected;
use crate::register::desk::{Desk, DeskError, PAGE_LIST, PageAsked};
use crate::register::person::Ags;
use users::{User, Users};

const FORM_BYTES_MAX: usize = 64 * 1024;
/// A list of enquiries with its form.
const LIST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// From twenty hours on nobody has to be warned of a session's end (WCAG 2.2.1).
const SESSION_SECONDS: i64 = 20 * 3600;
/// Longest wait for an answer's instant, which lies in a bucket of one minute at most.
const WAIT_MAX: Duration = Duration::from_secs(130);

pub struct Settings {
    pub users: Vec<User>,
    /// Municipalities by name.
    pub places: Vec<(Ags, String)>,
    /// Enquiries of one list.
    pub list_lines_max: usize,
    /// Whether the page is reached by TLS alone.
    pub secure: bool,
    pub zone: TimeZone,
}

pub struct Door {
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    users: Users,
    places: Vec<(Ags, String)>,
    list_lines_max: usize,
    zone: TimeZone,
    guard: Guard,
}

/// What a request brings along.
struct Asked {
    language: Language,
    session: Option<Session>,
}

impl Asked {
    /// Who signed in.
    fn user(&self) -> Option<(&Session, &str)> {
        self.session.as_ref().filter(|session| !session.user.is_empty()).map(|one| (one, one.user.as_str()))
    }
}

impl Door {
    pub fn new(desk: Arc<Desk>, clock: Arc<dyn Clock>, settings: Settings) -> std::io::Result<Self> {
        Ok(Self {
            desk,
            users: Users::new(settings.users),
            places: settings.places,
            list_lines_max: settings.list_lines_max,
            zone: settings.zone,
            guard: Guard::new(settings.secure)?,
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
        let session = self.guard.session(headers, self.clock.now());
        // Whoever is no longer in the configuration is signed out.
        let session = session.filter(|one| one.user.is_empty() || self.users.find(&one.user).is_some());
        let asked = Asked { language: Language::pick(lang, headers), session };
        let reads = *method == Method::GET || *method == Method::HEAD;
        let posts = *method == Method::POST;
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
        let view =
            view::View { language: asked.language, token: &token, places: &self.places, zone: &self.zone };
        match segments.as_slice() {
            [] if reads => html(StatusCode::OK, view.menu(user)),
            ["sign-out"] if posts => match self.read(&view, session, headers, body, FORM_BYTES_MAX).await {
                Ok(_) => self.signed_out(asked.language),
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
                Ok(form) => self.list_again(&view, &form, StatusCode::FORBIDDEN, view.stale()),
                Err(error) => {
                    self.list_again(&view, &Form::default(), StatusCode::BAD_REQUEST, view.unreadable(&error))
                }
            },
            ["list", "template.csv"] if reads => csv("template.csv", list::template()),
            ["list", number, "result.csv"] if reads => self.result(&view, user, number).await,
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
        let mut response = html(status, view.sign_in(form, wrong));
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

    fn signed_out(&self, language: Language) -> Response<Body> {
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
                    let mut response = see_other(&format!("/?lang={}", language.code()));
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

    async fn enquire(&self, view: &view::View<'_>, user: &str, form: &Form) -> Response<Body> {
        let again =
            |status, wrong: &[Mistake], attempt: &str| html(status, view.question(form, wrong, attempt));
        let Ok(attempt) = Uuid::try_parse(form.text("attempt")) else {
            return again(StatusCode::FORBIDDEN, &[view.stale()], &Uuid::new_v4().to_string());
        };
        let attempt = attempt.to_string();
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
        let asked = question::asked(form, ags, known);
        let (desk, asker, number) = (self.desk.clone(), users::asker(user), attempt.clone());
        let done = tokio::task::spawn_blocking(move || desk.ask_on_page(&asked, &asker, &number)).await;
        match done {
            Ok(Ok(PageAsked::Answered)) => {
                tracing::info!(uuid = attempt, "a question of the page was answered");
                see_other(&format!("/answer/{attempt}?lang={}", view.language.code()))
            }
            Ok(Ok(PageAsked::Refused(reason))) => {
                let wrong = [question::refusal(reason, view.language)];
                again(StatusCode::UNPROCESSABLE_ENTITY, &wrong, &attempt)
            }
            Ok(Ok(PageAsked::UuidTaken)) => {
                again(StatusCode::CONFLICT, &[view.taken()], &Uuid::new_v4().to_string())
            }
            Ok(Err(error)) => {
                failed(&error);
                again(StatusCode::SERVICE_UNAVAILABLE, &[view.unavailable()], &attempt)
            }
            Err(_) => again(StatusCode::SERVICE_UNAVAILABLE, &[view.unavailable()], &attempt),
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
        wrong: Mistake,
    ) -> Response<Body> {
        let fresh = Uuid::new_v4().to_string();
        html(status, view.list(form, &[wrong], &fresh, self.list_lines_max))
    }

    async fn enquire_list(&self, view: &view::View<'_>, user: &str, form: &Form) -> Response<Body> {
        let language = view.language;
        let Ok(attempt) = Uuid::try_parse(form.text("attempt")) else {
            return self.list_again(view, form, StatusCode::FORBIDDEN, view.stale());
        };
        let mut wrong = mistakes(question::LIST_FIELDS, form, language);
        wrong.extend(question::purpose_mistake(form, language));
        let read = match form.file("file") {
            None => Err(language.of(list::FILE_MISSING).to_owned()),
            Some(file) => list::read(&file.bytes, self.list_lines_max, language),
        };
        let (true, Ok(lines), Some(known)) = (wrong.is_empty(), read.as_ref(), self.users.find(user)) else {
            wrong.extend(read.err().map(|sentence| Mistake::new("file", sentence)));
            let page = view.list(form, &wrong, &attempt.to_string(), self.list_lines_max);
            return html(StatusCode::UNPROCESSABLE_ENTITY, page);
        };
        let lines: Vec<list::Line> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| {
                let number = list::number(attempt, at);
                // Each line is a case of its own; one that cannot be asked holds up no other.
                let asked = match (list::mistake(line, language), self.place(line.text("municipality"))) {
                    (Some(sentence), _) => Err(sentence),
                    (None, None) => Err(language.of(question::PLACE_MISSING).to_owned()),
                    (None, Some(ags)) => Ok(question::asked(&form.with(line), ags, known)),
                };
                list::Line { number, asked }
            })
            .collect();
        let (desk, asker) = (self.desk.clone(), users::asker(user));
        let number = attempt.to_string();
        let kept = number.clone();
        let done =
            tokio::task::spawn_blocking(move || list::ask(&desk, &asker, &kept, lines, language)).await;
        match done {
            Ok(Ok(PageAsked::Answered)) => {
                tracing::info!(uuid = number, "a list of the page was answered");
                see_other(&format!("/answer/{number}?lang={}", language.code()))
            }
            Ok(Ok(_)) => self.list_again(view, form, StatusCode::CONFLICT, view.taken()),
            Ok(Err(error)) => {
                failed(&error);
                self.list_again(view, form, StatusCode::SERVICE_UNAVAILABLE, view.unavailable())
            }
            Err(_) => self.list_again(view, form, StatusCode::SERVICE_UNAVAILABLE, view.unavailable()),
        }
    }

    /// The answer once its instant has come.
    async fn collect(&self, user: &str, number: &str) -> Result<Collected, DeskError> {
        let began = tokio::time::Instant::now();
        let Ok(number) = Uuid::try_parse(number) else { return Ok(Collected::Unknown) };
        let number = number.to_string();
        loop {
            let (desk, asker, wanted) = (self.desk.clone(), users::asker(user), number.clone());
            let found = tokio::task::spawn_blocking(move || desk.collect_on_page(&asker, &wanted)).await;
            let found = found.map_err(|error| DeskError::Content(std::io::Error::other(error)))??;
            let Collected::NotBefore(at) = found else { return Ok(found) };
            if began.elapsed() > WAIT_MAX {
                return Ok(found);
            }
            let wait = Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default();
            tokio::time::sleep(wait.clamp(Duration::from_millis(1), WAIT_MAX)).await;
        }
    }

    async fn fetch_again(&self, view: &view::View<'_>, user: &str, number: &str) -> Response<Body> {
        match self.collect(user, number).await {
            Ok(Collected::Ready { .. }) => {
                see_other(&format!("/answer/{}?lang={}", form::encoded(number), view.language.code()))
            }
            other => self.without_answer(view, number, other),
        }
    }

    fn without_answer(
        &self,
        view: &view::View<'_>,
        number: &str,
        found: Result<Collected, DeskError>,
    ) -> Response<Body> {
        let (status, words) = match found {
            Ok(Collected::Expired) => (StatusCode::GONE, view::EXPIRED),
            Ok(Collected::NotBefore(_)) => (StatusCode::SERVICE_UNAVAILABLE, view::UNAVAILABLE),
            Ok(_) => (StatusCode::NOT_FOUND, view::NO_SUCH_ANSWER),
            Err(error) => {
                failed(&error);
                (StatusCode::SERVICE_UNAVAILABLE, view::UNAVAILABLE)
            }
        };
        html(status, view.again(number, &[Mistake::new("number", view.language.of(words))]))
    }

    async fn shown(&self, view: &view::View<'_>, user: &str, number: &str) -> Response<Body> {
        match self.collect(user, number).await {
            Ok(Collected::Ready { number: kind, bytes, expires_at }) if kind == PAGE_LIST => {
                html(StatusCode::OK, view.result(number, &list::kept(&bytes), expires_at))
            }
            Ok(Collected::Ready { bytes, expires_at, .. }) => {
                let answer = serde_json::from_slice(&bytes).unwrap_or_default();
                html(StatusCode::OK, view.answer(number, &answer, expires_at))
            }
            other => self.without_answer(view, number, other),
        }
    }

    /// The list's answers as CSV, the same each time.
    async fn result(&self, view: &view::View<'_>, user: &str, number: &str) -> Response<Body> {
        let kept = match self.collect(user, number).await {
            Ok(Collected::Ready { number: kind, bytes, .. }) if kind == PAGE_LIST => list::kept(&bytes),
            Ok(Collected::Ready { .. }) => return self.without_answer(view, number, Ok(Collected::Unknown)),
            other => return self.without_answer(view, number, other),
        };
        let mut out = list::head();
        for line in &kept {
            let answer = match &line.refused {
                Some(_) => None,
                None => match self.collect(user, &line.number).await {
                    Ok(Collected::Ready { bytes, .. }) => serde_json::from_slice(&bytes).ok(),
                    other => return self.without_answer(view, number, other),
                },
            };
            list::row(&mut out, line, answer.as_ref());
        }
        csv("result.csv", out)
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

fn failed(error: &DeskError) {
    tracing::error!(
        code = "register-page",
        %error,
        next_step = "look at disk and database of the register",
        "a question of the page could not be worked on"
    );
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
