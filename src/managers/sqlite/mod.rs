//! A manager for SQLite databases.

mod connection;
mod error;
mod manager;
mod open;
mod path;
mod settings;
mod transaction;
mod turns;

pub use ::rusqlite;
pub use connection::SqliteConnection;
pub use error::SqliteError;
pub use manager::SqliteManager;
pub use path::SqlitePath;
pub use settings::{JournalMode, Synchronous, TempStore};
pub use transaction::{IsolationLevel, SavepointError, SqliteTransaction, TransactionError};
