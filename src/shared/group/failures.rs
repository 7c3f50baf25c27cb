//! Gets that fail in a keyed pool before there is a pool for their key.

use super::PoolGroup;
use crate::error::{GetError, Phase, Timeout};
use crate::foreign::message_of;
use crate::shared::hooks::notify;
use crate::shared::log::line_of;
use crate::{ConnectionManager, PoolEvent, PoolStats};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

impl<M: ConnectionManager> PoolGroup<M> {
    /// Reports an event of the group that belongs to none of its pools.
    pub(super) fn emit(&self, event: &PoolEvent) {
        let has_listener = self.observer.is_some() || LevelFilter::current() != LevelFilter::OFF;
        if has_listener
            && !notify(
                self.observer.as_deref(),
                event,
                line_of(&self.log_limit, event),
            )
        {
            self.members.lock().retired_stats.panics += 1;
        }
    }

    /// Returns the error for a caller of a closed keyed pool.
    pub(crate) fn closed(&self) -> GetError<M::Error> {
        self.count_failed_get(|_| ());
        let pool = Arc::clone(&self.name);
        GetError::Closed { pool }
    }

    /// Counts a failed get for which no pool exists.
    fn count_failed_get(&self, also: impl FnOnce(&mut PoolStats)) {
        let retired = &mut self.members.lock().retired_stats;
        retired.gets += 1;
        retired.failed_gets += 1;
        also(retired);
    }

    /// Reports a panic of the caller's factory and returns the error for the caller.
    pub(crate) fn factory_panicked(&self, payload: Box<dyn Any + Send>) -> GetError<M::Error> {
        let (hook, message) = ("factory", message_of(payload));
        let pool = Arc::clone(&self.name);
        self.emit(&PoolEvent::Panicked {
            pool: Arc::clone(&pool),
            hook,
            message: message.clone(),
        });
        self.count_failed_get(|retired| retired.panics += 1);
        GetError::Panicked {
            pool,
            hook,
            message,
        }
    }

    /// Reports a timeout before a pool for the key existed, and returns the error for the caller.
    pub(crate) fn timed_out(&self, waited: Duration) -> GetError<M::Error> {
        self.emit(&PoolEvent::TimedOut {
            pool: Arc::clone(&self.name),
            waited,
            waiters: 0,
        });
        self.count_failed_get(|retired| retired.timeouts += 1);
        GetError::TimedOut(Box::new(Timeout {
            pool: Arc::clone(&self.name),
            waited,
            phase: Phase::Creating,
            size: 0,
            max_size: self.config().max_size,
            idle: 0,
            in_use: 0,
            creating: 0,
            disposing: 0,
            waiters: 0,
            holders: Vec::new(),
            more_holders: 0,
            max_total: None,
            last: None,
            held_by_this_thread: 0,
        }))
    }
}
