//! The way of a connection to a caller.

use super::create::{Failed, Purpose};
use super::{Failure, PoolLoan, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{JobKind, Mail, Ticket, Waited, remember, this_thread};
use crate::error::{Cause, GetError, Phase, Timeout};
use crate::{ConnectionManager, EvictReason, HealthCheck, PoolEvent};
use std::error::Error;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A check somebody waits for that takes longer than this is not counted on any longer: the waiter
/// looks for something else meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    For(Duration),
    Until(Instant),
}

type PoolTicket<M> = Ticket<super::Of<M>, super::Err<M>>;
type Got<M> = Result<PoolLoan<M>, GetError<<M as ConnectionManager>::Error>>;

/// One caller's errand.
struct Errand {
    since: Instant,
    deadline: Option<Instant>,
    /// Waits for nothing at all.
    impatient: bool,
    at: &'static Location<'static>,
}

/// What came of a connection that was to be handed out.
enum Accepted<M: ConnectionManager> {
    Ready(PoolLoan<M>),
    /// Evicted.
    Gone,
    /// A check that may block is due.
    Unproven(PoolLoan<M>),
    /// A new connection whose on_checkout failed: a failed create.
    Failed(Failed<M::Error>),
}

impl<M: ConnectionManager> Shared<M> {
    /// The whole of a warm checkout: the slot this thread used last, one swap, no lock.
    #[inline]
    pub(crate) fn get(self: &Arc<Self>, budget: Budget, at: &'static Location<'static>) -> Got<M> {
        if self.engine.is_open_road() {
            let now = self.ticker.tick();
            if let Some(mut loan) = self.engine.take_hinted(now) {
                if self.needs_no_look(&loan, now) && self.is_silent() {
                    match self.prepare(&mut loan) {
                        Ok(()) => return Ok(self.hand_out(loan)),
                        Err(reason) => self.evict(loan, reason.0),
                    }
                } else {
                    return self.get_cold(budget, at, Some(loan));
                }
            }
        }
        self.get_cold(budget, at, None)
    }

    #[inline]
    fn needs_no_look(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        now < loan.entry.expires && now.saturating_sub(loan.idle_since) < self.fresh
    }

    /// The last word of the connection's own hook. An error comes with what it was.
    #[inline]
    fn prepare(
        &self,
        loan: &mut PoolLoan<M>,
    ) -> Result<(), (EvictReason, Option<Cause<M::Error>>)> {
        let connection = &mut loan.entry.connection;
        match self.call("on_checkout", |manager| manager.on_checkout(connection)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err((
                EvictReason::HookFailed,
                Some(Cause::Create(Arc::new(error))),
            )),
            Err(message) => {
                let hook = "on_checkout";
                Err((
                    EvictReason::Panicked,
                    Some(Cause::Panicked { hook, message }),
                ))
            }
        }
    }

    /// Counts the checkout. From here on the connection is the caller's.
    #[inline]
    fn hand_out(&self, mut loan: PoolLoan<M>) -> PoolLoan<M> {
        let uses = loan.count_use(this_thread());
        if uses == loan.entry.first_use {
            self.meter.first_uses.fetch_add(1, Relaxed);
        }
        loan.entry.amid_panic = std::thread::panicking();
        loan
    }

    fn hand_out_loudly(&self, loan: PoolLoan<M>, errand: &Errand, now: u64) -> PoolLoan<M> {
        let loan = self.hand_out(loan);
        remember(self.engine.id, loan.slot.index());
        if let Some(leaks) = &self.leaks {
            leaks.note(&loan, errand.at, now);
            self.call_for(leaks.due(now), self.moment());
        }
        let id = loan.entry.id;
        self.emit(|pool| PoolEvent::CheckedOut {
            pool,
            id,
            waited: real_now().saturating_duration_since(errand.since),
        });
        if self.engine.is_listening() {
            self.wake_up();
        }
        loan
    }

    #[cold]
    #[inline(never)]
    fn get_cold(
        self: &Arc<Self>,
        budget: Budget,
        at: &'static Location<'static>,
        found: Option<PoolLoan<M>>,
    ) -> Got<M> {
        let since = real_now();
        let deadline = match budget {
            Budget::For(budget) => since.checked_add(budget).filter(|_| !is_unlimited(budget)),
            Budget::Until(deadline) => Some(deadline),
        };
        let errand = Errand {
            since,
            deadline,
            impatient: deadline.is_some_and(|deadline| deadline <= since),
            at,
        };
        let got = self.seek(&errand, found);
        if got.is_err() {
            self.meter.failed.fetch_add(1, Relaxed);
        }
        if self.crew.is_none() {
            self.tend_a_little();
        }
        got
    }

    /// An idle connection now or none: never waits, never creates.
    pub(crate) fn try_get(self: &Arc<Self>, at: &'static Location<'static>) -> Option<PoolLoan<M>> {
        let since = real_now();
        let errand = Errand {
            since,
            deadline: Some(since),
            impatient: true,
            at,
        };
        let loan = self.look(&errand, None).ok()??;
        loan.count_try();
        Some(loan)
    }

    /// Looks for an idle connection without queueing. `Err` carries one whose check may block.
    fn look(
        self: &Arc<Self>,
        errand: &Errand,
        mut found: Option<PoolLoan<M>>,
    ) -> Result<Option<PoolLoan<M>>, PoolLoan<M>> {
        // Those that an errand without time cannot wait for. They are seen to afterwards, so that it
        // does not meet them again.
        let mut passed = Vec::new();
        let result = loop {
            let now = self.ticker.tick();
            let next = found.take().or_else(|| {
                let free = self.engine.may_overtake();
                free.then(|| self.engine.take_any(now)).flatten()
            });
            let Some(loan) = next else { break Ok(None) };
            match self.accept(loan, errand.impatient, false) {
                Accepted::Ready(loan) => {
                    break Ok(Some(self.hand_out_loudly(loan, errand, now)));
                }
                Accepted::Gone | Accepted::Failed(_) => {}
                Accepted::Unproven(loan) if !errand.impatient => break Err(loan),
                Accepted::Unproven(loan) => passed.push(loan),
            }
        };
        for loan in passed {
            if self.crew.is_some() {
                self.check_aside(loan, |_| ());
            } else {
                let idle_since = loan.idle_since;
                self.give_back(loan, idle_since);
            }
        }
        result
    }

    /// Everything beyond the warm way: looks, queues, waits, until there is an outcome.
    fn seek(self: &Arc<Self>, errand: &Errand, mut found: Option<PoolLoan<M>>) -> Got<M> {
        let mut ticket: Option<Arc<PoolTicket<M>>> = None;
        loop {
            // A caller that has queued before keeps its place and does not go round the line.
            let unproven = if ticket.is_none() || found.is_some() {
                match self.look(errand, found.take()) {
                    Ok(Some(loan)) => return Ok(self.note_wait(loan, errand, ticket.is_some())),
                    Ok(None) => None,
                    Err(loan) => Some(loan),
                }
            } else {
                None
            };
            if errand.impatient {
                return Err(self.give_up(errand, false));
            }
            match self.queue(errand, &mut ticket, unproven)? {
                Queued::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                Queued::Waiting => {}
            }
            let Some(ticket) = &ticket else { continue };
            let moment = || self.moment();
            let waited = self
                .engine
                .wait(ticket, errand.deadline, moment, |effects| self.run(effects));
            let mailed = match waited {
                Waited::TimedOut => return Err(self.give_up(errand, true)),
                Waited::Found(loan) => {
                    found = Some(loan);
                    continue;
                }
                Waited::Mail(Mail::Fail(failure)) => return Err(self.fail(failure)),
                Waited::Mail(Mail::Loan(loan)) => loan,
                Waited::Mail(Mail::Permit(permit)) => {
                    match self.create_loan(permit, Purpose::Waiter) {
                        Ok(Some(loan)) => loan,
                        Ok(None) => continue,
                        Err(failed) => {
                            // Nobody else could be told: this caller ran the create.
                            if failed.transient || self.engine.lock().open > 0 {
                                continue;
                            }
                            return Err(self.fail(failed.failure()));
                        }
                    }
                }
            };
            match self.accept(mailed, false, true) {
                Accepted::Ready(loan) => {
                    let loan = self.hand_out_loudly(loan, errand, self.ticker.tick());
                    return Ok(self.note_wait(loan, errand, true));
                }
                Accepted::Gone => {}
                Accepted::Unproven(loan) => found = Some(loan),
                Accepted::Failed(failed) => {
                    if !failed.transient && self.engine.lock().open == 0 {
                        return Err(self.fail(failed.failure()));
                    }
                }
            }
        }
    }

    /// Joins the line, with every idle connection looked at and every create under way that helps.
    fn queue(
        self: &Arc<Self>,
        errand: &Errand,
        ticket: &mut Option<Arc<PoolTicket<M>>>,
        unproven: Option<PoolLoan<M>>,
    ) -> Result<Queued<M>, GetError<M::Error>> {
        let newcomer = ticket.is_none();
        let ticket = ticket.get_or_insert_with(|| Ticket::new(errand.since));
        let now = self.moment();
        let mut core = self.engine.lock();
        if core.closed {
            drop(core);
            if let Some(loan) = unproven {
                self.evict(loan, EvictReason::Closed);
            }
            return Err(self.fail(Failure::Closed));
        }
        self.engine.join(&mut core, ticket, now.real);
        let check = unproven.map(|loan| {
            let patience = now.real.checked_add(PATIENCE);
            let check =
                self.engine
                    .begin_check(&mut core, &loan, loan.entry.id, now.real, patience);
            (check, loan)
        });
        if check.is_none() && !core.suspended {
            if let Some(loan) = self.engine.search(&core, ticket, now.tick) {
                let effects = self.engine.leave(&mut core, ticket, now.real);
                drop(core);
                effects.into_iter().for_each(|effects| self.run(effects));
                return Ok(Queued::Found(loan));
            }
        }
        let effects = self.engine.settle(&mut core, now.real);
        if newcomer && self.is_crowded(&core) {
            let after = self.engine.leave(&mut core, ticket, now.real);
            drop(core);
            self.run(effects);
            after.into_iter().for_each(|effects| self.run(effects));
            if let Some((check, loan)) = check {
                self.start_check(check, loan);
            }
            let max_waiters = self.config.max_waiters.unwrap_or_default();
            self.meter.saturated.fetch_add(1, Relaxed);
            let pool = Arc::clone(&self.name);
            return Err(GetError::Saturated { pool, max_waiters });
        }
        if newcomer {
            self.meter.gets_waited.fetch_add(1, Relaxed);
        }
        self.meter.peak_waiters.fetch_max(core.queue.len(), Relaxed);
        // It waits because nothing is idle, so what is open is in use.
        self.meter.peak_in_use.fetch_max(core.open, Relaxed);
        drop(core);
        self.run(effects);
        if let Some((check, loan)) = check {
            self.start_check(check, loan);
        }
        Ok(Queued::Waiting)
    }

    /// More callers blocked than may be, beyond what is on its way to them.
    fn is_crowded(&self, core: &super::PoolCore<M>) -> bool {
        let Some(max_waiters) = self.config.max_waiters else {
            return false;
        };
        let coming = core.creating + core.checking + self.engine.idle_count();
        core.queue.len().saturating_sub(coming) > max_waiters
    }

    /// May this connection be handed out? `impatient`: its caller waits for nothing. `mailed`: it came
    /// by mail, not from a slot.
    fn accept(
        self: &Arc<Self>,
        mut loan: PoolLoan<M>,
        impatient: bool,
        mailed: bool,
    ) -> Accepted<M> {
        let now = self.ticker.tick();
        let newborn = mailed && loan.entry.vouched && loan.slot.uses() == loan.entry.first_use;
        if now >= loan.entry.expires {
            self.evict(loan, EvictReason::MaxLifetime);
            return Accepted::Gone;
        }
        if !(mailed && std::mem::take(&mut loan.entry.vouched)) {
            if self.is_idled_out(&loan, now) {
                self.evict(loan, EvictReason::IdleTimeout);
                return Accepted::Gone;
            }
            if self.check_is_due(&loan, now) {
                if self.check_may_block && (impatient || self.crew.is_some()) {
                    return Accepted::Unproven(loan);
                }
                match self.prove(&mut loan) {
                    Ok(()) => loan.set_checked(now),
                    Err(reason) => {
                        self.evict(loan, reason);
                        return Accepted::Gone;
                    }
                }
            }
        }
        match self.prepare(&mut loan) {
            Ok(()) => Accepted::Ready(loan),
            Err((reason, cause)) => {
                let since = real_now();
                self.evict(loan, reason);
                match cause.filter(|_| newborn) {
                    Some(cause) => Accepted::Failed(self.fail_newborn(cause, since)),
                    None => Accepted::Gone,
                }
            }
        }
    }

    fn fail_newborn(self: &Arc<Self>, cause: Cause<M::Error>, since: Instant) -> Failed<M::Error> {
        let (transient, error): (bool, Arc<dyn Error + Send + Sync>) = match &cause {
            Cause::Create(error) | Cause::Check(error) => {
                (self.ask_transient(error), Arc::clone(error) as _)
            }
            Cause::Panicked { message, .. } => (false, Arc::from(Box::from(message.clone()))),
            Cause::TimedOut { hook, .. } => (true, Arc::from(Box::from(*hook))),
        };
        let failed = Failed { cause, transient };
        match self.failed::<()>(None, since, failed, error) {
            Err(failed) => failed,
            Ok(_) => unreachable!("bug: a create without a permit cannot have been given up"),
        }
    }

    fn is_idled_out(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        let Some(limit) = self.ages.idle else {
            return false;
        };
        let idle_for = now.saturating_sub(loan.idle_since);
        // This one is out already: what is still idle must be enough without it.
        idle_for > limit && self.engine.idle_count() >= self.min_idle.load(Relaxed)
    }

    fn check_is_due(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        match self.config.health_check {
            HealthCheck::Never => false,
            HealthCheck::OnCheckout => true,
            HealthCheck::AfterIdle(window) => {
                let since = loan.idle_since.max(loan.slot.checked());
                super::limit(Some(window)).is_some_and(|window| now.saturating_sub(since) >= window)
            }
        }
    }

    // ---- outcomes ------------------------------------------------------------------------------

    fn note_wait(&self, loan: PoolLoan<M>, errand: &Errand, waited: bool) -> PoolLoan<M> {
        if waited {
            let waited = real_now().saturating_duration_since(errand.since);
            self.meter.wait.record(waited);
        }
        loan
    }

    pub(super) fn fail(&self, failure: Failure<M::Error>) -> GetError<M::Error> {
        let pool = Arc::clone(&self.name);
        match failure {
            Failure::Closed => GetError::Closed { pool },
            Failure::Create(error) => GetError::Create { pool, error },
            Failure::Panicked { hook, message } => GetError::Panicked {
                pool,
                hook,
                message,
            },
        }
    }

    /// The deadline has passed: says what stood in the way.
    pub(super) fn timeout(
        &self,
        since: Instant,
        deadline: Option<Instant>,
        waited: bool,
    ) -> Timeout<M::Error> {
        let me = this_thread();
        let core = self.engine.lock();
        let in_use = self.engine.in_use(&core);
        let checking = core.jobs().any(|(_, job)| job.kind == JobKind::Check);
        let phase = if core.suspended {
            Phase::Suspended
        } else if checking {
            Phase::Checking
        } else if core.creating > 0 || (waited && core.has_room()) {
            Phase::Creating
        } else if core.open == 0 && core.disposing > 0 {
            Phase::Disposing
        } else {
            Phase::Waiting
        };
        let mut timeout = Timeout {
            pool: Arc::clone(&self.name),
            // The budget, and not what the scheduler made of it.
            waited: match deadline.filter(|_| waited) {
                Some(deadline) => deadline.saturating_duration_since(since),
                None => Duration::ZERO,
            },
            phase,
            size: core.size(),
            max_size: core.max_size,
            idle: core.open - in_use,
            in_use,
            creating: core.creating,
            disposing: core.disposing,
            waiters: core.queue.len(),
            last: None,
            held_by_this_thread: self.engine.held_by(me),
        };
        drop(core);
        let failing = self.backing.lock().failures() > 0;
        let last = self.last_failure.lock();
        let last = last.as_ref().filter(|(at, _)| failing || *at >= since);
        timeout.last = last.map(|(_, cause)| cause.clone());
        timeout
    }

    fn give_up(&self, errand: &Errand, waited: bool) -> GetError<M::Error> {
        if self.engine.lock().closed {
            return self.fail(Failure::Closed);
        }
        let timeout = self.timeout(errand.since, errand.deadline, waited);
        self.meter.timeouts.fetch_add(1, Relaxed);
        let (waited, waiters) = (timeout.waited, timeout.waiters);
        self.emit(|pool| PoolEvent::TimedOut {
            pool,
            waited,
            waiters,
        });
        GetError::TimedOut(Box::new(timeout))
    }
}

enum Queued<M: ConnectionManager> {
    Found(PoolLoan<M>),
    Waiting,
}
