//! A connection and what the pool knows of it. Boxed: a checkout moves a pointer, not a connection.

use super::{Entry, PoolCheckout, Shared};
use crate::engine::Slot;
use crate::{ConnectionInfo, ConnectionManager};
use std::sync::Arc;
use std::time::Duration;

/// On cache lines of its own: its holder writes it, and the neighbour in memory belongs to another thread.
#[repr(align(64))]
pub(crate) struct PooledConnection<M: ConnectionManager> {
    pub(crate) connection: M::Connection,
    /// A connection knows its pool, so a guard needs no count on it. The circle with the slots is
    /// broken by close, which takes every connection out.
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) id: u64,
    /// The pool's, for the events of each checkout.
    pub(super) name: Arc<str>,
    /// Ticks.
    pub(super) created: u64,
    pub(super) expires: u64,
    pub(super) generation: u64,
    /// What its slot's count of uses was when it came.
    pub(super) uses_before: u64,
    /// While a guard has it: the tick at which it came to rest before.
    pub(super) idle_since: u64,
    /// Counts down to the next checkout that is its first or its last.
    pub(super) uses_until_event: u64,
    /// Counts only while it is handed on without resting: no check is due then.
    pub(super) freshness: Freshness,
    /// What its check-in has to know, one bit each; mostly nothing.
    pub(super) flags: u8,
}

/// What a guard holds. Two words, which the compiler keeps in registers; it copies three by halves that
/// no longer match the stores before them, and the processor waits for those stores at each copy.
pub(crate) struct Held<M: ConnectionManager> {
    pub(super) slot: &'static Slot<Entry<M>>,
    pub(crate) pooled: Box<PooledConnection<M>>,
}

impl<M: ConnectionManager> Held<M> {
    #[inline]
    pub(crate) fn new(mut checkout: PoolCheckout<M>) -> Self {
        checkout.entry.idle_since = checkout.idle_since;
        let (slot, pooled) = (checkout.slot, checkout.entry);
        Self { slot, pooled }
    }

    pub(super) fn into_checkout(self) -> PoolCheckout<M> {
        let idle_since = self.pooled.idle_since;
        let (slot, entry) = (self.slot, self.pooled);
        PoolCheckout {
            slot,
            entry,
            idle_since,
        }
    }

    /// What a user may know of it.
    pub(crate) fn info(&self) -> ConnectionInfo {
        let out_since = self.slot.in_use_since();
        let pooled = &*self.pooled;
        let mut info = pooled.info(self.slot.uses(), pooled.idle_since, out_since);
        info.age = span(pooled.created, pooled.shared.ticker.tick());
        info
    }
}

/// What a connection has just come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Not,
    Created,
    Checked,
}

/// What makes a check-in unusual from the checkout on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flag {
    /// Checked out by a thread that was panicking already.
    Panicking = 1,
    /// This was its last use.
    LastUse = 2,
    /// Its checkout was told or noted.
    Instrumented = 4,
    /// The pool has a clock of its own; so from its creation on.
    CustomClock = 8,
}

impl Flag {
    /// What a check-in does not change.
    pub(super) const LASTING: u8 = Self::CustomClock as u8;
}

impl<M: ConnectionManager> PooledConnection<M> {
    /// It begins its life in a slot with this count of uses.
    pub(super) fn install(&mut self, uses: u64) {
        if self.shared.ticker.custom().is_some() {
            self.mark(Flag::CustomClock);
        }
        self.uses_before = uses;
        self.uses_until_event = 1;
    }

    pub(super) fn mark(&mut self, odd: Flag) {
        self.flags |= odd as u8;
    }

    pub(super) fn is(&self, odd: Flag) -> bool {
        self.flags & odd as u8 != 0
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Its number and its generation.
    pub(super) fn id_and_generation(&self) -> (u64, u64) {
        (self.id, self.generation)
    }

    /// What a user may know; `uses` is the slot's count.
    pub(super) fn info(&self, uses: u64, idle_since: u64, now: u64) -> ConnectionInfo {
        ConnectionInfo {
            id: self.id,
            created_at: self.shared.ticker.instant(self.created),
            age: span(self.created, now),
            idle_for: span(idle_since, now),
            uses: uses - self.uses_before,
            generation: self.generation,
        }
    }
}

/// The time between two ticks.
pub(super) fn span(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

impl<M: ConnectionManager> std::fmt::Debug for PooledConnection<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
