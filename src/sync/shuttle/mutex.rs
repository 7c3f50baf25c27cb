use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};

/// parking_lot's face over shuttle's mutex.
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

    /// Like parking_lot, it knows no poisoning.
    fn held(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that a wait can give up and take again through a reference, as parking_lot's can.
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
