//! Random operations on a pool, compared with a naive reference after each.
//!
//! `PROPTEST_CASES` sets how many runs each property makes. A run that fails is shrunk to its shortest
//! form; what it shows goes to `model_regressions.rs` under a name.

use crate::model;

use model::{Settings, operations, run, settings};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestCaseError},
};

/// So many runs, unless the environment says otherwise.
fn cases(number: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let mut config = ProptestConfig::default();
    config.cases = if asked { config.cases } else { number };
    // A run with threads that disagrees is waited for each time it is tried.
    config.max_shrink_time = 60_000;
    // Beside this file; the default looks for a library's sources, and warns.
    let beside = FileFailurePersistence::WithSource("proptest-regressions");
    config.failure_persistence = Some(Box::new(beside));
    config
}

fn agrees(settings: &Settings, operations: &[model::Op]) -> Result<(), TestCaseError> {
    run(settings, operations).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Everything happens on the calling thread, so the comparison is exact and immediate.
    #[test]
    fn a_pool_without_a_collector_does_what_the_reference_does(
        settings in settings(false),
        operations in operations(50),
    ) {
        agrees(&settings, &operations)?;
    }
}

proptest! {
    #![proptest_config(cases(600))]

    /// Compared whenever the threads of the pool have nothing left to do.
    #[test]
    fn a_pool_with_a_collector_comes_to_rest_where_the_reference_is(
        settings in settings(true),
        operations in operations(40),
    ) {
        agrees(&settings, &operations)?;
    }
}
