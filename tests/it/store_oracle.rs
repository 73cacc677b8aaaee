//! A plain model of a store, and a run of operations that a store and its model must answer alike, all the time.
//!
//! Random tests and the fuzzer feed it; neither has a model of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use amtsbote::domain::card::{ProcessCard, Step};
use amtsbote::domain::content::Digest;
use amtsbote::domain::profile::ServiceProfile;
use amtsbote::domain::state::{DeliveryState, Event, transition};
use amtsbote::evidence::record::{Record, RecordEvent};
use amtsbote::evidence::tree;
use amtsbote::store::{Accepted, DueKind, MailboxSummary, MessageQuery, Store, StoreError};
use jiff::Timestamp;

use crate::store_fixture::*;

/// Messages that operations name.
pub const NAMES: u8 = 8;

/// Events that a caller of `change` may bring.
pub const EVENTS: [Event; 13] = [
    Event::Released,
    Event::HandedOut,
    Event::HandedOut,
    Event::Received,
    Event::CancelledByAuthor,
    Event::CancelledByOperator,
    Event::Declined,
    Event::HeldByOperator,
    Event::Expired,
    Event::Reminded,
    Event::PushFailed,
    Event::Undeliverable,
    Event::Requeued,
];

#[derive(Debug, Clone)]
pub enum Operation {
    Send { n: u8, other_bytes: bool, held: bool },
    Change { n: u8, event: Event },
    PurgePayload { n: u8 },
    PurgeCard { n: u8 },
    Reopen,
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
        if event == Event::HandedOut && message.card.has_enough_hand_outs() {
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

/// `open` opens the store, and the same one again after `close`.
pub async fn run(operations: Vec<Operation>, open: &dyn Fn() -> Arc<dyn Store>) {
    let mut store = open();
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
                store = open();
            }
        }
        compare(&*store, &model).await;
    }
    assert_evidence(&*store).await;
    store.close().await.expect("closed");
}

/// Every record is in the tree, and every card is the one of its last record.
pub async fn assert_evidence(store: &dyn Store) {
    let size = store.evidence_size().await.expect("a size");
    let records = store.evidence_records(0, u32::MAX).await.expect("records");
    assert_eq!(records.len() as u64, size);
    let leaves: Vec<tree::Hash> = records.iter().map(|record| tree::leaf_hash(&record.bytes)).collect();
    let root = tree::root(leaves.as_slice(), size).expect("all leaves are there");
    assert_eq!(store.tree_root(size).await.expect("a root"), root);
    let mut last = std::collections::BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        assert_eq!(record.index, place as u64);
        let read = Record::from_bytes(&record.bytes).expect("a canonical record");
        last.insert(read.message_id.as_str().to_owned(), read);
    }
    let query = MessageQuery { limit: u32::MAX, ..MessageQuery::default() };
    let entries = store.messages(&query).await.expect("messages");
    for entry in &entries {
        let record = last.remove(entry.card.id.as_str()).expect("a record of every message");
        assert_eq!(record.card_digest, Digest::of(&entry.card.to_bytes()), "{}", entry.card.id);
        assert_eq!(record.payload_digest, entry.card.payload_digest);
        let own = store.evidence_of(&entry.card.id).await.expect("records");
        assert_eq!(own.last().map(|last| last.bytes.clone()), Some(record.to_bytes()));
    }
    assert!(last.values().all(|record| record.event == RecordEvent::CardPurged), "{last:?}");
    assert_eq!(store.health().await.expect("health").messages, entries.len() as u64);
}
