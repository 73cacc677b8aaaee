//! Random operations against a store and against a plain model of it: both must answer alike, all the time.

use proptest::prelude::*;

use crate::store_conformance::Bench;
use crate::store_embedded::Embedded;
use crate::store_oracle::{EVENTS, NAMES, Operation, run};

fn operation() -> impl Strategy<Value = Operation> {
    let event = prop::sample::select(EVENTS.to_vec());
    let n = 0..NAMES;
    prop_oneof![
        4 => (n.clone(), prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(n, other_bytes, held)| Operation::Send { n, other_bytes, held }),
        10 => (n.clone(), event).prop_map(|(n, event)| Operation::Change { n, event }),
        2 => n.clone().prop_map(|n| Operation::PurgePayload { n }),
        1 => n.prop_map(|n| Operation::PurgeCard { n }),
        1 => Just(Operation::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_and_its_model_answer_alike(operations in prop::collection::vec(operation(), 1..60)) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let bench = Embedded::new();
        runtime.block_on(run(operations, &|| bench.open()));
        let report = amtsbote::store::embedded::verify(&bench.settings().folder).expect("verified");
        assert!(report.is_sound(), "{:?}", report.problems);
    }
}
