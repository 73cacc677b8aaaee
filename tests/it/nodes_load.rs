//! A load of clients on several nodes: each goes to its own node, and to another where that one fails; what they were
//! told is held against the store in the end.
//!
//! XTA clients post, a reader lists, fetches and closes, an OSCI client stores. Whoever gets no answer, or one that says
//! "not now", asks again at the next node, with the same id and the same bytes, until he has it; nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::client::content::{self as osci_content, Content as Piece};
use amtsbote::osci::client::exchange::Settings as OsciSettings;
use amtsbote::osci::client::keys::Keys;
use amtsbote::osci::client::request::Addressed;
use amtsbote::osci::client::session::{Client as OsciClient, Content, Error as OsciError};
use amtsbote::osci::message::fetch_process_card::FetchProcessCard;
use amtsbote::osci::message::message_id::MessageId as OsciId;
use amtsbote::osci::message::selection::{CardSelection, DeliverySelection};
use amtsbote::pki::certificate::Certificate;
use amtsbote::xta::client::{Client, Error};
use amtsbote::xta::message::msg_box::MsgSelector;
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::cli_fixture::Office;
use crate::nodes_office::{at_rest, logs_are_sound, stop};
use crate::serve_kill::{Name, People, id, name};

/// After this, somebody waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two messages of a client, so that many rounds do not pile up more than can be compared in the end.
const PAUSE: Duration = Duration::from_millis(120);

/// What clients were told.
#[derive(Default)]
struct Ledger {
    accepted: BTreeSet<Name>,
    /// By the OSCI client.
    stored: BTreeMap<String, u64>,
    closed: BTreeSet<Name>,
    /// From a node's fall to the first acceptance after it, for each client that is at home there.
    recoveries: Vec<Duration>,
    /// Answers that said "not now".
    refusals: u32,
    /// Requests that were given up because no answer came in time.
    given_up: u32,
}

#[derive(Clone)]
struct Node {
    xta: String,
    osci: String,
    /// When it was last killed, or stopped, or cut off.
    fell: Instant,
    /// Whether it may say "not now".
    excused: bool,
}

struct Shared {
    people: People,
    nodes: Mutex<Vec<Node>>,
    ledger: Mutex<Ledger>,
    stop: AtomicBool,
    /// A client gives a request up after this, and asks another node.
    answer_time_max: Duration,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no panic while it was held")
    }

    fn node(&self, place: usize) -> Node {
        self.nodes.lock().expect("no panic while it was held")[place].clone()
    }

    fn count(&self) -> usize {
        self.nodes.lock().expect("no panic while it was held").len()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// What did not work at one node is tried at the next; `None` is what had no answer in time.
    fn heard(&self, place: usize, error: Option<&Error>) {
        match error {
            None => self.ledger().given_up += 1,
            Some(Error::Fault { exception, code, name }) => {
                assert!(self.node(place).excused, "a node that is well refused: {exception} {code} {name}");
                self.ledger().refusals += 1;
            }
            Some(_) => {}
        }
    }

    /// Does `what` at `home` or, where that fails, at the others in turn.
    async fn at_any<T>(
        &self,
        home: usize,
        clients: &mut Clients,
        what: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> T {
        let begun = Instant::now();
        let mut failed = false;
        for turn in home.. {
            let place = turn % self.count();
            let node = self.node(place);
            let answer = timeout(self.answer_time_max, what(clients.of(place, &node))).await;
            match answer {
                Ok(Ok(done)) => {
                    let fell = self.node(home % self.count()).fell;
                    if clients.as_author && fell > clients.seen && (failed || begun > fell) {
                        clients.seen = fell;
                        self.ledger().recoveries.push(fell.elapsed());
                    }
                    return done;
                }
                Ok(Err(error)) => self.heard(place, Some(&error)),
                Err(_) => self.heard(place, None),
            }
            clients.forget(place);
            failed = true;
            assert!(begun.elapsed() < PATIENCE, "nobody answers");
            if place == (home + self.count() - 1) % self.count() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        unreachable!("places do not end")
    }

    async fn post(self: Arc<Self>, number: u64) {
        let mut clients = Clients::new(&self.people, true);
        for n in 0.. {
            if self.is_over() {
                return;
            }
            let name = (0, number, n);
            let send = async |client: &Client| self.people.send(client, name).await;
            self.at_any(number as usize, &mut clients, send).await;
            self.ledger().accepted.insert(name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Fetches one of the oldest messages; two of three are closed.
    async fn read(self: Arc<Self>) {
        let mut clients = Clients::new(&self.people, false);
        for turn in 0.. {
            if self.is_over() {
                return;
            }
            let list = async |client: &Client| client.list(&MsgSelector::default(), Some(5)).await;
            let page = self.at_any(turn, &mut clients, list).await;
            let Some(shown) = page.messages.get(turn % page.messages.len().max(1)) else { continue };
            let name = name(shown.envelope.id.as_str());
            let fetch = async |client: &Client| self.people.fetch(client, name).await;
            let fetched = self.at_any(turn + 1, &mut clients, fetch).await;
            if turn % 3 == 2 {
                continue;
            }
            let request = fetched.request_id.unwrap_or_default();
            let close = async |client: &Client| client.close(&request, &[id(name)]).await;
            self.at_any(turn + 2, &mut clients, close).await;
            self.ledger().closed.insert(name);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Connections of one client, one to each node.
struct Clients {
    people: People,
    as_author: bool,
    /// The last fall of the own node after which a message was accepted again.
    seen: Instant,
    known: BTreeMap<usize, (String, Client)>,
}

impl Clients {
    fn new(people: &People, as_author: bool) -> Self {
        Self { people: people.clone(), as_author, seen: Instant::now(), known: BTreeMap::new() }
    }

    fn of(&mut self, place: usize, node: &Node) -> &Client {
        if self.known.get(&place).is_some_and(|(url, _)| *url != node.xta) {
            self.known.remove(&place);
        }
        let known = self.known.entry(place).or_insert_with(|| {
            let client = match self.as_author {
                true => self.people.author(&node.xta),
                false => self.people.reader(&node.xta),
            };
            (node.xta.clone(), client)
        });
        &known.1
    }

    fn forget(&mut self, place: usize) {
        self.known.remove(&place);
    }
}

/// The OSCI client's keys, read once.
pub struct OsciPerson {
    pub folder: std::path::PathBuf,
}

impl OsciPerson {
    pub fn settings(&self, who: &str, url: &str) -> OsciSettings {
        let file = |end: String| self.folder.join(end);
        let part = |what: &str| (file(format!("{who}-{what}.crt")), file(format!("{who}-{what}.key")));
        let (cipher, signature) = (part("cipher"), part("signature"));
        let keys = Keys::load((&cipher.0, &cipher.1), Some((&signature.0, &signature.1))).expect("keys");
        OsciSettings::new(url.parse().expect("a URL"), keys, self.certificate("osci-cipher.crt"))
    }

    pub fn certificate(&self, file: &str) -> Certificate {
        let pem = std::fs::read(self.folder.join(file)).expect("is there");
        Certificate::chain_from_pem(&pem).expect("PEM").into_iter().next().expect("a certificate")
    }
}

fn osci_text(number: u64) -> Vec<u8> {
    format!("<notice>{number}: {}</notice>", "Grüße ".repeat((number % 50) as usize)).into_bytes()
}

/// From the registration office to the registry office, so that XTA's mailbox is not in the way. An id is asked for at
/// one node and used at the next.
async fn store(shared: Arc<Shared>, person: OsciPerson) {
    let addressee = person.certificate("standesamt-cipher.crt");
    let client = |turn: usize| {
        let node = shared.node(turn % shared.count());
        OsciClient::new(person.settings("meldebehoerde", &node.osci))
    };
    let mut turn = 0;
    for number in 0.. {
        if shared.is_over() {
            return;
        }
        let begun = Instant::now();
        let mut issued: Option<OsciId> = None;
        let mut unheard = false;
        loop {
            turn += 1;
            assert!(begun.elapsed() < PATIENCE, "no node answers to OSCI");
            let Some(id) = issued.clone() else {
                let asked = timeout(shared.answer_time_max, client(turn).message_id()).await;
                issued = asked.ok().and_then(Result::ok);
                continue;
            };
            let package = osci_content::compose(&[Piece::Inline(osci_text(number))], None).expect("composed");
            let content = Content { package: Arc::new(package.into_bytes()), attachments: Vec::new() };
            let delivery = Addressed::to(addressee.der(), id.clone());
            match timeout(shared.answer_time_max, client(turn).store(delivery, content)).await {
                Ok(Ok(_)) => {
                    shared.ledger().stored.insert(id.as_str().to_owned(), number);
                    break;
                }
                // In OSCI an id is used up once. That it was by an attempt whose answer was lost, the card says.
                Ok(Err(error)) if unheard && error.code().is_some_and(|code| code.to_string() == "9801") => {
                    let found = timeout(shared.answer_time_max, has_card(&client(turn), &id)).await;
                    if let Ok(Ok(found)) = found {
                        assert!(found, "{} is used, and has no card", id.as_str());
                        shared.ledger().stored.insert(id.as_str().to_owned(), number);
                        break;
                    }
                }
                Ok(Err(error)) => {
                    let refused = error.code().is_some();
                    let excused = shared.node(turn % shared.count()).excused;
                    assert!(!refused || excused, "a node that is well refused by OSCI: {error}");
                    unheard = true;
                }
                Err(_) => {
                    shared.ledger().given_up += 1;
                    unheard = true;
                }
            }
        }
        tokio::time::sleep(PAUSE * 4).await;
    }
}

async fn has_card(client: &OsciClient, id: &OsciId) -> Result<bool, OsciError> {
    let mut session = client.begin().await?;
    let selection = Some(CardSelection::MessageIds(vec![id.clone()]));
    let cards = session.cards(FetchProcessCard { selection, quantity_max: None }).await?;
    session.exit().await?;
    Ok(cards.iter().any(|card| card.message_id == *id))
}

/// A load under way.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

/// A client at work, in a thread of its own.
fn begin<Work: Future<Output = ()>>(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    work: impl FnOnce(Arc<Shared>) -> Work + Send + 'static,
) -> JoinHandle<()> {
    let (runtime, shared) = (runtime.handle().clone(), shared.clone());
    std::thread::spawn(move || runtime.block_on(work(shared)))
}

/// What a load came to.
pub struct Told {
    pub acknowledged: usize,
    pub recoveries: Vec<Duration>,
    pub refusals: u32,
    pub given_up: u32,
}

impl Load {
    /// Two clients for each node, a reader, and an OSCI client. No node may refuse unless it is excused.
    pub fn start(runtime: &Runtime, nodes: &[Office], answer_time_max: Duration) -> Self {
        let folder = nodes[0].folder.path();
        let now = Instant::now();
        let of = |office: &Office| Node {
            xta: office.xta.clone(),
            osci: office.osci.clone(),
            fell: now,
            excused: false,
        };
        let shared = Arc::new(Shared {
            people: People::of(folder, 7),
            nodes: Mutex::new(nodes.iter().map(of).collect()),
            ledger: Mutex::default(),
            stop: AtomicBool::new(false),
            answer_time_max,
        });
        let mut clients: Vec<_> = (0..2 * nodes.len() as u64)
            .map(|number| begin(runtime, &shared, move |shared| shared.post(number)))
            .collect();
        clients.push(begin(runtime, &shared, Shared::read));
        let person = OsciPerson { folder: folder.join("tls") };
        clients.push(begin(runtime, &shared, |shared| store(shared, person)));
        Self { shared, clients }
    }

    pub fn fell(&self, place: usize) {
        self.shared.nodes.lock().expect("no panic while it was held")[place].fell = Instant::now();
    }

    /// From here on this node may refuse, or no more.
    pub fn excuse(&self, place: usize, excused: bool) {
        self.shared.nodes.lock().expect("no panic while it was held")[place].excused = excused;
    }

    pub fn is_back(&self, place: usize, office: &Office) {
        let mut nodes = self.shared.nodes.lock().expect("no panic while it was held");
        (nodes[place].xta, nodes[place].osci) = (office.xta.clone(), office.osci.clone());
    }

    /// How many messages were accepted by XTA so far.
    pub fn accepted(&self) -> usize {
        self.shared.ledger().accepted.len()
    }

    /// How many answers said "not now" so far.
    pub fn refusals(&self) -> u32 {
        self.shared.ledger().refusals
    }

    /// Waits until so many more are accepted.
    pub fn wait_for(&self, more: usize) {
        let (begun, before) = (Instant::now(), self.accepted());
        while self.accepted() < before + more {
            assert!(begun.elapsed() < PATIENCE, "nothing is accepted any more");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the load, stops the nodes, and holds what clients were told against bytes, states, cards and logs.
    pub fn settle(self, runtime: &Runtime, nodes: &mut [Office], connection: &str) -> Told {
        self.shared.stop.store(true, Ordering::SeqCst);
        let end = Instant::now() + PATIENCE * 2;
        for client in self.clients {
            while !client.is_finished() {
                assert!(Instant::now() < end, "somebody waits for ever");
                std::thread::sleep(Duration::from_millis(20));
            }
            client.join().expect("the load found nothing wrong");
        }
        let shared = self.shared;
        let ledger = std::mem::take(&mut *shared.ledger());
        runtime.block_on(compare_bytes(&shared.people, nodes, &ledger));
        stop(nodes);
        logs_are_sound(nodes);
        let states = runtime.block_on(at_rest(connection, nodes.len()));
        let mut expected: BTreeSet<String> =
            ledger.accepted.iter().map(|name| id(*name).as_str().to_owned()).collect();
        expected.extend(ledger.stored.keys().cloned());
        let found: BTreeSet<String> = states.keys().cloned().collect();
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let strange: Vec<_> = found.difference(&expected).collect();
        assert!(
            strange.is_empty(),
            "never acknowledged, though every client went on until it was: {strange:?}"
        );
        for name in &ledger.accepted {
            let received = states[id(*name).as_str()] == DeliveryState::Received;
            assert_eq!(received, ledger.closed.contains(name), "{name:?}");
        }
        Told {
            acknowledged: ledger.accepted.len() + ledger.stored.len() + ledger.closed.len(),
            recoveries: ledger.recoveries,
            refusals: ledger.refusals,
            given_up: ledger.given_up,
        }
    }
}

/// What was not closed is still to be had at every node, byte for byte; what was, the reader has compared.
async fn compare_bytes(people: &People, nodes: &[Office], ledger: &Ledger) {
    let open: Vec<Name> = ledger.accepted.difference(&ledger.closed).copied().collect();
    let shares = open.chunks(open.len().div_ceil(2 * nodes.len()).max(1)).zip(nodes.iter().cycle());
    let compared = shares.map(async |(names, office)| {
        let reader = people.reader(&office.xta);
        for name in names {
            let fetched = people.fetch(&reader, *name).await;
            fetched.unwrap_or_else(|error| panic!("{name:?} was accepted: {error}"));
        }
    });
    join_all(compared).await;
    let office = &nodes[0];
    let person = OsciPerson { folder: office.path("tls") };
    let client = OsciClient::new(person.settings("standesamt", &office.osci));
    let mut session = client.begin().await.expect("a dialog");
    for (id, number) in &ledger.stored {
        let wanted = DeliverySelection::MessageId(OsciId::new(id).expect("an id"));
        let fetched = session.fetch(Some(wanted)).await.expect("answered").expect("it was stored");
        let contents = tokio::task::block_in_place(|| fetched.contents()).expect("contents");
        assert!(contents == [osci_text(*number)], "{id} is not what was sent");
    }
    session.exit().await.expect("the dialog ends");
}
