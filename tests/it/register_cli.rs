//! The register from the command line: invented persons are loaded, searched, compared, reported on.

use std::path::Path;

use crate::cli_fixture::{BINARY, amtsbote};
use crate::postgres_cluster::{Cluster, programs};

fn question(family: &str, given: &str, asker: &str, purpose: &str, profile: &str) -> String {
    format!(
        r#"{{"requester":{{"asker":"{asker}","purpose":"{purpose}","body":"Amt A","file_number":"1/26",
        "occasion":"Anhörung","user":"u1","declares_no_trade":true}},"profile":"{profile}",
        "selection":{{"municipalities":["10041100"],"family_name":"{family}","given_names":"{given}",
        "birth_date":"17031998","sex":"m"}}}}"#
    )
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("writes");
}

/// By the user nobody, who is in the group of the folder and can read nothing else.
fn release_as_another(folder: &Path, number: &str) {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder, open).expect("the folder's mode");
    chown(folder.join("register/four-eyes"), None, Some(NOBODY)).expect("the folder's group");
    // Wherever the build lies, not everybody may go there.
    let binary = folder.join("amtsbote-of-nobody");
    std::fs::copy(BINARY, &binary).expect("a copy");
    let ran = std::process::Command::new(&binary)
        .args(["register", "release", number])
        .current_dir(folder)
        .env_remove("AMTSBOTE_CONFIG")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("the binary runs");
    assert!(ran.status.success(), "{ran:?}");
    std::fs::remove_file(&binary).expect("removed");
}

#[test]
fn a_register_is_loaded_searched_compared_and_reported_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(folder.path(), &[&["register"], arguments].concat()).ends(exit)
    };
    run(&["status"], 2);
    let made = run(&["synth", "--ags", "10041100", "--persons", "200", "--seed", "3"], 0).stdout;
    assert_eq!(made.lines().count(), 200);
    let adler = r#"{"mark":"A1","family_names":["Adler"],"given_names":["Willi Otto"],"birth_dates":["17031998"],"sex":"m","card_lock_word":"geheim","addresses":[{"street":"Krumme Straße"}]}"#;
    let locked =
        adler.replace("Adler", "Sperre").replace("A1", "A2").replace("\"sex\"", "\"locks\":[3],\"sex\"");
    write(folder.path(), "records.jsonl", &format!("{made}{adler}\n{locked}\nnonsense\n"));
    let load = ["load", "records.jsonl", "--ags", "10041100", "--generation", "1", "--json"];
    let receipt = run(&load, 4).stdout;
    assert!(receipt.contains(r#""stored": 202"#) && receipt.contains(r#""card_lock_word": 2"#), "{receipt}");
    // Without its key nothing is begun anew over what there is.
    let key = folder.path().join("register/log.key");
    std::fs::rename(&key, folder.path().join("log.key")).expect("moved");
    for words in [&["status"][..], &load] {
        let keyless = run(words, 2).stderr;
        assert!(keyless.contains("log.key") && keyless.contains("bring it back"), "{keyless}");
    }
    assert!(!key.exists());
    std::fs::rename(folder.path().join("log.key"), &key).expect("back");
    let bytes = std::fs::read(folder.path().join("register/register.sqlite")).expect("the database");
    assert!(!bytes.windows(6).any(|window| window == b"geheim"), "stripped at the door");
    run(&load, 1);
    // A file that is the wrong one replaces no copy, and nothing of it stays.
    write(folder.path(), "wrong.jsonl", "nonsense\n{}\n");
    let wrong = ["load", "wrong.jsonl", "--ags", "10041100", "--generation", "2"];
    assert!(run(&wrong, 1).stderr.contains("none of the load's 2 records"));
    let few = made.lines().take(100).collect::<Vec<_>>().join("\n");
    write(folder.path(), "wrong.jsonl", &few);
    assert!(run(&wrong, 1).stderr.contains("the load leaves 100 of the copy's 202 persons"));
    // What fails because of it hides nothing of why it failed.
    let database = rusqlite::Connection::open(folder.path().join("register/register.sqlite"));
    let database = database.expect("a database");
    let fail = "CREATE TRIGGER stuck BEFORE UPDATE ON copy BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    database.execute_batch(fail).expect("a trigger");
    let absent = ["load", "absent.jsonl", "--ags", "10041100", "--generation", "2"];
    let told = run(&absent, 2).stderr;
    assert!(told.contains("absent.jsonl cannot be read") && !told.contains("stuck"), "{told}");
    database.execute_batch("DROP TRIGGER stuck").expect("dropped");
    drop(database);
    run(&absent, 2);
    let status = run(&["status"], 0);
    assert!(status.stdout.contains("202") && status.stdout.contains("never"), "{status:?}");
    assert!(status.stderr.contains("No night's work"), "{status:?}");
    let copies = run(&["status", "--json"], 0).json()["copies"].clone();
    assert_eq!((&copies[0]["persons"], copies.as_array().map(Vec::len)), (&202.into(), Some(1)));

    write(folder.path(), "q.json", &question("ADLER", "Otto", "public-body", "task", "person-search"));
    let answer = run(&["search", "q.json"], 0).stdout;
    assert!(answer.contains("Krumme Straße") && !answer.contains("A1"), "{answer}");
    let neutral: Vec<String> = ["Sperre", "Niemand"]
        .into_iter()
        .map(|family| {
            write(
                folder.path(),
                "q.json",
                &question(family, "Otto", "citizen", "private", "private-enquiry"),
            );
            run(&["search", "q.json"], 0).stdout
        })
        .collect();
    assert_eq!(neutral[0], neutral[1]);
    write(folder.path(), "q.json", &question("Adler", "Otto", "firm", "advertising", "private-enquiry"));
    assert!(run(&["search", "q.json"], 1).stderr.contains("not-entitled"));

    // One operator asks, another one releases: users of the operating system, not words.
    let report = ["report", "10041100", "A1", "--identity-checked"];
    run(&report[..3], 2);
    assert!(run(&report, 5).stderr.contains("amtsbote register release 1"));
    assert!(run(&["release"], 0).stdout.contains("who got the data of a person of 10041100"));
    assert!(run(&["release", "1"], 1).stderr.contains("another operator"));
    run(&["release", "2"], 6);
    run(&report, 5);
    if rustix::process::getuid().is_root() {
        release_as_another(folder.path(), "1");
        let told = run(&report, 0).stdout;
        assert!(told.contains("Amt A") && told.contains("Krumme Straße") && !told.contains("A1"), "{told}");
        assert!(run(&report, 5).stderr.contains("release 2"), "a release is for one reading");
        assert!(run(&["log"], 0).stdout.contains("4 entries, whole"));
    }
    std::fs::rename(folder.path().join("register/log.heads"), folder.path().join("elsewhere"))
        .expect("moved");
    assert!(run(&["log"], 4).stderr.contains("no head"));
    run(&["log", "--heads", "elsewhere"], 0);
    std::fs::rename(folder.path().join("elsewhere"), folder.path().join("register/log.heads")).expect("back");

    // Number 2 comes before number 1, and a lock does not wait for its turn.
    let change = |sequence: u64, occasion: &str, record: &str| {
        format!(
            r#"{{"ags":"10041100","generation":1,"sequence":{sequence},"at":"2026-03-02T08:00:00Z","occasion":"{occasion}","mark":"A1","record":{record}}}"#
        )
    };
    let kept = adler.replace(r#""card_lock_word":"geheim","#, "");
    write(
        folder.path(),
        "2.jsonl",
        &change(2, "lock-set", &kept.replace("\"sex\"", "\"locks\":[3],\"sex\"")),
    );
    assert!(run(&["feed", "2.jsonl"], 4).stdout.contains("10041100: 1 to 1"));
    assert!(run(&["status"], 4).stdout.contains("changes 1 to 1 are missing, the yearly report is due"));
    assert_eq!(run(&["status", "--json"], 4).json()["copies"][0]["missing"], serde_json::json!([1, 1]));
    write(folder.path(), "q.json", &question("Adler", "Otto", "public-body", "task", "person-search"));
    assert_eq!(run(&["search", "q.json"], 0).stdout, neutral[0]);
    let cases = run(&["cases", "--json"], 0).stdout;
    assert_eq!(cases.matches("notice-to-person").count(), 2, "{cases}");
    assert_eq!(cases.matches("by-hand").count(), 3, "{cases}");
    assert!(!cases.contains("A2") && !cases.contains("Sperre"), "lists tell of nobody: {cases}");
    // A question that met a locked person takes two, whichever of its cases is opened.
    for number in ["1", "2"] {
        assert!(run(&["case", "show", number], 5).stderr.contains("amtsbote register release"));
    }
    let listed: serde_json::Value = serde_json::from_str(&cases).expect("JSON");
    let duties = listed["duties"].as_array().expect("a list");
    let alone =
        |one: &&serde_json::Value| duties.iter().filter(|other| other["look"] == one["look"]).count() == 1;
    let number = duties.iter().find(alone).expect("a question that met nobody")["number"].to_string();
    assert!(run(&["case", "show", &number], 0).stdout.contains("family_name"), "the question as it was put");
    run(&["cases", "--done", "1"], 2);
    run(&["cases", "--done", "1", "--reason", "handed over on paper"], 0);
    run(&["cases", "--done", "1", "--reason", "twice"], 6);
    assert!(run(&["case", "answer", "2", "--none", "--reason", "none"], 2).stderr.contains("--settings"));
    let feed = format!("{}\n{}\n", change(1, "address", &kept), change(3, "lock-ended", &kept));
    write(folder.path(), "1-3.jsonl", &feed);
    run(&["feed", "1-3.jsonl"], 0);
    run(&["plausibility", "10041100"], 4);
    let status = run(&["status"], 0).stdout;
    assert!(!status.contains("missing") && !status.contains("report"), "{status}");
    assert!(run(&["search", "q.json"], 0).stdout.contains("Krumme Straße"));
    run(&["sweep"], 0);

    // A line that cannot be read stops nothing.
    write(folder.path(), "original.jsonl", &format!("{{\n{made}{}\n", adler.replace("Otto", "Ernst")));
    let compared = run(&["reconcile", "original.jsonl", "--ags", "10041100", "--json"], 4);
    assert!(compared.stderr.contains("Record 1 of original.jsonl was left out"), "{}", compared.stderr);
    // Whose it is, nobody knows: so nobody is called too many.
    assert!(compared.stderr.contains("too many is not told"), "{}", compared.stderr);
    assert_eq!(compared.json(), serde_json::json!({ "missing": [], "changed": ["A1"], "unread": [1] }));
    write(folder.path(), "original.jsonl", &format!("{made}{}\n", adler.replace("Otto", "Ernst")));
    let compared = run(&["reconcile", "original.jsonl", "--ags", "10041100", "--json"], 4).json();
    assert_eq!(
        compared,
        serde_json::json!({ "missing": [], "surplus": ["A2"], "changed": ["A1"], "unread": [] })
    );
    // Where so few are right, the operator says so.
    run(&[&wrong[..], &["--shrink"]].concat(), 0);
    assert_eq!(run(&["status", "--json"], 0).json()["copies"][0]["persons"], 100);
}

/// What the plan says is what a copy holds that was told everything rightly.
#[test]
fn a_plan_of_faults_says_what_must_come_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(folder.path(), &[&["register"], arguments].concat()).ends(exit)
    };
    let synth = ["synth", "--persons", "50", "--seed", "4", "--into", "plan"];
    assert_eq!(run(&synth, 0).stdout.lines().count(), 4);
    run(&synth, 1);
    let read = |name: &str| std::fs::read_to_string(folder.path().join("plan").join(name)).expect("a file");
    let outcome: serde_json::Value = serde_json::from_str(&read("outcome.json")).expect("JSON");
    assert_eq!(
        (&outcome["sequence"], outcome["faults"].as_object().map(|kinds| kinds.len())),
        (&200.into(), Some(10))
    );
    let mut told = std::collections::BTreeMap::new();
    for line in read("stream.jsonl").lines() {
        let step: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let expected = &step["expected"];
        if step["step"] == "restart" || expected["rejected"].is_string() {
            continue;
        }
        let refused = expected["cases"].as_array().cloned().unwrap_or_default();
        for change in step["changes"].as_array().expect("changes") {
            if !refused.iter().any(|case| case[0] == change["sequence"]) {
                told.insert(change["sequence"].as_u64().expect("a number"), change.to_string());
            }
        }
    }
    write(folder.path(), "stream.jsonl", &told.into_values().map(|line| line + "\n").collect::<String>());
    run(&["load", "plan/records.jsonl", "--ags", "10041100", "--generation", "1"], 0);
    run(&["feed", "stream.jsonl"], 0);
    run(&["reconcile", "plan/expected.jsonl", "--ags", "10041100"], 0);
    run(&["reconcile", "plan/records.jsonl", "--ags", "10041100"], 4);
}

#[test]
fn rights_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(folder.path(), &[&["register", "explain"], arguments].concat()).ends(exit)
    };
    assert!(run(&["police", "free-search", "--area", "state"], 0).stdout.contains("34a(6)"));
    assert!(run(&["public-body", "free-search", "--area", "state"], 4).stdout.contains("one municipality"));
    assert!(run(&["firm", "private-enquiry", "--purpose", "advertising"], 4).stdout.contains("44(3)"));
    assert!(run(&["wizard"], 6).stderr.contains("public-body"));
    assert!(run(&[], 0).stdout.lines().count() > 25);
}

#[test]
fn records_are_retired_and_looked_through_and_questions_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(folder.path(), &[&["register"], arguments].concat()).ends(exit)
    };
    let adler = r#"{"mark":"A1","family_names":["Adler"],"given_names":["Willi Otto"],"birth_dates":["17031998"],"birth_place":"Ort","nationalities":["000"],"sex":"m","addresses":[{"street":"Krumme Straße","place":"Ort"}]}"#;
    let gone = adler.replace("A1", "A2").replace(
        "\"sex\"",
        "\"marital_status\":\"VW\",\"status\":\"dead\",\"death_date\":\"01012010\",\"sex\"",
    );
    write(folder.path(), "records.jsonl", &format!("{adler}\n{gone}\n"));
    run(&["load", "records.jsonl", "--ags", "10041100", "--generation", "1"], 0);
    let report = run(&["plausibility", "10041100", "--json"], 4).json();
    assert_eq!(report["findings"]["left-with-dwelling"]["marks"][0], "A2");
    run(&["retire", "10041100"], 5);
    let retired = run(&["retire", "10041100", "--day", "2026-11-23", "--yes", "--json"], 0).json();
    assert_eq!((&retired["restricted"], &retired["deleted"]), (&1.into(), &0.into()));
    write(folder.path(), "q.json", &question("ADLER", "Otto", "public-body", "task", "person-search"));
    run(&["search", "q.json"], 0);
    let month = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::get("Europe/Berlin").expect("the zone"));
    let month = month.strftime("%Y-%m").to_string();
    let lines = run(&["statistics", &month, "--json"], 0).json();
    assert_eq!((&lines[0]["area"], &lines[0]["questions"]), (&"10041100".into(), &1.into()));
    assert_eq!(run(&["fees", &month, "--json"], 0).json(), serde_json::json!([]));
    run(&["fees", "2026-13"], 2);
    // An audit holds the log, and its end takes two.
    run(&["log", "--lift", "over"], 6);
    run(&["log", "--hold", " "], 1);
    assert!(run(&["log", "--hold", "audit 1/26"], 0).stderr.contains("held for an audit"));
    run(&["log", "--hold", "audit 2/26"], 1);
    for listing in ["log", "status"] {
        assert!(run(&[listing], 0).stderr.contains("audit 1/26"), "{listing}");
    }
    let hold = &run(&["status", "--json"], 0).json()["log_hold"];
    assert!(hold["by"].as_str().is_some_and(|by| by.starts_with("uid ")), "{hold}");
    run(&["log", "--lift", " "], 1);
    assert!(!folder.path().join("register/four-eyes").exists(), "nothing to release");
    assert!(run(&["log", "--lift", "over"], 5).stderr.contains("amtsbote register release"));
    assert!(run(&["release"], 0).stdout.contains("delete what an audit held"));
    run(&["init", "register.toml"], 0);
    run(&["init", "register.toml"], 1);
    run(&["serve"], 2);
}

/// From the file into a database, by the command line alone; the file is left as it is.
#[test]
fn a_register_is_copied_into_postgresql() {
    let Some(programs) = programs() else { return };
    let cluster = Cluster::start(&programs, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str], exit: i32| {
        amtsbote(folder.path(), &[&["register"], arguments].concat()).ends(exit)
    };
    let made = run(&["synth", "--persons", "50", "--seed", "3"], 0).stdout;
    write(folder.path(), "records.jsonl", &made);
    run(&["load", "records.jsonl", "--ags", "10041100", "--generation", "1"], 0);
    write(folder.path(), "q.json", &question("Niemand", "Otto", "public-body", "task", "person-search"));
    run(&["search", "q.json"], 0);
    let log = run(&["log"], 0).stdout;
    let copy = ["copy", "--from", "sqlite:register", "--to", "postgres:register.toml"];
    run(&["init"], 0);
    assert!(run(&copy, 2).stderr.contains("engine is not"), "the configuration of before");
    let text = std::fs::read_to_string(folder.path().join("register.toml")).expect("the configuration");
    let store =
        format!("\n[store]\nengine = \"postgres\"\nconnection = \"{}\"\n", cluster.database("register"));
    write(folder.path(), "register.toml", &format!("{text}{store}"));
    let early = run(&["status"], 2).stderr;
    assert!(early.contains("amtsbote register copy"), "{early}");
    let elsewhere = format!("{text}{store}").replacen("folder = \"register\"", "folder = \"new\"", 1);
    write(folder.path(), "new.toml", &elsewhere);
    let keyless = run(&["copy", "--from", "sqlite:register", "--to", "postgres:new.toml"], 2).stderr;
    assert!(keyless.contains("log.key") && keyless.contains("cp -p"), "{keyless}");
    let file = folder.path().join("register/register.sqlite");
    let before = std::fs::read(&file).expect("the file");
    let told = run(&[&copy[..], &["--json"]].concat(), 0).json();
    assert_eq!(told["tables"][1]["rows"], 50, "{told}");
    assert_eq!(std::fs::read(&file).expect("the file"), before);
    assert_eq!(run(&["log"], 0).stdout, log);
    assert_eq!(run(&["status", "--json"], 0).json()["copies"][0]["persons"], 50);
    run(&["search", "q.json"], 0);
    assert!(run(&copy, 2).stderr.contains("holds a register already"));
    std::fs::remove_file(folder.path().join("register.toml")).expect("removed");
    assert!(run(&["status"], 2).stderr.contains("were copied to"));
}
