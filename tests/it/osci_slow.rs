//! Readers who take their time, and a disk without room: large answers hold up nobody, and what does not go out is not
//! handed out.

use std::sync::Arc;
use std::time::Duration;

use amtsbote::domain::state::DeliveryState;
use amtsbote::mime::content_id::ContentId;
use amtsbote::net::{Handler, Peer};
use amtsbote::osci::envelope::write::OutgoingAttachment;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::selection::DeliverySelection;
use http_body_util::BodyExt;

use crate::osci_office::{Client, Office, PACKAGE, Reply, delivery};

const LARGE: usize = 2_000_003;
const PATIENCE: Duration = Duration::from_secs(60);

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at % 249) as u8).collect()
}

async fn store_large(office: &Office) -> MessageId {
    let mut author = Client::new("author", true, true);
    let id = author.message_id(office).await;
    let got = author.send_changed(office, delivery(&id), |draft| {
        let name = ContentId::from_header("a.txt").expect("an id");
        draft.content = Some(PACKAGE.as_bytes().to_vec());
        draft.attachments = vec![OutgoingAttachment::new(name, "text/plain", Arc::new(large()))];
    });
    assert_eq!(got.await.codes(), ["0800"]);
    id
}

fn by_id(id: &MessageId) -> Payload {
    Payload::FetchDelivery(FetchDelivery { selection: Some(DeliverySelection::MessageId(id.clone())) })
}

fn check(reply: &Reply) {
    assert!(reply.codes().contains(&"0801".to_owned()), "{:?}", reply.codes());
    assert!(reply.attachment(0) == large(), "byte for byte");
}

#[test]
fn slow_readers_hold_up_nobody() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let story = async {
        let office = Office::open().await;
        let id = store_large(&office).await;
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), Arc::from([]));
        let mut waiting = Vec::new();
        for slow in 0..5 {
            // Two of them encrypt nothing.
            let mut reader = Client::new("reader", slow < 3, true);
            reader.begin(&office).await;
            let body = amtsbote::net::full(reader.write(reader.draft(by_id(&id))));
            let request = hyper::Request::post("/any/path").body(body).expect("a request");
            let mut answer = office.door.handle(request, &peer).await.into_body();
            let begun =
                answer.frame().await.expect("a first piece").expect("read").into_data().expect("data");
            waiting.push((reader, answer, begun.to_vec()));
        }
        // Nobody of them reads on; everybody else is served, through the door and beside it.
        let mut author = Client::new("author", true, true);
        author.begin(&office).await;
        author.message_id(&office).await;
        assert_eq!(office.entries().await.len(), 1);
        let mut quick = Client::new("reader", true, true);
        quick.begin(&office).await;
        check(&quick.send(&office, by_id(&id)).await.answer());
        assert_eq!(office.spooled(), 0, "what waits has no name");
        // One of each kind comes back for the rest; the others hang up.
        for at in [4, 0] {
            let (mut reader, answer, mut bytes) = waiting.swap_remove(at);
            bytes.extend(answer.collect().await.expect("the rest").to_bytes());
            check(&reader.read(bytes).answer());
        }
        drop(waiting);
        office.close().await;
    };
    let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, story).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    told.expect("nobody waits for a slow reader");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_answer_nothing_is_handed_out() {
    let office = Office::open().await;
    let id = store_large(&office).await;
    let office = office.restart_with(|settings| settings.limits.disk_reserve_bytes = u64::MAX / 4).await;
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    assert_eq!(reader.send(&office, by_id(&id)).await.codes(), ["9811"]);
    let state = || async { office.entries().await.iter().map(|entry| entry.card.state).collect::<Vec<_>>() };
    assert_eq!(state().await, [DeliveryState::Waiting]);
    // The dialog goes on, and still nothing was received.
    reader.exit(&office).await;
    assert_eq!(state().await, [DeliveryState::Waiting]);
    office.close().await;
}
