//! Checks the pool and the process during the run.

use crate::{MOST, backend::Backend, conn::SoakManager, user::Tally, verdict::Verdict};
use conpool::{EvictReason, Pool, PoolStats};
use std::{
    fs,
    io::{self, IsTerminal, Write},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

/// Resident memory in the two halves of the run, in KiB; zeros where the system does not report it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    halves: [u64; 2],
}

impl Memory {
    pub(crate) fn sample(&mut self, passed: f64) {
        let half = &mut self.halves[usize::from(passed >= 0.5)];
        *half = resident().max(*half);
    }

    pub(crate) fn peak(&self) -> u64 {
        self.halves[0].max(self.halves[1])
    }

    /// The growth from the first half's maximum to the second's.
    pub(crate) fn growth(&self) -> u64 {
        self.halves[1].saturating_sub(self.halves[0])
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let conn = status.lines().find_map(|conn| conn.strip_prefix("VmRSS:"));
    conn.and_then(|conn| conn.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The number of threads of the pool; zero where the system does not report it.
pub(crate) fn threads(prefix: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Checks the invariants of one snapshot.
pub(crate) fn check(pool: &Pool<SoakManager>, verdict: &Verdict) -> PoolStats {
    let stats = pool.stats();
    verdict.must(
        stats.size == stats.idle + stats.in_use + stats.creating,
        || format!("size is not idle + in_use + creating: {stats:?}"),
    );
    verdict.must(stats.abandoned <= MOST.max(4), || {
        format!("too many abandoned: {stats:?}")
    });
    // An abandoned create has no connection yet; an abandoned check or dispose has one.
    let inside = (stats.created + stats.added).wrapping_sub(stats.disposed + stats.detached);
    let known = (stats.idle + stats.in_use + stats.disposing) as u64;
    let most = known + stats.abandoned as u64;
    verdict.must((known..=most).contains(&inside), || {
        format!("{inside} came and have not gone: {stats:?}")
    });
    stats
}

/// A progress bar on a terminal, and a line from time to time elsewhere.
pub(crate) struct Progress {
    terminal: bool,
    lines: u32,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            lines: 0,
        }
    }

    pub(crate) fn draw(&mut self, passed: f64, day: Duration, stats: &PoolStats, seen: &Seen<'_>) {
        let news = seen.news(day, stats);
        if passed * 10.0 >= f64::from(self.lines + 1) {
            self.lines = (passed * 10.0) as u32;
            self.wipe();
            eprintln!("{news}\n       evicted: {}", evictions(stats));
        }
        if self.terminal {
            let full = (passed * 20.0) as usize;
            let bar: String = (0..20)
                .map(|at| if at < full { '█' } else { '░' })
                .collect();
            self.wipe();
            eprint!("{bar} {news}");
            // An output error does not end the program.
            let _ = io::stderr().flush();
        }
    }

    /// Clears the bar's line.
    fn wipe(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }

    pub(crate) fn finish(&self) {
        self.wipe();
    }
}

/// The sources of the numbers.
pub(crate) struct Seen<'a> {
    pub(crate) tally: &'a Tally,
    pub(crate) backend: &'a Backend,
    pub(crate) verdict: &'a Verdict,
}

impl Seen<'_> {
    fn news(&self, day: Duration, stats: &PoolStats) -> String {
        let waits = self.tally.waits.lock();
        let (minutes, faults) = (day.as_secs() / 60, self.backend.injected.all());
        let breaches = match self.verdict.breaches() {
            0 => String::new(),
            breaches => format!(", {breaches} BREACHES"),
        };
        format!(
            "{:02}:{:02} {:>6.1} M checkouts, {:.2} % reused, wait p50 {:.0?} p99 {:.0?}, {faults} faults{breaches}",
            minutes / 60,
            minutes % 60,
            self.tally.checkouts.load(Relaxed) as f64 / 1e6,
            stats.reuse_rate() * 100.0,
            waits.percentile(0.5),
            waits.percentile(0.99),
        )
    }
}

pub(crate) fn evictions(stats: &PoolStats) -> String {
    let reasons = EvictReason::ALL.iter().copied();
    let evicted = reasons.filter(|reason| stats.evicted(*reason) > 0);
    let texts: Vec<_> = evicted
        .map(|reason| format!("{} {reason}", stats.evicted(reason)))
        .collect();
    texts.join(", ")
}
