//! The real types, for builds without a model checker.

#[cfg(not(conpool_loom))]
pub(crate) use engine::*;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Unbounded channels.
#[cfg(not(conpool_shuttle))]
pub(crate) mod channel {
    pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
    use std::time::Instant;

    /// Waits for a message until the deadline, or without a limit. `None`: the deadline has passed, or no
    /// sender is left.
    pub(crate) fn recv_by<T>(receiver: &Receiver<T>, deadline: Option<Instant>) -> Option<T> {
        match deadline {
            Some(deadline) => receiver.recv_deadline(deadline).ok(),
            None => receiver.recv().ok(),
        }
    }
}

#[cfg(not(conpool_loom))]
mod engine {
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use crossbeam_utils::atomic::AtomicCell;

    /// A cell that holds one boxed value or nothing, changed only by swaps.
    pub(crate) struct SwapCell<T>(AtomicCell<Option<Box<T>>>);

    impl<T> SwapCell<T> {
        pub(crate) const fn new() -> Self {
            Self(AtomicCell::new(None))
        }

        /// Swaps with acquire and release ordering.
        #[inline]
        pub(crate) fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
            self.0.swap(value)
        }
    }

    #[cfg(test)]
    #[test]
    fn the_swap_cell_needs_no_lock() {
        assert!(AtomicCell::<Option<Box<u64>>>::is_lock_free());
    }
}
