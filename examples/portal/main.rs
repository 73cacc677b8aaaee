//! A reference portal: one form, in German and English, whose application reaches the authority that is competent for
//! its service and place, encrypted for that authority, and whose state can be looked at.
//!
//! ```text
//! cargo run --example portal -- --office https://localhost:8445 --anchor tls/ca.crt --client portal-1 \
//!     --secret-file portal.secret
//! ```
//!
//! It shows what a portal owes its readers and its authorities, and keeps nothing: where script runs, the application is
//! encrypted in the browser (Web Cryptography) and this process sees ciphertext alone; without script it is encrypted
//! here. Left out: signing in, saving a draft, payment, several applications of one person.

mod application;
mod office;
mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::domain::destination::{DestinationId, ServiceKey};
use amtsbote::net::{Body, Bounds, Handler, Listener, Peer, Permits, TlsSource};
use amtsbote::page::fields::{Mistake, mistakes};
use amtsbote::page::form::{self, Form, FormError};
use amtsbote::page::guard::{self, Guard, Session};
use amtsbote::page::{self, Language, html, see_other};
use amtsbote::pki::key::Identity;
use amtsbote::pki::tls::{ClientCertificate, server_config};
use clap::Parser;
use hyper::header::SET_COOKIE;
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use application::{ATTACHMENT_BYTES_MAX, FIELDS};
use office::{Content, Office, Trouble};

const SCRIPT: &str = include_str!("portal.js");
/// The form with its file, in the clear.
const FORM_BYTES_MAX: usize = ATTACHMENT_BYTES_MAX + 256 * 1024;
/// The same, encrypted and in base64url.
const SEALED_BYTES_MAX: usize = FORM_BYTES_MAX / 3 * 4 + 64 * 1024;
/// A form can be sent so long.
const SESSION_SECONDS: i64 = 12 * 3600;
/// Browsers at one time, each with a form in memory at most.
const CONNECTIONS_MAX: usize = 64;

/// A reference portal for an Amtsbote with a portal's door
#[derive(Debug, Parser)]
struct Args {
    /// Base URL of the portal's door
    #[arg(long, value_name = "URL")]
    office: String,
    /// Certificate of the authority that the door's own certificate comes from (PEM)
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Our client id at the door
    #[arg(long, value_name = "ID")]
    client: String,
    /// File with the client's secret
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Where the form is served
    #[arg(long, default_value = "127.0.0.1:8446", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Our own certificate; without one plain HTTP is spoken, and only on a loopback address
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
    /// A service that can be applied for: its key and its name in German and English
    #[arg(long, value_parser = service, value_name = "KEY=GERMAN=ENGLISH",
          default_value = "99050012104000=Gewerbe anmelden=Register a trade")]
    service: Vec<Service>,
}

/// A service with its names.
#[derive(Debug, Clone)]
pub struct Service {
    pub key: ServiceKey,
    pub names: [String; 2],
}

fn service(text: &str) -> Result<Service, String> {
    let mut parts = text.split('=').map(str::trim);
    let (Some(key), Some(german), Some(english), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a service is written KEY=GERMAN=ENGLISH".to_owned());
    };
    let key = ServiceKey::parse(key).map_err(|error| error.to_string())?;
    Ok(Service { key, names: [german.to_owned(), english.to_owned()] })
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portal: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let permits = Permits::new(CONNECTIONS_MAX);
    let secure = args.certificate.is_some();
    let listener = match (&args.certificate, &args.key) {
        (Some(certificate), Some(key)) => {
            let identity = Identity::load(certificate, key)?;
            let tls = server_config(&identity, ClientCertificate::None, Arc::new(SystemClock))?;
            let source = TlsSource::new(Arc::new(tls));
            Listener::tls(args.listen, source, Bounds::default(), permits).await?
        }
        _ if !args.listen.ip().is_loopback() => {
            return Err("without a certificate the form is served on a loopback address only".into());
        }
        _ => Listener::plain(args.listen, Bounds::default(), permits).await?,
    };
    let secret = std::fs::read_to_string(&args.secret_file)
        .map_err(|error| format!("{}: {error}", args.secret_file.display()))?;
    let office = Office::new(&args.office, &args.anchor, &args.client, secret.trim())?;
    let portal = Portal { office, services: args.service, guard: Guard::new(secure)? };
    println!("{}://{}/", if secure { "https" } else { "http" }, listener.address()?);
    let serving = listener.serve(Arc::new(portal));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    serving.drain().await;
    Ok(())
}

pub struct Portal {
    office: Office,
    services: Vec<Service>,
    guard: Guard,
}

/// What of a state is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    State,
    /// With the word that later changes are not part of it.
    SentBefore,
    Events,
}

/// What a request brings along besides its form.
struct Asked {
    language: Language,
    session: Option<Session>,
}

#[async_trait::async_trait]
impl Handler for Portal {
    async fn handle(&self, request: Request<Body>, _: &Peer) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let query = Form::decoded(head.uri.query().unwrap_or_default()).unwrap_or_default();
        let lang = Some(query.text("lang")).filter(|lang| !lang.is_empty());
        let asked = Asked {
            language: Language::pick(lang, &head.headers),
            session: self.guard.session(&head.headers, SystemClock.now()),
        };
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        if !reads && guard::is_from_elsewhere(&head.headers) {
            return refused(StatusCode::FORBIDDEN, "", "sent by another site");
        }
        let segments: Vec<&str> = head.uri.path().split('/').filter(|one| !one.is_empty()).collect();
        match segments.as_slice() {
            [] if reads => self.form(&asked).await,
            [] if head.method == Method::POST => {
                match form::read(&head.headers, &mut body, FORM_BYTES_MAX).await {
                    Ok(form) => self.apply(&asked, &form).await,
                    Err(error) => self.unreadable(&asked, &error).await,
                }
            }
            ["prepare"] if head.method == Method::POST => {
                match form::read(&head.headers, &mut body, 64 * 1024).await {
                    Ok(form) => self.prepare(&asked, &form).await,
                    Err(error) => refused(StatusCode::BAD_REQUEST, "", &error.to_string()),
                }
            }
            ["send"] if head.method == Method::POST => {
                match form::read(&head.headers, &mut body, SEALED_BYTES_MAX).await {
                    Ok(form) => self.send(&asked, &form).await,
                    Err(error) => refused(StatusCode::BAD_REQUEST, "", &error.to_string()),
                }
            }
            ["applications", destination, submission] if reads => {
                let shown = match (query.text("part"), query.text("changed")) {
                    ("events", _) => Shown::Events,
                    (_, "1") => Shown::SentBefore,
                    _ => Shown::State,
                };
                self.state(&asked, destination, submission, shown).await
            }
            ["style.css"] if reads => page::style(),
            ["portal.js"] if reads => page::answer(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
            ["favicon.ico"] if reads => page::answer(StatusCode::NO_CONTENT, "image/x-icon", ""),
            _ => view::not_found(asked.language),
        }
    }
}

/// What the script is told where something is refused: at which field, in which words.
fn refused(status: StatusCode, field: &str, sentence: &str) -> Response<Body> {
    let body = json!({ "field": field, "sentence": sentence }).to_string();
    page::answer(status, "application/json", body)
}

fn status(trouble: &Trouble) -> StatusCode {
    match trouble {
        Trouble::NoRoute => StatusCode::UNPROCESSABLE_ENTITY,
        Trouble::Unknown | Trouble::Attempt | Trouble::Sent(..) => StatusCode::CONFLICT,
        Trouble::Other(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Portal {
    async fn form(&self, asked: &Asked) -> Response<Body> {
        let fresh = Uuid::new_v4().to_string();
        self.shown(asked, StatusCode::OK, &Form::default(), &[], &fresh).await
    }

    /// The form with what was entered; begins a session where there is none.
    async fn shown(
        &self,
        asked: &Asked,
        status: StatusCode,
        form: &Form,
        mistakes: &[Mistake],
        attempt: &str,
    ) -> Response<Body> {
        let places = match self.office.places().await {
            Ok(places) => places,
            Err(trouble) => return view::unavailable(asked.language, &trouble),
        };
        let session = match &asked.session {
            Some(session) => session.clone(),
            None => {
                let now = SystemClock.now();
                let until = Timestamp::from_second(now.as_second() + SESSION_SECONDS).unwrap_or(now);
                match self.guard.begin("", until) {
                    Ok(session) => session,
                    Err(error) => {
                        return view::unavailable(asked.language, &Trouble::Other(error.to_string()));
                    }
                }
            }
        };
        let hidden = [("token", self.guard.token(&session)), ("attempt", attempt.to_owned())];
        let page = view::form(asked.language, form, mistakes, &hidden, places, &self.services);
        let mut response = html(status, page);
        if asked.session.is_none()
            && let Some(cookie) = self.guard.cookie(&session)
        {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    async fn unreadable(&self, asked: &Asked, error: &FormError) -> Response<Body> {
        let mistake = match error {
            FormError::TooLarge { .. } => Mistake::new("attachment", application::too_large(asked.language)),
            other => Mistake::new("", other.to_string()),
        };
        let fresh = Uuid::new_v4().to_string();
        self.shown(asked, StatusCode::BAD_REQUEST, &Form::default(), &[mistake], &fresh).await
    }

    /// Whether the form was made by us for this session; else the sentence about it.
    fn admitted(&self, asked: &Asked, form: &Form) -> Result<(String, Uuid), &'static str> {
        let stale = asked.language.of([
            "Das Formular war zu lange offen. Bitte senden Sie es noch einmal ab.",
            "The form was open for too long. Please send it once more.",
        ]);
        let session = asked.session.as_ref().ok_or(stale)?;
        if !self.guard.admits(session, form.text("token")) {
            return Err(stale);
        }
        let attempt = Uuid::try_parse(form.text("attempt")).map_err(|_| stale)?;
        Ok((session.id().to_owned(), attempt))
    }

    /// Without script: judged, encrypted and sent here.
    async fn apply(&self, asked: &Asked, form: &Form) -> Response<Body> {
        let language = asked.language;
        let attempt = form.text("attempt");
        let (session, id) = match self.admitted(asked, form) {
            Ok(admitted) => admitted,
            Err(sentence) => {
                let fresh = Uuid::new_v4().to_string();
                let wrong = [Mistake::new("", sentence)];
                return self.shown(asked, StatusCode::FORBIDDEN, form, &wrong, &fresh).await;
            }
        };
        let mut wrong = mistakes(FIELDS, form, language);
        wrong.extend(self.not_offered(form, language, &wrong).await);
        wrong.extend(application::attachment_mistake(form, language));
        if !wrong.is_empty() {
            return self.shown(asked, StatusCode::UNPROCESSABLE_ENTITY, form, &wrong, attempt).await;
        }
        let Some(service) = self.service(form) else { return view::not_found(language) };
        let sent = self
            .office
            .apply(&(session, id), form.text("place"), service, |id| application::clear(form, service, id))
            .await;
        match sent {
            Ok((destination, submission)) => see_other(&view::state_path(&destination, submission, language)),
            Err(Trouble::Sent(destination, submission)) => {
                see_other(&view::sent_path(&destination, submission, language))
            }
            Err(trouble) => {
                trouble.log();
                let wrong = [view::trouble(&trouble, language)];
                self.shown(asked, status(&trouble), form, &wrong, attempt).await
            }
        }
    }

    fn service(&self, form: &Form) -> Option<&Service> {
        self.services.iter().find(|one| one.key.to_string() == form.text("service"))
    }

    /// A choice that the lists do not have.
    async fn not_offered(&self, form: &Form, language: Language, before: &[Mistake]) -> Option<Mistake> {
        if before.iter().any(|one| one.field == "place" || one.field == "service") {
            return None;
        }
        let places = self.office.places().await.unwrap_or_default();
        if !places.iter().any(|(id, _)| id == form.text("place")) {
            return Some(Mistake::new("place", language.of(application::PLACE_MISSING)));
        }
        let known = self.service(form).is_some();
        (!known).then(|| Mistake::new("service", language.of(application::SERVICE_MISSING)))
    }

    /// With script, first: who is competent, and the key to encrypt for.
    async fn prepare(&self, asked: &Asked, form: &Form) -> Response<Body> {
        let admitted = match self.admitted(asked, form) {
            Ok(admitted) => admitted,
            Err(sentence) => return refused(StatusCode::FORBIDDEN, "", sentence),
        };
        if let Some(wrong) = self.not_offered(form, asked.language, &[]).await {
            return refused(StatusCode::UNPROCESSABLE_ENTITY, wrong.field, &wrong.sentence);
        }
        let Some(service) = self.service(form) else { return view::not_found(asked.language) };
        let attached = form.text("attachments") == "1";
        let entered = form.text("entered");
        if entered.is_empty() {
            return refused(StatusCode::BAD_REQUEST, "", "entered is missing");
        }
        match self.office.prepare(&admitted, form.text("place"), service, attached, entered).await {
            Ok(prepared) => page::answer(StatusCode::OK, "application/json", prepared.to_string()),
            // Whoever is told a place goes there.
            Err(Trouble::Sent(destination, submission)) => {
                let place = view::sent_path(&destination, submission, asked.language);
                page::answer(StatusCode::OK, "application/json", json!({ "location": place }).to_string())
            }
            Err(trouble) => self.told(asked, &trouble),
        }
    }

    /// With script, then: ciphertext is handed on.
    async fn send(&self, asked: &Asked, form: &Form) -> Response<Body> {
        let admitted = match self.admitted(asked, form) {
            Ok(admitted) => admitted,
            Err(sentence) => return refused(StatusCode::FORBIDDEN, "", sentence),
        };
        let text = |name| form.file(name).and_then(|file| String::from_utf8(file.bytes.to_vec()).ok());
        let (Some(metadata), Some(data)) = (text("metadata"), text("data")) else {
            return refused(StatusCode::BAD_REQUEST, "", "metadata and data are needed");
        };
        match self.office.send(&admitted, Content { metadata, data, attachment: text("attachment") }).await {
            Ok((destination, submission)) => {
                let place = view::state_path(&destination, submission, asked.language);
                page::answer(StatusCode::OK, "application/json", json!({ "location": place }).to_string())
            }
            Err(trouble) => self.told(asked, &trouble),
        }
    }

    fn told(&self, asked: &Asked, trouble: &Trouble) -> Response<Body> {
        trouble.log();
        let wrong = view::trouble(trouble, asked.language);
        refused(status(trouble), wrong.field, &wrong.sentence)
    }

    async fn state(
        &self,
        asked: &Asked,
        destination: &str,
        submission: &str,
        shown: Shown,
    ) -> Response<Body> {
        let ids = (DestinationId::parse(destination), Uuid::try_parse(submission));
        let (Ok(destination), Ok(submission)) = ids else { return view::not_found(asked.language) };
        match self.office.events(&destination, submission).await {
            Ok(events) if shown == Shown::Events => {
                html(StatusCode::OK, view::events(asked.language, &events))
            }
            Ok(events) => {
                let changed = shown == Shown::SentBefore;
                let page = view::state(asked.language, &destination, submission, &events, changed);
                html(StatusCode::OK, page)
            }
            Err(Trouble::Unknown) => view::not_found(asked.language),
            Err(trouble) => {
                trouble.log();
                view::unavailable(asked.language, &trouble)
            }
        }
    }
}
