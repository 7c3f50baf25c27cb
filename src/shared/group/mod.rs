//! The pool group: the pools of one keyed pool.
//!
//! Each pool of the group has its own manager, engine and statistics. The pools share a
//! [`SharedLimit`](crate::engine::SharedLimit) of slots, the threads, the clock and the name.

mod admin;
mod failures;

use crate::clock::{Clock, Ticker, real_now};
use crate::engine::{Followup, Now, RejectReason};
use crate::exec::{Collector, Executor, SweepSchedule, WorkerPool};
use crate::foreign::Caught;
use crate::shared::log::LogLimit;
use crate::shared::running::Running;
use crate::shared::{GetTimeout, Meter, PoolActions, PoolKey, PoolLimit, Shared};
use crate::stats::Origin;
use crate::sync::outer::{AtomicBool, AtomicU64, AtomicUsize, Mutex};
use crate::{
    ConnectionManager, HealthState, Holder, PoolConfig, PoolEvent, PoolObserver, PoolStats,
    SweepReport,
};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Instant;

pub(crate) struct PoolGroup<M: ConnectionManager> {
    name: Arc<str>,
    /// When the keyed pool was built, by its clock.
    built_at: Instant,
    /// The settings of each pool, present and future.
    running: Running,
    /// Whether each pool is suspended, present and future.
    suspended: AtomicBool,
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
    /// Fields are dropped in declaration order. The last reference to each of these two values is therefore
    /// dropped here, with panics caught.
    _observer: Caught<Option<Arc<dyn PoolObserver>>>,
    _clock: Caught<Option<Arc<dyn Clock>>>,
}

/// The present pools, and the statistics of the removed ones.
struct Members<M: ConnectionManager> {
    present: BTreeMap<u64, Weak<Shared<M>>>,
    retired_stats: PoolStats,
    retired_latencies: Meter,
}

impl<M: ConnectionManager> Members<M> {
    fn present(&self) -> Vec<Arc<Shared<M>>> {
        let present = self.present.values();
        present.filter_map(Weak::upgrade).collect()
    }
}

impl<M: ConnectionManager> PoolGroup<M> {
    pub(crate) fn new(
        config: &PoolConfig,
        max_total: usize,
        clock: Option<Arc<dyn Clock>>,
        observer: Option<Arc<dyn PoolObserver>>,
    ) -> Arc<Self> {
        let name: Arc<str> = config.name.as_str().into();
        let threads = config.background_collector;
        let ticker = Ticker::new(clock.clone());
        Arc::new(Self {
            workers: threads.then(|| WorkerPool::new(Arc::clone(&name))),
            name,
            running: Running::new(config),
            suspended: AtomicBool::new(config.suspended),
            max_total,
            total: PoolLimit::<M>::new(max_total),
            _observer: Caught::new(observer.clone()),
            _clock: Caught::new(clock),
            built_at: ticker.precise_now(),
            ticker,
            observer,
            schedule: Arc::default(),
            members: Mutex::new(Members {
                present: BTreeMap::new(),
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

    #[inline]
    pub(crate) fn default_timeout(&self) -> GetTimeout {
        GetTimeout::For(self.running.get_timeout())
    }

    /// Returns the counter for the connection ids of all keys.
    pub(in crate::shared) fn ids(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.next_id)
    }

    pub(in crate::shared) fn log_limit(&self) -> Arc<LogLimit> {
        Arc::clone(&self.log_limit)
    }

    pub(in crate::shared) fn total(&self) -> &Arc<PoolLimit<M>> {
        &self.total
    }

    /// Starts the collector, if the group has threads.
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

    fn wake_all(&self) -> bool {
        for id in self.members.lock().present.keys() {
            self.schedule.wake(*id);
        }
        self.workers.as_ref().is_some_and(|workers| workers.wake())
    }

    /// Returns the workers, if the keyed pool has threads.
    pub(crate) fn workers(&self) -> Option<&Arc<WorkerPool>> {
        self.workers.as_ref()
    }

    /// Returns the executor of the pool with this id.
    pub(in crate::shared) fn executor(&self, id: u64) -> Executor {
        match &self.workers {
            None => Executor::Inline,
            Some(workers) => Executor::Threads {
                workers: Arc::clone(workers),
                schedule: Some((Arc::clone(&self.schedule), id)),
            },
        }
    }

    /// Adds a pool to the group.
    pub(crate) fn add(self: &Arc<Self>, manager: M, key: PoolKey) -> Arc<Shared<M>> {
        let (ticker, observer) = (self.ticker.clone(), self.observer.clone());
        let place = Some((self, key));
        let config = self.config();
        let shared = Shared::assemble(manager, config.clone(), ticker, observer, place);
        let id = shared.id_in_group();
        let member = Arc::downgrade(&shared);
        self.members.lock().present.insert(id, member);
        self.catch_up(&shared, &config);
        if shared.min_idle.load(Relaxed) > 0 || shared.leaks.is_some() {
            // The first pass lets the checkouts wake the collector.
            shared.wake_collector();
        } else if let Some(limit) = shared.running.idle() {
            let now = shared.now();
            shared.wake_at_tick(now.tick.saturating_add(limit), now);
        }
        shared
    }

    /// Closes and removes a pool. False if the pool has open connections or waiters.
    ///
    /// `only_if_unused`: false also if the pool was used within `idle_timeout` or pauses after a failure.
    pub(crate) fn remove(&self, shared: &Arc<Shared<M>>, only_if_unused: bool) -> bool {
        if only_if_unused && !shared.is_unused() {
            return false;
        }
        if !shared.engine.close_if_empty(real_now()) {
            return false;
        }
        shared.ready.note(false);
        let id = shared.id_in_group();
        self.schedule.forget(id);
        let mut members = self.members.lock();
        members.present.remove(&id);
        members.retired_latencies.absorb(&shared.meter);
        // Gauges end with the pool. Those that are not listed here are zero in a pool without connections.
        let last = PoolStats {
            min_idle: 0,
            health: HealthState::default(),
            ..shared.stats_without_latencies()
        };
        members.retired_stats.absorb(&last);
        true
    }

    /// Returns whether a pool may be removed: it has no open connection and no waiter, and its key is unused.
    pub(crate) fn may_remove(&self, shared: &Arc<Shared<M>>) -> bool {
        shared.engine.lock().is_empty_and_unused() && shared.is_unused()
    }

    fn member(&self, id: u64) -> Option<Arc<Shared<M>>> {
        let members = self.members.lock();
        members.present.get(&id).and_then(Weak::upgrade)
    }

    /// Returns the present pools.
    pub(crate) fn all(&self) -> Vec<Arc<Shared<M>>> {
        self.members.lock().present()
    }

    pub(crate) fn max_total(&self) -> usize {
        self.max_total
    }

    /// Returns the tick of the clock that all pools share.
    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        self.ticker.tick()
    }

    fn now(&self) -> Now {
        super::now(&self.ticker)
    }

    /// Runs the actions that an event in one pool left to do in others.
    pub(in crate::shared) fn run_followups(&self, rest: PoolActions<M>) {
        let mut lacks_room = rest.lacks_room;
        let mut todo = VecDeque::from(rest.followups);
        while let Some(next) = todo.pop_front() {
            match next {
                Followup::Refill(id) => self.offer_slot(id),
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

    /// Tells a pool that wants a spare connection, for `min_idle` or for `wait_ready`, that a slot is free.
    fn offer_slot(&self, id: u64) {
        if let Some(member) = self.member(id) {
            member.ready.note(false);
        }
        self.executor(id).wake();
    }

    /// Evicts idle connections for waiters that need a slot.
    pub(in crate::shared) fn make_room(&self) {
        let now = self.now();
        for evicted in self.total.evict_for_waiters(now) {
            let shared = Arc::clone(&evicted.entry.shared);
            shared.evict_rejected(evicted, RejectReason::MadeRoom);
        }
        if let Some((end, id)) = self.total.next_soft_deadline(now.real) {
            self.executor(id).wake_by(end);
        }
    }

    /// Runs the collector's pass over the pools that have something due, and calls `then` with each of them.
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

    /// Sweeps every pool.
    pub(crate) fn sweep(&self) -> SweepReport {
        let mut sum = SweepReport::default();
        for member in self.all() {
            let (report, next) = member.sweep_pass();
            sum.evicted += report.evicted;
            sum.checks_started += report.checks_started;
            sum.creates_started += report.creates_started;
            if let Some(next) = next {
                member.executor.wake_by(next);
            }
        }
        sum
    }

    // ---- all pools -------------------------------------------------------------------------------

    /// Returns the consistent statistics of all pools: the gauges are read under the locks of all pools,
    /// which are taken in one order.
    pub(crate) fn stats(&self) -> PoolStats {
        let taken_at = self.ticker.precise_now();
        let latencies = Meter::default();
        let (members, mut sum) = {
            let members = self.members.lock();
            latencies.absorb(&members.retired_latencies);
            (members.present(), members.retired_stats.clone())
        };
        let gauges: Vec<_> = {
            let states: Vec<_> = members.iter().map(|member| member.engine.lock()).collect();
            let locked = members.iter().zip(&states);
            let read = locked
                .map(|(member, state)| (member.gauges(state), member.engine.checkouts(state)));
            read.collect()
        };
        for (member, (gauges, out)) in members.iter().zip(gauges) {
            sum.absorb(&member.with_counts(&member.with_holders(gauges, out)));
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
        sum.origin = Origin::new(0, self.built_at, taken_at);
        latencies.set_latencies(&mut sum);
        sum
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        let all = self.all();
        let mut holders: Vec<_> = all.iter().flat_map(|member| member.holders()).collect();
        holders.sort_by_key(|holder| holder.since);
        holders
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

    /// Waits until every thread has ended. False at the deadline.
    pub(crate) fn wait_gone(&self, deadline: Option<Instant>) -> bool {
        (self.workers.as_ref()).is_none_or(|workers| workers.wait_gone(deadline))
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns the id of this pool in its group, or 0.
    pub(crate) fn id_in_group(&self) -> u64 {
        self.engine.member().map_or(0, |member| member.id())
    }

    /// Returns whether this pool belongs to a keyed pool and occupies no slot.
    pub(in crate::shared) fn is_empty_key(&self) -> bool {
        self.group.is_some() && self.engine.lock().taken() == 0
    }

    /// Evicts idle connections if a pool of the group waits for a slot.
    pub(in crate::shared) fn make_room_for_others(&self) {
        if let Some(group) = &self.group {
            if group.total.has_waiters() {
                group.make_room();
            }
        }
    }

    /// In a keyed pool, after a refill: wakes the next pool whose refill needs a free slot.
    pub(in crate::shared) fn pass_on_spare(&self) {
        let (Some(group), Some(member)) = (&self.group, self.engine.member()) else {
            return;
        };
        if let Some(Followup::Refill(id)) = member.next_refill() {
            group.offer_slot(id);
        }
    }
}
