//! The line of waiters: first come, first served.

use super::waiter::{Outcome, Waiter};
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) struct WaitQueue<T: Send + 'static, F: Send + 'static> {
    waiters: VecDeque<Arc<Waiter<T, F>>>,
    last_number: u64,
    /// The head that was last told to look for itself, by number.
    notified_head: u64,
    /// Something came back to rest since a waiter last searched in vain.
    pub(super) has_unseen_return: bool,
    /// The head that check-ins have relied on to search every slot, by number, until it does.
    search_owed_by: u64,
    /// It did not, so the present one has to.
    search_owed: bool,
    /// The head that was found to be due, by number. It stays so, whatever older reading of the clock
    /// comes after.
    due_head: u64,
    /// The last number that is due in its turn, however young. When a head is late, everybody in line
    /// is served before anybody overtakes again, and half as many of those who join meanwhile: whoever
    /// was served needs a core to run on, and those who overtake would keep it until the next is late.
    forced_fifo_until: u64,
}

impl<T: Send + 'static, F: Send + 'static> WaitQueue<T, F> {
    pub(super) fn new() -> Self {
        Self {
            waiters: VecDeque::new(),
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

    /// Joins the line: at its end, or, with a number from before, where it stood.
    pub(super) fn push(&mut self, waiter: &Arc<Waiter<T, F>>) {
        if waiter.number() == 0 {
            self.last_number += 1;
            waiter.set_number(self.last_number);
        }
        let number = waiter.number();
        let place = self
            .waiters
            .partition_point(|other| other.number() < number);
        self.waiters.insert(place, Arc::clone(waiter));
    }

    /// Leaves the line; false if it had been served already.
    pub(super) fn remove(&mut self, waiter: &Waiter<T, F>) -> bool {
        let number = waiter.number();
        let place = self
            .waiters
            .partition_point(|other| other.number() < number);
        let here = self
            .waiters
            .get(place)
            .is_some_and(|other| other.number() == number);
        if here {
            self.waiters.remove(place);
            self.forget_notify(waiter);
        }
        here
    }

    /// Serves the head.
    pub(super) fn hand_off(&mut self, mail: Outcome<T, F>) -> Option<Arc<Waiter<T, F>>> {
        let waiter = self.waiters.pop_front()?;
        self.forget_notify(&waiter);
        waiter.complete(mail);
        Some(waiter)
    }

    /// The waiter behind so many others.
    pub(super) fn nth(&self, others: usize) -> Option<&Arc<Waiter<T, F>>> {
        self.waiters.get(others)
    }

    pub(super) fn is_head(&self, waiter: &Waiter<T, F>) -> bool {
        self.head()
            .is_some_and(|head| head.number() == waiter.number())
    }

    /// Whether the head is due. `late`: it has waited for as long as the bound.
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

    /// What comes next is worth telling this waiter, told or not: it has left, and may join again by the
    /// same number, or it has no alarm to look again.
    pub(super) fn forget_notify(&mut self, waiter: &Waiter<T, F>) {
        if self.notified_head == waiter.number() {
            self.notified_head = 0;
        }
    }

    /// True if the head has been told already.
    pub(super) fn head_notified(&self) -> bool {
        self.head()
            .is_some_and(|head| head.number() == self.notified_head)
    }

    /// Notes whether check-ins rely on the head from now on; called whenever the line has changed. If
    /// they have relied on one that will not search any more, the present one must. (A newcomer to an
    /// empty line searches anyway.)
    pub(super) fn update_search_owed(&mut self, report: bool) {
        let head = self.head().map_or(0, |head| head.number());
        if report {
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

    /// This waiter has searched, and every slot is watched.
    pub(super) fn searched(&mut self, waiter: &Waiter<T, F>) {
        if self.search_owed_by == waiter.number() {
            self.search_owed_by = 0;
        }
    }

    /// True if the head has to be told of what another was told of.
    pub(super) fn take_search_owed(&mut self) -> bool {
        std::mem::take(&mut self.search_owed)
    }

    /// Tells the head to look for itself; returns it if it has to be woken. Without `again`, a head
    /// that was told before is left alone.
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

/// What an event leaves to be done once the lock is free.
#[must_use = "waiters sleep on until they are woken"]
pub(crate) struct Actions<T: Send + 'static, F: Send + 'static> {
    pub(super) wakes: Vec<Arc<Waiter<T, F>>>,
    /// Creates to start on threads of the pool.
    pub(crate) permits: Vec<super::Permit<T, F>>,
    /// Other engines that have to look, now that there is a slot.
    pub(crate) followups: Vec<super::Followup>,
    /// Somebody waits for a slot that others hold.
    pub(crate) lacks_room: bool,
    /// When waiters have to be settled again, at the latest.
    pub(crate) settle_at: Option<std::time::Instant>,
}

impl<T: Send + 'static, F: Send + 'static> Actions<T, F> {
    pub(super) const fn new() -> Self {
        Self {
            wakes: Vec::new(),
            permits: Vec::new(),
            followups: Vec::new(),
            lacks_room: false,
            settle_at: None,
        }
    }

    /// Wakes whoever has been served. The rest is left to do.
    pub(crate) fn wake(&mut self) {
        for waiter in self.wakes.drain(..) {
            waiter.wake();
        }
    }
}
