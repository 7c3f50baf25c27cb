//! A pool with random settings.

use super::{
    audit::Tally,
    backend::{Fault, Flaky},
};
use crate::common::{Rng, ms, now};
use conpool::{
    Backoff, BuildError, Clock, Fairness, HealthCheck, ManualClock, Pool, PoolBuilder, PoolConfig,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// The random settings.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one wish of a test, independent of the others"
)]
pub(crate) struct Settings {
    pub(crate) config: PoolConfig,
    /// The highest `max_size` that the mix sets.
    pub(crate) most: usize,
    /// With a manual clock, ages change only when the mix advances it.
    pub(crate) clock: Option<ManualClock>,
    /// Makes each reading of the clock yield, which varies the order of the threads.
    pub(crate) yielding: bool,
    pub(crate) observed: bool,
    pub(crate) blocking_check: bool,
    /// Faults per thousand calls of a hook.
    pub(crate) faults: u64,
    /// Plain gets per thousand operations of a user.
    pub(crate) gets_only: u64,
    /// Limits the operations to those that wake no other thread: gets with a timeout, and ways to give back.
    pub(crate) no_wakeups: bool,
    /// Pauses all users together after this many operations: a lost wake-up then stays lost, and shows.
    pub(crate) pause_after: Option<u64>,
}

impl Settings {
    pub(crate) fn throw(rng: &mut Rng) -> Self {
        let mut config = PoolConfig::new();
        config.name = "mixture".into();
        let most = [1, 2, 4, 8][below(rng, 4)];
        config.max_size = 1 + below(rng, most);
        // A collector that is always due would repair lost wake-ups, so half of all pools set none of these.
        if rng.below(2) == 0 {
            config.min_idle = below(rng, config.max_size / 2 + 2).min(config.max_size);
            config.idle_timeout = maybe(rng, ms(10));
            config.max_lifetime = maybe(rng, ms(20));
            config.keepalive_interval = maybe(rng, ms(3));
            config.leak_threshold = maybe(rng, ms(2));
        }
        config.max_uses = maybe(rng, 20);
        config.max_waiters = [None, None, None, None, Some(0), Some(2)][below(rng, 6)];
        config.max_creating = 1 + below(rng, 4);
        config.health_check = [
            HealthCheck::Never,
            HealthCheck::OnCheckout,
            HealthCheck::AfterIdle(Duration::from_micros(300)),
        ][below(rng, 3)];
        config.fairness = [
            Fairness::Strict,
            Fairness::Eventual(Duration::from_micros(500)),
            Fairness::Eventual(Duration::from_micros(50)),
        ][below(rng, 3)];
        let mut backoff = Backoff::default();
        backoff.initial = ms(1);
        backoff.max = ms(4);
        config.backoff = backoff;
        config.background_collector = rng.below(4) > 0;
        Self {
            config,
            most,
            clock: (rng.below(3) == 0).then(ManualClock::new),
            yielding: rng.below(2) == 0,
            observed: rng.below(2) == 0,
            blocking_check: rng.below(2) == 0,
            faults: [0, 5, 20, 100][below(rng, 4)],
            gets_only: [0, 700, 990][below(rng, 3)],
            no_wakeups: rng.below(3) == 0,
            pause_after: [None, None, Some(1), Some(4)][below(rng, 4)],
        }
    }

    /// Builds the pool, without a connection yet.
    pub(crate) fn build(
        &self,
        manager: Flaky,
        tally: &Arc<Tally>,
    ) -> Result<Pool<Flaky>, BuildError<Fault>> {
        let mut builder = PoolBuilder::from(self.config.clone());
        builder = match (&self.clock, self.yielding) {
            (None, false) => builder,
            (Some(clock), false) => builder.clock(clock.clone()),
            (clock, true) => builder.clock(YieldingClock {
                clock: clock.clone(),
                readings: AtomicU64::new(0),
            }),
        };
        if self.observed {
            builder = builder.observer(tally.observer());
        }
        builder.build_lazy(manager)
    }
}

pub(crate) fn below(rng: &mut Rng, sides: usize) -> usize {
    usize::try_from(rng.below(sides as u64)).unwrap()
}

fn maybe<T>(rng: &mut Rng, value: T) -> Option<T> {
    (rng.below(2) == 0).then_some(value)
}

/// A clock that yields to other threads when it is read.
struct YieldingClock {
    clock: Option<ManualClock>,
    readings: AtomicU64,
}

impl Clock for YieldingClock {
    fn now(&self) -> Instant {
        let mut rng = scrambled(self.readings.fetch_add(1, SeqCst));
        match rng.below(32) {
            0 => thread::sleep(Duration::from_micros(rng.below(100))),
            1..8 => thread::yield_now(),
            _ => {}
        }
        self.clock.as_ref().map_or_else(now, Clock::now)
    }

    fn on_jump(&self, wake: Box<dyn Fn() -> bool + Send + Sync>) {
        if let Some(clock) = &self.clock {
            clock.on_jump(wake);
        }
    }
}

/// A generator that is independent of the next seed's.
pub(crate) fn scrambled(number: u64) -> Rng {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    for factor in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
        bits = (bits ^ (bits >> 29)).wrapping_mul(factor);
    }
    Rng::new(bits ^ (bits >> 31))
}
