//! The settings of an [`HttpPool`] and how they are given.

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

/// After a create of its own limits has failed, the pool need not end it too.
const SLACK: Duration = Duration::from_millis(100);

/// What every request and every create reads.
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

/// Collects the settings of an [`HttpPool`]; made by [`HttpPool::builder`].
///
/// No setter fails. Everything is checked in [`build`](Self::build), and a bad value is an error that
/// names the setting, the value and the rule.
#[derive(Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct HttpPoolBuilder {
    keyed: Keyed,
    max_total: usize,
    /// None: the default, as far as `max_total` allows.
    max_per_host: Option<usize>,
    settings: Settings,
}

impl HttpPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            keyed: Keyed::new()
                .name("http")
                // Shorter than a server or a balancer before it keeps an idle connection: 60 s and 75 s
                // are the usual values.
                .idle_timeout(Duration::from_secs(50))
                // A name that moves is followed within this time.
                .max_lifetime(Duration::from_secs(600))
                // The probe runs at every checkout anyway.
                .health_check(HealthCheck::Never)
                // Who wants a page does not wait for a server to be repaired.
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

    /// The pool's name, in threads (`<pool>-<role>`), logs, errors and metrics. Default `"http"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.keyed = self.keyed.name(name);
        self
    }

    /// The most connections at once, of all origins together; at least 1. Default 100. When it is
    /// reached, the connection of another origin that was idle longest makes room.
    pub fn max_total(mut self, max_total: usize) -> Self {
        self.max_total = max_total;
        self
    }

    /// The most connections to one origin (scheme, host and port); at least 1, at most `max_total`.
    /// Default 30, or `max_total` if that is less. As many may be opened at the same time.
    pub fn max_per_host(mut self, max_per_host: usize) -> Self {
        self.max_per_host = Some(max_per_host);
        self
    }

    /// How long it may take to open one connection: resolving the name, TCP and TLS together. Default
    /// 10 s; not zero; `Duration::MAX` for no limit.
    ///
    /// It does not lengthen the time of a request.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// The time of a whole request: from the call of [`send`](HttpPool::send) to the last byte of the
    /// response's body, with waiting for a connection, connecting, a retry, and the pauses between the
    /// reads of the body in it. Default 30 s; not zero; `None` or `Duration::MAX` for no limit.
    ///
    /// [`send_timeout`](HttpPool::send_timeout) sets it for one request.
    pub fn total_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.total_timeout = timeout.into().unwrap_or(Duration::MAX);
        self
    }

    /// A connection that is idle longer than this is evicted. Default 50 s: servers and balancers keep
    /// idle connections 60 s or 75 s as a rule, and whoever closes first cannot be surprised. `None` for
    /// never; not zero.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.keyed = self.keyed.idle_timeout(timeout);
        self
    }

    /// A connection that is older than this is evicted when it is idle. Default 10 min: a name that
    /// resolves to another address is followed within this time. `None` for never; not zero.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.keyed = self.keyed.max_lifetime(lifetime);
        self
    }

    /// How long a request with `expect: 100-continue` waits for permission to send its body. After that
    /// the body is sent. Default 1 s; zero does not wait.
    pub fn expect_continue_timeout(mut self, timeout: Duration) -> Self {
        self.settings.expect_continue_timeout = timeout;
        self
    }

    /// The longest head of a response, in bytes, and the longest trailers behind a chunked body. Default
    /// 64 KiB; not zero. A head has at most 128 headers in any case.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_header_bytes = bytes;
        self
    }

    /// Whom to trust in https. Default: nobody, and an https URI is an error.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<TlsConfig>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Changes settings of TCP: `nodelay`, `keepalive`, `user_timeout`, `bind`, further addresses,
    /// `close_wait` (zero here by default). Called for each origin. Its `unread` has no effect.
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

    /// Changes any other setting of the pool below: an observer, `max_waiters`, `leak_threshold` and so
    /// on. Its `max_total`, `max_per_key`, `max_creating`, `create_timeout` and `get_timeout` have no
    /// effect: they follow from the settings here.
    ///
    /// Other than a plain pool, this one begins with `fail_fast` (a server that refuses is an error at
    /// once, and for 20 ms up to 1 s more, see `backoff`) and without a health check, because the probe
    /// at every checkout needs none.
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

    /// The pool. Opens nothing before the first request.
    ///
    /// # Errors
    ///
    /// [`HttpError::Setting`] or [`HttpError::Build`] for a bad setting, and [`HttpError::Build`] if the
    /// collector could not be started.
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
