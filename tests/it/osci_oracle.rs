//! A plain model of an OSCI intermediary, and a real one beside it: whatever is asked, and however often, both must
//! answer alike, and what the store holds must be what the model holds.
//!
//! The simulation, random tests and the fuzzer ask; none has a model of its own. What is real: the door from the bytes of the HTTP
//! body on, dialogs, relay, store. Left out: chunks, whose rules `osci_chunks` holds; pushes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use amtsbote::domain::dialog::ConversationId as StoredId;
use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::message::control_block::ControlBlock;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::fetch_process_card::FetchProcessCard;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::selection::{CardSelection, DeliverySelection};
use amtsbote::store::Store;
use jiff::Timestamp;

use crate::osci_office::{Client, Got, IDLE, Office, Reply, delivery};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Begin,
    Exit,
    NewId,
    /// Always to `reader`; the content depends on the number.
    Store {
        id: String,
        content: u64,
    },
    /// The oldest, or the one of this id.
    Fetch(Option<String>),
    Cards(Vec<String>),
}

/// A request as it went out; it may arrive twice, late or never.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Whose certificates it shows.
    pub who: &'static str,
    /// Its signature is another participant's.
    pub forged: bool,
    pub encrypted: bool,
    pub ask: Ask,
    pub control: ControlBlock,
    pub bytes: Arc<Vec<u8>>,
}

impl Sent {
    /// Writes a request with this control block.
    pub fn write(client: &Client, ask: Ask, control: ControlBlock) -> Self {
        let wire_id = |id: &str| MessageId::new(id).expect("an id");
        let payload = match &ask {
            Ask::Begin => Payload::InitDialog,
            Ask::Exit => Payload::ExitDialog,
            Ask::NewId => Payload::GetMessageId,
            Ask::Store { id, .. } => delivery(&wire_id(id)),
            Ask::Fetch(id) => Payload::FetchDelivery(FetchDelivery {
                selection: id.as_deref().map(|id| DeliverySelection::MessageId(wire_id(id))),
            }),
            Ask::Cards(ids) => {
                let ids = ids.iter().map(|id| wire_id(id)).collect();
                let selection = Some(CardSelection::MessageIds(ids));
                Payload::FetchProcessCard(FetchProcessCard { selection, quantity_max: None })
            }
        };
        let mut draft = client.draft(payload);
        draft.message.control = control.clone();
        if let Ask::Store { content, .. } = &ask {
            draft.content = Some(package(*content));
            draft.attachments[0].source = Arc::new(attached(*content));
        }
        let forged = client.signed && client.signs_as != client.name;
        let bytes = Arc::new(client.write(draft));
        Self { who: client.name, forged, encrypted: client.encrypted, ask, control, bytes }
    }
}

pub fn package(content: u64) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(content.to_string());
    format!(
        "<osci:ContentPackage><osci:ContentContainer Id=\"container0\"><osci:Content><osci:Base64Content \
         Id=\"content0\">{text}</osci:Base64Content></osci:Content><osci:Content Id=\"content1\" \
         href=\"cid:a.txt\"></osci:Content></osci:ContentContainer></osci:ContentPackage>"
    )
    .into_bytes()
}

pub fn attached(content: u64) -> Vec<u8> {
    content.to_be_bytes().repeat(1 + (content % 40) as usize)
}

/// What an answer says, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Of the feedback, or `fault CODE`.
    pub codes: Vec<String>,
    /// A fault has none.
    pub control: Option<ControlBlock>,
    pub what: What,
}

impl Seen {
    pub fn is_done(&self) -> bool {
        self.codes.last().is_some_and(|code| code.starts_with("08"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Nothing,
    Id(String),
    /// A delivery, its package and its attachment.
    Delivery(String, Vec<u8>, Vec<u8>),
    /// Of each id: whether it was forwarded, whether it was received.
    Cards(BTreeMap<String, (bool, bool)>),
}

fn what(reply: &Reply) -> What {
    match &reply.received.message.payload {
        Payload::ResponseToGetMessageId(answer) => {
            answer.message_id.as_ref().map_or(What::Nothing, |id| What::Id(id.as_str().to_owned()))
        }
        Payload::ResponseToFetchDelivery(answer) => match &answer.card {
            None => What::Nothing,
            Some(card) => What::Delivery(
                card.message_id.as_str().to_owned(),
                reply.package().to_vec(),
                reply.attachment(0).to_vec(),
            ),
        },
        Payload::ResponseToFetchProcessCard(answer) => {
            let card = |card: &amtsbote::osci::message::process_card::ProcessCardBundle| {
                (card.message_id.as_str().to_owned(), (card.forwarding.is_some(), card.reception.is_some()))
            };
            match answer.cards.is_empty() {
                true => What::Nothing,
                false => What::Cards(answer.cards.iter().map(card).collect()),
            }
        }
        _ => What::Nothing,
    }
}

#[derive(Debug)]
struct Dialog {
    owner: &'static str,
    encrypted: bool,
    challenge: String,
    sequence: u64,
    expires_at: Timestamp,
    handed_out: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub struct Stored {
    pub id: String,
    pub author: &'static str,
    pub content: u64,
    pub state: DeliveryState,
    /// Whether it was ever handed out.
    pub forwarded: bool,
}

#[derive(Debug, Default)]
struct Model {
    dialogs: BTreeMap<String, Dialog>,
    /// Ids that were issued and not used, with whom they were issued to.
    issued: BTreeMap<String, &'static str>,
    /// In order of entry.
    stored: Vec<Stored>,
    /// Requests that confirmed, and what each of them confirmed.
    confirmed: Vec<String>,
}

/// What the model says of a request before it is handed in.
struct Verdict {
    codes: Vec<&'static str>,
    /// The explicit dialog, which moves on.
    dialog: Option<String>,
    what: Expected,
}

enum Expected {
    Nothing,
    Begun,
    Id,
    Stored,
    Delivery(String),
    Cards(BTreeMap<String, (bool, bool)>),
}

impl Model {
    fn judge(&self, sent: &Sent, now: Timestamp) -> Verdict {
        let fault = || Verdict { codes: vec!["fault 9400"], dialog: None, what: Expected::Nothing };
        let alone = |codes| Verdict { codes, dialog: None, what: Expected::Nothing };
        if sent.ask == Ask::Begin {
            return match sent.forged {
                true => alone(vec!["9601"]),
                false => Verdict { what: Expected::Begun, ..alone(vec!["0801"]) },
            };
        }
        let Some(named) = &sent.control.conversation_id else {
            return match &sent.ask {
                Ask::Fetch(_) | Ask::Cards(_) => alone(vec!["9802"]),
                Ask::Exit => fault(),
                _ if sent.control.sequence_number != Some(0) => fault(),
                _ if sent.forged => alone(vec!["9601"]),
                _ => self.execute(sent, "0800", None, &BTreeSet::new()),
            };
        };
        let known = self.dialogs.get(named.as_str()).filter(|dialog| dialog.expires_at > now);
        let Some(dialog) = known else { return fault() };
        let response = sent.control.response.as_ref().map(|response| response.as_str());
        assert_eq!(sent.who, dialog.owner, "nobody uses another's dialog");
        if response != Some(&dialog.challenge)
            || sent.control.sequence_number != Some(dialog.sequence)
            || (dialog.encrypted && !sent.encrypted)
        {
            return fault();
        }
        let named = Some(named.as_str().to_owned());
        if sent.forged {
            return Verdict { codes: vec!["9601"], dialog: named, what: Expected::Nothing };
        }
        let done = if sent.ask == Ask::Exit { "0800" } else { "0801" };
        self.execute(sent, done, named, &dialog.handed_out)
    }

    /// `confirmed` is received by the time the request is executed.
    fn execute(
        &self,
        sent: &Sent,
        done: &'static str,
        dialog: Option<String>,
        confirmed: &BTreeSet<String>,
    ) -> Verdict {
        let verdict = |codes, what| Verdict { codes, dialog: dialog.clone(), what };
        match &sent.ask {
            Ask::Begin | Ask::Exit => verdict(vec![done], Expected::Nothing),
            Ask::NewId => verdict(vec![done], Expected::Id),
            Ask::Store { id, .. } => match self.issued.get(id) {
                Some(to) if *to == sent.who => verdict(vec![done], Expected::Stored),
                _ => verdict(vec!["9801"], Expected::Nothing),
            },
            Ask::Fetch(None) => {
                let is_offered = |one: &&Stored| {
                    sent.who == "reader" && one.state.is_offered() && !confirmed.contains(&one.id)
                };
                let mut offered = self.stored.iter().filter(is_offered);
                match (offered.next(), offered.next()) {
                    (None, _) => verdict(vec!["9803"], Expected::Nothing),
                    (Some(first), None) => verdict(vec![done], Expected::Delivery(first.id.clone())),
                    (Some(first), Some(_)) => {
                        verdict(vec!["3800", done], Expected::Delivery(first.id.clone()))
                    }
                }
            }
            Ask::Fetch(Some(id)) => match self.find(id).filter(|_| sent.who == "reader") {
                Some(one) => verdict(vec![done], Expected::Delivery(one.id.clone())),
                None => verdict(vec!["9803"], Expected::Nothing),
            },
            Ask::Cards(ids) => {
                let concerned =
                    |one: &&Stored| ids.contains(&one.id) && (sent.who == one.author || sent.who == "reader");
                let state = |one: &Stored| {
                    let received = one.state == DeliveryState::Received || confirmed.contains(&one.id);
                    (one.id.clone(), (one.forwarded, received))
                };
                let cards: BTreeMap<_, _> = self.stored.iter().filter(concerned).map(state).collect();
                match cards.is_empty() {
                    true => verdict(vec!["9804"], Expected::Nothing),
                    false => verdict(vec![done], Expected::Cards(cards)),
                }
            }
        }
    }

    fn find(&self, id: &str) -> Option<&Stored> {
        self.stored.iter().find(|one| one.id == id)
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Stored)) {
        if let Some(one) = self.stored.iter_mut().find(|one| one.id == id) {
            change(one);
        }
    }

    /// A further request of a dialog: what was handed out in it is received.
    fn confirm(&mut self, conversation: &str) {
        let dialog = self.dialogs.get_mut(conversation).expect("a dialog");
        for id in std::mem::take(&mut dialog.handed_out) {
            self.change(&id, |one| one.state = DeliveryState::Received);
            self.confirmed.push(id);
        }
    }

    fn hand_out(&mut self, conversation: &str, id: &str) {
        let offered = self.find(id).is_some_and(|one| one.state.is_offered());
        if offered {
            self.change(id, |one| (one.state, one.forwarded) = (DeliveryState::HandedOut, true));
            let dialog = self.dialogs.get_mut(conversation).expect("a dialog");
            dialog.handed_out.insert(id.to_owned());
        }
    }

    fn store(&mut self, sent: &Sent) {
        let Ask::Store { id, content } = &sent.ask else { panic!("not a storeDelivery") };
        self.issued.remove(id);
        let state = DeliveryState::Waiting;
        self.stored.push(Stored {
            id: id.clone(),
            author: sent.who,
            content: *content,
            state,
            forwarded: false,
        });
    }

    fn follow(&mut self, sent: &Sent, verdict: Verdict, seen: &Seen, now: Timestamp) {
        assert_eq!(seen.codes, verdict.codes, "{:?} of {}", sent.ask, sent.who);
        if let Some(control) = &seen.control {
            assert_eq!(control.response, sent.control.challenge, "an answer returns the challenge");
        }
        let challenge = seen.control.as_ref().and_then(|control| control.challenge.clone());
        if let Some(named) = &verdict.dialog {
            let control = seen.control.as_ref().expect("an answer in the dialog");
            assert_eq!(control.conversation_id.as_ref().map(|id| id.as_str()), Some(named.as_str()));
            assert_eq!(control.sequence_number, sent.control.sequence_number);
            let dialog = self.dialogs.get_mut(named).expect("a dialog");
            let proven = dialog.encrypted || !sent.forged;
            dialog.sequence += 1;
            dialog.encrypted = sent.encrypted;
            dialog.expires_at = now + IDLE;
            if proven {
                self.confirm(named);
            }
            if sent.ask == Ask::Exit {
                assert_eq!(challenge, None, "the dialog is over");
                self.dialogs.remove(named);
            } else {
                let challenge = challenge.as_ref().expect("a challenge").as_str().to_owned();
                self.dialogs.get_mut(named).expect("a dialog").challenge = challenge;
            }
        }
        match (&verdict.what, &seen.what) {
            (Expected::Nothing, What::Nothing) => {}
            (Expected::Begun, What::Nothing) => {
                let control = seen.control.as_ref().expect("an answer");
                assert_eq!(control.sequence_number, None);
                let id = control.conversation_id.as_ref().expect("a ConversationId").as_str().to_owned();
                let begun = Dialog {
                    owner: sent.who,
                    encrypted: sent.encrypted,
                    challenge: challenge.expect("a challenge").as_str().to_owned(),
                    sequence: 0,
                    expires_at: now + IDLE,
                    handed_out: BTreeSet::new(),
                };
                assert!(self.dialogs.insert(id, begun).is_none(), "a dialog's number is its own");
            }
            (Expected::Id, What::Id(id)) => {
                assert!(self.find(id).is_none(), "an id is issued once");
                assert_eq!(self.issued.insert(id.clone(), sent.who), None, "an id is issued once");
            }
            (Expected::Stored, What::Nothing) => self.store(sent),
            (Expected::Delivery(expected), What::Delivery(id, handed, attachment)) => {
                assert_eq!(id, expected);
                let content = self.find(id).expect("stored").content;
                assert_eq!(*handed, package(content), "byte for byte");
                assert_eq!(*attachment, attached(content), "byte for byte");
                self.hand_out(verdict.dialog.as_ref().expect("a dialog"), id);
            }
            (Expected::Cards(expected), What::Cards(cards)) => assert_eq!(cards, expected),
            (_, what) => panic!("{what:?} for {:?}", sent.ask),
        }
    }
}

/// The intermediary and its model.
pub struct World {
    office: Option<Office>,
    model: Model,
}

impl World {
    pub async fn open() -> Self {
        Self { office: Some(Office::open_quickly().await), model: Model::default() }
    }

    fn office(&self) -> &Office {
        self.office.as_ref().expect("open")
    }

    pub fn advance(&self, time: Duration) {
        self.office().clock.advance(time);
    }

    pub fn stored(&self) -> &[Stored] {
        &self.model.stored
    }

    fn now(&self) -> Timestamp {
        amtsbote::clock::Clock::now(&self.office().clock)
    }

    /// A request arrives and is worked on to its end.
    pub async fn deliver(&mut self, sent: &Sent) -> Seen {
        let now = self.now();
        let verdict = self.model.judge(sent, now);
        let answer = self.office().hand_in(sent.bytes.to_vec()).await;
        let client = Client::new(sent.who, sent.encrypted, true);
        let seen = match client.open(answer) {
            Got::Fault(code) => {
                Seen { codes: vec![format!("fault {code}")], control: None, what: What::Nothing }
            }
            Got::Answer(reply) => Seen {
                codes: reply.codes(),
                control: Some(reply.received.message.control.clone()),
                what: what(&reply),
            },
        };
        self.model.follow(sent, verdict, &seen, now);
        self.compare().await;
        seen
    }

    /// A request arrives and the process ends while it works on it, after so many waits.
    pub async fn deliver_and_crash(&mut self, sent: &Sent, waits: u32) {
        let now = self.now();
        let verdict = self.model.judge(sent, now);
        {
            let mut left = waits;
            let mut work = pin!(self.office().hand_in(sent.bytes.to_vec()));
            let cut = std::future::poll_fn(|context| {
                if left == 0 {
                    return std::task::Poll::Ready(());
                }
                left -= 1;
                work.as_mut().poll(context).map(|_| ())
            });
            cut.await;
        }
        self.restart_silently().await;
        self.adopt(sent, verdict, now).await;
        self.compare().await;
    }

    /// How far a request came that nobody heard the end of: to any of its steps, in their order.
    async fn adopt(&mut self, sent: &Sent, verdict: Verdict, now: Timestamp) {
        let known: BTreeSet<String> = self.office().entries().await.iter().map(id_of).collect();
        let is_new = |id: &str| known.contains(id);
        let Some(named) = verdict.dialog else {
            // A dialog or an id that nobody knows of harms nobody.
            if let (Expected::Stored, Ask::Store { id, .. }) = (&verdict.what, &sent.ask)
                && is_new(id)
            {
                self.model.store(sent);
            }
            return;
        };
        let stored = StoredId::parse(&named).expect("a ConversationId");
        let stored = self.office().store.dialog(&stored, now).await.expect("read");
        let before = &self.model.dialogs[&named];
        let proven = before.encrypted || !sent.forged;
        match stored {
            // Nothing of it happened, or it ended the dialog.
            Some(dialog) if dialog.sequence == before.sequence => {
                assert_eq!(dialog.challenge, before.challenge);
                return;
            }
            None => {
                assert_eq!(sent.ask, Ask::Exit);
                self.model.confirm(&named);
                self.model.dialogs.remove(&named);
                return;
            }
            Some(dialog) => {
                assert_eq!(dialog.sequence, before.sequence + 1);
                if proven {
                    self.model.confirm(&named);
                }
                let entry = self.model.dialogs.get_mut(&named).expect("a dialog");
                (entry.sequence, entry.challenge) = (dialog.sequence, dialog.challenge);
                (entry.expires_at, entry.encrypted) = (now + IDLE, sent.encrypted);
                if let (Expected::Delivery(id), true) = (&verdict.what, !dialog.handed_out.is_empty()) {
                    self.model.hand_out(&named, id);
                }
            }
        }
        if let (Expected::Stored, Ask::Store { id, .. }) = (&verdict.what, &sent.ask)
            && is_new(id)
        {
            self.model.store(sent);
        }
    }

    async fn restart_silently(&mut self) {
        let office = self.office.take().expect("open");
        self.office = Some(office.restart().await);
    }

    pub async fn restart(&mut self) {
        self.restart_silently().await;
        self.compare().await;
    }

    /// What lies in the store is what the model knows: nothing lost, nothing doubled, nothing received unasked.
    async fn compare(&self) {
        let entries = self.office().entries().await;
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (id_of(entry), entry.card.state, entry.card.received_at.is_some()))
            .collect();
        let known: Vec<_> = self
            .model
            .stored
            .iter()
            .map(|one| (one.id.clone(), one.state, one.state == DeliveryState::Received))
            .collect();
        assert_eq!(found, known);
        for one in &self.model.stored {
            let times = self.model.confirmed.iter().filter(|id| **id == one.id).count();
            assert_eq!(times > 0, one.state == DeliveryState::Received, "only a further request confirms");
        }
    }

    pub async fn close(mut self) {
        self.office.take().expect("open").close().await;
    }
}

fn id_of(entry: &amtsbote::store::Entry) -> String {
    entry.envelope.id.as_str().to_owned()
}
