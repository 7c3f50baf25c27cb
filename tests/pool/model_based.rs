//! Random operations on a pool, compared with a reference model after each.
//!
//! `PROPTEST_CASES` sets the number of runs of each property. A failed run is shrunk to its shortest form and
//! then goes to `model_regressions.rs` under a name.

use crate::model;

use model::{Settings, operations, run, settings};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestCaseError},
};

/// The number of runs, unless the environment sets another.
fn cases(number: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let mut config = ProptestConfig::default();
    config.cases = if asked { config.cases } else { number };
    // A failing run with threads waits for agreement each time it is tried.
    config.max_shrink_time = 60_000;
    // Beside this file; the default expects a library's sources, and warns.
    let beside = FileFailurePersistence::WithSource("proptest-regressions");
    config.failure_persistence = Some(Box::new(beside));
    config
}

fn agrees(settings: &Settings, operations: &[model::Op]) -> Result<(), TestCaseError> {
    run(settings, operations).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(cases(700))]

    /// All work happens on the calling thread, so the comparison is exact and immediate.
    #[test]
    fn a_pool_without_a_collector_does_what_the_reference_does(
        settings in settings(false),
        operations in operations(50),
    ) {
        agrees(&settings, &operations)?;
    }
}

proptest! {
    #![proptest_config(cases(250))]

    /// Compares whenever the threads of the pool are idle.
    #[test]
    fn a_pool_with_a_collector_comes_to_rest_where_the_reference_is(
        settings in settings(true),
        operations in operations(40),
    ) {
        agrees(&settings, &operations)?;
    }
}
