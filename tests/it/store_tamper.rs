//! Damage to a closed store is found and named, and copies of a store are as good as it.

use std::path::{Path, PathBuf};

use amtsbote::domain::state::Event;
use amtsbote::store::Store;
use amtsbote::store::embedded::{self, EmbeddedStore, OpenError, Settings};
use rusqlite::{Connection, params};

use crate::store_conformance::{note_of, stamp_over};
use crate::store_fixture::*;
use crate::tsa::Authority;

const MESSAGES: u64 = 270;

fn settings(folder: &Path) -> Settings {
    Settings { disk_reserve_bytes: 0, ..Settings::new(folder) }
}

async fn all_at_once(store: &EmbeddedStore, messages: u64) {
    let drafts: Vec<Draft> = (0..messages)
        .map(|n| Draft { content: content(n, if n == 7 { 100_000 } else { 100 }), ..draft(&format!("m{n}")) })
        .collect();
    for answer in futures_util::future::join_all(drafts.iter().map(|draft| draft.send(store))).await {
        answer.expect("accepted");
    }
}

/// A store with large and small payloads, changed and purged messages, checkpoints and a full stored subtree.
fn filled(folder: &Path, messages: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = EmbeddedStore::open(settings(folder)).expect("a store");
        all_at_once(&store, messages).await;
        for (name, events) in [
            ("m1", &[Event::HandedOut, Event::Received][..]),
            ("m2", &[Event::Expired]),
            ("m3", &[Event::Undeliverable]),
        ] {
            for event in events {
                store.change(change(name, *event, 5)).await.expect("changed");
            }
        }
        store.purge_payload(&id("m1"), at(6)).await.expect("purged");
        store.purge_card(&id("m2"), at(6)).await.expect("purged");
        for size in [10, messages - 10] {
            let note = note_of(&store, size).await;
            store.save_checkpoint(size, &note).await.expect("saved");
            if store.time_stamped(None).await.expect("an answer").is_none() {
                let authority = Authority::new();
                let stamp = stamp_over(&authority, note.as_bytes(), at(1000), at(9000));
                store.save_time_stamp(size, 0, &stamp).await.expect("saved");
                let renewal = stamp_over(&authority, &stamp.token, at(2000), at(10_000));
                store.save_time_stamp(size, 1, &renewal).await.expect("saved");
            }
        }
        store.close().await.expect("closed");
    });
}

fn database(folder: &Path) -> PathBuf {
    folder.join("amtsbote.sqlite")
}

/// Flips every byte of one value, one after the other, and sees verification blame `name` each time.
fn flip_every_byte(folder: &Path, table: &str, column: &str, place: &str, name: &str) {
    let connection = Connection::open(database(folder)).expect("the database");
    connection.execute_batch("PRAGMA synchronous = OFF").expect("a pragma");
    let original: Vec<u8> = connection
        .query_row(&format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {place}"), [], |row| row.get(0))
        .expect("a value");
    let update = format!("UPDATE {table} SET {column} = ?1 WHERE {place}");
    for at in 0..original.len() {
        let mut flipped = original.clone();
        flipped[at] ^= 1 << (at % 8);
        connection.execute(&update, params![flipped]).expect("updated");
        let report = embedded::verify(folder).expect("verified");
        let blamed = report.problems.iter().any(|problem| problem.contains(name));
        assert!(blamed, "byte {at} of {table}.{column} where {place}: {:?}", report.problems);
    }
    connection.execute(&update, params![original]).expect("restored");
}

#[test]
fn every_flipped_byte_is_found_and_named() {
    for (messages, values) in [
        (
            20,
            &[
                ("evidence", "bytes", "idx = 3", "evidence record 3:"),
                ("evidence", "leaf", "idx = 19", "evidence record 19:"),
                ("checkpoint", "note", "size = 10", "checkpoint of size 10:"),
                ("time_stamp", "token", "number = 0", "time stamp 0 of the checkpoint of size 10:"),
                ("time_stamp", "token", "number = 1", "time stamp 1 of the checkpoint of size 10:"),
                ("paper", "card", "sequence = 2", "(sequence 2): the card"),
                ("payload", "bytes", "sequence = 5", "(sequence 5): the payload"),
            ][..],
        ),
        (MESSAGES, &[("evidence_node", "hash", "level = 8", "evidence record 0:")]),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        filled(folder.path(), messages);
        let report = embedded::verify(folder.path()).expect("verified");
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!((report.messages, report.checkpoints), (messages - 1, 1 + u64::from(messages > 20)));
        assert_eq!(report.evidence_records, messages + 6);
        for (table, column, place, name) in values {
            flip_every_byte(folder.path(), table, column, place, name);
        }
        let report = embedded::verify(folder.path()).expect("verified");
        assert!(report.is_sound(), "{:?}", report.problems);
    }
}

#[test]
fn whatever_contradicts_the_log_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path(), MESSAGES);
    let pristine = std::fs::read(database(folder.path())).expect("read");
    for (damage, name) in [
        ("DELETE FROM evidence WHERE idx = 40", "evidence record 40: missing"),
        ("UPDATE evidence SET message = 9 WHERE idx = 40", "evidence record 40: it stands with another"),
        ("DELETE FROM paper WHERE sequence = 9", "(sequence 9): envelope and card are missing"),
        ("DELETE FROM message WHERE sequence = 9", "(sequence 9) is missing"),
        ("DELETE FROM payload WHERE sequence = 9", "(sequence 9): the payload is missing"),
        ("DELETE FROM used WHERE sequence = 9", "(sequence 9): its id is not marked as used"),
        ("DELETE FROM timer WHERE sequence = 9", "(sequence 9): timer Expire is missing"),
        ("DELETE FROM evidence_node", "the tree's node"),
        ("UPDATE message SET mailbox = 'ags:9' WHERE sequence = 9", "(sequence 9): the index of messages"),
        ("UPDATE message SET offered = 0 WHERE sequence = 9", "(sequence 9): the mailbox says"),
        ("UPDATE mailbox SET waiting = waiting - 1", "the counters of mailbox ags:1"),
        (
            "UPDATE paper SET envelope = replace(envelope, 'urn:service', 'urn:other') WHERE sequence = 9",
            "the envelope",
        ),
        (
            "INSERT INTO checkpoint SELECT 999, note, digest FROM checkpoint WHERE size = 260",
            "checkpoint of size 999",
        ),
        (
            "DELETE FROM checkpoint WHERE size = 10",
            "time stamp 0 of the checkpoint of size 10: the time stamp is over",
        ),
        (
            "DELETE FROM time_stamp WHERE number = 0",
            "time stamp 1 of the checkpoint of size 10: the one before it",
        ),
        ("UPDATE time_stamp SET time = time + 1", "it is kept with another time than it says"),
        ("INSERT INTO timer VALUES (1, 9, 0)", "timers where"),
    ] {
        std::fs::write(database(folder.path()), &pristine).expect("written");
        let connection = Connection::open(database(folder.path())).expect("the database");
        assert!(connection.execute(damage, []).expect(damage) > 0, "{damage}");
        drop(connection);
        let report = embedded::verify(folder.path()).expect("verified");
        let blamed = report.problems.iter().any(|problem| problem.contains(name));
        assert!(blamed, "{damage}: {:?}", report.problems);
    }
    std::fs::write(database(folder.path()), &pristine).expect("written");
    assert!(embedded::verify(folder.path()).expect("verified").is_sound());
    let file = payload_files(folder.path()).pop().expect("one large payload");
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[50_000] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let report = embedded::verify(folder.path()).expect("verified");
    assert!(report.problems.iter().any(|problem| problem.contains("the payload was changed")), "{report:?}");
    std::fs::remove_file(&file).expect("removed");
    let report = embedded::verify(folder.path()).expect("verified");
    assert!(report.problems.iter().any(|problem| problem.contains("payload file")), "{report:?}");
    assert_eq!(report.problem_count, 1);
    // Nothing is restored from what does not verify.
    let into = tempfile::tempdir().expect("a temporary folder");
    let refused = embedded::restore(folder.path(), &into.path().join("store"));
    assert!(matches!(refused, Err(OpenError::Unverified(_))), "{refused:?}");
}

fn payload_files(folder: &Path) -> Vec<PathBuf> {
    let shelves = std::fs::read_dir(folder.join("payloads")).expect("shelves").flatten();
    shelves
        .flat_map(|shelf| std::fs::read_dir(shelf.path()).expect("a shelf").flatten())
        .map(|file| file.path())
        .collect()
}

#[test]
fn a_backup_under_load_is_a_store_of_one_moment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, copy, restored) =
        (folder.path().join("store"), folder.path().join("backup"), folder.path().join("restored"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let known = runtime.block_on(async {
        let store = std::sync::Arc::new(EmbeddedStore::open(settings(&source)).expect("a store"));
        all_at_once(&store, MESSAGES).await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let load = tokio::spawn({
            let store = std::sync::Arc::clone(&store);
            async move {
                let mut stopped = stopped;
                let mut n = 0;
                while stopped.try_recv().is_err() {
                    let name = format!("load{n}");
                    Draft { content: content(n, 80_000), ..draft(&name) }
                        .send(&*store)
                        .await
                        .expect("accepted");
                    store.change(change(&name, Event::Expired, 1)).await.expect("expired");
                    store.purge_payload(&id(&name), at(2)).await.expect("purged");
                    n += 1;
                }
            }
        });
        store.backup(&copy).await.expect("a backup");
        let again = store.backup(&copy).await;
        stop.send(()).expect("the load still runs");
        load.await.expect("no panic");
        assert!(again.is_err(), "a backup into a full folder");
        let size = store.evidence_size().await.expect("a size");
        store.close().await.expect("closed");
        size
    });
    let report = embedded::verify(&copy).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!((MESSAGES..=known).contains(&report.evidence_records));
    let restored_report = embedded::restore(&copy, &restored).expect("restored");
    assert_eq!((restored_report.root, restored_report.messages), (report.root, report.messages));
    let refused = embedded::restore(&copy, &restored);
    assert!(matches!(refused, Err(OpenError::NotEmpty(_))), "{refused:?}");
    runtime.block_on(async {
        let store = EmbeddedStore::open(settings(&restored)).expect("the restored store opens");
        let large = payload_of(&store, &id("m7"), 0, u64::MAX).await.expect("bytes");
        assert_eq!(large, content(7, 100_000));
        draft("new").send(&store).await.expect("accepted");
        store.close().await.expect("closed");
    });
    assert!(embedded::verify(&restored).expect("verified").is_sound());
    let (before, after) = embedded::upgrade(&restored).expect("nothing to do");
    assert_eq!(before, after);
    assert!(matches!(embedded::verify(folder.path()), Err(OpenError::Absent(_))));
}

#[test]
fn a_store_of_the_first_version_is_upgraded_with_all_it_holds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(database(folder.path()), include_bytes!("../data/store/version-1/amtsbote.sqlite"))
        .expect("written");
    assert!(matches!(embedded::verify(folder.path()), Err(OpenError::Older { found: 1, .. })));
    let refused = EmbeddedStore::open(settings(folder.path())).err().expect("not without an upgrade");
    assert!(refused.to_string().contains("upgrade"), "{refused}");
    let (before, after) = embedded::upgrade(folder.path()).expect("upgraded");
    assert!(before == 1 && after > 1, "{before} to {after}");
    let report = embedded::verify(folder.path()).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(
        (report.messages, report.evidence_records, report.checkpoints, report.time_stamps),
        (2, 4, 1, 0)
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
        let note = store.checkpoint(None).await.expect("an answer").expect("a checkpoint");
        let stamp = stamp_over(&Authority::new(), note.as_bytes(), at(1000), at(9000));
        store.save_time_stamp(4, 0, &stamp).await.expect("what is new works on what is old");
        assert_eq!(store.time_stamps(4).await.expect("stamps"), [stamp]);
        store.close().await.expect("closed");
    });
}
