//! r2d2 inside `spawn_blocking`: the checkout blocks a thread of the runtime, and so does the driver.

use super::{Failure, PATIENCE, SIZE, Subject};
use crate::driver::{Connection, Driver};
use r2d2::Pool;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::task::spawn_blocking;

pub(crate) struct R2d2 {
    pool: Pool<Driver>,
    /// r2d2 does not count its waiters.
    waiting: AtomicUsize,
}

impl Subject for R2d2 {
    /// The build of r2d2 waits until all connections are open.
    async fn open() -> Self {
        let pool = Pool::builder()
            .max_size(SIZE as u32)
            .test_on_check_out(false)
            .connection_timeout(PATIENCE)
            .build(Driver)
            .expect("nothing can fail");
        let waiting = AtomicUsize::new(0);
        Self { pool, waiting }
    }

    async fn request(
        &'static self,
        work: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<(), Failure> {
        let blocking = spawn_blocking(move || {
            self.waiting.fetch_add(1, Relaxed);
            let connection = self.pool.get();
            self.waiting.fetch_sub(1, Relaxed);
            work(&mut *connection?);
            Ok(())
        });
        blocking.await?
    }

    fn waiting(&self) -> Option<usize> {
        Some(self.waiting.load(Relaxed))
    }
}
