//! bb8: the task awaits the connection, and only then occupies a thread of `spawn_blocking`.

use super::{Failure, PATIENCE, SIZE, Subject};
use crate::driver::{Connection, Driver};
use bb8::Pool;
use tokio::task::spawn_blocking;

pub(crate) struct Bb8(Pool<Driver>);

impl Subject for Bb8 {
    /// The build of bb8 waits until `min_idle` connections are open.
    async fn open() -> Self {
        let pool = Pool::builder()
            .max_size(SIZE as u32)
            .min_idle(SIZE as u32)
            .test_on_check_out(false)
            .connection_timeout(PATIENCE)
            .build(Driver)
            .await
            .expect("nothing can fail");
        Self(pool)
    }

    async fn request(
        &'static self,
        work: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<(), Failure> {
        let mut connection = self.0.get().await?;
        // The thread also gives the connection back, which is earlier than the task could.
        spawn_blocking(move || work(&mut connection)).await?;
        Ok(())
    }

    fn waiting(&self) -> Option<usize> {
        None
    }
}
