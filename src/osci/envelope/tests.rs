//! Written is read back; what clients of the field vary is read; what two readers could see differently is refused.

use std::io::Cursor;
use std::sync::Arc;

use super::authors::Outcome;
use super::encrypted::{Algorithms, OwnKey, PreparedSealed, answer_algorithms, answers_in_base64, policy};
use super::fault::{Fault, Side};
use super::fixture::{self, BOUNDARY};
use super::read::{Incoming, Reader, Received, read};
use super::scope::Scope;
use super::signature::Refused;
use super::write::{Coding, Outgoing, OutgoingAttachment, Signing};
use super::*;
use crate::mime::content_id::ContentId;
use crate::mime::write::Boundary;
use crate::osci::message::Message;
use crate::osci::message::certificates::Role;
use crate::osci::message::feature_description::{Feature, FeatureDescription};
use crate::osci::message::feedback::CodeNumber;
use crate::osci::message::kind::{Kind, Operation as O};
use crate::xml::dsig::{DigestMethod, SignatureMethod};
use crate::xml::enc::{ContentMethod, IvLength, KeyTransport, Policy};

const STORE: Kind = Kind::Request(O::StoreDelivery);
const INIT: Kind = Kind::Request(O::InitDialog);

fn message(bytes: &[u8]) -> Result<Received, Error> {
    match read(&mut Cursor::new(bytes), &Limits::default())? {
        Incoming::Message(received) => Ok(*received),
        other => panic!("not a message: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    for kind in Kind::all() {
        let written = fixture::message(kind);
        for signed in [false, true] {
            let prepared = fixture::prepared(&written, signed);
            let bytes = prepared.to_vec().expect("written");
            assert_eq!(prepared.size(), bytes.len() as u64, "{kind}");
            let received = message(&bytes).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(received.message, written, "{kind}");
            assert_eq!(received.message.control.fault(kind), None, "{kind}");
            let signature = received.signature.unwrap_or_else(|refused| panic!("{kind}: {refused}"));
            assert_eq!(signature.is_some(), signed, "{kind}");
            if let Some(signature) = signature {
                assert_eq!(signature.certificate().role, fixture::signing_role(kind), "{kind}");
            }
            assert_eq!(received.scope, Scope::standard(), "{kind}");
            assert_eq!(received.attachments.len(), usize::from(fixture::has_content(kind)), "{kind}");
        }
    }
}

#[test]
fn positions_and_digests_are_those_of_the_stream() {
    let bytes = fixture::bytes(STORE, true);
    for piece in [1, 7, 1000, bytes.len()] {
        let mut reader = Reader::new(Limits::default());
        bytes.chunks(piece).for_each(|piece| reader.push(piece).expect("taken"));
        let Ok(Incoming::Message(received)) = reader.finish() else { panic!("a message") };
        let at = |span: std::ops::Range<u64>| &bytes[span.start as usize..span.end as usize];
        assert_eq!(at(received.package_span().expect("a package")), fixture::PACKAGE.as_bytes());
        let attachment = &received.attachments[0];
        assert_eq!(at(attachment.span.clone()), b"attached \r\n--MIME");
        assert_eq!(attachment.octets, 17);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"attached \r\n--MIME");
        assert_eq!(attachment.digest(DigestMethod::Sha256), Some(digest.as_ref()));
        assert!(received.signature.expect("valid").is_some());
        let package = received.package.expect("a package");
        assert_eq!((package.containers.len(), package.contents.len(), package.is_empty()), (1, 2, false));
    }
}

fn outgoing_with(coding: Coding, octets: &[u8]) -> (Vec<u8>, u64) {
    let sent = fixture::message(STORE);
    let scope = Scope::standard();
    let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_text(BOUNDARY).expect("a boundary"));
    outgoing.content = Some(Arc::new(fixture::PACKAGE.as_bytes().to_vec()));
    let id = ContentId::from_header("<a.txt>").expect("an id");
    let mut attachment = OutgoingAttachment::new(id, "text/plain", Arc::new(octets.to_vec()));
    attachment.coding = coding;
    attachment.extra.push(("X-Extra".to_owned(), "kept ä".to_owned()));
    outgoing.attachments.push(attachment);
    let (key, id) = (fixture::signer(), fixture::signer_id(&sent));
    outgoing.signing = Some(Signing {
        signer: &key,
        certificate_id: &id,
        method: SignatureMethod::RsaPssSha512,
        digest: DigestMethod::Sha512,
    });
    let prepared = outgoing.prepare().expect("a message");
    (prepared.to_vec().expect("written"), prepared.size())
}

#[test]
fn attachments_go_binary_or_base64_and_are_handed_on() {
    for length in [0, 1, 2, 3, 56, 57, 58, 113, 114, 115, 5000] {
        let octets: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
        for coding in [Coding::Binary, Coding::Base64] {
            let (bytes, size) = outgoing_with(coding, &octets);
            assert_eq!(bytes.len() as u64, size, "{length} {coding:?}");
            let received = message(&bytes).expect("a message");
            let signature = received.signature.as_ref().expect("valid").as_ref().expect("signed");
            assert_eq!(signature.method(), SignatureMethod::RsaPssSha512);
            assert_eq!(signature.digest_methods(), [DigestMethod::Sha512]);
            assert_eq!(received.has_base64(), coding == Coding::Base64);
            let attachment = &received.attachments[0];
            assert_eq!(attachment.octets, length as u64);
            // Handed on as transmitted, its octets are the same.
            let span = attachment.span.start as usize..attachment.span.end as usize;
            let relayed = OutgoingAttachment::relayed(attachment, Arc::new(bytes[span].to_vec()));
            assert_eq!(relayed.extra, [("X-Extra".to_owned(), "kept ä".to_owned())]);
            let sent = fixture::message(STORE);
            let scope = Scope::standard();
            let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_random([9; 24]));
            outgoing.content = Some(Arc::new(fixture::PACKAGE.as_bytes().to_vec()));
            outgoing.attachments.push(OutgoingAttachment { digests: Vec::new(), ..relayed });
            let (key, id) = (fixture::signer(), fixture::signer_id(&sent));
            outgoing.signing = Some(Signing {
                signer: &key,
                certificate_id: &id,
                method: SignatureMethod::RsaSha256,
                digest: DigestMethod::Sha3_256,
            });
            let again = message(&outgoing.prepare().expect("sent").to_vec().expect("written")).expect("read");
            assert!(again.signature.expect("valid").is_some());
            assert_eq!(again.attachments[0].octets, length as u64);
        }
    }
}

#[test]
fn what_clients_vary_is_read() {
    let original = text(&fixture::bytes(STORE, true));
    let entity = format!(
        "MIME-Version: 1.0\r\nContent-Type: Multipart/Related; boundary={BOUNDARY}; type=text/xml\r\n"
    );
    assert!(original.starts_with(&entity));
    let soap_headers = "Content-Type: text/xml; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-ID: <osci@message>\r\n";
    let length = "Content-Length: 17\r\n";
    for (what, from, to) in [
        ("nothing", "", ""),
        ("no MIME-Version", "MIME-Version: 1.0\r\n", ""),
        ("leading line break", "MIME-Version", "\r\nMIME-Version"),
        ("quoted boundary", &format!("boundary={BOUNDARY}"), &format!("boundary=\"{BOUNDARY}\"")),
        (
            "other order",
            &format!("boundary={BOUNDARY}; type=text/xml"),
            &format!("type=text/xml; boundary={BOUNDARY}"),
        ),
        ("start parameter", "type=text/xml", "type=text/xml; start=\"<osci@message>\""),
        ("folded", "; boundary", ";\r\n\tboundary"),
        ("other Content-ID", "<osci@message>", "m1"),
        ("no CTE", "Content-Transfer-Encoding: 8bit\r\n", ""),
        ("utf-8", "charset=UTF-8", "charset=utf-8"),
        ("no SOAP headers but an id", soap_headers, "Content-ID: <x>\r\n"),
        ("8bit", "8-bit", "8bit"),
        ("binary", "8-bit", "binary"),
        ("no part length", length, ""),
        ("wrong part length", length, "Content-Length: 4\r\n"),
        ("no attachment CTE", "Content-Transfer-Encoding: 8-bit\r\n", ""),
        (
            "text/base64",
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: 8-bit\r\n",
            "Content-Type: text/base64\r\nContent-Transfer-Encoding: 7bit\r\n",
        ),
        ("no XML declaration", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\r\n", ""),
        ("wrapped schemaLocation", "soapStoreDelivery.xsd http", "soapStoreDelivery.xsd\r\n   http"),
        ("epilogue", &format!("--{BOUNDARY}--\r\n"), &format!("--{BOUNDARY}--\r\nmore")),
        ("no end of line", &format!("--{BOUNDARY}--\r\n"), &format!("--{BOUNDARY}--")),
        ("white space", "<soap:Header>", "<soap:Header>\n  <!-- a comment -->\n"),
    ] {
        assert!(original.contains(from), "{what}");
        let mut changed = original.replacen(from, to, 1);
        if what == "text/base64" {
            changed = changed.replace("\r\n\r\nattached \r\n--MIME", "\r\n\r\nYXR0YWNoZWQgDQot\nLU1JTUU=");
        }
        let received = message(changed.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let signature = received.signature.unwrap_or_else(|refused| panic!("{what}: {refused}"));
        assert!(signature.is_some(), "{what}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let original = text(&fixture::bytes(STORE, true));
    let part = format!("\r\n--{BOUNDARY}\r\nContent-Type: text/plain\r\nContent-ID: <a.txt>\r\n\r\n");
    let closing = format!("\r\n--{BOUNDARY}--");
    let doctype = "\r\n\r\n<!DOCTYPE x [<!ENTITY a \"b\">]><soap:Envelope";
    for (what, from, to) in [
        ("bare line feeds", "MIME-Version: 1.0\r\n", "MIME-Version: 1.0\n"),
        ("not multipart", "Multipart/Related", "text/plain"),
        ("another multipart", "Multipart/Related", "multipart/mixed"),
        ("no boundary", "boundary=", "border="),
        ("closing delimiter is missing", &closing, "\r\n--"),
        ("same Content-ID twice", &closing, &format!("{part}x{closing}")),
        ("attachment without id", "Content-ID: <a.txt>\r\n", ""),
        ("other charset", "charset=UTF-8", "charset=ISO-8859-1"),
        ("SOAP part of another type", "text/xml; charset", "application/xml; charset"),
        ("SOAP part in base64", "Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64"),
        ("quoted-printable", "8-bit", "quoted-printable"),
        ("attachment is not base64", "8-bit", "base64"),
        ("DOCTYPE", "\r\n\r\n<soap:Envelope", doctype),
        ("unknown schema", "soapStoreDelivery", "soapStealDelivery"),
        ("no schema", "xsi:schemaLocation", "xsi:other"),
        ("another prefix for the schema", "xsi:schemaLocation", "y:schemaLocation"),
        ("another kind's schema", "soapStoreDelivery", "soapFetchDelivery"),
        ("encrypted schema", "soapStoreDelivery", "soapMessageEncrypted"),
        (
            "SOAP 1.2",
            "http://schemas.xmlsoap.org/soap/envelope/\"",
            "http://www.w3.org/2003/05/soap-envelope\"",
        ),
        ("no Id", " Id=\"desiredlanguages\"", ""),
        ("no Id on the body", " Id=\"body\"", ""),
        ("same Id twice", "Id=\"desiredlanguages\"", "Id=\"controlblock\""),
        ("same Id in content", "Id=\"content1\"", "Id=\"body\""),
        (
            "block twice",
            "<osci:DesiredLanguages",
            "<osci:DesiredLanguages xmlns:osci=\"http://www.osci.de/2002/04/osci\" Id=\"again\" LanguagesList=\"en\"></osci:DesiredLanguages><osci:DesiredLanguages",
        ),
        ("custom header without Id", "Id='MetaData'", "Ad='MetaData'"),
        ("custom header twice", "<x:Note", "<y:Note xmlns:y=\"urn:x\" Id='m2'></y:Note><x:Note"),
        (
            "unknown block of OSCI",
            "<x:Note",
            "<y:Note xmlns:y=\"http://www.osci.de/2002/04/osci\" Id='m2'></y:Note><x:Note",
        ),
        ("supplier's signature on a request", "ClientSignature", "SupplierSignature"),
        ("no control block", "ControlBlock", "x:ControlBlock"),
        ("no type block", "osci:storeDelivery ", "osci:stareDelivery "),
        ("text in a block", "</osci:Challenge>", "</osci:Challenge>x"),
        ("text in the header", "<soap:Header>", "<soap:Header>x"),
        ("text in the package", "<osci:ContentPackage>", "<osci:ContentPackage>x"),
        ("unknown child of the package", "<osci:ContentPackage>", "<osci:ContentPackage><osci:x></osci:x>"),
        ("no package", fixture::PACKAGE, ""),
        (
            "two packages",
            "<osci:ContentPackage>",
            "<osci:ContentPackage></osci:ContentPackage><osci:ContentPackage>",
        ),
        (
            "something else in the body",
            "<osci:ContentPackage>",
            "<osci:initDialog></osci:initDialog><osci:ContentPackage>",
        ),
        ("two bodies", "</soap:Body>", "</soap:Body><soap:Body></soap:Body>"),
        ("href to elsewhere", "cid:a.txt\"></osci:Content>", "file:/etc/passwd\"></osci:Content>"),
        (
            "two signatures",
            "</ds:Signature></osci:ClientSignature>",
            "</ds:Signature><ds:Signature></ds:Signature></osci:ClientSignature>",
        ),
        ("key in the signature", "<ds:RetrievalMethod", "<ds:X509Data></ds:X509Data><ds:RetrievalMethod"),
        ("bad base64 in a certificate", "<ds:X509Certificate>", "<ds:X509Certificate>*"),
        ("unescaped subject", "a &amp; b", "a & b"),
    ] {
        assert!(original.contains(from), "{what}");
        let mut changed = original.replacen(from, to, 1);
        match what {
            "supplier's signature on a request" | "no type block" => {
                changed = original.replace(from, to);
                changed = changed.replace("/osci:storeDelivery>", "/osci:stareDelivery>");
            }
            "no control block" => {
                changed = original.replace("osci:ControlBlock", "x:ControlBlock");
                changed = changed.replacen("<x:ControlBlock", "<x:ControlBlock xmlns:x=\"urn:y\"", 1);
            }
            "another prefix for the schema" => {
                changed = changed.replacen(
                    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"",
                    "xmlns:y=\"http://www.w3.org/2001/XMLSchema-instance\"",
                    1,
                );
            }
            _ => {}
        }
        let outcome = read(&mut Cursor::new(changed.as_bytes()), &Limits::default());
        assert!(outcome.is_err(), "{what}: {outcome:?}");
    }
    assert!(message(&original.as_bytes()[..original.len() / 2]).is_err());
    let dialog = text(&fixture::bytes(INIT, false));
    let with_attachment = dialog.replacen(&closing, &format!("{part}x{closing}"), 1);
    assert!(message(with_attachment.as_bytes()).is_err(), "an attachment of an initDialog");
    let tight = Limits { header_bytes_max: 1000, ..Limits::default() };
    let padded = original.replacen("<soap:Header>", &format!("<soap:Header>{}", " ".repeat(200_000)), 1);
    let outcome = read(&mut Cursor::new(padded.as_bytes()), &tight).map(|_| ());
    assert_eq!(outcome, Err(Error::LimitExceeded { limit: "bytes of the header", value: 1000 }));
    let tight = Limits { contents_max: 2, ..Limits::default() };
    let outcome = read(&mut Cursor::new(original.as_bytes()), &tight).map(|_| ());
    assert_eq!(outcome, Err(Error::LimitExceeded { limit: "contents of a message", value: 2 }));
}

#[test]
fn a_signature_covers_the_message_and_nothing_else() {
    let original = text(&fixture::bytes(STORE, true));
    let reference = |uri: &str| {
        let start = original.find(&format!("<ds:Reference URI=\"{uri}\"")).expect("a reference");
        let end =
            original[start..].find("</ds:Reference>").expect("its end") + start + "</ds:Reference>".len();
        original[start..end].to_owned()
    };
    let id = fixture::signer_id(&fixture::message(STORE));
    let other = id.replace("originator_signature", "author0_signature");
    let part = format!(
        "--{BOUNDARY}\r\nContent-Type: text/plain\r\nContent-ID: <b.txt>\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
    );
    for (what, from, to, code) in [
        ("body changed", "R3LDvMOfZQ==", "R3LDvMOfZR==", 9601),
        ("attachment changed", "attached", "Attached", 9601),
        ("custom header changed", "&lt;ä", "&lt;ö", 9601),
        ("namespace added around", "<soap:Body ", "<soap:Body xmlns:new=\"urn:new\" ", 9601),
        ("block added", "</soap:Header>", "<y:Z xmlns:y=\"urn:y\" Id=\"z\"/></soap:Header>", 9602),
        ("attachment added", &format!("--{BOUNDARY}--\r\n"), &part, 9602),
        ("signature method of another hash", "rsa-sha256", "rsa-sha512", 9601),
        (
            "SHA-1",
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            9601,
        ),
        ("reference removed", &reference("#body"), "", 9601),
        ("reference twice", &reference("#body"), &reference("#body").repeat(2), 9601),
        ("certificate of another role", &format!("\"#{id}\""), &format!("\"#{other}\""), 9601),
        ("certificate that is not there", &format!("\"#{id}\""), "\"#nowhere\"", 9601),
    ] {
        assert!(original.contains(from), "{what}");
        let changed = original.replacen(from, to, 1);
        let refused = message(changed.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}")).signature;
        let refused = refused.expect_err(what);
        assert_eq!(refused.feedback(), code, "{what}: {refused}");
    }
    // The signed body is kept where nobody acts on it, and another one takes its place. The wrapper's prefix is declared
    // already, so that the canonical form stays as it was signed.
    let (start, end) =
        (original.find("<soap:Body ").expect("it"), original.find("</soap:Envelope>").expect("it"));
    let (before, body, after) = (&original[..start], &original[start..end], &original[end..]);
    let kept = format!("<xsi:Kept Id=\"kept\">{body}</xsi:Kept></soap:Header>");
    let before = before.replacen("</soap:Header>", &kept, 1);
    let other = body.replace(" Id=\"", " Id=\"other-").replace("R3LDvMOfZQ==", "R3LDvMOfZR==");
    let refused = message(format!("{before}{other}{after}").as_bytes()).expect("a message").signature;
    assert!(matches!(refused, Err(Refused::Coverage { .. })), "{refused:?}");
    // The attachment is taken away whole.
    let start =
        original.find(&format!("\r\n--{BOUNDARY}\r\nContent-Type: text/plain")).expect("the attachment");
    let without = format!("{}\r\n--{BOUNDARY}--\r\n", &original[..start]);
    let refused = message(without.as_bytes()).expect("a message").signature;
    assert!(matches!(refused, Err(Refused::Coverage { .. })), "{refused:?}");
}

/// Signs with other references than the writer would.
#[test]
fn references_of_another_form_are_refused() {
    use crate::xml::dsig::sign::{Plan, Planned};
    use crate::xml::dsig::signature::{Canonicalization, Form};
    let sent = fixture::message(INIT);
    let bytes = text(&fixture::bytes(INIT, true));
    let (start, end) =
        (bytes.find("<ds:Signature").expect("it"), bytes.find("</osci:ClientSignature>").expect("it"));
    let document_start = bytes.find("<?xml").expect("the document");
    let document_end = bytes.find("</soap:Envelope>").expect("its end") + "</soap:Envelope>".len();
    let document = format!("{}{}", &bytes[document_start..start], &bytes[end..document_end]);
    let ids = [
        "controlblock",
        "desiredlanguages",
        "qualityoftimestamp_creation",
        "qualityoftimestamp_reception",
        "nonintermediarycertificates",
        "featuredescription",
        "MetaData",
        "body",
    ];
    let exclusive =
        Canonicalization { algorithm: crate::xml::c14n::Algorithm::Exclusive, ..Default::default() };
    let usual = || Form::Canonical { canonicalization: Canonicalization::default(), enveloped: false };
    // Stands inside a block.
    let inner = fixture::signer_id(&sent);
    for (what, form, drop, more, expected) in [
        ("all in order", usual(), None, None, None),
        (
            "exclusive",
            Form::Canonical { canonicalization: exclusive, enveloped: false },
            None,
            None,
            Some(9601),
        ),
        ("base64", Form::Base64, None, None, Some(9601)),
        ("one missing", usual(), Some("body"), None, Some(9602)),
        ("one too many", usual(), None, Some(inner.as_str()), Some(9602)),
        ("another", usual(), Some("body"), Some(inner.as_str()), Some(9602)),
    ] {
        let covered = ids.iter().copied().filter(|id| drop != Some(*id)).chain(more).map(|id| {
            let target = crate::xml::dsig::Target::Element(id.to_owned());
            let mut planned = Planned::canonical(target, Canonicalization::default(), DigestMethod::Sha256);
            // Nothing stands in this one, so it is good base64, too.
            if id == "desiredlanguages" {
                planned.form = form.clone();
            }
            planned
        });
        let plan = Plan {
            method: SignatureMethod::RsaSha256,
            canonicalization: Canonicalization::default(),
            covered: covered.collect(),
            key_info: format!("<ds:RetrievalMethod URI=\"#{}\"/>", fixture::signer_id(&sent)),
        };
        let signed = plan.sign(&document, start - document_start, &fixture::signer()).expect("signed");
        let changed = format!("{}{signed}{}", &bytes[..document_start], &bytes[document_end..]);
        let found = message(changed.as_bytes()).expect("a message").signature;
        assert_eq!(found.err().map(|refused| refused.feedback()), expected, "{what}");
    }
}

#[test]
fn encrypted_messages_are_opened_for_their_recipient() {
    let der = fixture::certificate();
    let key = fixture::recipient_key();
    let spki = crate::pki::certificate::Certificate::from_der(&der).expect("a certificate").spki().to_vec();
    for (method, iv, transport, in_base64) in [
        (ContentMethod::Aes256Gcm, IvLength::Twelve, KeyTransport::OAEP_SHA256, false),
        (ContentMethod::Aes256Gcm, IvLength::Sixteen, KeyTransport::OAEP_SHA512, false),
        (ContentMethod::Aes128Gcm, IvLength::Twelve, KeyTransport::OAEP_SHA256, false),
        (ContentMethod::Aes256Gcm, IvLength::Twelve, KeyTransport::OAEP_SHA256, true),
    ] {
        let algorithms = Algorithms { method, iv, transport };
        let sent = fixture::message(STORE);
        let inner = fixture::prepared(&sent, true);
        let clear = inner.to_vec().expect("written");
        let boundary = Boundary::from_random([3; 24]);
        let sealed =
            PreparedSealed::new(inner, algorithms, &der, &spki, boundary, in_base64).expect("sealed");
        let bytes = sealed.to_vec().expect("written");
        assert_eq!(bytes.len() as u64, sealed.size());
        assert_ne!(sealed.to_vec().expect("written"), bytes, "a new key each time");
        let as_text = b"Content-Type: text/base64\r\nContent-Transfer-Encoding: 7bit\r\n";
        assert_eq!(memchr::memmem::find(&bytes, as_text).is_some(), in_base64);
        assert!(!in_base64 || bytes.is_ascii());
        let open = |bytes: &[u8], own: &[u8], policy: &Policy| {
            let Ok(Incoming::Encrypted(outer)) = read(&mut Cursor::new(bytes), &Limits::default()) else {
                panic!("an encrypted message")
            };
            let span = outer.ciphertext.span.start as usize..outer.ciphertext.span.end as usize;
            let own = [OwnKey { certificate_der: own, key: &key }];
            outer.open(&mut &bytes[span], &own, policy, Cursor::new(Vec::new()))
        };
        let (decrypted, found) = open(&bytes, &der, &policy()).expect("opened");
        assert_eq!(found, algorithms);
        assert_eq!(decrypted.into_spool().into_inner(), clear);
        assert_eq!(open(&bytes, b"other", &policy()).map(|_| ()), Err(encrypted::Error::NotForUs));
        let mut changed = bytes.clone();
        // A letter of base64 stays one.
        let at = changed.len() - 100;
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(open(&changed, &der, &policy()).map(|_| ()), Err(encrypted::Error::Undecryptable));
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let other = |from: &str, to: &str| {
            assert!(shown.contains(from), "{from}");
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("it");
            [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
        };
        let outcome = |bytes: &[u8]| open(bytes, &der, &policy()).map(|_| ()).map_err(|error| error.fault());
        assert_eq!(outcome(&other("cid:osci_enc", "cid:osci_eng")), Err(9100));
        let by_serial = other("<ds:X509Certificate>", "<ds:X509IssuerSerial/><ds:X509Certificate>");
        assert_eq!(outcome(&by_serial), Err(9100));
        assert_eq!(outcome(&other("gcm\"", "xyz\"")), Err(9202));
        let with_header = other("<soap:Body>", "<soap:Header></soap:Header><soap:Body>");
        assert!(read(&mut Cursor::new(with_header), &Limits::default()).is_err());
    }
}

#[test]
fn answers_are_encrypted_as_the_client_can_read() {
    use Feature as F;
    let oaep = KeyTransport::OAEP_SHA256;
    let (gcm, cbc) = (ContentMethod::Aes192Gcm, ContentMethod::Aes256Cbc);
    for (method, iv, transport, features, expected) in [
        (gcm, IvLength::Twelve, oaep, None, (gcm, IvLength::Twelve, oaep)),
        (
            gcm,
            IvLength::Sixteen,
            KeyTransport::OAEP_SHA512,
            None,
            (gcm, IvLength::Sixteen, KeyTransport::OAEP_SHA512),
        ),
        (gcm, IvLength::Sixteen, oaep, Some(vec![F::Support96Bit12ByteIv]), (gcm, IvLength::Twelve, oaep)),
        (gcm, IvLength::Twelve, oaep, Some(vec![]), (gcm, IvLength::Sixteen, oaep)),
        (
            cbc,
            IvLength::Twelve,
            KeyTransport::Rsa15,
            Some(F::ALL.to_vec()),
            (ContentMethod::Aes256Gcm, IvLength::Twelve, oaep),
        ),
        (cbc, IvLength::Twelve, oaep, None, (cbc, IvLength::Sixteen, oaep)),
        (
            cbc,
            IvLength::Sixteen,
            KeyTransport::Rsa15,
            Some(vec![F::OaepEncryption, F::Support96Bit12ByteIv]),
            (cbc, IvLength::Sixteen, oaep),
        ),
        (gcm, IvLength::Sixteen, KeyTransport::Rsa15, None, (gcm, IvLength::Sixteen, KeyTransport::Rsa15)),
    ] {
        let features = features.map(FeatureDescription::of);
        let answer = answer_algorithms(&Algorithms { method, iv, transport }, features.as_ref());
        assert_eq!((answer.method, answer.iv, answer.transport), expected);
    }
    let binary = FeatureDescription::of([F::DisableBase64]);
    for (features, had, expected) in [
        (None, false, false),
        (None, true, true),
        (Some(&binary), true, false),
        (Some(&FeatureDescription::default()), false, true),
    ] {
        assert_eq!(answers_in_base64(features, had), expected);
    }
}

#[test]
fn faults_both_ways() {
    for (side, code, sentence) in
        [(Side::Client, Some(9100), "a < b"), (Side::Server, Some(9000), ""), (Side::Client, None, "x")]
    {
        let fault = Fault { side, code: code.and_then(CodeNumber::new), text: sentence.to_owned() };
        let prepared =
            fault.prepare(&Boundary::from_text("MIME_boundary").expect("a boundary")).expect("made");
        let bytes = prepared.to_vec().expect("written");
        assert_eq!(bytes.len() as u64, prepared.size());
        match read(&mut Cursor::new(&bytes), &Limits::default()) {
            Ok(Incoming::Fault(element)) => assert_eq!(Fault::read(&element), fault),
            other => panic!("{other:?}"),
        }
    }
}

/// A store from a client with prefixes and declarations of its own, and a signature by its author.
fn odd_store() -> Vec<u8> {
    use crate::xml::dsig::sign::{Plan, Planned};
    use crate::xml::dsig::signature::{Canonicalization, Form};
    let der = fixture::certificate();
    let x509 = crate::osci::message::certificates::wrapped_base64(&der);
    let certificate = |element: &str, id: &str| {
        format!(
            "<o:{element} Id='{id}'><ds:X509Data><ds:X509Certificate>{x509}</ds:X509Certificate></ds:X509Data></o:{element}>"
        )
    };
    let document = format!(
        "<env:Envelope xmlns:env='http://schemas.xmlsoap.org/soap/envelope/' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
         xsi:schemaLocation='{}' xmlns:o='http://www.osci.de/2002/04/osci'><env:Header xmlns:m='urn:meta'>\
         <o:ControlBlock Id='XREF-0001' SequenceNumber='0'><o:Challenge>YQ==</o:Challenge></o:ControlBlock>\
         <o:storeDelivery Id='XREF-0002'><o:MessageId>YTE=</o:MessageId></o:storeDelivery>\
         <o:NonIntermediaryCertificates xmlns:ds='http://www.w3.org/2000/09/xmldsig#' Id='XREF-0003'>{}{}{}</o:NonIntermediaryCertificates>\
         <m:Meta Id='XREF-0004'><m:x/></m:Meta></env:Header><env:Body xmlns:extra='urn:extra' Id='XREF-0005'>\
         <o:ContentPackage><o:ContentContainer Id='suppliersignature'><o:Content><o:Base64Content Id='body'>YWJj\r\n\
         </o:Base64Content></o:Content><o:Content Id='c2' href='cid:a%2Etxt'/></o:ContentContainer></o:ContentPackage>\
         </env:Body></env:Envelope>",
        crate::osci::message::kind::Schema::Message(STORE).location(),
        certificate("CipherCertificateOriginator", "XREF-0010"),
        certificate("CipherCertificateAddressee", "XREF-0011"),
        certificate("SignatureCertificateOriginator", "XREF-0012"),
    );
    let element = |id: &str| {
        let target = crate::xml::dsig::Target::Element(id.to_owned());
        Planned::canonical(target, Canonicalization::default(), DigestMethod::Sha512)
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, b"hello");
    let plan = Plan {
        method: SignatureMethod::RsaSha512,
        canonicalization: Canonicalization::default(),
        covered: vec![
            Planned { form: Form::Base64, ..element("body") },
            element("c2"),
            Planned::attachment("a%2Etxt", DigestMethod::Sha512, digest.as_ref().to_vec()),
        ],
        key_info: "<ds:RetrievalMethod URI='#XREF-0012'/>".to_owned(),
    };
    let at = document.find("<o:Content>").expect("a content");
    let signed = plan.sign(&document, at, &fixture::signer()).expect("signed");
    format!(
        "Content-Type: multipart/related;boundary=b\r\n\r\n--b\r\nContent-Type: text/xml\r\nContent-ID: x\r\n\r\n{signed}\r\n--b\r\n\
         Content-Type: text/plain\r\nContent-ID: <a.txt>\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
    )
    .into_bytes()
}

fn author_outcomes(bytes: &[u8]) -> Vec<String> {
    let received = message(bytes).expect("a message");
    let span = received.soap_span.start as usize..received.soap_span.end as usize;
    let authors = received.authors(&Limits::default()).expect("signatures");
    let reports = authors.verify(&mut &bytes[span]).expect("read twice");
    let shown = reports.iter().map(|report| match &report.outcome {
        Outcome::Verified(_) => {
            let certificate = report.certificate.as_ref().expect("a certificate");
            format!(
                "{:?} {} {:?}",
                certificate.role,
                report.container_id.as_deref().unwrap_or("-"),
                report.uncovered
            )
        }
        Outcome::Indeterminate => "indeterminate".to_owned(),
        Outcome::Refused(why) => why.clone(),
    });
    shown.collect()
}

#[test]
fn an_authors_signature_survives_store_and_fetch() {
    let stored = odd_store();
    let expected = [format!("{:?} suppliersignature []", Role::SignatureOriginator)];
    assert_eq!(author_outcomes(&stored), expected);
    let received = message(&stored).expect("a message");
    let span = received.package_span().expect("a package");
    let attachment = &received.attachments[0];
    let at = attachment.span.start as usize..attachment.span.end as usize;
    let mut answer = fixture::message(Kind::Response(O::FetchDelivery));
    answer.certificates = received.message.certificates.clone();
    answer.custom = received.message.custom.clone();
    let mut outgoing = Outgoing::new(&answer, &received.scope, Boundary::from_random([5; 24]));
    outgoing.content = Some(Arc::new(stored[span.start as usize..span.end as usize].to_vec()));
    outgoing.attachments.push(OutgoingAttachment::relayed(attachment, Arc::new(stored[at].to_vec())));
    let (key, id) = (fixture::signer(), fixture::signer_id(&answer));
    outgoing.signing = Some(Signing {
        signer: &key,
        certificate_id: &id,
        method: SignatureMethod::RsaSha256,
        digest: DigestMethod::Sha256,
    });
    let fetched = outgoing.prepare().expect("a message").to_vec().expect("written");
    let again = message(&fetched).expect("a message");
    assert_eq!(again.scope, received.scope);
    // Two Ids of the content are ours, so all of ours gave way, that of our certificate included.
    let own = again.message.intermediary.clone();
    assert_ne!(own, answer.intermediary);
    assert_eq!(again.message, Message { intermediary: own, ..answer });
    assert!(again.signature.expect("valid").is_some());
    assert_eq!(author_outcomes(&fetched), expected);
    // One more declaration around it, and it is gone.
    let broken = text(&fetched).replacen("xmlns:extra", "xmlns:more=\"urn:more\" xmlns:extra", 1);
    assert_ne!(author_outcomes(broken.as_bytes()), expected);
    let emptied = text(&stored).replacen("YWJj", "YWJk", 1);
    assert_eq!(author_outcomes(emptied.as_bytes()), ["digest of #body differs"]);
    let uncovered = text(&stored).replacen(
        "<o:Content Id",
        "<o:Content><o:Base64Content Id='new'>eA==</o:Base64Content></o:Content><o:Content Id",
        1,
    );
    assert_eq!(
        author_outcomes(uncovered.as_bytes()),
        [format!("{:?} suppliersignature [\"new\"]", Role::SignatureOriginator)]
    );
}

#[test]
fn ids_of_content_that_is_handed_on_give_way_to_none() {
    let answer = Kind::Response(O::FetchDelivery);
    let certificate = fixture::signer_id(&fixture::message(answer));
    for (kind, own, signed) in [
        (STORE, "body", true),
        (STORE, "body", false),
        (STORE, "clientsignature", true),
        (answer, "controlblock", true),
        (answer, certificate.as_str(), true),
        (answer, certificate.as_str(), false),
    ] {
        let sent = fixture::message(kind);
        let scope = Scope::standard();
        let (key, id) = (fixture::signer(), fixture::signer_id(&sent));
        let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_random([4; 24]));
        let content = fixture::PACKAGE.replace("content0", own);
        outgoing.content = Some(Arc::new(content.clone().into_bytes()));
        outgoing.attachments.push(fixture::attachment());
        outgoing.signing = signed.then(|| Signing {
            signer: &key,
            certificate_id: &id,
            method: SignatureMethod::RsaSha256,
            digest: DigestMethod::Sha256,
        });
        let bytes = outgoing.prepare().expect("a message").to_vec().expect("written");
        let received = message(&bytes).unwrap_or_else(|error| panic!("{kind} {own} {signed}: {error}"));
        let span = received.package_span().expect("a package");
        assert_eq!(&bytes[span.start as usize..span.end as usize], content.as_bytes());
        assert_eq!(received.signature.expect("valid").is_some(), signed, "{own}");
    }
}

/// Samples that were written by this room once: `tests/data/osci`. `AMTSBOTE_BLESS=1` writes them anew.
#[track_caller]
fn check_sample(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/osci").join(name);
    if std::env::var_os("AMTSBOTE_BLESS").is_some() {
        std::fs::write(&path, bytes).expect("written");
    }
    let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(kept == bytes, "{name} is not what is written today:\n{}", String::from_utf8_lossy(bytes));
}

#[test]
fn kept_samples_are_written_and_read() {
    for kind in Kind::all() {
        let sent = fixture::small(kind);
        let bytes = fixture::prepared(&sent, false).to_vec().expect("written");
        check_sample(&format!("{kind}.bin"), &bytes);
        assert_eq!(message(&bytes).expect("a message").message, sent, "{kind}");
    }
    check_sample("StoreDelivery-signed.bin", &fixture::bytes(STORE, true));
    check_sample("StoreDelivery-odd.bin", &odd_store());
    let fault = Fault { side: Side::Client, code: CodeNumber::new(9100), text: "no message".to_owned() };
    let boundary = Boundary::from_text("MIME_boundary").expect("a boundary");
    check_sample("Fault.bin", &fault.prepare(&boundary).expect("made").to_vec().expect("written"));
}

/// Encrypted anew it differs, so the kept one is opened and not compared.
#[test]
fn a_kept_encrypted_message_is_opened() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/osci/MessageEncrypted.bin");
    let der = fixture::certificate();
    let clear = fixture::prepared(&fixture::small(INIT), false);
    let expected = clear.to_vec().expect("written");
    if std::env::var_os("AMTSBOTE_BLESS").is_some() {
        let spki =
            crate::pki::certificate::Certificate::from_der(&der).expect("a certificate").spki().to_vec();
        let (method, iv, transport) =
            (ContentMethod::Aes256Gcm, IvLength::Sixteen, KeyTransport::OAEP_SHA256);
        let algorithms = Algorithms { method, iv, transport };
        let boundary = Boundary::from_text(BOUNDARY).expect("a boundary");
        let sealed = PreparedSealed::new(clear, algorithms, &der, &spki, boundary, false).expect("sealed");
        std::fs::write(&path, sealed.to_vec().expect("written")).expect("kept");
    }
    let kept = std::fs::read(path).expect("a sample");
    let Ok(Incoming::Encrypted(outer)) = read(&mut Cursor::new(&kept), &Limits::default()) else {
        panic!("an encrypted message")
    };
    let span = outer.ciphertext.span.start as usize..outer.ciphertext.span.end as usize;
    let key = fixture::recipient_key();
    let own = [OwnKey { certificate_der: &der, key: &key }];
    let opened = outer.open(&mut &kept[span], &own, &policy(), Cursor::new(Vec::new()));
    let (decrypted, found) = opened.expect("opened");
    assert_eq!(found.iv, IvLength::Sixteen);
    assert_eq!(decrypted.into_spool().into_inner(), expected);
}

/// A source that is all one byte and lies nowhere.
struct Endless(u64);

impl super::source::Source for Endless {
    fn bytes(&self) -> u64 {
        self.0
    }

    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
        Ok(Box::new(std::io::Read::take(std::io::repeat(b'x'), self.0)))
    }
}

/// Hands what is written to a reader.
struct Wire(Reader, u64);

impl std::io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes).map_err(std::io::Error::other)?;
        self.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_large_attachment_passes_in_pieces() {
    const BYTES: u64 = 48 << 20;
    let sent = fixture::message(STORE);
    let scope = Scope::standard();
    let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_random([4; 24]));
    outgoing.content = Some(Arc::new(fixture::PACKAGE.as_bytes().to_vec()));
    outgoing
        .attachments
        .push(OutgoingAttachment { source: Arc::new(Endless(BYTES)), ..fixture::attachment() });
    let (key, id) = (fixture::signer(), fixture::signer_id(&sent));
    outgoing.signing = Some(Signing {
        signer: &key,
        certificate_id: &id,
        method: SignatureMethod::RsaSha256,
        digest: DigestMethod::Sha256,
    });
    let prepared = outgoing.prepare().expect("a message");
    let mut wire = Wire(Reader::new(Limits::default()), 0);
    prepared.write(&mut wire).expect("written");
    assert_eq!(wire.1, prepared.size());
    let Ok(Incoming::Message(received)) = wire.0.finish() else { panic!("a message") };
    assert_eq!(received.attachments[0].octets, BYTES);
    assert!(received.signature.expect("valid").is_some());
}

#[test]
fn a_source_that_lies_about_its_size_is_noticed() {
    struct Lying(u64);
    impl super::source::Source for Lying {
        fn bytes(&self) -> u64 {
            self.0
        }
        fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
            Ok(Box::new(b"four".as_slice()))
        }
    }
    for (stated, fits) in [(3, false), (4, true), (5, false)] {
        let sent = fixture::message(STORE);
        let scope = Scope::standard();
        let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_random([4; 24]));
        outgoing.content = Some(Arc::new(fixture::PACKAGE.as_bytes().to_vec()));
        outgoing
            .attachments
            .push(OutgoingAttachment { source: Arc::new(Lying(stated)), ..fixture::attachment() });
        let written = outgoing.prepare().expect("measured").to_vec();
        assert_eq!(written.is_ok(), fits, "{stated}");
    }
}

#[test]
fn a_kind_has_its_content_and_no_other() {
    for kind in Kind::all() {
        let sent = fixture::message(kind);
        let scope = Scope::standard();
        for has in [false, true] {
            let mut outgoing = Outgoing::new(&sent, &scope, Boundary::from_random([4; 24]));
            outgoing.content = has.then(|| Arc::new(fixture::PACKAGE.as_bytes().to_vec()) as _);
            let expected = match kind.place() {
                crate::osci::message::kind::Place::HeaderWithContent => has,
                crate::osci::message::kind::Place::HeaderWithOptionalContent => true,
                _ => !has,
            };
            assert_eq!(outgoing.prepare().is_ok(), expected, "{kind} {has}");
        }
    }
}
