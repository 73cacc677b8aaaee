//! Revocation lists: arbitrary bytes, and arbitrary content that the right authority signed.
//!
//! Reading must not panic and keeps within its bounds. A list that nobody signed says nothing of anybody; one that names
//! a certificate gets it refused, whatever else stands in it. Input: one byte that says which, the list or its content.
#![no_main]

use std::sync::LazyLock;

use amtsbote::mime::transfer::Base64Decoder;
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::revocation::list::{List, Said};
use amtsbote::pki::trust::TrustAnchors;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const AUTHORITY_PEM: &[u8] = include_bytes!("../../certs-dev/ca.crt");
const PURPOSE: Purpose = Purpose::ParticipantTls;

static AUTHORITY: LazyLock<Certificate> = LazyLock::new(|| read(AUTHORITY_PEM));
static FOREIGN: LazyLock<Certificate> =
    LazyLock::new(|| read(include_bytes!("../../certs-dev/foreign-ca.crt")));
static AUTHOR: LazyLock<Certificate> = LazyLock::new(|| read(include_bytes!("../../certs-dev/author.crt")));
static KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let der = der(include_str!("../../certs-dev/ca.key"));
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).expect("a key")
});

fn read(pem: &[u8]) -> Certificate {
    Certificate::from_pem(pem).expect("a certificate")
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = Vec::new();
    Base64Decoder::new().decode(body.as_bytes(), &mut der).expect("base64");
    der
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    let mut out = vec![tag];
    match content.len() {
        0..0x80 => out.push(length[3]),
        _ => {
            let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend(content);
    out
}

/// ecdsa-with-SHA256 over `content` as the authority's key makes it.
fn signed(content: &[u8]) -> Vec<u8> {
    let content = element(0x30, content);
    let algorithm = element(0x30, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    let signature = KEY.sign(&SystemRandom::new(), &content).expect("signed");
    let bits = [&[0], signature.as_ref()].concat();
    element(0x30, &[content, algorithm, element(3, &bits)].concat())
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    let whole = if mode & 1 == 0 { bytes.to_vec() } else { signed(bytes) };
    let Ok(list) = List::from_der(&whole) else { return };
    assert_eq!(list.der(), whole);
    assert!(list.follows(&list) && !list.adds_to(&list));
    assert_eq!(list.says(&AUTHOR, &FOREIGN, now), None, "the authority that signed nothing");
    let said = list.says(&AUTHOR, &AUTHORITY, now);
    if said.is_some() {
        assert!(list.is_signed_by(&AUTHORITY));
    }
    if said == Some(Said::Clear) {
        assert!(!list.is_delta() && list.this_update() <= now && list.next_update() > Some(now));
    }
    let builder = TrustAnchors::builder().anchors(PURPOSE, AUTHORITY_PEM).expect("an anchor");
    if let Ok(builder) = builder.revocation_lists(PURPOSE, &whole) {
        let acceptable = builder.build().inspect(PURPOSE, &AUTHOR, &[], now).is_acceptable();
        assert!(!(acceptable && said == Some(Said::Revoked)), "revoked, and believed");
    }
});
