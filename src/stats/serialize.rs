//! Serializes statistics, for a log line or a status page.

use super::{Latency, PoolStats};
use crate::event::EvictReason;
use crate::info::Holder;
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Serializes durations as seconds, in the entries `mean`, `p50`, `p90`, `p99` and `max`.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Latency", 6)?;
        fields.serialize_field("count", &self.count)?;
        for (name, duration) in [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("max", self.max),
        ] {
            fields.serialize_field(name, &duration.as_secs_f64())?;
        }
        fields.end()
    }
}

/// Serializes the time as `held`, in seconds, and leaves out `since`.
impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Holder", 5)?;
        fields.serialize_field("connection_id", &self.connection_id)?;
        fields.serialize_field("file", self.file)?;
        fields.serialize_field("line", &self.line)?;
        fields.serialize_field("thread", &self.thread)?;
        fields.serialize_field("held", &self.held.as_secs_f64())?;
        fields.end()
    }
}

/// Serializes every public field by its name, and `name`, `window`, `utilization`, `reuse_rate` and `error_rate`.
///
/// Durations are numbers of seconds. `evicted` is a map from each reason, in snake case, to its count,
/// including zeros. `last_error` is the text alone, because an `Instant` has no meaning outside of its
/// process. `window` is null unless [`since`](PoolStats::since) made the statistics.
impl Serialize for PoolStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("PoolStats", 36)?;
        macro_rules! write {
            ($($field:ident)+) => {
                $(fields.serialize_field(stringify!($field), &self.$field)?;)+
            };
        }
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("window", &self.window.map(|window| window.as_secs_f64()))?;
        write!(max_size min_idle size idle in_use creating disposing abandoned waiters);
        fields.serialize_field("health", self.health.as_str())?;
        write!(peak_in_use peak_waiters);
        fields.serialize_field("oldest_age", &self.oldest_age.map(|age| age.as_secs_f64()))?;
        write!(gets gets_waited timeouts saturated created create_errors check_failures);
        write!(disposed added detached panics longest_holders more_holders);
        fields.serialize_field("utilization", &self.utilization())?;
        fields.serialize_field("reuse_rate", &self.reuse_rate())?;
        fields.serialize_field("error_rate", &self.error_rate())?;
        let error = self.last_error.as_ref().map(|(_, text)| text);
        fields.serialize_field("last_error", &error)?;
        fields.serialize_field("evicted", &Evictions(self))?;
        write!(wait create held);
        fields.end()
    }
}

struct Evictions<'a>(&'a PoolStats);

impl Serialize for Evictions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = EvictReason::EACH.map(|reason| (reason.as_str(), self.0.evicted(reason)));
        serializer.collect_map(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::{Duration, Instant};

    #[test]
    fn every_public_field_is_written() {
        let stats = PoolStats::default();
        let written = serde_json::to_value(&stats).unwrap();
        let shown = format!("{stats:#?}");
        let fields = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .map(|(field, _)| field)
            .filter(|field| !field.starts_with(' '));
        let private = ["evictions", "reused", "checkouts", "failed_gets", "origin"];
        let mut seen = 0;
        for field in fields.filter(|field| !private.contains(field)) {
            assert!(written.get(field).is_some(), "{field} is missing");
            seen += 1;
        }
        let derived = ["utilization", "reuse_rate", "error_rate", "evicted"];
        assert!(derived.iter().all(|entry| written.get(entry).is_some()));
        assert_eq!(written.as_object().unwrap().len(), seen + derived.len());
    }

    #[test]
    fn durations_are_seconds_and_evictions_a_map() {
        let mut stats = PoolStats {
            name: "orders".into(),
            max_size: 8,
            in_use: 2,
            gets: 10,
            failed_gets: 1,
            oldest_age: Some(Duration::from_millis(1500)),
            last_error: Some((Instant::now(), "refused".into())),
            ..PoolStats::default()
        };
        stats.evictions[EvictReason::IdleTimeout.index()] = 3;
        stats.wait = Latency {
            count: 4,
            mean: Duration::from_micros(500),
            p50: Duration::from_millis(1),
            p90: Duration::from_millis(250),
            p99: Duration::from_secs(2),
            max: Duration::from_secs(3),
        };
        let written = serde_json::to_value(&stats).unwrap();
        assert_eq!(written["name"], "orders");
        assert_eq!(written["in_use"], 2);
        assert_eq!(written["gets"], 10);
        assert_eq!(written["oldest_age"], 1.5);
        assert_eq!(written["last_error"], "refused");
        assert_eq!(written["utilization"], 0.25);
        assert_eq!(written["error_rate"], 0.1);
        assert_eq!(
            written["wait"],
            json!({ "count": 4, "mean": 0.0005, "p50": 0.001, "p90": 0.25, "p99": 2.0, "max": 3.0 })
        );
        let evicted = written["evicted"].as_object().unwrap();
        assert_eq!(evicted.len(), EvictReason::EACH.len());
        assert_eq!(evicted["idle_timeout"], 3);
        assert_eq!(evicted["broken"], 0);
    }

    #[test]
    fn a_window_has_its_length_in_seconds() {
        let window = PoolStats {
            window: Some(Duration::from_millis(60_500)),
            ..PoolStats::default()
        };
        let written = serde_json::to_value(&window).unwrap();
        assert_eq!(written["window"], 60.5);
    }

    #[test]
    fn what_never_happened_is_null() {
        let written = serde_json::to_value(PoolStats::default()).unwrap();
        assert_eq!(written["oldest_age"], Value::Null);
        assert_eq!(written["last_error"], Value::Null);
        assert_eq!(written["window"], Value::Null);
        assert_eq!(written["held"]["count"], 0);
    }
}
