//! Which types are Send, Sync, unwind-safe and printable.

use std::{
    error::Error,
    fmt::{Debug, Display},
    panic::{RefUnwindSafe, UnwindSafe},
};

use conpool::{
    AddError, Backoff, BuildError, Cause, CloseAllError, ConbusError, ConbusSocketManager,
    ConbusSocketManagerBuilder, ConfigError, ConnectionInfo, ConnectionManager, EvictReason,
    Fairness, GetError, Health, HealthCheck, HealthState, Holder, Hook, KeyedPool,
    KeyedPoolBuilder, Latency, ManualClock, MemoryConnection, MemoryCounters, MemoryError,
    MemoryManager, Phase, Pool, PoolBuilder, PoolConfig, PoolEvent, PoolRegistry, PoolStats,
    PooledConnection, RegistryError, StillInUse, SweepReport, Timeout, Unread,
};

/// Can move to another thread.
fn sent<T: Send + 'static>() {}

/// Can move to another thread and be printed. Used by one thread at a time.
fn moved<T: Send + Debug>() {}

/// Can be used by many threads at once.
fn shared<T: Send + Sync + Debug + 'static>() {}

/// Handles, which a server keeps across `catch_unwind` for each request, and plain values.
fn anywhere<T: Send + Sync + Debug + Clone + UnwindSafe + RefUnwindSafe + 'static>() {}

/// Can be printed, returned by `?` and downcast.
fn error<T: Error + Display + Send + Sync + 'static>() {}

/// A manager whose connections are not Sync and whose state is not unwind-safe: handles do not depend on it.
#[derive(Debug)]
struct NotUnwindSafe(#[expect(dead_code, reason = "for its type")] Box<dyn Debug + Send + Sync>);

impl ConnectionManager for NotUnwindSafe {
    type Connection = std::cell::RefCell<Box<dyn FnMut() + Send>>;
    type Error = std::fmt::Error;

    fn create(&self) -> Result<Self::Connection, Self::Error> {
        Err(std::fmt::Error)
    }

    fn check_aliveness(&self, _: &mut Self::Connection) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The traits of every pool, for all managers.
fn of_every_manager<M: ConnectionManager>() {
    anywhere::<Pool<M>>();
    anywhere::<KeyedPool<String, M>>();
    sent::<PooledConnection<M>>();
    sent::<PoolBuilder<M>>();
    sent::<KeyedPoolBuilder<String, M>>();
    error::<GetError<M::Error>>();
    error::<BuildError<M::Error>>();
    error::<Timeout<M::Error>>();
}

#[test]
fn handles_go_anywhere_whatever_they_pool() {
    of_every_manager::<MemoryManager>();
    of_every_manager::<ConbusSocketManager>();
    of_every_manager::<NotUnwindSafe>();
    anywhere::<MemoryManager>();
    anywhere::<ManualClock>();
    shared::<PoolRegistry>();
    shared::<ConbusSocketManager>();
    shared::<Cause<MemoryError>>();
}

#[test]
fn guards_and_builders_move_to_another_thread_and_print_themselves() {
    moved::<PooledConnection<MemoryManager>>();
    moved::<PooledConnection<ConbusSocketManager>>();
    moved::<PoolBuilder<MemoryManager>>();
    moved::<KeyedPoolBuilder<u32, MemoryManager>>();
    moved::<ConbusSocketManagerBuilder>();
    moved::<MemoryConnection>();
}

#[test]
fn values_are_plain() {
    anywhere::<PoolConfig>();
    anywhere::<PoolStats>();
    anywhere::<Latency>();
    anywhere::<ConnectionInfo>();
    anywhere::<Holder>();
    anywhere::<SweepReport>();
    anywhere::<Backoff>();
    anywhere::<Fairness>();
    anywhere::<HealthCheck>();
    anywhere::<HealthState>();
    anywhere::<EvictReason>();
    anywhere::<Phase>();
    anywhere::<Hook>();
    anywhere::<Unread>();
    anywhere::<MemoryCounters>();
    anywhere::<ConfigError>();
    shared::<Health>();
    shared::<PoolEvent>();
}

#[test]
fn errors_can_be_boxed_and_sent_home() {
    error::<AddError<MemoryConnection>>();
    error::<CloseAllError>();
    error::<ConbusError>();
    error::<ConfigError>();
    error::<MemoryError>();
    error::<RegistryError>();
    error::<StillInUse>();
}

#[cfg(feature = "http")]
#[test]
fn of_the_http_client() {
    use conpool::{
        HttpBody, HttpConnection, HttpError, HttpManager, HttpOrigin, HttpPhase, HttpPool,
        HttpPoolBuilder, Transport, TransportError,
    };
    anywhere::<HttpPool>();
    moved::<HttpPoolBuilder>();
    moved::<HttpBody>();
    moved::<HttpConnection>();
    moved::<Transport>();
    shared::<HttpManager>();
    anywhere::<HttpOrigin>();
    anywhere::<HttpPhase>();
    error::<HttpError>();
    error::<TransportError>();
}

#[cfg(feature = "sqlite")]
#[test]
fn of_sqlite() {
    use conpool::{
        IsolationLevel, JournalMode, SavepointError, SqliteConnection, SqliteError, SqliteManager,
        SqlitePath, Synchronous, TempStore, TransactionError,
    };
    of_every_manager::<SqliteManager>();
    shared::<SqliteManager>();
    moved::<SqliteConnection>();
    anywhere::<SqlitePath>();
    anywhere::<IsolationLevel>();
    anywhere::<JournalMode>();
    anywhere::<Synchronous>();
    anywhere::<TempStore>();
    error::<SqliteError>();
    error::<TransactionError<std::fmt::Error>>();
    error::<SavepointError<std::fmt::Error>>();
}

#[cfg(feature = "tls")]
#[test]
fn of_tls() {
    use conpool::{TlsConfig, TlsError, TlsSocketManager, TlsSocketManagerBuilder, TlsStream};
    of_every_manager::<TlsSocketManager>();
    shared::<TlsSocketManager>();
    shared::<TlsConfig>();
    moved::<TlsSocketManagerBuilder>();
    moved::<TlsStream>();
    error::<TlsError>();
}

#[cfg(feature = "websocket")]
#[test]
fn of_websocket() {
    use conpool::{
        Pushed, WebSocketConnection, WebSocketError, WebSocketManager, WebSocketManagerBuilder,
    };
    of_every_manager::<WebSocketManager>();
    shared::<WebSocketManager>();
    moved::<WebSocketManagerBuilder>();
    moved::<WebSocketConnection>();
    anywhere::<Pushed>();
    error::<WebSocketError>();
}

#[cfg(feature = "r2d2")]
#[test]
fn of_r2d2() {
    use conpool::R2d2Manager;
    #[derive(Debug)]
    struct Old;
    impl r2d2::ManageConnection for Old {
        type Connection = ();
        type Error = std::fmt::Error;
        fn connect(&self) -> Result<(), Self::Error> {
            Ok(())
        }
        fn is_valid(&self, (): &mut ()) -> Result<(), Self::Error> {
            Ok(())
        }
        fn has_broken(&self, (): &mut ()) -> bool {
            false
        }
    }
    of_every_manager::<R2d2Manager<Old>>();
    shared::<R2d2Manager<Old>>();
}

#[cfg(feature = "metrics")]
#[test]
fn of_metrics() {
    shared::<conpool::PoolMetrics>();
}
