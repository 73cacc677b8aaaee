//! Large messages in chunks over real sockets: uploads that go on after a restart, every code of theirs, the message
//! inside accepted once, and fetches whose slices fit together and confirm nothing before they are whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use amtsbote::domain::state::DeliveryState;
use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::client::address::Address;
use amtsbote::osci::client::content::{self, Content as Piece};
use amtsbote::osci::client::exchange::Settings as ClientSettings;
use amtsbote::osci::client::keys::{Keys, Signature};
use amtsbote::osci::client::request::Addressed;
use amtsbote::osci::client::session::{Client as OwnClient, Content};
use amtsbote::osci::envelope::write::OutgoingAttachment;
use amtsbote::osci::message::chunk_information::ChunkInformation;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::partial_fetch_delivery::PartialFetchDelivery;
use amtsbote::osci::message::partial_store_delivery::{
    CHUNK_ATTACHMENT_ID, Chunk, PartialStoreDelivery, ResponseToPartialStoreDelivery,
};
use amtsbote::osci::message::payload::Payload;
use amtsbote::xml::dsig::sign::SigningKey;
use amtsbote::xml::enc::RecipientKey;

use crate::osci_office::{Client, Got, Office, PACKAGE, Reply, delivery, keys};

const KILOBYTES: u64 = 8;
const FULL: usize = KILOBYTES as usize * 1024;
const CHUNK_PACKAGE: &[u8] = b"<osci:ContentPackage><osci:ContentContainer Id=\"ChunkContentContainer\"><osci:Content \
    Id=\"ChunkContent\" href=\"cid:ChunkBlobStoreDelivery\"></osci:Content></osci:ContentContainer></osci:ContentPackage>";

/// An attachment that makes four chunks of the answer to its fetch.
pub fn large() -> Vec<u8> {
    (0..2 * FULL + 100).map(|at| (at % 251) as u8).collect()
}

/// One that makes three chunks of its delivery.
pub fn attached() -> Vec<u8> {
    large().split_off(FULL)
}

/// A storeDelivery in the clear, as it travels inside chunks; three of them.
pub fn inside(originator: &'static str, id: &MessageId) -> Vec<u8> {
    let author = Client::new(originator, false, true);
    let mut draft = author.draft(delivery(id));
    draft.attachments[0].source = Arc::new(attached());
    let bytes = author.write(draft);
    assert!((2 * FULL..=3 * FULL).contains(&bytes.len()), "{} bytes make three chunks", bytes.len());
    bytes
}

fn information(number: u64, bytes: usize) -> ChunkInformation {
    ChunkInformation {
        number: Some(number),
        kilobytes: Some(KILOBYTES),
        total: Some(bytes.div_ceil(FULL) as u64),
        message_kilobytes: Some(bytes.div_ceil(1024) as u64),
        ..ChunkInformation::default()
    }
}

fn slice(whole: &[u8], number: u64) -> &[u8] {
    let start = (number as usize - 1) * FULL;
    &whole[start..whole.len().min(start + FULL)]
}

async fn send(
    client: &mut Client,
    office: &Office,
    id: &MessageId,
    information: ChunkInformation,
    chunk: &[u8],
) -> Got {
    let payload = Payload::PartialStoreDelivery(PartialStoreDelivery {
        message_id: id.partial(),
        subject: None,
        chunk: Chunk::Information(information),
    });
    let content_id = ContentId::from_header(CHUNK_ATTACHMENT_ID).expect("an id");
    let attachment =
        OutgoingAttachment::new(content_id, "application/octet-stream", Arc::new(chunk.to_vec()));
    let change = |draft: &mut crate::osci_office::Draft| {
        draft.content = Some(CHUNK_PACKAGE.to_vec());
        draft.attachments = vec![attachment];
    };
    client.send_changed(office, payload, change).await
}

pub async fn upload(client: &mut Client, office: &Office, id: &MessageId, whole: &[u8], number: u64) -> Got {
    send(client, office, id, information(number, whole.len()), slice(whole, number)).await
}

pub async fn ask(client: &mut Client, office: &Office, id: &MessageId) -> Got {
    let payload = Payload::PartialStoreDelivery(PartialStoreDelivery {
        message_id: id.partial(),
        subject: None,
        chunk: Chunk::InfoOnly,
    });
    let package = b"<osci:ContentPackage></osci:ContentPackage>".to_vec();
    client.send_changed(office, payload, |draft| draft.content = Some(package)).await
}

pub fn said(got: Got) -> ResponseToPartialStoreDelivery {
    match got.answer().received.message.payload {
        Payload::ResponseToPartialStoreDelivery(answer) => *answer,
        other => panic!("{:?}", other.kind()),
    }
}

fn inner_codes(answer: &ResponseToPartialStoreDelivery) -> Vec<String> {
    answer.inside.iter().flat_map(|inside| inside.codes()).map(|code| code.to_string()).collect()
}

async fn begun(office: &Office, name: &'static str) -> Client {
    let mut client = Client::new(name, true, true);
    client.begin(office).await;
    client
}

async fn states(office: &Office) -> Vec<DeliveryState> {
    office.entries().await.iter().map(|entry| entry.card.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_and_is_accepted_once() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let whole = inside("author", &id);

    let nothing = said(ask(&mut author, &office, &id).await);
    assert_eq!((nothing.chunk, nothing.inside.is_none()), (ChunkInformation::default(), true));
    for number in [1, 3] {
        let got = upload(&mut author, &office, &id, &whole, number).await;
        assert_eq!(got.codes(), ["0801"]);
        let answer = said(got);
        assert_eq!((answer.chunk.number, answer.chunk.total), (Some(number), Some(3)));
        assert!(answer.inside.is_none() && answer.card.is_none());
    }
    let office = office.restart().await;
    assert!(office.entries().await.is_empty(), "what is half received is not received");
    let mut again = begun(&office, "author").await;
    assert_eq!(said(ask(&mut again, &office, &id).await).chunk.received, Some(vec![1, 3]));
    let last = upload(&mut again, &office, &id, &whole, 2).await;
    assert_eq!(last.codes(), ["0801"]);
    let last = said(last);
    assert_eq!((inner_codes(&last), last.chunk.received), (vec!["0800".to_owned()], Some(vec![1, 2, 3])));
    assert_eq!(last.card.expect("the proof of submission").message_id, id);
    assert_eq!(states(&office).await, [DeliveryState::Waiting]);

    // Who did not hear that hears it again; nothing is stored twice, and no chunk is kept.
    let office = office.restart().await;
    let mut third = begun(&office, "author").await;
    let heard = ask(&mut third, &office, &id).await;
    assert_eq!(heard.codes(), ["3950", "0801"]);
    let heard = said(heard);
    assert_eq!((inner_codes(&heard), heard.card.is_some()), (vec!["0800".to_owned()], true));
    let repeated = upload(&mut third, &office, &id, &whole, 2).await;
    assert_eq!(repeated.codes(), ["0801"]);
    let repeated = said(repeated);
    assert_eq!(
        (inner_codes(&repeated), repeated.chunk.received),
        (vec!["0800".to_owned()], Some(vec![1, 2, 3]))
    );
    assert_eq!(repeated.card.expect("the proof of submission").message_id, id);
    // Not so another chunk, nor another message under the id that is cut the same way.
    for number in [1, 3] {
        assert_eq!(upload(&mut third, &office, &id, &whole, number).await.codes(), ["9900"]);
    }
    let mut other = whole.clone();
    other[FULL + 100] ^= 1;
    assert_eq!(upload(&mut third, &office, &id, &other, 2).await.codes(), ["9900"]);
    let another = ChunkInformation { total: Some(4), ..information(2, whole.len()) };
    assert_eq!(send(&mut third, &office, &id, another, slice(&whole, 2)).await.codes(), ["9905"]);
    assert_eq!(office.entries().await.len(), 1);
    assert_eq!(files(office.chunks()).len(), 2, "beginning and end");

    let mut reader = begun(&office, "reader").await;
    let fetched = reader.send(&office, Payload::FetchDelivery(FetchDelivery::default())).await.answer();
    assert_eq!(fetched.package(), PACKAGE.as_bytes());
    assert_eq!(fetched.attachment(0), attached());
    office.close().await;
}

/// Keeps everybody from writing to the store, as a slow disk would, until it is dropped.
fn stall(office: &Office) -> rusqlite::Connection {
    let file = office.folder().join("store").join("amtsbote.sqlite");
    let other = rusqlite::Connection::open(file).expect("a database");
    other.busy_timeout(std::time::Duration::from_secs(10)).expect("a setting");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes at this moment");
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_at_work_is_called_so() {
    let office =
        Office::open_with(|settings| settings.inside_wait = std::time::Duration::from_millis(50)).await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let whole = inside("author", &id);
    for number in [1, 2] {
        assert_eq!(upload(&mut author, &office, &id, &whole, number).await.codes(), ["0801"]);
    }
    // Outside any dialog a request writes nothing before the message inside is accepted.
    let (mut last, mut asking) = (Client::new("author", true, true), Client::new("author", true, true));
    let heard = said(ask(&mut asking, &office, &id).await);
    assert_eq!(heard.chunk.received, Some(vec![1, 2]));
    let other = stall(&office);
    let bring = upload(&mut last, &office, &id, &whole, 3);
    let ask_meanwhile = async {
        let mut codes = Vec::new();
        // The first questions may come before the last chunk is there.
        for _ in 0..100 {
            let heard = ask(&mut asking, &office, &id).await;
            codes = heard.codes();
            if codes.contains(&"3952".to_owned()) {
                let heard = said(heard);
                assert_eq!((heard.inside.is_none(), heard.card.is_none()), (true, true));
                assert_eq!(heard.chunk.received, Some(vec![1, 2, 3]));
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(other);
        codes
    };
    let (brought, codes) = tokio::join!(bring, ask_meanwhile);
    assert_eq!(codes, ["3952", "0800"]);
    assert_eq!(inner_codes(&said(brought)), ["0800"]);
    assert_eq!(ask(&mut asking, &office, &id).await.codes(), ["3950", "0800"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_it_is_at_work_waits_for_its_end() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let whole = inside("author", &id);
    for number in [1, 2] {
        assert_eq!(upload(&mut author, &office, &id, &whole, number).await.codes(), ["0801"]);
    }
    let (mut last, mut asking) = (Client::new("author", true, true), Client::new("author", true, true));
    let other = stall(&office);
    let bring = upload(&mut last, &office, &id, &whole, 3);
    let ask_meanwhile = async {
        let is_last = |path: &PathBuf| path.file_name().is_some_and(|name| name == "3");
        for _ in 0..500 {
            if files(office.chunks()).iter().any(is_last) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(files(office.chunks()).iter().any(is_last), "the last chunk is there");
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            drop(other);
        };
        let (heard, ()) = tokio::join!(ask(&mut asking, &office, &id), release);
        heard.codes()
    };
    let (brought, codes) = tokio::join!(bring, ask_meanwhile);
    assert_eq!(codes, ["3950", "0800"], "the end, and not that it is at work");
    assert_eq!(inner_codes(&said(brought)), ["0800"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_behind_the_acceptance_doubles_nothing() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let whole = inside("author", &id);
    for number in 1..=3 {
        assert_eq!(upload(&mut author, &office, &id, &whole, number).await.codes(), ["0801"]);
    }
    assert_eq!(office.entries().await.len(), 1);
    // As if the process had ended before it noted what the store already had.
    let accepted = files(office.chunks());
    let accepted = accepted.iter().find(|path| path.ends_with("accepted.json")).expect("noted").clone();
    let office = office.restart().await;
    fs::remove_file(&accepted).expect("removed");
    for number in 1..=3 {
        let path = accepted.with_file_name(number.to_string());
        fs::write(path, slice(&whole, number)).expect("written");
    }
    let mut author = begun(&office, "author").await;
    // A chunk starts nothing: a question does.
    assert_eq!(upload(&mut author, &office, &id, &whole, 3).await.codes(), ["9900"]);
    assert!(!accepted.exists());
    let heard = said(ask(&mut author, &office, &id).await);
    assert_eq!((inner_codes(&heard), heard.card.is_some()), (vec!["0800".to_owned()], true));
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_do_not_fit_are_refused() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let whole = inside("author", &id);
    assert_eq!(upload(&mut author, &office, &id, &whole, 1).await.codes(), ["0801"]);
    let good = information(2, whole.len());
    let full = slice(&whole, 2);
    for (what, information, chunk, code) in [
        ("again", information(1, whole.len()), slice(&whole, 1), "9900"),
        ("beyond the last", ChunkInformation { number: Some(4), ..good.clone() }, full, "9901"),
        ("before the first", ChunkInformation { number: Some(0), ..good.clone() }, full, "9901"),
        ("more than it said", good.clone(), &whole[..FULL + 1], "9902"),
        ("larger than we take", ChunkInformation { kilobytes: Some(65_537), ..good.clone() }, full, "9902"),
        ("less than it said", good.clone(), &full[1..], "9903"),
        ("smaller than we take", ChunkInformation { kilobytes: Some(7), ..good.clone() }, full, "9903"),
        (
            "too large a message",
            ChunkInformation { message_kilobytes: Some(1 << 40), ..good.clone() },
            full,
            "9904",
        ),
        (
            "another number",
            ChunkInformation { total: Some(4), message_kilobytes: Some(30), ..good.clone() },
            full,
            "9905",
        ),
        ("another size", ChunkInformation { kilobytes: Some(9), ..good.clone() }, full, "9905"),
        (
            "a lie about the whole",
            ChunkInformation { message_kilobytes: Some(1), ..good.clone() },
            full,
            "9905",
        ),
        ("no number", ChunkInformation { number: None, ..good.clone() }, full, "9905"),
    ] {
        let codes = send(&mut author, &office, &id, information, chunk).await.codes();
        assert_eq!(codes, [code], "{what}");
        assert_eq!(said(ask(&mut author, &office, &id).await).chunk.received, Some(vec![1]), "{what}");
    }
    // The dialog and the upload go on.
    assert_eq!(send(&mut author, &office, &id, good, full).await.codes(), ["0801"]);
    assert_eq!(inner_codes(&said(upload(&mut author, &office, &id, &whole, 3).await)), ["0800"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_inside_is_judged_as_if_it_came_alone() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let other = author.message_id(&office).await;
    let good = inside("author", &id);
    let mut forged = good.clone();
    let at = forged.len() - 100;
    forged[at] ^= 1;
    for (what, whole, code) in [
        ("forged", forged, "9601"),
        ("another's id", inside("author", &other), "9905"),
        ("another's message", inside("reader", &id), "9905"),
        ("no message", vec![b'x'; 3 * FULL], "9100"),
    ] {
        for number in [1, 2] {
            assert_eq!(upload(&mut author, &office, &id, &whole, number).await.codes(), ["0801"], "{what}");
        }
        let last = said(upload(&mut author, &office, &id, &whole, 3).await);
        assert_eq!((inner_codes(&last), last.card.is_none()), (vec![code.to_owned()], true), "{what}");
        assert!(office.entries().await.is_empty(), "{what}");
        assert_eq!(files(office.chunks()), Vec::<PathBuf>::new(), "{what}: nothing is kept");
    }
    // The same id may be tried again, and an id that is not ours may not.
    for number in [1, 2, 3] {
        assert_eq!(upload(&mut author, &office, &id, &good, number).await.codes(), ["0801"]);
    }
    assert_eq!(office.entries().await.len(), 1);
    let invented = MessageId::new("invented").expect("an id");
    let whole = inside("author", &invented);
    for number in [1, 2] {
        upload(&mut author, &office, &invented, &whole, number).await;
    }
    assert_eq!(inner_codes(&said(upload(&mut author, &office, &invented, &whole, 3).await)), ["9801"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_bounded_per_account_and_swept() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let first = slice(&inside("author", &MessageId::new("m").expect("an id")), 1).to_vec();
    let id = |at: usize| MessageId::new(format!("m{at}")).expect("an id");
    for at in 0..16 {
        let got = send(&mut author, &office, &id(at), information(1, 3 * FULL), &first).await;
        assert_eq!(got.codes(), ["0801"], "{at}");
    }
    let got = send(&mut author, &office, &id(16), information(1, 3 * FULL), &first).await;
    assert_eq!(got.codes(), ["9811"]);
    let mut reader = begun(&office, "reader").await;
    let got = send(&mut reader, &office, &id(16), information(1, 3 * FULL), &first).await;
    assert_eq!(got.codes(), ["0801"], "others are unharmed");
    assert_eq!(office.door.sweep().await.expect("swept"), 0);
    office.clock.advance(std::time::Duration::from_secs(3 * 86_400));
    assert_eq!(office.door.sweep().await.expect("swept"), 17);
    let mut author = begun(&office, "author").await;
    assert_eq!(said(ask(&mut author, &office, &id(0)).await).chunk.received, None);
    office.close().await;
}

/// A request for this chunk by one who holds these.
pub fn fetching(number: u64, received: Option<Vec<u64>>) -> Payload {
    let chunk = ChunkInformation {
        number: Some(number),
        kilobytes: Some(KILOBYTES),
        received,
        ..ChunkInformation::default()
    };
    Payload::PartialFetchDelivery(PartialFetchDelivery { selection: None, chunk })
}

async fn fetch(reader: &mut Client, office: &Office, number: u64, received: Option<Vec<u64>>) -> Got {
    reader.send(office, fetching(number, received)).await
}

pub fn chunk_of(reply: &Reply) -> (Vec<u8>, u64) {
    let Payload::ResponseToPartialFetchDelivery(answer) = &reply.received.message.payload else {
        panic!("{:?}", reply.received.message.kind());
    };
    let total = answer.chunk.as_ref().and_then(|chunk| chunk.total).expect("a number of chunks");
    assert!(answer.message_id.is_some());
    (reply.attachment(0).to_vec(), total)
}

/// An office in which one large message waits.
pub async fn with_delivery() -> (Office, MessageId) {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let got = author
        .send_changed(&office, delivery(&id), |draft| draft.attachments[0].source = Arc::new(large()))
        .await;
    assert_eq!(got.codes(), ["0801"]);
    (office, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_fit_together_over_a_restart_and_only_the_whole_is_received() {
    let (office, _) = with_delivery().await;
    let mut reader = begun(&office, "reader").await;
    let (one, total) = chunk_of(&fetch(&mut reader, &office, 1, Some(vec![])).await.answer());
    assert_eq!(total, 4);
    let (two, _) = chunk_of(&fetch(&mut reader, &office, 2, Some(vec![1])).await.answer());
    assert_eq!(states(&office).await, [DeliveryState::HandedOut], "a chunk is not the message");
    reader.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::HandedOut], "nor is an ended dialog");

    let office = office.restart().await;
    let mut reader = begun(&office, "reader").await;
    let (again, _) = chunk_of(&fetch(&mut reader, &office, 2, Some(vec![1])).await.answer());
    assert!(again == two, "serialised once");
    // The last one is not the whole as long as another is missing.
    let (four, _) = chunk_of(&fetch(&mut reader, &office, 4, Some(vec![1, 2])).await.answer());
    let (three, _) = chunk_of(&fetch(&mut reader, &office, 3, Some(vec![1, 2, 4])).await.answer());
    assert_eq!(states(&office).await, [DeliveryState::HandedOut]);
    reader.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::Received]);

    let whole = [one, two, three, four].concat();
    let inside = Client::new("reader", false, true).read(whole).answer();
    assert_eq!(inside.codes(), ["0801"]);
    assert_eq!((inside.package(), inside.attachment(0)), (PACKAGE.as_bytes(), large().as_slice()));
    let Payload::ResponseToFetchDelivery(answer) = &inside.received.message.payload else { panic!("inside") };
    let card = answer.card.as_ref().expect("a card");
    assert!(card.forwarding.is_some() && card.reception.is_none());
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_that_do_not_fit_are_refused_and_the_message_is_offered_again() {
    let (office, _) = with_delivery().await;
    let mut reader = begun(&office, "reader").await;
    assert_eq!(fetch(&mut reader, &office, 2, Some(vec![1])).await.codes(), ["9905"], "nothing began");
    assert_eq!(fetch(&mut reader, &office, 0, Some(vec![])).await.codes(), ["9901"]);
    // Whoever never says what he holds is believed to hold what he was given, and no more.
    let (first, _) = chunk_of(&fetch(&mut reader, &office, 1, None).await.answer());
    assert_eq!(fetch(&mut reader, &office, 5, None).await.codes(), ["9901"]);
    chunk_of(&fetch(&mut reader, &office, 4, None).await.answer());
    let other = ChunkInformation { number: Some(2), kilobytes: Some(9), ..ChunkInformation::default() };
    let other = PartialFetchDelivery { selection: None, chunk: other };
    assert_eq!(reader.send(&office, Payload::PartialFetchDelivery(other)).await.codes(), ["9905"]);
    assert_eq!(states(&office).await, [DeliveryState::HandedOut]);
    // Another begins again, with a message of its own.
    let mut second = begun(&office, "reader").await;
    let (anew, _) = chunk_of(&fetch(&mut second, &office, 1, None).await.answer());
    assert!(anew != first);
    for number in 2..=4 {
        chunk_of(&fetch(&mut second, &office, number, None).await.answer());
    }
    assert_eq!(states(&office).await, [DeliveryState::HandedOut]);
    second.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::Received]);
    let mut stranger = begun(&office, "author").await;
    assert_eq!(fetch(&mut stranger, &office, 1, None).await.codes(), ["9803"]);
    let mut nobody = Client::new("reader", true, true);
    assert_eq!(fetch(&mut nobody, &office, 1, None).await.codes(), ["9802"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_begins_an_upload_in_another_s_name() {
    let office = Office::open().await;
    let mut open = Client::new("author", false, true);
    // Whoever listened knows this one.
    let known = open.message_id(&office).await;
    let mut stranger = Client::new("author", true, false);
    let first = slice(&inside("author", &MessageId::new("m").expect("an id")), 1).to_vec();
    let invented = (0..16).map(|at| MessageId::new(format!("invented{at}")).expect("an id"));
    let others = Client::new("reader", true, true).message_id(&office).await;
    for id in invented.chain([known, others]) {
        let got = send(&mut stranger, &office, &id, information(1, 3 * FULL), &first).await;
        assert_eq!(got.codes(), ["9801"], "{}", id.as_str());
        assert_eq!(ask(&mut stranger, &office, &id).await.codes(), ["9801"]);
    }
    assert_eq!(files(office.chunks()), Vec::<PathBuf>::new());
    // Its owner is not held up, and an id that only he could read is proof enough.
    let mut owner = Client::new("author", true, false);
    let id = owner.message_id(&office).await;
    let whole = inside("author", &id);
    for number in 1..=2 {
        assert_eq!(upload(&mut owner, &office, &id, &whole, number).await.codes(), ["0800"]);
    }
    assert_eq!(inner_codes(&said(upload(&mut owner, &office, &id, &whole, 3).await)), ["0800"]);
    assert_eq!(office.entries().await.len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_noted_was_not_handed_out() {
    let (office, _) = with_delivery().await;
    let mut reader = begun(&office, "reader").await;
    let mut received = Vec::new();
    for number in 1..=3 {
        chunk_of(&fetch(&mut reader, &office, number, Some(received.clone())).await.answer());
        received.push(number);
    }
    // Where the note would be written there is something else: the disk says no.
    let begun_file = files(office.chunks()).into_iter().find(|path| path.ends_with("begun.json"));
    let in_the_way = begun_file.expect("noted").with_file_name("begun.json.new");
    fs::create_dir(&in_the_way).expect("made");
    assert_eq!(fetch(&mut reader, &office, 4, Some(received.clone())).await.codes(), ["9811"]);
    fs::remove_dir(&in_the_way).expect("removed");
    // The dialog stays usable, and its end confirms nothing that the reader never got.
    reader.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::HandedOut]);
    let mut again = begun(&office, "reader").await;
    chunk_of(&fetch(&mut again, &office, 4, Some(received)).await.answer());
    again.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::Received]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_at_the_same_time_get_slices_that_fit() {
    let (office, _) = with_delivery().await;
    let (mut one, mut other) = (begun(&office, "reader").await, begun(&office, "reader").await);
    let mut slices = Vec::new();
    for number in 1..=3 {
        slices
            .push(chunk_of(&fetch(&mut one, &office, number, Some((1..number).collect())).await.answer()).0);
    }
    let (begins, _) = chunk_of(&fetch(&mut other, &office, 1, Some(vec![])).await.answer());
    assert!(begins != slices[0], "an answer of its own");
    // Of which of both answers are these? Nobody can know.
    let mut third = begun(&office, "reader").await;
    assert_eq!(fetch(&mut third, &office, 2, Some(vec![1])).await.codes(), ["9905"]);
    // What others were given counts for nobody else.
    for number in [2, 3] {
        chunk_of(&fetch(&mut other, &office, number, None).await.answer());
    }
    let (last, _) = chunk_of(&fetch(&mut one, &office, 4, Some(vec![1, 2, 3])).await.answer());
    slices.push(last);
    let (last, _) = chunk_of(&fetch(&mut other, &office, 4, None).await.answer());
    assert!(last != slices[3]);
    one.exit(&office).await;
    assert_eq!(states(&office).await, [DeliveryState::Received]);
    let inside = Client::new("reader", false, true).read(slices.concat()).answer();
    assert_eq!(inside.attachment(0), large().as_slice());
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_again_gets_slices_of_his_new_answer() {
    let (office, _) = with_delivery().await;
    let mut first = begun(&office, "reader").await;
    chunk_of(&fetch(&mut first, &office, 1, Some(vec![])).await.answer());
    let mut again = begun(&office, "reader").await;
    chunk_of(&fetch(&mut again, &office, 2, Some(vec![1])).await.answer());
    // That was not worth it; from here on the answer is this dialog's own.
    let mut slices = Vec::new();
    for number in 1..=4 {
        slices.push(
            chunk_of(&fetch(&mut again, &office, number, Some((1..number).collect())).await.answer()).0,
        );
    }
    let inside = Client::new("reader", false, true).read(slices.concat()).answer();
    assert_eq!(inside.attachment(0), large().as_slice());
    office.close().await;
}

fn own_client(office: &Office, name: &str, scratch: &Path) -> OwnClient {
    let (cipher, signature) = (keys(&format!("{name}-cipher")), keys(&format!("{name}-signature")));
    let keys_of = Keys {
        cipher: cipher.certificate.clone(),
        cipher_key: RecipientKey::from_pkcs8(&cipher.pkcs8).expect("a key"),
        signature: Some(Signature {
            certificate: signature.certificate.clone(),
            key: SigningKey::from_pkcs8(&signature.pkcs8).expect("a key"),
        }),
    };
    let address = Address::parse(&format!("http://127.0.0.1:{}/", office.port)).expect("an address");
    let peer = keys("intermediary-cipher").certificate.clone();
    let mut settings = ClientSettings::new(address, keys_of, peer);
    settings.peer_signature = Some(keys("intermediary-signature").certificate.clone());
    settings.scratch = scratch.to_owned();
    OwnClient::new(settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_client_sends_and_fetches_in_chunks() {
    let office = Office::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut author = own_client(&office, "author", folder.path()).begin().await.expect("a dialog");
    let id = author.message_id().await.expect("an id");
    let package = content::compose(&[Piece::Inline(large())], None).expect("a package");
    let content = Content { package: Arc::new(package.into_bytes()), attachments: Vec::new() };
    let addressed = Addressed::to(&keys("reader-cipher").der(), id.clone());
    let stored = author.store_in_chunks(addressed, content, KILOBYTES).await.expect("stored");
    assert_eq!(stored.card.expect("a card").message_id, id);
    author.exit().await.expect("ended");

    let mut reader = own_client(&office, "reader", folder.path()).begin().await.expect("a dialog");
    let fetched = reader.fetch_in_chunks(None, KILOBYTES).await.expect("fetched").expect("one waits");
    assert_eq!(fetched.contents().expect("contents"), [large()]);
    assert_eq!(states(&office).await, [DeliveryState::HandedOut]);
    reader.exit().await.expect("ended");
    assert_eq!(states(&office).await, [DeliveryState::Received]);
    office.close().await;
}

/// Files of uploads of this office.
fn upload_folders(office: &Office) -> Vec<PathBuf> {
    let listed = |folder: PathBuf| {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
    };
    listed(office.chunks().join("uploads")).flat_map(listed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chunk_of_many_is_told() {
    const MANY: u64 = 5000;
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    let id = author.message_id(&office).await;
    let first = ChunkInformation {
        number: Some(1),
        kilobytes: Some(KILOBYTES),
        total: Some(MANY),
        ..ChunkInformation::default()
    };
    assert_eq!(send(&mut author, &office, &id, first.clone(), &[7; FULL]).await.codes(), ["0801"]);
    let [folder] = upload_folders(&office).try_into().expect("one upload");
    for number in 2..MANY - 1 {
        fs::write(folder.join(number.to_string()), [7; 10]).expect("written");
    }
    let next = ChunkInformation { number: Some(MANY - 1), ..first };
    let got = send(&mut author, &office, &id, next, &[7; FULL]).await;
    assert_eq!(got.codes(), ["0801"]);
    assert_eq!(said(got).chunk.received.map(|received| received.len()), Some(MANY as usize - 1));
    let got = ask(&mut author, &office, &id).await;
    assert_eq!(got.codes(), ["0801"]);
    // A client may tell as many.
    let mut reader = begun(&office, "reader").await;
    let chunk = ChunkInformation {
        number: Some(MANY),
        kilobytes: Some(KILOBYTES),
        received: Some((1..MANY).collect()),
        ..ChunkInformation::default()
    };
    let payload = Payload::PartialFetchDelivery(PartialFetchDelivery { selection: None, chunk });
    assert_eq!(reader.send(&office, payload).await.codes(), ["9803"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begun_uploads_will_take_is_kept_for_them() {
    const KILOBYTES_MAX: u64 = 64 * 1024;
    let disk = rustix::fs::statvfs(std::env::temp_dir().as_path()).expect("a disk");
    let free = disk.f_bavail * disk.f_frsize;
    let window = free.min(200 << 30);
    let office = Office::open_with(|settings| {
        settings.limits.content_bytes_max = 1 << 50;
        settings.limits.disk_reserve_bytes = free - window;
        settings.limits.upload_bytes_max = u64::MAX;
    })
    .await;
    // Three tenths of what is free, twice: chunks, and the message made of them.
    let total = window * 3 / 10 / (KILOBYTES_MAX * 1024);
    let mut author = begun(&office, "author").await;
    for expected in ["0801", "9811"] {
        let id = author.message_id(&office).await;
        let information = ChunkInformation {
            number: Some(total),
            kilobytes: Some(KILOBYTES_MAX),
            total: Some(total),
            ..ChunkInformation::default()
        };
        let got = send(&mut author, &office, &id, information, b"the end").await;
        assert_eq!(got.codes(), [expected]);
    }
    assert_eq!(upload_folders(&office).len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_keeps_only_so_much_of_the_disk() {
    let office = Office::open_with(|settings| {
        // The bound is four of these: it is more than what is set.
        settings.limits.content_bytes_max = 62 << 20;
        settings.limits.upload_bytes_max = 200 << 20;
    })
    .await;
    // Sixty chunks of 1 MiB and as much again for the message made of them, of which next to nothing is ever sent.
    let chunk = |number| ChunkInformation {
        number: Some(number),
        kilobytes: Some(1024),
        total: Some(60),
        ..ChunkInformation::default()
    };
    let mut author = begun(&office, "author").await;
    let (first, second) = (author.message_id(&office).await, author.message_id(&office).await);
    let third = author.message_id(&office).await;
    for id in [&first, &second] {
        assert_eq!(send(&mut author, &office, id, chunk(60), b"the end").await.codes(), ["0801"]);
    }
    let got = send(&mut author, &office, &third, chunk(60), b"the end").await;
    assert_eq!(got.codes(), ["9811"]);
    let said_so = said(got).feedback.entries().iter().any(|entry| entry.text.contains("377487360 bytes"));
    assert!(said_so, "and what it would keep");
    assert_eq!(upload_folders(&office).len(), 2);
    // What has begun goes on, and others are unharmed.
    assert_eq!(send(&mut author, &office, &first, chunk(1), &[7; 1 << 20]).await.codes(), ["0801"]);
    let mut reader = begun(&office, "reader").await;
    let id = reader.message_id(&office).await;
    assert_eq!(send(&mut reader, &office, &id, chunk(60), b"the end").await.codes(), ["0801"]);
    office.clock.advance(std::time::Duration::from_secs(3 * 86_400));
    assert_eq!(office.door.sweep().await.expect("swept"), 3);
    let mut author = begun(&office, "author").await;
    assert_eq!(send(&mut author, &office, &third, chunk(60), b"the end").await.codes(), ["0801"]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_where_an_upload_went_meanwhile() {
    let office = Office::open().await;
    let mut author = begun(&office, "author").await;
    for _ in 0..2 {
        let id = author.message_id(&office).await;
        let whole = inside("author", &id);
        assert_eq!(upload(&mut author, &office, &id, &whole, 1).await.codes(), ["0801"]);
    }
    office.clock.advance(std::time::Duration::from_secs(4 * 86_400));
    // Unreadable to the sweep as if it went away in the middle of it: a name that leads nowhere.
    let [one, _] = upload_folders(&office).try_into().expect("two uploads");
    std::os::unix::fs::symlink(office.folder().join("gone"), one.with_file_name("gone")).expect("linked");
    assert_eq!(office.door.sweep().await.expect("swept"), 2);
    office.close().await;
}
