//! What the XTA door must refuse: each by name, with nothing stored afterwards, and the next request served.

use amtsbote::domain::limits::Limits;
use amtsbote::store::Store;
use amtsbote::xta::action::Operation;
use tokio::io::AsyncWriteExt;

use crate::cli_fixture;
use crate::xta_office::{AUTHOR, Office, READER, SERVICE};
use crate::xta_raw::{self, container, envelope, metadata, post, soap};

const SEND: &str = "http://www.xta.de/XTA/SendMessage";
const MESSAGE: &str = "<x:Message contentType=\"text/xml\">PGEvPg==</x:Message>";

fn limits() -> Limits {
    Limits {
        content_bytes_max: 200_000,
        envelope_bytes_max: 20_000,
        xml_attribute_bytes_max: 4096,
        ..Limits::default()
    }
}

/// One bad request: by whom, what, and how it must be refused.
struct Case {
    name: &'static str,
    who: Option<&'static str>,
    request: Vec<u8>,
    exception: &'static str,
    code: &'static str,
    sentence: &'static str,
}

fn case(
    name: &'static str,
    request: Vec<u8>,
    exception: &'static str,
    code: &'static str,
    sentence: &'static str,
) -> Case {
    Case { name, who: Some("author"), request, exception, code, sentence }
}

async fn check(office: &Office, case: Case) {
    let name = case.name;
    let (before, files) = (office.stored().await, office.payload_files());
    let answer = xta_raw::exchange(office, case.who, &case.request).await;
    let answer = answer.unwrap_or_else(|| panic!("{name}: no answer"));
    let found = (answer.status, answer.exception(), answer.code());
    let expected = (500, format!("{}Exception", case.exception), case.code.to_owned());
    assert_eq!(found, expected, "{name}: {}", answer.text());
    let sentence = answer.sentence();
    assert!(sentence.contains(case.sentence), "{name}: {sentence}");
    let correlation = sentence.rsplit_once('[').and_then(|(_, id)| id.strip_suffix(']')).unwrap_or_default();
    assert!(
        correlation.len() == 16 && correlation.chars().all(|c| c.is_ascii_hexdigit()),
        "{name}: {sentence}"
    );
    assert_eq!(
        (office.stored().await, office.payload_files()),
        (before, files),
        "{name}: something was stored"
    );
    let next = soap(Operation::CheckAccountActive.action(), "", "");
    let next = xta_raw::exchange(office, Some("author"), &next).await.expect("an answer");
    assert_eq!(next.status, 200, "{name}: the next request");
}

async fn new_id(office: &Office) -> String {
    office.client("author", None).create_message_id().await.expect("an id").to_string()
}

fn send(headers: &str, body: &str) -> Vec<u8> {
    soap(SEND, headers, body)
}

/// A multipart with these parts behind its root; each is (Content-ID, body).
fn multipart(boundary: &str, headers: &str, body: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("--{boundary}\r\nContent-ID: <root>\r\n\r\n{}", envelope(headers, body));
    for (id, content) in parts {
        text.push_str(&format!("\r\n--{boundary}\r\nContent-ID: <{id}>\r\n\r\n{content}"));
    }
    text.push_str(&format!("\r\n--{boundary}--\r\n"));
    post(&format!("multipart/related; boundary=b; start=\"<root>\"; action=\"{SEND}\""), text)
}

fn include(cids: &[&str]) -> String {
    let part = |(at, cid): (usize, &&str)| {
        let name = if at == 0 { "Message" } else { "Attachment" };
        format!("<x:{name} contentType=\"a/b\"><i:Include href=\"cid:{cid}\"/></x:{name}>")
    };
    container(&cids.iter().enumerate().map(part).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_wrong_names() {
    let office = Office::open_with(limits()).await;
    let denied = "PermissionDenied";
    let as_reader =
        |value: &str| format!("<m:Author><m:Identifier type=\"xoev\">{value}</m:Identifier></m:Author>");
    let id = new_id(&office).await;
    let by = |who, name, code, sentence| Case {
        name,
        who,
        request: send(&metadata(&id, AUTHOR, READER, SERVICE, ""), &container(MESSAGE)),
        exception: denied,
        code,
        sentence,
    };
    for case in [
        by(Some("expired"), "expired", "9010", "expired"),
        by(Some("blocked"), "blocked", "9011", "blocked"),
        by(Some("nobody"), "unknown", "9012", "no account"),
        by(Some("untrusted"), "untrusted", "9012", "no account"),
        by(None, "no certificate", "9012", "no account"),
        by(Some("reader"), "author of another", "9014", "does not belong"),
    ] {
        check(&office, case).await;
    }
    for operation in [
        Operation::CheckAccountActive,
        Operation::CreateMessageId,
        Operation::GetStatusList,
        Operation::GetMessage,
        Operation::Close,
        Operation::GetTransportReport,
        Operation::CancelMessage,
        Operation::LookupService,
    ] {
        let request = soap(operation.action(), &as_reader(READER), "<a:MessageID>urn:x</a:MessageID>");
        check(&office, case(operation.name(), request, denied, "9014", "does not belong")).await;
    }
    // The wildcard, an empty identifier, nil and no header at all stand for the certificate's account.
    let nil = "<m:Author xmlns:n=\"http://www.w3.org/2001/XMLSchema-instance\" n:nil=\"true\"/>";
    for author in [as_reader("*"), as_reader(""), nil.to_owned(), String::new(), as_reader(AUTHOR)] {
        let request = soap(Operation::CheckAccountActive.action(), &author, "");
        let answer = xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{author}: {}", answer.text());
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_not_taken() {
    let office = Office::open_with(limits()).await;
    let id = new_id(&office).await;
    let invalid = "ParameterIsNotValid";
    let message = |service: &str, attributes: &str| metadata(&id, AUTHOR, READER, service, attributes);
    let good = message(SERVICE, "");
    let body = container(MESSAGE);
    let large = |octets: usize| {
        let text = "AAAA".repeat(octets / 3);
        container(&format!("<x:Message contentType=\"a/b\">{text}</x:Message>"))
    };
    let deep = format!("{}{}", "<d>".repeat(70), "</d>".repeat(70));
    let unknown_reader = metadata(&id, AUTHOR, "ags:9", SERVICE, "");
    let not_issued = metadata("urn:de:xta:messageid:other:1", AUTHOR, READER, SERVICE, "");
    let cases = [
        case(
            "service not booked",
            send(&message("urn:other", ""), &body),
            "PermissionDenied",
            "9013",
            "not booked",
        ),
        case("no metadata", send("", &body), invalid, "9020", "MessageMetaData is missing"),
        case("no content", send(&good, ""), invalid, "9020", "Message is missing"),
        case("empty container", send(&good, &container("")), invalid, "9020", "Message is missing"),
        case("metadata twice", send(&good.repeat(2), &body), invalid, "9022", "more than once"),
        case("unknown reader", send(&unknown_reader, &body), invalid, "9022", "no mailbox"),
        case("id not issued", send(&not_issued, &body), invalid, "9022", "not issued"),
        case(
            "bad instant",
            send(&message(SERVICE, "<m:NotBefore>soon</m:NotBefore>"), &body),
            invalid,
            "9022",
            "NotBefore",
        ),
        case(
            "obsolete",
            send(&message(SERVICE, "<m:ObsoleteAfter>2026-11-22</m:ObsoleteAfter>"), &body),
            invalid,
            "9022",
            "ObsoleteAfter",
        ),
        case(
            "unknown profile",
            send(&message(SERVICE, "<m:ServiceQuality>fast</m:ServiceQuality>"), &body),
            "MessageSchemaViolation",
            "9052",
            "profile",
        ),
        case("two messages", send(&good, &container(&MESSAGE.repeat(2))), invalid, "9022", "more than once"),
        case("no contentType", send(&good, &container("<x:Message/>")), invalid, "9020", "@contentType"),
        case(
            "not base64",
            send(&good, &container("<x:Message contentType=\"a/b\">a-b</x:Message>")),
            invalid,
            "9022",
            "not base64",
        ),
        case("too large", send(&good, &large(300_000)), invalid, "9023", "at most 200000"),
        case(
            "large envelope",
            send(&format!("{good}<z>{}</z>", "z".repeat(30_000)), &body),
            invalid,
            "9023",
            "20000",
        ),
        case("not well-formed", send(&good, "<a></b>"), invalid, "9022", "end tag"),
        case(
            "truncated",
            post(
                &format!("application/soap+xml; action=\"{SEND}\""),
                "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>",
            ),
            invalid,
            "9022",
            "open",
        ),
        case("empty", post(&format!("application/soap+xml; action=\"{SEND}\""), ""), invalid, "9022", "root"),
        case(
            "doctype",
            post(
                &format!("application/soap+xml; action=\"{SEND}\""),
                format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{}", envelope(&good, &body)),
            ),
            invalid,
            "9022",
            "document type",
        ),
        case(
            "entity",
            send(&good, &container("<x:Message contentType=\"a/b\">&xxe;</x:Message>")),
            invalid,
            "9022",
            "entity",
        ),
        case(
            "soap 1.1",
            post(
                &format!("text/xml; action=\"{SEND}\""),
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body/></s:Envelope>",
            ),
            invalid,
            "9022",
            "SOAP 1.2",
        ),
        case("deep nesting", send(&format!("{good}{deep}"), &body), invalid, "9022", "depth"),
        case(
            "large attribute",
            send(&format!("{good}<z a=\"{}\"/>", "a".repeat(5_000)), &body),
            invalid,
            "9022",
            "bytes",
        ),
        case(
            "attribute flood",
            send(
                &format!("{good}<z {}/>", (0..100).map(|n| format!("a{n}=\"\" ")).collect::<String>()),
                &body,
            ),
            invalid,
            "9022",
            "attributes",
        ),
        case(
            "header to be understood",
            send(&format!("{good}<z s:mustUnderstand=\"true\"/>"), &body),
            invalid,
            "9022",
            "understood",
        ),
        case(
            "two bodies",
            post(
                &format!("application/soap+xml; action=\"{SEND}\""),
                envelope(&good, &body).replace("</s:Envelope>", "<s:Body/></s:Envelope>"),
            ),
            invalid,
            "9022",
            "more than once",
        ),
        case("unknown action", soap("urn:other", &good, &body), invalid, "9022", "urn:other"),
        case("no action", post("application/soap+xml", envelope(&good, &body)), invalid, "9020", "no action"),
        case("not soap", post("application/json", "{}"), invalid, "9022", "application/json"),
    ];
    for case in cases {
        check(&office, case).await;
    }
    // The id is still unused, and the very next message under it is taken; then it is used.
    let answer = xta_raw::exchange(&office, Some("author"), &send(&good, &body)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let other = container("<x:Message contentType=\"text/xml\">PGIvPg==</x:Message>");
    check(&office, case("reused id", send(&good, &other), invalid, "9024", "has been used")).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_do_not_fit() {
    let office = Office::open_with(limits()).await;
    let id = new_id(&office).await;
    let good = metadata(&id, AUTHOR, READER, SERVICE, "");
    let invalid = "ParameterIsNotValid";
    let large = "x".repeat(150_000);
    let multi =
        |boundary, cids: &[&str], parts: &[(&str, &str)]| multipart(boundary, &good, &include(cids), parts);
    let truncated = |mut request: Vec<u8>| {
        let text = String::from_utf8(request.split_off(0)).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a header");
        let kind =
            head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).expect("a type").to_owned();
        post(&kind, body.trim_end().trim_end_matches("--"))
    };
    for case in [
        case("wrong boundary", multi("c", &["1"], &[("1", "x")]), invalid, "9022", "boundary does not occur"),
        case("missing part", multi("b", &["1", "2"], &[("1", "x")]), invalid, "9022", "missing"),
        case(
            "two parts of one id",
            multi("b", &["1"], &[("1", "x"), ("1", "y")]),
            invalid,
            "9022",
            "two parts",
        ),
        case(
            "part that nothing names",
            multi("b", &["1"], &[("1", "x"), ("2", "y")]),
            invalid,
            "9022",
            "nothing refers",
        ),
        case(
            "two references to one part",
            multi("b", &["1", "1"], &[("1", "x")]),
            invalid,
            "9022",
            "two references",
        ),
        case(
            "too large in one part",
            multi("b", &["1"], &[("1", &large.repeat(2))]),
            invalid,
            "9023",
            "at most 200000",
        ),
        case(
            "too large together",
            multi("b", &["1", "2"], &[("1", &large), ("2", &large)]),
            invalid,
            "9023",
            "at most 200000",
        ),
        case("no end", truncated(multi("b", &["1"], &[("1", "x")])), invalid, "9022", "ended inside part"),
    ] {
        check(&office, case).await;
    }
    let url = container("<x:Message contentType=\"a/b\"><i:Include href=\"http://localhost/\"/></x:Message>");
    check(&office, case("include of a URL", multipart("b", &good, &url, &[]), invalid, "9022", "not a cid"))
        .await;
    let both = container("<x:Message contentType=\"a/b\">YQ==<i:Include href=\"cid:1\"/></x:Message>");
    check(
        &office,
        case("text and include", multipart("b", &good, &both, &[("1", "x")]), invalid, "9022", "both"),
    )
    .await;
    let kind = format!("multipart/related; boundary=b; start=\"<other>\"; action=\"{SEND}\"");
    let request = post(&kind, "--b\r\nContent-ID: <1>\r\n\r\nx\r\n--b--\r\n");
    check(&office, case("no root", request, invalid, "9022", "root")).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_have_no_answer() {
    let office = Office::open().await;
    let technical = "XTAWSTechnicalProblem";
    let ask = |operation: Operation, body: &str| soap(operation.action(), "", body);
    let lookup = |service: &str| {
        format!(
            "<x:LookupServiceRequest><x:LookupServiceRequestList><x:LookupService><m:Reader><m:Identifier>{READER}\
             </m:Identifier></m:Reader><x:ServiceType>{service}</x:ServiceType></x:LookupService>\
             </x:LookupServiceRequestList></x:LookupServiceRequest>"
        )
    };
    let id = "<a:MessageID>urn:de:xta:messageid:testpost:1</a:MessageID>";
    let selector = format!("<b:MsgSelector>{id}</b:MsgSelector>");
    let close = "<b:MsgBoxCloseRequest MsgBoxRequestID=\"1\"><b:LastMsgReceived>urn:de:xta:messageid:testpost:1</b:LastMsgReceived></b:MsgBoxCloseRequest>";
    let fetch = format!("<b:MsgBoxFetchRequest>{selector}</b:MsgBoxFetchRequest>");
    let list = "<b:MsgBoxStatusListRequest maxListItems=\"-1\"/>";
    use Operation as O;
    for case in [
        case(
            "lookup of nothing",
            ask(O::LookupService, ""),
            "ParameterIsNotValid",
            "9020",
            "LookupServiceRequest",
        ),
        case(
            "lookup of no URI",
            ask(O::LookupService, &lookup("no uri")),
            "ParameterIsNotValid",
            "9021",
            "ServiceType",
        ),
        case("report unknown", ask(O::GetTransportReport, id), "InvalidMessageID", "9070", "no such message"),
        case(
            "report of no id",
            ask(O::GetTransportReport, "<a:MessageID>a b</a:MessageID>"),
            "InvalidMessageID",
            "9070",
            "message id",
        ),
        case("fetch unknown", ask(O::GetMessage, &fetch), "InvalidMessageID", "9070", "no such message"),
        case("close unknown", ask(O::Close, close), "InvalidMessageID", "9070", "no such message"),
        case("cancel unknown", ask(O::CancelMessage, id), "ParameterIsNotValid", "9070", "no such message"),
        // The WSDL gives these operations no exception for their parameters.
        case("list of minus one", ask(O::GetStatusList, list), technical, "9000", "maxListItems"),
        case("close of nothing", ask(O::Close, ""), technical, "9000", "MsgBoxCloseRequest"),
        case("content for close", ask(O::Close, &container(MESSAGE)), technical, "9000", "takes no content"),
    ] {
        check(&office, case).await;
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_belongs_to_its_parties_alone() {
    let office = Office::open().await;
    let id = new_id(&office).await;
    let request = send(&metadata(&id, AUTHOR, READER, SERVICE, ""), &container(MESSAGE));
    assert_eq!(xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer").status, 200);
    let selector = format!("<b:MsgSelector><a:MessageID>{id}</a:MessageID></b:MsgSelector>");
    let close = format!(
        "<b:MsgBoxCloseRequest MsgBoxRequestID=\"1\"><b:LastMsgReceived>{id}</b:LastMsgReceived></b:MsgBoxCloseRequest>"
    );
    for (operation, who, body) in [
        (Operation::GetMessage, "author", format!("<b:MsgBoxFetchRequest>{selector}</b:MsgBoxFetchRequest>")),
        (
            Operation::GetMessage,
            "synchronous",
            format!("<b:MsgBoxFetchRequest>{selector}</b:MsgBoxFetchRequest>"),
        ),
        (Operation::Close, "synchronous", close),
        (Operation::GetTransportReport, "synchronous", format!("<a:MessageID>{id}</a:MessageID>")),
    ] {
        let request = soap(operation.action(), "", &body);
        let answer = xta_raw::exchange(&office, Some(who), &request).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (500, "9070"), "{who} {}", operation.name());
    }
    let page = office.client("reader", None).list(&Default::default(), None).await.expect("a list");
    assert_eq!(page.messages.len(), 1);
    assert_eq!(page.messages[0].initial_fetch, None);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_too_early() {
    let office = Office::open().await;
    let id = new_id(&office).await;
    let large = "x".repeat(150_000);
    let request =
        multipart("b", &metadata(&id, AUTHOR, READER, SERVICE, ""), &include(&["1"]), &[("1", &large)]);
    for cut in [request.len() / 2, request.len() - 3] {
        let mut stream = xta_raw::connect(&office, Some("author")).await;
        stream.write_all(&request[..cut]).await.expect("written");
        stream.shutdown().await.expect("half-closed");
        let answer = xta_raw::answer(&mut stream).await;
        assert!(answer.is_none_or(|answer| answer.status >= 400));
        drop(stream);
        for _ in 0..100 {
            if office.payload_files() == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!((office.stored().await, office.payload_files()), (0, 0));
    }
    let answer = xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_write() {
    let office = Office::open().await;
    let id = new_id(&office).await;
    office.store.close().await.expect("closed");
    let request = send(&metadata(&id, AUTHOR, READER, SERVICE, ""), &container(MESSAGE));
    let answer = xta_raw::exchange(&office, Some("author"), &request).await.expect("an answer");
    let found = (answer.status, answer.exception(), answer.code());
    assert_eq!(
        found,
        (500, "XTAWSTechnicalProblemException".to_owned(), "9030".to_owned()),
        "{}",
        answer.text()
    );
    // What went wrong inside is for the operator.
    assert!(answer.sentence().starts_with("the post office cannot work for the time being ["));
    assert!(answer.text().contains("soap:Receiver"));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_before_all_of_it_was_sent() {
    let office = Office::open_with(limits()).await;
    let id = new_id(&office).await;
    let request =
        multipart("b", &metadata(&id, AUTHOR, READER, SERVICE, ""), &include(&["1"]), &[("1", "@")]);
    let request = String::from_utf8(request).expect("text");
    let (open, _) = request.split_once("\r\n\r\n@").expect("a place for the content");
    let (head, body) = open.split_once("Content-Length: ").expect("a length");
    let (_, body) = body.split_once("\r\n").expect("a line");
    let head = format!("{head}Content-Length: 300000000\r\n{body}\r\n\r\n");
    let mut stream = xta_raw::connect(&office, Some("author")).await;
    stream.write_all(head.as_bytes()).await.expect("written");
    // Of 300 MB, one: the limit and what is read on for politeness lie far below.
    let _ = stream.write_all("AAAA".repeat(250_000).as_bytes()).await;
    let _ = stream.flush().await;
    let answer = xta_raw::answer(&mut stream).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (500, "9023"), "{}", answer.text());
    assert!(answer.head.to_ascii_lowercase().contains("connection: close"), "{}", answer.head);
    assert_eq!((office.stored().await, office.payload_files()), (0, 0));
    office.close().await;
}

/// A client that quotes the id from its refusal leads the operator to what he can do about it.
#[test]
fn a_refusal_is_found_in_the_log_by_its_correlation_id() {
    let office = cli_fixture::Office::open();
    std::fs::write(office.path("notice.xml"), "<notice/>").expect("written");
    let stranger = ["send", "notice.xml", "--from", "psw:100411000000", "--to", "ags:09999999"];
    let said = office.run_as("standesamt", &stranger).ends(1).stderr;
    let correlation = said.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(id, _)| id);
    let correlation = correlation.unwrap_or_else(|| panic!("no correlation id: {said}"));
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    let line = log.lines().find(|line| line.contains(&format!("correlation={correlation} ")));
    let line = line.unwrap_or_else(|| panic!("{said} is not in the log: {log}"));
    assert!(line.contains("code=\"reader-unknown\""), "{line}");
    assert!(line.contains("next_step=\"If the reader is a participant"), "{line}");
}
