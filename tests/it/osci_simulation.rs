//! A seeded simulation: two clients and an intermediary over a network that loses, doubles, delays and reorders
//! requests and answers, while the intermediary restarts and dies at its work.
//!
//! The intermediary is the real one behind its HTTP body, with its real store; its every answer and every stored
//! message are compared with the model in `osci_oracle`. The clients keep their dialogs with the real client's state
//! machine and know only what they saw. What must hold for them: a delivery that was acknowledged is fetched, with equal
//! bytes, and after its confirmation never again; one that was not acknowledged at most so; nothing is received that the
//! reader did not read and go on from; cards say what both saw.
//!
//! `AMTSBOTE_SIM_SEED` runs one seed, `AMTSBOTE_SIM_SEEDS` so many from 1 on, `AMTSBOTE_SIM_STEPS` sets the length.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::client::dialog::{self, ExpectAlone, ExpectAnswer, ExpectBegun, ExpectEnd, Open};
use amtsbote::osci::message::control_block::{Challenge, ControlBlock};

use crate::osci_office::{Client, IDLE};
use crate::osci_oracle::{Ask, Seen, Sent, What, World, attached, package};

const SEEDS: u64 = 8;
const STEPS: u64 = 250;
/// The store is compared whole after each step.
const LETTERS_MAX: usize = 60;
/// Waits of a request, at most, before its process ends.
const WAITS_MAX: u64 = 24;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn place(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    fn challenge(&mut self) -> Challenge {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        Challenge::from_random(bytes)
    }
}

/// What an author knows of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Issued,
    /// It was sent, and no answer was heard.
    Unknown,
    Accepted,
}

struct Letter {
    id: String,
    content: u64,
    fate: Fate,
    /// A card said so.
    received: bool,
}

/// What a reader knows; its sessions share it.
#[derive(Default)]
struct Taken {
    deliveries: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    /// A further request of their dialog was answered.
    confirmed: BTreeSet<String>,
}

enum Expect {
    Begun(ExpectBegun),
    Answer(ExpectAnswer),
    End(ExpectEnd),
    Alone(ExpectAlone),
}

enum State {
    Idle,
    Open(Open),
    Waiting {
        expect: Expect,
        sent: Box<Sent>,
        /// What was confirmed when it was sent.
        confirmed: BTreeSet<String>,
    },
}

/// One dialog after the other of one client.
struct Session {
    client: Client,
    state: State,
    /// Read in this dialog and not known to be confirmed.
    pending: Vec<String>,
}

enum Flying {
    Request(usize, Box<Sent>),
    Answer(usize, Seen),
}

struct Simulation {
    random: Random,
    world: World,
    sessions: Vec<Session>,
    flying: Vec<Flying>,
    letters: Vec<Letter>,
    taken: Taken,
}

/// Says which seed it was when something goes wrong.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; run it again with AMTSBOTE_SIM_SEED={}", self.0);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// The seed that the environment names, or as many as it wants, or these.
pub fn seeds(usual: u64) -> std::ops::RangeInclusive<u64> {
    match setting("AMTSBOTE_SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=setting("AMTSBOTE_SIM_SEEDS").unwrap_or(usual),
    }
}

#[tokio::test]
async fn nothing_is_lost_doubled_or_received_unasked() {
    let steps = setting("AMTSBOTE_SIM_STEPS").unwrap_or(STEPS);
    let mut fetched = 0;
    for seed in seeds(SEEDS) {
        let _seed = Seed(seed);
        let mut simulation = Simulation::new(seed).await;
        for _ in 0..steps {
            simulation.step().await;
        }
        fetched += simulation.settle().await;
    }
    assert!(steps < STEPS || fetched > 0, "a simulation in which nothing arrives proves nothing");
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        let session = |name, encrypted, signed| Session {
            client: Client::new(name, encrypted, signed),
            state: State::Idle,
            pending: Vec::new(),
        };
        // The reader speaks in two dialogs at once, one of them unencrypted.
        let sessions = vec![
            session("author", true, true),
            session("reader", true, false),
            session("reader", false, true),
        ];
        Self {
            random: Random(seed),
            world: World::open().await,
            sessions,
            flying: Vec::new(),
            letters: Vec::new(),
            taken: Taken::default(),
        }
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..40 => {
                let who = self.random.place(self.sessions.len());
                self.act(who);
            }
            40..88 if !self.flying.is_empty() => {
                let at = self.random.place(self.flying.len());
                let flying = self.flying.swap_remove(at);
                self.arrive(flying).await;
            }
            88..95 => {
                let who = self.random.place(self.sessions.len());
                self.time_out(who);
            }
            95..98 => {
                let whole = self.random.percent(20);
                let seconds = if whole { IDLE.as_secs() } else { 1 + self.random.below(120) };
                self.world.advance(Duration::from_secs(seconds));
            }
            98..100 => self.world.restart().await,
            _ => {}
        }
        self.check();
    }

    /// Only what the reader read, and went on from, is received.
    fn check(&self) {
        for one in self.world.stored() {
            let letter = self.letters.iter().find(|letter| letter.id == one.id).expect("known to its author");
            assert!(letter.fate != Fate::Issued, "{} was stored unasked", one.id);
            let is_received = one.state == DeliveryState::Received;
            assert!(!is_received || self.taken.deliveries.contains_key(&one.id), "{} was not read", one.id);
        }
        let stored: BTreeSet<&str> = self.world.stored().iter().map(|one| one.id.as_str()).collect();
        for letter in self.letters.iter().filter(|letter| letter.fate == Fate::Accepted) {
            assert!(stored.contains(letter.id.as_str()), "{} was acknowledged and is lost", letter.id);
        }
    }

    /// A client that does not wait says something.
    fn act(&mut self, who: usize) {
        let is_author = who == 0;
        let ask = match (&self.sessions[who].state, is_author) {
            (State::Waiting { .. }, _) => return,
            (State::Idle, true) if self.random.percent(25) => match self.random.below(2) {
                0 => Ask::NewId,
                _ => self.letter_to_store(),
            },
            (State::Idle, _) => Ask::Begin,
            (State::Open(_), true) => match self.random.below(100) {
                0..35 => Ask::NewId,
                35..80 => self.letter_to_store(),
                80..92 => self.cards(),
                _ => Ask::Exit,
            },
            (State::Open(_), false) => match self.random.below(100) {
                0..70 => Ask::Fetch(None),
                70..78 => {
                    let known: Vec<&String> = self.taken.deliveries.keys().collect();
                    let at = self.random.place(known.len());
                    Ask::Fetch(known.get(at).map(|id| (*id).clone()))
                }
                78..85 => self.cards(),
                _ => Ask::Exit,
            },
        };
        self.say(who, ask);
    }

    /// A delivery that was not acknowledged; an id first where there is none.
    fn letter_to_store(&mut self) -> Ask {
        let open: Vec<usize> =
            (0..self.letters.len()).filter(|at| self.letters[*at].fate != Fate::Accepted).collect();
        match open.get(self.random.place(open.len())) {
            None => Ask::NewId,
            Some(at) => {
                let letter = &self.letters[*at];
                Ask::Store { id: letter.id.clone(), content: letter.content }
            }
        }
    }

    fn cards(&self) -> Ask {
        match self.letters.is_empty() {
            true => Ask::Fetch(None),
            false => Ask::Cards(self.letters.iter().map(|letter| letter.id.clone()).collect()),
        }
    }

    fn say(&mut self, who: usize, ask: Ask) {
        if ask == Ask::NewId && self.letters.len() >= LETTERS_MAX {
            return;
        }
        let challenge = self.random.challenge();
        let session = &mut self.sessions[who];
        let (control, expect): (ControlBlock, Expect) =
            match (std::mem::replace(&mut session.state, State::Idle), &ask) {
                (_, Ask::Begin) => {
                    let (control, expect) = dialog::begin(challenge);
                    session.pending.clear();
                    (control, Expect::Begun(expect))
                }
                (State::Open(open), Ask::Exit) => {
                    let (control, expect) = open.exit(challenge);
                    (control, Expect::End(expect))
                }
                (State::Open(open), _) => {
                    let (control, expect) = open.request(challenge);
                    (control, Expect::Answer(expect))
                }
                (State::Idle, _) => {
                    let (control, expect) = dialog::alone(challenge);
                    (control, Expect::Alone(expect))
                }
                (State::Waiting { .. }, _) => panic!("one request at a time"),
            };
        if let Ask::Store { id, .. } = &ask {
            let letter = self.letters.iter_mut().find(|letter| letter.id == *id).expect("known");
            letter.fate = if letter.fate == Fate::Issued { Fate::Unknown } else { letter.fate };
        }
        let sent = Sent::write(&session.client, ask, control);
        let confirmed = self.taken.confirmed.clone();
        session.state = State::Waiting { expect, sent: Box::new(sent.clone()), confirmed };
        self.send(who, sent);
    }

    fn send(&mut self, who: usize, sent: Sent) {
        if self.random.percent(8) {
            return;
        }
        if self.random.percent(8) {
            self.flying.push(Flying::Request(who, Box::new(sent.clone())));
        }
        self.flying.push(Flying::Request(who, Box::new(sent)));
    }

    async fn arrive(&mut self, flying: Flying) {
        match flying {
            Flying::Request(_, sent) if self.random.percent(4) => {
                let waits = self.random.below(WAITS_MAX) as u32;
                self.world.deliver_and_crash(&sent, waits).await;
            }
            Flying::Request(who, sent) => {
                let seen = self.world.deliver(&sent).await;
                if self.random.percent(8) {
                    return;
                }
                if self.random.percent(8) {
                    self.flying.push(Flying::Answer(who, seen.clone()));
                }
                self.flying.push(Flying::Answer(who, seen));
            }
            Flying::Answer(who, seen) => self.hear(who, &seen),
        }
    }

    /// A client gives up, or says the same again.
    fn time_out(&mut self, who: usize) {
        let State::Waiting { sent, .. } = &self.sessions[who].state else { return };
        let sent = Sent::clone(sent);
        if self.random.percent(40) {
            self.send(who, sent);
        } else {
            self.sessions[who].state = State::Idle;
        }
    }

    /// An answer reaches a client, whichever request it is the answer to.
    fn hear(&mut self, who: usize, seen: &Seen) {
        let session = &mut self.sessions[who];
        let (expect, sent, confirmed) = match std::mem::replace(&mut session.state, State::Idle) {
            State::Waiting { expect, sent, confirmed } => (expect, sent, confirmed),
            other => {
                session.state = other;
                return;
            }
        };
        let Some(control) = &seen.control else { return };
        let open = match expect {
            Expect::Begun(expect) => expect.answered(control).map(Some),
            Expect::Answer(expect) => expect.answered(control).map(Some),
            Expect::End(expect) => expect.answered(control).map(|()| None),
            Expect::Alone(expect) => expect.answered(control).map(|()| None),
        };
        // The answer to something else: the dialog is over for this client, and what it said is not believed.
        let Ok(open) = open else { return };
        session.state = open.map_or(State::Idle, State::Open);
        if sent.ask != Ask::Begin && sent.control.conversation_id.is_some() {
            self.taken.confirmed.extend(session.pending.drain(..));
        }
        match (&sent.ask, &seen.what) {
            (Ask::NewId, What::Id(id)) => {
                let known = self.letters.iter().any(|letter| letter.id == *id);
                assert!(!known, "{id} was issued twice");
                let content = self.random.next();
                self.letters.push(Letter { id: id.clone(), content, fate: Fate::Issued, received: false });
            }
            (Ask::Store { id, .. }, _) => {
                let letter = self.letters.iter_mut().find(|letter| letter.id == *id).expect("known");
                if seen.is_done() {
                    assert!(letter.fate == Fate::Unknown, "{id} was acknowledged twice");
                    letter.fate = Fate::Accepted;
                }
            }
            (Ask::Fetch(_), What::Delivery(id, package, attachment)) => {
                let asked_for_new = sent.ask == Ask::Fetch(None);
                assert!(!asked_for_new || !confirmed.contains(id), "{id} came again after its confirmation");
                self.take(who, id, package, attachment);
            }
            (Ask::Cards(_), What::Cards(cards)) => self.compare_cards(cards),
            (Ask::Cards(_), _) => self.compare_cards(&BTreeMap::new()),
            _ => {}
        }
    }

    fn take(&mut self, who: usize, id: &str, delivered: &[u8], attachment: &[u8]) {
        let letter = self.letters.iter().find(|letter| letter.id == id).expect("somebody wrote it");
        assert!(
            delivered == package(letter.content) && attachment == attached(letter.content),
            "equal bytes"
        );
        self.taken.deliveries.insert(id.to_owned(), (delivered.to_vec(), attachment.to_vec()));
        self.sessions[who].pending.push(id.to_owned());
    }

    fn compare_cards(&mut self, cards: &BTreeMap<String, (bool, bool)>) {
        for letter in &mut self.letters {
            match cards.get(&letter.id) {
                // An answer may be older than what was seen since.
                None => assert!(!letter.received, "the card of {} is gone", letter.id),
                Some((forwarded, received)) => {
                    assert!(letter.fate != Fate::Issued, "a card of what was not sent");
                    assert!(!received || self.taken.deliveries.contains_key(&letter.id), "{}", letter.id);
                    assert!(*forwarded || !received, "received without having been forwarded");
                    letter.fate = Fate::Accepted;
                    letter.received |= received;
                }
            }
        }
    }

    /// The network calms down: what is under way arrives, dialogs run out, everything is fetched and accounted for. How
    /// many deliveries there were.
    async fn settle(mut self) -> usize {
        while let Some(flying) = self.flying.pop() {
            if let Flying::Request(_, sent) = flying {
                self.world.deliver(&sent).await;
                self.check();
            }
        }
        self.world.advance(IDLE);
        for session in &mut self.sessions {
            session.state = State::Idle;
            session.pending.clear();
        }
        if !self.letters.is_empty() {
            let all = self.cards();
            self.calm(0, Ask::Begin).await;
            self.calm(0, all.clone()).await;
            self.calm(1, Ask::Begin).await;
            while self.calm(1, Ask::Fetch(None)).await.is_done() {}
            self.calm(1, Ask::Exit).await;
            self.calm(0, all).await;
            self.calm(0, Ask::Exit).await;
        }
        for letter in &self.letters {
            let accepted = letter.fate == Fate::Accepted;
            assert_eq!(self.taken.deliveries.contains_key(&letter.id), accepted, "{}", letter.id);
            assert_eq!(letter.received, accepted, "the card of {}", letter.id);
        }
        self.check();
        assert!(self.world.stored().iter().all(|one| one.state == DeliveryState::Received));
        self.world.close().await;
        self.taken.deliveries.len()
    }

    /// One request over a network that is kind.
    async fn calm(&mut self, who: usize, ask: Ask) -> Seen {
        self.say(who, ask);
        self.flying.clear();
        let State::Waiting { sent, .. } = &self.sessions[who].state else { panic!("it speaks") };
        let sent = Sent::clone(sent);
        let seen = self.world.deliver(&sent).await;
        self.hear(who, &seen);
        seen
    }
}
