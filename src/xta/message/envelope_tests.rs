//! The envelope, read in pieces cut anywhere.

use super::*;
use crate::xta::message::names::{OSCIMETA, XTA};

fn limits() -> EnvelopeLimits {
    EnvelopeLimits {
        xml: xml::Limits::default(),
        envelope_bytes_max: 4000,
        content_text_bytes_max: 1000,
        items_max: 3,
        fragments_max: 2,
        elements_max: 50,
    }
}

/// What came of an envelope: its items' octets, or why it was refused.
fn read(document: &str, piece: usize) -> Result<(Envelope, Vec<(usize, String)>), EnvelopeError> {
    let mut reader = EnvelopeReader::new(limits());
    let mut contents: Vec<(usize, Vec<u8>)> = Vec::new();
    for chunk in document.as_bytes().chunks(piece) {
        let mut input = chunk;
        while let Some(found) = reader.next(&mut input)? {
            match found {
                Piece::Begin(index) => contents.push((index, Vec::new())),
                Piece::Octets(octets) => {
                    contents.last_mut().expect("content has begun").1.extend_from_slice(&octets);
                }
                Piece::End(index) => assert_eq!(contents.last().expect("content has begun").0, index),
            }
        }
    }
    let contents =
        contents.into_iter().map(|(index, octets)| (index, String::from_utf8(octets).expect("text")));
    Ok((reader.finish()?, contents.collect()))
}

fn soap(headers: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"{SOAP}\" xmlns:a=\"{WSA}\" xmlns:x=\"{XTA}\" xmlns:c=\"{XENC}\" xmlns:i=\"{XOP}\" \
         xmlns:m=\"{OSCIMETA}\"><s:Header>{headers}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn content(inside: &str) -> String {
    format!("<x:GenericContentContainer>{inside}</x:GenericContentContainer>")
}

#[track_caller]
fn check(body: &str, expected: Result<&[(usize, &str)], &str>) {
    let document = soap("", body);
    for piece in [1, 2, 3, 7, 64, document.len()] {
        let found = read(&document, piece);
        match (&found, expected) {
            (Ok((_, contents)), Ok(expected)) => {
                let contents: Vec<_> = contents.iter().map(|(at, text)| (*at, text.as_str())).collect();
                assert_eq!(contents, expected, "in pieces of {piece}");
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "in pieces of {piece}: {error}");
            }
            _ => panic!("in pieces of {piece}: {found:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn content_comes_out_decoded_and_in_order() {
    let message = |inside: &str| format!("<x:Message contentType=\"a/b\">{inside}</x:Message>");
    let container = |inside: &str| content(&format!("<x:ContentContainer>{inside}</x:ContentContainer>"));
    let include = "<i:Include href=\"cid:p\"/>";
    check(&container(&message("SGFs\n bG8=")), Ok(&[(0, "Hallo")]));
    check(&container(&message("SGFs<!-- x -->bG8=")), Ok(&[(0, "Hallo")]));
    check(&container(&message("<![CDATA[SGFs]]>bG8&#61;")), Ok(&[(0, "Hallo")]));
    check(&container(&message("")), Ok(&[(0, "")]));
    check(&container(&message(include)), Ok(&[]));
    let two = format!("{}<x:Attachment contentType=\"c\">SGFs</x:Attachment>", message("bG8="));
    check(&container(&two), Ok(&[(0, "lo"), (1, "Hal")]));
    check(&container(&message("SGFs=bG8")), Err("not base64"));
    check(&container(&message("SGFsb")), Err("not base64"));
    check(&container(&message(&format!("SGFs{include}"))), Err("both"));
    check(&container(&message(&format!("{include}SGFs"))), Err("both"));
    check(&container(&message(&include.repeat(2))), Err("both"));
    check(&container(&message("<x:Other/>")), Err("Other has no place in Message"));
    check(&container(&message("<i:Include href=\"http://x\"/>")), Err("not a cid"));
    check(&container(&message("<i:Include/>")), Err("not a cid"));
    check(&container(&message("").repeat(4)), Err("items of content: at most 3"));
    check(&container(&message(&" ".repeat(1100))), Err("at most 1000 bytes of text"));
    // Elsewhere, a Message is no content.
    check("<x:ContentContainer><x:Message>SGFs</x:Message></x:ContentContainer>", Ok(&[]));
}

#[test]
fn encrypted_data_is_kept_as_the_element_it_is() {
    let scope = format!(
        "xmlns:m=\"{OSCIMETA}\" xmlns:i=\"{XOP}\" xmlns:c=\"{XENC}\" xmlns:x=\"{XTA}\" xmlns:a=\"{WSA}\" xmlns:s=\"{SOAP}\""
    );
    let inside = "<k a=\"&lt;&quot;\" xmlns:k=\"k\">&amp;\u{e4}</k>";
    let inside = inside.replace("<k ", "<k:k ").replace("</k>", "</k:k>");
    let written =
        inside.replace("<k:k a=\"&lt;&quot;\" xmlns:k=\"k\">", "<k:k xmlns:k=\"k\" a=\"&lt;&quot;\">");
    let expected = format!("<c:EncryptedData {scope}>{written}</c:EncryptedData>");
    check(&content(&format!("<c:EncryptedData>{inside}</c:EncryptedData>")), Ok(&[(0, expected.as_str())]));

    let body = content(
        "<c:EncryptedData>a<i:Include href=\"cid:1\"/>b<i:Include href=\"cid:2\"/>c</c:EncryptedData>",
    );
    let (envelope, contents) = read(&soap("", &body), 5).expect("read");
    assert_eq!(contents, [(0, format!("<c:EncryptedData {scope}>a"))]);
    let rest =
        vec![("cid:1".to_owned(), b"b".to_vec()), ("cid:2".to_owned(), b"c</c:EncryptedData>".to_vec())];
    assert_eq!(envelope.items[0].source, ItemSource::Encrypted { rest });
}

#[test]
fn frames() {
    let nil = format!("xmlns:n=\"{}\" n:nil=\"true\"", crate::xta::message::names::XSI);
    let (envelope, _) =
        read(&soap(&format!("<m:Author {nil}/><a:Action> urn:a </a:Action>"), "<EmptyBody/>"), 9)
            .expect("read");
    assert_eq!(envelope.header(OSCIMETA, "Author").expect("not twice"), None);
    assert_eq!(envelope.body.expect("a body").local, "EmptyBody");
    for (document, expected) in [
        (soap("<m:Author/><m:Author/>", ""), "twice"),
        ("<a/>".to_owned(), "SOAP 1.2"),
        (soap("", "<a/><b/>"), "b has no place in Body"),
        (soap("", "").replace("<s:Header></s:Header>", "") + "<a/>", "after the root"),
        (soap("", "").replace("</s:Envelope>", "<s:Header/></s:Envelope>"), "Header has no place"),
        (soap("", "").replace("</s:Envelope>", "<s:Body/></s:Envelope>"), "Body occurs more than once"),
        (soap("", "").replace("<s:Body></s:Body>", ""), "Body is missing"),
        (soap("<z s:mustUnderstand=\"1\"/>", ""), "must be understood"),
        (soap(&"<m:SecurityToken/>".repeat(3), ""), "at most 2"),
        (soap(&"<z/>".repeat(60), ""), "elements of the envelope: at most 50"),
        (soap(&"z".repeat(5000), ""), "at most 4000"),
    ] {
        let found = read(&document, 11).map(|(envelope, _)| envelope);
        let sentence = match (found, expected) {
            (Ok(envelope), "twice") => envelope.header(OSCIMETA, "Author").expect_err("twice").to_string(),
            (Ok(_), _) => panic!("{expected}: was read"),
            (Err(error), _) => error.to_string(),
        };
        let part = if expected == "twice" { "more than once" } else { expected };
        let fits = sentence.contains(part) || (part == "after the root" && sentence.contains("root"));
        assert!(fits, "{expected}: {sentence}");
    }
}
