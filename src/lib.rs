//! A connection pool for synchronous drivers, for threads and tasks.
//!
//! A checkout takes nanoseconds if a connection is idle, and returns by its deadline if none is. A connection that
//! fails or hangs does not stop the pool.
//!
//! A [`ConnectionManager`] defines how connections are created, checked and disposed. A [`Pool`] keeps the connections
//! and lends them to threads and tasks. Each lent connection is a [`PooledConnection`], which returns to the pool when it is
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
//!     // A failed command may leave state in the connection, so the next caller must not get this connection.
//!     Err(_) => PooledConnection::discard(connection),
//! }
//!
//! assert_eq!(pool.get()?.execute("GET colour")?, "green");
//! pool.close_timeout(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Concepts
//!
//! **Checkout.** A checkout first takes an idle connection: the connection that this thread used last, or else the
//! connection in the lowest slot. Surplus connections therefore stay idle and can expire. While no caller waits, a
//! checkout is one atomic swap, and a check-in is another one. Both take no lock, allocate nothing, and write nothing
//! that threads share. A checkout evicts a connection that is too old or fails its [`HealthCheck`], and tries the next
//! one. If no connection is idle and the pool has a free slot, the pool starts a create.
//!
//! **Hand-off.** A caller that finds no connection joins a queue and sleeps. The first returned or new connection goes
//! to the caller at the head of the queue. A hand-off costs a context switch, so later callers may take a free
//! connection directly while the head has waited less than the [`Fairness`] bound, 500 µs by default. After the bound
//! the order is strictly first come, first served.
//!
//! **Threads.** Each pool has one collector thread, named `<pool>-collector`, and a few worker threads. The collector
//! sleeps until the next event is due: an expiry, a keepalive check, a refill of `min_idle`, or the timeout of a hook.
//! The workers run `create`, `dispose`, closures, interrupts, and the checks and resets that may block. The pool starts a worker when there is work, and a
//! worker ends when there is none. A hook that hangs occupies its worker, and occupies its slot until the hook timeout.
//! Callers still return by their deadlines. With
//! [`background_collector(false)`](PoolBuilder::background_collector) the pool has no threads. The callers then do this
//! work, and hook timeouts do not apply.
//!
//! **Tasks.** [`Pool::get_async`] is a checkout for a task: a future on `std` alone, in the same queue as the threads.
//! [`Pool::interact`] calls a closure with a connection on a worker, for a task that uses a driver which blocks. The
//! guide has a chapter on [async code](docs::guide#async-code).
//!
//! **Counts.** `size` is idle + in use + creating, and never exceeds `max_size`. A connection in its dispose holds its
//! slot until the dispose has returned. A backend that accepts one client therefore never sees two clients.
//!
//! # Promises
//!
//! 1. *Deadline.* A `get` returns by its deadline, whatever `create`, `check_aliveness` and `dispose` do. A `get` fails
//!    before its deadline only with an error that waiting would not cure. The non-blocking hooks run on the caller, so
//!    one of them that hangs holds the caller. Without a collector this is true for all hooks.
//! 2. *Order.* Waiting callers are served in order of arrival, within the fairness bound. A hand-off that races with a
//!    timeout is not lost.
//! 3. *Idle, then growth, then waiting.* A caller does not wait while a connection is idle or while a free slot permits
//!    a create, subject to `max_creating` and the backoff. The pool defers the create if a check-in will probably serve
//!    the caller sooner; a wrong guess costs at most a quarter of a typical create.
//! 4. *Visible failure.* If `create` fails permanently and no connection is open, the caller at the head of the queue
//!    receives the error at once, and the next caller receives it after the next attempt. With
//!    [`fail_fast`](PoolBuilder::fail_fast) all callers receive the error at once. While a connection is open, the
//!    callers continue to wait for a connection. The pool repeats a create until the deadline if
//!    [`is_transient`](ConnectionManager::is_transient) returns true for the error. The timeout carries the last error.
//! 5. *Nothing stale.* The pool never hands out a connection that it knows to be dead, too old, used up or cleared. The
//!    number of such connections in a row does not matter.
//! 6. *The cap.* The number of connections, including those in a running dispose, never exceeds `max_size`. A hook past
//!    its timeout no longer counts. There are never more than max(4, `max_size`) such hooks.
//! 7. *Conservation.* Each connection that was created or added is disposed exactly once, or was detached. A panic in a
//!    hook costs that one connection and nothing else.
//!
//! # Errors
//!
//! Each operation has its own error type: [`GetError`], [`BuildError`], [`ConfigError`], [`AddError`], [`StillInUse`],
//! [`RegistryError`], [`CloseAllError`]. The text of each error is one line. The text of an error of a running pool
//! contains the name and the counts of the pool. The error of the manager is the
//! [`source`](std::error::Error::source), and the text does not repeat it.
//!
//! # Tests of code that uses a pool
//!
//! [`MemoryManager`] creates connections without a backend, and makes them fail, hang, panic or die on command.
//! [`ManualClock`] advances the time without waiting.
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
//! // After 61 seconds the connection exceeds its lifetime.
//! clock.advance(Duration::from_secs(61));
//! pool.sweep();
//! assert_eq!(pool.stats().evicted(EvictReason::MaxLifetime), 1);
//!
//! // The backend fails, and the caller gets the error at once.
//! backend.fail(Hook::Create, u64::MAX);
//! let error = pool.get().unwrap_err();
//! assert!(error.last_create_error().is_some());
//!
//! // The backend recovers, and the pool works again.
//! backend.heal();
//! assert_eq!(pool.get()?.execute("PING")?, "PONG");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! No feature is enabled by default. Each feature adds items and changes nothing else. A feature needs the Rust version
//! of its dependency if that version is newer than 1.85.
//!
//! - `http`: `HttpPool`, a keep-alive HTTP/1.1 client over a [`KeyedPool`], based on ureq-proto. With `tls` the client
//!   supports https.
//! - `metrics`: `PoolMetrics`, which reports pools to the crate `metrics` (Prometheus, StatsD and others) under the
//!   OpenTelemetry names.
//! - `postgres`: `PostgresManager` and transactions that are repeated after serialization failures, based on the crate
//!   postgres.
//! - `r2d2`: `R2d2Manager`, which runs every manager written for r2d2, and the page `docs::migrating`.
//! - `serde`: [`PoolConfig`] from YAML, TOML, JSON and the environment, and [`PoolStats`] as data.
//! - `sqlite`: `SqliteManager` and transactions, based on rusqlite with a bundled SQLite.
//! - `tls`: `TlsSocketManager`, TLS over TCP, based on rustls and ring. `tls-webpki-roots` adds the root certificates
//!   of Mozilla. `tls-platform-verifier` adds the root certificates of the operating system.
//! - `websocket`: `WebSocketManager`, WebSockets over TCP and, with `tls`, over TLS, based on tungstenite.
//!
//! # Overview
//!
//! | subject | items |
//! |---|---|
//! | use of a pool | [`Pool`], [`PooledConnection`], [`ConnectionInfo`]; for tasks [`GetFuture`], [`KeyedGetFuture`], [`Interact`] |
//! | backends | [`ConnectionManager`], [`Interrupt`]; ready-made managers in [`managers`] |
//! | settings | [`PoolConfig`] explains each; [`PoolBuilder`], [`HealthCheck`], [`Backoff`], [`Fairness`], [`OnSuspend`], [`LeakAction`], [`IdleOrder`] |
//! | failures | [`GetError`], [`Timeout`], [`Cause`], [`Phase`], [`BuildError`], [`ConfigError`], [`AddError`], [`ReadyError`], [`InteractError`], [`StillInUse`] |
//! | monitoring | [`PoolStats`], [`Latency`], [`PoolObserver`], [`PoolEvent`], [`EvictReason`], [`Health`], [`HealthState`], [`Holder`], [`SweepReport`]; `PoolMetrics` with the feature `metrics` |
//! | several pools | [`KeyedPool`], [`KeyedPoolBuilder`], [`PoolRegistry`], [`IntoPool`], [`RegistryError`], [`CloseAllError`] |
//! | tests | [`MemoryManager`], [`ManualClock`], [`Clock`] |
//!
//! The documentation has these pages:
//!
//! - [`docs::guide`]: the use of a pool from the first checkout to the shutdown, including the size of a pool, the
//!   reaction to each fault, and the limits
//! - [`docs::recipes`]: managers to copy
//! - [`docs::comparison`]: the properties of other pools
//! - [`docs::design`]: the implementation and its reasons
//! - [`docs::promises`]: the tests for each promise
//! - [`docs::peers`]: bugs of other pools, each with a test of this crate
//! - [`docs::speed`]: the cost of a checkout
//! - [`docs::contributing`]: the source tree, and the commands to run after a change
#![forbid(unsafe_code)]
// docs.rs shows the feature of each item.
#![cfg_attr(docsrs, feature(doc_cfg))]
// The tests are exempt, because they measure time and start threads.
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
mod interact;
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
pub use config::{
    Backoff, ConfigError, Fairness, HealthCheck, IdleOrder, LeakAction, OnSuspend, PoolConfig,
};
pub use error::{
    AddError, BuildError, Cause, GetError, InteractError, Phase, ReadyError, StillInUse, Timeout,
};
pub use event::{EvictReason, PoolEvent, PoolObserver};
pub use guard::PooledConnection;
pub use health::{Health, HealthState};
pub use info::{ConnectionInfo, Holder, SweepReport};
pub use interact::Interact;
pub use keyed::{KeyedGetFuture, KeyedPool, KeyedPoolBuilder};
pub use manager::{ConnectionManager, Interrupt};
// Re-exports the items and not the modules: `use conpool::*` must not hide a crate named r2d2 or http.
pub use managers::conbus::*;
#[cfg(feature = "http")]
pub use managers::http::*;
#[cfg(feature = "postgres")]
pub use managers::postgres::*;
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
pub use pool::{GetFuture, Pool};
pub use registry::{CloseAllError, IntoPool, PoolRegistry, RegistryError};
pub use stats::{Latency, PoolStats};

#[cfg(all(test, conpool_shuttle))]
mod schedules;

/// Compiles the code blocks of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
