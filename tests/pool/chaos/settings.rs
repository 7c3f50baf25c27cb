//! A pool with settings thrown by dice.

use super::{
    audit::Tally,
    backend::{Fault, Flaky},
};
use crate::common::{Dice, ms, now};
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

/// What the dice said.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one wish of a test, independent of the others"
)]
pub(crate) struct Settings {
    pub(crate) config: PoolConfig,
    /// The highest `max_size` that the mix asks for.
    pub(crate) most: usize,
    /// Ages stand still between the jumps that the mix makes.
    pub(crate) clock: Option<ManualClock>,
    /// Reading the clock takes its time, which mixes up who comes first.
    pub(crate) restless: bool,
    pub(crate) observed: bool,
    pub(crate) blocking_check: bool,
    /// Per thousand calls of a hook.
    pub(crate) faults: u64,
    /// Of a thousand things that a user does, so many are nothing but a get.
    pub(crate) calm: u64,
    /// Only what rings for nobody else: gets that have time, and ways to give back.
    pub(crate) quiet: bool,
    /// All users pause together after so many: what was forgotten then stays forgotten, and shows.
    pub(crate) lull_after: Option<u64>,
}

impl Settings {
    pub(crate) fn throw(dice: &mut Dice) -> Self {
        let mut config = PoolConfig::new();
        config.name = "mixture".into();
        let most = [1, 2, 4, 8][below(dice, 4)];
        config.max_size = 1 + below(dice, most);
        // A collector that is due all the time makes good what others forget: half of all pools
        // have none of this.
        if dice.roll(2) == 0 {
            config.min_idle = below(dice, config.max_size / 2 + 2).min(config.max_size);
            config.idle_timeout = maybe(dice, ms(10));
            config.max_lifetime = maybe(dice, ms(20));
            config.keepalive_interval = maybe(dice, ms(3));
            config.leak_threshold = maybe(dice, ms(2));
        }
        config.max_uses = maybe(dice, 20);
        config.max_waiters = [None, None, None, None, Some(0), Some(2)][below(dice, 6)];
        config.max_creating = 1 + below(dice, 4);
        config.health_check = [
            HealthCheck::Never,
            HealthCheck::OnCheckout,
            HealthCheck::AfterIdle(Duration::from_micros(300)),
        ][below(dice, 3)];
        config.fairness = [
            Fairness::Strict,
            Fairness::Eventual(Duration::from_micros(500)),
            Fairness::Eventual(Duration::from_micros(50)),
        ][below(dice, 3)];
        let mut backoff = Backoff::default();
        backoff.initial = ms(1);
        backoff.max = ms(4);
        config.backoff = backoff;
        config.background_collector = dice.roll(4) > 0;
        Self {
            config,
            most,
            clock: (dice.roll(3) == 0).then(ManualClock::new),
            restless: dice.roll(2) == 0,
            observed: dice.roll(2) == 0,
            blocking_check: dice.roll(2) == 0,
            faults: [0, 5, 20, 100][below(dice, 4)],
            calm: [0, 700, 990][below(dice, 3)],
            quiet: dice.roll(3) == 0,
            lull_after: [None, None, Some(1), Some(4)][below(dice, 4)],
        }
    }

    /// The pool, without a connection yet.
    pub(crate) fn build(
        &self,
        manager: Flaky,
        tally: &Arc<Tally>,
    ) -> Result<Pool<Flaky>, BuildError<Fault>> {
        let mut builder = PoolBuilder::from(self.config.clone());
        builder = match (&self.clock, self.restless) {
            (None, false) => builder,
            (Some(clock), false) => builder.clock(clock.clone()),
            (clock, true) => builder.clock(Restless {
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

pub(crate) fn below(dice: &mut Dice, sides: usize) -> usize {
    usize::try_from(dice.roll(sides as u64)).unwrap()
}

fn maybe<T>(dice: &mut Dice, value: T) -> Option<T> {
    (dice.roll(2) == 0).then_some(value)
}

/// Lets other threads go first, where nothing else in the pool would.
struct Restless {
    clock: Option<ManualClock>,
    readings: AtomicU64,
}

impl Clock for Restless {
    fn now(&self) -> Instant {
        let mut dice = scrambled(self.readings.fetch_add(1, SeqCst));
        match dice.roll(32) {
            0 => thread::sleep(Duration::from_micros(dice.roll(100))),
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

/// Dice that share nothing with those of the next number.
pub(crate) fn scrambled(number: u64) -> Dice {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    for factor in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
        bits = (bits ^ (bits >> 29)).wrapping_mul(factor);
    }
    Dice::new(bits ^ (bits >> 31))
}
