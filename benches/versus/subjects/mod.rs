//! The subjects: this pool, other pools, and floors that bound their cost from below.

mod bb8;
mod block_on;
mod conpool;
mod deadpool;
mod floors;
mod r2d2;

use crate::{cell::Cell, measure::Measured};

/// Gives a connection to one thread at a time.
pub(crate) trait Subject: Sync {
    const NAME: &'static str;

    /// Gets a connection, runs `work` on it, and gives it back.
    fn with(&self, thread: usize, work: impl FnOnce(&mut u64));

    /// Runs the body of a thread inside the context that the subject needs.
    fn around<T>(&self, thread: impl FnOnce() -> T) -> T {
        thread()
    }
}

/// All subjects that can run in the cell, each new and with its connections open.
pub(crate) fn of(cell: Cell) -> Vec<Box<dyn Measured>> {
    let size = cell.size;
    let mut subjects: Vec<Box<dyn Measured>> = vec![
        Box::new(conpool::Unchecked::new(size)),
        Box::new(conpool::Checked::new(size)),
        Box::new(r2d2::Unchecked::new(size)),
        Box::new(r2d2::Checked::new(size)),
        Box::new(deadpool::Deadpool::new(size)),
        Box::new(bb8::Bb8::new(size)),
    ];
    if cell.has_plenty() {
        subjects.push(Box::new(floors::MutexVec::new(size)));
        subjects.push(Box::new(floors::Queue::new(size)));
        subjects.push(Box::new(floors::Flags::new(cell.threads)));
    }
    subjects
}
