//! MessageMetaData: what comes in goes out again.

use super::*;
use crate::xml;
use crate::xta::message::envelope::{EnvelopeLimits, EnvelopeReader};
use crate::xta::message::names::{OSCI, PREFIXES, SOAP};

/// Headers of a message, read as a request would be.
fn headers(inside: &str) -> Vec<Element> {
    let declarations: String =
        PREFIXES.iter().map(|(prefix, uri)| format!(" xmlns:{prefix}=\"{uri}\"")).collect();
    let document = format!(
        "<s:Envelope xmlns:s=\"{SOAP}\" xmlns:unused=\"urn:unused\"{declarations}><s:Header>{inside}</s:Header><s:Body/></s:Envelope>"
    );
    let mut reader = EnvelopeReader::new(EnvelopeLimits {
        xml: xml::Limits::default(),
        envelope_bytes_max: 1 << 20,
        content_text_bytes_max: 0,
        items_max: 0,
        fragments_max: 64,
        elements_max: 1000,
    });
    let mut input = document.as_bytes();
    while reader.next(&mut input).expect("well-formed").is_some() {}
    reader.finish().expect("an envelope").headers
}

fn read(inside: &str) -> Result<Envelope, Error> {
    let headers = headers(inside);
    parse(&headers[0], headers.get(1))
}

fn written(envelope: &Envelope) -> String {
    let mut out = Markup::new();
    write(&mut out, envelope, None);
    out.finish()
}

/// Everything that the schema has, in its order.
const FULL: &str = "<oscimeta:MessageMetaData TestMsg=\"true\"><oscimeta:DeliveryAttributes>\
<oscimeta:Origin>2026-11-22T04:46:17.314+01:00</oscimeta:Origin>\
<oscimeta:NotBefore>2026-12-01T00:00:00</oscimeta:NotBefore>\
<oscimeta:ObsoleteAfter>2026-12-31</oscimeta:ObsoleteAfter>\
<oscimeta:ServiceQuality>urn:xoev-de:a:standard:b.xta.serviceprofile.c_1.0</oscimeta:ServiceQuality>\
<oscimeta:ReceiptRequests xmlns:oscimeta=\"http://www.osci.eu/ws/2014/10/transport\"><oscimeta:Delivery/></oscimeta:ReceiptRequests>\
</oscimeta:DeliveryAttributes><oscimeta:Originators><oscimeta:Author>\
<oscimeta:Identifier type=\"xoev\" name=\"Amt &quot;A&quot;\" category=\"Meldebehörde\">ags:1</oscimeta:Identifier>\
<oscimeta:SecurityToken xmlns:oscimeta=\"http://www.osci.eu/ws/2014/10/transport\" usage=\"SIGNATURE\">\
<w:BinarySecurityToken xmlns:w=\"urn:w\">QUJD</w:BinarySecurityToken></oscimeta:SecurityToken></oscimeta:Author>\
<oscimeta:Sender><oscimeta:Identifier type=\"t\">gateway</oscimeta:Identifier></oscimeta:Sender>\
<oscimeta:ReplyTo><oscimeta:Identifier type=\"t\">reply</oscimeta:Identifier></oscimeta:ReplyTo>\
</oscimeta:Originators><oscimeta:Destinations><oscimeta:Reader>\
<oscimeta:Identifier type=\"xoev\">ags:2</oscimeta:Identifier></oscimeta:Reader><oscimeta:OtherDestinations>\
<oscimeta:OtherReaders type=\"xoev\">ags:3</oscimeta:OtherReaders><oscimeta:CcReaders type=\"xoev\">ags:4</oscimeta:CcReaders>\
</oscimeta:OtherDestinations></oscimeta:Destinations><oscimeta:MsgIdentification>\
<wsa:MessageID>urn:de:xta:messageid:amt:1</wsa:MessageID>\
<oscimeta:In-Reply-To>urn:de:xta:messageid:amt:0</oscimeta:In-Reply-To><oscimeta:ProcessRef>\
<oscimeta:Requester ProccesName=\"order\">4711</oscimeta:Requester><oscimeta:Responder>0815</oscimeta:Responder>\
</oscimeta:ProcessRef></oscimeta:MsgIdentification><oscimeta:Qualifier><oscimeta:Subject> a  b </oscimeta:Subject>\
<oscimeta:Service>http://www.osci.de/x.wsdl</oscimeta:Service><oscimeta:BusinessScenario>\
<oscimeta:Defined listURI=\"urn:l\" listVersionID=\"3.6\"><code>XMELD_DATA</code><name>N</name></oscimeta:Defined>\
</oscimeta:BusinessScenario><oscimeta:MessageType listURI=\"urn:m\" listVersionID=\"1.0\" payloadSchema=\"urn:s\">\
<code>0201</code></oscimeta:MessageType></oscimeta:Qualifier><oscimeta:MessageProperties><oscimeta:Property>\
<oscimeta:Key listURI=\"urn:k\" listVersionID=\"1\"><code>K</code></oscimeta:Key><oscimeta:Value>V</oscimeta:Value>\
</oscimeta:Property></oscimeta:MessageProperties><oscimeta:MsgSize>47</oscimeta:MsgSize></oscimeta:MessageMetaData>";

#[test]
fn everything_comes_back_as_it_was() {
    let envelope = read(FULL).expect("metadata");
    assert_eq!(written(&envelope), FULL);
    assert_eq!(read(&written(&envelope)).as_ref(), Ok(&envelope));
    assert_eq!(envelope.obsolete_after.expect("a day").at.to_string(), "2026-12-31T23:00:00Z");
    assert_eq!(envelope.not_before.expect("an instant").at.to_string(), "2026-11-30T23:00:00Z");
    let (one, two) =
        envelope.receipt_requests.zip(envelope.author.security_tokens.first().cloned()).expect("both");
    assert!(!one.contains("unused") && !two.contains("unused"));
}

#[test]
fn what_clients_in_the_field_leave_out() {
    let short = "<oscimeta:MessageMetaData><oscimeta:DeliveryAttributes><oscimeta:InitialSend>2020-01-01T00:00:00Z\
        </oscimeta:InitialSend></oscimeta:DeliveryAttributes><oscimeta:Originators><oscimeta:Author><oscimeta:Identifier>\
        a</oscimeta:Identifier></oscimeta:Author></oscimeta:Originators><oscimeta:Destinations><oscimeta:Reader>\
        <oscimeta:Identifier> b </oscimeta:Identifier></oscimeta:Reader></oscimeta:Destinations>\
        <oscimeta:MsgIdentification><wsa:MessageID> urn:x </wsa:MessageID></oscimeta:MsgIdentification>\
        <oscimeta:Qualifier><oscimeta:Service/></oscimeta:Qualifier></oscimeta:MessageMetaData>";
    let envelope = read(short).expect("metadata");
    assert_eq!((envelope.reader.identifier.value(), envelope.reader.identifier.kind()), ("b", None));
    assert_eq!(envelope.qualifier, Qualifier::default());
    assert_eq!(envelope.id.as_str(), "urn:x");
    assert_eq!(envelope.token_container, None);
    let nil = "<osci:X509TokenContainer xmlns:n=\"http://www.w3.org/2001/XMLSchema-instance\" n:nil=\"1\"/>";
    let found = headers(&format!("{short}{nil}"));
    assert!(found[1].is(OSCI, "X509TokenContainer") && found[1].is_nil());
    let container = "<osci:X509TokenContainer validateCompleted=\"true\"><osci:X509TokenInfo Id=\"soap:x\"/></osci:X509TokenContainer>";
    let standalone = read(&format!("{short}{container}")).expect("metadata").token_container.expect("tokens");
    // `soap` may be meant as a prefix in a value, so its declaration goes along.
    assert!(standalone.contains("xmlns:osci=") && standalone.contains("xmlns:soap="), "{standalone}");
    assert!(!standalone.contains("xmlns:wsa="), "{standalone}");
}

#[test]
fn refused() {
    let without = |from: &str, to: &str| FULL.replace(from, to);
    for (metadata, expected) in [
        (without("<wsa:MessageID>urn:de:xta:messageid:amt:1</wsa:MessageID>", ""), "MessageID is missing"),
        (without(">ags:1<", "><"), "must not be empty"),
        (without("amt:1<", "a b<"), "printable"),
        (without("2026-12-31<", "soon<"), "ObsoleteAfter"),
        (without(">47<", ">many<"), "MsgSize"),
        (without("\"true\"><oscimeta:Del", "\"maybe\"><oscimeta:Del"), "TestMsg"),
        (without("<oscimeta:Reader>", "<oscimeta:Reader/><oscimeta:Reader>"), "more than once"),
        (without("oscimeta:Originators", "oscimeta:Others"), "Originators is missing"),
    ] {
        let error = read(&metadata).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
