//! Rights of issuers, and names that are constrained.

use super::*;

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
