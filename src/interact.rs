//! Closures on a connection: on a thread of the pool for a task, or on the calling thread.

use crate::error::{GetError, InteractError};
use crate::exec::WorkerPool;
use crate::foreign::{Caught, guarded, message_of};
use crate::sync::outer::Mutex;
use crate::{ConnectionManager, PooledConnection};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The future of [`Pool::interact`](crate::Pool::interact) and its variants: waits for a connection, then calls a closure
/// with it on a thread of the pool.
///
/// The future needs no runtime, and does nothing before its first poll. Then it waits for a connection, like
/// [`GetFuture`](crate::GetFuture). The thread that gives the connection to the closure also gives it back, and then continues with the
/// closure that waits next. So at most `max_size` closures of a pool run at once,
/// on about as many threads. If a thread needs more than 5 ms to continue with the next closure, the pool starts another
/// one. The threads end after 300 ms without work.
///
/// # Cancellation
///
/// If the future is dropped before the closure begins, the closure is never called. If the closure runs already, it runs
/// to its end, and the connection is checked in. [`interrupt_on_drop`](Self::interrupt_on_drop) ends the connection
/// under the closure instead, if the manager has an [`interrupter`](ConnectionManager::interrupter).
///
/// # Panics
///
/// A poll after the future has returned its result panics.
#[must_use = "a future does nothing unless it is polled"]
pub struct Interact<M: ConnectionManager, T: Send + 'static> {
    job: Arc<Job<M, T>>,
    is_polled: bool,
    interrupts: bool,
}

type Work<M, T> = Box<dyn FnOnce(&mut <M as ConnectionManager>::Connection) -> T + Send>;
type Outcome<M, T> = Result<T, InteractError<<M as ConnectionManager>::Error>>;

/// The checkout of the connection for a closure.
pub(crate) trait Checkout<M: ConnectionManager>:
    Future<Output = Result<PooledConnection<M>, GetError<M::Error>>> + Send
{
    /// Returns the error of a closure in a pool without threads.
    fn no_collector(&self) -> GetError<M::Error>;
}

/// A closure that waits for its connection.
struct Waiting<M: ConnectionManager, T> {
    checkout: Pin<Box<dyn Checkout<M>>>,
    work: Work<M, T>,
}

struct Job<M: ConnectionManager, T: Send + 'static> {
    /// None: the pool has no threads.
    workers: Option<Arc<WorkerPool>>,
    state: Mutex<State<M, T>>,
}

struct State<M: ConnectionManager, T> {
    step: Step<M, T>,
    /// Returns whether the connection must be discarded after the closure has returned this value.
    is_failure: Option<fn(&T) -> bool>,
    waker: Option<Caught<Waker>>,
}

enum Step<M: ConnectionManager, T> {
    Waiting(Waiting<M, T>),
    /// A thread polls the checkout. `again`: it was woken meanwhile, so the thread must poll once more.
    Polling {
        again: bool,
    },
    /// The closure has its connection, and a thread is about to call it.
    Ready,
    /// The closure runs. The function interrupts its connection.
    Running(Box<dyn Fn() + Send>),
    /// The closure has returned, and its connection must not be interrupted any more.
    Returned,
    Ended(Outcome<M, T>),
    /// The future was dropped, or has returned the outcome.
    Gone,
}

impl<M: ConnectionManager, T: Send + 'static> Interact<M, T> {
    pub(crate) fn new(
        workers: Option<&Arc<WorkerPool>>,
        checkout: impl Checkout<M> + 'static,
        work: impl FnOnce(&mut M::Connection) -> T + Send + 'static,
    ) -> Self {
        let (checkout, work) = (Box::pin(checkout), Box::new(work));
        let state = State {
            step: Step::Waiting(Waiting { checkout, work }),
            is_failure: None,
            waker: None,
        };
        Self {
            job: Arc::new(Job {
                workers: workers.map(Arc::clone),
                state: Mutex::new(state),
            }),
            is_polled: false,
            interrupts: false,
        }
    }

    /// Interrupts the connection if the future is dropped while the closure runs. The closure then gets the error of
    /// its driver, and the pool evicts the connection.
    ///
    /// Does nothing if the manager has no interrupter for the connection.
    pub fn interrupt_on_drop(mut self) -> Self {
        self.interrupts = true;
        self
    }
}

impl<M: ConnectionManager, T: Send + 'static, E: Send + 'static> Interact<M, Result<T, E>> {
    /// Discards the connection if the closure returns `Err`.
    pub fn discard_on_err(self) -> Self {
        self.job.state.lock().is_failure = Some(Result::is_err);
        self
    }
}

impl<M: ConnectionManager, T: Send + 'static> Future for Interact<M, T> {
    type Output = Outcome<M, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(outcome) = this.job.take_outcome(context.waker()) {
            return Poll::Ready(outcome);
        }
        if !mem::replace(&mut this.is_polled, true) {
            let Some(workers) = &this.job.workers else {
                let error = this.job.no_threads();
                return Poll::Ready(Err(error.into()));
            };
            if let Some((guard, work)) = this.job.advance() {
                let job = Arc::clone(&this.job);
                workers.submit(true, move || job.call(guard, work));
            }
            if let Some(outcome) = this.job.take_outcome(context.waker()) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    }
}

impl<M: ConnectionManager, T: Send + 'static> Drop for Interact<M, T> {
    fn drop(&mut self) {
        let mut state = self.job.state.lock();
        if let (Step::Running(interrupt), true) = (&state.step, self.interrupts) {
            // Under the lock, so that the closure has not given the connection back yet.
            interrupt();
        }
        let step = mem::replace(&mut state.step, Step::Gone);
        let waker = state.waker.take();
        drop(state);
        // Both hold values of the caller, whose drop is user code.
        drop((step, waker));
    }
}

impl<M: ConnectionManager, T: Send + 'static> Job<M, T> {
    /// Takes the outcome, or keeps the waker for it.
    fn take_outcome(&self, waker: &Waker) -> Option<Outcome<M, T>> {
        let waker = Caught::new(waker.clone());
        let mut state = self.state.lock();
        let before = match state.step {
            Step::Ended(_) => {
                let Step::Ended(outcome) = mem::replace(&mut state.step, Step::Gone) else {
                    unreachable!("bug: it had ended");
                };
                return Some(outcome);
            }
            Step::Gone => panic!("a future was polled after it had returned its result"),
            _ => state.waker.replace(waker),
        };
        drop(state);
        drop(before);
        None
    }

    /// Returns the error of a pool without threads.
    fn no_threads(&self) -> GetError<M::Error> {
        let step = mem::replace(&mut self.state.lock().step, Step::Gone);
        match step {
            Step::Waiting(Waiting { checkout, .. }) => checkout.no_collector(),
            _ => unreachable!("bug: it was not polled before"),
        }
    }

    /// Polls for the connection. Returns it with the closure that the caller must call with it.
    fn advance(self: &Arc<Self>) -> Option<(PooledConnection<M>, Work<M, T>)> {
        let mut waiting = {
            let mut state = self.state.lock();
            match mem::replace(&mut state.step, Step::Polling { again: false }) {
                Step::Waiting(waiting) => waiting,
                other => {
                    state.step = other;
                    return None;
                }
            }
        };
        let waker = Waker::from(Arc::clone(self));
        loop {
            match waiting.poll(&waker) {
                Poll::Ready(Ok(guard)) => {
                    let mut state = self.state.lock();
                    if let Step::Gone = state.step {
                        // The check-in must not run under the lock.
                        drop(state);
                        drop(guard);
                        return None;
                    }
                    state.step = Step::Ready;
                    return Some((guard, waiting.work));
                }
                Poll::Ready(Err(error)) => {
                    self.end(Err(error));
                    return None;
                }
                Poll::Pending => {}
            }
            let mut state = self.state.lock();
            match &mut state.step {
                Step::Polling { again } if *again => *again = false,
                Step::Polling { .. } => {
                    state.step = Step::Waiting(waiting);
                    return None;
                }
                _ => {
                    drop(state);
                    drop(waiting);
                    return None;
                }
            }
        }
    }

    /// Calls the closure, and gives the connection back.
    fn call(&self, guard: PooledConnection<M>, work: Work<M, T>) {
        let Some(workers) = &self.workers else {
            unreachable!("bug: a pool without threads runs a job");
        };
        let is_failure = {
            let mut state = self.state.lock();
            if let Step::Gone = state.step {
                drop(state);
                // Values of the caller are dropped last, because their drop may take long.
                drop(guard);
                return;
            }
            state.step = Step::Running(PooledConnection::interrupter(&guard));
            state.is_failure
        };
        let (guard, outcome) = call(guard, work);
        {
            let mut state = self.state.lock();
            let mut interrupter = None;
            if let Step::Running(_) = state.step {
                interrupter = Some(mem::replace(&mut state.step, Step::Returned));
            }
            drop(state);
            // It may hold the last reference to the pool.
            drop(interrupter);
        }
        if let Some(guard) = guard {
            let is_failure = outcome
                .as_ref()
                .is_ok_and(|value| is_failure.is_some_and(|is| is(value)));
            // The connection may be for the next closure, with which this thread continues.
            workers.announce_end();
            match is_failure {
                true => PooledConnection::discard(guard),
                false => drop(guard),
            }
        }
        self.end(outcome);
    }

    /// Keeps the outcome, and wakes the task.
    fn end(&self, outcome: Outcome<M, T>) {
        let mut state = self.state.lock();
        if let Step::Gone = state.step {
            drop(state);
            guarded(|| drop(outcome));
            return;
        }
        state.step = Step::Ended(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            guarded(|| waker.into_inner().wake());
        }
    }

    /// Continues after a wake-up, on a thread of the pool.
    fn resume(self: &Arc<Self>) {
        let Some(workers) = &self.workers else {
            unreachable!("bug: a pool without threads runs a job");
        };
        // The checkout may need a check first, with which this thread continues.
        workers.announce_end();
        if let Some((guard, work)) = self.advance() {
            workers.retract_end();
            workers.pass_on_resumes();
            self.call(guard, work);
        }
    }
}

impl<M: ConnectionManager, T> Waiting<M, T> {
    /// Polls for the connection. The `Hash` or `Eq` of a key may panic, and the task must
    /// receive the panic as an error.
    fn poll(
        &mut self,
        waker: &Waker,
    ) -> Poll<Result<PooledConnection<M>, InteractError<M::Error>>> {
        let mut context = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.checkout.as_mut().poll(&mut context)
        }));
        match polled {
            Ok(polled) => polled.map_err(InteractError::Get),
            Err(payload) => Poll::Ready(Err(InteractError::Panicked {
                message: message_of(payload),
            })),
        }
    }
}

/// Wakes the job, not the task: a thread of the pool goes on with it.
impl<M: ConnectionManager, T: Send + 'static> Wake for Job<M, T> {
    fn wake(self: Arc<Self>) {
        {
            let mut state = self.state.lock();
            match &mut state.step {
                Step::Waiting(_) => {}
                Step::Polling { again } => {
                    *again = true;
                    return;
                }
                _ => return,
            }
        }
        if let Some(workers) = self.workers.clone() {
            workers.resume(move || self.resume());
        }
    }
}

/// Calls the closure. Returns the guard, unless the closure panicked and so evicted its connection.
pub(crate) fn call<M: ConnectionManager, T>(
    guard: PooledConnection<M>,
    work: impl FnOnce(&mut M::Connection) -> T,
) -> (Option<PooledConnection<M>>, Outcome<M, T>) {
    let called = catch_unwind(AssertUnwindSafe(move || {
        let mut guard = guard;
        let value = work(&mut guard);
        (guard, value)
    }));
    match called {
        Ok((guard, value)) => (Some(guard), Ok(value)),
        Err(payload) => {
            let message = message_of(payload);
            (None, Err(InteractError::Panicked { message }))
        }
    }
}

/// Discards the connection if the closure returned `Err`.
pub(crate) fn discard_on_err<M: ConnectionManager, T, E>(
    (guard, outcome): (Option<PooledConnection<M>>, Outcome<M, Result<T, E>>),
) -> Outcome<M, Result<T, E>> {
    if let (Some(guard), Ok(Err(_))) = (guard, &outcome) {
        PooledConnection::discard(guard);
    }
    outcome
}

impl<M: ConnectionManager, T: Send + 'static> fmt::Debug for Interact<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.job.state.lock().step {
            Step::Waiting(_) | Step::Polling { .. } => "waiting",
            Step::Ready | Step::Running(_) | Step::Returned => "running",
            Step::Ended(_) | Step::Gone => "ended",
        };
        f.debug_struct("Interact")
            .field("stage", &step)
            .finish_non_exhaustive()
    }
}
