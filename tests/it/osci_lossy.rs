//! Seeded simulations beside `osci_simulation`: pushes to a passive recipient whom the network does not always let hear or
//! answer, and uploads and fetches in chunks that are lost, doubled and reordered, while the intermediary restarts.
//!
//! What must hold: nothing is received without a positive answer that arrived; the recipient is never given a message
//! twice; a reply is kept once, and only to a question that was taken; of an upload nothing is accepted before its last
//! chunk, and then once, with equal bytes; of a fetch nothing is received before its reader holds every chunk of one answer
//! and has gone on in the dialog that gave the last.
//!
//! `AMTSBOTE_SIM_SEED` runs one seed, `AMTSBOTE_SIM_SEEDS` so many from 1 on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::forward_delivery::ForwardDelivery;
use amtsbote::osci::message::mediate_delivery::MediateDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::osci_chunks;
use crate::osci_office::{AUTHOR, Client, Office, PACKAGE, READER, account};
use crate::osci_push::{self, Answer, Says, YES};
use crate::osci_simulation::{Random, Seed, seeds};

const SEEDS: u64 = 3;
const PUSHES: usize = 8;
const UPLOAD_STEPS: usize = 14;
const FETCH_STEPS: usize = 24;
/// Chunks of the answer that is fetched.
const FETCHED: u64 = 4;

/// What became of a push where its recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The connection broke before he had it whole.
    Unheard,
    /// He said yes, and that did not arrive.
    YesLost,
    Yes,
    No,
}

#[derive(Default)]
struct Seen {
    next: Option<Fate>,
    /// What he was given, in order.
    taken: Vec<String>,
    dialled: usize,
}

/// Where he listens. Each connection ends as the simulation has decided before.
async fn recipient(seen: Arc<Mutex<Seen>>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://127.0.0.1:{}/osci", listener.local_addr().expect("an address").port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let fate = {
                let mut seen = seen.lock().expect("nobody panicked");
                seen.dialled += 1;
                seen.next.take()
            };
            let request = osci_push::body(&mut stream).await;
            if fate == Some(Fate::Unheard) {
                continue;
            }
            let request = osci_push::open(request).0;
            let card = match &request.message.payload {
                Payload::AcceptDelivery(accept) => Some(&accept.card),
                Payload::ProcessDelivery(process) => process.card.as_ref(),
                other => panic!("{:?}", other.kind()),
            };
            let id = card.expect("a card").message_id.as_str().to_owned();
            let code = if fate == Some(Fate::No) { "9801" } else { YES.code };
            if fate != Some(Fate::No) {
                seen.lock().expect("nobody panicked").taken.push(id);
            }
            if fate != Some(Fate::YesLost) {
                let answer = Says::Answer(Answer { code, ..YES }).bytes(&request);
                let _ = stream.write_all(&answer.expect("an answer")).await;
            }
        }
    });
    url
}

async fn office(url: &str) -> Office {
    let office = Office::open_with(|settings| settings.push.time_max = Duration::from_secs(10)).await;
    let mut reader = account("reader", READER);
    reader.osci.receivers = vec![url.to_owned()];
    office.apply(vec![account("author", AUTHOR), reader]).await;
    office
}

/// A dialog of the author's, a new one where the last is not known to go on.
async fn dialog(author: &mut Client, office: &Office) {
    if author.dialog.is_none() {
        author.begin(office).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_received_by_an_answer_only_and_never_doubled() {
    let mut fates = BTreeSet::new();
    for number in seeds(SEEDS) {
        let _seed = Seed(number);
        let mut random = Random(number);
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let url = recipient(seen.clone()).await;
        let mut office = office(&url).await;
        let mut author = Client::new("author", true, true);
        let mut known: BTreeMap<String, (Fate, bool)> = BTreeMap::new();
        for _ in 0..PUSHES {
            dialog(&mut author, &office).await;
            let id = author.message_id(&office).await;
            let processes = random.percent(50);
            let fate = [Fate::Unheard, Fate::YesLost, Fate::Yes, Fate::Yes, Fate::No][random.place(5)];
            fates.insert(format!("{fate:?} {processes}"));
            seen.lock().expect("nobody panicked").next = Some(fate);
            let draft = author.draft(push(&id, &url, processes));
            let request = author.write(draft);
            // The network may double a request; whichever comes second finds the dialog elsewhere.
            let answer = if random.percent(40) {
                let (one, other) = tokio::join!(office.post(&request), office.post(&request));
                let is_answer = |bytes: &Vec<u8>| {
                    matches!(author.open(bytes.clone()), crate::osci_office::Got::Answer(_))
                };
                assert_ne!(is_answer(&one), is_answer(&other), "one of two equal requests is executed");
                if is_answer(&one) { one } else { other }
            } else {
                office.post(&request).await
            };
            known.insert(id.as_str().to_owned(), (fate, processes));
            // Or lose the answer: then the client begins another dialog.
            if random.percent(30) {
                author.dialog = None;
            } else {
                let codes = author.read(answer).codes();
                let is_done = codes.iter().any(|code| code == "0801");
                assert_eq!(is_done, fate == Fate::Yes, "{fate:?}: {codes:?}");
            }
            if random.percent(25) {
                office = office.restart().await;
            }
            check(&office, &seen, &known).await;
        }
        office.close().await;
    }
    assert!(fates.len() >= 4, "only {fates:?} happened, which proves little");
}

fn push(id: &MessageId, url: &str, processes: bool) -> Payload {
    let (receiver_uri, message_id, subject) = (url.to_owned(), Some(id.clone()), None);
    match processes {
        true => Payload::MediateDelivery(MediateDelivery { receiver_uri, message_id, subject }),
        false => Payload::ForwardDelivery(ForwardDelivery { receiver_uri, message_id, subject }),
    }
}

async fn check(office: &Office, seen: &Mutex<Seen>, known: &BTreeMap<String, (Fate, bool)>) {
    let (taken, dialled) = {
        let seen = seen.lock().expect("nobody panicked");
        (seen.taken.clone(), seen.dialled)
    };
    let once: BTreeSet<&String> = taken.iter().collect();
    assert_eq!((once.len(), dialled), (taken.len(), known.len()), "nothing is pushed twice");
    let entries = office.entries().await;
    for (id, (fate, processes)) in known {
        let [entry] = entries.iter().filter(|entry| entry.card.id.as_str() == id).collect::<Vec<_>>()[..]
        else {
            panic!("{id} is not there once");
        };
        let expected = match fate {
            Fate::Yes => DeliveryState::Received,
            Fate::No => DeliveryState::Cancelled,
            // Nobody here can know.
            Fate::Unheard | Fate::YesLost => DeliveryState::Held,
        };
        assert_eq!(entry.card.state, expected, "{id}: {fate:?}");
        assert_eq!(entry.card.received_at.is_some(), *fate == Fate::Yes, "{id}");
        let replies =
            entries.iter().filter(|reply| reply.envelope.in_reply_to.contains(&entry.card.id)).count();
        assert_eq!(replies, usize::from(*fate == Fate::Yes && *processes), "replies to {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_over_a_lossy_network_make_one_delivery() {
    for number in seeds(SEEDS) {
        let _seed = Seed(number);
        let mut random = Random(number);
        let mut office = Office::open().await;
        let mut author = Client::new("author", true, true);
        author.begin(&office).await;
        let id = author.message_id(&office).await;
        let whole = osci_chunks::inside("author", &id);
        let (mut arrived, mut last) = (BTreeSet::new(), None);
        for step in 0.. {
            // At last the network is kind, so that every seed ends.
            let kind = step >= UPLOAD_STEPS;
            dialog(&mut author, &office).await;
            let chunk =
                if kind { (1..=3).find(|chunk| !arrived.contains(chunk)) } else { Some(1 + random.below(3)) };
            let Some(chunk) = chunk else { break };
            if kind || !random.percent(20) {
                let got = osci_chunks::upload(&mut author, &office, &id, &whole, chunk).await;
                let is_new = arrived.insert(chunk);
                if is_new && arrived.len() == 3 {
                    last = Some(chunk);
                }
                let is_taken = is_new || last == Some(chunk);
                assert_eq!(got.codes(), [if is_taken { "0801" } else { "9900" }], "chunk {chunk}");
                let inside = is_taken && osci_chunks::said(got).inside.is_some();
                assert_eq!(inside, is_taken && arrived.len() == 3, "chunk {chunk}");
            }
            let accepted = usize::from(arrived.len() == 3);
            assert_eq!(office.entries().await.len(), accepted, "with {arrived:?}");
            if !kind && random.percent(25) {
                // The answer was lost, and with it the dialog.
                author.dialog = None;
            }
            if !kind && random.percent(20) {
                office = office.restart().await;
                author.dialog = None;
            }
            if !kind && random.percent(20) {
                dialog(&mut author, &office).await;
                let said = osci_chunks::said(osci_chunks::ask(&mut author, &office, &id).await);
                let there: BTreeSet<u64> = said.chunk.received.unwrap_or_default().into_iter().collect();
                assert_eq!((there, said.inside.is_some()), (arrived.clone(), arrived.len() == 3));
            }
        }
        let mut reader = Client::new("reader", true, true);
        reader.begin(&office).await;
        let fetch = || Payload::FetchDelivery(FetchDelivery::default());
        let fetched = reader.send(&office, fetch()).await.answer();
        assert!(fetched.package() == PACKAGE.as_bytes() && fetched.attachment(0) == osci_chunks::attached());
        assert_eq!(reader.send(&office, fetch()).await.codes(), ["9803"], "once");
        office.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_fetched_over_a_lossy_network_are_received_as_a_whole() {
    let mut happened = BTreeSet::new();
    for number in seeds(SEEDS) {
        let _seed = Seed(number);
        let mut random = Random(number);
        let (mut office, _) = osci_chunks::with_delivery().await;
        let mut reader = Client::new("reader", true, true);
        let mut held: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        // Whether this dialog has given the chunk that made it whole.
        let mut is_whole = false;
        for step in 0..FETCH_STEPS * 2 {
            // At last the network is kind, so that every seed ends.
            let kind = step >= FETCH_STEPS;
            if reader.dialog.is_none() {
                reader.begin(&office).await;
                is_whole = false;
            }
            assert_eq!(received(&office).await, (1, false), "{:?} are held", held.keys());
            if is_whole && (kind || random.percent(40)) {
                break;
            }
            if is_whole {
                // The reader dies before he has gone on; what he holds he must ask for again.
                happened.insert("died");
                reader.dialog = None;
                continue;
            }
            let missing = (1..=FETCHED).find(|chunk| !held.contains_key(chunk));
            let chunk = match (held.is_empty(), kind) {
                (true, _) => 1,
                (false, true) => missing.unwrap_or(FETCHED),
                (false, false) => 1 + random.below(FETCHED),
            };
            let draft = reader.draft(osci_chunks::fetching(chunk, Some(held.keys().copied().collect())));
            let request = reader.write(draft);
            if !kind && random.percent(15) {
                happened.insert("request lost");
                reader.dialog = None;
                continue;
            }
            let answer = if !kind && random.percent(30) {
                happened.insert("doubled");
                let (one, other) = tokio::join!(office.post(&request), office.post(&request));
                let is_answer = |bytes: &Vec<u8>| {
                    matches!(reader.open(bytes.clone()), crate::osci_office::Got::Answer(_))
                };
                assert_ne!(is_answer(&one), is_answer(&other), "one of two equal requests is executed");
                if is_answer(&one) { one } else { other }
            } else {
                office.post(&request).await
            };
            if !kind && random.percent(20) {
                happened.insert("answer lost");
                reader.dialog = None;
            } else {
                let got = reader.read(answer);
                if got.codes() == ["9905"] {
                    // Which answer his chunks are of is not sure any more.
                    happened.insert("begun again");
                    held.clear();
                } else {
                    let (bytes, total) = osci_chunks::chunk_of(&got.answer());
                    assert_eq!(total, FETCHED);
                    held.insert(chunk, bytes);
                    is_whole = held.len() as u64 == FETCHED;
                }
            }
            if !kind && random.percent(20) {
                happened.insert("restarted");
                office = office.restart().await;
            }
        }
        assert!(is_whole, "with a kind network it arrives");
        // He goes on: that is what says that he has it.
        assert_eq!(reader.send(&office, osci_chunks::fetching(1, None)).await.codes(), ["9803"], "once");
        assert_eq!(received(&office).await, (1, true));
        let whole: Vec<u8> = held.into_values().flatten().collect();
        let inside = Client::new("reader", false, true).read(whole).answer();
        assert!(inside.package() == PACKAGE.as_bytes() && inside.attachment(0) == osci_chunks::large());
        reader.exit(&office).await;
        reader.begin(&office).await;
        assert_eq!(
            reader.send(&office, osci_chunks::fetching(1, None)).await.codes(),
            ["9803"],
            "never again"
        );
        office.close().await;
    }
    assert!(happened.len() >= 5, "only {happened:?} happened, which proves little");
}

/// Messages in the store, and whether all of them are received.
async fn received(office: &Office) -> (usize, bool) {
    let entries = office.entries().await;
    (entries.len(), entries.iter().all(|entry| entry.card.state == DeliveryState::Received))
}
