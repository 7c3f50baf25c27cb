//! A pooled connection with its metadata. It is boxed, so that a checkout moves a pointer.

use super::{Entry, PoolCheckout, Shared};
use crate::engine::Slot;
use crate::{ConnectionInfo, ConnectionManager, PoolEvent};
use std::sync::Arc;
use std::time::Duration;

/// A connection with its metadata.
///
/// The alignment gives each value its own cache lines: the holder writes the value, and its neighbour in
/// memory belongs to another thread.
#[repr(align(64))]
pub(crate) struct PooledConnection<M: ConnectionManager> {
    pub(crate) connection: M::Connection,
    /// The pool of this connection, so that a guard needs no reference to the pool.
    ///
    /// The reference cycle through the slots ends at close, which takes every connection out.
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) id: u64,
    /// The events of a checkout and a check-in, if the pool has an observer.
    pub(super) events: Option<Box<CheckoutEvents>>,
    /// The tick at which the connection was created or added.
    pub(super) created: u64,
    /// The maximum lifetime in ticks that `expires` was computed from.
    pub(super) lifetime: Option<u64>,
    /// The share by which the lifetime of this connection is shortened.
    pub(super) jitter: f64,
    /// The tick at which the connection expires. 0 on standby.
    pub(super) expires: u64,
    pub(super) generation: u64,
    /// The use count of the slot when the connection was installed.
    pub(super) uses_before: u64,
    /// The tick at which the connection became idle before this checkout. Valid while a guard holds the
    /// connection.
    pub(super) idle_since: u64,
    /// The number of checkouts until one that must do more than count: the first use of the connection, its
    /// last use, and each use if the pool has an observer.
    pub(super) uses_until_event: u64,
    /// How the connection was last proven alive. Valid only during a hand-off, in which no check is due.
    pub(super) freshness: Freshness,
    /// Whether the pool keeps an interrupter of this connection.
    pub(super) is_interruptible: bool,
    /// The [`Flag`]s for the check-in, one bit each. Usually 0.
    pub(super) flags: u8,
}

/// The connection that a guard holds, and its slot.
///
/// The compiler keeps these two words in registers. It would copy three words in parts that do not match the
/// stores before them, and the processor would wait for those stores at each copy.
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

    /// Returns the public information about this connection.
    pub(crate) fn info(&self) -> ConnectionInfo {
        let in_use_since = self.slot.in_use_since();
        let pooled = &*self.pooled;
        let mut info = pooled.info(self.slot.uses(), pooled.idle_since, in_use_since);
        info.age = span(pooled.created, pooled.shared.ticker.tick());
        info
    }
}

/// The two events of a checkout, which each connection keeps for reuse. An event that is reported again is
/// neither allocated nor does it clone the name of the pool.
pub(super) struct CheckoutEvents {
    checked_out: PoolEvent,
    checked_in: PoolEvent,
}

impl CheckoutEvents {
    pub(super) fn new(name: &Arc<str>, id: u64) -> Box<Self> {
        let pool = || Arc::clone(name);
        Box::new(Self {
            checked_out: PoolEvent::CheckedOut {
                pool: pool(),
                id,
                waited: Duration::ZERO,
            },
            checked_in: PoolEvent::CheckedIn {
                pool: pool(),
                id,
                held: Duration::ZERO,
            },
        })
    }

    pub(super) fn checked_out(&mut self, after: Duration) -> &PoolEvent {
        if let PoolEvent::CheckedOut { waited, .. } = &mut self.checked_out {
            *waited = after;
        }
        &self.checked_out
    }

    pub(super) fn checked_in(&mut self, after: Duration) -> &PoolEvent {
        if let PoolEvent::CheckedIn { held, .. } = &mut self.checked_in {
            *held = after;
        }
        &self.checked_in
    }
}

/// How a connection was last proven alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The connection was not proven alive since its last use.
    Not,
    Created,
    Checked,
}

/// The reasons why a check-in takes the slow path, known since the checkout.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flag {
    /// The thread was panicking already at the checkout.
    Panicking = 1,
    /// This checkout is the last use of the connection.
    LastUse = 2,
    /// `tracing` learned of the checkout, or its check-in sweeps.
    Reported = 4,
    /// The pool has a custom clock. Set when the connection is installed.
    CustomClock = 8,
    /// The observer learned of the checkout. A fast check-in reports to the observer itself.
    Observed = 16,
}

impl Flag {
    /// The flags that a check-in keeps.
    pub(super) const LASTING: u8 = Self::CustomClock as u8;
}

impl<M: ConnectionManager> PooledConnection<M> {
    /// Prepares the connection for its slot, whose use count is `uses`.
    pub(super) fn install(&mut self, uses: u64) {
        if self.shared.ticker.custom().is_some() {
            self.mark(Flag::CustomClock);
        }
        self.uses_before = uses;
        self.uses_until_event = 1;
    }

    pub(super) fn mark(&mut self, flag: Flag) {
        self.flags |= flag as u8;
    }

    pub(super) fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the id and the generation of the connection.
    pub(super) fn id_and_generation(&self) -> (u64, u64) {
        (self.id, self.generation)
    }

    /// Returns the public information about this connection. `uses` is the use count of the slot.
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

/// Returns the time between two ticks.
pub(super) fn span(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

impl<M: ConnectionManager> std::fmt::Debug for PooledConnection<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledConnection")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
