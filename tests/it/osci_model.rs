//! Random requests of OSCI dialogs against an intermediary and against a plain model of it: both must answer alike.

use proptest::prelude::*;

use crate::osci_operations::run;

fn check(operations: &[[u8; 2]]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(operations));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn dialogs_and_their_model_answer_alike(operations in prop::collection::vec(any::<[u8; 2]>(), 1..40)) {
        check(&operations);
    }
}

/// A life in order, and what is out of order in each of its places.
#[test]
fn a_life_with_trouble_in_it() {
    let life =
        [[0, 0], [3, 0], [3, 0], [5, 0], [0, 2], [8, 2], [8, 2], [5, 4], [8, 2], [12, 2], [2, 2], [2, 0]];
    for trouble in [[13, 3], [13, 5], [14, 2], [15, 2], [16, 2], [17, 0], [18, 0x80], [19, 0]] {
        for at in [4, 6, 8] {
            let (before, after) = life.split_at(at);
            check(&[before, &[trouble], after].concat());
        }
    }
}
