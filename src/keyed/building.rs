//! The keys whose manager is being created, and the tasks that wait for one.

use crate::foreign::{Caught, guarded};
use std::mem;
use std::task::Waker;
use std::time::Instant;

pub(super) struct Building<K> {
    /// Each key has a number, so that an entry is removed without comparing keys.
    keys: Vec<(u64, Caught<K>)>,
    last: u64,
    tasks: Vec<Task>,
}

/// A task that waits for a manager, until its deadline.
pub(super) type Task = (Option<Instant>, Caught<Waker>);

impl<K: PartialEq + Clone> Building<K> {
    pub(super) const fn new() -> Self {
        Self {
            keys: Vec::new(),
            last: 0,
            tasks: Vec::new(),
        }
    }

    /// Marks a key as being built, and returns the number of the mark. None: another caller builds.
    pub(super) fn begin(&mut self, key: &K) -> Option<u64> {
        if self.keys.iter().any(|(_, other)| **other == *key) {
            return None;
        }
        self.last += 1;
        self.keys.push((self.last, Caught::new(key.clone())));
        Some(self.last)
    }

    /// Removes a mark. The caller must drop the key, which is user code, and wake the tasks after unlock.
    pub(super) fn end(&mut self, number: u64) -> (Option<(u64, Caught<K>)>, Vec<Task>) {
        let own = self.keys.iter().position(|(other, _)| *other == number);
        let own = own.map(|at| self.keys.swap_remove(at));
        (own, self.take_tasks())
    }

    /// Adds a task, in place of what it has left at an earlier poll.
    pub(super) fn add_task(&mut self, task: Task) -> Vec<Task> {
        let is_same = |(_, waker): &Task| waker.will_wake(&task.1);
        let (before, others) = self.take_tasks().into_iter().partition(is_same);
        self.tasks = others;
        self.tasks.push(task);
        before
    }

    pub(super) fn take_tasks(&mut self) -> Vec<Task> {
        mem::take(&mut self.tasks)
    }

    /// Removes the tasks whose deadline has passed. Returns them, and the next deadline.
    pub(super) fn take_overdue(&mut self, now: Instant) -> (Vec<Task>, Option<Instant>) {
        let is_overdue = |(deadline, _): &Task| deadline.is_some_and(|deadline| deadline <= now);
        let overdue;
        (overdue, self.tasks) = self.take_tasks().into_iter().partition(is_overdue);
        let deadlines = self.tasks.iter().filter_map(|(deadline, _)| *deadline);
        (overdue, deadlines.min())
    }
}

/// Wakes tasks. The caller must hold no lock, because a waker is code of its executor.
pub(super) fn wake(tasks: Vec<Task>) {
    for (_, waker) in tasks {
        guarded(|| waker.into_inner().wake());
    }
}
