//! The client: a keyed pool of connections, and the course of a request.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
    time::Duration,
};

use ureq_proto::http::{self, Request, Response, Uri};

use super::{
    HttpBody, HttpError, HttpManager, HttpOrigin, HttpPoolBuilder,
    builder::Settings,
    error::refused,
    exchange::{Answer, Exchange, Failure},
    request::{HttpRequestBody, RequestInfo},
    timeout::RequestTimeout,
};
use crate::{KeyedPool, PoolStats, PooledConnection, StillInUse};

/// A keep-alive HTTP/1.1 client. The [module](crate::managers::http) describes its features and limits.
///
/// Needs the feature `http`.
///
/// Cloning creates another handle of the same pool. The type is `Send` and `Sync`, so one client is enough
/// for a program. Dropping the last handle closes the pool; bodies that are still held stay readable.
///
/// ```no_run
/// use conpool::{HttpPool, http_types::Request};
/// use std::{io, time::Duration};
///
/// let http = HttpPool::builder()
///     .max_total(100)
///     .max_per_host(30)
///     .connect_timeout(Duration::from_secs(10))
///     .total_timeout(Duration::from_secs(30))
///     .build()?;
///
/// let response = http.get("http://example.org/")?;
/// println!("{}", io::read_to_string(response.into_body())?);
///
/// let request = Request::post("http://example.org/orders").body("one, please")?;
/// assert!(http.send(request)?.status().is_success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HttpPool {
    keyed: KeyedPool<HttpOrigin, HttpManager>,
    settings: Arc<Settings>,
}

impl HttpPool {
    /// Creates a pool with the default settings.
    ///
    /// # Errors
    ///
    /// See [`HttpPoolBuilder::build`].
    pub fn new() -> Result<Self, HttpError> {
        Self::builder().build()
    }

    /// Returns a builder.
    pub fn builder() -> HttpPoolBuilder {
        HttpPoolBuilder::new()
    }

    pub(super) fn open(keyed: KeyedPool<HttpOrigin, HttpManager>, settings: Arc<Settings>) -> Self {
        Self { keyed, settings }
    }

    /// Sends a GET.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send). An invalid URI is [`HttpError::Request`].
    #[track_caller]
    pub fn get<T>(&self, uri: T) -> Result<Response<HttpBody>, HttpError>
    where
        Uri: TryFrom<T>,
        <Uri as TryFrom<T>>::Error: Into<http::Error>,
    {
        let request = Request::get(uri).body(());
        self.send(request.map_err(|error| refused(error.to_string()))?)
    }

    /// Sends a request and waits for the head of the response. The [`HttpBody`] of the response reads the
    /// body, and holds the connection until then.
    ///
    /// The URI must be absolute: `http://host/path`. The client adds `host` if it is missing, and
    /// `content-length` or `transfer-encoding` as the body requires, and no other headers.
    ///
    /// A response with any status is `Ok`.
    ///
    /// # Errors
    ///
    /// See [`HttpError`].
    #[track_caller]
    pub fn send<'b, B>(&self, request: Request<B>) -> Result<Response<HttpBody>, HttpError>
    where
        B: Into<HttpRequestBody<'b>>,
    {
        self.send_timeout(request, self.settings.total_timeout)
    }

    /// Sends a request as [`send`](Self::send) does, within `timeout` instead of `total_timeout`.
    /// `Duration::MAX` means no limit. Zero fails, because it allows no waiting.
    ///
    /// # Errors
    ///
    /// See [`HttpError`].
    #[track_caller]
    pub fn send_timeout<'b, B>(
        &self,
        request: Request<B>,
        timeout: Duration,
    ) -> Result<Response<HttpBody>, HttpError>
    where
        B: Into<HttpRequestBody<'b>>,
    {
        let timeout = RequestTimeout::start(timeout);
        let (parts, body) = request.into_parts();
        let mut body = body.into();
        let info = RequestInfo::new(&parts, &mut body)?;
        self.check_tls(&info.origin)?;
        let request = Request::from_parts(parts, ());

        let mut connection = self.checkout(&info.origin, &timeout)?;
        let reused = connection.served() > 0;
        let retry_request = (reused && info.idempotent).then(|| request.clone());
        match self.exchange(&mut connection, request, &mut body, &info, &timeout) {
            Ok(answer) => Ok(self.respond(connection, answer, info, timeout)),
            Err(failure) => match retry_request {
                Some(request) if failure.lost_early && body.is_whole() => {
                    drop(connection);
                    self.retry(request, body, info, timeout, failure)
                }
                _ => Err(failure.error),
            },
        }
    }

    /// Sends the request again, on a connection that has not served yet. `failure` is the failure of the
    /// first attempt.
    ///
    /// Idle connections found on the way are evicted. A server that has ended one idle connection is probably
    /// ending them all, and holding them while waiting for another connection could deadlock.
    #[track_caller]
    fn retry(
        &self,
        request: Request<()>,
        mut body: HttpRequestBody<'_>,
        info: RequestInfo,
        timeout: RequestTimeout,
        failure: Failure,
    ) -> Result<Response<HttpBody>, HttpError> {
        body.rewind();
        for _ in 0..=self.keyed.config().max_size {
            let mut connection = self.checkout(&info.origin, &timeout)?;
            if connection.served() > 0 {
                PooledConnection::discard(connection);
                continue;
            }
            let answer = self
                .exchange(&mut connection, request, &mut body, &info, &timeout)
                .map_err(|failure| failure.error)?;
            return Ok(self.respond(connection, answer, info, timeout));
        }
        Err(failure.error)
    }

    #[track_caller]
    fn checkout(
        &self,
        origin: &HttpOrigin,
        timeout: &RequestTimeout,
    ) -> Result<PooledConnection<HttpManager>, HttpError> {
        Ok(self.keyed.get_timeout(origin, timeout.deadline.left())?)
    }

    fn exchange(
        &self,
        connection: &mut PooledConnection<HttpManager>,
        request: Request<()>,
        body: &mut HttpRequestBody<'_>,
        info: &RequestInfo,
        timeout: &RequestTimeout,
    ) -> Result<Answer, Failure> {
        connection.begin_request();
        Exchange::new(&mut connection.wire, info, &self.settings, timeout).run(request, body)
    }

    fn respond(
        &self,
        connection: PooledConnection<HttpManager>,
        answer: Answer,
        info: RequestInfo,
        timeout: RequestTimeout,
    ) -> Response<HttpBody> {
        let Answer { head, mode, inputs } = answer;
        let limit = self.settings.max_header_bytes;
        let body = HttpBody::new(connection, mode, inputs, info.origin, timeout, limit);
        head.map(|()| body)
    }

    fn check_tls(&self, origin: &HttpOrigin) -> Result<(), HttpError> {
        #[cfg(feature = "tls")]
        let (has_tls, remedy) = (
            self.settings.tls.is_some(),
            "give HttpPoolBuilder::tls a TlsConfig, which says whom to trust",
        );
        #[cfg(not(feature = "tls"))]
        let (has_tls, remedy) = (
            false,
            "enable the feature `tls` of conpool and give HttpPoolBuilder::tls a TlsConfig",
        );
        if origin.is_secure() && !has_tls {
            let origin = origin.clone();
            return Err(HttpError::NoTls { origin, remedy });
        }
        Ok(())
    }

    /// Returns the statistics over all origins, as [`KeyedPool::stats`] does.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.keyed.stats()
    }

    /// Returns the statistics of one origin, or `None` if it has no pool now.
    #[must_use]
    pub fn stats_for(&self, origin: &HttpOrigin) -> Option<PoolStats> {
        self.keyed.stats_for(origin)
    }

    /// Returns the origins that have a pool now, in arbitrary order.
    #[must_use]
    pub fn origins(&self) -> Vec<HttpOrigin> {
        self.keyed.keys()
    }

    /// Evicts every current connection. A connection in use is evicted when its response has been read.
    pub fn clear(&self) {
        self.keyed.clear();
    }

    /// Evicts every current connection of one origin.
    pub fn clear_origin(&self, origin: &HttpOrigin) {
        self.keyed.clear_key(origin);
    }

    /// Returns the underlying pool, for its settings, holders and sweep.
    #[must_use]
    pub fn pool(&self) -> &KeyedPool<HttpOrigin, HttpManager> {
        &self.keyed
    }

    /// Closes the pool, so every later request fails. Idempotent, and does not wait. Bodies that are still
    /// held stay readable.
    pub fn close(&self) {
        self.keyed.close();
    }

    /// Closes the pool, and waits until every connection is back and closed and the threads have ended.
    ///
    /// # Errors
    ///
    /// At the timeout, returns the connections and hooks still in use.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.keyed.close_timeout(timeout)
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keyed.is_closed()
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keyed.name()
    }
}

// The keyed pool is unwind safe, and the settings never change.
impl UnwindSafe for HttpPool {}
impl RefUnwindSafe for HttpPool {}

impl fmt::Debug for HttpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpPool").field(&self.keyed).finish()
    }
}
