//! The life of a delivery by OSCI-Transport 1.2 over real sockets: dialogs of every kind, byte-exact relaying, reception.

use std::time::Duration;

use amtsbote::clock::Clock;
use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::message_id::MessageId;
use amtsbote::domain::state::DeliveryState;
use amtsbote::osci::message::custom_header::CustomHeader;
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::fetch_process_card::FetchProcessCard;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::selection::{CardSelection, DeliverySelection};
use amtsbote::relay::Submission;

use crate::osci_office::{ATTACHED, Client, IDLE, Office, PACKAGE, Reply, delivery, keys};

fn fetch() -> Payload {
    Payload::FetchDelivery(FetchDelivery::default())
}

fn note() -> CustomHeader {
    CustomHeader {
        namespace: "urn:x".to_owned(),
        local: "Note".to_owned(),
        id: "Note".to_owned(),
        xml: "<x:Note xmlns:x=\"urn:x\" Id='Note'> <!-- kept --> &lt;ä</x:Note>".to_owned(),
    }
}

async fn state(office: &Office) -> Vec<DeliveryState> {
    office.entries().await.iter().map(|entry| entry.card.state).collect()
}

async fn store(office: &Office, author: &mut Client) -> amtsbote::osci::message::message_id::MessageId {
    let id = author.message_id(office).await;
    let got = author.send_changed(office, delivery(&id), |draft| draft.message.custom.push(note())).await;
    let done = if author.dialog.is_some() { "0801" } else { "0800" };
    // Nobody keeps a revocation list for nothing here, so every certificate is simply good.
    assert_eq!(got.codes(), [done]);
    match got.answer().received.message.payload {
        Payload::ResponseToStoreDelivery(answer) => {
            let card = answer.card.expect("the proof of submission");
            assert_eq!(card.message_id, id);
            assert_eq!(card.subject.as_deref(), Some("Rückmeldung <&>"));
            assert!(card.forwarding.is_none() && card.reception.is_none());
            assert!(card.inspections.len() >= 2);
        }
        other => panic!("{:?}", other.kind()),
    }
    id
}

fn check_delivery(reply: &Reply) {
    assert_eq!(reply.package(), PACKAGE.as_bytes(), "byte for byte");
    assert_eq!(reply.attachment(0), ATTACHED);
    let headers = &reply.received.attachments[0].headers;
    assert!(headers.iter().any(|(name, value)| name == "X-Note" && value == "kept"), "{headers:?}");
    assert_eq!(reply.received.message.custom, [note()]);
    let certificates = reply.received.message.certificates.as_ref().expect("the sender's certificates");
    assert!(certificates.all().iter().any(|one| one.der == keys("author-cipher").der()));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_arrive_as_they_were_sent() {
    for (encrypted, signed, explicit) in [
        (true, true, true),
        (true, false, true),
        (false, true, true),
        (true, true, false),
        (false, true, false),
    ] {
        let office = Office::open().await;
        let mut author = Client::new("author", encrypted, signed);
        let mut reader = Client::new("reader", encrypted, signed);
        if explicit {
            author.begin(&office).await;
        }
        let id = store(&office, &mut author).await;
        assert_eq!(state(&office).await, [DeliveryState::Waiting]);

        reader.begin(&office).await;
        let reply = reader.send(&office, fetch()).await.answer();
        assert_eq!(reply.codes(), ["0801"]);
        check_delivery(&reply);
        assert_eq!(state(&office).await, [DeliveryState::HandedOut], "handed out is not received");
        office.clock.advance(Duration::from_secs(5));
        assert_eq!(reader.send(&office, fetch()).await.codes(), ["9803"]);
        assert_eq!(state(&office).await, [DeliveryState::Received], "a further request confirms");
        // By its id it can be looked at again.
        let again = FetchDelivery { selection: Some(DeliverySelection::MessageId(id.clone())) };
        check_delivery(&reader.send(&office, Payload::FetchDelivery(again)).await.answer());
        reader.exit(&office).await;

        if !explicit {
            author.begin(&office).await;
        }
        let ids = FetchProcessCard {
            selection: Some(CardSelection::MessageIds(vec![id.clone()])),
            quantity_max: None,
        };
        let reply = author.send(&office, Payload::FetchProcessCard(ids)).await.answer();
        match reply.received.message.payload {
            Payload::ResponseToFetchProcessCard(answer) => {
                let [card] = answer.cards.as_slice() else { panic!("one card") };
                assert_eq!(card.message_id, id);
                assert!(card.forwarding.is_some() && card.reception.is_some());
            }
            other => panic!("{:?}", other.kind()),
        }
        author.exit(&office).await;
        office.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_confirms_and_an_abandoned_dialog_does_not() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    store(&office, &mut author).await;
    store(&office, &mut author).await;
    let mut reader = Client::new("reader", true, false);
    reader.begin(&office).await;
    assert_eq!(reader.send(&office, fetch()).await.codes(), ["3800", "0801"]);
    office.clock.advance(IDLE);
    assert_eq!(reader.send(&office, Payload::ExitDialog).await.codes(), ["fault 9400"]);
    assert_eq!(state(&office).await, [DeliveryState::HandedOut, DeliveryState::Waiting]);
    // It is offered again, and two dialogs of one client do not disturb each other.
    let (mut one, mut two) = (Client::new("reader", true, false), Client::new("reader", true, false));
    one.begin(&office).await;
    two.begin(&office).await;
    assert_eq!(one.send(&office, fetch()).await.codes(), ["3800", "0801"]);
    two.exit(&office).await;
    assert_eq!(state(&office).await, [DeliveryState::HandedOut, DeliveryState::Waiting]);
    one.exit(&office).await;
    assert_eq!(state(&office).await, [DeliveryState::Received, DeliveryState::Waiting]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_dialog() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let office = office.restart().await;
    let mut reader = Client::new("reader", true, true);
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0801"]);
    reader.begin(&office).await;
    reader.send(&office, fetch()).await.answer();
    let office = office.restart().await;
    assert_eq!(state(&office).await, [DeliveryState::HandedOut], "a restart confirms nothing");
    reader.exit(&office).await;
    assert_eq!(state(&office).await, [DeliveryState::Received]);
    author.exit(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_refused() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = author.message_id(&office).await;
    let request = author.write(author.draft(delivery(&id)));
    let first = office.post(&request).await;
    assert_eq!(author.read(first).codes(), ["0801"]);
    for _ in 0..2 {
        let again = office.post(&request).await;
        assert_eq!(Client::new("author", true, true).read(again).codes(), ["fault 9400"]);
    }
    assert_eq!(office.entries().await.len(), 1);
    // The dialog goes on.
    author.exit(&office).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_doors_see_what_is_in_the_clear() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = store(&office, &mut author).await;
    let id = MessageId::parse(id.as_str()).expect("an id");
    let entry = office.relay.card(&crate::osci_office::account("author", "ags:10041100"), None, &id).await;
    let entry = entry.expect("a card");
    assert_eq!((entry.card.door.as_str(), entry.card.mailbox.as_str()), ("osci-1.2", "ags:10041200"));
    assert_eq!(entry.envelope.author.identifier.value(), "ags:10041100");
    let mut shown = Vec::new();
    for part in entry.manifest.parts.iter().filter(|part| part.role.is_content()) {
        let mut reader = office.relay.open_part(&entry, part).await.expect("a part");
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await.expect("read") {
            bytes.extend_from_slice(&piece);
        }
        shown.push((part.role, bytes));
    }
    assert_eq!(
        shown,
        [(PartRole::Message, "Grüße".as_bytes().to_vec()), (PartRole::Attachment, ATTACHED.to_vec())]
    );
    office.close().await;
}

/// Clients of old that say nothing of what they understand get answers by what they used, where the policy takes it.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_old_are_answered_by_what_they_read() {
    use amtsbote::osci::envelope::encrypted::Algorithms;
    use amtsbote::xml::enc::{ContentMethod, IvLength, KeyTransport};
    let iv = IvLength::Sixteen;
    for (method, transport) in [
        (ContentMethod::Aes256Cbc, KeyTransport::Rsa15),
        (ContentMethod::Aes128Cbc, KeyTransport::OAEP_SHA256),
        (ContentMethod::Aes256Gcm, KeyTransport::Rsa15),
    ] {
        let office = Office::open_with(|settings| {
            settings.policy.cbc = true;
            settings.policy.rsa_1_5 = true;
        })
        .await;
        let strict = Office::open().await;
        for (office, expected) in [(&office, "0801"), (&strict, "fault 9202")] {
            let mut client = Client::new("author", true, true);
            client.algorithms = Algorithms { method, iv, transport };
            let silent = |draft: &mut crate::osci_office::Draft| draft.message.features = None;
            let begun = client.send_changed(office, Payload::InitDialog, silent).await;
            assert_eq!(begun.codes(), [expected], "{method:?} {transport:?}");
            if client.dialog.is_some() {
                // The challenge that was inside proves that it was read.
                let asked = client.send_changed(office, Payload::GetMessageId, silent).await;
                assert_eq!(asked.codes(), ["0801"], "{method:?} {transport:?}");
            }
        }
        office.close().await;
        strict.close().await;
    }
}

/// Section 4.4: as the client says it can, or where it says nothing as it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn clients_before_binary_parts_are_answered_in_base64() {
    use amtsbote::mime::transfer::TransferEncoding;
    use amtsbote::osci::message::feature_description::{Feature, FeatureDescription};
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    let id = author.message_id(&office).await;
    assert_eq!(author.send(&office, delivery(&id)).await.codes(), ["0800"]);
    let mut seen = 0;
    let without =
        FeatureDescription::of(Feature::ALL.into_iter().filter(|one| *one != Feature::DisableBase64));
    for (features, in_base64, expected) in [
        (None, true, true),
        (None, false, false),
        (Some(without), false, true),
        (Some(FeatureDescription::of(Feature::ALL)), true, false),
    ] {
        let mut client = Client::new("reader", true, true);
        client.in_base64 = in_base64;
        let say = |draft: &mut crate::osci_office::Draft| draft.message.features = features.clone();
        for payload in [Payload::InitDialog, Payload::GetMessageId, fetch()] {
            let got = client.send_changed(&office, payload, say).await;
            assert_eq!(got.codes(), ["0801"]);
            assert_eq!(
                client.answered_in_base64.load(std::sync::atomic::Ordering::Relaxed),
                expected,
                "{features:?} {in_base64}"
            );
            // Each layer by itself: a client may look at the one inside alone.
            for attachment in got.answer().received.attachments {
                let coded = attachment.encoding == TransferEncoding::Base64;
                assert_eq!(coded, expected, "{features:?} {in_base64}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4);
    office.close().await;
}

/// A message that came through another door: two parts and an envelope.
async fn accept_elsewhere(office: &Office) -> MessageId {
    accept_as(office, PartRole::Attachment).await
}

/// The same, its second part in some role.
async fn accept_as(office: &Office, second: PartRole) -> MessageId {
    let who = crate::osci_office::account("author", "ags:10041100");
    let id = office.relay.announce(&who).await.expect("an id");
    let mut writer = office.relay.payload_writer().await.expect("a writer");
    let mut parts = Vec::new();
    for (role, content_type, bytes) in
        [(PartRole::Message, "text/xml", &b"<a/>"[..]), (second, "application/pdf", b"pdf")]
    {
        parts.push(Part {
            role,
            offset: writer.length(),
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
            content_type: content_type.to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        });
        writer.write(bytes).await.expect("written");
    }
    let party = |value| serde_json::json!({ "identifier": { "value": value } });
    let envelope = serde_json::json!({
        "id": id.as_str(),
        "author": party("ags:10041100"),
        "reader": party("ags:10041200"),
        "qualifier": { "service": "urn:service", "subject": "Umzug" },
    });
    let submission = Submission {
        envelope: serde_json::from_value(envelope).expect("an envelope"),
        manifest: Manifest { parts },
        payload: writer.seal().await.expect("sealed"),
        request_digest: Digest::of(b"request"),
        door: "xta-2.1.1",
        certificates: Vec::new(),
    };
    office.relay.accept(&who, submission).await.expect("accepted");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_another_door_goes_out_with_its_metadata() {
    let office = Office::open().await;
    let id = accept_elsewhere(&office).await;
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    let reply = reader.send(&office, fetch()).await.answer();
    assert_eq!(reply.codes(), ["0801"]);
    assert_eq!((reply.attachment(0), reply.attachment(1)), (&b"<a/>"[..], &b"pdf"[..]));
    assert_eq!(reply.received.attachments[1].content_type(), "application/pdf");
    let metadata = reply.received.message.custom[0].clone();
    assert_eq!((metadata.local.as_str(), metadata.id.as_str()), ("MessageMetaData", "MetaData"));
    assert!(metadata.xml.contains(id.as_str()) && metadata.xml.contains("urn:service"), "{}", metadata.xml);

    // The same metadata in a storeDelivery fill the envelope, under the id that OSCI issued.
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let fresh = author.message_id(&office).await;
    let sent = metadata.clone();
    let got = author.send_changed(&office, delivery(&fresh), |draft| draft.message.custom.push(sent)).await;
    assert_eq!(got.codes(), ["0801"]);
    let entries = office.entries().await;
    let stored = &entries.last().expect("stored").envelope;
    assert_eq!((stored.id.as_str(), stored.qualifier.service.as_str()), (fresh.as_str(), "urn:service"));
    assert_eq!(stored.qualifier.subject.as_deref(), Some("Umzug"));
    // Metadata that name another reader than the addressee's certificate are a contradiction.
    let fresh = author.message_id(&office).await;
    let mut forged = metadata;
    forged.xml = forged.xml.replace("ags:10041200", "ags:3");
    let got = author.send_changed(&office, delivery(&fresh), |draft| draft.message.custom.push(forged)).await;
    assert_eq!(got.codes(), ["9811"]);
    assert_eq!(office.entries().await.len(), 2);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_found_however_deep_it_lies() {
    let office = Office::open().await;
    let mut deep = Vec::new();
    // Two that OSCI can carry behind 230 and 330 that it cannot.
    for place in 0..340 {
        let role = if [230, 330].contains(&place) { PartRole::Attachment } else { PartRole::EncryptedData };
        if place == 330 {
            office.clock.advance(Duration::from_secs(60));
        }
        let id = accept_as(&office, role).await;
        deep.extend((role == PartRole::Attachment).then_some(id));
    }
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    let fetched = async |reader: &mut Client, selection: Option<DeliverySelection>| {
        let reply = reader.send(&office, Payload::FetchDelivery(FetchDelivery { selection })).await.answer();
        let codes = reply.codes();
        let id = match reply.received.message.payload {
            Payload::ResponseToFetchDelivery(answer) => {
                answer.card.map(|card| card.message_id.as_str().to_owned())
            }
            other => panic!("{:?}", other.kind()),
        };
        (codes.join(" "), id)
    };
    let named = |at: usize| Some(deep[at].as_str().to_owned());
    let since =
        amtsbote::domain::envelope::Instant { at: office.clock.now(), text: office.clock.now().to_string() };
    let later = Some(DeliverySelection::ReceptionOfDelivery(since));
    assert_eq!(fetched(&mut reader, later).await, ("0801".to_owned(), named(1)));
    // That was confirmed by this request; had it not been, both would be offered.
    assert_eq!(fetched(&mut reader, None).await, ("0801".to_owned(), named(0)));
    assert_eq!(fetched(&mut reader, None).await, ("9803".to_owned(), None));
    let more = [accept_elsewhere(&office).await, accept_elsewhere(&office).await];
    assert_eq!(fetched(&mut reader, None).await, ("3800 0801".to_owned(), Some(more[0].as_str().to_owned())));
    assert_eq!(fetched(&mut reader, None).await, ("0801".to_owned(), Some(more[1].as_str().to_owned())));
    office.close().await;
}

/// What the administration's socket says about open dialogs.
async fn dialogs(office: &Office, limit: u32) -> serde_json::Value {
    use amtsbote::admin::protocol::{Question, VERSION, Verb};
    use amtsbote::admin::server::{Server, Settings};
    use amtsbote::net::{LocalHandler, LocalPeer, full};
    use http_body_util::BodyExt;

    let settings =
        Settings { own_uid: 1000, uids: Vec::new(), server_version: "test".to_owned(), node: None };
    let clock = std::sync::Arc::new(office.clock.clone());
    let server = Server::new(
        office.store.clone(),
        office.relay.clone(),
        clock,
        std::sync::Arc::new(Vec::new),
        settings,
    );
    let question = Question { version: VERSION, verb: Verb::Dialogs { limit } };
    let question = serde_json::to_vec(&question).expect("a question");
    let request = hyper::Request::post("/admin").body(full(question)).expect("a request");
    let response = server.handle(request, LocalPeer { uid: 1000, gid: 1000, pid: None }).await;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&body).expect("an answer");
    answer["dialogs"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_open_dialogs_and_cannot_go_on_with_one() {
    let office = Office::open().await;
    assert_eq!(dialogs(&office, 10).await, serde_json::json!([]));
    let mut author = Client::new("author", true, true);
    author.begin(&office).await;
    let id = store(&office, &mut author).await;
    let opened_at = office.clock.now();
    office.clock.advance(Duration::from_secs(7));
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    reader.send(&office, fetch()).await.answer();

    let seen = dialogs(&office, 10).await;
    let [first, second] = seen.as_array().expect("a list").as_slice() else { panic!("{seen}") };
    assert_eq!(
        (&first["account"], &second["account"]),
        (&"reader".into(), &"author".into()),
        "used last first"
    );
    assert_eq!(first["handed_out"], serde_json::json!([id.as_str()]), "it is not confirmed");
    assert_eq!(second["handed_out"], serde_json::json!([]));
    assert_eq!((&first["requests"], &second["requests"]), (&1.into(), &2.into()));
    assert_eq!((&first["encrypted"], &second["opened_at"]), (&true.into(), &opened_at.to_string().into()));
    for dialog in [first, second] {
        let fields: Vec<_> = dialog.as_object().expect("fields").keys().collect();
        assert!(!fields.iter().any(|field| field.contains("challenge")), "{fields:?}");
    }
    assert_eq!(dialogs(&office, 1).await.as_array().map(Vec::len), Some(1));

    reader.exit(&office).await;
    assert_eq!(dialogs(&office, 10).await.as_array().map(Vec::len), Some(1), "that one is over");
    office.clock.advance(IDLE);
    assert_eq!(dialogs(&office, 10).await, serde_json::json!([]), "so is one that nobody went on with");
    office.close().await;
}
