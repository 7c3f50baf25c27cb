//! Outcome: the wait time of a checkout that succeeded, and the error of one that failed.

use crate::clock::real_now;
use crate::engine::{JobKind, this_thread};
use crate::error::{Cause, GetError, Phase, Timeout};
use crate::foreign::Caught;
use crate::info::NAMED_HOLDERS;
use crate::shared::checkout::Request;
use crate::shared::create::Failed;
use crate::shared::{Failure, PoolCheckout, Shared};
use crate::{ConnectionManager, OnSuspend, PoolEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Sets the last cause of a timeout.
///
/// The previous cause may hold the last reference to an error of the user. Its drop is user code, so panics
/// are caught.
pub(in crate::shared) fn set_last_cause<E>(timeout: &mut Timeout<E>, cause: Cause<E>) {
    drop(Caught::new(timeout.last.replace(cause)));
}

impl<M: ConnectionManager> Shared<M> {
    /// Records how long the request waited, if it `waited`.
    pub(in crate::shared) fn record_wait(
        &self,
        checkout: PoolCheckout<M>,
        request: &Request,
        waited: bool,
    ) -> PoolCheckout<M> {
        if waited {
            let waited = real_now().saturating_duration_since(request.since);
            self.meter.wait.record(waited);
        }
        checkout
    }

    /// Converts the failure of a wait to the error of the API.
    pub(in crate::shared) fn get_error(&self, failure: Failure<M::Error>) -> GetError<M::Error> {
        let pool = Arc::clone(&self.name);
        match failure {
            Failure::Closed => GetError::Closed { pool },
            Failure::Suspended => GetError::Suspended { pool },
            Failure::Cleared(cause) => GetError::Cleared {
                pool,
                cause: cause.map(Caught::into_inner),
            },
            Failure::Create(error) => GetError::Create {
                pool,
                error: error.into_inner(),
            },
            Failure::Panicked { hook, message } => GetError::Panicked {
                pool,
                hook,
                message,
            },
            Failure::TimedOut { hook, after } => {
                let now = real_now();
                let mut timeout = self.timeout(now, Some(now), false);
                set_last_cause(&mut timeout, Cause::TimedOut { hook, after });
                GetError::TimedOut(Box::new(timeout))
            }
        }
    }

    /// Returns the error that a caller gets at once during an outage. None: there is no outage.
    pub(in crate::shared) fn outage_error(&self, now: Instant) -> Option<GetError<M::Error>> {
        Some(self.get_error(self.outage_failure(now)?.failure()))
    }

    /// With `fail_fast`: fails all waiters if there is an outage.
    ///
    /// Called after a connection was closed. It may have been the last one while creates fail, and its
    /// waiters must not wait for the recovery.
    pub(in crate::shared) fn fail_all_in_outage(self: &Arc<Self>) {
        if self.config.fail_fast {
            if let Some(failed) = self.outage_failure(real_now()) {
                self.fail_all(&failed);
            }
        }
    }

    /// Returns the failure of the last create, if no connection is open and no create has succeeded since.
    fn outage_failure(&self, now: Instant) -> Option<Failed<M::Error>> {
        let state = self.engine.lock();
        if state.closed || !state.is_in_outage(now) {
            return None;
        }
        drop(state);
        // None: a create has succeeded since the check under the lock, so the outage is over.
        let cause = self.last_create_failure.lock().clone()?;
        let transient = true;
        Some(Failed { cause, transient })
    }

    /// Builds the timeout error, which says why no connection was available in time.
    pub(in crate::shared) fn timeout(
        &self,
        since: Instant,
        deadline: Option<Instant>,
        waited: bool,
    ) -> Timeout<M::Error> {
        let me = this_thread();
        let state = self.engine.lock();
        let in_use = self.engine.in_use(&state);
        let checking = state.jobs().any(|(_, job)| job.kind == JobKind::Check);
        let phase = if state.suspended {
            Phase::Suspended
        } else if checking {
            Phase::Checking
        } else if state.creating > 0 || (waited && self.engine.has_room(&state)) {
            Phase::Creating
        } else if state.open == 0 && state.disposing > 0 {
            Phase::Disposing
        } else {
            Phase::Waiting
        };
        let mut timeout = Timeout {
            pool: Arc::clone(&self.name),
            // Report the configured timeout. The time that really passed includes scheduling delays.
            waited: match deadline.filter(|_| waited) {
                Some(deadline) => deadline.saturating_duration_since(since),
                None => Duration::ZERO,
            },
            phase,
            size: state.size(),
            max_size: state.max_size,
            idle: state.open - in_use,
            in_use,
            creating: state.creating,
            disposing: state.disposing,
            waiters: state.queue.len(),
            holders: Vec::new(),
            more_holders: 0,
            max_total: (self.engine.member())
                .filter(|member| !member.has_room())
                .map(|member| member.max()),
            last: None,
            held_by_this_thread: self.engine.held_by(me),
        };
        let out = self.engine.checkouts(&state);
        drop(state);
        (timeout.holders, timeout.more_holders) = self.longest_holders(out);
        if let Some(member) = self.engine.member().filter(|_| timeout.max_total.is_some()) {
            // The limit is shared, so a connection that this thread holds from any pool of the group is in
            // the way.
            timeout.held_by_this_thread = member.limit().held_by(me);
            if let Some(group) = &self.group {
                let mut holders = group.holders();
                timeout.more_holders = holders.len().saturating_sub(NAMED_HOLDERS);
                holders.truncate(NAMED_HOLDERS);
                timeout.holders = holders;
            }
        }
        let failing = self.backoff.lock().failures() > 0;
        let last = self.last_failure.lock();
        let last = last.as_ref().filter(|(at, _)| failing || *at >= since);
        timeout.last = last.map(|(_, cause)| (**cause).clone());
        timeout
    }

    /// Returns the error of a request that would have to wait and may not.
    pub(in crate::shared) fn would_wait(&self, request: &Request) -> GetError<M::Error> {
        let is_over = request
            .deadline
            .is_some_and(|deadline| deadline <= request.since);
        if !request.is_task || is_over {
            return self.timeout_error(request, false);
        }
        let state = self.engine.lock();
        let failure = match (state.closed, state.suspended) {
            (true, _) => Failure::Closed,
            (_, true) if self.config.on_suspend == OnSuspend::Fail => Failure::Suspended,
            _ => {
                let pool = Arc::clone(&self.name);
                return GetError::NoCollector { pool };
            }
        };
        drop(state);
        self.get_error(failure)
    }

    /// Counts and reports a timeout and returns its error.
    pub(in crate::shared) fn timeout_error(
        &self,
        request: &Request,
        waited: bool,
    ) -> GetError<M::Error> {
        let (closed, suspended) = {
            let state = self.engine.lock();
            (state.closed, state.suspended)
        };
        if closed {
            return self.get_error(Failure::Closed);
        }
        if suspended && self.config.on_suspend == OnSuspend::Fail {
            return self.get_error(Failure::Suspended);
        }
        let mut timeout = self.timeout(request.since, request.deadline, waited);
        if request.is_task {
            // The other tasks of this thread may hold connections without standing in the way.
            timeout.held_by_this_thread = 0;
        }
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
