//! deadpool, without timeouts, so that it needs no runtime.

use std::{convert::Infallible, hint::black_box};

use deadpool::managed::{Manager, Metrics, Pool, RecycleResult};

use super::{Subject, block_on::block_on};

struct Nothing;

impl Manager for Nothing {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(&self, connection: &mut u64, _: &Metrics) -> RecycleResult<Infallible> {
        black_box(connection);
        Ok(())
    }
}

pub(super) struct Deadpool(Pool<Nothing>);

impl Deadpool {
    pub(super) fn new(size: usize) -> Self {
        let pool = Pool::builder(Nothing)
            .max_size(size)
            .build()
            .expect("nothing can fail");
        let all: Vec<_> = (0..size).map(|_| block_on(pool.get())).collect();
        assert!(all.iter().all(Result::is_ok));
        drop(all);
        Self(pool)
    }
}

impl Subject for Deadpool {
    const NAME: &'static str = "deadpool";

    #[inline]
    fn with(&self, _: usize, work: impl FnOnce(&mut u64)) {
        let mut connection = block_on(self.0.get()).expect("nothing can fail");
        work(&mut connection);
    }
}
