//! An executor of std alone: one queue of woken tasks, which the thread in `block_on` polls.

use crate::scenarios::{Job, Runtime};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) struct Bare {
    woken: mpsc::Receiver<Woken>,
    sender: mpsc::Sender<Woken>,
}

enum Woken {
    Main,
    Task(Arc<Task>),
}

pub(crate) struct Task {
    /// None: the task has ended or was cancelled.
    job: Mutex<Option<Job>>,
    is_queued: AtomicBool,
    sender: mpsc::Sender<Woken>,
}

struct Main {
    is_queued: AtomicBool,
    sender: mpsc::Sender<Woken>,
}

impl Bare {
    pub(crate) fn new() -> Self {
        let (sender, woken) = mpsc::channel();
        Self { woken, sender }
    }
}

impl Runtime for Bare {
    type Task = Arc<Task>;

    fn spawn(&self, job: Job) -> Arc<Task> {
        let task = Arc::new(Task {
            job: Mutex::new(Some(job)),
            is_queued: AtomicBool::new(false),
            sender: self.sender.clone(),
        });
        task.wake_by_ref();
        task
    }

    fn cancel(task: Arc<Task>) {
        let job = task.job.lock().unwrap().take();
        drop(job);
    }

    fn detach(task: Arc<Task>) {
        drop(task);
    }

    fn block_on<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let woken = Arc::new(Main {
            is_queued: AtomicBool::new(false),
            sender: self.sender.clone(),
        });
        woken.wake_by_ref();
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            match self.woken.recv().expect("this end keeps a sender") {
                Woken::Main => {
                    woken.is_queued.store(false, SeqCst);
                    let polled = main.as_mut().poll(&mut Context::from_waker(&waker));
                    if let Poll::Ready(output) = polled {
                        return output;
                    }
                }
                Woken::Task(task) => task.poll(),
            }
        }
    }
}

impl Task {
    fn poll(self: Arc<Self>) {
        self.is_queued.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self));
        // Without the lock: a drop of the future may wake the task.
        let Some(mut job) = self.job.lock().unwrap().take() else {
            return;
        };
        if job
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            *self.job.lock().unwrap() = Some(job);
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, SeqCst) {
            // The executor may be gone, and its tasks with it.
            let _ = self.sender.clone().send(Woken::Task(self));
        }
    }
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, SeqCst) {
            let _ = self.sender.send(Woken::Main);
        }
    }
}
