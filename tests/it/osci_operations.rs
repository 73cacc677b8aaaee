//! Requests of OSCI dialogs in any order, repeated, stale and forged, of two participants with two dialogs each, run
//! against the intermediary and its model.
//!
//! Random tests and the fuzzer feed it. Each operation is two bytes: what, and with which session, id or earlier request.

use std::time::Duration;

use amtsbote::osci::message::control_block::{Challenge, ControlBlock, ConversationId};

use crate::osci_office::{Client, IDLE};
use crate::osci_oracle::{Ask, Sent, What, World};

/// Both must answer alike, all the time.
pub async fn run(operations: &[[u8; 2]]) {
    let world = World::open().await;
    let sessions = [const { None }; SESSIONS.len()];
    let mut run = Run { world, sessions, ids: Vec::new(), sent: Vec::new(), challenges: 0 };
    for &[what, with] in operations {
        run.operate(what, with).await;
    }
    run.world.close().await;
}
const SESSIONS: [&str; 4] = ["author", "author", "reader", "reader"];

/// A dialog as its client knows it: number, last challenge, next sequence number.
type Known = Option<(String, String, u64)>;

struct Run {
    world: World,
    sessions: [Known; 4],
    ids: Vec<String>,
    /// With the session of each.
    sent: Vec<(usize, Sent)>,
    challenges: u64,
}

impl Run {
    fn control(&mut self, session: usize, begins: bool) -> ControlBlock {
        self.challenges += 1;
        let mut fresh = [0; 10];
        fresh[..8].copy_from_slice(&self.challenges.to_be_bytes());
        let challenge = Some(Challenge::from_random(fresh));
        match (&self.sessions[session], begins) {
            (_, true) => ControlBlock { challenge, ..ControlBlock::default() },
            (None, false) => ControlBlock { challenge, sequence_number: Some(0), ..ControlBlock::default() },
            (Some((id, last, sequence)), false) => ControlBlock {
                conversation_id: Some(ConversationId::new(id.clone()).expect("an id")),
                sequence_number: Some(*sequence),
                response: Some(Challenge::new(last.clone()).expect("a challenge")),
                challenge,
            },
        }
    }

    async fn ask(&mut self, session: usize, ask: Ask, forged: bool, bend: impl FnOnce(&mut ControlBlock)) {
        let who = SESSIONS[session];
        let mut client = Client::new(who, false, true);
        if forged {
            client.signs_as = if who == "author" { "reader" } else { "author" };
        }
        let mut control = self.control(session, ask == Ask::Begin);
        bend(&mut control);
        let sent = Sent::write(&client, ask, control);
        self.hand_in(session, &sent).await;
        self.sent.push((session, sent));
    }

    async fn hand_in(&mut self, session: usize, sent: &Sent) {
        let seen = self.world.deliver(sent).await;
        if let What::Id(id) = &seen.what {
            self.ids.push(id.clone());
        }
        let Some(control) = &seen.control else { return };
        let named = control.conversation_id.as_ref().map(|id| id.as_str().to_owned());
        let challenge = control.challenge.as_ref().map(|challenge| challenge.as_str().to_owned());
        match (&mut self.sessions[session], named, challenge) {
            (known, Some(named), Some(challenge)) if sent.ask == Ask::Begin && seen.is_done() => {
                *known = Some((named, challenge, 0));
            }
            (Some((known, last, sequence)), Some(named), Some(challenge)) if *known == named => {
                (*last, *sequence) = (challenge, *sequence + 1);
            }
            // An ended dialog is remembered, so that it can be tried to go on with it.
            _ => {}
        }
    }

    fn id(&self, with: u8) -> String {
        let at = usize::from(with >> 2) % self.ids.len().max(1);
        self.ids.get(at).cloned().unwrap_or_else(|| "invented".to_owned())
    }

    async fn operate(&mut self, what: u8, with: u8) {
        let session = usize::from(with & 3);
        let store = |id: String| Ask::Store { id, content: u64::from(with) };
        match what % 20 {
            0 | 1 => self.ask(session, Ask::Begin, false, |_| ()).await,
            2 => self.ask(session, Ask::Exit, false, |_| ()).await,
            3 | 4 => self.ask(session, Ask::NewId, false, |_| ()).await,
            5..8 => self.ask(session, store(self.id(with)), false, |_| ()).await,
            8..11 => self.ask(session, Ask::Fetch(None), false, |_| ()).await,
            11 => self.ask(session, Ask::Fetch(Some(self.id(with))), false, |_| ()).await,
            12 => self.ask(session, Ask::Cards(vec![self.id(with)]), false, |_| ()).await,
            13 => {
                let at = usize::from(with) % self.sent.len().max(1);
                if let Some((session, sent)) = self.sent.get(at).cloned() {
                    self.hand_in(session, &sent).await;
                }
            }
            14 => {
                let ahead = |control: &mut ControlBlock| {
                    control.sequence_number = control.sequence_number.map(|number| number + 1);
                };
                self.ask(session, Ask::NewId, false, ahead).await;
            }
            15 => {
                let stale = |control: &mut ControlBlock| control.response = control.challenge.clone();
                self.ask(session, Ask::Fetch(None), false, stale).await;
            }
            16 => self.ask(session, Ask::Fetch(None), true, |_| ()).await,
            17 => self.ask(session, store(self.id(with)), true, |_| ()).await,
            18 => {
                let whole = with & 0x80 != 0;
                self.world.advance(if whole { IDLE } else { Duration::from_secs(u64::from(with)) });
            }
            _ => self.world.restart().await,
        }
    }
}
