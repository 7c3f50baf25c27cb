//! The two flavours of tokio.

use crate::scenarios::{Job, Runtime};
use std::future::Future;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::task::JoinHandle;

impl Runtime for Tokio {
    type Task = JoinHandle<()>;

    fn spawn(&self, job: Job) -> JoinHandle<()> {
        Tokio::spawn(self, job)
    }

    fn cancel(task: JoinHandle<()>) {
        task.abort();
    }

    fn detach(task: JoinHandle<()>) {
        drop(task);
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        Tokio::block_on(self, main)
    }
}

pub(crate) fn one_thread() -> Tokio {
    Builder::new_current_thread().enable_time().build().unwrap()
}

pub(crate) fn several_threads() -> Tokio {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(3).enable_time().build().unwrap()
}
