//! What must be believed, and what must not: attack list F of the security notes, each as a row.

mod names;
mod revocation;

use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    SubjectPublicKeyInfo,
};

use super::*;
use crate::domain::card::{CertificateKind, MathResult, OfflineResult};
use crate::pki::development::{
    Authority, Issued, KeyChoice, Leaf, Role, Validity, authority_params, leaf_params,
};
use crate::pki::revocation::list::tests::{Ca, Draft};

const NOW: &str = "2026-11-23T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn years(from: u16, until: u16) -> Validity {
    Validity { from: at(&format!("{from}-01-01T00:00:00Z")), until: at(&format!("{until}-01-01T00:00:00Z")) }
}

fn good() -> Validity {
    years(2020, 2120)
}

fn root(name: &str) -> Authority {
    Authority::root(name, KeyChoice::P256, good()).expect("a root")
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn leaf(role: Role, validity: Validity, key: KeyChoice) -> Leaf<'static> {
    Leaf { common_name: "registry-office", role, key, validity, names: &["office.example"] }
}

fn issue(authority: &Authority, role: Role) -> Issued {
    authority.issue(&leaf(role, good(), KeyChoice::P256)).expect("a leaf")
}

fn trusting(anchor: &Authority) -> TrustAnchors {
    trust(anchor.certificate(), &[], &[], UnknownRevocation::Warn)
}

/// The same anchor for every purpose.
fn trust(
    anchor: &Certificate,
    intermediates: &[&Certificate],
    lists: &[&str],
    policy: UnknownRevocation,
) -> TrustAnchors {
    let mut builder = TrustAnchors::builder();
    for purpose in Purpose::ALL {
        builder = builder.anchors(purpose, anchor.pem().as_bytes()).expect("an anchor");
        for intermediate in intermediates {
            builder = builder.intermediates(purpose, intermediate.pem().as_bytes()).expect("a CA");
        }
        for list in lists {
            builder = builder.revocation_lists(purpose, list.as_bytes()).expect("a list");
        }
        builder = builder.unknown_revocation(purpose, policy);
    }
    builder.build()
}

/// Reasons apart from unknown revocation, which most rows do not care for.
#[track_caller]
fn check(
    what: &str,
    trust: &TrustAnchors,
    purpose: Purpose,
    leaf: &Certificate,
    bag: &[Certificate],
    expected: &[Reason],
) {
    let inspection = trust.inspect(purpose, leaf, bag, at(NOW));
    let seen: Vec<Reason> =
        inspection.reasons.iter().copied().filter(|reason| *reason != Reason::RevocationUnknown).collect();
    assert_eq!(seen, expected, "{what}: {:?}", inspection.sentences);
    assert_eq!(inspection.verdict == Verdict::Invalid, !expected.is_empty(), "{what}");
    assert_eq!(inspection.refusal(), expected.first().copied(), "{what}");
}

const TLS: Purpose = Purpose::ParticipantTls;

#[test]
fn paths() {
    let ours = root("Ours");
    let issuing = ours.subordinate("Issuing", KeyChoice::P256, good()).expect("a CA");
    let foreign = root("Foreign");
    let namesake = root("Ours");
    let trust_root = trusting(&ours);
    let trust_both = trust(ours.certificate(), &[issuing.certificate()], &[], UnknownRevocation::Warn);
    let direct = issue(&ours, Role::Participant);
    let below = issue(&issuing, Role::Participant);
    let strange = issue(&foreign, Role::Participant);
    let forged = issue(&namesake, Role::Participant);
    let bag = |list: &[&Certificate]| -> Vec<Certificate> { list.iter().map(|one| (*one).clone()).collect() };
    let (root_certificate, issuing_certificate) = (ours.certificate(), issuing.certificate());

    check("issued by the anchor", &trust_root, TLS, direct.certificate(), &[], &[]);
    check("with its issuer", &trust_root, TLS, below.certificate(), &bag(&[issuing_certificate]), &[]);
    check("issuer configured", &trust_both, TLS, below.certificate(), &[], &[]);
    check("issuer missing", &trust_root, TLS, below.certificate(), &[], &[Reason::UnknownIssuer]);
    let jumble = bag(&[
        root_certificate,
        strange.certificate(),
        issuing_certificate,
        foreign.certificate(),
        issuing_certificate,
        below.certificate(),
    ]);
    check("a bag in disorder", &trust_root, TLS, below.certificate(), &jumble, &[]);
    check("foreign", &trust_root, TLS, strange.certificate(), &[], &[Reason::UnknownIssuer]);
    let with_root = bag(&[foreign.certificate()]);
    check(
        "foreign, with its root",
        &trust_root,
        TLS,
        strange.certificate(),
        &with_root,
        &[Reason::UnknownIssuer],
    );
    check(
        "an authority of the same name",
        &trust_root,
        TLS,
        forged.certificate(),
        &[],
        &[Reason::BadSignature],
    );
    let with_namesake = bag(&[namesake.certificate()]);
    check(
        "the same, with it",
        &trust_root,
        TLS,
        forged.certificate(),
        &with_namesake,
        &[Reason::BadSignature],
    );
    check("an anchor as leaf", &trust_root, TLS, root_certificate, &[], &[Reason::WrongPurpose]);
    let as_leaf = bag(&[root_certificate]);
    check("a CA as leaf", &trust_root, TLS, issuing_certificate, &as_leaf, &[Reason::WrongPurpose]);
    let nobody = TrustAnchors::builder().build();
    check("nobody is trusted", &nobody, TLS, direct.certificate(), &[], &[Reason::UnknownIssuer]);
    let elsewhere = TrustAnchors::builder()
        .anchors(Purpose::OsciSignature, root_certificate.pem().as_bytes())
        .expect("an anchor")
        .build();
    check(
        "trusted for another purpose",
        &elsewhere,
        TLS,
        direct.certificate(),
        &[],
        &[Reason::UnknownIssuer],
    );
}

#[test]
fn self_signed_ones_are_unknown() {
    let params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    let own = Certificate::from_der(params.self_signed(&key()).expect("signed").der()).expect("readable");
    check("alone", &trusting(&root("Ours")), TLS, &own, &[], &[Reason::UnknownIssuer]);
    check(
        "with itself",
        &trusting(&root("Ours")),
        TLS,
        &own,
        std::slice::from_ref(&own),
        &[Reason::UnknownIssuer],
    );
}

#[test]
fn a_changed_bit_is_a_bad_signature() {
    let ours = root("Ours");
    let der = issue(&ours, Role::Participant).certificate().der().to_vec();
    // In the common name, which is text and may be anything.
    let at = der.windows(8).rposition(|window| window == b"registry").expect("the name");
    let mut changed = der.clone();
    changed[at] ^= 0x01;
    let changed = Certificate::from_der(&changed).expect("still readable");
    check("the name", &trusting(&ours), TLS, &changed, &[], &[Reason::BadSignature]);
}

#[test]
fn validity() {
    let ours = root("Ours");
    let trust = trusting(&ours);
    let at_years = |from, until| {
        let issued =
            ours.issue(&leaf(Role::Participant, years(from, until), KeyChoice::P256)).expect("a leaf");
        issued.certificate().clone()
    };
    check("expired", &trust, TLS, &at_years(2020, 2021), &[], &[Reason::Expired]);
    check("of tomorrow", &trust, TLS, &at_years(2030, 2031), &[], &[Reason::NotYetValid]);
    let foreign = root("Foreign");
    let stale = foreign.issue(&leaf(Role::Participant, years(2020, 2021), KeyChoice::P256)).expect("a leaf");
    let both = [Reason::UnknownIssuer, Reason::Expired];
    check("expired and foreign", &trust, TLS, stale.certificate(), &[], &both);

    let mut params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    (params.not_before, params.not_after) = (params.not_after, params.not_before);
    let backwards = ours.issue_from(params, key()).expect("a leaf");
    check("ends before it begins", &trust, TLS, backwards.certificate(), &[], &[Reason::Malformed]);

    let old = Authority::root("Old", KeyChoice::P256, years(2020, 2025)).expect("a root");
    let orphan = issue(&old, Role::Participant);
    check("an expired anchor", &trusting(&old), TLS, orphan.certificate(), &[], &[Reason::IssuerOutOfDate]);
    let issuing = ours.subordinate("Issuing", KeyChoice::P256, years(2020, 2025)).expect("a CA");
    let below = issue(&issuing, Role::Participant);
    let bag = [issuing.certificate().clone()];
    check("an expired CA between", &trust, TLS, below.certificate(), &bag, &[Reason::IssuerOutOfDate]);
    let early = Authority::root("Early", KeyChoice::P256, years(2030, 2040)).expect("a root");
    let child = issue(&early, Role::Participant);
    check(
        "an anchor of tomorrow",
        &trusting(&early),
        TLS,
        child.certificate(),
        &[],
        &[Reason::IssuerOutOfDate],
    );
}

#[test]
fn the_last_second_counts_whole() {
    let ours = root("Ours");
    let validity = Validity { from: at("2026-01-01T00:00:00Z"), until: at("2026-06-30T12:00:00Z") };
    let issued = ours.issue(&leaf(Role::Participant, validity, KeyChoice::P256)).expect("a leaf");
    for (now, expected) in [
        ("2025-12-31T23:59:59.9Z", Some(Reason::NotYetValid)),
        ("2026-01-01T00:00:00Z", None),
        ("2026-06-30T12:00:00.9Z", None),
        ("2026-06-30T12:00:01Z", Some(Reason::Expired)),
    ] {
        let inspection = trusting(&ours).inspect(TLS, issued.certificate(), &[], at(now));
        assert_eq!(inspection.refusal(), expected, "{now}");
        assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{now}");
    }
}

#[test]
fn purposes() {
    use Purpose::{Intermediary, OsciEncryption, OsciSignature, ParticipantTls, ServerTls};
    let ours = root("Ours");
    let trust = trusting(&ours);
    for (role, fits) in [
        (Role::Participant, &[ParticipantTls, OsciSignature, Intermediary][..]),
        (Role::Server, &[ServerTls, OsciSignature, Intermediary]),
        (Role::Signature, &[ParticipantTls, ServerTls, OsciSignature, Intermediary]),
        (Role::Encryption, &[OsciEncryption, Intermediary]),
    ] {
        let issued = issue(&ours, role);
        for purpose in Purpose::ALL {
            let expected: &[Reason] = if fits.contains(&purpose) { &[] } else { &[Reason::WrongPurpose] };
            check(&format!("{role:?}"), &trust, purpose, issued.certificate(), &[], expected);
        }
    }
    let with_usage = |usages: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
        params.extended_key_usages = usages;
        ours.issue_from(params, key()).expect("a leaf").certificate().clone()
    };
    let any = with_usage(vec![ExtendedKeyUsagePurpose::Any]);
    check("any usage", &trust, TLS, &any, &[], &[]);
    let stamps = with_usage(vec![ExtendedKeyUsagePurpose::TimeStamping]);
    check("time stamps only", &trust, OsciSignature, &stamps, &[], &[Reason::WrongPurpose]);
    let wrong_twice = [Reason::UnknownIssuer, Reason::WrongPurpose];
    let foreign = issue(&root("Foreign"), Role::Server);
    check("wrong and foreign", &trust, TLS, foreign.certificate(), &[], &wrong_twice);
}

#[test]
fn a_leaf_issues_nothing() {
    let ours = root("Ours");
    let params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    let middle = ours.subordinate_from(params, key()).expect("signed all the same");
    let below = issue(&middle, Role::Participant);
    let bag = [middle.certificate().clone()];
    check("below a leaf", &trusting(&ours), TLS, below.certificate(), &bag, &[Reason::PathConstraint]);
}

#[test]
fn paths_end() {
    let ours = root("Ours");
    let trust = trusting(&ours);
    let first = ours.subordinate("First", KeyChoice::P256, good()).expect("a CA");
    let second = first.subordinate("Second", KeyChoice::P256, good()).expect("a CA");
    let below = issue(&second, Role::Participant);
    let bag = [first.certificate().clone(), second.certificate().clone()];
    check("beyond the path length", &trust, TLS, below.certificate(), &bag, &[Reason::PathConstraint]);

    let unbounded = |name: &str| authority_params(name, good(), BasicConstraints::Unconstrained);
    let long_root = Authority::root_from(unbounded("Long"), key()).expect("a root");
    let trust_long = trusting(&long_root);
    let mut authority = long_root;
    let mut chain: Vec<Certificate> = Vec::new();
    for depth in 1..=9 {
        authority = authority.subordinate_from(unbounded(&format!("Level {depth}")), key()).expect("a CA");
        chain.push(authority.certificate().clone());
        let below = issue(&authority, Role::Participant);
        let expected: &[Reason] = if depth <= 6 { &[] } else { &[Reason::PathConstraint] };
        check(&format!("{depth} CAs between"), &trust_long, TLS, below.certificate(), &chain, expected);
    }
}

/// Two CAs that vouch for each other, or for many of their name, and for nobody that we know.
#[test]
fn loops_and_meshes_end_early() {
    let trust = trusting(&root("Ours"));
    let unbounded = |name: &str| authority_params(name, good(), BasicConstraints::Unconstrained);
    let sign = |params: &CertificateParams, key: &KeyPair, by: &CertificateParams, by_key: &KeyPair| {
        let signed = params.signed_by(key, &Issuer::from_params(by, by_key)).expect("signed");
        Certificate::from_der(signed.der()).expect("readable")
    };
    let (one, other) = (unbounded("One"), unbounded("Other"));
    let (one_key, other_key) = (key(), key());
    let bag = [sign(&one, &one_key, &other, &other_key), sign(&other, &other_key, &one, &one_key)];
    let params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    let below = sign(&params, &key(), &one, &one_key);
    check("a loop", &trust, TLS, &below, &bag, &[Reason::UnknownIssuer]);

    let keys: Vec<KeyPair> = (0..6).map(|_| key()).collect();
    let mut mesh = Vec::new();
    for by in &keys {
        for key in keys.iter().filter(|key| !std::ptr::eq(*key, by)) {
            mesh.push(sign(&one, key, &one, by));
        }
    }
    let below = sign(&params, &key(), &one, keys.first().expect("six"));
    let companions: Vec<&Certificate> = mesh.iter().collect();
    assert!(path::issuers(&below, &companions, &[]).exhausted, "verifications are bounded");
    let start = Instant::now();
    check("a mesh of one name", &trust, TLS, &below, &mesh, &[Reason::TooManyCertificates]);
    assert!(start.elapsed().as_secs() < 5, "the search takes {:?}", start.elapsed());
}

/// Only what made a signature is shown to webpki, however alike the names.
#[test]
fn issuers_are_those_who_signed() {
    let namesakes: Vec<Authority> = (0..8).map(|_| root("Ours")).collect();
    let ours = namesakes.get(5).expect("eight");
    let below = issue(ours, Role::Participant);
    let known: Vec<&Certificate> = namesakes.iter().map(Authority::certificate).collect();
    let found = path::issuers(below.certificate(), &known, &[]);
    assert_eq!(found.reached, [ours.certificate().clone()]);
    assert!(found.signature_failed && !found.exhausted);
}

/// Six certificates for each of five keys, each layer signed by the next: 6^5 paths, if one let it.
#[test]
fn cross_signs_are_few() {
    let unbounded = |name: String| authority_params(&name, good(), BasicConstraints::Unconstrained);
    let layers: Vec<(CertificateParams, KeyPair)> =
        (0..6).map(|level| (unbounded(format!("Level {level}")), key())).collect();
    let mut bag = Vec::new();
    for pair in layers.windows(2) {
        let [(params, key), (by, by_key)] = pair else { panic!("two") };
        for serial in 0..6u64 {
            let mut params = params.clone();
            params.serial_number = Some(serial.into());
            let signed = params.signed_by(key, &Issuer::from_params(by, by_key)).expect("signed");
            bag.push(Certificate::from_der(signed.der()).expect("readable"));
        }
    }
    let (params, lowest) = layers.first().expect("six");
    let leaf_of = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    let signed = leaf_of.signed_by(&key(), &Issuer::from_params(params, lowest)).expect("signed");
    let below = Certificate::from_der(signed.der()).expect("readable");
    let known: Vec<&Certificate> = bag.iter().collect();
    assert_eq!(path::issuers(&below, &known, &[]).reached.len(), 5 * 3);
    let start = Instant::now();
    check("layers", &trusting(&root("Ours")), TLS, &below, &bag, &[Reason::UnknownIssuer]);
    assert!(start.elapsed().as_millis() < 500, "the search takes {:?}", start.elapsed());
}

#[test]
fn a_bag_is_bounded() {
    let ours = root("Ours");
    let below = issue(&ours, Role::Participant);
    let many = |count| vec![ours.certificate().clone(); count];
    let trust = trusting(&ours);
    check("32 companions", &trust, TLS, below.certificate(), &many(32), &[]);
    let start = Instant::now();
    check("10^4 companions", &trust, TLS, below.certificate(), &many(10_000), &[Reason::TooManyCertificates]);
    assert!(start.elapsed().as_secs() < 2, "it takes {:?}", start.elapsed());
    let ders = many(10_000);
    let read = Certificate::chain_from_der(ders.iter().map(|one| one.der().as_ref()));
    assert_eq!(read.err(), Some(certificate::Error::TooMany { max: CERTIFICATES_MAX }));
}

#[test]
fn a_cross_sign_leads_home() {
    let (ours, foreign) = (root("Ours"), root("Foreign"));
    let params = authority_params("Issuing", good(), BasicConstraints::Constrained(0));
    let pair = key();
    let copy = || KeyPair::from_pem(&pair.serialize_pem()).expect("the same key");
    let by_us = ours.subordinate_from(params.clone(), copy()).expect("a CA");
    let by_them = foreign.subordinate_from(params, copy()).expect("a CA");
    let below = issue(&by_us, Role::Participant);
    let (one, other) = (by_us.certificate().clone(), by_them.certificate().clone());
    let trust = trusting(&ours);
    check("both", &trust, TLS, below.certificate(), &[other.clone(), one.clone()], &[]);
    check(
        "the foreign one only",
        &trust,
        TLS,
        below.certificate(),
        std::slice::from_ref(&other),
        &[Reason::UnknownIssuer],
    );
    check("for the others", &trusting(&foreign), TLS, below.certificate(), &[one, other], &[]);
}

#[test]
fn algorithms() {
    for choice in
        [KeyChoice::P256, KeyChoice::P384, KeyChoice::Ed25519, KeyChoice::Rsa3072, KeyChoice::Rsa2048]
    {
        let ours = Authority::root("Ours", choice, good()).expect("a root");
        let issued = ours.issue(&leaf(Role::Participant, good(), choice)).expect("a leaf");
        check(&format!("{choice:?}"), &trusting(&ours), TLS, issued.certificate(), &[], &[]);
        let inspection = trusting(&ours).inspect(TLS, issued.certificate(), &[], at(NOW));
        let warnings = if choice == KeyChoice::Rsa2048 { 2 } else { 0 };
        assert_eq!(inspection.warnings.len(), warnings, "{choice:?}: {:?}", inspection.warnings);
    }
    let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");
    let params = authority_params("Ours", good(), BasicConstraints::Constrained(0));
    let ours = Authority::root_from(params, p521).expect("a root");
    check("P-521", &trusting(&ours), TLS, issue(&ours, Role::Participant).certificate(), &[], &[]);
}

#[test]
fn weak_keys_and_digests() {
    let pair = key();
    let params = authority_params("Ours", good(), BasicConstraints::Constrained(1));
    let issuer = Issuer::from_params(&params, &pair);
    let anchor = Certificate::from_der(params.self_signed(&pair).expect("signed").der()).expect("readable");
    let trust_it = trust(&anchor, &[], &[], UnknownRevocation::Warn);
    let short =
        SubjectPublicKeyInfo::from_pem(include_str!("../../../tests/data/pki/rsa1024.pub")).expect("a key");
    let leaf_of = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    let signed = leaf_of.signed_by(&short, &issuer).expect("signed");
    let weak = Certificate::from_der(signed.der()).expect("readable");
    assert_eq!(weak.key_kind(), &KeyKind::Rsa { bits: 1024 });
    check("RSA 1024", &trust_it, TLS, &weak, &[], &[Reason::WeakKey]);

    // The short key as a CA between; its signature need not be right for the refusal.
    let between = authority_params("Between", good(), BasicConstraints::Constrained(0));
    let weak_ca =
        Certificate::from_der(between.signed_by(&short, &issuer).expect("signed").der()).expect("readable");
    let impostor = Authority::root_from(between, key()).expect("a root");
    let below = issue(&impostor, Role::Participant);
    check(
        "below RSA 1024",
        &trust_it,
        TLS,
        below.certificate(),
        std::slice::from_ref(&weak_ca),
        &[Reason::WeakKey],
    );
    let refused = TrustAnchors::builder().anchors(TLS, weak_ca.pem().as_bytes());
    assert!(matches!(refused, Err(Error::Anchor { .. })), "{refused:?}");

    let pss = Certificate::chain_from_pem(include_bytes!("../../../tests/data/pki/pss-chain.pem"))
        .expect("a chain");
    let [pss_leaf, pss_root] = pss.as_slice() else { panic!("two certificates") };
    let trust_pss = trust(pss_root, &[], &[], UnknownRevocation::Warn);
    let inspection = trust_pss.inspect(TLS, pss_leaf, &[], at("2030-01-01T00:00:00Z"));
    assert_eq!(inspection.refusal(), None, "{:?}", inspection.sentences);
    let sha1 =
        Certificate::from_pem(include_bytes!("../../../tests/data/pki/sha1.pem")).expect("a certificate");
    let inspection = trust_pss.inspect(TLS, &sha1, &[], at("2030-01-01T00:00:00Z"));
    assert_eq!(inspection.reasons, [Reason::WeakAlgorithm], "{:?}", inspection.sentences);
    let beside = [pss_root.clone()];
    check("SHA-1, its issuer not trusted", &trust_it, TLS, &sha1, &beside, &[Reason::WeakAlgorithm]);
}

#[test]
fn paths_on_brainpool_and_pss_keys() {
    for (pem, name) in [
        (&include_bytes!("../../../tests/data/pki/brainpool-chain.pem")[..], "brainpool"),
        (include_bytes!("../../../tests/data/pki/pss-keys-chain.pem"), "pss keys"),
    ] {
        let chain = Certificate::chain_from_pem(pem).expect("a chain");
        let [leaf, issuing, root] = chain.as_slice() else { panic!("three certificates") };
        let trust = trust(root, &[], &[], UnknownRevocation::Warn);
        let judge = |leaf: &Certificate, bag: &[Certificate]| {
            trust.inspect(TLS, leaf, bag, at("2030-01-01T00:00:00Z"))
        };
        let inspection = judge(leaf, std::slice::from_ref(issuing));
        assert_eq!(inspection.refusal(), None, "{name}: {:?}", inspection.sentences);
        // The last byte of the leaf is the end of its signature.
        let mut der = leaf.der().to_vec();
        *der.last_mut().expect("a byte") ^= 1;
        let forged = Certificate::from_der(&der).expect("readable");
        let inspection = judge(&forged, std::slice::from_ref(issuing));
        assert_eq!(inspection.refusal(), Some(Reason::BadSignature), "{name}");
        assert_eq!(inspection.results().math, MathResult::Corrupted, "{name}");
    }
}

#[test]
fn results_for_the_process_card() {
    use crate::domain::card::OnlineResult as Online;
    use {CertificateKind as Kind, MathResult as Math, OfflineResult as Offline};
    let ours = root("Ours");
    let issued = issue(&ours, Role::Participant);
    let leaf = issued.certificate();
    let clear = ours.revocation_list(1, good(), &[]).expect("a list");
    let named = ours.revocation_list(2, good(), &[leaf]).expect("a list");
    let row = |lists: &[&str], leaf: &Certificate, expected| {
        let trust = trust(ours.certificate(), &[], lists, UnknownRevocation::Warn);
        let results = trust.inspect(TLS, leaf, &[], at(NOW)).results();
        assert_eq!((results.kind, results.math, results.offline, results.online), expected, "{leaf:?}");
    };
    row(&[], leaf, (Kind::Advanced, Math::Ok, Offline::Valid, None));
    row(&[&clear], leaf, (Kind::Advanced, Math::Ok, Offline::Valid, Some(Online::Ok)));
    row(&[&named], leaf, (Kind::Advanced, Math::Ok, Offline::Valid, Some(Online::Revoked)));
    let expired = ours.issue(&self::leaf(Role::Participant, years(2020, 2021), KeyChoice::P256));
    row(&[], expired.expect("a leaf").certificate(), (Kind::Advanced, Math::Ok, Offline::Invalid, None));
    let foreign = issue(&root("Foreign"), Role::Participant);
    let unknown = (Kind::Unknown, Math::Indeterminate, Offline::Indeterminate, None);
    row(&[], foreign.certificate(), unknown);
    let forged = issue(&root("Ours"), Role::Participant);
    row(&[], forged.certificate(), (Kind::Unknown, Math::Corrupted, Offline::Indeterminate, None));
    let server = issue(&ours, Role::Server);
    row(&[], server.certificate(), (Kind::Advanced, Math::Ok, Offline::Invalid, None));
}

#[test]
fn anchors_are_authorities() {
    let ours = root("Ours");
    let refused = |bytes: &[u8]| TrustAnchors::builder().anchors(TLS, bytes).map(drop).expect_err("refused");
    assert!(matches!(refused(issue(&ours, Role::Participant).chain_pem().as_bytes()), Error::Anchor { .. }));
    let mut params = authority_params("No CA", good(), BasicConstraints::Unconstrained);
    (params.is_ca, params.key_usages) = (IsCa::NoCa, vec![]);
    let no_ca = params.self_signed(&key()).expect("signed").pem();
    assert!(matches!(refused(no_ca.as_bytes()), Error::Anchor { .. }));
    assert!(matches!(refused(b"nothing"), Error::Certificate(certificate::Error::NoCertificate)));
    assert!(matches!(refused(b"\x30\x03"), Error::Certificate(certificate::Error::Malformed(_))));
    let lists = |bytes: &[u8]| TrustAnchors::builder().revocation_lists(TLS, bytes).map(drop);
    assert!(matches!(lists(b"nothing"), Err(Error::RevocationList(_))));
    assert!(matches!(lists(ours.certificate().der()), Err(Error::RevocationList(_))));
    let der =
        TrustAnchors::builder().anchors(TLS, ours.certificate().der()).expect("DER does as well").build();
    check("DER", &der, TLS, issue(&ours, Role::Participant).certificate(), &[], &[]);
}

#[test]
fn a_judgement_is_repeated_for_a_minute_and_no_longer() {
    let ours = root("Ours");
    let issued = issue(&ours, Role::Participant);
    let soon = Validity { from: at("2026-01-01T00:00:00Z"), until: at("2026-11-23T12:00:10Z") };
    let brief = ours.issue(&leaf(Role::Participant, soon, KeyChoice::P256)).expect("a leaf");
    let trust_it = trusting(&ours);
    let inspect = |issued: &Issued, now: &str| trust_it.inspect(TLS, issued.certificate(), &[], at(now));
    let first = inspect(&issued, NOW);
    assert_eq!(first.instant, at(NOW));
    assert_eq!(inspect(&issued, "2026-11-23T12:00:59Z"), first, "within the minute");
    assert_eq!(inspect(&issued, "2026-11-23T12:01:00Z").instant, at("2026-11-23T12:01:00Z"));
    let before = "2026-11-23T11:59:00Z";
    assert_eq!(inspect(&issued, before).instant, at(before), "a clock set back");

    assert_eq!(inspect(&brief, NOW).refusal(), None);
    assert_eq!(inspect(&brief, "2026-11-23T12:00:10.5Z").refusal(), None);
    assert_eq!(inspect(&brief, "2026-11-23T12:00:11Z").refusal(), Some(Reason::Expired), "within the minute");

    let until = Validity { from: at("2026-01-01T00:00:00Z"), until: at("2026-11-23T12:00:20Z") };
    let list = ours.revocation_list(1, until, &[]).expect("a list");
    let listed = trust(ours.certificate(), &[], &[&list], UnknownRevocation::Refuse);
    let refusal = |now: &str| listed.inspect(TLS, issued.certificate(), &[], at(now)).refusal();
    assert_eq!(refusal(NOW), None);
    assert_eq!(
        refusal("2026-11-23T12:00:20Z"),
        Some(Reason::RevocationUnknown),
        "the list ends within the minute"
    );

    // Other companions, another purpose: other questions.
    let with_bag = trust_it.inspect(
        TLS,
        issued.certificate(),
        &[ours.certificate().clone()],
        at("2026-11-23T12:00:30Z"),
    );
    assert_eq!(with_bag.instant, at("2026-11-23T12:00:30Z"));
    let other = trust_it.inspect(Purpose::ServerTls, issued.certificate(), &[], at(NOW));
    assert_eq!(other.refusal(), Some(Reason::WrongPurpose));
}

#[test]
fn the_cache_is_bounded() {
    let cache = Cache::default();
    let ours = root("Ours");
    let inspection =
        trusting(&ours).inspect(TLS, issue(&ours, Role::Participant).certificate(), &[], at(NOW));
    for number in 0..3 * CACHE_ENTRIES_MAX {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        cache.keep(key, &inspection, at("2026-11-23T12:01:00Z"));
        assert!(cache.0.lock().expect("one thread").len() <= CACHE_ENTRIES_MAX);
        assert!(cache.find(&key, at(NOW)).is_some(), "what was just kept is there");
    }
}

#[test]
fn a_record_keeps_and_reads() {
    let ours = root("Ours");
    let issued = ours.issue(&leaf(Role::Participant, years(2020, 2021), KeyChoice::P256)).expect("a leaf");
    let record = trusting(&ours).inspect(TLS, issued.certificate(), &[], at(NOW));
    let text = serde_json::to_string(&record).expect("text");
    assert_eq!(serde_json::from_str::<Inspection>(&text).expect("a record"), record);
    assert!(text.contains(r#""purpose":"participant-tls""#), "{text}");
    assert!(
        text.contains(r#"{"kind":"validity","outcome":"bad","why":"it expired at 2021-01-01T00:00:00Z"}"#),
        "{text}"
    );
    let finding = record.finding("author-tls");
    assert_eq!(finding.verdict, "invalid");
    assert!(
        finding.checks.contains(&"validity: bad, it expired at 2021-01-01T00:00:00Z".to_owned()),
        "{finding:?}"
    );
    assert!(finding.checks.contains(&"path: good".to_owned()), "{finding:?}");
}
