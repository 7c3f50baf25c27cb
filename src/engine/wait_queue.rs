//! The wait queue: first come, first served.

use super::waiter::{Outcome, Waiter};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// The waiters of one engine, and the state of notifications and fairness.
pub(crate) struct WaitQueue<T: Send + 'static, F: Send + 'static> {
    waiters: VecDeque<Arc<Waiter<T, F>>>,
    /// The deadlines of the tasks in the queue, with their numbers. The collector ends those waits.
    deadlines: BTreeSet<(Instant, u64)>,
    /// A waiter has searched in vain since the queue was last empty, so every empty slot is marked RETURN_SLOW.
    is_searched: bool,
    /// When the first waiter came since the queue was last empty.
    busy_since: Option<Instant>,
    /// How many waiters a check-in has served since then.
    served: usize,
    last_number: u64,
    /// The number of the head that was last notified to search.
    notified_head: u64,
    /// An entry became idle since a waiter last searched and found none.
    pub(super) has_unseen_return: bool,
    /// The number of the head that check-ins rely on to search every slot. Cleared by that search.
    search_owed_by: u64,
    /// The head in `search_owed_by` lost its place before it searched, so the present head must search.
    search_owed: bool,
    /// The number of the head that was found to be due. The head stays due even if a later caller brings an
    /// older reading of the clock.
    due_head: u64,
    /// Waiters up to this number are due as soon as they are the head, however short they have waited.
    ///
    /// When a head is late, the queue drains before any caller may barge again: everybody who waits now, and
    /// half as many of the waiters that join meanwhile. A served waiter needs a core to run on, and barging
    /// threads would keep that core until the next head is late.
    forced_fifo_until: u64,
}

impl<T: Send + 'static, F: Send + 'static> WaitQueue<T, F> {
    pub(super) fn new() -> Self {
        Self {
            waiters: VecDeque::new(),
            deadlines: BTreeSet::new(),
            is_searched: false,
            busy_since: None,
            served: 0,
            last_number: 0,
            notified_head: 0,
            has_unseen_return: false,
            search_owed_by: 0,
            search_owed: false,
            due_head: 0,
            forced_fifo_until: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn head(&self) -> Option<&Arc<Waiter<T, F>>> {
        self.waiters.front()
    }

    /// Returns since when the queue has not been empty.
    pub(super) fn busy_since(&self) -> Option<Instant> {
        self.busy_since.filter(|_| !self.is_empty())
    }

    /// Returns how many waiters a check-in has served since the queue was last empty.
    pub(super) fn served(&self) -> usize {
        self.served
    }

    /// Records that a check-in has served a waiter.
    pub(super) fn note_served(&mut self) {
        self.served += 1;
    }

    /// Adds a waiter: at the end, or at its former place if it has a number from an earlier enqueue.
    pub(super) fn push(&mut self, waiter: &Arc<Waiter<T, F>>) {
        if waiter.number() == 0 {
            self.last_number += 1;
            waiter.set_number(self.last_number);
        }
        if self.is_empty() {
            (self.busy_since, self.served) = (Some(waiter.since()), 0);
            self.is_searched = false;
        }
        let number = waiter.number();
        let place = self
            .waiters
            .partition_point(|other| other.number() < number);
        self.waiters.insert(place, Arc::clone(waiter));
        let deadline = waiter.task_deadline();
        self.deadlines.extend(deadline.map(|at| (at, number)));
    }

    /// Removes a waiter. False if the waiter is no longer in the queue, because it was served.
    pub(super) fn remove(&mut self, waiter: &Waiter<T, F>) -> bool {
        let number = waiter.number();
        let place = self
            .waiters
            .partition_point(|other| other.number() < number);
        let is_queued = self
            .waiters
            .get(place)
            .is_some_and(|other| other.number() == number);
        if is_queued {
            self.waiters.remove(place);
            self.left(waiter);
        }
        is_queued
    }

    /// Removes what the queue knows about a waiter that has left it.
    fn left(&mut self, waiter: &Waiter<T, F>) {
        self.forget_notify(waiter);
        if let Some(deadline) = waiter.task_deadline() {
            self.deadlines.remove(&(deadline, waiter.number()));
        }
    }

    /// Returns the earliest deadline of a task.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes one task whose deadline has passed, and ends its wait. The caller must wake the returned waiter.
    pub(super) fn time_out_task(&mut self, now: Instant) -> Option<Arc<Waiter<T, F>>> {
        let (_, number) = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        let place = self
            .waiters
            .partition_point(|other| other.number() < number);
        let waiter = Arc::clone(self.waiters.get(place)?);
        self.remove(&waiter);
        waiter.complete(Outcome::TimedOut);
        Some(waiter)
    }

    /// Whether the head is a task.
    pub(super) fn head_is_task(&self) -> bool {
        self.head().is_some_and(|head| head.is_task())
    }

    /// Whether a waiter has searched in vain since the queue was last empty.
    pub(super) fn is_searched(&self) -> bool {
        self.is_searched
    }

    /// Removes the head and completes it with this outcome. The caller must wake the returned waiter.
    pub(super) fn hand_off(&mut self, outcome: Outcome<T, F>) -> Option<Arc<Waiter<T, F>>> {
        let waiter = self.waiters.pop_front()?;
        self.left(&waiter);
        waiter.complete(outcome);
        Some(waiter)
    }

    /// Returns the waiter that has this many others before it.
    pub(super) fn nth(&self, others: usize) -> Option<&Arc<Waiter<T, F>>> {
        self.waiters.get(others)
    }

    pub(super) fn is_head(&self, waiter: &Waiter<T, F>) -> bool {
        self.head()
            .is_some_and(|head| head.number() == waiter.number())
    }

    /// Whether the head is due. `late`: the head has waited as long as the fairness bound.
    pub(super) fn head_is_due(&mut self, late: bool) -> bool {
        let Some(head) = self.head().map(|head| head.number()) else {
            return false;
        };
        if head != self.due_head && (late || head <= self.forced_fifo_until) {
            self.due_head = head;
            if late && self.forced_fifo_until < head {
                self.forced_fifo_until = self.last_number + self.waiters.len() as u64 / 2;
            }
        }
        head == self.due_head
    }

    /// Lets the next event notify this waiter again. The waiter has left the queue and may queue again under
    /// the same number, or the waiter has no alarm that makes it search again.
    pub(super) fn forget_notify(&mut self, waiter: &Waiter<T, F>) {
        if self.notified_head == waiter.number() {
            self.notified_head = 0;
        }
    }

    /// Whether the head has been notified.
    pub(super) fn head_notified(&self) -> bool {
        self.head()
            .is_some_and(|head| head.number() == self.notified_head)
    }

    /// Records whether check-ins rely on the head's search from now on (`relied_on`).
    ///
    /// Must be called after every change of the queue. If check-ins relied on a waiter that will not search
    /// any more, the present head must search. (A newcomer to an empty queue searches anyway.)
    pub(super) fn update_search_owed(&mut self, relied_on: bool) {
        let head = self.head().map_or(0, |head| head.number());
        if relied_on {
            self.search_owed |= self.search_owed_by != 0 && self.search_owed_by != head;
            self.search_owed_by = head;
        } else if self.search_owed_by != 0 && (self.search_owed_by != head || !self.head_notified())
        {
            self.search_owed_by = 0;
            self.search_owed = true;
        }
        if head == 0 {
            (self.search_owed, self.forced_fifo_until) = (false, 0);
        }
    }

    /// Records that this waiter searched in vain and that every slot is marked RETURN_SLOW.
    pub(super) fn searched(&mut self, waiter: &Waiter<T, F>) {
        (self.has_unseen_return, self.is_searched) = (false, true);
        if self.search_owed_by == waiter.number() {
            self.search_owed_by = 0;
        }
    }

    /// Records that a search for the task at the head was in vain.
    pub(super) fn searched_for_head(&mut self) {
        if let Some(head) = self.head().map(Arc::clone) {
            self.searched(&head);
        }
    }

    /// Takes the flag that the head must search in place of an earlier head.
    pub(super) fn take_search_owed(&mut self) -> bool {
        std::mem::take(&mut self.search_owed)
    }

    /// Notifies the head to search the slots. The caller must wake the returned waiter.
    ///
    /// Without `again`, a head that was notified before is left alone.
    pub(super) fn notify_head(&mut self, again: bool) -> Option<Arc<Waiter<T, F>>> {
        let head = self.waiters.front()?;
        if self.notified_head == head.number() && !again {
            return None;
        }
        self.notified_head = head.number();
        head.notify();
        Some(Arc::clone(head))
    }
}

/// The actions that an event requires after the lock is released.
#[must_use = "waiters sleep on until they are woken"]
pub(crate) struct Actions<T: Send + 'static, F: Send + 'static> {
    /// Waiters to wake.
    pub(super) wakes: Vec<Arc<Waiter<T, F>>>,
    /// Permits of the creates to start on threads of the pool.
    pub(crate) permits: Vec<super::Permit<T, F>>,
    /// Members of the shared limit that must settle because a slot is available to them.
    pub(crate) followups: Vec<super::Followup>,
    /// A waiter needs a slot that other engines hold.
    pub(crate) lacks_room: bool,
    /// More connections are idle than `max_idle` permits:
    /// [`evict_excess`](super::Engine::evict_excess) must run.
    pub(crate) surplus: bool,
    /// The latest time at which the engine must settle its waiters again.
    pub(crate) settle_at: Option<Instant>,
}

impl<T: Send + 'static, F: Send + 'static> Actions<T, F> {
    pub(super) const fn new() -> Self {
        Self {
            wakes: Vec::new(),
            permits: Vec::new(),
            followups: Vec::new(),
            lacks_room: false,
            surplus: false,
            settle_at: None,
        }
    }

    /// Makes the engine settle again at this time at the latest.
    pub(super) fn settle_by(&mut self, at: Instant) {
        self.settle_at = Some(self.settle_at.map_or(at, |known| known.min(at)));
    }

    /// Wakes the waiters that were served or notified. The other actions remain for the caller.
    pub(crate) fn wake(&mut self) {
        for waiter in self.wakes.drain(..) {
            waiter.wake();
        }
    }
}
