//! Recorded exchanges between clients and intermediaries of other makes, with test keys, named by
//! `AMTSBOTE_OSCI_SAMPLES`: every one is read, decrypted where it is encrypted, its signatures verify, and written
//! again it says the same.

use std::io::Cursor;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::authors::Outcome;
use super::encrypted::{Algorithms, OwnKey, PreparedSealed, policy};
use super::fault::Fault;
use super::read::{Incoming, Received, Sealed, read};
use super::source::Shared;
use super::write::{Outgoing, OutgoingAttachment};
use super::*;
use crate::mime::write::Boundary;
use crate::osci::message::kind::{Kind, Operation};
use crate::pki;
use crate::xml::enc::RecipientKey;

/// The recorded messages with their names, or nothing, said aloud.
fn samples() -> Vec<(String, Vec<u8>)> {
    let Some(root) = root() else { return Vec::new() };
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("samples can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bin") {
                let name = path.strip_prefix(&root).expect("inside").display().to_string();
                found.push((name, std::fs::read(&path).expect("a sample can be read")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "{} samples only", found.len());
    found
}

fn root() -> Option<PathBuf> {
    let root = std::env::var_os("AMTSBOTE_OSCI_SAMPLES").map(PathBuf::from);
    if root.is_none() {
        eprintln!("AMTSBOTE_OSCI_SAMPLES is not set: recorded exchanges are not read");
    }
    root
}

fn plain(bytes: &[u8]) -> Incoming {
    read(&mut Cursor::new(bytes), &Limits::default()).expect("a message")
}

fn check_message(name: &str, bytes: &[u8], received: &Received, is_signed: bool) {
    let signed = received.signature.as_ref().unwrap_or_else(|refused| panic!("{name}: {refused}"));
    assert_eq!(signed.is_some(), is_signed, "{name}");
    assert_eq!(received.message.control.fault(received.message.kind()), None, "{name}");
    if let Some(authors) = received.authors(&Limits::default()) {
        let (start, end) = (received.soap_span.start as usize, received.soap_span.end as usize);
        let reports = authors.verify(&mut &bytes[start..end]).expect("read twice");
        for report in reports {
            assert!(matches!(report.outcome, Outcome::Verified(_)), "{name}: {:?}", report.outcome);
            assert!(report.uncovered.is_empty(), "{name}: {:?}", report.uncovered);
        }
    }
}

/// The recorded keys that decrypt, each with its certificate.
fn keys() -> Vec<(Vec<u8>, RecipientKey)> {
    let Some(root) = root() else { return Vec::new() };
    let key = |name: &str| {
        let file =
            |kind: &str| std::fs::read(root.join("keys").join(format!("{name}.{kind}"))).expect("a key");
        let certificate = CertificateDer::from_pem_slice(&file("crt")).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from_pem_slice(&file("key")).expect("a key");
        let key = RecipientKey::from_pkcs8(key.secret_pkcs8_der()).expect("a key for decryption");
        (certificate.as_ref().to_vec(), key)
    };
    ["alice_enc", "bob_enc", "dave_enc", "intermed_enc"].map(key).into()
}

/// Decrypts a message, and says for whom and how it was encrypted.
fn open(name: &str, bytes: &[u8], sealed: &Sealed, keys: &[(Vec<u8>, RecipientKey)]) -> Opened {
    let span = sealed.ciphertext.span.start as usize..sealed.ciphertext.span.end as usize;
    let found = keys.iter().find_map(|(certificate, key)| {
        let own = [OwnKey { certificate_der: certificate, key }];
        let spool = Cursor::new(Vec::new());
        match sealed.open(&mut &bytes[span.clone()], &own, &policy(), spool) {
            Ok((decrypted, algorithms)) => {
                Some((decrypted.into_spool().into_inner(), algorithms, certificate))
            }
            Err(encrypted::Error::NotForUs) => None,
            Err(error) => panic!("{name}: {error}"),
        }
    });
    let (clear, algorithms, certificate) = found.unwrap_or_else(|| panic!("{name}: for nobody"));
    Opened { clear, algorithms, certificate: certificate.clone() }
}

struct Opened {
    clear: Vec<u8>,
    algorithms: Algorithms,
    certificate: Vec<u8>,
}

fn message_of(name: &str, bytes: &[u8]) -> Box<Received> {
    match plain(bytes) {
        Incoming::Message(received) => received,
        other => panic!("{name}: {other:?}"),
    }
}

/// Written again from what was read, a message has the recorded bytes, its signature apart, which we spell otherwise.
fn check_written_again(name: &str, bytes: &[u8], received: &Received) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let at = |span: Range<u64>| bytes[span.start as usize..span.end as usize].to_vec();
    let boundary =
        text.split("boundary=").nth(1).and_then(|rest| rest.split(';').next()).expect("a boundary");
    let boundary = Boundary::from_text(boundary).expect("a boundary");
    let mut outgoing = Outgoing::new(&received.message, &received.scope, boundary);
    outgoing.content = received.package_span().map(|span| Arc::new(at(span)) as Shared);
    for attachment in &received.attachments {
        let source = Arc::new(at(attachment.span.clone()));
        outgoing.attachments.push(OutgoingAttachment::relayed(attachment, source));
    }
    let prepared = outgoing.prepare().unwrap_or_else(|error| panic!("{name}: {error}"));
    let again = prepared.to_vec().expect("written");
    assert_eq!(prepared.size(), again.len() as u64, "{name}");
    let unsigned = without_signature(bytes);
    if again != unsigned {
        let at =
            again.iter().zip(&unsigned).position(|(a, b)| a != b).unwrap_or(again.len().min(unsigned.len()));
        let show = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(80)..bytes.len().min(at + 80)]).into_owned()
        };
        panic!("{name}: written\n{}\nrecorded\n{}", show(&again), show(&unsigned));
    }
}

/// The message without its signature block.
fn without_signature(bytes: &[u8]) -> Vec<u8> {
    for name in ["ClientSignature", "SupplierSignature"] {
        let (open, close) = (format!("<osci:{name}"), format!("</osci:{name}>"));
        if let (Some(start), Some(end)) = (find(bytes, open.as_bytes()), find(bytes, close.as_bytes())) {
            return [&bytes[..start], &bytes[end + close.len()..]].concat();
        }
    }
    bytes.to_vec()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

/// Encrypted again for the same reader, it opens to the same bytes.
fn check_sealed_again(name: &str, opened: &Opened, keys: &[(Vec<u8>, RecipientKey)]) {
    let spki =
        pki::certificate::Certificate::from_der(&opened.certificate).expect("a certificate").spki().to_vec();
    let received = message_of(name, &opened.clear);
    let scope = received.scope.clone();
    let boundary = || Boundary::from_random([7; 24]);
    let mut outgoing = Outgoing::new(&received.message, &scope, boundary());
    outgoing.content = received
        .package_span()
        .map(|span| Arc::new(opened.clear[span.start as usize..span.end as usize].to_vec()) as Shared);
    let inner = outgoing.prepare().expect("a message");
    let clear = inner.to_vec().expect("written");
    let sealed = PreparedSealed::new(inner, opened.algorithms, &opened.certificate, &spki, boundary(), false);
    let sealed = sealed.unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = sealed.to_vec().expect("written");
    let Incoming::Encrypted(outer) = plain(&bytes) else { panic!("{name}: not encrypted") };
    let again = open(name, &bytes, &outer, keys);
    assert_eq!((again.clear, again.algorithms), (clear, opened.algorithms), "{name}");
}

#[test]
fn recorded_exchanges_are_read_and_written_again() {
    let (mut messages, mut sealed, mut faults) = (0, 0, 0);
    let (samples, keys) = (samples(), keys());
    for (name, bytes) in &samples {
        match plain(bytes) {
            Incoming::Message(received) => {
                messages += 1;
                check_message(name, bytes, &received, true);
                check_written_again(name, bytes, &received);
            }
            Incoming::Encrypted(outer) => {
                sealed += 1;
                let opened = open(name, bytes, &outer, &keys);
                let received = message_of(name, &opened.clear);
                check_message(name, &opened.clear, &received, true);
                check_written_again(name, &opened.clear, &received);
                check_sealed_again(name, &opened, &keys);
            }
            Incoming::Fault(element) => {
                faults += 1;
                let fault = Fault::read(&element);
                assert_eq!(fault.code.map(|code| code.number()), Some(9100), "{name}");
                let prepared = fault.prepare(&Boundary::from_text("MIME_boundary").expect("a boundary"));
                assert_eq!(
                    prepared.expect("made").to_vec().expect("written"),
                    bytes.trim_ascii_start(),
                    "{name}"
                );
            }
        }
    }
    if !samples.is_empty() {
        assert_eq!((messages, sealed, faults), (72, 46, 1));
    }
}

/// The chunks of a message are, put together, a message of their own.
#[test]
fn recorded_chunks_make_a_message() {
    for (request, number, kind) in [
        ("partialStore-req", 5, Kind::Request(Operation::StoreDelivery)),
        ("partialFetch-rsp", 5, Kind::Response(Operation::FetchDelivery)),
    ] {
        let chunks: Vec<_> = samples().into_iter().filter(|(name, _)| name.contains(request)).collect();
        if chunks.is_empty() {
            continue;
        }
        assert_eq!(chunks.len(), number);
        let whole: Vec<u8> = chunks
            .iter()
            .flat_map(|(name, bytes)| {
                let received = message_of(name, bytes);
                let span = received.attachments[0].span.clone();
                bytes[span.start as usize..span.end as usize].to_vec()
            })
            .collect();
        let received = message_of(request, &whole);
        assert_eq!(received.message.kind(), kind);
        check_message(request, &whole, &received, false);
        check_written_again(request, &whole, &received);
    }
}
