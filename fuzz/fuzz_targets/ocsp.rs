//! Answers of OCSP responders: arbitrary bytes, and arbitrary content that the right authority signed.
//!
//! Reading must not panic and keeps within its bounds. Nobody is believed who was not appointed; what is accepted speaks
//! of the certificate that was asked about, counts at this instant, and bears our nonce where one is demanded. Input:
//! one byte that says which, the answer or its content.
#![no_main]

use std::sync::LazyLock;

use amtsbote::mime::transfer::Base64Decoder;
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::revocation::ocsp::{Nonce, Status, judge};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const NONCE: [u8; 16] = [7; 16];

static AUTHORITY: LazyLock<Certificate> = LazyLock::new(|| read(include_bytes!("../../certs-dev/ca.crt")));
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

/// A whole answer: ecdsa-with-SHA256 over `content` as the authority's key makes it.
fn signed(content: &[u8]) -> Vec<u8> {
    let content = element(0x30, content);
    let algorithm = element(0x30, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    let signature = KEY.sign(&SystemRandom::new(), &content).expect("signed");
    let bits = [&[0], signature.as_ref()].concat();
    let basic = element(0x30, &[content, algorithm, element(3, &bits)].concat());
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 1].as_slice();
    let bytes = element(0x30, &[kind, &element(4, &basic)].concat());
    element(0x30, &[[0x0a, 1, 0].as_slice(), &element(0xa0, &bytes)].concat())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let now = Timestamp::from_second(1_800_000_000).expect("an instant");
    if mode & 1 == 0 {
        let judged = judge(bytes, &AUTHOR, &FOREIGN, Nonce::Ignored, now);
        assert!(judged.is_err(), "an authority that signed nothing");
        let _ = judge(bytes, &AUTHOR, &AUTHORITY, Nonce::Ignored, now);
        return;
    }
    let whole = signed(bytes);
    let judged = judge(&whole, &AUTHOR, &AUTHORITY, Nonce::Ignored, now);
    if let Ok(answer) = &judged {
        assert!(contains(bytes, AUTHOR.serial_der()));
        let day = jiff::SignedDuration::from_hours(24);
        assert!(answer.this_update <= now.checked_add(day).expect("an instant"));
        assert!(answer.until >= now || matches!(answer.status, Status::Revoked { .. }));
    }
    let demanded = judge(&whole, &AUTHOR, &AUTHORITY, Nonce::Required(&NONCE), now);
    if demanded.is_ok() {
        assert!(judged.is_ok() && contains(bytes, &NONCE));
    }
});
