//! A recorder whose values a test can read.

use ::metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use conpool::{EvictReason, PoolMetrics};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// All registered metrics, by name and attributes: `count{pool.name=orders,state=idle}`.
#[derive(Clone, Default)]
pub(crate) struct TestRecorder(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    series: BTreeMap<String, Series>,
    described: BTreeMap<String, Described>,
    describing: u32,
    registered: BTreeMap<String, u32>,
    /// Names that were registered before they were described.
    early: Vec<String>,
}

#[derive(Clone)]
enum Series {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Samples>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) kind: &'static str,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: String,
}

#[derive(Default)]
pub(crate) struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl TestRecorder {
    /// Metrics under their default names that use this recorder.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        PoolMetrics::new().recorder(self.clone())
    }

    #[track_caller]
    fn of(&self, key: &str) -> Series {
        let inside = self.0.lock().unwrap();
        let series = inside.series.get(key).cloned();
        series.unwrap_or_else(|| panic!("no {key} in {:?}", inside.series.keys()))
    }

    #[track_caller]
    fn usual(&self, pool: &str, name: &str, attribute: &str) -> Series {
        let prefix = "db.client.connection";
        self.of(&format!(
            "{prefix}.{name}{{{prefix}.pool.name={pool}{attribute}}}"
        ))
    }

    #[track_caller]
    pub(crate) fn counter(&self, pool: &str, name: &str) -> u64 {
        self.usual(pool, name, "").count()
    }

    #[track_caller]
    pub(crate) fn evicted(&self, pool: &str, reason: EvictReason) -> u64 {
        let attribute = format!(",db.client.connection.reason={reason}");
        self.usual(pool, "evictions", &attribute).count()
    }

    #[track_caller]
    pub(crate) fn gauge(&self, pool: &str, name: &str) -> f64 {
        self.usual(pool, name, "").level()
    }

    #[track_caller]
    pub(crate) fn in_state(&self, pool: &str, state: &str) -> f64 {
        let attribute = format!(",db.client.connection.state={state}");
        self.usual(pool, "count", &attribute).level()
    }

    #[track_caller]
    pub(crate) fn samples(&self, pool: &str, name: &str) -> Vec<f64> {
        match self.usual(pool, name, "") {
            Series::Histogram(samples) => samples.0.lock().unwrap().clone(),
            _ => panic!("{name} is no histogram"),
        }
    }

    /// The keys of all registered metrics, in alphabetical order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().series.keys().cloned().collect()
    }

    pub(crate) fn has(&self, pool: &str) -> bool {
        let pool = format!("pool.name={pool}");
        self.keys().iter().any(|key| key.contains(&pool))
    }

    /// The number of registrations of each.
    pub(crate) fn registered(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap().registered.clone()
    }

    pub(crate) fn described(&self) -> BTreeMap<String, Described> {
        self.0.lock().unwrap().described.clone()
    }

    /// The number of descriptions.
    pub(crate) fn describing(&self) -> u32 {
        self.0.lock().unwrap().describing
    }

    pub(crate) fn registered_before_described(&self) -> Vec<String> {
        self.0.lock().unwrap().early.clone()
    }

    fn describe(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>, help: &str) {
        let help = help.to_owned();
        let mut inside = self.0.lock().unwrap();
        inside.describing += 1;
        let described = Described { kind, unit, help };
        inside.described.insert(name.as_str().to_owned(), described);
    }

    fn register(&self, key: &Key, new: impl FnOnce() -> Series) -> Series {
        let labels = key.labels().map(|label| (label.key(), label.value()));
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let text = format!("{}{{{}}}", key.name(), labels.join(","));
        let mut inside = self.0.lock().unwrap();
        if !inside.described.contains_key(key.name()) {
            inside.early.push(key.name().to_owned());
        }
        *inside.registered.entry(text.clone()).or_default() += 1;
        inside.series.entry(text).or_insert_with(new).clone()
    }
}

impl Series {
    #[track_caller]
    fn count(&self) -> u64 {
        match self {
            Self::Counter(value) => value.load(Relaxed),
            _ => panic!("no counter"),
        }
    }

    #[track_caller]
    fn level(&self) -> f64 {
        match self {
            Self::Gauge(value) => f64::from_bits(value.load(Relaxed)),
            _ => panic!("no gauge"),
        }
    }
}

impl Recorder for TestRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, "counter", unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, "gauge", unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, "histogram", unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.register(key, || Series::Counter(Arc::default())) {
            Series::Counter(value) => Counter::from_arc(value),
            _ => panic!("{key} was something else before"),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.register(key, || Series::Gauge(Arc::default())) {
            Series::Gauge(value) => Gauge::from_arc(value),
            _ => panic!("{key} was something else before"),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match self.register(key, || Series::Histogram(Arc::default())) {
            Series::Histogram(value) => Histogram::from_arc(value),
            _ => panic!("{key} was something else before"),
        }
    }
}
