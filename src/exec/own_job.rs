//! What a worker knows about the job that it runs.

use crate::sync::thread_local;
use std::cell::Cell;

/// What a worker runs.
pub(super) type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// This thread has announced the end of its job.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    /// This thread takes the pending resumes in turn (see [`resumes`](super::resumes)).
    static RESUMING: Cell<bool> = const { Cell::new(false) };
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
