//! This pool: `interact`.

use super::{Failure, PATIENCE, SIZE, Subject};
use crate::driver::{Connection, Driver};
use conpool::{HealthCheck, Pool};

pub(crate) struct Conpool(Pool<Driver>);

impl Subject for Conpool {
    async fn open() -> Self {
        let pool = Pool::builder()
            .max_size(SIZE)
            .health_check(HealthCheck::Never)
            .get_timeout(PATIENCE)
            .build(Driver)
            .expect("nothing can fail");
        let mut all = Vec::new();
        for _ in 0..SIZE {
            all.push(pool.get_async().await.expect("nothing can fail"));
        }
        drop(all);
        Self(pool)
    }

    async fn request(
        &'static self,
        work: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<(), Failure> {
        Ok(self.0.interact(work).await?)
    }

    fn waiting(&self) -> Option<usize> {
        Some(self.0.stats().waiters)
    }
}
