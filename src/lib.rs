//! A synchronous connection pool: nanoseconds when a connection is free, strictly by the deadline when
//! none is, and unbreakable by what it pools.
//!
//! A [`ConnectionManager`] says how connections are created, checked and disposed; a [`Pool`] keeps
//! them and lends them to threads, each as a [`PooledConnection`] that gives itself back when it is
//! dropped.
//!
//! ```
//! use conpool::{MemoryManager, Pool, PooledConnection};
//! use std::time::Duration;
//!
//! let pool = Pool::builder()
//!     .name("orders")
//!     .max_size(4)
//!     .build(MemoryManager::new())?;
//!
//! let mut connection = pool.get_timeout(Duration::from_secs(2))?;
//! match connection.execute("SET colour green") {
//!     Ok(_) => drop(connection),
//!     // What a failed command leaves in a connection is not for the next caller.
//!     Err(_) => PooledConnection::discard(connection),
//! }
//!
//! assert_eq!(pool.get()?.execute("GET colour")?, "green");
//! pool.close_timeout(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! **A checkout** first looks for an idle connection: the one this thread used last, else the one in
//! the lowest slot, so that surplus connections stay idle and can expire. While nobody waits, taking
//! it is one atomic swap and giving it back another: no lock, no allocation, nothing written that
//! threads share. A connection that has grown too old, or fails its [`HealthCheck`], is evicted on the
//! way and the next one is tried. If none is idle and the pool is not full, a create is started.
//!
//! **Hand-off.** A caller that finds nothing queues and sleeps. Whatever comes first, a connection
//! given back or a new one, goes to the caller at the head of the queue. Because handing over costs a
//! context switch, later callers may take a free connection in passing as long as the head has waited
//! less than the [`Fairness`] bound, half a millisecond unless set otherwise; from then on the order
//! is strictly first come, first served.
//!
//! **Threads.** Each pool has one collector, named `<pool>-collector`, that sleeps until the next
//! thing is due (an expiry, a keepalive, a refill of `min_idle`, a hook that takes too long), and a few
//! workers that run `create`, `dispose` and checks that may block. Workers come when there is work and
//! end when there is none. A hook that hangs therefore costs its worker and, until its timeout, its
//! slot; it costs no caller more than the caller's own deadline. With
//! [`background_collector(false)`](PoolBuilder::background_collector) there are no threads at all and
//! the callers do this work; hook timeouts do not apply then.
//!
//! **Counting.** `size` is idle + in use + creating, and never passes `max_size`. A connection on its
//! way out still holds its slot until its `dispose` has returned, so a backend that takes one client
//! never sees two.
//!
//! # What is promised
//!
//! 1. *Deadline.* A `get` returns by its deadline, and does not give up before it except for an error that
//!    waiting would not cure, whatever `create`, `check_aliveness` and `dispose` do. (The quick hooks run on
//!    the caller: one that hangs holds it. Without a collector all do.)
//! 2. *Order.* Waiting callers are served in the order they came, within the fairness bound. A
//!    hand-off that meets a timeout is not lost.
//! 3. *Idle, then growth, then waiting.* Nobody waits for a connection while one is idle or a slot is
//!    free to create one in, as far as `max_creating` and the backoff permit.
//! 4. *Visible failure.* If `create` fails for good and no connection is open, the caller at the head of the
//!    line hears of it at once, the next one after the next attempt
//!    ([`fail_fast`](PoolBuilder::fail_fast): all at once); while one is open, waiting for it goes on. Errors that
//!    [`is_transient`](ConnectionManager::is_transient) calls worth it are repeated until the
//!    deadline, and the timeout then carries the last of them.
//! 5. *Nothing stale.* A connection that the pool knows to be dead, too old, used up or cleared is
//!    never handed out, however many there are in a row.
//! 6. *The cap.* Connections never outnumber `max_size`, disposals under way included. A hook that has
//!    outlived its timeout no longer counts; there are never more than max(4, `max_size`) of those.
//! 7. *Conservation.* Each connection that was created or added is disposed exactly once or was
//!    detached. A panic in a hook costs that one connection and nothing else.
//!
//! # Errors
//!
//! Each operation has its own error type: [`GetError`], [`BuildError`], [`ConfigError`], [`AddError`],
//! [`StillInUse`], [`RegistryError`], [`CloseAllError`]. Each displays as one line, those of a running pool
//! with its name and numbers; the manager's own error is the [`source`](std::error::Error::source), never repeated in the text.
//!
//! # Testing code that uses a pool
//!
//! [`MemoryManager`] makes connections without a backend and lets them fail, hang, panic or die on
//! command; [`ManualClock`] lets an hour pass at once.
//!
//! ```
//! use conpool::{EvictReason, Hook, ManualClock, MemoryManager, Pool};
//! use std::time::Duration;
//!
//! let clock = ManualClock::new();
//! let backend = MemoryManager::new();
//! let pool = Pool::builder()
//!     .clock(clock.clone())
//!     .max_lifetime(Duration::from_secs(60))
//!     .build(backend.clone())?;
//!
//! // A minute later the connection is too old.
//! clock.advance(Duration::from_secs(61));
//! pool.sweep();
//! assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 1);
//!
//! // The backend goes down, and the caller hears of it at once.
//! backend.fail(Hook::Create, u64::MAX);
//! let error = pool.get().unwrap_err();
//! assert!(error.last_create_error().is_some());
//!
//! // It comes back, and so does the pool.
//! backend.heal();
//! assert_eq!(pool.get()?.execute("PING")?, "PONG");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None by default; each adds items and changes nothing else. Each needs the Rust version of its
//! dependency, where that is newer than 1.85.
//!
//! - `http`: `HttpPool`, a keep-alive HTTP/1.1 client over a [`KeyedPool`], with the protocol by ureq-proto.
//!   With `tls` it speaks https.
//! - `metrics`: `PoolMetrics`, which reports pools to the crate of that name (Prometheus, StatsD and others)
//!   as OpenTelemetry calls things.
//! - `r2d2`: `R2d2Manager`, which takes every manager written for r2d2 as it is, and the page `docs::migrating`.
//! - `serde`: [`PoolConfig`] from YAML, TOML and JSON and from the environment, and [`PoolStats`] as
//!   data.
//! - `sqlite`: `SqliteManager` and transactions, by rusqlite with an SQLite of its own.
//! - `tls`: `TlsSocketManager`, TLS over TCP by rustls and ring. `tls-webpki-roots` adds Mozilla's list of
//!   roots to it, `tls-platform-verifier` the trust of the operating system.
//! - `websocket`: `WebSocketManager`, WebSockets over TCP and, with `tls`, over TLS, by tungstenite.
//!
//! # Where to find what
//!
//! | for | see |
//! |---|---|
//! | using a pool | [`Pool`], [`PooledConnection`], [`ConnectionInfo`] |
//! | connecting to something | [`ConnectionManager`]; ready-made ones in [`managers`] |
//! | settings | [`PoolConfig`] explains each; [`PoolBuilder`], [`HealthCheck`], [`Backoff`], [`Fairness`] |
//! | failures | [`GetError`], [`Timeout`], [`Cause`], [`Phase`], [`BuildError`], [`ConfigError`], [`AddError`], [`StillInUse`] |
//! | watching | [`PoolStats`], [`Latency`], [`PoolObserver`], [`PoolEvent`], [`EvictReason`], [`Health`], [`HealthState`], [`Holder`], [`SweepReport`]; `PoolMetrics` with the feature `metrics` |
//! | several pools | [`KeyedPool`], [`KeyedPoolBuilder`], [`PoolRegistry`], [`IntoPool`], [`RegistryError`], [`CloseAllError`] |
//! | tests | [`MemoryManager`], [`ManualClock`], [`Clock`] |
//!
//! [`docs::guide`] goes from the first pool to the last `close`, [`docs::recipes`] has managers to copy,
//! [`docs::design`] says how it is built and why so, [`docs::comparison`] what other pools do.
//! [`docs::promises`] tells how each promise is tested, [`docs::peers`] which bugs other pools had and
//! which test guards against each here, [`docs::speed`] what a checkout costs and why.
//! [`docs::contributing`] has the map of the code and what to run after a change of it.
//!
//! How to size a pool, what happens in which failure, and when not to use this crate is in the
//! README.
#![forbid(unsafe_code)]
// On docs.rs each item tells its feature.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Not in the tests: they time the pool from outside and start threads of their own.
#![cfg_attr(
    not(test),
    warn(
        clippy::disallowed_methods,
        clippy::float_cmp,
        clippy::unchecked_time_subtraction
    )
)]

mod builder;
mod clock;
mod config;
#[cfg(any(doc, doctest))]
pub mod docs;
mod engine;
mod error;
mod event;
mod exec;
mod foreign;
mod guard;
mod health;
mod info;
mod keyed;
mod manager;
pub mod managers;
#[cfg(feature = "metrics")]
mod metrics;
mod pool;
mod registry;
mod rounded;
mod shared;
mod stats;
mod sync;

pub use builder::PoolBuilder;
pub use clock::{Clock, ManualClock};
pub use config::{Backoff, ConfigError, Fairness, HealthCheck, PoolConfig};
pub use error::{AddError, BuildError, Cause, GetError, Phase, StillInUse, Timeout};
pub use event::{EvictReason, PoolEvent, PoolObserver};
pub use guard::PooledConnection;
pub use health::{Health, HealthState};
pub use info::{ConnectionInfo, Holder, SweepReport};
pub use keyed::{KeyedPool, KeyedPoolBuilder};
pub use manager::ConnectionManager;
// Their items, and not their modules: `use conpool::*` must not hide a crate named r2d2 or http.
pub use managers::conbus::*;
#[cfg(feature = "http")]
pub use managers::http::*;
#[cfg(feature = "r2d2")]
pub use managers::r2d2::*;
#[cfg(feature = "sqlite")]
pub use managers::sqlite::*;
#[cfg(feature = "tls")]
pub use managers::tls::*;
#[cfg(unix)]
pub use managers::unix::*;
#[cfg(feature = "websocket")]
pub use managers::websocket::{
    Pushed, WebSocketConnection, WebSocketError, WebSocketManager, WebSocketManagerBuilder,
};
pub use managers::{Hook, MemoryConnection, MemoryCounters, MemoryError, MemoryManager};
#[cfg(any(feature = "http", feature = "websocket"))]
pub use managers::{Transport, TransportError};
#[cfg(feature = "metrics")]
pub use metrics::PoolMetrics;
pub use pool::Pool;
pub use registry::{CloseAllError, IntoPool, PoolRegistry, RegistryError};
pub use stats::{Latency, PoolStats};

#[cfg(all(test, conpool_shuttle))]
mod schedules;

/// Compiles the code in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
