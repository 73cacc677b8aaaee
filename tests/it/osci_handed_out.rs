//! What the OSCI door takes it can hand out: whatever a header field, an Id or another protocol brings, a reader's mailbox
//! is never blocked by one message.

use std::sync::Arc;

use amtsbote::domain::content::{Digest, Manifest, Part, PartRole};
use amtsbote::domain::message_id::MessageId as StoredId;
use amtsbote::mime::content_id::ContentId;
use amtsbote::osci::envelope::write::{Coding, OutgoingAttachment};
use amtsbote::osci::message::fetch_delivery::FetchDelivery;
use amtsbote::osci::message::message_id::MessageId;
use amtsbote::osci::message::payload::Payload;
use amtsbote::osci::message::selection::DeliverySelection;
use amtsbote::relay::Submission;

use crate::osci_office::{ATTACHED, Client, Office, PACKAGE, Reply, account, delivery};

fn fetch() -> Payload {
    Payload::FetchDelivery(FetchDelivery::default())
}

fn fetch_this(id: &str) -> Payload {
    let id = MessageId::new(id).expect("an id");
    Payload::FetchDelivery(FetchDelivery { selection: Some(DeliverySelection::MessageId(id)) })
}

fn replaced(bytes: Vec<u8>, old: &str, new: &str) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).expect("it is there");
    [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat()
}

async fn fetched(office: &Office) -> Reply {
    let mut reader = Client::new("reader", true, true);
    reader.begin(office).await;
    reader.send(office, fetch()).await.answer()
}

/// A delivery as clients usually send it.
async fn store_good(office: &Office) -> MessageId {
    let mut author = Client::new("author", true, true);
    let id = author.message_id(office).await;
    assert_eq!(author.send(office, delivery(&id)).await.codes(), ["0800"]);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_in_a_header_field_blocks_nothing() {
    let office = Office::open().await;
    let mut author = Client::new("author", false, true);
    let id = author.message_id(&office).await;
    let mut draft = author.draft(delivery(&id));
    draft.attachments[0].content_type = "text/plain; charset=utf-8".to_owned();
    let sent = replaced(author.write(draft), "text/plain; charset", "text/plain;\tcharset");
    let sent = replaced(sent, "X-Note: kept", "X-Note: ke\tt");
    let answer = office.post(&sent).await;
    assert_eq!(author.read(answer).codes(), ["0800"]);
    let reply = fetched(&office).await;
    assert_eq!(reply.codes(), ["0801"]);
    assert_eq!(reply.attachment(0), ATTACHED);
    let attachment = &reply.received.attachments[0];
    assert_eq!(attachment.content_type(), "text/plain; charset=utf-8");
    assert!(attachment.headers.iter().any(|(name, value)| name == "X-Note" && value == "ke t"));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_kind_are_unique_or_nothing_is_taken() {
    let office = Office::open_with(|settings| settings.unproven_senders = true).await;
    let wsu = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
    let package = "<osci:ContentPackage>";
    let header = "</soap:Header>";
    for (place, new) in [
        (package, "<osci:ContentPackage xml:id=\"container0\">".to_owned()),
        (
            header,
            "<x:N xmlns:x=\"urn:x\" Id=\"n\"><x:a xml:id=\"b\"/><x:a xml:id=\"b\"/></x:N></soap:Header>"
                .to_owned(),
        ),
        (
            header,
            format!(
                "<x:N xmlns:x=\"urn:x\" xmlns:w=\"{wsu}\" Id=\"n\"><x:a w:Id=\"n\"/></x:N></soap:Header>"
            ),
        ),
    ] {
        let mut author = Client::new("author", false, false);
        let id = author.message_id(&office).await;
        let sent = replaced(author.write(author.draft(delivery(&id))), place, &new);
        let answer = office.post(&sent).await;
        assert_eq!(author.read(answer).codes(), ["fault 9100"], "{new}");
    }
    assert_eq!(office.entries().await.len(), 0);
    let id = store_good(&office).await;
    let reply = fetched(&office).await;
    let Payload::ResponseToFetchDelivery(answer) = &reply.received.message.payload else { panic!() };
    assert_eq!(answer.card.as_ref().map(|card| &card.message_id), Some(&id));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_base64_by_its_type_goes_on_as_base64() {
    let office = Office::open().await;
    let mut author = Client::new("author", true, true);
    let id = author.message_id(&office).await;
    let got = author.send_changed(&office, delivery(&id), |draft| {
        draft.attachments[0].content_type = "text/base64".to_owned();
        draft.attachments[0].coding = Coding::Base64;
    });
    assert_eq!(got.await.codes(), ["0800"]);
    let reply = fetched(&office).await;
    assert_eq!(reply.codes(), ["0801"]);
    let attachment = &reply.received.attachments[0];
    assert_eq!((attachment.content_type(), attachment.octets), ("text/base64", ATTACHED.len() as u64));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_be_read_again_is_not_taken() {
    let office = Office::open_with(|settings| {
        settings.unproven_senders = true;
        settings.limits.parts_max = 1200;
    })
    .await;
    let mut author = Client::new("author", false, false);
    let id = author.message_id(&office).await;
    let mut draft = author.draft(delivery(&id));
    for at in 0..640 {
        let content_id = ContentId::from_header(&format!("<{at}>")).expect("an id");
        let mut attachment = OutgoingAttachment::new(content_id, "text/plain", Arc::new(b"a".to_vec()));
        attachment.extra.push(("X-Note".to_owned(), "\\".repeat(14_000)));
        draft.attachments.push(attachment);
    }
    let answer = office.post(&author.write(draft)).await;
    assert_eq!(author.read(answer).codes(), ["9811"]);
    assert_eq!(office.entries().await.len(), 0);
    office.close().await;
}

/// A message that came through another door, or long ago.
async fn accept(
    office: &Office,
    door: &'static str,
    tokens: &[&str],
    parts: &[(PartRole, &str, &[u8])],
) -> StoredId {
    accept_described(office, door, tokens, parts, |_| ()).await
}

/// The same; more is said of its parts.
async fn accept_described(
    office: &Office,
    door: &'static str,
    tokens: &[&str],
    parts: &[(PartRole, &str, &[u8])],
    describe: fn(&mut Part),
) -> StoredId {
    let who = account("author", "ags:10041100");
    let id = office.relay.announce(&who).await.expect("an id");
    let mut writer = office.relay.payload_writer().await.expect("a writer");
    let mut stored = Vec::new();
    for (role, content_type, bytes) in parts {
        let mut part = Part {
            role: *role,
            offset: writer.length(),
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
            content_type: (*content_type).to_owned(),
            description: None,
            encoding: None,
            filename: None,
            id: None,
            lang: None,
            size: None,
        };
        describe(&mut part);
        stored.push(part);
        writer.write(bytes).await.expect("written");
    }
    let party = |value: &str, tokens: &[&str]| serde_json::json!({ "identifier": { "value": value }, "security_tokens": tokens });
    let envelope = serde_json::json!({
        "id": id.as_str(),
        "author": party("ags:10041100", tokens),
        "sender": party("ags:10041100", tokens),
        "reader": party("ags:10041200", &[]),
        "qualifier": { "service": "urn:service", "subject": "Umzug" },
    });
    let submission = Submission {
        envelope: serde_json::from_value(envelope).expect("an envelope"),
        manifest: Manifest { parts: stored },
        payload: writer.seal().await.expect("sealed"),
        request_digest: Digest::of(id.as_str().as_bytes()),
        door,
        certificates: Vec::new(),
    };
    office.relay.accept(&who, submission).await.expect("accepted");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_protocols_allow_blocks_nothing() {
    let office = Office::open().await;
    let message: &[(PartRole, &str, &[u8])] = &[(PartRole::Message, "text/plain\nX: y", b"one")];
    accept(&office, "xta-2.1.1", &[], message).await;
    // Author and sender show the same token, with the Id that its writer gave it.
    let token =
        "<oscimeta:SecurityToken xmlns:oscimeta=\"http://www.osci.eu/ws/2014/10/transport\" Id=\"X509\"/>";
    let message: &[(PartRole, &str, &[u8])] = &[(PartRole::Message, "text/plain", b"two")];
    accept(&office, "xta-2.1.1", &[token], message).await;
    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    for (octets, content_type) in [(&b"one"[..], "application/octet-stream"), (b"two", "text/plain")] {
        let reply = reader.send(&office, fetch()).await.answer();
        assert!(reply.codes().contains(&"0801".to_owned()), "{:?}", reply.codes());
        assert_eq!(reply.attachment(0), octets);
        assert_eq!(reply.received.attachments[0].content_type(), content_type);
        assert!(reply.received.message.custom[0].xml.contains("ags:10041100"));
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_no_longer_be_written_is_passed_over() {
    let office = Office::open().await;
    let header = |xml: &str| {
        serde_json::json!({
            "version": 1,
            "scope": [[["osci", "http://www.osci.de/2002/04/osci"], ["soap", "http://schemas.xmlsoap.org/soap/envelope/"],
                ["ds", "http://www.w3.org/2000/09/xmldsig#"], ["xenc", "http://www.w3.org/2001/04/xmlenc#"],
                ["xsi", "http://www.w3.org/2001/XMLSchema-instance"]], [], []],
            "certificates": [],
            "headers": [{ "namespace": "urn:x", "local": "N", "id": "n", "xml": xml }],
            "attachments": [],
        })
        .to_string()
    };
    let twice = header("<x:N xmlns:x=\"urn:x\" Id=\"n\"><x:a xml:id=\"n\"/></x:N>");
    let package =
        (PartRole::OsciPackage, "text/xml", b"<osci:ContentPackage></osci:ContentPackage>".as_slice());
    let frame = |bytes| (PartRole::OsciFrame, "application/json", bytes);
    // Taken by a post office of old, before it knew better; and one whose disk forgot.
    let twice = accept(&office, "osci-1.2", &[], &[package, frame(twice.as_bytes())]).await;
    let damaged = accept(&office, "osci-1.2", &[], &[package, frame(b"{")]).await;
    let good = store_good(&office).await;

    let mut reader = Client::new("reader", true, true);
    reader.begin(&office).await;
    assert_eq!(reader.send(&office, fetch()).await.codes(), ["fault 9000"], "it shows when it is written");
    let reply = fetched(&office).await;
    assert_eq!(reply.codes(), ["0801"], "nothing more waits that could be fetched");
    assert_eq!(reply.package(), PACKAGE.as_bytes());
    let Payload::ResponseToFetchDelivery(answer) = &reply.received.message.payload else { panic!() };
    assert_eq!(answer.card.as_ref().map(|card| &card.message_id), Some(&good));
    // Who names them hears why.
    for id in [twice, damaged] {
        let mut reader = Client::new("reader", true, true);
        reader.begin(&office).await;
        assert_eq!(reader.send(&office, fetch_this(id.as_str())).await.codes(), ["9811"]);
    }
    let waiting = office.entries().await.iter().filter(|entry| entry.card.state.is_offered()).count();
    assert_eq!(waiting, 3, "nothing was received: no dialog went on");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_part_goes_on_with_it() {
    let office = Office::open().await;
    let message: &[(PartRole, &str, &[u8])] =
        &[(PartRole::Message, "text/xml", b"one"), (PartRole::Attachment, "application/pdf", b"two")];
    accept_described(&office, "xta-2.1.1", &[], message, |part| match part.role {
        PartRole::Message => {
            part.filename = Some("Umzug.xml".to_owned());
            part.encoding = Some("UTF-8".to_owned());
            part.lang = Some("de".to_owned());
        }
        _ => {
            part.filename = Some("Größe 1\".pdf".to_owned());
            part.description = Some("Anlage für Köln".to_owned());
        }
    })
    .await;
    let reply = fetched(&office).await;
    assert_eq!(reply.codes(), ["0801"]);
    let [one, two] = reply.received.attachments.as_slice() else { panic!("two attachments") };
    let field = |headers: &[(String, String)], name: &str| {
        headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!((one.content_id.as_str(), two.content_id.as_str()), ("Umzug.xml", "part2"));
    assert_eq!(one.content_type(), "text/xml; charset=\"UTF-8\"");
    assert_eq!(field(&one.headers, "Content-Disposition"), "attachment; filename=\"Umzug.xml\"");
    assert_eq!(field(&one.headers, "Content-Language"), "de");
    let disposition = "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201%22.pdf";
    assert_eq!(field(&two.headers, "Content-Disposition"), disposition);
    assert_eq!(field(&two.headers, "Content-Description"), "=?UTF-8?B?QW5sYWdlIGbDvHIgS8O2bG4=?=");
    assert_eq!((reply.attachment(0), reply.attachment(1)), (&b"one"[..], &b"two"[..]));
    let package = String::from_utf8(reply.package().to_vec()).expect("text");
    assert!(package.contains("cid:Umzug.xml") && package.contains("cid:part2"), "{package}");
    office.close().await;
}
