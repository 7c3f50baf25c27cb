//! Adapts managers written for r2d2 0.8.
//!
//! [`R2d2Manager`] wraps any implementation of `r2d2::ManageConnection` (of r2d2_postgres, r2d2_sqlite,
//! redis, diesel, or your own). The page [`docs::migrating`](crate::docs::migrating) moves a program from
//! r2d2 to this crate in five minutes, and lists the differences in behaviour.
//!
//! # Hooks
//!
//! | here | of the r2d2 manager | runs on |
//! |---|---|---|
//! | [`create`](crate::ConnectionManager::create) | `connect`, then the customizer's `on_acquire` | a thread of the pool |
//! | [`check_aliveness`](crate::ConnectionManager::check_aliveness) | `is_valid` | a thread of the pool |
//! | [`has_broken`](crate::ConnectionManager::has_broken) | `has_broken` | the thread that drops the guard |
//! | [`dispose`](crate::ConnectionManager::dispose) | the customizer's `on_release`; without one the connection is dropped | a thread of the pool |
//! | [`is_transient`](crate::ConnectionManager::is_transient) | the classifier given to [`transient`](R2d2Manager::transient); without one, true | the thread that ran `connect` |
//! | `on_checkout`, `on_checkin` | nothing | – |
//!
//! As in r2d2, **every error of a create is transient** by default, because r2d2's managers do not
//! distinguish a server that is down from a wrong password. A build and a caller therefore wait for the
//! backend until their deadline, and the timeout then carries the last error as a value. Two settings end
//! that wait early:
//!
//! - [`R2d2Manager::transient`] takes a function that distinguishes the two cases. A wrong password then
//!   fails the build and the caller at once, while both wait for a server that starts up.
//!   [`docs::recipes`](crate::docs::recipes) has such functions for PostgreSQL, diesel and Redis.
//! - With [`fail_fast`](crate::PoolBuilder::fail_fast), they wait in neither case.
//!
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | `connect` and `on_acquire`, together | the manager's own limit if it has one (`connect_timeout` of the driver), above it the pool's `create_timeout` (30 s) | the slot is freed, and the create counts as failed; a late connection goes to `on_release` |
//! | `is_valid` | the driver's own limits, above them `check_timeout` (5 s) | the connection is evicted, and goes to `on_release` when `is_valid` returns |
//! | `on_release` and the drop of the connection | `dispose_timeout` (5 s) | the slot is freed, the thread stays until the hook returns |
//! | `has_broken` | none: it must not block, as in r2d2 | the thread that drops the guard waits |
//! | the wait for a connection, all of the above included | the caller's `get_timeout` (30 s), deadline or zero | [`TimedOut`](crate::GetError::TimedOut) with the last cause |
//! | a query | none here: the driver's own limits (`statement_timeout`, `set_read_timeout`) | the driver's error |
//!
//! A hook that hangs keeps its thread and its connection until it returns. At most max(4, `max_size`) hooks
//! whose slots were freed can hang at a time.
//!
//! # Faults
//!
//! | fault | what the caller sees | what the pool does |
//! |---|---|---|
//! | `connect` or `on_acquire` fails | waits; at its deadline `TimedOut` with the error; `Create` at once if the classifier returns false and no connection is open | repeats the create after growing pauses while a connection is wanted; drops a connection that `on_acquire` refused, without `on_release`, as in r2d2 |
//! | `connect` or `on_acquire` panics | `Panicked` at once if no connection is open; otherwise waits for one | catches the panic; the slot is free |
//! | `connect` or `on_acquire` hangs | `TimedOut` at its deadline | gives up after `create_timeout` |
//! | the classifier panics | as if it had returned false | catches and counts the panic |
//! | `is_valid` fails or panics | another connection | evicts it (`CheckFailed`, `Panicked`) |
//! | `is_valid` hangs | another connection, or `TimedOut` at its deadline | evicts it after `check_timeout` |
//! | `has_broken` returns true, or panics | nothing | evicts the connection (`Broken`, `Panicked`) and wakes a waiter |
//! | `on_release` panics | nothing | catches the panic; the slot is free |
//! | `on_release` hangs | nothing, unless its slot is needed | frees the slot after `dispose_timeout` |
//! | the holder panics | its own panic | evicts the connection (`Panicked`) |
//!
//! # Trait bounds
//!
//! r2d2 requires `Error + 'static` of an error. This crate also passes errors to other threads, so the error
//! must be `Send + Sync`. The errors of the managers named above are.

mod customizer;
mod manager;

pub use customizer::IntoCustomizer;
pub use manager::R2d2Manager;
