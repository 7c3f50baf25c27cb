//! Running settings: the settings that can change while the pool runs, and their changes.

use super::pooled::Freshness;
use super::{PoolCheckout, Shared};
use crate::clock::{real_now, ticks};
use crate::config::is_unlimited;
use crate::sync::outer::{AtomicU64, AtomicUsize, Mutex};
use crate::{ConfigError, ConnectionManager, EvictReason, HealthCheck, PoolConfig, PoolEvent};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The stored form of "no limit".
const NONE: u64 = u64::MAX;

/// The settings that can change, in a form that other threads read without a lock.
pub(super) struct Running {
    /// The settings in force. The lock makes changes exclude each other.
    config: Mutex<PoolConfig>,
    /// In nanoseconds.
    get_timeout: AtomicU64,
    max_waiters: AtomicUsize,
    /// In ticks.
    idle: AtomicU64,
    /// In ticks.
    lifetime: AtomicU64,
    /// In ticks.
    keepalive: AtomicU64,
    /// In a keyed pool, `Shared::min_idle` is zero instead while the key is unused.
    min_idle: AtomicUsize,
    /// How many ticks a connection may be idle before a fast checkout must validate it.
    pub(super) fresh_for: AtomicU64,
}

impl Running {
    pub(super) fn new(config: &PoolConfig) -> Self {
        let running = Self {
            config: Mutex::new(config.clone()),
            get_timeout: AtomicU64::new(0),
            max_waiters: AtomicUsize::new(0),
            idle: AtomicU64::new(0),
            lifetime: AtomicU64::new(0),
            keepalive: AtomicU64::new(0),
            min_idle: AtomicUsize::new(0),
            fresh_for: AtomicU64::new(0),
        };
        running.store(config);
        running
    }

    fn store(&self, config: &PoolConfig) {
        let ticks = |age| limit(age).unwrap_or(NONE);
        let get_timeout = u64::try_from(config.get_timeout.as_nanos()).unwrap_or(NONE);
        let get_timeout = match is_unlimited(config.get_timeout) {
            true => NONE,
            false => get_timeout.min(NONE - 1),
        };
        self.get_timeout.store(get_timeout, Relaxed);
        let max_waiters = config.max_waiters.unwrap_or(usize::MAX);
        self.max_waiters.store(max_waiters, Relaxed);
        self.idle.store(ticks(config.idle_timeout), Relaxed);
        self.lifetime.store(ticks(config.max_lifetime), Relaxed);
        self.keepalive
            .store(ticks(config.keepalive_interval), Relaxed);
        self.min_idle.store(config.min_idle, Relaxed);
        let window = match config.health_check {
            HealthCheck::Never => NONE,
            HealthCheck::OnCheckout => 0,
            HealthCheck::AfterIdle(window) => ticks(Some(window)),
        };
        let fresh_for = window.min(ticks(config.idle_timeout));
        self.fresh_for.store(fresh_for, Relaxed);
    }

    /// Returns the settings in force.
    pub(super) fn config(&self) -> PoolConfig {
        self.config.lock().clone()
    }

    /// Changes settings: all that `change` sets, or none after an error. Returns the settings before and after
    /// the change.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut PoolConfig) -> Result<(), ConfigError>,
    ) -> Result<(PoolConfig, PoolConfig), ConfigError> {
        let mut config = self.config.lock();
        let mut next = config.clone();
        change(&mut next)?;
        next.validate()?;
        self.store(&next);
        Ok((std::mem::replace(&mut *config, next.clone()), next))
    }

    pub(super) fn min_idle(&self) -> usize {
        self.min_idle.load(Relaxed)
    }

    pub(super) fn get_timeout(&self) -> Duration {
        match self.get_timeout.load(Relaxed) {
            NONE => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
    }

    pub(super) fn max_waiters(&self) -> Option<usize> {
        Some(self.max_waiters.load(Relaxed)).filter(|most| *most < usize::MAX)
    }

    /// Returns the idle timeout in ticks.
    pub(super) fn idle(&self) -> Option<u64> {
        known(&self.idle)
    }

    /// Returns the maximum lifetime in ticks.
    pub(super) fn lifetime(&self) -> Option<u64> {
        known(&self.lifetime)
    }

    /// Returns the reason to evict a connection because of its age, if there is one.
    ///
    /// The caller must apply the rule that an idle timeout leaves min_idle connections open, because only
    /// the caller knows which connections count.
    pub(super) fn verdict(&self, expires: u64, idle_since: u64, now: u64) -> Option<EvictReason> {
        if expires <= now {
            return Some(EvictReason::MaxLifetime);
        }
        let idled_out = |limit: u64| idle_since.saturating_add(limit) < now;
        self.idle()
            .is_some_and(idled_out)
            .then_some(EvictReason::IdleTimeout)
    }

    /// Returns the keepalive interval in ticks.
    pub(super) fn keepalive(&self) -> Option<u64> {
        known(&self.keepalive)
    }
}

/// Returns the limit in ticks. None: no limit.
pub(super) fn limit(age: Option<Duration>) -> Option<u64> {
    age.filter(|age| !is_unlimited(*age)).map(ticks)
}

fn known(age: &AtomicU64) -> Option<u64> {
    Some(age.load(Relaxed)).filter(|age| *age < NONE)
}

/// Returns the settings that differ and cannot change while the pool runs.
#[allow(
    clippy::float_cmp,
    reason = "a setting that was not changed is the same number, bit by bit"
)]
fn fixed_settings(before: &PoolConfig, next: &PoolConfig) -> Vec<&'static str> {
    macro_rules! differ {
        ($($field:ident)+) => {
            [$((stringify!($field), before.$field != next.$field)),+]
        };
    }
    let fixed = differ!(
        name max_total lifetime_jitter max_uses health_check check_timeout create_timeout
        dispose_timeout max_creating backoff fail_fast fairness leak_threshold idle_order leak_action suspended on_suspend
        background_collector
    );
    let differing = fixed.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(field, _)| field).collect()
}

/// Replaces the settings, unless a setting differs that cannot change while the pool runs.
pub(super) fn replace_settings(
    config: &mut PoolConfig,
    next: &PoolConfig,
) -> Result<(), ConfigError> {
    if let [first, others @ ..] = fixed_settings(config, next).as_slice() {
        let mut rule = "cannot change while the pool runs".to_owned();
        if !others.is_empty() {
            rule = format!("{rule}; {} cannot change either", others.join(", "));
        }
        return Err(ConfigError::without_value(first, rule));
    }
    *config = next.clone();
    Ok(())
}

/// Returns the event of a change from one of these settings to the other, if it changes a size.
pub(super) fn resized(
    pool: &Arc<str>,
    before: &PoolConfig,
    next: &PoolConfig,
) -> Option<PoolEvent> {
    let sizes = |config: &PoolConfig| (config.max_size, config.min_idle);
    let (max_size, min_idle) = sizes(next);
    (sizes(before) != sizes(next)).then(|| PoolEvent::Resized {
        pool: Arc::clone(pool),
        max_size,
        min_idle,
    })
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns the settings in force.
    pub(crate) fn config(&self) -> PoolConfig {
        self.running.config()
    }

    /// Applies all settings of `next` that can change, or none of them.
    pub(crate) fn reconfigure(self: &Arc<Self>, next: &PoolConfig) -> Result<(), ConfigError> {
        self.change(|config| replace_settings(config, next))
    }

    /// Changes settings: all that `change` sets, or none after an error.
    pub(crate) fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&mut PoolConfig) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        let (before, next) = self.running.change(change)?;
        self.backoff.lock().set_get_timeout(next.get_timeout);
        // Emit the event before the creates and evictions that the change brings about. A keyed pool emits it
        // once for all keys.
        let event = resized(&self.name, &before, &next).filter(|_| self.group.is_none());
        if let Some(event) = event {
            self.emit(|_| event);
        }
        let now = self.now();
        let actions = {
            // Another thread may have changed the settings meanwhile, and its change must not be undone.
            let config = self.running.config.lock();
            if !self.is_min_idle_lapsed(&before) {
                self.min_idle.store(config.min_idle, Relaxed);
            }
            (self.engine).resize(config.max_size, config.max_idle, now.real)
        };
        self.run(actions);
        self.evict_excess();
        if before.max_lifetime != next.max_lifetime {
            self.renew_expiries();
        }
        self.ready.note(false);
        self.wake_collector();
        Ok(())
    }

    /// Evicts the idle connections beyond `max_size` and `max_idle`.
    pub(super) fn evict_excess(self: &Arc<Self>) {
        for (evicted, reason) in self.engine.evict_excess(self.now()) {
            self.evict_rejected(evicted, reason);
        }
    }

    /// Applies a changed `max_lifetime` to the idle connections, and lets those in use come back through the
    /// lock, where it is applied to them.
    fn renew_expiries(self: &Arc<Self>) {
        let idle: Vec<_> = self.engine.take_all(self.ticker.tick()).collect();
        for checkout in idle {
            // The return applies it.
            self.return_unused(checkout);
        }
    }

    /// Applies the present `max_lifetime` to a connection that was opened under another one.
    pub(super) fn renew_expiry(&self, checkout: &mut PoolCheckout<M>) {
        let lifetime = self.running.lifetime();
        let pooled = &mut *checkout.entry;
        if pooled.lifetime == lifetime {
            return;
        }
        pooled.lifetime = lifetime;
        let expires = pooled.expiry();
        checkout.slot.set_expires(expires);
        if !checkout.slot.is_on_standby() {
            pooled.expires = expires;
        }
        pooled.freshness = Freshness::Not;
        self.wake_by(Some(real_now()));
    }
}

impl<M: ConnectionManager> super::PooledConnection<M> {
    /// Returns the tick at which this connection expires.
    pub(super) fn expiry(&self) -> u64 {
        let Some(lifetime) = self.lifetime else {
            return u64::MAX;
        };
        // Jitter shortens the lifetime and never lengthens it, so the limit holds. Connections that were
        // opened together do not expire together.
        let shorter = (lifetime as f64 * self.jitter) as u64;
        self.created
            .saturating_add(lifetime - shorter.min(lifetime))
    }
}
