//! The whole cycle over real sockets: all twelve operations of XTA 2 WS 2.1.1.

use std::time::Duration;

use amtsbote::domain::card::Severity;
use amtsbote::domain::content::PartRole;
use amtsbote::domain::envelope::Instant;
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::state::DeliveryState;
use amtsbote::store::Store;
use amtsbote::xta::client::content::{ContentSink, FolderSink, MemorySink, Outgoing};
use amtsbote::xta::client::{Client, Error};
use amtsbote::xta::message::container::Item;
use amtsbote::xta::message::lookup::Availability;
use amtsbote::xta::message::msg_box::MsgSelector;
use amtsbote::xta::message::transport_report::Status;

use crate::xta_office::{AUTHOR, Office, READER, SERVICE, SYNCHRONOUS_READER, envelope, identifier, party};

pub fn code(error: Error) -> String {
    match error {
        Error::Fault { code, .. } => code,
        other => panic!("no fault: {other}"),
    }
}

async fn send(client: &Client, reader: &str, text: &str) -> MessageId {
    let id = client.create_message_id().await.expect("an id");
    let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", text.as_bytes().to_vec())];
    client.send(&envelope(id.clone(), reader), &content).await.expect("sent");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_author_to_reader() {
    let office = Office::open().await;
    let (author, reader) = (office.client("author", Some(AUTHOR)), office.client("reader", Some(READER)));
    author.check_account_active().await.expect("active");
    assert_eq!(author.look_up(&identifier(READER), SERVICE).await.expect("answered"), Availability::Offered);
    assert_eq!(
        author.look_up(&identifier("ags:9"), SERVICE).await.expect("answered"),
        Availability::NotOffered
    );

    let id = author.create_message_id().await.expect("an id");
    assert!(id.as_str().starts_with("urn:de:xta:messageid:testpost:"), "{id}");
    let mut message = envelope(id.clone(), READER);
    message.qualifier.subject = Some("Rückmeldung <&>".to_owned());
    message.origin = Some(Instant {
        at: "2026-11-22T03:46:17Z".parse().expect("an instant"),
        text: "2026-11-22T04:46:17+01:00".to_owned(),
    });
    let mut first = Outgoing::from_bytes(PartRole::Message, "text/xml", "<a>Grüße</a>".as_bytes().to_vec());
    first.part.filename = Some("nachricht.xml".to_owned());
    first.part.encoding = Some("UTF-8".to_owned());
    first.part.size = Some(" 013".to_owned());
    let attachment: Vec<u8> =
        (0..100_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let second = Outgoing::from_bytes(PartRole::Attachment, "application/pdf", attachment.clone());
    author.send(&message, &[first.clone(), second.clone()]).await.expect("sent");

    let page = reader.list(&MsgSelector::default(), Some(50)).await.expect("a list");
    assert_eq!((page.messages.len(), page.pending), (1, 0));
    let listed = &page.messages[0];
    assert_eq!(listed.envelope.id, id);
    assert_eq!(listed.delivery.as_deref(), Some("2026-11-23T10:00:00Z"));
    assert_eq!(listed.initial_fetch, None);

    // Fetched twice: until it is closed, it is offered again.
    for _ in 0..2 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sink = FolderSink::new(folder.path());
        let fetched = reader.fetch(&id, &mut sink).await.expect("fetched");
        let mut expected = message.clone();
        expected.stated_size = Some(13 + 100_000 + 1);
        assert_eq!(fetched.message.envelope, expected);
        assert_eq!(fetched.parts[0].filename, first.part.filename);
        assert_eq!(fetched.parts[0].size, first.part.size);
        assert_eq!(std::fs::read(&sink.files[&0]).expect("a file"), "<a>Grüße</a>".as_bytes());
        assert_eq!(std::fs::read(&sink.files[&1]).expect("a file"), attachment);
    }
    let report = author.transport_report(&id).await.expect("a report");
    assert_eq!(report.status, Status::Open);
    assert_eq!(report.server_identity, "https://post.example/xta");

    office.clock.advance(Duration::from_secs(60));
    for _ in 0..2 {
        reader.close("1", std::slice::from_ref(&id)).await.expect("closed");
    }
    let page = reader.list(&MsgSelector::default(), None).await.expect("a list");
    assert_eq!(page.messages, []);
    for client in [&author, &reader] {
        let report = client.transport_report(&id).await.expect("a report");
        assert_eq!(report.status, Status::Green);
        assert_eq!(report.message.reception.as_deref(), Some("2026-11-23T10:01:00Z"));
        assert!(report.records.iter().all(|record| record.severity == Severity::Info));
    }
    assert_eq!(code(reader.fetch(&id, &mut MemorySink::default()).await.expect_err("received")), "9070");

    // The same message again is answered as before; another one under its id is not taken.
    author.send(&message, &[first.clone(), second.clone()]).await.expect("answered as before");
    assert_eq!(code(author.send(&message, &[first]).await.expect_err("another message")), "9024");
    assert_eq!(office.stored().await, 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_fetches_are_continued() {
    let office = Office::open().await;
    let (author, reader) = (office.client("author", None), office.client("reader", Some("*")));
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(send(&author, READER, &format!("<m>{number}</m>")).await);
    }
    let mut seen = Vec::new();
    let mut page = reader.list(&MsgSelector::default(), Some(2)).await.expect("a page");
    assert_eq!(page.pending, 3);
    loop {
        seen.extend(page.messages.iter().map(|shown| shown.envelope.id.clone()));
        if page.pending == 0 {
            break;
        }
        page = reader.next_list(&page.request_id).await.expect("a page");
    }
    assert_eq!(seen, ids);
    let after = reader.next_list(&page.request_id).await.expect("the list is known and at its end");
    assert_eq!(after.messages, []);
    // Another account cannot continue it, and nobody can continue what never was.
    for (client, id) in [(&author, page.request_id.as_str()), (&reader, "1"), (&reader, "urn:uuid:0")] {
        let error = client.next_list(id).await.expect_err("no such list");
        assert!(error.to_string().contains("RequestIdInvalid"), "{error}");
    }

    let mut sink = MemorySink::default();
    let new = MsgSelector { new_entry: true, ..MsgSelector::default() };
    let mut fetched = reader.fetch_first(&new, &mut sink).await.expect("answered").expect("a message");
    assert_eq!((fetched.message.envelope.id.clone(), fetched.pending), (ids[0].clone(), 4));
    let request_id = fetched.request_id.clone().expect("an id");
    let mut order = vec![fetched.message.envelope.id.clone()];
    for _ in 0..4 {
        let confirmed = [fetched.message.envelope.id.clone()];
        fetched = reader
            .fetch_next(&request_id, &confirmed, &mut MemorySink::default())
            .await
            .expect("answered")
            .expect("a message");
        order.push(fetched.message.envelope.id.clone());
    }
    assert_eq!(order, ids);
    // Four were confirmed on the way; the last by the iterator alone.
    let open = reader.list(&MsgSelector::default(), None).await.expect("a list");
    assert_eq!(open.messages.iter().map(|shown| shown.envelope.id.clone()).collect::<Vec<_>>(), ids[4..]);
    assert_eq!(reader.list(&new, None).await.expect("a list").messages, []);
    reader.close(&request_id, &[]).await.expect("closed");
    assert_eq!(reader.list(&MsgSelector::default(), None).await.expect("a list").messages, []);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_before_its_time() {
    let office = Office::open().await;
    let author = office.client("author", Some(AUTHOR));
    let held = async |seconds: u64| {
        let id = author.create_message_id().await.expect("an id");
        let mut message = envelope(id.clone(), READER);
        let at = amtsbote::clock::Clock::now(&office.clock) + Duration::from_secs(seconds);
        message.not_before = Some(Instant { at, text: at.to_string() });
        let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", "<a/>")];
        author.send(&message, &content).await.expect("sent");
        id
    };
    let (first, second) = (held(60).await, held(60).await);
    let plain = send(&author, READER, "<a/>").await;
    author.cancel(&first).await.expect("cancelled");
    assert_eq!(author.transport_report(&first).await.expect("a report").status, Status::Red);
    assert_eq!(code(author.cancel(&plain).await.expect_err("no NotBefore")), "9101");
    office.clock.advance(Duration::from_secs(61));
    assert_eq!(code(author.cancel(&second).await.expect_err("too late")), "9100");
    let unknown = MessageId::parse("urn:de:xta:messageid:testpost:none").expect("an id");
    assert_eq!(code(author.cancel(&unknown).await.expect_err("unknown")), "9070");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_exchange() {
    let office = Office::open().await;
    let author = office.client("author", Some(AUTHOR));
    let reader = office.client("synchronous", Some(SYNCHRONOUS_READER));
    let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", "<question/>")];

    let id = author.create_message_id().await.expect("an id");
    let only = author.send(&envelope(id, SYNCHRONOUS_READER), &content).await.expect_err("synchronous only");
    assert_eq!(code(only), "9081");
    let id = author.create_message_id().await.expect("an id");
    let mut sink = MemorySink::default();
    let only = author.send_sync(&envelope(id, READER), &content, &mut sink).await.expect_err("asynchronous");
    assert_eq!(code(only), "9080");

    let id = author.create_message_id().await.expect("an id");
    let question = envelope(id.clone(), SYNCHRONOUS_READER);
    let asks = author.send_sync(&question, &content, &mut sink);
    let answers = async {
        loop {
            let page = reader.list(&MsgSelector::default(), None).await.expect("a list");
            let Some(shown) = page.messages.first() else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let mut answer = envelope(reader.create_message_id().await.expect("an id"), AUTHOR);
            answer.author = party(SYNCHRONOUS_READER);
            answer.in_reply_to = vec![shown.envelope.id.clone()];
            let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", "<answer/>")];
            reader.send(&answer, &content).await.expect("answered");
            return;
        }
    };
    let (fetched, ()) = tokio::join!(asks, answers);
    assert_eq!(fetched.expect("an answer").message.envelope.in_reply_to, [id]);
    assert_eq!(sink.parts[&0], b"<answer/>");

    // Nobody answers: the author hears so, and his message stays where it is.
    let id = author.create_message_id().await.expect("an id");
    let silent = author.send_sync(&envelope(id, SYNCHRONOUS_READER), &content, &mut sink).await;
    assert_eq!(code(silent.expect_err("no answer")), "9032");
    office.close().await;
}

/// Takes no content at all.
struct Impatient;

#[async_trait::async_trait]
impl ContentSink for Impatient {
    async fn begin(&mut self, _: usize, _: &Item) -> std::io::Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("enough"))
    }

    async fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_received_when_all_of_it_has_gone_out() {
    let office = Office::open().await;
    let reader = office.client("synchronous", Some(SYNCHRONOUS_READER));
    let author = office.client("author", Some(AUTHOR));
    let content = [Outgoing::from_bytes(PartRole::Message, "text/xml", "<question/>")];
    let question = envelope(author.create_message_id().await.expect("an id"), SYNCHRONOUS_READER);
    let mut sink = MemorySink::default();
    author.send_sync(&question, &content, &mut sink).await.expect_err("nobody answers in time");
    let mut answer = envelope(reader.create_message_id().await.expect("an id"), AUTHOR);
    answer.author = party(SYNCHRONOUS_READER);
    answer.in_reply_to = vec![question.id.clone()];
    let large = vec![b'x'; 24 * 1024 * 1024];
    let content_of_answer = [Outgoing::from_bytes(PartRole::Message, "text/xml", large.clone())];
    reader.send(&answer, &content_of_answer).await.expect("answered");
    let state = async || office.store.find(&answer.id).await.expect("it is there").card.state;

    // The author breaks off after the beginning of the answer.
    author.send_sync(&question, &content, &mut Impatient).await.expect_err("it broke off");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(state().await, DeliveryState::HandedOut, "what did not arrive is not received");
    let page = author.list(&MsgSelector::default(), None).await.expect("a list");
    assert_eq!(page.messages.len(), 1, "it is offered in the author's mailbox");

    let fetched = author.send_sync(&question, &content, &mut sink).await.expect("the answer, once more");
    assert_eq!(fetched.message.envelope.id, answer.id);
    assert_eq!(sink.parts[&0], large);
    for _ in 0..200 {
        if state().await == DeliveryState::Received {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(state().await, DeliveryState::Received);
    office.close().await;
}
