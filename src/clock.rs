//! Reads time; no other module does.
//!
//! Ages (idle time, lifetime, how long a connection has been held) are counted in *ticks*: nanoseconds by the
//! pool's [`Clock`], from an arbitrary start. Without a custom clock, ticks come from the system's coarse
//! monotonic clock where it exists: a reading takes about 5 ns instead of 25, at a resolution of one timer
//! interrupt (1 to 10 ms, mostly 4). A precise reading on the fast path would cost more than the rest of the
//! pool. Deadlines, hook timeouts and reported waits are measured with [`Instant`], on the slow path only.

use crate::sync::outer::Mutex;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The source of time for the ages of connections.
///
/// A clock drives `idle_timeout`, `max_lifetime`, `HealthCheck::AfterIdle`, `keepalive_interval`,
/// `leak_threshold` and every age that the pool reports, including `held`. Deadlines, hook timeouts, backoff
/// and the latencies `wait` and `create` use real time.
///
/// The pool reads the clock on every checkout and check-in, so a reading should be cheap. A clock that goes
/// backwards makes ages shorter, but never negative. If a clock panics, the system's time is used instead. An
/// `Arc` of a clock is a clock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Instant;

    /// Registers `wake`, to be called after every jump of the clock until it returns false.
    ///
    /// A collector that sleeps until the next deadline has to check again after a jump. The pool calls
    /// `on_jump` once, when it is built. `wake` takes a lock of the pool for a short time.
    ///
    /// The default does nothing, because a clock that runs by itself does not jump.
    fn on_jump(&self, wake: Box<dyn Fn() -> bool + Send + Sync>) {
        let _ = wake;
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn on_jump(&self, wake: Box<dyn Fn() -> bool + Send + Sync>) {
        (**self).on_jump(wake);
    }
}

/// A clock that changes only when it is advanced, for tests of expiry without waiting.
///
/// Clones share one time. [`advance`](Self::advance) wakes the collectors of the pools that use the clock.
///
/// ```
/// use conpool::{HealthCheck, ManualClock, MemoryManager, Pool};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let pool = Pool::builder()
///     .clock(clock.clone())
///     .health_check(HealthCheck::Never)
///     .max_lifetime(Duration::from_secs(60)) // lifetime_jitter takes up to a tenth of it
///     .build(MemoryManager::new())?;
/// let first = pool.get()?.id();
/// clock.advance(Duration::from_secs(61));
/// assert_ne!(pool.get()?.id(), first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

type Wake = Arc<dyn Fn() -> bool + Send + Sync>;

struct Manual {
    now: Mutex<Instant>,
    wakes: Mutex<Vec<Wake>>,
}

impl ManualClock {
    /// Creates a clock that stands at the current time.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Manual {
            now: Mutex::new(real_now()),
            wakes: Mutex::default(),
        }))
    }

    /// Advances the time and wakes the collectors of the pools that use this clock. Collectors work on their
    /// own threads; [`Pool::sweep`](crate::Pool::sweep) waits for a pass.
    ///
    /// A step beyond the range of [`Instant`] leaves the time unchanged.
    pub fn advance(&self, by: Duration) {
        {
            let mut now = self.0.now.lock();
            *now = now.checked_add(by).unwrap_or(*now);
        }
        // `wake` runs outside of the lock: it may drop the last handle of a pool, which may drop this clock.
        let wakes = self.0.wakes.lock().clone();
        for wake in wakes {
            if !wake() {
                self.0
                    .wakes
                    .lock()
                    .retain(|other| !Arc::ptr_eq(other, &wake));
            }
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

// The time is one value, and no code that can panic runs under its lock.
impl UnwindSafe for ManualClock {}
impl RefUnwindSafe for ManualClock {}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.now.lock()
    }

    fn on_jump(&self, wake: Box<dyn Fn() -> bool + Send + Sync>) {
        self.0.wakes.lock().push(wake.into());
    }
}

/// Returns real time, for waits and deadlines.
#[cfg(conpool_shuttle)]
pub(crate) use crate::sync::world::now as real_now;

/// Returns real time, for waits and deadlines.
#[cfg(not(conpool_shuttle))]
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads real time"
)]
pub(crate) fn real_now() -> Instant {
    Instant::now()
}

/// The source of a pool's ticks. Clones count from the same start.
#[derive(Clone)]
pub(crate) struct Ticker {
    /// The moment of tick 0.
    epoch: Instant,
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// The system's coarse clock, with its reading at the epoch.
    Coarse(u64),
    Custom(Arc<dyn Clock>),
}

impl Ticker {
    pub(crate) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
        match clock {
            None => Self {
                epoch: real_now(),
                source: Source::Coarse(coarse_now()),
            },
            Some(clock) => Self {
                epoch: read(&*clock),
                source: Source::Custom(clock),
            },
        }
    }

    /// Returns the nanoseconds since an arbitrary moment before the pool was built.
    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        match &self.source {
            Source::Coarse(_) => coarse_now(),
            Source::Custom(clock) => self.custom_tick(&**clock),
        }
    }

    #[cold]
    fn custom_tick(&self, clock: &dyn Clock) -> u64 {
        let now = read(clock);
        ticks(now.saturating_duration_since(self.epoch))
    }

    /// Returns the current time, by the pool's clock. Precise also where ticks are coarse.
    pub(crate) fn precise_now(&self) -> Instant {
        match &self.source {
            Source::Coarse(_) => real_now(),
            Source::Custom(clock) => read(&**clock),
        }
    }

    /// Returns the moment of a tick, by the pool's clock.
    pub(crate) fn instant(&self, tick: u64) -> Instant {
        let start = match &self.source {
            Source::Coarse(start) => *start,
            Source::Custom(_) => 0,
        };
        let age = Duration::from_nanos(tick.saturating_sub(start));
        self.epoch.checked_add(age).unwrap_or(self.epoch)
    }

    /// Returns the custom clock, if there is one.
    pub(crate) fn custom(&self) -> Option<&Arc<dyn Clock>> {
        match &self.source {
            Source::Coarse(_) => None,
            Source::Custom(clock) => Some(clock),
        }
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

/// Reads a user's clock and catches its panics. A check-in holds a connection here, which a panic would lose.
fn read(clock: &dyn Clock) -> Instant {
    catch_unwind(AssertUnwindSafe(|| clock.now())).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        real_now()
    })
}

/// Converts a duration to ticks, capped at u64::MAX >> 2, which means no limit. Stamps need two spare bits.
pub(crate) fn ticks(duration: Duration) -> u64 {
    let limit = u64::MAX >> 2;
    u64::try_from(duration.as_nanos()).map_or(limit, |nanos| nanos.min(limit))
}

#[cfg(all(target_os = "linux", not(conpool_shuttle)))]
#[inline]
pub(crate) fn coarse_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec as u64)
}

/// Returns the nanoseconds since the first reading in this process. This target has no coarse clock that is
/// safe to read.
#[cfg(not(all(target_os = "linux", not(conpool_shuttle))))]
pub(crate) fn coarse_now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(real_now);
    ticks(real_now().saturating_duration_since(start))
}

#[cfg(all(test, not(conpool_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_clones_share_it() {
        let clock = ManualClock::new();
        let clone = clock.clone();
        let start = clock.now();
        clone.advance(Duration::from_secs(5));
        assert_eq!(clock.now() - start, Duration::from_secs(5));
        clone.advance(Duration::MAX);
        assert_eq!(clock.now() - start, Duration::from_secs(5));
    }

    #[test]
    fn wakers_are_called_until_they_decline() {
        use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
        let clock = ManualClock::new();
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        clock.on_jump(Box::new(move || seen.fetch_add(1, SeqCst) < 1));
        for _ in 0..4 {
            clock.advance(Duration::from_nanos(1));
        }
        assert_eq!(calls.load(SeqCst), 2);
    }

    #[test]
    fn system_ticks_follow_real_time_within_the_coarse_resolution() {
        let ticker = Ticker::new(None);
        let (start, first) = (real_now(), ticker.tick());
        while start.elapsed() < Duration::from_millis(30) {
            std::thread::yield_now();
        }
        let tick = Duration::from_nanos(ticker.tick() - first);
        assert!(tick >= Duration::from_millis(15), "{tick:?}");
        assert!(
            tick <= start.elapsed() + Duration::from_millis(15),
            "{tick:?}"
        );
    }
}
