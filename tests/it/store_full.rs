//! A full disk: nothing is acknowledged that is not stored, and accepting goes on by itself when there is room.
//!
//! Needs a small file system of its own, which takes the right to mount one; without it the test says that it is
//! skipped.

use std::path::Path;
use std::process::Command;

use amtsbote::store::embedded::{self, EmbeddedStore, Settings};
use amtsbote::store::{Store, StoreError};

use crate::store_fixture::*;
use crate::tools;

/// A mounted memory file system; unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("mount: {error}"),
        };
        tools::is_missing(&why, "no disk is filled to the brim");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn fill(store: &EmbeddedStore, name: &str) -> (Vec<Draft>, StoreError) {
    let mut stored = Vec::new();
    for n in 0..2000_u64 {
        let length = if n % 5 == 0 { 200_000 } else { 20_000 };
        let draft = Draft { content: content(n, length), ..draft(&format!("{name}{n}")) };
        match draft.send(store).await {
            Ok(_) => stored.push(draft),
            Err(error) => return (stored, error),
        }
    }
    panic!("the disk is never full");
}

async fn assert_there(store: &EmbeddedStore, drafts: &[Draft]) {
    for draft in drafts {
        assert_eq!(
            payload_of(store, &draft.id, 0, u64::MAX).await.expect("bytes"),
            draft.content,
            "{}",
            draft.id
        );
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn accepting_stops_before_the_reserve_is_touched() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let folder = disk.path().join("store");
    run(async {
        let settings = Settings { disk_reserve_bytes: 8 << 20, ..Settings::new(&folder) };
        let ballast = disk.path().join("ballast");
        std::fs::write(&ballast, vec![1; 12 << 20]).expect("written");
        let store = EmbeddedStore::open(settings).expect("a store");
        let (stored, refusal) = fill(&store, "a").await;
        assert!(
            matches!(refusal, StoreError::Full { free, reserve } if free < reserve + 300_000),
            "{refusal}"
        );
        // What was refused may have been large and left room for a small one.
        let more = disk.path().join("more");
        std::fs::write(&more, vec![1; 400 << 10]).expect("written");
        let health = store.health().await.expect("health");
        assert!(!health.accepting && health.reason.contains("full"), "{health:?}");
        // A reply that a recipient was asked for is kept.
        assert!(matches!(store.payload_writer().await.err(), Some(StoreError::Full { .. })));
        drop(store.reply_writer().await.expect("half of the reserve"));
        std::fs::remove_file(&more).expect("removed");
        // What frees room is still allowed.
        let first = &stored[0];
        let event = amtsbote::domain::state::Event::Expired;
        store
            .change(amtsbote::store::Change { id: first.id.clone(), ..change("x", event, 1) })
            .await
            .expect("expired");
        store.purge_payload(&first.id, at(2)).await.expect("purged");
        std::fs::remove_file(&ballast).expect("removed");
        draft("after").send(&store).await.expect("accepting goes on by itself");
        assert!(store.health().await.expect("health").accepting);
        assert_there(&store, &stored[1..]).await;
        store.close().await.expect("closed");
    });
    let report = embedded::verify(&folder).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn a_disk_without_a_byte_loses_nothing() {
    let Some(disk) = SmallDisk::mount(30) else { return };
    let folder = disk.path().join("store");
    run(async {
        let settings = Settings { disk_reserve_bytes: 0, ..Settings::new(&folder) };
        let ballast = disk.path().join("ballast");
        std::fs::write(&ballast, vec![1; 14 << 20]).expect("written");
        let store = EmbeddedStore::open(settings).expect("a store");
        let mut all = Vec::new();
        for round in ["a", "b", "c"] {
            let (stored, refusal) = fill(&store, round).await;
            let honest = matches!(
                refusal,
                StoreError::Full { .. } | StoreError::Unavailable(_) | StoreError::Payload(_)
            );
            assert!(honest, "{refusal:?}");
            all.extend(stored);
            assert_there(&store, &all).await;
            // A little more room each time.
            let left = std::fs::metadata(&ballast).expect("the ballast").len().saturating_sub(3 << 20);
            std::fs::File::options()
                .write(true)
                .open(&ballast)
                .expect("open")
                .set_len(left)
                .expect("shorter");
        }
        assert!(all.len() > 30, "{}", all.len());
        // Enough for the whole log to move into the database, however far that has come.
        std::fs::remove_file(&ballast).expect("removed");
        draft("after").send(&store).await.expect("accepting goes on by itself");
        store.close().await.expect("closed");
    });
    let report = embedded::verify(&folder).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
}
