//! Tables for canonicalization: the situations of the recommendations' examples and of known wrong implementations,
//! and a comparison with `xmllint` over random documents.

use super::Algorithm::{Exclusive, ExclusiveWithComments, Inclusive, InclusiveWithComments};
use super::*;
use crate::xml::Limits;
use crate::xml::namespaces::Context;
use crate::xml::read::{Permit, SliceReader, StreamReader};

/// The canonical form of the first element named `apex`, or of the document if that is empty.
fn canonical(document: &str, apex: &str, algorithm: Algorithm, prefix_list: &str) -> String {
    let mut reader = SliceReader::new(document.as_bytes(), Limits::default());
    let mut canonicalizer = Canonicalizer::new(algorithm, prefix_list);
    let mut out = Vec::new();
    let mut inside = apex.is_empty();
    while let Some(event) = reader.next_event().unwrap() {
        inside |= matches!(&event, Event::Start(start) if start.name().local == apex);
        if inside && canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes)) && !apex.is_empty()
        {
            break;
        }
    }
    String::from_utf8(out).unwrap()
}

fn check(document: &str, apex: &str, algorithm: Algorithm, expected: &str) {
    assert_eq!(canonical(document, apex, algorithm, ""), expected, "{algorithm:?} of {apex:?} in {document}");
    for buffer in [1, 7, 64, 4096] {
        let by_runs = by_runs(document.as_bytes(), apex, (algorithm, ""), Limits::default(), buffer);
        assert_eq!(by_runs.unwrap(), expected.as_bytes(), "{algorithm:?} of {apex:?} by runs in {document}");
    }
}

/// The same, with what the reader calls a run taken as it stands.
fn by_runs(
    document: &[u8],
    apex: &str,
    (algorithm, prefix_list): (Algorithm, &str),
    limits: Limits,
    buffer: usize,
) -> Result<Vec<u8>, crate::xml::Error> {
    let mut reader = StreamReader::new(std::io::BufReader::with_capacity(buffer, document), limits);
    let mut canonicalizer = Canonicalizer::new(algorithm, prefix_list);
    let mut out = Vec::new();
    let mut inside = apex.is_empty();
    loop {
        if inside {
            let permit = |context: &Context, prefix: &str| {
                context.resolve(prefix).map_or(Permit::Refused, |uri| canonicalizer.permit(prefix, uri))
            };
            while let Some(run) = reader.plain_run(permit)? {
                run.for_each(|octets| out.extend_from_slice(octets));
            }
        }
        let Some(event) = reader.next_event()? else { return Ok(out) };
        inside |= matches!(&event, Event::Start(start) if start.name().local == apex);
        if inside && canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes)) && !apex.is_empty()
        {
            return Ok(out);
        }
    }
}

/// Pieces of content: mostly well-formed, plain and less plain, and now and then a fault.
fn content() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    const TEXTS: [&[u8]; 24] = [
        b"text",
        b"M\xc3\xbcller",
        b"\n",
        b"\t",
        b"&amp;",
        b"&lt;",
        b"&gt;",
        b"&quot;",
        b"&#65;",
        b">",
        b"]",
        b"]]",
        b"\r\n",
        b"\r",
        b"<!-- c -->",
        b"<![CDATA[<]]>",
        b"<?pi d?>",
        b"<e/>",
        b"<e></e>",
        b"<e ></e>",
        b"<e\n></e >",
        b"<q:c></q:c>",
        b"",
        b"\xe2\x82\xac",
    ];
    const FAULTS: [&[u8]; 10] = [
        b"\xef\xbf\xbf",
        b"\xc3",
        b"\x01",
        b"&x;",
        b"]]>",
        b"&",
        b"</e>",
        b"<e>",
        b"<e x=\"1\" x=\"2\"></e>",
        b"<u:c></u:c>",
    ];
    const TAGS: [(&str, &str); 23] = [
        ("<a>", "</a>"),
        ("<a x=\"1\" y=\"2\">", "</a>"),
        ("<a y=\"2\" x=\"1\">", "</a>"),
        ("<a z=\"3\" x=\"1\" y=\"2\">", "</a>"),
        ("<a x='1'>", "</a>"),
        ("<a  x=\"1\">", "</a>"),
        ("<a x=\"&amp;\">", "</a>"),
        ("<a x=\"&#9;>\">", "</a>"),
        ("<a x=\"\u{e4}\">", "</a>"),
        ("<a xmlns=\"urn:n\">", "</a>"),
        ("<a xmlns=\"\">", "</a>"),
        ("<a xml:lang=\"de\">", "</a>"),
        ("<a p:x=\"1\">", "</a>"),
        ("<a q:x=\"1\">", "</a>"),
        ("<a Id=\"i\">", "</a>"),
        ("<p:b>", "</p:b>"),
        ("<q:b>", "</q:b>"),
        ("<s:b>", "</s:b>"),
        ("<s:b y=\"2\" x=\"1\">", "</s:b>"),
        ("<q:b x=\"1\">", "</q:b>"),
        ("<p:b q:x=\"1\" b=\"2\" a=\"1\">", "</p:b>"),
        ("<p:b xmlns:p=\"urn:q\">", "</p:b>"),
        ("<q:b xmlns:q=\"urn:p\" xmlns:s=\"urn:s\">", "</q:b>"),
    ];
    let text = prop_oneof![
        200 => prop::sample::select(&TEXTS[..]),
        1 => prop::sample::select(&FAULTS[..]),
    ];
    let leaf = text.prop_map(<[u8]>::to_vec);
    let tree = leaf.prop_recursive(5, 40, 6, |inner| {
        (prop::sample::select(&TAGS[..]), prop::collection::vec(inner, 0..6))
            .prop_map(|((start, end), inner)| [start.as_bytes(), &inner.concat(), end.as_bytes()].concat())
    });
    prop::collection::vec(tree, 0..6).prop_map(|trees| trees.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    /// Whether runs are taken or every event is looked at: the octets are the same, and so is what is refused.
    #[test]
    fn runs_change_nothing(
        inner in content(),
        buffer in 1_usize..200,
        depth_max in 5_usize..10,
        context_bytes_max in 40_usize..90,
    ) {
        let document = [&b"<r xmlns:p=\"urn:p\" xmlns:q=\"urn:p\" xmlns:s=\"urn:&amp;&#9;&lt;\"><a><p:b>"[..], &inner, b"</p:b></a></r>"].concat();
        let limits = || Limits { depth_max, context_bytes_max, document_bytes_max: 800, ..Limits::default() };
        for form in [(Inclusive, ""), (Exclusive, ""), (Exclusive, "q s #default")] {
            let by_events = || {
                let mut reader = SliceReader::new(&document, limits());
                let mut canonicalizer = Canonicalizer::new(form.0, form.1);
                let mut out = Vec::new();
                while let Some(event) = reader.next_event()? {
                    canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes));
                }
                Ok::<_, crate::xml::Error>(out)
            };
            let (expected, found) = (by_events(), by_runs(&document, "", form, limits(), buffer));
            // In pieces, the same document may be refused for another of its faults.
            proptest::prop_assert_eq!(expected.ok(), found.ok());
        }
    }
}

#[test]
fn nodes_beside_the_root() {
    let document = "<?xml version=\"1.0\"?>\n\n<?sheet   href=\"d.xsl\"\n type='t'   ?>\n\n<d>Hi<!-- 1\r\n --></d>\n\n<?bare     ?>\n<!-- 2 -->\n\n<!-- 3 -->\n";
    let without = "<?sheet href=\"d.xsl\"\n type='t'   ?>\n<d>Hi</d>\n<?bare?>";
    let with =
        "<?sheet href=\"d.xsl\"\n type='t'   ?>\n<d>Hi<!-- 1\n --></d>\n<?bare?>\n<!-- 2 -->\n<!-- 3 -->";
    for (algorithm, expected) in [
        (Inclusive, without),
        (Exclusive, without),
        (InclusiveWithComments, with),
        (ExclusiveWithComments, with),
    ] {
        check(document, "", algorithm, expected);
    }
    check("<!--a--><b/>", "", InclusiveWithComments, "<!--a-->\n<b></b>");
}

#[test]
fn attributes_and_text() {
    let document = "<d  a='&#9; \t&#xD;&#xA;x>\"&lt;' c='1'\n b = \"2\">1\r\n&#13;<![CDATA[<&>\"]]>&gt;ä&#x10FFFF;\t<e/></d >";
    let expected = "<d a=\"&#x9;  &#xD;&#xA;x>&quot;&lt;\" b=\"2\" c=\"1\">1\n&#xD;&lt;&amp;&gt;\"&gt;ä\u{10FFFF}\t<e></e></d>";
    check(document, "", Inclusive, expected);
    check(document, "", Exclusive, expected);
    // Attributes sort by namespace URI, not by prefix; those of no namespace come first.
    let document = "<d a:x='1' b:y='2' z='3' xml:lang='de' xmlns:b='urn:1' xmlns:a='urn:2' xmlns='urn:0'/>";
    let expected = "<d xmlns=\"urn:0\" xmlns:a=\"urn:2\" xmlns:b=\"urn:1\" z=\"3\" xml:lang=\"de\" b:y=\"2\" a:x=\"1\"></d>";
    check(document, "", Inclusive, expected);
    check(document, "", Exclusive, expected);
}

#[test]
fn superfluous_declarations_vanish() {
    let document = "<d xmlns='' xmlns:a='1'><e xmlns:a='1' xmlns='2'><f xmlns='2' xmlns:a='3'/><g xmlns=''><h xmlns=''/></g></e></d>";
    check(
        document,
        "",
        Inclusive,
        "<d xmlns:a=\"1\"><e xmlns=\"2\"><f xmlns:a=\"3\"></f><g xmlns=\"\"><h></h></g></e></d>",
    );
    check(document, "", Exclusive, "<d><e xmlns=\"2\"><f></f><g xmlns=\"\"><h></h></g></e></d>");
}

#[test]
fn subtrees_in_their_context() {
    let document = "<a:r xmlns:a='1' xmlns:b='2' xmlns='3' xml:lang='de' xml:space='preserve'>\
                    <m xml:lang='en'><b:x a:k='v' xmlns:c='4'><y c:k=''/></b:x></m></a:r>";
    check(
        document,
        "x",
        Inclusive,
        "<b:x xmlns=\"3\" xmlns:a=\"1\" xmlns:b=\"2\" xmlns:c=\"4\" a:k=\"v\" xml:lang=\"en\" xml:space=\"preserve\"><y c:k=\"\"></y></b:x>",
    );
    check(
        document,
        "x",
        Exclusive,
        "<b:x xmlns:a=\"1\" xmlns:b=\"2\" a:k=\"v\"><y xmlns=\"3\" xmlns:c=\"4\" c:k=\"\"></y></b:x>",
    );
    // A default namespace that was undone before the apex is not in scope there.
    let document = "<r xmlns='1'><m xmlns=''><x/></m></r>";
    check(document, "x", Inclusive, "<x></x>");
    check(document, "x", Exclusive, "<x></x>");
    // The signed subtree uses only a prefix; its child undoes a default namespace that was never written.
    let document = "<p:x xmlns:p='1' xmlns='2'><kind xmlns=''/></p:x>";
    check(document, "", Exclusive, "<p:x xmlns:p=\"1\"><kind></kind></p:x>");
    check(document, "", Inclusive, "<p:x xmlns=\"2\" xmlns:p=\"1\"><kind xmlns=\"\"></kind></p:x>");
}

#[test]
fn exclusive_renders_where_used_each_time() {
    check(
        "<a:r xmlns:a='1' xmlns:b='2'><b:x/><y><b:z><b:w xmlns:b='9'><b:v xmlns:b='2'/></b:w></b:z></y></a:r>",
        "",
        Exclusive,
        "<a:r xmlns:a=\"1\"><b:x xmlns:b=\"2\"></b:x><y><b:z xmlns:b=\"2\"><b:w xmlns:b=\"9\"><b:v xmlns:b=\"2\"></b:v></b:w></b:z></y></a:r>",
    );
    // xml is never declared, not even when the document declares it.
    check(
        "<r xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:id='i'/>",
        "",
        Inclusive,
        "<r xml:id=\"i\"></r>",
    );
}

#[test]
fn prefix_list_is_treated_inclusively() {
    let document = "<r xmlns='0' xmlns:a='1' xmlns:b='2' xmlns:c='3'><a:x><b:y xmlns:b='4' xmlns:c='5'/><z xmlns=''/></a:x></r>";
    for (list, expected) in [
        ("", "<a:x xmlns:a=\"1\"><b:y xmlns:b=\"4\"></b:y><z></z></a:x>"),
        ("b", "<a:x xmlns:a=\"1\" xmlns:b=\"2\"><b:y xmlns:b=\"4\"></b:y><z></z></a:x>"),
        (
            "c  #default",
            "<a:x xmlns=\"0\" xmlns:a=\"1\" xmlns:c=\"3\"><b:y xmlns:b=\"4\" xmlns:c=\"5\"></b:y><z xmlns=\"\"></z></a:x>",
        ),
        ("a q", "<a:x xmlns:a=\"1\"><b:y xmlns:b=\"4\"></b:y><z></z></a:x>"),
    ] {
        assert_eq!(canonical(document, "x", Exclusive, list), expected, "{list}");
        let plain = canonical(document, "x", Inclusive, "");
        assert_eq!(
            canonical(document, "x", Inclusive, list),
            plain,
            "the list is none of the inclusive form's business"
        );
    }
}

#[test]
fn canonical_form_is_a_fixed_point() {
    let document = "<a:r xmlns:a='1' xmlns='3'>\r\n<x b='&#9;\n'>&#13;]]&gt;</x><?p q?></a:r>";
    for algorithm in Algorithm::ALL {
        let once = canonical(document, "", algorithm, "");
        assert_eq!(canonical(&once, "", algorithm, ""), once);
    }
}

/// A situation of the specifications' example sections, in words of our own. Documents that need a DTD there (default
/// attributes, entities, attribute types) are told without, because a DTD is refused.
struct Example {
    section: &'static str,
    document: &'static str,
    /// The element whose subtree is taken; empty for the document.
    apex: &'static str,
    prefix_list: &'static str,
    inclusive: &'static str,
    exclusive: &'static str,
}

#[rustfmt::skip]
const EXAMPLES: &[Example] = &[
    Example {
        section: "Canonical XML 3.1: instructions and comments beside the root",
        document: "<?xml version='1.0' encoding='UTF-8'?>\n\n<?style   sheet='a.css'\n   kind='b'   ?>\n\n<letter>Moin<!-- one --></letter>\n\n<?nothing     ?>\n\n<!-- two -->\n\n<!-- three -->",
        apex: "", prefix_list: "",
        inclusive: "<?style sheet='a.css'\n   kind='b'   ?>\n<letter>Moin<!-- one --></letter>\n<?nothing?>\n<!-- two -->\n<!-- three -->",
        exclusive: "<?style sheet='a.css'\n   kind='b'   ?>\n<letter>Moin<!-- one --></letter>\n<?nothing?>\n<!-- two -->\n<!-- three -->",
    },
    Example {
        section: "Canonical XML 3.2: white space in content stays",
        document: "<letter>\n   <tidy>   </tidy>\n   <untidy>   A   B   </untidy>\n   <both>\n      A\n      <tidy>   </tidy>\n      B\n      <untidy>   A   B   </untidy>\n      C\n   </both>\n</letter>",
        apex: "", prefix_list: "",
        inclusive: "<letter>\n   <tidy>   </tidy>\n   <untidy>   A   B   </untidy>\n   <both>\n      A\n      <tidy>   </tidy>\n      B\n      <untidy>   A   B   </untidy>\n      C\n   </both>\n</letter>",
        exclusive: "<letter>\n   <tidy>   </tidy>\n   <untidy>   A   B   </untidy>\n   <both>\n      A\n      <tidy>   </tidy>\n      B\n      <untidy>   A   B   </untidy>\n      C\n   </both>\n</letter>",
    },
    Example {
        section: "Canonical XML 3.3: tags, order of attributes, superfluous declarations",
        document: "<letter>\n   <p1   />\n   <p2   ></p2>\n   <p3   title = \"drei\"   nr=\"3\"   />\n   <p4   title=\"vier\"   nr=\"4\"   ></p4>\n   <p5 a:x=\"last\" b:x=\"before\" x2=\"second\" x=\"it's\" xmlns:b=\"urn:example:1\" xmlns:a=\"urn:example:2\" xmlns=\"urn:example:0\"/>\n   <p6 xmlns=\"\" xmlns:a=\"urn:example:2\">\n      <p7 xmlns=\"urn:example:1\">\n         <p8 xmlns=\"\" xmlns:a=\"urn:example:2\">\n            <p9 xmlns=\"\" xmlns:a=\"urn:example:1\"/>\n         </p8>\n      </p7>\n   </p6>\n</letter>",
        apex: "", prefix_list: "",
        inclusive: "<letter>\n   <p1></p1>\n   <p2></p2>\n   <p3 nr=\"3\" title=\"drei\"></p3>\n   <p4 nr=\"4\" title=\"vier\"></p4>\n   <p5 xmlns=\"urn:example:0\" xmlns:a=\"urn:example:2\" xmlns:b=\"urn:example:1\" x=\"it's\" x2=\"second\" b:x=\"before\" a:x=\"last\"></p5>\n   <p6 xmlns:a=\"urn:example:2\">\n      <p7 xmlns=\"urn:example:1\">\n         <p8 xmlns=\"\">\n            <p9 xmlns:a=\"urn:example:1\"></p9>\n         </p8>\n      </p7>\n   </p6>\n</letter>",
        exclusive: "<letter>\n   <p1></p1>\n   <p2></p2>\n   <p3 nr=\"3\" title=\"drei\"></p3>\n   <p4 nr=\"4\" title=\"vier\"></p4>\n   <p5 xmlns=\"urn:example:0\" xmlns:a=\"urn:example:2\" xmlns:b=\"urn:example:1\" x=\"it's\" x2=\"second\" b:x=\"before\" a:x=\"last\"></p5>\n   <p6>\n      <p7 xmlns=\"urn:example:1\">\n         <p8 xmlns=\"\">\n            <p9></p9>\n         </p8>\n      </p7>\n   </p6>\n</letter>",
    },
    Example {
        section: "Canonical XML 3.4: character references, CDATA, attribute values",
        document: "<letter>\n   <lines>Zeile eins&#x0d;&#10;Zeile zwei</lines>\n   <digit>&#x37;</digit>\n   <sum><![CDATA[a>\"1\" && a<\"9\" ?\"ja\":\"nein\"]]></sum>\n   <sum of='a>\"1\" &amp;&amp; a&lt;\"9\" ?\"ja\":\"nein\"'>ja</sum>\n   <space in=' &apos;   &#x20;&#13;&#xa;&#9;   &apos; '/>\n</letter>",
        apex: "", prefix_list: "",
        inclusive: "<letter>\n   <lines>Zeile eins&#xD;\nZeile zwei</lines>\n   <digit>7</digit>\n   <sum>a&gt;\"1\" &amp;&amp; a&lt;\"9\" ?\"ja\":\"nein\"</sum>\n   <sum of=\"a>&quot;1&quot; &amp;&amp; a&lt;&quot;9&quot; ?&quot;ja&quot;:&quot;nein&quot;\">ja</sum>\n   <space in=\" '    &#xD;&#xA;&#x9;   ' \"></space>\n</letter>",
        exclusive: "<letter>\n   <lines>Zeile eins&#xD;\nZeile zwei</lines>\n   <digit>7</digit>\n   <sum>a&gt;\"1\" &amp;&amp; a&lt;\"9\" ?\"ja\":\"nein\"</sum>\n   <sum of=\"a>&quot;1&quot; &amp;&amp; a&lt;&quot;9&quot; ?&quot;ja&quot;:&quot;nein&quot;\">ja</sum>\n   <space in=\" '    &#xD;&#xA;&#x9;   ' \"></space>\n</letter>",
    },
    Example {
        section: "Canonical XML 3.6: UTF-8, whatever way a character was written",
        document: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<letter>&#174;&#xE4;\u{df}</letter>",
        apex: "", prefix_list: "",
        inclusive: "<letter>\u{ae}\u{e4}\u{df}</letter>",
        exclusive: "<letter>\u{ae}\u{e4}\u{df}</letter>",
    },
    Example {
        section: "Canonical XML 3.7: a subtree takes namespaces and xml: attributes from above",
        document: "<letter xmlns=\"urn:example:0\" xmlns:w=\"urn:example:9\" xml:lang=\"de\"><p1><p2 xmlns=\"\"><p3 nr=\"3\" xml:space=\"preserve\"/></p2></p1></letter>",
        apex: "p3", prefix_list: "",
        inclusive: "<p3 xmlns:w=\"urn:example:9\" nr=\"3\" xml:lang=\"de\" xml:space=\"preserve\"></p3>",
        exclusive: "<p3 nr=\"3\" xml:space=\"preserve\"></p3>",
    },
    Example {
        section: "Exclusive XML Canonicalization 2.1: content in its first envelope",
        document: "<c:mail xmlns:c=\"urn:example:c\"><i:inner xmlns:i=\"urn:example:i\">content</i:inner></c:mail>",
        apex: "inner", prefix_list: "",
        inclusive: "<i:inner xmlns:c=\"urn:example:c\" xmlns:i=\"urn:example:i\">content</i:inner>",
        exclusive: "<i:inner xmlns:i=\"urn:example:i\">content</i:inner>",
    },
    Example {
        section: "Exclusive XML Canonicalization 2.2: moved from one envelope, with xml:lang of its own",
        document: "<c:here xmlns:c=\"urn:example:c\" xmlns:g=\"urn:example:g\"><i:inner xmlns:i=\"urn:example:i\" xml:lang=\"en\"><g:part xmlns:g=\"urn:example:g\"/></i:inner></c:here>",
        apex: "inner", prefix_list: "",
        inclusive: "<i:inner xmlns:c=\"urn:example:c\" xmlns:g=\"urn:example:g\" xmlns:i=\"urn:example:i\" xml:lang=\"en\"><g:part></g:part></i:inner>",
        exclusive: "<i:inner xmlns:i=\"urn:example:i\" xml:lang=\"en\"><g:part xmlns:g=\"urn:example:g\"></g:part></i:inner>",
    },
    Example {
        section: "Exclusive XML Canonicalization 2.2: moved into another envelope, with xml: attributes above",
        document: "<o:there xmlns:i=\"urn:example:j\" xmlns:o=\"urn:example:o\" xml:lang=\"fr\" xml:space=\"preserve\"><i:inner xmlns:i=\"urn:example:i\" xml:lang=\"en\"><g:part xmlns:g=\"urn:example:g\"/></i:inner></o:there>",
        apex: "inner", prefix_list: "",
        inclusive: "<i:inner xmlns:i=\"urn:example:i\" xmlns:o=\"urn:example:o\" xml:lang=\"en\" xml:space=\"preserve\"><g:part xmlns:g=\"urn:example:g\"></g:part></i:inner>",
        exclusive: "<i:inner xmlns:i=\"urn:example:i\" xml:lang=\"en\"><g:part xmlns:g=\"urn:example:g\"></g:part></i:inner>",
    },
    Example {
        section: "Exclusive XML Canonicalization 3: the listed prefixes are kept as the inclusive form keeps them",
        document: "<c:here xmlns:c=\"urn:example:c\" xmlns:g=\"urn:example:g\" xmlns=\"urn:example:0\"><i:inner xmlns:i=\"urn:example:i\"><g:part kind=\"g:x\"/></i:inner></c:here>",
        apex: "inner", prefix_list: "g #default",
        inclusive: "<i:inner xmlns=\"urn:example:0\" xmlns:c=\"urn:example:c\" xmlns:g=\"urn:example:g\" xmlns:i=\"urn:example:i\"><g:part kind=\"g:x\"></g:part></i:inner>",
        exclusive: "<i:inner xmlns=\"urn:example:0\" xmlns:g=\"urn:example:g\" xmlns:i=\"urn:example:i\"><g:part kind=\"g:x\"></g:part></i:inner>",
    },
];

#[test]
fn examples_of_the_specifications() {
    for Example { section, document, apex, prefix_list, inclusive, exclusive } in EXAMPLES {
        for (algorithm, expected) in [(InclusiveWithComments, inclusive), (ExclusiveWithComments, exclusive)]
        {
            assert_eq!(canonical(document, apex, algorithm, prefix_list), *expected, "{section}");
            let comments = [("<!-- one -->", ""), ("\n<!-- two -->", ""), ("\n<!-- three -->", "")];
            let without =
                comments.iter().fold((*expected).to_owned(), |text, (from, to)| text.replace(from, to));
            assert_eq!(
                canonical(document, apex, algorithm.without_comments(), prefix_list),
                without,
                "{section}"
            );
        }
    }
}

/// The peer's word for what is expected above, as far as its command takes: whole documents.
#[test]
#[ignore = "needs xmllint (Debian libxml2-utils)"]
fn examples_of_the_specifications_equal_xmllint() {
    let whole = EXAMPLES.iter().filter(|example| example.apex.is_empty());
    for example in whole {
        for (flag, expected) in [("--c14n", example.inclusive), ("--exc-c14n", example.exclusive)] {
            assert_eq!(by_xmllint(flag, example.document), expected, "{}", example.section);
        }
    }
}

fn by_xmllint(flag: &str, document: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new("xmllint");
    command.args([flag, "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("xmllint is installed");
    child.stdin.take().expect("piped").write_all(document.as_bytes()).unwrap();
    let peer = child.wait_with_output().unwrap();
    assert!(peer.status.success(), "{document}");
    let peer = String::from_utf8(peer.stdout).unwrap();
    // xmllint ends its output with a line feed of its own.
    peer.strip_suffix('\n').unwrap_or(&peer).to_owned()
}

/// A random document that uses the constructs on which implementations differ.
fn random_document(seed: u64) -> String {
    struct Random(u64);
    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            // SplitMix64: reproducible from the seed the failure prints.
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % n
        }
        fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
            from[self.below(from.len() as u64) as usize]
        }
    }
    fn element(random: &mut Random, depth: usize, out: &mut String) {
        const PREFIXES: [&str; 4] = ["", "a", "b", "c"];
        let prefix = random.pick(&PREFIXES);
        let name = if prefix.is_empty() { "n".to_owned() } else { format!("{prefix}:n") };
        out.push_str(&format!("<{name}"));
        for declared in PREFIXES {
            if random.below(3) == 0 || depth == 0 {
                let quote = random.pick(&["'", "\""]);
                match declared {
                    "" => {
                        let uri = random.pick(&["", "urn:1", "urn:2"]);
                        out.push_str(&format!(" xmlns={quote}{uri}{quote}"));
                    }
                    _ => out.push_str(&format!(
                        " xmlns:{declared}=\"{}\"",
                        random.pick(&["urn:1", "urn:2", "urn:3"])
                    )),
                }
            }
        }
        // One prefixed attribute at most: two prefixes may have the same namespace.
        let attributes = [
            random.pick(&["k='1'", "k=\"1\"", "k=\"ä>'\""]),
            "a:k='<>&\"\t\r\n&#13;&#10;&#9; '",
            "c:z=\"'\"",
            "xml:lang='de'",
            random.pick(&["l='ä'", "l=\"ä\""]),
        ];
        let skip = random.below(5) as usize;
        for (at, attribute) in attributes.iter().enumerate() {
            if (at != 1 || skip != 2) && (at != 2 || skip == 2) && random.below(2) == 0 {
                out.push_str(&format!(" {}", attribute.replace('<', "&lt;").replace("&\"", "&amp;&quot;")));
            }
        }
        out.push('>');
        for _ in 0..random.below(4) {
            match random.below(8) {
                0..=2 if depth < 5 => element(random, depth + 1, out),
                3 => out.push_str("<!-- c\r\n -->"),
                4 => out.push_str("<?pi  x ?>"),
                6 => out.push_str("plain text\n"),
                5 => out.push_str("<![CDATA[<&]]&gt;\r\n]]>"),
                _ => out.push_str("x\r\ny&#13;&lt;&gt;&amp;\"ä\t"),
            }
        }
        out.push_str(&format!("</{name}>"));
    }
    let mut out = "<?xml version='1.0'?>\n<!-- before --><?p?>\n".to_owned();
    element(&mut Random(seed), 0, &mut out);
    out.push_str("\n<?after x?><!-- after -->\n");
    out
}

/// A reader that is fed single bytes takes no short cut for what is plainly canonical; one that has all takes every.
#[test]
fn short_cuts_change_nothing() {
    for seed in 0..2000 {
        let document = random_document(seed);
        for algorithm in Algorithm::ALL {
            for (apex, prefix_list) in [("", ""), ("n", ""), ("n", "a #default"), ("", "b c")] {
                let mut reader = crate::xml::read::Reader::new(Limits::default());
                let mut canonicalizer = Canonicalizer::new(algorithm, prefix_list);
                let (mut out, mut inside, mut ended) = (Vec::new(), apex.is_empty(), false);
                for byte in document.as_bytes().chunks(1) {
                    let mut input = byte;
                    while let Some(event) = reader.next_event(&mut input).unwrap() {
                        inside |= matches!(&event, Event::Start(start) if start.name().local == apex);
                        if inside && !ended {
                            let whole = canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes));
                            ended = whole && !apex.is_empty();
                        }
                    }
                }
                let pieces = String::from_utf8(out).unwrap();
                assert_eq!(canonical(&document, apex, algorithm, prefix_list), pieces, "{seed}: {document}");
            }
        }
    }
}

#[test]
#[ignore = "needs xmllint (Debian libxml2-utils)"]
fn random_documents_equal_xmllint() {
    for seed in 0..400 {
        let document = random_document(seed);
        for (flag, algorithm) in [("--c14n", InclusiveWithComments), ("--exc-c14n", ExclusiveWithComments)] {
            let ours = canonical(&document, "", algorithm, "");
            assert_eq!(ours, by_xmllint(flag, &document), "{flag} seed {seed}: {document}");
        }
    }
}
