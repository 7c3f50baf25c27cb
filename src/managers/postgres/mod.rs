//! A manager for PostgreSQL, on top of the synchronous crate [`postgres`].
//!
//! A session is a
//! connection to PostgreSQL. [`PostgresManager`] opens sessions, knows which errors are worth another attempt, and rolls
//! back a transaction that a caller left open. [`Pool::transaction`](crate::Pool#method.transaction-1) runs a closure in a transaction, and repeats it after a
//! serialization failure.
//!
//! ```no_run
//! use conpool::{Pool, PostgresManager, TxOptions, postgres};
//!
//! let manager = PostgresManager::from_url("postgres://orders@db.example/orders", postgres::NoTls)?;
//! let pool = Pool::builder().name("orders").max_size(16).build(manager)?;
//!
//! let n = pool.get()?.execute("UPDATE stock SET n = n - 1 WHERE item = $1", &[&7])?;
//! assert_eq!(n, 1);
//!
//! pool.transaction(TxOptions::new(), |tx| {
//!     tx.execute("UPDATE accounts SET cents = cents - 5 WHERE name = 'till'", &[])?;
//!     tx.execute("UPDATE accounts SET cents = cents + 5 WHERE name = 'gift'", &[])?;
//!     Ok::<_, postgres::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which errors of a create are repeated
//!
//! | class | examples | |
//! |---|---|---|
//! | SQLSTATE 08xxx | connection exceptions; PgBouncer reports a server that is down, and also an unknown user, as 08P01 | repeated |
//! | 57P01, 57P02, 57P03 | ended by an administrator, a crash, a server that starts or shuts down | repeated |
//! | 53300 | too many clients | repeated |
//! | the network | refused, reset, aborted, unreachable, timed out, the end of the stream, a name that does not resolve at the moment, a Unix socket that is not there yet | repeated |
//! | the session ended before it was ready | `connection closed` | repeated |
//! | SQLSTATE 28xxx | a wrong password, no entry in `pg_hba.conf` | fails at once |
//! | 3D000 | the database does not exist | fails at once |
//! | every other SQLSTATE | an unknown setting in `options` | fails at once |
//! | TLS | the server has none, or its certificate is not trusted | fails at once |
//! | the configuration | no password, no user, no host that matches `target_session_attrs` | fails at once |
//!
//! # Faults
//!
//! | fault | what the caller sees | what the pool does |
//! |---|---|---|
//! | the server refuses, or is starting | waits; at the deadline `TimedOut` with the cause | repeats the create |
//! | the server accepts and says nothing | waits; `TimedOut` | the create fails after `connect_timeout` (10 s unless the configuration says otherwise) |
//! | wrong password, missing database, and no session is open | `Create` at once | evicts nothing; the next caller tries again |
//! | the server is full | waits; `TimedOut` with 53300 | repeats the create, one at a time |
//! | a session was ended that had been idle for longer than the 500 ms of `health_check` | another session | the check fails, the session is evicted |
//! | a session in use was ended | 57P01 or `connection closed`, from the driver | `has_broken` at check-in: evicted |
//! | failover, the session is at a server that became read-only | 25006 from the driver | [`transaction`](crate::Pool#method.transaction-1) evicts the session |
//! | a statement that does not end, at a shutdown | [`close_interrupting`](crate::Pool::close_interrupting): 57014 from the driver | asks the server to cancel the statement, and evicts the session at check-in. A server that cannot be reached cannot be asked: set `tcp_user_timeout` and `keepalives_idle` of the configuration for that case |
//! | the caller panics | its own panic | evicts the session; the server rolls back |
//!
//! # Leftover state
//!
//! See [`Reset`]. The default rolls back a transaction that a caller began by a raw `BEGIN`. This costs a round trip
//! after each checkout in which the caller has used the session outside of
//! [`transaction`](crate::Pool#method.transaction-1), on a thread of the pool and off the path of every caller.
//!
//! # With PgBouncer
//!
//! In transaction mode a session of the pool is a session of PgBouncer, and every transaction may run on another
//! session of the server. So named prepared statements, `SET`, `LISTEN` and advisory locks of a session do not work
//! there; the driver prepares every statement of `execute` and `query`. Set `max_prepared_statements` of PgBouncer (1.21 or later),
//! or use the functions `query_typed` and `execute_typed`, and use [`Reset::None`] or [`Reset::Rollback`].

mod classify;
mod connection;
mod interrupt;
mod manager;
mod reset;
mod tls;
mod transaction;

pub use ::postgres;
pub use classify::is_transient_postgres;
pub use connection::PostgresConnection;
pub use manager::PostgresManager;
pub use reset::Reset;
pub use transaction::{
    BodyError, PostgresSavepointError, PostgresTransaction, PostgresTransactionError, TxOptions,
};
