//! Random operations against a store and against a plain model of it: both must answer alike, all the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use amtsbote::domain::card::{ProcessCard, Step};
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::domain::state::{DeliveryState, Event, transition};
use amtsbote::store::{Accepted, DueKind, MailboxSummary, Store, StoreError};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::store_conformance::{Bench, assert_evidence};
use crate::store_embedded::Embedded;
use crate::store_fixture::*;

#[derive(Debug, Clone)]
enum Operation {
    Send { n: u8, other_bytes: bool, held: bool },
    Change { n: u8, event: Event },
    PurgePayload { n: u8 },
    PurgeCard { n: u8 },
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let event = prop::sample::select(vec![
        Event::Released,
        Event::HandedOut,
        Event::HandedOut,
        Event::Received,
        Event::CancelledByAuthor,
        Event::CancelledByOperator,
        Event::HeldByOperator,
        Event::Expired,
        Event::Reminded,
        Event::PushFailed,
        Event::Undeliverable,
        Event::Requeued,
    ]);
    let n = 0..8_u8;
    prop_oneof![
        4 => (n.clone(), prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(n, other_bytes, held)| Operation::Send { n, other_bytes, held }),
        10 => (n.clone(), event).prop_map(|(n, event)| Operation::Change { n, event }),
        2 => n.clone().prop_map(|n| Operation::PurgePayload { n }),
        1 => n.prop_map(|n| Operation::PurgeCard { n }),
        1 => Just(Operation::Reopen),
    ]
}

/// One message as the model knows it.
#[derive(Debug, Clone)]
struct Message {
    draft: Draft,
    card: ProcessCard,
    has_payload: bool,
    released: bool,
    reminded: bool,
    final_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Model {
    /// In order of entry.
    messages: Vec<Message>,
    used: BTreeMap<String, Draft>,
    records: u64,
}

fn name(n: u8) -> String {
    format!("m{n}")
}

fn draft_of(n: u8, other_bytes: bool, held: bool) -> Draft {
    let mailbox = mailbox(if n.is_multiple_of(2) { "ags:1" } else { "ags:2" });
    let length = if n == 5 { 70_000 } else { 50 + usize::from(n) };
    Draft {
        mailbox,
        content: content(u64::from(n) + 100 * u64::from(other_bytes), length),
        not_before: held.then(|| at(500)),
        remind_at: Some(at(900)),
        ..draft(&name(n))
    }
}

impl Model {
    fn send(&mut self, draft: Draft) -> Result<Accepted, &'static str> {
        if let Some(first) = self.used.get(draft.id.as_str()) {
            let same = first.request_digest() == draft.request_digest();
            return if same { Ok(Accepted::Before) } else { Err("used") };
        }
        self.used.insert(draft.id.as_str().to_owned(), draft.clone());
        self.records += 1;
        let card = draft.card();
        let message =
            Message { draft, card, has_payload: true, released: false, reminded: false, final_at: None };
        self.messages.push(message);
        Ok(Accepted::New)
    }

    fn find(&mut self, n: u8) -> Result<&mut Message, &'static str> {
        let id = id(&name(n));
        self.messages.iter_mut().find(|message| message.card.id == id).ok_or("unknown")
    }

    fn change(&mut self, n: u8, event: Event, when: Timestamp) -> Result<(), &'static str> {
        let message = self.find(n)?;
        let before = message.card.state;
        let state = transition(before, event).map_err(|_| "denied")?;
        if (before, event) == (DeliveryState::Received, Event::Received) {
            return Ok(());
        }
        if event == Event::PayloadPurged && !message.has_payload {
            return Ok(());
        }
        if event == Event::Requeued && !message.has_payload {
            return Err("denied");
        }
        message.card.record(Step { at: when, event, state, by: None, reason: None });
        if event == Event::Requeued && message.card.delivered_at.is_none() {
            message.card.delivered_at = Some(when);
        }
        message.released |= event == Event::Released;
        message.reminded |= event == Event::Reminded;
        message.has_payload &= event != Event::PayloadPurged;
        if !state.is_final() {
            message.final_at = None;
        } else if !before.is_final() {
            message.final_at = Some(when);
        }
        self.records += 1;
        Ok(())
    }

    fn purge_card(&mut self, n: u8) -> Result<(), &'static str> {
        let message = self.find(n)?;
        if !message.card.state.is_final() {
            return Err("denied");
        }
        let id = message.card.id.clone();
        self.messages.retain(|message| message.card.id != id);
        self.records += 1;
        Ok(())
    }

    fn due(&self) -> Vec<(Timestamp, String, DueKind)> {
        let mut due = Vec::new();
        for message in &self.messages {
            let (card, draft) = (&message.card, &message.draft);
            let mut add = |at, kind| due.push((at, card.id.as_str().to_owned(), kind));
            if let (DeliveryState::Held, Some(at), false) = (card.state, draft.not_before, message.released) {
                add(at, DueKind::Release);
            }
            if let (true, Some(at), false) = (card.state.is_offered(), draft.remind_at, message.reminded) {
                add(at, DueKind::Remind);
            }
            match message.final_at {
                None => add(draft.expire_at, DueKind::Expire),
                Some(at) => {
                    if message.has_payload {
                        add(ServiceProfile::after_days(at, 1), DueKind::PurgePayload);
                    }
                    add(ServiceProfile::after_days(at, 2), DueKind::PurgeCard);
                }
            }
        }
        due.sort_by(|one, other| (one.0, &one.1, one.2 as u8).cmp(&(other.0, &other.1, other.2 as u8)));
        due
    }

    fn mailboxes(&self) -> Vec<MailboxSummary> {
        let mut boxes = BTreeMap::new();
        for Message { card, .. } in &self.messages {
            let summary = boxes.entry(card.mailbox.clone()).or_insert_with(|| MailboxSummary {
                name: card.mailbox.clone(),
                held: 0,
                waiting: 0,
                handed_out: 0,
                dead: 0,
                bytes_waiting: 0,
                oldest_waiting_at: None,
            });
            match card.state {
                DeliveryState::Held => summary.held += 1,
                DeliveryState::Waiting => {
                    summary.waiting += 1;
                    summary.bytes_waiting += card.payload_bytes;
                    let oldest = summary.oldest_waiting_at.into_iter().chain(card.delivered_at).min();
                    summary.oldest_waiting_at = oldest;
                }
                DeliveryState::HandedOut => summary.handed_out += 1,
                DeliveryState::Dead => summary.dead += 1,
                _ => {}
            }
        }
        boxes.into_values().collect()
    }
}

fn word<T>(answer: Result<T, StoreError>) -> Result<T, &'static str> {
    answer.map_err(|error| match error {
        StoreError::Unknown => "unknown",
        StoreError::Denied(_) => "denied",
        StoreError::IdUsed => "used",
        other => panic!("{other}"),
    })
}

async fn compare(store: &dyn Store, model: &Model) {
    for mailbox_name in ["ags:1", "ags:2"] {
        let listing = store.list(&of_mailbox(mailbox_name), 0, 100).await.expect("a listing");
        let listed: Vec<_> =
            listing.entries.into_iter().map(|entry| (entry.card, entry.has_payload)).collect();
        let offered = |message: &&Message| {
            message.card.mailbox.as_str() == mailbox_name && message.card.state.is_offered()
        };
        let expected: Vec<_> =
            model.messages.iter().filter(offered).map(|one| (one.card.clone(), one.has_payload)).collect();
        assert_eq!(listed, expected);
    }
    for message in &model.messages {
        let entry = store.find(&message.card.id).await.expect("found");
        assert_eq!((&entry.card, entry.has_payload), (&message.card, message.has_payload));
        let bytes = word(payload_of(store, &message.card.id, 0, u64::MAX).await);
        let expected = if message.has_payload { Ok(message.draft.content.clone()) } else { Err("unknown") };
        assert!(bytes == expected, "payload of {}", message.card.id);
    }
    assert_eq!(store.mailboxes().await.expect("mailboxes"), model.mailboxes());
    let due = store.due(Timestamp::MAX, 1000).await.expect("due");
    assert!(due.is_sorted_by_key(|due| due.at));
    let mut due: Vec<_> = due.into_iter().map(|due| (due.at, due.id.as_str().to_owned(), due.kind)).collect();
    due.sort_by(|one, other| (one.0, &one.1, one.2 as u8).cmp(&(other.0, &other.1, other.2 as u8)));
    assert_eq!(due, model.due());
    assert_eq!(store.evidence_size().await.expect("a size"), model.records);
}

async fn run(operations: Vec<Operation>) {
    let bench = Embedded::new();
    let mut store: Arc<dyn Store> = bench.open();
    let mut model = Model::default();
    for (step, operation) in operations.into_iter().enumerate() {
        let seconds = step as u64 + 1;
        match operation {
            Operation::Send { n, other_bytes, held } => {
                let draft = draft_of(n, other_bytes, held);
                assert_eq!(word(draft.send(&*store).await), model.send(draft));
            }
            Operation::Change { n, event } => {
                let answer = word(store.change(change(&name(n), event, seconds)).await);
                assert_eq!(answer.map(|_| ()), model.change(n, event, at(seconds)), "{event:?}");
            }
            Operation::PurgePayload { n } => {
                let answer = word(store.purge_payload(&id(&name(n)), at(seconds)).await);
                assert_eq!(answer, model.change(n, Event::PayloadPurged, at(seconds)));
            }
            Operation::PurgeCard { n } => {
                let answer = word(store.purge_card(&id(&name(n)), at(seconds)).await);
                assert_eq!(answer, model.purge_card(n));
            }
            Operation::Reopen => {
                store.close().await.expect("closed");
                store = bench.open();
            }
        }
        compare(&*store, &model).await;
    }
    assert_evidence(&*store).await;
    store.close().await.expect("closed");
    let report = amtsbote::store::embedded::verify(&bench.settings().folder).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_and_its_model_answer_alike(operations in prop::collection::vec(operation(), 1..60)) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(run(operations));
    }
}
