//! What must be believed, and what must not: attack list F of the security notes, each as a row.

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

/// A CA below ours with its rights changed, and a participant below that.
fn below_changed(
    ours: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> (Certificate, Certificate) {
    let mut params = authority_params("Changed", good(), BasicConstraints::Constrained(0));
    change(&mut params);
    let changed = ours.subordinate_from(params, key()).expect("a CA");
    (issue(&changed, Role::Participant).certificate().clone(), changed.certificate().clone())
}

#[test]
fn issuers_need_the_right() {
    let ours = root("Ours");
    let trust = trusting(&ours);
    let row = |what: &str, expected: &[Reason], change: fn(&mut CertificateParams)| {
        let (leaf, issuer) = below_changed(&ours, change);
        check(what, &trust, TLS, &leaf, &[issuer], expected);
    };
    let constraint = [Reason::PathConstraint];
    row("unchanged", &[], |_| {});
    row("not a CA", &constraint, |params| params.is_ca = IsCa::ExplicitNoCa);
    row("no basic constraints", &constraint, |params| params.is_ca = IsCa::NoCa);
    row("may not sign certificates", &constraint, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    });
    row("for servers only", &constraint, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    row("for clients too", &[], |params| {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    });
    let names = |permitted: &[&str], excluded: &[&str]| {
        let tree =
            |names: &[&str]| names.iter().map(|name| GeneralSubtree::DnsName((*name).into())).collect();
        Some(NameConstraints { permitted_subtrees: tree(permitted), excluded_subtrees: tree(excluded) })
    };
    for (what, expected, constraints) in [
        ("permitted name", &[][..], names(&["example"], &[])),
        ("name not permitted", &constraint, names(&["elsewhere"], &[])),
        ("excluded name", &constraint, names(&[], &["office.example"])),
    ] {
        let (leaf, issuer) = below_changed(&ours, |params| params.name_constraints = constraints);
        check(what, &trust, TLS, &leaf, &[issuer], expected);
    }
}

/// A directory name of country, organisation and others, as one writes them.
fn directory_name(parts: &[(DnType, DnValue)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    parts.iter().for_each(|(kind, value)| name.push(kind.clone(), value.clone()));
    name
}

fn text(value: &str) -> DnValue {
    DnValue::Utf8String(value.to_owned())
}

/// A leaf with this subject below a CA with these constraints, and the CA.
fn below_names(
    ours: &Authority,
    subject: DistinguishedName,
    constraints: NameConstraints,
) -> (Certificate, Certificate) {
    let mut params = authority_params("Changed", good(), BasicConstraints::Constrained(0));
    params.name_constraints = Some(constraints);
    let issuer = ours.subordinate_from(params, key()).expect("a CA");
    let mut params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    params.distinguished_name = subject;
    let leaf = issuer.issue_from(params, key()).expect("a leaf");
    (leaf.certificate().clone(), issuer.certificate().clone())
}

/// RFC 5280, sections 4.2.1.10 and 7.1.
#[test]
fn directory_names_are_constrained() {
    use DnType::{CommonName, CountryName, OrganizationName};
    let ours = root("Ours");
    let trust = trusting(&ours);
    let constraint = [Reason::PathConstraint];
    let country = (CountryName, DnValue::PrintableString("DE".try_into().expect("printable")));
    let tree = |parts: &[(DnType, DnValue)]| vec![GeneralSubtree::DirectoryName(directory_name(parts))];
    let constraints =
        |permitted_subtrees, excluded_subtrees| NameConstraints { permitted_subtrees, excluded_subtrees };
    let kiel = |value: DnValue| {
        directory_name(&[country.clone(), (OrganizationName, value), (CommonName, text("registry-office"))])
    };
    let base = |name: &str| tree(&[country.clone(), (OrganizationName, text(name))]);
    for (what, subject, permitted, excluded, expected) in [
        ("permitted", kiel(text("Stadt Kiel")), base("Stadt Kiel"), vec![], &[][..]),
        ("case and spaces", kiel(text(" stadt   KIEL ")), base("Stadt Kiel"), vec![], &[]),
        (
            "another string",
            kiel(DnValue::PrintableString("Stadt Kiel".try_into().expect("it is"))),
            base("Stadt Kiel"),
            vec![],
            &[],
        ),
        (
            "another encoding",
            kiel(DnValue::BmpString("Stadt Kiel".try_into().expect("it is"))),
            base("Stadt Kiel"),
            vec![],
            &[],
        ),
        ("folded", kiel(text("STRASSENAMT")), base("Stra\u{df}enamt"), vec![], &[]),
        ("compatible", kiel(text("\u{ff2b}iel\u{ad}")), base("Kiel"), vec![], &[]),
        (
            "of another country",
            kiel(text("Stadt Kiel")),
            tree(&[(OrganizationName, text("Stadt Kiel"))]),
            vec![],
            &constraint,
        ),
        ("another organisation", kiel(text("Stadt Kiell")), base("Stadt Kiel"), vec![], &constraint),
        ("one of two", kiel(text("Stadt Kiel")), [base("Bonn"), base("Stadt Kiel")].concat(), vec![], &[]),
        (
            "shorter than the subtree",
            directory_name(std::slice::from_ref(&country)),
            base("Stadt Kiel"),
            vec![],
            &constraint,
        ),
        ("everything", kiel(text("Stadt Kiel")), tree(&[]), vec![], &[]),
        ("excluded", kiel(text("Stadt Kiel")), vec![], base("stadt kiel"), &constraint),
        (
            "excluded in another string",
            kiel(DnValue::BmpString("Stadt Kiel".try_into().expect("it is"))),
            vec![],
            base("stadt kiel"),
            &constraint,
        ),
        ("another one excluded", kiel(text("Stadt Kiel")), vec![], base("Bonn"), &[]),
        (
            "excluded within permitted",
            kiel(text("Stadt Kiel")),
            tree(std::slice::from_ref(&country)),
            base("Stadt Kiel"),
            &constraint,
        ),
        ("no subject", directory_name(&[]), base("Stadt Kiel"), vec![], &[]),
    ] {
        let (leaf, issuer) = below_names(&ours, subject, constraints(permitted, excluded));
        check(what, &trust, TLS, &leaf, &[issuer], expected);
    }
    // Beside names of another kind, which webpki compares.
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    for (what, name, expected) in
        [("both kinds", "example", &[][..]), ("the other kind", "elsewhere", &constraint)]
    {
        let both = [base("Stadt Kiel"), vec![dns(name)]].concat();
        let (leaf, issuer) = below_names(&ours, kiel(text("Stadt Kiel")), constraints(both, vec![]));
        check(what, &trust, TLS, &leaf, &[issuer], expected);
    }
    // A signature over other bytes than those that came is none, constraint or not.
    let (leaf, issuer) = below_names(&ours, kiel(text("Bonn")), constraints(base("Stadt Kiel"), vec![]));
    let aside = issuer.directory_constraints().expect("it has some").set_aside(issuer.der());
    let aside = Certificate::from_der(&aside).expect("a certificate");
    check("set aside by a stranger", &trust, TLS, &leaf, &[aside], &[Reason::BadSignature]);
}

#[test]
fn directory_names_are_constrained_from_above() {
    use DnType::OrganizationName;
    let organisation = |name: &str| directory_name(&[(OrganizationName, text(name))]);
    let within = |name: &str| {
        let permitted_subtrees = vec![GeneralSubtree::DirectoryName(organisation(name))];
        Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] })
    };
    let constraint = [Reason::PathConstraint];
    let participant = || leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
    // The anchor's own word counts, for the CA below it as for the leaf.
    let mut params = authority_params("Ours", good(), BasicConstraints::Unconstrained);
    params.name_constraints = within("Land");
    let anchor = Authority::root_from(params, key()).expect("a root");
    let trust = trusting(&anchor);
    for (what, middle, end, alternative, expected) in [
        ("both below", "Land", "Land", None, &[][..]),
        ("the CA elsewhere", "Bund", "Land", None, &constraint),
        ("the leaf elsewhere", "Land", "Bund", None, &constraint),
        ("another name elsewhere", "Land", "Land", Some("Bund"), &constraint),
        ("another name below", "Land", "Land", Some("LAND"), &[]),
    ] {
        let mut params = authority_params("Middle", good(), BasicConstraints::Constrained(0));
        params.distinguished_name = organisation(middle);
        params.name_constraints = within("Land");
        let issuer = anchor.subordinate_from(params, key()).expect("a CA");
        let mut params = participant();
        params.distinguished_name = organisation(end);
        if let Some(name) = alternative {
            params.custom_extensions.push(alternative_directory_name(name));
            params.subject_alt_names.clear();
        }
        let leaf = issuer.issue_from(params, key()).expect("a leaf");
        check(what, &trust, TLS, leaf.certificate(), &[issuer.certificate().clone()], expected);
    }
    // A further name that nobody can read lies in no permitted subtree.
    let mut params = participant();
    params.distinguished_name = organisation("Land");
    params.subject_alt_names.clear();
    params.custom_extensions.push(unreadable_directory_name());
    let leaf = anchor.issue_from(params, key()).expect("a leaf");
    check("an unreadable name", &trust, TLS, leaf.certificate(), &[], &constraint);
    // A CA that changes its key issues itself a certificate, which is no new name.
    let mut params = authority_params("Ours", good(), BasicConstraints::Unconstrained);
    params.name_constraints = within("Land");
    let next = anchor.subordinate_from(params, key()).expect("self-issued");
    let mut params = participant();
    params.distinguished_name = organisation("Land");
    let leaf = next.issue_from(params, key()).expect("a leaf");
    check("self-issued", &trust, TLS, leaf.certificate(), &[next.certificate().clone()], &[]);
}

/// SubjectAltName with a directory name that is a number.
fn unreadable_directory_name() -> CustomExtension {
    use crate::pki::der::{SEQUENCE, constructed, write};
    let name = write(0x02, &[7]);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], write(SEQUENCE, &write(constructed(4), &name)))
}

/// SubjectAltName with the directory name of one organisation.
fn alternative_directory_name(organisation: &str) -> CustomExtension {
    use crate::pki::der::{OID, SEQUENCE, constructed, write};
    let kind = write(OID, &[0x55, 4, 10]);
    let attribute = write(SEQUENCE, &[kind, write(0x0c, organisation.as_bytes())].concat());
    let name = write(SEQUENCE, &write(0x31, &attribute));
    CustomExtension::from_oid_content(&[2, 5, 29, 17], write(SEQUENCE, &write(constructed(4), &name)))
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
fn revocation() {
    use UnknownRevocation::{Refuse, Warn};
    let ours = root("Ours");
    let issuing = ours.subordinate("Issuing", KeyChoice::P256, good()).expect("a CA");
    let namesake = root("Ours");
    let (direct, other) = (issue(&ours, Role::Participant), issue(&ours, Role::Participant));
    let below = issue(&issuing, Role::Participant);
    let list = |by: &Authority, validity: Validity, revoked: &[&Certificate]| {
        by.revocation_list(1, validity, revoked).expect("a list")
    };
    let named = [direct.certificate(), issuing.certificate()];
    let clear = list(&ours, good(), &[other.certificate()]);
    let naming = list(&ours, good(), &named);
    let clear_old = list(&ours, years(2020, 2021), &[]);
    let naming_old = list(&ours, years(2020, 2021), &named);
    let forged = list(&namesake, years(2021, 2120), &[]);
    let issuing_clear = list(&issuing, good(), &[]);
    let issuing_naming = list(&issuing, good(), &[below.certificate()]);

    let valid = (Verdict::Valid, None);
    let unknown = (Verdict::Indeterminate, Some(Reason::RevocationUnknown));
    let revoked = (Verdict::Invalid, Some(Reason::Revoked));
    let row = |what: &str, leaf: &Issued, lists: &[&str], expected: (Verdict, Option<Reason>)| {
        for policy in [Warn, Refuse] {
            let trust = trust(ours.certificate(), &[issuing.certificate()], lists, policy);
            let inspection = trust.inspect(TLS, leaf.certificate(), &[], at(NOW));
            let seen = (inspection.verdict, inspection.reasons.first().copied());
            assert_eq!(seen, expected, "{what}: {:?}", inspection.sentences);
            let acceptable = match expected.0 {
                Verdict::Valid => true,
                Verdict::Invalid => false,
                Verdict::Indeterminate => policy == Warn,
            };
            assert_eq!(inspection.is_acceptable(), acceptable, "{what}, {policy:?}");
            assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
        }
    };
    row("no list", &direct, &[], unknown);
    row("a clear list", &direct, &[&clear], valid);
    row("a list that names it", &direct, &[&naming], revoked);
    row("a list that names another", &other, &[&clear], revoked);
    row("an old list", &direct, &[&clear_old], unknown);
    row("an old list that names it", &direct, &[&naming_old], revoked);
    row(
        "a clear list newer than one that names it",
        &direct,
        &[&naming_old, &list(&ours, years(2025, 2120), &[])],
        valid,
    );
    row("a list by another of its name", &direct, &[&forged], unknown);
    row("the same before one that names it", &direct, &[&forged, &naming_old], revoked);
    row("below, both lists clear", &below, &[&clear, &issuing_clear], valid);
    row("below, one list missing", &below, &[&clear], unknown);
    row("below, the other list missing", &below, &[&issuing_clear], unknown);
    row("below, named", &below, &[&clear, &issuing_naming], revoked);
    row("below, its issuer named", &below, &[&naming, &issuing_clear], revoked);
    row("below, its issuer named, own list missing", &below, &[&naming], revoked);

    let both = format!("{clear}{issuing_clear}");
    row("two lists in one file", &below, &[&both], valid);
    let expired = ours.issue(&leaf(Role::Participant, years(2020, 2021), KeyChoice::P256)).expect("a leaf");
    let gone = list(&ours, good(), &[expired.certificate()]);
    let check_expired = |list: &str, expected: &[Reason]| {
        let trust = trust(ours.certificate(), &[], &[list], Warn);
        assert_eq!(trust.inspect(TLS, expired.certificate(), &[], at(NOW)).reasons, expected);
    };
    check_expired(&clear, &[Reason::Expired]);
    check_expired(&clear_old, &[Reason::Expired]);
    check_expired(&gone, &[Reason::Revoked, Reason::Expired]);
}

/// Of two authorities, in either order, with either list the newer one.
fn each_way(
    anchors: &[&Authority],
    intermediates: &[&Certificate],
    by: [&Authority; 2],
    named: [&[&Certificate]; 2],
    look: impl Fn(&TrustAnchors, &str),
) {
    for (reversed, since) in
        [(false, [2021, 2022]), (false, [2022, 2021]), (true, [2021, 2022]), (true, [2022, 2021])]
    {
        let mut builder = TrustAnchors::builder().unknown_revocation(TLS, UnknownRevocation::Warn);
        let (mut anchors, mut intermediates) = (anchors.to_vec(), intermediates.to_vec());
        if reversed {
            anchors.reverse();
            intermediates.reverse();
        }
        for anchor in anchors {
            builder = builder.anchors(TLS, anchor.certificate().der()).expect("an anchor");
        }
        for intermediate in intermediates {
            builder = builder.intermediates(TLS, intermediate.der()).expect("a CA");
        }
        for ((authority, since), named) in by.iter().zip(since).zip(named) {
            let list = authority.revocation_list(1, years(since, 2120), named).expect("a list");
            builder = builder.revocation_lists(TLS, list.as_bytes()).expect("a list");
        }
        look(&builder.build(), &format!("reversed: {reversed}, lists of {since:?}"));
    }
}

#[track_caller]
fn judged(trust: &TrustAnchors, leaf: &Issued, expected: (Verdict, Option<Reason>), what: &str) {
    let inspection = trust.inspect(TLS, leaf.certificate(), &[], at(NOW));
    let seen = (inspection.verdict, inspection.reasons.first().copied());
    assert_eq!(seen, expected, "{what}: {:?}", inspection.sentences);
    assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
}

const VALID: (Verdict, Option<Reason>) = (Verdict::Valid, None);
const UNKNOWN: (Verdict, Option<Reason>) = (Verdict::Indeterminate, Some(Reason::RevocationUnknown));
const REVOKED: (Verdict, Option<Reason>) = (Verdict::Invalid, Some(Reason::Revoked));

#[test]
fn authorities_of_one_name_do_not_hide_each_other() {
    for choice in [KeyChoice::P256, KeyChoice::Rsa3072] {
        let one = root("Ours");
        let other = Authority::root("Ours", choice, good()).expect("a root");
        let leaves = [issue(&one, Role::Participant), issue(&other, Role::Participant)];
        let [first, second] = leaves.each_ref().map(Issued::certificate);
        let rows: [(&str, [&[&Certificate]; 2], _); 4] = [
            ("none named", [&[], &[]], [VALID, VALID]),
            ("named by its own", [&[first], &[second]], [REVOKED, REVOKED]),
            ("its number named by the other", [&[second], &[first]], [VALID, VALID]),
            ("one named", [&[first], &[]], [REVOKED, VALID]),
        ];
        for (what, named, expected) in rows {
            each_way(&[&one, &other], &[], [&one, &other], named, |trust, way| {
                for (leaf, expected) in leaves.iter().zip(expected) {
                    judged(trust, leaf, expected, &format!("{choice:?}, {what}, {way}"));
                }
            });
        }
        // The other's list alone proves nothing of a certificate, and names none.
        each_way(&[&one, &other], &[], [&other, &other], [&[first], &[first]], |trust, way| {
            judged(trust, &leaves[0], UNKNOWN, way);
            judged(trust, &leaves[1], VALID, way);
        });
        let forged = issue(&root("Ours"), Role::Participant);
        each_way(&[&one, &other], &[], [&one, &other], [&[], &[]], |trust, way| {
            let inspection = trust.inspect(TLS, forged.certificate(), &[], at(NOW));
            assert_eq!(inspection.verdict, Verdict::Invalid, "{way}: {:?}", inspection.sentences);
        });
    }
}

#[test]
fn a_new_key_that_the_old_one_vouches_for() {
    let old = root("Ours");
    let params = authority_params("Ours", good(), BasicConstraints::Constrained(1));
    let new = old.subordinate_from(params, key()).expect("a link certificate");
    let below = issue(&new, Role::Participant);
    let (link, leaf) = (new.certificate(), below.certificate());
    let rows: [(&str, [&[&Certificate]; 2], _); 3] = [
        ("none named", [&[], &[]], VALID),
        ("named", [&[], &[leaf]], REVOKED),
        ("its issuer named", [&[link], &[]], REVOKED),
    ];
    for (what, named, expected) in rows {
        each_way(&[&old], &[link], [&old, &new], named, |trust, way| {
            judged(trust, &below, expected, &format!("{what}, {way}"));
        });
    }
}

#[test]
fn an_expired_certificate_of_an_issuer_does_not_hide_the_renewed_one() {
    let ours = root("Ours");
    let pair = key();
    let issuing = |validity| {
        let again = KeyPair::from_pem(&pair.serialize_pem()).expect("the same key");
        let params = authority_params("Issuing", validity, BasicConstraints::Constrained(0));
        ours.subordinate_from(params, again).expect("a CA")
    };
    let (expired, renewed) = (issuing(years(2020, 2021)), issuing(good()));
    let below = issue(&renewed, Role::Participant);
    let both = [expired.certificate(), renewed.certificate()];
    each_way(&[&ours], &both, [&ours, &ours], [&[], &[]], |trust, way| judged(trust, &below, UNKNOWN, way));
    each_way(&[&ours], &both, [&ours, &renewed], [&[], &[]], |trust, way| judged(trust, &below, VALID, way));
    each_way(&[&ours], &both, [&ours, &renewed], [&[], &[below.certificate()]], |trust, way| {
        judged(trust, &below, REVOKED, way);
    });
}

fn answer(status: Status) -> crate::pki::revocation::ocsp::Answer {
    let (this_update, until) = (at("2026-11-23T11:00:00Z"), at("2026-11-24T11:00:00Z"));
    crate::pki::revocation::ocsp::Answer { status, this_update, until }
}

#[test]
fn answers_and_delta_lists_take_part() {
    use crate::pki::revocation::answers::Question;
    let ours = Ca::new("Ours");
    let issuing = ours.authority.subordinate("Issuing", KeyChoice::P256, good()).expect("a CA");
    let below = issue(&issuing, Role::Participant);
    let (leaf, middle, top) = (below.certificate(), issuing.certificate(), ours.certificate());
    let revoked = Status::Revoked { at: at("2026-11-01T00:00:00Z") };
    let full = Draft::full(2).signed(&ours);
    let row = |what: &str, lists: &[&[u8]], said: &[(&Certificate, &Certificate, Status)], expected| {
        let mut builder = TrustAnchors::builder().anchors(TLS, top.der()).expect("an anchor");
        builder = builder.intermediates(TLS, middle.der()).expect("a CA");
        for list in lists {
            builder = builder.revocation_lists(TLS, list).expect("a list");
        }
        let answers = Arc::new(Answers::default());
        let trust = builder.build().with_answers(answers.clone());
        let before = trust.inspect(TLS, leaf, &[], at(NOW));
        for (certificate, issuer, status) in said {
            let question = Question { certificate: (*certificate).clone(), issuer: (*issuer).clone() };
            answers.keep(question, answer(*status), at(NOW));
        }
        let inspection = trust.inspect(TLS, leaf, &[], at(NOW));
        assert_eq!(inspection.verdict, expected, "{what}: {:?}", inspection.sentences);
        assert_eq!(inspection.outcome(CheckKind::Path), Some(&Outcome::Good), "{what}");
        if said.is_empty() {
            assert_eq!(inspection, before, "{what}");
        }
    };
    use {Status::Good, Status::Unknown, Verdict::Indeterminate, Verdict::Invalid, Verdict::Valid};
    row("nothing", &[], &[], Indeterminate);
    row("an answer for the leaf alone", &[], &[(leaf, middle, Good)], Indeterminate);
    row("answers for all", &[], &[(leaf, middle, Good), (middle, top, Good)], Valid);
    row("an answer and a list", &[&full], &[(leaf, middle, Good)], Valid);
    row("an answer about another issuer", &[&full], &[(leaf, top, Good)], Indeterminate);
    row("revoked by answer", &[&full], &[(leaf, middle, revoked)], Invalid);
    row("its issuer revoked by answer", &[], &[(leaf, middle, Good), (middle, top, revoked)], Invalid);
    row("not known to the responder", &[&full], &[(leaf, middle, Unknown)], Indeterminate);
    let named = Draft::delta(3, 2).naming(middle, vec![]).signed(&ours);
    row("its issuer on a delta list", &[&full, &named], &[(leaf, middle, Good)], Invalid);
    let newer = Draft::full(3).signed(&ours);
    row("a delta list that is overtaken", &[&newer, &named], &[(leaf, middle, Good)], Valid);
    let forged = Draft::delta(3, 2).naming(middle, vec![]).signed(&Ca::new("Ours"));
    row("a delta list by another", &[&full, &forged], &[(leaf, middle, Good)], Valid);
    let delta_alone = Draft::delta(3, 2).signed(&ours);
    row("a delta list clears nobody", &[&delta_alone], &[(leaf, middle, Good)], Indeterminate);
}

#[test]
fn a_clear_list_does_not_vouch_for_what_was_never_issued() {
    let ours = Ca::new("Ours");
    let leaf = ours.participant("office");
    let builder = TrustAnchors::builder().anchors(TLS, ours.certificate().der()).expect("an anchor");
    let builder = builder.revocation_lists(TLS, &Draft::full(1).signed(&ours)).expect("a list");
    let answers = Arc::new(Answers::default());
    let trust = builder.build().with_answers(answers.clone());
    assert_eq!(trust.inspect(TLS, &leaf, &[], at(NOW)).verdict, Verdict::Valid);
    let question = crate::pki::revocation::answers::Question {
        certificate: leaf.clone(),
        issuer: ours.certificate().clone(),
    };
    answers.keep(question, answer(Status::Unknown), at(NOW));
    let inspection = trust.inspect(TLS, &leaf, &[], at(NOW));
    assert_eq!(inspection.verdict, Verdict::Indeterminate, "{:?}", inspection.sentences);
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

#[test]
fn every_list_is_asked_within_its_scope() {
    use crate::pki::revocation::list::tests::{named_point, point};
    use Verdict::{Indeterminate, Invalid, Valid};
    let ours = Ca::new("Ours");
    let plain = ours.participant("office");
    let (url, elsewhere) = ("http://ca.example/1", "http://ca.example/2");
    let pointing = {
        let mut params = leaf_params(&leaf(Role::Participant, good(), KeyChoice::P256)).expect("parameters");
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![url.to_owned()] }];
        ours.authority.issue_from(params, key()).expect("a leaf").certificate().clone()
    };
    assert_eq!(pointing.list_urls(), [url]);
    let part = |draft: Draft, url: &str| draft.with(point(&named_point(url)));
    let users = |draft: Draft| draft.with(point(&[named_point(url).as_slice(), &[0x81, 1, 0xff]].concat()));
    let at_day = |draft: Draft, this_update| Draft { this_update, ..draft };
    let (full, newer) = (Draft::full, |value| at_day(Draft::full(value), "20261102000000Z"));
    let row = |what: &str, leaf: &Certificate, lists: &[Draft], expected| {
        let mut builder = TrustAnchors::builder().anchors(TLS, ours.certificate().der()).expect("an anchor");
        for list in lists {
            builder = builder.revocation_lists(TLS, &list.signed(&ours)).expect("a list");
        }
        let inspection = builder.build().inspect(TLS, leaf, &[], at(NOW));
        assert_eq!(inspection.verdict, expected, "{what}: {:?}", inspection.sentences);
    };
    row("a part it does not name", &plain, &[part(full(1), url)], Indeterminate);
    row("the part that it names", &pointing, &[part(full(1), url)], Valid);
    row("another part", &pointing, &[part(full(1), elsewhere)], Indeterminate);
    row("named by a part", &plain, &[part(full(1).naming(&plain, vec![]), url)], Invalid);
    let naming = || full(1).naming(&plain, vec![]);
    row("a newer part hides nothing", &plain, &[naming(), part(newer(2), url)], Invalid);
    row("nor does a newer list of users", &plain, &[naming(), users(newer(2))], Invalid);
    row("a newer one of the same scope has it all", &plain, &[naming(), newer(2)], Valid);
    row("whose number must not go back", &plain, &[full(3).naming(&plain, vec![]), newer(2)], Invalid);
    let delta = || Draft::delta(3, 1).naming(&plain, vec![]);
    row("numbers of another scope", &plain, &[full(1), users(newer(9)), delta()], Invalid);
    row("numbers of its own", &plain, &[newer(9), delta()], Valid);
}
