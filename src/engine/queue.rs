//! The line of waiters: first come, first served.

use super::ticket::{Mail, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) struct Queue<T: Send + 'static, F: Send + 'static> {
    line: VecDeque<Arc<Ticket<T, F>>>,
    numbers: u64,
    /// The head that was last told to look for itself, by number.
    poked: u64,
    /// Something came back to rest since a waiter last searched in vain.
    pub(super) unseen: bool,
    /// The head that check-ins have relied on to search every slot, by number, until it does.
    relied_on: u64,
    /// It did not, so the present one has to.
    unheard: bool,
    /// The head that was found to be due, by number. It stays so, whatever older reading of the clock
    /// comes after.
    due: u64,
    /// The last number that is due in its turn, however young. When a head is late, everybody in line
    /// is served before anybody overtakes again, and half as many of those who join meanwhile: whoever
    /// was served needs a core to run on, and those who overtake would keep it until the next is late.
    strict: u64,
}

impl<T: Send + 'static, F: Send + 'static> Queue<T, F> {
    pub(super) fn new() -> Self {
        Self {
            line: VecDeque::new(),
            numbers: 0,
            poked: 0,
            unseen: false,
            relied_on: 0,
            unheard: false,
            due: 0,
            strict: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub(super) fn head(&self) -> Option<&Arc<Ticket<T, F>>> {
        self.line.front()
    }

    /// Joins the line: at its end, or, with a number from before, where it stood.
    pub(super) fn join(&mut self, ticket: &Arc<Ticket<T, F>>) {
        if ticket.number() == 0 {
            self.numbers += 1;
            ticket.set_number(self.numbers);
        }
        let number = ticket.number();
        let place = self.line.partition_point(|other| other.number() < number);
        self.line.insert(place, Arc::clone(ticket));
    }

    /// Leaves the line; false if it had been served already.
    pub(super) fn leave(&mut self, ticket: &Ticket<T, F>) -> bool {
        let number = ticket.number();
        let place = self.line.partition_point(|other| other.number() < number);
        let here = self
            .line
            .get(place)
            .is_some_and(|other| other.number() == number);
        if here {
            self.line.remove(place);
            self.forget_poke(ticket);
        }
        here
    }

    /// Serves the head.
    pub(super) fn serve(&mut self, mail: Mail<T, F>) -> Option<Arc<Ticket<T, F>>> {
        let ticket = self.line.pop_front()?;
        self.forget_poke(&ticket);
        ticket.post(mail);
        Some(ticket)
    }

    /// The waiter behind so many others.
    pub(super) fn behind(&self, others: usize) -> Option<&Arc<Ticket<T, F>>> {
        self.line.get(others)
    }

    pub(super) fn is_head(&self, ticket: &Ticket<T, F>) -> bool {
        self.head()
            .is_some_and(|head| head.number() == ticket.number())
    }

    /// Whether the head is due. `late`: it has waited for as long as the bound.
    pub(super) fn head_is_due(&mut self, late: bool) -> bool {
        let Some(head) = self.head().map(|head| head.number()) else {
            return false;
        };
        if head != self.due && (late || head <= self.strict) {
            self.due = head;
            if late && self.strict < head {
                self.strict = self.numbers + self.line.len() as u64 / 2;
            }
        }
        head == self.due
    }

    /// What comes next is worth telling this waiter, told or not: it has left, and may join again by the
    /// same number, or it has no alarm to look again.
    pub(super) fn forget_poke(&mut self, ticket: &Ticket<T, F>) {
        if self.poked == ticket.number() {
            self.poked = 0;
        }
    }

    /// True if the head has been told already.
    pub(super) fn head_is_poked(&self) -> bool {
        self.head().is_some_and(|head| head.number() == self.poked)
    }

    /// Notes whether check-ins rely on the head from now on; called whenever the line has changed. If
    /// they have relied on one that will not search any more, the present one must. (A newcomer to an
    /// empty line searches anyway.)
    pub(super) fn note_told(&mut self, told: bool) {
        let head = self.head().map_or(0, |head| head.number());
        if told {
            self.unheard |= self.relied_on != 0 && self.relied_on != head;
            self.relied_on = head;
        } else if self.relied_on != 0 && (self.relied_on != head || !self.head_is_poked()) {
            self.relied_on = 0;
            self.unheard = true;
        }
        if head == 0 {
            (self.unheard, self.strict) = (false, 0);
        }
    }

    /// This waiter has searched, and every slot is watched.
    pub(super) fn heed(&mut self, ticket: &Ticket<T, F>) {
        if self.relied_on == ticket.number() {
            self.relied_on = 0;
        }
    }

    /// True if the head has to be told of what another was told of.
    pub(super) fn take_unheard(&mut self) -> bool {
        std::mem::take(&mut self.unheard)
    }

    /// Tells the head to look for itself; returns it if it has to be woken. Without `again`, a head
    /// that was told before is left alone.
    pub(super) fn poke_head(&mut self, again: bool) -> Option<Arc<Ticket<T, F>>> {
        let head = self.line.front()?;
        if self.poked == head.number() && !again {
            return None;
        }
        self.poked = head.number();
        head.poke();
        Some(Arc::clone(head))
    }
}

/// What an event leaves to be done once the lock is free.
#[must_use = "waiters sleep on until they are woken"]
pub(crate) struct Effects<T: Send + 'static, F: Send + 'static> {
    pub(super) wakes: Vec<Arc<Ticket<T, F>>>,
    /// Creates to start on threads of the pool.
    pub(crate) permits: Vec<super::Permit<T, F>>,
    /// Other engines that have to look, now that there is a slot.
    pub(crate) elsewhere: Vec<super::Elsewhere>,
    /// Somebody waits for a slot that others hold.
    pub(crate) lacks_room: bool,
    /// When waiters have to be settled again, at the latest.
    pub(crate) settle_at: Option<std::time::Instant>,
}

impl<T: Send + 'static, F: Send + 'static> Effects<T, F> {
    pub(super) const fn new() -> Self {
        Self {
            wakes: Vec::new(),
            permits: Vec::new(),
            elsewhere: Vec::new(),
            lacks_room: false,
            settle_at: None,
        }
    }

    /// Wakes whoever has been served. The rest is left to do.
    pub(crate) fn wake(&mut self) {
        for ticket in self.wakes.drain(..) {
            ticket.wake();
        }
    }
}
