//! Requests in the shapes of clients in the field: each is taken, and what it carried comes back byte for byte.

use amtsbote::domain::message_id::MessageId;
use amtsbote::xta::action::Operation;
use amtsbote::xta::client::content::MemorySink;

use crate::xta_office::{Office, READER};
use crate::xta_raw;

/// A sample with LF, as it goes over the wire.
fn wire(sample: &str, id: &str) -> Vec<u8> {
    let text = sample.replace("{id}", id).replace("\r\n", "\n").replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header and a body");
    if head.contains("chunked") {
        let mut bytes = format!("{head}\r\n\r\n").into_bytes();
        for chunk in body.as_bytes().chunks(777) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        return bytes;
    }
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn check(office: &Office, name: &str, sample: &str, contents: &[&str]) {
    let id = office.client("author", None).create_message_id().await.expect("an id");
    let request = wire(sample, id.as_str());
    for _ in 0..2 {
        let answer = xta_raw::exchange(office, Some("author"), &request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    let reader = office.client("reader", Some(READER));
    let mut sink = MemorySink::default();
    let fetched = reader.fetch(&id, &mut sink).await.expect("fetched");
    let found: Vec<_> =
        sink.parts.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    assert_eq!(found, contents, "{name}");
    let envelope = &fetched.message.envelope;
    assert_eq!(envelope.qualifier.subject.as_deref(), Some("Rückmeldung & mehr"));
    assert_eq!(envelope.origin.as_ref().expect("Origin").text, "2026-11-22T04:46:17.314+01:00");
    assert_eq!(envelope.reader.identifier.kind(), None);
    assert_eq!(envelope.qualifier.payload_schema.as_deref(), Some("http://www.osci.de/xmeld2511"));
    if name == "cxf" {
        let part = &fetched.parts[0];
        assert_eq!(part.size.as_deref(), Some("012"));
        assert_eq!((part.lang.as_deref(), part.id.as_deref()), (Some("de"), Some("m1")));
        assert_eq!(fetched.parts[1].description.as_deref(), Some("eine <Anlage>"));
    }
    reader.close("1", &[id]).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_of_the_field() {
    let office = Office::open().await;
    let (one, two) = ("first bytes", "second bytes");
    check(&office, "cxf", include_str!("../data/xta/requests/send-cxf.http"), &[one, two]).await;
    check(&office, "jaxws", include_str!("../data/xta/requests/send-jaxws.http"), &[one]).await;
    check(&office, "gsoap", include_str!("../data/xta/requests/send-gsoap.http"), &[one]).await;
    check(&office, "node", include_str!("../data/xta/requests/send-node.http"), &[one]).await;
    check(&office, "inline", include_str!("../data/xta/requests/send-inline.http"), &[one, two, ""]).await;
    check(&office, "parts first", include_str!("../data/xta/requests/send-parts-first.http"), &[one, two])
        .await;
    let encrypted = "<c:EncryptedData xmlns:c=\"http://www.w3.org/2001/04/xmlenc#\" \
        xmlns:x=\"http://xoev.de/transport/xta/211\" xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\" \
        Type=\"urn:a&amp;b\"><c:CipherData><c:CipherValue>Zmlyc3QgYnl0ZXM=</c:CipherValue></c:CipherData>\
        </c:EncryptedData>";
    let id = office.client("author", None).create_message_id().await.expect("an id");
    let request = wire(include_str!("../data/xta/requests/send-encrypted.http"), id.as_str());
    let answer = xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let entry = office.store.as_ref();
    let entry = amtsbote::store::Store::find(entry, &id).await.expect("stored");
    let mut payload = office.relay.open_part(&entry, &entry.manifest.parts[0]).await.expect("a payload");
    let mut bytes = Vec::new();
    while let Some(piece) = payload.next().await.expect("bytes") {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(String::from_utf8_lossy(&bytes), encrypted);
    // It goes out as the element that it is, inside the envelope.
    let fetch = format!(
        "<b:MsgBoxFetchRequest><b:MsgSelector><a:MessageID>{id}</a:MessageID></b:MsgSelector></b:MsgBoxFetchRequest>"
    );
    let request = xta_raw::soap(Operation::GetMessage.action(), "", &fetch);
    let answer = xta_raw::exchange(&office, Some("reader"), &request).await.expect("an answer");
    assert!(
        answer
            .text()
            .contains(&format!("<xta:GenericContentContainer>{encrypted}</xta:GenericContentContainer>"))
    );
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_relate_to_their_requests() {
    let office = Office::open().await;
    let action = Operation::CreateMessageId.action();
    let headers = format!("<a:Action>{action}</a:Action><a:MessageID>uuid:4711&lt;</a:MessageID>");
    let body = "<EmptyBody/>";
    for (who, status) in [("author", 200), ("nobody", 500)] {
        // The header's action goes before the one in Content-Type.
        let request = xta_raw::soap(Operation::Close.action(), &headers, body);
        let answer = xta_raw::exchange(&office, Some(who), &request).await.expect("an answer");
        assert_eq!(answer.status, status);
        assert_eq!(answer.between("<wsa:Action>", "</").as_deref(), Some(action));
        assert_eq!(answer.between("<wsa:RelatesTo>", "</").as_deref(), Some("uuid:4711&lt;"));
        assert!(answer.between("<wsa:MessageID>", "</").is_some_and(|id| id.starts_with("urn:uuid:")));
        assert!(answer.head.contains("application/soap+xml; charset=utf-8"), "{}", answer.head);
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_describes_itself() {
    let office = Office::open().await;
    for (request, status, expected) in [
        ("GET /xta?wsdl HTTP/1.1\r\nHost: post.example\r\n\r\n", 200, "https://post.example/xta/SendXtaPort"),
        ("GET /xta?xsd=xta.xsd HTTP/1.1\r\nHost: post.example\r\n\r\n", 200, "https://post.example/xta?xsd="),
        ("GET /xta HTTP/1.1\r\nHost: post.example\r\n\r\n", 404, "?wsdl"),
        ("GET /other?wsdl HTTP/1.1\r\nHost: post.example\r\n\r\n", 404, "no XTA service"),
        ("DELETE /xta HTTP/1.1\r\nHost: post.example\r\n\r\n", 405, "GET and POST"),
    ] {
        let answer = xta_raw::exchange(&office, None, request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.text().contains(expected), "{request}: {}", answer.text());
    }
    office.close().await;
}

/// What foreign clients really sent, where a folder with their requests is named.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests() {
    let Ok(folder) = std::env::var("AMTSBOTE_XTA_SAMPLES") else {
        println!("skipped: AMTSBOTE_XTA_SAMPLES names no folder with recorded requests");
        return;
    };
    let office = Office::open().await;
    office.change_account("author", |account| account.rights.foreign_message_ids = true).await;
    let mut files = Vec::new();
    collect(std::path::Path::new(&folder), &mut files);
    files.sort();
    assert!(!files.is_empty(), "{folder} has no .http files");
    let mut closed = std::collections::BTreeSet::new();
    for file in files {
        let bytes = std::fs::read(&file).expect("a file");
        let line_end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a request line");
        let request = [b"POST /xta HTTP/1.1".as_slice(), &bytes[line_end..]].concat();
        let text = String::from_utf8_lossy(&request).into_owned();
        let answer = xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer");
        let id =
            text.split_once("urn:de:xta:messageid:").and_then(|(_, rest)| rest.get(..44)).unwrap_or_default();
        let name = file.display();
        let expected = match name.to_string() {
            name if name.contains("CancelMessage") => "9101",
            name if name.contains("FetchRequest") && closed.contains(id) => "9070",
            _ => "",
        };
        let fault = answer.exception();
        let found = if fault.is_empty() { String::new() } else { answer.code() };
        assert_eq!(found, expected, "{name}: {}", answer.text());
        assert_eq!(answer.status, if expected.is_empty() { 200 } else { 500 }, "{name}");
        if name.to_string().contains("CloseRequest") {
            closed.insert(id.to_owned());
        }
        if name.to_string().contains("FetchRequest") && expected.is_empty() {
            let full = MessageId::parse(&format!("urn:de:xta:messageid:{id}")).expect("an id");
            let entry = amtsbote::store::Store::find(office.store.as_ref(), &full).await.expect("stored");
            for part in &entry.manifest.parts {
                let stated = part.size.as_deref().and_then(|size| size.parse().ok());
                assert!(stated.is_none_or(|stated: u64| stated == part.length), "{name}");
            }
            assert!(answer.body.len() as u64 > entry.manifest.length(), "{name}");
        }
    }
    office.close().await;
}

fn collect(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "http") {
            files.push(path);
        }
    }
}
