//! The future of a checkout.

use super::Pool;
use crate::error::GetError;
use crate::interact::Checkout;
use crate::shared::{GetTimeout, PoolCheckout, TaskGet};
use crate::{ConnectionManager, PooledConnection};
use std::fmt;
use std::future::Future;
use std::panic::{Location, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The checkout of a task: the future that [`Pool::get_async`] and its variants return.
///
/// The future needs no runtime. It does nothing before its first poll. A timeout begins at that poll. A poll never
/// blocks. If a connection is idle and needs no check that may block, the first
/// poll returns it. Otherwise the task joins the queue of the pool, among
/// the threads that wait there, and the pool wakes it when there is a connection, an error, or the deadline.
///
/// Dropping the future ends the wait: the task leaves the queue, and a connection that was handed off to it goes to the
/// next caller. The future holds a handle, so the pool stays open while the future exists. A task that is woken and
/// never polled again keeps its connection from others until the future is dropped.
///
/// # Panics
///
/// A poll after the future has returned its result panics.
#[must_use = "a future does nothing unless it is polled"]
pub struct GetFuture<M: ConnectionManager> {
    stage: Stage<M>,
}

enum Stage<M: ConnectionManager> {
    New {
        pool: Pool<M>,
        timeout: Option<GetTimeout>,
        at: &'static Location<'static>,
    },
    /// The handle keeps the pool open.
    Waiting {
        get: TaskGet<M>,
        _pool: Pool<M>,
    },
    Ended,
}

impl<M: ConnectionManager> GetFuture<M> {
    #[inline]
    pub(crate) fn new(
        pool: Pool<M>,
        timeout: Option<GetTimeout>,
        at: &'static Location<'static>,
    ) -> Self {
        let stage = Stage::New { pool, timeout, at };
        Self { stage }
    }

    /// Queues for a connection. `found` is a connection that the fast path took and that needs validation.
    #[cold]
    #[inline(never)]
    fn poll_slow(
        &mut self,
        context: &Context<'_>,
        found: Option<PoolCheckout<M>>,
    ) -> Poll<Result<PooledConnection<M>, GetError<M::Error>>> {
        if let Stage::New { .. } = self.stage {
            let Stage::New { pool, timeout, at } = std::mem::replace(&mut self.stage, Stage::Ended)
            else {
                unreachable!("bug: it was new");
            };
            let timeout = timeout.unwrap_or_else(|| pool.shared().default_timeout());
            match pool.shared().get_for_task(timeout, at, found) {
                Ok(got) => return Poll::Ready(got.map(PooledConnection::new)),
                Err(get) => self.stage = Stage::Waiting { get, _pool: pool },
            }
        }
        let Stage::Waiting { get, .. } = &mut self.stage else {
            panic!("a future was polled after it had returned its result");
        };
        let got = ready!(get.poll(context.waker()));
        self.stage = Stage::Ended;
        Poll::Ready(got.map(PooledConnection::new))
    }
}

impl<M: ConnectionManager> Future for GetFuture<M> {
    type Output = Result<PooledConnection<M>, GetError<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut found = None;
        if let Stage::New { pool, at, .. } = &this.stage {
            match pool.get_fast::<false>(at) {
                Ok(checkout) => {
                    this.stage = Stage::Ended;
                    return Poll::Ready(Ok(PooledConnection::new(checkout)));
                }
                Err(unchecked) => found = unchecked,
            }
        }
        this.poll_slow(context, found)
    }
}

impl<M: ConnectionManager> Checkout<M> for GetFuture<M> {
    fn no_collector(&self) -> GetError<M::Error> {
        let Stage::New { pool, .. } = &self.stage else {
            unreachable!("bug: it was not polled before");
        };
        pool.no_collector()
    }
}

impl<M: ConnectionManager> Unpin for GetFuture<M> {}

impl<M: ConnectionManager> fmt::Debug for GetFuture<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New { .. } => "new",
            Stage::Waiting { .. } => "waiting",
            Stage::Ended => "ended",
        };
        f.debug_struct("GetFuture")
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}

// A panic of a hook or a waker is caught, and the state of the pool stays consistent.
impl<M: ConnectionManager> UnwindSafe for GetFuture<M> {}
