//! TLS between a relay and its database: with certificates of our own, tried on the real server. Wrong anchors, a wrong
//! name and a certificate that has run out are refused in a sentence.

use std::path::Path;

use amtsbote::pki::development::{Authority, KeyChoice, Leaf, Role, Validity};

use crate::cli_fixture::{Office, amtsbote};
use crate::nodes_office::{open_with, stop};
use crate::postgres_cluster::{Cluster, OWNER, programs};

fn validity(until: &str) -> Validity {
    let instant = |text: &str| text.parse().expect("an instant");
    Validity { from: instant("2026-01-01T00:00:00Z"), until: instant(until) }
}

fn authority(name: &str) -> Authority {
    Authority::root(name, KeyChoice::P256, validity("2046-01-01T00:00:00Z")).expect("an authority")
}

/// Gives the database a certificate of this authority for these names.
fn secure(cluster: &Cluster, by: &Authority, names: &[&str], until: &str) {
    let leaf = Leaf {
        common_name: "database",
        role: Role::Server,
        key: KeyChoice::P256,
        validity: validity(until),
        names,
    };
    let issued = by.issue(&leaf).expect("a certificate");
    cluster.secure(&issued.chain_pem(), issued.key_pem());
}

fn write_anchor(folder: &Path, file: &str, authority: &Authority) -> String {
    let file = folder.join(file);
    std::fs::write(&file, authority.certificate().pem()).expect("written");
    file.display().to_string()
}

/// What `amtsbote check` says of the database, and how it ends.
fn checked(office: &Office) -> (i32, String) {
    let ran = amtsbote(office.folder.path(), &["check"]);
    (ran.code, format!("{}{}", ran.stdout, ran.stderr))
}

#[test]
fn the_database_is_believed_by_its_certificate() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let (ours, theirs) = (authority("Database CA"), authority("Another CA"));
    let far = "2046-01-01T00:00:00Z";
    secure(&cluster, &ours, &["localhost", "127.0.0.1"], far);
    cluster.database("secured");
    let folder = tempfile::tempdir().expect("a folder");
    let (good, wrong) =
        (write_anchor(folder.path(), "good.crt", &ours), write_anchor(folder.path(), "wrong.crt", &theirs));
    let connection = format!("host=localhost port={} user={OWNER} dbname=secured", cluster.port);
    let mut nodes = open_with(&connection, 1, |_, text| {
        let anchored = text.replace("\ntls_anchors = []\n", &format!("\ntls_anchors = [{good:?}]\n"));
        assert_ne!(anchored, text);
        anchored.replace("\npatience_seconds = 10\n", "\npatience_seconds = 3\n")
    });
    let id = nodes[0].post("<notice/>");
    nodes[0].run(&["card", "show", &id]).ends(0);
    let secured = "SELECT count(*) FILTER (WHERE s.ssl), count(*) FILTER (WHERE NOT s.ssl) FROM pg_stat_ssl s \
                   JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'amtsbote'";
    let counted = cluster.sql("postgres", secured);
    let (with, without) = counted.split_once('|').expect("two numbers");
    assert!(with != "0" && without == "0", "{counted}");
    stop(&mut nodes);
    assert_eq!(checked(&nodes[0]).0, 0, "{:?}", checked(&nodes[0]));

    let office = &nodes[0];
    let config = std::fs::read_to_string(office.path("amtsbote.toml")).expect("the configuration");
    let with_anchor = |anchor: &str| {
        std::fs::write(office.path("amtsbote.toml"), config.replace(&good, anchor)).expect("written");
    };
    let refused = |words: &[&str]| {
        let (code, said) = checked(office);
        assert_ne!(code, 0, "{said}");
        let start = amtsbote(office.folder.path(), &["serve"]);
        assert_ne!(start.code, 0, "it does not start either");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said}");
            assert!(start.stderr.contains(word), "{word:?} is not in {}", start.stderr);
        }
    };
    with_anchor(&wrong);
    refused(&["TLS with the database failed", "tls_anchors", "UnknownIssuer"]);
    with_anchor(&good);
    secure(&cluster, &ours, &["db.example.org"], far);
    refused(&["TLS with the database failed", "not valid for name"]);
    secure(&cluster, &ours, &["localhost"], "2026-02-01T00:00:00Z");
    refused(&["TLS with the database failed", "expired"]);
    secure(&cluster, &ours, &["localhost"], far);
    assert_eq!(checked(office).0, 0, "{:?}", checked(office));
}
