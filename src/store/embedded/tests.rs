//! Tests of the engine that look behind its trait.

use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ErrorCode;

use super::*;
use crate::domain::state::DeliveryState;

fn settings(folder: &Path) -> Settings {
    Settings { disk_reserve_bytes: 0, synchronous: Synchronous::Normal, ..Settings::new(folder) }
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).expect("a message id")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("an instant")
}

async fn announce(store: &EmbeddedStore, text: &str) -> Result<(), StoreError> {
    let account = AccountName::parse("amt").expect("an account name");
    store.announce(&id(text), &account, at(0), at(100)).await
}

fn failure() -> rusqlite::Error {
    let code = rusqlite::ffi::Error { code: ErrorCode::SystemIoFailure, extended_code: 0 };
    rusqlite::Error::SqliteFailure(code, Some("the disk said no".to_owned()))
}

/// Says that it failed, the first time, although it committed.
fn commits_and_fails(connection: &Connection) -> rusqlite::Result<()> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    writer::commit(connection)?;
    if CALLS.fetch_add(1, Ordering::SeqCst) == 0 { Err(failure()) } else { Ok(()) }
}

/// Fails, the first time, and has not committed.
fn only_fails(connection: &Connection) -> rusqlite::Result<()> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    if CALLS.fetch_add(1, Ordering::SeqCst) == 0 { Err(failure()) } else { writer::commit(connection) }
}

#[tokio::test]
async fn a_commit_that_fails_is_answered_with_what_the_database_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open_with(settings(folder.path()), commits_and_fails).expect("a store");
    announce(&store, "stored").await.expect("it was stored, whatever the commit said");
    assert!(matches!(announce(&store, "stored").await, Err(StoreError::IdUsed)));
    announce(&store, "next").await.expect("the store goes on");
    assert!(store.health().await.expect("health").accepting);
    store.close().await.expect("closed");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open_with(settings(folder.path()), only_fails).expect("a store");
    let answer = announce(&store, "lost").await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    announce(&store, "lost").await.expect("it was not stored, so it is new");
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_refused_or_failing_command_does_not_undo_its_neighbours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
    let names: Vec<String> = (0..60).map(|n| format!("id{}", n % 40)).collect();
    let announced = futures_util::future::join_all(names.iter().map(|name| announce(&store, name)));
    let panics = futures_util::future::join_all((0..5).map(|_| {
        store.write(|work| -> Result<(), Fault> {
            work.connection.execute("DELETE FROM used", [])?;
            panic!("on purpose")
        })
    }));
    let wrong = futures_util::future::join_all((0..5).map(|_| {
        store.write(|work| {
            work.connection.execute("DELETE FROM used", [])?;
            work.connection.execute("INSERT INTO directory VALUES (1, 0, '', '')", [])?;
            Ok(())
        })
    }));
    let (announced, panics, wrong) = tokio::join!(announced, panics, wrong);
    assert_eq!(announced.iter().filter(|answer| answer.is_ok()).count(), 40);
    assert!(panics.iter().chain(&wrong).all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    let used = store.read(|connection| {
        Ok(connection.query_row("SELECT count(*) FROM used", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(used.await.expect("a count"), 40);
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_payload_that_nobody_names_vanishes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stray = |folder: &Path| {
        let shelves = std::fs::read_dir(folder.join("payloads")).expect("shelves").flatten();
        shelves.map(|shelf| std::fs::read_dir(shelf.path()).expect("a shelf").count()).sum::<usize>()
    };
    let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
    for seal in [false, true] {
        let mut writer = store.payload_writer().await.expect("a writer");
        writer.write(&[7; 100_000]).await.expect("written");
        assert_eq!(stray(folder.path()), 1);
        if seal {
            drop(writer.seal().await.expect("sealed"));
        } else {
            drop(writer);
        }
        assert_eq!(stray(folder.path()), 0, "sealed: {seal}");
    }
    store.close().await.expect("closed");
    // What a process that died has left is swept soon after the next start.
    let orphan = folder.path().join("payloads/ab/ab00000000000000000000000000000");
    std::fs::write(&orphan, b"orphan").expect("written");
    let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
    for _ in 0..500 {
        if !orphan.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!orphan.exists());
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_payload_from_a_file_is_digested_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
    let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    let path = folder.path().join("arrived");
    std::fs::write(&path, &bytes).expect("written");
    let file = Arc::new(std::fs::File::open(&path).expect("there"));
    let context = |bytes: &[u8]| {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(bytes);
        context
    };
    for (before, span, seen) in [
        ("", 5..700_000, true),
        ("", 5..700_000, false),
        // What others digested begins this payload no more.
        ("before", 5..700_000, true),
        ("before", 5..700_000, false),
        ("", 600..600, true),
        ("before", 600..900, true),
    ] {
        let stretch = &bytes[span.start..span.end];
        let mut writer = store.payload_writer().await.expect("a writer");
        writer.write(before.as_bytes()).await.expect("written");
        let seen = seen.then(|| context(stretch));
        let span = span.start as u64..span.end as u64;
        writer.write_file(file.clone(), span.clone(), seen).await.expect("written");
        writer.write(b"behind").await.expect("written");
        let whole = [before.as_bytes(), stretch, b"behind"].concat();
        let sealed = writer.seal().await.expect("sealed");
        assert_eq!(sealed.length, whole.len() as u64, "{before} {span:?}");
        assert_eq!(sealed.digest, crate::domain::content::Digest::of(&whole), "{before} {span:?}");
        match &sealed.place {
            StagedPlace::Inline(kept) => {
                assert_eq!((kept.as_ref(), whole.len() < 65_536), (&whole[..], true))
            }
            StagedPlace::Staged(token) => {
                let kept = std::fs::read(store.payloads.path(token.name())).expect("a file");
                assert!(kept == whole, "{before} {span:?}");
            }
        }
    }
    let end = std::fs::metadata(&path).expect("there").len();
    let mut writer = store.payload_writer().await.expect("a writer");
    assert!(writer.write_file(file, end - 100_000..end + 1, None).await.is_err(), "cut short");
    drop(writer);
    store.close().await.expect("closed");
}

#[test]
fn one_store_is_open_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(settings(folder.path())).expect("a store");
    let second = EmbeddedStore::open(settings(folder.path())).err();
    assert!(matches!(second, Some(OpenError::Locked(_))), "{second:?}");
    assert!(matches!(upgrade(folder.path()), Err(OpenError::Locked(_))));
    drop(store);
    EmbeddedStore::open(settings(folder.path())).expect("free again");
}

#[test]
fn a_descriptor_inherited_by_another_process_does_not_keep_the_store_locked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let held = opening::lock(folder.path()).expect("locked");
    let inherited = held.0.try_clone().expect("a second descriptor of the same open file");
    drop(held);
    opening::lock(folder.path()).expect("free although a descriptor is still open");
    drop(inherited);
}

#[test]
fn listings_and_timers_read_indexes_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut connection = schema::open_writer(folder.path(), Synchronous::Normal).expect("a database");
    schema::prepare(&mut connection).expect("an empty database");
    for question in [
        "SELECT sequence FROM message INDEXED BY message_mailbox WHERE mailbox = ?1 AND offered = 1 \
         AND sequence > ?2 AND delivered_at >= ?3 ORDER BY sequence LIMIT 5",
        "SELECT sequence FROM message INDEXED BY message_new WHERE mailbox = ?1 AND shelf = 1 \
         AND sequence > ?2 AND delivered_at >= ?3 ORDER BY sequence LIMIT 5",
        "SELECT sequence FROM message INDEXED BY message_push WHERE mailbox = ?1 AND shelf > 0 \
         AND push_at <= ?2 ORDER BY push_at, sequence LIMIT 5",
        "SELECT * FROM timer WHERE at <= ?1 ORDER BY at, sequence, kind LIMIT ?2",
        "SELECT max(idx) FROM evidence",
    ] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {question}")).expect("a plan");
        let count = plan.parameter_count();
        let lines: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(std::iter::repeat_n(1, count)), |row| row.get(3))
            .expect("lines")
            .collect::<Result<_, _>>()
            .expect("text");
        let cheap = lines.iter().all(|line| line.starts_with("SEARCH") && !line.contains("TEMP B-TREE"));
        assert!(cheap, "{question}: {lines:?}");
    }
    assert!(DeliveryState::ALL.iter().all(|state| crate::store::row::state_number(*state) < 7));
}
