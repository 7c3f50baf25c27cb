//! Idle order: the order in which connections became idle, for pools that check the oldest out first.
//!
//! Each check-in gets a ticket, under the lock. A checkout takes the connection of the oldest ticket. The slot may be
//! empty by then, because a waiter or the collector took the connection; its next check-in gets another ticket, so
//! the old one is skipped.

use super::{Checkout, Engine, State};
use std::collections::VecDeque;

/// The tickets of a pool, the oldest first.
#[derive(Debug, Default)]
pub(super) struct IdleOrder {
    tickets: VecDeque<(u32, u64)>,
    /// The number of the latest ticket of each slot.
    latest: Vec<u64>,
    last: u64,
}

impl IdleOrder {
    /// Gives a ticket to the connection in this slot.
    pub(super) fn push(&mut self, slot: u32) {
        let index = slot as usize;
        if self.latest.len() <= index {
            self.latest.resize(index + 1, 0);
        }
        self.last += 1;
        self.latest[index] = self.last;
        self.tickets.push_back((slot, self.last));
        if self.tickets.len() > 2 * self.latest.len() + 16 {
            let latest = &self.latest;
            let is_latest = |(slot, number): &(u32, u64)| latest[*slot as usize] == *number;
            self.tickets.retain(is_latest);
        }
    }

    /// Returns the slot of the oldest ticket that is the latest of its slot.
    fn pop(&mut self) -> Option<u32> {
        loop {
            let (slot, number) = self.tickets.pop_front()?;
            if self.latest[slot as usize] == number {
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
        [3, 0, 3, 1].into_iter().for_each(|slot| order.push(slot));
        assert_eq!(
            std::iter::from_fn(|| order.pop()).collect::<Vec<_>>(),
            [0, 3, 1]
        );
    }

    #[test]
    fn outdated_tickets_take_no_memory() {
        let mut order = IdleOrder::default();
        (0..10_000).for_each(|n| order.push(n % 4));
        assert!(order.tickets.len() <= 24);
        assert_eq!(std::iter::from_fn(|| order.pop()).count(), 4);
    }
}
