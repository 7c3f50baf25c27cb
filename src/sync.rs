//! One facade for everything the engine shares between threads: the real types, or loom's.
//!
//! With `--cfg conpool_loom` the same engine code runs under the model checker. There the swap cell
//! stays one atomic (an index into a side table that loom does not see), because its single
//! modification order is what the engine's proofs stand on; a mutex in its place would prove less.

#[cfg(not(conpool_loom))]
pub(crate) use real::*;

#[cfg(conpool_loom)]
pub(crate) use model::*;

#[cfg(not(conpool_loom))]
mod real {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
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

#[cfg(conpool_loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
    use std::collections::HashMap;
    use std::time::Instant;

    /// parking_lot's face over loom's mutex.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    /// parking_lot's face over loom's condition variable. A wait never times out in the model; a
    /// timeout is a third thread that cancels the ticket.
    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }
        pub(crate) fn notify_one(&self) -> bool {
            self.0.notify_one();
            true
        }
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            replace_with(guard, |guard| self.0.wait(guard).unwrap());
        }
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) {
            self.wait(guard);
        }
    }

    fn replace_with<T>(_: &mut T, _: impl FnOnce(T) -> T) {
        unreachable!("models wait through Ticket::wait_model")
    }

    /// The swap cell as one loom atomic: 0 is empty, anything else names a value in the side table.
    #[derive(Debug)]
    pub(crate) struct SwapCell<T> {
        name: AtomicUsize,
        values: std::sync::Mutex<(usize, HashMap<usize, Box<T>>)>,
    }

    impl<T> SwapCell<T> {
        pub(crate) fn new() -> Self {
            Self {
                name: AtomicUsize::new(0),
                values: std::sync::Mutex::new((0, HashMap::new())),
            }
        }
        pub(crate) fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
            let new = value.map_or(0, |value| {
                let mut values = self.values.lock().unwrap();
                values.0 += 1;
                let name = values.0;
                values.1.insert(name, value);
                name
            });
            let old = self.name.swap(new, Ordering::AcqRel);
            (old != 0).then(|| {
                let value = self.values.lock().unwrap().1.remove(&old);
                value.expect("a name is taken once")
            })
        }
    }
}
