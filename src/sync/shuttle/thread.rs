//! Threads that the world counts, so that the world ends after the last of them.

use super::world::{self, Flaw};
pub(crate) use shuttle::thread::{ThreadId, current};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Debug)]
pub(crate) struct Builder(String);

impl Builder {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn name(self, name: String) -> Self {
        Self(name)
    }

    pub(crate) fn spawn<F>(self, body: F) -> io::Result<JoinHandle<()>>
    where
        F: FnOnce() + Send + 'static,
    {
        if world::strikes(Flaw::NoThreads) {
            return Err(io::Error::other("no thread in this world"));
        }
        let stillborn = world::strikes(Flaw::StillbornThreads);
        let finished = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&finished);
        world::born();
        let inner = shuttle::thread::Builder::new()
            .name(self.0)
            .spawn(move || {
                if !stillborn {
                    body();
                }
                end.store(true, Relaxed);
                world::gone();
            })?;
        Ok(JoinHandle { inner, finished })
    }
}

#[derive(Debug)]
pub(crate) struct JoinHandle<T> {
    inner: shuttle::thread::JoinHandle<T>,
    finished: Arc<AtomicBool>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Relaxed)
    }

    pub(crate) fn join(self) -> std::thread::Result<T> {
        self.inner.join()
    }

    pub(crate) fn thread(&self) -> &shuttle::thread::Thread {
        self.inner.thread()
    }
}

pub(crate) fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    // Flaws must affect the pool only: a test always gets its threads.
    let spawned = world::spared(|| Builder::new().spawn(body));
    spawned.expect("a spared thread is never refused")
}
