//! A seeded simulation of portal, post office and authority: requests and answers get lost or are broken off, everything
//! is said again, the post office restarts, days go by.
//!
//! Door, relay and store are the real ones on real sockets and disks, with a clock of the simulation's. Each side knows only
//! what it was answered. What must hold: a submission that was acknowledged is there, once, and ends in exactly one final
//! state; a verdict that was acknowledged stands in the log word for word, and nothing else may stand there but what was
//! said, closed by XTA, or is the post office's after 14 days; the operator hears of it after 3 days, once; the log is
//! never told differently; what was only announced is forgotten after a day.
//!
//! `AMTSBOTE_SIM_SEED` runs one seed, `AMTSBOTE_SIM_SEEDS` so many from 1 on.

use std::collections::BTreeMap;
use std::time::Duration;

use amtsbote::clock::Clock;
use amtsbote::domain::message_id::MessageId;
use amtsbote::store::Store;
use amtsbote::xta::client::content::MemorySink;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::osci_simulation::{Random, Seed, seeds};
use crate::portal_office::*;

const SEEDS: u64 = 8;
const STEPS: u64 = 100;
const CASES_MAX: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);
const REMINDED: Duration = Duration::from_secs(3 * 86_400);
const REJECTED: Duration = Duration::from_secs(14 * 86_400);

/// What a side knows of what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unsaid,
    /// It was said, and no answer was heard.
    Unknown,
    Done,
}

impl Fate {
    fn said(&mut self, heard: bool) {
        match heard {
            true => *self = Self::Done,
            false if *self == Self::Unsaid => *self = Self::Unknown,
            false => {}
        }
    }
}

struct Case {
    sent: Sent,
    announced_at: Timestamp,
    uploaded: Fate,
    submitted: Fate,
    /// When it was first and last said; it was submitted in between.
    submitted_at: Option<(Timestamp, Timestamp)>,
    /// Tokens, what they say, and whether they were answered.
    verdicts: Vec<(&'static str, String, Fate)>,
    closed: Fate,
    /// Nobody at the authority decides it.
    neglected: bool,
    /// Ids of the events that were seen.
    seen: Vec<String>,
    rejections: usize,
}

struct Simulation {
    random: Random,
    office: Office,
    cases: Vec<Case>,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_submission_ends_once() {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for seed in seeds(SEEDS) {
        let _seed = Seed(seed);
        let mut simulation =
            Simulation { random: Random(seed), office: Office::open().await, cases: Vec::new() };
        for _ in 0..STEPS {
            simulation.step().await;
        }
        for end in simulation.settle().await {
            *ends.entry(end).or_default() += 1;
        }
    }
    println!("{ends:?}");
    let all = ["accept-submission", "forgotten", "reject-submission", "rejected in time"];
    let missing: Vec<&&str> = all.iter().filter(|end| !ends.contains_key(**end)).collect();
    assert!(
        missing.is_empty() || seeds(SEEDS).count() < 8,
        "nothing ended as {missing:?}, which proves little"
    );
}

impl Simulation {
    fn now(&self) -> Timestamp {
        self.office.xta.clock.now()
    }

    async fn step(&mut self) {
        self.office.xta.clock.advance(Duration::from_secs(1));
        match self.random.below(100) {
            0..12 => self.announce().await,
            12..24 => self.upload().await,
            24..42 => self.submit().await,
            42..54 | 84..94 => self.say().await,
            54..60 => self.close_by_xta().await,
            60..75 => {
                // Mostly within the day that an announcement has, or nearly all would be forgotten.
                let longest = if self.random.percent(20) { 40 } else { 3 };
                let hours = 1 + self.random.below(longest);
                self.pass(Duration::from_secs(hours * 3600)).await;
            }
            75..81 => self.office.restart().await,
            81..84 => self.office.restart_door().await,
            _ => {}
        }
        if !self.cases.is_empty() && self.random.percent(50) {
            let at = self.random.place(self.cases.len());
            self.look(at).await;
        }
    }

    async fn pass(&mut self, time: Duration) {
        self.office.xta.clock.advance(time);
        self.office.xta.relay.tick().await.expect("ticks");
        self.office.sweep().await;
    }

    /// One request over the network of this world: its answer, if one arrives.
    async fn call(
        &mut self,
        client: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: String,
    ) -> Option<Answer> {
        let token = self.office.token(client).await;
        match self.random.below(100) {
            // The request is lost.
            0..8 => None,
            // The connection breaks while it is at work.
            8..16 => {
                let micros = self.random.below(20_000);
                let call = self.office.call(method, path, &token, kind, body);
                tokio::time::timeout(Duration::from_micros(micros), call).await.ok()
            }
            // The answer is lost.
            16..24 => {
                self.office.call(method, path, &token, kind, body).await;
                None
            }
            // The network doubles the request.
            24..34 => {
                let first = self.office.call(method, path, &token, kind, body.clone());
                let second = self.office.call(method, path, &token, kind, body);
                let (first, second) = tokio::join!(first, second);
                Some(if self.random.percent(50) { first } else { second })
            }
            _ => Some(self.office.call(method, path, &token, kind, body).await),
        }
    }

    async fn announce(&mut self) {
        if self.cases.len() >= CASES_MAX {
            return;
        }
        let body = json!({
            "destinationId": DESTINATION,
            "announcedAttachments": [ATTACHMENT],
            "publicService": { "identifier": format!("urn:de:fim:leika:leistung:{SERVICE}") },
        });
        let answer =
            self.call("portal", "POST", "/v2/submissions", "application/json", body.to_string()).await;
        let Some(answer) = answer else {
            return;
        };
        let ids = answer.is(201).json();
        let text = |name: &str| ids[name].as_str().expect("an id").to_owned();
        let salt = self.random.below(u64::MAX).to_be_bytes();
        let sent = Sent {
            submission: text("submissionId"),
            case: text("caseId"),
            metadata: seal(b"{}"),
            data: seal(&salt),
            attachment: seal(&salt.repeat(1 + self.random.place(20_000))),
        };
        let known = self.cases.iter().any(|case| case.sent.submission == sent.submission);
        assert!(!known, "{} was issued twice", sent.submission);
        self.cases.push(Case {
            sent,
            announced_at: self.now(),
            uploaded: Fate::Unsaid,
            submitted: Fate::Unsaid,
            submitted_at: None,
            verdicts: Vec::new(),
            closed: Fate::Unsaid,
            neglected: self.random.percent(35),
            seen: Vec::new(),
            rejections: 0,
        });
    }

    /// A case of which the portal or the authority has something to say, perhaps again.
    fn pick(&mut self, wanted: impl Fn(&Case) -> bool) -> Option<usize> {
        let fit: Vec<usize> = (0..self.cases.len()).filter(|at| wanted(&self.cases[*at])).collect();
        fit.get(self.random.place(fit.len())).copied()
    }

    /// Whether what was announced may have been forgotten.
    fn is_over(&self, at: usize) -> bool {
        let until = self.cases[at].announced_at.checked_add(DAY).expect("in time");
        self.now() >= until
    }

    async fn upload(&mut self) {
        let again = self.random.percent(20);
        let Some(at) = self.pick(|case| again || case.uploaded != Fate::Done) else { return };
        let sent = &self.cases[at].sent;
        let path = format!("/v2/submissions/{}/attachments/{ATTACHMENT}", sent.submission);
        let body = sent.attachment.clone();
        let answer = self.call("portal", "PUT", &path, "application/jose", body).await;
        let over = self.is_over(at);
        let case = &mut self.cases[at];
        match answer {
            Some(answer) if answer.status == 409 => answer.refuses(409, "offset-conflict"),
            // Submitted, or forgotten.
            Some(answer) if answer.status == 404 => {
                assert!(over || case.submitted != Fate::Unsaid, "{} is lost", case.sent.submission);
            }
            Some(answer) => {
                answer.is(204);
                case.uploaded.said(true);
            }
            None => case.uploaded.said(false),
        }
    }

    async fn submit(&mut self) {
        let again = self.random.percent(25);
        let Some(at) = self.pick(|case| again || case.submitted != Fate::Done) else { return };
        let sent = &self.cases[at].sent;
        let path = format!("/v2/submissions/{}", sent.submission);
        let body = json!({ "encryptedMetadata": sent.metadata, "encryptedData": sent.data });
        let begun = self.now();
        let answer = self.call("portal", "PUT", &path, "application/json", body.to_string()).await;
        let (over, now) = (self.is_over(at), self.now());
        let case = &mut self.cases[at];
        let first = case.submitted_at.map_or(begun, |(first, _)| first);
        match answer {
            Some(answer) if answer.status == 404 => {
                assert!(over && case.submitted != Fate::Done, "{} is lost", case.sent.submission);
            }
            Some(answer) if answer.status == 422 => {
                assert!(case.uploaded != Fate::Done, "{} lost its attachment", case.sent.submission);
                answer.refuses(422, "attachment-incomplete");
            }
            Some(answer) => {
                let told = answer.is(200).json();
                assert_eq!(told["caseId"], case.sent.case.as_str());
                if case.submitted != Fate::Done {
                    case.submitted_at = Some((first, now));
                }
                case.submitted = Fate::Done;
            }
            None if case.submitted != Fate::Done => {
                case.submitted_at = Some((first, now));
                case.submitted.said(false);
            }
            None => {}
        }
    }

    /// The authority accepts, rejects or forwards, or says once more what it said.
    async fn say(&mut self) {
        let Some(at) = self.pick(|case| case.submitted == Fate::Done && !case.neglected) else { return };
        let case = &self.cases[at];
        let old = self.random.place(case.verdicts.len());
        let again = self.random.percent(40) && !case.verdicts.is_empty();
        let place = match again {
            true => old,
            false => {
                let kind =
                    ["accept-submission", "reject-submission", "reject-submission", "forward-submission"]
                        [self.random.place(4)];
                let claims = match kind {
                    "accept-submission" => case.sent.accept(),
                    "reject-submission" => case.sent.reject(),
                    _ => case.sent.claims(kind, json!({})),
                };
                let case = &mut self.cases[at];
                case.verdicts.push((kind, signed(&claims), Fate::Unsaid));
                case.verdicts.len() - 1
            }
        };
        let path = self.cases[at].sent.events();
        let token = self.cases[at].verdicts[place].1.clone();
        let answer = self.call("town", "POST", &path, "application/jose", token).await;
        let said = &mut self.cases[at].verdicts[place].2;
        match answer {
            Some(answer) if answer.status == 409 => {
                answer.refuses(409, "event-out-of-order");
                assert!(
                    *said != Fate::Done || self.cases[at].seen.len() > 3,
                    "what was said may be said again"
                );
            }
            Some(answer) => {
                answer.is(204);
                said.said(true);
            }
            None => said.said(false),
        }
        self.look(at).await;
    }

    /// The authority has the same message in its mailbox, fetches it by XTA and may close it.
    async fn close_by_xta(&mut self) {
        let reader = self.office.xta.client("reader", None);
        let page = reader.list(&Default::default(), Some(50)).await.expect("a list");
        let Some(shown) = page.messages.get(self.random.place(page.messages.len())) else { return };
        let id = shown.envelope.id.clone();
        let at = self.cases.iter().position(|case| id.as_str().ends_with(&case.sent.submission));
        let at = at.expect("announced to somebody");
        let case = &self.cases[at];
        assert!(case.submitted != Fate::Unsaid, "{id} was never submitted");
        let mut sink = MemorySink::default();
        let fetched = reader.fetch(&id, &mut sink).await.expect("fetched");
        let bodies: Vec<Vec<u8>> = sink.parts.into_values().collect();
        let expected = [&case.sent.metadata, &case.sent.data, &case.sent.attachment];
        assert!(bodies == expected.map(|text| text.clone().into_bytes()), "{id} is not what was sent");
        if self.random.percent(50) && !case.neglected {
            let request = fetched.request_id.unwrap_or_default();
            reader.close(&request, &[id]).await.expect("closed");
            self.cases[at].closed = Fate::Done;
            self.look(at).await;
        }
    }

    /// Holds the log of a case and its card against what both sides know; the names of its events.
    async fn look(&mut self, at: usize) -> Vec<String> {
        let token = self.office.token("portal").await;
        let now = self.now();
        let over = self.is_over(at);
        let case = &mut self.cases[at];
        let id = case.sent.submission.clone();
        let answer = self.office.get(&case.sent.events(), &token).await;
        if answer.status == 404 {
            assert!(over && case.submitted != Fate::Done, "{id} is lost");
            return Vec::new();
        }
        let tokens = answer.is(200).json()["eventLog"].clone();
        let log = verified(&tokens);
        let names: Vec<String> = log.iter().map(name).collect();
        let ids: Vec<String> =
            log.iter().map(|claims| claims["jti"].as_str().expect("an id").to_owned()).collect();
        assert!(ids.starts_with(&case.seen), "{id}: {:?} became {ids:?}", case.seen);
        case.seen = ids;
        if case.submitted == Fate::Unsaid {
            assert_eq!(names, ["create-submission"], "{id} was not submitted");
            return names;
        }
        if names.len() == 1 {
            assert!(case.submitted != Fate::Done, "{id} was acknowledged and is lost");
            return names;
        }
        assert_eq!(names[..3], ["create-submission", "submit-submission", "notify-submission"], "{id}");
        let ends = |name: &&String| ["accept-submission", "reject-submission"].contains(&name.as_str());
        let verdicts = names.iter().filter(ends).count();
        assert!(verdicts <= 1, "{id} ends more than once: {names:?}");
        let deleted = names.iter().position(|name| name == "delete-submission");
        assert!(deleted.is_none_or(|place| place == names.len() - 1 && verdicts == 1), "{id}: {names:?}");

        // Whatever was acknowledged is there, word for word; whatever is there was said by somebody.
        let words: Vec<&str> = tokens.as_array().expect("a log").iter().filter_map(Value::as_str).collect();
        for (kind, token, fate) in &case.verdicts {
            assert!(
                *fate != Fate::Done || words.contains(&token.as_str()),
                "{id}: {kind} was acknowledged and is lost"
            );
        }
        let (first, last) = case.submitted_at.expect("it was submitted");
        let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).expect("later");
        let verdict = names.iter().position(|name| ends(&name));
        if let Some(place) = verdict {
            let of_the_authority = case.verdicts.iter().any(|(kind, token, fate)| {
                *kind == names[place] && *fate != Fate::Unsaid && token == words[place]
            });
            match (of_the_authority, names[place].as_str()) {
                (true, _) => {}
                (false, "accept-submission") => {
                    assert_eq!(case.closed, Fate::Done, "{id}: nobody accepted it")
                }
                (false, _) => {
                    let at = log[place]["iat"].as_i64().expect("an instant") - first.as_second();
                    assert!(at >= REJECTED.as_secs() as i64, "{id} was rejected after {at} s");
                    case.rejections = 1;
                }
            }
        }
        let message = MessageId::parse(&format!("urn:de:xta:messageid:testpost:{id}")).expect("an id");
        let card = self.office.xta.store.find(&message).await.expect("a card").card;
        let reminders = card.findings.iter().filter(|finding| finding.code == "not-fetched");
        let reminders: Vec<Duration> =
            reminders.map(|one| Duration::try_from(one.at.duration_since(first)).expect("later")).collect();
        assert!(reminders.len() <= 1, "{id}: {reminders:?}");
        assert!(reminders.iter().all(|after| *after >= REMINDED), "{id}: {reminders:?}");
        if verdict.is_none() {
            // Deadlines are looked at whenever hours go by.
            assert!(age(last) < REJECTED + DAY * 2, "{id} has no end");
            let due = age(last) > REMINDED + DAY * 2;
            assert!(!due || !reminders.is_empty(), "{id}: nobody was reminded of it");
        }
        names
    }

    /// Long after, everything has ended: how.
    async fn settle(mut self) -> Vec<String> {
        for at in 0..self.cases.len() {
            self.look(at).await;
        }
        self.pass(REJECTED + DAY).await;
        for at in 0..self.cases.len() {
            self.look(at).await;
        }
        self.pass(DAY * 8).await;
        let mut ends = Vec::new();
        let mut stored = 0;
        for at in 0..self.cases.len() {
            let names = self.look(at).await;
            let case = &self.cases[at];
            match names.as_slice() {
                [] => ends.push("forgotten".to_owned()),
                [.., verdict, last] => {
                    assert_eq!(last, "delete-submission", "{}: {names:?}", case.sent.submission);
                    stored += 1;
                    ends.push(if case.rejections == 1 {
                        "rejected in time".to_owned()
                    } else {
                        verdict.clone()
                    });
                }
                [_] => panic!("{} is still announced", case.sent.submission),
            }
        }
        assert_eq!(self.office.xta.stored().await, stored, "every submission is there once");
        assert_eq!(self.office.xta.payload_files(), 0);
        self.office.xta.close().await;
        ends
    }
}

fn name(claims: &Value) -> String {
    let events = claims["events"].as_object().expect("events");
    assert_eq!(events.len(), 1);
    events.keys().next().and_then(|uri| uri.rsplit('/').next()).expect("a name").to_owned()
}
