//! Names, kinds, units and attributes.

use crate::common::quick;
use crate::recorder::TestRecorder;
use ::metrics::Unit;
use conpool::{EvictReason, MemoryManager, PoolMetrics, PoolStats};
use std::collections::BTreeSet;

/// From the conventions for database clients; gauges replace their up-down counters.
const CONVENTIONS: [(&str, &str, Unit); 9] = [
    ("count", "gauge", Unit::Count),
    ("idle.max", "gauge", Unit::Count),
    ("idle.min", "gauge", Unit::Count),
    ("max", "gauge", Unit::Count),
    ("pending_requests", "gauge", Unit::Count),
    ("timeouts", "counter", Unit::Count),
    ("create_time", "histogram", Unit::Seconds),
    ("wait_time", "histogram", Unit::Seconds),
    ("use_time", "histogram", Unit::Seconds),
];

const OURS: [(&str, &str, Unit); 8] = [
    ("creating", "gauge", Unit::Count),
    ("disposing", "gauge", Unit::Count),
    ("abandoned", "gauge", Unit::Count),
    ("evictions", "counter", Unit::Count),
    ("create_errors", "counter", Unit::Count),
    ("saturated", "counter", Unit::Count),
    ("panics", "counter", Unit::Count),
    ("leaks", "counter", Unit::Count),
];

#[test]
fn every_metric_has_the_name_kind_and_unit_of_the_conventions_and_ours_have_the_same_form() {
    let recorder = TestRecorder::default();
    recorder.metrics().publish(&PoolStats::default());
    let mut described = recorder.described();
    for (name, kind, unit) in CONVENTIONS.into_iter().chain(OURS) {
        let full = format!("db.client.connection.{name}");
        let found = described
            .remove(&full)
            .unwrap_or_else(|| panic!("no {full}"));
        assert_eq!((found.kind, found.unit), (kind, Some(unit)), "{full}");
        assert!(found.help.ends_with('.'), "{full}: {}", found.help);
    }
    assert!(described.is_empty(), "more than expected: {described:?}");
}

#[test]
fn what_is_registered_is_what_is_described_and_in_that_order() {
    let recorder = TestRecorder::default();
    recorder.metrics().publish(&PoolStats::default());
    assert!(recorder.registered_before_described().is_empty());
    let keys = recorder.keys();
    let registered: BTreeSet<_> = keys
        .iter()
        .map(|key| key.split('{').next().unwrap())
        .collect();
    let described = recorder.described();
    let described: BTreeSet<_> = described.keys().map(String::as_str).collect();
    assert_eq!(registered, described);
}

#[test]
fn the_pool_is_an_attribute_of_every_metric_and_state_and_reason_of_theirs() {
    let recorder = TestRecorder::default();
    let pool = quick("orders").build(MemoryManager::new()).unwrap();
    recorder.metrics().publish(&pool.stats());
    let mut expected = Vec::new();
    for (name, ..) in CONVENTIONS.into_iter().chain(OURS) {
        let mut attributes = match name {
            "count" => vec![",db.client.connection.state=idle".to_owned()],
            "evictions" => EvictReason::ALL
                .iter()
                .map(|reason| format!(",db.client.connection.reason={reason}"))
                .collect(),
            _ => vec![String::new()],
        };
        if name == "count" {
            attributes.push(",db.client.connection.state=used".to_owned());
        }
        expected.extend(attributes.into_iter().map(|attribute| {
            format!(
                "db.client.connection.{name}{{db.client.connection.pool.name=orders{attribute}}}"
            )
        }));
    }
    expected.sort_unstable();
    assert_eq!(recorder.keys(), expected);
}

#[test]
fn another_prefix_goes_into_metrics_and_attributes_and_none_leaves_the_rest() {
    for (prefix, key) in [
        (
            "conpool",
            "conpool.count{conpool.pool.name=p,conpool.state=idle}",
        ),
        ("", "count{pool.name=p,state=idle}"),
    ] {
        // Prefix and recorder may come in either order.
        for recorder_first in [false, true] {
            let (recorder, new) = (TestRecorder::default(), PoolMetrics::new());
            let metrics = match recorder_first {
                true => new.recorder(recorder.clone()).prefix(prefix),
                false => new.prefix(prefix).recorder(recorder.clone()),
            };
            metrics.publish_as("p", &PoolStats::default());
            assert!(
                recorder.keys().contains(&key.to_owned()),
                "{:?}",
                recorder.keys()
            );
        }
    }
}

#[test]
fn debug_tells_the_prefix_and_the_pools_in_order() {
    let metrics = TestRecorder::default().metrics();
    for pool in ["orders", "devices"] {
        metrics.publish_as(pool, &PoolStats::default());
    }
    assert_eq!(
        format!("{metrics:?}"),
        r#"PoolMetrics { prefix: "db.client.connection", pools: ["devices", "orders"], .. }"#
    );
}
