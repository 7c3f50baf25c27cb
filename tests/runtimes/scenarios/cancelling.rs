//! Tasks of which half are cancelled at random moments.

use super::{Runtime, Tally, close_at_rest, pool_of, race, until, yields};
use crate::common::{Rng, take};
use conpool::{MemoryManager, Pool};
use std::sync::Arc;

const CONNECTIONS: usize = 4;
const WAVE: usize = 5_000;
/// The tasks of a wave that only their own end ends.
const PLAIN: usize = WAVE / 2;
/// The tasks of a wave that the runtime is told to cancel.
const ABORTED: usize = WAVE / 4;

/// Two waves of tasks on four connections. The first wave comes while all connections are held, the second afterwards.
/// Half of each wave runs to its end, a quarter loses a race, and a quarter is cancelled through the runtime.
pub(crate) fn ten_thousand_tasks_half_of_them_cancelled<R: Runtime>(runtime: &R, name: &str) {
    let (pool, backend) = pool_of(name, CONNECTIONS);
    let mut wave = Wave {
        runtime,
        pool: pool.clone(),
        tally: Arc::default(),
        random: Rng::new(21),
    };
    let held = take(&pool, CONNECTIONS);
    runtime.block_on(async {
        let mut aborted = wave.spawn();
        // Those that lose a race have left, because every connection is held.
        until(|| pool.stats().waiters == PLAIN + ABORTED).await;
        let rest = aborted.split_off(ABORTED / 2);
        aborted.into_iter().for_each(R::cancel);
        until(|| pool.stats().waiters == PLAIN + ABORTED - ABORTED / 2).await;
        assert_eq!(wave.tally.served(), 0);
        drop(held);
        wave.cancel(rest).await;
        let aborted = wave.spawn();
        wave.cancel(aborted).await;
        wave.tally.ended(2 * WAVE).await;
    });

    let (served, cancelled) = (wave.tally.served(), wave.tally.cancelled());
    assert!(served >= 2 * PLAIN, "{served} of {} served", 2 * PLAIN);
    let least = WAVE - PLAIN - ABORTED + ABORTED / 2;
    assert!(cancelled >= least, "{cancelled} cancelled");
    let stats = pool.stats();
    assert!(stats.gets >= served as u64, "{stats}");
    assert_eq!(
        (stats.created, stats.peak_in_use, stats.max_size),
        (4, 4, 4),
        "{stats}"
    );
    assert!(stats.peak_waiters >= PLAIN + ABORTED, "{stats}");
    close_at_rest(&pool, &backend, name);
}

struct Wave<'a, R> {
    runtime: &'a R,
    pool: Pool<MemoryManager>,
    tally: Arc<Tally>,
    random: Rng,
}

impl<R: Runtime> Wave<'_, R> {
    /// Spawns a wave, and returns in a random order the tasks that shall be cancelled through the runtime.
    fn spawn(&mut self) -> Vec<R::Task> {
        let mut aborted = Vec::new();
        for n in 0..WAVE {
            let (entry, pool) = (self.tally.enter(), self.pool.clone());
            let (hold, limit) = (self.random.below(3), self.random.below(60));
            let work = async move {
                let guard = pool.get_async().await.expect("a connection");
                yields(hold).await;
                drop(guard);
            };
            let task = self.runtime.spawn(match n % 4 {
                2 => Box::pin(async move {
                    if race(work, yields(limit)).await.is_some() {
                        entry.served();
                    }
                }),
                _ => Box::pin(async move {
                    work.await;
                    entry.served();
                }),
            });
            match n % 4 {
                3 => {
                    aborted.push(task);
                    let other = self.random.below(aborted.len() as u64) as usize;
                    let last = aborted.len() - 1;
                    aborted.swap(other, last);
                }
                _ => R::detach(task),
            }
        }
        aborted
    }

    /// Cancels the tasks one by one, while the others run.
    async fn cancel(&mut self, tasks: Vec<R::Task>) {
        for task in tasks {
            yields(self.random.below(3)).await;
            R::cancel(task);
        }
    }
}
