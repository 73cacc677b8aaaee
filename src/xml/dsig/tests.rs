//! Signatures made and verified here, by every method; attacks that must fail; and `xmlsec1` as a peer.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;

use super::sign::{Plan, Planned, SigningKey};
use super::signature::{Canonicalization, Collector, Form};
use super::verify::{Expected, SignatureVerified, Verification, read_once};
use super::*;
use crate::xml::c14n::Algorithm;
use crate::xml::read::SliceReader;

/// A key with its SubjectPublicKeyInfo.
struct Pair {
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

fn rsa() -> &'static Pair {
    static PAIR: std::sync::LazyLock<Pair> = std::sync::LazyLock::new(|| {
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let spki = key.public_key().as_der().unwrap().as_ref().to_vec();
        Pair { pkcs8: key.as_der().unwrap().as_ref().to_vec(), spki }
    });
    &PAIR
}

fn ecdsa(algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> Pair {
    let key = aws_lc_rs::signature::EcdsaKeyPair::generate(algorithm).unwrap();
    let spki = key.public_key().as_der().unwrap().as_ref().to_vec();
    Pair { pkcs8: key.to_pkcs8v1().unwrap().as_ref().to_vec(), spki }
}

fn form(algorithm: Algorithm, prefix_list: &str) -> Canonicalization {
    Canonicalization { algorithm, prefix_list: prefix_list.to_owned() }
}

const DOCUMENT: &str = "<?xml version='1.0'?>\n<e:Env xmlns:e='urn:e' xmlns='urn:d' xml:lang='de'>\n <e:Head><t:Sig xmlns:t='urn:t'></t:Sig><t:A \
    xmlns:t='urn:t' Id='a' x='1&#9;\n'>ä<!-- c --></t:A><b64 Id='b'>SGFs\nbG8=</b64></e:Head>\r\n <e:Body Id='body'><p xmlns=''>1 &lt; 2</p></e:Body></e:Env>\n";

fn plan(method: SignatureMethod) -> Plan {
    let element = |id: &str, algorithm, digest_method| {
        Planned::canonical(Target::Element(id.to_owned()), form(algorithm, ""), digest_method)
    };
    let mut base64 = element("b", Algorithm::Inclusive, DigestMethod::Sha3_512);
    base64.form = Form::Base64;
    Plan {
        method,
        canonicalization: form(Algorithm::Inclusive, ""),
        covered: vec![
            element("a", Algorithm::Inclusive, DigestMethod::Sha256),
            element("body", Algorithm::Exclusive, DigestMethod::Sha3_256),
            base64,
            Planned::attachment("f@x", DigestMethod::Sha512, digest(DigestMethod::Sha512, b"octets")),
        ],
        key_info: "<ds:KeyName>k</ds:KeyName>".to_owned(),
    }
}

fn digest(method: DigestMethod, octets: &[u8]) -> Vec<u8> {
    let mut running = method.begin();
    running.update(octets);
    running.finish().as_ref().to_vec()
}

fn signed(plan: &Plan, pair: &Pair) -> String {
    let at = DOCUMENT.find("</t:Sig>").unwrap();
    plan.sign(DOCUMENT, at, &SigningKey::from_pkcs8(&pair.pkcs8).unwrap()).unwrap()
}

fn verify_with(document: &str, spki: &[u8], attachment: &[u8]) -> Result<SignatureVerified, Error> {
    let mut collector = Collector::new(Limits::default(), Default::default());
    let mut reader = SliceReader::new(document.as_bytes(), Default::default());
    while let Some(event) = reader.next_event()? {
        collector.push(&event)?;
    }
    let signature = collector.finish().into_iter().next().ok_or(Error::SignatureMissing)?.signature?;
    let attachments: Vec<_> = signature.attachments().map(|(id, method)| (id.to_owned(), method)).collect();
    let mut verification = Verification::new(signature);
    for (id, method) in attachments {
        verification.attachment(&id, &digest(method, attachment));
    }
    let mut reader = SliceReader::new(document.as_bytes(), Default::default());
    while let Some(event) = reader.next_event()? {
        verification.push(&event)?;
    }
    verification.finish(spki)
}

/// Both ways of reading, which must agree; in one pass only the first signature is asked for.
fn verify(document: &str, pair: &Pair) -> Result<SignatureVerified, Error> {
    let twice = verify_with(document, &pair.spki, b"octets");
    for buffer in [1, 50, 8192] {
        assert_eq!(verify_once(document, &pair.spki, buffer), twice, "{document}");
    }
    twice
}

fn verify_once(document: &str, spki: &[u8], buffer: usize) -> Result<SignatureVerified, Error> {
    let mut seen = Vec::new();
    let open = || Ok(std::io::BufReader::with_capacity(buffer, document.as_bytes()));
    let (verification, candidates) = read_once(open, &Default::default(), &Limits::default(), |candidate| {
        seen.push(candidate.clone());
        seen.len() == 1
    })?;
    let signature = candidates.into_iter().next().ok_or(Error::SignatureMissing)?.signature?;
    let mut verification = verification.ok_or(Error::SignatureMissing)?;
    for (id, method) in signature.attachments() {
        verification.attachment(id, &digest(method, b"octets"));
    }
    verification.finish(spki)
}

#[test]
fn every_method_signs_and_verifies() {
    use SignatureMethod as M;
    use aws_lc_rs::signature as lc;
    let p256 = ecdsa(&lc::ECDSA_P256_SHA256_FIXED_SIGNING);
    let p384 = ecdsa(&lc::ECDSA_P384_SHA384_FIXED_SIGNING);
    let p521 = ecdsa(&lc::ECDSA_P521_SHA512_FIXED_SIGNING);
    for (method, pair) in [
        (M::RsaSha256, rsa()),
        (M::RsaSha384, rsa()),
        (M::RsaSha512, rsa()),
        (M::RsaPssSha256, rsa()),
        (M::RsaPssSha384, rsa()),
        (M::RsaPssSha512, rsa()),
        (M::EcdsaSha256, &p256),
        (M::EcdsaSha384, &p384),
        (M::EcdsaSha512, &p521),
    ] {
        let document = signed(&plan(method), pair);
        let proof = verify(&document, pair).unwrap();
        assert_eq!(proof.method(), method);
        let paths: Vec<_> =
            proof.covered().iter().map(|c| c.path.last().map(|(_, local)| local.as_str())).collect();
        assert_eq!(paths, [Some("A"), Some("Body"), Some("b64"), None]);
        // Another key of the same kind, and keys of other kinds.
        let other = ecdsa(&lc::ECDSA_P256_SHA256_FIXED_SIGNING);
        let expected = if method == M::EcdsaSha256 { Error::SignatureInvalid } else { Error::Key };
        let outcome = verify(&document, &other).unwrap_err();
        assert!(outcome == expected || outcome == Error::SignatureInvalid, "{method:?}: {outcome}");
    }
    // Any hash goes with any curve when verifying: the value of one curve must still not pass for another.
    let document = signed(&plan(M::EcdsaSha256), &p256);
    assert_eq!(verify(&document, &p384), Err(Error::SignatureInvalid));
    assert_eq!(verify(&document, rsa()), Err(Error::Key));
}

#[test]
fn enveloped_signatures_cover_the_document() {
    for algorithm in [Algorithm::Inclusive, Algorithm::Exclusive] {
        let covered = vec![Planned::canonical(Target::Document, form(algorithm, ""), DigestMethod::Sha384)];
        let (method, canonicalization) = (SignatureMethod::RsaSha256, form(algorithm, "t #default"));
        let plan = Plan { method, canonicalization, covered, key_info: String::new() };
        let document = signed(&plan, rsa());
        let proof = verify(&document, rsa()).unwrap();
        assert_eq!(proof.covers_exactly(&[Expected::Document]), Ok(()));
        let tampered = document.replace("1 &lt; 2", "1 &lt; 3");
        assert_eq!(verify(&tampered, rsa()), Err(Error::DigestDiffers("the document".to_owned())));
        let beside = document.replace("</e:Env>", "</e:Env><?x?>");
        assert_eq!(verify(&beside, rsa()), Err(Error::DigestDiffers("the document".to_owned())));
    }
}

#[test]
fn equal_meaning_stays_valid() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    for (from, to) in [
        ("<!-- c -->", ""),
        ("&lt;", "&#60;"),
        ("1 &lt; 2", "<![CDATA[1 < 2]]>"),
        ("Id='a' x='1&#9;\n'", "x=\"1&#x9; \"   Id = 'a'"),
        ("SGFs\nbG8=", " SGFsb\r\n\tG8="),
        ("\r\n <e:Body", "\n <e:Body"),
        ("<?xml version='1.0'?>\n", ""),
        ("<p xmlns=''>", "<p xmlns='' >"),
    ] {
        let changed = document.replacen(from, to, 1);
        assert_ne!(changed, document, "{from}");
        verify(&changed, rsa()).unwrap_or_else(|error| panic!("{from}: {error}"));
    }
}

#[test]
fn comments_are_never_covered_by_same_document_references() {
    for algorithm in [Algorithm::InclusiveWithComments, Algorithm::ExclusiveWithComments] {
        for target in [Target::Element("a".to_owned()), Target::Document] {
            let covered = vec![Planned::canonical(target, form(algorithm, ""), DigestMethod::Sha256)];
            let canonicalization = form(algorithm, "");
            let plan = Plan {
                method: SignatureMethod::RsaSha256,
                canonicalization,
                covered,
                key_info: String::new(),
            };
            let document = signed(&plan, rsa());
            verify(&document.replace("<!-- c -->", ""), rsa()).unwrap();
            // SignedInfo is not referenced but canonicalised as its own method says.
            let commented = document.replace("<ds:SignedInfo>", "<ds:SignedInfo><!-- x -->");
            assert_eq!(verify(&commented, rsa()), Err(Error::SignatureInvalid));
        }
    }
}

#[test]
fn attacks_fail() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    let check = |change: &dyn Fn(&str) -> String, expected: Error| {
        let changed = change(&document);
        assert_ne!(changed, document);
        assert_eq!(verify(&changed, rsa()), Err(expected), "{changed}");
    };
    let swap = |from: &'static str, to: &'static str| move |d: &str| d.replacen(from, to, 1);
    let differs = |id: &str| Error::DigestDiffers(id.to_owned());
    check(&swap("1 &lt; 2", "1 &lt; 3"), differs("#body"));
    check(&swap(">ä", ">a"), differs("#a"));
    check(&swap("SGFs", "SGFt"), differs("#b"));
    // The context of the envelope reaches SignedInfo first.
    check(&swap("xml:lang='de'", "xml:lang='en'"), Error::SignatureInvalid);
    check(&swap("xmlns='urn:d'", "xmlns='urn:x'"), Error::SignatureInvalid);
    check(&swap("xmlns='urn:d'", "xmlns='urn:d' xmlns:q='urn:q'"), Error::SignatureInvalid);
    // Copies and moves of what was signed, under another or the same ID.
    check(&swap("<e:Body Id='body'>", "<x Id='body'/><e:Body Id='body'>"), Error::IdTwice("body".to_owned()));
    check(&swap("<e:Body Id='body'>", "<x id='body'/><e:Body Id='body'>"), Error::IdTwice("body".to_owned()));
    check(&swap("<p xmlns=''>", "<p xmlns='' xml:id='a'>"), Error::IdTwice("a".to_owned()));
    check(&swap("<e:Body Id='body'>", "<e:Body Id='other'>"), Error::TargetMissing("#body".to_owned()));
    // SignedInfo and its reading.
    check(&swap("#body", "#b"), Error::ReferenceTwice("#b".to_owned()));
    check(
        &swap("URI=\"#body\"", "URI=\"#xpointer(id('body'))\""),
        Error::ReferenceUri("#xpointer(id('body'))".to_owned()),
    );
    check(
        &swap("URI=\"#body\"", "URI=\"file:///etc/passwd\""),
        Error::ReferenceUri("file:///etc/passwd".to_owned()),
    );
    check(&swap(" URI=\"#body\"", ""), Error::Malformed("Reference without URI"));
    check(
        &swap("<ds:SignedInfo>", "<ds:SignedInfo></ds:SignedInfo><ds:SignedInfo>"),
        Error::Malformed("SignatureValue expected"),
    );
    check(
        &swap("<ds:SignatureValue>", "<ds:SignedInfo/><ds:SignatureValue>"),
        Error::Malformed("SignatureValue expected"),
    );
    check(
        &swap("</ds:SignatureMethod>", "<ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>"),
        Error::Malformed("SignatureMethod with parameters"),
    );
    check(
        &swap("<ds:DigestValue>", "<ds:DigestValue><x/>"),
        Error::Malformed("element inside a base64 value"),
    );
    check(
        &swap("</ds:KeyInfo>", "</ds:KeyInfo><ds:KeyInfo/>"),
        Error::Malformed("child of Signature that does not belong there"),
    );
}

#[test]
fn algorithms_and_transforms_are_a_whitelist() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    for (from, to) in [
        ("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1"),
        ("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#hmac-sha1"),
        ("2001/04/xmlenc#sha256", "2000/09/xmldsig#sha1"),
        ("2001/04/xmlenc#sha256", "2001/04/xmldsig-more#md5"),
        ("CanonicalizationMethod Algorithm=\"", "CanonicalizationMethod Algorithm=\"x"),
    ] {
        let changed = document.replacen(from, to, 1);
        assert_ne!(changed, document);
        assert!(matches!(verify(&changed, rsa()), Err(Error::Algorithm(_))), "{to}");
    }
    let c14n = format!("<ds:Transform Algorithm=\"{}\"></ds:Transform>", Algorithm::Inclusive.uri());
    for transform in [
        "http://www.w3.org/TR/1999/REC-xslt-19991116",
        "http://www.w3.org/TR/1999/REC-xpath-19991116",
        "http://www.w3.org/2002/06/xmldsig-filter2",
        BASE64,
        Algorithm::Inclusive.uri(),
        ENVELOPED,
    ] {
        let added = format!("{c14n}<ds:Transform Algorithm=\"{transform}\"></ds:Transform>");
        let changed = document.replacen(&c14n, &added, 1);
        assert_ne!(changed, document);
        assert!(matches!(verify(&changed, rsa()), Err(Error::Transforms(_))), "{transform}");
    }
    let cid = document.replacen(
        "URI=\"cid:f@x\">",
        &format!("URI=\"cid:f@x\"><ds:Transforms>{c14n}</ds:Transforms>"),
        1,
    );
    assert!(matches!(verify(&cid, rsa()), Err(Error::Transforms(_))));
    // Enveloped, but the signature stands elsewhere.
    let enveloped = format!("<ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>");
    let changed = document.replacen(&c14n, &(enveloped + &c14n), 1);
    assert_eq!(verify(&changed, rsa()), Err(Error::NotEnveloped("#a".to_owned())));
    let mut plan = plan(SignatureMethod::RsaSha256);
    plan.covered.truncate(1);
    plan.covered[0].form = Form::Canonical { canonicalization: Canonicalization::default(), enveloped: true };
    assert_eq!(verify(&signed(&plan, rsa()), rsa()), Err(Error::NotEnveloped("#a".to_owned())));
}

/// The signed body is moved aside and another one put in its place. The signature stays valid: only the comparison
/// of what was covered with what will be read tells.
#[test]
fn wrapping_is_seen_in_what_was_covered() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    let spans = |document: &str, names: &[&str]| -> Vec<Expected> {
        let root =
            crate::xml::tree::Element::parse(document.as_bytes(), &Default::default(), &Default::default())
                .unwrap();
        let body = root.child("urn:e", "Body").unwrap();
        let places = [
            ("A", root.descend(&[("urn:e", "Head"), ("urn:t", "A")])),
            ("Body", Some(body)),
            ("b64", root.descend(&[("urn:e", "Head"), ("urn:d", "b64")])),
        ];
        let mut expected = vec![Expected::Attachment("f@x".to_owned())];
        for (name, place) in places {
            if names.contains(&name) {
                expected.extend(place.map(|element| Expected::Element(element.span())));
            }
        }
        expected
    };
    let proof = verify(&document, rsa()).unwrap();
    assert_eq!(proof.covers_exactly(&spans(&document, &["A", "Body", "b64"])), Ok(()));
    for fewer in [["A", "Body"], ["Body", "b64"]] {
        let outcome = proof.covers_exactly(&spans(&document, &fewer));
        assert!(
            matches!(outcome, Err(Error::Coverage { missing, unexpected }) if missing.is_empty() && unexpected.len() == 1)
        );
    }
    let body_at = document.find("<e:Body").unwrap();
    let (start, end) = (body_at, document.find("</e:Env>").unwrap());
    let body = &document[start..end];
    let wrapped = format!(
        "{}<w>{body}</w></e:Head>{}<e:Body Id='evil'><p xmlns=''>9</p></e:Body></e:Env>\n",
        &document[..document.find("</e:Head>").unwrap()],
        "\r\n "
    );
    let proof = verify(&wrapped, rsa()).unwrap();
    let outcome = proof.covers_exactly(&spans(&wrapped, &["A", "Body", "b64"]));
    assert!(
        matches!(outcome, Err(Error::Coverage { missing, unexpected }) if missing.len() == 1 && unexpected.len() == 1)
    );
    let covered = proof.covered().iter().find(|c| c.target == Target::Element("body".to_owned())).unwrap();
    let path: Vec<_> = covered.path.iter().map(|(_, local)| local.as_str()).collect();
    assert_eq!(path, ["Env", "Head", "w", "Body"]);
}

#[test]
fn attachments_are_part_of_it() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    let outcome = verify_with(&document, &rsa().spki, b"other octets");
    assert_eq!(outcome, Err(Error::DigestDiffers("cid:f@x".to_owned())));
    // One more attachment than the signature knows, and one fewer.
    let proof = verify(&document, rsa()).unwrap();
    let all: Vec<Expected> = proof
        .covered()
        .iter()
        .map(|covered| match &covered.span {
            Some(span) => Expected::Element(span.clone()),
            None => Expected::Attachment("f@x".to_owned()),
        })
        .collect();
    assert_eq!(proof.covers_exactly(&all), Ok(()));
    let more = [all.as_slice(), &[Expected::Attachment("g@x".to_owned())]].concat();
    let missing = vec!["Attachment(\"g@x\")".to_owned()];
    assert_eq!(proof.covers_exactly(&more), Err(Error::Coverage { missing, unexpected: Vec::new() }));
    let fewer: Vec<Expected> =
        all.iter().filter(|expected| !matches!(expected, Expected::Attachment(_))).cloned().collect();
    let unexpected = vec!["Attachment(\"f@x\")".to_owned()];
    assert_eq!(proof.covers_exactly(&fewer), Err(Error::Coverage { missing: Vec::new(), unexpected }));
    let signature = collect(&document).remove(0).signature.unwrap();
    let mut verification = Verification::new(signature);
    pass(&document, &mut verification);
    assert_eq!(verification.finish(&rsa().spki), Err(Error::AttachmentMissing("cid:f@x".to_owned())));
}

fn collect(document: &str) -> Vec<signature::Candidate> {
    let mut collector = Collector::new(Limits::default(), Default::default());
    let mut reader = SliceReader::new(document.as_bytes(), Default::default());
    while let Some(event) = reader.next_event().unwrap() {
        collector.push(&event).unwrap();
    }
    collector.finish()
}

fn pass(document: &str, verification: &mut Verification) {
    let mut reader = SliceReader::new(document.as_bytes(), Default::default());
    while let Some(event) = reader.next_event().unwrap() {
        verification.push(&event).unwrap();
    }
}

#[test]
fn both_passes_must_see_the_same_document() {
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    let found = collect(&document).remove(0);
    assert!(found.is_in("urn:t", "Sig") && !found.is_in("urn:e", "Head"));
    let span = found.span();
    assert!(document[span.start as usize..span.end as usize].ends_with("</ds:Signature>"));
    let signature = found.signature.unwrap();
    let mut verification = Verification::new(signature.clone());
    pass(DOCUMENT, &mut verification);
    assert_eq!(verification.finish(&rsa().spki), Err(Error::SignatureMissing));
    // The second pass sees another SignedInfo at the same place.
    let other = document.replacen("URI=\"#body\"", "URI=\"#bodx\"", 1);
    let mut verification = Verification::new(signature);
    pass(&other, &mut verification);
    assert_eq!(verification.finish(&rsa().spki), Err(Error::SignedInfoDiffers));
}

/// Reads a document in one pass and says how often it was opened.
fn openings(document: &str) -> usize {
    let mut opened = 0;
    let open = || {
        opened += 1;
        Ok(document.as_bytes())
    };
    let (verification, _) = read_once(open, &Default::default(), &Limits::default(), |_| true).unwrap();
    verification.unwrap().finish(&rsa().spki).unwrap();
    opened
}

#[test]
fn what_stands_before_a_signature_is_read_again_only_if_it_must_be() {
    let document = "<e:Env xmlns:e='urn:e' xmlns='urn:d' xml:lang='de'><h Id='h'>1</h><s></s><e:Body Id='body'><p xmlns:p='urn:p'>\
        <p:x b='1' a='2'><p:y>2</p:y></p:x></p><e:Body e:z='1'/></e:Body></e:Env>";
    for algorithm in [
        Algorithm::Inclusive,
        Algorithm::InclusiveWithComments,
        Algorithm::Exclusive,
        Algorithm::ExclusiveWithComments,
    ] {
        for (list, target, comment) in
            [("", "body", ""), ("", "body", "<!-- c -->"), ("e", "body", ""), ("", "h", "")]
        {
            if !list.is_empty() && !algorithm.is_exclusive() {
                continue;
            }
            let target = Target::Element(target.to_owned());
            let again =
                !list.is_empty() || algorithm.keeps_comments() || target == Target::Element("h".into());
            let plan = Plan {
                method: SignatureMethod::RsaSha256,
                canonicalization: form(algorithm, list),
                covered: vec![Planned::canonical(target, form(algorithm, list), DigestMethod::Sha256)],
                key_info: String::new(),
            };
            let key = SigningKey::from_pkcs8(&rsa().pkcs8).unwrap();
            let signed = plan.sign(document, document.find("</s>").unwrap(), &key).unwrap();
            verify(&signed, rsa()).unwrap();
            assert_eq!(openings(&signed), if again { 2 } else { 1 }, "{algorithm:?} {list:?}");
            // Where no comment is kept, one in SignedInfo changes nothing.
            let commented = signed.replace("<ds:SignedInfo>", &format!("<ds:SignedInfo>{comment}"));
            assert_eq!(verify(&commented, rsa()).is_ok(), comment.is_empty() || !algorithm.keeps_comments());
            // Whatever is changed before, in and behind the signature: both ways of reading say the same.
            for (from, to) in [
                ("<h ", "<h><s Id='body'/></h><h "),
                ("<h ", "<h><s Id='h'/></h><h "),
                (
                    "<s>",
                    "<s><ds:Signature xmlns:ds='http://www.w3.org/2000/09/xmldsig#'><ds:SignedInfo/></ds:Signature>",
                ),
                ("<ds:SignedInfo>", "<ds:Object><ds:SignedInfo/></ds:Object><ds:SignedInfo>"),
                ("<ds:SignedInfo>", "<ds:SignedInfo Id='body'>"),
                ("<ds:SignedInfo>", "<ds:SignedInfo Id='x'>"),
                ("</ds:SignedInfo>", "<ds:CanonicalizationMethod Algorithm=''/></ds:SignedInfo>"),
                ("</ds:Signature>", "<ds:Object Id='body'/></ds:Signature>"),
                ("</ds:Signature>", "<ds:Object><ds:SignedInfo></ds:SignedInfo></ds:Object></ds:Signature>"),
                ("xmlns:e='urn:e'", "xmlns:e='urn:e' xmlns:f='urn:f'"),
                ("<p:y>2", "<p:y>3"),
                (" e:z='1'", ""),
                ("b='1' a='2'", "a='2' b='1'"),
            ] {
                let changed = signed.replacen(from, to, 1);
                assert_ne!(changed, signed, "{from}");
                let _ = verify(&changed, rsa());
            }
        }
    }
}

#[test]
fn work_is_bounded() {
    let element = |depth: usize| {
        Planned::canonical(
            Target::Element(format!("i{depth}")),
            Canonicalization::default(),
            DigestMethod::Sha256,
        )
    };
    let open: String = (0..6).map(|depth| format!("<n Id='i{depth}'>")).collect();
    let document = format!("<r><s></s>{open}{}</r>", "</n>".repeat(6));
    let key = SigningKey::from_pkcs8(&rsa().pkcs8).unwrap();
    for (covered, expected) in
        [(4, Ok(())), (5, Err(Error::LimitExceeded { limit: "references inside each other", value: 4 }))]
    {
        let plan = Plan {
            method: SignatureMethod::RsaSha256,
            canonicalization: Canonicalization::default(),
            covered: (0..covered).map(element).collect(),
            key_info: String::new(),
        };
        assert_eq!(plan.sign(&document, document.find("</s>").unwrap(), &key).map(|_| ()), expected);
    }
    let limits = Limits { references_max: 3, signatures_max: 0, ids_max: 2, ..Limits::default() };
    let document = signed(&plan(SignatureMethod::RsaSha256), rsa());
    let collect_with = |limits: Limits| -> Result<(), Error> {
        let mut collector = Collector::new(limits, Default::default());
        let mut reader = SliceReader::new(document.as_bytes(), Default::default());
        while let Some(event) = reader.next_event()? {
            collector.push(&event)?;
        }
        let mut verification = Verification::new(collector.finish().remove(0).signature?);
        let mut reader = SliceReader::new(document.as_bytes(), Default::default());
        while let Some(event) = reader.next_event()? {
            verification.push(&event)?;
        }
        Ok(())
    };
    let exceeded = |limit, value| Err(Error::LimitExceeded { limit, value });
    let many = Limits { signatures_max: 1, ..limits.clone() };
    assert_eq!(collect_with(many), exceeded("references of a signature", 3));
    assert_eq!(collect_with(Limits { references_max: 9, ..limits.clone() }), exceeded("signatures", 0));
    assert_eq!(
        collect_with(Limits { references_max: 9, signatures_max: 1, ..limits }),
        exceeded("ID attributes", 2)
    );
    assert_eq!(
        collect_with(Limits { signed_info_bytes_max: 99, ..Limits::default() }),
        exceeded("bytes of SignedInfo", 99)
    );
}

/// What we sign, the peer verifies; what the peer signs over our template, we verify.
#[test]
#[ignore = "needs xmlsec1 (Debian xmlsec1)"]
fn xmlsec1_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let pem = |label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let xmlsec = |arguments: &[&std::ffi::OsStr]| {
        let output =
            std::process::Command::new("xmlsec1").args(arguments).output().expect("xmlsec1 is installed");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let p384 = ecdsa(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING);
    let p521 = ecdsa(&aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING);
    for (name, method, pair) in [
        ("rsa", SignatureMethod::RsaSha512, rsa()),
        ("p384", SignatureMethod::EcdsaSha384, &p384),
        ("p521", SignatureMethod::EcdsaSha512, &p521),
    ] {
        let (private, public) = (path(&format!("{name}.key")), path(&format!("{name}.pub")));
        std::fs::write(&private, pem("PRIVATE KEY", &pair.pkcs8)).unwrap();
        std::fs::write(&public, pem("PUBLIC KEY", &pair.spki)).unwrap();
        for (algorithm, prefix_list) in [
            (Algorithm::Inclusive, ""),
            (Algorithm::InclusiveWithComments, ""),
            (Algorithm::ExclusiveWithComments, ""),
            (Algorithm::Exclusive, "t #default"),
        ] {
            let covered = ["a", "body"].map(|id| {
                Planned::canonical(
                    Target::Element(id.to_owned()),
                    form(algorithm, prefix_list),
                    DigestMethod::Sha256,
                )
            });
            let document = Planned::canonical(Target::Document, form(algorithm, ""), DigestMethod::Sha512);
            for covered in [covered.to_vec(), vec![document]] {
                let plan = Plan {
                    method,
                    canonicalization: form(algorithm, prefix_list),
                    covered,
                    key_info: String::new(),
                };
                let ours = signed(&plan, pair);
                let (file, signed_by_peer) = (path("ours.xml"), path("theirs.xml"));
                std::fs::write(&file, &ours).unwrap();
                let ids = ["--id-attr:Id", "urn:t:A", "--id-attr:Id", "urn:e:Body"].map(std::ffi::OsStr::new);
                let verify_arguments = [
                    &["--verify".as_ref(), "--pubkey-pem".as_ref(), public.as_os_str()],
                    ids.as_slice(),
                    &[file.as_os_str()],
                ]
                .concat();
                let (ok, said) = xmlsec(&verify_arguments);
                assert!(ok, "{name} {algorithm:?} {prefix_list:?}: {said}\n{ours}");

                // The peer digests and signs the same template anew.
                let start = ours.find("<ds:SignatureValue>").unwrap();
                let end = ours.find("</ds:SignatureValue>").unwrap();
                let template = format!("{}{}", &ours[..start + "<ds:SignatureValue>".len()], &ours[end..]);
                std::fs::write(&file, template.replace("1 &lt; 2", "3 &lt; 4")).unwrap();
                let output = ["--output".as_ref(), signed_by_peer.as_os_str()];
                let sign_arguments = [
                    &["--sign".as_ref(), "--privkey-pem".as_ref(), private.as_os_str()],
                    output.as_slice(),
                    &ids,
                    &[file.as_os_str()],
                ]
                .concat();
                let (ok, said) = xmlsec(&sign_arguments);
                assert!(ok, "{said}");
                let theirs = std::fs::read_to_string(&signed_by_peer).unwrap();
                verify(&theirs, pair)
                    .unwrap_or_else(|error| panic!("{name} {algorithm:?}: {error}\n{theirs}"));
            }
        }
    }
}

/// An author's signature that we cannot read must not keep the sender's from being verified.
#[test]
fn a_foreign_signature_does_not_hide_ours() {
    let foreign = format!("<s:Signature xmlns:s=\"{NS_DSIG}\"><s:SignedInfo/></s:Signature>");
    let document = DOCUMENT.replace("<p xmlns=''>", &format!("<p xmlns=''>{foreign}"));
    let at = document.find("</t:Sig>").unwrap();
    let key = SigningKey::from_pkcs8(&rsa().pkcs8).unwrap();
    let document = plan(SignatureMethod::RsaSha256).sign(&document, at, &key).unwrap();
    let found = collect(&document);
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].signature, Err(Error::Malformed("SignatureValue expected")));
    assert!(found[1].is_in("", "p") && found[0].is_in("urn:t", "Sig"));
    verify(&document, rsa()).unwrap();
}
