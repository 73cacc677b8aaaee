//! Runs the attack corpus `tests/data/attacks` against XML Signature: every `NAME.xml` is a document an attacker made
//! out of what an honest signer signed, and `NAME.expect` says what stops it. `AMTSBOTE_ATTACKS` names a further
//! folder, where a missing `.expect` means that any refusal will do. None may be accepted.
//!
//! A document counts as accepted if a signature verifies *and* covers what a careless receiver would process: header
//! blocks and body of an envelope, or any assertion that bears the attacker's words.
//!
//! Left out: attacks on certificates and on encryption, which have tests beside their modules.

use std::ops::Range;
use std::path::{Path, PathBuf};

use amtsbote::xml::c14n::Algorithm;
use amtsbote::xml::dsig::sign::{Plan, Planned, Signer, SigningKey};
use amtsbote::xml::dsig::signature::{Canonicalization, Collector, Form};
use amtsbote::xml::dsig::verify::{Expected, SignatureVerified, Verification, read_once};
use amtsbote::xml::dsig::{DigestMethod, Error, Limits, SignatureMethod, Target};
use amtsbote::xml::read::SliceReader;
use amtsbote::xml::tree::Element;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const NS_DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const NS_SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// What the attacker wants to have processed.
const EVIL: &str = "mallory";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn pem(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// The SubjectPublicKeyInfo of an RSA key.
fn spki(pkcs8: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::signature::RsaKeyPair::from_pkcs8(pkcs8).unwrap();
    key.public_key().as_der().unwrap().as_ref().to_vec()
}

fn honest() -> Vec<u8> {
    pem(&at("certs-dev/server-rsa.key"))
}

/// Elements a receiver might process, by their bytes; each list is one way to read the document.
fn consumptions(root: &Element) -> Vec<Vec<Expected>> {
    let whole = |span: Range<u64>| Expected::Element(span);
    if root.is(NS_SOAP, "Envelope") {
        let header = root.children_named(NS_SOAP, "Header").flat_map(Element::children);
        let blocks = header.filter(|block| block.local() != "ClientSignature");
        let bodies = root.children_named(NS_SOAP, "Body");
        return vec![blocks.chain(bodies).map(|element| whole(element.span())).collect()];
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(element) = open.pop() {
        if matches!(element.local(), "Assertion" | "Response") && says_evil(element) {
            found.push(vec![whole(element.span())]);
        }
        open.extend(element.children());
    }
    found.push(vec![Expected::Document]);
    found
}

/// What stands inside a signature is not content, even where an enveloping element is covered.
fn says_evil(element: &Element) -> bool {
    if element.is(NS_DSIG, "Signature") {
        return false;
    }
    element.text().contains(EVIL) || element.children().any(says_evil)
}

/// All proofs that can be had of a document.
fn proofs(document: &[u8], key: &[u8]) -> Result<Vec<SignatureVerified>, Error> {
    let mut collector = Collector::new(Limits::default(), Default::default());
    let mut reader = SliceReader::new(document, Default::default());
    while let Some(event) = reader.next_event()? {
        collector.push(&event)?;
    }
    let mut proofs = Vec::new();
    for candidate in collector.finish() {
        let mut verification = Verification::new(candidate.signature?);
        let mut reader = SliceReader::new(document, Default::default());
        while let Some(event) = reader.next_event()? {
            verification.push(&event)?;
        }
        proofs.push(verification.finish(key)?);
    }
    if proofs.is_empty() { Err(Error::SignatureMissing) } else { Ok(proofs) }
}

/// The first proof as the verifier in one pass gives it, which takes plain stretches as they stand.
fn proof_in_one_pass(document: &[u8], key: &[u8]) -> Option<SignatureVerified> {
    let (verification, _) =
        read_once(|| Ok(document), &Default::default(), &Default::default(), |_| true).ok()?;
    verification?.finish(key).ok()
}

/// The receiver: nothing is processed that no signature covers.
fn receive(document: &[u8], key: &[u8]) -> Result<(), Error> {
    let once = proof_in_one_pass(document, key);
    let proofs = proofs(document, key);
    match (&once, &proofs) {
        (Some(once), Ok(proofs)) => {
            assert_eq!(Some(once), proofs.first(), "one pass proves something else than two");
        }
        // What two passes refuse for another signature of the document, one pass may prove of its first: it is judged
        // like every proof.
        (Some(once), Err(_)) => {
            let root = Element::parse(document, &Default::default(), &Default::default())?;
            if consumptions(&root).iter().any(|wanted| once.covers_exactly(wanted).is_ok()) {
                return Ok(());
            }
        }
        (None, _) => {}
    }
    let proofs = proofs?;
    let root = Element::parse(document, &Default::default(), &Default::default())?;
    let mut refusal = Error::SignatureMissing;
    for wanted in consumptions(&root) {
        for proof in &proofs {
            match proof.covers_exactly(&wanted) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
    }
    Err(refusal)
}

/// Without places and lists, which are no part of what is expected.
fn in_words(error: &Error) -> String {
    match error {
        Error::Coverage { .. } => "signature covers other things than expected".to_owned(),
        Error::Xml(error) => error.kind.to_string(),
        error => error.to_string(),
    }
}

fn run(folder: &Path) -> usize {
    let mut samples: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    samples.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    samples.sort();
    let mut faults = Vec::new();
    for path in &samples {
        let document = std::fs::read(path).unwrap();
        let key = path.with_extension("pub");
        let key = if key.exists() { pem(&key) } else { spki(&honest()) };
        let expected = std::fs::read_to_string(path.with_extension("expect")).ok();
        match (receive(&document, &key), expected) {
            (Ok(()), _) => faults.push(format!("{}: ACCEPTED", path.display())),
            (Err(error), Some(expected)) if in_words(&error).trim() != expected.trim() => {
                faults.push(format!("{}: {} where {expected}", path.display(), in_words(&error)));
            }
            (Err(_), Some(_)) => {}
            (Err(_), None) if folder != at("tests/data/attacks") => {}
            (Err(_), None) => faults.push(format!("{}: .expect is missing", path.display())),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    samples.len()
}

#[test]
fn no_attack_is_accepted() {
    let samples = run(&at("tests/data/attacks"));
    assert!(samples >= 140, "only {samples} samples were found");
    if let Some(folder) = std::env::var_os("AMTSBOTE_ATTACKS") {
        assert!(run(Path::new(&folder)) > 0, "AMTSBOTE_ATTACKS names a folder without samples");
    }
}

/// What the attacks were made of is accepted: the refusals above have their cause in the attack.
#[test]
fn honest_documents_are_accepted() {
    let key = spki(&honest());
    let envelope = envelope(&signer(), SignatureMethod::RsaPssSha256);
    assert_eq!(receive(envelope.as_bytes(), &key), Ok(()));
    let (response, _) = response("assertion");
    // The receiver of responses looks for the attacker's words, so the honest ones are put in their place first.
    let proofs = proofs(response.as_bytes(), &key).unwrap();
    let from = response.find("<r:Assertion").unwrap() as u64;
    let to = (response.find("</r:Assertion>").unwrap() + "</r:Assertion>".len()) as u64;
    assert_eq!(proofs[0].covers_exactly(&[Expected::Element(from..to)]), Ok(()));
}

/// A comment that cuts text is not covered, so a reader must not stop at it: all of the text is what was signed.
#[test]
fn comments_do_not_cut_text() {
    let key = spki(&honest());
    let cut = envelope(&signer(), SignatureMethod::RsaSha256).replace("alice", "al<!-- mallory -->ice");
    assert_eq!(receive(cut.as_bytes(), &key), Ok(()));
    let root = Element::parse(cut.as_bytes(), &Default::default(), &Default::default()).unwrap();
    let to = root.descend(&[(NS_SOAP, "Body"), ("urn:o", "To")]).unwrap();
    assert_eq!(to.text(), "alice");
}

/// Too large to be kept as files.
#[test]
fn floods_are_refused() {
    let key = spki(&honest());
    let check = |document: String, expected: &str| {
        let refusal = in_words(&receive(document.as_bytes(), &key).unwrap_err());
        assert!(refusal.contains(expected), "{refusal}");
    };
    check("<a>".repeat(1_000_000), "depth");
    check(format!("<a {}/>", (0..1_000_000).map(|n| format!("a{n}='' ")).collect::<String>()), "is 65536");
    check(format!("<{}/>", "n".repeat(1_000_000)), "is ");
    check(format!("<a b='{}'/>", "v".repeat(1_000_000)), "is ");
    check(format!("<a><!--{}--></a>", "c".repeat(1_000_000)), "is ");
    let nested: String =
        (0..100).map(|n| format!("<a xmlns:a{n}='u' xmlns:b{n}='u' xmlns:c{n}='u'>")).collect();
    check(nested, "is 256");
    let ids: String = (0..30_000).map(|n| format!("<x Id='i{n}'/>")).collect();
    let flooded = envelope(&signer(), SignatureMethod::RsaSha256).replacen(
        "<s:Body ",
        &format!("<p>{ids}</p><s:Body "),
        1,
    );
    check(flooded, "ID attributes");
}

fn exclusive() -> Canonicalization {
    Canonicalization { algorithm: Algorithm::Exclusive, prefix_list: String::new() }
}

fn element(id: &str) -> Planned {
    Planned::canonical(Target::Element(id.to_owned()), exclusive(), DigestMethod::Sha256)
}

fn signer() -> SigningKey {
    SigningKey::from_pkcs8(&honest()).unwrap()
}

const ENVELOPE: &str = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:o=\"urn:o\">\
    <s:Header><o:Control Id=\"control\">1</o:Control><o:ClientSignature></o:ClientSignature></s:Header>\
    <s:Body Id=\"body\"><o:To>alice</o:To></s:Body></s:Envelope>";

/// An envelope whose header block and body are signed.
fn envelope(signer: &dyn Signer, method: SignatureMethod) -> String {
    let covered = vec![element("control"), element("body")];
    let plan = Plan { method, canonicalization: exclusive(), covered, key_info: String::new() };
    plan.sign(ENVELOPE, ENVELOPE.find("</o:ClientSignature>").unwrap(), signer).unwrap()
}

/// A response with an assertion, one of the two signed by an enveloped signature; and the signature.
fn response(signed: &str) -> (String, String) {
    let document = "<r:Response xmlns:r=\"urn:r\" Id=\"response\"><r:Assertion Id=\"assertion\"><r:Name>alice</r:Name>\
        </r:Assertion></r:Response>";
    let mut planned = element(signed);
    planned.form = Form::Canonical { canonicalization: exclusive(), enveloped: true };
    let (method, covered) = (SignatureMethod::RsaSha256, vec![planned]);
    let plan = Plan { method, canonicalization: exclusive(), covered, key_info: String::new() };
    let place = if signed == "assertion" { "</r:Assertion>" } else { "</r:Response>" };
    let whole = plan.sign(document, document.find(place).unwrap(), &signer()).unwrap();
    let from = whole.find("<ds:Signature").unwrap();
    let to = whole.find("</ds:Signature>").unwrap() + "</ds:Signature>".len();
    let signature = whole[from..to].to_owned();
    (whole, signature)
}

/// Name and bytes of an attack.
type Attack = (String, Vec<u8>);

/// The eight classic positions (Somorovsky et al., 2012), for a response and for the assertion in it.
fn wrapping() -> Vec<Attack> {
    let name = |who: &str| format!("<r:Name>{who}</r:Name>");
    let (alice, evil) = (name("alice"), name(EVIL));
    let assertion = |id: &str, inner: &str| format!("<r:Assertion Id=\"{id}\">{inner}</r:Assertion>");
    let response_of =
        |id: &str, inner: &str| format!("<r:Response xmlns:r=\"urn:r\" Id=\"{id}\">{inner}</r:Response>");
    let into = |signature: &str, inner: &str| {
        signature.replace("</ds:Signature>", &format!("<ds:Object>{inner}</ds:Object></ds:Signature>"))
    };
    let (whole, sig) = response("response");
    let plain = whole.replace(&sig, "");
    let (_, asig) = response("assertion");
    let (signed, bare) = (assertion("assertion", &format!("{alice}{asig}")), assertion("assertion", &alice));
    let bad = |inner: &str| assertion("evil", &format!("{evil}{inner}"));
    let positions = [
        ("xsw1", response_of("outer", &format!("{}{}", bad(""), into(&sig, &plain)))),
        ("xsw2", response_of("outer", &format!("{}{plain}{sig}", bad("")))),
        ("xsw3", response_of("response", &format!("{}{signed}", bad("")))),
        ("xsw4", response_of("response", &bad(&signed))),
        ("xsw5", response_of("response", &format!("{}{bare}", bad(&asig)))),
        ("xsw6", response_of("response", &bad(&into(&asig, &bare)))),
        (
            "xsw7",
            response_of(
                "response",
                &format!("<r:Extensions>{}</r:Extensions>{signed}", assertion("assertion", &evil)),
            ),
        ),
        ("xsw8", response_of("response", &format!("{}<r:X>{}</r:X>", bad(&into(&asig, &bare)), ""))),
        (
            "wrap-original-inside-evil-with-signature-first",
            response_of("response", &format!("{asig}{}{bare}", bad(""))),
        ),
        (
            "wrap-same-id-after",
            response_of("response", &format!("{signed}{}", assertion("assertion", &evil))),
        ),
        (
            "wrap-evil-in-signature-object",
            response_of("response", &assertion("assertion", &format!("{alice}{}", into(&asig, &bad(""))))),
        ),
        ("wrap-two-roots", format!("{}{}", response_of("x", &signed), response_of("y", &bad("")))),
    ];
    positions.map(|(name, document)| (name.to_owned(), document.into_bytes())).to_vec()
}

/// Changes of one signed envelope: name, what is replaced, by what.
#[rustfmt::skip]
const CHANGES: &[(&str, &str, &str)] = &[
    ("body-moved-to-header", "<o:ClientSignature>", "<o:Wrapper>BODY</o:Wrapper><o:ClientSignature>"),
    ("body-twice-evil-first", "<s:Body Id=\"body\">", "<s:Body Id=\"evil\"><o:To>mallory</o:To></s:Body><s:Body Id=\"body\">"),
    ("body-twice-evil-last", "</s:Body>", "</s:Body><s:Body><o:To>mallory</o:To></s:Body>"),
    ("header-twice", "<s:Body ", "<s:Header><o:Control>2</o:Control></s:Header><s:Body "),
    ("header-block-added", "<o:ClientSignature>", "<o:Control>mallory</o:Control><o:ClientSignature>"),
    ("id-twice-same-name", "<o:ClientSignature>", "<o:X Id=\"body\">mallory</o:X><o:ClientSignature>"),
    ("id-twice-upper-case", "<o:ClientSignature>", "<o:X ID=\"body\">mallory</o:X><o:ClientSignature>"),
    ("id-twice-lower-case", "<o:ClientSignature>", "<o:X id=\"body\">mallory</o:X><o:ClientSignature>"),
    ("id-twice-xml-id", "<o:ClientSignature>", "<o:X xml:id=\"body\">mallory</o:X><o:ClientSignature>"),
    ("id-twice-wsu-id", "<o:ClientSignature>", "<o:X xmlns:w=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd\" w:Id=\"body\">mallory</o:X><o:ClientSignature>"),
    ("id-twice-on-one-element", "<s:Body Id=\"body\">", "<s:Body Id=\"body\" xml:id=\"body\">"),
    ("id-in-signature-object", "</ds:Signature>", "<ds:Object Id=\"body\">mallory</ds:Object></ds:Signature>"),
    ("id-written-with-reference", "<o:ClientSignature>", "<o:X Id=\"b&#111;dy\">mallory</o:X><o:ClientSignature>"),
    ("text-changed", "alice", "mallory"),
    ("text-split-by-comment", "alice", "alice<!-- -->.mallory"),
    ("text-split-by-pi", "alice", "al<?x?>ice"),
    ("text-split-by-cdata", "alice", "alice<![CDATA[.mallory]]>"),
    ("text-split-by-element", "alice", "ali<o:x/>ce"),
    ("namespace-of-element-changed", "<o:To>", "<o:To xmlns:o=\"urn:mallory\">"),
    ("namespace-rebound-at-root", "xmlns:o=\"urn:o\"", "xmlns:o=\"urn:mallory\""),
    ("namespace-of-signature-changed", "xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"", "xmlns:ds=\"urn:ds\""),
    ("namespace-undeclared-prefix", "<o:To>", "<q:X/><o:To>"),
    ("namespace-xml-rebound", "<o:To>", "<o:To xmlns:xml=\"urn:mallory\">"),
    ("namespace-xmlns-bound", "<o:To>", "<o:To xmlns:xmlns=\"urn:mallory\">"),
    ("namespace-prefix-unbound", "<o:To>", "<o:To xmlns:o=\"\">"),
    ("namespace-attribute-twice-by-uri", "<o:To>", "<o:To xmlns:p=\"urn:o\" o:a=\"1\" p:a=\"2\">"),
    ("attribute-twice", "<s:Body Id=\"body\">", "<s:Body Id=\"body\" Id=\"evil\">"),
    ("signed-info-twice-evil-first", "<ds:SignedInfo>", "<ds:SignedInfo></ds:SignedInfo><ds:SignedInfo>"),
    ("signed-info-twice-evil-last", "</ds:SignedInfo>", "</ds:SignedInfo><ds:SignedInfo></ds:SignedInfo>"),
    ("signed-info-in-object", "</ds:Signature>", "<ds:Object><ds:SignedInfo/></ds:Object><ds:SignedInfo/></ds:Signature>"),
    ("signed-info-of-other-namespace", "<ds:SignedInfo>", "<ds:SignedInfo xmlns:ds=\"urn:ds\">"),
    ("signature-value-twice", "<ds:SignatureValue>", "<ds:SignatureValue>AAAA</ds:SignatureValue><ds:SignatureValue>"),
    ("signature-twice-in-signature", "</ds:SignedInfo>", "</ds:SignedInfo><ds:Signature/>"),
    ("digest-with-comment", "<ds:DigestValue>", "<ds:DigestValue>AAAA<!-- -->"),
    ("digest-with-element", "<ds:DigestValue>", "<ds:DigestValue><x/>"),
    ("digest-twice", "<ds:DigestValue>", "<ds:DigestValue>AAAA</ds:DigestValue><ds:DigestValue>"),
    ("reference-to-nothing", "URI=\"#body\"", "URI=\"#nothing\""),
    ("reference-target-renamed", "Id=\"body\"", "Id=\"evil\""),
    ("reference-target-attribute-renamed", "Id=\"body\"", "Ref=\"body\""),
    ("reference-twice", "URI=\"#control\"", "URI=\"#body\""),
    ("reference-without-uri", " URI=\"#body\"", ""),
    ("reference-empty-fragment", "URI=\"#body\"", "URI=\"#\""),
    ("reference-to-document-instead", "URI=\"#body\"", "URI=\"\""),
    ("reference-http", "URI=\"#body\"", "URI=\"http://127.0.0.1/\""),
    ("reference-file", "URI=\"#body\"", "URI=\"file:///etc/passwd\""),
    ("reference-relative-file", "URI=\"#body\"", "URI=\"passwd\""),
    ("reference-xpointer", "URI=\"#body\"", "URI=\"#xpointer(id('body'))\""),
    ("reference-two-fragments", "URI=\"#body\"", "URI=\"#body#evil\""),
    ("reference-attachment-not-there", "URI=\"#body\"", "URI=\"cid:body\""),
    ("reference-with-manifest-type", "</ds:SignedInfo>", "<ds:Manifest/></ds:SignedInfo>"),
    ("transform-xslt", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"/>"),
    ("transform-xpath", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"/>"),
    ("transform-xpath-filter2", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2002/06/xmldsig-filter2\"/>"),
    ("transform-decryption", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2002/07/decrypt#XML\"/>"),
    ("transform-base64-before-c14n", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#base64\"/>"),
    ("transform-enveloped-elsewhere", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>"),
    ("transform-unknown", "<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"urn:mallory\"/>"),
    ("transform-without-algorithm", "<ds:Transforms>", "<ds:Transforms><ds:Transform/>"),
    ("transforms-six", "<ds:Transforms>", "<ds:Transforms>SIX"),
    ("c14n-unknown", "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"", "CanonicalizationMethod Algorithm=\"urn:mallory\""),
    ("c14n-xslt", "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"", "CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\""),
    ("c14n-swapped", "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"", "CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\""),
    ("downgrade-rsa-sha1", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
    ("downgrade-rsa-md5", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#rsa-md5"),
    ("downgrade-rsa-ripemd160", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#rsa-ripemd160"),
    ("downgrade-digest-sha1", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"),
    ("method-of-other-key-kind", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    ("method-of-other-padding", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"),
    ("method-hmac-truncated", "#rsa-sha256\"></ds:SignatureMethod>", "#hmac-sha256\"><ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>"),
    ("doctype", "<s:Envelope", "<!DOCTYPE s:Envelope><s:Envelope"),
    ("doctype-external-entity", "<s:Envelope", "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><s:Envelope"),
    ("doctype-billion-laughs", "<s:Envelope", "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><s:Envelope"),
    ("doctype-id-attribute", "<s:Envelope", "<!DOCTYPE x [<!ATTLIST o:X Ref ID #IMPLIED>]><s:Envelope"),
    ("doctype-in-content", "alice", "<!DOCTYPE x>"),
    ("entity-unknown", "alice", "&e;"),
    ("character-nul", "alice", "al\0ice"),
    ("character-nul-reference", "alice", "al&#0;ice"),
    ("character-surrogate-reference", "alice", "&#xD800;"),
    ("character-control", "alice", "\u{1}"),
    ("encoding-declared-utf-16", "<s:Envelope", "<?xml version=\"1.0\" encoding=\"UTF-16\"?><s:Envelope"),
    ("encoding-declared-utf-7", "<s:Envelope", "<?xml version=\"1.0\" encoding=\"UTF-7\"?><s:Envelope"),
    ("encoding-declared-latin-1", "<s:Envelope", "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><s:Envelope"),
    ("version-other", "<s:Envelope", "<?xml version=\"1.1\"?><s:Envelope"),
    ("xml-declaration-late", "<s:Envelope", " <?xml version=\"1.0\"?><s:Envelope"),
    ("text-after-root", "</s:Envelope>", "</s:Envelope>mallory"),
    ("root-unclosed", "</s:Envelope>", ""),
    ("xinclude-in-body", "alice", "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/>"),
    ("nesting-deep", "alice", "DEEP"),
    ("attribute-flood", "<o:To>", "<o:To FLOOD>"),
    ("prefix-flood", "<o:To>", "<o:To PREFIXES>"),
    ("id-of-foreign-namespace", "<s:Body Id=\"body\">", "<s:Body o:Id=\"body\">"),
    ("id-in-text", "Id=\"body\"><o:To>", "><o:To>Id=body"),
    ("digest-with-pi", "<ds:DigestValue>", "<ds:DigestValue><?x AAAA?>"),
    ("method-pss-with-parameters", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">", "http://www.w3.org/2007/05/xmldsig-more#rsa-pss\"><p:RSAPSSParams xmlns:p=\"http://www.w3.org/2007/05/xmldsig-more#\"><p:SaltLength>0</p:SaltLength></p:RSAPSSParams>"),
    ("method-digest-with-parameters", "xmlenc#sha256\">", "xmlenc#sha256\"><x/>"),
    ("c14n-11-swapped", "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"", "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\""),
    ("c14n-with-parameter", "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">", "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"><ds:XPath>//x</ds:XPath>"),
    ("c14n-prefix-list-added", "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">", "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"><e:InclusiveNamespaces xmlns:e=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"o\"/>"),
    ("text-carriage-return-added", "alice", "alice&#13;"),
    ("text-line-end-added", "alice", "alice\r\n"),
    ("attribute-with-tab-reference", "<o:Control Id=\"control\">", "<o:Control Id=\"&#9;control\">"),
    ("attribute-xml-space-added", "<o:To>", "<o:To xml:space=\"preserve\">"),
    ("attribute-xml-base-added", "<o:To>", "<o:To xml:base=\"http://127.0.0.1/\">"),
    ("schema-location-added", "<o:To>", "<o:To xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" i:schemaLocation=\"urn:o http://127.0.0.1/o.xsd\">"),
    ("namespace-default-for-content", "<o:To>alice</o:To>", "<To xmlns=\"urn:o\">alice</To>"),
    ("namespace-default-undeclared", "<o:To>alice</o:To>", "<To xmlns=\"\">alice</To>"),
    ("doctype-parameter-entity", "<s:Envelope", "<!DOCTYPE x [<!ENTITY % p SYSTEM \"http://127.0.0.1/p.dtd\">%p;]><s:Envelope"),
    ("doctype-quadratic", "<s:Envelope", "<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\">]><s:Envelope"),
    ("entity-in-attribute", "Id=\"body\"", "Id=\"&e;body\""),
    ("encoding-mark-twice", "<s:Envelope", "\u{FEFF}\u{FEFF}<s:Envelope"),
    ("encoding-declared-utf-32", "<s:Envelope", "<?xml version=\"1.0\" encoding=\"UTF-32\"?><s:Envelope"),
    ("prefix-redefined-deep", "alice", "REDEFINED"),
    ("name-huge", "alice", "HUGE"),
    ("references-too-many", "</ds:SignedInfo>", "REFERENCES</ds:SignedInfo>"),
    ("encrypted-header-around-block", "<o:Control Id=\"control\">1</o:Control>", "<e:EncryptedHeader xmlns:e=\"http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd\"><o:Control Id=\"control\">1</o:Control><o:Control>mallory</o:Control></e:EncryptedHeader>"),
    ("encrypted-header-beside-block", "<o:ClientSignature>", "<e:EncryptedHeader xmlns:e=\"http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd\"><o:Control>mallory</o:Control></e:EncryptedHeader><o:ClientSignature>"),
    ("xades-properties-instead-of-body", "URI=\"#body\"", "Type=\"http://uri.etsi.org/01903#SignedProperties\" URI=\"#properties\""),
    ("xades-properties-with-id-of-body", "</ds:Signature>", "<ds:Object><x:QualifyingProperties xmlns:x=\"http://uri.etsi.org/01903/v1.3.2#\"><x:SignedProperties Id=\"body\"/></x:QualifyingProperties></ds:Object></ds:Signature>"),
    ("signature-in-other-signature", "<ds:SignedInfo>", "<ds:SignedInfo><ds:Object><ds:Signature/></ds:Object>"),
    ("reference-second-document", "</ds:SignedInfo>", "<ds:Reference URI=\"\"><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/><ds:DigestValue>AAAA</ds:DigestValue></ds:Reference></ds:SignedInfo>"),
    ("hmac-key-name-of-server", "</ds:SignatureMethod>", "</ds:SignatureMethod><ds:HMACOutputLength>0</ds:HMACOutputLength>"),
];

fn changed(base: &str, from: &str, to: &str) -> String {
    let body = &base[base.find("<s:Body").unwrap()..base.find("</s:Envelope>").unwrap()];
    let flood = |what: &dyn Fn(usize) -> String, count| (0..count).map(what).collect::<String>();
    let reference = |n| {
        format!(
            "<ds:Reference URI=\"#x{n}\"><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"/>\
             <ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>"
        )
    };
    let redefined =
        flood(&|n| format!("<o:d xmlns:o=\"urn:{n}\" xmlns:x=\"urn:{n}\" xmlns:y=\"urn:{n}\">"), 100)
            + &"</o:d>".repeat(100);
    let six = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>".repeat(5);
    let to = to
        .replace("SIX", &six)
        .replace("DEEP", &format!("{}{}", "<o:d>".repeat(200), "</o:d>".repeat(200)))
        .replace("FLOOD", &flood(&|n| format!("a{n}=\"\" "), 200))
        .replace("PREFIXES", &flood(&|n| format!("xmlns:p{n}=\"urn:p\" "), 200))
        .replace("REDEFINED", &redefined)
        .replace("HUGE", &format!("<{}/>", "n".repeat(600)))
        .replace("REFERENCES", &flood(&reference, 1001));
    assert!(base.contains(from), "{from}");
    if to.contains("BODY") {
        let evil = body.replace("Id=\"body\"", "Id=\"evil\"").replace("alice", EVIL);
        return base.replace(body, &evil).replacen(from, &to.replace("BODY", body), 1);
    }
    base.replacen(from, &to, 1)
}

/// An attacker's way to make a value out of what the verifier holds: the public key as an HMAC key.
struct HmacByPublicKey;

impl Signer for HmacByPublicKey {
    fn sign(&self, _: SignatureMethod, message: &[u8]) -> Option<Vec<u8>> {
        let message = String::from_utf8_lossy(message).replace("#rsa-sha256", "#hmac-sha256");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &spki(&honest()));
        Some(aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref().to_vec())
    }
}

/// A value the honest signer made over nothing: what a verifier checks whose canonicalization failed unnoticed.
struct Void(SigningKey);

impl Signer for Void {
    fn sign(&self, method: SignatureMethod, _: &[u8]) -> Option<Vec<u8>> {
        self.0.sign(method, b"")
    }
}

/// r and s are zero, which verify under any key where nobody looks (CVE-2022-21449).
struct Zero;

impl Signer for Zero {
    fn sign(&self, _: SignatureMethod, _: &[u8]) -> Option<Vec<u8>> {
        Some(vec![0; 64])
    }
}

/// Attacks that are signed anew by somebody else, or not at all.
fn resigned() -> Vec<Attack> {
    let evil = |document: String| document.replace("alice", EVIL);
    let foreign = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
    let attacker = SigningKey::from_pkcs8(foreign.as_der().unwrap().as_ref()).unwrap();
    let stranger = SigningKey::from_pkcs8(&pem(&at("certs-dev/stranger.key"))).unwrap();
    let certificate = STANDARD.encode(pem(&at("tests/data/pki/rsa.crt")));
    let key_info = |content: &str| {
        let by = envelope(&attacker, SignatureMethod::RsaSha256);
        by.replace("</ds:Signature>", &format!("<ds:KeyInfo>{content}</ds:KeyInfo></ds:Signature>"))
    };
    let retrieval = |uri: &str| {
        let transforms = "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"/></ds:Transforms>";
        key_info(&format!("<ds:RetrievalMethod URI=\"{uri}\">{transforms}</ds:RetrievalMethod>"))
    };
    let honest = envelope(&signer(), SignatureMethod::RsaSha256);
    let from = honest.find("<ds:Reference").unwrap();
    let to = honest.rfind("</ds:Reference>").unwrap() + "</ds:Reference>".len();
    let signature = honest.find("<ds:Signature ").unwrap()
        ..honest.find("</ds:Signature>").unwrap() + "</ds:Signature>".len();
    let body_only = {
        let plan = Plan {
            method: SignatureMethod::RsaSha256,
            canonicalization: exclusive(),
            covered: vec![element("body")],
            key_info: String::new(),
        };
        plan.sign(ENVELOPE, ENVELOPE.find("</o:ClientSignature>").unwrap(), &signer()).unwrap()
    };
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend(honest.encode_utf16().flat_map(u16::to_le_bytes));
    let utf32: Vec<u8> =
        [&[0xff, 0xfe, 0, 0][..], &honest.chars().flat_map(|c| (c as u32).to_le_bytes()).collect::<Vec<_>>()]
            .concat();
    // `<?xml`, as mainframes write it.
    let ebcdic = [&[0x4c, 0x6f, 0xa7, 0x94, 0x93][..], honest.as_bytes()].concat();
    let mut overlong = honest.clone().into_bytes();
    let place = honest.find("alice").unwrap();
    overlong.splice(place..place + 1, [0xc1, 0xa1]);
    let covered = vec![element("control"), element("body")];
    let plan = Plan {
        method: SignatureMethod::RsaSha256,
        canonicalization: exclusive(),
        covered,
        key_info: String::new(),
    };
    let document = evil(ENVELOPE.to_owned());
    let signed_evil =
        plan.sign(&document, document.find("</o:ClientSignature>").unwrap(), &attacker).unwrap();
    let digest_of = |document: &str| {
        let from = document.rfind("<ds:DigestValue>").unwrap() + "<ds:DigestValue>".len();
        document[from..document.rfind("</ds:DigestValue>").unwrap()].to_owned()
    };
    let relative = evil(ENVELOPE.replace("xmlns:o=\"urn:o\"", "xmlns:o=\"urn:o\" xmlns:q=\"relative\""));
    let void = plan.sign(&relative, relative.find("</o:ClientSignature>").unwrap(), &Void(signer())).unwrap();
    let (real, forged) = (digest_of(&honest), digest_of(&signed_evil));
    let commented = evil(honest.replace(&real, &format!("<!--{forged}-->{real}")));
    let reference = format!(
        "<ds:Object><ds:Reference URI=\"#body\"><ds:DigestValue>{forged}</ds:DigestValue></ds:Reference></ds:Object>"
    );
    let smuggled = evil(honest.replace("</ds:Signature>", &format!("{reference}</ds:Signature>")));
    let value = honest.find("<ds:SignatureValue>").unwrap() + "<ds:SignatureValue>".len();
    let valueless = [&honest[..value], &honest[honest.find("</ds:SignatureValue>").unwrap()..]].concat();
    vec![
        ("digest-forged-in-comment".to_owned(), commented.into_bytes()),
        ("canonicalization-void".to_owned(), void.into_bytes()),
        ("signature-empty".to_owned(), evil(honest.replace(&honest[signature.clone()], &format!("<ds:Signature xmlns:ds=\"{NS_DSIG}\"/>"))).into_bytes()),
        ("key-info-reference".to_owned(), key_info("<k:KeyInfoReference xmlns:k=\"http://www.w3.org/2009/xmldsig11#\" URI=\"file:///etc/passwd\"/>").into_bytes()),
        ("ecdsa-zero".to_owned(), envelope(&Zero, SignatureMethod::EcdsaSha256).into_bytes()),
        ("encoding-ebcdic".to_owned(), ebcdic),
        ("encoding-utf-32".to_owned(), utf32),
        ("encoding-utf-7".to_owned(), evil(honest.replace("<o:To>alice</o:To>", "+ADw-o:To+AD4-alice")).into_bytes()),
        ("digest-value-in-object".to_owned(), smuggled.into_bytes()),
        ("signature-value-empty".to_owned(), evil(valueless).into_bytes()),
        ("key-info-certificate-of-attacker".to_owned(), key_info(&format!("<ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>")).into_bytes()),
        ("key-info-key-value-of-attacker".to_owned(), key_info("<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>").into_bytes()),
        ("key-info-retrieval-of-local-file".to_owned(), retrieval("file:///etc/passwd").into_bytes()),
        ("key-info-retrieval-loop".to_owned(), retrieval("#body").into_bytes()),
        ("key-of-other-kind".to_owned(), envelope(&stranger, SignatureMethod::EcdsaSha256).into_bytes()),
        ("hmac-with-public-key".to_owned(), envelope(&HmacByPublicKey, SignatureMethod::RsaSha256).replace("#rsa-sha256", "#hmac-sha256").into_bytes()),
        ("no-signature".to_owned(), evil(honest.replace(&honest[signature.clone()], "")).into_bytes()),
        ("no-reference".to_owned(), evil(honest.replace(&honest[from..to], "")).into_bytes()),
        ("signed-info-empty".to_owned(), evil(honest.replace("<ds:SignedInfo>", "<ds:SignedInfo/><!--").replace("</ds:SignedInfo>", "-->")).into_bytes()),
        ("header-not-covered".to_owned(), body_only.into_bytes()),
        ("encoding-utf-16".to_owned(), utf16),
        ("encoding-overlong-utf-8".to_owned(), overlong),
    ]
}

/// A key too short for us, used by the `openssl` command, which still makes such signatures.
struct ShortKey(PathBuf);

impl Signer for ShortKey {
    fn sign(&self, _: SignatureMethod, message: &[u8]) -> Option<Vec<u8>> {
        let input = self.0.with_extension("message");
        std::fs::write(&input, message).ok()?;
        let mut command = std::process::Command::new("openssl");
        let output = command.args(["dgst", "-sha256", "-sign"]).arg(&self.0).arg(&input).output().ok()?;
        output.status.success().then_some(output.stdout)
    }
}

fn short_key() -> Attack {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("short.key");
    let openssl = |arguments: &[&str], output: &Path| {
        let status = std::process::Command::new("openssl").args(arguments).arg("-out").arg(output).status();
        assert!(status.unwrap().success());
    };
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], &key);
    let public = at("tests/data/attacks/downgrade-rsa-1024.pub");
    openssl(&["pkey", "-pubout", "-in", key.to_str().unwrap()], &public);
    let document = envelope(&ShortKey(key), SignatureMethod::RsaSha256);
    ("downgrade-rsa-1024".to_owned(), document.into_bytes())
}

#[test]
#[ignore = "writes the corpus anew; a refusal that is not yet known is written down to be looked at"]
fn regenerate() {
    let base = envelope(&signer(), SignatureMethod::RsaSha256);
    let changes =
        CHANGES.iter().map(|(name, from, to)| ((*name).to_owned(), changed(&base, from, to).into_bytes()));
    for (name, document) in changes.chain(wrapping()).chain(resigned()).chain([short_key()]) {
        let path = at("tests/data/attacks").join(&name).with_extension("xml");
        let public = path.with_extension("pub");
        let key = if public.exists() { pem(&public) } else { spki(&honest()) };
        let outcome = receive(&document, &key);
        std::fs::write(&path, document).unwrap();
        let expect = path.with_extension("expect");
        if !expect.exists() {
            let words = outcome.as_ref().map_or_else(in_words, |()| "ACCEPTED".to_owned());
            std::fs::write(expect, format!("{words}\n")).unwrap();
        }
        println!("{name}: {outcome:?}");
    }
}
