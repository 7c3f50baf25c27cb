//! Operations on all pools of a keyed pool, and on those that are added later.

use super::PoolGroup;
use crate::foreign::Caught;
use crate::shared::Shared;
use crate::shared::admin::suspension;
use crate::shared::interrupt::Which;
use crate::shared::running::{replace_settings, resized};
use crate::{ConfigError, ConnectionManager, PoolConfig};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

impl<M: ConnectionManager> PoolGroup<M> {
    /// Returns the settings in force.
    pub(crate) fn config(&self) -> PoolConfig {
        self.running.config()
    }

    /// Applies all settings of `next` that can change, or none of them, to every pool.
    pub(crate) fn reconfigure(&self, next: &PoolConfig) -> Result<(), ConfigError> {
        self.change(|config| replace_settings(config, next))
    }

    /// Changes settings of every pool: all that `change` sets, or none after an error.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut PoolConfig) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let (before, next) = self.running.change(change)?;
        if let Some(event) = resized(&self.name, &before, &next) {
            self.emit(&event);
        }
        for member in self.all() {
            self.apply_settings(&member);
        }
        Ok(())
    }

    /// Applies the settings of the group, including those of a concurrent change, to one pool.
    ///
    /// The pool's lock is held while the settings of the group are read, so the last of several concurrent calls
    /// applies the settings of the last change.
    fn apply_settings(&self, member: &Arc<Shared<M>>) {
        let applied = member.change(|config| {
            *config = self.config();
            Ok(())
        });
        debug_assert!(applied.is_ok(), "bug: the group has validated them");
    }

    /// Suspends or resumes every pool.
    pub(crate) fn suspend(&self, on: bool) {
        if self.suspended.swap(on, SeqCst) == on {
            return;
        }
        self.emit(&suspension(Arc::clone(&self.name), on));
        for member in self.all() {
            self.apply_suspension(&member);
        }
    }

    /// Suspends or resumes one pool as the group is.
    fn apply_suspension(&self, member: &Arc<Shared<M>>) {
        loop {
            let on = self.suspended.load(SeqCst);
            member.suspend(on);
            // A concurrent call may have applied the other state before this one did.
            if self.suspended.load(SeqCst) == on {
                return;
            }
        }
    }

    /// Applies to a pool that was added just now, with these settings, what has changed since they were read.
    pub(super) fn catch_up(&self, added: &Arc<Shared<M>>, config: &PoolConfig) {
        if *config != self.config() {
            self.apply_settings(added);
        }
        if self.suspended.load(SeqCst) {
            self.apply_suspension(added);
        }
    }

    /// Fails every wait with this cause. Returns how many there were.
    pub(crate) fn clear_waiters(&self, cause: Option<Arc<dyn Error + Send + Sync>>) -> usize {
        let cause = cause.map(Caught::new);
        let all = self.all().into_iter();
        all.map(|member| member.clear_waiters(cause.as_deref().cloned()))
            .sum()
    }

    /// Interrupts the connection with this id, of whichever key it is.
    pub(crate) fn interrupt(&self, id: u64) -> bool {
        let which = Which::One(id);
        self.all().iter().any(|member| member.interrupt(which) > 0)
    }

    /// Clears every pool, and interrupts the connections of earlier generations that are in use.
    pub(crate) fn clear_interrupting(&self) -> usize {
        let all = self.all().into_iter();
        all.map(|member| member.clear_interrupting()).sum()
    }

    /// Interrupts the connections of closed pools that are in use at the end of the grace period.
    pub(crate) fn interrupt_undrained(&self, grace: Option<Instant>) {
        for member in self.all() {
            member.interrupt_undrained(grace);
        }
    }
}
