//! `amtsbote store lag` before a real primary and standby: what the primary's loss would cost, and when that is a problem.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cli_fixture::{Ran, amtsbote};
use crate::postgres_cluster::{Cluster, programs};

fn configure(folder: &Path, connection: &str, standby: &str) {
    let config = format!(
        "[store]\nengine = \"postgres\"\nconnection = \"{connection}\"\nnode = \"one\"\nstandby = \"{standby}\"\n"
    );
    std::fs::write(folder.join("amtsbote.toml"), config).expect("written");
}

fn lag(folder: &Path, more: &[&str]) -> Ran {
    amtsbote(folder, &[&["store", "lag"], more].concat())
}

/// Asks until the answer is of that exit code, or an end.
#[track_caller]
fn lag_becomes(folder: &Path, more: &[&str], code: i32) -> Ran {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let ran = lag(folder, more);
        if ran.code == code || Instant::now() >= end {
            return ran.ends(code);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text}");
    }
}

#[test]
fn what_the_loss_of_the_primary_would_cost_is_told() {
    let Some(programs) = programs() else { return };
    let primary =
        Cluster::start(&programs, &["wal_level = replica", "max_wal_senders = 5", "wal_sender_timeout = 0"]);
    let connection = primary.database("office");
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();

    // Alone: nothing was asked for, so it is told and no problem; asked for, it is one.
    configure(folder, &connection, "unasked");
    assert_has(&lag(folder, &[]).ends(0).stderr, &["everything since the last backup"]);
    assert_has(&lag(folder, &["--seconds-max", "60"]).ends(4).stderr, &["no standby"]);
    configure(folder, &connection, "required");
    assert_has(&lag(folder, &[]).ends(4).stderr, &["No synchronous standby", "synchronous_standby_names"]);

    // A standby that nobody waits for.
    let standby = primary.standby("second");
    configure(folder, &connection, "unasked");
    let ran = lag_becomes(folder, &["--bytes-max", "0", "--seconds-max", "0"], 0);
    assert_has(&ran.stdout, &["second", "streaming", "no"]);
    assert_has(&ran.stderr, &["what the best standby lacks", "0 s"]);

    // It takes nothing in for a while: bytes and seconds are told, and are a problem beyond the limits.
    standby.signal_receiver(Signal::STOP);
    primary.sql("office", "CREATE TABLE more AS SELECT generate_series(1, 100000)");
    let ran = lag_becomes(folder, &["--bytes-max", "1000000"], 4);
    assert_has(&ran.stderr, &["Standby second is behind by", "MB"]);
    lag_becomes(folder, &["--seconds-max", "1"], 4);
    let told = lag(folder, &["--json"]).ends(0).json();
    assert_eq!(told["loss"], "up-to");
    assert!(told["loss_bytes"].as_u64() > Some(1_000_000), "{told}");
    assert!(told["loss_seconds"].as_f64() > Some(1.0), "{told}");
    standby.signal_receiver(Signal::CONT);
    lag_becomes(folder, &["--bytes-max", "0", "--seconds-max", "0"], 0);

    // Waited for, it has everything.
    primary.reconfigure(&["synchronous_standby_names = 'second'"]);
    primary.wait_for_standby();
    configure(folder, &connection, "required");
    assert_has(&lag(folder, &[]).ends(0).stderr, &["would lose nothing"]);
    let told = lag(folder, &["--json"]).ends(0).json();
    assert_eq!((&told["loss"], &told["standbys"][0]["synchronous"]), (&"nothing".into(), &true.into()));

    // One with a slot is away.
    primary.sql("office", "SELECT pg_create_physical_replication_slot('far', true)");
    let ran = lag(folder, &["--seconds-max", "60"]).ends(4);
    assert_has(&ran.stdout, &["far", "absent"]);
    assert_has(&ran.stderr, &["Standby far is not connected"]);

    // What nobody has said is not taken for "has everything": a slot never used, and a follower that never answers.
    primary
        .sql("office", "SELECT pg_drop_replication_slot('far'), pg_create_physical_replication_slot('new')");
    let ran = lag(folder, &["--bytes-max", "1000000000"]).ends(4);
    assert_has(&ran.stderr, &["Standby new is behind by an unknown amount"]);
    primary.sql("office", "SELECT pg_drop_replication_slot('new')");
    let mute = primary.mute_follower();
    let ran = lag_becomes(folder, &["--bytes-max", "1000000000"], 4);
    assert_has(&ran.stdout, &["pg_receivewal"]);
    assert_has(&ran.stderr, &["Standby pg_receivewal is behind by an unknown amount"]);
    let ran = lag(folder, &["--seconds-max", "3600"]).ends(4);
    assert_has(&ran.stderr, &["Standby pg_receivewal is behind by an unknown time"]);
    drop(mute);

    // A user without the right is told which one.
    primary.sql("office", "REVOKE pg_read_all_stats FROM amtsbote");
    assert_has(&lag(folder, &[]).ends(4).stderr, &["GRANT pg_read_all_stats"]);
}

#[test]
fn an_embedded_store_has_no_standby() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("amtsbote.toml"), "[store]\nfolder = \"here\"\n").expect("written");
    let ran = lag(folder.path(), &[]).ends(2);
    assert_has(&ran.stderr, &["embedded in", "here", "no standby follows", "store backup"]);
}
