//! Operations on the store against the plain model that its random tests use.
//!
//! Whatever the order, both must answer alike, and at the end the store must verify: records, cards, payloads,
//! counters and timers. Input: two bytes for each operation.
#![no_main]

use std::sync::Arc;

use amtsbote::store::Store;
use amtsbote::store::embedded::{self, EmbeddedStore, Settings, Synchronous};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/store_fixture.rs"]
#[allow(dead_code)]
mod store_fixture;
#[path = "../../tests/it/store_oracle.rs"]
mod store_oracle;

use store_oracle::{EVENTS, NAMES, Operation};

/// Longer runs find nothing that several short ones do not.
const OPERATIONS_MAX: usize = 64;

fn operation(bytes: &[u8]) -> Option<Operation> {
    let (&[what, with], n) = (bytes.first_chunk::<2>()?, bytes.get(1)? % NAMES);
    Some(match what % 32 {
        0..8 => Operation::Send { n, other_bytes: with & 0x80 != 0, held: with & 0x40 != 0 },
        kind @ 8..20 => Operation::Change { n, event: EVENTS[usize::from(kind - 8)] },
        20..26 => Operation::PurgePayload { n },
        26..31 => Operation::PurgeCard { n },
        _ => Operation::Reopen,
    })
}

fuzz_target!(|input: &[u8]| {
    let operations: Vec<Operation> = input.chunks(2).filter_map(operation).take(OPERATIONS_MAX).collect();
    let memory = std::path::Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder");
    let open = || -> Arc<dyn Store> {
        let settings = Settings {
            disk_reserve_bytes: 0,
            synchronous: Synchronous::Normal,
            ..Settings::new(folder.path())
        };
        Arc::new(EmbeddedStore::open(settings).expect("a store"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(store_oracle::run(operations, &open));
    drop(runtime);
    let report = embedded::verify(folder.path()).expect("verified");
    assert!(report.is_sound(), "{:?}", report.problems);
});
