//! Requests of OSCI dialogs, in any order, repeated, stale and forged, against the plain model that random tests use.
//!
//! Whatever is asked, the door and its model must answer alike, and the store must hold what the model holds. Input: two
//! bytes for each operation.
#![no_main]

use std::sync::atomic::Ordering;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/osci_form.rs"]
mod osci_form;
#[path = "../../tests/it/osci_office.rs"]
#[allow(dead_code)]
mod osci_office;
#[path = "../../tests/it/osci_operations.rs"]
mod osci_operations;
#[path = "../../tests/it/osci_oracle.rs"]
#[allow(dead_code)]
mod osci_oracle;

/// Longer runs find nothing that several short ones do not.
const OPERATIONS_MAX: usize = 32;

fuzz_target!(
    init: {
        osci_office::QUICK.store(true, Ordering::Relaxed);
        osci_office::keys("author-cipher");
    },
    |input: &[u8]| {
        let (operations, _) = input.as_chunks::<2>();
        let operations = operations.get(..OPERATIONS_MAX).unwrap_or(operations);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(osci_operations::run(operations));
    }
);
