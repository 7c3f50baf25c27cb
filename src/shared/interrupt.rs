//! Interrupts: end the connection under a thread that hangs in it.
//!
//! An interrupted connection comes back through the lock: its slot is marked RETURN_SLOW after the interrupt is
//! recorded. A check-in that does not see the mark has stored its connection before, and the interrupt finds that
//! connection idle and does nothing. So an interrupted connection is evicted at its check-in and goes to no other
//! caller.

use super::{Entry, Shared};
use crate::foreign::Caught;
use crate::sync::outer::{AtomicUsize, Mutex};
use crate::{ConnectionManager, Interrupt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The interrupters of the open connections.
#[derive(Default)]
pub(super) struct Interrupts {
    /// By the id of the connection.
    known: Mutex<BTreeMap<u64, Known>>,
    /// How many of them were interrupted and have not come back.
    interrupted: AtomicUsize,
}

struct Known {
    slot: u32,
    generation: u64,
    interrupter: Caught<Arc<dyn Interrupt>>,
    interrupted: bool,
}

/// Which connections to interrupt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    One(u64),
    /// Those of an earlier generation than this.
    Before(u64),
    All,
}

impl Interrupts {
    /// Removes the interrupter of a connection that leaves the pool.
    pub(super) fn forget(&self, id: u64) {
        let known = self.known.lock().remove(&id);
        if known.as_ref().is_some_and(|known| known.interrupted) {
            self.interrupted.fetch_sub(1, SeqCst);
        }
        // The last reference to the interrupter is dropped here, outside of the lock.
        drop(known);
    }

    /// Whether this connection was interrupted.
    pub(super) fn is_interrupted(&self, id: u64) -> bool {
        self.interrupted.load(Relaxed) > 0
            && (self.known.lock().get(&id)).is_some_and(|known| known.interrupted)
    }

    /// Returns the ids and slots of the connections to interrupt that were not interrupted before.
    fn select(&self, which: Which) -> Vec<(u64, u32)> {
        let known = self.known.lock();
        let selected = known.iter().filter(|(id, known)| {
            let selected = match which {
                Which::One(one) => **id == one,
                Which::Before(generation) => known.generation < generation,
                Which::All => true,
            };
            selected && !known.interrupted
        });
        selected.map(|(id, known)| (*id, known.slot)).collect()
    }

    /// Records an interrupt. None if the connection is gone or was interrupted before.
    fn begin(&self, id: u64) -> Option<Caught<Arc<dyn Interrupt>>> {
        let mut known = self.known.lock();
        let known = known.get_mut(&id).filter(|known| !known.interrupted)?;
        known.interrupted = true;
        self.interrupted.fetch_add(1, SeqCst);
        Some(known.interrupter.clone())
    }

    /// Takes an interrupt back, because the connection was not in use.
    fn cancel(&self, id: u64) {
        let mut known = self.known.lock();
        if let Some(known) = known.get_mut(&id).filter(|known| known.interrupted) {
            known.interrupted = false;
            self.interrupted.fetch_sub(1, SeqCst);
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Asks the manager for the interrupter of a new connection.
    pub(super) fn ask_interrupter(
        &self,
        connection: &mut M::Connection,
    ) -> Option<Box<dyn Interrupt>> {
        let asked = self.call("interrupter", |manager| manager.interrupter(connection));
        asked.unwrap_or_default()
    }

    /// Keeps the interrupter of a connection that has its slot.
    pub(super) fn keep_interrupter(
        &self,
        slot: u32,
        pooled: &mut Entry<M>,
        interrupter: Option<Box<dyn Interrupt>>,
    ) {
        let Some(interrupter) = interrupter else {
            return;
        };
        pooled.is_interruptible = true;
        let known = Known {
            slot,
            generation: pooled.generation,
            interrupter: Caught::new(Arc::from(interrupter)),
            interrupted: false,
        };
        self.interrupts.known.lock().insert(pooled.id, known);
    }

    /// Interrupts connections in use, and returns how many.
    pub(crate) fn interrupt(self: &Arc<Self>, which: Which) -> usize {
        let selected = self.interrupts.select(which);
        let interrupted = selected
            .into_iter()
            .filter(|(id, slot)| self.interrupt_in_use(*id, *slot));
        interrupted.count()
    }

    fn interrupt_in_use(self: &Arc<Self>, id: u64, slot: u32) -> bool {
        // Record the interrupt before the slot is marked, so that a check-in that sees the mark finds it.
        let Some(interrupter) = self.interrupts.begin(id) else {
            return false;
        };
        let in_use = {
            let mut state = self.engine.lock();
            self.engine
                .mark_in_use(&mut state, slot, id, self.ticker.tick())
        };
        if !in_use {
            self.interrupts.cancel(id);
            return false;
        }
        let shared = Arc::clone(self);
        self.executor.submit(true, move || {
            let _reported = shared.call("interrupt", |_| interrupter.interrupt());
            drop(interrupter);
            shared.hook_ended();
        });
        true
    }

    /// Interrupts the connections of earlier generations that are in use, after a clear.
    pub(crate) fn clear_interrupting(self: &Arc<Self>) -> usize {
        self.clear();
        self.interrupt(Which::Before(self.generation()))
    }
}
