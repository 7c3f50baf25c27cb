//! The pools of one keyed pool: each is a pool like any other, with manager, engine and statistics of its
//! own. They share a [`SharedLimit`](crate::engine::SharedLimit) of slots, the threads, the clock and the name.

use super::hooks::{message_of, notify};
use super::log::{LogLimit, line_of};
use super::snapshot::with_zeros;
use super::{Meter, PoolActions, PoolEngine, PoolLimit, Shared};
use crate::clock::{Clock, Ticker, real_now};
use crate::engine::{Followup, Now, RejectReason};
use crate::error::{GetError, Phase, Timeout};
use crate::foreign::Caught;
use crate::sync::outer::{AtomicU64, AtomicUsize, Mutex};
use crate::exec::{Collector, Executor, SweepSchedule, WorkerPool};
use crate::{
    ConnectionManager, Holder, PoolConfig, PoolEvent, PoolObserver, PoolStats, SweepReport,
};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;

pub(crate) struct PoolGroup<M: ConnectionManager> {
    name: Arc<str>,
    /// Of each of them.
    config: PoolConfig,
    max_total: usize,
    total: Arc<PoolLimit<M>>,
    ticker: Ticker,
    observer: Option<Arc<dyn PoolObserver>>,
    workers: Option<Arc<WorkerPool>>,
    schedule: Arc<SweepSchedule>,
    members: Mutex<Members<M>>,
    next_id: Arc<AtomicU64>,
    log_limit: Arc<LogLimit>,
    peak_in_use: AtomicUsize,
    peak_waiters: AtomicUsize,
    /// Fields are dropped in their order, so these are the last references.
    _observer: Caught<Option<Arc<dyn PoolObserver>>>,
    _clock: Caught<Option<Arc<dyn Clock>>>,
}

/// Who is there, and what those have done who were.
struct Members<M: ConnectionManager> {
    members: BTreeMap<u64, Weak<Shared<M>>>,
    retired_stats: PoolStats,
    retired_latencies: Meter,
}

impl<M: ConnectionManager> Members<M> {
    fn members(&self) -> Vec<Arc<Shared<M>>> {
        let members = self.members.values();
        members.filter_map(Weak::upgrade).collect()
    }
}

impl<M: ConnectionManager> PoolGroup<M> {
    pub(crate) fn new(
        config: PoolConfig,
        max_total: usize,
        clock: Option<Arc<dyn Clock>>,
        observer: Option<Arc<dyn PoolObserver>>,
    ) -> Arc<Self> {
        let name: Arc<str> = config.name.as_str().into();
        let threads = config.background_collector;
        Arc::new(Self {
            workers: threads.then(|| WorkerPool::new(Arc::clone(&name))),
            name,
            config,
            max_total,
            total: PoolLimit::<M>::new(max_total),
            _observer: Caught::new(observer.clone()),
            _clock: Caught::new(clock.clone()),
            ticker: Ticker::new(clock),
            observer,
            schedule: Arc::default(),
            members: Mutex::new(Members {
                members: BTreeMap::new(),
                retired_stats: PoolStats::default(),
                retired_latencies: Meter::default(),
            }),
            next_id: Arc::new(AtomicU64::new(1)),
            log_limit: Arc::default(),
            peak_in_use: AtomicUsize::new(0),
            peak_waiters: AtomicUsize::new(0),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Where the connections of all keys get their numbers.
    pub(super) fn ids(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.next_id)
    }

    pub(super) fn log_limit(&self) -> Arc<LogLimit> {
        Arc::clone(&self.log_limit)
    }

    pub(super) fn total(&self) -> &Arc<PoolLimit<M>> {
        &self.total
    }

    /// Starts the collector, if there is to be one.
    pub(crate) fn start(self: &Arc<Self>, collector: Arc<dyn Collector>) -> io::Result<()> {
        let Some(workers) = &self.workers else {
            return Ok(());
        };
        workers.start(collector)?;
        if let Some(clock) = self.ticker.custom() {
            let group = Arc::downgrade(self);
            clock.on_jump(Box::new(move || {
                group.upgrade().is_some_and(|group| group.wake_all())
            }));
        }
        Ok(())
    }

    /// The collector should look at this pool now.
    fn wake(&self, id: u64) {
        if let Some(workers) = &self.workers {
            self.schedule.wake(id);
            workers.wake();
        }
    }

    /// The collector should look at this pool at `due`, at the latest.
    fn wake_by(&self, id: u64, due: Instant) {
        if let Some(workers) = &self.workers {
            self.schedule.wake_by(id, due);
            workers.wake_by(due);
        }
    }

    fn wake_all(&self) -> bool {
        for id in self.members.lock().members.keys() {
            self.schedule.wake(*id);
        }
        self.workers.as_ref().is_some_and(|workers| workers.wake())
    }

    /// The executor of the pool with this engine.
    pub(super) fn executor(&self, engine: &PoolEngine<M>) -> Executor {
        match self.workers.as_ref().zip(engine.member()) {
            None => Executor::Inline,
            Some((workers, member)) => Executor::Threads {
                workers: Arc::clone(workers),
                schedule: Some((Arc::clone(&self.schedule), member.id())),
            },
        }
    }

    /// One more pool.
    pub(crate) fn add(self: &Arc<Self>, manager: M) -> Arc<Shared<M>> {
        let (ticker, observer) = (self.ticker.clone(), self.observer.clone());
        let shared = Shared::assemble(manager, self.config.clone(), ticker, observer, Some(self));
        let id = shared.id_in_group();
        let member = Arc::downgrade(&shared);
        self.members.lock().members.insert(id, member);
        if shared.min_idle.load(Relaxed) > 0 {
            shared.wake_collector();
        } else if let Some(limit) = shared.ages.idle {
            let now = shared.now();
            shared.wake_at_tick(now.tick.saturating_add(limit), now);
        }
        shared
    }

    /// Ends a pool that has nothing open and nobody waiting; false if it has. `at_rest`: only if it has
    /// not been used for long either, nor been told to pause by its backend.
    pub(crate) fn remove(&self, shared: &Arc<Shared<M>>, at_rest: bool) -> bool {
        if at_rest && !shared.is_unused() {
            return false;
        }
        if !shared.engine.close_if_empty(real_now()) {
            return false;
        }
        let id = shared.id_in_group();
        self.schedule.forget(id);
        let mut members = self.members.lock();
        members.members.remove(&id);
        members.retired_latencies.absorb(&shared.meter);
        let last = PoolStats {
            min_idle: 0,
            ..shared.stats()
        };
        members.retired_stats.absorb(&last);
        true
    }

    /// Nothing is open and nobody waits, and that has been so for long: it may be removed.
    pub(crate) fn may_remove(&self, shared: &Arc<Shared<M>>) -> bool {
        shared.engine.lock().is_empty_and_unused() && shared.is_unused()
    }

    fn member(&self, id: u64) -> Option<Arc<Shared<M>>> {
        let members = self.members.lock();
        members.members.get(&id).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Shared<M>>> {
        self.members.lock().members()
    }

    /// The tick of the clock that all of them share.
    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        self.ticker.tick()
    }

    fn moment(&self) -> Now {
        Now {
            tick: self.ticker.tick(),
            real: real_now(),
        }
    }

    /// Does what an event in one of the pools left to be done in others.
    pub(super) fn run_followups(&self, rest: PoolActions<M>) {
        let mut lacks_room = rest.lacks_room;
        let mut todo = VecDeque::from(rest.followups);
        while let Some(next) = todo.pop_front() {
            match next {
                Followup::Refill(id) => self.wake(id),
                Followup::Waiter(id) => {
                    if let Some(member) = self.member(id) {
                        let actions = member.engine.settle(&mut member.engine.lock(), real_now());
                        let rest = member.run_own(actions);
                        lacks_room |= rest.lacks_room;
                        todo.extend(rest.followups);
                    }
                }
            }
        }
        if lacks_room {
            self.make_room();
        }
    }

    /// Retires idle connections for those who wait for a slot.
    pub(super) fn make_room(&self) {
        let now = self.moment();
        for evicted in self.total.evict_for_waiters(now) {
            let shared = Arc::clone(&evicted.entry.shared);
            shared.evict_rejected(evicted, RejectReason::MadeRoom);
        }
        if let Some((end, id)) = self.total.next_soft_deadline(now.real) {
            self.wake_by(id, end);
        }
    }

    /// The collector's pass over those that have something due. `then` is called with each.
    pub(crate) fn collect(&self, then: impl Fn(&Arc<Shared<M>>)) -> Option<Instant> {
        for id in self.schedule.take_due() {
            let Some(member) = self.member(id) else {
                continue;
            };
            let (_, next) = member.sweep_pass();
            if let Some(next) = next {
                self.schedule.wake_by(id, next);
            }
            then(&member);
        }
        self.schedule.next()
    }

    /// A whole pass over every pool.
    pub(crate) fn sweep(&self) -> SweepReport {
        let mut sum = SweepReport::default();
        for member in self.all() {
            let (report, next) = member.sweep_pass();
            sum.evicted += report.evicted;
            sum.checks_started += report.checks_started;
            sum.creates_started += report.creates_started;
            if let Some(next) = next {
                self.wake_by(member.id_in_group(), next);
            }
        }
        sum
    }

    // ---- what is asked of all --------------------------------------------------------------------

    /// All in one consistent look: under the locks of all pools, taken in one order.
    pub(crate) fn stats(&self) -> PoolStats {
        let latencies = Meter::default();
        let (members, mut sum) = {
            let members = self.members.lock();
            latencies.absorb(&members.retired_latencies);
            (members.members(), members.retired_stats.clone())
        };
        let gauges: Vec<_> = {
            let cores: Vec<_> = members.iter().map(|member| member.engine.lock()).collect();
            let looks = members.iter().zip(&cores);
            looks.map(|(member, state)| member.gauges(state)).collect()
        };
        for (member, gauges) in members.iter().zip(gauges) {
            sum.absorb(&member.with_counts(&gauges));
            latencies.absorb(&member.meter);
        }
        sum.name = Arc::clone(&self.name);
        sum.max_size = self.max_total;
        let peak = |known: &AtomicUsize, of_one: usize, now: usize| {
            let peak = of_one.max(now);
            known.fetch_max(peak, Relaxed).max(peak)
        };
        sum.peak_in_use = peak(&self.peak_in_use, sum.peak_in_use, sum.in_use);
        sum.peak_waiters = peak(&self.peak_waiters, sum.peak_waiters, sum.waiters);
        sum.wait = with_zeros(sum.wait.count, &latencies.wait);
        sum.create = latencies.create.snapshot(0);
        sum.held = with_zeros(sum.held.count, &latencies.held);
        sum
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.all()
            .iter()
            .flat_map(|member| member.holders())
            .collect()
    }

    pub(crate) fn close(&self) {
        self.emit(&PoolEvent::Closed {
            pool: Arc::clone(&self.name),
        });
        for member in self.all() {
            member.close();
        }
        if let Some(workers) = &self.workers {
            workers.close();
        }
    }

    /// Waits until every thread has ended; false at the deadline.
    pub(crate) fn wait_gone(&self, deadline: Option<Instant>) -> bool {
        (self.workers.as_ref()).is_none_or(|workers| workers.wait_gone(deadline))
    }

    /// Tells what happened where there is no pool yet.
    fn emit(&self, event: &PoolEvent) {
        let heard = self.observer.is_some() || LevelFilter::current() != LevelFilter::OFF;
        if heard
            && !notify(
                self.observer.as_deref(),
                event,
                line_of(&self.log_limit, event),
            )
        {
            self.members.lock().retired_stats.panics += 1;
        }
    }

    /// For a caller of a closed pool.
    pub(crate) fn closed(&self) -> GetError<M::Error> {
        self.count_failed_get(|_| ());
        let pool = Arc::clone(&self.name);
        GetError::Closed { pool }
    }

    /// A get that failed without a pool of its own to count it.
    fn count_failed_get(&self, also: impl FnOnce(&mut PoolStats)) {
        let past = &mut self.members.lock().retired_stats;
        past.gets += 1;
        past.failed_gets += 1;
        also(past);
    }

    /// The caller's factory has panicked.
    pub(crate) fn factory_panicked(&self, payload: Box<dyn Any + Send>) -> GetError<M::Error> {
        let (hook, message) = ("factory", message_of(payload));
        let pool = Arc::clone(&self.name);
        self.emit(&PoolEvent::Panicked {
            pool: Arc::clone(&pool),
            hook,
            message: message.clone(),
        });
        self.count_failed_get(|past| past.panics += 1);
        GetError::Panicked {
            pool,
            hook,
            message,
        }
    }

    /// A caller whose time was over before there was a pool for its key.
    pub(crate) fn timed_out(&self, waited: Duration) -> GetError<M::Error> {
        self.emit(&PoolEvent::TimedOut {
            pool: Arc::clone(&self.name),
            waited,
            waiters: 0,
        });
        self.count_failed_get(|past| past.timeouts += 1);
        GetError::TimedOut(Box::new(Timeout {
            pool: Arc::clone(&self.name),
            waited,
            phase: Phase::Creating,
            size: 0,
            max_size: self.config.max_size,
            idle: 0,
            in_use: 0,
            creating: 0,
            disposing: 0,
            waiters: 0,
            max_total: None,
            last: None,
            held_by_this_thread: 0,
        }))
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Its number among the pools of a keyed pool.
    pub(crate) fn id_in_group(&self) -> u64 {
        self.engine.member().map_or(0, |member| member.id())
    }

    pub(super) fn is_empty_key(&self) -> bool {
        self.group.is_some() && self.engine.lock().taken() == 0
    }

    pub(super) fn make_room_for_others(&self) {
        if let Some(group) = &self.group {
            if group.total.has_waiters() {
                group.make_room();
            }
        }
    }

    /// In a keyed pool, after a refill: what it left free may be wanted by the next.
    pub(super) fn pass_on_spare(&self) {
        let (Some(group), Some(member)) = (&self.group, self.engine.member()) else {
            return;
        };
        if let Some(Followup::Refill(id)) = member.next_refill() {
            group.wake(id);
        }
    }
}
