//! Encrypted OSCI messages: arbitrary outer envelopes, and arbitrary content that was encrypted properly.
//!
//! Nothing may panic, and what is opened is what was sealed. Input: one byte that says which, the message.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use amtsbote::mime::content_id::ContentId;
use amtsbote::mime::transfer::{Base64Decoder, TransferEncoding};
use amtsbote::osci::envelope::Limits;
use amtsbote::osci::envelope::encrypted::{OwnKey, policy};
use amtsbote::osci::envelope::read::{Ciphertext, Incoming, Sealed, read};
use amtsbote::pki::certificate::Certificate;
use amtsbote::xml::enc::{ContentMethod, IvLength, KeyTransport, Plan, Recipient, RecipientKey};
use amtsbote::xml::tree::Element;
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<RecipientKey> = LazyLock::new(|| {
    RecipientKey::from_pkcs8(&der(include_str!("../../tests/data/pki/rsa.key"))).expect("a key")
});
static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    Certificate::from_pem(include_bytes!("../../tests/data/pki/rsa.crt")).expect("a certificate")
});

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = Vec::new();
    Base64Decoder::new().decode(body.as_bytes(), &mut der).expect("base64");
    der
}

fn open(sealed: &Sealed, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let own = [OwnKey { certificate_der: CERTIFICATE.der(), key: &KEY }];
    let opened = sealed.open(&mut &*ciphertext, &own, &policy(), Cursor::new(Vec::new()));
    opened.ok().map(|(decrypted, _)| decrypted.into_spool().into_inner())
}

fn seal(content: &[u8], iv: IvLength) -> (Sealed, Vec<u8>) {
    let recipient = Recipient::by_certificate(CERTIFICATE.der(), CERTIFICATE.spki().to_vec());
    let (method, transport) = (ContentMethod::Aes256Gcm, KeyTransport::OAEP_SHA256);
    let plan = Plan { method, iv, transport, recipients: vec![recipient] };
    let (data, mut sealing) =
        plan.seal_attachment("osci_enc", "Multipart/Related", Vec::new()).expect("sealed");
    sealing.push(content).expect("sealed");
    let ciphertext = sealing.finish().expect("sealed");
    let data = Element::parse(data.as_bytes(), &Default::default(), &Default::default()).expect("an element");
    let ciphertext_part = Ciphertext {
        content_id: ContentId::from_header("<osci_enc>").expect("an id"),
        span: 0..ciphertext.len() as u64,
        encoding: TransferEncoding::Identity,
    };
    (Sealed { data, ciphertext: ciphertext_part }, ciphertext)
}

fuzz_target!(|input: &[u8]| {
    let Some((&mode, message)) = input.split_first() else { return };
    let limits = Limits::default();
    if mode & 1 == 0 {
        if let Ok(Incoming::Encrypted(sealed)) = read(&mut Cursor::new(message), &limits) {
            let span = sealed.ciphertext.span.start as usize..sealed.ciphertext.span.end as usize;
            let _ = open(&sealed, &message[span]);
        }
        return;
    }
    let iv = if mode & 2 == 0 { IvLength::Twelve } else { IvLength::Sixteen };
    let (sealed, ciphertext) = seal(message, iv);
    let opened = open(&sealed, &ciphertext).expect("opened");
    assert_eq!(opened, message);
    let _ = read(&mut Cursor::new(opened), &limits);
});
