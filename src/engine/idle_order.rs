//! Idle order: the order in which connections became idle, for pools that check the oldest out first.
//!
//! Each check-in gets a ticket, under the lock. A checkout takes the connection of the oldest ticket. The slot may be
//! empty by then, because a waiter or the collector took the connection; its next check-in gets another ticket, so
//! the old one is skipped. A connection that comes back from a check or an inspection, and that no caller has used since
//! its last ticket, gets the number of that ticket again, so it keeps its place.

use super::{Checkout, Engine, State};
use std::collections::VecDeque;

/// The tickets of a pool, the oldest first.
#[derive(Debug, Default)]
pub(super) struct IdleOrder {
    tickets: VecDeque<(u32, u64)>,
    /// The latest ticket of each slot.
    latest: Vec<Ticket>,
    last: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Ticket {
    /// 0: the present connection of the slot has had no ticket.
    number: u64,
    /// The use count of the slot when the connection became idle.
    uses: u64,
}

impl IdleOrder {
    /// Gives a ticket to the connection in this slot, which has this use count.
    pub(super) fn push(&mut self, slot: u32, uses: u64) {
        let index = slot as usize;
        if self.latest.len() <= index {
            self.latest.resize(index + 1, Ticket::default());
        }
        let latest = &mut self.latest[index];
        if latest.number > 0 && latest.uses == uses {
            let number = latest.number;
            // A checkout may have met the empty slot and removed the ticket.
            if let Err(place) = self
                .tickets
                .binary_search_by_key(&number, |ticket| ticket.1)
            {
                self.tickets.insert(place, (slot, number));
            }
            return;
        }
        self.last += 1;
        let number = self.last;
        *latest = Ticket { number, uses };
        self.tickets.push_back((slot, number));
        if self.tickets.len() > 2 * self.latest.len() + 16 {
            let latest = &self.latest;
            let is_latest = |(slot, number): &(u32, u64)| latest[*slot as usize].number == *number;
            self.tickets.retain(is_latest);
        }
    }

    /// Forgets the former connection of a slot that gets another one.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(latest) = self.latest.get_mut(slot as usize) {
            *latest = Ticket::default();
        }
    }

    /// Returns the slot of the oldest ticket that is the latest of its slot.
    fn pop(&mut self) -> Option<u32> {
        loop {
            let (slot, number) = self.tickets.pop_front()?;
            if self.latest[slot as usize].number == number {
                return Some(slot);
            }
        }
    }
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Checks the oldest idle connections out first, from now on. Must be called before the first checkout.
    pub(crate) fn use_fifo(&self) {
        self.lock().idle_order = Some(IdleOrder::default());
        self.disable_fast_path();
        self.fifo.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Takes the entry that has been idle longest.
    pub(super) fn take_oldest(&self, state: &mut State<T, F>, now: u64) -> Option<Checkout<T>> {
        let order = state.idle_order.as_mut()?;
        loop {
            let slot = self.table.get(order.pop()?)?;
            if let Some(checkout) = slot.take(now) {
                return Some(checkout);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ticket_comes_first_and_an_outdated_one_never() {
        let mut order = IdleOrder::default();
        let uses = [(3, 1), (0, 1), (3, 2), (1, 1)];
        uses.into_iter()
            .for_each(|(slot, uses)| order.push(slot, uses));
        assert_eq!(
            std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(),
            [0, 3, 1]
        );
    }

    #[test]
    fn an_unused_connection_keeps_its_place_and_its_successor_in_the_slot_gets_another() {
        let mut order = IdleOrder::default();
        [0, 1, 2, 3]
            .into_iter()
            .for_each(|slot| order.push(slot, 1));
        assert_eq!((order.pop(), order.pop()), (Some(0), Some(1)));
        order.push(1, 1);
        order.push(2, 1);
        order.forget(0);
        order.push(0, 1);
        assert_eq!(
            std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(),
            [1, 2, 3, 0]
        );
    }

    #[test]
    fn outdated_tickets_take_no_memory() {
        let mut order = IdleOrder::default();
        (0..10_000).for_each(|n| order.push(n % 4, u64::from(n)));
        assert!(order.tickets.len() <= 24);
        assert_eq!(std::iter::from_fn(|| order.pop()).count(), 4);
    }
}
