//! A runtime as the scenarios see it, and futures that every runtime can run.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime. Its tasks make progress at the latest while `block_on` runs.
pub(crate) trait Runtime {
    type Task;

    fn spawn(&self, job: Job) -> Self::Task;

    /// Lets the runtime drop the future of the task, unless the task has ended.
    fn cancel(task: Self::Task);

    /// Lets the task run to its end.
    fn detach(task: Self::Task);

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T;
}

/// Lets other tasks run, `n` times.
pub(crate) fn yields(n: u64) -> impl Future<Output = ()> {
    let mut left = n;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Lets other tasks run until the condition is true.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        yields(1).await;
    }
}

/// Returns the output of `work`, or drops it and returns `None` as soon as `end` is ready.
pub(crate) async fn race<T>(
    work: impl Future<Output = T>,
    end: impl Future<Output = ()>,
) -> Option<T> {
    let (mut work, mut end) = (pin!(work), pin!(end));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => end.as_mut().poll(context).map(|()| None),
    })
    .await
}
