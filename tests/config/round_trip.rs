//! Written settings read back the same, in every format.

use super::{json, toml, yaml};
use conpool::{Backoff, Fairness, HealthCheck, PoolConfig};
use proptest::{option, prelude::*};
use std::{ops::RangeInclusive, time::Duration};

#[track_caller]
fn comes_back(config: &PoolConfig) {
    let written = toml::to_string(config).unwrap();
    assert_eq!(&toml(&written), config, "{written}");
    let written = serde_saphyr::to_string(config).unwrap();
    assert_eq!(&yaml(&written), config, "{written}");
    let written = serde_json::to_string(config).unwrap();
    assert_eq!(&json(&written), config, "{written}");
}

#[test]
fn the_defaults_are_written_as_a_person_would() {
    let text = toml::to_string(&PoolConfig::new()).unwrap();
    assert_eq!(
        text,
        r#"name = "pool"
max_size = 10
min_idle = 0
max_idle = "unlimited"
get_timeout = "30s"
idle_timeout = "10m"
max_lifetime = "30m"
lifetime_jitter = 0.1
max_uses = "never"
health_check = "500ms"
check_timeout = "5s"
keepalive_interval = "never"
create_timeout = "30s"
dispose_timeout = "5s"
max_creating = 4
fail_fast = false
max_waiters = "unlimited"
fairness = "500us"
leak_threshold = "never"
idle_order = "sticky"
leak_action = "report"
suspended = false
on_suspend = "wait"
background_collector = true

[backoff]
initial = "50ms"
factor = 2.0
max = "5s"
jitter = 0.2
"#
    );
    comes_back(&PoolConfig::new());
}

#[test]
fn a_name_that_looks_like_something_else_stays_a_name() {
    for name in [
        "5", "null", "~", "true", "never", "a: b", "# a", "\"", "a\\nb", " x ", "naïve",
    ] {
        let mut config = PoolConfig::new();
        config.name = name.into();
        comes_back(&config);
    }
}

/// Any duration above zero, up to the longest.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..=u64::MAX, 1..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        (1..100_000u64).prop_map(Duration::from_secs),
        Just(Duration::MAX),
    ]
}

/// In hundredths, which every format reads exactly. By default `serde_json` may miss the last bit of longer
/// fractions.
fn hundredths(range: RangeInclusive<u32>) -> impl Strategy<Value = f64> {
    range.prop_map(|hundredths| f64::from(hundredths) / 100.0)
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    prop_oneof![
        Just(HealthCheck::Never),
        Just(HealthCheck::OnCheckout),
        Just(HealthCheck::AfterIdle(Duration::ZERO)),
        duration().prop_map(HealthCheck::AfterIdle),
    ]
}

fn fairness() -> impl Strategy<Value = Fairness> {
    prop_oneof![
        Just(Fairness::Strict),
        Just(Fairness::Eventual(Duration::ZERO)),
        duration().prop_map(Fairness::Eventual),
    ]
}

fn backoff() -> impl Strategy<Value = Backoff> {
    (
        duration(),
        duration(),
        hundredths(100..=1000),
        hundredths(0..=100),
    )
        .prop_map(|(one, two, factor, jitter)| {
            Backoff::default()
                .with_initial(one.min(two))
                .with_max(one.max(two))
                .with_factor(factor)
                .with_jitter(jitter)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_valid_configuration_comes_back(
        sizes in (1..1_000_000usize, 0..1_000_000usize, 1..100usize),
        limits in (option::of(1..=i64::MAX as u64), option::of(0..1000usize)),
        required in (duration(), duration(), duration(), duration()),
        optional in (
            option::of(duration()),
            option::of(duration()),
            option::of(duration()),
            option::of(duration()),
        ),
        choices in (health_check(), fairness(), any::<bool>()),
        backoff in backoff(),
        share in hundredths(0..=100),
    ) {
        let mut config = PoolConfig::new();
        config.max_size = sizes.0;
        config.min_idle = sizes.1.min(sizes.0);
        config.max_creating = sizes.2;
        (config.max_uses, config.max_waiters) = limits;
        (
            config.get_timeout,
            config.check_timeout,
            config.create_timeout,
            config.dispose_timeout,
        ) = required;
        (
            config.idle_timeout,
            config.max_lifetime,
            config.keepalive_interval,
            config.leak_threshold,
        ) = optional;
        (config.health_check, config.fairness, config.background_collector) = choices;
        config.backoff = backoff;
        config.lifetime_jitter = share;
        prop_assert_eq!(config.validate(), Ok(()));
        comes_back(&config);
    }
}
