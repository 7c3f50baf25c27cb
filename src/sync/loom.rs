//! Loom's types with the interfaces of the real ones.
//!
//! The swap cell stays one atomic: an index into a side table that loom does not see. The engine's proofs
//! rest on the single modification order of that atomic. A mutex in its place would prove less.

use super::MutexGuard;
use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::atomic::Ordering;
use std::ops::Deref;
use std::sync::PoisonError;
use std::time::Instant;

/// Defines an atomic over loom's, whose stores are swaps.
///
/// Loom (0.7) drops the order between two stores when the earlier one is read late. Loom then lets a load
/// return a value that was overwritten before all events that the reader has seen. A relaxed swap orders the
/// stores and synchronizes no more than a relaxed store. Loads may still return old values. All plain stores
/// of the engine are relaxed.
macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[allow(dead_code, reason = "one of the widths is only swapped")]
            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                assert_eq!(order, Ordering::Relaxed, "a swap would promise more");
                self.0.swap(value, order);
            }
        }

        impl Deref for $name {
            type Target = loom::sync::atomic::$name;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    };
}
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// Loom's condition variable with the interface of parking_lot's.
#[derive(Debug)]
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits without limit. A thread that is never woken ends the model as a deadlock.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            let held = self.0.wait(held).unwrap_or_else(PoisonError::into_inner);
            guard.held = Some(held);
        }
    }

    /// Releases the lock and times out at once.
    ///
    /// A model has no time. The model checker varies at which point among the steps of the other threads the
    /// wait ends. A wake-up that comes first shows in the state that the guard protects, as after a real
    /// wait.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> TimeIsUp {
        MutexGuard::unlocked(guard, || TimeIsUp)
    }
}

/// The result of every wait with a limit.
#[derive(Debug)]
pub(crate) struct TimeIsUp;

impl TimeIsUp {
    #[expect(clippy::unused_self, reason = "the interface is parking_lot's")]
    pub(crate) const fn timed_out(&self) -> bool {
        true
    }
}

/// The swap cell as one loom atomic: 0 is empty, and any other number is an index plus one into `values`.
#[derive(Debug)]
pub(crate) struct SwapCell<T> {
    index: AtomicUsize,
    /// Hidden from loom. Threads of a model take turns, and the swap alone decides which thread takes a
    /// value.
    values: std::sync::Mutex<Vec<Option<Box<T>>>>,
}

impl<T> SwapCell<T> {
    pub(crate) fn new() -> Self {
        Self {
            index: AtomicUsize::new(0),
            values: std::sync::Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        let new = value.map_or(0, |value| {
            let mut values = self.values();
            values.push(Some(value));
            values.len()
        });
        let old = self.index.swap(new, Ordering::AcqRel);
        let place = old.checked_sub(1)?;
        let value = self.values()[place].take();
        Some(value.expect("bug: one value taken twice"))
    }

    fn values(&self) -> std::sync::MutexGuard<'_, Vec<Option<Box<T>>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
