//! After the cut: opens the store, which recovers it, and compares what is there with what was promised.
//!
//! Lines on standard output: `lost …` where something acknowledged is gone, `defect …` for everything else that must
//! not be, and one `checked …` at the end. No `checked` line means that the store could not even be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::domain::content::Digest;
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::state::{DeliveryState, Event};
use amtsbote::evidence::record::{Record, RecordEvent};
use amtsbote::evidence::tree;
use amtsbote::store::embedded::{EmbeddedStore, verify};
use amtsbote::store::{Accepted, Entry, MessageQuery, Selection, Store, StoreError};

use crate::child::{die_with_parent, say};
use crate::ledger::{Act, Claim, Ledger};
use crate::message::{self, Message};
use crate::writer;

const PAGE: u32 = 500;

pub fn run(folder: &Path) -> Result<(), String> {
    die_with_parent();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
    let mut ledger = Ledger::default();
    text.lines().for_each(|line| ledger.hear(line, true));
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let store =
            EmbeddedStore::open(writer::settings(folder)).map_err(|error| format!("open: {error}"))?;
        let mut check = Check { store: &store, ledger: &ledger, payload_bytes: 0, records: 0, messages: 0 };
        check.all().await.map_err(|error| format!("reading the store: {error}"))?;
        check.retries().await.map_err(|error| format!("after the recovery: {error}"))?;
        let (messages, bytes, records) = (check.messages, check.payload_bytes, check.records);
        store.close().await.map_err(|error| format!("close: {error}"))?;
        drop(store);
        // The store's own judgement, over files that nobody has open.
        let report = verify(folder).map_err(|error| format!("verify: {error}"))?;
        report.problems.iter().for_each(|problem| defect(&format!("verify: {problem}")));
        if !report.is_sound() && report.problems.is_empty() {
            defect("verify: not sound, without a reason");
        }
        say(&format!(
            "checked {messages} messages, {bytes} payload bytes, {records} evidence records, {} acknowledgements",
            ledger.acknowledged
        ));
        Ok(())
    })
}

fn lost(what: &str) {
    say(&format!("lost {what}"));
}

fn defect(what: &str) {
    say(&format!("defect {what}"));
}

struct Check<'a> {
    store: &'a EmbeddedStore,
    ledger: &'a Ledger,
    messages: u64,
    payload_bytes: u64,
    records: u64,
}

impl Check<'_> {
    async fn all(&mut self) -> Result<(), StoreError> {
        let entries = self.entries().await?;
        self.messages = entries.len() as u64;
        for id in self.ledger.ids() {
            match message::of_id(id) {
                Some(message) => self.one(id, &message, entries.get(id)).await?,
                None => defect(&format!("{id} is no id that the rig makes")),
            }
        }
        for id in entries.keys().filter(|id| self.ledger.claim(id, Act::Accept) == Claim::Never) {
            defect(&format!("{id} is there and was never sent"));
        }
        self.mailboxes(&entries).await?;
        self.evidence().await
    }

    /// Everything that the store holds, each id once.
    async fn entries(&self) -> Result<BTreeMap<String, Entry>, StoreError> {
        let mut entries = BTreeMap::new();
        let mut after = 0;
        loop {
            let query = MessageQuery { after, limit: PAGE, ..MessageQuery::default() };
            let page = self.store.messages(&query).await?;
            let Some(last) = page.last() else { return Ok(entries) };
            after = last.sequence;
            for entry in page {
                let id = entry.envelope.id.as_str().to_owned();
                if entries.insert(id.clone(), entry).is_some() {
                    defect(&format!("{id} is there twice"));
                }
            }
        }
    }

    /// One message against what was promised about it.
    async fn one(&mut self, id: &str, message: &Message, entry: Option<&Entry>) -> Result<(), StoreError> {
        let claim = |act| self.ledger.claim(id, act);
        let records = self.records_of(&message.envelope.id).await?;
        let logged = |event: RecordEvent| records.iter().filter(|record| record.event == event).count();
        let forgotten = logged(RecordEvent::CardPurged) == 1;
        let Some(entry) = entry else {
            match (records.is_empty(), forgotten) {
                (true, _) if claim(Act::Accept) == Claim::Acknowledged => {
                    lost(&format!("accept {id}: no trace"))
                }
                (true, _) => {}
                (false, true) if claim(Act::PurgeCard) == Claim::Never => {
                    defect(&format!("{id}: card purged, and nobody asked for it"));
                }
                (false, true) => {}
                (false, false) => defect(&format!("{id}: evidence without a message")),
            }
            return Ok(());
        };
        if forgotten {
            defect(&format!("{id}: evidence says that the card is purged, and it is there"));
        }
        if claim(Act::PurgeCard) == Claim::Acknowledged {
            lost(&format!("purge-card {id}: the card is back"));
        }
        let happened = |event| entry.card.steps.iter().filter(|step| step.event == event).count();
        for (act, event) in [
            (Act::Accept, Event::Accepted),
            (Act::HandOut, Event::HandedOut),
            (Act::Receive, Event::Received),
            (Act::PurgePayload, Event::PayloadPurged),
        ] {
            match (claim(act), happened(event)) {
                (Claim::Acknowledged, 0) => lost(&format!("{} {id}: not on the card", act.as_str())),
                (Claim::Never, 1..) => {
                    defect(&format!("{} {id}: on the card, never asked for", act.as_str()))
                }
                (_, 2..) => defect(&format!("{} {id}: on the card more than once", act.as_str())),
                _ => {}
            }
        }
        self.card_and_evidence(id, entry, &records);
        self.contents(id, message, entry).await
    }

    fn card_and_evidence(&self, id: &str, entry: &Entry, records: &[Record]) {
        let card = &entry.card;
        let on_card: Vec<_> = card.steps.iter().map(|step| RecordEvent::from(step.event)).collect();
        let in_log: Vec<_> = records.iter().map(|record| record.event).collect();
        if on_card != in_log {
            defect(&format!("{id}: card says {on_card:?}, evidence says {in_log:?}"));
        }
        if card.steps.last().map(|step| step.state) != Some(card.state) {
            defect(&format!("{id}: the card's state is {} and its last step is another", card.state));
        }
        if records.last().map(|record| record.card_digest) != Some(Digest::of(&card.to_bytes())) {
            defect(&format!("{id}: the last evidence is about another card"));
        }
        if records.iter().any(|record| record.payload_digest != card.payload_digest) {
            defect(&format!("{id}: card and evidence name different payloads"));
        }
    }

    /// Envelope, manifest and payload, byte for byte.
    async fn contents(&mut self, id: &str, message: &Message, entry: &Entry) -> Result<(), StoreError> {
        if entry.envelope != message.envelope || entry.manifest != message.manifest {
            defect(&format!("{id}: envelope or manifest differ from what was sent"));
        }
        if entry.card.payload_digest != Digest::of(&message.payload) || entry.card.mailbox != message.mailbox
        {
            defect(&format!("{id}: the card is about something else"));
        }
        let purged = entry.card.steps.iter().any(|step| step.event == Event::PayloadPurged);
        if entry.has_payload == purged {
            defect(&format!("{id}: has a payload: {}, says that it is purged: {purged}", entry.has_payload));
        }
        let length = message.payload.len() as u64;
        match message::read_payload(self.store, &message.envelope.id, length).await {
            Ok(bytes) if purged => defect(&format!("{id}: purged, and {} bytes are given out", bytes.len())),
            Ok(bytes) if bytes == message.payload => self.payload_bytes += length,
            Ok(bytes) => {
                defect(&format!("{id}: payload of {length} bytes comes back as {} others", bytes.len()))
            }
            Err(StoreError::Unknown) if purged => {}
            Err(error) => lost(&format!("payload {id}: {error}")),
        }
        Ok(())
    }

    async fn records_of(&self, id: &MessageId) -> Result<Vec<Record>, StoreError> {
        let logged = match self.store.evidence_of(id).await {
            Ok(logged) => logged,
            Err(StoreError::Unknown) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        for record in logged {
            match Record::from_bytes(&record.bytes) {
                Ok(record) => records.push(record),
                Err(error) => defect(&format!("{id}: evidence record {}: {error}", record.index)),
            }
        }
        Ok(records)
    }

    /// Listings and counters against the messages themselves.
    async fn mailboxes(&self, entries: &BTreeMap<String, Entry>) -> Result<(), StoreError> {
        let summaries = self.store.mailboxes().await?;
        for number in 0..message::MAILBOXES {
            let name = message::mailbox(number);
            let of = |state| {
                entries.values().filter(move |entry| {
                    entry.card.mailbox == message::mailbox(number) && entry.card.state == state
                })
            };
            let waiting: Vec<_> = of(DeliveryState::Waiting).collect();
            let handed_out = of(DeliveryState::HandedOut).count() as u64;
            let bytes: u64 = waiting.iter().map(|entry| entry.card.payload_bytes).sum();
            let seen = summaries
                .iter()
                .find(|summary| summary.name == name)
                .map_or((0, 0, 0), |summary| (summary.waiting, summary.handed_out, summary.bytes_waiting));
            if seen != (waiting.len() as u64, handed_out, bytes) {
                defect(&format!(
                    "mailbox {name} counts {seen:?}, there are {} {handed_out} {bytes}",
                    waiting.len()
                ));
            }
            let expected: BTreeSet<u64> =
                waiting.into_iter().chain(of(DeliveryState::HandedOut)).map(|entry| entry.sequence).collect();
            let selection = Selection { mailboxes: vec![name.clone()], ..Selection::default() };
            let (mut listed, mut after) = (BTreeSet::new(), 0);
            loop {
                let page = self.store.list(&selection, after, PAGE).await?;
                let Some(last) = page.entries.last() else { break };
                after = last.sequence;
                for entry in &page.entries {
                    if !listed.insert(entry.sequence) {
                        defect(&format!("mailbox {name} lists {} twice", entry.envelope.id));
                    }
                }
            }
            if listed != expected {
                defect(&format!(
                    "mailbox {name} lists {} messages, {} are there",
                    listed.len(),
                    expected.len()
                ));
            }
        }
        Ok(())
    }

    /// The log has no gap, its root is the root of its records, and every record is about a message of ours.
    async fn evidence(&mut self) -> Result<(), StoreError> {
        let size = self.store.evidence_size().await?;
        let mut leaves = Vec::new();
        loop {
            let page = self.store.evidence_records(leaves.len() as u64, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for record in page {
                if record.index != leaves.len() as u64 {
                    defect(&format!("evidence record {} stands in place {}", record.index, leaves.len()));
                }
                leaves.push(tree::leaf_hash(&record.bytes));
                let known = Record::from_bytes(&record.bytes).is_ok_and(|record| {
                    self.ledger.claim(record.message_id.as_str(), Act::Accept) != Claim::Never
                });
                if !known {
                    defect(&format!("evidence record {} is about nothing that was sent", record.index));
                }
            }
        }
        if leaves.len() as u64 != size {
            defect(&format!("the evidence log says it has {size} records and gives {}", leaves.len()));
        }
        self.records = size;
        if self.store.tree_root(size).await? != root(&leaves) {
            defect("the stored tree's root is not the root of the records");
        }
        Ok(())
    }

    /// A client that never heard an answer sends again: exactly once, whatever had become of the first attempt. And
    /// the store takes new work.
    async fn retries(&self) -> Result<(), StoreError> {
        for id in self.ledger.ids() {
            let claim = self.ledger.claim(id, Act::Accept);
            let Some(message) = message::of_id(id) else { continue };
            // A sample of the acknowledged ones is enough; the unanswered ones are few.
            if claim == Claim::Never || claim == Claim::Acknowledged && message.payload.len() % 16 != 0 {
                continue;
            }
            let before = self.records_of(&message.envelope.id).await?.len();
            let answer = message.accept(self.store, SystemClock.now()).await?;
            let after = self.records_of(&message.envelope.id).await?.len();
            let expected = if before == 0 { (Accepted::New, 1) } else { (Accepted::Before, before) };
            if (answer, after) != expected {
                defect(&format!("{id} sent again: {answer:?} with {after} records, expected {expected:?}"));
            }
            if answer == Accepted::New {
                let bytes =
                    message::read_payload(self.store, &message.envelope.id, message.payload.len() as u64)
                        .await?;
                if bytes != message.payload {
                    defect(&format!("{id} sent again comes back as other bytes"));
                }
            }
        }
        Ok(())
    }
}

/// RFC 6962, section 2.1, by its definition.
fn root(leaves: &[tree::Hash]) -> tree::Hash {
    match leaves {
        [] => tree::empty_root(),
        [leaf] => *leaf,
        more => {
            let split = more.len().next_power_of_two() / 2;
            tree::node_hash(&root(&more[..split]), &root(&more[split..]))
        }
    }
}
