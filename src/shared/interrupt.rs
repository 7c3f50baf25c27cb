//! Interrupts: end the connection under a thread that hangs in it.
//!
//! The engine records an interrupt under its lock and marks the slot RETURN_SLOW. A check-in that does not see the
//! mark has stored its connection before, and the interrupt finds that connection idle and does nothing. Every
//! other check-in comes through the lock, finds the record, and evicts the connection.

use super::{Entry, Shared};
use crate::foreign::Caught;
use crate::sync::outer::Mutex;
use crate::{ConnectionManager, Interrupt, PoolEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The interrupters of the open connections, by the id of the connection.
#[derive(Default)]
pub(super) struct Interrupts(Mutex<BTreeMap<u64, Known>>);

#[derive(Clone)]
struct Known {
    slot: u32,
    generation: u64,
    interrupter: Caught<Arc<dyn Interrupt>>,
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
        let known = self.0.lock().remove(&id);
        // The last reference to the interrupter is dropped here, outside of the lock.
        drop(known);
    }

    /// Returns the ids and interrupters of the connections to interrupt.
    fn select(&self, which: Which) -> Vec<(u64, Known)> {
        let known = self.0.lock();
        let selected = known.iter().filter(|(id, known)| match which {
            Which::One(one) => **id == one,
            Which::Before(generation) => known.generation < generation,
            Which::All => true,
        });
        selected.map(|(id, known)| (*id, known.clone())).collect()
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
        };
        self.interrupts.0.lock().insert(pooled.id, known);
    }

    /// Interrupts connections in use, and returns how many.
    pub(crate) fn interrupt(self: &Arc<Self>, which: Which) -> usize {
        let selected = self.interrupts.select(which).into_iter();
        selected
            .map(|(id, known)| self.interrupt_if_in_use(id, known))
            .filter(|interrupted| *interrupted)
            .count()
    }

    fn interrupt_if_in_use(self: &Arc<Self>, id: u64, known: Known) -> bool {
        let in_use = self.engine.interrupt(known.slot, id, self.now());
        if in_use {
            self.emit(|pool| PoolEvent::Interrupted { pool, id });
            let shared = Arc::clone(self);
            self.executor.submit(true, move || {
                let _reported = shared.call("interrupt", |_| known.interrupter.interrupt());
                drop(known);
                shared.hook_ended();
            });
        }
        in_use
    }

    /// Interrupts the connections of earlier generations that are in use, after a clear.
    pub(crate) fn clear_interrupting(self: &Arc<Self>) -> usize {
        self.clear();
        self.interrupt(Which::Before(self.generation()))
    }
}
