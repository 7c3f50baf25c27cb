//! The checkouts of a keyed pool: each looks up the pool of its key.

use super::KeyedPool;
use crate::clock::real_now;
use crate::error::GetError;
use crate::shared::{Found, GetTimeout, PoolCheckout, Shared};
use crate::{ConnectionManager, PooledConnection};
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Takes an idle connection of this key. Returns `Err` with a connection that needs validation, if one
    /// was taken.
    #[inline]
    pub(super) fn get_fast(
        &self,
        key: &K,
        is_try_get: bool,
        at: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, Option<PoolCheckout<M>>> {
        let now = self.keys.group.tick();
        let found = self.keys.with(key, |pool| pool.try_fast(now));
        match found {
            None | Some(Found::Nothing) => Err(None),
            Some(Found::Stale(checkout)) => Err(Some(checkout)),
            Some(Found::Fresh(checkout)) => {
                let checkout = Shared::finish_fast(checkout, is_try_get, at);
                checkout.map(PooledConnection::new).ok_or(None)
            }
        }
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
        let timeout = timeout.unwrap_or(GetTimeout::For(group.config().get_timeout));
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
