//! The settings of the tried pools.

use super::backend::Recorder;
use crate::common::{ms, quick_backoff, secs};
use conpool::{HealthCheck, IdleOrder, ManualClock, OnSuspend, Pool, PoolBuilder};
use proptest::prelude::*;
use std::time::Duration;

/// Times are in seconds.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "settings are independent of each other"
)]
pub(crate) struct Settings {
    pub(crate) collector: bool,
    pub(crate) lazy: bool,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) max_creating: usize,
    pub(crate) max_waiters: Option<usize>,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) max_lifetime: Option<u64>,
    pub(crate) lifetime_jitter: f64,
    pub(crate) max_uses: Option<u64>,
    pub(crate) check: Check,
    pub(crate) check_may_block: bool,
    pub(crate) keepalive: Option<u64>,
    pub(crate) leak_threshold: Option<u64>,
    /// Every connection needs a reset after its check-in.
    pub(crate) resets: bool,
    pub(crate) max_idle: Option<usize>,
    pub(crate) order: IdleOrder,
    pub(crate) on_suspend: OnSuspend,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    Never,
    Always,
    AfterIdle(u64),
}

impl Settings {
    /// A pool of two without limits, which tests adapt.
    pub(crate) const PLAIN: Self = Self {
        collector: false,
        lazy: true,
        max_size: 2,
        min_idle: 0,
        max_creating: 4,
        max_waiters: None,
        idle_timeout: None,
        max_lifetime: None,
        lifetime_jitter: 0.0,
        max_uses: None,
        check: Check::Never,
        check_may_block: true,
        keepalive: None,
        leak_threshold: None,
        resets: false,
        max_idle: None,
        order: IdleOrder::Sticky,
        on_suspend: OnSuspend::Wait,
    };

    pub(crate) fn build(&self, manager: Recorder, clock: &ManualClock) -> Pool<Recorder> {
        manager.memory.blocking_check(self.check_may_block);
        manager.memory.needs_reset(self.resets);
        // A very short pause: a run on one thread would only sleep through it.
        let mut backoff = quick_backoff();
        backoff.initial = Duration::from_nanos(1);
        backoff.max = Duration::from_nanos(1);
        let builder: PoolBuilder<Recorder> = Pool::builder()
            .name("model")
            .background_collector(self.collector)
            .clock(clock.clone())
            .backoff(backoff)
            .get_timeout(ms(1))
            .max_size(self.max_size)
            .min_idle(self.min_idle)
            .max_creating(self.max_creating)
            .max_waiters(self.max_waiters)
            .idle_timeout(self.idle_timeout.map(secs))
            .max_lifetime(self.max_lifetime.map(secs))
            .lifetime_jitter(self.lifetime_jitter)
            .max_uses(self.max_uses)
            .keepalive_interval(self.keepalive.map(secs))
            .leak_threshold(self.leak_threshold.map(secs))
            .max_idle(self.max_idle)
            .idle_order(self.order)
            .on_suspend(self.on_suspend)
            .health_check(match self.check {
                Check::Never => HealthCheck::Never,
                Check::Always => HealthCheck::OnCheckout,
                Check::AfterIdle(idle) => HealthCheck::AfterIdle(secs(idle)),
            });
        if self.lazy {
            builder.build_lazy(manager).unwrap()
        } else {
            builder.get_timeout(secs(30)).build(manager).unwrap()
        }
    }
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop_oneof![Just(None), proptest::sample::select(values).prop_map(Some)]
}

pub(crate) fn settings(collector: bool) -> impl Strategy<Value = Settings> {
    let size = (1..=4_usize).prop_flat_map(|max| (Just(max), prop_oneof![Just(0), 0..=max]));
    let size = size.prop_flat_map(|(max, min)| {
        let most = prop_oneof![2 => Just(None), 1 => (min..=max).prop_map(Some)];
        (Just(max), Just(min), most)
    });
    let order = prop_oneof![Just(IdleOrder::Sticky), Just(IdleOrder::Fifo)];
    let on_suspend = prop_oneof![Just(OnSuspend::Wait), Just(OnSuspend::Fail)];
    let ages = (
        maybe(vec![30, 60, 300]),
        maybe(vec![40, 120, 600]),
        prop_oneof![Just(0.0), Just(0.3), Just(1.0)],
        maybe(vec![20, 50]),
        maybe(vec![25]),
    );
    let check = prop_oneof![
        Just(Check::Never),
        Just(Check::Always),
        Just(Check::AfterIdle(15)),
        Just(Check::AfterIdle(45)),
    ];
    let rest = (
        any::<bool>(),
        1..=3_usize,
        prop_oneof![3 => Just(None), 1 => Just(Some(0))],
        maybe(vec![1, 2, 3]),
        any::<bool>(),
        proptest::bool::weighted(0.3),
        (order, on_suspend),
    );
    (size, ages, check, rest).prop_map(move |(size, ages, check, rest)| Settings {
        collector,
        lazy: rest.0,
        max_size: size.0,
        min_idle: size.1,
        max_creating: rest.1,
        max_waiters: rest.2,
        idle_timeout: ages.0,
        max_lifetime: ages.1,
        lifetime_jitter: ages.2,
        max_uses: rest.3,
        check,
        check_may_block: rest.4,
        keepalive: ages.3,
        leak_threshold: ages.4,
        resets: rest.5,
        max_idle: size.2,
        order: rest.6.0,
        on_suspend: rest.6.1,
    })
}
