//! A synchronous connection pool: nanoseconds when a connection is free, strictly by the deadline when
//! none is, and unbreakable by what it pools.
#![forbid(unsafe_code)]

mod builder;
mod clock;
mod config;
mod engine;
mod error;
mod event;
mod guard;
mod health;
mod info;
mod manager;
pub mod managers;
mod pool;
mod rounded;
mod shared;
mod stats;
mod sync;
mod workers;

pub use builder::PoolBuilder;
pub use clock::{Clock, ManualClock};
pub use config::{Backoff, ConfigError, Fairness, HealthCheck, PoolConfig};
pub use error::{AddError, BuildError, Cause, GetError, Phase, StillInUse, Timeout};
pub use event::{EvictReason, PoolEvent, PoolObserver};
pub use guard::PooledConnection;
pub use health::Health;
pub use info::{ConnectionInfo, Holder, SweepReport};
pub use manager::ConnectionManager;
pub use managers::*;
pub use pool::Pool;
pub use stats::{Latency, PoolStats};
