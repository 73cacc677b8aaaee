//! Certificates and keys put in place and rolled over, with the real binary and a real server.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::development::{Authority, Issued, KeyChoice, LOCAL_NAMES, Leaf, Role, Validity};
use amtsbote::pki::inspection::Purpose;
use amtsbote::pki::tls::{client_config, server_name};
use amtsbote::pki::trust::TrustAnchors;
use jiff::{SignedDuration, Timestamp};

use crate::cli_fixture::{Office, Ran};

fn days(days: i64) -> Timestamp {
    SystemClock.now().checked_add(SignedDuration::from_hours(24 * days)).expect("an instant")
}

fn valid(from: i64, until: i64) -> Validity {
    Validity { from: days(from), until: days(until) }
}

/// A CA that the office believes besides the one that `init` made.
fn authority(office: &Path) -> Authority {
    let made = Authority::root("Second CA", KeyChoice::P256, valid(-30, 3000)).expect("a root");
    let path = office.join("tls/ca.crt");
    let both = std::fs::read_to_string(&path).expect("readable") + &made.certificate().pem();
    std::fs::write(path, both).expect("writes");
    made
}

fn issue(authority: &Authority, role: Role, validity: Validity, names: &[&str]) -> Issued {
    let leaf = Leaf { common_name: "renewed", role, key: KeyChoice::P256, validity, names };
    authority.issue(&leaf).expect("a certificate")
}

fn write(office: &Office, name: &str, issued: &Issued) {
    std::fs::write(office.path(&format!("{name}.crt")), issued.chain_pem()).expect("writes");
    std::fs::write(office.path(&format!("{name}.key")), issued.key_pem()).expect("writes");
}

/// The certificate that the office's listener shows.
fn shown(office: &Office, authority: &Authority) -> Option<Certificate> {
    shown_at(office.xta.trim_start_matches("https://").trim_end_matches('/'), authority)
}

/// The certificate that the listener at this address shows.
pub fn shown_at(address: &str, authority: &Authority) -> Option<Certificate> {
    let pem = authority.certificate().pem();
    let anchors = TrustAnchors::builder().anchors(Purpose::ServerTls, pem.as_bytes()).expect("anchors");
    let config = client_config(Arc::new(anchors.build()), None, Arc::new(SystemClock)).expect("a client");
    let mut stream = TcpStream::connect(address).expect("connects");
    let name = server_name("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    while client.is_handshaking() {
        client.complete_io(&mut stream).ok()?;
    }
    let leaf = client.peer_certificates()?.first()?;
    Some(Certificate::from_der(leaf).expect("readable"))
}

fn acts(office: &Office) -> Vec<String> {
    let acts = office.run(&["acts", "--json"]).ends(0).json();
    let text = |act: &serde_json::Value, field: &str| act[field].as_str().unwrap_or_default().to_owned();
    acts.as_array()
        .expect("a list")
        .iter()
        .map(|act| format!("{}, {}: {}", text(act, "act"), text(act, "object"), text(act, "reason")))
        .collect()
}

/// Names in `tls/` that tell of a former or next file.
fn beside(office: &Office, word: &str) -> Vec<String> {
    let names = std::fs::read_dir(office.path("tls")).expect("a folder");
    let mut names: Vec<String> = names
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(word))
        .collect();
    names.sort();
    names
}

fn import(office: &Office, more: &[&str]) -> Ran {
    let all: Vec<&str> = ["cert", "import"].iter().chain(more).copied().collect();
    office.run(&all)
}

const SURE: [&str; 3] = ["--yes", "--reason", "renewal"];

#[test]
fn a_servers_certificate_is_imported_into_the_running_server() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    let good = issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES);
    write(&office, "good", &good);
    let refused: [(&str, Issued, &str); 4] = [
        ("participant", issue(&ca, Role::Participant, valid(-1, 300), &["localhost"]), "extended key usage"),
        ("early", issue(&ca, Role::Server, valid(2, 300), &["localhost"]), "validity"),
        ("late", issue(&ca, Role::Server, valid(-20, -2), &["localhost"]), "validity"),
        ("nameless", issue(&ca, Role::Signature, valid(-1, 300), &[]), "no host name"),
    ];
    let before = std::fs::read(office.path("tls/server.crt")).expect("readable");
    for (name, issued, word) in &refused {
        write(&office, name, issued);
        let (file, key) = (format!("{name}.crt"), format!("{name}.key"));
        let ran = import(&office, &[&["server", &file, "--key", &key][..], &SURE].concat()).ends(4);
        assert!(ran.stderr.contains(word), "{name}: {ran:#?}");
    }
    import(&office, &[&["server", "good.crt", "--key", "early.key"][..], &SURE].concat()).ends(2);
    import(&office, &[&["server", "good.crt"][..], &SURE].concat()).ends(2);
    import(&office, &["server", "good.crt", "--key", "good.key", "--reason", "renewal"]).ends(5);
    let dry = ["server", "good.crt", "--key", "good.key", "--dry-run", "--json", "--reason", "renewal"];
    assert_eq!(import(&office, &dry).ends(0).json()["acceptable"], true);
    assert_eq!(std::fs::read(office.path("tls/server.crt")).expect("readable"), before);
    assert_eq!(acts(&office).len(), 1, "nothing was done, so nothing is on record");

    let taken = import(&office, &[&["server", "good.crt", "--key", "good.key"][..], &SURE].concat()).ends(0);
    assert!(taken.stderr.contains("the running server uses it"), "{taken:#?}");
    assert_eq!(shown(&office, &ca).as_ref(), Some(good.certificate()));
    let key = good.certificate().key_fingerprint();
    assert_eq!(acts(&office)[0], format!("cert import, server, key {key}: renewal"));
    let kept = beside(&office, ".until-");
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(std::fs::read(office.path("tls").join(&kept[0])).expect("readable"), before);
    let again = import(&office, &[&["server", "good.crt"][..], &SURE].concat()).ends(0);
    assert!(again.stderr.contains("nothing to do"), "{again:#?}");
}

#[test]
fn an_import_that_the_server_cannot_use_is_taken_back() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    let good = issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES);
    write(&office, "good", &good);
    let before = std::fs::read(office.path("tls/server.crt")).expect("readable");
    // The command line reads the anchors that its own configuration names, the server those that it was started with.
    let config = std::fs::read_to_string(office.path("amtsbote.toml")).expect("readable");
    std::fs::copy(office.path("tls/ca.crt"), office.path("tls/other.crt")).expect("copies");
    let other = config.replace("tls/ca.crt", "tls/other.crt");
    assert_ne!(other, config);
    std::fs::write(office.path("other.toml"), other).expect("writes");
    std::fs::write(office.path("tls/ca.crt"), "no certificate").expect("writes");
    let arguments = ["server", "good.crt", "--key", "good.key", "--config", "other.toml"];
    let ran = import(&office, &[&arguments[..], &SURE].concat()).ends(1);
    assert!(ran.stderr.contains("nothing was changed") && ran.stderr.contains("ca.crt"), "{ran:#?}");
    assert_eq!(std::fs::read(office.path("tls/server.crt")).expect("readable"), before);
    assert_eq!(beside(&office, ".until-"), [""; 0]);
    let acts = acts(&office);
    assert!(acts[0].starts_with("cert import failed, server") && acts[1].starts_with("cert import, server"));
}

#[test]
fn without_a_server_an_import_is_on_record_all_the_same() {
    let mut office = Office::open();
    let ca = authority(office.folder.path());
    let good = issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES);
    write(&office, "good", &good);
    office.restart_after(|folder| {
        let arguments = ["cert", "import", "server", "good.crt", "--key", "good.key"];
        let ran = crate::cli_fixture::amtsbote(folder, &[&arguments[..], &SURE].concat()).ends(0);
        assert!(ran.stderr.contains("the next start"), "{ran:#?}");
    });
    assert_eq!(shown(&office, &ca).as_ref(), Some(good.certificate()));
    assert!(acts(&office)[0].starts_with("cert import, server, key"));
}

#[test]
fn a_server_is_rolled_over_in_two_steps() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    let state = || office.run(&["cert", "roll-over", "server", "--json"]).ends(0).json();
    let first = state();
    assert_eq!((&first["stages"][0]["state"], &first["in_force"]), (&"active".into(), &true.into()));
    assert_eq!(first["stages"].as_array().map(Vec::len), Some(1));
    let step = |more: &[&str]| {
        let all: Vec<&str> =
            ["cert", "roll-over", "server"].iter().chain(more).chain(&SURE).copied().collect();
        office.run(&all)
    };
    assert!(step(&["--switch"]).ends(4).stderr.contains("no next certificate lies ready"));
    office.run(&["cert", "roll-over", "server", "--switch"]).ends(2);

    let early = issue(&ca, Role::Server, valid(20, 300), &LOCAL_NAMES);
    write(&office, "early", &early);
    step(&["--next", "early.crt", "--next-key", "early.key"]).ends(0);
    assert!(step(&["--switch"]).ends(4).stderr.contains("its time has not come"));
    let waiting = state();
    assert_eq!(waiting["stages"][1]["state"], "next");
    assert_eq!(waiting["stages"][1]["key"], early.certificate().key_fingerprint().to_string());
    let advice = waiting["do_now"][0].as_str().expect("advice").to_owned();
    let from = early.certificate().not_before().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    assert!(advice.contains(&format!("--switch from {from} on")), "{advice}");

    let good = issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES);
    write(&office, "good", &good);
    step(&["--next", "good.crt", "--next-key", "good.key"]).ends(0);
    assert_eq!(beside(&office, ".next.until-").len(), 2, "what was next before is kept");
    assert_ne!(shown(&office, &ca).as_ref(), Some(good.certificate()), "not before the switch");
    step(&["--switch"]).ends(0);
    assert_eq!(shown(&office, &ca).as_ref(), Some(good.certificate()));
    assert_eq!(beside(&office, ".crt.until-").len(), 1);
    assert!(!office.path("tls/server.crt.next").exists() && !office.path("tls/server.key.next").exists());
    let last = state();
    assert_eq!(
        (&last["stages"][0]["key"], &last["in_force"]),
        (&good.certificate().key_fingerprint().to_string().into(), &true.into())
    );
    let acts = acts(&office);
    let key = good.certificate().key_fingerprint();
    assert_eq!(acts[0], format!("cert roll-over, server, key {key}: renewal"));
    assert_eq!(acts[1], format!("cert roll-over, server, next key {key}: renewal"));
}

#[test]
fn the_evidence_key_is_rolled_over_without_a_gap_in_the_proof() {
    let mut office = Office::open();
    let id = office.post("<notice/>");
    let former = office.run(&["evidence", "key"]).ends(0).stdout.trim().to_owned();
    let step = |office: &Office, more: &[&str]| {
        let all: Vec<&str> =
            ["cert", "roll-over", "evidence"].iter().chain(more).chain(&SURE).copied().collect();
        office.run(&all)
    };
    step(&office, &["--switch"]).ends(4);
    step(&office, &["--new"]).ends(0);
    assert!(step(&office, &["--new"]).ends(1).stderr.contains("lies ready already"));
    let view = office.run(&["cert", "roll-over", "evidence", "--json"]).ends(0).json();
    assert_eq!(view["stages"][0]["key"], former);
    let next = view["stages"][1]["key"].as_str().expect("a key").to_owned();
    let refused = step(&office, &["--switch"]).ends(4);
    assert!(refused.stderr.contains("evidence.former_keys") && refused.stderr.contains(&former));
    // The same obstacle stands in the way of an import.
    std::fs::copy(office.path("evidence.key.next"), office.path("bought.key")).expect("copies");
    import(&office, &[&["evidence", "bought.key"][..], &SURE].concat()).ends(4);

    let config = office.path("amtsbote.toml");
    let text = std::fs::read_to_string(&config).expect("readable");
    let named = text.replace("former_keys = []", &format!("former_keys = [\"{former}\"]"));
    std::fs::write(&config, named).expect("writes");
    step(&office, &["--switch"]).ends(0);
    assert!(!office.path("evidence.key.next").exists());
    office.restart_after(|_| {});
    assert_eq!(office.run(&["evidence", "key"]).ends(0).stdout.trim(), next);
    office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
    office.run(&["evidence", "verify", "proof", "--key", &former, "--key", &next]).ends(0);
    office.run(&["store", "verify"]).ends(0);
    let acts = acts(&office);
    assert_eq!(acts[0], format!("cert roll-over, evidence, key {next}: renewal"));
}

#[test]
fn a_participant_is_rolled_over_with_both_certificates_good() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    office.signal(rustix::process::Signal::HUP);
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(office.path("server.log")).expect("a log").contains("reloaded") {
        assert!(begun.elapsed().as_secs() < 10, "no reload");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let step = |more: &[&str]| {
        let all: Vec<&str> = ["cert", "roll-over", "participant", "standesamt"]
            .iter()
            .chain(more)
            .chain(&SURE)
            .copied()
            .collect();
        office.run(&all)
    };
    let state = || office.run(&["cert", "roll-over", "participant", "standesamt", "--json"]).ends(0).json();
    let former = state()["stages"][0]["key"].as_str().expect("a key").to_owned();
    assert!(step(&["--retire", &former]).ends(4).stderr.contains("no key that is good now"));
    step(&["--retire", &"0".repeat(64)]).ends(6);
    office.run(&["cert", "roll-over", "participant", "nobody"]).ends(6);

    let early = issue(&ca, Role::Participant, valid(20, 300), &[]);
    write(&office, "early", &early);
    import(&office, &[&["participant", "standesamt", "early.crt"][..], &SURE].concat()).ends(4);
    step(&["--next", "early.crt"]).ends(0);
    assert!(step(&["--retire", &former]).ends(4).stderr.contains("no key that is good now"));
    let foreign = Authority::root("Nobody's CA", KeyChoice::P256, valid(-30, 3000)).expect("a root");
    write(&office, "foreign", &issue(&foreign, Role::Participant, valid(-1, 300), &[]));
    write(&office, "wrong", &issue(&ca, Role::Server, valid(-1, 300), &["localhost"]));
    for name in ["foreign.crt", "wrong.crt"] {
        step(&["--next", name]).ends(4);
        import(&office, &[&["participant", "standesamt", name][..], &SURE].concat()).ends(4);
    }

    let good = issue(&ca, Role::Participant, valid(-1, 300), &[]);
    for suffix in ["crt", "key"] {
        let text = if suffix == "crt" { good.chain_pem() } else { good.key_pem().to_owned() };
        std::fs::write(office.path(&format!("tls/renewed.{suffix}")), text).expect("writes");
    }
    office.run_as("renewed", &["fetch", "--list"]).ends(1);
    import(&office, &[&["participant", "standesamt", "tls/renewed.crt"][..], &SURE].concat()).ends(0);
    office.run_as("renewed", &["fetch", "--list"]).ends(0);
    office.run_as("standesamt", &["fetch", "--list"]).ends(0);
    let key = good.certificate().key_fingerprint();
    assert_eq!(acts(&office)[0], format!("cert import, standesamt, key {key}: renewal"));

    step(&["--retire", &former]).ends(0);
    office.run_as("standesamt", &["fetch", "--list"]).ends(1);
    office.run_as("renewed", &["fetch", "--list"]).ends(0);
    assert_eq!(acts(&office)[0], format!("cert roll-over, standesamt, retired key {former}: renewal"));
    let states: Vec<String> = state()["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["state"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(states, ["next", "active", "active", "active"], "and its two certificates for OSCI");
}

/// Owner and role of every certificate that the running server says it depends on, with its key.
fn depended_on(office: &Office) -> Vec<(String, String, String)> {
    let listed = office.run(&["cert", "expiring", "--days", "36500", "--json"]).ends(4).json();
    let text = |end: &serde_json::Value, field: &str| end[field].as_str().unwrap_or_default().to_owned();
    let listed = listed.as_array().expect("a list");
    listed.iter().map(|end| (text(end, "owner"), text(end, "role"), text(end, "key"))).collect()
}

fn keys(office: &Office, owner: &str, role: &str) -> Vec<String> {
    let listed = depended_on(office);
    let fits = |one: &&(String, String, String)| one.0 == owner && one.1 == role;
    listed.iter().filter(fits).map(|one| one.2.clone()).collect()
}

#[test]
fn every_certificate_that_the_office_depends_on_is_listed() {
    let office = Office::open_with_changes(|text| {
        text.replace("time_stamp_anchors = []", "time_stamp_anchors = [\"tls/ca.crt\"]")
    });
    let listed = depended_on(&office);
    let metrics = {
        use std::io::{Read, Write};
        let address = office.operator.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("asks");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    };
    for role in ["tls", "osci-encryption", "osci-signature", "process-cards"] {
        assert!(listed.iter().any(|one| one.0 == "server" && one.1 == role), "server, {role}: {listed:#?}");
        assert!(metrics.contains(&format!("owner=\"server\",role=\"{role}\"")), "{role}: {metrics}");
    }
    for role in ["anchor", "time-stamps"] {
        let known = |one: &&(String, String, String)| one.1 == role;
        assert_eq!(listed.iter().filter(known).count(), 1, "{role}, once: {listed:#?}");
    }
    for role in ["tls", "osci-encryption", "osci-signature"] {
        assert_eq!(keys(&office, "standesamt", role).len(), 1, "standesamt, {role}: {listed:#?}");
    }
}

/// The announcements come from the same list; the clock says that everything ended long ago.
#[tokio::test]
async fn every_certificate_that_the_office_depends_on_is_announced() {
    use amtsbote::app::App;
    use amtsbote::clock::HandClock;
    use amtsbote::config::Config;

    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| crate::cli_fixture::amtsbote(folder.path(), arguments).ends(0);
    run(&["init", ".", "--xta", "127.0.0.1:0", "--osci", "127.0.0.1:0", "--operator", "127.0.0.1:0"]);
    let path = folder.path().join("amtsbote.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let text = text.replace("time_stamp_anchors = []", "time_stamp_anchors = [\"tls/ca.crt\"]");
    std::fs::write(&path, text).expect("writes");
    let config = Config::load(&path).expect("well-formed");
    let running = App::start(config.clone()).await.expect("starts");
    let path = folder.path().to_owned();
    let applied = tokio::task::spawn_blocking(move || {
        let arguments = ["participant", "apply", "participants.toml", "--yes", "--reason", "first set-up"];
        crate::cli_fixture::amtsbote(&path, &arguments)
    });
    applied.await.expect("no panic").ends(0);
    running.stop().await;

    let (said, _listening) = crate::revocation_life::listening();
    let late = Arc::new(HandClock::at(days(40_000)));
    let running = App::start_at(config, late).await.expect("starts");
    let begun = std::time::Instant::now();
    let expected = [
        "our own certificate for TLS expired",
        "our own certificate for OSCI encryption expired",
        "our own certificate for OSCI signatures expired",
        "our own certificate for process cards expired",
        "the authority's certificate ",
        "the time stamp authority's certificate ",
        "the certificate of standesamt expired",
        "the certificate for OSCI encryption of standesamt expired",
        "the certificate for OSCI signatures of standesamt expired",
    ];
    while let Some(missing) = expected.iter().find(|sentence| !said.text().contains(**sentence)) {
        assert!(begun.elapsed().as_secs() < 20, "{missing}: {}", said.text());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    running.stop().await;
}

fn issue_rsa(authority: &Authority, role: Role) -> Issued {
    let leaf =
        Leaf { common_name: "renewed", role, key: KeyChoice::Rsa3072, validity: valid(-1, 300), names: &[] };
    authority.issue(&leaf).expect("a certificate")
}

#[test]
fn every_certificate_of_our_own_is_imported_into_the_running_server() {
    let mut office = Office::open();
    let ca = authority(office.folder.path());
    write(&office, "signature", &issue(&ca, Role::Signature, valid(-1, 300), &[]));
    write(&office, "cards", &issue(&ca, Role::Signature, valid(-1, 300), &[]));
    write(&office, "cipher", &issue_rsa(&ca, Role::Encryption));
    for (role, file, wrong) in [
        ("osci-signature", "signature", "cipher"),
        ("process-cards", "cards", "cipher"),
        ("osci-encryption", "cipher", "signature"),
    ] {
        let arguments = |name: &str| [format!("{name}.crt"), format!("{name}.key")];
        let [certificate, key] = arguments(wrong);
        let refused = import(&office, &[&[role, &certificate, "--key", &key][..], &SURE].concat()).ends(4);
        assert!(refused.stderr.contains("key usage"), "{refused:#?}");
        let [certificate, key] = arguments(file);
        let former = keys(&office, "server", role);
        let all = [&[role, &certificate, "--key", &key][..], &SURE].concat();
        if role == "osci-encryption" {
            let refused = import(&office, &all).ends(4);
            assert!(refused.stderr.contains("no place for the former one"), "{refused:#?}");
            assert_eq!(keys(&office, "server", role), former);
            office.restart_after(give_the_former_a_place);
        }
        import(&office, &all).ends(0);
        let certificate = std::fs::read(office.path(&certificate)).expect("readable");
        let new =
            Certificate::chain_from_pem(&certificate).expect("a chain")[0].key_fingerprint().to_string();
        let mut expected = vec![new];
        if role == "osci-encryption" {
            expected.extend(former);
        }
        let mut found = keys(&office, "server", role);
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{role} is in force");
    }
    // Laid ready and switched, as the listener's.
    write(&office, "later", &issue(&ca, Role::Signature, valid(-1, 400), &[]));
    for role in ["osci-signature", "process-cards"] {
        let step = |more: &[&str]| {
            let all: Vec<&str> = ["cert", "roll-over", role].iter().chain(more).copied().collect();
            office.run(&all)
        };
        step(&[&["--next", "later.crt", "--next-key", "later.key"][..], &SURE].concat()).ends(0);
        let view = step(&["--json"]).ends(0).json();
        assert_eq!(
            (&view["in_force"], &view["stages"][1]["state"]),
            (&true.into(), &"next".into()),
            "{view}"
        );
        step(&[&["--switch"][..], &SURE].concat()).ends(0);
        let later = std::fs::read(office.path("later.crt")).expect("readable");
        let later = Certificate::chain_from_pem(&later).expect("a chain")[0].key_fingerprint().to_string();
        assert_eq!(keys(&office, "server", role), [later]);
    }
}

#[test]
fn a_participants_osci_certificates_are_imported_beside_those_it_has() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    write(&office, "signature", &issue(&ca, Role::Signature, valid(-1, 300), &[]));
    write(&office, "cipher", &issue_rsa(&ca, Role::Encryption));
    for (role, good, wrong) in [
        ("osci-signature", "signature.crt", "cipher.crt"),
        ("osci-encryption", "cipher.crt", "signature.crt"),
    ] {
        let ask = |file: &str| {
            let all = [&["participant", "standesamt", file, "--role", role][..], &SURE].concat();
            import(&office, &all)
        };
        let before = keys(&office, "standesamt", role).len();
        ask(wrong).ends(4);
        assert_eq!(keys(&office, "standesamt", role).len(), before);
        ask(good).ends(0);
        ask(good).ends(0);
        assert_eq!(keys(&office, "standesamt", role).len(), before + 1, "{role}, once");
    }
}

fn reloads(office: &Office, word: &str) -> String {
    let count = || std::fs::read_to_string(office.path("server.log")).expect("a log").matches(word).count();
    let before = count();
    office.signal(rustix::process::Signal::HUP);
    let begun = std::time::Instant::now();
    while count() == before {
        assert!(begun.elapsed().as_secs() < 10, "never {word:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::read_to_string(office.path("server.log")).expect("a log")
}

#[test]
fn a_reload_that_fails_in_its_middle_leaves_everything_as_it_was() {
    let office = Office::open_with_changes(|text| {
        text.replace("time_stamp_anchors = []", "time_stamp_anchors = [\"tls/ca.crt\"]")
    });
    let ca = authority(office.folder.path());
    let (before, good) = (depended_on(&office), issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES));
    // Everything that comes first is good and new; what is read late is not.
    std::fs::write(office.path("tls/server.crt"), good.chain_pem()).expect("writes");
    std::fs::write(office.path("tls/server.key"), good.key_pem()).expect("writes");
    let card = std::fs::read(office.path("evidence-card.crt")).expect("readable");
    for (name, bytes) in
        [("evidence-card.crt", b"no certificate".to_vec()), ("tls/osci-signature.crt", card.clone())]
    {
        let whole = std::fs::read(office.path(name)).expect("readable");
        std::fs::write(office.path(name), bytes).expect("writes");
        let log = reloads(&office, "nothing was reloaded");
        let line = log.lines().rfind(|line| line.contains("nothing was reloaded")).expect("a line");
        assert!(line.contains(name) && line.contains("next_step"), "{line}");
        assert_eq!(depended_on(&office), before, "{name}");
        std::fs::write(office.path(name), whole).expect("writes");
    }
    reloads(&office, "reloaded directory_revision");
    let after = depended_on(&office);
    assert_eq!(keys(&office, "server", "tls"), [good.certificate().key_fingerprint().to_string()]);
    // The second CA is an anchor, and believed about time too.
    assert_eq!(after.len(), before.len() + 2, "{after:#?}");
}

#[test]
fn a_change_that_a_crash_interrupted_is_completed_by_the_next_start() {
    let mut office = Office::open();
    let ca = authority(office.folder.path());
    let good = issue(&ca, Role::Server, valid(-1, 300), &LOCAL_NAMES);
    office.restart_after(|folder| {
        let tls = folder.join("tls");
        // As it is after the first of the two files: the new key, the former certificate.
        std::fs::rename(tls.join("server.key"), tls.join("server.key.until-then")).expect("renames");
        std::fs::write(tls.join("server.key"), good.key_pem()).expect("writes");
        std::fs::write(tls.join("server.crt.incoming"), good.chain_pem()).expect("writes");
        let step = |name: &str| {
            serde_json::json!({
                "path": tls.join(name),
                "from": tls.join(format!("{name}.incoming")),
                "kept": tls.join(format!("{name}.until-then")),
            })
        };
        let journal = serde_json::json!({ "version": 1, "steps": [step("server.key"), step("server.crt")] });
        std::fs::write(tls.join(".amtsbote-change"), journal.to_string()).expect("writes");
    });
    assert_eq!(shown(&office, &ca).as_ref(), Some(good.certificate()));
    assert!(!office.path("tls/.amtsbote-change").exists());
    assert_eq!(beside(&office, ".until-then").len(), 2);
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(log.contains("change-completed"), "{log}");
}

/// The next certificate lies ready, takes the first place, and what was there goes on decrypting in the second.
#[test]
fn the_certificate_that_clients_encrypt_for_is_rolled_over_with_overlap() {
    let mut office = Office::open();
    let ca = authority(office.folder.path());
    let next = issue_rsa(&ca, Role::Encryption);
    write(&office, "next", &next);
    let step = |office: &Office, more: &[&str]| {
        let all: Vec<&str> = ["cert", "roll-over", "osci-encryption"].iter().chain(more).copied().collect();
        office.run(&all)
    };
    let lay = [&["--next", "next.crt", "--next-key", "next.key"][..], &SURE].concat();
    let switch = [&["--switch"][..], &SURE].concat();
    write(&office, "wrong", &issue(&ca, Role::Signature, valid(-1, 300), &[]));
    let wrong = [&["--next", "wrong.crt", "--next-key", "wrong.key"][..], &SURE].concat();
    assert!(step(&office, &wrong).ends(4).stderr.contains("key usage"));
    step(&office, &lay).ends(0);
    let view = step(&office, &["--json"]).ends(0).json();
    assert_eq!((&view["in_force"], &view["stages"][1]["state"]), (&true.into(), &"next".into()), "{view}");
    assert!(
        view["do_now"][0].as_str().is_some_and(|line| line.contains("no place for the former one")),
        "{view}"
    );
    let former = keys(&office, "server", "osci-encryption");
    let refused = step(&office, &switch).ends(4);
    assert!(refused.stderr.contains("no place for the former one"), "{refused:#?}");
    assert_eq!(keys(&office, "server", "osci-encryption"), former, "nothing was changed");

    office.restart_after(give_the_former_a_place);
    step(&office, &switch).ends(0);
    let new = next.certificate().key_fingerprint().to_string();
    let mut expected = vec![new.clone(), former[0].clone()];
    expected.sort();
    let mut found = keys(&office, "server", "osci-encryption");
    found.sort();
    assert_eq!(found, expected, "both are in force");
    assert!(!office.path("tls/osci-cipher.crt.next").exists());
    assert_eq!(acts(&office)[0], format!("cert roll-over, osci-encryption, key {new}: renewal"));

    // A client that knows only the former certificate is understood, and so is one that knows the next.
    for certificate in ["tls/osci-cipher-former.crt", "tls/osci-cipher.crt"] {
        fetch_by_osci(&office, certificate).ends(0);
    }
    // Once its place is given up, the former one is not.
    office.restart_after(|folder| {
        let path = folder.join("amtsbote.toml");
        let text = std::fs::read_to_string(&path).expect("readable");
        let text = ["crt", "key"]
            .iter()
            .fold(text, |text, kind| text.replace(&format!(", \"tls/osci-cipher-former.{kind}\"]"), "]"));
        std::fs::write(&path, text).expect("writes");
    });
    fetch_by_osci(&office, "tls/osci-cipher.crt").ends(0);
    let refused = fetch_by_osci(&office, "tls/osci-cipher-former.crt").ends(1);
    assert!(refused.stderr.contains("not ours"), "{refused:#?}");
}

#[test]
fn a_participants_osci_certificates_are_rolled_over() {
    let office = Office::open();
    let ca = authority(office.folder.path());
    let step = |more: &[&str]| {
        let all: Vec<&str> =
            ["cert", "roll-over", "participant", "standesamt"].iter().chain(more).copied().collect();
        office.run(&all)
    };
    let stages = |name: &str| -> Vec<String> {
        let view = step(&["--json"]).ends(0).json();
        let all = view["stages"].as_array().expect("stages").iter();
        let of_role = all.filter(|stage| stage["what"].as_str().is_some_and(|what| what.starts_with(name)));
        of_role.map(|stage| stage["key"].as_str().unwrap_or_default().to_owned()).collect()
    };
    write(&office, "cipher", &issue_rsa(&ca, Role::Encryption));
    write(&office, "signature", &issue(&ca, Role::Signature, valid(-1, 300), &[]));
    for (role, file, wrong) in [
        ("osci-encryption", "cipher.crt", "signature.crt"),
        ("osci-signature", "signature.crt", "cipher.crt"),
    ] {
        let before = stages(role);
        assert_eq!(before.len(), 1, "{role}");
        step(&[&["--retire", &before[0]][..], &SURE].concat()).ends(4);
        step(&[&["--role", role, "--next", wrong][..], &SURE].concat()).ends(4);
        step(&[&["--role", role, "--next", file][..], &SURE].concat()).ends(0);
        assert_eq!(stages(role).len(), 2, "{role}: both are registered");
        assert_eq!(keys(&office, "standesamt", role).len(), 2, "{role}: and in force");
        step(&[&["--retire", &before[0]][..], &SURE].concat()).ends(0);
        let left = stages(role);
        assert!(left.len() == 1 && left != before, "{role}: {left:?}");
        assert_eq!(
            acts(&office)[0],
            format!("cert roll-over, standesamt, retired key {}: renewal", before[0])
        );
    }
    assert_eq!(stages("osci").len(), 2);
    // `--role` says what is registered, so it means nothing by itself.
    step(&["--role", "osci-signature"]).ends(2);
}

/// The registry office's mailbox over OSCI, asked by one who encrypts for this certificate of ours.
fn fetch_by_osci(office: &Office, certificate: &str) -> crate::cli_fixture::Ran {
    let certificate = office.path(certificate).display().to_string();
    let mut client = office.osci_client("standesamt");
    let at = client.iter().position(|one| one == "--intermediary").expect("it is named");
    client[at + 1] = certificate;
    let all: Vec<&str> =
        ["fetch", "--list", "--json"].into_iter().chain(client.iter().map(String::as_str)).collect();
    office.run(&all)
}

/// A second place for what clients still encrypt for.
fn give_the_former_a_place(folder: &std::path::Path) {
    let tls = folder.join("tls");
    for kind in ["crt", "key"] {
        let (from, to) = (format!("osci-cipher.{kind}"), format!("osci-cipher-former.{kind}"));
        std::fs::copy(tls.join(from), tls.join(to)).expect("copies");
    }
    let path = folder.join("amtsbote.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let second = |text: String, kind: &str| {
        let one = format!("[\"tls/osci-cipher.{kind}\"]");
        let two = format!("[\"tls/osci-cipher.{kind}\", \"tls/osci-cipher-former.{kind}\"]");
        assert!(text.contains(&one), "{text}");
        text.replace(&one, &two)
    };
    std::fs::write(&path, second(second(text, "crt"), "key")).expect("writes");
}
