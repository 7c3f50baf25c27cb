//! Typical settings of several kinds of services: read, built, and tried on a pool.

use super::{json, toml, yaml};
use crate::common::{close_clean, eventually, fill, secs, take};
use conpool::{
    ConbusSocketManager, EvictReason, KeyedPoolBuilder, ManualClock, MemoryManager, Pool,
    PoolBuilder, PoolConfig,
};
use std::time::Duration;

struct Preset {
    pool: Pool<MemoryManager>,
    backend: MemoryManager,
    clock: ManualClock,
}

impl Preset {
    #[track_caller]
    fn new(config: &PoolConfig) -> Self {
        let backend = MemoryManager::new();
        let clock = ManualClock::new();
        let pool = PoolBuilder::from(config.clone())
            .clock(clock.clone())
            .build(backend.clone())
            .unwrap();
        Self {
            pool,
            backend,
            clock,
        }
    }

    /// Asserts that exactly `max` connections can be in use at once.
    #[track_caller]
    fn lends_at_most(&self, max: usize) {
        let held = take(&self.pool, max);
        let error = self.pool.get_timeout(Duration::ZERO).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(self.backend.counters().open, max);
        drop(held);
        eventually(|| self.pool.stats().idle == max);
    }

    /// Asserts that exactly this many idle connections outlive the idle timeout.
    #[track_caller]
    fn keeps_at_least(&self, min: usize, idle_timeout: u64) {
        // A connection that the refill opened later would not have been idle for long enough.
        eventually(|| self.pool.stats().creating == 0);
        self.clock.advance(secs(idle_timeout) - secs(1));
        self.pool.sweep();
        assert_eq!(self.pool.stats().evicted(EvictReason::IdleTimeout), 0);
        self.clock.advance(secs(2));
        // `size` instead of `idle`: the collector may have taken some of them for a check.
        eventually(|| self.pool.stats().size == min);
        self.pool.sweep();
        assert_eq!(self.pool.stats().size, min);
    }

    /// Asserts that an idle connection that dies is found and replaced within this interval.
    #[track_caller]
    fn finds_a_dead_one(&self, interval: u64) {
        eventually(|| self.pool.stats().idle > 0);
        let before = self.pool.stats().evicted(EvictReason::CheckFailed);
        let checked = self.backend.counters().checked;
        self.clock.advance(secs(interval) - secs(1));
        self.pool.sweep();
        assert_eq!(self.backend.counters().checked, checked, "checked too soon");
        self.backend.kill_all();
        self.clock.advance(secs(2));
        eventually(|| self.pool.stats().evicted(EvictReason::CheckFailed) > before);
        let min_idle = self.pool.config().min_idle;
        eventually(|| self.pool.stats().idle >= min_idle);
    }

    #[track_caller]
    fn close(self) {
        close_clean(&self.pool, &self.backend);
    }
}

#[test]
fn one_connection_for_six_hours() {
    let config = toml(
        r#"
        name = "conbus"
        min_connections = 1
        max_connections = 1
        idle_timeout = "6h"
        max_lifetime = "6h"
        "#,
    );
    assert_eq!(config, ConbusSocketManager::pool_config());
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 1);
    preset.lends_at_most(1);
    preset.clock.advance(secs(5 * 3600));
    preset.pool.sweep();
    assert_eq!(preset.backend.counters().created, 1);
    preset.clock.advance(secs(3600 + 1));
    eventually(|| preset.backend.counters().created == 2);
    eventually(|| preset.pool.stats().idle == 1);
    assert_eq!(preset.backend.counters().peak_open, 1);
    preset.close();
}

#[test]
fn ten_of_which_two_stay_checked_every_minute() {
    let config = yaml(
        "
        max_connections: 10
        min_connections: 2
        acquire_timeout: 30s
        idle_timeout: 300s
        health_check_interval: 60s
        ",
    );
    assert_eq!(config.get_timeout, secs(30));
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 2);
    preset.finds_a_dead_one(60);
    preset.close();

    let preset = Preset::new(&config);
    preset.lends_at_most(10);
    preset.keeps_at_least(2, 300);
    preset.close();
}

#[test]
fn a_websocket_service() {
    let config =
        json(r#"{ "maxConnections": 5, "minConnections": 1, "healthCheckInterval": "30s" }"#);
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 1);
    preset.finds_a_dead_one(30);
    preset.lends_at_most(5);
    preset.close();
}

#[test]
fn an_http_service() {
    let config = yaml("max_connections: 20\nmin_connections: 5\nmax_idle_time: 600 s\n");
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 5);
    fill(&preset.pool, 8);
    preset.keeps_at_least(5, 600);
    preset.lends_at_most(20);
    preset.close();
}

#[test]
fn ten_of_which_two_stay_and_a_minute_to_connect() {
    let config = json(r#"{ "max_size": 10, "min_idle": 2, "connect_timeout": "1m" }"#);
    assert_eq!(config.create_timeout, secs(60));
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 2);
    preset.lends_at_most(10);
    preset.close();
}

#[test]
fn thirty_to_each_host_of_an_http_client() {
    let config = toml(
        r#"
        total_max_size = 100
        max_per_host = 30
        connect_timeout = "10s"
        acquire_timeout = "30s"
        "#,
    );
    assert_eq!(
        (config.create_timeout, config.get_timeout),
        (secs(10), secs(30))
    );
    let alone = PoolBuilder::from(config.clone()).build(MemoryManager::new());
    let error = alone.unwrap_err().to_string();
    assert!(
        error.contains("max_total = 100: belongs to a KeyedPool"),
        "{error}"
    );
    let hosts = KeyedPoolBuilder::<String, MemoryManager>::from(config);
    let hosts = hosts.build(|_| MemoryManager::new()).unwrap();
    let host = |n: usize| format!("host-{}", n / 30);
    let held: Vec<_> = (0..100).map(|n| hosts.get(&host(n)).unwrap()).collect();
    assert_eq!(hosts.stats().in_use, 100);
    assert!(hosts.try_get(&host(0)).is_none());
    let full = hosts.get_timeout(&host(0), Duration::from_millis(20));
    assert!(full.unwrap_err().is_timeout(), "30 of one host");
    let full = hosts.get_timeout(&host(99), Duration::from_millis(20));
    assert!(full.unwrap_err().is_timeout(), "100 in total");
    drop(held);
    hosts.close_timeout(secs(5)).unwrap();
}

#[test]
fn a_database() {
    let config = toml(
        r#"
        max_connections = 10
        min_connections = 1
        connection_max_age = "600s"
        acquire_timeout = "5s"
        health_check_interval = "60s"
        "#,
    );
    assert_eq!(config.get_timeout, secs(5));
    let preset = Preset::new(&config);
    assert_eq!(preset.pool.stats().idle, 1);
    preset.finds_a_dead_one(60);
    preset.clock.advance(secs(601));
    eventually(|| preset.pool.stats().evicted(EvictReason::MaxLifetime) == 1);
    eventually(|| preset.pool.stats().idle == 1);
    preset.lends_at_most(10);
    preset.close();
}
