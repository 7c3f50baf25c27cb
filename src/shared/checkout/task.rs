//! A checkout for a task: the steps of the slow path, one poll at a time.

use crate::ConnectionManager;
use crate::clock::real_now;
use crate::engine::Outcome;
use crate::shared::checkout::slow::QueuedGet;
use crate::shared::checkout::{GetResult, GetTimeout};
use crate::shared::{PoolCheckout, Shared};
use std::ops::ControlFlow::{Break, Continue};
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// A request of a task that waits in the queue. A drop ends the wait.
pub(crate) struct TaskGet<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    /// None once the request has ended.
    get: Option<QueuedGet<M>>,
}

impl<M: ConnectionManager> Shared<M> {
    /// Searches for a connection for a task, and queues if there is none.
    ///
    /// Err: the task must be polled again by [`TaskGet::poll`].
    pub(crate) fn get_for_task(
        self: &Arc<Self>,
        timeout: GetTimeout,
        at: &'static Location<'static>,
        found: Option<PoolCheckout<M>>,
    ) -> Result<GetResult<M>, TaskGet<M>> {
        let mut get = self.queued_get(timeout, at, true);
        match get.start(self, found) {
            Break(got) => {
                self.end_get(&get.request, &got);
                Ok(got)
            }
            Continue(()) => Err(TaskGet {
                shared: Arc::clone(self),
                get: Some(get),
            }),
        }
    }
}

impl<M: ConnectionManager> TaskGet<M> {
    /// Goes on with the request, or keeps the waker.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<GetResult<M>> {
        let shared = &self.shared;
        loop {
            let get = self.get.as_mut().expect("bug: polled after its end");
            let waiter = get.waiter.as_ref().expect("bug: no wait without a waiter");
            let run = |actions| shared.run(actions);
            let Poll::Ready(ended) = shared.engine.poll_wait(waiter, waker, real_now, run) else {
                return Poll::Pending;
            };
            if let Break(got) = get.resume(shared, ended) {
                shared.end_get(&get.request, &got);
                self.get = None;
                return Poll::Ready(got);
            }
        }
    }
}

impl<M: ConnectionManager> Drop for TaskGet<M> {
    fn drop(&mut self) {
        let Some(get) = self.get.take() else {
            return;
        };
        let shared = &self.shared;
        shared.count_get(&get.request, true);
        let Some(waiter) = &get.waiter else {
            return;
        };
        match shared.engine.abandon_wait(waiter, real_now()) {
            Ok(actions) => shared.run(actions),
            Err(Some(Outcome::Checkout(checkout))) => {
                let idle_since = checkout.idle_since;
                shared.return_connection(checkout, idle_since, true);
            }
            Err(Some(Outcome::Found(checkout))) => shared.return_unused(checkout),
            Err(Some(Outcome::Permit(_))) => unreachable!("bug: a task got a permit"),
            Err(_) => {}
        }
    }
}
