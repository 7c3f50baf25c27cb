//! A model checker's mutex with the interface of parking_lot's.

#[cfg(conpool_loom)]
use ::loom::sync as checker;
#[cfg(conpool_shuttle)]
use ::shuttle::sync as checker;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = Some(self.held());
        MutexGuard { mutex: self, held }
    }

    #[cfg(conpool_shuttle)]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        use std::sync::TryLockError;

        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let (mutex, held) = (self, Some(held));
        Some(MutexGuard { mutex, held })
    }

    /// Locks and ignores poisoning, as parking_lot does.
    fn held(&self) -> checker::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that a wait can release and reacquire through a reference, like parking_lot's guard.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// None only inside a wait.
    pub(super) held: Option<checker::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    /// Calls `wait` without the lock.
    pub(crate) fn unlocked<R>(guard: &mut Self, wait: impl FnOnce() -> R) -> R {
        guard.held = None;
        let result = wait();
        guard.held = Some(guard.mutex.held());
        result
    }
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
