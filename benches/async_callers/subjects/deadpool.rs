//! deadpool with deadpool-sync: the object is a `SyncWrapper`, whose `interact` occupies a thread of
//! `spawn_blocking`. The managers of deadpool for diesel and SQLite work like this.

use super::{Failure, SIZE, Subject};
use crate::driver::Connection;
use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Pool, RecycleError, RecycleResult},
};
use deadpool_sync::SyncWrapper;
use std::convert::Infallible;

struct Driver;

impl Manager for Driver {
    type Type = SyncWrapper<Connection>;
    type Error = Infallible;

    async fn create(&self) -> Result<Self::Type, Infallible> {
        SyncWrapper::new(Runtime::Tokio1, || Ok(Connection)).await
    }

    async fn recycle(&self, connection: &mut Self::Type, _: &Metrics) -> RecycleResult<Infallible> {
        match connection.is_mutex_poisoned() {
            true => Err(RecycleError::message("a closure has panicked")),
            false => Ok(()),
        }
    }
}

pub(crate) struct Deadpool(Pool<Driver>);

impl Subject for Deadpool {
    async fn open() -> Self {
        let pool = Pool::builder(Driver)
            .max_size(SIZE)
            .build()
            .expect("nothing can fail");
        let mut all = Vec::new();
        for _ in 0..SIZE {
            all.push(pool.get().await.expect("nothing can fail"));
        }
        drop(all);
        Self(pool)
    }

    async fn request(
        &'static self,
        work: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<(), Failure> {
        let connection = self.0.get().await?;
        connection
            .interact(work)
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    fn waiting(&self) -> Option<usize> {
        Some(self.0.status().waiting)
    }
}
