//! The next job of a thread: a worker that ends one job may continue with the job that its end makes ready.
//!
//! A thread that gives its connection back to a waiting job is about to be free, so it runs that job itself. This saves
//! the switch to another thread, and a pool needs no more threads than it has connections.

use crate::foreign::guarded;
use crate::sync::thread_local;
use std::cell::{Cell, RefCell};

/// What a worker runs.
pub(super) type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The address of the worker pool from which this thread accepts its next job now. 0: from none.
    static ACCEPTS_FROM: Cell<usize> = const { Cell::new(0) };
    /// This thread has announced the end of its job.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    /// This thread takes the pending resumes in turn (see [`resumes`](super::resumes)).
    static RESUMING: Cell<bool> = const { Cell::new(false) };
    static NEXT: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// Runs a job, and the jobs with which its thread continues.
pub(super) fn run(work: Work) {
    let mut work = Some(work);
    while let Some(job) = work {
        guarded(job);
        work = take();
    }
}

/// Takes the job with which this thread would continue.
pub(super) fn take() -> Option<Work> {
    NEXT.with(|next| next.borrow_mut().take())
}

/// Runs the last step of a job, and accepts one next job from `pool` meanwhile. Returns true if it has one.
pub(super) fn accept(pool: usize, last: impl FnOnce()) -> bool {
    let before = ACCEPTS_FROM.with(|from| from.replace(pool));
    guarded(last);
    ACCEPTS_FROM.with(|from| from.set(before));
    NEXT.with(|next| next.borrow().is_some())
}

/// Records whether this thread has announced the end of its job. Returns the previous record.
pub(super) fn set_ending(ending: bool) -> bool {
    ENDING.with(|own| own.replace(ending))
}

/// Records whether this thread takes the pending resumes. Returns the previous record.
pub(super) fn set_resuming(resuming: bool) -> bool {
    RESUMING.with(|own| own.replace(resuming))
}

pub(super) fn is_resuming() -> bool {
    RESUMING.with(Cell::get)
}

/// Offers a job to this thread as its next one. Returns the job if the thread does not take it.
pub(super) fn offer(pool: usize, work: Work) -> Option<Work> {
    if ACCEPTS_FROM.with(Cell::get) != pool {
        return Some(work);
    }
    NEXT.with(|next| {
        let mut next = next.borrow_mut();
        match *next {
            Some(_) => Some(work),
            None => {
                *next = Some(work);
                None
            }
        }
    })
}
