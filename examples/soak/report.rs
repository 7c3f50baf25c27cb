//! The final table and the verdict.

use crate::watch::Memory;
use crate::{DAY, Soak, watch};
use conpool::PoolStats;
use std::{
    fmt::Display,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The allowed growth of memory in the second half of the run, in KiB.
const GROWTH: u64 = 2 * 1024;

pub(crate) struct Report {
    pub(crate) stats: PoolStats,
    pub(crate) took: Duration,
    pub(crate) memory: Memory,
}

impl Report {
    /// Checks the final state, prints everything, and returns the exit code.
    pub(crate) fn print(&self, soak: &Soak) -> ExitCode {
        self.settle(soak);
        self.table(soak);
        println!();
        let breaches = soak.verdict.breaches();
        if breaches == 0 {
            println!("every promise held");
            return ExitCode::SUCCESS;
        }
        for text in soak.verdict.texts() {
            eprintln!("broken promise: {text}");
        }
        eprintln!("{breaches} breaches");
        ExitCode::FAILURE
    }

    /// Compares the numbers of the closed pool with those of the backend.
    fn settle(&self, soak: &Soak) {
        let (stats, count, verdict) = (&self.stats, soak.backend.count(), &soak.verdict);
        let pool = [stats.created, stats.added, stats.disposed, stats.detached];
        let backend = [count.created, count.added, count.disposed, count.detached];
        verdict.must(pool.map(|number| number as i64) == backend, || {
            format!("the pool counts {pool:?}, the backend {backend:?}")
        });
        verdict.must(
            stats.created + stats.added == stats.disposed + stats.detached && count.open == 0,
            || format!("{} connections left, by the pool {pool:?}", count.open),
        );
        verdict.must(
            stats.size + stats.disposing + stats.abandoned + stats.waiters == 0,
            || format!("something is left: {stats:?}"),
        );
        verdict.must(self.memory.growth() <= GROWTH, || {
            format!("memory grows: {:?} KiB", self.memory)
        });
        verdict.must(soak.tally.checkouts.load(Relaxed) > 0, || {
            "nobody got anything".to_owned()
        });
    }

    fn table(&self, soak: &Soak) {
        let (stats, tally, injected) = (&self.stats, &soak.tally, &soak.backend.injected);
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let row = |name: &str, value: &dyn Display| println!("  {name:<18}{value}");
        let checkouts = read(&tally.checkouts) as f64;
        let secs = self.took.as_secs_f64();
        println!();
        row(
            "checkouts",
            &format!(
                "{:.1} M in {secs:.1} s, {:.2} M a second; {} h of the pool's time",
                checkouts / 1e6,
                checkouts / 1e6 / secs,
                DAY.as_secs() / 3600,
            ),
        );
        row(
            "reuse rate",
            &format!("{:.4} %", stats.reuse_rate() * 100.0),
        );
        let waits = tally.waits.lock();
        row(
            "wait",
            &format!(
                "p50 {:.0?}, p99 {:.0?}, p99.99 {:.0?}, max {:.0?}; {} of {} gets had to",
                waits.percentile(0.5),
                waits.percentile(0.99),
                waits.percentile(0.9999),
                waits.max(),
                stats.gets_waited,
                waits.count(),
            ),
        );
        drop(waits);
        row(
            "connections",
            &format!(
                "{} created, {} added, {} disposed, {} detached; {} open at most",
                stats.created,
                stats.added,
                stats.disposed,
                stats.detached,
                soak.backend.count().peak,
            ),
        );
        row("evicted", &watch::evictions(stats));
        row(
            "faults",
            &format!(
                "{} errors, {} panics, {} hung hooks, {} cut lines",
                read(&injected.errors),
                read(&injected.panics),
                read(&injected.hangs),
                read(&injected.kills),
            ),
        );
        row(
            "seen by the pool",
            &format!(
                "{} failed creates, {} failed checks, {} panics",
                stats.create_errors, stats.check_failures, stats.panics
            ),
        );
        row(
            "seen by users",
            &format!(
                "{} timeouts, {} failed creates, {} panicked hooks, {} dead in use",
                read(&tally.timed_out),
                read(&tally.create_failed),
                read(&tally.hook_panicked),
                read(&tally.dead_in_use),
            ),
        );
        row(
            "memory",
            &match self.memory.peak() {
                0 => "not told by this system".to_owned(),
                peak => format!(
                    "{:.1} MiB at most, {:.1} MiB more in the second half",
                    peak as f64 / 1024.0,
                    self.memory.growth() as f64 / 1024.0
                ),
            },
        );
        row("threads left", &watch::threads("soak-"));
    }
}
