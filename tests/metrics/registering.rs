//! When and with which recorder metrics are registered, and the effect of a faulty recorder on a pool.

use crate::common::{SOON, close_clean, fill, quick, spawn, take};
use crate::recorder::TestRecorder;
use ::metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use conpool::{MemoryManager, PoolMetrics, PoolStats, PooledConnection};
use std::sync::{Arc, Barrier, OnceLock};

#[test]
fn metrics_are_registered_once_and_not_looked_up_at_every_event() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    let pool = quick("kept")
        .observer(metrics.clone())
        .build(backend.clone())
        .unwrap();
    for _ in 0..50 {
        drop(pool.get().unwrap());
        metrics.publish(&pool.stats());
    }
    PooledConnection::discard(pool.get().unwrap());
    close_clean(&pool, &backend);
    let registered = recorder.registered();
    assert!(
        registered.values().all(|times| *times == 1),
        "{registered:?}"
    );
    assert_eq!(recorder.samples("kept", "use_time").len(), 51);
}

#[test]
fn metrics_are_described_once_for_all_pools() {
    let recorder = TestRecorder::default();
    let metrics = recorder.metrics();
    for pool in ["one", "two", "three"] {
        metrics.publish_as(pool, &PoolStats::default());
    }
    assert_eq!(recorder.describing() as usize, recorder.described().len());
}

#[test]
fn threads_that_meet_a_name_at_once_count_into_the_same_metrics() {
    for round in 0..20 {
        let recorder = TestRecorder::default();
        let metrics = recorder.metrics();
        let (pool, start) = (format!("met-{round}"), Arc::new(Barrier::new(4)));
        let pools: Vec<_> = (0..4)
            .map(|_| {
                let builder = quick(&pool).observer(metrics.clone());
                let start = Arc::clone(&start);
                spawn(move || {
                    start.wait();
                    let pool = builder.build(MemoryManager::new()).unwrap();
                    drop(pool.get().unwrap());
                })
            })
            .collect();
        pools.into_iter().for_each(|pool| pool.join_soon());
        assert_eq!(recorder.samples(&pool, "create_time").len(), 4);
        assert_eq!(recorder.samples(&pool, "use_time").len(), 4);
    }
}

#[test]
fn without_a_recorder_of_its_own_it_tells_the_global_one() {
    let recorder = TestRecorder::default();
    ::metrics::set_global_recorder(recorder.clone()).unwrap();
    let metrics = PoolMetrics::default();
    let builder = quick("global").observer(metrics.clone());
    let pool = builder.build(MemoryManager::new()).unwrap();
    let held = take(&pool, 2);
    metrics.publish(&pool.stats());
    assert_eq!(recorder.in_state("global", "used"), 2.0);
    assert_eq!(recorder.samples("global", "create_time").len(), 2);
    drop(held);
    // Metrics with a recorder of their own do not use the global one.
    let own = TestRecorder::default();
    own.metrics().publish_as("elsewhere", &pool.stats());
    assert!(own.has("elsewhere") && !recorder.has("elsewhere"));
}

/// Makes counters and histograms that panic.
struct PanickingRecorder;

struct Fuse;

impl CounterFn for Fuse {
    fn increment(&self, _: u64) {
        panic!("the recorder has a bad day");
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Fuse {
    fn record(&self, _: f64) {
        panic!("the recorder has a bad day");
    }
}

impl Recorder for PanickingRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Fuse))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Fuse))
    }
}

#[test]
fn a_recorder_that_panics_costs_no_connection() {
    let backend = MemoryManager::new();
    let metrics = PoolMetrics::new().recorder(PanickingRecorder);
    let pool = quick("bombed")
        .max_size(2)
        .observer(metrics.clone())
        .build(backend.clone())
        .unwrap();
    fill(&pool, 2);
    PooledConnection::discard(pool.get().unwrap());
    drop(take(&pool, 2));
    assert_eq!(backend.counters().created, 3);
    assert!(pool.stats().panics >= 8, "{}", pool.stats());
    metrics.publish(&pool.stats());
    close_clean(&pool, &backend);
}

/// Publishes another pool whenever something is registered.
struct Nested(TestRecorder, Arc<OnceLock<PoolMetrics>>);

impl Nested {
    fn again(&self) {
        if let Some(metrics) = self.1.get().filter(|_| !self.0.has("inner")) {
            metrics.publish_as("inner", &PoolStats::default());
        }
    }
}

impl Recorder for Nested {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.again();
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.0.register_histogram(key, metadata)
    }
}

#[test]
fn a_recorder_may_come_back_while_it_registers() {
    let (recorder, itself) = (TestRecorder::default(), Arc::new(OnceLock::new()));
    let metrics = PoolMetrics::new().recorder(Nested(recorder.clone(), Arc::clone(&itself)));
    itself.set(metrics.clone()).unwrap();
    let backend = MemoryManager::new();
    let outer = spawn(move || {
        let pool = quick("outer").observer(metrics).build(backend).unwrap();
        pool.close_timeout(SOON).unwrap();
    });
    outer.join_soon();
    assert!(recorder.has("outer") && recorder.has("inner"));
}
