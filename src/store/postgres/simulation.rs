//! A seeded simulation of leases and locks: two nodes whose clocks differ by an hour, over a database with a clock of its
//! own; nodes stand still in the middle, die, and lose the answer to a commit.
//!
//! The decisions are the real ones ([`Work`], [`command`], [`Skew`]); the database is a model that locks rows, skips
//! locked ones where a lease is wanted, refuses an id that another node was first to use, and ends a transaction that says
//! nothing. What must hold: a message is under one lease at a time on the database's clock, and no lease is longer or
//! shorter than was asked for; a no under an overtaken lease changes nothing; each id is accepted once, each message
//! released once and not too early, received once; a dialog is moved on by one step of each number, and ends when its
//! time has come, whoever is asked; and in the end nothing is stuck.
//!
//! `AMTSBOTE_LEASE_SEED` runs one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Skew;
use super::batch::{Bond, LeaseWanted, Needs, Standing, Work, key_of};
use super::command;
use super::exchange::hold;
use crate::domain::account::AccountName;
use crate::domain::card::{ProcessCard, Step};
use crate::domain::content::{Digest, Manifest, Part, PartRole};
use crate::domain::dialog::{ConversationId, DialogStep};
use crate::domain::envelope::{Envelope, Party, Qualifier};
use crate::domain::message_id::MessageId;
use crate::domain::party::{MailboxName, PartyIdentifier};
use crate::domain::state::{DeliveryState, Event};
use crate::evidence::record::RecordEvent;
use crate::store::row::{Row, instant, micros};
use crate::store::rules::{self, Used};
use crate::store::{
    Acceptance, Accepted, Change, Deadlines, DueKind, PushLease, PushOutcome, StagedPayload, StagedPlace,
    StoreError,
};

const SEEDS: u64 = 60;
const STEPS: u64 = 1_500;
const IDS: u64 = 24;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const LEASE: i64 = 60 * SECOND;
const DIALOG: i64 = 90 * SECOND;
/// A transaction that says nothing for so long is ended by the database.
const IDLE_MAX: i64 = 3 * SECOND;
/// Measuring the other clock errs by so much, and differences below half a second are left alone: on both sides.
const SLACK: i64 = 2 * (SECOND / 2 + SECOND / 5);
const BOXES: [&str; 2] = ["ags:1", "ags:2"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn id(number: u64) -> MessageId {
    MessageId::parse(&format!("urn:de:xta:messageid:amt:{number}")).expect("an id")
}

fn mailbox(number: u64) -> MailboxName {
    MailboxName::parse(BOXES[number as usize % BOXES.len()]).expect("a name")
}

/// A message of this number; `kind` tells its bytes. Every third is held until `release`.
fn acceptance(number: u64, kind: u64, now: Timestamp, release: Timestamp) -> Acceptance {
    let party = |value: &str| Party {
        identifier: PartyIdentifier::new(value).expect("an identifier"),
        security_tokens: Vec::new(),
    };
    let bytes = format!("<m>{number} {kind}</m>").into_bytes();
    let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
    let not_before = number.is_multiple_of(3).then_some(release);
    let state = if not_before.is_some() { DeliveryState::Held } else { DeliveryState::Waiting };
    let envelope = Envelope {
        id: id(number),
        test: false,
        author: party("ags:author"),
        sender: None,
        reply_to: None,
        reader: party(mailbox(number).as_str()),
        other_readers: Vec::new(),
        cc_readers: Vec::new(),
        in_reply_to: Vec::new(),
        process_ref: None,
        qualifier: Qualifier { service: "urn:service".to_owned(), ..Qualifier::default() },
        properties: Vec::new(),
        origin: None,
        not_before: None,
        obsolete_after: None,
        service_quality: None,
        receipt_requests: None,
        token_container: None,
        stated_size: None,
    };
    let part = Part {
        role: PartRole::Message,
        offset: 0,
        length,
        digest,
        content_type: "application/xml".to_owned(),
        description: None,
        encoding: None,
        filename: None,
        id: None,
        lang: None,
        size: None,
    };
    let expire_at = instant(micros(now) + 1_000 * HOUR);
    let mut card = ProcessCard {
        version: 1,
        id: id(number),
        state,
        mailbox: mailbox(number),
        author: envelope.author.identifier.clone(),
        reader: envelope.reader.identifier.clone(),
        posted_by: AccountName::parse("author").expect("a name"),
        door: "xta-2.1.1".to_owned(),
        service: "urn:service".to_owned(),
        test: false,
        payload_digest: digest,
        payload_bytes: length,
        accepted_at: now,
        not_before,
        delivered_at: None,
        first_handed_out_at: None,
        received_at: None,
        expires_at: expire_at,
        steps: Vec::new(),
        findings: Vec::new(),
        certificates: Vec::new(),
    };
    card.record(Step { at: now, event: Event::Accepted, state, by: None, reason: None });
    let place = StagedPlace::Inline(bytes::Bytes::from(bytes));
    Acceptance {
        envelope,
        manifest: Manifest { parts: vec![part] },
        payload: StagedPayload { length, digest, place },
        request_digest: digest,
        announced_only: false,
        card,
        deadlines: Deadlines {
            release_at: not_before,
            expire_at,
            remind_at: None,
            retain_payload_days: 1,
            retain_card_days: 2,
        },
    }
}

type Paper = Arc<(Envelope, Manifest)>;

/// The model of the database, with its clock in microseconds.
#[derive(Default)]
struct Database {
    clock: i64,
    last: u64,
    messages: BTreeMap<String, (Row, ProcessCard, Paper)>,
    used: BTreeMap<String, (Used, Bond)>,
    dialogs: BTreeMap<String, Standing>,
    log: Vec<(String, RecordEvent)>,
    /// Rows that a transaction holds, by node.
    locks: BTreeMap<String, usize>,
}

impl Database {
    fn is_free(&self, row: &str, node: usize) -> bool {
        self.locks.get(row).is_none_or(|holder| *holder == node)
    }

    fn unlock(&mut self, node: usize) {
        self.locks.retain(|_, holder| *holder != node);
    }

    /// Locks and loads what is needed; `None` where another transaction is in the way, which would be waited for.
    fn load(&mut self, node: usize, needs: &Needs, skew: Skew) -> Option<(Work, Vec<String>)> {
        let mut dialogs: Vec<String> = needs.dialogs.iter().map(|(id, _)| id.clone()).collect();
        dialogs.retain(|id| self.dialogs.contains_key(id));
        let known = needs.used.iter().filter(|key| self.used.contains_key(*key)).cloned();
        let rows: Vec<String> = known
            .chain(needs.messages.iter().filter(|key| self.messages.contains_key(*key)).cloned())
            .chain(dialogs.iter().cloned())
            .collect();
        if rows.iter().any(|row| !self.is_free(row, node)) {
            return None;
        }
        self.locks.extend(rows.into_iter().map(|row| (row, node)));
        let mut work = Work { skew, ..Work::default() };
        for id in dialogs {
            let standing = self.dialogs[&id].clone();
            work.dialogs_before.insert(id.clone(), standing.clone());
            work.kept.dialogs.insert(id, Some(standing));
        }
        for key in &needs.used {
            if let Some(used) = self.used.get(key) {
                work.known.insert(key.clone());
                work.kept.used.insert(key.clone(), used.clone());
            }
        }
        let mut candidates = Vec::new();
        if let Some(wanted) = &needs.lease {
            candidates = self.leasable(node, wanted, skew);
            self.locks.extend(candidates.iter().map(|key| (key.clone(), node)));
        }
        for key in needs.messages.iter().chain(&candidates) {
            if let Some((row, card, paper)) = self.messages.get(key) {
                hold(&mut work, row.clone(), Ok(card.clone()), Some(paper.clone()));
            }
        }
        Some((work, candidates))
    }

    /// `FOR UPDATE SKIP LOCKED`, in both orders.
    fn leasable(&self, node: usize, wanted: &LeaseWanted, skew: Skew) -> Vec<String> {
        let now = skew.on_database(wanted.now);
        let mut found: Vec<&Row> = Vec::new();
        for name in &wanted.mailboxes {
            let offered = self.messages.values().map(|(row, ..)| row);
            let mut offered: Vec<&Row> =
                offered.filter(|row| row.mailbox == name.as_str() && row.state.is_offered()).collect();
            offered.sort_by_key(|row| row.sequence);
            offered.truncate(if wanted.ordered { 1 } else { usize::MAX });
            found.extend(offered);
        }
        found.retain(|row| row.push_at <= now && self.is_free(&key_of(row), node));
        found.sort_by_key(|row| (if wanted.ordered { 0 } else { row.push_at }, row.sequence));
        found.truncate(wanted.limit as usize);
        found.into_iter().map(key_of).collect()
    }

    /// Writes the difference; false where another node was faster.
    fn commit(&mut self, node: usize, work: Work) -> bool {
        self.unlock(node);
        if work.kept.used.keys().any(|key| !work.known.contains(key) && self.used.contains_key(key)) {
            return false;
        }
        self.used.extend(work.kept.used);
        for (key, held) in work.kept.messages {
            let Ok(card) = held.card else { panic!("no card of {key}") };
            let Some(mut row) = held.row else { panic!("{key} is purged") };
            let paper = match held.fresh {
                Some(_) => {
                    self.last += 1;
                    row.sequence = self.last;
                    let message = acceptance(number_of(&card.id), 0, card.accepted_at, card.accepted_at);
                    Arc::new((message.envelope, message.manifest))
                }
                None => held.paper.expect("read with its row"),
            };
            self.messages.insert(key, (row, card, paper));
        }
        for (id, dialog) in work.kept.dialogs {
            match dialog {
                Some(dialog) => _ = self.dialogs.insert(id, dialog),
                None => _ = self.dialogs.remove(&id),
            }
        }
        self.log.extend(work.kept.records.into_iter().map(|(key, record)| (key, record.event)));
        true
    }
}

fn number_of(id: &MessageId) -> u64 {
    id.as_str().rsplit(':').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// What a transaction will have done, if it is committed.
enum Done {
    Accepted(u64, u64, Result<Accepted, StoreError>),
    Leased(Vec<PushLease>),
    Recorded(Box<PushLease>),
    Released,
    Stepped,
}

struct Open {
    begun: i64,
    work: Work,
    done: Done,
}

struct Node {
    /// How far its clock is ahead of the database's.
    ahead: i64,
    skew: Skew,
    open: Option<Open>,
    leases: Vec<PushLease>,
}

impl Node {
    fn now(&self, database: &Database) -> Timestamp {
        instant(database.clock + self.ahead)
    }
}

/// A lease as it was granted, on the database's clock.
struct Granted {
    token: u64,
    until: i64,
}

struct World {
    seed: u64,
    random: Random,
    database: Database,
    nodes: [Node; 2],
    granted: BTreeMap<String, Granted>,
    /// Which kind of bytes was accepted.
    kinds: BTreeMap<u64, u64>,
    release: i64,
    dialog: ConversationId,
    /// What the client believes of its dialog: the challenge, and the number of the step.
    believed: (String, u64),
    past: (String, u64),
    /// The number of the last step that was tried.
    stepped: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let clock = 1_795_000_000 * SECOND;
        let apart = if random.percent(50) { HOUR } else { -HOUR };
        let trembling = SECOND * random.below(900) as i64 / 1000 - SECOND * 9 / 20;
        let node = |ahead| Node { ahead, skew: Skew::default(), open: None, leases: Vec::new() };
        let database = Database { clock, ..Database::default() };
        let dialog = ConversationId::parse("7").expect("an id");
        let mut world = Self {
            seed,
            random,
            database,
            nodes: [node(trembling), node(apart + trembling)],
            granted: BTreeMap::new(),
            kinds: BTreeMap::new(),
            release: clock + 400 * SECOND,
            dialog,
            believed: (String::new(), 0),
            past: (String::new(), 0),
            stepped: 0,
        };
        (0..2).for_each(|node| world.measure(node));
        world.begin_dialog();
        world
    }

    /// As it is done at every start, and now and again; the way there and back is not always as long.
    fn measure(&mut self, node: usize) {
        let error = self.random.below(400) as i64 * 1_000 - SECOND / 5;
        let node = &mut self.nodes[node];
        node.skew = node.skew.moved(error - node.ahead);
    }

    fn begin_dialog(&mut self) {
        let standing = Standing {
            account: "reader".to_owned(),
            challenge: "0".to_owned(),
            sequence: 0,
            encrypted: true,
            signature: None,
            used_at: self.database.clock,
            expires_at: self.database.clock + DIALOG,
            handed_out: BTreeSet::new(),
        };
        self.database.dialogs.insert(self.dialog.as_str().to_owned(), standing);
        self.believed = ("0".to_owned(), 0);
        self.past = self.believed.clone();
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            // Mostly a moment; at times as long as leases and dialogs last.
            let passed = match self.random.below(20) {
                0 => self.random.below(100 * SECOND as u64),
                1..4 => self.random.below(10 * SECOND as u64),
                _ => self.random.below(SECOND as u64 / 2),
            };
            self.database.clock += passed as i64;
            for node in 0..2 {
                // What says nothing for too long is over, and its node finds out when it wakes.
                if self.nodes[node]
                    .open
                    .as_ref()
                    .is_some_and(|open| self.database.clock - open.begun > IDLE_MAX)
                {
                    self.database.unlock(node);
                }
            }
            let node = self.random.below(2) as usize;
            match self.nodes[node].open.take() {
                None => self.begin(node),
                Some(open) if self.random.percent(70) => self.end(node, open),
                // It stands still.
                Some(open) => self.nodes[node].open = Some(open),
            }
        }
        self.drain();
    }

    fn begin(&mut self, node: usize) {
        let (now, skew) = (self.nodes[node].now(&self.database), self.nodes[node].skew);
        let begun = self.database.clock;
        let (needs, mut decide): Deed = match self.random.below(10) {
            0..2 => self.accept(now),
            2..5 => self.lease(now),
            5..8 if !self.nodes[node].leases.is_empty() => self.record(node, now),
            8 => match self.due(node, now, skew) {
                Some(release) => release,
                None => return,
            },
            9 => self.step(now),
            _ => return self.measure(node),
        };
        let Some((mut work, candidates)) = self.database.load(node, &needs, skew) else { return };
        let before = work.kept.messages.clone();
        let mut done = None;
        let decided = work.decide(candidates, |work| decide(work).map(|answer| done = Some(answer)));
        match (decided, done) {
            (Ok(()), Some(done)) => {
                self.check(&work, &before, &done);
                self.nodes[node].open = Some(Open { begun, work, done });
            }
            (Err(refusal), _) => {
                self.database.unlock(node);
                let is_step = !needs.dialogs.is_empty();
                assert!(
                    is_step || matches!(refusal, StoreError::IdUsed | StoreError::Denied(_)),
                    "{refusal}"
                );
                if is_step {
                    // It was too late, by the database's clock, or the step was old.
                    let standing = &self.database.dialogs[self.dialog.as_str()];
                    let is_late = standing.expires_at <= begun + SLACK;
                    assert!(is_late || standing.sequence != self.stepped as i64, "seed {}", self.seed);
                    if standing.expires_at + SLACK < begun {
                        self.begin_dialog();
                    }
                }
            }
            (Ok(()), None) => panic!("decided without an answer"),
        }
    }

    /// What was decided, against what the database has: at this instant, whatever the nodes' clocks show.
    fn check(&self, work: &Work, before: &BTreeMap<String, super::batch::Held>, done: &Done) {
        let (clock, seed) = (self.database.clock, self.seed);
        match done {
            Done::Leased(leases) => {
                for lease in leases {
                    let key = lease.entry.card.id.key().as_str().to_owned();
                    let until = work.kept.messages[&key].row.as_ref().expect("a row").push_at;
                    assert!(
                        (until - clock - LEASE).abs() <= SLACK,
                        "seed {seed}: a lease of {}",
                        until - clock
                    );
                    if let Some(other) = self.granted.get(&key) {
                        assert!(other.until <= clock + SLACK, "seed {seed}: {key} is leased twice");
                        assert!(lease.token > other.token, "seed {seed}: leases of {key} are not told apart");
                    }
                }
            }
            Done::Recorded(lease) => {
                let key = lease.entry.card.id.key().as_str().to_owned();
                let row = before[&key].row.as_ref().expect("a row");
                let is_current = row.push_leased && row.push_token as u64 == lease.token;
                let after = &work.kept.messages[&key];
                let ended = |state| state == DeliveryState::Received || state == DeliveryState::Dead;
                if !is_current && after.row.as_ref() != Some(row) {
                    let state = after.row.as_ref().expect("a row").state;
                    assert_eq!(state, DeliveryState::Received, "seed {seed}: an overtaken no counts");
                }
                assert!(
                    row.state != DeliveryState::Received || after.row.as_ref() == Some(row),
                    "seed {seed}"
                );
                assert!(ended(row.state) || row.state.is_offered(), "seed {seed}");
            }
            Done::Released => assert!(self.release <= clock + SLACK, "seed {seed}: released too early"),
            Done::Stepped => {
                let standing = &self.database.dialogs[self.dialog.as_str()];
                assert_eq!(standing.sequence, self.stepped as i64, "seed {seed}: a step was made twice");
                assert!(clock < standing.expires_at + SLACK, "seed {seed}: the dialog was over");
            }
            Done::Accepted(number, kind, answer) => {
                let before = self.kinds.get(number);
                if let Ok(Accepted::Before) = answer {
                    assert_eq!(before, Some(kind), "seed {seed}: other bytes pass for the same");
                }
            }
        }
    }

    fn end(&mut self, node: usize, Open { begun, work, done }: Open) {
        let is_alive = self.database.clock - begun <= IDLE_MAX;
        if !is_alive || self.random.percent(8) {
            // It died before the commit, or its transaction did.
            self.database.unlock(node);
            return;
        }
        let rows: BTreeMap<String, Row> = work
            .kept
            .messages
            .iter()
            .filter_map(|(key, held)| Some((key.clone(), held.row.clone()?)))
            .collect();
        if !self.database.commit(node, work) {
            return;
        }
        let heard = !self.random.percent(8);
        match done {
            Done::Accepted(number, kind, Ok(Accepted::New)) => {
                assert_eq!(self.kinds.insert(number, kind), None, "seed {}: accepted twice", self.seed);
            }
            Done::Accepted(..) | Done::Released => {}
            Done::Leased(leases) => {
                for lease in leases {
                    let key = lease.entry.card.id.key().as_str().to_owned();
                    let until = rows[&key].push_at;
                    self.granted.insert(key, Granted { token: lease.token, until });
                    // Whoever does not hear of his lease pushes nothing under it.
                    if heard {
                        self.nodes[node].leases.push(lease);
                    }
                }
            }
            Done::Recorded(lease) => {
                let key = lease.entry.card.id.key().as_str().to_owned();
                let row = &rows[&key];
                if !row.push_leased
                    && self.granted.get(&key).is_some_and(|granted| granted.token == lease.token)
                {
                    // Closed: the message may be leased again from when its outcome says.
                    self.granted.get_mut(&key).expect("just seen").until =
                        row.push_at.min(self.database.clock);
                }
                if !heard {
                    // Its answer is lost; the same is told again.
                    self.nodes[node].leases.push(*lease);
                }
            }
            // Whoever does not hear of it asks in the old way until the dialog is over.
            Done::Stepped if heard => {
                let standing = &self.database.dialogs[self.dialog.as_str()];
                let next = (standing.challenge.clone(), standing.sequence as u64);
                self.past = std::mem::replace(&mut self.believed, next);
            }
            Done::Stepped => {}
        }
    }

    fn accept(&mut self, now: Timestamp) -> Deed {
        let (number, kind) = (self.random.below(IDS), self.random.below(2));
        let message = acceptance(number, kind, now, instant(self.release));
        let needs = command::of_acceptance(&message);
        let decide = move |work: &mut Work| match command::accept(work, &message) {
            Ok(answer) => Ok(Done::Accepted(number, kind, Ok(answer))),
            Err(refusal) => Err(refusal),
        };
        (needs, Box::new(decide))
    }

    fn lease(&mut self, now: Timestamp) -> Deed {
        let wanted = LeaseWanted {
            mailboxes: vec![mailbox(0), mailbox(1)],
            ordered: self.random.percent(30),
            now,
            limit: 1 + self.random.below(3) as u32,
        };
        let until = instant(micros(now) + LEASE);
        let needs = Needs { lease: Some(wanted.clone()), ..Needs::default() };
        (needs, Box::new(move |work| command::lease_push(work, &wanted, until).map(Done::Leased)))
    }

    fn record(&mut self, node: usize, now: Timestamp) -> Deed {
        let leases = &mut self.nodes[node].leases;
        let place = self.random.below(leases.len() as u64) as usize;
        let lease = leases.swap_remove(place);
        let outcome = match self.random.below(10) {
            0..3 => PushOutcome::Received,
            3 => PushOutcome::Taken { remark: "taken".to_owned() },
            4 => PushOutcome::Dead { reason: "gone".to_owned() },
            _ => PushOutcome::Failed {
                reason: "not now".to_owned(),
                next_at: instant(micros(now) + self.random.below(30 * SECOND as u64) as i64),
            },
        };
        let needs = command::of_message(&lease.entry.card.id);
        let decide = move |work: &mut Work| {
            command::record_attempt(work, &lease, &outcome, now)
                .map(|_| Done::Recorded(Box::new(lease.clone())))
        };
        (needs, Box::new(decide))
    }

    /// What a node's timers find; the other's may find the same.
    fn due(&mut self, node: usize, now: Timestamp, skew: Skew) -> Option<Deed> {
        let there = skew.on_database(now);
        let is_due =
            |row: &Row| row.timers().iter().any(|(kind, at)| *kind == DueKind::Release && *at <= there);
        let mut found = self.database.messages.values().filter(|(row, ..)| is_due(row));
        let id = found.next().map(|(_, card, _)| card.id.clone());
        if id.is_none() && self.random.percent(10) {
            self.measure(node);
        }
        let change =
            Change { only_if_due: Some(DueKind::Release), ..rules::own(&id?, Event::Released, now, None) };
        let needs = command::of_message(&change.id);
        Some((needs, Box::new(move |work| command::change(work, &change).map(|_| Done::Released))))
    }

    /// The dialog's next step, at whatever node; a replay at times.
    fn step(&mut self, now: Timestamp) -> Deed {
        let (challenge, sequence) =
            if self.random.percent(20) { self.past.clone() } else { self.believed.clone() };
        self.stepped = sequence;
        let step = DialogStep {
            id: self.dialog.clone(),
            challenge,
            sequence,
            challenge_next: Some(format!("{}", self.random.below(1 << 40))),
            encrypted: true,
            confirms: false,
            signature: None,
            at: now,
            expires_at: instant(micros(now) + DIALOG),
        };
        let needs = command::of_step(&step);
        (needs, Box::new(move |work| command::step_dialog(work, &step).map(|_| Done::Stepped)))
    }

    /// The nodes are gone; a third finds everything that is still to be had, and each event was written down once.
    fn drain(&mut self) {
        (0..2).for_each(|node| self.database.unlock(node));
        self.database.clock += LEASE + SLACK;
        let offered: BTreeSet<String> = self
            .database
            .messages
            .iter()
            .filter(|(_, (row, ..))| row.state.is_offered())
            .map(|(key, _)| key.clone())
            .collect();
        let wanted = LeaseWanted {
            mailboxes: vec![mailbox(0), mailbox(1)],
            ordered: false,
            now: instant(self.database.clock),
            limit: u32::MAX,
        };
        let found: BTreeSet<String> =
            self.database.leasable(2, &wanted, Skew::default()).into_iter().collect();
        assert_eq!(found, offered, "seed {}: something is stuck", self.seed);
        let mut counted: BTreeMap<(String, &str), u32> = BTreeMap::new();
        for (key, event) in &self.database.log {
            let once = [Event::Accepted, Event::Released, Event::Received];
            if once.iter().any(|once| *event == RecordEvent::Delivery(*once)) {
                *counted.entry((key.clone(), event.as_str())).or_default() += 1;
            }
        }
        let twice: Vec<_> = counted.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "seed {}: {twice:?}", self.seed);
        assert_eq!(self.database.messages.len(), self.kinds.len(), "seed {}", self.seed);
    }
}

type Deed = (Needs, Box<dyn FnMut(&mut Work) -> Result<Done, StoreError>>);

#[test]
fn nodes_whose_clocks_differ_by_an_hour_share_leases_and_locks() {
    let one = std::env::var("AMTSBOTE_LEASE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let (mut leases, mut received) = (0, 0);
    for seed in one.map_or(1..=SEEDS, |seed: u64| seed..=seed) {
        let mut world = World::new(seed);
        world.run();
        leases += world.granted.values().map(|granted| granted.token).sum::<u64>();
        let states = world.database.messages.values().map(|(row, ..)| row.state);
        received += states.filter(|state| *state == DeliveryState::Received).count();
    }
    println!("{leases} leases, {received} messages received");
    assert!(one.is_some() || (leases > 50 * SEEDS && received > 5 * SEEDS as usize), "{leases} {received}");
}
