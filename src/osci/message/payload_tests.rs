//! Every kind of payload, read and written again, and what is refused.

use super::*;
use crate::osci::message::markup::testing::element;

const FEEDBACK: &str = "<osci:Feedback><osci:Entry xml:lang=\"de\"><osci:Code>0801</osci:Code><osci:Text>ja &amp; \
    nein</osci:Text></osci:Entry><osci:Entry><osci:Code>3707</osci:Code><osci:Text></osci:Text></osci:Entry>\
    </osci:Feedback>";
const ID: &str = "<osci:MessageId>YTE=</osci:MessageId>";

fn card(name: &str) -> String {
    let inspection = "<osci:Inspection><osci:Timestamp><osci:Plain>2026-11-22T04:31:41.602Z</osci:Plain>\
        </osci:Timestamp><osci:X509SubjectName>CN=a,C=DE</osci:X509SubjectName><osci:X509IssuerName>CN=b\
        </osci:X509IssuerName><osci:X509SerialNumber>12</osci:X509SerialNumber><osci:CertType Type=\"unknown\">\
        </osci:CertType><osci:MathResult Result=\"corrupted\"></osci:MathResult><osci:OfflineResult \
        Result=\"indeterminate\"></osci:OfflineResult>";
    format!(
        "<osci:{name}>{ID}<osci:ProcessCard RecentModification=\"2026-11-22T04:31:41.602+01:00\"><osci:Creation>\
         <osci:Plain>2026-11-22T04:31:41Z</osci:Plain></osci:Creation><osci:Forwarding><osci:Cryptographic \
         Algorithm=\"urn:x\">YQ==</osci:Cryptographic></osci:Forwarding><osci:Subject>Grüße</osci:Subject>\
         </osci:ProcessCard><osci:InspectionReport>{inspection}</osci:Inspection>{inspection}<osci:OnlineResult \
         Result=\"revoked\"></osci:OnlineResult></osci:Inspection></osci:InspectionReport></osci:{name}>"
    )
}

fn delivery(attributes: &str) -> String {
    format!(
        "<osci:SelectionRule><osci:ReceptionOfDelivery{attributes}>2026-11-22T04:31:41</osci:ReceptionOfDelivery>\
         </osci:SelectionRule>"
    )
}

const SELECTION: &str = "<osci:SelectionRule><osci:MessageId>YTE=</osci:MessageId></osci:SelectionRule>";
const CHUNK: &str = "<osci2017:ChunkInformation ChunkNumber=\"1\" ChunkSize=\"10\" ReceivedChunks=\"-1\" \
    TotalChunkNumbers=\"5\" TotalMessageSize=\"48\"></osci2017:ChunkInformation>";

fn read(kind: Kind, inside: &str) -> Result<Payload, Error> {
    let name = format!("{}:{}", kind.prefix(), kind.element());
    Payload::read(kind, &element(&format!("<{name}>{inside}</{name}>")))
}

#[track_caller]
fn check(kind: Kind, inside: &str) {
    let payload = read(kind, inside).unwrap_or_else(|error| panic!("{kind}: {error}: {inside}"));
    assert_eq!(payload.kind(), kind);
    assert_eq!(payload.feedback().is_some(), !kind.is_request());
    let mut writer = Writer::new();
    writer.start("e");
    payload.write(&mut writer);
    assert_eq!(writer.finish(), format!("<e>{inside}</e>"), "{kind}");
}

#[test]
fn every_kind_is_written_as_it_was_read() {
    use Kind::{Request, Response};
    use Operation as O;
    let bundle = card("ProcessCardBundle");
    let receiver = "<osci:ContentReceiver URI=\"http://a/?b&amp;c\"></osci:ContentReceiver>";
    let subject = "<osci:Subject>&lt;s&gt;</osci:Subject>";
    let fetch = |inside: &str| format!("{FEEDBACK}<osci:fetchDelivery>{inside}</osci:fetchDelivery>");
    for operation in [O::InitDialog, O::ExitDialog, O::GetMessageId] {
        check(Request(operation), "");
        check(Response(operation), FEEDBACK);
    }
    check(Response(O::GetMessageId), &format!("{FEEDBACK}{ID}"));
    for inside in [ID.to_owned(), format!("{ID}{subject}"), String::new()] {
        check(Request(O::StoreDelivery), &inside);
        check(Request(O::ForwardDelivery), &format!("{receiver}{inside}"));
        check(Request(O::MediateDelivery), &format!("{receiver}{inside}"));
        check(Response(O::ProcessDelivery), &format!("{FEEDBACK}{inside}"));
    }
    for inside in [FEEDBACK.to_owned(), format!("{FEEDBACK}{bundle}")] {
        check(Response(O::StoreDelivery), &inside);
        check(Response(O::ForwardDelivery), &inside);
    }
    let cards = format!("{}{}", card("RequestProcessCardBundle"), card("ReplyProcessCardBundle"));
    check(Response(O::MediateDelivery), FEEDBACK);
    check(Response(O::MediateDelivery), &format!("{FEEDBACK}{cards}"));
    check(Request(O::AcceptDelivery), &bundle);
    check(Response(O::AcceptDelivery), FEEDBACK);
    check(Request(O::ProcessDelivery), "");
    let reply = "<osci:MessageIdResponse>YTI=</osci:MessageIdResponse>";
    check(Request(O::ProcessDelivery), &format!("{reply}{bundle}"));
    for selection in ["", SELECTION, &delivery("")] {
        check(Request(O::FetchDelivery), selection);
        check(Response(O::FetchDelivery), &fetch(selection));
        check(Response(O::FetchDelivery), &format!("{}{bundle}", fetch(selection)));
        check(Request(O::PartialFetchDelivery), &format!("{selection}{CHUNK}"));
        check(Response(O::PartialFetchDelivery), &format!("{}{CHUNK}{ID}", fetch(selection)));
    }
    let two = SELECTION.replace("<osci:M", &format!("{ID}<osci:M"));
    let modified = delivery(" Role=\"Addressee\"").replace("ReceptionOfDelivery", "RecentModification");
    let unreceived = delivery(" NoReception=\"true\" Role=\"Originator\"");
    for selection in ["", SELECTION, &two, &delivery(""), &unreceived, &modified] {
        let request = format!("{selection}<osci:Quantity Limit=\"7\"></osci:Quantity>");
        check(Request(O::FetchProcessCard), selection);
        check(Request(O::FetchProcessCard), &request);
        let echo = format!("{FEEDBACK}<osci:fetchProcessCard>{request}</osci:fetchProcessCard>");
        check(Response(O::FetchProcessCard), &format!("{echo}{bundle}{bundle}"));
    }
    check(Request(O::PartialStoreDelivery), &format!("{ID}<osci2017:InfoOnly></osci2017:InfoOnly>"));
    check(Request(O::PartialStoreDelivery), &format!("{ID}{subject}{CHUNK}"));
    let inside = FEEDBACK.replace("osci:Feedback", "osci2017:InsideFeedback");
    check(Response(O::PartialStoreDelivery), &format!("{FEEDBACK}{CHUNK}"));
    check(Response(O::PartialStoreDelivery), &format!("{inside}{FEEDBACK}{bundle}{CHUNK}"));
}

#[test]
fn other_order_and_other_spelling_are_read() {
    let swapped = format!("\n {ID} {FEEDBACK}<!-- -->");
    assert!(read(Kind::Response(Operation::GetMessageId), &swapped).is_ok());
    let online = "<osci:OnlineResult Result='ok'><osci:OSCP>YQ==</osci:OSCP></osci:OnlineResult>";
    let bundle =
        card("ProcessCardBundle").replace("</osci:Inspection>", &format!("{online}</osci:Inspection>"));
    // The second inspection has two of them then.
    assert!(read(Kind::Request(Operation::AcceptDelivery), &bundle).is_err());
    let bundle = bundle.replacen("<osci:OnlineResult Result=\"revoked\"></osci:OnlineResult>", "", 1);
    assert!(read(Kind::Request(Operation::AcceptDelivery), &bundle).is_ok());
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    use Kind::{Request, Response};
    use Operation as O;
    let bundle = card("ProcessCardBundle");
    let both = format!(
        "<osci:SelectionRule>{ID}<osci:ReceptionOfDelivery>2026-11-22T04:31:41\
        </osci:ReceptionOfDelivery></osci:SelectionRule>"
    );
    let long = format!("<osci:Subject>{}</osci:Subject>", "x".repeat(17_000));
    for (kind, inside) in [
        (Request(O::InitDialog), "<osci:x/>"),
        (Request(O::InitDialog), "x"),
        (Response(O::InitDialog), ""),
        (Response(O::InitDialog), "<osci:Feedback></osci:Feedback>"),
        (Response(O::InitDialog), &format!("{FEEDBACK}{FEEDBACK}")),
        (Response(O::InitDialog), &FEEDBACK.replace("0801", "801")),
        (Response(O::GetMessageId), &format!("{FEEDBACK}{ID}{ID}")),
        (Request(O::StoreDelivery), &format!("{ID}<osci:Other/>")),
        (Request(O::StoreDelivery), &ID.replace("osci:", "ds:")),
        (Request(O::StoreDelivery), &long),
        (Request(O::ForwardDelivery), ID),
        (Request(O::ForwardDelivery), "<osci:ContentReceiver/>"),
        (Request(O::FetchDelivery), "<osci:SelectionRule/>"),
        (Request(O::FetchDelivery), &both),
        (Request(O::FetchDelivery), &delivery("").replace("22T", "31T")),
        (Request(O::FetchProcessCard), &both),
        (Request(O::FetchProcessCard), &delivery(" Role='Author'")),
        (Request(O::FetchProcessCard), &delivery(" NoReception='yes'")),
        (Request(O::FetchProcessCard), "<osci:Quantity Limit='0'/>"),
        (Request(O::FetchProcessCard), "<osci:Quantity/>"),
        (Request(O::AcceptDelivery), ""),
        (Request(O::AcceptDelivery), &bundle.replace("Creation", "Reception")),
        (Request(O::AcceptDelivery), &bundle.replace("\"corrupted\"", "\"maybe\"")),
        (Request(O::AcceptDelivery), &bundle.replace("Result=\"corrupted\"", "")),
        (Request(O::AcceptDelivery), &bundle.replacen("osci:Plain", "osci:Other", 2)),
        (Request(O::PartialStoreDelivery), ID),
        (Request(O::PartialStoreDelivery), &format!("{ID}<osci2017:InfoOnly/>{CHUNK}")),
        (Response(O::PartialStoreDelivery), FEEDBACK),
    ] {
        assert!(read(kind, inside).is_err(), "{kind}: {inside}");
    }
}
