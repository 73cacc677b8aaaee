//! The signature verifier: nothing panics, one pass and two passes agree, and nothing is accepted whose covered element
//! is not the one that was signed. The seeds hold a document with a good signature.
#![no_main]

use amtsbote::mime::transfer::Base64Decoder;
use amtsbote::xml::Limits;
use amtsbote::xml::c14n::{Algorithm, Canonicalizer};
use amtsbote::xml::dsig::signature::{Candidate, Collector};
use amtsbote::xml::dsig::verify::{SignatureVerified, Verification, read_once};
use amtsbote::xml::read::{Event, SliceReader};
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("key.pub");

/// The canonical forms of the only element that was ever signed with the key.
const SIGNED: [&str; 2] = [
    "<s:Body xmlns:o=\"urn:o\" xmlns:s=\"urn:s\" Id=\"body\"><o:To a=\"1\">alice</o:To></s:Body>",
    "<s:Body xmlns:s=\"urn:s\" Id=\"body\"><o:To xmlns:o=\"urn:o\" a=\"1\">alice</o:To></s:Body>",
];

/// The element at this byte, by the form that the signature chose: one of the two must fit.
fn canonical(data: &[u8], start: u64) -> String {
    let mut forms = [Algorithm::Inclusive, Algorithm::Exclusive].into_iter().map(|algorithm| {
        let mut canonicalizer = Canonicalizer::new(algorithm, "");
        let mut reader = SliceReader::new(data, Limits::default());
        let (mut out, mut inside, mut ended) = (Vec::new(), false, false);
        while let Ok(Some(event)) = reader.next_event() {
            inside |= matches!(&event, Event::Start(tag) if tag.span().start == start);
            if inside && !ended {
                ended = canonicalizer.push(&event, &mut |bytes| out.extend_from_slice(bytes));
            }
        }
        String::from_utf8(out).expect("UTF-8")
    });
    forms.find(|form| SIGNED.contains(&form.as_str())).unwrap_or_default()
}

fn key() -> Vec<u8> {
    let mut octets = Vec::new();
    let lines: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    Base64Decoder::new().decode(lines.as_bytes(), &mut octets).expect("the key is base64");
    octets
}

fn once(data: &[u8], key: &[u8]) -> Option<SignatureVerified> {
    let open = || Ok(data);
    let wanted = |candidate: &Candidate| candidate.signature.is_ok();
    read_once(open, &Limits::default(), &Default::default(), wanted).ok()?.0?.finish(key).ok()
}

fn twice(data: &[u8], key: &[u8]) -> Option<SignatureVerified> {
    let mut collector = Collector::new(Default::default(), Default::default());
    let mut reader = SliceReader::new(data, Limits::default());
    while let Some(event) = reader.next_event().ok()? {
        collector.push(&event).ok()?;
    }
    let signature = collector.finish().into_iter().find_map(|candidate| candidate.signature.ok())?;
    let mut verification = Verification::new(signature);
    let mut reader = SliceReader::new(data, Limits::default());
    while let Some(event) = reader.next_event().ok()? {
        verification.push(&event).ok()?;
    }
    verification.finish(key).ok()
}

fuzz_target!(|data: &[u8]| {
    let key = key();
    let proof = once(data, &key);
    assert_eq!(proof, twice(data, &key));
    for covered in proof.iter().flat_map(SignatureVerified::covered) {
        let span = covered.span.clone().expect("an element");
        assert!(SIGNED.contains(&canonical(data, span.start).as_str()));
    }
});
