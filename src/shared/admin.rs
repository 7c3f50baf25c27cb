//! What an operator does to a running pool: clear, retain, add, resize, suspend, health, close.

use super::node::Vouched;
use super::tend::Tended;
use super::{Failure, PoolLoan, Shared};
use crate::clock::real_now;
use crate::engine::{Stamp, Surplus};
use crate::error::{AddError, StillInUse};
use crate::sync::outer::{Condvar, Mutex};
use crate::{ConfigError, ConnectionInfo, ConnectionManager, EvictReason, PoolEvent};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

impl<M: ConnectionManager> Shared<M> {
    /// Starts the collector, if this pool has one.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let Some(crew) = self.own_crew() else {
            return Ok(());
        };
        crew.start(Arc::new(Tended(Arc::clone(self))))?;
        if let Some(clock) = self.ticker.custom() {
            let crew = Arc::downgrade(crew);
            clock.on_jump(Box::new(move || {
                crew.upgrade().is_some_and(|crew| crew.nudge())
            }));
        }
        Ok(())
    }

    pub(crate) fn clear(self: &Arc<Self>) {
        let generation = self.engine.next_generation();
        let idle: Vec<_> = self.engine.drain(self.ticker.tick()).collect();
        for loan in idle {
            if loan.entry.generation < generation {
                self.evict(loan, EvictReason::Cleared);
            } else {
                self.put_back(loan);
            }
        }
        self.emit(|pool| PoolEvent::Cleared { pool, generation });
        self.nudge();
    }

    pub(crate) fn retain(
        self: &Arc<Self>,
        mut keep: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool,
    ) -> usize {
        let now = self.moment();
        let mut evicted = 0;
        let slots: Vec<_> = self.engine.table.all().collect();
        for slot in slots {
            if !matches!(slot.stamp(), Stamp::Idle(_)) {
                continue;
            }
            let Some((look, mut loan)) = self.take_to_check(slot, now) else {
                continue;
            };
            let info = loan.entry.info(slot.uses(), loan.idle_since, now.tick);
            let connection = &mut loan.entry.connection;
            let kept = catch_unwind(AssertUnwindSafe(|| keep(connection, &info)));
            if let Ok(true) = kept {
                loan.entry.vouched = Vouched::Not;
                let generation = loan.entry.generation;
                self.handed(self.engine.end_look(look, loan, generation, real_now()));
                continue;
            }
            self.engine.end_check(look);
            match kept {
                Ok(_) => {
                    evicted += 1;
                    self.evict(loan, EvictReason::Rejected);
                }
                Err(panic) => {
                    // The caller's own panic: it goes on, but not with a connection in an unknown state.
                    self.evict(loan, EvictReason::Panicked);
                    resume_unwind(panic);
                }
            }
        }
        evicted
    }

    pub(crate) fn add(
        self: &Arc<Self>,
        connection: M::Connection,
    ) -> Result<(), AddError<M::Connection>> {
        let now = self.moment();
        let mut core = self.engine.lock();
        let mut node = self.node(connection, now.tick, core.generation);
        // Nobody vouches for it, and a failing on_checkout is not a failed create.
        node.vouched = Vouched::Not;
        let expires = node.expires;
        match self.engine.adopt(&mut core, node, now, expires) {
            Ok(mut loan) => {
                drop(core);
                loan.entry.begin(loan.slot.uses());
                self.call_for_newcomer(expires, now);
                self.give(loan, now.tick, true);
                Ok(())
            }
            Err(node) => {
                let (closed, max_size) = (core.closed, core.max_size);
                drop(core);
                let (pool, connection) = (Arc::clone(&self.name), node.connection);
                Err(if closed {
                    AddError::Closed { pool, connection }
                } else {
                    AddError::Full {
                        pool,
                        max_size,
                        connection,
                    }
                })
            }
        }
    }

    pub(crate) fn set_max_size(self: &Arc<Self>, max_size: usize) -> Result<(), ConfigError> {
        let min_idle = self.min_idle.load(Relaxed);
        self.check_sizes(max_size, min_idle)?;
        let now = self.moment();
        let effects = self.engine.resize(max_size, now.real);
        self.run(effects);
        for retired in self.engine.drain_surplus(now) {
            self.evict_surplus(retired, Surplus::Shrunk);
        }
        self.note_resize(max_size, min_idle);
        Ok(())
    }

    pub(crate) fn set_min_idle(&self, min_idle: usize) -> Result<(), ConfigError> {
        let max_size = self.engine.lock().max_size;
        self.check_sizes(max_size, min_idle)?;
        self.min_idle.store(min_idle, Relaxed);
        self.note_resize(max_size, min_idle);
        Ok(())
    }

    pub(crate) fn set_keepalive_interval(
        &self,
        interval: Option<Duration>,
    ) -> Result<(), ConfigError> {
        let mut config = self.config.clone();
        config.keepalive_interval = interval;
        config.validate()?;
        *self.keepalive_interval.lock() = interval;
        self.nudge();
        Ok(())
    }

    /// The rules of the settings hold at run time as they do at build.
    fn check_sizes(&self, max_size: usize, min_idle: usize) -> Result<(), ConfigError> {
        let mut config = self.config.clone();
        (config.max_size, config.min_idle) = (max_size, min_idle);
        config.validate()
    }

    fn note_resize(&self, max_size: usize, min_idle: usize) {
        self.emit(|pool| PoolEvent::Resized {
            pool,
            max_size,
            min_idle,
        });
        self.nudge();
    }

    pub(crate) fn suspend(self: &Arc<Self>, on: bool) {
        let Some(effects) = self.engine.suspend(on, real_now()) else {
            return;
        };
        self.run(effects);
        self.emit(|pool| match on {
            true => PoolEvent::Suspended { pool },
            false => PoolEvent::Resumed { pool },
        });
        self.nudge();
    }

    // ---- health --------------------------------------------------------------------------------

    /// Checks every idle connection; returns how many, and how many of them failed.
    pub(super) fn check_idle(self: &Arc<Self>) -> (usize, usize) {
        struct Tally {
            left: usize,
            failed: usize,
            moved: Instant,
        }
        let now = self.moment();
        let slots = self.engine.table.all();
        let idle = slots.filter(|slot| matches!(slot.stamp(), Stamp::Idle(_)));
        let taken: Vec<_> = idle
            .filter_map(|slot| self.take_to_check(slot, now))
            .collect();
        let checked = taken.len();
        let tally = Tally {
            left: checked,
            failed: 0,
            moved: real_now(),
        };
        let tally = Arc::new((Mutex::new(tally), Condvar::new()));
        for (check, loan) in taken {
            let tally = Arc::clone(&tally);
            self.run_check_aside(check, loan, move |well| {
                let mut count = tally.0.lock();
                count.left -= 1;
                count.failed += usize::from(!well);
                count.moved = real_now();
                tally.1.notify_one();
            });
        }
        let mut count = tally.0.lock();
        while count.left > 0 {
            // One that hangs is given up on after its timeout and counts as failed.
            let patience = self
                .config
                .check_timeout
                .saturating_add(Duration::from_millis(50));
            match count.moved.checked_add(patience) {
                None => tally.1.wait(&mut count),
                Some(until) => {
                    let slept = tally.1.wait_until(&mut count, until);
                    if slept.timed_out() && count.moved.elapsed() >= patience {
                        break;
                    }
                }
            }
        }
        (checked, count.failed + count.left)
    }

    // ---- the end -------------------------------------------------------------------------------

    pub(crate) fn is_closed(&self) -> bool {
        self.engine.lock().closed
    }

    /// Closes, waits for nothing. Safe to call from anywhere, hooks included.
    pub(crate) fn close(self: &Arc<Self>) {
        let Some(effects) = self.engine.close(real_now(), || Failure::Closed) else {
            return;
        };
        self.run(effects);
        let idle: Vec<PoolLoan<M>> = self.engine.drain(self.ticker.tick()).collect();
        for loan in idle {
            self.evict(loan, EvictReason::Closed);
        }
        if self.family.is_none() {
            self.emit(|pool| PoolEvent::Closed { pool });
        }
        if let Some(crew) = self.own_crew() {
            crew.close();
        }
    }

    pub(crate) fn close_timeout(self: &Arc<Self>, timeout: Duration) -> Result<(), StillInUse> {
        self.close_by(real_now().checked_add(timeout))
    }

    /// The same with a deadline; None waits for ever.
    pub(crate) fn close_by(self: &Arc<Self>, deadline: Option<Instant>) -> Result<(), StillInUse> {
        self.close();
        let quiet = self.engine.wait_quiet(deadline);
        let gone = quiet && self.own_crew().is_none_or(|crew| crew.wait_gone(deadline));
        if gone {
            return Ok(());
        }
        let core = self.engine.lock();
        let in_use = self.engine.in_use(&core).saturating_sub(core.checking);
        // A thread that has not ended is in a hook, or about to leave one.
        let hooks_running = core.hooks_running().max(usize::from(quiet));
        drop(core);
        Err(StillInUse {
            pool: Arc::clone(&self.name),
            in_use,
            hooks_running,
            holders: self.holders(),
        })
    }
}
