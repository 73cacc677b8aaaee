//! Recorded signatures, and pairs that must not meet. The wide sweep is `tests/it/wycheproof.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey};

use super::*;

const MESSAGE: &[u8] = b"what was signed";

#[test]
fn written_pairs_are_der() {
    assert_eq!(ecdsa_der(&[0, 0x80, 0, 5], 2).as_deref(), Some(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 5][..]));
    assert_eq!(ecdsa_der(&[1; 63], 32), None);
    assert_eq!(ecdsa_der(&[1; 132], 66).map(|der| (der.len(), der[1])), Some((139, 0x81)));
}

#[test]
fn recorded_pss_with_sha3() {
    let text = include_str!("../../../tests/data/pki/pss-sha3.txt");
    let mut keys = std::collections::HashMap::new();
    let mut seen = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let bytes = STANDARD.decode(words.last().expect("a value")).expect("base64");
        let [expected, key, hash, what] = match words.as_slice() {
            ["key", name, _] => {
                keys.insert(*name, bytes);
                continue;
            }
            [expected, key, hash, what, _] => [*expected, *key, *hash, *what],
            _ => panic!("{line}"),
        };
        let hash = match hash {
            "256" => Hash::Sha3_256,
            "384" => Hash::Sha3_384,
            _ => Hash::Sha3_512,
        };
        let spki = &keys[key];
        let outcome = verify(spki, Algorithm::RsaPss(hash), MESSAGE, &bytes);
        assert_eq!(outcome.is_ok(), expected == "valid", "{key} {hash:?} {what}: {outcome:?}");
        if expected == "invalid" {
            seen.1 += 1;
            continue;
        }
        seen.0 += 1;
        let refused = |algorithm, message: &[u8], signature: &[u8]| {
            assert!(verify(spki, algorithm, message, signature).is_err(), "{key} {hash:?}");
        };
        refused(Algorithm::RsaPss(hash), b"what was not", &bytes);
        refused(Algorithm::RsaPss(Hash::Sha256), MESSAGE, &bytes);
        refused(Algorithm::RsaPkcs1(hash), MESSAGE, &bytes);
        refused(Algorithm::RsaPss(hash), MESSAGE, &[&[0], bytes.as_slice()].concat());
        refused(Algorithm::RsaPss(hash), MESSAGE, &bytes[1..]);
        for at in (0..bytes.len()).step_by(31) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            refused(Algorithm::RsaPss(hash), MESSAGE, &changed);
        }
        refused(Algorithm::RsaPss(hash), MESSAGE, &vec![0; bytes.len()]);
        refused(Algorithm::RsaPss(hash), MESSAGE, &vec![0xff; bytes.len()]);
    }
    assert_eq!(seen, (6, 18));
}

#[test]
fn kind_and_method_must_fit() {
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let check = |key: &KeyPair, fits: Algorithm| {
        let (spki, value) = (key.subject_public_key_info(), key.sign(MESSAGE).expect("signed"));
        assert_eq!(verify(&spki, fits, MESSAGE, &value), Ok(()));
        assert_eq!(verify(&spki, fits, b"other", &value), Err(Error::Invalid));
        assert_eq!(verify(&[spki.as_slice(), &[0]].concat(), fits, MESSAGE, &value), Err(Error::Key));
        // A key that is kept answers each time anew, whatever it was asked before.
        let kept = PublicKey::from_spki(&spki).expect("a key");
        for _ in 0..2 {
            assert_eq!(kept.verify(fits, b"other", &value), Err(Error::Invalid));
            assert_eq!(kept.verify(Algorithm::RsaPss(Hash::Sha512), MESSAGE, &value), Err(Error::Key));
            assert_eq!(kept.verify(fits, MESSAGE, &value), Ok(()));
        }
        for other in [
            Algorithm::RsaPkcs1(Hash::Sha256),
            Algorithm::RsaPss(Hash::Sha256),
            Algorithm::RsaPss(Hash::Sha3_256),
        ] {
            assert_eq!(verify(&spki, other, MESSAGE, &value), Err(Error::Key), "{other:?}");
        }
    };
    check(&p256, Algorithm::Ecdsa(Hash::Sha256, EcdsaForm::Der));
    check(&ed25519, Algorithm::Ed25519);
    let sha3 = Algorithm::Ecdsa(Hash::Sha3_256, EcdsaForm::Der);
    let value = p256.sign(MESSAGE).expect("signed");
    assert_eq!(verify(&p256.subject_public_key_info(), sha3, MESSAGE, &value), Err(Error::Key));
}

/// An exponent of 1 makes every encoded message its own signature; a vast one is paid for by us.
#[test]
fn odd_rsa_keys_are_refused() {
    let text = include_str!("../../../tests/data/pki/pss-sha3.txt");
    let spki = text.lines().find_map(|line| line.strip_prefix("key rsa2048 ")).expect("a key");
    let spki = STANDARD.decode(spki).expect("base64");
    let check = |exponent: [u8; 3]| {
        let mut changed = spki.clone();
        let at = changed.len() - 3;
        changed[at..].copy_from_slice(&exponent);
        verify(&changed, Algorithm::RsaPss(Hash::Sha3_256), MESSAGE, &[1; 256])
    };
    assert_eq!(check([1, 0, 1]), Err(Error::Invalid));
    assert_eq!(check([0, 0, 1]), Err(Error::Key));
    assert_eq!(check([1, 0, 0]), Err(Error::Key));
    assert_eq!(check([0, 0, 0]), Err(Error::Key));
    assert_eq!(check([0x81, 0, 1]), Err(Error::Key), "negative");
    let mut even = spki.clone();
    let at = even.len() - 6;
    even[at] &= 0xfe;
    assert_eq!(verify(&even, Algorithm::RsaPss(Hash::Sha3_256), MESSAGE, &[1; 256]), Err(Error::Key));
}
