//! The client: a keyed pool of connections and what a request does with one.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
    time::Duration,
};

use ureq_proto::http::{self, Request, Response, Uri};

use super::{
    HttpBody, HttpError, HttpManager, HttpOrigin, HttpPoolBuilder,
    budget::GetTimeout,
    builder::Settings,
    exchange::{Answer, Exchange, Failure},
    request::{HttpRequestBody, Plan},
};
use crate::{KeyedPool, PoolStats, PooledConnection, StillInUse};

/// A keep-alive HTTP/1.1 client; see the [module](crate::managers::http) for what it does and what not.
///
/// Needs the feature `http`.
///
/// Cloning makes another handle of the same pool. `Send` and `Sync`: one for the whole program is
/// enough. When the last handle is dropped the pool closes; bodies that are out stay readable.
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
    /// A pool with the default settings.
    ///
    /// # Errors
    ///
    /// As [`HttpPoolBuilder::build`].
    pub fn new() -> Result<Self, HttpError> {
        Self::builder().build()
    }

    /// Settings for a pool.
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
    /// As [`send`](Self::send); a URI that cannot be read is [`HttpError::Request`].
    #[track_caller]
    pub fn get<T>(&self, uri: T) -> Result<Response<HttpBody>, HttpError>
    where
        Uri: TryFrom<T>,
        <Uri as TryFrom<T>>::Error: Into<http::Error>,
    {
        let request = Request::get(uri)
            .body(())
            .map_err(|error| HttpError::Request {
                problem: error.to_string().into(),
            })?;
        self.send(request)
    }

    /// Sends a request and waits for the head of the response. The body is read from the [`HttpBody`] of
    /// the response, which holds the connection until then.
    ///
    /// The URI is absolute: `http://host/path`. To the headers are added `host`, where it is missing, and
    /// `content-length` or `transfer-encoding` as the body needs it; nothing else.
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

    /// The same within `timeout`, in place of `total_timeout`. `Duration::MAX` for no limit; zero waits
    /// for nothing and so fails.
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
        let budget = GetTimeout::start(timeout);
        let (parts, body) = request.into_parts();
        let mut body = body.into();
        let plan = Plan::new(&parts, &mut body)?;
        self.check_tls(&plan.origin)?;
        let request = Request::from_parts(parts, ());

        let mut connection = self.checkout(&plan.origin, &budget)?;
        let reused = connection.served() > 0;
        let spare = (reused && plan.idempotent).then(|| request.clone());
        match self.exchange(&mut connection, request, &mut body, &plan, &budget) {
            Ok(answer) => Ok(self.respond(connection, answer, plan, budget)),
            Err(failure) => match spare {
                Some(request) if failure.lost_early && body.is_whole() => {
                    drop(connection);
                    self.retry(request, body, plan, budget, failure)
                }
                _ => Err(failure.error),
            },
        }
    }

    /// Once more, on a connection that has not served yet. `failure`: of the first time.
    ///
    /// Idle connections met on the way are evicted: a server that has ended one of them is likely to be
    /// ending them all, and holding them while waiting for another could block for ever.
    #[track_caller]
    fn retry(
        &self,
        request: Request<()>,
        mut body: HttpRequestBody<'_>,
        plan: Plan,
        budget: GetTimeout,
        failure: Failure,
    ) -> Result<Response<HttpBody>, HttpError> {
        body.rewind();
        for _ in 0..=self.keyed.config().max_size {
            let mut connection = self.checkout(&plan.origin, &budget)?;
            if connection.served() > 0 {
                PooledConnection::discard(connection);
                continue;
            }
            let answer = self
                .exchange(&mut connection, request, &mut body, &plan, &budget)
                .map_err(|failure| failure.error)?;
            return Ok(self.respond(connection, answer, plan, budget));
        }
        Err(failure.error)
    }

    #[track_caller]
    fn checkout(
        &self,
        origin: &HttpOrigin,
        budget: &GetTimeout,
    ) -> Result<PooledConnection<HttpManager>, HttpError> {
        let got = match budget.deadline() {
            Some(deadline) => self.keyed.get_deadline(origin, deadline),
            None => self.keyed.get_timeout(origin, Duration::MAX),
        };
        Ok(got?)
    }

    fn exchange(
        &self,
        connection: &mut PooledConnection<HttpManager>,
        request: Request<()>,
        body: &mut HttpRequestBody<'_>,
        plan: &Plan,
        budget: &GetTimeout,
    ) -> Result<Answer, Failure> {
        connection.seize();
        Exchange::new(&mut connection.wire, plan, &self.settings, budget).run(request, body)
    }

    fn respond(
        &self,
        connection: PooledConnection<HttpManager>,
        answer: Answer,
        plan: Plan,
        budget: GetTimeout,
    ) -> Response<HttpBody> {
        let Answer { head, mode, inputs } = answer;
        let limit = self.settings.max_header_bytes;
        let body = HttpBody::new(connection, mode, inputs, plan.origin, budget, limit);
        head.map(|()| body)
    }

    #[cfg(feature = "tls")]
    fn check_tls(&self, origin: &HttpOrigin) -> Result<(), HttpError> {
        if origin.is_secure() && self.settings.tls.is_none() {
            return Err(HttpError::NoTls {
                origin: origin.clone(),
                remedy: "give HttpPoolBuilder::tls a TlsConfig, which says whom to trust",
            });
        }
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn check_tls(&self, origin: &HttpOrigin) -> Result<(), HttpError> {
        if origin.is_secure() {
            return Err(HttpError::NoTls {
                origin: origin.clone(),
                remedy: "enable the feature `tls` of conpool and give HttpPoolBuilder::tls a TlsConfig",
            });
        }
        Ok(())
    }

    /// The numbers over all origins, as [`KeyedPool::stats`].
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.keyed.stats()
    }

    /// The numbers of one origin; `None` if it has no connections now.
    #[must_use]
    pub fn stats_for(&self, origin: &HttpOrigin) -> Option<PoolStats> {
        self.keyed.stats_for(origin)
    }

    /// The origins that have connections now, in no order.
    #[must_use]
    pub fn origins(&self) -> Vec<HttpOrigin> {
        self.keyed.keys()
    }

    /// Evicts every connection of today, those in use when their response is read.
    pub fn clear(&self) {
        self.keyed.clear();
    }

    /// The same for one origin.
    pub fn clear_origin(&self, origin: &HttpOrigin) {
        self.keyed.clear_key(origin);
    }

    /// The pool below, for what is not repeated here: its settings, who holds what, a sweep.
    #[must_use]
    pub fn pool(&self) -> &KeyedPool<HttpOrigin, HttpManager> {
        &self.keyed
    }

    /// Closes the pool: every later request fails. Idempotent; waits for nothing. Bodies that are out
    /// stay readable.
    pub fn close(&self) {
        self.keyed.close();
    }

    /// Closes the pool and waits until every connection is back and closed and the threads have ended.
    ///
    /// # Errors
    ///
    /// At the timeout: what is still in use.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.keyed.close_timeout(timeout)
    }

    /// True once it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keyed.is_closed()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keyed.name()
    }
}

// As the keyed pool; the settings never change.
impl UnwindSafe for HttpPool {}
impl RefUnwindSafe for HttpPool {}

impl fmt::Debug for HttpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpPool").field(&self.keyed).finish()
    }
}
