use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};

/// Shuttle's mutex with the interface of parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = Some(self.held());
        MutexGuard { mutex: self, held }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let (mutex, held) = (self, Some(held));
        Some(MutexGuard { mutex, held })
    }

    /// Locks and ignores poisoning, as parking_lot does.
    fn held(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that a wait can release and reacquire through a reference, like parking_lot's guard.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// None only inside a wait.
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
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
