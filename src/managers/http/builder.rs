//! The builder of an [`HttpPool`].

use std::{fmt, sync::Arc, time::Duration};

use super::{HttpError, HttpManager, HttpOrigin, HttpPool};
#[cfg(feature = "tls")]
use crate::managers::TlsConfig;
use crate::{
    Backoff, HealthCheck, KeyedPool, KeyedPoolBuilder, managers::conbus::ConbusSocketManagerBuilder,
};

type Keyed = KeyedPoolBuilder<HttpOrigin, HttpManager>;
type Tcp = Arc<dyn Fn(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder + Send + Sync>;

const MAX_PER_HOST: usize = 30;

/// Added to the connect timeout for the pool, so that the create's own limits fail first.
const SLACK: Duration = Duration::from_millis(100);

/// The settings that every request and every create reads.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) total_timeout: Duration,
    pub(super) expect_continue_timeout: Duration,
    pub(super) max_header_bytes: usize,
    pub(super) tcp: Tcp,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConfig>,
}

/// Builds an [`HttpPool`]; created by [`HttpPool::builder`].
///
/// Setters never fail. [`build`](Self::build) checks every value, and returns an error that names the
/// setting, the value and the rule.
#[derive(Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct HttpPoolBuilder {
    keyed: Keyed,
    max_total: usize,
    /// None means the default, limited by `max_total`.
    max_per_host: Option<usize>,
    settings: Settings,
}

impl HttpPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            keyed: Keyed::new()
                .name("http")
                // Shorter than the time that servers and load balancers keep idle connections, usually 60 s
                // or 75 s.
                .idle_timeout(Duration::from_secs(50))
                // Limits how long connections go to the old address after a DNS change.
                .max_lifetime(Duration::from_secs(600))
                // The probe runs at every checkout anyway.
                .health_check(HealthCheck::Never)
                // A request should fail rather than wait for a server's recovery.
                .fail_fast(true)
                .backoff(
                    Backoff::default()
                        .with_initial(Duration::from_millis(20))
                        .with_max(Duration::from_secs(1)),
                ),
            max_total: 100,
            max_per_host: None,
            settings: Settings {
                connect_timeout: Duration::from_secs(10),
                total_timeout: Duration::from_secs(30),
                expect_continue_timeout: Duration::from_secs(1),
                max_header_bytes: 64 * 1024,
                tcp: Arc::new(|tcp| tcp),
                #[cfg(feature = "tls")]
                tls: None,
            },
        }
    }

    /// Sets the pool's name in threads (`<pool>-<role>`), logs, errors and metrics. Default `"http"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.keyed = self.keyed.name(name);
        self
    }

    /// Sets the maximum number of connections over all origins. Default 100; at least 1. At the limit, the
    /// connection of another origin that was idle longest is evicted.
    pub fn max_total(mut self, max_total: usize) -> Self {
        self.max_total = max_total;
        self
    }

    /// Sets the maximum number of connections to one origin (scheme, host and port). Default 30, or
    /// `max_total` if that is less; at least 1, at most `max_total`. All of them may be opened at the same
    /// time.
    pub fn max_per_host(mut self, max_per_host: usize) -> Self {
        self.max_per_host = Some(max_per_host);
        self
    }

    /// Sets how long opening one connection may take: resolving the name, TCP and TLS together. Default 10 s;
    /// not zero; `Duration::MAX` for no limit.
    ///
    /// The timeout does not extend the time of a request.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets the time limit of a whole request: from the call of [`send`](HttpPool::send) to the last byte of
    /// the response's body. Default 30 s; not zero; `None` or `Duration::MAX` for no limit.
    ///
    /// The limit includes waiting for a connection, connecting, a retry, and the pauses between reads of the
    /// body. [`send_timeout`](HttpPool::send_timeout) sets the limit for one request.
    pub fn total_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.total_timeout = timeout.into().unwrap_or(Duration::MAX);
        self
    }

    /// Sets the idle time after which a connection is evicted. Default 50 s; `None` for never; not zero.
    /// Servers and load balancers usually keep idle connections for 60 s or 75 s, and the side that closes
    /// first is not surprised by the other.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.keyed = self.keyed.idle_timeout(timeout);
        self
    }

    /// Sets the age at which an idle connection is evicted. Default 10 min; `None` for never; not zero. The
    /// limit is also how long connections may go to the old address after a DNS change.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.keyed = self.keyed.max_lifetime(lifetime);
        self
    }

    /// Sets how long a request with `expect: 100-continue` waits for permission before it sends its body
    /// anyway. Default 1 s; zero does not wait.
    pub fn expect_continue_timeout(mut self, timeout: Duration) -> Self {
        self.settings.expect_continue_timeout = timeout;
        self
    }

    /// Sets the maximum size of a response's head, and of the trailers of a chunked body, in bytes. Default
    /// 64 KiB; not zero. A head always has at most 128 headers.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_header_bytes = bytes;
        self
    }

    /// Sets the trusted certificates for https. By default none are trusted, and an https URI is an error.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<TlsConfig>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Changes settings of TCP: `nodelay`, `keepalive`, `user_timeout`, `bind`, further addresses, and
    /// `close_wait` (zero by default here). Called for each origin. Its `unread` has no effect.
    ///
    /// ```
    /// # use conpool::HttpPool;
    /// # use std::time::Duration;
    /// let http = HttpPool::builder()
    ///     .tcp(|tcp| tcp.keepalive(Duration::from_secs(30)))
    ///     .build()?;
    /// # Ok::<(), conpool::HttpError>(())
    /// ```
    pub fn tcp(
        mut self,
        change: impl Fn(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.settings.tcp = Arc::new(change);
        self
    }

    /// Changes any other setting of the underlying pool: an observer, `max_waiters`, `leak_threshold` and
    /// others. Its `max_total`, `max_per_key`, `max_creating`, `create_timeout` and `get_timeout` have no
    /// effect, because they follow from the settings of this builder.
    ///
    /// Two defaults differ from those of a plain pool. `fail_fast` is set: a server that refuses connections
    /// is an error at once, and again without an attempt for a pause of 20 ms up to 1 s (see `backoff`). The
    /// health check is off, because a probe runs at every checkout.
    ///
    /// ```
    /// # use conpool::HttpPool;
    /// let http = HttpPool::builder()
    ///     .pool(|pool| pool.max_waiters(200).max_uses(1000))
    ///     .build()?;
    /// # Ok::<(), conpool::HttpError>(())
    /// ```
    pub fn pool(
        mut self,
        change: impl FnOnce(
            KeyedPoolBuilder<HttpOrigin, HttpManager>,
        ) -> KeyedPoolBuilder<HttpOrigin, HttpManager>,
    ) -> Self {
        self.keyed = change(self.keyed);
        self
    }

    /// Builds the pool. Nothing is opened before the first request.
    ///
    /// # Errors
    ///
    /// Returns [`HttpError::Setting`] or [`HttpError::Build`] for an invalid setting, and
    /// [`HttpError::Build`] if the collector thread cannot be started.
    pub fn build(self) -> Result<HttpPool, HttpError> {
        self.check()?;
        let Self {
            keyed,
            max_total,
            max_per_host,
            settings,
        } = self;
        let most = max_per_host.unwrap_or(MAX_PER_HOST.min(max_total));
        let keyed = keyed
            .max_total(max_total)
            .max_per_key(most)
            .max_creating(most)
            .create_timeout(settings.connect_timeout.saturating_add(SLACK))
            .get_timeout(settings.total_timeout);
        let settings = Arc::new(settings);
        let for_managers = Arc::clone(&settings);
        let keyed: KeyedPool<_, _> =
            keyed.build(move |origin| HttpManager::new(origin, &for_managers))?;
        Ok(HttpPool::open(keyed, settings))
    }

    fn check(&self) -> Result<(), HttpError> {
        let settings = &self.settings;
        let rule = "must be at least 1";
        for (field, value) in [
            ("max_total", self.max_total),
            ("max_per_host", self.max_per_host.unwrap_or(MAX_PER_HOST)),
            ("max_header_bytes", settings.max_header_bytes),
        ] {
            if value == 0 {
                let value = "0".to_owned();
                return Err(HttpError::Setting { field, value, rule });
            }
        }
        if let Some(more) = self.max_per_host.filter(|most| *most > self.max_total) {
            return Err(HttpError::Setting {
                field: "max_per_host",
                value: more.to_string(),
                rule: "must be at most max_total",
            });
        }
        let rule = "must be longer than zero";
        for (field, value) in [
            ("connect_timeout", settings.connect_timeout),
            ("total_timeout", settings.total_timeout),
        ] {
            if value.is_zero() {
                let value = format!("{value:?}");
                return Err(HttpError::Setting { field, value, rule });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HttpPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPoolBuilder")
            .field("max_total", &self.max_total)
            .field("max_per_host", &self.max_per_host)
            .field("connect_timeout", &self.settings.connect_timeout)
            .field("total_timeout", &self.settings.total_timeout)
            .field("pool", &self.keyed)
            .finish_non_exhaustive()
    }
}
