//! An administrator's day with the real binary: set up, admit, post, look, intervene, fetch, prove, copy, stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;

use crate::cli_fixture::{Office, amtsbote};
use crate::nodes_office::{open_with, stop};
use crate::ports::own_port;
use crate::postgres_cluster::{Cluster, programs};

const NOTICE: &str = "<notice>Grüße</notice>";

pub fn ask_operator(office: &Office, path: &str) -> String {
    ask_at(office.operator.trim_start_matches("http://"), path)
}

pub fn ask_at(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("writes");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("answers");
    said
}

#[test]
fn a_message_is_seen_moved_fetched_and_proven() {
    let mut office = Office::open();
    let id = office.post(NOTICE);
    let shown = office.run(&["message", "show", &id, "--json"]).ends(0).json();
    assert_eq!(shown["card"]["state"], "waiting");
    let listed = office.run(&["mailbox", "list", "--json"]).ends(0).json();
    assert_eq!(listed[0]["name"], "ags:10041100");
    assert_eq!(listed[0]["waiting"], 1);
    assert_eq!(office.run(&["dialog", "list", "--json"]).ends(0).json(), serde_json::json!([]));
    assert!(office.run(&["dialog", "list"]).ends(0).stdout.starts_with("DIALOG"), "a table with its heads");

    // Every change asks, and without anybody to ask it does nothing.
    office.run(&["message", "hold", &id, "--reason", "enquiry"]).ends(5);
    office.run(&["message", "hold", &id, "--reason", " ", "--yes"]).ends(1);
    office.run(&["message", "hold", &id, "--reason", "enquiry", "--yes"]).ends(0);
    let none = office.run_as("meldebehoerde", &["fetch", "--list", "--json"]).ends(0).json();
    assert_eq!(none, serde_json::json!([]), "a held message was offered");
    office.run(&["message", "release", &id, "--reason", "cleared", "--yes"]).ends(0);
    office.run(&["message", "release", &id, "--reason", "again", "--yes"]).ends(1);
    let acts = office.run(&["acts", "--json"]).ends(0).json();
    let said: Vec<_> = acts
        .as_array()
        .expect("a list")
        .iter()
        .map(|act| format!("{}: {}", act["act"].as_str().unwrap_or(""), act["reason"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        said,
        ["message release: cleared", "message hold: enquiry", "participant apply: first set-up"]
    );

    let fetched = office.run_as("meldebehoerde", &["fetch", "--into", "in", "--json"]).ends(0).json();
    let file = fetched[0]["files"][0].as_str().expect("a file");
    assert_eq!(std::fs::read_to_string(office.path(file)).expect("is there"), NOTICE);
    assert_eq!(office.run(&["card", "show", &id, "--json"]).ends(0).json()["state"], "received");
    let trace = office.run(&["message", "trace", &id]).ends(0).stdout;
    assert!(
        trace.contains("held") && trace.contains("by meldebehoerde") && trace.contains("record 4"),
        "{trace}"
    );

    office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
    let key = office.run(&["evidence", "key"]).ends(0).stdout;
    let verify = ["evidence", "verify", "proof", "--key", key.trim()];
    assert!(office.run(&verify).ends(0).stderr.contains("as the post office signed it"));
    let proof = std::fs::read(office.path("proof")).expect("the proof");
    for at in (0..proof.len()).step_by(proof.len() / 12) {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        std::fs::write(office.path("changed"), &changed).expect("writes");
        office.run(&["evidence", "verify", "changed", "--key", key.trim()]).ends(4);
    }

    office.run(&["store", "backup", "copy", "--reason", "weekly", "--yes"]).ends(0);
    assert_eq!(office.run(&["store", "verify", "copy", "--json"]).ends(0).json()["messages"], 1);
    office.run(&["store", "restore", "copy", "restored"]).ends(0);
    office.run(&["evidence", "verify", "--store", "restored"]).ends(0);
    office.run(&["store", "restore", "copy", "restored"]).ends(2);

    assert!(ask_operator(&office, "/livez").starts_with("HTTP/1.1 200"));
    assert!(ask_operator(&office, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = ask_operator(&office, "/metrics");
    assert!(metrics.contains("amtsbote_mailbox_messages{state=\"waiting\"} 0"), "{metrics}");
    assert!(metrics.contains("amtsbote_certificate_days_left"), "{metrics}");

    office.signal(Signal::TERM);
    assert_eq!(office.ended(), 0);
    let gone = office.run(&["mailbox", "list"]).ends(3);
    assert!(
        gone.stderr.contains("no server is running") && gone.stderr.contains("amtsbote serve"),
        "{gone:?}"
    );
    let log = std::fs::read_to_string(office.path("server.log")).expect("a log");
    assert!(!log.contains("ERROR"), "{log}");
    office.run(&["store", "verify"]).ends(0);
}

#[test]
fn a_message_that_cannot_be_had_does_not_keep_the_others_back() {
    let office = Office::open();
    let large: String = "<large>".to_owned() + &"x".repeat(200_000) + "</large>";
    let ids = [office.post("<first/>"), office.post(&large), office.post("<third/>"), office.post("<last/>")];
    // The second is damaged on the server's disk; where the third is to go, there is something already.
    let damaged = files_below(&office.path("store"))
        .into_iter()
        .find(|path| std::fs::metadata(path).is_ok_and(|found| found.len() == large.len() as u64))
        .expect("a payload of its own");
    let mut bytes = std::fs::read(&damaged).expect("readable");
    bytes[100_000] ^= 1;
    std::fs::write(&damaged, &bytes).expect("writable");
    let once = office.run_as("meldebehoerde", &["fetch", &ids[2], "--keep", "--into", "in", "--json"]);
    let kept = std::path::PathBuf::from(once.ends(0).json()[0]["files"][0].as_str().expect("a file"));

    let told = office.run_as("meldebehoerde", &["fetch", "--into", "in", "--json"]).ends(1).json();
    let told: Vec<_> = told
        .as_array()
        .expect("a list")
        .iter()
        .map(|message| (message["confirmed"].as_bool(), message["problem"].is_string()))
        .collect();
    let (had, not_had) = ((Some(true), false), (Some(false), true));
    assert_eq!(told, [had, not_had, not_had, had]);
    assert_eq!(
        std::fs::read_to_string(office.path(kept.to_str().expect("text"))).expect("untouched"),
        "<third/>"
    );
    let waiting = office.run_as("meldebehoerde", &["fetch", "--list", "--json"]).ends(0).json();
    assert_eq!(waiting.as_array().map(Vec::len), Some(2), "only what was had is confirmed");

    // Mended on both sides, both come; the attempt that failed has left nothing in the way.
    bytes[100_000] ^= 1;
    std::fs::write(&damaged, &bytes).expect("writable");
    std::fs::remove_file(office.path(kept.to_str().expect("text"))).expect("removed");
    let ran = office.run_as("meldebehoerde", &["fetch", "--into", "in"]).ends(0);
    assert!(ran.stderr.contains("2 messages fetched and confirmed"), "{ran:?}");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn what_does_not_exist_is_said_so() {
    let office = Office::open();
    for arguments in [
        &["message", "show", "urn:de:xta:messageid:x:1"][..],
        &["message", "trace", "urn:de:xta:messageid:x:1"],
        &["message", "requeue", "urn:de:xta:messageid:x:1", "--reason", "x", "--yes"],
        &["evidence", "export", "urn:de:xta:messageid:x:1"],
        &["mailbox", "show", "ags:1"],
        &["participant", "show", "nobody"],
        &["service", "show", "nothing"],
    ] {
        let ran = office.run(arguments).ends(6);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn participants_change_by_difference_and_a_hang_up_reloads() {
    let office = Office::open();
    let exported = office.run(&["participant", "export"]).ends(0).stdout;
    std::fs::write(office.path("new.toml"), exported.replacen("blocked = false", "blocked = true", 1))
        .expect("writes");
    let apply = |more: &[&str]| {
        let all: Vec<&str> =
            ["participant", "apply", "new.toml", "--reason", "test"].iter().chain(more).copied().collect();
        office.run(&all)
    };
    let difference = apply(&["--dry-run"]).ends(4).stderr;
    assert_eq!(difference, "~ account meldebehoerde\n    - blocked: false\n    + blocked: true\n");
    apply(&[]).ends(5);
    apply(&["--yes"]).ends(0);
    assert!(apply(&["--yes"]).ends(0).stderr.contains("nothing to do"));
    let refused = office.run_as("meldebehoerde", &["fetch", "--list"]).ends(1);
    assert!(
        refused.stderr.contains("9011") && refused.stderr.contains("amtsbote explain 9011"),
        "{refused:?}"
    );

    // A reload that cannot be used changes nothing; one that can replaces the listener's certificate.
    let certificate = office.path("tls/server.crt");
    let good = std::fs::read(&certificate).expect("is there");
    std::fs::write(&certificate, "broken").expect("writes");
    office.signal(Signal::HUP);
    wait_for(&office, "nothing was reloaded");
    office.run_as("standesamt", &["fetch", "--list"]).ends(0);
    std::fs::write(&certificate, good).expect("writes");
    office.signal(Signal::HUP);
    wait_for(&office, "reloaded directory_revision=2");
    office.run_as("standesamt", &["fetch", "--list"]).ends(0);
}

fn wait_for(office: &Office, words: &str) {
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(office.path("server.log")).expect("a log").contains(words) {
        assert!(begun.elapsed().as_secs() < 10, "the log never said {words:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_mailbox_can_be_pushed_into_a_folder() {
    let office = Office::open_with("[[spool]]\nmailboxes = [\"ags:10041100\"]\nfolder = \"out\"\n");
    let id = office.post(NOTICE);
    let begun = std::time::Instant::now();
    while office.run(&["card", "show", &id, "--json"]).ends(0).json()["state"] != "received" {
        assert!(begun.elapsed().as_secs() < 10, "the message was not pushed");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let new: Vec<_> = std::fs::read_dir(office.path("out/new")).expect("a folder").collect();
    assert_eq!(new.len(), 1);
    let folder = new.into_iter().next().expect("one").expect("an entry").path();
    assert_eq!(std::fs::read_to_string(folder.join("part-1")).expect("the content"), NOTICE);
}

#[test]
fn a_check_names_each_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    amtsbote(folder.path(), &["init", "."]).ends(0);
    amtsbote(folder.path(), &["init", "."]).ends(1);
    let sound = amtsbote(folder.path(), &["check", "--json"]).ends(0).json();
    assert!(sound.as_array().expect("a list").iter().all(|finding| finding["verdict"] == "good"), "{sound}");
    assert!(!folder.path().join("store").exists(), "a check made something");

    let tls = folder.path().join("tls");
    std::fs::copy(tls.join("standesamt.key"), tls.join("server.key")).expect("copies");
    let ran = amtsbote(folder.path(), &["check"]).ends(4);
    assert!(ran.stdout.contains("PROBLEM"), "{}", ran.stdout);
    let judged = amtsbote(folder.path(), &["cert", "check", "tls/standesamt.crt", "--json"]).ends(0).json();
    assert_eq!(judged["acceptable"], true);
    amtsbote(folder.path(), &["cert", "check", "tls/server.crt"]).ends(4);
}

/// The register's configuration lies beside the server's, or is named.
#[test]
fn a_check_looks_at_the_register() {
    let folder = tempfile::tempdir().expect("a folder");
    amtsbote(folder.path(), &["init", "."]).ends(0);
    let found = |arguments: &[&str], code| -> Vec<(String, String, String)> {
        let told = amtsbote(folder.path(), &[&["check", "--json"], arguments].concat()).ends(code).json();
        let told = told.as_array().expect("a list").iter();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let told = told.map(|one| (text(&one["what"]), text(&one["verdict"]), text(&one["words"])));
        told.filter(|(what, ..)| what.starts_with("register")).collect()
    };
    assert_eq!(found(&[], 0), []);
    let missing = found(&["--register", "elsewhere/register.toml"], 4);
    assert!(
        matches!(&missing[..], [(_, verdict, words)] if verdict == "problem" && words.contains("elsewhere"))
    );
    amtsbote(folder.path(), &["register", "init"]).ends(0);
    let file = folder.path().join("register.toml");
    let example = std::fs::read_to_string(&file).expect("a file");
    let sound = found(&[], 0);
    assert_eq!(sound.len(), 2, "{sound:?}");
    assert!(sound.iter().all(|(_, verdict, _)| verdict == "good"), "{sound:?}");
    assert!(sound[1].2.contains("will be made"), "{sound:?}");

    let with_store = |store: &str| {
        let text = format!("{example}\n[store]\nengine = \"postgres\"\n{store}");
        std::fs::write(&file, text).expect("written");
    };
    with_store("");
    let wrong = found(&[], 4);
    assert!(wrong[0].2.contains("store.connection"), "{wrong:?}");
    // Nobody listens there.
    let free = own_port();
    with_store(&format!("connection = \"host=127.0.0.1 port={free} user=register dbname=register\"\n"));
    let away = found(&[], 4);
    assert!(away[1].1 == "problem" && away[1].2.contains("cannot be reached"), "{away:?}");
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let connection = cluster.database("register");
    for (standby, verdicts) in [
        ("unasked", &["good", "good"][..]),
        ("wanted", &["good", "good", "warning"]),
        ("required", &["good", "good", "problem"]),
    ] {
        with_store(&format!("connection = {connection:?}\nstandby = \"{standby}\"\n"));
        let told = found(&[], if standby == "required" { 4 } else { 0 });
        assert_eq!(told.iter().map(|(_, verdict, _)| verdict).collect::<Vec<_>>(), verdicts, "{told:?}");
        assert!(told[1].2.contains("will be made at the first start"), "{told:?}");
    }
    assert_eq!(cluster.sql("register", "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'amts%'"), "0");
}

/// A standby that is wanted and missing keeps nothing out, and is said wherever somebody looks; so is a name that another
/// server has.
#[test]
fn what_a_database_lacks_is_said_wherever_one_looks() {
    let Some(programs) = programs() else { return };
    let primary = Cluster::start(&programs, &[]);
    let mut nodes = open_with(&primary.database("office"), 1, |_, text| {
        let wanted = text.replace("\nstandby = \"unasked\"\n", "\nstandby = \"wanted\"\n");
        assert_ne!(wanted, text);
        wanted
    });
    let office = &nodes[0];
    let body = |path: &str| {
        let said = ask_operator(office, path);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        said.split_once("\r\n\r\n").expect("a body").1.to_owned()
    };
    let health = || office.run(&["store", "health", "--json"]).ends(0).json()["store"]["warning"].clone();
    let gauge = |line: &str| body("/metrics").lines().any(|found| found == line);
    let sentence = "synchronous_standby_names is empty: the loss of the primary would lose messages; name the standby there";
    assert_eq!(body("/readyz"), format!("ready\n{sentence}\n"));
    assert_eq!(health(), sentence);
    assert!(office.run(&["store", "health"]).ends(0).stdout.contains(sentence));
    assert!(gauge("amtsbote_store_standby 0"));
    let check = |folder: &Path, code| -> Vec<(String, String)> {
        let told = amtsbote(folder, &["check", "--json"]).ends(code).json();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let told = told.as_array().expect("a list").iter();
        let told = told.filter(|one| one["verdict"] != "good");
        told.map(|one| (text(&one["what"]), text(&one["words"]))).collect()
    };
    assert_eq!(check(office.folder.path(), 0), [("standby".to_owned(), sentence.to_owned())]);

    // The same configuration in another place, where no server runs: its start would find the name taken.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let copy = std::process::Command::new("cp")
        .args(["-a".as_ref(), office.path(".").as_os_str(), elsewhere.path().join("office").as_os_str()])
        .status();
    assert!(copy.expect("cp").success());
    let found = check(&elsewhere.path().join("office"), 4);
    let taken = found.iter().find(|(what, _)| what == "node").expect("a problem");
    assert!(taken.1.contains("another process works as node relay-1"), "{found:?}");

    let _standby = primary.standby("second");
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while body("/readyz") != "ready\n" {
        assert!(std::time::Instant::now() < end, "{}", body("/readyz"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(health(), "");
    assert!(gauge("amtsbote_store_standby 1"));
    stop(&mut nodes);
}

#[test]
fn the_demo_plays_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = amtsbote(folder.path(), &["demo", "--folder", "demo"]).ends(0);
    for words in [
        "The proof of the first notice holds",
        "signature of CN=standesamt signature",
        "answer by OSCI",
        "the register watched the deadline",
        "the same answer, of the same size, that tells nothing",
        "the same bytes, without a second search",
        "each of the 52 municipalities",
        "only then the portal read, signed, that it is accepted",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
    amtsbote(folder.path(), &["evidence", "verify", "demo/proof.txt"]).ends(0);
    assert_eq!(
        amtsbote(folder.path(), &["store", "verify", "demo/store", "--json"]).ends(0).json()["messages"],
        // Four of the two offices, twenty-two of the register and those who write to it, one of the portal.
        27
    );
}

#[test]
fn a_crowd_at_the_operators_listener_does_not_shut_the_administration_out() {
    // Silent connections that the listener cuts would only make the administration wait.
    let office = Office::open_with_changes(|text| {
        assert!(text.contains("header_seconds = "), "{text}");
        let line = text.lines().find(|line| line.contains("header_seconds = ")).expect("a line");
        text.replace(line, "header_seconds = 600")
    });
    let address = office.operator.trim_start_matches("http://").to_owned();
    let crowd: Vec<_> = (0..80).map(|_| std::net::TcpStream::connect(&address).expect("connects")).collect();
    // Long enough for the listener to have taken as many as it takes.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(office.run(&["store", "health"])));
        let heard = told.recv_timeout(std::time::Duration::from_secs(60));
        // Lets a run that was kept out end, so that the test can.
        drop(crowd);
        heard.expect("the administration is let in beside the crowd").ends(0);
    });
}

#[test]
fn a_change_of_the_evidence_key_needs_the_former_public_key() {
    let mut office = Office::open();
    office.post(NOTICE);
    let former = office.run(&["evidence", "key"]).ends(0).stdout.trim().to_owned();
    // The server signs once more as it stops, and makes a new key where it finds none.
    office.restart_after(|folder| {
        std::fs::rename(folder.join("evidence.key"), folder.join("former.key")).expect("renamed");
    });
    let id = office.post(NOTICE);
    let refused = office.run(&["evidence", "export", &id]);
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused:#?}");
    office.run(&["store", "verify"]).ends(4);
    office.restart_after(|folder| {
        let config = folder.join("amtsbote.toml");
        let text = std::fs::read_to_string(&config).expect("the configuration");
        assert!(text.contains("former_keys = []"), "{text}");
        let named = text.replace("former_keys = []", &format!("former_keys = [\"{former}\"]"));
        std::fs::write(&config, named).expect("written");
    });
    let key = office.run(&["evidence", "key"]).ends(0).stdout.trim().to_owned();
    assert_ne!(key, former);
    office.run(&["evidence", "export", &id, "--output", "proof"]).ends(0);
    office.run(&["evidence", "verify", "proof", "--key", &former, "--key", &key]).ends(0);
    office.run(&["evidence", "verify", "proof", "--key", &former]).ends(4);
    office.run(&["store", "verify"]).ends(0);
    office.run(&["evidence", "verify", "--store", "store", "--key", &key]).ends(4);
    office.run(&["evidence", "verify", "--store", "store", "--key", &key, "--key", &former]).ends(0);
}

#[test]
fn the_limit_of_open_files_follows_the_configured_connections() {
    let mut office = Office::open();
    office.restart_with_open_files(128);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", office.pid())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let soft = line.split_whitespace().nth(3).and_then(|word| word.parse::<u64>().ok()).expect("a number");
    let most = amtsbote::domain::limits::Limits::default().connections_max as u64;
    assert_eq!(soft, 2 * 2 * most + 512, "{line}");
}
