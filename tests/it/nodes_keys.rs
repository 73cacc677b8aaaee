//! Relays that share a database and have keys with which they cannot stand in for each other notice it.

use std::path::Path;
use std::time::Duration;

use amtsbote::pki::certificate::Certificate;

use crate::cli_fixture::Office;
use crate::nodes_office::{open_furnished, open_with, stop};
use crate::portal_folder;
use crate::portal_office::{AUTHORITY_PEM, SERVICE_PEM};
use crate::postgres_cluster::{Cluster, programs};

fn write_key(file: &Path, pem: &str) {
    std::fs::write(file, pem).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, mode).expect("closed to others");
}

/// What `amtsbote check` says of the keys, once it says this.
fn says(node: &Office, words: &str) -> String {
    let mut seen = String::new();
    for _ in 0..300 {
        seen = node.run(&["check"]).stdout;
        if seen.contains(words) {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not {words:?}: {seen}");
}

fn log(node: &Office) -> String {
    std::fs::read_to_string(node.path("server.log")).expect("a log")
}

fn wait_for_line(node: &Office, words: &str) {
    for _ in 0..300 {
        if log(node).contains(words) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not {words:?}: {}", log(node));
}

/// Clients learn one server's certificate and are answered by another.
#[test]
fn servers_with_different_osci_keys_are_noticed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let ours = ["cipher_certificates = [\"tls/osci-cipher.crt\"]", "cipher_keys = [\"tls/osci-cipher.key\"]"];
    let with = |text: &str, first: &str, second: &str| {
        ours.iter().fold(text.to_owned(), |text, line| {
            assert!(text.contains(line), "{text}");
            let (name, end) = if line.contains("crt") { ("certificates", "crt") } else { ("keys", "key") };
            let files = [first, second].map(|file| format!("\"tls/{file}.{end}\"")).join(", ");
            text.replace(line, &format!("cipher_{name} = [{files}]"))
        })
    };
    let (cipher, other) = ("osci-cipher", "osci-signature");
    let mut nodes = open_with(&cluster.database("ciphers"), 2, |node, text| {
        if node == 1 { with(text, other, other) } else { text.to_owned() }
    });
    assert!(says(&nodes[0], "the server relay-2 lets").contains("cannot be read by the other"));
    wait_for_line(&nodes[1], "osci-cipher-differs");

    // What either's clients encrypt for is read by both.
    for (node, first, second) in [(0, cipher, other), (1, other, cipher)] {
        let file = nodes[node].path("amtsbote.toml");
        let text = std::fs::read_to_string(&file).expect("the configuration");
        let text = text
            .replace(&format!(", \"tls/{other}.crt\"]"), "]")
            .replace(&format!(", \"tls/{other}.key\"]"), "]");
        let text = text.replace(&format!("[\"tls/{other}."), &format!("[\"tls/{cipher}."));
        std::fs::write(&file, with(&text, first, second)).expect("written");
        nodes[node].kill_and_restart();
    }
    for (node, server, file) in [(0, "relay-2", other), (1, "relay-1", cipher)] {
        let pem = std::fs::read(nodes[node].path(&format!("tls/{file}.crt"))).expect("a file");
        let first = Certificate::from_pem(&pem).expect("a certificate").fingerprint();
        let words =
            format!("the server {server} lets clients encrypt for {first}, which is taken here as well");
        says(&nodes[node], &words);
        assert!(!log(&nodes[node]).contains("osci-cipher-differs"), "{}", log(&nodes[node]));
    }

    // A reload takes up what was put in its place, and tells the others.
    for end in ["crt", "key"] {
        let [from, to] = [other, cipher].map(|name| nodes[0].path(&format!("tls/{name}.{end}")));
        std::fs::copy(from, to).expect("copied");
    }
    assert!(says(&nodes[0], "another key lies here: reload it").contains("OSCI keys"));
    nodes[0].signal(rustix::process::Signal::HUP);
    says(&nodes[1], "other servers with the same OSCI keys: 1");
    assert!(!says(&nodes[0], "other servers with the same OSCI keys: 1").contains("another key lies here"));
    stop(&mut nodes);
}

#[test]
fn servers_with_different_portal_keys_are_noticed() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let furnish = |folder: &Path| {
        portal_folder::furnish(folder, None);
        write_key(&folder.join("portal.key"), SERVICE_PEM);
        write_key(&folder.join("tls/other.key"), AUTHORITY_PEM);
    };
    let mut nodes = open_furnished(&cluster.database("keys"), 2, furnish, |node, text| {
        assert!(text.contains("\nkey = \"portal.key\""), "{text}");
        if node == 1 {
            text.replace("\nkey = \"portal.key\"", "\nkey = \"tls/other.key\"")
        } else {
            text.to_owned()
        }
    });
    assert!(says(&nodes[0], "the server relay-2 signs as").contains("copy portal.key of one server"));
    says(&nodes[1], "the server relay-1 signs as");
    // Who came second has seen the first; how soon the first one looks again is its own affair.
    wait_for_line(&nodes[1], "portal-key-differs");

    // Each believes the other one's: nothing to say but which.
    for (node, file) in [(0, "tls/other.key"), (1, "portal.key")] {
        let told = nodes[node].run(&["cert", "portal-key", file]).ends(0).stdout;
        std::fs::write(nodes[node].path("further.jwks"), told).expect("written");
        let file = nodes[node].path("amtsbote.toml");
        let text = std::fs::read_to_string(&file).expect("the configuration");
        assert!(text.contains("further_keys = []"), "{text}");
        std::fs::write(&file, text.replace("further_keys = []", "further_keys = [\"further.jwks\"]"))
            .expect("written");
        nodes[node].kill_and_restart();
    }
    for (node, other) in [(0, "relay-2"), (1, "relay-1")] {
        let seen = says(&nodes[node], &format!("the server {other} signs as"));
        assert!(seen.contains("which is taken here as well") && !seen.contains("copy portal.key"), "{seen}");
    }
    // Each has looked at its start, when the other one's was known; a start begins a log of its own.
    for node in &nodes {
        assert!(!log(node).contains("portal-key-differs"), "{}", log(node));
    }

    write_key(&nodes[1].path("tls/other.key"), SERVICE_PEM);
    says(&nodes[1], "another key lies here: restart it");
    nodes[1].kill_and_restart();
    for node in &nodes {
        let seen = says(node, "other servers with the same portal keys: 1");
        assert!(!seen.contains("signs as relay") && !seen.contains("the server relay-"), "{seen}");
    }
    stop(&mut nodes);
}
