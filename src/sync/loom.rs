//! Loom's types with the faces of the real ones.
//!
//! The swap cell stays one atomic (an index into a side table that loom does not see), because its
//! single modification order is what the engine's proofs stand on; a mutex in its place would prove
//! less.

use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::atomic::Ordering;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Instant;

/// Loom's atomic, with stores that are swaps. Loom (0.7) drops the order between two stores when
/// the earlier one is read late, and then lets a load return a value that was overwritten before
/// everything the reader knows of. A relaxed swap orders the stores and synchronizes nothing
/// more than a relaxed store; loads may return old values as ever. The engine's plain stores are
/// all relaxed.
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

/// parking_lot's face over loom's mutex.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            held: Some(self.held()),
        }
    }

    /// Like parking_lot, it knows no poisoning.
    fn held(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that a wait can give up and take again through a reference, as parking_lot's can.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// None only inside a wait.
    held: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("bug: used inside a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("bug: used inside a wait")
    }
}

/// parking_lot's face over loom's condition variable.
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

    /// Waits without limit. Whoever is never woken ends the model as a deadlock.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            let held = self.0.wait(held).unwrap_or_else(PoisonError::into_inner);
            guard.held = Some(held);
        }
    }

    /// There is no time in a model: a limited wait is over at once, and what "at once" is among
    /// the steps of the other threads is what the model checker varies. A wake-up that comes
    /// first is found in the state the guard protects, as after a real wait.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> TimeIsUp {
        guard.held = None;
        guard.held = Some(guard.mutex.held());
        TimeIsUp
    }
}

/// What every limited wait ends with.
#[derive(Debug)]
pub(crate) struct TimeIsUp;

impl TimeIsUp {
    #[expect(clippy::unused_self, reason = "the face is parking_lot's")]
    pub(crate) const fn timed_out(&self) -> bool {
        true
    }
}

/// The swap cell as one loom atomic: 0 is empty, anything else names a value on the shelf.
#[derive(Debug)]
pub(crate) struct SwapCell<T> {
    name: AtomicUsize,
    /// Loom does not see it: threads of a model take turns, and the swap alone says whose turn
    /// it is to take a value.
    shelf: std::sync::Mutex<Vec<Option<Box<T>>>>,
}

impl<T> SwapCell<T> {
    pub(crate) fn new() -> Self {
        Self {
            name: AtomicUsize::new(0),
            shelf: std::sync::Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        let new = value.map_or(0, |value| {
            let mut values = self.shelf();
            values.push(Some(value));
            values.len()
        });
        let old = self.name.swap(new, Ordering::AcqRel);
        let place = old.checked_sub(1)?;
        let value = self.shelf()[place].take();
        Some(value.expect("bug: one value taken twice"))
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Vec<Option<Box<T>>>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
