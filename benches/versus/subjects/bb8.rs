//! bb8, without its check, inside a runtime that no thread drives.

use std::{convert::Infallible, hint::black_box};

use bb8::{ManageConnection, Pool};
use tokio::runtime::{Builder, Runtime};

use super::{Subject, block_on::block_on};

struct Nothing;

impl ManageConnection for Nothing {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

pub(super) struct Bb8 {
    pool: Pool<Nothing>,
    /// The get of bb8 needs a timer. The timer never has to fire here.
    runtime: Runtime,
}

impl Bb8 {
    /// The build of bb8 waits until `min_idle` connections are open.
    pub(super) fn new(size: usize) -> Self {
        let size = u32::try_from(size).expect("a small pool");
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("no I/O is asked for");
        let pool = runtime
            .block_on(
                Pool::builder()
                    .max_size(size)
                    .min_idle(size)
                    .test_on_check_out(false)
                    .build(Nothing),
            )
            .expect("nothing can fail");
        Self { pool, runtime }
    }
}

impl Subject for Bb8 {
    const NAME: &'static str = "bb8";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        let mut connection = block_on(self.pool.get()).expect("nothing can fail");
        work(&mut connection);
    }

    fn around<T>(&self, thread: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        thread()
    }
}
