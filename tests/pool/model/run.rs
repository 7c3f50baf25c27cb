//! One run: the pool executes it, the reference follows, and the numbers are compared.

use super::{
    backend::{HookCall, Recorder},
    operation::Op,
    reference::{Answer, Reference, Refusal, Seen},
    settings::Settings,
};
use crate::common::executor::block_on;
use crate::common::{SOON, ms, now, secs, timed};
use conpool::{
    ConnectionInfo, ConnectionManager, EvictReason, GetError, Hook, ManualClock, MemoryError,
    MemoryManager, Pool, PoolStats, PooledConnection,
};
use std::{
    collections::HashMap,
    fmt::Debug,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

/// Runs the operations on a new pool, ends it, and returns the first violation.
pub(crate) fn run(settings: &Settings, operations: &[Op]) -> Result<(), String> {
    let mut run = Run::new(settings);
    run.attempt(Op::Built)?;
    for op in operations {
        run.attempt(*op)?;
    }
    run.end()
}

struct Run {
    clock: ManualClock,
    manager: Recorder,
    handles: Vec<Pool<Recorder>>,
    guards: Vec<PooledConnection<Recorder>>,
    /// The length of the trace that the reference has followed.
    followed: usize,
    evictions: [u64; EvictReason::ALL.len()],
    /// Connections made for `add`, and those that did not end in `dispose`.
    made: u64,
    dropped: u64,
    /// The pool's number of each connection.
    numbers: HashMap<u64, u64>,
    reference: Reference,
}

impl Run {
    fn new(settings: &Settings) -> Self {
        let clock = ManualClock::new();
        let manager = Recorder::new(&MemoryManager::new());
        let pool = settings.build(manager.clone(), &clock);
        Self {
            clock,
            manager,
            handles: vec![pool.clone(), pool],
            guards: Vec::new(),
            followed: 0,
            evictions: [0; EvictReason::ALL.len()],
            made: 0,
            dropped: 0,
            numbers: HashMap::new(),
            reference: Reference::new(settings),
        }
    }

    fn attempt(&mut self, op: Op) -> Result<(), String> {
        let Some(answer) = self.apply(op)? else {
            return Ok(());
        };
        self.settle(op, &answer).map_err(|what| {
            let stats = self.handles.first().map(|pool| pool.stats());
            let trace = self.manager.trace().split_off(self.followed);
            let known = &self.reference;
            format!("{op:?} -> {answer:?}: {what}\n{trace:?}\n{stats:?}\nbefore: {known:?}")
        })
    }

    /// Lets the reference follow: at once, or, where threads still work, as soon as it agrees.
    fn settle(&mut self, op: Op, answer: &Answer) -> Result<(), String> {
        let start = now();
        let threads = self.reference.settings.collector;
        loop {
            // Otherwise a sweep might be due and not begun.
            if let Some(pool) = self.handles.first().filter(|_| threads) {
                pool.sweep();
            }
            let stats = self.handles.first().map(|pool| pool.stats());
            let quiet = self.quiet();
            // Read last, so that it contains every call that the numbers count.
            let trace = self.manager.trace();
            let mut next = self.reference.clone();
            let verdict = quiet
                .and_then(|()| next.step(op, answer, &trace[self.followed..]))
                .and_then(|()| self.compare(&next, stats.as_ref()));
            if verdict.is_ok() {
                self.followed = trace.len();
                if let Some(stats) = stats {
                    self.evictions = std::array::from_fn(|n| stats.evicted(EvictReason::ALL[n]));
                }
                self.reference = next;
                return Ok(());
            }
            if !threads || start.elapsed() > secs(2) {
                return verdict;
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Whether the pool is idle, as far as can be seen from outside.
    fn quiet(&self) -> Result<(), String> {
        let running = self.manager.memory.counters().in_hook;
        equal("hooks running", &running, &0)
    }

    /// Executes an operation; `None` if it needs a handle and there is none any more.
    fn apply(&mut self, op: Op) -> Result<Option<Answer>, String> {
        let memory = self.manager.memory.clone();
        match op {
            Op::GiveBack(n) => drop(self.guard(n)),
            Op::Discard(n) => drop(self.guard(n).map(PooledConnection::discard)),
            Op::Detach(n) => {
                if let Some(guard) = self.guard(n) {
                    drop(PooledConnection::detach(guard));
                    self.dropped += 1;
                }
            }
            Op::Unwind(n) => {
                let guard = self.guard(n);
                let _ = panic::catch_unwind(AssertUnwindSafe(|| {
                    let _guard = guard;
                    panic!("scripted panic of a holder: {n}");
                }));
            }
            Op::Use(n) => {
                if let Some(guard) = self.guard(n) {
                    let mut guard = guard;
                    let _ = guard.execute("PING");
                    let place = n % (self.guards.len() + 1);
                    self.guards.insert(place, guard);
                }
            }
            Op::Kill(n) => {
                let ids: Vec<u64> = self.reference.everybody().map(|one| one.id).collect();
                if !ids.is_empty() {
                    memory.kill(ids[n % ids.len()]);
                }
            }
            Op::Fail(hook, n) => memory.fail(hook, n),
            Op::FailTransient(hook, n) => memory.fail_transient(hook, n),
            Op::Panic(hook, n) => memory.panic(hook, n),
            Op::Advance(seconds) => self.clock.advance(secs(seconds) + ms(1)),
            Op::DropHandle => {
                let last = self.handles.pop();
                if last.is_some() && self.handles.is_empty() {
                    self.reference.closed = true;
                }
                drop(last);
            }
            _ => return self.ask(op),
        }
        Ok(Some(Answer::Nothing))
    }

    /// Executes the operations that need a handle.
    fn ask(&mut self, op: Op) -> Result<Option<Answer>, String> {
        let Some(pool) = self.handles.first().cloned() else {
            return Ok(None);
        };
        Ok(Some(match op {
            Op::Get | Op::GetAsync => {
                let patience = if self.reference.servable() {
                    SOON
                } else {
                    Duration::from_micros(100)
                };
                let by_task = op == Op::GetAsync && self.reference.settings.collector;
                let (got, took) = timed(|| match by_task {
                    true => block_on(pool.get_async_timeout(patience)),
                    false => pool.get_timeout(patience),
                });
                self.reference.impatient = took >= ms(100);
                self.got(got)?
            }
            Op::GetNow => {
                let got = pool.get_timeout(Duration::ZERO);
                self.got(got)?
            }
            Op::TryGet => match pool.try_get() {
                Some(guard) => self.got(Ok(guard))?,
                None => Answer::NoneReady,
            },
            Op::Add => self.add(&pool),
            Op::RetainEven(_) => {
                let mut shown = Vec::new();
                let count = pool.retain(|connection, info| {
                    shown.push(seen(connection.id(), info));
                    !op.rejects(connection.id())
                });
                Answer::Retained(count, shown)
            }
            Op::CheckHealth => {
                let health = pool.check_health();
                Answer::Health {
                    checked: health.checked(),
                    failed: health.failed(),
                }
            }
            Op::Sweep => {
                let report = pool.sweep();
                Answer::Swept {
                    evicted: report.evicted,
                    checks: report.checks_started,
                    creates: report.creates_started,
                }
            }
            Op::Interrupt(n) => match self.guards.len() {
                0 => Answer::Nothing,
                count => {
                    let guard = &self.guards[n % count];
                    Answer::Accepted(pool.interrupt(PooledConnection::info(guard).id))
                }
            },
            Op::SetMaxSize(n) => Answer::Accepted(pool.set_max_size(n).is_ok()),
            Op::SetMinIdle(n) => Answer::Accepted(pool.set_min_idle(n).is_ok()),
            Op::SetMaxIdle(n) => Answer::Accepted(pool.set_max_idle(n).is_ok()),
            other => {
                match other {
                    Op::Clear => pool.clear(),
                    Op::Suspend => pool.suspend(),
                    Op::Resume => pool.resume(),
                    Op::Close => pool.close(),
                    _ => {}
                }
                Answer::Nothing
            }
        }))
    }

    fn guard(&mut self, n: usize) -> Option<PooledConnection<Recorder>> {
        let count = self.guards.len();
        (count > 0).then(|| self.guards.remove(n % count))
    }

    fn got(
        &mut self,
        got: Result<PooledConnection<Recorder>, GetError<MemoryError>>,
    ) -> Result<Answer, String> {
        let guard = match got {
            Ok(guard) => guard,
            Err(error) => {
                return Ok(Answer::Refused(match error {
                    GetError::Closed { .. } => Refusal::Closed,
                    GetError::Create { .. } => Refusal::Create,
                    GetError::Panicked { .. } => Refusal::Panicked,
                    GetError::Saturated { .. } => Refusal::Saturated,
                    GetError::Suspended { .. } => Refusal::Suspended,
                    _ => Refusal::TimedOut,
                }));
            }
        };
        let info = PooledConnection::info(&guard);
        let number = *self.numbers.entry(guard.id()).or_insert(info.id);
        equal("the number of a connection", &info.id, &number)?;
        let seen = seen(guard.id(), &info);
        self.guards.push(guard);
        Ok(Answer::Got(seen))
    }

    /// Adds a connection from outside, unless the backend fails just now.
    fn add(&mut self, pool: &Pool<Recorder>) -> Answer {
        let memory = &self.manager.memory;
        let Ok(Ok(connection)) = panic::catch_unwind(AssertUnwindSafe(|| memory.create())) else {
            return Answer::Nothing;
        };
        self.made += 1;
        let id = connection.id();
        let added = pool.add(connection);
        self.dropped += u64::from(added.is_err());
        Answer::Added(added.is_ok().then_some(id))
    }

    fn compare(&self, known: &Reference, stats: Option<&PoolStats>) -> Result<(), String> {
        let totals = &known.totals;
        let seen = self.manager.memory.counters();
        equal("open", &seen.open, &(known.idle.len() + known.out.len()))?;
        equal(
            "created by the backend",
            &seen.created,
            &(totals.created + self.made),
        )?;
        equal("disposed by the backend", &seen.disposed, &totals.disposed)?;
        equal("dropped", &seen.dropped_undisposed, &self.dropped)?;
        let (Some(stats), Some(pool)) = (stats, self.handles.first()) else {
            return Ok(());
        };
        let size = known.idle.len() + known.out.len();
        let gauges = [
            stats.max_size,
            stats.min_idle,
            stats.size,
            stats.idle,
            stats.in_use,
            stats.creating + stats.disposing + stats.abandoned + stats.waiters,
        ];
        let expected = [
            known.max_size,
            known.min_idle,
            size,
            known.idle.len(),
            known.out.len(),
            0,
        ];
        equal("gauges", &gauges, &expected)?;
        let age = known.oldest_age().map(Duration::from_millis);
        equal("oldest_age", &stats.oldest_age, &age)?;
        equal(
            "gets",
            &[stats.gets, stats.timeouts, stats.saturated],
            &[totals.gets, totals.timeouts, totals.saturated],
        )?;
        equal("created", &stats.created, &totals.created)?;
        equal(
            "check_failures",
            &stats.check_failures,
            &totals.check_failures,
        )?;
        let most = totals.create_errors + totals.doubtful_errors;
        let errors = stats.create_errors.clamp(totals.create_errors, most);
        equal("create_errors", &stats.create_errors, &errors)?;
        equal(
            "disposed, added, detached, panics",
            &[stats.disposed, stats.added, stats.detached, stats.panics],
            &[
                totals.disposed,
                totals.added,
                totals.detached,
                totals.panics,
            ],
        )?;
        let rates = [stats.error_rate(), stats.reuse_rate(), stats.utilization()];
        equal(
            "rates",
            &rates,
            &[
                share(totals.failed_gets, totals.gets),
                share(totals.reused, totals.checkouts),
                share(known.out.len() as u64, known.max_size as u64),
            ],
        )?;
        if totals.errors > 0 {
            equal("last_error", &stats.last_error.is_some(), &true)?;
        }
        let config = pool.config();
        let limits = (config.max_size, config.min_idle, config.max_idle);
        equal(
            "config",
            &(limits, pool.is_closed()),
            &(
                (known.max_size, known.min_idle, known.max_idle),
                known.closed,
            ),
        )?;
        if known.settings.leak_threshold.is_some() {
            equal("holders", &pool.holders().len(), &known.out.len())?;
        }
        let mut evicted = std::array::from_fn(|n| stats.evicted(EvictReason::ALL[n]));
        for (count, before) in evicted.iter_mut().zip(self.evictions) {
            *count -= before;
        }
        known.explains(evicted)
    }

    /// Returns everything, ends the pool, and checks that everything is released.
    fn end(mut self) -> Result<(), String> {
        self.manager.memory.heal();
        while !self.guards.is_empty() {
            self.attempt(Op::GiveBack(0))?;
        }
        // Half of the pools are closed, the others only dropped.
        if self.reference.settings.lazy {
            self.attempt(Op::Close)?;
            if let Some(pool) = self.handles.first() {
                pool.close_timeout(SOON).map_err(|left| left.to_string())?;
            }
        }
        while !self.handles.is_empty() {
            self.attempt(Op::DropHandle)?;
        }
        equal("connections left", &self.reference.live(), &0)?;
        let is_dispose = |did: &&HookCall| did.hook == Hook::Dispose;
        let calls = self.manager.trace().iter().filter(is_dispose).count() as u64;
        let expected_disposed = self.manager.memory.counters().created - self.dropped;
        equal("calls of dispose", &calls, &expected_disposed)
    }
}

fn seen(id: u64, info: &ConnectionInfo) -> Seen {
    Seen {
        id,
        age: info.age.as_millis() as u64,
        idle_for: info.idle_for.as_millis() as u64,
        uses: info.uses,
        generation: info.generation,
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64).min(1.0)
    }
}

fn equal<T: PartialEq + Debug>(what: &str, pool: &T, known: &T) -> Result<(), String> {
    if pool == known {
        return Ok(());
    }
    Err(format!("{what}: {pool:?}, and should be {known:?}"))
}
