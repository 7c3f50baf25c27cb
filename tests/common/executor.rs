//! A bare executor: `block_on` by parking a thread, and futures that a test polls by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future that the test polls by hand.
pub(crate) struct ByHand<F> {
    future: Pin<Box<F>>,
    pub(crate) wakes: Arc<Wakes>,
}

impl<F: Future> ByHand<F> {
    pub(crate) fn new(future: F) -> Self {
        let future = Box::pin(future);
        let wakes = Arc::default();
        Self { future, wakes }
    }

    /// Returns a future that was polled once and is pending.
    #[track_caller]
    pub(crate) fn pending(future: F) -> Self {
        let mut waiting = Self::new(future);
        assert!(waiting.poll().is_none(), "the future is ready at once");
        waiting
    }

    pub(crate) fn poll(&mut self) -> Option<F::Output> {
        self.poll_with(&Waker::from(Arc::clone(&self.wakes)))
    }

    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Option<F::Output> {
        match self.future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.wakes.count() > 0
    }
}
