//! Durations: how long creates and checkouts of this pool last, for the decision to grow.

use super::Shared;
use crate::ConnectionManager;
use crate::engine::Durations;
use crate::sync::outer::{AtomicU64, Mutex};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How many checkouts a mean is taken over, at least.
const LEAST_CHECKOUTS: u64 = 8;

/// What the pool has learned, in nanoseconds. 0: nothing yet.
#[derive(Default)]
pub(super) struct Learned {
    /// The duration of a create. A new sample counts for a quarter.
    create: AtomicU64,
    /// The mean duration of the latest checkouts, plus one.
    hold: AtomicU64,
    /// The sum of the durations of all checkouts that lasted for a tick or longer.
    held: AtomicU64,
    window: Mutex<Window>,
}

/// The state at the last computation of the mean.
#[derive(Default)]
struct Window {
    tick: u64,
    ended: u64,
    held: u64,
}

impl Learned {
    /// Learns from a create that succeeded.
    pub(super) fn create_took(&self, took: Duration) {
        let took = nanos(took).max(1);
        let known = self.create.load(Relaxed);
        let next = match known {
            0 => took,
            known => known - known / 4 + took / 4,
        };
        self.create.store(next, Relaxed);
    }

    /// Learns from a checkout that lasted for a tick or longer.
    pub(super) fn checkout_took(&self, held: Duration) {
        self.held.fetch_add(nanos(held), Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns what is known about the durations of creates and checkouts. Nothing if the pool has a clock of
    /// its own, because the wait for a create passes in real time.
    pub(super) fn durations(&self, tick: u64) -> Durations {
        if self.ticker.custom().is_some() {
            return Durations::default();
        }
        self.update_hold(tick);
        let known = |nanos: u64| (nanos > 0).then(|| Duration::from_nanos(nanos));
        Durations {
            create: known(self.learned.create.load(Relaxed)),
            hold: known(self.learned.hold.load(Relaxed)),
        }
    }

    /// Computes the mean duration of the checkouts since the last computation, at most once per tick and only
    /// if there were enough.
    fn update_hold(&self, tick: u64) {
        let learned = &self.learned;
        let Some(mut window) = learned.window.try_lock() else {
            return;
        };
        if window.tick == tick {
            return;
        }
        window.tick = tick;
        let (mut uses, mut out) = (0, 0);
        for slot in self.engine.table.all() {
            uses += slot.uses();
            out += u64::from(slot.holder().is_some());
        }
        let (ended, held) = (uses.saturating_sub(out), learned.held.load(Relaxed));
        let new = ended.saturating_sub(window.ended);
        if new >= LEAST_CHECKOUTS {
            let mean = held.saturating_sub(window.held) / new;
            learned.hold.store(mean + 1, Relaxed);
            (window.ended, window.held) = (ended, held);
        }
    }
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use crate::shared::{GetTimeout, Held, Shared};
    use crate::{Hook, MemoryManager, PoolConfig};
    use std::panic::Location;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;
    use std::time::Duration;

    const SOON: GetTimeout = GetTimeout::For(Duration::from_secs(20));

    #[test]
    fn a_deferred_create_starts_when_the_last_connection_leaves_however_long_its_dispose_takes() {
        let backend = MemoryManager::new();
        let config = PoolConfig {
            dispose_timeout: Duration::from_secs(600),
            ..PoolConfig::default()
        };
        let shared = Shared::new(backend.clone(), config, None, None);
        shared.start().unwrap();
        let get = |shared: &Arc<Shared<MemoryManager>>| {
            let got = shared.get_slow(SOON, Location::caller(), None);
            got.map(Held::new)
        };
        let held = get(&shared).unwrap();
        // Creates are deferred for minutes.
        shared.learned.create.store(1 << 40, Relaxed);
        shared.learned.hold.store(1, Relaxed);
        backend.hang(Hook::Dispose);
        let waiter = thread::spawn({
            let shared = Arc::clone(&shared);
            move || get(&shared).map(|held| shared.discard(held))
        });
        while shared.engine.lock().queue.is_empty() {
            thread::yield_now();
        }
        shared.discard(held);
        waiter.join().unwrap().unwrap();
        backend.release();
        shared.close();
    }
}
