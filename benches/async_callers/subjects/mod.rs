//! The subjects: four ways to use a driver that blocks from a task.

mod bb8;
mod conpool;
mod deadpool;
mod r2d2;

pub(crate) use self::{bb8::Bb8, conpool::Conpool, deadpool::Deadpool, r2d2::R2d2};

use crate::driver::Connection;
use std::{error::Error, time::Duration};

/// The names of the subjects, in the order of the tables.
pub(crate) const NAMES: [&str; 4] = ["conpool", "r2d2", "bb8", "deadpool"];

/// The connections of each pool.
pub(crate) const SIZE: usize = 10;
/// The longest wait for a connection where the pool has such a limit: longer than any run.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A pool of [`SIZE`] connections for tasks.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    /// Opens all connections.
    fn open() -> impl Future<Output = Self>;

    /// Calls the closure with a connection, on a thread that may block, and gives the connection back.
    fn request(
        &'static self,
        work: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The requests that wait for a connection, cancelled ones included. `None`: the pool does not tell.
    fn waiting(&self) -> Option<usize>;
}
