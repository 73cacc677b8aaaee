//! The subscriber's side, and what both sides follow: list, fetch, events.
//!
//! A submission is fetched as often as wanted until its subscriber accepts or rejects it with a signed event, which is
//! kept word for word and received with the message in one transaction. The event log is drawn up from the process card
//! and these statements; whoever sent it and whoever owns its destination see it, to all others it does not exist. A
//! message that its reader closed through another door counts as accepted, and the post office says so.

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json as value};
use uuid::Uuid;

use super::problem::Problem;
use super::public::present_keys;
use super::send::{ANNOUNCED_AT, CASE_MAX, DESTINATION, SERVICE_NAME, TAGS, case_of, property, uuid_of};
use super::signed::Name;
use super::token::Caller;
use super::{DOOR, Door, SMALL_BODY_BYTES_MAX, json, must_be, no_content, not_served, page, parameter, read};
use crate::domain::card::{Finding, Severity};
use crate::domain::content::{Digest, Part};
use crate::domain::destination::{Destination, DestinationId};
use crate::domain::party::PartyIdentifier;
use crate::domain::state::{DeliveryState, Event as MessageEvent};
use crate::net::Body;
use crate::pki::jose::jws::Unverified;
use crate::portal::event::{
    self, About, AuthenticationTags, Claims, Details, Event, PROBLEMS, Reason, counterpart,
};
use crate::relay::Refusal;
use crate::store::{Entry, PayloadReader, Statement, SubmissionQuery, Submissions};

/// Whose events are asked for or told.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventsOf {
    Submission(Uuid),
    Case(Uuid),
}

/// What was said of a submission: word for word by others, and by the post office, which signs what is shown.
enum Said {
    Told(String),
    Own(Box<Claims>),
}

/// Each with the instant of its event.
type Log = Vec<(Timestamp, Said)>;

impl Door {
    /// The caller's destination that a message went to, and the identifier whose mailbox it lies in.
    fn own_destination(&self, caller: &Caller, entry: &Entry) -> Option<(Destination, PartyIdentifier)> {
        if entry.card.door != DOOR {
            return None;
        }
        let id = DestinationId::parse(property(entry, DESTINATION)?).ok()?;
        let own = caller.account.portal.destinations.iter().find(|destination| destination.id == id)?;
        let mailbox = caller.account.mailbox_of(own)?;
        (mailbox.value() == entry.card.mailbox.as_str()).then(|| (own.clone(), mailbox.clone()))
    }

    /// `GET /submissions`: what waits at the caller's destinations, oldest first.
    pub(super) async fn list(&self, caller: &Caller, query: &str) -> Result<Response<Body>, Problem> {
        caller.must_subscribe()?;
        let (offset, limit) = page(query)?;
        let wanted = parameter(query, "destinationId")
            .map(|text| DestinationId::parse(&text.to_ascii_lowercase()))
            .transpose()
            .map_err(|error| Problem::bad_request("body-invalid", format!("destinationId: {error}")))?;
        let asked =
            SubmissionQuery { skip: offset as u64, limit: limit as u32, ..SubmissionQuery::default() };
        let Submissions { entries, total } =
            self.relay.submissions(&caller.account, wanted.as_ref(), asked).await?;
        let own = |entry: &Entry| self.own_destination(caller, entry).and_then(|(own, _)| item(entry, &own));
        let found: Vec<Value> = entries.iter().filter_map(own).collect();
        Ok(json(
            StatusCode::OK,
            &value!({ "count": found.len(), "offset": offset, "totalCount": total, "submissions": found }),
        ))
    }

    /// A message of the caller's destinations, handed out.
    async fn handed_out(&self, caller: &Caller, submission: Uuid) -> Result<(Entry, Destination), Problem> {
        caller.must_subscribe()?;
        let id = self.message_id(submission)?;
        let entry = self.relay.card(&caller.account, None, &id).await?;
        let (destination, mailbox) =
            self.own_destination(caller, &entry).ok_or_else(Problem::no_submission)?;
        // What was accepted can be looked at again until it is deleted.
        if let Some(entry) = self.relay.received_before(&caller.account, &mailbox, &id).await? {
            return Ok((entry, destination));
        }
        let entry = self.relay.hand_out(&caller.account, Some(&mailbox), &id).await?;
        Ok((entry, destination))
    }

    /// `GET /submissions/{id}`.
    pub(super) async fn fetch(&self, caller: &Caller, submission: Uuid) -> Result<Response<Body>, Problem> {
        let (entry, destination) = self.handed_out(caller, submission).await?;
        let mut answer = item(&entry, &destination).ok_or_else(Problem::no_submission)?;
        let mut attachments = Vec::new();
        for part in &entry.manifest.parts {
            match part.id.as_deref() {
                Some("metadata") => answer["encryptedMetadata"] = self.text(&entry, part).await?.into(),
                Some("data") => answer["encryptedData"] = self.text(&entry, part).await?.into(),
                Some(id) => attachments.push(id.to_owned()),
                None => {}
            }
        }
        let service = value!({
            "identifier": entry.envelope.qualifier.service,
            "name": property(&entry, SERVICE_NAME).unwrap_or_default(),
        });
        answer["attachments"] = attachments.into();
        answer["serviceType"] = service.clone();
        answer["publicService"] = service;
        Ok(json(StatusCode::OK, &answer))
    }

    async fn text(&self, entry: &Entry, part: &Part) -> Result<String, Problem> {
        // As long as it was when it was taken, whatever is the most that is taken today.
        let mut reader = self.relay.open_part(entry, part).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await.map_err(|error| Problem::from(Refusal::from(error)))? {
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map_err(|_| Problem::no_submission())
    }

    /// `GET /submissions/{id}/attachments/{id}`.
    pub(super) async fn fetch_attachment(
        &self,
        caller: &Caller,
        submission: Uuid,
        attachment: Uuid,
    ) -> Result<Response<Body>, Problem> {
        let (entry, _) = self.handed_out(caller, submission).await?;
        let name = attachment.to_string();
        let part = entry.manifest.parts.iter().find(|part| part.id.as_deref() == Some(name.as_str()));
        let part = part.ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "attachment-not-announced",
                "the submission has no such attachment",
            )
        })?;
        let reader = self.relay.open_part(&entry, part).await?;
        let mut response = Response::new(streamed(reader));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jose"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(part.length));
        Ok(response)
    }

    pub(super) async fn events(
        &self,
        caller: &Caller,
        method: &Method,
        whose: EventsOf,
        query: &str,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Problem> {
        match *method {
            Method::GET => {
                let (offset, limit) = page(query)?;
                let log = match whose {
                    EventsOf::Submission(submission) => self.log_of_submission(caller, submission).await?,
                    EventsOf::Case(case) => self.log_of_case(caller, case).await?,
                };
                self.relay.confirm().await?;
                let total = log.len();
                let mut shown = Vec::new();
                for (_, said) in log.into_iter().skip(offset).take(limit) {
                    shown.push(self.token_of(said).await?);
                }
                Ok(json(
                    StatusCode::OK,
                    &value!({
                        "count": shown.len(), "offset": offset, "totalCount": total, "eventLog": shown,
                    }),
                ))
            }
            Method::POST => {
                must_be(headers, &["application/jose", "application/secevent+jwt"])?;
                let token = read(body, SMALL_BODY_BYTES_MAX).await?;
                let submission = match whose {
                    EventsOf::Submission(submission) => submission,
                    EventsOf::Case(case) => self.meant(caller, case, &token).await?,
                };
                self.say(caller, submission, &token).await
            }
            _ => Err(not_served("GET, POST")),
        }
    }

    async fn log_of_submission(&self, caller: &Caller, submission: Uuid) -> Result<Log, Problem> {
        let id = self.message_id(submission)?;
        let log = match self.relay.card(&caller.account, None, &id).await {
            Ok(entry) => self.log_if_seen(caller, &entry).await?,
            Err(Refusal::UnknownMessage) => self.log_of_draft(caller, submission).await?,
            Err(refusal) => return Err(refusal.into()),
        };
        log.ok_or_else(Problem::no_submission)
    }

    /// Of all its submissions that the caller may see, in the order of what happened.
    async fn log_of_case(&self, caller: &Caller, case: Uuid) -> Result<Log, Problem> {
        let first = counterpart(case);
        let id = self.message_id(first)?;
        let (mut logs, author) = match self.relay.card(&caller.account, None, &id).await {
            Ok(entry) if case_of(&entry) == Some(case) => {
                (vec![self.log_if_seen(caller, &entry).await?], Some(entry.card.posted_by))
            }
            Ok(_) => return Err(Problem::no_submission()),
            // Its first submission was never made, or is gone: nothing says who began it.
            Err(Refusal::UnknownMessage) => {
                let begun = self.log_of_draft(caller, first).await?;
                (vec![begun], (!caller.subscribes).then(|| caller.account.name.clone()))
            }
            Err(refusal) => return Err(refusal.into()),
        };
        for entry in self.relay.continued(author.as_ref(), &id, CASE_MAX).await? {
            if case_of(&entry) == Some(case) {
                logs.push(self.log_if_seen(caller, &entry).await?);
            }
        }
        let mut log: Log = logs.into_iter().flatten().flatten().collect();
        if log.is_empty() {
            return Err(Problem::no_submission());
        }
        log.sort_by_key(|(at, _)| *at);
        Ok(log)
    }

    /// Nothing for whoever neither sent it nor owns its destination.
    async fn log_if_seen(&self, caller: &Caller, entry: &Entry) -> Result<Option<Log>, Problem> {
        let is_author = caller.sends && entry.card.posted_by == caller.account.name;
        let is_reader = caller.subscribes && self.own_destination(caller, entry).is_some();
        if entry.card.door != DOOR || !(is_author || is_reader) {
            return Ok(None);
        }
        let statements = self.relay.statements(&entry.envelope.id).await?;
        self.log_of(entry, &statements).map(Some)
    }

    /// What is announced and not submitted is its sender's alone.
    async fn log_of_draft(&self, caller: &Caller, submission: Uuid) -> Result<Option<Log>, Problem> {
        if !caller.sends {
            return Ok(None);
        }
        let Some((_, begun)) = self.found(caller, submission).await? else { return Ok(None) };
        let case = begun.case_id(submission);
        Ok(Some(vec![self.own_event(Event::Create, begun.at, (submission, case), None, Vec::new())]))
    }

    /// Which submission of a case a token is about, by its own word; whether it may be believed is judged after that.
    async fn meant(&self, caller: &Caller, case: Uuid, token: &[u8]) -> Result<Uuid, Problem> {
        let first = counterpart(case);
        let claimed = std::str::from_utf8(token).ok().and_then(|token| {
            let read = Unverified::parse(token.trim(), event::TYPE).ok()?;
            let claims: Claims = serde_json::from_slice(read.claimed()).ok()?;
            Uuid::try_parse(claims.sub.strip_prefix("submission:")?).ok()
        });
        let Some(claimed) = claimed.filter(|claimed| *claimed != first) else { return Ok(first) };
        let Ok(id) = self.message_id(claimed) else { return Ok(first) };
        match self.relay.card(&caller.account, None, &id).await {
            Ok(entry) if case_of(&entry) == Some(case) => Ok(claimed),
            Ok(_) | Err(Refusal::UnknownMessage) => Ok(first),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn own_event(
        &self,
        event: Event,
        at: Timestamp,
        (submission, case): (Uuid, Uuid),
        tags: Option<&AuthenticationTags>,
        problems: Vec<Reason>,
    ) -> (Timestamp, Said) {
        let (submission, case) = (submission.to_string(), case.to_string());
        let details = Details { authentication_tags: tags.cloned(), problems };
        let claims = event::own(event, at, &self.settings.base, &submission, &case, &details);
        (at, Said::Own(Box::new(claims)))
    }

    /// The token that says so. Of those who ask at the same time for what nobody has signed yet, all get the same one.
    async fn token_of(&self, said: Said) -> Result<String, Problem> {
        let claims = match said {
            Said::Told(token) => return Ok(token),
            Said::Own(claims) => claims,
        };
        let name = Name::of(event::TYPE, &claims);
        match self.signed.known(&name) {
            Some(token) => Ok(token),
            None => Ok(self.signed.keep(name, self.sign(event::TYPE, claims).await?)),
        }
    }

    /// The card and what was said, in the order of what happened.
    fn log_of(&self, entry: &Entry, statements: &[Statement]) -> Result<Log, Problem> {
        let submission = uuid_of(&entry.envelope.id).ok_or_else(Problem::no_submission)?;
        let case = case_of(entry).ok_or_else(Problem::no_submission)?;
        let tags = tags_of(entry);
        let card = &entry.card;
        let own = |event, at, tags: Option<&AuthenticationTags>, problems: Vec<Reason>| {
            self.own_event(event, at, (submission, case), tags, problems)
        };
        let announced = property(entry, ANNOUNCED_AT).and_then(|text| text.parse().ok());
        let mut log = vec![own(Event::Create, announced.unwrap_or(card.accepted_at), None, Vec::new())];
        for step in &card.steps {
            match step.event {
                MessageEvent::Accepted => log.push(own(Event::Submit, step.at, Some(&tags), Vec::new())),
                MessageEvent::Received if !statements.iter().any(is_verdict) => {
                    log.push(own(Event::Accept, step.at, Some(&tags), Vec::new()));
                }
                MessageEvent::Expired | MessageEvent::CancelledByOperator => {
                    let problem = match step.event {
                        MessageEvent::Expired => {
                            ("timeout", "Not fetched", "the authority did not fetch it in time")
                        }
                        _ => ("cancelled", "Withdrawn", "the post office withdrew it"),
                    };
                    log.push(own(Event::Reject, step.at, None, vec![reason(problem)]));
                }
                MessageEvent::PayloadPurged => log.push(own(Event::Delete, step.at, None, Vec::new())),
                _ => {}
            }
            if step.event == MessageEvent::Accepted
                && let Some(at) = card.delivered_at
            {
                log.push(own(Event::Notify, at, Some(&tags), Vec::new()));
            }
        }
        log.extend(statements.iter().map(|said| (said.at, Said::Told(said.text.clone()))));
        // Of one instant in the order above.
        log.sort_by_key(|(at, _)| *at);
        Ok(log)
    }

    /// `POST …/events`: what a subscriber has to say.
    async fn say(&self, caller: &Caller, submission: Uuid, token: &[u8]) -> Result<Response<Body>, Problem> {
        caller.must_subscribe()?;
        let wrong = |words: String| Problem::unprocessable("event-invalid", words);
        let token = std::str::from_utf8(token).map_err(|_| wrong("the token is no text".to_owned()))?.trim();
        let id = self.message_id(submission)?;
        let entry = self.relay.card(&caller.account, None, &id).await?;
        let (destination, mailbox) =
            self.own_destination(caller, &entry).ok_or_else(Problem::no_submission)?;
        let case = case_of(&entry).ok_or_else(Problem::no_submission)?;
        let (submission, case) = (submission.to_string(), case.to_string());
        let about = About {
            destination: &destination.id,
            submission: &submission,
            case: &case,
            tags: &tags_of(&entry),
            now: self.relay.now(),
        };
        let said = event::check(token, &present_keys(&destination), about)
            .map_err(|error| wrong(error.to_string()))?;
        let (effect, severity) = match said.event {
            Event::Accept => (MessageEvent::Received, Severity::Info),
            Event::Reject => (MessageEvent::Received, Severity::Warning),
            _ => (MessageEvent::HandedOut, Severity::Info),
        };
        let now = self.relay.now();
        let finding = Finding {
            at: now,
            severity,
            code: said.event.as_str().to_owned(),
            reason: format!("token {}, SHA-256 {}", said.jti, Digest::of(token.as_bytes())),
        };
        let statement =
            Statement { id: said.jti, at: now, by: caller.account.name.clone(), text: token.to_owned() };
        match self.relay.declare(&caller.account, &mailbox, &id, effect, finding, statement).await {
            Ok(_) => Ok(no_content()),
            Err(Refusal::StateForbids { state, .. }) => Err(Problem::conflict(
                "event-out-of-order",
                format!("the submission is {state}; it takes no {}", said.event.as_str()),
            )),
            Err(Refusal::IdUsed) => {
                Err(Problem::conflict("event-out-of-order", "another event has been told under this jti"))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Whether a statement decided. It was checked when it came in.
fn is_verdict(statement: &Statement) -> bool {
    let payload = statement.text.split('.').nth(1).and_then(|part| crate::pki::jose::decode(part).ok());
    let claims = payload.and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    claims.is_some_and(|claims| {
        [Event::Accept, Event::Reject].iter().any(|verdict| claims.events.contains_key(&verdict.uri()))
    })
}

fn reason((kind, title, detail): (&str, &str, &str)) -> Reason {
    Reason {
        kind: format!("{PROBLEMS}{kind}"),
        title: title.to_owned(),
        detail: detail.to_owned(),
        instance: "submission".to_owned(),
    }
}

fn tags_of(entry: &Entry) -> AuthenticationTags {
    property(entry, TAGS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn item(entry: &Entry, destination: &Destination) -> Option<Value> {
    let submission = uuid_of(&entry.envelope.id)?;
    let state = match entry.card.state {
        DeliveryState::Received => "decided",
        _ => "submitted",
    };
    Some(value!({
        "destinationId": destination.id,
        "submissionId": submission,
        "caseId": case_of(entry)?,
        "status": state,
        "submittedAt": entry.card.accepted_at.to_string(),
    }))
}

fn streamed(reader: Box<dyn PayloadReader>) -> Body {
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let piece = reader.next().await.map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(piece.map(|bytes| (Frame::data(bytes), reader)))
    });
    StreamBody::new(Box::pin(pieces)).boxed_unsync()
}
