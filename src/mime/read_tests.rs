//! Tables for the multipart reader. Every case is read in chunks of several sizes, with equal outcome.

use super::*;

const HEAD: &str = "multipart/related; boundary=b";

/// Parts as (Content-ID, body).
type Parts = Vec<(Option<String>, Vec<u8>)>;

fn drive(reader: &mut MultipartReader, body: &[u8], chunk: usize) -> Result<(Parts, usize), Error> {
    let mut parts: Parts = Vec::new();
    let (mut open, mut ends) = (false, 0);
    for mut input in body.chunks(chunk) {
        while let Some(event) = reader.next_event(&mut input)? {
            match event {
                Event::EntityHeaders(_) => assert!(parts.is_empty()),
                Event::PartStart(headers) => {
                    assert!(!std::mem::replace(&mut open, true));
                    parts.push((headers.content_id().map(|id| id.as_str().to_owned()), Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(data);
                }
                Event::PartEnd => assert!(std::mem::replace(&mut open, false)),
                Event::End => ends += 1,
            }
        }
        assert!(input.is_empty());
    }
    reader.finish()?;
    assert!(!open);
    Ok((parts, ends))
}

fn check_with(limits: &Limits, head: &str, body: &str, expected: Result<&[(Option<&str>, &str)], Error>) {
    for chunk in [1, 2, 3, 4, 5, 7, 16, 1 << 20] {
        let kind = MediaType::parse(head).unwrap();
        let outcome = MultipartReader::new(&kind, limits.clone())
            .and_then(|mut reader| drive(&mut reader, body.as_bytes(), chunk));
        let expected = expected.clone().map(|parts| {
            let parts = parts.iter().map(|(id, body)| (id.map(str::to_owned), body.as_bytes().to_vec()));
            (parts.collect::<Parts>(), 1)
        });
        assert_eq!(outcome, expected, "in chunks of {chunk}: {body:?}");
    }
}

fn check(body: &str, expected: Result<&[(Option<&str>, &str)], Error>) {
    check_with(&Limits::default(), HEAD, body, expected);
}

#[test]
fn bodies_are_delivered_byte_for_byte() {
    check("--b\r\n\r\nx\r\n--b--\r\n", Ok(&[(None, "x")]));
    check(
        "--b\r\nContent-ID: <a>\r\n\r\nx\r\n--b\r\ncontent-id: c\r\n\r\ny\r\n--b--",
        Ok(&[(Some("a"), "x"), (Some("c"), "y")]),
    );
    check("\r\npreamble\r\n--b \t\r\n\r\nx\r\n--b--  \r\nepilogue\r\n--b\r\n", Ok(&[(None, "x")]));
    check("--b\r\n\r\n\r\n--b\r\n\r\n--b--\r\n", Ok(&[(None, ""), (None, "")]));
    check("--b\r\n\r\n\r\n\r\n--b--\r\n", Ok(&[(None, "\r\n")]));
}

#[test]
fn data_like_a_delimiter_stays_data() {
    for data in [
        "--b",
        "--bad start\r\n-",
        "x--b\r\n",
        "\r\n--c",
        "\r\r\n-\r\n--",
        "\n--b\r\n\nq",
        "\r\n-\r\n--B\r\n",
        "\r",
    ] {
        let body = format!("--b\r\n\r\n:{data}\r\n--b--\r\n");
        check(&body, Ok(&[(None, &format!(":{data}"))]));
    }
}

#[test]
fn ambiguous_or_broken_framing_is_refused() {
    check("--b\r\n\r\nx\r\n--bb\r\n", Err(Error::DelimiterAmbiguous));
    check("--b\r\n\r\nx\r\n--b\n\r\n", Err(Error::DelimiterAmbiguous));
    check("--b\r\n\r\nx\r\n--b-x", Err(Error::DelimiterAmbiguous));
    check("--b\r\n\r\nx\r\n--b--x\r\n", Err(Error::DelimiterAmbiguous));
    check("--b\r\n\r\nx\r\n--b \rx", Err(Error::DelimiterAmbiguous));
    check("--b\r\n\r\n--bold\r\n--b--", Err(Error::DelimiterAmbiguous));
    check("--b--\r\n", Err(Error::NoPart));
    check("--b\r\n\r\nx\r\n", Err(Error::Truncated { part: 1 }));
    check("--b\r\n\r\nx\r\n--b", Err(Error::Truncated { part: 1 }));
    check("--b\r\n\r\nx\r\n--b-", Err(Error::Truncated { part: 1 }));
    check("--b\r\nA: b\r\n", Err(Error::Truncated { part: 0 }));
    check("no delimiter\r\n--c\r\n", Err(Error::BoundaryNotFound));
    check("", Err(Error::BoundaryNotFound));
}

#[test]
fn headers_are_strict() {
    let with = |line: &str| format!("--b\r\n{line}\r\n\r\nx\r\n--b--\r\n");
    check(&with("A: b\nB: c"), Err(Error::HeaderInvalid("line ends with LF alone")));
    check(&with("A: b\0"), Err(Error::HeaderInvalid("control character")));
    check(&with("A: b\rB: c"), Err(Error::HeaderInvalid("control character")));
    check(&with("no colon"), Err(Error::HeaderInvalid("no colon")));
    check(&with("A : b"), Err(Error::HeaderInvalid("name is not a token")));
    check(&with(" folded: first"), Err(Error::HeaderInvalid("folded line without a field")));
    check(&with("Content-ID: <a>\r\ncontent-id: <b>"), Err(Error::HeaderTwice("content-id".to_owned())));
    check(&with("Content-ID: <>"), Err(Error::ContentIdInvalid));
    check(&with("Content-ID:\r\n <a>"), Ok(&[(Some("a"), "x")]));
}

#[test]
fn two_parts_of_one_content_id_are_refused() {
    let two = |a: &str, b: &str| {
        format!("--b\r\nContent-ID: {a}\r\n\r\nx\r\n--b\r\nContent-ID: {b}\r\n\r\ny\r\n--b--\r\n")
    };
    check(&two("<a>", "a"), Err(Error::ContentIdTwice("a".to_owned())));
    check(&two("<a%40b>", "<a@b>"), Err(Error::ContentIdTwice("a@b".to_owned())));
    check(&two("<a@b>", "<a%40b>"), Err(Error::ContentIdTwice("a%40b".to_owned())));
    check(&two("<a>", "<A>"), Ok(&[(Some("a"), "x"), (Some("A"), "y")]));
}

#[test]
fn limits_name_themselves() {
    let limits = Limits {
        header_block_bytes_max: 20,
        header_fields_max: 2,
        parts_max: 2,
        boundary_chars_max: 5,
        preamble_bytes_max: 10,
        epilogue_bytes_max: 12,
    };
    let exceeded = |limit, value, seen| Err(Error::LimitExceeded { limit, value, seen });
    let part = "\r\n--b\r\n\r\nx";
    check_with(&limits, HEAD, &format!("{}\r\n--b--", part.repeat(2)), Ok(&[(None, "x"), (None, "x")]));
    check_with(
        &limits,
        HEAD,
        &format!("{}\r\n--b--", part.repeat(3)),
        exceeded("parts of the message", 2, 3),
    );
    let fields = "--b\r\nA:1\r\nB:1\r\nC:1\r\n\r\nx\r\n--b--";
    check_with(&limits, HEAD, fields, exceeded("header fields of a part", 2, 3));
    let long = "multipart/mixed; boundary=bbbbbb";
    check_with(&limits, long, "", exceeded("characters of the boundary", 5, 6));

    for (body, limit) in [
        ("--b\r\nA: 12345678901234567890\r\n\r\n".to_owned(), "bytes of a header block"),
        ("x".repeat(11), "bytes before the parts"),
        (format!("--b\r\n\r\nx\r\n--b--\r\n{}", "e".repeat(11)), "bytes behind the parts"),
        (format!("--b{}", " ".repeat(20)), "bytes before the parts"),
    ] {
        for chunk in [1, 3, 100] {
            let mut reader = MultipartReader::new(&MediaType::parse(HEAD).unwrap(), limits.clone()).unwrap();
            let outcome = drive(&mut reader, body.as_bytes(), chunk);
            let Err(Error::LimitExceeded { limit: named, .. }) = &outcome else {
                panic!("{body:?}: {outcome:?}")
            };
            assert_eq!(*named, limit, "{body:?}");
            assert_eq!(reader.finish(), Err(outcome.unwrap_err()), "an error stays");
        }
    }
}

#[test]
fn boundaries_are_checked() {
    for (head, expected) in [
        ("text/xml; boundary=b", Error::NotMultipart("text/xml".to_owned())),
        ("multipart/related", Error::BoundaryMissing),
        ("multipart/related; boundary=\"\"", Error::BoundaryInvalid),
        ("multipart/related; boundary=\"a\u{e4}\"", Error::BoundaryInvalid),
        ("multipart/related; boundary=\"a \"", Error::BoundaryInvalid),
    ] {
        let outcome = MultipartReader::new(&MediaType::parse(head).unwrap(), Limits::default()).map(|_| ());
        assert_eq!(outcome, Err(expected), "{head}");
    }
    for boundary in ["==SOAP+/:=", "uuid:f-1", "a;b=c", "a b"] {
        let head = format!("multipart/related; boundary=\"{boundary}\"");
        let body = format!("--{boundary}\r\n\r\nx\r\n--{boundary}--\r\n");
        check_with(&Limits::default(), &head, &body, Ok(&[(None, "x")]));
    }
}

#[test]
fn entity_headers_inside_the_body() {
    let body = "\r\nMIME-Version: 1.0\r\nContent-Type: Multipart/Related; boundary=B/+=;\r\n type=text/xml\r\n\r\n\
                --B/+=\r\nContent-Type: text/xml; charset=UTF-8\r\nContent-Transfer-Encoding: 8-bit\r\n\
                Content-ID: <osci@message>\r\nContent-Length: 9\r\nX-Own: kept\r\n\r\n<e/>\r\n--B/+=--\r\n";
    for chunk in [1, 3, 1000] {
        let mut reader = MultipartReader::with_entity_headers(Limits::default());
        let (parts, _) = drive(&mut reader, body.as_bytes(), chunk).unwrap();
        assert_eq!(parts, [(Some("osci@message".to_owned()), b"<e/>".to_vec())]);
    }
    let mut reader = MultipartReader::with_entity_headers(Limits::default());
    let mut input = body.as_bytes();
    let Some(Event::EntityHeaders(headers)) = reader.next_event(&mut input).unwrap() else { panic!() };
    assert_eq!(headers.field("mime-version"), Some("1.0"));
    let Some(Event::PartStart(headers)) = reader.next_event(&mut input).unwrap() else { panic!() };
    assert_eq!(headers.transfer_encoding(), Ok(TransferEncoding::Identity));
    assert_eq!(headers.field("x-own"), Some("kept"));
    assert!(headers.media_type().unwrap().unwrap().is("text/xml"));

    for (body, expected) in [
        ("MIME-Version: 1.0\r\n\r\n--b\r\n", Error::BoundaryMissing),
        ("MIME-Version: 1.0\r\n", Error::HeaderTruncated),
        ("<soap:Envelope/>\r\n\r\n", Error::HeaderInvalid("name is not a token")),
    ] {
        let mut reader = MultipartReader::with_entity_headers(Limits::default());
        assert_eq!(drive(&mut reader, body.as_bytes(), 5), Err(expected), "{body}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Chunks make no difference, and bodies come back as they were written.
    #[test]
    fn any_sequence_of_tokens(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "--b", "--", "\r\n", "\r", "\n", "-", "b", "x", "\r\n--b", "\r\n--b\r\n", "\r\n\r\n", "A: b", "Content-ID: <a>", " ", ":", "--b--",
    ]), 0..24)) {
        let text = tokens.concat();
        let kind = MediaType::parse(HEAD).unwrap();
        let read = |body: &str, chunk: usize| {
            let mut reader = MultipartReader::new(&kind, Limits::default()).unwrap();
            drive(&mut reader, body.as_bytes(), chunk)
        };
        let framed = format!("--b\r\n\r\n{text}\r\n--b--");
        for body in [text.as_str(), &framed] {
            let whole = read(body, 1 << 20);
            for chunk in [1, 2, 3, 5] {
                proptest::prop_assert_eq!(read(body, chunk), whole.clone(), "chunks of {}", chunk);
            }
        }
        if !text.contains("\r\n--b") && !text.starts_with("--b") {
            proptest::prop_assert_eq!(read(&framed, 3), Ok((vec![(None, text.into_bytes())], 1)));
        }
    }
}
