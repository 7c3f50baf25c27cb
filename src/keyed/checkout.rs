//! The checkouts of a keyed pool: each looks up the pool of its key.

use super::KeyedPool;
use crate::clock::real_now;
use crate::error::GetError;
use crate::shared::{GetTimeout, PoolCheckout, Shared};
use crate::{ConnectionManager, PooledConnection};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Takes an idle connection of this key, without a lock if a hint leads to one. Returns `Err` with a
    /// connection that needs validation, if one was taken.
    #[inline]
    pub(super) fn get_fast(
        &self,
        key: &K,
        is_try_get: bool,
        at: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, Option<PoolCheckout<M>>> {
        let now = self.keys.group.tick();
        let hash = self.keys.hints.hash(key);
        let hinted = self.keys.hints.find(hash).and_then(|slot| slot.take(now));
        let taken = match hinted {
            Some(checkout) if self.is_usable(&checkout, key, hash) => Some(checkout),
            unusable => self.take_by_key(key, hash, now, unusable),
        };
        match Shared::finish_fast(taken.ok_or(None)?, is_try_get, at, now) {
            Ok(checkout) => Ok(PooledConnection::new(checkout)),
            Err(found) => {
                if found
                    .as_ref()
                    .is_some_and(|found| found.slot.is_on_standby())
                {
                    // The slow path prefers another connection, which the next checkout must find.
                    self.keys.hints.forget(hash);
                }
                Err(found)
            }
        }
    }

    /// Whether this connection is of this key, and no caller waits for it.
    #[inline]
    fn is_usable(&self, checkout: &PoolCheckout<M>, key: &K, hash: u64) -> bool {
        let pool = &checkout.entry.shared;
        // Eq of the key is user code, and a panic must not lose the connection.
        let is_own = || self.keys.key_of(pool).is_some_and(|own| own == key);
        let is_own = catch_unwind(AssertUnwindSafe(is_own)).unwrap_or_else(|payload| {
            std::mem::forget(payload);
            false
        });
        if !is_own {
            self.keys.hints.give_up(hash);
        }
        is_own && pool.may_use_fast_path()
    }

    /// Takes an idle connection from the pool of this key. Returns the connection that a hint led to and that
    /// this checkout cannot use.
    #[inline(never)]
    fn take_by_key(
        &self,
        key: &K,
        hash: u64,
        now: u64,
        unusable: Option<PoolCheckout<M>>,
    ) -> Option<PoolCheckout<M>> {
        if let Some(checkout) = unusable {
            let pool = Arc::clone(&checkout.entry.shared);
            pool.return_unused(checkout);
        }
        let checkout = self.keys.with(key, |pool| pool.try_fast(now)).flatten()?;
        self.keys.hints.remember(hash, checkout.slot);
        Some(checkout)
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn get_slow_for_key(
        &self,
        key: &K,
        timeout: Option<GetTimeout>,
        mut found: Option<PoolCheckout<M>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let call_site = Location::caller();
        let group = &self.keys.group;
        let timeout = timeout.unwrap_or_else(|| group.default_timeout());
        let (since, deadline) = timeout.from(real_now());
        loop {
            let pool = match &found {
                Some(checkout) => Arc::clone(&checkout.entry.shared),
                None => self.keys.find_or_make(key, since, deadline)?,
            };
            let timeout = GetTimeout::Since(since, deadline);
            match pool.get_slow(timeout, call_site, found.take()) {
                Ok(checkout) => return Ok(PooledConnection::new(checkout)),
                // The pool of this key was removed between the lookup and its use, so the lookup is repeated.
                Err(GetError::Closed { .. }) if !self.keys.is_closed() => {}
                Err(GetError::Closed { .. }) => return Err(group.closed()),
                Err(error) => return Err(error),
            }
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn try_get_slow(
        &self,
        key: &K,
        found: Option<PoolCheckout<M>>,
    ) -> Option<PooledConnection<M>> {
        let call_site = Location::caller();
        let pool = match &found {
            Some(checkout) => Arc::clone(&checkout.entry.shared),
            None => self.keys.find(key)?,
        };
        pool.try_get_slow(call_site, found)
            .map(PooledConnection::new)
    }
}
