//! Both ways with every algorithm; whatever is wrong has one answer; and `xmlsec1` as a peer.

use std::process::Command;

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey};

use super::*;
use crate::mime::transfer::Base64Decoder;

struct Pair {
    key: RecipientKey,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

fn pair() -> Pair {
    let key = PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let (pkcs8, spki) = (pkcs8.as_ref().to_vec(), spki.as_ref().to_vec());
    Pair { key: RecipientKey::from_pkcs8(&pkcs8).unwrap(), pkcs8, spki }
}

fn parse(xml: &str) -> Element {
    Element::parse(xml.as_bytes(), &Default::default(), &Default::default()).unwrap()
}

fn named(name: &str) -> impl Fn(&Element) -> bool {
    move |info| info.child(NS_DSIG, "KeyName").is_some_and(|n| n.text() == name)
}

fn recipient(pair: &Pair, name: &str) -> Recipient {
    Recipient { spki_der: pair.spki.clone(), key_info: format!("<ds:KeyName>{name}</ds:KeyName>") }
}

const OAEP: KeyTransport = KeyTransport::OAEP_SHA256;
const GCM: [ContentMethod; 3] =
    [ContentMethod::Aes128Gcm, ContentMethod::Aes192Gcm, ContentMethod::Aes256Gcm];
const CBC: [ContentMethod; 3] =
    [ContentMethod::Aes128Cbc, ContentMethod::Aes192Cbc, ContentMethod::Aes256Cbc];
const ALL_ALLOWED: Policy = Policy { iv: IvLength::Twelve, cbc: true, rsa_1_5: true, oaep_sha1: true };

fn plan(method: ContentMethod, iv: IvLength, transport: KeyTransport, recipients: &[Recipient]) -> Plan {
    Plan { method, iv, transport, recipients: recipients.to_vec() }
}

#[test]
fn every_recipient_decrypts_and_nobody_else() {
    let (a, b) = (pair(), pair());
    let recipients = [recipient(&a, "a"), recipient(&b, "b")];
    for method in GCM {
        for (iv, other) in [(IvLength::Twelve, IvLength::Sixteen), (IvLength::Sixteen, IvLength::Twelve)] {
            for transport in [OAEP, KeyTransport::OAEP_SHA512] {
                let data = parse(&encrypt(b"geheim", &plan(method, iv, transport, &recipients)).unwrap());
                let policy = Policy { iv, ..Policy::default() };
                let open = |name: &str, key: &Pair| decrypt(&data, &named(name), &key.key, &policy);
                assert_eq!(open("a", &a).as_deref(), Ok(b"geheim".as_slice()));
                assert_eq!(open("b", &b).as_deref(), Ok(b"geheim".as_slice()));
                assert_eq!(open("a", &b), Err(Error::Undecryptable));
                assert_eq!(open("c", &a), Err(Error::Undecryptable));
                let policy = Policy { iv: other, ..policy };
                assert_eq!(decrypt(&data, &named("a"), &a.key, &policy), Err(Error::Undecryptable));
            }
        }
    }
}

/// What is made for old peers only: another implementation reads the key, and every length of content comes back.
#[test]
fn cbc_and_pkcs1_are_made_for_who_reads_nothing_else() {
    let a = pair();
    for method in CBC {
        for length in [0, 1, 15, 16, 17, 100, 16 * 1024, 16 * 1024 + 1] {
            let clear: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let plan = plan(method, IvLength::Twelve, KeyTransport::Rsa15, &[recipient(&a, "a")]);
            let xml = encrypt(&clear, &plan).unwrap();
            let data = parse(&xml);
            let open = |policy: &Policy| decrypt(&data, &named("a"), &a.key, policy);
            assert_eq!(open(&ALL_ALLOWED), Ok(clear), "{method:?} {length}");
            assert_eq!(open(&Policy { cbc: false, ..ALL_ALLOWED }), Err(Error::Undecryptable));
            assert_eq!(open(&Policy { rsa_1_5: false, ..ALL_ALLOWED }), Err(Error::Undecryptable));
        }
    }
    let wrapped = rsa::wrap_pkcs1(b"0123456789abcdef", &a.spki).unwrap();
    let key = PrivateDecryptingKey::from_pkcs8(&a.pkcs8).unwrap();
    let key = aws_lc_rs::rsa::Pkcs1PrivateDecryptingKey::new(key).unwrap();
    let mut out = vec![0; 256];
    assert_eq!(key.decrypt(&wrapped, &mut out).unwrap(), b"0123456789abcdef");
}

/// Digest and mask of OAEP may differ; SHA-1 in either only by policy.
#[test]
fn oaep_in_every_pairing() {
    use OaepHash as H;
    let a = pair();
    for digest in [H::Sha1, H::Sha256, H::Sha384, H::Sha512, H::Sha3_256, H::Sha3_384, H::Sha3_512] {
        for mask in [H::Sha1, H::Sha256, H::Sha384, H::Sha512] {
            let transport = KeyTransport::Oaep { digest, mask };
            let plan = plan(ContentMethod::Aes256Gcm, IvLength::Twelve, transport, &[recipient(&a, "a")]);
            let data = parse(&encrypt(b"geheim", &plan).unwrap());
            let open = |policy: &Policy| decrypt(&data, &named("a"), &a.key, policy);
            assert_eq!(open(&ALL_ALLOWED).as_deref(), Ok(b"geheim".as_slice()), "{transport:?}");
            let strict = digest != H::Sha1 && mask != H::Sha1;
            assert_eq!(open(&Policy::default()).is_ok(), strict, "{transport:?}");
        }
    }
    // The safe interface of the provider knows the matching pairs and must agree.
    let own = rsa::wrap(b"0123456789abcdef", H::Sha512, H::Sha512, &a.spki).unwrap();
    let key = PrivateDecryptingKey::from_pkcs8(&a.pkcs8).unwrap();
    let key = aws_lc_rs::rsa::OaepPrivateDecryptingKey::new(key).unwrap();
    let mut out = vec![0; 256];
    let algorithm = &aws_lc_rs::rsa::OAEP_SHA512_MGF1SHA512;
    assert_eq!(key.decrypt(algorithm, &own, &mut out, None).unwrap(), b"0123456789abcdef");
}

#[test]
fn keys_that_are_not_rsa_or_too_short_are_refused() {
    let ec =
        aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING)
            .unwrap();
    assert!(RecipientKey::from_pkcs8(ec.to_pkcs8v1().unwrap().as_ref()).is_none());
    assert!(RecipientKey::from_pkcs8(b"").is_none());
    let weak =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/attacks/downgrade-rsa-1024.pub"));
    let weak = String::from_utf8(weak.unwrap()).unwrap();
    let lines: String = weak.lines().filter(|line| !line.starts_with('-')).collect();
    let short = STANDARD.decode(lines).unwrap();
    assert!(rsa::wrap(&[7; 16], OaepHash::Sha256, OaepHash::Sha256, &short).is_none());
    assert!(rsa::wrap(&[7; 16], OaepHash::Sha256, OaepHash::Sha256, &pair().spki).is_some());
    let mut longer = pair().pkcs8;
    longer.push(0);
    assert!(RecipientKey::from_pkcs8(&longer).is_none());
}

/// The stream against another implementation, for every length around the blocks and pieces, pushed in odd pieces.
#[test]
fn streams_agree_with_one_shot_gcm() {
    fn one_shot(key: &[u8], iv: &[u8], clear: &[u8]) -> Vec<u8> {
        macro_rules! seal {
            ($aes:ty, $size:ty) => {
                aes_gcm::AesGcm::<$aes, $size>::new_from_slice(key)
                    .unwrap()
                    .encrypt(iv.try_into().unwrap(), clear)
                    .unwrap()
            };
        }
        let sealed = match (key.len(), iv.len()) {
            (16, 12) => seal!(Aes128, U12),
            (24, 12) => seal!(Aes192, U12),
            (32, 12) => seal!(Aes256, U12),
            (16, _) => seal!(Aes128, U16),
            (24, _) => seal!(Aes192, U16),
            _ => seal!(Aes256, U16),
        };
        [iv, &sealed].concat()
    }
    const PIECE: usize = 256 * 1024;
    let clear: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    for method in GCM {
        for iv in [IvLength::Twelve, IvLength::Sixteen] {
            for length in [0, 1, 15, 16, 17, 4096, PIECE - 1, PIECE, PIECE + 1, PIECE + 28, 600_000] {
                let key = ContentKey { octets: vec![7; method.key_bytes()], method, iv };
                let mut sealing = Sealing::new(&key, Vec::new()).unwrap();
                clear[..length].chunks(9_999).for_each(|piece| sealing.push(piece).unwrap());
                let sealed = sealing.finish().unwrap();
                let expected = one_shot(&key.octets, &sealed[..iv.bytes()], &clear[..length]);
                assert!(sealed == expected, "{method:?} {iv:?} {length}");
                for piece in [1, 17, 4097, 300_000] {
                    if piece < 100 && length > 5000 {
                        continue;
                    }
                    let key = ContentKey { octets: key.octets.clone(), ..key };
                    let mut opening = Opening::new(key, Written::Octets, Cursor::new(Vec::new()));
                    sealed.chunks(piece).for_each(|piece| opening.push(piece).unwrap());
                    let opened = opening.finish().unwrap();
                    assert_eq!(opened.size(), length as u64);
                    assert!(opened.into_spool().into_inner() == clear[..length]);
                }
            }
        }
    }
}

/// OSCI's transport envelope: the certificate names the recipient, the content is an attachment.
#[test]
fn transport_envelope_both_ways() {
    let a = pair();
    let content = b"MIME-Version: 1.0\r\n...".repeat(30_000);
    for iv in [IvLength::Twelve, IvLength::Sixteen] {
        for written in [Written::Octets, Written::Base64] {
            let recipients = [Recipient::by_certificate(b"certificate", a.spki.clone())];
            let plan = plan(ContentMethod::Aes256Gcm, iv, OAEP, &recipients);
            let (xml, mut sealing) =
                plan.seal_attachment("osci_enc", "Multipart/Related", Vec::new()).unwrap();
            sealing.push_from(&mut content.as_slice()).unwrap();
            let mut sealed = sealing.finish().unwrap();
            if written == Written::Base64 {
                let lines = STANDARD.encode(sealed).into_bytes();
                sealed = lines.chunks(76).collect::<Vec<_>>().join(&b'\n');
            }
            assert_eq!(xml.contains("<osci128:IvLength"), iv == IvLength::Twelve);
            let policy = Policy { iv: IvLength::Sixteen, ..Policy::default() };
            let data = EncryptedData::from_element(&parse(&xml), &policy).unwrap();
            assert_eq!((data.method(), data.iv()), (plan.method, iv));
            assert_eq!(data.content(), &Content::Attachment("osci_enc".to_owned()));
            let [key] = data.keys() else { panic!("{xml}") };
            assert_eq!(key.certificate().as_deref(), Some(b"certificate".as_slice()));
            assert_eq!(key.transport(), Some(OAEP));
            let mut opening = data.open(key, &a.key, written, Cursor::new(Vec::new())).unwrap();
            opening.push_from(&mut sealed.as_slice()).unwrap();
            let mut decrypted = opening.finish().unwrap();
            let mut out = Vec::new();
            decrypted.read_to_end(&mut out).unwrap();
            assert!(out == content);

            // Whatever is changed, cut or added is noticed at the end, and nothing else is said.
            for at in [0, 13, 17, 40_000, sealed.len() - 1] {
                let mut opening = data.open(key, &a.key, written, Cursor::new(Vec::new())).unwrap();
                let mut changed = sealed.clone();
                changed[at] ^= if written == Written::Octets { 1 } else { 0x80 };
                assert_eq!(opening.push(&changed), Ok(()));
                assert_eq!(opening.finish().err(), Some(Error::Undecryptable), "{at}");
                let mut opening = data.open(key, &a.key, written, Cursor::new(Vec::new())).unwrap();
                assert_eq!(opening.push(&sealed[..at]), Ok(()));
                assert_eq!(opening.finish().err(), Some(Error::Undecryptable), "{at}");
            }
        }
    }
}

#[test]
fn envelopes_that_are_refused() {
    let a = pair();
    let recipients = [Recipient::by_certificate(b"certificate", a.spki.clone())];
    let plan = plan(ContentMethod::Aes256Gcm, IvLength::Twelve, OAEP, &recipients);
    let (xml, _) = plan.seal_attachment("osci_enc", "Multipart/Related", Vec::new()).unwrap();
    let read = |xml: &str| EncryptedData::from_element(&parse(xml), &Policy::default());
    assert!(read(&xml).is_ok());
    for (from, to) in [
        ("Value=\"12\"", "Value=\"13\""),
        ("Value=\"12\"", "Value=\"0\""),
        ("Value=\"12\"", ""),
        ("cid:osci_enc", "http://127.0.0.1/"),
        ("cid:osci_enc", "file:///etc/passwd"),
        ("cid:osci_enc", "#body"),
        ("cid:osci_enc", "cid:"),
        ("xmldsig#base64", "xmldsig#enveloped-signature"),
        ("2000/09/xmldsig#base64", "TR/1999/REC-xslt-19991116"),
        ("<ds:Transform ", "<ds:Transform/><ds:Transform "),
        ("<xenc:CipherReference", "<xenc:CipherValue/><xenc:CipherReference"),
        ("xmlenc11#aes256-gcm", "xmlenc#tripledes-cbc"),
        ("2009/xmlenc11#aes256-gcm", "2001/04/xmlenc#aes256-cbc"),
        ("EncryptedData", "EncryptedKey"),
    ] {
        assert!(xml.contains(from), "{from}");
        assert_eq!(read(&xml.replace(from, to)), Err(Error::Undecryptable), "{from} {to}");
    }
    // A label is part of the padding; one that is overlooked would be one that does not bind.
    let labelled = xml.replace("<ds:DigestMethod", "<xenc:OAEPparams>AAAA</xenc:OAEPparams><ds:DigestMethod");
    assert_ne!(labelled, xml);
    assert_eq!(read(&labelled).unwrap().keys()[0].transport(), None);
    // Each key costs a private operation of somebody who tries them.
    let from = xml.find("<xenc:EncryptedKey>").unwrap();
    let to = xml.find("</xenc:EncryptedKey>").unwrap() + "</xenc:EncryptedKey>".len();
    let many = [&xml[..from], &xml[from..to].repeat(65), &xml[to..]].concat();
    assert_eq!(read(&many).unwrap().keys().len(), RECIPIENTS_MAX);
    let other = xml.replace("<ds:X509Certificate>", "<ds:X509CRL>AAAA</ds:X509CRL><ds:X509Certificate>");
    assert_eq!(read(&other).unwrap().keys()[0].certificate(), None);
}

fn encrypted_data(method: &str, transport: &str, wrapped: &[u8], content: &[u8]) -> String {
    let (wrapped, content) = (STANDARD.encode(wrapped), STANDARD.encode(content));
    format!(
        "<xenc:EncryptedData xmlns:xenc='{NS_XENC}' xmlns:ds='{NS_DSIG}'><xenc:EncryptionMethod \
         Algorithm='{method}'/><ds:KeyInfo><xenc:EncryptedKey><xenc:EncryptionMethod \
         Algorithm='{NS_XENC}{transport}'/><ds:KeyInfo><ds:KeyName>a</ds:KeyName></ds:KeyInfo><xenc:CipherData>\
         <xenc:CipherValue>{wrapped}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>\
         <xenc:CipherData><xenc:CipherValue>{content}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
    )
}

/// A ciphertext of AES-CBC over whole blocks, by the provider.
fn cbc(key: &[u8], blocks: &[u8]) -> Vec<u8> {
    use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, EncryptingKey, UnboundCipherKey};
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let key = EncryptingKey::cbc(UnboundCipherKey::new(algorithm, key).unwrap()).unwrap();
    let mut body = blocks.to_vec();
    let context = key.encrypt(&mut body).unwrap();
    let aws_lc_rs::cipher::DecryptionContext::Iv128(iv) = context else { panic!("no vector") };
    [iv.as_ref().as_slice(), &body].concat()
}

/// Padding oracles of AES-CBC (Jager and Somorovsky) and PKCS#1 (Bleichenbacher): the answers are one, for every
/// last byte and every malformed block, and the work is done to the end in each case.
#[test]
fn oracles_hear_one_answer() {
    let a = pair();
    let public = PublicEncryptingKey::from_der(&a.spki).unwrap();
    let public = Pkcs1PublicEncryptingKey::new(public).unwrap();
    let wrap = |key: &[u8]| {
        let mut out = vec![0; public.ciphertext_size()];
        public.encrypt(key, &mut out).unwrap().to_vec()
    };
    for method in CBC {
        let key = vec![7; method.key_bytes()];
        let wrapped = wrap(&key);
        let open = |content: &[u8], policy: &Policy| {
            let xml = encrypted_data(method.uri(), "rsa-1_5", &wrapped, content);
            decrypt(&parse(&xml), &named("a"), &a.key, policy)
        };
        for blocks in [1, 2, 9, 2000] {
            for last in 0..=255_u8 {
                let mut clear = vec![b'x'; blocks * 16];
                *clear.last_mut().unwrap() = last;
                if blocks > 2 && last > 20 {
                    break;
                }
                let good =
                    (1..=16).contains(&last).then(|| clear[..clear.len() - usize::from(last)].to_vec());
                let content = cbc(&key, &clear);
                assert_eq!(open(&content, &ALL_ALLOWED), good.ok_or(Error::Undecryptable), "{blocks} {last}");
                assert_eq!(open(&content, &Policy::default()), Err(Error::Undecryptable));
                let without = Policy { rsa_1_5: false, ..ALL_ALLOWED };
                assert_eq!(open(&content, &without), Err(Error::Undecryptable));
                assert_eq!(open(&content[..content.len() - 1], &ALL_ALLOWED), Err(Error::Undecryptable));
            }
        }
        for content in [&[][..], &[0; 15], &[0; 16], &[0; 17]] {
            assert_eq!(open(content, &ALL_ALLOWED), Err(Error::Undecryptable));
        }
    }
    // Keys of other lengths, and blocks that are no PKCS#1 at all, end as a tag that is wrong.
    let method = ContentMethod::Aes256Gcm;
    let content_key = ContentKey { octets: vec![7; 32], method, iv: IvLength::Twelve };
    let mut sealing = Sealing::new(&content_key, Vec::new()).unwrap();
    sealing.push(b"geheim").unwrap();
    let sealed = sealing.finish().unwrap();
    let open = |wrapped: &[u8]| {
        let xml = encrypted_data(method.uri(), "rsa-1_5", wrapped, &sealed);
        let data = EncryptedData::from_element(&parse(&xml), &ALL_ALLOWED).unwrap();
        let opening = data.open(&data.keys()[0], &a.key, Written::Octets, Cursor::new(Vec::new()));
        // A bad key is never told from a good one before the content has passed.
        let mut opening = opening.unwrap();
        opening.push(&sealed).unwrap();
        opening.finish().map(|opened| opened.into_spool().into_inner())
    };
    assert_eq!(open(&wrap(&[7; 32])).as_deref(), Ok(b"geheim".as_slice()));
    for wrapped in [wrap(&[7; 31]), wrap(&[7; 33]), wrap(&[8; 32]), vec![1; 256], vec![0xff; 256], vec![1; 3]]
    {
        assert_eq!(open(&wrapped), Err(Error::Undecryptable));
    }
}

#[test]
fn whatever_is_wrong_has_one_answer() {
    let a = pair();
    let recipients = [recipient(&a, "a")];
    let xml =
        encrypt(b"geheim", &plan(ContentMethod::Aes256Gcm, IvLength::Twelve, OAEP, &recipients)).unwrap();
    let content = xml.rfind("<xenc:CipherValue>").unwrap() + "<xenc:CipherValue>".len();
    let end = xml.rfind("</xenc:CipherValue>").unwrap();
    let octets = STANDARD.decode(&xml[content..end]).unwrap();
    let with = |octets: &[u8]| [&xml[..content], &STANDARD.encode(octets), &xml[end..]].concat();
    let mut attempts: Vec<String> = (0..octets.len())
        .map(|at| {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            with(&changed)
        })
        .collect();
    // Tags and vectors cut short, and algorithms swapped.
    attempts.extend((0..octets.len()).map(|length| with(&octets[..length])));
    for (from, to) in [
        ("xmlenc11#aes256-gcm", "xmlenc11#aes128-gcm"),
        ("2009/xmlenc11#aes256-gcm", "2001/04/xmlenc#aes256-cbc"),
        ("mgf1sha256", "mgf1sha512"),
        ("xmlenc#sha256", "xmlenc#sha512"),
        ("2009/xmlenc11#rsa-oaep", "2001/04/xmlenc#rsa-1_5"),
        ("<xenc:CipherValue>", "<xenc:CipherValue>!"),
        ("<xenc:CipherValue>", "<xenc:CipherValue>AAAA"),
        ("xenc:EncryptedKey", "xenc:Other"),
    ] {
        assert!(xml.contains(from), "{from}");
        attempts.push(xml.replace(from, to));
    }
    for policy in [Policy::default(), Policy { rsa_1_5: true, oaep_sha1: true, ..Policy::default() }] {
        assert!(decrypt(&parse(&xml), &named("a"), &a.key, &policy).is_ok());
        for attempt in &attempts {
            let outcome = decrypt(&parse(attempt), &named("a"), &a.key, &policy);
            assert_eq!(outcome, Err(Error::Undecryptable), "{attempt}");
        }
    }
}

/// The content as we write it; the key is wrapped anew, because `xmlsec1` before 1.3 knows only the old OAEP.
#[test]
#[ignore = "needs xmlsec1"]
fn xmlsec1_reads_our_content() {
    let a = pair();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = STANDARD.encode(&a.pkcs8);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    std::fs::write(path("key.pem"), pem).unwrap();
    for method in GCM {
        let plan = plan(method, IvLength::Twelve, OAEP, &[recipient(&a, "a")]);
        let xml = encrypt(b"<geheim/>", &plan).unwrap();
        let data = parse(&xml);
        let encrypted = data.descend(&[(NS_DSIG, "KeyInfo"), (NS_XENC, "EncryptedKey")]).unwrap();
        let old = encrypted.child(NS_XENC, "CipherData").unwrap().children().next().unwrap().text();
        let mut wrapped = Vec::new();
        Base64Decoder::new().decode(old.as_bytes(), &mut wrapped).unwrap();
        let session = a.key.oaep(OaepHash::Sha256, OaepHash::Sha256, &wrapped).unwrap();
        let new = STANDARD.encode(rsa::wrap(&session, OaepHash::Sha1, OaepHash::Sha1, &a.spki).unwrap());
        let span = encrypted.child(NS_XENC, "EncryptionMethod").unwrap().span();
        let written = &xml[span.start as usize..span.end as usize];
        let mgf1p = format!("<xenc:EncryptionMethod Algorithm='{NS_XENC}rsa-oaep-mgf1p'/>");
        std::fs::write(path("data.xml"), xml.replace(written, &mgf1p).replace(&old, &new)).unwrap();
        let mut command = Command::new("xmlsec1");
        command.args(["--decrypt", "--privkey-pem:a", &path("key.pem"), &path("data.xml")]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("geheim"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
#[ignore = "needs xmlsec1 and openssl"]
fn we_read_what_xmlsec1_writes() {
    let a = pair();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pem = |what: &str, der: &[u8]| {
        format!("-----BEGIN {what} KEY-----\n{}\n-----END {what} KEY-----\n", STANDARD.encode(der))
    };
    std::fs::write(path("key.pub"), pem("PUBLIC", &a.spki)).unwrap();
    std::fs::write(path("plain.xml"), "<geheim/>").unwrap();
    let policy = ALL_ALLOWED;
    for (content, session) in [
        ("http://www.w3.org/2009/xmlenc11#aes128-gcm", "aes-128"),
        ("http://www.w3.org/2009/xmlenc11#aes192-gcm", "aes-192"),
        ("http://www.w3.org/2009/xmlenc11#aes256-gcm", "aes-256"),
        ("http://www.w3.org/2001/04/xmlenc#aes128-cbc", "aes-128"),
        ("http://www.w3.org/2001/04/xmlenc#aes256-cbc", "aes-256"),
    ] {
        for transport in ["rsa-oaep-mgf1p", "rsa-1_5"] {
            let template = format!(
                "<xenc:EncryptedData xmlns:xenc='{NS_XENC}' xmlns:ds='{NS_DSIG}'>\
                 <xenc:EncryptionMethod Algorithm='{content}'/><ds:KeyInfo><xenc:EncryptedKey>\
                 <xenc:EncryptionMethod Algorithm='{NS_XENC}{transport}'/><ds:KeyInfo><ds:KeyName>a</ds:KeyName>\
                 </ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>\
                 <xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"
            );
            std::fs::write(path("template.xml"), template).unwrap();
            let output = Command::new("xmlsec1")
                .args(["--encrypt", "--pubkey-pem:a", &path("key.pub"), "--session-key", session])
                .args(["--binary-data", &path("plain.xml"), &path("template.xml")])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let data = parse(&String::from_utf8(output.stdout).unwrap());
            let open = |policy: &Policy| decrypt(&data, &named("a"), &a.key, policy);
            assert_eq!(open(&policy).as_deref(), Ok(b"<geheim/>".as_slice()), "{content} {transport}");
            assert_eq!(open(&Policy::default()), Err(Error::Undecryptable), "{content} {transport}");
        }
    }
}
