//! One pool: connects the engine with the manager, the clock, events and statistics.
//!
//! Only this module calls the manager's hooks. It calls them outside of every lock and catches their panics.
//!
//! Each step of a connection's life has its module: [`create`], [`checkout`] (with
//! [`validate`](checkout::validate), [`slow`](checkout::slow) for callers that must wait, and
//! [`outcome`](checkout::outcome) for results and errors), [`check`], [`checkin`] and
//! [`evict`](checkin::evict). The collector's pass is in [`collector`] (with [`refill`](collector::refill)
//! and [`hook_timeouts`](collector::hook_timeouts)). The operations on a running pool are in [`admin`].

mod admin;
mod check;
mod checkin;
mod checkout;
mod collector;
mod create;
mod durations;
mod group;
mod health;
mod holders;
mod hooks;
mod interrupt;
mod leaks;
mod log;
mod pooled;
mod ready;
mod running;
mod snapshot;

pub(crate) use checkin::check_in;
pub(crate) use checkout::{GetTimeout, TaskGet};
pub(crate) use group::PoolGroup;
pub(crate) use interrupt::Which;
pub(crate) use pooled::{Held, PooledConnection};

use crate::clock::{Clock, Ticker, real_now};
use crate::config::{deadline, is_unlimited};
use crate::engine::{
    Actions, Checkout, Engine, Now, Permit, ReturnResult, SharedLimit, SlotCache, State, Waiter,
};
use crate::error::Cause;
use crate::exec::{Executor, WorkerPool};
use crate::foreign::Caught;
use crate::stats::Recorder;
use crate::sync::outer::{AtomicBool, AtomicU64, AtomicUsize, Mutex};
use crate::{ConnectionManager, EvictReason, Fairness, IdleOrder, PoolConfig, PoolObserver};
use create::backoff::BackoffState;
use create::probe::Probe;
use durations::Learned;
use health::HealthTracker;
use interrupt::Interrupts;
use leaks::Leaks;
use log::LogLimit;
use ready::Ready;
use running::{Running, limit};
use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a wait failed before its deadline.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    Closed,
    Suspended,
    /// `clear_waiters` was called, with this cause.
    Cleared(Option<Caught<Arc<dyn Error + Send + Sync>>>),
    Create(Caught<Arc<E>>),
    Panicked {
        hook: &'static str,
        message: String,
    },
    /// A hook outlived its timeout, and the pool fails fast.
    TimedOut {
        hook: &'static str,
        after: Duration,
    },
}

/// The entry in a slot.
pub(crate) type PoolEntry<M> = PooledConnection<M>;
type Entry<M> = PooledConnection<M>;
type Err<M> = Failure<<M as ConnectionManager>::Error>;
/// The engine of a pool of `M` connections.
pub(crate) type PoolEngine<M> = Engine<Entry<M>, Err<M>>;
type PoolWaiter<M> = Waiter<Entry<M>, Err<M>>;
type PoolActions<M> = Actions<Entry<M>, Err<M>>;
type PoolPermit<M> = Permit<Entry<M>, Err<M>>;
type PoolState<M> = State<Entry<M>, Err<M>>;
type PoolLimit<M> = SharedLimit<Entry<M>, Err<M>>;
type PoolReturnResult<M> = ReturnResult<Entry<M>, Err<M>>;
/// A connection that is out of its slot.
pub(crate) type PoolCheckout<M> = Checkout<Entry<M>>;
pub(crate) type PoolSlotCache<M> = SlotCache<Entry<M>>;
/// The key of a pool in its keyed pool. Its Drop is user code.
pub(crate) type PoolKey = Box<dyn Any + Send + Sync>;
/// The time and the cause of the last failure.
type LastFailure<M> = (Instant, Caught<Cause<<M as ConnectionManager>::Error>>);

/// The state that the handles, guards and threads of one pool share.
///
/// A guard or a thread that holds this state does not keep the pool open, because handles are counted
/// elsewhere.
pub(crate) struct Shared<M: ConnectionManager> {
    pub(crate) name: Arc<str>,
    pub(crate) manager: Arc<M>,
    pub(crate) engine: Arc<PoolEngine<M>>,
    pub(crate) ticker: Ticker,
    /// When the pool was built, by its clock.
    built_at: Instant,
    /// The settings at build. Those in [`Running`] may have changed since.
    config: PoolConfig,
    running: Running,
    check_may_block: bool,
    reset_may_block: bool,
    min_idle: AtomicUsize,
    /// In a keyed pool: the tick at which a checkout last ended other than by a fast check-in.
    used_at: AtomicU64,
    health: HealthTracker,
    probe: Probe,
    log_limit: Arc<LogLimit>,
    /// True during the build. A create that fails for good then fails the build at once.
    building: AtomicBool,
    /// When the log last warned that the build waits.
    build_warned_at: Mutex<Option<Instant>>,
    observer: Option<Arc<dyn PoolObserver>>,
    executor: Executor,
    /// The keyed pool that this pool belongs to.
    group: Option<Arc<PoolGroup<M>>>,
    /// The key of this pool in its keyed pool.
    key: Option<Caught<PoolKey>>,
    backoff: Mutex<BackoffState>,
    /// The last failure of a create or a check.
    last_failure: Mutex<Option<LastFailure<M>>>,
    last_create_failure: Mutex<Option<Caught<Cause<M::Error>>>>,
    last_error: Mutex<Option<(Instant, String)>>,
    leaks: Option<Leaks>,
    /// The id of the next connection. The pools of a keyed pool share this counter, because their events
    /// carry the same pool name.
    next_id: Arc<AtomicU64>,
    meter: Meter,
    learned: Learned,
    ready: Ready,
    interrupts: Interrupts,
    sweep_state: Mutex<collector::SweepState>,
    /// Slots whose connections have come off standby since the last round, or were in use at that round.
    off_standby: Mutex<Vec<u32>>,
    /// Fields are dropped in declaration order. The last reference to each of these three values is therefore
    /// dropped here, with panics caught.
    _manager: Caught<Arc<M>>,
    _observer: Caught<Option<Arc<dyn PoolObserver>>>,
    _clock: Caught<Option<Arc<dyn Clock>>>,
}

fn now(ticker: &Ticker) -> Now {
    Now {
        tick: ticker.tick(),
        real: real_now(),
    }
}

/// The counters that are not kept in the slots. A fast checkout updates none of them, except at the first use
/// of a connection.
#[derive(Default)]
struct Meter {
    gets_waited: AtomicU64,
    timeouts: AtomicU64,
    saturated: AtomicU64,
    /// Gets that returned an error, including timeouts and rejections because of saturation.
    failed: AtomicU64,
    /// Connections that were checked out at least once.
    first_uses: AtomicU64,
    create_errors: AtomicU64,
    check_failures: AtomicU64,
    panics: AtomicU64,
    evictions: [AtomicU64; EvictReason::EACH.len()],
    peak_in_use: AtomicUsize,
    peak_waiters: AtomicUsize,
    wait: Recorder,
    create: Recorder,
    held: Recorder,
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        config: PoolConfig,
        clock: Option<Arc<dyn Clock>>,
        observer: Option<Arc<dyn PoolObserver>>,
    ) -> Arc<Self> {
        Self::assemble(manager, config, Ticker::new(clock), observer, None)
    }

    fn assemble(
        manager: M,
        config: PoolConfig,
        ticker: Ticker,
        observer: Option<Arc<dyn PoolObserver>>,
        place: Option<(&Arc<PoolGroup<M>>, PoolKey)>,
    ) -> Arc<Self> {
        let (group, key) = place.unzip();
        let bound = match config.fairness {
            Fairness::Strict => Some(Duration::ZERO),
            Fairness::Eventual(bound) => Some(bound).filter(|bound| !is_unlimited(*bound)),
        };
        let inline = !config.background_collector;
        let engine = Engine::new(
            config.max_size,
            config.max_creating,
            bound,
            inline,
            real_now(),
            group.map(|group| group.total()),
        );
        let name: Arc<str> = match group {
            Some(group) => Arc::clone(group.name()),
            None => config.name.as_str().into(),
        };
        engine.lock().max_idle = config.max_idle;
        if config.idle_order == IdleOrder::Fifo {
            engine.use_fifo();
        }
        let leaks = config.leak_threshold;
        let leaks = leaks.map(|threshold| Leaks::new(threshold, config.leak_action));
        let check_may_block = hooks::may_block(&manager, M::check_may_block);
        let reset_may_block = hooks::may_block(&manager, M::reset_may_block);
        if inline {
            // Each checkout must sweep.
            engine.disable_fast_path();
        }
        let manager = Arc::new(manager);
        let shared = Arc::new(Self {
            _manager: Caught::new(Arc::clone(&manager)),
            _observer: Caught::new(observer.clone()),
            _clock: Caught::new(ticker.custom().cloned()),
            executor: match group {
                Some(group) => group.executor(engine.member().map_or(0, |member| member.id())),
                None if inline => Executor::Inline,
                None => Executor::with_threads(WorkerPool::new(Arc::clone(&name))),
            },
            group: group.map(Arc::clone),
            key: key.map(Caught::new),
            name,
            engine,
            running: Running::new(&config),
            check_may_block: *check_may_block.as_ref().unwrap_or(&true),
            reset_may_block: *reset_may_block.as_ref().unwrap_or(&true),
            manager,
            min_idle: AtomicUsize::new(config.min_idle),
            used_at: AtomicU64::new(0),
            health: HealthTracker::default(),
            probe: Probe::default(),
            log_limit: group.map(|group| group.log_limit()).unwrap_or_default(),
            building: AtomicBool::new(false),
            build_warned_at: Mutex::new(None),
            observer,
            backoff: Mutex::new(BackoffState::new(config.backoff, config.get_timeout)),
            last_failure: Mutex::new(None),
            last_create_failure: Mutex::new(None),
            last_error: Mutex::new(None),
            leaks,
            next_id: group.map_or_else(|| Arc::new(AtomicU64::new(1)), |group| group.ids()),
            meter: Meter::default(),
            learned: Learned::default(),
            ready: Ready::default(),
            interrupts: Interrupts::default(),
            sweep_state: Mutex::default(),
            off_standby: Mutex::default(),
            config,
            built_at: ticker.precise_now(),
            ticker,
        });
        for (hook, answer) in [
            ("check_may_block", check_may_block),
            ("reset_may_block", reset_may_block),
        ] {
            if let Err(payload) = answer {
                shared.caught(hook, payload);
            }
        }
        shared
    }

    pub(crate) fn now(&self) -> Now {
        now(&self.ticker)
    }

    /// Returns the key of this pool, if it belongs to this keyed pool.
    #[inline]
    pub(crate) fn key_in<K: 'static>(&self, group: &Arc<PoolGroup<M>>) -> Option<&K> {
        let own = self.group.as_ref()?;
        let key = self.key.as_ref().filter(|_| Arc::ptr_eq(own, group))?;
        key.downcast_ref()
    }

    #[inline]
    pub(crate) fn default_timeout(&self) -> GetTimeout {
        GetTimeout::For(self.running.get_timeout())
    }

    /// Runs the actions that an event left to do after unlock, in this pool and in the others of its group.
    fn run(self: &Arc<Self>, actions: PoolActions<M>) {
        let rest = self.run_own(actions);
        if let Some(group) = &self.group {
            group.run_followups(rest);
        }
    }

    /// Runs the actions of this pool and returns the actions for other pools.
    fn run_own(self: &Arc<Self>, mut actions: PoolActions<M>) -> PoolActions<M> {
        actions.wake();
        self.wake_by(actions.settle_at);
        for permit in std::mem::take(&mut actions.permits) {
            self.start_create(permit, create::Purpose::Waiter);
        }
        if std::mem::take(&mut actions.surplus) {
            self.evict_excess();
        }
        actions
    }

    /// Returns the workers, if the pool has threads.
    pub(crate) fn workers(&self) -> Option<&Arc<WorkerPool>> {
        self.executor.workers()
    }

    /// Returns the workers, if they work for this pool alone.
    fn own_workers(&self) -> Option<&Arc<WorkerPool>> {
        self.executor.own_workers()
    }

    /// Returns the deadline of a hook that starts now.
    ///
    /// The caller records the deadline for the collector and then calls [`wake_by`](Self::wake_by). The order
    /// matters: a pass before the record would not see the deadline.
    fn hook_deadline(&self, now: Instant, timeout: Duration) -> Option<Instant> {
        deadline(now, timeout).filter(|_| !self.executor.is_inline())
    }

    /// Makes the collector run at `due` at the latest.
    fn wake_by(&self, due: Option<Instant>) {
        if let Some(due) = due {
            self.executor.wake_by(due);
        }
    }
}

impl<M: ConnectionManager> std::fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
