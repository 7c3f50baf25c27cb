//! A bare executor: `block_on` by parking a thread, and futures that a test polls by hand.

use super::eventually;
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
pub(crate) struct ByHand<F: Future> {
    future: Pin<Box<F>>,
    pub(crate) wakes: Arc<Wakes>,
    /// What `begin` has got.
    output: Option<F::Output>,
}

impl<F: Future> ByHand<F> {
    pub(crate) fn new(future: F) -> Self {
        let future = Box::pin(future);
        let wakes = Arc::default();
        let output = None;
        Self {
            future,
            wakes,
            output,
        }
    }

    /// Returns a future that was polled once and is pending.
    #[track_caller]
    pub(crate) fn pending(future: F) -> Self {
        let mut waiting = Self::new(future);
        assert!(waiting.poll().is_none(), "the future is ready at once");
        waiting
    }

    /// Returns a future that was polled once, and may have ended.
    pub(crate) fn begun(future: F) -> Self {
        let mut begun = Self::new(future);
        begun.output = begun.poll();
        begun
    }

    /// Polls on whenever the future is woken, until it has ended.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> F::Output {
        let mut seen = 0;
        loop {
            if let Some(output) = self.output.take() {
                return output;
            }
            eventually(|| self.wakes.count() > seen);
            seen = self.wakes.count();
            self.output = self.poll();
        }
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
