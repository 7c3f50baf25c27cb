//! Every manager written for r2d2 0.8, as it is.
//!
//! [`R2d2Manager`] takes anything that implements `r2d2::ManageConnection` (of r2d2_postgres,
//! r2d2_sqlite, redis, diesel, your own) and pools it here. The page
//! [`docs::migrating`](crate::docs::migrating) takes a program from r2d2 to this crate in five minutes,
//! and says what behaves differently.
//!
//! # Which hook is which
//!
//! | here | of the r2d2 manager | runs on |
//! |---|---|---|
//! | [`create`](crate::ConnectionManager::create) | `connect`, then the customizer's `on_acquire` | a thread of the pool |
//! | [`check_aliveness`](crate::ConnectionManager::check_aliveness) | `is_valid` | a thread of the pool |
//! | [`has_broken`](crate::ConnectionManager::has_broken) | `has_broken` | the thread that drops the guard |
//! | [`dispose`](crate::ConnectionManager::dispose) | the customizer's `on_release`; without one the connection is dropped | a thread of the pool |
//! | [`is_transient`](crate::ConnectionManager::is_transient) | the classifier given to [`transient`](R2d2Manager::transient); without one, yes | the thread that ran `connect` |
//! | `on_checkout`, `on_checkin` | nothing | – |
//!
//! As in r2d2, **every error of a create is worth repeating** by default: r2d2's managers do not tell a server
//! that is down from a password that is wrong. So a build and a caller wait for the backend until their
//! deadline, and the timeout then carries the last error as a value, not as text. Two settings end that wait
//! early:
//!
//! - [`R2d2Manager::transient`] takes a function that tells the two apart. A wrong password then fails the build
//!   and the caller at once, and a server that starts up is waited for. [`docs::recipes`](crate::docs::recipes)
//!   has such functions for PostgreSQL, diesel and Redis.
//! - [`fail_fast`](crate::PoolBuilder::fail_fast) waits for neither.
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | `connect` and `on_acquire`, together | the manager's own limit if it has one (`connect_timeout` of the driver), above it the pool's `create_timeout` (30 s) | the slot is free, the create counts as failed; a connection that comes late goes to `on_release` |
//! | `is_valid` | the driver's own limits, above them `check_timeout` (5 s) | the connection is evicted, and goes to `on_release` when `is_valid` returns |
//! | `on_release` and the drop of the connection | `dispose_timeout` (5 s) | the slot is free, the thread stays until it returns |
//! | `has_broken` | nothing: it must not block, as in r2d2 | the thread that drops the guard waits |
//! | the wait for a connection, all of the above included | the caller's `get_timeout` (30 s), deadline or zero | [`TimedOut`](crate::GetError::TimedOut) with the last cause |
//! | a query | nothing here: the driver's own limits (`statement_timeout`, `set_read_timeout`) | the driver's error |
//!
//! A hook that hangs keeps its thread and its connection until it returns. Of those whose slots were
//! given up there are never more than max(4, `max_size`).
//!
//! # Faults
//!
//! | fault | what the caller sees | what the pool does |
//! |---|---|---|
//! | `connect` or `on_acquire` fails | waits; at its deadline `TimedOut` with the error; `Create` at once where the classifier says no and nothing is open | tries again after a pause that grows, while somebody wants a connection; what `on_acquire` refused is dropped, without `on_release`, as in r2d2 |
//! | `connect` or `on_acquire` panics | `Panicked` at once when nothing is open, else it waits for what is | catches it; the slot is free |
//! | `connect` or `on_acquire` hangs | `TimedOut` at its deadline | gives up after `create_timeout` |
//! | the classifier panics | as if it had said no | catches and counts it |
//! | `is_valid` fails or panics | another connection | evicts it (`CheckFailed`, `Panicked`) |
//! | `is_valid` hangs | another connection, or `TimedOut` at its deadline | evicts it after `check_timeout` |
//! | `has_broken` says yes, or panics | nothing | evicts it (`Broken`, `Panicked`) and wakes whoever waits |
//! | `on_release` panics | nothing | the connection is gone, the slot is free |
//! | `on_release` hangs | nothing, unless its slot is needed | frees the slot after `dispose_timeout` |
//! | the holder panics | its own panic | evicts the connection (`Panicked`) |
//!
//! # Bounds
//!
//! r2d2 asks of an error to be `Error + 'static`. A pool here hands errors to other threads, so it must
//! be `Send + Sync` too; those of the managers named above are.

mod customizer;
mod manager;

pub use customizer::IntoCustomizer;
pub use manager::R2d2Manager;
