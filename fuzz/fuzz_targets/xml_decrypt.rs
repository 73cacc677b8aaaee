//! The decrypter: nothing panics, and whatever is wrong has the one answer. The first byte chooses the policy; the rest
//! is an EncryptedData element, and what follows its end is an attachment.
#![no_main]

use std::io::Cursor;

use amtsbote::mime::transfer::Base64Decoder;
use amtsbote::xml::Limits;
use amtsbote::xml::enc::{self, Content, EncryptedData, Error, IvLength, Policy, RecipientKey, Written};
use amtsbote::xml::tree::Element;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../tests/data/pki/rsa.key");

fn key() -> RecipientKey {
    let mut octets = Vec::new();
    let lines: String = KEY.lines().filter(|line| !line.starts_with('-')).collect();
    Base64Decoder::new().decode(lines.as_bytes(), &mut octets).expect("the key is base64");
    RecipientKey::from_pkcs8(&octets).expect("an RSA key")
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    let policy = Policy {
        iv: if choice & 1 == 0 { IvLength::Twelve } else { IvLength::Sixteen },
        cbc: choice & 2 != 0,
        rsa_1_5: choice & 4 != 0,
        oaep_sha1: choice & 8 != 0,
    };
    let marker = b"</xenc:EncryptedData>";
    let end = rest.windows(marker.len()).position(|window| window == marker).map(|at| at + marker.len());
    let (xml, attachment) = rest.split_at(end.unwrap_or(rest.len()));
    let Ok(element) = Element::parse(xml, &Limits::default(), &Default::default()) else { return };
    static RECIPIENT: std::sync::OnceLock<RecipientKey> = std::sync::OnceLock::new();
    let recipient = RECIPIENT.get_or_init(key);
    if let Err(error) = enc::decrypt(&element, &|_| true, recipient, &policy) {
        assert_eq!(error, Error::Undecryptable);
    }
    let Ok(data) = EncryptedData::from_element(&element, &policy) else { return };
    let Some(wrapped) = data.keys().first() else { return };
    let _ = wrapped.certificate();
    let written = if choice & 16 == 0 { Written::Octets } else { Written::Base64 };
    let Ok(mut opening) = data.open(wrapped, recipient, written, Cursor::new(Vec::new())) else { return };
    let content = match data.content() {
        Content::Inline(content) => content.as_slice(),
        Content::Attachment(_) => attachment,
    };
    for piece in content.chunks(usize::from(choice >> 5) * 7 + 1) {
        opening.push(piece).expect("memory takes all");
    }
    if let Err(error) = opening.finish() {
        assert_eq!(error, Error::Undecryptable);
    }
});
