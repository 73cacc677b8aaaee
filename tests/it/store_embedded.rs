//! The embedded engine passes the conformance suite, and keeps promises of its own.

use std::sync::Arc;

use amtsbote::store::Store;
use amtsbote::store::embedded::{EmbeddedStore, Settings, Synchronous};

use crate::store_conformance::{self, Bench};

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
