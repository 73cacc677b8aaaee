//! The committed throw-away PKI under `certs-dev/`: one row per file pair says what it must be, and the same rows
//! make it anew: `cargo test --test it regenerate_certs_dev -- --ignored`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::development::{Authority, KeyChoice, LOCAL_NAMES, Leaf, Role, Validity};
use amtsbote::pki::inspection::{Purpose, Reason, UnknownRevocation, Verdict};
use amtsbote::pki::key::{Identity, Readers, write_new};
use amtsbote::pki::trust::{PurposeSettings, TrustAnchors};
use jiff::Timestamp;

struct Row {
    stem: &'static str,
    common_name: &'static str,
    role: Role,
    key: KeyChoice,
    /// Years.
    validity: (u16, u16),
    foreign: bool,
    /// What trust says of it: reasons, gravest first.
    expected: &'static [Reason],
}

const fn participant(stem: &'static str, common_name: &'static str) -> Row {
    Row {
        stem,
        common_name,
        role: Role::Participant,
        key: KeyChoice::P256,
        validity: (2020, 2120),
        foreign: false,
        expected: &[],
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row { role: Role::Server, ..participant("server", "localhost") },
        Row { role: Role::Server, key: KeyChoice::Rsa3072, ..participant("server-rsa", "localhost (RSA)") },
        participant("author", "Registry Office Musterstadt"),
        participant("reader", "Registration Office Beispielburg"),
        participant("blocked", "Blocked Office"),
        Row {
            validity: (2020, 2021),
            expected: &[Reason::Expired],
            ..participant("expired", "Expired Office")
        },
        Row { foreign: true, expected: &[Reason::UnknownIssuer], ..participant("stranger", "Stranger") },
        participant("unknown", "Office Without Account"),
        Row { expected: &[Reason::Revoked], ..participant("revoked", "Revoked Office") },
        participant("operator", "Operator"),
    ]
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("certs-dev")
}

fn years((from, until): (u16, u16)) -> Validity {
    let at = |year: u16| format!("{year}-01-01T00:00:00Z").parse::<Timestamp>().expect("an instant");
    Validity { from: at(from), until: at(until) }
}

fn purpose(role: Role) -> Purpose {
    match role {
        Role::Server => Purpose::ServerTls,
        _ => Purpose::ParticipantTls,
    }
}

#[test]
#[ignore = "writes into the source tree; run it only to replace the committed set"]
fn regenerate_certs_dev() {
    let good = years((2020, 2120));
    let ours = Authority::root("Development CA", KeyChoice::P256, good).expect("a root");
    let foreign = Authority::root("Foreign Development CA", KeyChoice::P256, good).expect("a root");
    let mut files: Vec<(String, String, Readers)> = Vec::new();
    for (stem, authority) in [("ca", &ours), ("foreign-ca", &foreign)] {
        files.push((format!("{stem}.crt"), authority.certificate().pem(), Readers::Everybody));
        files.push((format!("{stem}.key"), authority.key_pem(), Readers::Owner));
    }
    let mut revoked: Vec<Certificate> = Vec::new();
    for row in rows() {
        let authority = if row.foreign { &foreign } else { &ours };
        let names: &[&str] = if row.role == Role::Server { &LOCAL_NAMES } else { &[] };
        let leaf = Leaf {
            common_name: row.common_name,
            role: row.role,
            key: row.key,
            validity: years(row.validity),
            names,
        };
        let issued = authority.issue(&leaf).expect("a leaf");
        if row.expected.contains(&Reason::Revoked) {
            revoked.push(issued.certificate().clone());
        }
        files.push((format!("{}.crt", row.stem), issued.chain_pem(), Readers::Everybody));
        files.push((format!("{}.key", row.stem), issued.key_pem().to_owned(), Readers::Owner));
    }
    let named: Vec<&Certificate> = revoked.iter().collect();
    let list = ours.revocation_list(1, good, &named).expect("a list");
    files.push(("ca.crl".into(), list, Readers::Everybody));
    for (name, text, readers) in files {
        let path = directory().join(name);
        if path.exists() {
            std::fs::remove_file(&path).expect("the old file goes");
        }
        write_new(&path, text.as_bytes(), readers).expect("written");
    }
}

#[test]
fn the_committed_set_is_what_its_rows_say() {
    let files = |policy| PurposeSettings {
        fetched_lists: vec![],
        anchors: vec![directory().join("ca.crt")],
        intermediates: vec![],
        revocation_lists: vec![directory().join("ca.crl")],
        unknown_revocation: policy,
    };
    let settings: BTreeMap<Purpose, PurposeSettings> =
        Purpose::ALL.into_iter().map(|purpose| (purpose, files(UnknownRevocation::Refuse))).collect();
    let trust = TrustAnchors::load(&settings).expect("anchors and list");
    for now in ["2024-02-29T00:00:00Z", "2026-11-23T12:00:00Z", "2119-12-31T23:59:59Z"] {
        let now: Timestamp = now.parse().expect("an instant");
        for row in rows() {
            let pair = [row.stem.to_owned() + ".crt", row.stem.to_owned() + ".key"]
                .map(|name| directory().join(name));
            let identity =
                Identity::load(&pair[0], &pair[1]).unwrap_or_else(|error| panic!("{}: {error}", row.stem));
            let leaf = &identity.chain()[0];
            assert_eq!(leaf.common_name(), Some(row.common_name));
            let inspection = trust.inspect_chain(purpose(row.role), identity.chain(), now).expect("a chain");
            assert_eq!(inspection.reasons, row.expected, "{} at {now}: {:?}", row.stem, inspection.sentences);
            let verdict = if row.expected.is_empty() { Verdict::Valid } else { Verdict::Invalid };
            assert_eq!(
                (inspection.verdict, inspection.warnings.as_slice()),
                (verdict, [].as_slice()),
                "{}",
                row.stem
            );
            if row.role == Role::Server {
                assert_eq!(leaf.alternative_names(), LOCAL_NAMES, "{}", row.stem);
            }
        }
    }
}

#[test]
fn the_readme_names_every_file_and_no_other() {
    let readme = std::fs::read_to_string(directory().join("README.md")).expect("a README");
    let named: BTreeSet<String> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned))
        .collect();
    let present: BTreeSet<String> = std::fs::read_dir(directory())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(named, present);
    assert!(
        readme.contains("**The private keys in this directory are public. Never use them"),
        "the warning"
    );
}
