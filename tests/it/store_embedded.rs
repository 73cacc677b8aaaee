//! The embedded engine passes the conformance suite, and keeps promises of its own.

use std::sync::Arc;

use amtsbote::store::Store;
use amtsbote::store::embedded::{self, EmbeddedStore, OpenError, Settings, Synchronous};

use crate::store_conformance::{self, Bench};
use crate::store_dialogs::dialog;
use crate::store_fixture::{at, draft};

/// A store in a folder of its own; opening again finds what was closed.
pub struct Embedded {
    folder: tempfile::TempDir,
}

impl Embedded {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn settings(&self) -> Settings {
        // The suite asks for behaviour; what survives a crash is asked of `Full` elsewhere.
        let synchronous = Synchronous::Normal;
        Settings { disk_reserve_bytes: 0, synchronous, ..Settings::new(self.folder.path()) }
    }
}

impl Bench for Embedded {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(self.settings()).expect("a store"))
    }
}

#[test]
fn conforms() {
    store_conformance::run_all(|| Box::new(Embedded::new()));
}

/// Version 1 knew no dialogs, bonds, notes and statements, and held everything else as it is.
#[tokio::test]
async fn a_store_of_version_1_is_upgraded_when_told_to() {
    let bench = Embedded::new();
    let store = bench.open();
    draft("a").send(&*store).await.expect("accepted");
    let before = store.messages(&Default::default()).await.expect("messages");
    store.close().await.expect("closed");
    let folder = bench.settings().folder;
    let database = rusqlite::Connection::open(folder.join("amtsbote.sqlite")).expect("a database");
    let back = "DROP INDEX message_posted; DROP TABLE dialog; DROP TABLE dialog_delivery; DROP TABLE time_stamp; \
         DROP TABLE statement; ALTER TABLE used DROP COLUMN issued_to; ALTER TABLE used DROP COLUMN sealed; \
         ALTER TABLE message DROP COLUMN push_note; \
         DROP INDEX message_destination; ALTER TABLE message DROP COLUMN destination; \
         PRAGMA user_version = 1;";
    database.execute_batch(back).expect("version 1");
    drop(database);
    let refused = EmbeddedStore::open(bench.settings()).err();
    assert!(matches!(refused, Some(OpenError::Older { found: 1, .. })), "{refused:?}");
    let (from, to) = embedded::upgrade(&folder).expect("upgraded");
    assert!(from == 1 && to >= 3, "{from} {to}");
    let store = bench.open();
    assert_eq!(store.messages(&Default::default()).await.expect("messages"), before);
    store.open_dialog(&dialog(1)).await.expect("opened");
    assert!(store.dialog(&dialog(1).id, at(50)).await.expect("an answer").is_some());
    store.close().await.expect("closed");
}
