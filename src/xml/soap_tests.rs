//! Tables for the SOAP envelope.

use super::*;

const S12: &str = "xmlns:s='http://www.w3.org/2003/05/soap-envelope'";

fn parse(document: &str) -> Result<Envelope, Error> {
    Envelope::parse(document.as_bytes(), &Default::default(), &Default::default())
}

fn check(inner: &str, expected: Result<(usize, Option<&str>), Error>) {
    let document = format!("<s:Envelope {S12}>{inner}</s:Envelope>");
    let found = parse(&document).map(|envelope| {
        (envelope.frame.header_blocks.len(), envelope.body_child.map(|child| child.local().to_owned()))
    });
    assert_eq!(found, expected.map(|(blocks, child)| (blocks, child.map(str::to_owned))), "{inner}");
}

#[test]
fn envelopes() {
    check("<s:Body/>", Ok((0, None)));
    check(" <s:Header/>\n<s:Body> <a/> </s:Body> ", Ok((0, Some("a"))));
    check(
        "<s:Header><x/> <y><s:Body/></y><!-- --></s:Header><s:Body><a><s:Body/></a></s:Body>",
        Ok((2, Some("a"))),
    );
    check("<s:Body/><s:Body/>", Err(Error::Twice("Body")));
    check("<s:Header/><s:Header/><s:Body/>", Err(Error::Twice("Header")));
    check("<s:Header/><s:Body/><s:Header/>", Err(Error::Twice("Header")));
    check("<s:Body/><s:Header/>", Err(Error::HeaderAfterBody));
    check("<s:Body><a/><b/></s:Body>", Err(Error::Twice("child of Body")));
    check("<s:Body><s:Body/><s:Body/></s:Body>", Err(Error::Twice("child of Body")));
    check("", Err(Error::BodyMissing));
    check("<s:Header/>", Err(Error::BodyMissing));
    check("<s:Body/><x/>", Err(Error::Unexpected("x".to_owned())));
    check("<x/><s:Body/>", Err(Error::Unexpected("x".to_owned())));
    check("<Body/>", Err(Error::Unexpected("Body".to_owned())));
    check("x<s:Body/>", Err(Error::Text("Envelope")));
    check("<s:Body/>x", Err(Error::Text("Envelope")));
    check("<s:Header>x<a/></s:Header><s:Body/>", Err(Error::Text("Header")));
    check("<s:Body>x</s:Body>", Err(Error::Text("Body")));
    check("<s:Body><a/>x</s:Body>", Err(Error::Text("Body")));
    let flood = format!("<s:Header>{}</s:Header><s:Body/>", "<a/>".repeat(65));
    check(&flood, Err(Error::HeaderBlocks { max: 64 }));
}

#[test]
fn versions() {
    let with =
        |ns: &str| parse(&format!("<Envelope xmlns='{ns}'><Body/></Envelope>")).map(|e| e.frame.version);
    assert_eq!(with("http://schemas.xmlsoap.org/soap/envelope/"), Ok(Version::Soap11));
    assert_eq!(with("http://www.w3.org/2003/05/soap-envelope"), Ok(Version::Soap12));
    assert_eq!(with("urn:x"), Err(Error::VersionMismatch("urn:x".to_owned())));
    assert_eq!(parse("<a/>").unwrap_err(), Error::NotAnEnvelope);
    assert!(matches!(parse("<!DOCTYPE a><a/>"), Err(Error::Xml(_))));
    // A Body of the other version is not this envelope's Body.
    let mixed = format!(
        "<s:Envelope {S12}><b:Body xmlns:b='http://schemas.xmlsoap.org/soap/envelope/'/></s:Envelope>"
    );
    assert_eq!(parse(&mixed).unwrap_err(), Error::Unexpected("Body".to_owned()));
}

#[test]
fn spans_cut_the_parts_out_of_the_document() {
    let document = format!(
        "\n<s:Envelope {S12} k='v'><s:Header><a x='1'/></s:Header><s:Body Id='b'> <c>1</c>\n</s:Body></s:Envelope>\n"
    );
    let envelope = parse(&document).unwrap();
    let cut = |span: Range<u64>| &document[span.start as usize..span.end as usize];
    let frame = envelope.frame;
    assert_eq!(cut(frame.envelope_span.clone()), document.trim());
    assert_eq!(cut(frame.header_blocks[0].span()), "<a x='1'/>");
    assert_eq!(cut(frame.body_span.clone()), "<s:Body Id='b'> <c>1</c>\n</s:Body>");
    assert_eq!(cut(frame.body_child_span.clone()), "<c>1</c>");
    assert_eq!(frame.body_attributes[0].value, "b");
    assert_eq!(frame.envelope_attributes[0].value, "v");
}

/// As the XTA door does it: the header is known before the body, whose text is taken in pieces.
#[test]
fn a_large_body_is_streamed() {
    let mut reader = crate::xml::read::Reader::new(Default::default());
    let mut envelope = EnvelopeReader::new(Limits::default());
    let head = format!("<s:Envelope {S12}><s:Header><m>id</m></s:Header><s:Body><c><d>");
    let block = "QUJDREVG".repeat(10_000);
    let mut decoder = crate::mime::transfer::Base64Decoder::new();
    let (mut decoded, mut octets) = (Vec::new(), 0);
    let mut feed = |mut input: &[u8]| {
        while let Some(event) = reader.next_event(&mut input).unwrap() {
            match (envelope.push(&event).unwrap(), &event) {
                (Step::BodyContent, Event::Text(piece)) => {
                    assert_eq!(envelope.frame().header_blocks[0].text(), "id");
                    decoder.decode(piece.as_bytes(), &mut decoded).unwrap();
                    octets += decoded.len();
                    decoded.clear();
                }
                (Step::BodyContent, Event::Start(start)) => assert!(start.is("", "c") || start.is("", "d")),
                _ => {}
            }
        }
    };
    feed(head.as_bytes());
    for _ in 0..50 {
        feed(block.as_bytes());
    }
    feed(b"</d></c></s:Body></s:Envelope>");
    reader.finish().unwrap();
    assert!(envelope.is_in_body());
    assert_eq!(octets, 50 * 10_000 * 6);
    decoder.finish().unwrap();
    assert_eq!(envelope.finish().unwrap().header_blocks.len(), 1);
}

#[test]
fn addressing_values() {
    let with = |header: &str| {
        let wsa = format!("xmlns:a='{NS_ADDRESSING}'");
        let document = format!("<s:Envelope {S12} {wsa}><s:Header>{header}</s:Header><s:Body/></s:Envelope>");
        Addressing::from_frame(&parse(&document).unwrap().frame)
    };
    assert_eq!(with("<Action>none</Action>"), Ok(Addressing::default()));
    assert_eq!(with("<a:Action> </a:Action>"), Ok(Addressing::default()));
    let full = Addressing {
        action: Some("http://x/Do".to_owned()),
        message_id: Some("uuid:1".to_owned()),
        relates_to: Some("uuid:0".to_owned()),
        to: Some("http://y".to_owned()),
        reply_to: Some(format!("{NS_ADDRESSING}/anonymous")),
    };
    assert_eq!(with(&full.to_xml()), Ok(full.clone()));
    assert_eq!(
        with("<a:Action s:mustUnderstand='1'>\n http://x/Do<!-- --></a:Action>").unwrap().action,
        full.action
    );
    assert_eq!(with("<a:Action>x</a:Action><a:Action>y</a:Action>"), Err(Error::AddressingTwice("Action")));
    assert_eq!(
        with("<a:MessageID>x</a:MessageID><a:MessageID>x</a:MessageID>"),
        Err(Error::AddressingTwice("MessageID"))
    );
}

#[test]
fn faults_are_read_back() {
    let fault = Fault {
        code: FaultCode::Sender,
        reason: "Größe < 40 & mehr".to_owned(),
        language: "de".to_owned(),
        detail: "<x:E xmlns:x='urn:x'><code>9023</code></x:E>".to_owned(),
    };
    let addressing = Addressing { action: Some("urn:a".to_owned()), ..Addressing::default() };
    let s12 = parse(&fault.to_envelope(Version::Soap12, &addressing.to_xml())).unwrap();
    assert_eq!(Addressing::from_frame(&s12.frame).unwrap(), addressing);
    let ns = Version::Soap12.namespace();
    let body = s12.body_child.unwrap();
    assert!(body.is(ns, "Fault"));
    assert_eq!(body.descend(&[(ns, "Code"), (ns, "Value")]).unwrap().text(), "soap:Sender");
    let text = body.descend(&[(ns, "Reason"), (ns, "Text")]).unwrap();
    assert_eq!(
        (text.text().as_str(), text.attribute(crate::xml::NS_XML, "lang")),
        ("Größe < 40 & mehr", Some("de"))
    );
    assert_eq!(body.descend(&[(ns, "Detail"), ("urn:x", "E"), ("", "code")]).unwrap().text(), "9023");

    let s11 = parse(&fault.to_envelope(Version::Soap11, "")).unwrap();
    let body = s11.body_child.unwrap();
    assert_eq!(body.child("", "faultcode").unwrap().text(), "soap:Client");
    assert_eq!(body.descend(&[("", "detail"), ("urn:x", "E")]).unwrap().children().count(), 1);
    assert_eq!(s11.frame.version, Version::Soap11);
}
