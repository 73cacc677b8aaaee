//! Tables for the reader. Every document is read in chunks of several sizes, from a slice and from a stream.

use super::*;

/// One line per event, text pieces joined.
fn describe(event: &Event<'_>, out: &mut Vec<String>) {
    let named = |name: &Name<'_>| {
        let ns = if name.ns.is_empty() { String::new() } else { format!("{{{}}}", name.ns) };
        format!("{ns}{}", name.local)
    };
    match event {
        Event::Start(start) => {
            let mut line = format!("<{}", named(&start.name()));
            for attribute in start.attributes() {
                line.push_str(&format!(" {}={:?}", named(&attribute.name), attribute.value));
            }
            out.push(line);
        }
        Event::End(end) => out.push(format!(">{}", named(&end.name()))),
        Event::Text(piece) => match out.last_mut().and_then(|last| last.strip_prefix('"').map(str::to_owned))
        {
            Some(text) => *out.last_mut().unwrap() = format!("\"{text}{piece}"),
            None => out.push(format!("\"{piece}")),
        },
        Event::Comment(text) => out.push(format!("!{text}")),
        Event::ProcessingInstruction { target, data } => out.push(format!("?{target}|{data}")),
    }
}

fn read_in_chunks(document: &[u8], chunk: usize, limits: &Limits) -> Result<Vec<String>, Error> {
    let mut reader = Reader::new(limits.clone());
    let mut out = Vec::new();
    for mut input in document.chunks(chunk) {
        while let Some(event) = reader.next_event(&mut input)? {
            describe(&event, &mut out);
        }
        assert!(input.is_empty());
    }
    reader.finish()?;
    Ok(out)
}

fn outcome(document: &[u8], limits: &Limits) -> Result<Vec<String>, Error> {
    outcome_with(document, limits, true)
}

/// With several faults in one document, chunks decide which is met first; `same_fault` is for documents with one.
fn outcome_with(document: &[u8], limits: &Limits, same_fault: bool) -> Result<Vec<String>, Error> {
    let mut slice = SliceReader::new(document, limits.clone());
    let mut out = Vec::new();
    let expected = loop {
        match slice.next_event() {
            Ok(Some(event)) => describe(&event, &mut out),
            Ok(None) => break Ok(out),
            Err(error) => break Err(error),
        }
    };
    let kind = |result: &Result<Vec<String>, Error>| match result {
        // How much was seen of what is too much depends on the chunks.
        Err(Error { kind: ErrorKind::LimitExceeded { limit, .. }, .. }) => Err((*limit).to_owned()),
        Err(error) if same_fault => Err(error.kind.to_string()),
        Err(_) => Err("some fault".to_owned()),
        Ok(events) => Ok(events.clone()),
    };
    for chunk in [1, 2, 3, 5, 8, 64] {
        let chunked = read_in_chunks(document, chunk, limits);
        assert_eq!(kind(&chunked), kind(&expected), "chunks of {chunk}");

        let mut stream =
            StreamReader::new(std::io::BufReader::with_capacity(chunk, document), limits.clone());
        let mut out = Vec::new();
        let streamed = loop {
            match stream.next_event() {
                Ok(Some(event)) => describe(&event, &mut out),
                Ok(None) => break Ok(out),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(kind(&streamed), kind(&chunked), "stream of {chunk}");
    }
    expected
}

fn check(document: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(outcome(document.as_bytes(), &Limits::default()), Ok(expected), "{document}");
}

fn refused(document: &[u8], kind: ErrorKind) {
    let outcome = outcome(document, &Limits::default());
    assert_eq!(outcome.map_err(|error| error.kind), Err(kind), "{}", String::from_utf8_lossy(document));
}

fn malformed(document: &str, why: &'static str) {
    refused(document.as_bytes(), ErrorKind::NotWellFormed(why));
}

#[test]
fn documents() {
    check("<a/>", &["<a", ">a"]);
    check("\u{FEFF}<?xml version='1.0'?>\r\n\r\n<a />\n", &["<a", ">a"]);
    check("<?xml version=\"1.0\" encoding=\"utf-8\" standalone='no' ?><a></a >", &["<a", ">a"]);
    check("<a>x&lt;&#65;&#x20AC;]]&gt;ä€😀</a>", &["<a", "\"x<A€]]>ä€😀", ">a"]);
    check("<a><![CDATA[<&amp;]]]]>]]&gt;<![CDATA[]]></a>", &["<a", "\"<&amp;]]]]>", ">a"]);
    check("<a><![CDATA[]]]]]]>]</a>", &["<a", "\"]]]]]", ">a"]);
    check("<a>1\r\n2\r3\n4&#13;\n<![CDATA[\r\n\r]]></a>", &["<a", "\"1\n2\n3\n4\r\n\n\n", ">a"]);
    check("<a b='1\t2\r\n3\n4&#9;&#xA;&quot;>' c=\"'\"/>", &["<a b=\"1 2 3 4\\t\\n\\\">\" c=\"'\"", ">a"]);
    check(
        "<!--c\r\n-->\n<a><!-- - --><?p  d ?\r?></a><?q?><!---->",
        &["!c\n", "<a", "! - ", "?p|d ?\n", ">a", "?q|", "!"],
    );
    check("<a\n\tb = '1'\r\nc='2'/>", &["<a b=\"1\" c=\"2\"", ">a"]);
}

#[test]
fn namespaces() {
    check(
        "<p:a xmlns:p='u' xmlns='d' b='1' p:b='2'><b xmlns=''/><c/><p:c xmlns:p='v'/></p:a>",
        &["<{u}a b=\"1\" {u}b=\"2\"", "<b", ">b", "<{d}c", ">{d}c", "<{v}c", ">{v}c", ">{u}a"],
    );
    check(
        "<a xml:lang='de' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        &["<a {http://www.w3.org/XML/1998/namespace}lang=\"de\"", ">a"],
    );
    refused(b"<p:a/>", ErrorKind::PrefixUnbound("p".to_owned()));
    refused(b"<a p:b=''/>", ErrorKind::PrefixUnbound("p".to_owned()));
    refused(b"<a><p:b xmlns:p='u'/><p:c/></a>", ErrorKind::PrefixUnbound("p".to_owned()));
    refused(b"<xmlns:a/>", ErrorKind::PrefixUnbound("xmlns".to_owned()));
    refused(b"<a b='1' b='2'/>", ErrorKind::AttributeTwice("b".to_owned()));
    refused(b"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", ErrorKind::AttributeTwice("b".to_owned()));
    refused(b"<a xmlns='u' xmlns='u'/>", ErrorKind::AttributeTwice("xmlns".to_owned()));
    refused(b"<a xmlns:p='u' xmlns:p='v'/>", ErrorKind::AttributeTwice("xmlns:p".to_owned()));
    for reserved in [
        "xmlns:xml='u'",
        "xmlns:xmlns='u'",
        "xmlns:p='http://www.w3.org/2000/xmlns/'",
        "xmlns='http://www.w3.org/XML/1998/namespace'",
    ] {
        malformed(&format!("<a {reserved}/>"), "declaration of a reserved prefix or namespace");
    }
    malformed("<a xmlns:p=''/>", "prefix declared with an empty namespace");
}

#[test]
fn what_is_not_well_formed() {
    malformed("<a/><b/>", "second root element");
    malformed("<a></a><b>", "second root element");
    for outside in [
        "x<a/>",
        "<a/>x",
        "<a/>&lt;",
        "<a/><![CDATA[]]>",
        "ä<a/>",
        "<a/>\u{FEFF}",
        "<?xml version='1.0'?>\u{FEFF}<a/>",
    ] {
        malformed(outside, "text outside the root element");
    }
    malformed("<a b='<'/>", "`<` in an attribute value");
    malformed("<a>]]></a>", "`]]>` in text");
    malformed("<a>]]]></a>", "`]]>` in text");
    malformed("<a><![CDATA[]]>]]></a>", "`]]>` in text");
    malformed("<a><!-- -- --></a>", "`--` in a comment");
    malformed("<a><!-- ---></a>", "`--` in a comment");
    for control in [
        "<a>\u{1}</a>",
        "<a b='\u{0}'/>",
        "<a><!--\u{b}--></a>",
        "<a>\u{FFFE}</a>",
        "<a><?p \u{8}?></a>",
        "<a><![CDATA[\u{2}]]></a>",
    ] {
        malformed(control, "character that XML does not allow");
    }
    for reference in ["<a>&#0;</a>", "<a>&#x8;</a>", "<a b='&#xFFFF;'/>", "<a>&#xD800;</a>"] {
        malformed(reference, "reference to a character that XML does not allow");
    }
    for open in [
        "<a>& b;</a>",
        "<a b='&'/>",
        "<a>&;</a>",
        "<a>&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;</a>",
    ] {
        malformed(open, "`&` without a reference");
    }
    malformed("<a b='1'c='2'/>", "no white space between attributes");
    for attribute in ["<a b/>", "<a b=c/>", "<a b>", "<a b='1' / >", "<a =''/>x"] {
        let outcome = outcome(attribute.as_bytes(), &Limits::default());
        assert!(
            matches!(outcome, Err(Error { kind: ErrorKind::NotWellFormed(_) | ErrorKind::Name(_), .. })),
            "{attribute}"
        );
    }
    malformed("<!ELEMENT a>", "`<!` without comment or CDATA");
    malformed(" <?xml version='1.0'?><a/>", "XML declaration that is not at the start");
    malformed("<a><?xml version='1.0'?></a>", "XML declaration that is not at the start");
    malformed("<?XML version='1.0'?><a/>", "XML declaration that is not at the start");
    malformed("<?xml version='1.1'?><a/>", "XML version other than 1.0");
    for declaration in [
        "",
        " encoding='UTF-8'",
        " version=1.0",
        " version='1.0'encoding='UTF-8'",
        " standalone='no' version='1.0'",
        " version='1.0' standalone='maybe'",
        " version='1.0' x='y'",
    ] {
        malformed(&format!("<?xml{declaration}?><a/>"), "XML declaration");
    }
}

#[test]
fn names_are_checked() {
    for (document, name) in [
        ("<1a/>", "1a"),
        ("<a:/>", "a:"),
        ("<:a/>", ":a"),
        ("<a:b:c/>", "a:b:c"),
        ("< a/>", ""),
        ("<a 1='x'/>", "1"),
        ("<a x:='x'/>", "x:"),
        ("<a><?1?></a>", "1"),
        ("<a><?p:q?></a>", "p:q"),
        ("<a><? x?></a>", ""),
        ("<a<b/>", "a<b"),
        ("<a xmlns:1='u'/>", "1"),
    ] {
        let outcome = outcome(document.as_bytes(), &Limits::default()).map_err(|error| error.kind);
        let Err(ErrorKind::Name(found)) = outcome else { panic!("{document}: {outcome:?}") };
        assert!(found.ends_with(name), "{document}: {found}");
    }
}

#[test]
fn doctype_and_entities_are_refused() {
    refused(b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", ErrorKind::Doctype);
    refused(b"<!DOCTYPE a><a/>", ErrorKind::Doctype);
    refused(b"<a>&nbsp;</a>", ErrorKind::Entity("nbsp".to_owned()));
    refused(b"<a b='&x;'/>", ErrorKind::Entity("x".to_owned()));
}

#[test]
fn encodings_are_refused() {
    refused(
        b"<?xml version='1.0' encoding='UTF-16'?><a/>",
        ErrorKind::Encoding("the XML declaration names another one"),
    );
    refused(
        b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>",
        ErrorKind::Encoding("the XML declaration names another one"),
    );
    for start in [b"\xFE\xFF\0<".as_slice(), b"\xFF\xFE<\0", b"\0<\0a"] {
        refused(start, ErrorKind::Encoding("the first byte belongs to another one"));
    }
    for bytes in
        [b"<a>\xC0\xAF</a>".as_slice(), b"<a>\xE4</a>", b"<a b='\xFF'/>", b"<a>\xED\xA0\x80</a>", b"<\xE4/>"]
    {
        refused(bytes, ErrorKind::Encoding("bytes that are not UTF-8"));
    }
}

#[test]
fn truncation_is_noticed() {
    for (document, what) in [
        ("", "there is no root element"),
        (" \n", "there is no root element"),
        ("<!-- x -->", "there is no root element"),
        ("<a>", "an element is open"),
        ("<a><b></b>", "an element is open"),
        ("<a>x&am", "an element is open"),
        ("<a", "markup is open"),
        ("<a/><!--", "markup is open"),
        ("<a/><?p ?", "markup is open"),
    ] {
        refused(document.as_bytes(), ErrorKind::Truncated(what));
    }
    refused(b"\xEF\xBB", ErrorKind::Truncated("markup is open"));
    refused(b"<a></b>", ErrorKind::EndTag { expected: "a".to_owned(), found: "b".to_owned() });
    refused(b"<a/></a>", ErrorKind::EndTag { expected: "no element".to_owned(), found: "a".to_owned() });
}

#[test]
fn limits_name_themselves() {
    let limits = Limits {
        depth_max: 2,
        attributes_max: 2,
        name_bytes_max: 7,
        attribute_value_bytes_max: 5,
        markup_bytes_max: 40,
        namespaces_max: 2,
        context_bytes_max: 17,
        document_bytes_max: 100,
    };
    for (document, named) in [
        ("<a><b><c/></b></a>".to_owned(), "depth of elements"),
        ("<a b='' c='' d=''/>".to_owned(), "attributes of an element"),
        ("<abcdefgh/>".to_owned(), "bytes of a name"),
        ("<a abcdefgh=''/>".to_owned(), "bytes of a name"),
        ("<a b='123456'/>".to_owned(), "bytes of an attribute value"),
        (
            format!("<a>{}</a>", "<!--".to_owned() + &"x".repeat(40)),
            "bytes of a tag, comment or processing instruction",
        ),
        (format!("<a b='{}", "x".repeat(40)), "bytes of a tag, comment or processing instruction"),
        ("<a xmlns='u'><b xmlns:p='v' xmlns:q='w'/></a>".to_owned(), "namespace declarations in scope"),
        ("<abcd xmlns='12345'><abcd xmlns='12345'/></abcd>".to_owned(), "bytes kept for open elements"),
        (format!("<a>{}</a>", "x".repeat(100)), "bytes of the document"),
    ] {
        let outcome = outcome(document.as_bytes(), &limits);
        let Err(Error { kind: ErrorKind::LimitExceeded { limit, .. }, .. }) = &outcome else {
            panic!("{document}: {outcome:?}")
        };
        assert_eq!(*limit, named, "{document}");
    }
    assert!(outcome(b"<a b='12345' c=''><b>x</b><b/></a>", &limits).is_ok());
}

#[test]
fn spans_are_exact() {
    let document = "\u{FEFF}<?xml version='1.0'?>\n<r>ä<!--<a>--><a x='>' ></a\n>&lt;<b/></r>";
    for chunk in [1, 3, 1000] {
        let mut reader = Reader::new(Limits::default());
        let (mut starts, mut spans) = (Vec::new(), Vec::new());
        for mut input in document.as_bytes().chunks(chunk) {
            while let Some(event) = reader.next_event(&mut input).unwrap() {
                match event {
                    Event::Start(start) => starts.push(start.span().start as usize),
                    Event::End(end) => spans.push(&document[starts.pop().unwrap()..end.span().end as usize]),
                    _ => {}
                }
            }
        }
        reader.finish().unwrap();
        assert_eq!(spans, ["<a x='>' ></a\n>", "<b/>", &document[25..]]);
    }
}

#[test]
fn giant_text_costs_no_memory() {
    let mut reader = Reader::new(Limits::default());
    let chunk = "QUJD\n".repeat(2000);
    let mut seen = 0;
    let mut feed = |mut input: &[u8]| {
        while let Some(event) = reader.next_event(&mut input).unwrap() {
            if let Event::Text(piece) = event {
                seen += piece.len();
            }
        }
        (reader.markup.capacity() + reader.scratch.capacity(), seen)
    };
    feed(b"<a>");
    for _ in 0..1000 {
        assert!(feed(chunk.as_bytes()).0 < 100);
    }
    assert_eq!(feed(b"</a>").1, chunk.len() * 1000);
}

#[test]
fn context_is_visible() {
    let document = "<r xmlns='d' xmlns:p='1' xml:lang='de' xml:space='preserve'><m xmlns:p='2' xmlns='' xml:lang='en'><x xml:id='q' xmlns:z='3'/></m></r>";
    let mut reader = SliceReader::new(document.as_bytes(), Limits::default());
    while let Some(event) = reader.next_event().unwrap() {
        let Event::Start(start) = event else { continue };
        if start.is("", "x") {
            let scope: Vec<_> = start.context().in_scope().map(|d| (d.prefix, d.uri)).collect();
            assert_eq!(scope, [("z", "3"), ("p", "2")]);
            let inherited: Vec<_> = start.context().inherited_xml_attributes().collect();
            assert_eq!(inherited, [("lang", "en"), ("space", "preserve"), ("lang", "de")]);
            assert_eq!(start.declarations().map(|d| d.prefix).collect::<Vec<_>>(), ["z"]);
            assert_eq!(start.attribute(crate::xml::NS_XML, "id"), Some("q"));
            assert_eq!(start.context().depth(), 3);
            return;
        }
    }
    panic!("x not seen");
}

#[test]
fn closed_elements_leave_nothing_behind() {
    let limits = Limits { context_bytes_max: 64, namespaces_max: 2, ..Limits::default() };
    let siblings = "<p:b xmlns:p='urn:something' xml:lang='de'><c/></p:b>".repeat(100);
    assert!(outcome(format!("<a>{siblings}</a>").as_bytes(), &limits).is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Whatever comes, the reader neither panics nor sees different things in different chunks, and what it accepts
    /// it reads the same from a canonical copy.
    #[test]
    fn any_sequence_of_tokens(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "<a>", "</a>", "<a", ">", "/>", " b='1'", " p:c=\"2\"", " xmlns='d'", " xmlns:p='u'", "<p:a>", "</p:a>", "<!--", "-->",
        "--", "<![CDATA[", "]]>", "]", "]]", "&lt;", "&#13;", "&", ";", "\r\n", "\r", "\n", "\t", "x", "ä", "<?p", "?>", "<?xml version='1.0'?>",
        "\u{FEFF}", "\u{1}", "=", "'", "\"", "<", "<a/>", "<!DOCTYPE a>",
    ]), 0..24)) {
        let limits = Limits::default();
        for document in [tokens.concat(), format!("<a xmlns:p='u'>{}</a>", tokens.concat())] {
            if let Ok(events) = outcome_with(document.as_bytes(), &limits, false) {
                let mut canonicalizer = crate::xml::c14n::Canonicalizer::new(crate::xml::c14n::Algorithm::InclusiveWithComments, "");
                let mut reader = SliceReader::new(document.as_bytes(), limits.clone());
                let mut canonical = Vec::new();
                while let Some(event) = reader.next_event().unwrap() {
                    canonicalizer.push(&event, &mut |bytes| canonical.extend_from_slice(bytes));
                }
                let attributes_aside = |events: Vec<String>| -> Vec<String> {
                    events.into_iter().map(|line| if line.starts_with('<') { line.split(' ').next().unwrap_or_default().to_owned() } else { line }).collect()
                };
                let again = outcome(&canonical, &limits).unwrap();
                proptest::prop_assert_eq!(attributes_aside(again), attributes_aside(events));
            }
        }
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let document = [b"<a>".as_slice(), &bytes, b"</a>"].concat();
        let _ = outcome_with(&bytes, &Limits::default(), false);
        let _ = outcome_with(&document, &Limits::default(), false);
    }
}
