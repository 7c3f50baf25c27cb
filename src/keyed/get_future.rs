//! The future of a checkout from a keyed pool.

use super::KeyedPool;
use crate::clock::real_now;
use crate::error::GetError;
use crate::interact::Checkout;
use crate::shared::{GetTimeout, PoolCheckout, TaskGet};
use crate::{ConnectionManager, PooledConnection};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::panic::{Location, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

/// The checkout of a task from a keyed pool: the future that [`KeyedPool::get_async`] and its variants return.
///
/// It behaves like [`GetFuture`](crate::GetFuture). The factory of the key runs within a poll, so it should not block.
///
/// # Panics
///
/// A poll after the future has returned its result panics.
#[must_use = "a future does nothing unless it is polled"]
pub struct KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// None once the future has returned its result.
    request: Option<Request<K, M>>,
    stage: Stage<M>,
}

struct Request<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    pool: KeyedPool<K, M>,
    key: K,
    timeout: Option<GetTimeout>,
    at: &'static Location<'static>,
}

enum Stage<M: ConnectionManager> {
    New,
    /// Looks up the pool of the key.
    LookUp(Instant, Option<Instant>),
    /// Waits in the queue of the key's pool.
    Waiting(TaskGet<M>, Instant, Option<Instant>),
}

type Got<M> = Result<PooledConnection<M>, GetError<<M as ConnectionManager>::Error>>;

impl<K, M> KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    pub(crate) fn new(
        pool: KeyedPool<K, M>,
        key: K,
        timeout: Option<GetTimeout>,
        at: &'static Location<'static>,
    ) -> Self {
        let request = Some(Request {
            pool,
            key,
            timeout,
            at,
        });
        let stage = Stage::New;
        Self { request, stage }
    }
}

impl<K, M> Request<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn poll(&self, stage: &mut Stage<M>, waker: &Waker) -> Poll<Got<M>> {
        let mut found = None;
        loop {
            let (got, since, deadline) = match stage {
                Stage::New => {
                    match self.pool.get_fast(&self.key, false, self.at) {
                        Ok(guard) => return Poll::Ready(Ok(guard)),
                        Err(unchecked) => found = unchecked,
                    }
                    let timeout = self
                        .timeout
                        .unwrap_or_else(|| self.pool.keys.group.default_timeout());
                    let (since, deadline) = timeout.from(real_now());
                    *stage = Stage::LookUp(since, deadline);
                    continue;
                }
                Stage::LookUp(since, deadline) => {
                    let (since, deadline) = (*since, *deadline);
                    match ready!(self.get(found.take(), since, deadline, waker)) {
                        Ok(got) => (got, since, deadline),
                        Err(get) => {
                            *stage = Stage::Waiting(get, since, deadline);
                            continue;
                        }
                    }
                }
                Stage::Waiting(get, since, deadline) => (
                    ready!(get.poll(waker)).map(PooledConnection::new),
                    *since,
                    *deadline,
                ),
            };
            if self.pool.is_of_removed_key(&got) {
                *stage = Stage::LookUp(since, deadline);
                continue;
            }
            return Poll::Ready(self.pool.name_closed(got));
        }
    }

    /// Looks up the pool of the key, and begins a checkout there. Err: the checkout must wait.
    fn get(
        &self,
        found: Option<PoolCheckout<M>>,
        since: Instant,
        deadline: Option<Instant>,
        waker: &Waker,
    ) -> Poll<Result<Got<M>, TaskGet<M>>> {
        let pool =
            match self
                .pool
                .pool_for_task(&self.key, found.as_ref(), (since, deadline), waker)
            {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Ok(Err(error))),
                Poll::Ready(Ok(pool)) => pool,
            };
        let got = pool.get_for_task(GetTimeout::Since(since, deadline), self.at, found);
        Poll::Ready(got.map(|got| got.map(PooledConnection::new)))
    }
}

impl<K, M> Future for KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    type Output = Got<M>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let request = this.request.as_ref();
        let request = request.expect("a future was polled after it had returned its result");
        let got = ready!(request.poll(&mut this.stage, context.waker()));
        this.request = None;
        Poll::Ready(got)
    }
}

impl<K, M> Checkout<M> for KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn no_collector(&self) -> GetError<M::Error> {
        let request = self.request.as_ref();
        let request = request.expect("bug: it was not polled before");
        request.pool.no_collector()
    }
}

impl<K, M> Unpin for KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}

impl<K, M> fmt::Debug for KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match (&self.request, &self.stage) {
            (None, _) => "ended",
            (_, Stage::New) => "new",
            (_, Stage::LookUp(..) | Stage::Waiting(..)) => "waiting",
        };
        f.debug_struct("KeyedGetFuture")
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}

// A panic of a hook or a waker is caught, and the state of the pool stays consistent.
impl<K, M> UnwindSafe for KeyedGetFuture<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}
