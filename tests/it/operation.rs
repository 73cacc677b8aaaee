//! What `operation/` and the manual promise an operator exists: metrics, alerts, commands, configuration keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli_fixture::amtsbote;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every `amtsbote_…` word of a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        // The register's database is called so, too.
        .filter(|word| word.starts_with("amtsbote_") && *word != "amtsbote_register")
        .map(str::to_owned)
        .collect()
}

/// Names in the code's `counter!`, `gauge!` and `histogram!`.
fn metrics_of_the_code() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                collect(&entry, found);
                continue;
            }
            let text = fs::read_to_string(&entry).expect("a source file");
            for kind in ["counter!", "gauge!", "histogram!"] {
                for after in text.split(&format!("metrics::{kind}")).skip(1) {
                    found.extend(after.split('"').nth(1).map(str::to_owned));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(&root().join("src"), &mut found);
    found
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let known = metrics_of_the_code();
    assert!(known.len() > 25, "the code's metrics are found: {known:?}");
    for file in [
        "operation/alerts.yaml",
        "operation/dashboard.json",
        "src/manual/operation.rs",
        "src/manual/register.rs",
    ] {
        let unknown: Vec<_> = metrics_in(&read(file)).difference(&known).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new(), "{file}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("operation/dashboard.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    // What an operator must not miss is among the alerts.
    let alerts = metrics_in(&read("operation/alerts.yaml"));
    for metric in [
        "amtsbote_certificate_days_left",
        "amtsbote_store_accepting",
        "amtsbote_time_stamp_failing",
        "amtsbote_callbacks_failing",
        "amtsbote_register_copies_stale",
        "amtsbote_register_locks_unread",
    ] {
        assert!(alerts.contains(metric), "{metric}");
    }
}

#[test]
fn every_alert_is_in_the_manual() {
    let (alerts, manual) = (read("operation/alerts.yaml"), read("src/manual/operation.rs"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(manual.contains(&format!("`{name}`")), "{name}");
    }
    // That either process is gone is seen by the job that the head prescribes for it.
    let jobs = alerts.split("up{job=").skip(1).filter_map(|rest| rest.split('}').next());
    let jobs: BTreeSet<&str> = jobs.collect();
    assert_eq!(jobs, BTreeSet::from(["\"amtsbote\"", "\"amtsbote-register\""]));
    let head = alerts.split("groups:").next().unwrap_or_default();
    assert!(jobs.iter().all(|job| head.contains(job)), "{head}");
}

/// `amtsbote a b` in what operators read is a command that the binary has.
#[test]
fn commands_that_are_named_exist() {
    /// Commands that say no more than what the next word is.
    const GROUPS: [&str; 10] = [
        "card",
        "cert",
        "dialog",
        "evidence",
        "mailbox",
        "message",
        "participant",
        "register",
        "service",
        "store",
    ];
    let texts = [
        "README.md",
        "operation/alerts.yaml",
        "operation/amtsbote.service",
        "operation/amtsbote-register.service",
        "src/manual/operation.rs",
    ];
    let mut named = BTreeSet::new();
    for after in texts.map(read).iter().flat_map(|text| text.split("amtsbote ").skip(1)) {
        let mut words = after.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).map(str::to_owned);
        if let (Some(group), Some(verb)) = (words.next(), words.next())
            && GROUPS.contains(&group.as_str())
            && !verb.is_empty()
        {
            named.insert([group, verb]);
        }
    }
    assert!(named.len() > 12, "{named:?}");
    let folder = tempfile::tempdir().expect("a folder");
    for [group, verb] in &named {
        amtsbote(folder.path(), &[group, verb, "--help"]).ends(0);
    }
}
